//! Equal lines close together are one line and a count: for logs, where a flood is mostly the same again and again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::clock;

/// How long a line is remembered after it was written; equal ones until then are only counted.
const WINDOW: Duration = Duration::from_secs(1);
/// Different lines that are remembered. What repeats is among the last few, or it is no flood.
const REMEMBERED: usize = 64;
/// The same in bytes, unless one line is longer.
const REMEMBERED_BYTES: usize = 64 * 1024;

/// One line, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it was logged.
    pub at: Timestamp,
    /// What it says.
    pub text: String,
}

impl Line {
    /// Logged now.
    pub fn new(text: String) -> Self {
        Self { at: clock::utc(), text }
    }
}

/// The lines of the last moment.
#[derive(Debug, Default)]
pub struct Repeats {
    recent: VecDeque<Recent>,
    /// Of their texts.
    bytes: usize,
}

#[derive(Debug)]
struct Recent {
    /// With the time of the last one.
    line: Line,
    until: Instant,
    more: u64,
}

impl Repeats {
    /// Takes a line; `out` gets what has to be written because of it.
    pub fn take(&mut self, line: Line, now: Instant, out: &mut impl FnMut(Line)) {
        self.tell(now, out);
        if let Some(recent) = self.recent.iter_mut().find(|recent| recent.line.text == line.text) {
            recent.line.at = line.at;
            recent.more += 1;
            return;
        }
        while self.recent.len() >= REMEMBERED || self.bytes + line.text.len() > REMEMBERED_BYTES {
            let Some(oldest) = self.pop() else { break };
            oldest.tell(out);
        }
        out(line.clone());
        self.push(Recent { line, until: now + WINDOW, more: 0 });
    }

    /// Tells the counts whose time has come. A line that goes on repeating is told once in every window.
    pub fn tell(&mut self, now: Instant, out: &mut impl FnMut(Line)) {
        while self.recent.front().is_some_and(|recent| recent.until <= now)
            && let Some(mut recent) = self.pop()
        {
            if recent.tell(out) {
                (recent.until, recent.more) = (now + WINDOW, 0);
                self.push(recent);
            }
        }
    }

    /// Tells every count.
    pub fn finish(&mut self, out: &mut impl FnMut(Line)) {
        while let Some(recent) = self.pop() {
            recent.tell(out);
        }
    }

    fn pop(&mut self) -> Option<Recent> {
        let oldest = self.recent.pop_front()?;
        self.bytes -= oldest.line.text.len();
        Some(oldest)
    }

    fn push(&mut self, recent: Recent) {
        self.bytes += recent.line.text.len();
        self.recent.push_back(recent);
    }

    /// When [`Self::tell`] has something to say.
    pub fn due(&self) -> Option<Instant> {
        self.recent.iter().filter(|recent| recent.more > 0).map(|recent| recent.until).min()
    }
}

impl Recent {
    /// Whether there was anything to tell.
    fn tell(&self, out: &mut impl FnMut(Line)) -> bool {
        if self.more > 0 {
            let text = format!("{} ({} more like this)", self.line.text, self.more);
            out(Line { at: self.line.at, text });
        }
        self.more > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 5: ten equal lines a second are one line with a count, whatever comes between them.
    #[test]
    fn equal_lines_are_one_line_and_a_count() {
        let (mut repeats, mut lines) = (Repeats::default(), Vec::new());
        let start = crate::clock::now();
        let at = |ms| start + Duration::from_millis(ms);
        for n in 0..10 {
            repeats.take(Line::new("a".to_owned()), at(n * 100), &mut |line| lines.push(line.text));
            repeats.take(Line::new(format!("b{n}")), at(n * 100), &mut |line| lines.push(line.text));
        }
        assert_eq!(lines.iter().filter(|line| line.starts_with('a')).count(), 1);
        assert_eq!(repeats.due(), Some(at(1000)));
        lines.clear();
        repeats.tell(at(1000), &mut |line| lines.push(line.text));
        assert_eq!(lines, ["a (9 more like this)"]);
        // It goes on: once in every window.
        lines.clear();
        for n in 0..20 {
            repeats.take(Line::new("a".to_owned()), at(1000 + n * 100), &mut |line| lines.push(line.text));
        }
        assert_eq!(lines, ["a (10 more like this)"]);
        lines.clear();
        repeats.finish(&mut |line| lines.push(line.text));
        assert_eq!(lines, ["a (10 more like this)"]);
        repeats.take(Line::new("a".to_owned()), at(9000), &mut |line| lines.push(line.text));
        assert_eq!((lines.len(), repeats.due()), (2, None));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut repeats, mut lines) = (Repeats::default(), Vec::new());
        let now = crate::clock::now();
        for n in 0..1000 {
            for _ in 0..2 {
                repeats.take(Line::new(n.to_string()), now, &mut |line| lines.push(line.text));
            }
        }
        repeats.finish(&mut |line| lines.push(line.text));
        assert_eq!(lines.len(), 2000);
    }
}
