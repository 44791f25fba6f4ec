//! What was left behind, moved away or put in the way.

use hermes_tests::command::run;
use hermes_tests::gateway::{Gateway, hermes};
use hermes_tests::home::SECRET;
use hermes_tests::{Home, Running, process, wait};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;

/// 33: a log that was moved away or removed is made anew.
#[test]
fn n33_a_log_that_was_moved_away_is_made_anew() {
    let home = Home::new();
    home.profile("ops");
    let gateway = Gateway::start(&home);
    let log = home.root().join("logs/supervisor.log");
    for n in 0..2 {
        if n == 0 {
            fs_err::rename(&log, log.with_extension("old")).unwrap();
        } else {
            fs_err::remove_file(&log).unwrap();
        }
        run(&home, &["gateway", "restart", "-p", "ops"]).ok();
        wait::until_true("the log to be there", || {
            fs_err::read_to_string(&log).is_ok_and(|text| text.contains("[ops]"))
        });
    }
    drop(gateway);
}

/// 33: a start and a status name the process that holds the lock without being a gateway.
#[test]
fn n33_a_foreign_lock_is_named() {
    let home = Home::new();
    let file = fs_err::File::create(home.root().join("gateway.lock")).unwrap().into_file();
    let held = Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap();
    let own = format!("process {} (", std::process::id());
    let refused = run(&home, &["gateway", "run"]).fails(78);
    assert!(refused.contains(&own) && refused.contains("no gateway"), "{refused}");
    let shown = run(&home, &["status"]);
    assert!(shown.out.contains(&own) && shown.out.contains("no gateway"), "{shown:?}");
    drop(held);
}

/// 33: what comes out of a home is shown on a terminal, never obeyed, and a status file is no way to another file.
#[test]
fn n33_a_status_file_is_neither_obeyed_nor_followed() {
    let home = Home::new();
    home.profile("coder");
    home.profile_with("ops", "agent: {engine: echo}\n", "API_SERVER_KEY=canary-key-0123456789\n");
    home.write(
        "coder",
        "runtime_status.json",
        r#"{"pid":1,"gateway_state":"stopped","exit_reason":"\u001b]0;owned\u0007\u001b[2J\u009b2J\u202egone","platforms":{}}"#,
    );
    let shown = run(&home, &["status"]).ok();
    assert!(shown.contains("\\u{1b}]0;owned\\u{7}"), "{shown}");
    assert!(!shown.contains(['\u{1b}', '\u{9b}', '\u{7}', '\u{202e}']), "{shown:?}");

    let gateway = Gateway::start(&home);
    let status = home.of("coder").join("runtime_status.json");
    for file in [&status, &home.of("coder").join("gateway_state.json")] {
        let _ = fs_err::remove_file(file);
        std::os::unix::fs::symlink(home.of("ops").join(".env"), file).unwrap();
    }
    for _ in 0..3 {
        let shown = run(&home, &["status", "-p", "coder"]).ok();
        assert!(!shown.contains("canary"), "{shown}");
    }
    if hermes_tests::tools::may_look_into_others() {
        assert_eq!(process::find_in_memory(gateway.pid(), &["canary-key-0123456789"]), [""; 0]);
    }
    fs_err::remove_file(&status).unwrap();
    fs_err::remove_file(home.of("coder").join("gateway_state.json")).unwrap();
}

/// 33: a process that a route script left running, in a session of its own, ends when the gateway is killed.
#[test]
fn n33_nothing_of_a_script_outlives_a_killed_gateway() {
    let home = Home::new();
    let note = home.user().join("daemon");
    home.profile_with(
        "ops",
        &format!(
            "agent: {{engine: echo}}\nplatforms: {{webhook: {{extra: {{secret: {SECRET}-ops, routes: {{hook: {{prompt: x, script: left.sh}}}}}}}}}}\n"
        ),
        "API_SERVER_KEY=ops-api-key-0123456789\n",
    );
    home.write(
        "ops",
        "scripts/left.sh",
        &format!("setsid env -i sh -c 'echo $$ > {note}.new; mv {note}.new {note}; exec sleep 600' >/dev/null 2>&1 &\necho '[SILENT]'\n"),
    );
    let mut gateway = Gateway::start(&home);
    let answer = gateway.hook("/p/ops/webhooks/hook", &format!("{SECRET}-ops"), "one", "{}");
    assert!(answer.status < 300, "{answer:?}");
    let daemon: u32 =
        wait::until("the script's process", || fs_err::read_to_string(&note).ok()?.trim().parse().ok());
    assert!(process::is_alive(daemon));
    gateway.signal(Signal::SIGKILL);
    gateway.wait();
    wait::until_true("the script's process to end", || !process::is_alive(daemon));
}

/// 33: a profile can be stopped where nothing can be written; that it is not remembered is said.
#[test]
fn n33_a_stop_needs_no_disk() {
    let home = Home::new();
    home.profile("ops");
    let gateway = Gateway::start(&home);
    // Nothing can take its place, as on a full disk.
    fs_err::create_dir_all(home.root().join("gateway_desired.json/full")).unwrap();
    fs_err::os::unix::fs::symlink("nowhere", home.of("ops").join("gateway.parked")).unwrap();
    let stopped = run(&home, &["gateway", "stop", "-p", "ops"]).ok();
    assert!(stopped.contains("cannot be remembered") && stopped.contains("ops"), "{stopped}");
    let ops = gateway.profile("ops");
    assert_eq!((ops.state.as_str(), ops.pid), ("stopped", None));
    run(&home, &["gateway", "start", "-p", "ops"]).ok();
    gateway.wait_ready("ops");
}

/// 33: a home whose path no database can be opened by is refused, with that reason.
#[test]
fn n33_a_path_that_is_too_long_is_the_reason_given() {
    let home = Home::new();
    let mut deep = home.user();
    while deep.as_str().len() < 500 {
        deep.push("d".repeat(99));
    }
    fs_err::create_dir_all(deep.parent().unwrap()).unwrap();
    fs_err::rename(home.root(), &deep).unwrap();
    let mut command = hermes(&home, &["gateway", "run"]);
    command
        .env("HERMES_HOME", &deep)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped());
    let child = Running(command.spawn().unwrap());
    let output = wait_with_output(child);
    assert!(output.contains("bytes") && output.contains("shorter"), "{output}");
}

fn wait_with_output(mut child: Running) -> String {
    use std::io::Read as _;
    let mut text = String::new();
    child.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(child.0.wait().unwrap().code(), Some(78), "{text}");
    text
}
