//! A `state.db` as newer releases of the Python program leave it, from `tests/fixtures/state`, for the worker's own tests.

use camino::Utf8Path;
use rusqlite::Connection;

/// The whole schema of a new file.
pub(crate) const V30: &str = include_str!("../../../tests/fixtures/state/v30.sql");
/// Rows for it.
pub(crate) const ROWS: &str = include_str!("../../../tests/fixtures/state/v30-rows.sql");
/// Before the rows: the base index reads `messages` itself.
pub(crate) const LAYOUT_1: &str = include_str!("../../../tests/fixtures/state/layout-1.sql");
/// Before the rows: both indexes are detached.
pub(crate) const STALE: &str = include_str!("../../../tests/fixtures/state/fts-stale.sql");
/// Before the rows: made where SQLite knows no trigrams.
pub(crate) const NO_TRIGRAM: &str = include_str!("../../../tests/fixtures/state/no-trigram.sql");
/// Before the rows: 4 to 10 are in no index yet.
pub(crate) const REBUILDING: &str = include_str!("../../../tests/fixtures/state/rebuilding.sql");
/// Before the rows: began at schema 22 and was never converted.
pub(crate) const INLINE: &str = include_str!("../../../tests/fixtures/state/inline.sql");
/// Behind the rows: an index whose tokenizer is not there.
pub(crate) const CJK: &str = include_str!("../../../tests/fixtures/state/cjk.sql");
/// Behind the rows: some prompts are inline still.
pub(crate) const MIXED_PROMPTS: &str = include_str!("../../../tests/fixtures/state/mixed-prompts.sql");

/// Makes a file with these scripts.
pub(crate) fn make(path: &Utf8Path, scripts: &[&str]) {
    let db = Connection::open(path).unwrap();
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON").unwrap();
    for script in scripts {
        db.execute_batch(script).unwrap();
    }
}

/// Has both indexes compare themselves with the rows that they index.
pub(crate) fn check_search(db: &Connection) -> rusqlite::Result<()> {
    for index in ["messages_fts", "messages_fts_trigram"] {
        if db.query_row("SELECT count(*) FROM sqlite_schema WHERE name = ?1", [index], |row| row.get(0))? {
            db.execute_batch(&format!("INSERT INTO {index}({index}, rank) VALUES ('integrity-check', 1)"))?;
        }
    }
    Ok(())
}

/// Builds both indexes anew, as the newer program does where it finds them stale.
pub(crate) fn rebuild_search(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(
        "INSERT INTO messages_fts(messages_fts) VALUES ('rebuild');
         INSERT INTO messages_fts_trigram(messages_fts_trigram) VALUES ('rebuild');",
    )
}

/// The scripts fit together, and the indexes of the whole ones are whole.
#[test]
fn every_shape_is_what_it_says() {
    for (scripts, whole) in [
        (&[V30, ROWS][..], true),
        (&[V30, LAYOUT_1, ROWS], true),
        (&[V30, STALE, ROWS], false),
        (&[V30, NO_TRIGRAM, ROWS], true),
        (&[V30, REBUILDING, ROWS], false),
        (&[V30, INLINE, ROWS], true),
        (&[V30, ROWS, CJK], true),
        (&[V30, ROWS, MIXED_PROMPTS], true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("state.db");
        make(&path, scripts);
        let db = Connection::open(&path).unwrap();
        assert_eq!(check_search(&db).is_ok(), whole);
        if !whole {
            rebuild_search(&db).unwrap();
            check_search(&db).unwrap();
        }
        let broken: i64 =
            db.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0)).unwrap();
        assert_eq!(broken, 0);
    }
}
