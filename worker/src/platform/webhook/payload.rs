//! A request body as an object: JSON, or a form where the sender says it is one.
//!
//! A form of one field `payload` that holds a JSON object stands for that object: that is how GitHub sends where nobody chose
//! `application/json`, and Slack where a button was pressed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use http::{HeaderMap, header};

use super::tree::Node;

/// The payload, or `None` for what is neither a JSON object nor a declared form.
pub(super) fn parse(headers: &HeaderMap, body: &[u8]) -> Option<Node> {
    match Node::parse(body) {
        Some(node) => node.is_map().then_some(node),
        None if is_form(headers) => std::str::from_utf8(body).ok().map(form),
        None => None,
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
fn form(text: &str) -> Node {
    let mut fields: Vec<(String, Node)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for pair in text.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if value.is_empty() {
            continue;
        }
        let (key, value) = (decode(key), Node::Text(decode(value)));
        match places.entry(key.clone()) {
            Entry::Occupied(place) => fields[*place.get()].1 = value,
            Entry::Vacant(place) => {
                place.insert(fields.len());
                fields.push((key, value));
            }
        }
    }
    if let [(name, Node::Text(inner))] = &fields[..]
        && name == "payload"
        && let Some(inner) = Node::parse(inner.as_bytes()).filter(Node::is_map)
    {
        return inner;
    }
    Node::Map(fields)
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

    use super::*;

    fn parse_as(kind: &'static str, body: &[u8]) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        parse(&headers, body).map(|node| node.to_string())
    }

    #[test]
    fn only_objects_are_payloads() {
        assert_eq!(parse_as("application/json", br#"{"a":1}"#).as_deref(), Some(r#"{"a":1}"#));
        assert_eq!(parse_as("text/plain", b"\xef\xbb\xbf{}").as_deref(), Some("{}"));
        for bad in [&b"[1,2]"[..], b"1", b"null", b"", b"hello", b"{", b"\xff"] {
            assert_eq!(parse_as("application/json", bad).as_deref(), None, "{bad:?}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(parse_as("application/json", deep.as_bytes()).as_deref(), None);
    }

    #[test]
    fn forms_must_be_declared() {
        let kind = "application/x-www-form-urlencoded; charset=utf-8";
        assert_eq!(
            parse_as(kind, b"a=1&b=&c=3&a=2+%C3%A4%zz&c").as_deref(),
            Some(r#"{"a":"2 ä%zz","c":"3"}"#)
        );
        assert_eq!(parse_as(kind, b"").as_deref(), Some("{}"));
        assert_eq!(parse_as(kind, b"\xff=1").as_deref(), None);
        assert_eq!(parse_as(kind, b"[1]").as_deref(), None);
        assert_eq!(parse_as("text/plain", b"a=1").as_deref(), None);
    }

    /// Wires 8: GitHub's default is a form around the JSON.
    #[test]
    fn w8_a_form_around_json_is_unwrapped() {
        let kind = "application/x-www-form-urlencoded";
        let wrapped = b"payload=%7B%22zen%22%3A%22Keep+it+%2B+simple%22%2C%22hook_id%22%3A1.10%7D";
        assert_eq!(parse_as(kind, wrapped).as_deref(), Some(r#"{"zen":"Keep it + simple","hook_id":1.10}"#));
        for (form, flat) in [
            ("payload=hello", r#"{"payload":"hello"}"#),
            ("payload=%5B1%5D", r#"{"payload":"[1]"}"#),
            ("payload=%7B%7D&token=x", r#"{"payload":"{}","token":"x"}"#),
        ] {
            assert_eq!(parse_as(kind, form.as_bytes()).as_deref(), Some(flat));
        }
    }
}
