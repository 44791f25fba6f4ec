//! The sinks: `logs/supervisor.log`, size-bounded, and standard error.

use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::outlet::Sink;
use super::repeats::Line;

/// A file that is renamed to `.1` when it grows beyond its limit, the older ones moving up. One that was moved away or removed is
/// made anew: its name is what people look at.
#[derive(Debug)]
pub(super) struct RotatingFile {
    path: Utf8PathBuf,
    limit: u64,
    backups: u32,
    file: fs_err::File,
    id: (u64, u64),
    size: u64,
}

impl RotatingFile {
    pub(super) fn open(path: Utf8PathBuf, limit: u64, backups: u32) -> io::Result<Self> {
        let (file, id, size) = open(&path)?;
        Ok(Self { path, limit, backups, file, id, size })
    }

    fn write_line(&mut self, line: &str) -> io::Result<()> {
        if self.size > 0 && self.size + line.len() as u64 > self.limit {
            self.rotate()?;
        }
        self.file.write_all(line.as_bytes())?;
        self.size += line.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        for n in (1..self.backups).rev() {
            let _ = fs_err::rename(self.backup(n), self.backup(n + 1));
        }
        if fs_err::rename(&self.path, self.backup(1)).is_err() {
            // Cannot make room by renaming: a bounded log is worth more than an old one.
            let _ = self.file.set_len(0);
        }
        self.reopen()
    }

    /// Makes the file under the name the one that is written to.
    fn reopen(&mut self) -> io::Result<()> {
        (self.file, self.id, self.size) = open(&self.path)?;
        Ok(())
    }

    fn is_in_place(&self) -> bool {
        fs_err::symlink_metadata(&self.path).is_ok_and(|found| {
            // A link leads to a file that somebody chose.
            found.is_symlink() || (found.dev(), found.ino()) == self.id
        })
    }

    fn backup(&self, n: u32) -> Utf8PathBuf {
        Utf8PathBuf::from(format!("{}.{n}", self.path))
    }
}

impl Sink for RotatingFile {
    fn write(&mut self, lines: &[Line]) -> io::Result<()> {
        if !self.is_in_place() {
            self.reopen()?;
        }
        let zone = jiff::tz::TimeZone::system();
        lines.iter().try_for_each(|line| {
            let time = line.at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S,%3f");
            self.write_line(&format!(
                "{time} {}
",
                line.text
            ))
        })
    }
}

fn open(path: &Utf8Path) -> io::Result<(fs_err::File, (u64, u64), u64)> {
    use std::os::unix::fs::OpenOptionsExt as _;
    if let Some(dir) = path.parent()
        && !dir.is_dir()
    {
        hermes_host::disk::make_dir(dir, 0o700)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.append(true).mode(0o600).custom_flags(nix::libc::O_NONBLOCK);
    let file = hermes_host::disk::open_or_create(path, &options)?;
    let file = fs_err::File::from_parts(file, path);
    let found = file.metadata()?;
    Ok((file, (found.dev(), found.ino()), found.len()))
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
    use super::*;

    fn place() -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("logs/supervisor.log");
        (dir, path)
    }

    fn text(path: &Utf8Path) -> String {
        fs_err::read_to_string(path).unwrap()
    }

    #[test]
    fn the_file_stays_bounded_and_backups_move_up() {
        let (_dir, path) = place();
        let mut file = RotatingFile::open(path.clone(), 100, 2).unwrap();
        for n in 0..40 {
            file.write_line(&format!("line number {n:4}\n")).unwrap();
        }
        assert!(text(&path).ends_with("line number   39\n"));
        for n in 0..=2 {
            let name = if n == 0 { path.clone() } else { format!("{path}.{n}").into() };
            assert!(text(&name).len() <= 100, "{name}");
        }
        assert!(!Utf8PathBuf::from(format!("{path}.3")).exists());
    }

    /// 33: a log that was moved away or removed, with its directory or without, is made anew under its name.
    #[test]
    fn a_file_that_was_moved_away_is_made_anew() {
        let (_dir, path) = place();
        let mut file = RotatingFile::open(path.clone(), 1000, 2).unwrap();
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
