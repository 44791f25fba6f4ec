//! Wires 3 to 5: what a turn without an answer is to its client, to its session and to its sender.

use hermes_tests::http::Response;
use hermes_tests::provider::{Provider, Reply};
use hermes_tests::{Gateway, home, wait};

use crate::turn::native;

/// One request as a stock SDK makes it: up to three times, if status and headers ask for it.
fn stock(gateway: &Gateway<'_>, stream: bool, session: Option<&str>, text: &str) -> Response {
    let body = serde_json::json!({
        "model": "m", "stream": stream, "messages": [{"role": "user", "content": text}]
    });
    let key = format!("Bearer {}", home::DEFAULT_KEY);
    let mut headers = vec![("Authorization", key.as_str()), ("Content-Type", "application/json")];
    headers.extend(session.map(|id| ("X-Hermes-Session-Id", id)));
    let mut tries = 0;
    loop {
        tries += 1;
        let response = gateway.api("POST", "/v1/chat/completions", &headers, body.to_string().as_bytes());
        let repeat = match response.header("x-should-retry") {
            Some(word) => word == "true",
            None => matches!(response.status, 408 | 409 | 429 | 500..),
        };
        if !repeat || tries == 3 {
            return response;
        }
    }
}

/// Wires 5: a refused key, an unknown model or address, an empty account and a refused request reach the provider once, streamed
/// or not, and say so in status, headers and body.
#[test]
fn w5_a_stock_client_tries_once_what_will_not_pass() {
    let provider = Provider::start();
    let home = native(&provider);
    let gateway = Gateway::start(&home);
    for (status, text, shown) in [
        (400, "context_length_exceeded", 400),
        (401, "Invalid key", 424),
        (402, "Pay first", 424),
        (403, "Forbidden", 424),
        (404, "The model `m` does not exist", 424),
        (422, "Unprocessable", 400),
    ] {
        for stream in [false, true] {
            let before = provider.calls().len();
            provider.script([Reply::error(status, text)]);
            let response = stock(&gateway, stream, None, "x");
            assert_eq!(response.status, shown, "{status} {stream}: {}", response.text());
            assert_eq!(provider.calls().len(), before + 1, "{status} {stream}");
            for (name, value) in
                [("x-should-retry", "false"), ("x-hermes-completed", "false"), ("x-hermes-partial", "false")]
            {
                assert_eq!(response.header(name), Some(value), "{status} {stream} {name}");
            }
            assert!(response.header("x-hermes-error").unwrap().contains(text), "{status}");
            let error = &response.json()["error"];
            assert_eq!(
                (&error["code"], &error["hermes"]["failed"]),
                (&"agent_incomplete".into(), &true.into())
            );
            assert_eq!(error["hermes"]["provider_status"], status, "{error}");
            assert!(error["message"].as_str().unwrap().contains(text), "{error}");
        }
    }
}

/// Wires 5: what passes keeps a status that clients repeat, and says when.
#[test]
fn w5_what_passes_says_when_to_ask_again() {
    let provider = Provider::start();
    let home = native(&provider);
    let text =
        home.read("default", "config.yaml").unwrap().replace("agent: {", "agent: {api_max_retries: 1, ");
    home.write("default", "config.yaml", &text);
    let gateway = Gateway::start(&home);
    for stream in [false, true] {
        for (status, shown) in [(429, 429), (503, 503), (500, 503)] {
            provider.script([Reply::error(status, "later")]);
            let response = stock(&gateway, stream, None, "x");
            assert_eq!(response.status, 200, "the second try was answered: {}", response.text());
            provider.script(std::iter::repeat_n(Reply::error(status, "later"), 3));
            let response = stock(&gateway, stream, None, "x");
            assert_eq!((response.status, response.header("retry-after")), (shown, Some("5")), "{status}");
            assert_eq!(response.json()["error"]["code"], "agent_incomplete");
        }
    }
}

/// Wires 5: one failing call of a client with a session is in its transcript and not in its next prompt.
#[test]
fn w5_a_failed_call_is_not_repeated_to_the_model() {
    let provider = Provider::start();
    let home = native(&provider);
    let text =
        home.read("default", "config.yaml").unwrap().replace("agent: {", "agent: {api_max_retries: 1, ");
    home.write("default", "config.yaml", &text);
    let gateway = Gateway::start(&home);
    assert_eq!(stock(&gateway, false, Some("s-1"), "first").status, 200);
    provider.script((0..3).map(|_| Reply::error(500, "boom")));
    assert_eq!(stock(&gateway, false, Some("s-1"), "second").status, 503);
    provider.script([Reply::error(401, "no")]);
    assert_eq!(stock(&gateway, true, Some("s-1"), "third").status, 424);
    assert_eq!(stock(&gateway, false, Some("s-1"), "fourth").status, 200);
    let last = provider.calls().pop().unwrap().body;
    let said: Vec<_> = last["messages"].as_array().unwrap()[1..]
        .iter()
        .map(|m| (m["role"].as_str().unwrap(), m["content"].as_str().unwrap()))
        .collect();
    assert_eq!(said, [("user", "first"), ("assistant", "pong"), ("user", "fourth")]);
    let db = rusqlite::Connection::open(home.root().join("state.db")).unwrap();
    let count = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM messages WHERE content IN ('second', 'third') AND active = 0"), 4);
    assert_eq!(count("SELECT count(*) FROM messages WHERE content LIKE '[no answer: %' AND active = 0"), 4);
}

/// Wires 5: a webhook whose turn failed is run again when its sender repeats it, and only then.
#[test]
fn w5_a_failed_webhook_runs_again_when_it_is_sent_again() {
    let provider = Provider::start();
    let home = native(&provider);
    let gateway = Gateway::start(&home);
    let send = || gateway.hook("/webhooks/hook", home::SECRET, "d-1", r#"{"text": "x"}"#);
    let state = |wanted: &str| {
        wait::until_true(wanted, || {
            let db = rusqlite::Connection::open(home.root().join("state.db")).unwrap();
            let sql = "SELECT count(*) FROM hermes_inbox WHERE dedup_id = 'd-1' AND state = ?1";
            db.query_row(sql, [wanted], |row| row.get::<_, i64>(0)).unwrap() == 1
        });
    };
    provider.script([Reply::error(400, "no such thing"), Reply::error(422, "nor that")]);
    for _ in 0..2 {
        assert_eq!(send().status, 202);
        state("failed");
    }
    assert_eq!(send().status, 202);
    state("done");
    assert_eq!((send().status, provider.calls().len()), (200, 3), "done is done");
}

/// Wires 3: sixteen sessions that wait for a provider's limit do not keep a seventeenth from its answer.
#[test]
fn w3_turns_that_wait_hold_up_no_other_session() {
    let provider = Provider::start();
    let home = native(&provider);
    let gateway = Gateway::start(&home);
    let limited = Reply::Status(429, vec![("Retry-After".into(), "50".into())], r#"{"error":"slow"}"#.into());
    provider.script(std::iter::repeat_n(limited, 16));
    for n in 0..16 {
        let sent = gateway.hook("/webhooks/hook", home::SECRET, &format!("w-{n}"), r#"{"text": "x"}"#);
        assert_eq!(sent.status, 202);
    }
    wait::until_true("sixteen refused calls", || provider.calls().len() == 16);
    assert_eq!(gateway.hook("/webhooks/hook", home::SECRET, "last", r#"{"text": "x"}"#).status, 202);
    wait::until_true("the seventeenth answer", || {
        let db = rusqlite::Connection::open(home.root().join("state.db")).unwrap();
        let sql = "SELECT count(*) FROM hermes_inbox WHERE dedup_id = 'last' AND state = 'done'";
        db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap() == 1
    });
}

/// Wires 3: a wait that no client has time for is passed on at once.
#[test]
fn w3_a_long_wait_is_passed_on_at_once() {
    let provider = Provider::start();
    let home = native(&provider);
    let gateway = Gateway::start(&home);
    for stream in [false, true] {
        let hour = vec![("Retry-After".into(), "3600".into())];
        provider.script([Reply::Status(429, hour, r#"{"error":"slow"}"#.into())]);
        let before = provider.calls().len();
        let response = stock(&gateway, stream, None, "x");
        assert_eq!((response.status, response.header("retry-after")), (429, Some("3600")));
        assert!(
            response.text().contains("the provider asks to come back in 3600 s, at 20"),
            "{}",
            response.text()
        );
        assert_eq!(provider.calls().len(), before + 1, "nobody asks again within the hour");
    }
}

/// Wires 4: a file of certificates that is not there, and a proxy that is none, are said by whoever looks, with the variable.
#[test]
fn w4_wrong_certificates_and_proxies_are_named_everywhere() {
    use hermes_tests::gateway::{both, run};
    let home = hermes_tests::Home::new();
    let config =
        "model: {default: m, provider: custom, base_url: 'https://llm.example.test/v1', api_key: k}\n";
    let env = "SSL_CERT_FILE=/nowhere/ca.pem\nHTTPS_PROXY=ftp://me:hunter2@proxy\n";
    home.profile_with("coder", config, env);
    for (args, code) in
        [(&["gateway", "check"][..], 0), (&["-p", "coder", "config", "check"], 0), (&["doctor"], 1)]
    {
        let output = run(&home, args);
        let text = both(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        assert!(
            text.contains("SSL_CERT_FILE: `/nowhere/ca.pem` cannot be read: No such file"),
            "{args:?}: {text}"
        );
        assert!(text.contains("HTTPS_PROXY names no proxy"), "{args:?}: {text}");
        assert!(!text.contains("hunter2"), "{args:?}: {text}");
    }
    let gateway = Gateway::start(&home);
    let coder = gateway.wait_state("coder", "degraded");
    assert!(
        coder.reason.is_some_and(|reason| reason.contains("HTTPS_PROXY") || reason.contains("SSL_CERT_FILE"))
    );
}
