//! `/v1/runs`: turns that are asked for and read later, by whoever knows their id and holds the profile's key.
//!
//! | | |
//! |---|---|
//! | `POST /v1/runs` | has one begun ([`asked`]) |
//! | `GET /v1/runs/{id}` | what is known of it |
//! | `GET /v1/runs/{id}/events` | what has happened in it, and happens ([`log`]) |
//! | `POST /v1/runs/{id}/stop` | has it stopped |
//! | `POST /v1/runs/{id}/approval` | answers what it asks |
//! | `POST /v1/runs/{id}/steer` | tells it something while it goes on ([`mod@steer`]) |
//!
//! An id is random, and looked up in the database of this profile only: whatever another profile has under it is not known here. Every
//! endpoint answers in whichever process of the profile it arrives. A chat completion that streams is a run as far as it asks: it is answered
//! by the id that its event names, and ends with its client.

mod asked;
mod log;
mod steer;

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::ApiServer;
use super::error::ApiError;
use super::request::{BROKEN_RUN, Id, respond};
use crate::json;
use crate::platform::wire::{self, BodyError, read_body};
use crate::runs::{self, Run, State as Phase};
use crate::tools::asking::Choice;
use crate::turn::{NotAsked, Submitted};

/// Largest body of an answer.
const MAX_ANSWER: u64 = 16 * 1024;
/// Chat completions that stream, as many as are remembered.
const STREAMS: usize = 256;

fn is_id(id: &str) -> bool {
    id.strip_prefix("run_")
        .is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The latest chat completions that stream, by the ids that their questions name.
#[derive(Debug, Default)]
pub(super) struct Streams(Mutex<VecDeque<String>>);

impl Streams {
    pub(super) fn note(&self, id: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= STREAMS {
            known.pop_front();
        }
        known.push_back(id.to_owned());
    }

    fn knows(&self, id: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|known| known == id)
    }
}

fn unknown() -> ApiError {
    ApiError::not_found("Run not found").code("run_not_found")
}

pub(super) async fn submit(State(api): State<ApiServer>, request: Request) -> Response {
    respond(api.submit(request).await)
}

pub(super) async fn status(State(api): State<ApiServer>, id: Id, headers: HeaderMap) -> Response {
    respond(api.status_of_run(id, &headers).await)
}

pub(super) async fn events(State(api): State<ApiServer>, id: Id, headers: HeaderMap) -> Response {
    respond(api.events_of_run(id, &headers).await)
}

pub(super) async fn stop(State(api): State<ApiServer>, id: Id, headers: HeaderMap) -> Response {
    respond(api.stop_run(id, &headers).await)
}

pub(super) async fn steer(State(api): State<ApiServer>, id: Id, request: Request) -> Response {
    respond(api.steer(id, request).await)
}

pub(super) async fn approval(State(api): State<ApiServer>, id: Id, request: Request) -> Response {
    respond(api.answer(id, request).await)
}

/// The id in a path, if it is one.
fn named(id: Id) -> Result<String, ApiError> {
    match id {
        Ok(Path(id)) if is_id(&id) => Ok(id),
        _ => Err(unknown()),
    }
}

impl ApiServer {
    async fn submit(&self, request: Request) -> Result<Response, ApiError> {
        self.authorize(request.headers())?;
        let (parts, body) = request.into_parts();
        let body = super::request::body(&parts.headers, body).await?;
        let asked::Understood { asked, echo } = asked::parse(self, &parts.headers, &body).await?;
        let id = asked.id.clone();
        let cap = self.0.config.max_concurrent_runs;
        let submitted = self.0.turns.submit(asked).await.map_err(|error| ApiError::from_turn(&error, cap))?;
        let (id, is_known) = match submitted {
            Submitted::New => (id, false),
            Submitted::Known(id) => (id, true),
            Submitted::Conflict => {
                return Err(ApiError::new(
                    StatusCode::CONFLICT,
                    "invalid_request_error",
                    "Idempotency-Key was used with another request",
                )
                .code("idempotency_key_conflict"));
            }
        };
        let mut response = wire::json(StatusCode::ACCEPTED, &json!({"run_id": id, "status": "started"}));
        response.headers_mut().extend(echo);
        if is_known {
            response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
        }
        Ok(response)
    }

    async fn status_of_run(&self, id: Id, headers: &HeaderMap) -> Result<Response, ApiError> {
        self.authorize(headers)?;
        let id = named(id)?;
        let run = self.0.turns.run(&id).await.map_err(ApiError::unreadable)?.ok_or_else(unknown)?;
        Ok(wire::json(StatusCode::OK, &described(&id, run)))
    }

    async fn events_of_run(&self, id: Id, headers: &HeaderMap) -> Result<Response, ApiError> {
        self.authorize(headers)?;
        let id = named(id)?;
        let after = log::after(headers)?;
        let page =
            self.0.turns.happened(&id, after).await.map_err(ApiError::unreadable)?.ok_or_else(unknown)?;
        Ok(log::respond(self.clone(), id, after, page))
    }

    async fn stop_run(&self, id: Id, headers: &HeaderMap) -> Result<Response, ApiError> {
        self.authorize(headers)?;
        let id = named(id)?;
        if self.0.turns.stop(&id).await.map_err(ApiError::unreadable)? {
            return Ok(wire::json(StatusCode::OK, &json!({"run_id": id, "status": "stopping"})));
        }
        Err(unknown())
    }

    async fn answer(&self, id: Id, request: Request) -> Result<Response, ApiError> {
        self.authorize(request.headers())?;
        let (parts, body) = request.into_parts();
        let choice = choice(&parts.headers, body).await?;
        let id = named(id)?;
        let late = match self.0.turns.choose(&id, &choice).await {
            Ok(()) => {
                return Ok(wire::json(
                    StatusCode::OK,
                    &json!({
                        "object": "hermes.run.approval_response", "run_id": id, "choice": choice.name(), "resolved": 1,
                    }),
                ));
            }
            Err(NotAsked::Late) => true,
            Err(NotAsked::Nothing) => false,
            Err(NotAsked::Store(error)) => return Err(ApiError::unreadable(error)),
        };
        let conflict = |message: &str| ApiError::new(StatusCode::CONFLICT, "invalid_request_error", message);
        match self.0.turns.run(&id).await.map_err(ApiError::unreadable)? {
            Some(run) if run.state.is_over() => {
                Err(conflict("The run is over: nothing waits for an approval").code("approval_not_active"))
            }
            None if !late && !self.0.streams.knows(&id) => Err(unknown()),
            _ => Err(conflict(
                "No approval is pending for this run: it was answered, has run out of time, or its run has ended",
            )
            .code("approval_not_pending")),
        }
    }
}

/// What an answer says.
async fn choice(headers: &HeaderMap, body: axum::body::Body) -> Result<Choice, ApiError> {
    let body = read_body(headers, body, MAX_ANSWER).await.map_err(|error| match error {
        BodyError::TooLarge => ApiError::too_large(MAX_ANSWER),
        _ => ApiError::invalid(BROKEN_RUN),
    })?;
    let body = json::parse(&body).map_err(|_| ApiError::invalid(BROKEN_RUN))?;
    // A run asks one thing at a time, so `all` and `resolve_all` change nothing.
    body.get("choice").and_then(Value::as_str).and_then(Choice::named).ok_or_else(|| {
        ApiError::invalid("'choice' must be one of once, session, always, deny")
            .param("choice")
            .code("invalid_approval_choice")
    })
}

/// What clients are told of a run.
fn described(id: &str, run: Run) -> Value {
    let mut told = Map::new();
    let mut say = |name: &str, value: Value| told.insert(name.to_owned(), value);
    say("object", "hermes.run".into());
    say("run_id", id.into());
    say("status", run.state.name().into());
    say("created_at", run.created_at.into());
    say("updated_at", run.updated_at.into());
    say("session_id", run.session_id.into());
    say("model", run.model.into());
    say("last_event", run.last_event.into());
    if let Some(output) = run.output {
        say("output", output.into());
    }
    if run.state.is_over() {
        say("usage", runs::usage(run.tokens));
    }
    if let Some(reason) = run.finish_reason {
        say("finish_reason", reason.into());
    }
    if let Some(error) = run.error.filter(|_| run.state == Phase::Failed) {
        say("error", error.into());
    }
    if let Some(pending) = runs::pending(&run.steers) {
        say("pending_steer", pending.into());
    }
    Value::Object(told)
}
