//! Requests as clients of Discord's REST make them: JSON, forms of several parts, or nothing.

use std::io::Write as _;
use std::net::TcpStream;

use serde_json::Value;

use crate::asked::{self, Asked, header, position};

/// Largest body.
const MOST: usize = 32 * 1024 * 1024;

/// A file in a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub media_type: String,
    /// It.
    pub bytes: Vec<u8>,
}

/// What a request asks for.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) token: String,
    pub(super) body: Value,
    pub(super) files: Vec<Upload>,
}

/// The next request on a connection; none: the client is gone.
pub(super) fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<Request>> {
    let Some(asked) = asked::read(stream, buffer, MOST)? else { return Ok(None) };
    let kind = asked.header("content-type").unwrap_or_default();
    let (body, files) = match kind.split_once("boundary=") {
        Some((_, boundary)) => form(&asked.body, boundary.trim_matches('"')),
        None => (serde_json::from_slice(&asked.body).unwrap_or_default(), Vec::new()),
    };
    let token = asked.header("authorization").unwrap_or_default();
    let Asked { method, path, query, .. } = asked;
    Ok(Some(Request { method, path, query, token, body, files }))
}

/// The JSON of a form, and its files.
fn form(bytes: &[u8], boundary: &str) -> (Value, Vec<Upload>) {
    let (mut body, mut files) = (Value::Null, Vec::new());
    let mark = format!("--{boundary}");
    let mut rest = bytes;
    while let Some(at) = position(rest, mark.as_bytes()) {
        rest = &rest[at + mark.len()..];
        let Some(head_end) = position(rest, b"\r\n\r\n") else { break };
        let head = String::from_utf8_lossy(&rest[..head_end]).into_owned();
        let Some(end) = position(&rest[head_end..], format!("\r\n{mark}").as_bytes()) else { break };
        let part = &rest[head_end + 4..head_end + end];
        let disposition = header(&head, "content-disposition").unwrap_or_default();
        let named = |key: &str| {
            let (_, behind) = disposition.split_once(&format!("{key}=\""))?;
            behind.split('"').next().map(str::to_owned)
        };
        if named(" name").as_deref() == Some("payload_json") {
            body = serde_json::from_slice(part).unwrap_or_default();
        } else if let Some(name) = named("filename") {
            let media_type = header(&head, "content-type").unwrap_or_default();
            files.push(Upload { name, media_type, bytes: part.to_vec() });
        }
        rest = &rest[head_end + end..];
    }
    (body, files)
}

/// Answers a request.
pub(super) fn say(
    stream: &mut TcpStream,
    status: u16,
    headers: &[(String, String)],
    body: &[u8],
) -> std::io::Result<()> {
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    // Clients take a 429 without that for one of what is between.
    let head = format!(
        "HTTP/1.1 {status} X\r\nVia: 1.1 google\r\n{kind}{more}Content-Length: {}\r\n\r\n",
        body.len()
    );
    // In one piece: the second of two waits until the client has confirmed the first.
    stream.write_all(&[head.as_bytes(), body].concat())
}
