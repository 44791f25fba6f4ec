//! What belongs together: parts of a text that somebody's program cut, and what he wrote right behind each other. Pure.

use std::time::Duration;

use tokio::time::Instant;

use super::event::Spot;
use super::mark::Number;
use super::wire::{Id, Message};
use crate::platform::gather::{self, Part};

/// A text of so many characters may have been cut.
const CUT: usize = 1900;
/// How long its next part is waited for.
const LONG: Duration = Duration::from_secs(2);
/// Most messages that become one.
const MOST: usize = 20;

/// A message, and where it was said.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Heard {
    pub(super) number: Number,
    pub(super) message: Message,
    pub(super) spot: Spot,
}

impl Part for Heard {
    fn is_beside(&self, other: &Self) -> bool {
        self.message.channel_id == other.message.channel_id && by(&self.message) == by(&other.message)
    }
}

/// Messages that become one event.
pub(super) type Held = gather::Held<Heard>;

fn by(message: &Message) -> Option<Id> {
    message.author.as_ref().map(|author| author.id)
}

/// Whether a text is a command, behind the bot's name or without it.
pub(super) fn is_command(content: &str) -> bool {
    let words = content.split_whitespace().find(|word| !word.starts_with("<@"));
    words.is_some_and(|word| word.starts_with('/'))
}

/// What waits for more.
#[derive(Debug)]
pub(super) struct Gather {
    usual: Duration,
    held: gather::Gather<Heard>,
}

impl Gather {
    pub(super) fn new(usual: Duration) -> Self {
        Self { usual, held: gather::Gather::default() }
    }

    /// Takes a message; returns what is complete now, in order. `may_join`: it may become one with others.
    pub(super) fn take(&mut self, heard: Heard, may_join: bool, now: Instant) -> Vec<Held> {
        let message = &heard.message;
        let waits = may_join
            && !self.usual.is_zero()
            && !is_command(&message.content)
            && message.attachments.is_empty()
            && message.message_snapshots.is_empty();
        let wait = waits.then(|| self.wait(message));
        let joins = waits && message.referenced_message.is_none();
        self.held.take(heard, |before, _| joins && before.len() < MOST, wait, now)
    }

    fn wait(&self, message: &Message) -> Duration {
        if message.content.chars().count() >= CUT { LONG.max(self.usual) } else { self.usual }
    }

    /// When something is complete that is not yet.
    pub(super) fn next(&self) -> Option<Instant> {
        self.held.next()
    }

    /// What is complete by now, in order.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Held> {
        self.held.due(now)
    }

    /// Everything, complete or not.
    pub(super) fn all(&mut self) -> Vec<Held> {
        self.held.all()
    }
}

#[cfg(test)]
mod tests {
    use super::super::mark::Mark;
    use super::super::wire::User;
    use super::*;

    fn message(author: u64, content: &str) -> Message {
        let author = Some(User { id: Id(author), ..User::default() });
        Message { id: Id(1), channel_id: Id(10), author, content: content.to_owned(), ..Message::default() }
    }

    fn texts(held: &[Held]) -> Vec<Vec<&str>> {
        held.iter()
            .map(|held| held.parts.iter().map(|heard| heard.message.content.as_str()).collect())
            .collect()
    }

    #[test]
    fn what_one_person_writes_at_once_is_one() {
        let (now, number) = (Instant::now(), Mark::default().open(1));
        let mut gather = Gather::new(Duration::from_millis(600));
        let heard = |message| Heard { number, message, spot: Spot::default() };
        let mut take = |message, joins| gather.take(heard(message), joins, now);
        assert!(take(message(7, "one"), true).is_empty() && take(message(8, "other"), true).is_empty());
        assert!(take(message(7, "two"), true).is_empty());
        assert_eq!(texts(&take(message(7, "/stop"), true)), [vec!["one", "two"], vec!["/stop"]]);
        assert_eq!(texts(&take(message(7, "alone"), false)), [["alone"]]);
        assert_eq!(gather.next(), Some(now + Duration::from_millis(600)));
        assert!(gather.due(now).is_empty());
        assert_eq!(texts(&gather.due(now + Duration::from_millis(600))), [["other"]]);
    }

    #[test]
    fn a_text_that_may_be_cut_waits_longer_and_nothing_waits_where_that_is_off() {
        let (now, number) = (Instant::now(), Mark::default().open(1));
        let mut gather = Gather::new(Duration::from_millis(100));
        let heard = |message| Heard { number, message, spot: Spot::default() };
        gather.take(heard(message(7, &"x".repeat(1900))), true, now);
        assert_eq!(gather.next(), Some(now + LONG));
        assert_eq!(gather.all().len(), 1);
        let mut gather = Gather::new(Duration::ZERO);
        assert_eq!(gather.take(heard(message(7, "one")), true, now).len(), 1);
    }
}
