//! Why a profile cannot answer, as far as its files tell: what is wrong, what to do, and where it stands.

use std::fmt;

use camino::Utf8PathBuf;

use super::{ProfileConfig, requested};
use hermes_wire::ProfileName;

/// Why there is no endpoint. Texts that scripts may know are those of 0.19.0; the second half names the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// Nothing configured.
    None {
        /// Whose.
        profile: ProfileName,
        /// The profile's `.env`.
        env_file: Utf8PathBuf,
    },
    /// No such provider.
    Unknown {
        /// As written.
        name: String,
        /// The key or variable that names it.
        by: &'static str,
        /// A known name that looks like it.
        close: Option<String>,
        /// The file that key or variable stands in.
        file: Utf8PathBuf,
    },
    /// Declared and turned off.
    Disabled {
        /// Its name.
        name: String,
        /// The profile's `config.yaml`.
        file: Utf8PathBuf,
    },
    /// No key.
    NoKey {
        /// Provider.
        provider: String,
        /// What would hold one.
        variables: String,
        /// The profile's `.env`.
        file: Utf8PathBuf,
        /// More to know, or empty.
        hint: String,
    },
    /// No address, or none that can be used.
    Address {
        /// Provider.
        provider: String,
        /// What is wrong with it.
        why: String,
        /// The key or variable that holds one, or would.
        key: String,
        /// The file of that.
        file: Utf8PathBuf,
    },
    /// A wire that does not exist yet.
    Wire {
        /// Provider.
        provider: String,
        /// The rule that chose it.
        rule: String,
        /// What it speaks.
        wire: String,
        /// The profile's `config.yaml`.
        file: Utf8PathBuf,
    },
    /// No model.
    NoModel {
        /// Provider.
        provider: String,
        /// The profile's `config.yaml`.
        file: Utf8PathBuf,
    },
    /// A key or header that cannot be sent.
    Header {
        /// Provider.
        provider: String,
        /// `the key`, or which header.
        what: String,
        /// The profile's `config.yaml`.
        file: Utf8PathBuf,
    },
}

/// Where an error stands; [`super::super::load()`] knows the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Spot {
    /// `model.provider`.
    Provider,
    /// `model.base_url`.
    Address,
    /// `model.default`.
    Model,
    /// A variable of `.env`.
    Variable(String),
    /// A key of a provider that the user declared.
    Declared { name: String, field: &'static str },
}

impl ProviderError {
    /// Stable, for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::None { .. } => "no_provider",
            Self::Unknown { .. } => "unknown_provider",
            Self::Disabled { .. } => "provider_disabled",
            Self::NoKey { .. } => "no_key",
            Self::Address { .. } => "provider_address",
            Self::Wire { .. } => "provider_wire",
            Self::NoModel { .. } => "no_model",
            Self::Header { .. } => "unusable_key",
        }
    }

    /// What is wrong.
    pub fn what(&self) -> String {
        match self {
            Self::None { .. } => "No inference provider configured".to_owned(),
            Self::Unknown { name, .. } => format!("Unknown provider '{name}'"),
            Self::Disabled { name, .. } => {
                format!("provider '{name}' is disabled in config (providers.{name}.enabled: false)")
            }
            Self::NoKey { provider, .. } => format!("No usable credentials found for provider '{provider}'"),
            Self::Address { provider, why, .. } => {
                format!("provider '{provider}' has no usable address: {why}")
            }
            Self::Wire { provider, rule, wire, .. } => format!(
                "provider '{provider}' ({rule}) needs {wire}, and this build speaks chat completions, Anthropic Messages and OpenAI Responses"
            ),
            Self::NoModel { provider, .. } => format!("no model is configured for provider '{provider}'"),
            Self::Header { provider, what, .. } => {
                format!("{what} for provider '{provider}' holds characters that no header may have")
            }
        }
    }

    /// What to do about it.
    pub fn fix(&self) -> String {
        match self {
            Self::None { profile, env_file } => {
                let flag = if profile.is_default() { String::new() } else { format!("-p {profile} ") };
                format!(
                    "Run 'hermes {flag}setup model' to choose a provider and model, or set an API key (OPENROUTER_API_KEY, \
                     OPENAI_API_KEY, etc.) in `{env_file}`"
                )
            }
            Self::Unknown { by, close, file, .. } => {
                let close =
                    close.as_ref().map(|name| format!("; did you mean '{name}'?")).unwrap_or_default();
                format!("Set {by} in `{file}` to a built-in name or to one declared under providers{close}")
            }
            Self::Disabled { file, .. } => {
                format!("Enable it in `{file}`, or choose another with model.provider")
            }
            Self::NoKey { variables, file, hint, .. } => format!("Set {variables} in `{file}`{hint}"),
            Self::Address { key, file, .. } => format!("Set {key} in `{file}`"),
            Self::Wire { file, .. } => format!(
                "In `{file}` set model.provider to one that does (openrouter, openai-api, deepseek, custom with \
                 model.base_url, …)"
            ),
            Self::NoModel { file, .. } => format!("Set model.default in `{file}`"),
            Self::Header { file, .. } => format!("Write it anew in `{file}` or in `.env`, without line ends"),
        }
    }

    /// Where it stands in the files that `config` came from.
    pub(in super::super) fn spot(&self, config: &ProfileConfig) -> Spot {
        let declared = |name: &str, field| {
            let own = config.providers.iter().any(|p| p.name == name);
            own.then(|| Spot::Declared { name: name.to_owned(), field })
        };
        let chosen = || match requested(config) {
            Some((_, "model.provider")) => Spot::Provider,
            Some((_, variable)) => Spot::Variable(variable.to_owned()),
            None if config.model.base_url.is_some() => Spot::Address,
            None => Spot::Model,
        };
        match self {
            Self::Disabled { name, .. } => declared(name, "enabled").unwrap_or_else(chosen),
            Self::Address { key, .. } if key == "model.base_url" && config.model.base_url.is_some() => {
                Spot::Address
            }
            Self::Address { key, .. } if config.env.get(key).is_some() => Spot::Variable(key.clone()),
            Self::Address { provider, key, .. } if key.starts_with("providers.") => {
                declared(provider, "base_url").unwrap_or_else(chosen)
            }
            Self::NoModel { .. } => Spot::Model,
            _ => chosen(),
        }
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {}", self.what(), self.fix())
    }
}
