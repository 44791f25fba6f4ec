//! Why a profile is as it is: `hermes why`.

use hermes_tests::gateway::{both, hermes, run};
use hermes_tests::provider::{Provider, Reply};
use hermes_tests::{Gateway, Home, home, process, wait};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::turn::native;

fn why(home: &Home, name: &str) -> Value {
    let output = run(home, &["why", name, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", both(&output)))
}

fn steps(why: &Value) -> String {
    why["steps"].as_array().unwrap().iter().map(|step| step.as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

fn names(of: &Value) -> Vec<String> {
    let named = |one: &Value| format!("{} {}", one["name"].as_str().unwrap(), one["how"].as_str().unwrap());
    of.as_array().unwrap().iter().map(named).collect()
}

/// N3.11: the last exit with who asked, what the provider said, which keys and variables differ from when all was well (no value of
/// them), and a step that works in that state; with a gateway and without.
#[test]
fn n3_11_why_tells_exit_error_changes_and_step() {
    let provider = Provider::start();
    let home = native(&provider);
    home.profile("coder");
    let mut gateway = Gateway::start(&home);
    for name in ["default", "coder"] {
        wait::until_true("what the files say to be noted", || home.read(name, "logs/healthy.json").is_some());
    }
    let noted = home.read("default", "logs/healthy.json").unwrap()
        + &home.read("coder", "logs/healthy.json").unwrap();
    for secret in
        ["the-model-key", home::DEFAULT_KEY, &Home::key("coder"), home::SECRET, &provider.base_url()]
    {
        assert!(!noted.contains(secret), "{secret}");
    }
    let well = why(&home, "coder");
    assert_eq!((well["state"].as_str(), steps(&well).as_str()), (Some("ready"), ""));
    assert!(names(&well["changed"]["config"]).is_empty() && names(&well["changed"]["env"]).is_empty());

    // The provider refuses the key.
    provider.script([Reply::error(401, "Invalid key")]);
    assert_eq!(gateway.chat("", home::DEFAULT_KEY, "x").status, 424);
    gateway.wait_state("default", "degraded");
    let refused = why(&home, "default");
    let error = &refused["errors"][0];
    assert_eq!((error["kind"].as_str(), error["code"].as_str()), (Some("provider"), Some("401")));
    assert!(error["message"].as_str().unwrap().contains("Invalid key"), "{error}");
    assert!(steps(&refused).contains("`hermes doctor -p default --online`"), "{}", steps(&refused));

    // It was killed; then files changed that cannot be used.
    gateway.kill_worker("coder");
    let killed = wait::until("the end to be written down", || {
        let why = why(&home, "coder");
        (why["last_exit"]["how"] == "signal 9 (SIGKILL)" && !why["last_exit"]["event"].is_null())
            .then_some(why)
    });
    assert_eq!(killed["last_exit"]["event"]["cause"], "nobody asked for it");
    assert_eq!(killed["restarts"], 1);
    home.write(
        "coder",
        ".env",
        &format!("API_SERVER_KEY={}x\nNEW_TOKEN=another-secret\n", Home::key("coder")),
    );
    let config = home.read("coder", "config.yaml").unwrap();
    home.write("coder", "config.yaml", &format!("{config}agent.engine: [\n"));
    let broken = wait::until("the refusal", || {
        let why = why(&home, "coder");
        why["reason"].is_string().then_some(why)
    });
    assert_eq!(names(&broken["changed"]["env"]), ["API_SERVER_KEY changed", "NEW_TOKEN added"]);
    assert!(broken["unread"][0].as_str().unwrap().contains("coder/config.yaml"), "{broken}");
    assert!(steps(&broken).contains("coder/config.yaml; the change is seen by itself"), "{}", steps(&broken));
    assert!(!broken.to_string().contains("another-secret"), "{broken}");
    home.write("coder", "config.yaml", &config.replace("engine: echo", "engine: echo, max_turns: 3"));
    wait::until_true("the change to be named", || {
        names(&why(&home, "coder")["changed"]["config"]) == ["agent.max_turns added"]
            || names(&why(&home, "coder")["changed"]["env"]).is_empty()
    });

    // A command, by name; and without a gateway.
    let stop = hermes(&home, &["gateway", "stop", "-p", "coder"]).spawn().unwrap();
    let asker = stop.id();
    assert!(stop.wait_with_output().unwrap().status.success());
    assert_eq!(gateway.stop(), Some(0));
    let off = why(&home, "coder");
    assert_eq!(off["last_exit"]["event"]["by"]["pid"], asker);
    assert!(off["stale"].as_bool().unwrap() && !steps(&off).is_empty(), "{off}");
    let text = both(&run(&home, &["why", "coder"]));
    for words in [
        "coder is ",
        "last exit     exit 0: ",
        " (command stop, PID ",
        "What happened",
        "the worker ended unasked: signal 9 (SIGKILL)",
        "Last lines of ",
        "next: ",
    ] {
        assert!(text.contains(words), "{words:?} is missing:\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "colours without a terminal");
    let nobody = run(&home, &["why", "nobody"]);
    assert_eq!(nobody.status.code(), Some(1), "{}", both(&nobody));
}

/// N3.11: a worker that dies again and again is named with its next try, and trying at once is what is suggested.
#[test]
fn n3_11_why_names_a_crash_loop_and_its_next_try() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let looping = wait::until("a crash loop", || {
        if let Some(pid) = gateway.profile("coder").pid {
            process::signal(pid, Signal::SIGKILL);
        }
        let why = why(&home, "coder");
        (why["state"] == "crash_loop").then_some(why)
    });
    assert!(looping["next_attempt_ms"].as_u64().is_some_and(|ms| ms > 1000), "{looping}");
    assert!(looping["reason"].as_str().unwrap().contains("SIGKILL"), "{looping}");
    assert!(steps(&looping).contains("`hermes gateway restart -p coder` tries again at once"), "{looping}");
    assert!(run(&home, &["gateway", "restart", "-p", "coder"]).status.success());
    gateway.wait_ready("coder");
}

/// N3.6, N2.4: a worker that panics says what and where in its own log, without the profile's secrets; the journal and `hermes why` name the
/// panic; another worker takes its place, and nobody else notices.
#[test]
fn n3_6_a_panic_is_in_its_own_log_and_named() {
    let home = Home::new();
    home.profile("coder").profile("ops");
    // What the panic will say holds a secret of this profile.
    let env = home.read("ops", ".env").unwrap();
    home.write("ops", ".env", &format!("{env}CUSTOM_API_KEY=self-pipe\n"));
    let gateway = Gateway::start(&home);
    let default = gateway.worker("default");
    let said = |name: &str| home.read(name, "logs/gateway.error.log").unwrap();
    for (name, words) in [("coder", "EOF on self-pipe"), ("ops", "EOF on ***")] {
        let worker = gateway.worker(name);
        let done = process::make_panic(worker);
        let Some(()) = hermes_tests::tools::permitted("descriptors of other processes", done) else { return };
        gateway.wait_replaced(name, worker);
        let log = said(name);
        let line = log.lines().find(|line| line.contains("ERROR gateway.panic: panicked at ")).expect(&log);
        assert!(line.contains("signal/mod.rs:") && line.contains(" on thread `main`: "), "{line}");
        assert!(line.contains(words) && line.contains(&format!(" profile={name} ")), "{line}");
        let why = why(&home, name);
        let exit = &why["last_exit"];
        assert_eq!(exit["how"], "exit 101, a panic: its log says where", "{why}");
        assert_eq!(exit["event"]["cause"], "nobody asked for it");
        let lines = why["log"]["lines"].as_array().unwrap();
        assert!(lines.iter().any(|line| line.as_str().unwrap().contains(words)), "{why}");
        let events = both(&run(&home, &["events", name]));
        let end = format!("worker (PID {worker}) ended, exit 101, a panic");
        assert!(events.contains(&end), "{events}");
        let answer = gateway.chat(&format!("/p/{name}"), &Home::key(name), "hello");
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert!(!both(&run(&home, &["why", "ops"])).contains("self-pipe"), "a secret is shown nowhere");
    assert_eq!(gateway.worker("default"), default, "nobody else noticed");
    assert!(!said("default").contains("panic"), "{}", said("default"));
    assert!(!home.read("default", "logs/supervisor.log").unwrap().contains("self-pipe"));
}
