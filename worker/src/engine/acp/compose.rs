//! What an agent is told in a turn: the question, and in front of it what it does not know yet. Pure.

use std::fmt::Write as _;

use agent_client_protocol::v1::schema::{ContentBlock, ImageContent, ResourceLink};
use serde_json::Value;

use super::known::Gap;
use crate::engine::{Message, Role};

/// Longest recap, in bytes: the newest messages of a conversation that fit.
const MAX_RECAP: usize = 64 << 10;
/// Longest message in it, in bytes.
const MAX_EACH: usize = 8 << 10;
/// Longest result of a tool in it, in bytes.
const MAX_RESULT: usize = 1 << 10;

/// The prompt of a turn. `instructions`: where they are not told in another way. `images`: it takes them.
pub(super) fn prompt(gap: &Gap<'_>, instructions: Option<&str>, images: bool) -> Vec<ContentBlock> {
    let mut ahead = String::new();
    if let Some(instructions) = instructions.map(str::trim).filter(|text| !text.is_empty()) {
        section(&mut ahead, "Instructions for you, from the gateway that you work for", instructions);
    }
    if !gap.missed.is_empty() {
        let title = if gap.knows {
            "What was said in this conversation meanwhile, without you; do not answer it again"
        } else {
            "This conversation so far; you are `assistant` in it. Do not answer it again"
        };
        section(&mut ahead, title, &recap(gap.missed));
    }
    if gap.again {
        let mut text = "You were given the following message before, and were cut off. Go on with it. What you had done by then may \
                        have taken effect: check before you do anything a second time."
            .to_owned();
        if !gap.steps.is_empty() {
            let _ = write!(text, " What is known of it:\n{}", recap(gap.steps));
        }
        section(&mut ahead, "From the gateway", &text);
    }
    let mut blocks = Vec::new();
    if !ahead.is_empty() {
        blocks.push(ContentBlock::from(ahead));
    }
    if let Some(question) = gap.question {
        blocks.extend(content(&question.content, images));
    }
    blocks
}

fn section(out: &mut String, title: &str, text: &str) {
    // Writing to a string cannot fail.
    let _ = write!(out, "[{title}:]\n{}\n[End of that.]\n\n", text.trim());
}

/// The newest messages that fit, oldest first.
fn recap(messages: &[Message]) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut length = 0;
    let mut left_out = 0;
    for message in messages.iter().rev() {
        let Some(line) = line(message) else { continue };
        length += line.len() + 2;
        if left_out > 0 || length > MAX_RECAP {
            left_out += 1;
        } else {
            lines.push(line);
        }
    }
    if left_out > 0 {
        lines.push(format!("({left_out} earlier messages are left out)"));
    }
    lines.reverse();
    lines.join("\n\n")
}

fn line(message: &Message) -> Option<String> {
    let text = text_of(&message.content);
    let calls = message.tool_calls.iter().map(|call| {
        let part =
            |key: &str| call.pointer(&format!("/function/{key}")).and_then(Value::as_str).unwrap_or_default();
        format!("(tool {} {})", part("name"), cut(part("arguments"), MAX_RESULT))
    });
    let text = match message.role {
        Role::User => format!("user: {}", cut(&text, MAX_EACH)),
        Role::Tool => {
            let name = message.name.as_deref().unwrap_or("tool");
            format!("(result of {name}) {}", cut(&text, MAX_RESULT))
        }
        Role::Assistant => {
            let said = (!text.trim().is_empty()).then(|| format!("assistant: {}", cut(&text, MAX_EACH)));
            let all: Vec<String> = said.into_iter().chain(calls).collect();
            if all.is_empty() {
                return None;
            }
            all.join("\n")
        }
    };
    Some(text)
}

fn cut(text: &str, longest: usize) -> String {
    let text = text.trim();
    if text.len() <= longest {
        return text.to_owned();
    }
    format!("{}… (cut)", &text[..text.floor_char_boundary(longest)])
}

/// The text of a message; other parts are named.
fn text_of(content: &Value) -> String {
    crate::engine::echo::text_of(content).into_owned()
}

/// A message of the user.
fn content(content: &Value, images: bool) -> Vec<ContentBlock> {
    match content {
        Value::Array(parts) => parts.iter().map(|part| one(part, images)).collect(),
        Value::Null => Vec::new(),
        Value::String(text) => vec![ContentBlock::from(text.clone())],
        other => vec![ContentBlock::from(other.to_string())],
    }
}

fn one(part: &Value, images: bool) -> ContentBlock {
    if let Some(text) = part.get("text").and_then(Value::as_str).or(part.as_str()) {
        return ContentBlock::from(text.to_owned());
    }
    let url = part.pointer("/image_url/url").or_else(|| part.get("image_url")).and_then(Value::as_str);
    if let Some(url) = url {
        return image(url, images);
    }
    let kind = part.get("type").and_then(Value::as_str).unwrap_or("part");
    ContentBlock::from(format!("[{kind}: this agent cannot be given it]"))
}

/// An image: its data where the agent takes images, a link where it is elsewhere.
fn image(url: &str, images: bool) -> ContentBlock {
    let data = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
    match data {
        Some((kind, data)) if images => ContentBlock::Image(ImageContent::new(data, kind)),
        Some(_) => ContentBlock::from("[an image: this agent takes none]".to_owned()),
        None => ContentBlock::ResourceLink(ResourceLink::new("image", url)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::known::gap;
    use super::*;

    fn texts(blocks: &[ContentBlock]) -> Vec<String> {
        blocks.iter().map(super::super::told::text_of).collect()
    }

    #[test]
    fn a_question_alone_is_told_as_it_is() {
        let messages = [Message::new(Role::User, json!("hello"))];
        assert_eq!(texts(&prompt(&gap(&messages, None), None, true)), ["hello"]);
        let told = texts(&prompt(&gap(&messages, None), Some("Be brief."), true));
        assert_eq!(told.len(), 2);
        assert!(told[0].contains("\nBe brief.\n") && told[1] == "hello", "{told:?}");
    }

    #[test]
    fn a_recap_has_who_said_what_and_the_newest_of_it() {
        let call = json!({"id": "a", "type": "function", "function": {"name": "read", "arguments": "{\"path\":\"x\"}"}});
        let messages = [
            Message::new(Role::User, json!("one")),
            Message { tool_calls: vec![call], ..Message::new(Role::Assistant, json!("")) },
            Message::result("a", "read", "found".to_owned()),
            Message::new(Role::Assistant, json!("1")),
            Message::new(Role::User, json!("two")),
        ];
        let told = texts(&prompt(&gap(&messages, None), None, false));
        let recap = "user: one\n\n(tool read {\"path\":\"x\"})\n\n(result of read) found\n\nassistant: 1";
        assert!(told[0].contains(recap), "{}", told[0]);
        assert_eq!(told[1], "two");
        let mut long: Vec<Message> =
            (0..1000).map(|n| Message::new(Role::User, json!(format!("{n} {}", "x".repeat(200))))).collect();
        long.push(Message::new(Role::User, json!("last")));
        let told = texts(&prompt(&gap(&long, None), None, false));
        assert!(told[0].len() < MAX_RECAP + 1000 && told[0].contains("earlier messages are left out)"));
        assert!(told[0].contains("user: 999 ") && !told[0].contains("user: 0 "));
    }

    #[test]
    fn images_are_given_to_who_takes_them() {
        let parts = json!([
            {"type": "text", "text": "look"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
            {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
            {"type": "input_audio"},
        ]);
        let messages = [Message::new(Role::User, parts)];
        let blocks = prompt(&gap(&messages, None), None, true);
        assert!(
            matches!(&blocks[1], ContentBlock::Image(i) if i.data == "QUJD" && i.mime_type == "image/png")
        );
        assert!(
            matches!(&blocks[2], ContentBlock::ResourceLink(link) if link.uri == "https://x.example/a.png")
        );
        let told = texts(&prompt(&gap(&messages, None), None, false));
        assert_eq!(told[1], "[an image: this agent takes none]");
        assert!(told[3].contains("input_audio"));
    }
}
