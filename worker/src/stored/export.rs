//! A session as 0.19.0 exports it: its row, and its messages in `messages`, every column under its name.
//!
//! Rows that have left the prompt are in there too, as `active` says: an export is a copy.

use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension as _, Row};
use serde_json::{Map, Value};

use super::look::{HIDDEN, Look, Unread};
use crate::session::history;

impl Look {
    /// The ids of what is exported, in order of time: of one source, or everything, also what goes on elsewhere and what sub-agents did.
    pub fn all(&self, source: Option<&str>) -> Result<Vec<String>, Unread> {
        self.read(|db| {
            db.prepare(
                "SELECT s.id FROM sessions s WHERE ?1 IS NULL OR s.source = ?1 ORDER BY s.started_at, s.id",
            )?
            .query_map([source], |row| row.get(0))?
            .collect()
        })
    }

    /// One of them; `None`: it is gone.
    pub fn export(&self, id: &str) -> Result<Option<Value>, Unread> {
        self.read(|db| {
            let row = db.query_row("SELECT * FROM sessions WHERE id = ?1", [id], object).optional()?;
            let Some(mut session) = row else { return Ok(None) };
            if self.tables.contains("system_prompts")
                && let Some(Value::String(hash)) = session.get("system_prompt_hash")
            {
                let prompt: Option<String> = db
                    .query_row("SELECT prompt FROM system_prompts WHERE hash = ?1", [hash], |row| row.get(0))
                    .optional()?;
                if let Some(prompt) = prompt {
                    session.insert("system_prompt".to_owned(), prompt.into());
                }
            }
            let mut select = db.prepare_cached("SELECT * FROM messages WHERE session_id = ?1 ORDER BY id")?;
            let messages = select.query_map([id], message)?.collect::<rusqlite::Result<Vec<_>>>()?;
            session.insert("messages".to_owned(), messages.into());
            Ok(Some(Value::Object(session)))
        })
    }

    /// How many sessions there are that people had.
    pub(super) fn conversations(&self) -> rusqlite::Result<i64> {
        let sql = format!("SELECT count(*) FROM sessions WHERE COALESCE(source, '') NOT IN {HIDDEN}");
        self.db.query_row(&sql, [], |row| row.get(0))
    }
}

fn message(row: &Row<'_>) -> rusqlite::Result<Value> {
    let mut message = object(row)?;
    if let Some(Value::String(text)) = message.get_mut("content") {
        let content = history::decode(std::mem::take(text));
        message.insert("content".to_owned(), content);
    }
    if let Some(Value::String(text)) = message.get("tool_calls")
        && let Ok(calls) = serde_json::from_str::<Value>(text)
    {
        message.insert("tool_calls".to_owned(), calls);
    }
    Ok(Value::Object(message))
}

fn object(row: &Row<'_>) -> rusqlite::Result<Map<String, Value>> {
    let statement: &rusqlite::Statement<'_> = row.as_ref();
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut object = Map::new();
    for (at, name) in names.into_iter().enumerate() {
        let value = match row.get_ref(at)? {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number) => number.into(),
            ValueRef::Real(number) => number.into(),
            ValueRef::Text(text) | ValueRef::Blob(text) => String::from_utf8_lossy(text).into_owned().into(),
        };
        object.insert(name, value);
    }
    Ok(object)
}
