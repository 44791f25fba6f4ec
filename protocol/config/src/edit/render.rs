//! A value as YAML text that reads back as exactly that value, with YAML 1.1 readers too.

use serde_json::Value as Json;

/// A value to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Value(Json);

impl From<Json> for Value {
    fn from(json: Json) -> Self {
        Self(json)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self(Json::String(text.to_owned()))
    }
}

impl Value {
    /// The value itself.
    pub fn json(&self) -> &Json {
        &self.0
    }

    /// Behind a key; `quote` is how the value before it was quoted.
    pub(super) fn render(&self, quote: Option<char>) -> String {
        match (&self.0, quote) {
            (Json::String(text), Some('"')) => double(text),
            (Json::String(text), Some(_)) if is_printable(text) => single(text),
            _ => render(&self.0, false),
        }
    }

    /// Within `{}` or `[]`.
    pub(super) fn render_flow(&self) -> String {
        render(&self.0, true)
    }
}

fn render(json: &Json, flow: bool) -> String {
    match json {
        Json::Null => "null".to_owned(),
        Json::Bool(flag) => flag.to_string(),
        Json::Number(number) => number.to_string(),
        Json::String(text) => scalar(text, flow),
        Json::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| render(item, true)).collect();
            format!("[{}]", items.join(", "))
        }
        Json::Object(map) => {
            let entries: Vec<_> = map
                .iter()
                .map(|(key, value)| format!("{}: {}", self::key(key), render(value, true)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// A value as block text, as `hermes config get` prints it: mappings and lists one entry a line.
pub fn block(json: &Json) -> String {
    let mut out = String::new();
    match json {
        Json::Object(_) | Json::Array(_) => lines(json, 0, &mut out),
        other => {
            out.push_str(&render(other, false));
            out.push('\n');
        }
    }
    out
}

fn lines(json: &Json, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match json {
        Json::Object(map) if !map.is_empty() => {
            for (name, value) in map {
                out.extend([pad.as_str(), &key(name), ":"]);
                // A list stands as deep as its key, a mapping deeper.
                beside(value, if value.is_array() { indent } else { indent + 2 }, out);
            }
        }
        Json::Array(items) if !items.is_empty() => {
            for item in items {
                out.extend([pad.as_str(), "-"]);
                match item {
                    Json::Object(map) if !map.is_empty() => {
                        let mut entry = String::new();
                        lines(item, indent + 2, &mut entry);
                        out.extend([" ", entry.trim_start()]);
                    }
                    _ => beside(item, indent + 2, out),
                }
            }
        }
        other => out.extend([pad.as_str(), &render(other, false), "\n"]),
    }
}

/// Behind `key:` or `-`.
fn beside(value: &Json, indent: usize, out: &mut String) {
    let nested = match value {
        Json::Object(map) => !map.is_empty(),
        Json::Array(items) => !items.is_empty(),
        _ => false,
    };
    if nested {
        out.push('\n');
        lines(value, indent, out);
    } else {
        out.extend([" ", &render(value, false), "\n"]);
    }
}

/// A key.
pub(super) fn key(text: &str) -> String {
    scalar(text, true)
}

fn scalar(text: &str, flow: bool) -> String {
    if is_plain(text, flow) {
        text.to_owned()
    } else if is_printable(text) {
        single(text)
    } else {
        double(text)
    }
}

/// Whether the text stands for itself without quotes, for readers of YAML 1.1 and 1.2 alike.
fn is_plain(text: &str, flow: bool) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '/');
    let inner = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '.' | '-' | '+' | ' ' | ':' | '@' | '=' | ',')
    };
    let reserved = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    let ambiguous = text.ends_with([' ', ':'])
        || text.contains(": ")
        || (flow && text.contains([',', ':']))
        || reserved.contains(&text.to_ascii_lowercase().as_str());
    text.starts_with(first) && text.chars().all(inner) && !ambiguous
}

fn is_printable(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}'))
}

fn single(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn double(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn blocks_read_back() {
        let value = json!({
            "a": {"b": 1, "c": [], "d": {}}, "list": ["x", "on", {"k": [1, {"z": null}], "l": "m\nn"}, [true, [2]]], "e": "it's: x",
        });
        let text = block(&value);
        assert_eq!(
            text,
            "a:\n  b: 1\n  c: []\n  d: {}\nlist:\n- x\n- 'on'\n- k:\n  - 1\n  - z: null\n  l: \"m\\nn\"\n-\n  - true\n  -\n    - 2\ne: 'it''s: x'\n"
        );
        let path = |text: &str| crate::path::KeyPath::parse(text).unwrap();
        let read = crate::document::Document::parse(text.as_bytes()).unwrap();
        for key in ["a", "list", "e"] {
            assert_eq!(read.get(&crate::REGISTRY, &path(key), &crate::Env::default()).unwrap(), value[key]);
        }
        assert_eq!((block(&json!("x")), block(&json!(null))), ("x\n".to_owned(), "null\n".to_owned()));
    }
}
