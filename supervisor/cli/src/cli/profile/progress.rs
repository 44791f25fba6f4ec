//! How far a long copy is, on a terminal, and Ctrl-C while it runs.

use std::io::Write as _;
use std::time::Duration;

use super::super::interrupt::Interrupt;
use super::super::output;

/// Bytes between two signs of life; what is shorter shows none.
const STEP: u64 = 64 << 20;

/// Shown on standard error while it lives.
pub(super) struct Progress {
    interrupt: Interrupt,
    what: &'static str,
    show: bool,
    shown: u64,
}

impl Progress {
    /// `what` has happened to the bytes.
    pub(super) fn new(what: &'static str, show: bool) -> Self {
        Self { interrupt: Interrupt::new(), what, show: show && output::stderr_is_terminal(), shown: 0 }
    }

    /// So far; `u64::MAX` is a last question whether to go on. Gives whether to.
    pub(super) fn at(&mut self, bytes: u64) -> bool {
        if self.show && bytes != u64::MAX && bytes >= self.shown + STEP {
            self.shown = bytes;
            let _ = write!(std::io::stderr().lock(), "\r  {} MB {}", bytes >> 20, self.what);
        }
        !self.interrupt.came_within(Duration::ZERO)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown > 0 {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}
