//! Parts of messages in the words of chat completions, and what cannot be said in a wire's own.

use serde_json::{Map, Value, json};

use crate::engine::EngineError;
use crate::provider::{Endpoint, Fault};

/// A field of a client's request that the wire of this profile's provider has no word for.
pub(super) fn refused(endpoint: &Endpoint, field: &str, why: &str) -> EngineError {
    let message = format!("`{field}` cannot be asked of provider '{}': {why}", endpoint.provider);
    EngineError::Provider {
        fault: Fault::Request,
        status: Some(400),
        retry_after: None,
        is_final: true,
        message,
        calls: 0,
    }
}

/// A part of a message that is neither text nor an image.
pub(super) fn unknown(endpoint: &Endpoint, part: &Value) -> EngineError {
    let kind = part.get("type").and_then(Value::as_str).unwrap_or("?");
    refused(endpoint, &format!("messages: a part of type {kind}"), "only text and images are translated")
}

/// A part of a message as text, where it is one.
pub(super) fn text_of(part: &Value) -> Option<&str> {
    match part {
        Value::String(text) => Some(text),
        Value::Object(_) => part.get("text").and_then(Value::as_str),
        _ => None,
    }
}

/// The address of a part that is an image.
pub(super) fn image_of(part: &Value) -> Option<&str> {
    let image = part.get("image_url")?;
    image.as_str().or_else(|| image.get("url")?.as_str())
}

/// The parts of a message's content.
pub(super) fn parts(content: &Value) -> &[Value] {
    match content {
        Value::Array(parts) => parts,
        Value::Null => &[],
        one => std::slice::from_ref(one),
    }
}

/// Sets a field of an object that stands in a body.
pub(super) fn into(body: &mut Map<String, Value>, object: &str, key: &str, value: Value) {
    let object = body.entry(object).or_insert_with(|| json!({}));
    if let Value::Object(fields) = object {
        fields.insert(key.to_owned(), value);
    }
}
