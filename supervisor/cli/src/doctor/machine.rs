//! What the system gives: room on the disk, open files, notifications, a private directory for sockets.

use std::os::unix::fs::MetadataExt as _;

use hermes_gateway::descriptors::{Files, Wanted};
use hermes_gateway::runtime;
use nix::sys::statvfs::statvfs;

use super::{Finding, Grade, Patient, Repair, Section};

/// Below this a database may not be able to commit, in bytes.
const DISK_FAILURE: u64 = 100 << 20;
/// Below this somebody should clean up, in bytes.
const DISK_WARNING: u64 = 1 << 30;
/// Connections that should fit at least, all profiles together.
const CONNECTIONS: u32 = 1024;

pub(super) fn check(patient: &Patient<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !patient.root.path().is_dir() {
        let message = format!("there is no home yet at {}", patient.root.path());
        let next = "`hermes profile create NAME` or `hermes gateway run` makes it";
        findings.push(finding(Grade::Warning, "no_home", message).next(next));
        return findings;
    }
    findings.extend(disk(patient));
    for file in crate::settings::in_force(patient.env) {
        let message =
            "an administrator's file is in force: what it sets wins over every profile's".to_owned();
        findings.push(finding(Grade::Good, "managed_file", message).at(file));
    }
    findings.extend(descriptors(patient.homes.names().count()));
    findings.extend(runtime_directory(patient));
    findings
}

fn finding(grade: Grade, code: &'static str, message: impl Into<String>) -> Finding {
    Finding::new(Section::Machine, grade, code, message)
}

fn disk(patient: &Patient<'_>) -> Option<Finding> {
    let root = patient.root.path();
    let disk = statvfs(root.as_std_path()).ok()?;
    let free = number(disk.blocks_available()) * number(disk.fragment_size());
    let free_space = format!("{} free on the disk of {root}", size(free));
    let grade = match free {
        0..DISK_FAILURE => Grade::Failure,
        DISK_FAILURE..DISK_WARNING => Grade::Warning,
        _ => Grade::Good,
    };
    let shown = finding(grade, "disk_space", free_space);
    Some(if grade == Grade::Good {
        shown
    } else {
        shown.next(
            "free some room: with a full disk webhooks are answered with 503 and nothing new is accepted",
        )
    })
}

/// What `statvfs` counts in is narrower on some systems.
fn number(n: impl Into<u64>) -> u64 {
    n.into()
}

/// A number of bytes for people.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{} kB", bytes >> 10),
        0x10_0000..0x4000_0000 => format!("{} MB", bytes >> 20),
        _ => format!("{} GB", bytes >> 30),
    }
}

/// The same rule as at a start.
fn descriptors(profiles: usize) -> Option<Finding> {
    let files = Files::raised()?;
    let limit = files.limit();
    let wanted = Wanted { profiles, listeners: 2, connections: CONNECTIONS };
    Some(match files.connections(wanted) {
        Ok(CONNECTIONS..) => finding(Grade::Good, "descriptor_limit", format!("up to {limit} open files")),
        Ok(fit) => {
            let message =
                format!("at most {limit} open files: with {profiles} profiles {fit} client connections fit");
            finding(Grade::Warning, "descriptor_limit", message)
                .next("raise it: `ulimit -Hn 65536`, or LimitNOFILE=65536 in the unit")
        }
        Err(few) => finding(Grade::Failure, "descriptor_limit", few.to_string()).next(few.hint()),
    })
}

fn runtime_directory(patient: &Patient<'_>) -> Vec<Finding> {
    let places = patient.env.sockets.of(patient.root.path());
    let mut findings = Vec::new();
    let mut usable = None;
    for (n, place) in places.iter().enumerate() {
        let Some(objection) = runtime::objection(place) else {
            usable = Some(place);
            break;
        };
        let last = n + 1 == places.len();
        let message = format!("sockets cannot be in {}: {objection}", place.path());
        let next = "set XDG_RUNTIME_DIR to a directory that only you can write to";
        let grade = if last { Grade::Failure } else { Grade::Warning };
        findings.push(finding(grade, "runtime_dir", message).next(next));
    }
    let Some(directory) = usable else { return findings };
    let Ok(meta) = fs_err::metadata(directory.path()) else { return findings };
    if meta.mode() & 0o077 != 0 {
        let message = format!("{} is open to other users (mode {:o})", directory.path(), meta.mode() & 0o777);
        let repair = Repair::Mode(directory.path().to_owned(), hermes_wire::endpoint::DIR_MODE);
        findings.push(
            finding(Grade::Failure, "runtime_dir", message)
                .next(format!("chmod 700 {}", directory.path()))
                .repair(repair),
        );
    }
    findings
}
