//! When a worker that runs on demand says that it has nothing to do: once nothing ran, came in or waited for as long as its profile's
//! settings say, and again every while for as long as that is so.
//!
//! It is looked at a few times within that time, so that a profile sleeps a little later than it may, and never sooner.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock;

/// Looks within the time that has to pass.
const LOOKS: u32 = 4;
/// Shortest and longest time between two looks.
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(15);

/// What a worker does, as of one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Activity {
    /// Requests that came so far.
    pub(super) requests: u64,
    /// Something runs.
    pub(super) busy: bool,
}

/// Since when there is nothing.
#[derive(Debug)]
pub(super) struct Idle {
    /// How long it has to be so; none: this worker never sleeps.
    after: Option<Duration>,
    requests: u64,
    since: Instant,
    due: Instant,
}

impl Idle {
    pub(super) fn new(after: Option<Duration>) -> Self {
        let now = Instant::now();
        let mut idle = Self { after, requests: 0, since: now, due: now };
        idle.wait();
        idle
    }

    /// Waits until it is time to look. Safe to cancel.
    pub(super) async fn next(&self) {
        clock::until(self.after.map(|_| self.due)).await;
    }

    /// Takes note of what there is. Whether it was quiet for long enough, so that only what waits on the disk is to be looked at.
    pub(super) fn look(&mut self, now: Activity) -> bool {
        if now.busy || now.requests != self.requests {
            (self.requests, self.since) = (now.requests, Instant::now());
        }
        self.wait();
        self.after.is_some_and(|after| self.since.elapsed() >= after)
    }

    /// There is something after all.
    pub(super) fn disturbed(&mut self) {
        self.since = Instant::now();
    }

    fn wait(&mut self) {
        let part = self.after.unwrap_or_default() / LOOKS;
        self.due = Instant::now() + part.clamp(SHORTEST, LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_said_after_the_time_and_never_before() {
        let after = Duration::from_secs(10);
        let mut idle = Idle::new(Some(after));
        let began = Instant::now();
        let quiet = Activity { requests: 3, busy: false };
        idle.look(quiet);
        let mut said = 0;
        while began.elapsed() < Duration::from_secs(30) {
            idle.next().await;
            // A request in between, and one that runs for a while.
            let at = began.elapsed().as_secs();
            let now = Activity { requests: if at >= 5 { 4 } else { 3 }, busy: (7..=8).contains(&at) };
            if idle.look(now) {
                said += 1;
                assert!(at >= 17, "{at}");
            }
        }
        assert!(said >= 3, "{said}");
        idle.disturbed();
        idle.next().await;
        assert!(!idle.look(Activity { requests: 4, busy: false }));
        let never = Idle::new(None);
        assert!(tokio::time::timeout(Duration::from_hours(9), never.next()).await.is_err());
    }
}
