//! Whose fault an error is: that of the machine, which passes by itself, or another.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::path::Path;

use nix::libc;

use crate::cause;

/// Errors that say "not now": no space, no memory, no descriptors, no process or thread, a disk that fails or was made
/// read-only.
const NUMBERS: [i32; 10] = [
    libc::EAGAIN,
    libc::EBUSY,
    libc::EDQUOT,
    libc::EIO,
    libc::EMFILE,
    libc::ENFILE,
    libc::ENOBUFS,
    libc::ENOMEM,
    libc::ENOSPC,
    libc::EROFS,
];

/// Whether an error of the system is the machine's fault.
pub fn is_of_machine(error: &io::Error) -> bool {
    let of_kind = matches!(
        error.kind(),
        ErrorKind::StorageFull
            | ErrorKind::QuotaExceeded
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::OutOfMemory
            | ErrorKind::WouldBlock
            | ErrorKind::ResourceBusy
            | ErrorKind::StaleNetworkFileHandle
    );
    of_kind || error.raw_os_error().is_some_and(|number| NUMBERS.contains(&number)) || inner(error)
}

/// What a wrapper like `fs_err`'s has in its chain.
fn inner(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|wrapped| caused_by_machine(wrapped))
}

/// Whether such an error is among the causes of `error`, itself included.
pub fn caused_by_machine(error: &(dyn Error + 'static)) -> bool {
    let mut all = std::iter::once(error).chain(cause::causes(error));
    all.any(|error| error.downcast_ref::<io::Error>().is_some_and(is_of_machine))
}

/// What keeps a directory for logs from being one; nothing where there is none yet.
pub fn of_logs(path: &Path) -> Option<String> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => None,
        Ok(_) => Some("it is not a directory".to_owned()),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            std::fs::symlink_metadata(path).is_ok().then(|| "it is a link that leads nowhere".to_owned())
        }
        Err(e) => Some(e.kind().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot do it")]
    struct Wrapped(#[source] io::Error);

    /// 26: what passes by itself is told from what somebody must mend, however deep it lies.
    #[test]
    fn the_machine_is_blamed_for_its_own_errors_only() {
        for number in NUMBERS {
            assert!(is_of_machine(&io::Error::from_raw_os_error(number)), "{number}");
            assert!(caused_by_machine(&Wrapped(io::Error::from_raw_os_error(number))), "{number}");
            let outer = io::Error::other(Wrapped(io::Error::from_raw_os_error(number)));
            assert!(is_of_machine(&outer), "{number}");
        }
        for number in [libc::ENOENT, libc::EACCES, libc::ENOTDIR, libc::EISDIR, libc::EADDRINUSE] {
            assert!(!caused_by_machine(&Wrapped(io::Error::from_raw_os_error(number))), "{number}");
        }
        assert!(!is_of_machine(&io::Error::other("words")));
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_of_machine(&fs_err::read(dir.path()).unwrap_err()), "a directory is no file");
    }
}
