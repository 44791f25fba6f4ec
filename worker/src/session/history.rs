//! Message rows: what a session remembers.
//!
//! Text is stored as it is; anything else as `\0json:` and JSON, text that itself begins so included: what a client sends as text
//! comes back as text. History is the active rows in order of id (`timestamp` is wall clock and may interleave); `session_meta` is
//! not replayed.
//!
//! A provider accepts calls of tools only together with all their results. So what is replayed ([`replay`]) has each exchange whole,
//! once, or not at all, and none where the request itself has nothing to do with tools: rows of the predecessor's own tools are many
//! and mean nothing to a model that has none.
//!
//! **Roles alternate.** A question that got no answer is [closed](close): its rows stay in the transcript, with the reason below
//! them, and leave the prompt (`active = 0`, which 0.19.0 reads the same way). What a home of 0.19.0 holds in rows of one role
//! is one message of the prompt, and what was sent again stands there once.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Value, json};

use crate::engine::{Message, Role};

/// Marks content that is not plain text.
const JSON_PREFIX: &str = "\0json:";

/// Where rows wait for [`publish`]; of this connection, in memory.
const STAGE: &str = "CREATE TEMP TABLE hermes_staged (session_id, role, content, timestamp, finish_reason, tool_calls, tool_call_id,
    tool_name, active)";

/// What a question is closed with whose turn ended without a word: its process died, or was another program's.
const CUT_OFF: &str = "the turn was cut off";

/// The last answer of session `?1`, or 0: rows behind it are a question that nobody has answered. Calls of tools are an answer where
/// the client's tools are called; those that 0.19.0 made to its own carry a `call_id`, and are a step of a turn.
const ANSWERED: &str = "COALESCE((SELECT id FROM messages WHERE session_id = ?1 AND active = 1 AND role = 'assistant'
    AND (content <> '' OR CASE WHEN json_valid(tool_calls) THEN json_extract(tool_calls, '$[0].id') IS NOT NULL
                                    AND json_extract(tool_calls, '$[0].call_id') IS NULL END)
    ORDER BY id DESC LIMIT 1), 0)";

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
    db.prepare_cached("INSERT INTO temp.hermes_staged VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1)")?.execute(
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
             SELECT session_id, role, content, timestamp, finish_reason, tool_calls, tool_call_id, tool_name, active
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

/// Closes the question at the end of a session: everything since the last answer leaves the prompt, and the transcript says why
/// there is none. Nothing happens where there is no such question. Its rows must have been [published](publish).
pub(crate) fn close(db: &Connection, session: &str, why: &str, at: f64) -> rusqlite::Result<()> {
    let closed = db
        .prepare_cached(&format!(
            "UPDATE messages SET active = 0
             WHERE session_id = ?1 AND active = 1 AND role IN ('user', 'assistant', 'tool') AND COALESCE(observed, 0) = 0
               AND id > {ANSWERED}"
        ))?
        .execute([session])?;
    if closed == 0 {
        return Ok(());
    }
    db.prepare_cached(
        "INSERT INTO temp.hermes_staged(session_id, role, content, timestamp, finish_reason, active)
         VALUES (?1, 'assistant', ?2, ?3, 'error', 0)",
    )?
    .execute(params![session, format!("[no answer: {why}]"), at])?;
    count(db, session, 1)
}

/// [Closes](close) the question at the end of a session, unless somebody is at work on it. Call before a new turn begins there.
pub(crate) fn close_left_open(db: &Connection, session: &str, now: f64) -> rusqlite::Result<()> {
    let open: bool = db
        .prepare_cached(&format!(
            "SELECT EXISTS (SELECT 1 FROM messages WHERE session_id = ?1 AND active = 1 AND role IN ('user', 'tool')
                              AND COALESCE(observed, 0) = 0 AND id > {ANSWERED})"
        ))?
        .query_row([session], |row| row.get(0))?;
    if open && !is_awaited(db, session)? {
        close(db, session, CUT_OFF, now)?;
    }
    Ok(())
}

/// Whether an item of the inbox is still to be answered in this session.
fn is_awaited(db: &Connection, session: &str) -> rusqlite::Result<bool> {
    db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM hermes_inbox WHERE session_id = ?1 AND finished_at IS NULL)",
    )?
    .query_row([session], |row| row.get(0))
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
}
