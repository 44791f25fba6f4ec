//! Paths, headers and failures at the listener.

use hermes_tests::{Gateway, Home, home, http, process, wait};
use nix::sys::signal::Signal;

const UNKNOWN: &str = r#"{"error": "Unknown or unconfigured profile"}"#;

#[test]
fn c36_prefixes_reach_their_worker_and_default_equals_unprefixed() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let body = r#"{"text": "hello"}"#;
    for (path, secret) in [
        ("/webhooks/hook", home::SECRET.to_owned()),
        ("/p/default/webhooks/hook", home::SECRET.to_owned()),
        ("/p/coder/webhooks/hook", format!("{}-coder", home::SECRET)),
    ] {
        let response = gateway.hook(path, &secret, &format!("id-{path}"), body);
        assert_eq!(response.status, 202, "{path}: {}", response.text());
        assert_eq!(response.json()["status"], "accepted");
    }
    let count = |profile: &str| {
        let path = home.of(profile).join("state.db");
        rusqlite::Connection::open(path)
            .unwrap()
            .query_row("select count(*) from sessions", [], |r| r.get::<_, u32>(0))
            .unwrap()
    };
    wait::until_true("both turns of default", || count("default") == 2);
    wait::until_true("the turn of coder", || count("coder") == 1);
}

#[test]
fn c37_to_c41_exact_paths() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let get = |path: &str| gateway.api("GET", path, &[], b"");
    for path in [
        "/p/nope/v1/models",
        "/p/nope/x",
        "/p/nope",
        "/p/Coder/health",
        "/p/%20coder/health",
        "/p/coder%2Fhealth/x",
        "/p/%2e%2e/health",
        "/p/coder%00/health",
        "/p/%2563oder/health",
    ] {
        let response = get(path);
        assert_eq!((response.status, response.text().as_str()), (404, UNKNOWN), "{path}");
        assert!(response.header("content-type").unwrap().starts_with("application/json"), "{path}");
    }
    for path in ["/p", "/p/", "/p/coder", "/p/coder/"] {
        let response = get(path);
        assert_eq!((response.status, response.text().as_str()), (404, "404: Not Found"), "{path}");
    }
    for path in [
        "//p/coder/health",
        "/p//health",
        "/p/coder//health",
        "/p/./coder/health",
        "/p/coder/p/ops/health",
        "/P/coder/health",
        "/nope",
    ] {
        let response = get(path);
        assert_eq!(response.status, 404, "{path}");
        assert!(response.header("location").is_none());
    }
    assert_eq!(get("/p/%63oder/health").status, 200);
    // A webhook listener exposes no API, and the other way round.
    let webhook = gateway.address("webhook");
    assert_eq!(http::request(&webhook, "GET", "/v1/models", &[], b"").unwrap().status, 404);
    assert_eq!(gateway.api("POST", "/webhooks/hook", &[], b"{}").status, 404);
}

#[test]
fn health_and_ready_are_answered_on_every_listener() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let webhook = gateway.address("webhook");
    assert_eq!(
        http::request(&webhook, "GET", "/health", &[], b"").unwrap().json(),
        serde_json::json!({"status": "ok", "platform": "webhook"})
    );
    let api = gateway.api("GET", "/health", &[], b"").json();
    assert_eq!(
        api,
        serde_json::json!({"status": "ok", "platform": "hermes-agent", "version": "0.1.0", "compatible_with": "0.19.0"})
    );
    for address in [&webhook, &gateway.address("api_server")] {
        assert_eq!(http::request(address, "GET", "/ready", &[], b"").unwrap().status, 200);
    }
    assert_eq!(
        http::request(&webhook, "GET", "/p/coder/health", &[], b"").unwrap().json()["platform"],
        "webhook"
    );
    assert_eq!(gateway.api("GET", "/p/coder/health", &[], b"").json()["platform"], "hermes-agent");
    assert_eq!(gateway.api("HEAD", "/health", &[], b"").status, 200);
    hermes_tests::gateway::run(&home, &["gateway", "stop", "-p", "coder"]);
    assert_eq!(
        gateway.api("GET", "/ready", &[], b"").status,
        200,
        "a profile stopped on purpose is not missing"
    );
}

#[test]
fn c44_and_c45_framing_and_size_limits() {
    let home = Home::with_config(&Home::config("true", "  max_body_bytes: 200000\n"));
    let gateway = Gateway::start(&home);
    let address = gateway.address("api_server");
    // Content-Length and chunked alike.
    let big = vec![b'x'; 300_000];
    let headers = [("Authorization", format!("Bearer {}", home::DEFAULT_KEY))];
    let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
    assert_eq!(gateway.api("POST", "/v1/chat/completions", &headers, &big).status, 413);
    let mut connection = http::Connection::open(&address).unwrap();
    connection
        .send(format!("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nTransfer-Encoding: chunked\r\n\r\n", home::DEFAULT_KEY).as_bytes())
        .unwrap();
    for _ in 0..30 {
        // The gateway may answer and close before everything is sent.
        if connection.send(&[b"2710\r\n", &big[..10_000], b"\r\n"].concat()).is_err() {
            break;
        }
    }
    assert_eq!(connection.response(false).unwrap().status, 413);
    // Ambiguous framing is refused, never guessed.
    for request in [
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\nab",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "GET /health HTTP/1.1\r\nHost : x\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
        "GET /health HTTP/1.1\r\n\r\n",
        "GET  /health HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let mut connection = http::Connection::open(&address).unwrap();
        connection.send(request.as_bytes()).unwrap();
        let response = connection.response(false).unwrap();
        assert!(matches!(response.status, 400 | 501), "{request}: {}", response.status);
    }
    let mut connection = http::Connection::open(&address).unwrap();
    let huge = format!("GET /health HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(100_000));
    let _ = connection.send(huge.as_bytes());
    assert_eq!(connection.response(false).unwrap().status, 431);
}

#[test]
fn c47_c88_a_stopped_profile_is_503_and_nobody_elses() {
    let home = Home::new();
    home.profile("coder").profile("ops");
    let mut gateway = Gateway::start(&home);
    let output = hermes_tests::gateway::run(&home, &["gateway", "stop", "-p", "coder"]);
    assert_eq!(output.status.code(), Some(0), "{}", hermes_tests::gateway::both(&output));
    let response = gateway.api("GET", "/p/coder/health", &[], b"");
    assert_eq!(response.status, 503);
    assert_eq!(response.text(), r#"{"error":"Profile unavailable","profile":"coder","state":"parked"}"#);
    assert!(response.header("retry-after").is_some());
    assert_eq!(gateway.api("GET", "/p/ops/health", &[], b"").status, 200);
    // Remembered by the next supervisor.
    gateway.stop();
    let gateway = Gateway::start(&home);
    let coder = gateway.profile("coder");
    assert_eq!((coder.desired.as_str(), coder.state.as_str(), coder.pid), ("stopped", "parked", None));
    let output = hermes_tests::gateway::run(&home, &["gateway", "start", "-p", "coder"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(gateway.api("GET", "/p/coder/health", &[], b"").status, 200);
}

#[test]
fn c48_killed_mid_response_is_a_broken_stream_and_the_next_request_works() {
    let home = Home::new();
    home.profile_with(
        "coder",
        "agent: {engine: echo, echo_delay_ms: 50}\n",
        "API_SERVER_KEY=coder-api-key-0123456789\n",
    );
    let gateway = Gateway::start(&home);
    let worker = gateway.worker("coder");
    let mut connection = http::Connection::open(&gateway.address("api_server")).unwrap();
    let words = "word ".repeat(400);
    connection.send(&http::chat(true, &words)).unwrap();
    let head = connection.head().unwrap();
    assert_eq!(head.status, 200);
    process::signal(worker, Signal::SIGKILL);
    while connection.fill().unwrap_or(false) {}
    assert!(!process::contains(connection.buffered(), b"[DONE]"), "the stream ended as if it were whole");
    wait::until_true("coder to answer again", || {
        gateway.api("GET", "/p/coder/health", &[], b"").status == 200
    });
    assert_ne!(gateway.worker("coder"), worker);
}

#[test]
fn c49_flag_off_means_no_prefix() {
    let home = Home::with_config(&Home::config("false", ""));
    home.profile("coder");
    let gateway = Gateway::start(&home);
    for path in ["/p/coder/health", "/p/default/health", "/p/nope/v1/models"] {
        assert_eq!(gateway.api("GET", path, &[], b"").status, 404, "{path}");
    }
    assert_eq!(gateway.api("GET", "/health", &[], b"").status, 200);
}

#[test]
fn c50_security_headers_everywhere() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    hermes_tests::gateway::run(&home, &["gateway", "stop", "-p", "coder"]);
    for (method, path, status) in [
        ("GET", "/health", 200),
        ("GET", "/p/default/health", 200),
        ("GET", "/v1/models", 401),
        ("GET", "/v1/nope", 404),
        ("GET", "/nope", 404),
        ("GET", "/p/nope/health", 404),
        ("DELETE", "/v1/models", 405),
        ("POST", "/health", 405),
        ("GET", "/p/coder/health", 503),
    ] {
        let response = gateway.api(method, path, &[], b"");
        assert_eq!(response.status, status, "{method} {path}: {}", response.text());
        for (name, value) in hermes_wire::http::SECURITY_HEADERS {
            assert_eq!(response.header(name), Some(value), "{method} {path}: {name}");
            assert_eq!(
                response.headers.iter().filter(|(n, _)| n == name).count(),
                1,
                "{method} {path}: {name} twice"
            );
        }
    }
}

#[test]
fn keep_alive_and_pipelining_answer_in_order() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let mut connection = http::Connection::open(&gateway.address("api_server")).unwrap();
    let mut requests = Vec::new();
    for path in ["/p/coder/health", "/p/nope/health", "/health", "/p/default/health"] {
        requests.extend(http::encode("GET", path, &[], b""));
    }
    connection.send(&requests).unwrap();
    let statuses: Vec<u16> = (0..4).map(|_| connection.response(false).unwrap().status).collect();
    assert_eq!(statuses, [200, 404, 200, 200]);
}
