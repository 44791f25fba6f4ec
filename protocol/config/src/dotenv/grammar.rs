//! Statements of a `.env`, each with its bytes: the grammar of python-dotenv, which 0.19.0 reads the file with.
//!
//! The source of the rules is python-dotenv's own reader. Of its versions 1.2.2 (0.19.0's) and 1.2.4 the newer one is followed, which
//! corrects two things: `NAME= # comment` sets nothing (there, the comment was the value), and `\\` before a closing quote is a
//! backslash (there, the quote did not close, and the next lines were lost).

use std::ops::Range;

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement {
    /// Its first byte; white space before it belongs to nobody.
    pub(crate) start: usize,
    /// Behind its line end.
    pub(crate) end: usize,
    /// The line of its first byte, from 1.
    pub(crate) line: u32,
    /// The name; none for a comment, and where it cannot be told.
    pub(crate) name: Option<String>,
    /// Behind the name and its quotes.
    pub(crate) name_end: usize,
    pub(crate) value: Value,
}

/// What a statement says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// The text, escapes replaced, and its bytes, quotes included.
    Text(String, Range<usize>),
    /// There is no `=`.
    Absent,
    /// It is not a statement and was skipped, up to its `end`.
    Broken(Fault),
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing stands before the `=`, or a quote before it is not closed.
    Name,
    /// Something other than `=` stands behind the name.
    Equals,
    /// The opening quote has no closing one in the rest of the file.
    Unclosed,
    /// Something other than a comment stands behind the closing quote.
    Behind,
}

/// White space as Python's patterns have it.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn is_blank(c: char) -> bool {
    is_space(c) && !is_end(c)
}

fn is_end(c: char) -> bool {
    matches!(c, '\r' | '\n')
}

/// Every statement of a text, comments included, in order. A mark at the start must be gone.
pub(crate) fn statements(text: &str) -> Vec<Statement> {
    let mut reader = Reader { text, at: 0, line: 1, counted: 0 };
    let mut all = Vec::new();
    loop {
        reader.skip(is_space);
        if reader.rest().is_empty() {
            return all;
        }
        all.push(reader.statement());
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    /// The line of byte `counted`.
    line: u32,
    counted: usize,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn skip(&mut self, what: impl Fn(char) -> bool) -> usize {
        let rest = self.rest();
        let len = rest.find(|c| !what(c)).unwrap_or(rest.len());
        self.at += len;
        len
    }

    fn line(&mut self) -> u32 {
        let between = &self.text[self.counted..self.at];
        let ends = between.bytes().filter(|b| *b == b'\n').count() + lone_returns(between);
        self.line = self.line.saturating_add(u32::try_from(ends).unwrap_or(u32::MAX));
        self.counted = self.at;
        self.line
    }

    fn statement(&mut self) -> Statement {
        let (start, line) = (self.at, self.line());
        if let Some(behind) = self.rest().strip_prefix("export")
            && behind.starts_with(is_blank)
        {
            self.at += "export".len();
            self.skip(is_blank);
        }
        let (mut name, mut name_end) = (None, self.at);
        let value = self.body(&mut name, &mut name_end);
        let value = value.unwrap_or_else(|fault| {
            self.skip(|c| !is_end(c));
            Value::Broken(fault)
        });
        if self.rest().starts_with("\r\n") {
            self.at += 2;
        } else if self.rest().starts_with(is_end) {
            self.at += 1;
        }
        Statement { start, end: self.at, line, name, name_end, value }
    }

    fn body(&mut self, name: &mut Option<String>, name_end: &mut usize) -> Result<Value, Fault> {
        if self.rest().starts_with('#') {
            // A comment.
        } else if let Some(quoted) = self.rest().strip_prefix('\'') {
            let len = quoted.find('\'').filter(|len| *len > 0).ok_or(Fault::Name)?;
            *name = Some(one_line_end(&quoted[..len]));
            self.at += len + 2;
        } else {
            let from = self.at;
            if self.skip(|c| !is_space(c) && !matches!(c, '=' | '#')) == 0 {
                return Err(Fault::Name);
            }
            *name = Some(self.text[from..self.at].to_owned());
        }
        *name_end = self.at;
        self.skip(is_blank);
        let value = if self.rest().starts_with('=') {
            self.at += 1;
            let spaced = self.skip(is_blank) > 0;
            if spaced && self.rest().starts_with('#') {
                Value::Text(String::new(), self.at..self.at)
            } else {
                self.value()?
            }
        } else {
            Value::Absent
        };
        let before = self.at;
        self.skip(is_blank);
        if self.rest().starts_with('#') {
            self.skip(|c| !is_end(c));
        }
        if self.rest().is_empty() || self.rest().starts_with(is_end) {
            return Ok(value);
        }
        self.at = before;
        Err(if matches!(value, Value::Absent) { Fault::Equals } else { Fault::Behind })
    }

    fn value(&mut self) -> Result<Value, Fault> {
        let (start, rest) = (self.at, self.rest());
        if let Some(quote) = rest.chars().next().filter(|c| matches!(c, '\'' | '"')) {
            let inner = &rest[1..];
            let len = closing(inner, quote).ok_or(Fault::Unclosed)?;
            self.at += len + 2;
            return Ok(Value::Text(unescaped(&one_line_end(&inner[..len]), quote), start..self.at));
        }
        self.skip(|c| !is_end(c));
        let line = &self.text[start..self.at];
        let mut cut = line.len();
        let mut blank = None;
        for (at, c) in line.char_indices() {
            match c {
                '#' if blank.is_some() => {
                    cut = blank.unwrap_or(at);
                    break;
                }
                c if is_space(c) => blank = blank.or(Some(at)),
                _ => blank = None,
            }
        }
        let value = line[..cut].trim_end_matches(is_space);
        Ok(Value::Text(value.to_owned(), start..start + value.len()))
    }
}

/// Where the closing quote is; what stands behind a backslash never closes.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next()?;
        } else if c == quote {
            return Some(at);
        }
    }
    None
}

fn unescaped(text: &str, quote: char) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.peek().and_then(|next| escape(*next, quote)) } else { None };
        out.push(escaped.unwrap_or(c));
        if escaped.is_some() {
            chars.next();
        }
    }
    out
}

/// What a backslash and a character stand for; nothing special where they stand for themselves.
fn escape(c: char, quote: char) -> Option<char> {
    Some(match c {
        '\\' | '\'' => c,
        _ if quote == '\'' => return None,
        '"' => '"',
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        _ => return None,
    })
}

/// Python reads text with every line end as `\n`.
fn one_line_end(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

fn lone_returns(text: &str) -> usize {
    if !text.contains('\r') {
        return 0;
    }
    text.bytes().zip(text.bytes().skip(1).chain([0])).filter(|(a, b)| *a == b'\r' && *b != b'\n').count()
}
