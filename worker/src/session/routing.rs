//! The routing index: session key → session id.
//!
//! Our rows have the profile's name as their scope, so that a home can be moved. 0.19.0's scope is the absolute path of the
//! `sessions` folder; its rows are read, and once one of its keys is used here, its row is kept equal to ours, so that going back
//! finds the same session.

use camino::Utf8Path;
use hermes_wire::ProfileName;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Value, json};

use super::{Now, origin};
use crate::inbound::Source;

/// Where entries live.
#[derive(Debug, Clone)]
pub(crate) struct Scopes {
    /// Ours: the profile's name.
    pub(crate) own: String,
    /// 0.19.0's: the resolved path of `<home>/sessions`.
    pub(crate) upstream: String,
}

impl Scopes {
    pub(crate) fn of(profile: &ProfileName, home: &Utf8Path) -> Self {
        // The folder itself may not exist yet.
        let home = home.canonicalize_utf8().unwrap_or_else(|_| home.to_owned());
        Self { own: profile.as_str().to_owned(), upstream: home.join("sessions").into_string() }
    }
}

/// An entry, with every field that it has.
pub(crate) struct Found {
    pub(crate) entry: Value,
    /// 0.19.0 has a row for this key.
    pub(crate) in_upstream_scope: bool,
}

impl Found {
    /// Tokens of the last prompt of its session; 0: not known.
    pub(crate) fn last_tokens(&self) -> u64 {
        self.entry["last_prompt_tokens"].as_u64().unwrap_or(0)
    }

    /// The session it names, unless that could be a path.
    pub(crate) fn session_id(&self) -> Option<&str> {
        self.entry["session_id"].as_str().filter(|id| is_session_id(id))
    }
}

/// Ids become file names in 0.19.0.
fn is_session_id(id: &str) -> bool {
    !id.is_empty() && !id.contains(['/', '\\', '\0']) && !id.contains("..")
}

/// The entry of `key`: of both scopes, the one that changed last.
pub(crate) fn find(db: &Connection, scopes: &Scopes, key: &str) -> rusqlite::Result<Option<Found>> {
    let mut select = db.prepare_cached(
        "SELECT entry_json, scope FROM gateway_routing WHERE scope IN (?1, ?2) AND session_key = ?3
         ORDER BY updated_at DESC",
    )?;
    let mut rows = select.query([&scopes.own, &scopes.upstream, key])?;
    let mut entry: Option<String> = None;
    let mut in_upstream_scope = false;
    while let Some(row) = rows.next()? {
        in_upstream_scope |= row.get_ref(1)?.as_str()? == scopes.upstream;
        if entry.is_none() {
            entry = Some(row.get(0)?);
        }
    }
    // An unreadable or non-object entry names no session; a new one replaces it.
    Ok(entry.map(|text| {
        let entry: Value = serde_json::from_str(&text).unwrap_or_default();
        Found { entry: if entry.is_object() { entry } else { json!({}) }, in_upstream_scope }
    }))
}

/// Most entries that are looked through for chats.
const LOOKED: u32 = 500;

/// Where sessions came from, the latest first.
pub(crate) fn chats(db: &Connection, scopes: &Scopes) -> rusqlite::Result<Vec<Source>> {
    let mut select = db.prepare_cached(
        "SELECT entry_json FROM gateway_routing WHERE scope IN (?1, ?2) ORDER BY updated_at DESC LIMIT ?3",
    )?;
    let entries =
        select.query_map(params![scopes.own, scopes.upstream, LOOKED], |row| row.get::<_, String>(0))?;
    let mut all = Vec::new();
    for entry in entries {
        let origin = serde_json::from_str::<Value>(&entry?)
            .ok()
            .and_then(|mut entry| entry.get_mut("origin").map(Value::take));
        // What another program wrote may lack a field, or be none.
        all.extend(origin.and_then(|origin| serde_json::from_value::<Source>(origin).ok()));
    }
    Ok(all)
}

/// Writes the entry of `key`. Row ids follow the last use, which is what the mirror goes by.
pub(crate) fn put(
    db: &Connection,
    scopes: &Scopes,
    key: &str,
    entry: &Value,
    now: f64,
    also_upstream: bool,
) -> rusqlite::Result<()> {
    let text = entry.to_string();
    let mut replace = db.prepare_cached(
        "INSERT OR REPLACE INTO gateway_routing(scope, session_key, entry_json, updated_at) VALUES (?1, ?2, ?3, ?4)",
    )?;
    if also_upstream {
        replace.execute(params![scopes.upstream, key, text, now])?;
    }
    replace.execute(params![scopes.own, key, text, now])?;
    Ok(())
}

/// After an answer.
pub(crate) fn touch(
    db: &Connection,
    scopes: &Scopes,
    key: &str,
    prompt_tokens: u64,
    now: &Now,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE gateway_routing SET updated_at = ?4,
            entry_json = json_set(entry_json, '$.last_prompt_tokens', ?3, '$.updated_at', ?5)
         WHERE scope = ?1 AND session_key = ?2",
    )?
    .execute(params![scopes.own, key, prompt_tokens.cast_signed(), now.epoch, now.iso()])?;
    Ok(())
}

/// What a prompt of a session had of tokens is not so any more.
pub(crate) fn forget_tokens(db: &Connection, scopes: &Scopes, session: &str) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE gateway_routing SET entry_json = json_set(entry_json, '$.last_prompt_tokens', 0)
         WHERE scope IN (?1, ?2) AND json_valid(entry_json) AND json_extract(entry_json, '$.session_id') = ?3",
    )?
    .execute([&scopes.own, &scopes.upstream, session])?;
    Ok(())
}

/// The entry of a session that starts now.
pub(crate) fn new_entry(key: &str, session_id: &str, source: &Source, now: &Now) -> Value {
    let at = now.iso();
    json!({
        "session_key": key,
        "session_id": session_id,
        "created_at": at,
        "updated_at": at,
        "display_name": source.chat_name.as_ref().or(source.user_name.as_ref()),
        "platform": source.platform,
        "chat_type": source.chat_type,
        "input_tokens": 0,
        "output_tokens": 0,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "total_tokens": 0,
        "last_prompt_tokens": 0,
        "estimated_cost_usd": 0.0,
        "cost_status": "unknown",
        "expiry_finalized": false,
        "suspended": false,
        "resume_pending": false,
        "resume_reason": null,
        "last_resume_marked_at": null,
        "is_fresh_reset": false,
        "was_auto_reset": false,
        "auto_reset_reason": null,
        "reset_had_activity": false,
        "origin": origin(source),
    })
}

/// Whether any entry of `key` exists; for imports.
pub(crate) fn exists(db: &Connection, scopes: &Scopes, key: &str) -> rusqlite::Result<bool> {
    let found = db
        .prepare_cached("SELECT 1 FROM gateway_routing WHERE scope IN (?1, ?2) AND session_key = ?3")?
        .query_row([&scopes.own, &scopes.upstream, key], |_| Ok(()))
        .optional()?;
    Ok(found.is_some())
}
