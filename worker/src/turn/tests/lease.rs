//! One turn at a time in a session, over all programs that know the turn leases.

use rusqlite::params;

use super::direct::{answer, direct};
use super::*;

/// A process that is there as long as this test is.
fn alive() -> String {
    format!("pid={}:turn=theirs:platform=cli", std::os::unix::process::parent_id())
}

/// Another program takes `conversation`, whoever has it.
fn take(home: &Home, conversation: &str, holder: &str, expires: f64) {
    home.db()
        .execute(
            "INSERT OR REPLACE INTO session_turn_leases(conversation_id, holder, acquired_at, expires_at)
             VALUES (?1, ?2, ?3, ?4)",
            params![conversation, holder, crate::session::epoch(), expires],
        )
        .unwrap();
}

fn soon() -> f64 {
    crate::session::epoch() + 300.0
}

fn give_back(home: &Home) {
    home.db().execute("DELETE FROM session_turn_leases", []).unwrap();
}

/// The one session's id.
fn session(home: &Home) -> String {
    home.db().query_row("SELECT id FROM sessions", [], |row| row.get(0)).unwrap()
}

fn leases(home: &Home) -> (i64, i64) {
    (home.count("session_turn_leases"), home.count("hermes_lease"))
}

const DONE: &str = "(SELECT count(*) FROM hermes_inbox WHERE state = 'done')";

#[tokio::test]
async fn a_turn_waits_while_another_program_is_at_work_in_its_session() {
    let home = Home::new();
    let engine = Scripted::open();
    let process = home.start_limited(Owner::current(), engine.clone(), 1);
    process.turns.serve_inbox();
    accept(&process, event("c", "1", "one")).await;
    home.wait(&format!("{DONE} = 1")).await;
    let id = session(&home);
    take(&home, &id, &alive(), soon());
    accept(&process, event("c", "2", "two")).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE fault = 'leased' AND state = 'postponed')").await;
    // It takes nobody's place, though there is but one; and it is no provider's fault.
    accept(&process, event("other", "3", "three")).await;
    home.wait(&format!("{DONE} = 2")).await;
    let backlog = process.inbox.backlog().await.unwrap();
    assert_eq!((backlog.waiting, backlog.postponed, backlog.reason), (1, 0, None));
    assert_eq!(home.count(&format!("messages WHERE session_id = '{id}'")), 2, "nothing of it is stored");

    // What the other program wrote is part of the conversation.
    home.db()
        .execute_batch(&format!(
            "INSERT INTO messages(session_id, role, content, timestamp, active) VALUES
                ('{id}', 'user', 'theirs', 1.0, 1), ('{id}', 'assistant', 'answered', 1.0, 1)"
        ))
        .unwrap();
    give_back(&home);
    home.wait(&format!("{DONE} = 3")).await;
    let last = engine.prompts().pop().unwrap();
    assert_eq!(
        texts(&last.messages),
        [
            (Role::User, "one"),
            (Role::Assistant, "echo: one"),
            (Role::User, "theirs"),
            (Role::Assistant, "answered"),
            (Role::User, "two")
        ]
    );
    assert_eq!(leases(&home), (0, 0));
    process.stop().await;
}

#[tokio::test]
async fn a_client_waits_as_well() {
    let home = Home::new();
    let engine = Scripted::open();
    let process = home.start(Owner::current(), engine.clone());
    // Of a session that is not there yet.
    take(&home, "s", &alive(), soon());
    let others = async {
        while process.turns.active() == 0 {
            tokio::task::yield_now().await;
        }
        accept(&process, event("c", "1", "two")).await;
        process.turns.serve_inbox();
        home.wait(&format!("{DONE} = 1")).await;
        assert_eq!(home.count("sessions WHERE id = 's'"), 0);
        give_back(&home);
    };
    let waits = process.turns.start(direct(SessionRef::Continue("s".to_owned()), "one"));
    let (running, ()) = tokio::join!(waits, others);
    let outcome = answer(running.unwrap()).await.unwrap();
    assert_eq!(outcome.text, "echo: one");
    process.stop().await;
}

#[tokio::test]
async fn what_ran_out_or_is_of_a_dead_process_is_taken() {
    let home = Home::new();
    let process = home.start(Owner::current(), Scripted::open());
    for (holder, expires) in [(format!("pid={}:turn=t", DEAD.pid), soon()), (alive(), 1.0)] {
        take(&home, "s", &holder, expires);
        answer(process.turns.start(direct(SessionRef::Continue("s".to_owned()), "one")).await.unwrap())
            .await
            .unwrap();
        assert_eq!(leases(&home), (0, 0));
    }
    process.stop().await;
}

/// A compressed conversation is one, whichever of its sessions somebody names.
#[tokio::test]
async fn the_line_of_a_compressed_session_is_held_by_its_root() {
    let home = Home::new();
    let engine = Scripted::closed();
    let process = home.start(Owner::current(), engine.clone());
    home.db()
        .execute_batch(
            "INSERT INTO sessions(id, source, started_at, ended_at, end_reason) VALUES ('root', 'cli', 1.0, 2.0, 'compression');
             INSERT INTO sessions(id, source, started_at, parent_session_id) VALUES ('tip', 'cli', 2.0, 'root');",
        )
        .unwrap();
    let running = process.turns.start(direct(SessionRef::Continue("tip".to_owned()), "one")).await.unwrap();
    assert_eq!(running.session_id, "tip");
    let me = format!("pid={}:turn=%:platform=api\\_server", std::process::id());
    assert_eq!(
        home.count(&format!(
            "session_turn_leases WHERE conversation_id = 'root' AND holder LIKE '{me}' ESCAPE '\\'
               AND expires_at - acquired_at = 300.0"
        )),
        1
    );
    engine.gate.add_permits(1);
    answer(running).await.unwrap();
    assert_eq!(leases(&home), (0, 0));
    process.stop().await;
}

/// D12, D19: what another program took is left alone from then on, and the message is answered all the same, from where its turn was.
#[tokio::test]
async fn a_turn_whose_session_is_taken_stops_and_goes_on_behind_the_other() {
    let home = Home::new();
    // One permit to begin, one for the first result.
    let engine = Scripted::with_tools(2);
    let process = home.start(Owner::current(), engine.clone());
    process.turns.serve_inbox();
    accept(&process, event("c", "1", "steps")).await;
    home.wait("(SELECT count(*) FROM messages WHERE role = 'tool') = 1").await;
    let before = home.messages();
    take(&home, &session(&home), &alive(), soon());
    engine.gate.add_permits(1);
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE fault = 'leased' AND state = 'postponed')").await;
    assert_eq!(home.messages(), before, "nothing is stored from then on");
    assert_eq!(home.count("hermes_lease"), 0);
    assert_eq!(home.count("session_turn_leases WHERE holder LIKE '%theirs%'"), 1);
    // Its task ends behind what it has stored.
    while process.turns.active() != 0 {
        tokio::task::yield_now().await;
    }

    engine.gate.add_permits(100);
    give_back(&home);
    home.wait(&format!("{DONE} = 1")).await;
    let prompts = engine.prompts();
    assert_eq!(prompts.len(), 2);
    let [question, calls, known, unknown] = &prompts[1].messages[..] else { panic!("{prompts:?}") };
    assert_eq!((&question.content, calls.tool_calls.len()), (&text("steps"), 2));
    assert_eq!(known.content, text("call_a ran"));
    assert!(unknown.content.as_str().unwrap().contains("The result is unknown"), "{unknown:?}");
    assert_eq!(home.count("messages WHERE role = 'user'"), 1);
    assert_eq!(leases(&home), (0, 0));
    process.stop().await;
}

/// The answer was there, and the other program was first: it is not kept, and given again behind that one's.
#[tokio::test]
async fn an_answer_to_a_session_that_was_taken_is_not_kept() {
    let home = Home::new();
    let engine = Scripted::closed();
    let process = home.start(Owner::current(), engine.clone());
    process.turns.serve_inbox();
    accept(&process, event("c", "1", "one")).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'claimed')").await;
    let id = session(&home);
    take(&home, &id, &alive(), soon());
    engine.gate.add_permits(1);
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE fault = 'leased' AND state = 'postponed')").await;
    assert_eq!(home.messages(), [pair("user", "one")]);
    assert_eq!(home.count("session_model_usage"), 0);
    home.db()
        .execute_batch(&format!(
            "INSERT INTO messages(session_id, role, content, timestamp, active) VALUES
                ('{id}', 'user', 'theirs', 1.0, 1), ('{id}', 'assistant', 'answered', 1.0, 1)"
        ))
        .unwrap();
    engine.gate.add_permits(1);
    give_back(&home);
    home.wait(&format!("{DONE} = 1")).await;
    assert_eq!(home.messages()[1..3], [pair("user", "theirs"), pair("assistant", "answered")]);
    assert_eq!(home.messages()[3..], [pair("user", "one"), pair("assistant", "echo: one")]);
    process.stop().await;
}

#[tokio::test]
async fn a_client_whose_session_is_taken_is_told() {
    let home = Home::new();
    let engine = Scripted::closed();
    let process = home.start(Owner::current(), engine.clone());
    let running = process.turns.start(direct(SessionRef::Continue("s".to_owned()), "one")).await.unwrap();
    take(&home, "s", &alive(), soon());
    engine.gate.add_permits(1);
    assert!(matches!(answer(running).await, Err(TurnError::Taken)));
    assert_eq!(home.messages(), [pair("user", "one")]);
    assert_eq!(leases(&home), (1, 0));
    process.stop().await;
}

/// A turn that says nothing for long learns of it at the next renewal.
#[tokio::test]
async fn a_renewal_keeps_what_is_held_and_stops_what_is_lost() {
    let home = Home::new();
    let process = home.start(Owner::current(), Scripted::closed());
    let start = |id: &str| process.turns.start(direct(SessionRef::Continue(id.to_owned()), "one"));
    let (lost, kept) = (start("lost").await.unwrap(), start("kept").await.unwrap());
    home.db().execute("UPDATE session_turn_leases SET expires_at = 5.0", []).unwrap();
    take(&home, "lost", &alive(), 6.0);
    held::renew(&process.turns.0).await.unwrap();
    assert!(matches!(answer(lost).await, Err(TurnError::Taken)));
    assert_eq!(home.count("session_turn_leases WHERE conversation_id = 'kept' AND expires_at > 1000.0"), 1);
    assert_eq!(home.count("session_turn_leases WHERE conversation_id = 'lost' AND expires_at = 6.0"), 1);
    while process.turns.active() > 1 {
        tokio::task::yield_now().await;
    }
    drop(kept);
    process.stop().await;
    assert_eq!(leases(&home), (1, 0));
}

#[tokio::test]
async fn every_end_gives_the_session_back() {
    // Failed, and put off.
    for fault in [Fault::Request, Fault::Unreachable] {
        let home = Home::new();
        let process = home.start(Owner::current(), Scripted::with_fault(fault));
        process.turns.serve_inbox();
        accept(&process, event("c", "1", "one")).await;
        home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state IN ('failed', 'postponed'))").await;
        assert_eq!(leases(&home), (0, 0), "{fault:?}");
        process.stop().await;
    }
    // Interrupted, by a newer message and by the end of the process; a client that went away.
    let home = Home::new();
    let process = home.start(Owner::current(), Scripted::closed());
    process.turns.serve_inbox();
    accept(&process, event("c", "1", "one")).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'claimed')").await;
    let key: String =
        home.db().query_row("SELECT session_key FROM hermes_lease", [], |row| row.get(0)).unwrap();
    while !process.turns.interrupt(&key) {
        tokio::task::yield_now().await;
    }
    home.wait(&format!("{DONE} = 1")).await;
    assert_eq!(leases(&home), (0, 0));
    drop(process.turns.start(direct(SessionRef::Continue("s".to_owned()), "two")).await.unwrap());
    home.wait("NOT EXISTS (SELECT 1 FROM session_turn_leases)").await;
    accept(&process, event("c", "2", "three")).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'claimed')").await;
    let now = CancellationToken::new();
    now.cancel();
    process.turns.drain(now).await;
    assert_eq!(leases(&home), (0, 0));
    process.store.close().await;
}

/// What a process held that is gone is free at the next start, also where its number is another's now.
#[tokio::test]
async fn a_dead_process_holds_nothing() {
    let home = Home::new();
    let dead = Owner { start_time: Owner::current().start_time + 1, ..Owner::current() };
    let first = home.start(dead, Scripted::closed());
    first.turns.serve_inbox();
    accept(&first, event("c", "1", "one")).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'claimed')").await;
    let running = first.turns.start(direct(SessionRef::Continue("s".to_owned()), "two")).await.unwrap();
    assert_eq!(leases(&home), (2, 2));
    first.die().await;
    drop(running);
    let second = home.start(Owner::current(), Scripted::open());
    second.turns.serve_inbox();
    home.wait(&format!("{DONE} = 1")).await;
    assert_eq!(leases(&home), (0, 0));
    assert_eq!(home.count("hermes_inbox WHERE fault IS NOT NULL"), 0);
    second.stop().await;
}

/// What cannot be understood is not gone around: messages wait, clients are told.
#[tokio::test]
async fn beside_a_table_of_another_shape_nothing_runs() {
    let home = Home::new();
    let process = home.start(Owner::current(), Scripted::open());
    home.db()
        .execute_batch(
            "DROP TABLE session_turn_leases;
             CREATE TABLE session_turn_leases(conversation_id TEXT PRIMARY KEY, holder TEXT NOT NULL,
                acquired_at REAL NOT NULL, expires_at REAL NOT NULL, epoch INTEGER NOT NULL)",
        )
        .unwrap();
    process.turns.serve_inbox();
    accept(&process, event("c", "1", "one")).await;
    home.wait(
        "EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'postponed' AND error LIKE '%column epoch%')",
    )
    .await;
    assert_eq!(home.count("hermes_inbox WHERE due_at - received_at > 20"), 1, "it is not tried all the time");
    let refused = process.turns.start(direct(SessionRef::Continue("s".to_owned()), "two")).await;
    assert!(matches!(refused, Err(TurnError::Unguarded(_))), "{refused:?}");
    assert_eq!((home.count("sessions"), home.count("hermes_lease")), (0, 0));
    process.stop().await;
}
