//! Conversations that outgrow their model, and their titles: with a chat, a model and real processes, killed on the way; and what the
//! program that this one replaces makes of them.

use std::process::Command;
use std::sync::{Arc, Mutex};

use hermes_tests::chat::Chat;
use hermes_tests::provider::{Provider, Reply};
use hermes_tests::tools::Clients;
use hermes_tests::{Gateway, Home, home, process, wait};
use nix::sys::signal::Signal;
use rusqlite::Connection;
use serde_json::Value;

/// A window that four long messages fill.
const WINDOW: u32 = 24_000;

fn house(chat: &Chat, provider: &Provider, more: &str) -> Home {
    let config = Home::config("true", "")
        .replacen(
            "agent: {engine: echo, restart_drain_timeout: 5}",
            "agent: {trial_tool: notes.txt, restart_drain_timeout: 5}",
            1,
        )
        .replacen("platforms:\n", &format!("platforms:\n  {}\n", chat.section("")), 1);
    let model =
        provider.whole_config().replace("{default: m,", &format!("{{default: m, context_length: {WINDOW},"));
    let home = Home::with_config(&format!("{config}{model}{more}"));
    let env = format!("API_SERVER_KEY={}\nCUSTOM_API_KEY=k\n{}", home::DEFAULT_KEY, Chat::env());
    home.write("default", ".env", &env);
    home
}

const NO_TITLES: &str = "auxiliary: {title_generation: {enabled: false}}\n";

fn database(home: &Home) -> Connection {
    let db = Connection::open(home.root().join("state.db")).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    db
}

fn count(home: &Home, what: &str) -> i64 {
    database(home).query_row(&format!("select count(*) from {what}"), [], |row| row.get(0)).unwrap()
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Answer,
    Summary,
    Title,
    /// The list of models.
    List,
}

fn wanted(body: &Value) -> Wanted {
    if !body["messages"].is_array() {
        return Wanted::List;
    }
    match body["messages"][0]["content"].as_str().unwrap_or_default() {
        system if system.starts_with("You keep the notes") => Wanted::Summary,
        system if system.starts_with("You name conversations") => Wanted::Title,
        _ => Wanted::Answer,
    }
}

fn asked(provider: &Provider, what: Wanted) -> usize {
    provider.calls().iter().filter(|call| wanted(&call.body) == what).count()
}

fn answers(body: &Value) -> Reply {
    match wanted(body) {
        Wanted::Summary => Reply::text("The user counts words, and wants tea."),
        Wanted::Title => Reply::text("\"Counting Words\""),
        Wanted::List => Reply::error(404, "no list"),
        Wanted::Answer => {
            let last =
                body["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap().to_owned();
            Reply::text(&format!("answer to {}", last.split_whitespace().next().unwrap_or_default()))
        }
    }
}

/// A message of about 4 500 tokens.
fn long(name: &str) -> String {
    format!("{name} {}", "counting ".repeat(2_000))
}

/// Says so many long messages, each after the answer to the one before.
fn talk(chat: &Chat, names: &[&str]) {
    for name in names {
        chat.say("ann", "ann", &long(name));
        chat.wait_seen("ann", &format!("answer to {name}"));
    }
}

/// Where the worker is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    /// The model has been asked for a summary.
    SummaryAsked,
    /// It is there, and cannot be committed.
    SummaryUncommitted,
    /// The conversation is shorter, and the model has been asked for the answer.
    AnswerAsked,
    /// It has answered; that cannot be committed.
    AnswerUncommitted,
}

fn killed_at(point: Point) {
    let (chat, provider) = (Chat::start(), Provider::start());
    let home = Arc::new(house(&chat, &provider, NO_TITLES));
    let held: Arc<Mutex<Option<Connection>>> = Arc::default();
    let armed = Arc::new(Mutex::new(true));
    let (database_of, locks, first) = (Arc::clone(&home), Arc::clone(&held), Arc::clone(&armed));
    provider.answer_with(move |body| {
        let here = match point {
            Point::SummaryAsked | Point::SummaryUncommitted => wanted(body) == Wanted::Summary,
            Point::AnswerAsked | Point::AnswerUncommitted => {
                wanted(body) == Wanted::Answer && body["messages"].to_string().contains("[CONTEXT SUMMARY]")
            }
        };
        if here && std::mem::take(&mut *first.lock().unwrap()) {
            if matches!(point, Point::SummaryAsked | Point::AnswerAsked) {
                return Reply::Hang;
            }
            let db = database(&database_of);
            db.execute_batch("begin immediate").unwrap();
            *locks.lock().unwrap() = Some(db);
        }
        answers(body)
    });
    let gateway = Gateway::start(&home);
    let mut said = Vec::new();
    for name in ["one", "two", "three", "four", "five", "six"] {
        chat.say("ann", "ann", &long(name));
        said.push(name);
        let answer = format!("answer to {name}");
        let reached = || !*armed.lock().unwrap();
        wait::until_true("an answer, or the point", || reached() || chat.seen_in("ann").contains(&answer));
        if reached() {
            break;
        }
    }
    let last = *said.last().unwrap();
    assert!(!*armed.lock().unwrap() && said.len() > 2, "{point:?}: {said:?}");
    match point {
        Point::SummaryAsked | Point::SummaryUncommitted => {
            assert_eq!(count(&home, "messages where compacted = 1"), 0, "{point:?}");
            assert_eq!(count(&home, "compression_locks"), 1, "{point:?}");
        }
        Point::AnswerAsked | Point::AnswerUncommitted => {
            assert!(count(&home, "messages where compacted = 1") > 0, "{point:?}");
            assert_eq!(count(&home, "compression_locks"), 0, "{point:?}");
        }
    }
    let answers_before = asked(&provider, Wanted::Answer);
    process::signal(gateway.worker("default"), Signal::SIGKILL);
    drop(held.lock().unwrap().take());
    let answer = format!("answer to {last}");
    chat.wait_seen("ann", &answer);
    wait::until_true("the end of the turn", || count(&home, "hermes_lease") == 0);
    let summaries = if matches!(point, Point::SummaryAsked | Point::SummaryUncommitted) { 2 } else { 1 };
    assert_eq!(asked(&provider, Wanted::Summary), summaries, "{point:?}");
    assert!(asked(&provider, Wanted::Answer) <= answers_before + 1, "{point:?}");
    let told = provider.calls().last().unwrap().body["messages"].clone();
    let told = told.as_array().unwrap();
    assert!(told.iter().any(|m| m["content"].as_str().unwrap().contains("wants tea")), "{point:?}");
    assert!(told.last().unwrap()["content"].as_str().unwrap().starts_with(&format!("{last} ")), "{point:?}");
    for (what, number) in [
        (&*format!("messages where role = 'user' and content like '{last} %'"), 1),
        (&*format!("messages where role = 'assistant' and content = '{answer}'"), 1),
        ("messages where content like '[CONTEXT SUMMARY]:%' and active = 1", 1),
        ("messages where active = 0 and compacted = 0", 0),
        ("compression_locks", 0),
        ("sessions", 1),
        ("sessions where message_count = (select count(*) from messages where active = 1)", 1),
    ] {
        assert_eq!(count(&home, what), number, "{point:?}: {what}");
    }
    assert_eq!(chat.seen_in("ann").iter().filter(|text| **text == answer).count(), 1, "{point:?}");
}

/// D12: `kill -9` at every step of a conversation that is made shorter leaves the old one or the new one, and one answer.
#[test]
fn d12_a_conversation_is_made_shorter_wherever_its_worker_was_killed() {
    for point in
        [Point::SummaryAsked, Point::SummaryUncommitted, Point::AnswerAsked, Point::AnswerUncommitted]
    {
        killed_at(point);
    }
}

/// A model that refuses a conversation as too long gets a shorter one, with nothing said to anybody of it; so does who asks for it.
#[test]
fn a_refusal_as_too_long_is_no_failure() {
    let (chat, provider) = (Chat::start(), Provider::start());
    let home = house(&chat, &provider, NO_TITLES);
    home.write(
        "default",
        "config.yaml",
        &home.read("default", "config.yaml").unwrap().replace(&format!("context_length: {WINDOW}, "), ""),
    );
    provider.answer_with(|body| {
        let length: usize = body["messages"].to_string().len();
        if wanted(body) == Wanted::Answer && length > 60_000 {
            return Reply::error(400, "This model's maximum context length is 32768 tokens. Please reduce the length of the messages.");
        }
        answers(body)
    });
    let _gateway = Gateway::start(&home);
    talk(&chat, &["one", "two", "three", "four", "five"]);
    assert!(asked(&provider, Wanted::Summary) >= 1);
    assert_eq!(chat.seen_in("ann").len(), 5, "nothing else was said");
    let before = asked(&provider, Wanted::Answer);
    chat.say("ann", "ann", "/compress the tea");
    wait::until_true("what became of it", || {
        chat.seen_in("ann").iter().any(|text| text.starts_with("The conversation "))
    });
    assert_eq!(asked(&provider, Wanted::Answer), before, "no model answers that");
    assert_eq!(count(&home, "messages where content like '/compress%'"), 0);
}

/// A title comes after the answer, and a worker that is killed while it is asked for has lost nothing else.
#[test]
fn d12_a_title_that_is_lost_is_all_that_is_lost() {
    let (chat, provider) = (Chat::start(), Provider::start());
    let home = house(&chat, &provider, "");
    let hangs = Arc::new(Mutex::new(true));
    let first = Arc::clone(&hangs);
    provider.answer_with(move |body| match wanted(body) {
        Wanted::Title if std::mem::take(&mut *first.lock().unwrap()) => Reply::Hang,
        _ => answers(body),
    });
    let gateway = Gateway::start(&home);
    chat.say("ann", "ann", "one");
    chat.wait_seen("ann", "answer to one");
    wait::until_true("the title to be asked for", || asked(&provider, Wanted::Title) == 1);
    process::signal(gateway.worker("default"), Signal::SIGKILL);
    chat.say("ann", "ann", "two");
    chat.wait_seen("ann", "answer to two");
    wait::until_true("a title", || count(&home, "sessions where title = 'Counting Words'") == 1);
    chat.say("bob", "bob", "three");
    chat.wait_seen("bob", "answer to three");
    wait::until_true("another title", || count(&home, "sessions where title = 'Counting Words #2'") == 1);
    assert_eq!(count(&home, "session_model_usage where task = 'title_generation' and api_call_count = 1"), 2);
    assert_eq!(chat.seen_in("ann"), ["answer to one", "answer to two"]);
    // Clients of the API name their conversations themselves.
    assert_eq!(gateway.chat("", home::DEFAULT_KEY, "four").status, 200);
    chat.say("ann", "ann", "five");
    chat.wait_seen("ann", "answer to five");
    assert_eq!(asked(&provider, Wanted::Title), 3);
}

/// 0.19.0's own session store reads a conversation that was made shorter, in place and as a child, searches all of it and continues it;
/// and what it makes shorter is continued here.
#[test]
#[expect(clippy::disallowed_methods, reason = "drives the other program")]
fn d22_0_19_0_reads_a_conversation_that_was_made_shorter() {
    let Some(python) = Clients::Predecessor.interpreter() else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/with_predecessor_compressed.py");
    for in_place in [true, false] {
        let (chat, provider) = (Chat::start(), Provider::start());
        provider.answer_with(answers);
        let home = house(&chat, &provider, &format!("{NO_TITLES}compression: {{in_place: {in_place}}}\n"));
        let mut gateway = Gateway::start(&home);
        talk(&chat, &["one", "two", "three", "four", "five"]);
        assert!(asked(&provider, Wanted::Summary) > 0);
        wait::until_true("the end of the turn", || count(&home, "hermes_lease") == 0);
        let root: String = database(&home)
            .query_row("select id from sessions order by started_at", [], |row| row.get(0))
            .unwrap();
        let mut command = Command::new(&python);
        command.args([script, &root, if in_place { "same" } else { "child" }]).env_clear();
        let output = command.env("HERMES_HOME", home.root()).env("HOME", home.user()).output().unwrap();
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && said.contains("ok compress"), "{said}");
        chat.say("ann", "ann", "six");
        chat.wait_seen("ann", "answer to six");
        let told = provider.calls().last().unwrap().body["messages"].to_string();
        assert!(
            told.contains("their summary")
                && told.contains("theirs to stay")
                && !told.contains("five counting"),
            "{told}"
        );
        gateway.stop();
        assert_eq!(count(&home, "sessions where ended_at is null"), 1, "the line has one end");
    }
}
