//! What a model writes, for every service: any text is cut into pieces that fit, from beginning to end, and written without a panic.
#![no_main]
#![expect(dead_code, reason = "modules of another crate, of which a part is called")]

use libfuzzer_sys::fuzz_target;
use worker::formatting::split::{Limit, all, from};
use worker::formatting::{Dialect, Unit, markdown_v2, matrix_html, plain, signal};

// The module alone: the rest of its crate takes many minutes to build with the sanitizer.
#[path = "../../../worker/src"]
mod worker {
    pub mod formatting;
}

fuzz_target!(|data: (u16, String)| {
    let (most, text) = data;
    let most = 64 + usize::from(most % 4096);
    for dialect in [Dialect::MarkdownV2, Dialect::Verbatim, Dialect::Mrkdwn] {
        let limit = Limit { most, unit: Unit::Utf16, dialect, numbered: true };
        let mut at = 0;
        for piece in all(&text, limit) {
            assert!(piece.end > at && limit.unit.measure(&dialect.render(&piece.text)) <= most);
            assert_eq!(from(&text, at, limit), piece);
            at = piece.end;
        }
        assert_eq!(at, text.len());
    }
    markdown_v2(&text);
    matrix_html(&text);
    plain(&text);
    let ranged = signal(&text);
    let length = ranged.text.encode_utf16().count();
    assert!(ranged.ranges.iter().all(|range| range.start + range.length <= length));
});
