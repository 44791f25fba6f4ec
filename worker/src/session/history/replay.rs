//! What of a history is sent to a provider again. Pure.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::engine::{Message, Role};

/// The result of a call that had none when its process ended.
const UNKNOWN: &str = "{\"error\":\"The result is unknown: the tool was interrupted, or its process ended before the result was stored. It may have taken effect in \
     full, in part or not at all. Check before you do it again.\"}";

/// The part of a history that a provider accepts: messages that say something, and, with `tools`, exchanges with tools that are
/// whole. Of an exchange that is there twice, because a turn was repeated, the later one counts. What one side says in a row is one
/// message.
pub(crate) fn replay(history: Vec<Message>, tools: bool) -> Vec<Message> {
    let mut exchanges = Vec::new();
    let mut rest = history.into_iter().peekable();
    while let Some(message) = rest.next() {
        let mut results: Vec<Message> = Vec::new();
        while let Some(result) = rest.next_if(|next| next.role == Role::Tool) {
            results.retain(|earlier| earlier.tool_call_id != result.tool_call_id);
            results.push(result);
        }
        exchanges.push((message, results));
    }
    let mut seen: HashSet<String> = HashSet::new();
    let mut kept = Vec::new();
    for (mut message, mut results) in exchanges.into_iter().rev() {
        if message.role == Role::Tool {
            continue;
        }
        let is_result = |id: &str| results.iter().any(|result| result.tool_call_id.as_deref() == Some(id));
        let is_whole =
            message.call_ids().count() == message.tool_calls.len() && message.call_ids().all(is_result);
        if tools && is_whole && !message.tool_calls.is_empty() {
            let before = seen.len();
            seen.extend(message.call_ids().map(str::to_owned));
            if seen.len() == before {
                continue;
            }
            results.retain(|result| message.call_ids().any(|id| result.tool_call_id.as_deref() == Some(id)));
            kept.extend(results.into_iter().rev());
        } else {
            message.tool_calls.clear();
        }
        if !message.tool_calls.is_empty() || !says_nothing(&message.content) {
            kept.push(message);
        }
    }
    let mut alternating: Vec<Message> = Vec::with_capacity(kept.len());
    for next in kept.into_iter().rev() {
        let joins = |last: &Message| {
            last.role == next.role
                && last.role != Role::Tool
                && last.tool_calls.is_empty()
                && next.tool_calls.is_empty()
        };
        match alternating.last_mut() {
            Some(last) if joins(last) => join(&mut last.content, next.content),
            _ => alternating.push(next),
        }
    }
    alternating
}

fn says_nothing(content: &Value) -> bool {
    content.is_null() || content.as_str().is_some_and(str::is_empty)
}

/// Results for the calls at the end of a history that have none.
pub(super) fn without_result(messages: &[Message]) -> Vec<Message> {
    let results = messages.iter().rev().take_while(|message| message.role == Role::Tool).count();
    let (before, results) = messages.split_at(messages.len() - results);
    let Some(step) = before.last().filter(|last| last.role == Role::Assistant) else { return Vec::new() };
    let is_missing = |id: &str| results.iter().all(|result| result.tool_call_id.as_deref() != Some(id));
    let unknown = |call: &Value| {
        let id = call.get("id")?.as_str().filter(|id| is_missing(id))?;
        let name = call.pointer("/function/name").and_then(Value::as_str).unwrap_or_default();
        Some(Message::result(id, name, UNKNOWN.to_owned()))
    };
    step.tool_calls.iter().filter_map(unknown).collect()
}

/// Adds what the same side said next. What it repeats is said once.
fn join(before: &mut Value, next: Value) {
    match (before, next) {
        (Value::String(text), Value::String(more)) => {
            if *text != more && !text.ends_with(&format!("\n\n{more}")) {
                text.push_str("\n\n");
                text.push_str(&more);
            }
        }
        (before, next) if *before == next => {}
        (before, next) => {
            let parts = |content: Value| match content {
                Value::Array(parts) => parts,
                Value::String(text) => vec![json!({"type": "text", "text": text})],
                other => vec![json!({"type": "text", "text": other.to_string()})],
            };
            let (mut all, more) = (parts(before.take()), parts(next));
            if !all.ends_with(&more) {
                all.extend(more);
            }
            *before = Value::Array(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(role: Role, text: &str) -> Message {
        Message::new(role, json!(text))
    }

    fn called(ids: &[&str]) -> Message {
        let tool_calls = ids.iter().map(|id| json!({"id": id, "type": "function", "function": {}})).collect();
        Message { tool_calls, ..Message::new(Role::Assistant, Value::Null) }
    }

    fn result(id: &str, text: &str) -> Message {
        Message { tool_call_id: Some(id.to_owned()), ..said(Role::Tool, text) }
    }

    /// Wires 7: calls and results come together, in order, once; or not at all.
    #[test]
    fn exchanges_with_tools_are_replayed_whole() {
        let whole = [
            said(Role::User, "q"),
            called(&["a", "b"]),
            result("b", "2"),
            result("a", "1"),
            said(Role::Assistant, "done"),
        ];
        assert_eq!(replay(whole.to_vec(), true), whole);
        assert_eq!(replay(whole.to_vec(), false), [whole[0].clone(), whole[4].clone()]);

        // Nobody answered one of them, an answer belongs to nobody, nothing was said.
        let mut half = whole.to_vec();
        half.remove(2);
        half.push(result("z", "?"));
        half.push(said(Role::Assistant, ""));
        assert_eq!(replay(half, true), [whole[0].clone(), whole[4].clone()]);
        assert_eq!(replay(vec![result("z", "?"), result("y", "?")], true), []);

        // The same results again, after a turn that failed.
        let mut twice = whole[..4].to_vec();
        twice.extend([called(&["a", "b"]), result("a", "1"), result("b", "3"), result("b", "2")]);
        let once = [whole[0].clone(), called(&["a", "b"]), result("a", "1"), result("b", "2")];
        assert_eq!(replay(twice, true), once);
    }

    /// Wires 5: what one side said in a row is one message, and what it repeated stands there once.
    #[test]
    fn w5_what_was_sent_again_is_said_once() {
        let joined = |parts: &[Value]| {
            let mut all = parts[0].clone();
            parts[1..].iter().for_each(|next| join(&mut all, next.clone()));
            all
        };
        assert_eq!(joined(&[json!("q"), json!("q"), json!("q")]), json!("q"));
        assert_eq!(joined(&[json!("a"), json!("b"), json!("b")]), json!("a\n\nb"));
        let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}});
        let text = |text: &str| json!({"type": "text", "text": text});
        assert_eq!(joined(&[json!([image]), json!([image])]), json!([image]));
        assert_eq!(joined(&[json!("look"), json!([image])]), json!([text("look"), image]));
        assert_eq!(joined(&[json!([image]), json!("well?"), json!("well?")]), json!([image, text("well?")]));
    }

    /// D12: of a step that a dead process left, what is stored counts, and the rest is unknown.
    #[test]
    fn calls_without_a_result_get_one_that_says_so() {
        let step = [said(Role::User, "q"), called(&["a", "b", "c"]), result("b", "2")];
        let missing = without_result(&step);
        let ids: Vec<_> = missing.iter().filter_map(|result| result.tool_call_id.as_deref()).collect();
        assert_eq!(ids, ["a", "c"]);
        let texts: Vec<Value> =
            missing.iter().map(|m| serde_json::from_str(m.content.as_str().unwrap()).unwrap()).collect();
        assert!(texts.iter().all(|text| text["error"].as_str().unwrap().contains("unknown")), "{texts:?}");
        let mut whole = step.to_vec();
        whole.extend(missing);
        assert_eq!(without_result(&whole), []);
        assert_eq!(replay(whole.clone(), true), whole);
        for none in [&step[..1], &[][..], &[said(Role::Tool, "stray")]] {
            assert_eq!(without_result(none), []);
        }
    }
}
