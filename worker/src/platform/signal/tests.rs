//! What events mean, what failures are to connection and messages, and the settings.

use serde_json::{Value, json};

use super::wire::{Refused, event, sent};
use super::*;
use crate::delivery::outbound::Unsent;
use crate::platform::Class;
use crate::platform::harness;

const ME: &str = "+4930901820";

fn settings(env: &str, yaml: &str) -> (Option<Settings>, Vec<String>) {
    harness::settings(NAME, yaml, env)
}

#[test]
fn two_variables_turn_it_on_and_what_is_wrong_with_them_is_said() {
    assert_eq!(settings("", ""), (None, Vec::new()));
    let (found, problems) =
        settings(&format!("SIGNAL_HTTP_URL=http://127.0.0.1:8080/\nSIGNAL_ACCOUNT={ME}\n"), "");
    let found = found.unwrap();
    assert_eq!(
        (problems, found.fault, found.groups.holds("g"), found.require_mention),
        (Vec::new(), None, false, false)
    );
    let more = format!(
        "SIGNAL_HTTP_URL=https://signal.example\nSIGNAL_ACCOUNT={ME}\nSIGNAL_GROUP_ALLOWED_USERS=a,b\nSIGNAL_REQUIRE_MENTION=yes\n"
    );
    let found = settings(&more, "").0.unwrap();
    assert_eq!(
        (found.groups.holds("a"), found.groups.holds("c"), found.require_mention),
        (true, false, true)
    );
    for (url, account) in [
        ("http://10.0.0.7:8080", ME),
        ("http://127.0.0.1.example.org", ME),
        ("ftp://127.0.0.1", ME),
        ("nonsense", ME),
        ("http://127.0.0.1:1", "4930901820"),
        ("http://127.0.0.1:1", "+49 30"),
        ("http://127.0.0.1:1", "u:name.01"),
    ] {
        let (found, problems) = settings(&format!("SIGNAL_HTTP_URL={url}\nSIGNAL_ACCOUNT='{account}'\n"), "");
        assert_eq!(problems, ["signal_config_missing"], "{url} {account}");
        let refused = Service::new(&found.unwrap(), &Network::default()).err().unwrap();
        assert_eq!(down(refused).class, Class::Fatal);
    }
}

fn envelope(more: &Value) -> String {
    let mut envelope = json!({"source": "+491111", "sourceNumber": "+491111", "sourceUuid": "u-1", "sourceName": "Ann", "timestamp": 7});
    envelope.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"envelope": envelope, "account": ME}).to_string()
}

fn message(more: &Value) -> Incoming {
    match event(&envelope(more), ME) {
        Heard::Message(incoming) => *incoming,
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_edits_and_what_was_written_elsewhere_are_messages_and_the_rest_is_nothing() {
    let plain = message(&json!({"dataMessage": {"timestamp": 7, "message": "hi"}}));
    assert_eq!((plain.sender(), plain.text.as_str(), plain.timestamp), (Some("+491111"), "hi", 7));
    assert_eq!(
        (plain.uuid.as_deref(), plain.name.as_deref(), plain.group.as_deref()),
        (Some("u-1"), Some("Ann"), None)
    );
    let hidden = message(&json!({"sourceNumber": null, "dataMessage": {"timestamp": 7, "message": "hi"}}));
    assert_eq!(hidden.sender(), Some("u-1"));
    let edited =
        json!({"editMessage": {"targetSentTimestamp": 7, "dataMessage": {"timestamp": 8, "message": "ho"}}});
    assert_eq!(message(&edited).text, "ho");
    let sync = |to: &str, more: Value| {
        let mut data = json!({"destination": to, "destinationNumber": to, "timestamp": 9, "message": "note"});
        data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"syncMessage": {"sentMessage": data}})
    };
    assert!(message(&sync(ME, json!({}))).elsewhere);
    assert!(message(&sync("", json!({"groupInfo": {"groupId": "g"}}))).elsewhere);
    // To whom no number is said, and an edit, which has its own text and time.
    let hidden = json!({"destinationNumber": null, "destinationUuid": "u-1"});
    assert!(message(&sync("u-1", hidden)).elsewhere);
    let edited = json!({"syncMessage": {"sentMessage": {"destinationNumber": ME, "destinationUuid": null,
        "editMessage": {"targetSentTimestamp": 9, "dataMessage": {"timestamp": 10, "message": "better"}}}}});
    let edited = message(&edited);
    assert_eq!((edited.text.as_str(), edited.timestamp, edited.elsewhere), ("better", 10, true));
    for nothing in [
        json!({}),
        json!({"receiptMessage": {"when": 1}}),
        json!({"typingMessage": {"action": "STARTED"}}),
        json!({"storyMessage": {"allowsReplies": true}}),
        json!({"dataMessage": {"timestamp": 7, "message": null, "reaction": {"emoji": "x"}}}),
        json!({"dataMessage": {"timestamp": 7, "message": ""}}),
        sync("+492222", json!({})),
        json!({"syncMessage": {"readMessages": []}}),
        json!({"syncMessage": {"sentMessage": {"destinationNumber": "+492222", "destinationUuid": "u-2",
            "editMessage": {"targetSentTimestamp": 9, "dataMessage": {"timestamp": 10, "message": "better"}}}}}),
        json!({"syncMessage": {"sentMessage": {"destination": null, "destinationNumber": null}}}),
    ] {
        assert_eq!(event(&envelope(&nothing), ME), Heard::Nothing, "{nothing}");
    }
    for odd in [
        json!({"sourceNumber": null, "sourceUuid": null, "dataMessage": {"timestamp": 7, "message": "hi"}}),
        json!({"dataMessage": {"timestamp": -7, "message": "hi"}}),
        json!({"dataMessage": {"timestamp": 7, "message": "x".repeat(300_000)}}),
        json!({"dataMessage": {"timestamp": 7, "message": "hi", "groupInfo": {"groupId": ""}}}),
        json!({"syncMessage": {"sentMessage": {"destinationNumber": ME, "timestamp": "x", "message": "hi"}}}),
    ] {
        assert!(matches!(event(&envelope(&odd), ME), Heard::Odd(_)), "{odd}");
    }
    for odd in ["", "[]", "{}", "\u{fffc}"] {
        assert!(matches!(event(odd, ME), Heard::Odd(_)), "{odd}");
    }
}

#[test]
fn what_the_daemon_could_not_read_is_named() {
    let failed = json!({"message": "no session", "type": "ProtocolNoSessionException"});
    let of = |envelope: &Value| {
        event(&json!({"account": ME, "exception": failed, "envelope": envelope}).to_string(), ME)
    };
    for unread in [json!({"sourceUuid": "u-1", "timestamp": 7}), Value::Null] {
        assert!(matches!(of(&unread), Heard::Odd(why) if why.contains("could not read")), "{unread}");
    }
    let read = json!({"sourceNumber": "+491111", "dataMessage": {"timestamp": 7, "message": "hi"}});
    assert!(matches!(of(&read), Heard::Message(_)));
}

/// Versions of the daemon differ in what they leave out and what they write as `null`.
#[test]
fn a_file_that_is_odd_makes_no_message_so() {
    let all = json!([
        {"id": null, "contentType": "image/png", "filename": null, "size": null, "width": null},
        {"id": "a.png", "contentType": null, "filename": "x".repeat(500), "size": 3},
        {"id": "", "size": 3},
    ]);
    let data = json!({"timestamp": 7, "message": null, "mentions": null, "attachments": all});
    let found = message(&json!({"dataMessage": data}));
    let files: Vec<_> = found.attachments.iter().map(|file| (file.id.as_deref(), file.size)).collect();
    assert_eq!(files, [(None, None), (Some("a.png"), Some(3)), (None, Some(3))]);
    assert_eq!(found.attachments[1].filename.as_ref().map(String::len), Some(200));
    let none = json!({"timestamp": 7, "message": "hi", "mentions": null, "attachments": null});
    assert_eq!(message(&json!({"dataMessage": none})).text, "hi");
}

/// Places are counted in UTF-16 units.
#[test]
fn mentions_are_written_out_and_say_whom_a_message_is_for() {
    let data = json!({
        "timestamp": 7, "message": "😀 \u{fffc} and \u{fffc}, \u{fffc}",
        "mentions": [{"start": 3, "length": 1, "number": ME, "name": "Bot"}, {"start": 9, "length": 1, "uuid": "u-9"}],
        "quote": {"id": 1, "author": "+492222", "text": "before"},
    });
    let found = message(&json!({"dataMessage": data}));
    assert_eq!(found.text, "😀 @Bot and @u-9, \u{fffc}");
    assert_eq!(
        (found.addressed, found.quoted.as_deref()),
        (vec![ME.to_owned(), "u-9".to_owned(), "+492222".to_owned()], Some("before"))
    );
}

#[test]
fn what_the_daemon_says_of_a_message_is_what_becomes_of_it() {
    let results = |kind: &str| json!({"jsonrpc": "2.0", "id": "1", "result": {"timestamp": 5, "results": [{"type": kind, "retryAfterSeconds": 9}]}});
    let error = |code: i64| json!({"jsonrpc": "2.0", "id": "1", "error": {"code": code, "message": "no\nline", "data": null}});
    let limited = json!({"error": {"code": -5, "message": "x", "data": {"response": {"results": [{"retryAfterSeconds": 31}]}}}});
    let parse = |value: Value| sent(value.to_string().as_bytes());
    assert_eq!(parse(results("SUCCESS")), Ok(5));
    assert_eq!(parse(json!({"result": {"timestamp": 6}})), Ok(6));
    assert_eq!(parse(results("RATE_LIMIT_FAILURE")), Err(Refused::Slower(Some(Duration::from_secs(9)))));
    assert_eq!(parse(limited), Err(Refused::Slower(Some(Duration::from_secs(31)))));
    assert_eq!(parse(json!({"error": {"code": -5}})), Err(Refused::Slower(Some(Duration::from_secs(4)))));
    for never in [results("IDENTITY_FAILURE"), results("?"), error(-1), error(-4)] {
        let refused = parse(never).unwrap_err();
        assert!(matches!(&refused, Refused::Never(_)) && !refused.to_string().contains('\n'), "{refused}");
        assert!(matches!(outbound::unsent(&refused.into()), Unsent::Never { .. }));
    }
    let said = |text: &str| json!({"error": {"code": -1, "message": text}});
    for gone in [
        results("UNREGISTERED_FAILURE"),
        said("Unregistered user \"+49\""),
        said("User is not a group member"),
    ] {
        let unsent = outbound::unsent(&parse(gone).unwrap_err().into());
        assert!(matches!(unsent, Unsent::Never { gone: true, .. }), "{unsent}");
    }
    let out = said("User +491 is not registered.");
    for later in [results("NETWORK_FAILURE"), error(-3), error(-32_602), out] {
        let unsent = outbound::unsent(&parse(later).unwrap_err().into());
        assert!(matches!(unsent, Unsent::Later { unsure: false, .. }), "{unsent}");
    }
    for garbled in ["", "{}", "[]", r#"{"result": {"timestamp": "x"}}"#] {
        let refused = sent(garbled.as_bytes()).unwrap_err();
        assert_eq!(refused, Refused::Garbled, "{garbled}");
        assert!(matches!(outbound::unsent(&refused.into()), Unsent::Later { unsure: true, .. }));
    }
}

#[test]
fn every_failure_has_its_class_and_code() {
    let status = |what, status| Failure::Status { what, status, text: String::new() };
    for (failure, class, code) in [
        (status("check", 401), Class::Fatal, "signal_invalid_auth"),
        (status("events", 400), Class::Retrying, "signal_account_unknown"),
        (status("check", 503), Class::Retrying, "signal_network_error"),
        (Failure::Unsent("x".into()), Class::Retrying, "signal_network_error"),
        (Failure::Lost("x".into()), Class::Retrying, "signal_network_error"),
        (Failure::Refused(Refused::Garbled), Class::Retrying, "signal_network_error"),
    ] {
        let text = failure.to_string();
        let down = down(failure);
        assert_eq!((down.class, down.code.as_str()), (class, code), "{text}");
    }
}
