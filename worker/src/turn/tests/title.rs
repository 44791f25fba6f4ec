//! Titles, in the background, of conversations that have none.

use super::*;

fn titles(home: &Home) -> Vec<Option<String>> {
    let db = home.db();
    let mut select = db.prepare("SELECT title FROM sessions ORDER BY started_at, id").unwrap();
    let rows = select.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

#[tokio::test]
async fn the_first_answer_is_followed_by_a_title_that_nobody_else_has() {
    let home = Home::new();
    let engine =
        Scripted::open().helping(Task::TitleGeneration, [Ok("\"Plans for May.\""), Ok("Plans for May")]);
    let process = home.start(Owner::current(), engine.clone());
    process.turns.serve_inbox();
    for chat in ["a", "b"] {
        accept(&process, event(chat, chat, "what now?")).await;
        home.wait(&format!("EXISTS (SELECT 1 FROM sessions WHERE chat_id = '{chat}' AND title IS NOT NULL)"))
            .await;
    }
    let titled: Vec<_> = titles(&home).into_iter().flatten().collect();
    assert_eq!(titled, ["Plans for May", "Plans for May #2"]);
    let asked = engine.jobs.lock().unwrap().clone();
    assert_eq!(asked[0].text, "User: what now?\n\nAssistant: echo: what now?");
    assert_eq!(asked[0].task, Task::TitleGeneration);
    // What it costs is no part of the session's own counters.
    assert_eq!(
        home.count("session_model_usage WHERE task = 'title_generation' AND model = 'small' AND api_call_count = 1 AND input_tokens = 11"),
        2
    );
    assert_eq!(home.count("sessions WHERE api_call_count = 1 AND message_count = 2"), 2);
    // One that has a title keeps it.
    accept(&process, event("a", "3", "and then?")).await;
    home.wait("(SELECT count(*) FROM hermes_inbox WHERE state = 'done') = 3").await;
    process.stop().await;
    assert_eq!(engine.jobs.lock().unwrap().len(), 2);
}

/// Nobody waits for a title: neither the answer nor a stop; and one that cannot be had is not asked for a third time.
#[tokio::test]
async fn a_title_delays_nothing() {
    let home = Home::new();
    let mut engine = Scripted::open().helping(Task::TitleGeneration, [Err(Fault::Unreachable), Ok("never")]);
    let process = home.start(Owner::current(), engine.clone());
    process.turns.serve_inbox();
    accept(&process, event("a", "1", "one")).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'done')").await;
    while engine.chores.lock().unwrap().as_ref().unwrap().1.len() > 1 {
        tokio::task::yield_now().await;
    }
    process.stop().await;
    assert_eq!(titles(&home), [None]);

    engine = Scripted::open().helping(Task::TitleGeneration, [Ok("never")]);
    engine.writing.forget_permits(Semaphore::MAX_PERMITS);
    let process = home.start(Owner::current(), engine.clone());
    process.turns.serve_inbox();
    accept(&process, event("a", "2", "two")).await;
    home.wait("(SELECT count(*) FROM hermes_inbox WHERE state = 'done') = 2").await;
    while engine.jobs.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    tokio::time::timeout(Duration::from_secs(2), process.stop()).await.expect("a stop waits for no title");
    assert_eq!(titles(&home), [None]);
}

#[tokio::test]
async fn an_engine_without_a_model_is_not_asked() {
    let home = Home::new();
    let engine = Scripted::open();
    let process = home.start(Owner::current(), engine.clone());
    process.turns.serve_inbox();
    accept(&process, event("a", "1", "one")).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'done')").await;
    process.stop().await;
    assert!(engine.jobs.lock().unwrap().is_empty());
}
