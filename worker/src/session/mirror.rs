//! `sessions/sessions.json`: the routing index as 0.19.0 reads it when it has no row for a key.
//!
//! 0.19.0 rewrites the file at every change. Here it follows lazily: changes are gathered for some seconds, and it is written
//! once more at the end; after a crash it may lag behind, and 0.19.0 then starts a new session for the keys it misses. It
//! holds the [`LIMIT`] keys used last. Entries that are only in the file (a moved home) are taken over when it is seen changed.

use std::io::{BufWriter, Write};
use std::os::unix::fs::MetadataExt;

use camino::Utf8Path;
use hermes_host::file;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use super::routing::{self, Scopes};

/// Keys in the file.
pub(crate) const LIMIT: u32 = 1000;

/// A larger file is not read: it is not one that 0.19.0 wrote.
const MAX_IMPORT: u64 = 64 * 1024 * 1024;

/// First entry of the file.
const README: &str =
    "Mirror of the routing index in state.db (table gateway_routing); written for older versions.";

/// What the file looked like when it was last read or written; kept in `state_meta`.
const SEEN_KEY: &str = "hermes_sessions_json_seen";

/// Writes the file anew, whole; 0600.
pub(crate) fn write(db: &Connection, scopes: &Scopes, path: &Utf8Path) -> rusqlite::Result<()> {
    let result = write_file(db, scopes, path);
    match result {
        Ok(()) => remember(db, path),
        Err(WriteError::Sql(error)) => Err(error),
        Err(WriteError::Io(error)) => {
            tracing::warn!(%path, %error, "cannot mirror the routing index");
            Ok(())
        }
    }
}

enum WriteError {
    Sql(rusqlite::Error),
    Io(std::io::Error),
}

impl From<rusqlite::Error> for WriteError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<std::io::Error> for WriteError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

fn write_file(db: &Connection, scopes: &Scopes, path: &Utf8Path) -> Result<(), WriteError> {
    let Some(folder) = path.parent() else { return Ok(()) };
    // Only the folder: a home that was removed must not come back.
    if let Err(e) = file::make_dir(folder, 0o700)
        && e.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(e.into());
    }
    let mut out = BufWriter::new(file::temporary(folder)?);
    write!(out, "{{\n  \"_README\": {}", Value::from(README))?;
    // By row id, which follows the last use; `+` keeps the planner from sorting the whole index instead.
    let mut select = db.prepare_cached(
        "SELECT session_key, entry_json FROM gateway_routing WHERE +scope IN (?1, ?2) ORDER BY rowid DESC LIMIT ?3",
    )?;
    let mut seen = std::collections::HashSet::new();
    let mut rows = select.query(params![scopes.own, scopes.upstream, LIMIT])?;
    while let Some(row) = rows.next()? {
        let (key, entry): (String, String) = (row.get(0)?, row.get(1)?);
        // Of a key's two rows the one used last.
        if seen.contains(&key) {
            continue;
        }
        let Ok(entry) = serde_json::from_str::<Value>(&entry) else { continue };
        // One that waits for its first conversation names none yet.
        if entry["session_id"] == "" {
            continue;
        }
        let indented = format!("{entry:#}").replace('\n', "\n  ");
        write!(out, ",\n  {}: {indented}", Value::from(key.as_str()))?;
        seen.insert(key);
    }
    write!(out, "\n}}")?;
    let file = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    Ok(file::put_in_place(file, path, 0o600, true)?)
}

/// Takes over entries for keys that no row knows, when the file changed since it was last seen.
pub(crate) fn import(db: &Connection, scopes: &Scopes, path: &Utf8Path) -> rusqlite::Result<usize> {
    let Some(stamp) = stamp(path) else { return Ok(0) };
    let seen: Option<String> = db
        .query_row("SELECT value FROM state_meta WHERE key = ?1", [SEEN_KEY], |row| row.get(0))
        .optional()?;
    if seen.as_deref() == Some(stamp.as_str()) {
        return Ok(0);
    }
    let too_large = fs_err::metadata(path).is_ok_and(|m| m.len() > MAX_IMPORT);
    let entries: Option<serde_json::Map<String, Value>> = (!too_large)
        .then(|| fs_err::read(path).ok())
        .flatten()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let Some(entries) = entries else {
        tracing::warn!(%path, "this is no routing index; it is ignored");
        return Ok(0);
    };
    let mut imported = 0;
    for (key, entry) in entries.iter().filter(|(key, entry)| !key.starts_with('_') && entry.is_object()) {
        if !routing::exists(db, scopes, key)? {
            // Older than anything written here: 0 sorts it behind every row.
            routing::put(db, scopes, key, entry, 0.0, false)?;
            imported += 1;
        }
    }
    remember(db, path)?;
    Ok(imported)
}

fn remember(db: &Connection, path: &Utf8Path) -> rusqlite::Result<()> {
    if let Some(stamp) = stamp(path) {
        db.execute("INSERT OR REPLACE INTO state_meta(key, value) VALUES (?1, ?2)", [SEEN_KEY, &stamp])?;
    }
    Ok(())
}

fn stamp(path: &Utf8Path) -> Option<String> {
    let metadata = fs_err::metadata(path).ok()?;
    Some(format!("{}.{}:{}", metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fixture() -> (tempfile::TempDir, Connection, Scopes, camino::Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let home = camino::Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        let scopes = Scopes::of(&"coder".parse().unwrap(), &home);
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE TABLE state_meta(key TEXT PRIMARY KEY, value TEXT);
             CREATE TABLE gateway_routing(scope TEXT, session_key TEXT, entry_json TEXT, updated_at REAL,
                PRIMARY KEY(scope, session_key));",
        )
        .unwrap();
        (dir, db, scopes, home.join("sessions/sessions.json"))
    }

    #[test]
    fn what_is_written_is_read_back_once() {
        let (_dir, db, scopes, path) = fixture();
        routing::put(
            &db,
            &scopes,
            "agent:coder:x:dm:1",
            &json!({"session_id": "a", "n": {"x": 1}}),
            1.0,
            false,
        )
        .unwrap();
        routing::put(&db, &scopes, "agent:coder:x:dm:2", &json!({"session_id": "b"}), 2.0, true).unwrap();
        write(&db, &scopes, &path).unwrap();
        let text = fs_err::read_to_string(&path).unwrap();
        assert!(text.starts_with("{\n  \"_README\": \""), "{text}");
        assert!(text.contains("\n    \"session_id\": \"a\""), "{text}");
        let read: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(read.len(), 3);
        assert_eq!(format!("{:#}", Value::Object(read)), text);

        assert_eq!(import(&db, &scopes, &path).unwrap(), 0, "own writing is not read");
        db.execute_batch("DELETE FROM gateway_routing; DELETE FROM state_meta").unwrap();
        assert_eq!(import(&db, &scopes, &path).unwrap(), 2);
        assert_eq!(import(&db, &scopes, &path).unwrap(), 0);
        let found = routing::find(&db, &scopes, "agent:coder:x:dm:1").unwrap().unwrap();
        assert_eq!(found.session_id(), Some("a"));
    }

    #[test]
    fn entries_of_0_19_0s_scope_are_honoured_and_kept_in_step() {
        let (_dir, db, scopes, _path) = fixture();
        let key = "agent:main:x:dm:1";
        db.execute(
            "INSERT INTO gateway_routing VALUES (?1, ?2, ?3, 5.0)",
            [scopes.upstream.as_str(), key, r#"{"session_id": "old", "model_override": {"model": "m"}}"#],
        )
        .unwrap();
        let found = routing::find(&db, &scopes, key).unwrap().unwrap();
        assert_eq!((found.session_id(), found.in_upstream_scope), (Some("old"), true));
        routing::put(&db, &scopes, key, &json!({"session_id": "new"}), 6.0, true).unwrap();
        let rows: i64 = db
            .query_row("SELECT count(*) FROM gateway_routing WHERE entry_json LIKE '%new%'", [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(rows, 2);
    }

    #[test]
    fn ids_that_could_be_paths_name_no_session() {
        for id in ["../x", "a/b", "a\\b", ""] {
            let found = routing::Found { entry: json!({ "session_id": id }), in_upstream_scope: false };
            assert_eq!(found.session_id(), None, "{id}");
        }
    }
}
