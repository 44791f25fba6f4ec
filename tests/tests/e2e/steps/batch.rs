//! The same in a chat, with steps of several calls and tools that do things in the world: commands, and a server of tools. What was finished
//! is not done again, of what may have been the model is told so, and every message is answered once, in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use camino::Utf8PathBuf;
use hermes_tests::chat::Chat;
use hermes_tests::provider::{Provider, Reply};
use hermes_tests::{Gateway, Home, home, process, wait};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::count;

/// Where the worker is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    /// The model is in the middle of saying which tools it wants.
    HalfSaid,
    /// The first command is over and kept, the second runs.
    SecondRuns,
    /// The first command is over and kept, a server of tools works.
    ServerWorks,
    /// Both results are kept, and the model has been asked again.
    AskedAgain,
    /// The answer is kept and has reached the service, which has not said so.
    Delivering,
}

impl Point {
    const ALL: [Self; 5] =
        [Self::HalfSaid, Self::SecondRuns, Self::ServerWorks, Self::AskedAgain, Self::Delivering];

    fn calls(self) -> Vec<(String, String, String)> {
        let command = |id: &str, text: &str| {
            (id.to_owned(), "terminal".to_owned(), json!({ "command": text }).to_string())
        };
        let second = match self {
            Self::SecondRuns => command("c2", "echo second >> runs; sleep 600"),
            Self::ServerWorks => ("c2".to_owned(), "mcp__odd__hang".to_owned(), "{}".to_owned()),
            _ => command("c2", "echo second >> runs"),
        };
        vec![command("c1", "echo first >> runs"), second]
    }
}

fn house(chat: &Chat, provider: &Provider) -> Home {
    let server = Utf8PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/servers/odd.py");
    let config = Home::config("true", "").replacen("agent: {engine: echo, ", "agent: {", 1).replacen(
        "platforms:\n",
        &format!("platforms:\n  {}\n", chat.section("")),
        1,
    );
    let home = Home::with_config(&format!(
        "{config}{}terminal: {{fence: 'off'}}\n\
         mcp_servers: {{odd: {{command: python3, args: ['{server}', plain], protocol: 2025-11-25}}}}\n\
         mcp_discovery_timeout: 30\n\
         display: {{busy_input_mode: queue, busy_ack_enabled: false}}\n",
        provider.model_config()
    ));
    let env = format!("API_SERVER_KEY={}\nCUSTOM_API_KEY=k\n{}", home::DEFAULT_KEY, Chat::env());
    home.write("default", ".env", &env);
    home
}

fn runs(home: &Home) -> String {
    home.read("default", "workspace/runs").unwrap_or_default()
}

fn killed_at(point: Point) {
    let (chat, provider) = (Chat::start(), Provider::start());
    let first = Arc::new(AtomicBool::new(true));
    let is_first = Arc::clone(&first);
    provider.answer_with(move |body| {
        let messages = body["messages"].as_array().unwrap();
        let asked = messages.iter().rposition(|message| message["role"] == "user").unwrap();
        let results = messages[asked..].iter().filter(|message| message["role"] == "tool").count();
        let fails = |at: Point| point == at && is_first.swap(false, Ordering::SeqCst);
        match (messages[asked]["content"].as_str().unwrap(), results) {
            ("two", _) => Reply::text("and two"),
            (_, 0) if fails(Point::HalfSaid) => Reply::Begun(point.calls()),
            (_, 0) => Reply::Calls(point.calls()),
            _ if fails(Point::AskedAgain) => Reply::Hang,
            _ => Reply::text("all done"),
        }
    });
    let home = house(&chat, &provider);
    let gateway = Gateway::start(&home);
    if point == Point::Delivering {
        chat.stick("ann");
    }
    chat.say("ann", "ann", "one");
    let results = "messages where role = 'tool'";
    match point {
        Point::HalfSaid => wait::until_true("the model to be asked", || provider.calls().len() == 1),
        Point::SecondRuns => wait::until_true("the second command", || runs(&home).lines().count() == 2),
        Point::ServerWorks => wait::until_true("the first result", || count(&home, results) == 1),
        Point::AskedAgain => wait::until_true("the model to be asked again", || provider.calls().len() == 2),
        Point::Delivering => wait::until_true("the answer to arrive", || !chat.tries().is_empty()),
    }
    // What comes meanwhile is acknowledged, and waits.
    let update = chat.say("ann", "ann", "two");
    wait::until_true("the message to be confirmed", || chat.confirmed() > update);
    process::signal(gateway.worker("default"), Signal::SIGKILL);
    chat.unstick("ann");

    chat.wait_seen("ann", "and two");
    wait::until_true("all to be over", || count(&home, "hermes_inbox where state = 'done'") == 2);
    assert_eq!(chat.seen_in("ann"), ["all done", "and two"], "{point:?}");
    let expected = if point == Point::ServerWorks { "first\n" } else { "first\nsecond\n" };
    assert_eq!(runs(&home), expected, "{point:?}: each once");
    for (what, number) in [
        ("messages where role = 'user'", 2),
        ("messages where role = 'assistant' and tool_calls is not null", 1),
        (results, 2),
        ("messages where role = 'assistant' and content = 'all done'", 1),
        ("hermes_lease", 0),
    ] {
        assert_eq!(count(&home, what), number, "{point:?}: {what}");
    }
    let calls = provider.calls();
    let told: Vec<Value> = calls.last().unwrap().body["messages"].as_array().unwrap().clone();
    let result = |id: &str| {
        let found = told.iter().find(|message| message["tool_call_id"] == id);
        found.unwrap_or_else(|| panic!("{point:?}: {told:?}"))["content"].as_str().unwrap().to_owned()
    };
    assert!(result("c1").contains(r#""exit_code":0"#), "{point:?}: {}", result("c1"));
    let is_unknown = matches!(point, Point::SecondRuns | Point::ServerWorks);
    assert_eq!(result("c2").contains("unknown"), is_unknown, "{point:?}: {}", result("c2"));
}

/// D12: `kill -9` at every step of a turn whose tools change something.
#[test]
fn d12_a_chat_is_answered_once_and_nothing_is_done_twice_wherever_its_worker_was_killed() {
    for point in Point::ALL {
        killed_at(point);
    }
}
