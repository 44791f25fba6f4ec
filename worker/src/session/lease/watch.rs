//! What a process learns of the table of turn leases while it looks at it: whether it has the shape that is known, and whether
//! there are programs beside it whose processes cannot be seen from here.
//!
//! A row that names a process which does not exist here says one of two things: it is gone, or it lives in another namespace of
//! process ids. Two signs tell them apart: a row that is renewed has a holder that lives, and whoever takes a row of ours that is good
//! cannot see this process. Either is noted in the file for [`UNSEEN_FOR`], for all processes of ours, and for `hermes doctor`.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hermes_host::database::{UNSEEN_FOR, UNSEEN_PROCESSES};
use rusqlite::{Connection, params};

use super::judge::Row;
use super::{Held, owner};
use crate::store::{Owner, process_exists};

/// A note that is younger is not written again.
const FRESH: f64 = 3600.0;

/// Most rows of unseen processes that are remembered: each is a program that runs a turn.
const MOST: usize = 256;

/// The columns that are known. Others must be content with nothing.
const COLUMNS: [&str; 4] = ["conversation_id", "holder", "acquired_at", "expires_at"];

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Watch(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// Rows of processes that cannot be seen, with the time that they had.
    rows: HashMap<String, f64>,
    /// The schema cookie at the last look at the table's shape, and what does not fit.
    shape: Option<(i64, Option<String>)>,
}

impl Watch {
    /// What keeps this program from using the table.
    pub(super) fn misfit(&self, db: &Connection) -> rusqlite::Result<Option<String>> {
        let cookie: i64 = db.prepare_cached("PRAGMA schema_version")?.query_row([], |row| row.get(0))?;
        if let Some((looked, misfit)) = &self.lock().shape
            && *looked == cookie
        {
            return Ok(misfit.clone());
        }
        let misfit = misfit(db)?;
        self.lock().shape = Some((cookie, misfit.clone()));
        Ok(misfit)
    }

    /// Notes a row whose process cannot be seen. Whether rows of such processes are good until their time is over.
    pub(super) fn saw(&self, db: &Connection, row: &Row, now: f64) -> rusqlite::Result<bool> {
        let was_renewed = {
            let mut seen = self.lock();
            let before = seen.rows.get(&row.holder).copied();
            if before.is_some() || seen.rows.len() < MOST {
                seen.rows.insert(row.holder.clone(), row.expires);
            }
            before.is_some_and(|before| row.expires > before)
        };
        if was_renewed {
            note(db, row, now)?;
        }
        is_noted(db, now)
    }

    /// Looks at every row that is good and not ours, for signs. Those that ran out, which nobody may ever take away, say nothing.
    pub(crate) fn look(&self, db: &Connection, me: Owner, now: f64) -> rusqlite::Result<()> {
        if self.misfit(db)?.is_some() {
            return Ok(());
        }
        let rows: Vec<Row> = db
            .prepare_cached(
                "SELECT COALESCE(CAST(holder AS BLOB), X''), COALESCE(CAST(acquired_at AS REAL), 0.0),
                        COALESCE(CAST(expires_at AS REAL), 0.0)
                 FROM session_turn_leases WHERE expires_at > ?2 AND (conversation_id, holder) NOT IN
                    (SELECT conversation_id, holder FROM hermes_lease WHERE holder IS NOT NULL) LIMIT ?1",
            )?
            .query_map(params![i64::try_from(MOST).unwrap_or(i64::MAX), now], Row::read)?
            .collect::<rusqlite::Result<_>>()?;
        self.lock().rows.retain(|holder, _| rows.iter().any(|row| row.holder == *holder));
        for row in &rows {
            if row.is_unseen(me.pid, process_exists) {
                self.saw(db, row, now)?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes it where the row of `held` was taken while it was good, by a process that cannot be seen.
pub(crate) fn was_taken(db: &Connection, me: Owner, held: &Held, now: f64) -> rusqlite::Result<()> {
    let Some(row) = super::row(db, &held.conversation)? else { return Ok(()) };
    let is_good = row.acquired < held.until;
    if is_good
        && owner(db, &held.conversation, &row.holder)?.is_none()
        && row.is_unseen(me.pid, process_exists)
    {
        note(db, &row, now)?;
    }
    Ok(())
}

fn misfit(db: &Connection) -> rusqlite::Result<Option<String>> {
    let columns: Vec<(String, bool)> = db
        .prepare(
            "SELECT name, \"notnull\" AND dflt_value IS NULL FROM pragma_table_info('session_turn_leases')",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let lacks = COLUMNS.iter().find(|known| !columns.iter().any(|(name, _)| name == *known));
    let wants = columns.iter().find(|(name, wants)| *wants && !COLUMNS.contains(&name.as_str()));
    let what = match (lacks, wants) {
        (Some(column), _) => format!("has no column {column}"),
        (None, Some((column, _))) => format!("has a column {column} that this release does not know"),
        (None, None) => return Ok(None),
    };
    Ok(Some(format!(
        "the table session_turn_leases in state.db {what}, so no turn can be kept apart from those of the program that made it: \
         run a release of this one that knows it; or stop that program, drop the table and restart this worker"
    )))
}

fn is_noted(db: &Connection, now: f64) -> rusqlite::Result<bool> {
    db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM state_meta WHERE key = ?1 AND ?2 - CAST(value AS REAL) < ?3)",
    )?
    .query_row(params![UNSEEN_PROCESSES, now, UNSEEN_FOR], |row| row.get(0))
}

fn note(db: &Connection, row: &Row, now: f64) -> rusqlite::Result<()> {
    let written = db
        .prepare_cached(
            "INSERT INTO state_meta(key, value) VALUES (?1, ?2) ON CONFLICT(key) DO UPDATE SET value = excluded.value
             WHERE abs(CAST(value AS REAL) - ?3) >= ?4",
        )?
        .execute(params![UNSEEN_PROCESSES, format!("{now:.0}"), now, FRESH])?;
    if written > 0 {
        tracing::warn!(
            "{}, and its process cannot be seen from here though it lives, as in a container that shares this home: from now on its \
             turns are waited for until their time is over; it may take sessions from this worker, for it cannot see this one either",
            row.said()
        );
    }
    Ok(())
}
