//! Whether a dangerous command may run: a model that looks first, somebody at a terminal, and what the status says of who waits.

use std::sync::{Arc, Mutex};

use hermes_tests::gateway::{both, run};
use hermes_tests::provider::{Provider, Reply};
use hermes_tests::terminal::Terminal;
use hermes_tests::{Gateway, Home, home, wait};
use serde_json::{Value, json};

/// What a profile would be asked about.
const COMMAND: &str = "git init -q . 2>/dev/null; git reset --hard; echo ran >> log";

fn furnished(provider: &Provider, more: &str) -> Home {
    let agent = "agent: {engine: echo, restart_drain_timeout: 5}\n";
    let config = Home::config("true", "").replace(agent, "agent: {restart_drain_timeout: 5}\n");
    let home = Home::with_config(&format!("{config}{}{more}", provider.whole_config()));
    home.write(
        "default",
        ".env",
        &format!("API_SERVER_KEY={}\nCUSTOM_API_KEY=k-provider\n", home::DEFAULT_KEY),
    );
    home
}

/// A model that calls the terminal once and then answers, and that looks at commands as `look` says. Gives what it was told of results.
fn model(
    provider: &Provider,
    command: &'static str,
    look: impl Fn(&Value) -> Reply + Send + 'static,
) -> Arc<Mutex<Vec<Value>>> {
    let results: Arc<Mutex<Vec<Value>>> = Arc::default();
    let told = Arc::clone(&results);
    provider.answer_with(move |body| {
        let messages = body["messages"].as_array().unwrap();
        let system = messages[0]["content"].as_str().unwrap_or_default();
        let last = messages.last().unwrap();
        let text = last["content"].as_str().unwrap_or_default();
        if system.starts_with("You decide whether an agent may run") {
            return look(&serde_json::from_str(text).unwrap());
        }
        if last["role"] == "tool" {
            told.lock().unwrap().push(serde_json::from_str(text).unwrap());
            return Reply::text("all done");
        }
        Reply::Calls(vec![("call_1".into(), "terminal".into(), json!({"command": command}).to_string())])
    });
    results
}

fn call(gateway: &Gateway<'_>, method: &str, path: &str, body: &Value) -> Value {
    let key = format!("Bearer {}", home::DEFAULT_KEY);
    gateway.api(method, path, &[("Authorization", &key)], body.to_string().as_bytes()).json()
}

/// Begins a run, and waits until it is over or asks.
fn begin(gateway: &Gateway<'_>) -> (String, Value) {
    let id =
        call(gateway, "POST", "/v1/runs", &json!({"input": "go"}))["run_id"].as_str().unwrap().to_owned();
    let run = wait::until("the run to ask, or to end", || {
        let run = call(gateway, "GET", &format!("/v1/runs/{id}"), &Value::Null);
        let asks = run["status"] == "waiting_for_approval" && run["last_event"] == "approval.request";
        (asks || run["status"] == "completed").then_some(run)
    });
    (id, run)
}

/// `approvals.mode: smart`: only a clear word lets a command run; anything else, a failure and silence ask; what the model doubts is
/// allowed this once or not at all; what is grave is never looked at.
#[test]
fn a_model_that_looks_first_lets_run_what_it_clearly_approves_and_nothing_else() {
    let provider = Provider::start();
    let auxiliary =
        "auxiliary: {title_generation: {enabled: false}, transient_retries: 0, approval: {timeout: 2}}\n";
    let home = furnished(&provider, &format!("{auxiliary}approvals: {{mode: smart, timeout: 60}}\n"));
    let gateway = Gateway::start(&home);
    let ran = || home.read("default", "workspace/log").map_or(0, |text| text.lines().count());

    model(&provider, COMMAND, |case| {
        assert_eq!(case["command"], COMMAND);
        assert!(case["danger"].as_str().unwrap().contains("git"), "{case}");
        Reply::text("APPROVE")
    });
    let (_, run) = begin(&gateway);
    assert_eq!((&run["status"], ran()), (&json!("completed"), 1), "{run}");

    let all = json!(["once", "session", "always", "deny"]);
    let asks: [(&str, Reply, Value); 5] = [
        ("doubts", Reply::text("DENY"), json!(["once", "deny"])),
        ("talks", Reply::text("APPROVE, because it asked so nicely"), all.clone()),
        ("asks", Reply::text("ASK"), all.clone()),
        ("fails", Reply::error(500, "no"), all.clone()),
        ("hangs", Reply::Hang, all),
    ];
    for (what, reply, choices) in asks {
        model(&provider, COMMAND, move |_| reply.clone());
        let (id, run) = begin(&gateway);
        assert_eq!(run["status"], "waiting_for_approval", "{what}: {run}");
        let path = format!("/v1/runs/{id}");
        assert_eq!(
            call(&gateway, "POST", &format!("{path}/approval"), &json!({"choice": "deny"}))["resolved"],
            1
        );
        wait::until_true("the run to end", || {
            call(&gateway, "GET", &path, &Value::Null)["status"] == "completed"
        });
        let key = format!("Bearer {}", home::DEFAULT_KEY);
        let log = gateway.api("GET", &format!("{path}/events"), &[("Authorization", &key)], b"").text();
        assert!(log.contains(&format!("\"choices\":{choices}")), "{what}: {log}");
        assert_eq!(ran(), 1, "{what}");
    }

    model(&provider, "rm -rf /", |_| Reply::text("APPROVE"));
    let calls = provider.calls().len();
    let (id, run) = begin(&gateway);
    assert_eq!(run["status"], "waiting_for_approval", "{run}");
    assert_eq!(provider.calls().len(), calls + 1, "nobody looks at what is grave");
    call(&gateway, "POST", &format!("/v1/runs/{id}/approval"), &json!({"choice": "deny"}));
}

/// Who waits for an approval is in every view of the status, and what is asked in none.
#[test]
fn the_status_says_how_many_wait_for_an_approval_and_not_for_what() {
    let provider = Provider::start();
    let more = "auxiliary: {title_generation: {enabled: false}}\napprovals: {mode: manual, timeout: 60}\n";
    let home = furnished(&provider, more);
    model(&provider, COMMAND, |_| Reply::text("ASK"));
    let gateway = Gateway::start(&home);
    let (first, _) = begin(&gateway);
    begin(&gateway);
    let approvals = wait::until("both in the status", || {
        gateway.profile("default").approvals.filter(|approvals| approvals.waiting == 2)
    });
    assert!(approvals.since.ends_with("+00:00"), "{approvals:?}");
    let detailed = call(&gateway, "GET", "/health/detailed", &Value::Null);
    assert_eq!(
        (&detailed["approvals"]["pending"], &detailed["approvals"]["since"]),
        (&json!(2), &json!(approvals.since))
    );
    let human = both(&run(&home, &["status"]));
    assert!(human.contains("default: 2 turns wait for somebody's approval, for "), "{human}");
    let one = both(&run(&home, &["status", "-p", "default"]));
    assert!(one.contains("2 turns wait for somebody's approval"), "{one}");
    let file = home.read("default", "runtime_status.json").unwrap();
    for view in [&human, &file, &detailed.to_string(), &both(&run(&home, &["status", "--json"]))] {
        assert!(!view.contains("git reset"), "{view}");
    }
    call(&gateway, "POST", &format!("/v1/runs/{first}/approval"), &json!({"choice": "deny"}));
    wait::until_true("one to wait", || {
        gateway.profile("default").approvals.is_some_and(|approvals| approvals.waiting == 1)
    });
}

/// Somebody at a terminal is asked there, by the gateway's worker and by one of the command's own; an empty line is no
/// answer, and an end of the input is a no.
#[test]
fn somebody_at_a_terminal_is_asked_there() {
    let provider = Provider::start();
    let more = "auxiliary: {title_generation: {enabled: false}}\napprovals: {mode: manual, timeout: 60}\n";
    let home = furnished(&provider, more);
    let results = model(&provider, COMMAND, |_| Reply::text("ASK"));
    let ran = || home.read("default", "workspace/log").map_or(0, |text| text.lines().count());
    let prompt = "[o]nce [s]ession [a]lways [d]eny > ";
    let ask = |keys: &str| {
        let mut terminal = Terminal::run(&home, "hermes chat -q go; echo code=$?");
        terminal.wait_for(prompt, 1);
        assert!(terminal.screen().contains("git reset --hard"), "{}", terminal.screen());
        terminal.keys("\n");
        terminal.wait_for(prompt, 2);
        terminal.keys(keys);
        terminal.wait_for("code=", 1);
        let screen = terminal.screen();
        assert!(screen.contains("all done") && screen.contains("code=0"), "{screen}");
        results.lock().unwrap().pop().unwrap()
    };
    assert_eq!(ask("d\n")["status"], "denied");
    assert_eq!(ran(), 0);
    ask("o\n");
    assert_eq!(ran(), 1);
    assert_eq!(ask("\u{4}")["status"], "denied");

    let gateway = Gateway::start(&home);
    ask("once\n");
    assert_eq!(ran(), 2);
    // Off a terminal nobody is there.
    let output = run(&home, &["chat", "-Q", "-q", "go"]);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    assert_eq!(results.lock().unwrap().pop().unwrap()["status"], "nobody");
    assert_eq!(ran(), 2);
    drop(gateway);
}

/// Ctrl-C at the question ends the turn, and nothing runs.
#[test]
fn whoever_leaves_at_the_question_ends_the_turn() {
    let provider = Provider::start();
    let more = "auxiliary: {title_generation: {enabled: false}}\napprovals: {mode: manual, timeout: 60}\n";
    let home = furnished(&provider, more);
    model(&provider, COMMAND, |_| Reply::text("ASK"));
    let gateway = Gateway::start(&home);
    let mut terminal = Terminal::run(&home, "trap : INT; hermes chat -q go; echo code=$?");
    terminal.wait_for("[d]eny > ", 1);
    terminal.keys("\u{3}");
    terminal.wait_for("code=130", 1);
    wait::until_true("nobody to wait", || gateway.profile("default").approvals.is_none());
    assert_eq!(home.read("default", "workspace/log"), None);
}
