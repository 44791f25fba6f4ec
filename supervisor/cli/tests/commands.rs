//! The real binary where no gateway runs, and the demo, which brings its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::Builder::new().prefix("c").tempdir_in("/tmp").unwrap() };
        for sub in ["root/profiles/coder", "run", "tmp"] {
            fs_err::create_dir_all(place.dir.path().join(sub)).unwrap();
        }
        fs_err::write(place.root().join("profiles/coder/config.yaml"), "").unwrap();
        place
    }

    fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("root")
    }

    #[expect(clippy::disallowed_methods, reason = "starts the program under test")]
    fn hermes(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hermes"));
        command
            .args(args)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.dir.path())
            .env("HERMES_HOME", self.root())
            .env("XDG_RUNTIME_DIR", self.dir.path().join("run"))
            .env("TMPDIR", self.dir.path().join("tmp"))
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } = self.hermes(args).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap_or(-1), text(stdout), text(stderr))
    }
}

#[test]
fn usage_goes_to_stderr_with_2_and_help_to_stdout_with_0() {
    let place = Place::new();
    let (code, out, err) = place.run(&["gateway", "nonsense"]);
    assert!(code == 2 && out.is_empty() && err.contains("Usage"), "{err}");
    let (code, out, _) = place.run(&["--help"]);
    assert!(code == 0 && out.contains("hermes demo") && !out.contains('\u{1b}'), "{out}");
    let release = format!("hermes {}", env!("CARGO_PKG_VERSION"));
    let (code, out, _) = place.run(&["-V"]);
    assert_eq!((code, out), (0, format!("{release}\n")));
    let (code, out, _) = place.run(&["--version"]);
    assert!(code == 0 && out.starts_with(&release) && out.lines().count() == 1, "{out}");
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, _) = place.run(&["completion", shell]);
        assert!(code == 0 && out.contains("hermes") && out.contains("__complete"), "{shell}: {out}");
    }
}

#[test]
fn status_without_a_gateway_tells_and_changes_nothing() {
    let place = Place::new();
    let (code, out, err) = place.run(&["status"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("stopped") && out.contains("coder") && out.contains("hermes gateway run"), "{out}");
    assert_eq!(place.run(&["gateway", "status", "--exit-code"]).0, 3);
    let (_, json, _) = place.run(&["status", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["schema"], &json["gateway"]["stale"]), (&Value::from(1), &Value::from(true)));
    let mut left: Vec<_> = fs_err::read_dir(place.root())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["profiles"], "looking creates no file");
}

#[test]
fn commands_that_need_a_gateway_say_so_with_69() {
    let place = Place::new();
    let (code, out, err) = place.run(&["gateway", "reload"]);
    assert_eq!((code, out.as_str()), (69, ""));
    assert!(
        err.contains("no gateway is running") && err.contains("`hermes gateway start` starts it"),
        "{err}"
    );
    // 6: what does not run is stopped.
    for args in [&["gateway", "stop"][..], &["gateway", "stop", "coder"]] {
        let (code, out, err) = place.run(args);
        assert_eq!((code, err.as_str()), (0, ""), "{args:?}");
        assert!(out.starts_with("✓ Nothing to stop: no gateway runs"), "{out}");
    }
}

#[test]
fn a_dangling_sticky_profile_locks_nobody_out() {
    let place = Place::new();
    fs_err::write(place.root().join("active_profile"), "gone\n").unwrap();
    let (code, out, _) = place.run(&["status"]);
    assert!(code == 0 && out.contains("gone") && out.contains("active_profile"), "{out}");
    let (code, _, err) = place.run(&["gateway", "stop"]);
    assert!(code == 1 && err.contains("hermes profile use default"), "{err}");
    assert_eq!(place.run(&["-p", "default", "gateway", "stop"]).0, 0);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let place = Place::new();
    let mut child =
        place.hermes(&["status", "--watch"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 7];
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut first).unwrap();
    drop(out);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn watching_ends_in_order_on_ctrl_c() {
    let place = Place::new();
    let mut child = place.hermes(&["status", "--watch", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        let status: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(status["gateway"]["state"], "stopped");
    }
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_demo_serves_what_it_prints_and_leaves_nothing() {
    let place = Place::new();
    let started = hermes_host::clock::now();
    let mut child = place.hermes(&["demo"]).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut text = String::new();
    for line in lines.by_ref() {
        let line = line.unwrap();
        text += &line;
        text.push('\n');
        if line.starts_with("Press Ctrl+C") {
            break;
        }
    }
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    let commands = text.lines().filter_map(|l| l.strip_prefix("  ")).collect::<Vec<_>>().join("\n");
    let answer = |from: &str, what: &str| {
        let from = commands.find(from).unwrap_or_else(|| panic!("{from} is not in:\n{text}"));
        let section = commands[from..].split("\n# ").next().unwrap();
        let command = section.split_once('\n').unwrap().1;
        let output = shell(command);
        assert!(output.contains(what), "{command}\n{output}");
    };
    answer("# Who runs", "3 of 3 ready");
    answer("# Ask profile coder", "Hello from the demo");
    answer("# The same as a stream", "data: [DONE]");
    answer("# Without a prefix", "Hello from the demo");
    answer("# A signed webhook", r#""status": "accepted""#);
    answer("# A key opens", "401 Unauthorized");
    answer("# Kill one", "Gateway running");
    answer("# Replace one worker", "✓");
    kill(Pid::from_raw(child.id().cast_signed()), end()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(fs_err::read_dir(place.dir.path().join("tmp")).unwrap().count(), 0, "the home is removed");
}

/// What Ctrl+C sends; what else ends a program where that is ignored, as in a background job of a shell: it stays so in what it starts.
fn end() -> Signal {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored =
        status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    let is_ignored = ignored.is_some_and(|bits| bits & (1 << (Signal::SIGINT as u64 - 1)) != 0);
    if is_ignored { Signal::SIGTERM } else { Signal::SIGINT }
}

#[expect(clippy::disallowed_methods, reason = "pastes a command as a person would")]
fn shell(command: &str) -> String {
    let mut child = Command::new("/bin/sh").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(command.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}
