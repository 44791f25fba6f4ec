//! A request body as an object: JSON, or a form where the sender says it is one.

use http::{HeaderMap, header};
use serde_json::{Map, Value};

/// The payload, or `None` for what is neither a JSON object nor a declared form.
pub(super) fn parse(headers: &HeaderMap, body: &[u8]) -> Option<Value> {
    match crate::json::parse(body) {
        Ok(value @ Value::Object(_)) => Some(value),
        Err(_) if is_form(headers) => std::str::from_utf8(body).ok().map(form),
        _ => None,
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

/// A flat map: the last value of a key wins, blank values are dropped.
fn form(text: &str) -> Value {
    let mut fields = Map::new();
    for pair in text.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !value.is_empty() {
            fields.insert(decode(key), Value::String(decode(value)));
        }
    }
    Value::Object(fields)
}

/// `+` is a space; malformed escapes stay as they are; bytes that are no UTF-8 become U+FFFD.
fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digit = |at: usize| after.get(at).and_then(|b| char::from(*b).to_digit(16));
                match (digit(0), digit(1)) {
                    (Some(high), Some(low)) => {
                        out.push(
                            u8::try_from(high * 16 + low).expect("two hexadecimal digits fit into a byte"),
                        );
                        rest = &after[2..];
                    }
                    _ => out.push(b'%'),
                }
            }
            other => out.push(other),
        }
    }
    match String::from_utf8(out) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;

    fn parse_as(kind: &'static str, body: &[u8]) -> Option<Value> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        parse(&headers, body)
    }

    #[test]
    fn only_objects_are_payloads() {
        assert_eq!(parse_as("application/json", br#"{"a":1}"#), Some(json!({"a": 1})));
        assert_eq!(parse_as("text/plain", b"\xef\xbb\xbf{}"), Some(json!({})));
        for bad in [&b"[1,2]"[..], b"1", b"null", b"", b"hello", b"{", b"\xff"] {
            assert_eq!(parse_as("application/json", bad), None, "{bad:?}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(parse_as("application/json", deep.as_bytes()), None);
    }

    #[test]
    fn forms_must_be_declared() {
        let kind = "application/x-www-form-urlencoded; charset=utf-8";
        assert_eq!(parse_as(kind, b"a=1&b=&a=2+%C3%A4%zz&c"), Some(json!({"a": "2 ä%zz"})));
        assert_eq!(parse_as(kind, b""), Some(json!({})));
        assert_eq!(parse_as(kind, b"\xff=1"), None);
        assert_eq!(parse_as(kind, b"[1]"), None);
        assert_eq!(parse_as("text/plain", b"a=1"), None);
    }
}
