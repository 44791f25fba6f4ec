//! Changes of what is stored: one job, whoever runs it.

use hermes_wire::ProfileHome;
use hermes_wire::stored::{Change, Changed, Done, Kept, MAX_TITLE};
use hermes_wire::text;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Stored, delete};
use crate::inbox::again;
use crate::session::epoch;
use crate::store::{Store, StoreError};

/// Carries a change out where no worker serves the profile. Blocks.
pub fn change(home: &ProfileHome, change: &Change) -> Result<Changed, StoreError> {
    let stored = Stored::new();
    let changed = Store::once(home, |db| apply(db, &stored, change))?;
    remove_files(home, change, &changed);
    Ok(changed)
}

/// Carries a change out, within a transaction that has the write lock.
pub(crate) fn apply(db: &Connection, stored: &Stored, change: &Change) -> rusqlite::Result<Changed> {
    let now = epoch();
    let mut changed = Changed::default();
    match change {
        Change::Rename { session, title } => {
            put(&mut changed, session, rename(db, session, title)?.map(|()| done(session)));
        }
        Change::Delete { sessions, unused_since } => {
            for session in sessions {
                put(&mut changed, session, delete::delete(db, stored, session, *unused_since, now)?);
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
    Ok(changed)
}

/// Removes what 0.19.0 may have kept of deleted sessions beside the database. What is not there need not be removed.
pub(crate) fn remove_files(home: &ProfileHome, change: &Change, changed: &Changed) {
    if !matches!(change, Change::Delete { .. }) {
        return;
    }
    let dir = home.path().join("sessions");
    for done in &changed.done {
        // An id may be any text, and no path.
        if done.id.contains(['/', '\\', '\0']) || done.id.contains("..") {
            continue;
        }
        for name in
            [format!("{}.json", done.id), format!("{}.jsonl", done.id), format!("session_{}.json", done.id)]
        {
            let path = dir.join(name);
            if let Err(error) = fs_err::remove_file(&path)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(%error, "a file of a deleted session stays");
            }
        }
    }
}

fn done(id: &str) -> Done {
    Done { id: id.to_owned(), sessions: 0, messages: 0 }
}

fn put(changed: &mut Changed, id: &str, came: Result<Done, String>) {
    match came {
        Ok(done) => changed.done.push(done),
        Err(why) => changed.kept.push(Kept { id: id.to_owned(), why }),
    }
}

/// A title as it is stored: one line of what can be seen. `None`: nothing of it is left.
fn cleaned(title: &str) -> Option<String> {
    let seen: String = title
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .filter(|c| !text::is_unseen(*c))
        .collect();
    let title = seen.split_whitespace().collect::<Vec<_>>().join(" ");
    (!title.is_empty()).then_some(title)
}

fn rename(db: &Connection, session: &str, title: &str) -> rusqlite::Result<Result<(), String>> {
    let Some(title) = cleaned(title) else {
        return Ok(Err("the title has nothing in it that could be seen".to_owned()));
    };
    if title.chars().count() > MAX_TITLE {
        return Ok(Err(format!("the title is longer than {MAX_TITLE} characters")));
    }
    let other: Option<String> = db
        .prepare_cached("SELECT id FROM sessions WHERE title = ?1 AND id <> ?2")?
        .query_row([&title, session], |row| row.get(0))
        .optional()?;
    if let Some(other) = other {
        return Ok(Err(format!("session {other} has this title already")));
    }
    let renamed = db
        .prepare_cached("UPDATE sessions SET title = ?2 WHERE id = ?1")?
        .execute(params![session, title])?;
    if renamed == 0 {
        return Ok(Err(delete::GONE.to_owned()));
    }
    // Newer programs replace a title that nobody chose.
    let has_source: bool = db
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM pragma_table_info('sessions') WHERE name = 'title_source')",
        )?
        .query_row([], |row| row.get(0))?;
    if has_source {
        db.execute("UPDATE sessions SET title_source = 'user' WHERE id = ?1", [session])?;
    }
    Ok(Ok(()))
}
