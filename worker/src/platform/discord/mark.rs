//! How far the bot has got: its session with the gateway, and which of its events are stored. Pure, but for being written down.
//!
//! The gateway repeats what came behind the number that a resumed session names. So the number that is written down never passes an event
//! that is not stored; what is repeated all the same is known in the inbox by its id.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::wire::Id;
use crate::inbox::Inbox;
use crate::session::epoch;
use crate::store::StoreError;

/// Most threads that are known as the bot's own.
const THREADS: usize = 500;
/// Longest life of a session that nobody is connected to, in seconds. Discord's is shorter; it says so itself.
const LIFE: f64 = 24.0 * 3600.0;

/// A session with the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) id: String,
    /// Where it is resumed.
    #[serde(default)]
    pub(super) url: Option<String>,
}

/// What is written down.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Noted {
    #[serde(default)]
    session: Option<Session>,
    #[serde(default)]
    number: u64,
    #[serde(default)]
    at: f64,
    /// Threads that the bot takes part in, the last ones.
    #[serde(default)]
    threads: VecDeque<u64>,
}

/// Which events came, and which of them are stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Line {
    /// The last that came.
    top: u64,
    /// Those that are not stored.
    open: BTreeSet<u64>,
}

impl Line {
    /// The last one before the first that is not stored.
    pub(super) fn stored(&self) -> u64 {
        self.open.first().map_or(self.top, |first| (first - 1).min(self.top))
    }
}

/// An event, as it is counted: of which session, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number {
    generation: u64,
    number: u64,
}

/// The whole.
#[derive(Debug, Default)]
pub(super) struct Mark {
    key: String,
    session: Option<Session>,
    line: Line,
    /// Counts the sessions of this process: the numbers of one say nothing in another.
    generation: u64,
    threads: VecDeque<u64>,
    /// What was written down last.
    written: Option<(Option<Session>, u64, VecDeque<u64>)>,
}

impl Mark {
    /// What was written down of this bot of this server.
    pub(super) async fn read(inbox: &Inbox, bot: Id, server: &str) -> Result<Self, StoreError> {
        let key = format!("hermes_discord_session {bot} {server}");
        let found = inbox.remembered(&key).await?;
        // What is unreadable was never written by this program: a session begins anew.
        let noted: Noted = found.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let is_young = (0.0..LIFE).contains(&(epoch() - noted.at));
        let line = Line { top: noted.number, open: BTreeSet::new() };
        let session = noted.session.filter(|_| is_young);
        Ok(Self { key, session, line, threads: noted.threads, ..Self::default() })
    }

    /// The session that may be resumed, and behind which number.
    pub(super) fn resumable(&self) -> Option<(Session, u64)> {
        self.session.clone().map(|session| (session, self.line.top))
    }

    /// The last number that came, as a heartbeat names it.
    pub(super) fn top(&self) -> Option<u64> {
        Some(self.line.top).filter(|top| *top > 0)
    }

    /// A session has begun.
    pub(super) fn begin(&mut self, session: Session) {
        self.generation += 1;
        self.session = Some(session);
        self.line = Line::default();
    }

    /// The session is not resumed where it was to be.
    pub(super) fn forget_place(&mut self) {
        if let Some(session) = &mut self.session {
            session.url = None;
        }
    }

    /// The session is over: the next one is another.
    pub(super) fn end(&mut self) {
        self.session = None;
    }

    /// An event came, of which nothing is to be stored.
    pub(super) fn see(&mut self, number: u64) {
        self.line.top = self.line.top.max(number);
    }

    /// An event came that is to be stored.
    pub(super) fn open(&mut self, number: u64) -> Number {
        self.see(number);
        self.line.open.insert(number);
        Number { generation: self.generation, number }
    }

    /// It is, or need not be.
    pub(super) fn done(&mut self, number: Number) {
        if number.generation == self.generation {
            self.line.open.remove(&number.number);
        }
    }

    /// The bot takes part in a thread.
    pub(super) fn take_part(&mut self, thread: Id) {
        if !self.takes_part(thread) {
            self.threads.truncate(THREADS - 1);
            self.threads.push_front(thread.0);
        }
    }

    pub(super) fn takes_part(&self, thread: Id) -> bool {
        self.threads.contains(&thread.0)
    }

    /// What is to be written down, where it is not yet.
    pub(super) fn unwritten(&mut self) -> Option<(String, String)> {
        let now = (self.session.clone(), self.line.stored(), self.threads.clone());
        if self.written.as_ref() == Some(&now) {
            return None;
        }
        let (session, number, threads) = now.clone();
        let text = serde_json::to_string(&Noted { session, number, at: epoch(), threads }).ok()?;
        self.written = Some(now);
        Some((self.key.clone(), text))
    }

    /// It is not written down after all.
    pub(super) fn forget_written(&mut self) {
        self.written = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_never_passes_what_is_not_stored() {
        let mut mark = Mark::default();
        mark.begin(Session { id: "a".to_owned(), url: None });
        mark.see(1);
        let two = mark.open(2);
        let three = mark.open(3);
        mark.see(4);
        assert_eq!((mark.line.stored(), mark.top()), (1, Some(4)));
        mark.done(three);
        assert_eq!(mark.line.stored(), 1);
        mark.done(two);
        assert_eq!(mark.line.stored(), 4);
        // What is stored of an earlier session says nothing of this one.
        let of_first = mark.open(5);
        mark.begin(Session { id: "b".to_owned(), url: None });
        mark.see(1);
        let five = mark.open(5);
        mark.done(of_first);
        assert_eq!(mark.line.stored(), 4);
        mark.done(five);
        assert_eq!(mark.line.stored(), 5);
    }

    #[test]
    fn what_stands_there_already_is_not_written_again() {
        let mut mark = Mark::default();
        mark.begin(Session { id: "a".to_owned(), url: None });
        mark.see(3);
        let (_, text) = mark.unwritten().unwrap();
        let noted: Noted = serde_json::from_str(&text).unwrap();
        assert_eq!((noted.number, noted.session.unwrap().id.as_str()), (3, "a"));
        assert_eq!(mark.unwritten(), None);
        mark.forget_written();
        assert!(mark.unwritten().is_some());
        for n in 0..600 {
            mark.take_part(Id(n + 1));
        }
        assert!(mark.takes_part(Id(600)) && !mark.takes_part(Id(1)) && mark.threads.len() == THREADS);
    }
}
