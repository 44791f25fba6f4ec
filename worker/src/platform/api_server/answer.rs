//! One answer of a chat completion, streamed or whole: what is known of it before it is written, and how its turn ended.

use std::sync::Arc;

use http::HeaderMap;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::error::{ApiError, report};
use super::session::{self, SESSION_ID};
use crate::engine::{Event, Outcome, Usage};
use crate::turn::{RunningTurn, TurnError};

/// What is known of an answer before it is written.
pub(super) struct Head {
    /// `chatcmpl-…`
    pub(super) id: String,
    /// Seconds since the epoch.
    pub(super) created: i64,
    /// As the client sent it.
    pub(super) model: String,
    /// `stream_options.include_usage`.
    pub(super) include_usage: Option<bool>,
    /// What the model thinks is told too.
    pub(super) shows_thoughts: bool,
    /// Session headers.
    pub(super) headers: HeaderMap,
    #[expect(dead_code, reason = "counts the run while it lives")]
    pub(super) run: Arc<()>,
}

impl Head {
    /// Says in which session the turn runs: a client that named an earlier one of its line names the right one next time.
    pub(super) fn ran_in(&mut self, session: &str) {
        if let Some(id) = session::echo(session) {
            self.headers.insert(SESSION_ID, id);
        }
    }
}

/// How a turn ended, for clients.
pub(super) enum End {
    /// With text; `hermes` where it is not all there is.
    Text { outcome: Outcome, finish: String, hermes: Option<Value> },
    /// Without.
    Failed(ApiError),
}

impl End {
    /// Waits for it, once nothing more happens.
    pub(super) async fn awaited(
        outcome: &mut oneshot::Receiver<Result<Outcome, TurnError>>,
        cap: u32,
    ) -> Self {
        Self::new(outcome.await.unwrap_or(Err(TurnError::Panicked)), cap)
    }

    pub(super) fn new(result: Result<Outcome, TurnError>, cap: u32) -> Self {
        match result {
            Err(error) => Self::Failed(ApiError::from_turn(&error, cap)),
            Ok(outcome) if outcome.text.trim().is_empty() && outcome.tool_calls.is_empty() => {
                Self::Failed(ApiError::no_text())
            }
            Ok(outcome) => {
                let finish = match outcome.finish_reason.as_str() {
                    "" => "stop".to_owned(),
                    other => other.to_owned(),
                };
                let hermes = (finish == "length").then(|| {
                    report(true, false, "The answer was cut at the model's output limit", "output_truncated")
                });
                Self::Text { outcome, finish, hermes }
            }
        }
    }
}

/// Runs a turn to its end; `hear` is told what happens in it. `cap` is the limit on runs, for error texts.
pub(super) async fn run_out(running: RunningTurn, cap: u32, mut hear: impl FnMut(Event)) -> End {
    let RunningTurn { mut events, mut outcome, cancel: _interrupts_when_dropped, .. } = running;
    // Whoever listens: the engine waits for room.
    while let Some(event) = events.recv().await {
        hear(event);
    }
    End::awaited(&mut outcome, cap).await
}

/// Usage as OpenAI counts it.
pub(super) fn usage(usage: &Usage) -> Value {
    let prompt = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens;
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": usage.output_tokens,
        "total_tokens": prompt + usage.output_tokens,
    })
}
