//! From a gateway for each profile to one, and back, under a real service manager.
//!
//! The older program is stood in for by a script with its command line, its lock and its records; its units have the text that it writes.

mod agents;

use camino::Utf8PathBuf;
use hermes_tests::command::{Ran, run};
use hermes_tests::gateway::{hermes, status};
use hermes_tests::steps::{Whose, killed_at};
use hermes_tests::systemd::{Manager, within};
use hermes_tests::tools::have;
use hermes_tests::{Home, process, wait};

/// What the stand-in is called: its command line is known by that.
const MODULE: &str = "hermes_cli.main";

/// The stand-in.
const STAND_IN: &str = "cd \"$HERMES_HOME\"\nexec 9>>gateway.lock\nflock -n -x 9 || exit 1\n\
    trap 'rm -f gateway.pid; exit 0' TERM\nstart=$(cut -d' ' -f22 /proc/$$/stat)\n\
    record='{\"pid\":'$$',\"kind\":\"hermes-gateway\",\"argv\":[\"hermes_cli.main\",\"gateway\",\"run\"],\"start_time\":'$start'}'\n\
    echo \"$record\" >gateway.pid\necho \"$record\" >gateway.lock\nwhile :; do sleep 0.05; done\n";

/// A machine with a root home whose configuration has a comment, and the manager of its user.
struct Machine<'a> {
    home: &'a Home,
    manager: Manager<'a>,
}

impl<'a> Machine<'a> {
    fn new(home: &'a Home) -> Self {
        let config = Home::config("false", "").replace("gateway:\n", "gateway: # mine\n");
        home.furnish(&config);
        // The root home is the usual one, so that units have the names that guides know.
        std::os::unix::fs::symlink("../root", home.user().join(".hermes")).unwrap();
        fs_err::write(home.user().join(MODULE), STAND_IN).unwrap();
        Self { home, manager: Manager::start(home) }
    }

    /// A profile that can be served by anybody.
    fn profile(&self, name: &str) -> &Self {
        // A key of an API server would be a listener of its own where it stands alone.
        self.home.profile_with(name, "agent: {engine: echo}\n", "");
        self
    }

    fn name(profile: &str) -> String {
        if profile == "default" {
            "hermes-gateway.service".to_owned()
        } else {
            format!("hermes-gateway-{profile}.service")
        }
    }

    fn file(&self, profile: &str) -> Utf8PathBuf {
        self.manager.units().join(Self::name(profile))
    }

    /// The older program's unit of a profile.
    fn text(&self, profile: &str) -> String {
        let (home, script) = (self.home.of(profile), self.home.user().join(MODULE));
        let flag = if profile == "default" { String::new() } else { format!("--profile {profile} ") };
        format!(
            "[Unit]\nDescription=Hermes Agent Gateway - Messaging Platform Integration\nStartLimitIntervalSec=0\n\n\
             [Service]\nType=simple\nExecStart=/bin/sh {script} {flag}gateway run\nWorkingDirectory={home}\n\
             Environment=\"PATH=/usr/bin:/bin\"\nEnvironment=\"HERMES_HOME={home}\"\nRestart=always\nRestartSec=5\n\
             RestartForceExitStatus=75\nRestartPreventExitStatus=78\nKillMode=mixed\nKillSignal=SIGTERM\n\
             TimeoutStopSec=60\n\n[Install]\nWantedBy=default.target\n"
        )
    }

    /// Installs it; `runs`: enabled and started.
    fn older(&self, profile: &str, runs: bool) -> &Self {
        fs_err::create_dir_all(self.manager.units()).unwrap();
        fs_err::write(self.file(profile), self.text(profile)).unwrap();
        self.manager.ask(&["daemon-reload"]);
        if runs {
            self.manager.ask(&["enable", "--now", &Self::name(profile)]);
            wait::until_true("the older gateway", || self.runs_alone(profile));
        }
        self
    }

    /// Whether a gateway of its own runs for a profile.
    fn runs_alone(&self, profile: &str) -> bool {
        let pid = self
            .home
            .read(profile, "gateway.pid")
            .and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
        let pid = pid.and_then(|record| record["pid"].as_u64());
        pid.is_some_and(|pid| process::is_alive(u32::try_from(pid).unwrap()))
            && (profile != "default" || !self.is_one())
    }

    fn is_one(&self) -> bool {
        let status = status(self.home);
        !status.gateway.stale && status.gateway.mode.as_deref() == Some("multiplex")
    }

    fn is_served(&self, profile: &str) -> bool {
        self.is_one() && status(self.home).profiles.iter().any(|p| p.name == profile && p.ready)
    }

    fn migrate(&self, args: &[&str]) -> Ran {
        run(self.home, &[&["gateway", "migrate"], args].concat())
    }

    /// What a service manager and the files say, to be compared.
    fn picture(&self, profiles: &[&str]) -> Vec<String> {
        let mut all = vec![self.home.read("default", "config.yaml").unwrap()];
        for profile in profiles {
            let name = Self::name(profile);
            let text = fs_err::read_to_string(self.file(profile)).ok();
            let enabled = self.manager.property(&name, "UnitFileState");
            all.push(format!(
                "{profile}: {enabled} {} {text:?}",
                self.manager.property(&name, "ActiveState")
            ));
            all.push(format!("parked: {:?}", self.home.read(profile, "gateway.parked")));
        }
        all
    }
}

/// N7.6: what would be done is shown and nothing touched; done, one service serves everybody who ran, who was stopped stays so; and back,
/// everything is byte for byte as it was.
#[test]
fn n7_6_from_units_of_the_older_program_to_one_gateway_and_back() {
    within("migrate::n7_6_from_units_of_the_older_program_to_one_gateway_and_back", || {
        let home = Home::empty();
        let machine = Machine::new(&home);
        for name in ["coder", "idle", "own"] {
            machine.profile(name);
        }
        run(&home, &["-p", "own", "gateway", "install"]).ok();
        machine.older("default", true).older("coder", true).older("idle", false);
        let all = ["default", "coder", "idle", "own"];
        let before = machine.picture(&all);

        let shown = machine.migrate(&["--dry-run"]).ok();
        for part in [
            "default",
            "user service hermes-gateway-coder.service",
            "parked",
            "gateway.multiplex_profiles: true",
        ] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        let said = machine.migrate(&[]).fails(1);
        assert!(said.contains("--yes"), "nobody is there to be asked: {said}");
        assert_eq!(machine.picture(&all), before);
        assert!(home.read("default", "gateway_migration.json").is_none());

        let said = machine.migrate(&["--yes"]).ok();
        assert!(said.contains("One gateway serves default, coder, own"), "{said}");
        for name in ["default", "coder", "own"] {
            assert!(machine.is_served(name), "{name}: {:#?}", status(&home));
        }
        assert!(home.read("idle", "gateway.parked").is_some(), "what was stopped stays stopped");
        let units = machine.manager.ask(&["list-unit-files", "hermes-gateway*", "--no-legend"]);
        assert_eq!(units.lines().count(), 1, "{units}");
        assert_eq!(machine.manager.property("hermes-gateway.service", "UnitFileState"), "enabled");
        assert!(
            home.read("default", "config.yaml")
                .unwrap()
                .contains("gateway: # mine\n  multiplex_profiles: true\n")
        );
        let manifest: serde_json::Value =
            serde_json::from_str(&home.read("default", "gateway_migration.json").unwrap()).unwrap();
        assert_eq!(manifest["flag_was"], false);
        assert_eq!(
            manifest["secondaries"][0]["service"],
            serde_json::json!({"kind": "systemd", "system": false})
        );
        assert!(machine.migrate(&["--yes"]).ok().contains("Nothing to do"));

        machine.migrate(&["--rollback", "--yes"]).ok();
        for name in ["default", "coder", "own"] {
            wait::until_true(&format!("{name} by itself"), || machine.runs_alone(name));
        }
        assert_eq!(machine.picture(&all), before);
        assert!(home.read("default", "gateway_migration.json").is_none());
        assert!(machine.migrate(&["--rollback", "--yes"]).fails(1).contains("no migration"));
    });
}

/// N7.6: killed at any step, whoever ran is served by the one or has his own; the next command goes on, in either direction.
#[test]
fn n7_6_killed_at_every_step_nobody_is_left_without_a_gateway() {
    within("migrate::n7_6_killed_at_every_step_nobody_is_left_without_a_gateway", || {
        if !have("strace") {
            return;
        }
        let home = Home::empty();
        let machine = Machine::new(&home);
        machine.profile("coder").older("default", true).older("coder", true);
        let all = ["default", "coder"];
        let before = machine.picture(&all);
        let alive = |when: &str| {
            for name in all {
                let here = || machine.runs_alone(name) || machine.is_served(name);
                wait::until_true(&format!("somebody to serve {name}, {when}"), here);
            }
        };
        // Every file that is put in place, and every time that the service manager is asked.
        let calls = ["/^rename(at|at2)?$", "/^(clone|clone3|vfork)$", "/^unlink(at)?$"];
        let mut killed = 0;
        for call in calls {
            for args in [&["gateway", "migrate", "--yes"][..], &["gateway", "migrate", "--rollback", "--yes"]]
            {
                for n in 1.. {
                    let back = args.contains(&"--rollback");
                    if back {
                        machine.migrate(&["--yes"]).ok();
                    }
                    let when = format!("{args:?} killed at {call} {n}");
                    let ran = killed_at(&home, args, (Whose::Main, call), n);
                    alive(&when);
                    killed += u32::from(ran.is_none());
                    // Odd ones are finished first, even ones are taken back as they are.
                    if n % 2 == 1 {
                        machine.migrate(&["--yes"]).ok();
                        assert!(all.iter().all(|name| machine.is_served(name)), "{when}");
                    }
                    if home.read("default", "gateway_migration.json").is_some() {
                        machine.migrate(&["--rollback", "--yes"]).ok();
                    }
                    alive(&when);
                    wait::until_true(&format!("all to be as before, {when}"), || {
                        machine.picture(&all) == before
                    });
                    if ran.is_some() {
                        break;
                    }
                }
            }
        }
        assert!(killed > 20, "{killed}");
    });
}

/// N7.6: what would go wrong is said, all of it, before anything is touched.
#[test]
fn n7_6_obstacles_are_named_and_nothing_is_touched() {
    within("migrate::n7_6_obstacles_are_named_and_nothing_is_touched", || {
        let home = Home::empty();
        let machine = Machine::new(&home);
        let token = "platforms: {testchat: {enabled: true}, api_server: {enabled: true, extra: {port: 8650}}}\nagent: {engine: echo}\n";
        home.profile_with("coder", token, "API_SERVER_KEY=coder-api-key-0123456789\n");
        machine.profile("ops").older("default", true).older("coder", true).older("ops", true);
        let drop_in = machine.manager.units().join("hermes-gateway-ops.service.d/limits.conf");
        fs_err::create_dir_all(drop_in.parent().unwrap()).unwrap();
        fs_err::write(&drop_in, "[Service]\nMemoryMax=2G\nEnvironment=SECRET_OF_OPS=hunter2\n").unwrap();
        machine.manager.ask(&["daemon-reload"]);
        let before = machine.picture(&["default", "coder", "ops"]);
        let ran = machine.migrate(&["--yes"]);
        let said = format!("{}{}", ran.out, ran.err);
        assert_eq!(ran.code, Some(78), "{said}");
        for part in ["coder: ", "api_server", drop_in.as_str(), "MemoryMax", "SECRET_OF_OPS"] {
            assert!(said.contains(part), "{part} in {said}");
        }
        assert!(!said.contains("hunter2"), "{said}");
        let json: serde_json::Value = serde_json::from_str(&machine.migrate(&["--json"]).out).unwrap();
        let codes: Vec<_> = json["obstacles"].as_array().unwrap().iter().map(|o| o["code"].clone()).collect();
        assert!(codes.contains(&"refused".into()) && codes.contains(&"lost".into()), "{json:#}");
        assert_eq!(machine.picture(&["default", "coder", "ops"]), before);
        assert!(home.read("default", "gateway_migration.json").is_none());
    });
}

/// N7.6: a profile that does not come up takes everybody back, unless it is to be gone on without.
#[test]
fn n7_6_who_does_not_come_up_takes_everybody_back() {
    within("migrate::n7_6_who_does_not_come_up_takes_everybody_back", || {
        let home = Home::empty();
        let machine = Machine::new(&home);
        machine.profile("coder").profile("ops");
        home.write("coder", "state.db", "this is no database, and no worker starts on it");
        machine.older("default", true).older("coder", true).older("ops", true);
        let all = ["default", "coder", "ops"];
        let before = machine.picture(&all);
        let said = machine.migrate(&["--yes"]).fails(1);
        assert!(said.contains("everything is as it was"), "{said}");
        for name in all {
            wait::until_true(&format!("{name} by itself"), || machine.runs_alone(name));
        }
        assert_eq!(machine.picture(&all), before);
        let ran = machine.migrate(&["--yes", "--keep-going"]);
        assert_eq!(ran.code, Some(4), "{ran:?}");
        assert!(machine.is_served("ops") && machine.is_served("default") && !machine.is_served("coder"));
    });
}

/// N7.6: what a newer Python program wrote down is read; what it wrote half is named, with what can be done by hand.
#[test]
fn n7_6_the_record_of_a_newer_python_program() {
    let home = Home::new();
    home.write("default", "gateway_migration.json", "{\"version\": 1, \"migrated_at\": \"2026-11-02T08");
    let said = run(&home, &["gateway", "migrate", "--rollback", "--yes"]).fails(1);
    assert!(said.contains("gateway_migration.json") && said.contains("multiplex_profiles false"), "{said}");
    let theirs = serde_json::json!({
        "version": 1, "migrated_at": "2026-11-02T08:14:03+0100", "flag_was": false,
        "default": {"profile": "default", "home": home.root(), "pid": 1, "service": {"kind": "systemd", "system": false}},
        "secondaries": [{"profile": "coder", "home": home.of("coder"), "pid": 2, "service": {"kind": "systemd", "system": false}}],
    });
    home.write("default", "gateway_migration.json", &theirs.to_string());
    let said = run(&home, &["gateway", "migrate", "--rollback", "--dry-run"]).ok();
    assert!(
        said.contains("2026-11-02T08:14:03+0100") && said.contains("coder: a gateway of its own"),
        "{said}"
    );
}

/// The unit of before the rename goes, where it starts a gateway; one that only has the name stays.
#[test]
fn the_unit_of_before_the_rename_is_removed() {
    within("migrate::the_unit_of_before_the_rename_is_removed", || {
        let home = Home::empty();
        let machine = Machine::new(&home);
        let file = machine.manager.units().join("hermes.service");
        fs_err::create_dir_all(machine.manager.units()).unwrap();
        fs_err::write(&file, "[Service]\nExecStart=/bin/sleep 1000\n").unwrap();
        assert!(run(&home, &["gateway", "migrate-legacy", "--yes"]).ok().contains("no unit"));
        fs_err::write(&file, machine.text("default")).unwrap();
        machine.manager.ask(&["daemon-reload"]);
        machine.manager.ask(&["enable", "--now", "hermes.service"]);
        run(&home, &["gateway", "migrate-legacy", "--dry-run"]).ok();
        assert!(file.exists());
        run(&home, &["gateway", "migrate-legacy", "--yes"]).ok();
        assert!(!file.exists());
        assert_eq!(machine.manager.property("hermes.service", "ActiveState"), "inactive");
        let plain = hermes(&home, &["gateway", "migrate-legacy"]).output().unwrap();
        assert!(plain.status.success());
    });
}

/// N7.6: without a service manager: gateways in the background become one in default's process, and are many again.
#[test]
fn n7_6_from_gateways_in_the_background_to_one_and_back() {
    let home = Home::with_config(&Home::config("false", ""));
    home.profile_with("coder", "agent: {engine: echo}\n", "");
    let (pid, alone) = (
        || status(&home).gateway.pid,
        || {
            let record = home.read("coder", "gateway.pid")?;
            serde_json::from_str::<serde_json::Value>(&record).ok()?["pid"].as_u64()
        },
    );
    run(&home, &["gateway", "start", "-p", "default"]).ok();
    run(&home, &["gateway", "start", "-p", "coder"]).ok();
    let (default, before) = (pid(), alone());
    assert!(default.is_some() && before.is_some());
    run(&home, &["gateway", "migrate", "--yes"]).ok();
    let served = || status(&home).profiles.iter().any(|p| p.name == "coder" && p.ready);
    assert!(served() && alone().is_none(), "{:#?}", status(&home));
    assert_eq!(pid(), default, "the same process");
    run(&home, &["gateway", "migrate", "--rollback", "--yes"]).ok();
    assert!(alone().is_some() && alone() != before);
    assert_eq!(pid(), default);
    assert_eq!(status(&home).gateway.mode.as_deref(), Some("single"));
    run(&home, &["gateway", "stop", "-p", "coder"]).ok();
    run(&home, &["gateway", "stop"]).ok();
    wait::until_true("everything to end", || process::using(&home.root()).is_empty());
}
