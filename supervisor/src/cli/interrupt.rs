//! Ctrl-C while a command works.

#[cfg(target_os = "linux")]
use std::os::fd::AsFd as _;
use std::time::Duration;

use super::gateway;

/// Ctrl-C and SIGTERM, awaited instead of obeyed, so that the terminal is left in order.
pub(super) struct Interrupt(#[cfg(target_os = "linux")] Option<nix::sys::signalfd::SignalFd>);

impl Interrupt {
    #[cfg(target_os = "linux")]
    pub(super) fn new() -> Self {
        use nix::sys::signal::{SigSet, Signal};
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.add(Signal::SIGTERM);
        // Blocked only where they can be read: otherwise nothing could end this command.
        let awaited =
            nix::sys::signalfd::SignalFd::new(&signals).ok().filter(|_| signals.thread_block().is_ok());
        Self(awaited)
    }

    #[cfg(target_os = "linux")]
    pub(super) fn came_within(&self, time: Duration) -> bool {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let Some(signals) = &self.0 else {
            gateway::pause(time);
            return false;
        };
        let mut wait = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        poll(&mut wait, PollTimeout::try_from(time).unwrap_or(PollTimeout::ZERO)).is_ok_and(|n| n > 0)
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn new() -> Self {
        Self()
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::unused_self, reason = "the same call everywhere")]
    pub(super) fn came_within(&self, time: Duration) -> bool {
        gateway::pause(time);
        false
    }
}
