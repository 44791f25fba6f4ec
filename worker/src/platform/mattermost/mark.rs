//! How far the bot has got: up to when everything that was said is stored. Pure, but for being written down.
//!
//! A server gives what was said since a time. So the time that is written down never passes a post that is not stored, nor one that was not
//! asked for yet; what is given again all the same is known here, and in the inbox, by its id.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::inbox::Inbox;
use crate::store::StoreError;

/// Milliseconds by which posts may come in another order than their times.
const MARGIN: u64 = 30_000;
/// Most posts of that time that are known to be done.
const DONE: usize = 500;

/// A post: its time, and its id.
type Name = (u64, String);

/// What is written down.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Noted {
    since: u64,
    /// Where the bot began: what was said before is not for it.
    #[serde(default)]
    begin: u64,
    /// The last ones that are done, with their times.
    #[serde(default)]
    done: VecDeque<Name>,
}

/// The mark.
#[derive(Debug, Default)]
pub(super) struct Mark {
    key: String,
    /// Where the bot began.
    begin: u64,
    /// The latest time of all that came.
    top: u64,
    /// What came and is not stored.
    open: BTreeSet<Name>,
    done: VecDeque<Name>,
    /// What was said behind this time is being asked for.
    held: Option<u64>,
    /// There is none: the bot has never been here.
    is_new: bool,
    written: Option<Noted>,
}

impl Mark {
    /// What was written down of this bot of this server.
    pub(super) async fn read(inbox: &Inbox, bot: &str, server: &str) -> Result<Self, StoreError> {
        let key = format!("hermes_mattermost_since {bot} {server}");
        let found = inbox.remembered(&key).await?;
        // What is unreadable was never written by this program: it begins anew.
        let noted: Option<Noted> = found.and_then(|text| serde_json::from_str(&text).ok());
        let is_new = noted.is_none();
        let Noted { since, begin, done } = noted.unwrap_or_default();
        Ok(Self { key, begin, top: since, done, is_new, ..Self::default() })
    }

    /// Whether the bot has never been here: what was said before is not for it.
    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    /// The bot begins here.
    pub(super) fn begin(&mut self, at: u64) {
        self.begin = at;
        self.top = self.top.max(at);
        self.is_new = false;
    }

    /// Up to when everything is stored.
    fn stored(&self) -> u64 {
        let open = self.open.first().map_or(u64::MAX, |(at, _)| at.saturating_sub(1));
        self.top.min(open).min(self.held.unwrap_or(u64::MAX))
    }

    /// What was said since then is asked for: it is returned, and nothing later is written down until that [is over](Self::release).
    pub(super) fn hold(&mut self) -> u64 {
        let held = self.stored();
        self.held = Some(held);
        held.saturating_sub(MARGIN).max(self.begin)
    }

    /// What was asked for came.
    pub(super) fn release(&mut self) {
        self.held = None;
    }

    /// Whether a post came before, and is or will be stored.
    pub(super) fn knows(&self, at: u64, id: &str) -> bool {
        self.open.iter().chain(&self.done).any(|(when, known)| *when == at && known == id)
    }

    /// A post came of which nothing is to be stored.
    pub(super) fn see(&mut self, at: u64) {
        self.top = self.top.max(at);
    }

    /// A post came that is to be stored.
    pub(super) fn open(&mut self, at: u64, id: &str) {
        self.see(at);
        self.open.insert((at, id.to_owned()));
    }

    /// It is, or need not be.
    pub(super) fn done(&mut self, at: u64, id: &str) {
        let name = (at, id.to_owned());
        self.open.remove(&name);
        self.done.push_back(name);
        let since = self.stored().saturating_sub(MARGIN);
        self.done.retain(|(at, _)| *at >= since);
        while self.done.len() > DONE {
            self.done.pop_front();
        }
    }

    /// What is to be written down, where it is not yet.
    pub(super) fn unwritten(&mut self) -> Option<(String, String)> {
        let now = Noted { since: self.stored(), begin: self.begin, done: self.done.clone() };
        if self.is_new || self.written.as_ref() == Some(&now) {
            return None;
        }
        let text = serde_json::to_string(&now).ok()?;
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
        let mut mark = Mark { is_new: true, ..Mark::default() };
        assert_eq!(mark.unwritten(), None, "nothing is known yet");
        mark.begin(100_000);
        assert_eq!(mark.hold(), 100_000, "what was said before is never asked for");
        mark.release();
        mark.open(100_005, "a");
        mark.open(100_007, "b");
        mark.see(100_009);
        assert_eq!(mark.stored(), 100_004);
        mark.done(100_007, "b");
        assert_eq!(mark.stored(), 100_004);
        mark.done(100_005, "a");
        assert_eq!(mark.stored(), 100_009);
        assert!(mark.knows(100_005, "a") && !mark.knows(100_005, "c"));
    }

    #[test]
    fn nothing_is_passed_that_is_being_asked_for() {
        let mut mark = Mark { top: 100_000, ..Mark::default() };
        assert_eq!(mark.hold(), 70_000);
        mark.open(100_010, "a");
        mark.done(100_010, "a");
        assert_eq!(mark.stored(), 100_000);
        mark.open(100_003, "missed");
        mark.release();
        assert_eq!(mark.stored(), 100_002);
    }

    #[test]
    fn what_stands_there_already_is_not_written_again() {
        let mut mark = Mark::default();
        mark.open(40_000, "a");
        mark.done(40_000, "a");
        let (_, text) = mark.unwritten().unwrap();
        let noted: Noted = serde_json::from_str(&text).unwrap();
        assert_eq!((noted.since, noted.done.len()), (40_000, 1));
        assert_eq!(mark.unwritten(), None);
        mark.forget_written();
        assert!(mark.unwritten().is_some());
        for n in 0..600 {
            mark.done(40_000 + n, "x");
        }
        assert!(mark.done.len() <= DONE);
        mark.see(200_000);
        mark.done(200_000, "z");
        assert_eq!(mark.done.len(), 1, "what is long past is not asked for again");
    }
}
