//! A response that is read while it is written: server-sent events, numbered from 0, the last of which has the whole of it.
//!
//! A task writes and a client reads, with a few pieces between them: a slow client slows the engine down. A client that goes away ends the
//! turn; what there is of the response is kept as `incomplete`. The head waits for the first piece, as that of a chat completion does,
//! so that a turn that fails at once has a status.

use axum::response::Response;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::super::ApiServer;
use super::super::answer::End;
use super::super::sse::{self, HEAD, Writer as _};
use super::object::{Draft, GONE};
use super::script::Script;
use super::{failed, keep};
use crate::turn::RunningTurn;

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
                end = Some(End::awaited(&mut running.outcome, cap).await);
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
    let (frames, response) = sse::channel(draft.headers.clone());
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
    let cap = api.0.config.max_concurrent_runs;
    let end = match end {
        Some(end) => Some(end),
        None => sse::tell(&mut running, &mut script, &frames, cap).await,
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
