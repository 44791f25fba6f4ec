//! Typed access to the tree and to `.env`. Every accessor answers "what is there, as this type", and notes a problem where
//! something else is there; the caller goes on with its default, and the noted problem stops the profile.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

use super::dotenv::Dotenv;
use super::legacy;
use super::pins;
use super::platform::{Registry, Token};
use super::problem::{Place, Problems};
use super::row::NO_LIMIT;
use super::scalar::{boolean, expand, split_commas, whole};
use super::secret::Secret;
use super::yaml::{Entry, Node, Value, shorten};
use hermes_wire::latest::Severity;
use hermes_wire::{ProfileHome, ProfileName};

/// A place in the tree that may be empty.
#[derive(Debug, Clone)]
pub(super) struct At {
    pub(super) path: String,
    node: Option<Rc<Node>>,
    /// Of the key; of the node where there is no key.
    line: u32,
    column: u32,
    /// It stands in an administrator's file.
    pinned: bool,
    /// It stands in the older `gateway.json`.
    legacy: bool,
}

impl At {
    /// The document itself.
    pub(super) fn root(node: Option<Rc<Node>>) -> Self {
        Self { path: String::new(), node, line: 1, column: 1, pinned: false, legacy: false }
    }

    /// Below `key`, `a.b` going two levels down.
    pub(super) fn key(&self, path: &str) -> Self {
        path.split('.').fold(self.clone(), |at, key| match at.node.as_ref().and_then(|node| node.get(key)) {
            Some(entry) => at.entry(entry),
            None => Self { path: join(&at.path, key), node: None, ..at },
        })
    }

    fn entry(&self, entry: &Entry) -> Self {
        Self {
            path: join(&self.path, &entry.key),
            node: Some(Rc::clone(&entry.value)),
            line: entry.line,
            column: entry.column,
            pinned: entry.pinned,
            legacy: self.legacy,
        }
    }

    /// What the older `gateway.json` says, below everything else; see [`super::legacy`].
    pub(super) fn legacy(&self) -> Self {
        let entry = self.node.as_ref().and_then(|node| node.get(legacy::KEY));
        let node = entry.map(|entry| Rc::clone(&entry.value));
        Self { path: String::new(), node, line: 1, column: 1, pinned: false, legacy: true }
    }

    /// Whether something other than null is here.
    pub(super) fn is_set(&self) -> bool {
        self.node().is_some()
    }

    /// Whether the key is there, if only with nothing behind it.
    pub(super) fn is_written(&self) -> bool {
        self.node.is_some()
    }

    /// What is here, null left out.
    pub(super) fn node(&self) -> Option<&Node> {
        self.node.as_deref().filter(|node| !node.is_null())
    }

    /// This, or `other` where nothing is here.
    pub(super) fn or(self, other: Self) -> Self {
        if !self.is_set() && other.is_set() { other } else { self }
    }

    /// The entries of a mapping; none where there is something else.
    pub(super) fn entries(&self) -> Vec<(String, Self)> {
        match self.node().map(|node| &node.value) {
            Some(Value::Map(entries)) => {
                let visible = entries.iter().filter(|e| e.key != legacy::KEY);
                visible.map(|e| (e.key.clone(), self.entry(e))).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The items of a sequence; none where there is something else.
    pub(super) fn items(&self) -> Vec<Self> {
        match self.node().map(|node| &node.value) {
            Some(Value::Seq(items)) => (items.iter().zip(0usize..))
                .map(|(node, n)| Self {
                    path: format!("{}[{n}]", self.path),
                    node: Some(Rc::clone(node)),
                    line: node.line,
                    column: node.column,
                    pinned: self.pinned,
                    legacy: self.legacy,
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Whether a scalar with exactly this text is here, white space around it aside.
    pub(super) fn says(&self, wanted: &str) -> bool {
        matches!(self.node().map(|n| &n.value), Some(Value::Scalar { text, .. }) if text.trim() == wanted)
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self.node().map(|n| &n.value), Some(Value::Map(_)))
    }

    pub(super) fn is_seq(&self) -> bool {
        matches!(self.node().map(|n| &n.value), Some(Value::Seq(_)))
    }
}

/// Made for every key that is asked for, there or not: thousands of times a start.
fn join(path: &str, key: &str) -> String {
    let key = shorten(key);
    if path.is_empty() { key.into_owned() } else { [path, ".", &key].concat() }
}

/// Both files of a profile and what was found wrong in them.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) registry: &'static Registry,
    pub(super) profile: &'a ProfileName,
    pub(super) home: &'a ProfileHome,
    pub(super) yaml_file: String,
    pub(super) env_file: String,
    pub(super) dotenv: Dotenv,
    pub(super) problems: Problems,
    /// Where pinned values are said to stand.
    pub(super) pins: pins::Files,
    /// What the platforms' files of tokens hold, of those that are on.
    pub(super) tokens: BTreeMap<&'static str, Vec<Token>>,
}

impl Reader<'_> {
    /// The place of `at`, for problems.
    pub(super) fn place(&self, at: &At) -> Place {
        let key = Some(at.path.clone()).filter(|path| !path.is_empty());
        let file = match (at.pinned, at.legacy) {
            (true, _) => self.pins.yaml.clone(),
            (false, true) => self.home.gateway_json().into_string(),
            (false, false) => self.yaml_file.clone(),
        };
        Place { file, line: Some(at.line), column: Some(at.column), key }
    }

    /// The place of a variable, for problems.
    pub(super) fn env_place(&self, name: &str) -> Place {
        let line = self.dotenv.lines.get(name).copied();
        let file = self.pins.of_variable(name).unwrap_or(&self.env_file);
        Place { file: file.to_owned(), line, column: None, key: Some(name.to_owned()) }
    }

    pub(super) fn warn(&mut self, code: &str, place: Place, message: String, fix: &str) {
        let fix = Some(fix.to_owned()).filter(|fix| !fix.is_empty());
        self.problems.add(Severity::Warning, code, place, message, fix);
    }

    pub(super) fn wrong_type(&mut self, at: &At, wanted: &str) {
        let (message, fix) = (format!("`{}` must be {wanted}", at.path), format!("Write {wanted}."));
        self.problems.add(Severity::Profile, "wrong_type", self.place(at), message, Some(fix));
    }

    /// A variable of `.env`, empty counting as unset.
    pub(super) fn env(&self, name: &str) -> Option<&str> {
        self.dotenv.env.get(name).map(str::trim).filter(|value| !value.is_empty())
    }

    /// A variable as a boolean.
    pub(super) fn env_flag(&mut self, name: &str) -> Option<bool> {
        let value = self.env(name)?;
        let flag = boolean(value);
        if flag.is_none() {
            let message = format!("`{name}` must be true or false");
            let fix = "Write `true` or `false`.".to_owned();
            self.problems.add(Severity::Profile, "wrong_type", self.env_place(name), message, Some(fix));
        }
        flag
    }

    /// A variable as a whole number.
    pub(super) fn env_number(&mut self, name: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let number = self.env(name)?.parse().ok().filter(|n| range.contains(n));
        if number.is_none() {
            let (low, high) = range.into_inner();
            let message = format!("`{name}` must be a whole number from {low} to {high}");
            let fix = Some(format!("Write a number from {low} to {high}."));
            self.problems.add(Severity::Profile, "wrong_type", self.env_place(name), message, fix);
        }
        number
    }

    /// One of these words in a variable, letter case ignored.
    pub(super) fn env_choice<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.env(name)?.trim();
        let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, value)| *value);
        if found.is_none() {
            let all = words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ");
            let message = format!("`{name}` must be one of {all}");
            let fix = Some(format!("Write one of {all}."));
            self.problems.add(Severity::Profile, "wrong_type", self.env_place(name), message, fix);
        }
        found
    }

    /// Notes a mapping's absence where something else is there.
    pub(super) fn expect_map(&mut self, at: &At) -> bool {
        if at.is_set() && !at.is_map() {
            self.wrong_type(at, "a mapping of keys to values");
        }
        at.is_map()
    }

    /// A scalar's text with `${NAME}` replaced.
    fn scalar(&mut self, at: &At, wanted: &str) -> Option<String> {
        let text = match at.node().map(|node| &node.value) {
            None => return None,
            Some(Value::Scalar { text, .. }) => text.clone(),
            Some(_) => {
                self.wrong_type(at, wanted);
                return None;
            }
        };
        Some(self.expand(&text, at))
    }

    /// Replaces `${NAME}` from `.env`; a name that is not there stays as written, and is warned about.
    fn expand(&mut self, text: &str, at: &At) -> String {
        let mut missing = Vec::new();
        let expanded = expand(text, &self.dotenv.env, |name| missing.push(name.to_owned()));
        for name in missing {
            let message = format!("`{}` refers to `{name}`, which is not in this profile's .env", at.path);
            let fix = format!("Add {name} to {}.", self.env_file);
            self.warn("unresolved_variable", self.place(at), message, &fix);
        }
        expanded.unwrap_or_else(|| {
            self.wrong_type(at, "shorter text: what it refers to makes it longer than 4 MiB");
            String::new()
        })
    }

    /// Any scalar as text, white space around it dropped; empty counts as absent.
    pub(super) fn text(&mut self, at: &At) -> Option<String> {
        self.raw_text(at).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// Any scalar as text, exactly.
    pub(super) fn raw_text(&mut self, at: &At) -> Option<String> {
        self.scalar(at, "text")
    }

    /// A scalar that must not be seen.
    pub(super) fn secret(&mut self, at: &At) -> Option<Secret> {
        self.text(at).map(Secret::new)
    }

    /// A boolean.
    pub(super) fn flag(&mut self, at: &At) -> Option<bool> {
        let flag = boolean(&self.scalar(at, "true or false")?);
        if flag.is_none() {
            self.wrong_type(at, "true or false");
        }
        flag
    }

    /// A whole number in a range.
    pub(super) fn number(&mut self, at: &At, range: RangeInclusive<u64>) -> Option<u64> {
        let (low, high) = (*range.start(), *range.end());
        let wanted = format!("a whole number from {low} to {high}");
        let text = self.scalar(at, &wanted)?;
        let number = whole(&text).and_then(|n| u64::try_from(n).ok()).filter(|n| range.contains(n));
        if number.is_none() {
            self.wrong_type(at, &wanted);
        }
        number
    }

    /// A whole number; a negative one counts as zero.
    pub(super) fn number_or_zero(&mut self, at: &At, most: u64) -> Option<u64> {
        let wanted = format!("a whole number up to {most}");
        let text = self.scalar(at, &wanted)?;
        let number = whole(&text).map(|n| u64::try_from(n).unwrap_or(0)).filter(|n| *n <= most);
        if number.is_none() {
            self.wrong_type(at, &wanted);
        }
        number
    }

    /// A whole number from one up, or a word, zero or less for no limit, which is then `no_limit`.
    pub(super) fn limit(&mut self, at: &At, high: u64, no_limit: u64) -> Option<u64> {
        let wanted = format!("a whole number up to {high}, or `none`");
        let text = self.scalar(at, &wanted)?;
        if NO_LIMIT.contains(&text.trim().to_ascii_lowercase().as_str()) {
            return Some(no_limit);
        }
        let number = whole(&text).map(|n| u64::try_from(n).ok().filter(|n| *n > 0));
        let number = number.map(|n| n.unwrap_or(no_limit)).filter(|n| *n <= high || *n == no_limit);
        if number.is_none() {
            self.wrong_type(at, &wanted);
        }
        number
    }

    /// Seconds, fractions allowed; a negative number counts as zero.
    pub(super) fn seconds(&mut self, at: &At, most: Duration) -> Option<Duration> {
        let wanted = format!("a number of seconds up to {}", most.as_secs());
        let text = self.scalar(at, &wanted)?;
        let seconds = text.trim().parse::<f64>().ok().filter(|s| s.is_finite() && *s <= most.as_secs_f64());
        if seconds.is_none() {
            self.wrong_type(at, &wanted);
        }
        seconds.map(|s| Duration::from_secs_f64(s.max(0.0)))
    }

    /// One of a few words, letter case ignored.
    pub(super) fn choice<T: Copy>(&mut self, at: &At, words: &[(&str, T)]) -> Option<T> {
        let all = words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        let wanted = format!("one of {all}");
        let text = self.scalar(at, &wanted)?;
        let found =
            words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text.trim())).map(|(_, value)| *value);
        if found.is_none() {
            self.wrong_type(at, &wanted);
        }
        found
    }

    /// A list of texts: a sequence of scalars, or one text with commas.
    pub(super) fn list(&mut self, at: &At) -> Vec<String> {
        if at.is_seq() {
            return at.items().iter().filter_map(|item| self.text(item)).collect();
        }
        self.scalar(at, "a list").map(|text| split_commas(&text)).unwrap_or_default()
    }

    /// A program and its arguments: a sequence of scalars, each as it is, or the program alone. A text is never taken apart.
    pub(super) fn words(&mut self, at: &At) -> Vec<String> {
        if at.is_seq() {
            return at.items().iter().filter_map(|item| self.raw_text(item)).collect();
        }
        self.scalar(at, "a list")
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty())
            .into_iter()
            .collect()
    }

    /// Any value as JSON; plain scalars become null, booleans and numbers where they look like one.
    pub(super) fn json(&mut self, at: &At) -> serde_json::Value {
        use serde_json::Value as Json;
        match at.node().map(|node| &node.value) {
            None => Json::Null,
            Some(Value::Scalar { text, plain }) => {
                let (text, plain) = (text.clone(), *plain);
                if plain {
                    plain_json(&text).unwrap_or_else(|| self.expand(&text, at).into())
                } else {
                    self.expand(&text, at).into()
                }
            }
            Some(Value::Seq(_)) => at.items().iter().map(|item| self.json(item)).collect(),
            Some(Value::Map(_)) => {
                at.entries().into_iter().map(|(key, value)| (key, self.json(&value))).collect()
            }
        }
    }
}

fn plain_json(text: &str) -> Option<serde_json::Value> {
    match text {
        "true" | "True" | "TRUE" => return Some(true.into()),
        "false" | "False" | "FALSE" => return Some(false.into()),
        _ => {}
    }
    let looks_numeric = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
    if !looks_numeric {
        return None;
    }
    if let Ok(number) = text.parse::<i64>() {
        return Some(number.into());
    }
    text.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(serde_json::Value::Number)
}

/// Where providers are named that take another's place, in their order. One without a name is none.
pub(super) fn fallbacks(root: &At) -> Vec<At> {
    let older = root.key("fallback_model");
    let one = older.is_map().then(|| older.clone());
    let all = root.key("fallback_providers").items().into_iter().chain(older.items()).chain(one);
    all.filter(|at| at.key("provider").is_set()).collect()
}
