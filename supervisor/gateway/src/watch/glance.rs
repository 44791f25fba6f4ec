//! One look: the list of homes, each home by itself, and what the two say together.
//!
//! [`list`] and [`home`] touch the file system and nothing else; [`assemble`] is pure. What fails says so in its result.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::homes::{self, Parked};
use hermes_wire::absence::{OrAbsent as _, words};
use hermes_wire::home::{PARKED, TOMBSTONES};
use hermes_wire::{ProfileName, RootHome};

use super::{DATABASE, Homes, NO_ANSWER, Odd, TRIGGERS, Unseen};

/// What to do about an entry that is nobody's home.
const MOVE: &str = "rename it, or move it out of `profiles`";
/// The same where the profile was removed.
const REMOVED: &str =
    "move it out of `profiles`; to have it served again, remove the file that says so instead";

/// Identity of a home and of the files in it that matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    /// `None`: could not be looked at, and never was.
    directory: Option<(u64, u64)>,
    files: [Look; TRIGGERS.len()],
    pub(super) database: Look,
    /// The marker of a parked home; what matters is whether it is there.
    parked: Look,
}

/// What was found under a file's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Look {
    Absent,
    There(FileStamp),
    /// Could not be looked at, and never was.
    Unseen,
}

/// Everything about a file that can be known without opening it and that changes when its contents do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct FileStamp {
    id: (u64, u64),
    size: u64,
    modified: (i64, i64),
    mode: u32,
}

impl Stamp {
    /// Nothing is known.
    pub(super) fn unseen() -> Self {
        Self {
            directory: None,
            files: TRIGGERS.map(|_| Look::Unseen),
            database: Look::Unseen,
            parked: Look::Unseen,
        }
    }

    /// Where this look failed, what was known before.
    fn completed(mut self, known: Option<&Self>) -> Self {
        let Some(known) = known else { return self };
        self.directory = self.directory.or(known.directory);
        let looks = self.files.iter_mut().chain([&mut self.database, &mut self.parked]);
        for (look, known) in looks.zip(known.files.iter().chain([&known.database, &known.parked])) {
            if *look == Look::Unseen {
                look.clone_from(known);
            }
        }
        self
    }

    /// Another directory has its name.
    pub(super) fn is_elsewhere(&self, newer: &Self) -> bool {
        self.directory.zip(newer.directory).is_some_and(|(old, new)| old != new)
    }

    /// Whether its marker is there.
    pub(super) fn parked(&self) -> Parked {
        match self.parked {
            Look::Absent => Parked::No,
            Look::There(_) => Parked::Yes,
            Look::Unseen => Parked::Unknown,
        }
    }

    /// Its directory and its files as one number.
    pub(super) fn of_files(&self) -> Option<u64> {
        let directory = self.directory.filter(|_| !self.files.contains(&Look::Unseen))?;
        let mut hasher = DefaultHasher::new();
        (directory, &self.files).hash(&mut hasher);
        Some(hasher.finish())
    }

    /// A worker that runs has other files than it would find now.
    pub(super) fn has_other_files(&self, newer: &Self) -> bool {
        self.files != newer.files
    }

    /// A worker that runs goes on writing into a database that was replaced or removed. Its own grows while it runs, so what matters
    /// is which file it is.
    pub(super) fn has_other_database(&self, newer: &Self) -> bool {
        match (&self.database, &newer.database) {
            (Look::There(old), Look::There(new)) => old.id != new.id,
            (Look::There(_), Look::Absent) => true,
            (Look::Absent | Look::Unseen, _) | (_, Look::Unseen) => false,
        }
    }
}

/// The homes there are, not looked at yet.
pub(super) struct Listing {
    /// `default` first, then directories before links, so that of two names for one home the real one is served.
    pub(super) entries: Vec<Entry>,
    odd: Vec<Odd>,
    /// `profiles/` with all links resolved.
    real: Option<Utf8PathBuf>,
    /// Who was removed.
    removed: BTreeSet<ProfileName>,
    unseen: Vec<Unseen>,
}

/// One name below `profiles/`, or the root home.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    name: ProfileName,
    /// By what the directory says of it; `None` where it could not be asked.
    is_link: Option<bool>,
}

impl Entry {
    pub(super) fn name(&self) -> &ProfileName {
        &self.name
    }
}

/// What a look at one home found.
pub(super) struct Glance {
    entry: Entry,
    is_link: bool,
    /// Where a link leads.
    target: Option<Utf8PathBuf>,
    seen: Seen,
    /// Some file in it is a link.
    linked: bool,
    unseen: Vec<Unseen>,
}

enum Seen {
    /// No directory.
    Nothing,
    /// A directory without identity.
    Bare,
    Profile(Box<Stamp>),
    Unknown,
}

/// Lists `profiles/`. When that fails, the names that were known stand for the list.
pub(super) fn list(root: &RootHome, known: &Homes) -> Listing {
    let dir = root.profiles();
    let default = Entry { name: ProfileName::default_profile(), is_link: Some(false) };
    let mut listing = Listing {
        entries: vec![default],
        odd: Vec::new(),
        real: None,
        removed: known.removed.clone(),
        unseen: Vec::new(),
    };
    let names = match names(&dir).or_absent() {
        Ok(names) => names.unwrap_or_default(),
        Err(error) => {
            listing.unseen.push(Unseen { profile: None, path: dir, why: words(&error) });
            listing.odd.clone_from(&known.odd);
            let known = known.directories.iter().cloned();
            listing.entries.extend(known.map(|name| Entry { name, is_link: None }));
            return listing;
        }
    };
    listing.real = dir.canonicalize_utf8().ok();
    if names.iter().any(|(name, _)| name == TOMBSTONES) {
        let path = dir.join(TOMBSTONES);
        match removed(&path).or_absent() {
            Ok(removed) => listing.removed = removed.unwrap_or_default(),
            // Who was removed as far as it was known still is.
            Err(error) => listing.unseen.push(Unseen { profile: None, path, why: words(&error) }),
        }
    } else {
        listing.removed.clear();
    }
    for (name, is_link) in names {
        let Some(name) = name.to_str() else {
            let path = dir.join(name.to_string_lossy().as_ref());
            listing.odd.push(Odd { path, why: "its name is not UTF-8".to_owned(), fix: MOVE });
            continue;
        };
        // Hidden entries are staging areas and the like; `profiles/default` is nobody's home.
        if name.starts_with('.') || name == hermes_wire::profile::DEFAULT {
            continue;
        }
        match name.parse::<ProfileName>() {
            Ok(name) => listing.entries.push(Entry { name, is_link }),
            // A file there is nobody's profile.
            Err(error) if dir.join(name).is_dir() => {
                listing.odd.push(Odd { path: dir.join(name), why: error.to_string(), fix: MOVE });
            }
            Err(_) => {}
        }
    }
    listing
}

/// Names in a directory and whether they are links, all of them or an error; links last.
fn names(dir: &Utf8Path) -> io::Result<Vec<(std::ffi::OsString, Option<bool>)>> {
    let mut names = Vec::new();
    for entry in fs_err::read_dir(dir)? {
        let entry = entry?;
        let is_link = entry.file_type().ok().map(|kind| kind.is_symlink());
        names.push((entry.file_name(), is_link));
    }
    names.sort_by(|(a, link_a), (b, link_b)| (link_a, a).cmp(&(link_b, b)));
    Ok(names)
}

/// Who was removed: the names of what is in `dir`.
fn removed(dir: &Utf8Path) -> io::Result<BTreeSet<ProfileName>> {
    let names = names(dir)?.into_iter();
    let names = names.filter_map(|(name, _)| name.to_str()?.parse().ok());
    Ok(names.filter(|name: &ProfileName| !name.is_default()).collect())
}

/// Looks at one home.
pub(super) fn home(root: &RootHome, entry: &Entry) -> Glance {
    let path = root.profile(&entry.name).path().to_owned();
    let mut glance = Glance {
        entry: entry.clone(),
        is_link: false,
        target: None,
        seen: Seen::Unknown,
        linked: false,
        unseen: Vec::new(),
    };
    if let Err((path, error)) = glance.look(&path) {
        let profile = Some(entry.name.clone());
        glance.unseen.push(Unseen { profile, path, why: words(&error) });
    }
    glance
}

/// What is known of a home at which another look is stuck.
pub(super) fn silent(root: &RootHome, entry: &Entry) -> Glance {
    let path = root.profile(&entry.name).path().to_owned();
    let unseen = Unseen { profile: Some(entry.name.clone()), path, why: NO_ANSWER.to_owned() };
    Glance {
        entry: entry.clone(),
        is_link: entry.is_link.unwrap_or(false),
        target: None,
        seen: Seen::Unknown,
        linked: false,
        unseen: vec![unseen],
    }
}

impl Glance {
    /// The first thing that cannot be looked at ends it.
    fn look(&mut self, path: &Utf8Path) -> Result<(), (Utf8PathBuf, io::Error)> {
        let failed = |error| (path.to_owned(), error);
        let is_link = match self.entry.is_link {
            Some(is_link) => is_link,
            None => {
                fs_err::symlink_metadata(path).or_absent().map_err(failed)?.is_some_and(|m| m.is_symlink())
            }
        };
        self.is_link = is_link;
        let found = fs_err::metadata(path).or_absent().map_err(failed)?.filter(std::fs::Metadata::is_dir);
        let is_default = self.entry.name.is_default();
        if found.is_none() && !is_default {
            self.seen = Seen::Nothing;
            return Ok(());
        }
        if is_link {
            self.target = path.canonicalize_utf8().or_absent().map_err(failed)?;
        }
        if !is_default && !homes::has_identity(path).map_err(failed)? {
            self.seen = Seen::Bare;
            return Ok(());
        }
        let directory = found.map(|m| (m.dev(), m.ino()));
        let files = TRIGGERS.map(|name| self.file(path, name));
        let database = self.file(path, DATABASE);
        let parked = self.file(path, PARKED);
        self.seen = Seen::Profile(Box::new(Stamp { directory, files, database, parked }));
        Ok(())
    }

    fn file(&mut self, home: &Utf8Path, name: &str) -> Look {
        let path = home.join(name);
        let found = fs_err::symlink_metadata(&path).and_then(|own| {
            if !own.is_symlink() {
                return Ok(own);
            }
            self.linked = true;
            fs_err::metadata(&path)
        });
        match found.or_absent() {
            Ok(None) => Look::Absent,
            Ok(Some(meta)) => Look::There(FileStamp {
                id: (meta.dev(), meta.ino()),
                size: meta.size(),
                modified: (meta.mtime(), meta.mtime_nsec()),
                mode: meta.mode(),
            }),
            Err(error) => {
                let profile = Some(self.entry.name.clone());
                self.unseen.push(Unseen { profile, path, why: words(&error) });
                Look::Unseen
            }
        }
    }
}

/// What the looks say together; what they do not say is as it was known. `glances` are in the order of the listing's entries.
pub(super) fn assemble(root: &RootHome, listing: Listing, glances: Vec<Glance>, known: &Homes) -> Homes {
    let mut homes =
        Homes { odd: listing.odd, unseen: listing.unseen, removed: listing.removed, ..Homes::default() };
    let mut targets: BTreeMap<Utf8PathBuf, ProfileName> = BTreeMap::new();
    for glance in glances {
        let name = glance.entry.name;
        homes.linked |= glance.linked || glance.is_link;
        if glance.is_link
            && let Some((target, real)) = glance.target.as_ref().zip(listing.real.as_ref())
            && let Some(why) = not_served(target, real, &targets)
        {
            homes.odd.push(Odd { path: root.profiles().join(name.as_str()), why, fix: MOVE });
            continue;
        }
        if homes.removed.contains(&name) {
            // A late writer's directory is no news; what looks like a profile is.
            if matches!(glance.seen, Seen::Profile(_) | Seen::Unknown) {
                let why = format!(
                    "profile `{name}` was removed (`{}`), and something was put there since",
                    root.tombstone(&name)
                );
                homes.odd.push(Odd { path: root.profiles().join(name.as_str()), why, fix: REMOVED });
            }
            continue;
        }
        let before = known.profiles.get(&name);
        let stamp = match glance.seen {
            Seen::Nothing => continue,
            Seen::Bare => None,
            Seen::Profile(stamp) => Some(stamp.completed(before)),
            Seen::Unknown => before.cloned(),
        };
        homes.unseen.extend(glance.unseen);
        if !name.is_default() {
            homes.directories.push(name.clone());
        }
        if let Some(stamp) = stamp {
            if let Some(real) = listing.real.as_ref().filter(|_| !glance.is_link) {
                targets.insert(real.join(name.as_str()), name.clone());
            }
            homes.profiles.insert(name, stamp);
        }
    }
    // Whatever is known or not of its files, it is always there.
    homes.profiles.entry(ProfileName::default_profile()).or_insert_with(Stamp::unseen);
    homes.odd.sort_by(|a, b| a.path.cmp(&b.path));
    homes.odd.dedup();
    homes
}

/// Why a link is not served.
fn not_served(
    target: &Utf8Path,
    profiles: &Utf8Path,
    targets: &BTreeMap<Utf8PathBuf, ProfileName>,
) -> Option<String> {
    if target.parent() != Some(profiles) {
        return Some("it is a symbolic link that leads out of `profiles`".to_owned());
    }
    let same = targets.get(target)?;
    Some(format!("it is another name for the home of profile `{same}`"))
}
