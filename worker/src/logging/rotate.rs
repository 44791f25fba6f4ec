//! A file that is appended to and never grows beyond a limit.

use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::file;

/// Mode of log files: they quote messages of people.
const MODE: u32 = 0o600;

/// An open log file with its backups beside it.
#[derive(Debug)]
pub(super) struct Rotating {
    path: Utf8PathBuf,
    open: Option<Open>,
    pub(super) max_len: u64,
    pub(super) backups: u32,
}

#[derive(Debug)]
struct Open {
    file: fs_err::File,
    len: u64,
    identity: (u64, u64),
}

impl Rotating {
    /// Opens nothing yet.
    pub(super) fn new(path: Utf8PathBuf, max_len: u64, backups: u32) -> Self {
        Self { path, open: None, max_len, backups }
    }

    /// Appends whole lines. What makes the file too long goes to a fresh one.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let len = lines.len() as u64;
        let mut open = self.current()?;
        if open.len > 0 && open.len + len > self.max_len {
            drop(open);
            self.rotate()?;
            open = self.current()?;
        }
        let written = open.file.write_all(lines);
        open.len = open.len.saturating_add(len);
        // After a failure the length is unknown: look again next time.
        self.open = written.is_ok().then_some(open);
        written
    }

    /// The open file, unless somebody moved or removed it: another process of this profile may have rotated it.
    fn current(&mut self) -> io::Result<Open> {
        let on_disk = fs_err::metadata(&self.path).ok().map(|m| (m.dev(), m.ino()));
        if let Some(mut open) = self.open.take()
            && Some(open.identity) == on_disk
        {
            // Both generations of a swap append to it.
            open.len = open.len.max(fs_err::File::metadata(&open.file)?.len());
            return Ok(open);
        }
        open(&self.path)
    }

    fn rotate(&self) -> io::Result<()> {
        if self.backups == 0 {
            return fs_err::remove_file(&self.path);
        }
        for number in (1..self.backups).rev() {
            match fs_err::rename(self.backup(number), self.backup(number + 1)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        fs_err::rename(&self.path, self.backup(1))
    }

    fn backup(&self, number: u32) -> Utf8PathBuf {
        format!("{}.{number}", self.path).into()
    }
}

fn open(path: &Utf8Path) -> io::Result<Open> {
    let mut options = std::fs::OpenOptions::new();
    // A FIFO must not hold the thread up; it is refused below.
    options.append(true).mode(MODE).custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC);
    let file = match file::open_or_create(path, &options) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            // Only the folder: a home that was removed must not come back because its worker has something to say.
            if let Some(dir) = path.parent()
                && let Err(e) = file::make_dir(dir, 0o700)
                && e.kind() != io::ErrorKind::AlreadyExists
            {
                return Err(e);
            }
            file::open_or_create(path, &options)?
        }
        other => other?,
    };
    let file = fs_err::File::from_parts(file, path);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("`{path}` is not a regular file")));
    }
    Ok(Open { len: metadata.len(), identity: (metadata.dev(), metadata.ino()), file })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &Utf8Path) -> Option<String> {
        fs_err::read_to_string(path).ok()
    }

    #[test]
    fn the_oldest_backup_goes_first_and_modes_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("logs/x.log");
        let mut log = Rotating::new(path.clone(), 10, 2);
        for line in ["aaaaaaa\n", "bbbbbbb\n", "ccccccc\n", "ddddddd\n"] {
            log.append(line.as_bytes()).unwrap();
        }
        let backup = |n: u32| text(format!("{path}.{n}").as_str().into());
        assert_eq!(
            (text(&path).as_deref(), backup(1).as_deref(), backup(2).as_deref()),
            (Some("ddddddd\n"), Some("ccccccc\n"), Some("bbbbbbb\n"))
        );
        assert_eq!(backup(3), None);
        assert_eq!(fs_err::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_moved_away_is_made_anew_and_no_backups_means_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("x.log");
        let mut log = Rotating::new(path.clone(), 10, 0);
        log.append(b"one\n").unwrap();
        fs_err::rename(&path, path.with_extension("moved")).unwrap();
        log.append(b"two\n").unwrap();
        assert_eq!(text(&path).as_deref(), Some("two\n"));
        log.append(b"three is long\n").unwrap();
        assert_eq!(text(&path).as_deref(), Some("three is long\n"));
        assert_eq!(text(format!("{path}.1").as_str().into()), None);
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("x.log");
        nix::unistd::mkfifo(path.as_std_path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(Rotating::new(path, 10, 1).append(b"x\n").is_err());
    }
}
