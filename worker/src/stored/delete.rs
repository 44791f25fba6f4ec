//! Sessions that go.
//!
//! What goes is a whole conversation: the session, those that it was continued from and goes on in because it became too long, and those of
//! its sub-agents, with all messages and counters. A fork that somebody made of it is a conversation of its own, and stays. What a chat has
//! set for itself (its model) is not part of a conversation, and stays too.

use hermes_wire::stored::Done;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::Stored;
use super::look::SANE;
use crate::session::lease;

/// What is said of a session that is not there.
pub(super) const GONE: &str = "there is no such session";

/// All of the conversation that starts in `?1`: what it goes on in, and what sub-agents did for it. A fork says what it was made from.
const FAMILY: &str = "WITH RECURSIVE family(id) AS (
    SELECT id FROM sessions WHERE id = ?1
    UNION
    SELECT c.id FROM sessions AS c JOIN family AS f ON c.parent_session_id = f.id JOIN sessions AS p ON p.id = f.id
    WHERE COALESCE(c.source, '') IN ('tool', 'subagent') OR COALESCE(json_extract(
            iif(json_valid(c.model_config), c.model_config, '{}'), '$._delegate_from'), '') = p.id
       OR (p.end_reason = 'compression'
           AND COALESCE(json_extract(iif(json_valid(c.model_config), c.model_config, '{}'), '$._branched_from'), '') <> p.id
           AND COALESCE(json_extract(iif(json_valid(c.model_config), c.model_config, '{}'), '$._reset_from'), '') <> p.id)
) SELECT json_group_array(id) FROM family";

/// Deletes the conversation of a session, unless there is a reason to keep it: that is told.
pub(super) fn delete(
    db: &Connection,
    stored: &Stored,
    session: &str,
    unused_since: Option<f64>,
    now: f64,
) -> rusqlite::Result<Result<Done, String>> {
    let exists: bool = db
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM sessions WHERE id = ?1)")?
        .query_row([session], |row| row.get(0))?;
    if !exists {
        return Ok(Err(GONE.to_owned()));
    }
    let root = lease::root(db, session)?;
    let family: String = db.prepare_cached(FAMILY)?.query_row([&root], |row| row.get(0))?;
    if let Some(why) = reason(db, stored, &root, &family, unused_since, now)? {
        return Ok(Err(why));
    }
    let messages = db
        .prepare_cached("DELETE FROM messages WHERE session_id IN (SELECT value FROM json_each(?1))")?
        .execute([&family])?;
    for (table, column) in referring(db)? {
        let sql = format!("DELETE FROM \"{table}\" WHERE \"{column}\" IN (SELECT value FROM json_each(?1))");
        db.execute(&sql, [&family])?;
    }
    for table in ["hermes_agent_session", "compression_locks"] {
        db.prepare_cached(&format!(
            "DELETE FROM {table} WHERE session_id IN (SELECT value FROM json_each(?1))"
        ))?
        .execute([&family])?;
    }
    db.prepare_cached(
        "UPDATE sessions SET parent_session_id = NULL WHERE parent_session_id IN (SELECT value FROM json_each(?1))
            AND id NOT IN (SELECT value FROM json_each(?1))",
    )?
    .execute([&family])?;
    let sessions = db
        .prepare_cached("DELETE FROM sessions WHERE id IN (SELECT value FROM json_each(?1))")?
        .execute([&family])?;
    let count = |rows: usize| u64::try_from(rows).unwrap_or(u64::MAX);
    Ok(Ok(Done { id: session.to_owned(), sessions: count(sessions), messages: count(messages) }))
}

/// Why a conversation has to stay.
fn reason(
    db: &Connection,
    stored: &Stored,
    root: &str,
    family: &str,
    unused_since: Option<f64>,
    now: f64,
) -> rusqlite::Result<Option<String>> {
    if let Some(refused) = lease::look(db, &stored.leases, stored.owner, Some(root), now)? {
        return Ok(Some(format!("a turn runs in it ({})", refused.why())));
    }
    let waits: Option<i64> = db
        .prepare_cached(
            "SELECT id FROM hermes_inbox WHERE finished_at IS NULL AND state <> 'reserved'
                AND session_id IN (SELECT value FROM json_each(?1)) LIMIT 1",
        )?
        .query_row([family], |row| row.get(0))
        .optional()?;
    if let Some(item) = waits {
        return Ok(Some(format!("message {item} of the inbox is to be answered in it")));
    }
    let run: Option<String> = db
        .prepare_cached(
            "SELECT id FROM hermes_run WHERE status IS NULL AND session_id IN (SELECT value FROM json_each(?1)) LIMIT 1",
        )?
        .query_row([family], |row| row.get(0))
        .optional()?;
    if let Some(run) = run {
        return Ok(Some(format!("run {run} of the API is not over")));
    }
    let locked: bool = db
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM compression_locks WHERE session_id IN (SELECT value FROM json_each(?1))
                AND (expires_at IS NULL OR expires_at >= ?2))",
        )?
        .query_row(params![family, now], |row| row.get(0))?;
    if locked {
        return Ok(Some("a program makes it shorter at the moment".to_owned()));
    }
    let Some(since) = unused_since else { return Ok(None) };
    let used: bool = db
        .prepare_cached(&format!(
            "SELECT EXISTS (SELECT 1 FROM messages WHERE session_id IN (SELECT value FROM json_each(?1))
                AND timestamp {SANE} AND timestamp >= ?2)"
        ))?
        .query_row(params![family, since], |row| row.get(0))?;
    Ok(used.then(|| "it was used meanwhile".to_owned()))
}

/// Tables of any program whose rows must not outlive their session, and the column that names it.
fn referring(db: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    db.prepare_cached(
        "SELECT t.name, f.\"from\" FROM sqlite_schema AS t JOIN pragma_foreign_key_list(t.name) AS f
         WHERE t.type = 'table' AND f.\"table\" = 'sessions' AND t.name NOT IN ('sessions', 'messages') AND f.on_delete <> 'SET NULL'",
    )?
    .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
    .collect()
}
