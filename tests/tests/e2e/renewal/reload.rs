//! `systemctl reload` of the service, under a real `systemd --user`.

use hermes_tests::systemd::{Manager, within};

use super::*;

/// The service of an installed program, which serves; its unit and process.
fn service(home: &Home, installed: &Installed, manager: &Manager<'_>) -> (String, u32) {
    let output = installed.run(home, &["gateway", "install", "--json"]);
    let said: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", both(&output)));
    let unit = said["service"]["name"].as_str().unwrap().to_owned();
    manager.wait(&unit, "StatusText", "3 of 3 profiles ready");
    let pid = manager.main_pid(&unit);
    (unit, pid)
}

/// Where the manager heard of a reload for the first time after `seen`, and of the end of the last one.
fn heard(manager: &Manager<'_>, pid: u32, seen: usize) -> Option<(usize, usize)> {
    let told = manager.told(pid);
    let begun = told.iter().skip(seen).position(|words| words.starts_with("RELOADING=1"))? + seen;
    let ready = told.iter().rposition(|words| words.starts_with("READY=1"))?;
    (ready > begun).then_some((begun, ready))
}

/// The program on disk is taken up in place: the same process, the manager hears of the beginning and the end, and nobody is refused.
#[test]
fn a_reload_by_systemd_takes_the_program_on_disk_up() {
    within("renewal::reload::a_reload_by_systemd_takes_the_program_on_disk_up", || {
        let home = Home::new();
        home.profile("coder").profile("ops");
        let installed = Installed::new();
        let manager = Manager::start(&home);
        let (unit, pid) = service(&home, &installed, &manager);
        let (api, hooks) = (gateway::address(&home, "api_server"), gateway::address(&home, "webhook"));
        let seen = manager.told(pid).len();
        let load = Load::default();
        std::thread::scope(|scope| {
            scope.spawn(|| load.connect(&api));
            scope.spawn(|| load.keep(&api));
            scope.spawn(|| load.post(&hooks));
            // Whatever fails here, the clients end.
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                wait::until_true("clients to be answered", || load.answered.load(SeqCst) > 20);
                installed.replace();
                manager.ask(&["reload", &unit]);
                wait::until_true("the new program", || image(pid) == file(&installed.program()));
                load.answered.store(0, SeqCst);
                wait::until_true("clients to be answered", || load.answered.load(SeqCst) > 20);
            }));
            load.stop.store(true, SeqCst);
            done.unwrap_or_else(|why| std::panic::resume_unwind(why));
        });
        load.assert_answered_once(&home);
        wait::until("the manager to hear of the end", || heard(&manager, pid, seen));
        manager.wait(&unit, "ActiveState", "active");
        manager.wait(&unit, "StatusText", "3 of 3 profiles ready");
        assert_eq!((manager.main_pid(&unit), manager.property(&unit, "NRestarts").as_str()), (pid, "0"));
        assert_eq!((gateway::address(&home, "api_server"), gateway::address(&home, "webhook")), (api, hooks));
        manager.ask(&["stop", &unit]);
        assert_eq!(manager.property(&unit, "Result"), "success");
    });
}

/// Files that do not hold, and a program that is none, take nothing away: what ran goes on, the service stays active, and why is said.
#[test]
fn a_reload_by_systemd_with_what_does_not_hold_changes_nothing() {
    within("renewal::reload::a_reload_by_systemd_with_what_does_not_hold_changes_nothing", || {
        let home = Home::new();
        home.profile("coder").profile("ops");
        let installed = Installed::new();
        let manager = Manager::start(&home);
        let (unit, pid) = service(&home, &installed, &manager);
        let (api, runs) = (gateway::address(&home, "api_server"), image(pid));
        let refused = |how: &str, part: &str| {
            let seen = manager.told(pid).len();
            let logged = |text: &str| text.lines().filter(|l| l.contains(part)).count();
            let before = logged(&home.read("default", "logs/supervisor.log").unwrap());
            manager.ask(&["reload", &unit]);
            wait::until("the manager to hear of the end", || heard(&manager, pid, seen));
            wait::until_true(how, || logged(&home.read("default", "logs/supervisor.log").unwrap()) > before);
            manager.wait(&unit, "ActiveState", "active");
            assert_eq!((manager.main_pid(&unit), image(pid)), (pid, runs), "{how}");
            let health = http::request(&api, "GET", "/p/coder/health", &[], b"").unwrap();
            assert_eq!(health.status, 200, "{how}: {health:?}");
        };
        let config = home.read("default", "config.yaml").unwrap();
        home.write("default", "config.yaml", "gateway: {multiplex_profiles: true}\nplatforms: {webhook: [\n");
        refused("files that cannot be read", "SIGHUP: the configuration was not taken over: ");
        // And with another program, which says so before it takes anybody's place.
        installed.replace();
        refused("another program with files that cannot be read", "SIGHUP: the program `");
        home.write("default", "config.yaml", &config);
        installed.replace_by("#!/bin/sh\nexit 1\n", 0o755);
        refused("a program that is none", "SIGHUP: the program `");
        // What holds again is taken up.
        installed.replace();
        manager.ask(&["reload", &unit]);
        wait::until_true("the new program", || image(pid) == file(&installed.program()));
        manager.wait(&unit, "StatusText", "3 of 3 profiles ready");
        assert_eq!(manager.main_pid(&unit), pid);
        manager.ask(&["stop", &unit]);
    });
}
