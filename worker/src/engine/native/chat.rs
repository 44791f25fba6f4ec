//! The chat-completions wire: what is sent, and who hears the answer. `answer` reads it.
//!
//! The answer is asked for as a stream always, also when nobody listens to pieces: a stream shows that the provider is alive.

use serde_json::{Map, Value, json};

use super::retry::Failure;
use crate::engine::{Event, EventSink, Message, Prompt, Role};
use crate::provider::Endpoint;

/// `max_tokens` for a custom endpoint where nothing is configured.
const CUSTOM_MAX_TOKENS: u64 = 65_536;

/// How a provider wants the limit on the answer's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    None,
    MaxTokens(u64),
    MaxCompletionTokens(u64),
}

/// The parts of a request that providers disagree about. Learned from refusals and kept for the following calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    limit: Limit,
    /// The limit is ours, nobody configured it.
    default_limit: bool,
    usage_in_stream: bool,
}

impl Shape {
    /// What is sent at first.
    pub(super) fn new(endpoint: &Endpoint) -> Self {
        let default = (endpoint.provider == "custom").then_some(CUSTOM_MAX_TOKENS);
        let limit = match endpoint.max_tokens.or(default) {
            // The reasoning models there refuse the older name, and every other one accepts the newer.
            Some(n) if endpoint.is_openai() => Limit::MaxCompletionTokens(n),
            Some(n) => Limit::MaxTokens(n),
            None => Limit::None,
        };
        Self { limit, default_limit: endpoint.max_tokens.is_none(), usage_in_stream: true }
    }

    /// What to send instead after a refusal that names the part it dislikes; `None` where that is no help.
    pub(super) fn repaired(self, failure: &Failure) -> Option<Self> {
        if !matches!(failure.status, Some(400 | 422)) {
            return None;
        }
        let names = |what: &str| failure.message.contains(what);
        match self.limit {
            Limit::MaxTokens(n) if names("max_completion_tokens") => {
                Some(Self { limit: Limit::MaxCompletionTokens(n), ..self })
            }
            Limit::MaxTokens(_) | Limit::MaxCompletionTokens(_)
                if self.default_limit
                    && (names("max_tokens") || names("max_completion_tokens") || names("context length")) =>
            {
                Some(Self { limit: Limit::None, ..self })
            }
            _ if self.usage_in_stream && names("stream_options") => {
                Some(Self { usage_in_stream: false, ..self })
            }
            _ => None,
        }
    }
}

/// The body of a request.
pub(super) fn body(endpoint: &Endpoint, prompt: &Prompt, shape: Shape) -> Value {
    let mut messages = Vec::with_capacity(prompt.messages.len() + 1);
    if !prompt.system.is_empty() {
        messages.push(json!({"role": "system", "content": prompt.system}));
    }
    messages.extend(prompt.messages.iter().map(message_on_wire));
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(endpoint.model));
    body.insert("messages".to_owned(), Value::Array(messages));
    let asked =
        LIMITS.iter().find_map(|name| Some((*name, prompt.options.get(*name)?))).filter(|(_, n)| n.is_u64());
    match shape.limit {
        // The client's own limit, under the name that this endpoint was found to want.
        Limit::MaxTokens(_) if let Some((_, n)) = asked => {
            drop(body.insert("max_tokens".to_owned(), n.clone()))
        }
        Limit::MaxCompletionTokens(_) if let Some((_, n)) = asked => {
            drop(body.insert("max_completion_tokens".to_owned(), n.clone()));
        }
        Limit::None if let Some((name, n)) = asked => drop(body.insert(name.to_owned(), n.clone())),
        Limit::None => {}
        Limit::MaxTokens(n) => drop(body.insert("max_tokens".to_owned(), json!(n))),
        Limit::MaxCompletionTokens(n) => drop(body.insert("max_completion_tokens".to_owned(), json!(n))),
    }
    body.insert("stream".to_owned(), json!(true));
    if shape.usage_in_stream {
        body.insert("stream_options".to_owned(), json!({"include_usage": true}));
    }
    for (key, value) in &endpoint.extra_body {
        // What is said to whom, and how it comes back, is not the configuration's to change.
        let is_overridden = asked.is_some() && LIMITS.contains(&key.as_str());
        if !matches!(key.as_str(), "messages" | "stream") && !is_overridden {
            body.insert(key.clone(), value.clone());
        }
    }
    for (key, value) in prompt.options.iter().filter(|(key, _)| !LIMITS.contains(&key.as_str())) {
        body.insert(key.clone(), value.clone());
    }
    Value::Object(body)
}

/// The limit on an answer's length as a client may name it; the first one counts.
const LIMITS: [&str; 2] = ["max_completion_tokens", "max_tokens"];

fn message_on_wire(message: &Message) -> Value {
    let role = match message.role {
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    let mut wire = json!({"role": role, "content": message.content});
    if let Some(name) = &message.name {
        wire["name"] = json!(name);
    }
    if !message.tool_calls.is_empty() {
        wire["tool_calls"] = Value::Array(message.tool_calls.clone());
    }
    if let Some(id) = &message.tool_call_id {
        wire["tool_call_id"] = json!(id);
    }
    wire
}

/// Whoever listens to the pieces.
pub(super) struct Audience {
    events: EventSink,
    /// Somebody has been given text: a new attempt would say it twice.
    pub(super) heard: bool,
}

impl Audience {
    /// Nothing has been said yet.
    pub(super) fn new(events: EventSink) -> Self {
        Self { events, heard: false }
    }

    /// Says that another attempt follows.
    pub(super) async fn retrying(&self, attempt: u32, reason: &str) {
        // Nobody has to listen.
        let _ = self.events.send(Event::Retrying { attempt, reason: reason.to_owned() }).await;
    }

    /// Says a piece of the answer.
    pub(super) async fn hear(&mut self, text: String) {
        self.heard |= self.events.send(Event::Delta(text)).await.is_ok();
    }
}
