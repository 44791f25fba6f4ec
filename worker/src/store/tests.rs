//! The writer thread on a real database: grouping, rollback of one job alone, waiting for another writer.

use hermes_wire::exit;
use rusqlite::{ErrorCode, params};
use tempfile::TempDir;

use super::*;

fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let home = ProfileHome::new(Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap());
    let store = Store::open(&home, Owner::current()).unwrap();
    (dir, store)
}

fn put(db: &Connection, key: &str) -> rusqlite::Result<usize> {
    db.execute("INSERT INTO state_meta(key, value) VALUES (?1, 'x')", [key])
}

async fn has(store: &Store, key: &'static str) -> bool {
    let found = store.aside(move |db| {
        db.query_row("SELECT count(*) FROM state_meta WHERE key = ?1", params![key], |row| {
            row.get::<_, i64>(0)
        })
    });
    found.await.unwrap() == 1
}

#[tokio::test]
async fn jobs_that_wait_together_share_a_commit() {
    let (_dir, store) = store();
    // Holds the writer until everything below is queued.
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let (holds, held) = tokio::sync::oneshot::channel();
    let holding = store.clone();
    let mut holder = tokio::task::JoinSet::new();
    holder.spawn(
        async move { holding.aside(move |_| Ok(holds.send(()).is_ok() && gate.recv().is_ok())).await },
    );
    // Before that the writer would take some of them along with what holds it.
    held.await.unwrap();
    let mut jobs = tokio::task::JoinSet::new();
    for n in 0..100 {
        let store = store.clone();
        jobs.spawn(async move { store.write_one(move |db| put(db, &format!("k{n}"))).await.unwrap() });
    }
    while store.0.queue.capacity() > QUEUE - 100 {
        tokio::task::yield_now().await;
    }
    let before = store.commits();
    open.send(()).unwrap();
    jobs.join_all().await;
    holder.join_all().await;
    assert_eq!(store.commits() - before, 1);
}

#[tokio::test]
async fn a_job_that_fails_takes_back_only_its_own() {
    let (_dir, store) = store();
    let (good, bad) = tokio::join!(
        store.write(|db| put(db, "good")),
        store.write(|db| {
            put(db, "half")?;
            put(db, "good")
        }),
    );
    good.unwrap();
    let error = bad.unwrap_err();
    assert!(matches!(&error, StoreError::Write { .. }) && error.is_about_data(), "{error:?}");
    assert!(error.to_string().contains("state.db"));
    assert!(has(&store, "good").await && !has(&store, "half").await);
}

#[tokio::test]
async fn a_full_disk_fails_the_callers_and_not_the_store() {
    let (_dir, store) = store();
    let pages =
        store.aside(|db| db.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0))).await.unwrap();
    store
        .aside(move |db| db.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())))
        .await
        .unwrap();
    let large = |db: &Connection| {
        db.execute("INSERT INTO state_meta(key, value) VALUES ('large', zeroblob(100000))", [])
    };
    let (small, error) = tokio::join!(store.write(|db| put(db, "beside")), store.write(large));
    let error = error.unwrap_err();
    assert!(!error.is_about_data());
    let StoreError::Write { source, .. } = &error else { panic!("{error:?}") };
    assert_eq!(source.sqlite_error_code(), Some(ErrorCode::DiskFull));
    // Whether its neighbour went down with it depends on SQLite; it must have been told the truth.
    assert_eq!(small.is_ok(), has(&store, "beside").await);
    store.aside(|db| db.query_row("PRAGMA max_page_count = 1000000", [], |_| Ok(()))).await.unwrap();
    store.write(large).await.unwrap();
}

#[tokio::test]
async fn a_lock_held_by_another_program_is_waited_for() {
    let (_dir, store) = store();
    let other = Connection::open(store.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE; INSERT INTO state_meta VALUES ('other', 'x')").unwrap();
    let waiting = store.write_one(|db| put(db, "ours"));
    let release = async {
        tokio::time::sleep(Duration::from_millis(600)).await;
        other.execute_batch("COMMIT").unwrap();
    };
    let (done, ()) = tokio::join!(waiting, release);
    done.unwrap();
    assert!(has(&store, "other").await && has(&store, "ours").await);
}

#[tokio::test]
async fn after_closing_callers_are_told() {
    let (_dir, store) = store();
    store.write(|db| put(db, "k")).await.unwrap();
    store.close().await;
    assert!(store.0.writer.lock().unwrap().is_none(), "the thread's end was waited for");
    assert!(matches!(store.write(|db| put(db, "l")).await, Err(StoreError::Closed { .. })));
    store.close().await;
    assert!(!fs_err::exists(format!("{}-wal", store.path())).unwrap(), "checkpointed");
}

fn at(store: &Store, end: &str) -> Utf8PathBuf {
    Utf8PathBuf::from(format!("{}{end}", store.path()))
}

fn keys(path: &Utf8Path) -> Vec<String> {
    let db = Connection::open(path).unwrap();
    let whole: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok");
    let mut select =
        db.prepare("SELECT key FROM state_meta WHERE key NOT LIKE 'hermes%' ORDER BY key").unwrap();
    select.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
}

/// Wires 9: what is committed into a log without a name is not on disk; what was, before, is saved.
#[tokio::test]
async fn w9_a_log_that_is_removed_ends_the_store_and_what_was_acknowledged_is_kept() {
    for ends in [&["-wal"][..], &["-wal", "-shm"], &["-shm"]] {
        let (_dir, store) = store();
        store.write(|db| put(db, "acknowledged")).await.unwrap();
        for end in ends {
            fs_err::remove_file(at(&store, end)).unwrap();
        }
        let error = store.write(|db| put(db, "late")).await.unwrap_err();
        assert!(matches!(&error, StoreError::Displaced { how: "removed", .. }), "{error:?}");
        assert!(error.to_string().contains(ends[0]), "{error}");
        let failure = store.pulse().failed().await;
        assert_eq!(failure.code, exit::FAILURE);
        assert!(failure.reason.contains("was removed while it was open"), "{}", failure.reason);
        assert!(matches!(store.write(|db| put(db, "later")).await, Err(StoreError::Closed { .. })));
        assert_eq!(keys(store.path()), ["acknowledged"], "{ends:?}");
    }
}

/// Wires 9: the log of the old database never reaches the one that took its place, and goes with the old one.
#[tokio::test]
async fn w9_a_database_that_is_replaced_ends_the_store_and_both_stay_whole() {
    let (other_dir, other) = store();
    other.write(|db| put(db, "of the other")).await.unwrap();
    other.close().await;
    let (dir, store) = store();
    store.write(|db| put(db, "acknowledged")).await.unwrap();
    let moved = Utf8PathBuf::from_path_buf(dir.path().join("moved.db")).unwrap();
    fs_err::rename(store.path(), &moved).unwrap();
    fs_err::rename(other.path(), store.path()).unwrap();
    drop(other_dir);
    let error = store.write(|db| put(db, "late")).await.unwrap_err();
    assert!(matches!(&error, StoreError::Displaced { how: "replaced by another file", .. }), "{error:?}");
    store.pulse().failed().await;
    assert_eq!(keys(store.path()), ["of the other"]);
    assert_eq!(keys(&moved), ["acknowledged"]);
}

/// Wires 9: closing looks too: a database that was put there is not touched by the end of the old one.
#[tokio::test]
async fn w9_closing_after_a_replacement_touches_only_its_own() {
    let (dir, store) = store();
    store.write(|db| put(db, "acknowledged")).await.unwrap();
    let moved = Utf8PathBuf::from_path_buf(dir.path().join("moved.db")).unwrap();
    fs_err::rename(store.path(), &moved).unwrap();
    store.close().await;
    assert!(!fs_err::exists(store.path()).unwrap() && !fs_err::exists(at(&store, "-wal")).unwrap());
    assert_eq!(keys(&moved), ["acknowledged"]);
}

/// Wires 9: a lock that another process holds makes clients hear of it within five seconds, and reads go on.
#[tokio::test]
async fn w9_under_a_foreign_lock_clients_are_told_soon_and_reads_go_on() {
    let (_dir, store) = store();
    store.write(|db| put(db, "before")).await.unwrap();
    let other = Connection::open(store.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut patient = tokio::task::JoinSet::new();
    patient.spawn({
        let store = store.clone();
        async move { store.write(|db| put(db, "patient")).await.unwrap() }
    });
    let started = hermes_host::clock::now();
    let mut trouble = store.trouble();
    let client = store.write_one_for_client(|db| put(db, "client"));
    let reads = async {
        for _ in 0..5 {
            assert!(has(&store, "before").await);
        }
        started.elapsed()
    };
    let (told, read) = tokio::join!(client, reads);
    let error = told.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(5) && read < CLIENT_PATIENCE, "{read:?}");
    assert!(error.is_of_machine() && error.told().contains("locked"), "{error:?}");
    trouble.wait_for(Option::is_some).await.unwrap();
    assert!(trouble.borrow().as_ref().unwrap().contains("another process holds the write lock"));
    other.execute_batch("COMMIT").unwrap();
    patient.join_all().await;
    trouble.wait_for(Option::is_none).await.unwrap();
    assert!(!has(&store, "client").await, "who was refused was refused");
}

/// Wires 9: content that cannot be ends the store with the cause and the next step, and 78: no retry mends it.
#[tokio::test]
async fn w9_damage_found_while_it_runs_ends_the_store() {
    let (_dir, store) = store();
    store.write(|db| put(db, "x")).await.unwrap();
    // The tree of `state_meta` leads nowhere.
    let damage = |db: &Connection| {
        db.execute_batch(
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = 100000 WHERE name = 'state_meta';
             PRAGMA writable_schema = RESET;",
        )
    };
    store.aside(damage).await.unwrap();
    let error = store.write(|db| put(db, "y")).await.unwrap_err();
    assert!(matches!(&error, StoreError::Damaged { .. }), "{error:?}");
    let failure = store.pulse().failed().await;
    assert_eq!(failure.code, exit::CONFIG);
    for part in ["state.db` is damaged", "malformed", ".recover", "put a good copy in its place"] {
        assert!(failure.reason.contains(part), "{}", failure.reason);
    }
}

/// Wires 15: a newer program that migrates the file under a running worker ends it before anything more is written.
#[tokio::test]
async fn w15_a_file_that_becomes_newer_is_written_no_more() {
    let (_dir, store) = store();
    store.write(|db| put(db, "x")).await.unwrap();
    let other = Connection::open(store.path()).unwrap();
    other.execute_batch("UPDATE schema_version SET version = 31").unwrap();
    let error = store.write(|db| put(db, "y")).await.unwrap_err();
    assert!(matches!(&error, StoreError::Newer { version: 31, known: 30, .. }), "{error:?}");
    store.pulse().failed().await;
    assert_eq!(keys(store.path()), ["x"]);
}

/// Wires 15: a file of a newer schema is not written, and its store says why to everybody who asks.
#[tokio::test]
async fn w15_a_newer_file_is_left_as_it_is_and_refuses_everything() {
    let (dir, store) = store();
    store.close().await;
    let other = Connection::open(store.path()).unwrap();
    other
        .execute_batch(
            "UPDATE schema_version SET version = 31; DROP TRIGGER messages_fts_insert; DROP TABLE hermes_inbox;
             CREATE TABLE gateway_heartbeats(backend_id TEXT PRIMARY KEY)",
        )
        .unwrap();
    drop(other);
    let before = fs_err::read(store.path()).unwrap();
    let home = store.home().clone();
    let store = Store::open(&home, Owner::current()).unwrap();
    let refusal = store.refusal().unwrap().to_string();
    assert!(refusal.contains("schema version 31") && refusal.contains("up to 30"), "{refusal}");
    for error in [
        store.write(|db| put(db, "y")).await.unwrap_err(),
        store.aside(|db| db.execute_batch("SELECT 1")).await.unwrap_err(),
    ] {
        assert_eq!(error.to_string(), refusal);
        assert!(error.told().contains("version 31") && !error.told().contains(home.path().as_str()));
    }
    store.close().await;
    assert!(Store::settle_identity(&home).is_err());
    assert!(fs_err::read(store.path()).unwrap() == before);
    assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    // An older one that is put in its place is noticed.
    let other = Connection::open(store.path()).unwrap();
    other.execute_batch("UPDATE schema_version SET version = 22; VACUUM").unwrap();
    drop(other);
    store.refusal_over().await;
}

/// D22: a newer program migrates the file under a running worker, and gives it an index whose tokenizer is not there: the next row is
/// stored all the same, and every one after it.
#[tokio::test]
async fn d22_a_file_that_is_migrated_while_it_is_open_is_written_on() {
    let (_dir, store) = store();
    let say = |text: &'static str| {
        store.write_one(move |db| {
            db.prepare_cached(
                "INSERT INTO messages(session_id, role, content, timestamp) VALUES ('s', 'user', ?1, 1.0)",
            )?
            .execute([text])
        })
    };
    let session = |db: &Connection| {
        db.execute("INSERT INTO sessions(id, source, started_at) VALUES ('s', 'webhook', 1.0)", [])
    };
    store.write_one(session).await.unwrap();
    say("before").await.unwrap();
    let other = Connection::open(store.path()).unwrap();
    other
        .execute_batch(
            "ALTER TABLE messages ADD COLUMN display_kind TEXT; ALTER TABLE messages ADD COLUMN display_identity BLOB;
             ALTER TABLE messages ADD COLUMN display_order INTEGER; UPDATE schema_version SET version = 30;
             DROP TRIGGER messages_fts_update;
             CREATE TRIGGER messages_fts_update AFTER UPDATE ON messages BEGIN SELECT 1; END;",
        )
        .unwrap();
    other.execute_batch(fixtures::CJK).unwrap();
    say("beside the new index").await.unwrap();
    let has = |what: &str| -> i64 {
        other.query_row(&format!("SELECT count(*) FROM {what}"), [], |row| row.get(0)).unwrap()
    };
    assert_eq!(has("state_meta WHERE key = 'fts_cjk_stale' AND value = '1'"), 1);
    assert_eq!(
        has("sqlite_schema WHERE name LIKE 'messages\\_fts\\_cjk\\_%te' ESCAPE '\\' AND type = 'trigger'"),
        0
    );
    // Once more, and in a transaction that is taken back.
    other
        .execute_batch(
            "CREATE TRIGGER messages_fts_cjk_insert AFTER INSERT ON messages BEGIN
                 INSERT INTO messages_fts_cjk(rowid, content) VALUES (new.id, new.content); END;
             CREATE TRIGGER veto BEFORE INSERT ON messages WHEN new.content = 'veto' BEGIN SELECT raise(ROLLBACK, 'no'); END;",
        )
        .unwrap();
    assert!(say("veto").await.is_err());
    say("after").await.unwrap();
    store.close().await;
    assert_eq!((has("messages"), has("schema_version WHERE version = 30")), (3, 1));
    assert_eq!(has("messages_fts WHERE messages_fts MATCH 'after OR beside'"), 2);
}
