//! A question that its client asks again, because it was cut off.

use super::direct::{answer, direct};
use super::*;

fn question(text: &str, identity: &str) -> Turn {
    let session = SessionRef::Continue("s".to_owned());
    Turn { identity: Some(identity.to_owned()), ..direct(session, text) }
}

/// Of a turn that is over the answer is told, and nobody is asked; of one that failed, why.
#[tokio::test]
async fn what_is_over_is_told_and_not_run_again() {
    let home = Home::new();
    let engine = Scripted::open();
    let process = home.start(Owner::current(), engine.clone());
    let ask = async |text: &str, identity: &str| {
        answer(process.turns.start(question(text, identity)).await.unwrap()).await
    };
    assert_eq!(ask("one", "q1").await.unwrap().text, "echo: one");
    assert_eq!(ask("two", "q2").await.unwrap().text, "echo: two");
    for (text, identity) in [("one", "q1"), ("two", "q2")] {
        let told = ask(text, identity).await.unwrap();
        assert_eq!((told.text, told.finish_reason.as_str()), (format!("echo: {text}"), "stop"));
    }
    assert_eq!((engine.prompts().len(), home.active().len()), (2, 4));
    engine.spoil(Fault::Request);
    ask("three", "q3").await.unwrap_err();
    engine.mend();
    let told = ask("three", "q3").await.unwrap_err();
    assert_eq!(told.to_string(), "Invalid request");
    assert_eq!(engine.prompts().len(), 3);
    assert_eq!(ask("three", "q4").await.unwrap().text, "echo: three");
    process.stop().await;
}

/// A turn whose process ends is left as it is, and the next process goes on from its last step; one whose client has gone is closed.
#[tokio::test]
async fn what_was_cut_off_goes_on_from_its_last_step() {
    let home = Home::new();
    let engine = Scripted::with_tools(2);
    let first = home.start(DEAD, engine.clone());
    let running = first.turns.start(question("steps", "q1")).await.unwrap();
    // The turn's own permit, the first result's, and none for the second.
    home.wait("EXISTS (SELECT 1 FROM messages WHERE role = 'tool')").await;
    let now = CancellationToken::new();
    now.cancel();
    let drained = first.turns.drain(now);
    let (ended, ()) = tokio::join!(answer(running), drained);
    assert!(matches!(ended, Err(TurnError::Draining)), "{ended:?}");
    first.store.close().await;
    assert_eq!(home.active().len(), 3, "the question is open: {:?}", home.active());

    let engine = Scripted::with_tools(Semaphore::MAX_PERMITS);
    let second = home.start(Owner::current(), engine.clone());
    let outcome = answer(second.turns.start(question("steps", "q1")).await.unwrap()).await.unwrap();
    let prompt = &engine.prompts()[0].messages;
    assert_eq!(prompt.len(), 4, "the question, the calls, a result and one that is unknown: {prompt:?}");
    assert!(outcome.text.starts_with("echo: "), "{outcome:?}");
    let questions = home.active().iter().filter(|(role, _)| role == "user").count();
    assert_eq!(questions, 1);

    let engine = Scripted::closed();
    let third = home.start(Owner::current(), engine.clone());
    drop(third.turns.start(question("gone", "q2")).await.unwrap());
    home.wait("NOT EXISTS (SELECT 1 FROM hermes_lease)").await;
    engine.gate.add_permits(1);
    let outcome = answer(third.turns.start(question("gone", "q2")).await.unwrap()).await.unwrap();
    assert_eq!(outcome.text, "echo: gone", "it is asked as if for the first time");
    let questions = home.active().iter().filter(|(_, text)| text == "gone").count();
    assert_eq!(questions, 1);
    third.stop().await;
    second.stop().await;
}
