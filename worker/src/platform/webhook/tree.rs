//! A payload as it came: numbers keep every digit, objects their order and their repeated keys.
//!
//! `serde_json::Value` holds numbers as 64-bit ones: `1.10` would reach a prompt as `1.1`, an id of 25 digits as another id, and `1e400`
//! not at all. The text is judged by serde_json first; what is cut into pieces here is known to be JSON.

use serde::de::IgnoredAny;

/// How deep a payload may nest, as in serde_json.
const MAX_DEPTH: usize = 128;

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// `null`, `true`, `false` or a number, as it was written.
    Plain(Box<str>),
    Text(String),
    List(Vec<Node>),
    /// In order, also of keys that come twice.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// The value that `json` spells; `None` for what is no JSON, or nests too deep.
    pub(super) fn parse(json: &[u8]) -> Option<Self> {
        let repaired = crate::json::repaired(json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json));
        serde_json::from_slice::<IgnoredAny>(&repaired).ok()?;
        let mut rest = Rest(std::str::from_utf8(&repaired).ok()?);
        let node = rest.value(0)?;
        rest.blank();
        rest.0.is_empty().then_some(node)
    }

    /// The last value of a key, as programs that build a map see it.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(fields) => fields.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number's own digits, if it is one.
    pub(super) fn as_number(&self) -> Option<&str> {
        match self {
            Self::Plain(text) => text.starts_with(|c: char| c == '-' || c.is_ascii_digit()).then_some(text),
            _ => None,
        }
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self, Self::Map(_))
    }

    /// Whether it is `true`.
    pub(super) fn is_true(&self) -> bool {
        matches!(self, Self::Plain(text) if &**text == "true")
    }

    /// Writes it as JSON: on one line, or indented by two spaces a level. Ends when `out` refuses.
    pub(super) fn write(&self, out: &mut dyn Out, indent: Option<usize>) -> Result<(), Full> {
        let inner = indent.map(|level| level + 1);
        match self {
            Self::Plain(text) => out.push(text),
            Self::Text(text) => quoted(out, text),
            Self::List(items) if items.is_empty() => out.push("[]"),
            Self::Map(fields) if fields.is_empty() => out.push("{}"),
            Self::List(items) => {
                for (n, item) in items.iter().enumerate() {
                    out.push(if n == 0 { "[" } else { "," })?;
                    line(out, inner)?;
                    item.write(out, inner)?;
                }
                line(out, indent)?;
                out.push("]")
            }
            Self::Map(fields) => {
                for (n, (key, value)) in fields.iter().enumerate() {
                    out.push(if n == 0 { "{" } else { "," })?;
                    line(out, inner)?;
                    quoted(out, key)?;
                    out.push(if indent.is_some() { ": " } else { ":" })?;
                    value.write(out, inner)?;
                }
                line(out, indent)?;
                out.push("}")
            }
        }
    }
}

/// As JSON on one line.
impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        // A text takes everything.
        let _ = self.write(&mut text, None);
        f.write_str(&text)
    }
}

/// Where JSON is written to.
pub(super) trait Out {
    /// Takes a piece, or says that enough was written.
    fn push(&mut self, piece: &str) -> Result<(), Full>;
}

/// Enough was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

impl Out for String {
    fn push(&mut self, piece: &str) -> Result<(), Full> {
        self.push_str(piece);
        Ok(())
    }
}

fn line(out: &mut dyn Out, level: Option<usize>) -> Result<(), Full> {
    let Some(level) = level else { return Ok(()) };
    out.push("\n")?;
    (0..level).try_for_each(|_| out.push("  "))
}

fn quoted(out: &mut dyn Out, text: &str) -> Result<(), Full> {
    // In pieces, so that a bounded writer need not see all of a long text; no escape spans two characters.
    let mut rest = text;
    out.push("\"")?;
    while !rest.is_empty() {
        let at = rest.char_indices().nth(1024).map_or(rest.len(), |(at, _)| at);
        let piece = serde_json::to_string(&rest[..at]).expect("a text is always JSON");
        out.push(&piece[1..piece.len() - 1])?;
        rest = &rest[at..];
    }
    out.push("\"")
}

/// What is left of a text that is known to be JSON.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn blank(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    /// The next byte that means something.
    fn peek(&mut self) -> Option<u8> {
        self.blank();
        self.0.bytes().next()
    }

    /// Takes `count` bytes.
    fn take(&mut self, count: usize) -> Option<&'a str> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// Takes one byte, if it is this one.
    fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        if is_next {
            self.0 = &self.0[1..];
        }
        is_next
    }

    fn value(&mut self, depth: usize) -> Option<Node> {
        if depth > MAX_DEPTH {
            return None;
        }
        match self.peek()? {
            b'"' => self.text().map(Node::Text),
            b'[' => {
                self.take(1)?;
                let mut items = Vec::new();
                while !self.eat(b']') {
                    items.push(self.value(depth + 1)?);
                    self.eat(b',');
                }
                Some(Node::List(items))
            }
            b'{' => {
                self.take(1)?;
                let mut fields = Vec::new();
                while !self.eat(b'}') {
                    self.blank();
                    let key = self.text()?;
                    self.eat(b':');
                    fields.push((key, self.value(depth + 1)?));
                    self.eat(b',');
                }
                Some(Node::Map(fields))
            }
            _ => {
                let ends = |byte: u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r');
                let end = self.0.bytes().position(ends).unwrap_or(self.0.len());
                (end > 0).then(|| self.take(end)).flatten().map(|plain| Node::Plain(plain.into()))
            }
        }
    }

    /// A text in its quotes: up to the first quote that is not escaped.
    fn text(&mut self) -> Option<String> {
        let mut escaped = false;
        let end = self.0.bytes().skip(1).position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        })?;
        serde_json::from_str(self.take(end + 2)?).ok()
    }
}

/// What arrives of a value, written as in `serde_json::json!`.
#[cfg(test)]
macro_rules! json {
    ($($json:tt)+) => {
        $crate::platform::webhook::tree::Node::parse(serde_json::json!($($json)+).to_string().as_bytes()).unwrap()
    };
}
#[cfg(test)]
pub(super) use json;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn parse(json: &str) -> Option<Node> {
        Node::parse(json.as_bytes())
    }

    /// Wires 8: what comes goes on digit for digit, in its order.
    #[test]
    fn w8_everything_is_kept_as_it_was_written() {
        for json in [
            r#"{"id":12345678901234567890123,"price":1.10,"huge":1e400,"tiny":-0.0,"E":1E+2,"zero":0}"#,
            r#"{"b":1,"a":2,"b":3}"#,
            r#"[true,false,null,"",{},[],[[]],"a\"b\\","\\"]"#,
            "18446744073709551616",
            r#""ä\u0001""#,
        ] {
            assert_eq!(parse(json).unwrap().to_string(), json);
        }
        let spaced = " { \"a\" : [ 1 , 2.50 ] ,\r\n\t\"b\" : { } } ";
        assert_eq!(parse(spaced).unwrap().to_string(), r#"{"a":[1,2.50],"b":{}}"#);
        let twice = parse(r#"{"a":1,"a":2}"#).unwrap();
        assert_eq!(twice.get("a").and_then(Node::as_number), Some("2"));
        assert_eq!(parse("\u{feff}{}").unwrap(), Node::Map(Vec::new()));
        assert_eq!(parse(r#"{"a":"\ud83e"}"#).unwrap().get("a").unwrap().as_str(), Some("\u{fffd}"));
        assert_eq!(parse(r#""\u00e4\ud83e\udd80\/""#).unwrap().as_str(), Some("ä🦀/"));
    }

    #[test]
    fn what_is_no_json_is_none() {
        for bad in [
            "",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "01",
            "1 2",
            "nul",
            "'a'",
            "{a:1}",
            "[1 2]",
            "\"a",
            "\"\n\"",
            "NaN",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(Node::parse(b"\"\xff\""), None);
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse(&nested(100)).is_some() && parse(&nested(200)).is_none());
        assert_eq!(parse(&"[".repeat(1_000_000)), None);
        assert_eq!(parse(&nested(500_000)), None);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::vec((any::<String>(), inner), 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// The same values as serde_json, the same text as it writes, plain and indented.
        #[test]
        fn agrees_with_serde_json(value in any_json()) {
            let (compact, pretty) = (value.to_string(), serde_json::to_string_pretty(&value).unwrap());
            let node = parse(&pretty).unwrap();
            prop_assert_eq!(node.to_string(), compact);
            let mut indented = String::new();
            node.write(&mut indented, Some(0)).unwrap();
            prop_assert_eq!(indented, pretty);
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Node::parse(&bytes);
        }
    }
}
