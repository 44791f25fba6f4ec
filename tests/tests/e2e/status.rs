//! The truth about what runs.

use hermes_tests::gateway::{both, run, status};
use hermes_tests::{Gateway, Home, process, wait};
use hermes_wire::contract::gateway_state::GatewayState;
use hermes_wire::contract::runtime_status::RuntimeStatus;
use nix::sys::signal::Signal;

#[test]
fn c79_status_lists_everybody_and_slices() {
    let home = Home::new();
    home.profile("coder").profile("ops");
    let gateway = Gateway::start(&home);
    let all = gateway.status();
    assert_eq!(all.gateway.pid, Some(gateway.pid()));
    assert_eq!((all.gateway.profiles_ready, all.gateway.profiles_desired), (3, 3));
    assert_eq!(all.profiles.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["default", "coder", "ops"]);
    for profile in &all.profiles {
        assert!(profile.rss_bytes.is_some_and(|b| b > 100_000), "{profile:?}");
        assert!(profile.heartbeat_age_ms.is_some_and(|a| a < 10_000), "{profile:?}");
        assert!(profile.ready && !profile.stale && profile.data_socket.is_some());
        assert_eq!(profile.platforms["webhook"].state, "connected", "{profile:?}");
    }
    let slice: serde_json::Value =
        serde_json::from_slice(&run(&home, &["status", "-p", "coder", "--json"]).stdout).unwrap();
    assert_eq!(slice["profiles"].as_array().unwrap().len(), 1);
    assert_eq!(slice["profiles"][0]["name"], "coder");
    let text = both(&run(&home, &["status"]));
    for word in ["default", "coder", "ops", "ready", &gateway.pid().to_string()] {
        assert!(text.contains(word), "{word} is missing:\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "colours without a terminal");
    let text = both(&run(&home, &["-p", "coder", "status"]));
    assert!(text.contains("coder") && !text.contains("ops"), "{text}");
    let nobody = run(&home, &["status", "-p", "nope"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(both(&nobody).contains("Profile 'nope' does not exist."), "{}", both(&nobody));
}

#[test]
fn c80_c81_each_worker_writes_its_own_status_files() {
    let home = Home::new();
    home.profile("coder");
    let mut gateway = Gateway::start(&home);
    for name in ["default", "coder"] {
        let runtime = home.read(name, "runtime_status.json").unwrap();
        // That of the gateway's own home is the gateway's.
        if name != "default" {
            assert_eq!(Some(&runtime), home.read(name, "gateway_state.json").as_ref());
        }
        let parsed = RuntimeStatus::read(runtime.as_bytes()).unwrap();
        assert_eq!(parsed.pid, Some(gateway.worker(name)));
        assert_eq!(parsed.gateway_state.as_deref(), Some("running"));
        assert_eq!(parsed.platforms["api_server"].state, "connected");
        assert_eq!(parsed.argv[0], "hermes-gateway");
        let stat = fs_err::read_to_string(format!("/proc/{}/stat", gateway.worker(name))).unwrap();
        assert_eq!(parsed.start_time, hermes_wire::contract::pid_record::start_time_from_stat(&stat));
        assert_eq!(parsed.served_profiles.is_some(), name == "default");
    }
    let command = fs_err::read(format!("/proc/{}/cmdline", gateway.worker("coder"))).unwrap();
    assert_eq!(command, b"hermes-gateway\0worker\0--profile\0coder\0");
    assert_eq!(gateway.stop(), Some(0));
    for name in ["default", "coder"] {
        let parsed = RuntimeStatus::read(home.read(name, "runtime_status.json").unwrap().as_bytes()).unwrap();
        assert_eq!(parsed.gateway_state.as_deref(), Some("stopped"), "{name}");
    }
}

fn gateways_file(home: &Home) -> Option<GatewayState> {
    serde_json::from_str(&home.read("default", "gateway_state.json")?).ok()
}

/// The root's file is about the gateway: its process, all its turns, who is served, everybody's platforms; and about its end.
#[test]
fn the_file_of_the_root_home_is_about_the_whole_gateway() {
    let home = Home::new();
    home.profile("coder").profile("ops");
    let mut gateway = Gateway::start(&home);
    let running = wait::until("the gateway's file", || {
        gateways_file(&home).filter(|file| file.gateway_state == "running" && file.platforms.len() == 2)
    });
    assert_eq!((running.pid, running.profile.as_str(), running.schema), (gateway.pid(), "default", 1));
    assert_eq!(running.start_time, Some(process::start_time(gateway.pid())));
    assert_eq!(running.served_profiles.as_deref(), Some(&["default", "coder", "ops"].map(str::to_owned)[..]));
    assert_eq!(running.multiplex_standalone_reason, None);
    let api = &running.platforms["api_server"];
    assert_eq!(
        (api.state.as_str(), api.writer_pid, api.needs_attention),
        ("connected", gateway.pid(), false)
    );
    let base = api.listener_base.as_deref().unwrap();
    assert_eq!(base, format!("http://{}", gateway.address("api_server")));
    // As readers of 0.19.0 read it.
    let text = home.read("default", "gateway_state.json").unwrap();
    let theirs = RuntimeStatus::read(text.as_bytes()).unwrap();
    assert_eq!((theirs.pid, theirs.gateway_state.as_deref()), (Some(gateway.pid()), Some("running")));
    // Who is parked is not served; who is killed and comes back does not change whose file it is.
    run(&home, &["-p", "ops", "gateway", "stop"]);
    wait::until_true("the parked one to be off the list", || {
        gateways_file(&home)
            .is_some_and(|file| file.served_profiles.is_some_and(|served| served == ["default", "coder"]))
    });
    gateway.kill_worker("default");
    wait::until_true("its platforms to be shown again", || {
        gateways_file(&home).is_some_and(|file| file.pid == running.pid && file.platforms.len() == 2)
    });
    assert_eq!(gateway.stop(), Some(0));
    let last = gateways_file(&home).unwrap();
    assert_eq!((last.gateway_state.as_str(), last.exit_reason, last.active_agents), ("stopped", None, 0));
    // A start that is refused says so there.
    home.write("default", "config.yaml", "a: [\n");
    assert_eq!(run(&home, &["gateway", "run"]).status.code(), Some(78));
    let last = gateways_file(&home).unwrap();
    assert_eq!(last.gateway_state, "startup_failed");
    assert!(last.exit_reason.unwrap().contains("does not start"));
}

#[test]
fn c84_a_killed_worker_is_replaced_and_status_says_so() {
    let home = Home::new();
    home.profile("coder").profile("ops");
    let gateway = Gateway::start(&home);
    let (coder, ops) = (gateway.worker("coder"), gateway.worker("ops"));
    process::signal(coder, Signal::SIGKILL);
    let seen =
        wait::until("the death to be shown", || Some(gateway.profile("coder")).filter(|p| p.restarts == 1));
    assert!(seen.last_exit.unwrap().contains("SIGKILL"));
    gateway.wait_ready("coder");
    assert_ne!(gateway.worker("coder"), coder);
    assert_eq!(gateway.worker("ops"), ops);
    assert_eq!(gateway.profile("ops").restarts, 0);
}

#[test]
fn c85_c86_a_killed_supervisor_leaves_no_worker_and_no_lie() {
    let home = Home::new();
    home.profile("coder");
    let mut gateway = Gateway::start(&home);
    let workers = [gateway.worker("default"), gateway.worker("coder")];
    // One of them cannot even be scheduled.
    process::signal(workers[1], Signal::SIGSTOP);
    gateway.signal(Signal::SIGKILL);
    gateway.wait();
    wait::until_true("the workers to end", || workers.iter().all(|w| !process::is_alive(*w)));
    let after = status(&home);
    assert_eq!(
        (after.gateway.state.as_str(), after.gateway.stale, after.gateway.pid),
        ("stopped", true, None)
    );
    for profile in &after.profiles {
        assert!(profile.stale && !profile.ready && profile.state == "stopped", "{profile:?}");
    }
    let text = both(&run(&home, &["status"]));
    assert!(text.contains("stopped") && !text.contains("running"), "{text}");
    assert_eq!(run(&home, &["status", "--exit-code"]).status.code(), Some(3));
    let again = Gateway::start(&home);
    assert!(again.profile("coder").ready);
}

#[test]
fn c87_restart_of_one_profile_fails_no_request_of_any() {
    let home = Home::new();
    home.profile("coder").profile("ops");
    let gateway = Gateway::start(&home);
    let (coder, ops) = (gateway.worker("coder"), gateway.worker("ops"));
    let address = gateway.address("api_server");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let loads: Vec<_> = ["coder", "ops", "coder"]
            .into_iter()
            .map(|name| {
                let (address, stop) = (&address, &stop);
                scope.spawn(move || {
                    let mut connection = hermes_tests::http::Connection::open(address).unwrap();
                    let mut served = 0;
                    while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                        let response =
                            connection.request("GET", &format!("/p/{name}/health"), &[], b"").unwrap();
                        assert_eq!(response.status, 200, "{name} after {served}: {}", response.text());
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        let output = run(&home, &["-p", "coder", "gateway", "restart"]);
        assert_eq!(output.status.code(), Some(0), "{}", both(&output));
        assert_ne!(gateway.worker("coder"), coder);
        let output = run(&home, &["gateway", "restart", "-p", "coder"]);
        assert_eq!(output.status.code(), Some(0), "{}", both(&output));
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        for load in loads {
            assert!(load.join().unwrap() > 0);
        }
    });
    assert_eq!(gateway.worker("ops"), ops);
}

#[test]
fn c94_gateways_of_other_homes_are_never_seen() {
    let (one, two) = (Home::new(), Home::new());
    two.profile("coder");
    let _one = Gateway::start(&one);
    let second = Gateway::start(&two);
    let text = both(&run(&one, &["status", "--json"]));
    assert!(!text.contains(&format!(":{},", second.pid())) && !text.contains("coder"), "{text}");
}

#[test]
fn an_unsupported_platform_is_shown_by_name() {
    let home = Home::new();
    home.profile_with("coder", "agent: {engine: echo}\n", "WEIXIN_TOKEN=1:of-coder-alone\n");
    let gateway = Gateway::start(&home);
    let coder = gateway.profile("coder");
    assert_eq!(coder.platforms["weixin"].state, "unsupported", "{:?}", coder.platforms);
    wait::until_true("a line in the log", || {
        home.read("coder", "logs/gateway.log").is_some_and(|l| l.contains("weixin"))
    });
}

/// 32: a supervisor that is stopped answers nobody; what its workers do is unknown, not stopped.
#[test]
fn c32_a_stopped_supervisor_s_workers_are_not_shown_as_stopped() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let coder = gateway.worker("coder");
    gateway.signal(Signal::SIGSTOP);
    let seen = wait::until("the status from files", || Some(status(&home)).filter(|s| s.gateway.stale));
    let text = both(&run(&home, &["status"]));
    let code = run(&home, &["status", "--exit-code"]).status.code();
    gateway.signal(Signal::SIGCONT);
    let shown = seen.profiles.iter().find(|p| p.name == "coder").unwrap();
    assert_eq!((shown.state.as_str(), shown.pid, shown.ready), ("unknown", Some(coder), false), "{shown:?}");
    assert!(text.contains("unknown") && !text.contains("stopped"), "{text}");
    assert_eq!(code, Some(4));
    gateway.wait_state("coder", "ready");
}

/// 4: what an old home has set up and nobody does is named once by everything that checks or shows.
#[test]
fn c4_nothing_of_an_old_home_is_dropped_in_silence() {
    let home = Home::new();
    home.profile_with(
        "coder",
        "agent: {engine: echo}\nmcp_servers: {github: {command: npx}}\n",
        "WEIXIN_TOKEN=1:t\n",
    );
    home.write("coder", "cron/jobs.json", r#"{"jobs":[{"name":"water plants","enabled":true}]}"#);
    let db = rusqlite::Connection::open(home.root().join("kanban.db")).unwrap();
    db.execute_batch("CREATE TABLE tasks(id, status); INSERT INTO tasks VALUES (1, 'todo'), (2, 'done')")
        .unwrap();
    drop(db);
    let cards = "configured, not supported yet: Kanban board default (1 open card)";
    let gateway = Gateway::start(&home);
    for args in [&["gateway", "check"][..], &["doctor"], &["status"]] {
        let text = both(&run(&home, args));
        assert_eq!(text.matches(cards).count(), 1, "{args:?}: {text}");
        let line = text.lines().find(|l| l.contains("coder: configured, not supported yet: "));
        let line = line.unwrap_or_else(|| panic!("{args:?}: {text}"));
        for name in ["cron jobs (water plants)", "weixin"] {
            assert!(line.contains(name), "{args:?}: {line}");
        }
    }
    // Nothing that works reaches coder; default is reached by others.
    assert_eq!(
        (gateway.profile("coder").state.as_str(), gateway.profile("default").state.as_str()),
        ("degraded", "ready")
    );
    assert!(!home.root().join("kanban.db-shm").exists(), "looking leaves nothing behind");
}

/// N3.1: whatever is asked says the same of every profile: one that runs, one that was stopped, and one that cannot start.
#[test]
fn n3_1_every_view_says_the_same() {
    let home = Home::new();
    home.profile("coder").profile("ops").profile("bad");
    let gateway = Gateway::start(&home);
    assert!(run(&home, &["gateway", "stop", "-p", "ops"]).status.success());
    home.write("bad", "config.yaml", "agent: [\n");
    // Seen before the worker ends: a change seen after it would have the profile started once more while it is looked at.
    wait::until_true("the edit to be refused", || gateway.profile("bad").refused_at.is_some());
    process::signal(gateway.worker("bad"), Signal::SIGKILL);
    gateway.wait_state("bad", "failed");
    let json = |args: &[&str]| -> serde_json::Value {
        let output = run(&home, args);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", both(&output)))
    };
    let (gateways, profiles) = (json(&["gateway", "list", "--json"]), json(&["profile", "list", "--json"]));
    let listed = both(&run(&home, &["gateway", "list"]));
    for (name, state, runs) in [
        ("default", "ready", true),
        ("coder", "ready", true),
        ("ops", "parked", false),
        ("bad", "failed", false),
    ] {
        let profile = gateway.profile(name);
        assert_eq!((profile.state.as_str(), profile.pid.is_some()), (state, runs), "{name}");
        let of = |list: &serde_json::Value, key: &str| {
            list.as_array().unwrap().iter().find(|one| one[key] == name).unwrap().clone()
        };
        let own = of(&gateways["gateways"], "profile");
        assert_eq!((&own["state"], &own["running"]), (&state.into(), &runs.into()), "{own}");
        assert_eq!(own["pid"].as_u64(), profile.pid.map(u64::from), "{own}");
        let word = of(&profiles["profiles"], "name")["gateway"].clone();
        // The words that scripts know: of what does not run, only whether somebody wants that.
        let known = match state {
            "ready" => "running",
            "parked" => "parked",
            _ => "stopped",
        };
        assert_eq!(word, known, "{profiles}");
        let shown = both(&run(&home, &["gateway", "status", "-p", name]));
        assert!(shown.contains(&format!("state        {state}")), "{shown}");
        let line = listed.lines().find(|line| line.contains(name)).expect(&listed);
        let pid = profile.pid.map_or_else(|| "not running".to_owned(), |pid| format!("PID {pid}"));
        // A gateway of all profiles is named by its own process where it is about default.
        let gateways_own = format!("PID {}", gateway.pid());
        assert!(line.contains(&pid) || name == "default" && line.contains(&gateways_own), "{line}");
        let prefix = if name == "default" { String::new() } else { format!("/p/{name}") };
        let health = gateway.api("GET", &format!("{prefix}/health"), &[], b"");
        assert_eq!(health.status, if runs { 200 } else { 503 }, "{name}");
        let file: serde_json::Value =
            serde_json::from_str(&home.read(name, "runtime_status.json").unwrap()).unwrap();
        assert_eq!(file["gateway_state"] == "running", runs, "{file}");
    }
}
