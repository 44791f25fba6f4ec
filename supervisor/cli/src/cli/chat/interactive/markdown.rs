//! Markdown as a terminal shows it, line by line. Pure.
//!
//! A line is rendered when it is whole, by itself: what it is its own parser says, and the one thing that goes on from line to line is a
//! block of code between fences. Nothing is drawn around anything, and code stands as it was written, so that what is copied from the
//! screen is what was said. Without styles a line is shown as it came.

use std::fmt::Write as _;

use hermes_wire::text::visible;
use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// What a piece of a line looks like.
mod style {
    pub(super) const BOLD: &str = "1";
    pub(super) const DIM: &str = "2";
    pub(super) const ITALIC: &str = "3";
    pub(super) const UNDERLINED: &str = "4";
    pub(super) const STRUCK: &str = "9";
    pub(super) const RED: &str = "31";
    pub(super) const GREEN: &str = "32";
    pub(super) const CYAN: &str = "36";
}

/// Columns of a rule.
const RULE: usize = 24;

/// A block of code that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fence {
    /// Of what it is made.
    sign: char,
    /// Of how many.
    length: usize,
    /// It shows a difference.
    is_diff: bool,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Markdown {
    is_styled: bool,
    fence: Option<Fence>,
}

impl Markdown {
    pub(super) fn new(is_styled: bool) -> Self {
        Self { is_styled, fence: None }
    }

    /// Whatever was open is over: another text begins.
    pub(super) fn restart(&mut self) {
        self.fence = None;
    }

    /// A whole line, without its end; `None`: nothing is shown of it.
    pub(super) fn line(&mut self, line: &str) -> Option<String> {
        if !self.is_styled {
            return Some(line.to_owned());
        }
        if let Some(fence) = &self.fence {
            if closes(fence, line) {
                self.fence = None;
                return None;
            }
            let style = if fence.is_diff { of_difference(line) } else { Some(style::CYAN) };
            return Some(styled(line, style));
        }
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        let (indent, inner) = line.split_at(indent);
        if let Some((fence, language)) = opens(inner) {
            self.fence = Some(fence);
            return (!language.is_empty())
                .then(|| format!("{indent}{}", styled(&language, Some(style::DIM))));
        }
        Some(format!("{indent}{}", Line::of(inner)))
    }
}

/// A line of a difference.
pub(super) fn of_difference(line: &str) -> Option<&'static str> {
    match line.as_bytes() {
        [b'+', b'+', b'+', ..] | [b'-', b'-', b'-', ..] | [b'@', b'@', ..] => Some(style::DIM),
        [b'+', ..] => Some(style::GREEN),
        [b'-', ..] => Some(style::RED),
        _ => None,
    }
}

/// A text in a style.
pub(super) fn styled(text: &str, style: Option<&str>) -> String {
    match style {
        Some(style) if !text.is_empty() => format!("\x1b[{style}m{text}\x1b[0m"),
        _ => text.to_owned(),
    }
}

/// Something that is of less interest.
pub(super) fn dim(text: &str, is_styled: bool) -> String {
    styled(text, is_styled.then_some(style::DIM))
}

/// A block of code that begins with this line, and the language of it.
fn opens(line: &str) -> Option<(Fence, String)> {
    let Some(Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info)))) = Parser::new(line).next() else {
        return None;
    };
    let sign = line.chars().next()?;
    let language: String = info.split_whitespace().next().unwrap_or_default().to_owned();
    let length = line.chars().take_while(|c| *c == sign).count();
    Some((Fence { sign, length, is_diff: matches!(language.as_str(), "diff" | "patch") }, language))
}

fn closes(fence: &Fence, line: &str) -> bool {
    let line = line.trim();
    line.len() >= fence.length && line.chars().all(|c| c == fence.sign)
}

/// A line that is being rendered.
#[derive(Default)]
struct Line {
    out: String,
    /// Styles that hold, the outermost first.
    styles: Vec<&'static str>,
    /// Where links lead that are open.
    links: Vec<String>,
}

impl Line {
    fn of(line: &str) -> String {
        let mut rendered = Self::default();
        let mut marker_from = None;
        for (event, range) in Parser::new_ext(line, Options::ENABLE_STRIKETHROUGH).into_offset_iter() {
            // What stands in front of what a list's item says.
            if let Some(from) = marker_from
                && !matches!(event, Event::Start(Tag::Item | Tag::List(_)))
            {
                marker_from = None;
                let until = if matches!(event, Event::End(_)) { line.len() } else { range.start };
                rendered.marker(line.get(from..until).unwrap_or_default());
            }
            match event {
                Event::Start(Tag::Item) => marker_from = Some(marker_from.unwrap_or(range.start)),
                other => rendered.take(other),
            }
        }
        rendered.styles.clear();
        if rendered.out.contains('\x1b') {
            rendered.out.push_str("\x1b[0m");
        }
        rendered.out
    }

    /// The sign of a list's item: what is a bullet looks like one; numbers stay what they are.
    fn marker(&mut self, marker: &str) {
        let shown = match marker.trim_end() {
            sign @ ("-" | "*" | "+") => marker.replacen(sign, "•", 1),
            _ => marker.to_owned(),
        };
        self.text(&shown);
    }

    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(end) => self.end(end),
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => self.text(&text),
            Event::Code(code) => {
                self.push(style::CYAN);
                self.text(&code);
                self.pop();
            }
            Event::Rule => {
                self.push(style::DIM);
                self.text(&"─".repeat(RULE));
                self.pop();
            }
            Event::HardBreak | Event::SoftBreak => self.out.push(' '),
            Event::InlineMath(text) | Event::DisplayMath(text) | Event::FootnoteReference(text) => {
                self.text(&text);
            }
            Event::TaskListMarker(_) => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Heading { level, .. } => {
                self.push(style::BOLD);
                if level == HeadingLevel::H1 {
                    self.push(style::UNDERLINED);
                }
            }
            Tag::BlockQuote(_) => {
                self.push(style::DIM);
                self.text("│ ");
            }
            Tag::Emphasis => self.push(style::ITALIC),
            Tag::Strong => self.push(style::BOLD),
            Tag::Strikethrough => self.push(style::STRUCK),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                self.links.push(dest_url.into_string());
                self.push(style::UNDERLINED);
            }
            _ => {}
        }
    }

    fn end(&mut self, end: TagEnd) {
        match end {
            TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough => self.pop(),
            TagEnd::Link | TagEnd::Image => {
                self.pop();
                let address = self.links.pop().unwrap_or_default();
                // One that is its own text is said once.
                if !address.is_empty() && !self.out.contains(&address) {
                    self.push(style::DIM);
                    self.text(&format!(" ({address})"));
                    self.pop();
                }
            }
            _ => {}
        }
    }

    fn push(&mut self, style: &'static str) {
        self.styles.push(style);
        let _ = write!(self.out, "\x1b[{style}m");
    }

    /// A style ends; those around it go on.
    fn pop(&mut self) {
        self.styles.pop();
        self.out.push_str("\x1b[0m");
        for style in &self.styles {
            // Writing to a string cannot fail.
            let _ = write!(self.out, "\x1b[{style}m");
        }
    }

    /// What is said may be spelt out, a control code too.
    fn text(&mut self, text: &str) {
        self.out.push_str(&visible(text));
    }
}

/// What is left of a rendered line without its styles.
#[cfg(test)]
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("\x1b[") {
        out.push_str(&rest[..at]);
        rest = rest[at..].split_once('m').map_or("", |(_, rest)| rest);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(text: &str) -> Vec<String> {
        let mut markdown = Markdown::new(true);
        text.lines().filter_map(|line| markdown.line(line)).collect()
    }

    #[test]
    fn lines_look_like_what_they_are() {
        for (line, expected) in [
            ("plain text, 2 * 3 * 4 and snake_case_name", "plain text, 2 * 3 * 4 and snake_case_name"),
            ("# Title", "\x1b[1m\x1b[4mTitle\x1b[0m"),
            ("## **Part**", "\x1b[1m\x1b[1mPart\x1b[0m\x1b[1m\x1b[0m"),
            ("a **b** c", "a \x1b[1mb\x1b[0m c\x1b[0m"),
            ("run `ls -l`!", "run \x1b[36mls -l\x1b[0m!\x1b[0m"),
            ("- one", "• one"),
            ("  * `two`", "  • \x1b[36mtwo\x1b[0m\x1b[0m"),
            ("12. three", "12. three"),
            ("3) four", "3) four"),
            ("> said", "\x1b[2m│ said\x1b[0m"),
            ("[text](http://a.b)", "\x1b[4mtext\x1b[0m\x1b[2m (http://a.b)\x1b[0m\x1b[0m"),
            ("<http://a.b>", "\x1b[4mhttp://a.b\x1b[0m\x1b[0m"),
            ("| a | b |", "| a | b |"),
            ("", ""),
        ] {
            assert_eq!(all(&format!("{line}\n")), [expected], "{line}");
        }
        assert_eq!(plain(&all("---\n")[0]), "─".repeat(RULE));
    }

    #[test]
    fn code_stands_as_it_was_written() {
        let text = "so:\n```rust\nfn main() {\n    let **x** = 1;\n}\n```\ndone\n```\n# no title\n~~~\n```\n";
        let lines = all(text);
        let plain: Vec<String> = lines.iter().map(|line| plain(line)).collect();
        assert_eq!(
            plain,
            ["so:", "rust", "fn main() {", "    let **x** = 1;", "}", "done", "# no title", "~~~"]
        );
        let diff = all("````diff\n+a\n-b\n c\n```\n````\n");
        assert_eq!(diff, ["\x1b[2mdiff\x1b[0m", "\x1b[32m+a\x1b[0m", "\x1b[31m-b\x1b[0m", " c", "```"]);
    }

    #[test]
    fn without_styles_a_line_is_what_came() {
        let mut markdown = Markdown::new(false);
        for line in ["# a **b**", "```x", "```"] {
            assert_eq!(markdown.line(line).as_deref(), Some(line));
        }
    }

    proptest! {
        /// Whatever comes, a line stays one line, and nothing in it is a control code but the styles, which end with it.
        #[test]
        fn a_line_is_a_line(lines in proptest::collection::vec("([ -~äß→]|&#10;|&#27;){0,60}", 0..8)) {
            let mut markdown = Markdown::new(true);
            for line in &lines {
                if let Some(shown) = markdown.line(line) {
                    prop_assert!(!plain(&shown).contains(char::is_control), "{shown:?}");
                    prop_assert!(!shown.contains('\x1b') || shown.ends_with("\x1b[0m"), "{shown:?}");
                }
            }
        }

        /// Words without signs are shown as they are.
        #[test]
        fn words_stay(line in "[a-zA-Z][a-zA-Z0-9 ,]{0,60}[a-z]") {
            prop_assert_eq!(Markdown::new(true).line(&line), Some(line.clone()));
        }
    }
}
