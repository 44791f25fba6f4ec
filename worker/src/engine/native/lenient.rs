//! JSON as servers send it: what Python's `json` accepts and the standard does not.
//!
//! Halves of surrogate pairs (a server that escapes an emoji and cuts it between two chunks sends `\ud83e` and `\udd80`), `NaN`,
//! `Infinity`, and control characters within strings. A half cannot be a character of a [`String`]; it is carried as a
//! character from the end of the last private plane, which nobody uses, until [`Halves`] has joined it with the other one.

use std::fmt::Write as _;

use serde_json::Value;

/// Where halves are carried: 2048 characters, one for each.
const CARRIER: u32 = 0x0010_F800;

/// A parsed text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Json {
    /// The value.
    pub(super) value: Value,
    /// It may carry halves.
    pub(super) mended: bool,
}

/// The JSON of a whole body, with what servers put around it.
pub(super) fn from_body(body: &[u8]) -> Option<Json> {
    let text = String::from_utf8_lossy(body);
    parse(text.trim_matches(|c: char| c == '\u{feff}' || c.is_whitespace()))
}

/// Parses; `None`: not JSON by any measure.
pub(super) fn parse(text: &str) -> Option<Json> {
    match serde_json::from_str(text) {
        Ok(value) => Some(Json { value, mended: false }),
        Err(_) => Some(Json { value: serde_json::from_str(&mend(text)).ok()?, mended: true }),
    }
}

/// A text without halves: each is U+FFFD.
pub(super) fn settled(text: &str) -> String {
    text.chars().map(|c| if half(c).is_some() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Joins halves over the pieces of one text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Halves {
    high: Option<u32>,
}

impl Halves {
    /// The next piece, whole characters only. A half that never finds its other is U+FFFD.
    pub(super) fn join(&mut self, piece: &str, mended: bool) -> String {
        let mut joined = String::with_capacity(piece.len());
        for c in piece.chars() {
            let low = match half(c).filter(|_| mended) {
                Some(high @ ..0xDC00) => {
                    joined.extend(self.high.replace(high).map(|_| char::REPLACEMENT_CHARACTER));
                    continue;
                }
                low => low,
            };
            let high = self.high.take();
            let pair = high
                .zip(low)
                .and_then(|(h, l)| char::from_u32(0x1_0000 + ((h - 0xD800) << 10) + (l - 0xDC00)));
            if let Some(pair) = pair {
                joined.push(pair);
            } else {
                joined.extend(high.map(|_| char::REPLACEMENT_CHARACTER));
                joined.push(if low.is_some() { char::REPLACEMENT_CHARACTER } else { c });
            }
        }
        joined
    }

    /// What is left when no more comes.
    pub(super) fn rest(&mut self) -> &'static str {
        if self.high.take().is_some() { "\u{fffd}" } else { "" }
    }
}

/// The half that a character carries.
fn half(c: char) -> Option<u32> {
    u32::from(c).checked_sub(CARRIER).map(|n| 0xD800 + n)
}

/// The text with what the parser does not take written so that it does.
fn mend(text: &str) -> String {
    let mut new = String::with_capacity(text.len() + 16);
    let mut rest = text;
    let mut within = false;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        if within {
            match c {
                '\\' => {
                    let taken = escape(rest, &mut new);
                    rest = &rest[taken..];
                    continue;
                }
                '"' => within = false,
                '\0'..'\u{20}' => {
                    let _ = write!(new, "\\u{:04x}", u32::from(c));
                    rest = after;
                    continue;
                }
                _ => {}
            }
        } else if c == '"' {
            within = true;
        } else if let Some(word) =
            ["NaN", "Infinity", "-Infinity"].iter().find(|word| rest.starts_with(**word))
        {
            new.push_str("null");
            rest = &rest[word.len()..];
            continue;
        }
        new.push(c);
        rest = after;
    }
    new
}

/// Copies the escape at the start of `text`, a half as its carrier; how many bytes it took.
fn escape(text: &str, new: &mut String) -> usize {
    let unit = |text: &str| {
        let digits = text.strip_prefix("\\u")?.get(..4)?;
        digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
    };
    let Some(first) = unit(text).filter(|unit| (0xD800..0xE000).contains(unit)) else {
        let length = 1 + text[1..].chars().next().map_or(0, char::len_utf8);
        new.push_str(&text[..length]);
        return length;
    };
    let paired = first < 0xDC00 && unit(&text[6..]).is_some_and(|unit| (0xDC00..0xE000).contains(&unit));
    if paired {
        new.push_str(&text[..12]);
        return 12;
    }
    new.extend(char::from_u32(CARRIER + (first - 0xD800)));
    6
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn joined(pieces: &[&str]) -> String {
        let mut halves = Halves::default();
        let mut all = String::new();
        for piece in pieces {
            let json = parse(piece).unwrap();
            all.push_str(&halves.join(json.value.as_str().unwrap(), json.mended));
        }
        all.push_str(halves.rest());
        all
    }

    /// Wires 1: an emoji that is split over two chunks is one emoji.
    #[test]
    fn w1_halves_of_a_pair_find_each_other() {
        assert_eq!(joined(&[r#""a\ud83e""#, r#""\udd80b""#]), "a🦀b");
        assert_eq!(joined(&[r#""a\uD83E""#, r#""""#, r#""\uDD80""#]), "a🦀");
        assert_eq!(joined(&[r#""\ud83e\udd80 \ud83e""#, r#""\udd80""#]), "🦀 🦀");
        assert_eq!(joined(&[r#""\ud83e""#, r#""x""#]), "\u{fffd}x");
        assert_eq!(joined(&[r#""\ud83e\ud83e""#, r#""\udd80\udd80""#]), "\u{fffd}🦀\u{fffd}");
        assert_eq!(joined(&[r#""x\ud83e""#]), "x\u{fffd}");
        assert_eq!(joined(&[r#""\\ud83e \"\u00e4\n""#]), "\\ud83e \"ä\n");
        // What a model says with the carriers themselves is left alone.
        assert_eq!(joined(&["\"\u{10f83e}\""]), "\u{10f83e}");
        assert_eq!(settled("\u{10f83e}x"), "\u{fffd}x");
    }

    #[test]
    fn what_python_writes_is_read() {
        let read = |text: &str| parse(text).map(|json| json.value);
        assert_eq!(
            read(r#"{"a": NaN, "b": [-Infinity, Infinity], "c": "NaN"}"#),
            Some(json!({"a": null, "b": [null, null], "c": "NaN"}))
        );
        assert_eq!(read("\"a\tb\u{1}\""), Some(json!("a\tb\u{1}")));
        for bad in ["", "{", "nope", "{\"a\": \"\\ud83e", "\"\\", "\"\\u12", "\"\\ué00\"", "{'a': 1}"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
