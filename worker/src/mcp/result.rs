//! What the model is shown of what a server answers. Pure.
//!
//! Texts go as they are; what cannot be shown in a text (pictures, sound, files) is named with its kind and size. Structured
//! content stands beside the text unless it says the same.

use serde_json::{Map, Value, json};

use crate::tools::ToolError;

/// Longest text, in bytes; what is offered to the model has its own, smaller limit.
const LONGEST: usize = 256 * 1024;
/// Most entries of a list.
const MOST: usize = 500;

/// The answer to a call, as it came.
pub(super) fn of_call(result: &Value) -> Result<Value, ToolError> {
    let blocks = result.get("content").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let text = texts(blocks);
    if result.get("isError") == Some(&Value::Bool(true)) {
        let text = if text.is_empty() { "the tool failed and did not say why".to_owned() } else { text };
        return Err(ToolError(text));
    }
    let structured = result.get("structuredContent").filter(|value| !value.is_null());
    let says_the_same =
        |value: &&Value| serde_json::from_str::<Value>(&text).is_ok_and(|parsed| parsed == **value);
    let mut answer = Map::new();
    answer.insert("result".to_owned(), text.clone().into());
    if let Some(structured) = structured.filter(|value| !says_the_same(value))
        && structured.to_string().len() <= LONGEST
    {
        answer.insert("structured".to_owned(), structured.clone());
    }
    Ok(Value::Object(answer))
}

/// What a resource holds.
pub(super) fn of_resource(result: &Value) -> Value {
    let contents = result.get("contents").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let texts: Vec<String> = contents.iter().map(resource).collect();
    json!({"result": bounded(texts.join("\n"))})
}

/// A prompt, filled in.
pub(super) fn of_prompt(result: &Value) -> Value {
    let messages = result.get("messages").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let message = |message: &Value| {
        let content = message.get("content").map(block).unwrap_or_default();
        json!({"role": message.get("role"), "text": bounded(content)})
    };
    let mut answer = json!({"messages": messages.iter().take(MOST).map(message).collect::<Vec<_>>()});
    if let Some(about) = result.get("description").filter(|about| about.is_string()) {
        answer["description"] = about.clone();
    }
    answer
}

/// A list, with these fields of each entry.
pub(super) fn of_list(name: &str, entries: &[Value], fields: &[&str], is_whole: bool) -> Value {
    let entry = |entry: &Value| -> Value {
        let kept = fields.iter().filter_map(|field| Some(((*field).to_owned(), entry.get(*field)?.clone())));
        Value::Object(kept.filter(|(_, value)| !value.is_null()).collect())
    };
    let mut answer = json!({ name: entries.iter().take(MOST).map(entry).collect::<Vec<_>>() });
    if !is_whole || entries.len() > MOST {
        answer["more"] = true.into();
    }
    answer
}

fn texts(blocks: &[Value]) -> String {
    bounded(blocks.iter().map(block).collect::<Vec<_>>().join("\n"))
}

/// One block of content as text.
fn block(block: &Value) -> String {
    let text = |key: &str| block.get(key).and_then(Value::as_str).unwrap_or_default();
    match text("type") {
        "text" => text("text").to_owned(),
        "image" | "audio" => not_shown(text("type"), text("mimeType"), text("data")),
        "resource" => block.get("resource").map(resource).unwrap_or_default(),
        "resource_link" => format!("[resource {}: {}]", text("name"), text("uri")),
        _ => String::new(),
    }
}

fn resource(resource: &Value) -> String {
    let text = |key: &str| resource.get(key).and_then(Value::as_str);
    match (text("text"), text("blob")) {
        (Some(text), _) => text.to_owned(),
        (None, Some(blob)) => {
            let kind = format!("file {}", text("uri").unwrap_or_default());
            not_shown(&kind, text("mimeType").unwrap_or("application/octet-stream"), blob)
        }
        (None, None) => String::new(),
    }
}

/// `[image, image/png, 1234 bytes: not shown]`
fn not_shown(what: &str, kind: &str, base64: &str) -> String {
    let padding = base64.bytes().rev().take_while(|byte| *byte == b'=').count();
    let bytes = (base64.len() / 4 * 3).saturating_sub(padding);
    format!("[{what}, {kind}, {bytes} bytes: not shown]")
}

fn bounded(mut text: String) -> String {
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_model_sees_of_a_result() {
        let text = |text: &str| json!({"type": "text", "text": text});
        let image = json!({"type": "image", "mimeType": "image/png", "data": "AAAA"});
        let of = |value: Value| of_call(&value);
        assert_eq!(of(json!({"content": [text("a"), text("b")]})), Ok(json!({"result": "a\nb"})));
        assert_eq!(
            of(json!({"content": [image]})),
            Ok(json!({"result": "[image, image/png, 3 bytes: not shown]"}))
        );
        assert_eq!(of(json!({"content": [text("no")], "isError": true})), Err(ToolError("no".to_owned())));
        assert!(of(json!({"isError": true})).unwrap_err().0.contains("did not say why"));
        let same = json!({"content": [text("{\"x\": 1}")], "structuredContent": {"x": 1}});
        assert_eq!(of(same), Ok(json!({"result": "{\"x\": 1}"})));
        let other = json!({"content": [], "structuredContent": {"x": 1}});
        assert_eq!(of(other), Ok(json!({"result": "", "structured": {"x": 1}})));
        let long = of(json!({"content": [text(&"ü".repeat(LONGEST))]})).unwrap();
        assert!(long["result"].as_str().unwrap().len() <= LONGEST + 4);
    }

    #[test]
    fn resources_prompts_and_lists() {
        let found =
            of_resource(&json!({"contents": [{"uri": "u", "text": "t"}, {"uri": "v", "blob": "AAA="}]}));
        assert_eq!(found, json!({"result": "t\n[file v, application/octet-stream, 2 bytes: not shown]"}));
        let prompt = json!({"description": "d", "messages": [{"role": "user", "content": {"type": "text", "text": "hi"}}]});
        assert_eq!(
            of_prompt(&prompt),
            json!({"messages": [{"role": "user", "text": "hi"}], "description": "d"})
        );
        let list = of_list("resources", &[json!({"uri": "u", "icons": []})], &["uri", "name"], false);
        assert_eq!(list, json!({"resources": [{"uri": "u"}], "more": true}));
    }
}
