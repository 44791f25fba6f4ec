//! Which directories are homes of profiles, and what is said beside them, asked in the same way by whoever checks and whoever serves.
//!
//! Three things decide beside the configuration, all of them by being there and by nothing else: a home has one of the identity
//! files; `profiles/.deleted/NAME` says that NAME was removed, whatever a late writer made there since; `gateway.parked` in a home
//! says that the root home's gateway is to leave it alone. The last two are shared with the Python program (0.21 and later), which
//! writes and reads them as this one does. What cannot be looked at is an error here, and never "no".

use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt as _;

use camino::Utf8Path;
use hermes_wire::absence::OrAbsent as _;
use hermes_wire::home::{IDENTITY_FILES, TOMBSTONES};
use hermes_wire::{ProfileHome, ProfileName, RootHome};

use crate::file;

/// Whether a home says that it is parked, for whoever looks without being kept by what cannot be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parked {
    /// It does not.
    No,
    /// It does.
    Yes,
    /// It could not be looked at, and never was.
    Unknown,
}

/// Whether the directory at `path` is a profile's home, and why not. What cannot be looked at is not absent: whoever serves it says
/// what is wrong.
pub fn check(path: &Utf8Path) -> Result<(), String> {
    match fs_err::metadata(path) {
        Ok(found) if !found.is_dir() => return Err("its home is no directory".to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err("there is no such profile".to_owned());
        }
        Ok(_) | Err(_) => {}
    }
    if let Some((profiles, name)) = path.parent().zip(path.file_name())
        && profiles.file_name() == Some("profiles")
        && profiles.join(TOMBSTONES).join(name).exists()
    {
        return Err("it was removed".to_owned());
    }
    if matches!(has_identity(path), Ok(false)) {
        return Err("its directory holds no file of a profile".to_owned());
    }
    Ok(())
}

/// Whether a directory holds an identity file. A link is one wherever it leads, as it is for the Python program.
pub fn has_identity(home: &Utf8Path) -> io::Result<bool> {
    let mut failed = None;
    for name in IDENTITY_FILES {
        match fs_err::symlink_metadata(home.join(name)).or_absent() {
            Ok(Some(_)) => return Ok(true),
            Ok(None) => {}
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(false), Err)
}

/// Whether there seem to be profiles beside the default one, by what stands in their directory: no home is looked into, one of which may be
/// on a file system that hangs. What cannot be listed is not said to be empty, and not asked for.
pub fn has_named(root: &RootHome) -> bool {
    let Ok(entries) = root.profiles().read_dir_utf8() else { return false };
    entries.flatten().any(|entry| {
        let is_home = entry.file_type().is_ok_and(|kind| kind.is_dir() || kind.is_symlink());
        let name = entry.file_name().parse::<ProfileName>().ok().filter(|name| is_home && !name.is_default());
        name.is_some_and(|name| matches!(is_removed(root, &name), Ok(false)))
    })
}

/// Whether a home says that it is parked.
pub fn is_parked(home: &ProfileHome) -> io::Result<bool> {
    Ok(fs_err::metadata(home.parked()).or_absent()?.is_some())
}

/// Lets a home say that it is parked. Whether it did not already; after `Ok` that survives a power loss.
pub fn park(home: &ProfileHome) -> io::Result<bool> {
    if is_parked(home)? {
        return Ok(false);
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).mode(0o644);
    match file::create_new(&home.parked(), &options) {
        Ok(file) => file.sync_all()?,
        // By somebody else at this moment; or a link that leads nowhere, which nobody takes for a marker.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && is_parked(home)? => return Ok(false),
        Err(error) => return Err(error),
    }
    sync(home.path())?;
    Ok(true)
}

/// Takes the marker away, whatever it is. Whether there was one.
pub fn unpark(home: &ProfileHome) -> io::Result<bool> {
    let path = home.parked();
    let Some(found) = fs_err::symlink_metadata(&path).or_absent()? else { return Ok(false) };
    let removed = if found.is_dir() { fs_err::remove_dir(&path) } else { fs_err::remove_file(&path) };
    if removed.or_absent()?.is_some() {
        sync(home.path())?;
    }
    Ok(true)
}

/// Whether a profile of this name was removed, and none was made since.
pub fn is_removed(root: &RootHome, name: &ProfileName) -> io::Result<bool> {
    Ok(!name.is_default() && fs_err::metadata(root.tombstone(name)).or_absent()?.is_some())
}

/// Remembers that the profile `name` is removed, where removed ones are remembered: the directory for it is there once a release
/// that knows of it removed a profile. 0.19.0, which does not, would otherwise make one of the same name that nobody serves.
pub fn remember_removed(root: &RootHome, name: &ProfileName) -> io::Result<()> {
    if fs_err::metadata(root.tombstones()).or_absent()?.is_none() {
        return Ok(());
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).mode(0o644);
    match file::create_new(&root.tombstone(name), &options) {
        Ok(mut file) => io::Write::write_all(&mut file, b"deleted\n").and_then(|()| file.sync_all()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// A profile of this name is about to be made: it counts as removed no more.
pub fn forget_removed(root: &RootHome, name: &ProfileName) -> io::Result<()> {
    if fs_err::remove_file(root.tombstone(name)).or_absent()?.is_some() {
        sync(&root.tombstones())?;
    }
    Ok(())
}

/// Makes names in a directory survive a power loss.
fn sync(dir: &Utf8Path) -> io::Result<()> {
    fs_err::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (tempfile::TempDir, RootHome) {
        let keep = tempfile::tempdir().unwrap();
        let root = RootHome::new(Utf8Path::from_path(keep.path()).unwrap());
        (keep, root)
    }

    #[test]
    fn a_home_has_a_file_of_a_profile() {
        let (_keep, root) = root();
        let profiles = root.profiles();
        for name in ["bare", "coder", "linked", "removed"] {
            fs_err::create_dir_all(profiles.join(name)).unwrap();
        }
        fs_err::write(profiles.join("file"), "").unwrap();
        fs_err::write(profiles.join("coder/SOUL.md"), "").unwrap();
        fs_err::os::unix::fs::symlink("nowhere", profiles.join("linked/config.yaml")).unwrap();
        fs_err::write(profiles.join("removed/state.db"), "").unwrap();
        fs_err::create_dir(root.tombstones()).unwrap();
        fs_err::write(root.tombstone(&"removed".parse().unwrap()), "deleted\n").unwrap();
        assert_eq!(check(&profiles.join("coder")), Ok(()));
        assert!(has_named(&root) && !has_named(&RootHome::new(root.path().join("profiles/bare"))));
        assert_eq!(check(&profiles.join("linked")), Ok(()));
        for (name, word) in [
            ("bare", "no file"),
            ("file", "no directory"),
            ("gone", "no such profile"),
            ("removed", "removed"),
        ] {
            assert!(check(&profiles.join(name)).unwrap_err().contains(word), "{name}");
        }
    }

    /// Whatever a marker is, it counts; a link that leads nowhere does not, for the Python program neither.
    #[test]
    fn a_marker_is_there_or_not() {
        let (_keep, root) = root();
        let home = root.profile(&ProfileName::default_profile());
        assert!(!is_parked(&home).unwrap() && !unpark(&home).unwrap());
        assert!(park(&home).unwrap() && !park(&home).unwrap() && is_parked(&home).unwrap());
        assert!(unpark(&home).unwrap() && !is_parked(&home).unwrap());
        fs_err::write(home.parked(), "by whoever made this machine\n").unwrap();
        assert!(is_parked(&home).unwrap() && unpark(&home).unwrap());
        fs_err::create_dir(home.parked()).unwrap();
        assert!(is_parked(&home).unwrap() && unpark(&home).unwrap());
        fs_err::os::unix::fs::symlink("nowhere", home.parked()).unwrap();
        assert!(!is_parked(&home).unwrap() && park(&home).is_err());
        assert!(unpark(&home).unwrap() && park(&home).unwrap());
        let nowhere = ProfileHome::new(root.path().join("nowhere"));
        assert!(!is_parked(&nowhere).unwrap() && park(&nowhere).is_err());
    }

    #[test]
    fn a_removed_profile_is_remembered_where_removed_ones_are() {
        let (_keep, root) = root();
        let coder: ProfileName = "coder".parse().unwrap();
        fs_err::create_dir(root.profiles()).unwrap();
        remember_removed(&root, &coder).unwrap();
        assert!(!is_removed(&root, &coder).unwrap() && !root.tombstones().exists());
        fs_err::create_dir(root.tombstones()).unwrap();
        remember_removed(&root, &coder).unwrap();
        remember_removed(&root, &coder).unwrap();
        assert!(is_removed(&root, &coder).unwrap());
        forget_removed(&root, &coder).unwrap();
        forget_removed(&root, &coder).unwrap();
        assert!(!is_removed(&root, &coder).unwrap());
    }
}
