//! How long a connection that was lost is left alone: twice as long after each try in a row, or by a list.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::{Class, Down};

/// Tries in a row, and the waits behind them.
#[derive(Debug)]
pub(super) struct Backoff {
    /// Tries since the last one that stood.
    failed: AtomicU32,
    waits: Waits,
}

#[derive(Debug)]
enum Waits {
    Doubled { first: Duration, longest: Duration },
    Listed(&'static [u64]),
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self { failed: AtomicU32::new(0), waits: Waits::Doubled { first, longest } }
    }

    /// These waits, in seconds; the last one goes on.
    pub(super) fn steps(waits: &'static [u64]) -> Self {
        Self { failed: AtomicU32::new(0), waits: Waits::Listed(waits) }
    }

    /// The connection stands.
    pub(super) fn stands(&self) {
        self.failed.store(0, Ordering::Relaxed);
    }

    /// It was lost, or could not be made: with the wait, unless the service asked for another one.
    pub(super) fn after(&self, down: Down) -> Down {
        let wait = self.wait(self.failed.fetch_add(1, Ordering::Relaxed));
        let wait = down.retry_after.unwrap_or(wait);
        if down.class == Class::Retrying { down.after(Some(wait)) } else { down }
    }

    /// The wait after so many tries that failed before.
    fn wait(&self, failed: u32) -> Duration {
        match self.waits {
            Waits::Doubled { first, longest } => first.saturating_mul(1 << failed.min(8)).min(longest),
            Waits::Listed(waits) => {
                let at = usize::try_from(failed).unwrap_or(usize::MAX).min(waits.len().saturating_sub(1));
                Duration::from_secs(waits.get(at).copied().unwrap_or_default())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_the_longest_and_begin_again_once_it_stands() {
        let backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(60));
        let waits: Vec<u64> = (0..8).chain([u32::MAX]).map(|failed| backoff.wait(failed).as_secs()).collect();
        assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60, 60, 60]);
        let lost = || backoff.after(Down::retrying("x", "y")).retry_after;
        assert_eq!([lost(), lost()], [Some(Duration::from_secs(2)), Some(Duration::from_secs(4))]);
        let asked = Some(Duration::from_secs(7));
        assert_eq!(backoff.after(Down::retrying("x", "y").after(asked)).retry_after, asked);
        assert_eq!(backoff.after(Down::fatal("x", "y")).retry_after, None);
        backoff.stands();
        assert_eq!(lost(), Some(Duration::from_secs(2)));
        let listed = Backoff::steps(&[2, 5, 10]);
        let waits: Vec<u64> = (0..4).chain([u32::MAX]).map(|failed| listed.wait(failed).as_secs()).collect();
        assert_eq!(waits, [2, 5, 10, 10, 10]);
    }
}
