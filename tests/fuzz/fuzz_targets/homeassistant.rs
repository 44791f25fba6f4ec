//! What Home Assistant says: any text is a message of a sane size or none, and what is watched of it is told in a sane size.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../../worker/src/platform/homeassistant/wire.rs"]
mod wire;

fn look(state: &wire::State) {
    assert!(wire::is_entity(&state.entity) && state.entity.len() <= 255);
    assert!(
        state.value.chars().count() <= 255 && state.name.chars().count() <= 255 && state.since.len() <= 64
    );
    assert!(!state.name.is_empty());
}

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        match wire::frame(text) {
            Some(wire::Frame::Changed { new, .. }) => look(&new),
            Some(wire::Frame::Result { states, .. }) => states.iter().for_each(look),
            Some(wire::Frame::AuthInvalid(why)) => assert!(why.chars().count() <= 200),
            _ => {}
        }
    }
    assert!(wire::message(data).chars().count() <= 200);
    let _ = wire::about(data);
});
