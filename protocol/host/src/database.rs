//! Databases of a home, looked into and left as they are.

use std::io::ErrorKind;

use camino::Utf8Path;
use rusqlite::{Connection, OpenFlags};

/// Newest schema of `state.db` that is written to. Files that we make are of 0.19.0's, 22.
pub const STATE_SCHEMA: i64 = 30;

/// Row of `state_meta` in `state.db`: when, in seconds since the epoch, another program was last at work there whose process cannot be
/// seen from here.
pub const UNSEEN_PROCESSES: &str = "hermes_unseen_processes";

/// Seconds after which that means nothing any more: the container may be long gone.
pub const UNSEEN_FOR: i64 = 30 * 86_400;

/// Why a database cannot be looked into.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// What is beside it cannot be looked at.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// SQLite's.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

/// Opens a database to read. One that nobody has open is read as it is: SQLite would put files of its own beside it.
pub fn look_into(path: &Utf8Path) -> Result<Connection, LookError> {
    let immutable = match fs_err::metadata(format!("{path}-wal")) {
        Ok(_) => "",
        Err(e) if e.kind() == ErrorKind::NotFound => "&immutable=1",
        Err(e) => return Err(e.into()),
    };
    let name = path.as_str().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    Ok(Connection::open_with_flags(format!("file:{name}?mode=ro{immutable}"), flags)?)
}
