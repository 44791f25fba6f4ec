//! What is read of the Bot API's answers, and what is not.

use serde_json::json;

use super::*;

#[test]
fn updates_are_in_order_each_once_and_an_odd_one_spoils_no_other() {
    let message = |id: i64, text: &str| json!({"update_id": id, "message": {"message_id": 1, "chat": {"id": 7, "type": "private"}, "text": text}});
    let all = updates(vec![
        message(9, "b"),
        json!({"update_id": 8, "message": {"chat": {}}}),
        json!({"update_id": 7, "poll": {}}),
        message(9, "b"),
        json!({"message": {}}),
        json!({"update_id": i64::MAX, "poll": {}}),
        message(6, &"x".repeat(TEXT + 1)),
        json!(3),
    ]);
    let kinds: Vec<(i64, bool, bool)> =
        all.iter().map(|update| (update.id, update.what == What::Odd, update.what == What::Other)).collect();
    assert_eq!(kinds, [(6, true, false), (7, false, true), (8, true, false), (9, false, false)]);
}

#[test]
fn an_error_is_read_with_what_it_asks_for_and_what_is_between_is_none_of_its_own() {
    let read = |status, body: &str| answer::<Value>("x", status, body.as_bytes());
    let flood = r#"{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 7","parameters":{"retry_after":7}}"#;
    let refusal = read(429, flood).unwrap().unwrap_err();
    assert_eq!((refusal.status, refusal.retry_after, refusal.is_own), (429, Some(7), true));
    let moved = r#"{"ok":false,"error_code":400,"description":"Bad Request: group chat was upgraded","parameters":{"migrate_to_chat_id":-1001}}"#;
    assert_eq!(read(400, moved).unwrap().unwrap_err().migrated_to, Some(-1001));
    for (asked, wait) in [("\"7\"", Some(7)), ("0.5", Some(1)), ("null", None), ("{}", None), ("-1", None)] {
        let flood = format!(r#"{{"ok":false,"error_code":429,"parameters":{{"retry_after":{asked}}}}}"#);
        let refusal = read(429, &flood).unwrap().unwrap_err();
        assert_eq!((refusal.retry_after, refusal.is_own), (wait, true), "{asked}");
    }
    let between = read(502, "<html>bad gateway</html>").unwrap().unwrap_err();
    assert_eq!((between.status, between.is_own, between.description.as_str()), (502, false, ""));
    assert_eq!(read(200, "<html>"), Err(WireError::Shape("x")));
    assert_eq!(read(200, r#"{"ok":true,"result":3}"#).unwrap().unwrap(), json!(3));
    assert!(answer::<Me>("x", 200, br#"{"ok":true,"result":3}"#).is_err());
}

/// One update that nobody could have written so stands in no other's way, and in its own only where it says nothing.
#[test]
fn nulls_and_halves_of_characters_spoil_nothing() {
    let text = r#"{"ok": true, "result": [
        {"update_id": 5, "message": null, "channel_post": {"message_id": 1, "chat": {"id": -7, "type": "channel"}, "text": "a"}},
        {"update_id": 6, "message": {"message_id": 2, "chat": {"id": 7, "type": "private", "title": null}, "from": {"id": 7, "last_name": null},
            "text": "half \ud83e", "entities": null, "photo": null, "is_topic_message": null, "reply_to_message": null}}]}"#;
    let all = updates(answer::<Vec<Value>>("getUpdates", 200, text.as_bytes()).unwrap().unwrap());
    let texts: Vec<&str> = all
        .iter()
        .map(|update| match &update.what {
            What::Message(message) => message.said().0,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(texts, ["a", "half \u{fffd}"]);
}

#[test]
fn what_began_a_topic_is_answered_by_nobody() {
    let of = |more: Value| {
        let mut message = json!({"message_id": 12, "chat": {"id": -7, "type": "supergroup", "is_forum": true},
            "message_thread_id": 9, "is_topic_message": true});
        message["reply_to_message"] = more;
        serde_json::from_value::<Message>(message).unwrap().answered().map(|to| to.message_id)
    };
    let chat = json!({"id": -7, "type": "supergroup"});
    let began = json!({"message_id": 9, "chat": chat, "forum_topic_created": {"name": "Work", "icon_color": 7_322_096}});
    assert_eq!(of(began), None);
    assert_eq!(of(json!({"message_id": 10, "chat": chat})), Some(10));
    assert_eq!(of(Value::Null), None);
}

#[test]
fn parts_of_texts_are_counted_in_utf16_units() {
    let message = |text: &str| Message { text: Some(text.to_owned()), ..Message::default() };
    let part = |text: &str, offset, length| {
        let entity = Entity { kind: String::new(), offset, length, user: None };
        message(text).part(&entity).map(str::to_owned)
    };
    assert_eq!(part("😀 @bot hi", 3, 4).as_deref(), Some("@bot"));
    assert_eq!(part("ä@bot", 1, 4).as_deref(), Some("@bot"));
    assert_eq!(part("😀", 1, 1), None, "half a character");
    assert_eq!(part("abc", 2, 9), None);
    assert_eq!(part("abc", usize::MAX, 2), None);
}
