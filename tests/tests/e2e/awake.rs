//! `gateway.keep_awake`: a scripted `systemd-inhibit` in the gateway's search path, which does as the real one: it takes a lock, then
//! runs the command in a process of its own.

use camino::Utf8PathBuf;
use hermes_tests::gateway::run;
use hermes_tests::{Gateway, Home, process, wait};
use hermes_wire::contract::gateway_status::KeepAwake;
use nix::sys::signal::Signal;

const INHIBIT: &str = r#"#!/bin/sh
d=$HOME/bin
echo "$*" >>"$d/asked"
if [ -s "$d/denied" ]; then cat "$d/denied" >&2; exit 1; fi
while case $1 in --*) ;; *) false ;; esac; do shift; done
# What runs in the background has no input unless it is given one.
exec 3<&0
"$@" <&3 &
echo $! >"$d/command.new"; mv "$d/command.new" "$d/command"
echo $$ >"$d/pid.new"; mv "$d/pid.new" "$d/pid"
wait
"#;

struct Machine {
    home: Home,
    bin: Utf8PathBuf,
}

impl Machine {
    fn new(flag: bool) -> Self {
        let home = Home::with_config(&Home::config("true", &format!("  keep_awake: {flag}\n")));
        let bin = home.user().join("bin");
        fs_err::create_dir(&bin).unwrap();
        Self { home, bin }
    }

    fn equip(&self) {
        use std::os::unix::fs::PermissionsExt as _;
        let program = self.bin.join("systemd-inhibit");
        fs_err::write(program.with_extension("new"), INHIBIT).unwrap();
        fs_err::set_permissions(program.with_extension("new"), std::fs::Permissions::from_mode(0o755))
            .unwrap();
        fs_err::rename(program.with_extension("new"), program).unwrap();
    }

    fn start(&self) -> Gateway<'_> {
        // A machine that has one of its own would use it.
        let path = format!("{}:{}", self.bin, self.plain_tools());
        let mut gateway = Gateway::spawn(&self.home, &[], &[("PATH", &path)]);
        gateway.wait_settled();
        gateway
    }

    /// A directory with nothing in it but what the script needs.
    fn plain_tools(&self) -> Utf8PathBuf {
        let tools = self.home.user().join("tools");
        if fs_err::create_dir(&tools).is_ok() {
            for tool in ["sh", "cat", "mv"] {
                std::os::unix::fs::symlink(format!("/bin/{tool}"), tools.join(tool)).unwrap();
            }
        }
        tools
    }

    fn number(&self, file: &str) -> Option<u32> {
        fs_err::read_to_string(self.bin.join(file)).ok()?.trim().parse().ok()
    }
}

fn shown(gateway: &Gateway<'_>) -> Option<KeepAwake> {
    gateway.status().gateway.keep_awake
}

fn wait_held(gateway: &Gateway<'_>) {
    wait::until_true("the machine to be kept awake", || shown(gateway).is_some_and(|awake| awake.held));
}

#[test]
fn n5_the_machine_is_kept_awake_for_as_long_as_the_gateway_runs() {
    let machine = Machine::new(true);
    machine.equip();
    let mut gateway = machine.start();
    wait_held(&gateway);
    let awake = shown(&gateway).unwrap();
    assert_eq!((awake.by.as_str(), awake.reason), ("systemd-inhibit", None));
    let asked = fs_err::read_to_string(machine.bin.join("asked")).unwrap();
    assert!(asked.starts_with("--what=idle:sleep --mode=block "), "{asked}");
    let human = hermes_tests::command::run(&machine.home, &["status"]).ok();
    assert!(human.contains("awake      kept by systemd-inhibit"), "{human}");

    // Whoever ends it does not end what was asked for.
    let first = machine.number("pid").unwrap();
    process::signal(first, Signal::SIGKILL);
    wait::until_true("another one", || {
        machine.number("pid").is_some_and(|pid| pid != first && process::is_alive(pid))
    });
    wait_held(&gateway);

    // Taken away and given back by the setting, without a restart.
    let second = machine.number("pid").unwrap();
    machine.home.write("default", "config.yaml", &Home::config("true", "  keep_awake: false\n"));
    wait::until_true("it to be given up", || shown(&gateway).is_none() && !process::is_alive(second));
    machine.home.write("default", "config.yaml", &Home::config("true", "  keep_awake: true\n"));
    wait_held(&gateway);

    // Gone with the gateway, in order and killed.
    let (holder, command) = (machine.number("pid").unwrap(), machine.number("command").unwrap());
    assert_eq!(gateway.stop(), Some(0));
    assert!(!process::is_alive(holder) && !process::is_alive(command));
    let gateway = machine.start();
    wait_held(&gateway);
    let command = machine.number("command").unwrap();
    gateway.signal(Signal::SIGKILL);
    wait::until_true("the lock to be given up", || !process::is_alive(command));
}

#[test]
fn n5_why_the_machine_is_not_kept_awake_is_said_once() {
    let machine = Machine::new(true);
    let mut gateway = machine.start();
    let reason = |text: &str| {
        let said =
            || shown(&gateway).and_then(|awake| awake.reason).is_some_and(|reason| reason.contains(text));
        wait::until_true(text, said);
    };
    reason("`systemd-inhibit` is not installed");
    fs_err::write(machine.bin.join("denied"), "Failed to inhibit: Access denied\n").unwrap();
    machine.equip();
    reason("`systemd-inhibit` ended with exit 1: Failed to inhibit: Access denied");
    let doctor = run(&machine.home, &["doctor"]);
    let doctor = String::from_utf8_lossy(&doctor.stdout);
    assert!(
        doctor.contains("the machine is not kept awake: `systemd-inhibit` ended with exit 1"),
        "{doctor}"
    );

    // A few attempts more change nothing in the log.
    let asked = || fs_err::read_to_string(machine.bin.join("asked")).unwrap().lines().count();
    let before = asked();
    wait::until_true("another attempt", || asked() > before);
    let log = machine.home.read("default", "logs/supervisor.log").unwrap();
    assert_eq!(log.matches("Access denied").count(), 1, "{log}");
    assert_eq!(log.matches("is not installed").count(), 1, "{log}");
    fs_err::remove_file(machine.bin.join("denied")).unwrap();
    wait_held(&gateway);
    assert_eq!(gateway.stop(), Some(0));
}
