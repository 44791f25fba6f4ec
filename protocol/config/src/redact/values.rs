//! Which values of `.env` and of sign-in files nothing that leaves the machine may hold.
//!
//! A value under a secret name always; any other unless it plainly is something else: a word, a number, an address, a path, a
//! model. What remains doubtful counts as secret, because whoever packs an archive can say that it is none, and whoever got one
//! cannot give it back.

use std::collections::BTreeMap;

use super::super::secret::{Env, Secret};
use super::super::{dotenv_edit, schema};
use crate::ProfileConfig;
use crate::platform::Registry;
use crate::secret::looks::looks_secret;
use crate::secret::names::{is_opaque, is_placeholder, names_secret};

/// Shortest value under a secret name that is searched for.
const NAMED: usize = 6;
/// Shortest value under any other name.
const UNNAMED: usize = 8;
/// Shortest value of a configuration.
const CONFIGURED: usize = 10;
/// Longest text of letters and separators alone that is taken for words.
const WORDS: usize = 24;
/// Words that people put where a secret is asked for.
const WORD: [&str; 21] = [
    "true",
    "false",
    "none",
    "null",
    "enabled",
    "disabled",
    "default",
    "localhost",
    "changeme",
    "change-me",
    "password",
    "secret",
    "dummy",
    "not-needed",
    "no-key-required",
    "your-api-key",
    "oauth",
    "oauth2",
    "basic",
    "bearer",
    "api_key",
];

/// Values by what they are called, each once.
pub type Kept = BTreeMap<Secret, String>;

/// Values of a `.env` text.
pub fn of_env(registry: &Registry, bytes: &[u8]) -> Kept {
    of_variables(registry, &dotenv_edit::read(bytes))
}

/// Values of variables.
pub fn of_variables(registry: &Registry, env: &Env) -> Kept {
    let mut kept = Kept::new();
    for (name, value) in env.iter().filter(|(name, value)| stays(name, value, is_setting(registry, name))) {
        kept.insert(Secret::new(value.trim()), name.to_owned());
    }
    kept
}

/// Everything of a profile that no output may show: values of its `.env`, keys of its configuration. Longest first, so that one that
/// holds another goes as a whole.
pub fn of_profile(registry: &Registry, config: &ProfileConfig) -> Vec<Secret> {
    let mut all: std::collections::BTreeSet<Secret> =
        of_variables(registry, &config.env).into_keys().collect();
    let models = config.fallbacks.iter().chain([&config.model]).filter_map(|model| model.api_key.as_ref());
    let providers = config
        .providers
        .iter()
        .flat_map(|provider| provider.api_key.iter().chain(provider.extra_headers.values()));
    let inline = models.chain(providers).chain(&config.admin_token);
    all.extend(inline.filter(|secret| !is_placeholder(secret.expose())).cloned());
    let mut all: Vec<Secret> = all.into_iter().collect();
    all.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
    all
}

/// Values of JSON: with `all` everything that is not plainly something else, without it what has a secret name or looks like a
/// secret. What is no JSON is taken for words.
pub fn of_json(bytes: &[u8], all: bool) -> Kept {
    let mut kept = Kept::new();
    if let Ok(json) = serde_json::from_slice::<serde_json::Value>(bytes) {
        leaves(&json, &mut Vec::new(), all, &mut kept);
    } else {
        let text = String::from_utf8_lossy(bytes);
        for word in
            crate::secret::looks::words(&text).filter(|word| word.len() >= 16 && stays("", word, false))
        {
            kept.insert(Secret::new(word), "an unreadable text".to_owned());
        }
    }
    kept
}

fn leaves(json: &serde_json::Value, path: &mut Vec<String>, all: bool, kept: &mut Kept) {
    use serde_json::Value;
    match json {
        Value::Object(map) => {
            for (key, value) in map {
                path.push(key.clone());
                leaves(value, path, all, kept);
                path.pop();
            }
        }
        Value::Array(items) => items.iter().for_each(|item| leaves(item, path, all, kept)),
        Value::String(text) => {
            let name = path.last().map(String::as_str).unwrap_or_default();
            if (all || names_secret(name) || looks_secret(text)) && stays(name, text, false) {
                kept.insert(Secret::new(text.trim()), path.join("."));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Whether a text of a `.env` assigns a value that is secret: such a file is no template.
pub fn holds_values(registry: &Registry, bytes: &[u8]) -> bool {
    !of_env(registry, bytes).is_empty()
}

/// Whether a value that was taken out of a configuration is searched for in the rest of an archive too.
pub fn is_telling(value: &str) -> bool {
    value.len() >= CONFIGURED && (looks_secret(value) || is_opaque(value)) && !is_placeholder(value)
}

/// Settings that are written to both files, or that this program has a default for.
fn is_setting(registry: &Registry, name: &str) -> bool {
    name.starts_with("TERMINAL_") || schema::variables(registry).any(|(known, _)| known == name)
}

fn stays(name: &str, value: &str, setting: bool) -> bool {
    let value = value.trim();
    if value.len() < NAMED
        || is_placeholder(value)
        || WORD.iter().any(|word| value.eq_ignore_ascii_case(word))
    {
        return false;
    }
    if names_secret(name) || looks_secret(value) {
        return true;
    }
    value.len() >= UNNAMED && !setting && !value.split([',', ' ']).all(is_plain)
}

/// Whether a text plainly is no secret.
fn is_plain(text: &str) -> bool {
    let all = |ok: fn(char) -> bool| text.chars().all(ok);
    let separator =
        |c: char| matches!(c, '-' | '_' | '.' | '/' | ':' | '@' | '+' | '#' | '%' | '&' | '!' | '?' | '\'');
    let words = text.chars().all(|c| c.is_alphabetic() || separator(c));
    let longest = text.split(separator).map(str::len).max().unwrap_or_default();
    // An address, a path; what is secret in one was asked before.
    text.contains("://")
        || text.starts_with(['/', '~'])
        || text.starts_with("./")
        || all(|c| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | ':' | '/' | 'T' | 'Z'))
        || (words && longest <= WORDS && text.len() <= 2 * WORDS)
        || is_host_or_model(text)
        || text
            .split_once('@')
            .is_some_and(|(user, host)| user.len() <= WORDS && host.contains('.') && is_host_or_model(host))
}

/// `smtp.example.com:587`, `vendor/model-4.5`, `python:3.12-slim`, `gpt-4o-mini`: words that are numbered here and there.
fn is_host_or_model(text: &str) -> bool {
    let parts = || text.split(['.', '/', ':', '-', '_', '@']);
    let small = text.bytes().all(|b| !b.is_ascii_uppercase());
    let numbered = |part: &str| {
        let letters = part.trim_matches(|c: char| c.is_ascii_digit());
        part.len() <= 12 && letters.bytes().all(|b| b.is_ascii_alphabetic())
    };
    let joined = text.contains(['.', '/', ':']);
    small && joined && parts().all(numbered)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wires 12: which values of `.env` are searched for, and which would only refuse innocent archives.
    #[test]
    fn what_is_searched_for() {
        let kept = |name: &str, value: &str| {
            !of_env(&crate::REGISTRY, format!("{name}=\"{value}\"\n").as_bytes()).is_empty()
        };
        for (name, value) in [
            ("OPENAI_API_KEY", "short1"),
            ("SMTP_PASS", "correct horse battery"),
            ("DB_PASSWORD", "lettersonly"),
            ("MY_THING", "canary-value-123456"),
            ("X", "sk-proj-abcDEF123456789"),
            ("DATABASE_URL", "postgres://u:pass1234@db/x"),
            ("LICENCE", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
            ("CODE", "a8f3e2b1"),
        ] {
            assert!(kept(name, value), "{name}");
        }
        for (name, value) in [
            ("X", "true"),
            ("API_KEY", "localhost"),
            ("API_KEY", "${OTHER}"),
            ("API_KEY", ""),
            ("HOST", "localhost"),
            ("OPENAI_BASE_URL", "https://openrouter.ai/api/v1"),
            ("TELEGRAM_HOME_CHANNEL", "-1001234567890"),
            ("ALLOWED_USERS", "1234567890,2345678901"),
            ("TZ", "Europe/Berlin"),
            ("MODEL", "anthropic/claude-sonnet-4.5"),
            ("IMAGE", "python:3.12-slim"),
            ("SMTP_HOST", "smtp.example.com:587"),
            ("MAIL", "me@example.com"),
            ("DIR", "/srv/data1/x"),
            ("SINCE", "2026-01-01T00:00:00Z"),
            ("TERMINAL_DOCKER_IMAGE", "nikolaik/python-nodejs:python3.11-nodejs20"),
            ("TITLE", "fill me in"),
        ] {
            assert!(!kept(name, value), "{name}");
        }
    }

    #[test]
    fn sign_ins_too() {
        let kept = of_json(
            br#"{"a": {"access_token": "tok-abc1", "scope": "inference", "n": 1}, "x": "canary-4"}"#,
            true,
        );
        let names: Vec<_> = kept.values().map(String::as_str).collect();
        assert_eq!(names, ["x", "a.access_token"]);
        let kept = of_json(br#"{"hook": {"secret": "sek-12", "prompt": "canary-4"}}"#, false);
        assert_eq!(kept.into_values().collect::<Vec<_>>(), ["hook.secret"]);
        assert_eq!(of_json(b"token: abcdefgh12345678ijkl", true).len(), 1);
    }
}
