//! Requests as clients of the Web API make them: JSON or forms, the token in a header or among the fields.

use std::net::TcpStream;

use serde_json::{Map, Value};

use crate::asked::{self, Asked, decoded};

/// Largest body.
const MOST: usize = 64 * 1024 * 1024;

/// What a request asks for.
pub(super) struct Request {
    pub(super) path: String,
    pub(super) query: Map<String, Value>,
    pub(super) fields: Map<String, Value>,
    pub(super) token: String,
    asked: Asked,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.asked.header(name)
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.asked.body
    }
}

/// The next request on a connection; none: the client is gone.
pub(super) fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<Request>> {
    let Some(asked) = asked::read(stream, buffer, MOST)? else { return Ok(None) };
    let query = form(&asked.query);
    let mut fields = query.clone();
    let kind = asked.header("content-type").unwrap_or_default();
    if kind.starts_with("application/json") {
        fields.extend(serde_json::from_slice::<Map<String, Value>>(&asked.body).unwrap_or_default());
    } else if kind.starts_with("application/x-www-form-urlencoded") {
        fields.extend(form(&String::from_utf8_lossy(&asked.body)));
    }
    let bearer =
        asked.header("authorization").and_then(|value| value.strip_prefix("Bearer ").map(str::to_owned));
    let of_fields = fields.get("token").and_then(Value::as_str).map(str::to_owned);
    let token = bearer.or(of_fields).unwrap_or_default();
    Ok(Some(Request { path: decoded(&asked.path), query, fields, token, asked }))
}

/// A form; lists and mappings in it are JSON.
fn form(text: &str) -> Map<String, Value> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    let value = |text: String| {
        let json = if text.starts_with(['[', '{']) { serde_json::from_str(&text).ok() } else { None };
        json.unwrap_or(Value::String(text))
    };
    pairs.map(|(name, text)| (decoded(name), value(decoded(&text.replace('+', " "))))).collect()
}
