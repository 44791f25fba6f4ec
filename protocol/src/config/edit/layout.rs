//! Where in the text every node stands, in bytes.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// A document; no root where there is no value.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) root: Option<Node>,
}

/// A node and its bytes. A block collection ends where its last value does.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) kind: Kind,
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
        items: Vec<Node>,
    },
    Map {
        flow: bool,
        entries: Vec<Entry>,
    },
    Alias,
}

/// One explicit entry of a mapping.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    /// First byte of the key.
    pub(super) start: usize,
    /// The byte behind the entry's colon.
    pub(super) colon: usize,
    /// Column of the key, in characters.
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

struct Reader<'t> {
    text: &'t str,
    /// Byte of each character, where the two differ.
    bytes: Option<Vec<usize>>,
    events: std::vec::IntoIter<(Event<'t>, Span)>,
}

impl Layout {
    /// `None`: the text has a form that this module does not edit.
    pub(super) fn read(text: &str) -> Option<Self> {
        let bytes = (!text.is_ascii())
            .then(|| text.char_indices().map(|(at, _)| at).chain([text.len()]).collect::<Vec<_>>());
        let mut parser = Parser::new_from_str(text);
        let mut events = Vec::new();
        while let Some(event) = parser.next_event() {
            let (event, span) = event.ok()?;
            let structural = matches!(
                event,
                Event::Nothing
                    | Event::StreamStart
                    | Event::StreamEnd
                    | Event::DocumentStart(_)
                    | Event::DocumentEnd
            );
            if !structural {
                events.push((event, span));
            }
        }
        let mut reader = Reader { text, bytes, events: events.into_iter() };
        let root = match reader.events.next() {
            Some((event, span)) => Some(reader.node(&event, span, false)?),
            None => None,
        };
        Some(Self { root: root.filter(|root| !root.is_null(text) || root.start < root.end) })
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

    fn node(&mut self, event: &Event<'t>, span: Span, flow: bool) -> Option<Node> {
        let (start, end) = self.span(span);
        match event {
            Event::Alias(_) => Some(Node { start, end, kind: Kind::Alias }),
            // Nothing at all; the parser's place is that of whatever follows.
            Event::Scalar(text, ScalarStyle::Plain, _, _) if text.is_empty() => {
                Some(Node { start, end: start, kind: Kind::Scalar { quote: None, flow } })
            }
            Event::Scalar(_, style, _, _) => Some(self.scalar(start, end, *style, flow)),
            Event::SequenceStart(..) => {
                let flow = self.text[start..end].ends_with('[');
                let mut items = Vec::new();
                loop {
                    let (event, span) = self.events.next()?;
                    if matches!(event, Event::SequenceEnd) {
                        let end = self.end_of(flow, items.last().map(|n: &Node| n.end), start)?;
                        return Some(Node { start, end, kind: Kind::Seq { flow, items } });
                    }
                    let mut item = self.node(&event, span, flow)?;
                    if !flow && item.start == item.end {
                        // The parser's place is the end of the line.
                        let line = self.text[..item.start].rfind('\n').map_or(0, |n| n + 1);
                        let before = self.text[line..item.start].split('#').next().unwrap_or_default();
                        let dash = line + before.rfind('-')? + 1;
                        (item.start, item.end) = (dash, dash);
                    }
                    items.push(item);
                }
            }
            Event::MappingStart(..) => {
                let flow = self.text[start..end].ends_with('{');
                let mut entries: Vec<Entry> = Vec::new();
                loop {
                    let (event, span) = self.events.next()?;
                    if matches!(event, Event::MappingEnd) {
                        let last = entries.last().map(|e| e.value.end.max(e.colon));
                        let end = self.end_of(flow, last, start)?;
                        let start = entries.first().map_or(start, |e| if flow { start } else { e.start });
                        return Some(Node { start, end, kind: Kind::Map { flow, entries } });
                    }
                    entries.push(self.entry(event, span, flow)?);
                }
            }
            _ => None,
        }
    }

    fn entry(&mut self, event: Event<'t>, span: Span, flow: bool) -> Option<Entry> {
        let Event::Scalar(key, ..) = event else { return None };
        let (start, key_end) = self.span(span);
        if self.text[..start].trim_end().ends_with('?') {
            return None;
        }
        // Only white space may stand between a simple key and its colon; in `{a, b}` there is none.
        let behind = self.text[key_end..].trim_start();
        let colon = match behind.starts_with(':') {
            true => self.text.len() - behind.len() + 1,
            false if flow && behind.starts_with([',', '}']) => key_end,
            false => return None,
        };
        let (event, span_of_value) = self.events.next()?;
        let mut value = self.node(&event, span_of_value, flow)?;
        if matches!(value.kind, Kind::Scalar { quote: None, .. }) {
            // A block's indicator stands behind the colon, its text below.
            let behind = self.text[colon..].trim_start_matches([' ', '\t']);
            if behind.starts_with(['|', '>']) {
                value.start = self.text.len() - behind.len();
            }
        }
        if value.start < colon || (value.is_null(self.text) && value.start == value.end) {
            (value.start, value.end) = (colon, colon);
        }
        Some(Entry { key: key.into_owned(), start, colon, column: span.start.col(), value })
    }

    fn scalar(&self, start: usize, end: usize, style: ScalarStyle, flow: bool) -> Node {
        let quote = match style {
            ScalarStyle::SingleQuoted => Some('\''),
            ScalarStyle::DoubleQuoted => Some('"'),
            _ => None,
        };
        let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        let indicator = if block { self.text[..start].rfind(['|', '>']) } else { None };
        let start = indicator.unwrap_or(start);
        let text = &self.text[start..end];
        // The parser's place may be behind a comment; the quotes say where the text ends.
        let quoted = quote.and_then(|quote| closing(text, quote));
        // `|+` and `>+` keep the empty lines behind them.
        let keeps = block
            && text.lines().next().is_some_and(|header| header.split('#').next().unwrap_or("").contains('+'));
        let end = match quoted {
            Some(len) => start + len,
            // Not the indentation of what follows.
            None if keeps => start + text.trim_end_matches([' ', '\t']).len(),
            // Up to the line end of its last line: what follows belongs to the next key.
            None if block => start + text.trim_end().len(),
            None => start + text.trim_end_matches([' ', '\t', '\n', '\r']).len(),
        };
        Node { start, end, kind: Kind::Scalar { quote, flow } }
    }

    /// Behind the closing bracket, or behind the last value of a block.
    fn end_of(&self, flow: bool, last: Option<usize>, start: usize) -> Option<usize> {
        if !flow {
            return Some(last.unwrap_or(start));
        }
        // With a comma at the end the parser's own place is that of the comma.
        let mut at = last.unwrap_or(start + 1);
        loop {
            let rest = &self.text[at..];
            match rest.chars().next()? {
                '}' | ']' => return Some(at + 1),
                '#' => at += rest.find('\n')?,
                c if c == ',' || c.is_whitespace() => at += c.len_utf8(),
                _ => return None,
            }
        }
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
