//! What a platform writes down of itself, beside what came by it: how far it has got, and what it holds and cannot hand in yet.

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

    /// Notes that were [kept](Self::keep) under names with this beginning, in the order of their names; at most so many.
    pub(crate) async fn kept(&self, beginning: &str, most: u32) -> Result<Vec<(String, String)>, StoreError> {
        let (from, to) = (beginning.to_owned(), format!("{beginning}\u{10ffff}"));
        self.store
            .aside(move |db| {
                db.prepare_cached(
                    "SELECT key, value FROM state_meta WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3",
                )?
                .query_map(params![from, to, most], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
            })
            .await
    }

    /// Writes something down that its sender waits for to be on disk; what is there under this name stays.
    pub(crate) async fn keep(&self, name: &str, text: String) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.store
            .write_for_client(move |db| {
                db.prepare_cached(
                    "INSERT INTO state_meta(key, value) VALUES (?1, ?2) ON CONFLICT(key) DO NOTHING",
                )?
                .execute(params![name, text])
                .map(drop)
            })
            .await
    }

    /// Takes away what was kept.
    pub(crate) async fn drop_kept(&self, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.store
            .write(move |db| {
                db.prepare_cached("DELETE FROM state_meta WHERE key = ?1")?.execute([name]).map(drop)
            })
            .await
    }

    /// Whether there is a conversation under this session key, or under one that names a person behind it.
    pub(crate) async fn has_conversation(&self, key: String) -> Result<bool, StoreError> {
        self.store
            .aside(move |db| {
                // `;` comes right behind `:`.
                db.prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM sessions
                         WHERE session_key = ?1 OR (session_key > ?1 || ':' AND session_key < ?1 || ';'))
                     OR EXISTS (SELECT 1 FROM hermes_inbox WHERE finished_at IS NULL
                         AND (session_key = ?1 OR (session_key > ?1 || ':' AND session_key < ?1 || ';')))",
                )?
                .query_row([key], |row| row.get(0))
            })
            .await
    }
}
