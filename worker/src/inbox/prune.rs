//! Forgetting, in small steps.

use std::time::Duration;

use rusqlite::{Connection, params};

use crate::runs;
use crate::session::routing::Scopes;

/// How long a finished item's identity is kept.
pub const REMEMBERED: Duration = Duration::from_hours(24);

/// How long a failure stays to be looked at.
const FAILURES: Duration = Duration::from_hours(7 * 24);

/// How long it is kept which session of an agent belongs to one of ours that nobody uses.
const AGENTS: Duration = Duration::from_hours(90 * 24);

/// Rows per step: some milliseconds.
pub(crate) const STEP: u32 = 1000;

/// Removes up to [`STEP`] old rows of each of our tables, and the routing entries of one-shot sessions that are over. Transcripts
/// stay. Returns whether there may be more.
pub(crate) fn prune(db: &Connection, scopes: &Scopes, now: f64) -> rusqlite::Result<bool> {
    let (remembered, failures) = (now - REMEMBERED.as_secs_f64(), now - FAILURES.as_secs_f64());
    let old = "finished_at IS NOT NULL AND finished_at < ?1 AND (state NOT IN ('failed', 'steered') OR finished_at < ?2)
               ORDER BY finished_at LIMIT ?3";
    let rows: Vec<(i64, String, Option<String>)> = db
        .prepare_cached(&format!("SELECT id, session_key, session_id FROM hermes_inbox WHERE {old}"))?
        .query_map(params![remembered, failures, STEP], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (id, key, session) in &rows {
        if let Some(session) = session {
            db.prepare_cached(
                "DELETE FROM gateway_routing WHERE scope = ?1 AND session_key = ?2
                    AND json_extract(entry_json, '$.session_id') = ?3
                    AND EXISTS (SELECT 1 FROM sessions WHERE id = ?3 AND end_reason = 'webhook_complete')",
            )?
            .execute(params![scopes.own, key, session])?;
        }
        db.prepare_cached("DELETE FROM hermes_inbox WHERE id = ?1")?.execute([id])?;
    }
    // Reservations whose process died and that nobody asked for again.
    db.prepare_cached(
        "DELETE FROM hermes_inbox
         WHERE session_key = '' AND finished_at IS NULL AND state = 'reserved' AND received_at < ?1",
    )?
    .execute([remembered])?;
    let deliveries = db
        .prepare_cached(&format!(
            "DELETE FROM hermes_delivery WHERE id IN (SELECT id FROM hermes_delivery WHERE {old})"
        ))?
        .execute(params![remembered, failures, STEP])?;
    db.prepare_cached(
        "DELETE FROM hermes_agent_session WHERE session_id IN
            (SELECT session_id FROM hermes_agent_session WHERE used_at < ?1 LIMIT ?2)",
    )?
    .execute(params![now - AGENTS.as_secs_f64(), STEP])?;
    let more_runs = runs::prune(db, now, STEP)?;
    Ok(more_runs || rows.len().max(deliveries) >= STEP as usize)
}
