//! This process as the operating system sees it: environment, inherited descriptors, limits, signals, its process group.
//!
//! The environment is read here, once, and never written. Descriptors are marked close-on-exec before anything can fork, so no
//! child of a worker inherits its sockets.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use hermes_protocol::{contract::pid_record, env};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, killpg};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, getpgid, getpgrp, getpid, getppid, setpgid};

/// First descriptor of the `LISTEN_FDS` convention.
const FIRST_FD: RawFd = 3;

/// Why a worker cannot use what it was started with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    /// A variable that a supervisor always sets is missing or odd.
    #[error(
        "cannot find the inherited sockets in `{0}`; a worker is started by `hermes gateway run`, or alone by `hermes worker -p NAME`"
    )]
    Inherited(&'static str),
    /// The descriptor is not open.
    #[error("the inherited descriptor {0} is not usable")]
    Descriptor(RawFd, #[source] nix::Error),
    /// Not the kind of descriptor it should be.
    #[error("the inherited descriptor `{0}` is not the socket it should be")]
    Kind(&'static str, #[source] io::Error),
}

/// What a worker takes from its environment. Read once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    /// `LISTEN_FDS`.
    listen_fds: Option<String>,
    /// `LISTEN_FDNAMES`.
    listen_fdnames: Option<String>,
    /// `RUST_LOG`.
    pub(crate) log: Option<String>,
    /// `GATEWAY_MULTIPLEX_PROFILES`, for a worker that runs without a supervisor.
    pub(crate) multiplex: Option<String>,
    /// Everything that may be passed on to children: the allow-list of `protocol::env`.
    pub(crate) base: Vec<(String, String)>,
}

impl Environment {
    /// Reads the environment of this process. Values that are not UTF-8 are left out.
    pub(crate) fn read() -> Self {
        let all: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect();
        let get = |name: &str| all.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
        Self {
            listen_fds: get(env::LISTEN_FDS),
            listen_fdnames: get(env::LISTEN_FDNAMES),
            log: get("RUST_LOG"),
            multiplex: get(env::MULTIPLEX),
            base: all.into_iter().filter(|(name, _)| env::is_allowed(name)).collect(),
        }
    }
}

/// The two sockets of a supervised worker.
#[derive(Debug)]
pub(crate) struct Inherited {
    /// Listening; carries HTTP.
    pub(crate) data: OwnedFd,
    /// Connected; carries frames.
    pub(crate) control: OwnedFd,
}

/// Takes the sockets that the supervisor handed over. Call at most once per process, before anything opens descriptors.
pub(crate) fn take_inherited(environment: &Environment) -> Result<Inherited, ProcessError> {
    let names = environment.listen_fdnames.as_deref().ok_or(ProcessError::Inherited(env::LISTEN_FDNAMES))?;
    let count = environment.listen_fds.as_deref().and_then(|n| n.parse::<usize>().ok());
    let names: Vec<&str> = names.split(':').collect();
    if count != Some(names.len()) {
        return Err(ProcessError::Inherited(env::LISTEN_FDS));
    }
    let position =
        |name| names.iter().position(|n| *n == name).ok_or(ProcessError::Inherited(env::LISTEN_FDNAMES));
    let (data, control) = (position("data")?, position("control")?);
    Ok(Inherited { data: take(data)?, control: take(control)? })
}

fn take(index: usize) -> Result<OwnedFd, ProcessError> {
    let raw = RawFd::try_from(index)
        .ok()
        .and_then(|i| i.checked_add(FIRST_FD))
        .ok_or(ProcessError::Inherited(env::LISTEN_FDS))?;
    // SAFETY: only borrowed for one fcntl, which reports a descriptor that is not open as an error.
    #[expect(unsafe_code, reason = "an inherited descriptor is only known by its number")]
    let borrowed = unsafe { BorrowedFd::borrow_raw(raw) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|e| ProcessError::Descriptor(raw, e))?;
    // SAFETY: open (fcntl succeeded), handed to this process by the `LISTEN_FDS` convention, and taken once: nothing else in
    // this process knows its number.
    #[expect(unsafe_code, reason = "an inherited descriptor is only known by its number")]
    let owned = unsafe { OwnedFd::from_raw_fd(raw) };
    Ok(owned)
}

/// Turns the data descriptor into a listener of the current runtime.
pub(crate) fn listener(fd: OwnedFd) -> Result<tokio::net::UnixListener, ProcessError> {
    let listener = std::os::unix::net::UnixListener::from(fd);
    let kind = |e| ProcessError::Kind("data", e);
    listener.local_addr().map_err(kind)?;
    listener.set_nonblocking(true).map_err(kind)?;
    tokio::net::UnixListener::from_std(listener).map_err(kind)
}

/// Turns the control descriptor into a stream of the current runtime.
pub(crate) fn stream(fd: OwnedFd) -> Result<tokio::net::UnixStream, ProcessError> {
    let stream = std::os::unix::net::UnixStream::from(fd);
    let kind = |e| ProcessError::Kind("control", e);
    stream.peer_addr().map_err(kind)?;
    stream.set_nonblocking(true).map_err(kind)?;
    tokio::net::UnixStream::from_std(stream).map_err(kind)
}

/// Sets what holds for the whole life of a worker: new files are private, no core dump carries secrets to disk, memory is given
/// back, and (supervised) the kernel ends us when the supervisor's main thread ends.
pub(crate) fn harden(supervised: bool) {
    umask(Mode::from_bits_truncate(0o077));
    // Failing to lower a limit is not possible; there is nothing to tell anyone yet either.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    #[cfg(target_os = "linux")]
    {
        if supervised {
            let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
        }
        tune_allocator();
    }
    let _ = supervised;
}

/// glibc gives every thread that allocates an arena of its own, which keeps what was freed in it. A worker computes on one
/// thread; a single arena costs no contention worth naming and saves resident memory per thread, and blocks above 64 KiB
/// go back to the system when they are freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn tune_allocator() {
    // SAFETY: called before any other thread exists; the parameters are documented for mallopt(3).
    #[expect(unsafe_code, reason = "mallopt has no safe form")]
    unsafe {
        nix::libc::mallopt(nix::libc::M_ARENA_MAX, 1);
        nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, 64 * 1024);
        nix::libc::mallopt(nix::libc::M_TRIM_THRESHOLD, 128 * 1024);
    }
}

#[cfg(all(target_os = "linux", not(target_env = "gnu")))]
fn tune_allocator() {}

/// This process's id.
pub(crate) fn pid() -> u32 {
    std::process::id()
}

/// Field 22 of `/proc/<pid>/stat`; `None` where there is no such file.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    pid_record::start_time_from_stat(&fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The command line of this process.
pub(crate) fn argv() -> Vec<String> {
    std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect()
}

/// Kills what is left of this process's group, itself excepted. Does nothing unless it leads a group of its own.
pub(crate) fn end_group() {
    let me = getpid();
    if getpgrp() != me {
        return;
    }
    // A group cannot be signalled without its members, so leave it first; a leader may join another group of its session.
    let left = getpgid(Some(getppid())).and_then(|parents| setpgid(Pid::from_raw(0), parents));
    if left.is_ok() {
        let _ = killpg(me, Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_found_by_name_only() {
        let environment = |fds: &str, names: &str| Environment {
            listen_fds: Some(fds.to_owned()),
            listen_fdnames: Some(names.to_owned()),
            ..Environment::default()
        };
        for (fds, names) in [("2", "data"), ("1", "data:control"), ("2", "data:other"), ("x", "data:control")]
        {
            assert!(
                matches!(take_inherited(&environment(fds, names)), Err(ProcessError::Inherited(_))),
                "{fds} {names}"
            );
        }
        assert!(take_inherited(&Environment::default()).is_err());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn own_start_time_is_known() {
        assert!(start_time(pid()).is_some());
        assert_eq!(start_time(u32::MAX), None);
    }
}
