//! A log with its rotated predecessors, opened only as far back as somebody reads.

use std::io;

use camino::Utf8PathBuf;

use super::bounds::Wall;
use super::file::{Backwards, DISORDER, Forwards, Found, LogFile};
use super::record::Record;

/// More predecessors than this are not looked for.
const MAX_FILES: u32 = 1000;

/// A file, and what it was renamed to when it was full.
#[derive(Debug)]
pub(super) struct Chain {
    path: Utf8PathBuf,
    /// The newest first. They stay open: a rotation meanwhile renames them, and changes nothing here.
    pub(super) files: Vec<LogFile>,
    /// Number of the next older one.
    next: u32,
}

/// A place in a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// Index of the file.
    file: usize,
    offset: u64,
}

impl Chain {
    /// Opens the newest file, where there is one.
    pub(super) fn open(path: Utf8PathBuf) -> io::Result<Self> {
        let files = LogFile::open(&path)?.into_iter().collect();
        let mut chain = Self { path, files, next: 1 };
        if chain.files.is_empty() {
            // Just being rotated, or nothing was written since.
            chain.older()?;
        }
        Ok(chain)
    }

    /// Opens the next older file; whether there is one.
    fn older(&mut self) -> io::Result<bool> {
        while self.next <= MAX_FILES {
            let path = Utf8PathBuf::from(format!("{}.{}", self.path, self.next));
            let Some(file) = LogFile::open(&path)? else { return Ok(false) };
            self.next += 1;
            // One that was rotated since it was opened.
            if !self.files.iter().any(|known| known.identity == file.identity) {
                self.files.push(file);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Behind what there is. With `whole`, before a line that is not complete.
    pub(super) fn end(&self, whole: bool) -> io::Result<Position> {
        let offset = match self.files.first() {
            Some(file) if whole => file.line_start(file.len)?,
            Some(file) => file.len,
            None => 0,
        };
        Ok(Position { file: 0, offset })
    }

    /// Where what is not older than `since` begins; without one, all there is.
    pub(super) fn begin(&mut self, since: Option<Wall>) -> io::Result<Position> {
        let since = since.and_then(|since| since.checked_sub(DISORDER).ok());
        let mut file = 0;
        loop {
            if let (Some(since), Some(open)) = (since, self.files.get(file))
                && open.begins()?.is_some_and(|begins| begins < since)
            {
                return Ok(Position { file, offset: open.bisect(since)?.0 });
            }
            if file + 1 >= self.files.len() && !self.older()? {
                return Ok(Position { file, offset: 0 });
            }
            file += 1;
        }
    }

    /// Where to begin to read backwards.
    fn last(&mut self, until: Option<Wall>) -> io::Result<Position> {
        let until = until.and_then(|until| until.checked_add(DISORDER).ok());
        let mut file = 0;
        loop {
            let Some(open) = self.files.get(file) else { return Ok(Position { file, offset: 0 }) };
            let Some(until) = until else { return Ok(Position { file, offset: open.len }) };
            if open.begins()?.is_none_or(|begins| begins <= until) {
                return Ok(Position { file, offset: open.bisect(until)?.1 });
            }
            if file + 1 >= self.files.len() && !self.older()? {
                return Ok(Position { file, offset: 0 });
            }
            file += 1;
        }
    }
}

/// Reads a chain from its end, or from `until`, to its beginning.
#[derive(Debug)]
pub(super) struct Back {
    file: usize,
    reader: Backwards,
}

impl Back {
    pub(super) fn new(chain: &mut Chain, until: Option<Wall>) -> io::Result<Self> {
        let Position { file, offset } = chain.last(until)?;
        Ok(Self { file, reader: Backwards::new(offset) })
    }

    /// The record before the last one, and where it begins.
    pub(super) fn next(&mut self, chain: &mut Chain) -> io::Result<Option<(Found, Position)>> {
        loop {
            let Some(file) = chain.files.get(self.file) else { return Ok(None) };
            if let Some(found) = self.reader.next(file)? {
                let position = Position { file: self.file, offset: found.offset };
                return Ok(Some((found, position)));
            }
            self.file += 1;
            if self.file >= chain.files.len() && !chain.older()? {
                return Ok(None);
            }
            self.reader = Backwards::new(chain.files[self.file].len);
        }
    }

    pub(super) fn record(&self, found: &Found) -> Record<'_> {
        self.reader.record(found)
    }
}

/// Reads a chain from one place to what was its end when it was opened.
#[derive(Debug)]
pub(super) struct Forth {
    pub(super) chain: Chain,
    file: usize,
    pub(super) reader: Forwards,
    /// The last line is left where it is not complete.
    whole: bool,
}

impl Forth {
    pub(super) fn new(chain: Chain, from: Position, whole: bool) -> Self {
        let limit = chain.files.get(from.file).map_or(0, |file| file.len);
        Self { reader: Forwards::new(from.offset, limit), file: from.file, chain, whole }
    }

    /// The next record.
    pub(super) fn next(&mut self) -> io::Result<Option<Found>> {
        loop {
            let Some(file) = self.chain.files.get(self.file) else { return Ok(None) };
            let rest = self.file > 0 || !self.whole;
            if let Some(found) = self.reader.next(file, rest)? {
                return Ok(Some(found));
            }
            let Some(newer) = self.file.checked_sub(1) else { return Ok(None) };
            self.file = newer;
            self.reader = Forwards::new(0, self.chain.files[newer].len);
        }
    }

    pub(super) fn record(&self, found: &Found) -> Record<'_> {
        self.reader.record(found)
    }

    /// The newest file and where its next record begins, to go on with.
    pub(super) fn into_newest(mut self) -> (Option<LogFile>, Forwards) {
        if self.chain.files.is_empty() {
            return (None, Forwards::new(0, 0));
        }
        let file = self.chain.files.swap_remove(0);
        if self.file > 0 {
            self.reader = Forwards::new(0, 0);
        }
        (Some(file), self.reader)
    }
}
