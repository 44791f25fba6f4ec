//! What a text means, for comparing before and after.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::super::path::index;
use super::super::yaml::{self, Node};
use super::render::Value;

/// A node without its place. Scalars keep whether they were quoted, because `no` and `'no'` differ.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    /// A text, or something plain that is one.
    Text(String),
    /// Plain: may be a number, a boolean or null.
    Plain(String),
    Seq(Vec<Tree>),
    /// Order has no meaning, and a new key beside `<<` changes it.
    Map(BTreeMap<String, Tree>),
}

impl Tree {
    pub(super) fn of(node: &Node) -> Self {
        match &node.value {
            yaml::Value::Scalar { text, plain: true } => Self::plain(text),
            yaml::Value::Scalar { text, .. } => Self::Text(text.clone()),
            yaml::Value::Seq(items) => Self::Seq(items.iter().map(|n| Self::of(n)).collect()),
            yaml::Value::Map(entries) => {
                Self::Map(entries.iter().map(|e| (e.key.clone(), Self::of(&e.value))).collect())
            }
        }
    }

    /// Plain text that no reader takes for anything else is the same as quoted text.
    fn plain(text: &str) -> Self {
        let words = ["true", "false", "yes", "no", "on", "off", "y", "n", "null", "~", ""];
        let special = words.contains(&text.to_ascii_lowercase().as_str())
            || text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
        if special { Self::Plain(text.to_owned()) } else { Self::Text(text.to_owned()) }
    }

    fn new(json: &Json) -> Self {
        match json {
            Json::Null => Self::Plain("null".to_owned()),
            Json::Bool(flag) => Self::Plain(flag.to_string()),
            Json::Number(number) => Self::Plain(number.to_string()),
            Json::String(text) => Self::Text(text.clone()),
            Json::Array(items) => Self::Seq(items.iter().map(Self::new).collect()),
            Json::Object(map) => Self::Map(map.iter().map(|(k, v)| (k.clone(), Self::new(v))).collect()),
        }
    }
}

/// The tree with one value set.
pub(super) fn with(tree: Option<Tree>, path: &[&str], value: &Value) -> Option<Tree> {
    let Some((first, rest)) = path.split_first() else { return Some(Tree::new(value.json())) };
    match tree {
        Some(Tree::Map(mut entries)) => {
            let old = entries.remove(*first);
            entries.insert((*first).to_owned(), with(old, rest, value)?);
            Some(Tree::Map(entries))
        }
        Some(Tree::Seq(mut items)) => {
            let at = index(first).filter(|n| *n < items.len())?;
            let old = std::mem::replace(&mut items[at], Tree::Seq(Vec::new()));
            items[at] = with(Some(old), rest, value)?;
            Some(Tree::Seq(items))
        }
        _ => Some(Tree::Map([((*first).to_owned(), with(None, rest, value)?)].into())),
    }
}

/// The tree without one value and the mappings emptied by that; an emptied whole is an empty mapping. `None`: it is not there.
pub(super) fn without(tree: Tree, path: &[&str]) -> Option<Tree> {
    let (first, rest) = path.split_first()?;
    match tree {
        Tree::Map(mut entries) => {
            let old = entries.remove(*first)?;
            if !rest.is_empty() {
                let left = without(old, rest)?;
                if left != Tree::Map(BTreeMap::new()) {
                    entries.insert((*first).to_owned(), left);
                }
            }
            Some(Tree::Map(entries))
        }
        Tree::Seq(mut items) => {
            let at = index(first).filter(|n| *n < items.len())?;
            let old = items.remove(at);
            if !rest.is_empty() {
                items.insert(at, without(old, rest)?);
            }
            Some(Tree::Seq(items))
        }
        _ => None,
    }
}
