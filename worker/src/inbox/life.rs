//! Whose fault the end of a process was: a row for each process that runs turns, read by the one that comes after.
//!
//! A process that is told to end says so in its row before it does anything else; that says nothing about the turns that ran. One
//! whose supervisor is gone as well was most likely taken along by it; only many such ends say something. Any other end is a death
//! that one of them may have caused.

use rusqlite::{Connection, OptionalExtension, params};

use crate::store::Owner;

/// Notes that `me` runs turns from now on, for `supervisor` where there is one.
pub(crate) fn begin(db: &Connection, me: Owner, supervisor: Option<Owner>) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO hermes_life(pid, start, supervisor_pid, supervisor_start) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET planned = 0, supervisor_pid = ?3, supervisor_start = ?4",
    )?
    .execute(params![
        me.pid,
        me.start_column(),
        supervisor.map(|owner| owner.pid),
        supervisor.map(Owner::start_column)
    ])?;
    Ok(())
}

/// Notes that `me` is ending because it was told to.
pub(crate) fn plan_end(db: &Connection, me: Owner) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE hermes_life SET planned = 1 WHERE pid = ?1 AND start = ?2")?
        .execute(params![me.pid, me.start_column()])?;
    Ok(())
}

/// Every process that has a row.
pub(super) fn all(db: &Connection) -> rusqlite::Result<Vec<Owner>> {
    db.prepare_cached("SELECT pid, start FROM hermes_life")?
        .query_map([], |row| Ok(Owner::from_columns(row.get(0)?, row.get(1)?)))?
        .collect()
}

/// How a process came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It was told to.
    Planned,
    /// Its supervisor is gone as well. Most likely that one's end, or the machine's, took it along.
    Common,
    /// By itself, or by something that ran in it.
    Death,
}

/// How `dead` ended. Without a row nothing is known, and it counts as a death.
pub(super) fn end_of(db: &Connection, dead: Owner) -> rusqlite::Result<End> {
    let row = db
        .prepare_cached(
            "SELECT planned, supervisor_pid, supervisor_start FROM hermes_life WHERE pid = ?1 AND start = ?2",
        )?
        .query_row(params![dead.pid, dead.start_column()], |row| {
            let pid: Option<u32> = row.get(1)?;
            let start: Option<i64> = row.get(2)?;
            Ok((row.get::<_, bool>(0)?, pid.zip(start)))
        })
        .optional()?;
    Ok(match row {
        Some((true, _)) => End::Planned,
        Some((false, Some((pid, start)))) if !Owner::from_columns(pid, start).is_alive() => End::Common,
        Some(_) | None => End::Death,
    })
}

/// The row is not needed any more.
pub(super) fn forget(db: &Connection, dead: Owner) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM hermes_life WHERE pid = ?1 AND start = ?2")?
        .execute(params![dead.pid, dead.start_column()])?;
    Ok(())
}
