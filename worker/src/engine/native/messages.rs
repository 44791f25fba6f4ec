//! Anthropic's Messages wire: what is sent. [`Reader`] reads what comes.
//!
//! A conversation on this wire alternates: results of tools stand in the user's turn, all of a step in one, and each call has its
//! result in the turn that follows. What a kept history lacks of that is made up for in words, so that no history is refused.
//!
//! Marks for the provider's cache stand on the system prompt and on the last two turns of the user: what was sent once is read from the
//! cache by the next call of the same turn and of the next one.

mod read;

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

pub(super) use read::Reader;

use super::chat::cache_mark;
use super::numbers;
use super::part::{image_of, into, parts, refused, text_of, unknown};
use super::shape::{LIMITS, Shape};
use crate::engine::steps::Ask;
use crate::engine::{EngineError, Message, Role, call_kind};
use crate::provider::Endpoint;

/// Most that an answer may have where nobody says; every model since 2025 takes it.
const MAX_TOKENS: u64 = 32_000;
/// What earlier ones take (docs.anthropic.com, "Models overview").
const OLDER: [(&str, u64); 3] = [("claude-3-7", 32_000), ("claude-3-5", 8_192), ("claude-3-", 4_096)];
/// So many turns of the user are marked for the cache.
const MARKED: usize = 2;
/// The first message has to be the user's.
const BEFORE: &str = "[What was said before is not shown.]";
/// In place of a result that nobody has.
const NO_RESULT: &str = "The result of this call is not known.";

/// The body of a request.
pub(super) fn body(endpoint: &Endpoint, ask: &Ask<'_>, shape: &Shape) -> Result<Value, EngineError> {
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(endpoint.model));
    let asked = LIMITS.iter().find_map(|name| ask.options.get(*name)?.as_u64());
    let limit = asked.or_else(|| shape.limit(endpoint).map(|(_, limit)| limit)).unwrap_or_else(|| {
        let older = OLDER.iter().find(|(family, _)| endpoint.model.contains(family));
        older.map_or(MAX_TOKENS, |(_, limit)| *limit)
    });
    body.insert("max_tokens".to_owned(), json!(shape.at_most(limit)));
    if !ask.system.is_empty() {
        body.insert(
            "system".to_owned(),
            json!([marked(endpoint, json!({"type": "text", "text": ask.system}))]),
        );
    }
    let mut turns = turns(endpoint, ask)?;
    mark(endpoint, &mut turns);
    body.insert("messages".to_owned(), Value::Array(turns));
    body.insert("stream".to_owned(), json!(true));
    for (key, value) in &endpoint.extra_body {
        let is_set = matches!(key.as_str(), "messages" | "stream") || LIMITS.contains(&key.as_str());
        if !is_set && !shape.leaves_out(key) {
            body.insert(key.clone(), value.clone());
        }
    }
    let mut serial = false;
    for (key, value) in ask.options.iter().filter(|(key, _)| !LIMITS.contains(&key.as_str())) {
        match key.as_str() {
            "temperature" | "top_p" | "top_k" | "thinking" | "service_tier" => {
                body.insert(key.clone(), value.clone());
            }
            "tools" => {
                body.insert(key.clone(), tools(endpoint, parts(value))?);
            }
            "tool_choice" => {
                body.insert(key.clone(), choice(endpoint, value)?);
            }
            "parallel_tool_calls" => serial = value == &Value::Bool(false),
            "stop" => {
                body.insert("stop_sequences".to_owned(), json!(parts(value)));
            }
            "safety_identifier" => {
                body.insert("metadata".to_owned(), json!({"user_id": value}));
            }
            "reasoning_effort" if value.as_str().is_some_and(|effort| effort != "none") => {
                let effort = if value == "minimal" { json!("low") } else { value.clone() };
                into(&mut body, "output_config", "effort", effort);
            }
            "response_format" if value.pointer("/json_schema/schema").is_some() => {
                let format = json!({"type": "json_schema", "schema": value.pointer("/json_schema/schema")});
                into(&mut body, "output_config", "format", format);
            }
            // What every answer here is anyway.
            "response_format" if value.get("type").and_then(Value::as_str) == Some("text") => {}
            "store" if value == &Value::Bool(false) => {}
            _ => return Err(refused(endpoint, key, "Anthropic's Messages API has nothing like it")),
        }
    }
    if !ask.tools.is_empty() {
        body.insert("tools".to_owned(), tools(endpoint, ask.tools)?);
    }
    if serial && body.contains_key("tools") {
        let choice = body.entry("tool_choice").or_insert_with(|| json!({"type": "auto"}));
        choice["disable_parallel_tool_use"] = json!(true);
    }
    Ok(Value::Object(body))
}

/// The conversation, turn by turn.
fn turns(endpoint: &Endpoint, ask: &Ask<'_>) -> Result<Vec<Value>, EngineError> {
    let question = ask.messages.iter().rposition(|message| message.role == Role::User);
    let mut turns: Vec<(&str, Vec<Value>)> = Vec::new();
    // Calls whose results have not come yet.
    let mut open: BTreeSet<String> = BTreeSet::new();
    for (at, message) in ask.messages.iter().enumerate() {
        let (role, blocks) = match message.role {
            Role::Assistant => {
                close(&mut open, &mut turns);
                let blocks = said(message, question.is_none_or(|question| at > question));
                open.extend(message.call_ids().map(id));
                ("assistant", blocks)
            }
            Role::Tool => ("user", vec![result(message, &mut open)]),
            Role::User => {
                close(&mut open, &mut turns);
                let parts = parts(&message.content).iter().map(|part| asked(endpoint, part));
                ("user", parts.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?)
            }
        };
        // An empty turn is refused.
        if blocks.is_empty() {
            continue;
        }
        match turns.last_mut() {
            Some((last, all)) if *last == role => all.extend(blocks),
            _ => turns.push((role, blocks)),
        }
    }
    close(&mut open, &mut turns);
    if turns.first().is_none_or(|(role, _)| *role == "assistant") {
        turns.insert(0, ("user", vec![json!({"type": "text", "text": BEFORE})]));
    }
    Ok(turns.into_iter().map(|(role, content)| json!({"role": role, "content": content})).collect())
}

/// Gives calls without a result one that says so.
fn close(open: &mut BTreeSet<String>, turns: &mut Vec<(&str, Vec<Value>)>) {
    let missing = std::mem::take(open).into_iter();
    let mut results: Vec<Value> = missing
        .map(|id| json!({"type": "tool_result", "tool_use_id": id, "content": NO_RESULT, "is_error": true}))
        .collect();
    if results.is_empty() {
        return;
    }
    match turns.last_mut() {
        Some((role, blocks)) if *role == "user" => blocks.append(&mut results),
        _ => turns.push(("user", results)),
    }
}

/// What the assistant said. `of_turn`: after the last question, where its thoughts have to be there with its calls.
fn said(message: &Message, of_turn: bool) -> Vec<Value> {
    let mut blocks: Vec<Value> =
        message.thoughts.iter().filter(|_| of_turn).filter(|block| is_thought(block)).cloned().collect();
    for text in parts(&message.content).iter().filter_map(text_of) {
        // One that is blank is refused, and the last one must not end in white space.
        let text = text.trim_end();
        if !text.is_empty() {
            blocks.push(json!({"type": "text", "text": text}));
        }
    }
    blocks.extend(message.tool_calls.iter().filter_map(Value::as_object).map(|call| {
        let (kind, key) = call_kind(call);
        let inner = call.get(kind);
        let arguments = inner.and_then(|inner| inner.get(key)).and_then(Value::as_str).unwrap_or_default();
        let input = match serde_json::from_str(arguments) {
            Ok(input @ Value::Object(_)) => input,
            _ if arguments.trim().is_empty() => json!({}),
            _ => json!({ key: arguments }),
        };
        let name = inner.and_then(|inner| inner.get("name")).cloned().unwrap_or_default();
        let id = id(call.get("id").and_then(Value::as_str).unwrap_or_default());
        json!({"type": "tool_use", "id": id, "name": name, "input": input})
    }));
    blocks
}

/// Whether a block is one of this wire's thoughts.
fn is_thought(block: &Value) -> bool {
    matches!(block.get("type").and_then(Value::as_str), Some("thinking" | "redacted_thinking"))
}

/// The result of a tool. One without its call can only be told.
fn result(message: &Message, open: &mut BTreeSet<String>) -> Value {
    let id = id(message.tool_call_id.as_deref().unwrap_or_default());
    let text: Vec<&str> = parts(&message.content).iter().filter_map(text_of).collect();
    let text = text.concat();
    if open.remove(&id) {
        return json!({"type": "tool_result", "tool_use_id": id, "content": text});
    }
    let name = message.name.as_deref().unwrap_or("a tool");
    json!({"type": "text", "text": format!("[Result of {name}]\n{text}")})
}

/// An id as this wire takes it: other servers use more characters.
fn id(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' }).collect()
}

/// A part of what the user said; `None`: it says nothing.
fn asked(endpoint: &Endpoint, part: &Value) -> Result<Option<Value>, EngineError> {
    if let Some(url) = image_of(part) {
        let embedded = url.strip_prefix("data:").and_then(|data| data.split_once(";base64,"));
        let source = match embedded {
            Some((media, data)) => json!({"type": "base64", "media_type": media, "data": data}),
            None => json!({"type": "url", "url": url}),
        };
        return Ok(Some(json!({"type": "image", "source": source})));
    }
    let text = text_of(part).ok_or_else(|| unknown(endpoint, part))?;
    Ok((!text.trim().is_empty()).then(|| json!({"type": "text", "text": text})))
}

/// Tools as this wire declares them.
fn tools(endpoint: &Endpoint, tools: &[Value]) -> Result<Value, EngineError> {
    let declare = |tool: &Value| {
        let function = tool.get("function").filter(|function| function.is_object()).ok_or_else(|| {
            refused(endpoint, "tools", "only functions are translated to Anthropic's Messages API")
        })?;
        let mut wire = Map::new();
        wire.insert("name".to_owned(), function.get("name").cloned().unwrap_or_default());
        if let Some(about) = function.get("description").filter(|about| about.is_string()) {
            wire.insert("description".to_owned(), about.clone());
        }
        let schema = function.get("parameters").filter(|schema| schema.is_object()).cloned();
        wire.insert(
            "input_schema".to_owned(),
            schema.unwrap_or_else(|| json!({"type": "object", "properties": {}})),
        );
        Ok(Value::Object(wire))
    };
    tools.iter().map(declare).collect::<Result<Vec<_>, _>>().map(Value::Array)
}

fn choice(endpoint: &Endpoint, choice: &Value) -> Result<Value, EngineError> {
    let named = choice.pointer("/function/name").and_then(Value::as_str);
    match (choice.as_str(), named) {
        (Some("auto"), _) => Ok(json!({"type": "auto"})),
        (Some("none"), _) => Ok(json!({"type": "none"})),
        (Some("required"), _) => Ok(json!({"type": "any"})),
        (_, Some(name)) => Ok(json!({"type": "tool", "name": name})),
        _ => Err(refused(endpoint, "tool_choice", "only auto, none, required and a function are translated")),
    }
}

/// With a mark for the cache.
fn marked(endpoint: &Endpoint, mut block: Value) -> Value {
    block["cache_control"] = cache_mark(endpoint);
    block
}

/// Marks the last turns of the user.
fn mark(endpoint: &Endpoint, turns: &mut [Value]) {
    let users = turns.iter_mut().rev().filter(|turn| turn["role"] == "user").take(MARKED);
    for block in users.filter_map(|turn| turn["content"].as_array_mut()?.last_mut()) {
        *block = marked(endpoint, block.take());
    }
}

#[cfg(test)]
mod tests;
