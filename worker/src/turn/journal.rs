//! The journal of a running turn: each step is a transaction of its own, with what it cost.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Inner, accounts};
use crate::engine::{Journal, Kept, Message, Step, Unkept, Usage};
use crate::session::{epoch, history};

/// Pause while the database cannot be written.
const RETRY: Duration = Duration::from_secs(1);

/// What a turn's steps have been booked with already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Booked {
    pub(super) usage: Usage,
    pub(super) calls: u32,
}

/// Keeps the steps of one turn.
pub(super) struct TurnJournal {
    inner: Arc<Inner>,
    session_id: String,
    booked: Mutex<Booked>,
}

impl TurnJournal {
    pub(super) fn new(inner: &Arc<Inner>, session_id: &str) -> Self {
        Self { inner: Arc::clone(inner), session_id: session_id.to_owned(), booked: Mutex::default() }
    }

    /// What stands in the session's counters already.
    pub(super) fn booked(&self) -> Booked {
        *self.booked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits, again and again while the machine is to blame: what follows from a step must not begin before.
    async fn commit(&self, step: Step) -> Result<Message, Unkept> {
        let step = Arc::new(step);
        loop {
            let (session, job) = (self.session_id.clone(), Arc::clone(&step));
            match self.inner.store.write(move |db| write(db, &session, &job)).await {
                Ok(()) => break,
                Err(error) if error.is_of_machine() => {
                    tracing::error!(session = self.session_id, %error, "a step of a turn waits to be written");
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => return Err(Unkept(error.to_string())),
            }
        }
        Ok(match Arc::unwrap_or_clone(step) {
            Step::Calls { message, cost } => {
                let mut booked = self.booked.lock().unwrap_or_else(PoisonError::into_inner);
                booked.usage = booked.usage.plus(cost.usage);
                booked.calls = booked.calls.saturating_add(cost.calls);
                message
            }
            Step::Result { message, .. } => message,
        })
    }
}

impl Journal for TurnJournal {
    fn keep(&self, step: Step) -> Kept<'_> {
        Box::pin(self.commit(step))
    }
}

fn write(db: &rusqlite::Connection, session: &str, step: &Step) -> rusqlite::Result<()> {
    let now = epoch();
    match step {
        Step::Calls { message, cost } => {
            history::stage_step(db, session, message, now)?;
            let rows = accounts::Rows { messages: 1, tool_calls: message.tool_calls.len() };
            accounts::book(db, session, cost, rows, None, now)?;
        }
        Step::Result { message, .. } => {
            history::stage_step(db, session, message, now)?;
            history::count(db, session, 1)?;
        }
    }
    history::publish(db)
}
