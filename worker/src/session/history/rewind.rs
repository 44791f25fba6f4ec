//! Taking the last question back: its rows and those behind it leave the prompt, and stay in the transcript, as 0.19.0 has it.

use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::Value;

use super::decode;

/// What was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rewound {
    /// What was asked.
    pub(crate) question: String,
    /// How many messages it were.
    pub(crate) messages: usize,
}

/// Takes the last question of a session back; `None`: there is none.
pub(crate) fn rewind(db: &Connection, session: &str) -> rusqlite::Result<Option<Rewound>> {
    let last: Option<(i64, String)> = db
        .prepare_cached(
            "SELECT id, content FROM messages
             WHERE session_id = ?1 AND active = 1 AND role = 'user' AND content IS NOT NULL ORDER BY id DESC LIMIT 1",
        )?
        .query_row([session], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((id, content)) = last else { return Ok(None) };
    let messages = db
        .prepare_cached("UPDATE messages SET active = 0 WHERE session_id = ?1 AND active = 1 AND id >= ?2")?
        .execute(params![session, id])?;
    db.prepare_cached("UPDATE sessions SET rewind_count = rewind_count + 1 WHERE id = ?1")?
        .execute([session])?;
    let question = match decode(content) {
        Value::String(text) => text,
        Value::Array(parts) => {
            parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    };
    Ok(Some(Rewound { question, messages }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_question_leaves_the_prompt_with_all_that_followed() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE TABLE sessions(id TEXT PRIMARY KEY, rewind_count INTEGER NOT NULL DEFAULT 0);
             CREATE TABLE messages(id INTEGER PRIMARY KEY, session_id, role, content, active);
             INSERT INTO sessions(id) VALUES ('s');
             INSERT INTO messages(session_id, role, content, active) VALUES
                ('s', 'user', 'one', 1), ('s', 'assistant', 'a', 1), ('s', 'user', 'two', 1), ('s', 'assistant', 'b', 1),
                ('t', 'user', 'other', 1);",
        )
        .unwrap();
        let taken = |question: &str| Some(Rewound { question: question.to_owned(), messages: 2 });
        assert_eq!(rewind(&db, "s").unwrap(), taken("two"));
        assert_eq!(rewind(&db, "s").unwrap(), taken("one"));
        assert_eq!(rewind(&db, "s").unwrap(), None);
        let left: i64 =
            db.query_row("SELECT count(*) FROM messages WHERE active = 1", [], |row| row.get(0)).unwrap();
        assert_eq!(left, 1, "the other session's");
    }
}
