//! Runs of the API through a real gateway: read later, from elsewhere, over swaps and crashes, and by nobody else.

use std::sync::{Arc, Mutex};

use hermes_tests::provider::{Provider, Reply};
use hermes_tests::{Gateway, Home, home, http, process, wait};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// A default profile that talks to `provider`, and time to end a turn in.
fn furnished(provider: &Provider, more: &str) -> Home {
    let agent = "agent: {engine: echo, restart_drain_timeout: 5}\n";
    let config = Home::config("true", "").replace(agent, "agent: {restart_drain_timeout: 60}\n");
    let home = Home::with_config(&format!("{config}{}{more}", provider.model_config()));
    home.write(
        "default",
        ".env",
        &format!("API_SERVER_KEY={}\nCUSTOM_API_KEY=k-provider\n", home::DEFAULT_KEY),
    );
    home
}

/// Calls the terminal for `command` once, then answers; gives the results that it was told.
fn commands(provider: &Provider, command: &'static str) -> Arc<Mutex<Vec<String>>> {
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&told);
    provider.answer_with(move |body| {
        let messages = body["messages"].as_array().unwrap();
        match messages.last().unwrap() {
            last if last["role"] == "tool" => {
                seen.lock().unwrap().push(last["content"].as_str().unwrap().to_owned());
                Reply::text("all done")
            }
            _ => Reply::Calls(vec![(
                "call_1".into(),
                "terminal".into(),
                json!({"command": command}).to_string(),
            )]),
        }
    });
    told
}

struct Api<'a> {
    gateway: &'a Gateway<'a>,
    prefix: &'static str,
    key: String,
}

impl<'a> Api<'a> {
    fn new(gateway: &'a Gateway<'a>) -> Self {
        Self { gateway, prefix: "", key: home::DEFAULT_KEY.to_owned() }
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> http::Response {
        let key = format!("Bearer {}", self.key);
        self.gateway.api(
            method,
            &format!("{}/v1/runs{path}", self.prefix),
            &[("Authorization", &key)],
            body.to_string().as_bytes(),
        )
    }

    fn submit(&self, body: &Value) -> String {
        let answer = self.call("POST", "", body);
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.json()["run_id"].as_str().unwrap().to_owned()
    }

    fn status(&self, id: &str) -> Value {
        let answer = self.call("GET", &format!("/{id}"), &Value::Null);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    fn wait(&self, id: &str, status: &str) -> Value {
        wait::until(&format!("the run to be {status}"), || {
            Some(self.status(id)).filter(|run| run["status"] == status)
        })
    }

    /// Everything that happened, read to its end.
    fn events(&self, id: &str) -> Vec<Value> {
        let answer = self.call("GET", &format!("/{id}/events"), &Value::Null);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().ends_with(": stream closed\n\n"), "{}", answer.text());
        data(&answer.text())
    }

    fn approve(&self, id: &str, choice: &str) -> http::Response {
        self.call("POST", &format!("/{id}/approval"), &json!({"choice": choice}))
    }
}

fn data(text: &str) -> Vec<Value> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().unwrap()).collect()
}

/// 54: what one profile has under an id no other one has: not by its own key, not by any other; read, events, stop, approval. What is
/// tried elsewhere changes nothing.
#[test]
fn c54_ids_of_one_profile_are_unknown_to_every_other() {
    let provider = Provider::start();
    let home = furnished(&provider, "approvals: {mode: manual, timeout: 60}\n");
    home.profile("coder").profile("ops");
    commands(&provider, "git reset --hard");
    let gateway = Gateway::start(&home);
    gateway.wait_ready("coder");
    gateway.wait_ready("ops");
    let own = Api::new(&gateway);
    let id = own.submit(&json!({"input": "go", "session_id": "s"}));
    own.wait(&id, "waiting_for_approval");
    let others = [("/p/coder", Home::key("coder")), ("/p/ops", Home::key("ops"))];
    for (prefix, key) in others {
        let other = Api { gateway: &gateway, prefix, key };
        for (method, path) in [
            ("GET", format!("/{id}")),
            ("GET", format!("/{id}/events")),
            ("POST", format!("/{id}/stop")),
            ("POST", format!("/{id}/approval")),
            ("POST", format!("/{id}/steer")),
        ] {
            let answer = other.call(method, &path, &json!({"choice": "once", "input": "x"}));
            let error = &answer.json()["error"];
            assert_eq!((answer.status, &error["code"]), (404, &json!("run_not_found")), "{prefix} {path}");
            assert!(!answer.text().contains("git reset"), "{}", answer.text());
        }
        // Its own key opens no other's door.
        let stranger = Api { gateway: &gateway, prefix, key: home::DEFAULT_KEY.to_owned() };
        assert_eq!(stranger.call("GET", &format!("/{id}"), &Value::Null).status, 401);
        // What there is elsewhere under the same session's name is another session.
        let theirs = other.submit(&json!({"input": "mine", "session_id": "s"}));
        assert_eq!(other.wait(&theirs, "completed")["output"], "echo (not a model): mine");
        assert_eq!(own.call("GET", &format!("/{theirs}"), &Value::Null).status, 404);
        assert_eq!(own.call("POST", &format!("/{theirs}/stop"), &Value::Null).status, 404);
    }
    assert_eq!(own.status(&id)["status"], "waiting_for_approval");
    let same = Api { gateway: &gateway, prefix: "/p/default", key: home::DEFAULT_KEY.to_owned() };
    assert_eq!(same.approve(&id, "deny").status, 200);
    assert_eq!(own.wait(&id, "completed")["output"], "all done");
}

/// A run asks by its events; who answers need not be who began it. Steps, questions and the end are in the log, for everybody who reads it.
#[test]
fn d19_a_run_is_asked_for_read_and_answered_by_different_clients() {
    let provider = Provider::start();
    let home = furnished(&provider, "approvals: {mode: manual, timeout: 60}\n");
    let told = commands(&provider, "git init -q . 2>/dev/null; git reset --hard; echo ran >> log");
    let gateway = Gateway::start(&home);
    let api = Api::new(&gateway);
    let id = api.submit(&json!({"input": "go"}));
    api.wait(&id, "waiting_for_approval");
    wait::until_true("the question in the log", || api.status(&id)["last_event"] == "approval.request");
    assert_eq!(api.approve(&id, "perhaps").json()["error"]["code"], "invalid_approval_choice");
    let answered = api.approve(&id, "once");
    assert_eq!(
        (answered.status, answered.json()),
        (
            200,
            json!({"object": "hermes.run.approval_response", "run_id": id, "choice": "once", "resolved": 1})
        )
    );
    let run = api.wait(&id, "completed");
    assert_eq!(
        (&run["output"], &run["usage"]),
        (&json!("all done"), &json!({"input_tokens": 22, "output_tokens": 10, "total_tokens": 32}))
    );
    let events = api.events(&id);
    assert_eq!(
        names(&events),
        [
            "tool.started",
            "approval.request",
            "approval.responded",
            "tool.completed",
            "message.delta",
            "run.completed"
        ]
    );
    assert!(events[0]["preview"].as_str().unwrap().starts_with("git init"), "{}", events[0]);
    assert_eq!((&events[1]["pattern_keys"], &events[1]["run_id"]), (&json!(["git"]), &json!(id)));
    assert_eq!((&events[3]["tool"], &events[3]["error"]), (&json!("terminal"), &json!(false)));
    assert_eq!(home.read("default", "workspace/log").unwrap(), "ran\n");
    assert_eq!(told.lock().unwrap().len(), 1);
    assert_eq!(api.events(&id), events);
    assert_eq!(api.approve(&id, "once").json()["error"]["code"], "approval_not_active");
}

/// A swap of the worker: the run ends where it is, its readers come back to the new worker and miss nothing, and it is answered and stopped
/// from there.
#[test]
fn d7_a_run_outlives_a_swap_and_is_read_and_answered_through_it() {
    let provider = Provider::start();
    let home = furnished(&provider, "approvals: {mode: manual, timeout: 60}\n");
    commands(&provider, "git reset --hard");
    let gateway = Gateway::start(&home);
    let api = Api::new(&gateway);
    let (id, stopped) = (api.submit(&json!({"input": "go"})), api.submit(&json!({"input": "never"})));
    api.wait(&id, "waiting_for_approval");
    api.wait(&stopped, "waiting_for_approval");
    let old = gateway.worker("default");
    let config = home.read("default", "config.yaml").unwrap();
    home.write("default", "config.yaml", &format!("{config}# another worker\n"));
    wait::until_true("another worker to serve", || gateway.worker("default") != old);
    assert!(process::is_alive(old), "it has turns to end");
    // Asked of the new worker, which runs neither.
    assert_eq!(api.status(&id)["status"], "waiting_for_approval");
    assert_eq!(api.call("POST", &format!("/{stopped}/stop"), &Value::Null).status, 200);
    assert_eq!(api.approve(&id, "deny").status, 200);
    assert_eq!(api.wait(&id, "completed")["output"], "all done");
    api.wait(&stopped, "cancelled");
    assert_eq!(names(&api.events(&stopped)).last(), Some(&"run.cancelled"));
    let events = api.events(&id);
    assert_eq!(names(&events).last(), Some(&"run.completed"));
    assert!(!names(&events).contains(&"run.resumed"), "{events:?}");
}

/// A run is told something while it waits for an approval, by a worker that does not run it: the model reads it behind the tool's result,
/// between the marks that its prompt names. What is over, what is no text and what is too much is refused.
#[test]
fn d19_a_run_is_steered_from_another_worker() {
    let provider = Provider::start();
    let home = furnished(&provider, "approvals: {mode: manual, timeout: 60}\n");
    let told = commands(&provider, "git init -q . 2>/dev/null; git reset --hard; echo ran");
    let gateway = Gateway::start(&home);
    let api = Api::new(&gateway);
    let steer = |id: &str, body: &Value| api.call("POST", &format!("/{id}/steer"), body);
    let id = api.submit(&json!({"input": "go"}));
    api.wait(&id, "waiting_for_approval");
    let old = gateway.worker("default");
    let config = home.read("default", "config.yaml").unwrap();
    home.write("default", "config.yaml", &format!("{config}# another worker\n"));
    wait::until_true("another worker to serve", || gateway.worker("default") != old);
    for (body, status, code) in [
        (json!({}), 400, "invalid_steer_input"),
        (json!({"input": " "}), 400, "invalid_steer_input"),
        (json!({"input": "x".repeat(70_000)}), 413, "body_too_large"),
        (json!({"input": "x", "urgent": true}), 400, "unsupported_parameter"),
    ] {
        let answer = steer(&id, &body);
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (status, &json!(code)));
    }
    let steered = steer(&id, &json!({"input": "leave the drafts alone"}));
    let expected = json!({"object": "hermes.run.steer", "run_id": id, "accepted": true, "status": "queued"});
    assert_eq!((steered.status, steered.json()), (200, expected));
    assert_eq!(api.status(&id)["pending_steer"], "leave the drafts alone");
    assert_eq!(api.approve(&id, "once").status, 200);
    let run = api.wait(&id, "completed");
    assert!(run.get("pending_steer").is_none(), "{run}");
    assert!(names(&api.events(&id)).contains(&"run.steered"));
    let told = told.lock().unwrap();
    let (_, out_of_band) = told[0].split_once("\n\n[OUT-OF-BAND USER MESSAGE ").unwrap();
    let word = out_of_band.split(' ').next().unwrap();
    let end = format!("\nleave the drafts alone\n[/OUT-OF-BAND USER MESSAGE {word}]");
    assert!(told[0].ends_with(&end), "{told:?}");
    let system = provider.calls()[0].body["messages"][0]["content"].as_str().unwrap().to_owned();
    assert!(system.contains(&format!("[/OUT-OF-BAND USER MESSAGE {word}]")), "{system}");
    let late = steer(&id, &json!({"input": "and more"}));
    assert_eq!((late.status, &late.json()["error"]["code"]), (409, &json!("run_not_accepting_steer")));
}

/// A worker that dies costs no run: it goes on from its last step, and says so; what came before is still there. A key that was used
/// holds over it.
#[test]
fn d12_a_run_survives_its_worker() {
    let provider = Provider::start();
    let home = furnished(&provider, "");
    let gateway = Gateway::start(&home);
    let key = format!("Bearer {}", home::DEFAULT_KEY);
    let submit = || {
        let headers = [("Authorization", key.as_str()), ("Idempotency-Key", "order-7")];
        gateway.api("POST", "/v1/runs", &headers, br#"{"input": "go"}"#)
    };
    provider.script([Reply::Endless]);
    let first = submit();
    let id = first.json()["run_id"].as_str().unwrap().to_owned();
    let api = Api::new(&gateway);
    wait::until_true("a piece of the answer", || api.status(&id)["last_event"] == "message.delta");
    let worker = gateway.worker("default");
    process::signal(worker, Signal::SIGKILL);
    gateway.wait_replaced("default", worker);
    let run = api.wait(&id, "completed");
    assert_eq!(run["output"], "pong");
    let events = api.events(&id);
    assert_eq!(names(&events)[0], "message.delta");
    assert_eq!(names(&events)[names(&events).len() - 3..], ["run.resumed", "message.delta", "run.completed"]);
    let again = submit();
    assert_eq!((again.status, again.header("idempotency-replayed")), (202, Some("true")));
    assert_eq!(again.json(), first.json());
    assert_eq!(provider.calls().len(), 2);
}

/// A provider that fails ends the run, with what it said; nothing is tried again for hours, and it is no dead letter.
#[test]
fn a_run_that_fails_says_why() {
    let provider = Provider::start();
    let home = furnished(&provider, "");
    provider.script([Reply::error(401, "no such key here")]);
    let gateway = Gateway::start(&home);
    let api = Api::new(&gateway);
    let id = api.submit(&json!({"input": "go"}));
    let run = api.wait(&id, "failed");
    assert!(run["error"].as_str().unwrap().contains("no such key here"), "{run}");
    assert!(run.get("output").is_none());
    let events = api.events(&id);
    assert_eq!(names(&events), ["run.failed"]);
    assert_eq!(events[0]["error"], run["error"]);
    let detailed = gateway.get("/health/detailed", home::DEFAULT_KEY).json();
    assert_eq!(detailed["inbox"]["failed"], 0, "{detailed}");
    let missed = format!("run_{}", "f".repeat(32));
    assert_eq!(api.call("GET", &format!("/{missed}/events"), &Value::Null).status, 404);
}
