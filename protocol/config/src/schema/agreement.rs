//! The table and the readers agree: every key that the table says is read is read, at every place that the table names, with
//! the default and the type that it says.

use serde_json::{Value as Json, json};

use super::*;
use crate::path::KeyPath;
use crate::{Input, Loaded, ProfileConfig, edit, load};
use hermes_wire::latest::Role;
use hermes_wire::{ProfileName, RootHome};

/// Everything on that can be, so that every key has an effect.
const BASE: &str = "\
model: {}
providers: {x: {}}
custom_providers: [{name: y}]
mcp_servers: {x: {}}
platforms:
  webhook: {enabled: true, secret: s, routes: {x: {secret: t}}}
  api_server: {enabled: true, model_routes: {x: {model: m}}}
";

/// Whether it is shown elsewhere that a key is read: what is not read by [`load`], and what means something only beside others.
fn is_shown_elsewhere(key: &Key) -> bool {
    let elsewhere = [
        "profiles.alias_prefix",
        "gateway.standalone",
        "unauthorized_dm_decline_message",
        // Says nothing by itself, and nothing of a platform that is off.
        "streaming.transport",
        "platforms.*.gateway_restart_notification",
        // Means something in files of newer programs alone.
        "display.personality",
        // Says what another key's text is.
        "agent.personalities.*.description",
    ];
    elsewhere.contains(&key.path) || key.path.starts_with("profile_routes.")
}

fn read(yaml: &str) -> Loaded {
    let profile = ProfileName::default_profile();
    let home = RootHome::new("/r").profile(&profile);
    let (yaml, env) = (Some(yaml.as_bytes()), None);
    load(Input {
        registry: &crate::REGISTRY,
        profile: &profile,
        role: Role::Primary,
        multiplex: None,
        listeners: &[],
        home: &home,
        yaml,
        env,
    })
}

/// The settings without the places they come from.
fn settings(yaml: &str) -> ProfileConfig {
    let loaded = read(yaml);
    let mut config = loaded.config.unwrap_or_else(|| panic!("{yaml}\n{:?}", loaded.problems));
    config.platforms.iter_mut().for_each(|platform| platform.source.clear());
    if let Some(gateway) = &mut config.gateway {
        gateway.listeners.iter_mut().for_each(|listener| listener.source.clear());
    }
    config
}

/// A place of the pattern in [`BASE`].
fn place(pattern: &str) -> KeyPath {
    let path = match pattern.strip_prefix("custom_providers.*") {
        Some(rest) => format!("custom_providers.0{rest}"),
        None if pattern.starts_with("platforms.*") => pattern.replace('*', "telegram"),
        None => pattern.replace('*', "x"),
    };
    KeyPath::parse(&path).unwrap()
}

fn with(path: &KeyPath, value: Json) -> String {
    edit::set(BASE, &path.texts(), &edit::Value::from(value)).unwrap().text
}

/// A value that is right and not the default.
fn another(key: &Key) -> Json {
    let default = key.default.json();
    match key.kind {
        // Two platforms are on already, others are not.
        Kind::Bool if key.path == "platforms.*.enabled" => true.into(),
        Kind::Bool => match default {
            Some(default) => (default != json!(true)).into(),
            None => (!key.path.ends_with(".enabled")).into(),
        },
        Kind::Int(low, high) => {
            let n = default.and_then(|n| n.as_i64()).unwrap_or(low);
            (if n < high { n + 1 } else { n - 1 }).into()
        }
        Kind::Count(_) | Kind::Limit(_) | Kind::Seconds(_) => 7.into(),
        Kind::Choice(words) => {
            // The last of those that are not the default in other words.
            let same = |word: &&&str| {
                matches!(
                    **word,
                    "none" | "off" | "false" | "fail" | "native" | "fill_first" | "info" | "5m" | "auto"
                )
            };
            (*words.iter().find(|word| !same(word)).unwrap()).into()
        }
        Kind::Address => "127.0.0.1:1234".into(),
        Kind::List => json!(["thing"]),
        Kind::Text | Kind::Number | Kind::Section | Kind::Any => match key.path {
            "platforms.webhook.routes.*.profile" => "other".into(),
            "gateway.limits.memory" => "512M".into(),
            "gateway.limits.cpu" => 1.5.into(),
            "compression.threshold" | "compression.target_ratio" => 0.7.into(),
            _ => "thing-of-sixteen-characters".into(),
        },
    }
}

fn wrong(kind: Kind) -> Json {
    match kind {
        Kind::Text | Kind::List => json!({"a": 1}),
        _ => "many".into(),
    }
}

fn typed() -> impl Iterator<Item = &'static Key> {
    all(&crate::REGISTRY).filter(|key| key.is_read() && !matches!(key.kind, Kind::Section | Kind::Any))
}

#[test]
fn the_default_of_the_table_is_what_nothing_means() {
    let nothing = settings(BASE);
    for key in typed().filter(|key| key.default != Value::None) {
        let path = place(key.path);
        assert_eq!(settings(&with(&path, key.default.json().unwrap())), nothing, "{path}");
    }
}

#[test]
fn another_value_makes_a_difference_wherever_it_is_read() {
    let nothing = settings(BASE);
    for key in typed().filter(|key| !is_shown_elsewhere(key)) {
        for spelled in [key.path].into_iter().chain(key.also.iter().copied()) {
            let path = place(spelled);
            assert_ne!(settings(&with(&path, another(key))), nothing, "{spelled}");
        }
    }
}

#[test]
fn a_value_of_another_type_is_a_problem_that_names_the_key() {
    for key in typed().filter(|key| !is_shown_elsewhere(key)) {
        for spelled in [key.path].into_iter().chain(key.also.iter().copied()) {
            let path = place(spelled);
            let problems = read(&with(&path, wrong(key.kind))).problems;
            let shown = path.to_string().replace(".0", "[0]");
            assert!(
                problems
                    .iter()
                    .any(|problem| problem.key.as_deref() == Some(&shown) && problem.code != "unknown_key"),
                "{shown}: {problems:?}"
            );
        }
    }
}

#[test]
fn known_keys_are_never_warned_about() {
    for key in all(&crate::REGISTRY) {
        for spelled in [key.path].into_iter().chain(key.also.iter().copied()) {
            let path = place(spelled);
            let value = key.default.json().unwrap_or_else(|| another(key));
            let Ok(edited) = edit::set(BASE, &path.texts(), &edit::Value::from(value)) else { continue };
            let problems = read(&edited.text).problems;
            assert!(problems.iter().all(|problem| problem.code != "unknown_key"), "{path}: {problems:?}");
        }
    }
}
