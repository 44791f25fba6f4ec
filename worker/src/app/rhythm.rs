//! When a worker says that it lives.
//!
//! While there is news, at every interval of the supervisor's asking. Where a beat says what the last one said, and nothing runs
//! and nothing waits, the next comes much later and says so; whatever is wanted of any task of this worker ends that at once. Only a
//! beat that has left this process may announce a silence: one that finds no room is never relied upon.

use std::time::Duration;

use hermes_wire::latest::{Heartbeat, quiet_ms};
use tokio::time::{Instant, sleep_until};

use crate::pulse;

/// Shortest time between two beats, whatever is asked for.
const SHORTEST: Duration = Duration::from_millis(50);
/// After something has begun in a quiet worker, until the beat that tells of it.
const SOON: Duration = Duration::from_millis(100);

pub(super) struct Rhythm {
    period: Duration,
    quiet: Duration,
    due: Instant,
    /// What the last one said.
    last: Option<Heartbeat>,
    resting: bool,
}

impl Rhythm {
    /// The first beat is due now.
    pub(super) fn new(heartbeat_ms: u64) -> Self {
        let period = Duration::from_millis(heartbeat_ms).max(SHORTEST);
        let quiet = Duration::from_millis(quiet_ms(heartbeat_ms)).max(period);
        Self { period, quiet, due: Instant::now(), last: None, resting: false }
    }

    /// Waits until a beat is due. Safe to cancel.
    pub(super) async fn next(&mut self) {
        if self.resting {
            tokio::select! {
                () = sleep_until(self.due) => return,
                () = pulse::stirred() => {
                    self.resting = false;
                    self.due = Instant::now() + SOON.min(self.period);
                }
            }
        }
        sleep_until(self.due).await;
    }

    /// The beat that is due, with the time until the next.
    pub(super) fn beat(&mut self, mut beat: Heartbeat) -> Heartbeat {
        let busy = beat.active_turns > 0 || beat.tasks.iter().any(|task| task.stalled_ms > 0);
        self.resting = !busy && self.last.as_ref() == Some(&beat);
        self.last = Some(beat.clone());
        let wait = if self.resting { self.quiet } else { self.period };
        self.due = Instant::now() + wait;
        beat.next_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        beat
    }

    /// The beat is still on its way, or was left out: nobody knows of a silence.
    pub(super) fn held_up(&mut self) {
        if self.resting {
            (self.resting, self.last) = (false, None);
            self.due = Instant::now() + self.period;
        }
    }
}

#[cfg(test)]
mod tests {
    use hermes_wire::latest::TaskProgress;

    use super::*;

    fn idle(progress: u64) -> Heartbeat {
        let task = TaskProgress { task: "store".into(), progress, stalled_ms: 0, deadline_ms: 20_000 };
        Heartbeat { tasks: vec![task], ..Heartbeat::default() }
    }

    /// 16: beats without news are rare; a turn, a stalled task, a changed counter or a beat that did not leave are news.
    #[tokio::test(start_paused = true)]
    async fn n16_who_has_no_news_is_quiet_and_says_for_how_long() {
        let mut rhythm = Rhythm::new(1000);
        let started = Instant::now();
        rhythm.next().await;
        assert_eq!(started.elapsed(), Duration::ZERO);
        assert_eq!(rhythm.beat(idle(1)).next_ms, 1000, "the first one is news");
        rhythm.next().await;
        assert_eq!(started.elapsed(), Duration::from_secs(1));
        assert_eq!(rhythm.beat(idle(1)).next_ms, 15_000);
        rhythm.held_up();
        rhythm.next().await;
        assert_eq!(started.elapsed(), Duration::from_secs(2), "nobody knew of the silence");
        assert_eq!(rhythm.beat(idle(1)).next_ms, 1000);
        assert_eq!(rhythm.beat(idle(2)).next_ms, 1000);
        let mut turn = idle(2);
        turn.active_turns = 1;
        assert_eq!(rhythm.beat(turn.clone()).next_ms, 1000);
        assert_eq!(rhythm.beat(turn).next_ms, 1000, "what runs may get stuck");
        let mut stalled = idle(2);
        stalled.tasks[0].stalled_ms = 1;
        assert_eq!(rhythm.beat(stalled.clone()).next_ms, 1000);
        assert_eq!(rhythm.beat(stalled).next_ms, 1000);
    }

    /// 16: what begins in a quiet worker is told soon.
    #[tokio::test]
    async fn n16_whatever_is_wanted_ends_the_quiet() {
        let mut rhythm = Rhythm::new(60_000);
        rhythm.next().await;
        rhythm.beat(idle(1));
        assert_eq!(
            rhythm.beat(idle(1)).next_ms,
            60_000,
            "never longer than was asked for where that is long"
        );
        let mut rhythm = Rhythm::new(10_000);
        rhythm.beat(idle(1));
        assert_eq!(rhythm.beat(idle(1)).next_ms, 15_000);
        let pulse = pulse::Pulse::new("store", Duration::from_secs(1));
        pulse.want();
        let soon = tokio::time::timeout(Duration::from_secs(8), rhythm.next());
        soon.await.unwrap();
        assert!(!rhythm.resting);
    }
}
