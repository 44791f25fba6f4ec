//! Printed output, cut into lines; runs of equal lines become one line and a count, and a flood a part of it and a count.
//!
//! So much may be printed at once, and so much a second from then on. What is more is counted and said: that way a flood costs those
//! who print no time, the disk little, and the log not all that stood in it before. Pure.

use std::time::{Duration, Instant};

use super::line::MAX_LEN;

/// Bytes that are kept at once.
const BURST: u64 = 1024 * 1024;
/// Bytes a second that are kept from then on.
const RATE: u64 = 128 * 1024;
/// How long a count waits for more.
const COUNTING: Duration = Duration::from_secs(1);
/// A line that is too long is cut at a blank, if there is one so near: half a secret is not known for one.
const NEAR: usize = 1024;
/// What a line costs beside its text: time, component, profile.
const OVERHEAD: u64 = 64;

/// Cuts a stream of bytes into lines.
#[derive(Debug)]
pub(super) struct Capture {
    /// What came after the last newline.
    partial: Vec<u8>,
    last: Vec<u8>,
    repeated: u64,
    /// Bytes that may still be kept, at that time.
    left: u64,
    at: Option<Instant>,
    /// Lines and bytes that were not kept since the last one that was.
    missing: (u64, u64),
    /// When something is said that waits.
    due: Option<Instant>,
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            partial: Vec::new(),
            last: Vec::new(),
            repeated: 0,
            left: BURST,
            at: None,
            missing: (0, 0),
            due: None,
        }
    }
}

impl Capture {
    /// Takes more bytes and hands every line that is complete to `out`.
    pub(super) fn feed(&mut self, mut bytes: &[u8], now: Instant, out: &mut impl FnMut(&str)) {
        self.refill(now);
        while let Some(at) = memchr::memchr(b'\n', bytes) {
            self.push(&bytes[..at], now, out);
            bytes = &bytes[at + 1..];
            self.end_line(now, out);
        }
        self.push(bytes, now, out);
    }

    /// When [`Self::tell`] has something to say.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Tells the counts whose time has come.
    pub(super) fn tell(&mut self, now: Instant, out: &mut impl FnMut(&str)) {
        if self.due.is_some_and(|due| due <= now) {
            self.tell_all(out);
        }
    }

    /// Tells everything that is waiting, a line without an end included.
    pub(super) fn finish(&mut self, out: &mut impl FnMut(&str)) {
        if !self.partial.is_empty() {
            let last = std::mem::take(&mut self.partial);
            self.tell_all(out);
            out(&String::from_utf8_lossy(&last));
        }
        self.tell_all(out);
    }

    fn tell_all(&mut self, out: &mut impl FnMut(&str)) {
        self.due = None;
        if self.repeated > 0 {
            out(&format!("(last line repeated {} more times)", std::mem::take(&mut self.repeated)));
        }
        let (lines, bytes) = std::mem::take(&mut self.missing);
        if lines > 0 {
            out(&format!(
                "({lines} lines, {bytes} bytes, were printed here and are not kept: at most {} KiB at once and {} KiB a second are)",
                BURST / 1024,
                RATE / 1024
            ));
        }
    }

    fn refill(&mut self, now: Instant) {
        let passed = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let more = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).saturating_mul(RATE) / 1000;
        // Less than a millisecond brings nothing, and is not lost.
        if more > 0 || self.at.is_none() {
            self.left = self.left.saturating_add(more).min(BURST);
            self.at = Some(now);
        }
    }

    /// Adds to the line, and cuts it where it is too long.
    fn push(&mut self, bytes: &[u8], now: Instant, out: &mut impl FnMut(&str)) {
        for piece in bytes.chunks(MAX_LEN - NEAR) {
            if self.partial.len() + piece.len() > MAX_LEN {
                let from = self.partial.len().saturating_sub(NEAR);
                let cut = memchr::memrchr2(b' ', b'\t', &self.partial[from..]);
                let rest = cut.map_or_else(Vec::new, |at| self.partial.split_off(from + at + 1));
                self.end_line(now, out);
                self.partial.extend_from_slice(&rest);
            }
            self.partial.extend_from_slice(piece);
        }
    }

    fn end_line(&mut self, now: Instant, out: &mut impl FnMut(&str)) {
        if self.partial.last() == Some(&b'\r') {
            self.partial.pop();
        }
        if self.partial.is_empty() {
            return;
        }
        if self.partial == self.last {
            self.repeated += 1;
            self.due.get_or_insert(now + COUNTING);
            self.partial.clear();
            return;
        }
        let len = self.partial.len() as u64;
        let cost = len + OVERHEAD;
        // Once something is left out, all is for a while: a line here and there helps nobody.
        if self.left < cost || self.missing.0 > 0 && self.due.is_some_and(|due| now < due) {
            self.missing = (self.missing.0 + 1, self.missing.1 + len);
            self.due.get_or_insert(now + COUNTING);
            self.partial.clear();
            return;
        }
        self.left -= cost;
        self.tell_all(out);
        out(&String::from_utf8_lossy(&self.partial));
        std::mem::swap(&mut self.partial, &mut self.last);
        self.partial.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let (mut capture, mut out) = (Capture::default(), Vec::new());
        let now = hermes_host::clock::now();
        for piece in pieces {
            capture.feed(piece, now, &mut |line| out.push(line.to_owned()));
        }
        capture.finish(&mut |line| out.push(line.to_owned()));
        out
    }

    #[test]
    fn pieces_become_lines_and_runs_become_counts() {
        assert_eq!(lines(&[b"a", b"b\r\nc\n", b"\nd"]), ["ab", "c", "d"]);
        assert_eq!(lines(&[b"x\nx\nx\ny\n"]), ["x", "(last line repeated 2 more times)", "y"]);
        assert_eq!(lines(&[b"x\nx\n"]), ["x", "(last line repeated 1 more times)"]);
        assert_eq!(lines(&[b"\xff\n"]), ["\u{fffd}"]);
    }

    #[test]
    fn a_line_without_an_end_is_cut_and_not_in_the_middle_of_a_word() {
        let flood = vec![b'x'; MAX_LEN * 3];
        assert!(lines(&[&flood]).iter().all(|line| line.len() <= MAX_LEN || line.starts_with('(')));
        // No two pieces alike: equal lines would be one and a count.
        let words: String = (0..MAX_LEN).map(|n| format!("word{n:05} ")).collect();
        let cut = lines(&words.as_bytes().chunks(777).collect::<Vec<_>>());
        assert!(cut.iter().all(|line| line.len() <= MAX_LEN && line.starts_with("word")), "{cut:?}");
        assert_eq!(cut.concat(), words, "nothing is lost");
    }

    /// N3.6: of a flood a part is kept, what is not is counted, and afterwards all is as before.
    #[test]
    fn n3_6_a_flood_is_bounded_and_counted() {
        let (mut capture, mut out) = (Capture::default(), Vec::new());
        let start = hermes_host::clock::now();
        let mut printed = 0_u64;
        for second in 0..10_u64 {
            for tenth in 0..10_u64 {
                let now = start + Duration::from_millis(second * 1000 + tenth * 100);
                // 10 MB a second, no two lines the same.
                for n in 0..10_000_u64 {
                    printed += 1;
                    let line = format!("{:099}\n", second * 1_000_000 + tenth * 100_000 + n);
                    capture.feed(line.as_bytes(), now, &mut |line| out.push(line.to_owned()));
                }
            }
        }
        capture.finish(&mut |line| out.push(line.to_owned()));
        let kept = out.iter().filter(|line| !line.starts_with('(')).count() as u64;
        let missing: u64 = out
            .iter()
            .filter(|line| line.starts_with('('))
            .map(|line| line[1..].split(' ').next().unwrap().parse::<u64>().unwrap())
            .sum();
        assert_eq!(kept + missing, printed);
        let bytes = kept * (99 + OVERHEAD);
        assert!(bytes > BURST - 200 && bytes <= BURST + 11 * RATE, "{bytes}");
        assert!(out.len() as u64 - kept < 20, "the counts are few");
        let later = start + Duration::from_secs(60);
        out.clear();
        capture.feed(b"quiet again\n", later, &mut |line| out.push(line.to_owned()));
        assert_eq!(out, ["quiet again"]);
    }
}
