//! `/restart`: another worker takes this one's place; who asked is [noted](crate::delivery::notices::note) for it.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _};

use crate::inbound::{DedupKey, Inbound};

/// Longest time that the answer has to get out before the worker goes.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// Time between two looks whether it did.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// The name under which the ledger has the answer.
pub(super) fn name(event: &Inbound) -> String {
    let DedupKey { scope, id } =
        event.dedup.clone().unwrap_or(DedupKey { scope: String::new(), id: String::new() });
    format!("restart {scope} {id}")
}

/// Whether that answer is out, or never will be.
pub(super) fn is_out(db: &Connection, key: &str) -> rusqlite::Result<bool> {
    let open: Option<bool> = db
        .prepare_cached("SELECT finished_at IS NULL FROM hermes_delivery WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    Ok(open != Some(true))
}

/// What is said before the worker goes, while so many answers are being made.
pub(super) fn text(running: i64) -> String {
    match running {
        0 => "♻️ Restarting. I say so here when I am back.".to_owned(),
        1 => "⏳ Restarting as soon as the answer that is being made is finished. I say so here when I am back.".to_owned(),
        n => format!("⏳ Restarting as soon as the {n} answers that are being made are finished. I say so here when I am back."),
    }
}
