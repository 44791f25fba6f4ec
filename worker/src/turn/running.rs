//! The turns of the inbox that run in this process, by session key, so that they can be told to stop.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// See the module. A session key has one turn at a time.
#[derive(Debug, Default)]
pub(super) struct Running(Mutex<HashMap<String, Turn>>);

#[derive(Debug)]
struct Turn {
    stop: CancellationToken,
    superseded: bool,
    /// It does something that is not to be begun anew: it is told to stop afterwards.
    held: bool,
}

impl Running {
    /// A turn begins; cancelling `all` stops it as well. Gives what stops it.
    pub(super) fn begin(&self, key: &str, all: &CancellationToken) -> CancellationToken {
        let stop = all.child_token();
        self.lock().insert(key.to_owned(), Turn { stop: stop.clone(), superseded: false, held: false });
        stop
    }

    /// Tells a turn to stop because its answer is not wanted any more. `false`: none runs.
    pub(super) fn supersede(&self, key: &str) -> bool {
        let mut turns = self.lock();
        let Some(turn) = turns.get_mut(key) else { return false };
        turn.superseded = true;
        if !turn.held {
            turn.stop.cancel();
        }
        true
    }

    /// A turn begins, or ends, what a newer message waits for.
    pub(super) fn hold(&self, key: &str, held: bool) {
        if let Some(turn) = self.lock().get_mut(key) {
            turn.held = held;
            if turn.superseded && !held {
                turn.stop.cancel();
            }
        }
    }

    /// The turn is over. `true`: whatever it came to, its answer is not wanted.
    pub(super) fn end(&self, key: &str) -> bool {
        self.lock().remove(key).is_some_and(|turn| turn.superseded)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Turn>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
