//! A service manager of a test's own: a real `systemd --user`, or a real systemd of a machine, wherever the tests are root.
//!
//! A test's body runs in another process, in mount, process and control-group namespaces of its own ([`within`]): what it starts is gone with it, and
//! nothing on the machine sees it. There it starts a manager for a home ([`Manager::start`]), whose units, sockets and processes
//! are that home's alone.

use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use camino::Utf8PathBuf;

use crate::{Home, home, process, tools, wait};

/// Set in the process that runs the body of a test.
const INSIDE: &str = "HERMES_TEST_SYSTEMD";
/// How the shell says that this machine does not allow it.
const NOT_HERE: i32 = 125;
/// The manager itself.
const PROGRAM: &str = "/lib/systemd/systemd";

/// Tests of this process that had namespaces.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Prepares the namespaces: a control-group tree and `/run` of their own, where systemd looks for both. Homes are made in `/run`, since
/// services for homes in `/tmp` are refused.
const PREPARE: &str = r#"
set -eu
for root in /sys/fs/cgroup/unified /sys/fs/cgroup; do
  [ -e "$root/cgroup.procs" ] || continue
  mkdir "$root/$GROUP" && echo $$ >"$root/$GROUP/cgroup.procs" && break
done
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 none /sys/fs/cgroup || exit 125
mount -t tmpfs none /run || exit 125
mkdir -p /run/systemd/system /run/homes
"#;

/// The body itself is what runs.
const BODY: &str = r#"exec "$@""#;

/// The first process is a systemd of the machine, which has no units but targets that ask for nothing; the body runs beside it.
const MACHINE: &str = r#"
units=$(readlink -f /lib/systemd/system)
mount -t tmpfs none /etc/systemd/system
mount -t tmpfs none "$units"
for target in sysinit basic multi-user network-online shutdown; do
  printf '[Unit]\nDefaultDependencies=no\n' >"$units/$target.target"
done
{ code=0; "$@" >"$SAID" 2>&1 || code=$?; echo $code >"$SAID.code"; } &
container=hermes-test exec /lib/systemd/systemd --system --unit=basic.target >/dev/null 2>&1
"#;

/// Runs the body of the test `name` (its path as `cargo test -- --exact` knows it) where it can start managers. Where this machine
/// does not allow that, the test is skipped, and why is said.
pub fn within(name: &str, body: impl FnOnce()) {
    if is_inside() {
        return body();
    }
    let Some(mut place) = Place::new(name, BODY) else { return };
    let output = place.command.output().unwrap();
    place.judge(name, output.status.code(), &crate::gateway::both(&output));
}

/// The same on a machine of its own, whose manager runs.
pub fn within_machine(name: &str, body: impl FnOnce()) {
    if is_inside() {
        wait::until_true("the service manager", || {
            let version =
                crate::command::outside("systemctl".into()).args(["show", "-P", "Version"]).output();
            version.unwrap().status.success()
        });
        return body();
    }
    let Some(mut place) = Place::new(name, MACHINE) else { return };
    let directory = tempfile::tempdir().unwrap();
    let said = directory.path().join("said");
    place.command.env("SAID", &said).stdout(Stdio::null()).stderr(Stdio::null());
    let mut machine = process::Running(place.command.spawn().unwrap());
    let code = loop {
        let written = fs_err::read_to_string(directory.path().join("said.code")).unwrap_or_default();
        let ended = machine.0.try_wait().unwrap().map(|status| status.code());
        if let Some(code) = written.trim().parse().ok().map(Some).or(ended) {
            break code;
        }
        wait::pass(std::time::Duration::from_millis(50));
    };
    // With this end its first process and all of it.
    drop(machine);
    place.judge(name, code, &fs_err::read_to_string(&said).unwrap_or_default());
}

fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Namespaces for a test.
struct Place {
    command: Command,
    group: String,
}

impl Place {
    /// For the test `name`, which runs as the rest of the script says; nothing where this machine has none.
    #[expect(clippy::disallowed_methods, reason = "starts the test again, in namespaces of its own")]
    fn new(name: &str, rest: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            tools::skip("it needs to be run by root, for namespaces of its own");
            return None;
        }
        if !std::path::Path::new(PROGRAM).exists() {
            tools::skip("it needs `systemd`; tests/install-tools installs it");
            return None;
        }
        let group = format!("hermes-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let namespaces = [
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--cgroup",
            "--mount-proc",
            "--propagation=private",
        ];
        let mut command = Command::new("unshare");
        command
            .args(namespaces)
            .args(["--", "sh", "-c", &[PREPARE, rest].concat(), "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env(INSIDE, "1")
            .env(home::PLACE, "/run/homes")
            .env("GROUP", &group)
            .stdin(Stdio::null());
        Some(Self { command, group })
    }

    /// What came of it.
    fn judge(&self, name: &str, code: Option<i32>, said: &str) {
        remove_group(&self.group);
        if code == Some(NOT_HERE) || said.contains("unshare failed") {
            tools::say(&format!("it needs namespaces and control groups of its own: {said}"));
            return;
        }
        assert_eq!(code, Some(0), "{name}, inside:\n{said}");
        assert!(said.contains("1 passed"), "there is no test {name}:\n{said}");
    }
}

/// Empty by now: what was in it has died with the namespaces.
fn remove_group(group: &str) {
    fn remove(directory: &std::path::Path) {
        for entry in fs_err::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove(&entry.path());
            }
        }
        let _ = fs_err::remove_dir(directory);
    }
    for root in ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"] {
        remove(&std::path::Path::new(root).join(group));
    }
}

/// Is the journal, to which a manager writes what services tell it. `/run` is this test's own.
fn listen() -> Arc<Mutex<Vec<(u32, String)>>> {
    let place = camino::Utf8Path::new("/run/systemd/journal");
    fs_err::create_dir_all(place).unwrap();
    let socket = UnixDatagram::bind(place.join("socket")).unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&told);
    std::thread::spawn(move || {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(len) = socket.recv(&mut bytes) {
            let record = String::from_utf8_lossy(&bytes[..len]);
            let notified = record.split_once("Got notification message from PID ");
            let Some((pid, words)) = notified.and_then(|(_, rest)| rest.split_once(" (")) else { continue };
            let words = words.lines().next().unwrap_or_default().trim_end_matches(')');
            kept.lock().unwrap().extend(pid.parse().ok().map(|pid| (pid, words.to_owned())));
        }
    });
    told
}

/// A running `systemd --user`; ended on drop.
pub struct Manager<'a> {
    home: &'a Home,
    /// What services have told it.
    told: Arc<Mutex<Vec<(u32, String)>>>,
    _process: process::Running,
}

/// What the gateway and its workers said, where a test fails: nothing of it is there afterwards.
impl Drop for Manager<'_> {
    #[expect(clippy::print_stdout, reason = "the test runner shows it where the test fails")]
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for log in ["logs/supervisor.log", "logs/gateway.error.log", "profiles/coder/logs/gateway.log"] {
            let said = self.home.read("default", log).unwrap_or_default();
            let lines: Vec<&str> = said.lines().collect();
            println!("--- {log}:\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }
}

impl<'a> Manager<'a> {
    /// Starts the manager of the user of `home` and waits until it answers.
    #[expect(clippy::disallowed_methods, reason = "starts the service manager")]
    pub fn start(home: &'a Home) -> Self {
        let told = listen();
        let log = fs_err::File::create(home.user().join("systemd.log")).unwrap().into_parts().0;
        let child = Command::new(PROGRAM)
            .args(["--user", "--log-level=debug", "--log-target=journal"])
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", home.user())
            .env("XDG_RUNTIME_DIR", home.runtime())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let manager = Self { home, told, _process: process::Running(child) };
        wait::until_true("the service manager", || {
            manager.systemctl(&["show", "-P", "Version"]).status.success()
        });
        manager
    }

    /// Runs `systemctl --user`.
    pub fn systemctl(&self, args: &[&str]) -> Output {
        self.command("systemctl").arg("--user").args(args).output().unwrap()
    }

    /// The same, which has to succeed; what it printed.
    #[track_caller]
    pub fn ask(&self, args: &[&str]) -> String {
        let output = self.systemctl(args);
        assert!(output.status.success(), "systemctl {args:?}: {}", crate::gateway::both(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A property of a unit.
    pub fn property(&self, unit: &str, name: &str) -> String {
        self.ask(&["show", "-P", name, unit])
    }

    /// The main process of a unit; 0 where there is none.
    pub fn main_pid(&self, unit: &str) -> u32 {
        self.property(unit, "MainPID").parse().unwrap()
    }

    /// What the main process of a service has told it so far, a datagram each.
    pub fn told(&self, pid: u32) -> Vec<String> {
        let told = self.told.lock().unwrap();
        told.iter().filter(|(from, _)| *from == pid).map(|(_, words)| words.clone()).collect()
    }

    /// Waits until a unit is in that state; `what` is a property, as it is printed.
    #[track_caller]
    #[expect(clippy::print_stdout, reason = "the test runner shows it where the test fails")]
    pub fn wait(&self, unit: &str, property: &str, value: &str) {
        let mut seen = None;
        wait::until_true(&format!("{property} of {unit} to be {value}"), || {
            let now = self.property(unit, property);
            let is_there = now == value;
            if seen.as_ref() != Some(&now) {
                // Shown where the wait is in vain.
                println!("{property} of {unit}: {now}");
                seen = Some(now);
            }
            is_there
        });
    }

    /// A program with the manager's environment.
    #[expect(clippy::disallowed_methods, reason = "talks to the service manager")]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.home.user())
            .env("XDG_RUNTIME_DIR", self.home.runtime())
            .stdin(Stdio::null());
        command
    }

    /// Where units of the user are.
    pub fn units(&self) -> Utf8PathBuf {
        self.home.user().join(".config/systemd/user")
    }
}
