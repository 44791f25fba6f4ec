//! `hermes chat -q`: by a worker of the gateway and by one of its own; what is printed, how it ends, and what it lives through.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};

use hermes_tests::command::{Ran, run, run_with_input};
use hermes_tests::gateway::hermes;
use hermes_tests::home::SECRET;
use hermes_tests::provider::{Provider, Reply};
use hermes_tests::terminal::Terminal;
use hermes_tests::{Gateway, Home, home, http, process, wait};
use nix::sys::signal::Signal;
use rusqlite::Connection;
use serde_json::{Value, json};

const KEY: &str = "sk-model-key-0123456789";

/// A home whose profile `coder` talks to `provider`; `agent` is added to its settings of that name.
fn with_coder(provider: &Provider, agent: &str) -> Home {
    let home = Home::new();
    coder(&home, provider, agent, "");
    home
}

fn coder(home: &Home, provider: &Provider, agent: &str, more: &str) {
    let config = format!("agent: {{restart_drain_timeout: 1{agent}}}\n{more}{}", provider.model_config());
    home.profile_with(
        "coder",
        &config,
        &format!("API_SERVER_KEY={}\nCUSTOM_API_KEY={KEY}\n", Home::key("coder")),
    );
}

fn db(home: &Home) -> Connection {
    Connection::open(home.of("coder").join("state.db")).unwrap()
}

/// Role and text of every row of a prompt, in order.
fn rows(home: &Home) -> Vec<(String, String)> {
    let db = db(home);
    let mut select =
        db.prepare("SELECT role, COALESCE(content, '') FROM messages WHERE active = 1 ORDER BY id").unwrap();
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

fn said(rows: &[(String, String)]) -> Vec<(&str, &str)> {
    rows.iter().map(|(role, text)| (role.as_str(), text.as_str())).collect()
}

fn chat(home: &Home, args: &[&str]) -> Ran {
    run(home, &[&["-p", "coder", "chat"], args].concat())
}

/// The id that `-Q` names.
fn session_of(err: &str) -> String {
    err.lines()
        .find_map(|line| line.strip_prefix("session_id: "))
        .unwrap_or_else(|| panic!("{err}"))
        .to_owned()
}

fn spawn(home: &Home, args: &[&str]) -> Child {
    let mut command = hermes(home, &[&["-p", "coder", "chat"], args].concat());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn ended(child: Child) -> Ran {
    child.wait_with_output().unwrap().into()
}

fn wait_asked(provider: &Provider, times: usize) {
    wait::until_true("the provider to be asked", || provider.calls().len() >= times);
}

/// What is promised holds with a gateway and without one.
fn both_ways(test: impl Fn(&Home, &Provider, Option<&Gateway<'_>>)) {
    for served in [false, true] {
        let provider = Provider::start();
        let home = with_coder(&provider, "");
        if served {
            let gateway = Gateway::start(&home);
            test(&home, &provider, Some(&gateway));
        } else {
            test(&home, &provider, None);
            wait::until_true("nothing to be left", || process::using(&home.root()).is_empty());
        }
    }
}

#[test]
fn an_answer_is_all_that_is_on_standard_output() {
    both_ways(|home, provider, gateway| {
        let ran = chat(home, &["-Q", "-q", "hello"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), "pong\n"), "{ran:?}");
        let id = session_of(&ran.err);
        assert_eq!(ran.err, format!("\nsession_id: {id}\n"));
        assert!(id.len() == 22 && id.as_bytes()[15] == b'_', "{id}");
        let found: (String, Option<f64>, Option<String>, i64) = db(home)
            .query_row(
                "SELECT source, ended_at, session_key, message_count FROM sessions WHERE id = ?1",
                [&id],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
            )
            .unwrap();
        assert_eq!(found, ("cli".to_owned(), None, None, 2));
        let call = &provider.calls()[0];
        assert!(call.head.contains(KEY));
        let system = call.body["messages"][0]["content"].as_str().unwrap();
        assert!(system.contains("Model: m"), "{system}");
        assert_eq!(call.body["messages"][1], json!({"role": "user", "content": "hello"}));
        // The same, as somebody reads it; and alone.
        let ran = chat(home, &["-q", "hello"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), "pong\n"), "{ran:?}");
        let footer = ran.err.split_once("Resume this session with:\n").unwrap().1;
        assert!(footer.starts_with("  hermes -p coder chat --resume 20"), "{footer}");
        assert!(footer.contains("Messages:  2 (1 user, 0 tool calls)\n"), "{footer}");
        assert!(!ran.err.contains('\x1b') && !ran.err.contains('\r'), "{}", ran.err);
        let bare = run(home, &["-p", "coder", "-z", "hello"]);
        assert_eq!((bare.code, bare.out.as_str(), bare.err.as_str()), (Some(0), "pong\n", ""));
        for (args, input, asked) in [
            (&["-q", "read this"][..], "the text\n", "read this\n\nthe text"),
            (&["--stdin", "-q", "read this"], "the text\n", "read this\n\nthe text"),
            (&["-q", "alone"], "", "alone"),
            (&["-"], "all of it\n", "all of it"),
            (&[], "all of it\n", "all of it"),
        ] {
            let piped = run_with_input(home, &[&["-p", "coder", "chat", "-Q"], args].concat(), input);
            assert_eq!(piped.code, Some(0), "{piped:?}");
            assert_eq!(provider.calls().last().unwrap().body["messages"][1]["content"], asked);
        }
        let none = run_with_input(home, &["-p", "coder", "chat"], "");
        assert!(none.code == Some(2) && none.err.contains("-q"), "{none:?}");
        assert_eq!(home.of("coder").join("runtime_status.json").exists(), gateway.is_some());
    });
}

/// A file that a loop reads is the loop's, one that is named is the command's, and a pipe that was left open holds nobody up for long.
#[test]
fn standard_input_of_somebody_else_is_left_alone() {
    let provider = Provider::start();
    let home = with_coder(&provider, "");
    fs_err::write(home.root().join("lines"), "one\ntwo\n").unwrap();
    let script = "cd \"$HERMES_HOME\" && while read line; do hermes -p coder -z \"$line\"; done <lines && hermes -p coder -z all <lines && \
        mkfifo open && exec 9<>open && hermes -p coder -z open <&9; echo \"=> $?\"";
    let terminal = Terminal::run(&home, script);
    terminal.wait_for("=> 0", 1);
    assert!(terminal.screen().contains("nothing has come by the pipe"), "{}", terminal.screen());
    drop(terminal);
    let asked: Vec<_> =
        provider.calls().iter().map(|call| call.body["messages"][1]["content"].clone()).collect();
    assert_eq!(asked, ["one", "two", "all\n\none\ntwo", "open"]);
}

#[test]
fn every_row_of_the_table_of_ends() {
    both_ways(|home, provider, _| {
        provider.script([Reply::error(401, "Invalid key")]);
        let ran = chat(home, &["-Q", "-q", "x"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
        assert!(ran.err.contains("Error: HTTP 401: Invalid key\n"), "{}", ran.err);
        assert!(ran.err.contains("hermes setup model") && !ran.err.contains(KEY), "{}", ran.err);
        session_of(&ran.err);

        let limited = || {
            let after = vec![("Retry-After".to_owned(), "0".to_owned())];
            Reply::Status(429, after, r#"{"error":{"message":"Rate limit"}}"#.to_owned())
        };
        provider.script([limited(), limited(), limited()]);
        let ran = chat(home, &["-q", "x"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
        assert!(ran.err.contains("API call failed after 3 retries: HTTP 429: Rate limit"), "{}", ran.err);
        assert!(ran.err.contains("attempt 2: "), "{}", ran.err);

        let wants = |id: &str| Reply::Calls(vec![(id.to_owned(), "todo".to_owned(), "{}".to_owned())]);
        provider.script([wants("c1"), Reply::text("a summary")]);
        let ran = chat(home, &["-Q", "--max-turns", "1", "-q", "x"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(3), "a summary\n"), "{ran:?}");
        assert!(ran.err.contains("--max-turns"), "{}", ran.err);
        assert!(
            provider.calls().last().unwrap().body.get("tools").is_none(),
            "the last call offers no tools"
        );
        provider.script([wants("c1"), Reply::text("done")]);
        let ran = chat(home, &["-q", "x"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), "done\n"), "{ran:?}");
        assert!(ran.err.contains("┊ todo\n"), "{}", ran.err);
        assert!(ran.err.contains("Messages:  4 (1 user, 1 tool call)\n"), "{}", ran.err);

        let before = provider.calls().len();
        let ran = chat(home, &["-Q", "--resume", "nosuch", "-q", "x"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
        assert!(ran.err.contains("Session not found: nosuch\n") && ran.err.contains("hint: "), "{}", ran.err);
        let ran = chat(home, &["-Q", "-s", "nosuch", "-q", "x"]);
        assert!(ran.code == Some(1) && ran.err.contains("Unknown skill(s): nosuch"), "{ran:?}");
        let ran = chat(home, &["-Q", "-q", " "]);
        assert!(ran.code == Some(1) && ran.err.contains("the question is empty"), "{ran:?}");
        assert_eq!(provider.calls().len(), before, "nobody was asked");
        let ran = chat(home, &[]);
        assert!(ran.code == Some(2) && ran.err.contains("hermes chat -q TEXT"), "{ran:?}");
    });
}

#[test]
fn a_profile_that_cannot_answer_says_why() {
    let home = Home::new();
    home.profile_with("coder", "agent: {}\n", "");
    let ran = chat(&home, &["-Q", "-q", "x"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    assert!(
        ran.err.contains("No inference provider configured") && ran.err.contains("setup model"),
        "{}",
        ran.err
    );
    home.write("coder", "config.yaml", "agent: [\n");
    let ran = chat(&home, &["-Q", "-q", "x"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    assert!(ran.err.contains("config.yaml:") && ran.err.contains("hermes config check"), "{}", ran.err);
    let ran = run(&home, &["-p", "nosuch", "chat", "-q", "x"]);
    assert_ne!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn sessions_go_on_by_name_or_as_the_last_one() {
    both_ways(|home, provider, _| {
        let ran = chat(home, &["-Q", "--continue", "-q", "x"]);
        assert!(ran.code == Some(1) && ran.err.contains("no session of the terminal"), "{ran:?}");
        provider.script([Reply::text("one"), Reply::text("two"), Reply::text("three")]);
        let id = session_of(&chat(home, &["-Q", "-q", "first"]).err);
        let ran = chat(home, &["-Q", "--resume", &id, "-q", "second"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), "two\n"), "{ran:?}");
        assert_eq!(
            ran.err,
            format!("↻ Resumed session {id} (1 user message, 2 total messages)\n\nsession_id: {id}\n")
        );
        let ran = chat(home, &["-Q", "--continue", "-q", "third"]);
        assert_eq!((ran.out.as_str(), session_of(&ran.err)), ("three\n", id));
        let sent = provider.calls().last().unwrap().body["messages"].clone();
        let sent: Vec<&str> =
            sent.as_array().unwrap()[1..].iter().map(|m| m["content"].as_str().unwrap()).collect();
        assert_eq!(sent, ["first", "one", "second", "two", "third"]);
    });
}

#[test]
fn a_model_and_skills_can_be_chosen_for_one_question() {
    both_ways(|home, provider, _| {
        home.write(
            "coder",
            "skills/brief/SKILL.md",
            "---\nname: brief\ndescription: short\n---\nAnswer in one word.\n",
        );
        let ran = chat(home, &["-Q", "-m", "other-model", "-s", "brief", "-q", "hi"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let body = provider.calls().last().unwrap().body.clone();
        assert_eq!(body["model"], "other-model");
        let system = body["messages"][0]["content"].as_str().unwrap();
        assert!(system.contains("Model: other-model") && system.contains("Answer in one word."), "{system}");
        let stored: (String, String) = db(home)
            .query_row("SELECT model, system_prompt FROM sessions", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        assert!(stored.0 == "other-model" && !stored.1.contains("Answer in one word."), "{stored:?}");
        chat(home, &["-Q", "--continue", "-q", "again"]).ok();
        let body = provider.calls().last().unwrap().body.clone();
        assert_eq!(body["model"], "m");
        assert!(body["messages"][0]["content"].as_str().unwrap().contains("Model: m"));
        let ran = chat(home, &["-Q", "-q", "/brief hello"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let asked = provider.calls().last().unwrap().body["messages"][1]["content"].clone();
        assert!(asked.as_str().unwrap().contains("invoked the \"brief\" skill"), "{asked}");
        let ran = chat(home, &["-Q", "-m", "x", "--provider", "nosuch", "-q", "hi"]);
        assert!(ran.code == Some(1) && ran.err.contains("Unknown provider 'nosuch'"), "{ran:?}");
    });
}

/// Two at once in one session: one waits, and neither is lost.
#[test]
fn questions_of_one_session_wait_for_each_other() {
    both_ways(|home, provider, _| {
        let id = session_of(&chat(home, &["-Q", "-q", "begin"]).err);
        let asked = provider.calls().len();
        provider.answer_with(|body| {
            let last =
                body["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap().to_owned();
            wait::pass(std::time::Duration::from_millis(300));
            Reply::text(&format!("to {last}"))
        });
        let both: Vec<Child> =
            ["one", "two"].map(|text| spawn(home, &["-Q", "--resume", &id, "-q", text])).into();
        let both: Vec<Ran> = both.into_iter().map(ended).collect();
        for (ran, text) in both.iter().zip(["one", "two"]) {
            assert_eq!((ran.code, ran.out.clone()), (Some(0), format!("to {text}\n")), "{ran:?}");
        }
        let calls = provider.calls();
        let lengths: Vec<usize> =
            calls[asked..].iter().map(|call| call.body["messages"].as_array().unwrap().len()).collect();
        assert_eq!(lengths, [4, 6], "the later one knows the earlier one");
        let roles: Vec<String> = rows(home).into_iter().map(|(role, _)| role).collect();
        assert_eq!(roles, ["user", "assistant"].repeat(3));
    });
}

/// The worker dies in the middle of a turn: whoever is there next goes on, and there is one question and one answer.
#[test]
fn a_worker_that_is_killed_costs_no_answer() {
    both_ways(|home, provider, gateway| {
        provider
            .script([Reply::Calls(vec![("c1".to_owned(), "todo".to_owned(), "{}".to_owned())]), Reply::Hang]);
        let child = spawn(home, &["-q", "work"]);
        wait_asked(provider, 2);
        let worker = match gateway {
            Some(gateway) => gateway.worker("coder"),
            None => process::children(child.id())[0],
        };
        process::signal(worker, Signal::SIGKILL);
        let ran = ended(child);
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), "pong\n"), "{ran:?}");
        assert!(ran.err.contains("the turn goes on"), "{}", ran.err);
        let all = rows(home);
        let roles: Vec<&str> = all.iter().map(|(role, _)| role.as_str()).collect();
        assert_eq!(roles, ["user", "assistant", "tool", "assistant"], "the tool was not run again: {all:?}");
        assert_eq!(provider.calls().len(), 3);
    });
}

#[test]
fn ctrl_c_ends_the_turn_in_the_worker_too() {
    both_ways(|home, provider, gateway| {
        provider.script([Reply::Endless]);
        let worker = gateway.map(|gateway| gateway.worker("coder"));
        let child = spawn(home, &["-q", "work"]);
        wait_asked(provider, 1);
        process::signal(child.id(), Signal::SIGINT);
        let ran = ended(child);
        assert_eq!(ran.code, Some(130), "{ran:?}");
        assert!(ran.err.contains("interrupted; the turn was ended"), "{}", ran.err);
        wait::until_true("the provider to be left", || provider.open() == 0);
        wait::until_true("the question to be closed", || rows(home).is_empty());
        assert_eq!(worker, gateway.map(|gateway| gateway.worker("coder")), "it goes on");
        let ran = chat(home, &["-Q", "--continue", "-q", "again"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), "pong\n"), "{ran:?}");
        assert_eq!(said(&rows(home)), [("user", "again"), ("assistant", "pong")]);
    });
}

/// What was printed of an answer until its worker was replaced stands apart from the whole one.
#[test]
fn a_swap_in_the_middle_of_an_answer_prints_it_anew() {
    let provider = Provider::start();
    let home = with_coder(&provider, "");
    let _gateway = Gateway::start(&home);
    provider.script([Reply::Stalled(vec!["the ans".to_owned()]), Reply::text("the answer")]);
    let mut child = spawn(&home, &["-q", "work"]);
    let mut begun = [0; 7];
    child.stdout.as_mut().unwrap().read_exact(&mut begun).unwrap();
    run(&home, &["gateway", "restart", "coder"]).ok();
    let ran = ended(child);
    assert_eq!((ran.code, &begun, ran.out.as_str()), (Some(0), b"the ans", "\n\nthe answer\n"), "{ran:?}");
    assert_eq!(said(&rows(&home)), [("user", "work"), ("assistant", "the answer")]);
}

/// The worker is replaced while it answers, and ends before the model does; then the gateway goes away altogether.
#[test]
fn a_swap_and_the_end_of_the_gateway_cost_no_answer() {
    let provider = Provider::start();
    let home = with_coder(&provider, "");
    let mut gateway = Gateway::start(&home);
    provider.script([Reply::Hang]);
    let child = spawn(&home, &["-Q", "-q", "work"]);
    wait_asked(&provider, 1);
    run(&home, &["gateway", "restart", "coder"]).ok();
    let ran = ended(child);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "pong\n"), "{ran:?}");
    assert_eq!(said(&rows(&home)), [("user", "work"), ("assistant", "pong")]);
    provider.script([Reply::Hang]);
    let child = spawn(&home, &["-Q", "--continue", "-q", "more"]);
    wait_asked(&provider, 3);
    gateway.stop();
    let ran = ended(child);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "pong\n"), "{ran:?}");
    assert_eq!(said(&rows(&home))[2..], [("user", "more"), ("assistant", "pong")]);
}

#[test]
fn a_sleeping_profile_is_woken_by_a_question() {
    let home = Home::new();
    home.profile_with(
        "coder",
        "agent: {engine: echo}\ngateway: {autostart: on-demand, idle_timeout: 0.5}\n",
        "",
    );
    let gateway = Gateway::start(&home);
    gateway.wait_state("coder", "sleeping");
    let ran = chat(&home, &["-Q", "-q", "hello"]);
    assert!(ran.code == Some(0) && ran.out.contains("hello"), "{ran:?}");
    assert!(gateway.profile("coder").generation >= 2, "its worker answered");
    let ran = chat(&home, &["-Q", "-m", "x", "-q", "hello"]);
    assert!(ran.code == Some(1) && ran.err.contains("calls no model"), "{ran:?}");
}

/// The paths of the terminal are there for processes of the user on the data socket, and for nobody who came in by a listener.
#[test]
fn no_listener_leads_to_the_terminals_paths() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let question =
        json!({"schema": 1, "turn": "t-1", "session": {"new": "s-1"}, "text": "hello"}).to_string();
    let key = format!("Bearer {}", Home::key("coder"));
    for platform in ["api_server", "webhook"] {
        for prefix in ["", "/p/coder", "/p/default"] {
            for path in [
                "/terminal/turn",
                "/terminal/talk",
                "/terminal/welcome",
                "/terminal/command",
                "/terminal//turn",
                "/%74erminal/turn",
                "/terminal/requests",
                "/terminal/requests/last",
            ] {
                for headers in [
                    &[("Authorization", key.as_str())][..],
                    &[
                        ("X-Hermes-Listener", ""),
                        ("X-Hermes-Sender", "default"),
                        ("X-Hermes-Profile", "coder"),
                    ],
                ] {
                    let path = format!("{prefix}{path}");
                    for method in ["POST", "GET"] {
                        let answer = http::request(
                            &gateway.address(platform),
                            method,
                            &path,
                            headers,
                            question.as_bytes(),
                        );
                        let answer = answer.unwrap();
                        assert_eq!(answer.status, 404, "{platform} {method} {path}: {answer:?}");
                    }
                }
            }
        }
    }
    let socket = gateway.profile("coder").data_socket.unwrap();
    let ask = |more: &str| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        let length = question.len();
        let mut answer = Vec::new();
        // Who is refused may be answered before all is read; what is said of that connection then is no answer.
        let _ = write!(
            stream,
            "POST /terminal/turn HTTP/1.0\r\nContent-Length: {length}\r\n{more}\r\n{question}"
        );
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    };
    let answer = ask("");
    assert!(answer.starts_with("HTTP/1.0 200") && answer.contains(r#""said":"answered""#), "{answer}");
    assert!(ask("X-Hermes-Listener: api_server\r\n").starts_with("HTTP/1.0 404"));
    let sessions: i64 = db(&home).query_row("SELECT count(*) FROM sessions", [], |row| row.get(0)).unwrap();
    assert_eq!(sessions, 1);
    // The same question once more is the same turn.
    let again = ask("");
    assert!(again.contains(r#""said":"answered""#), "{again}");
    assert_eq!(rows(&home).len(), 2);
    let other = http::request(&gateway.address("webhook"), "POST", "/webhooks/hook", &[], b"{}").unwrap();
    assert_ne!(other.status, 404, "the listener itself works ({SECRET})");
}

/// What is sent is shown as it was sent, without a key, and is on no disk unless it was asked for.
#[test]
fn requests_are_shown_byte_for_byte_without_keys() {
    both_ways(|home, provider, gateway| {
        let file = home.user().join("requests.txt");
        let ran = chat(home, &["-Q", "--dump", file.as_str(), "-q", &format!("my key is {KEY}, keep it")]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let text = fs_err::read_to_string(&file).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs_err::metadata(&file).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        assert!(
            text.contains("POST http://") && text.contains("authorization: ***\n") && !text.contains(KEY),
            "{text}"
        );
        let body: Value = serde_json::from_str(text.split_once("\n\n").unwrap().1.trim()).unwrap();
        let mut sent = provider.calls().last().unwrap().body.clone();
        sent["messages"][1]["content"] = "my key is ***, keep it".into();
        assert_eq!(body, sent);
        let Some(gateway) = gateway else {
            let ran = run(home, &["-p", "coder", "dump"]);
            assert!(ran.code == Some(69) && ran.err.contains("--dump FILE"), "{ran:?}");
            return;
        };
        let shown = run(home, &["-p", "coder", "debug", "turn"]).ok();
        assert!(shown.contains("my key is ***, keep it") && !shown.contains(KEY), "{shown}");
        let mut watching = hermes(home, &["-p", "coder", "dump", "--next", "--json"]);
        let mut watching = watching.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let deadline = wait::now() + std::time::Duration::from_secs(60);
        // A request is made until one is seen: when it is looked for nobody says.
        while watching.try_wait().unwrap().is_none() && wait::now() < deadline {
            assert_eq!(gateway.chat("/p/coder", &Home::key("coder"), "by the API").status, 200);
        }
        let shown: Value = serde_json::from_str(&ended(watching).ok()).unwrap();
        let body: Value = serde_json::from_str(shown["body"].as_str().unwrap()).unwrap();
        assert_eq!(body["messages"][1]["content"], "by the API");
        let ran = run(home, &["-p", "coder", "dump", "nosuch"]);
        assert!(ran.code == Some(1) && ran.err.contains("--next"), "{ran:?}");
        for pid in process::using(&home.root()) {
            let argv = fs_err::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            assert!(!process::contains(&argv, KEY.as_bytes()));
        }
    });
}

/// A worker of the command's own has the environment of every worker, and its key in no other process.
#[test]
fn a_worker_of_ones_own_is_a_worker() {
    let provider = Provider::start();
    let home = with_coder(&provider, "");
    provider.script([Reply::Hang]);
    let mut command = hermes(&home, &["-p", "coder", "chat", "-q", "x"]);
    command.env("UNLISTED_SECRET", "not-for-workers").stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    wait_asked(&provider, 1);
    let worker = process::children(child.id())[0];
    let environment = process::environment(worker).unwrap();
    for secret in ["not-for-workers", KEY] {
        assert!(!process::contains(&environment, secret.as_bytes()), "{secret}");
    }
    let found = process::find_in_memory(child.id(), &[KEY]);
    assert!(found.is_empty(), "the command knows no key: {found:?}");
    let listens = fs_err::read_to_string(format!("/proc/{worker}/net/unix")).unwrap();
    assert!(!listens.contains(home.root().as_str()), "it has no address");
    // A gateway may start beside it.
    let gateway = Gateway::start(&home);
    gateway.wait_ready("coder");
    process::signal(child.id(), Signal::SIGTERM);
    assert_eq!(ended(child).code, Some(130));
    wait::until_true("its worker to end", || !process::is_alive(worker));
    assert_eq!(chat(&home, &["-Q", "-q", "y"]).ok(), "pong\n");
}

/// Nothing of a question that is killed with the command is left behind.
#[test]
fn a_command_that_is_killed_takes_its_worker_along() {
    let provider = Provider::start();
    let home = with_coder(&provider, "");
    provider.script([Reply::Hang]);
    let mut child = spawn(&home, &["-q", "x"]);
    wait_asked(&provider, 1);
    child.kill().unwrap();
    child.wait().unwrap();
    wait::until_true("nothing to be left", || process::using(&home.root()).is_empty());
    assert_eq!(rows(&home), [], "the question was closed");
    let _ = home::DEFAULT_KEY;
}
