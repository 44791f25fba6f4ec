//! Requests as clients of the Bot API make them: JSON, forms, or in the address.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Map, Value};

/// Largest body.
const MOST: usize = 8 * 1024 * 1024;

/// What a request asks for.
pub(super) struct Request {
    pub(super) path: String,
    pub(super) fields: Map<String, Value>,
}

/// The next request on a connection; none: the client is gone.
pub(super) fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<Request>> {
    let mut piece = [0; 16 * 1024];
    let mut more = |stream: &mut TcpStream, buffer: &mut Vec<u8>| -> std::io::Result<bool> {
        let read = stream.read(&mut piece)?;
        buffer.extend_from_slice(&piece[..read]);
        Ok(read > 0)
    };
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if !more(stream, buffer)? {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end);
    let header = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(':'));
        let mut found = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.trim().to_owned())
    };
    let length: usize = header("content-length").map_or(0, |length| length.parse().unwrap());
    assert!(length <= MOST);
    while buffer.len() < length {
        if !more(stream, buffer)? {
            return Ok(None);
        }
    }
    let body: Vec<u8> = buffer.drain(..length).collect();
    let target = head.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut fields = form(query);
    let kind = header("content-type").unwrap_or_default();
    if kind.starts_with("application/json") {
        fields.extend(serde_json::from_slice::<Map<String, Value>>(&body).unwrap_or_default());
    } else if kind.starts_with("application/x-www-form-urlencoded") {
        fields.extend(form(&String::from_utf8_lossy(&body)));
    }
    Ok(Some(Request { path: decoded(path), fields }))
}

/// A form; what is JSON in it is read as such, texts of messages apart.
fn form(text: &str) -> Map<String, Value> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    let value = |name: &str, text: String| {
        let is_text = matches!(name, "text" | "caption");
        let json = if is_text { None } else { serde_json::from_str(&text).ok() };
        json.unwrap_or(Value::String(text))
    };
    pairs
        .map(|(name, text)| {
            let name = decoded(name);
            let value = value(&name, decoded(&text.replace('+', " ")));
            (name, value)
        })
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let hex = behind.get(..2).filter(|_| *first == b'%');
        let byte = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Answers a request.
pub(super) fn say(
    stream: &mut TcpStream,
    status: u16,
    retry_after: Option<u64>,
    body: &[u8],
) -> std::io::Result<()> {
    let wait = retry_after.map(|seconds| format!("Retry-After: {seconds}\r\n")).unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {status} X\r\n{wait}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)
}
