//! What an administrator pins: his `config.yaml` and `.env`, laid over every profile's, value by value.
//!
//! A pinned key wins over the profile's file under each of its spellings, and over the variable that would beat it; a pinned
//! variable wins over the profile's. Files that cannot be read as what they should be stop the profile: what is pinned must not
//! be guessed.

use std::rc::Rc;

use super::document::{Document, places};
use super::dotenv::Dotenv;
use super::path::{KeyPath, index};
use super::platform::Registry;
use super::problem::{Place, Problems};
use super::schema;
use super::secret::Env;
use super::yaml::{Entry, Node, Value};
use hermes_wire::latest::Severity;

/// An administrator's two files as the caller found them.
#[derive(Debug, Clone, Copy)]
pub struct Pins<'a> {
    /// Where they are, for problems.
    pub dir: &'a camino::Utf8Path,
    /// Bytes of `config.yaml`; `None` = no such file.
    pub yaml: Option<&'a [u8]>,
    /// Bytes of `.env`; `None` = no such file.
    pub env: Option<&'a [u8]>,
}

/// Where pinned values are said to stand.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) yaml: String,
    env: String,
    variables: Vec<String>,
}

impl Files {
    /// Whether this is the file of pinned variables.
    pub(super) fn is_env_file(&self, file: &str) -> bool {
        !self.env.is_empty() && file == self.env
    }

    /// The file of a variable that is pinned.
    pub(super) fn of_variable(&self, name: &str) -> Option<&str> {
        self.variables.iter().any(|pinned| pinned == name).then_some(self.env.as_str())
    }
}

/// Lays the pins over what was read.
pub(super) fn apply(
    pins: Pins<'_>,
    node: Option<Rc<Node>>,
    dotenv: &mut Dotenv,
    surroundings: &Env,
    problems: &mut Problems,
    registry: &'static Registry,
) -> (Option<Rc<Node>>, Files) {
    let mut files = Files {
        yaml: pins.dir.join("config.yaml").into_string(),
        env: pins.dir.join(".env").into_string(),
        variables: Vec::new(),
    };
    let document = match Document::parse(pins.yaml.unwrap_or_default()) {
        Ok(document) => document,
        Err(flaw) => {
            let place = Place {
                file: files.yaml.clone(),
                line: Some(flaw.line),
                column: Some(flaw.column),
                key: None,
            };
            let message = format!("the administrator's file cannot be used: {}", flaw.message);
            let fix = Some("Tell your administrator.".to_owned());
            problems.add(Severity::Profile, "managed_file", place, message, fix);
            return (node, files);
        }
    };
    // Read last in 0.19.0: it may refer to the profile's variables.
    let own =
        super::dotenv::judge_in(registry, pins.env.unwrap_or_default(), &surroundings.under(&dotenv.env));
    let fatal = own.flaws.iter().find(|flaw| flaw.fatal).map(|flaw| flaw.message.clone());
    if let Some(why) = fatal {
        let place = Place { file: files.env.clone(), ..Place::default() };
        let fix = Some("Tell your administrator.".to_owned());
        let message = format!("the administrator's file cannot be used: {why}");
        problems.add(Severity::Profile, "managed_file", place, message, fix);
        return (node, files);
    }
    for flaw in own.flaws {
        problems.add_flaw(&files.env, flaw);
    }
    let mut node = node;
    for leaf in document.leaves() {
        let key = schema::find(registry, leaf.texts()).ok().flatten();
        for place in places(registry, &leaf, key).iter().filter(|place| place.texts() != leaf.texts()) {
            node = node.map(|node| without(&node, place));
        }
        // The variable that would beat the pinned key.
        if let Some(key) = key {
            dotenv.env = dotenv.env.clone().without(key.env);
        }
    }
    files.variables = own.env.iter().map(|(name, _)| name.to_owned()).collect();
    dotenv.env = dotenv.env.under(&own.env);
    dotenv.lines.retain(|name, _| !files.variables.contains(name));
    dotenv.lines.extend(own.lines);
    let node = match (node, document.into_root()) {
        (Some(node), Some(pinned)) => Some(laid_over(&node, &pinned)),
        (node, None) => node,
        (None, Some(pinned)) => Some(laid_over(&Rc::new(pinned.with(Value::Map(Vec::new()))), &pinned)),
    };
    (node, files)
}

/// The node with the pinned one over it.
fn laid_over(node: &Rc<Node>, pinned: &Rc<Node>) -> Rc<Node> {
    let (Value::Map(entries), Value::Map(over)) = (&node.value, &pinned.value) else {
        return Rc::clone(pinned);
    };
    let mut entries = entries.clone();
    for entry in over {
        match entries.iter_mut().find(|known| known.key == entry.key) {
            Some(known) if is_map(&known.value) && is_map(&entry.value) => {
                known.value = laid_over(&known.value, &entry.value);
            }
            Some(known) => *known = Entry { pinned: true, ..entry.clone() },
            // Whole sections may be an administrator's; what is in them is marked one by one.
            None if is_map(&entry.value) => {
                let empty = Rc::new(entry.value.with(Value::Map(Vec::new())));
                entries.push(Entry { pinned: true, value: laid_over(&empty, &entry.value), ..entry.clone() });
            }
            None => entries.push(Entry { pinned: true, ..entry.clone() }),
        }
    }
    Rc::new(node.with(Value::Map(entries)))
}

fn is_map(node: &Node) -> bool {
    matches!(node.value, Value::Map(_))
}

/// The node without what stands at a path.
fn without(node: &Rc<Node>, path: &KeyPath) -> Rc<Node> {
    fn cut(node: &Rc<Node>, path: &[&str]) -> Rc<Node> {
        let Some((first, rest)) = path.split_first() else { return Rc::clone(node) };
        let value = match &node.value {
            Value::Map(entries) => {
                let mut entries = entries.clone();
                if rest.is_empty() {
                    entries.retain(|entry| entry.key != *first);
                } else if let Some(entry) = entries.iter_mut().find(|entry| entry.key == *first) {
                    entry.value = cut(&entry.value, rest);
                }
                Value::Map(entries)
            }
            Value::Seq(items) => {
                let mut items = items.clone();
                if let Some(item) = index(first).and_then(|n| items.get_mut(n)) {
                    *item = cut(item, rest);
                }
                Value::Seq(items)
            }
            Value::Scalar { .. } => return Rc::clone(node),
        };
        Rc::new(node.with(value))
    }
    cut(node, &path.texts())
}

#[cfg(test)]
#[path = "pins/tests.rs"]
mod tests;
