//! What the command line may ask of a running gateway, and the answers.
//!
//! The loop only starts things; whoever waits for a result is answered by a task of its own. A request from inside a worker is
//! acknowledged at once: the turn that asks would otherwise wait for its own end.

use std::time::Duration;

use hermes_wire::latest::{ClientReply, ClientRequest};
use hermes_wire::{ProfileName, exit};
use tokio::sync::mpsc;

use super::fleet::conflict;
use super::gateway::{Gateway, Happened};
use crate::program;
use crate::server::{Request, refused, unknown};
use crate::signal::Interrupt;
use crate::supervise::actor::{Handle, Wait};
use crate::supervise::policy::Limits;
use crate::supervise::state::{Event, Why};
use crate::watch::HomeWatch;

/// What a wait may take beyond the settings' own deadlines.
pub(super) const SLACK: Duration = Duration::from_secs(15);

type Replies = mpsc::Sender<ClientReply>;

impl Gateway {
    /// Carries out a request. True: take the gateway down, to stop or to become another program.
    pub(super) async fn on_request(&mut self, request: Request) -> bool {
        let Request { what, pid, replies } = request;
        let waits = !self.is_inside(pid);
        match what {
            // Answered by the server.
            ClientRequest::Status { .. } => {}
            ClientRequest::Start { profile } => {
                self.start_profile(&profile, Event::Start, waits, replies).await;
            }
            ClientRequest::Restart { profile } => {
                self.start_profile(&profile, Event::Restart, waits, replies).await;
            }
            ClientRequest::Stop { profile } => self.stop_profile(&profile, waits, replies).await,
            ClientRequest::Detach { profile } => self.detach_profile(&profile, waits, replies).await,
            ClientRequest::Rescan { profile } => self.rescan(profile, waits, replies).await,
            ClientRequest::Release { profile } => self.release_profile(profile, replies).await,
            ClientRequest::Renamed { from, to } => self.renamed(&from, to, waits, replies).await,
            ClientRequest::Reload => {
                if let Some(watch) = &mut self.watch {
                    watch.look_now().await;
                }
                if waits {
                    self.reload(true, Some(replies));
                } else {
                    self.reload(true, None);
                    answer(&replies, done("workers are replaced one after the other")).await;
                }
            }
            ClientRequest::Apply => {
                if waits {
                    self.reload(false, Some(replies));
                } else {
                    self.reload(false, None);
                    answer(&replies, done("accepted; it is carried out without waiting for this turn")).await;
                }
            }
            ClientRequest::Shutdown => {
                answer(&replies, done(&format!("the gateway is stopping (PID {})", std::process::id())))
                    .await;
                return true;
            }
            ClientRequest::Renew => self.prove(waits, replies).await,
        }
        false
    }

    /// While starting, only a stop is possible.
    pub(super) async fn on_early_request(&mut self, request: Request) -> bool {
        if request.what == ClientRequest::Shutdown {
            return self.on_request(request).await;
        }
        let hint = Some("try again in a moment".to_owned());
        answer(&request.replies, refused(exit::RESTART, "the gateway is still starting", hint)).await;
        false
    }

    /// While stopping, nothing is possible, but to stop for good where that was not meant. True: stop harder.
    pub(crate) async fn next_while_stopping(&mut self) -> bool {
        match self.next().await {
            Happened::Signal(Interrupt::Stop(name)) => {
                if self.stop_instead(name) {
                    return false;
                }
                tracing::warn!("{name} again: stopping harder");
                true
            }
            Happened::Request(Request { what: ClientRequest::Shutdown, replies, .. }) => {
                self.stop_instead("asked to");
                answer(&replies, done("the gateway is stopping")).await;
                false
            }
            Happened::Request(request) => {
                let reply = if self.renewal.is_some() {
                    let hint = Some("try again in a moment".to_owned());
                    refused(exit::RESTART, "the gateway is taking up its new program", hint)
                } else {
                    refused(exit::UNAVAILABLE, "the gateway is stopping", None)
                };
                answer(&request.replies, reply).await;
                false
            }
            Happened::Fleet(event) => {
                self.on_fleet_while_stopping(event);
                false
            }
            Happened::Signal(Interrupt::Reload)
            | Happened::Home(_)
            | Happened::HungUp(_)
            | Happened::Reloaded(_)
            | Happened::Retry => false,
            Happened::Proved(proved) => {
                answer(&proved.replies, refused(exit::UNAVAILABLE, "the gateway is stopping", None)).await;
                false
            }
        }
    }

    /// Looks at homes no more.
    pub(crate) fn close_watch(&mut self) {
        self.watch = None::<HomeWatch>;
    }

    /// The limits in force.
    pub(crate) fn limits(&self) -> Limits {
        self.common.terms().limits
    }

    /// Worker processes that still exist.
    pub(crate) fn children(&self) -> usize {
        self.common.children.len()
    }

    async fn start_profile(&mut self, profile: &ProfileName, event: Event, waits: bool, replies: Replies) {
        let Some(handle) = self.board.handle(profile) else {
            return answer(&replies, unknown(profile)).await;
        };
        if *profile != self.primary
            && let Some(why) = conflict(&handle).await
        {
            return answer(&replies, refused(exit::FAILURE, &why.reason, None)).await;
        }
        self.remember(profile, false, &replies).await;
        let limits = self.limits();
        // A swap may wait for older generations that still finish.
        let time = limits.start * 2 + limits.drain + SLACK;
        self.carry_out(handle, event, Wait::Serving, time, waits, replies);
    }

    async fn stop_profile(&mut self, profile: &ProfileName, waits: bool, replies: Replies) {
        let Some(handle) = self.board.handle(profile) else {
            return answer(&replies, unknown(profile)).await;
        };
        self.remember(profile, true, &replies).await;
        let time = self.limits().drain + SLACK;
        self.carry_out(handle, Event::Stop, Wait::Gone, time, waits, replies);
    }

    async fn detach_profile(&mut self, profile: &ProfileName, waits: bool, replies: Replies) {
        let Some(handle) = self.board.handle(profile) else {
            return answer(&replies, unknown(profile)).await;
        };
        if *profile == self.primary {
            let message = format!("profile '{profile}' is the gateway's own and cannot be detached");
            return answer(&replies, refused(exit::FAILURE, &message, None)).await;
        }
        let time = self.limits().drain + SLACK;
        self.carry_out(handle, Event::Detach, Wait::Gone, time, waits, replies);
    }

    /// Writes down what is wanted, before anything is done about it. Where that cannot be, a full disk for instance, it is done all
    /// the same: that it is not remembered is said.
    async fn remember(&mut self, profile: &ProfileName, stopped: bool, replies: &Replies) {
        let Err(error) = self.desired.set_stopped(profile, stopped) else { return };
        let then = if stopped { "starts again" } else { "stays stopped" };
        let error = hermes_host::cause::Chain(&error);
        let line =
            format!("⚠ this cannot be remembered, profile '{profile}' {then} with the gateway: {error}");
        tracing::warn!("{line}");
        answer(replies, ClientReply::Progress(line)).await;
    }

    pub(super) fn carry_out(
        &self,
        handle: Handle,
        event: Event,
        wait: Wait,
        time: Duration,
        waits: bool,
        replies: Replies,
    ) {
        self.common.tracker.spawn(async move {
            if !waits {
                handle.send(event).await;
                return answer(&replies, done("accepted; it is carried out without waiting for this turn"))
                    .await;
            }
            let result = tokio::time::timeout(time, handle.send_and_wait(event, wait)).await;
            answer(&replies, outcome(&handle, wait, result.ok())).await;
        });
    }

    /// Whether `pid` belongs to a worker: is one, or descends from one.
    fn is_inside(&self, pid: Option<i32>) -> bool {
        let Some(mut pid) = pid.and_then(|pid| u32::try_from(pid).ok()) else { return false };
        let workers: Vec<u32> = self.board.handles().iter().filter_map(|handle| handle.view().pid).collect();
        // Deep enough for any shell in a shell; a loop cannot be, but nothing here depends on that.
        for _ in 0..64 {
            if workers.contains(&pid) {
                return true;
            }
            match program::parent(pid) {
                Some(up) if up > 1 && up != std::process::id() => pid = up,
                _ => return false,
            }
        }
        false
    }
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

pub(super) fn done(line: &str) -> ClientReply {
    ClientReply::Done(line.to_owned())
}

pub(super) async fn answer(replies: &Replies, reply: ClientReply) {
    // A client that went away needs no answer.
    let _ = replies.send(reply).await;
}
