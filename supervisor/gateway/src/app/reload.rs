//! Replacing workers because somebody asked: all of them (`restart`), or the primary's alone (`reload`), so that what its files
//! say now holds as a whole, with what that takes away.
//!
//! Two steps, because the primary decides who else is served: first its worker, then, in the app again, the rest. For as long as
//! the first step lasts, somebody has consented to what [`super::change`] would hold back.

use std::time::Duration;

use hermes_wire::latest::ClientReply;
use hermes_wire::{ProfileName, exit};
use tokio::sync::mpsc;

use super::gateway::Gateway;
use super::requests::{SLACK, answer, done};
use crate::server::refused;
use crate::supervise::actor::{Handle, Wait};
use crate::supervise::state::Event;

/// The first step is over.
pub(super) struct Reload {
    everybody: bool,
    /// Who was served before.
    served: Vec<ProfileName>,
    replies: Option<mpsc::Sender<ClientReply>>,
    failed: Vec<String>,
}

impl Reload {
    async fn say(&self, line: String) {
        let Some(replies) = &self.replies else { return tracing::info!("{line}") };
        answer(replies, ClientReply::Progress(line)).await;
    }
}

impl Gateway {
    /// Replaces the primary's worker; the rest follows in [`Self::go_on_reloading`].
    pub(super) fn reload(&mut self, everybody: bool, replies: Option<mpsc::Sender<ClientReply>>) {
        tracing::info!(
            "{}",
            if everybody { "replacing every worker" } else { "taking over the configuration" }
        );
        self.consents += 1;
        let served = self.board.handles().into_iter().map(|handle| handle.name).collect();
        let primary = self.board.handle(&self.primary);
        let (time, over) = (self.replacement_time(), self.reloads.0.clone());
        let mut reload = Reload { everybody, served, replies, failed: Vec::new() };
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
        self.consents -= 1;
        let time = self.replacement_time();
        let mut others: Vec<(ProfileName, Option<Handle>, bool)> = Vec::new();
        for name in reload.served.drain(..).skip(1) {
            let leaving = self.leaving.contains(&name);
            others.push((name.clone(), self.board.handle(&name), leaving));
        }
        let notes = std::mem::take(&mut self.notes);
        self.common.tracker.spawn(async move {
            for line in notes {
                reload.say(line).await;
            }
            let mut ended = Vec::new();
            for (name, handle, leaving) in others {
                match handle {
                    Some(handle) if !leaving => {
                        if reload.everybody && is_to_run(&handle) {
                            replace(&mut reload, &handle, time).await;
                        }
                        continue;
                    }
                    Some(handle) => {
                        let gone = handle.send_and_wait(Event::Leave, Wait::Gone);
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

    /// Another database: the worker that has the old one open ends before the next one starts. The two would write one write-ahead
    /// log, whose name is all that they share, and with it each other's pages.
    pub(super) async fn replace_database(&self, name: &ProfileName) {
        let Some(handle) = self.board.handle(name).filter(is_to_run) else { return };
        if handle.view().pid.is_none() {
            return handle.send(Event::FilesChanged).await;
        }
        tracing::warn!(profile = %name, "its database is another file now: the worker is replaced");
        let time = self.replacement_time();
        self.common.tracker.spawn(async move {
            // One that does not end in time is ended by its own deadlines, and the next one starts then.
            let _ = tokio::time::timeout(time, handle.send_and_wait(Event::Stop, Wait::Gone)).await;
            handle.send(Event::Start).await;
        });
    }

    fn replacement_time(&self) -> Duration {
        let limits = self.limits();
        limits.start * 2 + limits.drain + SLACK
    }
}

fn is_to_run(handle: &Handle) -> bool {
    let view = handle.view();
    view.desired_running && !matches!(view.state, "detached" | "conflict")
}

async fn replace(reload: &mut Reload, handle: &Handle, time: Duration) {
    let name = &handle.name;
    let result = tokio::time::timeout(time, handle.send_and_wait(Event::Restart, Wait::Serving)).await;
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
