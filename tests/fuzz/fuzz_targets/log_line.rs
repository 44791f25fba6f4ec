//! Lines of logs: any bytes are a record's first line or not; its parts are parts of it, and its fields stand in it.
#![no_main]
#![expect(dead_code, reason = "a module of another crate, of which a part is called")]

use libfuzzer_sys::fuzz_target;

// The module alone: the rest of its crate takes many minutes to build with the sanitizer.
#[path = "../../../supervisor/cli/src/logs/record.rs"]
mod record;

fuzz_target!(|data: &[u8]| {
    for line in [data.to_vec(), [b"2026-11-21 00:30:57,386 ".as_slice(), data].concat()] {
        let Some(head) = record::head(&line) else { continue };
        let parts = head.parts(&line);
        assert!(parts.message <= line.len());
        assert!(parts.component.is_none_or(|name| !name.is_empty() && !name.contains(&b' ')));
        assert!(parts.session.is_none_or(|id| !id.contains(&b']')));
        let text = String::from_utf8_lossy(&line[parts.message..]);
        for (key, _) in record::fields(&text) {
            assert!(!key.is_empty() && text.contains(&format!("{key}=")));
        }
    }
});
