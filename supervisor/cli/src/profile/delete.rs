//! Removes a profile: first out of service, then out of sight by one rename, then out of the disk.

use std::io;

use camino::Utf8PathBuf;
use hermes_gateway::desired;
use hermes_host::homes;
use hermes_wire::{ProfileHome, ProfileName, RootHome};

use super::alias::{Alias, AliasDir};
use super::error::ProfileError;
use super::standalone::{self, Stopped};
use super::{notify, staging};
use crate::home::{self, Surroundings};
use crate::service::{self, Owner, Scope};

/// Attempts to empty a directory that somebody still writes into.
const ATTEMPTS: u32 = 3;

/// What came of it.
#[derive(Debug)]
pub(crate) struct Deleted {
    /// Its unit.
    pub(crate) unit: Option<Result<String, String>>,
    pub(crate) stopped: Stopped,
    pub(crate) aliases: Vec<Alias>,
    pub(crate) home: Utf8PathBuf,
    /// Only a link was removed; what it leads to is still there.
    pub(crate) link_to: Option<Utf8PathBuf>,
    pub(crate) sticky: bool,
    /// Hidden remains that could not be removed, and why.
    pub(crate) remains: Option<(Utf8PathBuf, io::Error)>,
    /// A gateway served it and does no more.
    pub(crate) unrouted: bool,
}

/// Carries it out; the profile exists and is not the built-in one.
pub(crate) fn delete(
    root: &RootHome,
    env: &Surroundings,
    aliases: Option<&AliasDir>,
    name: &ProfileName,
) -> Result<Deleted, ProfileError> {
    let home = root.profile(name);
    let unit = match service::find(&Owner::new(root, name), Some(Scope::User), env) {
        Ok(unit) => unit
            .map(|unit| unit.remove().map(|()| unit.name.replace(".service", "")).map_err(|e| e.to_string())),
        Err(e) => Some(Err(hermes_host::cause::Chain(&e).to_string())),
    };
    let hold = notify::release(root, env, name).map_err(|e| {
        let why = io::Error::other(format!("{e}; {}", e.hint()));
        ProfileError::io("take out of service", home.path())(why)
    })?;
    let stopped = standalone::stop(&home).map_err(ProfileError::io("stop the gateway of", home.path()))?;
    // First, so that whoever writes there late makes no profile of it.
    let remember = |e| ProfileError::io("remember in", root.tombstones())(e);
    let was_removed = homes::is_removed(root, name).map_err(remember)?;
    homes::remember_removed(root, name).map_err(remember)?;
    let (link_to, remains) = take_away(root, &home, name).inspect_err(|_| {
        // It is still there; what was removed before stays so, or its remains would be served.
        if !was_removed {
            let _ = homes::forget_removed(root, name);
        }
    })?;
    let sticky = home::sticky_profile(root).as_ref() == Some(name);
    if sticky {
        fs_err::remove_file(root.active_profile())
            .map_err(ProfileError::io("remove", root.active_profile()))?;
    }
    let aliases = aliases.map(|dir| dir.remove(name, None).0).unwrap_or_default();
    let unrouted = hold.is_some();
    if !unrouted {
        let mut desired = desired::Desired::load(root);
        // At worst a new profile of that name waits for `gateway start`.
        let _ = desired.set_stopped(name, false);
    }
    drop(hold);
    Ok(Deleted { unit, stopped, aliases, home: home.path().to_owned(), link_to, sticky, remains, unrouted })
}

/// What a link led to, and remains that could not be removed.
type Taken = (Option<Utf8PathBuf>, Option<(Utf8PathBuf, io::Error)>);

/// Takes the home out of sight by one step, and then out of the disk.
fn take_away(root: &RootHome, home: &ProfileHome, name: &ProfileName) -> Result<Taken, ProfileError> {
    let meta = fs_err::symlink_metadata(home.path()).map_err(ProfileError::io("read", home.path()))?;
    let mut link_to = None;
    let mut remains = None;
    if meta.is_symlink() {
        link_to = home.path().read_link_utf8().ok();
        fs_err::remove_file(home.path()).map_err(ProfileError::io("remove", home.path()))?;
    } else {
        let _making = staging::making(root).map_err(ProfileError::io("lock", root.profiles()))?;
        let trash = tempfile::Builder::new()
            .prefix(&format!("{}trash-{name}-", staging::PREFIX))
            .tempdir_in(root.profiles())
            .map_err(ProfileError::io("write into", root.profiles()))?
            .keep();
        let trash = Utf8PathBuf::from_path_buf(trash).map_err(|_| {
            ProfileError::io("write into", root.profiles())(io::Error::other("the path is not UTF-8"))
        })?;
        // Onto an empty directory of ours: one step from there to gone.
        fs_err::rename(home.path(), &trash).map_err(|source| {
            let _ = fs_err::remove_dir(&trash);
            ProfileError::io("remove", home.path())(source)
        })?;
        let _ = staging::sync_directory(&root.profiles());
        if let Err(e) = empty(&trash) {
            remains = Some((trash, e));
        }
    }
    Ok((link_to, remains))
}

/// Removes a tree; what is read-only is made writable first where that is all that is in the way.
fn empty(path: &camino::Utf8Path) -> io::Result<()> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        match fs_err::remove_dir_all(path) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) if attempt >= ATTEMPTS => return Err(e),
            Err(_) => {
                writable(path);
                hermes_host::wait::pause(std::time::Duration::from_millis(300) * attempt);
            }
        }
    }
}

fn writable(path: &camino::Utf8Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let _ = fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o700));
    let Ok(entries) = path.read_dir_utf8() else { return };
    for entry in entries.filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            writable(entry.path());
        }
    }
}
