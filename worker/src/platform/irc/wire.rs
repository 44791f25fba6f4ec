//! IRC's messages, as RFC 1459, RFC 2812 and IRCv3's message tags have them. Nothing here trusts the server.

/// Most bytes of the tags of a message, with what stands around them.
const TAGS: usize = 8191;
/// Most bytes of a message without its tags, with the end of its line.
const MESSAGE: usize = 512;
/// Longest line that is read, without its end.
pub(super) const LINE: usize = TAGS + MESSAGE - 2;
/// Most parameters.
const PARAMS: usize = 15;
/// What a client's own request is wrapped in (CTCP).
const CTCP: char = '\u{1}';

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Line {
    /// The account that the server says its sender is logged in to.
    pub(super) account: Option<String>,
    /// The server's name for it.
    pub(super) id: Option<String>,
    /// Its sender says that it is a bot.
    pub(super) is_bot: bool,
    /// Who sent it: a nick, or a server's name.
    pub(super) nick: String,
    /// All of that: `nick!user@host`.
    pub(super) mask: String,
    /// In capitals, or three digits.
    pub(super) command: String,
    pub(super) params: Vec<String>,
}

impl Line {
    /// A parameter; empty where there is none.
    pub(super) fn param(&self, at: usize) -> &str {
        self.params.get(at).map_or("", String::as_str)
    }

    /// The last one.
    pub(super) fn last(&self) -> &str {
        self.params.last().map_or("", String::as_str)
    }
}

/// Reads one line; none: it is none of the protocol, or longer than one may be.
pub(super) fn line(bytes: &[u8]) -> Option<Line> {
    let mut line = Line::default();
    let mut rest = bytes;
    if let Some(tagged) = rest.strip_prefix(b"@") {
        let end = tagged.iter().position(|byte| *byte == b' ')?;
        if end + 2 > TAGS {
            return None;
        }
        tags(&text(&tagged[..end]), &mut line);
        rest = tagged[end..].trim_ascii_start();
    }
    if rest.len() + 2 > MESSAGE {
        return None;
    }
    let all = text(rest);
    // Neither is ever part of one; a server that sends them has more to hide.
    if all.contains(['\0', '\r', '\n']) {
        return None;
    }
    let mut rest = all.as_str();
    if let Some(sent) = rest.strip_prefix(':') {
        let (mask, after) = sent.split_once(' ')?;
        mask.clone_into(&mut line.mask);
        mask.split(['!', '@']).next().unwrap_or_default().clone_into(&mut line.nick);
        rest = after.trim_start_matches(' ');
    }
    let (command, mut rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let is_command =
        !command.is_empty() && command.len() <= 32 && command.bytes().all(|b| b.is_ascii_alphanumeric());
    if !is_command {
        return None;
    }
    line.command = command.to_ascii_uppercase();
    loop {
        rest = rest.trim_start_matches(' ');
        if rest.is_empty() {
            return Some(line);
        }
        if let Some(last) = rest.strip_prefix(':').or((line.params.len() + 1 == PARAMS).then_some(rest)) {
            line.params.push(last.to_owned());
            return Some(line);
        }
        let (param, after) = rest.split_once(' ').unwrap_or((rest, ""));
        line.params.push(param.to_owned());
        rest = after;
    }
}

/// UTF-8, or what was usual before it.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

fn tags(all: &str, line: &mut Line) {
    for tag in all.split(';') {
        let (name, value) = tag.split_once('=').unwrap_or((tag, ""));
        let value = unescaped(value);
        let is_word = !value.is_empty() && value.len() <= 200 && !value.contains(char::is_whitespace);
        match name {
            "account" if is_word && value != "*" => line.account = Some(value),
            "msgid" if is_word => line.id = Some(value),
            "bot" | "draft/bot" => line.is_bot = true,
            _ => {}
        }
    }
}

fn unescaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut all = value.chars();
    while let Some(c) = all.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match all.next() {
            Some(':') => out.push(';'),
            Some('s') => out.push(' '),
            Some('r') => out.push('\r'),
            Some('n') => out.push('\n'),
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

/// How a server compares names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Casemapping {
    /// `{}|~` are the small letters of `[]\^`.
    #[default]
    Rfc1459,
    /// The same without `~`.
    Strict,
    /// ASCII's letters alone.
    Ascii,
}

impl Casemapping {
    /// As a server names it. Another one compares at least ASCII's letters so.
    pub(super) fn of(name: &str) -> Self {
        match name {
            "rfc1459" => Self::Rfc1459,
            "strict-rfc1459" | "rfc1459-strict" => Self::Strict,
            _ => Self::Ascii,
        }
    }

    /// A name in small letters.
    pub(super) fn fold(self, name: &str) -> String {
        let fold = |c: char| match (self, c) {
            (Self::Rfc1459 | Self::Strict, '[') => '{',
            (Self::Rfc1459 | Self::Strict, ']') => '}',
            (Self::Rfc1459 | Self::Strict, '\\') => '|',
            (Self::Rfc1459, '^') => '~',
            (_, c) => c.to_ascii_lowercase(),
        };
        name.chars().map(fold).collect()
    }

    pub(super) fn same(self, one: &str, other: &str) -> bool {
        self.fold(one) == self.fold(other)
    }
}

/// What somebody says, without signs for colours and faces; none: it is a program's request to this one.
pub(super) fn said(text: &str) -> Option<String> {
    let Some(inner) = text.strip_prefix(CTCP) else { return Some(without_signs(text)) };
    let inner = inner.strip_suffix(CTCP).unwrap_or(inner);
    let (command, rest) = inner.split_once(' ').unwrap_or((inner, ""));
    command.eq_ignore_ascii_case("ACTION").then(|| format!("*{}*", without_signs(rest).trim()))
}

/// A text without the control characters that paint it.
fn without_signs(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let (digits, is_digit): (usize, fn(char) -> bool) = match c {
            '\u{3}' => (2, |c: char| c.is_ascii_digit()),
            '\u{4}' => (6, |c: char| c.is_ascii_hexdigit()),
            '\t' => {
                out.push(c);
                continue;
            }
            c if c.is_control() => continue,
            c => {
                out.push(c);
                continue;
            }
        };
        let eat = |rest: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            (0..digits).take_while(|_| rest.next_if(|c| is_digit(*c)).is_some()).count()
        };
        // A colour, and one behind it.
        if eat(&mut rest) > 0 {
            let mut ahead = rest.clone();
            if ahead.next() == Some(',') && ahead.next().is_some_and(is_digit) {
                rest.next();
                eat(&mut rest);
            }
        }
    }
    out
}

/// What is said to somebody who is called by this name, `name: …`, `name, …` or `name …`; none: nobody is.
pub(super) fn addressed<'t>(text: &'t str, name: &str, map: Casemapping) -> Option<&'t str> {
    let text = text.trim_start();
    let head = text.get(..name.len())?;
    if name.is_empty() || !map.same(head, name) {
        return None;
    }
    let rest = &text[name.len()..];
    let rest = rest.strip_prefix([':', ',', ' '])?.trim();
    (!rest.is_empty()).then_some(rest)
}

/// Whether something can be sent to this name: a nick or a channel, and nothing that another parameter could begin with.
pub(super) fn is_target(name: &str) -> bool {
    let is_odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, ',' | '!' | '@' | '*' | '?');
    (1..=100).contains(&name.len()) && !name.starts_with([':', '$']) && !name.contains(is_odd)
}

/// A value without what would end its line.
pub(super) fn one_line(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '\r' | '\n' | '\0')).collect()
}
