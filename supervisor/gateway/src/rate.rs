//! How often something may happen: so many at once, so many a second in the long run. Pure.

use std::time::Duration;

/// What may still happen.
#[derive(Debug)]
pub(crate) struct Rate {
    burst: u64,
    a_second: u64,
    /// In thousandths.
    left: u64,
    since: Duration,
}

impl Rate {
    /// `burst` at once, and `a_second` from `now` on.
    pub(crate) fn new(burst: u64, a_second: u64, now: Duration) -> Self {
        Self { burst, a_second, left: burst * 1000, since: now }
    }

    /// Whether it may happen once more at `now`; if so, it is counted.
    pub(crate) fn take(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.since);
        self.since = now;
        // One a second is one thousandth a millisecond; counted in microseconds, nothing is lost between two calls.
        let micros = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
        let earned = micros.saturating_mul(self.a_second) / 1000;
        self.left = self.left.saturating_add(earned).min(self.burst * 1000);
        let left = self.left.checked_sub(1000);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_may_come_at_once_and_then_so_many_a_second() {
        let mut rate = Rate::new(3, 10, Duration::ZERO);
        let mut taken = |millis| rate.take(Duration::from_millis(millis));
        assert_eq!([taken(0), taken(0), taken(0), taken(0)], [true, true, true, false]);
        assert_eq!([taken(50), taken(99), taken(101), taken(101)], [false, false, true, false]);
        assert_eq!([taken(9000), taken(9000), taken(9000), taken(9000)], [true, true, true, false]);
    }
}
