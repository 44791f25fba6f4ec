//! What files say of the account, and what a homeserver may say.

use hermes_wire::latest::Problem;
use serde_json::{Value, json};

use super::settings::Homeserver;
use super::wire::{self, Membership, Refusal, What};
use super::*;
use crate::platform::harness::{self, codes};

const ME: &str = "@bot:hs.org";

/// What these files say of the platform, and what is wrong with them.
fn read(section: &str, env: &str) -> (Option<Settings>, Vec<Problem>) {
    harness::found(NAME, section, env)
}

/// The settings of an account with more in its section.
pub(super) fn settings(extra: &str) -> Settings {
    let section = format!(
        "platforms: {{matrix: {{enabled: true, token: syt_x, homeserver: 'http://127.0.0.1:9', {extra}}}}}\n"
    );
    let (settings, problems) = read(&section, "");
    settings.unwrap_or_else(|| panic!("{problems:?}"))
}

#[test]
fn a_homeserver_and_a_token_are_enough_and_variables_beat_the_file() {
    let env = "MATRIX_HOMESERVER=https://hs.org\nMATRIX_ACCESS_TOKEN=syt_x\n";
    let (read_settings, problems) = read("", env);
    let settings = read_settings.unwrap();
    assert_eq!((codes(&problems), &settings.fault), (vec![], &None));
    assert!(
        settings.require_mention && settings.auto_thread && settings.reactions && settings.approval_by_sender
    );
    assert!(
        !settings.dm_auto_thread && !settings.notices && !settings.room_mentions && !settings.public_rooms
    );
    assert_eq!((settings.longest, settings.largest), (16_000, 104_857_600));
    assert!(!format!("{settings:?}").contains("syt_x"));
    let section = "platforms: {matrix: {require_mention: true, extra: {max_message_length: 65535}}}\n";
    let (settings, problems) =
        read(section, &format!("{env}MATRIX_REQUIRE_MENTION=false\nMATRIX_ALLOWED_ROOMS=!a:b, !c:d\n"));
    let settings = settings.unwrap();
    assert_eq!(codes(&problems), [""; 0]);
    assert!(
        !settings.require_mention
            && settings.allowed_rooms.holds("!c:d")
            && !settings.allowed_rooms.holds("!e:f")
    );
    assert_eq!(settings.longest, 30_000);
}

#[test]
fn a_homeserver_is_an_address_or_what_a_server_says() {
    let of = |env: &str| read("", &format!("MATRIX_ACCESS_TOKEN=x\n{env}")).0.unwrap().homeserver;
    let server = |name: &str| Homeserver::Of(name.to_owned());
    assert_eq!(of("MATRIX_HOMESERVER=hs.org:8448\n"), server("hs.org:8448"));
    assert_eq!(of("MATRIX_USER_ID=@bot:hs.org\n"), server("hs.org"));
    assert_eq!(of("MATRIX_USER_ID=@bot:hs.org\nMATRIX_HOMESERVER=other.org\n"), server("other.org"));
    assert!(matches!(of("MATRIX_HOMESERVER=https://hs.org\n"), Homeserver::At(_)));
}

#[test]
fn what_is_in_the_way_is_said() {
    let fault = |env: &str| {
        let (settings, problems) = read("", env);
        let fault = settings.and_then(|settings| settings.fault).map(|fault| fault.code).unwrap_or_default();
        (fault, problems.len())
    };
    let is = |code: &str, n| (code.to_owned(), n);
    let hs = "MATRIX_HOMESERVER=https://hs.org\n";
    assert_eq!(fault("MATRIX_ACCESS_TOKEN=x\n"), is("matrix_config_missing", 1));
    assert_eq!(fault("MATRIX_HOMESERVER=http://hs.org\nMATRIX_ACCESS_TOKEN=x\n"), is("matrix_base_url", 1));
    assert_eq!(fault("MATRIX_HOMESERVER=hs.org/x\nMATRIX_ACCESS_TOKEN=x\n"), is("matrix_base_url", 1));
    assert_eq!(fault("MATRIX_HOMESERVER=hs.org\nMATRIX_ACCESS_TOKEN=x\n"), is("", 0));
    assert_eq!(fault("MATRIX_USER_ID=@bot:hs.org\nMATRIX_PASSWORD=x\n"), is("", 0));
    assert_eq!(fault(&format!("{hs}MATRIX_PASSWORD=x\n")), is("matrix_config_missing", 1));
    assert_eq!(
        fault(&format!("{hs}MATRIX_PASSWORD=x\nMATRIX_USER_ID=bot\n")),
        is("matrix_config_missing", 1)
    );
    assert_eq!(fault(&format!("{hs}MATRIX_ACCESS_TOKEN=a b\n")), is("matrix_invalid_auth", 1));
    assert_eq!(
        fault(&format!("{hs}MATRIX_ACCESS_TOKEN=x\nMATRIX_E2EE_MODE=required\n")),
        is("matrix_e2ee_unavailable", 1)
    );
    assert_eq!(
        fault(&format!("{hs}MATRIX_ACCESS_TOKEN=x\nMATRIX_ENCRYPTION=true\n")),
        is("matrix_e2ee_unavailable", 1)
    );
    assert_eq!(
        fault(&format!("{hs}MATRIX_ACCESS_TOKEN=x\nMATRIX_E2EE_MODE=off\nMATRIX_ENCRYPTION=true\n")),
        is("", 0)
    );
    assert_eq!(fault(&format!("{hs}MATRIX_ACCESS_TOKEN=x\nMATRIX_E2EE_MODE=optional\n")), is("", 1));
    assert_eq!(fault(&format!("{hs}MATRIX_ACCESS_TOKEN=x\nMATRIX_RECOVERY_KEY=y\n")), is("", 1));
    assert_eq!(fault(&format!("{hs}MATRIX_PASSWORD=x\nMATRIX_USER_ID=@bot:hs.org\n")), is("", 0));
}

fn event(kind: &str, content: &Value) -> Value {
    json!({"event_id": "$e", "sender": "@ann:hs.org", "type": kind, "content": content, "state_key": ME, "origin_server_ts": 1})
}

fn said(content: &Value) -> wire::Said {
    match wire::event(&event("m.room.message", content)).unwrap().what {
        What::Message(said) => *said,
        what => panic!("{what:?}"),
    }
}

#[test]
fn a_sync_is_read_and_what_is_odd_in_it_hides_nothing() {
    let batch = json!({
        "next_batch": "s1", "device_lists": {"changed": []},
        "account_data": {"events": [{"type": "m.direct", "content": {"@ann:hs.org": ["!a:hs.org", 7, "x"], "odd": 1}}]},
        "rooms": {
            "join": {
                "!a:hs.org": {
                    "timeline": {"limited": true, "prev_batch": "p1", "events": [
                        {"type": "m.room.message"}, 7, null,
                        event("m.room.message", &json!({"msgtype": "m.text", "body": "hi"})),
                        event("m.room.message", &json!({})),
                        event("m.room.member", &json!({"membership": "join", "displayname": "Bot\n"})),
                    ]},
                    "state": {"events": [event("m.room.name", &json!({"name": "x"}))]},
                },
                "no room": {},
            },
            "invite": {"!b:hs.org": {"invite_state": {"events": [
                {"type": "m.room.member", "state_key": "@BOT:hs.org", "sender": "@ann:hs.org", "content": {"membership": "invite", "is_direct": true}},
                {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "public"}},
            ]}}},
            "leave": {"!c:hs.org": {"timeline": {}}},
        },
    });
    let batch = wire::sync(batch.to_string().as_bytes(), ME).unwrap();
    let news = &batch.joined["!a:hs.org"];
    assert_eq!(
        (batch.next.as_str(), batch.odd, news.odd, news.events.len(), news.state.len()),
        ("s1", 1, 3, 3, 1)
    );
    assert_eq!(news.gap.as_deref(), Some("p1"));
    assert_eq!(news.events[1].what, What::Other, "taken back");
    let What::Member { is: Membership::Joined, was: None, name: Some(name), .. } = &news.events[2].what
    else {
        panic!()
    };
    assert_eq!(name, "Bot");
    let invite = &batch.invites[0];
    assert_eq!(
        (invite.from.as_deref(), invite.is_direct, invite.is_public),
        (Some("@ann:hs.org"), true, true)
    );
    assert_eq!((batch.left.len(), batch.direct.unwrap()), (1, vec!["!a:hs.org".to_owned()]));
    for garbled in ["", "{}", "[]", r#"{"next_batch": ""}"#, r#"{"next_batch": "s", "rooms": 7}"#] {
        assert!(wire::sync(garbled.as_bytes(), ME).is_err(), "{garbled}");
    }
    assert!(wire::sync(br#"{"next_batch": "s"}"#, ME).unwrap().is_empty());
}

/// One server writes `null` for what another one leaves out, and people write half letters.
#[test]
fn what_there_is_none_of_hides_nothing() {
    let message = event("m.room.message", &json!({"msgtype": "m.text", "body": "hi HALF"}));
    let batch = json!({
        "next_batch": "s1", "account_data": null,
        "rooms": {
            "invite": null, "leave": null,
            "join": {
                "!a:hs.org": {"timeline": {"limited": null, "prev_batch": null, "events": [message]}, "state": null},
                "!b:hs.org": {"timeline": null, "state": {"events": null}},
            },
        },
    });
    let batch = wire::sync(batch.to_string().replace("HALF", "\\ud83e").as_bytes(), ME).unwrap();
    let What::Message(said) = &batch.joined["!a:hs.org"].events[0].what else { panic!() };
    assert_eq!((said.text.as_str(), batch.joined.len()), ("hi \u{fffd}", 2));
    assert!(wire::sync(br#"{"next_batch": "s", "rooms": null}"#, ME).unwrap().is_empty());
}

#[test]
fn what_devices_say_to_each_other_is_for_nobody() {
    let request = json!({"msgtype": "m.key.verification.request", "to": ME, "from_device": "D", "methods": ["m.sas.v1"],
        "body": "@ann:hs.org is requesting to verify your key, but your client does not support in-chat key verification."});
    assert_eq!(wire::event(&event("m.room.message", &request)).unwrap().what, What::Other);
}

#[test]
fn messages_are_read_with_what_belongs_to_them() {
    let plain =
        said(&json!({"msgtype": "m.text", "body": "hi", "m.mentions": {"user_ids": [ME, 7, "nobody"]}}));
    assert_eq!((plain.text.as_str(), plain.mentions), ("hi", vec![ME.to_owned()]));
    let relation = json!({"rel_type": "m.thread", "event_id": "$t", "is_falling_back": true, "m.in_reply_to": {"event_id": "$r"}});
    let thread = said(&json!({"msgtype": "m.text", "body": "hi", "m.relates_to": relation}));
    assert_eq!((thread.thread.as_deref(), thread.reply_to), (Some("$t"), None));
    let body = "> <@bob:hs.org> before\n> and before\n\nyes";
    let reply = said(
        &json!({"msgtype": "m.text", "body": body, "m.relates_to": {"m.in_reply_to": {"event_id": "$r"}}}),
    );
    assert_eq!((reply.text.as_str(), reply.reply_to.as_deref()), ("yes", Some("$r")));
    let edit = said(
        &json!({"msgtype": "m.text", "body": "* hi", "m.relates_to": {"rel_type": "m.replace", "event_id": "$r"}}),
    );
    assert!(edit.is_replacement);
    assert!(said(&json!({"msgtype": "m.notice", "body": "x"})).is_notice);
}

#[test]
fn a_file_is_where_the_homeserver_has_it_or_nowhere() {
    let file = |content: Value| {
        let said = said(&content);
        let file = said.file.unwrap();
        (file.place, file.name, file.media_type, file.length, said.text)
    };
    let place = |server: &str| Some((server.to_owned(), "Ab_-1".to_owned()));
    let image = json!({"msgtype": "m.image", "body": "a.png", "url": "mxc://hs.org/Ab_-1", "info": {"mimetype": "image/png", "size": 7}});
    assert_eq!(file(image), (place("hs.org"), "a.png".into(), "image/png".into(), Some(7), String::new()));
    let captioned =
        json!({"msgtype": "m.file", "body": "look", "filename": "a.pdf", "url": "mxc://[::1]:8448/Ab_-1"});
    assert_eq!(
        file(captioned),
        (place("[::1]:8448"), "a.pdf".into(), "application/octet-stream".into(), None, "look".into())
    );
    for odd in [
        "",
        "https://hs.org/x",
        "mxc://hs.org",
        "mxc://hs.org/../x",
        "mxc://../x",
        "mxc://hs.org/a/b",
        "mxc://hs.org/a%2fb",
    ] {
        let (found, ..) = file(
            json!({"msgtype": "m.file", "body": "x", "url": odd, "info": {"mimetype": "no type", "size": -1}}),
        );
        assert_eq!(found, None, "{odd}");
    }
    let encrypted = json!({"msgtype": "m.file", "body": "x", "url": "mxc://hs.org/Ab_-1", "file": {"url": "mxc://hs.org/Ab_-1"}});
    assert_eq!(file(encrypted).0, None);
}

#[test]
fn a_refusal_is_one_short_line() {
    let body = json!({"errcode": "M_LIMIT_EXCEEDED", "error": "slow\ndown", "retry_after_ms": 1500});
    let refusal = wire::refusal(429, body.to_string().as_bytes());
    assert_eq!((refusal.text.as_str(), refusal.retry_after.unwrap().as_millis()), ("slowdown", 1500));
    assert_eq!(wire::refusal(502, b"<html>"), Refusal { status: 502, ..Refusal::default() });
    let soft = json!({"errcode": "M_UNKNOWN_TOKEN", "error": "x", "soft_logout": true});
    let soft = wire::refusal(401, soft.to_string().as_bytes());
    assert!(soft.soft_logout && soft.is_of_token());
    let huge = json!({"errcode": "M_X", "retry_after_ms": u64::MAX});
    assert_eq!(wire::refusal(429, huge.to_string().as_bytes()).retry_after.unwrap().as_secs(), 3600);
}
