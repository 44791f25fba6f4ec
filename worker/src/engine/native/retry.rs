//! When a failed call to a provider is made again, and after how long. Pure; the caller waits.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use jiff::Timestamp;

use crate::provider::fault::{Again, Fault};

/// How often and how patiently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Calls in total, at least 1 (`agent.api_max_retries`).
    pub attempts: u32,
    /// First wait; doubles with every attempt.
    pub base: Duration,
    /// Longest such wait, before jitter.
    pub cap: Duration,
    /// First wait after an answer that was empty or made no sense.
    pub invalid_base: Duration,
    /// Longest such wait, before jitter.
    pub invalid_cap: Duration,
    /// Longest wait a provider may ask for with `Retry-After`; a longer wish is shortened to it.
    pub retry_after_cap: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 3,
            base: Duration::from_secs(2),
            cap: Duration::from_mins(1),
            invalid_base: Duration::from_secs(5),
            invalid_cap: Duration::from_mins(2),
            retry_after_cap: Duration::from_mins(5),
        }
    }
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// What it means.
    pub(super) fault: Fault,
    /// HTTP status, where there was one.
    pub(super) status: Option<u16>,
    /// For people; shortened, without the key.
    pub(super) message: String,
    /// What the provider asked for.
    pub(super) retry_after: Option<Duration>,
}

impl Failure {
    /// A failure without a status.
    pub(super) fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self { fault, status: None, message: message.into(), retry_after: None }
    }
}

impl RetryPolicy {
    /// How long to wait after the `failed`th call (from 1). `jitter` is between 0 and 1 and adds up to half.
    pub(super) fn delay(&self, failed: u32, failure: &Failure, jitter: f64) -> Duration {
        if let Some(asked) = failure.retry_after {
            return asked.min(self.retry_after_cap);
        }
        let (base, cap) = match failure.fault.again() {
            Again::Later => (self.invalid_base, self.invalid_cap),
            Again::Soon | Again::Never => (self.base, self.cap),
        };
        let doubled = base.saturating_mul(2_u32.saturating_pow(failed.saturating_sub(1)));
        doubled.min(cap).mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

/// A number between 0 and 1, different on every call. Not for anything that must be unguessable.
pub(crate) fn jitter() -> f64 {
    let random = u32::try_from(RandomState::new().hash_one(0_u8) >> 32).unwrap_or(0);
    f64::from(random) / f64::from(u32::MAX)
}

/// Reads `Retry-After`: seconds or a date. A date in the past is no wait.
pub(super) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let at = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_with_up_to_half_on_top() {
        let policy = RetryPolicy::default();
        let busy = Failure::new(Fault::Overloaded, "");
        let empty = Failure::new(Fault::Empty, "");
        let millis = |n, f: &Failure, jitter| policy.delay(n, f, jitter).as_millis();
        assert_eq!([1, 2, 3, 6, 40].map(|n| millis(n, &busy, 0.0)), [2_000, 4_000, 8_000, 60_000, 60_000]);
        assert_eq!(
            [1, 2, 3, 6, 40].map(|n| millis(n, &empty, 0.0)),
            [5_000, 10_000, 20_000, 120_000, 120_000]
        );
        assert_eq!(millis(2, &busy, 1.0), 6_000);
        assert!((0..100).map(|_| jitter()).all(|j| (0.0..=1.0).contains(&j)));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_is_capped() {
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let secs = Duration::from_secs;
        assert_eq!(retry_after(" 7 ", now), Some(secs(7)));
        assert_eq!(retry_after("0.5", now), Some(Duration::from_millis(500)));
        assert_eq!(retry_after("Sat, 21 Nov 2026 10:00:30 GMT", now), Some(secs(30)));
        assert_eq!(retry_after("Sat, 21 Nov 2026 09:00:00 GMT", now), Some(secs(0)));
        for bad in ["", "soon", "-1", "NaN", "1e400"] {
            assert_eq!(retry_after(bad, now), None, "{bad}");
        }
        let asked = Failure { retry_after: Some(secs(86_400)), ..Failure::new(Fault::Overloaded, "") };
        assert_eq!(RetryPolicy::default().delay(1, &asked, 1.0), secs(300));
    }
}
