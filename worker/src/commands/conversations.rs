//! `/title`, `/sessions`, `/resume`, `/usage`: the conversations of one chat, or of the terminal. Nobody in a chat sees or takes up another
//! chat's.

use std::fmt::Write as _;

use hermes_wire::stored::MAX_TITLE;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::Inner;
use super::answers::ago;
use crate::inbound::Source;
use crate::session::titles::{self, Unfit};
use crate::session::{Now, chosen, epoch};

/// Most conversations that are listed.
const LISTED: u32 = 10;
/// Said where a chat has no conversation yet.
pub(super) const NONE: &str = "There is no conversation here yet.";

/// A conversation of a list.
struct Row {
    id: String,
    title: Option<String>,
    messages: i64,
    since: f64,
}

/// `/title [words]`
pub(super) fn title(db: &Connection, inner: &Inner, key: &str, rest: &str) -> rusqlite::Result<String> {
    match chosen::current(db, &inner.scopes, key)? {
        Some(id) => title_of(db, &id, rest),
        None => Ok(NONE.to_owned()),
    }
}

/// The same of a conversation.
pub(super) fn title_of(db: &Connection, id: &str, rest: &str) -> rusqlite::Result<String> {
    let Some(wanted) = titles::cleaned(rest) else {
        let title: Option<String> = db
            .prepare_cached("SELECT title FROM sessions WHERE id = ?1")?
            .query_row([id], |row| row.get(0))
            .optional()?
            .flatten();
        return Ok(title.map_or_else(
            || "This conversation has no title yet. /title and some words give it one.".to_owned(),
            |title| format!("Title: {title}"),
        ));
    };
    let wanted: String = wanted.chars().take(MAX_TITLE).collect();
    let wanted = wanted.trim_end();
    Ok(match titles::choose(db, id, Some(wanted))? {
        Ok(()) => format!("Title: {wanted}"),
        Err(Unfit::Taken(_)) => format!("Another conversation is called \"{wanted}\" already."),
        Err(Unfit::Unknown | Unfit::Long(_)) => NONE.to_owned(),
    })
}

/// Whose conversations.
#[derive(Debug, Clone, Copy)]
pub(super) enum Of<'a> {
    /// Those of the chat with this key.
    Chat(&'a str),
    /// Those that began on this platform.
    Platform(&'a str),
}

/// The latest conversations.
fn list(db: &Connection, of: Of<'_>) -> rusqlite::Result<Vec<Row>> {
    let (column, value) = match of {
        Of::Chat(key) => ("session_key", key),
        Of::Platform(platform) => ("parent_session_id IS NULL AND source", platform),
    };
    db.prepare_cached(&format!(
        "SELECT id, title, message_count, started_at FROM sessions
         WHERE {column} = ?1 AND COALESCE(end_reason, '') <> 'compression'
         ORDER BY started_at DESC, id DESC LIMIT ?2"
    ))?
    .query_map(params![value, LISTED], |row| {
        Ok(Row { id: row.get(0)?, title: row.get(1)?, messages: row.get(2)?, since: row.get(3)? })
    })?
    .collect()
}

/// `/sessions`
pub(super) fn sessions(db: &Connection, inner: &Inner, key: &str) -> rusqlite::Result<String> {
    listed(db, Of::Chat(key), chosen::current(db, &inner.scopes, key)?.as_deref())
}

/// The conversations, with a mark at the `current` one.
pub(super) fn listed(db: &Connection, of: Of<'_>, current: Option<&str>) -> rusqlite::Result<String> {
    let all = list(db, of)?;
    if all.is_empty() {
        return Ok(NONE.to_owned());
    }
    let place = if matches!(of, Of::Chat(_)) { "this chat" } else { "the terminal" };
    let mut text = format!("Conversations of {place}, the latest first:\n");
    for (at, Row { id, title, messages, since }) in all.iter().enumerate() {
        let title = title.as_deref().unwrap_or("without a title");
        let here = if current == Some(id.as_str()) { " ← this one" } else { "" };
        let since = ago(epoch() - since);
        // Writing to a string cannot fail.
        let _ = write!(text, "\n{}. {title} ({id}, {messages} messages, begun {since} ago){here}", at + 1);
    }
    text.push_str("\n\n/resume and a number, a title or an id goes on in one of them.");
    Ok(text)
}

/// The conversation of this number in the list.
pub(super) fn numbered(db: &Connection, of: Of<'_>, wanted: &str) -> rusqlite::Result<Option<String>> {
    let Some(at) = wanted.parse::<usize>().ok().and_then(|number| number.checked_sub(1)) else {
        return Ok(None);
    };
    Ok(list(db, of)?.into_iter().nth(at).map(|row| row.id))
}

/// `/resume [number|title|id]`
pub(super) fn resume(
    db: &Connection,
    inner: &Inner,
    (key, source): (&str, &Source),
    rest: &str,
) -> rusqlite::Result<String> {
    let wanted = rest.trim();
    if wanted.is_empty() {
        return sessions(db, inner, key);
    }
    let found = match numbered(db, Of::Chat(key), wanted)? {
        Some(id) => Some(id),
        None => db
            .prepare_cached(
                "SELECT id FROM sessions WHERE session_key = ?1 AND COALESCE(end_reason, '') <> 'compression'
                    AND (id = ?2 OR lower(title) = lower(?2)) ORDER BY started_at DESC LIMIT 1",
            )?
            .query_row([key, wanted], |row| row.get::<_, String>(0))
            .optional()?,
    };
    let Some(id) = found else {
        return Ok(format!("This chat has no conversation `{wanted}`. /sessions lists them."));
    };
    if chosen::current(db, &inner.scopes, key)?.as_deref() == Some(id.as_str()) {
        return Ok("That is the conversation you are in.".to_owned());
    }
    let now = Now::in_zone(&inner.zone);
    chosen::switch(db, (&inner.scopes, &inner.shapes), (key, source), &id, &now)?;
    taken_up(db, &id)
}

/// Said of a conversation that goes on.
pub(super) fn taken_up(db: &Connection, id: &str) -> rusqlite::Result<String> {
    let (title, messages): (Option<String>, i64) = db
        .prepare_cached("SELECT title, message_count FROM sessions WHERE id = ?1")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let title = title.map(|title| format!(" \"{title}\"")).unwrap_or_default();
    Ok(format!("↻ The conversation{title} ({id}, {messages} messages) goes on with your next message."))
}

/// `/usage`
pub(super) fn usage(db: &Connection, inner: &Inner, key: &str) -> rusqlite::Result<String> {
    match chosen::current(db, &inner.scopes, key)? {
        Some(id) => usage_of(db, &id),
        None => Ok(NONE.to_owned()),
    }
}

/// The same of a conversation.
pub(super) fn usage_of(db: &Connection, id: &str) -> rusqlite::Result<String> {
    let found: Option<[i64; 8]> = db
        .prepare_cached(
            "SELECT input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, api_call_count,
                message_count, tool_call_count FROM sessions WHERE id = ?1",
        )?
        .query_row([id], |row| {
            let mut all = [0; 8];
            for (at, value) in all.iter_mut().enumerate() {
                *value = row.get::<_, Option<i64>>(at)?.unwrap_or(0);
            }
            Ok(all)
        })
        .optional()?;
    let Some([input, output, read, written, thought, calls, messages, tools]) = found else {
        return Ok(NONE.to_owned());
    };
    Ok(format!(
        "Conversation: {id}, {messages} messages\nCalls: {calls} to the model, {tools} of tools\n\
         Tokens: {input} in, {output} out ({thought} of them thought), {read} read from the cache, {written} written to it"
    ))
}
