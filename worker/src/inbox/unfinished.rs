//! Whether a home holds work that waits for a worker: what came in and is not answered, what is answered and not delivered.
//!
//! Whoever asks decides by it whether a worker may sleep, so what cannot be found out counts as work.

use hermes_host::cause::chain;
use hermes_host::database;
use hermes_wire::ProfileHome;
use hermes_wire::absence::OrAbsent as _;
use rusqlite::Connection;

/// Whether there is any. Reservations are no work: who made one repeats it.
pub(crate) fn is_any(db: &Connection) -> rusqlite::Result<bool> {
    let ours = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ('hermes_inbox', 'hermes_delivery')";
    if db.query_row(ours, [], |row| row.get::<_, i64>(0))? < 2 {
        // Another program's, in which nothing came to us yet.
        return Ok(false);
    }
    let any = "SELECT EXISTS (SELECT 1 FROM hermes_inbox WHERE finished_at IS NULL AND state <> 'reserved')
                   OR EXISTS (SELECT 1 FROM hermes_delivery WHERE finished_at IS NULL)";
    db.query_row(any, [], |row| row.get(0))
}

/// Why a home needs a worker now, as far as its database says. It is looked into and left as it is.
pub(crate) fn of_home(home: &ProfileHome) -> Option<String> {
    let path = home.state_db();
    match fs_err::metadata(&path).or_absent() {
        Ok(None) => return None,
        Ok(Some(_)) => {}
        Err(error) => return Some(format!("its database cannot be looked at: {}", chain(&error))),
    }
    let look = || -> Result<bool, database::LookError> { Ok(is_any(&database::look_into(&path)?)?) };
    match look() {
        Ok(false) => None,
        Ok(true) => Some("messages or answers wait in its database".to_owned()),
        Err(error) => Some(format!("its database cannot be looked into: {}", chain(&error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Owner, Store};

    #[tokio::test]
    async fn what_waits_is_work_and_what_is_done_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let home = ProfileHome::new(camino::Utf8Path::from_path(dir.path()).unwrap());
        assert_eq!(of_home(&home), None, "there is no database");
        let store = Store::open(&home, Owner::current()).unwrap();
        store.close().await;
        assert_eq!(of_home(&home), None, "it is empty");
        let db = Connection::open(home.state_db()).unwrap();
        let put = |sql: &str| db.execute(sql, []).unwrap();
        put(
            "INSERT INTO hermes_inbox(platform, session_key, received_at, state) VALUES ('webhook', 'k', 1, 'reserved')",
        );
        assert_eq!(of_home(&home), None, "a reservation is its sender's business");
        for state in ["waiting", "queued", "claimed", "postponed"] {
            put(&format!("UPDATE hermes_inbox SET state = '{state}', finished_at = NULL"));
            assert!(of_home(&home).is_some(), "{state}");
        }
        for state in ["done", "failed", "steered"] {
            put(&format!("UPDATE hermes_inbox SET state = '{state}', finished_at = 2"));
            assert_eq!(of_home(&home), None, "{state}");
        }
        drop(db);
        fs_err::write(home.state_db(), "no database").unwrap();
        assert!(of_home(&home).unwrap().contains("cannot be looked into"));
    }
}
