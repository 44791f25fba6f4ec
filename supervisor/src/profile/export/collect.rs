//! Which entries of a home go into its archive, in a fixed order, and which stay out and why.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};

use super::super::entries::{SIDECARS, is_exported};
use super::super::error::ProfileError;
use super::snapshot;
use crate::archive::{MAX_DEPTH, link_stays_inside, member_path, printable};

/// Files that are in an archive themselves where the home has links to them.
pub(super) const MATERIALISED: [&str; 2] = ["config.yaml", "SOUL.md"];

/// An entry that goes into the archive.
#[derive(Debug)]
pub(super) struct Item {
    /// Relative to the home; empty for the home itself.
    pub(super) path: Utf8PathBuf,
    pub(super) what: What,
    pub(super) mode: u32,
    /// Of a directory: the newest time of what is in it, because what stays out changes its own time.
    pub(super) mtime: u64,
}

#[derive(Debug)]
pub(super) enum What {
    Directory,
    File,
    Link(Utf8PathBuf),
}

/// The walk through a home.
pub(super) struct Collector<'a> {
    /// Resolved.
    pub(super) home: &'a Utf8Path,
    /// The top directory in the archive.
    pub(super) name: &'a str,
    pub(super) history: bool,
    /// The archive itself, if it is written into the home.
    pub(super) output: &'a Utf8Path,
    pub(super) items: Vec<Item>,
    pub(super) left_out: Vec<(String, String)>,
    /// Device and inode of files that never leave the home, whatever other names they have.
    secret: Vec<(u64, u64)>,
    /// The content of `.env`.
    env: Vec<u8>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(home: &'a Utf8Path, name: &'a str, history: bool, output: &'a Utf8Path) -> Self {
        let mut secret = Vec::new();
        for entry in home.read_dir_utf8().into_iter().flatten().flatten() {
            let class = super::super::entries::class_of(Utf8Path::new(entry.file_name()));
            if class == super::super::entries::Class::Credential
                && let Ok(meta) = fs_err::metadata(entry.path())
                && meta.is_file()
            {
                secret.push((meta.dev(), meta.ino()));
            }
        }
        let env = crate::disk::read_bounded(&home.join(".env"), 1 << 20).unwrap_or_default();
        let has_keys = !hermes_protocol::config::dotenv_edit::names(&env).is_empty();
        let env = if has_keys { env } else { Vec::new() };
        Self { home, name, history, output, items: Vec::new(), left_out: Vec::new(), secret, env }
    }

    /// Walks everything.
    pub(super) fn collect(&mut self) -> Result<(), ProfileError> {
        let meta = fs_err::metadata(self.home).map_err(ProfileError::io("read", self.home))?;
        self.directory(Utf8Path::new(""), &meta, 0).map(|_| ())
    }

    fn out(&mut self, path: impl Into<String>, why: impl Into<String>) {
        self.left_out.push((path.into(), why.into()));
    }

    /// Adds a directory and what is below it; gives its time.
    fn directory(
        &mut self,
        path: &Utf8Path,
        meta: &std::fs::Metadata,
        depth: usize,
    ) -> Result<u64, ProfileError> {
        let place = self.home.join(path);
        let failed = |source: io::Error| ProfileError::Export { path: place.clone(), source };
        let at = self.items.len();
        self.items.push(Item {
            path: path.to_owned(),
            what: What::Directory,
            mode: meta.mode() & 0o777,
            mtime: 0,
        });
        let mut names = Vec::new();
        for entry in place.as_std_path().read_dir().map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if let Some(name) = name.to_str() {
                names.push(name.to_owned());
            } else {
                let shown = path.join(printable(name.as_bytes()));
                self.out(printable(shown.as_str().as_bytes()), "its name is not UTF-8");
            }
        }
        names.sort_unstable();
        let mut newest = None;
        for name in &names {
            let time = self.entry(&path.join(name), &names, depth)?;
            newest = newest.max(time);
        }
        let time = newest.unwrap_or_else(|| seconds(meta));
        self.items[at].mtime = time;
        Ok(time)
    }

    /// Adds one entry, unless it stays out; gives its time.
    fn entry(
        &mut self,
        path: &Utf8Path,
        siblings: &[String],
        depth: usize,
    ) -> Result<Option<u64>, ProfileError> {
        if !is_exported(path, self.history) {
            return Ok(None);
        }
        let place = self.home.join(path);
        let look = |place: &Utf8Path| {
            let followed = MATERIALISED.contains(&path.as_str());
            if followed { fs_err::metadata(place) } else { fs_err::symlink_metadata(place) }
        };
        let meta = match look(&place) {
            Ok(meta) => meta,
            // It vanished while we looked: a running agent does that.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ProfileError::Export { path: place, source }),
        };
        let full = Utf8Path::new(self.name).join(path);
        let shown = printable(path.as_str().as_bytes());
        if member_path(full.as_str().as_bytes()).as_deref() != Some(full.as_path()) || depth + 2 >= MAX_DEPTH
        {
            self.out(shown, "its name cannot be in an archive that every system reads");
            return Ok(None);
        }
        let kind = meta.file_type();
        if kind.is_dir() {
            return self.directory(path, &meta, depth + 1).map(Some);
        }
        let what = if kind.is_symlink() {
            match self.link(path, &full) {
                Ok(target) => What::Link(target),
                Err(why) => {
                    self.out(shown, why);
                    return Ok(None);
                }
            }
        } else if kind.is_file() {
            if let Some(why) = self.stays(path, &place, &meta, siblings) {
                if !why.is_empty() {
                    self.out(shown, why);
                }
                return Ok(None);
            }
            What::File
        } else {
            self.out(shown, "it is a socket, a FIFO or a device");
            return Ok(None);
        };
        let mtime = seconds(&meta);
        self.items.push(Item { path: path.to_owned(), what, mode: meta.mode() & 0o777, mtime });
        Ok(Some(mtime))
    }

    /// Why a file stays out; an empty reason needs no mention.
    fn stays(
        &self,
        path: &Utf8Path,
        place: &Utf8Path,
        meta: &std::fs::Metadata,
        siblings: &[String],
    ) -> Option<&'static str> {
        if place == self.output {
            return Some("");
        }
        if self.secret.contains(&(meta.dev(), meta.ino())) {
            return Some("it is another name of a file with credentials");
        }
        let name = path.file_name().unwrap_or_default();
        let same_length = meta.len() == self.env.len() as u64;
        if !self.env.is_empty()
            && same_length
            && crate::disk::read_bounded(place, self.env.len()).is_ok_and(|bytes| bytes == self.env)
        {
            return Some("it is a copy of .env");
        }
        // What belongs to a database is in its snapshot.
        let base = SIDECARS.iter().find_map(|suffix| name.strip_suffix(suffix));
        let of_database = base.is_some_and(|base| {
            siblings.iter().any(|name| name == base) && snapshot::is_database(&place.with_file_name(base))
        });
        of_database.then_some("")
    }

    /// What a link shall name in the archive, or why it stays out.
    fn link(&self, path: &Utf8Path, full: &Utf8Path) -> Result<Utf8PathBuf, &'static str> {
        let place = self.home.join(path);
        let target = place.read_link_utf8().map_err(|_| "it is a link to a name that is not UTF-8")?;
        let real = place.canonicalize_utf8().map_err(|_| "it is a link that leads nowhere")?;
        let inside =
            real.strip_prefix(self.home).map_err(|_| "it is a link that leads out of the profile")?;
        if let Some(target) = link_stays_inside(full, target.as_str().as_bytes())
            && place
                .parent()
                .is_some_and(|dir| dir.join(&target).canonicalize_utf8().is_ok_and(|to| to == real))
        {
            return Ok(target);
        }
        // Written in a way that is safe only here: named from the link's own directory.
        let up = path.parent().into_iter().flat_map(Utf8Path::components).map(|_| "..");
        let target = up.collect::<Utf8PathBuf>().join(inside);
        link_stays_inside(full, target.as_str().as_bytes()).ok_or("it is a link to the profile itself")
    }
}

/// Whole seconds since the epoch; before it counts as at it.
fn seconds(meta: &std::fs::Metadata) -> u64 {
    u64::try_from(meta.mtime()).unwrap_or(0)
}
