//! The schema beside that of 0.19.0, and what opening does to new, older, foreign and damaged files.

use camino::Utf8PathBuf;
use tempfile::TempDir;

use super::*;

fn temp() -> (TempDir, Utf8PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(dir.path().join("state.db")).unwrap();
    (dir, path)
}

fn statements(db: &Connection) -> BTreeSet<String> {
    db.prepare("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'hermes_%'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap()
}

fn version(db: &Connection) -> i64 {
    db.query_row("SELECT version FROM schema_version", [], |row| row.get(0)).unwrap()
}

#[test]
fn a_new_file_has_exactly_the_schema_of_0_19_0() {
    let (_dir, path) = temp();
    let db = open(&path).unwrap();
    let theirs = SCHEMA.split(" ;\n").chain(TURN_LEASES.split(';'));
    let theirs: BTreeSet<String> =
        theirs.map(str::trim).filter(|s| !s.is_empty()).map(|s| s.replace("IF NOT EXISTS ", "")).collect();
    assert_eq!(statements(&db), theirs, "and the leases of later releases");
    assert_eq!(version(&db), 22);
    assert!(is_checked(&db));
    assert_eq!(
        fs_err::read_dir(path.parent().unwrap()).unwrap().count(),
        3,
        "nothing but the file, -wal and -shm"
    );
    let mode: String = db.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
    let keys: i64 = db.query_row("PRAGMA foreign_keys", [], |row| row.get(0)).unwrap();
    assert_eq!(keys, 1);
}

#[cfg(unix)]
#[test]
fn only_its_owner_reads_it() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, path) = temp();
    drop(open(&path).unwrap());
    let mode = || fs_err::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    drop(open(&path).unwrap());
    assert_eq!(mode(), 0o600);
}

#[test]
fn opening_a_complete_file_changes_nothing() {
    let (_dir, path) = temp();
    drop(open(&path).unwrap());
    let db = open(&path).unwrap();
    assert!(is_checked(&db));
    let before = cookie(&db).unwrap();
    let started = hermes_host::clock::now();
    let again = open(&path).unwrap();
    println!("opened in {:?}", started.elapsed());
    assert_eq!(cookie(&again).unwrap(), before);
}

#[test]
fn a_file_of_0_19_0_is_completed_and_keeps_what_it_has() {
    let (_dir, path) = temp();
    let old = Connection::open(&path).unwrap();
    for object in objects() {
        old.execute_batch(object.sql).unwrap();
    }
    old.execute_batch(
        "INSERT INTO schema_version VALUES (22); CREATE TABLE plugin_notes(x); INSERT INTO plugin_notes VALUES (7);
         INSERT INTO sessions(id, source, started_at) VALUES ('s', 'cli', 1.5);
         INSERT INTO messages(session_id, role, content, timestamp) VALUES ('s', 'user', 'needle', 1.5);",
    )
    .unwrap();
    drop(old);
    let db = open(&path).unwrap();
    let note: i64 = db.query_row("SELECT x FROM plugin_notes", [], |row| row.get(0)).unwrap();
    assert_eq!((note, version(&db)), (7, 22));
    db.query_row("SELECT count(*) FROM hermes_inbox", [], |_| Ok(())).unwrap();
}

#[test]
fn versions_are_never_raised_and_newer_ones_refused() {
    for (found, served) in [(19, true), (22, true), (23, true), (30, true), (31, false), (99, false)] {
        let (_dir, path) = temp();
        let old = Connection::open(&path).unwrap();
        old.execute_batch(&format!(
            "CREATE TABLE schema_version (version INTEGER NOT NULL); INSERT INTO schema_version VALUES ({found});"
        ))
        .unwrap();
        drop(old);
        match open(&path) {
            Ok(db) => assert_eq!((version(&db), served), (found, true)),
            Err(StoreError::Newer { version, .. }) => assert_eq!((version, served), (found, false)),
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[test]
fn missing_columns_and_the_search_index_are_added_and_filled() {
    let (_dir, path) = temp();
    let old = Connection::open(&path).unwrap();
    old.execute_batch(
        "CREATE TABLE sessions (id TEXT PRIMARY KEY, source TEXT NOT NULL, started_at REAL NOT NULL);
         CREATE TABLE messages (id INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT NOT NULL REFERENCES sessions(id),
            role TEXT NOT NULL, content TEXT, timestamp REAL NOT NULL);
         INSERT INTO sessions VALUES ('s', 'cli', 1.0);
         INSERT INTO messages(session_id, role, content, timestamp) VALUES ('s', 'user', 'find the needle', 1.0);",
    )
    .unwrap();
    drop(old);
    let db = open(&path).unwrap();
    for (table, match_) in [("messages_fts", "needle"), ("messages_fts_trigram", "needl")] {
        let found: i64 = db
            .query_row(&format!("SELECT rowid FROM {table} WHERE {table} MATCH ?1"), [match_], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(found, 1, "{table}");
    }
    let active: i64 = db.query_row("SELECT active FROM messages", [], |row| row.get(0)).unwrap();
    assert_eq!(active, 1);
}

#[test]
fn what_is_not_ours_is_refused_by_name_and_left_alone() {
    let (_dir, path) = temp();
    fs_err::write(&path, b"my shopping list").unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(&error, StoreError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains(path.as_str()) && error.to_string().contains("not a database"));
    assert_eq!(fs_err::read(&path).unwrap(), b"my shopping list");

    fs_err::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE recipes(x)").unwrap();
    let before = fs_err::read(&path).unwrap();
    assert!(matches!(open(&path), Err(StoreError::Foreign { .. })));
    assert_eq!(fs_err::read(&path).unwrap(), before);

    // A sound header over a damaged schema.
    let mut damaged = before;
    damaged[100..1000].fill(0xff);
    fs_err::write(&path, &damaged).unwrap();
    assert!(matches!(open(&path), Err(StoreError::Damaged { .. })));
    assert_eq!(fs_err::read(&path).unwrap(), damaged);
}

/// Wires 9: a file that was cut, or whose start is something else, is damaged: named, left alone, and no retry helps.
#[test]
fn w9_a_cut_or_overwritten_file_is_damaged_and_left_alone() {
    let (_dir, path) = temp();
    drop(open(&path).unwrap());
    let whole = fs_err::read(&path).unwrap();
    let mut garbage = whole.clone();
    garbage[..200].fill(0x5a);
    let mut zeros = whole.clone();
    zeros[..4096].fill(0);
    for damaged in [&whole[..whole.len() / 2], &whole[..5000], &whole[..50], &garbage, &zeros] {
        fs_err::write(&path, damaged).unwrap();
        let error = open(&path).unwrap_err();
        assert!(matches!(&error, StoreError::Damaged { .. }), "{} bytes: {error:?}", damaged.len());
        assert_eq!(error.exit_code(), hermes_wire::exit::CONFIG);
        assert!(fs_err::read(&path).unwrap() == *damaged);
    }
}

/// 25: tables of ours that an earlier build made get their new columns, and keep their rows.
#[test]
fn n25_an_older_inbox_is_completed() {
    let (_dir, path) = temp();
    drop(open(&path).unwrap());
    let old = Connection::open(&path).unwrap();
    old.execute_batch(
        "DROP TABLE hermes_inbox; DROP TABLE hermes_life;
         CREATE TABLE hermes_inbox (id INTEGER PRIMARY KEY, platform TEXT NOT NULL, scope TEXT, dedup_id TEXT,
            session_key TEXT NOT NULL DEFAULT '', state TEXT NOT NULL, payload TEXT, received_at REAL NOT NULL,
            owner_pid INTEGER, owner_start INTEGER, attempts INTEGER NOT NULL DEFAULT 0, session_id TEXT,
            finished_at REAL, error TEXT);
         INSERT INTO hermes_inbox(platform, state, received_at) VALUES ('webhook', 'waiting', 1.0);
         UPDATE state_meta SET value = '1' WHERE key = 'hermes_tables_version';",
    )
    .unwrap();
    drop(old);
    let db = open(&path).unwrap();
    let row: (i64, i64, Option<f64>) = db
        .query_row("SELECT suspect, postponed, due_at FROM hermes_inbox", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    assert_eq!(row, (0, 0, None));
    db.execute_batch("SELECT * FROM hermes_life").unwrap();
}

/// D22: a file of an early release in which two sessions have one title is opened and keeps both.
#[test]
fn d22_titles_that_stand_twice_keep_no_file_from_being_opened() {
    let (_dir, path) = temp();
    let old = Connection::open(&path).unwrap();
    old.execute_batch(
        "CREATE TABLE sessions (id TEXT PRIMARY KEY, source TEXT NOT NULL, started_at REAL NOT NULL, title TEXT);
         INSERT INTO sessions VALUES ('a', 'cli', 1.0, 'bees'), ('b', 'cli', 2.0, 'bees');",
    )
    .unwrap();
    drop(old);
    let db = open(&path).unwrap();
    let titled: i64 =
        db.query_row("SELECT count(*) FROM sessions WHERE title = 'bees'", [], |row| row.get(0)).unwrap();
    assert_eq!(titled, 2);
    let names = names(&db).unwrap();
    assert!(
        !names.contains("idx_sessions_title_unique") && names.contains("idx_sessions_source"),
        "{names:?}"
    );
    assert!(is_checked(&db));
}
