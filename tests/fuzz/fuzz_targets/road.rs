//! What one worker says to another, and what it asks to be carried.
#![no_main]

use hermes_wire::road::{Delivery, Errand, Event, MAX_HEAD, length_of_head};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(event) = Event::parse(data)
        && let Ok(head) = event.head()
    {
        let (length, json) = head.split_at(4);
        let length = length_of_head(length.try_into().expect("four bytes")).expect("it was written so");
        assert!(length == json.len() && length <= MAX_HEAD);
        assert_eq!(Event::parse(json).expect("what was written can be read"), event);
    }
    if let Ok(delivery) = Delivery::parse(data) {
        let json = serde_json::to_vec(&delivery).expect("texts always serialise");
        assert!(json.len() > MAX_HEAD || Delivery::parse(&json) == Ok(delivery));
    }
    if let Some((errand, profile, platform)) = std::str::from_utf8(data).ok().and_then(Errand::parse) {
        assert_eq!(errand.path(&profile, platform).as_bytes(), data);
    }
});
