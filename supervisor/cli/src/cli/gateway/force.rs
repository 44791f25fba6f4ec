//! Ends a gateway that holds its lock and does not answer: by signals, and only the very process that its record names.

use std::time::Duration;

use camino::Utf8Path;
use hermes_gateway::instance::{self, Liveness};
use hermes_host::refusal::Io;
use hermes_host::{clock, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::answer::Say;
use super::reach::LOOK;
use crate::error::HermesError;

/// Time that it has after SIGTERM.
const GRACE: Duration = Duration::from_secs(30);
/// Time the kernel has after SIGKILL.
const KILLED: Duration = Duration::from_secs(5);

/// Ends the gateway of `home`; its process, or none where it ended by itself meanwhile.
pub(super) fn end(home: &Utf8Path, say: &mut Say) -> Result<Option<u32>, HermesError> {
    let Liveness::Running { record } = instance::probe(home) else { return Ok(None) };
    let known = record.filter(|record| instance::is_alive(record));
    let number = known.as_ref().and_then(|record| i32::try_from(record.pid).ok()).filter(|pid| *pid > 1);
    let (Some(record), Some(number)) = (known, number) else {
        return Err(HermesError::Silent { home: home.to_string(), pid: None, flag: instance::flag_of(home) });
    };
    let pid = Pid::from_raw(number);
    say.progress(&format!("⚠ the gateway (PID {pid}) does not answer: it is told to end by SIGTERM"));
    for (signal, time) in [(Signal::SIGTERM, GRACE), (Signal::SIGKILL, KILLED)] {
        if signal == Signal::SIGKILL {
            say.progress(&format!("⚠ it did not end within {} s: it is killed", GRACE.as_secs()));
        }
        // The number could be somebody else's by now.
        if instance::is_alive(&record) {
            kill(pid, signal)
                .map_err(std::io::Error::from)
                .map_err(Io::at("end", format!("process {pid}")))?;
            // One that was halted hears nothing.
            let _ = kill(pid, Signal::SIGCONT);
        }
        let deadline = clock::now() + time;
        while clock::now() < deadline {
            let holds = matches!(
                instance::probe(home),
                Liveness::Running { record: Some(now) } if now.pid == record.pid
            );
            if !holds && !instance::is_alive(&record) {
                return Ok(Some(record.pid));
            }
            wait::pause(LOOK);
        }
    }
    Err(HermesError::NotReached {
        message: format!("the gateway (PID {pid}) is still running"),
        hint: format!("look at what process {pid} waits for; nothing can end it now"),
    })
}
