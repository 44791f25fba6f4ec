//! The fence where there are no namespaces: a list of what may be read and written, which the kernel holds this process and all it starts to.
//!
//! The list is made of what is there at the start: everything beside the way to what is hidden. So what is made later beside that way, a file
//! right in the user's home for instance, is out of reach, and in such a directory nothing new can be made. Names can be listed everywhere;
//! what is hidden cannot be read, written, executed or removed.

use std::collections::BTreeSet;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::cause::chain;
use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

use super::plan::{Plan, Step};

/// Most entries of the directories on the way to what is hidden.
const MOST: usize = 16_384;

/// What the kernel has to know: before, files could be cut, and not be moved at all.
const LEAST: ABI = ABI::V3;
/// What it is asked for, as far as it knows it: connections to sockets by their path only the newest do.
const WANTED: ABI = ABI::V9;

/// Holds this process to what the plan shows.
pub(super) fn restrict(plan: &Plan) -> io::Result<()> {
    let hidden: Vec<&Utf8Path> = plan.hidden().collect();
    let (mut open, mut readable) = (Vec::new(), Vec::new());
    beside(Utf8Path::new("/"), &hidden, &mut open)?;
    for step in &plan.0 {
        match step {
            Step::Keep(path) => beside_within(path, &hidden, &mut open)?,
            Step::See(path) => beside_within(path, &hidden, &mut readable)?,
            _ => {}
        }
    }
    let top = PathFd::new("/").map_err(io::Error::other)?;
    let status = restrict_to(top, &open, &readable);
    give_up_rights()?;
    match status {
        Ok(RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced) => Ok(()),
        Ok(RulesetStatus::NotEnforced) => {
            Err(io::Error::new(io::ErrorKind::Unsupported, "the kernel has no Landlock"))
        }
        Err(error) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("Landlock cannot be used: {}", chain(&error)),
        )),
    }
}

/// Rights of root that lead around the list: to look into any process, to mount, to read disks and files by their numbers.
const RIGHTS: [u32; 8] = [
    2,  // CAP_DAC_READ_SEARCH
    17, // CAP_SYS_RAWIO
    19, // CAP_SYS_PTRACE
    21, // CAP_SYS_ADMIN
    27, // CAP_MKNOD
    38, // CAP_PERFMON
    39, // CAP_BPF
    40, // CAP_CHECKPOINT_RESTORE
];
/// `_LINUX_CAPABILITY_VERSION_3`.
const CAPABILITIES: u32 = 0x2008_0522;

/// Gives them up, for this process and all that it becomes. An ordinary user has none.
#[expect(unsafe_code, reason = "`prctl`, `capget` and `capset` have no safe form")]
fn give_up_rights() -> io::Result<()> {
    for right in RIGHTS {
        // SAFETY: takes a number; one that this kernel does not know is refused, as is who may not do it.
        unsafe { nix::libc::prctl(nix::libc::PR_CAPBSET_DROP, nix::libc::c_ulong::from(right), 0, 0, 0) };
    }
    let mut header = [CAPABILITIES, 0];
    // Effective, permitted, inheritable; the lower halves of all three, then the upper ones.
    let mut sets = [0_u32; 6];
    // SAFETY: both point to as much as this version of the call reads and writes.
    let got = unsafe { nix::libc::syscall(nix::libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) };
    for right in RIGHTS {
        let (half, bit) = (right / 32, right % 32);
        for set in sets.iter_mut().skip(if half == 0 { 0 } else { 3 }).take(3) {
            *set &= !(1 << bit);
        }
    }
    // SAFETY: as above.
    let set = unsafe { nix::libc::syscall(nix::libc::SYS_capset, header.as_mut_ptr(), sets.as_ptr()) };
    if got == 0 && set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn restrict_to(
    top: PathFd,
    open: &[Utf8PathBuf],
    readable: &[Utf8PathBuf],
) -> Result<RulesetStatus, RulesetError> {
    let everything = AccessFs::from_all(WANTED);
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(LEAST))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(everything)?
        .scope(Scope::Signal)?
        .create()?
        .add_rule(PathBeneath::new(top, AccessFs::ReadDir))?
        .add_rules(path_beneath_rules(open, everything))?
        .add_rules(path_beneath_rules(readable, AccessFs::from_read(WANTED)))?;
    Ok(rules.restrict_self()?.ruleset)
}

/// Everything in `dir` that does not lead to something hidden. A link is none: a rule would be for what it leads to.
fn beside(dir: &Utf8Path, hidden: &[&Utf8Path], open: &mut Vec<Utf8PathBuf>) -> io::Result<()> {
    let entries = match dir.read_dir_utf8() {
        Ok(entries) => entries,
        // Others may only pass. What lies beside the way cannot be known, and stays closed.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return beside_further(dir, hidden, open);
        }
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if hidden.contains(&path) || entry.file_type()?.is_symlink() {
            continue;
        }
        if hidden.iter().any(|hidden| hidden.starts_with(path)) {
            beside(path, hidden, open)?;
        } else if open.len() < MOST {
            open.push(path.to_owned());
        } else {
            return Err(io::Error::other(format!("more than {MOST} entries lie beside what is hidden")));
        }
    }
    Ok(())
}

/// The same of what lies on the way behind a directory that cannot be listed.
fn beside_further(dir: &Utf8Path, hidden: &[&Utf8Path], open: &mut Vec<Utf8PathBuf>) -> io::Result<()> {
    let next = hidden
        .iter()
        .filter_map(|hidden| Some(dir.join(hidden.strip_prefix(dir).ok()?.components().next()?)));
    let next: BTreeSet<Utf8PathBuf> = next.filter(|path| !hidden.contains(&path.as_path())).collect();
    next.iter().try_for_each(|path| beside(path, hidden, open))
}

/// The same of a directory that may itself be without anything hidden.
fn beside_within(path: &Utf8Path, hidden: &[&Utf8Path], open: &mut Vec<Utf8PathBuf>) -> io::Result<()> {
    if hidden.iter().any(|hidden| hidden.starts_with(path)) {
        return beside(path, hidden, open);
    }
    open.push(path.to_owned());
    Ok(())
}
