//! Wires 3: a turn that waits for its provider holds up nobody.

use super::direct::{answer, direct};
use super::*;

/// Waits for its provider until it is let go where the message says so; answers everything else.
struct Waiting {
    time: Duration,
}

impl Engine for Waiting {
    fn name(&self) -> &'static str {
        "waiting"
    }

    fn model(&self) -> ModelId {
        ModelId { model: "m".to_owned(), provider: "test".to_owned() }
    }

    fn run<'a>(
        &'a self,
        prompt: &'a Prompt,
        _journal: &'a dyn Journal,
        events: EventSink,
        cancel: CancellationToken,
    ) -> EngineFuture<'a> {
        Box::pin(async move {
            if prompt.messages.last().is_some_and(|last| last.content == "wait") {
                tokio::select! {
                    () = events.wait(self.time) => {}
                    () = cancel.cancelled() => return Err(EngineError::Interrupted),
                }
            }
            Ok(Outcome { text: "answered".to_owned(), ..Outcome::default() })
        })
    }
}

const FOREVER: Duration = Duration::from_hours(1);

/// Wires 3: sixteen turns that wait leave room for a seventeenth of another session.
#[tokio::test]
async fn w3_waiting_turns_of_the_inbox_hold_no_place() {
    let home = Home::new();
    let process = home.start_limited(Owner::current(), Arc::new(Waiting { time: FOREVER }), 16);
    process.turns.serve_inbox();
    for n in 0..20 {
        accept(&process, event(&format!("c{n}"), &n.to_string(), "wait")).await;
    }
    accept(&process, event("other", "other", "hello")).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'done' AND dedup_id = 'other')").await;
    assert_eq!(home.count("hermes_inbox WHERE state = 'claimed'"), 20);
    // They still run, as far as a drain is concerned.
    let mut active = process.turns.0.active.subscribe();
    active.wait_for(|active| active.turns() == 20).await.unwrap();
    let now = CancellationToken::new();
    now.cancel();
    process.turns.drain(now).await;
    assert_eq!(home.count("hermes_inbox WHERE state = 'waiting'"), 20, "and are resumed by the next process");
    assert_eq!(*process.turns.0.active.borrow(), Active::default());
    process.store.close().await;
}

/// Wires 3: so do those of clients, and whoever leaves while it waits leaves nothing behind.
#[tokio::test]
async fn w3_waiting_turns_of_clients_hold_no_place() {
    let home = Home::new();
    let process = home.start(Owner::current(), Arc::new(Waiting { time: FOREVER }));
    let start = async |id: &str, text: &str| {
        process.turns.start(direct(SessionRef::Continue(id.to_owned()), text)).await
    };
    let mut waiting = Vec::new();
    for n in 0..9 {
        // A place is free as soon as the one before waits.
        let turn = loop {
            match start(&format!("w{n}"), "wait").await {
                Ok(turn) => break turn,
                Err(TurnError::Busy) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        };
        waiting.push(turn);
    }
    while process.turns.0.active.borrow().direct.taken() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(answer(start("other", "hello").await.unwrap()).await.unwrap().text, "answered");
    drop(waiting);
    let mut active = process.turns.0.active.subscribe();
    active.wait_for(|active| *active == Active::default()).await.unwrap();
    process.stop().await;
}

/// Wires 3: who has waited gets a place again, one after the other, and before what has not begun.
#[tokio::test]
async fn w3_a_place_is_taken_again_after_the_wait() {
    let home = Home::new();
    let process =
        home.start_limited(Owner::current(), Arc::new(Waiting { time: Duration::from_millis(20) }), 1);
    process.turns.serve_inbox();
    for n in 0..12 {
        accept(&process, event(&format!("c{n}"), &n.to_string(), "wait")).await;
    }
    home.wait("(SELECT count(*) FROM hermes_inbox WHERE state = 'done') = 12").await;
    process.stop().await;
}
