//! What can become of a request to the Bot API.

use super::wire::{Refusal, WireError};

/// What became of a request that got no proper answer. No text holds the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// It cannot be made, ever.
    #[error("{reason}")]
    Unusable {
        /// For programs.
        code: String,
        /// For people.
        reason: String,
    },
    /// Answered with an error.
    #[error("{what}: Telegram says {}", said(refusal))]
    Refused {
        /// What was asked.
        what: &'static str,
        /// How it was answered.
        refusal: Refusal,
    },
    /// It did not get there.
    #[error("Telegram is not reached: {0}")]
    Unsent(String),
    /// It may have got there.
    #[error("the connection to Telegram broke: {0}")]
    Lost(String),
    /// The answer is none.
    #[error(transparent)]
    Garbled(#[from] WireError),
}

fn said(refusal: &Refusal) -> String {
    let Refusal { status, description, .. } = refusal;
    if description.is_empty() { status.to_string() } else { format!("{status} ({description})") }
}
