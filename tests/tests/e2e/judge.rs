//! 2: one judge. What `gateway check` says is what `gateway run` does, and every other command says the same.

use std::net::TcpListener;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_tests::command::{self, Ran};
use hermes_tests::{Gateway, Home, http, wait};

/// A port nobody listens on at this moment.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A home whose API listens on `port`.
fn home_with_port(port: u16, more: &str) -> Home {
    let text = Home::config("true", more);
    Home::with_config(&text.replace("host: 127.0.0.1, port: 0", &format!("host: 127.0.0.1, port: {port}")))
}

/// Runs a gateway that is refused.
fn refused(home: &Home) -> Ran {
    command::run(home, &["gateway", "run"])
}

/// Every file below a directory, with its contents.
fn tree(path: &Utf8Path) -> Vec<(Utf8PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in path.read_dir_utf8().unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            all.push((entry.path().to_owned(), Vec::new()));
            all.extend(tree(entry.path()));
        } else {
            all.push((entry.path().to_owned(), fs_err::read(entry.path()).unwrap_or_default()));
        }
    }
    all.sort();
    all
}

/// 2: a machine without a home is one on which a start makes it.
#[test]
fn n2_a_fresh_machine_would_start_and_does() {
    let home = Home::empty();
    fs_err::remove_dir(home.root()).unwrap();
    for args in [&["gateway", "check"][..], &["config", "check"]] {
        let ran = command::run(&home, args);
        assert_eq!(ran.code, Some(0), "{ran:#?}");
    }
    assert!(!home.root().exists(), "a check makes nothing");
    let gateway = Gateway::start(&home);
    assert!(gateway.profile("default").ready);
}

/// 2: a home that cannot be made is refused by both.
#[test]
fn n2_a_home_that_cannot_be_made_is_refused_by_check_and_run() {
    let home = Home::empty();
    fs_err::remove_dir(home.root()).unwrap();
    let blocked = home.user().join("file");
    fs_err::write(&blocked, "").unwrap();
    let root = blocked.join("root");
    for verb in ["check", "run"] {
        let mut command = hermes_tests::gateway::hermes(&home, &["gateway", verb]);
        let ran: Ran = command.env("HERMES_HOME", &root).output().unwrap().into();
        assert_eq!(ran.code, Some(78), "{ran:#?}");
        assert!((ran.out + &ran.err).contains(root.as_str()));
    }
}

/// 2, 5: a port that somebody else has is named with key and holder by check, run and doctor, and stands in `supervisor.log`.
#[test]
fn n2_a_port_in_use_is_named_by_everybody() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let home = home_with_port(port, "");
    let check = command::run(&home, &["gateway", "check"]);
    let run = refused(&home);
    let doctor = command::run(&home, &["doctor"]);
    let said = format!("Port {port} already in use by ");
    let holder = format!("(PID {})", std::process::id());
    for (ran, code) in [(&check, 78), (&run, 78), (&doctor, 1)] {
        let text = format!("{}{}", ran.out, ran.err);
        assert_eq!(ran.code, Some(code), "{ran:#?}");
        assert!(text.contains(&said) && text.contains(&holder) && text.contains("api_server"), "{text}");
        assert!(text.contains("hermes config set platforms.api_server"), "{text}");
    }
    let log = home.read("default", "logs/supervisor.log").unwrap();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(&said)).collect();
    assert!(lines.len() == 1 && lines[0].contains(" ERROR "), "{log}");
    assert_eq!(run.err.matches(&said).count(), 1, "said once on the terminal: {}", run.err);
    // The command of the hint is one that helps.
    let hint = run.err.split('`').find(|part| part.starts_with("hermes config set ")).unwrap().to_owned();
    command::run(&home, &hint.split(' ').skip(1).collect::<Vec<_>>()).ok();
    let check = command::run(&home, &["gateway", "check"]);
    assert_eq!(check.code, Some(0), "{check:#?}");
}

/// 2: two addresses that cannot both be had, and the admin address, are found as well.
#[test]
fn n2_addresses_that_cannot_be_had_are_refused_by_check_and_run() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let admin = Home::with_config(&Home::config("true", &format!("  admin: 127.0.0.1:{port}\n")));
    let public = Home::with_config(&Home::config("true", "  admin: 0.0.0.0:9464\n"));
    let twice = free_port();
    let overlap = Home::config("true", "")
        .replace("host: 127.0.0.1\n      port: 0", &format!("host: 0.0.0.0\n      port: {twice}"));
    let overlap = overlap.replace("host: 127.0.0.1, port: 0", &format!("host: 127.0.0.1, port: {twice}"));
    for (home, word) in
        [(admin, "gateway.admin"), (public, "gateway.admin"), (Home::with_config(&overlap), "already in use")]
    {
        for ran in [command::run(&home, &["gateway", "check"]), refused(&home)] {
            assert_eq!(ran.code, Some(78), "{ran:#?}");
            assert!(format!("{}{}", ran.out, ran.err).contains(word), "{ran:#?}");
        }
    }
}

/// 2: the addresses of the gateway that runs are in nobody's way; nobody is disturbed.
#[test]
fn n2_our_own_listeners_are_no_conflict() {
    let home = home_with_port(free_port(), "");
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let before = (gateway.worker("default"), gateway.worker("coder"));
    let check = command::run(&home, &["gateway", "check"]);
    assert_eq!(check.code, Some(0), "{check:#?}");
    assert!(check.out.contains(&format!("it runs already (PID {})", gateway.pid())), "{}", check.out);
    let doctor = command::run(&home, &["doctor"]);
    assert!(!doctor.out.contains("already in use"), "{}", doctor.out);
    assert_eq!((gateway.worker("default"), gateway.worker("coder")), before);
}

/// 2: a missing key has one verdict: it starts, degraded, and every surface says so.
#[test]
fn n2_a_missing_api_key_has_one_verdict() {
    let home = Home::with_config(&Home::config("true", "  admin: 127.0.0.1:0\n"));
    fs_err::remove_file(home.root().join(".env")).unwrap();
    let check = command::run(&home, &["gateway", "check"]);
    let config = command::run(&home, &["config", "check"]);
    for (ran, word) in [(&check, "would start, but not whole"), (&config, "can be used, in part")] {
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        assert!(ran.out.contains("API_SERVER_KEY is required") && ran.out.contains(word), "{ran:#?}");
        assert!(!ran.out.contains("\n✓"), "{}", ran.out);
    }
    assert!(check.out.contains("degraded: default"), "{}", check.out);
    let gateway = Gateway::start(&home);
    wait::until_true("the terminal to be told", || gateway.output().contains("API_SERVER_KEY is required"));
    let default = gateway.profile("default");
    assert_eq!(default.state, "degraded", "{default:?}");
    let status = gateway.status().gateway;
    let admin = status.admin.unwrap();
    let webhook = gateway.address("webhook");
    for address in [&admin, &webhook] {
        let ready = http::request(address, "GET", "/ready", &[("Host", "localhost")], b"").unwrap();
        assert_eq!(ready.status, 503);
        assert_eq!(ready.json()["not_ready"][0], "default");
    }
    let status = command::run(&home, &["status", "--exit-code"]);
    assert_eq!(status.code, Some(4), "{status:#?}");
}

/// 2: what a start skips, a check does not refuse; what it advises is possible.
#[test]
fn n2_skip_and_its_advice() {
    let broken = "platforms: {webhook: {enabled: true}}\n";
    let home = Home::with_config(&Home::config("true", "  on_profile_error: skip\n"));
    home.profile_with("coder", broken, "");
    let check = command::run(&home, &["gateway", "check"]);
    assert_eq!(check.code, Some(0), "{check:#?}");
    assert!(check.out.contains("left out: coder"), "{}", check.out);

    let home = Home::new();
    home.profile_with("coder", broken, "");
    let secondary = refused(&home);
    assert!(secondary.err.contains("on_profile_error: skip"), "{}", secondary.err);
    let home = Home::with_config("agent: {engine: nope}\n");
    let default = refused(&home);
    assert_eq!(default.code, Some(78), "{default:#?}");
    assert!(!default.err.contains("on_profile_error"), "{}", default.err);
    assert_eq!(command::run(&home, &["gateway", "check"]).code, Some(78));
}

/// 2: files that cannot be read, of the default profile and of another, are judged alike by everybody.
#[test]
fn n2_what_cannot_be_read_is_never_absent() {
    for file in ["config.yaml", ".env"] {
        let home = Home::new();
        home.profile("coder");
        let path = home.of("coder").join(file);
        fs_err::remove_file(&path).unwrap();
        fs_err::create_dir(&path).unwrap();
        let check = command::run(&home, &["gateway", "check"]);
        assert_eq!(check.code, Some(0), "{check:#?}");
        assert!(check.out.contains("the file cannot be read") && check.out.contains("left out: coder"));
        assert_eq!(command::run(&home, &["config", "check", "-p", "coder"]).code, Some(78));
        let doctor = command::run(&home, &["doctor", "-p", "coder"]);
        assert!(doctor.code == Some(1) && doctor.out.contains("the file cannot be read"), "{doctor:#?}");
        let gateway = Gateway::start(&home);
        assert_eq!(gateway.profile("coder").state, "failed");
        drop(gateway);

        let path = home.root().join(file);
        fs_err::remove_file(&path).unwrap();
        fs_err::create_dir(&path).unwrap();
        for ran in [command::run(&home, &["gateway", "check"]), refused(&home)] {
            assert_eq!(ran.code, Some(78), "{ran:#?}");
            assert!(format!("{}{}", ran.out, ran.err).contains("the file cannot be read"), "{ran:#?}");
        }
    }
}

/// 2: a lock that is no gateway's, and a runtime directory that cannot be one.
#[test]
fn n2_lock_and_runtime_directory_are_looked_at() {
    let home = Home::new();
    fs_err::write(home.root().join("gateway.lock"), "my shopping list").unwrap();
    for ran in [command::run(&home, &["gateway", "check"]), refused(&home)] {
        assert_eq!(ran.code, Some(78), "{ran:#?}");
        assert!(format!("{}{}", ran.out, ran.err).contains("not a lock file"), "{ran:#?}");
    }
    fs_err::remove_file(home.root().join("gateway.lock")).unwrap();
    let file = home.user().join("file");
    fs_err::write(&file, "").unwrap();
    for verb in ["check", "run"] {
        let mut command = hermes_tests::gateway::hermes(&home, &["gateway", verb]);
        let ran: Ran = command.env("XDG_RUNTIME_DIR", &file).output().unwrap().into();
        assert_eq!(ran.code, Some(78), "{ran:#?}");
    }
    // One that is missing is made.
    let missing = home.user().join("run");
    let mut command = hermes_tests::gateway::hermes(&home, &["gateway", "check"]);
    let ran: Ran = command.env("XDG_RUNTIME_DIR", &missing).output().unwrap().into();
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(!missing.exists());
}

/// 2: a check leaves no trace in any home, whatever is wrong there.
#[test]
fn n2_a_check_writes_nothing() {
    let home = Home::new();
    home.profile("coder").profile_with("ops", "agent: {engine: nope}\nwhat: 1\n", "TOKEN=x\n");
    let before = tree(&home.root());
    command::run(&home, &["gateway", "check"]);
    command::run(&home, &["doctor"]);
    assert_eq!(tree(&home.root()), before);
    // Nor an error into the logs that a gateway left there.
    let gateway = Gateway::start(&home);
    for _ in 0..3 {
        command::run(&home, &["gateway", "check"]);
    }
    drop(gateway);
    for profile in ["default", "coder"] {
        let log = home.read(profile, "logs/gateway.log").unwrap();
        assert!(!log.contains(" ERROR "), "{log}");
        assert!(home.read(profile, "logs/gateway.error.log").is_some(), "every home has one");
    }
}
