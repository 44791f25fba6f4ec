//! The inbox, as commands show it.

use rusqlite::{OptionalExtension as _, Row, params};

use super::look::{Look, Unread};
use crate::inbound::Inbound;
use crate::inbox::again::DROPPED;
use crate::inbox::run;

/// How far a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has not begun.
    Waiting,
    /// It waits behind another one of its chat.
    Queued,
    /// Its turn runs.
    Running,
    /// It is tried again later.
    Postponed,
    /// It was given up.
    Failed,
    /// It has its answer.
    Answered,
    /// Nobody wants an answer any more.
    Dropped,
}

impl State {
    /// For people and programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Postponed => "postponed",
            Self::Failed => "failed",
            Self::Answered => "answered",
            Self::Dropped => "dropped",
        }
    }
}

/// Where its answer goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// `log`, `run`, a platform, …
    pub kind: String,
}

/// A message of the inbox. Times are seconds since the epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Its number.
    pub id: i64,
    /// How far it is.
    pub state: State,
    /// The platform it came by.
    pub platform: String,
    /// The key of its conversation.
    pub key: String,
    /// Chat, by its name where it has one.
    pub chat: Option<String>,
    /// Who wrote it.
    pub user: Option<String>,
    /// What was said. Of a run of the API it stands elsewhere.
    pub text: Option<String>,
    /// The run of the API that it is.
    pub run: Option<String>,
    /// Where its answer goes.
    pub answer: Option<Answer>,
    /// Its sender's name for it.
    pub sender_id: Option<String>,
    /// When it came.
    pub received_at: f64,
    /// When it was over.
    pub finished_at: Option<f64>,
    /// When it is tried again.
    pub due_at: Option<f64>,
    /// How often it was put off.
    pub postponed: i64,
    /// Why it waits or was given up.
    pub why: Option<String>,
    /// The session in which its turn began.
    pub session: Option<String>,
}

impl Look {
    /// What waits, runs and was given up, in the order in which it came; `all`: also what is answered and not yet forgotten.
    pub fn inbox(&self, all: bool) -> Result<Vec<Item>, Unread> {
        if !self.tables.contains("hermes_inbox") {
            return Ok(Vec::new());
        }
        let sql = Self::items("(?1 OR finished_at IS NULL OR state = 'failed') ORDER BY id");
        self.read(|db| db.prepare(&sql)?.query_map(params![all], item)?.collect())
    }

    /// One message.
    pub fn item(&self, id: i64) -> Result<Option<Item>, Unread> {
        if !self.tables.contains("hermes_inbox") {
            return Ok(None);
        }
        let sql = Self::items("id = ?1");
        self.read(|db| db.query_row(&sql, [id], item).optional())
    }

    /// A reservation is work that is no message, and its sender's business.
    fn items(condition: &str) -> String {
        format!(
            "SELECT id, state, platform, session_key, payload, dedup_id, received_at, finished_at, due_at, postponed, error, session_id
             FROM hermes_inbox WHERE state <> 'reserved' AND {condition}"
        )
    }
}

fn item(row: &Row<'_>) -> rusqlite::Result<Item> {
    let (state, error): (String, Option<String>) = (row.get(1)?, row.get(10)?);
    let payload: Option<String> = row.get(4)?;
    let event: Option<Inbound> = payload.as_deref().and_then(run::read);
    let run = event.as_ref().and_then(|event| event.delivery.run().map(str::to_owned));
    let source = event.as_ref().map(|event| &event.source);
    let either = |a: &Option<String>, b: &Option<String>| a.clone().or_else(|| b.clone());
    Ok(Item {
        id: row.get(0)?,
        state: match state.as_str() {
            "queued" => State::Queued,
            "claimed" | "steered" => State::Running,
            "postponed" => State::Postponed,
            "failed" => State::Failed,
            "done" if error.as_deref() == Some(DROPPED) => State::Dropped,
            "done" => State::Answered,
            _ => State::Waiting,
        },
        platform: row.get(2)?,
        key: row.get(3)?,
        chat: source.and_then(|source| either(&source.chat_name, &source.chat_id)),
        user: source.and_then(|source| either(&source.user_name, &source.user_id)),
        text: event.as_ref().filter(|_| run.is_none()).map(|event| event.text.clone()),
        answer: event.as_ref().map(|event| Answer { kind: event.delivery.kind.clone() }),
        run,
        sender_id: row.get(5)?,
        received_at: row.get(6)?,
        finished_at: row.get(7)?,
        due_at: row.get::<_, Option<f64>>(8)?.filter(|_| state == "postponed"),
        postponed: row.get(9)?,
        why: error.filter(|error| error != DROPPED),
        session: row.get(11)?,
    })
}
