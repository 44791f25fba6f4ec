//! Golden bytes of what version 3 says otherwise than version 2, and what a peer of version 2 is told and understood by.

use hermes_wire::codec::{decode, encode};
use hermes_wire::latest::Message;
use hermes_wire::v2::worker as old;
use hermes_wire::v3::client::ClientRequest;
use hermes_wire::v3::parts::{GatewaySettings, Prepare};
use hermes_wire::v3::report::Report;
use hermes_wire::v3::upkeep::{Autostart, IDLE_MS, ResourceLimits, Upkeep};
use hermes_wire::v3::worker::{FromWorker, ToWorker};

use super::{Named, decodes_back, lines, named, v2};

const GOLDEN: &str = include_str!("../golden/wire/v3.txt");

fn upkeep(autostart: Autostart) -> Upkeep {
    let limits = ResourceLimits { memory: Some(512 << 20), cpu_permille: Some(1500), tasks: Some(200) };
    Upkeep { autostart, idle_ms: 60_000, limits }
}

/// Everything of version 2 as it is understood, with what is new filled in, and the messages that are new.
fn to_worker() -> Vec<ToWorker> {
    let mut all: Vec<ToWorker> = v2::to_worker().into_iter().map(understood).collect();
    let Some(ToWorker::Prepare(prepare)) = all.first_mut() else { panic!("the first message comes first") };
    *prepare = Prepare { upkeep: upkeep(Autostart::OnDemand), stamp: "5e-1f".into(), ..prepare.clone() };
    all.push(ToWorker::Rest { deadline_ms: 20_000 });
    all
}

fn from_worker() -> Vec<FromWorker> {
    let mut all: Vec<FromWorker> = v2::from_worker().into_iter().map(understood).collect();
    let Some(FromWorker::Report(report)) = all.first_mut() else { panic!("a report comes first") };
    report.upkeep = upkeep(Autostart::Never);
    report.awake = Some("polling is a connection".into());
    if let Some(settings) = &mut report.gateway {
        settings.upkeep = upkeep(Autostart::Always);
        settings.admin_token = Some([7; 32]);
        settings.keep_awake = true;
    }
    all.extend([FromWorker::Idle, FromWorker::Restart]);
    all
}

fn requests() -> Vec<ClientRequest> {
    let mut all = v2::requests();
    all.push(ClientRequest::Succeed { profile: "coder".parse().expect("a name") });
    all
}

fn understood<Old: serde::Serialize, New: Message>(old: Old) -> New {
    New::decode(2, &encode(&old).expect("encodes")).expect("version 2 is understood")
}

named! {
    ToWorker { Prepare, Admit, Refuse, StopAccepting, Drain, StopClaiming, Connect, Yield, Rest }
    FromWorker { Report, Ready, Heartbeat, AcceptStopped, Drained, Degraded, LastWords, Yielded, Connected, Idle, Restart }
}

/// Frozen once version 3 is released.
#[test]
fn bytes_of_version_3_are_golden() {
    let all = [lines(&to_worker()), lines(&from_worker()), lines(&requests())].concat().join("\n");
    assert_eq!(
        all.trim_end(),
        GOLDEN.trim_end(),
        "a message changed: once released, that takes a new version"
    );
}

#[test]
fn golden_bytes_decode_to_the_same_messages() {
    decodes_back(GOLDEN, &to_worker());
    decodes_back(GOLDEN, &from_worker());
    decodes_back(GOLDEN, &requests());
}

/// Between two of version 3 every message arrives as it left.
#[test]
fn equals_lose_nothing() {
    fn passes<T: Message + PartialEq + std::fmt::Debug>(messages: &[T]) {
        for message in messages {
            let bytes = message.encode(3).unwrap().expect("version 3 says everything");
            assert_eq!(&T::decode(3, &bytes).unwrap(), message);
        }
    }
    passes(&to_worker());
    passes(&from_worker());
    passes(&requests());
}

/// What a peer of version 2 is sent is what it always was; what it has no word for is not sent.
#[test]
fn a_peer_of_version_2_is_spoken_to_in_its_words() {
    let sent = |message: &ToWorker| message.encode(2).unwrap().map(|bytes| decode(&bytes).unwrap());
    for (message, theirs) in to_worker().iter().zip(v2::to_worker()) {
        assert_eq!(sent(message), Some(theirs));
    }
    assert_eq!(sent(&ToWorker::Rest { deadline_ms: 7 }), Some(old::ToWorker::Drain { deadline_ms: 7 }));

    let sent = |message: &FromWorker| message.encode(2).unwrap().map(|bytes| decode(&bytes).unwrap());
    for (message, theirs) in from_worker().iter().zip(v2::from_worker()) {
        assert_eq!(sent(message), Some(theirs));
    }
    assert_eq!((sent(&FromWorker::Idle), sent(&FromWorker::Restart)), (None, None));
    for request in v2::requests() {
        let bytes = request.encode(2).unwrap().expect("version 2 has these");
        assert_eq!(ClientRequest::decode(2, &bytes).unwrap(), request);
    }
    for request in &requests()[v2::requests().len()..] {
        assert_eq!(request.encode(2).unwrap(), None, "not said to one that has no word for it: {request:?}");
    }
}

/// Everything that a peer of version 2 says is understood; of what it does not know, the profile is kept as ever.
#[test]
fn a_peer_of_version_2_is_understood() {
    for message in v2::to_worker() {
        assert_eq!(understood::<_, ToWorker>(message.clone()).name(), message.name());
    }
    for message in v2::from_worker() {
        let name = message.name();
        let understood: FromWorker = understood(message);
        assert_eq!(understood.name(), name);
        if let FromWorker::Report(Report { upkeep, awake, gateway, .. }) = understood {
            assert_eq!((upkeep, awake), (Upkeep::default(), None));
            assert!(gateway.is_none_or(|GatewaySettings { upkeep, .. }| upkeep == Upkeep::default()));
        }
    }
    let Upkeep { autostart, idle_ms, limits } = Upkeep::default();
    assert_eq!((autostart, idle_ms, limits.is_any()), (Autostart::Always, IDLE_MS, false));
}

#[test]
fn garbage_is_refused() {
    for garbage in [&[][..], &[0xff; 64], &[200], b"HTTP/1.1 200 OK\r\n\r\n", &[9, 1], &[0xfd; 9]] {
        assert!(decode::<ToWorker>(garbage).is_err(), "{garbage:?}");
        assert!(decode::<FromWorker>(garbage).is_err(), "{garbage:?}");
    }
}
