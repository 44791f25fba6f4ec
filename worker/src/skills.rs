//! The skills of a profile: what the model can be told about one kind of work, when there is such work.
//!
//! # Theory of operation
//!
//! A skill is a directory with a `SKILL.md`, below `skills/` of the home or a directory of `skills.external_dirs`. `front_matter` reads the
//! head of one, `scan` finds them, and [`Library`] has those that count: for this machine, not turned off, the first of a name, and
//! really below the directory they were found in, wherever links lead. From them come the index of the prompt (`index`), the
//! answers of the tools (`view`), and the message that a `/name` becomes (`invoke`).
//!
//! Files are read when they are asked for, so a changed skill needs no restart; the heads are kept as long as the files are the same.

pub mod front_matter;
pub(crate) mod index;
pub(crate) mod invoke;
pub mod scan;
pub(crate) mod view;

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use hermes_config::{ProfileConfig, Skills};
use hermes_wire::ProfileHome;

use crate::threats::{self, Scope};
use front_matter::FrontMatter;

/// Which version of a file it is.
type Stamp = (i64, i64, u64, u64);

/// What in a skill's text looks like an attack on the model, by name.
pub fn suspicions(text: &str) -> Vec<String> {
    threats::found(text, Scope::Context)
}

/// A skill that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Skill {
    pub(crate) name: String,
    pub(crate) dir: Utf8PathBuf,
    /// Its directory below the one it was found in.
    pub(crate) place: Utf8PathBuf,
    pub(crate) front: FrontMatter,
    /// It is in the profile's home.
    pub(crate) is_own: bool,
}

impl Skill {
    /// The directories above it: one that has none stands for itself.
    pub(crate) fn category(&self) -> String {
        let above = self.place.parent().filter(|above| !above.as_str().is_empty());
        above.unwrap_or(&self.place).to_string()
    }

    /// The first of them.
    fn top(&self) -> Option<&str> {
        (self.place.components().count() > 1)
            .then(|| self.place.components().next())
            .flatten()
            .map(|part| part.as_str())
    }
}

/// The skills of a profile. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Library(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    home: ProfileHome,
    settings: Skills,
    /// Names of the variables that the profile has.
    variables: Vec<String>,
    heads: Mutex<HashMap<Utf8PathBuf, (Stamp, FrontMatter)>>,
}

impl Library {
    pub(crate) fn new(home: &ProfileHome, config: &ProfileConfig) -> Self {
        let variables = config.env.iter().filter(|(_, value)| !value.is_empty());
        Self(Arc::new(Inner {
            home: home.clone(),
            settings: config.skills.clone(),
            variables: variables.map(|(name, _)| name.to_owned()).collect(),
            heads: Mutex::default(),
        }))
    }

    /// Where skills are looked for, the home's first.
    fn roots(&self) -> Vec<Utf8PathBuf> {
        let home = self.0.home.path();
        let mut roots = vec![home.join("skills")];
        roots.extend(scan::external_dirs(home, &self.0.settings.external_dirs));
        roots
    }

    /// Where the profile's own skills are.
    pub(crate) fn own_root(&self) -> Utf8PathBuf {
        self.0.home.path().join("skills")
    }

    /// Where a skill of a name is, turned off or not. Blocks.
    pub(crate) fn known(&self, name: &str) -> Option<Utf8PathBuf> {
        self.found().into_iter().find(|skill| skill.name == name).map(|skill| skill.dir)
    }

    /// Everything that is of this machine, with names that several have and with what is turned off. Blocks.
    fn found(&self) -> Vec<Skill> {
        let mut all = Vec::new();
        let mut seen = HashSet::new();
        for (at, root) in self.roots().iter().enumerate() {
            let Ok(real_root) = root.canonicalize_utf8() else { continue };
            for dir in scan::below(root) {
                let Ok(real) = dir.join("SKILL.md").canonicalize_utf8() else { continue };
                if !real.starts_with(&real_root) || !seen.insert(real) {
                    continue;
                }
                let (Some(front), Ok(place)) = (self.head(&dir), dir.strip_prefix(root)) else { continue };
                if front.problem.is_none() && front.is_for_this_machine() {
                    let (name, place) = (scan::name_of(&front, &dir), place.to_owned());
                    all.push(Skill { name, place, front, is_own: at == 0, dir });
                }
            }
        }
        let mut heads = self.0.heads.lock().unwrap_or_else(PoisonError::into_inner);
        heads.retain(|dir, _| all.iter().any(|skill| skill.dir == *dir));
        all
    }

    /// The head of a skill, read again when its file is another.
    fn head(&self, dir: &Utf8Path) -> Option<FrontMatter> {
        let meta = fs_err::metadata(dir.join("SKILL.md")).ok()?;
        let stamp = (meta.mtime(), meta.mtime_nsec(), meta.size(), meta.ino());
        let mut heads = self.0.heads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, front)) = heads.get(dir).filter(|(known, _)| *known == stamp) {
            return Some(front.clone());
        }
        let front = scan::head(dir);
        heads.insert(dir.to_owned(), (stamp, front.clone()));
        Some(front)
    }

    fn is_off(&self, skill: &Skill, platform: &str) -> bool {
        let Skills { disabled, platform_disabled, .. } = &self.0.settings;
        let there = platform_disabled.get(platform).map(Vec::as_slice).unwrap_or_default();
        let own = skill.dir.file_name().unwrap_or_default();
        disabled.iter().chain(there).any(|name| *name == skill.name || name == own)
    }

    /// What whoever comes by `platform` can use, the first of each name. Blocks.
    pub(crate) fn usable(&self, platform: &str) -> Vec<Skill> {
        let mut names = HashSet::new();
        let mut all = self.found();
        all.retain(|skill| !self.is_off(skill, platform) && names.insert(skill.name.clone()));
        all
    }
}

#[cfg(test)]
mod tests;
