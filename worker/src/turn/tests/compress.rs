//! Conversations that are made shorter: what is stored, what is told from then on, and what a failure or a death on the way leaves.

use hermes_config::Compression;

use super::direct::{answer, direct};
use super::*;

/// Everything may be summed up but the last turn.
const EAGER: Compression = Compression {
    enabled: true,
    threshold: 500,
    target: 200,
    protect_last: 0,
    protect_first: 2,
    most_messages: 0,
    in_place: true,
    abort_on_failure: false,
};

fn session() -> SessionRef {
    SessionRef::Continue("s".to_owned())
}

async fn say(process: &Process, text: &str) -> String {
    answer(process.turns.start(direct(session(), text)).await.unwrap()).await.unwrap().text
}

/// A conversation of a session: `first`, then questions of some length.
async fn talk(process: &Process, questions: usize) {
    say(process, "first").await;
    for number in 0..questions {
        say(process, &format!("{number} {}", "word ".repeat(100))).await;
    }
}

/// Roles and beginnings of what a model would be told.
fn told(prompt: &Prompt) -> Vec<(Role, String)> {
    let texts = prompt.messages.iter();
    texts.map(|m| (m.role, m.content.as_str().unwrap().chars().take(20).collect())).collect()
}

#[tokio::test]
async fn a_summary_stands_in_the_place_of_what_is_between() {
    let home = Home::new();
    let engine = Scripted::open().helping(Task::Compression, [Ok("The user counts words.")]);
    let process = home.start_compressing(Owner::current(), engine.clone(), EAGER);
    talk(&process, 4).await;
    let before = home.count("messages");
    assert_eq!(say(&process, "shorten 10").await, "it is shorter");
    let prompts = engine.prompts();
    let shorter = prompts.last().unwrap();
    let expected = [
        (Role::User, "first"),
        (Role::Assistant, "echo: first"),
        (Role::User, "[CONTEXT SUMMARY]: W"),
        (Role::Assistant, "Noted. I go on from "),
        (Role::User, "shorten 10"),
    ]
    .map(|(role, text)| (role, text.to_owned()));
    assert_eq!(told(shorter), expected);
    assert!(shorter.messages[2].content.as_str().unwrap().contains("The user counts words."));
    assert!(shorter.system.starts_with("You are coder, on "), "{}", shorter.system);
    // The model was shown what it is to sum up, and nothing else.
    let asked = engine.jobs.lock().unwrap()[0].text.clone();
    assert!(
        asked.starts_with("[USER]\n0 word")
            && asked.contains("[ASSISTANT]\necho: 3 word")
            && !asked.contains("first"),
        "{asked}"
    );
    // What was between is there and marked, as 0.19.0 marks it; what stayed is there once.
    assert_eq!(home.count("messages WHERE active = 0 AND compacted = 1"), 8);
    assert_eq!(home.count("messages WHERE content = 'shorten 10' AND active = 1 AND compacted = 0"), 1);
    assert_eq!(home.count("messages"), before + 1 + 2 + 1, "question, summary, answer");
    assert_eq!(home.count("messages_fts WHERE messages_fts MATCH 'word'"), 8);
    assert_eq!(home.count("sessions WHERE id = 's' AND message_count = 6 AND ended_at IS NULL"), 1);
    assert_eq!(home.count("compression_locks"), 0);
    assert_eq!(home.count("session_model_usage WHERE task = 'compression' AND input_tokens = 11"), 1);
    // The next turn goes on from there, and the next summary takes the first one in.
    *engine.chores.lock().unwrap() = Some((Task::Compression, vec![Ok("All of it.".to_owned())]));
    assert_eq!(say(&process, "shorten 1").await, "it is shorter");
    let asked = engine.jobs.lock().unwrap()[1].text.clone();
    assert!(asked.contains("first") && asked.contains("The user counts words."), "{asked}");
    assert_eq!(told(engine.prompts().last().unwrap()).len(), 3);
    process.stop().await;
}

#[tokio::test]
async fn a_session_may_go_on_in_a_child() {
    let home = Home::new();
    let engine = Scripted::open().helping(Task::Compression, [Ok("Words."), Ok("Words again.")]);
    let process =
        home.start_compressing(Owner::current(), engine.clone(), Compression { in_place: false, ..EAGER });
    talk(&process, 3).await;
    home.db().execute("UPDATE sessions SET title = 'Counting'", []).unwrap();
    assert_eq!(say(&process, "shorten 10").await, "it is shorter");
    assert_eq!(home.count("sessions WHERE id = 's' AND end_reason = 'compression' AND title IS NULL"), 1);
    assert_eq!(home.count("sessions WHERE parent_session_id = 's' AND ended_at IS NULL AND title = 'Counting' AND message_count = 6"), 1);
    assert_eq!(home.count("messages WHERE session_id = 's'"), 9, "nothing of the old one changed");
    assert_eq!(home.count("messages WHERE session_id = 's' AND active = 1"), 9);
    // Whoever names the old one means the new one.
    assert_eq!(say(&process, "next").await, "echo: next");
    assert_eq!(engine.prompts().last().unwrap().messages.len(), 7);
    assert_eq!(home.count("messages WHERE session_id <> 's'"), 8);
    process.stop().await;
}

/// A failure that passes changes nothing and is not tried again at once; an answer that is of no use is replaced by what can be said
/// without a model, unless that is not wanted.
#[tokio::test]
async fn a_failure_leaves_the_conversation_whole() {
    let home = Home::new();
    let engine = Scripted::open().helping(Task::Compression, [Err(Fault::Quota)]);
    let process = home.start_compressing(Owner::current(), engine.clone(), EAGER);
    talk(&process, 3).await;
    assert_eq!(say(&process, "shorten 10").await, "it is not: no");
    assert_eq!(home.count("messages WHERE active = 0"), 0);
    assert_eq!(home.count("compression_locks"), 0);
    assert_eq!(
        home.count("sessions WHERE compression_failure_cooldown_until > strftime('%s', 'now') + 500 AND compression_failure_error = 'no'"),
        1
    );
    assert!(say(&process, "shorten 10").await.starts_with("it is not: it failed and is tried again in "));
    home.db().execute("UPDATE sessions SET compression_failure_cooldown_until = 1", []).unwrap();
    *engine.chores.lock().unwrap() = Some((Task::Compression, vec![Ok(" ".to_owned())]));
    assert_eq!(say(&process, "shorten 10").await, "it is shorter");
    let summary = engine.prompts().last().unwrap().messages[2].content.as_str().unwrap().to_owned();
    assert!(summary.contains("no model could sum them up") && summary.contains("- 0 word word"), "{summary}");
    assert_eq!(home.count("sessions WHERE compression_fallback_streak = 1"), 1);
    process.stop().await;

    let home = Home::new();
    let engine = Scripted::open().helping(Task::Compression, [Ok("")]);
    let process =
        home.start_compressing(Owner::current(), engine, Compression { abort_on_failure: true, ..EAGER });
    talk(&process, 3).await;
    assert!(say(&process, "shorten 10").await.contains("abort_on_summary_failure"));
    assert_eq!(home.count("messages WHERE active = 0"), 0);
    process.stop().await;
}

/// A process that dies while the model writes leaves the old conversation; the next one makes it shorter.
#[tokio::test]
async fn a_death_on_the_way_leaves_the_old_conversation() {
    let home = Home::new();
    let engine = Scripted::open().helping(Task::Compression, [Ok("never")]);
    let first = home.start_compressing(DEAD, engine.clone(), EAGER);
    first.turns.serve_inbox();
    for number in ["1", "2", "3"] {
        accept(&first, event("c", number, &"word ".repeat(100))).await;
    }
    home.wait("(SELECT count(*) FROM hermes_inbox WHERE state = 'done') = 3").await;
    engine.writing.forget_permits(Semaphore::MAX_PERMITS);
    accept(&first, event("c", "4", "shorten 10")).await;
    home.wait("EXISTS (SELECT 1 FROM compression_locks)").await;
    first.die().await;
    assert_eq!(home.count("messages WHERE active = 0"), 0);

    let engine = Scripted::open().helping(Task::Compression, [Ok("Words.")]);
    let second = home.start_compressing(Owner::current(), engine.clone(), EAGER);
    second.turns.serve_inbox();
    home.wait("(SELECT count(*) FROM hermes_inbox WHERE state = 'done') = 4").await;
    second.stop().await;
    assert_eq!(home.count("messages WHERE role = 'user' AND content = 'shorten 10' AND active = 1"), 1);
    assert_eq!(home.count("messages WHERE content = 'it is shorter'"), 1);
    assert_eq!(home.count("messages WHERE compacted = 1"), 4);
    assert_eq!(home.count("compression_locks"), 0);
}

/// A message of a chat, which has somewhere to be answered.
fn chat(id: &str, text: &str) -> Inbound {
    let mut event = event("c", id, text);
    "dm".clone_into(&mut event.source.chat_type);
    event.delivery = DeliveryTarget { kind: "testchat".to_owned(), extra: BTreeMap::new() };
    event
}

/// A newer message that would end a turn waits for one whose conversation is being made shorter; whoever wrote is told, and not every time.
#[tokio::test]
async fn a_newer_message_waits_for_a_turn_whose_conversation_is_made_shorter() {
    let home = Home::new();
    let engine = Scripted::open().helping(Task::Compression, [Ok("Words.")]);
    let process = home.start_compressing(Owner::current(), engine.clone(), EAGER);
    process.turns.serve_inbox();
    for number in ["1", "2"] {
        accept(&process, chat(number, &"word ".repeat(100))).await;
    }
    home.wait("(SELECT count(*) FROM hermes_inbox WHERE state = 'done') = 2").await;
    engine.writing.forget_permits(Semaphore::MAX_PERMITS);
    accept(&process, chat("3", "shorten 10")).await;
    home.wait("EXISTS (SELECT 1 FROM compression_locks)").await;
    for (id, text) in [("4", "next"), ("5", "last")] {
        accept(&process, Inbound { busy: crate::inbound::Busy::Interrupt, ..chat(id, text) }).await;
        home.wait(&format!(
            "EXISTS (SELECT 1 FROM hermes_inbox WHERE dedup_id = '{id}' AND state = 'queued' AND busy = 'queue')"
        ))
        .await;
    }
    assert_eq!(
        home.count("hermes_delivery WHERE content LIKE '⏳ Compressing context — your message is queued %'"),
        1
    );
    engine.writing.add_permits(8);
    home.wait("(SELECT count(*) FROM hermes_inbox WHERE state = 'done') = 5").await;
    process.stop().await;
    assert_eq!(home.count("messages WHERE compacted = 1"), 2);
    let answers =
        "messages WHERE role = 'assistant' AND content IN ('it is shorter', 'echo: next', 'echo: last')";
    assert_eq!(home.count(answers), 3, "none was ended");
}

/// `/compress` of a chat is answered, and no part of the conversation.
#[tokio::test]
async fn somebody_may_ask_for_it() {
    let home = Home::new();
    let engine = Scripted::open().helping(Task::Compression, [Ok("Words.")]);
    let process = home.start_compressing(Owner::current(), engine.clone(), EAGER);
    process.turns.serve_inbox();
    for (number, id) in ["1", "2", "3"].into_iter().enumerate() {
        accept(&process, chat(id, &"word ".repeat(4_000))).await;
        home.wait(&format!("(SELECT count(*) FROM hermes_inbox WHERE state = 'done') = {}", number + 1))
            .await;
    }
    accept(&process, chat("4", "/compress the words")).await;
    home.wait("(SELECT count(*) FROM hermes_inbox WHERE state = 'done') = 4").await;
    process.stop().await;
    let asked = engine.jobs.lock().unwrap().last().unwrap().clone();
    assert!(asked.system.ends_with("Of most interest is: the words"), "{asked:?}");
    assert_eq!(home.count("messages WHERE content LIKE '/compress%'"), 0);
    assert_eq!(home.count("messages WHERE compacted = 1"), 2);
    let said: String = home
        .db()
        .query_row("SELECT content FROM hermes_delivery ORDER BY id DESC LIMIT 1", [], |row| row.get(0))
        .unwrap();
    assert!(said.starts_with("The conversation is shorter now: 6 messages (about "), "{said}");
    assert_eq!(engine.prompts().len(), 3, "no model answers it");
}
