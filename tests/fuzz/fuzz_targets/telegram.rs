//! What the Bot API says, polled or brought by itself: any bytes are updates in ascending order, each once, with parts that lie in their
//! texts, or an error that shows none of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use wire::{Message, Update, What};

#[allow(dead_code)]
#[path = "../../../worker/src/json.rs"]
mod json;
#[allow(dead_code)]
#[path = "../../../worker/src/platform/telegram/wire.rs"]
mod wire;

fn look(message: &Message, depth: u8) {
    let (text, entities) = message.said();
    for entity in entities {
        let (span, part) = (message.span(entity), message.part(entity));
        assert_eq!(span.is_some(), part.is_some());
        assert!(span.is_none_or(|span| span.end <= text.len()));
        assert!(part.is_none_or(|part| part.encode_utf16().count() == entity.length));
    }
    if let Some(origin) = &message.forward_origin {
        assert!(origin.name().is_none_or(|name| !name.is_empty()));
    }
    if let (Some(to), true) = (&message.reply_to_message, depth < 8) {
        look(to, depth + 1);
    }
}

fn see(update: &Update) {
    assert!((0..i64::MAX).contains(&update.id));
    match &update.what {
        What::Message(message) => {
            assert!(message.chat.id != 0);
            look(message, 0);
            // What is held is written down, and is the same when it is read again.
            let text = serde_json::to_string(message).expect("it came from JSON");
            let again: Message = serde_json::from_str(&text).expect("it was written here");
            assert_eq!((again.message_id, again.said()), (message.message_id, message.said()));
        }
        What::Press(_) | What::Other | What::Odd => {}
    }
}

fuzz_target!(|data: &[u8]| {
    if let Ok(update) = wire::brought(data) {
        see(&update);
    }
    for status in [200, 429, 502] {
        match wire::answer::<Vec<Value>>("getUpdates", status, data) {
            Ok(Ok(all)) => {
                let updates = wire::updates(all);
                assert!(updates.windows(2).all(|pair| pair[0].id < pair[1].id));
                updates.iter().for_each(see);
            }
            Ok(Err(refusal)) => {
                assert!(refusal.description.chars().count() <= 300);
                assert!(!refusal.description.contains(char::is_control));
                let _ = refusal.says("webhook");
            }
            Err(error) => assert!(error.to_string().len() < 100),
        }
    }
    let _ = wire::answer::<wire::Me>("getMe", 200, data);
    if let Ok(Ok(info)) = wire::answer::<wire::WebhookInfo>("getWebhookInfo", 200, data) {
        assert!(info.error().chars().count() <= 300);
    }
    if let Ok(all) = serde_json::from_slice::<Vec<Value>>(data) {
        wire::updates(all).iter().for_each(see);
    }
});
