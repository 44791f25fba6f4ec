//! Conversations that newer releases began, and go on with, in a file of schema 30.

use hermes_tests::chat::Chat;
use hermes_tests::provider::Provider;
use hermes_tests::state::{self, Shape};
use hermes_tests::{Gateway, Home, home};
use rusqlite::Connection;

/// Ended by compression, and its continuation.
const PARENT: &str = "20261101_090000_aaaaaa";
const TIP: &str = "20261101_100000_bbbbbb";

fn db(home: &Home, profile: &str) -> Connection {
    let db = Connection::open(home.of(profile).join("state.db")).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    db
}

fn text(db: &Connection, sql: &str) -> String {
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// A client that names the session it knows is answered where the conversation goes on, told so, and goes on there.
#[test]
fn a_client_goes_on_in_the_continuation_of_its_session() {
    let provider = Provider::start();
    let home = Home::new();
    let key = "coder-api-key-0123456789";
    home.profile_with(
        "coder",
        &provider.model_config(),
        &format!("API_SERVER_KEY={key}\nCUSTOM_API_KEY=key-of-coder\n"),
    );
    Shape::MixedPrompts.make(&home.of("coder").join("state.db"));
    let gateway = Gateway::start(&home);
    let ask = |session: &str, stream: bool, text: &str| {
        let body = serde_json::json!({"messages": [{"role": "user", "content": text}], "stream": stream});
        let headers = [("Authorization", &*format!("Bearer {key}")), ("X-Hermes-Session-Id", session)];
        let answer =
            gateway.api("POST", "/p/coder/v1/chat/completions", &headers, body.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.header("x-hermes-session-id").unwrap().to_owned()
    };
    let db = db(&home, "coder");
    let closed = format!(
        "SELECT json_array(ended_at, end_reason, message_count, system_prompt_hash,
            (SELECT count(*) FROM messages WHERE session_id = sessions.id)) FROM sessions WHERE id = '{PARENT}'"
    );
    let before = text(&db, &closed);
    assert_eq!(ask(PARENT, false, "And in spring?"), TIP);
    assert_eq!(ask(PARENT, true, "And in summer?"), TIP);
    assert_eq!(ask(TIP, false, "And in autumn?"), TIP);
    assert_eq!(text(&db, &closed), before);

    let calls = provider.calls();
    let sent = |call: usize| -> Vec<&str> {
        calls[call].body["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| m["content"].as_str().unwrap())
            .collect()
    };
    // The prompt that its hash leads to, not the one that another program wrote inline; the summary, which people do not see.
    let began = [
        "You are Hermes.\n\nWhat was said before:\nThe user keeps bees.",
        "Summary: bees form a cluster.\n\n蜜蜂在冬天吃什么？",
        "蜂蜜。",
    ];
    assert_eq!(sent(0)[..3], began);
    assert_eq!(sent(2)[..3], began);
    assert_eq!(sent(2)[3..], ["And in spring?", "pong", "And in summer?", "pong", "And in autumn?"]);
    assert_eq!(
        db.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |r| r.get::<_, i64>(0)).unwrap(),
        0
    );
    state::check_search(&db).unwrap();

    // A session of its own has its prompt both ways.
    assert_eq!(ask("mine", false, "hello"), "mine");
    let both = "SELECT system_prompt = prompt AND profile_name = 'coder' FROM sessions
        JOIN system_prompts ON hash = system_prompt_hash WHERE id = 'mine'";
    assert!(db.query_row(both, [], |row| row.get::<_, bool>(0)).unwrap());
}

/// Whoever answers, the session says whose bot received it: that is who may deliver.
#[test]
fn a_session_of_another_profiles_bot_says_so() {
    let chat = Chat::start();
    let rules = "  profile_routes:\n  - {name: work, platform: testchat, profile: coder, chat_id: work}\n";
    let home = Home::with_config(&format!("{}  {}\n", Home::config("true", rules), chat.section("")));
    home.write("default", ".env", &format!("API_SERVER_KEY={}\n{}", home::DEFAULT_KEY, Chat::env()));
    home.profile("coder");
    home.lets_everybody_in("coder");
    for profile in ["default", "coder"] {
        Shape::New.make(&home.of(profile).join("state.db"));
    }
    let _gateway = Gateway::start(&home);
    chat.say("private", "u", "hi");
    chat.say_in_group("work", "u", "hello");
    chat.wait_seen("private", "echo (not a model): hi");
    chat.wait_seen("work", "echo (not a model): hello");
    for (profile, owners) in [("default", "default default"), ("coder", "coder default")] {
        let db = db(&home, profile);
        let row = "SELECT profile_name || ' ' || transport_profile FROM sessions WHERE source = 'testchat'";
        assert_eq!(text(&db, row), owners);
        let entry = "SELECT entry_json ->> 'transport_profile' FROM gateway_routing WHERE session_key LIKE '%:testchat:%'";
        assert_eq!(text(&db, entry), "default");
    }
}
