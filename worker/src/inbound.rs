//! What a platform hands inward: one normalised event, and what became of it.
//!
//! A platform authenticates, filters and renders; after that an event is an [`Inbound`] and nothing behind it knows the wire it
//! came from. `Inbox::accept` makes it durable before the platform answers its sender.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Who said it, and where. Field names are those of 0.19.0's `origin` objects.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Source {
    /// Platform name: `webhook`, `telegram`, …
    pub platform: String,
    /// `dm`, `group`, `channel`, `thread`, `webhook`, …
    pub chat_type: String,
    /// Chat.
    pub chat_id: Option<String>,
    /// Chat's name for people.
    pub chat_name: Option<String>,
    /// Thread in the chat.
    pub thread_id: Option<String>,
    /// Sender.
    pub user_id: Option<String>,
    /// Sender's stable second id, preferred for keys.
    pub user_id_alt: Option<String>,
    /// Sender's name for people.
    pub user_name: Option<String>,
}

/// Identity of an event for its sender: the same one twice is one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DedupKey {
    /// Route or chat.
    pub scope: String,
    /// The sender's id of the message or delivery.
    pub id: String,
}

/// Where the answer goes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DeliveryTarget {
    /// `log`, `github_comment`, or a platform name.
    pub kind: String,
    /// Rendered parameters of that kind.
    pub extra: BTreeMap<String, String>,
}

/// One event, ready to become a turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inbound {
    /// Origin; decides the session key.
    pub source: Source,
    /// The user message.
    pub text: String,
    /// Where the sender may repeat itself.
    pub dedup: Option<DedupKey>,
    /// Where the answer goes.
    pub delivery: DeliveryTarget,
    /// End the session with this reason when the turn is over, however it went (`webhook_complete`).
    pub end_session: Option<String>,
}

/// What became of an event. In every case it is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// New; will run exactly once.
    New,
    /// Known already; nothing more happens.
    Duplicate,
}
