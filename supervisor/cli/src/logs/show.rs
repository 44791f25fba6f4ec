//! How a record looks: as it stands in the file, for people; as an object, for programs. What comes from outside is shown, never
//! obeyed. Pure.

use std::fmt::Write as _;

use hermes_wire::text::push_visible;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::names::{Entry, Log};
use super::record::{Level, fields};
use crate::columns::pad;

/// Colours of profiles: what is easy to tell apart on dark and on light.
const COLORS: [u8; 8] = [36, 32, 35, 34, 33, 96, 92, 95];

/// How to show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    /// With colours.
    pub(crate) color: bool,
    /// Columns of the label before each line; none where all are from one profile.
    pub(crate) label: Option<usize>,
}

/// Appends the record's lines.
pub(crate) fn human(out: &mut String, entry: &Entry<'_>, look: Look) {
    for (n, line) in entry.record.bytes.split(|b| *b == b'\n').enumerate() {
        if let Some(width) = look.label {
            let label = pad(&entry.place.label, width, false);
            if look.color {
                let _ = write!(out, "\x1b[{}m{label} |\x1b[0m ", color_of(&entry.place.label));
            } else {
                let _ = write!(out, "{label} | ");
            }
        }
        let level = entry.record.head.map(|head| head.level).filter(|_| look.color);
        let tint = match level {
            Some(level) if level >= Level::Error => "\x1b[31m",
            Some(Level::Warning) => "\x1b[33m",
            Some(level) if level <= Level::Debug => "\x1b[2m",
            _ => "",
        };
        // Time and level alone where the rest is to be read.
        let tinted = if n == 0 { line.len().min(STAMP) } else { 0 };
        if tint.is_empty() {
            push_shown(out, line);
        } else if n == 0 {
            let end = memchr::memchr(b' ', &line[tinted..]).map_or(line.len(), |at| tinted + at);
            out.push_str(tint);
            push_shown(out, &line[..end]);
            out.push_str("\x1b[0m");
            push_shown(out, &line[end..]);
        } else {
            push_shown(out, line);
        }
        out.push('\n');
    }
}

/// Where the level begins.
const STAMP: usize = "2026-11-21 00:30:57,386 ".len();

/// Every profile keeps its colour, whoever else is shown.
fn color_of(label: &str) -> u8 {
    let sum = label.bytes().fold(0_usize, |sum, b| sum.wrapping_mul(31).wrapping_add(usize::from(b)));
    COLORS[sum % COLORS.len()]
}

/// Bytes on one line: what is no text as `\xff`, what a terminal would obey as `\u{1b}`; tabs stay.
fn push_shown(out: &mut String, bytes: &[u8]) {
    if bytes.iter().all(|b| matches!(b, b' '..=b'~' | b'\t')) {
        out.push_str(&String::from_utf8_lossy(bytes));
        return;
    }
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\t' => out.push('\t'),
                c => push_visible(out, c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
}

/// The record as an object: all of what it says behind its component is `message`, and what its end says as `key=value` is in
/// `fields` once more.
pub(crate) fn json(entry: &Entry<'_>, zone: &TimeZone) -> Value {
    let record = &entry.record;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let line = record.first_line();
    let parts = record.head.map(|head| head.parts(line));
    let message = text(&record.bytes[parts.map_or(0, |parts| parts.message)..]);
    let first = parts.map(|parts| text(&line[parts.message..])).unwrap_or_default();
    // Only this program writes like that, and says so at the end, or in a log that is its own.
    let pairs = fields(&first);
    let is_ours = entry.place.log == Log::Supervisor || pairs.iter().any(|(key, _)| *key == "profile");
    let fields: Map<String, Value> = pairs
        .into_iter()
        .filter(|_| is_ours)
        .map(|(key, value)| (key.to_owned(), Value::String(value)))
        .collect();
    let session = parts.and_then(|parts| parts.session).map(text);
    let session = session.or_else(|| fields.get("session").and_then(Value::as_str).map(str::to_owned));
    let profile = match entry.place.log {
        Log::Profile => Some(entry.place.label.clone()),
        Log::Supervisor => {
            first.strip_prefix('[').and_then(|rest| rest.split_once("] ")).map(|(name, _)| name.to_owned())
        }
    };
    let time = record.head.and_then(|head| head.time.to_zoned(zone.clone()).ok());
    json!({
        "time": time.map(|time| time.strftime("%Y-%m-%dT%H:%M:%S.%3f%:z").to_string()),
        "level": record.head.map(|head| head.level.name()),
        "component": parts.and_then(|parts| parts.component).map(text),
        "profile": profile,
        "session": session,
        "message": message,
        "fields": fields,
        "file": entry.place.path,
    })
}

#[cfg(test)]
mod tests {
    use super::super::names::Place;
    use super::super::record::{Record, head};
    use super::*;

    fn place(log: Log) -> Place {
        Place { label: "coder".to_owned(), log, path: "/h/x.log".into(), has_twins: false, about: None }
    }

    fn entry<'a>(place: &'a Place, bytes: &'a [u8]) -> Entry<'a> {
        let first = bytes.split(|b| *b == b'\n').next().unwrap();
        Entry { place, record: Record { head: head(first), bytes } }
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        let (place, mut out) = (place(Log::Profile), String::new());
        let bytes = b"2026-11-21 00:30:57,386 ERROR x: \x1b]0;title\x07 \xff\tT\xc3\xa4g\n\x1b[2Jsecond";
        human(&mut out, &entry(&place, bytes), Look { color: false, label: Some(7) });
        assert_eq!(
            out,
            "coder   | 2026-11-21 00:30:57,386 ERROR x: \\u{1b}]0;title\\u{7} \\xff\tTäg\n\
             coder   | \\u{1b}[2Jsecond\n"
        );
        let mut out = String::new();
        human(&mut out, &entry(&place, bytes), Look { color: true, label: None });
        assert!(out.starts_with("\x1b[31m2026-11-21 00:30:57,386 ERROR\x1b[0m x: \\u{1b}]0"), "{out:?}");
    }

    #[test]
    fn objects_say_what_lines_say() {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let worker = b"2026-11-21 00:30:57,386 WARNING gateway.turn: late error=\"no \\\"x\\\"\" session=s1 profile=coder generation=3\nmore";
        let value = json(&entry(&place(Log::Profile), worker), &zone);
        assert_eq!(value["time"], "2026-11-21T00:30:57.386+01:00");
        assert_eq!(
            (&value["level"], &value["component"], &value["session"], &value["profile"]),
            (&json!("WARNING"), &json!("gateway.turn"), &json!("s1"), &json!("coder"))
        );
        assert_eq!(
            value["fields"],
            json!({"error": "no \"x\"", "session": "s1", "profile": "coder", "generation": "3"})
        );
        assert!(value["message"].as_str().unwrap().ends_with("generation=3\nmore"));
        let supervisor = b"2026-11-21 00:30:57,386 INFO supervise: [ops] [generation=3] ready pid=54";
        let value = json(&entry(&place(Log::Supervisor), supervisor), &zone);
        assert_eq!((&value["profile"], &value["fields"]["pid"]), (&json!("ops"), &json!("54")));
        let python = b"2026-11-21 00:30:57,386 INFO [s2] run_agent: took a=3";
        let value = json(&entry(&place(Log::Profile), python), &zone);
        assert_eq!((&value["session"], &value["fields"]), (&json!("s2"), &json!({})));
        let lone = json(&entry(&place(Log::Profile), b"\xff of no record"), &zone);
        assert_eq!((&lone["time"], &lone["message"]), (&Value::Null, &json!("\u{fffd} of no record")));
    }
}
