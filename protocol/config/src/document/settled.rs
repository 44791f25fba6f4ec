//! What holds in the end: an administrator's files over `.env`, over `config.yaml`, over the defaults of the table.

use serde_json::{Map, Value as Json};

use super::{Document, Shape};
use crate::coerce::coerce;
use crate::path::{KeyPath, Segment};
use crate::platform::Registry;
use crate::schema::{self, Key, Kind};
use crate::secret::Env;

/// Everything that may say something about a key.
#[derive(Debug, Clone, Copy)]
pub struct Layers<'a> {
    /// The platforms there are.
    pub registry: &'static Registry,
    /// The profile's `config.yaml`.
    pub file: &'a Document,
    /// The profile's `.env`, an administrator's laid over it.
    pub env: &'a Env,
    /// An administrator's `config.yaml`; an empty one where there is none.
    pub admin: &'a Document,
}

/// Who said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The administrator's file.
    Administrator,
    /// A variable of `.env`.
    Variable(&'static str),
    /// `config.yaml`, at this place.
    File(KeyPath),
    /// Nobody.
    Default,
}

/// A value and who said it.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// Typed, `${NAME}` replaced.
    pub value: Json,
    /// The strongest that said something.
    pub origin: Origin,
}

impl Layers<'_> {
    /// What holds at `path`: a value, or a whole section with its defaults. `None`: nobody says anything.
    pub fn get(&self, path: &KeyPath) -> Option<Settled> {
        let key = schema::find(self.registry, path.texts()).ok().flatten();
        if key.is_some_and(|key| !matches!(key.kind, Kind::Section | Kind::Any)) {
            return self.leaf(path, key);
        }
        match (self.admin.shape(path), self.file.shape(path)) {
            (Shape::Scalar | Shape::List, _) | (Shape::Absent, Shape::Scalar | Shape::List) => {
                self.leaf(path, key)
            }
            _ => self.section(path),
        }
    }

    fn leaf(&self, path: &KeyPath, key: Option<&'static Key>) -> Option<Settled> {
        let places = places(self.registry, path, key);
        let settled = |value, origin| Some(Settled { value, origin });
        for place in &places {
            if self.admin.shape(place) != Shape::Absent {
                return settled(self.admin.get(self.registry, place, self.env)?, Origin::Administrator);
            }
        }
        if let Some(key) = key
            && let Some(text) = self.env.get(key.env).map(str::trim).filter(|text| !text.is_empty())
        {
            return settled(coerce(Some(key), text).value, Origin::Variable(key.env));
        }
        for place in &places {
            // As a whole, the top-level section wins.
            let hidden = place.texts().starts_with(&["gateway", "session_reset"])
                && self.file.holds(&KeyPath::of([Segment::plain("session_reset")]));
            if self.file.shape(place) != Shape::Absent && !hidden {
                return settled(self.file.get(self.registry, place, self.env)?, Origin::File(place.clone()));
            }
        }
        // `model: vendor/name` is short for `model.default`.
        let model = path.up_to(1);
        if key.is_some_and(|key| key.path == "model.default") && self.file.shape(&model) == Shape::Scalar {
            return settled(self.file.get(self.registry, &model, self.env)?, Origin::File(model));
        }
        if let Some(default) = key.and_then(|key| key.default.json()) {
            return settled(default, Origin::Default);
        }
        self.file.holds(path).then(|| Settled { value: Json::Null, origin: Origin::File(path.clone()) })
    }

    fn section(&self, path: &KeyPath) -> Option<Settled> {
        let own = self.file.get(self.registry, path, self.env);
        let held = own.is_some();
        let mut value = match own {
            Some(Json::Object(map)) => map,
            _ => Map::new(),
        };
        let mut origin = if held { Origin::File(path.clone()) } else { Origin::Default };
        for key in schema::all(self.registry) {
            let Ok(full) = KeyPath::parse(key.path) else { continue };
            let depth = path.segments().len();
            let inside = full.segments().len() > depth && full.meets(path) && !key.path.contains('*');
            if !inside || matches!(key.kind, Kind::Section | Kind::Any) || self.is_absent_platform(&full) {
                continue;
            }
            let Some(settled) = self.leaf(&full, Some(key)) else { continue };
            let (rest, shown) =
                (&full.segments()[depth..], matches!(&settled.origin, Origin::File(at) if at.meets(path)));
            if !shown {
                insert(&mut value, rest, settled.value, settled.origin != Origin::Default);
            }
        }
        if let Some(Json::Object(pinned)) = self.admin.get(self.registry, path, self.env) {
            overlay(&mut value, pinned);
            origin = Origin::Administrator;
        }
        if value.is_empty() && !held {
            return None;
        }
        // A key without anything behind it is null, unless something else is known of it.
        let value = if value.is_empty() && self.file.shape(path) == Shape::Absent {
            Json::Null
        } else {
            value.into()
        };
        Some(Settled { value, origin })
    }

    /// Defaults of a platform that nobody configures would look like one that is.
    fn is_absent_platform(&self, full: &KeyPath) -> bool {
        full.segments().first().is_some_and(|first| first.text == "platforms")
            && !self.file.holds(&full.up_to(2))
    }
}

/// Every place where the key at `path` is read, strongest first.
pub fn places(registry: &Registry, path: &KeyPath, key: Option<&Key>) -> Vec<KeyPath> {
    if let Some((platform, rest)) = platform(registry, path) {
        if rest.is_empty() {
            return vec![path.clone()];
        }
        let bases = [&["platforms"][..], &["gateway", "platforms"], &["gateway"], &[]];
        return bases
            .iter()
            .flat_map(|base| {
                let block =
                    KeyPath::of(base.iter().map(|text| Segment::plain(*text)).chain([platform.clone()]));
                let within =
                    |block: KeyPath| rest.iter().fold(block, |at, segment| at.below(segment.clone()));
                [within(block.below(Segment::plain("extra"))), within(block)]
            })
            .collect();
    }
    let Some(key) = key.filter(|key| !key.path.contains('*')) else { return vec![path.clone()] };
    let mut spelled: Vec<&str> = [key.path].into_iter().chain(key.also.iter().copied()).collect();
    if key.path.starts_with("gateway.multiplex_") {
        // The flag and its list: the top-level spelling wins, as in 0.19.0.
        spelled.reverse();
    }
    spelled.into_iter().filter_map(|text| KeyPath::parse(text).ok()).collect()
}

/// The platform a path is about, and the rest of it without `extra`.
fn platform<'p>(registry: &Registry, path: &'p KeyPath) -> Option<(Segment, &'p [Segment])> {
    let segments = path.segments();
    let texts = path.texts();
    let (name, rest) = match texts.as_slice() {
        ["gateway", "platforms", _, ..] => (&segments[2], &segments[3..]),
        ["platforms", _, ..] => (&segments[1], &segments[2..]),
        ["gateway", name, ..] if registry.find(name).is_some() => (&segments[1], &segments[2..]),
        [name, ..] if registry.find(name).is_some() => (&segments[0], &segments[1..]),
        _ => return None,
    };
    let rest = match rest.split_first() {
        Some((first, rest)) if first.text == "extra" => rest,
        _ => rest,
    };
    Some((name.clone(), rest))
}

/// Puts a value in, where nothing is yet or where it is stronger.
fn insert(map: &mut Map<String, Json>, path: &[Segment], value: Json, stronger: bool) {
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        if stronger || map.get(&first.text).is_none_or(Json::is_null) {
            map.insert(first.text.clone(), value);
        }
        return;
    }
    let below = map.entry(first.text.clone()).or_insert_with(|| Json::Object(Map::new()));
    if let Json::Object(below) = below {
        insert(below, rest, value, stronger);
    }
}

fn overlay(map: &mut Map<String, Json>, over: Map<String, Json>) {
    for (key, value) in over {
        match (map.get_mut(&key), value) {
            (Some(Json::Object(below)), Json::Object(over)) => overlay(below, over),
            (_, value) => {
                map.insert(key, value);
            }
        }
    }
}
