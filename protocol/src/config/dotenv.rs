//! `.env`: lines of `NAME=VALUE`, optionally after `export `; whole-line comments; one pair of outer quotes is stripped; an
//! unquoted value ends at white space followed by `#`. Within double quotes `\"` and `\\` stand for `"` and `\`, which is how
//! 0.19.0 writes them; no other escapes, no values over several lines, no references.
//!
//! A line that is something else is skipped with its number; its content never leaves this module.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::MAX_FILE_LEN;
use super::secret::{Env, Secret};

/// A file, read.
#[derive(Debug, Default)]
pub(super) struct Dotenv {
    pub(super) env: Env,
    /// Line of each variable.
    pub(super) lines: BTreeMap<String, u32>,
    pub(super) flaws: Vec<Flaw>,
}

/// Something odd in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flaw {
    /// Whether the file cannot be used.
    pub(super) fatal: bool,
    pub(super) line: u32,
    pub(super) message: &'static str,
}

/// Reads the file.
pub(super) fn parse(bytes: &[u8]) -> Dotenv {
    let mut out = Dotenv::default();
    if bytes.len() > MAX_FILE_LEN {
        out.flaws.push(Flaw { fatal: true, line: 1, message: "the file is larger than 4 MiB" });
        return out;
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut found = BTreeMap::new();
    for (line, number) in bytes.split(|b| *b == b'\n').zip(1u32..) {
        match variable(line) {
            Ok(None) => {}
            Ok(Some((name, value))) => {
                out.lines.insert(name.to_owned(), number);
                found.insert(name.to_owned(), Secret::new(value));
            }
            Err(message) => out.flaws.push(Flaw { fatal: false, line: number, message }),
        }
    }
    out.env = found.into_iter().collect();
    out
}

fn variable(line: &[u8]) -> Result<Option<(&str, Cow<'_, str>)>, &'static str> {
    let line = std::str::from_utf8(line).map_err(|_| "the line is not UTF-8 and was skipped")?;
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = match line.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
        _ => line,
    };
    let (name, value) = line.split_once('=').ok_or("the line is not NAME=VALUE and was skipped")?;
    let name = name.trim_end();
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    if !name.starts_with(first) || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err("the text before `=` is not a variable name; the line was skipped");
    }
    if value.contains('\0') {
        return Err("the value holds a zero byte; the line was skipped");
    }
    Ok(Some((name, value_of(value)?)))
}

fn value_of(value: &str) -> Result<Cow<'_, str>, &'static str> {
    let trimmed = value.trim();
    let Some(quote) = trimmed.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        let comment = value
            .char_indices()
            .zip(value.chars().skip(1))
            .find(|((_, a), b)| a.is_whitespace() && *b == '#');
        return Ok(comment.map_or(value, |((at, _), _)| &value[..at]).trim().into());
    };
    let inner = &trimmed[1..];
    if quote == '"' && inner.contains('\\') {
        return Ok(unescaped(inner)?.into());
    }
    if let Some((text, rest)) = inner.split_once(quote) {
        let comment = rest.starts_with(char::is_whitespace) && rest.trim_start().starts_with('#');
        if rest.is_empty() || comment {
            return Ok(text.into());
        }
    }
    inner.strip_suffix(quote).map(Cow::Borrowed).ok_or(UNCLOSED)
}

const UNCLOSED: &str = "the value's opening quote has no closing quote; the line was skipped";

/// Behind an opening double quote, up to the closing one.
fn unescaped(inner: &str) -> Result<String, &'static str> {
    let mut text = String::with_capacity(inner.len());
    let mut chars = inner.char_indices().peekable();
    // A quote in the middle is part of the value, as without escapes; the last one closes it.
    let mut closed = None;
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => match chars.peek() {
                Some((_, next @ ('"' | '\\'))) => {
                    text.push(*next);
                    chars.next();
                }
                _ => text.push(c),
            },
            '"' => {
                let rest = &inner[at + 1..];
                let comment = rest.starts_with(char::is_whitespace) && rest.trim_start().starts_with('#');
                if rest.is_empty() || comment {
                    closed = Some(());
                    break;
                }
                text.push(c);
            }
            c => text.push(c),
        }
    }
    closed.map(|()| text).ok_or(UNCLOSED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(text: &str) -> Dotenv {
        parse(text.as_bytes())
    }

    #[test]
    fn lines_are_read_as_people_write_them() {
        let file = get(concat!(
            "\u{feff}# comment\r\n\r\nA=1\r\nexport B = two words \n  C='single' # note\nD=\"x # y\"\nE=a#b\nF=v # note\n",
            "G=\nH= # nothing\nI=\"it's\"\nJ=a=b\nK='\"'\nA=2\nexport=x\nL=\"a\"b\"\n",
        ));
        assert_eq!(file.flaws, Vec::new());
        let all: Vec<_> = file.env.iter().collect();
        assert_eq!(
            all,
            [
                ("A", "2"),
                ("B", "two words"),
                ("C", "single"),
                ("D", "x # y"),
                ("E", "a#b"),
                ("F", "v"),
                ("G", ""),
                ("H", ""),
                ("I", "it's"),
                ("J", "a=b"),
                ("K", "\""),
                ("L", "a\"b"),
                ("export", "x"),
            ]
        );
        assert_eq!((file.lines["A"], file.lines["B"]), (14, 4));
    }

    #[test]
    fn odd_lines_are_named_by_number_and_never_quoted() {
        let file = parse(b"GOOD=1\nhunter2\n1X=hunter2\nQ=\"hunter2\nZ=\xff\nN=a\0b\n=hunter2\n");
        assert_eq!(file.flaws.iter().map(|f| f.line).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7]);
        assert!(!format!("{:?}", file.flaws).contains("hunter2"));
        assert_eq!(file.env.len(), 1);
    }
}
