//! The journal of a running turn: each step is a transaction of its own, with what it cost. A step of a turn that lost its session is
//! not kept, and nothing follows from it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use super::busy::{self, Marks};
use super::compress;
use super::conversation::Conversation;
use super::lease::{self, Lease};
use super::running::Occupation;
use super::{Inner, accounts};
use crate::engine::{self, Cost, Journal, Kept, Message, Prompt, Shortening, Squeeze, Step, Unkept, Usage};
use crate::inbox::steered;
use crate::runs;
use crate::session::{self, SessionContext, epoch, history};

/// Pause while the database cannot be written.
const RETRY: Duration = Duration::from_secs(1);

/// Why a step is not kept that nobody may write any more.
const TAKEN: &str = "another program took over the session";

/// What a turn's steps have been booked with already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Booked {
    pub(super) usage: Usage,
    pub(super) calls: u32,
}

/// Keeps the steps of one turn.
pub(super) struct TurnJournal {
    /// Whose steps.
    pub(super) of: Conversation,
    /// Its conversation is the stored one, so that it can be made shorter.
    is_stored: bool,
    /// Messages may wait that are to be put into the turn.
    is_open: bool,
    /// The run that the turn is.
    run: Option<String>,
    booked: Mutex<Booked>,
}

/// Where what is to be put into a turn waits.
#[derive(Debug, Clone, Copy)]
enum Open<'a> {
    /// Nobody may write into it.
    Nowhere,
    /// Among the messages of its chat.
    Chat(&'a str),
    /// With its run: what its chat has waits for its own turn.
    Run(&'a str),
}

impl Open<'_> {
    fn take(self, db: &Connection, now: f64) -> rusqlite::Result<Vec<String>> {
        match self {
            Self::Nowhere => Ok(Vec::new()),
            Self::Chat(key) => busy::take_steers(db, key, now),
            Self::Run(id) => runs::take_steers(db, id, now),
        }
    }
}

impl TurnJournal {
    /// `is_open`: somebody may write into the turn. `is_stored`: its conversation is what is stored of the session.
    pub(super) fn new(
        inner: &Arc<Inner>,
        prompt: &Prompt,
        lease: &Lease,
        (is_open, is_stored): (bool, bool),
    ) -> Self {
        let of = Conversation::new(inner, prompt, lease);
        Self { of, is_open, is_stored, run: None, booked: Mutex::default() }
    }

    /// The same for a turn that is a run: what its steps cost is noted there too.
    pub(super) fn of_run(self, run: Option<String>) -> Self {
        Self { run, ..self }
    }

    /// What stands in the session's counters already.
    pub(super) fn booked(&self) -> Booked {
        *self.booked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits, again and again while the machine is to blame: what follows from a step must not begin before.
    async fn commit(&self, step: Step) -> Result<Message, Unkept> {
        let step = Arc::new(step);
        let message = loop {
            let (session, lease, is_open) = (self.of.session_id.clone(), self.of.lease.clone(), self.is_open);
            let is_result = matches!(&*step, Step::Result { .. });
            let answer = self.of.inner.questions.answer(&self.of.lease.key).filter(|_| is_result);
            let (ctx, job) = (Arc::clone(&self.of.inner.session), Arc::clone(&step));
            let run = self.run.clone();
            let written = self.of.inner.store.write(move |db| {
                let now = epoch();
                if !lease::holds(db, &lease, now)? {
                    return Ok(None);
                }
                let open = match &run {
                    _ if !is_open => Open::Nowhere,
                    Some(run) => Open::Run(run),
                    None => Open::Chat(&lease.key),
                };
                if let Some(answer) = answer {
                    steered::put(db, answer, now)?;
                }
                if let (Some(run), Step::Calls { cost, .. }) = (&run, &*job) {
                    runs::spend(db, run, accounts::tokens_of(cost.usage))?;
                }
                write(db, &ctx, &session, open, &job, now).map(Some)
            });
            match written.await {
                Ok(Some(message)) => {
                    if answer.is_some() && self.of.inner.questions.close(&self.of.lease.key) {
                        // What came behind the answer and would interrupt does so now.
                        self.of.inner.store.look_for_interrupts();
                    }
                    if is_result && self.run.is_some() {
                        // Something may have been put into it, which its log says.
                        self.of.inner.note_happening();
                    }
                    break message;
                }
                Ok(None) => return Err(Unkept(TAKEN.to_owned())),
                Err(error) if error.is_of_machine() => {
                    tracing::error!(session = self.of.session_id, %error, "a step of a turn waits to be written");
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => return Err(Unkept(error.to_string())),
            }
        };
        if let Step::Calls { cost, .. } = &*step {
            self.note(cost);
        }
        Ok(message)
    }

    fn note(&self, cost: &Cost) {
        let mut booked = self.booked.lock().unwrap_or_else(PoisonError::into_inner);
        booked.usage = booked.usage.plus(cost.usage);
        booked.calls = booked.calls.saturating_add(cost.calls);
    }

    /// Books a cost that is no step's. What cannot be written now is written by nobody: figures are not worth a turn.
    async fn book(&self, cost: Cost, task: &'static str) -> Result<(), Unkept> {
        let (session, lease, ctx) =
            (self.of.session_id.clone(), self.of.lease.clone(), Arc::clone(&self.of.inner.session));
        let (spent, run) = (cost.clone(), self.run.clone());
        let written = self.of.inner.store.write(move |db| {
            let now = epoch();
            if !lease::holds(db, &lease, now)? {
                return Ok(false);
            }
            let session = session::line_of(db, &ctx, &session, now)?;
            let rows = accounts::Rows { messages: 0, tool_calls: 0 };
            accounts::book_for(db, &session, task, &spent, rows, now)?;
            if let Some(run) = &run {
                runs::spend(db, run, accounts::tokens_of(spent.usage))?;
            }
            Ok(true)
        });
        match written.await {
            Ok(true) => self.note(&cost),
            Ok(false) => return Err(Unkept(TAKEN.to_owned())),
            Err(error) => {
                tracing::warn!(session = self.of.session_id, %error, "what a child of a turn cost is not booked");
            }
        }
        Ok(())
    }
}

impl Journal for TurnJournal {
    fn keep(&self, step: Step) -> Kept<'_> {
        Box::pin(self.commit(step))
    }

    fn shorten(&self, squeeze: Squeeze) -> Shortening<'_> {
        Box::pin(async move {
            if !self.is_stored {
                return Ok(Err("whoever asks brings the conversation along".to_owned()));
            }
            compress::shorten(&self.of, squeeze, None).await
        })
    }

    fn delegates(&self) -> engine::Delegated<'_> {
        Some(Box::new(self.of.inner.running.occupied(&self.of.lease.key, Occupation::Delegating)))
    }

    fn spend(&self, cost: Cost, task: &'static str) -> engine::Booked<'_> {
        Box::pin(self.book(cost, task))
    }
}

/// `open`: to whom the turn is.
fn write(
    db: &Connection,
    ctx: &SessionContext,
    session: &str,
    open: Open<'_>,
    step: &Step,
    now: f64,
) -> rusqlite::Result<Message> {
    // The marks are those that the turn's prompt named, wherever its rows go by now.
    let begun_in = session;
    let session = &*session::line_of(db, ctx, session, now)?;
    let message = match step {
        Step::Calls { message, cost } => {
            history::stage_step(db, session, message, now)?;
            let rows = accounts::Rows { messages: 1, tool_calls: message.tool_calls.len() };
            accounts::book(db, session, cost, rows, now)?;
            message.clone()
        }
        Step::Result { message, is_last } => {
            let mut message = message.clone();
            let texts = if *is_last { open.take(db, now)? } else { Vec::new() };
            Marks::of(db, begun_in)?.put_into(&mut message, &texts);
            history::stage_step(db, session, &message, now)?;
            history::count(db, session, 1)?;
            message
        }
    };
    history::publish(db)?;
    Ok(message)
}
