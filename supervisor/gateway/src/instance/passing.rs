//! The lock passes from the program that a gateway is to the one that it becomes, and is never free in between.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;

use camino::Utf8Path;
use hermes_wire::ProfileName;
use nix::fcntl::{Flock, FlockArg};

use super::{Instance, InstanceError, io_error, lock_path};

impl Instance {
    /// Goes on as the gateway of `home`, whose lock this process took when it was another program. The records name this one.
    pub(crate) fn go_on(
        lock: OwnedFd,
        home: &Utf8Path,
        profile: &ProfileName,
        argv: Vec<String>,
        runtime_dir: &Utf8Path,
    ) -> Result<Self, InstanceError> {
        let path = lock_path(home);
        let lock = std::fs::File::from(lock);
        let id = |found: std::fs::Metadata| (found.dev(), found.ino());
        let ids = lock.metadata().map(id).and_then(|held| Ok((held, std::fs::metadata(&path).map(id)?)));
        let (held, found) = ids.map_err(|source| io_error("look at", &path, source))?;
        if held != found {
            return Err(InstanceError::Foreign { path, what: "another file than the one that was locked" });
        }
        // Of an open file that has the lock this changes nothing.
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| io_error("lock", &path, errno.into()))?;
        Self::record_as(lock, home, (profile, argv, runtime_dir))
    }

    /// The locked file, for the program that this process becomes: the record stays.
    pub(crate) fn hand_over(mut self) -> Option<OwnedFd> {
        self.is_handed_over = true;
        let lock = self.lock.take()?;
        let copy = lock.try_clone().map(OwnedFd::from);
        // Dropped, it would unlock all copies.
        std::mem::forget(lock);
        copy.ok()
    }
}
