//! Who holds a claim: a process, told apart from a later one with the same id by its start time.

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

    /// Whether that process still runs. A zombie does not.
    pub fn is_alive(self) -> bool {
        alive(self)
    }
}

#[cfg(target_os = "linux")]
fn stat(pid: u32) -> Option<String> {
    fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()
}

#[cfg(target_os = "linux")]
fn start_time(pid: u32) -> Option<u64> {
    start_time_from_stat(&stat(pid)?)
}

#[cfg(target_os = "linux")]
fn alive(owner: Owner) -> bool {
    let Some(stat) = stat(owner.pid) else { return false };
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
    let Ok(pid) = i32::try_from(owner.pid) else { return false };
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
}
