//! How fast a request's body comes: a time for all of it, and a least rate. Both count from the first byte, whatever trickles.

use std::time::Duration;

use tokio::time::Instant;

/// Who came slowest is judged by this rate where none is asked for, in bytes a second.
const JUDGED: u64 = 500;

/// What a body is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PaceLimits {
    /// For all of it; zero: any.
    pub(crate) total: Duration,
    /// Before the rate is looked at.
    pub(crate) grace: Duration,
    /// Bytes a second; 0: any.
    pub(crate) rate: u64,
}

/// The body of one request so far. Time in which the worker takes nothing is not the client's.
#[derive(Debug)]
pub(super) struct Pace {
    began: Instant,
    bytes: u64,
    held: Option<Instant>,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, bytes: 0, held: None }
    }

    /// More of it came.
    pub(super) fn came(&mut self, bytes: usize, now: Instant) {
        self.wanted(now);
        self.bytes += bytes as u64;
    }

    /// The worker takes no more for now.
    pub(super) fn hold(&mut self, now: Instant) {
        self.held.get_or_insert(now);
    }

    /// It is the client's turn.
    pub(super) fn wanted(&mut self, now: Instant) {
        if let Some(held) = self.held.take() {
            self.began += now.saturating_duration_since(held);
        }
    }

    /// When waiting for the rest ends.
    pub(super) fn deadline(&self, limits: PaceLimits) -> Option<Instant> {
        let total = (limits.total > Duration::ZERO).then(|| self.began + limits.total);
        let rate = (limits.rate > 0).then(|| self.began + limits.grace + time_for(self.bytes, limits.rate));
        total.into_iter().chain(rate).min()
    }

    /// The smaller, the slower; comparable among the bodies of one proxy.
    pub(super) fn merit(&self, limits: PaceLimits) -> Instant {
        self.began + time_for(self.bytes, if limits.rate > 0 { limits.rate } else { JUDGED })
    }
}

/// The time that so many bytes may take.
fn time_for(bytes: u64, rate: u64) -> Duration {
    // A day is beyond every total that matters, and adds up.
    Duration::from_millis((bytes.saturating_mul(1000) / rate).min(86_400_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PaceLimits =
        PaceLimits { total: Duration::from_secs(300), grace: Duration::from_secs(10), rate: 500 };

    /// 20: a byte now and then moves nothing.
    #[test]
    fn the_deadline_counts_from_the_first_byte() {
        let start = Instant::now();
        let secs = |n| start + Duration::from_secs(n);
        let mut pace = Pace::new(start);
        assert_eq!(pace.deadline(LIMITS), Some(secs(10)));
        for second in 1..9 {
            pace.came(1, secs(second));
        }
        assert_eq!(pace.deadline(LIMITS), Some(secs(10) + Duration::from_millis(16)));
        pace.came(5_000, secs(9));
        assert!(pace.deadline(LIMITS).is_some_and(|at| at > secs(20) && at < secs(21)));
        pace.came(50_000_000, secs(20));
        assert_eq!(pace.deadline(LIMITS), Some(secs(300)), "all of it has a time, too");
        let any = PaceLimits { total: Duration::ZERO, rate: 0, ..LIMITS };
        assert_eq!(pace.deadline(any), None);
    }

    #[test]
    fn time_that_the_worker_takes_is_not_the_client_s() {
        let start = Instant::now();
        let secs = |n| start + Duration::from_secs(n);
        let mut pace = Pace::new(start);
        pace.hold(secs(2));
        pace.hold(secs(5));
        pace.came(0, secs(102));
        assert_eq!(pace.deadline(LIMITS), Some(secs(110)));
    }

    /// 20: who came slowest makes room first, not who came first.
    #[test]
    fn a_fast_body_has_more_merit_than_a_later_trickle() {
        let start = Instant::now();
        let (mut honest, mut trickle) = (Pace::new(start), Pace::new(start + Duration::from_secs(5)));
        honest.came(1_000_000, start + Duration::from_secs(6));
        trickle.came(3, start + Duration::from_secs(6));
        assert!(trickle.merit(LIMITS) < honest.merit(LIMITS));
    }
}
