//! A sliding minute of accepted requests of one route.
//!
//! Exact to the millisecond, and bounded: requests of one millisecond share an entry, so there are at most 60 000.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const WINDOW_MS: u64 = 60_000;

/// The log of one route.
#[derive(Debug)]
pub(super) struct Window {
    started: Instant,
    /// (millisecond since `started`, requests in it), oldest first.
    entries: VecDeque<(u64, u32)>,
    count: u32,
}

impl Window {
    pub(super) fn new(now: Instant) -> Self {
        Self { started: now, entries: VecDeque::new(), count: 0 }
    }

    /// Counts one request, or says how long to wait until one would be counted.
    pub(super) fn take(&mut self, limit: u32, now: Instant) -> Result<(), Duration> {
        let now = self.millis(now);
        while let Some(&(at, count)) = self.entries.front() {
            if now < at + WINDOW_MS {
                break;
            }
            self.entries.pop_front();
            self.count -= count;
        }
        if self.count >= limit {
            let oldest = self.entries.front().map_or(now, |(at, _)| *at);
            return Err(Duration::from_millis(oldest + WINDOW_MS - now));
        }
        self.count += 1;
        match self.entries.back_mut() {
            Some((at, count)) if *at == now => *count += 1,
            _ => self.entries.push_back((now, 1)),
        }
        Ok(())
    }

    /// Takes back the latest count: the request turned out to be one that was counted before.
    pub(super) fn give_back(&mut self) {
        if let Some((_, count)) = self.entries.back_mut() {
            self.count -= 1;
            *count -= 1;
            if *count == 0 {
                self.entries.pop_back();
            }
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_slides_and_counts_can_be_given_back() {
        let start = hermes_host::clock::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut window = Window::new(start);
        assert_eq!(window.take(2, at(0)), Ok(()));
        assert_eq!(window.take(2, at(10_000)), Ok(()));
        assert_eq!(window.take(2, at(20_000)), Err(Duration::from_millis(40_000)));
        window.give_back();
        assert_eq!(window.take(2, at(20_000)), Ok(()));
        assert_eq!(window.take(2, at(59_999)), Err(Duration::from_millis(1)));
        assert_eq!(window.take(2, at(60_000)), Ok(()));
        assert_eq!(window.take(2, at(60_000)), Err(Duration::from_millis(20_000)));
        assert_eq!(Window::new(start).take(0, start), Err(Duration::from_mins(1)));
    }

    #[test]
    fn many_requests_of_one_millisecond_are_one_entry() {
        let start = hermes_host::clock::now();
        let mut window = Window::new(start);
        for _ in 0..100_000 {
            assert_eq!(window.take(1_000_000, start), Ok(()));
        }
        assert_eq!((window.entries.len(), window.count), (1, 100_000));
    }
}
