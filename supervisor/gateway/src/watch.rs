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
//!
//! **An error is never read as absence.** A directory that cannot be listed, a home or a file that cannot be looked at (mode, no
//! free descriptors, an input or output error) keeps what was known of it; [`Homes::unseen`] says so, and it is tried again
//! every [`POLL`] until it works. Only what is really not there is removed.
//!
//! **A file system may hang.** Every look runs on a thread of its own and keeps nobody waiting: a home at which one is stuck for
//! [`PATIENCE`] is left to that thread, and the others are looked at without it ([`patience`]). It is said who does not answer,
//! and what was known of it holds until that thread is back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::homes::Parked;
use hermes_wire::home::SLACK_TOKENS;
use hermes_wire::{ProfileName, RootHome};
use tokio::sync::oneshot;
use tokio::time::Instant;

mod glance;
#[cfg(target_os = "linux")]
mod inotify;
#[cfg(not(target_os = "linux"))]
#[path = "watch/no_inotify.rs"]
mod inotify;
mod patience;

use glance::Stamp;
use patience::{GivenUp, Progress, Stuck};

/// Files whose change replaces the worker. Everything else in a home the worker looks after itself.
const TRIGGERS: [&str; 5] = ["config.yaml", ".env", "gateway.json", "auth.json", SLACK_TOKENS];
/// The file that a worker keeps open: another one under its name replaces the worker.
const DATABASE: &str = "state.db";
/// How long a look may be at one place before it is said that that one does not answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same for further homes, once one does not answer: they may all be on one file system.
const LESS_PATIENCE: Duration = Duration::from_millis(500);
/// How long somebody who needs the list of homes waits, whatever is stuck.
const LONGEST: Duration = Duration::from_secs(10);
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
    /// Its database is another file now, or gone.
    Replaced(ProfileName),
    /// Nothing that a running worker needs to be replaced for, but perhaps what one that failed waits for: its database was
    /// written, or its home can be looked at again.
    Stirred(ProfileName),
    /// Its home says that it is parked.
    Parked(ProfileName),
    /// Its home said that, and does not any more.
    Unparked(ProfileName),
    /// What there is to say about directories that are not served, or could not be looked at, is different now.
    Remarks,
}

/// A directory entry below `profiles/` that looks as if it were meant to be a profile and is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Odd {
    /// The entry.
    pub path: Utf8PathBuf,
    /// Why it is not served, a sentence without the path.
    pub why: String,
    /// What to do about it.
    pub fix: &'static str,
}

/// Something that could not be looked at. What was known of it holds until a look succeeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unseen {
    /// Whose it is; `None` for the directory of all profiles.
    pub profile: Option<ProfileName>,
    /// The file or directory.
    pub path: Utf8PathBuf,
    /// The system's words.
    pub why: String,
}

/// What [`scan`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Homes {
    /// By name; `default` is always there.
    profiles: BTreeMap<ProfileName, Stamp>,
    /// Entries that are not served, by path.
    pub odd: Vec<Odd>,
    /// What could not be looked at; what was known of it is in the rest.
    pub unseen: Vec<Unseen>,
    /// Directories below `profiles/` with a valid name, profiles or not yet.
    directories: Vec<ProfileName>,
    /// Names of profiles that were removed; what was put there since is none.
    removed: BTreeSet<ProfileName>,
    /// Some file is reached through a symbolic link, where notifications do not see changes.
    linked: bool,
}

impl Homes {
    /// What somebody knows who has not looked yet.
    fn nobody() -> Self {
        Self {
            profiles: BTreeMap::from([(ProfileName::default_profile(), Stamp::unseen())]),
            ..Self::default()
        }
    }

    /// The same, while the directory of all does not answer.
    fn silent(&self, root: &RootHome) -> Self {
        let path = root.profiles();
        let mut silent = self.clone();
        silent.unseen.retain(|unseen| unseen.path != path);
        silent.unseen.push(Unseen { profile: None, path, why: NO_ANSWER.to_owned() });
        silent
    }

    /// The profiles: `default` first, then by name.
    pub fn names(&self) -> impl Iterator<Item = &ProfileName> {
        let (first, rest): (Vec<_>, Vec<_>) = self.profiles.keys().partition(|n| n.is_default());
        first.into_iter().chain(rest)
    }

    /// Whether `name` exists.
    pub fn contains(&self, name: &ProfileName) -> bool {
        self.profiles.contains_key(name)
    }

    /// Which state the files are in that decide how a worker of `name` is configured: the same number for the same state, also in
    /// another process of this release. Nothing where one of them could not be looked at.
    pub fn files(&self, name: &ProfileName) -> Option<u64> {
        self.profiles.get(name).and_then(Stamp::of_files)
    }

    /// Whether the home of `name` says that it is parked. The default profile's may say so, and it means nothing.
    pub fn parked(&self, name: &ProfileName) -> Parked {
        self.profiles.get(name).map_or(Parked::No, Stamp::parked)
    }

    /// Directories below `profiles/` that have a profile's name and nothing of one.
    pub fn bare_directories(&self) -> impl Iterator<Item = &ProfileName> {
        self.directories.iter().filter(|name| !self.profiles.contains_key(*name))
    }

    /// Whether something of `name`, or of all named profiles, could not be looked at.
    pub fn is_unseen(&self, name: &ProfileName) -> bool {
        let whose = |unseen: &Unseen| unseen.profile.as_ref().map_or(!name.is_default(), |who| who == name);
        self.unseen.iter().any(whose)
    }

    /// Those that nothing is known of, because their homes do not answer.
    pub fn silent_names(&self) -> impl Iterator<Item = &ProfileName> {
        let unseen = self.unseen.iter().filter(|unseen| unseen.why == NO_ANSWER);
        unseen.filter_map(|unseen| unseen.profile.as_ref()).filter(|name| !self.contains(name))
    }

    /// Whether its home does not answer, so that whoever touches it may wait for ever.
    pub fn is_silent(&self, name: &ProfileName) -> bool {
        self.unseen.iter().any(|unseen| unseen.profile.as_ref() == Some(name) && unseen.why == NO_ANSWER)
    }

    /// One line for what cannot be looked at any more, and one when it can be again.
    fn tell_unseen(&self, newer: &Self) {
        for unseen in newer.unseen.iter().filter(|unseen| !self.unseen.contains(unseen)) {
            tracing::error!(path = %unseen.path, "cannot be looked at, what was known holds: {}", unseen.why);
        }
        for seen in self.unseen.iter().filter(|old| !newer.unseen.iter().any(|new| new.path == old.path)) {
            tracing::info!(path = %seen.path, "can be looked at again");
        }
    }

    fn changes_to(&self, newer: &Self) -> Vec<HomeEvent> {
        let mut events = Vec::new();
        for (name, old) in &self.profiles {
            match newer.profiles.get(name) {
                None => events.push(HomeEvent::Removed(name.clone())),
                // Another directory under the same name is another profile; the built-in one is always the same.
                Some(new) if old.is_elsewhere(new) && !name.is_default() => {
                    events.push(HomeEvent::Removed(name.clone()));
                    events.push(HomeEvent::Added(name.clone()));
                }
                Some(new) if old.has_other_database(new) => events.push(HomeEvent::Replaced(name.clone())),
                Some(new) if old.has_other_files(new) => events.push(HomeEvent::Changed(name.clone())),
                Some(new)
                    if old.database != new.database || (self.is_unseen(name) && !newer.is_unseen(name)) =>
                {
                    events.push(HomeEvent::Stirred(name.clone()));
                }
                Some(_) => {}
            }
            if let Some(new) = newer.profiles.get(name).filter(|new| !old.is_elsewhere(new)) {
                match (old.parked(), new.parked()) {
                    (Parked::No | Parked::Unknown, Parked::Yes) => {
                        events.push(HomeEvent::Parked(name.clone()));
                    }
                    (Parked::Yes, Parked::No) => events.push(HomeEvent::Unparked(name.clone())),
                    // It was never seen there, so nobody took it away.
                    (Parked::Unknown, Parked::No) => events.push(HomeEvent::Stirred(name.clone())),
                    _ => {}
                }
            }
        }
        for name in newer.profiles.keys().filter(|n| !self.profiles.contains_key(*n)) {
            events.push(HomeEvent::Added(name.clone()));
        }
        if self.odd != newer.odd || self.unseen != newer.unseen {
            events.push(HomeEvent::Remarks);
        }
        events.dedup();
        // Removals first: a renamed profile must have given up its identities before its new name asks for them.
        events.sort_by_key(|e| !matches!(e, HomeEvent::Removed(_)));
        events
    }
}

/// Lists the homes under `root`. Opens no file.
///
/// A directory is a profile when its name is valid and not that of one that was removed, it holds one of the identity files, and
/// it does not lead out of `profiles/` by a symbolic link. What cannot be looked at, or does not answer within [`PATIENCE`], is in [`Homes::unseen`].
pub fn scan(root: &RootHome) -> Homes {
    let known = Homes::nobody();
    let stuck = Stuck::default();
    let until = Instant::now() + LONGEST;
    loop {
        let progress = Progress::new(&stuck);
        let (sender, receiver) = std::sync::mpsc::channel();
        let (thread_root, thread_known, thread_progress) = (root.clone(), known.clone(), progress.clone());
        let job = move || drop(sender.send(look(&thread_root, &thread_known, None, &thread_progress)));
        if on_a_thread(job).is_err() {
            // Without a thread there is no limit, which is better than no answer.
            let looked = look(root, &known, None, &Progress::new(&stuck));
            return looked.map_or(known, |looked| looked.homes);
        }
        loop {
            let wait = progress.due().saturating_duration_since(Instant::now());
            match receiver.recv_timeout(wait) {
                Ok(Some(looked)) => return looked.homes,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) if Instant::now() < until => {
                    match progress.give_up() {
                        GivenUp::Nobody => {}
                        GivenUp::Home => break,
                        GivenUp::List => return known.silent(root),
                    }
                }
                Ok(None) | Err(_) => return known.silent(root),
            }
        }
    }
}

/// One look, and what came about with it.
#[derive(Debug)]
struct Looked {
    homes: Homes,
    watches: Vec<inotify::Watched>,
    silent: bool,
}

/// What is said of who does not answer.
pub const NO_ANSWER: &str = "it does not answer";

/// A file system may hang: whatever touches one runs where nobody waits but who wants to know.
fn on_a_thread(look: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name("homes".to_owned()).stack_size(256 * 1024).spawn(look).map(drop)
}

/// Looks, as somebody who knew `known` before: of what cannot be looked at now, that holds. Each directory is watched before it is
/// looked at, so that nothing falls between the two. Nothing comes of a look that was given up.
fn look(
    root: &RootHome,
    known: &Homes,
    watcher: Option<&inotify::Watcher>,
    progress: &Progress,
) -> Option<Looked> {
    let mut followed = Vec::new();
    let mut watch = |path: &Utf8Path, place| followed.extend(watcher.map(|watcher| watcher.add(path, place)));
    watch(root.path(), inotify::Place::Root);
    watch(&root.profiles(), inotify::Place::Profiles);
    let silent = inotify::is_silent(root.path());
    watch(&root.tombstones(), inotify::Place::Profiles);
    let listing = glance::list(root, known);
    let mut glances = Vec::with_capacity(listing.entries.len());
    for entry in &listing.entries {
        if progress.is_stuck(entry.name()) {
            glances.push(glance::silent(root, entry));
            continue;
        }
        progress.begin(entry.name());
        if !entry.name().is_default() {
            watch(root.profile(entry.name()).path(), inotify::Place::Home(entry.name().clone()));
        }
        glances.push(glance::home(root, entry));
        progress.done()?;
    }
    let homes = glance::assemble(root, listing, glances, known);
    progress.done()?;
    Some(Looked { homes, watches: followed, silent })
}

/// A look that is under way.
#[derive(Debug)]
struct Looking {
    answer: oneshot::Receiver<Option<Looked>>,
    progress: Progress,
    /// It was said already that the directory of all does not answer.
    said: bool,
}

/// A running watch. It owns no task: it makes progress while [`HomeWatch::next`] is polled, and dropping it ends it. A look that
/// hangs keeps its thread.
#[derive(Debug)]
pub struct HomeWatch {
    root: RootHome,
    known: Homes,
    pending: VecDeque<HomeEvent>,
    source: Option<inotify::Source>,
    /// When a sign of a change was first and last seen.
    dirty: Option<(Instant, Instant)>,
    next_scan: Instant,
    looking: Option<Looking>,
    /// Homes at which a look is stuck.
    stuck: Stuck,
    /// The file system may change without telling.
    silent: bool,
}

impl HomeWatch {
    /// Starts watching. What exists now is in [`HomeWatch::homes`] and makes no events.
    pub async fn start(root: RootHome) -> Self {
        let source = inotify::Source::new()
            .inspect_err(|e| tracing::warn!(error = %e, "cannot watch the homes; they are scanned instead"))
            .ok();
        let mut watch = Self {
            root,
            known: Homes::nobody(),
            pending: VecDeque::new(),
            source,
            dirty: None,
            next_scan: Instant::now(),
            looking: None,
            stuck: Stuck::default(),
            silent: false,
        };
        watch.look_now().await;
        watch.pending.clear();
        watch
    }

    /// The homes as last seen; every difference to an earlier look was, or will be, an event.
    pub fn homes(&self) -> &Homes {
        &self.known
    }

    /// Looks at once instead of when something stirs, and waits for it, but not longer than [`LONGEST`]; differences come out of
    /// [`HomeWatch::next`].
    pub async fn look_now(&mut self) {
        let until = Instant::now() + LONGEST;
        // One that is under way may have passed what this one is wanted for.
        let mut fresh = self.looking.is_none();
        loop {
            if self.looking.is_none() {
                fresh = true;
                self.begin();
            }
            let Some(looking) = &mut self.looking else { return };
            let patience = looking.progress.due().min(until);
            if let Ok(looked) = tokio::time::timeout_at(patience, &mut looking.answer).await {
                self.arrived(looked.ok().flatten());
                if fresh {
                    return;
                }
            } else {
                let listed = self.lose_patience();
                if !listed || Instant::now() >= until {
                    return;
                }
            }
        }
    }

    fn begin(&mut self) {
        self.dirty = None;
        let (sender, answer) = oneshot::channel();
        let progress = Progress::new(&self.stuck);
        let (root, known, at) = (self.root.clone(), self.known.clone(), progress.clone());
        let watcher = self.source.as_ref().map(inotify::Source::watcher);
        let look = move || drop(sender.send(look(&root, &known, watcher.as_ref(), &at)));
        if let Err(error) = on_a_thread(look) {
            // The answer that never comes is an error, and tried again like every other.
            tracing::warn!(%error, "the homes cannot be looked at now");
        }
        self.looking = Some(Looking { answer, progress, said: false });
    }

    /// A look is back, or came to nothing.
    fn arrived(&mut self, looked: Option<Looked>) {
        self.looking = None;
        if let Some(Looked { homes, watches, silent }) = looked {
            if let Some(source) = &mut self.source {
                source.follow(watches);
            }
            for odd in homes.odd.iter().filter(|o| !self.known.odd.contains(o)) {
                tracing::warn!(path = %odd.path, "not served: {}", odd.why);
            }
            let of_default = |homes: &Homes| homes.parked(&ProfileName::default_profile()) == Parked::Yes;
            if of_default(&homes) && !of_default(&self.known) {
                let path = self.root.profile(&ProfileName::default_profile()).parked();
                tracing::warn!(%path, "ignored: the default profile is not parked, its gateway is stopped instead");
            }
            self.silent = silent;
            self.take_over(homes);
            self.next_scan = Instant::now() + self.interval();
        } else {
            self.next_scan = Instant::now() + POLL;
        }
    }

    /// Somebody does not answer: that is said, what was known of it holds, and the others are looked at without it. Whether there is
    /// a list of them.
    fn lose_patience(&mut self) -> bool {
        let Some(looking) = &mut self.looking else { return true };
        match looking.progress.give_up() {
            GivenUp::Nobody => true,
            GivenUp::Home => {
                self.begin();
                true
            }
            GivenUp::List => {
                looking.said = true;
                let silent = self.known.silent(&self.root);
                self.take_over(silent);
                false
            }
        }
    }

    fn take_over(&mut self, newer: Homes) {
        self.known.tell_unseen(&newer);
        self.pending.extend(self.known.changes_to(&newer));
        self.known = newer;
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
            let is_looking = self.looking.is_some();
            let patience = self.looking.as_ref().filter(|looking| !looking.said);
            let patience = patience.map(|looking| looking.progress.due());
            tokio::select! {
                looked = arrival(self.looking.as_mut()) => self.arrived(looked),
                stirred = stir(self.source.as_mut()) => {
                    if stirred {
                        let now = Instant::now();
                        let first = self.dirty.map_or(now, |(first, _)| first);
                        self.dirty = Some((first, now));
                    }
                }
                () = until(patience) => drop(self.lose_patience()),
                () = tokio::time::sleep_until(due), if !is_looking => self.begin(),
            }
        }
    }

    fn interval(&self) -> Duration {
        let reliable = self.source.as_ref().is_some_and(inotify::Source::is_complete);
        let settled = !self.known.linked && self.known.unseen.is_empty();
        if reliable && !self.silent && settled { SAFETY_POLL } else { POLL }
    }
}

/// Waits for a look. Never returns where none is under way.
async fn arrival(looking: Option<&mut Looking>) -> Option<Looked> {
    match looking {
        Some(looking) => (&mut looking.answer).await.ok().flatten(),
        None => std::future::pending().await,
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
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
