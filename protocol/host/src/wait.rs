//! Waiting for time to pass, where there is no runtime whose timers could be awaited.

use std::time::Duration;

use nix::poll::{PollTimeout, poll};

/// Waits for `time`, or less when a signal comes. Whoever waits for something looks again afterwards.
pub fn pause(time: Duration) {
    let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
    // Interrupted is as good as over.
    let _ = poll(&mut [], timeout);
}
