//! Archives of profiles: written so that the same content always gives the same bytes, read as what a stranger may have made.
//!
//! # Theory of operation
//!
//! ```text
//! writing   members ─▶ tar ─▶ blocks ─▶ deflate (every core) ─▶ one gzip member
//! reading   file ─▶ gunzip or zstd (a thread of its own) ─▶ limits ─▶ tar ─▶ name, kind ─▶ the caller
//! ```
//!
//! **Reading trusts nothing.** A member reaches the caller only with a relative UTF-8 path without `..`, without control
//! characters and not through a link, and only as a file, a directory, or a link that cannot lead out of the top directory. What
//! is declared is held against [`Limits`] before a byte of it is read, what comes out of the decompressor against the ratio, and a
//! stream counts as whole only when its end mark and its checksum have been seen. Records that give one member two sizes or two
//! shapes are refused, because readers of tar disagree about them.
//!
//! **Nothing here touches a file system.** The caller decides what becomes of a member.

// With their paths, because the fuzz target includes this file without the rest of the crate.
#[path = "archive/decode.rs"]
mod decode;
#[path = "archive/gzip.rs"]
mod gzip;
#[path = "archive/path.rs"]
mod path;
#[path = "archive/read.rs"]
mod read;
#[path = "archive/sparse.rs"]
mod sparse;
#[path = "archive/write.rs"]
mod write;

pub use decode::{Format, Pipelined, decode};
pub use gzip::compress;
pub use path::{LinkTarget, MAX_DEPTH, MAX_PATH, link_stays_inside, member_path, printable};
pub use read::{Kind, Member, Summary, Visit, read};
pub use write::Writer;

/// What an archive may be and hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Members, records about members included.
    pub members: u64,
    /// Bytes of everything in it, headers included.
    pub total: u64,
    /// Bytes that come out for each byte that goes in.
    pub ratio: u64,
    /// Bytes that may come out whatever went in.
    pub free: u64,
}

impl Limits {
    /// A quarter of a million members, 8 GiB, a hundredfold beyond the first 32 MiB.
    pub const IMPORT: Self = Self { members: 250_000, total: 8 << 30, ratio: 100, free: 32 << 20 };
}

/// Why an archive was refused.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Not one at all, or damaged.
    #[error("{0}")]
    NotAnArchive(String),
    /// A name that leads out, or none.
    #[error("Unsafe archive member path: {0}")]
    UnsafePath(String),
    /// Neither file nor directory nor a link that stays inside.
    #[error("Unsupported archive member type: {name}")]
    UnsupportedType {
        /// The member.
        name: String,
        /// What it is.
        what: String,
    },
    /// Two members of one name.
    #[error("Duplicate archive member: {0}")]
    Duplicate(String),
    /// One of [`Limits`].
    #[error("{0}")]
    TooLarge(String),
    /// The input could not be read.
    #[error("{0}")]
    Input(std::io::Error),
}

impl From<std::io::Error> for ArchiveError {
    /// An error of a stream: a limit that was reached in it, the system's refusal to read it, or damage.
    fn from(error: std::io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(limit) => limit,
            Err(e) if e.raw_os_error().is_some() => Self::Input(e),
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
                Self::NotAnArchive("it is cut off, or something follows its end".to_owned())
            }
            // The reader of headers quotes them, whatever is in them.
            Err(e) if e.kind() == std::io::ErrorKind::Other => {
                Self::NotAnArchive("what it holds is no tar header".to_owned())
            }
            Err(e) => Self::NotAnArchive(printable(e.to_string().as_bytes())),
        }
    }
}
