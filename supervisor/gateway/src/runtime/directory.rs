//! One directory of sockets: every step to it is checked, it is held by a descriptor, and what is in it is reached through that.
//!
//! Once it is held, nobody can put another directory in its place: a lost or moved one stays the one that was checked. Paths
//! through the descriptor are short, too, however deep the directory lies.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use hermes_host::disk;
use hermes_wire::endpoint::{DATA_BACKLOG, DIR_MODE, MAX_SOCKET_PATH, RuntimeDir, SOCKET_MODE};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmod, fchmodat, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use socket2::{Domain, SockAddr, Socket, Type};

/// Enough to look at what a name leads to, and to go on from there.
#[cfg(target_os = "linux")]
const LOOK: OFlag = OFlag::O_PATH;
#[cfg(not(target_os = "linux"))]
const LOOK: OFlag = OFlag::O_RDONLY;

/// What tells a file from another one of the same name.
pub(super) type Id = (u64, u64);

/// A directory of ours.
#[derive(Debug)]
pub(super) struct Directory {
    path: Utf8PathBuf,
    fd: OwnedFd,
    id: Id,
}

impl Directory {
    /// Makes it, or takes one that exists: it has to be ours, and of one that is reached through others' directories nobody else
    /// may decide which it is.
    pub(super) fn open(place: &RuntimeDir) -> io::Result<Self> {
        let path = place.path().to_owned();
        let make = if place.is_shared() { Make::All } else { Make::Last };
        let (reached, objection) = walk(&path, place.is_shared(), make)?;
        match objection {
            Some(objection) if place.is_shared() => return Err(refused(objection)),
            Some(objection) => tracing::debug!("the place of the sockets: {objection}"),
            None => {}
        }
        let fd = reached.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        // A descriptor that can be changed by.
        let fd = openat(&fd, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        let found = fstat(&fd)?;
        let own = nix::unistd::geteuid().as_raw();
        if found.st_uid != own {
            return Err(refused(format!("`{path}` belongs to user {}, not to {own}", found.st_uid)));
        }
        if u32::from(mode_of(&found)) != DIR_MODE {
            // Ours, but open to others: whoever made it before may have put something in.
            fchmod(&fd, mode(DIR_MODE))?;
        }
        Ok(Self { path, id: id_of(&found), fd })
    }

    pub(super) fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// Whether its path still leads to it.
    pub(super) fn is_in_place(&self) -> bool {
        fs_err::metadata(&self.path).is_ok_and(|found| self.id == id_of_metadata(&found))
    }

    /// Listens under `name`, replacing a socket that an earlier run of ours left there. The caller holds the instance lock.
    pub(super) fn listen(&self, name: &str) -> io::Result<UnixListener> {
        self.remove(name)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&self.address(name)?)?;
        // Until now nobody else could enter the directory either.
        fchmodat(&self.fd, name, mode(SOCKET_MODE), FchmodatFlags::FollowSymlink)?;
        socket.listen(DATA_BACKLOG)?;
        Ok(OwnedFd::from(socket).into())
    }

    /// Changes whenever a name in it comes or goes.
    pub(super) fn stamp(&self) -> Option<(i64, i64)> {
        fstat(&self.fd).ok().map(|found| (found.st_mtime, found.st_mtime_nsec))
    }

    /// What is under `name`.
    pub(super) fn id(&self, name: &str) -> Option<Id> {
        fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW).ok().map(|found| id_of(&found))
    }

    /// Holds what is under `name` itself, where the system knows such descriptors.
    #[cfg(target_os = "linux")]
    pub(super) fn hold(&self, name: &str) -> io::Result<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(openat(&self.fd, name, flags, Mode::empty())?)
    }

    /// Makes `name` a link to `target`, in place of what an earlier run of ours left there.
    #[cfg(target_os = "linux")]
    pub(super) fn link(&self, name: &str, target: &str) -> io::Result<()> {
        self.remove(name)?;
        Ok(nix::unistd::symlinkat(target, &self.fd, name)?)
    }

    /// Whether `name` is a link to `target`.
    #[cfg(target_os = "linux")]
    pub(super) fn is_link(&self, name: &str, target: &str) -> bool {
        nix::fcntl::readlinkat(&self.fd, name).is_ok_and(|found| found == target)
    }

    /// Removes a socket, or a link to one, of ours; anything else in its place is not ours to remove.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        let found = match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            Err(Errno::ENOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let kind = SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT;
        let own = nix::unistd::geteuid().as_raw();
        if !matches!(kind, SFlag::S_IFSOCK | SFlag::S_IFLNK) || found.st_uid != own {
            return Err(refused(format!("`{}` is not a socket of ours; move it away", self.path.join(name))));
        }
        Ok(unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Removes the directory itself, where nothing is left in it and its path still leads to it.
    pub(super) fn dissolve(&self) {
        if self.is_in_place() {
            let _ = fs_err::remove_dir(&self.path);
        }
    }

    fn address(&self, name: &str) -> io::Result<SockAddr> {
        address(&self.path, self.fd.as_fd(), name)
    }
}

/// The address of `name` in a directory that is open: through its descriptor where the system allows that.
pub(super) fn address(path: &Utf8Path, fd: impl AsFd, name: &str) -> io::Result<SockAddr> {
    if let Some(through) = through(fd) {
        return SockAddr::unix(format!("{through}/{name}"));
    }
    let path = path.join(name);
    if path.as_str().len() > MAX_SOCKET_PATH {
        let len = path.as_str().len();
        return Err(refused(format!(
            "the socket path `{path}` has {len} bytes, the limit is {MAX_SOCKET_PATH}; set XDG_RUNTIME_DIR to a shorter directory"
        )));
    }
    SockAddr::unix(path)
}

/// A path that leads to the very file that a descriptor of ours holds.
pub(super) fn through(fd: impl AsFd) -> Option<String> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    (cfg!(target_os = "linux") && fs_err::symlink_metadata(&path).is_ok()).then_some(path)
}

/// Why `place` would not be used for sockets; nothing is made.
pub(super) fn objection(place: &RuntimeDir) -> Option<io::Error> {
    let own = nix::unistd::geteuid().as_raw();
    match walk(place.path(), place.is_shared(), Make::Nothing) {
        Err(error) => Some(error),
        Ok((_, Some(objection))) if place.is_shared() => Some(refused(objection)),
        Ok((Some(fd), _)) => {
            let found = fstat(&fd).ok()?;
            (found.st_uid != own).then(|| {
                refused(format!("`{}` belongs to user {}, not to {own}", place.path(), found.st_uid))
            })
        }
        // A home that a start makes comes before the directory in it.
        Ok((None, _)) => disk::could_make(place.path()).err(),
    }
}

/// Which directories are made where they are missing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Make {
    Nothing,
    /// A home that was removed must not come back.
    Last,
    All,
}

/// Goes from the root to `path` one directory after the other, making those that are missing where `make` says so. The result is
/// the directory, where it exists now, and the first thing that lets others decide which one it is; with `strict` the way ends there.
fn walk(path: &Utf8Path, strict: bool, make: Make) -> io::Result<(Option<OwnedFd>, Option<String>)> {
    let real = resolved(path)?;
    let own = nix::unistd::geteuid().as_raw();
    let flags = LOOK | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut at = nix::fcntl::open("/", flags, Mode::empty())?;
    let mut so_far = Utf8PathBuf::from("/");
    let mut first = judge(&so_far, &fstat(&at)?, own);
    for part in real.components() {
        let Utf8Component::Normal(name) = part else { continue };
        if strict && first.is_some() {
            return Ok((None, first));
        }
        so_far.push(name);
        let opened = match openat(&at, name, flags, Mode::empty()) {
            Err(Errno::ENOENT) if make == Make::All || (make == Make::Last && so_far == real) => {
                // Somebody may be faster; what is there then is judged like anything else.
                match mkdirat(&at, name, mode(DIR_MODE)) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(error) => return Err(named("make", &so_far, error)),
                }
                openat(&at, name, flags, Mode::empty())
            }
            Err(Errno::ENOENT) => return Ok((None, first)),
            other => other,
        };
        at = opened.map_err(|error| named("open", &so_far, error))?;
        // The directory itself is closed to others by whoever takes it.
        let found = fstat(&at)?;
        if so_far != real || found.st_uid != own {
            first = first.or_else(|| judge(&so_far, &found, own));
        }
    }
    Ok((Some(at), first))
}

/// What lets somebody else than root and us decide what lies in a directory.
fn judge(path: &Utf8Path, found: &FileStat, own: u32) -> Option<String> {
    if found.st_uid != 0 && found.st_uid != own {
        return Some(format!("`{path}` belongs to user {}", found.st_uid));
    }
    let open = mode_of(found) & 0o022 != 0;
    // In a sticky directory only its owner, who is root or us, and an entry's own owner can replace an entry.
    let sticky = found.st_mode & nix::libc::S_ISVTX != 0;
    (open && !sticky).then(|| format!("`{path}` may be written by others (mode {:o})", mode_of(found)))
}

/// `path` with the links in its existing part resolved.
fn resolved(path: &Utf8Path) -> io::Result<Utf8PathBuf> {
    for existing in path.ancestors() {
        match existing.canonicalize_utf8() {
            Ok(real) => {
                let rest = path.strip_prefix(existing).unwrap_or(Utf8Path::new(""));
                return Ok(if rest.as_str().is_empty() { real } else { real.join(rest) });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

fn named(doing: &str, path: &Utf8Path, error: Errno) -> io::Error {
    io::Error::new(io::Error::from(error).kind(), format!("cannot {doing} `{path}`: {}", error.desc()))
}

fn refused(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, message)
}

#[cfg(target_os = "linux")]
fn id_of(found: &FileStat) -> Id {
    (found.st_dev, found.st_ino)
}

#[cfg(not(target_os = "linux"))]
fn id_of(found: &FileStat) -> Id {
    // A number there is signed, the same bits here are not.
    (u64::from(found.st_dev.cast_unsigned()), found.st_ino)
}

pub(super) fn id_of_metadata(found: &std::fs::Metadata) -> Id {
    use std::os::unix::fs::MetadataExt as _;
    (found.dev(), found.ino())
}

fn mode_of(found: &FileStat) -> u16 {
    u16::try_from(found.st_mode & 0o777).unwrap_or(0o777)
}

fn mode(bits: u32) -> Mode {
    nix::libc::mode_t::try_from(bits).map_or(Mode::S_IRWXU, Mode::from_bits_truncate)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;

    fn base() -> (tempfile::TempDir, Utf8PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(directory.path().canonicalize().unwrap()).unwrap();
        (directory, path)
    }

    fn set_mode(path: &Utf8Path, bits: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(bits)).unwrap();
    }

    #[test]
    fn a_directory_open_to_others_is_closed_and_a_file_in_its_place_is_refused() {
        let (_keep, path) = base();
        let place = RuntimeDir::at(path.join("run"));
        let mode = || std::fs::metadata(place.path()).unwrap().mode() & 0o777;
        Directory::open(&place).unwrap();
        assert_eq!(mode(), 0o700);
        set_mode(place.path(), 0o755);
        Directory::open(&place).unwrap();
        assert_eq!(mode(), 0o700);
        let file = path.join("file");
        fs_err::write(&file, "").unwrap();
        assert!(Directory::open(&RuntimeDir::at(file)).is_err());
    }

    /// 23: every component of the path is checked, not only the last one; nothing is made behind one that fails.
    #[test]
    fn a_component_that_others_may_replace_is_refused() {
        let (_keep, path) = base();
        let place = RuntimeDir::below(&path.join("open/private"), "/h".into());
        fs_err::create_dir_all(path.join("open/private")).unwrap();
        for (bits, fits) in [(0o755, true), (0o777, false), (0o775, false), (0o1777, true), (0o757, false)] {
            set_mode(&path.join("open"), bits);
            assert_eq!(Directory::open(&place).is_ok(), fits, "{bits:o}");
            assert_eq!(objection(&place).is_none(), fits, "{bits:o}");
        }
        let message = Directory::open(&place).unwrap_err().to_string();
        assert!(message.contains("/open`") && message.contains("written by others"), "{message}");
        fs_err::remove_dir_all(path.join("open/private/hermes")).unwrap();
        assert!(Directory::open(&place).is_err());
        assert!(!path.join("open/private/hermes").exists());
        // The same where the way is somebody else's.
        set_mode(&path.join("open"), 0o755);
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(path.join("open"), Some(1234), None).unwrap();
            let message = Directory::open(&place).unwrap_err().to_string();
            assert!(message.contains("belongs to user 1234"), "{message}");
        }
        // A home is trusted as it is, and never made.
        assert!(Directory::open(&RuntimeDir::in_home(&path.join("open/gone"))).is_err());
        assert!(!path.join("open/gone").exists());
        set_mode(&path.join("open"), 0o777);
        Directory::open(&RuntimeDir::in_home(&path.join("open/private"))).unwrap();
    }

    #[test]
    fn links_are_resolved_before_the_way_is_checked() {
        let (_keep, path) = base();
        fs_err::create_dir(path.join("real")).unwrap();
        std::os::unix::fs::symlink("real", path.join("link")).unwrap();
        let directory = Directory::open(&RuntimeDir::below(&path.join("link"), "/h".into())).unwrap();
        assert!(directory.is_in_place() && path.join("real/hermes").is_dir());
        set_mode(&path.join("real"), 0o777);
        assert!(Directory::open(&RuntimeDir::below(&path.join("link"), "/h".into())).is_err());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_foreign_file_is_kept() {
        let (_keep, path) = base();
        // 33: far beyond what an address has room for.
        let deep = (0..5).fold(path, |path, _| path.join("d".repeat(100)));
        fs_err::create_dir_all(&deep).unwrap();
        let directory = Directory::open(&RuntimeDir::in_home(&deep)).unwrap();
        let socket = directory.path().join("w.sock");
        drop(directory.listen("w.sock").unwrap());
        let again = directory.listen("w.sock").unwrap();
        assert_eq!(std::fs::metadata(&socket).unwrap().mode() & 0o777, 0o600);
        let address = address(directory.path(), &directory.fd, "w.sock").unwrap();
        Socket::new(Domain::UNIX, Type::STREAM, None).unwrap().connect(&address).unwrap();
        drop(again);

        fs_err::remove_file(&socket).unwrap();
        fs_err::write(&socket, "precious").unwrap();
        let message = directory.listen("w.sock").unwrap_err().to_string();
        assert!(message.contains("w.sock") && message.contains("not a socket of ours"), "{message}");
        assert_eq!(fs_err::read_to_string(&socket).unwrap(), "precious");
    }
}
