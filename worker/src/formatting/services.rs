//! The signs of each service.

use super::paint::{Painter, Signs};
use super::tree::{Face, parse};

/// A style of a piece of text that is sent beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Bold.
    Bold,
    /// Italic.
    Italic,
    /// Struck through.
    Strikethrough,
    /// Letters of one width.
    Monospace,
}

impl Style {
    /// Its name for signal-cli.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bold => "BOLD",
            Self::Italic => "ITALIC",
            Self::Strikethrough => "STRIKETHROUGH",
            Self::Monospace => "MONOSPACE",
        }
    }
}

/// Where a style holds, in UTF-16 units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First unit.
    pub start: usize,
    /// How many.
    pub length: usize,
    /// Which.
    pub style: Style,
}

/// A text without signs, and where which style holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ranged {
    /// The text.
    pub text: String,
    /// In the order of their ends.
    pub ranges: Vec<Range>,
}

fn painted<S: Signs>(markdown: &str, signs: S) -> Painter<S> {
    let mut painter = Painter::new(signs);
    painter.blocks(&parse(markdown), false);
    painter
}

/// Without any markup; addresses of links stand behind them.
pub fn plain(markdown: &str) -> String {
    painted(markdown, Plain).out
}

/// For Telegram, `parse_mode` `MarkdownV2`.
pub fn markdown_v2(markdown: &str) -> String {
    painted(markdown, MarkdownV2).out
}

/// For Slack.
pub fn mrkdwn(markdown: &str) -> String {
    painted(markdown, Mrkdwn).out
}

/// For WhatsApp.
pub fn whatsapp(markdown: &str) -> String {
    painted(markdown, WhatsApp).out
}

/// For IRC.
pub fn irc(markdown: &str) -> String {
    painted(markdown, Irc).out
}

/// For Signal.
pub fn signal(markdown: &str) -> Ranged {
    let Painter { out, signs, .. } = painted(markdown, Ranges::default());
    Ranged { text: out, ranges: signs.ranges }
}

fn with_address(out: &mut String, url: &str, label: &str, shown: &str) {
    out.push_str(label);
    if shown != url && url.strip_prefix("mailto:") != Some(shown) && !url.is_empty() {
        out.push_str(" (");
        out.push_str(url);
        out.push(')');
    }
}

struct Plain;

impl Signs for Plain {
    fn text(&mut self, out: &mut String, text: &str) {
        out.push_str(text);
    }

    fn face(&mut self, _out: &mut String, _face: Face, _begins: bool) {}

    fn code(&mut self, out: &mut String, text: &str) {
        out.push_str(text);
    }

    fn block(&mut self, out: &mut String, _language: &str, text: &str) {
        out.push_str(text);
    }

    fn link(&mut self, out: &mut String, url: &str, label: &str, shown: &str) {
        with_address(out, url, label, shown);
    }
}

/// Puts a backslash before each of these.
fn escape(out: &mut String, text: &str, signs: &str) {
    for c in text.chars() {
        if signs.contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
}

struct MarkdownV2;

/// What Telegram wants escaped in text.
const SIGNS: &str = "\\_*[]()~`>#+-=|{}.!";

impl Signs for MarkdownV2 {
    fn text(&mut self, out: &mut String, text: &str) {
        escape(out, text, SIGNS);
    }

    fn face(&mut self, out: &mut String, face: Face, _begins: bool) {
        // Two of its signs side by side are another sign. An empty bold between them is none.
        if face == Face::Italic && ends_with_sign(out, '_') {
            out.push_str("**");
        }
        out.push(match face {
            Face::Bold => '*',
            Face::Italic => '_',
            Face::Strike => '~',
        });
    }

    fn code(&mut self, out: &mut String, text: &str) {
        if text.is_empty() {
            return;
        }
        out.push('`');
        escape(out, text, "\\`");
        out.push('`');
    }

    fn block(&mut self, out: &mut String, language: &str, text: &str) {
        if text.is_empty() {
            return;
        }
        out.push_str("```");
        out.push_str(&word(language));
        out.push('\n');
        escape(out, text, "\\`");
        out.push_str("\n```");
    }

    fn link(&mut self, out: &mut String, url: &str, label: &str, _shown: &str) {
        if url.is_empty() {
            out.push_str(label);
            return;
        }
        out.push('[');
        out.push_str(label);
        out.push_str("](");
        escape(out, url, "\\)");
        out.push(')');
    }

    fn quote(&self) -> &'static str {
        ">"
    }

    fn code_in_faces(&self) -> bool {
        false
    }

    fn plain_quotes(&self) -> bool {
        true
    }
}

/// Whether a text ends with this sign, which is not escaped.
fn ends_with_sign(text: &str, sign: char) -> bool {
    let Some(before) = text.strip_suffix(sign) else { return false };
    let slashes = before.bytes().rev().take_while(|byte| *byte == b'\\').count();
    slashes.is_multiple_of(2)
}

/// The name of a language, as far as it is one.
fn word(language: &str) -> String {
    let is_of_name = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '#' | '_' | '.');
    language.chars().take_while(is_of_name).take(32).collect()
}

struct Mrkdwn;

/// Slack's own signs: what calls a person or names a channel stays, what calls everybody is text like any other.
fn slack_text(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(length) = mention(rest) {
            out.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
}

/// The length of `<@U123>` or `<#C123>` at the beginning.
fn mention(text: &str) -> Option<usize> {
    let inner = text.strip_prefix("<@").or_else(|| text.strip_prefix("<#"))?;
    let end = inner.find('>')?;
    let id = &inner[..end];
    let is_id = (2..=32).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    is_id.then_some(2 + end + 1)
}

impl Signs for Mrkdwn {
    fn text(&mut self, out: &mut String, text: &str) {
        slack_text(out, text);
    }

    fn face(&mut self, out: &mut String, face: Face, _begins: bool) {
        out.push(match face {
            Face::Bold => '*',
            Face::Italic => '_',
            Face::Strike => '~',
        });
    }

    fn code(&mut self, out: &mut String, text: &str) {
        out.push('`');
        slack_code(out, text);
        out.push('`');
    }

    fn block(&mut self, out: &mut String, _language: &str, text: &str) {
        out.push_str("```\n");
        slack_code(out, text);
        out.push_str("\n```");
    }

    fn link(&mut self, out: &mut String, url: &str, label: &str, shown: &str) {
        let is_address = ["http://", "https://", "mailto:"].iter().any(|scheme| url.starts_with(scheme));
        if !is_address || url.contains(['<', '>', '|', ' ']) {
            let mut address = String::new();
            slack_text(&mut address, url);
            with_address(out, &address, label, shown);
            return;
        }
        out.push('<');
        out.push_str(&url.replace('&', "&amp;"));
        out.push('|');
        out.push_str(&label.replace('|', "\u{2223}"));
        out.push('>');
    }
}

fn slack_code(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '`' => out.push('\u{2cb}'),
            c => out.push(c),
        }
    }
}

struct WhatsApp;

impl Signs for WhatsApp {
    fn text(&mut self, out: &mut String, text: &str) {
        out.push_str(text);
    }

    fn face(&mut self, out: &mut String, face: Face, _begins: bool) {
        out.push(match face {
            Face::Bold => '*',
            Face::Italic => '_',
            Face::Strike => '~',
        });
    }

    fn code(&mut self, out: &mut String, text: &str) {
        out.push('`');
        out.push_str(text);
        out.push('`');
    }

    fn block(&mut self, out: &mut String, _language: &str, text: &str) {
        out.push_str("```");
        out.push_str(text);
        out.push_str("```");
    }

    fn link(&mut self, out: &mut String, url: &str, label: &str, shown: &str) {
        with_address(out, url, label, shown);
    }
}

struct Irc;

impl Signs for Irc {
    fn text(&mut self, out: &mut String, text: &str) {
        // Its signs are control characters: no other one is part of a text.
        out.extend(text.chars().filter_map(|c| match c {
            '\t' => Some(' '),
            c => Some(c).filter(|c| *c == '\n' || !c.is_control()),
        }));
    }

    fn face(&mut self, out: &mut String, face: Face, _begins: bool) {
        out.push(match face {
            Face::Bold => '\u{2}',
            Face::Italic => '\u{1d}',
            Face::Strike => '\u{1e}',
        });
    }

    fn code(&mut self, out: &mut String, text: &str) {
        out.push('\u{11}');
        self.text(out, text);
        out.push('\u{11}');
    }

    fn block(&mut self, out: &mut String, _language: &str, text: &str) {
        self.text(out, text);
    }

    fn link(&mut self, out: &mut String, url: &str, label: &str, shown: &str) {
        let mut address = String::new();
        self.text(&mut address, url);
        with_address(out, &address, label, shown);
    }
}

/// Signal: the text, and where what holds.
#[derive(Default)]
struct Ranges {
    ranges: Vec<Range>,
    open: Vec<(Face, usize)>,
}

impl Ranges {
    fn add(&mut self, start: usize, out: &str, style: Style) {
        let length = units(out) - start;
        if length > 0 {
            self.ranges.push(Range { start, length, style });
        }
    }
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

impl Signs for Ranges {
    fn text(&mut self, out: &mut String, text: &str) {
        out.push_str(text);
    }

    fn face(&mut self, out: &mut String, face: Face, begins: bool) {
        if begins {
            self.open.push((face, units(out)));
        } else if let Some((face, start)) = self.open.pop() {
            let style = match face {
                Face::Bold => Style::Bold,
                Face::Italic => Style::Italic,
                Face::Strike => Style::Strikethrough,
            };
            self.add(start, out, style);
        }
    }

    fn code(&mut self, out: &mut String, text: &str) {
        let start = units(out);
        out.push_str(text);
        self.add(start, out, Style::Monospace);
    }

    fn block(&mut self, out: &mut String, _language: &str, text: &str) {
        self.code(out, text);
    }

    fn link(&mut self, out: &mut String, url: &str, label: &str, shown: &str) {
        with_address(out, url, label, shown);
    }
}
