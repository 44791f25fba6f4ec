//! Programs that a command runs and waits for: the service manager, this same executable, an installer.
//!
//! Each gets a cleared environment with what such programs need, no standard input, and a time limit after which it is killed;
//! only the editor of the user is his own, with everything that he has.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Time between two looks at whether it has ended.
const LOOK: Duration = Duration::from_millis(10);
/// Time that it has to end when it is asked to.
const GRACE: Duration = Duration::from_secs(5);

/// Variables that pass; nothing that could hold a key.
const PASSED: [&str; 20] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "TERM",
    "TMPDIR",
    "TZ",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "DBUS_SESSION_BUS_ADDRESS",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTPS_PROXY",
    "https_proxy",
];

/// A command of `program`, not yet started.
pub(crate) fn command(program: &str) -> Command {
    command_passing(program, &[])
}

/// The same, with more variables that pass where they are set.
#[expect(clippy::disallowed_methods, reason = "the one place of one-shot children")]
pub(crate) fn command_passing(program: &str, more: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null());
    for name in PASSED.iter().chain(more) {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// This very program again, even where its file was replaced meanwhile.
pub(crate) fn own() -> Command {
    let running = "/proc/self/exe";
    if fs_err::symlink_metadata(running).is_ok() {
        return command(running);
    }
    let path = std::env::current_exe().ok().and_then(|path| path.into_os_string().into_string().ok());
    command(path.as_deref().unwrap_or("hermes"))
}

/// Runs it to its end, or kills it after `limit`.
pub(crate) fn run(mut command: Command, limit: Duration) -> io::Result<Output> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // What it prints is little; pipes do not fill before it ends.
    wait(&mut child, limit)?;
    child.wait_with_output()
}

/// The same, with what it prints shown as it comes: on both outputs, or with `quiet` all of it on standard error. When
/// `interrupted`, which is asked again and again and may take that long, it is ended with everything that it started.
pub(crate) fn run_shown(
    mut command: Command,
    limit: Duration,
    quiet: bool,
    interrupted: impl Fn(Duration) -> bool,
) -> io::Result<ExitStatus> {
    if quiet {
        command.stdout(io::stderr().as_fd().try_clone_to_owned()?);
    }
    // A group of its own, so that nothing of it is left when it has to end.
    let mut child = command.process_group(0).spawn()?;
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if interrupted(LOOK) {
            end(&mut child)?;
            return Err(io::ErrorKind::Interrupted.into());
        }
        if Instant::now() >= deadline {
            end(&mut child)?;
            return Err(late(limit));
        }
    }
}

/// Ends a child and its group: asked, then killed.
fn end(child: &mut Child) -> io::Result<()> {
    let group = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    for (signal, time) in [(Signal::SIGTERM, GRACE), (Signal::SIGKILL, GRACE)] {
        // Gone already is what is wanted.
        let _ = killpg(group, signal);
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            if child.try_wait()?.is_some() {
                // What it had started may not have listened.
                let _ = killpg(group, Signal::SIGKILL);
                return Ok(());
            }
            crate::cli::pause(LOOK);
        }
    }
    Ok(())
}

fn late(limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("it did not end within {} s", limit.as_secs()))
}

fn wait(child: &mut Child, limit: Duration) -> io::Result<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Err(late(limit));
        }
        crate::cli::pause(LOOK);
    }
}

/// A program that talks to the user: it has his terminal, and his environment as it is.
#[expect(clippy::disallowed_methods, reason = "the one place of one-shot children")]
pub(crate) fn interactive(program: &str) -> Command {
    Command::new(program)
}
