//! Files of a living home: whether they are still what they were when they were opened.

use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};

use camino::Utf8Path;
use hermes_wire::absence::is_absence;
use nix::libc;

/// Said of what was there when the home was looked through.
pub(super) const GONE: &str = "it vanished while the archive was written";
/// Said of what never stood still.
pub(super) const CHANGED: &str = "it changed while it was read";

/// Opens a regular file without waiting for a writer of a FIFO that took its place.
pub(super) fn open(path: &Utf8Path) -> io::Result<std::fs::File> {
    let flags = libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOFOLLOW;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::from_raw_os_error(libc::ENXIO)) }
}

/// Whether an error says that the file is not there any more, or something else in its place.
pub(super) fn is_gone(error: &io::Error) -> bool {
    is_absence(error)
        || matches!(
            error.raw_os_error(),
            Some(libc::ELOOP | libc::ENXIO | libc::ENODEV | libc::ESTALE | libc::EISDIR)
        )
}

/// What a file looks like at one moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Look {
    id: (u64, u64),
    size: u64,
    times: [i64; 4],
}

impl Look {
    pub(super) fn at(file: &std::fs::File) -> io::Result<Self> {
        file.metadata().map(|meta| Self::of(&meta))
    }

    /// Whether the same file, unchanged, is still at `path`.
    pub(super) fn is_still_at(&self, path: &Utf8Path) -> bool {
        fs_err::metadata(path).is_ok_and(|meta| Self::of(&meta) == *self)
    }

    fn of(meta: &std::fs::Metadata) -> Self {
        Self {
            id: (meta.dev(), meta.ino()),
            size: meta.size(),
            times: [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()],
        }
    }

    /// Bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }
}
