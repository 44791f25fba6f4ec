//! Where the local sockets live and what they may look like.
//!
//! A directory (mode 0700, owner verified by whoever opens it) holds `supervisor.sock` and one data socket per worker, all mode
//! 0600: `$XDG_RUNTIME_DIR/hermes/<hash of home>`, or `gateway.run` in the home itself where the system has no such place.
//! Never a directory that every user may write to. The one in use is in the PID record.

use camino::{Utf8Path, Utf8PathBuf};
use sha2::{Digest, Sha256};

use crate::ProfileName;

/// Longest socket path in bytes that works everywhere, the terminating zero excluded: an address has room for 108 bytes on Linux
/// and for 104 on macOS. Where a socket can be reached through a descriptor of its directory, longer ones work as well.
pub const MAX_SOCKET_PATH: usize = 103;
/// Mode of the directory that holds sockets.
pub const DIR_MODE: u32 = 0o700;
/// Mode of a socket.
pub const SOCKET_MODE: u32 = 0o600;
/// Connections that may wait on a data socket while its worker starts.
pub const DATA_BACKLOG: i32 = 4096;
/// Where the command line reaches the supervisor.
pub const SUPERVISOR_SOCKET: &str = "supervisor.sock";
/// The directory in a home, where there is no better one.
pub const IN_HOME: &str = "gateway.run";

/// A directory that may hold the sockets of one home's gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeDir {
    path: Utf8PathBuf,
    shared: bool,
}

impl RuntimeDir {
    /// Below a directory of the system's, for `home`, which must be absolute and resolved, so that two spellings of one home meet.
    pub fn below(base: &Utf8Path, home: &Utf8Path) -> Self {
        Self { path: base.join("hermes").join(short_hash(home.as_str())), shared: true }
    }

    /// In `home` itself.
    pub fn in_home(home: &Utf8Path) -> Self {
        Self::at(home.join(IN_HOME))
    }

    /// This very directory, whose place the caller vouches for.
    pub fn at(path: Utf8PathBuf) -> Self {
        Self { path, shared: false }
    }

    /// The directory itself.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// Whether the directories that lead to it are others' as well, so that each has to be checked. A home is trusted with keys as
    /// it is.
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// Where the command line reaches the supervisor.
    pub fn supervisor_socket(&self) -> Utf8PathBuf {
        self.path.join(SUPERVISOR_SOCKET)
    }
}

/// File name of a worker's data socket.
pub fn data_socket(profile: &ProfileName) -> String {
    format!("w-{profile}.sock")
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
    fn every_home_has_a_short_stable_directory_of_its_own() {
        let dir = RuntimeDir::below("/run/user/1000".into(), "/home/u/.hermes".into());
        assert_eq!(dir.supervisor_socket().parent().unwrap(), dir.path());
        assert_eq!(dir, RuntimeDir::below("/run/user/1000".into(), "/home/u/.hermes".into()));
        let long =
            RuntimeDir::below("/run/user/1000".into(), format!("/{}", "d".repeat(500)).as_str().into());
        assert_eq!(long.path().as_str().len(), dir.path().as_str().len());
        assert_ne!(long, dir);
        let own = RuntimeDir::in_home("/home/u/.hermes".into());
        assert_eq!(own.path(), "/home/u/.hermes/gateway.run");
        assert!(dir.is_shared() && !own.is_shared());
        assert_eq!(data_socket(&"coder".parse().unwrap()), "w-coder.sock");
    }
}
