//! Bytes of a `.env` as text, whatever an editor saved them as.

use std::borrow::Cow;

use super::Flaw;

/// The mark that some editors put first.
pub(super) const MARK: char = '\u{feff}';

/// How the bytes were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As they should be.
    Utf8,
    /// UTF-8, but for lines that are Latin-1; the first that is no comment.
    Latin1(Option<u32>),
    /// UTF-16, with or without a mark.
    Utf16,
    /// UTF-8 with zero bytes in it, which were dropped; the first line with one.
    Zeros(u32),
}

impl Encoding {
    pub(super) fn flaw(self) -> Option<Flaw> {
        let (line, message) = match self {
            Self::Utf8 | Self::Latin1(None) => return None,
            Self::Latin1(Some(line)) => (line, "the line is not UTF-8 and was read as Latin-1"),
            Self::Utf16 => (1, "the file is UTF-16 and was read as such"),
            Self::Zeros(line) => (line, "the line holds zero bytes, which were left out"),
        };
        Some(Flaw {
            fatal: false,
            code: "env_encoding",
            line,
            name: None,
            message: message.to_owned(),
            fix: "Save the file as UTF-8.",
        })
    }

    /// What it is called.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Self::Utf8 => None,
            Self::Latin1(_) => Some("partly Latin-1"),
            Self::Utf16 => Some("UTF-16"),
            Self::Zeros(_) => Some("UTF-8 with zero bytes"),
        }
    }
}

/// The text, with a mark of UTF-8 that it begins with.
pub(crate) fn decode(bytes: &[u8]) -> Result<(Cow<'_, str>, Encoding), &'static str> {
    if bytes.starts_with(b"\xff\xfe\0\0") || bytes.starts_with(b"\0\0\xfe\xff") {
        return Err("the file is UTF-32");
    }
    let utf16 = match bytes {
        [0xff, 0xfe, rest @ ..] => Some((rest, true)),
        [0xfe, 0xff, rest @ ..] => Some((rest, false)),
        _ => unmarked(bytes),
    };
    if let Some((units, little)) = utf16 {
        if !units.len().is_multiple_of(2) {
            return Err("the file is UTF-16 and was cut in the middle of a character");
        }
        let units = units.chunks_exact(2).map(|pair| {
            let pair = [pair[0], pair[1]];
            if little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) }
        });
        let text: Result<String, _> = char::decode_utf16(units).collect();
        let text = text.map_err(|_| "the file is UTF-16 and holds half a character")?;
        return Ok((text.replace('\0', "").into(), Encoding::Utf16));
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Ok(match bytes.iter().position(|b| *b == 0) {
            None => (text.into(), Encoding::Utf8),
            Some(at) => (text.replace('\0', "").into(), Encoding::Zeros(line_of(bytes, at))),
        });
    }
    // Line by line: one old line does not spoil the others.
    let (mut text, mut first) = (String::with_capacity(bytes.len() + 16), None);
    for (line, number) in bytes.split_inclusive(|b| *b == b'\n').zip(1u32..) {
        if let Ok(line) = std::str::from_utf8(line) {
            text.extend(line.chars().filter(|c| *c != '\0'));
            continue;
        }
        text.extend(line.iter().filter(|b| **b != 0).map(|b| char::from(*b)));
        if first.is_none() && !line.trim_ascii_start().starts_with(b"#") {
            first = Some(number);
        }
    }
    Ok((text.into(), Encoding::Latin1(first)))
}

/// UTF-16 without a mark: every other byte of what is mostly ASCII is zero.
fn unmarked(bytes: &[u8]) -> Option<(&[u8], bool)> {
    let zeros = |odd: usize| bytes.iter().skip(odd).step_by(2).filter(|b| **b == 0).count();
    let half = bytes.len() / 2;
    let (even, odd) = (zeros(0), zeros(1));
    match half {
        0 | 1 => None,
        _ if odd * 4 >= half * 3 && even == 0 => Some((bytes, true)),
        _ if even * 4 >= half * 3 && odd == 0 => Some((bytes, false)),
        _ => None,
    }
}

fn line_of(bytes: &[u8], at: usize) -> u32 {
    let lines = bytes[..at].split(|b| *b == b'\n').count();
    u32::try_from(lines).unwrap_or(u32::MAX)
}
