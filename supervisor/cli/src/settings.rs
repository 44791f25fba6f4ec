//! One profile's two files as a draft: read, changed in memory, judged, and written back together or not at all.
//!
//! # Theory of operation
//!
//! [`Draft::open`] reads `config.yaml` and `.env`, and whatever an administrator pinned; a file that does not parse is refused
//! with its line and column, and nothing is ever written to it. [`Draft::set`] and [`Draft::unset`] decide which file a key
//! belongs to, give the value the type of the table of keys, and change the text in place, comments and order kept. What is odd
//! but allowed becomes a [`Note`]; what would lose something is an error. [`Draft::commit`] takes a lock that other commands
//! respect, makes sure that both files are still what was read, and writes what changed, each file whole: `.env` first, so that
//! a setting never names a key that is not there yet.
//!
//! A draft that is dropped has changed nothing.

mod admin;
mod change;
mod error;
mod file;
pub(crate) mod judge;
mod location;
#[cfg(test)]
mod tests;
pub(crate) mod unit;
mod whole;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_config::coerce::{self, Coerced};
use hermes_config::document::{Document, Layers, Origin, Settled, Shape, places};
use hermes_config::dotenv_edit::{self, DotenvError};
use hermes_config::edit::{self, EditError};
use hermes_config::path::KeyPath;
use hermes_config::schema::{self, Key};
use hermes_config::{ConfiguredPlatform, Env, Loaded, MAX_FILE_LEN, ProfileConfig, mask, route};
use hermes_wire::latest::Problem;
use hermes_wire::{ProfileHome, ProfileName, RootHome, env};
use hermes_worker::REGISTRY;
use serde_json::Value as Json;

use crate::home::Surroundings;
use admin::Administrator;
pub(crate) use admin::in_force;
pub(crate) use change::{Change, Note};
pub(crate) use error::SettingsError;
use file::Source;
pub(crate) use file::bytes;
use judge::Part;
pub(crate) use whole::{create, make_home, may_change, replace_config};

/// Longest value, in bytes.
const MAX_VALUE: usize = 1024 * 1024;

/// How a value is to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum As {
    /// By the key's type, else by its looks.
    Schema,
    /// It is JSON.
    Json,
    /// It is text.
    Text,
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    profile: ProfileName,
    home: ProfileHome,
    part: Part,
    admin: Administrator,
    /// What is said instead of changing anything.
    package_manager: Option<String>,
    yaml: Source,
    env: Source,
    document: Document,
    /// What `.env` may refer to.
    surroundings: Env,
    /// A secret goes into `.env`, which nobody else is to read then.
    tighten: bool,
}

impl Draft {
    /// Reads the files of a profile below `root`.
    pub(crate) fn open(
        root: &RootHome,
        profile: &ProfileName,
        surroundings: &Surroundings,
    ) -> Result<Self, SettingsError> {
        let home = root.profile(profile);
        let (yaml, env) = (Source::open(home.config())?, Source::open_env(home.env_file())?);
        Self::of(root, profile, surroundings, yaml, env)
    }

    /// The same with an empty `config.yaml`; the one there is need not even be text.
    pub(crate) fn open_blank(
        root: &RootHome,
        profile: &ProfileName,
        surroundings: &Surroundings,
    ) -> Result<Self, SettingsError> {
        let home = root.profile(profile);
        let (yaml, env) = (Source::open_blank(home.config())?, Source::open_env(home.env_file())?);
        Self::of(root, profile, surroundings, yaml, env)
    }

    fn of(
        root: &RootHome,
        profile: &ProfileName,
        surroundings: &Surroundings,
        yaml: Source,
        env: Source,
    ) -> Result<Self, SettingsError> {
        let home = root.profile(profile);
        let document = parse(&yaml)?;
        Ok(Self {
            profile: profile.clone(),
            part: Part::of(root, profile, surroundings),
            admin: Administrator::read(&surroundings.managed_dir)?,
            package_manager: admin::package_manager(&home, surroundings),
            surroundings: surroundings.passed.with(env::HERMES_HOME, home.path().as_str()),
            tighten: false,
            home,
            yaml,
            env,
            document,
        })
    }

    /// `config.yaml`.
    pub(crate) fn config_file(&self) -> &Utf8Path {
        &self.yaml.path
    }

    /// `.env`.
    pub(crate) fn env_file(&self) -> &Utf8Path {
        &self.env.path
    }

    /// Refuses where a package manager owns the files.
    pub(crate) fn may_change(&self) -> Result<(), SettingsError> {
        self.package_manager.clone().map_or(Ok(()), |text| Err(SettingsError::PackageManaged(text)))
    }

    /// Sets a value. The draft is as it was where this fails.
    pub(crate) fn set(&mut self, typed: &str, text: &str, how: As) -> Result<Change, SettingsError> {
        self.may_change()?;
        let path = parse_key(typed)?;
        if text.len() > MAX_VALUE {
            return Err(SettingsError::TooLong(typed.to_owned()));
        }
        match route::variable(&REGISTRY, &path) {
            Some(name) => self.set_variable(typed, &name, text),
            None => self.set_key(typed, &path, text, how),
        }
    }

    /// Sets a variable of `.env`, whatever its name looks like. `typed`: what the user knows it as.
    pub(crate) fn set_variable(
        &mut self,
        typed: &str,
        name: &str,
        text: &str,
    ) -> Result<Change, SettingsError> {
        self.admin.allows_variable("set", typed, name)?;
        let mut notes = Vec::new();
        if text.contains(['\r', '\n']) {
            notes.push(Note::LineEnds);
        }
        let value: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
        let before = self.variables().get(name).map(str::to_owned);
        let problems = self.problems();
        let env = set_in_env(&self.env.text, name, &value)?;
        let mut yaml = self.yaml.text.clone();
        let old = before.filter(|old| *old != value && mask::is_secret(name)).unwrap_or_default();
        let mut rotated = Vec::new();
        for copy in self.document.copies_of(&old) {
            let shown = copy.to_string();
            if self.admin.allows("set", &shown, &copy).is_ok() {
                // A copy that cannot be changed in place is said by name and stays.
                match edit::set(&yaml, &copy.texts(), &edit::Value::from(value.as_str())) {
                    Ok(edited) => {
                        yaml = edited.text;
                        rotated.push(shown);
                    }
                    Err(_) => notes.push(Note::StillSet {
                        key: typed.to_owned(),
                        by: shown,
                        file: self.yaml.path.clone(),
                    }),
                }
            }
        }
        self.take(yaml)?;
        self.env.text = env;
        if !rotated.is_empty() {
            notes.push(Note::Rotated { keys: rotated });
        }
        if let Some(mode) = self.env.loose_mode() {
            self.tighten = true;
            notes.push(Note::Tightened { file: self.env.path.clone(), mode });
        }
        notes.extend(self.env.was.map(|was| Note::Encoding { file: self.env.path.clone(), was }));
        notes.extend(self.new_problems(&problems).into_iter().map(Note::from));
        Ok(Change { key: typed.to_owned(), file: self.env.path.clone(), value: None, notes })
    }

    fn set_key(&mut self, typed: &str, path: &KeyPath, text: &str, how: As) -> Result<Change, SettingsError> {
        let mut notes = Vec::new();
        let stored = self.stored_as(path, how);
        if stored != *path {
            notes.push(Note::StoredAs { typed: typed.to_owned(), stored: stored.to_string() });
        }
        let path = stored;
        let shown = path.to_string();
        self.admin.allows("set", &shown, &path)?;
        let (key, unknown) = match schema::find(&REGISTRY, path.texts()) {
            Ok(key) => (key, None),
            Err(close) => (None, Some(Note::Unknown { key: shown.clone(), close })),
        };
        let Coerced { value, wanted } = value_of(typed, key, text, how)?;
        self.expect_place(&shown, &path)?;
        if self.document.shape(&path) == Shape::Mapping && !value.is_object() && !value.is_null() {
            return Err(SettingsError::MappingInTheWay { key: shown });
        }
        let problems = self.problems();
        let text = self.written_out(&path, &mut notes).map_err(|e| self.edit_error(&shown, e))?;
        let edited = edit::set(&text, &path.texts(), &edit::Value::from(value.clone()))
            .map_err(|e| self.edit_error(&shown, e))?;
        if edited.text.len() > MAX_FILE_LEN {
            return Err(SettingsError::TooLong(typed.to_owned()));
        }
        let mirror =
            route::mirror(&path).filter(|name| self.admin.allows_variable("set", typed, name).is_ok());
        let env = mirror.map(|name| set_in_env(&self.env.text, name, &plain(&value))).transpose()?;
        self.take(edited.text)?;
        if let (Some(variable), Some(env)) = (mirror, env) {
            self.env.text = env;
            notes.push(Note::Mirrored { variable });
        }
        notes.extend(edited.replaced.map(|key| Note::Replaced { key }));
        notes.extend(unknown);
        notes.extend(self.beaten(&shown, &path));
        if mask::is_secret(path.last())
            && let Some(mode) = self.yaml.loose_mode()
        {
            notes.push(Note::Loose { file: self.yaml.path.clone(), mode });
        }
        let problems = self.new_problems(&problems);
        // What a start says of the value says more.
        let said = problems.iter().any(|problem| problem.key.as_deref() == Some(&shown));
        notes.extend(wanted.filter(|_| !said).map(|wanted| Note::Mismatch { key: shown.clone(), wanted }));
        notes.extend(problems.into_iter().map(Note::from));
        Ok(Change { key: shown, file: self.yaml.path.clone(), value: Some(value), notes })
    }

    /// Removes a value, and mappings that are empty without it.
    pub(crate) fn unset(&mut self, typed: &str) -> Result<Change, SettingsError> {
        self.may_change()?;
        let path = parse_key(typed)?;
        let not_set = |instead| SettingsError::NotSet { key: typed.to_owned(), instead };
        if let Some(name) = route::variable(&REGISTRY, &path) {
            self.admin.allows_variable("unset", typed, &name)?;
            self.env.text = dotenv_edit::unset(&self.env.text, &name).ok_or_else(|| not_set(None))?;
            let notes = self.env.was.map(|was| Note::Encoding { file: self.env.path.clone(), was });
            return Ok(Change {
                key: typed.to_owned(),
                file: self.env.path.clone(),
                value: None,
                notes: notes.into_iter().collect(),
            });
        }
        let shown = path.to_string();
        self.admin.allows("unset", &shown, &path)?;
        if !self.document.holds(&path) {
            let elsewhere = self.layers(&self.variables()).get(&path).map(|settled| settled.origin);
            return Err(not_set(match elsewhere {
                Some(Origin::Variable(name)) => Some(name.to_owned()),
                Some(Origin::File(place)) => Some(place.to_string()),
                Some(Origin::Administrator | Origin::Default) | None => None,
            }));
        }
        let problems = self.problems();
        let text = edit::unset(&self.yaml.text, &path.texts()).map_err(|e| self.edit_error(&shown, e))?;
        let mut notes = Vec::new();
        if let Some(variable) = route::mirror(&path)
            && let Some(env) = dotenv_edit::unset(&self.env.text, variable)
        {
            self.env.text = env;
            notes.push(Note::Mirrored { variable });
        }
        self.take(text.ok_or_else(|| not_set(None))?)?;
        if let Some(Settled { origin, .. }) = self.layers(&self.variables()).get(&path) {
            let by = match origin {
                Origin::Variable(name) => Some((name.to_owned(), self.env.path.clone())),
                Origin::File(place) if place.texts() != path.texts() => {
                    Some((place.to_string(), self.yaml.path.clone()))
                }
                _ => None,
            };
            notes.extend(by.map(|(by, file)| Note::StillSet { key: shown.clone(), by, file }));
        }
        notes.extend(self.new_problems(&problems).into_iter().map(Note::from));
        Ok(Change { key: shown, file: self.yaml.path.clone(), value: None, notes })
    }

    /// What holds for a key: an administrator's value, else `.env`, else `config.yaml`, else the default.
    pub(crate) fn get(&self, typed: &str) -> Result<Option<Settled>, SettingsError> {
        let path = parse_key(typed)?;
        let env = self.variables();
        if let Some(name) = route::variable(&REGISTRY, &path) {
            let value = env.iter().find(|(found, _)| *found == name).map(|(_, value)| Json::from(value));
            let pinned = self.admin.env.iter().any(|(found, _)| found == name);
            let origin = if pinned { Origin::Administrator } else { Origin::File(path) };
            return Ok(value.map(|value| Settled { value, origin }));
        }
        Ok(self.layers(&env).get(&path))
    }

    /// What holds at a path of `config.yaml`, for summaries.
    pub(crate) fn at(&self, path: &str) -> Option<Settled> {
        KeyPath::parse(path).ok().and_then(|path| self.layers(&self.variables()).get(&path))
    }

    /// The variables that hold, an administrator's over `.env`.
    pub(crate) fn variables(&self) -> Env {
        let own = dotenv_edit::read_in(self.env.text.as_bytes(), &self.surroundings);
        let admin = self.admin.variables(&self.surroundings.under(&own));
        own.under(&admin)
    }

    /// The keys that `config.yaml` and an administrator's set, lists as a whole.
    pub(crate) fn own_keys(&self) -> Vec<String> {
        let both = [&self.document, &self.admin.document];
        both.iter().flat_map(|document| document.leaves()).map(|path| path.to_string()).collect()
    }

    /// The platforms that the files turn on.
    pub(crate) fn platforms(&self) -> Vec<ConfiguredPlatform> {
        self.judge().config.map(|config| config.platforms).unwrap_or_default()
    }

    /// An administrator's files that are in force.
    pub(crate) fn administrators_files(&self) -> Vec<&Utf8Path> {
        self.admin.files()
    }

    /// What a start would say about the draft as it is.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        self.judge().problems
    }

    /// The settings a start would take from the draft as it is; `None` where it would refuse it.
    pub(crate) fn config(&self) -> Option<ProfileConfig> {
        self.judge().config
    }

    /// Whether the profile has listeners of its own, instead of being served below the default profile's.
    pub(crate) fn has_listeners(&self) -> bool {
        self.part.is_primary()
    }

    /// Whether both drafts would write the same.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        (&self.yaml.text, &self.env.text) == (&other.yaml.text, &other.env.text)
    }

    /// Writes what `config.yaml` was when it was read to a new file beside it, if there was anything and it changes. Its path.
    pub(crate) fn keep_old_config(&self, stamp: &str) -> Result<Option<Utf8PathBuf>, SettingsError> {
        if self.yaml.is_changed() { self.yaml.keep(&format!("bak.{stamp}")) } else { Ok(None) }
    }

    fn judge(&self) -> Loaded {
        self.part.load(&self.profile, &self.home, &self.yaml.text, &self.env.text)
    }

    /// Whether there is anything to write.
    pub(crate) fn is_changed(&self) -> bool {
        self.yaml.is_changed() || self.env.is_changed()
    }

    /// Writes what changed; returns the files that were.
    pub(crate) fn commit(self) -> Result<Vec<Utf8PathBuf>, SettingsError> {
        if !self.is_changed() {
            return Ok(Vec::new());
        }
        self.may_change()?;
        whole::make_home(&self.profile, &self.home)?;
        let _lock = file::lock(self.home.path(), &[&self.env.path, &self.yaml.path])?;
        self.env.expect_unchanged()?;
        self.yaml.expect_unchanged()?;
        if self.tighten {
            // Before the secret is in it. A file of somebody else's becomes ours by being replaced.
            let _ = self.env.tighten();
        }
        let mut written = Vec::new();
        for file in [&self.env, &self.yaml].into_iter().filter(|file| file.is_changed()) {
            file.write()?;
            written.push(file.path.clone());
        }
        if self.tighten {
            self.env.tighten().map_err(SettingsError::io("make private", self.env.path.clone()))?;
        }
        Ok(written)
    }

    fn layers<'a>(&'a self, env: &'a Env) -> Layers<'a> {
        Layers { registry: &REGISTRY, file: &self.document, env, admin: &self.admin.document }
    }

    /// A new text of `config.yaml`.
    fn take(&mut self, text: String) -> Result<(), SettingsError> {
        let before = std::mem::replace(&mut self.yaml.text, text);
        match parse(&self.yaml) {
            Ok(document) => {
                self.document = document;
                Ok(())
            }
            Err(error) => {
                self.yaml.text = before;
                Err(error)
            }
        }
    }

    fn edit_error(&self, key: &str, error: EditError) -> SettingsError {
        let (key, file) = (key.to_owned(), self.yaml.path.clone());
        match error {
            EditError::Syntax { .. } => SettingsError::Unreadable { file, why: error.to_string() },
            EditError::NoSuchItem { path: key } => {
                let advice = "change it by hand: `hermes config edit`".to_owned();
                SettingsError::NoSuchItem { key, file, advice }
            }
            EditError::Entangled { .. } => SettingsError::Entangled { key, file },
        }
    }

    /// What wins over the key that was just written.
    fn beaten(&self, shown: &str, path: &KeyPath) -> Option<Note> {
        let key = schema::find(&REGISTRY, path.texts()).ok().flatten()?;
        if places(&REGISTRY, path, Some(key)).iter().all(|place| place != path) {
            return None;
        }
        let (by, file) = match self.layers(&self.variables()).get(path)?.origin {
            Origin::Variable(name) => (name.to_owned(), self.env.path.clone()),
            Origin::File(place) if place.texts() != path.texts() => {
                (place.to_string(), self.yaml.path.clone())
            }
            Origin::File(_) | Origin::Administrator | Origin::Default => return None,
        };
        Some(Note::Beaten { key: shown.to_owned(), by, file })
    }

    /// What of a change a start would refuse: a new problem, or one of the very key.
    pub(crate) fn refused_by_a_start(&self, change: &Change) -> Option<Problem> {
        let new = change.notes.iter().find_map(|note| match note {
            Note::Problem(problem) if problem.severity.stops_profile() => Some((**problem).clone()),
            _ => None,
        });
        let about = |problem: &Problem| {
            problem.severity.stops_profile() && problem.key.as_deref() == Some(change.key.as_str())
        };
        new.or_else(|| self.problems().into_iter().find(about))
    }

    /// Problems that were not there before. An unknown key has a note of its own.
    fn new_problems(&self, before: &[Problem]) -> Vec<Problem> {
        let same = |a: &Problem, b: &Problem| (&a.code, &a.key, &a.message) == (&b.code, &b.key, &b.message);
        let new =
            |problem: &Problem| problem.code != "unknown_key" && !before.iter().any(|old| same(old, problem));
        self.problems().into_iter().filter(new).collect()
    }
}

fn parse(yaml: &Source) -> Result<Document, SettingsError> {
    Document::parse(yaml.text.as_bytes())
        .map_err(|e| SettingsError::Unreadable { file: yaml.path.clone(), why: e.to_string() })
}

fn parse_key(typed: &str) -> Result<KeyPath, SettingsError> {
    let path = KeyPath::parse(typed).map_err(|why| {
        let typed = typed.chars().filter(|c| !c.is_control()).take(80).collect();
        SettingsError::Key { typed, why }
    })?;
    match path.with_dots_for_brackets() {
        Some(dotted) => Err(SettingsError::Brackets { typed: typed.to_owned(), dotted: dotted.to_string() }),
        None => Ok(path),
    }
}

fn value_of(typed: &str, key: Option<&Key>, text: &str, how: As) -> Result<Coerced, SettingsError> {
    Ok(match how {
        As::Schema => coerce::coerce(key, text),
        As::Text => coerce::checked_json(key, text.into()),
        As::Json => {
            let value = serde_json::from_str(text).map_err(|e| {
                let why = format!("line {}, column {}", e.line(), e.column());
                SettingsError::Json { key: typed.to_owned(), why }
            })?;
            coerce::checked_json(key, value)
        }
    })
}

fn set_in_env(text: &str, name: &str, value: &str) -> Result<String, SettingsError> {
    let edited = dotenv_edit::set(text, name, value)
        .map_err(|e: DotenvError| SettingsError::Variable { why: e.to_string() })?;
    if edited.len() > MAX_FILE_LEN { Err(SettingsError::TooLong(name.to_owned())) } else { Ok(edited) }
}

/// A value as programs that read variables want it.
fn plain(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Null => String::new(),
        other => other.to_string(),
    }
}
