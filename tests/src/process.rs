//! Processes as the kernel shows them: who is alive, whose child, what environment, what memory.

use camino::Utf8Path;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A process that a test started; killed and collected on drop.
pub struct Running(pub std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a signal to one process.
pub fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

/// Whether a process exists and is not a zombie.
pub fn is_alive(pid: u32) -> bool {
    state(pid).is_some_and(|s| s != 'Z' && s != 'X')
}

/// The state letter of `/proc/<pid>/stat`.
pub fn state(pid: u32) -> Option<char> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// Field 22 of `/proc/<pid>/stat`.
pub fn start_time(pid: u32) -> u64 {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    hermes_wire::contract::pid_record::start_time_from_stat(&stat).unwrap()
}

/// The parent of a process.
pub fn parent(pid: u32) -> Option<u32> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// All process ids.
pub fn all() -> Vec<u32> {
    fs_err::read_dir("/proc").unwrap().filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Children of `pid`, zombies included.
pub fn children(pid: u32) -> Vec<u32> {
    all().into_iter().filter(|p| parent(*p) == Some(pid)).collect()
}

/// `pid`, its children, their children and so on, zombies included.
pub fn family(pid: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = all().into_iter().filter_map(|p| Some((p, parent(p)?))).collect();
    let mut family = vec![pid];
    let mut at = 0;
    while let Some(&of) = family.get(at) {
        family.extend(parents.iter().filter(|(_, parent)| *parent == of).map(|(child, _)| child));
        at += 1;
    }
    family
}

/// Live processes that were started with an environment naming `home`.
pub fn using(home: &Utf8Path) -> Vec<u32> {
    all()
        .into_iter()
        .filter(|p| is_alive(*p) && environment(*p).is_some_and(|e| contains(&e, home.as_str().as_bytes())))
        .collect()
}

/// The signals that a process ignores, as a mask: bit 0 is signal 1.
pub fn ignored_signals(pid: u32) -> u64 {
    let status = fs_err::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap()
}

/// Raw environment of a process.
pub fn environment(pid: u32) -> Option<Vec<u8>> {
    fs_err::read(format!("/proc/{pid}/environ")).ok()
}

/// Whether `needle` is in `haystack`.
pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}

/// Which of `needles` occur in the readable and writable memory of a process.
pub fn find_in_memory(pid: u32, needles: &[&str]) -> Vec<String> {
    use std::io::{Read as _, Seek as _};
    let maps = fs_err::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut memory = fs_err::File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut found = Vec::new();
    for line in maps.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (Some(range), Some(mode)) = (fields.next(), fields.next()) else { continue };
        if !mode.starts_with("rw") {
            continue;
        }
        let Some((from, to)) = range.split_once('-') else { continue };
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        if memory.seek(std::io::SeekFrom::Start(from)).is_err() || memory.read_exact(&mut bytes).is_err() {
            continue;
        }
        for needle in needles {
            if contains(&bytes, needle.as_bytes()) && !found.iter().any(|f| f == needle) {
                found.push((*needle).to_owned());
            }
        }
    }
    found
}

/// Resident memory in bytes.
pub fn rss(pid: u32) -> u64 {
    field_kb(pid, "status", "VmRSS:") * 1024
}

/// Proportional set size in bytes.
pub fn pss(pid: u32) -> u64 {
    field_kb(pid, "smaps_rollup", "Pss:") * 1024
}

fn field_kb(pid: u32, file: &str, field: &str) -> u64 {
    fs_err::read_to_string(format!("/proc/{pid}/{file}"))
        .unwrap_or_default()
        .lines()
        .find_map(|l| l.strip_prefix(field)?.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}

/// Processor time of a process so far, as two clocks of the kernel have it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Of its living threads, in nanoseconds, as the scheduler counts them.
    pub scheduled: u64,
    /// Of all its threads, dead ones too, in clock ticks: rounded down, user and system time each by itself.
    pub ticks: u64,
    /// Of its children that have ended and were collected, in clock ticks.
    pub children: u64,
}

/// Nanoseconds of a clock tick (USER_HZ = 100 on every Linux that matters).
pub const TICK: u64 = 10_000_000;

/// What a process has used; nothing where there is none.
pub fn cpu(pid: u32) -> Cpu {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<u64> = stat
        .rsplit_once(')')
        .map(|(_, rest)| {
            rest.split_ascii_whitespace().skip(11).take(4).filter_map(|t| t.parse().ok()).collect()
        })
        .unwrap_or_default();
    let [user, system, children_user, children_system] = fields[..] else { return Cpu::default() };
    let threads = fs_err::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let scheduled = threads
        .filter_map(|thread| {
            let text = fs_err::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split_ascii_whitespace().next()?.parse::<u64>().ok()
        })
        .sum();
    Cpu { scheduled, ticks: user + system, children: children_user + children_system }
}

/// How often the threads of a process have gone to sleep so far.
pub fn sleeps(pid: u32) -> u64 {
    let threads = fs_err::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads
        .filter_map(|thread| {
            let text = fs_err::read_to_string(thread.path().join("status")).ok()?;
            text.lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse::<u64>().ok())
        })
        .sum()
}

/// A limit of the number of something that a process may have.
#[cfg(target_os = "linux")]
pub use rustix::process::Resource;

/// Sets the soft limit of another process; `None`: as much as its hard limit allows.
#[cfg(target_os = "linux")]
pub fn limit(pid: u32, what: Resource, soft: Option<u64>) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed());
    // Its hard limit is what the tests themselves have.
    let maximum = rustix::process::getrlimit(what).maximum;
    let new = rustix::process::Rlimit { current: soft.or(maximum), maximum };
    rustix::process::prlimit(pid, what, new).unwrap();
}

/// A copy of a descriptor of another process.
#[cfg(target_os = "linux")]
pub fn descriptor(pid: u32, number: i32) -> std::io::Result<std::os::fd::OwnedFd> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
    let process = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    let handle = pidfd_open(process, PidfdFlags::empty())?;
    Ok(pidfd_getfd(&handle, number, PidfdGetfdFlags::empty())?)
}

/// Other systems give nobody another one's.
#[cfg(not(target_os = "linux"))]
pub fn descriptor(_pid: u32, _number: i32) -> std::io::Result<std::os::fd::OwnedFd> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// Other systems give nobody another one's.
#[cfg(not(target_os = "linux"))]
pub fn make_panic(_pid: u32) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// Makes a worker panic: the runtime that it runs on does when the pair of sockets ends through which it tells itself of signals. Of all
/// sockets that is the one that the worker paired with itself.
#[cfg(target_os = "linux")]
pub fn make_panic(pid: u32) -> std::io::Result<()> {
    let numbers = fs_err::read_dir(format!("/proc/{pid}/fd"))?;
    let numbers: Vec<i32> =
        numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    let mut own = Vec::new();
    for number in numbers {
        let fd = match descriptor(pid, number) {
            // Closed meanwhile.
            Err(error) if error.raw_os_error() == Some(nix::libc::EBADF) => continue,
            other => other?,
        };
        let peer = rustix::net::sockopt::socket_peercred(&fd).map(|peer| peer.pid.as_raw_pid());
        if peer.is_ok_and(|peer| peer.cast_unsigned() == pid) {
            own.push(fd);
        }
    }
    assert!(!own.is_empty(), "the worker has no such pair");
    for fd in own {
        rustix::net::shutdown(&fd, rustix::net::Shutdown::Both)?;
    }
    Ok(())
}
