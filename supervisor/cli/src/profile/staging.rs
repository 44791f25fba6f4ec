//! A new home under construction: hidden, published by one rename or removed; swept by the next maker if its own died.
//!
//! Lives in `profiles/` itself, so that the last step is a rename within one file system. The name starts with a dot, which every
//! reader of `profiles/` skips.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::disk::{hand_over, make_dir, make_dirs, open_or_create, rename_new, sync_file_system};
use hermes_host::homes;
use hermes_wire::absence::OrAbsent as _;
use hermes_wire::{ProfileHome, ProfileName, RootHome};
use nix::fcntl::{Flock, FlockArg};

/// How hidden directories under construction, and homes on their way out, begin.
pub(crate) const PREFIX: &str = ".hermes-";
/// Held shared by every maker and exclusively by whoever sweeps, so that a directory is either swept or in work. Never removed.
const LOCK: &str = ".hermes-making.lock";

/// A hidden directory of ours. Dropping it removes it and everything in it.
#[derive(Debug)]
pub(crate) struct Staging {
    path: Utf8PathBuf,
    published: bool,
    /// Released last: until then nobody sweeps.
    _making: Flock<std::fs::File>,
}

impl Staging {
    /// Makes an empty hidden directory (0700) for `name`, and `profiles/` (0755) where that is missing. Leftovers of makers that
    /// died are removed first.
    pub(crate) fn begin(root: &RootHome, name: &ProfileName) -> io::Result<Self> {
        let profiles = root.profiles();
        if !profiles.is_dir() {
            if !root.path().is_dir() {
                make_dirs(root.path(), 0o700)?;
            }
            match make_dir(&profiles, 0o755) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                _ => {}
            }
        }
        sweep(&profiles);
        let making = lock(&profiles, FlockArg::LockShared)?;
        let dir = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{name}-"))
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .tempdir_in(&profiles)?
            .keep();
        let path = Utf8PathBuf::from_path_buf(dir).map_err(|_| io::Error::other("the path is not UTF-8"))?;
        Ok(Self { path, published: false, _making: making })
    }

    /// Where to build.
    pub(crate) fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// Gives everything to the owner of `profiles/`, syncs it and gives it its name; fails with `AlreadyExists` where that is
    /// taken. After `Ok` the profile exists, after `Err` nothing does.
    pub(crate) fn publish(mut self, root: &RootHome, name: &ProfileName) -> io::Result<ProfileHome> {
        hand_over(&self.path)?;
        sync_file_system(&self.path)?;
        let home = root.profile(name);
        make_room(root, name)?;
        rename_new(&self.path, home.path())?;
        self.published = true;
        sync_directory(&root.profiles())?;
        Ok(home)
    }
}

/// Whether a profile of this name cannot be made, because something is there already.
pub(crate) fn is_taken(root: &RootHome, name: &ProfileName) -> io::Result<bool> {
    let there = fs_err::symlink_metadata(root.profile(name).path()).or_absent()?.is_some();
    Ok(there && !(homes::is_removed(root, name)? && is_left_behind(root, name)?))
}

/// Whether what is at a profile's place is a directory without anything of a profile.
fn is_left_behind(root: &RootHome, name: &ProfileName) -> io::Result<bool> {
    let home = root.profile(name);
    let left = fs_err::symlink_metadata(home.path()).or_absent()?;
    Ok(left.is_some_and(|left| left.is_dir()) && !homes::has_identity(home.path())?)
}

/// Lets a name be used again whose profile was removed. What a late writer made there since goes, as it went with the profile; where
/// that looks like a profile, it stays, and the name is taken.
pub(crate) fn make_room(root: &RootHome, name: &ProfileName) -> io::Result<()> {
    if !homes::is_removed(root, name)? {
        return Ok(());
    }
    let home = root.profile(name);
    if is_left_behind(root, name)? {
        let trash =
            tempfile::Builder::new().prefix(&format!("{PREFIX}trash-{name}-")).tempdir_in(root.profiles())?;
        // What cannot be removed then is swept by the next maker.
        fs_err::rename(home.path(), trash.path())?;
    }
    homes::forget_removed(root, name)
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.published {
            // The next maker sweeps what cannot be removed now.
            let _ = fs_err::remove_dir_all(&self.path);
        }
    }
}

/// Makes names in a directory survive a power loss.
pub(crate) fn sync_directory(dir: &Utf8Path) -> io::Result<()> {
    fs_err::File::open(dir)?.sync_all()
}

/// Removes hidden directories whose maker is gone; nothing while anybody makes something.
pub(crate) fn sweep(profiles: &Utf8Path) {
    if abandoned(profiles).is_empty() {
        return;
    }
    let Ok(_alone) = lock(profiles, FlockArg::LockExclusiveNonblock) else { return };
    for path in abandoned(profiles) {
        // What cannot be removed now is tried again by the next maker.
        let _ = fs_err::remove_dir_all(path);
    }
}

/// Hidden directories of ours, in work or left behind.
pub(crate) fn abandoned(profiles: &Utf8Path) -> Vec<Utf8PathBuf> {
    let Ok(entries) = profiles.read_dir_utf8() else { return Vec::new() };
    let ours = entries.filter_map(Result::ok).filter(|e| e.file_name().starts_with(PREFIX));
    ours.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path().to_owned()).collect()
}

/// The lock that makers share.
pub(crate) fn making(root: &RootHome) -> io::Result<Flock<std::fs::File>> {
    lock(&root.profiles(), FlockArg::LockShared)
}

fn lock(profiles: &Utf8Path, how: FlockArg) -> io::Result<Flock<std::fs::File>> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
    let file = open_or_create(&profiles.join(LOCK), &options)?;
    Flock::lock(file, how).map_err(|(_, e)| io::Error::from(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (tempfile::TempDir, RootHome) {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(dir.path().join("root")).unwrap();
        (dir, RootHome::new(path))
    }

    #[test]
    fn a_home_appears_whole_or_not_at_all() {
        let (_dir, root) = root();
        let name: ProfileName = "coder".parse().unwrap();
        let staging = Staging::begin(&root, &name).unwrap();
        fs_err::write(staging.path().join("SOUL.md"), "x").unwrap();
        assert!(!hermes_gateway::watch::scan(&root).contains(&name));
        let hidden = staging.path().to_owned();
        drop(staging);
        assert!(!hidden.exists());
        let staging = Staging::begin(&root, &name).unwrap();
        fs_err::write(staging.path().join("SOUL.md"), "x").unwrap();
        let home = staging.publish(&root, &name).unwrap();
        assert!(home.soul().exists() && hermes_gateway::watch::scan(&root).contains(&name));
        let second = Staging::begin(&root, &name).unwrap();
        assert_eq!(second.publish(&root, &name).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(abandoned(&root.profiles()).is_empty());
    }

    #[test]
    fn leftovers_are_swept_and_work_in_progress_is_not() {
        let (_dir, root) = root();
        let (one, two): (ProfileName, ProfileName) = ("one".parse().unwrap(), "two".parse().unwrap());
        let working = Staging::begin(&root, &one).unwrap();
        let left = root.profiles().join(".hermes-dead-abc");
        fs_err::create_dir(&left).unwrap();
        let second = Staging::begin(&root, &two).unwrap();
        assert!(working.path().exists() && left.exists(), "nothing is swept while somebody works");
        drop((working, second));
        let third = Staging::begin(&root, &two).unwrap();
        assert!(!left.exists() && third.path().exists());
    }
}
