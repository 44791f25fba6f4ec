//! The conversation at a terminal: `hermes` and `hermes chat` on a pseudo-terminal, as somebody types at it, by a worker of the gateway and
//! by one of its own. What is to be seen is compared with screens that are kept.

use hermes_tests::gateway::{both, run};
use hermes_tests::provider::{Provider, Reply};
use hermes_tests::terminal::Screen;
use hermes_tests::{Gateway, Home, wait};
use rusqlite::Connection;
use serde_json::{Value, json};

const KEY: &str = "sk-model-key-0123456789";
/// What is printed where the shell goes on.
const LEFT: &str = "left with";

fn furnished(provider: &Provider, more: &str) -> Home {
    let home = Home::new();
    let config = format!("agent: {{restart_drain_timeout: 1}}\n{more}{}", provider.model_config());
    home.profile_with("coder", &config, &keys());
    home
}

fn keys() -> String {
    format!("API_SERVER_KEY={}\nCUSTOM_API_KEY={KEY}\n", Home::key("coder"))
}

/// What is promised holds with a gateway and without one.
fn both_ways(more: &str, test: impl Fn(&Home, &Provider, Option<&Gateway<'_>>)) {
    for served in [false, true] {
        let provider = Provider::start();
        let home = furnished(&provider, more);
        let gateway = served.then(|| Gateway::start(&home));
        test(&home, &provider, gateway.as_ref());
    }
}

/// Sits down at a terminal.
fn sit(home: &Home, line: &str) -> Screen {
    let mut screen = Screen::run(home, &format!("{line}; echo {LEFT} $?; exec sleep 600"), 80, 160);
    screen.wait_for("coder ❯");
    screen
}

/// Types a line and waits until the next one can be typed.
fn say(screen: &mut Screen, line: &str) {
    let before = prompts(&screen.screen());
    screen.keys(&format!("{line}\r"));
    screen.wait_until("the next line", |seen| prompts(seen) > before && ends_with_prompt(seen));
}

fn prompts(seen: &str) -> usize {
    seen.matches("coder ❯").count()
}

fn ends_with_prompt(seen: &str) -> bool {
    seen.trim_end().ends_with("coder ❯")
}

/// A screen without what differs from run to run.
fn shown(screen: &mut Screen) -> String {
    let seen = screen.screen();
    let is_id = |word: &str| {
        word.len() == 22
            && word.bytes().enumerate().all(|(at, b)| match at {
                8 | 15 => b == b'_',
                0..15 => b.is_ascii_digit(),
                _ => b.is_ascii_hexdigit(),
            })
    };
    let mut out = String::new();
    for line in seen.trim_end().lines() {
        let words: Vec<String> = line
            .split(' ')
            .map(|word| {
                let bare = word.trim_matches(['(', ',', ')']);
                if is_id(bare) { word.replace(bare, "20261130_041502_3fa9c1") } else { word.to_owned() }
            })
            .collect();
        out.push_str(words.join(" ").trim_end());
        out.push('\n');
    }
    out
}

fn questions(home: &Home) -> Vec<String> {
    said_by(home, "user")
}

/// What is stored of this role, in order.
fn said_by(home: &Home, role: &str) -> Vec<String> {
    let db = Connection::open(home.of("coder").join("state.db")).unwrap();
    let mut select = db.prepare("SELECT content FROM messages WHERE role = ?1 ORDER BY id").unwrap();
    select.query_map([role], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn last_text(body: &Value) -> String {
    let messages = body["messages"].as_array().unwrap();
    let last = messages.iter().rev().find(|message| message["role"] == "user").unwrap();
    last["content"].as_str().map_or_else(|| last["content"].to_string(), str::to_owned)
}

/// Lines, Markdown as it comes, another session, a line of two, and the way out; the same from a gateway's worker and from its own.
#[test]
fn a_conversation_is_typed_and_read() {
    both_ways("", |home, provider, gateway| {
        provider.answer_with(|body| match last_text(body).as_str() {
            "first" => Reply::Text(
                [
                    "# Ti",
                    "tle\n\nIt is **bo",
                    "ld**, and `co",
                    "de`:\n\n```rust\nfn ma",
                    "in() {}\n```\n- one\n",
                    "- two\n\ndone",
                ]
                .map(str::to_owned)
                .to_vec(),
            ),
            other => Reply::text(&format!("answer to {other:?}")),
        });
        let mut screen = sit(home, "hermes -p coder");
        say(&mut screen, "first");
        screen.keys("two\\\rlines");
        say(&mut screen, "");
        // What is pasted is one text, whatever is in it.
        screen.keys("\x1b[200~pasted\nin lines\x1b[201~");
        say(&mut screen, "");
        say(&mut screen, "/title The first one");
        let seen = shown(&mut screen);
        insta::assert_snapshot!("talk", seen);
        say(&mut screen, "/new");
        say(&mut screen, "second");
        screen.keys("/exit\r");
        screen.wait_for(&format!("{LEFT} 0"));
        assert!(screen.screen().contains("hermes -p coder --resume 20"), "{}", screen.screen());
        assert_eq!(questions(home), ["first", "two\nlines", "pasted\nin lines", "second"]);
        let db = Connection::open(home.of("coder").join("state.db")).unwrap();
        let sessions: Vec<(Option<String>, Option<String>)> = db
            .prepare("SELECT title, end_reason FROM sessions ORDER BY started_at")
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(sessions[0], (Some("The first one".to_owned()), Some("new_session".to_owned())));
        assert_eq!(sessions.len(), 2);
        if let Some(gateway) = gateway {
            gateway.wait_ready("coder");
        }
    });
}

/// Ctrl-C ends the answer, in the worker too; at an empty line it leaves; Ctrl-D does; lines are remembered for the next time, by nobody else.
#[test]
fn an_answer_is_stopped_and_the_terminal_is_left() {
    both_ways("", |home, provider, _| {
        provider.script([Reply::Endless, Reply::text("short")]);
        let mut screen = sit(home, "hermes -p coder chat");
        screen.keys("go on\r");
        wait::until_true("the provider to be asked", || provider.open() >= 1);
        screen.keys("\x03");
        screen.wait_for("stopped");
        screen.wait_until("the next line", ends_with_prompt);
        wait::until_true("the provider to be left", || provider.open() == 0);
        say(&mut screen, "and now?");
        assert!(screen.screen().contains("short"), "{}", screen.screen());
        // Ctrl-C at a line that is not empty takes the line away.
        screen.keys("half a li");
        screen.wait_for("half a li");
        wait::pass(std::time::Duration::from_millis(2100));
        screen.keys("\x03");
        screen.wait_until("the line to be gone", ends_with_prompt);
        wait::pass(std::time::Duration::from_millis(2100));
        screen.keys("\x03");
        screen.wait_for(&format!("{LEFT} 130"));
        let path = home.of("coder").join(".hermes_terminal_history");
        let kept = fs_err::read_to_string(&path).unwrap();
        assert_eq!(kept, "go on\nand now?\n");
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&fs_err::metadata(&path).unwrap().permissions()) & 0o777,
            0o600
        );

        let mut screen = sit(home, "hermes -p coder --continue");
        assert!(screen.screen().contains("↻ Resumed session"), "{}", screen.screen());
        screen.keys("\x1b[A");
        screen.wait_for("coder ❯ and now?");
        screen.keys("\x15");
        screen.wait_until("the line to be gone", ends_with_prompt);
        screen.keys("\x04");
        screen.wait_for(&format!("{LEFT} 0"));
    });
}

/// Tools in a line each, what they change, approvals and questions in between.
#[test]
fn tools_are_shown_and_ask() {
    both_ways("", |home, provider, _| {
        provider.answer_with(|body| {
            let messages = body["messages"].as_array().unwrap();
            let done = messages.iter().rev().take_while(|message| message["role"] == "tool").count();
            let all = messages.iter().rev().take_while(|message| message["role"] != "user");
            let round = all.filter(|message| message["role"] == "tool").count();
            let call = |name: &str, given: Value| {
                Reply::Calls(vec![(format!("c{round}"), name.to_owned(), given.to_string())])
            };
            match round {
                0 => call("write_file", json!({"path": "notes.md", "content": "one\ntwo\n"})),
                1 => call("patch", json!({"mode": "replace", "path": "notes.md", "old_string": "two", "new_string": "three"})),
                2 => call("terminal", json!({"command": "git init -q . 2>/dev/null; git reset --hard"})),
                3 => call("clarify", json!({"question": "Where to?", "choices": ["staging", "production"]})),
                _ => {
                    assert!(done > 0);
                    let said: Value = serde_json::from_str(messages.last().unwrap()["content"].as_str().unwrap()).unwrap();
                    Reply::text(&format!("So: {}", said["user_response"].as_str().unwrap()))
                }
            }
        });
        let mut screen = sit(home, "hermes -p coder");
        screen.keys("go\r");
        screen.wait_for("[d]eny >");
        screen.keys("o\n");
        screen.wait_for("in your own words.");
        screen.keys("/srv/x\n");
        screen.wait_for("So: /srv/x");
        screen.wait_until("the next line", ends_with_prompt);
        let seen = shown(&mut screen).replace(home.of("coder").as_str(), "HOME");
        insta::assert_snapshot!("tools", seen);
    });
}

/// A worker that is killed, or takes another's place, while it answers: the question is asked once, and answered.
#[test]
fn the_worker_is_lost_and_the_answer_comes() {
    both_ways("", |home, provider, gateway| {
        provider.script([Reply::Hang, Reply::text("there it is")]);
        let mut screen = sit(home, "hermes -p coder");
        screen.keys("slowly\r");
        wait::until_true("the provider to be asked", || provider.calls().len() == 1);
        let pid = match gateway {
            Some(gateway) => gateway.worker("coder"),
            None => own_worker(home),
        };
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid.try_into().unwrap()),
            nix::sys::signal::Signal::SIGKILL,
        )
        .unwrap();
        screen.wait_for("there it is");
        screen.wait_until("the next line", ends_with_prompt);
        let seen = screen.screen();
        assert_eq!(seen.matches("the worker was replaced; the turn goes on").count(), 1, "{seen}");
        say(&mut screen, "still there?");
        assert!(screen.screen().contains("pong"), "{}", screen.screen());
        assert_eq!(questions(home), ["slowly", "still there?"]);
    });
}

/// A worker that takes the other's place in the middle of an answer: what is on the screen of it is not said again, and the rest follows.
#[test]
fn a_swap_in_the_middle_leaves_one_answer() {
    let provider = Provider::start();
    let home = furnished(&provider, "");
    let gateway = Gateway::start(&home);
    let pieces = |text: &str| text.split_inclusive(' ').map(str::to_owned).collect::<Vec<_>>();
    let answer = "alpha beta gamma delta";
    provider.script([Reply::Stalled(pieces("alpha beta ")), Reply::Text(pieces(answer))]);
    let mut screen = sit(&home, "hermes -p coder");
    screen.keys("count\r");
    screen.wait_for("alpha beta");
    let old = gateway.worker("coder");
    let swapped = run(&home, &["gateway", "restart", "-p", "coder"]);
    assert!(swapped.status.success(), "{}", both(&swapped));
    screen.wait_for("gamma delta");
    screen.wait_until("the next line", ends_with_prompt);
    let seen = screen.screen();
    for word in answer.split(' ') {
        assert_eq!(seen.matches(word).count(), 1, "{word}: {seen}");
    }
    assert_eq!((said_by(&home, "assistant"), provider.calls().len()), (vec![answer.to_owned()], 2));
    assert_ne!(gateway.worker("coder"), old);
    say(&mut screen, "still there?");
    assert!(screen.screen().contains("pong"), "{}", screen.screen());
    assert_eq!(questions(&home), ["count", "still there?"]);
}

/// A profile that was just created has a command of its own name, which is the conversation with it: with nothing else in the environment, and
/// with whatever stands behind it.
#[test]
fn an_alias_is_the_conversation_with_its_profile() {
    for served in [false, true] {
        let provider = Provider::start();
        let home = Home::new();
        let mut screen =
            Screen::run(&home, "hermes profile create coder; echo made $?; exec sleep 600", 80, 60);
        screen.wait_for("made 0");
        let config = format!("agent: {{restart_drain_timeout: 1}}\n{}", provider.model_config());
        home.profile_with("coder", &config, &keys());
        let _gateway = served.then(|| Gateway::start(&home));
        provider.answer_with(|body| Reply::text(&format!("answer to {:?}", last_text(body))));
        let mut screen = sit(&home, "unset HERMES_HOME; coder");
        assert!(screen.screen().contains("Profile: coder"), "{}", screen.screen());
        say(&mut screen, "first");
        assert!(screen.screen().contains("answer to \"first\""), "{}", screen.screen());
        screen.keys("/exit\r");
        screen.wait_for(&format!("{LEFT} 0"));
        let mut screen = sit(&home, "unset HERMES_HOME; coder chat --continue");
        assert!(screen.screen().contains("↻ Resumed session"), "{}", screen.screen());
        say(&mut screen, "second");
        assert!(screen.screen().contains("answer to \"second\""), "{}", screen.screen());
        assert_eq!(questions(&home), ["first", "second"]);
    }
}

/// The worker that a terminal of this home started for itself.
fn own_worker(home: &Home) -> u32 {
    let wanted = format!("HERMES_HOME={}", home.root());
    wait::until("the worker", || {
        fs_err::read_dir("/proc").unwrap().filter_map(Result::ok).find_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let argv = fs_err::read(entry.path().join("cmdline")).ok()?;
            let argv = String::from_utf8_lossy(&argv);
            let environment = fs_err::read(entry.path().join("environ")).ok()?;
            let is_mine = String::from_utf8_lossy(&environment).split('\0').any(|one| one == wanted);
            (argv.contains("\0worker\0--terminal") && is_mine).then_some(pid)
        })
    })
}

/// Commands that the worker knows, told as they were typed; what follows from them.
#[test]
fn commands_are_the_workers() {
    both_ways("", |home, provider, _| {
        provider.answer_with(|body| {
            let model = body["model"].as_str().unwrap();
            Reply::text(&format!("{model}: {}", last_text(body)))
        });
        let mut screen = sit(home, "hermes -p coder");
        say(&mut screen, "/help");
        assert!(screen.screen().contains("/retry - ask the last question again"), "{}", screen.screen());
        say(&mut screen, "/nonsense");
        assert!(screen.screen().contains("Unknown command `/nonsense`"), "{}", screen.screen());
        say(&mut screen, "/undo");
        assert!(screen.screen().contains("There is no conversation here yet."), "{}", screen.screen());
        screen.keys("\x0c");
        screen.wait_until("a clear screen", |seen| seen.trim() == "coder ❯");
        say(&mut screen, "one");
        say(&mut screen, "/model other");
        say(&mut screen, "/retry");
        say(&mut screen, "/undo");
        say(&mut screen, "/yolo");
        say(&mut screen, "/status");
        say(&mut screen, "/usage");
        say(&mut screen, "/resume nosuch");
        let seen = shown(&mut screen);
        let seen: Vec<&str> = seen.lines().filter(|line| !line.starts_with("Tokens:")).collect();
        let seen = seen.join("\n");
        assert!(seen.contains("m: one") && seen.contains("other: one"), "{seen}");
        insta::assert_snapshot!("commands", without_age(&seen));
        assert_eq!(provider.calls().len(), 2);
    });
}

/// `begun 3 s ago` differs.
fn without_age(seen: &str) -> String {
    let line = |line: &str| match line.split_once("begun ") {
        Some((before, _)) => format!("{before}begun … ago"),
        None => line.to_owned(),
    };
    seen.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Pictures that a line names go with it; off a terminal nobody is asked to type; a plain terminal gets no colours.
#[test]
fn pictures_go_along_and_a_plain_terminal_stays_plain() {
    both_ways("", |home, provider, _| {
        fs_err::write(home.user().join("shot.png"), b"\x89PNG\r\n\x1a\n0123").unwrap();
        let mut screen = sit(home, "cd; NO_COLOR=1 hermes -p coder");
        say(&mut screen, "what is in shot.png?");
        let body = provider.calls()[0].body.to_string();
        assert!(body.contains("data:image/png;base64,"), "{body}");
        assert!(!screen.printed().contains("\x1b[1m") && !screen.printed().contains("\x1b[2m"));
        screen.keys("\x04");
        screen.wait_for(&format!("{LEFT} 0"));
    });
}
