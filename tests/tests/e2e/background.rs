//! `hermes gateway start`, `stop` and `restart` where no service manager is: in the background, with the result that was observed.

use std::os::unix::fs::PermissionsExt as _;

use hermes_tests::background::Background;
use hermes_tests::command::run;
use hermes_tests::predecessor::Predecessor;
use hermes_tests::terminal::Terminal;
use hermes_tests::{Gateway, Home, home, process, wait};
use nix::sys::signal::Signal;
use serde_json::Value;

/// A home without multiplexing, whose profiles have gateways of their own.
fn single() -> Home {
    let home = Home::with_config(&Home::config("false", ""));
    for name in ["coder", "ops"] {
        let config = "agent: {engine: echo}\nplatforms: {api_server: {enabled: true, extra: {port: 0}}}\n";
        home.profile_with(name, config, &format!("API_SERVER_KEY={}\n", Home::key(name)));
    }
    home
}

fn json(home: &Home, args: &[&str], code: i32) -> Value {
    let ran = run(home, args);
    assert_eq!(ran.code, Some(code), "{ran:#?}");
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:#?}"))
}

/// Session and standard input of a process.
fn session(pid: u32) -> (u32, String) {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let session = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().nth(3).unwrap().parse().unwrap();
    let stdin = fs_err::read_link(format!("/proc/{pid}/fd/0")).unwrap();
    (session, stdin.to_string_lossy().into_owned())
}

/// Complaint 11: a start returns, and the gateway is nobody's child, in no terminal, with its words in its log.
#[test]
fn n2_9_a_start_without_a_service_manager_is_one_in_the_background() {
    if !hermes_tests::tools::may_look_into_others() {
        return;
    }
    let home = Home::new();
    home.profile("coder");
    let background = Background(&home);
    let out = run(&home, &["gateway", "start"]).ok();
    let pid = background.running("default");
    let line = format!("✓ The gateway (PID {pid}) is running in the background: 2 of 2 profiles ready\n");
    assert!(out.ends_with(&line), "{out}");
    assert_eq!(session(pid), (pid, "/dev/null".to_owned()));
    let detached = |pid| process::contains(&process::environment(pid).unwrap(), b"HERMES_GATEWAY_DETACHED=1");
    let worker = hermes_tests::gateway::status(&home).profiles[1].pid.unwrap();
    assert!(detached(pid) && !detached(worker));
    assert!(home.read("default", "logs/supervisor.log").is_some_and(|log| log.contains("starting")));
    assert_eq!(run(&home, &["gateway", "start"]).ok(), format!("✓ The gateway (PID {pid}) is running\n"));
    assert_eq!(background.pid("default"), Some(pid), "left alone");
    let list = run(&home, &["gateway", "list"]).ok();
    assert!(list.starts_with(&format!("Gateways:\n  ✓ default (current)        — PID {pid}\n")), "{list}");
    assert!(
        list.contains(&format!("  ✓ coder                    — PID {worker} (served by PID {pid})\n")),
        "{list}"
    );
    run(&home, &["gateway", "restart"]).ok();
    assert_eq!(background.pid("default"), Some(pid), "its workers were replaced, not it");
    let out = run(&home, &["gateway", "stop"]).ok();
    assert!(out.ends_with(&format!("✓ Stopped the gateway (PID {pid})\n")), "{out}");
    assert!(!process::is_alive(pid) && process::using(&home.root()).is_empty());
    let list = run(&home, &["gateway", "list"]).ok();
    assert!(list.contains("  ✗ coder                    — not running\n"), "{list}");
    // A restart of what does not run starts it.
    assert!(run(&home, &["gateway", "restart"]).ok().contains("is running in the background"));
    assert_ne!(background.running("default"), pid);
}

/// A first start makes the home, as `run` does, and counts who cannot answer as it is counted everywhere.
#[test]
fn n2_9_a_first_start_makes_the_home_and_says_who_cannot_answer() {
    let home = Home::empty();
    fs_err::remove_dir(home.root()).unwrap();
    let background = Background(&home);
    let out = run(&home, &["gateway", "start"]).ok();
    background.running("default");
    let why = "No inference provider configured: its agent cannot answer";
    assert!(out.contains("is running in the background: 0 of 1 profile ready, 1 degraded\n"), "{out}");
    assert!(out.contains(&format!("⚠ profile 'default' is degraded: {why}")), "{out}");
    let status = run(&home, &["gateway", "status"]).ok();
    assert!(status.contains("0 of 1 ready, 1 degraded"), "{status}");
}

/// What keeps a gateway from starting is said in its own words, with its own exit code, and nothing is left.
#[test]
fn n2_9_a_start_that_fails_says_what_the_gateway_said() {
    let home = Home::with_config(&Home::config("maybe", ""));
    let _background = Background(&home);
    let ran = run(&home, &["gateway", "run", "-q"]);
    let started = run(&home, &["gateway", "start"]);
    assert_eq!((ran.code, started.code), (Some(78), Some(78)), "{started:#?}");
    assert_eq!(started.err, ran.err);
    let object = json(&home, &["gateway", "start", "--json"], 78);
    assert_eq!((&object["ok"], &object["changed"]), (&false.into(), &false.into()));
    assert!(object["message"].as_str().unwrap().contains("multiplex_profiles"), "{object}");
    assert_eq!(object["observed"]["gateway"]["state"], "stopped");
    assert!(process::using(&home.root()).is_empty());
}

/// Complaints 3 and 15: one object that says what was asked, what was seen afterwards, and whether anything is another way.
#[test]
fn n7_8_verbs_answer_programs_with_what_they_observed() {
    let home = Home::new();
    home.profile("coder");
    let background = Background(&home);
    let object = json(&home, &["gateway", "start", "--json"], 0);
    let pid = background.running("default");
    assert_eq!((&object["asked"]["verb"], &object["asked"]["profile"]), (&"start".into(), &Value::Null));
    assert_eq!((&object["changed"], &object["awaited"]), (&true.into(), &true.into()));
    assert_eq!(object["observed"]["gateway"]["pid"], pid);
    assert_eq!(json(&home, &["gateway", "start", "--json"], 0)["changed"], false);
    for (verb, changed, state) in [
        ("stop", true, "parked"),
        ("stop", false, "parked"),
        ("start", true, "ready"),
        ("start", false, "ready"),
        ("restart", true, "ready"),
    ] {
        let object = json(&home, &["gateway", verb, "coder", "--json"], 0);
        let seen = &object["observed"]["profile"];
        assert_eq!(
            (&object["changed"], &seen["state"]),
            (&changed.into(), &state.into()),
            "{verb}: {object}"
        );
        assert_eq!((&object["asked"]["profile"], &seen["name"]), (&"coder".into(), &"coder".into()));
    }
    let list = json(&home, &["gateway", "list", "--json"], 0);
    assert_eq!(list["gateways"][1]["gateway_pid"], pid);
    let object = json(&home, &["gateway", "stop", "--json"], 0);
    assert_eq!(object["observed"]["gateway"]["state"], "stopped");
    assert_eq!(json(&home, &["gateway", "stop", "--json"], 0)["changed"], false);
    // A refusal is an object, too.
    let object = json(&home, &["gateway", "start", "coder", "--json", "--take-over"], 0);
    assert_eq!(object["observed"]["profile"]["state"], "ready", "{object}");
}

/// `--all` is each profile of this home, by its list: other homes have gateways, and keep them.
#[test]
fn n7_3_all_is_each_profile_of_this_home() {
    let other = Home::new();
    let beside = Gateway::start(&other);
    let home = single();
    let background = Background(&home);
    run(&home, &["gateway", "start", "--all"]).ok();
    let pids: Vec<u32> = ["default", "coder", "ops"].map(|name| background.running(name)).to_vec();
    // D23: a start by name leaves each alone, as does another one of all.
    let object = json(&home, &["gateway", "start", "--all", "--json"], 0);
    assert_eq!(
        (&object["changed"], object["results"].as_array().unwrap().len()),
        (&false.into(), 3),
        "{object}"
    );
    let own = run(&home, &["-p", "coder", "gateway", "status", "--pid"]).ok();
    assert_eq!(own, format!("{}\n", pids[1]), "2: no process of another profile");
    let list = run(&home, &["gateway", "list"]).ok();
    for (name, pid) in [("default (current)", pids[0]), ("coder", pids[1]), ("ops", pids[2])] {
        assert!(list.contains(&format!("  ✓ {name:<24} — PID {pid}\n")), "{list}");
    }
    run(&home, &["-p", "ops", "gateway", "stop"]).ok();
    assert!(process::is_alive(pids[1]) && !process::is_alive(pids[2]));
    let out = run(&home, &["gateway", "stop", "--all"]).ok();
    assert!(out.contains(&format!("✓ Stopped the gateway of profile 'coder' (PID {})\n", pids[1])), "{out}");
    assert!(pids.iter().all(|pid| !process::is_alive(*pid)));
    assert!(run(&home, &["gateway", "stop", "--all"]).ok().contains("Nothing to stop"));
    assert!(process::is_alive(beside.pid()) && beside.profile("default").ready);
}

/// Whoever starts one profile of a gateway that serves all starts that gateway; one that it does not serve gets its own.
#[test]
fn c32_a_start_by_name_starts_whoever_serves_the_profile() {
    let home = Home::with_config(&Home::config("true", "  multiplex_profile_allowlist: [coder]\n"));
    home.profile("coder").profile_with("ops", "agent: {engine: echo}\n", "");
    let background = Background(&home);
    let out = run(&home, &["-p", "coder", "gateway", "start"]).ok();
    let root = background.running("default");
    assert!(out.contains(&format!("✓ The gateway (PID {root}) is running in the background")), "{out}");
    assert_eq!(background.pid("coder"), None);
    let out = run(&home, &["-p", "ops", "gateway", "start"]).ok();
    let own = background.running("ops");
    assert!(out.contains(&format!("✓ The gateway of profile 'ops' (PID {own}) is running")), "{out}");
    assert!(run(&home, &["-p", "ops", "gateway", "stop"]).ok().contains(&format!("(PID {own})")));
    assert_eq!(background.pid("default"), Some(root));
}

/// 29, 33: `--force` is the only way to a second gateway, and its worker is gone before the other one begins.
#[test]
fn c33_a_forced_start_detaches_first() {
    let home = Home::new();
    home.profile_with(
        "coder",
        "agent: {engine: echo}\n",
        &format!("API_SERVER_KEY={}\n", Home::key("coder")),
    );
    let background = Background(&home);
    run(&home, &["gateway", "start"]).ok();
    let refused = run(&home, &["gateway", "start", "-p", "coder", "--foreground"]).fails(78);
    assert!(refused.starts_with("✗ The default gateway is running as a profile multiplexer"), "{refused}");
    run(&home, &["gateway", "start", "-p", "coder", "--force"]).ok();
    let own = background.running("coder");
    let coder = |home: &Home| hermes_tests::gateway::status(home).profiles.remove(1);
    assert_eq!(coder(&home).state, "detached");
    // Back, on request.
    run(&home, &["gateway", "start", "-p", "coder", "--take-over"]).ok();
    assert!(!process::is_alive(own) && coder(&home).ready && background.pid("coder").is_none());
}

/// 34, 35: whoever runs for a profile beside the gateway of all is named with process and file, and gives way only on request.
#[test]
fn c34_c35_a_standalone_gateway_is_a_conflict_until_somebody_asks() {
    let home = Home::new();
    home.profile("coder").profile("ops");
    let theirs = Predecessor::start(&home, "coder", true, &[]);
    let gateway = Gateway::start(&home);
    let coder = gateway.wait_state("coder", "conflict");
    let reason = coder.reason.unwrap();
    assert!(reason.contains(&format!("PID {}", theirs.pid())) && reason.contains("--take-over"), "{reason}");
    assert_eq!(coder.file.as_deref(), Some(home.of("coder").join("gateway.pid").as_str()));
    assert!(gateway.profile("ops").ready);
    // A start leaves it alone, and says how it would not.
    let said = run(&home, &["gateway", "start", "coder"]).ok();
    assert!(said.contains("Running already") && theirs.is_alive(), "{said}");
    run(&home, &["gateway", "start", "coder", "--take-over"]).ok();
    assert!(!theirs.is_alive() && gateway.profile("coder").ready);
    assert_eq!(home.read("coder", "ended").as_deref(), Some(".gateway-takeover.json\n"));
}

/// The same of one that is known by the record of a host alone.
#[test]
fn c34_a_host_record_of_a_profile_is_a_conflict() {
    let home = Home::new();
    home.profile("coder");
    let mut command = hermes_tests::command::outside("/bin/sleep".into());
    let host = hermes_tests::Running(command.arg("600").spawn().unwrap());
    let locks = home.user().join(".local/state/hermes/gateway-locks");
    fs_err::create_dir_all(&locks).unwrap();
    let record = serde_json::json!({
        "role": "gateway", "home": home.of("coder"), "pid": host.0.id(), "host": "", "port": null,
        "protocolVersion": 1, "tokenFingerprint": "", "profiles": ["coder"], "updatedAt": "",
    });
    fs_err::write(locks.join("host-gateway.json"), record.to_string()).unwrap();
    for (path, mode) in [(locks.clone(), 0o700), (locks.join("host-gateway.json"), 0o600)] {
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let gateway = Gateway::start(&home);
    let coder = gateway.wait_state("coder", "conflict");
    assert!(coder.reason.unwrap().contains(&format!("PID {}", host.0.id())));
    assert_eq!(coder.file.as_deref(), Some(locks.join("host-gateway.json").as_str()));
    drop(host);
    run(&home, &["gateway", "start", "coder"]).ok();
    assert!(gateway.profile("coder").ready);
}

/// Complaint 3: one that does not answer is ended, and that is said; exit 0 only when it is gone.
#[test]
fn n2_5_a_stop_of_one_that_does_not_answer_ends_it() {
    let home = Home::new();
    let background = Background(&home);
    run(&home, &["gateway", "start"]).ok();
    let pid = background.running("default");
    process::signal(pid, Signal::SIGSTOP);
    let out = run(&home, &["gateway", "stop"]).ok();
    assert!(out.contains(&format!("⚠ the gateway (PID {pid}) does not answer")), "{out}");
    assert!(out.ends_with(&format!("✓ Stopped the gateway (PID {pid})\n")), "{out}");
    assert!(!process::is_alive(pid));
}

/// 2.6: whoever stops everything from inside a turn is told that it will be done, and waits for nothing.
#[test]
fn n2_6_a_stop_from_inside_a_turn_does_not_wait_for_itself() {
    let config =
        Home::config("true", "").replace("prompt: 'say {text}'", "prompt: 'say {text}', script: again.sh");
    // Behind a fence there is no way to the gateway.
    let home = Home::with_config(&format!("{config}terminal: {{fence: 'off'}}\n"));
    let mut gateway = Gateway::start(&home);
    let said = home.user().join("said");
    home.write(
        "default",
        "scripts/again.sh",
        &format!(
            "export HERMES_HOME='{}' XDG_RUNTIME_DIR='{}'\n'{}' gateway stop --json > '{said}' 2>&1\ncat\n",
            home.root(),
            home.runtime(),
            hermes_tests::gateway::binary().display()
        ),
    );
    assert_eq!(gateway.hook("/webhooks/hook", home::SECRET, "d1", r#"{"text": "x"}"#).status, 202);
    assert_eq!(gateway.wait(), Some(0));
    let object: Value = serde_json::from_str(&fs_err::read_to_string(&said).unwrap()).unwrap();
    assert_eq!((&object["awaited"], &object["exit_code"]), (&false.into(), &0.into()), "{object}");
}

/// On a terminal what happens is one line that goes when there is a result; and the gateway outlives the terminal.
#[test]
fn n2_9_progress_is_one_line_on_a_terminal_and_the_gateway_outlives_it() {
    let home = Home::new();
    let background = Background(&home);
    let terminal = Terminal::run(&home, "hermes gateway start; echo done-$?");
    terminal.wait_for("done-0", 1);
    let screen = terminal.screen();
    assert!(screen.contains("\r  starting the gateway (PID ") && screen.contains("\x1b[K"), "{screen:?}");
    let pid = background.running("default");
    drop(terminal);
    wait::pass(std::time::Duration::from_millis(300));
    assert!(process::is_alive(pid) && hermes_tests::gateway::status(&home).profiles[0].ready);
}
