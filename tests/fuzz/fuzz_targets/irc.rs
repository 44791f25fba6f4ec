//! What an IRC server says: any bytes are a message of a sane size or none; what somebody says holds no control character; and any answer is lines
//! that are one message each, none longer than its room.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../../worker/src/platform/irc/text.rs"]
mod text;
#[allow(dead_code)]
#[path = "../../../worker/src/platform/irc/wire.rs"]
mod wire;

fuzz_target!(|data: &[u8]| {
    if let Some(line) = wire::line(data) {
        assert!(data.len() <= wire::LINE && line.params.len() <= 15 && !line.command.is_empty());
        let is_whole = |text: &str| !text.contains(['\r', '\n', '\0']);
        assert!(
            is_whole(&line.nick) && is_whole(&line.mask) && line.params.iter().all(|param| is_whole(param))
        );
        assert!(
            line.account.is_none_or(|account| !account.is_empty() && !account.contains(char::is_whitespace))
        );
    }
    let Ok(said) = std::str::from_utf8(data) else { return };
    if let Some(said) = wire::said(said) {
        assert!(said.chars().all(|c| c == '\t' || !c.is_control()));
        for name in ["hermes", "Ünlich", "a[b]"] {
            for map in ["rfc1459", "ascii"] {
                let rest = wire::addressed(&said, name, wire::Casemapping::of(map));
                assert!(rest.is_none_or(|rest| !rest.is_empty() && rest.len() < said.len()));
            }
        }
    }
    if wire::is_target(said) {
        assert!(!said.contains([' ', '\r', '\n', ',', ':']) || !said.starts_with(':'));
    }
    for room in [64, 450] {
        for line in text::lines(said, room) {
            assert!(line.len() <= room && !line.contains('\n') && !line.trim().is_empty(), "{line:?}");
        }
    }
    assert!(!wire::one_line(said).contains(['\r', '\n', '\0']));
});
