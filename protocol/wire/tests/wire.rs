//! Golden bytes of every message of version 1. They may never change: a message that needs more is a message of version 2.

use hermes_wire::codec::{CodecError, decode, encode};
use hermes_wire::v1::client::{ClientReply, ClientRequest};
use hermes_wire::v1::worker::{
    Admit, BoundListener, Claim, FromWorker, GatewaySettings, Heartbeat, LastError, ListenerSetting,
    OnProfileError, Prepare, Problem, Report, Role, Severity, TaskProgress, ToWorker,
};
use hermes_wire::{ProfileName, version};
use serde::Serialize;
use serde::de::DeserializeOwned;

const GOLDEN: &str = include_str!("golden/wire/v1.txt");

fn coder() -> ProfileName {
    "coder".parse().expect("a valid name")
}

fn bound() -> BoundListener {
    BoundListener {
        address: "127.0.0.1:8644".into(),
        host: Some("127.0.0.1".into()),
        platforms: vec!["webhook".into(), "api_server".into()],
    }
}

fn settings() -> GatewaySettings {
    GatewaySettings {
        multiplex: true,
        allowlist: Some(vec!["coder".into()]),
        on_profile_error: OnProfileError::Skip,
        shared_env: vec!["OPENAI_API_KEY".into()],
        listeners: vec![ListenerSetting {
            platform: "webhook".into(),
            host: None,
            port: 8644,
            source: "platforms.webhook.extra.port in /h/config.yaml".into(),
        }],
        admin: Some("127.0.0.1:9464".into()),
        max_connections: 4096,
        max_requests_per_profile: 256,
        max_body_bytes: 64 << 20,
        header_timeout_ms: 15_000,
        hold_ms: 5_000,
        response_timeout_ms: 3_600_000,
        drain_ms: 20_000,
        start_timeout_ms: 30_000,
        stuck_after_ms: 10_000,
        heartbeat_ms: 1_000,
        max_connections_per_address: 2048,
        body_timeout_ms: 300_000,
        min_body_rate: 500,
    }
}

fn problem(severity: Severity) -> Problem {
    Problem {
        severity,
        code: "unknown_key".into(),
        platform: Some("webhook".into()),
        file: "/h/config.yaml".into(),
        line: Some(3),
        column: Some(5),
        key: Some("platforms.webhook.ruotes".into()),
        message: "not a known key".into(),
        fix: None,
    }
}

fn to_worker() -> Vec<ToWorker> {
    vec![
        ToWorker::Prepare(Prepare {
            claim_key: [7; 32],
            generation: 3,
            role: Role::Primary,
            multiplex: None,
            listeners: vec![],
            supervisor_pid: 4242,
            restarts: 1,
            heartbeat_ms: 1_000,
        }),
        ToWorker::Prepare(Prepare {
            claim_key: [0; 32],
            generation: u64::MAX,
            role: Role::Secondary,
            multiplex: Some(true),
            listeners: vec![bound()],
            supervisor_pid: 1,
            restarts: 0,
            heartbeat_ms: 250,
        }),
        ToWorker::Admit(Admit {
            listeners: vec![bound()],
            multiplex: true,
            served: vec!["default".into(), "coder".into()],
        }),
        ToWorker::Refuse { reason: "duplicate token".into() },
        ToWorker::StopAccepting,
        ToWorker::Drain { deadline_ms: 20_000 },
        ToWorker::Quiesce { on: true },
        ToWorker::StopClaiming,
    ]
}

fn from_worker() -> Vec<FromWorker> {
    let severities = [Severity::Warning, Severity::Platform, Severity::Profile, Severity::Gateway];
    vec![
        FromWorker::Report(Report {
            claims: vec![Claim {
                platform: "telegram".into(),
                identity: [9; 32],
                source: "TELEGRAM_BOT_TOKEN in /h/.env".into(),
            }],
            problems: severities.map(problem).to_vec(),
            platforms: vec![("webhook".into(), true), ("telegram".into(), false)],
            gateway: Some(settings()),
        }),
        FromWorker::Report(Report::default()),
        FromWorker::Ready,
        FromWorker::Heartbeat(Heartbeat {
            sequence: 300,
            active_turns: 2,
            inbox_waiting: 70_000,
            tasks: vec![TaskProgress {
                task: "inbox".into(),
                progress: 12,
                stalled_ms: 31_000,
                deadline_ms: 30_000,
            }],
            inbox_postponed: 3,
            inbox_failed: 1,
            inbox_reason: Some("HTTP 429: slow down".into()),
            undelivered: 4,
            next_ms: 15_000,
        }),
        FromWorker::AcceptStopped,
        FromWorker::Drained,
        FromWorker::Degraded { platforms: vec!["webhook".into()], reason: None, last_error: None },
        FromWorker::Degraded {
            platforms: vec![],
            reason: Some("Unknown provider 'nope'".into()),
            last_error: Some(LastError {
                provider: "openrouter".into(),
                class: "unauthorized".into(),
                code: Some(401),
                message: "HTTP 401: no such key".into(),
                since: "2026-11-21T00:30:57.381254+00:00".into(),
                at: "2026-11-21T00:31:57.381254+00:00".into(),
                count: 3,
            }),
        },
        FromWorker::LastWords { reason: "no space left on device".into() },
    ]
}

fn requests() -> Vec<ClientRequest> {
    vec![
        ClientRequest::Status { profile: None },
        ClientRequest::Status { profile: Some(coder()) },
        ClientRequest::Start { profile: coder() },
        ClientRequest::Stop { profile: coder() },
        ClientRequest::Restart { profile: coder() },
        ClientRequest::Reload,
        ClientRequest::Drain { on: false },
        ClientRequest::Shutdown,
        ClientRequest::Detach { profile: coder() },
        ClientRequest::Rescan { profile: None },
        ClientRequest::Rescan { profile: Some(coder()) },
        ClientRequest::Release { profile: coder() },
        ClientRequest::Renamed { from: coder(), to: coder() },
        ClientRequest::Renew,
        ClientRequest::Apply,
    ]
}

fn replies() -> Vec<ClientReply> {
    vec![
        ClientReply::Progress("stopping coder".into()),
        ClientReply::Gateway("{}".into()),
        ClientReply::Profile("{\"name\":\"coder\"}".into()),
        ClientReply::Done(String::new()),
        ClientReply::Refused { code: 78, message: "no".into(), hint: Some("yes".into()) },
    ]
}

/// Names every variant, so that a new one does not compile before it has golden bytes.
trait Named {
    fn name(&self) -> &'static str;
}

macro_rules! named {
    ($($message:ident { $($variant:ident),+ $(,)? })+) => {
        $(impl Named for $message {
            fn name(&self) -> &'static str {
                match self { $($message::$variant { .. } => concat!(stringify!($message), "::", stringify!($variant))),+ }
            }
        })+
    };
}

named! {
    ToWorker { Prepare, Admit, Refuse, StopAccepting, Drain, Quiesce, StopClaiming }
    FromWorker { Report, Ready, Heartbeat, AcceptStopped, Drained, Degraded, LastWords }
    ClientRequest { Status, Start, Stop, Restart, Reload, Drain, Shutdown, Detach, Rescan, Release, Renamed, Renew, Apply }
    ClientReply { Progress, Gateway, Profile, Done, Refused }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "half a byte");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal"))
        .collect()
}

fn lines<T: Serialize + Named>(messages: &[T]) -> Vec<String> {
    messages.iter().map(|m| format!("{} {}", m.name(), hex(&encode(m).expect("encodes")))).collect()
}

fn decodes_back<T: DeserializeOwned + Named + PartialEq + std::fmt::Debug>(messages: &[T]) {
    let name = std::any::type_name::<T>().rsplit("::").next().expect("a name");
    let golden: Vec<_> = GOLDEN.lines().filter(|line| line.starts_with(&format!("{name}::"))).collect();
    assert_eq!(golden.len(), messages.len(), "{name}");
    for (line, message) in golden.into_iter().zip(messages) {
        let (name, bytes) = line.split_once(' ').expect("name and bytes");
        let bytes = unhex(bytes);
        assert_eq!(&decode::<T>(&bytes).expect("decodes"), message, "{name}");
        assert!(decode::<T>(&bytes[..bytes.len() - 1]).is_err(), "{name} cut short");
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(matches!(decode::<T>(&longer), Err(CodecError::TrailingBytes { .. })), "{name} with a tail");
    }
}

#[test]
fn bytes_of_version_1_are_frozen() {
    let all = [lines(&to_worker()), lines(&from_worker()), lines(&requests()), lines(&replies())]
        .concat()
        .join("\n");
    assert_eq!(all.trim_end(), GOLDEN.trim_end(), "a released message changed; add a new version instead");
}

#[test]
fn golden_bytes_decode_to_the_same_messages() {
    decodes_back(&to_worker());
    decodes_back(&from_worker());
    decodes_back(&requests());
    decodes_back(&replies());
}

#[test]
fn garbage_is_refused() {
    for garbage in [&[][..], &[0xff; 64], &[200], b"HTTP/1.1 200 OK\r\n\r\n", &[6, 1], &[0xfd; 9]] {
        assert!(decode::<ToWorker>(garbage).is_err(), "{garbage:?}");
        assert!(decode::<FromWorker>(garbage).is_err(), "{garbage:?}");
        assert!(decode::<ClientRequest>(garbage).is_err(), "{garbage:?}");
        assert!(decode::<ClientReply>(garbage).is_err(), "{garbage:?}");
    }
    // A name that no profile may have does not come in through a message.
    let start = encode(&(1u32, "../x".to_owned())).expect("encodes");
    assert!(decode::<ClientRequest>(&start).is_err());
}

#[test]
fn this_build_speaks_the_newest_version_and_at_most_the_one_before() {
    assert_eq!(*version::SUPPORTED.end(), version::NEWEST);
    assert!(version::NEWEST - version::SUPPORTED.start() <= 1);
}
