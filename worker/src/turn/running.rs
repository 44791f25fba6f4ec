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
    session_id: String,
    superseded: bool,
    /// What it does that is not to be begun anew.
    occupied: Option<Occupation>,
}

/// What a turn does that a newer message waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occupation {
    /// Its conversation is made shorter.
    Compressing,
    /// Sub-agents work for it.
    Delegating,
}

/// What a newer message does to the turn that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Newer {
    /// None runs here.
    Nothing,
    /// It is told to stop.
    Ends,
    /// It is not: the message waits for its own turn.
    Waits { session_id: String, occupied: Occupation },
}

impl Running {
    /// A turn begins; cancelling `all` stops it as well. Gives what stops it.
    pub(super) fn begin(&self, key: &str, session_id: &str, all: &CancellationToken) -> CancellationToken {
        let stop = all.child_token();
        let (own, session_id) = (stop.clone(), session_id.to_owned());
        self.lock().insert(key.to_owned(), Turn { stop: own, session_id, superseded: false, occupied: None });
        stop
    }

    /// Tells a turn to stop because its answer is not wanted any more; one whose conversation is being made shorter stops after that.
    /// `false`: none runs.
    pub(super) fn supersede(&self, key: &str) -> bool {
        let mut turns = self.lock();
        let Some(turn) = turns.get_mut(key) else { return false };
        turn.superseded = true;
        if turn.occupied != Some(Occupation::Compressing) {
            turn.stop.cancel();
        }
        true
    }

    /// Tells a turn to stop because a newer message is there, unless it does what that waits for.
    pub(super) fn newer(&self, key: &str) -> Newer {
        let mut turns = self.lock();
        let Some(turn) = turns.get_mut(key) else { return Newer::Nothing };
        if let Some(occupied) = turn.occupied {
            return Newer::Waits { session_id: turn.session_id.clone(), occupied };
        }
        turn.superseded = true;
        turn.stop.cancel();
        Newer::Ends
    }

    /// A turn does something that a newer message waits for, until what this gives is dropped.
    pub(super) fn occupied(&self, key: &str, by: Occupation) -> Occupied<'_> {
        if let Some(turn) = self.lock().get_mut(key) {
            turn.occupied = Some(by);
        }
        Occupied { running: self, key: key.to_owned() }
    }

    /// The turn is over. `true`: whatever it came to, its answer is not wanted.
    pub(super) fn end(&self, key: &str) -> bool {
        self.lock().remove(key).is_some_and(|turn| turn.superseded)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Turn>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Running::occupied`].
#[derive(Debug)]
pub(super) struct Occupied<'a> {
    running: &'a Running,
    key: String,
}

impl Drop for Occupied<'_> {
    fn drop(&mut self) {
        if let Some(turn) = self.running.lock().get_mut(&self.key) {
            turn.occupied = None;
            if turn.superseded {
                turn.stop.cancel();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_message_waits_for_what_is_not_begun_anew_and_a_stop_does_not_wait_for_children() {
        let (running, all) = (Running::default(), CancellationToken::new());
        assert_eq!(running.newer("k"), Newer::Nothing);
        for (by, stops_at_once) in [(Occupation::Compressing, false), (Occupation::Delegating, true)] {
            let stop = running.begin("k", "s", &all);
            let occupied = running.occupied("k", by);
            assert_eq!(running.newer("k"), Newer::Waits { session_id: "s".to_owned(), occupied: by });
            assert!(!stop.is_cancelled() && running.supersede("k"));
            assert_eq!(stop.is_cancelled(), stops_at_once);
            drop(occupied);
            assert!(stop.is_cancelled() && running.end("k"));
        }
        let stop = running.begin("k", "s", &all);
        drop(running.occupied("k", Occupation::Delegating));
        assert!(!stop.is_cancelled());
        assert_eq!(running.newer("k"), Newer::Ends);
        assert!(stop.is_cancelled() && running.end("k"));
    }
}
