//! What signal-cli's daemon says: any text is a message of a sane size from somebody, nothing, or a reason that is no part of it; any bytes
//! are an answer to a call or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::{Heard, Refused};

#[allow(dead_code)]
#[path = "../../../worker/src/json.rs"]
mod json;
#[allow(dead_code)]
#[path = "../../../worker/src/platform/signal/wire.rs"]
mod wire;

const ACCOUNT: &str = "+4930901820";

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        match wire::event(text, ACCOUNT) {
            Heard::Message(incoming) => {
                assert!(incoming.sender().is_some_and(|sender| !sender.is_empty()));
                assert!(incoming.text.len() <= 256 * 1024 && incoming.attachments.len() <= 64);
                assert!(!incoming.text.is_empty() || !incoming.attachments.is_empty());
            }
            Heard::Odd(why) => assert!(!why.is_empty()),
            Heard::Nothing => {}
        }
    }
    let _ = wire::accounts(data);
    let _ = wire::result(data);
    match wire::sent(data) {
        Ok(_) | Err(Refused::Never(_) | Refused::Gone(_) | Refused::Later(_) | Refused::Garbled) => {}
        Err(Refused::Slower(wait)) => assert!(wait.is_none_or(|wait| wait.as_secs() <= 24 * 3600)),
    }
});
