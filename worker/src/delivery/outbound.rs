//! A way out: what carries one message to one target, and says how it went.
//!
//! An outbound sends once and judges nothing: tries, waits, order within a chat and what happens after a crash are the ledger's. The
//! same message under the same [`Message::key`] is the same message: a service that knows such keys shows it once however often
//! it is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use camino::Utf8Path;

use crate::formatting::split::Limit;
use crate::formatting::{Dialect, Unit};
use crate::inbound::DeliveryTarget;

/// A boxed future of an outbound.
pub type OutboundFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One way out.
pub trait Outbound: Send + Sync {
    /// The kind of target that it serves: a platform's name, or `github_comment`.
    fn kind(&self) -> &'static str;

    /// What it can do.
    fn abilities(&self) -> Abilities;

    /// What it can do for one target.
    fn abilities_for(&self, _target: &DeliveryTarget) -> Abilities {
        self.abilities()
    }

    /// The platform that a target is on.
    fn platform<'a>(&'a self, _target: &'a DeliveryTarget) -> &'a str {
        self.kind()
    }

    /// What of a target tells one chat from another: messages to one chat are sent in order, one at a time. `None`: the target
    /// names no chat, and the message belongs to the chat its event came from.
    fn chat(&self, target: &DeliveryTarget) -> Option<String> {
        target.extra.get(CHAT_ID).cloned()
    }

    /// Longest message to this target, in the unit of its [`Format`]; longer ones are sent in parts.
    fn longest(&self, target: &DeliveryTarget) -> usize {
        self.abilities_for(target).longest
    }

    /// How longer ones are cut.
    fn limit(&self, target: &DeliveryTarget) -> Limit {
        let format = self.abilities_for(target).format;
        let (unit, dialect) = (format.unit(), format.dialect());
        Limit { most: self.longest(target), unit, dialect, numbered: dialect != Dialect::Verbatim }
    }

    /// Sends one message. Its text is Markdown by itself, however the answer was cut, and written in the way's [`Format`] it is no longer
    /// than [`limit`](Self::limit) says.
    fn send<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        message: Message<'a>,
    ) -> OutboundFuture<'a, Result<Sent, Unsent>>;

    /// Replaces what an earlier message says; `id` is that of [`Sent`].
    fn edit<'a>(
        &'a self,
        _target: &'a DeliveryTarget,
        _id: &'a str,
        _text: &'a str,
    ) -> OutboundFuture<'a, Result<(), Unsent>> {
        let kind = self.kind();
        Box::pin(async move { Err(Unsent::never(format!("{kind} cannot change what was sent"))) })
    }

    /// Takes an earlier message back; `id` is that of [`Sent`]. One that is not there any more is taken back.
    fn take_back<'a>(
        &'a self,
        _target: &'a DeliveryTarget,
        _id: &'a str,
    ) -> OutboundFuture<'a, Result<(), Unsent>> {
        let kind = self.kind();
        Box::pin(async move { Err(Unsent::never(format!("{kind} cannot take back what was sent"))) })
    }

    /// Sends one file, where [`Abilities::files`] says that it can.
    fn send_file<'a>(
        &'a self,
        _target: &'a DeliveryTarget,
        _file: File<'a>,
    ) -> OutboundFuture<'a, Result<Sent, Unsent>> {
        let kind = self.kind();
        Box::pin(async move { Err(Unsent::never(format!("{kind} carries no files"))) })
    }

    /// Shows at the message that the target's event came by how its turn is, instead of what was shown there before. Best effort, as
    /// [`typing`](Self::typing).
    fn react<'a>(&'a self, _target: &'a DeliveryTarget, _sign: Sign) -> OutboundFuture<'a, ()> {
        Box::pin(async {})
    }

    /// The conversation there has this title now: a place that was begun for it is called so. Best effort, as [`typing`](Self::typing).
    fn entitle<'a>(&'a self, _target: &'a DeliveryTarget, _title: &'a str) -> OutboundFuture<'a, ()> {
        Box::pin(async {})
    }

    /// Shows in the chat that an answer is being made, for a few seconds. Best effort: nobody hears of a failure.
    fn typing<'a>(&'a self, _target: &'a DeliveryTarget) -> OutboundFuture<'a, ()> {
        Box::pin(async {})
    }
}

/// Key of [`DeliveryTarget::extra`] that names the chat on a platform, as in 0.19.0's `deliver_extra`.
pub const CHAT_ID: &str = "chat_id";

/// The chat that a target names.
pub fn chat_of(target: &DeliveryTarget) -> Result<&str, Unsent> {
    target.extra.get(CHAT_ID).map(String::as_str).ok_or_else(|| Unsent::never("Missing chat_id"))
}

/// What was made already, or is made now: most profiles are silent most of the time, and have no client of a service until they speak.
pub fn made<T, E>(kept: &OnceLock<T>, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
    match kept.get() {
        Some(there) => Ok(there),
        None => make().map(|new| kept.get_or_init(|| new)),
    }
}

/// What an outbound can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// Longest message, in the unit of its format; longer ones are sent in parts.
    pub longest: usize,
    /// How texts are written.
    pub format: Format,
    /// Messages under way at once, of different chats.
    pub at_once: usize,
    /// The service knows [`Message::key`]: a repetition under the same one is shown once.
    pub keyed: bool,
    /// [`Outbound::edit`] works.
    pub edits: bool,
    /// For how long one [`Outbound::typing`] is shown; none: it does nothing.
    pub typing: Option<Duration>,
    /// Longest file that [`Outbound::send_file`] carries, in bytes; none: it carries none.
    pub files: Option<u64>,
    /// [`Outbound::react`] shows something.
    pub reacts: bool,
}

impl Abilities {
    /// Of a way that carries short plain messages one by one, and nothing else.
    pub const LEAST: Self = Self {
        longest: 4000,
        format: Format::Plain,
        at_once: 1,
        keyed: false,
        edits: false,
        typing: None,
        files: None,
        reacts: false,
    };
}

/// How a turn is, as a sign at the message that began it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It runs: 👀.
    Seen,
    /// It ended well: ✅, or what the service has for it.
    Done,
    /// It failed: ❌, likewise.
    Failed,
    /// It was cancelled: nothing is shown any more.
    Nothing,
}

/// A file that is sent.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// Where it is; it may be gone meanwhile.
    pub path: &'a Utf8Path,
    /// What it is called for people.
    pub name: &'a str,
    /// What is in it.
    pub media_type: &'a str,
    /// It is shown as what it is (a picture, a sound), where the service can; else it is a document.
    pub shown: bool,
    /// As of a [`Message`].
    pub key: &'a str,
    /// Likewise.
    pub repeated: bool,
}

/// How a service reads a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As it is.
    Plain,
    /// As Markdown.
    Markdown,
    /// As Telegram's MarkdownV2, in UTF-16 units: [`markdown_v2`](crate::formatting::markdown_v2) writes it.
    MarkdownV2,
    /// As Slack's mrkdwn: [`mrkdwn`](crate::formatting::mrkdwn).
    Mrkdwn,
    /// With WhatsApp's signs: [`whatsapp`](crate::formatting::whatsapp).
    WhatsApp,
    /// As Matrix reads it: the Markdown, and beside it HTML: [`matrix_html`](crate::formatting::matrix_html).
    MatrixHtml,
    /// With IRC's control characters, in bytes: [`irc`](crate::formatting::irc).
    Irc,
    /// Without any signs: [`plain`](crate::formatting::plain), or [`signal`](crate::formatting::signal) with styles beside it.
    Bare,
}

impl Format {
    /// All of them, and their words on the road between workers, which stay.
    const WORDS: [(Self, &'static str); 8] = [
        (Self::Plain, "plain"),
        (Self::Markdown, "markdown"),
        (Self::MarkdownV2, "markdown_v2"),
        (Self::Mrkdwn, "mrkdwn"),
        (Self::WhatsApp, "whatsapp"),
        (Self::MatrixHtml, "matrix_html"),
        (Self::Irc, "irc"),
        (Self::Bare, "bare"),
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(format, _)| *format == self).map_or("plain", |(_, word)| word)
    }

    /// The one of a word; none: a word of a newer program's.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(_, other)| *other == word).map(|(format, _)| *format)
    }

    /// What a text is measured in.
    pub fn unit(self) -> Unit {
        match self {
            Self::MarkdownV2 | Self::Bare => Unit::Utf16,
            Self::Plain | Self::Markdown | Self::Mrkdwn | Self::WhatsApp => Unit::Chars,
            Self::MatrixHtml => Unit::Pairs,
            Self::Irc => Unit::Bytes,
        }
    }

    /// As what it is measured.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::Plain | Self::Markdown => Dialect::Verbatim,
            Self::MarkdownV2 => Dialect::MarkdownV2,
            Self::Mrkdwn => Dialect::Mrkdwn,
            Self::WhatsApp => Dialect::WhatsApp,
            Self::MatrixHtml => Dialect::MatrixHtml,
            Self::Irc => Dialect::Irc,
            Self::Bare => Dialect::Plain,
        }
    }
}

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// The text.
    pub text: &'a str,
    /// The same for every try of this message, and for no other one.
    pub key: &'a str,
    /// An earlier try may have got there.
    pub repeated: bool,
}

/// What a message begins with that may be there already, as in 0.19.0.
const RECOVERED: &str =
    "♻️ Recovered reply — the gateway restarted during delivery, so this may be a duplicate:\n\n";
/// The same where there is no room for it, in no more than four units of any kind but bytes.
const RECOVERED_SHORTLY: &str = "♻️ ";

impl Message<'_> {
    /// What is said, for a service that shows twice what is sent twice: behind a mark where it may be there already, a short one where the
    /// long one does not fit.
    pub fn marked(&self, fits: impl Fn(&str) -> bool) -> String {
        if !self.repeated {
            return self.text.to_owned();
        }
        let whole = format!("{RECOVERED}{}", self.text);
        if fits(&whole) { whole } else { format!("{RECOVERED_SHORTLY}{}", self.text) }
    }
}

/// A message got there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sent {
    /// The service's name for it, where it has one.
    pub id: Option<String>,
}

/// A message did not get there. Texts hold no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsent {
    /// Worth another try.
    #[error("{reason}")]
    Later {
        /// What the service asked to wait.
        after: Option<Duration>,
        /// It may have got there all the same: the answer was not heard.
        unsure: bool,
        /// For people.
        reason: String,
    },
    /// A retry cannot help: wrong parameters, no such target.
    #[error("{reason}")]
    Never {
        /// For people.
        reason: String,
        /// The chat itself is the cause: it is gone, or the bot was put out of it.
        gone: bool,
    },
}

impl Unsent {
    /// It certainly did not get there, and may the next time.
    pub fn later(reason: impl Into<String>) -> Self {
        Self::Later { after: None, unsure: false, reason: reason.into() }
    }

    /// Whether it got there is not known.
    pub fn unsure(reason: impl Into<String>) -> Self {
        Self::Later { after: None, unsure: true, reason: reason.into() }
    }

    /// A retry cannot help.
    pub fn never(reason: impl Into<String>) -> Self {
        Self::Never { reason: reason.into(), gone: false }
    }

    /// The same, and so it is for whatever is sent there.
    pub fn gone(reason: impl Into<String>) -> Self {
        Self::Never { reason: reason.into(), gone: true }
    }
}

/// All ways out of a profile, by the kind of target that they serve. Cloning shares them.
#[derive(Clone, Default)]
pub struct Outbounds {
    ways: Arc<BTreeMap<&'static str, Arc<dyn Outbound>>>,
    known: Arc<BTreeSet<&'static str>>,
}

impl Outbounds {
    /// The same ways, among these kinds of target: what is one of them without a way is not connected, what is none is unknown.
    #[must_use]
    pub fn among(self, kinds: impl Iterator<Item = &'static str>) -> Self {
        Self { known: Arc::new(kinds.collect()), ..self }
    }

    /// The outbound for a kind of target.
    pub fn get(&self, kind: &str) -> Option<&Arc<dyn Outbound>> {
        self.ways.get(kind)
    }

    /// The kinds of target that have one.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.ways.keys().copied()
    }

    /// Whether there are targets of this kind, with a way here or without.
    pub fn knows(&self, kind: &str) -> bool {
        self.known.contains(kind)
    }
}

impl FromIterator<Arc<dyn Outbound>> for Outbounds {
    fn from_iter<I: IntoIterator<Item = Arc<dyn Outbound>>>(all: I) -> Self {
        let ways = all.into_iter().map(|outbound| (outbound.kind(), outbound)).collect();
        Self { ways: Arc::new(ways), known: Arc::default() }
    }
}

impl std::fmt::Debug for Outbounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.ways.keys()).finish()
    }
}
