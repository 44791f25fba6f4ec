//! The one shape of every error: `{"error": {"message", "type", "param", "code"}}`.
//!
//! A turn without an answer is `agent_incomplete`, with what is known of it under `hermes` and in the `X-Hermes-…` headers. Its
//! status tells a client whether to ask again, in the way that stock SDKs understand: they repeat 408, 409, 429 and 5xx, unless
//! `x-should-retry` says otherwise. See [`verdict`].

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value};

use crate::engine::EngineError;
use crate::platform::wire::{self, first_chars};
use crate::provider::Fault;
use crate::store::StoreError;
use crate::turn::TurnError;

/// Longest `X-Hermes-Error`, in characters.
const MAX_ERROR_HEADER: usize = 200;

/// When a client may ask again where the provider did not say. A turn has tried several times by then.
const AGAIN: Duration = Duration::from_secs(5);

/// Longest `Retry-After` that OpenAI's clients heed; a longer one they take for none, and ask at once.
const HEEDED: Duration = Duration::from_mins(1);

/// An error answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    /// `invalid_request_error`, `rate_limit_error`, `server_error`.
    pub(super) kind: &'static str,
    pub(super) message: String,
    pub(super) param: Option<Box<str>>,
    pub(super) code: Option<&'static str>,
    /// What is known of the turn behind it.
    pub(super) hermes: Option<Box<Value>>,
    headers: Vec<(&'static str, HeaderValue)>,
}

/// Type of what the client did wrong.
const INVALID: &str = "invalid_request_error";
/// Type of what went wrong here.
const SERVER: &str = "server_error";

impl ApiError {
    pub(super) fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            message: message.into(),
            param: None,
            code: None,
            hermes: None,
            headers: Vec::new(),
        }
    }

    /// 400.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, INVALID, message)
    }

    pub(super) fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    pub(super) fn param(mut self, param: impl Into<Box<str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, HeaderValue::from_static(value)));
        self
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, INVALID, "Invalid API key")
            .code("invalid_api_key")
            .header("www-authenticate", "Bearer")
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, INVALID, what).code("not_found")
    }

    pub(super) fn wrong_method(allowed: &'static str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, INVALID, format!("Method not allowed; use {allowed}"))
            .code("method_not_allowed")
            .header("allow", allowed)
    }

    /// `limit` in bytes.
    pub(super) fn too_large(limit: u64) -> Self {
        let message = format!("Request body too large. At most {limit} bytes are read.");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, INVALID, message).code("body_too_large")
    }

    pub(super) fn unknown_coding() -> Self {
        let message = format!("Unsupported Content-Encoding; use {} or none", wire::CODINGS);
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, INVALID, message)
            .code("unsupported_content_encoding")
            .header("accept-encoding", wire::CODINGS)
    }

    fn unavailable(message: &str, code: &'static str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, SERVER, message).code(code).header("retry-after", "1")
    }

    /// The database does not answer.
    pub(super) fn unreadable(error: StoreError) -> Self {
        Self::from_turn(&error.into(), 0)
    }

    /// What is kept of responses cannot be used.
    pub(super) fn store_away(message: &str) -> Self {
        Self::unavailable(message, "store_unavailable")
    }

    /// A turn that did not start, or gave no answer. `cap` is the limit on runs.
    pub(super) fn from_turn(error: &TurnError, cap: u32) -> Self {
        match error {
            TurnError::Busy => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limit_error",
                format!("Too many concurrent runs (max {cap})"),
            )
            .code("rate_limit_exceeded")
            .header("retry-after", "1"),
            TurnError::UnknownCalls => {
                Self::invalid(error.to_string()).param("messages").code("invalid_value")
            }
            TurnError::Draining => {
                Self::unavailable("Gateway is draining existing work; retry shortly.", "gateway_draining")
            }
            TurnError::Engine(EngineError::Interrupted) => {
                Self::unavailable("The run was interrupted; retry shortly.", "agent_interrupted")
            }
            TurnError::Store(cause) if !cause.is_about_data() => {
                tracing::error!(error = %cause.reason(), "[api_server] a run could not be stored");
                let message = format!("No turn can be stored: {}.", cause.told());
                let error = Self::unavailable(&message, "store_unavailable");
                // Only its operator can do something about that one.
                let lasts = matches!(cause, StoreError::Newer { .. });
                if lasts { error.header("x-should-retry", "false") } else { error }
            }
            TurnError::Taken => Self::unavailable(&format!("The turn was ended: {error}."), "session_taken"),
            TurnError::Unguarded(why) => {
                tracing::error!("[api_server] no turn can begin: {why}");
                let message = "No turn can begin: the profile's state.db is of a release that this gateway does not know.";
                Self::unavailable(message, "store_unavailable").header("x-should-retry", "false")
            }
            TurnError::Files(_) => {
                Self::unavailable(&format!("No turn can begin: {error}."), "files_unavailable")
            }
            TurnError::Engine(EngineError::Unkept(_)) => {
                tracing::error!(error = %hermes_host::cause::chain(error), "[api_server] a run could not be stored");
                Self::unavailable(&format!("The turn was ended: {error}."), "store_unavailable")
            }
            TurnError::Engine(cause) => Self::unanswered(cause),
            other => {
                tracing::error!(error = %hermes_host::cause::chain(other), "[api_server] a run failed");
                let message = format!("Internal server error: {other}");
                Self {
                    hermes: Some(Box::new(report(false, true, &message, "agent_error"))),
                    ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, SERVER, message).code("agent_error")
                }
            }
        }
    }

    /// A turn whose engine gave no answer.
    fn unanswered(cause: &EngineError) -> Self {
        let Verdict { status, kind, again } = verdict(cause);
        let message = cause.to_string();
        let mut hermes = report(false, true, &message, "agent_error");
        if let Some(fault) = cause.fault() {
            hermes["fault"] = fault.code().into();
        }
        if let EngineError::Provider { status: Some(status), .. } = cause {
            hermes["provider_status"] = (*status).into();
        }
        let error = Self {
            hermes: Some(Box::new(hermes)),
            ..Self::new(status, kind, message).code("agent_incomplete")
        };
        let error = match again {
            Again::Never => return error.header("x-should-retry", "false"),
            Again::After(wait) => error.retry_after(wait),
        };
        // The provider's own word.
        let is_final = matches!(cause, EngineError::Provider { is_final: true, .. });
        if is_final { error.header("x-should-retry", "false") } else { error }
    }

    /// Says when to ask again.
    fn retry_after(mut self, wait: Duration) -> Self {
        let secs = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.headers.push(("retry-after", HeaderValue::from(secs)));
        if wait > HEEDED { self.header("x-should-retry", "false") } else { self }
    }

    /// A turn that ended well and said nothing.
    pub(super) fn no_text() -> Self {
        let message = "The agent ended its turn without any text";
        Self {
            hermes: Some(Box::new(report(false, true, message, "agent_error"))),
            ..Self::new(StatusCode::BAD_GATEWAY, SERVER, message).code("agent_incomplete")
        }
        .retry_after(AGAIN)
    }

    /// The value of `error`.
    pub(super) fn body(&self) -> Value {
        let mut body = Map::new();
        body.insert("message".to_owned(), self.message.clone().into());
        body.insert("type".to_owned(), self.kind.into());
        // 0.19.0 leaves `param` out of exactly this one.
        if self.status != StatusCode::UNAUTHORIZED {
            body.insert("param".to_owned(), self.param.as_deref().into());
        }
        body.insert("code".to_owned(), self.code.into());
        if let Some(hermes) = &self.hermes {
            body.insert("hermes".to_owned(), Value::clone(hermes));
        }
        Value::Object(body)
    }
}

/// What a client should make of a turn without an answer.
struct Verdict {
    status: StatusCode,
    /// `type`.
    kind: &'static str,
    again: Again,
}

/// Whether the same request may be answered later.
enum Again {
    /// Not before somebody mends something.
    Never,
    /// After so long.
    After(Duration),
}

/// Decides. What will not pass by itself is no 5xx, which every client repeats: 424 where the provider's side is to blame (its
/// key, account, address or model; nothing is wrong with the request or with the client's own key), 400 where the provider
/// refused this request. What passes keeps a status that clients repeat, and says when.
fn verdict(cause: &EngineError) -> Verdict {
    let EngineError::Provider { fault, retry_after, .. } = cause else {
        return Verdict { status: StatusCode::FAILED_DEPENDENCY, kind: SERVER, again: Again::Never };
    };
    let later = Again::After(retry_after.filter(|wait| !wait.is_zero()).unwrap_or(AGAIN));
    let (status, kind, again) = match fault {
        Fault::Limited => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", later),
        Fault::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, SERVER, later),
        Fault::Unreachable | Fault::Garbled | Fault::Empty => (StatusCode::BAD_GATEWAY, SERVER, later),
        Fault::Quota | Fault::Key | Fault::Setup => (StatusCode::FAILED_DEPENDENCY, SERVER, Again::Never),
        Fault::Request | Fault::TooLong => (StatusCode::BAD_REQUEST, INVALID, Again::Never),
    };
    Verdict { status, kind, again }
}

/// Says in headers what `hermes` says in a body.
pub(super) fn mark(headers: &mut HeaderMap, hermes: &Value) {
    let mut set = |name, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    set("x-hermes-completed", "false");
    set("x-hermes-partial", if hermes["partial"] == true { "true" } else { "false" });
    let error: String =
        hermes["error"].as_str().unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
    set("x-hermes-error", first_chars(&error, MAX_ERROR_HEADER));
}

/// The `hermes` object of an answer that is not whole.
pub(super) fn report(partial: bool, failed: bool, error: &str, code: &str) -> Value {
    serde_json::json!({
        "completed": false, "partial": partial, "failed": failed, "error": error, "error_code": code,
    })
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = wire::json(self.status, &serde_json::json!({ "error": self.body() }));
        let headers = response.headers_mut();
        if let Some(hermes) = &self.hermes {
            mark(headers, hermes);
        }
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn text(error: ApiError) -> String {
        let body = error.into_response().into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn bodies_are_those_clients_know() {
        assert_eq!(
            text(ApiError::unauthorized()).await,
            r#"{"error": {"message": "Invalid API key", "type": "invalid_request_error", "code": "invalid_api_key"}}"#
        );
        assert_eq!(
            text(ApiError::from_turn(&TurnError::Busy, 10)).await,
            r#"{"error": {"message": "Too many concurrent runs (max 10)", "type": "rate_limit_error", "param": null, "code": "rate_limit_exceeded"}}"#
        );
    }

    fn provider(fault: Fault, status: Option<u16>, retry_after: Option<Duration>) -> TurnError {
        let message = "HTTP 4xx: bad key".to_owned();
        TurnError::Engine(EngineError::Provider {
            fault,
            status,
            retry_after,
            is_final: false,
            message,
            calls: 1,
        })
    }

    #[test]
    fn statuses_follow_the_cause() {
        let status = |error: TurnError| ApiError::from_turn(&error, 1).status.as_u16();
        assert_eq!(status(TurnError::Draining), 503);
        assert_eq!(status(TurnError::Engine(EngineError::Interrupted)), 503);
        assert_eq!(status(TurnError::Panicked), 500);
    }

    /// Wires 5: what will not pass is tried once by a stock client (it repeats 408, 409, 429 and 5xx), what passes is repeated
    /// when that makes sense.
    #[test]
    fn w5_stock_clients_repeat_what_passes_and_nothing_else() {
        let secs = Duration::from_secs;
        let said = |error: &TurnError| {
            let response = ApiError::from_turn(error, 1).into_response();
            let header = |name: &str| response.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
            assert_eq!(header("x-hermes-completed").as_deref(), Some("false"));
            assert_eq!(header("x-hermes-partial").as_deref(), Some("false"));
            assert!(header("x-hermes-error").is_some());
            (response.status().as_u16(), header("retry-after"), header("x-should-retry"))
        };
        let no = || Some("false".to_owned());
        assert_eq!(said(&TurnError::Engine(EngineError::Config("no key".to_owned()))), (424, None, no()));
        for (fault, status) in
            [(Fault::Key, 424), (Fault::Setup, 424), (Fault::Quota, 424), (Fault::Request, 400)]
        {
            assert_eq!(said(&provider(fault, Some(401), Some(secs(9)))), (status, None, no()), "{fault:?}");
        }
        for (fault, status) in [
            (Fault::Limited, 429),
            (Fault::Overloaded, 503),
            (Fault::Unreachable, 502),
            (Fault::Garbled, 502),
            (Fault::Empty, 502),
        ] {
            let after = |wait: Option<Duration>| said(&provider(fault, None, wait));
            assert_eq!(after(None), (status, Some("5".to_owned()), None), "{fault:?}");
            assert_eq!(after(Some(Duration::from_millis(6_500))), (status, Some("7".to_owned()), None));
            assert_eq!(after(Some(secs(3_600))), (status, Some("3600".to_owned()), no()));
        }
    }

    /// Wires 5: the code and the `hermes` object of 0.19.0, and what the provider said.
    #[test]
    fn w5_a_turn_without_an_answer_is_incomplete() {
        let body = ApiError::from_turn(&provider(Fault::Key, Some(401), None), 1).body();
        assert_eq!((&body["code"], &body["type"]), (&"agent_incomplete".into(), &"server_error".into()));
        let hermes = serde_json::json!({
            "completed": false, "partial": false, "failed": true, "error": "HTTP 4xx: bad key",
            "error_code": "agent_error", "fault": "unauthorized", "provider_status": 401,
        });
        assert_eq!(body["hermes"], hermes);
    }
}
