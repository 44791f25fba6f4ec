//! Work on the database that may fail without the rest.

use rusqlite::Connection;

/// Does `work` or, with its changes taken back, `otherwise`.
pub(super) fn attempt<T>(
    db: &Connection,
    work: impl FnOnce() -> rusqlite::Result<T>,
    otherwise: impl FnOnce(rusqlite::Error) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    db.execute_batch("SAVEPOINT attempt")?;
    let result = work();
    if let Err(error) = result {
        db.execute_batch("ROLLBACK TO attempt; RELEASE attempt")?;
        return otherwise(error);
    }
    db.execute_batch("RELEASE attempt")?;
    result
}
