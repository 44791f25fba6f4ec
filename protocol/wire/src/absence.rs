//! An error is never read as absence: the one place that tells "there is none" from "it could not be looked at".
//!
//! Only the system's "no such file or directory" and "not a directory" (on the way there) mean that something is not there. A
//! refusal, a lack of descriptors, an input or output error, a stale network file system say nothing about that; whoever
//! meets them keeps what he knew, says so and tries again.

use std::io;

/// Results of looking something up.
pub trait OrAbsent<T> {
    /// `Ok(None)` where there is none; an error where that is not known.
    fn or_absent(self) -> io::Result<Option<T>>;
}

impl<T> OrAbsent<T> for io::Result<T> {
    fn or_absent(self) -> io::Result<Option<T>> {
        match self {
            Ok(found) => Ok(Some(found)),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Whether an error says that there is nothing.
pub fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The system's words alone, where an error also names the path that is said beside it anyway.
pub fn words(error: &io::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 9: of all errors only two say that there is nothing.
    #[test]
    fn only_not_found_and_not_a_directory_are_absence() {
        let of = |code: i32| Err::<(), _>(io::Error::from_raw_os_error(code)).or_absent();
        // ENOENT and ENOTDIR; then EPERM, EIO, EACCES, ENFILE, EMFILE, ELOOP, ESTALE, ETIMEDOUT.
        for absent in [2, 20] {
            assert!(matches!(of(absent), Ok(None)), "{absent}");
        }
        for unknown in [1, 5, 13, 23, 24, 40, 116, 110] {
            assert!(of(unknown).is_err(), "{unknown}");
        }
        assert!(matches!(Ok(7).or_absent(), Ok(Some(7))));
    }
}
