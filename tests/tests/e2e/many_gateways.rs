//! The guide of the older program, for those who run many gateways: its loop, its files, its one-liners, as they are printed there.

use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_tests::command::{Ran, outside};
use hermes_tests::gateway::{binary, hermes, status};
use hermes_tests::{Gateway, Home, process, wait};
use nix::sys::signal::Signal;

/// Ends what the loop started in the background, on drop.
struct Ended<'a>(&'a Home);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        for pid in process::using(&self.0.root()) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
        }
    }
}

/// A command of somebody who has `hermes` on the PATH.
fn typed(home: &Home, program: &str, args: &[&str]) -> Command {
    let directory = Utf8PathBuf::from_path_buf(binary().parent().unwrap().to_owned()).unwrap();
    let plain = hermes(home, &[]);
    let mut command = outside(Utf8Path::new(program));
    command.args(args).env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PATH", format!("{directory}:/usr/local/bin:/usr/bin:/bin"));
    command.stdin(std::process::Stdio::null());
    command
}

/// The loop, for all of `default`, `coder` and `research`.
fn gateways(home: &Home, action: &str) -> Ran {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/hermes-gateways");
    typed(home, script, &[action]).output().unwrap().into()
}

fn shell(home: &Home, line: &str) -> Ran {
    typed(home, "/bin/sh", &["-euc", line]).output().unwrap().into()
}

fn ready(home: &Home) -> Vec<String> {
    status(home).profiles.into_iter().filter(|p| p.ready).map(|p| p.name).collect()
}

/// N7.4: against one gateway: the first round starts it, the others are about its workers; twice is once.
#[test]
fn n7_4_the_loop_of_the_guide_against_one_gateway() {
    let home = Home::new();
    home.profile("coder").profile("research");
    let _ended = Ended(&home);
    for round in 0..2 {
        let said = gateways(&home, "start").ok();
        assert!(said.contains("==> start research"), "{said}");
        assert_eq!(ready(&home), ["default", "coder", "research"], "{round}");
    }
    let pid = status(&home).gateway.pid.unwrap();
    let said = gateways(&home, "status").ok();
    assert!(said.contains("==> status coder"), "{said}");
    assert!(gateways(&home, "list").ok().contains("research"));
    gateways(&home, "restart").ok();
    assert_eq!(ready(&home), ["default", "coder", "research"]);
    assert_eq!(status(&home).gateway.pid, Some(pid), "workers are replaced, the gateway stays");
    for _ in 0..2 {
        gateways(&home, "stop").ok();
        wait::until_true("everything to end", || process::using(&home.root()).is_empty());
    }
    gateways(&home, "start").ok();
    assert_eq!(ready(&home), ["default", "coder", "research"], "what the loop stopped, the loop starts");
    gateways(&home, "stop").ok();
    let said = gateways(&home, "dance").fails(2);
    assert_eq!(said, "");
}

/// N7.4: against a gateway for each, in the background, without a service manager.
#[test]
fn n7_4_the_loop_of_the_guide_against_many_gateways() {
    let home = Home::with_config(&Home::config("false", ""));
    for name in ["coder", "research"] {
        home.profile_with(
            name,
            "agent: {engine: echo}\nplatforms: {api_server: {enabled: true, extra: {host: 127.0.0.1, port: 0}}}\n",
            &format!("API_SERVER_KEY={}\n", Home::key(name)),
        );
    }
    let _ended = Ended(&home);
    let record = |name: &str| {
        home.read(name, "gateway.pid")
            .map(|text| serde_json::from_str::<serde_json::Value>(&text).unwrap()["pid"].as_u64())
    };
    let pids = || ["default", "coder", "research"].map(|name| record(name).flatten());
    for _ in 0..2 {
        gateways(&home, "start").ok();
        assert!(pids().iter().all(Option::is_some), "{:?}", pids());
    }
    let before = pids();
    let list = gateways(&home, "list").ok();
    for pid in before.iter().flatten() {
        assert!(list.contains(&pid.to_string()), "{pid} in {list}");
    }
    gateways(&home, "status").ok();
    gateways(&home, "restart").ok();
    assert!(pids().iter().all(Option::is_some), "{:?}", pids());
    for _ in 0..2 {
        gateways(&home, "stop").ok();
        wait::until_true("everything to end", || process::using(&home.root()).is_empty());
    }
}

/// N7.4: paths and one-liners of the guide.
#[test]
fn n7_4_files_and_one_liners() {
    let home = Home::new();
    home.profile("coder");
    let mut gateway = Gateway::start(&home);
    let out = shell(
        &home,
        "tail -n 1 $HERMES_HOME/logs/gateway.log $HERMES_HOME/profiles/*/logs/gateway.log; \
         tail -n 1 $HERMES_HOME/logs/gateway.error.log $HERMES_HOME/profiles/coder/logs/gateway.error.log",
    );
    assert_eq!(out.clone().ok().matches("==>").count(), 4, "{out:?}");
    let list = shell(&home, "hermes profile list").ok();
    assert!(list.lines().any(|line| line.contains("coder") && line.contains("running")), "{list}");
    shell(&home, "hermes doctor >/dev/null || true; hermes -p coder status").ok();
    let found = shell(&home, "grep -H API_SERVER_KEY $HERMES_HOME/.env $HERMES_HOME/profiles/*/.env").ok();
    assert_eq!(found.lines().count(), 2);
    let pid = shell(&home, "hermes gateway status --pid").ok();
    assert_eq!(pid.trim(), gateway.pid().to_string());
    shell(&home, "kill -TERM $(hermes gateway status --pid)").ok();
    assert_eq!(gateway.wait(), Some(0));
}

/// N7.4: against a unit for each, under a real service manager; and what it lists.
#[cfg(target_os = "linux")]
#[test]
fn n7_4_the_loop_of_the_guide_against_units() {
    hermes_tests::systemd::within("many_gateways::n7_4_the_loop_of_the_guide_against_units", || {
        let home = Home::empty();
        home.furnish(&Home::config("false", ""));
        std::os::unix::fs::symlink("../root", home.user().join(".hermes")).unwrap();
        let manager = hermes_tests::systemd::Manager::start(&home);
        for name in ["coder", "research"] {
            home.profile_with(name, "agent: {engine: echo}\n", "");
        }
        for name in ["default", "coder", "research"] {
            shell(&home, &format!("hermes -p {name} gateway install --no-start-now")).ok();
        }
        let units =
            ["hermes-gateway.service", "hermes-gateway-coder.service", "hermes-gateway-research.service"];
        let pids = || units.map(|unit| manager.main_pid(unit));
        let active = |state: &str| units.iter().all(|unit| manager.property(unit, "ActiveState") == state);
        for _ in 0..2 {
            gateways(&home, "start").ok();
            assert!(active("active"));
        }
        let before = pids();
        gateways(&home, "status").ok();
        gateways(&home, "list").ok();
        let listed = shell(&home, "systemctl --user list-units 'hermes-gateway-*' --no-legend").ok();
        assert_eq!(listed.lines().count(), 2, "{listed}");
        shell(&home, "systemctl --user restart hermes-gateway-coder.service").ok();
        assert_ne!(pids()[1], before[1]);
        gateways(&home, "restart").ok();
        assert!(active("active") && pids().iter().all(|pid| *pid != 0));
        for _ in 0..2 {
            gateways(&home, "stop").ok();
            assert!(active("inactive"));
        }
    });
}
