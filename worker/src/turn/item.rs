//! The turn of an item of the inbox, from its prompt to its end. Nobody waits for its answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::finish::{Ending, Finished};
use super::journal::TurnJournal;
use super::lease::Lease;
use super::place::{Kind, Place};
use super::record::Recorder;
use super::{Inner, Item, Reply, asked, asking, run, title};
use crate::delivery::{is_silence, ledger};
use crate::engine::{Prompt, Seat};

/// Pieces between the engine and who shows them.
const SHOWN: usize = 64;

/// One turn of the inbox.
pub(super) async fn turn(
    inner: &Arc<Inner>,
    prompt: Prompt,
    mut lease: Lease,
    item: Item,
    stop: CancellationToken,
) -> Finished {
    let is_run = item.run.is_some();
    let patience = run::Patience {
        silence: inner.settings.inactivity_timeout,
        // Whoever reads a run is told, and asks again.
        provider: if is_run { Duration::ZERO } else { inner.settings.postpone_timeout },
        before: item.postponed,
    };
    let seat: Arc<dyn Seat> = Place::new(inner, Kind::Inbox);
    // Clients of the API name their conversations themselves.
    let untitled = if is_run { None } else { title::question(inner, &prompt) };
    let is_open = inner.session.is_steered;
    let journal =
        TurnJournal::new(inner, &prompt, &lease, (is_open, item.is_stored)).of_run(item.run.clone());
    let ending = if let Some(command) = &item.command {
        tokio::select! {
            biased;
            () = stop.cancelled() => Ending::Released,
            said = command.run(&journal, &prompt) => Ending::Said(said),
        }
    } else {
        let engine = inner.engine.as_ref();
        let desk = asked::sender(inner, &prompt, &lease.key, &item);
        let recorder = item.run.as_deref().map(|run| Recorder::of(inner, run));
        let events = recorder.as_ref().map(Recorder::events);
        let asker = match (item.run.as_deref(), &events) {
            (Some(run), Some(events)) => {
                Some(asking::of_stream(inner, run, &prompt.session_id, events.clone()))
            }
            _ => asking::of_item(inner, &lease.key, &prompt.session_id, &item),
        };
        let waits = || inner.questions.is_open(&lease.key);
        let mut shows = if item.is_answered_there(&inner.deliveries) {
            inner.deliveries.stream(item.id, &item.delivery, &item.chat_id)
        } else {
            None
        };
        let (listener, pieces) = match (events, &shows) {
            (Some(events), _) => (Some(events), None),
            (None, Some(_)) => Some(mpsc::channel(SHOWN)).unzip(),
            (None, None) => (None, None),
        };
        let may_repeat = shows.is_some();
        let office = run::Office { seat, asker, desk, listener, may_repeat, waits: &waits };
        let running = run::run_unwatched(engine, &prompt, &journal, patience, office, &stop);
        let showing = async {
            if let Some((shows, pieces)) = shows.as_mut().zip(pieces) {
                shows.run(pieces, item.waits.subscribe()).await;
            }
        };
        let (ending, ()) = tokio::join!(running, showing);
        inner.questions.close(&lease.key);
        if let Some(shows) = shows.as_mut().filter(|_| !matches!(ending, Ending::Answered(_))) {
            shows.end().await;
        }
        if let Some(recorder) = recorder {
            recorder.end().await;
        }
        ending
    };
    let booked = journal.booked();
    let ending = if inner.running.end(&lease.key) { run::superseded(ending) } else { ending };
    let outgoing = match &ending {
        Ending::Answered(outcome) if is_sent(&item, &outcome.text) => {
            Some(inner.deliveries.packed(&item.delivery, &outcome.text).await)
        }
        _ => None,
    };
    inner.held.end(&mut lease);
    Finished {
        session_id: prompt.session_id,
        lease,
        reply: Reply::Ledger(item),
        booked,
        ending,
        untitled,
        outgoing,
        fresh_after: inner.deliveries.fresh_after(),
    }
}

/// Whether an answer goes through the ledger.
fn is_sent(item: &Item, answer: &str) -> bool {
    ledger::is_kept(&item.delivery) && !is_silence(answer)
}
