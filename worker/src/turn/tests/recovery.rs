use super::*;

#[tokio::test]
async fn what_was_not_claimed_runs_once_after_a_crash() {
    let home = Home::new();
    let first = home.start(DEAD, Scripted::open());
    accept(&first, event("c", "1", "one")).await;
    first.die().await;
    let second = home.start(Owner::current(), Scripted::open());
    second.turns.serve_inbox();
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'done')").await;
    assert_eq!(second.inbox.accept(event("c", "1", "one")).await.unwrap(), Accepted::Duplicate);
    second.stop().await;
    assert_eq!(home.messages(), [pair("user", "one"), pair("assistant", "echo: one")]);
}

#[tokio::test]
async fn a_claimed_turn_is_resumed_without_doubling_the_question() {
    let home = Home::new();
    let first = home.start(DEAD, Scripted::closed());
    first.turns.serve_inbox();
    accept(&first, event("c", "1", "one")).await;
    accept(&first, event("c", "2", "two")).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'claimed')").await;
    first.die().await;
    assert_eq!(home.messages(), [pair("user", "one")]);

    let engine = Scripted::open();
    let second = home.start(Owner::current(), engine.clone());
    second.turns.serve_inbox();
    home.wait("(SELECT count(*) FROM hermes_inbox WHERE state = 'done') = 2").await;
    second.stop().await;
    assert_eq!(
        home.messages(),
        [
            pair("user", "one"),
            pair("assistant", "echo: one"),
            pair("user", "two"),
            pair("assistant", "echo: two")
        ]
    );
    assert_eq!(texts(&engine.prompts()[0].messages), [(Role::User, "one")]);
    assert_eq!(home.count("sessions WHERE message_count = 4"), 1);
    assert_eq!(home.count("hermes_lease"), 0);
}

#[tokio::test]
async fn an_item_that_kills_every_process_is_given_up() {
    let home = Home::new();
    for pid in 0..3 {
        let process = home.start(Owner { pid: DEAD.pid + pid, ..DEAD }, Scripted::closed());
        process.turns.serve_inbox();
        if pid == 0 {
            accept(&process, event("c", "1", "poison")).await;
        }
        home.wait(&format!("EXISTS (SELECT 1 FROM hermes_lease WHERE owner_pid = {})", DEAD.pid + pid)).await;
        process.die().await;
    }
    let last = home.start(Owner::current(), Scripted::open());
    last.turns.serve_inbox();
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'failed' AND attempts = 6)").await;
    last.stop().await;
    let why = "[no answer: the worker died every time this was tried]";
    assert_eq!(home.messages(), [pair("user", "poison"), pair("assistant", why)]);
}

#[tokio::test]
async fn a_live_process_keeps_its_session_and_the_other_one_waits() {
    let home = Home::new();
    // Another process that is surely alive: the one that started this test.
    let parent = std::os::unix::process::parent_id();
    let old_engine = Scripted::closed();
    let old = home.start(Owner { pid: parent, start_time: 0 }, old_engine.clone());
    old.turns.serve_inbox();
    accept(&old, event("c", "1", "one")).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'claimed')").await;
    old.turns.set_quiesced(true);

    let new_engine = Scripted::open();
    let new = home.start(Owner::current(), new_engine.clone());
    new.turns.serve_inbox();
    accept(&new, event("c", "2", "two")).await;
    accept(&new, event("other", "3", "three")).await;
    home.wait("(SELECT count(*) FROM hermes_inbox WHERE state = 'done') = 1").await;
    assert_eq!(texts(&new_engine.prompts()[0].messages), [(Role::User, "three")]);
    assert_eq!(home.count("hermes_inbox WHERE state = 'queued'"), 1);

    old_engine.gate.add_permits(1);
    old.turns.drain(CancellationToken::new()).await;
    home.wait("(SELECT count(*) FROM hermes_inbox WHERE state = 'done') = 3").await;
    assert_eq!(
        texts(&new_engine.prompts()[1].messages),
        [(Role::User, "one"), (Role::Assistant, "echo: one"), (Role::User, "two")]
    );
    new.stop().await;
}

#[tokio::test]
async fn an_interrupted_drain_leaves_the_turn_to_the_next_process() {
    let home = Home::new();
    let first = home.start(Owner::current(), Scripted::closed());
    first.turns.serve_inbox();
    accept(&first, event("c", "1", "one")).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'claimed')").await;
    while first.turns.active() == 0 {
        tokio::task::yield_now().await;
    }
    let now = CancellationToken::new();
    now.cancel();
    first.turns.drain(now).await;
    assert_eq!(first.turns.active(), 0);
    assert_eq!(home.count("hermes_inbox WHERE state = 'waiting' AND session_id IS NOT NULL"), 1);
    assert_eq!(home.count("hermes_lease"), 0);
    first.store.close().await;

    let second = home.start(Owner::current(), Scripted::open());
    second.turns.serve_inbox();
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'done' AND attempts = 0)").await;
    second.stop().await;
    assert_eq!(home.messages(), [pair("user", "one"), pair("assistant", "echo: one")]);
}
