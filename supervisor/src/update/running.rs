//! Gateways of a root home that run another program than the one on disk now, and how each is restarted.

use std::os::unix::fs::MetadataExt as _;

use camino::Utf8Path;
use hermes_protocol::{ProfileName, RootHome};

use crate::disk;
use crate::instance::{self, Liveness};

/// Largest `/proc/<pid>/cgroup` that is read, in bytes.
const CGROUP: u64 = 64 * 1024;

/// A gateway that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) profile: ProfileName,
    pub(crate) pid: u32,
    /// It runs the file that is asked about. `None` where that cannot be seen.
    pub(crate) is_current: Option<bool>,
    /// What restarts it.
    pub(crate) restart: String,
}

/// The root home's gateway and those that profiles have of their own.
pub(crate) fn gateways(root: &RootHome, profiles: &[ProfileName], exe: &Utf8Path) -> Vec<Running> {
    let look = |name: &ProfileName| {
        let Liveness::Running { record } = instance::probe(root.profile(name).path()) else { return None };
        let pid = record.filter(|record| instance::is_alive(record))?.pid;
        let process = format!("/proc/{pid}");
        let group = disk::read_start(Utf8Path::new(&format!("{process}/cgroup")), CGROUP).unwrap_or_default();
        Some(Running {
            profile: name.clone(),
            pid,
            is_current: same_file(Utf8Path::new(&format!("{process}/exe")), exe),
            restart: restart(name, &String::from_utf8_lossy(&group)),
        })
    };
    profiles.iter().filter_map(look).collect()
}

fn same_file(a: &Utf8Path, b: &Utf8Path) -> Option<bool> {
    let id = |path| fs_err::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    Some(id(a)? == id(b)?)
}

/// The command that restarts a gateway, by the control group it runs in: a service manager's unit is restarted by that.
fn restart(profile: &ProfileName, cgroup: &str) -> String {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
    let unit = path.rsplit('/').next().filter(|unit| unit.ends_with(".service"));
    let flag = if profile.is_default() { String::new() } else { format!(" -p {profile}") };
    // The user's own manager is a service too; what a terminal or a cron job starts stands in its scopes or in other units.
    match unit.filter(|unit| unit.contains("hermes")) {
        Some(unit) if path.contains("/user@") => format!("systemctl --user restart {unit}"),
        Some(unit) => format!("sudo systemctl restart {unit}"),
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
        let system = "12:pids:/x\n0::/system.slice/hermes-gateway-coder.service\n";
        assert_eq!(restart(&coder, system), "sudo systemctl restart hermes-gateway-coder.service");
        for other in ["", "0::/\n", "0::/system.slice/cron.service\n", "0::/user.slice/session-1.scope\n"] {
            assert_eq!(restart(&default, other), "hermes gateway run --replace");
            assert_eq!(restart(&coder, other), "hermes gateway run --replace -p coder");
        }
    }
}
