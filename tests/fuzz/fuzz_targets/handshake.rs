//! Handshakes: any bytes give an offer or answer or an error; what decodes has exactly one encoding.
#![no_main]

use hermes_wire::handshake::{Answer, Offer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(offer) = Offer::decode(data) {
        assert_eq!(offer.encode(), data);
        let answer = offer.answer();
        assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
    }
    if let Ok(answer) = Answer::decode(data) {
        assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
    }
    let _ = Offer::text_len(data);
    let _ = Answer::text_len(data);
});
