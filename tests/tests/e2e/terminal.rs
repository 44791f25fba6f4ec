//! D12, D19, D20: a model runs commands in a real gateway: what they see, how they end, who is asked, what outlives what.

use std::sync::{Arc, Mutex};

use hermes_tests::chat::Chat;
use hermes_tests::provider::{Provider, Reply};
use hermes_tests::{Gateway, Home, home, http, process, wait};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// Secrets of the profile's own `.env`, under a name that says so and one that does not, and of another profile's.
const OWN: &str = "canary-of-default-7f3a";
const PLAIN: &str = "zq9wkx4tplm2vv81";
const OTHER: &str = "canary-of-other-91bc";

/// A home whose default profile has a model, and perhaps a chat.
fn furnished(provider: &Provider, chat: Option<&Chat>, more: &str) -> Home {
    let agent = "agent: {engine: echo, restart_drain_timeout: 5}\n";
    let mut config = Home::config("true", "").replace(agent, "agent: {restart_drain_timeout: 5}\n");
    let mut keys = format!("API_SERVER_KEY={}\nCUSTOM_API_KEY={OWN}\nLUNCH={PLAIN}\n", home::DEFAULT_KEY);
    if let Some(chat) = chat {
        config = config.replacen("platforms:\n", &format!("platforms:\n  {}\n", chat.section("")), 1);
        keys.push_str(&Chat::env());
    }
    let home = Home::with_config(&format!("{config}{}{more}", provider.model_config()));
    home.write("default", ".env", &keys);
    home.profile("other");
    let keys = format!("API_SERVER_KEY={}\nOPENAI_API_KEY={OTHER}\n", Home::key("other"));
    home.write("other", ".env", &keys);
    home
}

/// What tools have answered, as the model was told at last.
type Told = Arc<Mutex<Vec<String>>>;

/// Has the calls made one after the other in each turn.
fn script(provider: &Provider, calls: &[(&str, Value)]) -> Told {
    let wanted: Vec<(String, String)> =
        calls.iter().map(|(name, arguments)| ((*name).to_owned(), arguments.to_string())).collect();
    let seen = Told::default();
    let told = Arc::clone(&seen);
    provider.answer_with(move |body| {
        let messages = body["messages"].as_array().unwrap();
        let turn = messages.iter().rev().take_while(|message| message["role"] != "user");
        let mut results: Vec<String> = turn
            .filter(|message| message["role"] == "tool")
            .map(|message| message["content"].as_str().unwrap().to_owned())
            .collect();
        results.reverse();
        let done = results.len();
        *told.lock().unwrap() = results;
        match wanted.get(done) {
            Some((name, arguments)) => {
                Reply::Calls(vec![(format!("call_{done}"), name.clone(), arguments.clone())])
            }
            None => Reply::text("all done"),
        }
    });
    seen
}

fn json_of(text: &str) -> Value {
    // What a guardrail says stands behind.
    let text = text.split("\n\n[").next().unwrap();
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn results(told: &Told) -> Vec<Value> {
    told.lock().unwrap().iter().map(|text| json_of(text)).collect()
}

/// The results of calls in one turn of the API.
fn results_of(gateway: &Gateway<'_>, provider: &Provider, calls: &[(&str, Value)]) -> Vec<Value> {
    let told = script(provider, calls);
    let answer = gateway.chat("", home::DEFAULT_KEY, "go").json();
    assert_eq!(answer["choices"][0]["message"]["content"], "all done", "{answer}");
    results(&told)
}

fn command(text: &str) -> (&'static str, Value) {
    ("terminal", json!({"command": text}))
}

fn is_gone(pid: u32) -> bool {
    matches!(process::state(pid), None | Some('Z'))
}

fn pid_in(home: &Home, file: &str) -> Option<u32> {
    home.read("default", &format!("workspace/{file}"))?.trim().parse().ok()
}

/// D20: a command, and a program in the background, see no file of secrets, no other home, no socket and no process of the gateway, and work in
/// their own workspace; Ctrl-C and the like reach them as ever.
#[test]
#[cfg(target_os = "linux")]
fn d20_a_command_is_fenced_in() {
    let provider = Provider::start();
    let home = furnished(&provider, None, "approvals: {mode: 'off'}\nterminal: {fence: require}\n");
    let gateway = Gateway::start(&home);
    let worker = gateway.worker("default");
    let profile = wait::until("the fence to be tried", || {
        Some(gateway.profile("default")).filter(|p| p.fence.as_ref().is_some_and(|f| f.rung.is_some()))
    });
    if profile.fence.as_ref().unwrap().rung.as_deref() == Some("none") {
        hermes_tests::tools::say(&format!("it needs a fence: {}", profile.fence.unwrap().line()));
        return;
    }
    let root = home.root();
    let reads = format!(
        "cat {root}/.env {root}/profiles/other/.env {root}/state.db /proc/{worker}/environ /proc/{}/environ; ls {root}/profiles {root}/../run/hermes/*",
        gateway.pid()
    );
    let found = results_of(
        &gateway,
        &provider,
        &[
            command(&reads),
            command("echo mine > kept; cat kept"),
            (
                "terminal",
                json!({"command": format!("({reads}) >looked 2>&1; echo done >>looked"), "background": true}),
            ),
            command("trap 'echo asked; exit 5' TERM; kill $$; sleep 9"),
        ],
    );
    let said = found[0]["output"].as_str().unwrap();
    assert_ne!(found[0]["exit_code"], 0, "{said}");
    assert!(!said.contains("_KEY=") && !said.contains(OTHER) && !said.contains("sock"), "{said}");
    assert_eq!(
        said.lines().filter(|line| line.contains("No such file") || line.contains("denied")).count(),
        7,
        "{said}"
    );
    assert_eq!(found[1]["output"], "mine\n");
    assert_eq!((&found[3]["output"], &found[3]["exit_code"]), (&json!("asked\n"), &json!(5)));
    let log = wait::until("the program in the background", || {
        home.read("default", "workspace/looked").filter(|text| text.ends_with("done\n"))
    });
    assert!(log.contains("No such file") && !log.contains("_KEY=") && !log.contains(OTHER), "{log}");
}

/// D20: a command sees what it was given and no secret of anybody; what it prints shows none either; it begins where the last one ended.
#[test]
fn d20_a_command_has_a_place_and_an_environment_of_its_own() {
    let provider = Provider::start();
    let home = furnished(&provider, None, "terminal: {env_passthrough: [LUNCH]}\n");
    let gateway = Gateway::start(&home);
    let found = results_of(
        &gateway,
        &provider,
        &[
            command("mkdir -p a/b && cd a/b && echo hi && echo err >&2"),
            command("pwd"),
            command("env | cut -d= -f1 | sort | tr '\\n' ' '"),
            command("env"),
            command("echo $LUNCH | rev; exit 3"),
            ("terminal", json!({"command": "pwd", "workdir": "/"})),
            ("terminal", json!({"command": "cat; echo read"})),
            ("terminal", json!({"command": ""})),
        ],
    );
    let workspace = home.root().join("workspace").canonicalize_utf8().unwrap();
    assert_eq!(found[0]["output"], "hi\nerr\n");
    assert_eq!((&found[0]["exit_code"], &found[0]["error"]), (&json!(0), &Value::Null));
    assert_eq!(found[1]["output"], format!("{workspace}/a/b\n"));
    let names: Vec<&str> = found[2]["output"].as_str().unwrap().split_whitespace().collect();
    for name in
        ["PATH", "HOME", "HERMES_HOME", "HERMES_PROFILE", "HERMES_QUIET", "HERMES_SESSION_ID", "LUNCH"]
    {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    for name in ["API_SERVER_KEY", "CUSTOM_API_KEY", "OPENAI_API_KEY", "LISTEN_FDS", "RUST_LOG"] {
        assert!(!names.contains(&name), "{name} in {names:?}");
    }
    let environment = found[3]["output"].as_str().unwrap();
    assert!(environment.contains("LUNCH=***"), "{environment}");
    // It has the value, and nobody is shown it.
    assert_eq!(found[4]["output"], format!("{}\n", PLAIN.chars().rev().collect::<String>()));
    assert_eq!(found[4]["exit_code"], 3);
    assert_eq!(found[5]["output"], "/\n");
    assert_eq!(found[6]["output"], "read\n");
    assert!(found[7]["error"].as_str().unwrap().contains("empty"), "{}", found[7]);
    for call in provider.calls() {
        let body = call.body.to_string();
        assert!(!body.contains(OWN) && !body.contains(OTHER) && !body.contains(PLAIN), "{body}");
    }
}

/// What a command has started goes with it, however it ends; a flood costs neither memory nor the model.
#[test]
fn d20_a_command_ends_with_all_that_it_started() {
    let provider = Provider::start();
    let home = furnished(&provider, None, "tool_output: {max_bytes: 3000}\n");
    let gateway = Gateway::start(&home);
    let worker = gateway.worker("default");
    let before = process::rss(worker);
    let found = results_of(
        &gateway,
        &provider,
        &[
            ("terminal", json!({"command": "(sleep 600 & echo $! > group) ; sleep 600", "timeout": 1})),
            command("sleep 600 & echo $! > left; echo done"),
            command("setsid sh -c 'echo $$ > away; exec sleep 600' & sleep 0.3; echo done"),
            command("head -c 100000000 /dev/zero | tr '\\0' x; echo; echo the end"),
        ],
    );
    assert_eq!(found[0]["exit_code"], 124, "{}", found[0]);
    assert!(found[0]["error"].as_str().unwrap().contains("longer than 1 s"));
    assert_eq!(found[1]["output"], "done\n");
    assert!(found[1]["note"].as_str().unwrap().contains("was ended"), "{}", found[1]);
    for file in ["group", "left", "away"] {
        let pid = wait::until("its number", || pid_in(&home, file));
        wait::until_true(&format!("what wrote `{file}` to end"), || is_gone(pid));
    }
    let shown = found[3]["output"].as_str().unwrap();
    assert!(
        shown.ends_with("\nthe end\n") && shown.contains("bytes are left out") && shown.len() < 3300,
        "{shown}"
    );
    let grown = process::rss(worker).saturating_sub(before);
    assert!(grown < 16 << 20, "the worker has grown by {grown} bytes");
}

/// A program in the background is fed, looked at and ended by its conversation, and by no other; it ends with its worker, and the next one
/// says that nobody knows how.
#[test]
fn d20_a_program_in_the_background_belongs_to_its_conversation_and_its_worker() {
    let provider = Provider::start();
    let home = furnished(&provider, None, "");
    let gateway = Gateway::start(&home);
    let id: Arc<Mutex<String>> = Arc::default();
    let (known, told) = (Arc::clone(&id), Told::default());
    let seen = Arc::clone(&told);
    let steps = |step: usize, id: &str| -> Option<(&'static str, Value)> {
        let process = |action: &str, more: Value| {
            let mut arguments = json!({"action": action, "session_id": id});
            for (name, value) in more.as_object().unwrap() {
                arguments[name] = value.clone();
            }
            Some(("process", arguments))
        };
        match step {
            0 => Some((
                "terminal",
                json!({"command": "echo $$ > bg; while read x; do echo got $x; done; echo end", "background": true}),
            )),
            1 => process("submit", json!({"data": "one"})),
            2 => process("close", json!({})),
            3 => process("wait", json!({"timeout": 20})),
            4 => process("log", json!({"offset": 1, "limit": 1})),
            5 => Some(("terminal", json!({"command": "echo $$ > second; sleep 600", "background": true}))),
            6 => Some(("process", json!({"action": "list"}))),
            _ => None,
        }
    };
    provider.answer_with(move |body| {
        let messages = body["messages"].as_array().unwrap();
        let results: Vec<String> = messages
            .iter()
            .filter(|message| message["role"] == "tool")
            .map(|message| message["content"].as_str().unwrap().to_owned())
            .collect();
        if let Some(started) = results.last().map(|last| json_of(last)).filter(|last| last["pid"].is_u64()) {
            started["session_id"].as_str().unwrap_or_default().clone_into(&mut known.lock().unwrap());
        }
        let step = results.len();
        *seen.lock().unwrap() = results;
        match steps(step, &known.lock().unwrap()) {
            Some((name, arguments)) => {
                Reply::Calls(vec![(format!("call_{step}"), name.to_owned(), arguments.to_string())])
            }
            None => Reply::text("all done"),
        }
    });
    let key = format!("Bearer {}", home::DEFAULT_KEY);
    let body = br#"{"messages": [{"role": "user", "content": "go"}]}"#;
    let headers = [("Authorization", key.as_str()), ("X-Hermes-Session-Id", "one-session")];
    let answer = gateway.api("POST", "/v1/chat/completions", &headers, body).json();
    assert_eq!(answer["choices"][0]["message"]["content"], "all done", "{answer}");
    let found = results(&told);
    assert_eq!(found[0]["exit_code"], 0, "{}", found[0]);
    assert_eq!(found[1]["status"], "ok", "{}", found[1]);
    assert_eq!((&found[3]["status"], &found[3]["exit_code"]), (&json!("exited"), &json!(0)), "{}", found[3]);
    assert_eq!(found[3]["output"], "got one\nend\n");
    assert_eq!((&found[4]["output"], &found[4]["total_lines"]), (&json!("end"), &json!(2)));
    let listed = found[6]["processes"].as_array().unwrap();
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert_eq!(listed[1]["status"], "running");
    let second = id.lock().unwrap().clone();
    let pid = wait::until("its number", || pid_in(&home, "second"));

    // Another conversation sees nothing of it.
    let look = [
        ("process", json!({"action": "poll", "session_id": second})),
        ("process", json!({"action": "list"})),
    ];
    let found = results_of(&gateway, &provider, &look);
    assert_eq!((&found[0]["status"], &found[1]["processes"]), (&json!("unknown"), &json!([])));
    assert!(!is_gone(pid));

    // A new worker takes over: what the old one ran ends with it, and its conversation hears the truth.
    let old = gateway.worker("default");
    let config = home.read("default", "config.yaml").unwrap();
    home.write("default", "config.yaml", &format!("{config}# another worker\n"));
    gateway.wait_replaced("default", old);
    wait::until_true("the program to end with its worker", || is_gone(pid));
    let told = script(&provider, &look);
    let answer = gateway.api("POST", "/v1/chat/completions", &headers, body).json();
    assert_eq!(answer["choices"][0]["message"]["content"], "all done", "{answer}");
    let found = results(&told);
    assert_eq!(found[0]["status"], "unknown");
    assert!(found[0]["error"].as_str().unwrap().contains("ends with the worker"), "{}", found[0]);
}

/// D12: a worker that dies in the middle of a command takes the command with it; the turn goes on, the command is not run again, and the
/// model is told that nobody knows what it did.
#[test]
fn d12_a_command_whose_worker_dies_is_not_run_again() {
    let provider = Provider::start();
    let chat = Chat::start();
    let home = furnished(&provider, Some(&chat), "");
    let gateway = Gateway::start(&home);
    let told = script(&provider, &[command("echo run >> runs; echo $$ > pid; sleep 600")]);
    chat.say("ann", "ann", "go");
    let pid = wait::until("the command to run", || pid_in(&home, "pid"));
    process::signal(gateway.worker("default"), Signal::SIGKILL);
    chat.wait_seen("ann", "all done");
    wait::until_true("the command to end", || is_gone(pid));
    assert_eq!(home.read("default", "workspace/runs").unwrap(), "run\n");
    let found = results(&told);
    assert!(found[0]["error"].as_str().unwrap().contains("unknown"), "{}", found[0]);
}

/// In a chat somebody is asked, and what they say is no new message, whatever is done with those; silence and a no are answers, too.
#[test]
fn d19_a_dangerous_command_is_asked_about_in_the_chat() {
    let provider = Provider::start();
    let chat = Chat::start();
    let more = "approvals: {mode: manual, timeout: 2}\ndisplay: {busy_input_mode: interrupt}\n";
    let home = furnished(&provider, Some(&chat), more);
    let gateway = Gateway::start(&home);
    let told = script(&provider, &[command("git init -q . 2>/dev/null; git reset --hard; echo ran >> log")]);
    let asked = |times: usize| {
        wait::until_true("the question", || {
            chat.seen_in("ann").iter().filter(|text| text.contains("May this command run?")).count() == times
        });
    };
    let done = |times: usize| {
        wait::until_true("the answer", || {
            chat.seen_in("ann").iter().filter(|text| *text == "all done").count() == times
        });
    };
    let ran = || home.read("default", "workspace/log").map_or(0, |text| text.lines().count());

    chat.say("ann", "ann", "one");
    asked(1);
    let question = chat.seen_in("ann").pop().unwrap();
    assert!(question.contains("git reset --hard") && question.contains("/approve session"), "{question}");
    assert_eq!(ran(), 0);
    chat.say("ann", "ann", "/deny use a copy");
    done(1);
    assert_eq!(ran(), 0);
    let found = results(&told).remove(0);
    assert_eq!((&found["status"], &found["exit_code"]), (&json!("denied"), &json!(-1)));
    assert!(found["error"].as_str().unwrap().contains("use a copy"), "{found}");

    // Somebody else's yes counts for nothing.
    chat.say("ann", "ann", "two");
    asked(2);
    chat.say("bob", "bob", "/approve");
    chat.wait_seen("bob", "Nothing waits for an approval here; it may have run out of time.");
    done(2);
    assert_eq!((ran(), results(&told)[0]["status"].clone()), (0, json!("timeout")));

    chat.say("ann", "ann", "three");
    asked(3);
    chat.say("ann", "ann", "yes");
    done(3);
    assert_eq!(ran(), 1);

    chat.say("ann", "ann", "four");
    asked(4);
    chat.say("ann", "ann", "/approve always");
    done(4);
    chat.say("ann", "ann", "five");
    done(5);
    asked(4);
    assert_eq!(ran(), 3);
    let kept: Value = serde_json::from_str(&home.read("default", "approvals.json").unwrap()).unwrap();
    assert_eq!(kept["allowed"][0]["danger"], "git", "{kept}");
    // The model cannot allow itself anything.
    let written = [("write_file", json!({"path": home.root().join("approvals.json"), "content": "{}"}))];
    let found = results_of(&gateway, &provider, &written);
    assert!(found[0]["error"].as_str().unwrap().contains("by tools"), "{}", found[0]);
}

/// An answer reaches its turn although the chat's connection is a new worker's already.
#[test]
fn d7_an_approval_reaches_the_turn_of_the_worker_before() {
    let provider = Provider::start();
    let chat = Chat::start();
    let home = furnished(&provider, Some(&chat), "approvals: {mode: manual, timeout: 60}\n");
    home.write(
        "default",
        "config.yaml",
        &home
            .read("default", "config.yaml")
            .unwrap()
            .replace("restart_drain_timeout: 5", "restart_drain_timeout: 60"),
    );
    let gateway = Gateway::start(&home);
    script(&provider, &[command("git reset --hard; echo ran >> log")]);
    chat.say("ann", "ann", "go");
    wait::until_true("the question", || chat.seen_in("ann").len() == 1);
    let old = gateway.worker("default");
    let config = home.read("default", "config.yaml").unwrap();
    home.write("default", "config.yaml", &format!("{config}# another worker\n"));
    wait::until_true("another worker to serve", || gateway.worker("default") != old);
    assert!(process::is_alive(old), "it has a turn to end");
    chat.say("ann", "ann", "/approve");
    chat.wait_seen("ann", "all done");
    assert_eq!(home.read("default", "workspace/log").unwrap(), "ran\n");
}

/// A client that reads along is asked by an event and answers by its run; one that waits for the whole answer cannot be asked, nor can a
/// webhook.
#[test]
fn d19_a_client_of_the_api_is_asked_while_it_reads() {
    let provider = Provider::start();
    let home =
        furnished(&provider, None, "approvals: {mode: manual}\nplatform_toolsets: {webhook: [terminal]}\n");
    let gateway = Gateway::start(&home);
    let told = script(&provider, &[command("git reset --hard; echo ran >> log")]);
    let key = format!("Bearer {}", home::DEFAULT_KEY);
    let ran = || home.read("default", "workspace/log").map_or(0, |text| text.lines().count());
    for (choice, runs) in [("deny", 0), ("approve", 1)] {
        let mut connection = http::Connection::open(&gateway.address("api_server")).unwrap();
        let body = br#"{"stream": true, "messages": [{"role": "user", "content": "go"}]}"#;
        let headers = [("Authorization", key.as_str())];
        connection.send(&http::encode("POST", "/v1/chat/completions", &headers, body)).unwrap();
        assert_eq!(connection.head().unwrap().status, 200);
        let read = |connection: &mut http::Connection, until: &str| {
            while !process::contains(connection.buffered(), until.as_bytes()) {
                assert!(connection.fill().unwrap(), "{}", String::from_utf8_lossy(connection.buffered()));
            }
            String::from_utf8_lossy(connection.buffered()).into_owned()
        };
        let text = read(&mut connection, "\"run_id\":\"run_");
        let text = if text.contains("\"choices\":[\"once\"") {
            text
        } else {
            read(&mut connection, "\"timeout\":60")
        };
        assert!(text.contains("event: hermes.approval.request\n"), "{text}");
        assert!(text.contains("git reset --hard"), "{text}");
        let run = text.split("\"run_id\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        let answer = |run: &str, key: &str, body: &str| {
            let path = format!("/v1/runs/{run}/approval");
            gateway.api("POST", &path, &[("Authorization", key)], body.as_bytes())
        };
        let body = json!({"choice": choice}).to_string();
        assert_eq!(answer(&run, "Bearer wrong-key-0123456789", &body).status, 401);
        assert_eq!(
            answer(&run, &key, r#"{"choice": "perhaps"}"#).json()["error"]["code"],
            "invalid_approval_choice"
        );
        let other = format!("run_{}", "0".repeat(32));
        assert_eq!(answer(&other, &key, &body).status, 404);
        assert_eq!(answer("agent:main:x", &key, &body).status, 404);
        let answered = answer(&run, &key, &body);
        assert_eq!(answered.status, 200, "{}", answered.text());
        assert_eq!(answered.json()["object"], "hermes.run.approval_response");
        let text = read(&mut connection, "[DONE]");
        assert!(text.contains("event: hermes.approval.responded\n"), "{text}");
        assert_eq!(answer(&run, &key, &body).json()["error"]["code"], "approval_not_pending");
        assert_eq!(ran(), runs);
    }
    let answer = gateway.chat("", home::DEFAULT_KEY, "go").json();
    assert_eq!(answer["choices"][0]["message"]["content"], "all done", "{answer}");
    assert_eq!(results(&told)[0]["status"], "nobody");
    assert_eq!(gateway.hook("/webhooks/hook", home::SECRET, "d1", r#"{"text": "x"}"#).status, 202);
    let offered = wait::until("the webhook's turn", || {
        provider
            .calls()
            .into_iter()
            .map(|call| call.body)
            .find(|body| body["tools"].as_array().map(Vec::len) == Some(2))
    });
    assert_eq!(offered["tools"][0]["function"]["name"], "process");
    wait::until_true("its result", || {
        provider.calls().last().is_some_and(|call| {
            call.body["tools"].as_array().map(Vec::len) == Some(2)
                && call.body["messages"].as_array().unwrap().last().unwrap()["role"] == "tool"
        })
    });
    assert_eq!(results(&told)[0]["status"], "nobody");
    assert_eq!(ran(), 1);
}

/// Another backend than this machine is named, and nothing runs; what goes round in circles is told so.
#[test]
fn d17_what_is_not_supported_is_said_and_circles_are_noticed() {
    let provider = Provider::start();
    let home = furnished(&provider, None, "terminal: {backend: docker}\n");
    let gateway = Gateway::start(&home);
    let told = script(&provider, &[command("echo x > made"), command("echo x > made")]);
    assert_eq!(gateway.chat("", home::DEFAULT_KEY, "go").status, 200);
    let told = told.lock().unwrap().clone();
    assert!(told[0].contains("terminal.backend: docker") && told[0].ends_with('}'), "{}", told[0]);
    assert!(told[1].contains("[Going round in circles: This call has failed 2 times"), "{}", told[1]);
    assert_eq!(home.read("default", "workspace/made"), None);
}
