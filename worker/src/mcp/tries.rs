//! How often and after what time a server is tried again. Pure.

use std::time::Duration;

/// Tries after the first one, of a server that never was there.
const FIRST: u32 = 3;
/// Tries of one that was there and went.
const AGAIN: u32 = 5;
/// First wait; each is twice as long as the one before.
const SHORTEST: Duration = Duration::from_secs(1);
/// Longest wait between two tries.
const LONGEST: Duration = Duration::from_secs(60);
/// Time until a server that is parked is tried again.
pub(super) const PROBE: Duration = Duration::from_secs(300);
/// A connection that lasted so long was a good one: what comes after it begins anew.
pub(super) const STABLE: Duration = Duration::from_secs(60);

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Try again after this time.
    Retry(Duration),
    /// Withdraw its tools and try again after [`PROBE`], or when something has changed.
    Park,
}

/// The tries of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tries {
    was_there: bool,
    failed: u32,
    is_parked: bool,
}

impl Tries {
    /// It was there for so long, and went.
    pub(super) fn lost(&mut self, after: Duration) -> Next {
        if after >= STABLE || !self.was_there {
            *self = Self { was_there: true, ..Self::default() };
        }
        self.is_parked = false;
        self.failed(false)
    }

    /// It did not come up. `is_final`: nothing will change by itself.
    pub(super) fn failed(&mut self, is_final: bool) -> Next {
        self.failed = self.failed.saturating_add(1);
        let most = if self.was_there { AGAIN } else { FIRST };
        if self.is_parked || is_final || self.failed > most {
            self.is_parked = true;
            return Next::Park;
        }
        let wait = SHORTEST.saturating_mul(1 << (self.failed - 1).min(16));
        Next::Retry(wait.min(LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(tries: &mut Tries, first: Next) -> Vec<u64> {
        let mut waits = Vec::new();
        let mut next = first;
        while let Next::Retry(wait) = next {
            waits.push(wait.as_secs());
            next = tries.failed(false);
        }
        waits
    }

    #[test]
    fn a_server_that_never_comes_up_is_tried_four_times() {
        let mut tries = Tries::default();
        let first = tries.failed(false);
        assert_eq!(waits(&mut tries, first), [1, 2, 4]);
        // Parked, each further try is one.
        assert_eq!(tries.failed(false), Next::Park);
    }

    #[test]
    fn one_that_went_is_tried_five_times_and_a_long_connection_begins_anew() {
        let mut tries = Tries::default();
        let first = tries.lost(Duration::from_secs(3));
        assert_eq!(waits(&mut tries, first), [1, 2, 4, 8, 16]);
        // It came up at the last try and went at once: that is no new beginning.
        let mut tries = Tries { was_there: true, failed: 4, is_parked: false };
        assert_eq!(tries.lost(Duration::from_secs(1)), Next::Retry(Duration::from_secs(16)));
        assert_eq!(tries.lost(Duration::from_secs(1)), Next::Park);
        assert_eq!(tries.lost(STABLE), Next::Retry(SHORTEST));
    }

    #[test]
    fn what_will_not_change_is_not_tried_again() {
        assert_eq!(Tries::default().failed(true), Next::Park);
        let mut tries = Tries { was_there: true, failed: 0, is_parked: true };
        assert_eq!(tries.failed(false), Next::Park);
    }
}
