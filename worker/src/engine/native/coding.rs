//! Content codings of an answer. None is asked for; a proxy on the way may apply one all the same.
//!
//! What a header claims is checked against the first bytes: a proxy that decodes a body and keeps the header is common. Output is
//! passed on in steps, so that a small body that unfolds into a large one meets the limits of whoever reads it.

use std::io::{Read as _, Write as _};

use bytes::{Buf as _, Bytes, BytesMut};
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use futures_util::{Stream, StreamExt, stream};
use ruzstd::decoding::StreamingDecoder;

/// Input that is decoded in one step; `deflate` unfolds it to a thousand times as much at most.
const STEP: usize = 1024;

/// So many of the first bytes tell what a body is.
const SNIFFED: usize = 6;

/// Most of a `zstd` body, coded and decoded: its decoder gives nothing before it has its whole window.
const MAX_ZSTD: usize = 32 * 1024 * 1024;

/// Largest window of `zstd` on the web (RFC 9659).
const MAX_WINDOW: u64 = 8 * 1024 * 1024;

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError<E> {
    /// The connection failed.
    #[error("the connection broke off")]
    Transport(#[source] E),
    /// It is not what its header claims.
    #[error("the answer is not the `{0}` that its header claims")]
    Damaged(&'static str),
}

/// A coding that nobody asked for, and that is not read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the answer is coded with `{0}`, which was not asked for and is not read here; a proxy on the way may have done that"
)]
pub(super) struct Unknown(String);

/// Takes a coding off a body.
pub(super) enum Coder {
    Plain,
    /// Waits for the first bytes.
    Gzip(BytesMut),
    Deflate(BytesMut),
    Zstd(BytesMut),
    InGzip(MultiGzDecoder<Vec<u8>>),
    InZlib(ZlibDecoder<Vec<u8>>),
    InDeflate(DeflateDecoder<Vec<u8>>),
}

impl Coder {
    /// For the value of `Content-Encoding`, empty where there is none.
    pub(super) fn of(header: &str) -> Result<Self, Unknown> {
        let header = header.to_ascii_lowercase();
        let plain = ["", "identity", "none", "utf-8", "aws-chunked"];
        let mut names = header.split(',').map(str::trim).filter(|name| !plain.contains(name));
        match (names.next(), names.next()) {
            (None, _) => Ok(Self::Plain),
            (Some("gzip" | "x-gzip"), None) => Ok(Self::Gzip(BytesMut::new())),
            (Some("deflate"), None) => Ok(Self::Deflate(BytesMut::new())),
            (Some("zstd"), None) => Ok(Self::Zstd(BytesMut::new())),
            _ => {
                Err(Unknown(header.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(40).collect()))
            }
        }
    }

    fn push<E>(&mut self, input: &[u8]) -> Result<Bytes, BodyError<E>> {
        match self {
            Self::Plain => Ok(Bytes::copy_from_slice(input)),
            Self::Zstd(held) => {
                held.extend_from_slice(input);
                if held.len() > MAX_ZSTD { Err(BodyError::Damaged("zstd")) } else { Ok(Bytes::new()) }
            }
            Self::Gzip(held) | Self::Deflate(held) => {
                held.extend_from_slice(input);
                if held.len() < SNIFFED {
                    return Ok(Bytes::new());
                }
                let held = held.split();
                *self = match self {
                    Self::Gzip(_) if held.starts_with(&[0x1F, 0x8B]) => {
                        Self::InGzip(MultiGzDecoder::new(Vec::new()))
                    }
                    Self::Deflate(_) if is_zlib(&held) => Self::InZlib(ZlibDecoder::new(Vec::new())),
                    Self::Deflate(_) if !is_text(&held) => Self::InDeflate(DeflateDecoder::new(Vec::new())),
                    _ => Self::Plain,
                };
                self.push(&held)
            }
            Self::InGzip(decoder) => {
                let done = decoder.write_all(input).and_then(|()| decoder.flush());
                output("gzip", done, decoder.get_mut())
            }
            Self::InZlib(decoder) => {
                let done = decoder.write_all(input).and_then(|()| decoder.flush());
                output("deflate", done, decoder.get_mut())
            }
            Self::InDeflate(decoder) => {
                let done = decoder.write_all(input).and_then(|()| decoder.flush());
                output("deflate", done, decoder.get_mut())
            }
        }
    }

    /// What is left at the end.
    fn finish<E>(&mut self) -> Result<Bytes, BodyError<E>> {
        match self {
            Self::Zstd(held) if held.starts_with(&[0x28, 0xB5, 0x2F, 0xFD]) => {
                let damaged = || BodyError::Damaged("zstd");
                let decoder = StreamingDecoder::new_with_max_window_size(&held[..], MAX_WINDOW);
                let mut whole = Vec::new();
                let limit = u64::try_from(MAX_ZSTD).unwrap_or(u64::MAX);
                // What came before the damage is read: it may be the whole answer.
                let read = decoder.map_err(|_| damaged())?.take(limit).read_to_end(&mut whole);
                if read.is_err() && whole.is_empty() { Err(damaged()) } else { Ok(whole.into()) }
            }
            Self::Gzip(held) | Self::Deflate(held) | Self::Zstd(held) => Ok(held.split().freeze()),
            // Checksums, and what is missing.
            Self::InGzip(decoder) => output("gzip", decoder.try_finish(), decoder.get_mut()),
            Self::InZlib(decoder) => output("deflate", decoder.try_finish(), decoder.get_mut()),
            Self::InDeflate(_) | Self::Plain => Ok(Bytes::new()),
        }
    }
}

/// What a decoder has written, where what it was given is what it should be.
fn output<E>(
    coding: &'static str,
    done: std::io::Result<()>,
    written: &mut Vec<u8>,
) -> Result<Bytes, BodyError<E>> {
    done.map_err(|_| BodyError::Damaged(coding))?;
    Ok(std::mem::take(written).into())
}

fn is_zlib(start: &[u8]) -> bool {
    start[0] & 0x0F == 8 && u16::from_be_bytes([start[0], start[1]]).is_multiple_of(31)
}

/// How an answer begins that is not coded at all.
fn is_text(start: &[u8]) -> bool {
    let start = start.strip_prefix("\u{feff}".as_bytes()).unwrap_or(start).trim_ascii_start();
    let begins: [&[u8]; 6] = [b"data:", b"event:", b"id:", b"{\"", b": ", b"[{"];
    begins.iter().any(|text| start.starts_with(text)) || start.is_empty()
}

/// A body without its coding.
pub(super) fn decoded<S, E>(bytes: S, coder: Coder) -> impl Stream<Item = Result<Bytes, BodyError<E>>> + Unpin
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    let state = (bytes, coder, Bytes::new(), false);
    Box::pin(stream::unfold(state, async |(mut bytes, mut coder, mut input, mut over)| {
        loop {
            let output = if !input.is_empty() {
                let step = input.len().min(if matches!(coder, Coder::Plain) { usize::MAX } else { STEP });
                let output = coder.push(&input[..step]);
                input.advance(step);
                output
            } else if over {
                return None;
            } else {
                match bytes.next().await {
                    Some(Ok(piece)) => {
                        input = piece;
                        continue;
                    }
                    Some(Err(error)) => Err(BodyError::Transport(error)),
                    None => {
                        over = true;
                        coder.finish()
                    }
                }
            };
            over |= output.is_err();
            if output.is_err() {
                input.clear();
            }
            if !matches!(&output, Ok(bytes) if bytes.is_empty()) {
                return Some((output, (bytes, coder, input, over)));
            }
        }
    }))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use flate2::Compression;
    use flate2::read::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    const TEXT: &[u8] = b"data: {\"choices\":[]}\n\ndata: [DONE]\n\n";

    fn coded(coding: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let level = Compression::default();
        match coding {
            "gzip" => drop(GzEncoder::new(TEXT, level).read_to_end(&mut out).unwrap()),
            "deflate" => drop(ZlibEncoder::new(TEXT, level).read_to_end(&mut out).unwrap()),
            "raw" => drop(DeflateEncoder::new(TEXT, level).read_to_end(&mut out).unwrap()),
            "zstd" => {
                out = ruzstd::encoding::compress_to_vec(TEXT, ruzstd::encoding::CompressionLevel::Fastest);
            }
            _ => out = TEXT.to_vec(),
        }
        out
    }

    async fn read(body: &[u8], size: usize, coding: &str) -> Result<Vec<u8>, String> {
        let pieces: Vec<_> =
            body.chunks(size).map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece))).collect();
        let mut stream = decoded(stream::iter(pieces), Coder::of(coding).map_err(|e| e.to_string())?);
        let mut all = Vec::new();
        while let Some(piece) = stream.next().await {
            all.extend_from_slice(&piece.map_err(|e| e.to_string())?);
        }
        Ok(all)
    }

    /// Wires 1: codings that nobody asked for, in any pieces, and headers that are not true.
    #[tokio::test]
    async fn w1_codings_that_were_not_asked_for() {
        for (claimed, is) in [
            ("gzip", "gzip"),
            ("x-gzip", "gzip"),
            ("GZIP, identity", "gzip"),
            ("deflate", "deflate"),
            ("deflate", "raw"),
            ("zstd", "zstd"),
            ("gzip", "plain"),
            ("deflate", "plain"),
            ("zstd", "plain"),
            ("identity", "plain"),
            ("", "plain"),
        ] {
            for size in [1, 2, 7, 10_000] {
                let read = read(&coded(is), size, claimed).await;
                assert_eq!(read.as_deref(), Ok(TEXT), "{claimed} {is} {size}");
            }
        }
        assert!(read(TEXT, 9, "br").await.unwrap_err().contains("coded with `br`"));
        let mut damaged = coded("gzip");
        damaged[12] ^= 0xFF;
        assert!(read(&damaged, 5, "gzip").await.is_err());
        assert_eq!(read(b"", 1, "gzip").await, Ok(Vec::new()));
    }

    /// Wires 1: a small body that unfolds into a large one comes in steps.
    #[tokio::test]
    async fn w1_a_bomb_is_met_in_steps() {
        let mut bomb = Vec::new();
        GzEncoder::new(std::io::repeat(b'x').take(64 * 1024 * 1024), Compression::best())
            .read_to_end(&mut bomb)
            .unwrap();
        let mut stream =
            decoded(stream::iter([Ok::<_, Infallible>(Bytes::from(bomb))]), Coder::of("gzip").unwrap());
        while let Some(piece) = stream.next().await {
            assert!(piece.unwrap().len() <= 2 * 1024 * STEP);
        }
    }
}
