//! Text in columns, as wide as a terminal shows it: neither bytes nor characters are counted. Pure.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Columns that a text takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// Filled up with blanks to `width` columns.
pub(crate) fn pad(text: &str, width: usize, right: bool) -> String {
    let space = " ".repeat(width.saturating_sub(text.width()));
    if right { format!("{space}{text}") } else { format!("{text}{space}") }
}

/// At most `most` columns of it; what is cut ends with `…`.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.width() <= most {
        return text.to_owned();
    }
    let (mut out, mut used) = (String::new(), 1);
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > most {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 7: wide characters take two columns, combining ones none.
    #[test]
    fn n07_what_is_cut_or_filled_up_is_as_wide_as_asked() {
        for text in ["plain", "模型模型模型", "e\u{301}te\u{301}", "🦀 crab", ""] {
            for most in 1..12 {
                let shown = cut(text, most);
                assert!(width(&shown) <= most, "{text} {most}: {shown}");
                assert_eq!(shown == text, width(text) <= most, "{text} {most}");
                assert_eq!(width(&pad(&shown, 12, true)), 12);
            }
        }
        assert_eq!(cut("模型模型", 5), "模型…");
        assert_eq!(pad("模", 4, false), "模  ");
    }
}
