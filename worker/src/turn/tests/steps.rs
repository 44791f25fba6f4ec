//! D12, D19: turns with steps: what is stored of them, and how they go on after their process died.

use super::direct::{answer, direct};
use super::*;

/// Roles, contents, `tool_calls`, `tool_call_id`, `tool_name` and `finish_reason` of all rows.
fn rows(home: &Home) -> Vec<[String; 6]> {
    let db = home.db();
    let mut select = db
        .prepare(
            "SELECT role, content, coalesce(tool_calls, ''), coalesce(tool_call_id, ''), coalesce(tool_name, ''),
                    coalesce(finish_reason, '') FROM messages ORDER BY id",
        )
        .unwrap();
    let rows = select.query_map([], |row| {
        Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?])
    });
    rows.unwrap().map(Result::unwrap).collect()
}

fn row(fields: [&str; 6]) -> [String; 6] {
    fields.map(str::to_owned)
}

const CALLS: &str = concat!(
    r#"[{"id":"call_a","call_id":"call_a","response_item_id":"fc_a","type":"function","function":{"name":"f","arguments":"{}"}},"#,
    r#"{"id":"call_b","call_id":"call_b","response_item_id":"fc_b","type":"function","function":{"name":"f","arguments":"{}"}}]"#
);

#[tokio::test]
async fn steps_are_rows_as_the_predecessor_writes_them_and_are_counted() {
    let home = Home::new();
    let engine = Scripted::with_tools(Semaphore::MAX_PERMITS);
    let process = home.start(Owner::current(), engine.clone());
    let named = || SessionRef::Continue("s".to_owned());
    let outcome = answer(process.turns.start(direct(named(), "steps")).await.unwrap()).await.unwrap();
    assert_eq!((outcome.text.as_str(), outcome.calls), ("made it", 3));
    assert_eq!(
        rows(&home),
        [
            row(["user", "steps", "", "", "", ""]),
            row(["assistant", "", CALLS, "", "", "tool_calls"]),
            row(["tool", "call_a ran", "", "call_a", "f", ""]),
            row(["tool", "call_b ran", "", "call_b", "f", ""]),
            row(["assistant", "made it", "", "", "", "stop"]),
        ]
    );
    assert_eq!(
        home.count(
            "sessions WHERE message_count = 5 AND tool_call_count = 2 AND api_call_count = 3 AND input_tokens = 22
                AND output_tokens = 10 AND cache_read_tokens = 6"
        ),
        1
    );
    assert_eq!(home.count("messages WHERE reasoning = 'hm' AND reasoning_content = 'hm'"), 1);
    assert_eq!(
        home.db().query_row("SELECT sum(api_call_count) FROM session_model_usage", [], |r| r.get(0)),
        Ok(3)
    );
    // The next turn's prompt has them.
    answer(process.turns.start(direct(named(), "next")).await.unwrap()).await.unwrap();
    let prompts = engine.prompts();
    let roles: Vec<Role> = prompts[1].messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::User, Role::Assistant, Role::Tool, Role::Tool, Role::Assistant, Role::User]);
    assert_eq!(prompts[1].messages[1].reasoning.as_deref(), Some("hm"));
    // Each kind of thought in its column, and all of them told again.
    let kept = "messages WHERE reasoning_details LIKE '[{\"type\":\"thinking\",%' AND codex_reasoning_items LIKE '[{\"type\":\"reasoning\",%'";
    assert_eq!((home.count(kept), prompts[1].messages[1].thoughts.len()), (1, 2));
    process.stop().await;
}

/// The process died between two results: the one that was stored counts, the other is unknown, and the question is not asked again.
#[tokio::test]
async fn a_turn_goes_on_from_its_last_step() {
    let home = Home::new();
    // One permit to begin, one for the first result.
    let first = home.start(DEAD, Scripted::with_tools(2));
    first.turns.serve_inbox();
    accept(&first, event("c", "1", "steps")).await;
    home.wait("(SELECT count(*) FROM messages WHERE role = 'tool') = 1").await;
    first.die().await;

    let engine = Scripted::with_tools(Semaphore::MAX_PERMITS);
    let second = home.start(Owner::current(), engine.clone());
    second.turns.serve_inbox();
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'done')").await;
    second.stop().await;
    let prompts = engine.prompts();
    assert_eq!(prompts.len(), 1);
    let [question, calls, known, unknown] = &prompts[0].messages[..] else { panic!("{prompts:?}") };
    assert_eq!((&question.content, calls.tool_calls.len()), (&text("steps"), 2));
    assert_eq!((known.tool_call_id.as_deref(), &known.content), (Some("call_a"), &text("call_a ran")));
    assert_eq!(unknown.tool_call_id.as_deref(), Some("call_b"));
    assert!(unknown.content.as_str().unwrap().contains("The result is unknown"), "{unknown:?}");
    assert_eq!(home.count("messages WHERE role = 'user'"), 1);
    assert_eq!(home.count("messages WHERE role = 'assistant'"), 2, "the step, and one answer");
    assert_eq!(
        home.count("sessions WHERE message_count = 5 AND tool_call_count = 2 AND api_call_count = 3"),
        1
    );
}

/// A client's turn has nobody to go on with it: its question is closed with its steps by the next one.
#[tokio::test]
async fn a_clients_turn_that_was_cut_off_is_closed_with_its_steps() {
    let home = Home::new();
    let first = home.start(DEAD, Scripted::with_tools(2));
    let named = || SessionRef::Continue("s".to_owned());
    let running = first.turns.start(direct(named(), "steps")).await.unwrap();
    home.wait("(SELECT count(*) FROM messages WHERE role = 'tool') = 1").await;
    first.die().await;
    drop(running);
    let engine = Scripted::with_tools(Semaphore::MAX_PERMITS);
    let second = home.start(Owner::current(), engine.clone());
    answer(second.turns.start(direct(named(), "next")).await.unwrap()).await.unwrap();
    assert_eq!(texts(&engine.prompts()[0].messages), [(Role::User, "next")]);
    assert_eq!(home.active(), [pair("user", "next"), pair("assistant", "echo: next")]);
    assert_eq!(home.count("sessions WHERE message_count = (SELECT count(*) FROM messages)"), 1);
    second.stop().await;
}
