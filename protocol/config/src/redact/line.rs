//! Secrets within command lines: what stands behind options with telling names, variables and headers for other programs, and
//! everything that is a secret by its looks.

use std::collections::BTreeSet;

use crate::secret::looks::{looks_secret, words};
use crate::secret::names::{is_key, is_opaque, is_placeholder, is_scheme, names_secret};
use crate::secret::url;

/// Options whose value is a variable with its value, `NAME=value`: of docker, podman, MCP clients and others.
const VARIABLES: [&str; 5] = ["-e", "--env", "-env", "--environment", "--env-var"];
/// Options whose value is a header, `Name: value`.
const HEADERS: [&str; 6] = ["-H", "--header", "--headers", "-header", "--proxy-header", "--extra-header"];
/// Options whose value is `user:password`.
const USERS: [&str; 5] = ["-u", "--user", "--proxy-user", "-U", "--userpwd"];
/// Headers that say nothing about who asks.
const OPEN_HEADERS: [&str; 8] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "content-type",
    "content-length",
    "host",
    "user-agent",
];
/// Programs that take a password behind this option, glued to it or as the next word.
const PROGRAMS: [(&str, &str); 12] = [
    ("mysql", "-p"),
    ("mysqldump", "-p"),
    ("mysqladmin", "-p"),
    ("mariadb", "-p"),
    ("mariadb-dump", "-p"),
    ("sshpass", "-p"),
    ("redis-cli", "-a"),
    ("mongo", "-p"),
    ("mongosh", "-p"),
    ("mongodump", "-p"),
    ("ldapsearch", "-w"),
    ("docker", "-p"),
];
/// Deepest line within a line.
const DEPTH: usize = 4;

/// The secret pieces of JSON that is a word of a line; who looks through JSON says it.
pub(super) type OfJson = fn(&serde_json::Value) -> BTreeSet<String>;

/// What the next word is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Anything,
    Secret,
    Variable,
    Header,
    User,
}

/// The secret pieces of the words of one command line, with the word they are in.
pub(super) fn in_words(words: &[&str], of_json: OfJson) -> Vec<(usize, String)> {
    let mut line = Line { program: None, found: Vec::new(), depth: 0, of_json };
    line.all(words);
    line.found
}

/// The secret pieces of a command line that is one text, as they stand in it.
pub(super) fn in_text(text: &str, of_json: OfJson) -> BTreeSet<String> {
    let mut line = Line { program: None, found: Vec::new(), depth: 0, of_json };
    line.text(0, text);
    line.found.into_iter().map(|(_, piece)| piece).collect()
}

struct Line<'a> {
    /// The option behind which the program takes a password.
    program: Option<&'a str>,
    found: Vec<(usize, String)>,
    depth: usize,
    of_json: OfJson,
}

impl Line<'_> {
    fn all(&mut self, words: &[&str]) {
        let mut next = Next::Anything;
        for (at, word) in words.iter().enumerate() {
            let name = word.rsplit('/').next().unwrap_or_default();
            if let Some((_, option)) = PROGRAMS.iter().find(|(program, _)| *program == name)
                && (name != "docker" || words.contains(&"login"))
            {
                self.program = Some(option);
            }
            next = match next {
                // An option is no value, or the one before it was a switch.
                Next::Secret if !word.starts_with("--") => {
                    self.add(at, word);
                    Next::Anything
                }
                Next::Variable => {
                    self.variable(at, word);
                    Next::Anything
                }
                Next::Header => {
                    self.header(at, word);
                    Next::Anything
                }
                Next::User => {
                    self.user(at, word);
                    Next::Anything
                }
                Next::Secret | Next::Anything => self.word(at, word, words.get(at + 1).copied()),
            };
        }
    }

    fn add(&mut self, at: usize, piece: &str) {
        let piece = piece.trim();
        if !piece.is_empty() && !is_placeholder(piece) {
            self.found.push((at, piece.to_owned()));
        }
    }

    /// `NAME=value`; everything that is given to another program counts.
    fn variable(&mut self, at: usize, word: &str) {
        if let Some((name, value)) = word.split_once('=')
            && name.len() > 1
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        {
            self.add(at, value);
        }
    }

    fn header(&mut self, at: usize, word: &str) {
        let Some((name, value)) = word.split_once(':').or_else(|| word.split_once('=')) else { return };
        if !OPEN_HEADERS.contains(&name.trim().to_ascii_lowercase().as_str()) {
            let value = value.trim();
            let (scheme, rest) = value.split_once(' ').unwrap_or(("", value));
            self.add(at, if is_scheme(scheme) { rest } else { value });
        }
    }

    fn user(&mut self, at: usize, word: &str) {
        // `docker --user 1000:1000`.
        if word.bytes().all(|b| b.is_ascii_digit() || b == b':') {
            return;
        }
        match word.split_once([':', '%']) {
            Some((user, "")) => self.add(at, user),
            Some((_, password)) => self.add(at, password),
            None => {}
        }
    }

    /// One word that nothing was said about; gives what the one after it is.
    fn word(&mut self, at: usize, word: &str, after: Option<&str>) -> Next {
        if word.starts_with('-') && word.len() > 1 {
            return self.option(at, word);
        }
        if word.contains(char::is_whitespace) || word.starts_with(['{', '[']) {
            self.text(at, word);
            return Next::Anything;
        }
        if is_scheme(word) && after.is_some_and(|after| after.len() >= 12 && is_opaque(after)) {
            return Next::Secret;
        }
        // `Authorization: Bearer x`, unquoted.
        if let Some(name) = word.strip_suffix(':')
            && names_secret(name)
            && !after.is_some_and(is_scheme)
        {
            return Next::Secret;
        }
        let pieces = url::secrets(word);
        if !pieces.is_empty() {
            for piece in pieces {
                self.add(at, piece);
            }
            return Next::Anything;
        }
        match word.split_once('=') {
            Some((name, value)) if names_secret(name) || looks_secret(value) => self.add(at, value),
            _ => self.looks(at, word),
        }
        Next::Anything
    }

    fn option(&mut self, at: usize, word: &str) -> Next {
        let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
        let plain = name.trim_start_matches('-');
        // `-eNAME=value` and `-HName: value`.
        if let Some(glued) = word.strip_prefix("-e").filter(|rest| is_variable(rest)) {
            self.variable(at, glued);
        } else if let Some(glued) = word.strip_prefix("-H").filter(|rest| rest.contains(':')) {
            self.header(at, glued);
        } else if let Some(option) = self.program.filter(|option| word.starts_with(*option)) {
            if word.len() == option.len() {
                return Next::Secret;
            }
            self.add(at, &word[option.len()..]);
        } else if let Some(value) = value {
            match () {
                () if VARIABLES.contains(&name) => self.variable(at, value),
                () if HEADERS.contains(&name) => self.header(at, value),
                () if USERS.contains(&name) => self.user(at, value),
                () if is_telling(plain) => self.add(at, value),
                () => self.text(at, value),
            }
        } else if VARIABLES.contains(&name) {
            return Next::Variable;
        } else if HEADERS.contains(&name) {
            return Next::Header;
        } else if USERS.contains(&name) {
            return Next::User;
        } else if is_telling(plain) {
            return Next::Secret;
        } else {
            self.looks(at, word);
        }
        Next::Anything
    }

    /// A line within a word (`sh -c "…"`), or JSON.
    fn text(&mut self, at: usize, text: &str) {
        if self.depth >= DEPTH {
            return self.looks(at, text);
        }
        let start = text.trim_start();
        if start.starts_with(['{', '['])
            && let Ok(json) = serde_json::from_str::<serde_json::Value>(start)
        {
            for piece in (self.of_json)(&json) {
                self.add(at, &piece);
            }
            return;
        }
        let words =
            shlex::split(text).unwrap_or_else(|| text.split_whitespace().map(str::to_owned).collect());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        // One word would come back here for ever.
        if words.len() == 1 && words[0] == text && text.contains(char::is_whitespace) {
            return self.looks(at, text);
        }
        let mut inner =
            Line { program: None, found: Vec::new(), depth: self.depth + 1, of_json: self.of_json };
        inner.all(&words);
        self.found.extend(inner.found.into_iter().map(|(_, piece)| (at, piece)));
    }

    fn looks(&mut self, at: usize, text: &str) {
        for word in words(text).filter(|word| looks_secret(word)) {
            let pieces = url::secrets(word);
            let value = word.split_once('=').map_or(word, |(_, value)| value);
            if pieces.is_empty() {
                self.add(at, if is_key(word) { word } else { value });
            }
            for piece in pieces {
                self.add(at, piece);
            }
        }
    }
}

/// Whether an option of this name takes a secret; `--no-token` takes none.
fn is_telling(name: &str) -> bool {
    names_secret(name)
        && !["no-", "skip-", "without-", "use-", "print-"].iter().any(|start| name.starts_with(start))
}

/// `NAME=…`
fn is_variable(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    })
}
