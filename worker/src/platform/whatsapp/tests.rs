//! What the bridge says, which messages are for the bot, what is joined, what failures are, and what the files say.

use std::time::Duration;

use hermes_config::access::{Listed, Policy};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::down;
use super::gate::{Gate, Passed, words};
use super::gather::Gather;
use super::outbound::unsent;
use super::service::Failure;
use super::settings::{Groups, Mode, NAME, Settings};
use super::wire::{Heard, Item, Printed, health, messages, printed, sent};
use crate::delivery::outbound::Unsent;
use crate::platform::Class;
use crate::platform::harness;
use crate::platform::sent::Echoes;
use crate::platform::settings::Quotes;

/// What the files say of it, and what is said of them.
fn read(yaml: &str, env: &str) -> (Settings, Vec<String>, hermes_config::ProfileConfig) {
    let yaml = format!("platforms:\n  whatsapp: {{{yaml}}}\n");
    let (config, problems) = harness::read(&yaml, &format!("WHATSAPP_ENABLED=true\n{env}"));
    let config = config.unwrap();
    let codes = problems.into_iter().map(|problem| problem.code).collect();
    (config.settings.of::<Settings>(NAME).unwrap().clone(), codes, config)
}

fn bot(env: &str) -> Settings {
    read("", &format!("WHATSAPP_MODE=bot\n{env}")).0
}

fn item(fields: &Value) -> Item {
    let mut message = json!({
        "messageId": "A1", "chatId": "4911111@s.whatsapp.net", "senderId": "4911111@s.whatsapp.net", "body": "hello",
        "botIds": ["4999999@s.whatsapp.net", "77777@lid"], "timestamp": 100,
    });
    for (key, value) in fields.as_object().unwrap() {
        message[key] = value.clone();
    }
    match messages(json!([message]).to_string().as_bytes()).unwrap().pop().unwrap() {
        Heard::Message(item) => *item,
        odd @ Heard::Odd(..) => panic!("{odd:?}"),
    }
}

#[test]
fn defaults_are_0_19_0_s() {
    let (settings, problems, config) = read("", "");
    assert_eq!(problems, [""; 0]);
    assert_eq!((settings.mode, settings.port, settings.groups.clone()), (Mode::SelfChat, 0, Groups::None));
    assert_eq!(settings.prefix, "⚕ *Hermes Agent*\n────────────\n");
    assert_eq!(
        (settings.chunk_delay, settings.send_timeout),
        (Duration::from_millis(300), Duration::from_secs(60))
    );
    assert_eq!((settings.quotes, settings.typing, settings.fault), (Quotes::First, true, None));
    let access = &config.access[NAME];
    assert_eq!((access.dm_policy, access.group_policy), (Some(Policy::Pairing), Some(Policy::Pairing)));
    let claims: Vec<_> =
        config.claims.iter().map(|claim| (claim.scope.as_str(), claim.identity.expose())).collect();
    assert_eq!(claims, [("whatsapp-session", "/r/platforms/whatsapp/session")]);
}

#[test]
fn variables_win_and_what_cannot_be_is_said() {
    let (settings, problems, config) = read(
        "mode: self-chat, bridge_port: 3001, session_path: /srv/wa, reply_to_mode: all, reply_prefix: '>\\n'",
        "WHATSAPP_MODE=Bot\nWHATSAPP_GROUP_POLICY=allowlist\nWHATSAPP_GROUP_ALLOWED_USERS=1@g.us\nWHATSAPP_MENTION_PATTERNS=^a,(\n",
    );
    assert_eq!((settings.mode, settings.prefix.as_str(), settings.quotes), (Mode::Bot, "", Quotes::All));
    assert_eq!(settings.groups, Groups::Listed(Listed::from_iter(["1@g.us"])));
    assert_eq!(settings.mention_patterns, ["^a"]);
    assert_eq!(problems, ["mention_pattern"]);
    let mut claims: Vec<_> = config.claims.iter().map(|claim| claim.identity.expose().to_owned()).collect();
    claims.sort();
    assert_eq!(claims, ["/srv/wa", "port:3001"]);
    assert_eq!(read("reply_prefix: '>\\n'", "").0.prefix, ">\n");
    assert_eq!(read("reply_prefix: ''", "").0.prefix, "");
    assert_eq!(read("", "WHATSAPP_MODE=both\n").1, ["wrong_type"]);
    assert_eq!(read("", "WHATSAPP_GROUP_ALLOWED_USERS=1@g.us\n").1, ["group_policy"]);
    for far in ["http://example.org", "ftp://127.0.0.1", "nonsense"] {
        let (settings, problems, _) = read("", &format!("WHATSAPP_BRIDGE_URL={far}\n"));
        assert_eq!(
            settings.fault.map(|fault| fault.code).as_deref(),
            Some("whatsapp_config_missing"),
            "{far}"
        );
        assert!(problems.contains(&"whatsapp_config_missing".to_owned()), "{problems:?}");
    }
    assert!(read("", "WHATSAPP_BRIDGE_URL=http://127.0.0.1:3000\n").0.url.is_some());
}

#[test]
fn messages_are_parsed_once_and_odd_ones_are_named() {
    let many: Vec<String> = (0..65).map(|n| format!("{n}@lid")).collect();
    for (fields, why) in [
        (json!({"messageId": ""}), "it has no name, or no chat"),
        (json!({"chatId": null}), "it has no name, or no chat"),
        (json!({"chatId": "1@g.us", "senderId": ""}), "nobody has sent it"),
        (json!({"senderId": "x\ny"}), "an id of it is none"),
        (json!({"senderId": "x".repeat(257)}), "an id of it is none"),
        (json!({"mentionedIds": many}), "too much comes with it"),
        (json!({"body": " \n"}), "it says nothing"),
        (json!({"body": "x".repeat(600_000)}), "its text is too long"),
        (json!({"body": 7}), "it is no message"),
    ] {
        let mut message = json!({"seq": 9, "messageId": "A", "chatId": "1@s.whatsapp.net", "senderId": "1@s.whatsapp.net", "body": "x"});
        for (key, value) in fields.as_object().unwrap() {
            message[key] = value.clone();
        }
        assert_eq!(
            messages(json!([message]).to_string().as_bytes()),
            Some(vec![Heard::Odd(9, why)]),
            "{fields}"
        );
    }
    for none in ["", "{}", "null", "\"x\"", "[1"] {
        assert_eq!(messages(none.as_bytes()), None, "{none}");
    }
    // JavaScript writes half a letter so; what came beside it is read, and it is never asked for again.
    let half = r#"[{"seq": 1, "messageId": "A", "chatId": "1@s.whatsapp.net", "body": "hi \ud83e", "senderName": "\udd80"},
        {"seq": 2, "messageId": "B", "chatId": "1@s.whatsapp.net", "body": "ho"}]"#;
    let texts: Vec<String> = messages(half.as_bytes())
        .unwrap()
        .into_iter()
        .map(|heard| match heard {
            Heard::Message(item) => item.text,
            odd @ Heard::Odd(..) => panic!("{odd:?}"),
        })
        .collect();
    assert_eq!(texts, ["hi \u{fffd}", "ho"]);
    let found = item(
        &json!({"seq": 3, "chatId": "1@g.us", "senderName": "A\u{7}nn", "body": "", "hasMedia": true, "mediaUrls": ["/x"], "timestamp": "17"}),
    );
    assert!(found.in_group && found.seq == 3 && found.timestamp == 17 && found.media_type == "document");
    assert_eq!((found.sender_name.as_deref(), found.paths), (Some("Ann"), vec!["/x".to_owned()]));
    assert!(health(br#"{"status": "connected"}"#).unwrap().is_connected());
    assert!(health(b"{}").is_none() && health(b"<html>").is_none());
    assert_eq!(sent(br#"{"success": true, "messageId": "B"}"#), Some(Ok(Some("B".to_owned()))));
    for refused in [r#"{"success": false, "error": "no\nway"}"#, r#"{"error": "no\nway"}"#] {
        assert_eq!(sent(refused.as_bytes()), Some(Err("noway".to_owned())));
    }
    for nobody in ["x", "\"<html>\"", "{}", r#"{"success": "yes"}"#] {
        assert_eq!(sent(nobody.as_bytes()), None, "{nobody}");
    }
}

#[test]
fn what_the_bridge_prints_is_an_event_or_a_text() {
    for (line, is) in [
        (r#"{"event": "listening", "port": 7}"#, Printed::Listening(7)),
        (r#"{"event": "logged_out", "reason": "x"}"#, Printed::LoggedOut("x".to_owned())),
        (r#"{"event": "replaced"}"#, Printed::Replaced),
        (r#"{"event": "not_paired"}"#, Printed::NotPaired),
        (r#"{"event": "port_in_use", "port": 7}"#, Printed::PortInUse),
        (r#"{"event": "log", "text": "a\u0007b"}"#, Printed::Text("ab".to_owned())),
        ("bridge listening on 7", Printed::Text("bridge listening on 7".to_owned())),
    ] {
        assert_eq!(printed(line), is, "{line}");
    }
    assert!(matches!(printed(r#"{"event": "listening", "port": 700000}"#), Printed::Text(_)));
}

#[test]
fn a_self_chat_is_for_the_owner_alone() {
    let settings = read("", "").0;
    let sent = Echoes::default();
    let gate = Gate::new(&settings, &sent);
    let own =
        json!({"chatId": "4999999:2@s.whatsapp.net", "senderId": "4999999@s.whatsapp.net", "fromMe": true});
    assert_eq!(gate.judge(&item(&own)), Ok(()));
    assert_eq!(gate.judge(&item(&json!({"chatId": "77777@lid", "senderId": "77777@lid"}))), Ok(()));
    assert_eq!(gate.judge(&item(&json!({}))), Err(Passed::Others));
    assert_eq!(gate.judge(&item(&json!({"chatId": "1@g.us"}))), Err(Passed::Others));
    assert_eq!(gate.judge(&item(&json!({"botIds": []}))), Ok(()), "an older bridge has judged that");
    let mut echo = item(&own);
    echo.text = format!("{}an answer", settings.prefix);
    assert_eq!(gate.judge(&echo), Err(Passed::Own));
    sent.remember("SENT-1".to_owned());
    let mut known = item(&own);
    known.id = "SENT-1".to_owned();
    assert_eq!(gate.judge(&known), Err(Passed::Own));
}

#[test]
fn groups_have_0_19_0_s_order() {
    let group = |more: Value| {
        let mut fields = json!({"chatId": "1@g.us", "senderId": "4911111@s.whatsapp.net"});
        for (key, value) in more.as_object().unwrap() {
            fields[key] = value.clone();
        }
        item(&fields)
    };
    let judge = |env: &str, item: &Item| Gate::new(&bot(env), &Echoes::default()).judge(item);
    assert_eq!(judge("", &group(json!({}))), Err(Passed::Group));
    assert_eq!(judge("WHATSAPP_GROUP_POLICY=disabled\n", &group(json!({}))), Err(Passed::Group));
    let listed = "WHATSAPP_GROUP_POLICY=allowlist\nWHATSAPP_GROUP_ALLOWED_USERS=1@g.us,2\n";
    assert_eq!(judge(listed, &group(json!({}))), Ok(()));
    assert_eq!(judge(listed, &group(json!({"chatId": "2@g.us"}))), Ok(()));
    assert_eq!(judge(listed, &group(json!({"chatId": "3@g.us"}))), Err(Passed::Group));
    let wants = format!(
        "{listed}WHATSAPP_REQUIRE_MENTION=true\nWHATSAPP_FREE_RESPONSE_CHATS=2@g.us\nWHATSAPP_MENTION_PATTERNS=^robot\n"
    );
    assert_eq!(judge(&wants, &group(json!({}))), Err(Passed::Unmentioned));
    for heard in [
        json!({"chatId": "2@g.us"}),
        json!({"body": "/status"}),
        json!({"quotedParticipant": "77777:3@lid"}),
        json!({"mentionedIds": ["4999999@s.whatsapp.net"]}),
        json!({"body": "hey @4999999, you"}),
        json!({"body": "ROBOT?"}),
    ] {
        assert_eq!(judge(&wants, &group(heard.clone())), Ok(()), "{heard}");
    }
    assert_eq!(judge(&wants, &group(json!({"body": "@49999990 is another one"}))), Err(Passed::Unmentioned));
    assert_eq!(judge("", &item(&json!({"fromOwner": true}))), Err(Passed::Owner));
    assert_eq!(judge("WHATSAPP_FORWARD_OWNER_MESSAGES=true\n", &item(&json!({"fromOwner": true}))), Ok(()));
    assert_eq!(judge("", &item(&json!({"chatId": "status@broadcast"}))), Err(Passed::Broadcast));
}

#[test]
fn the_bots_own_number_is_no_part_of_what_is_said() {
    for (text, said) in [
        ("@4999999 hello", "hello"),
        ("hello @77777, you", "hello you"),
        ("@4999999", "@4999999"),
        ("@49999990 hello", "@49999990 hello"),
    ] {
        assert_eq!(words(&item(&json!({"body": text}))), said, "{text}");
    }
}

#[test]
fn only_parts_of_a_very_long_text_are_waited_for() {
    let now = Instant::now();
    let mut gather = Gather::default();
    let ids = |all: Vec<super::gather::Held>| -> Vec<String> {
        let joined = all.into_iter().map(super::gather::Held::joined);
        joined
            .map(|(item, also)| std::iter::once(item.id).chain(also).collect::<Vec<_>>().join("+"))
            .collect()
    };
    let one = |id: &str, text: &str, from: &str| {
        item(&json!({"messageId": id, "body": text, "chatId": from, "senderId": from}))
    };
    let (ann, bob) = ("1@s.whatsapp.net", "2@s.whatsapp.net");
    let long = "x".repeat(6000);
    for (id, text, from, complete) in [
        ("a", "short", ann, vec!["a"]),
        ("b", &long, ann, vec![]),
        ("c", "other", bob, vec!["c"]),
        ("d", "rest", ann, vec!["b+d"]),
        ("e", &long, ann, vec![]),
        ("f", "/stop", ann, vec!["e", "f"]),
        ("g", &long, ann, vec![]),
    ] {
        assert_eq!(ids(gather.take(one(id, text, from), now)), complete, "{id}");
    }
    assert_eq!(gather.next(), Some(now + Duration::from_secs(1)));
    assert_eq!(ids(gather.due(now + Duration::from_secs(1))), ["g"]);
    assert!(gather.next().is_none() && gather.all().is_empty());
}

#[test]
fn every_failure_has_its_class_and_what_it_means_for_a_message() {
    let status = |status| Failure::Status { what: "send", status, text: String::new(), after: None };
    for (failure, class, code) in [
        (status(401), Class::Fatal, "whatsapp_invalid_auth"),
        (status(503), Class::Retrying, "whatsapp_network_error"),
        (status(404), Class::Retrying, "whatsapp_network_error"),
        (Failure::Lost("x".into()), Class::Retrying, "whatsapp_network_error"),
        (Failure::Garbled("health"), Class::Retrying, "whatsapp_network_error"),
        (Failure::Unusable("x".into()), Class::Fatal, "whatsapp_client"),
    ] {
        let down = down(&failure);
        assert_eq!((down.class, down.code.as_str()), (class, code));
    }
    let is_unsure = |failure: &Failure| match unsent(failure) {
        Unsent::Later { unsure, .. } => Some(unsure),
        Unsent::Never { .. } => None,
    };
    for sure in
        [status(503), status(429), status(401), Failure::Unsent("x".into()), Failure::Refused("x".into())]
    {
        assert_eq!(is_unsure(&sure), Some(false), "{sure}");
    }
    for unsure in [status(500), status(502), status(504), Failure::Lost("x".into()), Failure::Garbled("send")]
    {
        assert_eq!(is_unsure(&unsure), Some(true), "{unsure}");
    }
    for never in [status(400), status(404), status(413), status(409)] {
        assert_eq!(is_unsure(&never), None, "{never}");
    }
    assert!(matches!(unsent(&status(409)), Unsent::Never { gone: true, .. }));
    assert!(matches!(unsent(&status(400)), Unsent::Never { gone: false, .. }));
}
