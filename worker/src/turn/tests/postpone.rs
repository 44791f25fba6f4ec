//! 25: what a provider's fault postpones, what kills processes, and what becomes of dead letters.

use super::*;
use crate::inbox::life;

/// The numbers of processes that died, one for each call.
fn dead(n: u32) -> Owner {
    Owner { pid: DEAD.pid + n, ..DEAD }
}

/// Makes everything that is postponed due, and says so to the dispatcher.
async fn hurry(process: &Process) {
    process.store.write(|db| crate::inbox::postpone::hurry(db, 0.0)).await.unwrap();
    process.store.arrived().notify_one();
}

/// 25: a provider that is away makes messages wait, in their order, and none fails.
#[tokio::test]
async fn n25_a_provider_that_is_away_postpones_and_keeps_the_order_of_a_session() {
    let home = Home::new();
    let engine = Scripted::with_fault(Fault::Unreachable);
    let process = home.start(Owner::current(), engine.clone());
    process.turns.serve_inbox();
    accept(&process, event("c", "1", "one")).await;
    accept(&process, event("c", "2", "two")).await;
    accept(&process, event("other", "3", "three")).await;
    home.wait("(SELECT count(*) FROM hermes_inbox WHERE state = 'postponed') = 2").await;
    let backlog = process.inbox.backlog().await.unwrap();
    assert_eq!((backlog.waiting, backlog.postponed, backlog.failed), (3, 2, 0));
    assert_eq!(backlog.reason.as_deref(), Some("cannot be reached"));
    assert_eq!(process.inbox.accept(event("c", "1", "one")).await.unwrap(), Accepted::Duplicate);
    assert_eq!(home.count("hermes_lease"), 0, "a postponed turn holds nothing");

    engine.mend();
    hurry(&process).await;
    home.wait("(SELECT count(*) FROM hermes_inbox WHERE state = 'done') = 3").await;
    let said: Vec<_> = home.messages().into_iter().filter(|(_, text)| !text.contains("three")).collect();
    assert_eq!(
        said,
        [
            pair("user", "one"),
            pair("assistant", "echo: one"),
            pair("user", "two"),
            pair("assistant", "echo: two")
        ]
    );
    assert_eq!(process.inbox.backlog().await.unwrap().reason, None);
    process.stop().await;
}

/// 25: a message nobody can answer holds up nobody else, and a new process tries it at once.
#[tokio::test]
async fn n25_what_waits_holds_up_no_other_session_and_a_new_process_tries_it_at_once() {
    let home = Home::new();
    let engine = Scripted::with_fault(Fault::Key);
    let first = home.start_limited(Owner::current(), engine.clone(), 1);
    first.turns.serve_inbox();
    accept(&first, event("a", "1", "one")).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'postponed')").await;
    engine.mend();
    accept(&first, event("b", "2", "two")).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'done')").await;
    assert_eq!(home.count("hermes_inbox WHERE state = 'postponed'"), 1);
    first.stop().await;

    let second = home.start(Owner::current(), Scripted::open());
    second.turns.serve_inbox();
    home.wait("(SELECT count(*) FROM hermes_inbox WHERE state = 'done') = 2").await;
    second.stop().await;
}

/// 25: patience ends, the message becomes a dead letter, and its sender's repetition runs it again.
#[tokio::test]
async fn n25_when_patience_is_over_it_is_a_dead_letter_that_runs_again_when_sent_again() {
    let home = Home::new();
    let engine = Scripted::with_fault(Fault::Quota);
    let process = home.start(Owner::current(), engine.clone());
    process.turns.serve_inbox();
    let mut one_shot = event("c", "1", "one");
    one_shot.end_session = Some("webhook_complete".to_owned());
    accept(&process, one_shot.clone()).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'postponed')").await;
    home.db().execute("UPDATE hermes_inbox SET postponed_at = 1.0", []).unwrap();
    hurry(&process).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'failed')").await;
    assert_eq!(process.inbox.backlog().await.unwrap().failed, 1);
    let key = DedupKey { scope: "open".to_owned(), id: "1".to_owned() };
    assert!(!process.inbox.is_known("webhook", &key).await.unwrap());

    engine.mend();
    accept(&process, one_shot.clone()).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'done' AND error IS NULL)").await;
    assert_eq!(process.inbox.accept(one_shot).await.unwrap(), Accepted::Duplicate);
    assert_eq!(process.inbox.backlog().await.unwrap().failed, 0);
    assert_eq!(home.active(), [pair("user", "one"), pair("assistant", "echo: one")], "nothing is doubled");
    process.stop().await;
}

/// 25: what the provider says of this very request fails it at once, as before.
#[tokio::test]
async fn n25_a_request_that_is_judged_wrong_fails_alone() {
    let home = Home::new();
    let process = home.start(Owner::current(), Scripted::failing());
    process.turns.serve_inbox();
    accept(&process, event("c", "1", "one")).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'failed' AND postponed = 0)").await;
    process.stop().await;
}

/// 25: sixteen innocent turns beside a poisonous one are answered; only the poisonous one is given up, after its own deaths.
#[tokio::test]
async fn n25_innocent_turns_beside_a_poisonous_one_are_answered() {
    const INNOCENT: usize = 16;
    let home = Home::new();
    let together = home.start_limited(dead(0), Scripted::closed(), 32);
    together.turns.serve_inbox();
    for n in 0..INNOCENT {
        if n == INNOCENT / 2 {
            accept(&together, event("p", "poison", "poison")).await;
        }
        accept(&together, event(&format!("c{n}"), &n.to_string(), "innocent")).await;
    }
    let all = INNOCENT + 1;
    home.wait(&format!("(SELECT count(*) FROM hermes_inbox WHERE state = 'claimed') = {all}")).await;
    together.die().await;
    let mut deaths = 1;
    loop {
        let engine = Scripted::open();
        let process = home.start_limited(dead(deaths), engine.clone(), 32);
        process.turns.serve_inbox();
        if deaths == 1 {
            accept(&process, event("new", "new", "innocent")).await;
        }
        tokio::select! {
            () = engine.died.notified() => {
                deaths += 1;
                process.die().await;
            }
            () = home.wait("NOT EXISTS (SELECT 1 FROM hermes_inbox WHERE finished_at IS NULL)") => {
                process.stop().await;
                break;
            }
        }
        assert!(deaths < 8, "the poisonous turn is never given up");
    }
    assert_eq!(deaths, 4, "one together with the others, three alone");
    assert_eq!(home.count("hermes_inbox WHERE state = 'done'"), i64::try_from(INNOCENT + 1).unwrap());
    assert_eq!(home.count("hermes_inbox WHERE state = 'failed' AND dedup_id = 'poison'"), 1);
    assert_eq!(
        home.count("messages WHERE role = 'assistant' AND active = 1"),
        i64::try_from(INNOCENT + 1).unwrap()
    );
    assert_eq!(home.count("messages WHERE role = 'user'"), i64::try_from(INNOCENT + 2).unwrap());
}

/// 25: an end that was planned, or a few that came with the supervisor's, count against nobody.
#[tokio::test]
async fn n25_a_planned_end_and_the_supervisors_end_count_nothing() {
    let home = Home::new();
    for n in 0..8 {
        let me = dead(n);
        let process = home.start(me, Scripted::closed());
        process.turns.serve_inbox();
        if n == 0 {
            accept(&process, event("c", "1", "long")).await;
        }
        home.wait(&format!("EXISTS (SELECT 1 FROM hermes_lease WHERE owner_pid = {})", me.pid)).await;
        let gone = (n % 2 == 1).then_some(dead(100));
        process
            .store
            .write(move |db| if gone.is_some() { life::begin(db, me, gone) } else { life::plan_end(db, me) })
            .await
            .unwrap();
        process.die().await;
    }
    let last = home.start(Owner::current(), Scripted::open());
    last.turns.serve_inbox();
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'done' AND attempts = 0 AND suspect = 0)")
        .await;
    last.stop().await;
    assert_eq!(home.messages(), [pair("user", "long"), pair("assistant", "echo: long")]);
    assert_eq!(home.count("hermes_life"), 1, "rows of processes that are gone are gone");
}

/// 25: a message that takes the supervisor along every time is given up at last, and the others are answered.
#[tokio::test]
async fn n25_a_message_that_takes_the_supervisor_along_is_given_up() {
    let home = Home::new();
    for n in 0..12 {
        let me = dead(n);
        let process = home.start(me, Scripted::closed());
        process.turns.serve_inbox();
        if n == 0 {
            accept(&process, event("c", "1", "poison")).await;
        }
        home.wait(&format!("EXISTS (SELECT 1 FROM hermes_lease WHERE owner_pid = {})", me.pid)).await;
        process.store.write(move |db| life::begin(db, me, Some(dead(100)))).await.unwrap();
        process.die().await;
    }
    let last = home.start(Owner::current(), Scripted::open());
    last.turns.serve_inbox();
    home.wait(
        "EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'failed' AND error LIKE 'the gateway ended%')",
    )
    .await;
    accept(&last, event("c", "2", "innocent")).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'done')").await;
    last.stop().await;
    assert_eq!(
        home.messages(),
        [
            pair("user", "poison"),
            pair("assistant", "[no answer: the gateway ended every time this was tried]"),
            pair("user", "innocent"),
            pair("assistant", "echo: innocent")
        ]
    );
}
