//! Printed output, cut into lines; runs of equal lines become one line and a count.

use super::line::MAX_LEN;

/// Cuts a stream of bytes into lines.
#[derive(Debug, Default)]
pub(super) struct Capture {
    /// What came after the last newline.
    partial: Vec<u8>,
    last: Vec<u8>,
    repeated: u64,
}

impl Capture {
    /// Takes more bytes and hands every line that is complete to `out`.
    pub(super) fn feed(&mut self, mut bytes: &[u8], out: &mut impl FnMut(&str)) {
        while let Some(at) = bytes.iter().position(|b| *b == b'\n') {
            self.partial.extend_from_slice(&bytes[..at]);
            bytes = &bytes[at + 1..];
            self.end_line(out);
        }
        for piece in bytes.chunks(MAX_LEN) {
            if self.partial.len() + piece.len() > MAX_LEN {
                self.end_line(out);
            }
            self.partial.extend_from_slice(piece);
        }
    }

    /// Whether a count is waiting to be told.
    pub(super) fn is_counting(&self) -> bool {
        self.repeated > 0
    }

    /// Tells a count that is waiting.
    pub(super) fn tell(&mut self, out: &mut impl FnMut(&str)) {
        if self.repeated > 0 {
            out(&format!("(last line repeated {} more times)", std::mem::take(&mut self.repeated)));
        }
    }

    /// Tells everything that is waiting, a line without an end included.
    pub(super) fn finish(&mut self, out: &mut impl FnMut(&str)) {
        if !self.partial.is_empty() {
            self.end_line(out);
        }
        self.tell(out);
    }

    fn end_line(&mut self, out: &mut impl FnMut(&str)) {
        if self.partial.last() == Some(&b'\r') {
            self.partial.pop();
        }
        if self.partial.is_empty() {
            return;
        }
        if self.partial == self.last {
            self.repeated += 1;
        } else {
            self.tell(out);
            out(&String::from_utf8_lossy(&self.partial));
            std::mem::swap(&mut self.partial, &mut self.last);
        }
        self.partial.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let (mut capture, mut out) = (Capture::default(), Vec::new());
        for piece in pieces {
            capture.feed(piece, &mut |line| out.push(line.to_owned()));
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
    fn a_line_without_an_end_is_cut() {
        let flood = vec![b'x'; MAX_LEN * 3];
        assert!(lines(&[&flood]).iter().all(|line| line.len() <= MAX_LEN || line.starts_with('(')));
    }
}
