//! Requests that could be read in two ways, and whose they are.

use crate::rig::{Client, Rig, rig, rig_with, settings, status};

async fn answer(rig: &Rig, request: impl AsRef<[u8]>) -> String {
    let mut client = rig.client().await;
    client.send(request).await;
    client.rest().await
}

#[tokio::test]
async fn smuggling_attempts_are_refused_and_end_the_connection() {
    let rig = rig();
    let behind = "GET /p/coder/v1/smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    for headers in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
        "Content-Length: 0, 0\r\n\r\n",
        "Content-Length: +0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        "X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "X: a\rb\r\n\r\n",
        "X: a\0b\r\n\r\n",
        "Host: other\r\n\r\n",
    ] {
        let text = answer(&rig, format!("POST /p/coder/v1/x HTTP/1.1\r\nHost: h\r\n{headers}{behind}")).await;
        assert_eq!(status(&text), 400, "{headers:?}: {text}");
        assert!(
            text.contains("x-hermes-error: bad_request\r\n") && text.contains("connection: close\r\n"),
            "{text}"
        );
        assert_eq!(text.matches("HTTP/1.1 4").count(), 1, "{text}");
        assert!(!text.contains("HTTP/1.1 2"), "{text}");
    }
    assert!(rig.coder.is_left_alone().await);
}

#[tokio::test]
async fn a_malformed_chunk_is_refused_while_the_body_passes() {
    let rig = rig();
    let mut client = rig.client().await;
    client
        .send("POST /p/coder/v1/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
        .await;
    let mut worker = rig.coder.accept().await;
    worker.until("ab\r\n").await;
    client.send("5\nhello\r\n0\r\n\r\n").await;
    let text = client.rest().await;
    assert_eq!(status(&text), 400, "{text}");
    let got = worker.rest().await;
    assert!(!got.contains("hello"), "{got}");
}

#[tokio::test]
async fn methods_versions_and_targets() {
    let rig = rig();
    for (request, expected) in [
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 501),
        ("TRACE /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 405),
        ("GET /health HTTP/3.0\r\nHost: h\r\n\r\n", 505),
        ("GET /health HTTP/1.1\r\n\r\n", 400),
        ("nonsense\r\n\r\n", 400),
        ("\x16\x03\x01\x02\0\x01\0", 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 204),
        ("GET http://H/health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 200),
        ("GET /health HTTP/1.0\r\n\r\n", 200),
        ("POST /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 405),
        ("POST /x HTTP/1.1\r\nHost: h\r\nExpect: wonders\r\n\r\n", 417),
    ] {
        let text = answer(&rig, request).await;
        assert_eq!(status(&text), expected, "{request}: {text}");
        assert!(text.contains("x-content-type-options: nosniff\r\n"), "{text}");
        assert!(expected != 405 || text.contains("\r\nallow: "), "{text}");
    }
}

#[tokio::test]
async fn paths_lead_where_the_contract_says() {
    let rig = rig();
    let mut client = rig.client().await;
    let unknown = r#"{"error": "Unknown or unconfigured profile"}"#;
    for (path, expected, content) in [
        ("/p/ops/v1/models", unknown, "application/json; charset=utf-8"),
        ("/p/Coder/health", unknown, "application/json; charset=utf-8"),
        ("/p/coder%2Fhealth", unknown, "application/json; charset=utf-8"),
        ("/p", "404: Not Found", "text/plain; charset=utf-8"),
        ("/p/coder/", "404: Not Found", "text/plain; charset=utf-8"),
        ("//p/coder/health", "404: Not Found", "text/plain; charset=utf-8"),
        ("/p/coder/webhooks/r", "404: Not Found", "text/plain; charset=utf-8"),
        ("/webhooks/r", "404: Not Found", "text/plain; charset=utf-8"),
    ] {
        client.get(path).await;
        let (head, body) = client.response().await;
        assert_eq!((status(&head), body.as_str()), (404, expected), "{path}");
        assert!(head.contains(&format!("content-type: {content}\r\n")), "{head}");
        assert!(head.contains("x-frame-options: DENY\r\n"), "{head}");
    }
    assert!(rig.coder.is_left_alone().await && rig.primary.is_left_alone().await);
}

#[tokio::test]
async fn health_and_ready_are_the_gateway_s_own() {
    let rig = rig();
    let mut webhook = Client::connect(&rig.webhook).await;
    webhook.get("/health").await;
    assert_eq!(webhook.response().await.1, r#"{"status": "ok", "platform": "webhook"}"#);
    let mut api = rig.client().await;
    api.get("/health?x").await;
    assert_eq!(
        api.response().await.1,
        r#"{"status": "ok", "platform": "hermes-agent", "version": "0.1.0", "compatible_with": "0.19.0"}"#
    );
    api.get("/ready").await;
    assert_eq!(api.response().await.1, r#"{"status": "ready", "profiles": 2}"#);
    rig.coder.route.set(hermes_gateway::proxy::Availability::Open { ready: false });
    api.get("/ready").await;
    let (head, body) = api.response().await;
    assert_eq!((status(&head), body.as_str()), (503, r#"{"status": "not_ready", "not_ready": ["coder"]}"#));
    api.send("HEAD /health HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(api.head().await.contains("\r\ncontent-length: "));
    api.get("/nowhere").await;
    assert_eq!(status(&api.response().await.0), 404);
}

#[tokio::test]
async fn one_address_makes_one_listener_for_both() {
    let mut settings = settings();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for listener in &mut settings.listeners {
        listener.port = port;
    }
    let mut rig = rig_with(&settings);
    assert_eq!(rig.proxy().listeners().len(), 1);
    let mut client = rig.client().await;
    client.get("/health").await;
    assert!(client.response().await.1.ends_with(r#""platforms": ["webhook", "api_server"]}"#));
    client.get("/p/coder/webhooks/r").await;
    let mut worker = rig.coder.accept().await;
    assert!(worker.head().await.contains("x-hermes-listener: webhook,api_server\r\n"));
    worker.ok("").await;
}

#[tokio::test]
async fn without_multiplexing_no_prefix_leads_anywhere() {
    let mut settings = settings();
    settings.multiplex = false;
    let rig = rig_with(&settings);
    let mut client = rig.client().await;
    for path in ["/p/coder/health", "/p/default/health", "/p/ops/x"] {
        client.get(path).await;
        assert_eq!(client.response().await.1, "404: Not Found");
    }
}
