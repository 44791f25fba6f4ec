//! Clients that take what others need: heads and bodies that trickle, connections that do nothing, bodies nobody wants.

use std::time::Duration;

use hermes_wire::latest::GatewaySettings;
use tokio::net::TcpSocket;
use tokio::time::timeout;

use crate::rig::{Client, PATIENCE, Rig, rig_with, settings, status};

const PAUSE: Duration = Duration::from_millis(20);

fn strict() -> GatewaySettings {
    GatewaySettings { header_timeout_ms: 200, body_timeout_ms: 300, ..settings() }
}

/// Sends the pieces in turn, with pauses, until the other end answers or closes; what it said.
async fn trickle(client: Client, pieces: &[&[u8]]) -> String {
    let (mut read, mut write) = tokio::io::split(client.stream);
    let sending = async {
        for piece in pieces.iter().cycle() {
            if tokio::io::AsyncWriteExt::write_all(&mut write, piece).await.is_err() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        std::future::pending::<()>().await;
    };
    let reading = async {
        let mut text = Vec::new();
        while tokio::io::AsyncReadExt::read_buf(&mut read, &mut text).await.is_ok_and(|n| n > 0) {}
        String::from_utf8_lossy(&text).into_owned()
    };
    let both = async {
        tokio::select! {
            () = sending => unreachable!("it waits for the end"),
            text = reading => text,
        }
    };
    timeout(PATIENCE, both).await.expect("a client that trickles is not waited for")
}

/// A client whose request to coder has a body that does not come; the worker has seen its head.
async fn bodiless(rig: &Rig, framing: &str) -> (Client, crate::rig::Peer<tokio::net::UnixStream>) {
    let mut client = rig.client().await;
    client.send(format!("POST /p/coder/v1/x HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n")).await;
    let mut worker = rig.coder.accept().await;
    worker.head().await;
    (client, worker)
}

/// 20: a head has its time from accept, or from its first byte on a kept connection, whatever trickles.
#[tokio::test]
async fn a_head_s_deadline_is_moved_by_nothing() {
    let rig = rig_with(&strict());
    let trickles: [&[&[u8]]; 4] =
        [&[b"\r", b"\n"], &[b"\r\n"], &[b"GET / HTTP/1.1\r\nHost: h\r\n", b"A: b\r\n"], &[b"G"]];
    for pieces in trickles {
        let first = trickle(rig.client().await, pieces).await;
        assert!(first.is_empty() || status(&first) == 408 || status(&first) == 400, "{first}");
        let mut kept = rig.client().await;
        kept.get("/health").await;
        assert_eq!(status(&kept.response().await.0), 200);
        let later = trickle(kept, pieces).await;
        assert!(later.is_empty() || status(&later) == 408 || status(&later) == 400, "{later}");
    }
}

/// 20: empty lines without end are not read without end.
#[tokio::test]
async fn a_flood_of_empty_lines_is_refused() {
    let rig = rig_with(&settings());
    let mut client = rig.client().await;
    client.send("\r\n".repeat(1000)).await;
    assert_eq!(status(&client.rest().await), 400);
    let mut client = rig.client().await;
    client.send("\r\n\r\nGET /health HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(status(&client.response().await.0), 200, "a few are tolerated");
}

/// 20: a body has a time for all of it, whatever of it trickles.
#[tokio::test]
async fn a_body_s_deadline_is_moved_by_nothing() {
    let rig = rig_with(&strict());
    let trickles: [(&str, &[&[u8]]); 5] = [
        ("Content-Length: 100000", &[b"x"]),
        ("Transfer-Encoding: chunked", &[b"1\r\nx\r\n"]),
        ("Transfer-Encoding: chunked", &[b"0"]),
        ("Transfer-Encoding: chunked", &[b"0\r\nA: b\r\n", b"A: b\r\n"]),
        ("Transfer-Encoding: chunked", &[b"5;", b"x"]),
    ];
    for (framing, pieces) in trickles {
        let (client, _worker) = bodiless(&rig, framing).await;
        let text = trickle(client, pieces).await;
        assert!([408, 400].contains(&status(&text)), "{framing}: {text}");
    }
}

/// 20: a body comes with a least rate.
#[tokio::test]
async fn a_body_that_is_too_slow_is_not_waited_for() {
    let settings = GatewaySettings { body_timeout_ms: 0, min_body_rate: 10_000, ..strict() };
    let rig = rig_with(&settings);
    let (client, _worker) = bodiless(&rig, "Content-Length: 100000").await;
    assert_eq!(status(&trickle(client, &[b"x"]).await), 408);
}

/// 20: a worker that has begun to answer wants the rest, however long it takes.
#[tokio::test]
async fn a_stream_that_a_worker_has_accepted_may_take_its_time() {
    let settings = GatewaySettings { min_body_rate: 1_000_000, ..strict() };
    let rig = rig_with(&settings);
    let (mut client, mut worker) = bodiless(&rig, "Content-Length: 40").await;
    worker.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n").await;
    client.head().await;
    for _ in 0..40 {
        client.send("x").await;
        tokio::time::sleep(PAUSE).await;
    }
    worker.bytes(40).await;
    worker.send("ok").await;
    assert_eq!(client.text(2).await, "ok");
}

/// 20: at the limit whoever has no complete request makes room, and the new client is served.
#[tokio::test]
async fn connections_that_do_nothing_make_room() {
    let settings = GatewaySettings { max_connections: 8, ..settings() };
    let rig = rig_with(&settings);
    let mut served = rig.client().await;
    served.get("/p/coder/v1/x").await;
    let mut worker = rig.coder.accept().await;
    worker.head().await;
    let mut silent = Vec::new();
    for at in 0..20 {
        let mut client = rig.client().await;
        match at % 3 {
            0 => {}
            1 => client.send("GET / HT").await,
            _ => {
                client.get("/health").await;
                client.response().await;
            }
        }
        silent.push(client);
    }
    for _ in 0..20 {
        let mut client = rig.client().await;
        client.get("/health").await;
        assert_eq!(status(&client.response().await.0), 200);
    }
    worker.ok("still there").await;
    assert_eq!(served.response().await.1, "still there");
}

/// 20: a flood on the webhook port leaves the API port its places.
#[tokio::test]
async fn one_listener_s_flood_leaves_another_its_places() {
    let settings = GatewaySettings { max_connections: 16, ..settings() };
    let rig = rig_with(&settings);
    let mut busy = Vec::new();
    for _ in 0..12 {
        let mut client = Client::connect(&rig.webhook).await;
        client.get("/p/coder/webhooks/x").await;
        let mut worker = rig.coder.accept().await;
        worker.head().await;
        busy.push((client, worker));
    }
    let mut refused = Client::connect(&rig.webhook).await;
    assert!(refused.rest().await.contains("x-hermes-error: too_many_connections\r\n"));
    let mut client = rig.client().await;
    client.get("/health").await;
    assert_eq!(status(&client.response().await.0), 200);
}

/// 20: one address holds a share of all places, however it fills them.
#[tokio::test]
async fn one_address_does_not_hold_everything() {
    let settings = GatewaySettings { max_connections: 64, max_connections_per_address: 2, ..settings() };
    let rig = rig_with(&settings);
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut client = rig.client().await;
        client.get("/p/coder/v1/x").await;
        let mut worker = rig.coder.accept().await;
        worker.head().await;
        busy.push((client, worker));
    }
    let mut refused = rig.client().await;
    assert!(refused.rest().await.contains("x-hermes-error: too_many_connections\r\n"));
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = Client::new(socket.connect(rig.api.parse().unwrap()).await.unwrap());
    other.get("/health").await;
    assert_eq!(status(&other.response().await.0), 200);
}

/// 20: bodies that trickle do not hold a profile's places: the slowest makes room.
#[tokio::test]
async fn bodies_that_do_not_come_make_room_in_a_profile() {
    let settings = GatewaySettings { max_requests_per_profile: 4, ..settings() };
    let rig = rig_with(&settings);
    let mut trickling = Vec::new();
    for _ in 0..4 {
        trickling.push(bodiless(&rig, "Content-Length: 100").await);
    }
    for _ in 0..3 {
        let mut client = rig.client().await;
        client.get("/p/coder/v1/models").await;
        let mut worker = rig.coder.accept().await;
        worker.head().await;
        worker.ok("served").await;
        assert_eq!(client.response().await.1, "served");
    }
    assert_eq!(status(&trickling[0].0.rest().await), 408, "the slowest, and of the same the oldest");
}

/// 21: of what nobody wants a small rest is read, so that an honest client can read its answer.
#[tokio::test]
async fn a_client_that_posts_a_megabyte_to_nowhere_reads_the_404() {
    let rig = rig_with(&settings());
    for path in ["/nowhere", "/p/nobody/v1/x"] {
        let mut client = rig.client().await;
        client.send(format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n")).await;
        client.send("x".repeat(1_000_000)).await;
        assert_eq!(status(&client.rest().await), 404);
    }
}

/// 21: whoever goes on sending is cut off.
#[tokio::test]
async fn a_client_that_posts_without_end_is_cut_off() {
    let rig = rig_with(&settings());
    let client = rig.client().await;
    let (mut read, mut write) = tokio::io::split(client.stream);
    let sending = async {
        let head = b"POST /nowhere HTTP/1.1\r\nHost: h\r\nContent-Length: 60000000\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut write, head).await.unwrap();
        let piece = vec![b'x'; 64 * 1024];
        while tokio::io::AsyncWriteExt::write_all(&mut write, &piece).await.is_ok() {}
    };
    timeout(PATIENCE, sending).await.expect("it is cut off");
    let mut text = Vec::new();
    while tokio::io::AsyncReadExt::read_buf(&mut read, &mut text).await.is_ok_and(|n| n > 0) {}
}
