//! Why the store could not do something, and whose fault that is.

use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::fault;
use hermes_wire::exit;
use rusqlite::ErrorCode;

/// Why the store could not do something. Cheap to clone: one failed commit answers many callers.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Opening failed.
    #[error("cannot open `{path}`")]
    Open {
        /// The file.
        path: Utf8PathBuf,
        /// SQLite's word on it.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// The file system refused.
    #[error("cannot prepare `{path}`")]
    Io {
        /// The file.
        path: Utf8PathBuf,
        /// The cause.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// Something else lives under that name. It was not touched.
    #[error("`{path}` is not a hermes database ({found}); move it away and start again")]
    Foreign {
        /// The file.
        path: Utf8PathBuf,
        /// What was found instead.
        found: String,
    },
    /// Its content cannot be relied on: nothing more is written to it.
    #[error(
        "`{path}` is damaged ({source}): put a good copy in its place, or move it away to begin anew; \
         `sqlite3 {path} .recover` saves what can be read"
    )]
    Damaged {
        /// The file.
        path: Utf8PathBuf,
        /// SQLite's word on it, which the text has already.
        source: Arc<rusqlite::Error>,
    },
    /// A newer program's. It was not touched.
    #[error(
        "`{path}` has schema version {version}, and this program knows versions up to {known}: nothing was written to it. Run the \
         program that made it, or one that is as new; or move the file away to begin anew, its conversations stay in it"
    )]
    Newer {
        /// The file.
        path: Utf8PathBuf,
        /// Its version.
        version: i64,
        /// The newest version that can be written.
        known: i64,
    },
    /// It can be read and not written.
    #[error("`{path}` can only be read: make the file writable for this user")]
    ReadOnly {
        /// The file.
        path: Utf8PathBuf,
    },
    /// What is open is no longer what the name leads to: what would be written there is lost.
    #[error("`{path}` was {how} while it was open")]
    Displaced {
        /// The database, its write-ahead log, or that log's index.
        path: Utf8PathBuf,
        /// `removed` or `replaced by another file`
        how: &'static str,
    },
    /// A job failed: disk full, lock held for too long, a constraint.
    #[error("cannot write `{path}`")]
    Write {
        /// The file.
        path: Utf8PathBuf,
        /// SQLite's word on it.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// Asked after [`Store::close`](super::Store::close).
    #[error("`{path}` is closed")]
    Closed {
        /// The file.
        path: Utf8PathBuf,
    },
}

impl StoreError {
    /// An error of opening.
    pub(crate) fn opening(path: &Utf8Path, source: rusqlite::Error) -> Self {
        let (path, source) = (path.to_owned(), Arc::new(source));
        if is_damage(&source) { Self::Damaged { path, source } } else { Self::Open { path, source } }
    }

    /// An error of the open database.
    pub(crate) fn writing(path: &Utf8Path, source: rusqlite::Error) -> Self {
        let (path, source) = (path.to_owned(), Arc::new(source));
        if is_damage(&source) { Self::Damaged { path, source } } else { Self::Write { path, source } }
    }

    /// Whether the data itself is at fault (a constraint, a value of the wrong type), so that the same job will fail again.
    pub(crate) fn is_about_data(&self) -> bool {
        let Self::Write { source, .. } = self else { return false };
        match source.sqlite_error_code() {
            Some(code) => matches!(
                code,
                ErrorCode::ConstraintViolation
                    | ErrorCode::TypeMismatch
                    | ErrorCode::TooBig
                    | ErrorCode::Unknown
            ),
            None => true,
        }
    }

    /// Whether the machine is to blame: no space, no memory, no descriptors, a disk that fails, a lock that is held.
    pub(crate) fn is_of_machine(&self) -> bool {
        match self {
            Self::Io { source, .. } => fault::is_of_machine(source),
            Self::Open { path, source } | Self::Write { path, source } => match source.sqlite_error_code() {
                Some(
                    ErrorCode::DiskFull
                    | ErrorCode::OutOfMemory
                    | ErrorCode::SystemIoFailure
                    | ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::FileLockingProtocolFailed,
                ) => true,
                Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly) => is_out_of_reach(path),
                _ => false,
            },
            // A mode or a mount that is mended changes no file that anybody watches.
            Self::ReadOnly { .. } => true,
            Self::Foreign { .. }
            | Self::Damaged { .. }
            | Self::Newer { .. }
            | Self::Displaced { .. }
            | Self::Closed { .. } => false,
        }
    }

    /// The exit code of a worker that ends because of it: 78 where only another file helps, 71 where the machine is to blame, else 1.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Foreign { .. } | Self::Damaged { .. } | Self::Newer { .. } => exit::CONFIG,
            error if error.is_of_machine() => exit::MACHINE,
            _ => exit::FAILURE,
        }
    }

    /// The error with what is behind it, on one line: why a worker is not able to do what it is there for.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Open { source, .. } | Self::Write { source, .. } if is_busy(source) => {
                format!("{self}: another process holds the write lock")
            }
            _ => match std::error::Error::source(self) {
                Some(source) => format!("{self}: {source}"),
                None => self.to_string(),
            },
        }
    }

    /// What a client is told: no path, no text of the system.
    pub(crate) fn told(&self) -> String {
        let text = match self {
            Self::Newer { version, known, .. } => {
                return format!(
                    "the profile's state.db has schema version {version}, and this gateway knows versions up to {known}; its \
                     operator has to run a newer gateway or move the file away"
                );
            }
            Self::Open { source, .. } | Self::Write { source, .. } if is_busy(source) => {
                "the profile's state.db is locked by another process"
            }
            Self::Damaged { .. } | Self::Foreign { .. } => "the profile's state.db is damaged",
            Self::ReadOnly { .. } => "the profile's state.db can only be read",
            Self::Displaced { .. } => "the profile's state.db was replaced; the worker starts again",
            Self::Closed { .. } => "the worker is ending",
            Self::Open { .. } | Self::Io { .. } | Self::Write { .. } => {
                "the profile's state.db cannot be written now"
            }
        };
        text.to_owned()
    }
}

/// Whether SQLite found content that cannot be.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Whether another process holds the lock.
pub(crate) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Whether the files of a database cannot be opened now for a reason that passes. SQLite keeps the system's number to itself.
fn is_out_of_reach(path: &Utf8Path) -> bool {
    ["", "-wal", "-shm"].iter().all(|end| {
        let opened = std::fs::OpenOptions::new().read(true).write(true).open(format!("{path}{end}"));
        // What is not there SQLite would have made.
        opened.err().is_none_or(|e| e.kind() == std::io::ErrorKind::NotFound || fault::is_of_machine(&e))
    })
}
