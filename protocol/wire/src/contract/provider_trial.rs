//! What asking a profile's provider came to: one line that a helper process prints for `hermes doctor --online`.

use serde::{Deserialize, Serialize};

/// One provider, asked once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Its name.
    pub provider: String,
    /// The model that turns use.
    pub model: String,
    /// Its address, without a query.
    pub base_url: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It would answer a turn.
    Answers {
        /// By what that was seen.
        how: String,
    },
    /// It would not.
    Fails {
        /// As in `last_error`.
        class: String,
        /// HTTP status, where there was an answer.
        code: Option<u16>,
        /// For people; holds no secret.
        message: String,
    },
    /// There is nobody to ask.
    NotAsked {
        /// Why.
        why: String,
    },
}
