//! What others see of a worker: the status view, and what the proxy does with its requests.

use hermes_wire::contract::gateway_status::state as words;
use hermes_wire::latest::{LastError, QUIET_MOST_MS, Role, Severity};

use super::super::WorkerView;
use super::super::state;
use super::Actor;
use crate::proxy::{Availability, Lately};

/// What does not work in a process that serves.
#[derive(Debug, Clone, Default)]
pub(super) struct Condition {
    pub(super) platforms: Vec<String>,
    pub(super) reason: Option<String>,
    pub(super) last_error: Option<LastError>,
}

impl Condition {
    /// In one line; nothing where all is well.
    pub(super) fn describe(&self) -> Option<String> {
        if let Some(reason) = &self.reason {
            return Some(reason.clone());
        }
        if let Some(LastError { provider, class, message, .. }) = &self.last_error {
            return Some(format!("provider {provider}: {class}: {message}"));
        }
        let names = self.platforms.join(", ");
        (!names.is_empty()).then(|| format!("not connected: {names}"))
    }
}

impl Actor {
    pub(super) fn publish(&self) {
        let view = self.view();
        self.route.set_whole(self.problems.iter().all(|problem| problem.severity != Severity::Platform));
        self.route.set_desired(view.desired_running && view.state != words::DETACHED);
        self.set_route();
        let Some(publisher) = &self.publisher else { return };
        // Most events are a clock that is looked at.
        let is_other = publisher.send_if_modified(|known| {
            let is_other = *known != view;
            if is_other {
                *known = view;
            }
            is_other
        });
        if is_other {
            self.common.news.tell();
        }
    }

    /// Tells the proxy what to do with requests.
    pub(super) fn set_route(&self) {
        self.route.set_finishing(self.state.is_finishing());
        self.route.set(match self.state.availability(self.now()) {
            state::Availability::Ready => Availability::Open { ready: true },
            state::Availability::Hold => Availability::Open { ready: false },
            state::Availability::Asleep => Availability::Asleep,
            state::Availability::Down { state, retry_after } => {
                let secs = u32::try_from(retry_after.as_secs()).unwrap_or(u32::MAX).max(1);
                Availability::Unavailable { state, retry_after_secs: secs }
            }
        });
    }

    pub(super) fn view(&self) -> WorkerView {
        let current = self.state.current();
        let serving = current.is_some_and(|child| child.phase == state::Phase::Serving);
        let link = current.filter(|_| serving).and_then(|child| self.links.get(&child.generation));
        let beat = link.and_then(|link| link.beat.as_ref());
        let condition = link.map(|link| link.condition.clone()).unwrap_or_default();
        let heartbeat_ms = self.common.terms().heartbeat_ms;
        WorkerView {
            name: self.spec.name.clone(),
            home: self.spec.home.clone(),
            desired_running: self.state.desired_running(),
            state: self.state.observed(),
            ready: serving,
            since: self.since,
            pid: current.and_then(|child| child.pid),
            generation: current.map_or(self.state.target_generation(), |child| child.generation),
            restarts: self.state.restarts(),
            last_exit: self.state.last_exit().map(str::to_owned),
            reason: self.state.why().map(|why| why.reason.clone()).or_else(|| condition.describe()),
            file: self.state.why().and_then(|why| why.file.clone()),
            next_attempt: self.state.retry_at().map(|at| self.common.started + at),
            heartbeat: beat.map(|(at, _)| *at),
            heartbeat_ms,
            next_beat_ms: beat.map_or(0, |(_, beat)| beat.next_ms.min(QUIET_MOST_MS.max(heartbeat_ms))),
            active_turns: beat.map_or(0, |(_, beat)| beat.active_turns),
            inbox_waiting: beat.map_or(0, |(_, beat)| beat.inbox_waiting),
            inbox_postponed: beat.map_or(0, |(_, beat)| beat.inbox_postponed),
            inbox_failed: beat.map_or(0, |(_, beat)| beat.inbox_failed),
            inbox_reason: beat.and_then(|(_, beat)| beat.inbox_reason.clone()),
            undelivered: beat.map_or(0, |(_, beat)| beat.undelivered),
            last_error: condition.last_error,
            degraded: condition.platforms,
            problems: self.all_problems(),
            requests: 0,
            requests_active: 0,
            lately: Lately::default(),
            data_socket: self.listener.is_some().then(|| self.common.runtime.path_of(&self.spec.socket)),
            config_at: link.and_then(|link| link.reported),
            // A process that serves has no reason of its own: it is why a newer one does not.
            refused_at: (serving && self.state.why().is_some()).then_some(self.why_at),
            takeover: self.takeover.clone(),
            upkeep: (self.spec.role == Role::Secondary).then_some(self.upkeep),
            awake: self.awake.clone(),
        }
    }
}
