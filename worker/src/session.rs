//! Sessions: ids, origins, the routing index and stored history, as 0.19.0 writes and reads them.

use crate::engine::ModelId;
use crate::inbound::Source;

/// What a system prompt may depend on, besides the profile. It is built once per session and stored with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptContext<'a> {
    /// Session id.
    pub session_id: &'a str,
    /// Origin; only `platform` is set for direct turns.
    pub source: &'a Source,
    /// Model and provider that the session records.
    pub model: &'a ModelId,
    /// The day the session starts, in the profile's time zone.
    pub today: jiff::civil::Date,
}

/// Builds the system prompt of a session. Called on the writer thread, once per new session: it must not take long.
pub type PromptBuilder = std::sync::Arc<dyn Fn(&PromptContext<'_>) -> String + Send + Sync>;
