//! Files of newer programs in every state: what opening makes in them, and that rows can be written to them and are found.

use camino::Utf8PathBuf;
use tempfile::TempDir;

use super::super::{cookie, is_checked, open};
use super::*;
use crate::store::fixtures::{
    self, INLINE, LAYOUT_1, MIXED_PROMPTS, NO_TRIGRAM, REBUILDING, ROWS, STALE, V30, check_search, make,
    rebuild_search,
};

/// The scripts of each shape, and whether its indexes are whole.
const SHAPES: [(&[&str], bool); 7] = [
    (&[V30, ROWS], true),
    (&[V30, LAYOUT_1, ROWS], true),
    (&[V30, STALE, ROWS], false),
    (&[V30, NO_TRIGRAM, ROWS], true),
    (&[V30, REBUILDING, ROWS], false),
    (&[V30, INLINE, ROWS], true),
    (&[V30, ROWS, MIXED_PROMPTS], true),
];

fn temp() -> (TempDir, Utf8PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(dir.path().join("state.db")).unwrap();
    (dir, path)
}

/// Everything in the file but tables that we write to, as it is written in its schema.
fn objects_of(db: &Connection) -> BTreeSet<(String, Option<String>)> {
    let mut select = db
        .prepare(
            "SELECT name, sql FROM sqlite_schema WHERE tbl_name NOT LIKE 'hermes\\_%' ESCAPE '\\'
             AND tbl_name NOT IN ('delivery_obligations', 'session_turn_leases')",
        )
        .unwrap();
    select
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap()
}

fn raw(path: &Utf8PathBuf) -> Connection {
    let db = Connection::open(path).unwrap();
    db.execute_batch("PRAGMA foreign_keys = ON").unwrap();
    db
}

fn has(db: &Connection, what: &str) -> bool {
    db.query_row(&format!("SELECT EXISTS (SELECT 1 FROM {what})"), [], |row| row.get(0)).unwrap()
}

/// A text, a call and its long result, and a change and an end of rows: what a turn and its readers do.
fn use_it(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(
        "BEGIN IMMEDIATE;
         INSERT INTO sessions(id, source, started_at) VALUES ('used', 'webhook', 1793600000.0), ('gone', 'webhook', 1793600000.0);
         INSERT INTO messages(session_id, role, content, timestamp) VALUES ('used', 'user', 'where is the haystack', 1.0);
         INSERT INTO messages(session_id, role, content, tool_calls, timestamp) VALUES ('used', 'assistant', 'hm', '[{\"id\":\"a\"}]', 2.0);
         INSERT INTO messages(session_id, role, content, tool_call_id, tool_name, timestamp)
             VALUES ('used', 'tool', replace(hex(zeroblob(9000)), '00', 'far '), 'a', 'shell', 3.0);
         INSERT INTO messages(session_id, role, content, timestamp) SELECT 'gone', role, content, timestamp FROM messages
             WHERE session_id = 'used';
         UPDATE messages SET active = 0 WHERE session_id = 'used' AND role = 'tool';
         UPDATE messages SET content = 'behind the barn' WHERE session_id = 'used' AND role = 'assistant';
         DELETE FROM messages WHERE session_id = 'gone';
         DELETE FROM sessions WHERE id = 'gone';
         COMMIT;",
    )
}

/// D22: whatever state the index of a newer file is in, opening adds nothing to it, and rows can be written and are found.
#[test]
fn d22_a_newer_file_keeps_its_index_in_every_state() {
    for (scripts, whole) in SHAPES {
        let (_dir, path) = temp();
        make(&path, scripts);
        let before = objects_of(&raw(&path));
        let db = open(&path).unwrap();
        assert_eq!(objects_of(&db), before);
        assert!(is_checked(&db));
        use_it(&db).unwrap();
        if !whole {
            rebuild_search(&db).unwrap();
        }
        check_search(&db).unwrap();
        drop(db);
        let db = open(&path).unwrap();
        assert_eq!(objects_of(&db), before);
        let version: i64 = db.query_row("SELECT version FROM schema_version", [], |row| row.get(0)).unwrap();
        assert_eq!(version, 30);
        let number = |of: &str| -> i64 {
            let query = format!("SELECT count(*) FROM messages_fts WHERE messages_fts MATCH '{of}'");
            db.query_row(&query, [], |row| row.get(0)).unwrap()
        };
        assert_eq!((number("barn"), number("haystack"), number("cluster") > 0), (1, 1, true));
    }
}

/// D22: where a newer program is at work on a file that has no index yet, none is made, nor a version.
#[test]
fn d22_a_file_that_is_being_made_is_left_to_who_makes_it() {
    for sign in [
        "CREATE TABLE system_prompts (hash TEXT PRIMARY KEY, prompt TEXT NOT NULL)",
        "ALTER TABLE messages ADD COLUMN display_kind TEXT",
        "INSERT INTO schema_version VALUES (23)",
        "INSERT INTO state_meta VALUES ('fts_stale', '1')",
        "INSERT INTO state_meta VALUES ('fts_rebuild_high_water', '10')",
        "CREATE TABLE fts_v22_trash_messages_fts_content(id)",
        "CREATE VIEW messages_fts_trigram_src AS SELECT id FROM messages",
    ] {
        let (_dir, path) = temp();
        let db = raw(&path);
        for object in objects().filter(|object| !is_part(object.name)) {
            db.execute_batch(object.sql).unwrap();
        }
        db.execute_batch(sign).unwrap();
        let before = objects_of(&db);
        drop(db);
        let db = open(&path).unwrap();
        assert_eq!(objects_of(&db), before, "{sign}");
        let has_version = has(&db, "schema_version");
        assert_eq!(has_version, sign.contains("VALUES (23)") || sign.contains("fts_"), "{sign}");
    }
    let (_dir, path) = temp();
    let db = raw(&path);
    db.execute_batch(objects().find(|object| object.name == "messages").unwrap().sql).unwrap();
    fs_err::write(format!("{path}.fts_rebuild.lock"), "").unwrap();
    assert!(!has(&open(&path).unwrap(), "sqlite_schema WHERE name LIKE 'messages_fts%'"));
}

/// D22: an index of 0.19.0 that has lost a part is built anew by 0.19.0 when it finds that; we do not hide it.
#[test]
fn d22_an_index_that_is_there_in_part_is_left_so() {
    for lost in ["DROP TRIGGER messages_fts_insert", "DROP TABLE messages_fts_trigram"] {
        let (_dir, path) = temp();
        drop(open(&path).unwrap());
        let db = raw(&path);
        db.execute_batch(lost).unwrap();
        let before = objects_of(&db);
        drop(db);
        assert_eq!(objects_of(&open(&path).unwrap()), before, "{lost}");
    }
}

/// The triggers of a file as 0.19.0 makes it.
fn broaden(db: &Connection) {
    for object in objects().filter(|object| object.name.ends_with("_update")) {
        db.execute_batch(&format!("DROP TRIGGER {}; {}", object.name, broad(object))).unwrap();
    }
}

/// The part of `v30.sql` that orders rows for those who show them.
fn display_triggers() -> &'static str {
    let start = V30.find("CREATE TRIGGER messages_display_order_insert").unwrap();
    &V30[start..V30.find("CREATE VIEW messages_fts_src").unwrap()]
}

/// D22: beside triggers of newer programs the broad ones of 0.19.0 make every insert fail; once opened by us it passes. Nobody
/// else's trigger is touched.
#[test]
fn d22_broad_triggers_are_narrowed_once() {
    let (_dir, path) = temp();
    drop(open(&path).unwrap());
    let db = raw(&path);
    broaden(&db);
    db.execute_batch(
        "ALTER TABLE messages ADD COLUMN display_identity BLOB; ALTER TABLE messages ADD COLUMN display_order INTEGER;
         ALTER TABLE messages ADD COLUMN display_kind TEXT; CREATE TRIGGER theirs AFTER UPDATE ON messages BEGIN SELECT 1; END;
         UPDATE state_meta SET value = '8' WHERE key = 'hermes_tables_version';",
    )
    .unwrap();
    db.execute_batch(display_triggers()).unwrap();
    let error = use_it(&db).unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(ErrorCode::ConstraintViolation), "{error}");
    drop(db);
    let db = open(&path).unwrap();
    use_it(&db).unwrap();
    check_search(&db).unwrap();
    let before = objects_of(&db);
    for (name, text) in &before {
        let Some(text) = text.as_ref().filter(|_| name.ends_with("_update") && is_part(name)) else {
            continue;
        };
        assert!(text.contains("AFTER UPDATE OF content, tool_name, tool_calls, role ON messages"), "{text}");
    }
    assert!(before.iter().any(|(name, _)| name == "theirs"));
    assert_eq!(settle(&db).unwrap(), Settled::default());
    let (seen, shape) = (cookie(&db).unwrap(), before);
    drop(db);
    let db = open(&path).unwrap();
    assert_eq!((cookie(&db).unwrap(), objects_of(&db)), (seen, shape));
}

/// D22: one letter more and the trigger is somebody else's.
#[test]
fn d22_a_trigger_of_another_text_is_nobodys_of_ours() {
    let (_dir, path) = temp();
    drop(open(&path).unwrap());
    let db = raw(&path);
    broaden(&db);
    let other =
        broad(objects().find(|object| object.name == "messages_fts_update").unwrap()).replace("' '", "'  '");
    db.execute_batch(&format!("DROP TRIGGER messages_fts_update; {other}")).unwrap();
    drop(db);
    let db = open(&path).unwrap();
    let text = |name: &str| -> String {
        db.query_row("SELECT sql FROM sqlite_schema WHERE name = ?1", [name], |row| row.get(0)).unwrap()
    };
    assert_eq!(text("messages_fts_update"), other);
    assert!(text("messages_fts_trigram_update").contains(NARROW));
}

/// D22: an index whose tokenizer is not there is marked and let go, once; the others are kept.
#[test]
fn d22_an_index_without_its_tokenizer_is_let_go() {
    let (_dir, path) = temp();
    make(&path, &[V30, ROWS, fixtures::CJK]);
    let db = raw(&path);
    let error = use_it(&db).unwrap_err();
    assert!(error.to_string().contains("no such tokenizer: cjk_unicode61"), "{error}");
    drop(db);
    let before = objects_of(&raw(&path));
    for _ in 0..2 {
        let db = open(&path).unwrap();
        let after = objects_of(&db);
        let gone: Vec<&str> = before.difference(&after).map(|(name, _)| name.as_str()).collect();
        assert_eq!(gone, ["messages_fts_cjk_delete", "messages_fts_cjk_insert", "messages_fts_cjk_update"]);
        assert_eq!(after.difference(&before).count(), 0);
        assert!(has(&db, "state_meta WHERE key = 'fts_cjk_stale' AND value = '1'"));
        assert!(!has(&db, "state_meta WHERE key = 'fts_stale'"));
    }
    let db = open(&path).unwrap();
    use_it(&db).unwrap();
    check_search(&db).unwrap();
}

/// D22: 0.19.0 puts its triggers back on a newer file that waits for its index to be built anew, after which tool calls cannot be
/// stored by anybody. They go, and the file waits as before.
#[test]
fn d22_triggers_of_an_older_program_on_a_newer_index_go() {
    let (_dir, path) = temp();
    make(&path, &[V30, STALE, ROWS]);
    let before = objects_of(&raw(&path));
    let db = raw(&path);
    for object in objects().filter(|object| object.kind == "TRIGGER") {
        db.execute_batch(&broad(object)).unwrap();
    }
    db.execute_batch("DELETE FROM state_meta WHERE key = 'fts_stale'").unwrap();
    assert!(use_it(&db).is_err());
    drop(db);
    let db = open(&path).unwrap();
    assert_eq!(objects_of(&db), before);
    assert!(has(&db, "state_meta WHERE key = 'fts_stale' AND value = '1'"));
    use_it(&db).unwrap();
    rebuild_search(&db).unwrap();
    check_search(&db).unwrap();
}
