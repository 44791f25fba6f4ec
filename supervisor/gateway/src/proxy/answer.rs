//! Responses the supervisor makes itself: `/health`, `/ready`, and what [`super::rescue`] makes of errors.

use std::borrow::Cow;
use std::io::Write as _;

use hermes_wire::http::{BOTH_PLATFORMS, ERROR, Family, JSON, SECURITY_HEADERS, health as agent_health};
use hermes_wire::request_id::REQUEST_ID;

use super::head::Persistence;
use super::listener::Families;
use super::request::Method;
use super::rescue::ProxyError;
use super::route::Table;

/// Content type of plain bodies.
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// One response, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) body: Cow<'static, str>,
    /// For `x-hermes-error`.
    pub(super) error: Option<&'static str>,
    /// For `Allow`.
    pub(super) allow: Option<&'static str>,
    /// For `Retry-After`, in seconds.
    pub(super) retry_after: Option<u32>,
    /// The connection ends with it.
    pub(super) close: bool,
}

impl Answer {
    pub(super) fn new(status: u16, content_type: &'static str, body: impl Into<Cow<'static, str>>) -> Self {
        let body = body.into();
        Self { status, content_type, body, error: None, allow: None, retry_after: None, close: false }
    }

    /// Appends the response as sent.
    /// `id`: see [`hermes_wire::request_id`].
    pub(super) fn write(&self, id: &str, head_only: bool, persistence: Persistence, out: &mut Vec<u8>) {
        let status =
            http::StatusCode::from_u16(self.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        // Writing into a `Vec` cannot fail.
        let _ =
            write!(out, "HTTP/1.1 {} {}\r\n", self.status, status.canonical_reason().unwrap_or("Unknown"));
        if self.status != 204 {
            let _ =
                write!(out, "content-type: {}\r\ncontent-length: {}\r\n", self.content_type, self.body.len());
        }
        let now = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT");
        let _ = write!(out, "date: {now}\r\n");
        for (name, value) in SECURITY_HEADERS {
            let _ = write!(out, "{name}: {value}\r\n");
        }
        let _ = write!(out, "{REQUEST_ID}: {id}\r\n");
        if let Some(error) = self.error {
            let _ = write!(out, "{ERROR}: {error}\r\n");
        }
        if let Some(allow) = self.allow {
            let _ = write!(out, "allow: {allow}\r\n");
        }
        if let Some(seconds) = self.retry_after {
            let _ = write!(out, "retry-after: {seconds}\r\n");
        }
        out.extend_from_slice(persistence.line());
        out.extend_from_slice(b"\r\n");
        if !head_only {
            out.extend_from_slice(self.body.as_bytes());
        }
    }
}

/// `/health`: the process answers. Bodies are those of 0.19.0, by what the listener serves.
pub(super) fn health(method: Method, families: Families) -> Answer {
    if !matches!(method, Method::Get | Method::Head) {
        return ProxyError::MethodNotAllowed("GET, HEAD").into();
    }
    let webhook = families.has(Family::Webhook);
    let api = families.has(Family::ApiServer);
    let body = match (webhook, api) {
        (true, false) => Cow::Borrowed(r#"{"status": "ok", "platform": "webhook"}"#),
        (merged, _) => {
            let platforms = if merged { BOTH_PLATFORMS } else { "" };
            Cow::Owned(agent_health(platforms))
        }
    };
    Answer::new(200, JSON, body)
}

/// `/ready`: every profile that should serve does.
pub(super) fn ready(method: Method, table: &Table, draining: bool) -> Answer {
    if !matches!(method, Method::Get | Method::Head) {
        return ProxyError::MethodNotAllowed("GET, HEAD").into();
    }
    let missing = table.not_ready();
    if missing.is_empty() && !draining {
        return Answer::new(
            200,
            JSON,
            format!(r#"{{"status": "ready", "profiles": {}}}"#, table.routes.len()),
        );
    }
    let names: Vec<_> = missing.iter().map(|name| format!("\"{name}\"")).collect();
    let status = if draining { "draining" } else { "not_ready" };
    let body = format!(r#"{{"status": "{status}", "not_ready": [{}]}}"#, names.join(", "));
    Answer { error: Some(status), retry_after: Some(1), close: draining, ..Answer::new(503, JSON, body) }
}

/// `OPTIONS *`: about the server as a whole.
pub(super) fn options() -> Answer {
    Answer { allow: Some("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"), ..Answer::new(204, TEXT, "") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::{Availability, Route};

    #[test]
    fn health_tells_what_the_listener_serves() {
        let body = |names: &[&str]| health(Method::Get, Families::from_names(names)).body;
        assert_eq!(body(&["webhook"]), r#"{"status": "ok", "platform": "webhook"}"#);
        assert_eq!(
            body(&["api_server"]),
            r#"{"status": "ok", "platform": "hermes-agent", "version": "0.1.0", "compatible_with": "0.19.0"}"#
        );
        assert_eq!(
            body(&["webhook", "api_server"]),
            r#"{"status": "ok", "platform": "hermes-agent", "version": "0.1.0", "compatible_with": "0.19.0", "platforms": ["webhook", "api_server"]}"#
        );
        assert_eq!(health(Method::Other, Families::from_names(&["webhook"])).status, 405);
    }

    #[test]
    fn ready_names_who_is_missing() {
        let primary = Route::new("default".parse().unwrap(), "/d".into());
        let table = Table::new(true, primary.clone());
        let answer = ready(Method::Get, &table, false);
        assert_eq!((answer.status, answer.retry_after), (503, Some(1)));
        assert_eq!(answer.body, r#"{"status": "not_ready", "not_ready": ["default"]}"#);
        primary.set(Availability::Open { ready: true });
        assert_eq!(ready(Method::Get, &table, false).body, r#"{"status": "ready", "profiles": 1}"#);
        assert_eq!(ready(Method::Get, &table, true).status, 503);
    }

    #[test]
    fn answers_carry_the_security_headers() {
        let mut out = Vec::new();
        let answer = Answer { error: Some("x"), allow: Some("GET"), ..Answer::new(405, TEXT, "no") };
        answer.write("r-1", true, Persistence::Close, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with(
                "HTTP/1.1 405 Method Not Allowed\r\ncontent-type: text/plain; charset=utf-8\r\n"
            ),
            "{text}"
        );
        assert!(text.ends_with("connection: close\r\n\r\n"), "{text}");
        for (name, value) in SECURITY_HEADERS {
            assert!(text.contains(&format!("\r\n{name}: {value}\r\n")), "{name}");
        }
    }
}
