//! What reading a file came to: there, not there, or there and unreadable. The last is never taken for the second.

use std::io;

use camino::Utf8Path;

/// Whether a path holds what it should, and why not.
pub type Look = fn(&Utf8Path) -> Result<(), String>;

/// What reading a file came to.
#[derive(Debug, Clone, Default)]
pub enum Found<B> {
    /// There is no such file.
    #[default]
    Absent,
    /// Its bytes, at most one more than [`super::MAX_FILE_LEN`].
    Bytes(B),
    /// It is there and cannot be read.
    Unreadable {
        /// What kind of failure.
        kind: io::ErrorKind,
        /// The system's words.
        why: String,
    },
}

impl<B: AsRef<[u8]>> Found<B> {
    /// What an attempt to read `path` came to. A dangling link is not an absent file.
    pub fn of(read: io::Result<B>, path: &Utf8Path) -> Self {
        match read {
            Ok(bytes) => Self::Bytes(bytes),
            Err(e) if e.kind() == io::ErrorKind::NotFound && !path.is_symlink() => Self::Absent,
            Err(e) => Self::Unreadable { kind: e.kind(), why: plain(&e) },
        }
    }

    /// The same, by reference.
    pub(super) fn borrowed(&self) -> Found<&[u8]> {
        match self {
            Self::Absent => Found::Absent,
            Self::Bytes(bytes) => Found::Bytes(bytes.as_ref()),
            Self::Unreadable { kind, why } => Found::Unreadable { kind: *kind, why: why.clone() },
        }
    }

    /// The bytes, where there are some.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes.as_ref()),
            Self::Absent | Self::Unreadable { .. } => None,
        }
    }
}

/// The system's words alone; the path is a field of the problem already.
fn plain(error: &io::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}
