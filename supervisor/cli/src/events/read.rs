//! The newest events of journals.
//!
//! Files are opened before any is read, so that a rotation in between hides none and shows none twice. Memory is bounded: a journal is
//! (see the gateway's `journal`), and of a file that is longer than one may be only the end is read.

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_wire::contract::events::Event;

use super::{Filter, time};

/// Rotated files that are looked for.
const BACKUPS: u32 = 9;
/// What is read of one file at most.
const MOST: u64 = 16 * 1024 * 1024;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Oldest first.
    pub(crate) events: Vec<Event>,
    /// Lines that are none.
    pub(crate) odd: usize,
    /// Files that could not be read, and why.
    pub(crate) unread: Vec<(Utf8PathBuf, io::Error)>,
    /// How far each journal was read, in the order of `journals`: what follows is new.
    pub(crate) ends: Vec<Option<End>>,
}

/// Where the reading of a file ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(super) file: std::fs::File,
    pub(super) at: u64,
}

/// The newest `most` events of these journals that the filter takes, or with `None` all of them.
pub(crate) fn newest(journals: &[Utf8PathBuf], filter: &Filter, most: Option<usize>) -> Found {
    let mut found = Found::default();
    for journal in journals {
        let mut files = open(journal, &mut found.unread);
        let mut own: Vec<Event> = Vec::new();
        let mut end = None;
        for (number, file) in files.drain(..).enumerate() {
            let path = if number == 0 { journal.clone() } else { format!("{journal}.{number}").into() };
            match read(file, number == 0) {
                Ok((lines, last)) => {
                    let (events, odd) = parse(&lines);
                    found.odd += odd;
                    let older = events.first().and_then(time);
                    own.splice(0..0, events.into_iter().filter(|event| filter.takes(event)));
                    end = end.or(last);
                    let is_enough = most.is_some_and(|most| own.len() >= most);
                    let is_before = filter.since.is_some_and(|since| older.is_some_and(|at| at < since));
                    if is_enough || is_before {
                        break;
                    }
                }
                Err(error) => found.unread.push((path, error)),
            }
        }
        found.events.append(&mut own);
        found.ends.push(end);
    }
    // Each journal is in order already, and what has no time stays where it is.
    if journals.len() > 1 {
        found.events.sort_by_key(time);
    }
    if let Some(most) = most {
        let more = found.events.len().saturating_sub(most);
        found.events.drain(..more);
    }
    found
}

/// The journal and its rotated files, newest first, each once.
fn open(journal: &Utf8Path, unread: &mut Vec<(Utf8PathBuf, io::Error)>) -> Vec<std::fs::File> {
    let mut known = Vec::new();
    let mut files = Vec::new();
    for number in 0..=BACKUPS {
        let path = if number == 0 { journal.to_owned() } else { format!("{journal}.{number}").into() };
        let opened = fs_err::File::open(&path).and_then(|file| {
            let metadata = file.metadata()?;
            Ok((file.into_parts().0, metadata))
        });
        match opened {
            Ok((file, metadata)) if metadata.is_file() => {
                let identity = (metadata.dev(), metadata.ino());
                if !known.contains(&identity) {
                    known.push(identity);
                    files.push(file);
                }
            }
            Ok(_) => unread.push((path, io::Error::other("it is no file"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => unread.push((path, error)),
        }
    }
    files
}

/// Whole lines of a file; and where they end.
fn read(mut file: std::fs::File, is_current: bool) -> io::Result<(Vec<u8>, Option<End>)> {
    let len = file.metadata()?.len();
    let from = len.saturating_sub(MOST);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    (&file).take(MOST).read_to_end(&mut bytes)?;
    let mut at = from + bytes.len() as u64;
    if from > 0 {
        let first = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
        bytes.drain(..first);
    }
    // The last line of the file that is written to may be on its way.
    if is_current {
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        at -= (bytes.len() - whole) as u64;
        bytes.truncate(whole);
    }
    Ok((bytes, is_current.then_some(End { file, at })))
}

/// The events among these lines, and how many are none.
pub(super) fn parse(lines: &[u8]) -> (Vec<Event>, usize) {
    let (mut events, mut odd) = (Vec::new(), 0);
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match Event::parse(line) {
            Some(event) => events.push(event),
            None => odd += 1,
        }
    }
    (events, odd)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn line(second: u32, profile: &str) -> String {
        format!(
            r#"{{"at":"2026-11-29T18:00:{second:02}.000Z","seq":{second},"what":"state","profile":"{profile}"}}"#
        )
    }

    /// N3.11: the newest are found across rotated files, of one profile or of all; what is no event is left out and counted.
    #[test]
    fn n3_11_the_newest_events_are_found_across_rotated_files() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Utf8Path::from_path(dir.path()).unwrap().join("events.jsonl");
        let lines = |seconds: std::ops::Range<u32>| {
            seconds.fold(String::new(), |mut text, second| {
                let _ = writeln!(text, "{}", line(second, if second % 2 == 0 { "coder" } else { "ops" }));
                text
            })
        };
        fs_err::write(format!("{journal}.2"), lines(0..10)).unwrap();
        fs_err::write(format!("{journal}.1"), lines(10..20) + "torn{\n").unwrap();
        fs_err::write(&journal, lines(20..30) + &line(30, "coder")[..20]).unwrap();
        let seqs = |filter: &Filter, most| -> Vec<u64> {
            newest(std::slice::from_ref(&journal), filter, most).events.iter().map(|e| e.seq).collect()
        };
        assert_eq!(seqs(&Filter::default(), Some(3)), [27, 28, 29]);
        assert_eq!(seqs(&Filter::default(), None).len(), 30);
        let coder = Filter { profile: Some("coder".to_owned()), ..Filter::default() };
        assert_eq!(seqs(&coder, Some(7)), [16, 18, 20, 22, 24, 26, 28]);
        let since = Filter { since: Some("2026-11-29T18:00:17Z".parse().unwrap()), ..Filter::default() };
        assert_eq!(seqs(&since, None), (17..30).collect::<Vec<_>>());
        let until = Filter { until: "2026-11-29T18:00:12Z".parse().ok(), ..Filter::default() };
        assert_eq!(seqs(&until, Some(3)), [10, 11, 12]);
        let found = newest(std::slice::from_ref(&journal), &Filter::default(), None);
        assert_eq!((found.odd, found.unread.len()), (1, 0));
        // Two journals in the order of time.
        let other = journal.with_file_name("other.jsonl");
        fs_err::write(&other, format!("{}\n", line(25, "alone"))).unwrap();
        let both = newest(&[journal, other], &Filter::default(), Some(6));
        assert_eq!(both.events.iter().map(|e| e.seq).collect::<Vec<_>>(), [25, 25, 26, 27, 28, 29]);
    }

    #[test]
    fn what_cannot_be_read_is_named_and_what_is_not_there_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Utf8Path::from_path(dir.path()).unwrap().join("events.jsonl");
        let look = || newest(std::slice::from_ref(&journal), &Filter::default(), None);
        assert!(look().unread.is_empty() && look().events.is_empty());
        fs_err::create_dir(&journal).unwrap();
        assert_eq!(look().unread[0].0, journal);
    }
}
