//! Conversations that go, and why one has to stay: asked by terminals, by clients of the API, and before a fork.
//!
//! What goes is a whole conversation: the session, those that it was continued from and goes on in because it became too long, and those of
//! its sub-agents, with all messages and counters. A fork that somebody made of it is a conversation of its own, and stays. What a chat has
//! set for itself (its model) is not part of a conversation, and stays too.
//!
//! Nothing goes in which a turn runs, whoever runs it, or that a message or a run of the API waits for.

use hermes_host::blocking;
use hermes_wire::ProfileHome;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{SANE, lease};
use crate::store::Owner;

/// A conversation that is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deleted {
    /// Its sessions.
    pub(crate) sessions: Vec<String>,
    /// How many messages it had.
    pub(crate) messages: usize,
}

/// Why a conversation stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stays {
    /// There is none.
    Unknown,
    /// Something goes on in it, or waits for it: what is said of that.
    Busy(String),
}

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

/// Deletes the conversation of a session, within a transaction that has the write lock. `by`: what this process knows of turns, and who it
/// is. `unused_since`: one that was used after this time, in seconds since the epoch, stays.
pub(crate) fn delete(
    db: &Connection,
    by: (&lease::Watch, Owner),
    session: &str,
    unused_since: Option<f64>,
    now: f64,
) -> rusqlite::Result<Result<Deleted, Stays>> {
    let family = match idle(db, by, session, now)? {
        Ok(family) => family,
        Err(stays) => return Ok(Err(stays)),
    };
    if let Some(since) = unused_since
        && was_used(db, &family, since)?
    {
        return Ok(Err(Stays::Busy("it was used meanwhile".to_owned())));
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
        .prepare_cached("DELETE FROM sessions WHERE id IN (SELECT value FROM json_each(?1)) RETURNING id")?
        .query_map([&family], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Ok(Deleted { sessions, messages }))
}

/// The sessions of a conversation in which nothing goes on and that nothing waits for, as a JSON list.
pub(crate) fn idle(
    db: &Connection,
    by: (&lease::Watch, Owner),
    session: &str,
    now: f64,
) -> rusqlite::Result<Result<String, Stays>> {
    let exists: bool = db
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM sessions WHERE id = ?1)")?
        .query_row([session], |row| row.get(0))?;
    if !exists {
        return Ok(Err(Stays::Unknown));
    }
    let root = lease::root(db, session)?;
    let family: String = db.prepare_cached(FAMILY)?.query_row([&root], |row| row.get(0))?;
    Ok(match busy(db, by, &root, &family, now)? {
        Some(why) => Err(Stays::Busy(why)),
        None => Ok(family),
    })
}

/// What goes on in a conversation, or waits for it.
fn busy(
    db: &Connection,
    (leases, me): (&lease::Watch, Owner),
    root: &str,
    family: &str,
    now: f64,
) -> rusqlite::Result<Option<String>> {
    if let Some(refused) = lease::look(db, leases, me, Some(root), now)? {
        return Ok(Some(format!("a turn runs in it ({})", refused.why())));
    }
    // Older releases of this program named the session key alone.
    let held: Vec<Owner> = db
        .prepare_cached(
            "SELECT owner_pid, owner_start FROM hermes_lease WHERE conversation_id IS NULL AND session_key IN (
                SELECT value FROM json_each(?1)
                UNION SELECT session_key FROM sessions WHERE id IN (SELECT value FROM json_each(?1)))",
        )?
        .query_map([family], |row| Ok(Owner::from_columns(row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    if held.into_iter().any(|owner| owner == me || owner.is_alive()) {
        return Ok(Some(format!("a turn runs in it ({})", lease::OURS)));
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
    let is_locked: bool = db
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM compression_locks WHERE session_id IN (SELECT value FROM json_each(?1))
                AND (expires_at IS NULL OR expires_at >= ?2))",
        )?
        .query_row(params![family, now], |row| row.get(0))?;
    Ok(is_locked.then(|| "a program makes it shorter at the moment".to_owned()))
}

fn was_used(db: &Connection, family: &str, since: f64) -> rusqlite::Result<bool> {
    db.prepare_cached(&format!(
        "SELECT EXISTS (SELECT 1 FROM messages WHERE session_id IN (SELECT value FROM json_each(?1))
            AND timestamp {SANE} AND timestamp >= ?2)"
    ))?
    .query_row(params![family, since], |row| row.get(0))
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

/// [`remove_files`], beside the other tasks.
pub(crate) async fn clear(home: &ProfileHome, sessions: Vec<String>) {
    if sessions.is_empty() {
        return;
    }
    let home = home.clone();
    if let Err(lost) = blocking::run(move || remove_files(&home, &sessions)).await {
        tracing::warn!(error = %lost, "files of deleted sessions may stay");
    }
}

/// Removes what 0.19.0 may have kept of these sessions beside the database. What is not there need not be removed. Blocks.
pub(crate) fn remove_files(home: &ProfileHome, sessions: &[String]) {
    let dir = home.path().join("sessions");
    for id in sessions {
        // An id may be any text, and no path.
        if id.contains(['/', '\\', '\0']) || id.contains("..") {
            continue;
        }
        for name in [format!("{id}.json"), format!("{id}.jsonl"), format!("session_{id}.json")] {
            if let Err(error) = fs_err::remove_file(dir.join(name))
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(%error, "a file of a deleted session stays");
            }
        }
    }
}
