//! The Python program's gateway (0.19.0) where it runs for a home: who it is, and how it is ended in order.
//!
//! It is known as its own readers know it: by a record (`gateway.pid`, else what the lock file holds, else `gateway_state.json`)
//! of a process that lives, that was started when the record says, and whose command line is a gateway's. Records of ours carry
//! a schema, so ours are never taken for it. It need not hold the lock: one of its own readers may have removed that file.
//!
//! Ended, it is told first by the marker file that it looks for, so that it ends as planned and not as if it had failed; only
//! then by signals, and only while it is that very process.

use std::fmt;
use std::io;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::clock;
use hermes_host::disk;
use hermes_wire::contract::pid_record::{self, PidRecord};
use hermes_wire::{ProfileHome, ProfileName};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::instance::{self, Liveness};
use crate::running;
use crate::status_files;

/// Time it has after SIGTERM: it drains as it was configured to.
const GRACE: Duration = Duration::from_secs(30);
/// Time the kernel has after SIGKILL.
const KILLED: Duration = Duration::from_secs(5);
/// Time between two looks at it.
const LOOK: Duration = Duration::from_millis(25);
/// Longest command line that is read and shown, in bytes.
const COMMAND: u64 = 4096;
const SHOWN: usize = 120;

/// What it is ended for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Another gateway takes its place.
    TakeOver,
    /// It was asked to stop.
    Stop,
}

/// A gateway of the Python program.
#[derive(Debug, Clone)]
pub struct Predecessor {
    /// Its process.
    pub pid: u32,
    /// Its command line.
    pub command: String,
    /// The profiles it serves, where it is a multiplexer.
    pub served: Vec<String>,
    record: PidRecord,
    home: Utf8PathBuf,
}

impl fmt::Display for Predecessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the Python program's gateway (PID {}: `{}`)", self.pid, self.command)
    }
}

impl Predecessor {
    /// Looks for one that runs for `home`.
    pub fn find(home: &Utf8Path) -> Option<Self> {
        let locked = match instance::probe(home) {
            Liveness::Running { record } => record.map(|record| *record),
            Liveness::Stopped | Liveness::Unknown { .. } => None,
        };
        let holds_lock = locked.is_some();
        let status = status_files::read_theirs(&ProfileHome::new(home));
        let of_status = || {
            let status = status.clone()?;
            let runs = !matches!(status.gateway_state.as_deref(), None | Some("stopped" | "startup_failed"));
            let text = serde_json::json!({
                "pid": status.pid?, "kind": pid_record::KIND, "argv": status.argv, "start_time": status.start_time,
            });
            PidRecord::read(&text.to_string()).ok().filter(|_| runs)
        };
        let record = locked.or_else(|| instance::record(home)).or_else(of_status)?;
        if record.schema.is_some() || !instance::is_alive(&record) || record.pid == std::process::id() {
            return None;
        }
        let argv = command_line(record.pid).unwrap_or_else(|| record.argv.clone());
        let known = pid_record::is_gateway(&argv) || (holds_lock && record.kind == pid_record::KIND);
        if !known {
            return None;
        }
        let served = status.filter(|status| status.pid == Some(record.pid)).and_then(|s| s.served_profiles);
        let command: String = argv.join(" ").chars().filter(|c| !c.is_control()).take(SHOWN).collect();
        Some(Self {
            pid: record.pid,
            command,
            served: served.unwrap_or_default(),
            record,
            home: home.to_owned(),
        })
    }

    /// Whether it serves another profile than the one whose home this is.
    pub fn serves(&self, profile: &ProfileName) -> bool {
        self.served.iter().any(|name| name == profile.as_str())
    }

    /// The command that takes over from it.
    pub fn take_over(&self) -> String {
        format!("hermes gateway run --replace{}", instance::flag_of(&self.home))
    }

    /// What starts it again when it ends: the unit it runs in, and the command that keeps that from happening.
    pub fn unit(&self) -> Option<(String, String)> {
        let (unit, user) = running::unit_of(self.pid)?;
        let command = if user { "systemctl --user disable --now" } else { "sudo systemctl disable --now" };
        Some((unit.clone(), format!("{command} {unit}")))
    }

    /// Ends it and waits until it is gone.
    pub fn end(&self, purpose: Purpose) -> io::Result<()> {
        let marker = self.mark(purpose);
        let result = end_process(self.pid, self.record.start_time);
        if let Some(marker) = marker {
            let _ = fs_err::remove_file(marker);
        }
        result?;
        // Killed, it leaves a record that is only its own.
        let left = self.home.join("gateway.pid");
        let is_its = |bytes: Vec<u8>| {
            let record = std::str::from_utf8(&bytes).ok().and_then(|text| PidRecord::read(text).ok());
            record.is_some_and(|record| record.pid == self.pid && record.schema.is_none())
        };
        if disk::read_bounded(&left, 64 * 1024).is_ok_and(is_its) {
            fs_err::remove_file(left)?;
        }
        Ok(())
    }

    /// Writes the marker that its signal handler looks for. Without it, it ends as well, only not as planned.
    fn mark(&self, purpose: Purpose) -> Option<Utf8PathBuf> {
        let own = std::process::id();
        let mut marker = serde_json::json!({
            "target_pid": self.pid,
            "target_start_time": self.record.start_time,
            "written_at": clock::utc().strftime("%Y-%m-%dT%H:%M:%S.%6f+00:00").to_string(),
        });
        let name = match purpose {
            Purpose::TakeOver => {
                marker["replacer_pid"] = own.into();
                marker["replacer_hermes_home"] = self.home.as_str().into();
                ".gateway-takeover.json"
            }
            Purpose::Stop => {
                marker["stopper_pid"] = own.into();
                ".gateway-planned-stop.json"
            }
        };
        let path = self.home.join(name);
        disk::write_atomic(&path, marker.to_string().as_bytes(), false).ok()?;
        Some(path)
    }
}

/// Ends a gateway's process, by its unit where it has one, and waits until it is gone. `started`, where it is known, keeps a later process
/// of the same number from being taken for it.
pub fn end_process(pid: u32, started: Option<u64>) -> io::Result<()> {
    // Its manager would start it again.
    if let Some(stopped) = running::stop_unit(pid) {
        stopped?;
    }
    let number = i32::try_from(pid).ok().filter(|pid| *pid > 1);
    let number = Pid::from_raw(number.ok_or_else(|| io::Error::other("its record holds no process number"))?);
    for (signal, time) in [(Signal::SIGTERM, GRACE), (Signal::SIGKILL, KILLED)] {
        // The number could be somebody else's by now.
        if instance::lives(pid, started) {
            kill(number, signal).map_err(io::Error::from)?;
        }
        let deadline = clock::now() + time;
        while clock::now() < deadline {
            if !instance::lives(pid, started) {
                return Ok(());
            }
            hermes_host::wait::pause(LOOK);
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "it does not end"))
}

/// The command line of a process; `None` where it cannot be seen. One that is just becoming another program, or has ended, has none,
/// and is no gateway.
fn command_line(pid: u32) -> Option<Vec<String>> {
    let bytes = disk::read_start(Utf8Path::new(&format!("/proc/{pid}/cmdline")), COMMAND).ok()?;
    let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    Some(words.map(|word| String::from_utf8_lossy(word).into_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 3: a record of a process that is gone, of another program, or of ours is none.
    #[test]
    fn only_the_very_process_counts() {
        let dir = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(dir.path()).unwrap();
        assert!(Predecessor::find(home).is_none());
        let write = |pid: u32, start: u64, more: &str| {
            let text = format!(
                r#"{{"pid":{pid},"kind":"hermes-gateway","argv":["hermes","gateway","run"],"start_time":{start}{more}}}"#
            );
            fs_err::write(home.join("gateway.pid"), text).unwrap();
        };
        // Alive, and no gateway by its command line.
        let mut other = hermes_host::child::command("sleep").arg("600").spawn().unwrap();
        let start = instance::start_time(other.id()).unwrap();
        write(other.id(), start, "");
        assert!(Predecessor::find(home).is_none());
        write(u32::MAX, 1, "");
        assert!(Predecessor::find(home).is_none());
        write(other.id(), start, r#","schema":1"#);
        assert!(Predecessor::find(home).is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
