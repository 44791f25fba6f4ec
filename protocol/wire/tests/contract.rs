//! Files of 0.19.0 are read as they are, and what this program writes keeps every one of their keys. The same for every shape that
//! a file of ours ever had: `golden/contract/<file>/<schema>-<n>.json` is the n-th shape of a schema, keys added one change after the
//! other; the last one is what is written now. A key more in a type does not compile here before it is in a sample of its own:
//! samples are added, never edited.

use std::collections::BTreeMap;

use hermes_wire::contract::gateway_state::{self, GatewayState};
use hermes_wire::contract::gateway_status::{
    self, Gateway, GatewayStatus, KeepAwake, Listener, Profile, Program, Takeover,
};
use hermes_wire::contract::pid_record::{KIND, PidRecord};
use hermes_wire::contract::platform_trials::{Lack, Trial as PlatformTrial, Trials};
use hermes_wire::contract::provider_trial::{Outcome, Trial};
use hermes_wire::contract::runtime_status::{
    Approvals, Asleep, FenceStatus, GoneChat, GoneChats, InboxStatus, MAX_LEN, PlatformStatus, ReadError,
    RuntimeStatus, SCHEMA, ToolServerStatus,
};
use hermes_wire::latest::{Autostart, LastError, Problem, ResourceLimits, Severity, Upkeep};
use serde_json::Value;

const RUNNING: &str = include_str!("golden/contract/runtime_status/0.19.0-running.json");
const STOPPED: &str = include_str!("golden/contract/runtime_status/0.19.0-stopped.json");

/// Shapes of `runtime_status.json`: the first; what waits in the inbox; answers that were not delivered; why it is degraded and the
/// provider's last failure; what it leaves when it goes to sleep; its tool servers; what is around what it starts; what
/// waits for an approval; how a platform is connected; chats that are gone.
const RUNTIME_STATUS: [&str; 10] = [
    include_str!("golden/contract/runtime_status/1-1.json"),
    include_str!("golden/contract/runtime_status/1-2.json"),
    include_str!("golden/contract/runtime_status/1-3.json"),
    include_str!("golden/contract/runtime_status/1-4.json"),
    include_str!("golden/contract/runtime_status/1-5.json"),
    include_str!("golden/contract/runtime_status/1-6.json"),
    include_str!("golden/contract/runtime_status/1-7.json"),
    include_str!("golden/contract/runtime_status/1-8.json"),
    include_str!("golden/contract/runtime_status/1-9.json"),
    include_str!("golden/contract/runtime_status/1-10.json"),
];

/// Shapes of `hermes status --json`: the first; what was put off or given up; answers that were not delivered; the provider's last
/// failure; files in force and refused; clients that are let in; degraded profiles; the last takeover of exclusive platforms; rate,
/// latency, how a profile is kept, and whether the machine is kept awake; tool servers; the program that runs, and what is
/// around what a profile starts; what waits for an approval; how a platform is connected; chats that are gone.
const GATEWAY_STATUS: [&str; 14] = [
    include_str!("golden/contract/gateway_status/1-1.json"),
    include_str!("golden/contract/gateway_status/1-2.json"),
    include_str!("golden/contract/gateway_status/1-3.json"),
    include_str!("golden/contract/gateway_status/1-4.json"),
    include_str!("golden/contract/gateway_status/1-5.json"),
    include_str!("golden/contract/gateway_status/1-6.json"),
    include_str!("golden/contract/gateway_status/1-7.json"),
    include_str!("golden/contract/gateway_status/1-8.json"),
    include_str!("golden/contract/gateway_status/1-9.json"),
    include_str!("golden/contract/gateway_status/1-10.json"),
    include_str!("golden/contract/gateway_status/1-11.json"),
    include_str!("golden/contract/gateway_status/1-12.json"),
    include_str!("golden/contract/gateway_status/1-13.json"),
    include_str!("golden/contract/gateway_status/1-14.json"),
];

/// Shapes of a gateway's own `gateway_state.json`.
const GATEWAY_STATE: [&str; 1] = [include_str!("golden/contract/gateway_state/1-1.json")];

fn value(text: &[u8]) -> Value {
    serde_json::from_slice(text).expect("JSON")
}

#[test]
fn status_of_0_19_0_is_read_and_kept() {
    // A planned stop of 0.19.0 leaves `running` behind; only the platforms tell.
    for (text, platforms, active) in [(RUNNING, "connected", 1), (STOPPED, "disconnected", 0)] {
        let status = RuntimeStatus::read(text.as_bytes()).expect("a sample");
        assert_eq!((status.gateway_state.as_deref(), status.active_agents), (Some("running"), active));
        assert!(status.schema.is_none() && status.platforms.values().all(|p| p.state == platforms));
        assert_eq!(status.served_profiles.as_deref().map(<[String]>::len), Some(3));
        assert_eq!(status.platforms.len(), 2);
        assert_eq!(value(&status.write()), value(text.as_bytes()));
    }
}

#[test]
fn our_keys_are_added_and_theirs_stay() {
    let mut status = RuntimeStatus::read(RUNNING.as_bytes()).expect("a sample");
    status.schema = Some(1);
    status.profile = Some("default".into());
    status.supervisor_pid = Some(1);
    let Value::Object(written) = value(&status.write()) else { panic!("an object") };
    let Value::Object(sample) = value(RUNNING.as_bytes()) else { panic!("an object") };
    for (key, before) in &sample {
        assert_eq!(written.get(key), Some(before), "{key}");
    }
    let order: Vec<_> = written.keys().take(sample.len()).collect();
    assert_eq!(order, sample.keys().collect::<Vec<_>>());
}

#[test]
fn newer_older_and_strange_files() {
    let newer = r#"{"pid":1,"gateway_state":"running","schema":9,"platforms":{},"updated_at":1795220658,"new":{"a":1}}"#;
    let status = RuntimeStatus::read(newer.as_bytes()).expect("newer files are read");
    assert_eq!((status.schema, status.updated_at.as_deref()), (Some(9), Some("1795220658")));
    for bad in ["", "[]", "{", r#"{"pid":-1,"gateway_state":"x"}"#, "\u{0}"] {
        assert!(matches!(RuntimeStatus::read(bad.as_bytes()), Err(ReadError::Json(_))), "{bad}");
    }
    assert!(matches!(RuntimeStatus::read(&vec![b' '; MAX_LEN + 1]), Err(ReadError::TooLarge(_))));
}

#[test]
fn the_pid_record_of_0_19_0_is_read_and_kept() {
    let text = include_str!("golden/contract/pid_record/0.19.0.json");
    let record = PidRecord::read(text).expect("a sample");
    assert_eq!((record.pid, record.kind.as_str(), record.start_time), (15875, KIND, Some(462_104)));
    assert_eq!(value(record.write().as_bytes()), value(text.as_bytes()));
    assert_eq!(
        PidRecord::read(include_str!("golden/contract/pid_record/0.19.0-bare.txt"))
            .expect("a bare integer")
            .pid,
        4242
    );
    assert!(PidRecord::read("nonsense").is_err());
}

/// Everything in `old` is in `new`, as it was.
fn keeps(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            old.iter().all(|(key, old)| new.get(key).is_some_and(|new| keeps(old, new)))
        }
        (Value::Array(old), Value::Array(new)) => {
            old.len() == new.len() && old.iter().zip(new).all(|(old, new)| keeps(old, new))
        }
        (old, new) => old == new,
    }
}

/// Each shape is read and written back with all it says; each says more than the one before.
fn shapes(samples: &[&str], again: impl Fn(&str) -> Value) {
    for (at, sample) in samples.iter().enumerate() {
        let sample_value = value(sample.as_bytes());
        assert!(keeps(&sample_value, &again(sample)), "shape {} lost something: {}", at + 1, again(sample));
        if let Some(next) = samples.get(at + 1) {
            let next = value(next.as_bytes());
            assert!(keeps(&sample_value, &next) && sample_value != next, "shape {}", at + 2);
        }
    }
}

/// A reader of a worker's file reads a gateway's too, as every reader of 0.19.0 does.
#[test]
fn every_shape_of_the_gateways_file_is_read() {
    let read = |text: &str| serde_json::from_str::<GatewayState>(text).expect("a sample");
    shapes(&GATEWAY_STATE, |text| serde_json::to_value(read(text)).expect("JSON"));
    let platform = |state: &str, error: Option<(&str, &str)>, base: Option<&str>| gateway_state::Platform {
        state: state.to_owned(),
        error_code: error.map(|(code, _)| code.to_owned()),
        error_message: error.map(|(_, message)| message.to_owned()),
        updated_at: Some("2026-11-28T20:40:06.121009+00:00".to_owned()),
        needs_attention: error.is_some(),
        writer_pid: 4200,
        writer_start_time: Some(462_104),
        listener_base: base.map(str::to_owned),
    };
    let full = GatewayState {
        pid: 4200,
        kind: KIND.into(),
        argv: ["hermes", "gateway", "run"].map(str::to_owned).to_vec(),
        start_time: Some(462_104),
        gateway_state: "startup_failed".into(),
        exit_reason: Some("the gateway does not start: 1 problem".into()),
        restart_requested: true,
        active_agents: 2,
        platforms: [
            ("webhook", platform("connected", None, Some("http://127.0.0.1:8644"))),
            ("coder:telegram", platform("fatal", Some(("unauthorized", "the token was refused")), None)),
        ]
        .map(|(name, platform)| (name.to_owned(), platform))
        .into(),
        updated_at: "2026-11-28T21:15:54.713511+00:00".into(),
        served_profiles: Some(vec!["default".into(), "coder".into()]),
        multiplex_standalone_reason: Some("`gateway.multiplex_profiles` is off".into()),
        schema: gateway_state::SCHEMA,
        profile: "default".into(),
        version: "0.1.0".into(),
    };
    assert_eq!(serde_json::to_string(&full).expect("JSON"), GATEWAY_STATE[0]);
    let status = RuntimeStatus::read(GATEWAY_STATE[0].as_bytes()).expect("as a worker's");
    assert_eq!((status.pid, status.platforms["coder:telegram"].state.as_str()), (Some(4200), "fatal"));
    let Value::Object(theirs) = value(RUNNING.as_bytes()) else { panic!("an object") };
    let Value::Object(ours) = value(GATEWAY_STATE[0].as_bytes()) else { panic!("an object") };
    let order: Vec<_> = ours.keys().take(theirs.len()).collect();
    assert_eq!(order, theirs.keys().collect::<Vec<_>>());
}

fn last_error() -> LastError {
    LastError {
        provider: "openrouter".to_owned(),
        class: "rate_limited".to_owned(),
        code: Some(429),
        message: "HTTP 429: slow down".to_owned(),
        since: "2026-11-28T21:00:00.000000+00:00".to_owned(),
        at: "2026-11-28T21:05:39.381254+00:00".to_owned(),
        count: 3,
    }
}

fn platform(state: &str, error: Option<(&str, &str)>) -> PlatformStatus {
    PlatformStatus {
        state: state.to_owned(),
        error_code: error.map(|(code, _)| code.to_owned()),
        error_message: error.map(|(_, message)| message.to_owned()),
        updated_at: Some("2026-11-28T20:40:06.121009+00:00".to_owned()),
        mode: error.is_none().then(|| "webhook".to_owned()),
    }
}

fn problem() -> Problem {
    Problem {
        severity: Severity::Warning,
        code: "unknown_key".to_owned(),
        platform: Some("webhook".into()),
        file: "/home/me/.hermes/config.yaml".to_owned(),
        line: Some(3),
        column: Some(1),
        key: Some("agnet".into()),
        message: "`agnet` is not a key".to_owned(),
        fix: Some("Did you mean `agent`?".into()),
    }
}

fn fence() -> FenceStatus {
    FenceStatus {
        mode: "auto".to_owned(),
        rung: Some("none".to_owned()),
        reason: Some("landlock: the kernel has no Landlock".to_owned()),
        notes: vec!["the workspace cannot be written to".to_owned()],
    }
}

fn gone_chats() -> GoneChats {
    let chat = |platform: &str, chat: &str, reason: &str, since: Option<&str>| GoneChat {
        platform: platform.to_owned(),
        chat_id: chat.to_owned(),
        reason: reason.to_owned(),
        since: since.map(str::to_owned),
    };
    let since = "2026-11-28T21:10:00.000000+00:00";
    let latest = vec![
        chat("telegram", "-100777", "Forbidden: bot was kicked", Some(since)),
        chat("signal", "+4999", "Unregistered user", None),
    ];
    GoneChats { count: 2, latest }
}

fn approvals() -> Approvals {
    Approvals { waiting: 2, since: "2026-11-28T21:15:42.000000+00:00".to_owned() }
}

fn upkeep() -> Upkeep {
    let limits = ResourceLimits { memory: Some(512 << 20), cpu_permille: Some(1500), tasks: Some(200) };
    Upkeep { autostart: Autostart::OnDemand, idle_ms: 60_000, limits }
}

fn tool_servers() -> BTreeMap<String, ToolServerStatus> {
    let server = |state: &str, tools, reason: Option<&str>, protocol: Option<&str>| ToolServerStatus {
        state: state.to_owned(),
        tools,
        reason: reason.map(str::to_owned),
        protocol: protocol.map(str::to_owned),
        updated_at: Some("2026-11-28T21:15:54.713511+00:00".into()),
    };
    [
        ("github".to_owned(), server("parked", 0, Some("there is no program `npx` in `PATH`"), None)),
        ("time".to_owned(), server("connected", 2, None, Some("2026-07-28"))),
    ]
    .into()
}

#[test]
fn every_shape_of_the_status_file_is_read() {
    shapes(&RUNTIME_STATUS, |text| value(&RuntimeStatus::read(text.as_bytes()).expect("a sample").write()));
    let full = RuntimeStatus {
        pid: Some(4242),
        kind: Some(KIND.into()),
        argv: ["hermes-gateway", "worker", "--profile", "default"].map(str::to_owned).to_vec(),
        start_time: Some(462_104),
        gateway_state: Some("degraded".into()),
        exit_reason: Some("exit 1".into()),
        restart_requested: true,
        active_agents: 2,
        platforms: [
            ("api_server".to_owned(), platform("connected", None)),
            ("webhook".to_owned(), platform("retrying", Some(("network_error", "connection refused")))),
        ]
        .into(),
        updated_at: Some("2026-11-28T21:15:54.713511+00:00".into()),
        served_profiles: Some(vec!["default".to_owned(), "coder".to_owned()]),
        schema: Some(SCHEMA),
        profile: Some("default".into()),
        version: Some("0.1.0".into()),
        supervisor_pid: Some(4200),
        restarts: Some(1),
        inbox: Some(InboxStatus {
            waiting: 5,
            postponed: 3,
            failed: 1,
            reason: Some("HTTP 429: slow down".into()),
            undelivered: 2,
        }),
        degraded_reason: Some("no model is set".into()),
        last_error: Some(last_error()),
        tool_servers: tool_servers(),
        key_pools: std::collections::BTreeMap::new(),
        asleep: Some(Asleep {
            stamp: "00112233445566ff".to_owned(),
            upkeep: upkeep(),
            problems: vec![problem()],
        }),
        fence: Some(fence()),
        approvals: Some(approvals()),
        gone_chats: Some(gone_chats()),
    };
    let newest = RUNTIME_STATUS.last().expect("there is one");
    assert_eq!(RuntimeStatus::read(newest.as_bytes()).expect("a sample"), full);
    assert_eq!(String::from_utf8(full.write()).expect("JSON is text"), *newest);
}

#[test]
fn every_shape_of_the_status_json_is_read() {
    let read = |text: &str| serde_json::from_str::<GatewayStatus>(text).expect("a sample");
    shapes(&GATEWAY_STATUS, |text| serde_json::to_value(read(text)).expect("strings and numbers"));
    let problem = problem();
    let gateway = Gateway {
        state: "running".to_owned(),
        stale: false,
        pid: Some(4200),
        start_time: Some(462_000),
        started_at: Some("2026-11-28T20:00:00.000000+00:00".into()),
        uptime_secs: Some(4000),
        version: Some("0.1.0".into()),
        mode: Some("multiplex".into()),
        home: "/home/me/.hermes".to_owned(),
        runtime_dir: Some("/run/user/1000/hermes/0123456789abcdef".into()),
        listeners: vec![Listener {
            address: "127.0.0.1:8644".to_owned(),
            platforms: vec!["webhook".to_owned()],
        }],
        admin: Some("127.0.0.1:9464".into()),
        profiles_ready: 1,
        profiles_desired: 1,
        rss_bytes: Some(12_582_912),
        cpu_ms: Some(5678),
        problems: vec![problem.clone()],
        max_connections: Some(4096),
        profiles_degraded: 1,
        keep_awake: Some(KeepAwake { held: true, by: "systemd-inhibit".to_owned(), reason: None }),
        program: Some(Program { path: "/usr/bin/hermes".to_owned(), device: 64_768, inode: 1_234_567 }),
    };
    let profile = Profile {
        name: "coder".to_owned(),
        home: "/home/me/.hermes/profiles/coder".to_owned(),
        desired: "running".to_owned(),
        state: gateway_status::state::DEGRADED.to_owned(),
        ready: true,
        since: Some("2026-11-28T21:00:00.000000+00:00".into()),
        since_secs: Some(61),
        pid: Some(4243),
        generation: 3,
        restarts: 1,
        last_exit: Some("exit 1".into()),
        reason: Some("no model is set".into()),
        file: Some("/home/me/.hermes/profiles/coder/config.yaml".into()),
        next_attempt_ms: Some(1500),
        platforms: [("webhook".to_owned(), platform("connected", None))].into(),
        tool_servers: tool_servers(),
        key_pools: std::collections::BTreeMap::new(),
        active_agents: 1,
        inbox_waiting: 5,
        requests: 100,
        requests_active: 1,
        requests_per_sec: Some(2.5),
        latency_p99_ms: Some(12.5),
        rss_bytes: Some(7_340_032),
        cpu_ms: Some(1234),
        heartbeat_age_ms: Some(250),
        stale: false,
        updated_at: Some("2026-11-28T21:15:54.713511+00:00".into()),
        problems: vec![problem],
        data_socket: Some("/run/user/1000/hermes/0123456789abcdef/w/coder.sock".into()),
        inbox_postponed: 3,
        inbox_failed: 1,
        inbox_reason: Some("HTTP 429: slow down".into()),
        undelivered: 2,
        last_error: Some(last_error()),
        last_error_secs: Some(15),
        config_at: Some("2026-11-28T21:00:00.000000+00:00".into()),
        refused_at: Some("2026-11-28T21:10:00.000000+00:00".into()),
        takeover: Some(Takeover {
            platforms: vec!["telegram".into()],
            from_generation: 2,
            generation: 3,
            pause_ms: 42,
            at: "2026-11-28T21:00:01.000000+00:00".into(),
        }),
        upkeep: Some(upkeep()),
        awake: Some("it holds a connection: telegram".into()),
        fence: Some(fence()),
        approvals: Some(approvals()),
        approvals_secs: Some(12),
        gone_chats: Some(gone_chats()),
    };
    let full = GatewayStatus { schema: gateway_status::SCHEMA, gateway, profiles: vec![profile] };
    let newest = GATEWAY_STATUS.last().expect("there is one");
    assert_eq!(read(newest), full);
    assert_eq!(serde_json::to_string(&full).expect("strings and numbers"), *newest);
}

#[test]
fn every_pid_record_is_read() {
    let newest = include_str!("golden/contract/pid_record/1.json");
    let record = PidRecord {
        pid: 4200,
        kind: KIND.to_owned(),
        argv: ["hermes", "gateway", "run"].map(str::to_owned).to_vec(),
        start_time: Some(462_000),
        schema: Some(1),
        role: Some("supervisor".into()),
        home: Some("/home/me/.hermes".into()),
        profile: Some("default".into()),
        version: Some("0.1.0".into()),
        runtime_dir: Some("/run/user/1000/hermes/0123456789abcdef".into()),
        place: Some("6f0e1c0a-3f5e-4f0e-9d55-0a2b3c4d5e6f/4026531836".into()),
        host: Some("box".into()),
    };
    let before = include_str!("golden/contract/pid_record/1-placeless.json");
    let placeless = PidRecord { place: None, host: None, ..record.clone() };
    assert_eq!(PidRecord::read(before).expect("a sample"), placeless);
    assert_eq!(PidRecord::read(newest).expect("a sample"), record);
    assert_eq!(record.write(), newest);
}

#[test]
fn what_a_trial_of_a_provider_prints_is_read() {
    let lines = include_str!("golden/contract/provider_trial/1.jsonl").lines();
    let outcomes = [
        Outcome::Answers { how: "a list of models".to_owned() },
        Outcome::Fails { class: "unauthorized".to_owned(), code: Some(401), message: "HTTP 401".to_owned() },
        Outcome::NotAsked { why: "no key is set".to_owned() },
    ];
    assert_eq!(lines.clone().count(), outcomes.len());
    for (line, outcome) in lines.zip(outcomes) {
        let trial: Trial = serde_json::from_str(line).expect("a sample");
        assert_eq!(trial.outcome, outcome);
        assert_eq!(serde_json::to_string(&trial).expect("strings and numbers"), line);
    }
}

#[test]
fn what_a_trial_of_platforms_prints_is_read() {
    let line = include_str!("golden/contract/platform_trials/1.jsonl").trim_end();
    let trials = Trials {
        platforms: vec![
            PlatformTrial::answered(
                "telegram",
                "@x_bot answers, and is polled",
                vec![Lack::wanted("it sees little in groups", "@BotFather, /setprivacy")],
            ),
            PlatformTrial::answered(
                "signal",
                "the daemon answers",
                vec![Lack::needed("the account is not there", "register it")],
            ),
            PlatformTrial::unreachable("discord", "no answer in time"),
            PlatformTrial::not_asked("slack", "it is off"),
        ],
    };
    assert_eq!(serde_json::from_str::<Trials>(line).expect("a sample"), trials);
    assert_eq!(serde_json::to_string(&trials).expect("texts"), line);
}
