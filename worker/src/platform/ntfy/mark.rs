//! How far the bot has got in its topic. Kept in the profile's database.
//!
//! The server repeats what it keeps from a time on, or behind a message. A message's place is not its time: one that was to be delivered
//! later, and one whose file took long, come behind newer ones, and a message that the server does not keep any more is the beginning of
//! everything. So the stream is asked for from a time a little before the last message that is stored, and what is known of it is passed
//! over by its id: what is left is known in the inbox.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::inbox::Inbox;
use crate::store::StoreError;

/// How much before the last message the server is asked to begin, in seconds.
const BEFORE: i64 = 600;
/// Most ids that are known.
const IDS: usize = 200;

/// What is written down.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Noted {
    /// The time of the newest message that is stored, or of the first connection.
    time: i64,
    /// The time of the first connection: what is older is history.
    #[serde(default)]
    first: i64,
    /// The last messages that are stored.
    #[serde(default)]
    ids: VecDeque<String>,
}

/// How far the bot has got.
#[derive(Debug, Default)]
pub(super) struct Mark {
    key: String,
    noted: Option<Noted>,
}

impl Mark {
    /// What was written down for this topic of this server.
    pub(super) async fn read(inbox: &Inbox, server: &str, topic: &str) -> Result<Self, StoreError> {
        let key = format!("hermes_ntfy_mark {server} {topic}");
        let found = inbox.remembered(&key).await?;
        // What is unreadable was never written by this program: the topic begins anew.
        let noted = found.and_then(|text| serde_json::from_str(&text).ok());
        Ok(Self { key, noted })
    }

    /// Where the stream is to begin; none: with what comes.
    pub(super) fn since(&self) -> Option<i64> {
        self.noted.as_ref().map(|noted| (noted.time - BEFORE).max(noted.first))
    }

    /// The stream stands for the first time: what is older is history. False: it stood before.
    pub(super) fn begin(&mut self, time: i64) -> bool {
        let is_first = self.noted.is_none();
        if is_first {
            self.noted = Some(Noted { time, first: time, ids: VecDeque::new() });
        }
        is_first
    }

    /// Whether a message is stored.
    pub(super) fn has(&self, id: &str) -> bool {
        self.noted.as_ref().is_some_and(|noted| noted.ids.iter().any(|known| known == id))
    }

    /// A message is stored, or need not be.
    pub(super) fn done(&mut self, id: &str, time: i64) {
        let noted = self.noted.get_or_insert_with(|| Noted { time, first: time, ids: VecDeque::new() });
        noted.time = noted.time.max(time);
        if noted.ids.len() >= IDS {
            noted.ids.pop_front();
        }
        noted.ids.push_back(id.to_owned());
    }

    /// Writes it down. What is not is repeated, and known in the inbox.
    pub(super) async fn write(&self, inbox: &Inbox) {
        let Some(Ok(text)) = self.noted.as_ref().map(serde_json::to_string) else { return };
        if let Err(error) = inbox.remember(&self.key, text).await {
            tracing::debug!("[ntfy] how far the bot has got is not written down: {}", error.reason());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_begins_before_the_last_message_and_never_before_the_first_connection() {
        let mut mark = Mark::default();
        assert_eq!(mark.since(), None);
        assert!(mark.begin(1000) && !mark.begin(2000));
        assert_eq!(mark.since(), Some(1000));
        mark.done("a", 1100);
        assert_eq!((mark.since(), mark.has("a"), mark.has("b")), (Some(1000), true, false));
        mark.done("b", 5000);
        mark.done("c", 4000);
        assert_eq!(mark.since(), Some(4400), "the newest counts");
        for n in 0..IDS {
            mark.done(&n.to_string(), 5000);
        }
        assert!(!mark.has("c") && mark.has("0"));
    }
}
