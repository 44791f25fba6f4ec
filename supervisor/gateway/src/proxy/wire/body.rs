//! Bodies of all framings behind one face.

use super::chunked::{ChunkError, Chunked, Keep, Step};
use super::request::Framing;

/// What is still to come of a body.
#[derive(Debug)]
pub(crate) enum Body {
    Done,
    Length(u64),
    Chunked(Chunked),
    Close,
}

impl Body {
    /// The whole body; of chunks at most `limit` bytes.
    pub(crate) fn new(framing: Framing, keep: Keep, limit: u64) -> Self {
        match framing {
            Framing::None => Self::Done,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunked::new(keep, limit)),
            Framing::Close => Self::Close,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Takes what of `buf` belongs to the body.
    pub(crate) fn feed(&mut self, buf: &mut [u8]) -> Result<Step, ChunkError> {
        let step = match self {
            Self::Done => Step { kept: 0, used: 0, done: true },
            Self::Close => Step { kept: buf.len(), used: buf.len(), done: false },
            Self::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(buf.len());
                *left -= take as u64;
                Step { kept: take, used: take, done: *left == 0 }
            }
            Self::Chunked(scanner) => scanner.feed(buf)?,
        };
        if step.done {
            *self = Self::Done;
        }
        Ok(step)
    }

    /// How much to read so that nothing behind the body is, where that can be known.
    pub(crate) fn read_limit(&self, most: usize) -> usize {
        match self {
            Self::Length(left) => usize::try_from(*left).unwrap_or(usize::MAX).min(most),
            _ => most,
        }
    }
}
