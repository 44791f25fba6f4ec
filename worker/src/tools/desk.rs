//! Whoever a turn works for, as far as tools reach them in the middle of it.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// What comes of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// What was said next in the conversation.
    Said(String),
    /// Nothing, in time.
    Silence,
    /// The question could not be put; why.
    Unasked(String),
}

/// A question that waits for its answer.
pub type Asked<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// Somebody who can be asked something in the middle of a turn.
pub trait Desk: Send + Sync {
    /// Puts `question` into the conversation as a message of its own, and waits: what is said there next is the answer, whatever messages
    /// do otherwise that come while a turn runs. It is part of the turn from then on, once the result of the tool that asked is kept;
    /// before that a crash leaves it a message like any other. `key` is the same for the same question: it is put once. `choices` may be
    /// chosen without words, where the chat can do that: then the answer is the number of one, from 1.
    ///
    /// One question at a time; a second one waits until the first is answered. Cancel safe.
    fn ask<'a>(
        &'a self,
        key: &'a str,
        question: &'a str,
        choices: &'a [String],
        patience: Duration,
    ) -> Asked<'a>;
}
