//! Whether a text is a secret by its looks, whatever it is called.

use super::names::{NAMES, is_key, is_opaque, is_placeholder, is_scheme, names_secret, normal};
use super::url;

/// Shortest value of a bare `NAME=value` that is taken for a secret.
const SHORTEST: usize = 6;

/// Whether a text is, or holds, a key by its looks.
pub(crate) fn looks_secret(text: &str) -> bool {
    let text = text.trim();
    if text.contains("-----BEGIN") && text.contains("PRIVATE KEY") {
        return true;
    }
    let mut scheme = false;
    words(text).any(|word| {
        let value = word.split_once('=').map_or(word, |(_, value)| value);
        let after_scheme = std::mem::replace(&mut scheme, is_scheme(word));
        is_key(word)
            || is_key(value)
            || !url::secrets(word).is_empty()
            || is_assignment(word)
            || (after_scheme && word.len() >= 16 && is_opaque(word))
    })
}

/// The pieces of a text that can be keys.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| {
        c.is_whitespace() || matches!(c, '"' | '\'' | ',' | ';' | '(' | ')' | '[' | ']' | '{' | '}' | '`')
    })
}

/// `--password=x`, `API_KEY=x`.
fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, value)| {
        let option = name.starts_with('-');
        // `key=value` in a sentence is none.
        let telling = option || (value.len() >= SHORTEST && !NAMES.contains(&normal(name).as_str()));
        telling && names_secret(name.trim_start_matches('-')) && !value.is_empty() && !is_placeholder(value)
    })
}
