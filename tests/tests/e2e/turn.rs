//! Turns through a provider that speaks the real wire.

use hermes_tests::gateway::{both, run};
use hermes_tests::provider::{Provider, Reply};
use hermes_tests::{Gateway, Home, home, wait};

pub(crate) fn native(provider: &Provider) -> Home {
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

/// A client that names an alias is answered by its model; who takes the provider's place answers where that one fails.
#[test]
fn other_models_answer_who_asks_for_them_and_where_the_first_fails() {
    let (own, other) = (Provider::start(), Provider::start());
    other.answer_with(|body| Reply::text(body["model"].as_str().unwrap()));
    let at_other = format!("provider: custom, base_url: '{}', api_key: other-key", other.base_url());
    let section = "  api_server:\n    enabled: true\n";
    let routes = format!("{section}    model_routes: {{fast: {{model: quick, {at_other}}}}}\n");
    let config = Home::config("true", "").replace("engine: echo, ", "").replace(section, &routes);
    let fallback = format!("fallback_providers: [{{model: spare, {at_other}}}]\n");
    let home = Home::with_config(&format!("{config}{fallback}{}", own.model_config()));
    home.write("default", ".env", &format!("API_SERVER_KEY={}\nCUSTOM_API_KEY=own-key\n", home::DEFAULT_KEY));
    let gateway = Gateway::start(&home);
    let key = format!("Bearer {}", home::DEFAULT_KEY);
    let headers = [("Authorization", key.as_str()), ("Content-Type", "application/json")];
    let asked = |model: &str| {
        let messages = serde_json::json!([{"role": "user", "content": "hello"}]);
        let body = serde_json::json!({"model": model, "messages": messages}).to_string();
        let answer = gateway.api("POST", "/v1/chat/completions", &headers, body.as_bytes()).json();
        (answer["model"].as_str().unwrap().to_owned(), answer["choices"][0]["message"]["content"].clone())
    };
    assert_eq!(asked("fast"), ("fast".to_owned(), "quick".into()));
    assert_eq!(asked("gpt-4"), ("gpt-4".to_owned(), "pong".into()));
    own.script([Reply::error(402, "pay first")]);
    assert_eq!(asked("gpt-4"), ("gpt-4".to_owned(), "spare".into()));
    assert_eq!(
        asked("gpt-4"),
        ("gpt-4".to_owned(), "pong".into()),
        "the next turn begins with the first again"
    );
    let listed = gateway.api("GET", "/v1/models", &headers, b"").json();
    let ids: Vec<_> = listed["data"].as_array().unwrap().iter().map(|model| model["id"].clone()).collect();
    assert_eq!(ids, ["hermes-agent", "fast"]);
    let fast = &listed["data"][1];
    assert_eq!((&fast["root"], &fast["parent"]), (&"quick".into(), &"hermes-agent".into()));
    for (provider, key, foreign) in [(&own, "own-key", "other-key"), (&other, "other-key", "own-key")] {
        let heads: Vec<_> = provider.calls().into_iter().map(|call| call.head).collect();
        assert!(heads.iter().all(|head| head.contains(key) && !head.contains(foreign)), "{heads:?}");
    }
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
    assert_eq!(response.status, 424, "no model text is not an answer");
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
    assert_eq!(gateway.hook("/webhooks/hook", home::SECRET, "d", r#"{"text": "x"}"#).status, 202);
    wait::until_true("default's turn", || {
        let db = rusqlite::Connection::open(home.root().join("state.db")).unwrap();
        db.query_row("select count(*) from messages where role = 'assistant'", [], |r| r.get::<_, i64>(0))
            .unwrap()
            == 1
    });
    assert!(provider.open() >= 10, "the others still hang");
}

/// 1: what a provider fails with is said everywhere, with time and count, once in the log, and is over with the next answer.
#[test]
fn c1_a_provider_that_fails_is_named_until_it_answers() {
    let provider = Provider::start();
    let home = native(&provider);
    home.write(
        "default",
        "config.yaml",
        &format!(
            "{}{}",
            Home::config("true", "  admin: '127.0.0.1:0'\n").replace("engine: echo, ", ""),
            provider.model_config()
        ),
    );
    let gateway = Gateway::start(&home);
    assert_eq!(gateway.profile("default").state, "ready");
    for (status, class) in [(401, "unauthorized"), (402, "quota"), (404, "misconfigured")] {
        provider
            .script([Reply::error(status, "because the-model-key is odd"), Reply::error(status, "again")]);
        for _ in 0..2 {
            assert_eq!(gateway.chat("", home::DEFAULT_KEY, "x").status, 424);
        }
        let shown = wait::until("the failure in the status", || {
            Some(gateway.profile("default"))
                .filter(|p| p.last_error.as_ref().is_some_and(|e| e.code == Some(status) && e.count % 2 == 0))
        });
        let error = shown.last_error.unwrap();
        assert_eq!((shown.state.as_str(), shown.ready, error.class.as_str()), ("degraded", true, class));
        assert!(shown.reason.is_some() && shown.last_error_secs.is_some());
    }
    let text = both(&run(&home, &["status"]));
    assert!(text.contains("✗ default: provider custom misconfigured (404)"), "{text}");
    assert!(text.contains("6 times in a row") && text.contains(" ago"), "{text}");
    assert_eq!(run(&home, &["status", "--exit-code"]).status.code(), Some(4));
    let file: serde_json::Value =
        serde_json::from_str(&home.read("default", "runtime_status.json").unwrap()).unwrap();
    assert_eq!((&file["gateway_state"], &file["last_error"]["code"]), (&"degraded".into(), &404.into()));
    let health = gateway.get("/health/detailed", home::DEFAULT_KEY).json();
    assert_eq!(health["last_error"]["class"], "misconfigured");
    assert_eq!(health["readiness"]["checks"]["provider"]["status"], "degraded");
    let admin = gateway.status().gateway.admin.unwrap();
    let metrics =
        hermes_tests::http::request(&admin, "GET", "/metrics", &[("Host", &admin)], b"").unwrap().text();
    assert!(
        metrics.contains(r#"hermes_worker_last_error{profile="default",class="misconfigured",code="404"} 6"#),
        "{metrics}"
    );
    let log = home.read("default", "logs/gateway.log").unwrap();
    assert_eq!(log.matches("the provider gives no answer").count(), 3, "{log}");
    for secret in [text, metrics, log, file.to_string(), health.to_string()] {
        assert!(!secret.contains("the-model-key"), "{secret}");
    }
    assert_eq!(gateway.chat("", home::DEFAULT_KEY, "x").status, 200);
    let well = gateway.wait_state("default", "ready");
    assert_eq!((well.last_error, well.reason), (None, None));
    let metrics =
        hermes_tests::http::request(&admin, "GET", "/metrics", &[("Host", &admin)], b"").unwrap().text();
    assert!(!metrics.contains("hermes_worker_last_error{"), "{metrics}");
    wait::until_true("the file to be well", || {
        let file = home.read("default", "runtime_status.json").unwrap();
        file.contains(r#""gateway_state":"running""#) && !file.contains("last_error")
    });
}

/// 1: nobody listens at the provider's address.
#[test]
fn c1_a_provider_that_is_away_is_named() {
    let home = Home::with_config(&format!(
        "{}model: {{default: m, provider: custom, base_url: 'http://127.0.0.1:1/v1'}}\n",
        Home::config("true", "").replace("engine: echo, ", "api_max_retries: 1, ")
    ));
    let gateway = Gateway::start(&home);
    assert_eq!(gateway.chat("", home::DEFAULT_KEY, "x").status, 502);
    let shown = gateway.wait_state("default", "degraded");
    let error = shown.last_error.unwrap();
    assert_eq!((error.class.as_str(), error.code, error.count), ("unreachable", None, 1));
    assert!(error.message.contains("127.0.0.1:1"), "{}", error.message);
}

/// 1: who cannot answer as far as the files tell is served, degraded, and named by everything that checks or shows.
#[test]
fn c1_who_cannot_answer_by_its_files_is_degraded_and_named_everywhere() {
    let home = Home::new();
    home.profile_with(
        "coder",
        "model: {default: m, provider: lmstudio}\n",
        "API_SERVER_KEY=coder-api-key-0123456789\n",
    );
    let says = |args: &[&str], code: i32| {
        let output = run(&home, args);
        let text = both(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        let place = format!("{}:1:", home.of("coder").join("config.yaml"));
        assert!(text.contains("Unknown provider 'nope'") && text.contains(&place), "{args:?}: {text}");
        assert!(text.contains("fix: Set model.provider"), "{args:?}: {text}");
        text
    };
    says(&["-p", "coder", "config", "set", "model.provider", "nope"], 0);
    says(&["gateway", "check"], 0);
    says(&["-p", "coder", "config", "check"], 0);
    says(&["doctor"], 1);
    let gateway = Gateway::start(&home);
    let coder = gateway.wait_state("coder", "degraded");
    assert!(coder.ready && coder.reason.as_deref().unwrap().contains("Unknown provider 'nope'"), "{coder:?}");
    says(&["status"], 0);
    says(&["status", "-p", "coder"], 0);
    let log = home.read("coder", "logs/gateway.log").unwrap();
    assert_eq!(log.matches("Unknown provider 'nope'").count(), 1, "{log}");
    // The others are not touched, and a mended file ends it.
    assert_eq!(gateway.profile("default").state, "ready");
    home.write("coder", "config.yaml", "agent: {engine: echo}\n");
    gateway.wait_state("coder", "ready");
}
