//! Golden bytes of every message of version 2. They may never change: a message that needs more is one of a later version.

use hermes_wire::codec::{decode, encode};
use hermes_wire::v2::parts::{
    Admit, BoundListener, Claim, GatewaySettings, Heartbeat, LastError, ListenerSetting, OnProfileError,
    Prepare, Problem, Role, Severity,
};
use hermes_wire::v2::reply::ClientReply;
use hermes_wire::v2::worker::{Family, FromWorker, HandOver, Report, ToWorker};
use hermes_wire::v3::client::ClientRequest;

use super::{Named, coder, decodes_back, lines, named};

const GOLDEN: &str = include_str!("../golden/wire/v2.txt");

pub(super) fn bound() -> BoundListener {
    BoundListener {
        address: "127.0.0.1:8644".into(),
        host: Some("127.0.0.1".into()),
        platforms: vec!["webhook".into(), "api_server".into()],
    }
}

pub(super) fn settings() -> GatewaySettings {
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

pub(super) fn problem(severity: Severity) -> Problem {
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

pub(super) fn to_worker() -> Vec<ToWorker> {
    vec![
        ToWorker::Prepare(Prepare {
            claim_key: [7; 32],
            generation: 3,
            role: Role::Primary,
            multiplex: Some(false),
            listeners: vec![bound()],
            supervisor_pid: 4242,
            restarts: 1,
            heartbeat_ms: 1_000,
        }),
        ToWorker::Admit(Admit {
            listeners: vec![bound()],
            multiplex: true,
            served: vec!["default".into(), "coder".into()],
        }),
        ToWorker::Refuse { reason: "duplicate token".into() },
        ToWorker::StopAccepting,
        ToWorker::Drain { deadline_ms: 20_000 },
        ToWorker::StopClaiming,
        ToWorker::Connect,
        ToWorker::Yield { within_ms: 5_000 },
    ]
}

pub(super) fn report() -> Report {
    Report {
        claims: vec![Claim {
            platform: "telegram".into(),
            identity: [9; 32],
            source: "TELEGRAM_BOT_TOKEN in /h/.env".into(),
        }],
        problems: vec![problem(Severity::Warning)],
        gateway: Some(settings()),
        exclusive: vec!["telegram".into()],
        hand_over: vec![HandOver { platform: "telegram".into(), profile: coder() }],
        families: vec![Family {
            platform: "webhook".into(),
            paths: vec!["/webhooks/".into()],
            is_api: false,
        }],
    }
}

pub(super) fn from_worker() -> Vec<FromWorker> {
    vec![
        FromWorker::Report(report()),
        FromWorker::Report(Report::default()),
        FromWorker::Ready,
        FromWorker::Heartbeat(Heartbeat { sequence: 300, next_ms: 15_000, ..Heartbeat::default() }),
        FromWorker::AcceptStopped,
        FromWorker::Drained,
        FromWorker::Degraded {
            platforms: vec!["telegram".into()],
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
        FromWorker::Yielded,
        FromWorker::Connected { platform: "telegram".into() },
    ]
}

pub(super) fn requests() -> Vec<ClientRequest> {
    vec![
        ClientRequest::Status { profile: None },
        ClientRequest::Status { profile: Some(coder()) },
        ClientRequest::Start { profile: coder() },
        ClientRequest::Stop { profile: coder() },
        ClientRequest::Restart { profile: coder() },
        ClientRequest::Reload,
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

pub(super) fn replies() -> Vec<ClientReply> {
    vec![
        ClientReply::Progress("stopping coder".into()),
        ClientReply::Gateway("{}".into()),
        ClientReply::Profile("{\"name\":\"coder\"}".into()),
        ClientReply::Done(String::new()),
        ClientReply::Refused { code: 78, message: "no".into(), hint: Some("yes".into()) },
    ]
}

named! {
    ToWorker { Prepare, Admit, Refuse, StopAccepting, Drain, StopClaiming, Connect, Yield }
    FromWorker { Report, Ready, Heartbeat, AcceptStopped, Drained, Degraded, LastWords, Yielded, Connected }
    ClientRequest { Status, Start, Stop, Restart, Reload, Shutdown, Detach, Rescan, Release, Renamed, Renew, Apply, Succeed }
    ClientReply { Progress, Gateway, Profile, Done, Refused }
}

#[test]
fn bytes_of_version_2_are_frozen() {
    let all = [lines(&to_worker()), lines(&from_worker()), lines(&requests()), lines(&replies())]
        .concat()
        .join("\n");
    assert_eq!(all.trim_end(), GOLDEN.trim_end(), "a released message changed; add a new version instead");
}

#[test]
fn golden_bytes_decode_to_the_same_messages() {
    decodes_back(GOLDEN, &to_worker());
    decodes_back(GOLDEN, &from_worker());
    decodes_back(GOLDEN, &requests());
    decodes_back(GOLDEN, &replies());
}

#[test]
fn garbage_is_refused() {
    for garbage in [&[][..], &[0xff; 64], &[200], b"HTTP/1.1 200 OK\r\n\r\n", &[8, 1], &[0xfd; 9]] {
        assert!(decode::<ToWorker>(garbage).is_err(), "{garbage:?}");
        assert!(decode::<FromWorker>(garbage).is_err(), "{garbage:?}");
        assert!(decode::<ClientRequest>(garbage).is_err(), "{garbage:?}");
        assert!(decode::<ClientReply>(garbage).is_err(), "{garbage:?}");
    }
    // A name that no profile may have does not come in through a message.
    let start = encode(&(1u32, "../x".to_owned())).expect("encodes");
    assert!(decode::<ClientRequest>(&start).is_err());
    // Nor is it a target of a hand-over.
    let report = Report { hand_over: report().hand_over, ..Report::default() };
    let hostile = String::from_utf8_lossy(&encode(&report).unwrap()).replace("coder", "../..");
    assert!(decode::<Report>(hostile.as_bytes()).is_err());
}
