//! Answers as real servers send them, over a socket. The corpus of whole streams is read in `answer`.

use std::io::Read as _;

use super::*;

/// A body of any kind, whole, with header lines of its own.
fn body(headers: &str, body: &[u8]) -> Vec<Step> {
    let head = format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    vec![Step::Send([head.as_bytes(), body].concat())]
}

fn stop() -> String {
    format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
}

/// Wires 1: what came before the connection broke is the answer where its end had come.
#[tokio::test]
async fn w1_an_answer_whose_end_came_survives_its_connection() {
    let fake = Fake::start([broken_off(&[chunk("whole"), stop()].concat())]).await;
    let (result, events) = run(&native(&fake.base_url)).await;
    let outcome = result.unwrap();
    assert_eq!((outcome.text.as_str(), outcome.calls, outcome.finish_reason.as_str()), ("whole", 1, "stop"));
    assert_eq!(deltas(&events), "whole");
    // An error after the end is no part of the answer either.
    let late = [chunk("whole"), stop(), "data: {\"error\":{\"message\":\"late\"}}\n\n".to_owned()].concat();
    let fake = Fake::start([body("", late.as_bytes())]).await;
    assert_eq!(run(&native(&fake.base_url)).await.0.unwrap().text, "whole");
}

/// Wires 1: codings that were not asked for, and a request that asks for none.
#[tokio::test]
async fn w1_a_coding_that_was_not_asked_for_is_taken_off() {
    let text = [chunk("hello"), ending()].concat();
    let mut coded = Vec::new();
    flate2::read::GzEncoder::new(text.as_bytes(), flate2::Compression::default())
        .read_to_end(&mut coded)
        .unwrap();
    let mut refusal = Vec::new();
    let refused = json!({"error": {"message": "no such model"}}).to_string();
    flate2::read::ZlibEncoder::new(refused.as_bytes(), flate2::Compression::default())
        .read_to_end(&mut refusal)
        .unwrap();
    let length = refusal.len();
    let head = format!("HTTP/1.1 404 X\r\nContent-Encoding: deflate\r\nContent-Length: {length}\r\n\r\n");
    let fake = Fake::start([
        body("Content-Encoding: gzip\r\n", &coded),
        vec![Step::Send([head.as_bytes(), &refusal].concat())],
        body("Content-Encoding: br\r\n", b"?"),
    ])
    .await;
    let engine = native(&fake.base_url);
    assert_eq!(run(&engine).await.0.unwrap().text, "hello");
    assert!(fake.calls()[0].head.to_lowercase().contains("accept-encoding: identity"));
    assert!(message(run(&engine).await.0).contains("no such model"));
    let text = message(run(&engine).await.0);
    assert!(text.contains("coded with `br`"), "{text}");
    assert_eq!(fake.calls().len(), 3, "none of them is worth a second call");
}

/// Wires 1: an error inside a 200 is not taken for silence: what cannot be mended by repeating is not repeated.
#[tokio::test]
async fn w1_an_error_inside_a_200_means_what_it_says() {
    for (answer, fault, says) in [
        (
            r#"data: {"object":"error","message":"no such model","type":"NotFoundError","code":404}"#,
            Fault::Setup,
            "no such model",
        ),
        (
            "event: error\ndata: {\"message\":\"bad key\",\"type\":\"authentication_error\"}",
            Fault::Key,
            "bad key",
        ),
        (
            "error: {\"code\":400,\"message\":\"too long\",\"type\":\"invalid_request_error\"}",
            Fault::Request,
            "too long",
        ),
        (
            r#"{"detail":[{"loc":["body","messages"],"msg":"field required","type":"missing"}]}"#,
            Fault::Request,
            "`messages`: field required",
        ),
        (r#"{"object":"error","message":"pay first","code":402}"#, Fault::Quota, "pay first"),
        (
            r#"[{"error":{"code":403,"message":"not here","status":"PERMISSION_DENIED"}}]"#,
            Fault::Key,
            "not here",
        ),
    ] {
        let fake = Fake::start([body("", format!("{answer}\n\n").as_bytes())]).await;
        let error = run(&native(&fake.base_url)).await.0.unwrap_err();
        assert_eq!((error.fault(), fake.calls().len()), (Some(fault), 1), "{answer}: {error}");
        assert!(error.to_string().contains(says), "{answer}: {error}");
    }
}

/// Wires 1: what is no answer at all is said as it came, and tried again: a proxy says such things while it restarts.
#[tokio::test]
async fn w1_a_page_and_a_sentence_are_told() {
    for (answer, says) in [
        (
            "<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head></html>",
            "a web page (`502 Bad Gateway`)",
        ),
        ("upstream connect error or disconnect/reset before headers", "no answer: upstream connect error"),
    ] {
        let fake = Fake::start((0..3).map(|_| body("", answer.as_bytes()))).await;
        let error = run(&native(&fake.base_url)).await.0.unwrap_err();
        assert_eq!((error.fault(), fake.calls().len()), (Some(Fault::Garbled), 3), "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
}
