use super::*;

#[tokio::test]
async fn an_event_becomes_a_session_a_question_and_an_answer() {
    let home = Home::new();
    let process = home.start(Owner::current(), Scripted::open());
    process.turns.serve_inbox();
    let mut one_shot = event("webhook:open:d-1", "d-1", "hook event 1");
    one_shot.end_session = Some("webhook_complete".to_owned());
    accept(&process, one_shot).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'done')").await;

    assert_eq!(home.messages(), [pair("user", "hook event 1"), pair("assistant", "echo: hook event 1")]);
    let key = "agent:coder:webhook:webhook:webhook:open:d-1:webhook:open";
    let db = home.db();
    let (id, prompt, origin): (String, String, String) = db
        .query_row(
            "SELECT id, system_prompt, origin_json FROM sessions WHERE source = 'webhook' AND session_key = ?1
               AND chat_id = 'webhook:open:d-1' AND display_name = 'webhook/open' AND user_id = 'webhook:open'
               AND model = 'm' AND profile_name = 'coder' AND message_count = 2 AND input_tokens = 11 AND output_tokens = 5
               AND cache_read_tokens = 3 AND api_call_count = 1 AND billing_provider = 'test'
               AND ended_at >= started_at AND end_reason = 'webhook_complete'",
            [key],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    assert_eq!(prompt, "You are coder.\nModel: m\nProvider: test");
    assert_eq!(
        origin,
        r#"{"platform":"webhook","chat_id":"webhook:open:d-1","chat_name":"webhook/open","chat_type":"webhook","user_id":"webhook:open","user_name":"open","thread_id":null,"chat_topic":null}"#
    );
    let entry: String = db
        .query_row(
            "SELECT entry_json FROM gateway_routing WHERE scope = 'coder' AND session_key = ?1",
            [key],
            |r| r.get(0),
        )
        .unwrap();
    let entry: Value = serde_json::from_str(&entry).unwrap();
    assert_eq!((&entry["session_id"], &entry["last_prompt_tokens"]), (&text(&id), &Value::from(14)));
    assert_eq!(
        home.count("session_model_usage WHERE model = 'm' AND api_call_count = 1 AND output_tokens = 5"),
        1
    );
    assert_eq!(home.count("messages_fts WHERE messages_fts MATCH 'hook'"), 2);
    assert_eq!(home.count("hermes_lease"), 0);
    assert_eq!(home.count("hermes_inbox WHERE payload IS NOT NULL"), 0);

    let again = process.inbox.accept(event("webhook:open:d-1", "d-1", "hook event 1")).await.unwrap();
    assert_eq!(again, Accepted::Duplicate);
    process.stop().await;
    let mirror: Value = serde_json::from_slice(&fs_err::read(home.home.sessions_json()).unwrap()).unwrap();
    assert_eq!(mirror[key]["session_id"], text(&id));
}

#[tokio::test]
async fn a_conversation_goes_on_and_an_ended_session_does_not() {
    let home = Home::new();
    let engine = Scripted::open();
    let process = home.start(Owner::current(), engine.clone());
    process.turns.serve_inbox();
    accept(&process, event("c", "1", "one")).await;
    home.wait("(SELECT count(*) FROM hermes_inbox WHERE state = 'done') = 1").await;
    let mut last = event("c", "2", "two");
    last.end_session = Some("webhook_complete".to_owned());
    accept(&process, last).await;
    home.wait("(SELECT count(*) FROM hermes_inbox WHERE state = 'done') = 2").await;
    accept(&process, event("c", "3", "three")).await;
    home.wait("(SELECT count(*) FROM hermes_inbox WHERE state = 'done') = 3").await;
    let prompts = engine.prompts();
    assert_eq!(
        texts(&prompts[1].messages),
        [(Role::User, "one"), (Role::Assistant, "echo: one"), (Role::User, "two")]
    );
    assert_eq!(prompts[0].session_id, prompts[1].session_id);
    assert_eq!(texts(&prompts[2].messages), [(Role::User, "three")]);
    assert_ne!(prompts[2].session_id, prompts[1].session_id);
    assert_eq!(home.count("sessions"), 2);
    process.stop().await;
}

#[tokio::test]
async fn a_session_known_to_0_19_0_continues() {
    let home = Home::new();
    let owner = Owner::current();
    let engine = Scripted::open();
    let process = home.start(owner, engine.clone());
    let key = "agent:coder:webhook:webhook:c:webhook:open";
    let path = home.home.path().canonicalize_utf8().unwrap().join("sessions");
    let db = home.db();
    db.execute(
        "INSERT INTO sessions(id, source, session_key, system_prompt, started_at)
         VALUES ('old', 'webhook', ?1, 'their prompt' || char(10) || 'Model: m', 1.0)",
        [key],
    )
    .unwrap();
    db.execute(
        "INSERT INTO messages(session_id, role, content, timestamp) VALUES ('old', 'user', 'before', 1.0)",
        [],
    )
    .unwrap();
    db.execute("INSERT INTO messages(session_id, role, timestamp) VALUES ('old', 'session_meta', 1.0)", [])
        .unwrap();
    db.execute(
        "INSERT INTO gateway_routing VALUES (?1, ?2, '{\"session_id\": \"old\"}', 1.0)",
        [path.as_str(), key],
    )
    .unwrap();
    process.turns.serve_inbox();
    accept(&process, event("c", "1", "after")).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'done')").await;
    let prompt = &engine.prompts()[0];
    assert_eq!((prompt.session_id.as_str(), prompt.system.as_str()), ("old", "their prompt\nModel: m"));
    // What was left open there got no answer, and is not asked again.
    assert_eq!(texts(&prompt.messages), [(Role::User, "after")]);
    process.stop().await;
}

#[tokio::test]
async fn a_failed_turn_is_kept_with_its_reason_and_has_no_answer() {
    let home = Home::new();
    let process = home.start(Owner::current(), Scripted::failing());
    process.turns.serve_inbox();
    let mut one_shot = event("c", "1", "question");
    one_shot.end_session = Some("webhook_complete".to_owned());
    accept(&process, one_shot).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'failed' AND error = 'Invalid request')")
        .await;
    assert_eq!(
        home.messages(),
        [pair("user", "question"), pair("assistant", "[no answer: Invalid request]")]
    );
    assert_eq!(home.active(), []);
    assert_eq!(
        home.count(
            "sessions WHERE message_count = 2 AND api_call_count = 2 AND end_reason = 'webhook_complete'"
        ),
        1
    );
    assert_eq!(home.count("hermes_lease"), 0);
    process.stop().await;
}

#[tokio::test]
async fn each_session_is_in_order_and_sessions_share_the_room() {
    const SESSIONS: usize = 7;
    const EACH: usize = 12;
    let home = Home::new();
    let process = home.start_limited(Owner::current(), Scripted::open(), 4);
    process.turns.serve_inbox();
    let mut senders = tokio::task::JoinSet::new();
    for session in 0..SESSIONS {
        let inbox = process.inbox.clone();
        senders.spawn(async move {
            for n in 0..EACH {
                let (chat, id) = (format!("chat-{session}"), format!("{session}-{n}"));
                assert_eq!(inbox.accept(event(&chat, &id, &n.to_string())).await.unwrap(), Accepted::New);
            }
        });
    }
    senders.join_all().await;
    home.wait(&format!("(SELECT count(*) FROM hermes_inbox WHERE state = 'done') = {}", SESSIONS * EACH))
        .await;
    assert_eq!(home.count("sessions"), i64::try_from(SESSIONS).unwrap());
    let db = home.db();
    for session in 0..SESSIONS {
        let chat = format!("chat-{session}");
        let mut select = db
            .prepare("SELECT content FROM messages WHERE session_id = (SELECT id FROM sessions WHERE chat_id = ?1) ORDER BY id")
            .unwrap();
        let said: Vec<String> =
            select.query_map([&chat], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let expected: Vec<String> = (0..EACH).flat_map(|n| [n.to_string(), format!("echo: {n}")]).collect();
        assert_eq!(said, expected, "{chat}");
    }
    process.stop().await;
}

/// Wires 7: without a limit everything that waits runs at once.
#[tokio::test]
async fn no_limit_is_no_limit() {
    const SESSIONS: usize = 40;
    let home = Home::new();
    let engine = Scripted::closed();
    let process = home.start_limited(Owner::current(), engine.clone(), usize::MAX);
    process.turns.serve_inbox();
    for session in 0..SESSIONS {
        let id = format!("{session}");
        process.inbox.accept(event(&format!("chat-{session}"), &id, "x")).await.unwrap();
    }
    home.wait(&format!("(SELECT count(*) FROM hermes_inbox WHERE state = 'claimed') = {SESSIONS}")).await;
    engine.gate.add_permits(SESSIONS);
    home.wait(&format!("(SELECT count(*) FROM hermes_inbox WHERE state = 'done') = {SESSIONS}")).await;
    process.stop().await;
}

#[tokio::test]
async fn a_session_deleted_under_a_turn_does_not_stop_the_others() {
    let home = Home::new();
    let engine = Scripted::closed();
    let process = home.start(Owner::current(), engine.clone());
    process.turns.serve_inbox();
    accept(&process, event("doomed", "1", "a")).await;
    accept(&process, event("fine", "2", "b")).await;
    home.wait("(SELECT count(*) FROM hermes_inbox WHERE state = 'claimed') = 2").await;
    home.db()
        .execute_batch(
            "PRAGMA foreign_keys = ON; DELETE FROM messages WHERE content = 'a';
             DELETE FROM sessions WHERE chat_id = 'doomed';",
        )
        .unwrap();
    engine.gate.add_permits(2);
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'failed') AND EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'done')")
        .await;
    assert_eq!(home.messages(), [pair("user", "b"), pair("assistant", "echo: b")]);
    process.stop().await;
}

#[tokio::test]
async fn a_silent_engine_is_stopped() {
    let home = Home::new();
    let engine = Scripted::closed();
    let prompt = Prompt { session_id: "s".into(), ..Prompt::default() };
    let mut patience = run::Patience {
        silence: Some(Duration::from_millis(20)),
        provider: Duration::ZERO,
        before: crate::inbox::postpone::Postponed::default(),
    };
    let process = home.start(Owner::current(), engine.clone());
    let run = async |patience| {
        let seat = crate::turn::place::Place::new(&process.turns.0, Kind::Inbox);
        let office = run::Office {
            seat,
            asker: None,
            desk: None,
            listener: None,
            may_repeat: false,
            waits: &|| false,
        };
        run::run_unwatched(
            engine.as_ref(),
            &prompt,
            &engine::Unrecorded,
            patience,
            office,
            &CancellationToken::new(),
        )
        .await
    };
    let ending = run(patience).await;
    assert!(matches!(ending, finish::Ending::Failed { .. }), "{ending:?}");
    patience.provider = Duration::from_secs(60);
    let ending = run(patience).await;
    assert!(matches!(ending, finish::Ending::Postponed { fault: Fault::Unreachable, .. }), "{ending:?}");
    process.stop().await;
}

/// An answer that is the wish to say nothing is part of the conversation, and nobody is sent it.
#[tokio::test]
async fn an_answer_that_says_nothing_is_sent_to_nobody() {
    let home = Home::new();
    let process = home.start(Owner::current(), Scripted::open());
    process.turns.serve_inbox();
    for (id, text) in
        [("1", "answer [SILENT]"), ("2", "answer  NO_REPLY\n"), ("3", "answer [SILENT] is a word")]
    {
        let mut event = event("c", id, text);
        event.delivery.kind = "chat".to_owned();
        accept(&process, event).await;
    }
    home.wait("(SELECT count(*) FROM hermes_inbox WHERE state = 'done') = 3").await;
    assert_eq!(home.count("messages WHERE role = 'assistant'"), 3);
    assert_eq!(home.count("hermes_delivery"), 1);
    assert_eq!(home.count("hermes_delivery WHERE content = '[SILENT] is a word' OR content IS NULL"), 1);
    process.stop().await;
}
