//! Requests as clients of the Bot API make them: JSON, forms, or in the address.

use std::io::Write as _;
use std::net::TcpStream;

use base64::Engine as _;
use serde_json::{Map, Value};

use crate::asked::{self, decoded};

/// Largest body.
const MOST: usize = 16 * 1024 * 1024;

/// What a request asks for.
pub(super) struct Request {
    pub(super) path: String,
    pub(super) fields: Map<String, Value>,
}

/// The next request on a connection; none: the client is gone.
pub(super) fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<Request>> {
    let Some(asked) = asked::read(stream, buffer, MOST)? else { return Ok(None) };
    let mut fields = form(&asked.query);
    let kind = asked.header("content-type").unwrap_or_default();
    if kind.starts_with("application/json") {
        fields.extend(serde_json::from_slice::<Map<String, Value>>(&asked.body).unwrap_or_default());
    } else if kind.starts_with("application/x-www-form-urlencoded") {
        fields.extend(form(&String::from_utf8_lossy(&asked.body)));
    } else if let Some((_, boundary)) = kind.split_once("multipart/form-data; boundary=") {
        fields.extend(parts(&asked.body, boundary));
    }
    Ok(Some(Request { path: decoded(&asked.path), fields }))
}

/// A form; what is JSON in it is read as such, texts of messages apart.
fn form(text: &str) -> Map<String, Value> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, text)| {
            let name = decoded(name);
            let value = value(&name, decoded(&text.replace('+', " ")));
            (name, value)
        })
        .collect()
}

fn value(name: &str, text: String) -> Value {
    let is_text = matches!(name, "text" | "caption");
    let json = if is_text { None } else { serde_json::from_str(&text).ok() };
    json.unwrap_or(Value::String(text))
}

/// A form with files: each is a mapping of its `name`, `type` and `data`, in Base64.
fn parts(body: &[u8], boundary: &str) -> Map<String, Value> {
    let mark = format!("--{}", boundary.trim_matches('"'));
    let places: Vec<usize> = body
        .windows(mark.len())
        .enumerate()
        .filter(|(_, piece)| *piece == mark.as_bytes())
        .map(|(at, _)| at)
        .collect();
    let mut fields = Map::new();
    for (from, to) in places.iter().zip(places.iter().skip(1)) {
        let part = &body[from + mark.len() + 2..to - 2];
        let Some(end) = part.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let (head, data) = (String::from_utf8_lossy(&part[..end]).into_owned(), &part[end + 4..]);
        let quoted = |name: &str| {
            let (_, rest) = head.split_once(&format!("{name}=\""))?;
            rest.split('"').next().map(str::to_owned)
        };
        let name = quoted("; name").unwrap_or_default();
        let field = match quoted("filename") {
            Some(file) => {
                let kind = head.lines().find_map(|line| {
                    line.strip_prefix("Content-Type: ").or(line.strip_prefix("content-type: "))
                });
                let data = base64::engine::general_purpose::STANDARD.encode(data);
                serde_json::json!({"name": file, "type": kind, "data": data})
            }
            None => value(&name, String::from_utf8_lossy(data).into_owned()),
        };
        fields.insert(name, field);
    }
    fields
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
    // In one piece: the second of two waits until the client has confirmed the first.
    stream.write_all(&[head.as_bytes(), body].concat())
}
