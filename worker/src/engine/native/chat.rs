//! The chat-completions wire: what is sent, and how the answer is read.
//!
//! The answer is asked for as a stream always, also when nobody listens to pieces: a stream shows that the provider is alive.
//! Reading forgives what providers do in practice (a JSON body instead of a stream, chunks without choices, empty or missing
//! content, content as parts, a missing `[DONE]`) and is bounded.

use bytes::{Bytes, BytesMut};
use eventsource_stream::EventStreamError;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use serde_json::{Map, Value, json};

use super::calls::Calls;
use super::retry::Failure;
use super::sse::{self, StreamError};
use crate::engine::{Event, EventSink, Message, Prompt, Role, Usage};
use crate::provider::{Endpoint, Fault};

/// Longest answer, in bytes of text.
const MAX_TEXT: usize = 4 * 1024 * 1024;

/// Longest JSON body where a stream was asked for: a text of full length with every character escaped.
const MAX_JSON: usize = 8 * MAX_TEXT;

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
        if !matches!(key.as_str(), "messages" | "stream") {
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

    async fn hear(&mut self, text: String) {
        self.heard |= self.events.send(Event::Delta(text)).await.is_ok();
    }
}

/// What a provider has said so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) finish_reason: Option<String>,
    pub(super) model: Option<String>,
    pub(super) usage: Usage,
    pub(super) calls: Calls,
    /// Somebody offered tools; calls of an answer to anybody else count for nothing.
    offered: bool,
    reasoned: bool,
    done: bool,
}

impl Answer {
    /// Nothing said yet. `offered`: the request carries the client's tools.
    pub(super) fn new(offered: bool) -> Self {
        Self { offered, ..Self::default() }
    }

    /// Reads a body to its end. `audience` is told every piece of text as it comes.
    pub(super) async fn read<S, E>(&mut self, bytes: S, audience: &mut Audience) -> Result<(), Failure>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: std::error::Error + 'static,
    {
        let (head, rest) = peek(bytes).await?;
        let first = head.iter().find(|b| !b.is_ascii_whitespace()).copied();
        let bytes = stream::iter([Ok(head)]).chain(rest);
        match first {
            None => Err(Failure::new(Fault::Garbled, "the provider answered with nothing")),
            Some(b'<') => Err(Failure::new(
                Fault::Garbled,
                "the provider answered with a web page; check model.base_url",
            )),
            Some(b'{' | b'[') => {
                let whole = collect(bytes).await?;
                let value = serde_json::from_slice(&whole).map_err(|_| not_json())?;
                if let Some(text) = self.take_in(&value)? {
                    audience.hear(text).await;
                }
                self.done = true;
                self.check()
            }
            Some(_) => {
                let mut events = sse::events(bytes);
                while let Some(event) = events.next().await {
                    let event = event.map_err(unreadable)?;
                    let data = event.data.trim();
                    if data == "[DONE]" {
                        self.done = true;
                        break;
                    }
                    if data.is_empty() {
                        continue;
                    }
                    let value = serde_json::from_str(data).map_err(|_| not_json())?;
                    if let Some(text) = self.take_in(&value)? {
                        audience.hear(text).await;
                    }
                }
                self.check()
            }
        }
    }

    /// Takes in one chunk, or a whole JSON answer; gives back its text.
    fn take_in(&mut self, value: &Value) -> Result<Option<String>, Failure> {
        if let Some(error) = value.get("error").filter(|e| !e.is_null()) {
            return Err(in_stream_error(error));
        }
        if let Some(model) = value.get("model").and_then(Value::as_str).filter(|m| !m.is_empty()) {
            self.model = Some(model.to_owned());
        }
        if let Some(usage) = value.get("usage").filter(|u| u.is_object()) {
            self.usage = usage_of(usage);
        }
        let choices = value.get("choices").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let ours = choices.iter().find(|c| c.get("index").and_then(Value::as_u64).unwrap_or(0) == 0);
        let Some(choice) = ours else { return Ok(None) };
        if let Some(reason) = choice.get("finish_reason").and_then(Value::as_str).filter(|r| !r.is_empty()) {
            self.finish_reason = Some(reason.to_owned());
        }
        let message = choice.get("delta").or_else(|| choice.get("message")).unwrap_or(choice);
        self.reasoned |= ["reasoning_content", "reasoning"]
            .iter()
            .any(|key| message.get(key).and_then(Value::as_str).is_some_and(|text| !text.is_empty()));
        if self.offered && !self.calls.take_in(message, MAX_TEXT) {
            let message = format!("the calls of tools are longer than {MAX_TEXT} bytes");
            return Err(Failure::new(Fault::Request, message));
        }
        let text = ["content", "refusal", "text"].iter().find_map(|key| message.get(key).and_then(text_of));
        if let Some(text) = &text {
            if self.text.len() + text.len() > MAX_TEXT {
                return Err(Failure::new(
                    Fault::Request,
                    format!("the answer is longer than {MAX_TEXT} bytes"),
                ));
            }
            self.text.push_str(text);
        }
        Ok(text)
    }

    /// Whether this is a whole answer.
    fn check(&self) -> Result<(), Failure> {
        let reason = self.finish_reason.as_deref();
        if reason.is_none() && !self.done {
            return Err(Failure::new(
                Fault::Unreachable,
                "the provider's stream ended in the middle of the answer",
            ));
        }
        if !self.text.trim().is_empty() || !self.calls.is_empty() {
            return Ok(());
        }
        Err(match reason {
            Some("content_filter") => {
                Failure::new(Fault::Request, "the provider's content filter withheld the answer")
            }
            Some("length") => Failure::new(
                Fault::Request,
                "the model used up its output limit before it answered; raise model.max_tokens",
            ),
            _ if self.reasoned => Failure::new(Fault::Empty, "the model reasoned but did not answer"),
            _ => Failure::new(Fault::Empty, "the model's answer is empty"),
        })
    }
}

/// The first bytes up to one that is no white space, and the rest.
async fn peek<S, E>(mut bytes: S) -> Result<(Bytes, S), Failure>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::error::Error + 'static,
{
    let mut head = BytesMut::new();
    while head.len() < 64 * 1024 && head.iter().all(u8::is_ascii_whitespace) {
        match bytes.try_next().await.map_err(|e| broken(&e))? {
            Some(chunk) => head.extend_from_slice(&chunk),
            None => break,
        }
    }
    Ok((head.freeze(), bytes))
}

async fn collect<S, E>(mut bytes: S) -> Result<BytesMut, Failure>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::error::Error + 'static,
{
    let mut whole = BytesMut::new();
    while let Some(chunk) = bytes.try_next().await.map_err(|e| broken(&e))? {
        if whole.len() + chunk.len() > MAX_JSON {
            return Err(Failure::new(Fault::Request, format!("the answer is larger than {MAX_JSON} bytes")));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole)
}

fn broken(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::new(
        Fault::Unreachable,
        format!("reading the provider's answer failed: {}", super::client::innermost(error)),
    )
}

fn unreadable<E: std::error::Error + 'static>(error: EventStreamError<StreamError<E>>) -> Failure {
    match error {
        EventStreamError::Transport(StreamError::Transport(error)) => broken(&error),
        EventStreamError::Transport(too_large @ StreamError::TooLarge(..)) => {
            Failure::new(Fault::Request, too_large.to_string())
        }
        EventStreamError::Utf8(_) | EventStreamError::Parser(_) => {
            Failure::new(Fault::Garbled, "the provider's stream makes no sense")
        }
    }
}

fn not_json() -> Failure {
    Failure::new(Fault::Garbled, "the provider's answer is not JSON")
}

fn in_stream_error(error: &Value) -> Failure {
    let status = ["code", "status"]
        .iter()
        .filter_map(|key| error.get(key))
        .find_map(|v| v.as_u64().or_else(|| v.as_str()?.parse().ok()))
        .and_then(|n| u16::try_from(n).ok())
        .filter(|n| (400..600).contains(n));
    let said = message_of(error).unwrap_or_else(|| error.to_string());
    let Some(number) = status else {
        // Where there is no number, a word may still tell that it is about money or the key.
        let fault = match Fault::of_answer(400, code_of(error), &said) {
            Fault::Request => Fault::Overloaded,
            named => named,
        };
        return Failure::new(fault, format!("the provider reported an error: {said}"));
    };
    let fault = Fault::of_answer(number, code_of(error), &said);
    Failure { status, ..Failure::new(fault, format!("HTTP {number}: {said}")) }
}

/// What an error body calls itself.
pub(super) fn code_of(error: &Value) -> &str {
    let first = if let Value::Array(all) = error { all.first() } else { Some(error) };
    let inner = first.map(|first| first.get("error").filter(|inner| inner.is_object()).unwrap_or(first));
    let word = |key: &str| inner?.get(key)?.as_str();
    ["code", "type", "status"].iter().find_map(|key| word(key)).unwrap_or_default()
}

/// The sentence in an error body: providers agree on little more than that there is one.
pub(super) fn message_of(error: &Value) -> Option<String> {
    if let Some(text) = error.as_str() {
        return Some(text.to_owned());
    }
    let first = if let Value::Array(all) = error { all.first()? } else { error };
    ["error", "message", "detail", "msg", "error_msg"]
        .iter()
        .filter_map(|key| first.get(key))
        .find_map(message_of)
}

/// Text, also where it comes in parts; `None` where there is none.
fn text_of(content: &Value) -> Option<String> {
    let text = match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|p| p.get("text").and_then(Value::as_str)).collect(),
        _ => String::new(),
    };
    (!text.is_empty()).then_some(text)
}

/// Counters under the names that providers use. Cached input is not counted as input.
fn usage_of(usage: &Value) -> Usage {
    let count = |paths: &[&str]| paths.iter().find_map(|p| usage.pointer(p)?.as_u64()).unwrap_or(0);
    let read = count(&[
        "/prompt_tokens_details/cached_tokens",
        "/prompt_cache_hit_tokens",
        "/cache_read_input_tokens",
    ]);
    let written = count(&["/prompt_tokens_details/cache_write_tokens", "/cache_creation_input_tokens"]);
    Usage {
        input_tokens: count(&["/prompt_tokens", "/input_tokens"])
            .saturating_sub(read)
            .saturating_sub(written),
        output_tokens: count(&["/completion_tokens", "/output_tokens"]),
        cache_read_tokens: read,
        cache_write_tokens: written,
        reasoning_tokens: count(&["/completion_tokens_details/reasoning_tokens", "/reasoning_tokens"]),
    }
}

#[cfg(test)]
mod tests;
