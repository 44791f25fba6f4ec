//! Connections on the data socket, with real sockets.

use axum::Router;
use axum::routing::get;
use hermes_wire::latest::Family;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::*;

struct Fixture {
    server: Server,
    dir: tempfile::TempDir,
    /// Lets `/slow` finish.
    go: Arc<Notify>,
}

fn start() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let go = Arc::new(Notify::new());
    let wait = Arc::clone(&go);
    let router = Router::new()
        .route("/boom", get(async || -> &'static str { panic!("on purpose") }))
        .route(
            "/slow",
            get(async move || {
                wait.notified().await;
                "done"
            }),
        )
        .route("/echo", axum::routing::post(async |body: String| body))
        .route("/events", get(async || ([("content-type", "text/event-stream")], "data: 1\n\n")));
    let listener = UnixListener::bind(dir.path().join("s")).unwrap();
    let responder = Responder::new(
        "coder".parse().unwrap(),
        router,
        families(),
        Some(Cors::new(&["https://good".to_owned()])),
    );
    let home = ProfileHome::new(camino::Utf8Path::from_path(dir.path()).unwrap());
    Fixture { server: Server::start(Listener::Data(listener), responder, home), dir, go }
}

fn families() -> Vec<Family> {
    let family = |platform: &str, path: &str, is_api| Family {
        platform: platform.into(),
        paths: vec![path.into()],
        is_api,
    };
    vec![family("webhook", "/webhooks/", false), family("api_server", "/v1/", true)]
}

impl Fixture {
    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.dir.path().join("s")).await.unwrap()
    }
}

async fn send(stream: &mut UnixStream, line: &str) {
    stream.write_all(format!("{line} HTTP/1.1\r\nhost: w\r\n\r\n").as_bytes()).await.unwrap();
}

/// One answer with a short body, read until it ends with `end`.
async fn answer(stream: &mut UnixStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let mut piece = [0; 1024];
        let n = timeout(Duration::from_secs(10), stream.read(&mut piece)).await.unwrap().unwrap();
        assert!(n > 0, "closed after {text:?}");
        text.push_str(std::str::from_utf8(&piece[..n]).unwrap());
    }
    text
}

#[tokio::test]
async fn a_panic_costs_one_request_a_500_and_the_connection_goes_on() {
    let fixture = start();
    let mut stream = fixture.connect().await;
    send(&mut stream, "GET /boom").await;
    let text = answer(&mut stream, "500: Internal Server Error").await;
    assert!(text.starts_with("HTTP/1.1 500 ") && text.contains("x-content-type-options: nosniff"), "{text}");
    send(&mut stream, "GET /health").await;
    assert!(answer(&mut stream, "}").await.starts_with("HTTP/1.1 200 "));
    assert_eq!(fixture.server.load.requests.load(Ordering::Relaxed), 2);
    // Nothing counts as in flight.
    timeout(Duration::from_secs(10), fixture.server.idle()).await.unwrap();
}

#[tokio::test]
async fn wrong_methods_and_paths_are_told_apart() {
    let fixture = start();
    let mut stream = fixture.connect().await;
    send(&mut stream, "DELETE /slow").await;
    let text = answer(&mut stream, "405: Method Not Allowed").await;
    assert!(text.contains("allow: GET,HEAD"), "{text}");
    send(&mut stream, "GET /boom/").await;
    assert!(answer(&mut stream, "404: Not Found").await.contains("text/plain; charset=utf-8"));
    send(&mut stream, "HEAD /health").await;
    let text = answer(&mut stream, "\r\n\r\n").await;
    let length = hermes_wire::http::health_of(&[], |_| true).len();
    assert!(text.contains(&format!("content-length: {length}\r\n")), "{text}");
}

/// Wires 7: errors, health and unknown paths are named, and listed pages can read them.
#[tokio::test]
async fn every_answer_is_named_and_readable_by_listed_pages() {
    let fixture = start();
    for (line, end) in [
        ("GET /health", "}"),
        ("GET /events", "data: 1\n\n"),
        ("GET /nowhere", "404: Not Found"),
        ("DELETE /slow", "405: Method Not Allowed"),
        ("GET /boom", "500: Internal Server Error"),
    ] {
        let mut stream = fixture.connect().await;
        let head =
            format!("{line} HTTP/1.1\r\nhost: w\r\norigin: https://good\r\nx-request-id: mine-1\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let text = answer(&mut stream, end).await;
        assert!(text.contains("access-control-allow-origin: https://good\r\n"), "{text}");
        assert!(text.contains("x-request-id: mine-1\r\n") && text.contains("vary: Origin\r\n"), "{text}");
        // Who is no page is not asked.
        send(&mut stream, line).await;
        let text = answer(&mut stream, end).await;
        assert!(!text.contains("access-control") && text.contains("x-request-id: req_"), "{text}");
    }
    for (line, headers, status) in [
        ("GET /health", "origin: https://bad\r\n", "403"),
        ("OPTIONS /nowhere", "origin: https://good\r\naccess-control-request-headers: x-mine\r\n", "200"),
        ("OPTIONS /events", "origin: https://good\r\naccess-control-request-headers: x-mine\r\n", "200"),
        ("OPTIONS /nowhere", "", "403"),
        ("OPTIONS /events", "origin: https://bad\r\n", "403"),
        // Not for pages.
        ("GET /webhooks/x", "origin: https://bad\r\n", "404"),
        ("GET /health", "origin: https://bad\r\nx-hermes-listener: webhook\r\n", "200"),
    ] {
        let mut stream = fixture.connect().await;
        let head = format!("{line} HTTP/1.1\r\nhost: w\r\n{headers}connection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{line} {headers}: {text}");
        assert_eq!(text.contains("vary: Origin\r\n"), status == "403" || line.starts_with('O'), "{text}");
        assert_eq!(
            text.contains("access-control-allow-headers: x-mine\r\n"),
            status == "200" && line.starts_with('O')
        );
    }
}

async fn post(stream: &mut UnixStream, path: &str, headers: &str, body: &[u8]) {
    let head = format!("POST {path} HTTP/1.1\r\nhost: w\r\n{headers}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    // A worker that does not want it may have closed.
    let _ = stream.write_all(body).await;
}

/// 19: a body that nobody wanted is read where it is little, and the answer says so; another request finds a clean connection.
#[tokio::test]
async fn an_answer_before_the_body_was_read_keeps_the_connection_clean() {
    let fixture = start();
    let mut stream = fixture.connect().await;
    let body = vec![b'x'; 40_000];
    let chunked = [b"9c40\r\n".as_slice(), &body, b"\r\n0\r\n\r\n"].concat();
    for round in 0..50 {
        for (path, end) in
            [("/nowhere", "404: Not Found"), ("/slow", "405: Method Not Allowed"), ("/health", "Allowed")]
        {
            let (headers, body) = match round % 2 {
                0 => ("content-length: 40000", &body),
                _ => ("transfer-encoding: chunked", &chunked),
            };
            post(&mut stream, path, headers, body).await;
            let text = answer(&mut stream, end).await;
            assert!(text.contains("x-hermes-taken: 1\r\n") && !text.contains("connection: close"), "{text}");
        }
    }
    // Read by its handler: taken as well. Without a body there is nothing to take.
    post(&mut stream, "/echo", "content-length: 5", b"hello").await;
    assert!(answer(&mut stream, "hello").await.contains("x-hermes-taken: 1\r\n"));
    send(&mut stream, "GET /health").await;
    assert!(!answer(&mut stream, "}").await.contains("x-hermes-taken"));
}

/// 19: what is too much, too slow or only announced is not read; then the connection ends with the answer.
#[tokio::test]
async fn an_answer_before_a_long_or_slow_body_ends_the_connection() {
    let fixture = start();
    let long = vec![b'x'; 100_000];
    let chunked = [b"186a0\r\n".as_slice(), &long, b"\r\n0\r\n\r\n"].concat();
    for (headers, body) in [
        ("content-length: 100000", long.as_slice()),
        ("transfer-encoding: chunked", &chunked),
        ("content-length: 40000", b"only the start"),
        ("transfer-encoding: chunked", b"nonsense\r\n"),
        ("expect: 100-continue\r\ncontent-length: 5", b""),
    ] {
        let mut stream = fixture.connect().await;
        post(&mut stream, "/nowhere", headers, body).await;
        let text = answer(&mut stream, "404: Not Found").await;
        assert!(text.starts_with("HTTP/1.1 404 "), "{text}");
        assert!(text.contains("connection: close\r\n") && !text.contains("x-hermes-taken"), "{text}");
        let mut rest = Vec::new();
        // The end, or a reset where bytes were left.
        let ended = timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok() && rest.is_empty());
    }
}

/// 22: 100 header lines of a client, and those of the proxy beside them.
#[tokio::test]
async fn as_many_headers_are_read_as_the_proxy_lets_pass() {
    let fixture = start();
    let mut stream = fixture.connect().await;
    let lines = "a: b\r\n".repeat(MAX_HEADERS + ADDED_HEADERS - 1);
    stream.write_all(format!("GET /health HTTP/1.1\r\nhost: w\r\n{lines}\r\n").as_bytes()).await.unwrap();
    assert!(answer(&mut stream, "}").await.starts_with("HTTP/1.1 200 "));
}

/// 22: without a proxy in front, too, what the library refuses looks like every other answer.
#[tokio::test]
async fn what_the_library_refuses_looks_like_every_other_answer() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = address(&listener).unwrap();
    let responder = Responder::new("coder".parse().unwrap(), Router::new(), families(), None);
    let home = ProfileHome::new(camino::Utf8Path::from_path(dir.path()).unwrap());
    let _server = Server::start(Listener::Tcp(listener), responder, home);
    let many = format!("GET / HTTP/1.1\r\nhost: w\r\n{}\r\n", "a: b\r\n".repeat(200));
    for (request, status, code) in [
        ("no request at all\r\n\r\n", "400 Bad Request", "bad_request"),
        (&many, "431 Request Header Fields Too Large", "head_too_large"),
    ] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let start = format!("HTTP/1.1 {status}\r\nx-hermes-error: {code}\r\n");
        assert!(text.starts_with(&start) && text.contains("x-content-type-options: nosniff"), "{text}");
    }
}

/// 13: a request that was sent before accepting ended is answered, also one that nobody had accepted.
#[tokio::test]
async fn connections_that_wait_when_accepting_ends_are_taken() {
    let fixture = start();
    let mut waiting = Vec::new();
    for _ in 0..20 {
        // On this thread nobody accepts meanwhile.
        let stream = std::os::unix::net::UnixStream::connect(fixture.dir.path().join("s")).unwrap();
        stream.set_nonblocking(true).unwrap();
        waiting.push(UnixStream::from_std(stream).unwrap());
    }
    fixture.server.stop_accepting().await;
    for stream in &mut waiting {
        send(stream, "GET /health").await;
        assert!(answer(stream, "}").await.starts_with("HTTP/1.1 200 "));
    }
    drop(waiting);
    timeout(Duration::from_secs(10), fixture.server.drained()).await.unwrap();
}

#[tokio::test]
async fn draining_waits_for_requests_and_connections_and_closes_neither() {
    let fixture = start();
    let mut stream = fixture.connect().await;
    send(&mut stream, "GET /health").await;
    answer(&mut stream, "}").await;
    send(&mut stream, "GET /slow").await;
    let started = hermes_host::clock::now();
    while fixture.server.load.requests.load(Ordering::Relaxed) < 2 {
        assert!(started.elapsed() < Duration::from_secs(10));
        tokio::task::yield_now().await;
    }
    fixture.server.stop_accepting().await;
    assert!(UnixStream::connect(fixture.dir.path().join("s")).await.is_err(), "still accepting");
    let short = Duration::from_millis(20);
    assert!(timeout(short, fixture.server.idle()).await.is_err());
    fixture.go.notify_one();
    assert!(answer(&mut stream, "done").await.starts_with("HTTP/1.1 200 "));
    timeout(Duration::from_secs(10), fixture.server.idle()).await.unwrap();
    assert!(timeout(short, fixture.server.drained()).await.is_err(), "an open connection was forgotten");
    send(&mut stream, "GET /health").await;
    answer(&mut stream, "}").await;
    drop(stream);
    timeout(Duration::from_secs(10), fixture.server.drained()).await.unwrap();
}
