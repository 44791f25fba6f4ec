//! A profile passes from a gateway of its own to this one: whoever asks ends the other one, and is waited for here, so that the profile is
//! served the moment it is free, whatever becomes of who asked meanwhile.

use std::sync::Arc;
use std::time::Duration;

use hermes_wire::contract::events::By;
use hermes_wire::latest::ClientReply;
use hermes_wire::{ProfileName, exit};

use super::answers::{Order, Replies, answer, carry_out, replacement_time};
use super::fleet::conflict;
use super::gateway::Gateway;
use crate::server::{refused, unknown};
use crate::supervise::actor::Wait;
use crate::supervise::state::Event;

/// How long the other gateway is waited for: it may drain.
const PATIENCE: Duration = Duration::from_mins(10);
/// Time between two looks at whether it is gone.
const LOOK: Duration = Duration::from_millis(50);

impl Gateway {
    /// Serves a profile as soon as no gateway of its own runs any more. One `Progress` says that there is one, and that it is waited for.
    pub(super) async fn succeed(&mut self, profile: &ProfileName, by: By, waits: bool, replies: Replies) {
        self.fleet.look_now().await;
        self.refit();
        let Some(handle) = self.fleet.handle(profile) else {
            return answer(&replies, unknown(profile)).await;
        };
        let conflicts = profile != self.fleet.primary() && self.fleet.conflict(&handle).await.is_some();
        if !conflicts {
            return self.start_profile(profile, Event::Start, by, waits, replies).await;
        }
        self.remember(profile, false, &replies).await;
        let (common, stop, host) = (Arc::clone(&self.common), self.stop.clone(), self.fleet.host());
        let time = replacement_time(&self.limits());
        let profile = profile.clone();
        self.common.tracker.spawn(async move {
            tracing::info!(%profile, "served when the gateway of its own has ended");
            let line = format!("profile '{profile}' is served when the gateway of its own has ended");
            answer(&replies, ClientReply::Progress(line)).await;
            let gone = async {
                while conflict(&handle, host.clone()).await.is_some() {
                    tokio::time::sleep(LOOK).await;
                }
            };
            tokio::select! {
                () = stop.cancelled() => {
                    answer(&replies, refused(exit::UNAVAILABLE, "the gateway is stopping", None)).await;
                }
                done = tokio::time::timeout(PATIENCE, gone) => if done.is_ok() {
                    let order = Order { handle, event: Event::Start, by, wait: Wait::Serving, time };
                    carry_out(&common, order, waits, replies);
                } else {
                    tracing::warn!(%profile, "the gateway of its own has not ended; it is not waited for any longer");
                    let message = format!("the own gateway of profile '{profile}' still runs");
                    let hint = format!("end it, then `hermes gateway start -p {profile}`");
                    answer(&replies, refused(exit::FAILURE, &message, Some(hint))).await;
                },
            }
        });
    }
}
