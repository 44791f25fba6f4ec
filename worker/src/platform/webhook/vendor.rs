//! Signatures as five vendors make them, where a route asks for one: `signature: stripe`. Nothing else opens such a route.
//!
//! | scheme | header | HMAC-SHA256 of | written as | not older than |
//! |---|---|---|---|---|
//! | `stripe` | `Stripe-Signature: t=…,v1=…[,v1=…]` | `{t}.{body}` | hex; any of the `v1` | 300 s |
//! | `slack` | `X-Slack-Signature: v0=…`, `X-Slack-Request-Timestamp` | `v0:{timestamp}:{body}` | hex | 300 s, either way |
//! | `shopify` | `X-Shopify-Hmac-Sha256` | the body | base64 | – |
//! | `linear` | `Linear-Signature` | the body | hex | 60 s, either way: `webhookTimestamp` of the body, in ms |
//! | `sentry` | `Sentry-Hook-Signature` | the body | hex | – |
//!
//! The key is the vendor's secret as it is written, `whsec_` and all. Tolerances are those of the vendors' own libraries.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;

use super::settings::Scheme;
use super::signature::{TOLERANCE, Verdict, ascii, hmac, stamp_of};
use super::tree::Node;
use crate::platform::wire::{hex, same_secret};

/// How far Linear's time may be from now, in milliseconds.
const LINEAR_TOLERANCE: u64 = 60_000;

/// Judges one request. `now` is in milliseconds since the epoch.
pub(super) fn verify(scheme: Scheme, headers: &HeaderMap, body: &[u8], secret: &str, now: i64) -> Verdict {
    let get = |name: &str| headers.get(name).and_then(ascii);
    let key = secret.as_bytes();
    let is_hex =
        |given: &str, parts: &[&[u8]]| same_secret(given.as_bytes(), hex(&hmac(key, parts)).as_bytes());
    let seconds = now.div_euclid(1000);
    let valid = match scheme {
        Scheme::Stripe => get("stripe-signature").is_some_and(|header| {
            let fields = || header.split(',').filter_map(|field| field.trim().split_once('='));
            let Some((_, stamp)) = fields().find(|(name, _)| *name == "t") else { return false };
            // A clock that is behind Stripe's is no reason to refuse.
            stamp_of(stamp).is_some_and(|at| seconds.saturating_sub(at) <= TOLERANCE.cast_signed())
                && fields()
                    .any(|(name, given)| name == "v1" && is_hex(given, &[stamp.as_bytes(), b".", body]))
        }),
        Scheme::Slack => {
            let stamp = get("x-slack-request-timestamp");
            match (stamp, get("x-slack-signature").and_then(|given| given.strip_prefix("v0="))) {
                (Some(stamp), Some(given)) => {
                    stamp_of(stamp).is_some_and(|at| at.abs_diff(seconds) <= TOLERANCE)
                        && is_hex(given, &[b"v0:", stamp.as_bytes(), b":", body])
                }
                _ => false,
            }
        }
        Scheme::Shopify => get("x-shopify-hmac-sha256").is_some_and(|given| {
            same_secret(given.as_bytes(), STANDARD.encode(hmac(key, &[body])).as_bytes())
        }),
        Scheme::Linear => get("linear-signature").is_some_and(|given| {
            is_hex(given, &[body]) && sent_at(body).is_none_or(|at| at.abs_diff(now) <= LINEAR_TOLERANCE)
        }),
        Scheme::Sentry => get("sentry-hook-signature").is_some_and(|given| is_hex(given, &[body])),
    };
    if valid { Verdict::Valid } else { Verdict::Invalid }
}

/// When Linear sent a payload, in milliseconds.
fn sent_at(body: &[u8]) -> Option<i64> {
    Node::parse(body)?.get("webhookTimestamp")?.as_number()?.parse().ok()
}

/// The delivery's id where its vendor puts it into the payload, and repeats it when it sends again.
pub(super) fn id_of(scheme: Scheme, payload: &Node) -> Option<&str> {
    let key = match scheme {
        Scheme::Stripe => "id",
        Scheme::Slack => "event_id",
        Scheme::Shopify | Scheme::Linear | Scheme::Sentry => return None,
    };
    payload.get(key).and_then(Node::as_str)
}

/// What Slack wants to hear once before it sends events to an address.
pub(super) fn challenge(scheme: Scheme, payload: &Node) -> Option<&str> {
    let asks =
        scheme == Scheme::Slack && payload.get("type").and_then(Node::as_str) == Some("url_verification");
    payload.get("challenge").and_then(Node::as_str).filter(|_| asks)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const STRIPE: &str = "{\n  \"id\": \"evt_1NG8Du2eZvKYlo2CUI79vXWy\",\n  \"object\": \"event\",\n  \"type\": \"payment_intent.succeeded\"\n}";
    const STRIPE_HEX: &str = "97c57b0867e8f3b9b023fba36139703a37906879d5f4531bb3f47e0c7a37e8b5";
    const SLACK: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&\
        channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2F\
        hooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.\
        803a0bc887a14d10d2c447fce8b6703c";

    struct Case<'a> {
        scheme: Scheme,
        secret: &'a str,
        body: &'a str,
        at: i64,
    }

    impl Case<'_> {
        fn holds(&self, headers: &[(&'static str, &str)]) -> bool {
            let headers: HeaderMap = headers
                .iter()
                .map(|(name, value)| {
                    (name.parse().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
                })
                .collect();
            verify(self.scheme, &headers, self.body.as_bytes(), self.secret, self.at) == Verdict::Valid
        }
    }

    /// Wires 8: as Stripe's library signs it; several signatures while a secret is rolled, and not too old.
    #[test]
    fn w8_stripe() {
        let at = |seconds: i64| Case {
            scheme: Scheme::Stripe,
            secret: "whsec_test_secret",
            body: STRIPE,
            at: seconds * 1000,
        };
        let good = format!("t=1492774577,v1={STRIPE_HEX}");
        for (header, now, expected) in [
            (good.as_str(), 1_492_774_577, true),
            (&good, 1_492_774_877, true),
            (&good, 1_492_774_878, false),
            (&good, 1_492_774_000, true),
            (&format!("t=1492774577,v1=00,v1={STRIPE_HEX},v0=11"), 1_492_774_577, true),
            (&format!("t=1492774577, v0={STRIPE_HEX}"), 1_492_774_577, false),
            (&format!("t=1492774578,v1={STRIPE_HEX}"), 1_492_774_577, false),
            (&format!("v1={STRIPE_HEX}"), 1_492_774_577, false),
            (&format!("t=-1492774577,v1={STRIPE_HEX}"), 1_492_774_577, false),
            ("t=1492774577,v1=", 1_492_774_577, false),
            ("t=1492774577", 1_492_774_577, false),
            ("", 1_492_774_577, false),
            ("v1=ü,t=ü", 1_492_774_577, false),
        ] {
            assert_eq!(at(now).holds(&[("stripe-signature", header)]), expected, "{header} at {now}");
        }
        assert!(!Case { secret: "whsec_other", ..at(1_492_774_577) }.holds(&[("stripe-signature", &good)]));
        assert!(!Case { body: "{}", ..at(1_492_774_577) }.holds(&[("stripe-signature", &good)]));
    }

    /// Wires 8: the example of Slack's own documentation.
    #[test]
    fn w8_slack() {
        let at = |seconds: i64| Case {
            scheme: Scheme::Slack,
            secret: "8f742231b10e8888abcd99yyyzzz85a5",
            body: SLACK,
            at: seconds * 1000,
        };
        let good =
            ("x-slack-signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503");
        let stamp = ("x-slack-request-timestamp", "1531420618");
        assert!(at(1_531_420_618).holds(&[good, stamp]));
        assert!(at(1_531_420_918).holds(&[good, stamp]) && at(1_531_420_318).holds(&[good, stamp]));
        assert!(!at(1_531_420_919).holds(&[good, stamp]) && !at(1_531_420_317).holds(&[good, stamp]));
        assert!(!at(1_531_420_618).holds(&[good, ("x-slack-request-timestamp", "1531420619")]));
        assert!(!at(1_531_420_618).holds(&[good]) && !at(1_531_420_618).holds(&[stamp]));
        assert!(!at(1_531_420_618).holds(&[("x-slack-signature", &good.1[3..]), stamp]));
    }

    /// Wires 8: the others sign the body alone.
    #[test]
    fn w8_shopify_linear_sentry() {
        let shopify =
            Case { scheme: Scheme::Shopify, secret: "hush", body: "{\"id\": 820982911946154508}", at: 0 };
        let good = "uGGfOb+XoECYuM+RY9Y3WocU+ijbVAGZNvXJ58KRFBA=";
        assert!(shopify.holds(&[("x-shopify-hmac-sha256", good)]));
        assert!(!shopify.holds(&[("x-shopify-hmac-sha256", &good[1..])]) && !shopify.holds(&[]));
        let linear = |at| Case {
            scheme: Scheme::Linear,
            secret: "lin_wh_x",
            body: "{\"webhookTimestamp\": 1676056940508}",
            at,
        };
        let good = "1d5938e0909b70a09d983a8c5793c05d360226b0870ca3c0670873dc6765897b";
        for (now, expected) in [
            (1_676_056_940_508, true),
            (1_676_057_000_508, true),
            (1_676_057_000_509, false),
            (1_676_056_880_508, true),
            (1_676_056_880_507, false),
        ] {
            assert_eq!(linear(now).holds(&[("linear-signature", good)]), expected, "{now}");
        }
        assert!(!linear(1_676_056_940_508).holds(&[("linear-signature", "00")]));
        let sentry = Case { scheme: Scheme::Sentry, ..linear(0) };
        assert!(
            sentry.holds(&[("sentry-hook-signature", good)]) && !sentry.holds(&[("linear-signature", good)])
        );
    }

    /// Wires 8: what a route does not ask for opens it as little as nothing does.
    #[test]
    fn w8_no_other_family_opens_a_route_that_asks_for_one() {
        for scheme in Scheme::ALL {
            let case = Case { scheme, secret: "k", body: "{}", at: 0 };
            let plain = hex(&hmac(b"k", &[b"{}"]));
            assert!(!case.holds(&[("x-gitlab-token", "k")]) && !case.holds(&[("authorization", "Bearer k")]));
            assert!(!case.holds(&[("x-hub-signature-256", &format!("sha256={plain}"))]));
            assert!(!case.holds(&[("x-webhook-signature", &plain)]), "{scheme:?}");
        }
    }

    #[test]
    fn ids_and_the_challenge_stand_in_the_payload() {
        let event = Node::parse(br#"{"id": "evt_1", "event_id": "Ev1"}"#).unwrap();
        let ids = Scheme::ALL.map(|scheme| id_of(scheme, &event));
        assert_eq!(ids, [Some("evt_1"), Some("Ev1"), None, None, None]);
        let asks = Node::parse(br#"{"type": "url_verification", "challenge": "c"}"#).unwrap();
        assert_eq!(challenge(Scheme::Slack, &asks), Some("c"));
        assert_eq!(challenge(Scheme::Stripe, &asks), None);
        assert_eq!(challenge(Scheme::Slack, &event), None);
    }
}
