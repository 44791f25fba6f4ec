//! Homes of newer releases: what is read, what is kept, what is said.

use super::*;
use crate::provider;
use crate::{Input, Loaded, Secret, load};
use hermes_wire::latest::{Role, Severity};
use hermes_wire::{ProfileHome, ProfileName};

#[test]
fn what_newer_programs_wrote_is_named_once_and_by_section() {
    let file = b"_config_version: 49\nsession: {terminal_continue: true}\ngateway:\n  auto_migrate: false\n  trust_env: true\n  \
        api_server: {history_tool_output_max_chars: 0}\nagent: {fast_auto_seconds: 60}\nloops:\n";
    assert_eq!(
        look(file),
        Written {
            version: Some(49),
            keys: vec![
                "session".to_owned(),
                "agent: fast_auto_seconds".to_owned(),
                "gateway: auto_migrate, trust_env".to_owned(),
                "gateway.api_server: history_tool_output_max_chars".to_owned(),
            ],
            default_turns: true,
        }
    );
    let older = look(b"_config_version: 33\nmax_turns: 3\n");
    assert_eq!(older, Written::default());
    for broken in [&b"a: ["[..], b"- 1", b"", b"_config_version: {}"] {
        let seen = look(broken);
        assert!(seen.version.is_none() && seen.keys.is_empty(), "{broken:?}");
    }
    assert_eq!(look(b"_config_version: '60'").version, Some(60));
}

/// A file as 0.21.5 and later leave it: what they write by themselves, and what people set.
const HOME: &str = "\
_config_version: 51
model: {default: a/b, provider: custom, base_url: 'https://api.example/v1', api_key_env: MY_KEY}
runtime: {nofile_soft_limit: 4096}
session: {terminal_continue: true}
attachments: {storage: hermes-home}
plugins: {clone_timeout_seconds: 300, enabled: []}
mcp_servers: {off: {command: x, disabled: true}}
platform_toolsets: {cli: [hermes-cli, connections, made-up-yesterday], webhook: [nobody-knows-this]}
toolsets: [hermes-cli, another-new-one]
agent: {max_turns: none, fast_auto_seconds: 60, intent_ack_continuation: auto, turn_liveness: {timeout_s: 600}, disabled_toolsets: [x]}
unauthorized_dm_behavior: decline
unauthorized_dm_decline_message: Sorry
compression: {threshold_tokens: 256000}
gateway:
  multiplex_profiles: true
  auto_multiplex_migration: true
  allow_all_users: false
  loop_watchdog: true
  bot_loop_guard: {enabled: true}
  trust_env: true
  api_server: {max_concurrent_runs: 10, history_tool_output_max_chars: 0}
  platforms: {api_server: {direct_model_requests: true, model_routes: {fast: {model: m}}}}
display: {platforms: {api_server: {show_reasoning: true}}}
auth: {adopt_external_logins: true}
custom_providers: [{name: Mine, base_url: 'https://x/v1', key_env: K, models: {a: {}}, models_discovered: true}]
telemetry: {shared_metrics: {enabled: false}}
";

fn loaded(yaml: &str, env: &str) -> Loaded {
    let (profile, home) = (ProfileName::default_profile(), ProfileHome::new("/h"));
    load(Input {
        registry: &crate::REGISTRY,
        profile: &profile,
        role: Role::Primary,
        multiplex: None,
        listeners: &[],
        home: &home,
        yaml: Some(yaml.as_bytes()),
        env: Some(env.as_bytes()),
    })
}

/// What is configured for somebody else is no mistake, and no toolset's name ever is one.
#[test]
fn a_home_of_a_newer_release_is_read_without_a_word() {
    let found = loaded(HOME, "MY_KEY=sk-1234567890\n");
    let said: Vec<_> = found.problems.iter().filter(|p| p.code != crate::unsupported::CODE).collect();
    assert_eq!(said, Vec::<&hermes_wire::latest::Problem>::new());
    assert!(found.problems.iter().all(|p| !p.message.contains("mcp_servers")), "{:?}", found.problems);
    let config = found.config.unwrap();
    assert_eq!(config.agent.max_turns, u32::MAX);
    let endpoint = provider::resolve(&config, &ProfileHome::new("/h")).unwrap();
    assert_eq!(endpoint.key, Secret::new("sk-1234567890"));
}

/// The variable that is named next to an address holds its key, under either name, and a written key goes before it.
#[test]
fn the_variable_of_a_key_has_two_names() {
    for name in ["key_env", "api_key_env"] {
        for (model, more) in [
            (
                format!("{{default: m, provider: custom, base_url: 'https://x.example/v1', {name}: K}}"),
                String::new(),
            ),
            (format!("{{default: m, provider: openrouter, {name}: K}}"), String::new()),
            (
                "{default: m, provider: p}".to_owned(),
                format!("providers: {{p: {{url: 'https://x.example', {name}: K}}}}\n"),
            ),
            (
                "{default: m, provider: p}".to_owned(),
                format!("custom_providers: [{{name: p, url: 'https://x.example', {name}: K}}]\n"),
            ),
        ] {
            let yaml = format!("model: {model}\n{more}");
            let config = loaded(&yaml, "K=the-key-itself\nOPENROUTER_API_KEY=another\n").config.unwrap();
            let endpoint = provider::resolve(&config, &ProfileHome::new("/h")).unwrap();
            assert_eq!(endpoint.key.expose(), "the-key-itself", "{yaml}");
        }
    }
    let both = "model: {default: m, provider: openrouter, api_key: written-here, key_env: K}\n";
    let config = loaded(both, "K=the-key-itself\n").config.unwrap();
    assert_eq!(config.model.api_key, Some(Secret::new("written-here")));
    let missing =
        loaded("model: {default: m, provider: custom, base_url: 'https://x.example', key_env: GONE}\n", "");
    let fix = missing.problems.iter().find(|problem| problem.code == "no_key").and_then(|p| p.fix.as_deref());
    assert!(fix.is_some_and(|fix| fix.contains("GONE")), "{missing:?}");
}

#[test]
fn no_limit_has_many_spellings_and_other_words_are_none() {
    let turns = |value: &str| {
        let found = loaded(&format!("agent: {{engine: echo, max_turns: {value}}}\n"), "");
        found.config.map(|config| config.agent.max_turns)
    };
    for any in ["none", "Unlimited", "'inf'", "0", "-1"] {
        assert_eq!(turns(any), Some(u32::MAX), "{any}");
    }
    assert_eq!((turns("7"), turns("~"), turns("100001"), turns("many")), (Some(7), Some(90), None, None));
}

/// Whoever opened a platform by the key of newer releases is not refused.
#[test]
fn a_key_allows_everybody_as_its_variable_does() {
    let open = |gateway: &str, env: &str| {
        let yaml = format!(
            "agent: {{engine: echo}}\nplatforms: {{whatsapp: {{enabled: true, dm_policy: open}}}}\n{gateway}"
        );
        loaded(&yaml, env).problems.iter().any(|problem| problem.code == "open_policy")
    };
    assert!(open("", "") && open("gateway: {allow_all_users: false}\n", ""));
    assert!(!open("gateway: {allow_all_users: true}\n", ""));
    assert!(open("gateway: {allow_all_users: true}\n", "GATEWAY_ALLOW_ALL_USERS=false\n"));
}

/// In such a file strangers are named together, and what looks like a key of ours by itself.
#[test]
fn strange_keys_of_a_newer_file_are_one_warning() {
    let strange: String = (0..11).map(|n| format!("brand_new_{n}: 1\n")).collect();
    let yaml = format!("_config_version: 60\nagent: {{engine: echo, max_turn: 3}}\n{strange}");
    let problems: Vec<_> =
        loaded(&yaml, "").problems.into_iter().filter(|p| p.code == "unknown_key").collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems.iter().all(|problem| problem.severity == Severity::Warning));
    let together = problems.iter().find(|problem| problem.message.contains("brand_new_0")).unwrap();
    assert!(together.message.ends_with("`brand_new_7` and 3 more"), "{}", together.message);
    assert!(together.fix.as_deref().is_some_and(|fix| fix.contains("version 60") && !fix.contains("Remove")));
    assert!(problems.iter().any(|problem| problem.fix.as_deref() == Some("Did you mean `max_turns`?")));
    let older =
        loaded(&yaml.replace("60", "33"), "").problems.into_iter().filter(|p| p.code == "unknown_key");
    assert_eq!(older.count(), 12);
}
