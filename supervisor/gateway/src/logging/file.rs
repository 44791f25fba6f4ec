//! The sinks: `logs/supervisor.log`, size-bounded, and standard error.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use camino::Utf8PathBuf;
use hermes_host::repeats::Line;
use hermes_host::rotation::{Rotating, Stuck};
use hermes_host::zone;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::outlet::Sink;

/// `supervisor.log`, a line with its time.
#[derive(Debug)]
pub(super) struct LogFile(Rotating);

impl LogFile {
    /// Opens the file, so that whoever starts hears why there is none.
    pub(super) fn open(path: Utf8PathBuf, limit: u64, backups: u32) -> io::Result<Self> {
        let mut file = Rotating::new(path, limit, backups, Stuck::IsEmptied);
        file.append(&[])?;
        Ok(Self(file))
    }
}

impl Sink for LogFile {
    fn write(&mut self, lines: &[Line]) -> io::Result<()> {
        let zone = zone::system();
        lines.iter().try_for_each(|line| {
            let time = line.at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S,%3f");
            self.0.append(format!("{time} {}\n", line.text).as_bytes())
        })
    }
}

/// Standard error, without the lock that everybody else who prints would wait for.
pub(super) struct Stderr(OwnedFd);

impl Stderr {
    pub(super) fn new() -> io::Result<Self> {
        io::stderr().as_fd().try_clone_to_owned().map(Self)
    }
}

impl Sink for Stderr {
    fn write(&mut self, lines: &[Line]) -> io::Result<()> {
        let text = lines.iter().fold(String::new(), |text, line| text + &line.text + "\n");
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match nix::unistd::write(&self.0, rest) {
                Ok(len) => rest = &rest[len..],
                Err(nix::errno::Errno::EINTR) => {}
                // Whoever shares this terminal or pipe may have made it non-blocking.
                Err(nix::errno::Errno::EAGAIN) => {
                    let _ = poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::*;

    fn place() -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("logs/supervisor.log");
        (dir, path)
    }

    fn text(path: &Utf8Path) -> String {
        fs_err::read_to_string(path).unwrap()
    }

    /// 33: a log that was moved away or removed, with its directory or without, is made anew under its name.
    #[test]
    fn a_file_that_was_moved_away_is_made_anew() {
        let (_dir, path) = place();
        let mut file = LogFile::open(path.clone(), 1000, 2).unwrap();
        file.write(&[Line::new("one".to_owned())]).unwrap();
        fs_err::rename(&path, path.with_extension("old")).unwrap();
        file.write(&[Line::new("two".to_owned())]).unwrap();
        assert!(text(&path).ends_with(" two\n") && !text(&path).contains("one"));
        assert!(text(&path.with_extension("old")).ends_with(" one\n"));
        fs_err::remove_dir_all(path.parent().unwrap()).unwrap();
        file.write(&[Line::new("three".to_owned())]).unwrap();
        assert!(text(&path).ends_with(" three\n"));
    }
}
