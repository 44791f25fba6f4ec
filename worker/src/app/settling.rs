//! When a worker gives back what it does not use all the time: everything soon after the start, once more when what comes behind a start is
//! over, and then once in a while; in between, the program's own pages, whenever something has brought many of them in.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Time after which a start is over: the second beat has counted what the first look for other processes wrote. Not on the second,
/// when beats and looks come: they would need at once what was given back.
const START: Duration = Duration::from_millis(2500);
/// Time from that until what is only done once behind a start is over.
const AFTER: Duration = Duration::from_secs(8);
/// Time between two from then on.
const EVER: Duration = Duration::from_mins(5);
/// Growth at which the program's pages are given back, in bytes: a poll of a bot brings in four times as much, once in half a minute.
const GROWTH: u64 = 1 << 20;

/// When, and what.
#[derive(Debug)]
pub(super) struct Settling {
    due: Instant,
    rounds: u32,
    /// The least that was resident since everything was given back last, in bytes.
    floor: u64,
}

impl Settling {
    /// From the moment at which the start was done.
    pub(super) fn new() -> Self {
        Self { due: Instant::now() + START, rounds: 0, floor: u64::MAX }
    }

    /// Whether the start is over.
    pub(super) fn is_over(&self) -> bool {
        self.rounds > 0
    }

    /// Waits until everything is to be given back. Safe to cancel.
    pub(super) async fn next(&self) {
        sleep_until(self.due).await;
    }

    /// It is given back now.
    pub(super) fn done(&mut self) {
        self.due = Instant::now() + if self.rounds == 0 { AFTER } else { EVER };
        self.rounds = self.rounds.saturating_add(1);
        self.floor = u64::MAX;
    }

    /// Takes note of how much is resident, in bytes, in a worker with nothing to do. Whether the program's pages are to be given back.
    pub(super) fn has_grown(&mut self, resident: u64) -> bool {
        if self.rounds < 2 {
            return false;
        }
        self.floor = self.floor.min(resident);
        resident > self.floor + GROWTH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn everything_after_the_start_and_then_once_in_a_while() {
        let began = Instant::now();
        let mut settling = Settling::new();
        let mut given = Vec::new();
        assert!(!settling.is_over());
        for _ in 0..4 {
            settling.next().await;
            settling.done();
            given.push(began.elapsed().as_millis());
            assert!(settling.is_over());
        }
        assert_eq!(given, [2500, 10_500, 310_500, 610_500]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_brought_in_once_goes_again() {
        let mut settling = Settling::new();
        assert!(!settling.has_grown(9 << 20));
        settling.done();
        settling.done();
        let looks = [5, 4, 4, 8, 4, 5, 6].map(|megabytes| settling.has_grown(megabytes << 20));
        assert_eq!(looks, [false, false, false, true, false, false, true]);
        settling.done();
        assert!(!settling.has_grown(9 << 20), "everything is counted anew");
    }
}
