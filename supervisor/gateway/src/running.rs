//! Gateways of a root home, the program that each runs, and how each is restarted.

use std::io;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::{child, disk};
use hermes_wire::contract::gateway_status::Program;
use hermes_wire::{ProfileName, RootHome};

use crate::client::Client;
use crate::instance::{self, Liveness};
use crate::program;
use crate::runtime::SocketPlaces;

/// Largest `/proc/<pid>/cgroup` that is read, in bytes.
const CGROUP: u64 = 64 * 1024;
/// Time a service manager has to answer.
const ASKED: Duration = Duration::from_secs(10);
/// Time a unit has to stop: it may drain, and its manager has a limit of its own.
const STOPPED: Duration = Duration::from_secs(240);

/// A gateway that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Whose it is.
    pub profile: ProfileName,
    /// Its process.
    pub pid: u32,
    /// The file that it was started from, where that can be seen.
    pub program: Option<Utf8PathBuf>,
    /// What restarts it.
    pub restart: String,
    /// The very file that it runs, likewise.
    file: Option<(u64, u64)>,
}

impl Running {
    /// Looks for the gateway of one home, and asks it what it runs where that cannot be seen.
    pub fn find(root: &RootHome, profile: &ProfileName, sockets: &SocketPlaces) -> Option<Self> {
        let home = root.profile(profile);
        let Liveness::Running { record } = instance::probe(home.path()) else { return None };
        let pid = record.filter(|record| instance::is_alive(record))?.pid;
        let group = disk::read_start(Utf8Path::new(&format!("/proc/{pid}/cgroup")), CGROUP);
        let seen = program::path_of(pid).ok().and_then(|path| Utf8PathBuf::from_path_buf(path).ok());
        let said = match seen {
            Some(_) => None,
            None => said(home.path(), pid, sockets),
        };
        Some(Self {
            profile: profile.clone(),
            pid,
            file: program::running_file(pid, said.as_ref()),
            program: seen.or_else(|| said.map(|said| said.path.into())),
            restart: restart(profile, &String::from_utf8_lossy(&group.unwrap_or_default())),
        })
    }

    /// Whether it runs the file `exe`. `None` where that cannot be seen.
    pub fn runs(&self, exe: &Utf8Path) -> Option<bool> {
        Some(self.file? == program::file_of(exe)?)
    }

    /// The file that it was started from, where there is another program in its place now.
    pub fn replaced_by(&self) -> Option<&Utf8Path> {
        self.program.as_deref().filter(|path| self.runs(path) == Some(false))
    }

    /// What makes a command one about this gateway.
    pub fn flag(&self) -> String {
        flag(&self.profile)
    }
}

/// The root home's gateway and those that profiles have of their own.
pub fn gateways(root: &RootHome, profiles: &[ProfileName], sockets: &SocketPlaces) -> Vec<Running> {
    profiles.iter().filter_map(|name| Running::find(root, name, sockets)).collect()
}

/// What the gateway of `home`, which is process `pid`, says that it runs. Earlier releases do not say it.
fn said(home: &Utf8Path, pid: u32, sockets: &SocketPlaces) -> Option<Program> {
    let status = Client::connect(home, sockets).and_then(|client| client.status(None)).ok()?;
    status.gateway.program.filter(|_| status.gateway.pid == Some(pid))
}

fn flag(profile: &ProfileName) -> String {
    if profile.is_default() { String::new() } else { format!(" -p {profile}") }
}

/// The unit that a process runs in, and whether it is the user's own.
pub fn unit_of(pid: u32) -> Option<(String, bool)> {
    let group = disk::read_start(Utf8Path::new(&format!("/proc/{pid}/cgroup")), CGROUP).ok()?;
    unit(&String::from_utf8_lossy(&group))
}

/// Stops the unit whose main process this is, so that its manager does not start it again when it ends; which one. `None` where
/// there is none, or it is the one that this process runs in.
pub fn stop_unit(pid: u32) -> Option<io::Result<String>> {
    let (unit, user) = unit_of(pid)?;
    if unit_of(std::process::id()).is_some_and(|(own, _)| own == unit) {
        return None;
    }
    let systemctl = |verb: &[&str], limit| {
        let mut command = child::command("systemctl");
        command.args(user.then_some("--user")).args(verb).arg(&unit);
        child::run(command, limit)
    };
    let main = systemctl(&["show", "--property=MainPID", "--value"], ASKED).ok()?;
    // Of another user's manager, or none at all: then signals have to do.
    if String::from_utf8_lossy(&main.stdout).trim() != pid.to_string() {
        return None;
    }
    tracing::info!(unit, "stopping the unit of the gateway that runs");
    Some(systemctl(&["stop"], STOPPED).and_then(|output| {
        if output.status.success() {
            let scope = if user { "systemctl --user" } else { "sudo systemctl" };
            tracing::warn!(
                "the unit {unit} was stopped and is still set up: `{scope} disable {unit}` keeps it from starting with the machine"
            );
            return Ok(unit.clone());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("its unit {unit} cannot be stopped: {}", said.trim())))
    }))
}

/// The same, by the text of its control group.
fn unit(cgroup: &str) -> Option<(String, bool)> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
    // A unit to which groups are delegated has its processes below its own.
    let unit = path.rsplit('/').find(|group| group.ends_with(".service"))?;
    if !unit.contains("hermes") {
        return None;
    }
    Some((unit.to_owned(), path.contains("/user@")))
}

/// The command that restarts a gateway, by the control group it runs in: a service manager's unit is restarted by that.
fn restart(profile: &ProfileName, cgroup: &str) -> String {
    let flag = flag(profile);
    // The user's own manager is a service too; what a terminal or a cron job starts stands in its scopes or in other units.
    match unit(cgroup) {
        Some((unit, true)) => format!("systemctl --user restart {unit}"),
        Some((unit, false)) => format!("sudo systemctl restart {unit}"),
        None => format!("hermes gateway run --replace{flag}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_restarted_by_its_manager() {
        let (default, coder) = (ProfileName::default_profile(), "coder".parse().unwrap());
        let user = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/hermes-gateway.service\n";
        assert_eq!(restart(&default, user), "systemctl --user restart hermes-gateway.service");
        let below =
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/hermes-gateway.service/supervisor\n";
        assert_eq!(restart(&default, below), "systemctl --user restart hermes-gateway.service");
        let system = "12:pids:/x\n0::/system.slice/hermes-gateway-coder.service\n";
        assert_eq!(restart(&coder, system), "sudo systemctl restart hermes-gateway-coder.service");
        for other in ["", "0::/\n", "0::/system.slice/cron.service\n", "0::/user.slice/session-1.scope\n"] {
            assert_eq!(restart(&default, other), "hermes gateway run --replace");
            assert_eq!(restart(&coder, other), "hermes gateway run --replace -p coder");
        }
    }
}
