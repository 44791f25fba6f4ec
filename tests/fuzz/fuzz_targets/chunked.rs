//! Chunked bodies: however the bytes are cut, the result is the same; what is passed on is a correct body, which reads as the
//! same payload, and never holds more payload than allowed.
#![no_main]

use chunked::{Chunked, Keep};
use libfuzzer_sys::fuzz_target;

#[path = "../../../supervisor/gateway/src/proxy/wire/chunked.rs"]
mod chunked;

const LIMIT: u64 = 4096;

/// What is kept, how much was used, and whether it ended well; cut after `piece` bytes again and again.
fn run(input: &[u8], piece: usize, keep: Keep) -> (Vec<u8>, usize, Option<bool>) {
    let mut scanner = Chunked::new(keep, LIMIT);
    let (mut out, mut used) = (Vec::new(), 0);
    for part in input.chunks(piece.max(1)) {
        let mut part = part.to_vec();
        let Ok(step) = scanner.feed(&mut part) else { return (out, used, None) };
        assert!(step.kept <= step.used && step.used <= part.len());
        assert!(step.done || step.used == part.len());
        out.extend_from_slice(&part[..step.kept]);
        used += step.used;
        if step.done {
            return (out, used, Some(true));
        }
    }
    (out, used, Some(false))
}

fuzz_target!(|data: &[u8]| {
    let Some((&piece, body)) = data.split_first() else { return };
    let piece = usize::from(piece);
    for keep in [Keep::Framed, Keep::Payload] {
        let (whole, split) = (run(body, usize::MAX, keep), run(body, piece, keep));
        assert_eq!(whole.2, split.2);
        if whole.2.is_some() {
            assert_eq!(whole, split);
        }
    }
    let (framed, payload) = (run(body, piece, Keep::Framed), run(body, piece, Keep::Payload));
    assert!(payload.0.len() as u64 <= LIMIT);
    if framed.2 == Some(true) {
        // Passed on, it is a whole body without anything that was removed, and says the same.
        assert_eq!(run(&framed.0, usize::MAX, Keep::Framed), (framed.0.clone(), framed.0.len(), Some(true)));
        assert_eq!(run(&framed.0, 1, Keep::Payload).0, payload.0);
    } else if framed.2 == Some(false) {
        // The beginning of one: nothing in it is an error.
        assert!(run(&framed.0, usize::MAX, Keep::Framed).2.is_some());
    }
});
