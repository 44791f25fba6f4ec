//! What a bridge of WhatsApp says: any bytes are messages of a sane size, each with a name, a chat and a sender, or none; and any line that it prints
//! is something short.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../../worker/src/json.rs"]
mod json;
#[allow(dead_code)]
#[path = "../../../worker/src/platform/whatsapp/wire.rs"]
mod wire;

fuzz_target!(|data: &[u8]| {
    for heard in wire::messages(data).unwrap_or_default() {
        if let wire::Heard::Message(item) = heard {
            assert!(!item.id.is_empty() && !item.chat.is_empty() && !item.sender.is_empty());
            assert!(!item.text.trim().is_empty() || !item.media_type.is_empty());
            assert!(item.paths.len() <= 64 && item.own.len() <= 64 && item.mentioned.len() <= 64);
        }
    }
    if let Some(health) = wire::health(data) {
        assert!(!health.status.is_empty() && health.status.len() <= 240);
    }
    if let Some(Ok(Some(id))) = wire::sent(data) {
        assert!(!id.is_empty());
    }
    assert!(wire::error(data).chars().count() <= 200);
    if let wire::Printed::Text(text) = wire::printed(&String::from_utf8_lossy(data)) {
        assert!(text.chars().count() <= 500);
    }
});
