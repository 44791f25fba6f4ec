//! What the HTTP library answers by itself, to a client that no proxy stands before (`hermes worker --http`): a head it cannot
//! read gets 400 or 431 without a body. Here it gets the form that every other answer has.
//!
//! Such an answer is the last thing on its connection and is written in one piece; every answer of ours carries the security
//! headers, so one without them is the library's.

use std::fmt::Write as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hermes_wire::http::{ERROR, JSON, SECURITY_HEADERS};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A client's connection.
#[derive(Debug)]
pub(super) struct Dressed<S> {
    stream: S,
    /// What is written instead of so many bytes, and how much of it is.
    instead: Option<(Vec<u8>, usize)>,
}

impl<S> Dressed<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, instead: None }
    }
}

/// The answer in place of a bare one.
fn dress(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let status = text.strip_prefix("HTTP/1.1 ")?.get(..3)?;
    let is_bare = text.ends_with("\r\n\r\n") && !text.contains(SECURITY_HEADERS[0].0);
    let status = StatusCode::from_bytes(status.as_bytes()).ok().filter(|s| is_bare && s.is_client_error())?;
    let (code, message) = match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE | StatusCode::URI_TOO_LONG => {
            ("head_too_large", "the request head is too large or has too many headers")
        }
        _ => ("bad_request", "the request is malformed"),
    };
    let body = format!(r#"{{"error":{{"code":"{code}","message":"{message}"}}}}"#);
    let mut head = format!("HTTP/1.1 {status}\r\n{ERROR}: {code}\r\n");
    for (name, value) in SECURITY_HEADERS {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    let length = body.len();
    let _ =
        write!(head, "content-type: {JSON}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    Some(head.into_bytes())
}

impl<S: AsyncRead + Unpin> AsyncRead for Dressed<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

/// Not vectored: what is written together comes in one piece.
impl<S: AsyncWrite + Unpin> AsyncWrite for Dressed<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.instead.is_none() {
            this.instead = dress(buf).map(|bytes| (bytes, 0));
        }
        let Some((bytes, written)) = &mut this.instead else {
            return Pin::new(&mut this.stream).poll_write(cx, buf);
        };
        while *written < bytes.len() {
            match ready!(Pin::new(&mut this.stream).poll_write(cx, &bytes[*written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => *written += n,
            }
        }
        this.instead = None;
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 22: only the library's own refusals are dressed.
    #[test]
    fn what_carries_our_headers_or_is_no_refusal_stays_as_it_is() {
        let bare =
            b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let text = String::from_utf8(dress(bare).unwrap()).unwrap();
        assert!(text.starts_with(
            "HTTP/1.1 431 Request Header Fields Too Large\r\nx-hermes-error: head_too_large\r\n"
        ));
        assert!(text.contains("\r\nx-content-type-options: nosniff\r\n"), "{text}");
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{text}");
        for other in [
            &b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"[..],
            b"HTTP/1.1 404 Not Found\r\ncontent-security-policy: x\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 3\r\n\r\nabc",
            b"5\r\nHTTP/1.1 400 Bad Request\r\n\r\n",
            b"\xff\xff",
            b"",
        ] {
            assert_eq!(dress(other), None, "{}", String::from_utf8_lossy(other));
        }
    }
}
