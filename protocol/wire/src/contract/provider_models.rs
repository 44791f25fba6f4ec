//! The models that a profile's provider offers: one line that a helper process prints for `hermes model list`.

use serde::{Deserialize, Serialize};

/// One provider's list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Its name.
    pub provider: String,
    /// The model that turns use, where they go to this provider.
    pub model: Option<String>,
    /// Its address, without a query.
    pub base_url: String,
    /// What came of asking.
    pub outcome: Listed,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Listed {
    /// The list.
    Models(Vec<Offered>),
    /// It gave none.
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

/// A model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// Its id on the wire.
    pub id: String,
    /// Its name for people, where that is another.
    pub name: Option<String>,
    /// Tokens that a conversation may have.
    pub context: Option<u64>,
}
