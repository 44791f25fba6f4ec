//! Whether the files that are open are still the ones that their names lead to.
//!
//! SQLite keeps its descriptors for the life of a connection, so the numbers noted when it was opened belong to these files until it
//! is closed: another number under a name is another file. What is committed into a file without a name is gone with the process, and
//! what two processes write through two logs into one file damages it. So the writer looks before each transaction, and again before
//! it tells anybody that something is on disk.
//!
//! Nothing here opens the files: closing a second descriptor would drop SQLite's locks.

use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_wire::absence::OrAbsent as _;
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::StoreError;

/// Device and number of a file.
type Identity = (u64, u64);

/// The database, its write-ahead log and that log's index, as they were opened.
#[derive(Debug, Clone)]
pub(super) struct Files {
    database: File,
    /// Absent where the file system allows no such log.
    log: File,
    index: File,
}

#[derive(Debug, Clone)]
struct File {
    path: Utf8PathBuf,
    opened: Option<Identity>,
}

/// Where a file is that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Here,
    Removed,
    Replaced,
}

impl File {
    fn opened(path: Utf8PathBuf) -> std::io::Result<Self> {
        let opened = fs_err::metadata(&path).or_absent()?.map(|found| (found.dev(), found.ino()));
        Ok(Self { path, opened })
    }

    fn place(&self) -> Place {
        let Some(opened) = self.opened else { return Place::Here };
        match fs_err::metadata(&self.path).or_absent() {
            Ok(Some(now)) if (now.dev(), now.ino()) == opened => Place::Here,
            Ok(Some(_)) => Place::Replaced,
            Ok(None) => Place::Removed,
            // That it cannot be looked at says nothing about where it is.
            Err(_) => Place::Here,
        }
    }

    fn remove(&self) {
        if self.opened.is_some()
            && self.place() == Place::Here
            && let Err(error) = fs_err::remove_file(&self.path)
        {
            tracing::warn!(%error, "a file of a replaced database stays beside the new one");
        }
    }
}

impl Files {
    /// Notes the files of a database that has just been opened and read.
    pub(super) fn of(path: &Utf8Path) -> std::io::Result<Self> {
        let file = |end: &str| File::opened(Utf8PathBuf::from(format!("{path}{end}")));
        Ok(Self { database: file("")?, log: file("-wal")?, index: file("-shm")? })
    }

    /// What is not where it was, if anything.
    pub(super) fn displaced(&self) -> Option<StoreError> {
        [&self.database, &self.log, &self.index].into_iter().find_map(|file| {
            let how = match file.place() {
                Place::Here => return None,
                Place::Removed => "removed",
                Place::Replaced => "replaced by another file",
            };
            Some(StoreError::Displaced { path: file.path.clone(), how })
        })
    }

    /// Closes a connection of which some file is not where it was, so that as much as possible of what was committed ends up in the
    /// database that it was committed to, and nothing in another.
    pub(super) fn let_go(&self, db: Connection) {
        if self.database.place() == Place::Here {
            // Closing takes the whole file, if nobody else has it open, and then writes the log into it: also one without a name. Of a
            // log that somebody put there it is not known what it is.
            if self.log.place() == Place::Replaced && !self.log.is_empty() {
                tracing::error!(
                    path = %self.log.path,
                    "the write-ahead log was replaced: what was committed since its last checkpoint may be lost"
                );
                return close_untouched(db);
            }
            return close(db);
        }
        // The log under the name belongs to the file that was moved away or removed. Left beside another one it would be written into
        // that by whoever opens it.
        match db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)) {
            Ok(0) => {
                self.log.remove();
                self.index.remove();
            }
            busy_or_failed => {
                let aside = Utf8PathBuf::from(format!("{}.replaced", self.log.path));
                tracing::error!(
                    ?busy_or_failed,
                    "the log of the replaced database could not be written into it and is kept as `{aside}`"
                );
                if self.log.opened.is_some()
                    && self.log.place() == Place::Here
                    && let Err(error) = fs_err::rename(&self.log.path, &aside)
                {
                    tracing::error!(%error, "it stays beside the new database");
                }
                self.index.remove();
            }
        }
        close_untouched(db);
    }
}

impl File {
    fn is_empty(&self) -> bool {
        fs_err::metadata(&self.path).is_ok_and(|found| found.len() == 0)
    }
}

/// Closes without a checkpoint, and without removing any file.
pub(super) fn close_untouched(db: Connection) {
    if let Err(error) = db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true) {
        tracing::debug!(%error, "a close may write the log into the database");
    }
    close(db);
}

pub(super) fn close(db: Connection) {
    if let Err((_, error)) = db.close() {
        tracing::warn!(%error, "cannot close the database");
    }
}
