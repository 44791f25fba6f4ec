//! Message rows: what a session remembers.
//!
//! Text is stored as it is; anything else as `\0json:` and JSON. History is the active rows in order of id (`timestamp` is wall
//! clock and may interleave); only what a user or the assistant said is replayed, tool rows and `session_meta` are not.

use rusqlite::{Connection, params};
use serde_json::Value;

use crate::engine::{Message, Role};

/// Marks content that is not plain text.
const JSON_PREFIX: &str = "\0json:";

/// Where rows wait for [`publish`]; of this connection, in memory.
const STAGE: &str = "CREATE TEMP TABLE hermes_staged (session_id, role, content, timestamp, finish_reason)";

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
    };
    let encoded;
    let content = if let Value::String(text) = &message.content {
        text
    } else {
        encoded = format!("{JSON_PREFIX}{}", message.content);
        &encoded
    };
    db.prepare_cached("INSERT INTO temp.hermes_staged VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
        session,
        role,
        content,
        at,
        finish_reason
    ])?;
    Ok(())
}

/// Turns staged rows into messages, all by one statement: the search index writes itself out once per statement, and for a row at
/// a time that costs more than everything else a turn writes.
pub(crate) fn publish(db: &Connection) -> rusqlite::Result<()> {
    let published = db
        .prepare_cached(
            "INSERT INTO messages(session_id, role, content, timestamp, finish_reason, active)
             SELECT session_id, role, content, timestamp, finish_reason, 1 FROM temp.hermes_staged ORDER BY rowid",
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

/// What was said so far, oldest first.
pub(crate) fn load(db: &Connection, session: &str) -> rusqlite::Result<Vec<Message>> {
    let mut select = db.prepare_cached(
        "SELECT role, content FROM messages
         WHERE session_id = ?1 AND active = 1 AND role IN ('user', 'assistant') AND content IS NOT NULL AND content <> ''
         ORDER BY id",
    )?;
    let rows = select.query_map([session], |row| {
        let role = if row.get_ref(0)?.as_str()? == "user" { Role::User } else { Role::Assistant };
        Ok(Message { role, content: decode(row.get(1)?) })
    })?;
    rows.collect()
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

    #[test]
    fn content_survives_the_database() {
        for value in
            [json!("text"), json!("{\"looks\": \"like json\"}"), json!([{"type": "text", "text": "hi"}])]
        {
            let stored =
                if let Value::String(s) = &value { s.clone() } else { format!("{JSON_PREFIX}{value}") };
            assert_eq!(decode(stored), value);
        }
        assert_eq!(decode("\0json:{broken".to_owned()), json!("\0json:{broken"));
    }
}
