//! What passes, and how.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::rig::{Client, PATIENCE, eventually, rig, status};

#[tokio::test]
async fn a_request_and_its_answer_pass_byte_for_byte() {
    let rig = rig();
    let mut client = rig.client().await;
    client
        .send("POST /p/coder/v1/a%2Fb//c?q=%20&x HTTP/1.1\r\nHost: h\r\nX-Signature:  AbC \r\nContent-Length: 5\r\nConnection: x-hop\r\nX-Hop: 1\r\nX-Hermes-Profile: ops\r\n\r\nhello")
        .await;
    let mut worker = rig.coder.accept().await;
    assert_eq!(
        worker.head().await,
        "POST /v1/a%2Fb//c?q=%20&x HTTP/1.1\r\nHost: h\r\nX-Signature:  AbC \r\nContent-Length: 5\r\nx-hermes-profile: coder\r\n\
         x-forwarded-prefix: /p/coder\r\nx-hermes-listener: api_server\r\nx-forwarded-for: 127.0.0.1\r\n\r\n"
    );
    assert_eq!(worker.text(5).await, "hello");
    worker
        .send("HTTP/1.1 201 Made\r\nX-A:  b \r\nX-Hermes-Taken: 1\r\nKeep-Alive: 5\r\ncontent-length: 2\r\n\r\nok")
        .await;
    assert_eq!(client.head().await, "HTTP/1.1 201 Made\r\nX-A:  b \r\ncontent-length: 2\r\n\r\n");
    assert_eq!(client.text(2).await, "ok");

    // The next request uses both connections again.
    client.get("/p/coder/health").await;
    assert!(worker.head().await.starts_with("GET /health HTTP/1.1\r\n"));
    worker.ok("again").await;
    assert_eq!(client.response().await.1, "again");
    eventually(|| rig.coder.route.requests() == 2).await;
    assert_eq!(rig.coder.route.totals().received, 5);
}

#[tokio::test]
async fn requests_without_prefix_go_to_the_primary() {
    let rig = rig();
    let mut client = Client::connect(&rig.webhook).await;
    client.send("POST /webhooks/r HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n").await;
    let mut worker = rig.primary.accept().await;
    let head = worker.head().await;
    assert!(head.contains("x-hermes-profile: default\r\nx-hermes-listener: webhook\r\n"), "{head}");
    worker.ok("").await;
    assert_eq!(status(&client.response().await.0), 200);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let rig = rig();
    let mut client = rig.client().await;
    client
        .send("GET /p/coder/v1/1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /p/coder/v1/2 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: h\r\n\r\nGET /p/coder/v1/4 HTTP/1.1\r\nHost: h\r\n\r\n")
        .await;
    let mut worker = rig.coder.accept().await;
    assert!(worker.head().await.starts_with("GET /v1/1 "));
    worker.ok("1").await;
    assert_eq!(client.response().await.1, "1");
    assert!(worker.until("0\r\n\r\n").await.ends_with("\r\n\r\n2\r\nab\r\n0\r\n\r\n"));
    worker.taken("2").await;
    assert_eq!(client.response().await.1, "2");
    assert_eq!(client.response().await.1, "404: Not Found");
    assert!(worker.head().await.starts_with("GET /v1/4 "));
    worker.ok("4").await;
    assert_eq!(client.response().await.1, "4");
}

#[tokio::test]
async fn a_head_may_arrive_byte_by_byte() {
    let rig = rig();
    let mut client = rig.client().await;
    for byte in b"\r\nPOST /p/coder/v1/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;e=1\r\nabc\r\n0\r\nT: 1\r\n\r\n" {
        client.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    let mut worker = rig.coder.accept().await;
    worker.head().await;
    assert_eq!(worker.until("0\r\n\r\n").await, "3\r\nabc\r\n0\r\n\r\n");
    for byte in b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: y\r\n\r\n" {
        worker.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(
        client.until("0\r\n\r\n").await,
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    );
}

#[tokio::test]
async fn events_arrive_as_they_are_sent() {
    let rig = rig();
    let mut client = rig.client().await;
    client.get("/p/coder/v1/stream").await;
    let mut worker = rig.coder.accept().await;
    worker.head().await;
    worker
        .send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    client.head().await;
    for n in 0..50 {
        // Sent only when the one before has arrived.
        let event = format!("b\r\ndata: {n:>3}\n\n\r\n");
        worker.send(&event).await;
        assert_eq!(client.text(event.len()).await, event);
    }
    worker.send("0\r\n\r\n").await;
    assert_eq!(client.until("0\r\n\r\n").await, "0\r\n\r\n");
}

#[tokio::test]
async fn large_bodies_stream_both_ways() {
    let mut settings = crate::rig::settings();
    settings.max_body_bytes = 64 << 20;
    let rig = crate::rig::rig_with(&settings);
    let size = 20 << 20;
    let mut client = rig.client().await;
    let (mut read, mut write) = client.stream.split();
    let pattern: Vec<u8> = (0..1_000_003u32).map(|n| n.to_le_bytes()[0]).collect();
    let upload = async {
        write
            .write_all(
                format!("POST /p/coder/v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n")
                    .as_bytes(),
            )
            .await
            .unwrap();
        let mut left = size;
        while left > 0 {
            let n = left.min(pattern.len());
            write.write_all(&pattern[..n]).await.unwrap();
            left -= n;
        }
    };
    let echo = async {
        let mut worker = rig.coder.accept().await;
        worker.head().await;
        worker.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")).await;
        let mut left = size;
        while left > 0 {
            let n = left.min(50_000);
            let bytes = worker.bytes(n).await;
            worker.send(bytes).await;
            left -= n;
        }
    };
    let download = async {
        let mut got = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let n = tokio::time::timeout(PATIENCE, tokio::io::AsyncReadExt::read(&mut read, &mut buffer))
                .await
                .unwrap()
                .unwrap();
            got.extend_from_slice(&buffer[..n]);
            if n == 0 || got.len() > size {
                return got;
            }
        }
    };
    let ((), (), got) = tokio::join!(upload, echo, download);
    let body = &got[got.len() - size..];
    assert!(body.chunks(pattern.len()).all(|c| c == &pattern[..c.len()]));
}

#[tokio::test]
async fn responses_without_body_end_where_they_should() {
    let rig = rig();
    let mut client = rig.client().await;
    let mut worker = None;
    for (method, answer) in [
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n"),
    ] {
        client.send(format!("{method} /p/coder/v1/x HTTP/1.1\r\nHost: h\r\n\r\n")).await;
        if worker.is_none() {
            worker = Some(rig.coder.accept().await);
        }
        let worker = worker.as_mut().unwrap();
        worker.head().await;
        worker.send(answer).await;
        assert_eq!(client.head().await, answer);
    }
}

#[tokio::test]
async fn old_clients_get_payload_until_the_end() {
    let rig = rig();
    let mut client = rig.client().await;
    client.send("GET /p/coder/v1/x HTTP/1.0\r\n\r\n").await;
    let mut worker = rig.coder.accept().await;
    assert!(worker.head().await.starts_with("GET /v1/x HTTP/1.1\r\nhost: localhost\r\n"));
    worker
        .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n")
        .await;
    assert_eq!(client.rest().await, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello");
}

/// 22: HTTP/1.0 with `keep-alive`, as old load testers and scripts speak it.
#[tokio::test]
async fn old_clients_that_ask_for_it_are_kept() {
    let rig = rig();
    let mut client = rig.client().await;
    let request = "GET /p/coder/v1/x HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n";
    let mut worker = None;
    for _ in 0..2 {
        client.send(request).await;
        let worker = match &mut worker {
            Some(worker) => worker,
            none => none.insert(rig.coder.accept().await),
        };
        worker.head().await;
        worker.ok("ok").await;
        let (head, body) = client.response().await;
        assert!(head.contains("\r\nconnection: keep-alive\r\n") && body == "ok", "{head}");
    }
    client.send("GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    assert!(client.response().await.0.contains("\r\nconnection: keep-alive\r\n"));
    // What only the end of the connection can delimit ends it.
    client.send(request).await;
    let mut worker = worker.unwrap();
    worker.head().await;
    worker.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n0\r\n\r\n").await;
    assert_eq!(client.rest().await, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhe");
}

/// 22: empty lines before a worker's status line.
#[tokio::test]
async fn empty_lines_before_an_answer_are_left_out() {
    let rig = rig();
    let mut client = rig.client().await;
    for pieces in [
        &["\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"][..],
        &["\r", "\n\r\nHTTP/1.1 200 OK\r\n", "content-length: 2\r\n\r\nok"],
    ] {
        client.get("/p/coder/v1/x").await;
        let mut worker = rig.coder.accept().await;
        worker.head().await;
        for piece in pieces {
            worker.send(piece).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(client.head().await, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n");
        assert_eq!(client.text(2).await, "ok");
        rig.coder.route.drop_idle();
    }
}

/// 19: what a worker left of a request must not become the next one.
#[tokio::test]
async fn only_a_request_that_was_taken_whole_leaves_a_connection_to_keep() {
    let rig = rig();
    let mut client = rig.client().await;
    // Nothing is said, as by a worker that answers before it reads: whether it closes or takes the rest for a request, nobody
    // is sent there any more.
    for body in ["Content-Length: 4\r\n\r\nrest", "Transfer-Encoding: chunked\r\n\r\n4\r\nrest\r\n0\r\n\r\n"]
    {
        client.send(format!("POST /p/coder/v1/x HTTP/1.1\r\nHost: h\r\nX-Hermes-Taken: 1\r\n{body}")).await;
        let mut worker = rig.coder.accept().await;
        let head = worker.head().await;
        assert!(!head.to_ascii_lowercase().contains("taken"), "{head}");
        worker.ok("1").await;
        assert_eq!(client.response().await.1, "1");
        assert!(worker.rest().await.contains("rest"));
    }
    client.send("POST /p/coder/v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nrest").await;
    let mut worker = rig.coder.accept().await;
    worker.until("rest").await;
    worker.taken("2").await;
    let (head, body) = client.response().await;
    assert!(!head.contains("taken") && body == "2", "{head}");
    client.get("/p/coder/v1/x").await;
    assert!(worker.head().await.starts_with("GET "));
    worker.ok("3").await;
    assert_eq!(client.response().await.1, "3");
}

#[tokio::test]
async fn a_body_without_length_ends_with_the_connection() {
    let rig = rig();
    let mut client = rig.client().await;
    client.get("/p/coder/v1/x").await;
    let mut worker = rig.coder.accept().await;
    worker.head().await;
    worker.send("HTTP/1.1 200 OK\r\n\r\nhello").await;
    client.until("hello").await;
    drop(worker);
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn expectations_and_interim_responses_pass() {
    let rig = rig();
    let mut client = rig.client().await;
    client
        .send("POST /p/coder/v1/x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        .await;
    let mut worker = rig.coder.accept().await;
    assert!(worker.head().await.contains("Expect: 100-continue\r\n"));
    worker.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hi").await;
    assert_eq!(worker.text(2).await, "hi");
    worker
        .send("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        .await;
    assert_eq!(client.head().await, "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n");
    assert_eq!(client.response().await.1, "ok");
}

#[tokio::test]
async fn an_answer_before_the_body_s_end_ends_the_connection() {
    let rig = rig();
    let mut client = rig.client().await;
    client.send("POST /p/coder/v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\npart").await;
    let mut worker = rig.coder.accept().await;
    worker.head().await;
    worker.send("HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno").await;
    let text = client.rest().await;
    assert_eq!(text, "HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno");
    assert_eq!(worker.rest().await, "part");
}

#[tokio::test]
async fn upgrades_become_tunnels_that_know_half_closes() {
    let rig = rig();
    let mut client = rig.client().await;
    client.send("GET /p/coder/v1/ws HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\nearly").await;
    let mut worker = rig.coder.accept().await;
    assert!(worker.head().await.contains("Upgrade: websocket\r\nconnection: upgrade\r\n"));
    worker
        .send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nfirst")
        .await;
    assert!(client.head().await.ends_with("Upgrade: websocket\r\nconnection: upgrade\r\n\r\n"));
    assert_eq!(client.text(5).await, "first");
    assert_eq!(worker.text(5).await, "early");
    client.send([0xff, 0, b'\n']).await;
    assert_eq!(worker.bytes(3).await, [0xff, 0, b'\n']);
    client.stream.shutdown().await.unwrap();
    assert_eq!(worker.rest().await, "");
    worker.send("still").await;
    assert_eq!(client.text(5).await, "still");
    drop(worker);
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_along() {
    let rig = rig();
    for begun in [false, true] {
        let mut client = rig.client().await;
        client.get("/p/coder/v1/x").await;
        let mut worker = rig.coder.accept().await;
        worker.head().await;
        if begun {
            worker.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n").await;
            client.until("hi").await;
        }
        drop(client);
        let gone = tokio::time::timeout(Duration::from_secs(1), worker.rest()).await;
        assert_eq!(gone.expect("the worker notices within a second"), "");
    }
}

/// 22: also behind more than is read ahead of its turn.
#[tokio::test]
async fn a_client_that_leaves_behind_many_bytes_is_missed() {
    let rig = rig();
    let more = "GET /p/coder/v1/more HTTP/1.1\r\nHost: h\r\n\r\n".repeat(3_000);
    for begun in [false, true] {
        let mut client = rig.client().await;
        client.get("/p/coder/v1/x").await;
        let mut worker = rig.coder.accept().await;
        worker.head().await;
        client.send(&more).await;
        if begun {
            worker.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n").await;
            client.until("hi").await;
        }
        drop(client);
        assert_eq!(worker.rest().await, "");
    }
}

/// 22: and one that stays has every request answered, however many wait.
#[tokio::test]
async fn requests_behind_many_bytes_are_answered() {
    let rig = rig();
    let mut client = rig.client().await;
    let count = 3_000;
    client.get("/p/coder/v1/x").await;
    let mut worker = rig.coder.accept().await;
    worker.head().await;
    client.send("GET /p/coder/v1/more HTTP/1.1\r\nHost: h\r\n\r\n".repeat(count)).await;
    // Long enough for the proxy to stop reading.
    tokio::time::sleep(Duration::from_millis(50)).await;
    worker.ok("first").await;
    assert_eq!(client.response().await.1, "first");
    for _ in 0..count {
        worker.head().await;
        worker.ok("more").await;
        assert_eq!(client.response().await.1, "more");
    }
}
