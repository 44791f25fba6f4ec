//! Crash loops, stuck workers, signals, drains.

use std::os::unix::fs::PermissionsExt as _;

use hermes_tests::gateway::{binary, both, run};
use hermes_tests::provider::{Provider, Reply};
use hermes_tests::{Gateway, Home, home, http, process, wait};
use nix::sys::signal::Signal;

#[test]
fn c90_five_deaths_are_a_crash_loop_and_restart_clears_it() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    for _ in 0..5 {
        let pid = wait::until("a worker to kill, or the loop", || {
            let p = gateway.profile("coder");
            if p.state == "crash_loop" { Some(None) } else { p.pid.map(Some) }
        });
        let Some(pid) = pid else { break };
        process::signal(pid, Signal::SIGKILL);
        wait::until_true("the death to be noticed", || gateway.profile("coder").pid != Some(pid));
    }
    let coder = gateway.wait_state("coder", "crash_loop");
    assert!(coder.reason.is_some() && coder.next_attempt_ms.is_some_and(|ms| ms > 60_000), "{coder:?}");
    let response = gateway.api("GET", "/p/coder/health", &[], b"");
    assert_eq!((response.status, response.json()["state"].as_str()), (503, Some("crash_loop")));
    let output = run(&home, &["gateway", "restart", "-p", "coder"]);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    assert_eq!(gateway.api("GET", "/p/coder/health", &[], b"").status, 200);
}

#[test]
fn a_stopped_worker_is_found_and_replaced() {
    let home = Home::with_config(&Home::config("true", "  stuck_after_ms: 2000\n  heartbeat_ms: 500\n"));
    home.profile("coder").profile("ops");
    let gateway = Gateway::start(&home);
    let coder = gateway.worker("coder");
    process::signal(coder, Signal::SIGSTOP);
    let seen = wait::until("the replacement", || {
        Some(gateway.profile("coder")).filter(|p| p.ready && p.pid.is_some_and(|pid| pid != coder))
    });
    assert!(seen.last_exit.unwrap().contains("stuck"), "the cause is not shown");
    assert!(!process::is_alive(coder));
    assert_eq!(gateway.profile("ops").restarts, 0);
}

#[test]
fn c91_a_graceful_stop_drains_and_exits_0() {
    let home = Home::new();
    home.profile_with(
        "coder",
        "agent: {engine: echo, echo_delay_ms: 100}\n",
        "API_SERVER_KEY=coder-api-key-0123456789\n",
    );
    let mut gateway = Gateway::start(&home);
    let address = gateway.address("api_server");
    let mut connection = http::Connection::open(&address).unwrap();
    connection.send(&http::chat(true, "a b c d e f g h i j")).unwrap();
    assert_eq!(connection.head().unwrap().status, 200);
    gateway.signal(Signal::SIGTERM);
    while connection.fill().unwrap_or(false) {}
    assert!(
        process::contains(connection.buffered(), b"[DONE]"),
        "the answer was cut: {}",
        String::from_utf8_lossy(connection.buffered())
    );
    assert_eq!(gateway.wait(), Some(0));
    gateway.assert_nothing_left();
    assert!(!home.root().join("gateway.pid").exists());
    assert!(home.root().join("gateway.lock").exists(), "the lock file is never unlinked");
    let sockets: Vec<_> = walk(home.runtime().as_std_path());
    assert!(sockets.is_empty(), "left behind: {sockets:?}");
    assert!(http::Connection::open(&address).is_err());
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            found.extend(walk(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

/// A home whose turns ask `provider`, and whose drain lasts `drain` seconds.
fn asking(provider: &Provider, drain: u32) -> Home {
    let drain = format!("restart_drain_timeout: {drain}");
    let config = Home::config("true", "").replace("engine: echo, restart_drain_timeout: 5", &drain);
    let home = Home::with_config(&format!("{config}{}", provider.model_config()));
    home.write("default", ".env", "CUSTOM_API_KEY=k\nAPI_SERVER_KEY=default-api-key-0123456789\n");
    home
}

/// A gateway in which a webhook's turn waits for the provider.
fn in_a_turn<'a>(home: &'a Home, provider: &Provider) -> Gateway<'a> {
    let gateway = Gateway::start(home);
    assert_eq!(gateway.hook("/webhooks/hook", home::SECRET, "d1", r#"{"text": "x"}"#).status, 202);
    wait::until_true("the turn to start", || provider.open() == 1);
    gateway
}

#[test]
fn c91_a_turn_that_outlives_the_drain_is_cut_and_resumed_later() {
    let provider = Provider::start();
    provider.script([Reply::Hang, Reply::text("at last")]);
    let home = asking(&provider, 1);
    let mut gateway = in_a_turn(&home, &provider);
    let started = wait::now();
    assert_eq!(gateway.stop(), Some(0));
    assert!(started.elapsed() < std::time::Duration::from_secs(15), "{:?}", started.elapsed());
    let _gateway = Gateway::start(&home);
    wait::until_true("the turn to be resumed", || {
        let db = rusqlite::Connection::open(home.root().join("state.db")).unwrap();
        db.query_row("select count(*) from messages where role = 'assistant'", [], |r| r.get::<_, i64>(0))
            .unwrap()
            == 1
    });
}

#[test]
fn a_second_signal_escalates() {
    let provider = Provider::start();
    provider.script([Reply::Hang]);
    let home = asking(&provider, 60);
    let mut gateway = in_a_turn(&home, &provider);
    gateway.signal(Signal::SIGTERM);
    wait::until_true("the drain to begin", || http::Connection::open(&gateway.address_if_any()).is_err());
    gateway.signal(Signal::SIGTERM);
    let started = wait::now();
    gateway.wait();
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
    gateway.assert_nothing_left();
}

#[test]
fn a_swap_under_load_fails_no_request_and_sessions_stay_in_order() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let address = gateway.address("webhook");
    let secret = format!("{}-coder", home::SECRET);
    let (accepted, stop) = (std::sync::atomic::AtomicI64::new(0), std::sync::atomic::AtomicBool::new(false));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (address, secret, accepted, stop) = (&address, &secret, &accepted, &stop);
            scope.spawn(move || {
                let mut connection = http::Connection::open(address).unwrap();
                let mut n = 0;
                while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                    n += 1;
                    let body = br#"{"text": "x"}"#;
                    let id = format!("{thread}-{n}");
                    let signed = hermes_tests::sign::Signed::new(secret, &id, body);
                    let response = connection
                        .request("POST", "/p/coder/webhooks/hook", &signed.headers(), body)
                        .unwrap();
                    assert_eq!(response.status, 202, "{}", response.text());
                    accepted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                }
            });
        }
        for _ in 0..3 {
            let output = run(&home, &["gateway", "restart", "-p", "coder"]);
            assert_eq!(output.status.code(), Some(0), "{}", both(&output));
        }
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    let accepted = accepted.into_inner();
    let count = |role: &str| {
        let db = rusqlite::Connection::open(home.of("coder").join("state.db")).unwrap();
        db.query_row("select count(*) from messages where role = ?1", [role], |r| r.get::<_, i64>(0)).unwrap()
    };
    wait::until_true("every turn", || count("assistant") == accepted);
    assert_eq!(count("user"), accepted);
}

#[test]
fn no_zombies_after_many_deaths() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    for _ in 0..3 {
        let pid = gateway.worker("coder");
        process::signal(pid, Signal::SIGKILL);
        wait::until_true("the replacement", || gateway.profile("coder").pid.is_some_and(|p| p != pid));
        run(&home, &["gateway", "restart", "-p", "coder"]);
    }
    wait::until_true("only the two workers to be children", || {
        let children = process::children(gateway.pid());
        children.len() == 2 && children.iter().all(|c| process::is_alive(*c))
    });
}

/// 15: `nohup` and background jobs have a signal ignored before the program starts; so it stays.
#[test]
fn n15_signals_that_were_ignored_at_the_start_stay_ignored() {
    let home = Home::new();
    home.profile("coder");
    let script = home.user().join("nohup");
    fs_err::write(&script, format!("#!/bin/sh\ntrap '' HUP INT\nexec '{}' \"$@\"\n", binary().display()))
        .unwrap();
    fs_err::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut gateway = Gateway::start_at(script.as_std_path(), &home);
    for signal in [Signal::SIGHUP, Signal::SIGINT] {
        let ignored = process::ignored_signals(gateway.pid());
        assert!(ignored & (1 << (signal as u64 - 1)) != 0, "{signal} is caught: {ignored:x}");
        gateway.signal(signal);
        assert_eq!(gateway.chat("/p/coder", "coder-api-key-0123456789", "x").status, 200);
        assert_eq!(gateway.status().gateway.state, "running");
    }
    assert_eq!(gateway.stop(), Some(0), "SIGTERM still ends it");
}
