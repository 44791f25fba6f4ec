//! Where in the text every node stands, in bytes.
//!
//! What a node is, the parser says: every event with its place. Between two nodes stand only white space, comments and the
//! indicators that the events call for (`-`, `?`, `:`, `,`, brackets, anchors, tags), so those are read forward from the end of
//! the last node, never looked for backwards: what looks like one of them in a comment or at the end of a value is not asked.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// A document; no root where there is no value.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) root: Option<Node>,
    /// Where a first entry would stand: before `...`, else at the end.
    pub(super) end: usize,
}

/// A node and its bytes. A block collection ends where its last value does.
#[derive(Debug)]
pub(super) struct Node {
    /// Its first byte, anchor and tag left out; of a block scalar the indicator.
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) kind: Kind,
    /// The first byte of a tag before it, which says what kind of value this is.
    pub(super) tag: Option<usize>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Scalar {
        /// `'` or `"`; `None` for plain ones and blocks.
        quote: Option<char>,
        /// Within `{}` or `[]`.
        flow: bool,
    },
    Seq {
        flow: bool,
        items: Vec<Item>,
    },
    Map {
        flow: bool,
        entries: Vec<Entry>,
    },
    Alias,
    /// `[a: b]`: a mapping without a place for a second entry.
    Pair,
}

/// One item of a sequence.
#[derive(Debug)]
pub(super) struct Item {
    /// Its dash, or its first byte within `[]`.
    pub(super) start: usize,
    pub(super) value: Node,
}

/// One entry of a mapping, as it is written; what `<<` brings in is none.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    /// First byte: of the key, of an anchor or tag before it, or of a `?`.
    pub(super) start: usize,
    /// The byte behind the entry's colon; behind the key where there is none.
    pub(super) colon: usize,
    /// Column of the first byte, in characters.
    pub(super) column: usize,
    pub(super) value: Node,
}

impl Node {
    /// Whether it stands for nothing.
    pub(super) fn is_null(&self, text: &str) -> bool {
        matches!(self.kind, Kind::Scalar { quote: None, .. })
            && matches!(&text[self.start..self.end], "" | "~" | "null" | "Null" | "NULL")
    }
}

impl Entry {
    /// Behind the whole entry.
    pub(super) fn end(&self) -> usize {
        self.value.end.max(self.colon)
    }
}

struct Reader<'t> {
    text: &'t str,
    /// Byte of each character, where the two differ.
    bytes: Option<Vec<usize>>,
    events: std::vec::IntoIter<(Event<'t>, Span)>,
    /// Behind what was read last.
    at: usize,
    /// The texts of anchored scalars: an alias may be a key.
    anchors: HashMap<usize, String>,
}

impl Layout {
    /// `None`: the text has a form that this module does not know.
    pub(super) fn read(text: &str) -> Option<Self> {
        let bytes = (!text.is_ascii())
            .then(|| text.char_indices().map(|(at, _)| at).chain([text.len()]).collect::<Vec<_>>());
        let mut reader =
            Reader { text, bytes, events: Vec::new().into_iter(), at: 0, anchors: HashMap::new() };
        let (mut events, mut end) = (Vec::new(), text.len());
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, span) = event.ok()?;
            let (from, to) = reader.span(span);
            match event {
                // Behind directives and `---`.
                Event::DocumentStart(explicit) => reader.at = if explicit { to } else { 0 },
                Event::DocumentEnd if from < to => end = from,
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
                event => events.push((event, span)),
            }
        }
        reader.events = events.into_iter();
        let root = match reader.events.next() {
            Some((event, span)) => Some(reader.node(&event, span, false)?),
            None => None,
        };
        Some(Self { root: root.filter(|root| !root.is_null(text) || root.start < root.end), end })
    }
}

impl<'t> Reader<'t> {
    fn byte(&self, at: usize) -> usize {
        match &self.bytes {
            None => at.min(self.text.len()),
            Some(bytes) => bytes[at.min(bytes.len() - 1)],
        }
    }

    fn span(&self, span: Span) -> (usize, usize) {
        (self.byte(span.start.index()), self.byte(span.end.index()))
    }

    /// The first byte at or behind `at` that is neither white space nor within a comment, nor one of `also`.
    fn skip(&self, mut at: usize, also: &[char]) -> usize {
        while let Some(c) = self.text[at..].chars().next() {
            at += match c {
                '#' => self.text[at..].find(['\n', '\r']).unwrap_or(self.text.len() - at),
                c if c.is_whitespace() || c == '\u{feff}' || also.contains(&c) => c.len_utf8(),
                _ => break,
            };
        }
        at
    }

    /// Takes an indicator, which must be the next thing but for white space and comments.
    fn take(&mut self, indicator: char, also: &[char]) -> Option<usize> {
        let at = self.skip(self.at, also);
        if !self.text[at..].starts_with(indicator) {
            return None;
        }
        self.at = at + indicator.len_utf8();
        Some(at)
    }

    /// An anchor or a tag, up to its end.
    fn property(&self, at: usize) -> usize {
        let rest = &self.text[at..];
        let len = match rest.strip_prefix("!<") {
            Some(verbatim) => verbatim.find('>').map(|n| n + 3),
            None => rest.find(|c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']' | '{' | '}')),
        };
        at + len.unwrap_or(rest.len())
    }

    /// The node of an event, whose place is behind `self.at`.
    fn node(&mut self, event: &Event<'t>, span: Span, flow: bool) -> Option<Node> {
        let (anchor, tagged) = match event {
            Event::Scalar(_, _, anchor, tag)
            | Event::SequenceStart(anchor, tag)
            | Event::MappingStart(anchor, tag) => (*anchor, tag.is_some()),
            Event::Alias(_) => (0, false),
            _ => return None,
        };
        let mut tag = None;
        for _ in 0..usize::from(anchor > 0) + usize::from(tagged) {
            let at = self.skip(self.at, &[]);
            if self.text[at..].starts_with('!') {
                tag = Some(at);
            }
            self.at = self.property(at);
        }
        if let Event::Scalar(text, ..) = event
            && anchor > 0
        {
            self.anchors.insert(anchor, text.to_string());
        }
        let node = match event {
            Event::Scalar(text, ScalarStyle::Plain, ..) if text.is_empty() => {
                Node { start: self.at, end: self.at, kind: Kind::Scalar { quote: None, flow }, tag }
            }
            Event::Alias(_) => {
                let start = self.skip(self.at, &[]);
                Node { start, end: self.span(span).1, kind: Kind::Alias, tag }
            }
            Event::Scalar(_, style, ..) => Node { tag, ..self.scalar(self.span(span).1, *style, flow) },
            Event::SequenceStart(..) => Node { tag, ..self.seq(flow)? },
            _ => Node { tag, ..self.map(flow)? },
        };
        self.at = node.end.max(self.at);
        Some(node)
    }

    fn seq(&mut self, within: bool) -> Option<Node> {
        let start = self.skip(self.at, &[]);
        let flow = self.text[start..].starts_with('[');
        if flow {
            self.at = start + 1;
        }
        let mut items = Vec::new();
        loop {
            let (event, span) = self.events.next()?;
            if matches!(event, Event::SequenceEnd) {
                if flow {
                    self.take(']', &[','])?;
                }
                return Some(Node { start, end: self.at, kind: Kind::Seq { flow, items }, tag: None });
            }
            let start = if flow {
                self.at = self.skip(self.at, &[',']);
                self.at
            } else {
                self.take('-', &[])?
            };
            let value = self.node(&event, span, flow || within)?;
            items.push(Item { start, value });
        }
    }

    fn map(&mut self, within: bool) -> Option<Node> {
        let start = self.skip(self.at, &[]);
        let flow = self.text[start..].starts_with('{');
        if flow {
            self.at = start + 1;
        }
        let mut entries = Vec::new();
        loop {
            let (event, span) = self.events.next()?;
            if matches!(event, Event::MappingEnd) {
                if flow {
                    self.take('}', &[','])?;
                }
                let kind = if within && !flow { Kind::Pair } else { Kind::Map { flow, entries } };
                return Some(Node { start, end: self.at, kind, tag: None });
            }
            entries.push(self.entry(&event, span, flow || within)?);
        }
    }

    fn entry(&mut self, event: &Event<'t>, span: Span, flow: bool) -> Option<Entry> {
        let start = self.skip(self.at, if flow { &[','] } else { &[] });
        self.at = start;
        let behind = &self.text[start..];
        if behind
            .strip_prefix('?')
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
        {
            self.at += 1;
        }
        let key = match event {
            Event::Scalar(text, ..) => text.to_string(),
            Event::Alias(anchor) => self.anchors.get(anchor)?.clone(),
            _ => return None,
        };
        self.node(event, span, flow)?;
        // In `{a, b}`, and behind a `? key` alone, there is no colon.
        let _ = self.take(':', &[]);
        let colon = self.at;
        let line = self.text[..start].rfind(['\n', '\r']).map_or(0, |n| n + 1);
        let column = self.text[line..start].chars().count();
        let (event, span) = self.events.next()?;
        let value = self.node(&event, span, flow)?;
        Some(Entry { key, start, colon, column, value })
    }

    /// A scalar that is not empty; `end` is the parser's idea of where it ends.
    fn scalar(&self, end: usize, style: ScalarStyle, flow: bool) -> Node {
        let start = self.skip(self.at, &[]);
        let end = end.max(start);
        let quote = match style {
            ScalarStyle::SingleQuoted => Some('\''),
            ScalarStyle::DoubleQuoted => Some('"'),
            _ => None,
        };
        let text = &self.text[start..end];
        let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        // `|+` and `>+` keep the empty lines behind them.
        let header = text.lines().next().and_then(|line| line.split('#').next()).unwrap_or("");
        // The parser's place may be behind a comment; the quotes say where the text ends.
        let end = match quote.and_then(|quote| closing(&self.text[start..], quote)) {
            Some(len) => start + len,
            // Not the indentation of what follows.
            None if block && header.contains('+') => start + text.trim_end_matches([' ', '\t']).len(),
            // Up to the line end of its last line: what follows belongs to the next key.
            None if block => {
                let last = start + text.trim_end().len();
                last + self.text[last..end].find(['\n', '\r']).unwrap_or(end - last)
            }
            None => start + text.trim_end_matches([' ', '\t', '\n', '\r']).len(),
        };
        Node { start, end, kind: Kind::Scalar { quote, flow }, tag: None }
    }
}

/// The length of a quoted text, quotes included.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if quote == '"' => {
                chars.next();
            }
            c if c == quote && quote == '\'' && chars.peek().is_some_and(|(_, next)| *next == quote) => {
                chars.next();
            }
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}
