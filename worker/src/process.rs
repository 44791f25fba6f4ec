//! This process as the operating system sees it: environment, inherited descriptors, limits, signals, its process group.
//!
//! The environment is read here, once, and never written. Descriptors are marked close-on-exec before anything can fork, so no
//! child of a worker inherits its sockets.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use hermes_wire::{contract::pid_record, env};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
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

impl ProcessError {
    /// The connection that carries sockets is none.
    pub(crate) fn road(error: io::Error) -> Self {
        Self::Kind("road", error)
    }
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
    /// Limit of open files to set.
    pub(crate) open_files: Option<u64>,
    /// `GATEWAY_MULTIPLEX_PROFILES`, for a worker that runs without a supervisor.
    pub(crate) multiplex: Option<String>,
    /// This process only reports what it finds, and writes nothing into its home.
    pub(crate) examined: bool,
    /// Where an administrator's files are.
    pub(crate) managed_dir: camino::Utf8PathBuf,
    /// There is a screen to show something on.
    pub(crate) has_display: bool,
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
            open_files: get(env::OPEN_FILES).and_then(|limit| limit.parse().ok()),
            multiplex: get(env::MULTIPLEX),
            examined: get(env::EXAMINED).is_some(),
            managed_dir: get(env::MANAGED_DIR)
                .filter(|dir| !dir.trim().is_empty())
                .unwrap_or_else(|| env::DEFAULT_MANAGED_DIR.to_owned())
                .into(),
            has_display: ["DISPLAY", "WAYLAND_DISPLAY"]
                .iter()
                .any(|name| get(name).is_some_and(|v| !v.is_empty())),
            base: all.into_iter().filter(|(name, _)| env::is_allowed(name)).collect(),
        }
    }

    /// One of those that may be passed on.
    pub(crate) fn inherited(&self, name: &str) -> Option<&str> {
        self.base.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// The sockets of a supervised worker.
#[derive(Debug)]
pub(crate) struct Inherited {
    /// Listening; carries HTTP.
    pub(crate) data: OwnedFd,
    /// Connected; carries frames.
    pub(crate) control: OwnedFd,
    /// Connected; carries sockets. None from a supervisor that has no road.
    pub(crate) road: Option<OwnedFd>,
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
    let (data, control, road) = (position("data")?, position("control")?, position("road").ok());
    Ok(Inherited { data: take(data)?, control: take(control)?, road: road.map(take).transpose()? })
}

/// Takes standard input, which is a connection where a command started this process for itself. Nothing can be read there afterwards,
/// and no child inherits it.
pub(crate) fn take_standard_input() -> io::Result<OwnedFd> {
    let input = std::io::stdin().as_fd().try_clone_to_owned()?;
    let nothing = fs_err::File::open("/dev/null")?;
    nix::unistd::dup2_stdin(&nothing)?;
    Ok(input)
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

/// Lowers the soft limit of open files, for this process and what it starts; the hard one stays.
pub(crate) fn limit_files(limit: Option<u64>) {
    if let Some(limit) = limit
        && let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
    {
        // Lowering cannot fail.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, limit.min(hard), hard);
    }
}

/// Sets what holds for the whole life of a worker: new files are private, no core dump carries secrets to disk, memory is given
/// back, and (supervised) the kernel ends us when the supervisor's main thread ends.
pub(crate) fn harden(supervised: bool) {
    umask(Mode::from_bits_truncate(0o077));
    // What whoever started this process left open is nothing for what it starts.
    hermes_host::private::keep_descriptors();
    // Failing to lower a limit is not possible; there is nothing to tell anyone yet either.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    #[cfg(target_os = "linux")]
    {
        // Started through `/proc/self/exe`, it would be called `exe` by whoever looks at names only.
        let _ = nix::sys::prctl::set_name(c"hermes-worker");
        if supervised {
            let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
        }
        tune_allocator();
    }
    if supervised {
        crate::children::adopt();
    }
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

/// Gives back what is not used all the time. Call when the process has settled, and again once in a while.
///
/// Starting runs through most of the program once: reading configuration, opening the database, building routes. What it freed
/// lies in the heap's gaps, and the code it ran stays mapped, which counts as resident in every worker although the pages are
/// those of one file. Both go; code that is needed again is mapped again from the page cache, without reading the disk, and in small
/// pieces: the page cache holds a program that was just written in pieces of 2 MB, and would map all of one for each place in it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn settle() {
    // SAFETY: releases free pages of the heap only.
    #[expect(unsafe_code, reason = "malloc_trim has no safe form")]
    unsafe {
        nix::libc::malloc_trim(0);
    }
    unmap();
}

/// What is resident of this process, in bytes, where the system says so.
#[cfg(target_os = "linux")]
pub(crate) fn resident() -> Option<u64> {
    let text = fs_err::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * u64::try_from(size).ok()?)
}

/// Elsewhere nothing is given back.
#[cfg(not(target_os = "linux"))]
pub(crate) fn resident() -> Option<u64> {
    None
}

/// Of that, only the program's own pages. Costs some ten microseconds.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn unmap() {
    use nix::sys::mman::{MmapAdvise, madvise};

    static CODE: std::sync::OnceLock<Vec<(usize, usize)>> = std::sync::OnceLock::new();
    let code = CODE.get_or_init(|| {
        // Where it cannot be read, everything stays.
        let maps = fs_err::read_to_string("/proc/self/maps").unwrap_or_default();
        maps.lines().filter_map(code).collect()
    });
    for &(start, len) in code {
        let Some(start) = std::ptr::NonNull::new(std::ptr::with_exposed_provenance_mut(start)) else {
            continue;
        };
        for advice in [MmapAdvise::MADV_NOHUGEPAGE, MmapAdvise::MADV_DONTNEED] {
            // SAFETY: the range is a private mapping of a file that is not written, neither by us nor by the dynamic linker, so its
            // pages are what the file says: dropping them changes nothing that can be read.
            #[expect(unsafe_code, reason = "madvise can lose data, but not here")]
            let _ = unsafe { madvise(start, len, advice) };
        }
    }
}

/// Elsewhere the system does as it likes.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn settle() {}

/// Likewise.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn unmap() {}

/// Start and length of a line of `/proc/self/maps`, if it maps code or constants of a file that nothing ever changes in memory:
/// what the dynamic linker relocates has an offset behind them.
#[cfg(target_os = "linux")]
fn code(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let (access, offset) = (fields.next()?, fields.next()?);
    let path = fields.nth(2)?;
    // The first part of an executable image holds tables and constants that need no relocation.
    let is_clean = access == "r-xp" || (access == "r--p" && offset.bytes().all(|b| b == b'0'));
    let address = |text| usize::from_str_radix(text, 16).ok();
    let (start, end) = (address(start)?, address(end)?);
    (is_clean && path.starts_with('/')).then_some((start, end.checked_sub(start)?))
}

/// This process's id.
pub(crate) fn pid() -> u32 {
    std::process::id()
}

/// Field 22 of `/proc/<pid>/stat`; `None` where there is no such file.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    pid_record::start_time_from_stat(&fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?)
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
    fn only_what_nothing_changes_is_given_back() {
        let exe = "55d70bbe1000-55d70c4c5000 r-xp 002ab000 fe:00 10010654                   /usr/bin/hermes";
        assert_eq!(code(exe), Some((0x55d7_0bbe_1000, 0x8e_4000)));
        let head = "55d70b935000-55d70bbe1000 r--p 00000000 fe:00 10010654                   /usr/bin/hermes";
        assert_eq!(code(head), Some((0x55d7_0b93_5000, 0x2a_c000)));
        for other in [
            "55d70c4c5000-55d70c509000 r--p 00b8e000 fe:00 10010654                   /usr/bin/hermes",
            "55d70c509000-55d70c50f000 rw-p 00bd1000 fe:00 10010654                   /usr/bin/hermes",
            "7fffe3bb5000-7fffe3bb7000 r-xp 00000000 00:00 0                          [vdso]",
            "7f0000000000-7f0000001000 r-xp 00000000 00:00 0",
            "",
        ] {
            assert_eq!(code(other), None, "{other}");
        }
        settle();
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn own_start_time_is_known() {
        assert!(start_time(pid()).is_some());
        assert_eq!(start_time(u32::MAX), None);
    }
}
