//! Progress of the tasks without which a worker is none, so that one that is stuck, or gone, is found.
//!
//! Whoever gives a vital task something to do says so with [`Pulse::want`]. The task notes how much was wanted when it begins a round
//! ([`Pulse::wanted`]), and when the round is over that so much is served ([`Pulse::serve`]). What is wanted and not served is work
//! that waits. Heartbeats carry how long each task has had work without any progress; the supervisor replaces a worker in which
//! that is too long. A task that panics ends the worker: see [`Pulse::failed`].
//!
//! A worker in which nothing happens beats rarely. Whatever is wanted of any task ends that at once: [`stirred`].

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use hermes_host::clock;
use hermes_wire::latest::TaskProgress;
use hermes_wire::{ProfileHome, exit};
use tokio::sync::{Notify, watch};

/// A silence of the heart longer than this was a pause of the whole process: it counts for no more.
const LONGEST_STEP: Duration = Duration::from_secs(2);

/// Something was wanted of a task of this process.
static STIR: Notify = Notify::const_new();

/// Waits until something is wanted of any task; what was wanted since the last call counts. Safe to cancel.
pub(crate) async fn stirred() {
    STIR.notified().await;
}

/// How a vital task ended, and the worker with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// One line for log and status.
    pub(crate) reason: String,
    /// The worker's exit code.
    pub(crate) code: u8,
}

/// One vital task. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Pulse(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: &'static str,
    /// How long it may have work without progress, in milliseconds.
    deadline_ms: AtomicU64,
    wanted: AtomicU64,
    served: AtomicU64,
    stall: Mutex<Stall>,
    failure: watch::Sender<Option<Failure>>,
}

/// Since when nothing moves, in time that this process spent running.
#[derive(Debug)]
struct Stall {
    served: u64,
    looked: Instant,
    lasted: Duration,
}

impl Stall {
    /// Adds the time since the last look, unless something moved or nothing is to be done.
    fn look(&mut self, served: u64, busy: bool, now: Instant) -> Duration {
        let step = now.saturating_duration_since(self.looked).min(LONGEST_STEP);
        self.lasted = if busy && served == self.served { self.lasted + step } else { Duration::ZERO };
        (self.served, self.looked) = (served, now);
        self.lasted
    }
}

impl Pulse {
    /// A task of this name that has nothing to do yet.
    pub(crate) fn new(name: &'static str, deadline: Duration) -> Self {
        let stall = Stall { served: 0, looked: clock::now(), lasted: Duration::ZERO };
        Self(Arc::new(Inner {
            name,
            deadline_ms: AtomicU64::new(u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX)),
            wanted: AtomicU64::new(0),
            served: AtomicU64::new(0),
            stall: Mutex::new(stall),
            failure: watch::Sender::new(None),
        }))
    }

    /// There is more to do.
    pub(crate) fn want(&self) {
        STIR.notify_one();
        self.0.wanted.fetch_add(1, Ordering::Relaxed);
    }

    /// Everything wanted so far.
    pub(crate) fn wanted(&self) -> u64 {
        self.0.wanted.load(Ordering::Relaxed)
    }

    /// A round that began when so much was wanted is over.
    pub(crate) fn serve(&self, wanted: u64) {
        self.0.served.fetch_max(wanted, Ordering::Relaxed);
    }

    /// So many more things are done.
    pub(crate) fn done(&self, more: u64) {
        self.0.served.fetch_add(more, Ordering::Relaxed);
    }

    fn served(&self) -> u64 {
        self.0.served.load(Ordering::Relaxed)
    }

    /// What the next heartbeat says. `more` is work that is known otherwise.
    pub(crate) fn progress(&self, more: bool) -> TaskProgress {
        let served = self.served();
        let busy = more || self.wanted() > served;
        let mut stall = self.0.stall.lock().unwrap_or_else(PoisonError::into_inner);
        let stalled = stall.look(served, busy, clock::now());
        TaskProgress {
            task: self.0.name.to_owned(),
            progress: served,
            stalled_ms: u64::try_from(stalled.as_millis()).unwrap_or(u64::MAX),
            deadline_ms: self.0.deadline_ms.load(Ordering::Relaxed),
        }
    }

    /// Runs the task; should it panic, it has failed.
    pub(crate) async fn of(self, task: impl Future<Output = ()>) {
        // Nothing of the task is used after a panic: the worker ends.
        if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
            self.panicked(panic.as_ref());
        }
    }

    /// Runs the thread's work; should it panic, it has failed.
    pub(crate) fn of_thread(&self, work: impl FnOnce()) {
        if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(work)) {
            self.panicked(panic.as_ref());
        }
    }

    fn panicked(&self, panic: &(dyn Any + Send)) {
        let text = crate::logging::panic_text(panic);
        self.fail(format!("the task `{}` panicked: {text}", self.0.name), exit::FAILURE);
    }

    /// The task has failed, and the worker is to end with this exit code.
    pub(crate) fn fail(&self, reason: String, code: u8) {
        self.0.failure.send_replace(Some(Failure { reason, code }));
    }

    /// Waits until the task has failed, and says how.
    pub(crate) async fn failed(&self) -> Failure {
        let mut failure = self.0.failure.subscribe();
        let found = failure.wait_for(Option::is_some).await.ok().and_then(|failure| failure.clone());
        match found {
            Some(failure) => failure,
            // Unreachable: this handle holds the sender, and what was waited for is there.
            None => std::future::pending().await,
        }
    }

    /// A door for tests, in builds with debug assertions only: a file `.wedge-NAME` in the home stops this task here for good, or,
    /// if it holds `panic`, makes it panic.
    pub(crate) async fn door(&self, home: &ProfileHome) {
        if self.is_wedged(home) {
            std::future::pending::<()>().await;
        }
    }

    /// The same for a thread.
    pub(crate) fn thread_door(&self, home: &ProfileHome) {
        if self.is_wedged(home) {
            loop {
                std::thread::park();
            }
        }
    }

    #[cfg(debug_assertions)]
    fn is_wedged(&self, home: &ProfileHome) -> bool {
        let path = home.path().join(format!(".wedge-{}", self.0.name));
        let Ok(word) = fs_err::read_to_string(&path) else { return false };
        // Once: the next process is well.
        let _ = fs_err::remove_file(&path);
        assert!(word.trim() != "panic", "a test asked for it");
        self.0.deadline_ms.store(1000, Ordering::Relaxed);
        true
    }

    #[cfg(not(debug_assertions))]
    #[expect(clippy::unused_self, reason = "there is no door in a release")]
    fn is_wedged(&self, _home: &ProfileHome) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 12: only work that waits counts, and only time in which the process ran.
    #[test]
    fn n12_a_stall_is_work_without_progress_while_the_process_runs() {
        let start = hermes_host::clock::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let ms = |stall: &mut Stall, served, busy, now| stall.look(served, busy, at(now)).as_millis();
        let mut stall = Stall { served: 0, looked: start, lasted: Duration::ZERO };
        assert_eq!(ms(&mut stall, 0, false, 1000), 0, "nothing to do");
        assert_eq!(ms(&mut stall, 0, true, 2000), 1000);
        assert_eq!(ms(&mut stall, 0, true, 3000), 2000);
        assert_eq!(ms(&mut stall, 1, true, 4000), 0, "it moves");
        assert_eq!(ms(&mut stall, 1, true, 5000), 1000);
        assert_eq!(ms(&mut stall, 1, true, 65_000), 3000, "the process was stopped for a minute");
        assert_eq!(ms(&mut stall, 1, false, 66_000), 0);
    }

    #[tokio::test]
    async fn n12_a_task_that_panics_says_so() {
        let pulse = Pulse::new("inbox", Duration::from_secs(30));
        pulse.clone().of(async { panic!("out of {}", "luck") }).await;
        assert_eq!(pulse.failed().await.reason, "the task `inbox` panicked: out of luck");
        let pulse = Pulse::new("store", Duration::from_secs(30));
        pulse.of_thread(|| panic!("gone"));
        let failure = Failure { reason: "the task `store` panicked: gone".to_owned(), code: exit::FAILURE };
        assert_eq!(pulse.failed().await, failure);
    }

    #[test]
    fn n12_what_is_wanted_and_not_served_is_work() {
        let pulse = Pulse::new("x", Duration::from_secs(30));
        pulse.want();
        let seen = pulse.wanted();
        pulse.want();
        pulse.serve(seen);
        assert!(pulse.wanted() > pulse.served(), "what came during the round");
        pulse.serve(pulse.wanted());
        let progress = pulse.progress(false);
        assert_eq!((progress.progress, progress.stalled_ms, progress.deadline_ms), (2, 0, 30_000));
    }
}
