//! What the command line may ask of a running gateway, and the answers.
//!
//! A request from inside a worker is acknowledged at once: the turn that asks would otherwise wait for its own end.

use hermes_wire::contract::events::{By, who};
use hermes_wire::latest::{ClientReply, ClientRequest};
use hermes_wire::{ProfileName, exit};

use super::answers::{Order, Replies, SLACK, UNAWAITED, answer, carry_out, done, replacement_time};
use super::gateway::Gateway;
use crate::desired::Rest;
use crate::program;
use crate::server::{Request, refused, unknown};
use crate::supervise::actor::Wait;
use crate::supervise::state::Event;

impl Gateway {
    /// Carries out a request. True: take the gateway down, to stop or to become another program.
    pub(super) async fn on_request(&mut self, request: Request) -> bool {
        let by = asker(&request);
        let Request { what, pid, replies, .. } = request;
        let waits = !self.is_inside(pid);
        match what {
            // Answered by the server.
            ClientRequest::Status { .. } => {}
            ClientRequest::Start { profile } => {
                self.start_profile(&profile, Event::Start, by, waits, replies).await;
            }
            ClientRequest::Restart { profile } => {
                self.start_profile(&profile, Event::Restart, by, waits, replies).await;
            }
            ClientRequest::Stop { profile } => self.stop_profile(&profile, by, waits, replies).await,
            ClientRequest::Detach { profile } => self.detach_profile(&profile, by, waits, replies).await,
            ClientRequest::Succeed { profile } => self.succeed(&profile, by, waits, replies).await,
            ClientRequest::Rescan { profile } => self.rescan(profile, waits, replies).await,
            ClientRequest::Release { profile } => self.release_profile(profile, by, replies).await,
            ClientRequest::Renamed { from, to } => self.renamed(&from, to, waits, replies).await,
            ClientRequest::Reload => {
                self.fleet.wanted.look_now().await;
                if waits {
                    self.reload(true, by, Some(replies));
                } else {
                    self.reload(true, by, None);
                    answer(&replies, done(UNAWAITED)).await;
                }
            }
            ClientRequest::Apply => {
                if waits {
                    self.reload(false, by, Some(replies));
                } else {
                    self.reload(false, by, None);
                    answer(&replies, done(UNAWAITED)).await;
                }
            }
            ClientRequest::Shutdown => {
                self.ended_by = Some(by);
                let line = if waits {
                    format!("the gateway is stopping (PID {})", std::process::id())
                } else {
                    UNAWAITED.to_owned()
                };
                answer(&replies, done(&line)).await;
                return true;
            }
            ClientRequest::Renew => {
                self.ended_by = Some(by);
                self.prove(waits, replies).await;
            }
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

    pub(super) async fn start_profile(
        &mut self,
        profile: &ProfileName,
        event: Event,
        by: By,
        waits: bool,
        replies: Replies,
    ) {
        let Some(handle) = self.fleet.handle(profile) else {
            return answer(&replies, unknown(profile)).await;
        };
        self.fleet.wanted.look_now().await;
        if self.fleet.wanted.rest(profile) == Some(Rest::Parked) {
            let message = format!("profile '{profile}' is parked: `{}` says so", handle.home.parked());
            let hint =
                format!("`hermes -p {profile} gateway start` takes that away, where it can be looked at");
            return answer(&replies, refused(exit::FAILURE, &message, Some(hint))).await;
        }
        if profile != self.fleet.primary()
            && let Some(why) = self.fleet.conflict(&handle).await
        {
            return answer(&replies, refused(exit::FAILURE, &why.reason, None)).await;
        }
        self.remember(profile, false, &replies).await;
        let order = Order { handle, event, by, wait: Wait::Serving, time: replacement_time(&self.limits()) };
        carry_out(&self.common, order, waits, replies);
    }

    async fn stop_profile(&mut self, profile: &ProfileName, by: By, waits: bool, replies: Replies) {
        let Some(handle) = self.fleet.handle(profile) else {
            return answer(&replies, unknown(profile)).await;
        };
        // Whoever asks has put the marker there before.
        self.fleet.wanted.look_now().await;
        self.remember(profile, true, &replies).await;
        let parked = self.fleet.wanted.rest(profile) == Some(Rest::Parked);
        let event = if parked { Event::Park } else { Event::Stop };
        let time = self.limits().drain + SLACK;
        carry_out(&self.common, Order { handle, event, by, wait: Wait::Gone, time }, waits, replies);
    }

    async fn detach_profile(&mut self, profile: &ProfileName, by: By, waits: bool, replies: Replies) {
        let Some(handle) = self.fleet.handle(profile) else {
            return answer(&replies, unknown(profile)).await;
        };
        if profile == self.fleet.primary() {
            let message = format!("profile '{profile}' is the gateway's own and cannot be detached");
            return answer(&replies, refused(exit::FAILURE, &message, None)).await;
        }
        let time = self.limits().drain + SLACK;
        carry_out(
            &self.common,
            Order { handle, event: Event::Detach, by, wait: Wait::Gone, time },
            waits,
            replies,
        );
    }

    /// Writes down what is wanted, before anything is done about it. Where that cannot be, a full disk for instance, it is done all
    /// the same: that it is not remembered is said, unless what the home says is enough.
    pub(super) async fn remember(&mut self, profile: &ProfileName, stopped: bool, replies: &Replies) {
        let Err(error) = self.fleet.wanted.set_stopped(profile, stopped) else { return };
        if self.fleet.wanted.rest(profile).is_some() == stopped {
            let error = hermes_host::cause::Chain(&error);
            return tracing::warn!(%profile, %error, "what is wanted is in its home alone");
        }
        let then = if stopped { "starts again" } else { "stays stopped" };
        let error = hermes_host::cause::Chain(&error);
        let line =
            format!("⚠ this cannot be remembered, profile '{profile}' {then} with the gateway: {error}");
        tracing::warn!("{line}");
        answer(replies, ClientReply::Progress(line)).await;
    }

    /// Whether `pid` belongs to a worker: is one, or descends from one.
    fn is_inside(&self, pid: Option<i32>) -> bool {
        let Some(mut pid) = pid.and_then(|pid| u32::try_from(pid).ok()) else { return false };
        let workers: Vec<u32> =
            self.fleet.handles().iter().filter_map(|handle| handle.see(|view| view.pid)).collect();
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

/// Who asks, for the journal.
fn asker(request: &Request) -> By {
    let name = match &request.what {
        ClientRequest::Status { .. } => "status",
        ClientRequest::Start { .. } => "start",
        ClientRequest::Restart { .. } | ClientRequest::Reload => "restart",
        ClientRequest::Stop { .. } | ClientRequest::Shutdown => "stop",
        ClientRequest::Detach { .. } => "detach",
        ClientRequest::Rescan { .. } => "rescan",
        ClientRequest::Release { .. } => "release",
        ClientRequest::Renamed { .. } => "rename",
        ClientRequest::Apply => "reload",
        ClientRequest::Renew => "update",
        ClientRequest::Succeed { .. } => "migrate",
    };
    By { pid: request.pid, uid: Some(request.uid), ..By::named(who::COMMAND, name) }
}
