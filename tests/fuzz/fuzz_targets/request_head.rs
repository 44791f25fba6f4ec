//! Request heads: what is passed on to a worker is one head, read the same by us and by the library that workers use, with one
//! framing, and with nothing in it that only we may say.
#![no_main]
#![expect(dead_code, reason = "the proxy uses more of its modules than one parser")]

use libfuzzer_sys::fuzz_target;
use wire::head;
use wire::request::{self, Framing, Lines};

#[path = "../../../supervisor/gateway/src/proxy/wire.rs"]
mod wire;

fuzz_target!(|data: &[u8]| {
    let Ok(Some(end)) = head::find_end(data, 0) else { return };
    for cut in [1, end / 2, end - 1] {
        let found = match head::find_end(&data[..cut], 0) {
            Ok(None) => head::find_end(data, cut),
            decided => decided,
        };
        assert_eq!(found, Ok(Some(end)));
    }
    let mut lines = Lines::default();
    let Ok(request) = request::parse(&data[..end], &mut lines) else { return };
    assert!(request.target == "*" || request.target.starts_with('/'));
    let mut out = Vec::new();
    let ours: [&[u8]; 2] = [b"x-hermes-profile: coder\r\n", b"x-hermes-listener: api_server\r\n"];
    request::write(&request, request.target, &lines, "127.0.0.1", ours, &mut out);

    assert_eq!(head::find_end(&out, 0), Ok(Some(out.len())));
    let mut headers = [httparse::EMPTY_HEADER; head::MAX_HEADERS + hermes_wire::http::ADDED_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    assert_eq!(parsed.parse(&out).unwrap(), httparse::Status::Complete(out.len()));
    assert_eq!((parsed.method, parsed.path), (Some(request.method_name), Some(request.target)));
    let count = |name: &str| parsed.headers.iter().filter(|h| h.name.eq_ignore_ascii_case(name)).count();
    let (lengths, codings) = (count("content-length"), count("transfer-encoding"));
    match request.framing {
        Framing::Chunked => assert_eq!((lengths, codings), (0, 1)),
        Framing::Length(_) => assert_eq!((lengths, codings), (1, 0)),
        Framing::None => assert!(lengths <= 1 && codings == 0),
        Framing::Close => unreachable!("requests have an end"),
    }
    assert_eq!(count("host"), 1);
    for ours in ["x-hermes-profile", "x-hermes-listener", "x-forwarded-for"] {
        assert_eq!(count(ours), 1, "{ours}");
    }
    for (name, most) in [
        ("x-hermes-taken", 0),
        ("x-forwarded-prefix", 0),
        ("te", 0),
        ("connection", usize::from(request.upgrade)),
    ] {
        assert_eq!(count(name), most, "{name}");
    }
    assert!(request.upgrade || count("upgrade") == 0);
    // Read again, it means the same.
    let again = request::parse(&out, &mut lines);
    if let Ok(again) = again {
        assert_eq!(
            (again.framing, again.method, again.target),
            (request.framing, request.method, request.target)
        );
    }
});
