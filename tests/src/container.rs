//! Containers without an engine: a file system of their own that holds what the image holds, and PID, mount and host name namespaces.
//! The network is the machine's, so that a test reaches what listens inside. Needs root; see [`crate::tools::permitted`].

use std::fmt::Write as _;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use camino::{Utf8Path, Utf8PathBuf};
use hermes_wire::contract::gateway_status::GatewayStatus;
use nix::sys::signal::Signal;

use crate::command::Ran;
use crate::gateway::binary;
use crate::{Home, process, wait};

/// The user of the image.
pub const USER: u32 = 10_000;

/// Everything between the namespaces and the program: what an engine does.
const ENTER: &str = r#"
set -e
hostname "$1"; image=$2; volume=$3; program=$4; shift 4
mount --bind "$image" "$image"
mount --rbind /dev "$image/dev"
mount -t proc proc "$image/proc"
mount -t tmpfs -o mode=1777 tmpfs "$image/tmp"
mount --bind "$volume" "$image/data"
mount --bind "$program" "$image/usr/bin/hermes"
mount -o remount,bind,ro "$image"
exec chroot --userspec=10000:10000 "$image" /usr/bin/hermes "$@"
"#;

/// The files of an image: the program, what it is linked to, and the directories that engines make. No shell, no `/run/user`.
pub struct Image {
    directory: tempfile::TempDir,
}

impl Image {
    /// Fails where this machine does not let this user make namespaces.
    pub fn build() -> io::Result<Self> {
        let probe = namespaces().args(["true"]).output()?;
        if !probe.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&probe.stderr).trim().to_owned()));
        }
        let directory = tempfile::Builder::new().prefix("i").tempdir_in("/tmp")?;
        let root = Utf8Path::from_path(directory.path()).unwrap();
        set_mode(root, 0o755);
        for sub in ["usr/bin", "etc", "dev", "proc", "tmp", "data"] {
            fs_err::create_dir_all(root.join(sub))?;
        }
        fs_err::write(root.join("usr/bin/hermes"), "")?;
        set_mode(&root.join("usr/bin/hermes"), 0o755);
        fs_err::write(root.join("etc/passwd"), "hermes:x:10000:10000::/data:/sbin/nologin\n")?;
        for library in libraries() {
            let to = root.join(library.strip_prefix("/").unwrap());
            fs_err::create_dir_all(to.parent().unwrap())?;
            fs_err::copy(&library, &to)?;
        }
        Ok(Self { directory })
    }

    fn path(&self) -> &Utf8Path {
        Utf8Path::from_path(self.directory.path()).unwrap()
    }

    /// A container of this image called `name`, with the home as its volume, that runs `hermes` with these words.
    pub fn command(&self, name: &str, home: &Home, args: &[&str]) -> Command {
        let mut command = namespaces();
        command.args(["sh", "-c", ENTER, "container", name, self.path().as_str(), home.root().as_str()]);
        command.arg(binary()).args(args);
        command
    }

    /// Runs `hermes` with these words in a container of its own, to its end.
    pub fn run(&self, name: &str, home: &Home, args: &[&str]) -> Ran {
        self.command(name, home, args).output().unwrap().into()
    }

    /// Starts `hermes gateway run` as process 1 of a container. Does not wait.
    pub fn start<'a>(&self, name: &str, home: &'a Home) -> Container<'a> {
        let log = home.user().join(format!("{name}.out"));
        let (file, _) = fs_err::File::create(&log).unwrap().into_parts();
        let mut command = self.command(name, home, &["-p", "default", "gateway", "run", "-v"]);
        command.stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().unwrap();
        let engine = child.id();
        let mut container = Container { home, child, log, first: 0 };
        container.first = wait::until("process 1 of the container", || {
            let first = process::children(engine).first().copied()?;
            // Until then it is the shell that sets things up.
            let image = fs_err::read_link(format!("/proc/{first}/exe")).ok()?;
            (image.file_name()? == "hermes").then_some(first)
        });
        container
    }
}

/// A gateway that is process 1 of its container; killed with all of it on drop.
pub struct Container<'a> {
    home: &'a Home,
    child: Child,
    log: Utf8PathBuf,
    /// Process 1, by its number outside.
    pub first: u32,
}

impl Container<'_> {
    /// `hermes` with these words beside it, in its namespaces, as its user (`docker exec`).
    pub fn exec(&self, args: &[&str]) -> Ran {
        let mut command = self.enter(&["-m", "-u", "-r", "-w", "-S", "10000", "-G", "10000"]);
        command.arg("/usr/bin/hermes").args(args);
        command.output().unwrap().into()
    }

    /// A program of the machine as a process of the container, which its process 1 is to look after.
    pub fn intrude(&self, script: &str) -> Ran {
        self.enter(&[]).args(["sh", "-c", script]).output().unwrap().into()
    }

    fn enter(&self, more: &[&str]) -> Command {
        let mut command = cleared("nsenter");
        command.args(["-t", &self.first.to_string(), "-p"]).args(more).arg("--");
        command
    }

    /// `hermes status --json` inside.
    pub fn status(&self) -> GatewayStatus {
        let ran = self.exec(&["status", "--json"]);
        serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:#?}\n{}", self.output()))
    }

    /// Waits until a profile is ready.
    pub fn wait_ready(&self, name: &str) {
        wait::until_true(&format!("{name} to be ready"), || {
            self.status().profiles.iter().any(|profile| profile.name == name && profile.ready)
        });
    }

    /// What it printed so far.
    pub fn output(&self) -> String {
        let mut text = fs_err::read_to_string(&self.log).unwrap_or_default();
        let log = self.home.read("default", "logs/supervisor.log").unwrap_or_default();
        let _ = write!(text, "--- supervisor.log\n{log}");
        text
    }

    /// What `docker stop` does; its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        process::signal(self.first, Signal::SIGTERM);
        self.wait()
    }

    /// Waits for its end; its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        wait::until("the container to end", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        // Process 1, and with it the kernel ends all others. `--kill-child` is forgotten when the user changes.
        if process::is_alive(self.first) {
            process::signal(self.first, Signal::SIGKILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let deadline = wait::now() + wait::PATIENCE;
        while process::is_alive(self.first) && wait::now() < deadline {
            wait::pass(std::time::Duration::from_millis(10));
        }
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "what the gateway said, under the failed test")]
            {
                eprintln!("--- the container said:\n{}", self.output());
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the harness starts what it needs")]
fn cleared(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    // What the image sets.
    command.env("HOME", "/data").env("HERMES_HOME", "/data").stdin(Stdio::null()).process_group(0);
    command
}

fn namespaces() -> Command {
    let mut command = cleared("unshare");
    command.args(["--mount", "--pid", "--uts", "--fork", "--mount-proc", "--kill-child", "--"]);
    command
}

/// What the program is linked to, as the dynamic linker says.
fn libraries() -> Vec<Utf8PathBuf> {
    let output = cleared("ldd").arg(binary()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let paths =
        text.lines().filter_map(|line| line.split_ascii_whitespace().find(|word| word.starts_with('/')));
    let paths: Vec<Utf8PathBuf> = paths.map(Into::into).collect();
    assert!(paths.len() > 1, "{text}");
    paths
}

fn set_mode(path: &Utf8Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
