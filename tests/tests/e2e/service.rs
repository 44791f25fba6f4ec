//! The gateway as a service of a real `systemd --user`: installed, started, watched, reloaded, killed, stopped and removed.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;

use hermes_tests::command::{Ran, outside, run};
use hermes_tests::systemd::{Manager, within, within_machine};
use hermes_tests::{Home, process, wait};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// Makes waiting for another start short, as a user's drop-in would.
const QUICK: &str = "[Service]\nRestartSec=100ms\n";

fn parsed(ran: Ran) -> Value {
    serde_json::from_str(&ran.ok()).unwrap()
}

/// Installs the service without starting it; the name of its unit.
fn installed(home: &Home, manager: &Manager<'_>) -> String {
    let said = parsed(run(home, &["gateway", "install", "--no-start-now", "--json"]));
    assert_eq!((said["change"].as_str(), said["enabled"].as_bool()), (Some("created"), Some(true)), "{said}");
    let name = said["service"]["name"].as_str().unwrap().to_owned();
    let drop_in = manager.units().join(format!("{name}.d"));
    fs_err::create_dir(&drop_in).unwrap();
    fs_err::write(drop_in.join("quick.conf"), QUICK).unwrap();
    manager.ask(&["daemon-reload"]);
    name
}

/// Waits until the unit runs another process than `before`, and says that it is ready.
fn another(manager: &Manager<'_>, unit: &str, before: u32) -> u32 {
    wait::until("another main process that is ready", || {
        let pid = manager.main_pid(unit);
        (pid != 0 && pid != before && manager.property(unit, "ActiveState") == "active").then_some(pid)
    })
}

/// N5.3, 2.7: a unit's whole life. Ready means active; a killed gateway comes back; a stopped one is inactive, not failed.
#[test]
fn n5_3_a_service_from_its_installation_to_its_removal() {
    within("service::n5_3_a_service_from_its_installation_to_its_removal", || {
        let home = Home::new();
        home.profile("coder");
        let manager = Manager::start(&home);
        let unit = installed(&home, &manager);
        assert!(unit.starts_with("hermes-gateway."), "{unit}: a home of its own has a name of its own");
        assert_eq!(
            fs_err::metadata(manager.units().join(&unit)).unwrap().permissions().mode() & 0o777,
            0o644
        );

        // `start` returns when the gateway is ready.
        manager.ask(&["start", &unit]);
        assert_eq!(manager.property(&unit, "ActiveState"), "active");
        manager.wait(&unit, "StatusText", "2 of 2 profiles ready");
        assert_eq!(manager.property(&unit, "DropInPaths").split('/').next_back(), Some("quick.conf"));
        let first = manager.main_pid(&unit);
        let status = parsed(run(&home, &["status", "--json"]));
        assert_eq!(status["gateway"]["pid"], first);
        let service = &status["services"][0];
        assert_eq!((&service["name"], &service["state"]), (&json!(unit), &json!("active")), "{status}");
        assert_eq!((&service["pid"], &service["enabled"]), (&json!(first), &json!(true)), "{status}");
        // What is between the manager and the gateway is nobody else's.
        for worker in process::children(first) {
            let environment = process::environment(worker).unwrap_or_default();
            for name in ["NOTIFY_SOCKET=", "WATCHDOG_USEC=", "INVOCATION_ID=", "LISTEN_PID="] {
                assert!(!process::contains(&environment, name.as_bytes()), "{name} in a worker");
            }
        }

        // Installing again changes nothing, and says so.
        let again = parsed(run(&home, &["gateway", "install", "--json"]));
        assert_eq!(
            (again["change"].as_str(), again["pid"].as_u64()),
            (Some("unchanged"), Some(first.into())),
            "{again}"
        );

        manager.ask(&["restart", &unit]);
        let second = another(&manager, &unit, first);
        process::signal(second, Signal::SIGKILL);
        let third = another(&manager, &unit, second);
        assert_eq!(manager.property(&unit, "NRestarts"), "1");

        manager.ask(&["stop", &unit]);
        assert_eq!(manager.property(&unit, "ActiveState"), "inactive");
        assert_eq!(manager.property(&unit, "Result"), "success");
        assert!(!process::is_alive(third));

        let removed = run(&home, &["gateway", "uninstall"]).ok();
        assert!(
            removed.contains("✓ User service uninstalled") && removed.contains("drop-ins stays"),
            "{removed}"
        );
        assert!(!manager.units().join(&unit).exists());
        assert_eq!(manager.property(&unit, "LoadState"), "not-found");
        assert!(run(&home, &["gateway", "uninstall"]).ok().starts_with("✓ Nothing to uninstall"));
    });
}

/// N5.3: a service of the machine, which runs as its user and is root's to start and stop.
#[test]
fn n5_3_a_service_of_the_machine() {
    within_machine("service::n5_3_a_service_of_the_machine", || {
        let home = Home::new();
        home.profile("coder");
        let user = nix::unistd::User::from_name("daemon").unwrap().unwrap();
        hermes_tests::home::give(&home.root(), user.uid.as_raw());
        let directory = home.root().parent().unwrap().to_owned();
        fs_err::set_permissions(directory, std::fs::Permissions::from_mode(0o711)).unwrap();
        let systemctl = |args: &[&str]| Ran::from(outside("systemctl".into()).args(args).output().unwrap());
        let property = |unit: &str, name: &str| systemctl(&["show", "-P", name, unit]).ok().trim().to_owned();

        let install = ["gateway", "install", "--system", "--run-as-user", "daemon", "--json"];
        let said = parsed(run(&home, &install));
        let unit = said["service"]["name"].as_str().unwrap().to_owned();
        let first = u32::try_from(said["pid"].as_u64().unwrap()).unwrap();
        assert_eq!(
            (property(&unit, "ActiveState").as_str(), property(&unit, "User").as_str()),
            ("active", "daemon")
        );
        let owner = std::os::unix::fs::MetadataExt::uid(&fs_err::metadata(format!("/proc/{first}")).unwrap());
        assert_eq!(owner, user.uid.as_raw());
        let text = run(&home, &["gateway", "status", "--system"]).ok();
        assert!(
            text.contains(&format!("\nsystem service {unit}: active (PID {first}), starts by itself\n")),
            "{text}"
        );

        systemctl(&["reload", &unit]).ok();
        wait::until_true("the end of the reload", || property(&unit, "ActiveState") == "active");
        assert_eq!(property(&unit, "MainPID"), first.to_string());
        process::signal(first, Signal::SIGKILL);
        wait::until_true("another start", || property(&unit, "NRestarts") == "1");
        wait::until_true("another process", || property(&unit, "ActiveState") == "active");
        assert_ne!(property(&unit, "MainPID"), first.to_string());

        let stopped = run(&home, &["gateway", "stop", "--system"]).ok();
        assert!(stopped.contains("✓ System service stopped"), "{stopped}");
        assert_eq!(
            (property(&unit, "ActiveState").as_str(), property(&unit, "Result").as_str()),
            ("inactive", "success")
        );
        let mut by_user = hermes_tests::gateway::hermes(&home, &["gateway", "start", "--system"]);
        by_user.env_remove("XDG_RUNTIME_DIR");
        let refused =
            Ran::from(by_user.uid(user.uid.as_raw()).gid(user.gid.as_raw()).output().unwrap()).fails(1);
        assert!(refused.starts_with("System gateway start requires root. Re-run with sudo."), "{refused}");
        let started = run(&home, &["gateway", "start", "--system"]).ok();
        assert!(started.contains("✓ System service started"), "{started}");
        let removed = run(&home, &["gateway", "uninstall", "--system"]).ok();
        assert!(removed.contains("✓ System service uninstalled"), "{removed}");
        assert_eq!(property(&unit, "LoadState"), "not-found");
        assert!(process::using(&home.root()).is_empty());
    });
}

/// 78 is not started again; a gateway that gives no sign of life is; both without a person.
#[test]
fn n5_3_what_the_manager_does_by_itself() {
    within("service::n5_3_what_the_manager_does_by_itself", || {
        let home = Home::new();
        let manager = Manager::start(&home);
        let unit = installed(&home, &manager);
        let drop_in = manager.units().join(format!("{unit}.d/quick.conf"));
        fs_err::write(&drop_in, format!("{QUICK}WatchdogSec=1\n")).unwrap();
        manager.ask(&["daemon-reload"]);
        manager.ask(&["start", &unit]);
        let first = manager.main_pid(&unit);
        // It gives signs of life: longer than it is given, and it still runs.
        wait::pass(std::time::Duration::from_millis(2500));
        assert_eq!(manager.main_pid(&unit), first);
        process::signal(first, Signal::SIGSTOP);
        let second = another(&manager, &unit, first);
        assert!(!process::is_alive(first));

        manager.ask(&["stop", &unit]);
        let config = home.read("default", "config.yaml").unwrap();
        home.write("default", "config.yaml", "gateway: {multiplex_profiles: true}\nplatforms: {webhook: [\n");
        assert!(!manager.systemctl(&["start", &unit]).status.success());
        manager.wait(&unit, "ActiveState", "failed");
        assert_eq!(manager.property(&unit, "ExecMainStatus"), "78");
        // Longer than it waits before it starts something again.
        wait::pass(std::time::Duration::from_millis(500));
        assert_eq!((manager.property(&unit, "ActiveState").as_str(), manager.main_pid(&unit)), ("failed", 0));
        home.write("default", "config.yaml", &config);
        let said = parsed(run(&home, &["gateway", "install", "--start-now", "--json"]));
        assert_ne!(said["pid"].as_u64(), Some(second.into()), "{said}");
        assert_eq!(manager.property(&unit, "ActiveState"), "active");
    });
}

/// Sockets of the manager are used: connections wait in them while the gateway is away, and they outlive it.
#[test]
fn a_socket_of_the_manager_outlives_the_gateway() {
    within("service::a_socket_of_the_manager_outlives_the_gateway", || {
        let home = Home::new();
        let manager = Manager::start(&home);
        let unit = installed(&home, &manager);
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = home.read("default", "config.yaml").unwrap();
        let of_port = |port: &str| config.replace("port: 0", port);
        assert_ne!(of_port("x"), config, "{config}");
        home.write(
            "default",
            "config.yaml",
            &config.replacen("port: 0", &format!("port: {}", free.port()), 1),
        );
        let socket = unit.replace(".service", ".socket");
        let other = home.user().join("other.sock");
        fs_err::write(
            manager.units().join(&socket),
            format!("[Socket]\nListenStream={free}\nListenStream={other}\n"),
        )
        .unwrap();
        manager.ask(&["daemon-reload"]);
        manager.ask(&["start", &socket]);
        manager.ask(&["start", &unit]);
        let first = manager.main_pid(&unit);
        let listeners = parsed(run(&home, &["status", "--json"]))["gateway"]["listeners"].to_string();
        assert!(listeners.contains(&free.to_string()), "{listeners}");
        let log = home.read("default", "logs/supervisor.log").unwrap();
        assert!(log.contains("is of no use here, and closed"), "{log}");
        // The socket is the manager's: it still listens when the gateway is gone, and whoever connects starts it again.
        manager.ask(&["stop", &unit]);
        assert_eq!(manager.property(&socket, "ActiveState"), "active");
        let health = hermes_tests::http::request(&free.to_string(), "GET", "/health", &[], b"").unwrap();
        assert_eq!(health.status, 200, "{health:?}");
        let second = another(&manager, &unit, first);
        assert_ne!(first, second);
    });
}

/// Status says how the service is, and what doctor finds of units: in the words of both, where whoever looks for it looks.
#[test]
fn n5_3_status_says_what_is_wrong_with_units() {
    within("service::n5_3_status_says_what_is_wrong_with_units", || {
        let home = Home::new();
        home.profile("coder");
        let manager = Manager::start(&home);
        let none = run(&home, &["gateway", "status", "--system"]).fails(1);
        assert!(none.contains("the gateway service is not installed"), "{none}");
        assert_eq!(parsed(run(&home, &["status", "--json"]))["services"], json!([]));
        let unit = installed(&home, &manager);
        let text = run(&home, &["gateway", "status"]).ok();
        assert!(text.contains(&format!("\nuser service {unit}: inactive, starts by itself\n")), "{text}");
        let file = manager.units().join(&unit);
        let mut edited = fs_err::read_to_string(&file).unwrap();
        edited.push_str("# mine\n");
        fs_err::write(&file, edited).unwrap();
        let python = "[Service]\nExecStart=/v/bin/python -m hermes_cli.main -p coder gateway run\n";
        let of_coder = format!("{python}Environment=HERMES_HOME={}\n", home.root());
        fs_err::write(manager.units().join("hermes-gateway-coder.service"), of_coder).unwrap();
        let codes = |problems: &Value| {
            let all = problems.as_array().unwrap().iter();
            all.map(|problem| problem["code"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let status = parsed(run(&home, &["status", "--json"]));
        let found = codes(&status["gateway"]["problems"]);
        assert!(found.contains(&"unit_edited".to_owned()), "{status:#}");
        assert!(codes(&status["profiles"][1]["problems"]).contains(&"python_unit".to_owned()), "{status:#}");
        let findings = parsed(run(&home, &["doctor", "--json"]));
        let doctors = codes(&findings["findings"]);
        for code in ["unit_edited", "python_unit"] {
            assert!(doctors.contains(&code.to_owned()), "{findings:#}");
        }
        let text = run(&home, &["-p", "coder", "gateway", "status"]).ok();
        assert!(text.contains("a unit that starts the Python program's gateway"), "{text}");
        manager.ask(&["start", &unit]);
        manager.ask(&["stop", &unit]);
        home.write("default", "config.yaml", "gateway: {multiplex_profiles: true}\nplatforms: {webhook: [\n");
        assert!(!manager.systemctl(&["start", &unit]).status.success());
        manager.wait(&unit, "ActiveState", "failed");
        let text = run(&home, &["gateway", "status"]).ok();
        let refused = format!("\nuser service {unit}: failed: its configuration is refused (exit code 78)");
        assert!(text.contains(&refused), "{text}");
    });
}

/// N5.1: whoever's a unit is decides what may be done with it.
#[test]
fn n5_1_units_of_others_and_edited_ones_are_left_alone() {
    within("service::n5_1_units_of_others_and_edited_ones_are_left_alone", || {
        let home = Home::new();
        let manager = Manager::start(&home);
        let unit = installed(&home, &manager);
        let file = manager.units().join(&unit);

        // Edited by hand: never written again, unless that is asked for; then the old one is kept.
        let written = fs_err::read_to_string(&file).unwrap();
        let edited = written.replace("UMask=0077", "UMask=0027");
        fs_err::write(&file, &edited).unwrap();
        let said = run(&home, &["gateway", "install", "--no-start-now"]).ok();
        assert!(said.contains("changed by hand"), "{said}");
        assert_eq!(fs_err::read_to_string(&file).unwrap(), edited);
        let forced = parsed(run(&home, &["gateway", "install", "--no-start-now", "--force", "--json"]));
        assert_eq!(forced["change"], "replaced");
        assert_eq!(fs_err::read_to_string(forced["kept"].as_str().unwrap()).unwrap(), edited);
        assert_eq!(fs_err::read_to_string(&file).unwrap(), written);

        // Out of date: brought up to date.
        let config = home.read("default", "config.yaml").unwrap();
        home.write("default", "config.yaml", &format!("{config}\nagent: {{restart_drain_timeout: 90}}\n"));
        let said = run(&home, &["gateway", "install", "--no-start-now"]).ok();
        assert!(said.contains("✓ User service definition updated"), "{said}");
        assert_eq!(manager.property(&unit, "TimeoutStopUSec"), "2min");

        // Of another home: not removed, and not taken for this one's.
        let other = written.replace(home.root().as_str(), "/srv/other");
        fs_err::write(&file, &other).unwrap();
        let refused = run(&home, &["gateway", "uninstall"]).fails(1);
        assert!(refused.contains("belongs to another home, /srv/other"), "{refused}");
        assert_eq!(fs_err::read_to_string(&file).unwrap(), other);
        let second = parsed(run(&home, &["gateway", "install", "--no-start-now", "--json"]));
        assert_ne!(second["service"]["name"], unit.as_str(), "{second}");
        assert_eq!(fs_err::read_to_string(&file).unwrap(), other);
    });
}

/// What is installed passes the service manager's own checks.
#[test]
fn n5_3_units_pass_the_managers_own_checks() {
    if !hermes_tests::tools::have("systemd-analyze") {
        return;
    }
    let home = Home::lasting();
    let place = home.root();
    for (args, name) in [
        (&["gateway", "install", "--dry-run", "--json"][..], "user.service"),
        (
            &["gateway", "install", "--dry-run", "--json", "--system", "--run-as-user", "daemon"],
            "system.service",
        ),
        (&["gateway", "install", "--dry-run", "--json", "--system", "--run-as-user", "root"], "root.service"),
    ] {
        let said = parsed(run(&home, args));
        let unit = place.join(name);
        fs_err::write(&unit, said["unit"].as_str().unwrap()).unwrap();
        let scope = if name == "user.service" { "--user" } else { "--system" };
        let mut verify = hermes_tests::command::outside("systemd-analyze".into());
        let verified = verify.args([scope, "verify", "--man=no", unit.as_str()]).output().unwrap();
        let complaints = hermes_tests::gateway::both(&verified);
        let ours: Vec<_> = complaints.lines().filter(|line| line.contains(name)).collect();
        assert!(ours.is_empty(), "{name}: {complaints}");
    }
    let mut security = hermes_tests::command::outside("systemd-analyze".into());
    let judged = security
        .args(["security", "--offline=yes", "--threshold=82", place.join("system.service").as_str()])
        .output()
        .unwrap();
    assert!(judged.status.success(), "{}", hermes_tests::gateway::both(&judged));
}

/// §15.16, §1.6: what is refused, with nothing written and nothing started.
#[test]
fn n5_2_what_is_refused_changes_nothing() {
    let home = Home::new();
    let temporary = run(&home, &["gateway", "install"]).fails(1);
    assert!(
        temporary.starts_with(
            "✗ Refusing to write the gateway systemd unit: HERMES_HOME resolves to a temporary directory ("
        ),
        "{temporary}"
    );
    assert!(!home.user().join(".config").exists());
    assert_eq!(run(&home, &["status", "--exit-code"]).code, Some(3));
    let home = Home::lasting();
    // No manager answers there.
    let silent = run(&home, &["gateway", "install"]).fails(1);
    assert!(
        silent.starts_with("✗ User systemd not reachable:\n") && silent.contains("`hermes gateway run`"),
        "{silent}"
    );
    assert!(!home.user().join(".config").exists());
    let system = ["gateway", "install", "--system", "--dry-run", "--run-as-user", "nobody-of-that-name"];
    let unknown = run(&home, &system).fails(1);
    assert!(unknown.starts_with("Unknown user: nobody-of-that-name"), "{unknown}");
    let mut root = hermes_tests::gateway::hermes(&home, &system[..4]);
    let root = Ran::from(root.env("USER", "root").output().unwrap()).fails(1);
    assert!(
        root.starts_with("Refusing to install the gateway system service as root; pass --run-as-user root"),
        "{root}"
    );
}
