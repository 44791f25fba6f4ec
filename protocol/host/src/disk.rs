//! Small files of the supervisor: read within bounds, and written by the one judge of whole files and their owners
//! ([`crate::file`]).

use std::io;

use camino::Utf8Path;
use hermes_wire::absence::OrAbsent as _;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::file;

pub use crate::file::{
    create_new, hand_over, make_dir, make_dirs, open_or_create, replace, resolve, write_new,
};

/// Writes `bytes` to `path` (mode 0600), whole or not at all. With `durable`, contents and name survive a power loss as well.
pub fn write_atomic(path: &Utf8Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    file::write_atomic(path, bytes, 0o600, durable)
}

/// [`write_atomic`], durable, for a file that everybody may read (mode 0644).
pub fn write_public(path: &Utf8Path, bytes: &[u8]) -> io::Result<()> {
    file::write_atomic(path, bytes, 0o644, true)
}

/// Renames without ever replacing what is at `to`.
pub fn rename_new(from: &Utf8Path, to: &Utf8Path) -> io::Result<()> {
    match rename_with(from, to, RenameFlags::NOREPLACE) {
        // A file system that cannot: checked by hand; our own makers do not race for one name without being told.
        Err(error) if knows_no_such_rename(&error) => match fs_err::symlink_metadata(to) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(absent) if absent.kind() == io::ErrorKind::NotFound => fs_err::rename(from, to),
            Err(error) => Err(error),
        },
        other => other,
    }
}

/// Swaps two files or directories in one step. Not every file system can: [`knows_no_such_rename`].
pub fn exchange(a: &Utf8Path, b: &Utf8Path) -> io::Result<()> {
    rename_with(a, b, RenameFlags::EXCHANGE)
}

/// The file system has neither an exchange nor a rename that refuses to replace.
pub fn knows_no_such_rename(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(nix::libc::EINVAL | nix::libc::ENOSYS | nix::libc::ENOTSUP))
}

fn rename_with(from: &Utf8Path, to: &Utf8Path, flags: RenameFlags) -> io::Result<()> {
    renameat_with(CWD, from.as_std_path(), CWD, to.as_std_path(), flags).map_err(io::Error::from)
}

/// Makes everything on the file system of the directory `path` survive a power loss: one call is cheaper than one a file.
pub fn sync_file_system(path: &Utf8Path) -> io::Result<()> {
    let dir = fs_err::File::open(path)?;
    #[cfg(target_os = "linux")]
    nix::unistd::syncfs(dir.file())?;
    #[cfg(not(target_os = "linux"))]
    {
        // There is no call for one file system; this one asks for all of them.
        nix::unistd::sync();
        dir.sync_all()?;
    }
    Ok(())
}

/// Whether something is at `path`, links followed. An error is no "no".
pub fn is_there(path: &Utf8Path) -> io::Result<bool> {
    Ok(fs_err::metadata(path).or_absent()?.is_some())
}

/// Reads at most `limit` bytes of a regular file; more is an error. A FIFO or device is refused instead of waited for.
pub fn read_bounded(path: &Utf8Path, limit: usize) -> io::Result<Vec<u8>> {
    use fs_err::os::unix::fs::OpenOptionsExt as _;
    let file = fs_err::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC)
        .open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    read_at_most(file, meta.len(), limit)
}

fn read_at_most(file: fs_err::File, len: u64, limit: usize) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let room = usize::try_from(len).unwrap_or(limit).min(limit);
    let mut bytes = Vec::with_capacity(room + 1);
    file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("larger than {limit} bytes")));
    }
    Ok(bytes)
}

/// [`read_bounded`] of a file that a process of ours wrote. What others could have put in its place is refused: a link, which may
/// lead to a file of secrets, and a file of another user.
pub fn read_own(path: &Utf8Path, limit: usize) -> io::Result<Vec<u8>> {
    use fs_err::os::unix::fs::OpenOptionsExt as _;
    use std::os::unix::fs::MetadataExt as _;
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC;
    let file = fs_err::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let meta = file.metadata()?;
    let own = nix::unistd::geteuid();
    // Root may look at the files of the user whom it acts for.
    if !meta.is_file() || (meta.uid() != own.as_raw() && !own.is_root()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file of ours"));
    }
    read_at_most(file, meta.len(), limit)
}

/// The first `limit` bytes of a regular file.
pub fn read_start(path: &Utf8Path, limit: u64) -> io::Result<Vec<u8>> {
    use fs_err::os::unix::fs::OpenOptionsExt as _;
    use std::io::Read as _;
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC;
    let file = fs_err::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The last `limit` bytes of a regular file, from the beginning of a line.
pub fn read_end(path: &Utf8Path, limit: u64) -> io::Result<Vec<u8>> {
    use fs_err::os::unix::fs::OpenOptionsExt as _;
    use std::io::{Read as _, Seek as _};
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC;
    let mut file = fs_err::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let from = meta.len().saturating_sub(limit);
    file.seek(io::SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    if from > 0 {
        let cut = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
        bytes.drain(..cut);
    }
    Ok(bytes)
}

/// Whether it is certain that nothing is there. What cannot be looked at may be.
pub fn is_absent(path: &Utf8Path) -> bool {
    matches!(is_there(path), Ok(false))
}

/// Whether a directory that is not there could be made, with everything above it that is missing.
pub fn could_make(path: &Utf8Path) -> io::Result<()> {
    use nix::unistd::{AccessFlags, access};
    let above = path.ancestors().skip(1).find(|above| !above.as_str().is_empty() && above.exists());
    let Some(above) = above else { return Err(io::ErrorKind::NotFound.into()) };
    if !above.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, format!("`{above}` is not a directory")));
    }
    access(above.as_std_path(), AccessFlags::W_OK | AccessFlags::X_OK).map_err(|error| {
        io::Error::new(io::Error::from(error).kind(), format!("`{above}`: {}", error.desc()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A circle of links is an error as good as any: nobody knows what is behind it.
    #[test]
    fn what_cannot_be_looked_at_is_not_absent() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| Utf8Path::from_path(dir.path()).unwrap().join(name);
        fs_err::write(path("file"), "").unwrap();
        for (from, to) in [("a", "b"), ("b", "a")] {
            std::os::unix::fs::symlink(from, path(to)).unwrap();
        }
        assert!(is_absent(&path("nothing")) && is_absent(&path("file/below")));
        assert!(!is_absent(&path("file")) && !is_absent(&path("a")) && !is_absent(&path("a/below")));
    }

    #[test]
    fn replaces_whole_files_and_leaves_no_temporary_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("f");
        write_atomic(&path, b"one", true).unwrap();
        write_atomic(&path, b"two", false).unwrap();
        assert_eq!(read_bounded(&path, 3).unwrap(), b"two");
        assert!(read_bounded(&path, 2).is_err());
        assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_fifo_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("fifo");
        nix::unistd::mkfifo(path.as_std_path(), nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(read_bounded(&path, 10).is_err());
    }
}
