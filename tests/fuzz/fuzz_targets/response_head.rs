//! Response heads: what a client gets is one head that says one thing about its end, and nothing that was meant for the proxy.
#![no_main]
#![expect(dead_code, reason = "the proxy uses more of its modules than one parser")]

use libfuzzer_sys::fuzz_target;
use wire::head::{self, Persistence};
use wire::request::Framing;
use wire::response::{self, Context};

#[path = "../../../supervisor/gateway/src/proxy/wire.rs"]
mod wire;

fuzz_target!(|data: &[u8]| {
    let Some((&flags, data)) = data.split_first() else { return };
    let Ok(Some(end)) = head::find_end(data, 0) else { return };
    let is = |bit: u8| flags & (1 << bit) != 0;
    let context =
        Context { head_only: is(0), body: is(1), old: is(2), keep_alive: is(3), upgrade: is(4) && !is(2) };
    let mut out = Vec::new();
    let Ok(response) = response::rewrite(&data[..end], context, &mut out) else { return };

    assert_eq!(head::find_end(&out, 0), Ok(Some(out.len())));
    let mut headers = [httparse::EMPTY_HEADER; head::MAX_HEADERS + 1];
    let mut parsed = httparse::Response::new(&mut headers);
    assert_eq!(parsed.parse(&out).unwrap(), httparse::Status::Complete(out.len()));
    assert_eq!((parsed.code, parsed.version), (Some(response.status), Some(1)));
    let count = |name: &str| parsed.headers.iter().filter(|h| h.name.eq_ignore_ascii_case(name)).count();
    let (lengths, codings) = (count("content-length"), count("transfer-encoding"));
    assert!(lengths + codings <= 1);
    match response.framing {
        Framing::Length(_) => assert_eq!(lengths, 1),
        Framing::Chunked => assert_eq!(codings, usize::from(!context.old)),
        Framing::Close => assert_eq!((lengths, codings), (0, 0)),
        Framing::None => {}
    }
    assert_eq!(count("x-hermes-taken"), 0);
    let says = parsed.headers.iter().find(|h| h.name.eq_ignore_ascii_case("connection")).map(|h| h.value);
    if response.status == 101 {
        assert_eq!(says, Some(&b"upgrade"[..]));
    } else if response.is_interim() {
        assert_eq!(says, None);
    } else {
        let line = Persistence::of(response.client_keeps, context.old).line();
        assert_eq!(says.is_none(), line.is_empty());
        assert!(!response.client_keeps || context.keep_alive);
    }
    assert!(!response.upstream_keeps || response.framing != Framing::Close);
});
