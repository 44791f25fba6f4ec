//! A new home under construction: hidden, locked by its maker, published by one rename or removed.
//!
//! Lives in `profiles/` itself, so that the last step is a rename within one file system. The name starts with a dot, which every
//! reader of `profiles/` skips.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_protocol::{ProfileHome, ProfileName, RootHome};
use nix::fcntl::{AT_FDCWD, Flock, FlockArg, RenameFlags, renameat2};

/// How hidden directories under construction, and homes on their way out, begin.
pub(crate) const PREFIX: &str = ".hermes-";
/// What a maker holds locked, inside the hidden directory; removed before publishing.
const LOCK: &str = ".hermes-building";

/// A hidden directory of ours. Dropping it removes it and everything in it.
#[derive(Debug)]
pub(crate) struct Staging {
    path: Utf8PathBuf,
    lock: Option<Flock<std::fs::File>>,
    published: bool,
}

impl Staging {
    /// Makes an empty hidden directory (0700) for `name`, and `profiles/` (0755) where that is missing. Leftovers of makers that
    /// died are removed first.
    pub(crate) fn begin(root: &RootHome, name: &ProfileName) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let profiles = root.profiles();
        if !profiles.is_dir() {
            if !root.path().is_dir() {
                std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root.path())?;
            }
            match std::fs::DirBuilder::new().mode(0o755).create(&profiles) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                _ => {}
            }
        }
        sweep(&profiles);
        let dir = tempfile::Builder::new().prefix(&format!("{PREFIX}{name}-")).tempdir_in(&profiles)?.keep();
        let path = Utf8PathBuf::from_path_buf(dir).map_err(|_| io::Error::other("the path is not UTF-8"))?;
        let mut staging = Self { path, lock: None, published: false };
        let file = fs_err::File::create(staging.path.join(LOCK))?.into_parts().0;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| io::Error::from(e))?;
        staging.lock = Some(lock);
        Ok(staging)
    }

    /// Where to build.
    pub(crate) fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// Syncs everything and gives it its name; fails with `AlreadyExists` where that is taken. After `Ok` the profile exists,
    /// after `Err` nothing does.
    pub(crate) fn publish(mut self, root: &RootHome, name: &ProfileName) -> io::Result<ProfileHome> {
        fs_err::remove_file(self.path.join(LOCK))?;
        sync_file_system(&self.path)?;
        let home = root.profile(name);
        rename_new(&self.path, home.path())?;
        self.published = true;
        sync_directory(&root.profiles())?;
        Ok(home)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.published {
            // The next maker sweeps what cannot be removed now.
            let _ = fs_err::remove_dir_all(&self.path);
        }
    }
}

/// Renames without ever replacing what is at `to`.
pub(crate) fn rename_new(from: &Utf8Path, to: &Utf8Path) -> io::Result<()> {
    let flags = RenameFlags::RENAME_NOREPLACE;
    match renameat2(AT_FDCWD, from.as_std_path(), AT_FDCWD, to.as_std_path(), flags) {
        // A file system that cannot: checked by hand; our own makers do not race for one name without being told.
        Err(nix::Error::EINVAL | nix::Error::ENOSYS) if fs_err::symlink_metadata(to).is_err() => {
            fs_err::rename(from, to)
        }
        Err(nix::Error::EINVAL | nix::Error::ENOSYS) => Err(io::ErrorKind::AlreadyExists.into()),
        other => other.map_err(io::Error::from),
    }
}

/// Makes names in a directory survive a power loss.
pub(crate) fn sync_directory(dir: &Utf8Path) -> io::Result<()> {
    fs_err::File::open(dir)?.sync_all()
}

/// Makes everything below `path` survive a power loss: one call for the whole file system is cheaper than one a file.
fn sync_file_system(path: &Utf8Path) -> io::Result<()> {
    let dir = fs_err::File::open(path)?;
    nix::unistd::syncfs(dir.file()).map_err(io::Error::from)
}

/// Removes hidden directories whose maker is gone.
pub(crate) fn sweep(profiles: &Utf8Path) {
    let Ok(entries) = profiles.read_dir_utf8() else { return };
    for entry in entries.filter_map(Result::ok).filter(|e| e.file_name().starts_with(PREFIX)) {
        let lock = fs_err::File::open(entry.path().join(LOCK)).map(|file| file.into_parts().0);
        let alive = lock.is_ok_and(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err());
        if !alive {
            let _ = fs_err::remove_dir_all(entry.path());
        }
    }
}
