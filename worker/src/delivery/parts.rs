//! Where a text that is too long for one message is cut.

/// The first part of `text`: all of it, or at most `longest` characters. Cut behind a line, else behind a word, unless that would
/// leave less than half.
pub(super) fn first(text: &str, longest: usize) -> &str {
    let Some((limit, _)) = text.char_indices().nth(longest.max(1)) else { return text };
    let most = &text[..limit];
    let whole = |end: Option<usize>| end.filter(|end| *end >= limit / 2).map(|end| &text[..=end]);
    whole(most.rfind('\n')).or_else(|| whole(most.rfind(' '))).unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(mut text: &str, longest: usize) -> Vec<&str> {
        let mut parts = Vec::new();
        while !text.is_empty() {
            let part = first(text, longest);
            parts.push(part);
            text = &text[part.len()..];
        }
        parts
    }

    #[test]
    fn lines_stay_whole_then_words_then_characters() {
        assert_eq!(all("one\ntwo three", 9), ["one\ntwo ", "three"]);
        assert_eq!(all("one two\nthree four", 12), ["one two\n", "three four"]);
        assert_eq!(all("one two three", 8), ["one two ", "three"]);
        assert_eq!(all("a bcdefghij", 6), ["a bcde", "fghij"]);
        assert_eq!(all("äöüß", 2), ["äö", "üß"]);
        assert_eq!(all("", 3), [] as [&str; 0]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_part_is_too_long(text in "[a-zäß€😀 \n]{0,80}", longest in 0_usize..20) {
            let parts = all(&text, longest);
            prop_assert_eq!(parts.concat(), text.as_str());
            prop_assert!(parts.iter().all(|part| part.chars().count() <= longest.max(1)));
        }
    }
}
