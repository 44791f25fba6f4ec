//! What holds in all chats: what becomes of messages that come while a turn runs, and who writes down what was said.

use std::time::Duration;

/// What a chat's message does to the turn that runs in its conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BusyMode {
    /// The turn ends without an answer, and the message's turn begins.
    Interrupt,
    /// It waits for its own turn.
    Queue,
    /// It is put into the turn behind the next results of tools; without any it waits.
    Steer,
}

/// What writes down what was said: a command of a shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stt {
    /// With `{input_path}`, `{output_dir}`, `{output_path}`, `{language}` and `{model}` in it.
    pub command: String,
    /// `language`. Default `en`.
    pub language: String,
    /// `model`. Default `base`.
    pub model: String,
    /// `timeout`: how long it may take. Default 60 s.
    pub timeout: Duration,
}

/// What somebody hears whose message comes while a turn runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusyAcks {
    /// `display.busy_ack_enabled`: anything. Default true.
    pub enabled: bool,
    /// `display.busy_ack_detail`: how far the turn is. Default true.
    pub detail: bool,
    /// `display.busy_steer_ack_enabled`: that the message is put into the turn. Default true.
    pub steer: bool,
}

impl Default for BusyAcks {
    fn default() -> Self {
        Self { enabled: true, detail: true, steer: true }
    }
}
