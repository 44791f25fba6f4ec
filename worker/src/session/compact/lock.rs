//! Who makes a session shorter: the rows of `compression_locks`, which 0.19.0 and newer programs heed too.
//!
//! A row is good until its time is over. One of this program says which process holds it, and is void when that is gone.

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::store::Owner;

/// What a turn of this process holds, by which it is told from one of another process.
fn holder(me: Owner) -> String {
    format!("pid={}:start={}:", me.pid, me.start_time)
}

/// Takes the lock for `seconds`; else who has it.
pub(crate) fn take(
    db: &Connection,
    me: Owner,
    session: &str,
    now: f64,
    seconds: f64,
) -> rusqlite::Result<Result<(), String>> {
    let found: Option<(String, f64)> = db
        .prepare_cached(
            "SELECT COALESCE(holder, ''), COALESCE(CAST(expires_at AS REAL), 1e18) FROM compression_locks WHERE session_id = ?1",
        )?
        .query_row([session], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some((by, until)) = found {
        // A turn of this process that held it is over: there is one at a time.
        let is_void = until < now || by == holder(me) || owner(&by).is_some_and(|owner| !owner.is_alive());
        if !is_void {
            return Ok(Err(format!("another program is at it ({by})")));
        }
    }
    db.prepare_cached(
        "INSERT OR REPLACE INTO compression_locks(session_id, holder, acquired_at, expires_at) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![session, holder(me), now, now + seconds])?;
    Ok(Ok(()))
}

/// Whether it is still this process's.
pub(crate) fn holds(db: &Connection, me: Owner, session: &str) -> rusqlite::Result<bool> {
    db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM compression_locks WHERE session_id = ?1 AND holder = ?2)",
    )?
    .query_row(params![session, holder(me)], |row| row.get(0))
}

/// Gives it back, if it is this process's.
pub(crate) fn release(db: &Connection, me: Owner, session: &str) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM compression_locks WHERE session_id = ?1 AND holder = ?2")?
        .execute(params![session, holder(me)])
        .map(drop)
}

/// The process that a text of this program names.
fn owner(text: &str) -> Option<Owner> {
    let (pid, start) = text.strip_prefix("pid=")?.strip_suffix(':')?.split_once(":start=")?;
    Some(Owner { pid: pid.parse().ok()?, start_time: start.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One at a time over all programs; void is what ran out, and what a process of ours left that is gone.
    #[test]
    fn a_session_is_made_shorter_by_one_program_at_a_time() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE compression_locks(session_id TEXT PRIMARY KEY, holder TEXT, acquired_at REAL, expires_at REAL)")
            .unwrap();
        let (me, dead) = (Owner::current(), Owner { pid: u32::MAX, start_time: 7 });
        assert_eq!(take(&db, dead, "s", 1.0, 300.0).unwrap(), Ok(()));
        assert_eq!(take(&db, me, "s", 2.0, 300.0).unwrap(), Ok(()), "its process is gone");
        assert!(holds(&db, me, "s").unwrap() && !holds(&db, dead, "s").unwrap());
        let parent = Owner { pid: std::os::unix::process::parent_id(), start_time: 0 };
        assert!(take(&db, parent, "s", 3.0, 300.0).unwrap().is_err());
        assert_eq!(take(&db, parent, "s", 400.0, 300.0).unwrap(), Ok(()), "it ran out");
        release(&db, me, "s").unwrap();
        assert!(holds(&db, parent, "s").unwrap(), "another's");
        db.execute("UPDATE compression_locks SET holder = 'pid=1:tid=2:agent=a:nonce=b'", []).unwrap();
        assert!(take(&db, me, "s", 401.0, 300.0).unwrap().unwrap_err().contains("nonce"));
    }
}
