//! Which profiles were stopped on purpose: `gateway_desired.json`, written by the supervisor alone.
//!
//! What was asked for must outlive a restart of the gateway, or a stopped profile would come back by itself. A file that cannot
//! be read never stops the gateway: it counts as empty, is set aside under another name and is reported once.

use std::collections::BTreeSet;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_protocol::{ProfileName, RootHome};
use serde::{Deserialize, Serialize};

use crate::disk;

/// Version of the file.
const SCHEMA: u32 = 1;
/// Largest file that is read.
const MAX_LEN: usize = 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct File {
    schema: u32,
    #[serde(default)]
    stopped: Vec<String>,
}

/// What was asked for. Everything that is not stopped is meant to run.
#[derive(Debug)]
pub struct Desired {
    path: Utf8PathBuf,
    stopped: BTreeSet<ProfileName>,
    /// A newer release wrote the file: it is read, never written over.
    newer: Option<u32>,
}

/// The file exists and cannot be used as it is. The gateway starts regardless.
#[derive(Debug, thiserror::Error)]
pub enum DesiredWarning {
    /// Unreadable; the file was left where it is.
    #[error("cannot read `{path}`; every profile counts as wanted")]
    Unreadable {
        /// The file.
        path: Utf8PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Not what it should be; the file was set aside.
    #[error("`{path}` is not valid and was kept as `{aside}`; every profile counts as wanted")]
    Invalid {
        /// The file.
        path: Utf8PathBuf,
        /// Where it is now.
        aside: Utf8PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// Entries that are not profile names were skipped.
    #[error("`{path}` lists {count} entries that are not profile names; they are ignored")]
    Names {
        /// The file.
        path: Utf8PathBuf,
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
    /// Reads the file of `root`. A missing one is empty; so is one that cannot be used, with a warning.
    pub fn load(root: &RootHome) -> (Self, Option<DesiredWarning>) {
        let path = root.desired_state();
        let mut desired = Self { path: path.clone(), stopped: BTreeSet::new(), newer: None };
        let bytes = match disk::read_bounded(&path, MAX_LEN) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return (desired, None),
            Err(source) => return (desired, Some(DesiredWarning::Unreadable { path, source })),
        };
        let file: File = match serde_json::from_slice(&bytes) {
            Ok(file) => file,
            Err(source) => {
                let aside = set_aside(&path);
                return (desired, Some(DesiredWarning::Invalid { path, aside, source }));
            }
        };
        desired.newer = (file.schema > SCHEMA).then_some(file.schema);
        let listed = file.stopped.len();
        desired.stopped = file.stopped.into_iter().filter_map(|name| name.parse().ok()).collect();
        let count = listed - desired.stopped.len().min(listed);
        let warning = (count > 0).then_some(DesiredWarning::Names { path, count });
        (desired, warning)
    }

    /// Reads the file of `root` for somebody who only looks: whatever is wrong with it, it stays as it is.
    pub fn peek(root: &RootHome) -> Self {
        let path = root.desired_state();
        let file: Option<File> =
            disk::read_bounded(&path, MAX_LEN).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let listed = file.map(|f| f.stopped).unwrap_or_default();
        let stopped = listed.into_iter().filter_map(|name| name.parse().ok()).collect();
        Self { path, stopped, newer: None }
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
        let changed = if stopped { self.stopped.insert(name.clone()) } else { self.stopped.remove(name) };
        if !changed {
            return Ok(());
        }
        self.save().inspect_err(|_| {
            if stopped {
                self.stopped.remove(name);
            } else {
                self.stopped.insert(name.clone());
            }
        })
    }

    fn save(&self) -> Result<(), DesiredError> {
        if let Some(version) = self.newer {
            return Err(DesiredError::Newer { path: self.path.clone(), version });
        }
        let file = File { schema: SCHEMA, stopped: self.stopped.iter().map(ToString::to_string).collect() };
        let text = serde_json::to_vec(&file).expect("strings and integers always serialise");
        disk::write_atomic(&self.path, &text, true)
            .map_err(|source| DesiredError::Write { path: self.path.clone(), source })
    }
}

/// Renames a bad file so that it is neither lost nor in the way. Returns where it is now.
fn set_aside(path: &Utf8Path) -> Utf8PathBuf {
    for n in 0..100 {
        let aside = Utf8PathBuf::from(if n == 0 { format!("{path}.bad") } else { format!("{path}.bad.{n}") });
        if fs_err::symlink_metadata(&aside).is_err() && fs_err::rename(path, &aside).is_ok() {
            return aside;
        }
    }
    path.to_owned()
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
        let (mut desired, warning) = Desired::load(&root);
        assert!(warning.is_none() && !desired.is_stopped(&coder));
        desired.set_stopped(&coder, true).unwrap();
        assert!(Desired::load(&root).0.is_stopped(&coder));
        assert_eq!(
            fs_err::read_to_string(root.desired_state()).unwrap(),
            r#"{"schema":1,"stopped":["coder"]}"#
        );
        desired.set_stopped(&coder, false).unwrap();
        assert!(!Desired::load(&root).0.is_stopped(&coder));
    }

    #[test]
    fn a_bad_file_counts_as_empty_and_is_kept() {
        let (_dir, root) = root();
        fs_err::write(root.desired_state(), "{oops").unwrap();
        let (mut desired, warning) = Desired::load(&root);
        let Some(DesiredWarning::Invalid { aside, .. }) = warning else { panic!("must warn") };
        assert_eq!(fs_err::read_to_string(aside).unwrap(), "{oops");
        desired.set_stopped(&"coder".parse().unwrap(), true).unwrap();
    }

    #[test]
    fn a_newer_file_is_read_and_never_written_over() {
        let (_dir, root) = root();
        let newer = r#"{"schema":9,"stopped":["coder","Bad Name"],"more":1}"#;
        fs_err::write(root.desired_state(), newer).unwrap();
        let (mut desired, warning) = Desired::load(&root);
        assert!(matches!(warning, Some(DesiredWarning::Names { count: 1, .. })));
        let coder: ProfileName = "coder".parse().unwrap();
        assert!(desired.is_stopped(&coder));
        assert!(matches!(desired.set_stopped(&coder, false), Err(DesiredError::Newer { version: 9, .. })));
        assert!(desired.is_stopped(&coder), "unchanged in memory too");
        assert_eq!(fs_err::read_to_string(root.desired_state()).unwrap(), newer);
    }
}
