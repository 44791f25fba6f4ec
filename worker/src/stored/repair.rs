//! A database that is looked over, and mended where that can be done.
//!
//! ```text
//!   look over ──▶ whole
//!       └──────▶ copy ──▶ mend in place ──▶ look over ──▶ whole
//!                                               └──────▶ what can be read into a new file ──▶ in its place
//! ```
//!
//! Looking changes nothing. Before anything is changed there is a copy of the file beside it, page by page, which stays. No row is ever
//! removed: messages of a session that is not there get one, an index is made anew from the messages, and what a new file lacks because a
//! page could not be read is counted, and is in the copy still.
//!
//! An index that a newer program made is that program's to make anew ([`crate::store`] says why): it is told and left.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::clock;
use hermes_wire::ProfileHome;
use rusqlite::backup::Backup;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};

use super::look::{Look, Unread};
use crate::store::{self, StoreError};

/// Most faults of one kind that are named.
const NAMED: usize = 10;
/// Patience with somebody who closes the file at the moment.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pages of a copy that are made in one go.
const PAGES: i32 = 1024;
/// Source of sessions that are made for messages without one.
const RECOVERED: &str = "recovered";

/// What is wrong with a database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// Pages, indexes and values that are not as they should be, in SQLite's words.
    pub damage: Vec<String>,
    /// Sessions that are not there and have messages.
    pub orphans: u64,
    /// Messages that are in no search index, or are not those that are in it.
    pub unindexed: u64,
    /// A search index that is not there, or is not kept up to date.
    pub no_index: bool,
    /// The search index is a newer program's, or would be.
    pub foreign_index: bool,
}

impl Faults {
    /// Whether nothing is wrong. Whose the index is, is no fault.
    pub fn is_none(&self) -> bool {
        Self { foreign_index: false, ..self.clone() } == Self::default()
    }

    /// Whether nothing is wrong that could be mended here.
    pub fn is_left(&self) -> bool {
        let rest = Self { no_index: false, unindexed: 0, ..self.clone() };
        self.foreign_index && rest.is_none()
    }
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    /// The copy from before.
    pub copy: Utf8PathBuf,
    /// Sessions that were made for messages without one.
    pub adopted: u64,
    /// The search indexes were made anew.
    pub reindexed: bool,
    /// Rows that went into a new file, where one had to be made.
    pub saved: Option<u64>,
    /// Tables of which not every row could be read.
    pub incomplete: Vec<String>,
    /// What is still wrong.
    pub left: Faults,
}

/// Why nothing was mended.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// It cannot be looked at.
    #[error(transparent)]
    Unread(#[from] Unread),
    /// The copy could not be made.
    #[error("cannot make the copy `{copy}`, so nothing was changed")]
    Copy {
        /// The copy.
        copy: Utf8PathBuf,
        /// Why not.
        source: rusqlite::Error,
    },
    /// Somebody has the file open.
    #[error("`{path}` is in use")]
    InUse {
        /// The file.
        path: Utf8PathBuf,
    },
    /// The file cannot be opened to write.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A change failed.
    #[error("cannot mend `{path}`; the copy `{copy}` is as it was")]
    Mend {
        /// The file.
        path: Utf8PathBuf,
        /// The copy.
        copy: Utf8PathBuf,
        /// Why not.
        source: rusqlite::Error,
    },
    /// The new file did not get its place.
    #[error("cannot put the new file in the place of `{path}`; the copy `{copy}` is as it was")]
    Place {
        /// The file.
        path: Utf8PathBuf,
        /// The copy.
        copy: Utf8PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl Look {
    /// Everything that is wrong. Reads every page.
    pub fn faults(&self) -> Result<Faults, Unread> {
        self.read(|db| {
            let mut faults = Faults { damage: damage(db), ..Faults::default() };
            if !self.tables.contains("messages") || !self.tables.contains("sessions") {
                return Ok(faults);
            }
            let count = |sql: &str| -> u64 {
                // A page that cannot be read is damage, which is told already.
                db.query_row(sql, [], |row| row.get::<_, i64>(0)).map_or(0, i64::unsigned_abs)
            };
            faults.orphans = count(
                "SELECT count(DISTINCT session_id) FROM messages WHERE session_id NOT IN (SELECT id FROM sessions)",
            );
            faults.foreign_index = self.has_foreign_index(db);
            for index in store::INDEXES {
                if !self.is_believed(index)? {
                    faults.no_index = true;
                } else if !faults.foreign_index {
                    faults.unindexed += count(&format!(
                        "SELECT (SELECT count(*) FROM messages WHERE id NOT IN (SELECT id FROM {index}_docsize))
                              + (SELECT count(*) FROM {index}_docsize WHERE id NOT IN (SELECT id FROM messages))"
                    ));
                }
            }
            Ok(faults)
        })
    }

    /// Whether a newer program made the search index, or has a part in it.
    fn has_foreign_index(&self, db: &Connection) -> bool {
        let has = |sql: &str| db.query_row(sql, [], |row| row.get::<_, bool>(0)).unwrap_or(true);
        self.tables.contains("system_prompts")
            || has("SELECT EXISTS (SELECT 1 FROM pragma_table_info('messages_fts') WHERE name = 'tool_name')")
            || has("SELECT EXISTS (SELECT 1 FROM pragma_table_info('messages') WHERE name = 'display_kind')")
    }
}

/// What SQLite finds.
fn damage(db: &Connection) -> Vec<String> {
    let look = || -> rusqlite::Result<Vec<String>> {
        db.prepare(&format!("PRAGMA integrity_check({NAMED})"))?.query_map([], |row| row.get(0))?.collect()
    };
    match look() {
        Ok(said) => said.into_iter().filter(|line| line != "ok").collect(),
        Err(error) => vec![error.to_string()],
    }
}

/// Mends `faults`, with a copy from before beside the file. Blocks for as long as reading everything takes.
pub fn mend(home: &ProfileHome, faults: &Faults) -> Result<Mended, RepairError> {
    let path = home.state_db();
    let copy =
        Utf8PathBuf::from(format!("{path}.before-repair-{}", clock::local().strftime("%Y%m%d-%H%M%S")));
    copied(&path, &copy)?;
    let mending = |source| RepairError::Mend { path: path.clone(), copy: copy.clone(), source };
    let mut done = Mended {
        copy: copy.clone(),
        adopted: 0,
        reindexed: false,
        saved: None,
        incomplete: Vec::new(),
        left: Faults::default(),
    };
    let needs_index = faults.no_index || faults.unindexed > 0 || !faults.damage.is_empty();
    let in_place = in_place(&path, needs_index, &mut done);
    let left = faults_of(home);
    // A new file would have none of what a newer program has in its own.
    if in_place.is_ok()
        && let Ok(left) = &left
        && (left.damage.is_empty() || left.foreign_index)
    {
        done.left = left.clone();
        return Ok(done);
    }
    if let (Err(error), true) = (in_place, faults.foreign_index) {
        return Err(error);
    }
    let new = Utf8PathBuf::from(format!("{path}.{}.repair", std::process::id()));
    match save(&path, &new, &mut done) {
        Ok(rows) => {
            done.saved = Some(rows);
            let placed = place(&new, &path);
            placed.map_err(|source| RepairError::Place { path: path.clone(), copy: copy.clone(), source })?;
        }
        Err(error) => {
            let _unfinished = fs_err::remove_file(&new);
            return Err(match error {
                Unsaved::Store(error) => error.into(),
                Unsaved::Sqlite(source) => mending(source),
            });
        }
    }
    in_place_again(&path, &mut done).map_err(mending)?;
    done.left = faults_of(home)?;
    Ok(done)
}

fn faults_of(home: &ProfileHome) -> Result<Faults, Unread> {
    Look::into(home)?.map_or_else(|| Ok(Faults::default()), |look| look.faults())
}

/// Copies the file page by page, with what is in its log, damaged or not.
fn copied(path: &Utf8Path, copy: &Utf8Path) -> Result<(), RepairError> {
    let failed = |source| RepairError::Copy { copy: copy.to_owned(), source };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let from = Connection::open_with_flags(path, flags).map_err(failed)?;
    from.busy_timeout(PATIENCE).map_err(failed)?;
    // Nobody may have it open: what they hold in memory would be written over what is mended.
    let alone = from
        .query_row("PRAGMA locking_mode = EXCLUSIVE", [], |_| Ok(()))
        .and_then(|()| from.execute_batch("BEGIN EXCLUSIVE; COMMIT"));
    if let Err(error) = alone
        && store::is_busy(&error)
    {
        return Err(RepairError::InUse { path: path.to_owned() });
    }
    let mut to = Connection::open(copy).map_err(failed)?;
    let _as_far_as_possible = fs_err::set_permissions(copy, std::fs::Permissions::from_mode(0o600));
    let made =
        Backup::new(&from, &mut to).and_then(|backup| backup.run_to_completion(PAGES, Duration::ZERO, None));
    drop((to, from));
    if let Err(source) = made {
        // What SQLite cannot take for a database is copied as a file.
        fs_err::copy(path, copy).map_err(|_| failed(source))?;
    }
    Ok(())
}

/// What can be mended where it is.
fn in_place(path: &Utf8Path, needs_index: bool, done: &mut Mended) -> Result<(), RepairError> {
    let failed = |source| RepairError::Mend { path: path.to_owned(), copy: done.copy.clone(), source };
    let db = store::open_database(path)?;
    let worked = db.execute_batch("BEGIN IMMEDIATE").and_then(|()| {
        let adopted = adopt(&db)?;
        // An index of a table is made of the table.
        db.execute_batch("REINDEX")?;
        let reindexed = needs_index && store::rebuild_search(&db)?;
        db.execute_batch("COMMIT")?;
        Ok((adopted, reindexed))
    });
    match worked {
        Ok((adopted, reindexed)) => {
            (done.adopted, done.reindexed) = (adopted, reindexed);
            Ok(())
        }
        Err(source) => {
            let _taken_back = db.execute_batch("ROLLBACK");
            Err(failed(source))
        }
    }
}

/// The same in a file that was just made.
fn in_place_again(path: &Utf8Path, done: &mut Mended) -> rusqlite::Result<()> {
    let db = Connection::open(path)?;
    db.execute_batch("BEGIN IMMEDIATE")?;
    // As in every file: where two titles are the same there is no such index.
    let _two_are_the_same = db.execute_batch(
        "SAVEPOINT titles; CREATE UNIQUE INDEX IF NOT EXISTS idx_sessions_title_unique ON sessions(title) WHERE title IS NOT NULL; RELEASE titles",
    );
    done.adopted = adopt(&db)?;
    done.reindexed = store::rebuild_search(&db)?;
    db.execute_batch("COMMIT")
}

/// Makes a session for messages whose own is not there.
fn adopt(db: &Connection) -> rusqlite::Result<u64> {
    db.execute(
        "INSERT INTO sessions(id, source, started_at, ended_at, end_reason, message_count)
         SELECT session_id, ?1, COALESCE(min(timestamp), 0.0), max(timestamp), ?1, count(*) FROM messages
         WHERE session_id NOT IN (SELECT id FROM sessions) GROUP BY session_id",
        [RECOVERED],
    )
    .map(|rows| u64::try_from(rows).unwrap_or(u64::MAX))
}

/// Why no new file was made.
enum Unsaved {
    Store(StoreError),
    Sqlite(rusqlite::Error),
}

impl From<StoreError> for Unsaved {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<rusqlite::Error> for Unsaved {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Reads what can be read into a new file, and counts it.
fn save(path: &Utf8Path, new: &Utf8Path, done: &mut Mended) -> Result<u64, Unsaved> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let old = Connection::open_with_flags(path, flags)?;
    let _stale = fs_err::remove_file(new);
    let db = store::open_database(new)?;
    // Nothing may be refused: neither a second title, nor a row whose session comes later.
    db.execute_batch(
        "PRAGMA foreign_keys = OFF; PRAGMA synchronous = OFF; BEGIN IMMEDIATE; DROP INDEX IF EXISTS idx_sessions_title_unique",
    )?;
    let mut saved = 0;
    for (table, sql) in tables(&old)? {
        let there: bool = db.query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)",
            [&table],
            |row| row.get(0),
        )?;
        if !there {
            db.execute_batch(&sql)?;
        }
        // What the new file was made with is not what was there.
        db.execute_batch(&format!("DELETE FROM \"{table}\""))?;
        let (rows, is_whole) = save_table(&old, &db, &table)?;
        saved += rows;
        if !is_whole {
            done.incomplete.push(table);
        }
    }
    // The schema is not what that was said of.
    db.execute("DELETE FROM state_meta WHERE key = 'hermes_schema_cookie'", [])?;
    db.execute_batch("COMMIT; PRAGMA synchronous = FULL; PRAGMA wal_checkpoint(TRUNCATE)")?;
    Ok(saved)
}

/// Tables with rows of their own, as far as the schema can be read.
fn tables(db: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    db.prepare(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 AND sql IS NOT NULL
                AND name NOT LIKE 'messages_fts%' AND name NOT LIKE 'sqlite_%'",
    )?
    .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
    .collect()
}

/// Copies the rows of a table from both ends, up to where a page cannot be read. Whether these are all.
fn save_table(old: &Connection, new: &Connection, table: &str) -> rusqlite::Result<(u64, bool)> {
    let names = |db: &Connection| -> rusqlite::Result<Vec<String>> {
        db.prepare("SELECT name FROM pragma_table_info(?1)")?.query_map([table], |row| row.get(0))?.collect()
    };
    let have = names(new)?;
    // A column that is not ours to know is made, so that nothing of a row is lost.
    for name in names(old)?.iter().filter(|name| !have.contains(name)) {
        new.execute_batch(&format!("ALTER TABLE \"{table}\" ADD COLUMN \"{name}\""))?;
    }
    let columns = names(old)?;
    let list = columns.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    let marks = vec!["?"; columns.len()].join(", ");
    let mut insert = new.prepare(&format!("INSERT OR IGNORE INTO \"{table}\"({list}) VALUES ({marks})"))?;
    let mut saved = 0;
    let has_ids = old.prepare(&format!("SELECT rowid FROM \"{table}\" LIMIT 0")).is_ok();
    let orders: &[&str] = if has_ids { &["ORDER BY rowid", "ORDER BY rowid DESC"] } else { &[""] };
    for order in orders {
        let Ok(mut select) = old.prepare(&format!("SELECT {list} FROM \"{table}\" {order}")) else {
            return Ok((saved, false));
        };
        let mut rows = select.query([])?;
        // From the first end nothing is there yet, so what is not taken is a row that cannot stand in such a table.
        let (mut read, mut taken) = (0, 0);
        let is_whole = loop {
            match rows.next() {
                Ok(Some(row)) => {
                    let values: Vec<Value> =
                        (0..columns.len()).map(|at| row.get::<_, Value>(at)).collect::<Result<_, _>>()?;
                    read += 1;
                    taken += u64::try_from(insert.execute(params_from_iter(values))?).unwrap_or_default();
                }
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        saved += taken;
        if is_whole {
            return Ok((saved, read == taken));
        }
    }
    Ok((saved, false))
}

/// Puts the new file into the old one's place. Its log belongs to it and goes first.
fn place(new: &Utf8Path, path: &Utf8Path) -> std::io::Result<()> {
    for end in ["-wal", "-shm"] {
        for file in [new, path] {
            if let Err(error) = fs_err::remove_file(format!("{file}{end}"))
                && error.kind() != std::io::ErrorKind::NotFound
            {
                return Err(error);
            }
        }
    }
    fs_err::rename(new, path)
}
