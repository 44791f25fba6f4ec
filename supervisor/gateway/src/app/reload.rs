//! Replacing workers because somebody asked: all of them (`restart`), or the primary's alone (`reload`), so that what its files
//! say now holds as a whole, with what that takes away.
//!
//! Two steps, because the primary decides who else is served: first its worker, then, in the app again, the rest. For as long as
//! the first step lasts, somebody has consented to what [`super::weigh`] would hold back.

use std::time::Duration;

use hermes_wire::contract::events::{By, who};
use hermes_wire::contract::gateway_status::state;
use hermes_wire::{ProfileName, exit};

use super::answers::{Replies, answer, done, replacement_time};
use super::consent::Reload;
use super::fleet::is_to_run;
use super::gateway::Gateway;
use crate::server::refused;
use crate::supervise::actor::{Handle, Wait};
use crate::supervise::state::Event;

impl Gateway {
    /// Replaces the primary's worker; the rest follows in [`Self::go_on_reloading`].
    pub(super) fn reload(&mut self, everybody: bool, by: By, replies: Option<Replies>) {
        self.begin((everybody, false), by, replies);
    }

    /// Replaces every worker, those of the others as fast as the machine lets it: they are of the program before.
    pub(super) fn reload_at_once(&mut self) {
        self.begin((true, true), By::who(who::GATEWAY), None);
    }

    fn begin(&mut self, (everybody, at_once): (bool, bool), by: By, replies: Option<Replies>) {
        tracing::info!(
            "{}",
            if everybody { "replacing every worker" } else { "taking over the configuration" }
        );
        let served = self.fleet.handles().into_iter().map(|handle| handle.name).collect();
        let primary = self.fleet.handle(self.fleet.primary());
        let (time, over) = (replacement_time(&self.limits()), self.consent.begin());
        let mut reload = Reload { everybody, at_once, by, served, replies, failed: Vec::new() };
        self.common.tracker.spawn(async move {
            if let Some(handle) = primary.filter(is_to_run) {
                replace(&mut reload, &handle, time).await;
            } else if !everybody {
                reload.failed.push("its worker is stopped, and reads its files when it starts".to_owned());
            }
            // Nobody listens any more when the gateway itself ends.
            let _ = over.send(reload).await;
        });
    }

    /// Replaces the others, or waits for those that are not served any more, and answers.
    pub(super) fn go_on_reloading(&mut self, mut reload: Reload) {
        let notes = self.consent.end();
        let time = replacement_time(&self.limits());
        let mut others: Vec<(ProfileName, Option<Handle>, bool)> = Vec::new();
        for name in reload.served.drain(..).skip(1) {
            let leaving = self.fleet.staying(&name).is_none();
            others.push((name.clone(), self.fleet.handle(&name), leaving));
        }
        self.common.tracker.spawn(async move {
            for line in notes {
                reload.say(line).await;
            }
            let mut ended = Vec::new();
            if reload.at_once {
                for handle in
                    others.iter().filter_map(|(_, handle, leaving)| handle.as_ref().filter(|_| !leaving))
                {
                    if is_to_be_replaced(handle) {
                        handle.send(Event::Restart).await;
                    }
                }
                return;
            }
            for (name, handle, leaving) in others {
                match handle {
                    Some(handle) if !leaving => {
                        if reload.everybody && is_to_be_replaced(&handle) {
                            replace(&mut reload, &handle, time).await;
                        }
                        continue;
                    }
                    Some(handle) => {
                        let gone = handle.send_and_wait_for(Event::Leave, reload.by.clone(), Wait::Gone);
                        // One that does not end in time is ended by its own deadlines.
                        let _ = tokio::time::timeout(time, gone).await;
                    }
                    None => {}
                }
                reload.say(format!("{name}: taken down, it is not served any more")).await;
                ended.push(name.to_string());
            }
            finish(reload, &ended).await;
        });
    }
}

/// Who sleeps has no worker of the program before: the next one is of this, when there is something to do.
fn is_to_be_replaced(handle: &Handle) -> bool {
    is_to_run(handle) && handle.view().state != state::SLEEPING
}

async fn replace(reload: &mut Reload, handle: &Handle, time: Duration) {
    let name = &handle.name;
    let replaced = handle.send_and_wait_for(Event::Restart, reload.by.clone(), Wait::Serving);
    let result = tokio::time::timeout(time, replaced).await;
    let failed = match result {
        Ok(Ok(())) => return reload.say(format!("{name}: replaced")).await,
        Ok(Err(why)) => match why.file {
            Some(file) => format!("{} ({file})", why.reason),
            None => why.reason,
        },
        Err(_) => "not ready in time".to_owned(),
    };
    let goes_on = if handle.view().ready { "; the worker that ran before goes on" } else { "" };
    let line = format!("{name}: {failed}{goes_on}");
    reload.say(line.clone()).await;
    reload.failed.push(line);
}

async fn finish(reload: Reload, ended: &[String]) {
    let Some(replies) = &reload.replies else { return };
    let down = if ended.is_empty() { String::new() } else { format!("; taken down: {}", ended.join(", ")) };
    let reply = match (reload.everybody, reload.failed.is_empty()) {
        (true, true) => done(&format!("every worker was replaced{down}")),
        (false, true) => done(&format!("the configuration is in force as a whole{down}")),
        (true, false) => {
            let names: Vec<_> =
                reload.failed.iter().map(|line| line.split(':').next().unwrap_or_default()).collect();
            let message = format!("some workers were not replaced: {}{down}", names.join(", "));
            refused(exit::FAILURE, &message, Some("`hermes status` shows why".to_owned()))
        }
        (false, false) => {
            let message = format!("the configuration was not taken over: {}", reload.failed.join("; "));
            refused(exit::CONFIG, &message, Some("`hermes status` shows what is in force".to_owned()))
        }
    };
    answer(replies, reply).await;
}
