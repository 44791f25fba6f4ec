//! A unit file: what it starts, for whom, and whether somebody edited it.
//!
//! What `install` writes carries a mark: a hash of all that follows it. A file whose hash is right is exactly what was written, and may be
//! written again; any other belongs to whoever edited it, and is only read. Reading is lenient, as there are files of the Python program
//! and by hand: what is not understood says nothing.

use camino::Utf8PathBuf;
use sha2::{Digest as _, Sha256};

use super::Owner;
use crate::home::{self, Surroundings};

/// Largest unit file that is looked at, in bytes.
pub(crate) const MAX: usize = 64 * 1024;
/// How the mark begins.
const MARK: &str = "# hermes-unit: sha256 ";

/// Who wrote a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Author {
    /// `hermes gateway install`, and nobody has touched it since.
    Us,
    /// `hermes gateway install`, and then somebody else.
    Edited,
    /// Somebody else: the Python program, a package, a person.
    Other,
}

/// What it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// `hermes`.
    Hermes,
    /// The Python program.
    Python,
    /// Nothing that is known.
    Unknown,
}

/// What a unit file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) text: String,
    pub(crate) author: Author,
    pub(crate) program: Program,
    /// Whose gateway it starts; `None` where it starts none.
    pub(crate) owner: Option<Owner>,
    /// The user that it runs as, where it says.
    pub(crate) user: Option<String>,
}

impl Unit {
    /// Reads it; `env` is that of the user whose unit it is.
    pub(crate) fn read(text: String, env: &Surroundings) -> Self {
        let entries = entries(&text);
        let service = |key: &str| {
            let values = entries.iter().filter(|e| e.section == "Service" && e.key == key);
            values.map(|e| e.value.as_str()).collect::<Vec<_>>()
        };
        // An empty assignment forgets those before it.
        let command = service("ExecStart").into_iter().rfind(|value| !value.is_empty()).unwrap_or_default();
        let words = shlex::split(command).unwrap_or_default();
        let user = service("User").last().filter(|user| !user.is_empty()).map(|user| (*user).to_owned());
        let of_user = user.as_deref().and_then(user_home);
        let env = Surroundings { user_home: of_user.or_else(|| env.user_home.clone()), ..env.clone() };
        let variables =
            service("Environment").into_iter().flat_map(|value| shlex::split(value).unwrap_or_default());
        let home =
            variables.filter_map(|pair| Some(pair.strip_prefix("HERMES_HOME=")?.to_owned())).next_back();
        let home = home.map(|home| Utf8PathBuf::from(expanded(&home, &env)));
        let program = program(&words);
        let owner = is_gateway(&words)
            .then(|| home::meant(home, flag(&words).as_deref(), &env))
            .flatten()
            .map(|(root, profile)| Owner { root, profile });
        let author = author(&text);
        Self { text, author, program, owner, user }
    }
}

/// The text with its mark in front.
pub(crate) fn sealed(body: &str) -> String {
    format!("{MARK}{}\n{body}", digest(body))
}

/// The text without its mark, where it has one.
pub(crate) fn body(text: &str) -> &str {
    text.strip_prefix(MARK).and_then(|rest| rest.split_once('\n')).map_or(text, |(_, body)| body)
}

fn author(text: &str) -> Author {
    let Some((hash, body)) = text.strip_prefix(MARK).and_then(|rest| rest.split_once('\n')) else {
        return if text.contains(MARK) { Author::Edited } else { Author::Other };
    };
    if hash.trim_end() == digest(body) { Author::Us } else { Author::Edited }
}

pub(super) fn digest(body: &str) -> String {
    use std::fmt::Write as _;
    Sha256::digest(body.as_bytes()).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// One assignment.
pub(crate) struct Entry {
    pub(crate) section: String,
    pub(crate) key: String,
    pub(crate) value: String,
}

/// The assignments of a unit file: comments left out, continued lines joined.
pub(crate) fn entries(text: &str) -> Vec<Entry> {
    let (mut entries, mut section, mut held) = (Vec::new(), String::new(), String::new());
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(part) = line.strip_suffix('\\') {
            held.push_str(part);
            held.push(' ');
            continue;
        }
        let line = std::mem::take(&mut held) + line;
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
        } else if let Some((key, value)) = line.split_once('=') {
            let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
            entries.push(Entry { section: section.clone(), key, value });
        }
    }
    entries
}

/// Specifiers of the service manager that a path may have.
fn expanded(text: &str, env: &Surroundings) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, &env.user_home) {
            ('%', home) => match (chars.next(), home) {
                (Some('h'), Some(home)) => out.push_str(home.as_str()),
                (Some('%') | None, _) => out.push('%'),
                (Some(other), _) => out.extend(['%', other]),
            },
            _ => out.push(c),
        }
    }
    out
}

fn user_home(user: &str) -> Option<Utf8PathBuf> {
    let found = match user.parse::<u32>() {
        Ok(uid) => nix::unistd::User::from_uid(uid.into()),
        Err(_) => nix::unistd::User::from_name(user),
    };
    Utf8PathBuf::from_path_buf(found.ok()??.dir).ok()
}

pub(super) fn program(words: &[String]) -> Program {
    // Characters in front of the path say how it is started.
    let Some(first) = words.first().map(|word| word.trim_start_matches(['-', '@', ':', '+', '!'])) else {
        return Program::Unknown;
    };
    let base = first.rsplit('/').next().unwrap_or_default();
    if words.iter().any(|word| word.contains("hermes_cli")) || base.starts_with("python") {
        Program::Python
    } else if base.starts_with("hermes") {
        Program::Hermes
    } else {
        Program::Unknown
    }
}

/// Whether a command line is a gateway's: `gateway`, and `run` or nothing behind it.
pub(super) fn is_gateway(words: &[String]) -> bool {
    let mut rest = words.iter().skip_while(|word| *word != "gateway").skip(1);
    let found = words.iter().any(|word| word == "gateway");
    found && rest.next().is_none_or(|word| word == "run" || word.starts_with('-'))
}

/// The value of `-p`.
pub(super) fn flag(words: &[String]) -> Option<String> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "-p" || word == "--profile" {
            return words.next().cloned();
        }
        if let Some(value) = word.strip_prefix("--profile=").or_else(|| word.strip_prefix("-p=")) {
            return Some(value.to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn env() -> Surroundings {
        Surroundings { user_home: Some("/nowhere/ada".into()), ..Surroundings::bare() }
    }

    fn whose(text: &str) -> Option<(String, String)> {
        let owner = Unit::read(text.to_owned(), &env()).owner?;
        Some((owner.root.path().to_string(), owner.profile.to_string()))
    }

    /// N5.1: whose a unit is, is what it starts.
    #[test]
    fn n5_1_a_unit_is_known_by_what_it_starts() {
        let python = "[Service]\nExecStart=/v/bin/python -m hermes_cli.main --profile coder gateway run\nEnvironment=\"PATH=/bin\" \"HERMES_HOME=/nowhere/ada/.hermes/profiles/coder\"\n";
        let coder = Some(("/nowhere/ada/.hermes".to_owned(), "coder".to_owned()));
        assert_eq!(whose(python), coder);
        assert_eq!(Unit::read(python.to_owned(), &env()).program, Program::Python);
        let by_hand = "[Service]\n# ExecStart=/bin/false\nExecStart=\nExecStart=/usr/bin/hermes \\\n  gateway run -p coder\nEnvironment=HERMES_HOME=%h/.hermes\n";
        assert_eq!(whose(by_hand), coder);
        assert_eq!(whose("[Service]\nExecStart=/usr/bin/hermes gateway\n").unwrap().1, "default");
        let other = "[Service]\nExecStart=/usr/bin/hermes --profile=default gateway run\nEnvironment=HERMES_HOME=/srv/h\n";
        assert_eq!(whose(other), Some(("/srv/h".to_owned(), "default".to_owned())));
        for none in
            ["", "[Service]\nExecStart=/usr/bin/hermes status\n", "ExecStart=/usr/bin/hermes gateway run\n"]
        {
            assert_eq!(whose(none), None, "{none}");
        }
    }

    #[test]
    fn an_edit_is_seen() {
        let text = sealed("[Unit]\nDescription=x\n");
        let read = |text: String| Unit::read(text, &env()).author;
        assert_eq!(read(text.clone()), Author::Us);
        assert_eq!(read(text.replace("=x", "=y")), Author::Edited);
        assert_eq!(read(format!("# mine\n{text}")), Author::Edited);
        assert_eq!(read("[Unit]\n".to_owned()), Author::Other);
        assert_eq!(body(&text), "[Unit]\nDescription=x\n");
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "(\\[Service\\]\n)?(ExecStart=|Environment=|\\\\|%|\"|'|\n|\\PC){0,60}") {
            let _ = Unit::read(text, &env());
        }
    }
}
