//! Sees which profiles exist and when their files change, by names, times, sizes and inodes alone; no file is opened.
//!
//! Two layers. [`scan`] is the truth: it lists the homes and stamps the files that decide how a worker is configured. The kernel's
//! notifications only say *when* to scan, so a lost, merged or misread one can never produce a wrong event. After the first sign
//! of a change the watch waits until it has been quiet for [`SETTLE`] (at most [`SETTLE_LIMIT`]), so that an editor's
//! write-to-temporary-and-rename, or a profile that is being copied together, is one event.
//!
//! `inotify` is used directly: what is wanted is completed writes and name changes, and a watch that also reports every write to
//! an open `state.db` would wake the supervisor thousands of times a second for nothing. Where there is no `inotify` (another
//! system, no watches left, a network file system that does not report changes made elsewhere) a scan runs every [`POLL`].

use std::collections::{BTreeMap, VecDeque};
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_protocol::home::IDENTITY_FILES;
use hermes_protocol::{ProfileName, RootHome};
use tokio::time::Instant;

#[cfg(target_os = "linux")]
mod inotify;
#[cfg(not(target_os = "linux"))]
#[path = "watch/no_inotify.rs"]
mod inotify;

/// Files whose change replaces the worker. Everything else in a home the worker looks after itself.
const TRIGGERS: [&str; 3] = ["config.yaml", ".env", "gateway.json"];
/// How long nothing may change before a change is reported.
const SETTLE: Duration = Duration::from_millis(200);
/// How long a change is held back at most.
const SETTLE_LIMIT: Duration = Duration::from_millis(1000);
/// Time between two scans where notifications cannot be relied on.
const POLL: Duration = Duration::from_millis(1500);
/// Time between two scans where they can.
const SAFETY_POLL: Duration = Duration::from_secs(60);

/// One change of the set of profiles, or of one of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum HomeEvent {
    /// Its directory is gone, or holds no profile any more.
    Removed(ProfileName),
    /// A directory became a profile.
    Added(ProfileName),
    /// Its configuration or credentials changed.
    Changed(ProfileName),
}

/// A directory entry below `profiles/` that looks as if it were meant to be a profile and is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Odd {
    /// The entry.
    pub path: Utf8PathBuf,
    /// Why it is not served, a sentence without the path.
    pub why: String,
}

/// What [`scan`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Homes {
    /// By name; `default` is always there.
    profiles: BTreeMap<ProfileName, Stamp>,
    /// Entries that are not served, by path.
    pub odd: Vec<Odd>,
    /// Directories below `profiles/` with a valid name, profiles or not yet.
    directories: Vec<ProfileName>,
    /// Some file is reached through a symbolic link, where notifications do not see changes.
    linked: bool,
}

/// Identity of a home and of the files in it that matter.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    directory: (u64, u64),
    files: [Option<FileStamp>; TRIGGERS.len()],
}

/// Everything about a file that can be known without opening it and that changes when its contents do.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FileStamp {
    id: (u64, u64),
    size: u64,
    modified: (i64, i64),
    mode: u32,
}

impl Homes {
    /// The profiles: `default` first, then by name.
    pub fn names(&self) -> impl Iterator<Item = &ProfileName> {
        let (first, rest): (Vec<_>, Vec<_>) = self.profiles.keys().partition(|n| n.is_default());
        first.into_iter().chain(rest)
    }

    /// Whether `name` exists.
    pub fn contains(&self, name: &ProfileName) -> bool {
        self.profiles.contains_key(name)
    }

    /// Directories below `profiles/` that have a profile's name and nothing of one.
    pub fn bare_directories(&self) -> impl Iterator<Item = &ProfileName> {
        self.directories.iter().filter(|name| !self.profiles.contains_key(*name))
    }

    fn changes_to(&self, newer: &Self) -> Vec<HomeEvent> {
        let mut events = Vec::new();
        for (name, old) in &self.profiles {
            match newer.profiles.get(name) {
                None => events.push(HomeEvent::Removed(name.clone())),
                // Another directory under the same name is another profile; the built-in one is always the same.
                Some(new) if old.directory != new.directory && !name.is_default() => {
                    events.push(HomeEvent::Removed(name.clone()));
                    events.push(HomeEvent::Added(name.clone()));
                }
                Some(new) if old.files != new.files => events.push(HomeEvent::Changed(name.clone())),
                Some(_) => {}
            }
        }
        for name in newer.profiles.keys().filter(|n| !self.profiles.contains_key(*n)) {
            events.push(HomeEvent::Added(name.clone()));
        }
        // Removals first: a renamed profile must have given up its identities before its new name asks for them.
        events.sort_by_key(|e| !matches!(e, HomeEvent::Removed(_)));
        events
    }
}

/// Lists the homes under `root`. Opens no file.
///
/// A directory is a profile when its name is valid, it holds one of the identity files, and it does not lead out of
/// `profiles/` by a symbolic link.
pub fn scan(root: &RootHome) -> Homes {
    let mut homes = Homes::default();
    let default = ProfileName::default_profile();
    let (stamp, linked) = stamp(root.path());
    homes.linked |= linked;
    homes.profiles.insert(default, stamp);
    let dir = root.profiles();
    let Ok(entries) = fs_err::read_dir(&dir) else { return homes };
    let real_dir = dir.canonicalize_utf8().ok();
    let mut targets: BTreeMap<Utf8PathBuf, ProfileName> = BTreeMap::new();
    let mut names: Vec<_> =
        entries.filter_map(Result::ok).map(|e| (e.file_name(), e.file_type().ok())).collect();
    // Real directories before links, so that of two names for one home the real one is served.
    names.sort_by_key(|(name, kind)| (kind.is_some_and(|k| k.is_symlink()), name.clone()));
    for (name, kind) in names {
        let Some(name) = name.to_str() else {
            homes.odd.push(odd(dir.join(name.to_string_lossy().as_ref()), "its name is not UTF-8"));
            continue;
        };
        let path = dir.join(name);
        // Hidden entries are staging areas and the like; `profiles/default` is nobody's home.
        if name.starts_with('.') || name == hermes_protocol::profile::DEFAULT {
            continue;
        }
        let is_link = kind.is_some_and(|k| k.is_symlink());
        if !path.is_dir() {
            continue;
        }
        let name = match name.parse::<ProfileName>() {
            Ok(name) => name,
            Err(e) => {
                homes.odd.push(odd(path, &e.to_string()));
                continue;
            }
        };
        if is_link {
            homes.linked = true;
            let target = path.canonicalize_utf8().ok();
            let inside = target.as_ref().zip(real_dir.as_ref()).is_some_and(|(t, d)| t.parent() == Some(d));
            if !inside {
                homes.odd.push(odd(path, "it is a symbolic link that leads out of `profiles`"));
                continue;
            }
            if let Some(same) = target.and_then(|t| targets.get(&t)) {
                let why = format!("it is another name for the home of profile `{same}`");
                homes.odd.push(odd(path, &why));
                continue;
            }
        }
        homes.directories.push(name.clone());
        if !IDENTITY_FILES.iter().any(|f| path.join(f).exists()) {
            continue;
        }
        if let Ok(real) = path.canonicalize_utf8() {
            targets.insert(real, name.clone());
        }
        let (stamp, linked) = self::stamp(&path);
        homes.linked |= linked;
        homes.profiles.insert(name, stamp);
    }
    homes.odd.sort_by(|a, b| a.path.cmp(&b.path));
    homes
}

fn odd(path: Utf8PathBuf, why: &str) -> Odd {
    Odd { path, why: why.to_owned() }
}

fn stamp(home: &Utf8Path) -> (Stamp, bool) {
    let mut linked = false;
    let directory = fs_err::metadata(home).map_or((0, 0), |m| (m.dev(), m.ino()));
    let files = TRIGGERS.map(|name| {
        let path = home.join(name);
        let own = fs_err::symlink_metadata(&path).ok()?;
        let meta = if own.is_symlink() {
            linked = true;
            fs_err::metadata(&path).ok()?
        } else {
            own
        };
        Some(FileStamp {
            id: (meta.dev(), meta.ino()),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            mode: meta.mode(),
        })
    });
    (Stamp { directory, files }, linked)
}

/// A running watch. It owns no task: it makes progress while [`HomeWatch::next`] is polled, and dropping it ends it.
#[derive(Debug)]
pub struct HomeWatch {
    root: RootHome,
    known: Homes,
    pending: VecDeque<HomeEvent>,
    source: Option<inotify::Source>,
    /// When a sign of a change was first and last seen.
    dirty: Option<(Instant, Instant)>,
    next_scan: Instant,
    /// The file system may change without telling.
    silent: bool,
}

impl HomeWatch {
    /// Starts watching. What exists now is in [`HomeWatch::homes`] and makes no events. Needs a runtime.
    pub fn start(root: RootHome) -> Self {
        let mut source = inotify::Source::new(&root)
            .inspect_err(|e| tracing::warn!(error = %e, "cannot watch the homes; they are scanned instead"))
            .ok();
        let known = scan(&root);
        if let Some(source) = &mut source {
            source.follow(&root, &known.directories);
        }
        // Scanned again with all watches in place, so that nothing falls between the two.
        let known = if source.is_some() { scan(&root) } else { known };
        let silent = inotify::is_silent(root.path());
        let mut watch = Self {
            root,
            known,
            pending: VecDeque::new(),
            source,
            dirty: None,
            next_scan: Instant::now(),
            silent,
        };
        watch.next_scan = Instant::now() + watch.interval();
        watch
    }

    /// The homes as last seen; every difference to an earlier look was, or will be, an event.
    pub fn homes(&self) -> &Homes {
        &self.known
    }

    /// Looks at once instead of when something stirs; differences come out of [`HomeWatch::next`].
    pub fn rescan(&mut self) {
        let mut newer = scan(&self.root);
        if let Some(source) = &mut self.source
            && source.follow(&self.root, &newer.directories)
        {
            newer = scan(&self.root);
        }
        for odd in newer.odd.iter().filter(|o| !self.known.odd.contains(o)) {
            tracing::warn!(path = %odd.path, "not served: {}", odd.why);
        }
        self.pending.extend(self.known.changes_to(&newer));
        self.known = newer;
        self.dirty = None;
        self.next_scan = Instant::now() + self.interval();
    }

    /// A change that was seen already.
    pub fn take(&mut self) -> Option<HomeEvent> {
        self.pending.pop_front()
    }

    /// The next change. Safe to cancel: nothing is lost.
    pub async fn next(&mut self) -> HomeEvent {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return event;
            }
            let due = match self.dirty {
                Some((first, last)) => self.next_scan.min((last + SETTLE).min(first + SETTLE_LIMIT)),
                None => self.next_scan,
            };
            tokio::select! {
                stirred = stir(self.source.as_mut()) => {
                    if stirred {
                        let now = Instant::now();
                        let first = self.dirty.map_or(now, |(first, _)| first);
                        self.dirty = Some((first, now));
                    }
                }
                () = tokio::time::sleep_until(due) => self.rescan(),
            }
        }
    }

    fn interval(&self) -> Duration {
        let reliable = self.source.as_ref().is_some_and(inotify::Source::is_complete);
        if reliable && !self.silent && !self.known.linked { SAFETY_POLL } else { POLL }
    }
}

/// Waits for notifications; whether one of them matters. Never returns without a source.
async fn stir(source: Option<&mut inotify::Source>) -> bool {
    match source {
        Some(source) => source.stirred().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[path = "watch/tests.rs"]
mod tests;
