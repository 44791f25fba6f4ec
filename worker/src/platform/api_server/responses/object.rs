//! A response as clients get it: what its request says of it, what came of it, and what is kept of it.

use std::sync::Arc;

use http::HeaderMap;
use serde_json::{Map, Value, json};

use super::super::answer::End;
use super::super::error::ApiError;
use super::items;
use super::store::Kept;
use crate::engine::Usage;

/// What is known of a response before there is any of it.
pub(super) struct Draft {
    /// `resp_…`
    pub(super) id: String,
    /// Seconds since the epoch.
    pub(super) created: i64,
    /// As the client sent it.
    pub(super) model: String,
    /// Fields of the request that are said again.
    pub(super) said: Map<String, Value>,
    pub(super) user: Option<String>,
    /// The client's own system text, inherited or not.
    pub(super) instructions: Option<String>,
    /// The response before.
    pub(super) previous: Option<String>,
    pub(super) conversation: Option<String>,
    /// It is kept.
    pub(super) is_stored: bool,
    /// What the model thinks is told.
    pub(super) thoughts: bool,
    /// The conversation before the request, as messages of a chat completion.
    pub(super) before: Vec<Value>,
    /// What the request adds to it.
    pub(super) new: Vec<Value>,
    /// The request's items.
    pub(super) input: Vec<Value>,
    /// The session that the turn runs in.
    pub(super) session_id: String,
    /// Session headers.
    pub(super) headers: HeaderMap,
    #[expect(dead_code, reason = "counts the turn while it lives")]
    pub(super) run: Arc<()>,
}

/// How far a response is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Status {
    InProgress,
    Completed,
    /// Its text is cut, for a reason that clients know.
    Incomplete(&'static str),
    /// There is no answer: the value of `error`.
    Failed(Value),
}

impl Status {
    /// As clients know it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete(_) => "incomplete",
            Self::Failed(_) => "failed",
        }
    }

    /// How a turn ended.
    pub(super) fn of(end: &End) -> Self {
        match end {
            End::Failed(error) => Self::Failed(told(error)),
            End::Text { finish, .. } => match finish.as_str() {
                "length" => Self::Incomplete("max_output_tokens"),
                "content_filter" => Self::Incomplete("content_filter"),
                _ => Self::Completed,
            },
        }
    }

    /// Whether the conversation goes on behind it.
    fn is_answer(&self) -> bool {
        matches!(self, Self::Completed | Self::Incomplete("max_output_tokens" | "content_filter"))
    }
}

/// What a client's going away leaves.
pub(super) const GONE: Status = Status::Incomplete("client_disconnected");

/// An error as the value of `error`, whose code is always a text.
pub(super) fn told(error: &ApiError) -> Value {
    let mut body = error.body();
    if body["code"].is_null() {
        body["code"] = "server_error".into();
    }
    body
}

impl Draft {
    /// The response with what there is of it.
    pub(super) fn object(&self, status: &Status, output: &[Value], usage: Option<&Usage>) -> Value {
        let (error, reason) = match status {
            Status::Failed(error) => (error.clone(), None),
            Status::Incomplete(reason) => (Value::Null, Some(*reason)),
            Status::InProgress | Status::Completed => (Value::Null, None),
        };
        let said = |name: &str, otherwise: Value| self.said.get(name).cloned().unwrap_or(otherwise);
        let mut object = json!({
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status.name(),
            "background": false,
            "error": error,
            "incomplete_details": reason.map(|reason| json!({"reason": reason})),
            "instructions": self.instructions,
            "max_output_tokens": said("max_output_tokens", Value::Null),
            "max_tool_calls": null,
            "metadata": said("metadata", json!({})),
            "model": self.model,
            "output": output,
            "parallel_tool_calls": said("parallel_tool_calls", json!(true)),
            "previous_response_id": self.previous,
            "reasoning": {"effort": null, "summary": null},
            "store": self.is_stored,
            "temperature": said("temperature", Value::Null),
            "text": {"format": {"type": "text"}},
            "tool_choice": said("tool_choice", json!("auto")),
            "tools": said("tools", json!([])),
            "top_p": said("top_p", Value::Null),
            "truncation": said("truncation", json!("disabled")),
            "usage": usage.map(counted),
            "user": self.user,
        });
        for (name, value) in &self.said {
            match (&mut object[name.as_str()], value) {
                (Value::Object(whole), Value::Object(said)) => whole.extend(said.clone()),
                (place, said) => *place = said.clone(),
            }
        }
        if let Some(name) = &self.conversation {
            object["conversation"] = json!({ "id": name });
        }
        object
    }

    /// What is kept of it. The conversation goes on behind an answer, and where there is none behind what was before.
    pub(super) fn kept(&self, status: &Status, response: Value, output: &[Value]) -> Kept {
        let mut history = self.before.clone();
        if status.is_answer() {
            history.extend(self.new.iter().cloned());
            history.extend(items::to_messages(output).unwrap_or_default().messages);
        }
        Kept {
            response,
            history,
            instructions: self.instructions.clone(),
            session_id: Some(self.session_id.clone()),
            input: Some(self.input.clone()),
        }
    }

    /// The conversation that it becomes the end of.
    pub(super) fn ends(&self, status: &Status) -> Option<String> {
        self.conversation.clone().filter(|_| status.is_answer())
    }
}

/// Usage as the Responses API counts it.
fn counted(usage: &Usage) -> Value {
    let input = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens;
    json!({
        "input_tokens": input,
        "input_tokens_details": {"cached_tokens": usage.cache_read_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": input + usage.output_tokens,
    })
}
