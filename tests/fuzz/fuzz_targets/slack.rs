//! What Slack says: any bytes are an answer, a frame or a request of a sane size, or none; whatever a message holds is read as a text.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../../worker/src/json.rs"]
mod json;
#[allow(dead_code)]
#[path = "../../../worker/src/platform/slack/wire.rs"]
mod wire;

#[allow(dead_code)]
#[path = "../../../worker/src/platform/slack/text.rs"]
mod text;

fn look(came: &wire::Came) {
    match came {
        wire::Came::Message(message) => {
            assert!(!message.channel.is_empty() && !message.ts.is_empty() && message.channel.len() <= 256);
            assert!(message.thread() != Some(message.ts.as_str()));
            assert!(message.files.len() <= 64);
            let said = text::said(message, "UBOT");
            assert!(said.trim() == said);
        }
        wire::Came::Slash(slash) => assert!(!slash.trigger_id.is_empty() && !slash.user_id.is_empty()),
        wire::Came::Press(press) => assert!(!press.user.is_empty() && !press.channel.is_empty()),
        wire::Came::Revoked(_) | wire::Came::Other | wire::Came::Odd => {}
    }
}

fuzz_target!(|data: &[u8]| {
    if let Ok(said) = std::str::from_utf8(data) {
        if let Some(wire::Frame::Envelope(id, came)) = wire::frame(said) {
            assert!(!id.is_empty() && id.len() <= 256);
            look(&came);
        }
        let _ = text::read(said, "UBOT");
    }
    if let Some(wire::Request::Came(came)) = wire::request(data) {
        look(&came);
    }
    if let Ok(Err(refusal)) = wire::answer::<wire::Me>("auth.test", 200, Some(u64::MAX), data) {
        assert!(refusal.error.chars().count() <= 200 && refusal.retry_after == Some(3600));
    }
});
