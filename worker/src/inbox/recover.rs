//! What a dead process held is free again.

use rusqlite::{Connection, params};

use crate::session::epoch;
use crate::store::Owner;

/// An item whose turn ended its process this often is not tried again.
const MAX_DEATHS: i64 = 3;

/// What became of foreign leases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// Items that wait again; their user row exists, so their turn continues.
    pub(crate) resumed: usize,
    /// Items given up because their turn kept killing the process.
    pub(crate) given_up: usize,
    /// Another live process holds leases: look again soon.
    pub(crate) others_alive: bool,
}

/// Frees leases and claims of processes that are gone.
pub(crate) fn recover(db: &Connection, me: Owner) -> rusqlite::Result<Recovered> {
    let owners: Vec<Owner> = db
        .prepare_cached("SELECT DISTINCT owner_pid, owner_start FROM hermes_lease")?
        .query_map([], |row| Ok(Owner::from_columns(row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut recovered = Recovered::default();
    for owner in owners.into_iter().filter(|owner| *owner != me) {
        if owner.is_alive() {
            recovered.others_alive = true;
        } else {
            release_all(db, owner, &mut recovered)?;
        }
    }
    Ok(recovered)
}

fn release_all(db: &Connection, dead: Owner, recovered: &mut Recovered) -> rusqlite::Result<()> {
    let (pid, start) = (dead.pid, dead.start_column());
    let keys: Vec<String> = db
        .prepare_cached("SELECT session_key FROM hermes_lease WHERE owner_pid = ?1 AND owner_start = ?2")?
        .query_map(params![pid, start], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for key in keys {
        recovered.given_up += db
            .prepare_cached(
                "UPDATE hermes_inbox SET state = 'failed', finished_at = ?4, owner_pid = NULL, owner_start = NULL,
                    attempts = attempts + 1, error = 'the worker died every time this was tried'
                 WHERE session_key = ?1 AND finished_at IS NULL AND state = 'claimed' AND owner_pid = ?2
                   AND owner_start = ?3 AND attempts >= ?5",
            )?
            .execute(params![key, pid, start, epoch(), MAX_DEATHS - 1])?;
        recovered.resumed += db
            .prepare_cached(
                "UPDATE hermes_inbox SET state = 'waiting', owner_pid = NULL, owner_start = NULL, attempts = attempts + 1
                 WHERE session_key = ?1 AND finished_at IS NULL AND state = 'claimed' AND owner_pid = ?2
                   AND owner_start = ?3",
            )?
            .execute(params![key, pid, start])?;
        promote(db, &key)?;
    }
    db.prepare_cached("DELETE FROM hermes_lease WHERE owner_pid = ?1 AND owner_start = ?2")?
        .execute(params![pid, start])?;
    Ok(())
}

/// Lets the oldest unfinished item of a session wait for its turn, unless one does or runs.
pub(crate) fn promote(db: &Connection, key: &str) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE hermes_inbox SET state = 'waiting' WHERE state = 'queued' AND id =
            (SELECT min(id) FROM hermes_inbox WHERE session_key = ?1 AND finished_at IS NULL)",
    )?
    .execute([key])?;
    Ok(())
}
