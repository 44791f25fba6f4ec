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
use http::{HeaderValue, header};
use serde_json::{Value, json};

use super::chat::{End, Head, usage};
use super::error::{ApiError, report};
use crate::engine::Event;
use crate::turn::{RunningTurn, TurnError};

/// Longest silence.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Longest time that the head waits.
const HEAD: Duration = Duration::from_secs(2);
/// Bytes after which pieces are sent although more are ready.
const BATCH: usize = 16 * 1024;
/// The last event.
const DONE: &str = "data: [DONE]\n\n";

/// Streams a running turn. `cap` is the limit on runs, for error texts.
pub(super) async fn respond(mut running: RunningTurn, head: Head, cap: u32) -> Result<Response, ApiError> {
    let mut first = None;
    let mut end = None;
    let waiting = async {
        loop {
            match running.events.recv().await {
                Some(Event::Delta(text)) if !text.is_empty() => break first = Some(text),
                Some(_) => {}
                None => {
                    let result = (&mut running.outcome).await.unwrap_or(Err(TurnError::Panicked));
                    break end = Some(End::new(result, cap));
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
        end,
        sent_text: false,
        opened: false,
        _head: head,
    };
    let body = stream::unfold(state, |mut state| async move {
        let frame = state.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(frame)), state))
    });
    let mut response = Response::new(Body::from_stream(body));
    *response.headers_mut() = headers;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

struct Stream {
    /// `None` once everything was said.
    running: Option<RunningTurn>,
    chunks: Chunks,
    cap: u32,
    /// Came before the head was sent.
    first: Option<String>,
    end: Option<End>,
    sent_text: bool,
    opened: bool,
    /// Counts the run.
    _head: Head,
}

impl Stream {
    /// The next bytes, or `None` at the end.
    async fn next(&mut self) -> Option<String> {
        let running = self.running.as_mut()?;
        if !self.opened {
            self.opened = true;
            return Some(self.chunks.role());
        }
        let mut frame = String::new();
        if let Some(text) = self.first.take() {
            self.sent_text = true;
            self.chunks.content(&mut frame, &text);
            return Some(frame);
        }
        if let Some(end) = self.end.take() {
            self.running = None;
            self.finish(&mut frame, end);
            return Some(frame);
        }
        loop {
            let Ok(event) = tokio::time::timeout(KEEPALIVE, running.events.recv()).await else {
                return Some(": keepalive\n\n".to_owned());
            };
            let Some(event) = event else { break };
            let mut next = Some(event);
            while let Some(event) = next {
                if let Event::Delta(text) = event
                    && !text.is_empty()
                {
                    self.sent_text = true;
                    self.chunks.content(&mut frame, &text);
                }
                if frame.len() >= BATCH {
                    return Some(frame);
                }
                next = running.events.try_recv().ok();
            }
            if !frame.is_empty() {
                return Some(frame);
            }
        }
        let result = (&mut running.outcome).await.unwrap_or(Err(TurnError::Panicked));
        self.running = None;
        self.finish(&mut frame, End::new(result, self.cap));
        Some(frame)
    }

    fn finish(&mut self, frame: &mut String, end: End) {
        match end {
            End::Text { outcome, finish, hermes } => {
                if !self.sent_text {
                    self.chunks.content(frame, &outcome.text);
                }
                let mut more = json!({ "usage": usage(&outcome.usage) });
                if let Some(hermes) = hermes {
                    more["hermes"] = hermes;
                }
                self.chunks.finish(frame, &finish, &more);
            }
            End::Failed(error) => {
                let body = error.body();
                let hermes = match error.hermes {
                    Some(hermes) => *hermes,
                    None => report(self.sent_text, true, &error.message, error.code.unwrap_or("agent_error")),
                };
                let mut more = json!({
                    "error": {"message": body["message"], "type": body["type"], "code": body["code"]},
                    "hermes": hermes,
                });
                more["hermes"]["partial"] = Value::Bool(self.sent_text);
                self.chunks.finish(frame, "error", &more);
            }
        }
        frame.push_str(DONE);
    }
}

/// Writes chunks of one answer.
struct Chunks {
    /// Everything of a chunk before its `delta`.
    prefix: String,
}

impl Chunks {
    fn new(head: &Head) -> Self {
        let prefix = format!(
            r#"data: {{"id":"{}","object":"chat.completion.chunk","created":{},"model":{},"choices":[{{"index":0,"delta":"#,
            head.id,
            head.created,
            Value::String(head.model.clone()),
        );
        Self { prefix }
    }

    fn role(&self) -> String {
        format!("{}{{\"role\":\"assistant\"}},\"finish_reason\":null}}]}}\n\n", self.prefix)
    }

    fn content(&self, out: &mut String, text: &str) {
        out.push_str(&self.prefix);
        let text = serde_json::to_string(text).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = write!(out, "{{\"content\":{text}}},\"finish_reason\":null}}]}}\n\n");
    }

    /// `more` is an object whose fields join those of the chunk.
    fn finish(&self, out: &mut String, reason: &str, more: &Value) {
        let more = more.to_string();
        let fields = more.strip_prefix('{').unwrap_or(&more);
        let reason = Value::String(reason.to_owned());
        let _ = write!(out, "{}{{}},\"finish_reason\":{reason}}}],{fields}\n\n", self.prefix);
    }
}
