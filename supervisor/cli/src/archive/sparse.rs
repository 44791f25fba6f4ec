//! Files with holes, as GNU tar writes them: the old format, and PAX 0.0, 0.1 and 1.0.
//!
//! Sources: "Storing Sparse Files" in the manual of GNU tar, `src/sparse.c` there. A map is taken only where its pieces stand in
//! order, within the file, and are exactly what is stored.

use std::io::{self, Read};

use super::{ArchiveError, printable};

/// Most pieces of one file.
const PIECES: usize = 1 << 16;
/// Digits of the largest number.
const DIGITS: usize = 20;
/// Length of a block of tar.
const BLOCK: u64 = 512;

/// One file: where its stored bytes belong, and how long it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Map {
    /// Offset and length, in order.
    pieces: Vec<(u64, u64)>,
    /// Length of the file.
    pub(super) size: u64,
}

impl Map {
    /// `stored`: bytes in the archive.
    fn new(pieces: Vec<(u64, u64)>, size: u64, stored: u64) -> Result<Self, ArchiveError> {
        let mut at = 0_u64;
        let mut sum = 0_u64;
        for (offset, length) in &pieces {
            let end = offset.checked_add(*length).filter(|end| *end <= size);
            let (true, Some(end)) = (*offset >= at, end) else { return Err(broken()) };
            at = end;
            sum += length;
        }
        if sum == stored { Ok(Self { pieces, size }) } else { Err(broken()) }
    }

    /// Of the old format: four pieces in the header, more in the blocks behind it, which are taken from `input`. Gives the map;
    /// the stored bytes come next.
    pub(super) fn old(header: &tar::Header, stored: u64, mut input: impl Read) -> Result<Self, ArchiveError> {
        let gnu = header.as_gnu().ok_or_else(broken)?;
        let mut pieces = Vec::new();
        take(&mut pieces, &gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            let mut block = tar::GnuExtSparseHeader::new();
            input.read_exact(block.as_mut_bytes())?;
            take(&mut pieces, block.sparse())?;
            more = block.is_extended();
        }
        Self::new(pieces, gnu.real_size()?, stored)
    }
}

fn take(pieces: &mut Vec<(u64, u64)>, found: &[tar::GnuSparseHeader]) -> Result<(), ArchiveError> {
    for piece in found.iter().filter(|piece| !piece.is_empty()) {
        add(pieces, piece.offset()?, piece.length()?)?;
    }
    Ok(())
}

fn add(pieces: &mut Vec<(u64, u64)>, offset: u64, length: u64) -> Result<(), ArchiveError> {
    if pieces.len() >= PIECES {
        return Err(ArchiveError::TooLarge(format!("a sparse file has more than {PIECES} pieces")));
    }
    pieces.push((offset, length));
    Ok(())
}

fn broken() -> ArchiveError {
    ArchiveError::NotAnArchive("the map of a sparse file is malformed".to_owned())
}

/// What PAX records say of the next member.
#[derive(Debug, Default)]
pub(super) struct Pax {
    any: bool,
    major: u64,
    size: Option<u64>,
    /// Its real name.
    pub(super) name: Option<Vec<u8>>,
    numbers: Vec<u64>,
}

impl Pax {
    /// Takes a record `GNU.sparse.<key>`.
    pub(super) fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), ArchiveError> {
        self.any = true;
        match key {
            b"major" => self.major = number(value)?,
            b"minor" | b"numblocks" => {}
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(number(value)?),
            b"offset" | b"numbytes" => self.push(number(value)?)?,
            b"map" => {
                for part in value.split(|b| *b == b',') {
                    self.push(number(part)?)?;
                }
            }
            _ => {
                let what = format!("a sparse file of an unknown kind ({})", printable(key));
                return Err(ArchiveError::UnsupportedType {
                    name: self.name.as_deref().map(printable).unwrap_or_default(),
                    what,
                });
            }
        }
        Ok(())
    }

    fn push(&mut self, number: u64) -> Result<(), ArchiveError> {
        if self.numbers.len() >= 2 * PIECES {
            return Err(ArchiveError::TooLarge(format!("a sparse file has more than {PIECES} pieces")));
        }
        self.numbers.push(number);
        Ok(())
    }

    /// The map of a member with `stored` bytes, of which the map itself may be the first; it is taken from `input`. `None`: it is
    /// no sparse file. With it, how many bytes of `input` are left.
    pub(super) fn map(self, stored: u64, input: impl Read) -> Result<Option<(Map, u64)>, ArchiveError> {
        if !self.any {
            return Ok(None);
        }
        let size = self.size.ok_or_else(broken)?;
        let (numbers, taken) = if self.major == 1 { listed(input, stored)? } else { (self.numbers, 0) };
        if numbers.len() % 2 != 0 {
            return Err(broken());
        }
        let pieces = numbers.chunks(2).map(|pair| (pair[0], pair[1])).collect();
        let left = stored.checked_sub(taken).ok_or_else(broken)?;
        Ok(Some((Map::new(pieces, size, left)?, left)))
    }
}

fn number(text: &[u8]) -> Result<u64, ArchiveError> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= DIGITS);
    text.and_then(|text| text.parse().ok()).ok_or_else(broken)
}

/// The map in front of the content: how many pieces, and their numbers, one a line, filled up to a whole block.
fn listed(input: impl Read, stored: u64) -> Result<(Vec<u64>, u64), ArchiveError> {
    let mut input = input.take(stored);
    let mut taken = 0_u64;
    let mut line = || -> Result<u64, ArchiveError> {
        let mut digits = Vec::new();
        loop {
            let mut byte = [0];
            input.read_exact(&mut byte)?;
            taken += 1;
            match byte[0] {
                b'\n' => return number(&digits),
                digit if digits.len() < DIGITS => digits.push(digit),
                _ => return Err(broken()),
            }
        }
    };
    let count = line()?;
    if count > PIECES as u64 {
        return Err(ArchiveError::TooLarge(format!("a sparse file has more than {PIECES} pieces")));
    }
    let numbers = (0..2 * count).map(|_| line()).collect::<Result<Vec<_>, _>>()?;
    let whole = taken.next_multiple_of(BLOCK);
    let padding = whole - taken;
    if io::copy(&mut input.take(padding), &mut io::sink())? < padding {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok((numbers, whole))
}

/// The file as it was, holes filled with zeros.
pub(super) struct Expanded<R> {
    input: R,
    pieces: std::vec::IntoIter<(u64, u64)>,
    piece: Option<(u64, u64)>,
    at: u64,
    size: u64,
}

impl<R: Read> Expanded<R> {
    pub(super) fn new(map: Map, input: R) -> Self {
        let mut pieces = map.pieces.into_iter();
        Self { input, piece: pieces.next(), pieces, at: 0, size: map.size }
    }
}

impl<R: Read> Read for Expanded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_some_and(|(offset, length)| self.at >= offset + length) {
            self.piece = self.pieces.next();
        }
        let (until, is_hole) = match self.piece {
            Some((offset, _)) if self.at < offset => (offset, true),
            Some((offset, length)) => (offset + length, false),
            None => (self.size, true),
        };
        let room = usize::try_from(until - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let n = if is_hole {
            buffer[..room].fill(0);
            room
        } else {
            self.input.read(&mut buffer[..room])?
        };
        if n == 0 && room > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_that_lie_are_refused() {
        assert!(Map::new(vec![(0, 2), (5, 1)], 8, 3).is_ok() && Map::new(vec![], 8, 0).is_ok());
        for (pieces, size, stored) in [
            (vec![(0, 2), (1, 1)], 8, 3),
            (vec![(5, 1), (0, 2)], 8, 3),
            (vec![(7, 2)], 8, 2),
            (vec![(u64::MAX, 2)], 8, 2),
            (vec![(0, 2)], 8, 3),
            (vec![(0, 4)], 8, 3),
        ] {
            assert!(Map::new(pieces.clone(), size, stored).is_err(), "{pieces:?}");
        }
        let mut pax = Pax::default();
        pax.record(b"major", b"1").unwrap();
        pax.record(b"realsize", b"8").unwrap();
        assert!(pax.map(512, &b"99999999\n0\n"[..]).is_err());
        assert!(Pax::default().record(b"map", b"0,x").is_err());
    }

    #[test]
    fn holes_are_zeros() {
        let map = Map::new(vec![(2, 2), (6, 1), (8, 0)], 8, 3).unwrap();
        let mut all = Vec::new();
        Expanded::new(map, &b"abc"[..]).read_to_end(&mut all).unwrap();
        assert_eq!(all, b"\0\0ab\0\0c\0");
        let map = Map::new(vec![(0, 4)], 8, 4).unwrap();
        assert!(Expanded::new(map, &b"abc"[..]).read_to_end(&mut Vec::new()).is_err());
    }
}
