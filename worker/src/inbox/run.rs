//! Runs as items: put into the inbox under their id, and taken out again.

use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::Value;

use super::recover::promote;
use crate::inbound::{Busy, DedupKey, DeliveryTarget, Inbound, Source};
use crate::runs::SCOPE;

/// The field of a message that a run does not have.
const TEXT: &str = "text";

/// Puts the run `id` into the inbox of `key`, behind what waits there. What it is asked stands in its own row.
pub(crate) fn put(db: &Connection, id: &str, key: &str, source: Source, now: f64) -> rusqlite::Result<()> {
    let platform = source.platform.clone();
    let event = Inbound {
        source,
        text: String::new(),
        dedup: Some(DedupKey { scope: SCOPE.to_owned(), id: id.to_owned() }),
        delivery: DeliveryTarget::of_run(id),
        context: None,
        end_session: None,
        busy: Busy::Wait,
    };
    let mut payload = serde_json::to_value(&event).expect("strings and maps of strings always serialise");
    if let Some(fields) = payload.as_object_mut() {
        // It is no message: nobody may take it for the answer to a question, or, in a worker of the release before, which may still look for
        // work while this one accepts it, for an empty one. What has no text is set aside.
        fields.remove(TEXT);
    }
    let payload = payload.to_string();
    db.prepare_cached(
        "INSERT INTO hermes_inbox(platform, scope, dedup_id, session_key, payload, received_at, state)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, CASE WHEN EXISTS
            (SELECT 1 FROM hermes_inbox WHERE session_key = ?4 AND finished_at IS NULL) THEN 'queued' ELSE 'waiting' END)",
    )?
    .execute(params![platform, SCOPE, id, key, payload, now])
    .map(drop)
}

/// An item as its row has it: a message, or a run; `None`: neither.
pub(crate) fn read(payload: &str) -> Option<Inbound> {
    if let Ok(message) = serde_json::from_str(payload) {
        return Some(message);
    }
    let mut run: Value = serde_json::from_str(payload).ok()?;
    run.as_object_mut()?.entry(TEXT).or_insert_with(|| String::new().into());
    serde_json::from_value::<Inbound>(run).ok().filter(|item| item.delivery.run().is_some())
}

/// Takes a run that does not run out of the inbox. `false`: it runs, or is not there.
pub(crate) fn withdraw(db: &Connection, id: &str, now: f64) -> rusqlite::Result<bool> {
    let key: Option<String> = db
        .prepare_cached(
            "UPDATE hermes_inbox SET state = 'done', payload = NULL, finished_at = ?3
             WHERE scope = ?1 AND dedup_id = ?2 AND finished_at IS NULL AND state <> 'claimed'
               AND platform = (SELECT platform FROM hermes_run WHERE id = ?2)
             RETURNING session_key",
        )?
        .query_row(params![SCOPE, id, now], |row| row.get(0))
        .optional()?;
    let Some(key) = key else { return Ok(false) };
    promote(db, &key)?;
    Ok(true)
}

/// Session keys of turns of this process that are runs somebody wants to stop.
pub(crate) fn unwanted(db: &Connection, (pid, start): (i64, i64)) -> rusqlite::Result<Vec<String>> {
    db.prepare_cached(
        "SELECT i.session_key FROM hermes_run AS r
         JOIN hermes_inbox AS i ON i.platform = r.platform AND i.scope = 'run' AND i.dedup_id = r.id
         WHERE r.status IS NULL AND r.stop_at IS NOT NULL AND i.state = 'claimed' AND i.owner_pid = ?1 AND i.owner_start = ?2",
    )?
    .query_map(params![pid, start], |row| row.get(0))?
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_no_message_and_what_is_neither_is_nothing() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(include_str!("../store/ours.sql")).unwrap();
        let source = Source { platform: "api".to_owned(), ..Source::default() };
        put(&db, "run_1", "s", source, 1.0).unwrap();
        let payload: String = db.query_row("SELECT payload FROM hermes_inbox", [], |row| row.get(0)).unwrap();
        assert!(
            serde_json::from_str::<Inbound>(&payload).is_err(),
            "a release that knows no runs sets it aside"
        );
        let item = read(&payload).unwrap();
        assert_eq!((item.delivery.run(), item.text.as_str()), (Some("run_1"), ""));
        let message =
            payload.replacen('{', "{\"text\":\"hi\",", 1).replace("\"kind\":\"run\"", "\"kind\":\"log\"");
        assert_eq!(read(&message).map(|item| item.text).as_deref(), Some("hi"));
        for neither in [&payload.replace("\"kind\":\"run\"", "\"kind\":\"log\""), "{}", "[]", ""] {
            assert!(read(neither).is_none(), "{neither}");
        }
    }
}
