//! Lanes and their heads, in the database.

use hermes_wire::ProfileHome;

use super::*;
use crate::store::Store;

/// However long the ledger is, a look at what is being sent passes over none of the rest; a home of an older version gets the
/// index for it.
#[tokio::test]
async fn what_is_being_sent_is_found_without_a_walk_over_what_waits() {
    let dir = tempfile::tempdir().unwrap();
    let home = ProfileHome::new(camino::Utf8Path::from_path(dir.path()).unwrap());
    let store = Store::open(&home, Owner::current()).unwrap();
    store
        .write(|db| {
            db.execute_batch(
                "DROP INDEX hermes_delivery_sending;
                 UPDATE state_meta SET value = '7' WHERE key = 'hermes_tables_version'",
            )
        })
        .await
        .unwrap();
    store.close().await;
    let store = Store::open(&home, Owner::current()).unwrap();
    let plan = |sql: &str| {
        let explain = format!("EXPLAIN QUERY PLAN {sql}");
        store.aside(move |db| {
            let mut explain = db.prepare(&explain)?;
            let steps = explain.query_map([], |row| row.get("detail"))?;
            Ok(steps.collect::<rusqlite::Result<Vec<String>>>()?.join("; "))
        })
    };
    let (sending, empty) = (plan(SENDING).await.unwrap(), plan(EMPTY).await.unwrap());
    assert!(sending.ends_with("USING INDEX hermes_delivery_sending"), "{sending}");
    assert!(empty.ends_with("SCAN hermes_delivery USING INDEX hermes_delivery_open"), "{empty}");
    store.close().await;
}

/// A worker that goes without having begun to send says so: a service that shows a message twice is not told that it may have it.
#[tokio::test]
async fn only_what_was_begun_may_have_got_there() {
    let dir = tempfile::tempdir().unwrap();
    let home = ProfileHome::new(camino::Utf8Path::from_path(dir.path()).unwrap());
    let me = Owner::current();
    let store = Store::open(&home, me).unwrap();
    let target = DeliveryTarget { kind: "chat".to_owned(), ..DeliveryTarget::default() };
    let seen = store.write(move |db| {
        for chat in ["a", "b", "c"] {
            add(db, "s", "chat", chat, &target, "text", 1.0)?;
        }
        let (ways, room) = (Outbounds::default(), UnderWay { room: 4, ..UnderWay::default() });
        assert_eq!(take_due(db, me, &ways, &room, 2.0)?.due.len(), 3);
        give_back(db, me, &UnderWay { ids: vec![2], unwritten: vec![3], ..UnderWay::default() })?;
        let due = take_due(db, me, &ways, &room, 3.0)?.due;
        Ok(due.iter().map(|due| (due.id, due.ambiguous, due.attempts)).collect::<Vec<_>>())
    });
    assert_eq!(seen.await.unwrap(), [(1, false, 1), (2, true, 1), (3, true, 1)]);
    store.close().await;
}

/// What failed by a connection that was lost does not wait out its time once there is one again; what a service asked for is waited.
#[tokio::test]
async fn what_waits_is_due_once_its_way_works_again_but_for_what_was_asked() {
    let dir = tempfile::tempdir().unwrap();
    let home = ProfileHome::new(camino::Utf8Path::from_path(dir.path()).unwrap());
    let me = Owner::current();
    let store = Store::open(&home, me).unwrap();
    let seen = store.write(move |db| {
        let (ways, room) = (Outbounds::default(), UnderWay { room: 8, ..UnderWay::default() });
        let fails = [
            ("chat", Unsent::later("no network")),
            (
                "chat",
                Unsent::Later {
                    after: Some(Duration::from_secs(60)),
                    unsure: false,
                    reason: "429".to_owned(),
                },
            ),
            ("other", Unsent::later("no network")),
        ];
        for (at, (kind, _)) in fails.iter().enumerate() {
            let target = DeliveryTarget { kind: (*kind).to_owned(), ..DeliveryTarget::default() };
            add(db, "s", kind, &at.to_string(), &target, "text", 1.0)?;
        }
        let due = take_due(db, me, &ways, &room, 2.0)?.due;
        for (due, (_, unsent)) in due.into_iter().zip(fails) {
            record(db, &Tried { due, bytes: 4, result: Err(unsent) }, &Then::AsIs, 2.0)?;
        }
        assert_eq!(take_due(db, me, &ways, &room, 3.0)?.due.len(), 0);
        assert_eq!(hurry(db, "chat", 3.0)?, 1);
        let due = take_due(db, me, &ways, &room, 3.0)?.due;
        // The try that follows is the first one again.
        Ok(due.iter().map(|due| (due.id, due.attempts)).collect::<Vec<_>>())
    });
    assert_eq!(seen.await.unwrap(), [(1, 1)]);
    store.close().await;
}

/// Thousands of answers behind one that waits cost a look at the ledger nothing: only the first of them has a time, and the next
/// one gets it when that one is over.
#[tokio::test]
async fn only_the_head_of_a_lane_has_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let home = ProfileHome::new(camino::Utf8Path::from_path(dir.path()).unwrap());
    let me = Owner::current();
    let store = Store::open(&home, me).unwrap();
    let timed = |db: &Connection| -> rusqlite::Result<Vec<i64>> {
        db.prepare("SELECT id FROM hermes_delivery WHERE next_attempt_at IS NOT NULL AND finished_at IS NULL ORDER BY id")?
            .query_map([], |row| row.get(0))?
            .collect()
    };
    let target = DeliveryTarget { kind: "chat".to_owned(), ..DeliveryTarget::default() };
    let seen = store.write(move |db| {
        for chat in ["a", "a", "a", "b"] {
            add(db, "s", "chat", chat, &target, "text", 1.0)?;
        }
        let (ways, room) = (Outbounds::default(), UnderWay { room: 4, ..UnderWay::default() });
        let mut seen = Vec::new();
        let mut due = take_due(db, me, &ways, &room, 2.0)?.due;
        seen.push((due.iter().map(|due| due.id).collect(), timed(db)?));
        let first = due.remove(0);
        record(db, &Tried { due: first, bytes: 0, result: Err(Unsent::later("busy")) }, &Then::AsIs, 3.0)?;
        seen.push((Vec::new(), timed(db)?));
        let mut due = take_due(db, me, &ways, &UnderWay { ids: vec![4], ..room.clone() }, 1e6)?.due;
        let first = due.remove(0);
        let id = first.id;
        record(db, &Tried { due: first, bytes: 4, result: Ok(Sent { id: None }) }, &Then::AsIs, 1e6)?;
        seen.push((vec![id], timed(db)?));
        // Taken out by hand.
        db.execute("DELETE FROM hermes_delivery WHERE id = 2", [])?;
        set_heads(db, 1e6)?;
        seen.push((Vec::new(), timed(db)?));
        Ok(seen)
    });
    let expected: [(Vec<i64>, Vec<i64>); 4] =
        [(vec![1, 4], vec![1, 4]), (vec![], vec![1, 4]), (vec![1], vec![2, 4]), (vec![], vec![3, 4])];
    assert_eq!(seen.await.unwrap(), expected);
    store.close().await;
}
