//! Who sent a request: seven families of signature, one decision.
//!
//! The first family whose header is present decides, right or wrong: a bad strong signature is never rescued by a good weak
//! one. Every comparison takes a time that does not depend on the secret. Time stamps may be off by [`TOLERANCE`] seconds.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderValue};
use sha2::Sha256;

use crate::platform::wire::{bearer, hex, same_secret};

/// How far a signed time stamp may be from now, in seconds, either way.
pub(super) const TOLERANCE: u64 = 300;

/// What the headers prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The sender knows the secret.
    Valid,
    /// It does, but the form it uses can be replayed for ever.
    ValidV1,
    /// It does not, or says nothing.
    Invalid,
}

/// Judges one request. `now` is in seconds since the epoch.
pub(super) fn verify(headers: &HeaderMap, body: &[u8], secret: &str, now: i64) -> Verdict {
    let valid = if let Some(names) = [SVIX, STANDARD_WEBHOOKS].into_iter().find(|n| n.any_in(headers)) {
        names.verify(headers, body, secret, now)
    } else if let Some(value) = headers.get("x-hub-signature-256") {
        ascii(value)
            .and_then(|v| v.strip_prefix("sha256="))
            .is_some_and(|v| same_secret(v.as_bytes(), hex(&hmac(secret.as_bytes(), &[body])).as_bytes()))
    } else if let Some(value) = headers.get("x-gitlab-token") {
        same_secret(value.as_bytes(), secret.as_bytes())
    } else if let Some(value) = headers.get("x-webhook-signature-v2") {
        let stamp = headers.get("x-webhook-timestamp").and_then(ascii).filter(|stamp| is_fresh(stamp, now));
        match (ascii(value), stamp) {
            (Some(value), Some(stamp)) => {
                let expected = hex(&hmac(secret.as_bytes(), &[stamp.as_bytes(), b".", body]));
                same_secret(value.as_bytes(), expected.as_bytes())
            }
            _ => false,
        }
    } else if let Some(value) = headers.get("x-webhook-signature") {
        let expected = hex(&hmac(secret.as_bytes(), &[body]));
        return if same_secret(value.as_bytes(), expected.as_bytes()) {
            Verdict::ValidV1
        } else {
            Verdict::Invalid
        };
    } else {
        bearer(headers).is_some_and(|token| same_secret(token, secret.as_bytes()))
    };
    if valid { Verdict::Valid } else { Verdict::Invalid }
}

/// The header names of Svix, and of the specification that grew out of it.
#[derive(Clone, Copy)]
struct Names {
    id: &'static str,
    stamp: &'static str,
    signature: &'static str,
}

const SVIX: Names = Names { id: "svix-id", stamp: "svix-timestamp", signature: "svix-signature" };
const STANDARD_WEBHOOKS: Names =
    Names { id: "webhook-id", stamp: "webhook-timestamp", signature: "webhook-signature" };

impl Names {
    fn any_in(self, headers: &HeaderMap) -> bool {
        [self.id, self.stamp, self.signature].iter().any(|name| headers.contains_key(*name))
    }

    fn verify(self, headers: &HeaderMap, body: &[u8], secret: &str, now: i64) -> bool {
        let get = |name| headers.get(name).and_then(ascii);
        let (Some(id), Some(stamp), Some(signatures)) = (get(self.id), get(self.stamp), get(self.signature))
        else {
            return false;
        };
        if !is_fresh(stamp, now) {
            return false;
        }
        let mac = match secret.strip_prefix("whsec_") {
            Some(encoded) => match STANDARD.decode(encoded) {
                Ok(key) => hmac(&key, &[id.as_bytes(), b".", stamp.as_bytes(), b".", body]),
                Err(_) => return false,
            },
            None => hmac(secret.as_bytes(), &[id.as_bytes(), b".", stamp.as_bytes(), b".", body]),
        };
        let expected = STANDARD.encode(mac);
        signatures
            .split_ascii_whitespace()
            .filter_map(|one| one.strip_prefix("v1,"))
            .any(|one| same_secret(one.as_bytes(), expected.as_bytes()))
    }
}

pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// A header's text, if it is nothing but visible ASCII.
pub(super) fn ascii(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok()
}

fn is_fresh(stamp: &str, now: i64) -> bool {
    stamp_of(stamp).is_some_and(|at| now.abs_diff(at) <= TOLERANCE)
}

/// A time in whole units since the epoch: digits and nothing else.
pub(super) fn stamp_of(stamp: &str) -> Option<i64> {
    let digits = !stamp.is_empty() && stamp.bytes().all(|b| b.is_ascii_digit());
    stamp.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_614_265_330;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_bytes(v.as_bytes()).unwrap()))
            .collect()
    }

    fn check(pairs: &[(&'static str, &str)], body: &str, secret: &str) -> Verdict {
        verify(&headers(pairs), body.as_bytes(), secret, NOW)
    }

    #[test]
    fn svix_accepts_its_published_example_and_nothing_near_it() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let body = r#"{"test": 2432232314}"#;
        let id = ("svix-id", "msg_p5jXN8AQM9LWM0D4loKWxJek");
        let stamp = ("svix-timestamp", "1614265330");
        let good = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(check(&[id, stamp, ("svix-signature", good)], body, secret), Verdict::Valid);
        let list = format!("v2,xxxx v1,AAAA {good}");
        assert_eq!(check(&[id, stamp, ("svix-signature", &list)], body, secret), Verdict::Valid);
        let standard = [("webhook-id", id.1), ("webhook-timestamp", stamp.1), ("webhook-signature", good)];
        assert_eq!(check(&standard, body, secret), Verdict::Valid);
        assert_eq!(check(&[id, stamp, ("svix-signature", good)], "{}", secret), Verdict::Invalid);
        assert_eq!(check(&[id, stamp], body, secret), Verdict::Invalid);
        assert_eq!(
            check(&[id, ("svix-timestamp", "x"), ("svix-signature", good)], body, secret),
            Verdict::Invalid
        );
        assert_eq!(check(&[id, stamp, ("svix-signature", good)], body, "whsec_not base64"), Verdict::Invalid);
        assert_eq!(
            verify(&headers(&[id, stamp, ("svix-signature", good)]), body.as_bytes(), secret, NOW + 301),
            Verdict::Invalid
        );
        assert_eq!(
            verify(&headers(&[id, stamp, ("svix-signature", good)]), body.as_bytes(), secret, NOW - 300),
            Verdict::Valid
        );
    }

    #[test]
    fn github_accepts_its_published_example() {
        let secret = "It's a Secret to Everybody";
        let good = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert_eq!(check(&[("x-hub-signature-256", good)], "Hello, World!", secret), Verdict::Valid);
        assert_eq!(check(&[("x-hub-signature-256", &good[7..])], "Hello, World!", secret), Verdict::Invalid);
        assert_eq!(check(&[("x-hub-signature-256", "")], "Hello, World!", secret), Verdict::Invalid);
        assert_eq!(check(&[("x-hub-signature-256", "sha256=ü")], "Hello, World!", secret), Verdict::Invalid);
    }

    #[test]
    fn tokens_are_compared_whole() {
        assert_eq!(check(&[("x-gitlab-token", "s3cret")], "", "s3cret"), Verdict::Valid);
        assert_eq!(check(&[("x-gitlab-token", "s3cre")], "", "s3cret"), Verdict::Invalid);
        assert_eq!(check(&[("authorization", "bearer s3cret")], "", "s3cret"), Verdict::Valid);
        assert_eq!(check(&[("authorization", "Basic s3cret")], "", "s3cret"), Verdict::Invalid);
        assert_eq!(check(&[("authorization", "Bearer ü")], "", "s3cret"), Verdict::Invalid);
        assert_eq!(check(&[], "", "s3cret"), Verdict::Invalid);
    }

    #[test]
    fn a_second_version_is_never_downgraded() {
        let v1 = hex(&hmac(b"k", &[b"body"]));
        let v2 = hex(&hmac(b"k", &[b"1614265330.body"]));
        assert_eq!(check(&[("x-webhook-signature", &v1)], "body", "k"), Verdict::ValidV1);
        let stamp = ("x-webhook-timestamp", "1614265330");
        assert_eq!(check(&[("x-webhook-signature-v2", &v2), stamp], "body", "k"), Verdict::Valid);
        for bad in [
            &[("x-webhook-signature-v2", v2.as_str()), ("x-webhook-signature", &v1)][..],
            &[
                ("x-webhook-signature-v2", &v2),
                ("x-webhook-timestamp", "1614260000"),
                ("x-webhook-signature", &v1),
            ],
            &[("x-webhook-signature-v2", "00"), stamp, ("x-webhook-signature", &v1)],
            &[("x-hub-signature-256", "sha256=00"), ("x-webhook-signature", &v1)],
            &[("svix-id", "1"), ("x-webhook-signature", &v1)],
        ] {
            assert_eq!(check(bad, "body", "k"), Verdict::Invalid, "{bad:?}");
        }
    }
}
