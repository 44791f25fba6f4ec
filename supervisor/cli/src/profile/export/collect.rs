//! Which entries of a home go into its archive, in a fixed order, and which stay out and why.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_config::{MAX_FILE_LEN, dotenv_edit};
use hermes_wire::absence::OrAbsent as _;

use super::super::entries::{Class, SIDECARS, Scope, Verdict, class_of, verdict};
use super::super::error::ProfileError;
use super::{snapshot, steady};
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
    pub(super) scope: Scope,
    /// The archive itself, if it is written into the home.
    pub(super) output: &'a Utf8Path,
    pub(super) items: Vec<Item>,
    pub(super) left_out: Vec<(String, String)>,
    /// Entries beside the profile's own, in the home of `default`.
    pub(super) foreign: Vec<String>,
    /// Device and inode of files that never leave the home, whatever other names they have.
    secret: Vec<(u64, u64)>,
    /// The content of `.env`.
    env: Vec<u8>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(
        home: &'a Utf8Path,
        name: &'a str,
        scope: Scope,
        output: &'a Utf8Path,
    ) -> Result<Self, ProfileError> {
        let mut secret = Vec::new();
        for file in credential_files(home)? {
            let meta = fs_err::metadata(&file).map_err(ProfileError::io("read", &file))?;
            secret.push((meta.dev(), meta.ino()));
        }
        let env = home.join(".env");
        let env = hermes_host::disk::read_bounded(&env, MAX_FILE_LEN)
            .or_absent()
            .map_err(ProfileError::io("read", &env))?;
        let env = env.filter(|env| !dotenv_edit::names(env).is_empty()).unwrap_or_default();
        Ok(Self {
            home,
            name,
            scope,
            output,
            items: Vec::new(),
            left_out: Vec::new(),
            foreign: Vec::new(),
            secret,
            env,
        })
    }

    /// Walks everything.
    pub(super) fn collect(&mut self) -> Result<(), ProfileError> {
        let meta = fs_err::metadata(self.home).map_err(ProfileError::io("read", self.home))?;
        self.directory(Utf8Path::new(""), &meta, 0).map(|_| ())
    }

    fn out(&mut self, path: impl Into<String>, why: impl Into<String>) {
        self.left_out.push((path.into(), why.into()));
    }

    /// Adds a directory and what is below it; gives its time, unless it is gone.
    fn directory(
        &mut self,
        path: &Utf8Path,
        meta: &std::fs::Metadata,
        depth: usize,
    ) -> Result<Option<u64>, ProfileError> {
        let place = self.home.join(path);
        let mut names = Vec::new();
        let listed = place.as_std_path().read_dir().and_then(|entries| {
            for entry in entries {
                let name = entry?.file_name();
                if let Some(name) = name.to_str() {
                    names.push(name.to_owned());
                } else {
                    let shown = path.join(printable(name.as_bytes()));
                    self.out(printable(shown.as_str().as_bytes()), "its name is not UTF-8");
                }
            }
            Ok(())
        });
        match listed {
            Ok(()) => {}
            // It vanished while we looked: a running agent does that.
            Err(e) if steady::is_gone(&e) && !path.as_str().is_empty() => {
                self.out(printable(path.as_str().as_bytes()), steady::GONE);
                return Ok(None);
            }
            Err(source) => return Err(ProfileError::Export { path: place, source }),
        }
        let at = self.items.len();
        self.items.push(Item {
            path: path.to_owned(),
            what: What::Directory,
            mode: meta.mode() & 0o777,
            mtime: 0,
        });
        names.sort_unstable();
        let mut newest = None;
        for name in &names {
            let time = self.entry(&path.join(name), &names, depth)?;
            newest = newest.max(time);
        }
        let time = newest.unwrap_or_else(|| seconds(meta));
        self.items[at].mtime = time;
        Ok(Some(time))
    }

    /// Adds one entry, unless it stays out; gives its time.
    fn entry(
        &mut self,
        path: &Utf8Path,
        siblings: &[String],
        depth: usize,
    ) -> Result<Option<u64>, ProfileError> {
        match verdict(path, self.scope) {
            Verdict::Taken => {}
            Verdict::Out => return Ok(None),
            Verdict::Foreign => {
                self.foreign.push(printable(path.as_str().as_bytes()));
                return Ok(None);
            }
            Verdict::Login => {
                self.out(printable(path.as_str().as_bytes()), "tools keep logins there");
                return Ok(None);
            }
        }
        let place = self.home.join(path);
        let look = |place: &Utf8Path| {
            let followed = MATERIALISED.contains(&path.as_str());
            if followed { fs_err::metadata(place) } else { fs_err::symlink_metadata(place) }
        };
        let meta = match look(&place) {
            Ok(meta) => meta,
            Err(e) if steady::is_gone(&e) => {
                self.out(printable(path.as_str().as_bytes()), steady::GONE);
                return Ok(None);
            }
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
            return self.directory(path, &meta, depth + 1);
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
            && hermes_host::disk::read_bounded(place, self.env.len()).is_ok_and(|bytes| bytes == self.env)
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

/// Files at the top of a home that hold credentials. What cannot be looked at is an error: it might be one.
pub(super) fn credential_files(home: &Utf8Path) -> Result<Vec<Utf8PathBuf>, ProfileError> {
    let mut files = Vec::new();
    for entry in home.as_std_path().read_dir().map_err(ProfileError::io("read", home))? {
        let entry = entry.map_err(ProfileError::io("read", home))?;
        // A name that is not UTF-8 is none of those.
        let Some(name) = entry.file_name().to_str().map(Utf8PathBuf::from) else { continue };
        if class_of(&name) != Class::Credential {
            continue;
        }
        let path = home.join(name);
        let meta = fs_err::metadata(&path).or_absent().map_err(ProfileError::io("read", &path))?;
        if meta.is_some_and(|meta| meta.is_file()) {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Whole seconds since the epoch; before it counts as at it.
fn seconds(meta: &std::fs::Metadata) -> u64 {
    u64::try_from(meta.mtime()).unwrap_or(0)
}
