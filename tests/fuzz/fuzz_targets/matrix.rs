//! What a homeserver of Matrix says: any bytes are a batch whose rooms, people, events and files have ids of a sane form and size, or an
//! error; a refusal is one short line.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../../worker/src/json.rs"]
mod json;
#[allow(dead_code)]
#[path = "../../../worker/src/platform/matrix/wire.rs"]
mod wire;

fn check(event: &wire::Event) {
    assert!(wire::is_event(&event.id) && wire::is_person(&event.sender));
    match &event.what {
        wire::What::Message(said) => {
            assert!(
                said.text.len() <= 64 * 1024 && said.html.len() <= 64 * 1024 && said.mentions.len() <= 100
            );
            assert!(said.thread.iter().chain(&said.reply_to).all(|id| wire::is_event(id)));
            if let Some(file) = &said.file {
                assert!(!file.name.is_empty() && !file.name.chars().any(char::is_control));
                assert!(file.media_type.is_ascii() && file.media_type.contains('/'));
                if let Some((server, name)) = &file.place {
                    assert!(!format!("{server}{name}").contains(['/', '%', '?', '#']) && server != "..");
                }
            }
        }
        wire::What::Sign { to, key } => assert!(wire::is_event(to) && key.len() <= 64),
        wire::What::Member { who, .. } => assert!(wire::is_person(who)),
        wire::What::Tombstone { replacement } => assert!(replacement.iter().all(|room| wire::is_room(room))),
        _ => {}
    }
}

fuzz_target!(|data: &[u8]| {
    if let Ok(batch) = wire::sync(data, "@bot:hs.org") {
        assert!(!batch.next.is_empty());
        for (room, news) in &batch.joined {
            assert!(wire::is_room(room));
            news.state.iter().chain(&news.events).for_each(check);
        }
        assert!(batch.invites.iter().all(|invite| wire::is_room(&invite.room)));
        assert!(batch.invites.iter().flat_map(|invite| &invite.from).all(|from| wire::is_person(from)));
        assert!(batch.left.iter().chain(batch.direct.iter().flatten()).all(|room| wire::is_room(room)));
    }
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(data) {
        wire::event(&value).iter().for_each(check);
    }
    let refusal = wire::refusal(400, data);
    assert!(refusal.text.chars().count() <= 200 && !refusal.text.contains('\n'));
    assert!(refusal.retry_after.is_none_or(|wait| wait <= Duration::from_secs(3600)));
});
