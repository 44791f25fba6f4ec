//! Where the tools for files work: paths as a model writes them become files that may be touched.
//!
//! A path is resolved first: relative to the workspace, `~` for the user's home, every link followed, also of what does not exist yet. The
//! result is judged ([`super::guard`]) and then opened name by name without following any link, so that a link which somebody puts there
//! meanwhile leads nowhere. What is written is written beside its place, in the directory that was judged, and takes it whole.

use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use hermes_config::ProfileConfig;
use hermes_wire::ProfileHome;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstatat};

use super::ToolError;
use super::guard::{Guard, Intent};

/// Largest file that is changed or searched, in bytes.
pub(super) const MAX_FILE: u64 = 32 << 20;
/// Links that are followed in what does not exist yet; more are a circle.
const MAX_LINKS: usize = 40;
/// Directories are opened only to go through them.
#[cfg(target_os = "linux")]
const THROUGH: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY);
#[cfg(not(target_os = "linux"))]
const THROUGH: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY);
const EXACT: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_CLOEXEC);

/// Where one profile's tools work, and within which limits.
#[derive(Debug)]
pub(super) struct Place {
    workspace: Utf8PathBuf,
    user: Option<Utf8PathBuf>,
    home: ProfileHome,
    /// Changes come one after the other: each reads what the one before wrote.
    changing: Mutex<()>,
    pub(super) limits: hermes_config::ToolSettings,
}

/// A path that was judged, with what leads to it.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) path: Utf8PathBuf,
}

impl Place {
    pub(super) fn new(config: &ProfileConfig, home: &ProfileHome) -> Self {
        let user = std::env::home_dir().and_then(|path| Utf8PathBuf::from_path_buf(path).ok());
        let workspace = config.tools.workspace(home, user.as_deref());
        Self { workspace, user, home: home.clone(), changing: Mutex::new(()), limits: config.tools.clone() }
    }

    /// The directory that relative paths are relative to; the profile's own is made when it is missing. Blocks.
    pub(super) fn workspace(&self) -> Result<Utf8PathBuf, ToolError> {
        if self.limits.cwd.is_none() {
            hermes_host::disk::make_dirs(&self.workspace, 0o700)
                .map_err(|error| ToolError(format!("cannot make `{}`: {error}", self.workspace)))?;
        }
        self.workspace.canonicalize_utf8().map_err(|error| {
            ToolError(format!(
                "the workspace `{}` cannot be used: {error}; `terminal.cwd` in config.yaml says where it is",
                self.workspace
            ))
        })
    }

    /// A path as it is written, `~` replaced.
    pub(super) fn expanded(&self, path: &str) -> Utf8PathBuf {
        match (path.strip_prefix('~'), &self.user) {
            (Some(rest), Some(user)) if rest.is_empty() || rest.starts_with('/') => {
                user.join(rest.trim_start_matches('/'))
            }
            _ => Utf8PathBuf::from(path),
        }
    }

    /// The user's home.
    pub(super) fn user(&self) -> Option<&Utf8Path> {
        self.user.as_deref()
    }

    /// The judge, as the file system is now. Blocks.
    pub(super) fn guard(&self) -> Guard {
        Guard::new(&self.home, self.user.as_deref(), &self.workspace)
    }

    /// Held while a file is read and written back.
    pub(super) fn changing(&self) -> MutexGuard<'_, ()> {
        // It guards nothing in memory that could be half done.
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a path leads, if that may be read or written. Blocks.
    pub(super) fn judge(&self, path: &str, intents: &[Intent]) -> Result<Judged, ToolError> {
        if path.trim().is_empty() || path.contains('\0') {
            return Err(ToolError("`path` is empty or no path".to_owned()));
        }
        let path = self.expanded(path);
        let path = if path.is_absolute() { path } else { self.workspace()?.join(path) };
        let real = real(&path).map_err(|error| ToolError(format!("`{path}` cannot be found: {error}")))?;
        let guard = self.guard();
        match intents.iter().find_map(|intent| guard.refuses(&real, *intent)) {
            Some(refusal) => Err(ToolError(refusal)),
            None => Ok(Judged { path: real }),
        }
    }

    /// Opens a regular file that was judged for reading. Blocks.
    pub(super) fn open(&self, judged: &Judged) -> Result<std::fs::File, ToolError> {
        open(&self.guard(), &judged.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ToolError(format!("File not found: {}", judged.path)),
            _ => ToolError(format!("`{}` cannot be read: {error}", judged.path)),
        })
    }

    /// All of a text file that was judged. Blocks.
    pub(super) fn text(&self, judged: &Judged) -> Result<String, ToolError> {
        let file = self.open(judged)?;
        let wrong = |why: String| ToolError(format!("`{}` {why}", judged.path));
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| wrong(format!("cannot be read: {error}")))?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(wrong(format!("is larger than {MAX_FILE} bytes, the most that is changed")));
        }
        String::from_utf8(bytes).map_err(|_| wrong("is no text in UTF-8".to_owned()))
    }

    /// Whether something is there. Blocks.
    pub(super) fn exists(judged: &Judged) -> Result<bool, ToolError> {
        match fs_err::symlink_metadata(&judged.path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(ToolError(error.to_string())),
        }
    }

    /// Puts `text` in the place of a file that was judged, whole, with the mode of what is there; directories above it are made. Whether
    /// any were. Blocks.
    pub(super) fn write(&self, judged: &Judged, text: &str) -> Result<bool, ToolError> {
        let write = || -> io::Result<bool> {
            let (dir, name, is_new) = enter(&judged.path, true)?;
            let mode = match fstatat(&dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(_) => {
                    let found = open(&self.guard(), &judged.path)?.metadata()?;
                    found.permissions().mode() & 0o777
                }
                Err(nix::errno::Errno::ENOENT) => 0o644,
                Err(error) => return Err(error.into()),
            };
            hermes_host::file::write_atomic(&through(&dir, &judged.path, name), text.as_bytes(), mode, true)?;
            Ok(is_new)
        };
        write().map_err(|error| ToolError(format!("`{}` cannot be written: {error}", judged.path)))
    }

    /// Takes a file away that was judged. Blocks.
    pub(super) fn remove(&self, judged: &Judged) -> Result<(), ToolError> {
        let remove = || -> io::Result<()> {
            open(&self.guard(), &judged.path)?;
            let (dir, name, _) = enter(&judged.path, false)?;
            Ok(nix::unistd::unlinkat(&dir, name, nix::unistd::UnlinkatFlags::NoRemoveDir)?)
        };
        remove().map_err(|error| ToolError(format!("`{}` cannot be deleted: {error}", judged.path)))
    }

    /// Gives a file another place, where nothing is. Both were judged. Blocks.
    pub(super) fn rename(&self, from: &Judged, to: &Judged) -> Result<(), ToolError> {
        let rename = || -> io::Result<()> {
            open(&self.guard(), &from.path)?;
            let (from_dir, from_name, _) = enter(&from.path, false)?;
            let (to_dir, to_name, _) = enter(&to.path, true)?;
            let (source, target) =
                (through(&from_dir, &from.path, from_name), through(&to_dir, &to.path, to_name));
            hermes_host::disk::rename_new(&source, &target)
        };
        rename().map_err(|error| ToolError(format!("`{}` cannot become `{}`: {error}", from.path, to.path)))
    }

    /// A path as it is shown: short where it is in the workspace.
    pub(super) fn shown<'a>(path: &'a Utf8Path, workspace: &Utf8Path) -> &'a Utf8Path {
        path.strip_prefix(workspace).ok().filter(|short| !short.as_str().is_empty()).unwrap_or(path)
    }
}

/// Opens the regular file at a resolved path, following no link, and judges what it turns out to be.
pub(super) fn open(guard: &Guard, path: &Utf8Path) -> io::Result<std::fs::File> {
    let (dir, name, _) = enter(path, false)?;
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | EXACT;
    let file = std::fs::File::from(openat(&dir, name, flags, Mode::empty())?);
    let found = file.metadata()?;
    if found.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "it is a directory; `search_files` lists it",
        ));
    }
    if !found.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is a device, a pipe or a socket, and no file",
        ));
    }
    match guard.refuses_link(path, &found) {
        Some(refusal) => Err(io::Error::new(io::ErrorKind::PermissionDenied, refusal)),
        None => Ok(file),
    }
}

/// The directory of a resolved path, entered name by name; with `make` what is missing is made. Whether anything was.
fn enter(path: &Utf8Path, make: bool) -> io::Result<(OwnedFd, &str, bool)> {
    let no_file = || io::Error::new(io::ErrorKind::InvalidInput, "it is no path of a file");
    let (parent, name) = (path.parent().ok_or_else(no_file)?, path.file_name().ok_or_else(no_file)?);
    let mut dir = nix::fcntl::open("/", THROUGH | EXACT, Mode::empty())?;
    let (mut so_far, mut is_new) = (Utf8PathBuf::from("/"), false);
    for part in parent.components() {
        let part = match part {
            Utf8Component::RootDir => continue,
            Utf8Component::Normal(part) => part,
            _ => return Err(no_file()),
        };
        so_far.push(part);
        let mut next = openat(&dir, part, THROUGH | EXACT, Mode::empty());
        if make && matches!(next, Err(nix::errno::Errno::ENOENT)) {
            match hermes_host::file::make_dir(&through(&dir, &so_far, part), 0o755) {
                Ok(()) => is_new = true,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            next = openat(&dir, part, THROUGH | EXACT, Mode::empty());
        }
        dir = next?;
    }
    Ok((dir, name, is_new))
}

/// A name in an open directory, as a path: where there is `/proc`, what happens to the directory's own path meanwhile means nothing.
fn through(dir: &OwnedFd, path: &Utf8Path, name: &str) -> Utf8PathBuf {
    let open = Utf8PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    if cfg!(target_os = "linux") && open.exists() { open.join(name) } else { path.to_owned() }
}

/// An absolute path without links, `.` and `..`. What does not exist is taken as it is written, below what does.
fn real(path: &Utf8Path) -> io::Result<Utf8PathBuf> {
    let mut missing: Vec<String> = Vec::new();
    let mut at = path.to_owned();
    for _ in 0..MAX_LINKS + path.components().count() {
        match at.canonicalize_utf8() {
            Ok(real) => return Ok(missing.iter().rev().fold(real, |real, name| real.join(name))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let parent = at.parent().map(Utf8Path::to_owned).ok_or(io::ErrorKind::NotFound)?;
        // A link to what does not exist leads there.
        if let Ok(target) = at.read_link_utf8() {
            at = parent.join(target);
            continue;
        }
        // `..` after what does not exist leads nowhere.
        let name = at.file_name().ok_or(io::ErrorKind::NotFound)?.to_owned();
        missing.push(name);
        at = parent;
    }
    Err(io::Error::other("too many links"))
}

#[cfg(test)]
mod tests;
