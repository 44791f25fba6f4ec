//! The members of an archive, one behind the other: what each holds, and what stays out after all.

use std::io::{self, Read as _, Seek as _, Write};
use std::time::Duration;

use camino::Utf8Path;
use hermes_config::redact::values::Kept;
use hermes_config::{MAX_FILE_LEN, redact};
use hermes_host::disk;

use super::super::entries::{Class, class_of};
use super::super::error::ProfileError;
use super::super::logins;
use super::collect::{self, Item, What};
use super::{Exported, Plan, WITH_HISTORY, snapshot, steady};
use crate::archive;

/// Files shorter than this are read at once.
const AT_ONCE: u64 = 1 << 20;
/// Bytes that are handed on at a time.
const CHUNK: usize = 256 << 10;
/// Bytes that are copied between two looks at whether to go on.
const STEP: u64 = 64 << 20;
/// How often a file that changes is read.
const ATTEMPTS: u32 = 3;
/// Time between those.
const PAUSE: Duration = Duration::from_millis(20);

/// What went wrong, on which side.
pub(super) enum Failure {
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
pub(super) struct Packing<'a> {
    plan: &'a Plan<'a>,
    home: &'a Utf8Path,
    /// Where snapshots, and large files, stand while they are packed.
    scratch: Option<tempfile::TempDir>,
    done: &'a mut Exported,
    /// What is searched for at last; gets what is taken out of configurations.
    kept: &'a mut Kept,
    progress: &'a mut dyn FnMut(u64) -> bool,
    buffer: Vec<u8>,
}

impl<'a> Packing<'a> {
    pub(super) fn new(
        plan: &'a Plan<'a>,
        home: &'a Utf8Path,
        done: &'a mut Exported,
        kept: &'a mut Kept,
        progress: &'a mut dyn FnMut(u64) -> bool,
    ) -> Self {
        Self { plan, home, scratch: None, done, kept, progress, buffer: Vec::new() }
    }

    pub(super) fn all(&mut self, items: &[Item], to: &mut dyn Write) -> Result<(), Failure> {
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
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                hermes_host::wait::pause(PAUSE);
            }
            let file = match steady::open(&place) {
                Ok(file) => file,
                Err(e) if steady::is_gone(&e) => return Ok(self.skip(item, steady::GONE)),
                Err(e) => return Err(failed(e).into()),
            };
            let before = steady::Look::at(&file).map_err(failed)?;
            self.buffer.clear();
            match (&file).take(AT_ONCE).read_to_end(&mut self.buffer) {
                Ok(_) => {}
                Err(e) if steady::is_gone(&e) => return Ok(self.skip(item, steady::GONE)),
                Err(e) => return Err(failed(e).into()),
            }
            if snapshot::begins_like_one(&self.buffer) {
                match self.snapshot(&place) {
                    Ok((snapshot, size)) => {
                        self.done.databases.push(item.path.clone());
                        self.done.bytes += size;
                        tar.file(path, item.mode, item.mtime, size, snapshot)?;
                        return Ok(true);
                    }
                    Err(ProfileError::Export { .. }) if !before.is_still_at(&place) => continue,
                    // Somebody's file that only begins like a database is content like any other.
                    Err(ProfileError::Export { .. }) if class_of(&item.path) == Class::Content => {
                        self.done.as_they_are.push(item.path.clone());
                    }
                    Err(e) => return Err(e.into()),
                }
            }
            if let Some(why) = logins::holds_login(&item.path, &self.buffer) {
                return Ok(self.skip(item, why));
            }
            let whole = (self.buffer.len() as u64) < AT_ONCE;
            let copy = if whole { None } else { Some(self.copy(&file).map_err(|e| Self::spool(&place, e))?) };
            if steady::Look::at(&file).map_err(failed)? != before {
                continue;
            }
            let size = before.size();
            match copy {
                Some(copy) => {
                    tar.file(path, item.mode, item.mtime, size, io::BufReader::with_capacity(CHUNK, copy))?;
                }
                None if self.buffer.len() as u64 == size => {
                    tar.file(path, item.mode, item.mtime, size, &self.buffer[..])?;
                }
                None => continue,
            }
            self.done.bytes += size;
            return Ok(true);
        }
        Ok(self.skip(item, steady::CHANGED))
    }

    /// Says why an entry stays out.
    fn skip(&mut self, item: &Item, why: &str) -> bool {
        self.done.left_out.push((item.path.to_string(), why.to_owned()));
        false
    }

    /// A copy of a large file that nobody else changes, because what is in the archive already cannot be taken back.
    fn copy(&mut self, file: &std::fs::File) -> io::Result<std::fs::File> {
        let mut copy = tempfile::tempfile_in(self.scratch()?)?;
        (&mut &*file).rewind()?;
        let mut copied = 0;
        loop {
            // By the kernel, and without copying at all where the file system can share blocks.
            match io::copy(&mut file.take(STEP), &mut copy)? {
                0 => break,
                n => copied += n,
            }
            if !(self.progress)(self.done.bytes + copied) {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        copy.rewind()?;
        Ok(copy)
    }

    fn spool(place: &Utf8Path, e: io::Error) -> ProfileError {
        if e.kind() == io::ErrorKind::Interrupted {
            ProfileError::Interrupted
        } else {
            ProfileError::Export { path: place.to_owned(), source: e }
        }
    }

    /// A private directory beside the archive.
    fn scratch(&mut self) -> io::Result<&Utf8Path> {
        if self.scratch.is_none() {
            let dir = self.plan.output.parent().unwrap_or(Utf8Path::new("/"));
            self.scratch = Some(tempfile::Builder::new().prefix(".hermes-").suffix(".tmp").tempdir_in(dir)?);
        }
        let dir = self.scratch.as_ref().and_then(|dir| Utf8Path::from_path(dir.path()));
        dir.ok_or_else(|| io::Error::other("the path is not UTF-8"))
    }

    /// The text of a configuration file without secrets; `None`: it stays out.
    fn configuration(&mut self, item: &Item, place: &Utf8Path) -> Result<Option<String>, ProfileError> {
        let top = item.path.components().count() == 1;
        let bytes = match disk::read_bounded(place, MAX_FILE_LEN) {
            Ok(bytes) => bytes,
            Err(e) if steady::is_gone(&e) || e.kind() == io::ErrorKind::InvalidInput => {
                self.skip(item, steady::GONE);
                return Ok(None);
            }
            Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                self.skip(item, &format!("keys in it cannot be looked for: {e}"));
                return Ok(None);
            }
            Err(source) => return Err(ProfileError::Export { path: place.to_owned(), source }),
        };
        let json = item.path.extension() == Some("json");
        let clean = if json { redact::json(&bytes) } else { redact::yaml(&bytes) };
        match clean {
            Ok(clean) => {
                for (key, value) in clean.secrets {
                    if redact::values::is_telling(value.expose()) {
                        self.kept.entry(value).or_insert_with(|| format!("{}:{key}", item.path));
                    }
                }
                self.done.replaced.extend(clean.replaced.into_iter().map(|r| (item.path.clone(), r)));
                if clean.comments > 0 {
                    self.done.comments.push(item.path.clone());
                }
                Ok(Some(clean.text))
            }
            // Somebody's file that only is called so is content like any other, if nothing in it looks like a key.
            Err(redact::RedactError::Unreadable(_)) if !top && is_innocent(&bytes) => {
                Ok(String::from_utf8(bytes).ok())
            }
            Err(why) => {
                self.skip(item, &format!("keys in it cannot be replaced: {why}"));
                Ok(None)
            }
        }
    }

    fn snapshot(&mut self, place: &Utf8Path) -> Result<(std::fs::File, u64), ProfileError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::Interrupted => ProfileError::Interrupted,
            _ => ProfileError::Export { path: place.to_owned(), source },
        };
        let copy = self.scratch().map_err(failed)?.join("snapshot");
        // Of an attempt that failed.
        let _ = fs_err::remove_file(&copy);
        let bytes = self.done.bytes;
        snapshot::take(place, &copy, &mut || (self.progress)(bytes)).map_err(failed)?;
        let file = steady::open(&copy).map_err(failed)?;
        fs_err::remove_file(&copy).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        Ok((file, size))
    }
}

/// Files in which keys are looked for: configuration at the top of a home, the jobs, and what plugins and hooks are configured by.
fn is_configuration(path: &Utf8Path) -> bool {
    let top = path.components().count() == 1;
    let below = ["plugins", "hooks", "cron"].iter().any(|dir| path.starts_with(dir));
    (top || below) && matches!(path.extension(), Some("yaml" | "yml" | "json"))
}

fn is_innocent(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| !redact::holds_key(text))
}
