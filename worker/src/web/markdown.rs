//! HTML made readable: what a person would read, as Markdown. Pure.
//!
//! The tokens of a page are gone through once, without a tree: nothing is nested deeper here than a number counts, so no page is too deep,
//! and what is written is bounded by what came. What a reader does not see (scripts, styles, what is hidden) is left out; where a page
//! says which part of it is the matter (`main`, `article`), only that is given.

use std::fmt::Write as _;

use hermes_wire::text::is_unseen;
use html5gum::Tokenizer;
use html5gum::emitters::default::{DefaultEmitter, StartTag, Token};
use url::Url;

/// Most bytes that are written.
const MOST: usize = 8 * 1024 * 1024;
/// Longest address of a link, in bytes: what is longer is mostly data, and is left out.
const LINK: usize = 1024;
/// Deepest list and quotation that are shown as such.
const DEEPEST: usize = 8;
/// Longest title, in characters.
const TITLE: usize = 300;
/// A page's own choice of what matters counts from so many bytes.
const LEAST: usize = 200;

/// What a page says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Document {
    /// What it calls itself.
    pub title: Option<String>,
    /// Its text.
    pub text: String,
}

/// Reads a page; `at` is what its links are relative to.
pub fn read(html: &str, at: Option<&Url>) -> Document {
    let mut emitter = DefaultEmitter::default();
    emitter.naively_switch_states(true);
    let mut writer = Writer { at, ..Writer::default() };
    for token in Tokenizer::new_with_emitter(html, emitter) {
        let Ok(token) = token;
        match token {
            Token::StartTag(tag) => writer.start(&tag),
            Token::EndTag(tag) => writer.end(&String::from_utf8_lossy(&tag.name)),
            Token::String(text) => writer.text(&String::from_utf8_lossy(&text)),
            Token::Comment(_) | Token::Doctype(_) | Token::Error(_) => {}
        }
        if writer.out.len() > MOST {
            break;
        }
    }
    writer.finish()
}

/// The same text on one line.
pub(super) fn line(text: &str, most: usize) -> String {
    let clean: String = text.chars().map(|c| if is_unseen(c) { ' ' } else { c }).collect();
    let words: Vec<&str> = clean.split_whitespace().collect();
    words.join(" ").chars().take(most).collect()
}

#[expect(clippy::struct_excessive_bools, reason = "each is so or not, whatever the others are")]
#[derive(Default)]
struct Writer<'a> {
    at: Option<&'a Url>,
    out: String,
    title: Option<String>,
    in_title: bool,
    /// An element that nobody sees, and how many of its name are open.
    hidden: Option<(String, usize)>,
    /// What is due before the next word.
    space: bool,
    breaks: usize,
    /// Open lists; of numbered ones the last number.
    lists: Vec<Option<u32>>,
    quotes: usize,
    pre: usize,
    /// In a cell everything is on one line.
    in_cell: bool,
    /// Cells of the row so far, and whether they are a head.
    cells: usize,
    is_head: bool,
    /// An open link, and where its text begins.
    link: Option<(String, usize)>,
    /// What the page says is the matter.
    main: Matter,
    article: Matter,
}

/// A part of the page.
#[derive(Default)]
struct Matter {
    depth: usize,
    start: Option<usize>,
    end: usize,
}

impl Matter {
    fn open(&mut self, at: usize) {
        self.depth += 1;
        self.start.get_or_insert(at);
    }

    fn close(&mut self, at: usize) {
        self.depth = self.depth.saturating_sub(1);
        if self.depth == 0 {
            self.end = at;
        }
    }
}

/// Elements that say nothing to a reader.
const UNSEEN: [&str; 14] = [
    "script", "style", "noscript", "template", "svg", "iframe", "object", "canvas", "select", "nav",
    "textarea", "math", "audio", "video",
];

/// Elements that have no end.
const VOID: [&str; 14] = [
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track",
    "wbr",
];

/// Elements whose end may be left out: the next of the name is it.
const LOOSE: [&str; 8] = ["p", "li", "dt", "dd", "option", "tr", "td", "th"];

impl Writer<'_> {
    fn start(&mut self, tag: &StartTag<()>) {
        let name = &*String::from_utf8_lossy(&tag.name);
        let attribute = |key: &str| {
            let value = tag.attributes.get(key.as_bytes())?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        if let Some((hidden, depth)) = &mut self.hidden {
            if hidden != name {
                return;
            }
            if !LOOSE.contains(&name) {
                *depth += 1;
                return;
            }
            self.hidden = None;
        }
        let is_open = !VOID.contains(&name) && !tag.self_closing;
        let is_hidden = UNSEEN.contains(&name)
            || attribute("hidden").is_some()
            || attribute("aria-hidden").is_some_and(|is| is == "true")
            || attribute("style").is_some_and(|style| is_hiding(&style));
        if is_hidden {
            self.break_line(apart(name));
            if is_open {
                self.hidden = Some((name.to_owned(), 1));
            }
            return;
        }
        match name {
            "title" => self.in_title = self.title.is_none(),
            "main" => self.main.open(self.out.len()),
            "article" => self.article.open(self.out.len()),
            "a" => {
                self.end_link();
                let href = attribute("href").and_then(|href| self.absolute(&href));
                if let Some(href) = href {
                    self.flush();
                    self.link = Some((href, self.out.len()));
                }
            }
            "img" => {
                let alt = line(&attribute("alt").unwrap_or_default(), TITLE);
                if !alt.is_empty() {
                    self.say(&format!("[image: {alt}]"));
                }
            }
            "br" => self.break_line(1),
            "hr" => {
                self.break_line(2);
                self.say("---");
                self.break_line(2);
            }
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.break_line(2);
                let level = usize::from(name.as_bytes()[1] - b'0');
                self.say(&"#".repeat(level));
                self.space = true;
            }
            "ul" | "ol" => {
                self.break_line(if self.lists.is_empty() { 2 } else { 1 });
                if self.lists.len() < DEEPEST {
                    self.lists.push((name == "ol").then_some(0));
                }
            }
            "li" => self.item(),
            "blockquote" => {
                self.break_line(2);
                self.quotes = (self.quotes + 1).min(DEEPEST);
            }
            "pre" => {
                self.break_line(2);
                self.say("```\n");
                self.pre += 1;
            }
            "code" if self.pre == 0 => {
                self.flush();
                self.out.push('`');
            }
            "tr" => {
                self.end_row();
                self.break_line(1);
            }
            "td" | "th" => {
                self.in_cell = false;
                self.space |= self.cells > 0;
                self.say("|");
                (self.space, self.in_cell) = (true, true);
                (self.cells, self.is_head) = (self.cells + 1, name == "th");
            }
            _ => self.break_line(apart(name)),
        }
    }

    fn end(&mut self, name: &str) {
        if let Some((hidden, depth)) = &mut self.hidden {
            if hidden == name {
                *depth -= 1;
                if *depth == 0 {
                    self.hidden = None;
                }
            }
            return;
        }
        match name {
            "title" => self.in_title = false,
            "main" => self.main.close(self.out.len()),
            "article" => self.article.close(self.out.len()),
            "a" => self.end_link(),
            "ul" | "ol" => {
                self.lists.pop();
                self.break_line(if self.lists.is_empty() { 2 } else { 1 });
            }
            "blockquote" => {
                self.break_line(2);
                self.quotes = self.quotes.saturating_sub(1);
            }
            "pre" if self.pre > 0 => {
                self.pre -= 1;
                self.break_line(1);
                self.say("```");
                self.break_line(2);
            }
            "code" if self.pre == 0 => self.out.push('`'),
            "tr" => self.end_row(),
            "td" | "th" => self.in_cell = false,
            "table" => {
                self.end_row();
                self.break_line(2);
            }
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => self.break_line(2),
            _ => self.break_line(apart(name)),
        }
    }

    fn text(&mut self, text: &str) {
        if self.hidden.is_some() {
            return;
        }
        if self.in_title {
            self.title.get_or_insert_default().push_str(text);
            return;
        }
        if self.pre > 0 {
            self.flush();
            self.out.extend(text.chars().filter(|c| matches!(c, '\n' | '\t') || !is_unseen(*c)));
            return;
        }
        for (at, piece) in text.split(|c: char| c.is_whitespace()).enumerate() {
            self.space |= at > 0;
            let clean: String = piece.chars().filter(|c| !is_unseen(*c)).collect();
            if !clean.is_empty() {
                self.say(&clean);
            }
        }
    }

    /// Writes a word, and before it what is due.
    fn say(&mut self, word: &str) {
        self.flush();
        self.out.push_str(word);
    }

    fn flush(&mut self) {
        if self.out.is_empty() {
            self.quoted();
        } else if self.breaks > 0 {
            for _ in 0..self.breaks.min(2) {
                self.out.truncate(self.out.trim_end_matches([' ', '\t']).len());
                self.out.push('\n');
                self.quoted();
            }
            let indent = self.lists.len().saturating_sub(1) * 2;
            self.out.extend(std::iter::repeat_n(' ', indent));
        } else if self.space && !self.out.ends_with(['\n', ' ']) {
            self.out.push(' ');
        }
        (self.breaks, self.space) = (0, false);
    }

    fn quoted(&mut self) {
        self.out.extend(std::iter::repeat_n("> ", self.quotes));
    }

    fn break_line(&mut self, breaks: usize) {
        if self.in_cell {
            self.space |= breaks > 0;
        } else {
            self.breaks = self.breaks.max(breaks);
        }
    }

    fn item(&mut self) {
        self.break_line(1);
        let mark = match self.lists.last_mut() {
            Some(Some(number)) => {
                *number = number.saturating_add(1);
                format!("{number}.")
            }
            _ => "-".to_owned(),
        };
        self.say(&mark);
        self.space = true;
    }

    fn end_row(&mut self) {
        self.in_cell = false;
        let cells = std::mem::take(&mut self.cells);
        if cells == 0 {
            return;
        }
        self.space = true;
        self.say("|");
        if std::mem::take(&mut self.is_head) {
            self.break_line(1);
            self.say("|");
            self.out.extend(std::iter::repeat_n("---|", cells.min(100)));
        }
    }

    fn end_link(&mut self) {
        let Some((href, start)) = self.link.take() else { return };
        let said = self.out.get(start..).unwrap_or_default();
        // A mark over several lines is none.
        if said.trim().is_empty() || said.contains('\n') || said.trim() == href {
            return;
        }
        self.out.insert(start, '[');
        // Writing to a string cannot fail.
        let _ = write!(self.out, "]({href})");
    }

    /// Where a link leads, if that can be followed.
    fn absolute(&self, href: &str) -> Option<String> {
        let href = href.trim();
        if href.is_empty() || href.starts_with('#') || href.len() > LINK {
            return None;
        }
        let url = match self.at {
            Some(at) => at.join(href).ok()?,
            None => Url::parse(href).ok()?,
        };
        let is_followed = matches!(url.scheme(), "http" | "https" | "mailto");
        Some(String::from(url)).filter(|url| is_followed && url.len() <= LINK)
    }

    fn finish(mut self) -> Document {
        self.end_link();
        self.end_row();
        let end = self.out.len();
        let part = |matter: &Matter| {
            let start = matter.start?;
            let end = if matter.depth > 0 || matter.end < start { end } else { matter.end };
            let text = self.out.get(start..end)?.trim();
            (text.len() >= LEAST).then_some(text)
        };
        let text =
            part(&self.main).or_else(|| part(&self.article)).unwrap_or_else(|| self.out.trim()).to_owned();
        let title = self.title.map(|title| line(&title, TITLE)).filter(|title| !title.is_empty());
        Document { title, text }
    }
}

/// How far an element stands from what is around it, in line ends.
fn apart(name: &str) -> usize {
    match name {
        "p" | "table" | "dl" | "figure" | "section" | "fieldset" | "details" => 2,
        "div" | "header" | "footer" | "aside" | "form" | "dt" | "dd" | "figcaption" | "address"
        | "summary" | "thead" | "tbody" | "caption" | "option" | "hgroup" | "main" | "article" | "body" => 1,
        _ => 0,
    }
}

/// Whether a style hides what it is for.
fn is_hiding(style: &str) -> bool {
    let style: String = style.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase();
    ["display:none", "visibility:hidden", "font-size:0;", "opacity:0;"]
        .iter()
        .any(|hides| style.contains(hides))
        || style.ends_with("font-size:0")
        || style.ends_with("opacity:0")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(html: &str) -> String {
        let at = Url::parse("https://example.org/a/b").unwrap();
        read(html, Some(&at)).text
    }

    #[test]
    fn what_people_read_is_what_is_left() {
        for (html, expected) in [
            ("<h1>Title</h1><p>One <b>two</b>\n three.</p><p>Four", "# Title\n\nOne two three.\n\nFour"),
            ("a<br>b<hr>c", "a\nb\n\n---\n\nc"),
            ("<ul><li>one<li>two<ol><li>x</li><li>y</ol></ul>z", "- one\n- two\n  1. x\n  2. y\n\nz"),
            (
                "<a href='../c?d=1#e'>see</a>, <a href='#x'>here</a>",
                "[see](https://example.org/c?d=1#e), here",
            ),
            (
                "<a href='javascript:x()'>click</a> <a href='/'><img alt='logo'></a>",
                "click [[image: logo]](https://example.org/)",
            ),
            ("<pre>  a\n   b\n</pre>c", "```\n  a\n   b\n\n```\n\nc"),
            ("use <code>x  y</code>!", "use `x y`!"),
            ("<blockquote><p>q<p>r</blockquote>s", "> q\n>\n> r\n\ns"),
            ("<table><tr><th>A<th>B<tr><td>1<td><p>2</p></table>x", "| A | B |\n|---|---|\n| 1 | 2 |\n\nx"),
            ("a &amp; b &lt;c&gt; &#x1f980; &nbsp;d", "a & b <c> 🦀 d"),
            ("<script>if (a < b) { x('</p>') }</script>ok<style>p{}</style>", "ok"),
            ("<p hidden>no<p>yes<div style='DISPLAY: none'>no<div>no</div>no</div>yes", "yes\nyes"),
            ("<nav>menu</nav><!-- c --><svg><title>s</title></svg>t", "t"),
            ("x\u{200b}y\u{202e}z\u{1b}[31m", "xyz[31m"),
            ("", ""),
            ("<", "<"),
        ] {
            assert_eq!(text(html), expected, "{html}");
        }
    }

    #[test]
    fn a_page_has_a_title_and_may_say_what_matters() {
        let body = "word ".repeat(60);
        let page = format!(
            "<title> A\n &amp; b </title><div>menu</div><main><p>{body}</main><footer>small print</footer>"
        );
        let read = read(&page, None);
        assert_eq!(read.title.as_deref(), Some("A & b"));
        assert_eq!(read.text, body.trim());
        assert!(text("<div>menu</div><main><p>short</main>end").starts_with("menu"));
    }

    /// Depth costs nothing: there is no tree.
    #[test]
    fn no_page_is_too_deep_or_too_wide() {
        for open in
            ["<div>", "<ul><li>", "<blockquote>", "<table><tr><td>", "<a href=x>y", "<main>", "<b hidden>"]
        {
            let page = open.repeat(200_000);
            assert!(text(&page).len() < 20_000_000, "{open}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(html in "(<[a-z!/]{0,9}[ a-z='\"/]{0,9}>?|[a-z &;#\\n<>]){0,60}") {
            let read = read(&html, None);
            let is_clean = !read.text.contains('\u{1b}');
            prop_assert!(is_clean);
        }
    }
}
