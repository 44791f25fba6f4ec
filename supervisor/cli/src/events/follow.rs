//! Events as they happen: a journal is read on through rotation, removal and emptying.

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_wire::contract::events::{Event, MAX_LINE};

use super::Filter;
use super::read::{End, parse};

/// What is read at once.
const BLOCK: usize = 64 * 1024;

/// One journal that is followed.
#[derive(Debug)]
pub(crate) struct Following {
    path: Utf8PathBuf,
    open: Option<End>,
    /// The beginning of a line that is not whole yet.
    begun: Vec<u8>,
}

impl Following {
    /// From where its reading ended; where there was none, from its beginning once there is one.
    pub(crate) fn new(path: Utf8PathBuf, end: Option<End>) -> Self {
        Self { path, open: end, begun: Vec::new() }
    }

    /// What has come since the last call.
    pub(crate) fn news(&mut self, filter: &Filter) -> io::Result<Vec<Event>> {
        let mut events = Vec::new();
        loop {
            let is_same = match (&self.open, identity(&self.path)?) {
                (Some(open), Some(now)) => of(&open.file.metadata()?) == now,
                (None, Some(_)) => false,
                // Moved away, and not made anew yet.
                (open, None) => open.is_some(),
            };
            if let Some(open) = &mut self.open {
                // What came before it was moved away, too.
                take(open, &mut self.begun, &mut events)?;
            }
            if is_same || identity(&self.path)?.is_none() {
                break;
            }
            let file = fs_err::File::open(&self.path)?.into_parts().0;
            self.begun.clear();
            self.open = Some(End { file, at: 0 });
        }
        events.retain(|event| filter.takes(event));
        Ok(events)
    }
}

fn of(metadata: &std::fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn identity(path: &Utf8Path) -> io::Result<Option<(u64, u64)>> {
    match fs_err::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(Some(of(&metadata))),
        Ok(_) => Err(io::Error::other("it is no file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn take(open: &mut End, begun: &mut Vec<u8>, events: &mut Vec<Event>) -> io::Result<()> {
    if open.file.metadata()?.len() < open.at {
        // Emptied.
        (open.at, *begun) = (0, Vec::new());
    }
    open.file.seek(SeekFrom::Start(open.at))?;
    let mut block = vec![0; BLOCK];
    loop {
        let n = open.file.read(&mut block)?;
        if n == 0 {
            return Ok(());
        }
        open.at += n as u64;
        begun.extend_from_slice(&block[..n]);
        let whole = begun.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        events.extend(parse(&begun[..whole]).0);
        begun.drain(..whole);
        if begun.len() > MAX_LINE {
            // No event any more, wherever it ends.
            begun.truncate(MAX_LINE + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// N3.11: following goes on through rotation, a torn line, emptying, and a journal that comes later.
    #[test]
    fn n3_11_a_journal_is_followed_through_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("events.jsonl");
        let append = |text: &str| {
            let mut file = fs_err::OpenOptions::new().create(true).append(true).open(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        let line =
            |seq: u64| format!("{{\"at\":\"2026-11-29T18:00:00Z\",\"seq\":{seq},\"what\":\"state\"}}\n");
        let mut following = Following::new(path.clone(), None);
        let mut news = || -> Vec<u64> {
            following.news(&Filter::default()).unwrap().iter().map(|event| event.seq).collect()
        };
        assert!(news().is_empty());
        append(&line(1));
        append(&line(2)[..10]);
        assert_eq!(news(), [1]);
        append(&line(2)[10..]);
        append(&line(3));
        fs_err::rename(&path, path.with_extension("old")).unwrap();
        assert_eq!(news(), [2, 3]);
        append(&line(4));
        assert_eq!(news(), [4]);
        fs_err::write(&path, "").unwrap();
        assert!(news().is_empty());
        append(&line(5));
        assert_eq!(news(), [5]);
        append(&"x".repeat(3 * MAX_LINE));
        append("\n");
        append(&line(6));
        assert_eq!(news(), [6]);
    }
}
