//! Files and directories below a home: written whole, and owned by whom the place belongs to.
//!
//! # Theory of operation
//!
//! **Whole.** A file is written beside its place, synced and renamed, so that a reader at any instant sees an old or a new one.
//! Where that would lose something it is written in place instead, after what was in it was copied and synced: a file that is
//! mounted on its own cannot be renamed over (`EBUSY`), one with several names or an access list would lose those, and one that
//! belongs to somebody else would change its owner.
//!
//! **Whose.** Root working in a user's home would leave files there that the user cannot read. So whatever root makes belongs to
//! the owner and group of the directory it is made in ([`Heir`]); a file that is replaced keeps its own, unless root left it
//! there. For everybody else the system decides. Ownership is always changed through an open descriptor, never by name, so that
//! nobody can put something else in its place meanwhile.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};

use camino::{Utf8Path, Utf8PathBuf};
use nix::libc;
use rustix::fs::{AtFlags, Mode, OFlags};

/// Deepest tree that is given to its owner.
const DEPTH: usize = 256;
/// Largest file that is rewritten in place, in bytes; what is larger is no file of settings.
const IN_PLACE: u64 = 64 << 20;

/// Whom something that is made in a directory shall belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heir {
    uid: u32,
    gid: u32,
}

impl Heir {
    /// The owner of `dir`; `None` where the system decides: we are not root, or the directory is root's.
    pub fn of(dir: &Utf8Path) -> io::Result<Option<Self>> {
        if !nix::unistd::geteuid().is_root() {
            return Ok(None);
        }
        let meta = fs::metadata(if dir.as_str().is_empty() { Utf8Path::new(".") } else { dir })?;
        Ok((meta.uid() != 0).then(|| Self { uid: meta.uid(), gid: meta.gid() }))
    }

    /// The owner of the directory that `path` is in.
    pub fn beside(path: &Utf8Path) -> io::Result<Option<Self>> {
        Self::of(parent(path))
    }

    /// Gives an open file or directory that was just made.
    pub fn take(self, file: &File) -> io::Result<()> {
        let meta = file.metadata()?;
        // Some file systems have one owner for everything.
        if (meta.uid(), meta.gid()) == (self.uid, self.gid) {
            return Ok(());
        }
        std::os::unix::fs::fchown(file, Some(self.uid), Some(self.gid)).map_err(|e| {
            io::Error::new(
                e.kind(),
                format!("it cannot be given to the owner of the directory (user {}): {e}", self.uid),
            )
        })
    }
}

fn parent(path: &Utf8Path) -> &Utf8Path {
    path.parent().filter(|dir| !dir.as_str().is_empty()).unwrap_or(Utf8Path::new("."))
}

/// Opens a file as `options` say; one that is made for it belongs to the owner of its directory.
pub fn open_or_create(path: &Utf8Path, options: &OpenOptions) -> io::Result<File> {
    // More than once: somebody may make or remove it meanwhile.
    for _ in 0..3 {
        match options.clone().create(false).create_new(false).open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        match create_new(path, options) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made,
        }
    }
    options.clone().create(true).open(path)
}

/// Makes a file, as `options` say, that belongs to the owner of its directory; `AlreadyExists` where something is there.
pub fn create_new(path: &Utf8Path, options: &OpenOptions) -> io::Result<File> {
    let heir = Heir::beside(path)?;
    let file = options.clone().create_new(true).open(path)?;
    if let Some(heir) = heir
        && let Err(e) = heir.take(&file)
    {
        let _ = fs_err::remove_file(path);
        return Err(e);
    }
    Ok(file)
}

/// Makes a directory that belongs to the owner of the one it is in; `AlreadyExists` where something is there.
pub fn make_dir(path: &Utf8Path, mode: u32) -> io::Result<()> {
    let heir = Heir::beside(path)?;
    fs::DirBuilder::new()
        .mode(mode)
        .create(path)
        .map_err(|e| io::Error::new(e.kind(), format!("failed to create directory `{path}`: {e}")))?;
    let Some(heir) = heir else { return Ok(()) };
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let given = OpenOptions::new().read(true).custom_flags(flags).open(path).and_then(|dir| heir.take(&dir));
    given.inspect_err(|_| {
        let _ = fs::remove_dir(path);
    })
}

/// Makes a directory and what is missing above it; nothing where it is there already.
pub fn make_dirs(path: &Utf8Path, mode: u32) -> io::Result<()> {
    match make_dir(path, mode) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound && path.parent().is_some() => {
            make_dirs(parent(path), mode)?;
            match make_dir(path, mode) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
                second => second,
            }
        }
        Err(e) => Err(e),
    }
}

/// Gives a tree that was just made, and that nobody else can reach yet (its top is root's, mode 0700), to the owner of the
/// directory it is in. The top comes last.
pub fn hand_over(tree: &Utf8Path) -> io::Result<()> {
    let Some(heir) = Heir::beside(tree)? else { return Ok(()) };
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    let top = File::from(rustix::fs::open(tree.as_std_path(), flags, Mode::empty())?);
    // What is not ours was put there by somebody else.
    if top.metadata()?.uid() != nix::unistd::geteuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    hand_over_below(&top, heir, 0)?;
    heir.take(&top)
}

fn hand_over_below(dir: &impl std::os::fd::AsFd, heir: Heir, depth: usize) -> io::Result<()> {
    if depth > DEPTH {
        return Err(io::Error::other("directories are nested too deeply"));
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        match rustix::fs::openat(dir, name, flags, Mode::empty()) {
            Ok(below) => hand_over_below(&below, heir, depth + 1)?,
            Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {}
            Err(e) => return Err(e.into()),
        }
        let (uid, gid) = (rustix::fs::Uid::from_raw(heir.uid), rustix::fs::Gid::from_raw(heir.gid));
        rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// A file (mode 0600) in `dir` that will become another one. Its name says whose it is, so that one that is left can be removed.
pub fn temporary(dir: &Utf8Path) -> io::Result<tempfile::NamedTempFile> {
    temporary_as(dir, &hermes_wire::home::temporary_prefix(std::process::id()), ".tmp")
}

/// A file (mode 0600) in `dir`, of its owner, whose name begins and ends so.
pub fn temporary_as(dir: &Utf8Path, prefix: &str, suffix: &str) -> io::Result<tempfile::NamedTempFile> {
    let heir = Heir::of(dir)?;
    let file = tempfile::Builder::new().prefix(prefix).suffix(suffix).tempfile_in(dir)?;
    if let Some(heir) = heir {
        heir.take(file.as_file())?;
    }
    Ok(file)
}

/// Writes `bytes` to `path`, replacing what is there, with this mode. With `durable`, contents and name survive a power loss as
/// well.
pub fn write_atomic(path: &Utf8Path, bytes: &[u8], mode: u32, durable: bool) -> io::Result<()> {
    let mut file = temporary(parent(path))?;
    file.write_all(bytes)?;
    put_in_place(file, path, mode, durable)
}

/// What [`write_atomic`] does, for a [`temporary`] file beside `path` that was written piece by piece.
pub fn put_in_place(
    mut file: tempfile::NamedTempFile,
    path: &Utf8Path,
    mode: u32,
    durable: bool,
) -> io::Result<()> {
    finish(&file, mode, durable)?;
    match file.persist(path) {
        Ok(_) => {}
        // It is mounted on its own.
        Err(e) if matches!(e.error.raw_os_error(), Some(libc::EBUSY | libc::EXDEV)) => {
            file = e.file;
            let mut bytes = Vec::new();
            file.rewind()?;
            file.read_to_end(&mut bytes)?;
            return in_place(path, &bytes);
        }
        Err(e) => return Err(e.error),
    }
    if durable { fs_err::File::open(parent(path))?.sync_all() } else { Ok(()) }
}

/// Writes a new file (mode 0600), durable; `AlreadyExists` where something is there.
pub fn write_new(path: &Utf8Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = temporary(parent(path))?;
    file.write_all(bytes)?;
    finish(&file, 0o600, true)?;
    file.persist_noclobber(path).map_err(|e| e.error)?;
    fs_err::File::open(parent(path))?.sync_all()
}

fn finish(file: &tempfile::NamedTempFile, mode: u32, durable: bool) -> io::Result<()> {
    if mode != 0o600 {
        file.as_file().set_permissions(Permissions::from_mode(mode))?;
    }
    if durable { file.as_file().sync_all() } else { Ok(()) }
}

/// Where a path leads: links followed; itself where nothing is there. A link that leads nowhere is an error, because whoever put
/// it there would not notice that a file took its place.
pub fn resolve(path: &Utf8Path) -> io::Result<Utf8PathBuf> {
    match path.canonicalize_utf8() {
        Ok(real) => Ok(real),
        Err(e) if e.kind() == io::ErrorKind::NotFound => match fs::symlink_metadata(path) {
            Ok(_) => {
                Err(io::Error::new(io::ErrorKind::NotFound, "it is a link to a file that does not exist"))
            }
            Err(absent) if absent.kind() == io::ErrorKind::NotFound => Ok(path.to_owned()),
            Err(e) => Err(e),
        },
        Err(e) => Err(e),
    }
}

/// Replaces a file of the user's, durably: a link is followed, mode, owner and group of what is there are kept; a new file has
/// mode 0600.
pub fn replace(path: &Utf8Path, bytes: &[u8]) -> io::Result<()> {
    let real = resolve(path)?;
    let before = match fs::metadata(&real) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return write_atomic(&real, bytes, 0o600, true),
        Err(e) => return Err(e),
    };
    if !before.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    if before.nlink() > 1 || has_access_list(&real) {
        return in_place(&real, bytes);
    }
    match swap(&real, &before, bytes) {
        Err(e)
            if matches!(
                e.raw_os_error(),
                Some(libc::EBUSY | libc::EXDEV | libc::EPERM | libc::EACCES | libc::EROFS | libc::ETXTBSY)
            ) =>
        {
            in_place(&real, bytes)
        }
        done => done,
    }
}

fn has_access_list(path: &Utf8Path) -> bool {
    let mut none = [0_u8; 0];
    rustix::fs::getxattr(path.as_std_path(), "system.posix_acl_access", &mut none)
        .is_ok_and(|length| length > 0)
}

/// By rename; `EPERM` where the new file could not have the owner and group of the old one.
fn swap(real: &Utf8Path, before: &fs::Metadata, bytes: &[u8]) -> io::Result<()> {
    let dir = parent(real);
    let mut file = temporary(dir)?;
    file.write_all(bytes)?;
    let made = file.as_file().metadata()?;
    // What root left in a user's home becomes the user's.
    let heir = Heir::of(dir)?.filter(|_| before.uid() == 0);
    let (uid, gid) = heir.map_or((before.uid(), before.gid()), |heir| (heir.uid, heir.gid));
    let changed = |now: u32, wanted: u32| (now != wanted).then_some(wanted);
    let (uid, gid) = (changed(made.uid(), uid), changed(made.gid(), gid));
    if uid.is_some() || gid.is_some() {
        std::os::unix::fs::fchown(file.as_file(), uid, gid)?;
    }
    // After the owner: changing that takes bits away.
    file.as_file().set_permissions(Permissions::from_mode(before.mode() & 0o7777))?;
    file.as_file().sync_all()?;
    file.persist(real).map_err(|e| e.error)?;
    fs_err::File::open(dir)?.sync_all()
}

/// Over what is there, byte for byte. What was in it is kept beside it, or in the directory for temporary files, until that is done.
fn in_place(real: &Utf8Path, bytes: &[u8]) -> io::Result<()> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let mut file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(real)?;
    let before = file.metadata()?;
    if !before.is_file() || before.len() > IN_PLACE {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file of settings"));
    }
    let mut old = Vec::new();
    file.read_to_end(&mut old)?;
    let backup = keep(real, &before, &old)?;
    let mut write = |bytes: &[u8]| {
        file.rewind()?;
        file.write_all(bytes)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_all()
    };
    let Err(e) = write(bytes) else {
        return backup.close();
    };
    if write(&old).is_ok() {
        return Err(e);
    }
    let kept = backup.keep().map_err(|e| e.error)?;
    Err(io::Error::new(e.kind(), format!("{e}; what was in it is in `{}`", kept.display())))
}

/// A synced copy of what is in a file that is about to be written in place.
fn keep(real: &Utf8Path, before: &fs::Metadata, old: &[u8]) -> io::Result<tempfile::TempPath> {
    let prefix = format!(".{}.before-", real.file_name().unwrap_or_default());
    let make = |dir: &Utf8Path| tempfile::Builder::new().prefix(&prefix).suffix(".bak").tempfile_in(dir);
    let dir = parent(real);
    let mut copy = if let Ok(copy) = make(dir) {
        copy
    } else {
        let other = Utf8PathBuf::from_path_buf(std::env::temp_dir());
        make(&other.map_err(|_| io::Error::other("the path of temporary files is not UTF-8"))?)?
    };
    copy.write_all(old)?;
    // Readable by whoever could read the original, if the system lets us.
    let _ = std::os::unix::fs::fchown(copy.as_file(), Some(before.uid()), Some(before.gid()));
    copy.as_file().sync_all()?;
    if copy.path().parent() == Some(dir.as_std_path()) {
        fs_err::File::open(dir)?.sync_all()?;
    }
    Ok(copy.into_temp_path())
}

#[cfg(test)]
#[path = "file/tests.rs"]
mod tests;
