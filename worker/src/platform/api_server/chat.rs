//! `POST /v1/chat/completions`: one turn, whose client waits for the answer or reads it as it is written.
//!
//! # Tools of the client
//!
//! `tools` are handed to the model, and nobody here runs them: an answer that calls some ends the turn with `finish_reason`
//! `tool_calls`, and the client's next request carries the results. A call is given whole, in a stream too: half of one is of no
//! use, and so a provider's stream that breaks off in one can be repeated.
//!
//! - **Session.** Calls and results are messages of the session like any other, in the columns that 0.19.0 has for them. With
//!   `X-Hermes-Session-Id` the stored conversation goes on: the request may carry the whole conversation, the call with its
//!   results, or the results alone. Without, the body is the conversation and is sent as it came. The answer's header says in which
//!   session the turn ran: another than was named, where that has gone on in one.
//! - **Calls that nobody answers** (the user went on, the client gave up) are left out of later prompts; what was said stays.
//!   Results for calls that the session does not know, or for some of its last calls only, are refused with 400.
//! - **Replay.** An `Idempotency-Key` covers the whole body; the same request gets the same calls with the same ids.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use hermes_config::Secret;
use hermes_host::clock;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::answer::{End, Head, run_out, usage};
use super::content::{self, Conversation};
use super::error::{ApiError, mark};
use super::params::{self, Params};
use super::replay::{Answer, Fingerprint};
use super::request::{Named, idempotency_key, is_on};
use super::{ApiServer, NAME, request, session, sse};
use crate::engine::{Outcome, Wishes};
use crate::inbound::Source;
use crate::platform::wire::{self, random64};
use crate::turn::{RunningTurn, SessionRef, Turn};

pub(super) async fn completions(State(api): State<ApiServer>, request: Request) -> Response {
    request::respond(answer(&api, request).await)
}

async fn answer(api: &ApiServer, request: Request) -> Result<Response, ApiError> {
    api.authorize(request.headers())?;
    let (parts, body) = request.into_parts();
    let body = request::body(&parts.headers, body).await?;
    let Chat { stream, idempotency, run } = Chat::parse(api, &parts.headers, &body).await?;
    // Text is parsed; a large body need not live as long as the turn.
    drop(body);
    if stream {
        let Run { turn, mut head } = run;
        let running = api.start(turn).await?;
        head.ran_in(&running.session_id);
        return sse::respond(running, head, api.0.config.max_concurrent_runs).await;
    }
    request::once(api, idempotency, complete(api, run)).await
}

/// A request, understood.
struct Chat {
    stream: bool,
    /// Key and fingerprint; never with `stream`.
    idempotency: Option<(String, Fingerprint)>,
    run: Run,
}

/// What a run needs.
struct Run {
    turn: Turn,
    head: Head,
}

impl Chat {
    async fn parse(api: &ApiServer, headers: &HeaderMap, body: &[u8]) -> Result<Self, ApiError> {
        let session_id = session::session_id(headers)?;
        let session_key = session::session_key(headers)?;
        let mut fields = request::object(body, request::BROKEN)?;
        let stream = is_on(fields.get("stream"));
        let Named { said: model, route, choice } =
            request::model(api, fields.remove("model"), &fields).await?;
        let idempotency = if stream {
            None
        } else {
            idempotency_key(headers)?.map(|key| {
                (key, request::fingerprint(&fields, &model, session_id.as_deref(), session_key.as_deref()))
            })
        };
        let user = request::text(&mut fields, "user")?;
        let Params { options, include_usage } = params::parse(&fields, api.0.turns.takes_options())?;
        let conversation = content::parse(fields.remove("messages"), session_id.is_some())?;
        let run = request::attended(api, stream);
        let wishes = Wishes { model: choice, ..Wishes::default() };
        let turn = Turn { options, route, run, wishes, ..api.turn(conversation, session_id, user) };
        let head = Head {
            id: format!("chatcmpl-{}", &format!("{:016x}{:016x}", random64(), random64())[..29]),
            created: clock::utc().as_second(),
            model,
            include_usage,
            shows_thoughts: api.0.profile.streaming.thoughts.contains(NAME),
            headers: session::echoed(session_key.as_deref()),
            run: Arc::clone(&api.0.runs),
        };
        Ok(Self { stream, idempotency, run: Run { turn, head } })
    }
}

impl ApiServer {
    /// The turn that a request asks for.
    pub(super) fn turn(
        &self,
        conversation: Conversation,
        named: Option<String>,
        user: Option<String>,
    ) -> Turn {
        let key = self.0.config.key.as_ref().map(Secret::expose).unwrap_or_default();
        let is_named = named.is_some();
        let id = match named {
            Some(id) => id,
            None if conversation.history.is_empty() => session::random_id(),
            None => session::derived_id(
                key,
                user.as_deref(),
                conversation.system.as_deref(),
                conversation.opening(),
            ),
        };
        let Conversation { system, history, input } = conversation;
        let (session, history) =
            if is_named { (SessionRef::Continue(id), Vec::new()) } else { (SessionRef::Fresh(id), history) };
        let source = Source { platform: NAME.to_owned(), user_id: user, ..Source::default() };
        Turn { system, history, input, ..Turn::new(source, session) }
    }

    pub(super) async fn start(&self, turn: Turn) -> Result<RunningTurn, ApiError> {
        let cap = self.0.config.max_concurrent_runs;
        self.0.turns.start(turn).await.map_err(|error| ApiError::from_turn(&error, cap))
    }
}

/// Runs a turn to its end.
async fn complete(api: &ApiServer, run: Run) -> Result<Answer, ApiError> {
    let Run { turn, mut head } = run;
    let running = api.start(turn).await?;
    head.ran_in(&running.session_id);
    match run_out(running, api.0.config.max_concurrent_runs, drop).await {
        End::Failed(error) => Err(error),
        End::Text { outcome, finish, hermes } => Ok(completion(&head, &outcome, &finish, hermes)),
    }
}

fn completion(head: &Head, outcome: &Outcome, finish: &str, hermes: Option<Value>) -> Answer {
    let mut message = json!({"role": "assistant", "content": outcome.text});
    if !outcome.tool_calls.is_empty() {
        if outcome.text.is_empty() {
            message["content"] = Value::Null;
        }
        message["tool_calls"] = Value::Array(outcome.tool_calls.clone());
    }
    let mut body = json!({
        "id": head.id,
        "object": "chat.completion",
        "created": head.created,
        "model": head.model,
        "choices": [{
            "index": 0,
            "message": message,
            "finish_reason": finish,
        }],
        "usage": usage(&outcome.usage),
    });
    let mut headers = head.headers.clone();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(hermes_wire::http::JSON));
    if let Some(hermes) = hermes {
        mark(&mut headers, &hermes);
        body["hermes"] = hermes;
    }
    Answer { status: StatusCode::OK, headers, body: Bytes::from(wire::spaced(&body)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_text_is_a_failure_and_a_cut_one_says_so() {
        assert!(
            matches!(End::new(Ok(Outcome::default()), 1), End::Failed(e) if e.status == 502 && e.code == Some("agent_incomplete"))
        );
        let cut = Outcome { text: "x".to_owned(), finish_reason: "length".to_owned(), ..Outcome::default() };
        let End::Text { hermes: Some(hermes), .. } = End::new(Ok(cut), 1) else { panic!() };
        let mut headers = HeaderMap::new();
        mark(&mut headers, &hermes);
        assert_eq!(
            (headers["x-hermes-partial"].as_bytes(), &hermes["error_code"]),
            (&b"true"[..], &json!("output_truncated"))
        );
    }
}
