//! Changes of what is stored: one job, whoever runs it.

use hermes_wire::ProfileHome;
use hermes_wire::stored::{Change, Changed, Done, Kept, MAX_TITLE};
use rusqlite::Connection;

use super::Stored;
use crate::inbox::again;
use crate::session::delete::{self, Deleted, Stays};
use crate::session::epoch;
use crate::session::titles::{self, Unfit};
use crate::store::{Store, StoreError};

/// Carries a change out where no worker serves the profile. Blocks.
pub fn change(home: &ProfileHome, change: &Change) -> Result<Changed, StoreError> {
    let stored = Stored::new();
    let (changed, gone) = Store::once(home, |db| apply(db, &stored, change))?;
    delete::remove_files(home, &gone);
    Ok(changed)
}

/// What is said of a session that is not there.
const UNKNOWN: &str = "there is no such session";

/// Carries a change out, within a transaction that has the write lock. With it come the sessions that are gone, whose files are to be
/// removed behind the transaction.
pub(crate) fn apply(
    db: &Connection,
    stored: &Stored,
    change: &Change,
) -> rusqlite::Result<(Changed, Vec<String>)> {
    let now = epoch();
    let (mut changed, mut gone) = (Changed::default(), Vec::new());
    match change {
        Change::Rename { session, title } => {
            put(&mut changed, session, rename(db, session, title)?.map(|()| done(session)));
        }
        Change::Delete { sessions, unused_since } => {
            for session in sessions {
                let by = (&stored.leases, stored.owner);
                let came = match delete::delete(db, by, session, *unused_since, now)? {
                    Ok(deleted) => {
                        let done = gone_with(session, &deleted);
                        gone.extend(deleted.sessions);
                        Ok(done)
                    }
                    Err(Stays::Unknown) => Err(UNKNOWN.to_owned()),
                    Err(Stays::Busy(why)) => Err(why),
                };
                put(&mut changed, session, came);
            }
        }
        Change::Retry { items } => {
            for item in items {
                let id = item.to_string();
                put(&mut changed, &id, again::retry(db, *item, now)?.map(|()| done(&id)));
            }
        }
        Change::Drop { items } => {
            for item in items {
                let id = item.to_string();
                put(&mut changed, &id, again::drop(db, *item, now)?.map(|()| done(&id)));
            }
        }
    }
    Ok((changed, gone))
}

fn done(id: &str) -> Done {
    Done { id: id.to_owned(), sessions: 0, messages: 0 }
}

fn gone_with(session: &str, deleted: &Deleted) -> Done {
    let count = |rows: usize| u64::try_from(rows).unwrap_or(u64::MAX);
    Done {
        id: session.to_owned(),
        sessions: count(deleted.sessions.len()),
        messages: count(deleted.messages),
    }
}

fn put(changed: &mut Changed, id: &str, came: Result<Done, String>) {
    match came {
        Ok(done) => changed.done.push(done),
        Err(why) => changed.kept.push(Kept { id: id.to_owned(), why }),
    }
}

fn rename(db: &Connection, session: &str, title: &str) -> rusqlite::Result<Result<(), String>> {
    let Some(title) = titles::cleaned(title) else {
        return Ok(Err("the title has nothing in it that could be seen".to_owned()));
    };
    Ok(titles::choose(db, session, Some(&title))?.map_err(|unfit| match unfit {
        Unfit::Unknown => UNKNOWN.to_owned(),
        Unfit::Long(_) => format!("the title is longer than {MAX_TITLE} characters"),
        Unfit::Taken(other) => format!("session {other} has this title already"),
    }))
}
