//! What a platform writes down of itself, beside what came by it: how far it has got.

use rusqlite::{OptionalExtension as _, params};

use super::Inbox;
use crate::store::StoreError;

impl Inbox {
    /// What [`remember`](Self::remember) wrote down last under this name.
    pub(crate) async fn remembered(&self, name: &str) -> Result<Option<String>, StoreError> {
        let name = name.to_owned();
        self.store
            .aside(move |db| {
                db.prepare_cached("SELECT value FROM state_meta WHERE key = ?1")?
                    .query_row([name], |row| row.get(0))
                    .optional()
            })
            .await
    }

    /// Writes something down, in place of what was there under this name.
    pub(crate) async fn remember(&self, name: &str, text: String) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.store
            .write(move |db| {
                db.prepare_cached(
                    "INSERT INTO state_meta(key, value) VALUES (?1, ?2)
                     ON CONFLICT(key) DO UPDATE SET value = excluded.value",
                )?
                .execute(params![name, text])
                .map(drop)
            })
            .await
    }
}
