//! What a client of `gateway.sock` says: any bytes are answered with one line of JSON, within its limit, that repeats the request's id.
#![no_main]
#![expect(dead_code, reason = "who reads the line knows its limit, not who parses it")]

use libfuzzer_sys::fuzz_target;
use request::{MAX_ANSWER, Refusal, VERBS};
use serde_json::{Map, Value};

#[path = "../../../supervisor/gateway/src/rendezvous/request.rs"]
mod request;

fuzz_target!(|data: &[u8]| {
    let line = &data[..data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len())];
    let asked = request::parse(line);
    let unknown = matches!(asked.verb, Err(Refusal::UnknownVerb(_)));
    let fails = asked.verb.is_err();
    let answer = request::answer(asked.id.as_ref(), asked.verb.map(|_| Map::new()));
    assert!(answer.len() <= MAX_ANSWER);
    assert_eq!(answer.iter().position(|byte| *byte == b'\n'), Some(answer.len() - 1));
    let answer: Value = serde_json::from_slice(&answer).expect("an answer is JSON");
    assert_eq!((&answer["ok"], &answer["protocol"]), (&Value::Bool(!fails), &Value::from(1)));
    assert_eq!(answer.get("id"), asked.id.as_ref());
    assert_eq!(answer.get("supported_verbs").is_some(), unknown);
    assert!(VERBS.is_sorted());
});
