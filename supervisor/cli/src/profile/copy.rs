//! Copies a home's entries: which ones is the caller's decision, how is decided here.
//!
//! Files keep mode and time and are cloned by the kernel where the file system can. A link that stays in the tree is kept, one
//! that names the tree by its absolute path is made relative, so that a copy never writes through to its source; one that leads
//! out keeps leading where it led. Sockets, FIFOs and devices are left out and named.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};

/// Deepest directory that is copied.
const DEPTH: usize = 128;

/// A copy under way.
pub(crate) struct Copier<'a> {
    /// The home that is copied; resolved.
    pub(crate) from: &'a Utf8Path,
    /// Where to.
    pub(crate) to: &'a Utf8Path,
    /// Entries that were left out, relative, with the reason.
    pub(crate) left_out: Vec<(Utf8PathBuf, &'static str)>,
    /// Bytes copied.
    pub(crate) bytes: u64,
    /// Called with the bytes copied so far; `false` ends the copy with [`io::ErrorKind::Interrupted`].
    pub(crate) progress: &'a mut dyn FnMut(u64) -> bool,
}

/// An entry that could not be copied.
#[derive(Debug, thiserror::Error)]
#[error("cannot copy `{path}`")]
pub struct CopyError {
    /// The entry.
    pub path: Utf8PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

impl Copier<'_> {
    /// Copies the entry at `path`, relative to the home, with everything below it that `wanted` accepts.
    pub(crate) fn copy(
        &mut self,
        path: &Utf8Path,
        wanted: &dyn Fn(&Utf8Path) -> bool,
    ) -> Result<(), CopyError> {
        self.entry(path, wanted, 0).map_err(|(path, source)| CopyError { path, source })
    }

    /// Copies what `path` leads to, as a plain file with this mode, or its own without one.
    pub(crate) fn copy_file(&mut self, path: &Utf8Path, mode: Option<u32>) -> Result<(), CopyError> {
        self.file(path, mode).map_err(|source| CopyError { path: self.from.join(path), source })
    }

    fn entry(
        &mut self,
        path: &Utf8Path,
        wanted: &dyn Fn(&Utf8Path) -> bool,
        depth: usize,
    ) -> Result<(), (Utf8PathBuf, io::Error)> {
        let source = self.from.join(path);
        let failed = |e: io::Error| (source.clone(), e);
        let meta = match fs_err::symlink_metadata(&source) {
            Ok(meta) => meta,
            // It vanished while the copy was under way: a running agent does that.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(failed(e)),
        };
        let kind = meta.file_type();
        if kind.is_dir() {
            if depth >= DEPTH {
                return Err(failed(io::Error::other("directories are nested too deeply")));
            }
            let target = self.to.join(path);
            let mode = meta.permissions().mode() & 0o777;
            match std::fs::DirBuilder::new().mode(0o700).create(&target) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(failed(e)),
                _ => {}
            }
            for entry in source.read_dir_utf8().map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let below = path.join(entry.file_name());
                if wanted(&below) {
                    self.entry(&below, wanted, depth + 1)?;
                }
            }
            fs_err::set_permissions(&target, std::fs::Permissions::from_mode(mode | 0o700)).map_err(failed)
        } else if kind.is_symlink() {
            self.link(path).map_err(failed)
        } else if kind.is_file() {
            self.file(path, None).map_err(failed)
        } else {
            self.left_out.push((path.to_owned(), "it is a socket, a FIFO or a device"));
            Ok(())
        }
    }

    /// One open of each side: opening is what copying small files costs.
    fn file(&mut self, path: &Utf8Path, mode: Option<u32>) -> io::Result<()> {
        let (source, target) = (self.from.join(path), self.to.join(path));
        // A FIFO that took a file's place is not waited for. Not `fs_err`: the caller names the path that matters.
        let flags = nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC;
        let from = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(source)?;
        let meta = from.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let mode = mode.unwrap_or(meta.permissions().mode() & 0o777 | 0o600);
        let to =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(target)?;
        // By the kernel, and without copying at all where the file system can share blocks.
        self.bytes += io::copy(&mut &from, &mut &to)?;
        to.set_permissions(std::fs::Permissions::from_mode(mode))?;
        if let Ok(modified) = meta.modified() {
            to.set_times(std::fs::FileTimes::new().set_modified(modified))?;
        }
        if (self.progress)(self.bytes) { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
    }

    fn link(&mut self, path: &Utf8Path) -> io::Result<()> {
        let source = self.from.join(path);
        let target = source.read_link_utf8()?;
        let new = link_target(self.from, path, &target);
        std::os::unix::fs::symlink(new, self.to.join(path))
    }
}

/// What a link at `path` in a copy of `home` shall name, when the original names `target`.
fn link_target(home: &Utf8Path, path: &Utf8Path, target: &Utf8Path) -> Utf8PathBuf {
    let dir = path.parent().unwrap_or(Utf8Path::new(""));
    if let Ok(inside) = target.strip_prefix(home) {
        return dir.components().map(|_| "..").collect::<Utf8PathBuf>().join(inside);
    }
    if target.is_absolute() {
        return target.to_owned();
    }
    // Relative: does it stay inside, name by name?
    let mut depth = dir.components().count();
    for part in target.components() {
        match part {
            Utf8Component::ParentDir if depth == 0 => return home.join(dir).join(target),
            Utf8Component::ParentDir => depth -= 1,
            Utf8Component::Normal(_) => depth += 1,
            _ => {}
        }
    }
    target.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_where_they_led_and_never_back_into_the_source() {
        let target = |path, target| {
            link_target(Utf8Path::new("/h"), Utf8Path::new(path), Utf8Path::new(target)).into_string()
        };
        assert_eq!(target("skills/a/x", "../b/y"), "../b/y");
        assert_eq!(target("skills/a/x", "/h/skills/b"), "../../skills/b");
        assert_eq!(target("x", "/h/skills/b"), "skills/b");
        assert_eq!(target("skills/x", "/shared/y"), "/shared/y");
        assert_eq!(target("skills/x", "../../other/y"), "/h/skills/../../other/y");
    }
}
