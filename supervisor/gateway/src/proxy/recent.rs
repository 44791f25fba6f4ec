//! How busy a route was lately, from its totals as they were looked at before: nothing is counted on the way of a request.
//!
//! Whoever looks at a status looks at this; the gateway's own file is written from one every second, so there is always something to compare
//! with.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::counters::{LATENCY_BOUNDS_MS, Totals};

/// Time between two looks that are kept.
const EVERY: Duration = Duration::from_secs(5);
/// How far back latency is taken from.
const WINDOW: Duration = Duration::from_secs(60);

type Buckets = [u64; LATENCY_BOUNDS_MS.len() + 1];

/// What there was to see at some moments of the last minute.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<VecDeque<(Instant, Buckets)>>);

/// How busy it is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Lately {
    /// Requests finished a second, over the last seconds; `None` where nobody has looked before.
    pub per_sec: Option<f64>,
    /// Milliseconds in which 99 of 100 requests of the last minute were finished, as close as buckets tell; `None` without any.
    pub p99_ms: Option<f64>,
}

impl Recent {
    pub(super) fn look(&self, totals: &Totals, now: Instant) -> Lately {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let age = |at: Instant| now.saturating_duration_since(at);
        // One that is older than the window stays as its beginning.
        while kept.get(1).is_some_and(|(at, _)| age(*at) >= WINDOW) {
            kept.pop_front();
        }
        let sum = |buckets: &Buckets| buckets.iter().sum::<u64>();
        let then = kept.iter().rev().find(|(at, _)| age(*at) >= EVERY).or_else(|| kept.front());
        let per_sec = then.filter(|(at, _)| *at < now).map(|(at, before)| {
            #[expect(clippy::cast_precision_loss, reason = "no such number of requests in a minute")]
            let finished = sum(&totals.buckets).saturating_sub(sum(before)) as f64;
            finished / age(*at).as_secs_f64()
        });
        let p99_ms = kept.front().and_then(|(_, before)| p99(before, &totals.buckets));
        if kept.back().is_none_or(|(at, _)| age(*at) >= EVERY) {
            if kept.iter().all(|(_, before)| *before == totals.buckets) {
                // Nothing happens: one is enough.
                kept.clear();
            }
            kept.push_back((now, totals.buckets));
        }
        Lately { per_sec, p99_ms }
    }
}

/// Where 99 of 100 of what was added lie, evenly spread within its bucket.
fn p99(before: &Buckets, now: &Buckets) -> Option<f64> {
    let mut added = *now;
    added.iter_mut().zip(before).for_each(|(now, before)| *now = now.saturating_sub(*before));
    let all: u64 = added.iter().sum();
    let wanted = all - all / 100;
    let mut passed = 0;
    for (n, count) in added.iter().enumerate().filter(|(_, count)| **count > 0) {
        if passed + count >= wanted {
            let low = n.checked_sub(1).map_or(0, |below| LATENCY_BOUNDS_MS[below]);
            let high = LATENCY_BOUNDS_MS.get(n).copied().unwrap_or(low);
            #[expect(clippy::cast_precision_loss, reason = "milliseconds, and requests of a minute")]
            let (part, low, span) =
                ((wanted - passed) as f64 / *count as f64, low as f64, (high - low) as f64);
            return Some(low + span * part);
        }
        passed += count;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_latency_are_those_of_the_last_minute() {
        let recent = Recent::default();
        let start = hermes_host::clock::now();
        let at = |secs| start + Duration::from_secs(secs);
        let totals = |fast, slow| {
            let mut totals = Totals::default();
            (totals.buckets[0], totals.buckets[4]) = (fast, slow);
            totals
        };
        assert_eq!(recent.look(&totals(0, 0), at(0)), Lately::default());
        let busy = recent.look(&totals(990, 10), at(10));
        assert_eq!(busy.per_sec, Some(100.0));
        assert!(busy.p99_ms.is_some_and(|ms| ms <= 1.0), "{busy:?}");
        let slower = recent.look(&totals(990, 110), at(20));
        assert_eq!(slower.per_sec, Some(10.0));
        assert!(slower.p99_ms.is_some_and(|ms| ms > 400.0 && ms <= 500.0), "{slower:?}");
        for secs in (25..200).step_by(5) {
            recent.look(&totals(990, 110), at(secs));
        }
        let quiet = recent.look(&totals(990, 110), at(205));
        assert_eq!((quiet.per_sec, quiet.p99_ms), (Some(0.0), None));
        assert!(recent.0.lock().unwrap().len() <= 14);
    }
}
