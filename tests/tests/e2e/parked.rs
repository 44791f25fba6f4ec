//! Who is served, beside the allow-list: `gateway.parked` in a profile's home, `gateway.standalone` in its configuration, removed profiles.

use hermes_tests::background::Background;
use hermes_tests::gateway::hermes;
use hermes_tests::{Gateway, Home, command, wait};

const MARKER: &str = "gateway.parked";

fn run(home: &Home, args: &[&str]) -> command::Ran {
    command::run(home, args)
}

/// Under a running gateway: put there, the worker finishes and is gone; taken away, it serves again. Nobody else notices.
#[test]
fn a_marker_is_heeded_when_it_comes_and_when_it_goes() {
    let home = Home::new();
    home.profile("coder").profile("ops");
    let gateway = Gateway::start(&home);
    let ops = gateway.worker("ops");
    home.write("coder", MARKER, "put there with the machine\n");
    let coder = gateway.wait_state("coder", "parked");
    assert_eq!((coder.desired.as_str(), coder.pid, coder.restarts), ("stopped", None, 0));
    let answer = gateway.get("/p/coder/health", "");
    assert_eq!((answer.status, answer.text().contains(r#""state":"parked""#)), (503, true), "{answer:?}");
    let said = run(&home, &["-p", "coder", "gateway", "status"]).ok();
    assert!(said.contains("Profile 'coder': parked (hermes -p coder gateway start)"), "{said}");
    let list = run(&home, &["profile", "list"]).ok();
    assert!(list.lines().any(|line| line.contains("coder") && line.contains("parked")), "{list}");
    fs_err::remove_file(home.of("coder").join(MARKER)).unwrap();
    gateway.wait_ready("coder");
    wait::until_true("that the files wanted it", || {
        let events = run(&home, &["events", "coder", "--json"]).ok();
        let begun = events.lines().find(|line| line.contains("not parked any more"));
        begun.is_some_and(|line| line.contains(r#""who":"files""#))
    });
    // A directory is there as much as a file is.
    fs_err::create_dir(home.of("coder").join(MARKER)).unwrap();
    gateway.wait_state("coder", "parked");
    assert_eq!(gateway.worker("ops"), ops, "left alone");
}

/// By command, with a gateway: the marker and the record say the same, the next gateway keeps to it, and a start ends it.
#[test]
fn stop_and_start_put_it_there_and_take_it_away() {
    let home = Home::new();
    home.profile("coder");
    let mut gateway = Gateway::start(&home);
    let parked = "Profile 'coder' parked; its bots and cron are stopped. Start again with: hermes -p coder gateway start";
    for _ in 0..2 {
        let said = run(&home, &["-p", "coder", "gateway", "stop"]).ok();
        assert!(said.contains(parked), "{said}");
        assert_eq!(home.read("coder", MARKER).as_deref(), Some(""));
    }
    assert_eq!(gateway.profile("coder").state, "parked");
    gateway.stop();
    let said = run(&home, &["-p", "coder", "gateway", "status"]).ok();
    assert!(said.contains("Profile 'coder': parked (hermes -p coder gateway start)"), "{said}");
    let mut gateway = Gateway::start(&home);
    assert_eq!((gateway.profile("coder").state.as_str(), gateway.profile("coder").generation), ("parked", 0));
    let said = run(&home, &["-p", "coder", "gateway", "start"]).ok();
    assert!(said.contains("Profile 'coder' served by the host gateway."), "{said}");
    gateway.wait_ready("coder");
    assert_eq!(home.read("coder", MARKER), None);
    // A restart ends it too.
    run(&home, &["-p", "coder", "gateway", "stop"]).ok();
    let said = run(&home, &["-p", "coder", "gateway", "restart"]).ok();
    assert!(said.contains("Profile 'coder' served by the host gateway."), "{said}");
    gateway.wait_ready("coder");
    gateway.stop();
}

/// By command, without a gateway: the next one keeps to it.
#[test]
fn a_profile_is_parked_and_unparked_without_a_gateway() {
    let home = Home::new();
    home.profile("coder").profile("ops");
    for name in ["coder", "ops"] {
        let said = run(&home, &["-p", name, "gateway", "stop"]).ok();
        assert!(said.contains(&format!("Profile '{name}' parked;")), "{said}");
    }
    let background = Background(&home);
    let said = run(&home, &["-p", "ops", "gateway", "start"]).ok();
    assert!(said.contains("is running in the background: 2 of 2 profiles ready"), "{said}");
    run(&home, &["gateway", "stop"]).ok();
    assert_eq!(background.pid("default"), None);
    let gateway = Gateway::start(&home);
    assert_eq!(gateway.profile("coder").state, "parked");
    assert!(gateway.profile("ops").ready);
}

/// One that an allow-list keeps out is parked as well: newer releases know no such list and would serve it.
#[test]
fn one_that_is_kept_out_by_a_list_can_be_parked() {
    let home = Home::with_config(&Home::config("true", "  multiplex_profile_allowlist: [ops]\n"));
    home.profile("coder").profile("ops");
    let _gateway = Gateway::start(&home);
    let said = run(&home, &["-p", "coder", "gateway", "stop"]).ok();
    assert!(said.contains("Profile 'coder' parked;"), "{said}");
    assert_eq!(home.read("coder", MARKER).as_deref(), Some(""));
    // A start takes it away, and as no gateway serves the profile it gets its own.
    let background = Background(&home);
    run(&home, &["-p", "coder", "gateway", "start"]).ok();
    background.running("coder");
    assert_eq!(home.read("coder", MARKER), None);
}

/// What the other program took away while no gateway ran was taken away to have the profile served.
#[test]
fn a_marker_that_went_while_nobody_ran_ends_the_stop() {
    let home = Home::new();
    home.profile("coder").profile("ops");
    let mut gateway = Gateway::start(&home);
    for name in ["coder", "ops"] {
        run(&home, &["-p", name, "gateway", "stop"]).ok();
    }
    gateway.stop();
    fs_err::remove_file(home.of("coder").join(MARKER)).unwrap();
    let gateway = Gateway::start(&home);
    assert!(gateway.profile("coder").ready);
    assert_eq!(gateway.profile("ops").state, "parked");
}

/// The default profile has no marker: one in its home is ignored, which is said.
#[test]
fn the_marker_of_default_is_ignored_with_a_warning() {
    let home = Home::new();
    home.profile("coder");
    home.write("default", MARKER, "");
    let gateway = Gateway::start(&home);
    assert!(gateway.profile("default").ready && gateway.profile("coder").ready);
    let said = run(&home, &["status"]).ok();
    assert!(said.contains("The default profile cannot be parked"), "{said}");
    fs_err::remove_file(home.root().join(MARKER)).unwrap();
    wait::until_true("the status to say no more", || gateway.status().gateway.problems.is_empty());
}

/// Without multiplexing a profile's gateway is its own, and a marker means nothing to it.
#[test]
fn a_gateway_of_its_own_takes_no_notice() {
    let home = Home::with_config(&Home::config("false", ""));
    let own = "agent: {engine: echo}\nplatforms: {api_server: {enabled: true, extra: {port: 0}}}\n";
    home.profile_with("coder", own, "API_SERVER_KEY=coder-api-key-0123456789\n");
    home.write("coder", MARKER, "");
    let mut alone = hermes(&home, &["-p", "coder", "gateway", "run"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait::until_true("the profile's own gateway", || {
        home.read("coder", "runtime_status.json").is_some_and(|s| s.contains(r#""gateway_state":"running""#))
    });
    let said = run(&home, &["-p", "coder", "gateway", "stop"]).ok();
    assert!(said.contains("Stopped the gateway of profile 'coder'"), "{said}");
    assert_eq!(alone.wait().unwrap().code(), Some(0));
}

/// A removed profile's directory is no profile, whoever made it again, until a profile of that name is made.
#[test]
fn a_removed_profile_stays_removed_until_it_is_made_again() {
    let home = Home::new();
    home.profile("coder").profile("ghost").profile("ops");
    fs_err::create_dir_all(home.root().join("profiles/.deleted")).unwrap();
    for name in ["ghost", "ops"] {
        fs_err::write(home.root().join("profiles/.deleted").join(name), "deleted\n").unwrap();
    }
    fs_err::remove_dir_all(home.of("ghost")).unwrap();
    fs_err::create_dir_all(home.of("ghost").join("cron/output")).unwrap();
    let gateway = Gateway::start(&home);
    let names = |gateway: &Gateway<'_>| -> Vec<String> {
        gateway.status().profiles.into_iter().map(|profile| profile.name).collect()
    };
    assert_eq!(names(&gateway), ["default", "coder"]);
    assert_eq!(gateway.get("/p/ops/health", "").status, 404);
    let problems = gateway.status().gateway.problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].message.contains("profile `ops` was removed"), "{problems:?}");
    // What is left of a removed one goes; what looks like a profile does not, and its name is taken.
    let said = run(&home, &["profile", "create", "ghost"]).ok();
    assert!(said.contains("ghost"), "{said}");
    wait::until_true("the new one to be known", || names(&gateway).contains(&"ghost".to_owned()));
    assert!(
        !home.root().join("profiles/.deleted/ghost").exists()
            && !home.of("ghost").join("cron/output").exists()
    );
    assert!(run(&home, &["profile", "create", "ops"]).fails(1).contains("exists"));
    assert!(home.of("ops").join("config.yaml").exists());
    // Taken away under a running gateway, and put there by a removal.
    fs_err::remove_file(home.root().join("profiles/.deleted/ops")).unwrap();
    gateway.wait_ready("ops");
    run(&home, &["profile", "delete", "coder", "--yes"]).ok();
    assert!(home.root().join("profiles/.deleted/coder").exists());
    wait::until_true("the removed one to go", || !names(&gateway).contains(&"coder".to_owned()));
}

const ALONE: &str = "agent: {engine: echo}\ngateway: {standalone: true}\nplatforms: {api_server: {enabled: true, extra: {port: 0}}}\n";

/// `gateway.standalone`: not served, no fault and no restart; what its files say about listeners is its own. It may run its own
/// gateway, and taking the key out has it served.
#[test]
fn one_that_stands_alone_is_left_alone() {
    let home = Home::new();
    home.profile("ops").profile_with("coder", ALONE, "API_SERVER_KEY=coder-api-key-0123456789\n");
    let checked = run(&home, &["gateway", "check"]).ok();
    assert!(checked.contains("`gateway.standalone` is on: profile 'coder' is not served"), "{checked}");
    assert!(checked.contains("profiles: default, ops\n"), "{checked}");
    let gateway = Gateway::start(&home);
    let coder = gateway.wait_state("coder", "standalone");
    assert_eq!((coder.desired.as_str(), coder.pid, coder.restarts), ("stopped", None, 0));
    assert!(gateway.profile("ops").ready);
    assert_eq!(home.read("coder", "runtime_status.json"), None, "its own gateway writes that");
    let said = run(&home, &["status", "--exit-code"]).ok();
    assert!(said.contains("· coder: `gateway.standalone` is on"), "{said}");
    assert_eq!(gateway.get("/p/coder/health", "").status, 503);
    run(&home, &["doctor"]).ok();
    // Neither parked nor started by commands.
    let said = run(&home, &["-p", "coder", "gateway", "stop"]).ok();
    assert!(said.contains("Nothing to stop") && home.read("coder", MARKER).is_none(), "{said}");
    let background = Background(&home);
    run(&home, &["-p", "coder", "gateway", "start"]).ok();
    let own = background.running("coder");
    // Served only when that one is gone.
    home.write("coder", "config.yaml", "agent: {engine: echo}\n");
    gateway.wait_state("coder", "conflict");
    let said = run(&home, &["-p", "coder", "gateway", "stop"]).ok();
    assert!(said.contains(&format!("gateway of profile 'coder' (PID {own})")), "{said}");
    run(&home, &["-p", "coder", "gateway", "start"]).ok();
    gateway.wait_ready("coder");
    // Served, and then not any more: its worker finishes.
    home.write("coder", "config.yaml", ALONE);
    let coder = gateway.wait_state("coder", "standalone");
    assert_eq!((coder.pid, coder.restarts), (None, 0));
    wait::until_true("the list without it", || {
        let text = home.read("default", "gateway_state.json");
        text.is_some_and(|text| text.contains(r#""served_profiles":["default","ops"]"#))
    });
}

/// A home that a newer release used may have had all profiles served without a word in its files.
#[test]
fn a_home_of_a_newer_release_is_told_that_nobody_else_is_served() {
    let said_nothing = Home::config("true", "").replace("  multiplex_profiles: true\n", "");
    let home = Home::with_config(&format!("_config_version: 44\n{said_nothing}"));
    home.profile("coder");
    home.write("default", ".multiplex_opt_out_rewritten", "rewritten\n");
    let word = "may have served all profiles";
    assert!(run(&home, &["gateway", "check"]).ok().contains(word));
    let doctor = run(&home, &["doctor"]).ok();
    assert!(doctor.contains(word) && doctor.contains("from false into true"), "{doctor}");
    let gateway = Gateway::start(&home);
    assert!(gateway.profile("coder").pid.is_none());
    assert!(gateway.profile("default").problems.iter().any(|problem| problem.code == "multiplex_default"));
    assert!(!home.read("default", "config.yaml").unwrap().contains("multiplex_profiles"), "never written");
}
