//! Takes secrets out of a configuration text that is about to leave the machine: each becomes `${NAME}`, everything else, comments
//! included, stays as it is.
//!
//! What is secret is decided by names (`api_key`, `…_token`, `secret`, `password`, … at any depth, everything in `env` and
//! `headers`), by where it stands in a command line (`-e NAME=value`, `--token x`, `-H 'Authorization: …'`), and by what a value
//! looks like wherever it stands (`sk-…`, `ghp_…`, `https://user:password@…`). Afterwards the text
//! is searched: a value that was secret in one place and still stands in another, or a text that cannot be edited in place,
//! is an error. Then the caller leaves the file out; a secret is never let through because it was hard to remove.

mod line;
mod prose;
mod tree;
pub mod values;

use std::collections::BTreeSet;

use crate::secret::looks::looks_secret;
use crate::secret::names::{is_placeholder, names_secret};
use tree::Found;

pub use prose::prose;

use super::edit;
use super::secret::Secret;
use super::yaml::{self, Node, Value};

/// Most values that are replaced in one file; each costs a pass over it.
const MAX_VALUES: usize = 500;
/// Shortest secret that is searched for in the rest of the text; shorter ones are words.
const SEARCHED_FROM: usize = 6;
/// What stands for a secret in a comment.
const REMOVED: &str = "<removed>";

/// A text without secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redacted {
    /// The text.
    pub text: String,
    /// What was replaced, in the order of the file.
    pub replaced: Vec<Replaced>,
    /// Lines whose comments held something that looked like a secret.
    pub comments: usize,
    /// What was replaced and is secret for sure, with its key: nothing else may hold it either.
    pub secrets: Vec<(String, Secret)>,
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
    let found = node.as_ref().map(|node| tree::of_yaml(node)).transpose()?.unwrap_or_default();
    let mut replaced = Vec::new();
    // A name that the text uses already stands for something else.
    let mut taken: BTreeSet<String> = unresolved(&text, &|_| false).into_iter().collect();
    for secret in &found {
        let path: Vec<&str> = secret.path.iter().map(String::as_str).collect();
        let stands = scalar(node.as_deref(), &path).unwrap_or_default();
        let new = placeholders(secret, stands, &mut taken, &mut replaced);
        let edited = edit::set(&text, &path, &edit::Value::from(new.as_str()));
        text = edited.map_err(|_| RedactError::Stuck(path.join(".")))?.text;
    }
    let comments = comments(&mut text, &found)?;
    remains(&text, &found)?;
    Ok(Redacted { text, replaced, comments, secrets: sure(&found) })
}

/// Takes the secrets out of JSON.
pub fn json(bytes: &[u8]) -> Result<Redacted, RedactError> {
    let mut json: serde_json::Value = serde_json::from_slice(bytes).map_err(|e| {
        RedactError::Unreadable(format!("line {}, column {}: not JSON", e.line(), e.column()))
    })?;
    let found = tree::of_json(&json)?;
    let before = std::str::from_utf8(bytes).expect("JSON is UTF-8");
    if found.is_empty() {
        remains(before, &found)?;
        return Ok(Redacted { text: before.to_owned(), ..Redacted::default() });
    }
    let mut replaced = Vec::new();
    let mut taken: BTreeSet<String> = unresolved(before, &|_| false).into_iter().collect();
    for secret in &found {
        let mut place = &mut json;
        for key in &secret.path {
            place = match place {
                serde_json::Value::Array(items) => key.parse::<usize>().ok().and_then(|at| items.get_mut(at)),
                serde_json::Value::Object(map) => map.get_mut(key),
                _ => None,
            }
            .ok_or_else(|| RedactError::Stuck(secret.path.join(".")))?;
        }
        let stands = place.as_str().map_or_else(|| place.to_string(), str::to_owned);
        *place = placeholders(secret, &stands, &mut taken, &mut replaced).into();
    }
    let text = format!("{json:#}\n");
    remains(&text, &found)?;
    Ok(Redacted { text, replaced, comments: 0, secrets: sure(&found) })
}

/// What is to stand instead of a scalar's text: each secret piece of it is a variable.
fn placeholders(
    secret: &Found,
    stands: &str,
    taken: &mut BTreeSet<String>,
    replaced: &mut Vec<Replaced>,
) -> String {
    let mut name = || {
        let variable = variable(&secret.path, taken);
        replaced.push(Replaced { key: secret.path.join("."), variable: variable.clone() });
        format!("${{{variable}}}")
    };
    // A piece that is written in another way there, with escapes, can only go with all of it.
    if !secret.pieces.iter().all(|piece| stands.contains(piece.as_str())) || secret.pieces.len() > 8 {
        return name();
    }
    let mut pieces: Vec<&String> = secret.pieces.iter().collect();
    // One that is a part of another is gone with it.
    pieces.sort_by_key(|piece| std::cmp::Reverse(piece.len()));
    let mut text = stands.to_owned();
    for piece in pieces {
        if text.contains(piece.as_str()) {
            text = text.replace(piece.as_str(), &name());
        }
    }
    text
}

/// The text of the scalar at `path`.
fn scalar<'a>(node: Option<&'a Node>, path: &[&str]) -> Option<&'a str> {
    let mut node = node?;
    for key in path {
        node = match &node.value {
            Value::Map(entries) => &entries.iter().find(|entry| entry.key == *key)?.value,
            Value::Seq(items) => items.get(key.parse::<usize>().ok()?)?,
            Value::Scalar { .. } => return None,
        };
    }
    match &node.value {
        Value::Scalar { text, .. } => Some(text),
        Value::Seq(_) | Value::Map(_) => None,
    }
}

fn sure(found: &[Found]) -> Vec<(String, Secret)> {
    let sure = found.iter().filter(|found| found.sure);
    sure.flat_map(|found| found.pieces.iter().map(|piece| (found.path.join("."), Secret::new(piece))))
        .collect()
}

/// Whether a text of settings, in whatever syntax, holds a value under a secret name, or one that looks like a secret.
pub fn holds_key(text: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim();
        let assigned = line.strip_prefix("export ").unwrap_or(line).split_once(['=', ':']).is_some_and(
            |(name, value)| {
                let value = value.trim().trim_matches(['"', '\'', ';', ',']);
                let literal = value.len() >= SEARCHED_FROM
                    && !value.contains(char::is_whitespace)
                    && !value.starts_with(['$', '`', '~', '/']);
                literal && names_secret(name.trim().trim_matches(['"', '\''])) && !is_placeholder(value)
            },
        );
        assigned || looks_secret(line)
    })
}

/// Whether a value still names a variable that nobody set.
pub fn is_unresolved(value: &str) -> bool {
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
    for piece in searched(found) {
        clean = clean.replace(piece, REMOVED);
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

/// What may not stand anywhere else either.
fn searched(found: &[Found]) -> impl Iterator<Item = &str> {
    let sure = found.iter().filter(|found| found.sure);
    sure.flat_map(|found| found.pieces.iter())
        .map(|piece| piece.trim())
        .filter(|piece| piece.len() >= SEARCHED_FROM)
}

/// Nothing that was secret is anywhere in the text.
fn remains(text: &str, found: &[Found]) -> Result<(), RedactError> {
    for secret in found {
        if searched(std::slice::from_ref(secret)).any(|piece| text.contains(piece)) {
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
