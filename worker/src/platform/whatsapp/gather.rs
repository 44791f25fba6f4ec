//! The parts of a text that its sender's program has cut become one. Pure, with the time passed in.
//!
//! WhatsApp's programs cut only what is very long, so nobody waits but who is behind such a part. What is held here is confirmed to the bridge
//! once it is stored, all of it together.

use std::time::Duration;

use tokio::time::Instant;

use super::wire::Item;
use crate::platform::gather::{self, Part};

/// A part as long as this, in characters, may have another one behind it.
const LONG: usize = 6000;
/// How long that is waited for.
const WAIT: Duration = Duration::from_secs(1);
/// Seconds between two parts, by WhatsApp's clock, which counts whole ones.
const APART: u64 = 2;
/// Most parts, and the longest text that they make, in bytes.
const MOST: usize = 64;
const TEXT: usize = 256 * 1024;

/// Parts of one text.
pub(super) type Held = gather::Held<Item>;

impl Part for Item {
    fn is_beside(&self, other: &Self) -> bool {
        (&self.chat, &self.sender) == (&other.chat, &other.sender)
    }
}

impl Held {
    /// One message of them all, and the names of the others.
    pub(super) fn joined(self) -> (Item, Vec<String>) {
        let mut parts = self.parts.into_iter();
        let mut first = parts.next().unwrap_or_default();
        let mut also = Vec::new();
        for part in parts {
            first.text.push('\n');
            first.text.push_str(&part.text);
            also.push(part.id);
        }
        (first, also)
    }
}

/// What is held.
#[derive(Debug, Default)]
pub(super) struct Gather(gather::Gather<Item>);

impl Gather {
    /// Takes a message in; what is complete by that, in order.
    pub(super) fn take(&mut self, item: Item, now: Instant) -> Vec<Held> {
        let is_cut = is_plain(&item) && item.text.chars().count() >= LONG;
        let mut complete = self.0.take(item, joins, is_cut.then_some(WAIT), now);
        complete.extend(self.due(now));
        complete
    }

    /// What is complete by now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Held> {
        self.0.due(now)
    }

    /// Everything, complete or not.
    pub(super) fn all(&mut self) -> Vec<Held> {
        self.0.all()
    }

    /// When something is complete.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.next()
    }
}

/// Whether a message is another part of these.
fn joins(parts: &[Item], item: &Item) -> bool {
    let last = parts.last().map_or(0, |part| part.timestamp);
    let length: usize = parts.iter().map(|part| part.text.len()).sum();
    parts.len() < MOST && length < TEXT && is_plain(item) && item.timestamp.saturating_sub(last) <= APART
}

/// Nothing but a text, and no command.
fn is_plain(item: &Item) -> bool {
    item.media_type.is_empty() && !item.text.trim_start().starts_with('/')
}
