//! Who may talk to a profile's bots because its owner let them in: the files of pairing, read and written.
//!
//! # Theory of operation
//!
//! Files stand in `platforms/pairing/` of the home or, where that is there, in the older `pairing/`. Both are read, as one; what is new
//! is written where the Python program writes it. One process writes at a time, under a lock of its own; readers need none, because a
//! file is replaced whole. Everything is read from disk when it is asked for: an approval counts from the next message on.
//!
//! # Guarantees
//!
//! - A file that cannot be read, or is not what it should be, is an error that names it. It never means that nobody was let in.
//! - Who is let in is written before his request is taken away.
//! - Limits hold for one profile and platform, over all processes.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_wire::ProfileHome;
use hermes_wire::contract::pairing::{
    self, APPROVED, Approved, Entries, MOST_PENDING, PENDING, Pending, RATES, Rates,
};
use hermes_wire::road::is_platform;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::{clock, disk, file, wait};

/// Largest file that is read.
const MOST: usize = 4 << 20;
/// Time that another process has to finish writing.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest name that is kept, in characters.
const NAME: usize = 128;
/// People whom a file of limits holds; more strangers at once are not answered.
const STRANGERS: usize = 10_000;
/// Its name, beside the files.
const LOCK: &str = ".pairing.lock";

/// Why the files say nothing, or cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum PairingError {
    /// Something is there, and cannot be looked at.
    #[error("failed to read `{path}`")]
    Read {
        /// Where.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// It is no JSON object.
    #[error("`{path}` is not what it should be (line {line}): restore it, or move it away and approve anew")]
    Shape {
        /// Where.
        path: Utf8PathBuf,
        /// Where in it.
        line: usize,
    },
    /// It cannot be written.
    #[error("failed to write `{path}`")]
    Write {
        /// Where.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// Another process holds the lock.
    #[error("`{path}` is locked by another program")]
    Locked {
        /// The lock.
        path: Utf8PathBuf,
    },
    /// No name of a platform.
    #[error("`{0}` is no name of a platform")]
    Platform(String),
    /// The system gives no random bytes.
    #[error("failed to read `/dev/urandom`")]
    Random(#[source] io::Error),
}

/// What somebody hears who asks to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Issued {
    /// A code.
    Code(String),
    /// That too many ask, or that no codes are made now.
    Refused,
    /// Nothing: he was answered a moment ago.
    Silence,
}

/// What came of letting somebody in.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// He is in.
    Approved(Approved),
    /// Nobody asked with this code, or it is too old.
    Unknown,
    /// Too many wrong codes: none is taken for so many seconds.
    Locked(f64),
}

/// All that the files hold, each with its platform.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Listing {
    /// Who asked, and may still be let in by code.
    pub pending: Vec<(String, Pending)>,
    /// Who was let in.
    pub approved: Vec<(String, Approved)>,
}

/// The files of one profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pairing {
    /// The older place first.
    dirs: [Utf8PathBuf; 2],
}

/// One file, in both places.
struct Both {
    paths: [Utf8PathBuf; 2],
    entries: [Entries; 2],
    changed: [bool; 2],
    /// Where what is new goes.
    active: usize,
}

impl Pairing {
    /// Those of the profile whose home this is.
    pub fn of(home: &ProfileHome) -> Self {
        Self { dirs: [home.older_pairing(), home.pairing()] }
    }

    /// Whether any of these ids of one person was let in.
    pub fn is_approved<'i>(
        &self,
        platform: &str,
        ids: impl IntoIterator<Item = &'i str>,
    ) -> Result<bool, PairingError> {
        let approved = self.read(&name(platform, APPROVED)?)?;
        Ok(ids.into_iter().any(|id| approved.get(id).is_some()))
    }

    /// Makes a code for somebody, or says why there is none.
    pub fn issue(
        &self,
        platform: &str,
        user_id: &str,
        user_name: &str,
        now: f64,
    ) -> Result<Issued, PairingError> {
        let pending_name = name(platform, PENDING)?;
        let _lock = self.lock()?;
        let Some(limits) = self.noted(platform, user_id, now)? else { return Ok(Issued::Silence) };
        let mut pending = self.read(&pending_name)?;
        pending.forget(|request, entry| {
            // A new code takes the place of the same person's last one.
            Pending::read(request, entry).is_some_and(|one| !one.is_alive(now) || one.user_id == user_id)
        });
        let waiting =
            pending.all().filter(|(request, entry)| Pending::read(request, entry).is_some()).count();
        let is_locked = limits.rates().locked_until(platform, now).is_some();
        let issued = if is_locked || waiting >= MOST_PENDING {
            Issued::Refused
        } else {
            let code = pairing::code(random()?);
            let entry = pairing::pending(&code, random()?, user_id, &plain(user_name), now);
            pending.put(pairing::request(random()?), entry);
            Issued::Code(code)
        };
        limits.save()?;
        pending.save()?;
        Ok(issued)
    }

    /// Whether somebody may be answered now; from then on not, for a while.
    pub fn may_answer(&self, platform: &str, user_id: &str, now: f64) -> Result<bool, PairingError> {
        name(platform, PENDING)?;
        let _lock = self.lock()?;
        let Some(limits) = self.noted(platform, user_id, now)? else { return Ok(false) };
        limits.save()?;
        Ok(true)
    }

    /// The limits, with somebody noted in them; `None`: he was answered a moment ago, or too many were.
    fn noted(&self, platform: &str, user_id: &str, now: f64) -> Result<Option<Both>, PairingError> {
        let mut both = self.read(RATES)?;
        let mut rates = both.rates();
        if rates.is_limited(platform, user_id, now) {
            return Ok(None);
        }
        rates.note(platform, user_id, now);
        if rates.0.len() > STRANGERS {
            return Ok(None);
        }
        both.set_rates(rates);
        Ok(Some(both))
    }

    /// Lets somebody in by his code, however it is typed.
    pub fn approve(&self, platform: &str, code: &str, now: f64) -> Result<Outcome, PairingError> {
        let code = pairing::typed(code);
        self.let_in(platform, now, true, |one| one.is_code(&code))
    }

    /// Lets somebody in by the name of his request. A wrong one is no guess at a code.
    pub fn approve_request(&self, platform: &str, request: &str, now: f64) -> Result<Outcome, PairingError> {
        let request = request.trim().to_lowercase();
        self.let_in(platform, now, false, |one| {
            one.request == request || (request.len() >= 6 && one.request.starts_with(&request))
        })
    }

    fn let_in(
        &self,
        platform: &str,
        now: f64,
        by_code: bool,
        is_his: impl Fn(&Pending) -> bool,
    ) -> Result<Outcome, PairingError> {
        let (pending_name, approved_name) = (name(platform, PENDING)?, name(platform, APPROVED)?);
        let _lock = self.lock()?;
        let mut limits = self.read(RATES)?;
        let mut rates = limits.rates();
        if let Some(until) = rates.locked_until(platform, now).filter(|_| by_code) {
            return Ok(Outcome::Locked(until - now));
        }
        let mut pending = self.read(&pending_name)?;
        let found: Vec<Pending> = pending
            .all()
            .filter_map(|(request, entry)| Pending::read(request, entry))
            .filter(|one| one.is_alive(now) && is_his(one))
            .collect();
        // The beginning of several names is none of them.
        let [one] = found.as_slice() else {
            if by_code {
                rates.failed(platform, now);
                limits.set_rates(rates);
                limits.save()?;
            }
            return Ok(Outcome::Unknown);
        };
        let mut approved = self.read(&approved_name)?;
        approved.put(one.user_id.clone(), pairing::approved(&one.user_name, now));
        approved.save()?;
        pending.forget(|request, entry| {
            Pending::read(request, entry)
                .is_some_and(|other| !other.is_alive(now) || other.user_id == one.user_id)
        });
        pending.save()?;
        rates.succeeded(platform);
        limits.set_rates(rates);
        limits.save()?;
        let Pending { user_id, user_name, .. } = one.clone();
        Ok(Outcome::Approved(Approved { user_id, user_name, approved_at: Some(now) }))
    }

    /// Takes back what was given to somebody. `false`: he was not let in.
    pub fn revoke(&self, platform: &str, user_id: &str) -> Result<bool, PairingError> {
        let name = name(platform, APPROVED)?;
        let _lock = self.lock()?;
        let mut approved = self.read(&name)?;
        let was = approved.get(user_id).is_some();
        approved.forget(|id, _| id == user_id);
        approved.save()?;
        Ok(was)
    }

    /// Forgets who asked, and gives how many did whose codes were still good.
    pub fn clear_pending(&self, now: f64) -> Result<usize, PairingError> {
        let platforms = self.platforms(PENDING)?;
        if platforms.is_empty() {
            return Ok(0);
        }
        let _lock = self.lock()?;
        let mut cleared = 0;
        for platform in platforms {
            let mut pending = self.read(&name(&platform, PENDING)?)?;
            let asked = pending.all().filter_map(|(request, entry)| Pending::read(request, entry));
            cleared += asked.filter(|one| one.is_alive(now)).count();
            pending.forget(|_, _| true);
            pending.save()?;
        }
        Ok(cleared)
    }

    /// Everything.
    pub fn list(&self, now: f64) -> Result<Listing, PairingError> {
        let mut listing = Listing::default();
        for platform in self.platforms(PENDING)? {
            let pending = self.read(&name(&platform, PENDING)?)?;
            let asked = pending.all().filter_map(|(request, entry)| Pending::read(request, entry));
            let alive = asked.filter(|one| one.is_alive(now));
            listing.pending.extend(alive.map(|one| (platform.clone(), one)));
        }
        for platform in self.platforms(APPROVED)? {
            let approved = self.read(&name(&platform, APPROVED)?)?;
            let all = approved.all().map(|(id, entry)| (platform.clone(), Approved::read(id, entry)));
            listing.approved.extend(all);
        }
        Ok(listing)
    }

    /// The platforms that have a file of this kind, in order.
    fn platforms(&self, suffix: &str) -> Result<Vec<String>, PairingError> {
        let mut all = std::collections::BTreeSet::new();
        for dir in &self.dirs {
            let cannot = |error| PairingError::Read { path: dir.clone(), error };
            let entries = match fs_err::read_dir(dir) {
                Ok(entries) => entries,
                Err(error) if is_absent(&error) => continue,
                Err(error) => return Err(cannot(error)),
            };
            for entry in entries {
                let file = entry.map_err(cannot)?.file_name();
                let platform = file.to_str().and_then(|file| file.strip_suffix(suffix));
                all.extend(platform.filter(|platform| is_platform(platform)).map(str::to_owned));
            }
        }
        Ok(all.into_iter().collect())
    }

    /// Where what is new is written: in the older place, where that is there.
    fn active(&self) -> Result<usize, PairingError> {
        let older = disk::is_there(&self.dirs[0])
            .map_err(|error| PairingError::Read { path: self.dirs[0].clone(), error })?;
        Ok(usize::from(!older))
    }

    fn read(&self, file: &str) -> Result<Both, PairingError> {
        let paths = [self.dirs[0].join(file), self.dirs[1].join(file)];
        let entries = [entries(&paths[0])?, entries(&paths[1])?];
        Ok(Both { paths, entries, changed: [false; 2], active: self.active()? })
    }

    /// Keeps other processes from writing.
    fn lock(&self) -> Result<Flock<std::fs::File>, PairingError> {
        let dir = &self.dirs[self.active()?];
        let path = dir.join(LOCK);
        let cannot = |error| PairingError::Write { path: path.clone(), error };
        disk::make_dirs(dir, 0o700).map_err(cannot)?;
        let mut options = OpenOptions::new();
        options.write(true).mode(0o600);
        let mut lock = file::open_or_create(&path, &options).map_err(cannot)?;
        let deadline = clock::now() + PATIENCE;
        loop {
            lock = match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
                Ok(held) => return Ok(held),
                Err((lock, Errno::EWOULDBLOCK | Errno::EINTR)) if clock::now() < deadline => lock,
                Err((_, Errno::EWOULDBLOCK)) => return Err(PairingError::Locked { path }),
                Err((_, errno)) => return Err(cannot(errno.into())),
            };
            wait::pause(Duration::from_millis(5));
        }
    }
}

impl Both {
    fn get(&self, key: &str) -> Option<&serde_json::Value> {
        self.entries.iter().find_map(|entries| entries.get(key))
    }

    /// Every entry, once.
    fn all(&self) -> impl Iterator<Item = (&String, &serde_json::Value)> {
        let [older, newer] = &self.entries;
        older.iter().chain(newer.iter().filter(|(key, _)| !older.contains_key(*key)))
    }

    fn put(&mut self, key: String, value: serde_json::Value) {
        self.forget(|other, _| *other == key);
        self.entries[self.active].insert(key, value);
        self.changed[self.active] = true;
    }

    fn forget(&mut self, which: impl Fn(&String, &serde_json::Value) -> bool) {
        for (entries, changed) in self.entries.iter_mut().zip(&mut self.changed) {
            let before = entries.len();
            entries.retain(|key, value| !which(key, value));
            *changed |= entries.len() != before;
        }
    }

    /// As limits. What stands in both places counts as it is in the one that is written.
    fn rates(&self) -> Rates {
        let other = 1 - self.active;
        let mut all = self.entries[other].clone();
        all.extend(self.entries[self.active].clone());
        Rates(all)
    }

    fn set_rates(&mut self, rates: Rates) {
        let other = 1 - self.active;
        self.changed[other] |= !self.entries[other].is_empty();
        self.entries[other].clear();
        self.changed[self.active] |= self.entries[self.active] != rates.0;
        self.entries[self.active] = rates.0;
    }

    fn save(&self) -> Result<(), PairingError> {
        // The place that is written first: what moves there is in both for a moment, and never in none.
        for place in [self.active, 1 - self.active] {
            if self.changed[place] {
                let path = &self.paths[place];
                let bytes =
                    serde_json::to_vec_pretty(&self.entries[place]).expect("a map of JSON always serialises");
                file::write_atomic(path, &bytes, 0o600, true)
                    .map_err(|error| PairingError::Write { path: path.clone(), error })?;
            }
        }
        Ok(())
    }
}

/// The name of a platform's file.
fn name(platform: &str, suffix: &str) -> Result<String, PairingError> {
    if is_platform(platform) {
        Ok(format!("{platform}{suffix}"))
    } else {
        Err(PairingError::Platform(plain(platform)))
    }
}

/// What a file holds; nothing where there is none.
fn entries(path: &Utf8Path) -> Result<Entries, PairingError> {
    let bytes = match disk::read_bounded(path, MOST) {
        Ok(bytes) => bytes,
        Err(error) if is_absent(&error) => return Ok(Entries::new()),
        Err(error) => return Err(PairingError::Read { path: path.to_owned(), error }),
    };
    serde_json::from_slice(&bytes)
        .map_err(|error| PairingError::Shape { path: path.to_owned(), line: error.line() })
}

fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

fn random<const N: usize>() -> Result<[u8; N], PairingError> {
    let mut bytes = [0; N];
    let read =
        fs_err::File::open("/dev/urandom").and_then(|mut file| io::Read::read_exact(&mut file, &mut bytes));
    read.map_err(PairingError::Random)?;
    Ok(bytes)
}

/// A name as it is kept and shown: one short line.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(NAME).collect()
}

#[cfg(test)]
mod tests;
