//! Waits on behalf of a worker that sleeps: whatever comes in at its data socket, or calls it, wakes it.
//!
//! The kernel is asked whether a connection waits in the backlog, and answers as long as one does. So no request is lost between a
//! worker that takes no more of them and one that is not there yet, whoever sent it.

use std::os::unix::net::UnixListener;
use std::sync::Arc;

use hermes_wire::latest::{Autostart, Problem, Report, Severity};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::super::cgroup::Group;
use super::super::state::{Event, Exit};
use super::Actor;
use super::shared::{Resting, Stay};
use crate::generation::Generation;
use crate::proxy::Route;

/// The data socket of a worker that sleeps. Watching it takes nothing off it.
#[derive(Debug)]
pub(super) struct Bell(AsyncFd<Arc<UnixListener>>);

impl Bell {
    #[expect(unsafe_code, reason = "the runtime cannot know that a descriptor stays what it is")]
    fn on(listener: &Arc<UnixListener>) -> std::io::Result<Self> {
        // SAFETY: the listener is owned along with its registration, and gives the same descriptor for as long as it lives.
        let bell = unsafe { AsyncFd::register_with_interest(Arc::clone(listener), Interest::READABLE) };
        bell.map(Self).map_err(std::io::Error::from)
    }
}

/// Waits until somebody wants something of a worker that sleeps. Never returns where there is no bell. Safe to cancel.
pub(super) async fn rung(bell: Option<&Bell>, route: &Arc<Route>) {
    let Some(Bell(socket)) = bell else { return std::future::pending().await };
    tokio::select! {
        // What cannot be watched is no reason to sleep on.
        _ = socket.readable() => {}
        () = route.called() => {}
    }
}

impl Actor {
    /// Listens for those who wake it, exactly while it sleeps.
    pub(super) fn hang_bell(&mut self) {
        if !self.state.is_asleep() {
            self.bell = None;
        } else if self.bell.is_none() {
            match self.listening().and_then(|listener| Bell::on(&listener.listener)) {
                Ok(bell) => self.bell = Some(bell),
                Err(error) => {
                    tracing::error!(%error, "nothing can wake it, so that it does not sleep");
                    self.restless = true;
                }
            }
        }
    }

    /// What its files ask for, of a report.
    pub(super) fn keep_as(&mut self, report: &Report) {
        self.upkeep = report.upkeep;
        self.awake.clone_from(&report.awake);
    }

    /// Has the kernel keep a process to what its files allow it, before it does anything.
    pub(super) fn limit(&mut self, generation: Generation, report: &Report) {
        let process = self.state.children().find(|child| child.generation == generation);
        let Some(pid) = process.and_then(|child| child.pid) else { return };
        match self.common.groups.put(&self.spec.name, pid, &report.upkeep.limits) {
            Ok(group) => (self.group, self.unkept) = (group.or(self.group.take()), None),
            Err(why) => self.unkept = Some(why),
        }
    }

    /// How a process ended, where that was because of its limit.
    pub(super) fn of_limit(&self, exit: Exit) -> Exit {
        let killed = matches!(exit, Exit::OutOfMemory | Exit::Signal(nix::libc::SIGKILL));
        let limited = self.upkeep.limits.memory.is_some();
        let by_limit = killed && limited && self.group.as_ref().is_some_and(Group::has_killed);
        if by_limit { Exit::OverLimit } else { exit }
    }

    /// What its report found, and what there is to say besides.
    pub(super) fn all_problems(&self) -> Vec<Problem> {
        let mut all = self.problems.clone();
        all.extend(self.unkept.as_ref().map(|why| Problem {
            severity: Severity::Warning,
            code: "limits_unkept".to_owned(),
            platform: None,
            file: self.spec.home.config().to_string(),
            line: None,
            column: None,
            key: Some("gateway.limits".to_owned()),
            message: format!("`gateway.limits` is not kept: {why}"),
            fix: Some(
                "run the gateway as a service with `Delegate=yes`, or in a container of its own".to_owned(),
            ),
        }));
        all
    }

    /// It could not be listened for: it runs instead.
    pub(super) fn rouse(&mut self) -> Option<Event> {
        std::mem::take(&mut self.restless).then_some(Event::Wake)
    }
}

/// How a worker that is admitted is to be kept, by its report. The primary always runs: what it says is the gateway's own.
pub(crate) fn stay(report: &Report, is_primary: bool) -> Stay {
    if is_primary {
        return Stay::default();
    }
    match report.upkeep.autostart {
        Autostart::Always => Stay::default(),
        Autostart::OnDemand => Stay { rest: report.awake.is_none().then_some(Resting::Asleep), sleeps: true },
        Autostart::Never => Stay { rest: Some(Resting::Unasked), sleeps: false },
    }
}

#[cfg(test)]
mod tests {
    use hermes_wire::latest::Upkeep;

    use super::*;

    #[test]
    fn who_may_rest_is_decided_by_files_and_by_what_there_is_to_do() {
        let of = |autostart, awake: Option<&str>, is_primary| {
            let upkeep = Upkeep { autostart, ..Upkeep::default() };
            let report = Report { upkeep, awake: awake.map(str::to_owned), ..Report::default() };
            let Stay { rest, sleeps } = stay(&report, is_primary);
            (rest, sleeps)
        };
        assert_eq!(of(Autostart::Always, None, false), (None, false));
        assert_eq!(of(Autostart::OnDemand, None, false), (Some(Resting::Asleep), true));
        assert_eq!(of(Autostart::OnDemand, Some("polling"), false), (None, true));
        assert_eq!(of(Autostart::Never, None, false), (Some(Resting::Unasked), false));
        for autostart in [Autostart::Always, Autostart::OnDemand, Autostart::Never] {
            assert_eq!(of(autostart, None, true), (None, false), "the primary");
        }
    }
}
