//! Who holds a claim: a process, told apart from a later one with the same id by its start time.

#[cfg(target_os = "linux")]
use std::io;

#[cfg(target_os = "linux")]
use hermes_wire::absence::OrAbsent as _;
use hermes_wire::contract::pid_record::start_time_from_stat;

/// A process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Process id.
    pub pid: u32,
    /// Its start, in clock ticks since boot; 0 where the system does not say.
    pub start_time: u64,
}

impl Owner {
    /// This process.
    pub fn current() -> Self {
        let pid = std::process::id();
        Self { pid, start_time: start_time(pid).unwrap_or(0) }
    }

    /// From its two columns.
    pub(crate) fn from_columns(pid: u32, start: i64) -> Self {
        Self { pid, start_time: start.cast_unsigned() }
    }

    /// The start time as SQLite keeps it.
    pub(crate) fn start_column(self) -> i64 {
        self.start_time.cast_signed()
    }

    /// Both, as SQLite keeps them.
    pub(crate) fn columns(self) -> (i64, i64) {
        (i64::from(self.pid), self.start_column())
    }

    /// Whether that process still runs. A zombie does not.
    pub fn is_alive(self) -> bool {
        alive(self)
    }
}

#[cfg(target_os = "linux")]
fn stat(pid: u32) -> io::Result<Option<String>> {
    fs_err::read_to_string(format!("/proc/{pid}/stat")).or_absent()
}

#[cfg(target_os = "linux")]
fn start_time(pid: u32) -> Option<u64> {
    start_time_from_stat(&stat(pid).ok()??)
}

#[cfg(target_os = "linux")]
fn alive(owner: Owner) -> bool {
    is_it(owner, stat(owner.pid), process_exists)
}

/// Whether what the system says of a number is said of this process.
#[cfg(target_os = "linux")]
fn is_it(owner: Owner, stat: io::Result<Option<String>>, exists: impl Fn(i32) -> bool) -> bool {
    let stat = match stat {
        Ok(Some(stat)) => stat,
        Ok(None) => return false,
        // It ended at this moment; or this process has no descriptor left, and whoever took that for an end would take over what runs.
        Err(_) => return i32::try_from(owner.pid).is_ok_and(exists),
    };
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().next());
    !matches!(state, Some("Z" | "X") | None)
        && (owner.start_time == 0 || start_time_from_stat(&stat) == Some(owner.start_time))
}

#[cfg(not(target_os = "linux"))]
fn start_time(_pid: u32) -> Option<u64> {
    let _linux_only = start_time_from_stat;
    None
}

#[cfg(not(target_os = "linux"))]
fn alive(owner: Owner) -> bool {
    i32::try_from(owner.pid).is_ok_and(process_exists)
}

/// Whether there is a process of this number, whoever's: one that may not be signalled exists.
pub(crate) fn process_exists(pid: i32) -> bool {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None) != Err(nix::errno::Errno::ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_its_pid_and_its_start() {
        let me = Owner::current();
        assert!(me.is_alive());
        assert!(!Owner { start_time: me.start_time + 1, ..me }.is_alive());
        assert!(!Owner { pid: u32::MAX, start_time: 1 }.is_alive());
    }

    /// What cannot be looked at is not taken for dead.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_that_cannot_be_looked_at_is_not_taken_for_dead() {
        let me = Owner::current();
        let no_descriptor = || Err(io::Error::from_raw_os_error(nix::errno::Errno::EMFILE as i32));
        assert!(is_it(me, no_descriptor(), process_exists));
        assert!(!is_it(me, no_descriptor(), |_| false), "it ended at this moment");
        assert!(!is_it(me, Ok(None), |_| true));
        assert!(process_exists(i32::try_from(me.pid).unwrap()) && !process_exists(i32::MAX));
    }
}
