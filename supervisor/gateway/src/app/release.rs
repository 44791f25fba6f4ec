//! Profiles that a command has taken out of service for as long as it is connected: while a home is moved or removed, nobody is
//! sent there and no worker of it starts. When the command hangs up, however it ended, the disk decides again.

use hermes_wire::ProfileName;
use hermes_wire::latest::ClientReply;
use tokio::sync::mpsc;

use super::gateway::Gateway;
use super::requests::{answer, done};
use crate::server::refused;
use crate::supervise::actor::Wait;
use crate::supervise::state::Event;

type Replies = mpsc::Sender<ClientReply>;

impl Gateway {
    /// Takes a profile out of service; says so when its worker is gone.
    pub(super) async fn release_profile(&mut self, profile: ProfileName, replies: Replies) {
        if profile == self.primary {
            let message = format!("profile '{profile}' is the gateway's own and cannot be released");
            let hint = Some("stop the gateway first: hermes gateway stop".to_owned());
            return answer(&replies, refused(hermes_wire::exit::FAILURE, &message, hint)).await;
        }
        tracing::info!(profile = %profile, "released to a command");
        let (hung_up, watched, name) = (self.hung_up.0.clone(), replies.clone(), profile.clone());
        self.common.tracker.spawn(async move {
            watched.closed().await;
            // Nobody listens any more when the gateway itself ends.
            let _ = hung_up.send(name).await;
        });
        self.released.entry(profile.clone()).or_default().push(replies);
        if self.board.handle(&profile).is_some() {
            self.dismiss(&profile).await;
        } else {
            self.tell_released(&profile).await;
        }
    }

    /// Its worker is gone.
    pub(super) async fn tell_released(&self, profile: &ProfileName) {
        for replies in self.released.get(profile).into_iter().flatten() {
            answer(replies, ClientReply::Progress("released".to_owned())).await;
        }
    }

    /// A command hung up.
    pub(super) async fn end_release(&mut self, profile: &ProfileName) {
        if let Some(holders) = self.released.get_mut(profile) {
            holders.retain(|replies| !replies.is_closed());
            if !holders.is_empty() {
                return;
            }
            self.released.remove(profile);
        }
        self.look_now().await;
        if self.watch.as_ref().is_some_and(|watch| !watch.homes().contains(profile)) {
            self.forget(profile);
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
        if self.desired.is_stopped(from) {
            for (name, stopped) in [(&to, true), (from, false)] {
                if let Err(error) = self.desired.set_stopped(name, stopped) {
                    let error = hermes_host::cause::Chain(&error);
                    tracing::warn!(profile = %name, %error, "what is wanted of it is not remembered");
                }
            }
        }
        self.released.remove(&to);
        self.rescan(Some(to), waits, replies).await;
    }

    /// Looks at the homes now, and answers when `profile` is served.
    pub(super) async fn rescan(&mut self, profile: Option<ProfileName>, waits: bool, replies: Replies) {
        self.look_now().await;
        let Some(profile) = profile else { return answer(&replies, done("the homes were looked at")).await };
        let Some(handle) = self.board.handle(&profile).filter(|_| !self.leaving.contains(&profile)) else {
            return answer(&replies, done(&format!("profile '{profile}' is not served"))).await;
        };
        if !handle.view().desired_running {
            return answer(&replies, done(&format!("profile '{profile}' is stopped"))).await;
        }
        let limits = self.limits();
        let time = limits.start * 2 + super::requests::SLACK;
        self.carry_out(handle, Event::Start, Wait::Serving, time, waits, replies);
    }

    async fn look_now(&mut self) {
        let Some(watch) = &mut self.watch else { return };
        watch.look_now().await;
        while let Some(event) = self.watch.as_mut().and_then(crate::watch::HomeWatch::take) {
            self.on_home(event).await;
        }
        self.settle_served().await;
    }

    /// A profile that is gone is not stopped on purpose any more; one that is only being moved is.
    pub(super) fn forget(&mut self, profile: &ProfileName) {
        if self.released.contains_key(profile) {
            return;
        }
        if let Err(error) = self.desired.set_stopped(profile, false) {
            let error = hermes_host::cause::Chain(&error);
            tracing::warn!(profile = %profile, %error, "that it was stopped is still remembered");
        }
    }
}
