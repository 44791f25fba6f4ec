//! The two files: `runtime_status.json`, and the same bytes as `gateway_state.json`. The second is a gateway's: in the home of a gateway's
//! own profile its supervisor writes it, about all profiles, and the worker does not touch it.
//!
//! A reader sees a whole file at every instant: temp file in the same directory, sync, rename; the second name is a hard link to
//! the first. A link in place of a file is followed, its target replaced. A record of a newer release is never overwritten, nor
//! is anything that is no plain file.
//!
//! While a swap is under way two processes of one profile live. The record then belongs to the one that serves: the newcomer
//! takes it with `running`, and whoever finds a later process's record there stays silent from then on. Looking and writing are
//! one step under a lock on the home directory.

use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::file;
use hermes_wire::ProfileHome;
use hermes_wire::contract::runtime_status::{MAX_LEN, RuntimeStatus, SCHEMA};
use nix::fcntl::{Flock, FlockArg};

use super::State;
use crate::process;
use crate::store::Owner;

/// Mode of a new file.
const MODE: u32 = 0o600;

/// Why the status files were not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StatusError {
    /// Written by a release that knows more than this one.
    #[error("`{path}` was written by a newer release (schema {found}); it is left alone")]
    Newer {
        /// The file.
        path: Utf8PathBuf,
        /// Its schema.
        found: u32,
    },
    /// A directory, a FIFO, …
    #[error("`{path}` is not a regular file; it is left alone")]
    Foreign {
        /// The path.
        path: Utf8PathBuf,
    },
    /// The file system refused.
    #[error("cannot write `{path}`")]
    Io {
        /// The file.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The two files of one home, written by this process.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    home: ProfileHome,
    /// Somebody else writes `gateway_state.json`.
    one: bool,
}

impl Files {
    pub(crate) fn new(home: ProfileHome) -> Self {
        Self { home, one: false }
    }

    /// Those of a home in which a supervisor writes about its gateway.
    pub(crate) fn beside_a_gateways(home: ProfileHome) -> Self {
        Self { home, one: true }
    }

    /// Whose files they are.
    pub(super) fn home(&self) -> &ProfileHome {
        &self.home
    }

    /// Writes `status`, unless the record belongs to another process. Blocks.
    pub(crate) fn write(&self, status: &RuntimeStatus) -> Result<(), StatusError> {
        let _lock = self.lock();
        let runtime = resolve(&self.home.runtime_status())?;
        let gateway = if self.one { None } else { Some(resolve(&self.home.gateway_state())?) };
        for path in [Some(&runtime), gateway.as_ref()].into_iter().flatten() {
            if let Some(found) = read(path)? {
                if let Some(found) = found.schema.filter(|found| *found > SCHEMA) {
                    return Err(StatusError::Newer { path: path.clone(), found });
                }
                if belongs_to_another(&found, status) {
                    return Ok(());
                }
            }
        }
        // A power cut after `starting` leaves a file about a process that is gone either way: not worth a sync in a start.
        let sync = status.gateway_state.as_deref() != Some(State::Starting.as_str());
        let bytes = status.write();
        let temp = write_temp(&runtime, &bytes, sync)?;
        let Some(gateway) = gateway else { return rename(&temp, &runtime) };
        let second = sibling(&gateway);
        let _ = fs_err::remove_file(&second);
        if fs_err::hard_link(&temp, &second).is_err() {
            // Another file system, or one without links.
            write_temp(&gateway, &bytes, sync)?;
        }
        rename(&temp, &runtime)?;
        rename(&second, &gateway)
    }

    /// Held while looking and writing; without it (a home that cannot be opened) writing fails by itself.
    fn lock(&self) -> Option<Flock<std::fs::File>> {
        let dir = fs_err::File::open(self.home.path()).ok()?.into_file();
        Flock::lock(dir, FlockArg::LockExclusive).ok()
    }
}

/// Whether `found` is the record of another living process that has the better claim: a later one always has, an earlier one as
/// long as it serves and we do not.
fn belongs_to_another(found: &RuntimeStatus, ours: &RuntimeStatus) -> bool {
    let (Some(pid), Some(start_time)) = (found.pid.filter(|pid| Some(*pid) != ours.pid), found.start_time)
    else {
        return false;
    };
    if !(Owner { pid, start_time }).is_alive() {
        return false;
    }
    let serves =
        |status: &RuntimeStatus| matches!(status.gateway_state.as_deref(), Some("running" | "degraded"));
    let is_later = (found.start_time, found.pid) > (ours.start_time, ours.pid);
    is_later || (serves(found) && !serves(ours))
}

/// Where `path` leads: the target of a link, else itself.
fn resolve(path: &Utf8Path) -> Result<Utf8PathBuf, StatusError> {
    let mut path = path.to_owned();
    // As many steps as the kernel allows.
    for _ in 0..40 {
        let Ok(target) = path.read_link_utf8() else { return Ok(path) };
        path = path.parent().unwrap_or(Utf8Path::new("/")).join(target);
    }
    Err(StatusError::Foreign { path })
}

/// The record at `path`, if there is one that can be read.
fn read(path: &Utf8Path) -> Result<Option<RuntimeStatus>, StatusError> {
    let Ok(metadata) = fs_err::symlink_metadata(path) else { return Ok(None) };
    if !metadata.is_file() {
        return Err(StatusError::Foreign { path: path.to_owned() });
    }
    if metadata.len() > MAX_LEN as u64 {
        return Ok(None);
    }
    Ok(fs_err::read(path).ok().and_then(|bytes| RuntimeStatus::read(&bytes).ok()))
}

fn sibling(path: &Utf8Path) -> Utf8PathBuf {
    let name = path.file_name().unwrap_or("status");
    path.with_file_name(format!(".{name}.{}.tmp", process::pid()))
}

/// A complete temp file beside `path`, with the mode of what it will replace.
fn write_temp(path: &Utf8Path, bytes: &[u8], sync: bool) -> Result<Utf8PathBuf, StatusError> {
    let temp = sibling(path);
    let mode = fs_err::metadata(path).map_or(MODE, |m| m.mode() & 0o777);
    let attempt = || {
        // A leftover of a process with this id.
        let _ = fs_err::remove_file(&temp);
        let mut file = file::create_new(&temp, std::fs::OpenOptions::new().write(true).mode(MODE))?;
        file.write_all(bytes)?;
        if mode != MODE {
            use std::os::unix::fs::PermissionsExt as _;
            file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        }
        if sync { file.sync_all() } else { Ok(()) }
    };
    attempt().map_err(|source| {
        let _ = fs_err::remove_file(&temp);
        StatusError::Io { path: path.to_owned(), source }
    })?;
    Ok(temp)
}

fn rename(from: &Utf8Path, to: &Utf8Path) -> Result<(), StatusError> {
    fs_err::rename(from, to).map_err(|source| {
        let _ = fs_err::remove_file(from);
        StatusError::Io { path: to.to_owned(), source }
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::status::empty;

    struct Home {
        _dir: tempfile::TempDir,
        home: ProfileHome,
    }

    fn home() -> Home {
        let dir = tempfile::tempdir().unwrap();
        let home = ProfileHome::new(Utf8Path::from_path(dir.path()).unwrap());
        Home { _dir: dir, home }
    }

    fn record(state: State) -> RuntimeStatus {
        let pid = process::pid();
        let mut status = empty("coder", pid, process::start_time(pid), vec!["hermes-gateway".into()]);
        status.gateway_state = Some(state.as_str().into());
        status
    }

    fn names(home: &Home) -> Vec<String> {
        let mut names: Vec<String> = fs_err::read_dir(home.home.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_gateways_file_is_left_to_its_supervisor() {
        let home = home();
        fs_err::write(home.home.gateway_state(), r#"{"pid":1,"schema":9}"#).unwrap();
        Files::beside_a_gateways(home.home.clone()).write(&record(State::Running)).unwrap();
        assert_eq!(fs_err::read_to_string(home.home.gateway_state()).unwrap(), r#"{"pid":1,"schema":9}"#);
        assert_eq!(names(&home), ["gateway_state.json", "runtime_status.json"]);
    }

    #[test]
    fn both_files_hold_the_same_bytes_and_nothing_else_is_left() {
        let home = home();
        let files = Files::new(home.home.clone());
        for state in [State::Starting, State::Running, State::Stopped] {
            files.write(&record(state)).unwrap();
            let runtime = fs_err::read(home.home.runtime_status()).unwrap();
            assert_eq!(runtime, fs_err::read(home.home.gateway_state()).unwrap());
            assert_eq!(runtime, record(state).write());
        }
        assert_eq!(names(&home), ["gateway_state.json", "runtime_status.json"]);
        assert_eq!(fs_err::metadata(home.home.gateway_state()).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn an_existing_mode_and_a_link_are_kept() {
        let home = home();
        let target = home.home.path().join("elsewhere.json");
        fs_err::write(&target, "{}").unwrap();
        fs_err::set_permissions(&target, std::fs::Permissions::from_mode(0o640)).unwrap();
        fs_err::os::unix::fs::symlink("elsewhere.json", home.home.gateway_state()).unwrap();
        Files::new(home.home.clone()).write(&record(State::Running)).unwrap();
        assert!(home.home.gateway_state().is_symlink());
        assert_eq!(fs_err::read(&target).unwrap(), record(State::Running).write());
    }

    #[test]
    fn newer_records_and_foreign_things_are_left_alone() {
        let home = home();
        let files = Files::new(home.home.clone());
        let newer = r#"{"pid":1,"gateway_state":"stopped","schema":2,"wings":true}"#;
        fs_err::write(home.home.gateway_state(), newer).unwrap();
        assert!(matches!(files.write(&record(State::Running)), Err(StatusError::Newer { found: 2, .. })));
        assert_eq!(fs_err::read_to_string(home.home.gateway_state()).unwrap(), newer);
        fs_err::remove_file(home.home.gateway_state()).unwrap();
        fs_err::create_dir(home.home.runtime_status()).unwrap();
        assert!(matches!(files.write(&record(State::Running)), Err(StatusError::Foreign { .. })));
        assert_eq!(names(&home), ["runtime_status.json"]);
    }

    #[test]
    fn garbage_and_files_of_0_19_0_are_replaced() {
        let home = home();
        let files = Files::new(home.home.clone());
        for old in ["garbage", r#"{"pid":4,"gateway_state":"running","updated_at":1763680000}"#] {
            fs_err::write(home.home.gateway_state(), old).unwrap();
            files.write(&record(State::Starting)).unwrap();
            assert_eq!(fs_err::read(home.home.gateway_state()).unwrap(), record(State::Starting).write());
        }
    }

    #[test]
    fn in_a_swap_the_record_belongs_to_who_serves() {
        let old = record(State::Running);
        let mut new = old.clone();
        // A later process; only the record found is checked for life, and that is ours.
        new.pid = new.pid.map(|pid| pid + 1);
        new.start_time = new.start_time.map(|t| t + 1);
        for (state, kept) in
            [("starting", true), ("startup_failed", true), ("running", false), ("degraded", false)]
        {
            new.gateway_state = Some(state.into());
            assert_eq!(belongs_to_another(&old, &new), kept, "{state}");
        }
        // The other way round: the old one drains, the new one (now ours, alive) serves.
        let mut older = old.clone();
        older.pid = older.pid.map(|pid| pid + 1);
        older.start_time = older.start_time.map(|t| t - 1);
        for state in ["draining", "stopped", "running"] {
            older.gateway_state = Some(state.into());
            assert!(belongs_to_another(&old, &older), "{state}");
        }
        // A dead process has no claim.
        let mut dead = old;
        dead.pid = Some(u32::MAX);
        assert!(!belongs_to_another(&dead, &older));
    }
}
