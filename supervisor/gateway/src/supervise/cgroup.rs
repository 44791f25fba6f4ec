//! Limits on what a worker takes of the machine, kept by the kernel: a control group (version 2) for each profile.
//!
//! The gateway divides its own group and no other: it moves into a leaf of it, [`LEAF`], and gives each profile one beside it, with the
//! controllers that it was given itself (`Delegate=yes` of a systemd unit; a container's own tree). It does so when the first limit
//! is asked for, and only where nobody else is in that group: a group with processes of its own cannot be divided. Where it cannot be
//! done, the worker runs without, and that is said.
//!
//! Only names and numbers are written here, to files that the kernel provides.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use hermes_wire::ProfileName;
use hermes_wire::latest::ResourceLimits;

use crate::program;

/// The gateway's own leaf.
pub(crate) const LEAF: &str = "supervisor";
/// What a profile's leaf begins with.
const WORKER: &str = "worker-";
/// The kernel's period for shares of a processor, in microseconds.
const PERIOD: u32 = 100_000;
/// Attempts to move every process out of the group that is to be divided; each may have started another meanwhile.
const ROUNDS: usize = 8;

/// Why a limit is not kept. One line for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unkept(String);

impl Unkept {
    fn file(doing: &str, path: &Utf8Path, error: &io::Error) -> Self {
        let why =
            hermes_host::cause::causes(error).last().map_or_else(|| error.to_string(), ToString::to_string);
        Self(format!("cannot {doing} `{path}`: {why}"))
    }
}

/// The group that this gateway may divide.
#[derive(Debug, Default)]
pub(crate) struct Groups(Mutex<Division>);

#[derive(Debug, Default)]
enum Division {
    /// Nobody has asked for a limit.
    #[default]
    Untried,
    Done(Utf8PathBuf),
    Impossible(Unkept),
}

/// One profile's group.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    path: Utf8PathBuf,
    /// Processes that the kernel had ended in it for want of memory when the last one was put there.
    kills: u64,
}

impl Groups {
    /// Puts a process into its profile's group, with these limits. `Ok(None)`: nobody asks for limits, now or before.
    pub(crate) fn put(
        &self,
        profile: &ProfileName,
        pid: u32,
        limits: &ResourceLimits,
    ) -> Result<Option<Group>, Unkept> {
        let mut division = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Division::Untried = *division {
            if !limits.is_any() {
                return Ok(None);
            }
            *division = match divide() {
                Ok(base) => {
                    tracing::info!(%base, "the kernel keeps limits of workers here");
                    Division::Done(base)
                }
                Err(why) => {
                    tracing::warn!("gateway.limits are not kept: {why}");
                    Division::Impossible(why)
                }
            };
        }
        let base = match &*division {
            Division::Done(base) => base.clone(),
            Division::Impossible(why) if limits.is_any() => return Err(why.clone()),
            Division::Impossible(_) | Division::Untried => return Ok(None),
        };
        drop(division);
        let path = base.join(format!("{WORKER}{profile}"));
        make(&path)?;
        limit(&path, limits)?;
        write(&path.join("cgroup.procs"), &pid.to_string())?;
        let kills = kills(&path);
        Ok(Some(Group { path, kills }))
    }
}

impl Group {
    /// Whether the kernel ended a process in it for want of memory since the last was put there.
    pub(crate) fn has_killed(&self) -> bool {
        kills(&self.path) > self.kills
    }

    /// Takes it down; it must be empty, and stays where it is not.
    pub(crate) fn remove(&self) {
        if let Err(error) = fs_err::remove_dir(&self.path) {
            tracing::debug!(%error, "a control group stays behind");
        }
    }
}

/// Makes the group in which this process is divisible.
fn divide() -> Result<Utf8PathBuf, Unkept> {
    let read = |path: &str| {
        fs_err::read_to_string(path).map_err(|error| Unkept::file("read", Utf8Path::new(path), &error))
    };
    let (mounts, groups) = (read("/proc/self/mountinfo")?, read("/proc/self/cgroup")?);
    let group = own_group(&mounts, &groups)
        .ok_or_else(|| Unkept("this system has no control groups of version 2".to_owned()))?;
    // A program that took over from an earlier one is in the leaf already.
    let base = match (group.file_name(), group.parent()) {
        (Some(LEAF), Some(base)) => base.to_owned(),
        _ => group,
    };
    vacate(&base)?;
    let given = fs_err::read_to_string(base.join("cgroup.controllers"))
        .map_err(|error| Unkept::file("read", &base.join("cgroup.controllers"), &error))?;
    for controller in ["memory", "cpu", "pids"].into_iter().filter(|name| has(&given, name)) {
        write(&base.join("cgroup.subtree_control"), &format!("+{controller}"))?;
    }
    Ok(base)
}

/// Moves everybody who is in `base` itself into the gateway's leaf, if all of them are the gateway's own.
fn vacate(base: &Utf8Path) -> Result<(), Unkept> {
    let (procs, leaf) = (base.join("cgroup.procs"), base.join(LEAF));
    for _ in 0..ROUNDS {
        let inside = fs_err::read_to_string(&procs).map_err(|error| Unkept::file("read", &procs, &error))?;
        let inside: BTreeSet<u32> = inside.lines().filter_map(|line| line.trim().parse().ok()).collect();
        if inside.is_empty() {
            return Ok(());
        }
        if let Some(other) = inside.iter().find(|pid| !is_own(**pid)) {
            return Err(Unkept(format!(
                "the gateway shares its control group `{base}` with other processes (PID {other}); as a service with `Delegate=yes` it has one of its own"
            )));
        }
        make(&leaf)?;
        for pid in inside {
            // One that has ended meanwhile needs no move.
            if let Err(why) = write(&leaf.join("cgroup.procs"), &pid.to_string())
                && program::parent(pid).is_some()
            {
                return Err(why);
            }
        }
    }
    Err(Unkept(format!("processes keep coming up in the control group `{base}`")))
}

/// Whether a process is this one or descends from it.
fn is_own(pid: u32) -> bool {
    let (mut pid, own) = (pid, std::process::id());
    for _ in 0..64 {
        if pid == own {
            return true;
        }
        match program::parent(pid) {
            Some(parent) if parent > 1 => pid = parent,
            _ => return false,
        }
    }
    false
}

/// The directory of the group of version 2 in which this process is.
fn own_group(mounts: &str, groups: &str) -> Option<Utf8PathBuf> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // Fields behind ` - ` are type, source and options; the fourth and fifth before it are root and place of the mount.
    let place = mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, place) = (fields.next()?, fields.next()?);
        (after.split(' ').next()? == "cgroup2" && root == "/").then(|| place.to_owned())
    })?;
    Some(Utf8PathBuf::from(place).join(path))
}

/// Whether a list of controllers has this one.
fn has(controllers: &str, name: &str) -> bool {
    controllers.split_ascii_whitespace().any(|given| given == name)
}

/// Writes down limits, and takes back what was written before and is not asked for any more.
fn limit(group: &Utf8Path, limits: &ResourceLimits) -> Result<(), Unkept> {
    let ResourceLimits { memory, cpu_permille, tasks } = limits;
    let quota = |permille: u32| u64::from(permille) * u64::from(PERIOD) / 1000;
    let values = [
        ("memory", "memory.high", memory.map(|bytes| slow_from(bytes).to_string())),
        ("memory", "memory.max", memory.map(|bytes| bytes.to_string())),
        ("cpu", "cpu.max", cpu_permille.map(|permille| format!("{} {PERIOD}", quota(permille)))),
        ("pids", "pids.max", tasks.map(|most| most.to_string())),
    ];
    for (controller, file, value) in values {
        let path = group.join(file);
        let there = fs_err::metadata(&path).is_ok();
        match value {
            Some(value) if there => write(&path, &value)?,
            Some(_) => {
                return Err(Unkept(format!(
                    "the gateway's control group is not given the kernel's `{controller}` controller"
                )));
            }
            None if there => write(&path, "max")?,
            None => {}
        }
    }
    let together = group.join("memory.oom.group");
    if memory.is_some() && fs_err::metadata(&together).is_ok() {
        // The worker and what it started end together: one of them alone would leave a worker that is not whole.
        write(&together, "1")?;
    }
    Ok(())
}

/// Where the kernel begins to reclaim a group's memory and to slow it down, of what it may have at most: early enough that one that grows
/// step by step gives caches back first, late enough that nearly all of what was given is of use.
fn slow_from(most: u64) -> u64 {
    most - most / 10
}

fn make(path: &Utf8Path) -> Result<(), Unkept> {
    match fs_err::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(Unkept::file("make", path, &error)),
        _ => Ok(()),
    }
}

fn write(path: &Utf8Path, value: &str) -> Result<(), Unkept> {
    fs_err::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()))
        .map_err(|error| Unkept::file("write", path, &error))
}

/// Processes that the kernel ended in a group for want of memory, so far.
fn kills(group: &Utf8Path) -> u64 {
    let events = fs_err::read_to_string(group.join("memory.events")).unwrap_or_default();
    let count = |line: &str| line.strip_prefix("oom_kill ")?.trim().parse().ok();
    events.lines().find_map(count).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
24 30 0:22 / /sys rw shared:7 - sysfs sysfs rw
30 24 0:26 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate
41 24 0:39 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
";

    #[test]
    fn the_own_group_is_found_where_it_is_mounted() {
        let group = |groups: &str| own_group(MOUNTS, groups).map(Utf8PathBuf::into_string);
        assert_eq!(
            group("0::/user.slice/x.service\n").as_deref(),
            Some("/sys/fs/cgroup/user.slice/x.service")
        );
        assert_eq!(group("9:memory:/a\n0::/\n").as_deref(), Some("/sys/fs/cgroup/"));
        assert_eq!(group("9:memory:/a\n"), None);
        assert_eq!(own_group("41 24 0:39 / /m rw - cgroup cgroup rw\n", "0::/x\n"), None);
        // Where all are mounted side by side it is elsewhere.
        let side = "42 24 0:40 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(own_group(side, "0::/\n").unwrap(), "/sys/fs/cgroup/unified/");
    }

    /// The kernel provides the files; what is written to them is what it understands.
    #[test]
    fn limits_are_written_in_the_kernels_words_and_taken_back() {
        let directory = tempfile::tempdir().unwrap();
        let group = Utf8Path::from_path(directory.path()).unwrap();
        let read = |file: &str| fs_err::read_to_string(group.join(file)).unwrap();
        let all = ResourceLimits { memory: Some(512 << 20), cpu_permille: Some(1500), tasks: Some(99) };
        let missing = limit(group, &all).unwrap_err().to_string();
        assert!(missing.contains("`memory` controller"), "{missing}");
        for file in ["memory.high", "memory.max", "cpu.max", "pids.max", "memory.oom.group"] {
            fs_err::write(group.join(file), "").unwrap();
        }
        limit(group, &all).unwrap();
        assert_eq!(
            ["memory.high", "memory.max", "cpu.max", "pids.max", "memory.oom.group"].map(read),
            ["483183821", "536870912", "150000 100000", "99", "1"]
        );
        for file in ["memory.high", "memory.max", "cpu.max", "pids.max"] {
            fs_err::write(group.join(file), "").unwrap();
        }
        limit(group, &ResourceLimits { tasks: Some(7), ..ResourceLimits::default() }).unwrap();
        let now = ["memory.high", "memory.max", "cpu.max", "pids.max"].map(read);
        assert_eq!(now, ["max", "max", "max", "7"]);
    }

    #[test]
    fn kills_are_counted_from_the_last_process_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(directory.path()).unwrap().to_owned();
        let group = |kills| Group { path: path.clone(), kills };
        assert!(!group(0).has_killed(), "nothing is known");
        fs_err::write(path.join("memory.events"), "low 0\noom 3\noom_kill 2\noom_group_kill 1\n").unwrap();
        assert!(group(1).has_killed() && !group(2).has_killed());
    }

    #[test]
    fn who_is_not_ours_is_left_where_it_is() {
        assert!(is_own(std::process::id()));
        assert!(!is_own(1));
        let nobody = Groups::default();
        let put = nobody.put(&"coder".parse().unwrap(), 1, &ResourceLimits::default());
        assert!(matches!(put, Ok(None)), "without limits nothing is divided");
    }
}
