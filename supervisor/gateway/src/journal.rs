//! What has happened: the one writer of `logs/events.jsonl` in the gateway's own home ([`hermes_wire::contract::events`]).
//!
//! Whoever notes an event never waits: it goes into the bounded queue of an outlet of its own ([`crate::logging::outlet`]), whose
//! thread alone meets the disk. What does not fit, or cannot be written, is counted, and the count stands in the journal where the
//! events are missing. The file is rotated, so it is bounded too. A line that an earlier end left torn is closed before the next one is
//! written. There is no `fsync`: the journal is for people, and nothing is decided by it.

use std::collections::VecDeque;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::clock;
use hermes_host::rotation::{Rotating, Stuck};
use hermes_wire::contract::events::{Event, MAX_CAUSE, what};
use hermes_wire::text;

use crate::logging::outlet::{Line, Outlet, Sink};

/// Size at which the file is rotated.
const MAX_SIZE: u64 = 2 * 1024 * 1024;
/// Rotated files kept: `.1` is the newest.
const BACKUPS: u32 = 3;
/// Events that are kept at hand for whoever looks on.
const RECENT: usize = 40;
/// Longest wait for the last lines.
const FLUSH: Duration = Duration::from_millis(500);

/// Where events are noted. Cloning shares it; one that was made by [`Default`] keeps nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Journal(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    outlet: Outlet,
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    count: u64,
    recent: VecDeque<Event>,
}

impl Journal {
    /// Begins to write there. Without a thread for it nothing is kept, and the log says so.
    pub(crate) fn open(path: Utf8PathBuf) -> Self {
        let sink =
            File { open: Rotating::new(path.clone(), MAX_SIZE, BACKUPS, Stuck::IsEmptied), path, torn: true };
        match Outlet::start("journal", sink) {
            Ok(outlet) => Self(Some(Arc::new(Inner { outlet, noted: Mutex::default() }))),
            Err(error) => {
                tracing::warn!(%error, "what happens is not written down");
                Self(None)
            }
        }
    }

    /// Writes down that this happened now.
    pub(crate) fn note(&self, event: Event) {
        let Some(inner) = &self.0 else { return };
        let mut noted = inner.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.count += 1;
        let event = bounded(Event { at: now(), seq: noted.count, ..event });
        // Under the lock, so that they are written in their order.
        inner.outlet.push(Line::new(line(&event)));
        if noted.recent.len() == RECENT {
            noted.recent.pop_front();
        }
        noted.recent.push_back(event);
    }

    /// The number of the newest event, and the newest ones, oldest first.
    pub(crate) fn recent(&self) -> (u64, Vec<Event>) {
        let Some(inner) = &self.0 else { return (0, Vec::new()) };
        let noted = inner.noted.lock().unwrap_or_else(PoisonError::into_inner);
        (noted.count, noted.recent.iter().cloned().collect())
    }

    /// Waits, not for long, until what was noted is written, and takes nothing more.
    pub(crate) fn end(&self) {
        if let Some(inner) = &self.0 {
            inner.outlet.end(clock::now() + FLUSH);
        }
    }
}

fn now() -> String {
    format!("{:.3}", clock::utc())
}

/// What comes from outside is shown, never obeyed, and has a length.
fn bounded(mut event: Event) -> Event {
    let mut cause = text::visible(&event.cause).into_owned();
    if cause.len() > MAX_CAUSE {
        cause.truncate(cause.floor_char_boundary(MAX_CAUSE - '…'.len_utf8()));
        cause.push('…');
    }
    event.cause = cause;
    event
}

/// One line without its end.
fn line(event: &Event) -> String {
    serde_json::to_string(event).expect("strings and integers always serialise")
}

/// The file. It may block.
#[derive(Debug)]
struct File {
    path: Utf8PathBuf,
    open: Rotating,
    /// What was written last may have no end.
    torn: bool,
}

impl Sink for File {
    fn write(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut text = String::new();
        if self.torn && is_torn(&self.path) {
            text.push('\n');
        }
        for line in lines {
            text.push_str(&line.text);
            text.push('\n');
        }
        self.torn = true;
        self.open.append(text.as_bytes())?;
        self.torn = false;
        Ok(())
    }

    fn gap(&self, missing: u64, why: &str) -> Line {
        let event = Event {
            at: now(),
            what: what::GAP.to_owned(),
            cause: why.to_owned(),
            missing: Some(missing),
            ..Event::default()
        };
        Line::new(line(&event))
    }
}

/// Whether the last line of a file has no end. One that cannot be looked at is left to the write itself.
fn is_torn(path: &Utf8Path) -> bool {
    let last = || -> io::Result<u8> {
        let mut file = fs_err::File::open(path)?;
        if !file.metadata()?.is_file() {
            return Ok(b'\n');
        }
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        Ok(last[0])
    };
    last().is_ok_and(|last| last != b'\n')
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn events(path: &Utf8Path) -> Vec<Event> {
        let bytes = fs_err::read(path).unwrap();
        bytes.split(|byte| *byte == b'\n').filter_map(Event::parse).collect()
    }

    fn state(to: &str) -> Event {
        Event { what: what::STATE.to_owned(), to: Some(to.to_owned()), ..Event::default() }
    }

    /// N3.11: a line that an earlier end left torn costs itself alone, and equal events are all kept.
    #[test]
    fn n3_11_a_torn_line_costs_itself_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("logs/events.jsonl");
        let journal = Journal::open(path.clone());
        journal.note(state("ready"));
        journal.note(state("ready"));
        journal.end();
        let whole = fs_err::read(&path).unwrap();
        fs_err::write(&path, &whole[..whole.len() - 5]).unwrap();
        let journal = Journal::open(path.clone());
        journal.note(Event { cause: format!("a\nforged line {}", "ü".repeat(4000)), ..state("degraded") });
        journal.end();
        let events = events(&path);
        assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 1]);
        let cause = &events[1].cause;
        assert!(
            cause.len() <= MAX_CAUSE && cause.starts_with("a\\nforged") && cause.ends_with('…'),
            "{cause}"
        );
        assert_eq!(fs_err::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    /// A disk that takes nothing stops nobody, and what is missing is counted where it is missing.
    #[test]
    fn events_that_cannot_be_written_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("logs/events.jsonl");
        // A directory stands where the file should be.
        fs_err::create_dir_all(&path).unwrap();
        let journal = Journal::open(path.clone());
        for _ in 0..3 {
            journal.note(state("ready"));
        }
        journal.0.as_ref().unwrap().outlet.flush(clock::now() + Duration::from_secs(30));
        fs_err::remove_dir(&path).unwrap();
        journal.note(state("stopped"));
        journal.end();
        let events = events(&path);
        assert_eq!((events[0].what.as_str(), events[0].missing), (what::GAP, Some(3)));
        assert_eq!((events[1].to.as_deref(), events[1].seq), (Some("stopped"), 4));
    }
}
