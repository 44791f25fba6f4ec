//! The numbers of supervision, and how long to wait before a worker that died is started again. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use hermes_wire::latest::TaskProgress;

/// A point in time: how long the supervisor has been running. Keeps the decisions free of clocks.
pub(crate) type At = Duration;

/// After SIGTERM, until SIGKILL.
pub(crate) const TERM_GRACE: Duration = Duration::from_secs(2);
/// After `StopAccepting`, until the worker is taken to have stopped accepting.
pub(crate) const ACCEPT_GRACE: Duration = Duration::from_secs(2);
/// What a worker may take beyond its drain deadline to write its last status and exit.
pub(crate) const DRAIN_SLACK: Duration = Duration::from_secs(3);
/// What a worker has to confirm what its exclusive platforms gave it and to close their connections; then it cuts them.
pub(crate) const YIELD: Duration = Duration::from_secs(5);
/// What a worker may take beyond that to say so.
pub(crate) const YIELD_SLACK: Duration = Duration::from_secs(2);
/// After the control connection ended, until the process behind it is killed.
pub(crate) const LOST_GRACE: Duration = Duration::from_secs(1);
/// After the report, until the gateway has decided about it. It may have to wait for a thousand others.
pub(crate) const DECISION: Duration = Duration::from_mins(5);
/// A worker that serves this long has forgotten its earlier deaths.
pub(crate) const STABLE: Duration = Duration::from_secs(60);
/// A process that asks to be restarted sooner than this after its start is counted as a death, or it could spin.
pub(crate) const RESTART_FLOOR: Duration = Duration::from_secs(1);

/// Second delay of a worker that dies before it serves: what broke its start is likely still there.
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// Second delay of a worker that dies while it serves: the start works, so the gap is what matters.
const FIRST_DELAY_SERVED: Duration = Duration::from_millis(20);
/// Second delay of a worker that the machine does not let run, and the longest: the cause passes by itself, and soon or late
/// nobody knows.
const HINDERED_FIRST: Duration = Duration::from_millis(500);
const HINDERED_LONGEST: Duration = Duration::from_secs(5);
const LONGEST_DELAY: Duration = Duration::from_mins(5);
const LOOP_WINDOW: Duration = Duration::from_mins(2);
const LOOP_DEATHS: usize = 5;

/// A timer this late means that we were held up ourselves (stopped, starved, frozen), so nobody else's silence counts.
const OVERSLEPT: Duration = Duration::from_secs(1);
/// In how many parts a deadline is waited for.
const PARTS: u32 = 5;

/// A wait for somebody else, in time in which this supervisor itself ran.
///
/// It is waited in parts, and what waits to be read is read after each. However long the supervisor is held up, that costs one
/// part at most: a timer that fires late is noticed and its part waited again, and one that lay within the pause and fired in
/// time was only one of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    part: Duration,
    left: u32,
    due: At,
}

impl Patience {
    pub(crate) fn new(total: Duration, now: At) -> Self {
        let part = total / PARTS;
        Self { part, left: PARTS, due: now + part }
    }

    /// The end of the part.
    pub(crate) fn due(self) -> At {
        self.due
    }

    /// What is left after the part that ends now; `None` when it was the last.
    pub(crate) fn spent(self, now: At) -> Option<Self> {
        let counts = now.saturating_sub(self.due) < OVERSLEPT;
        let left = self.left - u32::from(counts);
        (left > 0).then_some(Self { left, due: now + self.part, ..self })
    }

    /// The same, but `total` at most from now on.
    pub(crate) fn at_most(self, total: Duration, now: At) -> Self {
        let rest = self.due.saturating_sub(now) + self.part * (self.left - 1);
        if rest > total { Self::new(total, now) } else { self }
    }
}

/// The settings that bound one worker's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// From spawn to report, and again from admission to ready.
    pub(crate) start: Duration,
    /// Silence on the control socket that means stuck.
    pub(crate) stuck: Duration,
    /// What running turns have on stop and swap.
    pub(crate) drain: Duration,
    /// How long a request waits for a worker.
    pub(crate) hold: Duration,
}

impl Default for Limits {
    /// Used until the primary has reported what is configured.
    fn default() -> Self {
        Self {
            start: Duration::from_secs(30),
            stuck: Duration::from_secs(10),
            drain: Duration::from_secs(20),
            hold: Duration::from_secs(5),
        }
    }
}

/// The reason to replace a worker one of whose vital tasks has had work for too long without doing any of it. Its own deadline
/// counts, or the configured one where that is longer.
pub(crate) fn stuck_task(tasks: &[TaskProgress], limits: &Limits) -> Option<String> {
    let stalled = |task: &&TaskProgress| Duration::from_millis(task.stalled_ms);
    let limit = |task: &&TaskProgress| Duration::from_millis(task.deadline_ms).max(limits.stuck);
    let stuck = tasks.iter().find(|task| stalled(task) >= limit(task))?;
    let secs = Duration::from_millis(stuck.stalled_ms).as_secs();
    Some(format!("stuck: the task `{}` has had work for {secs} s and does none of it", stuck.task))
}

/// What follows a death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retry {
    /// Wait this long.
    pub(crate) delay: Duration,
    /// It died too often to be called anything but a crash loop.
    pub(crate) crash_loop: bool,
}

/// The memory of a worker's unplanned deaths.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Deaths {
    recent: VecDeque<At>,
    in_a_row: u32,
    looping: bool,
}

impl Deaths {
    /// Notes a death and says what follows. `served` is how long the process had been ready; `seed` varies the jitter.
    pub(crate) fn record(&mut self, now: At, served: Option<Duration>, seed: u64) -> Retry {
        if served.is_some_and(|time| time >= STABLE) {
            self.forgive();
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.recent.push_back(now);
        while self.recent.len() > LOOP_DEATHS {
            self.recent.pop_front();
        }
        let oldest = self.recent.front().copied().unwrap_or(now);
        self.looping |= self.recent.len() == LOOP_DEATHS && now.saturating_sub(oldest) <= LOOP_WINDOW;
        Retry { delay: self.delay(served.is_some(), seed), crash_loop: self.looping }
    }

    /// Forgets everything: somebody intervened, or it was stable.
    pub(crate) fn forgive(&mut self) {
        *self = Self::default();
    }

    fn delay(&self, served: bool, seed: u64) -> Duration {
        if self.looping {
            return jitter(LONGEST_DELAY, seed).min(LONGEST_DELAY);
        }
        match self.in_a_row {
            0 | 1 => Duration::ZERO,
            n => {
                let first = if served { FIRST_DELAY_SERVED } else { FIRST_DELAY };
                let doubled = first.saturating_mul(1u32.checked_shl(n - 2).unwrap_or(u32::MAX));
                jitter(doubled.min(LONGEST_DELAY), seed).min(LONGEST_DELAY)
            }
        }
    }
}

/// How long to wait before the next try after the machine did not let a worker run so many times in a row.
pub(crate) fn hindered(in_a_row: u32, seed: u64) -> Duration {
    let doubled = HINDERED_FIRST.saturating_mul(1 << in_a_row.saturating_sub(1).min(8));
    jitter(doubled.min(HINDERED_LONGEST), seed).min(HINDERED_LONGEST)
}

/// Up to a fifth more or less, so that many workers that died together do not start together.
fn jitter(delay: Duration, seed: u64) -> Duration {
    // SplitMix64: any fixed mixing will do, the seed is already random.
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let permille = 800 + u32::try_from((x ^ (x >> 31)) % 401).expect("below 401");
    delay.saturating_mul(permille) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    /// 12: the first task that is past its deadline is named; a longer limit of the configuration is respected.
    #[test]
    fn n12_a_task_with_work_and_no_progress_is_stuck_after_its_deadline() {
        let task = |name: &str, stalled_ms| TaskProgress {
            task: name.to_owned(),
            progress: 7,
            stalled_ms,
            deadline_ms: 20_000,
        };
        let limits = Limits::default();
        assert_eq!(stuck_task(&[], &limits), None);
        assert_eq!(stuck_task(&[task("store", 0), task("inbox", 19_999)], &limits), None);
        let stuck = stuck_task(&[task("http", 3), task("store", 20_000), task("inbox", 21_000)], &limits);
        assert_eq!(
            stuck.as_deref(),
            Some("stuck: the task `store` has had work for 20 s and does none of it")
        );
        let patient = Limits { stuck: secs(60), ..limits };
        assert_eq!(stuck_task(&[task("store", 59_999)], &patient), None);
        assert!(stuck_task(&[task("store", 60_000)], &patient).is_some());
    }

    /// 30: a wait takes its time, and a pause of the supervisor, wherever it begins and however long it is, costs a part at most.
    #[test]
    fn a_pause_of_the_supervisor_is_nobodys_silence() {
        let total = secs(10);
        let wait = |pause_at: Duration, pause: Duration| {
            let (mut patience, mut now, mut paused) = (Patience::new(total, secs(100)), secs(100), false);
            loop {
                now = now.max(patience.due());
                if !paused && now >= secs(100) + pause_at {
                    paused = true;
                    now = now.max(secs(100) + pause_at + pause);
                }
                match patience.spent(now) {
                    Some(next) => patience = next,
                    None => return now.saturating_sub(secs(100)),
                }
            }
        };
        assert_eq!(wait(secs(1000), secs(0)), total);
        for at in 0..100 {
            for pause in [100, 900, 1500, 2500, 9500, 10_000, 10_500, 60_000] {
                let (at, pause) = (Duration::from_millis(at * 100), Duration::from_millis(pause));
                let ran = wait(at, pause).saturating_sub(pause);
                assert!(ran + total / PARTS + OVERSLEPT >= total, "{at:?} {pause:?}: {ran:?}");
            }
        }
        let soon = Patience::new(total, secs(0)).at_most(secs(1), secs(3));
        assert_eq!(soon, Patience::new(secs(1), secs(3)));
        assert_eq!(soon.at_most(secs(5), secs(3)), soon);
    }

    #[test]
    fn the_first_death_is_answered_at_once_and_later_ones_ever_more_slowly() {
        let mut deaths = Deaths::default();
        let mut now = secs(1000);
        assert_eq!(deaths.record(now, None, 7), Retry { delay: Duration::ZERO, crash_loop: false });
        for nominal in [1u64, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            now += secs(200); // apart enough to be no loop
            let Retry { delay, crash_loop } = deaths.record(now, None, nominal);
            assert!(!crash_loop);
            let (low, high) = (secs(nominal) * 4 / 5, (secs(nominal) * 6 / 5).min(LONGEST_DELAY));
            assert!(delay >= low && delay <= high, "{nominal}: {delay:?}");
        }
    }

    #[test]
    fn a_worker_that_served_is_back_sooner() {
        let mut deaths = Deaths::default();
        let delays: Vec<u128> =
            (0..4).map(|i| deaths.record(secs(i), Some(secs(1)), 3).delay.as_millis()).collect();
        assert!(
            delays[0] == 0 && delays[3] <= 96 && delays[1] < delays[2] && delays[2] < delays[3],
            "{delays:?}"
        );
    }

    #[test]
    fn sixty_stable_seconds_forget_everything() {
        let mut deaths = Deaths::default();
        for i in 0..4 {
            deaths.record(secs(i), None, 0);
        }
        assert_eq!(deaths.record(secs(100), Some(secs(60)), 0).delay, Duration::ZERO);
    }

    #[test]
    fn five_deaths_in_two_minutes_are_a_crash_loop_until_stable_or_forgiven() {
        let mut deaths = Deaths::default();
        for at in [0, 30, 60, 90] {
            assert!(!deaths.record(secs(at), None, 3).crash_loop);
        }
        let retry = deaths.record(secs(120), None, 3);
        assert!(retry.crash_loop && retry.delay >= secs(240) && retry.delay <= LONGEST_DELAY);
        assert!(deaths.record(secs(500), Some(secs(59)), 3).crash_loop, "one short life later");
        assert!(!deaths.record(secs(900), Some(secs(60)), 3).crash_loop);

        let mut slow = Deaths::default();
        for at in [0, 31, 62, 93, 124, 155] {
            assert!(!slow.record(secs(at), None, 3).crash_loop, "31 s apart is slower than five in 120 s");
        }
    }
}
