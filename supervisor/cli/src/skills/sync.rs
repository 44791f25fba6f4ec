//! Brings the bundled skills into one home, or into every home of a root.
//!
//! A home that cannot be synced stops none of the others. Each has a time limit, because a home may be on a network that hangs;
//! what is abandoned then stops at its next step and is finished by the next sync.

use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::clock;
use hermes_host::disk;
use hermes_wire::ProfileHome;
use nix::fcntl::{Flock, FlockArg};

use super::bundle::Bundled;
use super::install::{self, Swap, Workplace};
use super::manifest::{self, Manifest};
use super::rule::{Action, Recorded, Why, decide};
use super::{installed, tree};

/// Time one home has.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// Marks a profile that wants no bundled skills.
pub(crate) const OPT_OUT: &str = ".no-bundled-skills";
/// 0.19.0's lock, so that the two programs never sync one home at the same time. Never removed.
const LOCK: &str = ".skills-sync.lock";

/// What happened in one home.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) new: Vec<String>,
    pub(crate) updated: Vec<String>,
    /// Changed by the user, and left alone.
    pub(crate) modified: Vec<String>,
    /// The user's own of the same name.
    pub(crate) yours: Vec<String>,
    /// What a crash had left and could not be told apart.
    pub(crate) kept: Vec<Utf8PathBuf>,
    /// What could not be done, with why. The rest was.
    pub(crate) errors: Vec<String>,
}

/// How a sync of one home ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Synced {
    Done(Outcome),
    OptedOut,
    /// It did not end in time.
    Late,
    /// Nothing was changed.
    Failed(String),
}

impl Synced {
    /// 0.19.0's words.
    pub(crate) fn words(&self) -> String {
        let outcome = match self {
            Self::Done(outcome) => outcome,
            Self::OptedOut => return "opted out (--no-skills)".to_owned(),
            Self::Late => return "sync failed".to_owned(),
            Self::Failed(why) => return format!("error ({why})"),
        };
        let mut text = String::new();
        let counts = [
            ("+", &outcome.new, "new"),
            ("↑", &outcome.updated, "updated"),
            ("~", &outcome.modified, "user-modified"),
        ];
        for (mark, names, word) in counts.into_iter().filter(|(_, names, _)| !names.is_empty()) {
            let comma = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{comma}{mark}{} {word}", names.len());
        }
        if !outcome.errors.is_empty() {
            let comma = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{comma}error ({})", outcome.errors.join("; "));
        }
        if text.is_empty() { "up to date".to_owned() } else { text }
    }

    /// Whether everything is as it should be.
    pub(crate) fn is_good(&self) -> bool {
        match self {
            Self::Done(outcome) => outcome.errors.is_empty(),
            Self::OptedOut => true,
            Self::Late | Self::Failed(_) => false,
        }
    }
}

/// Syncs a home that others may use, within [`LIMIT`].
pub(crate) fn sync(home: &ProfileHome, bundle: &'static [Bundled]) -> Synced {
    let deadline = clock::now() + LIMIT;
    let opened = home.clone();
    within(deadline, move || existing(opened.path(), bundle, deadline))
}

/// What [`sync`] would do, without doing it.
pub(crate) fn preview(home: &ProfileHome, bundle: &'static [Bundled]) -> Synced {
    let deadline = clock::now() + LIMIT;
    let opened = home.clone();
    within(deadline, move || {
        if opted_out(opened.path())? {
            return Ok(Synced::OptedOut);
        }
        Home::new(opened.path(), deadline, Durable::No).preview(bundle).map(Synced::Done)
    })
}

/// Syncs a home that nobody else can see yet; the caller makes it durable.
pub(crate) fn seed(home: &Utf8Path, bundle: &'static [Bundled]) -> Synced {
    let deadline = clock::now() + LIMIT;
    let home = home.to_owned();
    within(deadline, move || Home::new(&home, deadline, Durable::No).sync(bundle).map(Synced::Done))
}

/// Waits for `work` no longer than until `deadline`.
fn within(deadline: Instant, work: impl FnOnce() -> io::Result<Synced> + Send + 'static) -> Synced {
    let (done, result) = mpsc::sync_channel(1);
    let run = move || {
        let synced = match work() {
            Ok(synced) => synced,
            Err(e) if e.kind() == io::ErrorKind::TimedOut => Synced::Late,
            Err(e) => Synced::Failed(e.to_string()),
        };
        // Nobody waits any more when it came too late.
        let _ = done.send(synced);
    };
    match std::thread::Builder::new().name("skills".to_owned()).spawn(run) {
        Err(e) => Synced::Failed(e.to_string()),
        Ok(_) => {
            result.recv_timeout(deadline.saturating_duration_since(clock::now())).unwrap_or(Synced::Late)
        }
    }
}

fn existing(home: &Utf8Path, bundle: &[Bundled], deadline: Instant) -> io::Result<Synced> {
    if opted_out(home)? {
        return Ok(Synced::OptedOut);
    }
    let _alone = lock(home, deadline)?;
    Home::new(home, deadline, Durable::Yes).sync(bundle).map(Synced::Done)
}

fn opted_out(home: &Utf8Path) -> io::Result<bool> {
    match fs_err::symlink_metadata(home.join(OPT_OUT)) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

fn lock(home: &Utf8Path, deadline: Instant) -> io::Result<Flock<std::fs::File>> {
    let path = home.join(LOCK);
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK);
    let mut file = disk::open_or_create(&path, &options).map_err(|e| manifest::named(&e, &path))?;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((back, nix::Error::EWOULDBLOCK)) => file = back,
            Err((_, e)) => return Err(manifest::named(&e.into(), &path)),
        }
        in_time(deadline)?;
        hermes_host::wait::pause(Duration::from_millis(20));
    }
}

fn in_time(deadline: Instant) -> io::Result<()> {
    if clock::now() < deadline { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Durable {
    Yes,
    No,
}

/// One home, and how it is worked on.
#[derive(Debug)]
pub(super) struct Home {
    skills: Utf8PathBuf,
    /// Directories of skills outside of it.
    external: Vec<Utf8PathBuf>,
    deadline: Instant,
    durable: Durable,
    swap: Swap,
}

/// A change that was decided on.
struct Change<'a> {
    skill: &'a Bundled,
    /// The hash of what is replaced; nothing is there otherwise.
    origin: Option<String>,
}

impl Home {
    fn new(home: &Utf8Path, deadline: Instant, durable: Durable) -> Self {
        Self {
            skills: home.join("skills"),
            external: installed::external_dirs(home),
            deadline,
            durable,
            swap: Swap::Exchange,
        }
    }

    #[cfg(test)]
    pub(super) fn for_tests(home: &Utf8Path, swap: Swap) -> Self {
        let deadline = clock::now() + LIMIT;
        Self { swap, ..Self::new(home, deadline, Durable::Yes) }
    }

    /// See the module's parent for the order.
    pub(super) fn sync(&self, bundle: &[Bundled]) -> io::Result<Outcome> {
        match disk::make_dir(&self.skills, 0o700) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(manifest::named(&e, &self.skills));
            }
            _ => {}
        }
        let mut manifest = Manifest::read(&self.skills)?;
        let mut outcome =
            Outcome { kept: install::recover(&self.skills, &mut manifest)?, ..Outcome::default() };
        let found = hermes_worker::skills::scan::below(&self.skills);
        outcome.kept.extend(install::recover_former(&self.skills, &found, bundle, &manifest)?);
        let before = manifest.clone();
        let changes = self.decide(bundle, &mut manifest, &mut outcome)?;
        manifest.keep_only(|name| bundle.iter().any(|skill| skill.name == name));
        if changes.is_empty() {
            if manifest != before {
                manifest.write(&self.skills)?;
            }
            return Ok(outcome);
        }
        self.change(&changes, &mut manifest, &mut outcome)?;
        Ok(outcome)
    }

    /// The same up to where something would be written.
    fn preview(&self, bundle: &[Bundled]) -> io::Result<Outcome> {
        let mut outcome = Outcome::default();
        let changes = self.decide(bundle, &mut Manifest::read(&self.skills)?, &mut outcome)?;
        for Change { skill, origin } in changes {
            let list = if origin.is_none() { &mut outcome.new } else { &mut outcome.updated };
            list.push(skill.name.to_owned());
        }
        Ok(outcome)
    }

    fn decide<'a>(
        &self,
        bundle: &'a [Bundled],
        manifest: &mut Manifest,
        outcome: &mut Outcome,
    ) -> io::Result<Vec<Change<'a>>> {
        let suppressed = manifest::suppressed(&self.skills)?;
        let names = installed::names(&self.skills, &self.external);
        let mut changes = Vec::new();
        for skill in bundle {
            in_time(self.deadline)?;
            let place = self.skills.join(skill.place());
            let there = tree::look(&place);
            let elsewhere = names.iter().any(|(name, path)| name == skill.name && *path != place);
            let recorded = manifest.of(skill.name);
            let name = skill.name.to_owned();
            match decide(suppressed.contains(skill.name), recorded, &there, elsewhere, &skill.hash) {
                Action::Install => changes.push(Change { skill, origin: None }),
                Action::Replace => {
                    let Recorded::Hash(origin) = recorded else { continue };
                    changes.push(Change { skill, origin: Some(origin.to_owned()) });
                }
                Action::Adopt => manifest.set(skill.name, &skill.hash),
                Action::Leave(Why::Modified) => outcome.modified.push(name),
                Action::Leave(Why::Yours) => outcome.yours.push(name),
                Action::Leave(Why::UpToDate | Why::Removed | Why::Suppressed) => {}
            }
        }
        Ok(changes)
    }

    fn change(
        &self,
        changes: &[Change<'_>],
        manifest: &mut Manifest,
        outcome: &mut Outcome,
    ) -> io::Result<()> {
        let plan: Vec<&Bundled> = changes.iter().map(|change| change.skill).collect();
        let work = Workplace::begin(&self.skills, &plan, self.swap)?;
        for change in changes {
            in_time(self.deadline)?;
            work.stage(change.skill)?;
        }
        if self.durable == Durable::Yes {
            work.sync()?;
        }
        for Change { skill, origin } in changes {
            in_time(self.deadline)?;
            let done = match origin {
                None => work.install(skill),
                Some(origin) => work.replace(skill, origin),
            };
            let list = match (done, origin) {
                (Ok(false), None) => &mut outcome.yours,
                (Ok(false), Some(_)) => &mut outcome.modified,
                (Ok(true), origin) => {
                    manifest.set(skill.name, &skill.hash);
                    if origin.is_none() { &mut outcome.new } else { &mut outcome.updated }
                }
                (Err(e), _) => {
                    outcome.errors.push(e.to_string());
                    continue;
                }
            };
            list.push(skill.name.to_owned());
        }
        if self.durable == Durable::Yes {
            work.sync()?;
        }
        manifest.write(&self.skills)?;
        outcome.kept.extend(install::recover(&self.skills, manifest)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_that_hangs_or_is_locked_is_given_up() {
        let late = within(hermes_host::clock::now() + Duration::from_millis(20), || {
            hermes_host::wait::pause(Duration::from_secs(5));
            Ok(Synced::OptedOut)
        });
        assert_eq!((late.words().as_str(), late.is_good()), ("sync failed", false));
        let dir = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(dir.path()).unwrap();
        let held = lock(home, hermes_host::clock::now() + LIMIT).unwrap();
        let soon = hermes_host::clock::now() + Duration::from_millis(50);
        let error = existing(home, &[], soon).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(held);
        assert_eq!(existing(home, &[], hermes_host::clock::now() + LIMIT).unwrap().words(), "up to date");
    }

    #[test]
    fn words() {
        let names = |n: usize| vec![String::new(); n];
        let outcome = Outcome { new: names(2), updated: names(1), modified: names(3), ..Outcome::default() };
        assert_eq!(Synced::Done(outcome).words(), "+2 new, ↑1 updated, ~3 user-modified");
        assert_eq!(Synced::Done(Outcome::default()).words(), "up to date");
        let outcome = Outcome { new: names(1), errors: vec!["why".to_owned()], ..Outcome::default() };
        assert_eq!(Synced::Done(outcome).words(), "+1 new, error (why)");
        assert_eq!(Synced::OptedOut.words(), "opted out (--no-skills)");
        assert_eq!(Synced::Failed("why".to_owned()).words(), "error (why)");
    }
}
