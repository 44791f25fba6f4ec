//! Opening the file and bringing its schema up to what we need, without ever taking anything away.
//!
//! `schema_v22.sql` is the schema as 0.19.0's own file shows it, statement by statement, each ended by ` ;` at a line's end; only its
//! update triggers are narrower ([`search`]). Files that we make are of that version, so that 0.19.0 and every newer program open them.
//! After a completed check the file's schema cookie is kept in `state_meta`; while it is unchanged, opening looks no further.
//!
//! Files of schemas 23 to 30 are continued, and stay what they are: their version, their indexes and their search are their
//! program's, and what is made in them is tables that we write to. What such a file has more is for [`crate::session`] to know.

pub(crate) mod search;

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, params};

use super::{StoreError, files, identity};

/// 0.19.0's schema.
const SCHEMA: &str = include_str!("schema_v22.sql");
/// Its version, and that of the files that we make.
const VERSION: i64 = 22;
/// Newest version that is written to.
const NEWEST: i64 = hermes_host::database::STATE_SCHEMA;
/// Our tables.
const OURS: &str = include_str!("ours.sql");
/// Their version.
const OURS_VERSION: i64 = 16;
/// Columns of our tables that their first versions did not have.
const ADDED: [(&str, &str, &str); 22] = [
    ("hermes_inbox", "suspect", "INTEGER NOT NULL DEFAULT 0"),
    ("hermes_inbox", "postponed", "INTEGER NOT NULL DEFAULT 0"),
    ("hermes_inbox", "postponed_at", "REAL"),
    ("hermes_inbox", "due_at", "REAL"),
    ("hermes_inbox", "fault", "TEXT"),
    ("hermes_inbox", "taken_down", "INTEGER NOT NULL DEFAULT 0"),
    ("hermes_inbox", "busy", "TEXT"),
    ("hermes_delivery", "lane", "TEXT NOT NULL DEFAULT ''"),
    ("hermes_delivery", "key", "TEXT NOT NULL DEFAULT ''"),
    ("hermes_delivery", "sent", "INTEGER NOT NULL DEFAULT 0"),
    ("hermes_delivery", "ambiguous", "INTEGER NOT NULL DEFAULT 0"),
    ("hermes_delivery", "message_id", "TEXT"),
    ("hermes_delivery", "preview_id", "TEXT"),
    ("hermes_delivery", "fresh", "INTEGER NOT NULL DEFAULT 0"),
    ("hermes_delivery", "file", "TEXT"),
    ("hermes_delivery", "form", "INTEGER NOT NULL DEFAULT 0"),
    ("hermes_delivery", "asked", "INTEGER NOT NULL DEFAULT 0"),
    ("hermes_inbox", "preview_id", "TEXT"),
    ("hermes_inbox", "preview_at", "REAL"),
    ("hermes_lease", "conversation_id", "TEXT"),
    ("hermes_lease", "holder", "TEXT"),
    ("hermes_run", "steers", "TEXT"),
];
/// By which newer programs keep two of them from running a turn in one session; see `turn/lease.rs`. 0.19.0 has no such table and leaves
/// it alone. Where one is there it stays as it is, whatever its columns.
const TURN_LEASES: &str = "CREATE TABLE session_turn_leases (
        conversation_id TEXT PRIMARY KEY,
        holder TEXT NOT NULL,
        acquired_at REAL NOT NULL,
        expires_at REAL NOT NULL
    );
    CREATE INDEX IF NOT EXISTS idx_session_turn_leases_expires ON session_turn_leases(expires_at);";
/// Where rows of messages wait until they are inserted together; of this connection, in memory. See `session/history.rs`.
const STAGE: &str = "CREATE TEMP TABLE hermes_staged (session_id, role, content, timestamp, finish_reason, tool_calls, tool_call_id,
    tool_name, reasoning, active, reasoning_details, codex_reasoning_items, identity, observed)";
/// Key of that version in `state_meta`.
const OURS_KEY: &str = "hermes_tables_version";
/// Key of the schema cookie after the last check.
const COOKIE_KEY: &str = "hermes_schema_cookie";

/// Statements that stay prepared; the whole set of a busy worker.
const STATEMENTS: usize = 96;
/// One try of SQLite's own waiting; the writer repeats with jitter.
const BUSY_STEP: Duration = Duration::from_millis(250);
/// Patience while opening.
const BUSY_OPEN: Duration = Duration::from_secs(10);

/// Opens, checks, completes.
pub(crate) fn open(path: &Utf8Path) -> Result<Connection, StoreError> {
    let io = |source| StoreError::Io { path: path.to_owned(), source: Arc::new(source) };
    let sql = |source| StoreError::opening(path, source);
    match fs_err::metadata(path) {
        Ok(metadata) => protect(path, &metadata),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => create(path, sql, io)?,
        Err(e) => return Err(io(e)),
    }
    let had_log = fs_err::metadata(format!("{path}-wal")).is_ok_and(|log| log.len() > 0);
    let mut db = connect(path).map_err(sql)?;
    if let Some(newer) = newer(&db, path).map_err(sql)? {
        // Closing as the last one would write a log that the newer program left into its file.
        if had_log {
            files::close_untouched(db);
        }
        return Err(newer);
    }
    if db.is_readonly(rusqlite::MAIN_DB).map_err(sql)? {
        return Err(StoreError::ReadOnly { path: path.to_owned() });
    }
    if !is_checked(&db) {
        if let Some(found) = foreign(&db).map_err(sql)? {
            return Err(StoreError::Foreign { path: path.to_owned(), found });
        }
        complete(&mut db).map_err(sql)?;
    }
    to_wal(&db).map_err(sql)?;
    db.execute_batch(STAGE).map_err(sql)?;
    db.busy_timeout(BUSY_STEP).map_err(sql)?;
    Ok(db)
}

fn connect(path: &Utf8Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    // Plans must not depend on bound values: otherwise statements are prepared anew at every use.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    db.busy_timeout(BUSY_OPEN)?;
    // The size limit lets the log shrink back after a burst.
    db.execute_batch(
        "PRAGMA cache_size = -2048; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = ON;
         PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 4194304;",
    )?;
    Ok(db)
}

/// Makes the file beside its place, without a sync per step, and links it there: it is complete or absent, and never replaces one
/// that another process made meanwhile.
fn create(
    path: &Utf8Path,
    sql: impl Fn(rusqlite::Error) -> StoreError,
    io: impl Fn(std::io::Error) -> StoreError,
) -> Result<(), StoreError> {
    let temp = Utf8PathBuf::from(format!("{path}.{}.new", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    // Journals that SQLite makes beside it get its owner.
    let file = hermes_host::file::open_or_create(&temp, &options).map_err(&io)?;
    let made = connect(&temp).and_then(|mut db| {
        db.execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY;")?;
        complete(&mut db)?;
        // Here none of this waits for the disk, as it would in the file's own place. What the file system allows is asked there.
        identity::settle(&db, path.parent().unwrap_or(path))?;
        db.execute_batch("PRAGMA journal_mode = WAL")
    });
    let linked = made.map_err(sql).and_then(|()| {
        file.sync_all().map_err(&io)?;
        match fs_err::hard_link(&temp, path) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            // No hard links here; a second process that creates it in this instant is not to be expected.
            Err(_) => fs_err::rename(&temp, path).map_err(&io),
            Ok(()) => Ok(()),
        }
    });
    let _moved = fs_err::remove_file(&temp);
    linked
}

/// Keeps others from reading a file that an older version made.
#[cfg(unix)]
fn protect(path: &Utf8Path, metadata: &std::fs::Metadata) {
    use std::os::unix::fs::PermissionsExt;
    if metadata.permissions().mode() & 0o077 != 0
        && let Err(error) = fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o600))
    {
        tracing::warn!(%error, "others can read the database");
    }
}

#[cfg(not(unix))]
fn protect(_path: &Utf8Path, _metadata: &std::fs::Metadata) {}

/// 20 to 150 ms, different each time: two waiting processes must not meet again.
pub(super) fn jitter() -> Duration {
    Duration::from_millis(20 + RandomState::new().hash_one(()) % 131)
}

fn to_wal(db: &Connection) -> rusqlite::Result<()> {
    let mode: String = db.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    if mode != "wal" {
        // A network file system refuses and stays with its journal; SQLite answers with the mode that holds.
        let mode: String = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            tracing::warn!(mode, "the file system allows no write-ahead log; commits will be slower");
        }
    }
    Ok(())
}

/// Whether the schema is the one that was last found complete.
fn is_checked(db: &Connection) -> bool {
    let seen = db.query_row(
        "SELECT (SELECT CAST(value AS INTEGER) FROM state_meta WHERE key = ?1),
                (SELECT CAST(value AS INTEGER) FROM state_meta WHERE key = ?2)",
        [OURS_KEY, COOKIE_KEY],
        |row| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?)),
    );
    matches!((seen, cookie(db)), (Ok((Some(ours), Some(seen))), Ok(now)) if ours >= OURS_VERSION && seen == now)
}

/// The counter when the schema was last found complete.
pub(super) fn checked_cookie(db: &Connection) -> rusqlite::Result<Option<i64>> {
    let key = "SELECT CAST(value AS INTEGER) FROM state_meta WHERE key = ?1";
    Ok(db.query_row(key, [COOKIE_KEY], |row| row.get(0)).optional()?.flatten())
}

/// SQLite's counter of schema changes.
pub(super) fn cookie(db: &Connection) -> rusqlite::Result<i64> {
    db.prepare_cached("PRAGMA schema_version")?.query_row([], |row| row.get(0))
}

/// The error where a newer program made this database, or has migrated it since it was opened.
pub(super) fn newer(db: &Connection, path: &Utf8Path) -> rusqlite::Result<Option<StoreError>> {
    let version = match db.prepare_cached("SELECT max(version) FROM schema_version") {
        Ok(mut select) => select.query_row([], |row| row.get::<_, Option<i64>>(0))?,
        // A file without that table is older, empty or foreign.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::Unknown) => None,
        Err(error) => return Err(error),
    };
    let newer = version.filter(|version| *version > NEWEST);
    Ok(newer.map(|version| StoreError::Newer { path: path.to_owned(), version, known: NEWEST }))
}

/// What this database is, when it is none of ours.
fn foreign(db: &Connection) -> rusqlite::Result<Option<String>> {
    let names = names(db)?;
    if names.is_empty() {
        return Ok(None);
    }
    let known = ["sessions", "messages", "schema_version", "state_meta", "gateway_routing"];
    if !known.iter().any(|name| names.contains(*name)) {
        let shown: Vec<&str> = names.iter().take(3).map(String::as_str).collect();
        return Ok(Some(format!("its tables are {}, …", shown.join(", "))));
    }
    for (table, needed) in
        [("sessions", ["id", "source", "started_at"]), ("messages", ["id", "session_id", "role"])]
    {
        if names.contains(table) {
            let columns = columns(db, table)?;
            if let Some(missing) = needed.iter().find(|column| !columns.contains(**column)) {
                return Ok(Some(format!("its table {table} has no column {missing}")));
            }
        }
    }
    Ok(None)
}

fn names(db: &Connection) -> rusqlite::Result<BTreeSet<String>> {
    db.prepare("SELECT name FROM sqlite_master")?.query_map([], |row| row.get(0))?.collect()
}

fn columns(db: &Connection, table: &str) -> rusqlite::Result<BTreeSet<String>> {
    db.prepare("SELECT name FROM pragma_table_info(?1)")?.query_map([table], |row| row.get(0))?.collect()
}

/// One statement of the schema file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Object<'a> {
    sql: &'a str,
    /// `TABLE`, `INDEX`, `UNIQUE`, `VIRTUAL`, `TRIGGER`
    kind: &'a str,
    name: &'a str,
}

/// The statements, in the order in which they can run. Those that SQLite makes by itself are left out: `sqlite_*`, and the
/// shadow tables of the search index, which are the only ones with a quoted name.
fn objects() -> impl Iterator<Item = Object<'static>> {
    SCHEMA.split(" ;\n").map(str::trim).filter_map(|sql| {
        let mut words = sql.split(|c: char| c.is_whitespace() || c == '(').filter(|word| !word.is_empty());
        let kind = words.nth(1)?;
        let name = words.find(|word| !matches!(*word, "INDEX" | "TABLE"))?;
        (!name.starts_with('\'') && !name.starts_with("sqlite_")).then_some(Object { sql, kind, name })
    })
}

/// Creates what is missing, in one transaction.
fn complete(db: &mut Connection) -> rusqlite::Result<()> {
    let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let have = names(&tx)?;
    let version = if have.contains("schema_version") {
        tx.query_row("SELECT max(version) FROM schema_version", [], |row| row.get::<_, Option<i64>>(0))?
    } else {
        None
    };
    let is_newer = version.is_some_and(|version| version > VERSION) || search::is_newer(&tx, &have)?;
    let makes_search = have.is_empty() || (!is_newer && search::is_ours(&tx, &have)?);
    for table in objects().filter(|o| o.kind == "TABLE" && have.contains(o.name)) {
        add_columns(&tx, table)?;
    }
    for object in objects().filter(|o| !have.contains(o.name)) {
        let wanted = match object.kind {
            "TABLE" => true,
            _ if search::is_part(object.name) => makes_search,
            // An index that a newer program has no more was in its way.
            _ => !is_newer,
        };
        if !wanted {
            continue;
        }
        match tx.execute_batch(object.sql) {
            // Titles that stand twice in an old file: 0.19.0 says which session keeps its, and makes the index.
            Err(error) if object.kind == "UNIQUE" && is_constraint(&error) => continue,
            made => made?,
        }
        if object.kind == "VIRTUAL" && have.contains("messages") {
            tx.execute_batch(&search::filling(object.name))?;
        }
    }
    if !have.is_empty() {
        search::settle(&tx)?.log(tx.path().unwrap_or_default());
    }
    // A newer program that is making the file just now writes its own.
    if version.is_none() && !is_newer {
        tx.execute("INSERT INTO schema_version(version) VALUES (?1)", [VERSION])?;
    }
    for (table, name, definition) in ADDED {
        if have.contains(table) && !columns(&tx, table)?.contains(name) {
            tx.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {name} {definition}"))?;
        }
    }
    tx.execute_batch(OURS)?;
    if !have.contains("session_turn_leases") {
        tx.execute_batch(TURN_LEASES)?;
    }
    tx.execute(
        "INSERT INTO state_meta(key, value) VALUES (?1, ?2)
         ON CONFLICT(key) DO UPDATE SET value = excluded.value WHERE CAST(value AS INTEGER) < ?3",
        params![OURS_KEY, OURS_VERSION.to_string(), OURS_VERSION],
    )?;
    let cookie = cookie(&tx)?;
    tx.execute(
        "INSERT INTO state_meta(key, value) VALUES (?1, ?2) ON CONFLICT(key) DO UPDATE SET value = excluded.value",
        params![COOKIE_KEY, cookie.to_string()],
    )?;
    tx.commit()
}

fn is_constraint(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}

/// Adds columns that an older version of the table lacks. Its version stays: 0.19.0 migrates the data when it opens the file.
fn add_columns(db: &Connection, table: Object<'_>) -> rusqlite::Result<()> {
    let have = columns(db, table.name)?;
    for line in table.sql.lines().skip(1) {
        let definition = line.trim().trim_end_matches(',');
        let Some(name) = definition.split_whitespace().next() else { continue };
        let is_column = name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        if is_column && !have.contains(name) {
            db.execute_batch(&format!("ALTER TABLE {} ADD COLUMN {definition}", table.name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
