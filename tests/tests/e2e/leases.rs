//! D7, D12, D19: one turn at a time in a session, beside a program that keeps to `session_turn_leases` as newer releases of the predecessor
//! do. Its part is played by rows of the table that name real processes.

use hermes_tests::chat::Chat;
use hermes_tests::command::outside;
use hermes_tests::process::Running;
use hermes_tests::provider::{Provider, Reply};
use hermes_tests::{Gateway, Home, gateway, home, process, wait};
use nix::sys::signal::Signal;
use rusqlite::{Connection, params};
use serde_json::Value;

/// A home whose default profile has the bot, a model and the tool for trials.
fn house(chat: &Chat, provider: &Provider) -> Home {
    let config = Home::config("true", "")
        .replacen("agent: {engine: echo, ", "agent: {trial_tool: notes.txt, ", 1)
        .replacen("platforms:\n", &format!("platforms:\n  {}\n", chat.section("")), 1);
    // Every message is to be answered, whatever comes behind it.
    let more = "display: {busy_input_mode: queue, busy_ack_enabled: false}\n";
    let home = Home::with_config(&format!("{config}{}{more}", provider.model_config()));
    let env = format!("API_SERVER_KEY={}\nCUSTOM_API_KEY=k\n{}", home::DEFAULT_KEY, Chat::env());
    home.write("default", ".env", &env);
    home
}

fn database(home: &Home) -> Connection {
    let db = Connection::open(home.root().join("state.db")).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    db
}

fn count(home: &Home, what: &str) -> i64 {
    database(home).query_row(&format!("select count(*) from {what}"), [], |row| row.get(0)).unwrap()
}

fn text(home: &Home, sql: &str) -> String {
    database(home).query_row(sql, [], |row| row.get(0)).unwrap()
}

/// The other program: a process that is there and does nothing.
struct Other(Running);

impl Other {
    fn start() -> Self {
        Self(Running(outside("sleep".into()).arg("600").spawn().unwrap()))
    }

    fn holder(&self) -> String {
        format!("pid={}:turn=theirs:platform=cli", self.0.0.id())
    }

    /// Takes a conversation, whoever has it.
    fn take(&self, home: &Home, conversation: &str) {
        let now = wait::system().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        database(home)
            .execute(
                "insert or replace into session_turn_leases(conversation_id, holder, acquired_at, expires_at)
                 values (?1, ?2, ?3, ?4)",
                params![conversation, self.holder(), now, now + 300.0],
            )
            .unwrap();
    }

    fn give_back(&self, home: &Home) {
        let gone = database(home)
            .execute("delete from session_turn_leases where holder = ?1", [self.holder()])
            .unwrap();
        assert_eq!(gone, 1, "nobody else touches what a live process holds");
    }
}

const WAITS: &str = "hermes_inbox where state = 'postponed' and fault = 'leased'";

/// A message for a session that another program is at work in waits, and is answered when that is done, or dead.
#[test]
fn d12_a_message_waits_for_a_turn_of_another_program() {
    let (chat, provider) = (Chat::start(), Provider::start());
    provider.answer_with(|body| {
        let said =
            body["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap().to_owned();
        Reply::text(&format!("to {said}"))
    });
    let home = house(&chat, &provider);
    let _gateway = Gateway::start(&home);
    chat.say("ann", "ann", "one");
    chat.wait_seen("ann", "to one");
    let session = text(&home, "select id from sessions");
    for (message, dies) in [("two", false), ("three", true)] {
        wait::until_true("the end of the turn", || count(&home, "session_turn_leases") == 0);
        let other = Other::start();
        other.take(&home, &session);
        let asked = provider.calls().len();
        chat.say("ann", "ann", message);
        wait::until_true("the message to wait", || count(&home, WAITS) == 1);
        chat.say(message, "bob", "aside");
        chat.wait_seen(message, "to aside");
        assert_eq!(provider.calls().len(), asked + 1, "{message}: only the other chat's");
        if dies {
            let holder = other.holder();
            drop(other);
            wait::until_true("the row of the dead to be void", || {
                count(&home, &format!("session_turn_leases where holder = '{holder}'")) == 0
            });
        } else {
            other.give_back(&home);
        }
        chat.wait_seen("ann", &format!("to {message}"));
    }
    wait::until_true("the end of the turn", || count(&home, "session_turn_leases") == 0);
    let log = home.read("default", "logs/gateway.log").unwrap();
    let said = log.lines().filter(|line| line.contains("a message waits: another program")).count();
    assert_eq!(said, 2, "once for each: {log}");
}

/// A client waits as long as it likes.
#[test]
fn d19_a_client_waits_for_a_turn_of_another_program() {
    let (chat, provider) = (Chat::start(), Provider::start());
    provider.answer_with(|_| Reply::text("here"));
    let home = house(&chat, &provider);
    let gateway = Gateway::start(&home);
    let other = Other::start();
    let ask = |session: &str| {
        let body = r#"{"model": "m", "messages": [{"role": "user", "content": "hi"}]}"#;
        let key = format!("Bearer {}", home::DEFAULT_KEY);
        let headers = [
            ("Authorization", &*key),
            ("Content-Type", "application/json"),
            ("X-Hermes-Session-Id", session),
        ];
        gateway.api("POST", "/v1/chat/completions", &headers, body.as_bytes())
    };
    other.take(&home, "theirs");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| ask("theirs"));
        assert_eq!(ask("mine").status, 200);
        wait::until_true("the log to say so", || {
            home.read("default", "logs/gateway.log").is_some_and(|log| log.contains("a client's turn waits"))
        });
        assert_eq!(provider.calls().len(), 1);
        other.give_back(&home);
        let answer = waits.join().unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["choices"][0]["message"]["content"], "here");
    });
    assert_eq!(count(&home, "session_turn_leases"), 0);
}

/// What runs stops when its session is taken, leaves it alone from then on, and is answered behind the other program's turn; its tool does
/// not run twice.
#[test]
fn d12_a_turn_whose_session_is_taken_goes_on_behind_the_other() {
    let (chat, provider) = (Chat::start(), Provider::start());
    let call = r#"{"line": "x", "before": "go"}"#;
    provider.answer_with(move |body| {
        match body["messages"].as_array().unwrap().last().unwrap()["role"].as_str() {
            Some("tool") => Reply::text("done"),
            _ => Reply::Calls(vec![("c1".to_owned(), "note".to_owned(), call.to_owned())]),
        }
    });
    let home = house(&chat, &provider);
    let _gateway = Gateway::start(&home);
    chat.say("ann", "ann", "one");
    wait::until_true("the tool to run", || count(&home, "messages where tool_calls is not null") == 1);
    let other = Other::start();
    other.take(&home, &text(&home, "select conversation_id from session_turn_leases"));
    home.write("default", "go", "");
    wait::until_true("the turn to stop", || count(&home, WAITS) == 1);
    assert_eq!(home.read("default", "notes.txt").as_deref(), Some("x\n"), "the tool was at work");
    assert_eq!(count(&home, "messages"), 2, "its result is not stored any more");
    other.give_back(&home);
    chat.wait_seen("ann", "done");
    assert_eq!(chat.seen_in("ann"), ["done"]);
    assert_eq!(home.read("default", "notes.txt").as_deref(), Some("x\n"));
    let told = provider.calls().pop().unwrap().body["messages"].as_array().unwrap().clone();
    let roles: Vec<&str> = told.iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool"]);
    let result: Value = serde_json::from_str(told[3]["content"].as_str().unwrap()).unwrap();
    assert!(result["error"].as_str().unwrap().contains("unknown"), "{result}");
}

/// A worker that is killed holds nothing any more, and the next one goes on at once; one that is replaced ends its turn and gives the
/// session to the next generation.
#[test]
fn d7_a_session_passes_from_worker_to_worker() {
    let (chat, provider) = (Chat::start(), Provider::start());
    provider.script([
        Reply::Hang,
        Reply::text("first"),
        Reply::Hang,
        Reply::text("second"),
        Reply::text("third"),
    ]);
    let home = house(&chat, &provider);
    let gateway = Gateway::start(&home);
    let holder = |pid: u32| {
        format!(
            "session_turn_leases where holder like 'pid={pid}:turn=%:platform=testchat' and expires_at > acquired_at"
        )
    };
    chat.say("ann", "ann", "one");
    wait::until_true("the model to be asked", || provider.calls().len() == 1);
    let killed = gateway.worker("default");
    assert_eq!(count(&home, &holder(killed)), 1);
    process::signal(killed, Signal::SIGKILL);
    chat.wait_seen("ann", "first");
    wait::until_true("the end of the turn", || count(&home, "session_turn_leases") == 0);

    chat.say("ann", "ann", "two");
    wait::until_true("the model to be asked", || provider.calls().len() == 3);
    let old = gateway.worker("default");
    assert_eq!(count(&home, &holder(old)), 1);
    assert!(gateway::run(&home, &["gateway", "restart", "-p", "default"]).status.success());
    gateway.wait_replaced("default", old);
    chat.say("ann", "ann", "three");
    chat.wait_seen("ann", "third");
    assert_eq!(chat.seen_in("ann"), ["first", "second", "third"]);
    wait::until_true("the end of the turn", || count(&home, "session_turn_leases") == 0);
    assert_eq!(count(&home, "hermes_lease"), 0);
}
