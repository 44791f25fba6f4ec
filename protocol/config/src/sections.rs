//! The sections that shape one profile's turns: model, providers, agent, sessions, logging, prompt.

use std::collections::BTreeMap;
use std::time::Duration;

use super::auxiliary::{Auxiliaries, Auxiliary, Compression};
use super::outward;
use super::reader::{At, Reader, fallbacks};
use super::reset::{ResetMode, ResetPolicy, SessionReset};
use super::scalar::narrow;
use super::secret::Secret;
use super::told;
use super::tool_servers;
use super::types::{
    Acp, Agent, ApprovalMode, BusyAcks, BusyMode, Delegation, EngineKind, FenceMode, Guardrails, HomeMode,
    Logging, Memory, Model, Notes, ProfileConfig, Provider, Repeats, Skills, Stt, ToolSettings, Toolsets,
};
use hermes_wire::latest::Severity;

const DAY: Duration = Duration::from_hours(24);

/// `agent.image_input_mode`
const PICTURES: [(&str, bool); 3] = [("auto", true), ("native", true), ("text", false)];
/// Over `display.busy_ack_enabled`.
const BUSY_ACK: &str = "HERMES_GATEWAY_BUSY_ACK_ENABLED";
/// Writes down what was said.
const STT: &str = "HERMES_LOCAL_STT_COMMAND";
/// In which language it was said.
const STT_LANGUAGE: &str = "HERMES_LOCAL_STT_LANGUAGE";
/// Over `display.busy_input_mode`.
const BUSY_MODE: &str = "HERMES_GATEWAY_BUSY_INPUT_MODE";

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
    config.fallbacks = fallbacks(root).into_iter().map(|at| fallback(reader, &at, &config.model)).collect();
    config.agent = agent(reader, root);
    config.auxiliary = auxiliaries(reader, root);
    config.compression = compression(reader, root);
    config.toolsets = toolsets(reader, root);
    config.delegation = delegation(reader, root);
    config.children_ask = children_ask(reader, &root.key("delegation"));
    config.allow_private_urls = private_urls(reader, root);
    config.memory = memory(reader, root);
    config.tools = tools(reader, root);
    config.servers = tool_servers::read(reader, root);
    config.skills = skills(reader, root);
    config.session_reset = session_reset(reader, root);
    config.logging = logging(reader, root);
    config.prompt = told::read(reader, root);
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
    let display = root.key("display");
    let busy_mode = reader.choice(&display.key("busy_input_mode"), &modes);
    config.busy_input_mode =
        reader.env_choice(BUSY_MODE, &modes).or(busy_mode).unwrap_or(BusyMode::Interrupt);
    let busy_ack = reader.flag(&display.key("busy_ack_enabled"));
    config.busy_acks = BusyAcks {
        enabled: reader.env_flag(BUSY_ACK).or(busy_ack).unwrap_or(true),
        detail: reader.flag(&display.key("busy_ack_detail")).unwrap_or(true),
        steer: reader.flag(&display.key("busy_steer_ack_enabled")).unwrap_or(true),
    };
    config.streaming = outward::streaming(reader, root);
    config.leaving = outward::leaving(reader, root);
    config.timezone = reader.text(&root.key("timezone")).unwrap_or_default();
    config.stt = stt(reader, root);
}

/// A command in `.env`, or that of the provider that is named; without either nobody asks for one.
fn stt(reader: &mut Reader<'_>, root: &At) -> Option<Stt> {
    let at = root.key("stt");
    let is_on = reader.flag(&at.key("enabled"));
    let provider = reader.text(&at.key("provider")).unwrap_or_default();
    let own = at.key("providers").key(&provider);
    let said = if provider.is_empty() { None } else { reader.text(&own.key("command")) };
    let variable = reader.env(STT).map(str::to_owned).filter(|command| !command.trim().is_empty());
    let command = variable.or_else(|| said.filter(|_| is_on == Some(true)));
    let named = reader.env(STT_LANGUAGE).map(str::to_owned);
    let stt = Stt {
        command: command?,
        language: named.or_else(|| reader.text(&own.key("language"))).unwrap_or_else(|| "en".to_owned()),
        model: reader.text(&own.key("model")).unwrap_or_else(|| "base".to_owned()),
        timeout: reader
            .seconds(&own.key("timeout"), Duration::from_mins(10))
            .filter(|timeout| !timeout.is_zero())
            .unwrap_or(Duration::from_mins(1)),
    };
    (is_on != Some(false)).then_some(stt)
}

fn url(reader: &mut Reader<'_>, at: &At) -> Option<String> {
    reader.text(at).map(|url| url.trim_end_matches('/').to_owned())
}

fn model(reader: &mut Reader<'_>, root: &At) -> Model {
    let at = root.key("model");
    let ttl = root.key("prompt_caching").key("cache_ttl");
    let caches_an_hour = reader.choice(&ttl, &[("5m", false), ("1h", true)]).unwrap_or_default();
    if at.is_set() && !at.is_map() {
        // `model: vendor/name` is short for `model: {default: vendor/name}`.
        let default = reader.text(&at).unwrap_or_default();
        let (provider, base_url) = (reader.text(&root.key("provider")), url(reader, &root.key("base_url")));
        return Model { default, provider, base_url, caches_an_hour, ..Model::default() };
    }
    let below = |key: &str| at.key(key);
    let tokens = 1..=100_000_000;
    Model {
        default: reader.text(&below("default").or(below("model")).or(below("name"))).unwrap_or_default(),
        provider: reader.text(&below("provider").or(root.key("provider"))),
        base_url: url(reader, &below("base_url").or(below("api_base")).or(root.key("base_url"))),
        api_key: reader.secret(&below("api_key").or(below("api"))),
        key_env: reader.text(&below("key_env").or(below("api_key_env"))),
        api_mode: api_mode(reader, &below("api_mode")),
        context_length: reader
            .number(&below("context_length").or(root.key("context_length")), tokens.clone()),
        max_tokens: reader.number(&below("max_tokens"), tokens),
        caches_an_hour,
    }
}

fn fallback(reader: &mut Reader<'_>, at: &At, model: &Model) -> Model {
    let below = |key: &str| at.key(key);
    let api_mode = below("api_mode");
    Model {
        default: reader.text(&below("model").or(below("default"))).unwrap_or_default(),
        provider: reader.text(&below("provider")),
        base_url: url(reader, &below("base_url")),
        api_key: reader.secret(&below("api_key")),
        key_env: reader.text(&below("key_env").or(below("api_key_env"))),
        api_mode: is_filled(reader, &api_mode)
            .then(|| reader.choice(&api_mode, &API_MODES))
            .flatten()
            .map(str::to_owned),
        context_length: None,
        max_tokens: model.max_tokens,
        caches_an_hour: model.caches_an_hour,
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
    let extra_body = object(reader, &below("extra_body"));
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
    let engines = [("native", EngineKind::Native), ("acp", EngineKind::Acp), ("echo", EngineKind::Echo)];
    let mut seconds = |key: &str, default| reader.seconds(&at.key(key), 365 * DAY).unwrap_or(default);
    let restart_drain_timeout = seconds("restart_drain_timeout", defaults.restart_drain_timeout).min(DAY);
    let gateway_timeout = seconds("gateway_timeout", defaults.gateway_timeout);
    let postpone_timeout = seconds("postpone_timeout", defaults.postpone_timeout);
    let auto_continue_freshness =
        seconds("gateway_auto_continue_freshness", defaults.auto_continue_freshness);
    let stream_stale_timeout = seconds("local_stream_stale_timeout", defaults.stream_stale_timeout);
    // 0.19.0 waits for ever where it is 0; a day is as good, and ends.
    let clarify_timeout = seconds("clarify_timeout", defaults.clarify_timeout);
    let clarify_timeout = if clarify_timeout.is_zero() { DAY } else { clarify_timeout.min(DAY) };
    let any = u64::from(u32::MAX);
    let turns = reader.limit(&at.key("max_turns").or(root.key("max_turns")), 100_000, any);
    let echo_delay = reader.number(&at.key("echo_delay_ms"), 0..=600_000).map(Duration::from_millis);
    let attempts = reader.number_or_zero(&at.key("api_max_retries"), 100);
    Agent {
        engine: reader.choice(&at.key("engine"), &engines).unwrap_or(defaults.engine),
        max_turns: turns.map_or(defaults.max_turns, narrow),
        shows_pictures: reader.choice(&at.key("image_input_mode"), &PICTURES).unwrap_or(true),
        api_max_retries: attempts.map_or(defaults.api_max_retries, |n| narrow(n.max(1))),
        restart_drain_timeout,
        gateway_timeout,
        postpone_timeout,
        auto_continue_freshness,
        stream_stale_timeout,
        clarify_timeout,
        echo_delay: echo_delay.unwrap_or(defaults.echo_delay),
        acp: acp(reader, &at),
        // The name of a file, not a way out of the home.
        trial_tool: reader
            .text(&at.key("trial_tool"))
            .filter(|name| !name.contains(['/', '\\']) && !name.starts_with('.')),
    }
}

fn auxiliaries(reader: &mut Reader<'_>, root: &At) -> Auxiliaries {
    let at = root.key("auxiliary");
    reader.expect_map(&at);
    let retries = reader.number_or_zero(&at.key("transient_retries"), 1000);
    let tasks = at.entries().into_iter().filter(|(name, _)| name != "transient_retries");
    let tasks = tasks.filter_map(|(name, at)| reader.expect_map(&at).then(|| (name, auxiliary(reader, &at))));
    // What says nothing is as good as not there.
    let tasks = tasks.filter(|(_, auxiliary)| *auxiliary != Auxiliary::default()).collect();
    Auxiliaries { tasks, transient_retries: retries.map_or(Auxiliaries::default().transient_retries, narrow) }
}

fn auxiliary(reader: &mut Reader<'_>, at: &At) -> Auxiliary {
    let below = |key: &str| at.key(key);
    // Words for the profile's own provider.
    let other = |name: &String| !matches!(name.to_ascii_lowercase().as_str(), "auto" | "main");
    Auxiliary {
        provider: reader.text(&below("provider")).filter(other),
        model: reader.text(&below("model")),
        base_url: url(reader, &below("base_url")),
        api_key: reader.secret(&below("api_key")),
        api_mode: None,
        timeout: reader.seconds(&below("timeout"), DAY),
        extra_body: object(reader, &below("extra_body")),
        reasoning_effort: reader.text(&below("reasoning_effort")),
        enabled: reader.flag(&below("enabled")).unwrap_or(true),
        language: reader.text(&below("language")),
    }
}

fn compression(reader: &mut Reader<'_>, root: &At) -> Compression {
    let (at, defaults) = (root.key("compression"), Compression::default());
    reader.expect_map(&at);
    let below = |key: &str| at.key(key);
    let count =
        |number: Option<u64>, default| number.and_then(|n| usize::try_from(n).ok()).unwrap_or(default);
    let (last, first) = (below("protect_last_n"), below("protect_first_n"));
    let most = below("hygiene_hard_message_limit");
    Compression {
        enabled: reader.flag(&below("enabled")).unwrap_or(defaults.enabled),
        threshold: share(reader, &below("threshold")).map_or(defaults.threshold, |n| n.clamp(50, 950)),
        // As in 0.19.0.
        target: share(reader, &below("target_ratio")).map_or(defaults.target, |n| n.clamp(100, 800)),
        protect_last: count(reader.number(&last, 0..=1_000_000), defaults.protect_last),
        protect_first: count(reader.number(&first, 0..=1_000_000), defaults.protect_first),
        most_messages: count(reader.number(&most, 0..=100_000_000), defaults.most_messages),
        in_place: reader.flag(&below("in_place")).unwrap_or(defaults.in_place),
        abort_on_failure: reader
            .flag(&below("abort_on_summary_failure"))
            .unwrap_or(defaults.abort_on_failure),
    }
}

/// A number between 0 and 1, in thousandths.
fn share(reader: &mut Reader<'_>, at: &At) -> Option<u64> {
    let text = reader.text(at)?;
    let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    if share.is_none() {
        reader.wrong_type(at, "a number from 0 to 1");
    }
    // Bounded just now.
    share.and_then(|share| format!("{:.0}", share * 1000.0).parse().ok())
}

fn object(reader: &mut Reader<'_>, at: &At) -> serde_json::Map<String, serde_json::Value> {
    match reader.json(at) {
        serde_json::Value::Object(map) => map,
        _ => serde_json::Map::new(),
    }
}

fn acp(reader: &mut Reader<'_>, agent: &At) -> Acp {
    let (at, defaults) = (agent.key("acp"), Acp::default());
    reader.expect_map(&at);
    Acp {
        command: reader.words(&at.key("command")),
        cwd: reader.text(&at.key("cwd")).map(Into::into),
        env: reader.list(&at.key("env")),
        auth: reader.text(&at.key("auth")),
        mode: reader.text(&at.key("mode")),
        start_timeout: reader.seconds(&at.key("start_timeout"), DAY).unwrap_or(defaults.start_timeout),
        instructions: reader.flag(&at.key("instructions")).unwrap_or(defaults.instructions),
    }
}

fn toolsets(reader: &mut Reader<'_>, root: &At) -> Toolsets {
    let everywhere = root.key("toolsets");
    let platforms = root.key("platform_toolsets");
    let known = if reader.expect_map(&platforms) { platforms.entries() } else { Vec::new() };
    Toolsets {
        everywhere: everywhere.is_set().then(|| reader.list(&everywhere)),
        platforms: known.into_iter().map(|(name, at)| (name, reader.list(&at))).collect(),
        disabled: reader.list(&root.key("agent").key("disabled_toolsets")),
    }
}

fn api_mode(reader: &mut Reader<'_>, at: &At) -> Option<String> {
    let mode = is_filled(reader, at).then(|| reader.choice(at, &API_MODES)).flatten();
    mode.map(str::to_owned)
}

fn children_ask(reader: &mut Reader<'_>, at: &At) -> Auxiliary {
    Auxiliary {
        provider: reader.text(&at.key("provider")),
        model: reader.text(&at.key("model")),
        base_url: url(reader, &at.key("base_url")),
        api_key: reader.secret(&at.key("api_key")),
        api_mode: api_mode(reader, &at.key("api_mode")),
        ..Auxiliary::default()
    }
}

fn delegation(reader: &mut Reader<'_>, root: &At) -> Delegation {
    let (at, defaults) = (root.key("delegation"), Delegation::default());
    reader.expect_map(&at);
    let mut number = |key: &str, range| reader.number(&at.key(key), range);
    let (turns, at_once) = (number("max_iterations", 1..=100_000), number("max_concurrent_children", 1..=16));
    let chars = number("max_summary_chars", 1..=100_000_000);
    let timeout = reader.seconds(&at.key("child_timeout_seconds"), 365 * DAY);
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Delegation {
        max_iterations: turns.map_or(defaults.max_iterations, narrow),
        at_once: at_once.map_or(defaults.at_once, size),
        timeout: timeout.filter(|timeout| !timeout.is_zero()),
        max_summary_chars: chars.map_or(defaults.max_summary_chars, size),
        with_servers: reader.flag(&at.key("inherit_mcp_toolsets")).unwrap_or(defaults.with_servers),
    }
}

/// `security.allow_private_urls`, or `browser.allow_private_urls`, where it stood before.
fn private_urls(reader: &mut Reader<'_>, root: &At) -> bool {
    let (security, browser) = (root.key("security"), root.key("browser"));
    let mut says = |at: &At| reader.flag(&at.key("allow_private_urls"));
    says(&security).or_else(|| says(&browser)).unwrap_or(false)
}

fn skills(reader: &mut Reader<'_>, root: &At) -> Skills {
    let at = root.key("skills");
    reader.expect_map(&at);
    let platforms = at.key("platform_disabled");
    let known = if reader.expect_map(&platforms) { platforms.entries() } else { Vec::new() };
    Skills {
        external_dirs: reader.list(&at.key("external_dirs")),
        disabled: reader.list(&at.key("disabled")),
        platform_disabled: known.into_iter().map(|(name, at)| (name, reader.list(&at))).collect(),
        template_vars: reader.flag(&at.key("template_vars")).unwrap_or(true),
        write_approval: reader.flag(&at.key("write_approval")).unwrap_or(false),
    }
}

fn memory(reader: &mut Reader<'_>, root: &At) -> Memory {
    let (at, defaults) = (root.key("memory"), Memory::default());
    reader.expect_map(&at);
    let mut notes = |enabled: &str, limit: &str, default: Notes| Notes {
        enabled: reader.flag(&at.key(enabled)).unwrap_or(default.enabled),
        limit: reader
            .number(&at.key(limit), 0..=100_000_000)
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(default.limit),
    };
    Memory {
        notes: notes("memory_enabled", "memory_char_limit", defaults.notes),
        user: notes("user_profile_enabled", "user_char_limit", defaults.user),
        write_approval: reader.flag(&at.key("write_approval")).unwrap_or(defaults.write_approval),
    }
}

fn tools(reader: &mut Reader<'_>, root: &At) -> ToolSettings {
    let (terminal, approvals, defaults) =
        (root.key("terminal"), root.key("approvals"), ToolSettings::default());
    let cwd = reader.text(&terminal.key("cwd"));
    let modes = [
        ("manual", ApprovalMode::Manual),
        ("smart", ApprovalMode::Smart),
        ("off", ApprovalMode::Off),
        ("false", ApprovalMode::Off),
    ];
    let guardrails = guardrails(reader, &root.key("tool_loop_guardrails"));
    let homes = [("auto", HomeMode::Auto), ("real", HomeMode::Real), ("profile", HomeMode::Profile)];
    let fences = [
        ("auto", FenceMode::Auto),
        ("require", FenceMode::Require),
        ("off", FenceMode::Off),
        ("false", FenceMode::Off),
    ];
    let mut bound = |key: &str, default| {
        let number = reader.number(&root.key(key), 1..=1_000_000_000);
        number.and_then(|number| usize::try_from(number).ok()).unwrap_or(default)
    };
    let max_read_chars = bound("file_read_max_chars", defaults.max_read_chars);
    let max_output_bytes = bound("tool_output.max_bytes", defaults.max_output_bytes);
    let max_lines = bound("tool_output.max_lines", defaults.max_lines);
    let max_line_length = bound("tool_output.max_line_length", defaults.max_line_length);
    ToolSettings {
        // Words that 0.19.0 takes for no directory.
        cwd: cwd.filter(|cwd| !matches!(cwd.as_str(), "." | "auto" | "cwd")).map(Into::into),
        timeout: reader.seconds(&terminal.key("timeout"), 365 * DAY).unwrap_or(defaults.timeout),
        env_passthrough: reader.list(&terminal.key("env_passthrough")),
        backend: reader
            .text(&terminal.key("backend"))
            .filter(|backend| !backend.eq_ignore_ascii_case("local")),
        persistent_shell: reader.flag(&terminal.key("persistent_shell")).unwrap_or(defaults.persistent_shell),
        approval_timeout: reader
            .seconds(&approvals.key("timeout"), DAY)
            .filter(|timeout| !timeout.is_zero())
            .unwrap_or(defaults.approval_timeout),
        guardrails,
        home_mode: reader.choice(&terminal.key("home_mode"), &homes).unwrap_or_default(),
        fence: reader.choice(&terminal.key("fence"), &fences).unwrap_or_default(),
        approvals: reader.choice(&approvals.key("mode"), &modes).unwrap_or(defaults.approvals),
        denied: reader.list(&approvals.key("deny")),
        allowed: reader.list(&root.key("command_allowlist")),
        max_read_chars,
        max_output_bytes,
        max_lines,
        max_line_length,
    }
}

fn guardrails(reader: &mut Reader<'_>, at: &At) -> Guardrails {
    let defaults = Guardrails::default();
    reader.expect_map(at);
    let mut repeats = |key: &str, default: Repeats| {
        let mut number = |name: &str, default: u32| {
            reader.number_or_zero(&at.key(key).key(name), 1_000_000).map_or(default, narrow)
        };
        Repeats {
            exact_failure: number("exact_failure", default.exact_failure),
            same_tool_failure: number("same_tool_failure", default.same_tool_failure),
            no_progress: number("idempotent_no_progress", default.no_progress),
        }
    };
    let (warn_after, stop_after) =
        (repeats("warn_after", defaults.warn_after), repeats("hard_stop_after", defaults.stop_after));
    Guardrails {
        warns: reader.flag(&at.key("warnings_enabled")).unwrap_or(defaults.warns),
        warn_after,
        stops: reader.flag(&at.key("hard_stop_enabled")).unwrap_or(defaults.stops),
        stop_after,
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

/// Notes a document that is not a mapping.
pub(super) fn check_root(reader: &mut Reader<'_>, root: &At) {
    if root.is_set() && !root.is_map() {
        let message = "the file must be a mapping of keys to values".to_owned();
        let fix = Some("Write `key: value` lines.".to_owned());
        reader.problems.add(Severity::Profile, "yaml_root", reader.place(root), message, fix);
    }
}
