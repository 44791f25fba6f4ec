//! `cargo install`, as it was called before: read from cargo's list of what it installed.

use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::child;
use serde_json::Value;

use crate::home::Surroundings;

/// Variables that decide how cargo reaches its sources and compilers. Keys of registries are cargo's own affair: it reads them
/// from its files.
const PASSED: [&str; 17] = [
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "CARGO_HTTP_CAINFO",
    "CARGO_HTTP_PROXY",
    "CARGO_NET_OFFLINE",
    "CARGO_NET_GIT_FETCH_WITH_CLI",
    "CARGO_BUILD_JOBS",
    "CARGO_TARGET_DIR",
    "RUSTFLAGS",
    "CC",
    "CXX",
    "AR",
    "SSH_AUTH_SOCK",
];

/// How the name begins by which cargo knows its default registry.
const DEFAULT_REGISTRY: &str = "https://github.com/rust-lang/";

/// What cargo wrote down about an installed package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) source: Source,
    features: Vec<String>,
    all_features: bool,
    no_default_features: bool,
    profile: Option<String>,
}

/// Where cargo takes it from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A directory.
    Path(Utf8PathBuf),
    /// A repository, with the option that chose branch, tag or revision.
    Git { url: String, at: Option<(String, String)> },
    /// The default registry.
    Registry,
    /// Another one, by the address of its index.
    Index(String),
}

impl Source {
    /// In words.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Path(path) => format!("the directory {path}"),
            Self::Git { url, at: None } => format!("the repository {}", public(url)),
            Self::Git { url, at: Some((kind, value)) } => {
                format!("the {kind} {value} of the repository {}", public(url))
            }
            Self::Registry => "the default registry".to_owned(),
            Self::Index(url) => format!("the registry {}", public(url)),
        }
    }
}

/// An address without user name and password.
pub(crate) fn public(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// The package in `.crates2.json` that installed the executable `bin`.
pub(crate) fn package_of(list: &[u8], bin: &str) -> Option<Package> {
    let json: Value = serde_json::from_slice(list).ok()?;
    let installs = json.get("installs")?.as_object()?;
    installs.iter().find_map(|(key, info)| {
        let bins = info.get("bins")?.as_array()?;
        bins.iter().any(|name| name.as_str() == Some(bin)).then(|| package(key, info))?
    })
}

/// `name version (source)` and what stands beside it.
fn package(key: &str, info: &Value) -> Option<Package> {
    let (name, rest) = key.split_once(' ')?;
    let (version, source) = rest.split_once(' ')?;
    let flag = |name: &str| info.get(name).and_then(Value::as_bool).unwrap_or(false);
    let features = info.get("features").and_then(Value::as_array).into_iter().flatten();
    Some(Package {
        name: word(name)?,
        version: version.to_owned(),
        source: source_of(source.strip_prefix('(')?.strip_suffix(')')?)?,
        features: features.filter_map(Value::as_str).map(str::to_owned).collect(),
        all_features: flag("all_features"),
        no_default_features: flag("no_default_features"),
        profile: info.get("profile").and_then(Value::as_str).and_then(word),
    })
}

/// A name that cannot be taken for an option.
fn word(text: &str) -> Option<String> {
    (!text.is_empty() && !text.starts_with('-')).then(|| text.to_owned())
}

fn source_of(text: &str) -> Option<Source> {
    if let Some(url) = text.strip_prefix("path+file://") {
        return Some(Source::Path(decoded(url.split(['#', '?']).next()?).into()));
    }
    if let Some(url) = text.strip_prefix("git+") {
        let url = url.split_once('#').map_or(url, |(url, _)| url);
        let (url, query) = url.split_once('?').map_or((url, ""), |(url, query)| (url, query));
        let chosen = query.split('&').find_map(|pair| {
            let (kind, value) = pair.split_once('=')?;
            matches!(kind, "branch" | "tag" | "rev").then(|| (kind.to_owned(), decoded(value)))
        });
        return Some(Source::Git { url: url.to_owned(), at: chosen });
    }
    let index =
        text.strip_prefix("registry+").map_or_else(|| text.starts_with("sparse+").then_some(text), Some)?;
    // The default registry is written down under one name, whichever protocol it was reached by.
    Some(if index.starts_with(DEFAULT_REGISTRY) { Source::Registry } else { Source::Index(index.to_owned()) })
}

/// `%20` and the like as what they stand for.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        if let Some(byte) = code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The words after `cargo`.
pub(crate) fn arguments(package: &Package, root: &Utf8Path) -> Vec<String> {
    let mut words = vec!["install".to_owned(), "--locked".to_owned()];
    let mut push = |option: &str, value: &str| words.extend([option.to_owned(), value.to_owned()]);
    push("--root", root.as_str());
    match &package.source {
        // The same version again may still be other code.
        Source::Path(path) => {
            push("--path", path.as_str());
            words.push("--force".to_owned());
        }
        Source::Git { url, at } => {
            push("--git", url);
            if let Some((kind, value)) = at {
                push(&format!("--{kind}"), value);
            }
        }
        Source::Registry => {}
        Source::Index(url) => push("--index", url),
    }
    if let Some(profile) = package.profile.as_ref().filter(|profile| *profile != "release") {
        words.extend(["--profile".to_owned(), profile.clone()]);
    }
    if !package.features.is_empty() {
        words.extend(["--features".to_owned(), package.features.join(",")]);
    }
    if package.all_features {
        words.push("--all-features".to_owned());
    }
    if package.no_default_features {
        words.push("--no-default-features".to_owned());
    }
    if !matches!(package.source, Source::Path(_)) {
        words.push(package.name.clone());
    }
    words
}

/// The command as somebody would type it, without what an address may hold.
pub(crate) fn shown(arguments: &[String]) -> String {
    let quoted = arguments.iter().map(|word| {
        let word = public(word);
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@+=,~".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    });
    format!("cargo {}", quoted.collect::<Vec<_>>().join(" "))
}

/// `cargo` of the user: on the PATH, beside `exe`, or in its usual place.
pub(crate) fn program(exe: &Utf8Path, env: &Surroundings) -> Option<Utf8PathBuf> {
    let usual = env.user_home.iter().map(|home| home.join(".cargo/bin"));
    let beside = exe.parent().map(Utf8Path::to_owned);
    let dirs = env.path.iter().cloned().chain(beside).chain(usual);
    dirs.map(|dir| dir.join("cargo")).find(|path| path.is_file())
}

/// The command, ready to be run.
pub(crate) fn command(program: &Utf8Path, arguments: &[String]) -> Command {
    let mut command = child::command_passing(program.as_str(), &PASSED);
    command.args(arguments);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(key: &str, more: &str) -> Option<(Package, String)> {
        let list = format!(
            "{{\"installs\":{{\"other 1.0.0 (registry+x)\":{{\"bins\":[\"other\"]}},{key:?}:{{\"bins\":[\"hermes\"]{more}}}}}}}"
        );
        let package = package_of(list.as_bytes(), "hermes")?;
        let text = shown(&arguments(&package, "/r".into()));
        Some((package, text))
    }

    #[test]
    fn every_source_is_installed_from_again() {
        for (source, command) in [
            ("path+file:///a/b%20c", "cargo install --locked --root /r --path '/a/b c' --force"),
            (
                "registry+https://github.com/rust-lang/the-index",
                "cargo install --locked --root /r hermes-cli",
            ),
            (
                "sparse+https://example.org/index/",
                "cargo install --locked --root /r --index sparse+https://example.org/index/ hermes-cli",
            ),
            (
                "registry+https://example.org/index",
                "cargo install --locked --root /r --index https://example.org/index hermes-cli",
            ),
            (
                "git+https://u:secret@example.org/x?branch=a%2Fb#0123",
                "cargo install --locked --root /r --git https://example.org/x --branch a/b hermes-cli",
            ),
            (
                "git+ssh://git@example.org/x#0123",
                "cargo install --locked --root /r --git ssh://example.org/x hermes-cli",
            ),
        ] {
            let (package, text) = found(&format!("hermes-cli 0.1.0 ({source})"), "").unwrap();
            assert_eq!((package.version.as_str(), text.as_str()), ("0.1.0", command));
            assert!(!package.source.words().contains("secret"));
        }
        let more = ",\"features\":[\"a\",\"b\"],\"all_features\":true,\"no_default_features\":true,\"profile\":\"dev\"";
        let (package, text) = found("h 1.0.0 (path+file:///p)", more).unwrap();
        assert_eq!(package.name, "h");
        assert_eq!(
            text,
            "cargo install --locked --root /r --path /p --force --profile dev --features a,b --all-features --no-default-features"
        );
    }

    #[test]
    fn lists_that_say_nothing_give_nothing() {
        for list in ["", "{}", "[]", "{\"installs\":[]}", "{\"installs\":{\"x\":{\"bins\":[\"hermes\"]}}}"] {
            assert_eq!(package_of(list.as_bytes(), "hermes"), None, "{list}");
        }
        assert_eq!(found("--config 0.1.0 (registry+https://x/index)", ""), None);
        assert_eq!(found("x 0.1.0 (nonsense+y)", ""), None);
    }
}
