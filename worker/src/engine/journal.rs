//! The steps of a turn, and where they are kept.
//!
//! A turn without tools has one step, its answer. With tools, every call of the model that wants some called is a step, and so is each
//! result. A step is kept before the next begins; so after a crash a turn goes on from the last one.

use std::pin::Pin;

use super::{EngineError, Message, Outcome, Usage};

/// What calls to a model cost, and whom.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cost {
    /// Tokens.
    pub usage: Usage,
    /// Calls made, failed ones included.
    pub calls: u32,
    /// Model as billed.
    pub model: String,
    /// Provider name.
    pub provider: String,
    /// Base URL.
    pub base_url: String,
}

impl Cost {
    /// What an answer cost.
    pub fn of(outcome: &Outcome) -> Self {
        Self {
            usage: outcome.usage,
            calls: outcome.calls,
            model: outcome.model.clone(),
            provider: outcome.provider.clone(),
            base_url: outcome.base_url.clone(),
        }
    }
}

/// A step before the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The model wants tools called. None of them has been.
    Calls {
        /// The assistant's message.
        message: Message,
        /// What the calls to the model cost that led to it.
        cost: Cost,
    },
    /// A tool's result.
    Result {
        /// It, as the tool's message.
        message: Message,
        /// The results of all calls of the step are there; the model is called next.
        is_last: bool,
    },
}

/// A step is not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a step of the turn could not be stored: {0}")]
pub struct Unkept(pub String);

/// When it is on disk: the message as it is kept, and as the model is to see it.
pub type Kept<'a> = Pin<Box<dyn Future<Output = Result<Message, Unkept>> + Send + 'a>>;

/// Why a conversation is to be made shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pressure {
    /// It comes near the end of the model's window.
    Near,
    /// The model refused it as too long.
    Refused,
    /// Somebody asked for it.
    Asked,
}

/// How a conversation is to be made shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Squeeze {
    /// Why.
    pub why: Pressure,
    /// Tokens that its latest messages may keep.
    pub tail: u64,
    /// How often it was made shorter just before and was too long still.
    pub round: u32,
}

/// A conversation that was made shorter; what is stored of it is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortened {
    /// The system prompt, which was built anew.
    pub system: String,
    /// The conversation.
    pub messages: Vec<Message>,
}

/// When it is on disk; else why it stays as it is. An error ends the turn.
pub type Shortening<'a> =
    Pin<Box<dyn Future<Output = Result<Result<Shortened, String>, EngineError>> + Send + 'a>>;

/// When a cost is booked.
pub type Booked<'a> = Pin<Box<dyn Future<Output = Result<(), Unkept>> + Send + 'a>>;

/// Sub-agents work for the turn for as long as this lives.
pub type Delegated<'a> = Option<Box<dyn Send + 'a>>;

/// Keeps the steps of one turn.
pub trait Journal: Send + Sync {
    /// Commits a step.
    fn keep(&self, step: Step) -> Kept<'_>;

    /// Puts a summary in the place of the older part of the conversation, with the steps that were kept.
    fn shorten(&self, _squeeze: Squeeze) -> Shortening<'_> {
        let why = "what came before is not kept here".to_owned();
        Box::pin(std::future::ready(Ok(Err(why))))
    }

    /// Sub-agents begin to work for the turn.
    fn delegates(&self) -> Delegated<'_> {
        None
    }

    /// Books what calls to a model cost that are no steps of the turn; `task` says what for.
    fn spend(&self, cost: Cost, task: &'static str) -> Booked<'_>;
}

/// The journal of a turn that nobody goes on with.
#[derive(Debug, Clone, Copy)]
pub struct Unrecorded;

impl Journal for Unrecorded {
    fn keep(&self, step: Step) -> Kept<'_> {
        let (Step::Calls { message, .. } | Step::Result { message, .. }) = step;
        Box::pin(std::future::ready(Ok(message)))
    }

    fn spend(&self, _: Cost, _: &'static str) -> Booked<'_> {
        Box::pin(std::future::ready(Ok(())))
    }
}
