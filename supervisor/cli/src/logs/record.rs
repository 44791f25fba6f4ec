//! One line of a log, taken apart. Pure.
//!
//! `2026-11-21 00:30:57,386 INFO [session] gateway.run: message`: local time, level, perhaps a session, who says it. Nothing else
//! begins a record: a line that only begins like one belongs to the record before it.

use jiff::civil::DateTime;

/// Length of the time.
const TIME: usize = 23;

/// How bad. `CRITICAL` is the Python program's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Every step.
    Trace,
    /// For who looks for a fault.
    Debug,
    /// What happens.
    Info,
    /// What somebody should know.
    Warning,
    /// What did not work.
    Error,
    /// What ends the program.
    Critical,
}

/// Names, in order; what stands in a log first.
const LEVELS: [(&str, Level); 8] = [
    ("TRACE", Level::Trace),
    ("DEBUG", Level::Debug),
    ("INFO", Level::Info),
    ("WARNING", Level::Warning),
    ("WARN", Level::Warning),
    ("ERROR", Level::Error),
    ("CRITICAL", Level::Critical),
    ("FATAL", Level::Critical),
];

impl Level {
    /// As somebody types it, in letters of any size.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        LEVELS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word.trim())).map(|(_, level)| *level)
    }

    /// As it stands in a log.
    pub(crate) fn name(self) -> &'static str {
        LEVELS.iter().find(|(_, level)| *level == self).map_or("INFO", |(name, _)| name)
    }
}

/// What the first line of a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// As the clock on the wall showed it.
    pub(crate) time: DateTime,
    /// How bad.
    pub(crate) level: Level,
    /// Where the rest of the line begins, behind the level and a blank.
    rest: usize,
}

/// A record: its first line, and the lines behind it that begin none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    /// Of the first line; `None` for a line that belongs to no record.
    pub(crate) head: Option<Head>,
    /// All lines, without the last line end.
    pub(crate) bytes: &'a [u8],
}

impl<'a> Record<'a> {
    /// The first line, without its end.
    pub(crate) fn first_line(&self) -> &'a [u8] {
        &self.bytes[..memchr::memchr(b'\n', self.bytes).unwrap_or(self.bytes.len())]
    }
}

/// The parts of the rest of a record's first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    /// What stands in brackets before who says it.
    pub(crate) session: Option<&'a [u8]>,
    /// Who says it.
    pub(crate) component: Option<&'a [u8]>,
    /// Where the message begins, in the line.
    pub(crate) message: usize,
}

/// What a line says if it begins a record.
pub(crate) fn head(line: &[u8]) -> Option<Head> {
    // Most lines are decided by one byte.
    if line.first().is_none_or(|b| !b.is_ascii_digit()) || line.len() <= TIME || line[TIME] != b' ' {
        return None;
    }
    let (level, len) = LEVELS.iter().find_map(|(name, level)| {
        let behind = line[TIME + 1..].strip_prefix(name.as_bytes())?;
        behind.first().is_none_or(|b| *b == b' ').then_some((*level, name.len()))
    })?;
    let rest = (TIME + 1 + len + 1).min(line.len());
    Some(Head { time: time(&line[..TIME])?, level, rest })
}

/// `2026-11-21 00:30:57,386`
fn time(text: &[u8]) -> Option<DateTime> {
    let marks = [(4, b'-'), (7, b'-'), (10, b' '), (13, b':'), (16, b':'), (19, b',')];
    if marks.iter().any(|(at, mark)| text[*at] != *mark) {
        return None;
    }
    let number = |from: usize, to: usize| {
        text[from..to]
            .iter()
            .try_fold(0_i32, |sum, b| b.is_ascii_digit().then(|| sum * 10 + i32::from(b - b'0')))
    };
    let small = |from, to| number(from, to).and_then(|n| i8::try_from(n).ok());
    DateTime::new(
        i16::try_from(number(0, 4)?).ok()?,
        small(5, 7)?,
        small(8, 10)?,
        small(11, 13)?,
        small(14, 16)?,
        // A leap second is the end of the one before.
        small(17, 19)?.min(59),
        number(20, 23)? * 1_000_000,
    )
    .ok()
}

impl Head {
    /// Takes the rest of the line apart; `line` is the one that this head is of.
    pub(crate) fn parts<'a>(&self, line: &'a [u8]) -> Parts<'a> {
        let mut at = self.rest;
        let mut session = None;
        if let Some(inner) = line[at..].strip_prefix(b"[")
            && let Some(len) = memchr::memchr(b']', inner)
            && inner[len + 1..].first() == Some(&b' ')
        {
            session = Some(&inner[..len]);
            at += len + 3;
        }
        let rest = &line[at..];
        match memchr::memmem::find(rest, b": ").or_else(|| rest.ends_with(b":").then(|| rest.len() - 1)) {
            // A name has no blanks.
            Some(len) if len > 0 && memchr::memchr2(b' ', b'\t', &rest[..len]).is_none() => {
                Parts { session, component: Some(&rest[..len]), message: (at + len + 2).min(line.len()) }
            }
            _ => Parts { session, component: None, message: at },
        }
    }
}

/// The `key=value` pairs at the end of a line of ours, in their order, values without their quotation marks.
pub(crate) fn fields(line: &str) -> Vec<(&str, String)> {
    let (mut rest, mut found) = (line.trim_end(), Vec::new());
    while let Some((start, key, value)) = last_pair(rest) {
        found.push((key, value));
        rest = rest[..start].trim_end_matches(' ');
    }
    found.reverse();
    found
}

/// Where the pair at the end begins.
fn last_pair(text: &str) -> Option<(usize, &str, String)> {
    let (equals, value) = if let Some(inner) = text.strip_suffix('"') {
        // Quotation marks inside are escaped, so what comes before the value is the next `="` to the left.
        let at = inner.rfind("=\"")?;
        let value = &inner[at + 2..];
        let mut escaped = false;
        for c in value.chars() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => return None,
                _ => {}
            }
        }
        (at, (!escaped).then(|| unescaped(value))?)
    } else {
        let word = text.rfind(' ').map_or(0, |at| at + 1);
        let at = word + text[word..].find('=')?;
        (at, text[at + 1..].to_owned())
    };
    let start = text[..equals].rfind(' ').map_or(0, |at| at + 1);
    let key = &text[start..equals];
    let is_name = key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.".contains(&b));
    // A pair stands behind a blank, or there is nothing before it.
    (is_name && (start == 0 || text.as_bytes()[start - 1] == b' ')).then_some((start, key, value))
}

fn unescaped(value: &str) -> String {
    let (mut out, mut chars) = (String::with_capacity(value.len()), value.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some(other @ ('"' | '\\' | '\'')) => out.push(other),
                Some(other) => out.extend(['\\', other]),
                None => out.push('\\'),
            },
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(line: &str) -> (String, Option<String>, Option<String>, String) {
        let head = head(line.as_bytes()).unwrap();
        let parts = head.parts(line.as_bytes());
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (
            head.level.name().to_owned(),
            parts.session.map(text),
            parts.component.map(text),
            line[parts.message..].to_owned(),
        )
    }

    #[test]
    fn lines_of_both_programs_are_taken_apart() {
        let (level, session, component, message) =
            parts("2026-11-21 00:30:57,386 INFO gateway.run: message: with more");
        assert_eq!((level.as_str(), session, component.as_deref()), ("INFO", None, Some("gateway.run")));
        assert_eq!(message, "message: with more");
        let (level, session, component, message) =
            parts("2026-11-21 00:30:57,386 WARNING [20261121_003057_ab] tools.terminal: slow");
        assert_eq!(
            (level.as_str(), session.as_deref(), component.as_deref(), message.as_str()),
            ("WARNING", Some("20261121_003057_ab"), Some("tools.terminal"), "slow")
        );
        let (_, session, component, message) =
            parts("2026-11-21 00:30:57,386 ERROR supervise.actor: [coder] x");
        assert_eq!((session, component.as_deref()), (None, Some("supervise.actor")));
        assert_eq!(message, "[coder] x");
        assert_eq!(parts("2026-11-21 00:30:57,386 ERROR").3, "");
        assert_eq!(parts("2026-11-21 00:30:57,386 ERROR no name here: x").2, None);
        let time = head(b"2026-11-21 00:30:57,386 INFO x: y").unwrap().time;
        assert_eq!(time.to_string(), "2026-11-21T00:30:57.386");
    }

    #[test]
    fn what_only_looks_like_a_record_is_none() {
        for line in [
            "",
            "Traceback (most recent call last):",
            "  File \"x.py\", line 3",
            "2026-11-21 00:30:57,386",
            "2026-11-21 00:30:57,386 ",
            "2026-11-21 00:30:57,386 INFORMATION x: y",
            "2026-11-21 00:30:57,386 said somebody",
            "2026-13-21 00:30:57,386 INFO x: y",
            "2026-11-21T00:30:57,386 INFO x: y",
            "2026-11-21 00:30:5x,386 INFO x: y",
        ] {
            assert_eq!(head(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn fields_are_those_at_the_end() {
        let found = |line| fields(line).into_iter().map(|(k, v)| format!("{k}:{v}")).collect::<Vec<_>>();
        assert_eq!(
            found("listening address=127.0.0.1:80 error=\"no \\\"such\\\" file\" profile=coder generation=3"),
            ["address:127.0.0.1:80", "error:no \"such\" file", "profile:coder", "generation:3"]
        );
        assert_eq!(found("x = 3"), Vec::<String>::new());
        assert_eq!(found("says \"a=b\""), Vec::<String>::new());
        assert_eq!(found("empty=\"\""), ["empty:"]);
        assert_eq!(found("Größe=3 a="), ["a:"]);
    }

    #[test]
    fn levels_are_ordered_and_read_in_any_case() {
        assert!(Level::Debug < Level::Info && Level::Error < Level::Critical);
        assert_eq!(Level::from_word("warn"), Some(Level::Warning));
        assert_eq!(Level::from_word("foo"), None);
    }

    proptest! {
        /// Whatever stands in a file, its parts are parts of it.
        #[test]
        fn any_line_is_read(start in "(2026-11-2[0-9] 00:30:57,386 )?(INFO |ERROR)?(\\[[a-z]*\\]? )?", bytes: Vec<u8>) {
            let line = [start.as_bytes(), &bytes].concat();
            if let Some(head) = head(&line) {
                let parts = head.parts(&line);
                prop_assert!(parts.message <= line.len());
                prop_assert!(parts.component.is_none_or(|name| !name.is_empty() && !name.contains(&b' ')));
            }
            let text = String::from_utf8_lossy(&line);
            prop_assert!(fields(&text).iter().all(|(key, _)| !key.is_empty() && text.contains(key)));
        }
    }
}
