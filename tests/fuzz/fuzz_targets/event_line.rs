//! Lines of the journal of events: any bytes are an event or none; one is written and read again as the same, and what it says to people is
//! one line that no terminal obeys.
#![no_main]

use hermes_wire::contract::events::Event;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(event) = Event::parse(data) else { return };
    let line = serde_json::to_vec(&event).expect("strings and integers always serialise");
    assert!(!line.contains(&b'\n'));
    // A line of the longest grows where it is written with escapes.
    if let Some(again) = Event::parse(&line) {
        assert_eq!(again, event);
    }
    let said = event.sentence();
    assert!(!said.contains(char::is_control), "{said:?}");
});
