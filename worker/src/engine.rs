//! A turn's engine: the seam between "a conversation continues" and whoever writes the answer.
//!
//! An engine gets the whole prompt, streams events and commits each step through the [`Journal`]; it never touches the store. `echo` is
//! offline and deterministic, `native` calls a model and tools in turn ([`steps`]), `acp` lets another program answer. Dropping the future or cancelling the token
//! interrupts; an engine must notice within a second.

pub mod acp;
mod call;
mod circles;
pub mod echo;
mod journal;
mod length;
mod message;
pub mod native;
mod preview;
mod steps;
mod watched;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hermes_config::{EngineKind, ProfileConfig, Task};
use hermes_wire::ProfileHome;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(crate) use call::call_kind;
pub use journal::{
    Booked, Cost, Delegated, Journal, Kept, Pressure, Shortened, Shortening, Squeeze, Step, Unkept,
    Unrecorded,
};
pub(crate) use length::of_message as tokens_of;
pub use message::{Message, Role};
pub(crate) use native::{Request, Tap};
pub(crate) use watched::Watched;

use crate::inbound::Source;
use crate::provider::Fault;
use crate::provider::health::Health;
use crate::tools::Tools;
use crate::tools::asking::Asker;
use crate::tools::desk::Desk;

/// What a client asks of the model besides the conversation: fields of a chat-completions request, as it sent them.
pub type Options = Map<String, Value>;

/// What whoever asks wants otherwise than the profile has it, for one turn.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wishes {
    /// Another model.
    pub model: Option<Choice>,
    /// Most calls to the model that may want tools called.
    pub max_rounds: Option<u32>,
    /// Nobody is to be asked before something dangerous.
    pub unasked: bool,
}

/// A model that was chosen for a turn.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Choice {
    /// Its id on the wire, or an alias of `model_routes`.
    pub model: String,
    /// Its provider, where that is not the profile's.
    pub provider: Option<String>,
}

/// Everything an engine needs for one turn.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prompt {
    /// Session id, for logs and tools.
    pub session_id: String,
    /// Where the question came from.
    pub platform: String,
    /// Who asked, and where.
    pub source: Source,
    /// What stays the same as long as the conversation does: the session's key, or its id where it has none.
    pub conversation: String,
    /// The model that the client asks for by a name of `model_routes`; the profile's own where it is none.
    pub route: Option<String>,
    /// The stored system prompt followed by the client's own, or none.
    pub system: String,
    /// So many bytes of it are the stored one.
    pub stored: usize,
    /// Tokens of the prompt that the last answer followed; 0: not known.
    pub last_tokens: u64,
    /// History, oldest first; the last one is the new user message, or the last result of the tools that were called.
    pub messages: Vec<Message>,
    /// For engines that [take them](Engine::takes_options); empty for others.
    pub options: Options,
    /// What is to be otherwise this time; for the same engines.
    pub wishes: Wishes,
}

/// What an engine says while it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A piece of the answer.
    Delta(String),
    /// A piece of what it thinks, which is no part of the answer.
    Thought(String),
    /// It works, and has nothing to show.
    Alive,
    /// A tool is being run, or was.
    Tool {
        /// Its name.
        name: String,
        /// The call's id.
        id: String,
        /// Its result is kept.
        done: bool,
        /// What it is about to do, in a few words; empty where it is done.
        preview: String,
        /// Its arguments; where it is done, what came of it.
        text: String,
        /// It is done, and did not work.
        failed: bool,
        /// What it has changed in files, as a unified difference, for whoever looks on.
        diff: Option<String>,
    },
    /// A tool asks whoever reads along; answered by the id of the run.
    Asked {
        /// By which it is answered.
        run: String,
        /// What is asked: fields for programs.
        details: Value,
    },
    /// That question has an answer.
    Heard {
        /// The same.
        run: String,
        /// `once`, `session`, `always`, `deny`.
        choice: String,
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
    /// The limit on calls for tools was reached: the text is a summary of what was done.
    pub is_cut_short: bool,
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
    asker: Option<Arc<dyn Asker>>,
    desk: Option<Arc<dyn Desk>>,
    /// Nobody is shown the pieces; they only say that there is life.
    is_unheard: bool,
}

impl EventSink {
    /// For a turn that has a place to give back while it waits.
    pub fn new(pieces: mpsc::Sender<Event>, seat: Arc<dyn Seat>) -> Self {
        Self { pieces, seat: Some(seat), asker: None, desk: None, is_unheard: false }
    }

    /// For a turn in which somebody can be asked.
    #[must_use]
    pub fn asking(self, asker: Option<Arc<dyn Asker>>) -> Self {
        Self { asker, ..self }
    }

    /// Who can be asked; none where nobody can.
    pub fn asker(&self) -> Option<Arc<dyn Asker>> {
        self.asker.clone()
    }

    /// For work whose pieces nobody is shown: whatever was said of it may be said again.
    pub fn unheard(pieces: mpsc::Sender<Event>) -> Self {
        Self { is_unheard: true, ..pieces.into() }
    }

    /// The same, where what was said can be taken back: it may be said again too.
    #[must_use]
    pub fn repeatable(self, is_repeatable: bool) -> Self {
        Self { is_unheard: self.is_unheard || is_repeatable, ..self }
    }

    /// Whether somebody is shown the pieces, and keeps them.
    pub fn is_heard(&self) -> bool {
        !self.is_unheard
    }

    /// The same, where whoever the turn works for can be asked something.
    #[must_use]
    pub fn with_desk(self, desk: Option<Arc<dyn Desk>>) -> Self {
        Self { desk, ..self }
    }

    /// Whoever can be asked something.
    pub fn desk(&self) -> Option<&Arc<dyn Desk>> {
        self.desk.as_ref()
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
        Self { pieces, seat: None, asker: None, desk: None, is_unheard: false }
    }
}

/// A boxed engine future.
pub type EngineFuture<'a> = Pin<Box<dyn Future<Output = Result<Outcome, EngineError>> + Send + 'a>>;

/// A job of a model beside a conversation: no history, no tools, no listener.
#[derive(Debug, Clone)]
pub struct Chore {
    /// Which.
    pub task: Task,
    /// The session that it is about, for logs.
    pub session_id: String,
    /// What is to be done.
    pub system: String,
    /// What with.
    pub text: String,
}

/// When it has ended what it started.
pub type Closing<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Writes the answer of one turn.
pub trait Engine: Send + Sync {
    /// `echo`, `native`, `acp`.
    fn name(&self) -> &'static str;

    /// The model id sessions record, and the provider line of the system prompt.
    fn model(&self) -> ModelId;

    /// The same of a turn with another model.
    fn model_of(&self, choice: Option<&Choice>) -> ModelId {
        let _ = choice;
        self.model()
    }

    /// Whether it hands [`Prompt::options`] to a model. One that does not must not be given any: nothing is dropped in silence.
    fn takes_options(&self) -> bool {
        false
    }

    /// Whether it calls tools of its own. Exchanges with tools are part of its prompts then.
    fn has_tools(&self) -> bool {
        false
    }

    /// Whether it does such jobs at all. One that has no model of its own does not.
    fn does(&self, _task: Task) -> bool {
        false
    }

    /// Does a job, within the time that it has. Only one that it [does](Engine::does).
    fn assist(&self, chore: Chore) -> EngineFuture<'_> {
        let task = chore.task.name();
        Box::pin(std::future::ready(Err(EngineError::Config(format!(
            "this engine has no model for `{task}`"
        )))))
    }

    /// Whether what is put behind the results of its tools reaches whoever answers.
    fn is_steered(&self) -> bool {
        self.has_tools()
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

    /// Ends what it started. No turn runs any more.
    fn close(&self) -> Closing<'_> {
        Box::pin(std::future::ready(()))
    }
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
/// [`EngineError::Config`]. `health` hears of calls that fail and are made again, `tap` of what is sent; `around` says
/// what there is around an agent.
pub(crate) fn from_config(
    config: &Arc<ProfileConfig>,
    home: &ProfileHome,
    inherited: &[(String, String)],
    health: Health,
    tools: &Tools,
    tap: &Tap,
    around: impl FnOnce() -> acp::Around,
) -> Arc<dyn Engine> {
    match config.agent.engine {
        EngineKind::Echo => Arc::new(echo::Echo::new(config.agent.echo_delay)),
        EngineKind::Acp => Arc::new(acp::Acp::from_config(config, home, inherited, around())),
        EngineKind::Native => {
            let native = native::Native::from_config(config, home, inherited);
            let native = native.choosing(Arc::clone(config), home.clone(), inherited.to_vec());
            let native = native.tapped(tap.clone()).reporting(health);
            Arc::new(native.with_tools(tools.clone(), config.agent.max_turns))
        }
    }
}
