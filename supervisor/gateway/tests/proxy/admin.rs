//! The admin listener.

use std::sync::Arc;
use std::time::Duration;

use hermes_gateway::generation::Generation;
use hermes_gateway::metrics::{Admin, Shown, Workers};
use hermes_gateway::proxy::Availability;
use hermes_gateway::supervise::{GatewayView, Takeover, WorkerTable, WorkerView};
use hermes_wire::RootHome;
use tokio_util::sync::CancellationToken;

use crate::rig::{Client, eventually, rig, status};

fn facts() -> WorkerTable {
    let name: hermes_wire::ProfileName = "coder".parse().unwrap();
    let gateway = GatewayView {
        returned: None,
        state: "running",
        started: hermes_host::clock::system(),
        started_at: hermes_host::clock::now(),
        multiplex: true,
        home: "/h".into(),
        runtime_dir: "/r".into(),
        listeners: Vec::new(),
        admin: None,
        problems: Vec::new(),
        max_connections: None,
        awake: None,
        limited: None,
    };
    let worker = WorkerView {
        upkeep: None,
        awake: None,
        home: RootHome::new("/h").profile(&name),
        name,
        desired_running: true,
        state: "ready",
        ready: true,
        since: hermes_host::clock::system(),
        pid: Some(1),
        generation: Generation::new(3),
        restarts: 2,
        last_exit: None,
        reason: None,
        file: None,
        next_attempt: None,
        heartbeat: Some(hermes_host::clock::now()),
        heartbeat_ms: 1000,
        next_beat_ms: 0,
        active_turns: 4,
        inbox_waiting: 5,
        inbox_postponed: 2,
        inbox_failed: 1,
        inbox_reason: None,
        undelivered: 0,
        degraded: Vec::new(),
        last_error: None,
        problems: Vec::new(),
        requests: 0,
        requests_active: 0,
        lately: hermes_gateway::proxy::Lately::default(),
        data_socket: None,
        config_at: None,
        refused_at: None,
        takeover: Some(Takeover {
            platforms: vec!["telegram".to_owned()],
            from: Generation::new(2),
            generation: Generation::new(3),
            pause: Duration::from_millis(125),
            at: hermes_host::clock::system(),
        }),
    };
    WorkerTable { gateway, workers: vec![worker] }
}

#[tokio::test]
async fn metrics_health_and_readiness_are_shown() {
    let rig = rig();
    let mut client = rig.client().await;
    client.get("/p/coder/health").await;
    let mut worker = rig.coder.accept().await;
    worker.head().await;
    worker.ok("12345").await;
    client.response().await;
    eventually(|| rig.coder.route.requests() == 1).await;

    let admin = Admin::bind("127.0.0.1:0", false).await.unwrap();
    let address = admin.address().to_string();
    let stop = CancellationToken::new();
    let facts: Workers = Arc::new(|| Arc::new(facts()));
    let asking = async {
        let mut client = Client::connect(&address).await;
        let mut get = async |path: &str| {
            client.send(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")).await;
            client.response().await
        };
        let (head, text) = get("/metrics").await;
        assert!(
            head.contains("application/openmetrics-text") && head.contains("x-frame-options: DENY"),
            "{head}"
        );
        for line in [
            "hermes_connections 1",
            "hermes_requests_total{profile=\"coder\",class=\"2xx\"} 1",
            "hermes_requests_total{profile=\"default\",class=\"2xx\"} 0",
            "hermes_requests_in_flight{profile=\"coder\"} 0",
            "hermes_body_bytes_total{profile=\"coder\",direction=\"sent\"} 5",
            "hermes_request_duration_seconds_bucket{le=\"+Inf\",profile=\"coder\"} 1",
            "hermes_worker_state{profile=\"coder\",state=\"ready\"} 1",
            "hermes_worker_restarts_total{profile=\"coder\"} 2",
            "hermes_worker_active_turns{profile=\"coder\"} 4",
            "hermes_worker_takeover_pause_seconds{profile=\"coder\"} 0.125",
            "# EOF",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
        assert_eq!(get("/health").await.1, r#"{"status": "ok"}"#);
        assert_eq!(get("/ready").await.1, r#"{"status": "ready"}"#);
        rig.coder.route.set(Availability::Open { ready: false });
        let (head, body) = get("/ready").await;
        assert_eq!(
            (status(&head), body.as_str()),
            (503, r#"{"status": "not_ready", "not_ready": ["coder"]}"#)
        );

        let mut rebound = Client::connect(&address).await;
        rebound.send("GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n").await;
        assert_eq!(status(&rebound.response().await.0), 403);
        // 19: a body that nobody reads is no next request.
        let mut body = Client::connect(&address).await;
        body.send(format!("POST /health HTTP/1.1\r\nHost: {address}\r\nContent-Length: 2\r\n\r\nhi")).await;
        let text = body.rest().await;
        assert!(status(&text) == 405 && text.contains("connection: close\r\n"), "{text}");
        drop((client, rebound, body));
        stop.cancel();
    };
    let (served, ()) =
        tokio::join!(admin.serve(Shown::openly(rig.publisher.reader(), facts), stop.clone()), asking);
    served.unwrap();
}

/// 20: the admin listener has places of its own, and whoever comes gets one.
#[tokio::test]
async fn silent_clients_of_the_admin_listener_make_room() {
    let rig = rig();
    let admin = Admin::bind("127.0.0.1:0", false).await.unwrap();
    let address = admin.address().to_string();
    let stop = CancellationToken::new();
    let facts: Workers = Arc::new(|| Arc::new(facts()));
    let asking = async {
        let mut silent = Vec::new();
        for _ in 0..100 {
            silent.push(Client::connect(&address).await);
        }
        let mut client = Client::connect(&address).await;
        client.send(format!("GET /health HTTP/1.1\r\nHost: {address}\r\n\r\n")).await;
        assert_eq!(status(&client.response().await.0), 200);
        assert_eq!(silent[0].rest().await, "", "the oldest has made room");
        stop.cancel();
    };
    let (served, ()) =
        tokio::join!(admin.serve(Shown::openly(rig.publisher.reader(), facts), stop.clone()), asking);
    served.unwrap();
}
