//! Answers to commands, and carrying out what one asks of one worker.
//!
//! The loop only starts things; whoever waits for a result is answered by a task of its own.

use std::time::Duration;

use hermes_wire::contract::events::By;
use hermes_wire::exit;
use hermes_wire::latest::ClientReply;
use tokio::sync::mpsc;

use crate::server::refused;
use crate::supervise::actor::{Common, Handle, Wait};
use crate::supervise::policy::Limits;
use crate::supervise::state::{Event, Why};

/// What a wait may take beyond the settings' own deadlines.
pub(super) const SLACK: Duration = Duration::from_secs(15);
/// What a command from inside a turn is told: it would otherwise wait for its own end.
pub const UNAWAITED: &str = "accepted; it is carried out without waiting for this turn";

/// Where the answers to a command go.
pub(super) type Replies = mpsc::Sender<ClientReply>;

/// A final "yes".
pub(super) fn done(line: &str) -> ClientReply {
    ClientReply::Done(line.to_owned())
}

pub(super) async fn answer(replies: &Replies, reply: ClientReply) {
    // A client that went away needs no answer.
    let _ = replies.send(reply).await;
}

/// Time in which a worker is replaced: a swap may wait for older generations that still finish.
pub(super) fn replacement_time(limits: &Limits) -> Duration {
    limits.start * 2 + limits.drain + SLACK
}

/// What is asked of one worker.
pub(super) struct Order {
    pub(super) handle: Handle,
    pub(super) event: Event,
    /// Who asks.
    pub(super) by: By,
    /// What it is to lead to.
    pub(super) wait: Wait,
    /// How long that may take.
    pub(super) time: Duration,
}

/// Carries out an order and answers; at once where nobody `waits` for the result.
pub(super) fn carry_out(common: &Common, order: Order, waits: bool, replies: Replies) {
    let Order { handle, event, by, wait, time } = order;
    common.tracker.spawn(async move {
        if !waits {
            handle.send_for(event, by).await;
            return answer(&replies, done(UNAWAITED)).await;
        }
        let result = tokio::time::timeout(time, handle.send_and_wait_for(event, by, wait)).await;
        answer(&replies, outcome(&handle, wait, result.ok())).await;
    });
}

/// What is said about the observed result.
fn outcome(handle: &Handle, wait: Wait, result: Option<Result<(), Why>>) -> ClientReply {
    let (name, view) = (&handle.name, handle.view());
    match (result, wait) {
        (Some(Ok(())), Wait::Serving) => {
            let pid = view.pid.map(|pid| format!(" (PID {pid})")).unwrap_or_default();
            done(&format!("profile '{name}' is {}{pid}", view.state))
        }
        (Some(Ok(())), Wait::Gone) => done(&format!("profile '{name}' is {}", view.state)),
        (Some(Err(why)), _) => {
            let code = if view.state == "failed" || view.ready { exit::CONFIG } else { exit::FAILURE };
            let place = why.file.map(|file| format!(" ({file})")).unwrap_or_default();
            let kept = if view.ready { "; the worker that ran before goes on" } else { "" };
            let message = format!("profile '{name}' does not start: {}{place}{kept}", why.reason);
            refused(code, &message, Some(format!("`hermes status -p {name}` shows more")))
        }
        (None, _) => {
            let message = format!("profile '{name}' is still {}", view.state);
            refused(exit::FAILURE, &message, Some(format!("`hermes status -p {name}` shows how it goes on")))
        }
    }
}
