//! One file of a log: its records from the end, from anywhere on, and where a time begins. Reads blocks, never the whole file.

use std::io;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};

use camino::Utf8Path;
use fs_err::os::unix::fs::FileExt as _;
use jiff::SignedDuration;

use super::bounds::Wall;
use super::record::{Head, Record, head};

/// What is read at once.
const BLOCK: usize = 64 * 1024;
/// What is read backwards at first: most ask for little, and of many logs. Each piece is twice as long as the one before.
const FIRST: usize = 8 * 1024;
/// The longest of those.
const LONGEST: usize = 256 * 1024;
/// Longest record, and longest line: what is longer is several.
const MAX_RECORD: usize = 256 * 1024;
/// How far a time is looked for.
const NEAR: u64 = 4 * MAX_RECORD as u64;
/// Lines stand in the order in which they were written, which is not quite that of their times.
pub(super) const DISORDER: SignedDuration = SignedDuration::from_secs(1);

/// An open file.
#[derive(Debug)]
pub(super) struct LogFile {
    file: fs_err::File,
    /// Device and inode.
    pub(super) identity: (u64, u64),
    /// Bytes when it was opened.
    pub(super) len: u64,
}

impl LogFile {
    /// `None` where there is none.
    pub(super) fn open(path: &Utf8Path) -> io::Result<Option<Self>> {
        let mut options = fs_err::OpenOptions::new();
        // A pipe under this name keeps nobody waiting.
        options.read(true).options_mut().custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC);
        let file = match options.open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("`{path}` is not a regular file"),
            ));
        }
        Ok(Some(Self { file, identity: (metadata.dev(), metadata.ino()), len: metadata.len() }))
    }

    /// Bytes now.
    pub(super) fn len_now(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// As many bytes as there are, at most `into`'s.
    fn read(&self, mut at: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < into.len() {
            match self.file.read_at(&mut into[read..], at) {
                Ok(0) => break,
                Ok(n) => {
                    read += n;
                    at += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(read)
    }

    /// Where the line begins that is not complete at `end`; `end` itself if the last one is.
    pub(super) fn line_start(&self, end: u64) -> io::Result<u64> {
        let from = end.saturating_sub(BLOCK as u64);
        let mut block = vec![0; usize::try_from(end - from).unwrap_or(BLOCK)];
        let read = self.read(from, &mut block)?;
        // Of a line that is longer than that, the rest is shown.
        Ok(memchr::memrchr(b'\n', &block[..read]).map_or(end, |at| from + at as u64 + 1))
    }

    /// The first record at or behind `from` that says a time, as far as one can be found near.
    fn first_time(&self, from: u64, to: u64) -> io::Result<Option<(u64, Wall)>> {
        let mut lines = Forwards::new(from, to);
        // Not at the start of a line, unless at the start of the file.
        if from > 0 && lines.skip_line(self)?.is_none() {
            return Ok(None);
        }
        while lines.position() < from + NEAR
            && let Some(found) = lines.next(self, true)?
        {
            if let Some(head) = found.head {
                return Ok(Some((found.offset, head.time)));
            }
        }
        Ok(None)
    }

    /// The time of the first record that says one.
    pub(super) fn begins(&self) -> io::Result<Option<Wall>> {
        Ok(self.first_time(0, self.len)?.map(|(_, time)| time))
    }

    /// Two places: records before the first are older than `time`, those from the second on are not. They are near each other.
    pub(super) fn bisect(&self, time: Wall) -> io::Result<(u64, u64)> {
        let (mut low, mut high) = (0, self.len);
        while high - low > BLOCK as u64 {
            let middle = low + (high - low) / 2;
            match self.first_time(middle, high)? {
                Some((offset, found)) if found < time => low = offset,
                // Too long without a time: what is in between is read.
                None if high - middle > NEAR => break,
                _ => high = middle,
            }
        }
        // The line that `high` is in the middle of began before it.
        Ok((low, (high + MAX_RECORD as u64).min(self.len)))
    }
}

/// A record in a reader's buffer.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// Where it begins in its file.
    pub(super) offset: u64,
    pub(super) head: Option<Head>,
    range: Range<usize>,
}

/// Records from one place to the start of a file, the last one first.
#[derive(Debug)]
pub(super) struct Backwards {
    /// Where `buffer` begins in the file.
    start: u64,
    buffer: Vec<u8>,
    /// What lies before this was not handed out.
    end: usize,
    /// Lines from here to `end` begin no record.
    scanned: usize,
    /// Down to here each line stands for itself.
    lone: Option<usize>,
    /// What is read next.
    piece: usize,
}

impl Backwards {
    pub(super) fn new(end: u64) -> Self {
        Self { start: end, buffer: Vec::new(), end: 0, scanned: 0, lone: None, piece: FIRST }
    }

    /// The record before the last one.
    pub(super) fn next(&mut self, file: &LogFile) -> io::Result<Option<Found>> {
        loop {
            if let Some(limit) = self.lone {
                let from = self.line_before(self.end, limit).unwrap_or(limit);
                let found = self.found(from, None);
                if from == limit {
                    self.lone = None;
                }
                return Ok(Some(found));
            }
            if self.scanned == 0 {
                if self.start > 0 {
                    self.fill(file)?;
                } else if self.end == 0 {
                    return Ok(None);
                } else {
                    self.lone = Some(0);
                }
                continue;
            }
            let from = match self.line_before(self.scanned, 0) {
                Some(from) => from,
                None if self.start == 0 || self.scanned >= MAX_RECORD => 0,
                None => {
                    self.fill(file)?;
                    continue;
                }
            };
            let is_whole = from > 0 || self.start == 0;
            if is_whole && let Some(head) = head(line(&self.buffer[from..self.scanned])) {
                return Ok(Some(self.found(from, Some(head))));
            }
            self.scanned = from;
            if self.end - self.scanned >= MAX_RECORD {
                self.lone = Some(self.scanned);
            }
        }
    }

    /// The record itself.
    pub(super) fn record(&self, found: &Found) -> Record<'_> {
        Record { head: found.head, bytes: line(&self.buffer[found.range.clone()]) }
    }

    fn found(&mut self, from: usize, head: Option<Head>) -> Found {
        let range = from..self.end;
        (self.end, self.scanned) = (from, from);
        Found { offset: self.start + from as u64, head, range }
    }

    /// Where the line begins that ends at `end`, if that is seen.
    fn line_before(&self, end: usize, limit: usize) -> Option<usize> {
        let text = line(&self.buffer[limit..end]);
        memchr::memrchr(b'\n', text).map(|at| limit + at + 1)
    }

    fn fill(&mut self, file: &LogFile) -> io::Result<()> {
        let n = usize::try_from(self.start).map_or(self.piece, |start| start.min(self.piece));
        self.piece = (self.piece * 2).min(LONGEST);
        let mut buffer = vec![0; n + self.end];
        if file.read(self.start - n as u64, &mut buffer[..n])? < n {
            // It became shorter: what was there is gone.
            *self = Self::new(0);
            return Ok(());
        }
        buffer[n..].copy_from_slice(&self.buffer[..self.end]);
        self.buffer = buffer;
        self.start -= n as u64;
        self.end += n;
        self.scanned += n;
        Ok(())
    }
}

/// Without the line end.
fn line(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(b"\n").unwrap_or(bytes)
}

/// Records from one place on.
#[derive(Debug)]
pub(super) struct Forwards {
    /// Where `buffer` begins in the file.
    base: u64,
    buffer: Vec<u8>,
    /// What lies before this was handed out.
    at: usize,
    /// Lines before this were looked at.
    seen: usize,
    /// The head of the record at `at`.
    head: Option<Head>,
    /// Nothing from here on.
    limit: u64,
}

impl Forwards {
    /// From `at`, where a line begins, to `limit`.
    pub(super) fn new(at: u64, limit: u64) -> Self {
        Self { base: at, buffer: Vec::new(), at: 0, seen: 0, head: None, limit }
    }

    /// From where it stands to there, which is not before what was read.
    pub(super) fn limit_to(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Where the next record begins.
    pub(super) fn position(&self) -> u64 {
        self.base + self.at as u64
    }

    /// How far was read.
    pub(super) fn read_to(&self) -> u64 {
        self.base + self.buffer.len() as u64
    }

    /// The next record. `rest`: a last line without an end counts.
    pub(super) fn next(&mut self, file: &LogFile, rest: bool) -> io::Result<Option<Found>> {
        loop {
            let end = memchr::memchr(b'\n', &self.buffer[self.seen..]).map(|at| self.seen + at + 1);
            let end = match end {
                Some(end) => end,
                None if self.buffer.len() - self.seen >= MAX_RECORD => self.buffer.len(),
                None if self.fill(file)? => continue,
                None if rest && self.seen < self.buffer.len() => self.buffer.len(),
                None if self.seen > self.at => return Ok(Some(self.found())),
                None => return Ok(None),
            };
            let head = head(line(&self.buffer[self.seen..end]));
            if self.seen == self.at {
                (self.seen, self.head) = (end, head);
                if head.is_none() {
                    return Ok(Some(self.found()));
                }
            } else if head.is_some() || end - self.at > MAX_RECORD {
                return Ok(Some(self.found()));
            } else {
                self.seen = end;
            }
        }
    }

    /// To the start of the next line; `None` where there is none.
    fn skip_line(&mut self, file: &LogFile) -> io::Result<Option<()>> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.seen..]) {
                self.at = self.seen + at + 1;
                self.seen = self.at;
                return Ok(Some(()));
            }
            (self.at, self.seen) = (self.buffer.len(), self.buffer.len());
            if !self.fill(file)? {
                return Ok(None);
            }
        }
    }

    /// The record itself.
    pub(super) fn record(&self, found: &Found) -> Record<'_> {
        Record { head: found.head, bytes: line(&self.buffer[found.range.clone()]) }
    }

    fn found(&mut self) -> Found {
        let found = Found { offset: self.position(), head: self.head, range: self.at..self.seen };
        self.at = self.seen;
        found
    }

    /// Whether there was more.
    fn fill(&mut self, file: &LogFile) -> io::Result<bool> {
        self.buffer.drain(..self.at);
        self.base += self.at as u64;
        self.seen -= self.at;
        self.at = 0;
        let len = self.buffer.len();
        if len == 0 && self.base >= self.limit {
            // Many logs are followed of which nothing comes for long.
            self.buffer = Vec::new();
            return Ok(false);
        }
        let n = usize::try_from(self.limit.saturating_sub(self.base + len as u64))
            .map_or(BLOCK, |n| n.min(BLOCK));
        self.buffer.resize(len + n, 0);
        let read = file.read(self.base + len as u64, &mut self.buffer[len..]);
        self.buffer.truncate(len + read.as_ref().map_or(0, |n| *n));
        Ok(read? > 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(text: &[u8]) -> (tempfile::TempDir, LogFile) {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("x.log");
        fs_err::write(&path, text).unwrap();
        let file = LogFile::open(&path).unwrap().unwrap();
        (dir, file)
    }

    fn backwards(file: &LogFile) -> Vec<(u64, Vec<u8>)> {
        let (mut reader, mut all) = (Backwards::new(file.len), Vec::new());
        while let Some(found) = reader.next(file).unwrap() {
            all.push((found.offset, reader.record(&found).bytes.to_vec()));
        }
        all.reverse();
        all
    }

    fn forwards(file: &LogFile) -> Vec<(u64, Vec<u8>)> {
        let (mut reader, mut all) = (Forwards::new(0, file.len), Vec::new());
        while let Some(found) = reader.next(file, true).unwrap() {
            all.push((found.offset, reader.record(&found).bytes.to_vec()));
        }
        all
    }

    fn stamp(n: usize) -> String {
        format!("2026-11-21 {:02}:{:02}:{:02},000", n / 3600, n / 60 % 60, n % 60)
    }

    #[test]
    fn lines_behind_a_record_belong_to_it() {
        let text = format!(
            "of an older record\n{} ERROR x: a\nTraceback\n  File\n{} INFO x: b\n{} INFO x: without an end",
            stamp(1),
            stamp(2),
            stamp(3)
        );
        let (_dir, file) = file(text.as_bytes());
        let texts: Vec<String> =
            forwards(&file).into_iter().map(|(_, bytes)| String::from_utf8(bytes).unwrap()).collect();
        assert_eq!(texts.len(), 4, "{texts:?}");
        assert!(texts[1].ends_with("x: a\nTraceback\n  File"), "{texts:?}");
        assert_eq!(forwards(&file), backwards(&file));
    }

    #[test]
    fn a_file_without_records_has_lines_and_one_without_lines_has_pieces() {
        let (_dir, lines) = file(b"a\nb\n\nc");
        assert_eq!(backwards(&lines).len(), 4);
        assert_eq!(forwards(&lines), backwards(&lines));
        let (_dir, flood) = file(&vec![b'x'; 3 * MAX_RECORD + 17]);
        for all in [forwards(&flood), backwards(&flood)] {
            assert!(all.iter().all(|(_, piece)| piece.len() <= MAX_RECORD + LONGEST), "bounded");
            assert_eq!(all.iter().map(|(_, piece)| piece.len()).sum::<usize>(), 3 * MAX_RECORD + 17);
        }
        let (_dir, empty) = file(b"");
        assert!(backwards(&empty).is_empty() && forwards(&empty).is_empty());
    }

    #[test]
    fn a_time_is_found_without_reading_all() {
        let text: String =
            (0..40_000).map(|n| format!("{} INFO x: {}\n", stamp(n), "y".repeat(n % 60))).collect();
        let (_dir, file) = file(text.as_bytes());
        for n in [0, 1, 777, 20_000, 39_999] {
            let time = head(format!("{} INFO x: y", stamp(n)).as_bytes()).unwrap().time;
            let (low, high) = file.bisect(time).unwrap();
            let at = text.find(&stamp(n)).unwrap() as u64;
            assert!(
                low <= at && at <= high && high - low <= (BLOCK + MAX_RECORD) as u64,
                "{n}: {low} {at} {high}"
            );
        }
        assert!(file.bisect("2027-01-01T00:00".parse().unwrap()).unwrap().1 == file.len);
    }

    proptest! {
        /// Whatever is in a file, both directions see all of it, and the same records where they are not too long.
        #[test]
        fn both_directions_see_the_same(
            lines in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..200)), 0..200),
            end in any::<bool>(),
        ) {
            let mut text = Vec::new();
            for (n, (is_record, bytes)) in lines.iter().enumerate() {
                if *is_record {
                    text.extend_from_slice(format!("{} INFO x: ", stamp(n)).as_bytes());
                }
                text.extend_from_slice(bytes);
                text.push(b'\n');
            }
            if !end {
                text.pop();
            }
            let (_dir, file) = file(&text);
            prop_assert_eq!(forwards(&file), backwards(&file));
        }
    }
}
