//! Route filters: small conditions on the payload, the event type and the headers.
//!
//! A condition is compiled once, when the route is loaded. What cannot be understood never matches, and says so once. Regular
//! expressions run in linear time; files are read up to [`MAX_FILE_LEN`].

use std::borrow::Cow;
use std::io::Read as _;

use camino::{Utf8Path, Utf8PathBuf};
use http::HeaderMap;
use regex_lite::Regex;
use serde_json::{Map, Value};

use super::template::lookup;
use super::tree::Node;

/// Largest file `in_file` reads.
const MAX_FILE_LEN: u64 = 1024 * 1024;
/// How deep `all`, `any` and `not` may nest.
const MAX_DEPTH: usize = 32;

/// What a condition looks at.
pub(super) struct Subject<'a> {
    pub(super) payload: &'a Node,
    pub(super) event_type: &'a str,
    pub(super) headers: &'a HeaderMap,
}

/// A compiled condition.
#[derive(Debug)]
pub(super) enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
    Field(Field, Test),
    /// Malformed.
    Never,
}

/// Where a value is looked up.
#[derive(Debug)]
pub(super) enum Field {
    /// Below the payload's own `payload` object, or the body where it has none.
    Payload(Vec<String>),
    Event,
    /// Nothing lies below the event type.
    Nowhere,
    Header(String),
    Body(Vec<String>),
}

/// What is asked of it.
#[derive(Debug)]
pub(super) enum Test {
    Exists(bool),
    Equals(Value),
    NotEquals(Value),
    Contains(Value),
    In(Vec<Value>),
    InFile(Utf8PathBuf),
    Regex(Regex),
}

/// Compiles the filters of one route; `home` is where `in_file` looks. Problems are handed to `warn`, one sentence each.
pub(super) fn compile(specs: &[Value], home: &Utf8Path, warn: &mut dyn FnMut(String)) -> Vec<Filter> {
    specs.iter().map(|spec| compile_one(spec, home, warn, 0)).collect()
}

fn compile_one(spec: &Value, home: &Utf8Path, warn: &mut dyn FnMut(String), depth: usize) -> Filter {
    let result = match spec {
        _ if depth > MAX_DEPTH => Err(format!("is nested deeper than {MAX_DEPTH}")),
        Value::Object(spec) => compile_object(spec, home, warn, depth),
        _ => Err("is not an object".to_owned()),
    };
    result.unwrap_or_else(|reason| {
        warn(format!("a filter {reason} and never matches"));
        Filter::Never
    })
}

fn compile_object(
    spec: &Map<String, Value>,
    home: &Utf8Path,
    warn: &mut dyn FnMut(String),
    depth: usize,
) -> Result<Filter, String> {
    let mut several = |key: &str| match &spec[key] {
        Value::Array(items) => Ok(items.iter().map(|one| compile_one(one, home, warn, depth + 1)).collect()),
        _ => Err(format!("has an `{key}` that is not a list")),
    };
    if spec.contains_key("all") {
        return several("all").map(Filter::All);
    }
    if spec.contains_key("any") {
        return several("any").map(Filter::Any);
    }
    if let Some(inner) = spec.get("not") {
        return Ok(match compile_one(inner, home, warn, depth + 1) {
            // The opposite of nonsense is nonsense too.
            Filter::Never => Filter::Never,
            inner => Filter::Not(Box::new(inner)),
        });
    }
    let Some(field) = spec.get("field").and_then(Value::as_str) else {
        return Err("has none of `all`, `any`, `not`, `field`".to_owned());
    };
    Ok(Filter::Field(parse_field(field), compile_test(spec, home)?))
}

fn compile_test(spec: &Map<String, Value>, home: &Utf8Path) -> Result<Test, String> {
    let flag = |key: &str| match &spec[key] {
        Value::Bool(flag) => Ok(*flag),
        _ => Err(format!("has an `{key}` that is neither true nor false")),
    };
    if spec.contains_key("exists") {
        return flag("exists").map(Test::Exists);
    }
    if spec.contains_key("missing") {
        return flag("missing").map(|missing| Test::Exists(!missing));
    }
    if let Some(value) = spec.get("equals") {
        return Ok(Test::Equals(value.clone()));
    }
    if let Some(value) = spec.get("not_equals") {
        return Ok(Test::NotEquals(value.clone()));
    }
    if let Some(value) = spec.get("contains") {
        return Ok(Test::Contains(value.clone()));
    }
    if let Some(value) = spec.get("in") {
        let items = value.as_array().ok_or("has an `in` that is not a list")?;
        return Ok(Test::In(items.clone()));
    }
    if let Some(value) = spec.get("in_file") {
        let path = value.as_str().filter(|p| !p.is_empty()).ok_or("has an `in_file` that is not a path")?;
        return Ok(Test::InFile(home.join(path.strip_prefix("~/.hermes/").unwrap_or(path))));
    }
    if let Some(value) = spec.get("regex") {
        let pattern = value.as_str().ok_or("has a `regex` that is not text")?;
        return Regex::new(pattern)
            .map(Test::Regex)
            .map_err(|error| format!("has a `regex` that is invalid ({error})"));
    }
    Err("has a `field` but no operator this version knows".to_owned())
}

fn parse_field(field: &str) -> Field {
    let parts =
        |rest: Option<&str>| rest.map(|r| r.split('.').map(str::to_owned).collect()).unwrap_or_default();
    let (root, rest) = match field.split_once('.') {
        Some((root, rest)) => (root, Some(rest)),
        None => (field, None),
    };
    match (root, rest) {
        ("payload", rest) => Field::Payload(parts(rest)),
        ("event" | "event_type", None) => Field::Event,
        ("event" | "event_type", Some(_)) => Field::Nowhere,
        ("headers", Some(name)) => Field::Header(name.to_owned()),
        _ => Field::Body(parts(Some(field))),
    }
}

impl Filter {
    /// Whether the condition holds; an error where that cannot be known for now.
    pub(super) fn matches(&self, subject: &Subject<'_>) -> Result<bool, String> {
        let first = |filters: &[Self], wanted: bool| {
            for filter in filters {
                if filter.matches(subject)? == wanted {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        match self {
            Self::All(filters) => first(filters, false).map(|one_fails| !one_fails),
            Self::Any(filters) => first(filters, true),
            Self::Not(filter) => filter.matches(subject).map(|holds| !holds),
            Self::Field(field, test) => test.holds(field.value(subject).as_deref()),
            Self::Never => Ok(false),
        }
    }
}

impl Field {
    fn value<'a>(&self, subject: &Subject<'a>) -> Option<Cow<'a, Node>> {
        let path = |parts: &[String], root| lookup(root, parts.iter().map(String::as_str)).map(Cow::Borrowed);
        match self {
            Self::Payload(parts) => {
                let own = subject.payload.get("payload").filter(|inner| inner.is_map());
                path(parts, own.unwrap_or(subject.payload))
            }
            Self::Event => Some(Cow::Owned(Node::Text(subject.event_type.to_owned()))),
            Self::Nowhere => None,
            Self::Header(name) => {
                let value = subject.headers.get(name.as_str())?;
                Some(Cow::Owned(Node::Text(String::from_utf8_lossy(value.as_bytes()).into_owned())))
            }
            Self::Body(parts) => path(parts, subject.payload),
        }
    }
}

impl Test {
    fn holds(&self, value: Option<&Node>) -> Result<bool, String> {
        let Some(value) = value else {
            return Ok(matches!(self, Self::Exists(false) | Self::NotEquals(_)));
        };
        Ok(match self {
            Self::Exists(expected) => *expected,
            Self::Equals(other) => same(value, other),
            Self::NotEquals(other) => !same(value, other),
            Self::Contains(needle) => match value {
                Node::List(items) => items.iter().any(|item| same(item, needle)),
                Node::Map(_) => value.get(text(needle).as_ref()).is_some(),
                other => shown(other).contains(text(needle).as_ref()),
            },
            Self::In(items) => items.iter().any(|item| same(value, item)),
            Self::InFile(path) => in_file(path, &shown(value))?,
            Self::Regex(regex) => regex.is_match(&shown(value)),
        })
    }
}

/// Equality as YAML and JSON authors expect it: `1` is `1.0`. Where 64 bits cannot tell two numbers apart, their digits do.
fn same(came: &Node, wanted: &Value) -> bool {
    match (came, wanted) {
        (Node::Text(a), Value::String(b)) => a == b,
        (Node::Plain(a), Value::Null) => &**a == "null",
        (Node::Plain(a), Value::Bool(wanted)) => &**a == if *wanted { "true" } else { "false" },
        (Node::Plain(_), Value::Number(wanted)) => {
            let Some(digits) = came.as_number() else { return false };
            let text = wanted.to_string();
            if digits == text {
                return true;
            }
            let whole = |digits: &str| !digits.contains(['.', 'e', 'E']);
            if whole(digits) && whole(&text) {
                return digits.parse::<i128>().ok().is_some_and(|a| text.parse() == Ok(a));
            }
            match (digits.parse::<f64>(), wanted.as_f64()) {
                (Ok(a), Some(b)) => a.is_finite() && a.total_cmp(&b).is_eq() || a == 0.0 && b == 0.0,
                _ => false,
            }
        }
        (Node::List(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Node::Map(a), Value::Object(b)) => {
            a.iter().all(|(key, _)| b.contains_key(key))
                && b.iter().all(|(key, b)| came.get(key).is_some_and(|a| same(a, b)))
        }
        _ => false,
    }
}

/// What came, as text.
fn shown(value: &Node) -> Cow<'_, str> {
    match value {
        Node::Text(text) => Cow::Borrowed(text),
        Node::Plain(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

/// Whether a file lists `needle`: as an item of a JSON list, a key of a JSON object, or a line.
fn in_file(path: &Utf8Path, needle: &str) -> Result<bool, String> {
    let content = match read_bounded(path) {
        Ok(Some(content)) => content,
        Ok(None) => {
            tracing::warn!(%path, "a webhook filter cannot read its file; it does not match");
            return Ok(false);
        }
        // No descriptor, no memory, a disk that fails: that says nothing about the event.
        Err(error) => return Err(format!("`{path}` cannot be read now: {error}")),
    };
    Ok(match crate::json::parse(content.as_bytes()) {
        Ok(Value::Array(items)) => items.iter().any(|item| text(item) == needle),
        Ok(Value::Object(map)) => map.contains_key(needle),
        _ => content.lines().map(str::trim).any(|line| !line.is_empty() && line == needle),
    })
}

/// A regular file's text; `None` where there is no such file, or none that may be read or is short enough.
fn read_bounded(path: &Utf8Path) -> std::io::Result<Option<String>> {
    use std::io::ErrorKind::{InvalidData, NotADirectory, NotFound, PermissionDenied};
    let read = || -> std::io::Result<Option<String>> {
        let meta = fs_err::metadata(path)?;
        if !meta.is_file() || meta.len() > MAX_FILE_LEN {
            return Ok(None);
        }
        let mut content = String::new();
        fs_err::File::open(path)?.take(MAX_FILE_LEN + 1).read_to_string(&mut content)?;
        Ok(Some(content))
    };
    match read() {
        Err(error) if matches!(error.kind(), InvalidData | NotADirectory | NotFound | PermissionDenied) => {
            Ok(None)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(spec: &Value, payload: &Value) -> bool {
        let headers: HeaderMap =
            [("x-kind".parse().unwrap(), "Alpha".parse().unwrap())].into_iter().collect();
        let mut warnings = Vec::new();
        let filters = compile(std::slice::from_ref(spec), "/nowhere".into(), &mut |w| warnings.push(w));
        let payload = &Node::parse(payload.to_string().as_bytes()).unwrap();
        let subject = Subject { payload, event_type: "push", headers: &headers };
        filters.iter().all(|f| f.matches(&subject).unwrap())
    }

    #[test]
    fn operators_follow_the_reference() {
        let payload = json!({
            "action": "opened", "n": 1, "nul": null, "labels": ["bug", 2], "o": {"k": 1},
            "list": [{"name": "x"}], "event": "body's own",
        });
        for (spec, expected) in [
            (json!({"field": "action", "equals": "opened"}), true),
            (json!({"field": "n", "equals": 1.0}), true),
            (json!({"field": "n", "equals": "1"}), false),
            (json!({"field": "o", "equals": {"k": 1.0}}), true),
            (json!({"field": "o", "equals": {"k": 1, "l": 2}}), false),
            (json!({"field": "labels", "equals": ["bug", 2]}), true),
            (json!({"field": "nul", "equals": null}), true),
            (json!({"field": "n", "equals": true}), false),
            (json!({"field": "action", "not_equals": "closed"}), true),
            (json!({"field": "gone", "not_equals": "closed"}), true),
            (json!({"field": "gone", "equals": null}), false),
            (json!({"field": "nul", "exists": true}), true),
            (json!({"field": "gone", "exists": false}), true),
            (json!({"field": "gone", "missing": true}), true),
            (json!({"field": "n", "missing": true}), false),
            (json!({"field": "labels", "contains": "bug"}), true),
            (json!({"field": "labels", "contains": "bu"}), false),
            (json!({"field": "o", "contains": "k"}), true),
            (json!({"field": "action", "contains": "pen"}), true),
            (json!({"field": "n", "contains": 1}), true),
            (json!({"field": "action", "in": ["closed", "opened"]}), true),
            (json!({"field": "action", "in": "opened"}), false),
            (json!({"field": "list.0.name", "equals": "x"}), true),
            (json!({"field": "payload.action", "equals": "opened"}), true),
            (json!({"field": "event", "equals": "push"}), true),
            (json!({"field": "event_type", "equals": "push"}), true),
            (json!({"field": "event.x", "missing": true}), true),
            (json!({"field": "headers.X-KIND", "equals": "Alpha"}), true),
            (json!({"field": "headers.Other", "exists": true}), false),
            (json!({"field": "action", "regex": "^op"}), true),
            (json!({"field": "action", "regex": "("}), false),
            (json!({"all": [{"field": "n", "exists": true}, {"field": "gone", "exists": true}]}), false),
            (json!({"any": [{"field": "n", "exists": true}, {"field": "gone", "exists": true}]}), true),
            (json!({"not": {"field": "gone", "exists": true}}), true),
            (json!({"not": {"field": "gone", "frobnicate": true}}), false),
            (json!({"any": [], "field": "n", "exists": true}), false),
            (json!({"all": []}), true),
            (json!({"field": "n"}), false),
            (json!({}), false),
            (json!([]), false),
        ] {
            assert_eq!(check(&spec, &payload), expected, "{spec}");
        }
        assert!(check(&json!({"field": "payload.a", "equals": 1}), &json!({"payload": {"a": 1}, "a": 2})));
    }

    /// Wires 8: ids beyond 64 bits, or beyond what a float can tell apart, are told apart.
    #[test]
    fn w8_numbers_are_compared_digit_for_digit() {
        let holds = |payload: &str, spec: Value| {
            let payload = Node::parse(payload.as_bytes()).unwrap();
            let filters = compile(&[spec], "/nowhere".into(), &mut |w| panic!("{w}"));
            let subject = Subject { payload: &payload, event_type: "", headers: &HeaderMap::new() };
            filters[0].matches(&subject).unwrap()
        };
        assert!(holds(
            r#"{"v":9007199254740993}"#,
            json!({"field": "v", "equals": 9_007_199_254_740_993_i64})
        ));
        assert!(!holds(
            r#"{"v":9007199254740992}"#,
            json!({"field": "v", "equals": 9_007_199_254_740_993_i64})
        ));
        assert!(!holds(r#"{"v":1e400}"#, json!({"field": "v", "equals": 1.5})));
        assert!(holds(r#"{"v":1e2}"#, json!({"field": "v", "equals": 100})));
        assert!(holds(r#"{"v":1.50}"#, json!({"field": "v", "equals": 1.5})));
        assert!(holds(r#"{"v":1.50}"#, json!({"field": "v", "contains": "1.50"})));
        let long = "123456789012345678901234567890";
        assert!(holds(&format!("{{\"v\":{long}}}"), json!({"field": "v", "regex": format!("^{long}$")})));
    }

    #[test]
    fn files_are_lists_objects_or_lines_below_the_home() {
        let dir = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(dir.path()).unwrap();
        fs_err::write(home.join("list.json"), r#"["a", 7]"#).unwrap();
        fs_err::write(home.join("map.json"), r#"{"a": 1}"#).unwrap();
        fs_err::write(home.join("lines.txt"), "\n a \nb\n").unwrap();
        let holds = |path: &str, needle: Value| {
            let spec = json!({"field": "v", "in_file": path});
            let filters = compile(&[spec], home, &mut |w| panic!("{w}"));
            let payload = Node::parse(json!({"v": needle}).to_string().as_bytes()).unwrap();
            let subject = Subject { payload: &payload, event_type: "", headers: &HeaderMap::new() };
            filters[0].matches(&subject).unwrap()
        };
        for path in ["list.json", "~/.hermes/map.json", "lines.txt"] {
            assert!(holds(path, json!("a")), "{path}");
            assert!(!holds(path, json!("")) && !holds(path, json!("zz")), "{path}");
        }
        assert!(holds("list.json", json!(7)) && !holds("none.txt", json!("a")) && !holds(".", json!("a")));
    }

    #[test]
    fn nonsense_is_reported_once_when_compiled() {
        let mut warnings = Vec::new();
        compile(&[json!({"field": "x", "regex": "("}), json!(1)], "/".into(), &mut |w| warnings.push(w));
        assert_eq!(warnings.len(), 2);
        assert!(warnings[0].contains("regex"), "{warnings:?}");
    }
}
