//! What events mean, what failures are to connection and messages, and the settings.

use serde_json::json;

use super::outbound::unsent;
use super::wire::{Refusal, line, published, refusal};
use super::*;
use crate::delivery::outbound::Unsent;
use crate::platform::Class;
use crate::platform::harness;

fn settings(env: &str, yaml: &str) -> (Option<Settings>, Vec<String>) {
    harness::settings(NAME, yaml, env)
}

#[test]
fn a_topic_turns_it_on_and_what_is_wrong_with_it_is_said() {
    assert_eq!(settings("", ""), (None, Vec::new()));
    let (found, problems) = settings("NTFY_TOPIC=mine\n", "");
    let found = found.unwrap();
    assert_eq!((problems, found.fault, found.publish_topic.as_str()), (Vec::new(), None, "mine"));
    assert_eq!(found.base.unwrap().as_str(), "https://ntfy.sh/");
    let yaml = "platforms:\n  ntfy: {topic: a, publish_topic: b, server: 'https://push.example/ntfy', markdown: true}\n";
    let found = settings("NTFY_TOPIC=c\nNTFY_TOKEN=' tk_x '\n", yaml).0.unwrap();
    assert_eq!((found.topic.as_str(), found.publish_topic.as_str(), found.markdown), ("c", "b", true));
    assert_eq!(found.token.unwrap().expose(), "tk_x");
    for env in [
        "NTFY_TOPIC=a/b\n",
        "NTFY_TOPIC='https://ntfy.sh/a'\n",
        "NTFY_TOPIC=a\nNTFY_PUBLISH_TOPIC='a b'\n",
        "NTFY_TOPIC=a\nNTFY_SERVER_URL=http://10.0.0.7\n",
        "NTFY_TOPIC=a\nNTFY_SERVER_URL=nonsense\n",
        "NTFY_TOPIC=a\nNTFY_TOKEN=tk_ä\n",
    ] {
        let (found, problems) = settings(env, "");
        assert_eq!(problems, ["ntfy_config_missing"], "{env}");
        assert!(found.unwrap().fault.is_some(), "{env}");
    }
}

#[test]
fn a_line_is_a_message_a_sign_of_life_or_odd() {
    let of = |value: serde_json::Value| line(value.to_string().as_bytes());
    assert_eq!(line(b"  "), Heard::Life);
    assert!(matches!(line(b"<html>"), Heard::Odd(_)) && matches!(line(b"{}"), Heard::Odd(_)));
    assert_eq!(of(json!({"id": "a", "time": 7, "event": "open", "topic": "t"})), Heard::Open(7));
    assert_eq!(of(json!({"id": "a", "time": 7, "event": "keepalive", "topic": "t"})), Heard::Life);
    assert_eq!(of(json!({"id": "a", "time": 7, "event": "message_clear", "topic": "t"})), Heard::Life);
    let message = json!({
        "id": "xE73Iyuabi", "time": 1_673_542_291, "event": "message", "topic": "t", "title": "Back door", "message": "It is open ",
        "tags": ["warning"], "priority": 4, "click": "https://x.example",
        "attachment": {"name": "a.jpg", "type": "image/jpeg", "size": 33848, "expires": 1, "url": "https://ntfy.sh/file/x.jpg"},
    });
    let Heard::Message(read) = of(message.clone()) else { panic!() };
    assert_eq!(
        (read.text.as_str(), read.time, &read.tags[..]),
        ("Back door\n\nIt is open", 1_673_542_291, &["warning".to_owned()][..])
    );
    assert_eq!(read.attachment.unwrap().size, Some(33848));
    for (key, value) in [
        ("id", json!("a b")),
        ("id", json!("")),
        ("topic", json!("")),
        ("encoding", json!("base64")),
        ("message", json!("x".repeat(70_000))),
        ("time", json!(-1)),
    ] {
        let mut odd = message.clone();
        odd[key] = value;
        assert!(matches!(of(odd), Heard::Odd(_)), "{key}");
    }
    assert!(matches!(of(json!({"id": "a", "event": "message", "topic": "t"})), Heard::Odd(_)), "empty");
}

#[test]
fn what_is_published_has_a_name_and_a_refusal_a_number() {
    assert_eq!(published(br#"{"id": "abc", "time": 1}"#).as_deref(), Some("abc"));
    assert_eq!((published(b"{}"), published(b"<html>")), (None, None));
    let said = refusal(br#"{"code": 40301, "http": 403, "error": "forbidden"}"#);
    assert_eq!(said, Refusal { code: 40301, text: "forbidden".to_owned() });
    assert_eq!(refusal(b"<html>"), Refusal::default());
}

fn refused(status: u16, code: u32, after: Option<Duration>) -> Failure {
    Failure::Refused { what: "x", status, refusal: Refusal { code, ..Refusal::default() }, after }
}

#[test]
fn failures_are_told_apart() {
    let of = |failure: Failure| {
        let down = down(failure);
        (down.class, down.code, down.retry_after)
    };
    let fatal = |code: &str| (Class::Fatal, code.to_owned(), None);
    assert_eq!(of(refused(401, 40101, None)), fatal("ntfy_unauthorized"));
    assert_eq!(of(refused(403, 40301, None)), fatal("ntfy_unauthorized"));
    assert_eq!(of(refused(404, 40401, None)), fatal("ntfy_topic_not_found"));
    assert_eq!(of(refused(400, 40009, None)), fatal("ntfy_topic_not_found"));
    let wait = Some(Duration::from_secs(7));
    for (status, after) in [(400, None), (429, wait), (500, None), (502, None), (507, None)] {
        assert_eq!(
            of(refused(status, 0, after)),
            (Class::Retrying, "ntfy_network_error".to_owned(), after),
            "{status}"
        );
    }
    assert_eq!(of(Failure::Lost("x".to_owned())).0, Class::Retrying);
}

#[test]
fn a_message_is_tried_again_where_that_can_help_and_is_unsure_where_it_may_be_there() {
    let of = |failure: Failure| match unsent(&failure) {
        Unsent::Never { .. } => "never",
        Unsent::Later { unsure: true, .. } => "unsure",
        Unsent::Later { after: Some(_), .. } => "wait",
        Unsent::Later { .. } => "later",
    };
    let wait = Some(Duration::from_secs(7));
    assert_eq!(of(refused(429, 42901, wait)), "wait");
    for (status, code, expected) in [
        (400, 40011, "never"),
        (413, 41301, "never"),
        (401, 40101, "later"),
        (403, 40301, "later"),
        (507, 50701, "later"),
        (500, 50001, "later"),
        (502, 0, "unsure"),
        (504, 0, "unsure"),
    ] {
        assert_eq!(of(refused(status, code, None)), expected, "{status}");
    }
    assert_eq!(of(Failure::Unsent("x".to_owned())), "later");
    assert_eq!(of(Failure::Lost("x".to_owned())), "unsure");
}

#[test]
fn a_file_is_fetched_from_the_server_alone() {
    let found = settings("NTFY_TOPIC=a\nNTFY_SERVER_URL=http://127.0.0.1:2586\n", "").0.unwrap();
    let service = Service::new(&found, &Network::default()).unwrap();
    let of = |url: &str, size: Option<u64>| {
        let file = Attachment { name: "x".to_owned(), url: url.to_owned(), media_type: None, size };
        service.own_file(&file).map(String::from)
    };
    let own = || Some("http://127.0.0.1:2586/file/x.jpg".to_owned());
    assert_eq!(of("http://127.0.0.1:2586/file/x.jpg", Some(1)), own());
    assert_eq!(of("https://ntfy.example/file/x.jpg", Some(1)), own(), "the server under its other name");
    assert_eq!(of("http://169.254.169.254/latest/meta-data", Some(1)), None);
    assert_eq!(of("http://127.0.0.1:2586/file/x.jpg", None), None, "the server does not have it");
    assert_eq!(of("https://elsewhere.example/file/a/b", Some(1)), None);
    assert_eq!(of("no address", Some(1)), None);
}
