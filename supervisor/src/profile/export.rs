//! Writes a profile to an archive: what belongs to it, without credentials, the same bytes for the same content.
//!
//! The archive appears by one rename, readable by its owner alone, or not at all. Secrets within configuration files become
//! `${NAME}`; a file from which they cannot be taken stays out, and that is said. Databases are copied as of one instant.

mod collect;
mod snapshot;

use std::io::{self, Read as _, Write};

use camino::{Utf8Path, Utf8PathBuf};
use hermes_protocol::config::{MAX_FILE_LEN, redact};
use hermes_protocol::{ProfileName, RootHome};

use self::collect::{Collector, Item, What};
use super::entries::{Class, class_of};
use super::error::ProfileError;
use super::staging::sync_directory;
use crate::archive::{self, Limits};
use crate::disk;

/// Files up to this length are read at once.
const AT_ONCE: u64 = 1 << 20;
/// Said about the archive as a whole when it holds the history.
pub(crate) const WITH_HISTORY: &str = "hermes profile export with history";

/// What to write.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) root: &'a RootHome,
    pub(crate) name: &'a ProfileName,
    /// Absolute.
    pub(crate) output: &'a Utf8Path,
    pub(crate) history: bool,
}

/// What was written.
#[derive(Debug, Default)]
pub(crate) struct Exported {
    /// Files, directories and links.
    pub(crate) entries: u64,
    /// Bytes of their content.
    pub(crate) bytes: u64,
    /// Bytes of the archive.
    pub(crate) packed: u64,
    /// File, key and variable of every secret that was replaced.
    pub(crate) replaced: Vec<(Utf8PathBuf, redact::Replaced)>,
    /// Files with comments from which something was removed.
    pub(crate) comments: Vec<Utf8PathBuf>,
    /// Databases.
    pub(crate) databases: Vec<Utf8PathBuf>,
    /// Files that begin like databases and are none.
    pub(crate) as_they_are: Vec<Utf8PathBuf>,
    /// Entries that stayed out although they are the profile's own, with the reason.
    pub(crate) left_out: Vec<(String, String)>,
    /// Why an import with the limits there are would refuse it.
    pub(crate) too_large: Option<String>,
}

/// Writes it. `progress` is told the bytes read so far and answers whether to go on.
pub(crate) fn export(
    plan: &Plan<'_>,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<Exported, ProfileError> {
    let home = plan.root.profile(plan.name);
    let real = home.path().canonicalize_utf8().map_err(ProfileError::io("read", home.path()))?;
    let dir = plan.output.parent().unwrap_or(Utf8Path::new("/"));
    let unwritable = || ProfileError::io("write", plan.output);
    fs_err::create_dir_all(dir).map_err(unwritable())?;
    // Where links to directories are followed, so that it is recognised when it lies in the home itself.
    let output =
        dir.canonicalize_utf8().map_err(unwritable())?.join(plan.output.file_name().unwrap_or_default());
    if output.is_dir() {
        return Err(unwritable()(io::ErrorKind::IsADirectory.into()));
    }
    let mut collector = Collector::new(&real, plan.name.as_str(), plan.history, &output);
    collector.collect()?;
    let mut done = Exported { left_out: std::mem::take(&mut collector.left_out), ..Exported::default() };
    let items = std::mem::take(&mut collector.items);
    let temporary = || tempfile::Builder::new().prefix(".hermes-").suffix(".tmp").to_owned();
    let file = temporary().tempfile_in(dir).map_err(unwritable())?;
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let written = archive::compress(file.as_file(), threads, |to| {
        let mut packing =
            Packing { plan, home: &real, scratch: None, done: &mut done, progress, buffer: Vec::new() };
        packing.all(&items, to)
    });
    match written {
        Ok(_) => {}
        Err(Failure::Profile(e)) => return Err(e),
        Err(Failure::Output(e)) => return Err(unwritable()(e)),
    }
    file.as_file().sync_all().map_err(unwritable())?;
    done.packed = file.as_file().metadata().map_err(unwritable())?.len();
    file.persist(&output).map_err(|e| unwritable()(e.error))?;
    sync_directory(dir).map_err(unwritable())?;
    done.too_large = beyond_limits(&done);
    Ok(done)
}

fn beyond_limits(done: &Exported) -> Option<String> {
    let limits = Limits::IMPORT;
    let unpacked = done.bytes + done.entries * 1024;
    if done.entries > limits.members {
        return Some(format!("more than {} entries", limits.members));
    }
    if unpacked > limits.total {
        return Some(format!("more than {} MB", limits.total >> 20));
    }
    let allowed = done.packed.saturating_mul(limits.ratio).saturating_add(limits.free);
    (unpacked > allowed).then(|| format!("more than {} times its packed size", limits.ratio))
}

/// What went wrong, on which side.
enum Failure {
    Profile(ProfileError),
    Output(io::Error),
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        Self::Output(e)
    }
}

impl From<ProfileError> for Failure {
    fn from(e: ProfileError) -> Self {
        Self::Profile(e)
    }
}

/// The writing of one archive.
struct Packing<'a> {
    plan: &'a Plan<'a>,
    home: &'a Utf8Path,
    /// Where snapshots stand while they are packed.
    scratch: Option<tempfile::TempDir>,
    done: &'a mut Exported,
    progress: &'a mut dyn FnMut(u64) -> bool,
    buffer: Vec<u8>,
}

impl Packing<'_> {
    fn all(&mut self, items: &[Item], to: &mut dyn Write) -> Result<(), Failure> {
        let comment = self.plan.history.then_some(WITH_HISTORY);
        let mut tar = archive::Writer::new(to, comment)?;
        for item in items {
            let path = Utf8Path::new(self.plan.name.as_str()).join(&item.path);
            match &item.what {
                What::Directory => tar.directory(&path, item.mode, item.mtime)?,
                What::Link(target) => tar.link(&path, target, item.mtime)?,
                What::File => {
                    if !self.file(item, &path, &mut tar)? {
                        continue;
                    }
                }
            }
            self.done.entries += 1;
            if !(self.progress)(self.done.bytes) {
                return Err(ProfileError::Interrupted.into());
            }
        }
        Ok(tar.finish()?)
    }

    /// Writes one file. `false`: it stays out.
    fn file(
        &mut self,
        item: &Item,
        path: &Utf8Path,
        tar: &mut archive::Writer<&mut dyn Write>,
    ) -> Result<bool, Failure> {
        let mut place = self.home.join(&item.path);
        if collect::MATERIALISED.contains(&item.path.as_str()) {
            place = place.canonicalize_utf8().unwrap_or(place);
        }
        let failed = |source: io::Error| ProfileError::Export { path: place.clone(), source };
        if is_configuration(&item.path) {
            let Some(text) = self.configuration(item, &place)? else { return Ok(false) };
            self.done.bytes += text.len() as u64;
            tar.file(path, item.mode, item.mtime, text.len() as u64, text.as_bytes())?;
            return Ok(true);
        }
        let file = match open(&place) {
            Ok(file) => file,
            // It vanished meanwhile: a running agent does that.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(failed(e).into()),
        };
        let size = file.metadata().map_err(failed)?.len();
        self.buffer.clear();
        (&file).take(AT_ONCE).read_to_end(&mut self.buffer).map_err(failed)?;
        if snapshot::begins_like_one(&self.buffer) {
            match self.snapshot(&place) {
                Ok((snapshot, size)) => {
                    self.done.databases.push(item.path.clone());
                    self.done.bytes += size;
                    tar.file(path, item.mode, item.mtime, size, snapshot)?;
                    return Ok(true);
                }
                // Somebody's file that only begins like a database is content like any other.
                Err(ProfileError::Export { .. }) if class_of(&item.path) == Class::Content => {
                    self.done.as_they_are.push(item.path.clone());
                }
                Err(e) => return Err(e.into()),
            }
        }
        let size =
            if (self.buffer.len() as u64) < AT_ONCE { self.buffer.len() as u64 } else { size.max(AT_ONCE) };
        let rest = io::BufReader::with_capacity(256 << 10, file);
        let mut content = Content { bytes: self.buffer.chain(rest), failed: None };
        let packed = tar.file(path, item.mode, item.mtime, size, &mut content);
        if let Some(e) = content.failed {
            return Err(failed(e).into());
        }
        match packed {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(failed(e).into()),
            other => other?,
        }
        self.done.bytes += size;
        Ok(true)
    }

    /// The text of a configuration file without secrets; `None`: it stays out.
    fn configuration(&mut self, item: &Item, place: &Utf8Path) -> Result<Option<String>, ProfileError> {
        let bytes = match disk::read_bounded(place, MAX_FILE_LEN) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                self.done
                    .left_out
                    .push((item.path.to_string(), format!("keys in it cannot be looked for: {e}")));
                return Ok(None);
            }
            Err(source) => return Err(ProfileError::Export { path: place.to_owned(), source }),
        };
        let json = item.path.extension() == Some("json");
        let clean = if json { redact::json(&bytes) } else { redact::yaml(&bytes) };
        match clean {
            Ok(clean) => {
                self.done.replaced.extend(clean.replaced.into_iter().map(|r| (item.path.clone(), r)));
                if clean.comments > 0 {
                    self.done.comments.push(item.path.clone());
                }
                Ok(Some(clean.text))
            }
            Err(why) => {
                self.done
                    .left_out
                    .push((item.path.to_string(), format!("keys in it cannot be replaced: {why}")));
                Ok(None)
            }
        }
    }

    fn snapshot(&mut self, place: &Utf8Path) -> Result<(std::fs::File, u64), ProfileError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::Interrupted => ProfileError::Interrupted,
            _ => ProfileError::Export { path: place.to_owned(), source },
        };
        if self.scratch.is_none() {
            let dir = self.plan.output.parent().unwrap_or(Utf8Path::new("/"));
            let made = tempfile::Builder::new().prefix(".hermes-").suffix(".tmp").tempdir_in(dir);
            self.scratch = Some(made.map_err(ProfileError::io("write", dir))?);
        }
        let scratch = self.scratch.as_ref().and_then(|dir| Utf8Path::from_path(dir.path()));
        let Some(scratch) = scratch else { return Err(failed(io::Error::other("the path is not UTF-8"))) };
        let copy = scratch.join("snapshot");
        // Of an attempt that failed.
        let _ = fs_err::remove_file(&copy);
        let bytes = self.done.bytes;
        snapshot::take(place, &copy, &mut || (self.progress)(bytes)).map_err(failed)?;
        let file = open(&copy).map_err(failed)?;
        fs_err::remove_file(&copy).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        Ok((file, size))
    }
}

/// Files in which keys are looked for: configuration at the top of a home, and the jobs.
fn is_configuration(path: &Utf8Path) -> bool {
    let top = path.components().count() == 1;
    (top && matches!(path.extension(), Some("yaml" | "yml" | "json"))) || path == "cron/jobs.json"
}

/// Opens a regular file without waiting for a writer of a FIFO that took its place.
fn open(path: &Utf8Path) -> io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC | nix::libc::O_NOFOLLOW;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is not a regular file any more"))
    }
}

/// Keeps the error of reading apart from the error of writing.
struct Content<R> {
    bytes: R,
    failed: Option<io::Error>,
}

impl<R: io::Read> io::Read for Content<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.bytes.read(buffer).map_err(|e| {
            let kind = e.kind();
            self.failed = Some(e);
            kind.into()
        })
    }
}
