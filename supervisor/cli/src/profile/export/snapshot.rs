//! SQLite files as of one instant, whatever is written to them meanwhile.

use std::io;
use std::time::Duration;

use camino::Utf8Path;
use hermes_host::clock;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

/// How every SQLite file begins.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Pages that are copied between two looks at the clock.
const PAGES: i32 = 4096;
/// Time for a writer that holds the database for itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether these are the first bytes of an SQLite file.
pub(super) fn begins_like_one(start: &[u8]) -> bool {
    start.starts_with(MAGIC)
}

/// Whether the file is one.
pub(in crate::profile) fn is_database(path: &Utf8Path) -> bool {
    hermes_host::disk::read_start(path, MAGIC.len() as u64).is_ok_and(|start| begins_like_one(&start))
}

/// Copies the database at `from` to `to`, which does not exist, as of one instant. Nobody who writes is kept from it for longer
/// than his journal mode demands, and the database itself is only read.
pub(in crate::profile) fn take(
    from: &Utf8Path,
    to: &Utf8Path,
    go_on: &mut dyn FnMut() -> bool,
) -> io::Result<()> {
    copy(from, to, OpenFlags::SQLITE_OPEN_READ_ONLY, go_on)
        .or_else(|e| {
            // A journal that a dead writer left has to be rolled back first.
            if fs_err::metadata(format!("{from}-journal")).is_err() || e.is_interrupted() {
                return Err(e);
            }
            fs_err::remove_file(to).map_err(|_| Failure::Interrupted)?;
            copy(from, to, OpenFlags::SQLITE_OPEN_READ_WRITE, go_on)
        })
        .map_err(|e| match e {
            Failure::Database(e) => io::Error::other(e.to_string()),
            Failure::Busy => {
                io::Error::other(format!("the database stayed locked for {} s", PATIENCE.as_secs()))
            }
            Failure::Interrupted => io::ErrorKind::Interrupted.into(),
        })
}

enum Failure {
    Database(rusqlite::Error),
    Busy,
    Interrupted,
}

impl Failure {
    fn is_interrupted(&self) -> bool {
        matches!(self, Self::Interrupted)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(e: rusqlite::Error) -> Self {
        Self::Database(e)
    }
}

fn copy(
    from: &Utf8Path,
    to: &Utf8Path,
    flags: OpenFlags,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<(), Failure> {
    let source = Connection::open_with_flags(from, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    source.busy_timeout(PATIENCE)?;
    let mut target = Connection::open(to)?;
    // A file that is thrown away needs no journal.
    target.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")?;
    // The instant. Without it every commit of somebody else would begin the copy anew.
    source.execute_batch("BEGIN")?;
    source.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    let backup = Backup::new(&source, &mut target)?;
    let deadline = clock::now() + PATIENCE;
    loop {
        if !go_on() {
            return Err(Failure::Interrupted);
        }
        match backup.step(PAGES)? {
            StepResult::Done => return Ok(()),
            StepResult::Busy | StepResult::Locked if clock::now() > deadline => return Err(Failure::Busy),
            StepResult::Busy | StepResult::Locked => hermes_host::wait::pause(Duration::from_millis(10)),
            _ => {}
        }
    }
}
