//! What belongs together in a room: the parts of a text that somebody's program cut, and what he writes and shows right behind each other.
//! Pure, with the time passed in.
//!
//! What is held here is in no inbox yet, so nobody may write down that the account has synced beyond it: see `syncing`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::event::Heard;
use crate::platform::gather::{self, Part};

/// How long the next part of a text is waited for that may have been cut.
const LONG: Duration = Duration::from_secs(2);
/// So close to the longest message, in characters, a text may have been.
const NEAR: usize = 100;
/// Milliseconds between two of them, by the clock of their sender's server: what was said while nobody listened comes at once.
const APART: u64 = 5000;
/// Most messages that become one, and the longest text that they make, in bytes.
const MOST: usize = 20;
const TEXT: usize = 256 * 1024;

/// A message that is for the bot.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) heard: Heard,
    /// Where the sync began that brought it; the first of all syncs brings none.
    pub(super) from: Place,
}

/// A place that the account has synced to, and how many came before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) nth: u64,
    pub(super) token: Arc<str>,
}

impl Part for Waiting {
    fn is_beside(&self, other: &Self) -> bool {
        let other = &other.heard;
        self.heard.is_at(&other.room, &other.sender, other.said.thread.as_deref())
    }
}

/// Messages that become one event.
pub(super) type Held = gather::Held<Waiting>;

/// What waits for more.
#[derive(Debug)]
pub(super) struct Gather {
    usual: Duration,
    /// A text of so many characters may have been cut.
    cut: usize,
    held: gather::Gather<Waiting>,
}

impl Gather {
    /// `longest`: what a message has at most, in characters.
    pub(super) fn new(usual: Duration, longest: usize) -> Self {
        Self { usual, cut: longest.saturating_sub(NEAR), held: gather::Gather::default() }
    }

    /// Takes a message; gives what is complete by that, in order. `may_join`: it may become one with others.
    pub(super) fn take(&mut self, waiting: Waiting, may_join: bool, now: Instant) -> Vec<Held> {
        let heard = &waiting.heard;
        let waits = may_join && !self.usual.is_zero() && !heard.is_command;
        let is_long = heard.said.text.chars().count() >= self.cut;
        let wait = if is_long { LONG.max(self.usual) } else { self.usual };
        // What somebody answers is said of the first of them alone.
        let joins = waits && heard.said.reply_to.is_none();
        let fits = |before: &[Waiting], next: &Waiting| {
            let text: usize = before.iter().map(|part| part.heard.said.text.len()).sum();
            let last = before.last().map_or(0, |part| part.heard.sent);
            joins && before.len() < MOST && text < TEXT && next.heard.sent.abs_diff(last) <= APART
        };
        self.held.take(waiting, fits, waits.then_some(wait), now)
    }

    /// Whether something of somebody there waits for more.
    pub(super) fn holds(&self, room: &str, sender: &str, thread: Option<&str>) -> bool {
        self.held.firsts().any(|part| part.heard.is_at(room, sender, thread))
    }

    /// Where the first sync began that brought something that is still held.
    pub(super) fn oldest(&self) -> Option<Arc<str>> {
        let oldest = self.held.firsts().map(|part| &part.from).min_by_key(|place| place.nth)?;
        Some(Arc::clone(&oldest.token))
    }

    /// When something is complete that is not yet.
    pub(super) fn next(&self) -> Option<Instant> {
        self.held.next()
    }

    /// What is complete by now, in order.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Held> {
        self.held.due(now)
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::tests::heard;
    use super::super::wire::{File, Said};
    use super::*;

    const USUAL: Duration = Duration::from_millis(600);

    fn waiting(who: &str, text: &str, nth: u64) -> Waiting {
        let said = Said { text: text.to_owned(), ..Said::default() };
        Waiting { heard: heard(who, said), from: Place { nth, token: format!("s{nth}").into() } }
    }

    fn texts(all: &[Held]) -> Vec<Vec<&str>> {
        all.iter().map(|held| held.parts.iter().map(|part| part.heard.said.text.as_str()).collect()).collect()
    }

    #[test]
    fn what_one_person_writes_at_once_is_one_with_the_files_behind_it() {
        let now = Instant::now();
        let mut gather = Gather::new(USUAL, 16_000);
        assert!(gather.take(waiting("@ann:hs", "one", 1), true, now).is_empty());
        assert!(gather.take(waiting("@bob:hs", "other", 1), true, now).is_empty());
        let mut file = waiting("@ann:hs", "", 2);
        file.heard.said.file = Some(File {
            place: None,
            name: "a.png".to_owned(),
            media_type: "image/png".to_owned(),
            length: None,
        });
        assert!(gather.take(file, true, now).is_empty());
        assert!(gather.holds("!r:hs", "@ann:hs", None) && !gather.holds("!r:hs", "@ann:hs", Some("$t")));
        assert_eq!(gather.oldest().as_deref(), Some("s1"));
        let mut command = waiting("@ann:hs", "/stop", 3);
        command.heard.is_command = true;
        assert_eq!(texts(&gather.take(command, true, now)), [vec!["one", ""], vec!["/stop"]]);
        let mut reply = waiting("@bob:hs", "to that", 4);
        reply.heard.said.reply_to = Some("$e".to_owned());
        assert_eq!(texts(&gather.take(reply, true, now)), [["other"]], "an answer to something else");
        let mut later = waiting("@bob:hs", "and more", 5);
        later.heard.sent = APART;
        assert!(gather.take(later, true, now).is_empty());
        assert_eq!(texts(&gather.due(now + USUAL)), [["to that", "and more"]]);
        assert!(gather.oldest().is_none() && gather.next().is_none());
        gather.take(waiting("@ann:hs", "monday", 6), true, now);
        let mut tuesday = waiting("@ann:hs", "tuesday", 6);
        tuesday.heard.sent = 86_400_000;
        assert_eq!(texts(&gather.take(tuesday, true, now)), [["monday"]]);
    }

    #[test]
    fn a_text_that_may_be_cut_waits_longer_and_nothing_waits_where_that_is_off() {
        let now = Instant::now();
        let mut gather = Gather::new(USUAL, 500);
        gather.take(waiting("@ann:hs", &"x".repeat(399), 1), true, now);
        assert_eq!(gather.next(), Some(now + USUAL));
        gather.take(waiting("@ann:hs", &"x".repeat(400), 1), true, now);
        assert_eq!(gather.next(), Some(now + LONG));
        assert_eq!(gather.take(waiting("@bob:hs", "another profile's", 1), false, now).len(), 1);
        let mut gather = Gather::new(Duration::ZERO, 500);
        assert_eq!(gather.take(waiting("@ann:hs", "one", 1), true, now).len(), 1);
    }

    #[test]
    fn what_is_held_of_the_first_sync_is_the_oldest_and_many_are_cut() {
        let now = Instant::now();
        let mut gather = Gather::new(USUAL, 16_000);
        gather.take(waiting("@ann:hs", "a", 1), true, now);
        gather.take(waiting("@bob:hs", "b", 2), true, now + USUAL / 2);
        gather.due(now + USUAL);
        assert_eq!(gather.oldest().as_deref(), Some("s2"));
        for n in 1..MOST {
            assert!(gather.take(waiting("@bob:hs", "b", 3), true, now).is_empty(), "{n}");
        }
        assert_eq!(gather.take(waiting("@bob:hs", "b", 3), true, now)[0].parts.len(), MOST);
        assert_eq!(gather.oldest().as_deref(), Some("s3"));
    }
}
