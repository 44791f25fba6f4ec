//! Sessions as a resource of the API: described, listed, made, named, ended and forked, with the rows of 0.19.0.
//!
//! A fork is a child that carries its parent's messages, whose end is `branched`; it is marked (`_branched_from`), so that nobody takes it
//! for what the parent goes on in. Lists leave out what is part of another conversation: sub-agents', and rows that compression has ended,
//! whose conversation is listed by its end.

use hermes_wire::stored::MAX_TITLE;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::{Map, Value, json};

use super::delete::Stays;
use super::titles::{self, Unfit};
use super::{Opening, SessionContext, frozen, history};

/// Characters of a preview.
const PREVIEW: usize = 60;

/// What clients are told of a row, but for what is counted.
const COLUMNS: &str = "id, source, user_id, model, title, started_at, ended_at, end_reason, message_count, tool_call_count, input_tokens,
    output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, estimated_cost_usd, actual_cost_usd, api_call_count,
    parent_session_id,
    COALESCE((SELECT max(timestamp) FROM messages WHERE session_id = s.id), started_at) AS last_active,
    (SELECT content FROM messages WHERE session_id = s.id AND role = 'user' AND content IS NOT NULL ORDER BY id LIMIT 1) AS preview,
    COALESCE(system_prompt, '') <> '' AS has_system_prompt, COALESCE(model_config, '') <> '' AS has_model_config";

/// Which rows are conversations of their own.
const OWN: &str = "COALESCE(s.end_reason, '') <> 'compression' AND (s.parent_session_id IS NULL OR EXISTS
    (SELECT 1 FROM sessions AS p WHERE p.id = s.parent_session_id AND p.end_reason IN ('compression', 'branched')))";

/// Why a change of a session was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such session.
    Unknown,
    /// There is one of that id.
    Exists,
    /// Its turn runs, or something waits for it: what is said of that.
    Busy(String),
    /// The title is too long, or another session's.
    Title(String),
}

impl From<Stays> for Refusal {
    fn from(stays: Stays) -> Self {
        match stays {
            Stays::Unknown => Self::Unknown,
            Stays::Busy(why) => Self::Busy(why),
        }
    }
}

/// Which sessions are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Most of them.
    pub limit: u32,
    /// So many are passed over.
    pub offset: u32,
    /// Where they come from.
    pub source: Option<String>,
    /// Those that are part of another one too.
    pub children: bool,
}

/// A session to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewResource {
    /// Its id.
    pub id: String,
    /// The platform that it belongs to.
    pub source: String,
    /// What it is called.
    pub title: Option<String>,
    /// The model that it records.
    pub model: Option<String>,
    /// In the place of the profile's own system prompt.
    pub system_prompt: Option<String>,
}

/// A row as clients get it.
fn told(row: &Row<'_>) -> rusqlite::Result<Value> {
    let names: Vec<String> = row.as_ref().column_names().map(str::to_owned).collect();
    let mut told = Map::new();
    for (at, name) in names.into_iter().enumerate() {
        let value = match row.get_ref(at)? {
            ValueRef::Null | ValueRef::Blob(_) => Value::Null,
            ValueRef::Integer(number) if name.starts_with("has_") => Value::Bool(number != 0),
            ValueRef::Integer(number) => number.into(),
            ValueRef::Real(number) => number.into(),
            ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned().into(),
        };
        told.insert(name, value);
    }
    let preview = told.get("preview").and_then(Value::as_str).map(|text| preview(text.to_owned()));
    told.insert("preview".to_owned(), preview.into());
    Ok(Value::Object(told))
}

/// The beginning of what was asked first.
fn preview(content: String) -> String {
    let text = match history::decode(content) {
        Value::String(text) => text,
        Value::Array(parts) => {
            parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    };
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(PREVIEW) {
        Some((at, _)) => format!("{}...", &words[..at]),
        None => words,
    }
}

/// What clients are told of the session `id`.
pub(crate) fn find(db: &Connection, id: &str) -> rusqlite::Result<Option<Value>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM sessions AS s WHERE id = ?1"))?
        .query_row([id], told)
        .optional()
}

/// A page of the sessions, latest use first.
pub(crate) fn list(db: &Connection, page: &Page) -> rusqlite::Result<Vec<Value>> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM sessions AS s
         WHERE (?1 IS NULL OR source = ?1) AND (?2 OR ({OWN})) ORDER BY last_active DESC, id DESC LIMIT ?3 OFFSET ?4"
    ))?
    .query_map(params![page.source, page.children, page.limit, page.offset], told)?
    .collect()
}

/// The rows of a session's messages, oldest first.
pub(crate) fn messages(db: &Connection, id: &str) -> rusqlite::Result<Vec<Value>> {
    db.prepare_cached(
        "SELECT id, session_id, role, content, tool_call_id, tool_calls, tool_name, timestamp, token_count, finish_reason, reasoning,
                reasoning_content
         FROM messages WHERE session_id = ?1 AND active = 1 ORDER BY id",
    )?
    .query_map([id], |row| {
        let content = row.get::<_, Option<String>>(3)?.map_or(Value::Null, history::decode);
        let calls = row.get::<_, Option<String>>(5)?;
        let calls = calls.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null);
        Ok(json!({
            "id": row.get::<_, i64>(0)?, "session_id": row.get::<_, String>(1)?, "role": row.get::<_, String>(2)?,
            "content": content, "tool_call_id": row.get::<_, Option<String>>(4)?, "tool_calls": calls,
            "tool_name": row.get::<_, Option<String>>(6)?, "timestamp": row.get::<_, f64>(7)?,
            "token_count": row.get::<_, Option<i64>>(8)?, "finish_reason": row.get::<_, Option<String>>(9)?,
            "reasoning": row.get::<_, Option<String>>(10)?, "reasoning_content": row.get::<_, Option<String>>(11)?,
        }))
    })?
    .collect()
}

/// Gives a session a title, or takes it away.
pub(crate) fn retitle(db: &Connection, id: &str, text: &str) -> rusqlite::Result<Result<(), Refusal>> {
    Ok(titles::choose(db, id, titles::cleaned(text).as_deref())?.map_err(|unfit| match unfit {
        Unfit::Unknown => Refusal::Unknown,
        Unfit::Long(length) => Refusal::Title(format!("Title too long ({length} chars, max {MAX_TITLE})")),
        Unfit::Taken(other) => Refusal::Title(format!("Title already in use by session {other}")),
    }))
}

/// Makes a session without messages.
pub(crate) fn make(
    db: &Connection,
    opening: Opening<'_>,
    new: &NewResource,
) -> rusqlite::Result<Result<Option<Value>, Refusal>> {
    if find(db, &new.id)?.is_some() {
        return Ok(Err(Refusal::Exists));
    }
    let source = crate::inbound::Source { platform: new.source.clone(), ..Default::default() };
    super::create(
        db,
        opening,
        &super::NewSession { id: Some(&new.id), source: &source, session_key: None, messages: 0 },
    )?;
    if let Some(prompt) = &new.system_prompt {
        store_prompt(db, opening.ctx, &new.id, prompt)?;
    }
    if let Some(model) = &new.model {
        db.prepare_cached("UPDATE sessions SET model = ?2 WHERE id = ?1")?.execute([&new.id, model])?;
    }
    if let Some(text) = &new.title
        && let Err(refusal) = retitle(db, &new.id, text)?
    {
        return Ok(Err(refusal));
    }
    find(db, &new.id).map(Ok)
}

fn store_prompt(db: &Connection, ctx: &SessionContext, id: &str, prompt: &str) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE sessions SET system_prompt = ?2 WHERE id = ?1")?.execute([id, prompt])?;
    frozen::share(db, ctx.shapes.of(db)?, id, prompt)
}

/// Ends the session `from` as `branched`, and makes a child of it with all its messages.
pub(crate) fn fork(
    db: &Connection,
    ctx: &SessionContext,
    from: &str,
    (id, source): (&str, &str),
    wanted: Option<&str>,
    now: f64,
) -> rusqlite::Result<Result<Option<Value>, Refusal>> {
    if find(db, id)?.is_some() {
        return Ok(Err(Refusal::Exists));
    }
    let shape = ctx.shapes.of(db)?;
    let prompt: Option<String> = db.query_row(
        &format!("SELECT {} FROM sessions WHERE id = ?1", frozen::column(shape)),
        [from],
        |row| row.get(0),
    )?;
    let marker = json!({ "_branched_from": from }).to_string();
    db.execute(
        "INSERT INTO sessions(id, source, user_id, model, model_config, system_prompt, parent_session_id, started_at, message_count,
                              tool_call_count, profile_name)
         SELECT ?1, ?2, user_id, model, ?3, ?4, id, ?5, message_count, tool_call_count, profile_name FROM sessions WHERE id = ?6",
        params![id, source, marker, prompt, now, from],
    )?;
    if let Some(prompt) = &prompt {
        frozen::share(db, shape, id, prompt)?;
    }
    // Whatever a newer program keeps of a message goes along, but for whose it is.
    let columns: Vec<String> = db
        .prepare(
            "SELECT '\"' || name || '\"' FROM pragma_table_info('messages')
             WHERE name NOT IN ('id', 'session_id', 'platform_message_id') ORDER BY cid",
        )?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let columns = columns.join(", ");
    db.execute(
        &format!(
            "INSERT INTO messages(session_id, {columns}) SELECT ?1, {columns} FROM messages WHERE session_id = ?2 ORDER BY id"
        ),
        [id, from],
    )?;
    let name = match wanted {
        Some(text) => text.to_owned(),
        None => next_title(db, from)?,
    };
    if let Err(refusal) = retitle(db, id, &name)? {
        return Ok(Err(refusal));
    }
    super::end(db, ctx, from, "branched", now)?;
    find(db, id).map(Ok)
}

/// The title of a session with the next number behind it.
fn next_title(db: &Connection, id: &str) -> rusqlite::Result<String> {
    let title: Option<String> =
        db.query_row("SELECT title FROM sessions WHERE id = ?1", [id], |row| row.get(0))?;
    let title = title.unwrap_or_else(|| "fork".to_owned());
    let number = |title: &str| title.rsplit_once(" #").and_then(|(_, number)| number.parse::<u32>().ok());
    let base = match title.rsplit_once(" #") {
        Some((base, _)) if number(&title).is_some() => base.to_owned(),
        _ => title,
    };
    // Room for the number.
    let base: String = base.chars().take(MAX_TITLE - 10).collect();
    let taken: Vec<String> = db
        .prepare(
            "SELECT title FROM sessions WHERE title = ?1 OR substr(title, 1, length(?1) + 2) = ?1 || ' #'",
        )?
        .query_map([&base], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    if taken.is_empty() {
        return Ok(base);
    }
    let highest = taken.iter().filter_map(|title| number(title)).max().unwrap_or(1);
    Ok(format!("{base} #{}", highest.saturating_add(1)))
}
