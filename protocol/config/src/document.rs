//! A `config.yaml` as values: what stands at a path, typed by the table of keys, `${NAME}` replaced, and what holds in the end
//! when defaults, `.env` and an administrator's file are taken together.
//!
//! [`super::load()`] answers "what will the program do"; this answers "what does `hermes config get` print". Both read the same
//! tree, and the table of keys keeps them together.

mod settled;

use std::rc::Rc;

use serde_json::Value as Json;

pub use settled::{Layers, Origin, Settled, places};

use super::path::{KeyPath, Segment, index};
use super::platform::Registry;
use super::schema::Cursor;
use super::secret::Env;
use super::typed::typed;
use super::yaml::{self, Node, Value};

/// A text that was parsed.
#[derive(Debug, Clone, Default)]
pub struct Document(Option<Rc<Node>>);

/// Why a text is no document. The message quotes no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct Unreadable {
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Nothing, or null.
    Absent,
    /// A text, number or boolean.
    Scalar,
    /// A list.
    List,
    /// A mapping.
    Mapping,
}

impl Document {
    /// Parses a file. It must be a mapping, or empty.
    pub fn parse(bytes: &[u8]) -> Result<Self, Unreadable> {
        let (node, flaws) = yaml::parse(bytes);
        if let Some(flaw) = flaws.into_iter().find(|flaw| flaw.fatal) {
            return Err(Unreadable { line: flaw.line, column: flaw.column, message: flaw.message });
        }
        match node {
            Some(node) if !matches!(node.value, Value::Map(_)) => {
                let message = "the file must be a mapping of keys to values".to_owned();
                Err(Unreadable { line: node.line, column: node.column, message })
            }
            node => Ok(Self(node)),
        }
    }

    pub(super) fn into_root(self) -> Option<Rc<Node>> {
        self.0
    }

    fn node(&self, path: &KeyPath) -> Option<Rc<Node>> {
        let mut node = self.0.clone()?;
        for segment in path.segments() {
            let below = match &node.value {
                Value::Map(_) => Rc::clone(&node.get(&segment.text)?.value),
                Value::Seq(items) if segment.is_index() => Rc::clone(items.get(index(&segment.text)?)?),
                _ => return None,
            };
            node = below;
        }
        Some(node)
    }

    /// What stands at `path`.
    pub fn shape(&self, path: &KeyPath) -> Shape {
        match self.node(path) {
            None => Shape::Absent,
            Some(node) if node.is_null() => Shape::Absent,
            Some(node) => match node.value {
                Value::Scalar { .. } => Shape::Scalar,
                Value::Seq(_) => Shape::List,
                Value::Map(_) => Shape::Mapping,
            },
        }
    }

    /// Whether the key is there, even without a value.
    pub fn holds(&self, path: &KeyPath) -> bool {
        self.node(path).is_some()
    }

    /// The value at `path`, `${NAME}` replaced from `env`.
    pub fn get(&self, registry: &'static Registry, path: &KeyPath, env: &Env) -> Option<Json> {
        let node = self.node(path)?;
        let mut cursor = Some(Cursor::root(registry));
        for segment in path.segments() {
            cursor = cursor.and_then(|cursor| cursor.child(&segment.text));
        }
        Some(typed(&node, cursor.as_ref(), env))
    }

    /// The value at `path` as it is written, whatever the table of keys makes of it; texts as texts.
    pub(super) fn plain(&self, path: &KeyPath) -> Option<Json> {
        self.node(path).map(|node| typed(&node, None, &Env::default()))
    }

    /// Every value that is no mapping, with its path; of lists the whole.
    pub fn leaves(&self) -> Vec<KeyPath> {
        let mut all = Vec::new();
        if let Some(root) = &self.0 {
            collect(root, &KeyPath::of([]), &mut all, false);
        }
        all.into_iter().map(|(path, _)| path).collect()
    }

    /// Every text, within lists too, as written.
    pub(super) fn texts(&self) -> Vec<(KeyPath, String)> {
        let mut all = Vec::new();
        if let Some(root) = &self.0 {
            collect(root, &KeyPath::of([]), &mut all, true);
        }
        all
    }

    /// The keys whose value is this secret, written out, among those that providers are called with: to be changed together
    /// with the variable that holds it.
    pub fn copies_of(&self, secret: &str) -> Vec<KeyPath> {
        let among =
            ["model", "auxiliary", "providers", "custom_providers", "fallback_providers", "fallback_model"];
        let holds = |path: &KeyPath| {
            path.segments().first().is_some_and(|first| among.contains(&first.text.as_str()))
                && super::mask::is_secret(path.last())
        };
        let texts = self.texts().into_iter().filter(|(path, text)| text == secret && holds(path));
        if secret.is_empty() { Vec::new() } else { texts.map(|(path, _)| path).collect() }
    }
}

fn collect(node: &Node, at: &KeyPath, all: &mut Vec<(KeyPath, String)>, items: bool) {
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                collect(&entry.value, &at.below(Segment::key(entry.key.as_str())), all, items);
            }
        }
        Value::Seq(list) if items => {
            for (item, n) in list.iter().zip(0usize..) {
                collect(item, &at.below(Segment::plain(n.to_string())), all, items);
            }
        }
        Value::Seq(_) => all.push((at.clone(), String::new())),
        Value::Scalar { text, .. } => all.push((at.clone(), text.clone())),
    }
}

#[cfg(test)]
#[path = "document/tests.rs"]
mod tests;
