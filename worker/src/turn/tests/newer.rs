//! Turns in a file of schema 30: what newer programs keep there is read as they read it, and filled as they fill it.

use super::direct::{answer, direct};
use super::*;
use crate::session::{Now, Opening};
use crate::store::fixtures;
use crate::turn::begin::{self, Begun};

/// Ended by compression, its continuation, and a session that has nothing to do with them.
const PARENT: &str = "20261101_090000_aaaaaa";
const TIP: &str = "20261101_100000_bbbbbb";
const CRON: &str = "cron_nightly_20261101_030000";

const TIP_PROMPT: &str = "You are Hermes.\n\nWhat was said before:\nThe user keeps bees.";
const KEY: &str = "agent:coder:webhook:webhook:c:webhook:open";
const BUILT: &str = "You are coder.\nModel: m\nProvider: test";
/// SHA-256 of [`BUILT`].
const BUILT_HASH: &str = "230b69e7b858fac545c9a47f0bcbc672634fde50a0ad98dd5409314d4a0c1929";

fn home(scripts: &[&str]) -> Home {
    let home = Home::new();
    fixtures::make(&home.home.state_db(), scripts);
    home
}

fn newer() -> Home {
    home(&[fixtures::V30, fixtures::ROWS])
}

impl Home {
    fn text(&self, sql: &str) -> Option<String> {
        self.db().query_row(&format!("SELECT {sql}"), [], |row| row.get(0)).unwrap()
    }

    /// A routing entry for [`KEY`], with a field that nobody here knows.
    fn route(&self, session: &str) {
        self.db()
            .execute(
                "INSERT INTO gateway_routing VALUES ('coder', ?1, json_object('session_id', ?2, 'transport_profile', 'ops',
                    'of_tomorrow', 7), 1.0)",
                [KEY, session],
            )
            .unwrap();
    }

    fn entry(&self) -> Value {
        let entry = self.text(&format!(
            "entry_json FROM gateway_routing WHERE scope = 'coder' AND session_key = '{KEY}'"
        ));
        serde_json::from_str(&entry.unwrap()).unwrap()
    }

    fn is_sound(&self) {
        assert_eq!(self.count("pragma_foreign_key_check"), 0);
        fixtures::check_search(&self.db()).unwrap();
    }
}

async fn says(process: &Process, session: &str, text: &str) -> String {
    let running = process.turns.start(direct(SessionRef::Continue(session.to_owned()), text)).await.unwrap();
    let id = running.session_id.clone();
    answer(running).await.unwrap();
    id
}

#[tokio::test]
async fn a_compressed_session_goes_on_in_its_continuation() {
    let home = newer();
    let engine = Scripted::open();
    let process = home.start(Owner::current(), engine.clone());
    let before = home.count(&format!("messages WHERE session_id = '{PARENT}'"));
    let row = format!(
        "group_concat(quote(json_array(ended_at, end_reason, message_count))) FROM sessions WHERE id = '{PARENT}'"
    );
    let ended = home.text(&row);
    for session in [PARENT, TIP] {
        assert_eq!(says(&process, session, "And in spring?").await, TIP);
    }
    let prompt = &engine.prompts()[0];
    assert_eq!((prompt.session_id.as_str(), prompt.system.as_str()), (TIP, TIP_PROMPT));
    // The summary is hidden from people, and what the model goes by.
    assert_eq!(
        texts(&prompt.messages),
        [
            (Role::User, "Summary: bees form a cluster.\n\n蜜蜂在冬天吃什么？"),
            (Role::Assistant, "蜂蜜。"),
            (Role::User, "And in spring?")
        ]
    );
    assert_eq!(home.count(&format!("messages WHERE session_id = '{PARENT}'")), before);
    assert_eq!(home.text(&row), ended);
    home.is_sound();
    process.stop().await;
}

#[tokio::test]
async fn a_chat_whose_entry_names_a_compressed_session_goes_on_in_its_continuation() {
    let home = newer();
    home.route(PARENT);
    let process = home.start(Owner::current(), Scripted::open());
    process.turns.serve_inbox();
    accept(&process, event("c", "1", "after")).await;
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'done')").await;
    assert_eq!(
        home.count(&format!("messages WHERE session_id = '{TIP}' AND content IN ('after', 'echo: after')")),
        2
    );
    let entry = home.entry();
    // What others keep in it stays.
    assert_eq!(
        (&entry["session_id"], &entry["transport_profile"], &entry["of_tomorrow"]),
        (&text(TIP), &text("ops"), &json!(7))
    );
    process.stop().await;
}

/// Older releases ended the parent before they made the child; one that is between the two has a lock.
#[tokio::test]
async fn a_session_that_is_being_compressed_waits_and_one_that_goes_on_nowhere_is_opened_again() {
    let home = newer();
    let process = home.start(Owner::current(), Scripted::open());
    home.db()
        .execute_batch(
            "INSERT INTO sessions(id, source, started_at, ended_at, end_reason) VALUES ('lost', 'cli', 1, 2, 'compression');
             INSERT INTO messages(session_id, role, content, timestamp) VALUES ('lost', 'user', 'q', 1), ('lost', 'assistant', 'a', 1);
             INSERT INTO compression_locks VALUES ('lost', 'pid=1', 1.0, 1e10);",
        )
        .unwrap();
    let inner = Arc::clone(&process.turns.0);
    let begun = process
        .store
        .write(move |db| {
            let (prompts, now) = ((inner.prompts)(), Now::in_zone(&inner.session.zone));
            let opening = Opening { ctx: &inner.session, prompts: &prompts, now: &now, model: None };
            begin::begin(db, opening, &direct(SessionRef::Continue("lost".to_owned()), "more"), None, false)
        })
        .await
        .unwrap();
    assert!(matches!(begun, Begun::NotNow(_)), "{begun:?}");
    assert_eq!(home.count("hermes_lease"), 0);
    home.db().execute("UPDATE compression_locks SET expires_at = 2.0", []).unwrap();
    assert_eq!(says(&process, "lost", "more").await, "lost");
    assert_eq!(home.count("sessions WHERE id = 'lost' AND ended_at IS NULL AND end_reason IS NULL"), 1);
    assert_eq!(home.count("compression_locks"), 0);
    assert_eq!(home.count("messages WHERE session_id = 'lost' AND active = 1"), 4);
    process.stop().await;
}

/// 0.19.0 heeds no lease.
#[tokio::test]
async fn a_session_that_is_compressed_under_its_turn_gets_no_more_rows() {
    let home = newer();
    home.route("parent");
    home.db()
        .execute_batch(
            "INSERT INTO sessions(id, source, session_key, started_at)
             VALUES ('parent', 'webhook', 'agent:coder:webhook:webhook:c:webhook:open', 1)",
        )
        .unwrap();
    let engine = Scripted::with_tools(1);
    let process = home.start(Owner::current(), engine.clone());
    process.turns.serve_inbox();
    accept(&process, event("c", "1", "steps")).await;
    home.wait("(SELECT count(*) FROM messages WHERE session_id = 'parent') = 2").await;
    home.db()
        .execute_batch(
            "BEGIN IMMEDIATE;
             UPDATE sessions SET ended_at = 2, end_reason = 'compression' WHERE id = 'parent';
             INSERT INTO sessions(id, source, parent_session_id, started_at, message_count) VALUES ('child', 'webhook', 'parent', 2, 1);
             INSERT INTO messages(session_id, role, content, timestamp) VALUES ('child', 'user', 'steps', 2);
             COMMIT",
        )
        .unwrap();
    engine.gate.add_permits(3);
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'done')").await;
    assert_eq!(home.count("messages WHERE session_id = 'parent'"), 2);
    assert_eq!(
        home.count("sessions WHERE id = 'parent' AND end_reason = 'compression' AND message_count = 2"),
        1
    );
    accept(&process, event("c", "2", "next")).await;
    home.wait("(SELECT count(*) FROM hermes_inbox WHERE state = 'done') = 2").await;
    let prompt = engine.prompts().pop().unwrap();
    assert_eq!(prompt.session_id, "child");
    assert_eq!(
        texts(&prompt.messages),
        [(Role::User, "steps"), (Role::Assistant, "made it"), (Role::User, "next")]
    );
    assert_eq!(home.count("sessions WHERE id = 'child' AND message_count = (SELECT count(*) FROM messages WHERE session_id = 'child')"), 1);
    process.stop().await;
}

/// The model was told one word for the marks, and goes by no other.
#[tokio::test]
async fn a_message_is_put_into_a_turn_whose_session_was_compressed_with_the_marks_that_it_knows() {
    let home = newer();
    home.route("parent");
    home.db()
        .execute_batch("INSERT INTO sessions(id, source, started_at) VALUES ('parent', 'webhook', 1)")
        .unwrap();
    let engine = Scripted::with_tools(1);
    let process = home.start(Owner::current(), engine.clone());
    process.turns.serve_inbox();
    accept(&process, event("c", "1", "steps")).await;
    home.wait("(SELECT count(*) FROM messages WHERE session_id = 'parent') = 2").await;
    home.db()
        .execute_batch(
            "BEGIN IMMEDIATE;
             UPDATE sessions SET ended_at = 2, end_reason = 'compression' WHERE id = 'parent';
             INSERT INTO sessions(id, source, parent_session_id, started_at) VALUES ('child', 'webhook', 'parent', 2);
             COMMIT",
        )
        .unwrap();
    accept(&process, Inbound { busy: crate::inbound::Busy::Steer, ..event("c", "2", "and this") }).await;
    engine.gate.add_permits(2);
    home.wait("(SELECT count(*) FROM hermes_inbox WHERE state = 'done') = 2").await;
    let told = home
        .text(
            "content FROM messages WHERE session_id = 'child' AND role = 'tool' AND tool_call_id = 'call_b'",
        )
        .unwrap();
    let mark = told.rsplit_once("\nand this\n").unwrap().1;
    assert!(engine.prompts()[0].system.contains(mark), "{mark}: {}", engine.prompts()[0].system);
    process.stop().await;
}

/// Its reason is said where the conversation goes on; a compressed row gets none.
#[tokio::test]
async fn what_is_given_up_is_closed_at_the_end_of_its_line() {
    let home = newer();
    let process = home.start(Owner::current(), Scripted::open());
    home.db()
        .execute_batch(
            "INSERT INTO sessions(id, source, started_at, ended_at, end_reason) VALUES ('parent', 'webhook', 1, 2, 'compression');
             INSERT INTO sessions(id, source, parent_session_id, started_at) VALUES ('child', 'webhook', 'parent', 2);
             INSERT INTO messages(session_id, role, content, timestamp) VALUES ('parent', 'user', 'q', 1), ('child', 'user', 'q', 2);
             INSERT INTO hermes_inbox(platform, session_key, state, received_at, owner_pid, owner_start, attempts, session_id)
                VALUES ('webhook', 'k', 'claimed', 1, 4194999, 7, 4, 'parent');
             INSERT INTO hermes_lease(session_key, owner_pid, owner_start, taken_at) VALUES ('k', 4194999, 7, 1);",
        )
        .unwrap();
    process.turns.serve_inbox();
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'failed')").await;
    assert_eq!(home.count("messages WHERE session_id = 'parent' AND active = 1"), 1);
    assert_eq!(home.count("messages WHERE session_id = 'parent'"), 1);
    assert_eq!(home.count("messages WHERE session_id = 'child' AND active = 0 AND content LIKE '[no answer: the worker died%'"), 1);
    process.stop().await;
}

#[tokio::test]
async fn prompts_are_stored_under_their_hash_and_inline() {
    let home = newer();
    let engine = Scripted::open();
    let process = home.start(Owner::current(), engine.clone());
    assert_eq!(says(&process, "fresh", "hi").await, "fresh");
    let both = format!(
        "sessions JOIN system_prompts ON hash = system_prompt_hash
         WHERE hash = '{BUILT_HASH}' AND prompt = '{BUILT}' AND system_prompt = prompt AND sessions.id"
    );
    assert_eq!(home.count(&format!("{both} = 'fresh'")), 1);
    // Of another model: a new one takes its place, for every program, and the old one stays for whoever else names it.
    home.db()
        .execute_batch(
            "INSERT INTO system_prompts VALUES ('h', 'Model: other');
             INSERT INTO sessions(id, source, started_at, system_prompt_hash) VALUES ('moved', 'cli', 1, 'h'), ('stays', 'cli', 1, 'h');",
        )
        .unwrap();
    says(&process, "moved", "hi").await;
    assert_eq!(engine.prompts()[1].system, BUILT);
    assert_eq!(home.count(&format!("{both} = 'moved'")), 1);
    assert_eq!(
        home.count("sessions WHERE id = 'stays' AND system_prompt_hash = 'h' AND system_prompt IS NULL"),
        1
    );
    assert_eq!(home.count("system_prompts WHERE prompt LIKE 'An older prompt%'"), 1);
    // Kept to the letter, and nothing is written where nothing changes.
    let kept = home.text(&format!(
        "prompt FROM system_prompts JOIN sessions ON hash = system_prompt_hash WHERE id = '{PARENT}'"
    ));
    home.db()
        .execute("UPDATE sessions SET end_reason = NULL, ended_at = NULL WHERE id = ?1", [PARENT])
        .unwrap();
    says(&process, PARENT, "hi").await;
    assert_eq!(Some(&engine.prompts()[2].system), kept.as_ref());
    assert_eq!(
        home.count(&format!(
            "sessions WHERE id = '{PARENT}' AND system_prompt IS NULL AND model = 'fake/model'"
        )),
        1
    );
    home.is_sound();
    process.stop().await;
}

#[tokio::test]
async fn a_file_whose_prompts_were_moved_in_part_is_read_right() {
    let home = home(&[fixtures::V30, fixtures::ROWS, fixtures::MIXED_PROMPTS]);
    let engine = Scripted::open();
    let process = home.start(Owner::current(), engine.clone());
    says(&process, CRON, "hi").await;
    says(&process, TIP, "hi").await;
    let prompts = engine.prompts();
    // The hash wins where there is one.
    assert_eq!([&prompts[0].system, &prompts[1].system], ["An inline prompt of the night.", TIP_PROMPT]);
    process.stop().await;
}

#[tokio::test]
async fn new_sessions_say_whose_they_are_and_whose_bot_received_them() {
    let home = newer();
    let process = home.start(Owner::current(), Scripted::open());
    process.turns.serve_inbox();
    accept(&process, event("c", "1", "mine")).await;
    let mut handed_over = event("d", "2", "theirs");
    handed_over.source.received_by = Some("default".to_owned());
    accept(&process, handed_over).await;
    home.wait("(SELECT count(*) FROM hermes_inbox WHERE state = 'done') = 2").await;
    says(&process, "api", "hi").await;
    let owners = |id: &str| {
        home.text(&format!(
            "profile_name || ' ' || COALESCE(transport_profile, '-') FROM sessions WHERE {id}"
        ))
    };
    assert_eq!(owners("chat_id = 'c'").unwrap(), "coder coder");
    assert_eq!(owners("chat_id = 'd'").unwrap(), "coder default");
    assert_eq!(owners("id = 'api'").unwrap(), "coder -");
    assert_eq!(home.entry()["transport_profile"], "coder");
    let other = home.text(
        "entry_json ->> 'transport_profile' FROM gateway_routing WHERE session_key LIKE 'agent:coder:%:d:%'",
    );
    assert_eq!(other.unwrap(), "default");
    process.stop().await;
}

/// Nothing of it is ours, and NULL is legal in rows of ours.
#[tokio::test]
async fn what_people_set_on_a_session_stays() {
    let home = newer();
    home.db()
        .execute("UPDATE sessions SET pinned = 1, hidden = 1, last_read_at = 5.0 WHERE id = ?1", [TIP])
        .unwrap();
    let process = home.start(Owner::current(), Scripted::open());
    let kept = format!(
        "json_array(pinned, hidden, last_read_at, tool_names, last_activity_at, title, title_source, source, model_config, profile_name,
            transport_profile, created_source) FROM sessions WHERE id = '{TIP}'"
    );
    let before = home.text(&kept);
    says(&process, TIP, "hi").await;
    assert_eq!(home.text(&kept), before);
    says(&process, "new", "hi").await;
    assert_eq!(
        home.count(
            "sessions WHERE id = 'new' AND tool_names IS NULL AND last_activity_at IS NULL AND pinned = 0"
        ),
        1
    );
    process.stop().await;
}

#[tokio::test]
async fn ends_that_begin_another_conversation_are_counted_and_no_others() {
    let home = newer();
    let process = home.start(Owner::current(), Scripted::open());
    process.turns.serve_inbox();
    for (n, reason) in
        ["session_reset", "webhook_complete", "daily", "agent_close", "idle"].into_iter().enumerate()
    {
        let mut last = event("c", &n.to_string(), "bye");
        last.end_session = Some(reason.to_owned());
        accept(&process, last).await;
        home.wait(&format!("(SELECT count(*) FROM hermes_inbox WHERE state = 'done') = {}", n + 1)).await;
        assert_eq!(home.count(&format!("sessions WHERE end_reason = '{reason}'")), 1);
    }
    let count = home.text(&format!("json_group_array(generation) FROM conversation_generations WHERE source = 'webhook' AND session_key = '{KEY}'"));
    assert_eq!(count.unwrap(), "[3]");
    assert_eq!(home.count("conversation_generations"), 2);
    process.stop().await;
}

#[tokio::test]
async fn a_session_that_lost_its_client_goes_on_and_an_end_that_others_set_stays() {
    let home = newer();
    home.route("lost");
    home.db()
        .execute_batch(
            "INSERT INTO sessions(id, source, session_key, started_at, ended_at, end_reason)
             VALUES ('lost', 'webhook', 'agent:coder:webhook:webhook:c:webhook:open', 1, 2, 'startup_orphan_reap')",
        )
        .unwrap();
    let engine = Scripted::closed();
    let process = home.start(Owner::current(), engine.clone());
    process.turns.serve_inbox();
    let mut last = event("c", "1", "bye");
    last.end_session = Some("session_reset".to_owned());
    accept(&process, last).await;
    home.wait("EXISTS (SELECT 1 FROM messages WHERE session_id = 'lost')").await;
    assert_eq!(home.count("sessions WHERE id = 'lost' AND ended_at IS NULL AND end_reason IS NULL"), 1);
    home.db()
        .execute("UPDATE sessions SET ended_at = 3.0, end_reason = 'session_switch' WHERE id = 'lost'", [])
        .unwrap();
    engine.gate.add_permits(1);
    home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'done')").await;
    assert_eq!(
        home.count("sessions WHERE id = 'lost' AND ended_at = 3.0 AND end_reason = 'session_switch'"),
        1
    );
    assert_eq!(home.count(&format!("conversation_generations WHERE session_key = '{KEY}'")), 0);
    process.stop().await;
}

#[tokio::test]
async fn what_was_sent_is_sent_again_whatever_is_shown() {
    let home = newer();
    home.db()
        .execute_batch(
            "INSERT INTO sessions(id, source, started_at) VALUES ('s', 'tui', 1);
             INSERT INTO messages(session_id, role, content, api_content, display_kind, display_metadata, active, compacted, timestamp) VALUES
                ('s', 'user', 'archived', NULL, NULL, NULL, 0, 1, 9),
                ('s', 'user', 'one', '[09:00] one  ', NULL, NULL, 1, 0, 8),
                ('s', 'assistant', '', '(interrupted)', 'hidden', NULL, 1, 0, 7),
                ('s', 'user', 'two', '', 'notice', '{\"model_only\": true}', 1, 0, 6),
                ('s', 'assistant', 'done', NULL, NULL, NULL, 1, 0, 5);",
        )
        .unwrap();
    let engine = Scripted::open();
    let process = home.start(Owner::current(), engine.clone());
    says(&process, "s", "three").await;
    let prompt = &engine.prompts()[0];
    assert_eq!(
        texts(&prompt.messages),
        [
            (Role::User, "[09:00] one  "),
            (Role::Assistant, "(interrupted)"),
            (Role::User, "two"),
            (Role::Assistant, "done"),
            (Role::User, "three")
        ]
    );
    process.stop().await;
}

/// A newer program may open the file at any time, and move the prompts.
#[tokio::test]
async fn a_file_that_becomes_newer_while_it_is_open_is_read_and_filled_like_one() {
    let home = Home::new();
    let engine = Scripted::open();
    let process = home.start(Owner::current(), engine.clone());
    says(&process, "before", "hi").await;
    home.db()
        .execute_batch(
            "CREATE TABLE system_prompts(hash TEXT PRIMARY KEY, prompt TEXT NOT NULL);
             ALTER TABLE sessions ADD COLUMN system_prompt_hash TEXT;
             INSERT INTO system_prompts SELECT 'h', '(moved) ' || system_prompt FROM sessions;
             UPDATE sessions SET system_prompt_hash = 'h', system_prompt = NULL;",
        )
        .unwrap();
    says(&process, "after", "hi").await;
    says(&process, "before", "again").await;
    let prompts = engine.prompts();
    assert_eq!(prompts[2].system, format!("(moved) {}", prompts[0].system));
    assert_eq!(
        home.count("sessions WHERE id = 'before' AND system_prompt IS NULL AND system_prompt_hash = 'h'"),
        1
    );
    assert_eq!(
        home.count("sessions JOIN system_prompts ON hash = system_prompt_hash WHERE prompt = system_prompt AND id = 'after'"),
        1
    );
    assert_eq!(home.count("messages WHERE session_id = 'before'"), 4);
    process.stop().await;
}
