//! `POST /v1/runs/{id}/approval`: the answer to what a run asks.
//!
//! A run is a turn whose client reads along. What it asks comes as an event with the run's id, a random one that only its client knows and
//! that ends with the run; the answer may come over another connection, and while a new worker takes the old one's place.

use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde_json::{Value, json};

use super::ApiServer;
use super::error::ApiError;
use crate::json;
use crate::platform::wire::{self, random64, read_body};
use crate::tools::asking::Choice;
use crate::turn::NotAsked;

/// Largest body.
const MAX_BODY: u64 = 16 * 1024;

/// An id of a run.
pub(super) fn random_id() -> String {
    format!("run_{:016x}{:016x}", random64(), random64())
}

fn is_id(id: &str) -> bool {
    id.strip_prefix("run_")
        .is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

pub(super) async fn approval(
    State(api): State<ApiServer>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    match answer(&api, &id, request).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn answer(api: &ApiServer, id: &str, request: Request) -> Result<Response, ApiError> {
    api.authorize(request.headers())?;
    let (parts, body) = request.into_parts();
    let body =
        read_body(&parts.headers, body, MAX_BODY).await.map_err(|_| ApiError::invalid("Invalid JSON"))?;
    let body = json::parse(&body).map_err(|_| ApiError::invalid("Invalid JSON"))?;
    let choice = body.get("choice").and_then(Value::as_str).and_then(Choice::named);
    let Some(choice) = choice else {
        return Err(ApiError::invalid("'choice' must be one of once, session, always, deny")
            .param("choice")
            .code("invalid_approval_choice"));
    };
    if !is_id(id) {
        return Err(ApiError::not_found("Run not found").code("run_not_found"));
    }
    match api.0.turns.choose(id, &choice).await {
        Ok(()) => Ok(wire::json(
            StatusCode::OK,
            &json!({"object": "hermes.run.approval_response", "run_id": id, "choice": choice.name(), "resolved": 1}),
        )),
        Err(NotAsked::Nothing | NotAsked::Late) => Err(ApiError::new(
            StatusCode::CONFLICT,
            "invalid_request_error",
            "No approval is pending for this run: it was answered, has run out of time, or its run has ended",
        )
        .code("approval_not_pending")),
        Err(NotAsked::Store(error)) => Err(ApiError::from_turn(&error.into(), 0)),
    }
}
