//! What clients and workers are held to.

use std::time::Duration;

use crate::rig::{Client, rig, rig_with, settings, status};

#[tokio::test]
async fn bodies_that_announce_too_much_are_refused_before_they_are_sent() {
    let rig = rig();
    let mut client = rig.client().await;
    client.send("POST /p/coder/v1/x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1000001\r\n\r\n").await;
    let text = client.rest().await;
    assert_eq!(status(&text), 413, "{text}");
    assert!(
        text.contains(r#"{"error":{"code":"body_too_large""#) && text.contains("connection: close\r\n"),
        "{text}"
    );
    assert!(rig.coder.is_left_alone().await);
}

#[tokio::test]
async fn chunked_bodies_are_counted_and_the_client_can_read_the_refusal() {
    let rig = rig();
    let mut client = rig.client().await;
    client.send("POST /p/coder/v1/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let mut worker = rig.coder.accept().await;
    worker.head().await;
    let chunk = format!("{:x}\r\n{}\r\n", 100_000, "x".repeat(100_000));
    let sending = async {
        for _ in 0..11 {
            client.send(&chunk).await;
        }
        client.rest().await
    };
    let (text, got) = tokio::join!(sending, worker.rest());
    assert_eq!(status(&text), 413, "{text}");
    assert!(got.len() <= 1_000_200);
}

#[tokio::test]
async fn heads_are_bounded_in_size_and_number() {
    let rig = rig();
    for head in [
        format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(40_000)),
        format!("GET / HTTP/1.1\r\nHost: h\r\nA: {}", "x".repeat(40_000)),
        format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(101)),
    ] {
        let mut client = rig.client().await;
        client.send(head).await;
        assert_eq!(status(&client.rest().await), 431);
    }
}

#[tokio::test]
async fn a_head_that_does_not_come_is_not_waited_for() {
    let mut settings = settings();
    settings.header_timeout_ms = 150;
    let rig = rig_with(&settings);
    let mut silent = rig.client().await;
    assert_eq!(silent.rest().await, "");
    let mut slow = rig.client().await;
    slow.send("GET / HTT").await;
    assert_eq!(status(&slow.rest().await), 408);
    // A kept connection may be silent longer.
    let mut kept = rig.client().await;
    kept.get("/health").await;
    kept.response().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    kept.get("/health").await;
    assert_eq!(status(&kept.response().await.0), 200);
    kept.send("G").await;
    assert_eq!(status(&kept.rest().await), 408);
}

#[tokio::test]
async fn one_profile_s_requests_do_not_delay_another_s() {
    let mut settings = settings();
    settings.max_requests_per_profile = 2;
    let rig = rig_with(&settings);
    let (mut a, mut b) = (rig.client().await, rig.client().await);
    a.get("/p/coder/v1/x").await;
    let mut first = rig.coder.accept().await;
    first.head().await;
    b.get("/p/coder/v1/x").await;
    let mut second = rig.coder.accept().await;
    second.head().await;
    assert_eq!(rig.coder.route.active(), 2);
    let mut c = rig.client().await;
    c.get("/p/coder/v1/x").await;
    let (head, body) = c.response().await;
    assert_eq!(status(&head), 503);
    assert!(
        head.contains("retry-after: 1\r\n") && body.contains("too_many_requests_in_flight"),
        "{head}{body}"
    );
    c.get("/v1/models").await;
    let mut other = rig.primary.accept().await;
    other.head().await;
    other.ok("fine").await;
    assert_eq!(c.response().await.1, "fine");
    first.ok("").await;
    a.response().await;
    c.get("/p/coder/v1/x").await;
    first.head().await;
    first.ok("room").await;
    assert_eq!(c.response().await.1, "room");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_told_so() {
    let mut settings = settings();
    settings.max_connections = 2;
    let rig = rig_with(&settings);
    let mut served = Vec::new();
    for _ in 0..2 {
        let mut client = rig.client().await;
        client.get("/p/coder/v1/x").await;
        let mut worker = rig.coder.accept().await;
        worker.head().await;
        served.push((client, worker));
    }
    let mut client = Client::connect(&rig.webhook).await;
    let text = client.rest().await;
    assert!(
        text.starts_with("HTTP/1.1 503 ") && text.contains("x-hermes-error: too_many_connections\r\n"),
        "{text}"
    );
}

#[tokio::test]
async fn a_worker_that_does_not_answer_is_given_up() {
    let mut settings = settings();
    settings.response_timeout_ms = 200;
    settings.hold_ms = 50;
    let rig = rig_with(&settings);
    let mut client = rig.client().await;
    client.get("/p/coder/v1/x").await;
    let mut worker = rig.coder.accept().await;
    worker.head().await;
    let (head, body) = client.response().await;
    assert_eq!(status(&head), 504, "{body}");
    assert_eq!(worker.rest().await, "");
}
