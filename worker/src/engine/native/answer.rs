//! The answer of a provider, read as stock clients read it; `wire` makes chunks of chat completions of every other wire's.
//!
//! The measure of tolerance is what `openai` (Python) and `litellm` accept. No shape that a server was seen to send costs an answer
//! that was there: a JSON body instead of a stream, chunks without choices, content as parts, numbers as text, an end without
//! `[DONE]` or without a reason, a connection that breaks after the end. What is not an answer is told from one: an error
//! inside a 200, in any shape, means what it says.
//!
//! # Guarantees
//!
//! - Where the pieces of the body were cut does not matter.
//! - What was heard is what is kept, and reasoning is neither.
//! - Everything is bounded: an event, the body, the text, the wait for what follows the end.
//! - A failure quotes what a server says in place of an answer, and never an answer.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, TryStreamExt};
use hermes_wire::providers::Wire;
use serde_json::Value;

use super::calls::Calls;
use super::chat::Audience;
use super::finish::Finish;
use super::lenient::{self, Halves, Json};
use super::numbers;
use super::reader::Reader;
use super::retry::Failure;
use super::sse::{DONE, Decoder, Frame};
use super::think::{Sorted, Sorter};
use crate::engine::Usage;
use crate::provider::Fault;
use crate::provider::said::{self, Said};

/// Longest answer, in bytes of text.
const MAX_TEXT: usize = 4 * 1024 * 1024;

/// Longest JSON body where a stream was asked for: a text of full length with every character escaped.
const MAX_JSON: usize = 8 * MAX_TEXT;

/// Longest name of a model that is believed, in bytes.
const MAX_MODEL: usize = 256;

/// Most of a body that is no answer at all which is looked at, in bytes.
const MAX_PAGE: usize = 16 * 1024;

/// Wait for what follows the end of an answer: the usage and the mark. Some servers leave the connection open instead.
const TAIL: Duration = Duration::from_secs(10);

/// What a provider has said so far.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about what came")]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Answer {
    pub(super) text: String,
    /// What the model only thought.
    pub(super) reasoning: String,
    /// It came as `reasoning_content`: whoever sends that wants it back with the results of tools (DeepSeek, Moonshot).
    echoes: bool,
    pub(super) calls: Calls,
    pub(super) model: Option<String>,
    pub(super) usage: Usage,
    finish: Option<Finish>,
    /// Somebody offered tools; calls of an answer to anybody else count for nothing.
    offered: bool,
    /// They were called all the same.
    uncalled: bool,
    /// Text that nobody has been told yet.
    unheard: String,
    /// How much of what it thought was told, in bytes.
    thought: usize,
    /// Content so far, in bytes, and every piece of a call.
    size: usize,
    /// Content came, whatever it was.
    spoke: bool,
    halves: Halves,
    thoughts: Halves,
    sorter: Sorter,
    /// The choice that is read, where there are several.
    index: Option<u64>,
    /// What makes chunks of another wire's events.
    reader: Reader,
    /// A chunk was an answer's.
    known: bool,
    /// Something was no JSON, and passed over.
    garbled: bool,
    /// More came after a reason to stop: it was none.
    premature: bool,
    done: bool,
}

/// How a stream came to its end.
enum End {
    /// Its server said so.
    Marked,
    /// It just ended.
    Clean,
    Broken(Failure),
}

impl Answer {
    /// Nothing said yet. `offered`: the request carries tools.
    pub(super) fn new(wire: Wire, offered: bool) -> Self {
        Self { offered, reader: Reader::of(wire), ..Self::default() }
    }

    /// Reads a body to its end. `audience` is told every piece of text, and of what the model thinks, as it comes.
    pub(super) async fn read<S, E>(&mut self, bytes: S, audience: &mut Audience) -> Result<(), Failure>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: std::error::Error + 'static,
    {
        let read = self.read_body(bytes, audience).await;
        self.tell(audience).await;
        if let Err(failure) = read {
            if !self.is_complete() {
                return Err(failure);
            }
            tracing::info!(
                class = failure.fault.code(),
                "the provider failed after its answer was complete; it is kept"
            );
        }
        let rest = self.halves.rest();
        let sorted = self.sorter.push(rest);
        self.keep(&sorted);
        let sorted = self.sorter.rest();
        self.keep(&sorted);
        self.reasoning.push_str(self.thoughts.rest());
        self.tell(audience).await;
        self.check()
    }

    /// Why it ended, in OpenAI's words: calls of tools where there are some, and only there.
    pub(super) fn finish_reason(&self) -> &'static str {
        let finish = match self.finish {
            // A call that was cut off, or withheld, says so.
            Some(finish @ (Finish::Length | Finish::ContentFilter)) => finish,
            _ if !self.calls.is_empty() => Finish::ToolCalls,
            _ => Finish::Stop,
        };
        finish.as_str()
    }

    /// What it thought, where the provider wants to be told again.
    pub(super) fn wanted_back(&self) -> Option<&str> {
        (self.echoes && !self.reasoning.is_empty()).then_some(&*self.reasoning)
    }

    /// What it thought, in its provider's own form, which it wants back.
    pub(super) fn thoughts(&mut self) -> Vec<Value> {
        self.reader.thoughts()
    }

    async fn read_body<S, E>(&mut self, bytes: S, audience: &mut Audience) -> Result<(), Failure>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: std::error::Error + 'static,
    {
        let (head, first, rest) = peek(bytes).await?;
        match first {
            None => Err(Failure::new(Fault::Garbled, "the provider answered with nothing")),
            Some(b'<') => {
                let reading = collect(head.clone(), rest, MAX_PAGE);
                let page = tokio::time::timeout(TAIL, reading).await.map_or(head.into(), |(page, _)| page);
                Err(web_page(&page))
            }
            Some(b'{' | b'[' | b'"') => {
                let (whole, broken) = collect(head, rest, MAX_JSON).await;
                if whole.len() > MAX_JSON {
                    return Err(Failure::new(
                        Fault::Request,
                        format!("the answer is larger than {MAX_JSON} bytes"),
                    ));
                }
                if let Some(json) = lenient::from_body(&whole) {
                    self.done = true;
                    return self.take_json(&json, false);
                }
                // JSON lines.
                let lines = self.read_lines(&whole);
                broken.map_or(lines, Err)
            }
            Some(_) => self.read_events(head, rest, audience).await,
        }
    }

    async fn read_events<S, E>(
        &mut self,
        head: Bytes,
        mut rest: S,
        audience: &mut Audience,
    ) -> Result<(), Failure>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: std::error::Error + 'static,
    {
        let mut decoder = Decoder::default();
        let mut frames = VecDeque::new();
        let mut piece = Some(head);
        let mut end = End::Clean;
        while let Some(bytes) = piece {
            let limit = decoder.push(&bytes, &mut frames);
            while let Some(frame) = frames.pop_front() {
                let taken = self.take_frame(&frame);
                self.tell(audience).await;
                taken?;
                if self.done {
                    return self.over(End::Marked, decoder.stray());
                }
            }
            limit.map_err(|too_large| Failure::new(Fault::Request, too_large.to_string()))?;
            let settled = self.finish.is_some() && !self.premature;
            let next = if settled {
                match tokio::time::timeout(TAIL, rest.try_next()).await {
                    Ok(next) => next,
                    Err(_) => break,
                }
            } else {
                rest.try_next().await
            };
            piece = next.unwrap_or_else(|error| {
                end = End::Broken(broken(&error));
                None
            });
        }
        // What was not ended properly.
        decoder.finish(&mut frames);
        for frame in frames {
            match self.take_frame(&frame) {
                Err(failure) if failure.fault == Fault::Garbled => self.garbled = true,
                taken => taken?,
            }
        }
        self.over(end, decoder.stray())
    }

    /// Reads a body that is many lines of JSON.
    fn read_lines(&mut self, whole: &[u8]) -> Result<(), Failure> {
        let mut decoder = Decoder::default();
        let mut frames = VecDeque::new();
        let limit = decoder.push(whole, &mut frames);
        decoder.finish(&mut frames);
        for frame in frames {
            self.take_frame(&frame)?;
        }
        limit.map_err(|too_large| Failure::new(Fault::Request, too_large.to_string()))?;
        if self.known { self.over(End::Clean, "") } else { Err(not_json()) }
    }

    /// Judges the end of a stream. `stray`: its lines that were no events.
    fn over(&mut self, end: End, stray: &str) -> Result<(), Failure> {
        match end {
            End::Marked => Ok(()),
            End::Broken(failure) => Err(failure),
            End::Clean if self.finish.is_some() => Ok(()),
            End::Clean if !self.known && !self.garbled && !stray.trim().is_empty() => Err(prose(stray)),
            End::Clean if !self.known && self.garbled => Err(not_json()),
            // As stock clients have it: a stream that was ended properly is whole, with or without a reason.
            End::Clean if (self.spoke || !self.calls.is_empty()) && self.calls.are_whole() => {
                tracing::info!("the provider's stream ended without a reason; its answer is taken for whole");
                Ok(())
            }
            End::Clean => Err(Failure::new(
                Fault::Unreachable,
                "the provider's stream ended in the middle of the answer",
            )),
        }
    }

    /// Takes in one event.
    fn take_frame(&mut self, frame: &Frame) -> Result<(), Failure> {
        let mut data = frame.data.trim();
        while let Some(rest) = data.strip_prefix("data:") {
            data = rest.trim_start();
        }
        let is_error = frame.name.eq_ignore_ascii_case("error");
        if data.trim_start_matches('"').starts_with(DONE) {
            self.done = true;
            return Ok(());
        }
        if data.is_empty() && !is_error {
            return Ok(());
        }
        if let Some(json) = lenient::parse(data) {
            return self.take_json(&json, is_error);
        }
        if is_error || data.starts_with("[ERROR]") {
            return Err(reported(&Said::text(data)));
        }
        // Several values in one event.
        if frame.data.contains('\n') {
            let mut all = Ok(());
            for line in frame.data.lines().filter(|line| !line.trim().is_empty()) {
                all = all.and_then(|()| self.take_frame(&Frame { data: line.to_owned(), ..frame.clone() }));
            }
            return all;
        }
        if data.starts_with(['{', '[']) {
            return Err(not_json());
        }
        // A word to keep the connection alive: no text of an answer is outside of an object.
        self.garbled = true;
        Ok(())
    }

    fn take_json(&mut self, json: &Json, is_error: bool) -> Result<(), Failure> {
        match &json.value {
            Value::Array(values) => {
                values.iter().try_for_each(|value| self.take_in(value, json.mended, is_error))
            }
            Value::String(text) if is_error || self.done => Err(reported(&Said::text(text))),
            value => self.take_in(value, json.mended, is_error),
        }
    }

    /// Takes in one chunk, or a whole JSON answer.
    fn take_in(&mut self, event: &Value, mended: bool, is_error: bool) -> Result<(), Failure> {
        let read = self.reader.chunk(event);
        self.done |= self.reader.is_over();
        let chunk = read.as_ref().unwrap_or(event);
        if let Some(said) = said::within(chunk, is_error) {
            return Err(reported(&said));
        }
        let model = chunk.get("model").and_then(Value::as_str).map(str::trim);
        if let Some(model) = model.filter(|model| !model.is_empty() && model.len() <= MAX_MODEL) {
            self.model = Some(lenient::settled(model));
        }
        if let Some(usage) = numbers::usage(chunk) {
            self.usage = usage;
        }
        let choices = match chunk.get("choices") {
            Some(Value::Array(choices)) => &choices[..],
            Some(choice @ Value::Object(_)) => std::slice::from_ref(choice),
            _ => return Ok(()),
        };
        self.known = true;
        let index = |choice: &Value| choice.get("index").and_then(numbers::whole).unwrap_or(0);
        let Some(first) = choices.first() else { return Ok(()) };
        let any_zero = choices.iter().any(|choice| index(choice) == 0);
        let ours = *self.index.get_or_insert(if any_zero { 0 } else { index(first) });
        choices
            .iter()
            .filter(|choice| index(choice) == ours)
            .try_for_each(|choice| self.take_choice(choice, mended))
    }

    fn take_choice(&mut self, choice: &Value, mended: bool) -> Result<(), Failure> {
        let object = |key: &str| choice.get(key).filter(|value| value.is_object());
        let before = self.size;
        match (object("delta"), object("message")) {
            // The whole message once more, at the end of its pieces.
            (None, Some(_)) if self.spoke => {}
            (Some(delta), Some(message)) if !self.spoke && !says(delta) => {
                self.take_message(message, mended)?;
            }
            (Some(message), _) | (None, Some(message)) => self.take_message(message, mended)?,
            (None, None) => self.take_message(choice, mended)?,
        }
        self.premature |= self.finish.is_some() && self.size > before;
        if let Some(finish) = Finish::of(choice) {
            self.finish = Some(finish);
        }
        Ok(())
    }

    fn take_message(&mut self, message: &Value, mended: bool) -> Result<(), Failure> {
        let mut parts = Sorted::default();
        for key in ["reasoning_content", "reasoning", "thinking", "reasoning_details", "thinking_blocks"] {
            if parts.reasoning.is_empty() {
                message.get(key).inspect(|thought| spoken(thought, true, &mut parts));
                self.echoes |= key == "reasoning_content" && !parts.reasoning.is_empty();
            }
        }
        for key in ["content", "refusal", "text"] {
            if parts.answer.is_empty() {
                message.get(key).inspect(|content| spoken(content, false, &mut parts));
            }
        }
        let calls = ["tool_calls", "function_call"].iter().filter_map(|key| message.get(*key));
        let calls = calls
            .filter(|calls| calls.is_object() || calls.as_array().is_some_and(|all| !all.is_empty()))
            .count();
        self.size += parts.answer.len() + parts.reasoning.len() + calls;
        self.uncalled |= calls > 0 && !self.offered;
        if self.offered && !self.calls.take_in(message, mended, MAX_TEXT) {
            return Err(Failure::new(
                Fault::Request,
                format!("the calls of tools are longer than {MAX_TEXT} bytes"),
            ));
        }
        if self.size > MAX_TEXT {
            return Err(Failure::new(Fault::Request, format!("the answer is longer than {MAX_TEXT} bytes")));
        }
        self.reasoning.push_str(&self.thoughts.join(&parts.reasoning, mended));
        self.spoke |= !parts.answer.is_empty();
        let text = self.halves.join(&parts.answer, mended);
        let sorted = self.sorter.push(&text);
        self.keep(&sorted);
        Ok(())
    }

    fn keep(&mut self, sorted: &Sorted) {
        self.text.push_str(&sorted.answer);
        self.unheard.push_str(&sorted.answer);
        self.reasoning.push_str(&sorted.reasoning);
    }

    async fn tell(&mut self, audience: &mut Audience) {
        if self.reasoning.len() > self.thought {
            audience.overhear(self.reasoning[self.thought..].to_owned()).await;
            self.thought = self.reasoning.len();
        }
        if !self.unheard.is_empty() {
            audience.hear(std::mem::take(&mut self.unheard)).await;
        }
    }

    /// Whether nothing of it is missing, whatever happens to its connection now.
    fn is_complete(&self) -> bool {
        let ended = self.finish.is_some_and(|finish| finish != Finish::Broken);
        ended && (!self.text.trim().is_empty() || !self.calls.is_empty())
    }

    /// Whether this is an answer.
    fn check(&self) -> Result<(), Failure> {
        if self.finish == Some(Finish::Broken) {
            return Err(Failure::new(Fault::Overloaded, "the provider gave up in the middle of the answer"));
        }
        if !self.text.trim().is_empty() || !self.calls.is_empty() {
            return Ok(());
        }
        Err(match self.finish {
            Some(Finish::ContentFilter) => {
                Failure::new(Fault::Request, "the provider's content filter withheld the answer")
            }
            Some(Finish::Length) => Failure::new(
                Fault::Request,
                "the model used up its output limit before it answered; raise model.max_tokens",
            ),
            _ if self.uncalled => {
                Failure::new(Fault::Empty, "the model called a tool, and none was offered to it")
            }
            _ if !self.reasoning.is_empty() => {
                Failure::new(Fault::Empty, "the model reasoned but did not answer")
            }
            _ if !self.known => Failure::new(Fault::Garbled, "the provider's answer has no choices"),
            _ => Failure::new(Fault::Empty, "the model's answer is empty"),
        })
    }
}

/// Sorts what a value says, in one text or in parts. `thought`: where it stands, it is reasoning.
fn spoken(content: &Value, thought: bool, parts: &mut Sorted) {
    let into = if thought { &mut parts.reasoning } else { &mut parts.answer };
    match content {
        Value::String(text) => into.push_str(text),
        Value::Number(number) => into.push_str(&number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| spoken(item, thought, parts)),
        Value::Object(part) => {
            let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
            let thought = thought || kind.contains("think") || kind.contains("reason");
            // One of them; a signature or encrypted data is neither.
            let said = ["text", "thinking", "reasoning", "summary", "value", "content"]
                .iter()
                .find_map(|key| part.get(*key));
            said.inspect(|said| spoken(said, thought, parts));
        }
        Value::Null | Value::Bool(_) => {}
    }
}

/// Whether a delta has content.
fn says(delta: &Value) -> bool {
    delta.get("content").is_some_and(|content| {
        let mut parts = Sorted::default();
        spoken(content, false, &mut parts);
        parts != Sorted::default()
    })
}

/// The first bytes up to one that is neither white space nor of a byte order mark, that byte, and the rest.
async fn peek<S, E>(mut bytes: S) -> Result<(Bytes, Option<u8>, S), Failure>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::error::Error + 'static,
{
    let is_space = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, 0xEF | 0xBB | 0xBF);
    let mut head = BytesMut::new();
    while head.len() < MAX_PAGE && head.iter().all(is_space) {
        match bytes.try_next().await.map_err(|e| broken(&e))? {
            Some(chunk) => head.extend_from_slice(&chunk),
            None => break,
        }
    }
    let first = head.iter().find(|byte| !is_space(byte)).copied();
    // So much white space is a stream of some kind.
    let first = first.or_else(|| (head.len() >= MAX_PAGE).then_some(b'\n'));
    Ok((head.freeze(), first, bytes))
}

/// The body up to the first piece that passes `limit`, and how it broke off.
async fn collect<S, E>(head: Bytes, mut rest: S, limit: usize) -> (BytesMut, Option<Failure>)
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::error::Error + 'static,
{
    let mut whole = BytesMut::from(head);
    while whole.len() <= limit {
        match rest.try_next().await {
            Ok(Some(chunk)) => whole.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) => return (whole, Some(broken(&error))),
        }
    }
    (whole, None)
}

fn broken(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::new(
        Fault::Unreachable,
        format!("reading the provider's answer failed: {}", super::client::innermost(error)),
    )
}

fn not_json() -> Failure {
    Failure::new(Fault::Garbled, "the provider's answer is not JSON")
}

/// An error that came in place of an answer.
fn reported(said: &Said) -> Failure {
    let fault = said.fault();
    let message = lenient::settled(&said.message);
    let message = if message.is_empty() { said.word.as_str() } else { &message };
    let message = if message.is_empty() { "without a word" } else { message };
    match said.status {
        Some(status) => {
            Failure { status: Some(status), ..Failure::new(fault, format!("HTTP {status}: {message}")) }
        }
        None => Failure::new(fault, format!("the provider reported an error: {message}")),
    }
}

/// A web page; its title says what it is.
fn web_page(bytes: &[u8]) -> Failure {
    let text = String::from_utf8_lossy(bytes);
    let lower = text.to_ascii_lowercase();
    let title = lower.find("<title").and_then(|at| {
        let from = at + lower[at..].find('>')? + 1;
        Some(text[from..from + lower[from..].find('<')?].trim())
    });
    let title = title.filter(|title| !title.is_empty()).map(|title| format!(" (`{title}`)"));
    Failure::new(
        Fault::Garbled,
        format!("the provider answered with a web page{}; check model.base_url", title.unwrap_or_default()),
    )
}

/// Text that is neither an answer nor JSON, of a proxy for example.
fn prose(text: &str) -> Failure {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let fault = match Said::text(&text).fault() {
        // Nothing in it says more.
        Fault::Overloaded | Fault::Request | Fault::TooLong => Fault::Garbled,
        named => named,
    };
    Failure::new(fault, format!("the provider answered with text and no answer: {}", text.trim()))
}

#[cfg(test)]
mod tests;
