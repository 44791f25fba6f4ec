//! Reading answers, without a socket.

use std::convert::Infallible;

use futures_util::stream;
use proptest::prelude::*;
use serde_json::json;

use super::*;

mod corpus;

fn read(bytes: &[u8]) -> (Result<(), Failure>, Answer) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (sink, _) = tokio::sync::mpsc::channel(1);
    let mut answer = Answer::default();
    let body = stream::iter([Ok::<_, Infallible>(Bytes::copy_from_slice(bytes))]);
    let result = runtime.block_on(answer.read(body, &mut Audience::new(sink.into())));
    (result, answer)
}

fn events(chunks: &[Value]) -> Vec<u8> {
    chunks.iter().map(|c| format!("data: {c}\n\n")).collect::<String>().into_bytes()
}

fn failure(bytes: &[u8]) -> (Fault, String) {
    let failure = read(bytes).0.unwrap_err();
    (failure.fault, failure.message)
}

#[test]
fn the_many_ways_to_say_something() {
    let stop = json!({"choices": [{"delta": {}, "finish_reason": "stop"}]});
    for delta in [
        json!({"choices": [{"delta": {"content": "hi"}}]}),
        json!({"choices": [{"delta": {"content": [{"type": "text", "text": "h"}, {"type": "x"}, {"text": "i"}]}}]}),
        json!({"choices": [{"index": 1, "delta": {"content": "no"}}, {"index": 0, "delta": {"content": "hi"}}]}),
        json!({"choices": [{"text": "hi"}]}),
        json!({"choices": [{"delta": {"content": null, "refusal": "hi"}}], "error": null, "usage": null}),
    ] {
        let (result, answer) = read(&events(&[delta.clone(), stop.clone()]));
        assert_eq!((result, answer.text.as_str()), (Ok(()), "hi"), "{delta}");
    }
}

/// Wires 1: a stream that was ended properly is whole, with or without a reason and a mark, as stock clients have it.
#[test]
fn w1_a_missing_end_is_forgiven() {
    let hi = json!({"choices": [{"delta": {"content": "hi"}}]});
    let (result, answer) = read(&events(std::slice::from_ref(&hi)));
    assert_eq!((result, answer.text.as_str(), answer.finish_reason()), (Ok(()), "hi", "stop"));
    let reason = json!({"choices": [{"delta": {}, "finish_reason": "length"}]});
    let (result, answer) = read(&events(&[hi.clone(), reason]));
    assert_eq!((result, answer.finish_reason()), (Ok(()), "length"));
    let mut marked = events(&[hi]);
    marked.extend_from_slice(b"data: [DONE]");
    assert_eq!(read(&marked).0, Ok(()));
    assert_eq!(
        failure(&events(&[json!({"choices": [{"delta": {"role": "assistant"}}]})])).0,
        Fault::Unreachable
    );
}

#[test]
fn no_answer_says_why() {
    let ended = |delta: Value, reason: &str| {
        events(&[json!({"choices": [{"delta": delta, "finish_reason": reason}]})])
    };
    assert_eq!(failure(&ended(json!({}), "content_filter")).0, Fault::Request);
    assert_eq!(failure(&ended(json!({"reasoning": "hm"}), "length")).0, Fault::Request);
    let (fault, text) = failure(&ended(json!({"reasoning_content": "hm"}), "stop"));
    assert_eq!((fault, text.contains("reasoned")), (Fault::Empty, true));
    assert_eq!(failure(&ended(json!({"content": "  \n"}), "stop")).0, Fault::Empty);
    assert_eq!(failure(b"").0, Fault::Garbled);
}

#[test]
fn errors_inside_a_stream_mean_what_their_code_says() {
    let error = |value: Value| failure(&events(&[json!({"error": value})]));
    assert_eq!(error(json!({"code": 401, "message": "no"})), (Fault::Key, "HTTP 401: no".to_owned()));
    assert_eq!(error(json!({"code": "429", "message": "busy"})).0, Fault::Limited);
    assert_eq!(error(json!({"code": "insufficient_quota", "message": "pay"})).0, Fault::Quota);
    assert_eq!(
        error(json!("broken")),
        (Fault::Overloaded, "the provider reported an error: broken".to_owned())
    );
}

#[test]
fn text_is_bounded() {
    let large = json!({"choices": [{"delta": {"content": "x".repeat(600_000)}}]});
    let (fault, text) = failure(&events(&vec![large; 8]));
    assert_eq!((fault, text.contains("longer than 4194304 bytes")), (Fault::Request, true), "{text}");
}

proptest! {
    #[test]
    fn any_bytes_are_an_answer_or_a_failure(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
    }

    #[test]
    fn any_json_is_an_answer_or_a_failure(
        key in "choices|error|usage|model|delta|content",
        text in "[\\[\\]{}\":,a-c0-9]{0,40}",
    ) {
        let _ = read(format!("data: {{\"{key}\": {text}}}\n\n").as_bytes());
        let _ = read(format!("{{\"{key}\": {text}}}").as_bytes());
    }
}
