//! What somebody decides about an item at a terminal: that it is tried again now, or that it gets no answer any more.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::recover::promote;
use super::run;
use crate::runs;
use crate::session::history;

/// What an item is said to have failed with that nobody wants answered.
pub(crate) const DROPPED: &str = "dropped at a terminal";

/// A row of the inbox.
struct Row {
    state: String,
    key: String,
    scope: Option<String>,
    payload: Option<String>,
    session: Option<String>,
    error: Option<String>,
    /// It failed before anything was tried: it never came in.
    is_buried: bool,
}

fn read(db: &Connection, id: i64) -> rusqlite::Result<Option<Row>> {
    db.prepare_cached(
        "SELECT state, session_key, scope, payload, session_id, error,
                state = 'failed' AND attempts = 0 AND session_id IS NULL AND received_at IS finished_at
         FROM hermes_inbox WHERE id = ?1 AND state <> 'reserved'",
    )?
    .query_row([id], |row| {
        Ok(Row {
            state: row.get(0)?,
            key: row.get(1)?,
            scope: row.get(2)?,
            payload: row.get(3)?,
            session: row.get(4)?,
            error: row.get(5)?,
            is_buried: row.get(6)?,
        })
    })
    .optional()
}

impl Row {
    /// Whether it is a run of the API.
    fn is_run(&self) -> bool {
        self.scope.as_deref() == Some(runs::SCOPE)
            && self
                .payload
                .as_deref()
                .is_none_or(|payload| run::read(payload).is_some_and(|event| event.delivery.run().is_some()))
    }
}

/// What is said of an item that is not there.
fn gone() -> String {
    "the inbox has no such message; what was answered is forgotten after a day, what failed after a week"
        .to_owned()
}

/// Lets an item run now: one that failed is as new, one that was put off is due. What cannot be is told.
pub(crate) fn retry(db: &Connection, id: i64, now: f64) -> rusqlite::Result<Result<(), String>> {
    let Some(row) = read(db, id)? else { return Ok(Err(gone())) };
    match row.state.as_str() {
        "postponed" => {
            db.prepare_cached("UPDATE hermes_inbox SET due_at = ?2 WHERE id = ?1")?
                .execute(params![id, now])?;
            return Ok(Ok(()));
        }
        "failed" => {}
        state => return Ok(Err(standing(state, row.error.as_deref()))),
    }
    if row.is_buried {
        let why = row.error.unwrap_or_default();
        return Ok(Err(format!("it never came in, so it cannot be tried here: {why}")));
    }
    if row.is_run() {
        return Ok(Err(
            "it is a run of the API, whose client was told that it failed, and asks again".to_owned()
        ));
    }
    if row.payload.is_none() {
        return Ok(Err("what it said was not kept".to_owned()));
    }
    // As if its sender had sent it again.
    db.prepare_cached(
        "UPDATE hermes_inbox SET state = CASE WHEN EXISTS
                (SELECT 1 FROM hermes_inbox WHERE session_key = ?2 AND finished_at IS NULL) THEN 'queued' ELSE 'waiting' END,
            session_id = NULL, finished_at = NULL, error = NULL, fault = NULL, attempts = 0, suspect = 0, taken_down = 0,
            postponed = 0, postponed_at = NULL, due_at = NULL, preview_id = NULL, preview_at = NULL
         WHERE id = ?1",
    )?
    .execute(params![id, row.key])?;
    Ok(Ok(()))
}

/// Ends an item without an answer. What was said stays out of prompts, and its sender's repetition is a duplicate.
pub(crate) fn drop(db: &Connection, id: i64, now: f64) -> rusqlite::Result<Result<(), String>> {
    let Some(row) = read(db, id)? else { return Ok(Err(gone())) };
    let is_live = matches!(row.state.as_str(), "waiting" | "queued" | "postponed");
    if !is_live && row.state != "failed" {
        return Ok(Err(standing(&row.state, row.error.as_deref())));
    }
    if is_live && row.is_run() {
        return Ok(Err(
            "it is a run of the API, which its client stops (`POST /v1/runs/<id>/stop`)".to_owned()
        ));
    }
    if is_live && let Some(session) = &row.session {
        history::close(db, session, DROPPED, now)?;
        history::publish(db)?;
    }
    db.prepare_cached(
        "UPDATE hermes_inbox SET state = 'done', payload = NULL, finished_at = ?2, error = ?3, owner_pid = NULL, owner_start = NULL
         WHERE id = ?1",
    )?
    .execute(params![id, now, DROPPED])?;
    promote(db, &row.key)?;
    Ok(Ok(()))
}

/// Why nothing can be decided about an item in this state.
fn standing(state: &str, error: Option<&str>) -> String {
    match state {
        "waiting" | "queued" => "it waits for its turn, and is next when that comes".to_owned(),
        "claimed" => "its turn runs; `/stop` in its chat ends that".to_owned(),
        "steered" => "it was put into the turn that runs in its chat".to_owned(),
        _ if error == Some(DROPPED) => "it was dropped".to_owned(),
        _ => "it is answered".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn db() -> Connection {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(include_str!("../store/ours.sql")).unwrap();
        db
    }

    fn put(db: &Connection, key: &str, state: &str, finished: Option<f64>) -> i64 {
        db.execute(
            "INSERT INTO hermes_inbox(platform, session_key, state, payload, received_at, finished_at, attempts, error)
             VALUES ('webhook', ?1, ?2, '{}', 1, ?3, 2, ?4)",
            params![key, state, finished, finished.map(|_| "why")],
        )
        .unwrap();
        db.last_insert_rowid()
    }

    fn state(db: &Connection, id: i64) -> String {
        db.query_row("SELECT state FROM hermes_inbox WHERE id = ?1", [id], |row| row.get(0)).unwrap()
    }

    #[test]
    fn what_failed_is_as_new_and_keeps_its_place_in_its_session() {
        let db = db();
        let (failed, waiting, other) = (
            put(&db, "k", "failed", Some(2.0)),
            put(&db, "k", "waiting", None),
            put(&db, "l", "failed", Some(2.0)),
        );
        assert_eq!(retry(&db, failed, 9.0).unwrap(), Ok(()));
        assert_eq!(retry(&db, other, 9.0).unwrap(), Ok(()));
        assert_eq!(
            (state(&db, failed).as_str(), state(&db, waiting).as_str(), state(&db, other).as_str()),
            ("queued", "waiting", "waiting")
        );
        let left: (i64, Option<String>, Option<f64>) = db
            .query_row(
                "SELECT attempts, error, finished_at FROM hermes_inbox WHERE id = ?1",
                [other],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .unwrap();
        assert_eq!(left, (0, None, None));
    }

    #[test]
    fn what_cannot_be_tried_again_says_why() {
        let db = db();
        let said = |id| retry(&db, id, 9.0).unwrap().unwrap_err();
        assert!(said(99).contains("no such message"));
        assert!(said(put(&db, "a", "claimed", None)).contains("its turn runs"));
        assert!(said(put(&db, "b", "waiting", None)).contains("waits for its turn"));
        assert!(said(put(&db, "c", "done", Some(2.0))).contains("it is answered"));
        let buried = put(&db, "d", "failed", Some(1.0));
        db.execute("UPDATE hermes_inbox SET attempts = 0 WHERE id = ?1", [buried]).unwrap();
        assert_eq!(said(buried), "it never came in, so it cannot be tried here: why");
        let silent = put(&db, "e", "failed", Some(2.0));
        db.execute("UPDATE hermes_inbox SET payload = NULL WHERE id = ?1", [silent]).unwrap();
        assert!(said(silent).contains("not kept"));
        let postponed = put(&db, "f", "postponed", None);
        assert_eq!(retry(&db, postponed, 9.0).unwrap(), Ok(()));
        let due: f64 = db
            .query_row("SELECT due_at FROM hermes_inbox WHERE id = ?1", [postponed], |row| row.get(0))
            .unwrap();
        assert!((due - 9.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_dropped_makes_room_for_the_next_one() {
        let db = db();
        let (first, second) = (put(&db, "k", "waiting", None), put(&db, "k", "queued", None));
        assert_eq!(drop(&db, first, 9.0).unwrap(), Ok(()));
        assert_eq!((state(&db, first).as_str(), state(&db, second).as_str()), ("done", "waiting"));
        assert_eq!(drop(&db, first, 9.0).unwrap(), Err("it was dropped".to_owned()));
        let failed = put(&db, "k", "failed", Some(2.0));
        assert_eq!(drop(&db, failed, 9.0).unwrap(), Ok(()));
        assert!(
            drop(&db, put(&db, "m", "claimed", None), 9.0).unwrap().unwrap_err().contains("its turn runs")
        );
    }
}
