//! Names of keys as somebody types them: `model.default`, `toolsets.0`, `platforms.discord.channel_prompts."1.5"`.
//!
//! Segments are separated by dots. A segment in quotes (`"` or `'`) is taken as it is: it may hold dots, and it is a key even
//! where it looks like the index of a list.

use std::fmt;

/// Longest text that is taken for a key, in bytes.
const MAX_LEN: usize = 1024;
/// Most segments; the reader allows no more levels.
const MAX_SEGMENTS: usize = 32;

/// A path of keys: at least one segment, none of them empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPath(Vec<Segment>);

/// One step down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The key, or the index of an item.
    pub text: String,
    /// It stood in quotes, so it is a key and no index.
    pub quoted: bool,
}

/// Why a text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Nothing at all.
    #[error("a key is missing")]
    Missing,
    /// `a..b`, `.a`, `a.`, `a.""`.
    #[error("a part of the key is empty")]
    EmptySegment,
    /// `a."b`, `a."b"c`.
    #[error("a quote in the key is not closed, or something stands beside it")]
    Quote,
    /// Line ends and the like.
    #[error("the key holds control characters")]
    Control,
    /// Nobody means that.
    #[error("the key is too long")]
    TooLong,
}

impl Segment {
    /// Unquoted.
    pub fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), quoted: false }
    }

    /// A key of a mapping: quoted where it would be read as something else.
    pub fn key(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { quoted: needs_quotes(&text), text }
    }

    /// Whether it may be the index of an item.
    pub fn is_index(&self) -> bool {
        !self.quoted && index(&self.text).is_some()
    }
}

impl KeyPath {
    /// Reads what somebody typed; white space around it does not count.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(PathError::Missing);
        }
        if text.len() > MAX_LEN {
            return Err(PathError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(PathError::Control);
        }
        let mut segments = Vec::new();
        let mut rest = text;
        loop {
            let (segment, behind) = first_segment(rest)?;
            segments.push(segment);
            if segments.len() > MAX_SEGMENTS {
                return Err(PathError::TooLong);
            }
            match behind {
                Some(behind) => rest = behind,
                None => return Ok(Self(segments)),
            }
        }
    }

    /// Of segments that are keys or indices.
    pub fn of(segments: impl IntoIterator<Item = Segment>) -> Self {
        Self(segments.into_iter().collect())
    }

    /// The steps.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// Their texts.
    pub fn texts(&self) -> Vec<&str> {
        self.0.iter().map(|segment| segment.text.as_str()).collect()
    }

    /// The last step's text.
    pub fn last(&self) -> &str {
        self.0.last().map_or("", |segment| &segment.text)
    }

    /// The only step's text, where there is just one and it is not quoted.
    pub fn single(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Segment { text, quoted: false }] => Some(text),
            _ => None,
        }
    }

    /// The same with `x.1` for `x[1]`, where a part that is not quoted is written like that.
    pub fn with_dots_for_brackets(&self) -> Option<Self> {
        let (mut all, mut found) = (Vec::new(), false);
        for segment in &self.0 {
            let mut rest = segment.text.as_str();
            let mut items = Vec::new();
            while !segment.quoted
                && let Some((before, n)) = rest.strip_suffix(']').and_then(|text| text.rsplit_once('['))
                && index(n).is_some()
                && !before.is_empty()
            {
                items.push(Segment::plain(n));
                rest = before;
            }
            found |= !items.is_empty();
            all.push(Segment { text: rest.to_owned(), quoted: segment.quoted });
            all.extend(items.into_iter().rev());
        }
        found.then_some(Self(all))
    }

    /// As far as a step, excluded.
    #[must_use]
    pub fn up_to(&self, segments: usize) -> Self {
        Self(self.0[..segments.min(self.0.len())].to_vec())
    }

    /// One step further.
    #[must_use]
    pub fn below(&self, segment: Segment) -> Self {
        Self(self.0.iter().cloned().chain([segment]).collect())
    }

    /// Whether one of the two leads to the other, or they are the same.
    pub fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(a, b)| a.text == b.text)
    }
}

/// A text as the index of an item: digits, without a zero before them.
pub(super) fn index(text: &str) -> Option<usize> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// Whether a key would be read as something else without quotes.
fn needs_quotes(text: &str) -> bool {
    text.contains(['.', '"', '\'']) || text.trim() != text || text.bytes().all(|b| b.is_ascii_digit())
}

/// The first segment, and what stands behind its dot.
fn first_segment(text: &str) -> Result<(Segment, Option<&str>), PathError> {
    let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        let (segment, behind) = match text.split_once('.') {
            Some((segment, behind)) => (segment, Some(behind)),
            None => (text, None),
        };
        return if segment.is_empty() {
            Err(PathError::EmptySegment)
        } else {
            Ok((Segment::plain(segment), behind))
        };
    };
    let (inner, behind) = text[1..].split_once(quote).ok_or(PathError::Quote)?;
    if inner.is_empty() {
        return Err(PathError::EmptySegment);
    }
    let segment = Segment { text: inner.to_owned(), quoted: true };
    if behind.is_empty() {
        return Ok((segment, None));
    }
    behind.strip_prefix('.').map(|behind| (segment, Some(behind))).ok_or(PathError::Quote)
}

impl fmt::Display for KeyPath {
    /// As it can be typed again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Segment { text, quoted }) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str(".")?;
            }
            let quote = if text.contains('"') { '\'' } else { '"' };
            if *quoted && needs_quotes(text) {
                write!(f, "{quote}{text}{quote}")?;
            } else {
                f.write_str(text)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dots_separate_unless_they_are_quoted() {
        let texts = |text: &str| {
            KeyPath::parse(text).map(|path| path.0.into_iter().map(|s| s.text).collect::<Vec<_>>())
        };
        assert_eq!(texts("a.b.0").unwrap(), ["a", "b", "0"]);
        assert_eq!(texts(" a.\"b.c\".d ").unwrap(), ["a", "b.c", "d"]);
        assert_eq!(texts("'a b'").unwrap(), ["a b"]);
        assert_eq!(texts("a.'it\"s'").unwrap(), ["a", "it\"s"]);
        for (bad, why) in [
            ("", PathError::Missing),
            ("  ", PathError::Missing),
            (".", PathError::EmptySegment),
            ("a..b", PathError::EmptySegment),
            ("a.", PathError::EmptySegment),
            (".a", PathError::EmptySegment),
            ("a.\"\"", PathError::EmptySegment),
            ("a.\"b", PathError::Quote),
            ("\"a\"b", PathError::Quote),
            ("a\nb", PathError::Control),
        ] {
            assert_eq!(texts(bad), Err(why), "{bad:?}");
        }
        assert_eq!(texts(&"a.".repeat(600)), Err(PathError::TooLong));
        assert_eq!(texts(&"a.".repeat(40)), Err(PathError::TooLong));
    }

    #[test]
    fn a_quoted_number_is_a_key() {
        let index = |text: &str| KeyPath::parse(text).unwrap().0[1].is_index();
        assert!(
            index("a.0")
                && index("a.10")
                && !index("a.\"0\"")
                && !index("a.0x")
                && !index("a.01")
                && !index("a.+1")
        );
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_typed(segments in prop::collection::vec("[a-z0-9. ']{1,6}", 1..5)) {
            let path = KeyPath::of(segments.into_iter().map(|text| Segment { text, quoted: true }));
            let again = KeyPath::parse(&path.to_string()).unwrap();
            prop_assert_eq!(again.texts(), path.texts());
        }
    }
}
