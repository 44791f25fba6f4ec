//! What is hidden from clients, and what they are told.

use std::sync::Arc;

use hermes_gateway::proxy::{Availability, Route, Table};

use crate::rig::{PATIENCE, Peer, rig, rig_with, settings, status};

#[tokio::test]
async fn unavailable_profiles_say_which_and_why() {
    let rig = rig();
    rig.coder.route.set(Availability::Unavailable { state: "backoff", retry_after_secs: 7 });
    let mut client = rig.client().await;
    client.send("POST /p/coder/v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi").await;
    let (head, body) = client.response().await;
    assert_eq!(status(&head), 503);
    assert_eq!(body, r#"{"error":"Profile unavailable","profile":"coder","state":"backoff"}"#);
    for line in ["retry-after: 7\r\n", "x-hermes-error: worker_not_ready\r\n", "x-frame-options: DENY\r\n"] {
        assert!(head.contains(line), "{head}");
    }
    // The body was here, so the connection goes on, and others are not concerned.
    client.get("/v1/models").await;
    let mut worker = rig.primary.accept().await;
    worker.head().await;
    worker.ok("fine").await;
    assert_eq!(client.response().await.1, "fine");
}

#[tokio::test]
async fn requests_wait_for_a_worker_that_starts() {
    let rig = rig();
    rig.coder.route.set(Availability::Open { ready: false });
    let mut client = rig.client().await;
    client.get("/p/coder/v1/x").await;
    let mut worker = rig.coder.accept().await;
    worker.head().await;
    rig.coder.route.set(Availability::Open { ready: true });
    worker.ok("up").await;
    assert_eq!(client.response().await.1, "up");
}

#[tokio::test]
async fn requests_do_not_wait_for_a_worker_that_gave_up() {
    let rig = rig();
    rig.coder.route.set(Availability::Open { ready: false });
    let mut client = rig.client().await;
    client.get("/p/coder/v1/x").await;
    let _waiting = rig.coder.accept().await;
    rig.coder.route.set(Availability::Unavailable { state: "failed", retry_after_secs: 30 });
    let (head, body) = client.response().await;
    assert_eq!(status(&head), 503);
    assert!(body.ends_with(r#""state":"failed"}"#), "{body}");
}

#[tokio::test]
async fn nobody_waits_longer_than_the_hold_time() {
    let mut settings = settings();
    settings.hold_ms = 100;
    let rig = rig_with(&settings);
    rig.coder.route.set(Availability::Open { ready: false });
    let mut client = rig.client().await;
    client.get("/p/coder/v1/x").await;
    let (head, body) = client.response().await;
    assert_eq!(status(&head), 503);
    assert!(body.ends_with(r#""state":"starting"}"#), "{body}");
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_replaced_silently() {
    let rig = rig();
    let mut client = rig.client().await;
    client.get("/p/coder/v1/1").await;
    let mut worker = rig.coder.accept().await;
    worker.head().await;
    worker.ok("1").await;
    client.response().await;
    drop(worker);
    client.send("POST /p/coder/v1/2 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi").await;
    let mut worker = rig.coder.accept().await;
    assert!(worker.until("hi").await.starts_with("POST /v1/2 "));
    worker.ok("2").await;
    assert_eq!(client.response().await.1, "2");
}

#[tokio::test]
async fn unsolicited_bytes_never_become_an_answer() {
    let rig = rig();
    let mut client = rig.client().await;
    client.get("/p/coder/v1/1").await;
    let mut worker = rig.coder.accept().await;
    worker.head().await;
    worker
        .send("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
        .await;
    assert_eq!(client.response().await.1, "1");
    client.get("/p/coder/v1/2").await;
    let mut fresh = rig.coder.accept().await;
    fresh.head().await;
    fresh.ok("2").await;
    assert_eq!(client.response().await.1, "2");
}

#[tokio::test]
async fn a_lost_request_is_repeated_once_if_that_is_safe() {
    let rig = rig();
    let mut client = rig.client().await;
    client.get("/p/coder/v1/x").await;
    rig.coder.accept().await.head().await;
    let mut worker = rig.coder.accept().await;
    worker.head().await;
    worker.ok("second").await;
    assert_eq!(client.response().await.1, "second");
    drop(worker);

    client.get("/p/coder/v1/x").await;
    rig.coder.accept().await.head().await;
    rig.coder.accept().await.head().await;
    let (head, body) = client.response().await;
    assert_eq!(status(&head), 502, "{body}");

    for request in [
        "POST /p/coder/v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        "PUT /p/coder/v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx",
    ] {
        client.send(request).await;
        rig.coder.accept().await.head().await;
        let (head, body) = client.response().await;
        assert_eq!(status(&head), 502);
        assert!(body.contains("worker_closed_early"), "{body}");
    }
}

/// 13: a worker that was told to end answers what it was sent, whatever its profile is called meanwhile.
#[tokio::test]
async fn a_request_that_was_sent_is_answered_by_a_worker_that_finishes() {
    let mut settings = settings();
    settings.hold_ms = 20;
    let rig = rig_with(&settings);
    for (sent, state) in [(true, "draining"), (false, "stopped"), (true, "detached")] {
        rig.coder.route.set_finishing(true);
        rig.coder.route.set(Availability::Open { ready: sent });
        let mut client = rig.client().await;
        client.get("/p/coder/v1/x").await;
        let mut worker = rig.coder.accept().await;
        worker.head().await;
        rig.coder.route.set(Availability::Open { ready: true });
        rig.coder.route.set(Availability::Unavailable { state, retry_after_secs: 5 });
        let mut other = rig.client().await;
        other.get("/p/coder/v1/x").await;
        assert_eq!(status(&other.response().await.0), 503, "new ones are refused");
        // Many looks later.
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        worker.ok("late").await;
        assert_eq!(client.response().await.1, "late", "{state}");
        rig.coder.route.drop_idle();
    }
    // What nobody took by the end is refused, and may be sent again.
    rig.coder.route.set(Availability::Open { ready: true });
    let mut client = rig.client().await;
    client.get("/p/coder/v1/x").await;
    let _waits = rig.coder.accept().await;
    rig.coder.route.set(Availability::Unavailable { state: "draining", retry_after_secs: 5 });
    rig.coder.route.set_finishing(false);
    rig.coder.route.set(Availability::Unavailable { state: "stopped", retry_after_secs: 5 });
    let (head, body) = client.response().await;
    assert!(
        status(&head) == 503 && head.contains("retry-after: 5") && body.contains("stopped"),
        "{head}{body}"
    );
}

/// 22: also where several kept connections turn out dead under it, a request is sent twice at most.
#[tokio::test]
async fn a_request_is_sent_at_most_twice_however_many_connections_are_kept() {
    let rig = rig();
    let (mut clients, mut kept) = (Vec::new(), Vec::new());
    for _ in 0..8 {
        let mut client = rig.client().await;
        client.get("/p/coder/v1/warm").await;
        let mut worker = rig.coder.accept().await;
        worker.head().await;
        clients.push(client);
        kept.push(worker);
    }
    for (client, worker) in clients.iter_mut().zip(&mut kept) {
        worker.ok("warm").await;
        client.response().await;
    }
    // Each of them reads what it gets and ends without a word, as a worker that dies does.
    let mut deaths = tokio::task::JoinSet::new();
    for mut worker in kept {
        deaths.spawn(async move {
            let mut byte = [0];
            tokio::io::AsyncReadExt::read(&mut worker.stream, &mut byte).await.unwrap_or(0)
        });
    }
    let mut client = clients.pop().unwrap();
    client.get("/p/coder/v1/x").await;
    rig.coder.accept().await.head().await;
    let (head, body) = client.response().await;
    assert_eq!(status(&head), 502, "{body}");
    assert!(rig.coder.is_left_alone().await, "it was sent a third time");
    rig.coder.route.drop_idle();
    let received: usize = deaths.join_all().await.into_iter().sum();
    assert_eq!(received, 1, "one kept connection got the request");
}

/// 22: what the worker's HTTP library refuses by itself is answered like everything else that is refused.
#[tokio::test]
async fn a_bare_refusal_is_answered_as_ours() {
    let rig = rig();
    for (line, expected, code) in [
        ("400 Bad Request", 400, "bad_request"),
        ("414 URI Too Long", 414, "bad_request"),
        ("431 Request Header Fields Too Large", 431, "head_too_large"),
    ] {
        let mut client = rig.client().await;
        client.get("/p/coder/v1/x").await;
        let mut worker = rig.coder.accept().await;
        worker.head().await;
        worker.send(format!("HTTP/1.1 {line}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")).await;
        let (head, body) = client.response().await;
        assert_eq!(status(&head), expected, "{head}");
        assert!(
            head.contains(&format!("x-hermes-error: {code}\r\n"))
                && head.contains("x-frame-options: DENY\r\n"),
            "{head}"
        );
        assert!(body.contains(code), "{body}");
    }
    // The worker's own, which is signed, passes as it is.
    let mut client = rig.client().await;
    client.get("/p/coder/v1/x").await;
    let mut worker = rig.coder.accept().await;
    worker.head().await;
    worker
        .send("HTTP/1.1 400 Bad Request\r\nx-content-type-options: nosniff\r\ncontent-length: 0\r\n\r\n")
        .await;
    assert!(!client.response().await.0.contains("x-hermes-error"));
}

#[tokio::test]
async fn half_an_answer_never_looks_whole() {
    let rig = rig();
    for (head, part) in [
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "5\r\nhel"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", "hel"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "2\r\nhe\r\nnonsense\r\n0\r\n\r\n"),
    ] {
        let mut client = rig.client().await;
        client.get("/p/coder/v1/x").await;
        let mut worker = rig.coder.accept().await;
        worker.head().await;
        worker.send(head).await;
        client.head().await;
        worker.send(part).await;
        drop(worker);
        let rest = client.rest().await;
        assert!(part.starts_with(&rest) && !rest.contains("0\r\n\r\n"), "{rest:?}");
    }
}

#[tokio::test]
async fn what_is_no_answer_is_a_502() {
    let rig = rig();
    let mut client = rig.client().await;
    let large = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(40_000));
    for answer in [
        "SSH-2.0-x\r\n\r\n",
        "HTTP/1.1 200 OK\nA: b\n\n",
        "HTTP/1.1 101 No\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n",
        &large,
    ] {
        client.get("/p/coder/v1/x").await;
        let mut worker = rig.coder.accept().await;
        worker.head().await;
        worker.send(answer).await;
        let (head, body) = client.response().await;
        assert_eq!(status(&head), 502, "{answer}");
        assert!(body.contains("worker_malformed_answer"), "{body}");
    }
}

#[tokio::test]
async fn dropping_idle_connections_is_prompt_and_spares_requests_in_flight() {
    let rig = rig();
    let (mut a, mut b) = (rig.client().await, rig.client().await);
    a.get("/p/coder/v1/a").await;
    let mut idle = rig.coder.accept().await;
    idle.head().await;
    b.get("/p/coder/v1/b").await;
    let mut busy = rig.coder.accept().await;
    busy.head().await;
    idle.ok("a").await;
    a.response().await;
    rig.coder.route.drop_idle();
    assert_eq!(idle.rest().await, "");
    busy.ok("b").await;
    assert_eq!(b.response().await.1, "b");
    assert_eq!(busy.rest().await, "");
    b.get("/p/coder/v1/c").await;
    let mut fresh = rig.coder.accept().await;
    fresh.head().await;
    fresh.ok("c").await;
    assert_eq!(b.response().await.1, "c");
}

#[tokio::test]
async fn requests_wait_for_room_in_a_full_backlog_and_for_a_socket_that_is_not_there_yet() {
    let rig = rig();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ops.sock");
    let route = Route::new("ops".parse().unwrap(), path.clone().try_into().unwrap());
    route.set(Availability::Open { ready: true });
    let mut table = Table::new(true, Arc::clone(&rig.primary.route));
    table.insert(Arc::clone(&route));
    rig.publisher.publish(table);

    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = rig.client().await;
        client.get("/p/ops/v1/x").await;
        clients.push(client);
    }
    let small = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    small.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    small.listen(0).unwrap();
    small.set_nonblocking(true).unwrap();
    let listener = std::os::unix::net::UnixListener::from(std::os::fd::OwnedFd::from(small));
    let listener = tokio::net::UnixListener::from_std(listener).unwrap();
    let serving = async {
        for _ in 0..clients.len() {
            let mut worker = Peer::new(listener.accept().await.unwrap().0);
            worker.head().await;
            worker.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await;
        }
    };
    tokio::time::timeout(PATIENCE, serving).await.unwrap();
    for client in &mut clients {
        assert_eq!(client.response().await.1, "ok");
    }
}

#[tokio::test]
async fn a_worker_that_cannot_be_reached_is_a_502_in_the_end() {
    let mut settings = settings();
    settings.hold_ms = 100;
    let rig = rig_with(&settings);
    let route = Route::new("ops".parse().unwrap(), "/nowhere/ops.sock".into());
    route.set(Availability::Open { ready: true });
    let mut table = Table::new(true, Arc::clone(&rig.primary.route));
    table.insert(route);
    rig.publisher.publish(table);
    let mut client = rig.client().await;
    client.get("/p/ops/v1/x").await;
    let (head, body) = client.response().await;
    assert_eq!(status(&head), 502);
    assert!(body.contains("worker_unreachable"), "{body}");
}
