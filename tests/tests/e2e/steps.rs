//! D12, D19: turns with tools of the worker's own. Each step is on disk before the next begins; a worker that is killed at any of them goes
//! on from the last one: a tool whose result is known is not run again, an unknown one is said to be, and there is one answer.

mod batch;

use std::sync::{Arc, Mutex};

use hermes_tests::provider::{Provider, Reply};
use hermes_tests::{Gateway, Home, home, process, wait};
use nix::sys::signal::Signal;
use rusqlite::Connection;
use serde_json::{Value, json};

/// Where the worker is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    /// The model has been asked.
    Asked,
    /// The model wants a tool called; that cannot be committed.
    CallUncommitted,
    /// The call is committed, the tool has begun and done nothing.
    ToolBegun,
    /// The tool has done what it does and is still at it.
    ToolDone,
    /// The tool is over; its result cannot be committed.
    ResultUncommitted,
    /// The result is committed and the model has been asked again.
    AskedAgain,
    /// The model has answered; that cannot be committed.
    AnswerUncommitted,
}

/// What must have happened in the end.
struct Expected {
    /// How often the tool did something.
    lines: usize,
    /// The model was told that the result is unknown.
    unknown: bool,
    /// How often the model was asked.
    asked: usize,
}

impl Point {
    const ALL: [Self; 7] = [
        Self::Asked,
        Self::CallUncommitted,
        Self::ToolBegun,
        Self::ToolDone,
        Self::ResultUncommitted,
        Self::AskedAgain,
        Self::AnswerUncommitted,
    ];

    fn expected(self) -> Expected {
        match self {
            Self::Asked | Self::CallUncommitted | Self::AskedAgain | Self::AnswerUncommitted => {
                Expected { lines: 1, unknown: false, asked: 3 }
            }
            Self::ToolBegun => Expected { lines: 0, unknown: true, asked: 2 },
            Self::ToolDone | Self::ResultUncommitted => Expected { lines: 1, unknown: true, asked: 2 },
        }
    }

    fn arguments(self) -> Value {
        match self {
            Self::ToolBegun | Self::ResultUncommitted => json!({"line": "one", "before": "go"}),
            Self::ToolDone => json!({"line": "one", "after": "go"}),
            _ => json!({"line": "one"}),
        }
    }
}

fn with_tool(provider: &Provider) -> Home {
    let agent = "agent: {engine: echo, restart_drain_timeout: 5}\n";
    let config = Home::config("true", "");
    let config = config.replace(agent, "agent: {trial_tool: notes.txt, restart_drain_timeout: 5}\n");
    let home = Home::with_config(&format!("{config}{}", provider.model_config()));
    let keys = format!("API_SERVER_KEY={}\nCUSTOM_API_KEY=k\n", home::DEFAULT_KEY);
    home.write("default", ".env", &keys);
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

/// Keeps everybody else from writing until it is dropped.
fn lock(home: &Home) -> Connection {
    let db = database(home);
    db.execute_batch("begin immediate").unwrap();
    db
}

fn last_role(body: &Value) -> &str {
    body["messages"].as_array().and_then(|all| all.last()).and_then(|last| last["role"].as_str()).unwrap()
}

fn lines(home: &Home) -> usize {
    home.read("default", "notes.txt").map_or(0, |text| text.lines().count())
}

fn killed_at(point: Point) {
    let provider = Provider::start();
    let home = Arc::new(with_tool(&provider));
    let held: Arc<Mutex<Option<Connection>>> = Arc::default();
    let first: Arc<Mutex<bool>> = Arc::new(Mutex::new(true));
    let (database, locks) = (Arc::clone(&home), Arc::clone(&held));
    provider.answer_with(move |body| {
        let after_tool = last_role(body) == "tool";
        let wanted = match point {
            Point::CallUncommitted => !after_tool,
            Point::AnswerUncommitted => after_tool,
            _ => false,
        };
        let hangs = (point == Point::Asked && !after_tool) || (point == Point::AskedAgain && after_tool);
        if (wanted || hangs) && std::mem::take(&mut *first.lock().unwrap()) {
            if hangs {
                return Reply::Hang;
            }
            *locks.lock().unwrap() = Some(lock(&database));
        }
        if after_tool {
            return Reply::text("all done");
        }
        Reply::Calls(vec![("call_1".to_owned(), "note".to_owned(), point.arguments().to_string())])
    });
    let gateway = Gateway::start(&home);
    assert_eq!(gateway.hook("/webhooks/hook", home::SECRET, "d1", r#"{"text": "x"}"#).status, 202);
    let step = "messages where role = 'assistant' and tool_calls is not null";
    match point {
        Point::Asked => wait::until_true("the model to be asked", || provider.calls().len() == 1),
        Point::CallUncommitted | Point::AnswerUncommitted => {
            wait::until_true("the answer that cannot be committed", || held.lock().unwrap().is_some());
        }
        Point::ToolBegun => wait::until_true("the call to be committed", || count(&home, step) == 1),
        Point::ToolDone => wait::until_true("the tool to have done it", || lines(&home) == 1),
        Point::ResultUncommitted => {
            wait::until_true("the call to be committed", || count(&home, step) == 1);
            *held.lock().unwrap() = Some(lock(&home));
            home.write("default", "go", "");
            wait::until_true("the tool to have done it", || lines(&home) == 1);
        }
        Point::AskedAgain => wait::until_true("the model to be asked again", || provider.calls().len() == 2),
    }
    process::signal(gateway.worker("default"), Signal::SIGKILL);
    drop(held.lock().unwrap().take());

    wait::until_true("the answer", || count(&home, "hermes_inbox where state = 'done'") == 1);
    let Expected { lines: ran, unknown, asked } = point.expected();
    assert_eq!(lines(&home), ran, "{point:?}");
    let calls = provider.calls();
    assert_eq!(calls.len(), asked, "{point:?}");
    let told = calls.last().unwrap().body["messages"].as_array().unwrap().clone();
    let roles: Vec<_> = told.iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool"], "{point:?}");
    assert_eq!(told[3]["tool_call_id"], told[2]["tool_calls"][0]["id"], "{point:?}");
    let result: Value = serde_json::from_str(told[3]["content"].as_str().unwrap()).unwrap();
    if unknown {
        assert!(result["error"].as_str().unwrap().contains("unknown"), "{point:?}: {result}");
    } else {
        assert_eq!(result, json!({"appended": "one"}), "{point:?}");
    }
    for (what, number) in [
        ("messages where role = 'user'", 1),
        (step, 1),
        ("messages where role = 'tool' and tool_call_id = 'call_1' and tool_name = 'note'", 1),
        ("messages where role = 'assistant' and finish_reason = 'stop' and content = 'all done'", 1),
        ("messages", 4),
        ("sessions where message_count = 4 and tool_call_count = 1", 1),
        ("hermes_lease", 0),
    ] {
        assert_eq!(count(&home, what), number, "{point:?}: {what}");
    }
    let again = gateway.hook("/webhooks/hook", home::SECRET, "d1", r#"{"text": "x"}"#);
    assert_eq!(again.status, 200, "{point:?}: still known");
}

/// D12: `kill -9` at every step.
#[test]
fn d12_a_turn_goes_on_from_its_last_step_wherever_its_worker_was_killed() {
    for point in Point::ALL {
        killed_at(point);
    }
}

/// D19: a client gets the answer that comes after the tools, with what all calls cost; in a stream what was said before them stands apart.
#[test]
fn d19_a_client_is_answered_after_the_tools() {
    let provider = Provider::start();
    let home = with_tool(&provider);
    provider.answer_with(|body| match last_role(body) {
        "tool" => Reply::text("all done"),
        _ => Reply::Calls(vec![("call_1".to_owned(), "note".to_owned(), r#"{"line": "x"}"#.to_owned())]),
    });
    let gateway = Gateway::start(&home);
    let answer = gateway.chat("", home::DEFAULT_KEY, "go").json();
    assert_eq!(answer["choices"][0]["message"], json!({"role": "assistant", "content": "all done"}));
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(answer["usage"], json!({"prompt_tokens": 22, "completion_tokens": 10, "total_tokens": 32}));
    let offered = &provider.calls()[0].body["tools"];
    assert!(offered.as_array().unwrap().iter().any(|tool| tool["function"]["name"] == "note"), "{offered}");
    let key = format!("Bearer {}", home::DEFAULT_KEY);
    let body = r#"{"stream": true, "messages": [{"role": "user", "content": "go"}]}"#;
    let text =
        gateway.api("POST", "/v1/chat/completions", &[("Authorization", &key)], body.as_bytes()).text();
    assert!(text.contains(r#"{"content":"\n\nall done"}"#), "{text}");
    assert_eq!(lines(&home), 2);

    // A client that brings tools gets its own, and runs them itself.
    let body = r#"{"tools": [{"type": "function", "function": {"name": "note", "parameters": {}}}],
        "messages": [{"role": "user", "content": "go"}]}"#;
    let answer =
        gateway.api("POST", "/v1/chat/completions", &[("Authorization", &key)], body.as_bytes()).json();
    assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls", "{answer}");
    assert_eq!(lines(&home), 2);
}
