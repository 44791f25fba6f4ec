//! A turn in a session: the answer whole, or as named events while it is made.
//!
//! The body has one message (`message` or `input`), and may have a system text (`system_message` or `instructions`). Everything else is as in a
//! chat completion: honoured, passed to the model, or refused by its name.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::super::answer::{End, run_out};
use super::super::replay::{Answer, Fingerprint};
use super::super::request::Named;
use super::super::session::{SESSION_ID, echo, echoed, session_key};
use super::super::sse::{self, Writer};
use super::super::{ApiServer, content, params, request};
use super::{ApiError, Id, fields, named, respond, unknown};
use crate::engine::{Event, Usage, Wishes};
use crate::platform::wire::{self, random64};
use crate::session::epoch;
use crate::turn::{self, RunningTurn, Turn};

/// Fields of chat completions that a turn of a session cannot have: its answer is a message, and the agent's own tools are used.
const NOT_HERE: [(&str, &str); 6] = [
    ("messages", "use `message`: the session has what came before"),
    ("stream", "use …/chat/stream"),
    ("stream_options", "the tokens are part of the last event"),
    ("tools", "the agent of this profile calls its own tools in a session"),
    ("tool_choice", "the agent of this profile calls its own tools in a session"),
    ("parallel_tool_calls", "the agent of this profile calls its own tools in a session"),
];

pub(in super::super) async fn answer(State(api): State<ApiServer>, id: Id, request: Request) -> Response {
    respond(whole(&api, id, request).await)
}

pub(in super::super) async fn stream(State(api): State<ApiServer>, id: Id, request: Request) -> Response {
    respond(streamed(&api, id, request).await)
}

/// A request, understood.
struct Asked {
    turn: Turn,
    /// As it is said again.
    message: Value,
    headers: HeaderMap,
    idempotency: Option<(String, Fingerprint)>,
    /// Counts the turn while it lives.
    run: Arc<()>,
}

async fn parse(api: &ApiServer, id: Id, request: Request, stream: bool) -> Result<Asked, ApiError> {
    api.authorize(request.headers())?;
    let id = named(id)?;
    let (parts, body) = request.into_parts();
    let key = session_key(&parts.headers)?;
    let mut fields = fields(&parts.headers, body).await?;
    let Named { said: model, route, choice } = request::model(api, fields.remove("model"), &fields).await?;
    let idempotency = if stream { None } else { request::idempotency_key(&parts.headers)? };
    let idempotency =
        idempotency.map(|given| (given, request::fingerprint(&fields, &model, Some(&id), key.as_deref())));
    if api.0.turns.session(&id).await.map_err(ApiError::unreadable)?.is_none() {
        return Err(unknown(&id));
    }
    let message = fields.remove("message").filter(|message| !params::is_empty(message));
    let input = fields.remove("input").filter(|input| !params::is_empty(input));
    let Some(message) = message.or(input) else {
        return Err(ApiError::invalid("Missing 'message' field").param("message").code("missing_message"));
    };
    let system = system(&mut fields)?;
    let user = request::text(&mut fields, "user")?;
    params::refuse(&mut fields, &NOT_HERE)?;
    let options = params::parse(&fields, api.0.turns.takes_options())?.options;
    let asked = json!([{"role": "user", "content": message}]);
    let mut conversation = content::parse(Some(asked), true).map_err(|mut error| {
        error.message = error.message.replace("messages", "message");
        if error.message.starts_with("No user message") {
            return ApiError::invalid("Missing 'message' field").param("message").code("missing_message");
        }
        error.param("message")
    })?;
    conversation.system = system;
    let run = request::attended(api, stream);
    let headers = echoed(key.as_deref());
    let wishes = Wishes { model: choice, ..Wishes::default() };
    let turn = Turn { options, route, run, wishes, ..api.turn(conversation, Some(id), user) };
    Ok(Asked { turn, message, headers, idempotency, run: Arc::clone(&api.0.runs) })
}

fn system(fields: &mut Map<String, Value>) -> Result<Option<String>, ApiError> {
    for name in ["system_message", "instructions"] {
        match fields.remove(name) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) if text.is_empty() => {}
            Some(Value::String(text)) => return Ok(Some(text)),
            Some(_) => {
                return Err(ApiError::invalid(format!("{name} must be a string"))
                    .param(name)
                    .code("invalid_system_message"));
            }
        }
    }
    Ok(None)
}

fn usage(usage: &Usage) -> Value {
    let input = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens;
    json!({"input_tokens": input, "output_tokens": usage.output_tokens, "total_tokens": input + usage.output_tokens})
}

async fn whole(api: &ApiServer, id: Id, request: Request) -> Result<Response, ApiError> {
    let Asked { turn, mut headers, idempotency, run: _counted, .. } = parse(api, id, request, false).await?;
    let run = async {
        let running = api.start(turn).await?;
        let session_id = running.session_id.clone();
        let outcome = match run_out(running, api.0.config.max_concurrent_runs, drop).await {
            End::Failed(error) => return Err(error),
            End::Text { outcome, .. } => outcome,
        };
        if let Some(id) = echo(&session_id) {
            headers.insert(SESSION_ID, id);
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(hermes_wire::http::JSON));
        let body = json!({
            "object": "hermes.session.chat.completion",
            "session_id": session_id,
            "message": {"role": "assistant", "content": outcome.text},
            "usage": usage(&outcome.usage),
        });
        Ok(Answer { status: StatusCode::OK, headers, body: wire::spaced(&body).into() })
    };
    request::once(api, idempotency, run).await
}

async fn streamed(api: &ApiServer, id: Id, request: Request) -> Result<Response, ApiError> {
    let Asked { turn, message, mut headers, run: counted, .. } = parse(api, id, request, true).await?;
    let run = turn.run.clone().unwrap_or_default();
    let running = api.start(turn).await?;
    if let Some(id) = echo(&running.session_id) {
        headers.insert(SESSION_ID, id);
    }
    let mut log = Log::new(running.session_id.clone(), run, &message);
    log.begin();
    let (frames, response) = sse::channel(headers);
    let cap = api.0.config.max_concurrent_runs;
    api.0.tasks.spawn(async move {
        // Whoever has gone needs nothing more; dropping the turn ends it.
        let _gone = write(running, log, &frames, cap).await;
        drop(counted);
    });
    Ok(response)
}

/// Writes until the end; `None`: nobody reads any more.
async fn write(mut running: RunningTurn, mut log: Log, frames: &mpsc::Sender<Bytes>, cap: u32) -> Option<()> {
    let end = sse::tell(&mut running, &mut log, frames, cap).await?;
    log.end(end);
    frames.send(log.out.into()).await.ok()
}

/// Named events, each with the session, the run, a number and a time.
struct Log {
    session: String,
    run: String,
    message: String,
    seq: u64,
    out: String,
    /// The turn's messages so far.
    transcript: Vec<Value>,
    said: bool,
}

impl Log {
    fn new(session: String, run: String, asked: &Value) -> Self {
        let message = format!("msg_{:016x}{:016x}", random64(), random64());
        let transcript = vec![json!({"role": "user", "content": asked})];
        Self { session, run, message, seq: 0, out: String::new(), transcript, said: false }
    }

    fn tell(&mut self, name: &str, mut fields: Value) {
        self.seq += 1;
        fields["session_id"] = self.session.as_str().into();
        fields["run_id"] = self.run.as_str().into();
        fields["seq"] = self.seq.into();
        fields["ts"] = epoch().into();
        // Writing to a string cannot fail.
        let _ = write!(self.out, "event: {name}\ndata: {fields}\n\n");
    }

    fn begin(&mut self) {
        let asked = self.transcript[0].clone();
        self.tell("run.started", json!({ "user_message": asked }));
        self.tell("message.started", json!({"message": {"id": self.message, "role": "assistant"}}));
    }

    fn end(&mut self, end: End) {
        let message = self.message.clone();
        match end {
            End::Failed(error) => self.tell("error", json!({"message": error.message, "code": error.code})),
            End::Text { outcome, hermes, .. } => {
                if !self.said && !outcome.text.is_empty() {
                    self.tell("assistant.delta", json!({"message_id": message, "delta": outcome.text}));
                }
                let partial = hermes.is_some();
                self.transcript.push(json!({"role": "assistant", "content": outcome.text}));
                self.tell(
                    "assistant.completed",
                    json!({"message_id": message, "content": outcome.text, "completed": !partial, "partial": partial, "interrupted": false}),
                );
                let messages = std::mem::take(&mut self.transcript);
                self.tell(
                    "run.completed",
                    json!({"message_id": message, "completed": !partial, "messages": messages, "usage": usage(&outcome.usage)}),
                );
            }
        }
        self.tell("done", json!({}));
    }
}

impl Writer for Log {
    fn hear(&mut self, event: Event) {
        let message = self.message.clone();
        match event {
            Event::Delta(text) if !text.is_empty() => {
                self.said = true;
                self.tell("assistant.delta", json!({"message_id": message, "delta": text}));
            }
            Event::Thought(text) if !text.is_empty() => {
                self.tell(
                    "tool.progress",
                    json!({"message_id": message, "tool_name": "_thinking", "delta": text}),
                );
            }
            Event::Tool { name, id, done: false, preview, text, .. } => {
                let call =
                    json!({"id": id, "type": "function", "function": {"name": name, "arguments": text}});
                self.transcript.push(json!({"role": "assistant", "content": "", "tool_calls": [call]}));
                let args = serde_json::from_str::<Value>(&text).unwrap_or(Value::Null);
                self.said = false;
                self.tell(
                    "tool.started",
                    json!({"message_id": message, "tool_name": name, "preview": preview, "args": args}),
                );
            }
            Event::Tool { name, id, done: true, text, failed, .. } => {
                self.transcript.push(json!({"role": "tool", "tool_call_id": id, "content": text}));
                let kind = if failed { "tool.failed" } else { "tool.completed" };
                self.tell(
                    kind,
                    json!({"message_id": message, "tool_name": name, "preview": null, "args": null}),
                );
            }
            Event::Asked { run, details } => self.tell("approval.request", turn::described(&run, details)),
            Event::Heard { choice, .. } => {
                self.tell("approval.responded", json!({"choice": choice, "resolved": 1}));
            }
            Event::Delta(_) | Event::Thought(_) | Event::Alive | Event::Retrying { .. } => {}
        }
    }

    fn waiting(&self) -> usize {
        self.out.len()
    }

    fn take(&mut self) -> String {
        std::mem::take(&mut self.out)
    }
}
