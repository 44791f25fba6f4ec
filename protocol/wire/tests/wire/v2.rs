//! Golden bytes of what version 2 says otherwise than version 1, and what a peer of version 1 is told and understood by.

use hermes_wire::codec::{CodecError, decode, encode};
use hermes_wire::latest::Message;
use hermes_wire::v1::worker as old;
use hermes_wire::v1::worker::{Admit, Claim, Heartbeat, LastError, Prepare, Role, Severity};
use hermes_wire::v2::client::ClientRequest;
use hermes_wire::v2::worker::{Family, FromWorker, HandOver, Report, ToWorker};

use super::{Named, coder, decodes_back, lines, named, v1};

const GOLDEN: &str = include_str!("../golden/wire/v2.txt");

fn to_worker() -> Vec<ToWorker> {
    vec![
        ToWorker::Prepare(Prepare {
            claim_key: [7; 32],
            generation: 3,
            role: Role::Primary,
            multiplex: Some(false),
            listeners: vec![v1::bound()],
            supervisor_pid: 4242,
            restarts: 1,
            heartbeat_ms: 1_000,
        }),
        ToWorker::Admit(Admit {
            listeners: vec![v1::bound()],
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

fn report() -> Report {
    Report {
        claims: vec![Claim {
            platform: "telegram".into(),
            identity: [9; 32],
            source: "TELEGRAM_BOT_TOKEN in /h/.env".into(),
        }],
        problems: vec![v1::problem(Severity::Warning)],
        gateway: Some(v1::settings()),
        exclusive: vec!["telegram".into()],
        hand_over: vec![HandOver { platform: "telegram".into(), profile: coder() }],
        families: vec![Family {
            platform: "webhook".into(),
            paths: vec!["/webhooks/".into()],
            is_api: false,
        }],
    }
}

fn from_worker() -> Vec<FromWorker> {
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

fn requests() -> Vec<ClientRequest> {
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

named! {
    ToWorker { Prepare, Admit, Refuse, StopAccepting, Drain, StopClaiming, Connect, Yield }
    FromWorker { Report, Ready, Heartbeat, AcceptStopped, Drained, Degraded, LastWords, Yielded, Connected }
    ClientRequest { Status, Start, Stop, Restart, Reload, Shutdown, Detach, Rescan, Release, Renamed, Renew, Apply }
}

#[test]
fn bytes_of_version_2_are_frozen() {
    let all = [lines(&to_worker()), lines(&from_worker()), lines(&requests())].concat().join("\n");
    assert_eq!(all.trim_end(), GOLDEN.trim_end(), "a released message changed; add a new version instead");
}

#[test]
fn golden_bytes_decode_to_the_same_messages() {
    decodes_back(GOLDEN, &to_worker());
    decodes_back(GOLDEN, &from_worker());
    decodes_back(GOLDEN, &requests());
}

#[test]
fn garbage_is_refused() {
    for garbage in [&[][..], &[0xff; 64], &[200], b"HTTP/1.1 200 OK\r\n\r\n", &[8, 1], &[0xfd; 9]] {
        assert!(decode::<ToWorker>(garbage).is_err(), "{garbage:?}");
        assert!(decode::<FromWorker>(garbage).is_err(), "{garbage:?}");
        assert!(decode::<ClientRequest>(garbage).is_err(), "{garbage:?}");
    }
    // A name that no profile may have is no target of a hand-over.
    let report = Report { hand_over: report().hand_over, ..Report::default() };
    let hostile = String::from_utf8_lossy(&encode(&report).unwrap()).replace("coder", "../..");
    assert!(decode::<Report>(hostile.as_bytes()).is_err());
}

/// Between two of version 2 every message arrives as it left.
#[test]
fn equals_lose_nothing() {
    fn passes<T: Message + PartialEq + std::fmt::Debug>(messages: &[T]) {
        for message in messages {
            let bytes = message.encode(2).unwrap().expect("version 2 says everything");
            assert_eq!(&T::decode(2, &bytes).unwrap(), message);
        }
    }
    passes(&to_worker());
    passes(&from_worker());
    passes(&requests());
}

/// What a peer of version 1 is sent is what it always was; what it has no word for is not sent.
#[test]
fn a_peer_of_version_1_is_spoken_to_in_its_words() {
    let sent = |message: &ToWorker| message.encode(1).unwrap().map(|bytes| decode(&bytes).unwrap());
    assert_eq!(sent(&ToWorker::StopClaiming), Some(old::ToWorker::StopClaiming));
    assert_eq!(sent(&ToWorker::Connect), None);
    assert_eq!(sent(&ToWorker::Yield { within_ms: 1 }), None);
    for message in to_worker() {
        if let Some(bytes) = message.encode(1).unwrap() {
            assert_eq!(ToWorker::decode(1, &bytes).unwrap(), message);
        }
    }

    let sent = |message: &FromWorker| message.encode(1).unwrap().map(|bytes| decode(&bytes).unwrap());
    let Report { claims, problems, gateway, .. } = report();
    let theirs = old::Report { claims, problems, gateway, platforms: vec![] };
    assert_eq!(sent(&FromWorker::Report(report())), Some(old::FromWorker::Report(theirs)));
    assert_eq!(sent(&FromWorker::Yielded), None);
    assert_eq!(sent(&FromWorker::Connected { platform: "telegram".into() }), None);

    for request in requests() {
        let bytes = request.encode(1).unwrap().expect("version 1 has every request");
        assert_eq!(ClientRequest::decode(1, &bytes).unwrap(), request);
    }
}

/// Everything that a peer of version 1 says is understood, or named as what nobody carries out any more.
#[test]
fn a_peer_of_version_1_is_understood() {
    let retired = |error: CodecError| matches!(error, CodecError::Retired(_)).then(|| error.to_string());
    for message in v1::to_worker() {
        let understood = ToWorker::decode(1, &encode(&message).unwrap());
        match message.name() {
            "ToWorker::Quiesce" => assert!(retired(understood.unwrap_err()).unwrap().contains("`Quiesce`")),
            name => assert_eq!(understood.unwrap().name(), name),
        }
    }
    for message in v1::from_worker() {
        let understood = FromWorker::decode(1, &encode(&message).unwrap()).unwrap();
        assert_eq!(understood.name(), message.name());
        if let FromWorker::Report(report) = understood {
            assert_eq!((report.exclusive, report.hand_over), (vec![], vec![]));
            // What both knew then.
            let names: Vec<_> = report.families.iter().map(|family| family.platform.as_str()).collect();
            assert_eq!(names.len(), if report.gateway.is_some() { 2 } else { 0 }, "{names:?}");
        }
    }
    for request in v1::requests() {
        let understood = ClientRequest::decode(1, &encode(&request).unwrap());
        match request.name() {
            "ClientRequest::Drain" => assert!(retired(understood.unwrap_err()).unwrap().contains("`Drain`")),
            name => assert_eq!(understood.unwrap().name(), name),
        }
    }
}
