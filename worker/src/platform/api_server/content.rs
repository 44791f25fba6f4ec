//! The messages of a request: what each role may say, what is refused, and which of them are new.
//!
//! # Theory
//!
//! `system` and `developer` messages are one system text. `user`, `assistant` and `tool` messages stay what and where they are:
//! ids, order, an assistant's null content beside its calls. Every kind of part is taken or refused by its name. No text is cut:
//! the limit is that of the body. No text is looked into: it is never anything but text.
//!
//! What is new is the last user message, or the results of the client's tools together with whatever follows them. The assistant's
//! message that called the tools comes with the results, for sessions that do not know it. A result must belong to a call; only a
//! named session may be sent results alone, because it may know the call.
//!
//! Further fields of a message (`annotations`, `reasoning_content`, …) are what servers put into answers; clients send them back
//! unread, and so they are left out.

use serde_json::{Map, Value, json};

use super::error::ApiError;
use crate::engine::{Message, Role, call_kind};
use crate::platform::wire::first_chars;

/// A request's messages, sorted out.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Conversation {
    /// All system messages, one after the other.
    pub(super) system: Option<String>,
    /// Everything before the input.
    pub(super) history: Vec<Message>,
    /// What is new, as [`crate::turn::Turn::input`].
    pub(super) input: Vec<Message>,
}

impl Conversation {
    /// The text of the first user message.
    pub(super) fn opening(&self) -> &str {
        let mut all = self.history.iter().chain(&self.input);
        match all.find(|message| message.role == Role::User).map(|message| &message.content) {
            Some(Value::String(text)) => text,
            Some(Value::Array(parts)) => {
                parts.iter().find_map(|part| part["text"].as_str()).unwrap_or_default()
            }
            _ => "",
        }
    }
}

/// Sorts out `messages`. `named`: they continue a session that may know more than they say.
pub(super) fn parse(messages: Option<Value>, named: bool) -> Result<Conversation, ApiError> {
    let missing = || ApiError::invalid("Missing or invalid 'messages' field").param("messages");
    let Some(Value::Array(messages)) = messages else { return Err(missing()) };
    if messages.is_empty() {
        return Err(missing());
    }
    let mut system: Option<String> = None;
    let mut kept: Vec<Message> = Vec::with_capacity(messages.len());
    let mut last = 0;
    for (index, message) in messages.into_iter().enumerate() {
        let at = |what: &str| format!("messages[{index}]{what}");
        let Value::Object(mut message) = message else { return Err(missing().param(at(""))) };
        let Some(role) = message.get("role").and_then(Value::as_str) else {
            return Err(missing().param(at(".role")));
        };
        let author = match role {
            "system" | "developer" => Author::System,
            "user" => Author::Role(Role::User),
            "assistant" => Author::Role(Role::Assistant),
            "tool" => Author::Role(Role::Tool),
            other => return Err(unknown_role(other).param(at(".role"))),
        };
        let content =
            content(message.remove("content"), author).map_err(|error| error.param(at(".content")))?;
        let Author::Role(role) = author else {
            let text = text_of(&content);
            system = Some(system.map_or_else(|| text.clone(), |before| format!("{before}\n{text}")));
            continue;
        };
        let message = said(role, content, message).map_err(|error| {
            let below = error.param.clone().unwrap_or_default();
            error.param(at(&below))
        })?;
        if role == Role::Tool {
            name_call(&kept, &message, named).map_err(|error| error.param(at(".tool_call_id")))?;
        }
        last = index;
        kept.push(message);
    }
    let nothing = || ApiError::invalid("No user message found in messages").param("messages");
    let Some(newest) = kept.last() else { return Err(nothing()) };
    if newest.role == Role::Assistant {
        return Err(ApiError::invalid(
            "The last message must be the user's, or the result of a tool; it is the assistant's",
        )
        .param(format!("messages[{last}].role")));
    }
    if newest.role == Role::User && is_blank(&newest.content) {
        return Err(nothing().param(format!("messages[{last}].content")));
    }
    let input = kept.split_off(first_new(&kept));
    Ok(Conversation { system: system.filter(|s| !s.is_empty()), history: kept, input })
}

/// Where what is new begins.
pub(super) fn first_new(kept: &[Message]) -> usize {
    let answered = kept.iter().rposition(|message| message.role == Role::Assistant);
    let after = answered.map_or(0, |at| at + 1);
    if kept[after..].iter().any(|message| message.role == Role::Tool) {
        return answered.unwrap_or(0);
    }
    kept.len() - 1
}

/// Who wrote a message, as far as that decides what may be in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Author {
    System,
    Role(Role),
}

fn unknown_role(role: &str) -> ApiError {
    let role = first_chars(role, 64);
    let hint = if role == "function" { "; results of tools have the role `tool`" } else { "" };
    ApiError::invalid(format!(
        "Unsupported role '{role}': messages are of system, developer, user, assistant or tool{hint}"
    ))
    .code("unsupported_role")
}

/// A message of the conversation; an error's `param` is the place below it.
fn said(role: Role, content: Value, mut fields: Map<String, Value>) -> Result<Message, ApiError> {
    let mut message = Message::new(role, content);
    message.name = match fields.remove("name") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(name).filter(|name| !name.is_empty()),
        Some(_) => {
            return Err(ApiError::invalid("'name' must be a string").param(".name").code("invalid_value"));
        }
    };
    if role == Role::Tool {
        match fields.remove("tool_call_id") {
            Some(Value::String(id)) if !id.is_empty() => message.tool_call_id = Some(id),
            _ => {
                return Err(ApiError::invalid("A result of a tool needs the 'tool_call_id' of its call")
                    .param(".tool_call_id")
                    .code("invalid_value"));
            }
        }
    }
    if role != Role::Assistant {
        return Ok(message);
    }
    for (field, instead) in [("function_call", "`tool_calls`"), ("audio", "text")] {
        if fields.get(field).is_some_and(|value| !value.is_null()) {
            return Err(ApiError::invalid(format!(
                "Unsupported field '{field}' of a message: use {instead}"
            ))
            .param(format!(".{field}"))
            .code("unsupported_parameter"));
        }
    }
    match fields.remove("tool_calls") {
        None | Some(Value::Null) => {}
        Some(Value::Array(calls)) => {
            for (index, call) in calls.into_iter().enumerate() {
                message.tool_calls.push(tool_call(call).ok_or_else(|| {
                    ApiError::invalid("A call needs an 'id' and a 'function' with 'name' and 'arguments'")
                        .param(format!(".tool_calls[{index}]"))
                        .code("invalid_value")
                })?);
            }
        }
        Some(_) => {
            return Err(ApiError::invalid("'tool_calls' must be a list")
                .param(".tool_calls")
                .code("invalid_value"));
        }
    }
    if message.content.is_null() && message.tool_calls.is_empty() {
        // What the model said when it declined.
        let refusal = fields.remove("refusal").filter(Value::is_string);
        message.content = refusal.unwrap_or_else(|| Value::String(String::new()));
    }
    Ok(message)
}

/// A call as the wire has it; fields that only some providers know are kept, because they want them back.
fn tool_call(call: Value) -> Option<Value> {
    let Value::Object(mut call) = call else { return None };
    call.get("id")?.as_str().filter(|id| !id.is_empty())?;
    let (kind, key) = call_kind(&call);
    let inner = call.get_mut(kind)?.as_object_mut()?;
    inner.get("name")?.as_str()?;
    let payload = match inner.remove(key) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
    };
    inner.insert(key.to_owned(), payload.into());
    call.entry("type").or_insert_with(|| kind.into());
    call.remove("index");
    Some(Value::Object(call))
}

/// Checks that a result belongs to a call of the assistant's message before it.
fn name_call(before: &[Message], result: &Message, named: bool) -> Result<(), ApiError> {
    let id = result.tool_call_id.as_deref().unwrap_or_default();
    let caller = before.iter().rev().find(|message| message.role != Role::Tool);
    let is_known = match caller {
        Some(caller) => caller.call_ids().any(|call| call == id),
        // Only results so far: the session may know the call.
        None => named,
    };
    if is_known {
        return Ok(());
    }
    let id = first_chars(id, 64);
    Err(ApiError::invalid(format!(
        "A result must follow the assistant's message with its call: no call '{id}' in the message before it"
    ))
    .code("invalid_value"))
}

fn is_blank(content: &Value) -> bool {
    match content {
        Value::String(text) => text.trim().is_empty(),
        Value::Array(parts) => parts.is_empty(),
        _ => true,
    }
}

fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|p| p["text"].as_str()).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}

/// Text stays text; parts of text alone become text; parts with images become parts of two kinds.
fn content(content: Option<Value>, author: Author) -> Result<Value, ApiError> {
    let parts = match content {
        None | Some(Value::Null) if author == Author::Role(Role::Assistant) => return Ok(Value::Null),
        None | Some(Value::Null) => return Ok(Value::String(String::new())),
        Some(Value::String(text)) => return Ok(Value::String(text)),
        Some(Value::Array(parts)) => parts,
        Some(_) => {
            return Err(ApiError::invalid("Message content must be a string or a list of parts.")
                .code("invalid_content_part"));
        }
    };
    let parts =
        parts.into_iter().map(|given| part(given, author)).collect::<Result<Vec<Value>, ApiError>>()?;
    if parts.iter().any(|part| part["type"] != "text") {
        return Ok(Value::Array(parts));
    }
    let text: Vec<&str> = parts.iter().filter_map(|p| p["text"].as_str()).filter(|t| !t.is_empty()).collect();
    Ok(Value::String(text.join("\n")))
}

fn part(part: Value, author: Author) -> Result<Value, ApiError> {
    let mut part = match part {
        Value::String(text) => return Ok(json!({"type": "text", "text": text})),
        Value::Object(part) => part,
        _ => {
            return Err(
                ApiError::invalid("Content parts must be strings or objects.").code("invalid_content_part")
            );
        }
    };
    let unsupported = |message: String| Err(ApiError::invalid(message).code("unsupported_content_type"));
    let Some(kind) = part.get("type").and_then(Value::as_str).map(str::to_owned) else {
        return Err(ApiError::invalid("Content part has no 'type'.").code("invalid_content_part"));
    };
    match kind.as_str() {
        "text" | "input_text" | "output_text" => text_part(part.remove("text")),
        "refusal" => text_part(part.remove("refusal")),
        "image_url" | "input_image" if author == Author::Role(Role::User) => image(part),
        "image_url" | "input_image" => unsupported(format!(
            "Unsupported content part type '{kind}' here: only messages of the user have images."
        )),
        "file" | "input_file" => unsupported(format!(
            "Unsupported content part type '{kind}': Inline image inputs are supported, but uploaded files and document inputs are not."
        )),
        other => unsupported(format!(
            "Unsupported content part type '{}'. Only text and image_url/input_image parts are supported.",
            first_chars(other, 64)
        )),
    }
}

fn text_part(text: Option<Value>) -> Result<Value, ApiError> {
    match text {
        Some(Value::String(text)) => Ok(json!({"type": "text", "text": text})),
        None | Some(Value::Null) => Ok(json!({"type": "text", "text": ""})),
        Some(_) => Err(ApiError::invalid("Text part has no text.").code("invalid_content_part")),
    }
}

fn image(mut part: Map<String, Value>) -> Result<Value, ApiError> {
    let mut detail = part.remove("detail");
    let url = match part.remove("image_url") {
        Some(Value::Object(mut image)) => {
            detail = image.remove("detail").or(detail);
            image.remove("url")
        }
        other => other,
    };
    let invalid = |message: &str| Err(ApiError::invalid(message).code("invalid_image_url"));
    let Some(Value::String(url)) = url else {
        return invalid("Image parts must have a non-empty image URL.");
    };
    let url = url.trim();
    let lower = first_chars(url, 11).to_ascii_lowercase();
    if lower.starts_with("data:") && lower != "data:image/" {
        return Err(ApiError::invalid("Only image data URLs are supported.").code("unsupported_content_type"));
    }
    if !(lower.starts_with("http://") || lower.starts_with("https://") || lower == "data:image/") {
        return invalid("Image inputs must use http(s) URLs or data:image/... URLs.");
    }
    let mut image = json!({ "url": url });
    if let Some(Value::String(detail)) = detail {
        image["detail"] = Value::String(detail);
    }
    Ok(json!({"type": "image_url", "image_url": image}))
}

#[cfg(test)]
mod tests;
