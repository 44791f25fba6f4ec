use serde_json::json;

use super::*;

pub(super) fn direct(session: DirectSession, input: &str) -> DirectTurn {
    DirectTurn {
        session,
        system: None,
        history: Vec::new(),
        input: vec![engine::Message::new(Role::User, text(input))],
        user: Some("u".to_owned()),
        options: engine::Options::new(),
    }
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
    let session = || DirectSession::Continue("s-1".to_owned());
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
    let session = || DirectSession::Fresh("api-1".to_owned());
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
    let session = || DirectSession::Continue("s".to_owned());
    let first = process.turns.start(direct(session(), "one")).await.unwrap();
    let (turns, second) = (process.turns.clone(), direct(session(), "two"));
    let mut waiting = tokio::task::JoinSet::new();
    waiting.spawn(async move { answer(turns.start(second).await?).await });
    home.wait("EXISTS (SELECT 1 FROM hermes_lease)").await;
    let mut others = Vec::new();
    for n in 0..2 {
        let id = DirectSession::Continue(format!("other-{n}"));
        others.push(process.turns.start(direct(id, "x")).await.unwrap());
    }
    let fifth = process.turns.start(direct(DirectSession::Continue("fifth".to_owned()), "x")).await;
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
    let running = process.turns.start(direct(DirectSession::Continue("s".to_owned()), "one")).await.unwrap();
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
    let running = process.turns.start(direct(DirectSession::Continue("s".to_owned()), "one")).await.unwrap();
    let error = answer(running).await.unwrap_err();
    assert!(matches!(error, TurnError::Engine(EngineError::Provider { status: Some(400), .. })), "{error:?}");
    assert_eq!(home.messages(), [pair("user", "one"), pair("assistant", "[no answer: Invalid request]")]);
    process.turns.set_quiesced(true);
    let refused = process.turns.start(direct(DirectSession::Continue("s".to_owned()), "two")).await;
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
    let session = || DirectSession::Continue("s".to_owned());
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
    reply.session = DirectSession::Continue("other".to_owned());
    answer(process.turns.start(reply.clone()).await.unwrap()).await.unwrap();
    assert_eq!(engine.prompts()[3].messages, [call, result.clone()]);

    // Results that belong to nothing are refused, and leave nothing.
    reply.session = DirectSession::Continue("third".to_owned());
    reply.input = vec![result];
    let refused = process.turns.start(reply).await;
    assert!(matches!(refused, Err(TurnError::UnknownCalls)), "{refused:?}");
    assert_eq!((home.count("sessions WHERE id = 'third'"), home.count("hermes_lease")), (0, 0));
    process.stop().await;
}
