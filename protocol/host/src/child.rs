//! Programs that a command runs and waits for: the service manager, this same executable, an installer.
//!
//! Each gets a cleared environment with what such programs need, no standard input, and a time limit after which it is killed with what it started;
//! only the editor of the user is his own, with everything that he has. What it prints is
//! read while it runs, bounded.

use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use camino::Utf8Path;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Time between two looks at whether it has ended.
const LOOK: Duration = Duration::from_millis(10);
/// Time that it has to end when it is asked to.
const GRACE: Duration = Duration::from_secs(5);

/// Time to read what was printed before the end.
const REST: Duration = Duration::from_secs(1);
/// Most that is kept of one output, in bytes.
const KEPT: usize = 4 << 20;

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

/// Whether a file is a program that can be started, and why not.
pub fn check(path: &Utf8Path) -> Result<(), String> {
    let found = fs_err::metadata(path).map_err(|error| plain(&error))?;
    if !found.is_file() {
        return Err("it is no file".to_owned());
    }
    nix::unistd::access(path.as_std_path(), nix::unistd::AccessFlags::X_OK)
        .map_err(|error| error.desc().to_owned())
}

/// The system's words, without the path.
fn plain(error: &io::Error) -> String {
    crate::cause::causes(error).last().map_or_else(|| error.to_string(), ToString::to_string)
}

/// A command of `program`, not yet started.
pub fn command(program: &str) -> Command {
    command_passing(program, &[])
}

/// The same, with more variables that pass where they are set.
#[expect(clippy::disallowed_methods, reason = "the one place of one-shot children")]
pub fn command_passing(program: &str, more: &[&str]) -> Command {
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
pub fn own() -> Command {
    let running = "/proc/self/exe";
    if fs_err::symlink_metadata(running).is_ok() {
        return command(running);
    }
    let path = std::env::current_exe().ok().and_then(|path| path.into_os_string().into_string().ok());
    command(path.as_deref().unwrap_or("hermes"))
}

/// This very program again, to go on when this process has ended: as `hermes`, with the whole environment of this process.
#[expect(
    clippy::disallowed_methods,
    reason = "it is no one-shot child: the user's own environment is what it is to have"
)]
pub fn own_to_stay() -> Command {
    let running = own().get_program().to_owned();
    let mut command = Command::new(running);
    command.arg0("hermes");
    command
}

/// The command line of this process, whatever is no UTF-8 in it replaced.
pub fn argv() -> Vec<String> {
    std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect()
}

/// Runs it to its end, or kills it after `limit`, with everything that it started.
pub fn run(command: Command, limit: Duration) -> io::Result<Output> {
    run_watched(command, limit, |_| false)
}

/// The same; when `interrupted`, which is asked again and again, it is ended as well.
///
/// What it prints is read while it runs, so that it never waits for us; beyond [`KEPT`] it is thrown away.
pub fn run_watched(
    mut command: Command,
    limit: Duration,
    interrupted: impl Fn(Duration) -> bool,
) -> io::Result<Output> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn()?;
    let mut pipes =
        [Pipe::new(child.stdout.take().map(Into::into)), Pipe::new(child.stderr.take().map(Into::into))];
    let deadline = crate::clock::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if interrupted(Duration::ZERO) {
            end(&mut child)?;
            return Err(io::ErrorKind::Interrupted.into());
        }
        if crate::clock::now() >= deadline {
            end(&mut child)?;
            return Err(late(limit));
        }
        read_ready(&mut pipes, LOOK);
    };
    // The rest of what it printed. What it left running may hold the pipes open, or go on printing, for ever.
    let rest = crate::clock::now() + REST;
    while read_ready(&mut pipes, Duration::ZERO) && crate::clock::now() < rest {}
    let [stdout, stderr] = pipes.map(|pipe| pipe.kept);
    Ok(Output { status, stdout, stderr })
}

/// The reading end of what a child prints.
struct Pipe {
    /// Until its end.
    open: Option<std::fs::File>,
    kept: Vec<u8>,
}

impl Pipe {
    fn new(end: Option<OwnedFd>) -> Self {
        Self { open: end.map(Into::into), kept: Vec::new() }
    }

    fn read(&mut self) {
        let mut piece = [0; 16 * 1024];
        match self.open.as_mut().map(|file| file.read(&mut piece)) {
            Some(Ok(len)) if len > 0 => {
                let room = KEPT.saturating_sub(self.kept.len());
                self.kept.extend_from_slice(&piece[..len.min(room)]);
            }
            Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => self.open = None,
        }
    }
}

/// Waits at most `time` for something to read, and reads it. Whether there was anything.
fn read_ready(pipes: &mut [Pipe; 2], time: Duration) -> bool {
    let mut waiting: Vec<PollFd<'_>> = Vec::with_capacity(2);
    waiting.extend(
        pipes.iter().filter_map(|pipe| Some(PollFd::new(pipe.open.as_ref()?.as_fd(), PollFlags::POLLIN))),
    );
    let _ = poll(&mut waiting, PollTimeout::try_from(time).unwrap_or(PollTimeout::ZERO));
    let mut ready = waiting.iter().map(|fd| fd.any().unwrap_or(false)).collect::<Vec<_>>().into_iter();
    let mut any = false;
    for pipe in pipes.iter_mut().filter(|pipe| pipe.open.is_some()) {
        if ready.next() == Some(true) {
            pipe.read();
            any = true;
        }
    }
    any
}

/// The same, with what it prints shown as it comes: on both outputs, or with `quiet` all of it on standard error. When
/// `interrupted`, which is asked again and again and may take that long, it is ended with everything that it started.
pub fn run_shown(
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
    let deadline = crate::clock::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if interrupted(LOOK) {
            end(&mut child)?;
            return Err(io::ErrorKind::Interrupted.into());
        }
        if crate::clock::now() >= deadline {
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
        let deadline = crate::clock::now() + time;
        while crate::clock::now() < deadline {
            if child.try_wait()?.is_some() {
                // What it had started may not have listened.
                let _ = killpg(group, Signal::SIGKILL);
                return Ok(());
            }
            crate::wait::pause(LOOK);
        }
    }
    Ok(())
}

fn late(limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("it did not end within {} s", limit.as_secs()))
}

/// A program that talks to the user: it has his terminal, and his environment as it is.
#[expect(clippy::disallowed_methods, reason = "the one place of one-shot children")]
pub fn interactive(program: &str) -> Command {
    Command::new(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Command {
        let mut command = command("sh");
        command.args(["-c", script]);
        command
    }

    /// 11: more than a pipe holds, on both outputs, is read while it runs.
    #[test]
    fn a_child_that_prints_much_comes_to_its_end() {
        let script =
            "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero; exit 3";
        let output = run(shell(script), Duration::from_secs(60)).unwrap();
        assert_eq!((output.stdout.len(), output.stderr.len()), (600_000, 300_000));
        assert_eq!(output.status.code(), Some(3));
    }

    /// 11: what is kept is bounded, and a child that never ends is killed with everything that it started.
    #[test]
    fn a_child_that_prints_for_ever_is_ended_with_its_group() {
        let dir = tempfile::tempdir().unwrap();
        let note = dir.path().join("pid");
        let script = format!("sh -c 'echo $$ > {0}.new; mv {0}.new {0}; yes' & yes", note.display());
        let error = run_watched(shell(&script), PATIENCE, |_| note.exists()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        let pid: i32 = fs_err::read_to_string(note).unwrap().trim().parse().unwrap();
        // Killed; whoever adopted it may not have collected it yet.
        let state =
            || fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_else(|_| ") Z".to_owned());
        let deadline = crate::clock::now() + PATIENCE;
        while !state().rsplit_once(") ").unwrap().1.starts_with(['Z', 'X']) {
            assert!(crate::clock::now() < deadline, "{}", state());
            crate::wait::pause(LOOK);
        }

        let mut pipes = [Pipe::new(None), Pipe { open: None, kept: vec![0; KEPT - 1] }];
        pipes[1].open = Some(std::fs::OpenOptions::new().read(true).open("/dev/zero").unwrap());
        pipes[1].read();
        assert_eq!(pipes[1].kept.len(), KEPT);
    }

    /// 11: what a child leaves running with its outputs in hand is not waited for.
    #[test]
    fn a_pipe_that_stays_open_is_no_reason_to_wait() {
        let output = run(shell("sleep 60 & echo $!"), Duration::from_secs(50)).unwrap();
        let pid: i32 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
        nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }

    #[test]
    fn one_that_takes_too_long_is_ended() {
        let error = run(shell("exec sleep 60"), Duration::from_millis(1)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn an_interrupt_ends_it() {
        let error = run_watched(shell("sleep 60"), Duration::from_secs(50), |_| true).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    }
}
