//! The table of keys and the readers say the same.

use super::*;

fn path(text: &str) -> Result<Option<&'static str>, Option<String>> {
    find(&crate::REGISTRY, text.split('.')).map(|key| key.map(|key| key.path))
}

#[test]
fn near_misses_are_recognised_and_strangers_are_not() {
    let known = ["enabled", "routes", "rate_limit", "port"];
    let close = |key| closest(key, known.into_iter());
    assert_eq!(close("enable"), Some("enabled"));
    assert_eq!(close("ruotes"), Some("routes"));
    assert_eq!(close("rate-limit"), Some("rate_limit"));
    assert_eq!(close("Port"), Some("port"));
    assert_eq!((close("colour"), close("x"), close("")), (None, None, None));
}

#[test]
fn every_place_of_a_key_leads_to_its_row() {
    for (typed, row) in [
        ("agent.max_turns", "agent.max_turns"),
        ("max_turns", "agent.max_turns"),
        ("multiplex_profiles", "gateway.multiplex_profiles"),
        ("gateway.session_reset.mode", "session_reset.mode"),
        ("providers.mine.url", "providers.*.base_url"),
        ("custom_providers.0.api_key", "providers.*.api_key"),
        ("webhook.port", "platforms.webhook.port"),
        ("gateway.webhook.extra.port", "platforms.webhook.port"),
        ("gateway.platforms.webhook.port", "platforms.webhook.port"),
        ("platforms.webhook.extra.routes.off.prompt", "platforms.webhook.routes.*.prompt"),
        ("platforms.webhook.enabled", "platforms.webhook.enabled"),
        ("telegram.token", "platforms.*.token"),
        ("telegram.enabled", "platforms.*.enabled"),
        ("platforms.newcomer.enabled", "platforms.*.enabled"),
        ("profiles.alias_prefix", "profiles.alias_prefix"),
        ("auxiliary.vision.api_key", "auxiliary.*.api_key"),
    ] {
        assert_eq!(path(typed), Ok(Some(row)), "{typed}");
    }
    for known in [
        "display.anything.at.all",
        "telegram.bot_token",
        "mcp_servers.x.sampling.enabled",
        "agent",
        "platforms",
    ] {
        assert!(matches!(path(known), Ok(None)), "{known}");
    }
}

#[test]
fn what_nobody_knows_is_unknown_and_near_ones_are_named() {
    for (typed, close) in [
        ("agent.max_turn", Some("agent.max_turns")),
        ("max_turn", Some("agent.max_turns")),
        ("gatway.multiplex_profiles", Some("gateway.multiplex_profiles")),
        ("gateway.multiplex_profile", Some("gateway.multiplex_profiles")),
        ("platforms.webhook.prot", Some("platforms.webhook.port")),
        ("webhook.extra.extra", None),
        ("colour", None),
        ("agent.max_turns.deeper", None),
        ("", None),
    ] {
        assert_eq!(path(typed), Err(close.map(str::to_owned)), "{typed}");
    }
    // One key with a dot in its name is not two.
    assert_eq!(find(&crate::REGISTRY, ["agent.max_turns"]), Err(None));
}

/// Two rows for one place would make the later one dead.
#[test]
fn every_row_is_reachable_and_every_default_fits() {
    for key in all(&crate::REGISTRY) {
        for spelled in [key.path].into_iter().chain(key.also.iter().copied()) {
            let found =
                find(&crate::REGISTRY, spelled.split('.').map(|s| if s == "*" { "any-name" } else { s }));
            assert_eq!(found, Ok(Some(key)), "{spelled}");
        }
        let Some(default) = key.default.json() else { continue };
        let fits = match key.kind {
            Kind::Bool => default.is_boolean(),
            Kind::Int(low, high) => default.as_i64().is_some_and(|n| (low..=high).contains(&n)),
            Kind::Count(high) | Kind::Limit(high) => {
                default.as_i64().is_some_and(|n| (0..=high).contains(&n))
            }
            Kind::Seconds(_) | Kind::Number => default.is_number(),
            Kind::Text | Kind::Address => default.is_string(),
            Kind::Choice(words) => default.as_str().is_some_and(|word| words.contains(&word)),
            Kind::List => default.is_array(),
            Kind::Section | Kind::Any => false,
        };
        assert!(fits, "{}", key.path);
    }
}
