//! Every row of the error table, on every wire: what a provider may do instead of answering, and who answers then.

use hermes_config::pool::{Credential, Pool, Strategy};

use super::wires::{message_of, native_of, response_of, stream_of, text_of};
use super::*;

const WIRES: [Wire; 3] = [Wire::Chat, Wire::Messages, Wire::Responses];

/// What a provider does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    /// Says nothing at all.
    Hangs,
    /// Begins, and says nothing more.
    Dies,
    /// Begins, and is cut off in the middle of an event.
    Breaks,
    /// Sends what is no JSON.
    Babbles,
    /// Refuses with this status and these header lines.
    Says(u16, &'static str),
}

/// What follows: the fault, and whether another attempt, another provider and another key are tried.
type Row = (Does, Fault, bool, bool, bool);

const TABLE: [Row; 12] = [
    (Does::Hangs, Fault::Unreachable, true, true, false),
    (Does::Dies, Fault::Unreachable, true, true, false),
    (Does::Breaks, Fault::Unreachable, true, true, false),
    (Does::Babbles, Fault::Garbled, true, true, false),
    (Does::Says(401, ""), Fault::Key, false, true, true),
    (Does::Says(402, ""), Fault::Quota, false, true, true),
    (Does::Says(404, ""), Fault::Setup, false, true, false),
    (Does::Says(413, ""), Fault::TooLong, false, false, false),
    (Does::Says(429, "Retry-After: 0.05\r\n"), Fault::Limited, true, true, true),
    (Does::Says(429, ""), Fault::Limited, true, true, true),
    (Does::Says(500, ""), Fault::Overloaded, true, true, false),
    (Does::Says(529, ""), Fault::Overloaded, true, true, false),
];

fn good(wire: Wire, text: &str) -> Vec<Step> {
    match wire {
        Wire::Messages => message_of(&[text_of(text)], "end_turn"),
        Wire::Responses => {
            response_of(&[json!({"type": "message", "content": [{"type": "output_text", "text": text}]})])
        }
        _ => answer(&[text]),
    }
}

/// How an answer begins, before any of its text.
fn beginning(wire: Wire) -> Value {
    match wire {
        Wire::Messages => json!({"type": "message_start", "message": {"model": "m", "content": []}}),
        Wire::Responses => json!({"type": "response.created", "response": {"model": "m", "error": null}}),
        _ => {
            json!({"type": "chunk", "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant"}}]})
        }
    }
}

fn steps(does: Does, wire: Wire) -> Vec<Step> {
    match does {
        Does::Hangs => vec![Step::Hang],
        Does::Dies => {
            let mut steps = stream_of(&[beginning(wire)]);
            steps.pop();
            steps.push(Step::Hang);
            steps
        }
        Does::Breaks => {
            let event = format!("data: {}\n\ndata: {{\"type\": \"hal", beginning(wire));
            broken_off(&event)
        }
        Does::Babbles => status(200, "Content-Type: application/json\r\n", "{\"no\": 1"),
        Does::Says(code, headers) => {
            let body = json!({"type": "error", "error": {"type": "it", "message": "said so"}}).to_string();
            status(code, &format!("Content-Type: application/json\r\n{headers}"), &body)
        }
    }
}

/// Quick to lose patience with silence.
fn engine(fake: &Fake, wire: Wire) -> Native {
    Native { silence: Some(Duration::from_millis(100)), ..native_of(fake, wire, KEY) }
}

#[tokio::test]
async fn each_is_tried_again_or_fails_at_once() {
    for wire in WIRES {
        for (does, fault, again, ..) in TABLE {
            let fake = Fake::start([steps(does, wire), good(wire, "ok")]).await;
            let result = run(&engine(&fake, wire)).await.0;
            if again {
                let outcome = result.unwrap_or_else(|e| panic!("{wire:?} {does:?}: {e}"));
                assert_eq!((outcome.text.as_str(), outcome.calls), ("ok", 2), "{wire:?} {does:?}");
            } else {
                let error = result.unwrap_err();
                assert_eq!(
                    (error.fault(), fake.calls().len()),
                    (Some(fault), 1),
                    "{wire:?} {does:?}: {error}"
                );
            }
            // Where it goes on like that the turn fails with what it is.
            let fake = Fake::start((0..3).map(|_| steps(does, wire))).await;
            let error = run(&engine(&fake, wire)).await.0.unwrap_err();
            assert_eq!(error.fault(), Some(fault), "{wire:?} {does:?}: {error}");
            assert_eq!(fake.calls().len(), if again { 3 } else { 1 }, "{wire:?} {does:?}");
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }
}

#[tokio::test]
async fn another_provider_answers_instead() {
    for wire in WIRES {
        for (does, fault, _, falls_back, _) in TABLE {
            let first = Fake::start([steps(does, wire)]).await;
            let second = Fake::start([good(wire, "second")]).await;
            let mut engine = engine(&first, wire);
            engine.policy.attempts = 1;
            engine.ways.as_mut().unwrap().push(Way::new(Endpoint { wire, ..endpoint(&second.base_url) }));
            let result = run(&engine).await.0;
            if falls_back {
                let outcome = result.unwrap_or_else(|e| panic!("{wire:?} {does:?}: {e}"));
                assert_eq!(
                    (outcome.text.as_str(), outcome.base_url.as_str()),
                    ("second", second.base_url.as_str())
                );
            } else {
                assert_eq!(result.unwrap_err().fault(), Some(fault), "{wire:?} {does:?}");
                assert!(second.calls().is_empty(), "{wire:?} {does:?}");
            }
        }
    }
}

/// A key that is refused is left alone, and the next one used at once, also by the turns that follow; no other fault is a key's.
#[tokio::test]
async fn another_key_is_used_instead() {
    let credential =
        |key: &str| Credential { key: Secret::new(key), base_url: None, used: 0, until: 0.0, why: "" };
    for wire in WIRES {
        for (does, .., rotates) in TABLE {
            let fake = Fake::start([steps(does, wire), good(wire, "ok"), good(wire, "again")]).await;
            let pool = Pool {
                strategy: Strategy::FillFirst,
                keys: vec![credential("sk-canary-one"), credential("sk-canary-two")],
            };
            let endpoint = Endpoint { wire, pool: Some(pool), ..endpoint(&fake.base_url) };
            let mut engine = Native::new(Ok(endpoint), quick(), Some(Duration::from_millis(100)));
            engine.policy.attempts = if rotates { 1 } else { 2 };
            let _ = run(&engine).await;
            let _ = run(&engine).await;
            let used = |call: &crate::engine::native::fake::Call| call.head.contains("sk-canary-two");
            let calls: Vec<bool> = fake.calls().iter().map(used).collect();
            if rotates {
                assert_eq!(calls[..2], [false, true], "{wire:?} {does:?}");
                // One that is good again after a moment may be by then.
                assert!(calls[2] || does == Does::Says(429, "Retry-After: 0.05\r\n"), "{wire:?} {does:?}");
            } else {
                assert!(calls.iter().all(|second| !second), "{wire:?} {does:?}: {calls:?}");
            }
        }
    }
}

/// Where all keys are refused the failure is the provider's, as with one key.
#[tokio::test]
async fn no_key_is_left() {
    let fake = Fake::start((0..3).map(|_| error(401, "bad key sk-canary-two"))).await;
    let credential =
        |key: &str| Credential { key: Secret::new(key), base_url: None, used: 0, until: 0.0, why: "" };
    let pool = Pool {
        strategy: Strategy::RoundRobin,
        keys: vec![credential("sk-canary-one"), credential("sk-canary-two")],
    };
    let endpoint = Endpoint { pool: Some(pool), ..endpoint(&fake.base_url) };
    let error = run(&Native::new(Ok(endpoint), quick(), None)).await.0.unwrap_err();
    assert_eq!((error.fault(), fake.calls().len()), (Some(Fault::Key), 2), "{error}");
    assert_eq!(error.to_string(), "HTTP 401: bad key ***");
}
