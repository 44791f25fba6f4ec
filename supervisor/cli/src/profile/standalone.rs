//! A gateway that runs for one profile alone (0.19.0's, or one of ours started with `--force`), and its unit: stopped before its
//! home is moved or removed. Only the very process that holds the home's lock is ever signalled.

use std::io;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_gateway::instance::{self, Liveness};
use hermes_host::{child, clock, disk};
use hermes_wire::{ProfileHome, ProfileName};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::home::Surroundings;

/// Time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(10);
/// Time for one call of the service manager.
const MANAGER: Duration = Duration::from_secs(10);
/// Largest unit file that is moved, in bytes.
const UNIT: usize = 64 * 1024;

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

/// A unit of the user's service manager.
#[derive(Debug)]
pub(crate) struct Unit {
    path: Utf8PathBuf,
    text: String,
    /// It starts with the session.
    enabled: bool,
}

/// Name of the unit of a named profile.
pub(crate) fn unit_name(profile: &ProfileName) -> String {
    format!("hermes-gateway-{profile}.service")
}

fn unit_dir(env: &Surroundings) -> Option<Utf8PathBuf> {
    env.user_home.as_ref().map(|home| home.join(".config/systemd/user"))
}

/// Whether a unit of that name is installed for the user.
pub(crate) fn is_installed(name: &str, env: &Surroundings) -> bool {
    unit_dir(env).is_some_and(|dir| dir.join(name).is_file())
}

/// The profile's unit, if one is installed.
pub(crate) fn unit(profile: &ProfileName, env: &Surroundings) -> Option<Unit> {
    let path = unit_dir(env)?.join(unit_name(profile));
    let text = String::from_utf8(disk::read_bounded(&path, UNIT).ok()?).ok()?;
    let wants = path.parent()?.join("default.target.wants").join(path.file_name()?);
    let enabled = fs_err::symlink_metadata(wants).is_ok();
    Some(Unit { path, text, enabled })
}

impl Unit {
    /// Disables, stops and removes it. Failures of the manager are not ours to stop at: what counts is that the file is gone.
    pub(crate) fn remove(&self) -> io::Result<()> {
        let name = self.path.file_name().unwrap_or_default().to_owned();
        for verb in ["disable", "stop"] {
            let _ = systemctl(&[verb, &name]);
        }
        // Where no manager answered, the link that starts it is still there.
        if let Some(dir) = self.path.parent() {
            let _ = fs_err::remove_file(dir.join("default.target.wants").join(&name));
        }
        fs_err::remove_file(&self.path)?;
        let _ = systemctl(&["daemon-reload"]);
        Ok(())
    }

    /// Installs it for the profile's new name; enabled if it was.
    pub(crate) fn install_as(
        &self,
        old: &ProfileName,
        new: &ProfileName,
        homes: (&Utf8Path, &Utf8Path),
    ) -> io::Result<Utf8PathBuf> {
        let path = self.path.with_file_name(unit_name(new));
        let text = rewritten(&self.text, old, new, homes);
        disk::write_public(&path, text.as_bytes())?;
        let _ = systemctl(&["daemon-reload"]);
        if self.enabled {
            let _ = systemctl(&["enable", &unit_name(new)]);
        }
        Ok(path)
    }
}

/// The unit's text for another name: its home, and `-p`/`--profile` of what it starts.
fn rewritten(text: &str, old: &ProfileName, new: &ProfileName, homes: (&Utf8Path, &Utf8Path)) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let line = replace_path(line, homes.0.as_str(), homes.1.as_str());
        if !line.starts_with("ExecStart") {
            out.push_str(&line);
            continue;
        }
        let mut after_flag = false;
        for word in line.split_inclusive(' ') {
            let bare = word.trim_end();
            if (after_flag && bare == old.as_str()) || bare == format!("--profile={old}") {
                out.push_str(&word.replacen(old.as_str(), new.as_str(), 1));
            } else {
                out.push_str(word);
            }
            after_flag = matches!(bare, "-p" | "--profile");
        }
    }
    out
}

/// Whole path names only: `…/coder` is not the beginning of `…/coder2`.
fn replace_path(line: &str, from: &str, to: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(from) {
        let (before, after) = (&rest[..at], &rest[at + from.len()..]);
        let whole = !after.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
        out.push_str(before);
        out.push_str(if whole { to } else { from });
        rest = after;
    }
    out + rest
}

fn systemctl(args: &[&str]) -> io::Result<()> {
    let mut command = child::command("systemctl");
    command.arg("--user").args(args);
    let output = child::run(command, MANAGER)?;
    if output.status.success() { Ok(()) } else { Err(io::Error::other("systemctl failed")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_follows_its_profile() {
        let text = "[Service]\nExecStart=/usr/bin/hermes --profile coder gateway run\nEnvironment=\"HERMES_HOME=/h/profiles/coder\"\nEnvironment=X=/h/profiles/coder2\nDescription=coder\n";
        let (old, new) = ("coder".parse().unwrap(), "dev".parse().unwrap());
        let homes = (Utf8Path::new("/h/profiles/coder"), Utf8Path::new("/h/profiles/dev"));
        assert_eq!(
            rewritten(text, &old, &new, homes),
            "[Service]\nExecStart=/usr/bin/hermes --profile dev gateway run\nEnvironment=\"HERMES_HOME=/h/profiles/dev\"\nEnvironment=X=/h/profiles/coder2\nDescription=coder\n"
        );
    }
}
