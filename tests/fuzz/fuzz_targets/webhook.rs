//! 18: what a webhook's sender sends and what a route's author writes: any bytes give a payload or a refusal, any condition an answer, any
//! template a text, bounded and without a panic; what is dropped by a filter is dropped again the next time.
#![no_main]
#![expect(dead_code, reason = "modules of another crate, of which a part is called")]

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, HeaderName};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

// The modules alone: the rest of their crate takes many minutes to build with the sanitizer.
#[path = "../../../worker/src/platform/webhook/event.rs"]
mod event;
#[path = "../../../worker/src/platform/webhook/filter.rs"]
mod filter;
#[path = "../../../worker/src/json.rs"]
mod json;
#[path = "../../../worker/src/platform/webhook/payload.rs"]
mod payload;
#[path = "../../../worker/src/platform/webhook/settings.rs"]
mod settings;
#[path = "../../../worker/src/platform/webhook/signature.rs"]
mod signature;
#[path = "../../../worker/src/platform/webhook/template.rs"]
mod template;
#[path = "../../../worker/src/platform/webhook/tree.rs"]
mod tree;
#[path = "../../../worker/src/platform/webhook/vendor.rs"]
mod vendor;

mod platform {
    /// What the modules use of `platform/wire.rs`.
    pub(crate) mod wire {
        pub(crate) fn first_chars(text: &str, limit: usize) -> &str {
            text.char_indices().nth(limit).map_or(text, |(at, _)| &text[..at])
        }

        pub(crate) fn random64() -> u64 {
            7
        }

        pub(crate) fn hex(bytes: &[u8]) -> String {
            bytes.iter().map(|byte| format!("{byte:02x}")).collect()
        }

        pub(crate) fn same_secret(a: &[u8], b: &[u8]) -> bool {
            a == b
        }

        pub(crate) fn bearer(headers: &http::HeaderMap) -> Option<&[u8]> {
            let value = headers.get(http::header::AUTHORIZATION)?.as_bytes();
            let (scheme, token) = value.split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
        }
    }
}

const HEADERS: [&str; 12] = [
    "x-github-event",
    "x-gitlab-event",
    "x-github-delivery",
    "x-request-id",
    "x-hub-signature-256",
    "x-webhook-signature-v2",
    "x-webhook-timestamp",
    "svix-signature",
    "stripe-signature",
    "x-slack-signature",
    "x-slack-request-timestamp",
    "linear-signature",
];

fuzz_target!(|data: &[u8]| {
    // Four parts: headers, conditions, a template, and the body.
    let mut parts = data.splitn(4, |byte| *byte == 0xff);
    let mut part = || parts.next().unwrap_or_default();
    let (lines, conditions, pattern, body) = (part(), part(), part(), part());
    let mut headers = HeaderMap::new();
    for (name, value) in HEADERS.iter().zip(lines.split(|byte| *byte == b'\n')) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    if lines.first().is_some_and(|byte| byte % 2 == 0) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    }
    let _ = signature::verify(&headers, body, "a secret", 1_763_680_000);
    for scheme in settings::Scheme::ALL {
        let _ = vendor::verify(scheme, &headers, body, "a secret", 1_763_680_000_000);
    }
    let delivery = event::delivery_id(&headers, None, 1);
    assert!(!delivery.id.is_empty() && delivery.id.chars().count() <= 256);
    assert!(!delivery.id.chars().any(char::is_control));
    let Some(payload) = payload::parse(&headers, body) else { return };
    assert!(payload.is_map());
    // What was kept of it is the same JSON.
    assert_eq!(tree::Node::parse(payload.to_string().as_bytes()).as_ref(), Some(&payload));
    let event = event::event_type(&headers, &payload);
    let subject = filter::Subject { payload: &payload, event_type: &event.name, headers: &headers };
    if let Ok(spec) = serde_json::from_slice::<Value>(conditions) {
        let specs = if let Value::Array(specs) = spec { specs } else { vec![spec] };
        let mut warnings = 0;
        for filter in filter::compile(&specs, "/nowhere".into(), &mut |_| warnings += 1) {
            assert_eq!(filter.matches(&subject), filter.matches(&subject));
        }
    }
    let pattern = String::from_utf8_lossy(pattern);
    let text = template::render(&pattern, &payload, &event.name);
    // A placeholder is five bytes at least and stands for a dump of some thousand characters at most, or a string of the body.
    assert!(text.len() <= (pattern.len() + 1) * (body.len() * 6 + 64_000));
    assert!(!template::default_prompt(&payload, &event.name, "route").is_empty());
});
