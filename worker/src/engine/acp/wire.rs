//! What stands between the protocol and the agent's pipes: lines, bounded, and nothing that is not a message.
//!
//! An agent may write anything to its output. A line that is too long, no text or no message of JSON-RPC is left out and told to the log,
//! a few times; one that writes nothing else for long is no agent, and is let go of.

use std::io;

use agent_client_protocol::TransportFrame;
use bytes::{Buf as _, BytesMut};
use futures_util::{Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio_util::codec::{Decoder, FramedRead};

/// Longest line of an agent, in bytes: an image or a large file in one message.
const MAX_LINE: usize = 16 << 20;
/// Messages that are passed on before others have their turn.
const AT_ONCE: u32 = 64;
/// Lines without a message in between after which it is no agent.
const MAX_NOISE: u32 = 1000;
/// Of those so many are told.
const TOLD: u32 = 5;
/// So much of one is told, in bytes.
const SHOWN: usize = 300;

/// One line, or why it is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Without its end.
    Text(String),
    /// Longer than it may be.
    TooLong,
    /// No UTF-8.
    NotText,
}

/// Cuts bytes into lines; never keeps more than one that is not too long.
#[derive(Debug)]
pub(super) struct Lines {
    /// Longest line, in bytes.
    longest: usize,
    /// Bytes in which there is no end of a line.
    seen: usize,
    /// The rest of the line is of no use.
    skips: bool,
}

impl Lines {
    /// Lines of up to so many bytes.
    pub(super) fn up_to(longest: usize) -> Self {
        Self { longest, seen: 0, skips: false }
    }
}

impl Decoder for Lines {
    type Item = Line;
    type Error = io::Error;

    fn decode(&mut self, bytes: &mut BytesMut) -> io::Result<Option<Line>> {
        loop {
            let end = memchr::memchr(b'\n', &bytes[self.seen..]).map(|at| self.seen + at);
            match end {
                Some(end) => {
                    let line = bytes.split_to(end);
                    bytes.advance(1);
                    self.seen = 0;
                    if std::mem::take(&mut self.skips) {
                        continue;
                    }
                    return Ok(Some(text(&line)));
                }
                None if self.skips => {
                    bytes.clear();
                    return Ok(None);
                }
                None if bytes.len() > self.longest => {
                    (self.skips, self.seen) = (true, 0);
                    bytes.clear();
                    return Ok(Some(Line::TooLong));
                }
                None => {
                    self.seen = bytes.len();
                    return Ok(None);
                }
            }
        }
    }

    fn decode_eof(&mut self, bytes: &mut BytesMut) -> io::Result<Option<Line>> {
        if let Some(line) = self.decode(bytes)? {
            return Ok(Some(line));
        }
        self.seen = 0;
        let rest = bytes.split();
        Ok((!rest.is_empty() && !self.skips).then(|| text(&rest)))
    }
}

fn text(line: &[u8]) -> Line {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    std::str::from_utf8(line).map_or(Line::NotText, |text| Line::Text(text.to_owned()))
}

/// Why nothing more comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    /// It closed its output.
    Ended,
    /// What it writes is something else than the protocol.
    Noise,
}

/// Passes on what comes until the end, or until nobody takes it any more.
pub(super) async fn incoming(
    agent: &str,
    output: impl AsyncRead + Unpin,
    mut pass: impl FnMut(TransportFrame) -> bool,
) -> Closed {
    let mut lines = FramedRead::new(output, Lines::up_to(MAX_LINE));
    let (mut passed, mut noise) = (0_u32, 0_u32);
    while let Some(Ok(line)) = lines.next().await {
        let what = match line {
            Line::Text(text) if text.trim().is_empty() => continue,
            Line::Text(text) => match TransportFrame::parse_json(&text) {
                TransportFrame::Malformed { .. } => format!("no message: {}", shortened(&text)),
                frame => {
                    noise = 0;
                    if !pass(frame) {
                        return Closed::Ended;
                    }
                    passed += 1;
                    if passed.is_multiple_of(AT_ONCE) {
                        tokio::task::yield_now().await;
                    }
                    continue;
                }
            },
            Line::TooLong => format!("a line of more than {MAX_LINE} bytes"),
            Line::NotText => "a line that is no text".to_owned(),
        };
        noise += 1;
        if noise <= TOLD {
            tracing::warn!(agent, "left out of what the agent writes: {what}");
        }
        if noise >= MAX_NOISE {
            return Closed::Noise;
        }
    }
    Closed::Ended
}

/// Writes what goes out until there is no more, and closes the agent's input.
pub(super) async fn outgoing(
    mut input: impl AsyncWrite + Unpin,
    mut from: impl Stream<Item = TransportFrame> + Unpin,
) -> io::Result<()> {
    while let Some(frame) = from.next().await {
        // What is made here can be written down; the error of one that cannot would name no more than that.
        let Ok(mut line) = frame.to_json() else { continue };
        line.push('\n');
        input.write_all(line.as_bytes()).await?;
        input.flush().await?;
    }
    input.shutdown().await
}

/// The beginning of a line.
fn shortened(line: &str) -> &str {
    &line[..line.floor_char_boundary(SHOWN)]
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    async fn lines(pieces: &[&[u8]]) -> Vec<Line> {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let write = async {
            for piece in pieces {
                theirs.write_all(piece).await.unwrap();
            }
            drop(theirs);
        };
        let read = FramedRead::new(ours, Lines::up_to(MAX_LINE)).map(Result::unwrap).collect();
        tokio::join!(write, read).1
    }

    #[tokio::test]
    async fn lines_are_cut_wherever_the_pieces_end() {
        let text = |text: &str| Line::Text(text.to_owned());
        let found = lines(&[b"a", b"b\r\n", b"\nc\nd"]).await;
        assert_eq!(found, [text("ab"), text(""), text("c"), text("d")]);
        assert_eq!(lines(&[b"\xff\nok\n"]).await, [Line::NotText, text("ok")]);
    }

    #[tokio::test]
    async fn a_line_without_end_is_never_kept() {
        let much = vec![b'x'; MAX_LINE / 2];
        let found = lines(&[&much, &much, &much, b"\nok\n"]).await;
        assert_eq!(found, [Line::TooLong, Line::Text("ok".to_owned())]);
        let found = lines(&[&much, &much, b"xx"]).await;
        assert_eq!(found, [Line::TooLong]);
    }

    #[tokio::test]
    async fn what_is_no_message_is_left_out_and_much_of_it_ends_the_connection() {
        let update = r#"{"jsonrpc":"2.0","method":"session/update","params":{}}"#;
        let said = format!("npm warn\n{update}\n{{\"a\":1}}\n[]\n{update}");
        let mut passed = 0;
        let count = |_| {
            passed += 1;
            true
        };
        assert_eq!(incoming("a", said.as_bytes(), count).await, Closed::Ended);
        assert_eq!(passed, 2);
        let noise = "y\n".repeat(2 * MAX_NOISE as usize);
        assert_eq!(incoming("a", noise.as_bytes(), |_| true).await, Closed::Noise);
    }
}
