//! Where the local sockets live and what they may look like.
//!
//! `<base>/hermes/<hash of root home>/` (mode 0700, owner verified by whoever opens it) holds `supervisor.sock` and one data
//! socket per worker, all mode 0600. `<base>` is `$XDG_RUNTIME_DIR`, else `<temp dir>/hermes-<uid>` so that two users of one
//! machine never meet. The directory is short on purpose: a socket address has room for 108 bytes on Linux and 104 on macOS.

use camino::{Utf8Path, Utf8PathBuf};
use sha2::{Digest, Sha256};

use crate::{ProfileName, RootHome};

/// Longest socket path in bytes that works everywhere, the terminating zero excluded.
pub const MAX_SOCKET_PATH: usize = 103;
/// Mode of the directory that holds sockets.
pub const DIR_MODE: u32 = 0o700;
/// Mode of a socket.
pub const SOCKET_MODE: u32 = 0o600;
/// Connections that may wait on a data socket while its worker starts.
pub const DATA_BACKLOG: i32 = 4096;

/// The runtime directory of one root home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeDir(Utf8PathBuf);

/// A socket path does not fit into a socket address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the socket path `{path}` has {} bytes, the limit is {MAX_SOCKET_PATH}; set XDG_RUNTIME_DIR or TMPDIR to a shorter directory",
    path.as_str().len()
)]
pub struct PathTooLong {
    /// The path.
    pub path: Utf8PathBuf,
}

impl RuntimeDir {
    /// The directory for `root`, which must be absolute and resolved, so that two spellings of one home meet.
    ///
    /// `xdg_runtime_dir` and `temp_dir` come from the caller's environment; `uid` is the caller's user id.
    pub fn new(root: &RootHome, xdg_runtime_dir: Option<&Utf8Path>, temp_dir: &Utf8Path, uid: u32) -> Self {
        let base = match xdg_runtime_dir {
            Some(dir) if !dir.as_str().is_empty() => dir.join("hermes"),
            _ => temp_dir.join(format!("hermes-{uid}")),
        };
        Self(base.join(short_hash(root.path().as_str())))
    }

    /// The directory itself.
    pub fn path(&self) -> &Utf8Path {
        &self.0
    }

    /// Where the command line reaches the supervisor.
    pub fn supervisor_socket(&self) -> Result<Utf8PathBuf, PathTooLong> {
        checked(self.0.join("supervisor.sock"))
    }

    /// Where a worker's HTTP is reached: `<profile>.sock`, or a hash where that would not fit.
    pub fn data_socket(&self, profile: &ProfileName) -> Result<Utf8PathBuf, PathTooLong> {
        let readable = self.0.join(format!("w-{profile}.sock"));
        if readable.as_str().len() <= MAX_SOCKET_PATH {
            return Ok(readable);
        }
        checked(self.0.join(format!("h-{}.sock", short_hash(profile.as_str()))))
    }
}

fn checked(path: Utf8PathBuf) -> Result<Utf8PathBuf, PathTooLong> {
    if path.as_str().len() <= MAX_SOCKET_PATH { Ok(path) } else { Err(PathTooLong { path }) }
}

/// First 16 hexadecimal digits of SHA-256.
pub fn short_hash(text: &str) -> String {
    use std::fmt::Write as _;
    Sha256::digest(text.as_bytes()).iter().take(8).fold(String::with_capacity(16), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_have_short_stable_paths() {
        let root = RootHome::new("/home/u/.hermes");
        let dir = RuntimeDir::new(&root, Some("/run/user/1000".into()), "/tmp".into(), 1000);
        assert_eq!(dir.supervisor_socket().unwrap().parent().unwrap(), dir.path());
        assert_eq!(dir.data_socket(&"coder".parse().unwrap()).unwrap().file_name(), Some("w-coder.sock"));
        let long: ProfileName = "x".repeat(64).parse().unwrap();
        assert!(dir.data_socket(&long).unwrap().as_str().len() <= MAX_SOCKET_PATH);
        let no_xdg = RuntimeDir::new(&root, None, "/tmp".into(), 1000);
        assert!(no_xdg.path().as_str().starts_with("/tmp/hermes-1000/"));
    }

    #[test]
    fn a_path_that_cannot_fit_says_what_to_do() {
        let deep = format!("/{}", "d".repeat(100));
        let dir = RuntimeDir::new(&RootHome::new("/h"), Some(deep.as_str().into()), "/tmp".into(), 1);
        let message = dir.supervisor_socket().unwrap_err().to_string();
        assert!(message.contains("XDG_RUNTIME_DIR"), "{message}");
    }
}
