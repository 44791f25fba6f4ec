//! Chunked bodies, judged while they pass.
//!
//! The scanner takes whatever bytes have arrived and leaves, at the front of the same buffer, those to pass on: framing
//! included (extensions and trailers removed) for a receiver that reads chunks, payload alone for one that does not. However
//! the bytes are split, the result is the same. What it passes on before an error is always the beginning of a correct body.

/// Most bytes of extensions and trailers in one body.
const MAX_EXTRA: u16 = 16 * 1024;
/// Most digits of a chunk size: 60 bits.
const MAX_DIGITS: u8 = 15;

/// What to leave in the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Sizes, line ends and payload.
    Framed,
    /// Payload only.
    Payload,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Digits of a size.
    Size,
    /// Blanks behind a size: an extension must follow.
    Blank,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    Done,
}

/// Where in a chunked body we are.
#[derive(Debug, Clone)]
pub(crate) struct Chunked {
    state: State,
    keep: Keep,
    digits: u8,
    /// Extension and trailer bytes so far.
    extra: u16,
    /// Of the size being read, then of the chunk's data still to come.
    left: u64,
    /// Payload that may still be announced.
    room: u64,
}

/// What one buffer amounted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// Bytes to pass on, from the front of the buffer.
    pub(crate) kept: usize,
    /// Bytes that belonged to the body; what is behind them does not.
    pub(crate) used: usize,
    /// The body is complete.
    pub(crate) done: bool,
}

/// Why a body is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChunkError {
    /// Not a chunked body.
    Malformed,
    /// A correct one, larger than allowed.
    TooLarge,
}

impl Chunked {
    /// A scanner for a body with at most `limit` bytes of payload.
    pub(crate) fn new(keep: Keep, limit: u64) -> Self {
        Self { state: State::Size, keep, digits: 0, extra: 0, left: 0, room: limit }
    }

    /// Judges `buf`.
    pub(crate) fn feed(&mut self, buf: &mut [u8]) -> Result<Step, ChunkError> {
        let framed = self.keep == Keep::Framed;
        let (mut used, mut kept) = (0, 0);
        while used < buf.len() && self.state != State::Done {
            if self.state == State::Data {
                let take = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.len() - used);
                if kept != used {
                    buf.copy_within(used..used + take, kept);
                }
                kept += take;
                used += take;
                self.left -= take as u64;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            if let Some(line) = self.plain_line(&buf[used..]) {
                if framed {
                    if kept != used {
                        buf.copy_within(used..used + line, kept);
                    }
                    kept += line;
                }
                used += line;
                continue;
            }
            let byte = buf[used];
            used += 1;
            if self.step(byte)? && framed {
                buf[kept] = byte;
                kept += 1;
            }
        }
        Ok(Step { kept, used, done: self.state == State::Done })
    }

    /// Takes what nearly every chunk has around its data, in one go: the line end behind one chunk, the plain size of another.
    /// Says how long it was; where anything is out of the ordinary, nothing is taken and [`Self::step`] decides.
    fn plain_line(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = match self.state {
            State::DataCr if bytes.starts_with(b"\r\n") => 2,
            State::Size if self.digits == 0 => 0,
            _ => return None,
        };
        let from = at;
        let mut size = 0;
        while let Some(digit) = bytes.get(at).and_then(|&b| char::from(b).to_digit(16)) {
            if at - from == usize::from(MAX_DIGITS) {
                return None;
            }
            size = size * 16 + u64::from(digit);
            at += 1;
        }
        if size == 0 || size > self.room || !bytes[at..].starts_with(b"\r\n") {
            return None;
        }
        self.room -= size;
        self.left = size;
        self.state = State::Data;
        Some(at + 2)
    }

    /// Takes one byte that is not payload; says whether it belongs to plain framing.
    fn step(&mut self, byte: u8) -> Result<bool, ChunkError> {
        let (next, plain) = match (self.state, byte) {
            (State::Size, b'\r') if self.digits > 0 => (State::SizeLf, true),
            (State::Size | State::Blank, b';') if self.digits > 0 => return self.extra(State::Extension),
            (State::Size | State::Blank, b' ' | b'\t') if self.digits > 0 => return self.extra(State::Blank),
            (State::Size, _) => return self.digit(byte),
            (State::Extension, b'\r') => (State::SizeLf, true),
            (State::Extension, b'\t' | b' '..=0x7e | 0x80..) => return self.extra(State::Extension),
            (State::SizeLf, b'\n') if self.left == 0 => (State::TrailerStart, true),
            (State::SizeLf, b'\n') => (State::Data, true),
            (State::DataCr, b'\r') => (State::DataLf, true),
            (State::DataLf, b'\n') => {
                self.digits = 0;
                (State::Size, true)
            }
            (State::TrailerStart, b'\r') => (State::EndLf, true),
            (State::TrailerStart, b'!'..=b'~') | (State::Trailer, b'\t' | b' '..=0x7e | 0x80..) => {
                return self.extra(State::Trailer);
            }
            (State::Trailer, b'\r') => (State::TrailerLf, false),
            (State::TrailerLf, b'\n') => (State::TrailerStart, false),
            (State::EndLf, b'\n') => (State::Done, true),
            _ => return Err(ChunkError::Malformed),
        };
        self.state = next;
        Ok(plain)
    }

    fn digit(&mut self, byte: u8) -> Result<bool, ChunkError> {
        let digit = char::from(byte).to_digit(16).ok_or(ChunkError::Malformed)?;
        if self.digits == MAX_DIGITS {
            return Err(ChunkError::Malformed);
        }
        if self.digits == 0 {
            self.left = 0;
        }
        self.digits += 1;
        // Checked digit by digit, so that no digit of a size that is too large is passed on.
        let before = self.left;
        self.left = before * 16 + u64::from(digit);
        self.room = self.room.saturating_add(before).checked_sub(self.left).ok_or(ChunkError::TooLarge)?;
        Ok(true)
    }

    fn extra(&mut self, next: State) -> Result<bool, ChunkError> {
        if self.extra == MAX_EXTRA {
            return Err(ChunkError::Malformed);
        }
        self.extra += 1;
        self.state = next;
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Everything kept, how much was used, and how it ended, with the input cut at `cuts`.
    fn run(
        input: &[u8],
        cuts: &[usize],
        keep: Keep,
        limit: u64,
    ) -> (Vec<u8>, usize, Result<bool, ChunkError>) {
        let mut scanner = Chunked::new(keep, limit);
        let (mut out, mut used) = (Vec::new(), 0);
        let mut bounds: Vec<usize> = cuts.iter().map(|c| c % (input.len() + 1)).collect();
        bounds.push(input.len());
        bounds.sort_unstable();
        let mut from = 0;
        for to in bounds {
            let mut piece = input[from..to].to_vec();
            match scanner.feed(&mut piece) {
                Ok(step) => {
                    out.extend_from_slice(&piece[..step.kept]);
                    used += step.used;
                    if step.done {
                        return (out, used, Ok(true));
                    }
                    assert_eq!(step.used, piece.len());
                }
                Err(error) => return (out, 0, Err(error)),
            }
            from = to;
        }
        (out, used, Ok(false))
    }

    #[test]
    fn passes_framing_and_drops_extensions_and_trailers() {
        let body = b"5;ext=\"x\"\r\nhello\r\n1;\r\n!\r\n0;last\r\nX-Trailer: v\r\nB: c\r\n\r\nGET / HTTP/1.1";
        let (framed, used, end) = run(body, &[], Keep::Framed, 100);
        assert_eq!(framed, b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n");
        assert_eq!((&body[used..], end), (b"GET / HTTP/1.1".as_slice(), Ok(true)));
        assert_eq!(run(body, &[], Keep::Payload, 100).0, b"hello!");
    }

    #[test]
    fn refuses_what_could_be_read_in_two_ways() {
        for bad in [
            "\r\n",
            "g\r\n",
            "0x5\r\nhello\r\n",
            "+5\r\nhello\r\n",
            "-1\r\n",
            " 5\r\nhello",
            "5 \r\nhello",
            "5 5\r\nhello",
            " ;a\r\nhello",
            "5\nhello",
            "5\r\nhello\n",
            "5\r\nhelloX\r\n",
            "5\r\nhel\r\n0\r\n\r\n",
            "5;a\nb\r\nhello\r\n",
            "5;a\0\r\nhello",
            "0\r\n\n",
            "0\n\n",
            "0\r\n folded\r\n\r\n",
            "0\r\nA: b\n\r\n",
            "0\r\nA: b\r\r\n",
            "ffffffffffffffff\r\n",
            "0000000000000005\r\nhello",
            "5_0\r\n",
        ] {
            assert_eq!(
                run(bad.as_bytes(), &[], Keep::Framed, u64::MAX >> 2).2,
                Err(ChunkError::Malformed),
                "{bad:?}"
            );
        }
        let endless = format!("1;{}", "x".repeat(17 * 1024));
        assert_eq!(run(endless.as_bytes(), &[], Keep::Framed, 9).2, Err(ChunkError::Malformed));
    }

    /// 22: blanks around the `;` of an extension are bad taste, not an error.
    #[test]
    fn extensions_may_stand_apart() {
        let body = b"5 ;ext\r\nhello\r\n1 \t; a = \"b;c\"\r\n!\r\n0 ; last\r\n\r\n";
        assert_eq!(run(body, &[], Keep::Framed, 9).0, b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n");
        let endless = format!("1{}", " ".repeat(17 * 1024));
        assert_eq!(run(endless.as_bytes(), &[], Keep::Framed, 9).2, Err(ChunkError::Malformed));
    }

    #[test]
    fn counts_payload_over_all_chunks() {
        let body = b"4\r\nabcd\r\n4\r\nefgh\r\n0\r\n\r\n";
        assert_eq!(run(body, &[], Keep::Framed, 8).2, Ok(true));
        assert_eq!(run(body, &[], Keep::Framed, 7).2, Err(ChunkError::TooLarge));
        assert_eq!(run(b"ffffff\r\n", &[], Keep::Framed, 7).2, Err(ChunkError::TooLarge));
    }

    proptest! {
        #[test]
        fn splits_do_not_matter(
            chunks in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..40), "([ \t]{0,2};[a-z=\"]{0,6})?"), 0..6),
            trailer in "([A-Z][a-z]{0,4}: [a-z]{0,5}\r\n){0,2}",
            noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..2),
            cuts in prop::collection::vec(any::<usize>(), 0..12),
        ) {
            let mut body = Vec::new();
            let mut payload = Vec::new();
            for (data, ext) in &chunks {
                body.extend_from_slice(format!("{:x}{ext}\r\n", data.len()).as_bytes());
                body.extend_from_slice(data);
                body.extend_from_slice(b"\r\n");
                payload.extend_from_slice(data);
            }
            body.extend_from_slice(format!("0\r\n{trailer}\r\n").as_bytes());
            prop_assert_eq!(&run(&body, &cuts, Keep::Payload, 1000), &(payload, body.len(), Ok(true)));
            for (at, byte) in &noise {
                let at = at.index(body.len());
                body[at] = *byte;
            }
            for keep in [Keep::Framed, Keep::Payload] {
                let whole = run(&body, &[], keep, 60);
                let split = run(&body, &cuts, keep, 60);
                prop_assert_eq!(&whole.2, &split.2);
                if whole.2.is_ok() {
                    prop_assert_eq!(whole, split);
                }
            }
        }
    }
}
