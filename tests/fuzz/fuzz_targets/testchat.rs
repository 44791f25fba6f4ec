//! What a chat service says: any bytes are updates in ascending order, each once and of a sane size, or an error that shows none of them.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../../worker/src/platform/testchat/wire.rs"]
mod wire;

fuzz_target!(|data: &[u8]| {
    if let Ok(updates) = wire::updates(data) {
        assert!(updates.windows(2).all(|pair| pair[0].id < pair[1].id));
        assert!(updates.iter().all(|update| !update.chat.is_empty() && update.id.checked_add(1).is_some()));
    }
    if let Ok(id) = wire::sent(data) {
        assert!(!id.is_empty());
    }
});
