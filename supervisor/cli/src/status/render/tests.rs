//! What people see, pinned.

use hermes_wire::contract::gateway_status::{Listener, SCHEMA, Takeover};
use hermes_wire::contract::runtime_status::PlatformStatus;

use super::*;

pub(crate) fn profile(name: &str, state: &str) -> Profile {
    let serving = matches!(state, state::READY | state::DEGRADED);
    let home =
        if name == "default" { "/h/.hermes".to_owned() } else { format!("/h/.hermes/profiles/{name}") };
    Profile {
        name: name.to_owned(),
        home,
        desired: "running".to_owned(),
        state: state.to_owned(),
        ready: serving,
        since: Some("2026-11-21T00:30:57.386Z".to_owned()),
        since_secs: Some(7_980),
        pid: serving.then_some(4_242),
        generation: 1,
        restarts: 0,
        last_exit: None,
        reason: None,
        file: None,
        next_attempt_ms: None,
        tool_servers: std::collections::BTreeMap::new(),
        key_pools: std::collections::BTreeMap::new(),
        platforms: if serving {
            ["api_server", "webhook"].map(|p| (p.to_owned(), platform("connected", None))).into()
        } else {
            std::collections::BTreeMap::new()
        },
        active_agents: u64::from(serving),
        inbox_waiting: 0,
        requests: 1_204,
        requests_active: 2,
        requests_per_sec: None,
        latency_p99_ms: None,
        rss_bytes: serving.then_some(6_140_000),
        cpu_ms: serving.then_some(310),
        heartbeat_age_ms: serving.then_some(420),
        stale: false,
        updated_at: serving.then(|| "2026-11-21T00:31:02.000000+00:00".to_owned()),
        problems: Vec::new(),
        last_error: None,
        last_error_secs: None,
        data_socket: serving.then(|| format!("/run/user/1000/hermes/0011223344556677/w-{name}.sock")),
        inbox_postponed: 0,
        inbox_failed: 0,
        inbox_reason: None,
        undelivered: 0,
        config_at: serving.then(|| "2026-11-21T00:30:57.386Z".to_owned()),
        refused_at: None,
        takeover: None,
        upkeep: None,
        awake: None,
        fence: None,
        approvals: None,
        approvals_secs: None,
        gone_chats: None,
    }
}

fn platform(state: &str, message: Option<&str>) -> PlatformStatus {
    PlatformStatus {
        state: state.to_owned(),
        error_code: None,
        error_message: message.map(str::to_owned),
        updated_at: None,
        mode: None,
    }
}

pub(crate) fn gateway(profiles: Vec<Profile>) -> GatewayStatus {
    let desired = profiles.iter().filter(|p| p.desired == "running").count();
    let ready = profiles.iter().filter(|p| p.ready).count();
    let degraded = profiles.iter().filter(|p| p.state == state::DEGRADED).count();
    GatewayStatus {
        schema: SCHEMA,
        gateway: Gateway {
            state: "running".to_owned(),
            stale: false,
            pid: Some(54),
            start_time: Some(163_917),
            started_at: Some("2026-11-21T00:30:57.386Z".to_owned()),
            uptime_secs: Some(93_784),
            version: Some("0.1.0".to_owned()),
            mode: Some("multiplex".to_owned()),
            home: "/h/.hermes".to_owned(),
            runtime_dir: Some("/run/user/1000/hermes/0011223344556677".to_owned()),
            listeners: vec![
                Listener { address: "127.0.0.1:8642".to_owned(), platforms: vec!["api_server".to_owned()] },
                Listener { address: "0.0.0.0:8644".to_owned(), platforms: vec!["webhook".to_owned()] },
            ],
            admin: Some("127.0.0.1:9100".to_owned()),
            profiles_ready: u32::try_from(ready).unwrap(),
            profiles_desired: u32::try_from(desired).unwrap(),
            rss_bytes: Some(9_870_000),
            cpu_ms: Some(72_000),
            problems: Vec::new(),
            max_connections: None,
            profiles_degraded: u32::try_from(degraded).unwrap(),
            keep_awake: None,
            program: None,
        },
        profiles,
    }
}

fn trouble(severity: Severity, message: &str) -> Problem {
    Problem {
        severity,
        code: "port_binding".to_owned(),
        platform: Some("webhook".to_owned()),
        file: "/h/.hermes/profiles/ops/config.yaml".to_owned(),
        line: Some(3),
        column: Some(5),
        key: Some("platforms.webhook.enabled".to_owned()),
        message: message.to_owned(),
        fix: Some("remove the key".to_owned()),
    }
}

/// Everything that can be wrong at once.
fn mixed() -> GatewayStatus {
    let mut degraded = profile("coder", state::DEGRADED);
    degraded
        .platforms
        .insert("telegram".to_owned(), platform("retrying", Some("connection\x1b[31m refused")));
    degraded.platforms.insert("matrix".to_owned(), platform("unsupported", None));
    degraded.stale = true;
    degraded.inbox_waiting = 12;
    let mut failed = profile("ops", state::FAILED);
    failed.reason = Some("Profile 'ops' enables the port-binding platform 'webhook'".to_owned());
    failed.file = Some("/h/.hermes/profiles/ops/config.yaml:3".to_owned());
    failed.problems =
        vec![trouble(Severity::Gateway, "Profile 'ops' enables the port-binding platform 'webhook'")];
    let mut crash = profile("research", state::CRASH_LOOP);
    crash.restarts = 5;
    crash.last_exit = Some("signal 11 (SIGSEGV)".to_owned());
    crash.reason = Some("died 5 times in 120 s".to_owned());
    crash.next_attempt_ms = Some(240_000);
    let mut stopped = profile("sleepy", state::STOPPED);
    stopped.desired = "stopped".to_owned();
    let mut detached = profile("solo", state::DETACHED);
    detached.reason = Some("has a gateway of its own (PID 99)".to_owned());
    let mut warned = profile("default", state::READY);
    warned.problems = vec![trouble(Severity::Warning, "unknown key `agnet`")];
    gateway(vec![warned, degraded, failed, crash, stopped, detached])
}

fn plain() -> Look {
    Look::default()
}

#[test]
fn all_well() {
    let status = gateway(vec![profile("default", state::READY), profile("coder", state::READY)]);
    insta::assert_snapshot!(table(&status, plain()));
}

#[test]
fn every_kind_of_trouble() {
    insta::assert_snapshot!(table(&mixed(), plain()));
}

#[test]
fn narrow_terminals_lose_the_least_important_columns() {
    let text = table(&mixed(), Look { width: Some(60), ..Look::default() });
    let rows: Vec<&str> = text.lines().skip_while(|l| !l.starts_with("PROFILE")).take(7).collect();
    assert!(rows.iter().all(|r| unicode_width::UnicodeWidthStr::width(*r) <= 60), "{text}");
    insta::assert_snapshot!(rows.join("\n"));
}

#[test]
fn colours_do_not_move_columns() {
    let plain = table(&mixed(), plain());
    let colored = table(&mixed(), Look { color: true, ..Look::default() });
    assert!(colored.contains("\x1b[31m") && colored.contains("\x1b[32m"));
    let mut stripped = String::new();
    let mut rest = colored.as_str();
    while let Some(at) = rest.find('\x1b') {
        stripped.push_str(&rest[..at]);
        rest = &rest[at + rest[at..].find('m').unwrap() + 1..];
    }
    stripped.push_str(rest);
    assert_eq!(stripped, plain);
}

#[test]
fn one_profile_in_detail() {
    let mut status = mixed();
    status.profiles.retain(|p| p.name == "coder" || p.name == "ops");
    insta::assert_snapshot!(detail(&status, plain()));
}

#[test]
fn offline() {
    let mut status = gateway(vec![profile("default", state::STOPPED), profile("coder", state::STOPPED)]);
    let gone = &mut status.gateway;
    gone.state = "stopped".to_owned();
    gone.stale = true;
    (gone.pid, gone.uptime_secs, gone.version, gone.mode, gone.rss_bytes, gone.admin) = Default::default();
    gone.listeners.clear();
    for profile in &mut status.profiles {
        (profile.stale, profile.since, profile.since_secs) = (true, None, None);
    }
    let text = table(&status, plain());
    assert!(!text.contains("running"), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn nothing_at_all() {
    let mut status = gateway(Vec::new());
    status.gateway.listeners.clear();
    insta::assert_snapshot!(table(&status, plain()));
}

#[test]
fn long_names_many_platforms_and_wide_characters_stay_aligned() {
    let mut long = profile(&"x".repeat(64), state::READY);
    for name in ["discord", "matrix", "signal", "slack", "telegram"] {
        long.platforms.insert(name.to_owned(), platform("connected", None));
    }
    let mut wide = profile("wide", state::READY);
    wide.last_exit = Some("暗い終了 café".to_owned());
    let mut none = profile("bare", state::READY);
    none.platforms.clear();
    insta::assert_snapshot!(table(&gateway(vec![long, wide, none]), plain()));
}

#[test]
fn a_start() {
    insta::assert_snapshot!(banner(&mixed()));
}

/// 5: "seen by itself" is said of what is watched, and of nothing else.
#[test]
fn a_hint_says_seen_by_itself_only_where_it_is() {
    let hint = |file: Option<&str>, reason: &str| {
        let mut failed = profile("ops", state::FAILED);
        (failed.file, failed.reason) = (file.map(str::to_owned), Some(reason.to_owned()));
        mending(&failed)
    };
    let home = "/h/.hermes/profiles/ops";
    for file in ["config.yaml", "config.yaml:3", ".env: OPS_TOKEN", "state.db"] {
        let text = hint(Some(&format!("{home}/{file}")), "x");
        assert!(text.ends_with("; the change is seen by itself"), "{text}");
    }
    let text = hint(None, &format!("the session store cannot be used: `{home}/state.db` is no SQLite file"));
    assert_eq!(text, format!("ops: fix {home}/state.db; the change is seen by itself"));
    for (file, reason) in [
        (Some("/etc/hermes/config.yaml"), "x"),
        (Some("/h/.hermes/profiles/ops"), "not writable"),
        (None, "exit 78"),
    ] {
        let text = hint(file, reason);
        assert!(
            text.ends_with("then `hermes gateway restart -p ops`") && !text.contains("by itself"),
            "{text}"
        );
    }
}

/// 5: a newer configuration that was refused does not hide which one is in force.
#[test]
fn a_refused_configuration_is_shown_beside_the_one_in_force() {
    let mut ready = profile("ops", state::READY);
    ready.refused_at = Some("2026-11-21T00:40:57.386Z".to_owned());
    ready.reason = Some("not valid YAML (line 3)".to_owned());
    ready.file = Some("/h/.hermes/profiles/ops/config.yaml".to_owned());
    let text = reason(&ready);
    assert!(
        text.starts_with("✗ ops: config of ")
            && text.contains(":57 in force; the newer one was refused: not valid")
    );
    assert!(text.ends_with("\n    at /h/.hermes/profiles/ops/config.yaml\n"), "{text}");
    ready.problems = vec![trouble(Severity::Profile, "not valid YAML")];
    assert!(reason(&ready).ends_with("in force; the newer one was refused\n"), "the problem has the rest");
}

#[test]
fn the_pause_of_the_last_takeover_is_shown() {
    let mut status = gateway(vec![profile("coder", state::READY)]);
    let shown = |status: &GatewayStatus| {
        let text = detail(status, plain());
        text.lines().find(|line| line.contains("taken over")).map(|line| line.trim().to_owned())
    };
    assert_eq!(shown(&status), None);
    status.profiles[0].takeover = Some(Takeover {
        platforms: vec!["telegram".to_owned(), "slack".to_owned()],
        from_generation: 2,
        generation: 3,
        pause_ms: 42,
        at: "2026-11-21T00:31:57.381Z".to_owned(),
    });
    let line = "taken over   telegram, slack from process 2, without a connection for 42 ms";
    assert_eq!(shown(&status).as_deref(), Some(line));
}

/// 1: the provider's failure is one line with time and count; why a newer generation could not take over is not lost beside it.
#[test]
fn c1_a_last_error_is_one_line() {
    let mut coder = profile("coder", state::DEGRADED);
    coder.last_error = Some(LastError {
        provider: "openrouter".to_owned(),
        class: "unauthorized".to_owned(),
        code: Some(401),
        message: "HTTP 401: no such key".to_owned(),
        since: "2026-11-21T00:30:57.381254+00:00".to_owned(),
        at: "2026-11-21T00:31:57.381254+00:00".to_owned(),
        count: 3,
    });
    coder.last_error_secs = Some(252);
    coder.reason = Some("provider openrouter: unauthorized: HTTP 401: no such key".to_owned());
    let line = "✗ coder: provider openrouter unauthorized (401), 4m 12s ago, 3 times in a row: HTTP 401: no such key\n";
    assert_eq!(problems(&[coder.clone()]), line);
    coder.reason = Some("generation 2 is refused: `x` must be a number".to_owned());
    assert_eq!(problems(&[coder]), format!("✗ coder: generation 2 is refused: `x` must be a number\n{line}"));
}
