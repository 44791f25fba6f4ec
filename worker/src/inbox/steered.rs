//! Messages that were put into a turn. Each keeps its row, and the row ends as that turn's own item does: a message is answered by the
//! answer, and a dead letter beside the one that it was put into. While the turn is put off or taken up again, it waits with it.
//!
//! They count as finished (`finished_at`): none of them is ever the next item of its session.

use rusqlite::{Connection, params};

/// Item `id` was put into the turn of its session.
pub(crate) fn put(db: &Connection, id: i64, now: f64) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE hermes_inbox SET state = 'steered', finished_at = ?2 WHERE id = ?1")?
        .execute(params![id, now])
        .map(drop)
}

/// The turn of `key` is over, and what was put into it with it.
pub(crate) fn done(db: &Connection, key: &str, now: f64) -> rusqlite::Result<()> {
    db.prepare_cached(
        "DELETE FROM hermes_inbox WHERE session_key = ?1 AND state = 'steered' AND dedup_id IS NULL",
    )?
    .execute([key])?;
    db.prepare_cached(
        "UPDATE hermes_inbox SET state = 'done', payload = NULL, finished_at = ?2
         WHERE session_key = ?1 AND state = 'steered'",
    )?
    .execute(params![key, now])
    .map(drop)
}

/// The turn of `key` has failed for good, and what was put into it with it: each runs by itself when it is sent again.
pub(crate) fn failed(db: &Connection, key: &str, error: &str, now: f64) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE hermes_inbox SET state = 'failed', error = ?3, finished_at = ?2
         WHERE session_key = ?1 AND state = 'steered'",
    )?
    .execute(params![key, now, error])
    .map(drop)
}
