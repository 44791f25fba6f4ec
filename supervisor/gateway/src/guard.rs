//! What remains to be done when this gateway is killed: its workers die with it, and what they had left running would not.
//!
//! A small process of the same program waits for the end of a pipe whose other end only the gateway holds. Then it ends every process
//! that carries the [mark] of a worker that is gone, whatever session, group or environment it has, and
//! goes. It looks at nothing before that and costs nothing but its memory. After a planned stop there is nothing left to end. Where
//! there are no marks, nobody could be told from others, and there is no guard.

use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::time::Duration;

use hermes_host::child;
use hermes_host::clock;
use hermes_wire::{exit, mark};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The hidden command that is the guard.
pub const COMMAND: &str = "__guard";
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Looks in a row that find nothing, before it goes: workers take a moment to die.
const CLEAN: u32 = 5;
/// Time after which it goes in any case: some processes cannot be ended.
const LIMIT: Duration = Duration::from_secs(10);

/// The gateway's end of the pipe. It closes with the process, however that ends.
#[derive(Debug)]
pub(crate) struct Guard(OwnedFd);

impl Guard {
    /// Of the program that this process was before: the guard goes on.
    pub(crate) fn of(end: OwnedFd) -> Self {
        Self(end)
    }

    /// For the program that this process becomes.
    pub(crate) fn into_end(self) -> OwnedFd {
        self.0
    }
}

/// Starts the guard of this process. Call before workers exist, and before this process takes in what others leave behind: the
/// guard is nobody's child, so that whatever ends the gateway's children does not end it.
pub(crate) fn start() -> io::Result<Option<Guard>> {
    if !cfg!(target_os = "linux") {
        return Ok(None);
    }
    // Set by the program that this process was before: the guard would come back as our child.
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_child_subreaper(false)?;
    let mut command = child::own();
    command.arg0("hermes-guard").arg(COMMAND).env_clear();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let end = child.stdin.take().map(|end| Guard(end.into()));
    let status = child.wait()?;
    if status.success() { Ok(end) } else { Err(io::Error::other(format!("the guard ended with {status}"))) }
}

/// Is the guard.
pub fn run(settle: fn()) -> u8 {
    #[cfg(target_os = "linux")]
    {
        let _ = nix::sys::prctl::set_name(c"hermes-guard");
        close_others();
        // Goes on as nobody's child, in a session of its own; whoever started it sees an end.
        if nix::unistd::daemon(false, true).is_err() {
            return exit::FAILURE;
        }
    }
    settle();
    let mut end = [0];
    while io::stdin().read(&mut end).is_ok_and(|len| len > 0) {}
    let deadline = clock::now() + LIMIT;
    let mut clean = 0;
    while clean < CLEAN && clock::now() < deadline {
        clean = if sweep() { 0 } else { clean + 1 };
        hermes_host::wait::pause(LOOK);
    }
    exit::OK
}

/// Closes what whoever started the gateway had left open: it may wait for the end of it.
#[cfg(target_os = "linux")]
fn close_others() {
    let (first, last, flags): (nix::libc::c_uint, nix::libc::c_uint, nix::libc::c_uint) = (3, u32::MAX, 0);
    // SAFETY: this process has opened nothing itself but its three standard descriptors, so nobody owns what is closed.
    #[expect(unsafe_code, reason = "a descriptor that nobody here has opened is only known by its number")]
    let _ = unsafe { nix::libc::syscall(nix::libc::SYS_close_range, first, last, flags) };
}

/// Ends what workers that are gone have left running. Whether there was anything.
fn sweep() -> bool {
    let entries = fs_err::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let mut any = false;
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        let Some(worker) = worker_of(pid).filter(|worker| *worker != pid && is_counted_here(pid)) else {
            continue;
        };
        if !is_gone(pid) && (is_gone(worker) || worker_of(worker) != Some(worker)) {
            // Another user's cannot be ended, and is nothing of this gateway's.
            any |= i32::try_from(pid).is_ok_and(|pid| kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok());
        }
    }
    any
}

fn worker_of(pid: u32) -> Option<u32> {
    mark::worker_of(&fs_err::read_to_string(format!("/proc/{pid}/limits")).ok()?)
}

/// Whether process ids mean the same to that process as here. A worker in a container is seen from outside it, with a mark that holds its
/// number inside; here that is nobody's number, or somebody else's.
fn is_counted_here(pid: u32) -> bool {
    let status = fs_err::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    // A kernel that does not say it has no such line.
    numbers.is_none_or(|numbers| numbers.split_ascii_whitespace().count() == 1)
}

/// Whether a process does not exist, or only waits to be collected.
fn is_gone(pid: u32) -> bool {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
}
