//! Server-sent events from a provider: a pure decoder, bounded whatever it is given, and indifferent to where the pieces were cut.
//!
//! Format: <https://html.spec.whatwg.org/multipage/server-sent-events.html>. It forgives what stock clients forgive (`openai`,
//! `litellm`): line ends of all three kinds, mixed; byte order marks; invalid UTF-8, which is replaced; no blank line at the end
//! or between events; a field named `error`, as llama.cpp has it; JSON lines without `data:`.

use std::collections::VecDeque;

use serde::de::IgnoredAny;

/// Most bytes of one event; the largest seen in the wild carry a whole usage report and stay far below.
const MAX_EVENT: usize = 1024 * 1024;

/// Most bytes of one answer as it is on the wire. Each token costs some 200 bytes of JSON.
const MAX_STREAM: usize = 256 * 1024 * 1024;

/// Most bytes that are kept of lines that are no events.
const MAX_STRAY: usize = 2 * 1024;

/// What marks the end of an answer.
pub(super) const DONE: &str = "[DONE]";

/// A limit was passed: of what, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is larger than {1} bytes")]
pub(crate) struct TooLarge(&'static str, usize);

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Frame {
    /// Its name (`event:`), empty where it has none.
    pub(crate) name: String,
    /// Its data, lines joined with line feeds.
    pub(crate) data: String,
    /// What its server calls it (`id:`), empty where it does not.
    pub(crate) id: String,
}

/// Turns bytes into events.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// The last byte ended a line; a line feed now belongs to it.
    after_return: bool,
    /// A line that is more than byte order marks was seen.
    started: bool,
    name: String,
    id: String,
    data: Option<Data>,
    /// Bytes of the current event's lines.
    event: usize,
    total: usize,
    stray: String,
}

#[derive(Debug)]
struct Data {
    text: String,
    /// It came in one line so far.
    single: bool,
}

impl Decoder {
    /// Takes in a piece; whole events go to `out`, also those before a limit was passed.
    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut VecDeque<Frame>) -> Result<(), TooLarge> {
        let room = MAX_STREAM - self.total;
        let (bytes, over) = bytes.split_at(bytes.len().min(room));
        self.total += bytes.len();
        let mut rest = bytes;
        while let Some((&first, after)) = rest.split_first() {
            if std::mem::take(&mut self.after_return) && first == b'\n' {
                rest = after;
                continue;
            }
            let end = rest.iter().position(|b| matches!(b, b'\n' | b'\r'));
            self.line.extend_from_slice(&rest[..end.unwrap_or(rest.len())]);
            if self.event + self.line.len() > MAX_EVENT {
                return Err(TooLarge("one event", MAX_EVENT));
            }
            let Some(end) = end else { break };
            self.after_return = rest[end] == b'\r';
            rest = &rest[end + 1..];
            self.end_line(out);
        }
        if over.is_empty() { Ok(()) } else { Err(TooLarge("the answer", MAX_STREAM)) }
    }

    /// The stream has no end: what came so far counts no more towards the largest answer.
    pub(crate) fn go_on(&mut self) {
        self.total = 0;
        self.stray.clear();
    }

    /// The stream is over: what was not ended properly counts all the same.
    pub(super) fn finish(&mut self, out: &mut VecDeque<Frame>) {
        if !self.line.is_empty() {
            self.end_line(out);
        }
        self.dispatch(out);
    }

    /// Lines that were no events, shortened.
    pub(super) fn stray(&self) -> &str {
        &self.stray
    }

    fn end_line(&mut self, out: &mut VecDeque<Frame>) {
        let bytes = std::mem::take(&mut self.line);
        // Comments keep a connection alive for hours and belong to no event.
        if bytes.first() != Some(&b':') {
            self.event += bytes.len();
        }
        let line = String::from_utf8_lossy(&bytes);
        let mut line = &line[..];
        if !self.started {
            line = line.trim_start_matches('\u{feff}');
            self.started = !line.is_empty();
        }
        if line.is_empty() {
            self.dispatch(out);
        } else {
            self.field(line, out);
        }
    }

    fn field(&mut self, line: &str, out: &mut VecDeque<Frame>) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name.trim_start() {
            "" if line.starts_with(':') => {}
            "data" => self.data(value, out),
            "event" => {
                self.dispatch_if_whole(out);
                value.trim().clone_into(&mut self.name);
            }
            "error" => {
                self.dispatch_if_whole(out);
                "error".clone_into(&mut self.name);
                self.data(value, out);
            }
            "id" => value.trim().clone_into(&mut self.id),
            "retry" => {}
            name if name.starts_with('{') || line.trim() == DONE => self.data(line, out),
            _ => {
                let room = MAX_STRAY.saturating_sub(self.stray.len());
                self.stray.extend(line.chars().take(room / 4).chain([' ']).filter(|_| room > 0));
            }
        }
    }

    /// A line of data: more of this event's, or the next event where the one before it is whole and nothing was between them.
    fn data(&mut self, value: &str, out: &mut VecDeque<Frame>) {
        self.dispatch_if_whole(out);
        match &mut self.data {
            None => self.data = Some(Data { text: value.to_owned(), single: true }),
            Some(data) => {
                data.text.push('\n');
                data.text.push_str(value);
                data.single = false;
            }
        }
    }

    fn dispatch_if_whole(&mut self, out: &mut VecDeque<Frame>) {
        if self.data.as_ref().is_some_and(|data| data.single && is_whole(&data.text)) {
            self.dispatch(out);
        }
    }

    fn dispatch(&mut self, out: &mut VecDeque<Frame>) {
        let (name, id) = (std::mem::take(&mut self.name), std::mem::take(&mut self.id));
        self.event = 0;
        if let Some(data) = self.data.take() {
            out.push_back(Frame { name, id, data: data.text });
        } else if name == "error" {
            out.push_back(Frame { name, id, data: String::new() });
        }
    }
}

/// Whether a text can be an event of its own.
fn is_whole(text: &str) -> bool {
    let text = text.trim();
    text == DONE || (text.ends_with('}') && serde_json::from_str::<IgnoredAny>(text).is_ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<TooLarge>) {
        let mut decoder = Decoder::default();
        let mut out = VecDeque::new();
        for piece in pieces {
            if let Err(error) = decoder.push(piece, &mut out) {
                return (out.into(), Some(error));
            }
        }
        decoder.finish(&mut out);
        (out.into(), None)
    }

    fn data(text: &str) -> Vec<String> {
        frames([text.as_bytes()]).0.into_iter().map(|frame| frame.data).collect()
    }

    /// 18: found by the fuzz target: a byte order mark at the start of a stream ended the turn with a panic.
    #[test]
    fn n18_a_byte_order_mark_is_no_part_of_the_first_line() {
        for start in ["\u{feff}", "\u{feff}\u{feff}", "\u{feff}\n"] {
            let text = format!("{start}data: hi\n\n");
            assert_eq!(data(&text), ["hi"]);
            assert_eq!(frames(text.as_bytes().chunks(1)).0[0].data, "hi");
            assert!(data(&format!("{start}a")).is_empty());
        }
    }

    /// Wires 1: every kind of line end, mixed, and none before the end.
    #[test]
    fn w1_line_ends_of_every_kind() {
        for text in [
            "data: a\n\ndata: b\n\n",
            "data: a\r\rdata: b\r\r",
            "data: a\r\n\r\ndata: b\r\n\r\n",
            "data: a\r\n\rdata: b\n\r\n",
            "data:a\n\n\n: c\n\ndata:b",
            "\r\n data: a\n\nid: 7\nretry: 5\nunknown: x\ndata: b\n",
        ] {
            assert_eq!(data(text), ["a", "b"], "{text:?}");
            let bytewise = frames(text.as_bytes().chunks(1)).0;
            assert_eq!(bytewise.iter().map(|f| &f.data).collect::<Vec<_>>(), ["a", "b"], "{text:?}");
        }
    }

    /// Wires 1: data over several lines is one event, and whole values without a blank line between them are several.
    #[test]
    fn w1_several_data_lines() {
        assert_eq!(data("data: {\"a\":\ndata: 1}\n\n"), ["{\"a\":\n1}"]);
        assert_eq!(
            data("data: {\"a\":1}\ndata: {\"b\":2}\ndata: [DONE]\n"),
            ["{\"a\":1}", "{\"b\":2}", "[DONE]"]
        );
        assert_eq!(data("{\"a\":1}\n{\"b\":2}\n[DONE]\n"), ["{\"a\":1}", "{\"b\":2}", "[DONE]"]);
        assert_eq!(data("data: one\ndata: two\n\n"), ["one\ntwo"]);
    }

    /// Wires 1: an event's name is kept, and llama.cpp's field `error` is one.
    #[test]
    fn w1_errors_have_a_name() {
        let error =
            |data: &str| vec![Frame { name: "error".to_owned(), data: data.to_owned(), ..Frame::default() }];
        assert_eq!(frames([&b"event: error\ndata: {}\n\n"[..]]).0, error("{}"));
        assert_eq!(frames([&b"event: error\n\n"[..]]).0, error(""));
        assert_eq!(frames([&b"error: {\"code\":500}\n\n"[..]]).0, error("{\"code\":500}"));
    }

    #[test]
    fn an_event_has_the_id_that_came_with_it_and_no_other_one() {
        let text = "id: 1-7\nevent: receive\ndata: {\"a\":1}\n\ndata: b\n\nid: 9\n\ndata: c\n\n";
        let ids = |frames: Vec<Frame>| frames.into_iter().map(|frame| frame.id).collect::<Vec<_>>();
        assert_eq!(ids(frames([text.as_bytes()]).0), ["1-7", "", ""]);
        assert_eq!(ids(frames(text.as_bytes().chunks(1)).0), ["1-7", "", ""]);
    }

    #[test]
    fn lines_that_are_no_events_are_kept_shortened() {
        let mut decoder = Decoder::default();
        let mut out = VecDeque::new();
        decoder.push(b"upstream connect error\n", &mut out).unwrap();
        decoder.push(&b"more\n".repeat(10_000), &mut out).unwrap();
        assert!(out.is_empty() && decoder.stray().starts_with("upstream connect error more "));
        assert!(decoder.stray().len() < 2 * MAX_STRAY);
    }

    const SAMPLE: &str =
        ": hello\r\n\r\ndata: {\"a\":\"grün 🦀\"}\r\n\r\nevent: x\ndata: one\ndata: two\n\ndata: [DONE]";

    proptest! {
        #[test]
        fn chunk_boundaries_do_not_matter(mut cuts in prop::collection::vec(0..SAMPLE.len(), 0..40)) {
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([SAMPLE.len()]) {
                pieces.push(&SAMPLE.as_bytes()[from..cut]);
                from = cut;
            }
            let data: Vec<_> = frames(pieces).0.into_iter().map(|frame| frame.data).collect();
            prop_assert_eq!(data, ["{\"a\":\"grün 🦀\"}", "one\ntwo", "[DONE]"]);
        }

        #[test]
        fn any_bytes_mean_the_same_in_any_pieces(
            text in "[\\x{feff}\\r\\n:{} dateroID\\[\\]\u{80}]{0,80}",
            size in 1_usize..9,
        ) {
            prop_assert_eq!(frames(text.as_bytes().chunks(size)), frames([text.as_bytes()]));
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..512), size in 1_usize..64) {
            prop_assert_eq!(frames(bytes.chunks(size)), frames([&bytes[..]]));
        }
    }

    #[test]
    fn invalid_bytes_do_not_hold_back_what_follows() {
        let frames = frames([&b"data: a\xff\n\n"[..], b"data: b\n\n"]).0;
        assert_eq!(frames.into_iter().map(|f| f.data).collect::<Vec<_>>(), ["a\u{fffd}", "b"]);
    }

    #[test]
    fn a_line_and_an_event_have_a_limit_but_many_events_have_not() {
        let too_large = Some(TooLarge("one event", MAX_EVENT));
        let piece = vec![b'x'; 64 * 1024];
        assert_eq!(frames(std::iter::repeat_n(&piece[..], 20)).1, too_large);
        let piece = b"data: y\n".repeat(8 * 1024);
        assert_eq!(frames(std::iter::repeat_n(&piece[..], 20)).1, too_large);
        let piece = b"data: z\n\n".repeat(8 * 1024);
        let (frames, limit) = frames(std::iter::repeat_n(&piece[..], 20));
        assert_eq!((frames.len(), limit), (20 * 8 * 1024, None));
    }
}
