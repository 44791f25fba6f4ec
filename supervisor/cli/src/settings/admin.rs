//! Whoever else decides: a package manager that owns the whole installation, or an administrator who pins single keys.

use camino::{Utf8Path, Utf8PathBuf};
use hermes_config::document::{Document, places};
use hermes_config::path::KeyPath;
use hermes_config::{Env, dotenv_edit, schema};
use hermes_wire::ProfileHome;
use hermes_worker::REGISTRY;

use super::error::SettingsError;
use super::file::Source;
use crate::home::Surroundings;

/// An administrator's two files; empty where there are none.
#[derive(Debug, Clone, Default)]
pub(super) struct Administrator {
    yaml: Utf8PathBuf,
    env_file: Utf8PathBuf,
    pub(super) document: Document,
    pub(super) env: Env,
    env_text: String,
    /// The keys that are pinned, as the program reads them.
    pinned: Vec<KeyPath>,
}

impl Administrator {
    /// Reads the files. What an administrator pinned and nobody can read must not be guessed, so that is an error.
    pub(super) fn read(dir: &Utf8Path) -> Result<Self, SettingsError> {
        let (yaml, env_file) = (Source::open(dir.join("config.yaml"))?, Source::open_env(dir.join(".env"))?);
        let document = Document::parse(yaml.text.as_bytes())
            .map_err(|e| SettingsError::Unreadable { file: yaml.path.clone(), why: e.to_string() })?;
        let pinned = document.leaves();
        let env = dotenv_edit::read(env_file.text.as_bytes());
        Ok(Self { yaml: yaml.path, env_file: env_file.path, document, env, env_text: env_file.text, pinned })
    }

    /// His variables, which may refer to a profile's.
    pub(super) fn variables(&self, profile: &Env) -> Env {
        dotenv_edit::read_in(self.env_text.as_bytes(), profile)
    }

    /// The files that are in force: those that pin something.
    pub(super) fn files(&self) -> Vec<&Utf8Path> {
        let files = [(&self.yaml, !self.pinned.is_empty()), (&self.env_file, !self.env.is_empty())];
        files.into_iter().filter(|(_, pins)| *pins).map(|(file, _)| file.as_path()).collect()
    }

    /// Refuses a key that is pinned, is above one that is, or below one.
    pub(super) fn allows(
        &self,
        doing: &'static str,
        typed: &str,
        path: &KeyPath,
    ) -> Result<(), SettingsError> {
        let key = schema::find(&REGISTRY, path.texts()).ok().flatten();
        let spelled = places(&REGISTRY, path, key);
        if self.pinned.iter().any(|pinned| pinned.meets(path) || spelled.iter().any(|place| place == pinned))
        {
            return Err(SettingsError::Administrator {
                doing,
                key: typed.to_owned(),
                file: self.yaml.clone(),
            });
        }
        // A variable that is pinned beats whatever would be written.
        match key.filter(|key| self.env.get(key.env).is_some()) {
            Some(_) => Err(SettingsError::Administrator {
                doing,
                key: typed.to_owned(),
                file: self.env_file.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Refuses a variable that is pinned.
    pub(super) fn allows_variable(
        &self,
        doing: &'static str,
        typed: &str,
        name: &str,
    ) -> Result<(), SettingsError> {
        let refused = |file: &Utf8PathBuf| SettingsError::Administrator {
            doing,
            key: typed.to_owned(),
            file: file.clone(),
        };
        if self.env.iter().any(|(pinned, _)| pinned == name) {
            return Err(refused(&self.env_file));
        }
        // A pinned key wins over the variable that would beat it.
        let key = schema::variables(&REGISTRY).find(|(variable, _)| *variable == name).map(|(_, key)| key);
        let path = key.and_then(|key| KeyPath::parse(key.path).ok());
        let beaten = path.is_some_and(|path| {
            places(&REGISTRY, &path, key)
                .iter()
                .any(|place| self.pinned.iter().any(|pinned| pinned.texts() == place.texts()))
        });
        if beaten { Err(refused(&self.yaml)) } else { Ok(()) }
    }
}

/// An administrator's files that are in force; none where they cannot be read, which the judge says.
pub(crate) fn in_force(env: &Surroundings) -> Vec<Utf8PathBuf> {
    let admin = Administrator::read(&env.managed_dir).unwrap_or_default();
    admin.files().into_iter().map(Utf8Path::to_owned).collect()
}

/// What is said where a package manager owns the installation: 0.19.0's text.
pub(super) fn package_manager(home: &ProfileHome, env: &Surroundings) -> Option<String> {
    let marked = || home.managed_marker().exists().then(|| "true".to_owned());
    let word = env.managed.clone().or_else(marked)?;
    let (system, advice) = match word.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" | "nix" | "nixos" => (
            "NixOS".to_owned(),
            "Edit services.hermes-agent.settings in your configuration.nix and run:\n  sudo nixos-rebuild switch",
        ),
        "brew" | "homebrew" => {
            ("Homebrew".to_owned(), "Change the configuration where the package manager keeps it.")
        }
        _ => (word.clone(), "Change the configuration where the package manager keeps it."),
    };
    let shown: String = word.chars().filter(|c| !c.is_control()).take(40).collect();
    let system: String = system.chars().filter(|c| !c.is_control()).take(40).collect();
    Some(format!(
        "Cannot set configuration values: this Hermes installation is managed by {system} (HERMES_MANAGED={shown}).\n{advice}"
    ))
}
