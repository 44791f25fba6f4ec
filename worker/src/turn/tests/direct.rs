use serde_json::json;

use super::*;

pub(super) fn direct(session: SessionRef, input: &str) -> Turn {
    let source =
        Source { platform: "api_server".to_owned(), user_id: Some("u".to_owned()), ..Source::default() };
    let input = vec![engine::Message::new(Role::User, text(input))];
    Turn { input, ..Turn::new(source, session) }
}

pub(super) async fn answer(mut running: RunningTurn) -> Result<Outcome, TurnError> {
    while running.events.recv().await.is_some() {}
    running.outcome.await.unwrap()
}

#[tokio::test]
async fn a_named_session_remembers() {
    let home = Home::new();
    let engine = Scripted::open();
    let process = home.start(Owner::current(), engine.clone());
    let session = || SessionRef::Continue("s-1".to_owned());
    let mut first = direct(session(), "one");
    first.system = Some("Be brief.".to_owned());
    let outcome = answer(process.turns.start(first).await.unwrap()).await.unwrap();
    assert_eq!(outcome.text, "echo: one");
    let mut parts = direct(session(), "");
    parts.input[0].content = json!([{"type": "text", "text": "two"}]);
    answer(process.turns.start(parts).await.unwrap()).await.unwrap();
    answer(process.turns.start(direct(session(), "three")).await.unwrap()).await.unwrap();

    let prompts = engine.prompts();
    assert_eq!(prompts[0].system, "You are coder.\nModel: m\nProvider: test\n\nBe brief.");
    assert_eq!(prompts[1].system, "You are coder.\nModel: m\nProvider: test");
    let last: Vec<Value> = prompts[2].messages.iter().map(|m| m.content.clone()).collect();
    let two = json!([{"type": "text", "text": "two"}]);
    assert_eq!(
        last,
        [json!("one"), json!("echo: one"), two.clone(), json!(format!("echo: {two}")), json!("three")]
    );
    assert_eq!(home.count("sessions WHERE source = 'api_server' AND message_count = 6 AND user_id = 'u'"), 1);
    assert_eq!(home.count("hermes_lease"), 0);
    assert_eq!(process.turns.active(), 0);
    process.stop().await;
}

#[tokio::test]
async fn the_body_is_the_history_of_a_fresh_session() {
    let home = Home::new();
    let engine = Scripted::open();
    let process = home.start(Owner::current(), engine.clone());
    let session = || SessionRef::Fresh("api-1".to_owned());
    let mut turn = direct(session(), "now");
    let said = |role, content: &str| engine::Message::new(role, text(content));
    turn.history = vec![said(Role::User, "hi"), said(Role::Assistant, "hello")];
    answer(process.turns.start(turn.clone()).await.unwrap()).await.unwrap();
    turn.history.extend([said(Role::User, "now"), said(Role::Assistant, "echo: now")]);
    turn.input[0].content = text("then");
    answer(process.turns.start(turn).await.unwrap()).await.unwrap();
    assert_eq!(engine.prompts()[1].messages.len(), 5);
    let stored: Vec<String> = home.messages().into_iter().map(|(_, content)| content).collect();
    assert_eq!(stored, ["hi", "hello", "now", "echo: now", "then", "echo: then"]);
    process.stop().await;
}

#[tokio::test]
async fn one_turn_at_a_time_per_session_and_a_bound_on_all() {
    let home = Home::new();
    let engine = Scripted::closed();
    let process = home.start(Owner::current(), engine.clone());
    let session = || SessionRef::Continue("s".to_owned());
    let first = process.turns.start(direct(session(), "one")).await.unwrap();
    let (turns, second) = (process.turns.clone(), direct(session(), "two"));
    let mut waiting = tokio::task::JoinSet::new();
    waiting.spawn(async move { answer(turns.start(second).await?).await });
    home.wait("EXISTS (SELECT 1 FROM hermes_lease)").await;
    let mut others = Vec::new();
    for n in 0..2 {
        let id = SessionRef::Continue(format!("other-{n}"));
        others.push(process.turns.start(direct(id, "x")).await.unwrap());
    }
    let fifth = process.turns.start(direct(SessionRef::Continue("fifth".to_owned()), "x")).await;
    assert!(matches!(fifth, Err(TurnError::Busy)), "{fifth:?}");
    assert_eq!(engine.prompts().len(), 3, "the second one of a session waits");
    engine.gate.add_permits(4);
    answer(first).await.unwrap();
    assert_eq!(waiting.join_next().await.unwrap().unwrap().unwrap().text, "echo: two");
    let said: Vec<_> =
        home.messages().into_iter().map(|(_, content)| content).filter(|c| c.contains('o')).collect();
    let position = |text: &str| said.iter().position(|c| c == text).unwrap();
    assert!(position("echo: one") < position("two"), "{said:?}");
    drop(others);
    process.stop().await;
}

#[tokio::test]
async fn dropping_a_running_turn_interrupts_it() {
    let home = Home::new();
    let process = home.start(Owner::current(), Scripted::closed());
    let running = process.turns.start(direct(SessionRef::Continue("s".to_owned()), "one")).await.unwrap();
    assert_eq!(process.turns.active(), 1);
    drop(running);
    home.wait("NOT EXISTS (SELECT 1 FROM hermes_lease)").await;
    assert_eq!(home.messages(), [pair("user", "one"), pair("assistant", "[no answer: interrupted]")]);
    assert_eq!(home.active(), []);
    process.stop().await;
}

#[tokio::test]
async fn an_engines_failure_reaches_the_client() {
    let home = Home::new();
    let process = home.start(Owner::current(), Scripted::failing());
    let running = process.turns.start(direct(SessionRef::Continue("s".to_owned()), "one")).await.unwrap();
    let error = answer(running).await.unwrap_err();
    assert!(matches!(error, TurnError::Engine(EngineError::Provider { status: Some(400), .. })), "{error:?}");
    assert_eq!(home.messages(), [pair("user", "one"), pair("assistant", "[no answer: Invalid request]")]);
    process.turns.set_quiesced(true);
    let refused = process.turns.start(direct(SessionRef::Continue("s".to_owned()), "two")).await;
    assert!(matches!(refused, Err(TurnError::Draining)), "{refused:?}");
    process.stop().await;
}

fn tool_call(id: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}})
}

/// Wires 7: a named session keeps calls and results, and the client's next request goes on from them.
#[tokio::test]
async fn a_session_goes_on_through_calls_of_tools() {
    let home = Home::new();
    let engine = Scripted::open();
    let process = home.start(Owner::current(), engine.clone());
    let session = || SessionRef::Continue("s".to_owned());
    let options = |value: Value| value.as_object().unwrap().clone();
    let mut ask = direct(session(), "what time is it?");
    ask.options = options(json!({"tools": [], "answer_with": [tool_call("c1")]}));
    let outcome = answer(process.turns.start(ask).await.unwrap()).await.unwrap();
    assert_eq!(outcome.tool_calls, [tool_call("c1")]);

    let call = engine::Message {
        tool_calls: vec![tool_call("c1")],
        ..engine::Message::new(Role::Assistant, Value::Null)
    };
    let result = engine::Message {
        tool_call_id: Some("c1".to_owned()),
        name: Some("f".to_owned()),
        ..engine::Message::new(Role::Tool, json!("noon"))
    };
    let mut reply = direct(session(), "");
    reply.input = vec![call.clone(), result.clone()];
    reply.options = options(json!({"tools": []}));
    answer(process.turns.start(reply.clone()).await.unwrap()).await.unwrap();
    answer(process.turns.start(direct(session(), "thanks")).await.unwrap()).await.unwrap();

    let prompts = engine.prompts();
    let roles = |at: usize| prompts[at].messages.iter().map(|m| m.role).collect::<Vec<_>>();
    assert_eq!(roles(1), [Role::User, Role::Assistant, Role::Tool]);
    assert_eq!((&prompts[1].messages[1].tool_calls[0], &prompts[1].messages[2]), (&tool_call("c1"), &result));
    // Where the request has nothing to do with tools, only what was said is sent, and roles alternate.
    assert_eq!(roles(2), [Role::User, Role::Assistant, Role::User]);
    let stored: Vec<String> = home.messages().into_iter().map(|(role, _)| role).collect();
    assert_eq!(stored, ["user", "assistant", "tool", "assistant", "user", "assistant"]);
    assert_eq!(home.count("sessions WHERE message_count = 6 AND tool_call_count = 1"), 1);

    // A session that does not know the call takes it from the client.
    reply.session = SessionRef::Continue("other".to_owned());
    answer(process.turns.start(reply.clone()).await.unwrap()).await.unwrap();
    assert_eq!(engine.prompts()[3].messages, [call, result.clone()]);

    // Results that belong to nothing are refused, and leave nothing.
    reply.session = SessionRef::Continue("third".to_owned());
    reply.input = vec![result];
    let refused = process.turns.start(reply).await;
    assert!(matches!(refused, Err(TurnError::UnknownCalls)), "{refused:?}");
    assert_eq!((home.count("sessions WHERE id = 'third'"), home.count("hermes_lease")), (0, 0));
    process.stop().await;
}

/// D19: whoever asks, what is stored says who it was; a session key leads to the same session whatever came before.
#[tokio::test]
async fn a_turn_has_any_caller() {
    let home = Home::new();
    let engine = Scripted::open();
    let process = home.start(Owner::current(), engine.clone());
    process.turns.serve_inbox();
    let key = "agent:coder:cron:job:nightly";
    for text in ["first", "second"] {
        let mut turn = direct(SessionRef::Keyed(key.to_owned()), text);
        turn.source = Source {
            platform: "cron".to_owned(),
            chat_type: "job".to_owned(),
            chat_id: Some("nightly".to_owned()),
            chat_name: Some("Nightly".to_owned()),
            ..Source::default()
        };
        let running = process.turns.start(turn).await.unwrap();
        let id = running.session_id.clone();
        answer(running).await.unwrap();
        assert_eq!(home.count(&format!("sessions WHERE id = '{id}'")), 1);
    }
    accept(&process, event("c", "1", "from outside")).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'done')").await;
    assert_eq!(
        texts(&engine.prompts()[1].messages),
        [(Role::User, "first"), (Role::Assistant, "echo: first"), (Role::User, "second")]
    );
    let cron = "source = 'cron' AND chat_type = 'job' AND chat_id = 'nightly' AND display_name = 'Nightly'";
    assert_eq!(
        home.count(&format!("sessions WHERE {cron} AND session_key = '{key}' AND message_count = 4")),
        1
    );
    assert_eq!(home.count("sessions WHERE source = 'webhook' AND message_count = 2"), 1);
    assert_eq!(home.count(&format!("gateway_routing WHERE session_key = '{key}'")), 1);
    process.stop().await;
}

/// What a prompt needs of files is read while nobody holds the database.
#[tokio::test]
async fn files_are_read_before_the_transaction() {
    let home = Home::new();
    let (reading, begun) = std::sync::mpsc::channel();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Mutex::new(held);
    let prompts = move || -> Prompts {
        reading.send(()).unwrap();
        held.lock().unwrap().recv().unwrap();
        Arc::new(|_| "read".to_owned())
    };
    let engine = Scripted::open();
    let process = home.start_reading(Owner::current(), engine.clone(), 16, Arc::new(prompts));
    let turns = process.turns.clone();
    let mut waiting = tokio::task::JoinSet::new();
    waiting.spawn(async move {
        answer(turns.start(direct(SessionRef::Continue("s".to_owned()), "one")).await?).await
    });
    while begun.try_recv().is_err() {
        tokio::task::yield_now().await;
    }
    // It is being read, and the database is free.
    accept(&process, event("c", "1", "x")).await;
    assert_eq!(home.count("sessions"), 0);
    release.send(()).unwrap();
    assert_eq!(waiting.join_next().await.unwrap().unwrap().unwrap().text, "echo: one");
    assert_eq!(engine.prompts()[0].system, "read");
    process.stop().await;
}
