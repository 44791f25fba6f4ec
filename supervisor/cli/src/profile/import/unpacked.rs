//! Members of an archive as files below one directory, which nobody else knows yet.
//!
//! Paths come from `archive::read`: plain names, no parent a link, none twice. So nothing is written outside, and nothing over
//! anything.

use std::collections::HashSet;
use std::io::{self, Read, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::time::{Duration, SystemTime};

use camino::{Utf8Path, Utf8PathBuf};

use crate::archive::{Kind, Member};

/// Bytes that are copied at a time.
const CHUNK: usize = 256 << 10;

/// Why a member could not be placed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The archive.
    Read(io::Error),
    /// The disk.
    Write(io::Error),
    /// Somebody said so.
    Stopped,
}

/// The directory and what was made in it.
pub(super) struct Unpacked {
    path: Utf8PathBuf,
    made: HashSet<Utf8PathBuf>,
    buffer: Vec<u8>,
    bytes: u64,
}

impl Unpacked {
    /// Below `path`, which exists and is empty.
    pub(super) fn new(path: &Utf8Path) -> Self {
        Self { path: path.to_owned(), made: HashSet::new(), buffer: vec![0; CHUNK], bytes: 0 }
    }

    /// Makes one member. `progress` is told the bytes written so far and answers whether to go on.
    pub(super) fn add(
        &mut self,
        path: &Utf8Path,
        member: &Member,
        content: &mut dyn Read,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), Failure> {
        let target = self.path.join(path);
        match &member.kind {
            Kind::Directory => self.directory(path, member.mode).map_err(Failure::Write)?,
            Kind::Link(to) => {
                self.parent(path).map_err(Failure::Write)?;
                std::os::unix::fs::symlink(to, &target).map_err(Failure::Write)?;
            }
            Kind::File => {
                self.parent(path).map_err(Failure::Write)?;
                let private = matches!(path.as_str(), ".env" | "auth.json");
                let mode = if private { 0o600 } else { member.mode | 0o600 };
                self.file(&target, mode, member.mtime, content, progress)?;
            }
        }
        if progress(self.bytes) { Ok(()) } else { Err(Failure::Stopped) }
    }

    fn parent(&mut self, path: &Utf8Path) -> io::Result<()> {
        match path.parent() {
            Some(parent) if !parent.as_str().is_empty() && !self.made.contains(parent) => {
                self.directory(parent, 0o700)
            }
            _ => Ok(()),
        }
    }

    fn directory(&mut self, path: &Utf8Path, mode: u32) -> io::Result<()> {
        self.parent(path)?;
        let target = self.path.join(path);
        if self.made.insert(path.to_owned()) {
            std::fs::DirBuilder::new().mode(0o700).create(&target)?;
        }
        if mode != 0o700 {
            fs_err::set_permissions(&target, std::fs::Permissions::from_mode(mode | 0o700))?;
        }
        Ok(())
    }

    fn file(
        &mut self,
        target: &Utf8Path,
        mode: u32,
        mtime: u64,
        content: &mut dyn Read,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), Failure> {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(target)
            .map_err(Failure::Write)?;
        let mut length = 0;
        loop {
            let n = match content.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Failure::Read(e)),
            };
            // A hole stays one, and costs no space.
            if self.buffer[..n].iter().all(|byte| *byte == 0) {
                file.seek_relative(i64::try_from(n).unwrap_or_default()).map_err(Failure::Write)?;
            } else {
                file.write_all(&self.buffer[..n]).map_err(Failure::Write)?;
            }
            length += n as u64;
            self.bytes += n as u64;
            if !progress(self.bytes) {
                return Err(Failure::Stopped);
            }
        }
        file.set_len(length).map_err(Failure::Write)?;
        if mode & 0o077 != 0 {
            // The mask of whoever calls took these away.
            file.set_permissions(std::fs::Permissions::from_mode(mode)).map_err(Failure::Write)?;
        }
        let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(mtime));
        if let Some(time) = time {
            // A time that the file system cannot hold is no reason to lose a file.
            let _ = file.set_times(std::fs::FileTimes::new().set_modified(time));
        }
        Ok(())
    }
}
