//! Which profiles were stopped on purpose: `gateway_desired.json`, written by the supervisor alone.
//!
//! What was asked for must outlive a restart of the gateway, or a stopped profile would come back by itself.
//!
//! **Beside the marker.** A named profile that is stopped also says so in its own home, by `gateway.parked`, which the Python program
//! knows too (0.21 and later). Where the two disagree, the marker is right: while it is there the profile is not served, whatever
//! this file says; and one that was there when the profile was stopped (`marked`) and is gone was taken away to have the profile
//! served again. Without a marker ever seen, as after a stop by an earlier release or where the home could not be written to, this
//! file alone decides. The default profile has no marker.
//!
//! **A bad file.** A file that cannot
//! be used never stops the gateway, and is never read as an empty one: it stays as it is, is said, and is tried again until it
//! can be read. Until then every profile counts as wanted, and nothing is written over it: where the file cannot be read,
//! nothing can be remembered either; one that is no JSON is set aside by the next command that has something to remember.

use std::collections::BTreeSet;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::disk;
use hermes_host::homes::Parked;
use hermes_wire::absence::{OrAbsent as _, words};
use hermes_wire::latest::{Problem, Severity};
use hermes_wire::{ProfileName, RootHome};
use serde::{Deserialize, Serialize};

/// Version of the file.
const SCHEMA: u32 = 1;
/// Largest file that is read.
const MAX_LEN: usize = 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct File {
    schema: u32,
    #[serde(default)]
    stopped: Vec<String>,
    /// Those of them whose homes had the marker when they were stopped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    marked: Vec<String>,
}

/// What was asked for. Everything that is not stopped is meant to run.
#[derive(Debug)]
pub struct Desired {
    path: Utf8PathBuf,
    stopped: BTreeSet<ProfileName>,
    marked: BTreeSet<ProfileName>,
    /// A newer release wrote the file: it is read, never written over.
    newer: Option<u32>,
    /// What is wrong with the file.
    trouble: Option<DesiredWarning>,
}

/// Why a profile is not to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Its home says so, or nobody can see whether it does.
    Parked,
    /// It was stopped, as is remembered.
    Stopped,
}

/// The file exists and cannot be used as it is. The gateway starts regardless.
#[derive(Debug, thiserror::Error)]
pub enum DesiredWarning {
    /// It cannot be read.
    #[error("what was stopped on purpose is not known, every profile counts as wanted: {}", words(why))]
    Unreadable {
        /// Why not.
        why: io::Error,
    },
    /// Not what it should be.
    #[error("what was stopped on purpose is not known, every profile counts as wanted: {why}")]
    Invalid {
        /// What is wrong.
        why: serde_json::Error,
    },
    /// Entries that are not profile names were skipped.
    #[error("{count} entries that are not profile names are ignored")]
    Names {
        /// How many.
        count: usize,
    },
}

/// What was asked for could not be remembered.
#[derive(Debug, thiserror::Error)]
pub enum DesiredError {
    /// The file system refused.
    #[error("cannot write `{path}`")]
    Write {
        /// The file.
        path: Utf8PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It cannot be read, so writing it would lose what it says.
    #[error("`{path}` cannot be read ({why}), and what it says must not be lost")]
    Unread {
        /// The file.
        path: Utf8PathBuf,
        /// Why not.
        why: String,
    },
    /// Written by a newer release, whose contents this one could lose.
    #[error("`{path}` has version {version}, written by a newer release; this one does not change it")]
    Newer {
        /// The file.
        path: Utf8PathBuf,
        /// Its version.
        version: u32,
    },
}

impl Desired {
    /// Reads the file of `root` and changes nothing.
    pub fn load(root: &RootHome) -> Self {
        let path = root.desired_state();
        let mut desired =
            Self { path, stopped: BTreeSet::new(), marked: BTreeSet::new(), newer: None, trouble: None };
        desired.read();
        desired
    }

    fn read(&mut self) {
        self.trouble = None;
        let bytes = match disk::read_bounded(&self.path, MAX_LEN).or_absent() {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return,
            Err(why) => return self.trouble = Some(DesiredWarning::Unreadable { why }),
        };
        let file: File = match serde_json::from_slice(&bytes) {
            Ok(file) => file,
            Err(why) => return self.trouble = Some(DesiredWarning::Invalid { why }),
        };
        self.newer = (file.schema > SCHEMA).then_some(file.schema);
        let listed = file.stopped.len();
        self.stopped = file.stopped.into_iter().filter_map(|name| name.parse().ok()).collect();
        self.marked = file.marked.into_iter().filter_map(|name| name.parse().ok()).collect();
        let count = listed - self.stopped.len().min(listed);
        self.trouble = (count > 0).then_some(DesiredWarning::Names { count });
    }

    /// What is wrong with the file.
    pub fn trouble(&self) -> Option<&DesiredWarning> {
        self.trouble.as_ref()
    }

    /// Whether what the file says is still to be found out.
    pub fn is_unknown(&self) -> bool {
        matches!(self.trouble, Some(DesiredWarning::Unreadable { .. } | DesiredWarning::Invalid { .. }))
    }

    /// The same for status.
    pub fn problem(&self) -> Option<Problem> {
        let trouble = self.trouble.as_ref()?;
        let unknown = self.is_unknown();
        let fix = if unknown {
            "repair the file; it is read again by itself, and kept as it is until then"
        } else {
            "remove those entries"
        };
        Some(Problem {
            severity: if unknown { Severity::Profile } else { Severity::Warning },
            code: "desired_state".to_owned(),
            platform: None,
            file: self.path.to_string(),
            line: None,
            column: None,
            key: None,
            message: trouble.to_string(),
            fix: Some(fix.to_owned()),
        })
    }

    /// Reads the file again where it could not be used. Whether it can be now.
    pub fn retry(&mut self) -> bool {
        if !self.is_unknown() {
            return false;
        }
        self.read();
        !self.is_unknown()
    }

    /// Why `name` is not to run, given what its home says; nothing where it is to. The one judge of record and marker.
    pub fn rest(&self, name: &ProfileName, home: Parked) -> Option<Rest> {
        match home {
            Parked::Yes | Parked::Unknown => Some(Rest::Parked),
            Parked::No if self.is_marked(name) => None,
            Parked::No => self.is_stopped(name).then_some(Rest::Stopped),
        }
    }

    /// Whether the home of `name` had the marker when it was stopped.
    pub fn is_marked(&self, name: &ProfileName) -> bool {
        self.stopped.contains(name) && self.marked.contains(name)
    }

    /// Whether `name` was stopped on purpose.
    pub fn is_stopped(&self, name: &ProfileName) -> bool {
        self.stopped.contains(name)
    }

    /// The profiles that were stopped on purpose, by name.
    pub fn stopped(&self) -> impl Iterator<Item = &ProfileName> {
        self.stopped.iter()
    }

    /// Remembers that `name` is stopped, or wanted again. When this returns without an error it survives a power loss; with
    /// one, memory and file are as before.
    pub fn set_stopped(&mut self, name: &ProfileName, stopped: bool) -> Result<(), DesiredError> {
        self.set(name, stopped, false)
    }

    /// The same of one that is stopped and whose home has the marker.
    pub fn set_parked(&mut self, name: &ProfileName) -> Result<(), DesiredError> {
        self.set(name, true, true)
    }

    /// What is remembered of `from` is remembered of `to` instead.
    pub fn rename(&mut self, from: &ProfileName, to: &ProfileName) -> Result<(), DesiredError> {
        if !self.is_stopped(from) {
            return Ok(());
        }
        self.set(to, true, self.is_marked(from))?;
        self.set(from, false, false)
    }

    fn set(&mut self, name: &ProfileName, stopped: bool, marked: bool) -> Result<(), DesiredError> {
        self.retry();
        if let Some(DesiredWarning::Unreadable { why }) = &self.trouble {
            return Err(DesiredError::Unread { path: self.path.clone(), why: words(why) });
        }
        let before = (self.stopped.clone(), self.marked.clone());
        for (names, wanted) in [(&mut self.stopped, stopped), (&mut self.marked, marked)] {
            if wanted {
                names.insert(name.clone());
            } else {
                names.remove(name);
            }
        }
        if before.0 == self.stopped && before.1 == self.marked {
            return Ok(());
        }
        self.save().inspect_err(|_| (self.stopped, self.marked) = before)
    }

    fn save(&mut self) -> Result<(), DesiredError> {
        if let Some(version) = self.newer {
            return Err(DesiredError::Newer { path: self.path.clone(), version });
        }
        if self.is_unknown() {
            let aside = set_aside(&self.path)
                .map_err(|source| DesiredError::Write { path: self.path.clone(), source })?;
            tracing::warn!(path = %self.path, %aside, "the file that could not be read was set aside");
            self.trouble = None;
        }
        let list = |names: &BTreeSet<ProfileName>| names.iter().map(ToString::to_string).collect();
        let file = File { schema: SCHEMA, stopped: list(&self.stopped), marked: list(&self.marked) };
        let text = serde_json::to_vec(&file).expect("strings and integers always serialise");
        disk::write_atomic(&self.path, &text, true)
            .map_err(|source| DesiredError::Write { path: self.path.clone(), source })
    }
}

/// Renames a bad file so that it is neither lost nor in the way. Returns where it is now.
fn set_aside(path: &Utf8Path) -> io::Result<Utf8PathBuf> {
    for n in 0..100 {
        let aside = Utf8PathBuf::from(if n == 0 { format!("{path}.bad") } else { format!("{path}.bad.{n}") });
        if fs_err::symlink_metadata(&aside).or_absent()?.is_none() {
            return fs_err::rename(path, &aside).map(|()| aside);
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "there are too many bad ones already"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (tempfile::TempDir, RootHome) {
        let dir = tempfile::tempdir().unwrap();
        let root = RootHome::new(Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap());
        (dir, root)
    }

    #[test]
    fn what_was_stopped_stays_stopped_until_started() {
        let (_dir, root) = root();
        let coder: ProfileName = "coder".parse().unwrap();
        let mut desired = Desired::load(&root);
        assert!(desired.trouble().is_none() && !desired.is_stopped(&coder));
        desired.set_stopped(&coder, true).unwrap();
        assert!(Desired::load(&root).is_stopped(&coder));
        assert_eq!(
            fs_err::read_to_string(root.desired_state()).unwrap(),
            r#"{"schema":1,"stopped":["coder"]}"#
        );
        desired.set_stopped(&coder, false).unwrap();
        assert!(!Desired::load(&root).is_stopped(&coder));
    }

    /// A marker that was seen is remembered, so that one that is gone later is known to have been taken away.
    #[test]
    fn a_stop_with_a_marker_is_remembered_as_such() {
        let (_dir, root) = root();
        let (coder, ops): (ProfileName, ProfileName) = ("coder".parse().unwrap(), "ops".parse().unwrap());
        let mut desired = Desired::load(&root);
        desired.set_parked(&coder).unwrap();
        desired.set_stopped(&ops, true).unwrap();
        let sample = include_str!("../tests/golden/desired-1-marked.json");
        assert_eq!(fs_err::read_to_string(root.desired_state()).unwrap(), sample);
        let mut desired = Desired::load(&root);
        assert!(desired.is_stopped(&coder) && desired.is_marked(&coder));
        assert!(desired.is_stopped(&ops) && !desired.is_marked(&ops));
        let docs: ProfileName = "docs".parse().unwrap();
        let rests = |home| [&coder, &ops, &docs].map(|name| desired.rest(name, home));
        assert_eq!(rests(Parked::Yes), [Some(Rest::Parked); 3]);
        assert_eq!(rests(Parked::Unknown), [Some(Rest::Parked); 3], "what cannot be seen is not `no`");
        assert_eq!(rests(Parked::No), [None, Some(Rest::Stopped), None]);
        desired.set_stopped(&coder, false).unwrap();
        let desired = Desired::load(&root);
        assert!(!desired.is_stopped(&coder) && !desired.is_marked(&coder) && desired.is_stopped(&ops));
    }

    /// Every shape that the file ever had; the newest is what is written.
    #[test]
    fn files_of_earlier_releases_are_read() {
        let (_dir, root) = root();
        let sample = include_str!("../tests/golden/desired-1.json");
        fs_err::write(root.desired_state(), sample).unwrap();
        let mut desired = Desired::load(&root);
        let (coder, ops): (ProfileName, ProfileName) = ("coder".parse().unwrap(), "ops".parse().unwrap());
        assert!(desired.trouble().is_none() && desired.is_stopped(&coder) && desired.is_stopped(&ops));
        desired.set_stopped(&ops, false).unwrap();
        desired.set_stopped(&ops, true).unwrap();
        assert_eq!(fs_err::read_to_string(root.desired_state()).unwrap(), sample);
    }

    /// 9: a file that is no JSON is no empty list: it stays until somebody mends it, or asks for something.
    #[test]
    fn a_bad_file_is_kept_and_said_and_read_again() {
        let (_dir, root) = root();
        let (coder, ops): (ProfileName, ProfileName) = ("coder".parse().unwrap(), "ops".parse().unwrap());
        fs_err::write(root.desired_state(), "{oops").unwrap();
        let mut desired = Desired::load(&root);
        assert!(desired.is_unknown() && !desired.retry());
        let problem = desired.problem().unwrap();
        assert_eq!((problem.severity, problem.file), (Severity::Profile, root.desired_state().to_string()));
        assert_eq!(fs_err::read_to_string(root.desired_state()).unwrap(), "{oops");

        fs_err::write(root.desired_state(), r#"{"schema":1,"stopped":["coder"]}"#).unwrap();
        assert!(desired.retry() && desired.is_stopped(&coder) && desired.problem().is_none());

        fs_err::write(root.desired_state(), "{again").unwrap();
        let mut desired = Desired::load(&root);
        desired.set_stopped(&ops, true).unwrap();
        assert!(Desired::load(&root).is_stopped(&ops) && !desired.is_unknown());
        let aside = format!("{}.bad", root.desired_state());
        assert_eq!(fs_err::read_to_string(aside).unwrap(), "{again");
    }

    /// 9: what cannot be read is not written over either.
    #[test]
    fn an_unreadable_file_is_never_overwritten() {
        let (_dir, root) = root();
        let coder: ProfileName = "coder".parse().unwrap();
        fs_err::create_dir(root.desired_state()).unwrap();
        let mut desired = Desired::load(&root);
        assert!(desired.is_unknown());
        assert!(matches!(desired.set_stopped(&coder, true), Err(DesiredError::Unread { .. })));
        assert!(root.desired_state().is_dir() && !desired.is_stopped(&coder));
        fs_err::remove_dir(root.desired_state()).unwrap();
        desired.set_stopped(&coder, true).unwrap();
        assert!(Desired::load(&root).is_stopped(&coder));
    }

    #[test]
    fn a_newer_file_is_read_and_never_written_over() {
        let (_dir, root) = root();
        let newer = r#"{"schema":9,"stopped":["coder","Bad Name"],"more":1}"#;
        fs_err::write(root.desired_state(), newer).unwrap();
        let mut desired = Desired::load(&root);
        assert!(matches!(desired.trouble(), Some(DesiredWarning::Names { count: 1 })));
        let coder: ProfileName = "coder".parse().unwrap();
        assert!(desired.is_stopped(&coder));
        assert!(matches!(desired.set_stopped(&coder, false), Err(DesiredError::Newer { version: 9, .. })));
        assert!(desired.is_stopped(&coder), "unchanged in memory too");
        assert_eq!(fs_err::read_to_string(root.desired_state()).unwrap(), newer);
    }
}
