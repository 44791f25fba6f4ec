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
