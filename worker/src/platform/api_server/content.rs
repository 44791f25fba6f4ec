//! The messages of a request: what is kept, what is refused, and which one is the new input.

use serde_json::{Map, Value, json};

use super::error::ApiError;
use crate::engine::{Message, Role};
use crate::platform::wire::first_chars;

/// Longest text of one message or part, in characters. What is longer is cut, as clients of 0.19.0 expect.
const MAX_TEXT: usize = 65_536;
/// Most parts of one message. Further ones are dropped.
const MAX_PARTS: usize = 1000;

/// A request's messages, sorted out.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Conversation {
    /// All system messages, one after the other.
    pub(super) system: Option<String>,
    /// Everything before the input.
    pub(super) history: Vec<Message>,
    /// The last message: text or parts.
    pub(super) input: Value,
}

impl Conversation {
    /// The text of the first user message.
    pub(super) fn opening(&self) -> &str {
        let first = self.history.iter().find(|m| m.role == Role::User).map_or(&self.input, |m| &m.content);
        match first {
            Value::String(text) => text,
            Value::Array(parts) => parts.iter().find_map(|part| part["text"].as_str()).unwrap_or_default(),
            _ => "",
        }
    }
}

/// Sorts out `messages`. Roles other than `system`, `user` and `assistant` are dropped.
pub(super) fn parse(messages: Option<Value>) -> Result<Conversation, ApiError> {
    let missing = || ApiError::invalid("Missing or invalid 'messages' field").param("messages");
    let Some(Value::Array(messages)) = messages else { return Err(missing()) };
    if messages.is_empty() {
        return Err(missing());
    }
    let mut system: Option<String> = None;
    let mut kept = Vec::with_capacity(messages.len());
    for (index, message) in messages.into_iter().enumerate() {
        let Value::Object(mut message) = message else {
            return Err(missing().param(format!("messages[{index}]")));
        };
        let role = match message.get("role").and_then(Value::as_str) {
            Some("system") => None,
            Some("user") => Some(Role::User),
            Some("assistant") => Some(Role::Assistant),
            Some(_) => continue,
            None => return Err(missing().param(format!("messages[{index}].role"))),
        };
        let content = content(message.remove("content"))
            .map_err(|error| error.param(format!("messages[{index}].content")))?;
        if let Some(role) = role {
            kept.push(Message::new(role, content));
        } else {
            let text = text_of(&content);
            system = Some(system.map_or_else(|| text.clone(), |before| format!("{before}\n{text}")));
        }
    }
    let input = kept.pop().map(|message| message.content).filter(|content| !is_blank(content));
    let input =
        input.ok_or_else(|| ApiError::invalid("No user message found in messages").param("messages"))?;
    Ok(Conversation { system: system.filter(|s| !s.is_empty()), history: kept, input })
}

fn is_blank(content: &Value) -> bool {
    match content {
        Value::String(text) => text.is_empty(),
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
fn content(content: Option<Value>) -> Result<Value, ApiError> {
    let parts = match content {
        None | Some(Value::Null) => return Ok(Value::String(String::new())),
        Some(Value::String(text)) => return Ok(Value::String(cut(text))),
        Some(Value::Array(parts)) => parts,
        Some(_) => {
            return Err(ApiError::invalid("Message content must be a string or a list of parts.")
                .code("invalid_content_part"));
        }
    };
    let parts = parts.into_iter().take(MAX_PARTS).map(part).collect::<Result<Vec<Value>, ApiError>>()?;
    if parts.iter().any(|part| part["type"] != "text") {
        return Ok(Value::Array(parts));
    }
    let text: Vec<&str> = parts.iter().filter_map(|p| p["text"].as_str()).filter(|t| !t.is_empty()).collect();
    Ok(Value::String(cut(text.join("\n"))))
}

fn part(part: Value) -> Result<Value, ApiError> {
    let mut part = match part {
        Value::String(text) => return Ok(json!({"type": "text", "text": cut(text)})),
        Value::Object(part) => part,
        _ => {
            return Err(
                ApiError::invalid("Content parts must be strings or objects.").code("invalid_content_part")
            );
        }
    };
    let unsupported = |message: String| Err(ApiError::invalid(message).code("unsupported_content_type"));
    let Some(kind) = part.get("type").and_then(Value::as_str) else {
        return Err(ApiError::invalid("Content part has no 'type'.").code("invalid_content_part"));
    };
    match kind {
        "text" | "input_text" | "output_text" => match part.remove("text") {
            Some(Value::String(text)) => Ok(json!({"type": "text", "text": cut(text)})),
            None | Some(Value::Null) => Ok(json!({"type": "text", "text": ""})),
            Some(_) => Err(ApiError::invalid("Text part has no text.").code("invalid_content_part")),
        },
        "image_url" | "input_image" => image(part),
        "file" | "input_file" => unsupported(
            "Inline image inputs are supported, but uploaded files and document inputs are not.".to_owned(),
        ),
        other => unsupported(format!(
            "Unsupported content part type '{}'. Only text and image_url/input_image parts are supported.",
            first_chars(other, 64)
        )),
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

fn cut(mut text: String) -> String {
    // Fewer bytes than characters allowed: nothing to count.
    if text.len() > MAX_TEXT {
        text.truncate(first_chars(&text, MAX_TEXT).len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(role: Role, text: &str) -> Message {
        Message::new(role, json!(text))
    }

    #[test]
    fn roles_are_sorted_out() {
        let conversation = parse(Some(json!([
            {"role": "system", "content": "one"},
            {"role": "user", "content": "hi"},
            {"role": "tool", "content": {"ignored": true}},
            {"role": "assistant", "content": null},
            {"role": "system", "content": [{"type": "text", "text": "two"}]},
            {"role": "developer", "content": "dropped"},
            {"role": "user", "content": "go"},
        ])))
        .unwrap();
        assert_eq!(conversation.system.as_deref(), Some("one\ntwo"));
        assert_eq!(conversation.history, [message(Role::User, "hi"), message(Role::Assistant, "")]);
        assert_eq!((conversation.input.clone(), conversation.opening()), (json!("go"), "hi"));
    }

    #[test]
    fn what_is_no_conversation_is_refused_by_name() {
        for bad in [
            None,
            Some(json!([])),
            Some(json!("x")),
            Some(json!({})),
            Some(json!(["x"])),
            Some(json!([{"content": "x"}])),
        ] {
            let error = parse(bad).unwrap_err();
            assert_eq!(
                (error.status.as_u16(), error.message.as_str()),
                (400, "Missing or invalid 'messages' field")
            );
        }
        for empty in [json!([{"role": "system", "content": "x"}]), json!([{"role": "user", "content": ""}])] {
            assert_eq!(parse(Some(empty)).unwrap_err().message, "No user message found in messages");
        }
    }

    #[test]
    fn parts_are_checked_and_normalised() {
        let of = |content: Value| parse(Some(json!([{"role": "user", "content": content}]))).map(|c| c.input);
        assert_eq!(of(json!(["a", {"type": "input_text", "text": "b"}])), Ok(json!("a\nb")));
        assert_eq!(
            of(
                json!([{"type": "text", "text": "see"}, {"type": "input_image", "image_url": "https://x/y.png", "detail": "low"}])
            ),
            Ok(json!([
                {"type": "text", "text": "see"},
                {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
            ]))
        );
        let data = json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "high"}}]);
        assert_eq!(of(data.clone()), Ok(data));
        for (bad, code) in [
            (json!([{"type": "audio"}]), "unsupported_content_type"),
            (json!([{"type": "file"}]), "unsupported_content_type"),
            (json!([{"type": "image_url", "image_url": "data:text/plain,x"}]), "unsupported_content_type"),
            (json!([{"type": "image_url", "image_url": "ftp://x"}]), "invalid_image_url"),
            (json!([{"type": "image_url"}]), "invalid_image_url"),
            (json!([{"type": "image_url", "image_url": {"url": ""}}]), "invalid_image_url"),
            (json!([7]), "invalid_content_part"),
            (json!([{"text": "x"}]), "invalid_content_part"),
            (json!(7), "invalid_content_part"),
        ] {
            let error = of(bad.clone()).unwrap_err();
            assert_eq!(
                (error.code, error.param.as_deref()),
                (Some(code), Some("messages[0].content")),
                "{bad}"
            );
        }
        assert!(
            of(json!([{"type": "audio"}]))
                .unwrap_err()
                .message
                .starts_with("Unsupported content part type 'audio'. Only")
        );
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let long = "ä".repeat(MAX_TEXT + 5);
        let input = parse(Some(json!([{"role": "user", "content": long}]))).unwrap().input;
        assert_eq!(input.as_str().unwrap().chars().count(), MAX_TEXT);
    }
}
