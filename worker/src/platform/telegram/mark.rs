//! What outlives a connection: how far the bot has got, and what waited for its other parts. Kept in the profile's database.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::settings::NAME;
use super::wire::Message;
use crate::inbox::{Inbox, REMEMBERED};
use crate::session::epoch;
use crate::store::StoreError;

/// How long the numbers of updates go on: a bot that heard nothing for a week gets others.
const SAME: Duration = Duration::from_hours(6 * 24);

/// Where it is written down how far a bot has got, and what it holds.
pub(super) struct Mark {
    pub(super) key: String,
}

/// What is written there.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Marked {
    /// Behind the last update that is stored; 0: the service knows.
    pub(super) offset: i64,
    at: f64,
    /// What waited for its other parts then.
    #[serde(default)]
    pub(super) held: Vec<(i64, Message)>,
}

impl Mark {
    /// What was written down last; nothing: nobody knows, and the service does.
    pub(super) async fn read(&self, inbox: &Inbox) -> Result<Marked, StoreError> {
        let found = inbox.remembered(&self.key).await?;
        let mut marked: Marked = found.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let age = epoch() - marked.at;
        if !(0.0..SAME.as_secs_f64()).contains(&age) {
            marked.offset = 0;
        }
        // Beyond that the inbox does not know what it had.
        if !(0.0..REMEMBERED.as_secs_f64()).contains(&age) && !marked.held.is_empty() {
            tracing::warn!(
                "[{NAME}] {} messages that waited for their other parts are too old",
                marked.held.len()
            );
            marked.held.clear();
        }
        Ok(marked)
    }

    /// False: it is as it was.
    pub(super) async fn write(&self, inbox: &Inbox, offset: i64, held: Vec<(i64, Message)>) -> bool {
        let text = serde_json::to_string(&Marked { offset, at: epoch(), held });
        let Ok(text) = text else { return false };
        match inbox.remember(&self.key, text).await {
            Ok(()) => true,
            Err(error) => {
                // What is not confirmed is offered again, and known in the inbox.
                tracing::debug!("[{NAME}] how far the bot has got is not written down: {}", error.reason());
                false
            }
        }
    }
}
