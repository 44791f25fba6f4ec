//! What an administrator pins wins, and nothing else changes.

use super::super::{Input, Loaded, ProfileConfig, load_pinned};
use super::*;
use hermes_wire::latest::{Problem, Role};
use hermes_wire::{ProfileName, RootHome};

fn settings(loaded: Loaded) -> ProfileConfig {
    loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.problems))
}

fn pinned(yaml: &str, env: &str, over: &str, over_env: &str) -> Loaded {
    let name = ProfileName::default_profile();
    let home = RootHome::new("/r").profile(&name);
    let pins =
        Pins { dir: "/etc/hermes".into(), yaml: Some(over.as_bytes()), env: Some(over_env.as_bytes()) };
    let (yaml, env) = (Some(yaml.as_bytes()), Some(env.as_bytes()));
    let input = Input {
        registry: &crate::REGISTRY,
        profile: &name,
        role: Role::Primary,
        multiplex: None,
        listeners: &[],
        home: &home,
        yaml,
        env,
    };
    load_pinned(input, Some(pins))
}

#[test]
fn what_an_administrator_pins_wins_under_every_spelling() {
    let yaml = "agent: {max_turns: 5, api_max_retries: 4}\nwebhook: {enabled: true, port: 1, secret: s}\nmodel: mine\n";
    let env = "WEBHOOK_PORT=2\nX_TOKEN=mine\nY_TOKEN=mine\n";
    let over = "max_turns: 7\nplatforms: {webhook: {extra: {port: 3}}}\nmodel: {default: theirs}\n";
    let config = settings(pinned(yaml, env, over, "X_TOKEN=theirs\n"));
    assert_eq!(
        (config.agent.max_turns, config.agent.api_max_retries, config.model.default.as_str()),
        (7, 4, "theirs")
    );
    assert_eq!(config.settings.listener("webhook").map(|webhook| webhook.port), Some(3));
    assert_eq!((config.env.get("X_TOKEN"), config.env.get("Y_TOKEN")), (Some("theirs"), Some("mine")));
    // Without any file of the profile's own, too.
    assert_eq!(settings(pinned("", "", over, "")).agent.max_turns, 7);
}

#[test]
fn problems_of_pinned_values_name_the_administrators_files() {
    let loaded = pinned(
        "agent: {max_turns: 5}\n",
        "",
        "agent: {max_turns: many, max_turn: 1}\n",
        "SESSION_RESET_HOUR=99\n",
    );
    let mut places: Vec<_> = loaded.problems.iter().map(|p| (p.code.as_str(), p.file.as_str())).collect();
    places.sort_unstable();
    assert_eq!(
        places,
        [
            ("unknown_key", "/etc/hermes/config.yaml"),
            ("wrong_type", "/etc/hermes/.env"),
            ("wrong_type", "/etc/hermes/config.yaml")
        ]
    );
    // What cannot be read is not guessed.
    let loaded = pinned("agent: {max_turns: 5}\n", "", "agent: [\n", "");
    assert_eq!((loaded.config, codes_of(&loaded.problems)), (None, vec!["managed_file"]));
}

fn codes_of(problems: &[Problem]) -> Vec<&str> {
    problems.iter().map(|problem| problem.code.as_str()).collect()
}
