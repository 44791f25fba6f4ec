//! Homes that cannot be looked at, and default's file in the hands of an editor: nobody is stopped by an error.

use hermes_tests::gateway::{both, run};
use hermes_tests::{Gateway, Home, Loop, wait};

fn problem(gateway: &Gateway<'_>, code: &str) -> Option<hermes_wire::latest::Problem> {
    gateway.status().gateway.problems.into_iter().find(|problem| problem.code == code)
}

/// 9: `profiles/` cannot be listed: everybody goes on, what was stopped stays stopped, status says so, and it mends itself.
#[test]
fn n9_an_unlistable_directory_of_profiles_stops_nobody_and_forgets_nothing() {
    let home = Home::new();
    home.profile("coder").profile("ops").profile("sleepy");
    let gateway = Gateway::start(&home);
    assert_eq!(run(&home, &["gateway", "stop", "-p", "sleepy"]).status.code(), Some(0));
    let pids = [gateway.worker("default"), gateway.worker("coder"), gateway.worker("ops")];
    let broken = Loop::put(home.root().join("profiles"));
    let said = wait::until("the status to say so", || problem(&gateway, "unseen"));
    assert!(said.file.ends_with("/profiles") && said.message.contains("symbolic link"), "{said:?}");
    assert_eq!(gateway.get("/p/coder/v1/models", &Home::key("coder")).status, 200);
    let text = both(&run(&home, &["status"]));
    assert!(text.contains("✗ The profiles cannot be listed"), "{text}");
    // Whoever asks for another look gets the same.
    gateway.signal(nix::sys::signal::Signal::SIGUSR1);
    wait::pass(std::time::Duration::from_secs(2));
    broken.remove();
    wait::until_true("the status to say no more", || problem(&gateway, "unseen").is_none());
    assert_eq!(gateway.profile("sleepy").state, "parked");
    assert_eq!(
        home.read("default", "gateway_desired.json").unwrap(),
        r#"{"schema":1,"stopped":["sleepy"],"marked":["sleepy"]}"#
    );
    assert!(gateway.profile("ops").ready && gateway.profile("coder").ready, "{pids:?}");
    std::fs::remove_dir_all(home.of("ops")).unwrap();
    wait::until_true("what is really gone to be removed", || {
        gateway.status().profiles.iter().all(|p| p.name != "ops")
    });
}

/// 9: what was stopped on purpose cannot be read at a start: it is said, kept, never overwritten, and kept to once it can be.
#[test]
fn n9_what_was_stopped_on_purpose_is_not_lost_with_an_unreadable_file() {
    let home = Home::new();
    home.profile("coder");
    home.write("default", "gateway_desired.json", "{\"schema\":1,\"stopped\":[\"cod");
    let gateway = Gateway::start(&home);
    let said = wait::until("the status to say so", || problem(&gateway, "desired_state"));
    assert!(said.file.ends_with("gateway_desired.json"), "{said:?}");
    assert!(home.read("default", "gateway_desired.json").unwrap().ends_with("[\"cod"), "kept as it is");
    home.write("default", "gateway_desired.json", "{\"schema\":1,\"stopped\":[\"coder\"]}");
    gateway.wait_state("coder", "stopped");
    wait::until_true("the status to say no more", || problem(&gateway, "desired_state").is_none());
}

/// 9: a sticky profile that cannot be read is not `default`: commands that change something refuse.
#[test]
fn n9_an_unreadable_choice_of_profile_is_not_the_default() {
    let home = Home::new();
    home.profile("coder");
    fs_err::create_dir(home.root().join("active_profile")).unwrap();
    let output = run(&home, &["config", "set", "model.default", "x"]);
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    assert!(both(&output).contains("active_profile"), "{}", both(&output));
    let broken = Loop::put(home.of("coder"));
    let text = both(&run(&home, &["config", "set", "-p", "coder", "model.default", "x"]));
    assert!(text.contains("cannot look at") && !text.contains("does not exist"), "{text}");
    broken.remove();
}

/// 5: a worker does not go on writing into a database that was replaced under its feet.
#[test]
fn n5_a_replaced_database_replaces_the_worker_and_a_mended_one_starts_it() {
    let home = Home::new();
    home.profile("coder");
    // So that the database is there before anybody looks.
    Gateway::start(&home).stop();
    let mut gateway = Gateway::start(&home);
    let before = gateway.worker("coder");
    let database = home.of("coder").join("state.db");
    fs_err::rename(&database, home.of("coder").join("old.db")).unwrap();
    wait::until_true("another worker", || gateway.profile("coder").pid.is_some_and(|pid| pid != before));
    gateway.wait_ready("coder");
    gateway.stop();
    for side in ["state.db-wal", "state.db-shm"] {
        let _ = fs_err::remove_file(home.of("coder").join(side));
    }
    fs_err::copy(&database, home.of("coder").join("good.db")).unwrap();
    fs_err::write(&database, "this is no database, but it is long enough to look like one at first sight")
        .unwrap();
    let gateway = Gateway::start(&home);
    gateway.wait_state("coder", "failed");
    let text = both(&run(&home, &["status"]));
    assert!(text.contains(&format!("fix {database}; the change is seen by itself")), "{text}");
    fs_err::copy(home.of("coder").join("good.db"), &database).unwrap();
    gateway.wait_ready("coder");
}

/// A gateway whose default profile has a platform, an admin address and two profiles beside it.
fn whole() -> (Home, String) {
    let config = Home::config("true", "  admin: 127.0.0.1:0\n  multiplex_profile_allowlist: [coder, ops]\n");
    let home = Home::with_config(&config);
    home.profile("coder").profile("ops");
    (home, config)
}

fn serves_all(gateway: &Gateway<'_>, addresses: &[String]) {
    for (name, key) in [("coder", Home::key("coder")), ("ops", Home::key("ops"))] {
        assert_eq!(gateway.get(&format!("/p/{name}/v1/models"), &key).status, 200, "{name}");
    }
    assert_eq!(gateway.get("/v1/models", hermes_tests::home::DEFAULT_KEY).status, 200);
    let now: Vec<_> = gateway.status().gateway.listeners.into_iter().map(|l| l.address).collect();
    assert_eq!(now, addresses);
    assert_eq!(gateway.status().gateway.mode.as_deref(), Some("multiplex"));
}

/// 28: whatever becomes of default's file while the gateway runs, nobody is stopped, and status says what waits for what.
#[test]
fn n28_an_empty_missing_cut_or_broken_default_file_stops_nobody() {
    let (home, config) = whole();
    let gateway = Gateway::start(&home);
    let addresses: Vec<_> = gateway.status().gateway.listeners.into_iter().map(|l| l.address).collect();
    let told = |text: &str| {
        wait::until_true(&format!("status to say {text}"), || both(&run(&home, &["status"])).contains(text));
    };
    let file = home.root().join("config.yaml");
    let cut = |at: &str| config[..config.find(at).unwrap()].to_owned();
    let broken = config.replace("gateway:", "gateway: [");
    for (text, said) in [
        (String::new(), "`hermes gateway reload`"),
        (cut("platforms:"), "`hermes gateway reload`"),
        (cut("  admin:"), "`hermes gateway reload`"),
        (cut("  api_server:"), "api_server is to listen on 127.0.0.1:8642 instead of"),
        (
            config.replace("multiplex_profiles: true", "multiplex_profiles: false"),
            "'coder', 'ops' are not to be served",
        ),
        (config.replace("[coder, ops]", "[ops]"), "profile 'coder' is not to be served"),
        (broken, "config.yaml:"),
    ] {
        home.write("default", "config.yaml", &text);
        told(said);
        let status = both(&run(&home, &["status"]));
        assert!(status.contains('✗') && status.contains(file.as_str()), "{status}");
        serves_all(&gateway, &addresses);
        home.write("default", "config.yaml", &config);
        wait::until_true("status to be clean again", || !both(&run(&home, &["status"])).contains('✗'));
    }
    fs_err::remove_file(&file).unwrap();
    told("`hermes gateway reload`");
    serves_all(&gateway, &addresses);
    // The worker that held all that dies: the listeners and the others are still there.
    gateway.kill_worker("default");
    assert_eq!(gateway.get("/p/coder/v1/models", &Home::key("coder")).status, 200);
    told("not to be served any more");
}

/// 28 and 5: a reload takes over what was held back, and says so; an addition needs none.
#[test]
fn n28_a_reload_takes_away_and_additions_hold_at_once() {
    let (home, config) = whole();
    home.profile("late");
    let gateway = Gateway::start(&home);
    home.write("default", "config.yaml", &config.replace("[coder, ops]", "[ops, late]"));
    gateway.wait_ready("late");
    assert!(gateway.profile("coder").ready, "held until somebody asks");
    let output = run(&home, &["gateway", "reload"]);
    let text = both(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("coder: taken down") && text.contains("✓ the configuration is in force"), "{text}");
    assert_eq!(gateway.get("/p/coder/v1/models", &Home::key("coder")).status, 404);
    assert!(gateway.profile("ops").ready && !both(&run(&home, &["status"])).contains('✗'));
    let output = run(&home, &["gateway", "reload", "-p", "ops"]);
    assert_eq!(output.status.code(), Some(2), "{}", both(&output));
}

/// 5 and 6: a restart takes over the flag, listeners and the admin address, says so, and that is success.
#[test]
fn n6_a_restart_after_the_flag_was_turned_off_takes_the_others_down_and_says_so() {
    let (home, config) = whole();
    let gateway = Gateway::start(&home);
    let metrics = gateway.status().gateway.admin.unwrap();
    let off = config
        .replace("multiplex_profiles: true", "multiplex_profiles: false")
        .replace("admin: 127.0.0.1:0", "admin: localhost:0");
    home.write("default", "config.yaml", &off);
    let output = run(&home, &["gateway", "restart"]);
    let text = both(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for said in [
        "default: replaced",
        "coder: taken down",
        "ops: taken down",
        "✓ every worker was replaced; taken down: coder, ops",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let status = gateway.status();
    assert_eq!((status.gateway.mode.as_deref(), status.gateway.admin), (Some("single"), Some(metrics)));
    let none = config.replace("  admin: 127.0.0.1:0\n", "");
    home.write("default", "config.yaml", &none);
    let output = run(&home, &["gateway", "restart"]);
    assert!(both(&output).contains("the metrics are not served any more"), "{}", both(&output));
    gateway.wait_ready("coder");
    home.write("default", "config.yaml", &config);
    wait::until_true("an added admin address to be served at once", || {
        gateway.status().gateway.admin.is_some()
    });
}

/// 6: with a broken profile, a restart replaces the others and says which one was not; a broken default touches nothing.
#[test]
fn n6_a_restart_with_a_broken_profile_does_what_its_help_says() {
    let (home, _config) = whole();
    let gateway = Gateway::start(&home);
    let (coder, ops) = (gateway.worker("coder"), gateway.worker("ops"));
    home.write("coder", "config.yaml", "agent: [\n");
    wait::until_true("the refusal to be said", || {
        both(&run(&home, &["status"])).contains("in force; the newer one was refused")
    });
    let status = gateway.profile("coder");
    assert!(status.config_at.is_some() && status.refused_at.is_some(), "{status:?}");
    let output = run(&home, &["gateway", "restart"]);
    let text = both(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("coder: ") && text.contains("the worker that ran before goes on"), "{text}");
    assert!(text.contains("some workers were not replaced: coder"), "{text}");
    assert_eq!(gateway.worker("coder"), coder);
    assert_ne!(gateway.worker("ops"), ops);
    let help = both(&run(&home, &["gateway", "restart", "--help"]));
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("keeps the worker it has, the others are replaced (exit 1)"), "{help}");
}
