//! The life of one worker, as a pure function: `step(state, event, now)` returns the next state and what to do.
//!
//! `desired` is what somebody asked for, [`State::observed`] what is; the two are never mixed. Up to three kinds of process
//! exist at a time: `current` (starting, serving, or being killed because it is stuck), `next` (a newer generation of a swap,
//! not ready yet) and `retiring` (older generations that finish). Only `current` can serve, so two generations are never
//! published. Every process has a deadline in every phase that somebody else should end; [`State::next_deadline`] is when to
//! send the next [`Event::Tick`].

use std::time::Duration;

use hermes_protocol::contract::gateway_status::state as words;
use hermes_protocol::exit;

use super::policy::{
    ACCEPT_GRACE, At, DRAIN_SLACK, Deaths, LOST_GRACE, Limits, OVERSLEPT, RESTART_FLOOR, TERM_GRACE,
};

#[cfg(test)]
mod tests;

/// More generations than this finishing at once, and the oldest is hurried.
const MOST_RETIRING: usize = 2;

/// Something happened to, or was asked of, one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// Asked: run. Also takes a detached or conflicting profile back.
    Start,
    /// Asked: do not run.
    Stop,
    /// Asked: replace the process without a gap.
    Restart,
    /// Its files changed.
    FilesChanged,
    /// Asked: finish; this worker is not coming back (profile removed, or the gateway stops).
    Leave,
    /// Asked: leave this profile to a gateway of its own.
    Detach,
    /// A gateway of its own already runs.
    Conflict(Why),
    /// The process of a generation exists.
    Spawned { generation: u64, pid: u32 },
    /// The process could not be made.
    SpawnFailed { generation: u64, reason: String },
    /// Its report came; what is worst in it.
    Reported { generation: u64, worst: Option<Why> },
    /// It was told to serve.
    Admitted { generation: u64 },
    /// It was told not to serve.
    Refused { generation: u64, why: Why },
    /// It serves.
    Ready { generation: u64 },
    /// It lives.
    Heartbeat { generation: u64 },
    /// Some configured platform is not connected, or all are again.
    Degraded { generation: u64, any: bool },
    /// It takes no new connection.
    AcceptStopped { generation: u64 },
    /// The control connection ended.
    LinkClosed { generation: u64 },
    /// What it had written down as the reason of its end.
    LastWords { generation: u64, reason: String },
    /// The process is gone.
    Exited { generation: u64, exit: Exit },
    /// Time passed; the timer fired this much too late.
    Tick { late: Duration },
    /// The gateway's stop has reached this phase.
    Escalate(Signal),
    /// New settings.
    Limits(Limits),
}

/// A reason, and the file it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Why {
    pub(crate) reason: String,
    pub(crate) file: Option<String>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Code(i32),
    Signal(i32),
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit {code}"),
            Self::Signal(signal) => match nix::sys::signal::Signal::try_from(*signal) {
                Ok(name) => write!(f, "signal {signal} ({name})"),
                Err(_) => write!(f, "signal {signal}"),
            },
        }
    }
}

/// What a process group is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Terminate,
    Kill,
}

/// What the actor must do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    Spawn { generation: u64 },
    StopAccepting { generation: u64 },
    DropIdle,
    Drain { generation: u64, deadline: Duration },
    Signal { generation: u64, signal: Signal },
}

/// How far a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Started, has not reported.
    Spawned,
    /// Has reported; waits for the decision.
    Reported,
    /// May serve, does not yet.
    Admitted,
    /// Was told to exit.
    Refused,
    /// Serves.
    Serving,
    /// Was told to stop accepting.
    StopAccepting,
    /// Was told to finish.
    Draining,
    /// Got SIGTERM.
    Terminating,
    /// Got SIGKILL.
    Killing,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Child {
    pub(crate) generation: u64,
    pub(crate) pid: Option<u32>,
    pub(crate) phase: Phase,
    deadline: Option<At>,
    spawned: At,
    ready: Option<At>,
    degraded: bool,
    /// What we end it for.
    blame: Option<Why>,
    /// What is worst in its report.
    report: Option<Why>,
    refused: bool,
    /// Its control connection ended.
    lost: bool,
}

/// Why there is no current process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Stopped,
    Failed,
    Backoff(At),
    CrashLoop(At),
}

/// Whose business the profile is, when it is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Detached,
    Conflict,
}

/// What the proxy is to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Availability {
    /// Forward.
    Ready,
    /// Forward; it waits in the data socket until a worker takes it.
    Hold,
    /// Refuse.
    Down { state: &'static str, retry_after: Duration },
}

/// What somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Serving, by this generation or a later one.
    Serving { generation: u64 },
    /// No process left.
    Gone,
}

/// Everything known about one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    desired_running: bool,
    held: Option<Held>,
    leaving: bool,
    rest: Rest,
    current: Option<Child>,
    next: Option<Child>,
    retiring: Vec<Child>,
    /// A swap was asked for while it could not be begun.
    again: bool,
    deaths: Deaths,
    limits: Limits,
    seed: u64,
    started: u64,
    restarts: u64,
    last_exit: Option<String>,
    why: Option<Why>,
    /// The newest generation that ended before it could serve.
    failed_generation: u64,
    cause: String,
}

impl State {
    /// A worker that does not run yet. `seed` varies its backoff.
    pub(crate) fn new(desired_running: bool, limits: Limits, seed: u64) -> Self {
        Self {
            desired_running,
            held: None,
            leaving: false,
            rest: Rest::Stopped,
            current: None,
            next: None,
            retiring: Vec::new(),
            again: false,
            deaths: Deaths::default(),
            limits,
            seed,
            started: 0,
            restarts: 0,
            last_exit: None,
            why: None,
            failed_generation: 0,
            cause: String::new(),
        }
    }

    /// The state in the words of status.
    pub(crate) fn observed(&self) -> &'static str {
        match (&self.current, self.held) {
            (Some(child), _) => match child.phase {
                Phase::Serving if child.degraded => words::DEGRADED,
                Phase::Serving => words::READY,
                Phase::Terminating | Phase::Killing => words::BACKOFF,
                Phase::Refused => words::FAILED,
                _ => words::STARTING,
            },
            (None, Some(Held::Detached)) => words::DETACHED,
            (None, Some(Held::Conflict)) => words::CONFLICT,
            (None, None) if !self.desired_running || self.leaving => {
                if self.retiring.is_empty() {
                    words::STOPPED
                } else {
                    words::DRAINING
                }
            }
            (None, None) => match self.rest {
                Rest::Stopped => words::STOPPED,
                Rest::Failed => words::FAILED,
                Rest::Backoff(_) => words::BACKOFF,
                Rest::CrashLoop(_) => words::CRASH_LOOP,
            },
        }
    }

    /// What the proxy is to do.
    pub(crate) fn availability(&self, now: At) -> Availability {
        match &self.current {
            Some(child) if child.phase == Phase::Serving => return Availability::Ready,
            Some(child) if child.phase != Phase::Refused => return Availability::Hold,
            _ => {}
        }
        let state = self.observed();
        match self.retry_at() {
            Some(due) if due.saturating_sub(now) <= self.limits.hold => Availability::Hold,
            Some(due) => Availability::Down { state, retry_after: due.saturating_sub(now) },
            None => Availability::Down { state, retry_after: Duration::from_secs(5) },
        }
    }

    /// Whether somebody who waits for `goal` can be told, and what.
    pub(crate) fn verdict(&self, goal: Goal) -> Option<Result<(), Why>> {
        match goal {
            Goal::Gone => {
                let gone = self.current.is_none() && self.next.is_none() && self.retiring.is_empty();
                gone.then_some(Ok(()))
            }
            Goal::Serving { generation } => {
                if let Some(child) = &self.current
                    && child.phase == Phase::Serving
                    && child.generation >= generation
                {
                    return Some(Ok(()));
                }
                let unknown = || Why { reason: self.observed().to_owned(), file: None };
                if self.failed_generation >= generation || !self.wants_to_run() {
                    return Some(Err(self.why.clone().unwrap_or_else(unknown)));
                }
                None
            }
        }
    }

    /// When to send the next tick.
    pub(crate) fn next_deadline(&self, now: At) -> Option<At> {
        let retry = self.retry_at();
        // The proxy starts to hold requests a while before the start.
        let hold = retry.map(|due| due.saturating_sub(self.limits.hold)).filter(|at| *at > now);
        self.children().filter_map(|child| child.deadline).chain(retry).chain(hold).min()
    }

    /// Every process there is.
    pub(crate) fn children(&self) -> impl Iterator<Item = &Child> {
        self.current.iter().chain(&self.next).chain(&self.retiring)
    }

    /// The process in force: serving, or the one that is to serve.
    pub(crate) fn current(&self) -> Option<&Child> {
        self.current.as_ref()
    }

    /// The generation that the latest start, restart or change led to, or will lead to.
    pub(crate) fn target_generation(&self) -> u64 {
        if self.again { self.started + 1 } else { self.started }
    }

    pub(crate) fn desired_running(&self) -> bool {
        self.desired_running
    }

    pub(crate) fn restarts(&self) -> u64 {
        self.restarts
    }

    pub(crate) fn last_exit(&self) -> Option<&str> {
        self.last_exit.as_deref()
    }

    pub(crate) fn why(&self) -> Option<&Why> {
        self.why.as_ref()
    }

    /// Why the last step did what it did, for the log.
    pub(crate) fn cause(&self) -> &str {
        &self.cause
    }

    /// When the next start is due, while waiting.
    pub(crate) fn retry_at(&self) -> Option<At> {
        match self.rest {
            Rest::Backoff(at) | Rest::CrashLoop(at) if self.current.is_none() && self.wants_to_run() => {
                Some(at)
            }
            _ => None,
        }
    }

    /// Nothing is left and nothing will come.
    pub(crate) fn is_over(&self) -> bool {
        self.leaving && self.children().next().is_none()
    }

    fn wants_to_run(&self) -> bool {
        self.desired_running && self.held.is_none() && !self.leaving
    }
}

/// The decision. `now` never goes back.
pub(crate) fn step(state: &State, event: Event, now: At) -> (State, Vec<Action>) {
    let mut machine = Machine { s: state.clone(), actions: Vec::new(), now };
    machine.handle(event);
    (machine.s, machine.actions)
}

struct Machine {
    s: State,
    actions: Vec<Action>,
    now: At,
}

impl Machine {
    fn handle(&mut self, event: Event) {
        match event {
            Event::Start => {
                self.s.desired_running = true;
                self.revive("start requested");
            }
            Event::Restart => {
                self.s.desired_running = true;
                self.revive("restart requested");
                self.renew("restart requested");
            }
            Event::FilesChanged => {
                if self.s.wants_to_run() {
                    self.revive("files changed");
                    self.renew("files changed");
                }
            }
            Event::Stop => {
                self.s.desired_running = false;
                self.wind_down("stop requested");
            }
            Event::Leave => {
                self.s.leaving = true;
                self.wind_down("leaving");
            }
            Event::Detach => {
                self.s.held = Some(Held::Detached);
                self.wind_down("detached");
            }
            Event::Conflict(why) => {
                self.s.held = Some(Held::Conflict);
                self.wind_down("conflict");
                self.s.why = Some(why);
            }
            Event::Limits(limits) => {
                self.s.limits = limits;
                if let Some(child) = self.s.current.as_mut().filter(|child| child.phase == Phase::Serving) {
                    child.deadline = Some(self.now + limits.stuck);
                }
            }
            Event::Escalate(signal) => self.escalate(signal),
            Event::Tick { late } => self.tick(late),
            Event::SpawnFailed { generation, reason } => self.spawn_failed(generation, reason),
            Event::Exited { generation, exit } => self.exited(generation, exit),
            other => self.progress(other),
        }
    }

    /// What a process says of itself.
    fn progress(&mut self, event: Event) {
        let (now, limits) = (self.now, self.s.limits);
        match event {
            Event::Spawned { generation, pid } => {
                if let Some(child) = self.child(generation) {
                    child.pid = Some(pid);
                    if child.phase == Phase::Spawned {
                        // It may have waited for its turn.
                        child.spawned = now;
                        child.deadline = Some(now + limits.start);
                    }
                }
            }
            Event::Reported { generation, worst } => {
                if let Some(child) = self.child(generation).filter(|child| child.phase == Phase::Spawned) {
                    child.phase = Phase::Reported;
                    // Until the decision the delay is ours, not the worker's.
                    child.deadline = None;
                    child.report = worst;
                }
            }
            Event::Admitted { generation } => {
                if let Some(child) = self.child(generation).filter(|child| child.phase == Phase::Reported) {
                    child.phase = Phase::Admitted;
                    child.deadline = Some(now + limits.start);
                }
            }
            Event::Refused { generation, why } => {
                if let Some(child) = self.child(generation).filter(|child| child.phase == Phase::Reported) {
                    child.phase = Phase::Refused;
                    child.deadline = Some(now + TERM_GRACE);
                    child.refused = true;
                    child.blame = Some(why.clone());
                    self.s.why = Some(why);
                    "refused".clone_into(&mut self.s.cause);
                }
            }
            Event::Ready { generation } => self.ready(generation),
            Event::Heartbeat { generation } => {
                if let Some(child) = self.child(generation).filter(|child| child.phase == Phase::Serving) {
                    child.deadline = Some(now + limits.stuck);
                }
            }
            Event::Degraded { generation, any } => {
                if let Some(child) = self.child(generation) {
                    child.degraded = any;
                    let cause =
                        if any { "a platform is not connected" } else { "all platforms are connected" };
                    cause.clone_into(&mut self.s.cause);
                }
            }
            Event::AcceptStopped { generation } => self.accept_stopped(generation),
            Event::LastWords { generation, reason } => {
                if let Some(child) = self.child(generation) {
                    child.report.get_or_insert(Why { reason, file: None });
                }
            }
            Event::LinkClosed { generation } => {
                if let Some(child) = self.child(generation) {
                    let soon = now + LOST_GRACE;
                    child.deadline = Some(child.deadline.map_or(soon, |deadline| deadline.min(soon)));
                    child.lost = true;
                }
            }
            _ => unreachable!("handled by the caller"),
        }
    }

    fn child(&mut self, generation: u64) -> Option<&mut Child> {
        let s = &mut self.s;
        s.current
            .iter_mut()
            .chain(&mut s.next)
            .chain(&mut s.retiring)
            .find(|child| child.generation == generation)
    }

    /// Makes sure that a process exists, forgiving what was.
    fn revive(&mut self, cause: &str) {
        cause.clone_into(&mut self.s.cause);
        self.s.held = None;
        self.s.deaths.forgive();
        if self.s.current.is_none() && self.s.wants_to_run() {
            self.s.again = false;
            self.s.current = Some(self.spawn());
        }
    }

    /// Replaces the process in force, unless it was made in this very step.
    fn renew(&mut self, cause: &str) {
        cause.clone_into(&mut self.s.cause);
        if !self.s.wants_to_run() {
            return;
        }
        let fresh = self.actions.iter().any(|action| matches!(action, Action::Spawn { .. }));
        let Some(current) = self.s.current.as_ref().filter(|_| !fresh) else { return };
        match current.phase {
            Phase::Serving => self.swap(),
            // It may have read the old files, but serves nobody yet.
            Phase::Spawned | Phase::Reported | Phase::Refused => {
                if let Some(old) = self.s.current.take() {
                    self.hurry(old);
                }
                self.s.current = Some(self.spawn());
            }
            Phase::Admitted => self.s.again = true,
            // Its death brings a new process anyway.
            _ => {}
        }
    }

    /// Starts a newer generation beside the serving one.
    fn swap(&mut self) {
        if let Some(next) = self.s.next.take() {
            if matches!(next.phase, Phase::Admitted) {
                self.s.next = Some(next);
                self.s.again = true;
                return;
            }
            self.hurry(next);
        }
        self.s.again = false;
        self.s.next = Some(self.spawn());
    }

    fn spawn(&mut self) -> Child {
        self.s.started += 1;
        let generation = self.s.started;
        self.actions.push(Action::Spawn { generation });
        Child {
            generation,
            pid: None,
            phase: Phase::Spawned,
            deadline: Some(self.now + self.s.limits.start),
            spawned: self.now,
            ready: None,
            degraded: false,
            blame: None,
            report: None,
            refused: false,
            lost: false,
        }
    }

    fn ready(&mut self, generation: u64) {
        let deadline = Some(self.now + self.s.limits.stuck);
        let now = self.now;
        let Some(child) = self.child(generation).filter(|child| child.phase == Phase::Admitted) else {
            return;
        };
        child.phase = Phase::Serving;
        child.deadline = deadline;
        child.ready = Some(now);
        child.blame = None;
        let is_next = self.s.next.as_ref().is_some_and(|next| next.generation == generation);
        if is_next {
            let old = self.s.current.take();
            self.s.current = self.s.next.take();
            if let Some(old) = old {
                self.retire(old);
            }
        }
        self.s.why = None;
        "ready".clone_into(&mut self.s.cause);
        if std::mem::take(&mut self.s.again) {
            self.swap();
        }
    }

    /// Ends a process in order; it goes on existing under `retiring`.
    fn retire(&mut self, mut child: Child) {
        match child.phase {
            Phase::Serving => {
                child.phase = Phase::StopAccepting;
                child.deadline = Some(self.now + ACCEPT_GRACE);
                self.actions.push(Action::StopAccepting { generation: child.generation });
                self.s.retiring.push(child);
            }
            _ => self.hurry(child),
        }
        let polite = |child: &Child| matches!(child.phase, Phase::StopAccepting | Phase::Draining);
        if self.s.retiring.iter().filter(|child| polite(child)).count() > MOST_RETIRING
            && let Some(oldest) = self.s.retiring.iter().position(polite)
        {
            let oldest = self.s.retiring.remove(oldest);
            self.hurry(oldest);
        }
    }

    /// Ends a process that has nothing to finish, or no time for it.
    fn hurry(&mut self, mut child: Child) {
        if !matches!(child.phase, Phase::Terminating | Phase::Killing) {
            self.terminate(&mut child);
        }
        self.s.retiring.push(child);
    }

    fn terminate(&mut self, child: &mut Child) {
        child.phase = Phase::Terminating;
        child.deadline = Some(self.now + TERM_GRACE);
        self.actions.push(Action::Signal { generation: child.generation, signal: Signal::Terminate });
    }

    fn accept_stopped(&mut self, generation: u64) {
        let (now, drain) = (self.now, self.s.limits.drain);
        if let Some(mut leaving) =
            self.s.current.take_if(|child| child.generation == generation && child.phase == Phase::Serving)
        {
            // Unasked: somebody else sent it a signal. It finishes by itself, and another takes its place now.
            leaving.phase = Phase::Draining;
            leaving.deadline = Some(now + TERM_GRACE + DRAIN_SLACK);
            let served = leaving.ready.map(|ready| now.saturating_sub(ready));
            self.s.retiring.push(leaving);
            self.actions.push(Action::DropIdle);
            let why = Why { reason: "the worker is leaving unasked".to_owned(), file: None };
            return self.died(generation, served, why, Duration::ZERO);
        }
        let Some(child) = self.child(generation).filter(|child| child.phase == Phase::StopAccepting) else {
            return;
        };
        child.phase = Phase::Draining;
        child.deadline = Some(now + drain + DRAIN_SLACK);
        self.actions.push(Action::DropIdle);
        self.actions.push(Action::Drain { generation, deadline: drain });
    }

    fn wind_down(&mut self, cause: &str) {
        cause.clone_into(&mut self.s.cause);
        self.s.again = false;
        self.s.rest = Rest::Stopped;
        self.s.why = None;
        self.s.deaths.forgive();
        if let Some(next) = self.s.next.take() {
            self.hurry(next);
        }
        if let Some(current) = self.s.current.take() {
            self.retire(current);
        }
    }

    fn escalate(&mut self, signal: Signal) {
        let (now, mut actions) = (self.now, Vec::new());
        let s = &mut self.s;
        for child in s.current.iter_mut().chain(&mut s.next).chain(&mut s.retiring) {
            let (phase, already) = match signal {
                Signal::Terminate => {
                    (Phase::Terminating, matches!(child.phase, Phase::Terminating | Phase::Killing))
                }
                Signal::Kill => (Phase::Killing, child.phase == Phase::Killing),
            };
            if !already {
                child.phase = phase;
                child.deadline = Some(now + TERM_GRACE);
                actions.push(Action::Signal { generation: child.generation, signal });
            }
        }
        self.actions.append(&mut actions);
    }

    fn tick(&mut self, late: Duration) {
        if self.s.retry_at().is_some_and(|due| due <= self.now) {
            "retry due".clone_into(&mut self.s.cause);
            self.s.current = Some(self.spawn());
        }
        let due: Vec<u64> = self
            .s
            .children()
            .filter(|child| child.deadline.is_some_and(|deadline| deadline <= self.now))
            .map(|child| child.generation)
            .collect();
        for generation in due {
            self.overdue(generation, late);
        }
    }

    fn overdue(&mut self, generation: u64, late: Duration) {
        let (now, limits) = (self.now, self.s.limits);
        let Some(child) = self.child(generation) else { return };
        let blame = match child.phase {
            Phase::Spawned | Phase::Reported | Phase::Admitted | Phase::Serving if child.lost => {
                Some("control connection lost".to_owned())
            }
            // We slept (stopped, suspended, starved): its heartbeats may still lie unread.
            Phase::Serving if late >= OVERSLEPT => {
                child.deadline = Some(now + limits.stuck);
                return;
            }
            Phase::Serving => Some(format!("stuck: no heartbeat for {} s", limits.stuck.as_secs_f32())),
            Phase::Spawned => Some(format!("no report within {} s of its start", limits.start.as_secs_f32())),
            Phase::Admitted | Phase::Reported => {
                Some(format!("not ready within {} s of its admission", limits.start.as_secs_f32()))
            }
            Phase::StopAccepting => return self.accept_stopped(generation),
            Phase::Refused | Phase::Draining => None,
            Phase::Terminating | Phase::Killing => {
                child.phase = Phase::Killing;
                child.deadline = Some(now + TERM_GRACE);
                self.actions.push(Action::Signal { generation, signal: Signal::Kill });
                return;
            }
        };
        let was_serving = child.phase == Phase::Serving;
        child.phase = Phase::Terminating;
        child.deadline = Some(now + TERM_GRACE);
        if let Some(reason) = blame {
            child.blame = Some(Why { reason, file: None });
        }
        let why = child.blame.clone();
        self.actions.push(Action::Signal { generation, signal: Signal::Terminate });
        let is_current = self.s.current.as_ref().is_some_and(|child| child.generation == generation);
        if is_current {
            why.as_ref().map_or("overdue", |why| why.reason.as_str()).clone_into(&mut self.s.cause);
            self.s.why = why;
            if was_serving {
                // New requests must wait for the next process, not queue behind a dead connection.
                self.actions.push(Action::DropIdle);
            }
        }
    }

    fn spawn_failed(&mut self, generation: u64, reason: String) {
        let why = Why { reason: format!("cannot start the worker process: {reason}"), file: None };
        self.s.retiring.retain(|child| child.generation != generation);
        if self.s.next.as_ref().is_some_and(|next| next.generation == generation) {
            self.s.next = None;
            self.swap_failed(generation, why);
        } else if self.s.current.as_ref().is_some_and(|current| current.generation == generation) {
            self.s.current = None;
            self.s.last_exit = Some(why.reason.clone());
            self.died(generation, None, why, Duration::from_secs(1));
        }
    }

    fn exited(&mut self, generation: u64, exit: Exit) {
        if let Some(at) = self.s.retiring.iter().position(|child| child.generation == generation) {
            self.s.retiring.remove(at);
            self.s.last_exit = Some(exit.to_string());
            "last process gone".clone_into(&mut self.s.cause);
        } else if self.s.next.as_ref().is_some_and(|next| next.generation == generation) {
            let child = self.s.next.take();
            let why = child.and_then(|child| child.blame.or(child.report)).unwrap_or_else(|| early(exit));
            self.swap_failed(generation, why);
        } else if let Some(child) = self.s.current.take_if(|current| current.generation == generation) {
            self.current_exited(child, exit);
        }
    }

    fn current_exited(&mut self, child: Child, exit: Exit) {
        let served = child.ready.map(|ready| self.now.saturating_sub(ready));
        let code = |code: u8| exit == Exit::Code(i32::from(code));
        self.s.last_exit = Some(match (&child.blame, child.phase) {
            (Some(why), Phase::Terminating | Phase::Killing) => why.reason.clone(),
            _ => exit.to_string(),
        });
        if child.refused || code(exit::CONFIG) {
            let why = child
                .blame
                .or(child.report)
                .unwrap_or_else(|| Why { reason: "configuration error (exit 78)".to_owned(), file: None });
            self.s.failed_generation = child.generation;
            if let Some(next) = self.s.next.take() {
                // Newer than the files this one choked on.
                self.s.current = Some(next);
            }
            self.s.rest = Rest::Failed;
            self.s.cause.clone_from(&why.reason);
            self.s.why = Some(why);
            return;
        }
        let lived = self.now.saturating_sub(child.spawned);
        if code(exit::RESTART) && lived >= RESTART_FLOOR {
            "the worker asked to be restarted".clone_into(&mut self.s.cause);
            self.s.current = self.s.next.take();
            if self.s.current.is_none() {
                self.s.current = Some(self.spawn());
            }
            return;
        }
        let why = match (child.blame, child.report, served) {
            (Some(why), ..) | (None, Some(why), None) => why,
            (None, _, Some(_)) => ended(exit),
            (None, None, None) => early(exit),
        };
        self.died(child.generation, served, why, Duration::ZERO);
    }

    /// The process in force died and nobody wanted that.
    fn died(&mut self, generation: u64, served: Option<Duration>, why: Why, least: Duration) {
        self.s.restarts += 1;
        self.s.failed_generation = self.s.failed_generation.max(generation);
        let retry = self.s.deaths.record(self.now, served, self.s.seed ^ generation);
        self.s.cause.clone_from(&why.reason);
        self.s.why = Some(why);
        if let Some(next) = self.s.next.take() {
            self.s.current = Some(next);
            return;
        }
        self.s.again = false;
        let delay = retry.delay.max(least);
        let due = self.now + delay;
        self.s.rest = if retry.crash_loop { Rest::CrashLoop(due) } else { Rest::Backoff(due) };
        if delay.is_zero() {
            self.s.current = Some(self.spawn());
        }
    }

    /// The newer generation will not serve; the one in force goes on.
    fn swap_failed(&mut self, generation: u64, why: Why) {
        self.s.failed_generation = generation;
        self.s.cause = format!("generation {generation} could not take over: {}", why.reason);
        self.s.why = Some(why);
        if std::mem::take(&mut self.s.again) {
            self.swap();
        }
    }
}

fn ended(exit: Exit) -> Why {
    Why { reason: format!("the worker ended unasked: {exit}"), file: None }
}

fn early(exit: Exit) -> Why {
    Why { reason: format!("the worker ended before it was ready: {exit}"), file: None }
}
