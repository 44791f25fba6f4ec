//! A question that its caller may ask again: which row it is, and what came of it since; and what there is of a session, for people.

use hermes_wire::terminal::Counts;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{CUT_OFF, decode, is_open};

/// The end of a turn whose caller had gone.
pub(crate) const INTERRUPTED: &str = "interrupted";

/// What there is of a question that was asked before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Nobody has answered it yet.
    Open,
    /// Its turn is over.
    Over(Came),
    /// Its turn was given up before its end, and its rows have left the prompt: it is asked as if for the first time.
    CutOff,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Came {
    /// An answer.
    Answer {
        /// Its text.
        text: String,
        /// How it ended.
        finish_reason: String,
    },
    /// None, for this reason.
    Nothing(String),
}

/// Names the question that was staged last.
pub(crate) fn identify(db: &Connection, identity: &str) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE temp.hermes_staged SET identity = ?1
         WHERE rowid = (SELECT max(rowid) FROM temp.hermes_staged WHERE role = 'user')",
    )?
    .execute([identity])?;
    Ok(())
}

/// What there is of the question `identity` in a session; `None`: it was not asked there.
pub(crate) fn asked(db: &Connection, session: &str, identity: &str) -> rusqlite::Result<Option<Asked>> {
    let question: Option<(i64, bool)> = db
        .prepare_cached(
            "SELECT id, active FROM messages WHERE session_id = ?1 AND platform_message_id = ?2 AND role = 'user'
             ORDER BY id DESC LIMIT 1",
        )?
        .query_row([session, identity], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((question, active)) = question else { return Ok(None) };
    // The first row behind it that ends a turn; steps carry a `call_id`.
    let end: Option<(Option<String>, Option<String>)> = db
        .prepare_cached(
            "SELECT content, finish_reason FROM messages
             WHERE session_id = ?1 AND id > ?2 AND role = 'assistant' AND active = ?3
               AND (tool_calls IS NULL OR NOT json_valid(tool_calls) OR json_extract(tool_calls, '$[0].call_id') IS NULL)
             ORDER BY id LIMIT 1",
        )?
        .query_row(params![session, question, active], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((content, finish_reason)) = end else {
        return Ok(Some(if active && is_open(db, session)? { Asked::Open } else { Asked::CutOff }));
    };
    let text =
        content.map(decode).and_then(|content| content.as_str().map(str::to_owned)).unwrap_or_default();
    if active {
        let finish_reason = finish_reason.unwrap_or_default();
        return Ok(Some(Asked::Over(Came::Answer { text, finish_reason })));
    }
    let why = text.strip_prefix("[no answer: ").and_then(|rest| rest.strip_suffix(']')).unwrap_or(&text);
    Ok(Some(match why {
        CUT_OFF | INTERRUPTED => Asked::CutOff,
        why => Asked::Over(Came::Nothing(why.to_owned())),
    }))
}

/// How much there is of a session.
pub(crate) fn counts(db: &Connection, session: &str) -> rusqlite::Result<Counts> {
    db.prepare_cached(
        "SELECT count(*), COALESCE(sum(role = 'user'), 0),
                COALESCE(sum(CASE WHEN json_valid(tool_calls) THEN json_array_length(tool_calls) ELSE 0 END), 0)
         FROM messages WHERE session_id = ?1 AND active = 1 AND role IN ('user', 'assistant', 'tool')",
    )?
    .query_row([session], |row| {
        let count = |at| row.get::<_, i64>(at).map(|n| u64::try_from(n).unwrap_or(0));
        Ok(Counts { messages: count(0)?, user: count(1)?, tool_calls: count(2)? })
    })
}

/// The session of this id, else that of this title.
pub(crate) fn named(db: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    db.prepare_cached("SELECT id FROM sessions WHERE id = ?1 OR title = ?1 ORDER BY id = ?1 DESC LIMIT 1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

/// The session of a platform that was used last, whichever it was.
pub(crate) fn last_of(db: &Connection, platform: &str) -> rusqlite::Result<Option<String>> {
    db.prepare_cached(
        "SELECT id FROM sessions WHERE source = ?1 AND parent_session_id IS NULL AND archived = 0
         ORDER BY COALESCE((SELECT max(timestamp) FROM messages WHERE session_id = sessions.id), started_at) DESC,
            started_at DESC, id DESC
         LIMIT 1",
    )?
    .query_row([platform], |row| row.get(0))
    .optional()
}
