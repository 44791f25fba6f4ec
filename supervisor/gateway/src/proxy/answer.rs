//! A response that the supervisor makes itself, and how it is sent.

use std::borrow::Cow;
use std::io::Write as _;

use hermes_host::clock;
use hermes_wire::http::{ERROR, SECURITY_HEADERS};
use hermes_wire::request_id::REQUEST_ID;

use super::wire::head::Persistence;

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
        let now = clock::utc().strftime("%a, %d %b %Y %H:%M:%S GMT");
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

#[cfg(test)]
mod tests {
    use super::*;

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
