//! What a model writes, as chat services read it.
//!
//! # Theory of operation
//!
//! ```text
//!   Markdown ─▶ split ─▶ one message ─▶ tree ─▶ MarkdownV2 | mrkdwn | HTML | text with ranges | …
//! ```
//!
//! A text is cut as Markdown, into pieces that are Markdown by themselves: a block of code that is cut is closed and opened again
//! ([`split`]). Each piece is parsed once into a [`tree`], and written from there in the service's own way. What a service would read as
//! its own signs is always escaped: a piece is never half of something.
//!
//! # Guarantees
//!
//! - Nothing is lost: every piece begins where the last one ended, and what the parser takes for markup that nobody sees stays text.
//! - A piece is no longer than the service takes, measured in its unit, as it is sent.
//! - What is written is balanced, whatever the model wrote.

mod html;
pub mod media;
mod paint;
mod services;
pub mod split;
mod tree;

pub use html::matrix_html;
pub use services::{Range, Ranged, Style, irc, markdown_v2, mrkdwn, plain, signal, whatsapp};

/// What a service counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Unicode characters.
    Chars,
    /// UTF-16 units.
    Utf16,
    /// Bytes of UTF-8.
    Bytes,
    /// Characters, one that takes more than two bytes of UTF-8 for two: where a service counts bytes, and people characters.
    Pairs,
}

impl Unit {
    /// How long a text is.
    pub fn measure(self, text: &str) -> usize {
        match self {
            Self::Chars => text.chars().count(),
            Self::Utf16 => text.encode_utf16().count(),
            Self::Bytes => text.len(),
            Self::Pairs => text.chars().map(|c| c.len_utf8().div_ceil(2)).sum(),
        }
    }
}

/// How a service reads a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// As it is, Markdown or not: nothing is changed.
    Verbatim,
    /// Without any markup.
    Plain,
    /// Telegram's MarkdownV2.
    MarkdownV2,
    /// Slack's mrkdwn.
    Mrkdwn,
    /// WhatsApp's signs.
    WhatsApp,
    /// Matrix's HTML.
    MatrixHtml,
    /// IRC's control characters.
    Irc,
}

impl Dialect {
    /// One piece, as it is sent.
    pub fn render(self, markdown: &str) -> String {
        match self {
            Self::Verbatim => markdown.to_owned(),
            Self::Plain => plain(markdown),
            Self::MarkdownV2 => markdown_v2(markdown),
            Self::Mrkdwn => mrkdwn(markdown),
            Self::WhatsApp => whatsapp(markdown),
            Self::MatrixHtml => matrix_html(markdown),
            Self::Irc => irc(markdown),
        }
    }
}

#[cfg(test)]
mod tests;
