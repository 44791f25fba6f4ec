//! Profiles that a command has taken out of service for as long as it is connected: while a home is moved or removed, nobody is
//! sent there and no worker of it starts. When the command hangs up, however it ended, the disk decides again.

use hermes_wire::ProfileName;
use hermes_wire::contract::events::{By, who};

use super::answers::{Order, Replies, SLACK, answer, carry_out, done};
use super::gateway::Gateway;
use crate::desired::Rest;
use crate::server::refused;
use crate::supervise::actor::Wait;
use crate::supervise::state::Event;

impl Gateway {
    /// Takes a profile out of service; says so when its worker is gone.
    pub(super) async fn release_profile(&mut self, profile: ProfileName, by: By, replies: Replies) {
        if profile == *self.fleet.primary() {
            let message = format!("profile '{profile}' is the gateway's own and cannot be released");
            let hint = Some("stop the gateway first: hermes gateway stop".to_owned());
            return answer(&replies, refused(hermes_wire::exit::FAILURE, &message, hint)).await;
        }
        tracing::info!(profile = %profile, "released to a command");
        self.fleet.released.add(&profile, replies, &self.common.tracker);
        if self.fleet.handle(&profile).is_some() {
            self.fleet.dismiss(&profile, by).await;
        } else {
            self.fleet.released.tell(&profile).await;
        }
    }

    /// A command hung up.
    pub(super) async fn end_release(&mut self, profile: &ProfileName) {
        if self.fleet.released.end(profile) {
            self.look_now().await;
            if self.fleet.wanted.is_gone(profile) {
                self.fleet.forget(profile);
            }
        }
    }

    /// A home has another name: what was remembered of the old one holds for the new one.
    pub(super) async fn renamed(
        &mut self,
        from: &ProfileName,
        to: ProfileName,
        waits: bool,
        replies: Replies,
    ) {
        if let Err(error) = self.fleet.wanted.rename(from, &to) {
            let error = hermes_host::cause::Chain(&error);
            tracing::warn!(profile = %to, %error, "what is wanted of it is not remembered");
        }
        self.fleet.released.forget(&to);
        self.rescan(Some(to), waits, replies).await;
    }

    /// Looks at the homes now, and answers when `profile` is served.
    pub(super) async fn rescan(&mut self, profile: Option<ProfileName>, waits: bool, replies: Replies) {
        self.look_now().await;
        let Some(profile) = profile else { return answer(&replies, done("the homes were looked at")).await };
        let Some(handle) = self.fleet.staying(&profile) else {
            return answer(&replies, done(&format!("profile '{profile}' is not served"))).await;
        };
        if !handle.view().desired_running {
            let parked = self.fleet.wanted.rest(&profile) == Some(Rest::Parked);
            let state = if parked { "parked" } else { "stopped" };
            return answer(&replies, done(&format!("profile '{profile}' is {state}"))).await;
        }
        let time = self.limits().start * 2 + SLACK;
        let by = By::named(who::COMMAND, "rescan");
        let order = Order { handle, event: Event::Begin, by, wait: Wait::Serving, time };
        carry_out(&self.common, order, waits, replies);
    }

    async fn look_now(&mut self) {
        self.fleet.look_now().await;
        self.refit();
    }
}
