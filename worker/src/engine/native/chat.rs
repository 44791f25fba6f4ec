//! The chat-completions wire: what is sent, and who hears the answer. `answer` reads it.
//!
//! The answer is asked for as a stream always, also when nobody listens to pieces: a stream shows that the provider is alive.

use serde_json::{Map, Value, json};

use super::shape::{LIMITS, Shape, USAGE};
use crate::engine::steps::Ask;
use crate::engine::{Event, EventSink, Message, Role};
use crate::provider::Endpoint;

/// So many of the last messages are marked for the cache.
const MARKED: usize = 2;

/// The body of a request.
pub(super) fn body(endpoint: &Endpoint, ask: &Ask<'_>, shape: &Shape) -> Value {
    let mut messages = Vec::with_capacity(ask.messages.len() + 1);
    if !ask.system.is_empty() {
        messages.push(json!({"role": "system", "content": ask.system}));
    }
    // What was thought before the question is of no more use.
    let question = ask.messages.iter().rposition(|message| message.role == Role::User);
    let of_turn = |at: usize| question.is_none_or(|question| at > question);
    messages
        .extend(ask.messages.iter().enumerate().map(|(at, message)| message_on_wire(message, of_turn(at))));
    if endpoint.takes_marks() {
        mark(endpoint, &mut messages);
    }
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(endpoint.model));
    body.insert("messages".to_owned(), Value::Array(messages));
    // The first one counts.
    let asked = LIMITS.iter().find_map(|name| Some((*name, ask.options.get(*name)?.as_u64()?)));
    let limit = match asked {
        // The client's own limit, under the name that this endpoint was found to want.
        Some((name, limit)) => Some((shape.limit_name(name, endpoint), limit)),
        None => shape.limit(endpoint),
    };
    if let Some((name, limit)) = limit {
        body.insert(name.to_owned(), json!(limit));
    }
    body.insert("stream".to_owned(), json!(true));
    if !shape.leaves_out(USAGE) {
        body.insert(USAGE.to_owned(), json!({"include_usage": true}));
    }
    for (key, value) in &endpoint.extra_body {
        // What is said to whom, and how it comes back, is not the configuration's to change; the limit is set above.
        let is_set = matches!(key.as_str(), "messages" | "stream")
            || (LIMITS.contains(&key.as_str()) && value.is_u64());
        if !is_set && !shape.leaves_out(key) {
            body.insert(key.clone(), value.clone());
        }
    }
    for (key, value) in ask.options.iter().filter(|(key, _)| !LIMITS.contains(&key.as_str())) {
        body.insert(key.clone(), value.clone());
    }
    if !ask.tools.is_empty() {
        body.insert("tools".to_owned(), Value::Array(ask.tools.to_vec()));
    }
    Value::Object(body)
}

/// Marks the system prompt and the last messages that the model is told for the provider's cache.
fn mark(endpoint: &Endpoint, messages: &mut [Value]) {
    let (system, rest) = match messages.split_first_mut() {
        Some((first, rest)) if first["role"] == "system" => (Some(first), rest),
        _ => (None, messages),
    };
    let told = rest.iter_mut().rev().filter(|message| message["role"] != "assistant");
    let told = told.filter(|message| can_carry(&message["content"])).take(MARKED);
    let mark = cache_mark(endpoint);
    for message in system.into_iter().chain(told) {
        let content = message["content"].take();
        let mut parts = match content {
            Value::Array(parts) => parts,
            text => vec![json!({"type": "text", "text": text})],
        };
        if let Some(last) = parts.last_mut() {
            last["cache_control"] = mark.clone();
        }
        message["content"] = Value::Array(parts);
    }
}

/// A mark for the provider's cache.
pub(super) fn cache_mark(endpoint: &Endpoint) -> Value {
    if endpoint.caches_an_hour {
        json!({"type": "ephemeral", "ttl": "1h"})
    } else {
        json!({"type": "ephemeral"})
    }
}

fn can_carry(content: &Value) -> bool {
    match content {
        Value::String(text) => !text.is_empty(),
        Value::Array(parts) => parts.last().is_some_and(Value::is_object),
        _ => false,
    }
}

fn message_on_wire(message: &Message, with_reasoning: bool) -> Value {
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
    if let Some(reasoning) = message.reasoning.as_ref().filter(|_| with_reasoning) {
        wire["reasoning_content"] = json!(reasoning);
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

    /// Says what the model only thinks: no part of the answer, so it may be said again by another attempt.
    pub(super) async fn overhear(&self, text: String) {
        // Nobody has to listen.
        let _ = self.events.send(Event::Thought(text)).await;
    }

    /// Says a piece of the answer.
    pub(super) async fn hear(&mut self, text: String) {
        self.heard |= self.events.send(Event::Delta(text)).await.is_ok() && self.events.is_heard();
    }
}
