//! Leases: which process runs a session's turn. A row, void when its process is gone.

use rusqlite::{Connection, params};

use crate::store::Owner;

/// `false`: held by someone else.
pub(super) fn take(db: &Connection, me: Owner, key: &str, now: f64) -> rusqlite::Result<bool> {
    let taken = db
        .prepare_cached(
            "INSERT INTO hermes_lease(session_key, owner_pid, owner_start, taken_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![key, me.pid, me.start_column(), now])?;
    Ok(taken == 1)
}

/// Ends a lease of this process.
pub(super) fn release(db: &Connection, me: Owner, key: &str) -> rusqlite::Result<()> {
    db.prepare_cached(
        "DELETE FROM hermes_lease WHERE session_key = ?1 AND owner_pid = ?2 AND owner_start = ?3",
    )?
    .execute(params![key, me.pid, me.start_column()])?;
    Ok(())
}
