//! The only tolerated wait: a condition, polled until it holds or patience ends. And the clocks, for tests that measure.

use std::time::{Duration, Instant, SystemTime};

/// How long a test waits for something that should happen at once. Generous: machines are shared.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Polls `condition` until it gives a value; panics naming `what` when patience ends.
#[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// [`until`] for a plain yes or no.
pub fn until_true(what: &str, mut condition: impl FnMut() -> bool) {
    until(what, || condition().then_some(()));
}

/// [`until_true`] with a patience of its own, for what may wait for further tries of the program. What `told` knows is shown when it ends.
#[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
pub fn within(
    patience: Duration,
    what: &str,
    mut condition: impl FnMut() -> bool,
    told: impl FnOnce() -> String,
) {
    let deadline = Instant::now() + patience;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {patience:?} in vain for: {what}\n{}", told());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Lets time pass where the passing itself is under test (nothing may happen meanwhile).
#[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
pub fn pass(time: Duration) {
    std::thread::sleep(time);
}

/// For durations.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// For times of files.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
pub fn system() -> SystemTime {
    SystemTime::now()
}
