//! The table as a JSON Schema, for editors that complete and check YAML.

use serde_json::{Map, Value as Json, json};

use super::{Key, Kind, groups, kept, newer};
use crate::platform::Registry;
use crate::row::NO_LIMIT;

/// The schema of `config.yaml`.
pub fn schema(registry: &'static Registry) -> Json {
    let mut root = Node::default();
    for key in groups(registry).into_iter().flat_map(|group| group.keys).chain(kept(registry)).chain(newer())
    {
        for spelled in [key.path].into_iter().chain(key.also.iter().copied()) {
            root.insert(spelled, key);
        }
    }
    let platforms = root.take("platforms");
    let any = platforms.any.as_deref().map(Node::schema).unwrap_or_default();
    let mut definitions = Map::from_iter([("platform".to_owned(), any.clone())]);
    // Platforms whose keys are all known.
    let known: Vec<&str> = registry.own().filter(|own| !own.hidden).map(|own| own.name).collect();
    for name in &known {
        let own =
            platforms.named.iter().find(|(known, _)| *known == *name).map(|(_, node)| node.properties());
        // What every platform has comes last: a platform's own rows say more.
        let mut keys = own.unwrap_or_default();
        for (key, value) in any["properties"].as_object().into_iter().flatten() {
            keys.entry(key.clone()).or_insert_with(|| value.clone());
        }
        let extra = closed(&keys);
        keys.insert("extra".to_owned(), extra);
        definitions.insert((*name).to_owned(), closed(&keys));
    }
    let reference = |name: &str| {
        let name = if known.contains(&name) { name } else { "platform" };
        json!({ "$ref": format!("#/$defs/{name}") })
    };
    let each: Map<String, Json> =
        registry.shown().map(|platform| (platform.name.to_owned(), reference(platform.name))).collect();
    let all_platforms = json!({
        "description": "Platforms, by name.", "type": ["object", "null"],
        "properties": each, "additionalProperties": reference("platform"),
    });
    let mut keys = root.properties();
    keys.insert("platforms".to_owned(), all_platforms.clone());
    if let Some(Json::Object(gateway)) = keys.get_mut("gateway").and_then(|node| node.get_mut("properties")) {
        gateway.insert("platforms".to_owned(), all_platforms);
        each.iter().for_each(|(name, node)| {
            gateway.entry(name.clone()).or_insert_with(|| node.clone());
        });
    }
    for (name, node) in each {
        keys.entry(name).or_insert(node);
    }
    // `model: vendor/name` is short for `model.default`.
    keys.get_mut("model").into_iter().for_each(|model| model["type"] = json!(["object", "string", "null"]));
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "config.yaml of a Hermes profile",
        "type": "object",
        "properties": keys,
        "additionalProperties": false,
        "$defs": definitions,
    })
}

fn closed(keys: &Map<String, Json>) -> Json {
    json!({ "type": ["object", "null"], "properties": keys, "additionalProperties": false })
}

/// The table as a tree.
#[derive(Default)]
struct Node {
    named: Vec<(&'static str, Node)>,
    any: Option<Box<Node>>,
    key: Option<&'static Key>,
}

impl Node {
    fn insert(&mut self, path: &'static str, key: &'static Key) {
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        let below = if first == "*" {
            self.any.get_or_insert_default()
        } else {
            let at = self.named.iter().position(|(name, _)| *name == first).unwrap_or_else(|| {
                self.named.push((first, Self::default()));
                self.named.len() - 1
            });
            &mut self.named[at].1
        };
        if rest.is_empty() {
            // The first row for a place is the one that counts.
            below.key.get_or_insert(key);
        } else {
            below.insert(rest, key);
        }
    }

    fn take(&mut self, name: &str) -> Self {
        let at = self.named.iter().position(|(known, _)| *known == name);
        at.map(|at| self.named.remove(at).1).unwrap_or_default()
    }

    fn properties(&self) -> Map<String, Json> {
        self.named.iter().map(|(name, node)| ((*name).to_owned(), node.schema())).collect()
    }

    fn schema(&self) -> Json {
        let mut out = match self.key.map(|key| key.kind) {
            Some(Kind::Section) | None => json!({ "type": ["object", "null"] }),
            Some(kind) => of_kind(kind),
        };
        if let Some(key) = self.key {
            describe(&mut out, key);
        }
        let open = self.key.is_some_and(|key| key.kind == Kind::Any);
        if !self.named.is_empty() {
            out["properties"] = self.properties().into();
        }
        match &self.any {
            Some(any) => {
                let any = any.schema();
                if !open {
                    // A mapping of names, or the older list of the same.
                    out["type"] = json!(["object", "array", "null"]);
                    out["items"] = any.clone();
                }
                out["additionalProperties"] = any;
            }
            None if out["type"] == json!(["object", "null"]) => out["additionalProperties"] = false.into(),
            None => {}
        }
        out
    }
}

fn of_kind(kind: Kind) -> Json {
    match kind {
        Kind::Bool => json!({ "type": ["boolean", "null"] }),
        Kind::Int(low, high) => json!({ "type": ["integer", "null"], "minimum": low, "maximum": high }),
        Kind::Count(high) => json!({ "type": ["integer", "null"], "maximum": high }),
        Kind::Limit(high) => json!({ "anyOf": [
            { "type": ["integer", "null"], "maximum": high }, { "enum": NO_LIMIT },
        ] }),
        Kind::Seconds(high) => json!({ "type": ["number", "null"], "maximum": high }),
        Kind::Number => json!({ "type": ["number", "null"] }),
        // The reader takes any plain value for text.
        Kind::Text => json!({ "type": ["string", "number", "boolean", "null"] }),
        Kind::Address => json!({ "type": ["string", "null"] }),
        Kind::Choice(words) => {
            let mut words: Vec<Json> = words.iter().map(|word| (*word).into()).collect();
            words.push(Json::Null);
            // Unquoted, some editors take these words for a boolean.
            if words.contains(&"off".into()) {
                words.push(false.into());
            }
            json!({ "enum": words })
        }
        Kind::List => json!({
            "type": ["array", "string", "number", "null"], "items": { "type": ["string", "number", "boolean"] },
        }),
        Kind::Section => json!({ "type": ["object", "null"] }),
        Kind::Any => json!({}),
    }
}

fn describe(out: &mut Json, key: &Key) {
    let mut text = if key.newer {
        "Of releases from 0.20 on; nothing here reads it.".to_owned()
    } else if !key.is_read() {
        "Kept for 0.19.0; nothing here reads it.".to_owned()
    } else if matches!(key.kind, Kind::Any | Kind::Section | Kind::Bool | Kind::Text) {
        key.about.to_owned()
    } else {
        format!("{} ({})", key.about, key.kind.wanted())
    };
    if key.primary {
        text.push_str(" Only the default profile's file decides it.");
    }
    if !key.env.is_empty() {
        text.extend([" `", key.env, "` in .env beats it."]);
    }
    out["description"] = text.into();
    if let Some(default) = key.default.json() {
        out["default"] = default;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<'s>(schema: &'s Json, mut node: &'s Json, path: &str) -> Option<&'s Json> {
        for name in path.split('.') {
            if let Some(reference) = node["$ref"].as_str() {
                node = schema.pointer(reference.strip_prefix('#')?)?;
            }
            node = node["properties"]
                .get(name)
                .or_else(|| node.get("additionalProperties").filter(|n| n.is_object()))?;
        }
        Some(node)
    }

    #[test]
    fn every_row_is_in_the_schema_with_its_type() {
        let schema = schema(&crate::REGISTRY);
        for key in super::super::all(&crate::REGISTRY) {
            for spelled in [key.path].into_iter().chain(key.also.iter().copied()) {
                let found = at(&schema, &schema, spelled).unwrap_or_else(|| panic!("{spelled}"));
                if !matches!(key.kind, Kind::Any | Kind::Section) {
                    let expected = of_kind(key.kind);
                    assert_eq!(
                        (&found["type"], &found["enum"]),
                        (&expected["type"], &expected["enum"]),
                        "{spelled}"
                    );
                }
                let default = key.default.json().unwrap_or_default();
                assert_eq!(found["default"], default, "{spelled}");
            }
        }
        for path in [
            "webhook.extra.port",
            "gateway.webhook.port",
            "gateway.platforms.api_server.extra.host",
            "telegram.token",
        ] {
            assert!(at(&schema, &schema, path).is_some(), "{path}");
        }
        assert!(at(&schema, &schema, "agent.max_turn").is_none() && at(&schema, &schema, "colour").is_none());
        assert!(
            at(&schema, &schema, "webhook.prot").is_none()
                && at(&schema, &schema, "webhook.extra.extra").is_none()
        );
    }
}
