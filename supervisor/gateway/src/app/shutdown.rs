//! The end of the gateway, in phases, each with a deadline and one log line.
//!
//! Quiesce → drain requests → drain workers → terminate → kill. Requests and running turns share one drain time. Another
//! signal jumps to the next harder phase. The caller then releases sockets, record and lock, in that order.

use std::time::Duration;

use super::answers::{answer, done};
use super::gateway::{Gateway, Happened};
use hermes_host::clock;
use hermes_wire::contract::events::{By, who};
use hermes_wire::exit;
use hermes_wire::latest::ClientRequest;

use crate::logging;
use crate::server::{Request, refused};
use crate::signal::Interrupt;
use crate::supervise::actor::{Command, FleetEvent};
use crate::supervise::state::{Event, Signal};

/// What the workers' own escalation (drain, SIGTERM, SIGKILL) may take beyond the drain time, before everything is killed.
const ESCALATION: Duration = Duration::from_secs(12);
/// After SIGTERM to all, until SIGKILL.
const TERMINATE: Duration = Duration::from_secs(5);
/// After SIGKILL to all, until giving up on a process that the kernel does not end.
const KILL: Duration = Duration::from_secs(5);

/// What a stop may take in all beyond the drain time.
pub(super) const BEYOND_DRAIN: Duration = ESCALATION.saturating_add(TERMINATE).saturating_add(KILL);

/// Busy profiles named before the rest is only counted.
const NAMED: usize = 5;

/// How hard the stop is. Only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    Drain,
    Terminate,
    Kill,
}

/// Takes everything down that serves profiles. Returns when no worker is left, or nothing more can be done.
pub(super) async fn run(gateway: &mut Gateway, drain: Duration) {
    let started = clock::now();
    let phase =
        |name: &str| tracing::info!("shutdown phase: {name} at +{:.2}s", started.elapsed().as_secs_f32());
    let mut urgency = Urgency::Drain;

    phase("quiesce");
    gateway.board.gateway(|view| view.state = "draining");
    gateway.fleet.wanted.close();
    gateway.edge.quiesce();
    for handle in gateway.fleet.handles() {
        // Not `Quiesce`: a request whose body is still on its way has been taken, and is answered.
        handle.command(Command::StopClaiming).await;
    }
    if !drain.is_zero() {
        let workers = gateway.board.snapshot().workers;
        let busy = workers.iter().map(|w| (w.name.as_str(), u64::from(w.active_turns), w.requests_active));
        tracing::info!(target: logging::TERMINAL, "{}", awaited(busy, drain));
    }

    phase("drain requests");
    if !gateway.drain_requests(drain, |_, harder| harder).await {
        urgency = Urgency::Terminate;
    }

    phase("drain workers");
    let left = drain.saturating_sub(started.elapsed());
    let handles = gateway.fleet.handles();
    let mut limits = gateway.limits();
    limits.drain = left;
    for handle in &handles {
        handle.send(Event::Limits(limits)).await;
        handle.send_for(Event::Leave, By::named(who::GATEWAY, "stop")).await;
    }
    let mut deadline = clock::now() + left + ESCALATION;
    if urgency == Urgency::Terminate {
        phase("terminate");
        escalate(gateway, Signal::Terminate).await;
        deadline = clock::now() + TERMINATE;
    }
    while !gateway.fleet.handles().is_empty() {
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
                deadline = clock::now() + TERMINATE;
                Urgency::Terminate
            }
            Urgency::Terminate => {
                phase("kill");
                escalate(gateway, Signal::Kill).await;
                deadline = clock::now() + KILL;
                Urgency::Kill
            }
            Urgency::Kill if clock::now() >= deadline => {
                tracing::error!(processes = gateway.common.children.len(), "some processes cannot be ended");
                break;
            }
            Urgency::Kill => Urgency::Kill,
        };
    }
    phase("release");
}

impl Gateway {
    /// Lets what clients have asked be answered, until `ends` says of something that happens meanwhile that it is not waited for any
    /// longer; it hears whether that asks for a harder stop. False: it was cut short.
    pub(super) async fn drain_requests(
        &mut self,
        drain: Duration,
        ends: impl Fn(&Self, bool) -> bool,
    ) -> bool {
        let Some(proxy) = self.edge.take_out() else { return true };
        let mut drained = Box::pin(proxy.drain(drain));
        let is_done = loop {
            tokio::select! {
                report = &mut drained => {
                    if report.unfinished > 0 {
                        tracing::warn!(requests = report.unfinished, "requests are cut off");
                    }
                    break true;
                }
                harder = self.next_while_stopping() => {
                    if ends(self, harder) {
                        break false;
                    }
                }
            }
        };
        drop(drained);
        self.edge.put_back(proxy);
        is_done
    }

    /// While stopping, nothing is possible, but to stop for good where that was not meant. True: stop harder.
    pub(super) async fn next_while_stopping(&mut self) -> bool {
        match self.next().await {
            Happened::Signal(Interrupt::Stop(name)) => {
                if self.renewals.stop_instead(name) {
                    return false;
                }
                // Whoever stops it does not want it started again.
                self.restart = false;
                tracing::warn!("{name} again: stopping harder");
                true
            }
            Happened::Asked(asked) => {
                self.on_asked_while_stopping(asked).await;
                false
            }
            Happened::Request(Request { what: ClientRequest::Shutdown, replies, .. }) => {
                self.renewals.stop_instead("asked to");
                answer(&replies, done("the gateway is stopping")).await;
                false
            }
            Happened::Request(request) => {
                let reply = if self.renewals.is_under_way() {
                    let hint = Some("try again in a moment".to_owned());
                    refused(exit::RESTART, "the gateway is taking up its new program", hint)
                } else {
                    refused(exit::UNAVAILABLE, "the gateway is stopping", None)
                };
                answer(&request.replies, reply).await;
                false
            }
            Happened::Fleet(event) => {
                self.on_fleet_while_stopping(event).await;
                false
            }
            Happened::Signal(Interrupt::Reload | Interrupt::Renew)
            | Happened::Stir(_)
            | Happened::Reloaded(_)
            | Happened::AbsenceOver(_) => false,
            Happened::Proved(proved) => {
                answer(&proved.replies, refused(exit::UNAVAILABLE, "the gateway is stopping", None)).await;
                false
            }
        }
    }

    /// While stopping nobody is admitted any more. Where workers go on, requests may wait for one that has just been woken, or has died: it
    /// is admitted, and passed on. The settings of the gateway do not change any more.
    async fn on_fleet_while_stopping(&mut self, event: FleetEvent) {
        match event {
            FleetEvent::Reported { profile, generation, report, decide }
                if self.renewals.passes_workers() && profile != *self.fleet.primary() =>
            {
                let _ = decide.send(self.judge(&profile, generation, *report).await);
            }
            FleetEvent::Reported { .. } | FleetEvent::Ready { .. } => {}
            FleetEvent::Gone { profile, generation } => self.fleet.gone(&profile, generation),
            FleetEvent::Ended { profile } => self.fleet.ended_for_good(&profile),
        }
    }
}

async fn escalate(gateway: &Gateway, signal: Signal) {
    for handle in gateway.fleet.handles() {
        handle.send(Event::Escalate(signal)).await;
    }
}

/// What a stop waits for, for whoever pressed Ctrl-C: name, running turns and requests in flight of everybody.
fn awaited<'a>(workers: impl Iterator<Item = (&'a str, u64, u64)>, drain: Duration) -> String {
    let count = |n: u64, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let busy: Vec<String> = workers
        .filter(|(_, turns, requests)| turns + requests > 0)
        .map(|(name, turns, requests)| {
            format!("{name} ({}, {})", count(turns, "turn"), count(requests, "request"))
        })
        .collect();
    if busy.is_empty() {
        return "stopping; nothing is in progress".to_owned();
    }
    let more = busy.len().saturating_sub(NAMED);
    let rest = if more > 0 { format!(" and {more} more profiles") } else { String::new() };
    format!(
        "stopping; waiting up to {} s for {}{rest}; another Ctrl-C ends them now",
        drain.as_secs(),
        busy[..busy.len().min(NAMED)].join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 7: Ctrl-C in the foreground says at once what is being waited for.
    #[test]
    fn n07_a_stop_says_what_it_waits_for() {
        let drain = Duration::from_secs(20);
        assert_eq!(awaited([("default", 0, 0)].into_iter(), drain), "stopping; nothing is in progress");
        assert_eq!(
            awaited([("default", 0, 0), ("coder", 2, 1), ("ops", 0, 3)].into_iter(), drain),
            "stopping; waiting up to 20 s for coder (2 turns, 1 request), ops (0 turns, 3 requests); another Ctrl-C ends them now"
        );
        let many = awaited((0..9).map(|_| ("p", 1, 0)), drain);
        assert!(many.contains(" and 4 more profiles; another"), "{many}");
    }
}
