//! Where in a configuration secrets stand; one walk for YAML and JSON.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::super::yaml::{self, Node};
use super::{MAX_VALUES, RedactError, line};
use crate::secret::looks::looks_secret;
use crate::secret::names::{carries_secrets, is_command, is_opaque, is_placeholder, names_secret};

/// One secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The keys and indexes that lead to the scalar it stands in.
    pub(super) path: Vec<String>,
    /// What is secret of it; a single one that is all of the scalar's text stands for all of it.
    pub(super) pieces: Vec<String>,
    /// Whether it is secret for sure, by its name or its looks, and not only because of what it stands among.
    pub(super) sure: bool,
}

/// A configuration as it is walked.
enum Tree<'a> {
    Text { text: Cow<'a, str>, plain: bool },
    Seq(Vec<Tree<'a>>),
    Map(Vec<(&'a str, Tree<'a>)>),
}

impl<'a> From<&'a Node> for Tree<'a> {
    fn from(node: &'a Node) -> Self {
        match &node.value {
            yaml::Value::Scalar { text, plain } => Self::Text { text: text.into(), plain: *plain },
            yaml::Value::Seq(items) => Self::Seq(items.iter().map(|item| Self::from(&**item)).collect()),
            yaml::Value::Map(entries) => Self::Map(
                entries.iter().map(|entry| (entry.key.as_str(), Self::from(&*entry.value))).collect(),
            ),
        }
    }
}

impl<'a> From<&'a serde_json::Value> for Tree<'a> {
    fn from(json: &'a serde_json::Value) -> Self {
        use serde_json::Value;
        match json {
            Value::Null => Self::Text { text: "null".into(), plain: true },
            Value::Bool(value) => {
                Self::Text { text: if *value { "true" } else { "false" }.into(), plain: true }
            }
            Value::Number(number) => Self::Text { text: number.to_string().into(), plain: true },
            Value::String(text) => Self::Text { text: text.into(), plain: false },
            Value::Array(items) => Self::Seq(items.iter().map(Self::from).collect()),
            Value::Object(map) => {
                Self::Map(map.iter().map(|(key, value)| (key.as_str(), Self::from(value))).collect())
            }
        }
    }
}

/// What a value stands below.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Below {
    Anything,
    /// The name of a secret.
    Secret,
    /// Variables or headers for another program.
    Carried,
    /// A command line.
    Command,
}

/// Every secret of a YAML document, in its order.
pub(super) fn of_yaml(node: &Node) -> Result<Vec<Found>, RedactError> {
    find(&node.into())
}

/// Every secret of JSON, in its order.
pub(super) fn of_json(json: &serde_json::Value) -> Result<Vec<Found>, RedactError> {
    find(&json.into())
}

/// The secret pieces of JSON that is a word of a command line.
fn secrets(json: &serde_json::Value) -> BTreeSet<String> {
    let found = find(&json.into()).unwrap_or_default();
    found.into_iter().flat_map(|found| found.pieces).collect()
}

fn find(tree: &Tree<'_>) -> Result<Vec<Found>, RedactError> {
    let mut walk = Walk { path: Vec::new(), found: Vec::new() };
    walk.tree(tree, Below::Anything)?;
    Ok(walk.found)
}

struct Walk {
    path: Vec<String>,
    found: Vec<Found>,
}

impl Walk {
    fn add(&mut self, pieces: Vec<String>, sure: bool) -> Result<(), RedactError> {
        if pieces.is_empty() {
            return Ok(());
        }
        if self.found.len() >= MAX_VALUES {
            return Err(RedactError::TooMany);
        }
        self.found.push(Found { path: self.path.clone(), pieces, sure });
        Ok(())
    }

    fn at(&mut self, key: impl Into<String>, tree: &Tree<'_>, below: Below) -> Result<(), RedactError> {
        self.path.push(key.into());
        self.tree(tree, below)?;
        self.path.pop();
        Ok(())
    }

    fn tree(&mut self, tree: &Tree<'_>, below: Below) -> Result<(), RedactError> {
        match tree {
            Tree::Text { text, plain } => self.text(text, *plain, below),
            Tree::Seq(items) => self.sequence(items, below),
            Tree::Map(entries) => self.mapping(entries, below),
        }
    }

    fn text(&mut self, text: &str, plain: bool, below: Below) -> Result<(), RedactError> {
        let word = |words: &[&str]| plain && words.contains(&text.to_ascii_lowercase().as_str());
        let nothing = text.trim().is_empty()
            || is_placeholder(text)
            || word(&["null", "~", "true", "false", "yes", "no", "on", "off"]);
        if nothing {
            return Ok(());
        }
        match below {
            Below::Secret => self.add(vec![text.to_owned()], true),
            Below::Carried => self.add(vec![text.to_owned()], looks_secret(text) || is_opaque_value(text)),
            Below::Command => self.add(line::in_text(text, secrets).into_iter().collect(), true),
            Below::Anything if looks_secret(text) => self.add(vec![text.to_owned()], true),
            Below::Anything => Ok(()),
        }
    }

    fn sequence(&mut self, items: &[Tree<'_>], below: Below) -> Result<(), RedactError> {
        let words: Option<Vec<&str>> = items
            .iter()
            .map(|item| match item {
                Tree::Text { text, .. } => Some(&**text),
                Tree::Seq(_) | Tree::Map(_) => None,
            })
            .collect();
        let Some(words) = words.filter(|_| below != Below::Secret) else {
            for (at, item) in items.iter().enumerate() {
                self.at(at.to_string(), item, below)?;
            }
            return Ok(());
        };
        if below == Below::Carried {
            for (at, word) in words.iter().enumerate() {
                // `NAME=value`, `Name: value`; a name alone passes on what is set elsewhere.
                let value =
                    word.split_once('=').or_else(|| word.split_once(": ")).map(|(_, value)| value.trim());
                let value = value.filter(|value| !value.is_empty() && !is_placeholder(value));
                let pieces = value.or_else(|| looks_secret(word).then_some(*word));
                self.path.push(at.to_string());
                let sure = pieces.is_some_and(|piece| looks_secret(piece) || is_opaque_value(piece));
                self.add(
                    pieces.map(str::to_owned).into_iter().collect(),
                    sure || names_secret(before(word)),
                )?;
                self.path.pop();
            }
            return Ok(());
        }
        // Any list may be a command line, whatever its key is called.
        let found = line::in_words(&words, secrets);
        for (at, word) in words.iter().enumerate() {
            let mut pieces: Vec<String> = Vec::new();
            for (_, piece) in found.iter().filter(|(of, _)| *of == at) {
                if !pieces.contains(piece) {
                    pieces.push(piece.clone());
                }
            }
            let Tree::Text { plain, .. } = items[at] else { continue };
            if pieces.is_empty() {
                self.at(at.to_string(), &Tree::Text { text: (*word).into(), plain }, Below::Anything)?;
            } else {
                self.path.push(at.to_string());
                self.add(pieces, true)?;
                self.path.pop();
            }
        }
        Ok(())
    }

    fn mapping(&mut self, entries: &[(&str, Tree<'_>)], below: Below) -> Result<(), RedactError> {
        // `{name: X_API_KEY, value: …}`: the pair is one setting.
        let called = entries.iter().find_map(|(key, tree)| match tree {
            Tree::Text { text, .. } if matches!(*key, "name" | "key") => Some(&**text),
            _ => None,
        });
        let pair = called.is_some() && entries.iter().any(|(key, _)| *key == "value");
        for (key, tree) in entries {
            let scalar = matches!(tree, Tree::Text { .. });
            let below = match below {
                Below::Secret => Below::Secret,
                Below::Carried if pair && *key != "value" => Below::Anything,
                _ if pair && *key == "value" && called.is_some_and(names_secret) => Below::Secret,
                _ if pair && matches!(*key, "name" | "key") => Below::Anything,
                _ if names_secret(key) && !is_count(key, tree) => Below::Secret,
                Below::Carried => Below::Carried,
                // `foo_env: NAME` names a variable; headers are their own text.
                _ if carries_secrets(key) && scalar && !key.to_ascii_lowercase().ends_with("headers") => {
                    Below::Command
                }
                _ if carries_secrets(key) => Below::Carried,
                _ if is_command(key) => Below::Command,
                Below::Command => Below::Command,
                Below::Anything => Below::Anything,
            };
            self.at(*key, tree, below)?;
        }
        Ok(())
    }
}

fn before(word: &str) -> &str {
    word.split(['=', ':']).next().unwrap_or_default()
}

/// Long enough, and mixed enough, to be nothing but a key.
fn is_opaque_value(text: &str) -> bool {
    text.len() >= 8 && is_opaque(text)
}

/// `tokens: 4096` is a number of them.
fn is_count(key: &str, tree: &Tree<'_>) -> bool {
    key.to_ascii_lowercase().ends_with('s')
        && matches!(tree, Tree::Text { text, .. } if text.trim().bytes().all(|b| b.is_ascii_digit() || b == b'.'))
}
