//! One timer a connection, moved as rarely as possible.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline that may be moved at no cost to a later time: the timer underneath fires at the old one and looks again. Busy
/// connections so touch the runtime's timer wheel every few seconds instead of at every request.
pub(super) struct Deadline {
    timer: Pin<Box<Sleep>>,
    at: Instant,
}

impl Deadline {
    pub(super) fn new(at: Instant) -> Self {
        Self { timer: Box::pin(sleep_until(at)), at }
    }

    pub(super) fn set(&mut self, at: Instant) {
        self.at = at;
        if at < self.timer.deadline() {
            self.timer.as_mut().reset(at);
        }
    }

    /// Ready once the deadline in force has passed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            if self.at <= Instant::now() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(self.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn fires_at_the_deadline_in_force() {
        let ms = Duration::from_millis;
        let start = Instant::now();
        let mut deadline = Deadline::new(start + ms(20));
        deadline.set(start + ms(60));
        poll_fn(|cx| deadline.poll(cx)).await;
        assert!(start.elapsed() >= ms(60));
        let again = Instant::now();
        deadline.set(again + ms(30));
        poll_fn(|cx| deadline.poll(cx)).await;
        assert!(again.elapsed() >= ms(30));
        let sooner = Instant::now();
        deadline.set(sooner + Duration::from_secs(600));
        deadline.set(sooner + ms(10));
        poll_fn(|cx| deadline.poll(cx)).await;
        assert!(sooner.elapsed() < Duration::from_secs(300));
    }
}
