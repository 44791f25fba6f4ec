//! What a server of ntfy says: any bytes, in whatever pieces, are lines of a sane size; each is a message with an id, a topic and a text or a file, a
//! sign of life, or a reason that is none; any bytes are an answer to what is published, or a refusal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::Heard;

#[allow(dead_code)]
#[path = "../../../worker/src/platform/lines.rs"]
mod lines;
#[allow(dead_code)]
#[path = "../../../worker/src/platform/ntfy/wire.rs"]
mod wire;

fuzz_target!(|data: &[u8]| {
    let mut found = lines::Lines::of(wire::LINE);
    let size = data.first().map_or(1, |first| usize::from(*first).max(1));
    for piece in data.chunks(size) {
        found.push(piece, |line| {
            let Some(line) = line else { return };
            assert!(line.len() <= wire::LINE && !line.contains(&b'\n'));
            match wire::line(line) {
                Heard::Message(message) => {
                    assert!(wire::is_topic(&message.id) && !message.topic.is_empty() && message.time >= 0);
                    assert!(message.text.len() <= 64 * 1024 && message.tags.len() <= 64);
                    assert!(!message.text.is_empty() || message.attachment.is_some());
                    if let Some(file) = message.attachment {
                        assert!(!file.url.is_empty() && file.size != Some(0) && !file.name.contains('\n'));
                    }
                }
                Heard::Odd(why) => assert!(!why.is_empty()),
                Heard::Open(_) | Heard::Life => {}
            }
        });
    }
    assert!(wire::published(data).is_none_or(|id| wire::is_topic(&id)));
    assert!(wire::refusal(data).text.chars().count() <= 200);
});
