//! Rows of `hermes_delivery`.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::DeliveryError;
use crate::inbound::DeliveryTarget;
use crate::store::Owner;

/// Waits before the second and later tries; after the last one it has failed.
const WAITS: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(10),
    Duration::from_mins(30),
    Duration::from_hours(1),
    Duration::from_hours(2),
    Duration::from_hours(4),
    Duration::from_hours(8),
];

/// A row that is to be tried now.
#[derive(Debug)]
pub(super) struct Due {
    id: i64,
    pub(super) platform: String,
    pub(super) chat_id: String,
    pub(super) kind: String,
    pub(super) extra: BTreeMap<String, String>,
    pub(super) content: String,
    /// Tries so far, this one included.
    pub(super) attempts: u32,
}

/// Whether answers for `target` go through the ledger; the log needs none.
pub(crate) fn is_kept(target: &DeliveryTarget) -> bool {
    !matches!(target.kind.as_str(), "" | "log")
}

/// Adds an answer.
pub(crate) fn add(
    db: &Connection,
    session: &str,
    platform: &str,
    chat_id: &str,
    target: &DeliveryTarget,
    text: &str,
    now: f64,
) -> rusqlite::Result<()> {
    let extra = serde_json::to_string(&target.extra).expect("a map of strings always serialises");
    db.prepare_cached(
        "INSERT INTO hermes_delivery(session_id, platform, chat_id, kind, extra, content, state, next_attempt_at, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'pending', ?7, ?7)",
    )?
    .execute(params![session, platform, chat_id, target.kind, extra, text, now])?;
    Ok(())
}

/// Marks up to `limit` due rows as being sent by `me`, and says when the next one is due if there is none. Rows of a process that
/// died in the middle are due.
pub(super) fn take_due(
    db: &Connection,
    me: Owner,
    limit: u32,
    now: f64,
) -> rusqlite::Result<(Vec<Due>, Option<f64>)> {
    free_dead(db, me, now)?;
    let due: Vec<Due> = db
        .prepare_cached(
            "SELECT id, platform, chat_id, kind, extra, content, attempts + 1 FROM hermes_delivery
             WHERE finished_at IS NULL AND state = 'pending' AND next_attempt_at <= ?1 ORDER BY next_attempt_at LIMIT ?2",
        )?
        .query_map(params![now, limit], |row| {
            Ok(Due {
                id: row.get(0)?,
                platform: row.get(1)?,
                chat_id: row.get(2)?,
                kind: row.get(3)?,
                extra: serde_json::from_str(row.get_ref(4)?.as_str()?).unwrap_or_default(),
                content: row.get::<_, Option<String>>(5)?.unwrap_or_default(),
                attempts: row.get(6)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    for row in &due {
        db.prepare_cached(
            "UPDATE hermes_delivery SET state = 'sending', attempts = ?2, owner_pid = ?3, owner_start = ?4 WHERE id = ?1",
        )?
        .execute(params![row.id, row.attempts, me.pid, me.start_column()])?;
    }
    let next = db
        .prepare_cached("SELECT min(next_attempt_at) FROM hermes_delivery WHERE finished_at IS NULL AND state = 'pending'")?
        .query_row([], |row| row.get(0))
        .optional()?
        .flatten();
    Ok((due, next))
}

fn free_dead(db: &Connection, me: Owner, now: f64) -> rusqlite::Result<()> {
    let owners: Vec<Owner> = db
        .prepare_cached(
            "SELECT DISTINCT owner_pid, owner_start FROM hermes_delivery WHERE finished_at IS NULL AND state = 'sending'",
        )?
        .query_map([], |row| Ok(Owner::from_columns(row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    // Rounds of one process do not overlap, so a row of its own is left over from a round that could not be written down.
    for dead in owners.into_iter().filter(|owner| *owner == me || !owner.is_alive()) {
        db.prepare_cached(
            "UPDATE hermes_delivery SET state = 'pending', next_attempt_at = ?3, owner_pid = NULL, owner_start = NULL
             WHERE finished_at IS NULL AND state = 'sending' AND owner_pid = ?1 AND owner_start = ?2",
        )?
        .execute(params![dead.pid, dead.start_column(), now])?;
    }
    Ok(())
}

/// What this process was sending is pending again; the try did not count.
pub(super) fn give_back(db: &Connection, me: Owner) -> rusqlite::Result<()> {
    db.execute(
        "UPDATE hermes_delivery SET state = 'pending', attempts = attempts - 1, owner_pid = NULL, owner_start = NULL
         WHERE finished_at IS NULL AND state = 'sending' AND owner_pid = ?1 AND owner_start = ?2",
        params![me.pid, me.start_column()],
    )?;
    Ok(())
}

/// Writes down how a try went.
pub(super) fn record(
    db: &Connection,
    due: &Due,
    result: &Result<(), DeliveryError>,
    now: f64,
) -> rusqlite::Result<()> {
    let wait = result.as_ref().err().and_then(|error| retry_in(due.attempts, error));
    let (state, content_stays) = match (result, wait) {
        (Ok(()), _) => ("done", false),
        (Err(_), Some(_)) => ("pending", true),
        (Err(_), None) => ("failed", true),
    };
    let again = wait.map(|wait| now + wait.as_secs_f64());
    let error = result.as_ref().err().map(ToString::to_string);
    db.prepare_cached(
        "UPDATE hermes_delivery SET state = ?2, next_attempt_at = ?3, finished_at = CASE WHEN ?3 IS NULL THEN ?4 END,
            last_error = ?5, content = CASE WHEN ?6 THEN content END, owner_pid = NULL, owner_start = NULL
         WHERE id = ?1",
    )?
    .execute(params![due.id, state, again, now, error, content_stays])?;
    Ok(())
}

/// How long to wait before another try, if there is one.
pub(super) fn retry_in(attempts: u32, error: &DeliveryError) -> Option<Duration> {
    match error {
        DeliveryError::Permanent(_) => None,
        DeliveryError::Temporary(_) => {
            let done = usize::try_from(attempts).unwrap_or(usize::MAX);
            WAITS.get(done.saturating_sub(1)).copied()
        }
    }
}
