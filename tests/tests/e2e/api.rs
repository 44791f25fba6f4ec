//! The API's HTTP surface, seen through the whole gateway.

use hermes_tests::{Gateway, Home, home};

const PAGE: (&str, &str) = ("Origin", "https://page.example");

/// Wires 7: every answer has an id, the client's where it is sane, and a listed page can read all of them: health, 404 of a path and of
/// a method, 401, answers; another page gets 403.
#[test]
fn w7_every_answer_is_named_and_readable_by_listed_pages() {
    let config = Home::config("true", "").replace(
        "extra: {host: 127.0.0.1, port: 0}",
        "extra: {host: 127.0.0.1, port: 0, cors_origins: ['https://page.example']}",
    );
    let home = Home::with_config(&config);
    home.profile_with(
        "coder",
        "agent: {engine: echo}\nplatforms: {api_server: {extra: {cors_origins: ['https://page.example']}}}\n",
        "API_SERVER_KEY=coder-api-key-0123456789\n",
    );
    let gateway = Gateway::start(&home);
    gateway.wait_ready("coder");
    for (method, path, status) in [
        ("GET", "/health", 200),
        ("GET", "/p/coder/health", 200),
        ("GET", "/v1/health", 200),
        ("GET", "/v1/models", 401),
        ("GET", "/v1/nothing", 404),
        ("GET", "/nothing", 404),
        ("GET", "/p/coder/nothing", 404),
        ("PUT", "/v1/chat/completions", 405),
        ("OPTIONS", "/v1/chat/completions", 200),
        ("OPTIONS", "/anything", 200),
    ] {
        let asked = [
            PAGE,
            ("X-Request-Id", "mine-7"),
            ("Access-Control-Request-Headers", "authorization, x-stainless-os"),
        ];
        let answer = gateway.api(method, path, &asked, b"");
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE.1), "{method} {path}");
        assert_eq!(answer.header("x-request-id"), Some("mine-7"), "{method} {path}");
        if method == "OPTIONS" {
            assert_eq!(answer.header("access-control-allow-headers"), Some("authorization, x-stainless-os"));
        }
        let other = gateway.api(method, path, &[("Origin", "https://other.example")], b"");
        assert_eq!((other.status, other.text().as_str()), (403, ""), "{method} {path}");
    }
    // Who is no page: the same answers as ever, each with a name.
    for (path, status) in
        [("/health", 200), ("/nothing", 404), ("/p/ghost/v1/models", 404), ("/v1/models", 401)]
    {
        let answer = gateway.api("GET", path, &[("X-Request-Id", "two words")], b"");
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.header("x-request-id").unwrap().starts_with("req_"), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
    }
    // The supervisor's own answers keep the client's name too.
    let answer = gateway.api("GET", "/p/ghost/v1/models", &[("X-Request-Id", "mine-8")], b"");
    assert_eq!((answer.status, answer.header("x-request-id")), (404, Some("mine-8")));
    // Webhooks are not for pages, and the API's listener does not lead to them.
    let hook = gateway.api("POST", "/webhooks/hook", &[PAGE], b"{}");
    assert_eq!((hook.status, hook.header("access-control-allow-origin")), (404, None));
}

/// Wires 7: what a body is coded in is undone on the way to the worker's platforms, webhooks included.
#[test]
fn w7_half_a_character_and_coded_bodies() {
    let home = Home::new();
    let gateway = Gateway::start(&home);
    let answer = gateway.api(
        "POST",
        "/v1/chat/completions",
        &[("Authorization", &format!("Bearer {}", home::DEFAULT_KEY))],
        br#"{"messages": [{"role": "user", "content": "cut \ud83e off"}]}"#,
    );
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "echo (not a model): cut \u{fffd} off");
    let hook = gateway.hook("/webhooks/hook", home::SECRET, "d-1", r#"{"text": "\ud83e"}"#);
    assert_eq!(hook.status, 202, "the signature is that of the bytes: {}", hook.text());
}
