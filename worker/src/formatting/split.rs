//! Cuts Markdown into messages.
//!
//! A cut is behind the last line that fits, else behind a word, and not within code of a line where that can be helped. A fence that is
//! cut is closed, and opened again with its language. Every message but a lonely one ends with ` (2/3)`.
//!
//! Pure and deterministic: the same text under the same limit is cut the same way, so whoever knows where the last piece ended
//! knows which one is next.

use super::{Dialect, Unit};

/// Below that nothing but letters is counted: no fences, no numbers.
const SMALL: usize = 64;
/// Room for a number, as it is written at most.
const NUMBER: usize = "\n\n\\(999/999\\)".len();
/// Most letters of a language that is named again.
const LANGUAGE: usize = 24;

/// What a service takes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// How much.
    pub most: usize,
    /// Of what.
    pub unit: Unit,
    /// As what it is sent.
    pub dialect: Dialect,
    /// Whether pieces are numbered.
    pub numbered: bool,
}

/// A piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where it ends in the text, in bytes.
    pub end: usize,
    /// What it says, as Markdown.
    pub text: String,
}

/// A fence that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fence {
    sign: char,
    length: usize,
    language: String,
}

impl Limit {
    /// Whether a piece fits as it is sent.
    fn takes(&self, piece: &str) -> bool {
        self.unit.measure(&self.dialect.render(piece)) <= self.most
    }

    fn is_small(&self) -> bool {
        self.most < SMALL
    }
}

/// All pieces of a text.
pub fn all(text: &str, limit: Limit) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let (mut at, mut open) = (0, None);
    while at < text.len() {
        let piece = cut(text, at, open.as_ref(), limit, !pieces.is_empty());
        scan(&text[at..piece.end], &mut open);
        at = piece.end;
        pieces.push(piece);
    }
    let count = pieces.len();
    if count > 1 && limit.numbered && !limit.is_small() && count < 1000 {
        for (n, piece) in pieces.iter_mut().enumerate() {
            number(&mut piece.text, n + 1, count);
        }
    }
    pieces
}

/// The piece that begins at `from`, in bytes. A place that is no beginning (the limit was another one) begins pieces without numbers.
pub fn from(text: &str, from: usize, limit: Limit) -> Piece {
    let mut at = 0;
    for piece in all(text, limit) {
        if at == from {
            return piece;
        }
        at = piece.end;
    }
    let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    if from == text.len() {
        return Piece { end: from, text: String::new() };
    }
    let mut open = None;
    scan(&text[..from], &mut open);
    cut(text, from, open.as_ref(), limit, true)
}

/// The number stands behind the text; behind a fence it has a line of its own.
fn number(text: &mut String, n: usize, count: usize) {
    let trimmed = text.trim_end().len();
    text.truncate(trimmed);
    let last = text.rsplit('\n').next().unwrap_or_default().trim_start();
    // Behind these a number would be a part of them.
    let is_rule = !last.is_empty() && last.chars().all(|c| matches!(c, '-' | '*' | '_' | '=' | ' '));
    let apart = if fence(last).is_some() || last.starts_with(['|', '[']) || is_rule { "\n\n" } else { " " };
    text.extend([apart, &format!("({n}/{count})")]);
}

/// One piece from `at` on, where `open` is open. `more`: it is not the first one.
fn cut(text: &str, at: usize, open: Option<&Fence>, limit: Limit, more: bool) -> Piece {
    let rest = &text[at..];
    if limit.is_small() {
        return Piece { end: at + small(rest, limit), text: rest[..small(rest, limit)].to_owned() };
    }
    let room = limit.most - if limit.numbered { NUMBER } else { 0 };
    let inner = Limit { most: room, ..limit };
    // A text that is one message has no number.
    let whole = if more { inner } else { limit };
    if rest.len() <= limit.most.saturating_mul(8) {
        let piece = piece(rest, open);
        if whole.takes(&piece) {
            return Piece { end: text.len(), text: piece };
        }
    }
    // The most that can fit, if nothing grows when it is written.
    let mut most = window(rest, room, limit.unit);
    loop {
        let end = place(&rest[..most], open);
        let candidate = piece(&rest[..end], open);
        if inner.takes(&candidate) {
            let end = at + end;
            return Piece { end: behind_fence(text, at, end, open), text: candidate };
        }
        if most <= 1 || rest[..most].chars().count() <= 1 {
            // One letter that does not fit beside its fence: without it then.
            return Piece { end: at + most, text: rest[..most].to_owned() };
        }
        let next = most - (most / 8).max(1);
        most =
            (0..=next).rev().find(|at| rest.is_char_boundary(*at) && *at > 0).unwrap_or_else(|| first(rest));
    }
}

/// The length of the first letter.
fn first(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}

/// How many bytes of a text are at most so many units, one letter at least.
fn window(text: &str, most: usize, unit: Unit) -> usize {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += match unit {
            Unit::Chars => 1,
            Unit::Utf16 => c.len_utf16(),
            Unit::Bytes => c.len_utf8(),
            Unit::Pairs => c.len_utf8().div_ceil(2),
        };
        if used > most {
            return at.max(first(text));
        }
    }
    text.len()
}

/// Where there is room for nothing but text.
fn small(text: &str, limit: Limit) -> usize {
    let most = limit.most.max(1);
    let mut end = window(text, most, limit.unit);
    if end < text.len() {
        end = place(&text[..end], None);
    }
    while end > first(text) && limit.unit.measure(&limit.dialect.render(&text[..end])) > most {
        end = (0..end).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0).max(first(text));
    }
    end
}

/// Where to cut what fits: behind a line, else behind a word, else at its end.
fn place(most: &str, open: Option<&Fence>) -> usize {
    let half = most.len() / 2;
    let behind = |at: Option<usize>| at.filter(|at| *at >= half).map(|at| at + 1);
    if let Some(end) = behind(most.rfind('\n')) {
        return end;
    }
    let end = behind(most.rfind(' ')).unwrap_or(most.len());
    if open.is_none() && is_in_code(&most[..end]) {
        let code = most[..end].rfind('`').unwrap_or(end);
        // Before the code, where that leaves enough.
        if let Some(space) = most[..code].rfind(' ').filter(|at| *at >= most.len() / 4) {
            return space + 1;
        }
    }
    end
}

/// Whether the last line ends within code.
fn is_in_code(text: &str) -> bool {
    let line = text.rsplit('\n').next().unwrap_or_default();
    line.bytes().filter(|byte| *byte == b'`').count() % 2 == 1
}

/// A piece of the text as Markdown by itself.
fn piece(slice: &str, open: Option<&Fence>) -> String {
    let mut text = String::new();
    let mut state = open.cloned();
    if let Some(Fence { sign, length, language }) = open {
        text.extend(std::iter::repeat_n(*sign, *length));
        text.push_str(language);
        text.push('\n');
    }
    text.push_str(slice);
    scan(slice, &mut state);
    if let Some(Fence { sign, length, .. }) = state {
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text.extend(std::iter::repeat_n(sign, length));
    }
    text
}

fn scan(text: &str, state: &mut Option<Fence>) {
    for line in text.split_inclusive('\n') {
        let Some(found) = fence(line.trim_end_matches(['\n', '\r'])) else { continue };
        match state {
            None => *state = Some(found),
            Some(open)
                if found.sign == open.sign && found.length >= open.length && found.language.is_empty() =>
            {
                *state = None;
            }
            Some(_) => {}
        }
    }
}

/// The fence that a line is.
fn fence(line: &str) -> Option<Fence> {
    let inner = line.trim_start_matches(' ');
    if line.len() - inner.len() > 3 {
        return None;
    }
    let sign = inner.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let length = inner.chars().take_while(|c| *c == sign).count();
    let info = inner[length..].trim();
    if length < 3 || (sign == '`' && info.contains('`')) {
        return None;
    }
    let language = info.split_whitespace().next().unwrap_or_default();
    Some(Fence { sign, length: length.min(8), language: language.chars().take(LANGUAGE).collect() })
}

/// Where a piece that ends at `end` really ends: a fence that is closed right behind it was closed by it already.
fn behind_fence(text: &str, start: usize, end: usize, open: Option<&Fence>) -> usize {
    let mut state = open.cloned();
    scan(&text[start..end], &mut state);
    let Some(open) = state else { return end };
    if !text[start..end].ends_with('\n') {
        return end;
    }
    let line = text[end..].split_inclusive('\n').next().unwrap_or_default();
    let closes = fence(line.trim_end_matches(['\n', '\r'])).is_some_and(|found| {
        found.sign == open.sign && found.length >= open.length && found.language.is_empty()
    });
    if closes { end + line.len() } else { end }
}
