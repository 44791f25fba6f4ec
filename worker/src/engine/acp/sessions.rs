//! The sessions of an agent that are open, and the turns that run in them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agent_client_protocol::Error;
use agent_client_protocol::v1::schema::PromptResponse;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::mailbox::{Mail, Slot};

/// The agent's sessions that are open, by its ids.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    all: Mutex<HashMap<String, Session>>,
    /// One has no turn any more.
    settled: Notify,
}

#[derive(Debug)]
pub(super) struct Session {
    /// Where the turn that runs in it takes what comes.
    pub(super) slot: Option<Slot>,
    /// The agent has not said that the last turn is over.
    pub(super) busy: bool,
    pub(super) used: Instant,
}

impl Sessions {
    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        // A map is whole whatever happened to its last user.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn slot(&self, id: &str) -> Option<Slot> {
        self.lock().get(id)?.slot.clone()
    }

    pub(super) fn put(&self, id: &str, mail: Mail) {
        // Of a session without a turn: what was said before, told again.
        if let Some(slot) = self.slot(id) {
            slot.put(mail);
        }
    }

    pub(super) fn add(&self, id: &str) {
        let session = Session { slot: None, busy: false, used: Instant::now() };
        self.lock().entry(id.to_owned()).or_insert(session);
    }

    /// A turn is over, by the agent's word.
    pub(super) fn over(&self, id: &str, result: Result<PromptResponse, Error>) {
        let slot = self.lock().get_mut(id).and_then(|session| {
            (session.busy, session.used) = (false, Instant::now());
            session.slot.take()
        });
        if let Some(slot) = slot {
            slot.put(Mail::Done(Box::new(result)));
        }
        self.settled.notify_waiters();
    }

    pub(super) fn all_gone(&self, why: &Arc<str>) {
        for session in self.lock().values_mut() {
            session.busy = false;
            if let Some(slot) = session.slot.take() {
                slot.put(Mail::Gone(Arc::clone(why)));
            }
        }
        self.settled.notify_waiters();
    }

    pub(super) fn is_busy(&self, id: &str) -> bool {
        self.lock().get(id).is_some_and(|session| session.busy)
    }

    /// Waits until no turn runs in it.
    pub(super) async fn settled(&self, id: &str) {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            // From here on the end of a turn is noticed.
            settled.as_mut().enable();
            if !self.is_busy(id) {
                return;
            }
            settled.await;
        }
    }
}
