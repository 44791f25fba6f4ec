//! The files of pairing: any bytes are entries that can be read, or none; a code lets in nobody whose it is not.
#![no_main]

use hermes_wire::contract::pairing::{Approved, Entries, Pending, Rates, typed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(entries) = serde_json::from_slice::<Entries>(data) else { return };
    for (name, entry) in &entries {
        if let Some(pending) = Pending::read(name, entry) {
            assert!(!pending.is_code(""));
            pending.is_code(&typed("abcdefgh"));
            pending.is_alive(1e9);
        }
        Approved::read(name, entry);
    }
    let mut rates = Rates(entries);
    rates.is_limited("telegram", "7", 1e9);
    rates.note("telegram", "7", 1e9);
    assert!(rates.is_limited("telegram", "7", 1e9));
    rates.failed("telegram", 1e9);
    rates.locked_until("telegram", 1e9);
});
