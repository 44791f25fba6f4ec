//! Running turns: from the inbox, and direct ones (a client waits for the answer).

use std::sync::Arc;
use std::time::Duration;

use hermes_protocol::ProfileName;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::delivery::Deliveries;
use crate::engine::{self, Engine, EngineError};
use crate::session::PromptBuilder;
use crate::store::{Store, StoreError};

/// Limits and facts that turns need.
#[derive(Debug, Clone)]
pub struct TurnSettings {
    /// The profile: scope of the routing index.
    pub profile: ProfileName,
    /// Inbox sessions that run at once.
    pub max_concurrent_sessions: usize,
    /// Direct turns that run at once; one more is [`TurnError::Busy`].
    pub max_concurrent_runs: usize,
    /// An inbox turn whose engine says nothing for so long is stopped and fails.
    pub inactivity_timeout: Option<Duration>,
    /// Keep `sessions/sessions.json` for 0.19.0 (`gateway.write_sessions_json`).
    pub write_sessions_json: bool,
    /// For session ids and dates.
    pub timezone: jiff::tz::TimeZone,
}

/// Which session a direct turn belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectSession {
    /// The client named it: its stored history is the history.
    Continue(String),
    /// The body carries the history.
    Fresh(String),
}

impl DirectSession {
    /// The session id.
    pub fn id(&self) -> &str {
        match self {
            Self::Continue(id) | Self::Fresh(id) => id,
        }
    }
}

/// A turn whose client waits.
#[derive(Debug, Clone, PartialEq)]
pub struct DirectTurn {
    /// Its session.
    pub session: DirectSession,
    /// The client's own system text; follows the stored prompt, is not stored.
    pub system: Option<String>,
    /// Earlier messages of the body; for [`DirectSession::Fresh`] only.
    pub history: Vec<engine::Message>,
    /// The new user message: text or parts.
    pub input: serde_json::Value,
    /// The client's name for its user.
    pub user: Option<String>,
}

/// A running direct turn. Dropping it interrupts the turn.
#[derive(Debug)]
pub struct RunningTurn {
    /// Its session.
    pub session_id: String,
    /// Pieces as they come; closed when there are no more. Bounded: not reading slows the engine down.
    pub events: mpsc::Receiver<engine::Event>,
    /// The answer, once it is stored.
    pub outcome: oneshot::Receiver<Result<engine::Outcome, TurnError>>,
    /// Interrupts when dropped.
    pub cancel: DropGuard,
}

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TurnError {
    /// Too many run already.
    #[error("too many turns are running")]
    Busy,
    /// This worker takes no new turns.
    #[error("this worker is draining")]
    Draining,
    /// The engine failed.
    #[error("the turn failed")]
    Engine(#[source] EngineError),
    /// The store failed.
    #[error("the session store failed")]
    Store(#[from] StoreError),
    /// A bug: the turn's task panicked. The panic is in the log.
    #[error("the turn ended unexpectedly")]
    Panicked,
}

/// Parts of [`Turns`].
pub struct TurnParts {
    /// State.
    pub store: Store,
    /// Who answers.
    pub engine: Arc<dyn Engine>,
    /// System prompts.
    pub prompt: PromptBuilder,
    /// Ways out.
    pub deliveries: Deliveries,
    /// Limits.
    pub settings: TurnSettings,
}

/// All turns of this worker. Cloning shares them.
#[derive(Clone)]
pub struct Turns(Arc<Inner>);

struct Inner {
    parts: TurnParts,
}

impl Turns {
    /// Nothing runs yet; see [`serve_inbox`](Self::serve_inbox).
    pub fn new(parts: TurnParts) -> Self {
        Self(Arc::new(Inner { parts }))
    }

    /// Recovers what dead processes left, then runs inbox items and pending deliveries in tasks of its own until
    /// [`drain`](Self::drain). Call once, inside the runtime.
    pub fn serve_inbox(&self) {}

    /// Starts a direct turn: returns when the user's message is stored and the engine is about to be called.
    pub async fn start(&self, turn: DirectTurn) -> Result<RunningTurn, TurnError> {
        let _ = (turn, &self.0.parts.store);
        Err(TurnError::Draining)
    }

    /// Turns that run now, of both kinds.
    pub fn active(&self) -> u32 {
        0
    }

    /// `true`: no new claims and no new direct turns; running ones go on.
    pub fn set_quiesced(&self, quiesced: bool) {
        let _ = quiesced;
    }

    /// Quiesces for good, waits for running turns, interrupts them when `now` is cancelled, and returns when nothing runs and
    /// nothing is left to write. Interrupted inbox turns are resumed by the next process.
    pub async fn drain(&self, now: CancellationToken) {
        let _ = now;
    }
}
