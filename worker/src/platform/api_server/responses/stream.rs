//! A response that is read while it is written: server-sent events, numbered from 0, the last of which has the whole of it.
//!
//! A task writes and a client reads, with a few pieces between them: a slow client slows the engine down. A client that goes away ends the
//! turn; what there is of the response is kept as `incomplete`. The head waits for the first piece, as that of a chat completion does,
//! so that a turn that fails at once has a status.

use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::super::answer::End;
use super::super::{ApiServer, sse};
use super::object::{Draft, GONE};
use super::script::Script;
use super::{failed, keep};
use crate::turn::{RunningTurn, TurnError};

/// Longest silence.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Longest time that the head waits.
const HEAD: Duration = Duration::from_secs(2);
/// Bytes after which pieces are sent although more are ready.
const BATCH: usize = 16 * 1024;
/// Pieces between the task and its client.
const FRAMES: usize = 4;

/// Streams a running turn.
pub(super) async fn respond(api: ApiServer, mut running: RunningTurn, draft: Draft) -> Response {
    let cap = api.0.config.max_concurrent_runs;
    let mut script = Script::new(&draft, true);
    script.begin(&draft);
    let opened = script.waiting();
    let mut end = None;
    let waiting = async {
        loop {
            if script.waiting() > opened {
                break;
            }
            let Some(event) = running.events.recv().await else {
                let result = (&mut running.outcome).await.unwrap_or(Err(TurnError::Panicked));
                end = Some(End::new(result, cap));
                break;
            };
            script.hear(event);
        }
    };
    // Too late for a status, not for an answer.
    let _late = tokio::time::timeout(HEAD, waiting).await;
    if let Some(End::Failed(error)) = end {
        let items = script.break_off();
        return failed(&api, &draft, error, &items).await;
    }
    let (frames, response) = sse::channel(draft.headers.clone(), FRAMES);
    let tasks = api.0.tasks.clone();
    tasks.spawn(write(api, running, draft, script, end, frames));
    response
}

/// Writes a response to its end, or to that of its client.
async fn write(
    api: ApiServer,
    mut running: RunningTurn,
    mut draft: Draft,
    mut script: Script,
    end: Option<End>,
    frames: mpsc::Sender<Bytes>,
) {
    let end = match end {
        Some(end) => Some(end),
        None => tell(&api, &mut running, &mut script, &frames).await,
    };
    let Some(end) = end else {
        // Ends the turn.
        drop(running);
        let output = script.break_off();
        let object = draft.object(&GONE, &output, None);
        keep(&api, &mut draft, &GONE, object, &output).await;
        return;
    };
    let (status, output, usage) = script.end(&end);
    let object = draft.object(&status, &output, usage.as_ref());
    let object = keep(&api, &mut draft, &status, object, &output).await;
    script.finish(&status, &object);
    // Whoever has gone does not need it.
    let _gone = frames.send(script.take().into()).await;
}

/// Tells what the engine says, until it ends, or until nobody reads: `None`.
async fn tell(
    api: &ApiServer,
    running: &mut RunningTurn,
    script: &mut Script,
    frames: &mpsc::Sender<Bytes>,
) -> Option<End> {
    loop {
        if script.waiting() > 0 {
            frames.send(script.take().into()).await.ok()?;
        }
        let next = tokio::select! {
            () = frames.closed() => return None,
            next = tokio::time::timeout(KEEPALIVE, running.events.recv()) => next,
        };
        match next {
            Err(_silent) => frames.send(Bytes::from_static(b": keepalive\n\n")).await.ok()?,
            Ok(None) => break,
            Ok(Some(event)) => {
                script.hear(event);
                while script.waiting() < BATCH
                    && let Ok(event) = running.events.try_recv()
                {
                    script.hear(event);
                }
            }
        }
    }
    let outcome = tokio::select! {
        () = frames.closed() => return None,
        outcome = &mut running.outcome => outcome,
    };
    Some(End::new(outcome.unwrap_or(Err(TurnError::Panicked)), api.0.config.max_concurrent_runs))
}
