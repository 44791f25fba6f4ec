//! What one process is told, in order. One that does not take it hears nothing more.

use hermes_wire::latest::ToWorker;
use tokio::sync::mpsc;

/// Messages to one worker that it has not taken yet. A worker that lets more pile up does not read.
const MOST: usize = 16;

/// Why a message did not go out: as the rule that is broken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("it does not read what it is told")]
pub(super) struct Deaf;

/// The way to one process.
#[derive(Debug)]
pub(super) struct Outgoing(Option<mpsc::Sender<Box<ToWorker>>>);

impl Outgoing {
    /// The other end carries the messages to the process.
    pub(super) fn new() -> (Self, mpsc::Receiver<Box<ToWorker>>) {
        let (queue, messages) = mpsc::channel(MOST);
        (Self(Some(queue)), messages)
    }

    /// What does not go out makes an end: what came after it would be heard out of order.
    pub(super) fn send(&mut self, message: ToWorker) -> Result<(), Deaf> {
        // A connection that has ended is told of by who kept it.
        let full = |queue: &mpsc::Sender<_>| {
            matches!(queue.try_send(Box::new(message)), Err(mpsc::error::TrySendError::Full(_)))
        };
        if self.0.as_ref().is_some_and(full) {
            self.0 = None;
            return Err(Deaf);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(messages: &mut mpsc::Receiver<Box<ToWorker>>) -> Vec<ToWorker> {
        std::iter::from_fn(|| messages.try_recv().ok()).map(|message| *message).collect()
    }

    #[test]
    fn who_does_not_read_is_deaf_and_hears_nothing_after_what_it_missed() {
        let (mut outgoing, mut messages) = Outgoing::new();
        for _ in 0..MOST {
            assert_eq!(outgoing.send(ToWorker::StopClaiming), Ok(()));
        }
        assert_eq!(outgoing.send(ToWorker::Connect), Err(Deaf));
        assert_eq!(heard(&mut messages), vec![ToWorker::StopClaiming; MOST]);
        // It reads again, too late: what was not said cannot be made up for.
        assert_eq!(outgoing.send(ToWorker::StopAccepting), Ok(()));
        assert_eq!(heard(&mut messages), []);
        assert!(messages.is_closed());
    }

    #[test]
    fn a_connection_that_has_ended_breaks_no_rule() {
        let (mut outgoing, messages) = Outgoing::new();
        drop(messages);
        assert_eq!(outgoing.send(ToWorker::Connect), Ok(()));
    }
}
