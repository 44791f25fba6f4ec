//! The conversation as it is written to the terminal: what is said in, bytes for the terminal out. Pure.
//!
//! # Guarantees
//!
//! - What stands above the last line is never touched again: it can be read, scrolled and copied while more comes.
//! - The line that is being said is shown as it came; when it is whole it gives way to how it looks, in one piece.
//! - Nothing that the model, a tool or a file says reaches the terminal as a control code.
//! - What is said again, because another worker goes on with the turn, is shown once where it is the same.

use hermes_wire::terminal::Said;
use hermes_wire::text;
use unicode_width::UnicodeWidthChar as _;

use super::markdown::{Markdown, dim, of_difference, styled};
use crate::chat::News;

/// Lines of a difference that are shown.
const DIFF: usize = 40;
/// Signs of something that goes on.
const TURNS: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
/// A tab, as a terminal would not know how wide it is.
const TAB: &str = "    ";

/// How large the terminal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Page {
    is_styled: bool,
    size: Size,
    markdown: Markdown,
    /// The line that is being said, as far as it is shown.
    partial: String,
    /// Said since the last tool, or since a worker was lost or went.
    since: String,
    /// Said before a worker was lost or went, until it is known whether the next one says the same.
    before: Option<String>,
    /// What comes next of the answer stands apart from what is above.
    apart: bool,
    /// What goes on, and how often its sign has turned.
    mark: Option<(String, usize)>,
    /// The sign stands in the last line.
    is_marked: bool,
}

impl Page {
    pub(super) fn new(is_styled: bool, size: Size) -> Self {
        Self {
            is_styled,
            size,
            markdown: Markdown::new(is_styled),
            partial: String::new(),
            since: String::new(),
            before: None,
            apart: false,
            mark: None,
            is_marked: false,
        }
    }

    /// The terminal has another size.
    pub(super) fn resize(&mut self, size: Size) {
        self.size = size;
    }

    /// A question was asked.
    pub(super) fn begin(&mut self) {
        self.markdown.restart();
        self.since.clear();
        self.before = None;
        self.apart = false;
        self.mark = Some(("thinking".to_owned(), 0));
    }

    /// What came of a turn, but for its end.
    pub(super) fn tell(&mut self, news: &News) -> String {
        match news {
            News::Said(Said::Delta { text }) => self.delta(text),
            News::Said(Said::Tool { name, done: false, preview, .. }) => {
                let out =
                    self.note(&if preview.is_empty() { name.clone() } else { format!("{name}  {preview}") });
                self.since.clear();
                self.before = None;
                self.mark(name);
                out
            }
            News::Said(Said::Tool { name, done: true, failed, diff, .. }) => {
                self.mark("thinking");
                let mut out =
                    if *failed { self.note(&format!("{name} did not work")) } else { String::new() };
                if let Some(diff) = diff {
                    out.push_str(&self.diff(diff));
                }
                out
            }
            News::Said(Said::Heard { .. }) => {
                self.mark("thinking");
                String::new()
            }
            News::Said(Said::Retrying { attempt, reason }) => {
                self.note(&format!("attempt {attempt}: {reason}"))
            }
            News::Said(Said::Unheard) => self.note("the answer came too late"),
            News::Waiting(why) => {
                let out = self.again(&format!("waiting: {why}"));
                self.mark("waiting");
                out
            }
            News::Again => {
                let out = self.again("the worker was replaced; the turn goes on");
                self.mark("thinking");
                out
            }
            News::Said(_) => String::new(),
        }
    }

    /// The answer, whole.
    pub(super) fn answered(&mut self, text: &str) -> String {
        let mut out = self.unmark();
        // What was said again, so far, is what was shown before.
        let said = self.before.take().unwrap_or_else(|| self.since.clone());
        if said.trim() != text.trim() {
            let rest = text.strip_prefix(said.as_str()).filter(|_| !said.is_empty());
            if rest.is_none() && !said.is_empty() {
                self.apart = true;
            }
            out.push_str(&self.shown(rest.unwrap_or(text)));
        }
        out.push_str(&self.end_line());
        self.mark = None;
        out
    }

    /// It ended without an answer.
    pub(super) fn ended(&mut self) -> String {
        self.mark = None;
        self.unmark() + &self.end_line()
    }

    /// What was said of the answer will be said again, for this reason.
    fn again(&mut self, why: &str) -> String {
        let said = std::mem::take(&mut self.since);
        // Twice lost, and nothing new between.
        let before = self.before.take().unwrap_or_default();
        self.before = Some(if said.is_empty() { before } else { said });
        self.note(why)
    }

    /// A line that is no part of the answer.
    pub(super) fn note(&mut self, said: &str) -> String {
        let mut out = self.unmark();
        out.push_str(&self.end_line());
        let room = self.size.columns.saturating_sub(5);
        let line = cut(&text::visible(said), room);
        out.push_str(&dim(&format!("  ┊ {line}"), self.is_styled));
        out.push('\n');
        self.apart = true;
        out
    }

    /// Lines of the program's own, as they are.
    pub(super) fn plain(&mut self, said: &str) -> String {
        let mut out = self.unmark();
        out.push_str(&self.end_line());
        out.push_str(&text::printable(said));
        if !said.ends_with('\n') {
            out.push('\n');
        }
        out
    }

    /// Makes room for something else.
    pub(super) fn step_aside(&mut self) -> String {
        self.apart = true;
        self.unmark() + &self.end_line()
    }

    /// Time has passed: what goes on is seen to go on.
    pub(super) fn tick(&mut self) -> String {
        if !self.partial.is_empty() {
            return String::new();
        }
        let Some((what, turns)) = &mut self.mark else { return String::new() };
        *turns += 1;
        let line =
            cut(&format!("{} {what}…", TURNS[*turns % TURNS.len()]), self.size.columns.saturating_sub(3));
        self.is_marked = true;
        format!("\r  {}\x1b[K", dim(&line, self.is_styled))
    }

    fn mark(&mut self, what: &str) {
        let what = text::visible(what).into_owned();
        match &mut self.mark {
            Some((now, _)) => *now = what,
            None => self.mark = Some((what, 0)),
        }
    }

    fn unmark(&mut self) -> String {
        if std::mem::take(&mut self.is_marked) { "\r\x1b[K".to_owned() } else { String::new() }
    }

    fn delta(&mut self, said: &str) -> String {
        self.since.push_str(said);
        let Some(before) = &self.before else { return self.shown(said) };
        if before.starts_with(self.since.as_str()) {
            // It was shown.
            return String::new();
        }
        let new = match self.since.strip_prefix(before.as_str()) {
            Some(rest) => rest.to_owned(),
            None => self.since.clone(),
        };
        self.before = None;
        self.shown(&new)
    }

    /// Text of the answer.
    fn shown(&mut self, said: &str) -> String {
        let mut out = self.unmark();
        let mut said = said;
        if self.apart {
            said = said.trim_start_matches('\n');
            if said.is_empty() {
                return out;
            }
            self.apart = false;
            self.markdown.restart();
            out.push('\n');
        }
        let said = text::printable(said).replace('\t', TAB);
        let mut pieces = said.split('\n');
        let mut last = pieces.next().unwrap_or_default();
        for next in pieces {
            out.push_str(&self.whole(last));
            last = next;
        }
        out.push_str(last);
        self.partial.push_str(last);
        out
    }

    /// The line is whole with this behind it.
    fn whole(&mut self, rest: &str) -> String {
        let shown = std::mem::take(&mut self.partial);
        let line = format!("{shown}{rest}");
        let rendered = self.markdown.line(&line);
        if rendered.as_deref() == Some(line.as_str()) {
            return format!("{rest}\n");
        }
        let back = self.back(&shown);
        match (rendered, back) {
            (Some(rendered), Some(back)) => format!("{back}{rendered}\n"),
            (None, Some(back)) => back,
            // It has left the screen, and stays as it is.
            (_, None) => format!("{rest}\n"),
        }
    }

    /// What takes a line away that is shown; `None`: it cannot be reached any more.
    fn back(&self, shown: &str) -> Option<String> {
        if shown.is_empty() {
            return Some(String::new());
        }
        let rows = rows(shown, self.size.columns);
        match rows {
            1 => Some("\r\x1b[J".to_owned()),
            _ if rows > self.size.rows => None,
            _ => Some(format!("\r\x1b[{}A\x1b[J", rows - 1)),
        }
    }

    fn end_line(&mut self) -> String {
        if self.partial.is_empty() { String::new() } else { self.whole("") }
    }

    fn diff(&mut self, diff: &str) -> String {
        let mut out = self.unmark();
        // Which file it is stands once, above what has changed in it.
        let name =
            |line: &str| line.strip_prefix("+++ ").map(|name| name.trim_start_matches("b/").to_owned());
        let mut lines = diff.lines().peekable();
        let mut all = Vec::new();
        while let Some(line) = lines.next() {
            // Within a difference such a line is one that was taken out.
            let is_head =
                line.starts_with("--- ") && lines.peek().is_some_and(|next| next.starts_with("+++ "));
            if is_head {
                all.extend(lines.next().and_then(name).map(|name| (true, name)));
            } else {
                all.push((false, line.to_owned()));
            }
        }
        for line in all.iter().take(DIFF) {
            let (is_name, line) = line;
            let line = text::visible(&line.replace('\t', TAB)).into_owned();
            out.push_str("    ");
            if *is_name {
                out.push_str(&dim(&line, self.is_styled));
            } else {
                out.push_str(&styled(&line, of_difference(&line).filter(|_| self.is_styled)));
            }
            out.push('\n');
        }
        if all.len() > DIFF {
            let rest = format!("    … {} more lines", all.len() - DIFF);
            out.push_str(&dim(&rest, self.is_styled));
            out.push('\n');
        }
        out
    }
}

/// Rows that a text takes on a terminal that breaks it where it is full.
fn rows(text: &str, columns: usize) -> usize {
    let (mut rows, mut column) = (1, 0);
    for c in text.chars() {
        let width = c.width().unwrap_or(0);
        if column + width > columns {
            rows += 1;
            column = 0;
        }
        column += width;
    }
    rows
}

/// As much of a text as fits into so many columns.
fn cut(text: &str, columns: usize) -> String {
    let (mut out, mut column) = (String::new(), 0);
    for c in text.chars() {
        column += c.width().unwrap_or(0);
        if column > columns {
            out.pop();
            out.push('…');
            break;
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: Size = Size { columns: 20, rows: 8 };

    /// What is seen on a terminal that gets this.
    fn seen(bytes: &str) -> String {
        let mut parser = vt100::Parser::new(200.try_into().unwrap(), 20.try_into().unwrap(), 0);
        parser.process(bytes.replace('\n', "\r\n").as_bytes());
        parser.screen().contents()
    }

    fn delta(text: &str) -> News {
        News::Said(Said::Delta { text: text.to_owned() })
    }

    fn tool(name: &str, done: bool, diff: Option<&str>) -> News {
        News::Said(Said::Tool {
            name: name.to_owned(),
            id: "1".to_owned(),
            done,
            preview: if done { String::new() } else { "a thing that is long".to_owned() },
            failed: false,
            diff: diff.map(str::to_owned),
        })
    }

    fn told(news: &[News], answer: &str) -> String {
        let mut page = Page::new(true, SIZE);
        page.begin();
        let mut out = page.tick();
        for one in news {
            out.push_str(&page.tell(one));
            out.push_str(&page.tick());
        }
        out + &page.answered(answer)
    }

    #[test]
    fn a_line_is_plain_until_it_is_whole() {
        let mut page = Page::new(true, SIZE);
        page.begin();
        let first = page.tell(&delta("so **bo"));
        assert_eq!(first, "so **bo");
        let second = page.tell(&delta("ld** it is\nnext"));
        assert_eq!(second, "\r\x1b[Jso \x1b[1mbold\x1b[0m it is\x1b[0m\nnext");
        // One that takes several rows is taken away whole.
        let long = "x".repeat(35);
        page.tell(&delta(&format!("\n{long} `")));
        let end = page.tell(&delta("c`\n"));
        assert!(end.starts_with("\r\x1b[1A\x1b[J"), "{end:?}");
        // One that has left the screen stays.
        page.tell(&delta(&"y".repeat(400)));
        assert_eq!(page.tell(&delta(" **z**\n")), " **z**\n");
    }

    #[test]
    fn tools_stand_in_one_line_and_what_they_changed_below() {
        let news = [
            delta("I look."),
            tool("read_file", false, None),
            tool("read_file", true, None),
            tool("patch", false, None),
            tool("patch", true, Some("--- a/x\n+++ b/x\n-a\n+b\n")),
            delta("\n\nDone."),
        ];
        assert_eq!(
            seen(&told(&news, "Done.")),
            "I look.\n  ┊ read_file  a t…\n  ┊ patch  a thing…\n    x\n    -a\n    +b\n\nDone."
        );
    }

    /// Whether the next worker says the same, goes on, or says something else.
    #[test]
    fn what_is_said_again_is_shown_once() {
        let line = "  ┊ the worker was…";
        let same = [delta("one\ntw"), News::Again, delta("one\n"), delta("two")];
        assert_eq!(seen(&told(&same, "one\ntwo")), format!("one\ntw\n{line}\n\no"));
        let stored = [delta("one\ntwo"), News::Again];
        assert_eq!(seen(&told(&stored, "one\ntwo")), format!("one\ntwo\n{line}"));
        let other = [delta("one"), News::Again, delta("other\n")];
        assert_eq!(seen(&told(&other, "other")), format!("one\n{line}\n\nother"));
        // One that ends says so.
        let ends = || News::Waiting("it ends".to_owned());
        let line = "  ┊ waiting: it en…";
        let same = [delta("one\ntw"), ends(), ends(), delta("one\n"), delta("two")];
        assert_eq!(seen(&told(&same, "one\ntwo")), format!("one\ntw\n{line}\n{line}\n\no"));
        let busy = [ends(), delta("one")];
        assert_eq!(seen(&told(&busy, "one")), format!("{line}\n\none"));
        assert_eq!(seen(&told(&[], "all at once")), "all at once");
    }

    #[test]
    fn nothing_said_is_obeyed() {
        let evil = "\x1b[2J\x1b]0;t\x07 x\n";
        for news in
            [delta(evil), tool(evil, false, None), tool("t", true, Some(evil)), News::Waiting(evil.into())]
        {
            let out = Page::new(false, SIZE).tell(&news);
            assert!(!out.contains('\x1b') && !out.contains('\x07'), "{out:?}");
        }
    }

    #[test]
    fn rows_are_counted_as_a_terminal_breaks_them() {
        for (text, expected) in
            [("", 1), ("aaaa", 1), ("aaaaa", 2), ("aaa界", 2), ("界界", 1), ("aaaaaaaa", 2)]
        {
            assert_eq!(rows(text, 4), expected, "{text}");
        }
    }

    proptest! {
        /// However an answer is cut into pieces, the same is seen in the end.
        #[test]
        fn pieces_do_not_matter(
            text in "([a-c*`# -]{0,12}(\n|```\n|- |界)){0,10}[a-z*`]{0,30}",
            cuts in proptest::collection::vec(0usize..200, 0..12),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|at| text.floor_char_boundary(at.min(text.len()))).collect();
            cuts.push(text.len());
            cuts.sort_unstable();
            let mut from = 0;
            let pieces: Vec<News> = cuts.iter().map(|at| { let piece = delta(&text[from..*at]); from = *at; piece }).collect();
            let whole = Size { columns: 20, rows: 200 };
            let run = |news: &[News]| {
                let mut page = Page::new(true, whole);
                let mut out = String::new();
                for one in news { out.push_str(&page.tell(one)); }
                seen(&(out + &page.answered(&text)))
            };
            prop_assert_eq!(run(&pieces), run(&[delta(&text)]));
        }
    }
}
