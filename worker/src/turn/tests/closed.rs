//! Wires 5: a turn without an answer is closed: it stands in the transcript and in no prompt.

use super::direct::{answer, direct};
use super::*;

fn named() -> SessionRef {
    SessionRef::Continue("s".to_owned())
}

/// Asks, and is not answered.
async fn unanswered(process: &Process, text: &str) {
    answer(process.turns.start(direct(named(), text)).await.unwrap()).await.unwrap_err();
}

async fn answered(process: &Process, text: &str) {
    answer(process.turns.start(direct(named(), text)).await.unwrap()).await.unwrap();
}

/// Wires 5: a stock client asks three times; what it asks next is all that the prompt holds.
#[tokio::test]
async fn w5_what_failed_three_times_is_not_in_the_next_prompt() {
    let home = Home::new();
    let engine = Scripted::with_fault(Fault::Key);
    let process = home.start(Owner::current(), engine.clone());
    for _ in 0..3 {
        unanswered(&process, "question").await;
    }
    engine.mend();
    answered(&process, "one").await;
    *engine.fault.lock().unwrap() = Some(Fault::Request);
    unanswered(&process, "two").await;
    engine.mend();
    answered(&process, "three").await;
    let prompts = engine.prompts();
    for failed in &prompts[..3] {
        assert_eq!(texts(&failed.messages), [(Role::User, "question")]);
    }
    assert_eq!(texts(&prompts[3].messages), [(Role::User, "one")]);
    assert_eq!(
        texts(&prompts[5].messages),
        [(Role::User, "one"), (Role::Assistant, "echo: one"), (Role::User, "three")]
    );
    // The transcript keeps everything, as rows that 0.19.0 knows: those that are not active are in no prompt.
    let failure = "role = 'assistant' AND finish_reason = 'error' AND active = 0";
    assert_eq!(
        home.count(&format!("messages WHERE {failure} AND content = '[no answer: Invalid request]'")),
        4
    );
    assert_eq!(home.count("messages WHERE role = 'user' AND content = 'question' AND active = 0"), 3);
    assert_eq!(home.count("sessions WHERE message_count = (SELECT count(*) FROM messages)"), 1);
    process.stop().await;
}

/// Wires 5: a process died in the middle of a client's turn, and an old home holds what its program never answered.
#[tokio::test]
async fn w5_what_a_crash_left_open_is_closed_by_the_next_turn() {
    let home = Home::new();
    let engine = Scripted::open();
    let process = home.start(Owner::current(), engine.clone());
    let row = |role: &str, text: &str, more: &str| {
        let sql = format!(
            "INSERT INTO messages(session_id, role, content, timestamp, tool_calls) VALUES ('s', ?1, ?2, 1.0, {more})"
        );
        home.db().execute(&sql, [role, text]).unwrap();
    };
    home.db().execute("INSERT INTO sessions(id, source, started_at) VALUES ('s', 'cli', 1.0)", []).unwrap();
    for (role, text, more) in [
        ("user", "hi", "NULL"),
        ("user", "hi", "NULL"),
        ("user", "there", "NULL"),
        ("assistant", "let me see", "'[]'"),
        ("tool", "42", "NULL"),
        ("assistant", "hello", "NULL"),
        ("user", "open", "NULL"),
        ("assistant", "", r#"'[{"id": "c", "call_id": "c", "type": "function"}]'"#),
        ("tool", "cut", "NULL"),
    ] {
        row(role, text, more);
    }
    answered(&process, "next").await;
    assert_eq!(
        texts(&engine.prompts()[0].messages),
        [(Role::User, "hi\n\nthere"), (Role::Assistant, "let me see\n\nhello"), (Role::User, "next")]
    );
    assert_eq!(home.count("messages WHERE active = 0"), 4, "question, tool call, its result, and the reason");
    assert_eq!(home.count("messages WHERE active = 0 AND content = '[no answer: the turn was cut off]'"), 1);
    process.stop().await;
}

/// Wires 5: a question that waits for its provider is not closed by a client that speaks in the same session.
#[tokio::test]
async fn w5_what_is_still_to_be_answered_is_not_closed() {
    let home = Home::new();
    let engine = Scripted::with_fault(Fault::Unreachable);
    let process = home.start(Owner::current(), engine.clone());
    process.turns.serve_inbox();
    accept(&process, event("c", "1", "waiting")).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'postponed')").await;
    let id: String = home.db().query_row("SELECT id FROM sessions", [], |row| row.get(0)).unwrap();
    engine.mend();
    let turn = direct(SessionRef::Continue(id), "client");
    answer(process.turns.start(turn).await.unwrap()).await.unwrap();
    assert_eq!(texts(&engine.prompts()[1].messages), [(Role::User, "waiting\n\nclient")]);
    process.store.write(|db| crate::inbox::postpone::hurry(db, 0.0)).await.unwrap();
    process.store.arrived().notify_one();
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'done')").await;
    let last = &engine.prompts()[2].messages;
    let roles: Vec<Role> = last.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::User, Role::Assistant, Role::User]);
    assert_eq!(last[2].content, text("waiting"));
    process.stop().await;
}

/// Wires 5: whatever made a turn fail, the same event sent again runs again, and is answered once.
#[tokio::test]
async fn w5_a_redelivery_of_what_failed_runs_again() {
    let home = Home::new();
    let engine = Scripted::failing();
    let process = home.start(Owner::current(), engine.clone());
    process.turns.serve_inbox();
    let mut ids = vec!["refused".to_owned()];
    for _ in 0..2 {
        accept(&process, event("c", "refused", "refused")).await;
        home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'failed')").await;
    }
    // Whatever else ends as a dead letter, in whatever session it was: unreadable, deadly, without its session.
    for (id, session) in
        [("unreadable", "NULL"), ("deadly", "(SELECT max(id) FROM sessions)"), ("lost", "'gone'")]
    {
        home.db()
            .execute(
                &format!(
                    "INSERT INTO hermes_inbox(platform, scope, dedup_id, session_key, state, received_at, attempts, suspect,
                        session_id, finished_at, error) VALUES ('webhook', 'open', ?1, 'k', 'failed', 1.0, 6, 1, {session}, 2.0, 'x')"
                ),
                [id],
            )
            .unwrap();
        ids.push(id.to_owned());
    }
    engine.mend();
    for id in &ids {
        let key = DedupKey { scope: "open".to_owned(), id: id.clone() };
        assert!(!process.inbox.is_known("webhook", &key).await.unwrap(), "{id}");
        accept(&process, event("c", id, id)).await;
        home.wait(&format!("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'done' AND dedup_id = '{id}')"))
            .await;
        assert_eq!(process.inbox.accept(event("c", id, id)).await.unwrap(), Accepted::Duplicate, "{id}");
    }
    let expected: Vec<_> =
        ids.iter().flat_map(|id| [pair("user", id), pair("assistant", &format!("echo: {id}"))]).collect();
    assert_eq!(home.active(), expected);
    process.stop().await;
}
