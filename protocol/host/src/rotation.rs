//! A log file that is appended to and never grows beyond a limit: a full one is renamed to `.1`, the older ones move up. One that
//! was moved away or removed is made anew: its name is what people look at.

use std::io::{self, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};

use camino::{Utf8Path, Utf8PathBuf};

use crate::file;

/// Mode of log files: they quote messages of people.
const MODE: u32 = 0o600;

/// What becomes of a full file that cannot be renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stuck {
    /// Appending fails.
    Fails,
    /// It is emptied: a bounded log is worth more than an old one.
    IsEmptied,
}

/// An open log file with its backups beside it.
#[derive(Debug)]
pub struct Rotating {
    path: Utf8PathBuf,
    open: Option<Open>,
    stuck: Stuck,
    /// Bytes that a file holds at most, unless one append has more.
    pub max_len: u64,
    /// Renamed files that are kept: `.1` is the newest.
    pub backups: u32,
}

#[derive(Debug)]
struct Open {
    file: fs_err::File,
    len: u64,
    identity: (u64, u64),
}

impl Rotating {
    /// Opens nothing yet.
    pub fn new(path: Utf8PathBuf, max_len: u64, backups: u32, stuck: Stuck) -> Self {
        Self { path, open: None, stuck, max_len, backups }
    }

    /// Appends whole lines. What makes the file too long goes to a fresh one.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let len = lines.len() as u64;
        let mut open = self.current()?;
        if open.len > 0 && open.len + len > self.max_len {
            match (self.rotate(), self.stuck) {
                (Ok(()), _) => drop(open),
                (Err(error), Stuck::Fails) => return Err(error),
                (Err(_), Stuck::IsEmptied) => {
                    open.file.set_len(0)?;
                    self.open = Some(open);
                }
            }
            open = self.current()?;
        }
        let written = open.file.write_all(lines);
        self.open = written.is_ok().then_some(open);
        written
    }

    /// The open file, unless somebody moved or removed it: another process of this profile may have rotated it.
    fn current(&mut self) -> io::Result<Open> {
        let on_disk = fs_err::metadata(&self.path).ok().map(|m| (m.dev(), m.ino()));
        if let Some(mut open) = self.open.take()
            && Some(open.identity) == on_disk
        {
            // Both generations of a swap append to it, and it may have been emptied.
            open.len = fs_err::File::metadata(&open.file)?.len();
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
    // A pipe must not hold the thread up, neither by having no reader nor by one that does not read.
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
    // A link may lead to `/dev/null`, or to `/dev/stdout`, which is a pipe in a container.
    let kind = metadata.file_type();
    let is_ours_to_write = metadata.is_file()
        || kind.is_char_device()
        || kind.is_fifo() && fs_err::symlink_metadata(path)?.file_type().is_symlink();
    if !is_ours_to_write {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("`{path}` is not a regular file")));
    }
    Ok(Open { len: metadata.len(), identity: (metadata.dev(), metadata.ino()), file })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::AsRawFd as _;

    use super::*;

    fn text(path: &Utf8Path) -> Option<String> {
        fs_err::read_to_string(path).ok()
    }

    #[test]
    fn the_oldest_backup_goes_first_and_modes_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("logs/x.log");
        let mut log = Rotating::new(path.clone(), 10, 2, Stuck::Fails);
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
        let mut log = Rotating::new(path.clone(), 10, 0, Stuck::Fails);
        log.append(b"one\n").unwrap();
        fs_err::rename(&path, path.with_extension("moved")).unwrap();
        log.append(b"two\n").unwrap();
        assert_eq!(text(&path).as_deref(), Some("two\n"));
        log.append(b"three is long\n").unwrap();
        assert_eq!(text(&path).as_deref(), Some("three is long\n"));
        assert_eq!(text(format!("{path}.1").as_str().into()), None);
    }

    /// A directory stands where the full file should go.
    #[test]
    fn one_that_cannot_be_renamed_fails_or_is_emptied() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("x.log");
        fs_err::create_dir(format!("{path}.1")).unwrap();
        let mut log = Rotating::new(path.clone(), 10, 1, Stuck::Fails);
        log.append(b"aaaaaaa\n").unwrap();
        assert!(log.append(b"bbbbbbb\n").is_err());
        assert_eq!(text(&path).as_deref(), Some("aaaaaaa\n"));
        let mut log = Rotating::new(path.clone(), 10, 1, Stuck::IsEmptied);
        log.append(b"ccccccc\n").unwrap();
        log.append(b"d\n").unwrap();
        assert_eq!(text(&path).as_deref(), Some("ccccccc\nd\n"));
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("x.log");
        nix::unistd::mkfifo(path.as_std_path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(Rotating::new(path, 10, 1, Stuck::Fails).append(b"x\n").is_err());
        // Where somebody wants no log, a link says so.
        let path = Utf8Path::from_path(dir.path()).unwrap().join("null.log");
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        let mut log = Rotating::new(path.clone(), 10, 1, Stuck::Fails);
        (0..3).for_each(|_| log.append(b"aaaaaaa\n").unwrap());
        assert!(path.is_symlink());
    }

    /// `/dev/stdout` is a link to `/proc/self/fd/1`, and that one to the pipe whose other end the container's runtime reads.
    #[test]
    fn a_pipe_behind_a_link_is_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("x.log");
        let (mut reader, writer) = io::pipe().unwrap();
        let stdout = dir.path().join("stdout");
        std::os::unix::fs::symlink(format!("/proc/self/fd/{}", writer.as_raw_fd()), &stdout).unwrap();
        std::os::unix::fs::symlink(&stdout, &path).unwrap();
        let mut log = Rotating::new(path.clone(), 10, 1, Stuck::Fails);
        (0..3).for_each(|_| log.append(b"aaaaaaa\n").unwrap());
        drop((log, writer));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), path.is_symlink()), ("aaaaaaa\naaaaaaa\naaaaaaa\n", true));
    }
}
