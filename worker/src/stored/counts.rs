//! How much there is.

use std::os::unix::fs::MetadataExt as _;

use rusqlite::OptionalExtension as _;

use super::look::{HIDDEN, Look, Unread};
use crate::session::SANE;

/// Sessions of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BySource {
    /// `telegram`, `cli`, …
    pub source: String,
    /// How many.
    pub sessions: i64,
    /// Messages in them.
    pub messages: i64,
}

/// How much there is of everything.
#[derive(Debug, Clone, PartialEq)]
pub struct Counts {
    /// Conversations.
    pub sessions: i64,
    /// Of those, that have not ended.
    pub open: i64,
    /// Messages.
    pub messages: i64,
    /// By source, the largest first.
    pub sources: Vec<BySource>,
    /// When the first session began, and the last message came, in seconds since the epoch.
    pub span: Option<(f64, f64)>,
    /// Bytes of the file with its log.
    pub bytes: u64,
    /// Bytes in it that new messages fill before it grows.
    pub free_bytes: u64,
    /// Version of its schema.
    pub schema: Option<i64>,
}

impl Look {
    /// How much there is.
    pub fn counts(&self) -> Result<Counts, Unread> {
        let ended = self.column("ended_at");
        let bytes = ["", "-wal"]
            .iter()
            .filter_map(|end| fs_err::metadata(format!("{}{end}", self.path)).ok())
            .map(|file| file.size())
            .sum();
        self.read(|db| {
            let one = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0));
            let mut select = db.prepare(&format!(
                "SELECT COALESCE(s.source, ''), count(*), COALESCE(sum((SELECT count(*) FROM messages m WHERE m.session_id = s.id)), 0)
                 FROM sessions s WHERE COALESCE(s.source, '') NOT IN {HIDDEN} GROUP BY 1 ORDER BY 2 DESC, 1"
            ))?;
            let sources = select.query_map([], |row| {
                Ok(BySource { source: row.get(0)?, sessions: row.get(1)?, messages: row.get(2)? })
            })?;
            let sources = sources.collect::<rusqlite::Result<Vec<_>>>()?;
            let first: Option<f64> = db.query_row(
                &format!("SELECT min(started_at) FROM sessions WHERE started_at {SANE}"),
                [],
                |row| row.get(0),
            )?;
            let last: Option<f64> = db.query_row(
                &format!("SELECT max(timestamp) FROM messages WHERE timestamp {SANE}"),
                [],
                |row| row.get(0),
            )?;
            let schema = if self.tables.contains("schema_version") {
                db.query_row("SELECT max(version) FROM schema_version", [], |row| row.get(0)).optional()?.flatten()
            } else {
                None
            };
            let free = one("PRAGMA freelist_count")?.saturating_mul(one("PRAGMA page_size")?);
            Ok(Counts {
                sessions: self.conversations()?,
                open: one(&format!(
                    "SELECT count(*) FROM sessions s WHERE COALESCE(s.source, '') NOT IN {HIDDEN} AND {ended} IS NULL"
                ))?,
                messages: one("SELECT count(*) FROM messages")?,
                sources,
                span: first.map(|first| (first, last.unwrap_or(first))),
                bytes,
                free_bytes: u64::try_from(free).unwrap_or_default(),
                schema,
            })
        })
    }
}
