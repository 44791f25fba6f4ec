//! What is written is what was meant, balanced and whole, whatever a model writes.

use proptest::prelude::*;

use super::split::{Limit, all, from};
use super::*;

/// What Telegram's own parser says of a text (`td/telegram/MessageEntity.cpp`, `parse_markdown_v2`): the text without signs, or why not.
#[expect(clippy::too_many_lines, reason = "one loop over one text, as it is there")]
pub(super) fn telegram(text: &str) -> Result<String, String> {
    #[derive(PartialEq, Clone, Copy, Debug)]
    enum In {
        Bold,
        Italic,
        Underline,
        Strike,
        Spoiler,
        Link,
        Code,
        Pre,
        Quote,
    }
    let all: Vec<char> = text.chars().collect();
    let (mut open, mut out, mut i) = (Vec::<In>::new(), String::new(), 0);
    let at = |i: usize| all.get(i).copied();
    let mut line_start = true;
    while i < all.len() {
        let c = all[i];
        if c == '\\' && at(i + 1).is_some_and(|next| (1..=126).contains(&(next as u32))) {
            out.push(all[i + 1]);
            i += 2;
            line_start = false;
            continue;
        }
        let top = open.last().copied();
        let in_code = matches!(top, Some(In::Code | In::Pre));
        if c == '\n' && open.contains(&In::Quote) && at(i + 1) != Some('>') && !in_code {
            if top != Some(In::Quote) {
                return Err(format!("{top:?} is open at the end of a quote"));
            }
            open.pop();
        }
        if c == '\n' && open.contains(&In::Quote) && at(i + 1) == Some('>') {
            out.push('\n');
            i += 2;
            continue;
        }
        let reserved = if in_code { "`" } else { "_*[]()~`>#+-=|{}.!" };
        if !reserved.contains(c) {
            out.push(c);
            line_start = c == '\n';
            i += 1;
            continue;
        }
        let double = at(i + 1) == Some(c);
        let ends = match top {
            Some(In::Bold) => (c == '*').then_some(1),
            Some(In::Italic) => (c == '_' && !double).then_some(1),
            Some(In::Underline) => (c == '_' && double).then_some(2),
            Some(In::Strike) => (c == '~').then_some(1),
            Some(In::Spoiler) => (c == '|' && double).then_some(2),
            Some(In::Code) => (c == '`').then_some(1),
            Some(In::Pre) => (c == '`' && double && at(i + 2) == Some('`')).then_some(3),
            Some(In::Link) => (c == ']').then_some(1),
            Some(In::Quote) | None => None,
        };
        if let Some(length) = ends {
            open.pop();
            i += length;
            if top == Some(In::Link) {
                if at(i) != Some('(') {
                    return Err("no address".to_owned());
                }
                i += 1;
                while at(i) != Some(')') {
                    i += if at(i) == Some('\\') { 2 } else { 1 };
                    if i >= all.len() {
                        return Err("an address that does not end".to_owned());
                    }
                }
                i += 1;
            }
            continue;
        }
        if top == Some(In::Pre) {
            out.push(c);
            i += 1;
            continue;
        }
        let (begins, length) = match c {
            '_' if double => (In::Underline, 2),
            '_' => (In::Italic, 1),
            '*' => (In::Bold, 1),
            '~' => (In::Strike, 1),
            '|' if double => (In::Spoiler, 2),
            '[' => (In::Link, 1),
            '`' if double && at(i + 2) == Some('`') => (In::Pre, 3),
            '`' => (In::Code, 1),
            '>' if line_start && open.is_empty() => (In::Quote, 1),
            _ => return Err(format!("`{c}` at {i} is reserved")),
        };
        if matches!(begins, In::Code | In::Pre) && open.iter().any(|open| *open != In::Quote) {
            return Err("code within something else".to_owned());
        }
        open.push(begins);
        i += length;
        if begins == In::Pre {
            while at(i).is_some_and(|c| !c.is_whitespace() && c != '`') {
                i += 1;
            }
        }
        line_start = false;
    }
    if open.last() == Some(&In::Quote) {
        open.pop();
    }
    if open.is_empty() { Ok(out) } else { Err(format!("{open:?} stay open")) }
}

#[test]
fn telegram_reads_what_was_meant() {
    for (markdown, written) in [
        ("Hello, *you* and **me**!", "Hello, _you_ and *me*\\!"),
        ("# Title\n\ntext", "*Title*\n\ntext"),
        ("a_b * c", "a\\_b \\* c"),
        ("~~gone~~ [here](https://e.org/a_(b))", "~gone~ [here](https://e.org/a_(b\\))"),
        ("`a\\b` 1.5", "`a\\\\b` 1\\.5"),
        ("```rust\nlet a = `b`;\n```", "```rust\nlet a = \\`b\\`;\n```"),
        ("- one\n- two\n  - three", "• one\n• two\n  • three"),
        ("1. one\n2. two", "1\\. one\n2\\. two"),
        ("> said\n> so\n\nyes", ">said\n>so\n\nyes"),
        ("**a `b` c**", "*a *`b`* c*"),
        ("*a**b*", "_a\\*\\*b_"),
        ("- [x] done", "• ☑ done"),
        ("<b>x</b> & y", "<b\\>x</b\\> & y"),
        ("[1]: https://e.org", "\\[1\\]: https://e\\.org"),
        ("| a | b |\n|---|---|\n| 1 | 22 |", "```\na | b\n--+---\n1 | 22\n```"),
        ("one\ntwo", "one\ntwo"),
        ("| a |\n|---|\n| [b](u) |", "```\na\n-----\nb (u)\n```"),
        ("***both***", "_*both*_"),
    ] {
        assert_eq!(markdown_v2(markdown), written, "{markdown}");
        telegram(written).unwrap_or_else(|why| panic!("{markdown}: {why}"));
    }
}

#[test]
fn each_service_has_its_signs() {
    let text = "# T\n**b** *i* ~~s~~ `c` [l](https://e.org/?a&b) <!channel> <@U12345>\n\n> q";
    assert_eq!(
        mrkdwn(text),
        "*T*\n\n*b* _i_ ~s~ `c` <https://e.org/?a&amp;b|l> &lt;!channel&gt; <@U12345>\n\n> q"
    );
    assert_eq!(whatsapp(text), "*T*\n\n*b* _i_ ~s~ `c` l (https://e.org/?a&b) <!channel> <@U12345>\n\n> q");
    assert_eq!(plain(text), "T\n\nb i s c l (https://e.org/?a&b) <!channel> <@U12345>\n\n> q");
    assert_eq!(
        matrix_html("**b** <script>x</script>\n\n[l](javascript:x) [m](https://e.org/\"a)"),
        "<p><strong>b</strong> &lt;script&gt;x&lt;/script&gt;</p><p>l (javascript:x) <a href=\"https://e.org/&quot;a\">m</a></p>"
    );
    assert_eq!(matrix_html("1. a\n   - b\n"), "<ol><li>a<ul><li>b</li></ul></li></ol>");
    let styled = signal("😀 **bo*th*** `c`");
    assert_eq!(styled.text, "😀 both c");
    let ranges: Vec<_> = styled.ranges.iter().map(|range| (range.start, range.length, range.style)).collect();
    assert_eq!(ranges, [(5, 2, Style::Italic), (3, 4, Style::Bold), (8, 1, Style::Monospace)]);
}

/// What is nested deeper than anybody reads costs no stack.
#[test]
fn depth_is_bounded() {
    for deep in
        [">".repeat(20_000) + "x", "* ".repeat(5000) + "x", "[".repeat(20_000), "**".repeat(5000) + "x"]
    {
        let written = markdown_v2(&deep);
        telegram(&written).unwrap();
        assert!(plain(&deep).contains('x') || deep.starts_with('['));
        matrix_html(&deep);
    }
}

fn limit(most: usize, dialect: Dialect) -> Limit {
    Limit { most, unit: Unit::Utf16, dialect, numbered: true }
}

#[test]
fn a_fence_that_is_cut_is_closed_and_opened_again() {
    let code: String = (0..12).map(|n| format!("line number {n}\n")).collect();
    let text = format!("Look:\n```rust\n{code}```\nDone.");
    let pieces = all(&text, limit(100, Dialect::MarkdownV2));
    assert!(pieces.len() > 2);
    for (n, piece) in pieces.iter().enumerate() {
        assert!(piece.text.ends_with(&format!("({}/{})", n + 1, pieces.len())), "{}", piece.text);
        assert_eq!(piece.text.matches("```").count() % 2, 0, "{}", piece.text);
        assert!(n == 0 || n + 1 == pieces.len() || piece.text.starts_with("```rust\nline"), "{}", piece.text);
    }
    let rest = from(&text, pieces[0].end, limit(100, Dialect::MarkdownV2));
    assert_eq!(rest, pieces[1]);
    assert_eq!(all("short", limit(100, Dialect::MarkdownV2))[0].text, "short", "one is no number");
    assert_eq!(all("", limit(100, Dialect::Plain)), []);
}

#[test]
fn a_cut_leaves_lines_then_words_then_code_whole() {
    let limit = Limit { most: 64, unit: Unit::Chars, dialect: Dialect::Verbatim, numbered: false };
    let cut = |text: &str| all(text, limit)[0].text.clone();
    assert_eq!(cut(&format!("{}\n{}", "a".repeat(40), "b c ".repeat(20))), format!("{}\n", "a".repeat(40)));
    assert_eq!(cut(&format!("{} {}", "a".repeat(40), "b".repeat(80))), format!("{} ", "a".repeat(40)));
    assert_eq!(cut(&"a".repeat(100)), "a".repeat(64));
    let code = format!("{} `{}`", "word ".repeat(8), "x y ".repeat(20));
    assert_eq!(cut(&code), "word ".repeat(8) + " ");
    let small = Limit { most: 3, unit: Unit::Bytes, dialect: Dialect::Verbatim, numbered: true };
    let pieces: Vec<_> = all("äöü€x", small).into_iter().map(|piece| piece.text).collect();
    assert_eq!(pieces, ["ä", "ö", "ü", "€", "x"]);
}

/// Everything that looks like markup, and letters around it.
fn markup() -> impl Strategy<Value = String> {
    "([a-zäß😀 ]{0,6}(\\*|\\*\\*|_|__|~~|`|```|```rs\n|> |# |- |1\\. |\n|\n\n|\\[|\\]\\(|\\)|\\||<b>|!|\\\\|&amp;|\\.|=|---\n|    )){0,40}[a-z]{0,9}"
}

/// The letters of a text that are no part of an entity or a language.
fn letters(text: &str) -> String {
    text.replace("&amp;", "")
        .replace("```rs", "")
        .chars()
        .filter(|c| "abcdefghijklmnopqrstuvwxyzäß😀".contains(*c))
        .collect()
}

#[test]
fn a_piece_for_matrix_fits_as_html_and_in_bytes() {
    assert_eq!(Unit::Pairs.measure("aä漢😀"), 6);
    let text = "<漢字 & 😀> **b** ".repeat(200);
    let limit = Limit { most: 490, unit: Unit::Pairs, dialect: Dialect::MatrixHtml, numbered: true };
    let pieces = all(&text, limit);
    assert!(pieces.len() > 5 && pieces.last().unwrap().end == text.len());
    for piece in pieces {
        let html = matrix_html(&piece.text);
        assert!(Unit::Pairs.measure(&html) <= 490 && html.len() <= 980, "{html}");
    }
}

proptest! {
    #[test]
    fn what_telegram_gets_it_can_read(text in markup()) {
        let written = markdown_v2(&text);
        prop_assert!(telegram(&written).is_ok(), "{text:?}\n{written}\n{:?}", telegram(&written));
    }

    #[test]
    fn pieces_fit_are_balanced_and_nothing_is_lost(text in markup(), more in markup(), most in 64_usize..200) {
        let text = format!("{text}{more}{text}");
        for dialect in [Dialect::MarkdownV2, Dialect::Verbatim, Dialect::Mrkdwn, Dialect::Plain] {
            let limit = limit(most, dialect);
            let pieces = all(&text, limit);
            let mut at = 0;
            for piece in &pieces {
                prop_assert_eq!(&from(&text, at, limit), piece);
                let written = dialect.render(&piece.text);
                prop_assert!(Unit::Utf16.measure(&written) <= most, "{dialect:?} {most} {written:?}");
                prop_assert!(piece.end > at && text.is_char_boundary(piece.end));
                let (source, said) = (letters(&text[at..piece.end]), letters(&piece.text));
                // A language may be said again; nothing is left out.
                prop_assert!(said.contains(&source) || said.len() >= source.len(), "{source:?} {said:?}");
                if dialect == Dialect::MarkdownV2 {
                    prop_assert!(telegram(&written).is_ok(), "{written:?} {:?}", telegram(&written));
                }
                at = piece.end;
            }
            prop_assert_eq!(at, text.len());
        }
    }

    #[test]
    fn what_is_written_without_signs_has_every_letter(text in "([a-z ]{1,6}(\\*|\\*\\*|_|~~|`|> |# |- |\n|\n\n|\\[|\\]|\\|||<b>|!|\\.|=|---\n)){0,30}") {
        let (source, written) = (letters(&text), letters(&plain(&text)));
        prop_assert_eq!(source, written, "{:?}", text);
    }

    #[test]
    fn ranges_of_styles_are_within_the_text(text in markup()) {
        let Ranged { text, ranges } = signal(&text);
        let length = text.encode_utf16().count();
        for range in ranges {
            prop_assert!(range.length > 0 && range.start + range.length <= length);
        }
    }

    #[test]
    fn html_is_balanced(text in markup()) {
        let html = matrix_html(&text);
        let mut open = Vec::new();
        let mut rest = html.as_str();
        while let Some(start) = rest.find('<') {
            let end = rest[start..].find('>').map(|end| start + end).unwrap();
            let tag = &rest[start + 1..end];
            rest = &rest[end + 1..];
            if let Some(name) = tag.strip_prefix('/') {
                prop_assert_eq!(open.pop(), Some(name.to_owned()));
            } else if !matches!(tag, "br" | "hr") {
                open.push(tag.split(' ').next().unwrap().to_owned());
            }
        }
        prop_assert!(open.is_empty() && !html.contains("<b>"), "{html}");
    }
}
