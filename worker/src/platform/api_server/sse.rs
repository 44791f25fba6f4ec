//! An answer while it is written: chunks as server-sent events.
//!
//! Pieces that are ready together leave together. Silence is broken by a comment every [`KEEPALIVE`]. Dropping the body, which
//! is what a client does that goes away, interrupts the turn.
//!
//! The head waits for the first piece, [`HEAD`] at most: a turn that fails before is answered like any other failure, with a
//! status and headers that clients act upon. In a stream they have neither.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::answer::{End, Head, usage};
use super::error::{ApiError, report};
use crate::engine::Event;
use crate::turn::{self, RunningTurn};

/// Longest silence.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(30);
/// What breaks it.
pub(super) const ALIVE: &str = ": keepalive\n\n";
/// Longest time that the head waits.
pub(super) const HEAD: Duration = Duration::from_secs(2);
/// Bytes after which pieces are sent although more are ready.
const BATCH: usize = 16 * 1024;
/// Pieces between who writes a stream and its client: a slow client slows the engine down.
const FRAMES: usize = 4;
/// The last event.
const DONE: &str = "data: [DONE]\n\n";

/// Streams a running turn. `cap` is the limit on runs, for error texts.
pub(super) async fn respond(mut running: RunningTurn, head: Head, cap: u32) -> Result<Response, ApiError> {
    let mut first = None;
    let mut end = None;
    let mut apart = false;
    let mut early = None;
    let waiting = async {
        loop {
            match running.events.recv().await {
                Some(Event::Delta(text)) if !text.is_empty() => break first = Some(text),
                Some(Event::Tool { .. }) => apart = true,
                // It has to be read now.
                Some(asked @ Event::Asked { .. }) => break early = Some(asked),
                Some(Event::Thought(text)) if head.shows_thoughts && !text.is_empty() => {
                    break early = Some(Event::Thought(text));
                }
                Some(_) => {}
                None => {
                    break end = Some(End::awaited(&mut running.outcome, cap).await);
                }
            }
        }
    };
    // Too late for a status, not for an answer.
    let _late = tokio::time::timeout(HEAD, waiting).await;
    if let Some(End::Failed(error)) = end {
        return Err(error);
    }
    let chunks = Chunks::new(&head);
    let headers = head.headers.clone();
    let state = Stream {
        running: Some(running),
        chunks,
        cap,
        first,
        early,
        end,
        apart,
        sent_text: false,
        opened: false,
        head,
    };
    let body = stream::unfold(state, |mut state| async move {
        let frame = state.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(frame)), state))
    });
    Ok(reply(headers, Body::from_stream(body)))
}

/// An answer of events.
pub(super) fn reply(headers: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// An answer whose events somebody else writes, with room for a few pieces between. It ends with the sender; a client that goes away
/// closes it.
pub(super) fn channel(headers: HeaderMap) -> (mpsc::Sender<Bytes>, Response) {
    let (frames, read) = mpsc::channel(FRAMES);
    let body = stream::unfold(read, |mut read: mpsc::Receiver<Bytes>| async {
        let frame = read.recv().await?;
        Some((Ok::<_, Infallible>(frame), read))
    });
    (frames, reply(headers, Body::from_stream(body)))
}

/// Makes pieces for a client of what the engine says.
pub(super) trait Writer {
    /// Takes in what the engine says.
    fn hear(&mut self, event: Event);
    /// Bytes that nobody has taken.
    fn waiting(&self) -> usize;
    /// Those bytes.
    fn take(&mut self) -> String;
}

/// Tells what the engine says, until it ends, or until nobody reads: `None`. What the end adds is the writer's to say.
pub(super) async fn tell(
    running: &mut RunningTurn,
    writer: &mut impl Writer,
    frames: &mpsc::Sender<Bytes>,
    cap: u32,
) -> Option<End> {
    loop {
        if writer.waiting() > 0 {
            frames.send(writer.take().into()).await.ok()?;
        }
        let next = tokio::select! {
            () = frames.closed() => return None,
            next = tokio::time::timeout(KEEPALIVE, running.events.recv()) => next,
        };
        match next {
            Err(_silent) => frames.send(Bytes::from_static(ALIVE.as_bytes())).await.ok()?,
            Ok(None) => break,
            Ok(Some(event)) => {
                writer.hear(event);
                while writer.waiting() < BATCH
                    && let Ok(event) = running.events.try_recv()
                {
                    writer.hear(event);
                }
            }
        }
    }
    tokio::select! {
        () = frames.closed() => None,
        end = End::awaited(&mut running.outcome, cap) => Some(end),
    }
}

struct Stream {
    /// `None` once everything was said.
    running: Option<RunningTurn>,
    chunks: Chunks,
    cap: u32,
    /// Came before the head was sent.
    first: Option<String>,
    early: Option<Event>,
    end: Option<End>,
    /// Tools were called since the last text: what comes next stands apart.
    apart: bool,
    sent_text: bool,
    opened: bool,
    /// Counts the run.
    head: Head,
}

impl Stream {
    /// The next bytes, or `None` at the end.
    async fn next(&mut self) -> Option<String> {
        self.running.as_ref()?;
        if !self.opened {
            self.opened = true;
            return Some(self.chunks.role());
        }
        let mut frame = String::new();
        if let Some(text) = self.first.take() {
            self.say(&mut frame, text);
            return Some(frame);
        }
        if let Some(event) = self.early.take() {
            match event {
                Event::Thought(text) => self.chunks.thought(&mut frame, &text),
                event => event_of(&mut frame, event),
            }
            return Some(frame);
        }
        if let Some(end) = self.end.take() {
            self.running = None;
            self.finish(&mut frame, end);
            return Some(frame);
        }
        loop {
            let events = &mut self.running.as_mut()?.events;
            let Ok(event) = tokio::time::timeout(KEEPALIVE, events.recv()).await else {
                return Some(ALIVE.to_owned());
            };
            let Some(event) = event else { break };
            let mut next = Some(event);
            while let Some(event) = next {
                match event {
                    Event::Delta(text) if !text.is_empty() => self.say(&mut frame, text),
                    Event::Tool { .. } => self.apart = true,
                    event @ (Event::Asked { .. } | Event::Heard { .. }) => event_of(&mut frame, event),
                    Event::Thought(text) if self.head.shows_thoughts && !text.is_empty() => {
                        self.chunks.thought(&mut frame, &text);
                    }
                    Event::Delta(_) | Event::Thought(_) | Event::Alive | Event::Retrying { .. } => {}
                }
                if frame.len() >= BATCH {
                    return Some(frame);
                }
                next = self.running.as_mut()?.events.try_recv().ok();
            }
            if !frame.is_empty() {
                return Some(frame);
            }
        }
        let end = End::awaited(&mut self.running.as_mut()?.outcome, self.cap).await;
        self.running = None;
        self.finish(&mut frame, end);
        Some(frame)
    }

    fn say(&mut self, frame: &mut String, mut text: String) {
        if std::mem::take(&mut self.apart) {
            text.insert_str(0, "\n\n");
        }
        self.sent_text = true;
        self.chunks.content(frame, &text);
    }

    fn finish(&mut self, frame: &mut String, end: End) {
        match end {
            End::Text { outcome, finish, hermes } => {
                if !self.sent_text && !outcome.text.is_empty() {
                    self.chunks.content(frame, &outcome.text);
                }
                self.chunks.calls(frame, &outcome.tool_calls);
                let mut more = Map::new();
                let usage = usage(&outcome.usage);
                if self.chunks.include_usage.is_none() {
                    more.insert("usage".to_owned(), usage.clone());
                }
                if let Some(hermes) = hermes {
                    more.insert("hermes".to_owned(), hermes);
                }
                self.chunks.finish(frame, &finish, more);
                if self.chunks.include_usage == Some(true) {
                    self.chunks.usage(frame, &usage);
                }
            }
            End::Failed(error) => {
                let body = error.body();
                let mut hermes = match error.hermes {
                    Some(hermes) => *hermes,
                    None => report(self.sent_text, true, &error.message, error.code.unwrap_or("agent_error")),
                };
                hermes["partial"] = Value::Bool(self.sent_text);
                let said = json!({"message": body["message"], "type": body["type"], "code": body["code"]});
                let more = Map::from_iter([("error".to_owned(), said), ("hermes".to_owned(), hermes)]);
                self.chunks.finish(frame, "error", more);
            }
        }
        frame.push_str(DONE);
    }
}

/// A question and its answer, as events of their own name, which clients pass over that do not know them.
fn event_of(out: &mut String, event: Event) {
    let (name, said) = match event {
        Event::Asked { run, details } => ("hermes.approval.request", turn::described(&run, details)),
        Event::Heard { run, choice } => (
            "hermes.approval.responded",
            json!({"event": "approval.responded", "run_id": run, "choice": choice, "resolved": 1}),
        ),
        _ => return,
    };
    // Writing to a string cannot fail.
    let _ = write!(out, "event: {name}\ndata: {said}\n\n");
}

/// Writes chunks of one answer.
struct Chunks {
    /// Everything of a chunk before its choices.
    opening: String,
    /// Everything of a chunk before its `delta`.
    prefix: String,
    /// `stream_options.include_usage`: `true` says the tokens in a last chunk of their own and null in the others, `false` never;
    /// without it they ride on the finishing chunk, as with 0.19.0.
    include_usage: Option<bool>,
}

impl Chunks {
    fn new(head: &Head) -> Self {
        let opening = format!(
            r#"data: {{"id":"{}","object":"chat.completion.chunk","created":{},"model":{},"choices":["#,
            head.id,
            head.created,
            Value::String(head.model.clone()),
        );
        let prefix = format!(r#"{opening}{{"index":0,"delta":"#);
        Self { opening, prefix, include_usage: head.include_usage }
    }

    /// What closes a chunk that has more to follow.
    fn end(&self) -> &'static str {
        match self.include_usage {
            Some(true) => ",\"finish_reason\":null}],\"usage\":null}\n\n",
            _ => ",\"finish_reason\":null}]}\n\n",
        }
    }

    fn role(&self) -> String {
        format!("{}{{\"role\":\"assistant\"}}{}", self.prefix, self.end())
    }

    /// Whole calls, one a chunk.
    fn calls(&self, out: &mut String, calls: &[Value]) {
        for (index, call) in calls.iter().enumerate() {
            let mut piece = Map::new();
            piece.insert("index".to_owned(), index.into());
            piece.extend(call.as_object().cloned().unwrap_or_default());
            // Writing to a string cannot fail.
            let _ = write!(out, "{}{{\"tool_calls\":[{}]}}{}", self.prefix, Value::Object(piece), self.end());
        }
    }

    fn usage(&self, out: &mut String, usage: &Value) {
        let _ = write!(out, "{}],\"usage\":{usage}}}\n\n", self.opening);
    }

    fn content(&self, out: &mut String, text: &str) {
        self.piece(out, "content", text);
    }

    /// What the model thinks, as DeepSeek and others have it, whose clients show it.
    fn thought(&self, out: &mut String, text: &str) {
        self.piece(out, "reasoning_content", text);
    }

    fn piece(&self, out: &mut String, field: &str, text: &str) {
        out.push_str(&self.prefix);
        let text = serde_json::to_string(text).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = write!(out, "{{\"{field}\":{text}}}{}", self.end());
    }

    /// The fields of `more` join those of the chunk.
    fn finish(&self, out: &mut String, reason: &str, mut more: Map<String, Value>) {
        if self.include_usage == Some(true) {
            more.entry("usage").or_insert(Value::Null);
        }
        let reason = Value::String(reason.to_owned());
        let _ = write!(out, "{}{{}},\"finish_reason\":{reason}}}]", self.prefix);
        for (key, value) in more {
            let _ = write!(out, ",{}:{value}", Value::String(key));
        }
        out.push_str("}\n\n");
    }
}
