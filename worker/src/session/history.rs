//! Message rows: what a session remembers.
//!
//! Text is stored as it is; anything else as `\0json:` and JSON, text that itself begins so included: what a client sends as text
//! comes back as text. History is the active rows in order of id (`timestamp` is wall clock and may interleave); `session_meta` is
//! not replayed.
//!
//! A provider accepts calls of tools only together with all their results. So what is replayed ([`mod@replay`]) has each exchange whole,
//! once, or not at all, and none where neither the request nor the engine has anything to do with tools: rows of the predecessor's own
//! tools are many and mean nothing to a model that has none.
//!
//! **Steps.** Calls of the agent's own tools are steps of a turn, not its answer; as in 0.19.0 they carry a `call_id`. A turn that goes on
//! after its process died has every call of its last step [answered](close_calls): with the result that was stored, or with one that
//! says that nobody knows.
//!
//! **Roles alternate.** A question that got no answer is [closed](close): its rows stay in the transcript, with the reason below
//! them, and leave the prompt (`active = 0`, which 0.19.0 reads the same way). What a home of 0.19.0 holds in rows of one role
//! is one message of the prompt, and what was sent again stands there once.

mod asked;
mod replay;
mod rewind;

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use crate::engine::{Message, Role};

pub(crate) use asked::{Asked, Came, INTERRUPTED as GIVEN_UP, asked, counts, identify, last_of, named};
pub(crate) use replay::replay;
pub(crate) use rewind::{Rewound, rewind};

/// Marks content that is not plain text.
const JSON_PREFIX: &str = "\0json:";

/// What a question is closed with whose turn ended without a word: its process died, or was another program's.
const CUT_OFF: &str = "the turn was cut off";

/// What stands in the place of an answer that a newer message made unwanted.
const INTERRUPTED: &str = "[interrupted by a newer message]";

/// The last answer of session `?1`, or 0: rows behind it are a question that nobody has answered. Calls of tools are an answer where
/// the client's tools are called; those of the agent's own carry a `call_id`, and are a step of a turn, whatever was said with them.
const ANSWERED: &str =
    "COALESCE((SELECT id FROM messages WHERE session_id = ?1 AND active = 1 AND role = 'assistant'
    AND CASE WHEN json_valid(tool_calls) AND json_extract(tool_calls, '$[0].id') IS NOT NULL
             THEN json_extract(tool_calls, '$[0].call_id') IS NULL
             ELSE COALESCE(NULLIF(api_content, ''), content) <> '' END
    ORDER BY id DESC LIMIT 1), 0)";

/// Whose tools an assistant's message calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Calls {
    /// The client's: its message is an answer.
    Clients,
    /// The agent's own: its message is a step.
    Own,
}

/// Adds a row at the next [`publish`], in the same transaction. The caller counts it.
pub(crate) fn stage(
    db: &Connection,
    session: &str,
    message: &Message,
    finish_reason: Option<&str>,
    at: f64,
) -> rusqlite::Result<()> {
    stage_row(db, session, message, Calls::Clients, finish_reason, at)
}

/// [`stage`] for a step of a turn.
pub(crate) fn stage_step(db: &Connection, session: &str, message: &Message, at: f64) -> rusqlite::Result<()> {
    let finish_reason = (message.role == Role::Assistant).then_some("tool_calls");
    stage_row(db, session, message, Calls::Own, finish_reason, at)
}

/// [`stage`] for what was said to others, as context of what is staged behind it.
pub(crate) fn stage_overheard(db: &Connection, session: &str, text: &str, at: f64) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO temp.hermes_staged(session_id, role, content, timestamp, active, observed)
         VALUES (?1, 'user', ?2, ?3, 1, 1)",
    )?
    .execute(params![session, text, at])
    .map(drop)
}

fn stage_row(
    db: &Connection,
    session: &str,
    message: &Message,
    whose: Calls,
    finish_reason: Option<&str>,
    at: f64,
) -> rusqlite::Result<()> {
    let role = match message.role {
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    let calls = (!message.tool_calls.is_empty()).then(|| match whose {
        Calls::Clients => Value::from(message.tool_calls.clone()),
        Calls::Own => message.tool_calls.iter().map(own_call).collect(),
    });
    db.prepare_cached(
        "INSERT INTO temp.hermes_staged(session_id, role, content, timestamp, finish_reason, tool_calls, tool_call_id,
            tool_name, reasoning, active, reasoning_details, codex_reasoning_items)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 1, ?10, ?11)",
    )?
    .execute(params![
        session,
        role,
        encode(&message.content),
        at,
        finish_reason,
        calls.map(|calls| calls.to_string()),
        message.tool_call_id,
        // The column is for tools; a user's name is part of one request, not of the session.
        message.name.as_ref().filter(|_| message.role == Role::Tool),
        message.reasoning,
        thoughts(message, false),
        thoughts(message, true),
    ])?;
    Ok(())
}

/// A message's thoughts in the column for its provider's wire: those of Responses have one of their own.
fn thoughts(message: &Message, of_responses: bool) -> Option<String> {
    let is_responses = |block: &&Value| block.get("type").and_then(Value::as_str) == Some("reasoning");
    let blocks: Value =
        message.thoughts.iter().filter(|block| is_responses(block) == of_responses).cloned().collect();
    blocks.as_array().is_some_and(|blocks| !blocks.is_empty()).then(|| blocks.to_string())
}

/// A call as 0.19.0 stores it.
fn own_call(call: &Value) -> Value {
    let id = call.get("id").and_then(Value::as_str).unwrap_or_default();
    let item = id.strip_prefix("call_").unwrap_or(id);
    let mut row = serde_json::Map::new();
    row.insert("id".to_owned(), id.into());
    row.insert("call_id".to_owned(), id.into());
    row.insert("response_item_id".to_owned(), format!("fc_{item}").into());
    row.extend(call.as_object().cloned().unwrap_or_default().into_iter().filter(|(key, _)| key != "id"));
    Value::Object(row)
}

/// Turns staged rows into messages, all by one statement: the search index writes itself out once per statement, and for a row at
/// a time that costs more than everything else a turn writes.
pub(crate) fn publish(db: &Connection) -> rusqlite::Result<()> {
    // The statement below is long with all its triggers, and at most looks at the inbox there is nothing for it.
    let is_any: bool = db
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM temp.hermes_staged)")?
        .query_row([], |row| row.get(0))?;
    if !is_any {
        return Ok(());
    }
    db
        .prepare_cached(
            "INSERT INTO messages(session_id, role, content, timestamp, finish_reason, tool_calls, tool_call_id, tool_name,
                                  reasoning, reasoning_content, active, reasoning_details, codex_reasoning_items,
                                  platform_message_id, observed)
             SELECT session_id, role, content, timestamp, finish_reason, tool_calls, tool_call_id, tool_name, reasoning,
                    reasoning, active, reasoning_details, codex_reasoning_items, identity, COALESCE(observed, 0)
             FROM temp.hermes_staged ORDER BY rowid",
        )?
        .execute([])?;
    db.prepare_cached("DELETE FROM temp.hermes_staged")?.execute([])?;
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

/// Whether the session ends with a question that nobody has answered.
pub(crate) fn is_open(db: &Connection, session: &str) -> rusqlite::Result<bool> {
    db.prepare_cached(&format!(
        "SELECT EXISTS (SELECT 1 FROM messages WHERE session_id = ?1 AND active = 1 AND role IN ('user', 'tool')
                          AND COALESCE(observed, 0) = 0 AND id > {ANSWERED})"
    ))?
    .query_row([session], |row| row.get(0))
}

/// Gives the calls at the end of a question that is [open](is_open) the results that they lack, so that its turn can go on.
pub(crate) fn close_calls(
    db: &Connection,
    session: &str,
    messages: &mut Vec<Message>,
    at: f64,
) -> rusqlite::Result<()> {
    let missing = replay::without_result(messages);
    for result in &missing {
        stage_step(db, session, result, at)?;
    }
    count(db, session, missing.len())?;
    messages.extend(missing);
    Ok(())
}

/// The calls at the end of a history that have no result: their ids, and the names of the tools.
pub(crate) fn without_result(messages: &[Message]) -> Vec<(String, String)> {
    let missing = replay::without_result(messages).into_iter();
    missing.filter_map(|result| Some((result.tool_call_id?, result.name.unwrap_or_default()))).collect()
}

/// Ends the question at the end of a session without an answer because another one took its place: it stays part of the conversation,
/// with the steps that were taken for it.
pub(crate) fn interrupt(db: &Connection, session: &str, at: f64) -> rusqlite::Result<()> {
    if !is_open(db, session)? {
        return Ok(());
    }
    let mut messages = load_all(db, session)?;
    close_calls(db, session, &mut messages, at)?;
    let said = Message::new(Role::Assistant, Value::String(INTERRUPTED.to_owned()));
    stage(db, session, &said, Some("interrupted"), at)?;
    count(db, session, 1)
}

/// [Closes](close) the question at the end of a session, unless somebody is at work on it. Call before a new turn begins there.
pub(crate) fn close_left_open(db: &Connection, session: &str, now: f64) -> rusqlite::Result<()> {
    if is_open(db, session)? && !is_awaited(db, session)? {
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

/// Every row that can be part of a prompt, oldest first: whatever is hidden from people is told to the model all the same, and a
/// summary is a message. What another program has sent in the place of a text is sent again, to the letter, because a provider has cached
/// it so.
pub(crate) fn load_all(db: &Connection, session: &str) -> rusqlite::Result<Vec<Message>> {
    let mut select = db.prepare_cached(
        "SELECT role, content, tool_calls, tool_call_id, tool_name, reasoning_content, NULLIF(api_content, ''),
                reasoning_details, codex_reasoning_items FROM messages
         WHERE session_id = ?1 AND active = 1 AND role IN ('user', 'assistant', 'tool') ORDER BY id",
    )?;
    let rows = select.query_map([session], |row| {
        let role = match row.get_ref(0)?.as_str()? {
            "user" => Role::User,
            "tool" => Role::Tool,
            _ => Role::Assistant,
        };
        let content = match row.get::<_, Option<String>>(6)? {
            Some(sent) => Value::String(sent),
            None => row.get::<_, Option<String>>(1)?.map_or(Value::Null, decode),
        };
        let tool_calls = row.get::<_, Option<String>>(2)?.map_or_else(Vec::new, |text| calls(&text));
        let (tool_call_id, name, reasoning) = (row.get(3)?, row.get(4)?, row.get(5)?);
        // Told again with calls alone.
        let reasoning = Some(reasoning).filter(|_| !tool_calls.is_empty()).flatten();
        let mut thoughts = Vec::new();
        for column in [7, 8].iter().filter(|_| !tool_calls.is_empty()) {
            // Another program may have put something else there, which is not ours to send.
            let kept =
                row.get::<_, Option<String>>(*column)?.and_then(|text| serde_json::from_str(&text).ok());
            thoughts.extend(kept.unwrap_or_else(Vec::new));
        }
        Ok(Message { role, content, tool_calls, tool_call_id, name, reasoning, thoughts })
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

/// The content of a row.
pub(crate) fn decode(text: String) -> Value {
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

    #[test]
    fn only_what_the_wire_knows_is_replayed_of_a_call() {
        let row = r#"[{"id":"a","call_id":"a","response_item_id":"fc","type":"function","function":{"name":"f","arguments":"{}"}}]"#;
        assert_eq!(
            calls(row),
            [json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}})]
        );
        assert_eq!(calls("nonsense"), [] as [Value; 0]);
    }

    /// A step is stored as 0.19.0 stores it, and comes back as the wire has it.
    #[test]
    fn a_step_carries_what_the_predecessor_knows_of_a_call() {
        let call = json!({"id": "call_a1", "type": "function", "function": {"name": "f", "arguments": "{}"}});
        let row = own_call(&call);
        assert_eq!(
            row.to_string(),
            r#"{"id":"call_a1","call_id":"call_a1","response_item_id":"fc_a1","type":"function","function":{"name":"f","arguments":"{}"}}"#
        );
        assert_eq!(calls(&json!([row]).to_string()), [call]);
    }
}
