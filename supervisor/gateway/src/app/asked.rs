//! What programs of the newer Python releases may ask of a gateway on `gateway.sock`, carried out as a command's request is.
//!
//! To stop serving a profile is not to remember that: those programs put `gateway.parked` into its home before, where it is to last.
//! Without that the profile comes back by itself ([`super::unserved`]).

use std::collections::BTreeSet;
use std::time::Duration;

use hermes_host::clock;
use hermes_wire::contract::events::{By, who};
use hermes_wire::{ProfileName, exit};
use tokio::sync::oneshot;

use super::answers::{Order, Replies, SLACK, answer, carry_out};
use super::fleet::is_to_run;
use super::gateway::Gateway;
use super::shutdown;
use crate::rendezvous::{Ask, Asked, Looked, Pausing};
use crate::server::{refused, unknown};
use crate::supervise::actor::{Handle, Wait};
use crate::supervise::state::Event;

/// How long a look at the homes waits for what it has led to; its client waits a little longer.
const LOOKED: Duration = Duration::from_secs(5);

impl Gateway {
    /// Carries out what is asked. True: take the gateway down.
    pub(super) async fn on_asked(&mut self, asked: Asked) -> bool {
        let Asked { what, pid } = asked;
        match what {
            Ask::Rescan(reply) => self.look_for_all(reply).await,
            Ask::Serve(profile, replies) => {
                tracing::info!(profile = %profile, pid, "asked to serve it");
                self.fleet.look_now().await;
                self.refit();
                self.unserved.forget(&profile);
                if self.is_others(&profile, &replies).await {
                    self.start_profile(&profile, Event::Start, asker("serve", pid), true, replies).await;
                }
            }
            Ask::Unserve(profile, replies) => {
                tracing::info!(profile = %profile, pid, "asked not to serve it");
                self.unserve(profile, asker("unserve", pid), replies).await;
            }
            Ask::Pause(reply) => {
                tracing::info!(pid, "asked to end, to be started again");
                self.restart = true;
                self.ended_by = Some(asker("pause", pid));
                // One that left still has asked.
                let _ = reply.send(self.pausing(false));
                return true;
            }
        }
        false
    }

    /// While starting, only an end is possible.
    pub(super) async fn on_early_asked(&mut self, asked: Asked) -> bool {
        let text = "the gateway is still starting";
        match asked.what {
            Ask::Pause(_) => return self.on_asked(asked).await,
            Ask::Rescan(reply) => drop(reply.send(Ok(Looked { pending: true, ..Looked::default() }))),
            Ask::Serve(_, replies) | Ask::Unserve(_, replies) => {
                answer(&replies, refused(exit::RESTART, text, None)).await;
            }
        }
        false
    }

    /// While stopping nothing is possible any more; one that was about to become its next release ends instead.
    pub(super) async fn on_asked_while_stopping(&mut self, asked: Asked) {
        let text = "the gateway is stopping";
        match asked.what {
            Ask::Pause(reply) => {
                let instead = self.renewals.stop_instead("asked to end");
                self.restart |= instead;
                let _ = reply.send(self.pausing(!instead));
            }
            Ask::Rescan(reply) => drop(reply.send(Err(text.to_owned()))),
            Ask::Serve(_, replies) | Ask::Unserve(_, replies) => {
                answer(&replies, refused(exit::UNAVAILABLE, text, None)).await;
            }
        }
    }

    /// The absence of a profile is over.
    pub(super) async fn end_absence(&mut self, profile: &ProfileName) {
        let Some(handle) = self.fleet.handle(profile).filter(|_| self.is_due(profile)) else { return };
        if !handle.view().desired_running && self.fleet.conflict(&handle).await.is_none() {
            tracing::info!(profile = %profile, "nobody has said that it is to stay away: served again");
            handle.send(Event::Begin).await;
        }
    }

    /// Whether it should be served, for all that was said to last.
    fn is_due(&self, profile: &ProfileName) -> bool {
        self.fleet.served().any(|name| name == *profile)
    }

    fn pausing(&self, already: bool) -> Pausing {
        Pausing { already, within: self.limits().drain + shutdown::BEYOND_DRAIN }
    }

    /// Whether `profile` is one that can be served and not served; says why not.
    async fn is_others(&self, profile: &ProfileName, replies: &Replies) -> bool {
        let why = if profile == self.fleet.primary() {
            format!("profile '{profile}' is the gateway's own")
        } else if !self.fleet.wanted.multiplex() {
            format!("this gateway serves profile '{}' alone", self.fleet.primary())
        } else {
            return true;
        };
        answer(replies, refused(exit::FAILURE, &why, None)).await;
        false
    }

    async fn unserve(&mut self, profile: ProfileName, by: By, replies: Replies) {
        self.fleet.look_now().await;
        self.refit();
        if !self.is_others(&profile, &replies).await {
            return;
        }
        let Some(handle) = self.fleet.handle(&profile) else {
            return answer(&replies, unknown(&profile)).await;
        };
        // Parked, stopped, another gateway's or on its way out: what its home or a command has said stays said, and is only waited for.
        let event = if self.is_due(&profile) && is_to_run(&handle) {
            self.unserved.add(profile, clock::now());
            Event::Stop
        } else {
            Event::Tick
        };
        let time = self.limits().drain + SLACK;
        carry_out(&self.common, Order { handle, event, by, wait: Wait::Gone, time }, true, replies);
    }

    /// Looks at the homes, and tells what has come of it.
    async fn look_for_all(&mut self, reply: oneshot::Sender<Result<Looked, String>>) {
        let before: BTreeSet<ProfileName> = self.board.served().into_iter().collect();
        let changed = self.fleet.look_now().await;
        self.refit();
        let due: BTreeSet<ProfileName> = self.fleet.served().collect();
        let mut looked = Looked::default();
        let mut awaited: Vec<(Handle, Wait)> = Vec::new();
        for handle in self.fleet.handles() {
            let name = &handle.name;
            let stays = due.contains(name) && !self.unserved.contains(name);
            if stays && before.contains(name) && changed.contains(name) {
                looked.rescanned.push(name.clone());
            }
            match (stays, before.contains(name)) {
                (true, false) => awaited.push((handle, Wait::Serving)),
                (false, true) => awaited.push((handle, Wait::Gone)),
                _ => {}
            }
        }
        let gone = before.into_iter().filter(|name| self.fleet.handle(name).is_none());
        looked.removed.extend(gone);
        self.common.tracker.spawn(async move {
            let until = clock::now() + LOOKED;
            for (handle, wait) in awaited {
                // Nothing is asked of it but to say when it has come about.
                let waited = handle.send_and_wait(Event::Tick, wait);
                let list = match (tokio::time::timeout_at(until.into(), waited).await, wait) {
                    (Ok(Ok(())), Wait::Serving) => &mut looked.added,
                    (Ok(Err(_)), Wait::Serving) => &mut looked.failed,
                    (Ok(_), Wait::Gone) => &mut looked.removed,
                    (Err(_), _) => {
                        looked.pending = true;
                        continue;
                    }
                };
                list.push(handle.name);
            }
            // Who asked may have left.
            let _ = reply.send(Ok(looked));
        });
    }
}

/// Another program that asks on `gateway.sock`, for the journal.
fn asker(name: &str, pid: Option<i32>) -> By {
    By { pid, ..By::named(who::COMMAND, name) }
}
