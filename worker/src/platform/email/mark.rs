//! How far the mailbox has been read, written down beside what came from it.

use serde::{Deserialize, Serialize};

use super::settings::{NAME, Settings};
use crate::inbox::Inbox;
use crate::store::StoreError;

/// Where it is written down.
pub(super) struct Mark {
    key: String,
}

/// What is written there.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Marked {
    /// What the numbers of mails hold for (`UIDVALIDITY`): under another one they are others.
    pub(super) validity: u32,
    /// The number of the last mail that is dealt with.
    pub(super) uid: u32,
    /// When that one came, by its server's clock, in seconds since the epoch; 0: there was none yet.
    pub(super) came: i64,
    /// When it was dealt with, by this machine's clock.
    pub(super) at: f64,
}

impl Mark {
    pub(super) fn of(settings: &Settings) -> Self {
        let host = settings.imap.host.to_ascii_lowercase();
        Self { key: format!("hermes_{NAME}_mark {} {host}", settings.address) }
    }

    /// What was written down last; nothing: the mailbox was never seen. What cannot be read is an error, and not nothing.
    pub(super) async fn read(&self, inbox: &Inbox) -> Result<Option<Marked>, StoreError> {
        let found = inbox.remembered(&self.key).await?;
        let marked = found.as_deref().map(serde_json::from_str).transpose();
        Ok(marked.unwrap_or_else(|error| {
            tracing::error!(%error, "[{NAME}] how far the mailbox was read is not understood; it is read from now on");
            None
        }))
    }

    pub(super) async fn write(&self, inbox: &Inbox, marked: Marked) -> Result<(), StoreError> {
        let text = serde_json::to_string(&marked).expect("numbers are JSON");
        inbox.remember(&self.key, text).await
    }
}
