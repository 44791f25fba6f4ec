//! Turns through a provider that speaks the real wire.

use hermes_tests::provider::{Provider, Reply};
use hermes_tests::{Gateway, Home, home, wait};

fn native(provider: &Provider) -> Home {
    let home = Home::with_config(&format!(
        "{}{}",
        Home::config("true", "").replace("engine: echo, ", ""),
        provider.model_config()
    ));
    home.write(
        "default",
        ".env",
        &format!("API_SERVER_KEY={}\nCUSTOM_API_KEY=the-model-key\n", home::DEFAULT_KEY),
    );
    home
}

#[test]
fn the_request_on_the_wire_is_the_known_one() {
    let provider = Provider::start();
    let home = native(&provider);
    home.write("default", "SOUL.md", "You are the soul of this test.");
    let gateway = Gateway::start(&home);
    let response = gateway.chat("", home::DEFAULT_KEY, "hello");
    assert_eq!(response.status, 200, "{}", response.text());
    let json = response.json();
    assert_eq!(json["choices"][0]["message"]["content"], "pong");
    assert_eq!(
        json["usage"],
        serde_json::json!({"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16})
    );
    let calls = provider.calls();
    assert_eq!(calls.len(), 1);
    assert!(calls[0].head.starts_with("POST /v1/chat/completions HTTP/1.1"), "{}", calls[0].head);
    let body = &calls[0].body;
    assert_eq!(
        (&body["model"], &body["stream"], &body["stream_options"]),
        (&"m".into(), &true.into(), &serde_json::json!({"include_usage": true}))
    );
    assert!(body.get("temperature").is_none() && body.get("tool_choice").is_none());
    assert!(body["messages"][0]["content"].as_str().unwrap().starts_with("You are the soul of this test."));
    assert_eq!(body["messages"][1], serde_json::json!({"role": "user", "content": "hello"}));
}

#[test]
fn retries_follow_the_table() {
    let provider = Provider::start();
    let home = native(&provider);
    let gateway = Gateway::start(&home);
    provider.script([
        Reply::Status(
            429,
            vec![("Retry-After".into(), "1".into())],
            r#"{"error":{"message":"slow down"}}"#.into(),
        ),
        Reply::text("after the limit"),
    ]);
    let response = gateway.chat("", home::DEFAULT_KEY, "x");
    assert_eq!(response.json()["choices"][0]["message"]["content"], "after the limit");
    assert_eq!(provider.calls().len(), 2);
    provider.script([Reply::error(401, "Invalid key")]);
    let response = gateway.chat("", home::DEFAULT_KEY, "x");
    assert_eq!(response.status, 502, "no model text is not an answer");
    assert!(response.text().contains("HTTP 401: Invalid key"), "{}", response.text());
    assert!(!response.text().contains("the-model-key"));
    assert_eq!(provider.calls().len(), 3, "401 is not retried");
}

#[test]
fn a_stream_that_is_cut_ends_as_an_error_not_as_an_answer() {
    let provider = Provider::start();
    let home = native(&provider);
    let gateway = Gateway::start(&home);
    provider.script([Reply::Cut(vec!["half an ".into(), "answer".into()])]);
    let body = r#"{"stream": true, "messages": [{"role": "user", "content": "x"}]}"#;
    let response = gateway.api(
        "POST",
        "/v1/chat/completions",
        &[("Authorization", &format!("Bearer {}", home::DEFAULT_KEY))],
        body.as_bytes(),
    );
    let text = response.text();
    assert!(text.contains("half an "), "{text}");
    assert!(
        text.contains(r#""finish_reason":"error""#) || text.contains(r#""finish_reason":"length""#),
        "{text}"
    );
}

#[test]
fn c92_hung_turns_of_one_profile_delay_no_other() {
    let provider = Provider::start();
    provider.script(std::iter::repeat_n(Reply::Hang, 40));
    let home = Home::new();
    home.profile_with(
        "coder",
        &format!("{}platforms: {{webhook: {{extra: {{secret: s-coder-secret, rate_limit: 1000, routes: {{hook: {{prompt: x}}}}}}}}}}\n", provider.model_config()),
        "CUSTOM_API_KEY=k\n",
    );
    let gateway = Gateway::start(&home);
    for i in 0..13 {
        assert_eq!(
            gateway.hook("/p/coder/webhooks/hook", "s-coder-secret", &format!("{i}"), "{}").status,
            202
        );
    }
    wait::until_true("hung turns", || provider.open() >= 10);
    let started = std::time::Instant::now();
    assert_eq!(gateway.hook("/webhooks/hook", home::SECRET, "d", r#"{"text": "x"}"#).status, 202);
    wait::until_true("default's turn", || {
        let db = rusqlite::Connection::open(home.root().join("state.db")).unwrap();
        db.query_row("select count(*) from messages where role = 'assistant'", [], |r| r.get::<_, i64>(0))
            .unwrap()
            == 1
    });
    assert!(started.elapsed() < std::time::Duration::from_secs(3), "{:?}", started.elapsed());
}
