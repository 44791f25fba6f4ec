//! Runs: turns that are asked for and read later, by whoever knows their id.
//!
//! A run is an item of the inbox: it waits for its session, survives its client and its process, and goes on from its last step. What
//! it is asked, what has happened in it and what came of it stands in its own rows ([`crate::runs`]). A provider that is away ends it:
//! its client is told, and may ask again.

use std::sync::atomic::Ordering;

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::{Inner, SessionRef, Turn, TurnError, Turns};
use crate::engine::{Choice, Message, ModelId, Options, Wishes};
use crate::inbound::Source;
use crate::inbox;
use crate::runs::{self, End, New, Page, Run, State, Tokens};
use crate::session::{self, epoch};
use crate::store::StoreError;

/// What somebody wants done.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// A name that nobody can guess.
    pub id: String,
    /// Who asks.
    pub source: Source,
    /// What is asked.
    pub request: Request,
    /// The model as the client named it, for its eyes.
    pub model: String,
    /// `Idempotency-Key`, and what the request is known by besides.
    pub key: Option<(String, String)>,
}

/// What is asked: kept until the run is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Its session.
    pub session_id: String,
    /// The client brings the history; the session's own is not read.
    pub is_fresh: bool,
    /// The client's own system text.
    pub system: Option<String>,
    /// Earlier messages that the client brings.
    pub history: Vec<Message>,
    /// What is new.
    pub input: Vec<Message>,
    /// For the model.
    pub options: Options,
    /// An alias of `model_routes`.
    pub route: Option<String>,
    /// A model that is neither that nor the profile's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<Choice>,
}

impl Request {
    /// The turn that it asks for.
    pub(super) fn turn(self, source: Source) -> Turn {
        let Self { session_id, is_fresh, system, history, input, options, route, choice } = self;
        let session = if is_fresh { SessionRef::Fresh(session_id) } else { SessionRef::Continue(session_id) };
        let wishes = Wishes { model: choice, ..Wishes::default() };
        Turn { system, history, input, options, route, wishes, ..Turn::new(source, session) }
    }
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// It is on disk, and runs once.
    New,
    /// It was asked for before, under this id.
    Known(String),
    /// Its key was used with another request.
    Conflict,
}

/// What became of a text that is to be put into a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steered {
    /// It is on disk, and stands behind the next results of the run's tools.
    Waits,
    /// There is no such run.
    Unknown,
    /// The run takes nothing more: it is over, or about to be.
    Closed(State),
    /// So many wait already.
    Full(usize),
}

impl Turns {
    /// Has a run begun. What is accepted is on disk.
    pub async fn submit(&self, asked: Asked) -> Result<Submitted, TurnError> {
        let inner = &self.0;
        if inner.is_quiesced() {
            return Err(TurnError::Draining);
        }
        let most = inner.settings.max_concurrent_runs;
        let direct = inner.active.borrow().direct.taken();
        let submitted = inner
            .store
            .write_for_client(move |db| {
                let now = epoch();
                if let Some((key, fingerprint)) = &asked.key
                    && let Some((id, known)) = runs::with_key(db, key, now)?
                {
                    let is_same = known == *fingerprint;
                    return Ok(Ok(if is_same { Submitted::Known(id) } else { Submitted::Conflict }));
                }
                if runs::unfinished(db)?.saturating_add(direct) >= most {
                    return Ok(Err(TurnError::Busy));
                }
                put(db, asked, now).map(|()| Ok(Submitted::New))
            })
            .await??;
        if submitted == Submitted::New {
            inner.store.note_accept(false);
        }
        Ok(submitted)
    }

    /// What is known of a run.
    pub async fn run(&self, id: &str) -> Result<Option<Run>, StoreError> {
        let id = id.to_owned();
        self.0.store.aside(move |db| runs::find(db, &id, epoch())).await
    }

    /// What has happened in a run behind event `after`; `None`: there is no such run.
    pub async fn happened(&self, id: &str, after: i64) -> Result<Option<Page>, StoreError> {
        let (id, me) = (id.to_owned(), self.0.store.owner().columns());
        self.0.store.aside(move |db| runs::page(db, &id, after, (me, epoch()))).await
    }

    /// Rings for everybody who waits when something has happened in a run of this process.
    pub fn happening(&self) -> &tokio::sync::Notify {
        &self.0.happening
    }

    /// Whether whoever only reads is to come back to another process.
    pub fn is_leaving(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed) || self.0.leaving.load(Ordering::Relaxed)
    }

    /// Runs that are not over, of all processes.
    pub async fn unfinished_runs(&self) -> Result<usize, StoreError> {
        self.0.store.aside(runs::unfinished).await
    }

    /// Who answers, where nobody asks for another.
    pub fn model(&self) -> &ModelId {
        &self.0.session.model
    }

    /// Whether what runs can be told something in the middle of it.
    pub fn is_steered(&self) -> bool {
        self.0.session.is_steered
    }

    /// Has a text put into a run, in whichever process it is; only where [`is_steered`](Self::is_steered).
    pub async fn steer(&self, id: &str, text: String) -> Result<Steered, StoreError> {
        let id = id.to_owned();
        let job = move |db: &Connection| {
            let now = epoch();
            let Some(run) = runs::find(db, &id, now)? else { return Ok(Steered::Unknown) };
            if run.state.is_over() || run.state == State::Stopping {
                return Ok(Steered::Closed(run.state));
            }
            let waits = runs::steer(db, &id, text, now)?;
            Ok(if waits { Steered::Waits } else { Steered::Full(runs::STEERS) })
        };
        self.0.store.write_for_client(job).await
    }

    /// Has a run stopped, in whichever process it is. `false`: there is none, or it is over.
    pub async fn stop(&self, id: &str) -> Result<bool, StoreError> {
        let id = id.to_owned();
        let stopped = self
            .0
            .store
            .write_for_client(move |db| {
                let now = epoch();
                let is_there = runs::find(db, &id, now)?.is_some_and(|run| !run.state.is_over());
                if is_there {
                    runs::stop(db, &id, now)?;
                    if inbox::run::withdraw(db, &id, now)? {
                        runs::end(db, &id, &End::Cancelled { tokens: Tokens::default() }, now)?;
                    }
                }
                Ok(is_there)
            })
            .await?;
        if stopped {
            self.0.store.look_for_interrupts();
            self.0.happening.notify_waiters();
        }
        Ok(stopped)
    }
}

fn put(db: &Connection, asked: Asked, now: f64) -> rusqlite::Result<()> {
    let Asked { id, source, request, model, key } = asked;
    let text = serde_json::to_string(&request).expect("texts and JSON always serialise");
    let new = New {
        id: &id,
        platform: &source.platform,
        session_id: &request.session_id,
        model: &model,
        request: &text,
        key: key.as_ref().map(|(key, fingerprint)| (key.as_str(), fingerprint.as_str())),
    };
    runs::put(db, &new, now)?;
    // So that it waits behind what its chat waits for.
    let key = session::key_of(db, &request.session_id)?.unwrap_or(request.session_id);
    inbox::run::put(db, &id, &key, source, now)
}

/// What there is to do about an item that is a run.
pub(super) enum Due {
    /// This.
    Turn(Box<Turn>),
    /// Nothing: it was stopped meanwhile.
    Stopped,
    /// Nothing: why not.
    Nothing(String),
}

/// Looks at a run whose turn it is. Where it was stopped, that is its end.
pub(super) fn due(db: &Connection, id: &str, source: Source, now: f64) -> rusqlite::Result<Due> {
    let Some(request) = runs::request(db, id)? else { return Ok(Due::Nothing("the run is gone".to_owned())) };
    if runs::is_unwanted(db, id)? {
        inbox::run::withdraw(db, id, now)?;
        runs::end(db, id, &End::Cancelled { tokens: Tokens::default() }, now)?;
        return Ok(Due::Stopped);
    }
    Ok(match serde_json::from_str::<Request>(&request) {
        Ok(request) => Due::Turn(Box::new(request.turn(source))),
        Err(error) => Due::Nothing(format!("what the run is asked cannot be read: {error}")),
    })
}

impl Inner {
    /// Something has happened in a run.
    pub(super) fn note_happening(&self) {
        self.happening.notify_waiters();
    }
}
