//! Server-sent events from a provider, bounded whatever it sends.
//!
//! `eventsource-stream` does the parsing. What it lacks is done before it: a line is passed on only when it is whole (so that the
//! parser never scans the same bytes twice, however small the chunks), is valid UTF-8 (invalid bytes are replaced, because
//! the parser would hold everything after them back), and neither a line, an event nor the stream may exceed a limit.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use eventsource_stream::{EventStream, Eventsource};
use futures_util::Stream;

/// Most bytes of one event; the largest seen in the wild carry a whole usage report and stay far below.
const MAX_EVENT: usize = 1024 * 1024;

/// Most bytes of one answer as it is on the wire. Each token costs some 200 bytes of JSON.
const MAX_STREAM: usize = 256 * 1024 * 1024;

/// Why reading a stream ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError<E> {
    /// The connection failed.
    #[error("the stream broke off")]
    Transport(E),
    /// A limit was passed.
    #[error("{0} is larger than {1} bytes")]
    TooLarge(&'static str, usize),
}

/// Events of a byte stream.
pub(super) fn events<S, E>(bytes: S) -> EventStream<WholeLines<S>>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    WholeLines {
        inner: bytes,
        buffer: BytesMut::new(),
        scanned: 0,
        event: 0,
        total: 0,
        started: false,
        done: false,
    }
    .eventsource()
}

/// Passes on one whole line at a time.
pub(super) struct WholeLines<S> {
    inner: S,
    buffer: BytesMut,
    /// So much of `buffer` holds no line feed.
    scanned: usize,
    /// Length of the current event's lines so far.
    event: usize,
    /// Bytes read.
    total: usize,
    /// Something was passed on.
    started: bool,
    done: bool,
}

impl<S> WholeLines<S> {
    /// The next whole line with its end, if it is here already.
    fn line<E>(&mut self) -> Result<Option<String>, StreamError<E>> {
        let Some(at) = self.buffer[self.scanned..].iter().position(|b| *b == b'\n') else {
            self.scanned = self.buffer.len();
            return if self.event + self.scanned > MAX_EVENT {
                Err(Self::event_too_large())
            } else {
                Ok(None)
            };
        };
        let line = self.buffer.split_to(self.scanned + at + 1);
        self.scanned = 0;
        self.event = if matches!(&line[..], b"\n" | b"\r\n") { 0 } else { self.event + line.len() };
        if self.event > MAX_EVENT {
            return Err(Self::event_too_large());
        }
        Ok(Some(String::from_utf8_lossy(&line).into_owned()))
    }

    fn event_too_large<E>() -> StreamError<E> {
        StreamError::TooLarge("one event", MAX_EVENT)
    }

    /// What is left when the stream ends, with the blank line that a careless provider forgot.
    fn rest(&mut self) -> String {
        let mut rest = String::from_utf8_lossy(&self.buffer.split()).into_owned();
        rest.push_str("\n\n");
        rest
    }

    fn take_in<E>(&mut self, chunk: &[u8]) -> Result<(), StreamError<E>> {
        self.total += chunk.len();
        if self.total > MAX_STREAM {
            return Err(StreamError::TooLarge("the answer", MAX_STREAM));
        }
        self.buffer.extend_from_slice(chunk);
        Ok(())
    }
}

impl<S, E> Stream for WholeLines<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    type Item = Result<String, StreamError<E>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while !self.done {
            let step = match self.line() {
                Ok(None) => match ready!(Pin::new(&mut self.inner).poll_next(cx)) {
                    Some(Ok(chunk)) => self.take_in(&chunk).map(|()| None),
                    Some(Err(error)) => Err(StreamError::Transport(error)),
                    None => {
                        self.done = true;
                        Ok(Some(self.rest()))
                    }
                },
                line => line,
            };
            match step {
                Ok(None) => {}
                Ok(Some(line)) if self.started => return Poll::Ready(Some(Ok(line))),
                // The parser takes a byte order mark for one byte, and panics.
                Ok(Some(line)) => {
                    let line = line.trim_start_matches('\u{feff}');
                    self.started = !line.is_empty();
                    if self.started {
                        return Poll::Ready(Some(Ok(line.to_owned())));
                    }
                }
                Err(error) => {
                    self.done = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};
    use proptest::prelude::*;

    use super::*;

    /// 18: found by the fuzz target: a byte order mark at the start of a stream ended the turn with a panic.
    #[tokio::test]
    async fn n18_a_byte_order_mark_is_no_part_of_the_first_line() {
        for start in ["\u{feff}", "\u{feff}\u{feff}"] {
            let text = format!("{start}data: hi\n\n");
            assert_eq!(data(vec![text.clone().into_bytes()]).await, ["hi"]);
            assert_eq!(data(text.bytes().map(|byte| vec![byte]).collect()).await, ["hi"]);
            assert!(data(vec![format!("{start}a").into_bytes()]).await.is_empty());
        }
    }

    async fn data(chunks: Vec<Vec<u8>>) -> Vec<String> {
        let chunks =
            stream::iter(chunks.into_iter().map(|c| Ok::<_, std::convert::Infallible>(Bytes::from(c))));
        events(chunks).map(|event| event.map_or_else(|e| format!("error: {e}"), |e| e.data)).collect().await
    }

    const SAMPLE: &str =
        ": hello\r\n\r\ndata: {\"a\":\"grün 🦀\"}\r\n\r\nevent: x\ndata: one\ndata: two\n\ndata: [DONE]";

    proptest! {
        #[test]
        fn chunk_boundaries_do_not_matter(mut cuts in prop::collection::vec(0..SAMPLE.len(), 0..40)) {
            cuts.sort_unstable();
            let mut chunks = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([SAMPLE.len()]) {
                chunks.push(SAMPLE.as_bytes()[from..cut].to_vec());
                from = cut;
            }
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            prop_assert_eq!(runtime.block_on(data(chunks)), ["{\"a\":\"grün 🦀\"}", "one\ntwo", "[DONE]"]);
        }

        #[test]
        fn any_bytes_are_survived(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..16)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(data(chunks));
        }
    }

    #[tokio::test]
    async fn invalid_bytes_do_not_hold_back_what_follows() {
        assert_eq!(
            data(vec![b"data: a\xff\n\n".to_vec(), b"data: b\n\n".to_vec()]).await,
            ["a\u{fffd}", "b"]
        );
    }

    #[tokio::test]
    async fn a_line_and_an_event_have_a_limit_but_many_events_have_not() {
        let line = data(vec![vec![b'x'; 64 * 1024]; 20]).await;
        assert!(line[0].contains("one event is larger than"), "{line:?}");
        let mut event = vec![b"data: y\n".repeat(8 * 1024); 20];
        event.push(b"\n".to_vec());
        assert!(data(event).await[0].contains("one event is larger than"));
        assert_eq!(data(vec![b"data: z\n\n".repeat(8 * 1024); 20]).await.len(), 20 * 8 * 1024);
    }
}
