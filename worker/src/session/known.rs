//! Where a conversation goes on: what stands in the database of a session before a turn begins in it. Reads only.
//!
//! **Compression.** A session may be ended by compression, and go on as a child of its own: summary and latest messages. Nothing is ever
//! added to such a row, because other programs look at the end of the line alone. Whatever names an earlier row of a line (a client, a
//! routing entry, an item of the inbox) means its end. On the way there a fork, made on purpose, is no continuation: it names the row that
//! it was branched, delegated or reset from. A marker that names another row was copied from the parent, and says nothing.
//!
//! **A line without an end.** Older releases ended the parent first and made the child after it; one that died in between left a row that is
//! ended by compression and goes on nowhere. Its messages are all there, so it is opened again, and grows until it is compressed once more.
//! Beginning a child in its place would leave the conversation behind, and could meet the child of a program that is only slow. Such a one
//! holds a lock: while that lasts, the turn waits. A circle, which no program makes, is opened where it closes.
//!
//! **Under a turn** nobody compresses a session who heeds the lease of the conversation; 0.19.0 knows none. What a turn writes after that
//! goes to the end of the line too ([`line_of`]).

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::ending::is_reopened;
use super::frozen;
use super::shape::Shape;

/// What there is of a session.
#[derive(Debug)]
pub(crate) enum Known {
    /// None, or someone deleted it.
    Nothing,
    /// Another program is compressing it: nobody can tell yet where it goes on.
    Compressing,
    /// The end of its line.
    Row(Row),
}

/// A row of `sessions`.
#[derive(Debug)]
pub(crate) struct Row {
    /// Which may be another than was asked for.
    pub(crate) id: String,
    /// Of a chat's session.
    pub(crate) key: Option<String>,
    /// The prompt as it is stored.
    pub(super) prompt: Option<String>,
    /// Whether it goes on.
    pub(super) state: State,
}

/// How far a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It goes on.
    Open,
    /// It ended, and goes on all the same: it is to be marked as open.
    Reopened,
    /// Over. A client that names it may go on in it.
    Over,
}

/// The end of the line of `id`.
pub(super) fn find(db: &Connection, shape: Shape, id: &str, now: f64) -> rusqlite::Result<Known> {
    let mut seen = HashSet::new();
    let mut at = id.to_owned();
    loop {
        let Some((row, reason)) = read(db, shape, &at)? else { return Ok(Known::Nothing) };
        let Some(reason) = reason else { return Ok(Known::Row(row)) };
        if reason.as_deref() != Some(COMPRESSION) {
            let state = if is_reopened(reason.as_deref()) { State::Reopened } else { State::Over };
            return Ok(Known::Row(Row { state, ..row }));
        }
        seen.insert(at);
        match child(db, shape, &row.id)?.filter(|child| !seen.contains(child)) {
            Some(child) => at = child,
            None if is_locked(db, &row.id, now)? => return Ok(Known::Compressing),
            None => return Ok(Known::Row(Row { state: State::Reopened, ..row })),
        }
    }
}

/// Where rows of a turn belong that began in the session `id`: it, unless it was ended by compression since and goes on in another.
pub(super) fn line_of(db: &Connection, shape: Shape, id: &str, now: f64) -> rusqlite::Result<Option<String>> {
    let is_compressed = db
        .prepare_cached("SELECT ended_at IS NOT NULL AND end_reason = ?2 FROM sessions WHERE id = ?1")?
        .query_row([id, COMPRESSION], |row| row.get::<_, Option<bool>>(0))
        .optional()?;
    if is_compressed.flatten() != Some(true) {
        return Ok(None);
    }
    Ok(match find(db, shape, id, now)? {
        Known::Row(row) => Some(row.id),
        Known::Nothing | Known::Compressing => None,
    })
}

/// The end that a compressed session has.
pub(super) const COMPRESSION: &str = "compression";

/// A row as if it were open, and, of one that ended, why.
type Read = (Row, Option<Option<String>>);

fn read(db: &Connection, shape: Shape, id: &str) -> rusqlite::Result<Option<Read>> {
    let prompt = frozen::column(shape);
    db.prepare_cached(&format!(
        "SELECT session_key, {prompt}, ended_at IS NOT NULL, end_reason FROM sessions WHERE id = ?1"
    ))?
    .query_row([id], |row| {
        let reason = if row.get(2)? { Some(row.get(3)?) } else { None };
        Ok((Row { id: id.to_owned(), key: row.get(0)?, prompt: row.get(1)?, state: State::Open }, reason))
    })
    .optional()
}

/// The continuation of a row that was ended by compression. Where there are several, the one that was compressed again, else an open one,
/// else the one used last. Times that are none, left by a damaged page, do not count.
fn child(db: &Connection, shape: Shape, parent: &str) -> rusqlite::Result<Option<String>> {
    let marker = |name: &str| {
        format!(
            "COALESCE(json_extract(iif(json_valid(model_config), model_config, '{{}}'), '$.{name}'), '') <> ?1"
        )
    };
    let [branched, delegated, reset] = ["_branched_from", "_delegate_from", "_reset_from"].map(marker);
    let activity = if shape.last_activity { "last_activity_at" } else { "NULL" };
    db.prepare_cached(&format!(
        "SELECT id FROM sessions
         WHERE parent_session_id = ?1 AND COALESCE(source, '') <> 'tool' AND {branched} AND {delegated} AND {reset}
         ORDER BY CASE WHEN end_reason = ?2 THEN 0 WHEN ended_at IS NULL THEN 1 ELSE 2 END,
            COALESCE((SELECT max(at) FROM (SELECT {activity} AS at UNION ALL
                        SELECT max(timestamp) FROM messages
                        WHERE session_id = sessions.id AND timestamp BETWEEN 0 AND 1e11)
                      WHERE at BETWEEN 0 AND 1e11), started_at) DESC,
            started_at DESC, id DESC
         LIMIT 1"
    ))?
    .query_row(params![parent, COMPRESSION], |row| row.get(0))
    .optional()
}

fn is_locked(db: &Connection, id: &str, now: f64) -> rusqlite::Result<bool> {
    db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM compression_locks
                        WHERE session_id = ?1 AND (expires_at IS NULL OR expires_at >= ?2))",
    )?
    .query_row(params![id, now], |row| row.get(0))
}

/// Marks a session as open. A lock that was left on one that goes on nowhere goes with its end: so its owner, should it live after all,
/// learns that it has lost it.
pub(super) fn reopen(db: &Connection, id: &str, now: f64) -> rusqlite::Result<()> {
    db.prepare_cached(
        "DELETE FROM compression_locks WHERE session_id = ?1 AND expires_at < ?2
            AND EXISTS (SELECT 1 FROM sessions WHERE id = ?1 AND end_reason = ?3)",
    )?
    .execute(params![id, now, COMPRESSION])?;
    db.prepare_cached("UPDATE sessions SET ended_at = NULL, end_reason = NULL WHERE id = ?1")?
        .execute([id])?;
    Ok(())
}

#[cfg(test)]
mod tests;
