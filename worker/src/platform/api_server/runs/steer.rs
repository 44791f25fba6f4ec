//! `POST /v1/runs/{id}/steer`: a text for a run that goes on. The model is told it behind the next results of its tools, between marks that nothing
//! else can write, as with `/steer` in a chat.
//!
//! It is on disk when it is acknowledged, and the turn takes it in whichever process it runs; the event `run.steered` says so. A run that calls no
//! more tools ends without it, and says that in `pending_steer`.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

use super::super::error::ApiError;
use super::super::request::{BROKEN_RUN, Id, object};
use super::super::{ApiServer, content, params};
use super::{named, unknown};
use crate::platform::wire::{self, BodyError, read_body};
use crate::runs::State as Phase;
use crate::turn::Steered;

/// Largest body.
const MAX_STEER: u64 = 64 * 1024;
/// Fields that the text may stand in, as with newer programs; the first is the documented one.
const NAMES: [&str; 3] = ["input", "message", "text"];

impl ApiServer {
    pub(super) async fn steer(&self, id: Id, request: Request) -> Result<Response, ApiError> {
        self.authorize(request.headers())?;
        let id = named(id)?;
        let (parts, body) = request.into_parts();
        // Whether it can be told anything comes before what.
        match self.0.turns.run(&id).await.map_err(ApiError::unreadable)? {
            Some(run) if run.state.is_over() || run.state == Phase::Stopping => {
                return Err(closed(run.state));
            }
            Some(_) if !self.0.turns.is_steered() => {
                return Err(not_accepting("The engine of this profile hears nothing while it works"));
            }
            Some(_) => {}
            None if self.0.streams.knows(&id) => {
                return Err(not_accepting(
                    "The turn of a stream belongs to its client; only runs of POST /v1/runs are steered",
                ));
            }
            None => return Err(unknown()),
        }
        let text = text(&parts.headers, body).await?;
        match self.0.turns.steer(&id, text).await.map_err(ApiError::unreadable)? {
            Steered::Waits => Ok(wire::json(
                StatusCode::OK,
                &json!({"object": "hermes.run.steer", "run_id": id, "accepted": true, "status": "queued"}),
            )),
            Steered::Unknown => Err(unknown()),
            Steered::Closed(state) => Err(closed(state)),
            Steered::Full(most) => {
                let message =
                    format!("{most} texts wait for this run already; they stand behind its next tool");
                Err(conflict(&message).code("steer_not_accepted"))
            }
        }
    }
}

fn conflict(message: &str) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, "invalid_request_error", message)
}

fn not_accepting(why: &str) -> ApiError {
    conflict(why).code("run_not_accepting_steer")
}

fn closed(state: Phase) -> ApiError {
    not_accepting(&format!("The run is {}: it takes nothing more", state.name()))
}

/// What the model is to be told.
async fn text(headers: &HeaderMap, body: Body) -> Result<String, ApiError> {
    let body = read_body(headers, body, MAX_STEER).await.map_err(|error| match error {
        BodyError::TooLarge => ApiError::too_large(MAX_STEER),
        _ => ApiError::invalid(BROKEN_RUN),
    })?;
    said(object(&body, BROKEN_RUN)?)
}

fn said(mut fields: Map<String, Value>) -> Result<String, ApiError> {
    let wrong = |message: &str, name: &'static str| {
        ApiError::invalid(message).param(name).code("invalid_steer_input")
    };
    let mut texts = NAMES
        .iter()
        .filter_map(|name| Some((*name, fields.remove(*name).filter(|value| !params::is_empty(value))?)));
    let first = texts.next();
    if let Some((name, _)) = texts.next() {
        return Err(wrong("Only one of 'input', 'message' and 'text' can be told", name));
    }
    if let Some((name, _)) = fields.iter().find(|(_, value)| !params::is_empty(value)) {
        return Err(params::unsupported(name, "a run that goes on is told a text, and nothing else"));
    }
    let missing = || wrong("Missing non-empty steer text; expected 'input', 'message', or 'text'", NAMES[0]);
    let Some((name, value)) = first else { return Err(missing()) };
    let asked = json!([{"role": "user", "content": value}]);
    let asked = content::parse(Some(asked), true).map_err(|error| {
        let message = error.message.replace("messages", name);
        if message.starts_with("No user message") { missing() } else { wrong(&message, name) }
    })?;
    match asked.input.into_iter().next().map(|message| message.content) {
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        Some(Value::Array(_)) => Err(wrong("A run that goes on is told text, no images", name)),
        _ => Err(missing()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Refused = (Option<&'static str>, Option<Box<str>>);

    fn of(fields: &Value) -> Result<String, Refused> {
        said(fields.as_object().unwrap().clone()).map_err(|error| (error.code, error.param))
    }

    #[test]
    fn a_text_is_read_under_the_names_that_clients_have_for_it() {
        for fields in [
            json!({"input": " shorter, please "}),
            json!({"message": "shorter, please", "input": ""}),
            json!({"text": "shorter, please", "message": null}),
            json!({"input": [{"type": "text", "text": "shorter, please"}]}),
        ] {
            assert_eq!(of(&fields), Ok("shorter, please".to_owned()), "{fields}");
        }
    }

    #[test]
    fn what_is_no_text_is_refused_by_its_name() {
        let invalid = |param: &str| -> Result<String, Refused> {
            Err((Some("invalid_steer_input"), Some(param.into())))
        };
        for (fields, param) in [
            (json!({}), "input"),
            (json!({"input": "  "}), "input"),
            (json!({"text": 7}), "text"),
            (json!({"input": "a", "message": "b"}), "message"),
            (json!({"message": [{"type": "image_url", "image_url": "https://x/y.png"}]}), "message"),
        ] {
            assert_eq!(of(&fields), invalid(param), "{fields}");
        }
        let other = of(&json!({"input": "a", "urgent": true}));
        assert_eq!(other, Err((Some("unsupported_parameter"), Some("urgent".into()))));
    }
}
