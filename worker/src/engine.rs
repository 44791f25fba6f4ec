//! A turn's engine: the seam between "a conversation continues" and whoever writes the answer.
//!
//! An engine gets the whole prompt, streams events and commits each step through the [`Journal`]; it never touches the store. `echo` is
//! offline and deterministic, `native` calls a model and tools in turn ([`steps`]). Dropping the future or cancelling the token
//! interrupts; an engine must notice within a second.

mod call;
pub mod echo;
mod journal;
mod message;
pub mod native;
mod steps;
mod watched;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hermes_config::{EngineKind, ProfileConfig};
use hermes_wire::ProfileHome;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(crate) use call::call_kind;
pub use journal::{Cost, Journal, Kept, Step, Unkept, Unrecorded};
pub use message::{Message, Role};
pub(crate) use watched::Watched;

use crate::provider::Fault;
use crate::provider::health::Health;
use crate::tools::Tools;

/// What a client asks of the model besides the conversation: fields of a chat-completions request, as it sent them.
pub type Options = Map<String, Value>;

/// Everything an engine needs for one turn.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prompt {
    /// Session id, for logs.
    pub session_id: String,
    /// The stored system prompt followed by the client's own, or none.
    pub system: String,
    /// History, oldest first; the last one is the new user message, or the last result of the tools that were called.
    pub messages: Vec<Message>,
    /// For engines that [take them](Engine::takes_options); empty for others.
    pub options: Options,
}

/// What an engine says while it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A piece of the answer.
    Delta(String),
    /// A tool is being run, or was.
    Tool {
        /// Its name.
        name: String,
        /// The call's id.
        id: String,
        /// Its result is kept.
        done: bool,
    },
    /// A new attempt starts after an error; nothing of the earlier one was shown.
    Retrying {
        /// Which attempt comes next, from 2.
        attempt: u32,
        /// Why.
        reason: String,
    },
}

/// Tokens of a whole turn, all calls summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Input tokens that were not cached.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Input tokens read from the provider's cache.
    pub cache_read_tokens: u64,
    /// Input tokens written to the provider's cache.
    pub cache_write_tokens: u64,
    /// Reasoning tokens, part of the output.
    pub reasoning_tokens: u64,
}

impl Usage {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    /// What is left of it without `part`.
    #[must_use]
    pub fn minus(self, part: Self) -> Self {
        self.with(part, u64::saturating_sub)
    }

    fn with(self, other: Self, f: fn(u64, u64) -> u64) -> Self {
        Self {
            input_tokens: f(self.input_tokens, other.input_tokens),
            output_tokens: f(self.output_tokens, other.output_tokens),
            cache_read_tokens: f(self.cache_read_tokens, other.cache_read_tokens),
            cache_write_tokens: f(self.cache_write_tokens, other.cache_write_tokens),
            reasoning_tokens: f(self.reasoning_tokens, other.reasoning_tokens),
        }
    }
}

/// A finished answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The whole text, of the last call to the model where there were several; may be empty where tools are called.
    pub text: String,
    /// The client's tools that the model wants called, as [`Message::tool_calls`]. They are given whole or not at all.
    pub tool_calls: Vec<Value>,
    /// `stop`, `length`, …
    pub finish_reason: String,
    /// Model as billed.
    pub model: String,
    /// Provider name, for accounting.
    pub provider: String,
    /// Base URL, for accounting.
    pub base_url: String,
    /// Tokens.
    pub usage: Usage,
    /// Calls made to the provider, failed ones included.
    pub calls: u32,
}

/// Why there is no answer. Never carries a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// Stopped from outside.
    #[error("interrupted")]
    Interrupted,
    /// Configuration lacks something; a retry cannot help.
    #[error("{0}")]
    Config(String),
    /// A step could not be kept, so the next one must not begin.
    #[error(transparent)]
    Unkept(#[from] Unkept),
    /// The provider refused or failed for good.
    #[error("{message}")]
    Provider {
        /// What it says about the provider.
        fault: Fault,
        /// HTTP status, where there was one.
        status: Option<u16>,
        /// When the provider asked to be called again.
        retry_after: Option<Duration>,
        /// The provider said that asking again is of no use (`x-should-retry: false`).
        is_final: bool,
        /// What it said, shortened and redacted.
        message: String,
        /// Calls made.
        calls: u32,
    },
}

impl EngineError {
    /// What it says about the provider; `None` for what says nothing about it.
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::Interrupted | Self::Unkept(_) => None,
            Self::Config(_) => Some(Fault::Setup),
            Self::Provider { fault, .. } => Some(*fault),
        }
    }
}

/// A turn's place among those that run at once.
pub trait Seat: Send + Sync {
    /// Waits so long; meanwhile somebody else may have the place. Cancel safe.
    fn away<'a>(&'a self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}

/// Where events go: bounded, so that a slow reader slows the engine down.
#[derive(Clone)]
pub struct EventSink {
    pieces: mpsc::Sender<Event>,
    seat: Option<Arc<dyn Seat>>,
}

impl EventSink {
    /// For a turn that has a place to give back while it waits.
    pub fn new(pieces: mpsc::Sender<Event>, seat: Arc<dyn Seat>) -> Self {
        Self { pieces, seat: Some(seat) }
    }

    /// Tells whoever listens; an error where nobody does.
    pub async fn send(&self, event: Event) -> Result<(), mpsc::error::SendError<Event>> {
        self.pieces.send(event).await
    }

    /// Whether nobody listens any more.
    pub fn is_closed(&self) -> bool {
        self.pieces.is_closed()
    }

    /// Waits before the provider is called again. An engine waits in no other way: its place is somebody else's meanwhile.
    pub async fn wait(&self, time: Duration) {
        match &self.seat {
            Some(seat) => seat.away(time).await,
            None => tokio::time::sleep(time).await,
        }
    }
}

impl From<mpsc::Sender<Event>> for EventSink {
    fn from(pieces: mpsc::Sender<Event>) -> Self {
        Self { pieces, seat: None }
    }
}

/// A boxed engine future.
pub type EngineFuture<'a> = Pin<Box<dyn Future<Output = Result<Outcome, EngineError>> + Send + 'a>>;

/// Writes the answer of one turn.
pub trait Engine: Send + Sync {
    /// `echo`, `native`.
    fn name(&self) -> &'static str;

    /// The model id sessions record, and the provider line of the system prompt.
    fn model(&self) -> ModelId;

    /// Whether it hands [`Prompt::options`] to a model. One that does not must not be given any: nothing is dropped in silence.
    fn takes_options(&self) -> bool {
        false
    }

    /// Whether it calls tools of its own. Exchanges with tools are part of its prompts then.
    fn has_tools(&self) -> bool {
        false
    }

    /// Runs one turn, from wherever `prompt` ends: a question, or the results of a step that was kept by an earlier process. A closed
    /// sink is not an error: nobody is listening to the pieces.
    fn run<'a>(
        &'a self,
        prompt: &'a Prompt,
        journal: &'a dyn Journal,
        events: EventSink,
        cancel: CancellationToken,
    ) -> EngineFuture<'a>;
}

/// What a session records of the model it talks to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelId {
    /// Model id on the wire.
    pub model: String,
    /// Provider name.
    pub provider: String,
}

/// The engine a profile asks for (`agent.engine`). `inherited` is what the gateway was started with.
///
/// Never fails: a profile without a usable provider is served, says so in its log once, and each turn ends with
/// [`EngineError::Config`]. `health` hears of calls that fail and are made again.
pub(crate) fn from_config(
    config: &ProfileConfig,
    home: &ProfileHome,
    inherited: &[(String, String)],
    health: Health,
) -> Arc<dyn Engine> {
    match config.agent.engine {
        EngineKind::Echo => Arc::new(echo::Echo::new(config.agent.echo_delay)),
        EngineKind::Native => {
            let tools = Tools::from_config(config, home);
            let native = native::Native::from_config(config, home, inherited);
            Arc::new(native.reporting(health).with_tools(tools, config.agent.max_turns))
        }
    }
}
