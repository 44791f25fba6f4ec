//! Programs that a command runs and waits for: the service manager, this same executable, an installer.
//!
//! Each gets a cleared environment with what such programs need, no standard input, and a time limit after which it is killed;
//! only the editor of the user is his own, with everything that he has.

use std::io;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

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
#[expect(clippy::disallowed_methods, reason = "the one place of one-shot children")]
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null());
    for name in PASSED {
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
    let deadline = Instant::now() + limit;
    // What it prints is little; pipes do not fill before it ends.
    while child.try_wait()?.is_none() {
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("it did not end within {} s", limit.as_secs()),
            ));
        }
        crate::cli::pause(Duration::from_millis(10));
    }
    child.wait_with_output()
}

/// A program that talks to the user: it has his terminal, and his environment as it is.
#[expect(clippy::disallowed_methods, reason = "the one place of one-shot children")]
pub(crate) fn interactive(program: &str) -> Command {
    Command::new(program)
}
