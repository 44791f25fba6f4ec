//! What Discord says, over its gateway and in errors of its REST: any bytes are something of a sane size, or an error; nothing of them is part of an
//! address that it should not be.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../../worker/src/json.rs"]
mod json;
#[allow(dead_code)]
#[path = "../../../worker/src/platform/discord/wire.rs"]
mod wire;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        match wire::said(text) {
            Ok(wire::Said::Hello(beat)) => assert!(!beat.is_zero() && beat.as_secs() <= 600),
            Ok(wire::Said::Event(_, wire::Event::Message(message))) => {
                assert!(message.id.0 != 0 && message.channel_id.0 != 0 && message.content.len() <= 64 * 1024);
            }
            Ok(wire::Said::Event(_, wire::Event::Interaction(it))) => {
                assert!(
                    !it.token.contains(['/', '?', '#', '%', ' ']) && it.token != ".." && it.user().is_some()
                );
            }
            Ok(wire::Said::Event(_, wire::Event::Ready(ready))) => assert!(!ready.session_id.is_empty()),
            _ => {}
        }
    }
    let refusal = wire::refusal(400, data, None);
    assert!(refusal.message.chars().count() <= 300 && !refusal.message.contains(['\n', '\r']));
    assert!(refusal.retry_after.is_none_or(|wait| wait.as_secs() <= 86_400));
});
