//! The end of the gateway, in phases, each with a deadline and one log line.
//!
//! Quiesce → drain requests → drain workers → terminate → kill. Requests and running turns share one drain time. Another
//! signal jumps to the next harder phase. The caller then releases sockets, record and lock, in that order.

use std::time::{Duration, Instant};

use crate::app::Gateway;
use crate::supervise::actor::Command;
use crate::supervise::state::{Event, Signal};

/// What the workers' own escalation (drain, SIGTERM, SIGKILL) may take beyond the drain time, before everything is killed.
const ESCALATION: Duration = Duration::from_secs(12);
/// After SIGTERM to all, until SIGKILL.
const TERMINATE: Duration = Duration::from_secs(5);
/// After SIGKILL to all, until giving up on a process that the kernel does not end.
const KILL: Duration = Duration::from_secs(5);

/// How hard the stop is. Only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    Drain,
    Terminate,
    Kill,
}

/// Takes everything down that serves profiles. Returns when no worker is left, or nothing more can be done.
pub(crate) async fn run(gateway: &mut Gateway, drain: Duration) {
    let started = Instant::now();
    let phase =
        |name: &str| tracing::info!("shutdown phase: {name} at +{:.2}s", started.elapsed().as_secs_f32());
    let mut urgency = Urgency::Drain;

    phase("quiesce");
    gateway.board.gateway(|view| view.state = "draining");
    gateway.close_watch();
    if let Some(proxy) = &mut gateway.proxy {
        proxy.quiesce();
    }
    for handle in gateway.board.handles() {
        // Not `Quiesce`: a request whose body is still on its way has been taken, and is answered.
        handle.command(Command::StopClaiming).await;
    }

    if let Some(proxy) = gateway.proxy.take() {
        phase("drain requests");
        let mut drained = Box::pin(proxy.drain(drain));
        loop {
            tokio::select! {
                report = &mut drained => {
                    if report.unfinished > 0 {
                        tracing::warn!(requests = report.unfinished, "requests are cut off");
                    }
                    break;
                }
                harder = gateway.next_while_stopping() => {
                    if harder {
                        urgency = Urgency::Terminate;
                        break;
                    }
                }
            }
        }
        drop(drained);
        gateway.proxy = Some(proxy);
    }

    phase("drain workers");
    let left = drain.saturating_sub(started.elapsed());
    let handles = gateway.board.handles();
    let mut limits = gateway.limits();
    limits.drain = left;
    for handle in &handles {
        handle.send(Event::Limits(limits)).await;
        handle.send(Event::Leave).await;
    }
    let mut deadline = Instant::now() + left + ESCALATION;
    if urgency == Urgency::Terminate {
        phase("terminate");
        escalate(gateway, Signal::Terminate).await;
        deadline = Instant::now() + TERMINATE;
    }
    while !gateway.board.handles().is_empty() {
        let harder = tokio::select! {
            harder = gateway.next_while_stopping() => harder,
            () = tokio::time::sleep_until(deadline.into()) => true,
        };
        if !harder {
            continue;
        }
        urgency = match urgency {
            Urgency::Drain => {
                phase("terminate");
                escalate(gateway, Signal::Terminate).await;
                deadline = Instant::now() + TERMINATE;
                Urgency::Terminate
            }
            Urgency::Terminate => {
                phase("kill");
                escalate(gateway, Signal::Kill).await;
                deadline = Instant::now() + KILL;
                Urgency::Kill
            }
            Urgency::Kill if Instant::now() >= deadline => {
                tracing::error!(processes = gateway.children(), "some processes cannot be ended");
                break;
            }
            Urgency::Kill => Urgency::Kill,
        };
    }
    phase("release");
}

async fn escalate(gateway: &Gateway, signal: Signal) {
    for handle in gateway.board.handles() {
        handle.send(Event::Escalate(signal)).await;
    }
}
