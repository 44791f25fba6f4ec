//! Lines out of the pieces that a connection brings, however they are cut.

/// What is kept of a line that is not over.
#[derive(Debug)]
pub(super) struct Lines {
    kept: Vec<u8>,
    /// Longest line.
    most: usize,
    /// Whether the line that comes is longer than that: it is passed over to its end.
    is_lost: bool,
}

impl Lines {
    /// Of lines of at most so many bytes.
    pub(super) fn of(most: usize) -> Self {
        Self { kept: Vec::new(), most, is_lost: false }
    }

    /// Takes one more piece, and shows every line that it completes, without its end; none: one that was too long.
    pub(super) fn push(&mut self, piece: &[u8], mut each: impl FnMut(Option<&[u8]>)) {
        let mut rest = piece;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.keep(&rest[..end]);
            rest = &rest[end + 1..];
            let is_lost = std::mem::take(&mut self.is_lost);
            let line = self.kept.strip_suffix(b"\r").unwrap_or(&self.kept);
            each(Some(line).filter(|_| !is_lost));
            self.kept.clear();
        }
        self.keep(rest);
        if self.kept.is_empty() {
            self.kept.shrink_to(4096);
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.is_lost |= self.kept.len() + bytes.len() > self.most;
        if self.is_lost {
            self.kept.clear();
        } else {
            self.kept.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_in_whatever_pieces_they_come_and_long_ones_are_passed_over() {
        let text = b"one\r\n\n0123456789\ntwo\nrest";
        for size in 1..text.len() {
            let (mut lines, mut found) = (Lines::of(5), Vec::new());
            for piece in text.chunks(size) {
                lines.push(piece, |line| {
                    found.push(line.map(|line| String::from_utf8(line.to_vec()).unwrap()));
                });
            }
            let of = |text: &str| Some(text.to_owned());
            assert_eq!(found, [of("one"), of(""), None, of("two")], "{size}");
        }
    }
}
