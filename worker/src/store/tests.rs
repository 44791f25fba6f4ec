//! The writer thread on a real database: grouping, rollback of one job alone, waiting for another writer.

use rusqlite::params;
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
    let held = store.clone();
    let mut holder = tokio::task::JoinSet::new();
    holder.spawn(async move { held.aside(move |_| Ok(gate.recv().is_ok())).await });
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
    assert!(matches!(store.write(|db| put(db, "l")).await, Err(StoreError::Closed { .. })));
    store.close().await;
    assert!(!fs_err::exists(format!("{}-wal", store.path())).unwrap(), "checkpointed");
}
