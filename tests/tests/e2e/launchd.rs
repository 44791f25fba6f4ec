//! The gateway as a launch agent: installed, started, stopped, edited and removed, with a scripted `launchctl` that starts what the
//! property list says.

use hermes_tests::Home;
use hermes_tests::command::Ran;
use hermes_tests::launchd::Launchd;
use serde_json::Value;

fn json(ran: Ran) -> Value {
    serde_json::from_str(&ran.ok()).unwrap()
}

/// Installs it without starting it; its label.
fn installed(launchd: &Launchd<'_>) -> String {
    let said = json(launchd.run(&["gateway", "install", "--no-start-now", "--json"]));
    assert_eq!((said["change"].as_str(), said["enabled"].as_bool()), (Some("created"), Some(true)), "{said}");
    assert_eq!(
        (said["service"]["manager"].as_str(), &said["linger"]),
        (Some("launchd"), &Value::Null),
        "{said}"
    );
    said["service"]["name"].as_str().unwrap().strip_suffix(".plist").unwrap().to_owned()
}

/// N5.5: an agent's whole life. What is started is ready, what is stopped is gone, and each is asked of launchd.
#[test]
fn n5_5_an_agent_from_its_installation_to_its_removal() {
    let home = Home::lasting();
    let launchd = Launchd::new(&home);
    let label = installed(&launchd);
    assert!(label.starts_with("ai.hermes.gateway."), "{label}: a home of its own has a name of its own");
    let file = launchd.agents().join(format!("{label}.plist"));
    assert!(file.exists() && !launchd.is_loaded(&label));

    let text = launchd.run(&["gateway", "install"]).ok();
    let pid = launchd.pid(&label).unwrap();
    assert!(text.contains(&format!("Service already installed at: {file}")), "{text}");
    assert!(text.contains(&format!("✓ Launchd service started (PID {pid})")), "{text}");
    let status = json(launchd.run(&["status", "--json"]));
    assert_eq!(
        (status["gateway"]["pid"].as_u64(), status["services"][0]["pid"].as_u64()),
        (Some(pid.into()), Some(pid.into())),
        "{status}"
    );
    let again = json(launchd.run(&["gateway", "install", "--json"]));
    assert_eq!(
        (again["change"].as_str(), again["pid"].as_u64()),
        (Some("unchanged"), Some(pid.into())),
        "{again}"
    );

    launchd.asked();
    let stopped = launchd.run(&["gateway", "stop"]).ok();
    assert!(stopped.contains("✓ Launchd service stopped"), "{stopped}");
    assert!(launchd.pid(&label).is_none() && !launchd.is_loaded(&label));
    let asked = launchd.asked();
    assert!(matches!(asked.as_slice(), [one] if one.starts_with("bootout gui/")), "{asked:?}");
    let started = launchd.run(&["gateway", "start"]).ok();
    assert!(started.contains("↻ launchd job was unloaded; reloading service definition"), "{started}");
    assert!(started.contains("✓ Launchd service started"), "{started}");

    let removed = launchd.run(&["gateway", "uninstall"]).ok();
    assert!(removed.contains(&format!("✓ Removed {file}")), "{removed}");
    assert!(removed.contains("✓ Launchd service uninstalled"), "{removed}");
    assert!(!file.exists() && launchd.pid(&label).is_none() && !launchd.is_loaded(&label));
    assert!(launchd.run(&["gateway", "uninstall"]).ok().starts_with("✓ Nothing to uninstall"));
}

/// What somebody edited stays until it is asked for; a new definition is what the next start starts.
#[test]
fn n5_5_an_edited_agent_is_left_alone_and_another_definition_is_loaded() {
    let home = Home::lasting();
    let launchd = Launchd::new(&home);
    let label = installed(&launchd);
    let file = launchd.agents().join(format!("{label}.plist"));
    let written = fs_err::read_to_string(&file).unwrap();
    let edited = written.replace("<integer>10</integer>", "<integer>30</integer>");
    assert_ne!(edited, written);
    fs_err::write(&file, &edited).unwrap();
    let left = launchd.run(&["gateway", "install", "--no-start-now"]).ok();
    assert!(left.contains("changed by hand and is left as it is"), "{left}");
    assert_eq!(fs_err::read_to_string(&file).unwrap(), edited);
    let forced = launchd.run(&["gateway", "install", "--no-start-now", "--force"]).ok();
    assert!(forced.contains("✓ Launchd service installed and enabled!"), "{forced}");
    assert_eq!(fs_err::read_to_string(&file).unwrap(), written);
    let kept = launchd.agents().join(format!("{label}.plist.before-hermes"));
    assert_eq!(fs_err::read_to_string(kept).unwrap(), edited);

    // Loaded of an older file, as after a login, and nothing runs of it.
    launchd.run(&["gateway", "install"]).ok();
    launchd.run(&["gateway", "stop"]).ok();
    launchd.run(&["gateway", "install", "--no-start-on-login"]).ok();
    let other = fs_err::read_to_string(&file).unwrap();
    assert!(other.contains("<key>Crashed</key>"), "{other}");
    let asked = launchd.asked();
    assert!(asked.last().unwrap().starts_with("kickstart gui/"), "{asked:?}");
    let pid = launchd.pid(&label).unwrap();
    // One that runs goes on with the definition that it has, and how it gets the other one is said.
    let updated = launchd.run(&["gateway", "install"]).ok();
    assert!(updated.contains("↻ Repairing outdated launchd service at:"), "{updated}");
    assert!(updated.contains("`hermes gateway stop && hermes gateway start`"), "{updated}");
    assert_eq!(launchd.pid(&label), Some(pid));
}

/// N5.2: what launchd does not do is an error, and nothing is started in its place; what it has not is refused.
#[test]
fn n5_2_what_launchd_refuses_is_no_success() {
    let home = Home::lasting();
    let launchd = Launchd::new(&home);
    let system = launchd.run(&["gateway", "install", "--system", "--run-as-user", "root"]).fails(1);
    assert!(system.contains("services of the machine are not installed here"), "{system}");
    assert!(!launchd.agents().exists());
    let label = installed(&launchd);
    fs_err::write(launchd.place().join("fail-bootstrap"), "125\n125\n").unwrap();
    let refused = launchd.run(&["gateway", "install"]).fails(1);
    assert!(
        refused.contains("launchd cannot manage the gateway here") && refused.contains("exit code 125"),
        "{refused}"
    );
    assert!(launchd.pid(&label).is_none());
    assert_eq!(launchd.run(&["status", "--exit-code"]).code, Some(3));
    let temporary = Home::new();
    let launchd = Launchd::new(&temporary);
    let refused = launchd.run(&["gateway", "install"]).fails(1);
    assert!(refused.starts_with("✗ Refusing to write the gateway launchd plist: HERMES_HOME"), "{refused}");
    assert!(!launchd.agents().exists());
}
