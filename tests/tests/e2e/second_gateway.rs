//! A second gateway beside the one that runs.

use hermes_tests::gateway::{both, run};
use hermes_tests::{Gateway, Home, wait};

const GUARD: &str =
    "✗ The default gateway is running as a profile multiplexer and already serves profile 'coder'.";

#[test]
fn c29_c31_a_served_profile_is_refused_by_the_live_supervisor() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    for env in [None, Some("0"), Some("1")] {
        let mut command = hermes_tests::gateway::hermes(&home, &["-p", "coder", "gateway", "run"]);
        if let Some(value) = env {
            command.env("GATEWAY_MULTIPLEX_PROFILES", value);
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{}", both(&output));
        let text = both(&output);
        assert_eq!(text.lines().find(|l| !l.is_empty()), Some(GUARD), "{text}");
    }
    // The file may say what it likes: the process that runs decides.
    drop(gateway);
    let output = hermes_tests::gateway::hermes(&home, &["worker", "-p", "nope"]).output().unwrap();
    assert_ne!(output.status.code(), Some(0));
}

/// 30: `install` for a served profile is refused like `run`, and writes nothing; `start` finds it running and leaves it so.
#[test]
fn c30_a_served_profile_gets_no_unit_and_need_not_be_started() {
    let home = Home::lasting();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let worker = gateway.worker("coder");
    let output = run(&home, &["-p", "coder", "gateway", "install"]);
    assert_eq!(output.status.code(), Some(78), "{}", both(&output));
    assert_eq!(both(&output).lines().find(|line| !line.is_empty()), Some(GUARD), "{}", both(&output));
    assert!(!home.user().join(".config/systemd").exists());
    let output = run(&home, &["-p", "coder", "gateway", "start"]);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    assert!(both(&output).contains("is running already"), "{}", both(&output));
    assert_eq!(gateway.worker("coder"), worker);
}

#[test]
fn c32_a_profile_that_is_not_served_may_start_alone() {
    let home = Home::with_config(&Home::config("true", "  multiplex_profile_allowlist: []\n"));
    home.profile_with(
        "coder",
        "agent: {engine: echo}\nplatforms: {api_server: {enabled: true, extra: {port: 0}}}\n",
        "API_SERVER_KEY=coder-api-key-0123456789\n",
    );
    let _gateway = Gateway::start(&home);
    let mut alone = hermes_tests::gateway::hermes(&home, &["-p", "coder", "gateway", "run"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait::until_true("the standalone gateway", || {
        home.read("coder", "runtime_status.json").is_some_and(|s| s.contains(r#""gateway_state":"running""#))
    });
    hermes_tests::process::signal(alone.id(), nix::sys::signal::Signal::SIGTERM);
    assert_eq!(alone.wait().unwrap().code(), Some(0));
}

#[test]
fn a_debug_worker_refuses_while_a_supervisor_serves_the_profile() {
    let home = Home::new();
    home.profile("coder");
    let _gateway = Gateway::start(&home);
    let output = run(&home, &["worker", "-p", "coder"]);
    assert_eq!(output.status.code(), Some(78), "{}", both(&output));
}

#[test]
fn c33_force_detaches_the_profile() {
    let home = Home::new();
    home.profile_with("coder", "agent: {engine: echo}\n", "API_SERVER_KEY=coder-api-key-0123456789\n");
    let gateway = Gateway::start(&home);
    let mut alone = hermes_tests::gateway::hermes(&home, &["-p", "coder", "gateway", "run", "--force"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let coder = gateway.wait_state("coder", "detached");
    assert_eq!(coder.pid, None);
    assert_eq!(gateway.api("GET", "/p/coder/health", &[], b"").status, 503);
    hermes_tests::process::signal(alone.id(), nix::sys::signal::Signal::SIGTERM);
    alone.wait().unwrap();
}
