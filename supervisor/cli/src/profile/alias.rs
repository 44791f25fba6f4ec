//! Commands in `~/.local/bin` that stand for `hermes -p NAME`.
//!
//! # Theory of operation
//!
//! A wrapper is ours when it carries our marker line, or when it is what 0.19.0 writes (`wrapper`). Nothing else is ever replaced
//! or removed, whatever its mode and whether or not the directory is on the PATH; a symbolic link is never ours.
//!
//! **No window.** A new file appears by `link`, which never overwrites. One of ours is replaced by *exchanging* it with the new
//! one, and removed by moving it aside first; only then is looked at what was taken, and what turns out not to be ours after
//! all goes back. So a file that somebody puts there meanwhile survives.
//!
//! **Whose.** A wrapper for another root home than `~/.hermes` says so (`HERMES_HOME`). Here, only wrappers of the root home in
//! use count; those without a word about it that 0.19.0 made count everywhere, because they follow their caller.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::clock;
use hermes_host::disk;
use hermes_wire::absence::OrAbsent as _;
use hermes_wire::profile::{RESERVED, is_grammatical};
use hermes_wire::{ProfileName, RootHome};

use crate::home::{self, Surroundings};

mod names;
mod wrapper;

use names::{COMMANDS, SHELL};
use wrapper::Wrapper;

/// How much of a file is looked at; what is longer is no wrapper.
const LOOK: u64 = 8192;
/// How temporary files begin and end.
const TEMPORARY: (&str, &str) = (".hermes-alias-", ".tmp");
/// A temporary file that nothing happened to for this long belongs to no command any more.
const ABANDONED: Duration = Duration::from_secs(60);
/// Where wrappers live, and what they call.
#[derive(Debug)]
pub(crate) struct AliasDir {
    dir: Utf8PathBuf,
    /// Directories of the PATH.
    path: Vec<Utf8PathBuf>,
    /// What a wrapper runs.
    program: String,
    /// `~/.hermes`.
    usual_root: Utf8PathBuf,
    /// The root home in use.
    root: Utf8PathBuf,
    /// Names of subcommands.
    commands: Vec<String>,
}

/// One of our wrappers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Alias {
    pub(crate) name: String,
    pub(crate) path: Utf8PathBuf,
    /// The profile it stands for, as written.
    pub(crate) profile: String,
    /// The root home of that profile; none where it is the caller's.
    pub(crate) root: Option<Utf8PathBuf>,
}

/// A wrapper that was made.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) name: String,
    pub(crate) path: Utf8PathBuf,
    /// Why it has not the name that was wanted.
    pub(crate) instead: Option<AliasError>,
    /// The profile that this name stood for before.
    pub(crate) before: Option<String>,
}

/// Why there is no such alias. Texts are 0.19.0's where it has one.
#[derive(Debug, thiserror::Error)]
pub enum AliasError {
    /// Not a name for a command.
    #[error("Invalid alias name '{0}'. Must match [a-z0-9][a-z0-9_-]{{0,63}}")]
    Grammar(String),
    /// Reserved, or the built-in profile's.
    #[error("'{0}' is a reserved name")]
    Reserved(String),
    /// `hermes NAME` means something already.
    #[error("'{0}' conflicts with a hermes subcommand")]
    Subcommand(String),
    /// Shells do not look for a command of this name.
    #[error("'{0}' is a word of the shell, which would never call it; another name: --name hermes-{0}")]
    Shell(String),
    /// It is there and not removed.
    #[error("cannot remove alias '{name}': {why}")]
    Kept {
        /// The name.
        name: String,
        /// Why not.
        why: String,
    },
    /// A command has the name; it is left alone.
    #[error("'{name}' conflicts with an existing command ({path})")]
    Exists {
        /// The name.
        name: String,
        /// What has it.
        path: Utf8PathBuf,
    },
    /// Something that is no command is in its place; it is left alone.
    #[error("'{name}' conflicts with an existing file ({path})")]
    File {
        /// The name.
        name: String,
        /// What has it.
        path: Utf8PathBuf,
    },
    /// Nobody asked for this name, and another profile uses it.
    #[error("'{name}' is the alias of another profile, '{profile}'")]
    Another {
        /// The name.
        name: String,
        /// Whose it is.
        profile: String,
    },
    /// Nowhere to put it.
    #[error("HOME is not set, so there is no ~/.local/bin")]
    NoHome,
    /// The system refused.
    #[error("cannot write `{path}`: {source}")]
    Io {
        /// The wrapper.
        path: Utf8PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl AliasDir {
    /// The directory of this user. `commands`: what `hermes NAME` already means.
    pub(crate) fn of(env: &Surroundings, commands: Vec<String>) -> Result<Self, AliasError> {
        let home = env.user_home.as_ref().ok_or(AliasError::NoHome)?;
        let usual = home.join(".hermes");
        let usual_root = usual.canonicalize_utf8().unwrap_or(usual);
        let root = home::root_of(env).map_or_else(|_| usual_root.clone(), |(root, _)| root.path().to_owned());
        Ok(Self {
            dir: home.join(".local/bin"),
            path: env.path.clone(),
            program: program(&env.path),
            usual_root,
            root,
            commands,
        })
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Utf8Path {
        &self.dir
    }

    /// Whether a shell finds what is in it.
    pub(crate) fn is_on_path(&self) -> bool {
        let same = |a: &Utf8Path, b: &Utf8Path| {
            a == b || a.canonicalize().ok().is_some_and(|a| b.canonicalize().ok() == Some(a))
        };
        self.path.iter().any(|dir| same(dir, &self.dir))
    }

    /// The wrappers of profiles of this root home, by name.
    pub(crate) fn all(&self) -> Vec<Alias> {
        let mut all = self.everywhere();
        all.retain(|alias| alias.root.as_ref().is_none_or(|root| *root == self.root));
        all
    }

    /// All wrappers, by name.
    pub(crate) fn everywhere(&self) -> Vec<Alias> {
        let Ok(entries) = self.dir.read_dir_utf8() else { return Vec::new() };
        let mut all: Vec<Alias> = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
            .filter(|entry| is_grammatical(entry.file_name()))
            .filter_map(|entry| self.alias_at(entry.path()))
            .collect();
        all.sort();
        all
    }

    /// The wrapper called `name`, whosever it is.
    pub(crate) fn named(&self, name: &str) -> Option<Alias> {
        is_grammatical(name).then(|| self.alias_at(&self.dir.join(name))).flatten()
    }

    fn alias_at(&self, path: &Utf8Path) -> Option<Alias> {
        let wrapper = wrapper_at(path)?;
        let name = path.file_name()?.to_owned();
        // Ours without a word about it are those of the usual root home.
        let root = wrapper.root.or_else(|| wrapper.marked.then(|| self.usual_root.clone()));
        Some(Alias { name, path: path.to_owned(), profile: wrapper.profile, root })
    }

    /// Those of `all` whose profile does not exist.
    pub(crate) fn orphans<'a>(all: &'a [Alias], root: &RootHome) -> Vec<&'a Alias> {
        let exists = |text: &str| {
            text.parse::<ProfileName>()
                .is_ok_and(|name| name.is_default() || root.profile(&name).path().is_dir())
        };
        all.iter().filter(|alias| !exists(&alias.profile)).collect()
    }

    /// The wrapper to show for a profile: one with a name of its own wins, the last one if there are several.
    pub(crate) fn shown<'a>(all: &'a [Alias], profile: &ProfileName) -> Option<&'a Alias> {
        let ours = || all.iter().filter(|alias| alias.profile == profile.as_str());
        ours().rfind(|alias| alias.name != profile.as_str()).or_else(|| ours().next_back())
    }

    /// Makes a wrapper for `profile`. Without a name it gets the profile's, after `prefix`; when that is taken, `hermes-<profile>`.
    /// An existing profile's alias is taken away only by name.
    pub(crate) fn create(
        &self,
        root: &RootHome,
        profile: &ProfileName,
        name: Option<&str>,
        prefix: &str,
    ) -> Result<Created, AliasError> {
        if let Some(name) = name {
            let before = self.named(name).map(|alias| alias.profile).filter(|p| p != profile.as_str());
            let path = self.write(root, profile, name)?;
            return Ok(Created { name: name.to_owned(), path, instead: None, before });
        }
        let made = |name: &str| {
            self.must_be_ours_to_take(root, profile, name)?;
            let path = self.write(root, profile, name)?;
            Ok(Created { name: name.to_owned(), path, instead: None, before: None })
        };
        let (wanted, second) = (format!("{prefix}{profile}"), format!("hermes-{profile}"));
        match made(&wanted) {
            Ok(created) => Ok(created),
            Err(why @ (AliasError::Io { .. } | AliasError::NoHome)) => Err(why),
            Err(why) if second == wanted => Err(why),
            Err(why) => match made(&second) {
                Ok(created) => Ok(Created { instead: Some(why), ..created }),
                Err(_) => Err(why),
            },
        }
    }

    /// Nobody asked for this very name, so a profile that exists keeps its alias.
    fn must_be_ours_to_take(
        &self,
        root: &RootHome,
        profile: &ProfileName,
        name: &str,
    ) -> Result<(), AliasError> {
        let Some(there) = self.named(name) else { return Ok(()) };
        let home = there.root.as_deref().unwrap_or(root.path());
        let same = there.profile == profile.as_str() && home == root.path();
        let exists = there
            .profile
            .parse::<ProfileName>()
            .is_ok_and(|other| other.is_default() || RootHome::new(home).profile(&other).path().is_dir());
        if exists && !same {
            return Err(AliasError::Another { name: name.to_owned(), profile: there.profile });
        }
        Ok(())
    }

    /// Whether `name` is free, or a wrapper of ours already.
    pub(crate) fn check(&self, name: &str) -> Result<(), AliasError> {
        if !is_grammatical(name) {
            return Err(AliasError::Grammar(name.to_owned()));
        }
        if name == hermes_wire::profile::DEFAULT || RESERVED.contains(&name) {
            return Err(AliasError::Reserved(name.to_owned()));
        }
        if COMMANDS.contains(&name) || self.commands.iter().any(|command| command == name) {
            return Err(AliasError::Subcommand(name.to_owned()));
        }
        if SHELL.contains(&name) {
            return Err(AliasError::Shell(name.to_owned()));
        }
        let target = self.dir.join(name);
        if let Some(found) = self.path.iter().map(|dir| dir.join(name)).find(|file| is_executable(file))
            && !(found.file_name() == target.file_name() && same_directory(&found, &target))
        {
            return Err(AliasError::Exists { name: name.to_owned(), path: found });
        }
        if fs_err::symlink_metadata(&target).is_ok() && wrapper_at(&target).is_none() {
            return Err(self.taken(name));
        }
        Ok(())
    }

    /// Something that is not ours is where the wrapper would be.
    fn taken(&self, name: &str) -> AliasError {
        let (name, path) = (name.to_owned(), self.dir.join(name));
        if is_executable(&path) { AliasError::Exists { name, path } } else { AliasError::File { name, path } }
    }

    fn write(&self, root: &RootHome, profile: &ProfileName, name: &str) -> Result<Utf8PathBuf, AliasError> {
        self.check(name)?;
        let path = self.dir.join(name);
        let elsewhere = Some(root.path()).filter(|root| *root != self.usual_root);
        match self.put(&path, &wrapper::text(profile, elsewhere, &self.program)) {
            Ok(()) => Ok(path),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(self.taken(name)),
            Err(source) => Err(AliasError::Io { path, source }),
        }
    }

    /// A file of ours in the directory, not yet under its name. What a killed command left of such files goes first.
    fn temporary(&self) -> io::Result<tempfile::NamedTempFile> {
        self.sweep(ABANDONED);
        hermes_host::file::temporary_as(&self.dir, TEMPORARY.0, TEMPORARY.1)
    }

    /// Removes temporary files that nothing happened to for `age`: empty ones and wrappers. Anything else may be a user's file
    /// that a killed command had put aside.
    fn sweep(&self, age: Duration) {
        use std::os::unix::fs::MetadataExt as _;
        let now = clock::utc().as_second();
        for entry in self.dir.read_dir_utf8().into_iter().flatten().filter_map(Result::ok) {
            let name = entry.file_name();
            if !name.starts_with(TEMPORARY.0) || !name.ends_with(TEMPORARY.1) {
                continue;
            }
            let old = entry.metadata().is_ok_and(|meta| {
                u64::try_from(now - meta.ctime()).is_ok_and(|seconds| seconds >= age.as_secs())
                    && (meta.len() == 0 || wrapper_at(entry.path()).is_some())
            });
            if old {
                // What cannot be removed now is tried again by the next command.
                let _ = fs_err::remove_file(entry.path());
            }
        }
    }

    /// Writes a wrapper; `AlreadyExists` where there is something else.
    fn put(&self, path: &Utf8Path, text: &str) -> io::Result<()> {
        use std::io::Write as _;
        disk::make_dirs(&self.dir, 0o755)?;
        let mut file = self.temporary()?;
        file.write_all(text.as_bytes())?;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o755))?;
        file.as_file().sync_all()?;
        let temporary = file.into_temp_path();
        let new = Utf8Path::from_path(&temporary).ok_or_else(|| io::Error::other("the path is not UTF-8"))?;
        match std::fs::hard_link(new, path) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            // A file system without links.
            Err(_) if fs_err::symlink_metadata(path).is_err() => return disk::rename_new(new, path),
            Err(e) => return Err(e),
        }
        if wrapper_at(path).is_none() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        match disk::exchange(new, path) {
            // What was there is now the temporary file, and goes unless it was not ours.
            Ok(()) if wrapper_at(new).is_some() => Ok(()),
            Ok(()) => {
                disk::exchange(new, path)?;
                Err(io::ErrorKind::AlreadyExists.into())
            }
            // A file system that cannot exchange.
            Err(e) if disk::knows_no_such_rename(&e) => fs_err::rename(new, path),
            Err(e) => Err(e),
        }
    }

    /// Removes wrappers of `profile`: the one called `name`, or all. What was removed, and what could not be.
    pub(crate) fn remove(&self, profile: &ProfileName, name: Option<&str>) -> (Vec<Alias>, Vec<AliasError>) {
        let ours =
            |alias: &Alias| alias.profile == profile.as_str() && name.is_none_or(|name| name == alias.name);
        let (mut removed, mut kept) = (Vec::new(), Vec::new());
        if let Err(source) = self.dir.read_dir_utf8().or_absent() {
            kept.push(AliasError::Io { path: self.dir.clone(), source });
        }
        for alias in self.all().into_iter().filter(ours) {
            let why = match self.take_away(&alias) {
                Ok(true) => {
                    removed.push(alias);
                    continue;
                }
                Ok(false) => "somebody changed it in this moment".to_owned(),
                Err(e) => e.to_string(),
            };
            kept.push(AliasError::Kept { name: alias.name, why });
        }
        // Asked for by name, and there, and not ours to remove.
        if let Some(name) = name
            && removed.is_empty()
            && kept.is_empty()
            && let Some(why) = self.why_not(name)
        {
            kept.push(AliasError::Kept { name: name.to_owned(), why });
        }
        (removed, kept)
    }

    /// Why what is called `name` is not removed; `None`: there is nothing.
    fn why_not(&self, name: &str) -> Option<String> {
        if !is_grammatical(name) {
            return None;
        }
        let path = self.dir.join(name);
        match fs_err::symlink_metadata(&path).or_absent() {
            Ok(None) => None,
            Ok(Some(_)) => Some(match self.alias_at(&path) {
                Some(other) => format!("it stands for profile '{}'", other.profile),
                None => format!("`{path}` is not one of ours"),
            }),
            Err(e) => Some(e.to_string()),
        }
    }

    /// Removes one wrapper, if it is still that one.
    fn take_away(&self, alias: &Alias) -> io::Result<bool> {
        let aside = self.temporary()?.into_temp_path();
        let path = Utf8Path::from_path(&aside).ok_or_else(|| io::Error::other("the path is not UTF-8"))?;
        fs_err::rename(&alias.path, path)?;
        if wrapper_at(path).is_some_and(|wrapper| wrapper.profile == alias.profile) {
            return Ok(true);
        }
        let back = disk::rename_new(path, &alias.path);
        // Not ours to lose, even where its place was taken meanwhile.
        let _ = aside.keep();
        back.map(|()| false)
    }

    /// After a rename: every wrapper of `old` stands for `new`; one named after the profile is renamed with it. The wrappers
    /// there are now, and why one did not get its new name.
    pub(crate) fn retarget(
        &self,
        root: &RootHome,
        old: &ProfileName,
        new: &ProfileName,
    ) -> (Vec<Alias>, Option<AliasError>) {
        let mut refused = None;
        let mut now = Vec::new();
        for alias in self.all().into_iter().filter(|alias| alias.profile == old.as_str()) {
            let prefix = alias.name.strip_suffix(old.as_str()).filter(|p| p.is_empty() || *p == "hermes-");
            let made = match prefix {
                Some(prefix) => self.create(root, new, None, prefix),
                None => self.create(root, new, Some(&alias.name), ""),
            };
            // One that was not replaced would call a profile that is gone.
            if made.as_ref().is_ok_and(|made| made.path != alias.path) || made.is_err() {
                let _ = self.take_away(&alias);
            }
            match made {
                Ok(made) => {
                    refused = refused.or(made.instead);
                    now.extend(self.alias_at(&made.path));
                }
                Err(why) => refused = Some(why),
            }
        }
        now.sort();
        now.dedup();
        (now, refused)
    }
}

/// What a wrapper runs: the `hermes` that a shell finds, if that is this program, because its path outlives an update; else this
/// program's own path.
fn program(path: &[Utf8PathBuf]) -> String {
    let found = path.iter().map(|dir| dir.join("hermes")).find(|file| is_executable(file));
    let own = std::env::current_exe().ok().and_then(|path| Utf8PathBuf::from_path_buf(path).ok());
    match (found, own) {
        (Some(found), Some(own)) if found.canonicalize().ok() == own.canonicalize().ok() => found,
        (_, Some(own)) if own.exists() => own,
        (Some(found), _) => found,
        _ => "hermes".into(),
    }
    .into_string()
}

fn same_directory(a: &Utf8Path, b: &Utf8Path) -> bool {
    let directory = |path: &Utf8Path| path.parent().and_then(|dir| dir.canonicalize().ok());
    a.parent() == b.parent() || directory(a).is_some_and(|dir| directory(b) == Some(dir))
}

fn is_executable(path: &Utf8Path) -> bool {
    fs_err::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// What the file at `path` stands for, if it is a wrapper and no link.
fn wrapper_at(path: &Utf8Path) -> Option<Wrapper> {
    if !fs_err::symlink_metadata(path).ok()?.is_file() {
        return None;
    }
    let bytes = disk::read_start(path, LOOK).ok()?;
    let whole = (bytes.len() as u64) < LOOK;
    whole.then(|| std::str::from_utf8(&bytes).ok().and_then(wrapper::read)).flatten()
}

#[cfg(test)]
#[path = "alias/tests.rs"]
mod tests;
