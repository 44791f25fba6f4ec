//! What the files say now that they did not when the profile was last well: names, never values.

use camino::Utf8Path;
use hermes_config::MAX_FILE_LEN;
use hermes_config::fingerprint::{self, Hashes};
use hermes_host::disk;
use hermes_wire::ProfileHome;
use hermes_wire::absence::OrAbsent as _;
use hermes_wire::contract::healthy::{Healthy, KEY_LEN, MAX_LEN};
use serde::Serialize;

/// What has changed.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Changed {
    /// ISO 8601: since when; nothing where it is not known what the files said then.
    pub(crate) since: Option<String>,
    /// The release that served then.
    pub(crate) release: Option<String>,
    /// Keys of `config.yaml`.
    pub(crate) config: Vec<Named>,
    /// Variables of `.env`.
    pub(crate) env: Vec<Named>,
}

/// A key or a variable.
#[derive(Debug, Serialize)]
pub(crate) struct Named {
    pub(crate) name: String,
    /// `added`, `removed` or `changed`.
    pub(crate) how: &'static str,
}

impl Changed {
    /// Compares. What cannot be read is said, and not taken for unchanged.
    pub(crate) fn look(home: &ProfileHome, unread: &mut Vec<String>) -> Self {
        let mut read = |path: &Utf8Path, limit: usize| -> Option<Option<Vec<u8>>> {
            let bytes = disk::read_bounded(path, limit).or_absent();
            bytes.inspect_err(|error| unread.push(format!("{path}: {error}"))).ok()
        };
        let Some(Some(noted)) = read(&home.healthy(), usize::try_from(MAX_LEN).unwrap_or(usize::MAX)) else {
            return Self::default();
        };
        let Some(Some(key)) = read(&home.healthy_key(), KEY_LEN) else { return Self::default() };
        let Ok(noted) = serde_json::from_slice::<Healthy>(&noted) else {
            unread.push(format!("{}: it is not what this program wrote", home.healthy()));
            return Self::default();
        };
        let yaml = read(&home.config(), MAX_FILE_LEN).map(Option::unwrap_or_default);
        let env = read(&home.env_file(), MAX_FILE_LEN).map(Option::unwrap_or_default);
        let config = yaml.and_then(|yaml| match fingerprint::of_config(&key, &yaml) {
            Ok(now) => Some(now),
            Err(error) => {
                unread.push(format!("{}: {error}", home.config()));
                None
            }
        });
        let env = env.map(|env| fingerprint::of_env(&key, &env));
        let named = |before: &Hashes, now: Option<Hashes>| -> Vec<Named> {
            let all = now.map(|now| fingerprint::differences(before, &now)).unwrap_or_default();
            all.into_iter().map(|(name, how)| Named { name, how: how.as_str() }).collect()
        };
        Self {
            since: Some(noted.at),
            release: Some(noted.release).filter(|release| !release.is_empty()),
            config: named(&noted.config, config),
            env: named(&noted.env, env),
        }
    }

    /// Whether there is nothing to say of it.
    pub(crate) fn is_nothing(&self) -> bool {
        self.config.is_empty() && self.env.is_empty()
    }
}
