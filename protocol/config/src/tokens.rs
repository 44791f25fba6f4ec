//! More of a platform's tokens, in a file of their own beside the profile's two, as the Python program writes it: a JSON object with an entry
//! for each place that the bot is in (a workspace), which holds its `token` there.
//!
//! The file is read as a whole or not at all: with a slip in it nobody knows which places it names. No text that is made here holds a token.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{self, Deserializer};

use super::found::Found;
use super::platform::{Declaration, Token};
use super::problem::Place;
use super::reader::Reader;
use super::secret::Secret;
use hermes_wire::latest::{Problem, Severity};

/// Code of the problem that such a file is not read.
const CODE: &str = "tokens_file";
/// Code of the problem that other users may read it.
const PERMISSIONS: &str = "tokens_permissions";
/// Most entries that are read.
const MOST: usize = 64;
/// Longest token, and longest name of a place, in bytes.
const LONGEST: usize = 4096;

/// Such files as they were found, by name.
pub type TokenFiles<B> = BTreeMap<&'static str, TokenFile<B>>;

/// One of them.
#[derive(Debug, Clone, Default)]
pub struct TokenFile<B> {
    /// What is in it.
    pub found: Found<B>,
    /// Its mode, where it is known.
    pub mode: Option<u32>,
}

impl<B: AsRef<[u8]>> TokenFile<B> {
    /// The same, by reference.
    pub(super) fn borrowed(&self) -> TokenFile<&[u8]> {
        TokenFile { found: self.found.borrowed(), mode: self.mode }
    }
}

#[derive(Deserialize)]
struct Entry {
    token: Checked,
}

/// A token that can stand in a header as it is. What is none is known with its line.
struct Checked(Secret);

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let text = text.trim();
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
        if text.is_empty() || text.len() > LONGEST || !is_plain {
            return Err(de::Error::custom("no token"));
        }
        Ok(Self(Secret::new(text)))
    }
}

/// Why a file is not read.
#[derive(Debug, PartialEq, Eq)]
struct Flaw {
    line: Option<u32>,
    column: Option<u32>,
    what: &'static str,
}

fn parse(bytes: &[u8]) -> Result<Vec<Token>, Flaw> {
    let all: BTreeMap<String, Entry> = serde_json::from_slice(bytes).map_err(|error| {
        // The library's own words may hold what stands there.
        let what = match error.classify() {
            serde_json::error::Category::Data => {
                "it is no object of entries of the form \"T0123ABCD\": {\"token\": \"xoxb-…\"}"
            }
            _ => "it is no JSON",
        };
        let number = |n: usize| u32::try_from(n).ok().filter(|n| *n > 0);
        Flaw { line: number(error.line()), column: number(error.column()), what }
    })?;
    let is_odd = |place: &String| place.len() > LONGEST || place.chars().any(char::is_control);
    if all.len() > MOST || all.keys().any(is_odd) {
        return Err(Flaw {
            line: None,
            column: None,
            what: "it has too many entries, or a name that is none",
        });
    }
    Ok(all.into_iter().map(|(place, Entry { token: Checked(token) })| Token { place, token }).collect())
}

/// The tokens that the file of a platform holds; what is wrong with it is said.
pub(super) fn read(reader: &mut Reader<'_>, platform: &Declaration, files: &TokenFiles<&[u8]>) -> Vec<Token> {
    let Some((name, file)) = platform.tokens.and_then(|tokens| Some((tokens.name, files.get(tokens.name)?)))
    else {
        return Vec::new();
    };
    let path = reader.home.path().join(name);
    if let Some(mode) = file.mode.filter(|mode| mode & 0o077 != 0) {
        let place = Place { file: path.to_string(), ..Place::default() };
        let message =
            format!("the file holds tokens and has mode {:04o}, so other users may read it", mode & 0o7777);
        reader.warn(PERMISSIONS, place, message, &format!("chmod 600 {path}"));
    }
    let mut refuse = |line, column, why: String| {
        reader.problems.push(Problem {
            severity: Severity::Platform,
            code: CODE.to_owned(),
            platform: Some(platform.name.to_owned()),
            file: path.to_string(),
            line,
            column,
            key: None,
            message: format!(
                "`{name}` is not read: {why}. Where only it has a token the bot does not answer"
            ),
            fix: Some("Correct it, or remove it.".to_owned()),
        });
        Vec::new()
    };
    match &file.found {
        Found::Absent => Vec::new(),
        Found::Unreadable { why, .. } => refuse(None, None, why.clone()),
        Found::Bytes(bytes) if bytes.len() > super::MAX_FILE_LEN => {
            refuse(None, None, format!("it is longer than {} bytes", super::MAX_FILE_LEN))
        }
        Found::Bytes(bytes) => match parse(bytes) {
            Ok(tokens) => tokens,
            Err(Flaw { line, column, what }) => {
                let at = line.map(|line| format!(", line {line}")).unwrap_or_default();
                refuse(line, column, format!("{what}{at}"))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_has_its_token_and_a_slip_has_its_line() {
        let good = "{\n \"T2\": {\"token\": \" xoxb-2 \", \"team_name\": \"Two\"},\n \"T1\": {\"token\": \"xoxb-1\"}}";
        let read: Vec<(String, String)> = parse(good.as_bytes())
            .unwrap()
            .into_iter()
            .map(|t| (t.place, t.token.expose().to_owned()))
            .collect();
        let pair = |place: &str, token: &str| (place.to_owned(), token.to_owned());
        assert_eq!(read, [pair("T1", "xoxb-1"), pair("T2", "xoxb-2")]);
        assert_eq!(parse(b"{}"), Ok(Vec::new()));
        for (text, line, what) in [
            ("", 1, "no JSON"),
            ("{\n\"T1\": {\"token\": \"xoxb-SECRET\"},\n}", 3, "no JSON"),
            ("{\n\"T1\":\n\"xoxb-SECRET\"}", 3, "no object of entries"),
            ("[\"xoxb-SECRET\"]", 1, "no object of entries"),
            ("{\"T1\": {\"name\": \"xoxb-SECRET\"}}", 1, "no object of entries"),
            ("{\n\"T1\": {\"token\": \"xoxb-SECRET two\"}}", 2, "no object of entries"),
            ("{\n\"T1\": {\"token\": \"\"}}", 2, "no object of entries"),
        ] {
            let flaw = parse(text.as_bytes()).unwrap_err();
            assert!(flaw.line == Some(line) && flaw.what.contains(what), "{text}: {flaw:?}");
            assert!(!format!("{flaw:?}").contains("SECRET"), "{flaw:?}");
        }
        let many: Vec<String> = (0..=MOST).map(|n| format!("\"T{n}\": {{\"token\": \"x\"}}")).collect();
        assert!(parse(format!("{{{}}}", many.join(",")).as_bytes()).is_err());
    }
}
