//! What a dead process held is free again, and which of its turns may have killed it.
//!
//! A turn that ran alone when its process died did it: after [`LIMIT`] the item is a dead letter. Of several that ran together
//! nobody knows; they become suspects, without a count, and run one by one from then on (see `turn::begin`), so that the next
//! death has one culprit. A suspect that dies in the company of turns that were not suspected counts half. An end that was
//! planned counts nothing (see [`super::life`]).
//!
//! An end that came with the supervisor's is most likely not the turn's doing: a machine that was switched off, a supervisor that was
//! killed. But a turn may take both along (all the memory of the machine), again and again. So these ends are counted apart:
//! after [`OFTEN`] of them an item is a suspect, and after [`COMMON_LIMIT`] it is given up, if it ran alone.

use rusqlite::{Connection, params};

use super::life::{self, End};
use super::steered;
use crate::runs;
use crate::session::{self, SessionContext, epoch, history, lease};
use crate::store::Owner;

/// Points of an item that is given up.
const LIMIT: i64 = 6;
/// Why it is given up.
const DEADLY: &str = "the worker died every time this was tried";
/// The same of what takes the supervisor along.
const COMMON: &str = "the gateway ended every time this was tried";
/// Points of a death alone: three of them are the limit.
const ALONE: i64 = 2;
/// Points of a death as the only suspect in company.
const SUSPECTED: i64 = 1;
/// Ends together with the supervisor after which an item runs alone.
const OFTEN: i64 = 6;
/// Such ends after which an item that ran alone is given up.
const COMMON_LIMIT: i64 = 12;

/// What became of foreign leases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// Items that wait again; their user row exists, so their turn continues.
    pub(crate) resumed: usize,
    /// Of those, items that may have killed the process.
    pub(crate) suspected: usize,
    /// Items given up because their turn kept killing the process.
    pub(crate) given_up: usize,
    /// Another live process holds leases: look again soon.
    pub(crate) others_alive: bool,
}

/// An item that was claimed by a process when that died.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bereft {
    id: i64,
    key: String,
    session: Option<String>,
    /// Points so far.
    points: i64,
    suspect: bool,
    /// Ends together with the supervisor so far.
    common: i64,
    given_up: bool,
}

/// What the end says about the items. `leases` counts everything that ran, turns of waiting clients included.
fn judge(end: End, items: &mut [Bereft], leases: usize) {
    let suspects = items.iter().filter(|item| item.suspect).count();
    let alone = items.len() == 1 && leases == 1;
    for item in items {
        match end {
            End::Planned => {}
            End::Common => {
                item.common += 1;
                item.suspect |= item.common >= OFTEN;
                item.given_up = alone && item.common >= COMMON_LIMIT;
            }
            End::Death => {
                if alone {
                    item.points += ALONE;
                } else if item.suspect && suspects == 1 {
                    item.points += SUSPECTED;
                }
                item.suspect = true;
                item.given_up = item.points >= LIMIT;
            }
        }
    }
}

/// Frees leases and claims of processes that are gone.
pub(crate) fn recover(db: &Connection, ctx: &SessionContext) -> rusqlite::Result<Recovered> {
    let me = ctx.owner;
    let mut owners: Vec<Owner> = db
        .prepare_cached("SELECT DISTINCT owner_pid, owner_start FROM hermes_lease")?
        .query_map([], |row| Ok(Owner::from_columns(row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut recovered = Recovered::default();
    for life in life::all(db)? {
        if owners.contains(&life) {
            continue;
        }
        if life != me && !life.is_alive() {
            life::forget(db, life)?;
        }
    }
    owners.retain(|owner| *owner != me);
    for owner in owners {
        if owner.is_alive() {
            recovered.others_alive = true;
        } else {
            release_all(db, ctx, owner, &mut recovered)?;
            life::forget(db, owner)?;
        }
    }
    Ok(recovered)
}

fn release_all(
    db: &Connection,
    ctx: &SessionContext,
    dead: Owner,
    recovered: &mut Recovered,
) -> rusqlite::Result<()> {
    let (pid, start) = (dead.pid, dead.start_column());
    let keys: Vec<String> = db
        .prepare_cached("SELECT session_key FROM hermes_lease WHERE owner_pid = ?1 AND owner_start = ?2")?
        .query_map(params![pid, start], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut items = Vec::new();
    for key in &keys {
        let claimed = db
            .prepare_cached(
                "SELECT id, attempts, suspect, session_id, taken_down FROM hermes_inbox
                 WHERE session_key = ?1 AND finished_at IS NULL AND state = 'claimed' AND owner_pid = ?2
                   AND owner_start = ?3",
            )?
            .query_map(params![key, pid, start], |row| {
                Ok(Bereft {
                    id: row.get(0)?,
                    key: key.clone(),
                    points: row.get(1)?,
                    suspect: row.get(2)?,
                    session: row.get(3)?,
                    common: row.get(4)?,
                    given_up: false,
                })
            })?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        items.extend(claimed);
    }
    lease::release_all(db, dead)?;
    let end = life::end_of(db, dead)?;
    judge(end, &mut items, keys.len());
    for item in items {
        if item.given_up {
            let error = if end == End::Common { COMMON } else { DEADLY };
            if let Some(session) = &item.session {
                give_up(db, ctx, session, error)?;
            }
            recovered.given_up += db
                .prepare_cached(
                    "UPDATE hermes_inbox SET state = 'failed', finished_at = ?2, owner_pid = NULL, owner_start = NULL,
                        attempts = ?3, taken_down = ?4, suspect = 1, error = ?5
                     WHERE id = ?1",
                )?
                .execute(params![item.id, epoch(), item.points, item.common, error])?;
            steered::failed(db, &item.key, error, epoch())?;
            runs::fail_item(db, item.id, error, epoch())?;
        } else {
            recovered.suspected += usize::from(item.suspect);
            recovered.resumed += db
                .prepare_cached(
                    "UPDATE hermes_inbox SET state = 'waiting', owner_pid = NULL, owner_start = NULL, attempts = ?2,
                        suspect = ?3, taken_down = ?4 WHERE id = ?1",
                )?
                .execute(params![item.id, item.points, item.suspect, item.common])?;
        }
    }
    for key in keys {
        promote(db, &key)?;
    }
    db.prepare_cached("DELETE FROM hermes_lease WHERE owner_pid = ?1 AND owner_start = ?2")?
        .execute(params![pid, start])?;
    Ok(())
}

/// Says in a session why a question has no answer; not while another program is at work there, whose own question would end with it.
fn give_up(db: &Connection, ctx: &SessionContext, session: &str, why: &str) -> rusqlite::Result<()> {
    let (root, now) = (lease::root(db, session)?, epoch());
    if lease::look(db, &ctx.leases, ctx.owner, Some(&root), now)?.is_none() {
        history::close(db, &session::line_of(db, ctx, session, now)?, why, now)?;
        history::publish(db)?;
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    impl Bereft {
        fn new(id: i64) -> Self {
            Self {
                id,
                key: String::new(),
                session: None,
                points: 0,
                suspect: false,
                common: 0,
                given_up: false,
            }
        }
    }

    fn judged(before: &[(i64, bool)], leases: usize) -> Vec<(i64, bool)> {
        let item =
            |(points, suspect): &(i64, bool)| Bereft { points: *points, suspect: *suspect, ..Bereft::new(1) };
        let mut items: Vec<Bereft> = before.iter().map(item).collect();
        judge(End::Death, &mut items, leases);
        assert!(items.iter().all(|item| item.given_up == (item.points >= LIMIT)));
        items.iter().map(|item| (item.points, item.suspect)).collect()
    }

    /// 25: a message that takes worker and supervisor along is given up at last; one that only ran beside it, or was there at a
    /// few of these ends, is not.
    #[test]
    fn ends_together_with_the_supervisor_count_only_when_there_are_many() {
        let mut pair = [Bereft::new(1), Bereft::new(2)];
        for n in 1..=COMMON_LIMIT {
            judge(End::Common, &mut pair, 2);
            assert!(
                pair.iter().all(|item| item.suspect == (n >= OFTEN) && !item.given_up && item.points == 0)
            );
        }
        let mut alone = [Bereft::new(1)];
        for n in 1..=COMMON_LIMIT {
            judge(End::Planned, &mut alone, 1);
            judge(End::Common, &mut alone, 1);
            assert_eq!((alone[0].suspect, alone[0].given_up), (n >= OFTEN, n >= COMMON_LIMIT));
        }
    }

    /// 25: who ran alone did it, who ran in company is watched.
    #[test]
    fn a_death_counts_against_the_one_that_ran_alone() {
        assert_eq!(judged(&[(0, false)], 1), [(2, true)]);
        assert_eq!(judged(&[(4, true)], 1), [(6, true)], "the third death alone is the limit");
        assert_eq!(judged(&[(0, false), (0, false)], 2), [(0, true), (0, true)], "nobody knows");
        assert_eq!(judged(&[(2, true), (0, true)], 2), [(2, true), (0, true)], "two suspects, nobody knows");
        assert_eq!(judged(&[(0, false)], 2), [(0, true)], "a client's own turn ran beside it");
        assert_eq!(
            judged(&[(0, true), (0, false)], 2),
            [(1, true), (0, true)],
            "the suspect more likely than not"
        );
        assert_eq!(judged(&[(5, true)], 3), [(6, true)]);
        assert_eq!(judged(&[], 2), []);
    }
}
