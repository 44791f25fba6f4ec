//! One text in a file becomes another. Pure.
//!
//! It is looked for as it is; if it is nowhere, with any white space for white space; and if it is still nowhere, with what typography has
//! for quotes, dashes and dots. The first of these that finds anything decides.

use std::fmt::Write as _;
use std::ops::Range;

use regex::{Regex, RegexBuilder};

/// Lines that are named where a text was not found.
const NEAR: usize = 3;
/// Largest automaton for looking loosely, in bytes.
const MAX_PATTERN: usize = 16 << 20;

/// `text` with `old` replaced by `new`: where it is once, or everywhere with `all`. The error is for the model.
pub(in crate::tools) fn replace(text: &str, old: &str, new: &str, all: bool) -> Result<String, String> {
    if old.is_empty() {
        return Err("`old_string` is empty".to_owned());
    }
    if old == new {
        return Err("`old_string` and `new_string` are the same".to_owned());
    }
    let exact: Vec<Range<usize>> = text.match_indices(old).map(|(at, _)| at..at + old.len()).collect();
    if !exact.is_empty() {
        return put(text, &once(exact, all)?, |_| new.to_owned());
    }
    for typography in [false, true] {
        let Some(pattern) = loosely(old, typography) else { continue };
        let found: Vec<Range<usize>> = pattern.find_iter(text).map(|found| found.range()).collect();
        if !found.is_empty() {
            let found = once(found, all)?;
            return put(text, &found, |range| indented(&text[..range.start], &text[range.clone()], old, new));
        }
    }
    Err(format!("found 0 matches for `old_string`.{}", near(text, old)))
}

fn once(found: Vec<Range<usize>>, all: bool) -> Result<Vec<Range<usize>>, String> {
    match found.len() {
        1 => Ok(found),
        _ if all => Ok(found),
        many => Err(format!(
            "found {many} matches for `old_string`: give more of what stands around it, or set `replace_all`"
        )),
    }
}

fn put(text: &str, found: &[Range<usize>], new: impl Fn(&Range<usize>) -> String) -> Result<String, String> {
    let mut result = String::with_capacity(text.len());
    let mut end = 0;
    for range in found {
        result.push_str(&text[end..range.start]);
        result.push_str(&new(range));
        end = range.end;
    }
    result.push_str(&text[end..]);
    if result == text { Err("that changes nothing".to_owned()) } else { Ok(result) }
}

/// A pattern of a text in which white space may differ: how much of it there is within a line, at its ends, and in empty lines.
fn loosely(old: &str, typography: bool) -> Option<Regex> {
    let lines: Vec<&str> = old.trim_matches('\n').lines().map(str::trim).collect();
    if lines.iter().all(|line| line.is_empty()) {
        return None;
    }
    let line = |line: &&str| {
        let words = line.split_whitespace().map(|word| literal(word, typography));
        words.collect::<Vec<_>>().join(r"[ \t\u{a0}]+")
    };
    let lines: Vec<String> = lines.iter().map(line).collect();
    // A text of several lines, or one that begins with white space, is taken from the beginning of its line: the indentation is part of it.
    let start = if lines.len() > 1 || old.starts_with([' ', '\t']) { r"(?m:^)[ \t]*" } else { "" };
    let pattern = format!("{start}{}", lines.join(r"[ \t]*\r?\n[ \t]*"));
    RegexBuilder::new(&pattern).size_limit(MAX_PATTERN).build().ok()
}

fn literal(word: &str, typography: bool) -> String {
    if !typography {
        return regex::escape(word);
    }
    let mut pattern = String::new();
    let plain = word.replace("...", "…").replace("--", "—");
    for c in plain.chars() {
        pattern.push_str(match c {
            '\'' | '‘' | '’' => "['‘’]",
            '"' | '“' | '”' => r#"["“”]"#,
            '-' | '–' | '‐' => "[-–‐]",
            '—' => "(?:—|--|–)",
            '…' => r"(?:…|\.\.\.)",
            other => {
                pattern.push_str(&regex::escape(other.encode_utf8(&mut [0; 4])));
                continue;
            }
        });
    }
    pattern
}

/// `new` as it must stand where `found` stands: with the file's indentation in place of that of `old`.
fn indented(before: &str, found: &str, old: &str, new: &str) -> String {
    let indentation = |text: &str| -> String {
        let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        line.chars().take_while(|c| matches!(c, ' ' | '\t')).collect()
    };
    // A text in the middle of a line has none.
    if !before.is_empty() && !before.ends_with('\n') {
        return new.to_owned();
    }
    let (is, was) = (indentation(found), indentation(old));
    let mut result = String::new();
    for (at, line) in new.trim_matches('\n').split('\n').enumerate() {
        if at > 0 {
            result.push('\n');
        }
        match line.strip_prefix(was.as_str()) {
            Some(rest) if !line.trim().is_empty() => {
                result.push_str(&is);
                result.push_str(rest);
            }
            _ => result.push_str(line),
        }
    }
    result
}

/// Lines of the file that are like the first one that was looked for.
fn near(text: &str, old: &str) -> String {
    let first = old.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let words: Vec<&str> =
        first.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 2).collect();
    let likeness = |line: &str| words.iter().filter(|word| line.contains(**word)).count();
    let mut lines: Vec<(usize, usize, &str)> =
        text.lines().enumerate().map(|(at, line)| (likeness(line), at, line)).collect();
    lines.retain(|(likeness, ..)| likeness * 2 > words.len());
    lines.sort_by_key(|(likeness, at, _)| (usize::MAX - likeness, *at));
    if lines.is_empty() {
        return " Read the file again: what is in it is not what you remember".to_owned();
    }
    let mut hint = " Lines that are like its first one:".to_owned();
    for (_, at, line) in lines.into_iter().take(NEAR) {
        let shown: String = line.chars().take(200).collect();
        // Writing to a string cannot fail.
        let _ = write!(hint, "\n{}|{shown}", at + 1);
    }
    hint
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_once_is_replaced_whatever_its_white_space() {
        for (text, old, new, expected) in [
            ("a\nb\nc\n", "b", "x", "a\nx\nc\n"),
            ("a\nb\nc\n", "b\n", "", "a\nc\n"),
            // Indentation of the file wins.
            (
                "fn f() {\n    let a = 1;\n    b();\n}\n",
                "let a  =  1;\n  b();",
                "let a = 2;\nb();",
                "fn f() {\n    let a = 2;\n    b();\n}\n",
            ),
            (
                "if x:\n\ty = 1\n\tz = 2\n",
                "  y = 1\n  z = 2",
                "  y = 3\n    w = 4",
                "if x:\n\ty = 3\n\t  w = 4\n",
            ),
            ("one  two three", "one two", "1 2", "1 2 three"),
            ("say “hi” — now…", "say \"hi\" -- now...", "done", "done"),
            ("a \nb\n", "a\nb", "c", "c\n"),
            ("a.b\naxb\n", "a.b", "q", "q\naxb\n"),
        ] {
            assert_eq!(replace(text, old, new, false).as_deref(), Ok(expected), "{text:?} {old:?}");
        }
        assert_eq!(replace("a a a", "a", "b", true).as_deref(), Ok("b b b"));
    }

    #[test]
    fn what_does_not_fit_says_how_many_there_are() {
        for (text, old, said) in [
            ("a a a", "a", "found 3 matches"),
            ("  x = 1\n x  = 1\n", "x   = 1", "found 2 matches"),
            (
                "let total = sum(list);\n",
                "let total = sum(lists)",
                "found 0 matches for `old_string`. Lines that are like its first one:\n1|let total",
            ),
            ("a", "zebra", "found 0 matches for `old_string`. Read the file again"),
            ("a", "", "`old_string` is empty"),
        ] {
            let error = replace(text, old, "new", false).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
