//! What a chat service says: any bytes are updates in ascending order, each once and of a sane size, ids of those that are odd, or an error that shows none of them.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../../worker/src/platform/testchat/wire.rs"]
mod wire;

fuzz_target!(|data: &[u8]| {
    if let Ok(updates) = wire::updates(data) {
        let sound = &updates.sound;
        assert!(sound.windows(2).all(|pair| pair[0].id < pair[1].id));
        assert!(sound.iter().all(|update| !update.chat.is_empty() && Some(update.id) < updates.next));
        assert!(
            updates
                .odd
                .iter()
                .all(|id| sound.iter().all(|update| update.id != *id) && Some(*id) < updates.next)
        );
    }
    if let Ok(id) = wire::sent(data) {
        assert!(!id.is_empty());
    }
});
