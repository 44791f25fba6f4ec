//! Items of the Responses API, and the messages of a chat completion that they are. Pure.
//!
//! # Theory
//!
//! One conversation has two spellings. Here they are turned into each other, so that everything else (what a role may say, which calls have
//! results, what is new) is decided by the one judge of messages ([`super::super::content`]). A message, and calls behind it, are one
//! message of the assistant's. Thoughts (`reasoning`) that a client sends back are left out: the agent has its own, and others are of no use to it.
//!
//! An item's id says of which response it is and which of its items: so what is referred to (`item_reference`) is found without an index.

use serde_json::{Map, Value, json};

use super::super::error::ApiError;
use super::super::params;
use crate::platform::wire::{first_chars, random64};

/// Digits of a response's id.
const DIGITS: usize = 28;
/// Added to the number of an item of a request's.
const INPUT: usize = 0x8000;

/// An id of a response.
pub(super) fn random_id() -> String {
    let digits = format!("{:016x}{:016x}", random64(), random64());
    format!("resp_{}", &digits[..DIGITS])
}

/// The id of the `nth` item that a response has.
pub(super) fn id_of(response: &str, kind: &str, nth: usize) -> String {
    let prefix = match kind {
        "function_call" => "fc",
        "function_call_output" => "fco",
        "custom_tool_call" => "ctc",
        "custom_tool_call_output" => "ctco",
        "reasoning" => "rs",
        _ => "msg",
    };
    let digits = response.strip_prefix("resp_").unwrap_or(response);
    format!("{prefix}_{digits}{nth:04x}")
}

/// The response that an item is of, by its id.
pub(super) fn response_of(item: &str) -> Option<String> {
    let (_, digits) = item.split_once('_')?;
    let is_one = digits.len() == DIGITS + 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_one.then(|| format!("resp_{}", &digits[..DIGITS]))
}

/// The items that `input` is, before anything of it is looked up.
pub(super) fn listed(input: Option<Value>) -> Result<Vec<Value>, ApiError> {
    let invalid = |message: &str| Err(ApiError::invalid(message).param("input"));
    let items = match input {
        None | Some(Value::Null) => return invalid("Missing 'input' field"),
        Some(Value::String(text)) => vec![Value::String(text)],
        Some(Value::Array(items)) => items,
        Some(_) => return invalid("'input' must be a string or array"),
    };
    if items.is_empty() {
        return invalid("No user message found in input");
    }
    let as_message = |item| match item {
        Value::String(text) => json!({"type": "message", "role": "user", "content": text}),
        other => other,
    };
    Ok(items.into_iter().map(as_message).collect())
}

/// The id that an item refers to, if that is all it does.
pub(super) fn reference(item: &Value) -> Option<&str> {
    let id = item["id"].as_str()?;
    let is_message = item.get("role").is_some() || item.get("call_id").is_some();
    match item.get("type") {
        Some(Value::String(kind)) if kind == "item_reference" => Some(id),
        None | Some(Value::Null) if !is_message => Some(id),
        _ => None,
    }
}

/// Messages, and from which of the items each came.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Messages {
    pub(super) messages: Vec<Value>,
    pub(super) from: Vec<usize>,
}

/// The messages that items are.
pub(super) fn to_messages(items: &[Value]) -> Result<Messages, ApiError> {
    let mut all = Messages::default();
    for (at, item) in items.iter().enumerate() {
        let place = |what: &str| format!("input[{at}]{what}");
        let Value::Object(fields) = item else {
            return Err(ApiError::invalid("'input' must be a list of texts and items")
                .param(place(""))
                .code("invalid_value"));
        };
        let kind = fields.get("type").and_then(Value::as_str).unwrap_or("message");
        match kind {
            "message" => {
                let mut message = fields.clone();
                message.retain(|key, _| matches!(key.as_str(), "role" | "content" | "name"));
                all.push(Value::Object(message), at);
            }
            "function_call" | "custom_tool_call" => {
                all.call(call(kind, fields).map_err(|error| error.param(place("")))?, at);
            }
            "function_call_output" | "custom_tool_call_output" => {
                let id = fields.get("call_id").and_then(Value::as_str).filter(|id| !id.is_empty());
                let Some(id) = id else {
                    return Err(ApiError::invalid("The output of a call needs the 'call_id' of its call")
                        .param(place(".call_id"))
                        .code("invalid_value"));
                };
                let output = fields.get("output").cloned().unwrap_or_default();
                all.push(json!({"role": "tool", "tool_call_id": id, "content": output}), at);
            }
            "reasoning" => {}
            other => {
                let kind = first_chars(other, 64);
                return Err(params::unsupported(
                    &place(".type"),
                    &format!("items of type `{kind}` are not known here"),
                ));
            }
        }
    }
    Ok(all)
}

impl Messages {
    fn push(&mut self, message: Value, from: usize) {
        self.messages.push(message);
        self.from.push(from);
    }

    /// A call joins what the assistant has said just before.
    fn call(&mut self, call: Value, from: usize) {
        if let Some(last) = self.messages.last_mut().filter(|last| last["role"] == "assistant") {
            match last.get_mut("tool_calls") {
                Some(Value::Array(calls)) => calls.push(call),
                _ => last["tool_calls"] = json!([call]),
            }
            return;
        }
        self.push(json!({"role": "assistant", "content": null, "tool_calls": [call]}), from);
    }
}

fn call(kind: &str, fields: &Map<String, Value>) -> Result<Value, ApiError> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let (wire, key) =
        if kind == "custom_tool_call" { ("custom", "input") } else { ("function", "arguments") };
    let (Some(id), Some(name)) = (text("call_id").filter(|id| !id.is_empty()), text("name")) else {
        let message = format!("A call needs a 'call_id', a 'name' and '{key}'");
        return Err(ApiError::invalid(message).code("invalid_value"));
    };
    Ok(json!({"id": id, "type": wire, wire: {"name": name, key: text(key).unwrap_or_default()}}))
}

/// A request's items as they are kept and listed: each with an id, and its text in parts.
pub(super) fn kept(response: &str, items: &[Value]) -> Vec<Value> {
    let keep = |(nth, item): (usize, &Value)| {
        let mut item = item.as_object().cloned().unwrap_or_default();
        let kind = item.get("type").and_then(Value::as_str).unwrap_or("message").to_owned();
        if let Some(Value::String(text)) = item.get("content") {
            let part = if item.get("role").is_some_and(|role| role == "assistant") {
                "output_text"
            } else {
                "input_text"
            };
            let mut part = json!({"type": part, "text": text});
            if part["type"] == "output_text" {
                part["annotations"] = json!([]);
            }
            item.insert("content".to_owned(), json!([part]));
        }
        let mut kept = Map::new();
        kept.insert("id".to_owned(), id_of(response, &kind, INPUT + nth).into());
        kept.insert("type".to_owned(), kind.into());
        item.entry("status").or_insert_with(|| "completed".into());
        kept.extend(item.into_iter().filter(|(key, _)| key != "id" && key != "type"));
        Value::Object(kept)
    };
    items.iter().enumerate().map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_items_id_names_its_response() {
        let response = random_id();
        assert_eq!(response.len(), 5 + DIGITS);
        for (kind, nth) in [("message", 0), ("function_call", 0xffff), ("reasoning", 7)] {
            assert_eq!(response_of(&id_of(&response, kind, nth)), Some(response.clone()));
        }
        for other in ["msg_1", "", "resp", "msg_zz00000000000000000000000000000", &response] {
            assert_eq!(response_of(other), None, "{other}");
        }
    }

    #[test]
    fn items_are_messages() {
        let items = json!([
            {"role": "user", "content": "the weather"},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
            {"type": "function_call", "id": "fc_1", "call_id": "a", "name": "f", "arguments": "{}"},
            {"type": "custom_tool_call", "call_id": "b", "name": "c", "input": "x"},
            {"type": "function_call_output", "call_id": "a", "output": "wet"},
            {"type": "custom_tool_call_output", "call_id": "b", "output": [{"type": "input_text", "text": "dry"}]},
            {"type": "function_call", "call_id": "d", "name": "f", "arguments": "{}"},
        ]);
        let found = to_messages(items.as_array().unwrap()).unwrap();
        assert_eq!(
            Value::Array(found.messages),
            json!([
                {"role": "user", "content": "the weather"},
                {"role": "assistant", "content": [{"type": "output_text", "text": "I look."}], "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                    {"id": "b", "type": "custom", "custom": {"name": "c", "input": "x"}}]},
                {"role": "tool", "tool_call_id": "a", "content": "wet"},
                {"role": "tool", "tool_call_id": "b", "content": [{"type": "input_text", "text": "dry"}]},
                {"role": "assistant", "content": null, "tool_calls": [{"id": "d", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            ])
        );
        assert_eq!(found.from, [0, 2, 5, 6, 7]);
        for (item, param) in [
            (json!({"type": "computer_call_output"}), "input[0].type"),
            (json!({"type": "function_call", "name": "f"}), "input[0]"),
            (json!({"type": "function_call_output", "output": "x"}), "input[0].call_id"),
            (json!(7), "input[0]"),
        ] {
            assert_eq!(to_messages(&[item]).unwrap_err().param.as_deref(), Some(param));
        }
    }

    #[test]
    fn what_refers_to_an_item_and_what_is_one() {
        assert_eq!(reference(&json!({"type": "item_reference", "id": "msg_1"})), Some("msg_1"));
        assert_eq!(reference(&json!({"id": "msg_1"})), Some("msg_1"));
        assert_eq!(reference(&json!({"id": "msg_1", "role": "user", "content": "x"})), None);
        let kept = kept("resp_x", &[json!({"role": "user", "content": "hi"})]);
        assert_eq!(
            kept,
            [
                json!({"id": "msg_x8000", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}], "status": "completed"})
            ]
        );
    }
}
