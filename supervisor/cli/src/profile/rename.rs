//! Gives a profile another name.
//!
//! Order: note → out of service → whose sessions they are is recorded → **one rename of the directory** → sessions, aliases, unit
//! and sticky name follow → the note goes → back in service. The note (`.hermes-rename-…` in `profiles/`) is what a later command
//! finds when this one died: with the new directory there it finishes what follows, with the old one there it forgets the
//! attempt. Each following step can be done twice.

use std::io;

use camino::Utf8PathBuf;
use hermes_gateway::desired;
use hermes_host::{child, disk};
use hermes_wire::{ProfileName, RootHome};
use nix::fcntl::{Flock, FlockArg};

use super::alias::{Alias, AliasDir, AliasError};
use super::error::ProfileError;
use super::notify::{self, Told};
use super::staging;
use super::standalone::{self, Stopped};
use crate::home::{self, Surroundings};
use crate::service::{self, Owner, Scope, Service, ServiceError};

/// How notes begin.
const NOTE: &str = ".hermes-rename-";
/// Time for moving the sessions of a large database.
const SETTLE: std::time::Duration = std::time::Duration::from_secs(120);

/// What came of it, in the order in which it happened.
#[derive(Debug)]
pub(crate) struct Renamed {
    pub(crate) stopped: Stopped,
    pub(crate) home: Utf8PathBuf,
    pub(crate) aliases: Vec<Alias>,
    pub(crate) alias_refused: Option<AliasError>,
    pub(crate) unit: Option<Utf8PathBuf>,
    pub(crate) sticky: bool,
    pub(crate) told: Told,
    pub(crate) warnings: Vec<String>,
}

/// Carries it out. Both names are valid, OLD exists and NEW does not, as far as anybody can tell before.
pub(crate) fn rename(
    root: &RootHome,
    env: &Surroundings,
    aliases: Option<&AliasDir>,
    old: &ProfileName,
    new: &ProfileName,
) -> Result<Renamed, ProfileError> {
    let (from, to) = (root.profile(old), root.profile(new));
    staging::make_room(root, new).map_err(ProfileError::io("make room for", to.path()))?;
    let note = Note::write(root, old, new).map_err(ProfileError::io("write into", root.profiles()))?;
    let held = |name| {
        notify::release(root, env, name).map_err(|e| {
            let why = io::Error::other(format!("{e}; {}", e.hint()));
            ProfileError::io("take out of service", from.path())(why)
        })
    };
    let holds = (held(old)?, held(new)?);
    // One that cannot be read is named behind the rename, as one that cannot be moved.
    let unit = unit(root, old, env);
    let stopped = standalone::stop(&from).map_err(ProfileError::io("stop the gateway of", from.path()))?;
    settle(root, old).map_err(ProfileError::io("record the owner of", from.state_db()))?;
    match disk::rename_new(from.path(), to.path()) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            note.remove();
            return Err(ProfileError::Taken(new.clone()));
        }
        Err(e) => {
            note.remove();
            return Err(ProfileError::io("rename", from.path())(e));
        }
        Ok(()) => {}
    }
    let _ = staging::sync_directory(&root.profiles());
    let mut done = follow(root, env, aliases, old, new, unit);
    done.stopped = stopped;
    done.told = if holds.0.is_some() {
        notify::renamed(root, env, old, new)
    } else {
        rename_desired(root, old, new);
        Told::Nobody
    };
    note.remove();
    Ok(done)
}

/// The user's service of the profile's own gateway, where there is one.
fn unit(root: &RootHome, name: &ProfileName, env: &Surroundings) -> Result<Option<Service>, ServiceError> {
    service::find(&Owner::new(root, name), Some(Scope::User), env)
}

/// Everything that follows the directory. Can be done twice.
fn follow(
    root: &RootHome,
    env: &Surroundings,
    aliases: Option<&AliasDir>,
    old: &ProfileName,
    new: &ProfileName,
    unit: Result<Option<Service>, ServiceError>,
) -> Renamed {
    let mut done = Renamed {
        stopped: Stopped::NotRunning,
        home: root.profile(new).path().to_owned(),
        aliases: Vec::new(),
        alias_refused: None,
        unit: None,
        sticky: false,
        told: Told::Nobody,
        warnings: Vec::new(),
    };
    if let Err(e) = settle(root, new) {
        done.warnings.push(format!(
            "the sessions still carry the old name ({e}); its worker moves them when it starts"
        ));
    }
    if let Some(aliases) = aliases {
        (done.aliases, done.alias_refused) = aliases.retarget(root, old, new);
    }
    match unit {
        Ok(None) => {}
        Ok(Some(unit)) => {
            let (from, to) = (Owner::new(root, old), Owner::new(root, new));
            match unit.install_as(&from, &to, env).and_then(|path| unit.remove().map(|()| path)) {
                Ok(path) => done.unit = Some(path),
                Err(e) => done.warnings.push(format!("the unit {} was not moved: {e}", unit.name)),
            }
        }
        Err(e) => done.warnings.push(format!("a unit was not moved: {}", hermes_host::cause::Chain(&e))),
    }
    if home::sticky_profile(root).as_ref() == Some(old) {
        match disk::write_public(&root.active_profile(), format!("{new}\n").as_bytes()) {
            Ok(()) => done.sticky = true,
            Err(e) => done.warnings.push(format!("active_profile still names {old}: {e}")),
        }
    }
    done.warnings.extend(super::honcho::rename(root, env, old, new));
    done
}

/// Has this program's worker part record, or move, the owner of a home's sessions.
fn settle(root: &RootHome, name: &ProfileName) -> io::Result<()> {
    let home = root.profile(name);
    if disk::is_absent(&home.state_db()) {
        return Ok(());
    }
    let mut command = child::own();
    command.args(["worker", "--settle-identity", "-p", name.as_str()]).env("HERMES_HOME", root.path());
    let output = child::run(command, SETTLE)?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// Nobody runs who would do it.
fn rename_desired(root: &RootHome, old: &ProfileName, new: &ProfileName) {
    // What cannot be written is at worst started once more than wanted.
    let _ = desired::Desired::load(root).rename(old, new);
}

/// What is under way; locked while its writer lives.
struct Note {
    path: Utf8PathBuf,
    _lock: Flock<std::fs::File>,
}

impl Note {
    fn write(root: &RootHome, old: &ProfileName, new: &ProfileName) -> io::Result<Self> {
        let path = root.profiles().join(format!("{NOTE}{old}"));
        let file = disk::open_or_create(&path, std::fs::OpenOptions::new().read(true).write(true))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|_| io::Error::other("another command is renaming this profile"))?;
        lock.set_len(0)?;
        io::Write::write_all(&mut &*lock, format!("{old}\n{new}\n").as_bytes())?;
        lock.sync_all()?;
        staging::sync_directory(&root.profiles())?;
        Ok(Self { path, _lock: lock })
    }

    fn remove(self) {
        let _ = fs_err::remove_file(&self.path);
    }
}

/// Finishes, or forgets, renames whose commands died. What was finished.
pub(crate) fn finish(
    root: &RootHome,
    env: &Surroundings,
    aliases: Option<&AliasDir>,
) -> Vec<(ProfileName, ProfileName)> {
    let Ok(entries) = root.profiles().read_dir_utf8() else { return Vec::new() };
    let notes: Vec<_> = entries
        .filter_map(Result::ok)
        .filter(|e| e.file_name().starts_with(NOTE) && e.file_type().is_ok_and(|t| t.is_file()))
        .map(|e| e.path().to_owned())
        .collect();
    let mut finished = Vec::new();
    for path in notes {
        let Ok(file) = std::fs::OpenOptions::new().read(true).write(true).open(&path) else { continue };
        let Ok(_alone) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { continue };
        let Ok(text) = disk::read_bounded(&path, 4096) else { continue };
        let text = String::from_utf8_lossy(&text).into_owned();
        let names: Vec<ProfileName> = text.lines().filter_map(|line| line.parse().ok()).collect();
        let there = |name: &ProfileName| disk::is_there(root.profile(name).path());
        if let [old, new] = &names[..] {
            let (Ok(old_is_there), Ok(new_is_there)) = (there(old), there(new)) else {
                // Whether it came about cannot be told now; the note stays for the next command.
                continue;
            };
            if old_is_there || !new_is_there {
                let _ = fs_err::remove_file(&path);
                continue;
            }
            follow(root, env, aliases, old, new, unit(root, old, env));
            if notify::renamed(root, env, old, new) == Told::Nobody {
                rename_desired(root, old, new);
            }
            finished.push((old.clone(), new.clone()));
        }
        let _ = fs_err::remove_file(&path);
    }
    finished
}
