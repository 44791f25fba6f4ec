//! The one shape of every error: `{"error": {"message", "type", "param", "code"}}`.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value};

use crate::engine::EngineError;
use crate::platform::wire;
use crate::turn::TurnError;

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
    header: Option<(&'static str, &'static str)>,
}

/// Type of what the client did wrong.
const INVALID: &str = "invalid_request_error";
/// Type of what went wrong here.
const SERVER: &str = "server_error";

impl ApiError {
    pub(super) fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), param: None, code: None, hermes: None, header: None }
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
        self.header = Some((name, value));
        self
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, INVALID, "Invalid API key")
            .code("invalid_api_key")
            .header("www-authenticate", "Bearer")
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, INVALID, "Unknown path").code("not_found")
    }

    pub(super) fn wrong_method(allowed: &'static str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, INVALID, format!("Method not allowed; use {allowed}"))
            .code("method_not_allowed")
            .header("allow", allowed)
    }

    pub(super) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, INVALID, "Request body too large.").code("body_too_large")
    }

    fn unavailable(message: &str, code: &'static str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, SERVER, message).code(code).header("retry-after", "1")
    }

    /// A turn that did not start, or gave no answer. `cap` is the limit on runs.
    pub(super) fn from_turn(error: &TurnError, cap: u32) -> Self {
        let failed = |status, message: String| {
            let hermes = report(false, true, &message, "agent_error");
            Self { hermes: Some(Box::new(hermes)), ..Self::new(status, SERVER, message).code("agent_error") }
        };
        match error {
            TurnError::Busy => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limit_error",
                format!("Too many concurrent runs (max {cap})"),
            )
            .code("rate_limit_exceeded")
            .header("retry-after", "1"),
            TurnError::Draining => {
                Self::unavailable("Gateway is draining existing work; retry shortly.", "gateway_draining")
            }
            TurnError::Engine(EngineError::Interrupted) => {
                Self::unavailable("The run was interrupted; retry shortly.", "agent_interrupted")
            }
            TurnError::Engine(cause) => failed(StatusCode::BAD_GATEWAY, cause.to_string()),
            other => {
                tracing::error!(error = %wire::chain(other), "[api_server] a run failed");
                failed(StatusCode::INTERNAL_SERVER_ERROR, format!("Internal server error: {other}"))
            }
        }
    }

    /// A turn that ended well and said nothing.
    pub(super) fn no_text() -> Self {
        let message = "The agent ended its turn without any text";
        Self {
            hermes: Some(Box::new(report(false, true, message, "agent_incomplete"))),
            ..Self::new(StatusCode::BAD_GATEWAY, SERVER, message).code("agent_incomplete")
        }
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

/// The `hermes` object of an answer that is not whole.
pub(super) fn report(partial: bool, failed: bool, error: &str, code: &str) -> Value {
    serde_json::json!({
        "completed": false, "partial": partial, "failed": failed, "error": error, "error_code": code,
    })
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = wire::json(self.status, &serde_json::json!({ "error": self.body() }));
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
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

    #[test]
    fn statuses_follow_the_cause() {
        let status = |error: TurnError| ApiError::from_turn(&error, 1).status.as_u16();
        assert_eq!(status(TurnError::Draining), 503);
        assert_eq!(status(TurnError::Engine(EngineError::Interrupted)), 503);
        assert_eq!(status(TurnError::Engine(EngineError::Config("no key".to_owned()))), 502);
        let provider = EngineError::Provider {
            fault: crate::provider::Fault::Key,
            status: Some(401),
            retry_after: None,
            message: "bad key".to_owned(),
            calls: 1,
        };
        assert_eq!(status(TurnError::Engine(provider)), 502);
        assert_eq!(status(TurnError::Panicked), 500);
    }
}
