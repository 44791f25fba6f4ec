//! Runs that meet the end of their process, or a session that has gone on elsewhere.

use super::*;
use crate::inbound::Busy;
use crate::runs::State;

fn asked(id: &str, session: &str, text: &str, history: Vec<Message>) -> Asked {
    let request = Request {
        session_id: session.to_owned(),
        is_fresh: !history.is_empty(),
        system: None,
        history,
        input: vec![Message::new(Role::User, json!(text))],
        options: engine::Options::new(),
        route: None,
        choice: None,
    };
    let source = Source { platform: "api_server".to_owned(), ..Source::default() };
    Asked { id: id.to_owned(), source, request, model: "m".to_owned(), key: None }
}

async fn submit(process: &Process, asked: Asked) {
    assert_eq!(process.turns.submit(asked).await.unwrap(), Submitted::New);
}

async fn run(process: &Process, id: &str) -> crate::runs::Run {
    process.turns.run(id).await.unwrap().unwrap()
}

async fn log(process: &Process, id: &str) -> Vec<String> {
    let page = process.turns.happened(id, 0).await.unwrap().unwrap();
    assert!(page.is_last);
    let name = |(_, text): &(i64, String)| {
        serde_json::from_str::<Value>(text).unwrap()["event"].as_str().unwrap().to_owned()
    };
    page.events.iter().map(name).collect()
}

/// What the client brought stays the history of a run that is resumed, whatever else there is in its session.
#[tokio::test]
async fn a_run_is_resumed_with_what_its_client_brought() {
    let home = Home::new();
    let before = home.start(Owner::current(), Scripted::open());
    before.turns.serve_inbox();
    submit(&before, asked("run_0", "s", "stored", Vec::new())).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_run WHERE status = 'completed')").await;
    before.stop().await;

    let first = home.start(DEAD, Scripted::closed());
    first.turns.serve_inbox();
    let brought =
        vec![Message::new(Role::User, json!("brought")), Message::new(Role::Assistant, json!("yes"))];
    submit(&first, asked("run_1", "s", "new", brought)).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'claimed')").await;
    assert_eq!(run(&first, "run_1").await.state, State::Running);
    first.die().await;

    let engine = Scripted::open();
    let second = home.start(Owner::current(), engine.clone());
    second.turns.serve_inbox();
    home.wait("(SELECT count(*) FROM hermes_run WHERE status = 'completed') = 2").await;
    assert_eq!(
        texts(&engine.prompts()[0].messages),
        [(Role::User, "brought"), (Role::Assistant, "yes"), (Role::User, "new")]
    );
    assert_eq!(run(&second, "run_1").await.output.as_deref(), Some("echo: new"));
    assert_eq!(log(&second, "run_1").await, ["run.resumed", "message.delta", "run.completed"]);
    second.stop().await;
}

/// A run that kills every process fails at last, and says why.
#[tokio::test]
async fn a_run_that_kills_every_process_has_an_honest_end() {
    let home = Home::new();
    for pid in 0..3 {
        let process = home.start(Owner { pid: DEAD.pid + pid, ..DEAD }, Scripted::closed());
        process.turns.serve_inbox();
        if pid == 0 {
            submit(&process, asked("run_1", "run_1", "poison", Vec::new())).await;
        }
        home.wait(&format!("EXISTS (SELECT 1 FROM hermes_lease WHERE owner_pid = {})", DEAD.pid + pid)).await;
        process.die().await;
    }
    let last = home.start(Owner::current(), Scripted::open());
    last.turns.serve_inbox();
    home.wait("EXISTS (SELECT 1 FROM hermes_run WHERE status = 'failed')").await;
    let ended = run(&last, "run_1").await;
    assert_eq!(ended.error.as_deref(), Some("the worker died every time this was tried"));
    assert_eq!(log(&last, "run_1").await.last().map(String::as_str), Some("run.failed"));
    assert!(!last.turns.stop("run_1").await.unwrap(), "it is over");
    last.stop().await;
}

/// Runs of a session that goes on in another run there, one after the other, and none is left behind.
#[tokio::test]
async fn runs_follow_a_session_that_goes_on_in_another() {
    let home = Home::new();
    let process = home.start(Owner::current(), Scripted::open());
    let sessions = "INSERT INTO sessions(id, source, started_at, ended_at, end_reason) VALUES ('old', 'cli', 1, 2, 'compression');
         INSERT INTO sessions(id, source, started_at, parent_session_id) VALUES ('now', 'cli', 2, 'old');";
    process.store.write(|db| db.execute_batch(sessions)).await.unwrap();
    for n in 0..3 {
        submit(&process, asked(&format!("run_{n}"), "old", &format!("m{n}"), Vec::new())).await;
    }
    submit(&process, asked("run_3", "now", "m3", Vec::new())).await;
    process.turns.serve_inbox();
    home.wait("(SELECT count(*) FROM hermes_run WHERE status = 'completed') = 4").await;
    assert_eq!(run(&process, "run_2").await.session_id, "now");
    assert_eq!(home.count("messages WHERE session_id = 'now'"), 8);
    assert_eq!(home.count("hermes_lease"), 0);
    assert_eq!(home.count("hermes_inbox WHERE state <> 'done'"), 0);
    process.stop().await;
}

/// A text for a run stands behind the last result of a step, whichever process heard it; what its chat has waits for its own turn.
#[tokio::test]
async fn a_run_is_told_something_while_it_goes_on() {
    let home = Home::new();
    // One permit to begin.
    let engine = Scripted::with_tools(1);
    let process = home.start(Owner::current(), engine.clone());
    process.turns.serve_inbox();
    assert_eq!(process.turns.steer("run_1", "x".to_owned()).await.unwrap(), Steered::Unknown);
    submit(&process, asked("run_1", "run_1", "steps", Vec::new())).await;
    home.wait("EXISTS (SELECT 1 FROM messages WHERE tool_calls IS NOT NULL)").await;
    let parent = std::os::unix::process::parent_id();
    let other = home.start(Owner { pid: parent, start_time: 0 }, Scripted::with_tools(0));
    assert!(other.turns.is_steered());
    assert_eq!(other.turns.steer("run_1", "and this".to_owned()).await.unwrap(), Steered::Waits);
    assert_eq!(run(&process, "run_1").await.steers, ["and this"]);
    engine.gate.add_permits(2);
    home.wait("EXISTS (SELECT 1 FROM hermes_run WHERE status = 'completed')").await;
    let log = log(&process, "run_1").await;
    assert_eq!(log.iter().filter(|name| *name == "run.steered").count(), 1, "{log:?}");
    assert_eq!(log.last().map(String::as_str), Some("run.completed"));
    let told: String = home
        .db()
        .query_row("SELECT content FROM messages WHERE role = 'tool' ORDER BY id DESC LIMIT 1", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert!(told.starts_with("call_b ran\n\n[OUT-OF-BAND USER MESSAGE "), "{told}");
    let word = told.rsplit_once(' ').unwrap().1.trim_end_matches(']');
    assert!(told.ends_with(&format!("\nand this\n[/OUT-OF-BAND USER MESSAGE {word}]")), "{told}");
    let system = &engine.prompts()[0].system;
    assert!(system.contains(&format!("[/OUT-OF-BAND USER MESSAGE {word}]")), "{system}");
    let closed = process.turns.steer("run_1", "late".to_owned()).await.unwrap();
    assert_eq!(closed, Steered::Closed(State::Completed));
    other.store.close().await;
    process.stop().await;
}

/// A run goes on in the session of a chat: what is written there waits for its own turn. A text that no step came for is told with the end.
#[tokio::test]
async fn a_run_takes_what_is_its_own_and_says_what_came_too_late() {
    let home = Home::new();
    let engine = Scripted::with_tools(1);
    let process = home.start(Owner::current(), engine.clone());
    process.turns.serve_inbox();
    let steered = |id: &str, text: &str| Inbound { busy: Busy::Steer, ..event("c", id, text) };
    accept(&process, steered("1", "hello")).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'done')").await;
    let session: String = home.db().query_row("SELECT id FROM sessions", [], |row| row.get(0)).unwrap();
    engine.gate.add_permits(1);
    submit(&process, asked("run_1", &session, "steps", Vec::new())).await;
    home.wait("EXISTS (SELECT 1 FROM messages WHERE tool_calls IS NOT NULL)").await;
    accept(&process, steered("2", "from the chat")).await;
    engine.gate.add_permits(1);
    home.wait("EXISTS (SELECT 1 FROM messages WHERE content = 'call_a ran')").await;
    engine.gate.add_permits(1);
    home.wait("EXISTS (SELECT 1 FROM hermes_run WHERE status = 'completed')").await;
    assert_eq!(home.count("messages WHERE role = 'tool' AND content LIKE '%from the chat%'"), 0);
    engine.gate.add_permits(1);
    home.wait("EXISTS (SELECT 1 FROM messages WHERE content = 'echo: from the chat')").await;
    // No step is left.
    submit(&process, asked("run_2", "run_2", "no tools", Vec::new())).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'claimed')").await;
    assert_eq!(process.turns.steer("run_2", "too late".to_owned()).await.unwrap(), Steered::Waits);
    engine.gate.add_permits(1);
    home.wait("(SELECT count(*) FROM hermes_run WHERE status = 'completed') = 2").await;
    assert_eq!(run(&process, "run_2").await.steers, ["too late"]);
    process.stop().await;
}
