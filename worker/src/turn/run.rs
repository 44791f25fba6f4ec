//! Running the engine: interruption, silence, panics.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::TurnError;
use super::finish::Ending;
use crate::engine::native::jitter;
use crate::engine::{Engine, EngineError, Event, EventSink, Journal, Outcome, Prompt, Seat};
use crate::inbox::postpone::{self, Postponed};
use crate::provider::Fault;
use crate::session::epoch;
use crate::tools::asking::Asker;
use crate::tools::desk::Desk;

/// An engine that ignores its cancellation for so long is dropped.
const GRACE: Duration = Duration::from_millis(1500);

/// Room for pieces that nobody looks at.
const EVENTS: usize = 16;

/// One turn of the engine, to its end. Returns within about two seconds of `cancel`.
pub(super) async fn run(
    engine: &dyn Engine,
    prompt: &Prompt,
    journal: &dyn Journal,
    events: EventSink,
    cancel: &CancellationToken,
) -> Result<Outcome, TurnError> {
    // Nothing of the engine's own state is used after a panic; `run` borrows it immutably.
    let turn = AssertUnwindSafe(engine.run(prompt, journal, events, cancel.clone())).catch_unwind();
    let ignored = async {
        cancel.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        biased;
        result = turn => match result {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(error)) => Err(TurnError::Engine(error)),
            Err(_panic) => Err(TurnError::Panicked),
        },
        () = ignored => Err(TurnError::Engine(EngineError::Interrupted)),
    }
}

/// How patient an inbox turn is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// The engine may say nothing for so long.
    pub(super) silence: Option<Duration>,
    /// A provider may be away for so long.
    pub(super) provider: Duration,
    /// How long it has been away already.
    pub(super) before: Postponed,
}

/// What a turn that nobody watches has of this worker.
pub(super) struct Office<'a> {
    /// Its place.
    pub(super) seat: Arc<dyn Seat>,
    /// Who can be asked whether something may be done.
    pub(super) asker: Option<Arc<dyn Asker>>,
    /// Whoever can be asked something.
    pub(super) desk: Option<Arc<dyn Desk>>,
    /// Whoever is told what happens.
    pub(super) listener: Option<mpsc::Sender<Event>>,
    /// What the listener was told can be taken back, so the engine may say it again.
    pub(super) may_repeat: bool,
    /// Whether an answer of theirs is waited for: that is no silence of the engine's.
    pub(super) waits: &'a (dyn Fn() -> bool + Sync),
}

/// A turn that nobody watches, stopped when the engine is silent for too long. Interrupted by `cancel` it is released; what the
/// provider is to blame for is postponed.
pub(super) async fn run_unwatched(
    engine: &dyn Engine,
    prompt: &Prompt,
    journal: &dyn Journal,
    patience: Patience,
    office: Office<'_>,
    cancel: &CancellationToken,
) -> Ending {
    let silence = patience.silence;
    let (events, mut pieces) = mpsc::channel(EVENTS);
    let Office { seat, asker, desk, listener, may_repeat, waits } = office;
    let events = EventSink::new(events, seat).asking(asker).with_desk(desk).repeatable(may_repeat);
    let too_quiet = async {
        if silence.is_none() && listener.is_none() {
            pieces.close();
            return std::future::pending().await;
        }
        // Longer than any turn.
        let limit = silence.unwrap_or(Duration::from_hours(24 * 365));
        loop {
            match tokio::time::timeout(limit, pass_on(&mut pieces, listener.as_ref())).await {
                Ok(Some(())) => {}
                // No more pieces; what is left is the end.
                Ok(None) => return std::future::pending().await,
                Err(_) if waits() => {}
                Err(_) => return limit,
            }
        }
    };
    let result = tokio::select! {
        biased;
        result = run(engine, prompt, journal, events, cancel) => Ok(result),
        limit = too_quiet => Err(limit),
    };
    // What was said at the very end.
    if let Some(listener) = &listener {
        while let Ok(event) = pieces.try_recv() {
            // It outlives the turn.
            let _ = listener.send(event).await;
        }
    }
    let result = match result {
        Ok(result) => result,
        Err(limit) => {
            let error = format!("the engine said nothing for {} s", limit.as_secs());
            return unanswered(Fault::Unreachable, error, 0, None, patience);
        }
    };
    match result {
        Ok(outcome) => Ending::Answered(outcome),
        Err(TurnError::Engine(EngineError::Interrupted)) if cancel.is_cancelled() => Ending::Released,
        Err(TurnError::Engine(EngineError::Provider { fault, message, calls, retry_after, .. })) => {
            unanswered(fault, message, calls, retry_after, patience)
        }
        Err(TurnError::Engine(EngineError::Config(message))) => {
            unanswered(Fault::Setup, message, 0, None, patience)
        }
        Err(error) => failed(&error),
    }
}

/// Tells whoever listens the next piece; `None`: there are no more. Cancel safe: a piece is taken when there is room for it.
async fn pass_on(pieces: &mut mpsc::Receiver<Event>, listener: Option<&mpsc::Sender<Event>>) -> Option<()> {
    let room = match listener {
        Some(listener) => listener.reserve().await.ok(),
        None => None,
    };
    let piece = pieces.recv().await?;
    if let Some(room) = room {
        room.send(piece);
    }
    Some(())
}

/// The end of a turn whose answer is not wanted any more.
pub(super) fn superseded(ending: Ending) -> Ending {
    match ending {
        Ending::Answered(outcome) => Ending::Superseded(Some(outcome)),
        Ending::Released | Ending::Left | Ending::Postponed { .. } => Ending::Superseded(None),
        // It says more.
        ending @ (Ending::Failed { .. } | Ending::Superseded(_) | Ending::Said(_)) => ending,
    }
}

/// A turn without an answer: tried again later if the provider is to blame and patience lasts, else over.
fn unanswered(
    fault: Fault,
    error: String,
    calls: u32,
    asked: Option<Duration>,
    patience: Patience,
) -> Ending {
    let wait = postpone::wait(patience.before, epoch(), patience.provider, asked, jitter());
    match wait.filter(|_| fault.is_providers()) {
        Some(wait) => Ending::Postponed { fault, error, calls, wait },
        None => Ending::Failed { error, calls },
    }
}

/// The failure as it is stored.
pub(super) fn failed(error: &TurnError) -> Ending {
    let calls = match error {
        TurnError::Engine(EngineError::Provider { calls, .. }) => *calls,
        _ => 0,
    };
    let text = match error {
        TurnError::Engine(error) => error.to_string(),
        other => other.to_string(),
    };
    Ending::Failed { error: text, calls }
}
