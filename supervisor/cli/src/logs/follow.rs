//! What is written from now on: looked for again and again, through rotation, truncation, and files that come later.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_wire::absence::OrAbsent as _;

use super::bounds::Wall;
use super::file::{Forwards, LogFile};
use super::filter::Filter;
use super::names::{Entry, Place};
use super::record::{Head, Record};
use super::twins::Twins;

/// Bytes that one look takes from one log; the rest is for the next one, at once.
const MAX_LOOK: u64 = 1024 * 1024;
/// Rotations between two looks that are followed.
const MAX_BETWEEN: u32 = 64;

/// Logs, and how far each was read.
#[derive(Debug)]
pub(crate) struct Following {
    filter: Filter,
    tails: Vec<Tail>,
    twins: Twins,
}

/// What one look found.
#[derive(Debug, Default)]
pub(crate) struct Look {
    records: Vec<Own>,
    /// There is more already.
    pub(crate) more: bool,
    /// What somebody who reads should know.
    pub(crate) notes: Vec<String>,
}

#[derive(Debug)]
struct Own {
    tail: usize,
    time: Wall,
    head: Option<Head>,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Tail {
    place: Place,
    file: Option<LogFile>,
    reader: Forwards,
    /// Newer files, the oldest first.
    newer: VecDeque<LogFile>,
    /// Another file has the name now. Who still writes to the old one is given one more look.
    leaving: bool,
    /// Whether the last record was shown: lines that come later and begin none belong to it.
    shown: Option<bool>,
    time: Wall,
    /// What was said about it.
    said: Option<String>,
}

impl Following {
    pub(super) fn new(filter: Filter) -> Self {
        Self { filter, tails: Vec::new(), twins: Twins::default() }
    }

    /// From where somebody has read.
    pub(super) fn go_on(&mut self, place: Place, file: Option<LogFile>, reader: Forwards) {
        self.tails.push(Tail {
            place,
            file,
            reader,
            newer: VecDeque::new(),
            leaving: false,
            shown: None,
            time: Wall::MIN,
            said: None,
        });
    }

    /// From its beginning, whenever that will be; one that is followed already is not followed twice.
    pub(crate) fn add(&mut self, place: Place) {
        if self.tails.iter().all(|tail| tail.place.path != place.path) {
            self.go_on(place, None, Forwards::new(0, 0));
        }
    }

    /// Where records come from.
    pub(crate) fn places(&self) -> impl Iterator<Item = &Place> {
        self.tails.iter().map(|tail| &tail.place)
    }

    /// What is new, by time.
    pub(crate) fn look(&mut self) -> Look {
        let mut look = Look::default();
        for (at, tail) in self.tails.iter_mut().enumerate() {
            match tail.look(at, &self.filter, &mut look) {
                Ok(()) => tail.said = None,
                Err(error) => {
                    let text = error.to_string();
                    if tail.said.as_ref() != Some(&text) {
                        look.notes.push(text.clone());
                        tail.said = Some(text);
                    }
                }
            }
        }
        look.records.sort_by_key(|record| record.time);
        let (twins, tails) = (&mut self.twins, &self.tails);
        look.records.retain(|own| !twins.has(&tails[own.tail].place, own.tail, own.time, &own.bytes));
        look
    }

    /// What a look found.
    pub(crate) fn entries<'a>(&'a self, look: &'a Look) -> impl Iterator<Item = Entry<'a>> {
        look.records.iter().map(|own| Entry {
            place: &self.tails[own.tail].place,
            record: Record { head: own.head, bytes: &own.bytes },
        })
    }
}

impl Tail {
    fn look(&mut self, at: usize, filter: &Filter, look: &mut Look) -> io::Result<()> {
        let path = self.place.path.clone();
        let named = fs_err::metadata(&path).or_absent()?.map(|m| (m.dev(), m.ino()));
        let from = self.reader.position();
        loop {
            let Some(file) = &self.file else {
                self.file = match self.newer.pop_front() {
                    Some(file) => Some(file),
                    None => LogFile::open(&path)?,
                };
                self.reader = Forwards::new(0, 0);
                if self.file.is_none() {
                    return Ok(());
                }
                continue;
            };
            let len = file.len_now()?;
            if len < self.reader.read_to() {
                look.notes.push(format!("{path} was emptied; its new lines follow"));
                self.reader = Forwards::new(0, 0);
            }
            self.reader.limit_to(len);
            let is_old = self.leaving || !self.newer.is_empty();
            while let Some(found) = self.reader.next(file, is_old)? {
                let record = self.reader.record(&found);
                if let Some(head) = &found.head {
                    self.time = head.time;
                }
                let shown = match (found.head, self.shown) {
                    (None, Some(shown)) => shown,
                    _ => self.place.passes(&record, filter),
                };
                self.shown = Some(shown);
                if shown {
                    let (time, bytes) = (self.time, record.bytes.to_vec());
                    look.records.push(Own { tail: at, time, head: found.head, bytes });
                }
                if self.reader.position().abs_diff(from) > MAX_LOOK {
                    look.more = true;
                    return Ok(());
                }
            }
            if !self.newer.is_empty() {
                self.file = None;
                continue;
            }
            if named.is_none() || named == Some(file.identity) {
                self.leaving = false;
                return Ok(());
            }
            if !self.leaving {
                self.leaving = true;
                return Ok(());
            }
            self.leaving = false;
            let (between, is_whole) = between(&path, file.identity)?;
            if !is_whole {
                look.notes.push(format!("{path} was replaced; lines in between may be missing"));
            }
            self.newer.extend(between);
            self.newer.extend(LogFile::open(&path)?);
            self.file = None;
        }
    }
}

/// The files that had the name after the one with that identity, the oldest first, without the one that has it now; and whether
/// that is known.
fn between(path: &Utf8Path, identity: (u64, u64)) -> io::Result<(Vec<LogFile>, bool)> {
    let mut newer = Vec::new();
    for number in 1..=MAX_BETWEEN {
        match LogFile::open(&Utf8PathBuf::from(format!("{path}.{number}")))? {
            Some(file) if file.identity == identity => {
                newer.reverse();
                return Ok((newer, true));
            }
            Some(file) => newer.push(file),
            None => break,
        }
    }
    // Removed, or renamed by somebody with names of his own: nothing is known of what was in between.
    Ok((Vec::new(), newer.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::super::merge::{Span, read};
    use super::super::names::Log;
    use super::*;

    struct Followed {
        _dir: tempfile::TempDir,
        path: Utf8PathBuf,
        following: Following,
    }

    fn line(n: usize) -> String {
        format!("2026-11-21 00:30:{:02},{:03} INFO x: n{n}\n", n / 1000, n % 1000)
    }

    impl Followed {
        fn new(text: Option<&str>) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = Utf8Path::from_path(dir.path()).unwrap().join("x.log");
            if let Some(text) = text {
                fs_err::write(&path, text).unwrap();
            }
            let place = Place {
                label: "a".to_owned(),
                log: Log::Profile,
                path: path.clone(),
                has_twins: false,
                about: None,
            };
            let mut merged = read(vec![place], Filter::default(), Span { last: Some(0), follow: true });
            assert!(merged.next().is_none());
            Self { _dir: dir, path, following: merged.follow() }
        }

        fn append(&self, text: &str) {
            use std::io::Write as _;
            let mut options = fs_err::OpenOptions::new();
            options.append(true).create(true).open(&self.path).unwrap().write_all(text.as_bytes()).unwrap();
        }

        fn rotate(&self) {
            for number in (1..9).rev() {
                let _ = fs_err::rename(
                    format!("{}.{number}", self.path),
                    format!("{}.{}", self.path, number + 1),
                );
            }
            fs_err::rename(&self.path, format!("{}.1", self.path)).unwrap();
        }

        /// Two looks: one to see that the file is another one, one to go on with that.
        fn seen(&mut self) -> (String, Vec<String>) {
            let (mut text, mut notes) = (String::new(), Vec::new());
            for _ in 0..3 {
                let look = self.following.look();
                for entry in self.following.entries(&look) {
                    text += &String::from_utf8_lossy(entry.record.bytes);
                    text += "\n";
                }
                notes.extend(look.notes);
            }
            (text, notes)
        }
    }

    #[test]
    fn lines_are_seen_once_through_rotation_and_whole() {
        let mut log = Followed::new(Some(&line(0)));
        assert_eq!(log.seen().0, "");
        let (start, end) = (line(1)[..20].to_owned(), line(1)[20..].to_owned());
        log.append(&start);
        assert_eq!(log.seen().0, "", "not complete");
        log.append(&end);
        assert_eq!(log.seen().0, line(1));
        log.append(&line(2));
        log.rotate();
        log.append(&line(3));
        log.rotate();
        log.append(&line(4));
        log.rotate();
        log.append(&line(5));
        let (text, notes) = log.seen();
        assert_eq!((text, notes), ([2, 3, 4, 5].map(line).concat(), Vec::<String>::new()));
        log.append(&(line(6) + "  behind it\n"));
        assert_eq!(log.seen().0, line(6) + "  behind it\n");
    }

    #[test]
    fn one_that_is_emptied_replaced_or_not_there_yet() {
        let mut log = Followed::new(None);
        assert_eq!(log.seen(), (String::new(), Vec::new()));
        log.append(&line(1));
        assert_eq!(log.seen().0, line(1));
        fs_err::write(&log.path, "").unwrap();
        log.seen();
        log.append(&line(2));
        assert_eq!(log.seen().0, line(2));
        fs_err::remove_file(&log.path).unwrap();
        assert_eq!(log.seen().0, "");
        log.append(&line(3));
        assert_eq!(log.seen().0, line(3));
        // Somebody rotates by names of his own.
        fs_err::rename(&log.path, format!("{}-2026", log.path)).unwrap();
        log.append(&line(4));
        assert_eq!(log.seen(), (line(4), Vec::new()));
    }
}
