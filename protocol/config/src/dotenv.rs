//! `.env` as 0.19.0 reads it, with python-dotenv: values over several lines in quotes, escapes, `export`, comments, `${NAME}` and
//! `${NAME:-default}` from the lines above and the surroundings, the file before the surroundings.
//!
//! # Guarantees
//!
//! - Whatever the bytes are, they are read or refused with the true reason: UTF-8 with or without a mark, UTF-16, lines of Latin-1.
//! - What was skipped, what nobody sees and what looks like a slip is said by line and name; no value ever leaves this module in a
//!   message.
//! - Bounded: the file by [`MAX_FILE_LEN`], what references make of it by twice that.

mod encoding;
mod grammar;
mod slips;

use std::collections::BTreeMap;

pub(super) use encoding::decode;
pub(super) use grammar::{Fault, Statement, Value, is_space, statements};

use super::platform::Registry;
use super::secret::{Env, Secret};
use super::types::MAX_FILE_LEN;

/// A file, read.
#[derive(Debug, Default)]
pub(super) struct Dotenv {
    pub(super) env: Env,
    /// Line of each variable.
    pub(super) lines: BTreeMap<String, u32>,
    pub(super) flaws: Vec<Flaw>,
}

/// Something odd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flaw {
    /// Whether the file cannot be used.
    pub(super) fatal: bool,
    pub(super) code: &'static str,
    pub(super) line: u32,
    /// The variable it is about.
    pub(super) name: Option<String>,
    pub(super) message: String,
    /// What to do about it.
    pub(super) fix: &'static str,
}

/// Reads a file by itself.
pub(super) fn parse(bytes: &[u8]) -> Dotenv {
    parse_in(bytes, &Env::default())
}

/// Reads a file among these variables, which it may refer to.
pub(super) fn parse_in(bytes: &[u8], surroundings: &Env) -> Dotenv {
    read(None, bytes, surroundings)
}

/// The same, with the slips of whoever wrote it among its flaws: names that stand within values, of these platforms too.
pub(super) fn judge_in(registry: &'static Registry, bytes: &[u8], surroundings: &Env) -> Dotenv {
    read(Some(registry), bytes, surroundings)
}

fn read(judge: Option<&'static Registry>, bytes: &[u8], surroundings: &Env) -> Dotenv {
    let mut out = Dotenv::default();
    let fatal = |message: &str, fix| Flaw {
        fatal: true,
        code: "env_file",
        line: 1,
        name: None,
        message: message.to_owned(),
        fix,
    };
    if bytes.len() > MAX_FILE_LEN {
        out.flaws.push(fatal("the file is larger than 4 MiB", "Write NAME=VALUE, one a line."));
        return out;
    }
    let (text, encoding) = match decode(bytes) {
        Ok(decoded) => decoded,
        Err(why) => {
            out.flaws.push(fatal(why, "Save the file as UTF-8."));
            return out;
        }
    };
    out.flaws.extend(encoding.flaw());
    let statements = statements(text.strip_prefix(encoding::MARK).unwrap_or(&text));
    out.flaws.extend(judge.into_iter().flat_map(|registry| slips::find(registry, &statements)));
    let mut references = References { surroundings, left: 2 * MAX_FILE_LEN, values: BTreeMap::new() };
    for statement in &statements {
        let Some(name) = statement.name.as_deref() else { continue };
        let value = match &statement.value {
            Value::Text(value, _) => {
                let Some((value, missing)) = references.replace(value) else {
                    out.flaws.push(too_long(statement, name));
                    continue;
                };
                out.flaws.extend(missing.into_iter().map(|missing| unresolved(statement, name, &missing)));
                Some(value)
            }
            Value::Absent => None,
            Value::Broken(_) => continue,
        };
        if value.is_some() {
            out.lines.insert(name.to_owned(), statement.line);
        } else {
            out.lines.remove(name);
        }
        references.values.insert(name.to_owned(), value.map(Secret::new));
    }
    out.env = references.values.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    out.flaws.sort_by_key(|flaw| flaw.line);
    out
}

fn too_long(statement: &Statement, name: &str) -> Flaw {
    Flaw {
        fatal: false,
        code: "env_line",
        line: statement.line,
        name: Some(name.to_owned()),
        message: format!("what `{name}` refers to makes the file longer than 8 MiB; it was skipped"),
        fix: "Write the value out.",
    }
}

fn unresolved(statement: &Statement, name: &str, missing: &str) -> Flaw {
    Flaw {
        fatal: false,
        code: "env_reference",
        line: statement.line,
        name: Some(name.to_owned()),
        message: format!(
            "`{name}` refers to `{missing}`, which no line above sets; that part of it is empty"
        ),
        fix: "Set it above, or write the value out.",
    }
}

struct References<'a> {
    surroundings: &'a Env,
    /// Bytes that may still be written.
    left: usize,
    /// What the lines so far set; a name without `=` is there and has no value.
    values: BTreeMap<String, Option<Secret>>,
}

impl References<'_> {
    /// A value with its references replaced, and the names of those that nobody sets. `None`: too long.
    fn replace(&mut self, value: &str) -> Option<(String, Vec<String>)> {
        let (mut out, mut missing) = (String::with_capacity(value.len()), Vec::new());
        let mut rest = value;
        while let Some(at) = rest.find("${") {
            out.push_str(&rest[..at]);
            let from = &rest[at..];
            let Some((name, default, len)) = reference(from) else {
                out.push_str("${");
                rest = &from[2..];
                continue;
            };
            let found = match self.values.get(name) {
                Some(own) => Some(own.as_ref().map_or("", Secret::expose)),
                None => self.surroundings.raw(name),
            };
            match found.or(default) {
                Some(text) => out.push_str(text),
                None if is_shown(name) => missing.push(name.to_owned()),
                None => missing.push("…".to_owned()),
            }
            if out.len() > self.left {
                return None;
            }
            rest = &from[len..];
        }
        out.push_str(rest);
        self.left = self.left.checked_sub(out.len())?;
        Some((out, missing))
    }
}

/// `${NAME}` or `${NAME:-default}` at the start of a text: the name, the default, and its length.
fn reference(text: &str) -> Option<(&str, Option<&str>, usize)> {
    let inner = text.strip_prefix("${")?;
    let end = inner.find(['}', ':'])?;
    let (name, behind) = inner.split_at(end);
    if behind.starts_with('}') {
        return Some((name, None, 2 + end + 1));
    }
    let default = behind.strip_prefix(":-")?;
    let len = default.find('}')?;
    Some((name, Some(&default[..len]), 2 + end + 2 + len + 1))
}

/// Whether it is a name for certain, and no part of a password with `${` in it.
fn is_shown(name: &str) -> bool {
    is_name(name) && !name.contains(|c: char| c.is_ascii_lowercase())
}

/// A usual name of a variable.
pub(super) fn is_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(first) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests;
