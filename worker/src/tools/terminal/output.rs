//! What a command wrote, as far as it is kept, and as the model is shown it. Pure.
//!
//! Of a long output the beginning and the end are kept, in memory that is bounded whatever comes. It is shown without control sequences
//! (colours, movements of the cursor, what a progress bar has overwritten), without the profile's secrets, and cut to its limit, which
//! it says. More is kept than is shown, so that a secret which stands where the text is cut is found whole.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt::Write as _;

use hermes_config::Secret;

/// Kept at either side of a cut beyond what is shown, in bytes: the longest secret that is found there whole.
const MARGIN: usize = 4096;
/// Shortest secret that is looked for, in bytes; shorter ones are words.
const SEARCHED_FROM: usize = 6;
/// What stands for a secret.
const MASK: &str = "***";

/// The beginning and the end of an output.
#[derive(Debug)]
pub(super) struct Kept {
    limit: usize,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    /// Bytes that came.
    total: u64,
}

impl Kept {
    /// Of which at most `limit` bytes are to be shown.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, head: Vec::new(), tail: VecDeque::new(), total: 0 }
    }

    /// Most bytes of the beginning that are shown where there is more than the limit.
    fn first(&self) -> usize {
        self.limit / 5 * 2
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = (self.first() + MARGIN).saturating_sub(self.head.len());
        let (head, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(head);
        let most = self.limit - self.first() + MARGIN;
        let rest = &rest[rest.len().saturating_sub(most)..];
        let over = (self.tail.len() + rest.len()).saturating_sub(most);
        self.tail.drain(..over.min(self.tail.len()));
        self.tail.extend(rest);
    }

    /// Bytes that came.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The last bytes that are kept.
    pub(super) fn ending(&self) -> Vec<u8> {
        if self.tail.is_empty() { self.head.clone() } else { self.tail.iter().copied().collect() }
    }

    /// Takes away what stands at the end.
    pub(super) fn truncate(&mut self, last: usize) {
        let of_tail = last.min(self.tail.len());
        self.tail.truncate(self.tail.len() - of_tail);
        self.head.truncate(self.head.len() - (last - of_tail).min(self.head.len()));
        self.total = self.total.saturating_sub(last as u64);
    }

    /// As the model is shown it.
    pub(super) fn shown(&self, secrets: &[Secret]) -> String {
        let kept = self.head.len() + self.tail.len();
        if kept as u64 == self.total {
            let all: Vec<u8> = self.head.iter().copied().chain(self.tail.iter().copied()).collect();
            let text = clean(&all, secrets);
            if text.len() <= self.limit {
                return text;
            }
            let first = floor(&text, self.first());
            let last = ceil(&text, text.len() - (self.limit - self.first()));
            return joined(&text[..first], last - first, &text[last..]);
        }
        let tail: Vec<u8> = self.tail.iter().copied().collect();
        let (head, tail) = (clean(&self.head, secrets), clean(&tail, secrets));
        // Where bytes are missing, a part of a secret may stand that was not found.
        let part = secrets.iter().map(|secret| secret.expose().len()).max().unwrap_or(0);
        let head = &head[..floor(&head, self.first().min(head.len().saturating_sub(part)))];
        let last = (self.limit - self.first()).min(tail.len().saturating_sub(part));
        let tail = &tail[ceil(&tail, tail.len() - last)..];
        let shown = (head.len() + tail.len()) as u64;
        joined(head, usize::try_from(self.total.saturating_sub(shown)).unwrap_or(usize::MAX), tail)
    }
}

fn joined(head: &str, left_out: usize, tail: &str) -> String {
    format!(
        "{head}\n\n… [{left_out} bytes are left out here; write to a file and read it in parts to see all] …\n\n{tail}"
    )
}

fn floor(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at)
}

fn ceil(text: &str, at: usize) -> usize {
    text.ceil_char_boundary(at)
}

/// The text of an output, without control sequences and secrets.
pub(super) fn clean(bytes: &[u8], secrets: &[Secret]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = anstream::adapter::strip_str(&taken_back(&text)).to_string();
    masked(overwritten(&text), secrets)
}

/// A text without secrets.
pub(super) fn masked(mut text: String, secrets: &[Secret]) -> String {
    for secret in secrets.iter().map(Secret::expose).filter(|secret| secret.len() >= SEARCHED_FROM) {
        if text.contains(secret) {
            text = text.replace(secret, MASK);
        }
    }
    text
}

/// A text without what was taken back by a backspace, as programs do that print letters twice to make them bold.
fn taken_back(text: &str) -> Cow<'_, str> {
    if !text.contains('\u{8}') {
        return Cow::Borrowed(text);
    }
    let mut left = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\u{8}' {
            left.push(c);
        } else if !left.ends_with('\n') {
            left.pop();
        }
    }
    Cow::Owned(left)
}

/// Lines as a terminal would show them in the end, without other control characters.
fn overwritten(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        let line = line.trim_end_matches('\r');
        let last = line.rsplit('\r').next().unwrap_or(line);
        for c in last.chars() {
            match c {
                '\t' => shown.push(c),
                c if c.is_control() => {}
                c => shown.push(c),
            }
        }
        shown.push_str(end);
    }
    shown
}

/// Lines of a text, by number from 0, as far as they are there: `limit` from `offset`, or the last `limit`.
pub(super) fn lines(text: &str, offset: Option<usize>, limit: usize) -> (String, usize, usize) {
    let all: Vec<&str> = text.lines().collect();
    let first = offset.unwrap_or_else(|| all.len().saturating_sub(limit)).min(all.len());
    let last = first.saturating_add(limit).min(all.len());
    let mut shown = String::new();
    for line in &all[first..last] {
        // Writing to a string cannot fail.
        let _ = writeln!(shown, "{line}");
    }
    shown.truncate(shown.trim_end_matches('\n').len());
    (shown, first, all.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(limit: usize, bytes: &[u8]) -> Kept {
        let mut kept = Kept::new(limit);
        bytes.chunks(37).for_each(|chunk| kept.push(chunk));
        kept
    }

    #[test]
    fn a_short_output_is_shown_whole_and_a_long_one_says_what_is_missing() {
        assert_eq!(of(100, b"one\ntwo\n").shown(&[]), "one\ntwo\n");
        let long: String = (0..100_000).map(|n| format!("{n}\n")).collect();
        let shown = of(1000, long.as_bytes()).shown(&[]);
        assert!(shown.starts_with("0\n1\n") && shown.ends_with("99998\n99999\n"), "{shown}");
        assert!(shown.contains("bytes are left out here") && shown.len() < 1200, "{shown}");
        let missing = long.len() - 1000;
        assert!(shown.contains(&format!("[{missing} bytes")), "{shown}");
    }

    #[test]
    fn it_is_shown_as_a_terminal_would_and_without_secrets() {
        let secrets = [Secret::new("s3cret-value"), Secret::new("abc")];
        for (bytes, expected) in [
            (&b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07x"[..], "red x"),
            (b"10%\r50%\r100%\ndone\r\n", "100%\ndone\n"),
            (b"ab\x08c\x00\x07", "ac"),
            (b"\xff\xfe", "\u{fffd}\u{fffd}"),
            (b"key=s3cret-value; abc", "key=***; abc"),
            (b"s3cret\x1b[0m-value", "***"),
        ] {
            assert_eq!(clean(bytes, &secrets), expected);
        }
    }

    #[test]
    fn a_part_at_the_end_is_taken_away() {
        let mut kept = of(50, b"hello mark");
        kept.truncate(5);
        assert_eq!((kept.shown(&[]).as_str(), kept.total()), ("hello", 5));
        let mut kept = of(50, &vec![b'x'; 20_000]);
        kept.truncate(19_000);
        assert_eq!(kept.total(), 1000);
    }

    #[test]
    fn lines_are_counted_from_the_end_unless_told() {
        assert_eq!(lines("a\nb\nc\n", None, 2), ("b\nc".to_owned(), 1, 3));
        assert_eq!(lines("a\nb\nc\n", Some(0), 1), ("a".to_owned(), 0, 3));
        assert_eq!(lines("a", Some(9), 5), (String::new(), 1, 1));
    }

    proptest! {
        /// Wherever a secret stands in whatever output, and however that comes, no part of it that says anything is shown.
        #[test]
        fn no_secret_is_shown(before in 0usize..12_000, after in 0usize..12_000, chunk in 1usize..5000) {
            let secret = "K7-0123456789-abcdefghij-K7";
            let text = format!("{}{secret}{}", ".".repeat(before), ".".repeat(after));
            let mut kept = Kept::new(2000);
            text.as_bytes().chunks(chunk).for_each(|part| kept.push(part));
            let shown = kept.shown(&[Secret::new(secret)]);
            for part in secret.as_bytes().windows(6) {
                prop_assert!(!shown.contains(std::str::from_utf8(part).unwrap()), "{}", shown);
            }
            prop_assert!(kept.head.len() + kept.tail.len() <= 2000 + 2 * MARGIN);
        }
    }
}
