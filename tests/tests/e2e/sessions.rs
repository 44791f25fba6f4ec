//! Sessions live with their profile, under the keys 0.19.0 uses.

use hermes_tests::{Gateway, Home, home, wait};

fn keys(home: &Home, profile: &str) -> Vec<(String, String)> {
    let db = rusqlite::Connection::open(home.of(profile).join("state.db")).unwrap();
    let mut statement =
        db.prepare("select session_key, coalesce(end_reason, '') from sessions order by started_at").unwrap();
    let rows = statement
        .query_map([], |r| Ok((r.get::<_, Option<String>>(0)?.unwrap_or_default(), r.get(1)?)))
        .unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[test]
fn c60_c62_keys_and_places_of_webhook_sessions() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    gateway.hook("/webhooks/hook", home::SECRET, "d1", r#"{"text": "x"}"#);
    gateway.hook("/p/coder/webhooks/hook", &format!("{}-coder", home::SECRET), "d1", r#"{"text": "x"}"#);
    for (profile, namespace) in [("default", "main"), ("coder", "coder")] {
        let expected = vec![(
            format!("agent:{namespace}:webhook:webhook:webhook:hook:d1:webhook:hook"),
            "webhook_complete".to_owned(),
        )];
        wait::until_true("the finished session", || keys(&home, profile) == expected);
    }
}

#[test]
fn c61_default_keeps_its_keys_with_the_flag_off() {
    let home = Home::with_config(&Home::config("false", ""));
    let gateway = Gateway::start(&home);
    gateway.hook("/webhooks/hook", home::SECRET, "d1", r#"{"text": "x"}"#);
    wait::until_true("the finished session", || {
        keys(&home, "default")
            == [(
                "agent:main:webhook:webhook:webhook:hook:d1:webhook:hook".to_owned(),
                "webhook_complete".to_owned(),
            )]
    });
}

#[test]
fn a_turn_leaves_the_rows_0_19_0_expects() {
    let home = Home::new();
    let gateway = Gateway::start(&home);
    let response = gateway.chat("", home::DEFAULT_KEY, "what is in the rows?");
    assert_eq!(response.status, 200, "{}", response.text());
    let session = response.header("x-hermes-session-id").unwrap().to_owned();
    let db = rusqlite::Connection::open(home.root().join("state.db")).unwrap();
    let rows: Vec<(String, String, i64)> = db
        .prepare("select role, content, active from messages where session_id = ?1 order by id")
        .unwrap()
        .query_map([&session], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!((rows[0].0.as_str(), rows[0].1.as_str(), rows[0].2), ("user", "what is in the rows?", 1));
    assert_eq!(rows[1].0, "assistant");
    let (count, source, prompt): (i64, String, String) = db
        .query_row(
            "select message_count, source, system_prompt from sessions where id = ?1",
            [&session],
            |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)),
        )
        .unwrap();
    assert_eq!((count, source.as_str()), (2, "api_server"));
    assert!(!prompt.is_empty());
    assert_eq!(db.query_row("select version from schema_version", [], |r| r.get::<_, i64>(0)).unwrap(), 22);
    // Full-text search finds it: the triggers ran.
    let found: i64 = db
        .query_row("select count(*) from messages_fts where messages_fts match 'rows'", [], |r| r.get(0))
        .unwrap();
    assert!(found >= 1);
}

#[test]
fn a_session_continues_from_its_stored_history() {
    let provider = hermes_tests::provider::Provider::start();
    let home = Home::new();
    home.profile_with(
        "coder",
        &provider.model_config(),
        "API_SERVER_KEY=coder-api-key-0123456789\nCUSTOM_API_KEY=key-of-coder\n",
    );
    let gateway = Gateway::start(&home);
    let key = "coder-api-key-0123456789";
    let first = gateway.chat("/p/coder", key, "first");
    assert_eq!(first.status, 200, "{}", first.text());
    let session = first.header("x-hermes-session-id").unwrap().to_owned();
    let body = r#"{"messages": [{"role": "user", "content": "second"}]}"#;
    let second = gateway.api(
        "POST",
        "/p/coder/v1/chat/completions",
        &[("Authorization", &format!("Bearer {key}")), ("X-Hermes-Session-Id", &session)],
        body.as_bytes(),
    );
    assert_eq!(second.status, 200, "{}", second.text());
    let calls = provider.calls();
    let texts: Vec<&str> = calls[1].body["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["content"].as_str().unwrap())
        .collect();
    assert_eq!(&texts[1..], ["first", "pong", "second"]);
    assert!(
        calls[0].head.to_ascii_lowercase().contains("authorization: bearer key-of-coder"),
        "{}",
        calls[0].head
    );
    assert_eq!(texts[0], calls[0].body["messages"][0]["content"], "the system prompt is frozen");
}

/// The home that 0.19.0 left behind: read, continued, and still readable.
#[test]
fn the_home_of_0_19_0_is_continued() {
    let home = Home::empty();
    let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/home-0.19.0.tar.gz");
    #[expect(clippy::disallowed_methods, reason = "unpacking a fixture")]
    let unpacked = std::process::Command::new("tar")
        .args(["xzf", archive, "-C", home.user().as_str()])
        .status()
        .unwrap();
    assert!(unpacked.success());
    fs_err::remove_dir(home.root()).unwrap();
    fs_err::rename(home.user().join(".hermes"), home.root()).unwrap();
    // Its ports belonged to another machine, and its model to another day.
    let config = home.read("default", "config.yaml").unwrap().replace("44065", "0").replace("48123", "0");
    home.write("default", "config.yaml", &format!("{config}\nagent: {{engine: echo}}\n"));
    for name in ["coder", "ops"] {
        let config = home.read(name, "config.yaml").unwrap();
        home.write(name, "config.yaml", &format!("{config}\nagent: {{engine: echo}}\n"));
    }
    let count = || {
        let db = rusqlite::Connection::open(home.root().join("state.db")).unwrap();
        db.query_row("select count(*) from sessions", [], |r| r.get::<_, i64>(0)).unwrap()
    };
    let before = count();
    let gateway = Gateway::start(&home);
    for name in ["default", "coder", "ops"] {
        assert!(gateway.profile(name).ready, "{:?}", gateway.profile(name));
    }
    let response = gateway.hook("/webhooks/open", "sek-default", "new-1", r#"{"text": "again"}"#);
    assert_eq!(response.status, 202, "{}", response.text());
    assert_eq!(
        gateway.hook("/p/coder/webhooks/coder", "sek-coder", "new-2", r#"{"text": "again"}"#).status,
        202
    );
    assert_eq!(
        gateway.hook("/p/coder/webhooks/mine", "sek-coder", "new-3", r#"{"text": "again"}"#).status,
        202
    );
    assert_eq!(gateway.hook("/p/ops/webhooks/mine", "sek-ops", "new-4", r#"{"text": "again"}"#).status, 202);
    assert_eq!(gateway.hook("/webhooks/coder", "sek-coder", "new-5", r#"{"text": "again"}"#).status, 404);
    wait::until_true("the new session", || count() == before + 1);
    let db = rusqlite::Connection::open(home.root().join("state.db")).unwrap();
    assert_eq!(db.query_row("pragma integrity_check", [], |r| r.get::<_, String>(0)).unwrap(), "ok");
    assert_eq!(db.query_row("select version from schema_version", [], |r| r.get::<_, i64>(0)).unwrap(), 22);
}
