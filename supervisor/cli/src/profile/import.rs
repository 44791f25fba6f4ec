//! Makes a profile from an archive that anybody may have made.
//!
//! Everything is unpacked into a hidden place, put in order there, and published by one rename; an archive that is refused, a
//! full disk or an interruption leaves nothing. What belongs to another process, machine or identity is dropped by the table that
//! exporting uses. Jobs come in paused, because somebody else set their time.

mod prepare;
mod unpacked;

use std::collections::BTreeMap;
use std::io::{self, Read};

use camino::Utf8Path;
use hermes_wire::{ProfileHome, ProfileName, RootHome};

pub(crate) use self::prepare::Prepared;
use self::unpacked::Unpacked;
use super::entries::{BROUGHT, is_imported};
use super::error::ProfileError;
use super::export::WITH_HISTORY;
use super::skeleton;
use super::staging::{Staging, is_taken};
use crate::archive::{self, ArchiveError, Kind, Limits, Member, Pipelined, Summary, printable};

/// What to make.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) root: &'a RootHome,
    /// As typed.
    pub(crate) archive: &'a Utf8Path,
    /// Where that is.
    pub(crate) file: &'a Utf8Path,
    /// The name here, unless the one in the archive is taken.
    pub(crate) name: Option<&'a ProfileName>,
}

/// What was made.
#[derive(Debug)]
pub(crate) struct Imported {
    pub(crate) name: ProfileName,
    pub(crate) home: ProfileHome,
    /// Files, directories and links that came in.
    pub(crate) entries: u64,
    /// What was dropped: how many entries below which name at the top.
    pub(crate) dropped: BTreeMap<String, u64>,
    /// Whether sessions and databases came in.
    pub(crate) history: bool,
    pub(crate) prepared: Prepared,
}

/// Makes it. `progress` is told the bytes written so far and answers whether to go on.
pub(crate) fn import(
    plan: &Plan<'_>,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<Imported, ProfileError> {
    let not_one = |e: ArchiveError| match e {
        ArchiveError::NotAnArchive(_) | ArchiveError::Input(_) => {
            ProfileError::NotAnArchive { path: plan.archive.to_owned(), source: e }
        }
        other => other.into(),
    };
    let file = open(plan).map_err(|e| match e {
        ProfileError::Archive(e) => not_one(e),
        other => other,
    })?;
    if let Some(name) = plan.name {
        free(plan.root, name)?;
    }
    let decoded = archive::decode(file, Limits::IMPORT).map_err(not_one)?;
    let mut unpacking =
        Unpacking { plan, into: None, root: None, entries: 0, dropped: BTreeMap::new(), progress };
    let read = std::thread::scope(|scope| {
        let stream = Pipelined::new(scope, decoded).map_err(ProfileError::io("read", plan.archive))?;
        archive::read(stream, Limits::IMPORT, &mut |member, summary, content| {
            unpacking.member(member, summary, content)
        })
    });
    let summary = read.map_err(|e| match e {
        ProfileError::Archive(e) => not_one(e),
        other => other,
    })?;
    let Unpacking { into: Some((name, staging, _)), entries, dropped, progress, .. } = unpacking else {
        return Err(if plan.name.is_some() { ProfileError::ManyRoots } else { ProfileError::NoName });
    };
    let mut prepared = prepare::prepare(plan.root, &name, staging.path())?;
    skeleton::seed(staging.path()).map_err(ProfileError::io("write", staging.path()))?;
    prepared.look(staging.path());
    if !progress(u64::MAX) {
        return Err(ProfileError::Interrupted);
    }
    let home = staging.publish(plan.root, &name).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => exists(plan.root, &name),
        _ => ProfileError::io("publish", plan.root.profile(&name).path())(e),
    })?;
    Ok(Imported { name, home, entries, dropped, history: has_history(&summary), prepared })
}

fn has_history(summary: &Summary) -> bool {
    summary.comment.as_deref() == Some(WITH_HISTORY)
}

/// Opens the archive, which must be a regular file: nothing else has an end that can be relied on.
fn open(plan: &Plan<'_>) -> Result<std::fs::File, ProfileError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC;
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(plan.file);
    let file = opened.map_err(|e| match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            ProfileError::ArchiveMissing(plan.archive.to_owned())
        }
        _ => ProfileError::io("read", plan.archive)(e),
    })?;
    let regular = file.metadata().is_ok_and(|meta| meta.is_file());
    if regular {
        return Ok(file);
    }
    Err(ArchiveError::NotAnArchive("it is not a regular file".to_owned()).into())
}

fn exists(root: &RootHome, name: &ProfileName) -> ProfileError {
    ProfileError::Exists { name: name.to_string(), path: root.profile(name).path().to_owned() }
}

/// Refuses a name that cannot be imported to.
fn free(root: &RootHome, name: &ProfileName) -> Result<(), ProfileError> {
    if name.is_default() {
        return Err(ProfileError::ImportDefault);
    }
    // What cannot be looked at is found out when the profile gets its name.
    if is_taken(root, name).unwrap_or(false) { Err(exists(root, name)) } else { Ok(()) }
}

/// The unpacking of one archive.
struct Unpacking<'a> {
    plan: &'a Plan<'a>,
    /// From the first member below a top directory on.
    into: Option<(ProfileName, Staging, Unpacked)>,
    /// The top directory.
    root: Option<String>,
    entries: u64,
    dropped: BTreeMap<String, u64>,
    progress: &'a mut dyn FnMut(u64) -> bool,
}

impl Unpacking<'_> {
    fn member(
        &mut self,
        member: &Member,
        summary: &Summary,
        content: &mut dyn Read,
    ) -> Result<(), ProfileError> {
        let mut names = member.path.components();
        let top = names.next().map(|c| c.as_str()).unwrap_or_default();
        let path = names.as_path();
        if path.as_str().is_empty() && member.kind == Kind::File {
            // A file beside the profile: a note of whoever packed it.
            *self.dropped.entry(top.to_owned()).or_default() += 1;
            return Ok(());
        }
        if self.root.as_deref() != Some(top) {
            self.top(top)?;
        }
        let Some((name, _, place)) = &mut self.into else { return Ok(()) };
        if path.as_str().is_empty() {
            return Ok(());
        }
        // A link in place of one of these would be written through by whoever changes it.
        let linked = matches!(member.kind, Kind::Link(_))
            && BROUGHT.iter().chain(&["config.yaml", "SOUL.md"]).any(|n| path == *n);
        if linked || !is_imported(path, has_history(summary)) {
            let first = path.components().next().map(|c| c.as_str()).unwrap_or_default();
            *self.dropped.entry(printable(first.as_bytes())).or_default() += 1;
            return Ok(());
        }
        let target = self.plan.root.profile(name).path().join(path);
        let written = place.add(path, member, content, &mut |bytes| (self.progress)(bytes));
        match written {
            Ok(()) => {
                self.entries += 1;
                Ok(())
            }
            Err(unpacked::Failure::Stopped) => Err(ProfileError::Interrupted),
            Err(unpacked::Failure::Read(e)) => Err(ArchiveError::from(e).into()),
            Err(unpacked::Failure::Write(e)) if e.kind() == io::ErrorKind::AlreadyExists => {
                // Names that differ only in their case, where the file system does not tell them apart.
                Err(ArchiveError::Duplicate(printable(member.path.as_str().as_bytes())).into())
            }
            Err(unpacked::Failure::Write(e)) => Err(ProfileError::io("write", target)(e)),
        }
    }

    /// The first top directory gives the name, another one is refused.
    fn top(&mut self, top: &str) -> Result<(), ProfileError> {
        if self.root.is_some() {
            return Err(if self.plan.name.is_some() {
                ProfileError::ManyRoots
            } else {
                ProfileError::NoName
            });
        }
        let name = match self.plan.name {
            Some(name) => name.clone(),
            None => ProfileName::from_user_input(top)?,
        };
        free(self.plan.root, &name)?;
        let staging = Staging::begin(self.plan.root, &name)
            .map_err(ProfileError::io("make", self.plan.root.profiles()))?;
        let place = Unpacked::new(staging.path());
        self.root = Some(top.to_owned());
        self.into = Some((name, staging, place));
        Ok(())
    }
}
