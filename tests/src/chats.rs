//! What tests of all chat platforms look at: the built-in agent's answer, also a slow one, a model that asks, a connection in the status, the
//! log, and rows of `state.db`.

use std::sync::{Arc, Mutex};

use rusqlite::types::FromSql;
use serde_json::{Value, json};

use crate::gateway::{Gateway, both, run};
use crate::home::Home;
use crate::provider::{Provider, Reply};
use crate::wait;

/// For the end of a configuration: answers are shown while they are made, and often.
pub const STREAMING: &str = "streaming: {enabled: true, edit_interval: 0.1}\n";

/// A configuration whose built-in agent takes so many milliseconds for every word.
pub fn slow(config: &str, delay: u32) -> String {
    config.replacen("engine: echo", &format!("engine: echo, echo_delay_ms: {delay}"), 1)
}

/// So many words, no two of them the same.
pub fn words(count: usize) -> String {
    (0..count).map(|n| format!("word{n}")).collect::<Vec<_>>().join(" ")
}

/// What the built-in agent answers.
pub fn echo(text: &str) -> String {
    format!("echo (not a model): {text}")
}

/// From now on the model wants a command that needs an approval, and says `all done` to what comes of it; which is what is given back.
pub fn wants_a_command(provider: &Provider) -> Arc<Mutex<Vec<String>>> {
    let results: Arc<Mutex<Vec<String>>> = Arc::default();
    let told = Arc::clone(&results);
    provider.answer_with(move |body| {
        let last = body["messages"].as_array().unwrap().last().unwrap().clone();
        if last["role"] == "tool" {
            told.lock().unwrap().push(last["content"].to_string());
            return Reply::text("all done");
        }
        let given = json!({"command": "git reset --hard; echo ran >> log"});
        Reply::Calls(vec![("call_1".to_owned(), "terminal".to_owned(), given.to_string())])
    });
    results
}

/// From now on the model asks a question with two choices, and repeats what it is told.
pub fn asks_where_to(provider: &Provider) {
    provider.answer_with(|body| {
        let last = body["messages"].as_array().unwrap().last().unwrap().clone();
        if last["role"] == "tool" {
            let result: Value = serde_json::from_str(last["content"].as_str().unwrap()).unwrap();
            return Reply::text(&format!("so: {}", result["user_response"].as_str().unwrap()));
        }
        let given = json!({"question": "Where to?", "choices": ["staging, as ever", "production"]});
        Reply::Calls(vec![("call_1".to_owned(), "clarify".to_owned(), given.to_string())])
    });
}

/// State and code of a profile's connection, as status says them.
pub fn connection(gateway: &Gateway<'_>, profile: &str, platform: &str) -> (String, String) {
    let found = gateway.profile(profile).platforms.get(platform).cloned();
    found.map(|found| (found.state, found.error_code.unwrap_or_default())).unwrap_or_default()
}

/// The default profile's log.
pub fn log(home: &Home) -> String {
    home.read("default", "logs/gateway.log").unwrap_or_default()
}

/// The default profile's ledger: state of each row, and whether it may have arrived twice.
pub fn ledger(home: &Home) -> Vec<(String, bool)> {
    let db = rusqlite::Connection::open(home.of("default").join("state.db")).unwrap();
    let mut rows = db.prepare("SELECT state, ambiguous FROM hermes_delivery ORDER BY id").unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

/// Waits until the default profile's ledger has so many rows, and all of them are done.
pub fn wait_done(home: &Home, rows: usize) {
    wait::until_true("the ledger to be done", || {
        let all = ledger(home);
        all.len() == rows && all.iter().all(|row| row.0 == "done")
    });
}

/// The ledger with the tries between.
pub fn tries(home: &Home) -> Vec<(String, u32, bool)> {
    let db = rusqlite::Connection::open(home.of("default").join("state.db")).unwrap();
    let mut rows = db.prepare("SELECT state, attempts, ambiguous FROM hermes_delivery ORDER BY id").unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

/// The keys of the default profile's sessions of a platform, in order.
pub fn sessions(home: &Home, platform: &str) -> Vec<String> {
    let of = format!("SELECT DISTINCT session_key FROM sessions WHERE source = '{platform}' ORDER BY 1");
    column(home, &of)
}

/// The first column of what a query of the default profile's `state.db` finds.
pub fn column<T: FromSql>(home: &Home, select: &str) -> Vec<T> {
    let db = rusqlite::Connection::open(home.of("default").join("state.db")).unwrap();
    let mut rows = db.prepare(select).unwrap();
    let rows = rows.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

/// What asking the default profile's account came to, as every command says it that asks.
#[derive(Debug)]
pub struct Asked {
    /// `fine`, `lacking`, `unreachable`, `not_asked`.
    pub verdict: String,
    /// Who answered, or why nobody did.
    pub message: String,
    /// What is missing, with what to do: `what` and `fix`, and whether nothing works without it.
    pub lacks: Vec<(String, String, bool)>,
    /// All that was printed, by all of them.
    pub printed: String,
}

impl Asked {
    /// Whether something is missing that `what` is in, with a fix that `fix` is in.
    pub fn lacks(&self, what: &str, fix: &str) -> bool {
        self.lacks.iter().any(|(found, next, _)| found.contains(what) && next.contains(fix))
    }
}

/// Asks the account of the default profile: `hermes setup --check` and `hermes doctor --online`, in words and for programs, which all have to say
/// the same.
pub fn ask(home: &Home, platform: &str) -> Asked {
    let setup = ["setup", "--platform", platform, "--check"];
    let (words, programs) = (run(home, &setup), run(home, &[&setup[..], &["--json"]].concat()));
    let said: Value =
        serde_json::from_slice(&programs.stdout).unwrap_or_else(|_| panic!("{}", both(&programs)));
    let check = &said["check"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let lacks = check["lacks"].as_array().cloned().unwrap_or_default();
    let lacks = lacks
        .iter()
        .map(|lack| (text(&lack["what"]), text(&lack["fix"]), lack["is_needed"] == true))
        .collect();
    let asked = Asked {
        verdict: text(&check["verdict"]),
        message: text(&check["message"]),
        lacks,
        printed: String::new(),
    };
    let shown = both(&words);
    assert!(shown.contains(&asked.message), "{asked:?}: {shown}");
    let code = i32::from(asked.verdict != "fine");
    assert_eq!((words.status.code(), programs.status.code()), (Some(code), Some(code)), "{shown}");
    let doctor = ["doctor", "--online", "-p", "default"];
    let (words, programs) = (run(home, &doctor), run(home, &[&doctor[..], &["--json"]].concat()));
    let found: Value =
        serde_json::from_slice(&programs.stdout).unwrap_or_else(|_| panic!("{}", both(&programs)));
    let findings: Vec<&Value> =
        found["findings"].as_array().unwrap().iter().filter(|one| one["code"] == "platform").collect();
    let fails = findings.iter().any(|one| one["grade"] == "failure");
    assert_eq!(fails, matches!(asked.verdict.as_str(), "lacking" | "unreachable"), "{findings:?}");
    let advised = both(&words);
    for (what, fix, is_needed) in &asked.lacks {
        let grade = if *is_needed { "failure" } else { "warning" };
        let is_it = |one: &&Value| {
            one["grade"] == grade && one["fix"] == fix.as_str() && text(&one["message"]).ends_with(what)
        };
        assert!(findings.iter().any(is_it), "{what}: {findings:?}");
        for printed in [&shown, &advised] {
            assert!(printed.contains(what) && printed.contains(fix), "{what}: {printed}");
        }
    }
    if asked.verdict != "lacking" {
        assert!(findings.iter().any(|one| text(&one["message"]).contains(&asked.message)), "{findings:?}");
    }
    Asked { printed: format!("{shown}{said}{advised}{found}"), ..asked }
}
