//! What one process is told, in order. One that does not take it hears nothing more.
//!
//! Who is served is news: only the last counts, it follows the admission however late that one comes, and it waits while much
//! else does, so that many changes at once never make a worker look deaf.

use hermes_wire::latest::{Admit, ToWorker};
use tokio::sync::mpsc;

/// Messages to one worker that it has not taken yet. A worker that lets more pile up does not read.
const MOST: usize = 16;

/// Why a message did not go out: as the rule that is broken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("it does not read what it is told")]
pub(super) struct Deaf;

/// The way to one process.
#[derive(Debug)]
pub(super) struct Outgoing {
    queue: Option<mpsc::Sender<Box<ToWorker>>>,
    is_admitted: bool,
    /// Who is served, where it was not told yet.
    news: Option<Box<Admit>>,
}

impl Outgoing {
    /// The other end carries the messages to the process.
    pub(super) fn new() -> (Self, mpsc::Receiver<Box<ToWorker>>) {
        let (queue, messages) = mpsc::channel(MOST);
        (Self { queue: Some(queue), is_admitted: false, news: None }, messages)
    }

    /// The same to a process that was admitted by the program that this one was before.
    pub(super) fn of_admitted() -> (Self, mpsc::Receiver<Box<ToWorker>>) {
        let (outgoing, messages) = Self::new();
        (Self { is_admitted: true, ..outgoing }, messages)
    }

    /// What does not go out makes an end: what came after it would be heard out of order.
    pub(super) fn send(&mut self, message: ToWorker) -> Result<(), Deaf> {
        // A connection that has ended is told of by who kept it.
        let full = |queue: &mpsc::Sender<_>| {
            matches!(queue.try_send(Box::new(message)), Err(mpsc::error::TrySendError::Full(_)))
        };
        if self.queue.as_ref().is_some_and(full) {
            self.queue = None;
            return Err(Deaf);
        }
        Ok(())
    }

    /// Admits it; what became known since that was decided follows.
    pub(super) fn admit(&mut self, admit: Admit) -> Result<(), Deaf> {
        self.send(ToWorker::Admit(admit))?;
        self.is_admitted = true;
        self.pass_on()
    }

    /// Tells it who is served now: at once, after its admission, or with the next [`Outgoing::pass_on`] that finds room.
    pub(super) fn tell(&mut self, admit: Admit) -> Result<(), Deaf> {
        self.news = Some(Box::new(admit));
        self.pass_on()
    }

    /// Sends the news that waits, where half of the queue is free: the rest is for what cannot wait.
    pub(super) fn pass_on(&mut self) -> Result<(), Deaf> {
        let has_room = self.queue.as_ref().is_some_and(|queue| queue.capacity() > MOST / 2);
        match self.news.take_if(|_| self.is_admitted && has_room) {
            Some(admit) => self.send(ToWorker::Admit(*admit)),
            None => Ok(()),
        }
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

    fn serving(names: &[&str]) -> Admit {
        let served = names.iter().map(|&name| name.to_owned()).collect();
        Admit { listeners: Vec::new(), multiplex: true, served }
    }

    #[test]
    fn an_admission_does_not_undo_what_became_known_after_it_was_decided() {
        let (mut outgoing, mut messages) = Outgoing::new();
        outgoing.tell(serving(&["default", "coder"])).unwrap();
        outgoing.tell(serving(&["default", "writer"])).unwrap();
        assert_eq!(heard(&mut messages), [], "not before the admission");
        outgoing.admit(serving(&["default"])).unwrap();
        let expected =
            [&["default"][..], &["default", "writer"]].map(|names| ToWorker::Admit(serving(names)));
        assert_eq!(heard(&mut messages), expected, "and only the last");
        outgoing.pass_on().unwrap();
        assert_eq!(heard(&mut messages), [], "once");
    }

    #[test]
    fn many_changes_at_once_make_nobody_deaf_and_the_last_is_told() {
        let (mut outgoing, mut messages) = Outgoing::new();
        outgoing.admit(serving(&[])).unwrap();
        for n in 0..100 {
            outgoing.tell(serving(&[&format!("p{n}")])).unwrap();
        }
        outgoing.send(ToWorker::Connect).unwrap();
        assert_eq!(heard(&mut messages).last(), Some(&ToWorker::Connect), "there was room");
        outgoing.pass_on().unwrap();
        assert_eq!(heard(&mut messages), [ToWorker::Admit(serving(&["p99"]))]);
    }

    #[test]
    fn a_connection_that_has_ended_breaks_no_rule() {
        let (mut outgoing, messages) = Outgoing::new();
        drop(messages);
        assert_eq!(outgoing.send(ToWorker::Connect), Ok(()));
    }
}
