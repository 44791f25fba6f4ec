//! Takes secrets out of a configuration text that is about to leave the machine: each becomes `${NAME}`, everything else, comments
//! included, stays as it is.
//!
//! What is secret is decided by names (`api_key`, `…_token`, `secret`, `password`, … at any depth, everything in `env` and
//! `headers`), and by what a value looks like wherever it stands (`sk-…`, `ghp_…`, `https://user:password@…`). Afterwards the text
//! is searched: a value that was secret in one place and still stands in another, or a text that cannot be edited in place,
//! is an error. Then the caller leaves the file out; a secret is never let through because it was hard to remove.

mod names;
mod prose;

use std::collections::BTreeSet;
use std::rc::Rc;

use names::{carries_secrets, is_placeholder, looks_secret, names_secret};

pub use prose::prose;

use super::edit;
use super::yaml::{self, Node, Value};

/// Most values that are replaced in one file; each costs a pass over it.
const MAX_VALUES: usize = 500;
/// Shortest secret that is searched for in the rest of the text; shorter ones are words.
const SEARCHED_FROM: usize = 6;
/// What stands for a secret in a comment.
const REMOVED: &str = "<removed>";

/// A text without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redacted {
    /// The text.
    pub text: String,
    /// What was replaced, in the order of the file.
    pub replaced: Vec<Replaced>,
    /// Lines whose comments held something that looked like a secret.
    pub comments: usize,
}

/// A value that was replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// Its key, dotted.
    pub key: String,
    /// The variable that stands for it now.
    pub variable: String,
}

/// Why the secrets could not be taken out. Quotes no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedactError {
    /// Not what its name says.
    #[error("{0}")]
    Unreadable(String),
    /// A value that has to go cannot be replaced on its own.
    #[error("`{0}` cannot be replaced in place")]
    Stuck(String),
    /// Replaced, and still there.
    #[error("the value of `{0}` stands in other places too")]
    Elsewhere(String),
    /// A secret that is no value of any key.
    #[error("line {0} holds what looks like a key")]
    Line(usize),
    /// See [`MAX_VALUES`].
    #[error("more than {MAX_VALUES} values look secret")]
    TooMany,
}

/// One secret: where it stands, and its text.
struct Found {
    path: Vec<String>,
    value: String,
}

/// Takes the secrets out of YAML.
pub fn yaml(bytes: &[u8]) -> Result<Redacted, RedactError> {
    let unreadable = |flaw: &yaml::Flaw| {
        RedactError::Unreadable(format!("line {}, column {}: {}", flaw.line, flaw.column, flaw.message))
    };
    let (node, flaws) = yaml::parse(bytes);
    // Of a key that stands twice only the last one is seen.
    if let Some(flaw) = flaws.iter().find(|flaw| flaw.fatal || flaw.code == "duplicate_key") {
        return Err(unreadable(flaw));
    }
    let mut text = String::from_utf8(bytes.to_vec())
        .map_err(|_| RedactError::Unreadable("the text is not UTF-8".to_owned()))?;
    let mut found = Vec::new();
    if let Some(node) = &node {
        search(node, &mut Vec::new(), false, &mut found)?;
    }
    let mut replaced = Vec::new();
    // A name that the text uses already stands for something else.
    let mut taken: BTreeSet<String> = unresolved(&text, &|_| false).into_iter().collect();
    for secret in &found {
        let path: Vec<&str> = secret.path.iter().map(String::as_str).collect();
        let variable = variable(&secret.path, &mut taken);
        let placeholder = format!("${{{variable}}}");
        let edited = edit::set(&text, &path, &edit::Value::from(placeholder.as_str()));
        text = edited.map_err(|_| RedactError::Stuck(path.join(".")))?.text;
        replaced.push(Replaced { key: path.join("."), variable });
    }
    let comments = comments(&mut text, &found)?;
    remains(&text, &found)?;
    Ok(Redacted { text, replaced, comments })
}

/// Takes the secrets out of JSON.
pub fn json(bytes: &[u8]) -> Result<Redacted, RedactError> {
    let mut json: serde_json::Value = serde_json::from_slice(bytes).map_err(|e| {
        RedactError::Unreadable(format!("line {}, column {}: not JSON", e.line(), e.column()))
    })?;
    let (mut replaced, mut found, mut taken) = (Vec::new(), Vec::new(), BTreeSet::new());
    replace_in_json(&mut json, &mut Vec::new(), false, &mut |path, value| {
        let variable = variable(path, &mut taken);
        found.push(Found { path: path.to_vec(), value: value.to_owned() });
        replaced.push(Replaced { key: path.join("."), variable: variable.clone() });
        format!("${{{variable}}}")
    });
    if replaced.is_empty() {
        let text = String::from_utf8(bytes.to_vec()).expect("JSON is UTF-8");
        return Ok(Redacted { text, replaced, comments: 0 });
    }
    let text = format!("{json:#}\n");
    remains(&text, &found)?;
    Ok(Redacted { text, replaced, comments: 0 })
}

/// Whether a value still names a variable that nobody set.
pub(super) fn is_unresolved(value: &str) -> bool {
    !unresolved(value, &|_| false).is_empty()
}

/// Variables that a text names as `${NAME}` and that `defined` does not know, in order, each once.
pub fn unresolved(text: &str, defined: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut names = Vec::new();
    for part in text.split("${").skip(1) {
        let Some((name, _)) = part.split_once('}') else { continue };
        let valid = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if valid && !defined(name) && !names.iter().any(|n| n == name) {
            names.push(name.to_owned());
        }
    }
    names
}

fn search(
    node: &Rc<Node>,
    path: &mut Vec<String>,
    secret: bool,
    found: &mut Vec<Found>,
) -> Result<(), RedactError> {
    match &node.value {
        Value::Scalar { text, plain } => {
            let is = |words: &[&str]| *plain && words.contains(&text.to_ascii_lowercase().as_str());
            let nothing = text.trim().is_empty()
                || is_placeholder(text)
                || is(&["null", "~", "true", "false", "yes", "no", "on", "off"]);
            if !nothing && (secret || looks_secret(text)) {
                if found.len() >= MAX_VALUES {
                    return Err(RedactError::TooMany);
                }
                found.push(Found { path: path.clone(), value: text.clone() });
            }
        }
        Value::Seq(items) => {
            // `[--api-key, x]`: what follows the name of a secret.
            let mut named = false;
            for (at, item) in items.iter().enumerate() {
                path.push(at.to_string());
                search(item, path, secret || named, found)?;
                path.pop();
                named = matches!(&item.value, Value::Scalar { text, .. } if is_option(text));
            }
        }
        Value::Map(entries) => {
            // `{name: X_API_KEY, value: …}`: the pair is one setting.
            let pair = node.get("name").or_else(|| node.get("key")).is_some_and(
                |entry| matches!(&entry.value.value, Value::Scalar { text, .. } if names_secret(text)),
            );
            for entry in entries {
                path.push(entry.key.clone());
                let below = secret
                    || carries_secrets(&entry.key)
                    || (pair && entry.key == "value")
                    || (names_secret(&entry.key) && !is_count(&entry.key, &entry.value));
                search(&entry.value, path, below, found)?;
                path.pop();
            }
        }
    }
    Ok(())
}

fn is_option(text: &str) -> bool {
    text.strip_prefix("--")
        .or_else(|| text.strip_prefix('-'))
        .is_some_and(|name| names_secret(name) && !name.contains('='))
}

/// `tokens: 4096` is a number of them.
fn is_count(key: &str, node: &Node) -> bool {
    key.to_ascii_lowercase().ends_with('s')
        && matches!(&node.value, Value::Scalar { text, .. } if text.trim().bytes().all(|b| b.is_ascii_digit() || b == b'.'))
}

fn replace_in_json(
    json: &mut serde_json::Value,
    path: &mut Vec<String>,
    secret: bool,
    replace: &mut dyn FnMut(&[String], &str) -> String,
) {
    use serde_json::Value;
    match json {
        Value::String(text) => {
            if !text.trim().is_empty() && !is_placeholder(text) && (secret || looks_secret(text)) {
                let new = replace(path, text);
                *text = new;
            }
        }
        Value::Array(items) => {
            let mut named = false;
            for (at, item) in items.iter_mut().enumerate() {
                let option = item.as_str().is_some_and(is_option);
                path.push(at.to_string());
                replace_in_json(item, path, secret || named, replace);
                path.pop();
                named = option;
            }
        }
        Value::Object(map) => {
            for (key, value) in map {
                let below = secret || carries_secrets(key) || names_secret(key);
                path.push(key.clone());
                replace_in_json(value, path, below, replace);
                path.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// `model.api_key` is `MODEL_API_KEY`; a name that is taken gets a number.
fn variable(path: &[String], taken: &mut BTreeSet<String>) -> String {
    let joined = path.join("_").to_ascii_uppercase();
    let mut name: String = joined.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        name.insert_str(0, "HERMES_");
    }
    let plain = name.clone();
    let mut number = 2;
    while !taken.insert(name.clone()) {
        name = format!("{plain}_{number}");
        number += 1;
    }
    name
}

/// Removes secrets from comments: known values, what looks like one, and settings that were commented out. Gives the number of
/// lines that changed.
fn comments(text: &mut String, found: &[Found]) -> Result<usize, RedactError> {
    let meaning = |text: &str| {
        let (node, _) = yaml::parse(text.as_bytes());
        let mut flat = Vec::new();
        if let Some(node) = node {
            flatten(&node, &mut Vec::new(), &mut flat);
        }
        flat
    };
    let before = meaning(text);
    let lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    let mut new = lines.clone();
    let mut changed = 0;
    for at in 0..lines.len() {
        let Some(clean) = clean_comment(&lines[at], found) else { continue };
        if changed >= MAX_VALUES {
            return Err(RedactError::TooMany);
        }
        let kept = std::mem::replace(&mut new[at], clean);
        // It was no comment: a `#` within a text. What is secret in those was searched as a value.
        if meaning(&new.concat()) == before {
            changed += 1;
        } else {
            new[at] = kept;
        }
    }
    *text = new.concat();
    Ok(changed)
}

/// A line with its comment cleaned; `None`: nothing to clean.
fn clean_comment(line: &str, found: &[Found]) -> Option<String> {
    let start = if line.trim_start().starts_with('#') {
        line.find('#')?
    } else {
        line.find(" #").or_else(|| line.find("\t#")).map(|at| at + 1)?
    };
    let (code, comment) = line.split_at(start);
    let mut clean = comment.to_owned();
    for secret in found.iter().filter(|secret| secret.value.len() >= SEARCHED_FROM) {
        clean = clean.replace(&secret.value, REMOVED);
    }
    for word in
        comment.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | '(' | ')' | '<' | '>'))
    {
        if looks_secret(word) {
            clean = clean.replace(word, REMOVED);
        }
    }
    // A setting that was commented out, in a block or within braces.
    let mut at = 0;
    while let Some(colon) = clean[at..].find([':', '=']).map(|n| at + n) {
        let name =
            clean[..colon].rsplit(|c: char| !(c.is_ascii_alphanumeric() || "_-.\"'".contains(c))).next();
        let name = name.unwrap_or_default().trim_matches(['"', '\'']);
        let value = clean[colon + 1..].trim_start();
        let from = clean.len() - value.len();
        let length = value.trim_end().find([',', '}']).unwrap_or(value.trim_end().len());
        let value = value[..length].trim_end();
        // A sentence about a key is no key.
        let single = !value.trim_matches(['"', '\'']).contains(char::is_whitespace);
        let value_end = from + value.len();
        if !value.is_empty() && single && names_secret(name) && !is_placeholder(value) && value != REMOVED {
            clean.replace_range(from..value_end, REMOVED);
            at = from + REMOVED.len();
        } else {
            at = colon + 1;
        }
    }
    (clean != comment).then(|| format!("{code}{clean}"))
}

fn flatten(node: &Node, path: &mut Vec<String>, flat: &mut Vec<(Vec<String>, String)>) {
    match &node.value {
        Value::Scalar { text, .. } => flat.push((path.clone(), text.clone())),
        Value::Seq(items) => {
            for (at, item) in items.iter().enumerate() {
                path.push(at.to_string());
                flatten(item, path, flat);
                path.pop();
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                path.push(entry.key.clone());
                flatten(&entry.value, path, flat);
                path.pop();
            }
        }
    }
}

/// Nothing that was secret is anywhere in the text.
fn remains(text: &str, found: &[Found]) -> Result<(), RedactError> {
    for secret in found {
        let value = secret.value.trim();
        if value.len() >= SEARCHED_FROM && text.contains(value) {
            return Err(RedactError::Elsewhere(secret.path.join(".")));
        }
    }
    for (at, line) in text.lines().enumerate() {
        let mut words = line.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ','));
        if words.any(looks_secret) {
            return Err(RedactError::Line(at + 1));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
