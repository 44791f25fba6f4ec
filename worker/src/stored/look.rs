//! Conversations, read.

use std::collections::BTreeSet;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::database::{self, LookError};
use hermes_wire::ProfileHome;
use hermes_wire::absence::OrAbsent as _;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::Value;

use crate::session::{SANE, history};

/// Patience with a writer whose journal lets nobody read.
const PATIENCE: Duration = Duration::from_secs(5);
/// Conversations that nobody had.
pub(super) const HIDDEN: &str = "('tool', 'subagent')";
/// Most ids that are named where a beginning fits several.
const SEVERAL: u32 = 10;

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// The database cannot be looked at.
    #[error("Could not open session database: {cause}")]
    Look {
        /// The file.
        path: Utf8PathBuf,
        /// Why not.
        cause: LookError,
    },
    /// Something in it cannot be read.
    #[error("Could not open session database: {cause}")]
    Read {
        /// The file.
        path: Utf8PathBuf,
        /// Why not.
        cause: rusqlite::Error,
    },
}

impl Unread {
    /// The file.
    pub fn path(&self) -> &Utf8Path {
        match self {
            Self::Look { path, .. } | Self::Read { path, .. } => path,
        }
    }
}

/// A profile's database, open for reading.
#[derive(Debug)]
pub struct Look {
    pub(super) db: Connection,
    pub(super) path: Utf8PathBuf,
    sessions: BTreeSet<String>,
    pub(super) messages: BTreeSet<String>,
    pub(super) tables: BTreeSet<String>,
}

/// Tokens of a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Of prompts, without those of a cache.
    pub input: i64,
    /// Of answers.
    pub output: i64,
    /// Of prompts, read from a cache.
    pub cache_read: i64,
    /// Of prompts, written into one.
    pub cache_write: i64,
    /// Of thoughts, which are part of the answers.
    pub reasoning: i64,
}

impl Tokens {
    /// From five columns.
    pub(super) fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        let one = |n: usize| row.get::<_, Option<i64>>(at + n).map(Option::unwrap_or_default);
        Ok(Self {
            input: one(0)?,
            output: one(1)?,
            cache_read: one(2)?,
            cache_write: one(3)?,
            reasoning: one(4)?,
        })
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            output: self.output.saturating_add(other.output),
            cache_read: self.cache_read.saturating_add(other.cache_read),
            cache_write: self.cache_write.saturating_add(other.cache_write),
            reasoning: self.reasoning.saturating_add(other.reasoning),
        }
    }
}

/// A session. Times are seconds since the epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// Its id.
    pub id: String,
    /// The platform it came by, or `cli`, `cron`, …
    pub source: String,
    /// Its title, where it has one.
    pub title: Option<String>,
    /// What was asked first.
    pub preview: Option<String>,
    /// The directory it was held in.
    pub workspace: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// When it began.
    pub started_at: f64,
    /// When the last message came.
    pub last_active: f64,
    /// When it ended.
    pub ended_at: Option<f64>,
    /// Why.
    pub end_reason: Option<String>,
    /// Messages in it.
    pub messages: i64,
    /// Calls of tools in it.
    pub tool_calls: i64,
    /// What it cost.
    pub tokens: Tokens,
}

/// Which sessions are listed.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Only of this source.
    pub source: Option<String>,
    /// Only those whose directory has this in its path.
    pub workspace: Option<String>,
    /// At most so many; all where none is named.
    pub limit: Option<u32>,
}

/// What a name names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// One session.
    One(String),
    /// The beginning of several ids, some of which these are.
    Several(Vec<String>),
    /// None.
    None,
}

/// A message of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Its number.
    pub id: i64,
    /// `user`, `assistant`, `tool`, …
    pub role: String,
    /// When it came, in seconds since the epoch.
    pub at: f64,
    /// Its text.
    pub text: String,
    /// Of a result: the tool.
    pub tool: Option<String>,
    /// Of an answer: calls of tools, name and arguments.
    pub calls: Vec<(String, String)>,
    /// It is part of what the model is told.
    pub active: bool,
}

/// Sessions that nobody has used for long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unused {
    /// Those that ended, or, where it is asked for, all.
    pub sessions: Vec<String>,
    /// How many more have not ended.
    pub open: u64,
    /// How many more are pinned or archived.
    pub pinned: u64,
}

impl Look {
    /// Opens the home's database to read. `None`: there is none, so nothing was ever stored.
    pub fn into(home: &ProfileHome) -> Result<Option<Self>, Unread> {
        let path = home.state_db();
        let looking = |cause| Unread::Look { path: path.clone(), cause };
        if fs_err::metadata(&path).or_absent().map_err(|e| looking(e.into()))?.is_none() {
            return Ok(None);
        }
        let db = database::look_into(&path).map_err(looking)?;
        let shape = || {
            db.busy_timeout(PATIENCE)?;
            let names = |sql: &str| -> rusqlite::Result<BTreeSet<String>> {
                db.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
            };
            Ok((
                names("SELECT name FROM pragma_table_info('sessions')")?,
                names("SELECT name FROM pragma_table_info('messages')")?,
                names("SELECT name FROM sqlite_schema")?,
            ))
        };
        let (sessions, messages, tables) =
            shape().map_err(|cause| Unread::Read { path: path.clone(), cause })?;
        Ok(Some(Self { db, path, sessions, messages, tables }))
    }

    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Unread> {
        work(&self.db).map_err(|cause| Unread::Read { path: self.path.clone(), cause })
    }

    /// A column of `sessions AS s`, or NULL where the file has none.
    pub(super) fn column(&self, name: &'static str) -> String {
        if self.sessions.contains(name) { format!("s.{name}") } else { "NULL".to_owned() }
    }

    /// Whether a message is for people: a condition on `messages AS m`.
    pub(super) fn is_shown(&self) -> &'static str {
        if self.messages.contains("display_kind") { "COALESCE(m.display_kind, '') <> 'hidden'" } else { "1" }
    }

    /// When a session `s` was used last.
    pub(super) fn last_active() -> String {
        format!(
            "COALESCE((SELECT max(m.timestamp) FROM messages m WHERE m.session_id = s.id AND m.timestamp {SANE}), s.started_at)"
        )
    }

    fn select(&self, rest: &str) -> String {
        let one = |name| self.column(name);
        format!(
            "SELECT s.id, COALESCE(s.source, ''), {title}, COALESCE({root}, {cwd}), {model}, COALESCE(s.started_at, 0.0),
                {last} AS last_active, {ended}, {reason}, {count}, {calls}, {input}, {output}, {read}, {written}, {reasoning}
             FROM sessions s {rest}",
            title = one("title"),
            root = one("git_repo_root"),
            cwd = one("cwd"),
            model = one("model"),
            last = Self::last_active(),
            ended = one("ended_at"),
            reason = one("end_reason"),
            count = one("message_count"),
            calls = one("tool_call_count"),
            input = one("input_tokens"),
            output = one("output_tokens"),
            read = one("cache_read_tokens"),
            written = one("cache_write_tokens"),
            reasoning = one("reasoning_tokens"),
        )
    }

    /// The sessions, the one that was used last first. Of a conversation that was made shorter the last one; sub-agents have none.
    pub fn list(&self, wanted: &Wanted) -> Result<Vec<Session>, Unread> {
        let sql = self.select(&format!(
            "WHERE COALESCE(s.source, '') NOT IN {HIDDEN} AND {whole} AND (?1 IS NULL OR s.source = ?1)
               AND (?2 IS NULL OR instr(lower(COALESCE({cwd}, '')), lower(?2)) OR instr(lower(COALESCE({root}, '')), lower(?2)))
             ORDER BY last_active DESC, s.started_at DESC, s.id LIMIT COALESCE(?3, -1)",
            whole = self.is_last(),
            cwd = self.column("cwd"),
            root = self.column("git_repo_root"),
        ));
        self.read(|db| {
            let mut select = db.prepare(&sql)?;
            let rows = select.query_map(params![wanted.source, wanted.workspace, wanted.limit], session)?;
            let mut all = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            for session in &mut all {
                session.preview = self.preview(&session.id)?;
            }
            Ok(all)
        })
    }

    /// That a session `s` goes on in no other. A fork of it is no continuation.
    fn is_last(&self) -> String {
        let needed = ["parent_session_id", "end_reason", "model_config"];
        if !needed.iter().all(|name| self.sessions.contains(*name)) {
            return "1".to_owned();
        }
        let marker =
            "json_extract(iif(json_valid(c.model_config), c.model_config, '{}'), '$._branched_from')";
        format!(
            "NOT (COALESCE(s.end_reason, '') = 'compression' AND EXISTS
                (SELECT 1 FROM sessions c WHERE c.parent_session_id = s.id AND COALESCE({marker}, '') <> s.id))"
        )
    }

    /// What was asked first in a session.
    fn preview(&self, id: &str) -> rusqlite::Result<Option<String>> {
        let sql = format!(
            "SELECT m.content FROM messages m WHERE m.session_id = ?1 AND m.role = 'user' AND COALESCE(m.content, '') <> ''
               AND {} ORDER BY m.id LIMIT 1",
            self.is_shown()
        );
        let text: Option<String> =
            self.db.prepare_cached(&sql)?.query_row([id], |row| row.get(0)).optional()?;
        Ok(text.map(|text| plain(&history::decode(text))))
    }

    /// One session.
    pub fn session(&self, id: &str) -> Result<Option<Session>, Unread> {
        let sql = self.select("WHERE s.id = ?1");
        self.read(|db| {
            let found = db.query_row(&sql, [id], session).optional()?;
            found.map(|session| Ok(Session { preview: self.preview(id)?, ..session })).transpose()
        })
    }

    /// The session of this id, of this title, or whose id alone begins so.
    pub fn find(&self, name: &str) -> Result<Found, Unread> {
        let title = self.column("title");
        self.read(|db| {
            let exact: Option<String> = db
                .prepare(&format!(
                    "SELECT s.id FROM sessions s WHERE s.id = ?1 OR {title} = ?1 ORDER BY s.id = ?1 DESC LIMIT 1"
                ))?
                .query_row([name], |row| row.get(0))
                .optional()?;
            if let Some(id) = exact {
                return Ok(Found::One(id));
            }
            if name.is_empty() {
                return Ok(Found::None);
            }
            let mut begin = db.prepare(
                "SELECT s.id FROM sessions s WHERE substr(s.id, 1, length(?1)) = ?1 ORDER BY s.started_at DESC LIMIT ?2",
            )?;
            let rows = begin.query_map(params![name, SEVERAL], |row| row.get(0))?;
            let mut all = rows.collect::<rusqlite::Result<Vec<String>>>()?;
            Ok(match (all.pop(), all.is_empty()) {
                (None, _) => Found::None,
                (Some(one), true) => Found::One(one),
                (Some(last), false) => {
                    all.push(last);
                    Found::Several(all)
                }
            })
        })
    }

    /// The messages of a session, in their order.
    pub fn messages(&self, id: &str) -> Result<Vec<Line>, Unread> {
        let active = if self.messages.contains("active") { "m.active" } else { "1" };
        let sql = format!(
            "SELECT m.id, COALESCE(m.role, ''), COALESCE(m.timestamp, 0.0), m.content, m.tool_name, m.tool_calls, COALESCE({active}, 1)
             FROM messages m WHERE m.session_id = ?1 AND m.role <> 'session_meta' AND {} ORDER BY m.id",
            self.is_shown()
        );
        self.read(|db| {
            db.prepare(&sql)?
                .query_map([id], |row| {
                    let content: Option<String> = row.get(3)?;
                    let calls: Option<String> = row.get(5)?;
                    Ok(Line {
                        id: row.get(0)?,
                        role: row.get(1)?,
                        at: row.get(2)?,
                        text: content.map(|text| plain(&history::decode(text))).unwrap_or_default(),
                        tool: row.get(4)?,
                        calls: calls.map(|text| named(&text)).unwrap_or_default(),
                        active: row.get(6)?,
                    })
                })?
                .collect()
        })
    }

    /// Sessions that were last used before `before`, in seconds since the epoch. What has not ended counts where `open` says so; what is
    /// pinned or archived, and what goes on in another, never does.
    pub fn unused(&self, before: f64, source: Option<&str>, open: bool) -> Result<Unused, Unread> {
        let sql = format!(
            "SELECT s.id, {ended} IS NOT NULL, COALESCE({pinned}, 0) <> 0 OR COALESCE({archived}, 0) <> 0, {last} AS last_active
             FROM sessions s WHERE COALESCE(s.source, '') NOT IN {HIDDEN} AND {whole} AND (?1 IS NULL OR s.source = ?1)
             ORDER BY last_active",
            ended = self.column("ended_at"),
            pinned = self.column("pinned"),
            archived = self.column("archived"),
            last = Self::last_active(),
            whole = self.is_last(),
        );
        self.read(|db| {
            let mut select = db.prepare(&sql)?;
            let rows = select.query_map(params![source], |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, bool>(1)?,
                    row.get::<_, bool>(2)?,
                    row.get::<_, f64>(3)?,
                ))
            })?;
            let mut unused = Unused::default();
            for row in rows {
                let (id, has_ended, is_pinned, last) = row?;
                // A time that is none says nothing about age.
                if last >= before || last < 1.0 {
                    continue;
                }
                if is_pinned {
                    unused.pinned += 1;
                } else if has_ended || open {
                    unused.sessions.push(id);
                } else {
                    unused.open += 1;
                }
            }
            Ok(unused)
        })
    }
}

fn session(row: &Row<'_>) -> rusqlite::Result<Session> {
    Ok(Session {
        id: row.get(0)?,
        source: row.get(1)?,
        title: row.get::<_, Option<String>>(2)?.filter(|title| !title.is_empty()),
        preview: None,
        workspace: row.get::<_, Option<String>>(3)?.filter(|path| !path.is_empty()),
        model: row.get(4)?,
        started_at: row.get(5)?,
        last_active: row.get(6)?,
        ended_at: row.get(7)?,
        end_reason: row.get(8)?,
        messages: row.get::<_, Option<i64>>(9)?.unwrap_or_default(),
        tool_calls: row.get::<_, Option<i64>>(10)?.unwrap_or_default(),
        tokens: Tokens::read(row, 11)?,
    })
}

/// The text in what a message says; of what is no text, what it is.
pub(super) fn plain(content: &Value) -> String {
    match content {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let part = |part: &Value| {
                let kind = part.get("type").and_then(Value::as_str).unwrap_or("part");
                part.get("text").and_then(Value::as_str).map_or_else(|| format!("[{kind}]"), str::to_owned)
            };
            parts.iter().map(part).collect::<Vec<_>>().join("\n")
        }
        other => other.to_string(),
    }
}

/// Names and arguments of calls.
fn named(text: &str) -> Vec<(String, String)> {
    let Ok(Value::Array(calls)) = serde_json::from_str(text) else { return Vec::new() };
    let of = |call: &Value| {
        let part = |name: &str| call.pointer(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        (part("/function/name"), part("/function/arguments"))
    };
    calls.iter().map(of).collect()
}
