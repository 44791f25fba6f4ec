//! The one table of keys: what may stand in `config.yaml`, as what, by whom, and what it means.
//!
//! Warnings about unknown keys, the coercion of `hermes config set`, the values of `config get` and `config show`,
//! `docs/configuration.md` and the JSON Schema for editors all come from here. A test proves that the table and the readers of
//! [`super::load()`] agree on every type and every default.
//!
//! A row names its key by a pattern of segments: `agent.max_turns`, or `providers.*.api_key` where `*` is any name or any item
//! of a list. Other places where the same key is read (`gateway.max_concurrent_sessions`) stand in the row; the four places of
//! platforms, and `extra` within them, are the same for all of them and are known to [`Cursor`].

mod auxiliary;
pub mod docs;
pub mod json;
mod kept;
mod newer;
mod outward;
mod people;
mod reach;
mod read;
mod servers;
mod told;
mod tools;

pub use super::row::{Group, Key, Kind, Value};

use super::platform::Registry;

/// Values of `api_mode`.
const WIRES: [&str; 5] =
    ["chat_completions", "codex_responses", "anthropic_messages", "bedrock_converse", "codex_app_server"];

/// Keys of 0.19.0 that nothing here reads yet, those of platforms last.
pub fn kept(registry: &Registry) -> impl Iterator<Item = &'static Key> + use<> {
    kept::KEPT.iter().chain(registry.own().flat_map(|platform| platform.kept))
}

/// Keys of releases from 0.20 on that nothing here reads.
pub fn newer() -> impl Iterator<Item = &'static Key> {
    newer::NEWER.iter()
}

/// The groups of the documentation: those of this program itself, and those of its platforms before the one for all platforms.
pub fn groups(registry: &Registry) -> Vec<&'static Group> {
    with(registry.own().filter(|platform| !platform.hidden).filter_map(|platform| platform.keys))
}

/// Every key, in the same order.
pub fn all(registry: &Registry) -> impl Iterator<Item = &'static Key> + use<> {
    let groups = with(registry.own().filter_map(|platform| platform.keys));
    groups.into_iter().flat_map(|group| group.keys).chain(kept(registry)).chain(newer())
}

/// This program's own groups, with those of platforms among them.
fn with(platforms: impl Iterator<Item = &'static Group>) -> Vec<&'static Group> {
    let (before, behind) = read::GROUPS.split_at(read::GROUPS.len() - read::BEHIND_PLATFORMS);
    before.iter().chain(platforms).chain(behind).collect()
}

/// A variable of `.env` that this program reads by name, with the key it beats.
pub fn variables(registry: &Registry) -> impl Iterator<Item = (&'static str, &'static Key)> + use<> {
    all(registry).filter(|key| !key.env.is_empty()).map(|key| (key.env, key))
}

/// A place in the table: the rows that may apply to a key, and what is left of their patterns.
#[derive(Debug, Clone)]
pub struct Cursor {
    registry: &'static Registry,
    rows: Vec<(&'static Key, &'static str)>,
    place: Place,
    open: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Gateway,
    /// The mapping of platforms.
    Platforms,
    /// One platform; not yet within its `extra`.
    Platform,
    Elsewhere,
}

impl Cursor {
    /// The document.
    pub fn root(registry: &'static Registry) -> Self {
        let spelled = |key: &'static Key| [key.path].into_iter().chain(key.also.iter().copied());
        let keys = all(registry).chain(kept::HIDDEN);
        let rows = keys.flat_map(|key| spelled(key).map(move |path| (key, path))).collect();
        Self { registry, rows, place: Place::Root, open: false }
    }

    /// Below `name`, a key or the index of an item; `None`: nobody knows it here.
    pub fn child(&self, name: &str) -> Option<Self> {
        if self.place == Place::Platform && name == "extra" {
            return Some(Self { place: Place::Elsewhere, ..self.clone() });
        }
        let mut rows = Vec::new();
        let mut exact = false;
        // A name with a dot in it is no pattern of two segments.
        let whole = !name.is_empty() && !name.contains('.');
        for (key, rest) in &self.rows {
            if let Some(rest) = behind(rest, name).filter(|_| whole) {
                exact = true;
                rows.push((*key, rest, true));
            } else if let Some(rest) = behind(rest, "*") {
                rows.push((*key, rest, false));
            }
        }
        let above = matches!(self.place, Place::Root | Place::Gateway);
        if above && !exact && self.registry.find(name).is_some() {
            return Self::root(self.registry).child("platforms")?.child(name);
        }
        if self.place == Place::Gateway && name == "platforms" {
            return Self::root(self.registry).child("platforms");
        }
        if rows.is_empty() {
            return self.open.then(|| Self {
                registry: self.registry,
                rows: Vec::new(),
                place: Place::Elsewhere,
                open: true,
            });
        }
        let place = match (self.place, name) {
            (Place::Root, "gateway") => Place::Gateway,
            (Place::Root, "platforms") => Place::Platforms,
            (Place::Platforms, _) => Place::Platform,
            _ => Place::Elsewhere,
        };
        // A row for this very name says more than one for any name.
        let ends: Vec<_> = rows.iter().filter(|(_, rest, _)| rest.is_empty()).collect();
        let own = ends.iter().find(|(.., exact)| *exact).or_else(|| ends.first());
        let open = own.is_some_and(|(key, ..)| key.kind == Kind::Any);
        let own = own.map(|(key, ..)| *key);
        let mut left: Vec<_> =
            rows.iter().filter(|(_, rest, _)| !rest.is_empty()).map(|(key, rest, _)| (*key, *rest)).collect();
        left.extend(own.map(|key| (key, "")));
        Some(Self { registry: self.registry, rows: left, place, open })
    }

    /// The row of this very place.
    pub fn key(&self) -> Option<&'static Key> {
        self.rows.iter().find(|(_, rest)| rest.is_empty()).map(|(key, _)| *key)
    }

    /// Whether any name may follow.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Whether rows for named keys, or for any name, follow.
    pub fn has_children(&self) -> bool {
        self.open || self.rows.iter().any(|(_, rest)| !rest.is_empty())
    }

    /// Whether free names or items follow.
    pub fn has_free_names(&self) -> bool {
        self.open || self.rows.iter().any(|(_, rest)| *rest == "*" || rest.starts_with("*."))
    }

    /// The names that may follow.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let first = |rest: &'static str| rest.split('.').next().unwrap_or_default();
        self.rows.iter().map(move |(_, rest)| first(rest)).filter(|name| !matches!(*name, "" | "*"))
    }
}

/// What is left of a pattern behind its first segment, where that is `first`.
fn behind(pattern: &'static str, first: &str) -> Option<&'static str> {
    let rest = pattern.strip_prefix(first)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('.') }
}

/// The row of a path of keys; `Ok(None)`: known, and nothing is said about it. The error is the nearest known spelling of the
/// whole path, where there is one.
pub fn find<'p>(
    registry: &'static Registry,
    path: impl IntoIterator<Item = &'p str>,
) -> Result<Option<&'static Key>, Option<String>> {
    let mut at = Cursor::root(registry);
    let mut walked: Vec<&str> = Vec::new();
    let mut path = path.into_iter();
    while let Some(name) = path.next() {
        let Some(below) = at.child(name) else {
            let Some(close) = closest(name, at.names()) else {
                return Err(anywhere(registry, &walked, name));
            };
            walked.push(close);
            walked.extend(path);
            return Err(Some(as_documented(registry, &walked)));
        };
        at = below;
        walked.push(name);
    }
    Ok(at.key())
}

/// A path, as the documentation spells it where that is one path.
fn as_documented(registry: &'static Registry, walked: &[&str]) -> String {
    match find(registry, walked.iter().copied()) {
        Ok(Some(key)) if !key.path.contains('*') => key.path.to_owned(),
        _ => walked.join("."),
    }
}

/// A key of that last name somewhere else: `max_turn` is `agent.max_turns`.
fn anywhere(registry: &'static Registry, walked: &[&str], name: &str) -> Option<String> {
    if !walked.is_empty() {
        return None;
    }
    let last = |key: &'static Key| key.path.rsplit('.').next().unwrap_or_default();
    let plain = |key: &&'static Key| !key.path.contains('*') && key.is_read();
    let close = closest(name, all(registry).filter(plain).map(last))?;
    all(registry).filter(plain).find(|key| last(key) == close).map(|key| key.path.to_owned())
}

/// The known name a person most likely meant.
pub(super) fn closest<'k>(key: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    if key.len() > 64 {
        return None;
    }
    let key = key.to_ascii_lowercase().replace('-', "_");
    let limit = match key.len() {
        0..=2 => 0,
        3..=5 => 1,
        _ => 2,
    };
    let known = known.filter(|name| name.len().abs_diff(key.len()) <= limit);
    known.map(|name| (distance(&key, name), name)).filter(|(d, _)| *d <= limit).min().map(|(_, name)| name)
}

/// Insertions, deletions, replacements and swaps of neighbours between two short texts.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut now = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            now[j] = (last[j] + 1).min(now[j - 1] + 1).min(last[j - 1] + same);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                now[j] = now[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, now);
    }
    last[b.len()]
}

#[cfg(test)]
#[path = "schema/agreement.rs"]
mod agreement;
#[cfg(test)]
#[path = "schema/tests.rs"]
mod tests;
