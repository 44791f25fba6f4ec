//! Text from outside, for eyes: in a log or on a terminal it is shown, never obeyed.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` on one line, with everything written out that a terminal would obey, hide or reorder: line ends as `\n` and `\r`,
/// other control characters, marks of direction and characters without width as `\u{1b}`.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unseen) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        push_visible(&mut out, c);
    }
    Cow::Owned(out)
}

/// `text` for a terminal, in as many lines as it has: its line ends, tabs and colours stay, and what joins characters; anything else
/// that is not seen is written out.
pub fn printable(text: &str) -> Cow<'_, str> {
    let stays = |c| matches!(c, '\n' | '\t' | '\u{200c}' | '\u{200d}');
    if !text.chars().any(|c| is_unseen(c) && !stays(c)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let len = color(rest).unwrap_or(c.len_utf8());
        if len > 1 && c == '\x1b' || stays(c) {
            out.push_str(&rest[..len]);
        } else {
            push_visible(&mut out, c);
        }
        rest = &rest[len..];
    }
    Cow::Owned(out)
}

/// Length of the colour that `text` begins with: `ESC [ digits m`.
fn color(text: &str) -> Option<usize> {
    let codes = text.strip_prefix("\x1b[")?;
    let end = codes.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    codes[end..].starts_with('m').then_some("\x1b[".len() + end + 1)
}

/// Appends one character as [`visible`] shows it.
pub fn push_visible(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if is_unseen(c) => {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        }
        c => out.push(c),
    }
}

/// Whether a character moves, hides or reorders what stands around it instead of being seen. The sign that makes an emoji of the
/// character before it (U+FE0F) does not count: it is all over harmless text, and hides nothing.
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0e}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 22, 33: control characters, marks of direction and characters without width are written out.
    #[test]
    fn what_is_not_seen_is_written_out() {
        assert_eq!(visible("plain, größer, 漢字, 🦀"), "plain, größer, 漢字, 🦀");
        assert_eq!(visible("a\x1b[31mb\nc\r\td\u{7}"), "a\\u{1b}[31mb\\nc\\r\\td\\u{7}");
        assert_eq!(visible("\u{9b}31m \u{7f}"), "\\u{9b}31m \\u{7f}");
        assert_eq!(visible("x\u{202e}y\u{200b}z\u{2066}\u{feff}"), "x\\u{202e}y\\u{200b}z\\u{2066}\\u{feff}");
        assert_eq!(visible("a\u{e0041}b\u{3164}c\u{fe00}"), "a\\u{e0041}b\\u{3164}c\\u{fe00}");
        for seen in ["العربية", "עברית", "日本語", "e\u{301}", "❤\u{fe0f} 👍🏽", "back\\slash"]
        {
            assert_eq!(visible(seen), seen);
        }
    }
    /// 33: on a terminal our own colours work, and nothing else that came from outside.
    #[test]
    fn a_terminal_is_given_colours_and_nothing_else() {
        let plain = "a\tb\n\x1b[32mready\x1b[0m \x1b[1;31mx 👩\u{200d}💻";
        assert_eq!(printable(plain), plain);
        assert_eq!(
            printable("\x1b]0;title\x07\x1b[2J\x1b[32\x1b[m\r\u{9b}2J\u{202e}"),
            "\\u{1b}]0;title\\u{7}\\u{1b}[2J\\u{1b}[32\x1b[m\\r\\u{9b}2J\\u{202e}"
        );
    }
}
