//! OpenAI's Responses wire: what is sent. [`Reader`] reads what comes.
//!
//! Nothing is stored at the provider (`store: false`): the conversation is the profile's own. A reasoning model's thoughts come back
//! encrypted and are given back with the results of the tools that it called.

mod read;

use serde_json::{Map, Value, json};

pub(super) use read::Reader;

use super::part::{image_of, into, parts, refused, text_of, unknown};
use super::shape::{INCLUDE, LIMITS, Shape};
use crate::engine::steps::Ask;
use crate::engine::{EngineError, Message, Role, call_kind};
use crate::provider::Endpoint;

/// Fields of a client's request that are the same on this wire.
const SAME: [&str; 9] = [
    "temperature",
    "top_p",
    "parallel_tool_calls",
    "metadata",
    "safety_identifier",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
];
/// Those that have another place on it.
const OTHERWISE: [&str; 5] = ["tools", "tool_choice", "reasoning_effort", "verbosity", "response_format"];

/// Whether a field of a client's request can be carried.
pub(super) fn carries(field: &str) -> bool {
    SAME.contains(&field) || OTHERWISE.contains(&field) || LIMITS.contains(&field)
}

/// The body of a request.
pub(super) fn body(endpoint: &Endpoint, ask: &Ask<'_>, shape: &Shape) -> Result<Value, EngineError> {
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(endpoint.model));
    if !ask.system.is_empty() {
        body.insert("instructions".to_owned(), json!(ask.system));
    }
    body.insert("input".to_owned(), Value::Array(input(endpoint, ask)?));
    let asked = LIMITS.iter().find_map(|name| ask.options.get(*name)?.as_u64());
    if let Some(limit) = asked.or_else(|| shape.limit(endpoint).map(|(_, limit)| limit)) {
        body.insert("max_output_tokens".to_owned(), json!(shape.at_most(limit)));
    }
    body.insert("stream".to_owned(), json!(true));
    body.insert("store".to_owned(), json!(false));
    if !shape.leaves_out(INCLUDE) {
        body.insert(INCLUDE.to_owned(), json!(["reasoning.encrypted_content"]));
    }
    for (key, value) in &endpoint.extra_body {
        let is_set = matches!(key.as_str(), "input" | "messages" | "stream" | "store")
            || LIMITS.contains(&key.as_str());
        if !is_set && !shape.leaves_out(key) {
            body.insert(key.clone(), value.clone());
        }
    }
    for (key, value) in ask.options.iter().filter(|(key, _)| !LIMITS.contains(&key.as_str())) {
        match key.as_str() {
            same if SAME.contains(&same) => {
                body.insert(key.clone(), value.clone());
            }
            "tools" => {
                body.insert(key.clone(), parts(value).iter().map(tool).collect());
            }
            "tool_choice" => {
                body.insert(key.clone(), choice(value));
            }
            "reasoning_effort" => into(&mut body, "reasoning", "effort", value.clone()),
            "verbosity" => into(&mut body, "text", key, value.clone()),
            "response_format" => into(&mut body, "text", "format", format(value)),
            "store" if value == &Value::Bool(false) => {}
            "store" => return Err(refused(endpoint, key, "nothing is stored at the provider")),
            _ => return Err(refused(endpoint, key, "OpenAI's Responses API has nothing like it")),
        }
    }
    if !ask.tools.is_empty() {
        body.insert("tools".to_owned(), ask.tools.iter().map(tool).collect());
    }
    Ok(Value::Object(body))
}

/// The conversation as items.
fn input(endpoint: &Endpoint, ask: &Ask<'_>) -> Result<Vec<Value>, EngineError> {
    let question = ask.messages.iter().rposition(|message| message.role == Role::User);
    let mut items = Vec::with_capacity(ask.messages.len());
    for (at, message) in ask.messages.iter().enumerate() {
        match message.role {
            Role::User => {
                let content = parts(&message.content).iter().map(|part| asked(endpoint, part));
                let content = content.collect::<Result<Vec<_>, _>>()?;
                items.push(json!({"type": "message", "role": "user", "content": content}));
            }
            Role::Assistant => items.extend(said(message, question.is_none_or(|question| at > question))),
            Role::Tool => {
                let text: Vec<&str> = parts(&message.content).iter().filter_map(text_of).collect();
                let call = message.tool_call_id.as_deref().unwrap_or_default();
                items.push(json!({"type": "function_call_output", "call_id": call, "output": text.concat()}));
            }
        }
    }
    Ok(items)
}

/// What the assistant said. `of_turn`: after the last question, where its thoughts belong to its calls.
fn said(message: &Message, of_turn: bool) -> Vec<Value> {
    let is_reasoning = |item: &&Value| item.get("type").and_then(Value::as_str) == Some("reasoning");
    let mut items: Vec<Value> =
        message.thoughts.iter().filter(|_| of_turn).filter(is_reasoning).cloned().collect();
    let texts = parts(&message.content).iter().filter_map(text_of).filter(|text| !text.is_empty());
    let content: Vec<Value> = texts.map(|text| json!({"type": "output_text", "text": text})).collect();
    if !content.is_empty() {
        items.push(json!({"type": "message", "role": "assistant", "content": content}));
    }
    items.extend(message.tool_calls.iter().filter_map(Value::as_object).map(|call| {
        let (kind, key) = call_kind(call);
        let inner = call.get(kind);
        let field = |name: &str| inner.and_then(|inner| inner.get(name)).cloned().unwrap_or_default();
        let (wire, said) =
            if key == "input" { ("custom_tool_call", "input") } else { ("function_call", "arguments") };
        let mut item = json!({"type": wire, "call_id": call.get("id"), "name": field("name")});
        item[said] = field(key);
        item
    }));
    items
}

/// A part of what the user said.
fn asked(endpoint: &Endpoint, part: &Value) -> Result<Value, EngineError> {
    if let Some(url) = image_of(part) {
        let detail = part.pointer("/image_url/detail").cloned().unwrap_or_else(|| json!("auto"));
        return Ok(json!({"type": "input_image", "image_url": url, "detail": detail}));
    }
    let text = text_of(part).ok_or_else(|| unknown(endpoint, part))?;
    Ok(json!({"type": "input_text", "text": text}))
}

/// A tool as this wire declares it: what stands in an object of its own elsewhere stands beside the type here.
fn tool(tool: &Value) -> Value {
    flat(tool).unwrap_or_else(|| tool.clone())
}

fn choice(choice: &Value) -> Value {
    flat(choice).unwrap_or_else(|| choice.clone())
}

fn flat(value: &Value) -> Option<Value> {
    let kind = value.get("type")?.as_str()?;
    let mut fields = value.get(kind)?.as_object()?.clone();
    fields.insert("type".to_owned(), json!(kind));
    if kind == "function" && fields.contains_key("parameters") {
        // The other wire's default, which is not this one's.
        fields.entry("strict").or_insert(json!(false));
    }
    Some(Value::Object(fields))
}

fn format(format: &Value) -> Value {
    flat(format).unwrap_or_else(|| format.clone())
}

#[cfg(test)]
mod tests;
