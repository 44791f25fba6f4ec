//! The sections that shape one profile's turns: model, providers, agent, sessions, logging, prompt.

use std::collections::BTreeMap;
use std::time::Duration;

use super::reader::{At, Reader};
use super::scalar::narrow;
use super::secret::Secret;
use super::types::{
    Agent, BusyMode, EngineKind, Logging, Model, ProfileConfig, PromptSettings, Provider, ResetMode,
    ResetPolicy, SessionReset,
};
use hermes_wire::latest::Severity;

const DAY: Duration = Duration::from_hours(24);

const API_MODES: [(&str, &str); 5] = [
    ("chat_completions", "chat_completions"),
    ("codex_responses", "codex_responses"),
    ("anthropic_messages", "anthropic_messages"),
    ("bedrock_converse", "bedrock_converse"),
    ("codex_app_server", "codex_app_server"),
];

/// Fills in everything that does not concern platforms or the gateway.
pub(super) fn read(reader: &mut Reader<'_>, root: &At, config: &mut ProfileConfig) {
    config.model = model(reader, root);
    config.providers = providers(reader, root);
    config.agent = agent(reader, root);
    config.session_reset = session_reset(reader, root);
    config.logging = logging(reader, root);
    config.prompt = prompt(reader, root);
    let defaults =
        (config.group_sessions_per_user, config.thread_sessions_per_user, config.max_concurrent_sessions);
    let anywhere = |key: &str| root.key(key).or(root.key("gateway").key(key)).or(root.legacy().key(key));
    config.group_sessions_per_user = reader.flag(&anywhere("group_sessions_per_user")).unwrap_or(defaults.0);
    config.thread_sessions_per_user =
        reader.flag(&anywhere("thread_sessions_per_user")).unwrap_or(defaults.1);
    let sessions = reader.number(&anywhere("max_concurrent_sessions"), 0..=10_000);
    config.max_concurrent_sessions = sessions.map_or(defaults.2, narrow);
    // As in 0.19.0, nothing and less than nothing are no limit.
    if let Some(most) = reader.number_or_zero(&root.key("gateway.max_inbound_media_bytes"), 1 << 50) {
        config.max_inbound_media_bytes = Some(most).filter(|most| *most > 0);
    }
    let modes = [("interrupt", BusyMode::Interrupt), ("queue", BusyMode::Queue), ("steer", BusyMode::Steer)];
    config.busy_input_mode = reader.choice(&root.key("display").key("busy_input_mode"), &modes);
    config.timezone = reader.text(&root.key("timezone")).unwrap_or_default();
}

fn url(reader: &mut Reader<'_>, at: &At) -> Option<String> {
    reader.text(at).map(|url| url.trim_end_matches('/').to_owned())
}

fn model(reader: &mut Reader<'_>, root: &At) -> Model {
    let at = root.key("model");
    if at.is_set() && !at.is_map() {
        // `model: vendor/name` is short for `model: {default: vendor/name}`.
        let default = reader.text(&at).unwrap_or_default();
        let (provider, base_url) = (reader.text(&root.key("provider")), url(reader, &root.key("base_url")));
        return Model { default, provider, base_url, ..Model::default() };
    }
    let below = |key: &str| at.key(key);
    let tokens = 1..=100_000_000;
    let api_mode = below("api_mode");
    Model {
        default: reader.text(&below("default").or(below("model")).or(below("name"))).unwrap_or_default(),
        provider: reader.text(&below("provider").or(root.key("provider"))),
        base_url: url(reader, &below("base_url").or(below("api_base")).or(root.key("base_url"))),
        api_key: reader.secret(&below("api_key").or(below("api"))),
        key_env: reader.text(&below("key_env").or(below("api_key_env"))),
        api_mode: is_filled(reader, &api_mode)
            .then(|| reader.choice(&api_mode, &API_MODES))
            .flatten()
            .map(str::to_owned),
        context_length: reader
            .number(&below("context_length").or(root.key("context_length")), tokens.clone()),
        max_tokens: reader.number(&below("max_tokens"), tokens),
    }
}

fn is_filled(reader: &mut Reader<'_>, at: &At) -> bool {
    reader.text(at).is_some()
}

fn providers(reader: &mut Reader<'_>, root: &At) -> Vec<Provider> {
    let mut all = Vec::new();
    let map = root.key("providers");
    if reader.expect_map(&map) {
        for (name, at) in map.entries() {
            if reader.expect_map(&at) {
                all.push(provider(reader, name, &at));
            }
        }
    }
    let list = root.key("custom_providers");
    if list.is_set() && !list.is_seq() {
        let message = "`custom_providers` is not a list and is not read".to_owned();
        reader.warn("wrong_type", reader.place(&list), message, "Move its entries to `providers`.");
    }
    for at in list.items() {
        let Some(name) = reader.text(&at.key("provider_key").or(at.key("name"))) else {
            let message = format!("`{}` has no name and is not read", at.path);
            reader.warn("provider_name", reader.place(&at), message, "Give it a `name`.");
            continue;
        };
        if all.iter().all(|known: &Provider| known.name != name) {
            all.push(provider(reader, name, &at));
        }
    }
    all
}

fn provider(reader: &mut Reader<'_>, name: String, at: &At) -> Provider {
    let below = |key: &str| at.key(key);
    let mode = below("api_mode").or(below("transport"));
    let headers = below("extra_headers").entries();
    let extra_body = match reader.json(&below("extra_body")) {
        serde_json::Value::Object(map) => map,
        _ => serde_json::Map::new(),
    };
    Provider {
        name,
        base_url: url(reader, &below("base_url").or(below("url")).or(below("api"))),
        api_key: reader.secret(&below("api_key")),
        key_env: reader.text(&below("key_env").or(below("api_key_env"))),
        api_mode: reader.text(&mode),
        default_model: reader.text(&below("default_model").or(below("model"))),
        extra_body,
        extra_headers: headers
            .into_iter()
            .filter_map(|(name, at)| Some((name, Secret::new(reader.raw_text(&at)?))))
            .collect(),
        max_output_tokens: reader.number(&below("max_output_tokens"), 1..=100_000_000),
        enabled: reader.flag(&below("enabled")).unwrap_or(true),
    }
}

fn agent(reader: &mut Reader<'_>, root: &At) -> Agent {
    let defaults = Agent::default();
    let at = root.key("agent");
    reader.expect_map(&at);
    let engines = [("native", EngineKind::Native), ("echo", EngineKind::Echo)];
    let mut seconds = |key: &str, default| reader.seconds(&at.key(key), 365 * DAY).unwrap_or(default);
    let restart_drain_timeout = seconds("restart_drain_timeout", defaults.restart_drain_timeout).min(DAY);
    let gateway_timeout = seconds("gateway_timeout", defaults.gateway_timeout);
    let postpone_timeout = seconds("postpone_timeout", defaults.postpone_timeout);
    let auto_continue_freshness =
        seconds("gateway_auto_continue_freshness", defaults.auto_continue_freshness);
    let stream_stale_timeout = seconds("local_stream_stale_timeout", defaults.stream_stale_timeout);
    let any = u64::from(u32::MAX);
    let turns = reader.limit(&at.key("max_turns").or(root.key("max_turns")), 100_000, any);
    let echo_delay = reader.number(&at.key("echo_delay_ms"), 0..=600_000).map(Duration::from_millis);
    let attempts = reader.number_or_zero(&at.key("api_max_retries"), 100);
    Agent {
        engine: reader.choice(&at.key("engine"), &engines).unwrap_or(defaults.engine),
        max_turns: turns.map_or(defaults.max_turns, narrow),
        api_max_retries: attempts.map_or(defaults.api_max_retries, |n| narrow(n.max(1))),
        restart_drain_timeout,
        gateway_timeout,
        postpone_timeout,
        auto_continue_freshness,
        stream_stale_timeout,
        echo_delay: echo_delay.unwrap_or(defaults.echo_delay),
        // The name of a file, not a way out of the home.
        trial_tool: reader
            .text(&at.key("trial_tool"))
            .filter(|name| !name.contains(['/', '\\']) && !name.starts_with('.')),
    }
}

fn session_reset(reader: &mut Reader<'_>, root: &At) -> SessionReset {
    let anywhere = |key: &str| root.key(key).or(root.key("gateway").key(key)).or(root.legacy().key(key));
    let reset = anywhere("session_reset").or(root.legacy().key("default_reset_policy"));
    let mut default = policy(reader, &reset, &ResetPolicy::default());
    if let Some(minutes) = reader.env_number("SESSION_IDLE_MINUTES", 1..=u64::from(u32::MAX)) {
        default.idle_minutes = narrow(minutes);
    }
    if let Some(hour) = reader.env_number("SESSION_RESET_HOUR", 0..=23) {
        default.at_hour = u8::try_from(hour).unwrap_or(default.at_hour);
    }
    let mut overrides = |key: &str| -> BTreeMap<String, ResetPolicy> {
        let map = anywhere(key);
        reader.expect_map(&map);
        map.entries().into_iter().map(|(name, at)| (name, policy(reader, &at, &default))).collect()
    };
    let (by_platform, by_type) = (overrides("reset_by_platform"), overrides("reset_by_type"));
    SessionReset { default, by_platform, by_type }
}

fn policy(reader: &mut Reader<'_>, at: &At, default: &ResetPolicy) -> ResetPolicy {
    let modes = [
        ("none", ResetMode::None),
        ("off", ResetMode::None),
        ("false", ResetMode::None),
        ("daily", ResetMode::Daily),
        ("idle", ResetMode::Idle),
        ("both", ResetMode::Both),
    ];
    reader.expect_map(at);
    let hour = reader.number(&at.key("at_hour"), 0..=23).and_then(|n| u8::try_from(n).ok());
    let minutes = reader.number(&at.key("idle_minutes"), 1..=u64::from(u32::MAX)).map(narrow);
    ResetPolicy {
        mode: reader.choice(&at.key("mode"), &modes).unwrap_or(default.mode),
        at_hour: hour.unwrap_or(default.at_hour),
        idle_minutes: minutes.unwrap_or(default.idle_minutes),
        notify: reader.flag(&at.key("notify")).unwrap_or(default.notify),
    }
}

fn logging(reader: &mut Reader<'_>, root: &At) -> Logging {
    let levels = [
        ("error", "error"),
        ("critical", "error"),
        ("warn", "warn"),
        ("warning", "warn"),
        ("info", "info"),
        ("debug", "debug"),
        ("trace", "trace"),
    ];
    let (at, defaults) = (root.key("logging"), Logging::default());
    reader.expect_map(&at);
    let size = reader.number(&at.key("max_size_mb"), 1..=10_000).map(narrow);
    let backups = reader.number(&at.key("backup_count"), 0..=1000).map(narrow);
    Logging {
        level: reader.choice(&at.key("level"), &levels).map_or(defaults.level, str::to_owned),
        max_size_mb: size.unwrap_or(defaults.max_size_mb),
        backup_count: backups.unwrap_or(defaults.backup_count),
    }
}

fn prompt(reader: &mut Reader<'_>, root: &At) -> PromptSettings {
    let mut settings = PromptSettings::default();
    let hints = root.key("platform_hints");
    reader.expect_map(&hints);
    for (platform, at) in hints.entries() {
        let append = if at.is_map() { at.key("append") } else { at.clone() };
        if let Some(text) = reader.text(&append) {
            settings.append_hints.insert(platform.clone(), text);
        }
        if let Some(text) = reader.text(&at.key("replace")) {
            settings.replace_hints.insert(platform, text);
        }
    }
    if let Some(probe) = reader.flag(&root.key("agent.environment_probe")) {
        settings.environment_probe = probe;
    }
    settings.context_file_max_chars = reader.number(&root.key("context_file_max_chars"), 1..=100_000_000);
    settings
}

/// Notes a document that is not a mapping.
pub(super) fn check_root(reader: &mut Reader<'_>, root: &At) {
    if root.is_set() && !root.is_map() {
        let message = "the file must be a mapping of keys to values".to_owned();
        let fix = Some("Write `key: value` lines.".to_owned());
        reader.problems.add(Severity::Profile, "yaml_root", reader.place(root), message, fix);
    }
}
