//! A node of the tree as a JSON value: as the table of keys types it, else by how it looks, as YAML 1.1 and 0.19.0 do.

use std::rc::Rc;

use serde_json::{Map, Value as Json};

use super::scalar::{boolean, expand, whole};
use super::schema::{Cursor, Kind};
use super::secret::Env;
use super::yaml::{Node, Value};

/// A node as the table of keys types it.
pub(super) fn typed(node: &Node, cursor: Option<&Cursor>, env: &Env) -> Json {
    match &node.value {
        _ if node.is_null() => Json::Null,
        Value::Scalar { text, plain } => {
            let kind = cursor.and_then(Cursor::key).map(|key| key.kind);
            // Longer than any file: what is written is shown.
            let expanded = expand(text, env, |_| ()).unwrap_or_else(|| text.clone());
            scalar(expanded, *plain, kind)
        }
        Value::Seq(items) => {
            let below = cursor.filter(|cursor| cursor.has_free_names());
            let item = |(item, n): (&Rc<Node>, usize)| {
                typed(item, below.and_then(|cursor| cursor.child(&n.to_string())).as_ref(), env)
            };
            // The items of a list of texts are texts.
            if cursor.and_then(Cursor::key).is_some_and(|key| key.kind == Kind::List) {
                return items.iter().map(|item| text_of(item, env)).collect();
            }
            items.iter().zip(0usize..).map(item).collect()
        }
        Value::Map(entries) => entries
            .iter()
            .map(|entry| {
                let below = cursor.and_then(|cursor| cursor.child(&entry.key));
                (entry.key.clone(), typed(&entry.value, below.as_ref(), env))
            })
            .collect::<Map<_, _>>()
            .into(),
    }
}

fn text_of(node: &Node, env: &Env) -> Json {
    match &node.value {
        Value::Scalar { text, plain } if !node.is_null() => {
            // Numbers look like numbers; `on` is a text here.
            let number = if *plain { by_looks(text).filter(Json::is_number) } else { None };
            number.unwrap_or_else(|| expand(text, env, |_| ()).unwrap_or_else(|| text.clone()).into())
        }
        _ => typed(node, None, env),
    }
}

/// A text as a value of this kind; where it is none, as YAML 1.1 reads it, as 0.19.0 does.
fn scalar(text: String, plain: bool, kind: Option<Kind>) -> Json {
    let as_kind = match kind {
        Some(Kind::Text | Kind::Choice(_) | Kind::Address | Kind::List) => return text.into(),
        Some(Kind::Bool) => boolean(&text).map(Json::from),
        Some(Kind::Int(..) | Kind::Count(_) | Kind::Limit(_)) => whole(&text).map(Json::from),
        Some(Kind::Seconds(_) | Kind::Number) => float(text.trim()),
        Some(Kind::Section | Kind::Any) | None => None,
    };
    as_kind
        .unwrap_or_else(|| if plain { by_looks(&text).unwrap_or_else(|| text.into()) } else { text.into() })
}

/// A node without a type.
pub(super) fn plain(node: &Node) -> Json {
    text_of(node, &Env::default())
}

fn by_looks(text: &str) -> Option<Json> {
    match text {
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Some(true.into()),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            return Some(false.into());
        }
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let starts = digits.starts_with(|c: char| c.is_ascii_digit())
        || digits.strip_prefix('.').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    // A zero before another digit is no decimal number in YAML 1.1, and without a dot `1e5` is a text there.
    let octal = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
    if !starts || octal || (digits.contains(['e', 'E']) && !digits.contains('.')) {
        return None;
    }
    float(text)
}

fn float(text: &str) -> Option<Json> {
    let text = text.strip_prefix('+').unwrap_or(text);
    if !text.contains(['.', 'e', 'E']) {
        let whole = text.replace('_', "");
        return whole.parse::<i64>().map(Json::from).or_else(|_| whole.parse::<u64>().map(Json::from)).ok();
    }
    text.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Json::Number)
}
