//! A turn that is read as it is written: its client waits, and may go away at any moment.
//!
//! The whole turn is one task of the worker's, not of the request: whatever was begun is ended, also when the request's future is
//! dropped between two steps.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::begin::{self, Begun, Over};
use super::command::Command;
use super::finish::{Ending, Finished, Kept, finish};
use super::journal::TurnJournal;
use super::lease::{self, Lease, NotNow};
use super::place::{Kind, Place};
use super::{Inner, Reply, RunningTurn, SessionRef, Turn, TurnError, asking, held, run as running, title};
use crate::engine::{EngineError, Event, EventSink, Outcome, Prompt};
use crate::session::history::{self, Came};
use crate::session::lease::Refused;
use crate::session::{Now, Opening};
use crate::store::StoreError;

/// Pieces between the engine and a client that reads slowly.
const EVENTS: usize = 64;

/// The platform of terminals.
const CLI: &str = "cli";

/// How often the lease of another process of this program is looked at again.
const ELSEWHERE: Duration = Duration::from_millis(250);

/// How often that of another program is, whose turns take longer than a change of generations.
const OTHERS: Duration = Duration::from_secs(1);

/// Pause while the database cannot be written.
const RETRY: Duration = Duration::from_secs(1);

/// Ends of a turn's channels, on its task's side.
struct Client {
    started: oneshot::Sender<Result<String, TurnError>>,
    events: mpsc::Sender<Event>,
    outcome: oneshot::Sender<Result<Outcome, TurnError>>,
}

/// Starts the task and waits until the user's message is stored. `command`: instead of the engine's answer there is what this says.
pub(super) async fn start(
    inner: &Arc<Inner>,
    turn: Turn,
    command: Option<Command>,
) -> Result<RunningTurn, TurnError> {
    let slot = inner.take_run_slot()?;
    let cancel = inner.interrupt.child_token();
    let (events_in, events) = mpsc::channel(EVENTS);
    let (outcome_in, outcome) = oneshot::channel();
    let (started_in, started) = oneshot::channel();
    let client = Client { started: started_in, events: events_in, outcome: outcome_in };
    let (task_inner, task_cancel) = (Arc::clone(inner), cancel.clone());
    // Dropped with this future: then the task gives up.
    let guard = cancel.drop_guard();
    inner.tasks.spawn(async move {
        serve(&task_inner, turn, command, client, task_cancel).await;
        drop(slot);
    });
    let session_id = started.await.unwrap_or(Err(TurnError::Engine(EngineError::Interrupted)))?;
    Ok(RunningTurn { session_id, events, outcome, cancel: guard })
}

async fn serve(
    inner: &Arc<Inner>,
    turn: Turn,
    command: Option<Command>,
    client: Client,
    cancel: CancellationToken,
) {
    let (run, is_attended) = (turn.run.clone(), turn.is_attended);
    let may_ask_again = turn.identity.is_some();
    let is_stored_here = !matches!(turn.session, SessionRef::Fresh(_));
    let (prompt, mut lease) = match begin(inner, turn, &cancel).await {
        Ok(Start::Now(prompt, lease)) => (*prompt, lease),
        Ok(Start::Over(over)) => return tell(client, over),
        Err(error) => {
            let _gone = client.started.send(Err(error));
            return;
        }
    };
    held::begin(inner, &lease, &cancel);
    let journal = TurnJournal::new(inner, &prompt, &lease, (false, is_stored_here));
    let result = if client.started.send(Ok(prompt.session_id.clone())).is_err() {
        Err(TurnError::Engine(EngineError::Interrupted))
    } else if let Some(command) = &command {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(TurnError::Engine(EngineError::Interrupted)),
            text = command.run(&journal, &prompt) => Ok(Outcome { text, ..Outcome::default() }),
        }
    } else {
        let (session, told) = (&prompt.session_id, &client.events);
        let asker = run.as_ref().map(|run| asking::of_stream(inner, run, session, told.clone()));
        let attended = run.as_ref().filter(|_| is_attended);
        let desk = attended.map(|run| asking::reader(inner, run, session, told.clone()));
        let seat = Place::new(inner, Kind::Direct);
        let events = EventSink::new(client.events, seat).asking(asker).with_desk(desk);
        running::run(inner.engine.as_ref(), &prompt, &journal, events, &cancel).await
    };
    let is_command = command.is_some();
    let (ending, result) = match result {
        // Whatever came of it: no question of the conversation is left without an answer.
        result if is_command => (Ending::Said(String::new()), result),
        Ok(outcome) => (Ending::Answered(outcome.clone()), Ok(outcome)),
        Err(TurnError::Engine(EngineError::Interrupted))
            if may_ask_again && inner.interrupt.is_cancelled() && !client.outcome.is_closed() =>
        {
            (Ending::Left, Err(TurnError::Draining))
        }
        Err(error @ TurnError::Engine(EngineError::Interrupted)) => (Ending::Released, Err(error)),
        Err(error) => (running::failed(&error), Err(error)),
    };
    let booked = journal.booked();
    inner.held.end(&mut lease);
    let session_id = prompt.session_id.clone();
    // Clients of the API name their conversations themselves.
    let untitled = if prompt.platform == CLI && !is_command { title::question(inner, &prompt) } else { None };
    let asked = untitled.clone();
    let finished = Finished {
        session_id: prompt.session_id,
        lease,
        reply: Reply::Stream,
        booked,
        ending,
        untitled,
        outgoing: None,
        fresh_after: None,
    };
    let ctx = Arc::clone(&inner.session);
    let lease = finished.lease.clone();
    let stored = inner.store.write(move |db| {
        let kept = finish(db, &ctx, &finished)?;
        history::publish(db)?;
        Ok(kept)
    });
    let stored = stored.await;
    let is_stored = stored.is_ok();
    if let (Ok(Kept::Yes), Ok(outcome), Some(question)) = (&stored, &result, &asked) {
        title::give(inner, &session_id, question, &outcome.text, None);
    }
    let result = match stored {
        Ok(Kept::Yes) => result,
        Ok(Kept::Taken) => {
            tracing::warn!(
                session = session_id,
                "a client's turn came to nothing: another program took over its session"
            );
            Err(TurnError::Taken)
        }
        Err(error) => Err(TurnError::Store(error)),
    };
    let _gone = client.outcome.send(result);
    if !is_stored {
        free(inner, lease).await;
    }
    inner.lease_freed.notify_waiters();
    // An inbox item of the same session may have waited for the lease.
    inner.store.arrived().notify_one();
}

/// A turn whose end could not be written must not block its session for good.
async fn free(inner: &Inner, lease: Lease) {
    let me = inner.store.owner();
    while !inner.interrupt.is_cancelled() {
        let held = lease.clone();
        match inner.store.write(move |db| lease::release(db, me, &held)).await {
            Ok(_) | Err(StoreError::Closed { .. }) => return,
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}

/// What came of the wish to begin.
enum Start {
    Now(Box<Prompt>, Lease),
    Over(Over),
}

/// Tells what came of a turn that is over.
fn tell(client: Client, over: Over) {
    let Over { session_id, came } = over;
    let result = match came {
        Came::Answer { text, finish_reason } => Ok(Outcome { text, finish_reason, ..Outcome::default() }),
        Came::Nothing(why) => Err(TurnError::Unanswered(why)),
    };
    // Whoever has gone does not need it.
    let _gone = client.started.send(Ok(session_id));
    let _gone = client.outcome.send(result);
}

async fn begin(inner: &Inner, turn: Turn, cancel: &CancellationToken) -> Result<Start, TurnError> {
    let model = turn.wishes.model.as_ref().map(|choice| inner.engine.model_of(Some(choice)));
    let turn = Arc::new(turn);
    let mut said = false;
    loop {
        let freed = inner.lease_freed.notified();
        tokio::pin!(freed);
        // From here on a freed lease is noticed, also while the store answers.
        freed.as_mut().enable();
        let prompts = inner.read_prompts().await.map_err(|lost| TurnError::Files(lost.to_string()))?;
        let (ctx, turn, model) = (Arc::clone(&inner.session), Arc::clone(&turn), model.clone());
        let job = move |db: &rusqlite::Connection| {
            let now = Now::in_zone(&ctx.zone);
            let opening = Opening { ctx: &ctx, prompts: &prompts, now: &now, model: model.as_ref() };
            // Nobody but its client has to do with it.
            let begun = begin::begin(db, opening, &turn, None, false)?;
            history::publish(db)?;
            Ok(begun)
        };
        let again = match inner.store.write_for_client(job).await? {
            Begun::Started { prompt, lease } => return Ok(Start::Now(prompt, lease)),
            Begun::Over(over) => return Ok(Start::Over(over)),
            Begun::UnknownCalls => return Err(TurnError::UnknownCalls),
            Begun::NotNow(NotNow::Ours) => ELSEWHERE,
            Begun::NotNow(NotNow::Others(Refused::Held(by))) => {
                if !std::mem::replace(&mut said, true) {
                    tracing::warn!("a client's turn waits: {by}");
                }
                OTHERS
            }
            Begun::NotNow(NotNow::Others(Refused::Unknown(why))) => return Err(TurnError::Unguarded(why)),
        };
        tokio::select! {
            () = freed => {}
            () = tokio::time::sleep(again) => {}
            () = cancel.cancelled() => return Err(TurnError::Engine(EngineError::Interrupted)),
        }
    }
}
