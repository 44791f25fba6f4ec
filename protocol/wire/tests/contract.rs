//! Files of 0.19.0 are read as they are, and what this program writes keeps every one of their keys.

use hermes_wire::contract::pid_record::{KIND, PidRecord};
use hermes_wire::contract::runtime_status::{MAX_LEN, ReadError, RuntimeStatus};
use serde_json::Value;

const RUNNING: &str = include_str!("golden/contract/gateway_state.running.json");
const STOPPED: &str = include_str!("golden/contract/gateway_state.stopped.json");

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
    let text = r#"{"pid": 15875, "kind": "hermes-gateway", "argv": ["/usr/local/bin/hermes", "gateway", "run"], "start_time": 462104}"#;
    let record = PidRecord::read(text).expect("a sample");
    assert_eq!((record.pid, record.kind.as_str(), record.start_time), (15875, KIND, Some(462_104)));
    assert_eq!(value(record.write().as_bytes()), value(text.as_bytes()));
    assert_eq!(PidRecord::read("4242\n").expect("a bare integer").pid, 4242);
    assert!(PidRecord::read("nonsense").is_err());
}
