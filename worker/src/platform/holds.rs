//! Requests of which a service has had too many: none like them is made before the time is over that it asked for.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Most waits that are known.
const MOST: usize = 1000;

/// By what tells such requests from others: a method, and its chat where limits are those of chats.
#[derive(Debug, Default)]
pub(super) struct Holds(Mutex<BTreeMap<String, Instant>>);

impl Holds {
    /// The service wants no such request for so long.
    pub(super) fn hold(&self, what: &str, wait: Duration) {
        let now = Instant::now();
        let mut all = self.lock();
        if all.len() >= MOST && !all.contains_key(what) {
            all.retain(|_, until| *until > now);
            if all.len() >= MOST {
                // The service says so again.
                return;
            }
        }
        let until = all.entry(what.to_owned()).or_insert(now);
        *until = (*until).max(now + wait);
    }

    /// For how long none is to be made yet; none: it may be made.
    pub(super) fn left(&self, what: &str) -> Option<Duration> {
        let mut all = self.lock();
        let left = all.get(what)?.saturating_duration_since(Instant::now());
        if left.is_zero() {
            all.remove(what);
            return None;
        }
        Some(left)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_kept_for_what_it_is_about_and_no_longer() {
        let holds = Holds::default();
        let seconds = Duration::from_secs;
        holds.hold("send 7", seconds(5));
        assert_eq!((holds.left("send 7"), holds.left("send 8")), (Some(seconds(5)), None));
        // The longer of two is kept.
        holds.hold("send 7", seconds(2));
        tokio::time::advance(seconds(4)).await;
        assert_eq!(holds.left("send 7"), Some(seconds(1)));
        tokio::time::advance(seconds(1)).await;
        assert_eq!(holds.left("send 7"), None);
        for n in 0..3 * MOST {
            holds.hold(&n.to_string(), seconds(5));
        }
        assert_eq!(holds.lock().len(), MOST);
        tokio::time::advance(seconds(5)).await;
        holds.hold("new", seconds(5));
        assert_eq!(holds.lock().len(), 1, "what is over gives way");
    }
}
