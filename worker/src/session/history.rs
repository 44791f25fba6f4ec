//! Message rows: what a session remembers.
//!
//! Text is stored as it is; anything else as `\0json:` and JSON, text that itself begins so included: what a client sends as text
//! comes back as text. History is the active rows in order of id (`timestamp` is wall clock and may interleave); `session_meta` is
//! not replayed.
//!
//! A provider accepts calls of tools only together with all their results. So what is replayed ([`replay`]) has each exchange whole,
//! once, or not at all, and none where the request itself has nothing to do with tools: rows of the predecessor's own tools are many
//! and mean nothing to a model that has none.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use crate::engine::{Message, Role};

/// Marks content that is not plain text.
const JSON_PREFIX: &str = "\0json:";

/// Where rows wait for [`publish`]; of this connection, in memory.
const STAGE: &str = "CREATE TEMP TABLE hermes_staged (session_id, role, content, timestamp, finish_reason, tool_calls, tool_call_id,
    tool_name)";

/// Prepares a connection for [`stage`].
pub(crate) fn prepare(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(STAGE)
}

/// Adds a row at the next [`publish`], in the same transaction. The caller counts it.
pub(crate) fn stage(
    db: &Connection,
    session: &str,
    message: &Message,
    finish_reason: Option<&str>,
    at: f64,
) -> rusqlite::Result<()> {
    let role = match message.role {
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    let calls = (!message.tool_calls.is_empty()).then(|| Value::from(message.tool_calls.clone()).to_string());
    db.prepare_cached("INSERT INTO temp.hermes_staged VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?.execute(
        params![
            session,
            role,
            encode(&message.content),
            at,
            finish_reason,
            calls,
            message.tool_call_id,
            // The column is for tools; a user's name is part of one request, not of the session.
            message.name.as_ref().filter(|_| message.role == Role::Tool),
        ],
    )?;
    Ok(())
}

/// Turns staged rows into messages, all by one statement: the search index writes itself out once per statement, and for a row at
/// a time that costs more than everything else a turn writes.
pub(crate) fn publish(db: &Connection) -> rusqlite::Result<()> {
    let published = db
        .prepare_cached(
            "INSERT INTO messages(session_id, role, content, timestamp, finish_reason, tool_calls, tool_call_id, tool_name,
                                  active)
             SELECT session_id, role, content, timestamp, finish_reason, tool_calls, tool_call_id, tool_name, 1
             FROM temp.hermes_staged ORDER BY rowid",
        )?
        .execute([])?;
    if published > 0 {
        db.prepare_cached("DELETE FROM temp.hermes_staged")?.execute([])?;
    }
    Ok(())
}

/// Counts `rows` more messages.
pub(crate) fn count(db: &Connection, session: &str, rows: usize) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE sessions SET message_count = message_count + ?2 WHERE id = ?1")?
        .execute(params![session, i64::try_from(rows).unwrap_or(i64::MAX)])?;
    Ok(())
}

/// What was said so far, oldest first, as [`replay`] gives it.
pub(crate) fn load(db: &Connection, session: &str, tools: bool) -> rusqlite::Result<Vec<Message>> {
    Ok(replay(load_all(db, session)?, tools))
}

/// Every row that can be part of a prompt, oldest first.
pub(crate) fn load_all(db: &Connection, session: &str) -> rusqlite::Result<Vec<Message>> {
    let mut select = db.prepare_cached(
        "SELECT role, content, tool_calls, tool_call_id, tool_name FROM messages
         WHERE session_id = ?1 AND active = 1 AND role IN ('user', 'assistant', 'tool') ORDER BY id",
    )?;
    let rows = select.query_map([session], |row| {
        let role = match row.get_ref(0)?.as_str()? {
            "user" => Role::User,
            "tool" => Role::Tool,
            _ => Role::Assistant,
        };
        let content = row.get::<_, Option<String>>(1)?.map_or(Value::Null, decode);
        let tool_calls = row.get::<_, Option<String>>(2)?.map_or_else(Vec::new, |text| calls(&text));
        Ok(Message { role, content, tool_calls, tool_call_id: row.get(3)?, name: row.get(4)? })
    })?;
    rows.collect()
}

/// Whether the first message of `input` calls tools and is the last thing that the assistant said in `session`.
pub(crate) fn ends_with_calls(db: &Connection, session: &str, input: &[Message]) -> rusqlite::Result<bool> {
    let Some(first) = input.first().filter(|first| first.role == Role::Assistant) else { return Ok(false) };
    let last: Option<Option<String>> = db
        .prepare_cached(
            "SELECT tool_calls FROM messages WHERE session_id = ?1 AND active = 1 AND role IN ('user', 'assistant')
             ORDER BY id DESC LIMIT 1",
        )?
        .query_row([session], |row| row.get(0))
        .optional()?;
    let last =
        Message { tool_calls: last.flatten().map_or_else(Vec::new, |text| calls(&text)), ..first.clone() };
    Ok(last.call_ids().eq(first.call_ids()))
}

/// The part of a history that a provider accepts: messages that say something, and, with `tools`, exchanges with tools that are
/// whole. Of an exchange that is there twice, because a turn was repeated, the later one counts.
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
    let mut seen = HashSet::new();
    let mut kept = Vec::new();
    for (mut message, mut results) in exchanges.into_iter().rev() {
        if message.role == Role::Tool {
            continue;
        }
        let is_result = |id: &str| results.iter().any(|result| result.tool_call_id.as_deref() == Some(id));
        let is_whole =
            message.call_ids().count() == message.tool_calls.len() && message.call_ids().all(is_result);
        if tools && is_whole && !message.tool_calls.is_empty() {
            let is_new = message.call_ids().fold(false, |new, id| seen.insert(id.to_owned()) || new);
            if !is_new {
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
    kept.reverse();
    kept
}

fn says_nothing(content: &Value) -> bool {
    content.is_null() || content.as_str().is_some_and(str::is_empty)
}

/// A row's calls, without what only the predecessor knows of them.
fn calls(text: &str) -> Vec<Value> {
    let Ok(Value::Array(mut calls)) = serde_json::from_str(text) else { return Vec::new() };
    for call in &mut calls {
        if let Value::Object(fields) = call {
            fields.retain(|key, _| !matches!(key.as_str(), "call_id" | "response_item_id"));
        }
    }
    calls
}

fn encode(content: &Value) -> Option<std::borrow::Cow<'_, str>> {
    match content {
        Value::Null => None,
        Value::String(text) if !text.starts_with(JSON_PREFIX) => Some(text.into()),
        other => Some(format!("{JSON_PREFIX}{other}").into()),
    }
}

fn decode(text: String) -> Value {
    text.strip_prefix(JSON_PREFIX)
        .and_then(|json| serde_json::from_str(json).ok())
        .unwrap_or(Value::String(text))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Wires 7: text is text, whatever it looks like.
    #[test]
    fn content_survives_the_database() {
        for value in [
            json!("text"),
            json!("{\"looks\": \"like json\"}"),
            json!("\0json:[{\"type\": \"image_url\"}]"),
            json!("\0json:\"twice\""),
            json!([{"type": "text", "text": "hi"}]),
        ] {
            assert_eq!(decode(encode(&value).unwrap().into_owned()), value);
        }
        assert_eq!(encode(&Value::Null), None);
        assert_eq!(decode("\0json:{broken".to_owned()), json!("\0json:{broken"));
    }

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

    #[test]
    fn only_what_the_wire_knows_is_replayed_of_a_call() {
        let row = r#"[{"id":"a","call_id":"a","response_item_id":"fc","type":"function","function":{"name":"f","arguments":"{}"}}]"#;
        assert_eq!(
            calls(row),
            [json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}})]
        );
        assert_eq!(calls("nonsense"), [] as [Value; 0]);
    }
}
