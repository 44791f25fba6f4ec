//! One of the two files: read once, changed in memory, written back only when it is still what was read.

use std::io;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use hermes_config::{MAX_FILE_LEN, dotenv_edit};
use hermes_host::clock;
use hermes_host::disk;
use nix::fcntl::{Flock, FlockArg};

use super::error::SettingsError;

/// Time another command has to finish writing.
const PATIENCE: Duration = Duration::from_secs(10);

/// Copies of a file that are made within one second.
const MOST_COPIES: u32 = 100;

/// A file and what shall stand in it.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) path: Utf8PathBuf,
    /// What was read; `None`: there is no such file.
    read: Option<Vec<u8>>,
    /// The same as text.
    before: String,
    pub(super) text: String,
    /// What it was where it was not UTF-8; written, it is.
    pub(super) was: Option<&'static str>,
}

impl Source {
    pub(super) fn open(path: Utf8PathBuf) -> Result<Self, SettingsError> {
        let read = bytes(&path)?;
        let text = String::from_utf8(read.clone().unwrap_or_default()).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = before.split(|b| *b == b'\n').count();
            SettingsError::Unreadable {
                file: path.clone(),
                why: format!("line {line}: the text is not UTF-8"),
            }
        })?;
        Ok(Self { path, read, before: text.clone(), text, was: None })
    }

    /// A `.env`, whatever an editor saved it as.
    pub(super) fn open_env(path: Utf8PathBuf) -> Result<Self, SettingsError> {
        let read = bytes(&path)?;
        let (text, was) = dotenv_edit::text(read.as_deref().unwrap_or_default())
            .map_err(|why| SettingsError::Unreadable { file: path.clone(), why: why.to_string() })?;
        Ok(Self { path, read, before: text.clone(), text, was })
    }

    /// To be written anew, whatever is in it.
    pub(super) fn open_blank(path: Utf8PathBuf) -> Result<Self, SettingsError> {
        let read = bytes(&path)?;
        let before = String::from_utf8_lossy(read.as_deref().unwrap_or_default()).into_owned();
        Ok(Self { path, read, before, text: String::new(), was: None })
    }

    /// Writes what was read to a new private file, whose name goes on with `suffix`; an older copy is never overwritten.
    pub(super) fn keep(&self, suffix: &str) -> Result<Option<Utf8PathBuf>, SettingsError> {
        let Some(bytes) = self.read.as_ref().filter(|bytes| !bytes.is_empty()) else { return Ok(None) };
        let mut path = Utf8PathBuf::from(format!("{}.{suffix}", self.path));
        let mut again = 1;
        loop {
            match disk::write_new(&path, bytes) {
                Ok(()) => return Ok(Some(path)),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && again < MOST_COPIES => {
                    again += 1;
                    path = Utf8PathBuf::from(format!("{}.{suffix}_{again}", self.path));
                }
                Err(e) => return Err(SettingsError::io("write", path)(e)),
            }
        }
    }

    pub(super) fn exists(&self) -> bool {
        self.read.is_some()
    }

    pub(super) fn is_changed(&self) -> bool {
        self.text != self.before
    }

    /// Refuses where the file is not what was read any more.
    pub(super) fn expect_unchanged(&self) -> Result<(), SettingsError> {
        if bytes(&self.path)? == self.read { Ok(()) } else { Err(SettingsError::Changed(self.path.clone())) }
    }

    pub(super) fn write(&self) -> Result<(), SettingsError> {
        disk::replace(&self.path, self.text.as_bytes()).map_err(SettingsError::io("write", self.path.clone()))
    }

    /// Takes the file away from everybody but its owner, where that is possible.
    pub(super) fn tighten(&self) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        if self.loose_mode().is_none() {
            return Ok(());
        }
        fs_err::set_permissions(&self.path, std::fs::Permissions::from_mode(0o600))
    }

    /// The mode, where others than the owner may read the file.
    pub(super) fn loose_mode(&self) -> Option<u32> {
        use std::os::unix::fs::MetadataExt as _;
        let mode = fs_err::metadata(&self.path).ok()?.mode() & 0o777;
        (mode & 0o077 != 0).then_some(mode)
    }
}

/// What stands in a file; `None`: there is no such file.
pub(crate) fn bytes(path: &Utf8Path) -> Result<Option<Vec<u8>>, SettingsError> {
    match disk::read_bounded(path, MAX_FILE_LEN) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            // A link that leads nowhere would be replaced by a file, and whoever put it there would not notice.
            if fs_err::symlink_metadata(path).is_ok() {
                let why = "it is a link to a file that does not exist".to_owned();
                return Err(SettingsError::Unreadable { file: path.to_owned(), why });
            }
            Ok(None)
        }
        Err(e) if matches!(e.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => {
            Err(SettingsError::Unreadable { file: path.to_owned(), why: e.to_string() })
        }
        Err(e) => Err(SettingsError::io("read", path)(e)),
    }
}

/// Keeps other commands from writing to the files of a home, and to the same files by another name: two profiles may have one
/// `config.yaml`. The home directory and the files themselves are locked, so nothing is left behind.
pub(super) fn lock(home: &Utf8Path, files: &[&Utf8Path]) -> Result<Vec<Flock<std::fs::File>>, SettingsError> {
    let deadline = clock::now() + PATIENCE;
    let mut locks = vec![
        exclusive(home, deadline)?
            .ok_or_else(|| SettingsError::io("lock", home)(nix::errno::Errno::EOPNOTSUPP.into()))?,
    ];
    let mut real = Vec::new();
    for file in files {
        let path = disk::resolve(file).map_err(SettingsError::io("read", *file))?;
        if disk::is_there(&path).map_err(SettingsError::io("read", *file))? {
            real.push(path);
        }
    }
    // In one order, so that no two commands wait for each other.
    real.sort_unstable();
    real.dedup();
    for path in real {
        locks.extend(exclusive(&path, deadline)?);
    }
    Ok(locks)
}

/// Locks what is at `path` now; a file that was replaced while we waited is looked for again. `None`: this file system locks no
/// file that is open for reading; the home's lock has to do.
fn exclusive(path: &Utf8Path, deadline: Instant) -> Result<Option<Flock<std::fs::File>>, SettingsError> {
    use nix::errno::Errno;
    use std::os::unix::fs::MetadataExt as _;
    let id = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
    loop {
        let file = fs_err::File::open(path).map_err(SettingsError::io("open", path))?.into_parts().0;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => {
                let held = lock.metadata().map(id).map_err(SettingsError::io("read", path))?;
                let named = fs_err::metadata(path).map(id).map_err(SettingsError::io("read", path))?;
                if held == named {
                    return Ok(Some(lock));
                }
            }
            Err((_, Errno::EBADF | Errno::ENOLCK | Errno::EOPNOTSUPP)) => return Ok(None),
            Err((_, Errno::EWOULDBLOCK)) if clock::now() < deadline => {}
            Err((_, errno)) => return Err(SettingsError::io("lock", path)(errno.into())),
        }
        hermes_host::wait::pause(Duration::from_millis(5));
    }
}
