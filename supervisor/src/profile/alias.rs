//! Commands in `~/.local/bin` that stand for `hermes -p NAME`.
//!
//! A wrapper is ours when it carries our marker line or 0.19.0's text; nothing else is ever replaced or removed, whatever its
//! mode and whether or not the directory is on the PATH. Files appear by a rename that does not overwrite.

use std::io;
use std::os::unix::fs::PermissionsExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_protocol::profile::{RESERVED, is_grammatical};
use hermes_protocol::{ProfileName, RootHome};

use super::staging;
use crate::disk;
use crate::home::Surroundings;

/// Line that marks a wrapper as ours; the profile's name follows.
const MARKER: &str = "# hermes-profile-alias: ";
/// How much of a file is looked at, as 0.19.0 does.
const LOOK: u64 = 8192;
/// Names that 0.19.0's command has or had, besides those of the command tree.
const COMMANDS: [&str; 34] = [
    "chat",
    "model",
    "gateway",
    "setup",
    "whatsapp",
    "login",
    "logout",
    "status",
    "cron",
    "doctor",
    "dump",
    "config",
    "pairing",
    "skills",
    "tools",
    "mcp",
    "sessions",
    "insights",
    "version",
    "update",
    "uninstall",
    "profile",
    "plugins",
    "honcho",
    "acp",
    "kanban",
    "send",
    "auth",
    "logs",
    "backup",
    "import",
    "serve",
    "dashboard",
    "memory",
];

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
}

/// A wrapper that was made.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) name: String,
    pub(crate) path: Utf8PathBuf,
    /// Why it has not the name that was wanted.
    pub(crate) instead: Option<AliasError>,
}

/// Why there is no such alias. Texts are 0.19.0's.
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
    /// Something else has the name; it is left alone.
    #[error("'{name}' conflicts with an existing command ({path})")]
    Exists {
        /// The name.
        name: String,
        /// What has it.
        path: Utf8PathBuf,
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
        let on_path = env.path.iter().map(|dir| dir.join("hermes")).find(|file| is_executable(file));
        let own = || std::env::current_exe().ok().and_then(|p| Utf8PathBuf::from_path_buf(p).ok());
        let program = on_path.or_else(own).map_or_else(|| "hermes".to_owned(), Utf8PathBuf::into_string);
        let usual = home.join(".hermes");
        Ok(Self {
            dir: home.join(".local/bin"),
            path: env.path.clone(),
            program,
            usual_root: usual.canonicalize_utf8().unwrap_or(usual),
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

    /// All wrappers, by name.
    pub(crate) fn all(&self) -> Vec<Alias> {
        let Ok(entries) = self.dir.read_dir_utf8() else { return Vec::new() };
        let mut all: Vec<Alias> = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
            .filter_map(|entry| {
                let profile = target_of(entry.path())?;
                Some(Alias { name: entry.file_name().to_owned(), path: entry.path().to_owned(), profile })
            })
            .collect();
        all.sort();
        all
    }

    /// The wrapper to show for a profile: one with a name of its own wins, the last one if there are several.
    pub(crate) fn shown<'a>(all: &'a [Alias], profile: &ProfileName) -> Option<&'a Alias> {
        let ours = || all.iter().filter(|alias| alias.profile == profile.as_str());
        ours().filter(|alias| alias.name != profile.as_str()).last().or_else(|| ours().last())
    }

    /// Makes a wrapper for `profile`. Without a name it gets the profile's, after `prefix`; when that is taken, `hermes-<profile>`.
    pub(crate) fn create(
        &self,
        root: &RootHome,
        profile: &ProfileName,
        name: Option<&str>,
        prefix: &str,
    ) -> Result<Created, AliasError> {
        if let Some(name) = name {
            return self.write(root, profile, &name.to_lowercase()).map(|path| Created {
                name: name.to_lowercase(),
                path,
                instead: None,
            });
        }
        let wanted = format!("{prefix}{profile}");
        match self.write(root, profile, &wanted) {
            Ok(path) => Ok(Created { name: wanted, path, instead: None }),
            Err(why) => {
                let second = format!("hermes-{profile}");
                if second == wanted || matches!(why, AliasError::Io { .. } | AliasError::NoHome) {
                    return Err(why);
                }
                match self.write(root, profile, &second) {
                    Ok(path) => Ok(Created { name: second, path, instead: Some(why) }),
                    Err(_) => Err(why),
                }
            }
        }
    }

    /// Whether `name` is free, or a wrapper of ours already.
    pub(crate) fn check(&self, name: &str) -> Result<(), AliasError> {
        if !is_grammatical(name) {
            return Err(AliasError::Grammar(name.to_owned()));
        }
        if name == hermes_protocol::profile::DEFAULT || RESERVED.contains(&name) {
            return Err(AliasError::Reserved(name.to_owned()));
        }
        if COMMANDS.contains(&name) || self.commands.iter().any(|command| command == name) {
            return Err(AliasError::Subcommand(name.to_owned()));
        }
        let target = self.dir.join(name);
        let exists = |path| Err(AliasError::Exists { name: name.to_owned(), path });
        if let Ok(meta) = fs_err::symlink_metadata(&target)
            && !(meta.is_file() && target_of(&target).is_some())
        {
            return exists(target);
        }
        match self.path.iter().map(|dir| dir.join(name)).find(|file| is_executable(file)) {
            Some(found) if target_of(&found).is_none() => exists(found),
            _ => Ok(()),
        }
    }

    fn write(&self, root: &RootHome, profile: &ProfileName, name: &str) -> Result<Utf8PathBuf, AliasError> {
        self.check(name)?;
        let path = self.dir.join(name);
        let put = || -> io::Result<()> {
            fs_err::create_dir_all(&self.dir)?;
            let temporary = tempfile::Builder::new().prefix(".hermes-alias-").tempfile_in(&self.dir)?;
            fs_err::write(temporary.path(), self.text(root, profile))?;
            fs_err::set_permissions(temporary.path(), std::fs::Permissions::from_mode(0o755))?;
            let (_, kept) = temporary.keep().map_err(|e| e.error)?;
            let kept = Utf8PathBuf::from_path_buf(kept).map_err(|_| io::Error::other("not UTF-8"))?;
            // Ours may be replaced; anything that appeared meanwhile may not.
            let placed = if target_of(&path).is_some() {
                fs_err::rename(&kept, &path)
            } else {
                staging::rename_new(&kept, &path)
            };
            placed.inspect_err(|_| {
                let _ = fs_err::remove_file(&kept);
            })
        };
        match put() {
            Ok(()) => Ok(path),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                Err(AliasError::Exists { name: name.to_owned(), path })
            }
            Err(source) => Err(AliasError::Io { path, source }),
        }
    }

    /// 0.19.0 knows a wrapper by `hermes -p`, so a path is quoted only where it must be.
    fn text(&self, root: &RootHome, profile: &ProfileName) -> String {
        let home = if root.path() == self.usual_root {
            String::new()
        } else {
            format!("HERMES_HOME={}\nexport HERMES_HOME\n", quote(root.path().as_str()))
        };
        format!("#!/bin/sh\n{MARKER}{profile}\n{home}exec {} -p {profile} \"$@\"\n", quote(&self.program))
    }

    /// Removes wrappers of `profile`: the one called `name`, or all. What was removed.
    pub(crate) fn remove(&self, profile: &ProfileName, name: Option<&str>) -> Vec<Alias> {
        let ours =
            |alias: &Alias| alias.profile == profile.as_str() && name.is_none_or(|name| name == alias.name);
        self.all().into_iter().filter(ours).filter(|alias| fs_err::remove_file(&alias.path).is_ok()).collect()
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
            match made {
                Ok(made) => {
                    if made.path != alias.path {
                        let _ = fs_err::remove_file(&alias.path);
                    }
                    refused = refused.or(made.instead);
                    now.push(Alias { name: made.name, path: made.path, profile: new.to_string() });
                }
                Err(why) => {
                    // It would call a profile that is gone.
                    let _ = fs_err::remove_file(&alias.path);
                    refused = Some(why);
                }
            }
        }
        (now, refused)
    }
}

fn is_executable(path: &Utf8Path) -> bool {
    fs_err::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The profile a file stands for, if it is one of our wrappers.
fn target_of(path: &Utf8Path) -> Option<String> {
    if !fs_err::symlink_metadata(path).ok()?.is_file() {
        return None;
    }
    let bytes = disk::read_start(path, LOOK).ok()?;
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text,
        // A character cut in half at the limit.
        Err(e) if e.error_len().is_none() => std::str::from_utf8(&bytes[..e.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    if let Some(line) = text.lines().find_map(|line| line.strip_prefix(MARKER)) {
        return Some(line.trim().to_owned());
    }
    if !text.starts_with("#!") {
        return None;
    }
    let legacy =
        ["hermes -p ", "hermes' -p ", "hermes\" -p "].iter().find_map(|mark| text.split_once(mark))?;
    let name = legacy.1.split_whitespace().next()?;
    Some(name.trim_matches(['\'', '"']).to_owned())
}

/// As one word of a shell.
fn quote(text: &str) -> String {
    let plain = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | ':' | '@' | '%' | ',')
    };
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
#[path = "alias/tests.rs"]
mod tests;
