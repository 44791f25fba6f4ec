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

    /// What of a target tells one chat from another: messages to one chat are sent in order, one at a time. `None`: the target
    /// names no chat, and the message belongs to the chat its event came from.
    fn chat(&self, target: &DeliveryTarget) -> Option<String> {
        target.extra.get(CHAT_ID).cloned()
    }

    /// Longest message to this target, in the unit of its [`Format`]; longer ones are sent in parts.
    fn longest(&self, _target: &DeliveryTarget) -> usize {
        self.abilities().longest
    }

    /// How longer ones are cut.
    fn limit(&self, target: &DeliveryTarget) -> Limit {
        let format = self.abilities().format;
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
    /// Without any signs: [`plain`](crate::formatting::plain), or [`signal`](crate::formatting::signal) with styles beside it.
    Bare,
}

impl Format {
    /// What a text is measured in.
    pub fn unit(self) -> Unit {
        match self {
            Self::MarkdownV2 | Self::Bare => Unit::Utf16,
            Self::Plain | Self::Markdown | Self::Mrkdwn | Self::WhatsApp => Unit::Chars,
        }
    }

    /// As what it is measured.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::Plain | Self::Markdown => Dialect::Verbatim,
            Self::MarkdownV2 => Dialect::MarkdownV2,
            Self::Mrkdwn => Dialect::Mrkdwn,
            Self::WhatsApp => Dialect::WhatsApp,
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
        Self::Never { reason: reason.into() }
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
