//! Messages that belong together: the parts of a text that its sender's program has cut, and the pictures of an album. Pure, with the time
//! passed in.
//!
//! What is held here is written down before it is confirmed to the service, or not confirmed: see `polling`. What is handed in beside the polls
//! is [away](Gather::send_away), and held all the same: what its sender says next waits behind it.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::gate;
use super::wire::Message;

/// Wait for the next picture of an album.
const ALBUM: Duration = Duration::from_millis(800);
/// Wait behind a part that is as long as a program makes it when it cuts.
const CUT: Duration = Duration::from_secs(1);
/// From this length on, in characters.
const LONG: usize = 4000;
/// Waits behind shorter ones, by their length.
const SHORT: [(usize, Duration); 2] = [(320, Duration::from_millis(180)), (1024, Duration::from_millis(240))];
/// And behind others.
const USUAL: Duration = Duration::from_millis(300);
/// Most messages that are held while no more are taken.
pub(super) const HELD: usize = 512;
/// Most messages that become one, and the longest text that they make, in bytes.
const MOST: usize = 64;
const TEXT: usize = 256 * 1024;
/// Seconds between two parts, by the service's clock, which counts whole ones.
const APART: i64 = 2;

/// Messages that become one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Held {
    /// With the numbers of their updates, in order; never empty.
    pub(super) messages: Vec<(i64, Message)>,
    /// When no more of them are waited for.
    due: Instant,
}

impl Held {
    fn first(&self) -> &Message {
        &self.messages[0].1
    }

    fn last(&self) -> &Message {
        &self.messages[self.messages.len() - 1].1
    }

    /// Whether an update is among them.
    pub(super) fn has(&self, id: i64) -> bool {
        self.messages.iter().any(|(other, _)| *other == id)
    }

    /// Whether it is a command. One is never a part of anything else.
    fn is_command(&self) -> bool {
        self.messages.len() == 1 && self.first().said().0.trim_start().starts_with('/')
    }

    fn is_full(&self) -> bool {
        let text: usize = self.messages.iter().map(|(_, message)| message.said().0.len()).sum();
        self.messages.len() >= MOST || text >= TEXT
    }

    /// Whether a message is another part of this.
    fn takes(&self, message: &Message) -> bool {
        if self.is_full() || conversation(self.first()) != conversation(message) {
            return false;
        }
        match (&self.first().media_group_id, &message.media_group_id) {
            (Some(one), Some(other)) => one == other,
            (None, None) => {
                is_plain(self.first())
                    && is_plain(message)
                    && message.answered().is_none()
                    && (message.date - self.last().date).abs() <= APART
            }
            _ => false,
        }
    }
}

/// What is held.
#[derive(Debug, Default)]
pub(super) struct Gather {
    held: Vec<Held>,
    /// What is being handed in.
    away: Vec<Held>,
    /// Longest ordinary wait, where the files say one.
    usual: Option<Duration>,
}

impl Gather {
    pub(super) fn new(usual: Option<Duration>) -> Self {
        Self { usual, ..Self::default() }
    }

    fn everything(&self) -> impl Iterator<Item = &Held> {
        self.held.iter().chain(&self.away)
    }

    /// How many messages are held.
    pub(super) fn count(&self) -> usize {
        self.everything().map(|held| held.messages.len()).sum()
    }

    /// Whether an update is held.
    pub(super) fn has(&self, id: i64) -> bool {
        self.everything().any(|held| held.has(id))
    }

    /// Whether a message is held, whatever the number of its update.
    pub(super) fn knows(&self, message: &Message) -> bool {
        let is_same =
            |other: &Message| (other.chat.id, other.message_id) == (message.chat.id, message.message_id);
        self.everything().any(|held| held.messages.iter().any(|(_, other)| is_same(other)))
    }

    /// Everything that is held, in order.
    pub(super) fn held(&self) -> Vec<(i64, Message)> {
        let mut all: Vec<_> = self.everything().flat_map(|held| held.messages.iter().cloned()).collect();
        all.sort_by_key(|(id, _)| *id);
        all
    }

    /// The first update that is held.
    pub(super) fn first(&self) -> Option<i64> {
        self.everything().map(|held| held.messages[0].0).min()
    }

    /// Whether something of its conversation that came before is not handed in yet. A command does not wait for what is away: that
    /// is no turn yet which it could be about.
    pub(super) fn is_behind(&self, held: &Held) -> bool {
        let is_before = |other: &&Held| {
            other.messages[0].0 < held.messages[0].0
                && conversation(other.first()) == conversation(held.first())
        };
        let is_away = !held.is_command() && self.away.iter().any(|other| is_before(&other));
        is_away || self.held.iter().any(|other| is_before(&other))
    }

    /// It is being handed in.
    pub(super) fn send_away(&mut self, held: Held) {
        self.away.push(held);
    }

    /// It is not any more, however that went.
    pub(super) fn come_back(&mut self, held: &Held) {
        self.away.retain(|other| other.messages[0].0 != held.messages[0].0);
    }

    /// Takes back what could not be handed in, until there is another try.
    pub(super) fn put_back(&mut self, all: impl Iterator<Item = Held>, due: Instant) {
        self.held.extend(all.map(|held| Held { due, ..held }));
    }

    /// Takes a message in. Gives what is complete by that, in order: nothing more is waited for there. A text is joined to another one
    /// only where it may.
    pub(super) fn take(&mut self, id: i64, message: Message, may_join: bool, now: Instant) -> Vec<Held> {
        let due = now + self.wait(&message);
        if let Some(held) = self.held.iter_mut().find(|held| held.takes(&message)) {
            held.messages.push((id, message));
            held.due = due;
            return Vec::new();
        }
        // Of one conversation only the last is waited for: what is said in it stays in order.
        let (mut complete, rest): (Vec<Held>, Vec<Held>) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|held| conversation(held.first()) == conversation(&message));
        self.held = rest;
        let is_alone = message.media_group_id.is_none() && !(may_join && is_plain(&message));
        let held = Held { messages: vec![(id, message)], due };
        if is_alone {
            complete.push(held);
        } else {
            self.held.push(held);
        }
        complete
    }

    /// What is complete by now, in order; nothing behind what is away, or behind what is not.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Held> {
        let mut waiting = self.conversations_away();
        let mut all = std::mem::take(&mut self.held);
        all.sort_by_key(|held| held.messages[0].0);
        let (due, rest) = all.into_iter().partition(|held| {
            let is_due =
                (held.due <= now || held.is_full()) && !waiting.contains(&conversation(held.first()));
            if !is_due {
                waiting.insert(conversation(held.first()));
            }
            is_due
        });
        self.held = rest;
        due
    }

    /// Everything, complete or not, in order: what is away is left there.
    pub(super) fn all(&mut self) -> Vec<Held> {
        let mut all = std::mem::take(&mut self.held);
        all.append(&mut self.away);
        all.sort_by_key(|held| held.messages[0].0);
        all
    }

    /// When something is complete that need not wait for anything else.
    pub(super) fn next(&self) -> Option<Instant> {
        let mut waiting = self.conversations_away();
        let mut all: Vec<&Held> = self.held.iter().collect();
        all.sort_by_key(|held| held.messages[0].0);
        // Of one conversation the first.
        all.into_iter().filter(|held| waiting.insert(conversation(held.first()))).map(|held| held.due).min()
    }

    fn conversations_away(&self) -> BTreeSet<Conversation> {
        self.away.iter().map(|held| conversation(held.first())).collect()
    }

    fn wait(&self, message: &Message) -> Duration {
        if message.media_group_id.is_some() {
            return ALBUM;
        }
        let length = message.said().0.chars().count();
        if length >= LONG {
            return CUT;
        }
        let usual = self.usual.unwrap_or(USUAL);
        SHORT.iter().find(|(most, _)| length <= *most).map_or(usual, |(_, wait)| usual.min(*wait))
    }
}

/// Who says it where.
type Conversation = (i64, Option<i64>, Option<i64>);

fn conversation(message: &Message) -> Conversation {
    let from = message.from.as_ref().map(|from| from.id);
    (message.chat.id, gate::thread(message), from.or(message.sender_chat.as_ref().map(|chat| chat.id)))
}

/// Nothing but a text, and no command: what may be a part of another one.
fn is_plain(message: &Message) -> bool {
    message.text.as_ref().is_some_and(|text| !text.trim_start().starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::super::wire::{Chat, User};
    use super::*;

    fn message(from: i64, text: &str) -> Message {
        Message {
            chat: Chat { id: 1, kind: "group".to_owned(), ..Chat::default() },
            from: Some(User { id: from, ..User::default() }),
            text: Some(text.to_owned()),
            ..Message::default()
        }
    }

    fn picture(from: i64, album: Option<&str>) -> Message {
        Message { text: None, media_group_id: album.map(str::to_owned), ..message(from, "") }
    }

    fn ids(all: &[Held]) -> Vec<Vec<i64>> {
        all.iter().map(|held| held.messages.iter().map(|(id, _)| *id).collect()).collect()
    }

    #[test]
    fn parts_of_a_text_become_one_and_others_do_not() {
        let now = Instant::now();
        let mut gather = Gather::new(None);
        assert_eq!(ids(&gather.take(1, message(7, &"x".repeat(4096)), true, now)), Vec::<Vec<i64>>::new());
        assert_eq!(ids(&gather.take(2, message(8, "from another"), true, now)), Vec::<Vec<i64>>::new());
        let later = now + Duration::from_millis(900);
        assert_eq!(ids(&gather.due(later)), [[2]], "the long one waits");
        assert!(gather.has(1) && !gather.has(2));
        gather.take(3, message(7, "the rest"), true, later);
        assert_eq!(gather.next(), Some(later + Duration::from_millis(180)));
        assert_eq!(ids(&gather.due(later + Duration::from_millis(180))), [[1, 3]]);
        assert!(gather.count() == 0 && gather.next().is_none());
    }

    #[test]
    fn what_is_away_is_held_and_holds_up_its_own_conversation_alone() {
        let now = Instant::now();
        let mut gather = Gather::new(None);
        let take = |gather: &mut Gather, id, message| gather.take(id, message, true, now).pop().unwrap();
        let file = take(&mut gather, 1, picture(7, None));
        gather.send_away(file.clone());
        assert_eq!(
            (gather.count(), gather.has(1), gather.first(), gather.held().len()),
            (1, true, Some(1), 1)
        );
        assert_eq!(gather.next(), None, "nothing is waited for by the clock");
        let second = take(&mut gather, 2, picture(7, None));
        let (other, stop) =
            (take(&mut gather, 3, picture(8, None)), take(&mut gather, 4, message(7, "/stop")));
        assert!(gather.is_behind(&second) && !gather.is_behind(&other));
        assert!(!gather.is_behind(&stop), "a command does not wait for files");
        gather.put_back(std::iter::once(second), now);
        assert!(gather.is_behind(&stop), "but for its turn");
        assert_eq!((gather.due(now).len(), gather.next()), (0, None));
        gather.come_back(&file);
        assert_eq!((gather.next(), ids(&gather.due(now))), (Some(now), vec![vec![2]]));
        // What is tried again later holds up what is behind it.
        let later = now + Duration::from_secs(1);
        gather.put_back(std::iter::once(file), later);
        gather.put_back(std::iter::once(stop), now);
        assert_eq!((gather.due(now).len(), gather.next()), (0, Some(later)));
        assert_eq!(ids(&gather.due(later)), [[1], [4]]);
        gather.send_away(other);
        assert_eq!(ids(&gather.all()), [[3]]);
        assert_eq!(gather.count(), 0);
    }

    #[test]
    fn what_is_said_in_a_conversation_stays_in_order() {
        let now = Instant::now();
        let mut gather = Gather::new(None);
        gather.take(1, message(7, "one"), true, now);
        gather.take(2, message(8, "other"), true, now);
        assert_eq!(ids(&gather.take(3, message(7, "/stop"), true, now)), [[1], [3]]);
        gather.take(4, message(7, "two"), true, now);
        assert_eq!(ids(&gather.take(5, picture(7, Some("a")), true, now)), [[4]]);
        gather.take(6, picture(7, Some("a")), true, now);
        assert_eq!(ids(&gather.take(7, picture(7, Some("b")), true, now)), [[5, 6]]);
        assert_eq!(ids(&gather.take(8, picture(7, None), true, now)), [vec![7], vec![8]]);
        assert_eq!(ids(&gather.all()), [[2]]);
        // Long ago, as the service says: a backlog is no cut text.
        gather.take(9, message(7, "monday"), true, now);
        let later = Message { date: 90, ..message(7, "tuesday") };
        assert_eq!(ids(&gather.take(10, later, true, now)), [[9]]);
    }

    /// As Telegram has them: each replies to what began its topic.
    #[test]
    fn parts_of_a_text_in_a_topic_become_one() {
        let now = Instant::now();
        let mut gather = Gather::new(None);
        let in_topic = |text: &str, to: i64| Message {
            message_thread_id: Some(9),
            is_topic_message: true,
            reply_to_message: Some(Box::new(Message { message_id: to, ..Message::default() })),
            ..message(7, text)
        };
        gather.take(1, in_topic(&"x".repeat(4096), 9), true, now);
        assert_eq!(gather.take(2, in_topic("the rest", 9), true, now).len(), 0);
        assert_eq!(ids(&gather.take(3, in_topic("an answer", 4), true, now)), [[1, 2]]);
    }

    #[test]
    fn waits_follow_lengths() {
        let wait = |usual, length| Gather::new(usual).wait(&message(1, &"x".repeat(length))).as_millis();
        assert_eq!([1, 320, 321, 1024, 1025, 4000].map(|n| wait(None, n)), [180, 180, 240, 240, 300, 1000]);
        let short = Some(Duration::from_millis(100));
        assert_eq!([1, 2000, 4000].map(|n| wait(short, n)), [100, 100, 1000]);
        assert_eq!(Gather::new(short).wait(&picture(1, Some("a"))).as_millis(), 800);
    }
}
