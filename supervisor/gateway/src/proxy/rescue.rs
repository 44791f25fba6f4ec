//! The one mapping from what went wrong to what the client is told.

use hermes_wire::ProfileName;
use hermes_wire::http::{JSON, NOT_FOUND, UNKNOWN_PROFILE};

use super::answer::{Answer, TEXT};
use super::wire::chunked::ChunkError;
use super::wire::error::RequestError;

/// Why a request has no answer from a worker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProxyError {
    #[error("the request is malformed: {0}")]
    BadRequest(&'static str),
    #[error("the request did not arrive in time")]
    RequestTimeout,
    #[error("the request head is larger than 32 KiB or has more than 100 headers")]
    HeadTooLarge,
    #[error("the request body is larger than the limit")]
    BodyTooLarge,
    #[error("the only expectation that can be met is 100-continue")]
    ExpectationFailed,
    #[error("method not allowed")]
    MethodNotAllowed(&'static str),
    #[error("tunnels are not offered")]
    NotImplemented,
    #[error("only HTTP/1.0 and HTTP/1.1 are spoken here")]
    VersionNotSupported,
    #[error("no such path")]
    NotFound,
    #[error("no such profile")]
    UnknownProfile,
    #[error("the profile does not serve now")]
    Unavailable { profile: ProfileName, state: &'static str, retry_after_secs: u32 },
    #[error("the gateway is shutting down")]
    Draining,
    #[error("too many requests for this profile are in flight")]
    TooManyRequests,
    #[error("too many connections are open")]
    TooManyConnections,
    #[error("the worker cannot be reached")]
    ConnectFailed,
    #[error("the worker closed the connection before it answered")]
    ClosedEarly,
    #[error("the worker's answer is malformed")]
    MalformedAnswer,
    #[error("the worker did not answer in time")]
    AnswerTimeout,
    /// It passed here, but the worker's HTTP library refused it.
    #[error("the worker cannot read this request")]
    Unreadable { status: u16 },
}

impl ProxyError {
    /// For `x-hermes-error` and the body.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::RequestTimeout => "request_timeout",
            Self::HeadTooLarge | Self::Unreadable { status: 431 } => "head_too_large",
            Self::BodyTooLarge => "body_too_large",
            Self::ExpectationFailed => "expectation_failed",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::NotImplemented => "not_implemented",
            Self::VersionNotSupported => "version_not_supported",
            Self::NotFound => "not_found",
            Self::UnknownProfile => "unknown_profile",
            Self::Unavailable { .. } => "worker_not_ready",
            Self::Draining => "draining",
            Self::TooManyRequests => "too_many_requests_in_flight",
            Self::TooManyConnections => "too_many_connections",
            Self::ConnectFailed => "worker_unreachable",
            Self::ClosedEarly => "worker_closed_early",
            Self::MalformedAnswer => "worker_malformed_answer",
            Self::AnswerTimeout => "worker_timeout",
            Self::BadRequest(_) | Self::Unreadable { .. } => "bad_request",
        }
    }

    /// The status.
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::Unreadable { status } => *status,
            Self::NotFound | Self::UnknownProfile => 404,
            Self::MethodNotAllowed(_) => 405,
            Self::RequestTimeout => 408,
            Self::BodyTooLarge => 413,
            Self::ExpectationFailed => 417,
            Self::HeadTooLarge => 431,
            Self::NotImplemented => 501,
            Self::ConnectFailed | Self::ClosedEarly | Self::MalformedAnswer => 502,
            Self::Unavailable { .. } | Self::Draining | Self::TooManyRequests | Self::TooManyConnections => {
                503
            }
            Self::AnswerTimeout => 504,
            Self::VersionNotSupported => 505,
        }
    }

    /// Whether what follows on the connection can no longer be told apart from the request.
    fn ends_connection(&self) -> bool {
        matches!(
            self,
            Self::BadRequest(_)
                | Self::RequestTimeout
                | Self::HeadTooLarge
                | Self::BodyTooLarge
                | Self::ExpectationFailed
                | Self::NotImplemented
                | Self::VersionNotSupported
                | Self::Draining
                | Self::TooManyConnections
                | Self::Unreadable { .. }
        )
    }
}

impl From<RequestError> for ProxyError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Malformed(why) => Self::BadRequest(why),
            RequestError::HeadTooLarge => Self::HeadTooLarge,
            RequestError::Expectation => Self::ExpectationFailed,
            RequestError::Trace => Self::MethodNotAllowed("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
            RequestError::Tunnel => Self::NotImplemented,
            RequestError::Version => Self::VersionNotSupported,
        }
    }
}

impl From<ChunkError> for ProxyError {
    fn from(error: ChunkError) -> Self {
        match error {
            ChunkError::Malformed => Self::BadRequest("the chunked body is malformed"),
            ChunkError::TooLarge => Self::BodyTooLarge,
        }
    }
}

impl From<ProxyError> for Answer {
    fn from(error: ProxyError) -> Self {
        let (content_type, body) = match &error {
            ProxyError::NotFound => (TEXT, NOT_FOUND.into()),
            ProxyError::MethodNotAllowed(_) => (TEXT, "405: Method Not Allowed".into()),
            ProxyError::UnknownProfile => (JSON, UNKNOWN_PROFILE.into()),
            ProxyError::Unavailable { profile, state, .. } => (
                JSON,
                format!(r#"{{"error":"Profile unavailable","profile":"{profile}","state":"{state}"}}"#),
            ),
            // Codes and texts need no escaping: they are ours.
            other => (JSON, format!(r#"{{"error":{{"code":"{}","message":"{other}"}}}}"#, other.code())),
        };
        Answer {
            error: Some(error.code()),
            allow: if let ProxyError::MethodNotAllowed(allow) = error { Some(allow) } else { None },
            retry_after: match error {
                ProxyError::Unavailable { retry_after_secs, .. } => Some(retry_after_secs.max(1)),
                ProxyError::Draining => Some(5),
                ProxyError::TooManyRequests | ProxyError::TooManyConnections => Some(1),
                _ => None,
            },
            close: error.ends_connection(),
            ..Answer::new(error.status(), content_type, body)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_the_contract_s() {
        let unknown = Answer::from(ProxyError::UnknownProfile);
        assert_eq!((unknown.status, unknown.content_type), (404, "application/json; charset=utf-8"));
        assert_eq!(unknown.body, r#"{"error": "Unknown or unconfigured profile"}"#);
        let missing = Answer::from(ProxyError::NotFound);
        assert_eq!((missing.content_type, &*missing.body), ("text/plain; charset=utf-8", "404: Not Found"));
        let down = ProxyError::Unavailable {
            profile: "coder".parse().unwrap(),
            state: "backoff",
            retry_after_secs: 7,
        };
        let down = Answer::from(down);
        assert_eq!((down.status, down.retry_after, down.close), (503, Some(7), false));
        assert_eq!(down.body, r#"{"error":"Profile unavailable","profile":"coder","state":"backoff"}"#);
        let large = Answer::from(ProxyError::BodyTooLarge);
        assert!(
            large.close && large.body.starts_with(r#"{"error":{"code":"body_too_large","message":""#),
            "{large:?}"
        );
    }

    #[test]
    fn every_body_of_a_code_is_json() {
        let bad = ProxyError::BadRequest("the only transfer coding is a single `chunked`, in HTTP/1.1");
        for error in [bad, ProxyError::Draining, ProxyError::TooManyRequests, ProxyError::AnswerTimeout] {
            let answer = Answer::from(error.clone());
            let value: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!(value["error"]["code"], error.code());
        }
    }
}
