//! A gateway that runs for one profile alone (0.19.0's, or one of ours started with `--force`): stopped before its home is moved or
//! removed. Only the very process that holds the home's lock is ever signalled.

use std::io;
use std::time::Duration;

use hermes_gateway::instance::{self, Liveness};
use hermes_host::clock;
use hermes_wire::ProfileHome;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(10);

/// How a gateway ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// There was none.
    NotRunning,
    /// By SIGTERM.
    Asked(u32),
    /// By SIGKILL.
    Killed(u32),
}

impl Stopped {
    /// The process that was ended.
    pub(crate) fn pid(self) -> Option<u32> {
        match self {
            Self::NotRunning => None,
            Self::Asked(pid) | Self::Killed(pid) => Some(pid),
        }
    }

    /// 0.19.0's line.
    pub(crate) fn line(self) -> Option<String> {
        match self {
            Self::NotRunning => None,
            Self::Asked(pid) => Some(format!("✓ Gateway stopped (PID {pid})")),
            Self::Killed(pid) => Some(format!("✓ Gateway force-stopped (PID {pid})")),
        }
    }
}

/// Ends the gateway that holds the lock of `home`.
pub(crate) fn stop(home: &ProfileHome) -> io::Result<Stopped> {
    let Liveness::Running { record } = instance::probe(home.path()) else { return Ok(Stopped::NotRunning) };
    let Some(record) = record.filter(|record| instance::is_alive(record)) else {
        return Err(io::Error::other("a process holds its lock, and its record does not tell which"));
    };
    let number = i32::try_from(record.pid).ok().filter(|pid| *pid > 1);
    let pid = Pid::from_raw(number.ok_or_else(|| io::Error::other("its record holds no process number"))?);
    for (signal, time) in [(Signal::SIGTERM, GRACE), (Signal::SIGKILL, Duration::from_secs(5))] {
        // The number could be somebody else's by now.
        if instance::is_alive(&record) {
            kill(pid, signal).map_err(io::Error::from)?;
        }
        let deadline = clock::now() + time;
        while clock::now() < deadline {
            if matches!(instance::probe(home.path()), Liveness::Stopped) {
                return Ok(if signal == Signal::SIGTERM {
                    Stopped::Asked(record.pid)
                } else {
                    Stopped::Killed(record.pid)
                });
            }
            hermes_host::wait::pause(Duration::from_millis(50));
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "it does not end"))
}
