//! Taking connections: what every loop does when one could not be taken.

use std::io;
use std::time::{Duration, Instant};

use hermes_host::clock;
use tokio_util::sync::CancellationToken;

/// How long a loop rests when the system has no descriptor or memory left.
const REST: Duration = Duration::from_millis(100);
/// Once in this time the log mentions what keeps happening.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// Lets a message through once per [`LOG_EVERY`].
#[derive(Debug, Default)]
pub(crate) struct Quiet(Option<Instant>);

impl Quiet {
    /// Whether it is time to say it.
    pub(crate) fn speak(&mut self) -> bool {
        let now = clock::now();
        if self.0.is_some_and(|last| now.duration_since(last) < LOG_EVERY) {
            return false;
        }
        self.0 = Some(now);
        true
    }
}

/// What one loop has met so far.
#[derive(Debug)]
pub(crate) struct Failures {
    what: &'static str,
    said: Quiet,
}

impl Failures {
    /// Of a loop that takes `what`.
    pub(crate) fn of(what: &'static str) -> Self {
        Self { what, said: Quiet::default() }
    }

    /// Rests after `error`, unless it was about one connection only or `stop` comes. Safe to cancel.
    pub(crate) async fn rest(&mut self, error: &io::Error, stop: &CancellationToken) {
        if is_about_one_connection(error) {
            return;
        }
        // No descriptors, no memory, or the socket was shut down a moment before the loop is stopped.
        if !stop.is_cancelled() && self.said.speak() {
            tracing::error!(%error, "cannot accept {}; trying again", self.what);
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(REST) => {}
        }
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | ConnectionRefused | Interrupted | WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that left costs nobody time; what lasts is waited out, unless the loop is to end.
    #[tokio::test(start_paused = true)]
    async fn what_lasts_is_waited_out() {
        let (mut failures, stop) = (Failures::of("connections"), CancellationToken::new());
        let began = tokio::time::Instant::now();
        failures.rest(&io::ErrorKind::ConnectionAborted.into(), &stop).await;
        assert!(began.elapsed().is_zero());
        failures.rest(&io::Error::from_raw_os_error(nix::libc::EMFILE), &stop).await;
        assert_eq!(began.elapsed(), REST);
        assert!(!failures.said.speak(), "it was said just now");
        stop.cancel();
        failures.rest(&io::Error::from_raw_os_error(nix::libc::EMFILE), &stop).await;
        assert_eq!(began.elapsed(), REST);
    }
}
