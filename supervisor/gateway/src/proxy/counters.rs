//! What is counted for one route: one cache line set a proxy thread, which alone writes it; summed when somebody asks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the latency buckets, in milliseconds; one more bucket has no bound.
pub const LATENCY_BOUNDS_MS: [u64; 8] = [1, 5, 25, 100, 500, 2_500, 10_000, 60_000];
const BUCKETS: usize = LATENCY_BOUNDS_MS.len() + 1;
/// Most proxy threads there are; a route has one shard for each.
pub(super) const MAX_THREADS: usize = 4;

#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    classes: [AtomicU64; 5],
    buckets: [AtomicU64; BUCKETS],
    micros: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
}

/// The counters of one route.
#[derive(Debug, Default)]
pub(super) struct Counters([Shard; MAX_THREADS]);

/// One finished request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finished {
    /// Status sent to the client; 499 where the client left before one was.
    pub(super) status: u16,
    /// From the complete request head to the last byte of the answer.
    pub(super) took: Duration,
    /// Bytes of request bodies, framing included.
    pub(super) received: u64,
    /// Bytes of response bodies, framing included.
    pub(super) sent: u64,
}

/// Sums over all threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Finished requests by first digit of the status: 1xx to 5xx. A client that left counts as 4xx.
    pub classes: [u64; 5],
    /// Finished requests by [`LATENCY_BOUNDS_MS`], not cumulative.
    pub buckets: [u64; BUCKETS],
    /// Sum of all times, in microseconds.
    pub micros: u64,
    /// Bytes of request bodies.
    pub received: u64,
    /// Bytes of response bodies.
    pub sent: u64,
}

impl Totals {
    /// Finished requests.
    pub fn requests(&self) -> u64 {
        self.classes.iter().sum()
    }
}

/// Adds to what nobody else writes: an addition that others could make at the same time costs more than all the rest here.
fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

impl Counters {
    /// To be called by proxy thread number `thread` alone.
    pub(super) fn finished(&self, thread: usize, what: Finished) {
        let shard = &self.0[thread % MAX_THREADS];
        let class = usize::from(what.status / 100).clamp(1, 5) - 1;
        add(&shard.classes[class], 1);
        let micros = u64::try_from(what.took.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS_MS.iter().position(|bound| micros <= bound * 1000).unwrap_or(BUCKETS - 1);
        add(&shard.buckets[bucket], 1);
        add(&shard.micros, micros);
        add(&shard.received, what.received);
        add(&shard.sent, what.sent);
    }

    pub(super) fn requests(&self) -> u64 {
        self.0.iter().flat_map(|s| &s.classes).map(|c| c.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn totals(&self) -> Totals {
        let mut sum = Totals::default();
        for shard in &self.0 {
            for (into, from) in sum.classes.iter_mut().zip(&shard.classes) {
                *into += from.load(Ordering::Relaxed);
            }
            for (into, from) in sum.buckets.iter_mut().zip(&shard.buckets) {
                *into += from.load(Ordering::Relaxed);
            }
            sum.micros += shard.micros.load(Ordering::Relaxed);
            sum.received += shard.received.load(Ordering::Relaxed);
            sum.sent += shard.sent.load(Ordering::Relaxed);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_fall_into_class_and_bucket() {
        let counters = Counters::default();
        let one = |status, ms| Finished { status, took: Duration::from_millis(ms), received: 1, sent: 2 };
        counters.finished(0, one(200, 1));
        counters.finished(1, one(503, 70_000));
        counters.finished(7, one(499, 30));
        let totals = counters.totals();
        assert_eq!(totals.classes, [0, 1, 0, 1, 1]);
        assert_eq!(totals.buckets, [1, 0, 0, 1, 0, 0, 0, 0, 1]);
        assert_eq!((totals.requests(), counters.requests()), (3, 3));
        assert_eq!((totals.received, totals.sent), (3, 6));
    }
}
