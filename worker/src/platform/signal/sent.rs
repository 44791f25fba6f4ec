//! When this process has sent its latest messages. A message of the account's own with one of these times is an echo, and not somebody who
//! writes to the bot from another device of his.
//!
//! Connection and way out are made apart from each other, and one worker serves one profile, which has one account: it is the process's.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Most that are known.
const MOST: usize = 512;

static SENT: Mutex<VecDeque<u64>> = Mutex::new(VecDeque::new());

/// A message was sent then.
pub(super) fn remember(timestamp: u64) {
    let mut sent = SENT.lock().unwrap_or_else(PoisonError::into_inner);
    if sent.len() == MOST {
        sent.pop_front();
    }
    sent.push_back(timestamp);
}

/// Whether one was.
pub(super) fn is_known(timestamp: u64) -> bool {
    SENT.lock().unwrap_or_else(PoisonError::into_inner).contains(&timestamp)
}
