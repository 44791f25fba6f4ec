//! The turn of an item of the inbox, from its prompt to its end. Nobody waits for its answer.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::finish::{Ending, Finished};
use super::journal::TurnJournal;
use super::lease::Lease;
use super::place::{Kind, Place};
use super::record::Recorder;
use super::{Inner, Item, Reply, asked, asking, run, title};
use crate::engine::{Prompt, Seat};

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
    let is_open_to_all = inner.session.is_steered && !is_run;
    let journal =
        TurnJournal::new(inner, &prompt, &lease, (is_open_to_all, item.is_stored)).of_run(item.run.clone());
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
        let office = run::Office { seat, asker, desk, listener: events, waits: &waits };
        let ending = run::run_unwatched(engine, &prompt, &journal, patience, office, &stop).await;
        inner.questions.close(&lease.key);
        if let Some(recorder) = recorder {
            recorder.end().await;
        }
        ending
    };
    let booked = journal.booked();
    let ending = if inner.running.end(&lease.key) { run::superseded(ending) } else { ending };
    inner.held.end(&mut lease);
    Finished { session_id: prompt.session_id, lease, reply: Reply::Ledger(item), booked, ending, untitled }
}
