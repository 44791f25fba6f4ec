//! 3: the Python program's live gateway is named, with the command that takes over, and that command takes over.

use hermes_tests::command::run;
use hermes_tests::predecessor::Predecessor;
use hermes_tests::{Gateway, Home, wait};

const TAKES_OVER: &str = "hermes gateway run --replace";

/// 3: `status` and `run` name program, process and the way on; neither points at what the other refuses.
#[test]
fn n3_it_is_named_with_the_command_that_takes_over() {
    for with_lock in [true, false] {
        let home = Home::new();
        let old = Predecessor::start(&home, "default", with_lock, &[]);
        let pid = format!("PID {}", old.pid());
        let status = run(&home, &["status"]).ok();
        assert!(status.contains(&pid) && status.contains("hermes gateway run`"), "{status}");
        assert!(status.contains(TAKES_OVER) && !status.contains("start it with"), "{status}");
        assert!(status.contains("Python program"), "{status}");
        let refused = run(&home, &["gateway", "run"]).fails(1);
        assert!(
            refused.starts_with(&format!("✗ Another gateway instance is already running ({pid}).\n")),
            "{refused}"
        );
        assert!(refused.contains(TAKES_OVER) && refused.contains("Python program"), "{refused}");
        assert!(!refused.contains("gateway restart"), "that would not help: {refused}");
        for args in [&["gateway", "check"][..], &["doctor"]] {
            let ran = run(&home, args);
            let text = format!("{}{}", ran.out, ran.err);
            assert!(text.contains(&pid) && text.contains(TAKES_OVER), "{args:?}: {text}");
        }
        let restart = run(&home, &["gateway", "restart"]).fails(1);
        assert!(restart.contains(TAKES_OVER), "{restart}");
        assert!(old.is_alive());
    }
}

/// 3: `--replace` ends it as planned, with the marker that it looks for, and starts.
#[test]
fn n3_replace_takes_over() {
    for with_lock in [true, false] {
        let home = Home::new();
        home.profile("coder");
        let old = Predecessor::start(&home, "default", with_lock, &["default", "coder"]);
        let mut gateway = Gateway::spawn_replacing(&home);
        gateway.wait_settled();
        assert!(!old.is_alive());
        assert_eq!(home.read("default", "ended").as_deref(), Some(".gateway-takeover.json\n"));
        assert!(home.read("default", ".gateway-takeover.json").is_none());
        assert!(gateway.profile("coder").ready);
    }
}

/// 3: `gateway stop` stops it, as planned, and once more says that there is nothing to do.
#[test]
fn n3_stop_stops_it() {
    let home = Home::new();
    let old = Predecessor::start(&home, "default", true, &[]);
    let out = run(&home, &["gateway", "stop"]).ok();
    assert!(out.contains(&format!("PID {}", old.pid())), "{out}");
    assert!(!old.is_alive());
    assert_eq!(home.read("default", "ended").as_deref(), Some(".gateway-planned-stop.json\n"));
}

/// 3: one that serves one profile alone is a conflict for that profile only; one that serves it refuses its own gateway.
#[test]
fn n3_of_one_profile_and_of_all() {
    let home = Home::new();
    home.profile("coder").profile("ops");
    let old = Predecessor::start(&home, "coder", true, &[]);
    let gateway = Gateway::start(&home);
    let coder = gateway.wait_state("coder", "conflict");
    assert!(coder.reason.unwrap().contains("Python program"));
    assert!(gateway.profile("ops").ready);
    drop((gateway, old));

    let _old = Predecessor::start(&home, "default", true, &["default", "ops"]);
    let refused = run(&home, &["-p", "ops", "gateway", "run"]).fails(1);
    assert!(refused.contains(TAKES_OVER), "{refused}");
    wait::until_true("nothing to be left", || home.read("ops", "gateway.pid").is_none());
}

/// 3: a gateway that a service manager runs is replaced by stopping its unit; ended alone, it would be started again.
#[test]
#[expect(clippy::disallowed_methods, reason = "talks to the service manager of this user")]
fn n3_replace_stops_the_unit_that_would_start_it_again() {
    let Some(manager) = hermes_tests::tools::user_manager() else { return };
    let home = Home::new();
    home.profile("coder");
    let unit = format!("hermes-test-{}.service", std::process::id());
    let systemctl = |args: &[&str]| {
        let mut command = std::process::Command::new(args[0]);
        command.args(&args[1..]).env("XDG_RUNTIME_DIR", &manager).output().unwrap()
    };
    let set = |name: &str, value: &str| format!("--setenv={name}={value}");
    let program = hermes_tests::gateway::binary();
    let started = systemctl(&[
        "systemd-run",
        "--user",
        "--collect",
        &format!("--unit={unit}"),
        "--property=Restart=always",
        "--property=RestartSec=100ms",
        &set("HERMES_HOME", home.root().as_str()),
        &set("HOME", home.user().as_str()),
        &set("XDG_RUNTIME_DIR", &manager),
        program.to_str().unwrap(),
        "gateway",
        "run",
    ]);
    assert!(started.status.success(), "{started:?}");
    let pid = || {
        home.read("default", "gateway.pid")
            .and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok()?.get("pid")?.as_u64())
    };
    wait::until_true("the unit's gateway", || pid().is_some());
    let its = pid();
    let mut command = hermes_tests::gateway::hermes(&home, &["gateway", "run", "--replace", "-v"]);
    command.env("XDG_RUNTIME_DIR", &manager);
    let log = fs_err::File::create(home.user().join("gateway.out")).unwrap().into_file();
    command.stdout(log.try_clone().unwrap()).stderr(log);
    let ours = hermes_tests::Running(command.spawn().unwrap());
    wait::until_true("the other one to take over", || pid() == Some(u64::from(ours.0.id())));
    let state = systemctl(&["systemctl", "--user", "is-active", &unit]);
    assert_ne!(String::from_utf8_lossy(&state.stdout).trim(), "active", "{state:?}");
    // Longer than the manager waits before it starts a unit again.
    wait::pass(std::time::Duration::from_secs(1));
    assert!(pid() == Some(u64::from(ours.0.id())) && pid() != its);
    hermes_tests::process::signal(ours.0.id(), nix::sys::signal::Signal::SIGTERM);
    wait::until_true("its end", || pid().is_none());
}
