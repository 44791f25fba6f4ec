//! The first bytes in each direction, laid out by hand so that any two releases can always read them.
//!
//! Offer (client, or worker): `HRMS`, u16 min, u16 max, u32 length, UTF-8 build text. All integers little endian.
//! Answer (server, or supervisor): `HRMS`, u8 verdict (1 = welcome, 0 = reject), u16 version (0 on reject), u32 length, UTF-8
//! text (the build, or why not). Text is at most [`MAX_TEXT`] bytes; a longer one is refused before it is read.

use std::ops::RangeInclusive;

use crate::version::{self, Version};

/// First bytes of both messages.
pub const MAGIC: [u8; 4] = *b"HRMS";
/// Longest text in a handshake, in bytes.
pub const MAX_TEXT: usize = 1024;
/// Bytes of an offer before its text.
pub const OFFER_HEAD: usize = 12;
/// Bytes of an answer before its text.
pub const ANSWER_HEAD: usize = 11;

/// What the connecting side says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Versions it speaks.
    pub versions: RangeInclusive<Version>,
    /// Its build, for logs.
    pub build: String,
}

/// What the accepting side answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Both speak this version.
    Welcome {
        /// The version in force from here on.
        version: Version,
        /// The accepting side's build.
        build: String,
    },
    /// No common version, or not wanted here.
    Reject {
        /// Why, for people.
        reason: String,
    },
}

/// Why handshake bytes were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The peer does not speak this protocol at all.
    #[error("the peer is not a hermes process (wrong first bytes)")]
    Magic,
    /// Not enough bytes.
    #[error("the handshake is cut short")]
    Short,
    /// More text than [`MAX_TEXT`].
    #[error("the handshake text of {0} bytes is too long")]
    TextTooLong(usize),
    /// The text is not UTF-8.
    #[error("the handshake text is not UTF-8")]
    Text,
    /// `min` above `max`, or an unknown verdict.
    #[error("the handshake is malformed")]
    Malformed,
    /// The peer refused us.
    #[error("the peer refused the connection: {0}")]
    Rejected(String),
}

impl Offer {
    /// This build's offer.
    pub fn ours() -> Self {
        Self { versions: version::SUPPORTED, build: build_text() }
    }

    /// Bytes to send.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(OFFER_HEAD + self.build.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.versions.start().to_le_bytes());
        out.extend_from_slice(&self.versions.end().to_le_bytes());
        push_text(&mut out, &self.build);
        out
    }

    /// Length of the text that follows a complete head of [`OFFER_HEAD`] bytes.
    pub fn text_len(head: &[u8]) -> Result<usize, HandshakeError> {
        text_len(head, OFFER_HEAD)
    }

    /// Reads a whole offer; trailing bytes are an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, HandshakeError> {
        let build = text_after(bytes, OFFER_HEAD)?;
        let (min, max) = (u16_at(bytes, 4), u16_at(bytes, 6));
        if min > max {
            return Err(HandshakeError::Malformed);
        }
        Ok(Self { versions: min..=max, build })
    }

    /// The answer this build gives.
    pub fn answer(&self) -> Answer {
        match version::negotiate(&version::SUPPORTED, &self.versions) {
            Some(version) => Answer::Welcome { version, build: build_text() },
            None => Answer::Reject {
                reason: format!(
                    "no common message version: this is {} and speaks {:?}, the peer is {} and speaks {:?}; restart the gateway so that both are of one release",
                    build_text(),
                    version::SUPPORTED,
                    self.build,
                    self.versions
                ),
            },
        }
    }
}

impl Answer {
    /// Bytes to send.
    pub fn encode(&self) -> Vec<u8> {
        let (verdict, version, text) = match self {
            Self::Welcome { version, build } => (1, *version, build),
            Self::Reject { reason } => (0, 0, reason),
        };
        let mut out = Vec::with_capacity(ANSWER_HEAD + text.len());
        out.extend_from_slice(&MAGIC);
        out.push(verdict);
        out.extend_from_slice(&version.to_le_bytes());
        push_text(&mut out, text);
        out
    }

    /// Length of the text that follows a complete head of [`ANSWER_HEAD`] bytes.
    pub fn text_len(head: &[u8]) -> Result<usize, HandshakeError> {
        text_len(head, ANSWER_HEAD)
    }

    /// Reads a whole answer; trailing bytes are an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, HandshakeError> {
        let text = text_after(bytes, ANSWER_HEAD)?;
        match (bytes[4], u16_at(bytes, 5)) {
            (1, version) => Ok(Self::Welcome { version, build: text }),
            (0, _) => Ok(Self::Reject { reason: text }),
            _ => Err(HandshakeError::Malformed),
        }
    }

    /// The version in force, or the peer's refusal as an error.
    pub fn into_version(self) -> Result<Version, HandshakeError> {
        match self {
            Self::Welcome { version, .. } if version::SUPPORTED.contains(&version) => Ok(version),
            Self::Welcome { .. } => Err(HandshakeError::Malformed),
            Self::Reject { reason } => Err(HandshakeError::Rejected(reason)),
        }
    }
}

/// `hermes 0.1.0`.
pub fn build_text() -> String {
    format!("hermes {}", env!("CARGO_PKG_VERSION"))
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    let cut = (0..=text.len().min(MAX_TEXT)).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    let len = u32::try_from(cut).expect("MAX_TEXT fits in u32");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&text.as_bytes()[..cut]);
}

fn text_len(head: &[u8], head_len: usize) -> Result<usize, HandshakeError> {
    if head.len() < head_len {
        return Err(HandshakeError::Short);
    }
    if head[..4] != MAGIC {
        return Err(HandshakeError::Magic);
    }
    let at = head_len - 4;
    let len = u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
    if len > MAX_TEXT { Err(HandshakeError::TextTooLong(len)) } else { Ok(len) }
}

fn text_after(bytes: &[u8], head_len: usize) -> Result<String, HandshakeError> {
    let len = text_len(bytes, head_len)?;
    let text = &bytes[head_len..];
    if text.len() != len {
        return Err(if text.len() < len { HandshakeError::Short } else { HandshakeError::Malformed });
    }
    std::str::from_utf8(text).map(str::to_owned).map_err(|_| HandshakeError::Text)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offer_bytes_are_frozen() {
        let offer = Offer { versions: 1..=2, build: "b".into() };
        let bytes = [b'H', b'R', b'M', b'S', 1, 0, 2, 0, 1, 0, 0, 0, b'b'];
        assert_eq!(offer.encode(), bytes);
        assert_eq!(Offer::decode(&bytes), Ok(offer));
    }

    #[test]
    fn answer_bytes_are_frozen() {
        let answer = Answer::Welcome { version: 1, build: "b".into() };
        let bytes = [b'H', b'R', b'M', b'S', 1, 1, 0, 1, 0, 0, 0, b'b'];
        assert_eq!(answer.encode(), bytes);
        assert_eq!(Answer::decode(&bytes), Ok(answer));
    }

    #[test]
    fn hostile_bytes_are_refused_before_they_are_read() {
        assert_eq!(Offer::text_len(b"HTTP/1.1 200"), Err(HandshakeError::Magic));
        assert_eq!(Offer::text_len(b"HRMS"), Err(HandshakeError::Short));
        let huge = [b'H', b'R', b'M', b'S', 1, 0, 1, 0, 0xff, 0xff, 0xff, 0xff];
        assert!(matches!(Offer::text_len(&huge), Err(HandshakeError::TextTooLong(_))));
        let inverted = [b'H', b'R', b'M', b'S', 2, 0, 1, 0, 0, 0, 0, 0];
        assert_eq!(Offer::decode(&inverted), Err(HandshakeError::Malformed));
    }

    #[test]
    fn no_overlap_names_both_ranges() {
        let Answer::Reject { reason } = Offer { versions: 7..=9, build: "hermes 9".into() }.answer() else {
            panic!("must reject");
        };
        assert!(reason.contains("7..=9") && reason.contains("2..=3"), "{reason}");
    }
}
