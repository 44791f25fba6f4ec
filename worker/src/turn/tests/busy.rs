//! D19: what comes for a session while its turn runs.

use super::*;
use crate::inbound::Busy;
use crate::inbox::QUEUED;
use crate::turn::finish::Ending;

fn busy(id: &str, text: &str, busy: Busy) -> Inbound {
    Inbound { busy, ..event("c", id, text) }
}

async fn claimed(home: &Home) {
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'claimed')").await;
}

async fn done(home: &Home, items: u32) {
    home.wait(&format!("(SELECT count(*) FROM hermes_inbox WHERE state = 'done') = {items}")).await;
}

const INTERRUPTED: &str = "[interrupted by a newer message]";

/// What runs ends without an answer and stays in the conversation; the newer message has the next turn.
#[tokio::test]
async fn a_newer_message_interrupts_what_runs() {
    let home = Home::new();
    let engine = Scripted::closed();
    let process = home.start(Owner::current(), engine.clone());
    process.turns.serve_inbox();
    accept(&process, busy("1", "one", Busy::Interrupt)).await;
    claimed(&home).await;
    accept(&process, busy("2", "two", Busy::Interrupt)).await;
    done(&home, 1).await;
    engine.gate.add_permits(1);
    done(&home, 2).await;
    process.stop().await;
    let expected = [
        pair("user", "one"),
        pair("assistant", INTERRUPTED),
        pair("user", "two"),
        pair("assistant", "echo: two"),
    ];
    assert_eq!(home.active(), expected);
    let prompts = engine.prompts();
    assert_eq!(
        texts(&prompts.last().unwrap().messages),
        [(Role::User, "one"), (Role::Assistant, INTERRUPTED), (Role::User, "two")]
    );
    assert_eq!(home.count("sessions WHERE message_count = 4"), 1);
    assert_eq!(home.count("hermes_lease"), 0);
}

/// A step that was interrupted in the middle stays, with a result for each of its calls.
#[tokio::test]
async fn an_interrupted_step_keeps_what_is_known_of_it() {
    let home = Home::new();
    // One permit to begin, one for the first result.
    let engine = Scripted::with_tools(2);
    let process = home.start(Owner::current(), engine.clone());
    process.turns.serve_inbox();
    accept(&process, busy("1", "steps", Busy::Wait)).await;
    home.wait("(SELECT count(*) FROM messages WHERE role = 'tool') = 1").await;
    accept(&process, busy("2", "two", Busy::Interrupt)).await;
    done(&home, 1).await;
    engine.gate.add_permits(1);
    done(&home, 2).await;
    process.stop().await;
    let prompts = engine.prompts();
    let messages = &prompts.last().unwrap().messages;
    let roles: Vec<Role> = messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::User, Role::Assistant, Role::Tool, Role::Tool, Role::Assistant, Role::User]);
    assert_eq!(messages[2].content, text("call_a ran"));
    assert!(messages[3].content.as_str().unwrap().contains("unknown"), "{messages:?}");
}

/// A newer message waits for sub-agents; whoever wants all of it stopped does not.
#[tokio::test]
async fn a_stop_does_not_wait_for_what_newer_messages_wait_for() {
    let home = Home::new();
    let engine = Scripted::closed();
    let process = home.start(Owner::current(), engine.clone());
    process.turns.serve_inbox();
    accept(&process, busy("1", "one", Busy::Interrupt)).await;
    // What is claimed is not under way yet; whoever asks the engine is.
    let asked = async {
        while engine.prompts().is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), asked).await.expect("the turn begins");
    let key: String =
        home.db().query_row("SELECT session_key FROM hermes_lease", [], |row| row.get(0)).unwrap();
    let occupied = process.turns.0.running.occupied(&key, crate::turn::running::Occupation::Delegating);
    accept(&process, busy("2", "two", Busy::Interrupt)).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE dedup_id = '2' AND busy = 'queue')").await;
    assert_eq!(home.count("hermes_inbox WHERE state = 'done'"), 0);
    accept(&process, busy("3", "/stop", Busy::Interrupt)).await;
    done(&home, 1).await;
    assert_eq!(home.count(&format!("messages WHERE content = '{INTERRUPTED}'")), 1);
    drop(occupied);
    engine.gate.add_permits(8);
    done(&home, 3).await;
    assert_eq!(home.count("messages WHERE content = 'echo: two'"), 1);
    process.stop().await;
}

/// The other generation of this worker accepted the message.
#[tokio::test]
async fn a_message_that_another_process_accepted_interrupts_too() {
    let home = Home::new();
    let engine = Scripted::closed();
    let process = home.start(Owner::current(), engine.clone());
    process.turns.serve_inbox();
    accept(&process, busy("1", "one", Busy::Interrupt)).await;
    claimed(&home).await;
    let parent = std::os::unix::process::parent_id();
    let other = home.start(Owner { pid: parent, start_time: 0 }, Scripted::closed());
    accept(&other, busy("2", "two", Busy::Interrupt)).await;
    done(&home, 1).await;
    engine.gate.add_permits(1);
    done(&home, 2).await;
    process.stop().await;
    assert_eq!(home.count(&format!("messages WHERE content = '{INTERRUPTED}'")), 1);
    other.store.close().await;
}

#[tokio::test]
async fn a_chats_queue_is_in_order_and_bounded_and_events_are_not() {
    let home = Home::new();
    let engine = Scripted::closed();
    let process = home.start(Owner::current(), engine.clone());
    process.turns.serve_inbox();
    accept(&process, busy("0", "0", Busy::Queue)).await;
    claimed(&home).await;
    for n in 1..=QUEUED {
        accept(&process, busy(&n.to_string(), &n.to_string(), Busy::Queue)).await;
    }
    for (id, mode) in [("x", Busy::Queue), ("y", Busy::Interrupt), ("z", Busy::Steer)] {
        assert_eq!(process.inbox.accept(busy(id, id, mode)).await.unwrap(), Accepted::Full);
    }
    assert_eq!(process.inbox.accept(busy("7", "7", Busy::Queue)).await.unwrap(), Accepted::Duplicate);
    accept(&process, busy("last", "last", Busy::Wait)).await;
    engine.gate.add_permits(QUEUED + 2);
    done(&home, u32::try_from(QUEUED).unwrap() + 2).await;
    process.stop().await;
    let asked: Vec<String> =
        home.messages().into_iter().filter(|(role, _)| role == "user").map(|(_, text)| text).collect();
    let expected: Vec<String> = (0..=QUEUED).map(|n| n.to_string()).chain(["last".to_owned()]).collect();
    assert_eq!(asked, expected);
}

/// What is to be put into a turn stands behind the last result of a step, between marks that the system prompt names.
#[tokio::test]
async fn a_message_is_put_into_the_turn_that_runs() {
    let home = Home::new();
    // One permit to begin.
    let engine = Scripted::with_tools(1);
    let process = home.start(Owner::current(), engine.clone());
    process.turns.serve_inbox();
    accept(&process, busy("1", "steps", Busy::Steer)).await;
    home.wait("EXISTS (SELECT 1 FROM messages WHERE tool_calls IS NOT NULL)").await;
    accept(&process, busy("2", "and this", Busy::Steer)).await;
    engine.gate.add_permits(2);
    done(&home, 2).await;
    // No step is left: it waits for its own turn.
    accept(&process, busy("3", "late", Busy::Steer)).await;
    engine.gate.add_permits(1);
    done(&home, 3).await;
    process.stop().await;
    let prompts = engine.prompts();
    assert_eq!(prompts.len(), 2, "the second message had no turn of its own");
    let messages = &prompts[1].messages;
    assert_eq!(messages[2].content, text("call_a ran"), "not into the first result");
    let told = messages[3].content.as_str().unwrap();
    assert!(told.starts_with("call_b ran\n\n[OUT-OF-BAND USER MESSAGE "), "{told}");
    let word = told.rsplit_once(' ').unwrap().1.trim_end_matches(']');
    assert!(told.ends_with(&format!("\nand this\n[/OUT-OF-BAND USER MESSAGE {word}]")), "{told}");
    assert!(
        prompts[0].system.contains(&format!("[/OUT-OF-BAND USER MESSAGE {word}]")),
        "{}",
        prompts[0].system
    );
    assert_eq!(messages.last().unwrap().content, text("late"));
    assert_eq!(home.count("messages WHERE role = 'user'"), 2);
}

/// Puts "and this", and the same without an identity, into a turn that ends with `fault` after its step.
async fn steer_into_fault(process: &Process, home: &Home, engine: &Scripted, fault: Fault) {
    process.turns.serve_inbox();
    accept(process, busy("1", "steps", Busy::Wait)).await;
    home.wait("EXISTS (SELECT 1 FROM messages WHERE tool_calls IS NOT NULL)").await;
    accept(process, busy("2", "and this", Busy::Steer)).await;
    accept(process, Inbound { dedup: None, ..busy("", "and this too", Busy::Steer) }).await;
    engine.spoil(fault);
    engine.gate.add_permits(2);
}

/// It was told that its message is taken; so the message is not lost with somebody else's turn.
#[tokio::test]
async fn what_was_put_into_a_turn_that_fails_is_a_dead_letter_and_runs_when_it_is_sent_again() {
    let home = Home::new();
    let engine = Scripted::with_tools(1);
    let process = home.start(Owner::current(), engine.clone());
    steer_into_fault(&process, &home, &engine, Fault::Request).await;
    home.wait("(SELECT count(*) FROM hermes_inbox WHERE state = 'failed') = 3").await;
    let kept =
        "hermes_inbox WHERE payload LIKE '%and this%' AND busy = 'steer' AND error = 'Invalid request'";
    assert_eq!((home.count(kept), process.inbox.backlog().await.unwrap().failed), (2, 3));
    engine.mend();
    engine.gate.add_permits(1);
    accept(&process, busy("2", "and this", Busy::Steer)).await;
    done(&home, 1).await;
    process.stop().await;
    assert_eq!(home.active(), [pair("user", "and this"), pair("assistant", "echo: and this")]);
    assert_eq!(home.count("hermes_inbox WHERE state = 'failed'"), 2, "the others are still kept");
}

#[tokio::test]
async fn what_was_put_into_a_turn_that_is_put_off_waits_with_it() {
    let home = Home::new();
    let engine = Scripted::with_tools(1);
    let process = home.start(Owner::current(), engine.clone());
    steer_into_fault(&process, &home, &engine, Fault::Unreachable).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'postponed')").await;
    assert_eq!(home.count("hermes_inbox WHERE state = 'steered' AND payload IS NOT NULL"), 2);
    let again = process.inbox.accept(busy("2", "and this", Busy::Steer)).await.unwrap();
    assert_eq!(again, Accepted::Duplicate);
    let backlog = process.inbox.backlog().await.unwrap();
    assert_eq!((backlog.waiting, backlog.failed), (1, 0));
    engine.mend();
    engine.gate.add_permits(1);
    process.store.write(|db| crate::inbox::postpone::hurry(db, 0.0)).await.unwrap();
    process.store.arrived().notify_one();
    done(&home, 2).await;
    process.stop().await;
    let prompts = engine.prompts();
    let told = prompts[1].messages.last().unwrap().content.as_str().unwrap();
    assert!(told.contains("\nand this\n") && told.contains("\nand this too\n"), "{told}");
    assert_eq!(home.count("hermes_inbox WHERE payload IS NOT NULL OR state <> 'done'"), 0);
}

#[tokio::test]
async fn what_was_put_into_a_turn_that_is_given_up_is_a_dead_letter_beside_it() {
    let home = Home::new();
    let engine = Scripted::with_tools(1);
    let process = home.start(Owner::current(), engine.clone());
    steer_into_fault(&process, &home, &engine, Fault::Unreachable).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'postponed')").await;
    process.stop().await;
    for pid in 0..3 {
        let process = home.start(Owner { pid: DEAD.pid + pid, ..DEAD }, Scripted::closed());
        process.turns.serve_inbox();
        home.wait(&format!("EXISTS (SELECT 1 FROM hermes_lease WHERE owner_pid = {})", DEAD.pid + pid)).await;
        process.die().await;
    }
    let last = home.start(Owner::current(), Scripted::open());
    last.turns.serve_inbox();
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'failed')").await;
    last.stop().await;
    let kept =
        "hermes_inbox WHERE state = 'failed' AND payload IS NOT NULL AND error LIKE 'the worker died%'";
    assert_eq!(home.count(kept), 3);
}

/// The function behind a stop: nothing takes the turn's place.
#[tokio::test]
async fn a_turn_can_be_told_to_stop() {
    let home = Home::new();
    let process = home.start(Owner::current(), Scripted::closed());
    process.turns.serve_inbox();
    assert!(!process.turns.interrupt("agent:coder:nobody"));
    accept(&process, busy("1", "one", Busy::Queue)).await;
    claimed(&home).await;
    let key: String =
        home.db().query_row("SELECT session_key FROM hermes_lease", [], |row| row.get(0)).unwrap();
    while !process.turns.interrupt(&key) {
        tokio::task::yield_now().await;
    }
    done(&home, 1).await;
    process.stop().await;
    assert_eq!(home.messages(), [pair("user", "one"), pair("assistant", INTERRUPTED)]);
}

/// An answer that came all the same is not given; a failure says more than an interruption.
#[test]
fn what_is_not_wanted_is_not_said() {
    let answered = Ending::Answered(Outcome { text: "stale".to_owned(), ..Outcome::default() });
    assert!(matches!(run::superseded(answered), Ending::Superseded(Some(_))));
    assert!(matches!(run::superseded(Ending::Released), Ending::Superseded(None)));
    let failed = Ending::Failed { error: "x".to_owned(), calls: 1 };
    assert!(matches!(run::superseded(failed), Ending::Failed { .. }));
}
