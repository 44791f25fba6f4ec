//! Token locks: files that say which process of this machine uses a bot's identity, where the Python program looks and puts its own.
//!
//! The supervisor compares what its own profiles claim before anybody connects. This is about everybody else: a gateway of the Python
//! program, or one of another home. The name of a file is the kind of identity and a part of its hash, so that who has the same token finds
//! the same file, and nobody finds the token in it. It is put there before an exclusive platform connects, and taken away when that
//! connection has ended. What a process that is gone has left counts for nothing.
//!
//! Two processes never take a file for their own: it appears whole, under its name, or not at all. Where no file can be made (a home that
//! cannot be written to) the platform connects without one, and that is said. A file that is there and cannot be read is somebody's.

mod holders;
mod record;

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_config::ProfileConfig;
use hermes_host::{blocking, clock, disk, wait};
use hermes_wire::absence::OrAbsent as _;
use hermes_wire::{ProfileHome, env};
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest as _, Sha256};

use crate::platform::link::{GiveUp, TakeIdentity};
use crate::platform::{Class, Down};
use crate::store::Owner;
pub use holders::{Holder, holders};
use record::{Judged, Metadata, Record};

/// Time between two looks at an identity that somebody else uses.
pub(crate) const AGAIN: Duration = Duration::from_secs(5);
/// Time the file system has to say whose a lock is, and to take one away: whoever waits for that has a deadline of its own.
const PATIENCE: Duration = Duration::from_secs(5);
const RELEASE: Duration = Duration::from_secs(1);
/// Attempts to have the directory for oneself, and the pause between two.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);
/// Largest file that is read, in bytes.
const MAX_LEN: usize = 64 * 1024;
/// Letters of the hash in a name.
const SHORT: usize = 16;

/// What this worker's platforms are, to others.
#[derive(Debug, Clone, Default)]
pub(crate) struct Identities {
    /// `None`: the environment names no place.
    directory: Option<Utf8PathBuf>,
    all: Vec<Identity>,
    me: Option<Me>,
}

/// One identity, as everybody may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    platform: String,
    scope: String,
    hash: String,
}

impl Identity {
    /// The file that says who uses it.
    fn file(&self, directory: &Utf8Path) -> Utf8PathBuf {
        directory.join(format!("{}-{}.lock", self.scope, self.hash))
    }
}

/// Who this is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Me {
    process: Owner,
    profile: String,
    home: String,
    /// Whoever decides which process of this profile connects.
    supervisor: Option<u32>,
}

impl Identities {
    /// Those of a profile; `inherited` is what passed into this process.
    pub(crate) fn of<'a>(
        config: &ProfileConfig,
        home: &ProfileHome,
        inherited: impl Fn(&str) -> Option<&'a str>,
        supervisor: Option<u32>,
    ) -> Self {
        let own = config.env.get(env::LOCK_DIR).or_else(|| inherited(env::LOCK_DIR));
        let path = |text: Option<&str>| {
            text.map(Utf8Path::new).filter(|path| path.is_absolute()).map(Utf8Path::to_owned)
        };
        let state = || {
            path(inherited("XDG_STATE_HOME"))
                .or_else(|| path(inherited("HOME")).map(|home| home.join(".local/state")))
        };
        let all = config.claims.iter().map(|claim| Identity {
            platform: claim.platform.clone(),
            scope: claim.scope.clone(),
            hash: hash(claim.identity.expose()),
        });
        Self {
            directory: path(own).or_else(|| state().map(|state| state.join("hermes/gateway-locks"))),
            all: all.collect(),
            me: Some(Me {
                process: Owner::current(),
                profile: config.name.to_string(),
                home: home.path().to_string(),
                supervisor,
            }),
        }
    }

    /// The locks of one platform; none is held.
    pub(crate) fn locks(&self, platform: &str) -> Locks {
        let identities = self.all.iter().filter(|identity| identity.platform == platform).cloned().collect();
        let place = self.directory.clone().zip(self.me.clone());
        Locks { identities, place, held: Vec::new(), without: false }
    }
}

impl Identities {
    /// What takes an identity that only the service could name; where the files name it as well, it is taken already.
    pub(crate) fn taking(&self) -> TakeIdentity {
        let (all, place) = (self.all.clone(), self.directory.clone().zip(self.me.clone()));
        Arc::new(move |platform, scope, text| {
            let identity =
                Identity { platform: platform.to_owned(), scope: scope.to_owned(), hash: hash(text) };
            let identities = if all.contains(&identity) { Vec::new() } else { vec![identity] };
            let mut locks = Locks { identities, place: place.clone(), held: Vec::new(), without: false };
            Box::pin(async move {
                locks.take().await?;
                Ok(Box::pin(async move { locks.release().await }) as GiveUp)
            })
        })
    }
}

/// The locks of one platform.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    identities: Vec<Identity>,
    place: Option<(Utf8PathBuf, Me)>,
    /// The files that are this process's now.
    held: Vec<Utf8PathBuf>,
    /// That there is no file was said.
    without: bool,
}

impl Locks {
    /// Takes all of them, or says whose one is. Having them already refreshes them.
    pub(crate) async fn take(&mut self) -> Result<(), Down> {
        let Some((directory, me)) = self.place.clone().filter(|_| !self.identities.is_empty()) else {
            return Ok(());
        };
        let identities = self.identities.clone();
        let taken = blocking::run(move || take_all(&directory, &me, &identities));
        match tokio::time::timeout(PATIENCE, taken).await {
            Ok(Ok(Ok(held))) => {
                self.held = held;
                Ok(())
            }
            Ok(Ok(Err(Refused::Used(down)))) => Err(down),
            Ok(Ok(Err(Refused::Io(error)))) => {
                self.go_without(&error.to_string());
                Ok(())
            }
            Ok(Err(lost)) => {
                self.go_without(&lost.to_string());
                Ok(())
            }
            Err(_) => {
                self.go_without("the file system does not answer");
                Ok(())
            }
        }
    }

    /// Nobody else can make one there either, as this user.
    fn go_without(&mut self, why: &str) {
        if !std::mem::replace(&mut self.without, true) {
            let directory = self.place.as_ref().map(|(directory, _)| directory.as_str()).unwrap_or_default();
            tracing::warn!(
                directory,
                "other gateways of this machine are not told which bots are used here: {why}"
            );
        }
    }

    /// Gives them up.
    pub(crate) async fn release(&mut self) {
        let held = std::mem::take(&mut self.held);
        let Some((directory, me)) = self.place.clone().filter(|_| !held.is_empty()) else { return };
        let released = blocking::run(move || release_all(&directory, &me, &held));
        // What stays behind is a dead process's soon, and counts for nothing then.
        let _ = tokio::time::timeout(RELEASE, released).await;
    }
}

/// The first letters of the hash of an identity, as the Python program has them.
fn hash(identity: &str) -> String {
    use std::fmt::Write as _;
    let digest = Sha256::digest(identity.as_bytes());
    let mut text = String::with_capacity(SHORT);
    for byte in digest.iter().take(SHORT / 2) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// What an identity is called in front of people.
fn called(scope: &str) -> String {
    let known = match scope {
        "telegram-bot-token" => "Telegram bot token",
        "discord-bot-token" => "Discord bot token",
        "slack-app-token" => "Slack app token",
        "slack-bot-token" => "Slack bot token",
        "signal-phone" => "Signal account",
        "whatsapp-session" => "WhatsApp session",
        "irc" => "IRC nick",
        "ntfy-topic" => "ntfy topic",
        "weixin-bot-token" => "Weixin bot token",
        "qqbot-appid" => "QQBot app ID",
        "feishu-app-id" => "Feishu app ID",
        "yuanbao-app-key" => "Yuanbao app key",
        other => {
            let text = other.replace('-', " ");
            let mut letters = text.chars();
            return letters
                .next()
                .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect());
        }
    };
    known.to_owned()
}

/// Why a lock was not taken.
#[derive(Debug)]
enum Refused {
    /// Somebody else uses it.
    Used(Down),
    Io(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn take_all(directory: &Utf8Path, me: &Me, identities: &[Identity]) -> Result<Vec<Utf8PathBuf>, Refused> {
    disk::make_dirs(directory, 0o700)?;
    let _alone = alone(directory)?;
    let mut held = Vec::new();
    for identity in identities {
        let path = identity.file(directory);
        match take(&path, me, identity) {
            Ok(()) => held.push(path),
            Err(refused) => {
                // All or nothing: whoever waits holds nobody else up.
                for path in &held {
                    give_up(path, me)?;
                }
                return Err(refused);
            }
        }
    }
    Ok(held)
}

fn release_all(directory: &Utf8Path, me: &Me, held: &[Utf8PathBuf]) -> io::Result<()> {
    let _alone = alone(directory)?;
    held.iter().try_for_each(|path| give_up(path, me))
}

/// No other process of this program changes the directory meanwhile. The Python program asks nobody; against that one a file
/// appears under its name in one step.
fn alone(directory: &Utf8Path) -> io::Result<Flock<std::fs::File>> {
    let mut file = fs_err::File::open(directory)?.into_parts().0;
    for _ in 0..ATTEMPTS {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((back, nix::errno::Errno::EWOULDBLOCK)) => file = back,
            Err((_, error)) => return Err(error.into()),
        }
        wait::pause(PAUSE);
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, format!("somebody else holds `{directory}`")))
}

fn take(path: &Utf8Path, me: &Me, identity: &Identity) -> Result<(), Refused> {
    let record = record_of(me, identity);
    // Once for what a dead process left, and once for somebody who is faster.
    for _ in 0..3 {
        let found = match read(path) {
            Ok(found) => found,
            Err(error) => return Err(Refused::Used(unreadable(identity, path, &error))),
        };
        match found {
            None if appear(path, &record)? => return Ok(()),
            None => {}
            Some((text, inode)) => match record::judge(&text, me) {
                Judged::Mine => return Ok(disk::write_atomic(path, record.as_bytes(), false)?),
                Judged::Nobodys => {
                    let same =
                        fs_err::symlink_metadata(path).or_absent()?.is_some_and(|meta| meta.ino() == inode);
                    if same {
                        fs_err::remove_file(path).or_absent()?;
                    }
                }
                Judged::Used(who) => return Err(Refused::Used(used(me, identity, path, &who))),
            },
        }
    }
    let why = io::Error::new(io::ErrorKind::WouldBlock, "it comes and goes");
    Err(Refused::Used(unreadable(identity, path, &why)))
}

/// What the file says, and which file it is.
fn read(path: &Utf8Path) -> io::Result<Option<(String, u64)>> {
    let Some(meta) = fs_err::metadata(path).or_absent()? else { return Ok(None) };
    let bytes = disk::read_bounded(path, MAX_LEN).or_absent()?;
    Ok(bytes.map(|bytes| (String::from_utf8_lossy(&bytes).into_owned(), meta.ino())))
}

/// Puts the file there, whole, if nothing is. Whether it did.
fn appear(path: &Utf8Path, text: &str) -> io::Result<bool> {
    let draft = path.with_extension(format!("{}.tmp", std::process::id()));
    disk::write_atomic(&draft, text.as_bytes(), false)?;
    let linked = fs_err::hard_link(&draft, path);
    let _ = fs_err::remove_file(&draft);
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        // Some file systems have no second names.
        Err(_) => {
            disk::write_atomic(path, text.as_bytes(), false)?;
            Ok(true)
        }
    }
}

/// Takes the file away if it is this process's.
fn give_up(path: &Utf8Path, me: &Me) -> io::Result<()> {
    let mine = read(path)?.is_some_and(|(text, _)| {
        matches!(record::judge(&text, me), Judged::Mine) && record::is_of(&text, me)
    });
    if mine { fs_err::remove_file(path).or_absent().map(drop) } else { Ok(()) }
}

fn record_of(me: &Me, identity: &Identity) -> String {
    let record = Record {
        pid: me.process.pid,
        kind: hermes_wire::contract::pid_record::KIND.to_owned(),
        argv: hermes_host::child::argv(),
        start_time: Some(me.process.start_time).filter(|time| *time != 0),
        scope: identity.scope.clone(),
        identity_hash: identity.hash.clone(),
        metadata: Metadata {
            platform: identity.platform.clone(),
            profile: Some(me.profile.clone()),
            home: Some(me.home.clone()),
            supervisor_pid: me.supervisor,
        },
        updated_at: clock::utc().strftime("%Y-%m-%dT%H:%M:%S.%6f+00:00").to_string(),
    };
    serde_json::to_string(&record).expect("strings and integers always serialise")
}

/// Begins with the line that the Python program says.
fn used(me: &Me, identity: &Identity, path: &Utf8Path, who: &Record) -> Down {
    let whose = match (&who.metadata.profile, &who.metadata.home) {
        (Some(profile), Some(home)) => {
            format!("It serves profile '{}' of `{}`, as `{path}` says.", visible(profile), visible(home))
        }
        _ => format!(
            "It is another program's gateway, as `{path}` says; `hermes gateway start -p {} --take-over` ends it.",
            me.profile
        ),
    };
    let text = format!(
        "{} already in use (PID {}). Stop the other gateway first.",
        called(&identity.scope),
        who.pid
    );
    let message = format!("{text} {whose}");
    Down { class: Class::Used, ..Down::retrying(format!("{}_lock", identity.scope), message) }
}

fn visible(text: &str) -> String {
    hermes_wire::text::visible(text).chars().take(200).collect()
}

fn unreadable(identity: &Identity, path: &Utf8Path, error: &io::Error) -> Down {
    let what = called(&identity.scope);
    let message =
        format!("whether another gateway uses this {what} cannot be seen: `{path}` cannot be read ({error})");
    Down::retrying(format!("{}_lock", identity.scope), message)
}

#[cfg(test)]
mod tests;
