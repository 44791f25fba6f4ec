//! The transitions: one method an event, or a part of one.

use std::time::Duration;

use hermes_wire::exit;

use super::super::policy::{
    self, ACCEPT_GRACE, At, DECISION, DRAIN_SLACK, LOST_GRACE, Patience, RESTART_FLOOR, TERM_GRACE,
};
use super::{
    Action, Child, Desired, Event, Exclusive, Exit, Generation, Held, Phase, Rest, Signal, State, Why,
};

mod asked;
mod exclusive;
mod reasons;
mod sleep;

use reasons::{by_machine, early, ended, leaves_unasked};

/// While so many generations finish what they were sent, no newer one is begun.
pub(super) const MOST_RETIRING: usize = 4;

/// The decision. `now` never goes back.
pub(crate) fn step(state: &State, event: Event, now: At) -> (State, Vec<Action>) {
    let mut machine = Machine { s: state.clone(), actions: Vec::new(), now };
    machine.handle(event);
    machine.settle();
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
            Event::Limits(limits) => {
                self.s.limits = limits;
                let now = self.now;
                let others = self.s.current.iter_mut().chain(&mut self.s.next);
                for child in others.filter(|child| child.works()) {
                    child.patience = Some(Patience::new(limits.stuck, now));
                }
            }
            Event::Escalate(signal) => self.escalate(signal),
            Event::Tick => self.tick(),
            Event::Connected { generation } => self.connected(generation),
            Event::Yielded { generation } => self.yielded(generation),
            Event::Stuck { generation, reason } => {
                if self.child(generation).is_some_and(|child| child.works()) {
                    self.condemn(generation, Some(reason));
                }
            }
            Event::SpawnFailed { generation, reason } => self.spawn_failed(generation, &reason),
            Event::Exited { generation, exit } => self.exited(generation, exit),
            Event::Begin
            | Event::Unpark
            | Event::Doze
            | Event::Wake
            | Event::MaySleep { .. }
            | Event::Spared { .. }
            | Event::Idle { .. } => self.slept(&event),
            Event::Start
            | Event::Restart
            | Event::FilesChanged
            | Event::Stop
            | Event::Park
            | Event::Leave
            | Event::Detach
            | Event::Conflict(_)
            | Event::Apart { .. } => self.asked(event),
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
                        child.patience = Some(Patience::new(limits.start, now));
                    }
                }
            }
            Event::Reported { generation, worst, exclusive } => {
                if let Some(child) = self.child(generation).filter(|child| child.phase == Phase::Spawned) {
                    child.phase = Phase::Reported;
                    // Until the decision the delay is ours, not the worker's; but it ends.
                    child.patience = Some(Patience::new(DECISION, now));
                    child.report = worst;
                    child.exclusive = if exclusive { Exclusive::Closed } else { Exclusive::Nothing };
                }
            }
            Event::Admitted { generation } => {
                if let Some(child) = self.child(generation).filter(|child| child.phase == Phase::Reported) {
                    child.phase = Phase::Admitted;
                    child.patience = Some(Patience::new(limits.start, now));
                    self.s.looks = None;
                }
            }
            Event::Undecided { generation } => {
                if let Some(child) = self.child(generation).filter(|child| child.phase == Phase::Reported) {
                    child.patience = None;
                    self.overdue(generation);
                }
            }
            Event::Refused { generation, why } => {
                if let Some(child) = self.child(generation).filter(|child| child.phase == Phase::Reported) {
                    child.phase = Phase::Refused;
                    child.patience = Some(Patience::new(TERM_GRACE, now));
                    child.refused = true;
                    child.blame = Some(why.clone());
                    self.s.cause = format!("generation {generation} is refused: {}", why.reason);
                    self.s.why = Some(why);
                }
            }
            Event::Ready { generation } => self.ready(generation),
            Event::Heartbeat { generation, quiet } => {
                if let Some(child) = self.child(generation).filter(|child| child.works()) {
                    child.patience = Some(Patience::new(limits.stuck + quiet, now));
                }
            }
            Event::Degraded { generation, why } => {
                if let Some(child) = self.child(generation) {
                    child.degraded = why.is_some();
                    self.s.cause = why.unwrap_or_else(|| "everything works".to_owned());
                }
            }
            Event::AcceptStopped { generation } => self.accept_stopped(generation),
            Event::Broke { generation, rule } => self.broke(generation, &rule),
            Event::LastWords { generation, reason } => {
                if let Some(child) = self.child(generation) {
                    child.words = Some(reason.clone());
                    child.report.get_or_insert(Why { reason, file: None });
                }
            }
            Event::LinkClosed { generation } => {
                if let Some(child) = self.child(generation) {
                    let patience = child.patience.unwrap_or_else(|| Patience::new(LOST_GRACE, now));
                    child.patience = Some(patience.at_most(LOST_GRACE, now));
                    child.lost = true;
                }
            }
            _ => unreachable!("handled by the caller"),
        }
    }

    fn child(&mut self, generation: Generation) -> Option<&mut Child> {
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

    /// Starts a newer generation beside the serving one, once there is room for one more that finishes.
    fn swap(&mut self) {
        if self.polite() >= MOST_RETIRING {
            self.s.again = true;
            return;
        }
        if let Some(next) = self.s.next.take() {
            if matches!(next.phase, Phase::Admitted | Phase::Standby) {
                self.s.next = Some(next);
                self.s.again = true;
                return;
            }
            self.hurry(next);
        }
        self.s.again = false;
        self.s.swap_at = None;
        self.s.next = Some(self.spawn());
    }

    fn spawn(&mut self) -> Child {
        let generation = self.s.started.next();
        self.s.started = generation;
        self.actions.push(Action::Spawn { generation });
        Child {
            generation,
            pid: None,
            phase: Phase::Spawned,
            patience: Some(Patience::new(self.s.limits.start, self.now)),
            exclusive: Exclusive::Nothing,
            spawned: self.now,
            ready: None,
            degraded: false,
            sleeps: false,
            rests: false,
            blame: None,
            report: None,
            refused: false,
            lost: false,
            words: None,
        }
    }

    fn ready(&mut self, generation: Generation) {
        let (now, stuck) = (self.now, self.s.limits.stuck);
        let Some(child) = self.child(generation) else { return };
        match child.phase {
            Phase::Admitted => {}
            Phase::Spawned | Phase::Reported => {
                return self.broke(generation, "it said `Ready` before it was admitted");
            }
            // It was told otherwise meanwhile.
            _ => return,
        }
        // In the same step it serves, where nobody has to yield first.
        child.phase = Phase::Standby;
        child.patience = Some(Patience::new(stuck, now));
        child.ready = Some(now);
        child.blame = None;
    }

    /// Another generation serves now.
    fn serves(&mut self) {
        self.s.why = None;
        self.s.hindered = 0;
        self.s.swap_at = None;
        "ready".clone_into(&mut self.s.cause);
        if std::mem::take(&mut self.s.again) {
            self.swap();
        }
    }

    /// Ends a process in order; it goes on existing under `retiring`.
    fn retire(&mut self, mut child: Child) {
        match child.phase {
            Phase::Serving | Phase::Standby => {
                child.phase = Phase::StopAccepting;
                child.patience = Some(Patience::new(ACCEPT_GRACE, self.now));
                self.actions.push(Action::StopAccepting { generation: child.generation });
                self.s.retiring.push(child);
            }
            _ => self.hurry(child),
        }
    }

    /// Processes that finish in their own time.
    fn polite(&self) -> usize {
        let polite = |child: &&Child| matches!(child.phase, Phase::StopAccepting | Phase::Draining);
        self.s.retiring.iter().filter(polite).count()
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
        child.patience = Some(Patience::new(TERM_GRACE, self.now));
        self.actions.push(Action::Signal { generation: child.generation, signal: Signal::Terminate });
    }

    fn accept_stopped(&mut self, generation: Generation) {
        let (now, drain) = (self.now, self.s.limits.drain);
        if let Some(mut leaving) =
            self.s.current.take_if(|child| child.generation == generation && child.phase == Phase::Serving)
        {
            // Unasked: somebody else sent it a signal. It finishes by itself, and another takes its place now.
            leaving.phase = Phase::Draining;
            leaving.patience = Some(Patience::new(drain + DRAIN_SLACK, now));
            let served = leaving.ready.map(|ready| now.saturating_sub(ready));
            self.s.retiring.push(leaving);
            self.actions.push(Action::DropIdle);
            // What it was sent has the time it always has.
            self.actions.push(Action::Drain { generation, deadline: drain });
            return self.died(generation, served, leaves_unasked());
        }
        if let Some(mut leaving) =
            self.s.next.take_if(|child| child.generation == generation && child.phase == Phase::Standby)
        {
            leaving.phase = Phase::Draining;
            leaving.patience = Some(Patience::new(drain + DRAIN_SLACK, now));
            self.s.retiring.push(leaving);
            self.actions.push(Action::DropIdle);
            self.actions.push(Action::Drain { generation, deadline: drain });
            return self.swap_failed(generation, leaves_unasked(), false);
        }
        let Some(child) = self.child(generation).filter(|child| child.phase == Phase::StopAccepting) else {
            return;
        };
        child.phase = Phase::Draining;
        child.patience = Some(Patience::new(drain + DRAIN_SLACK, now));
        let rests = child.rests;
        self.actions.push(Action::DropIdle);
        let end = Action::Drain { generation, deadline: drain };
        self.actions.push(if rests { Action::Rest { generation, deadline: drain } } else { end });
    }

    fn wind_down(&mut self, cause: &str) {
        cause.clone_into(&mut self.s.cause);
        self.s.again = false;
        self.s.swap_at = None;
        self.s.rest = Rest::Stopped;
        (self.s.called, self.s.looks) = (false, None);
        self.s.why = None;
        self.s.deaths.forgive();
        self.s.hindered = 0;
        if let Some(next) = self.s.next.take() {
            self.retire(next);
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
                child.patience = Some(Patience::new(TERM_GRACE, now));
                actions.push(Action::Signal { generation: child.generation, signal });
            }
        }
        self.actions.append(&mut actions);
    }

    fn tick(&mut self) {
        if self.s.retry_at().is_some_and(|due| due <= self.now) {
            "retry due".clone_into(&mut self.s.cause);
            self.s.current = Some(self.spawn());
        }
        if self.s.swap_at.take_if(|due| *due <= self.now).is_some()
            && self.s.current.as_ref().is_some_and(|child| child.phase == Phase::Serving)
        {
            self.swap();
        }
        let now = self.now;
        let s = &mut self.s;
        let children = s.current.iter_mut().chain(&mut s.next).chain(&mut s.retiring);
        let due = children.filter(|child| child.patience.is_some_and(|patience| patience.due() <= now));
        let over: Vec<Generation> = due
            .filter_map(|child| {
                let left = child.patience.and_then(|patience| patience.spent(now));
                child.patience = left;
                left.is_none().then_some(child.generation)
            })
            .collect();
        for generation in over {
            self.overdue(generation);
        }
        self.end_who_does_not_yield();
    }

    fn overdue(&mut self, generation: Generation) {
        let (now, limits) = (self.now, self.s.limits);
        let Some(child) = self.child(generation) else { return };
        let blame = match child.phase {
            Phase::Spawned | Phase::Reported | Phase::Admitted | Phase::Standby | Phase::Serving
                if child.lost =>
            {
                Some("control connection lost".to_owned())
            }
            Phase::Standby | Phase::Serving => {
                Some(format!("stuck: no heartbeat for {} s", limits.stuck.as_secs_f32()))
            }
            Phase::Spawned => Some(format!("no report within {} s of its start", limits.start.as_secs_f32())),
            Phase::Reported => Some("the gateway did not decide whether it may serve".to_owned()),
            Phase::Admitted => {
                Some(format!("not ready within {} s of its admission", limits.start.as_secs_f32()))
            }
            Phase::StopAccepting => return self.accept_stopped(generation),
            Phase::Refused | Phase::Draining => None,
            Phase::Terminating | Phase::Killing => {
                child.phase = Phase::Killing;
                child.patience = Some(Patience::new(TERM_GRACE, now));
                self.actions.push(Action::Signal { generation, signal: Signal::Kill });
                return;
            }
        };
        self.condemn(generation, blame);
    }

    /// It does not keep to what was agreed.
    fn broke(&mut self, generation: Generation, rule: &str) {
        let ends = |child: &&mut Child| matches!(child.phase, Phase::Terminating | Phase::Killing);
        match self.child(generation).filter(|child| !ends(child)) {
            Some(child) => child.lost = true,
            None => return,
        }
        self.condemn(generation, Some(format!("the worker does not keep to the protocol: {rule}")));
    }

    /// Ends a process that does not do what it should.
    fn condemn(&mut self, generation: Generation, blame: Option<String>) {
        let now = self.now;
        let Some(child) = self.child(generation) else { return };
        let was_serving = child.works();
        child.phase = Phase::Terminating;
        child.patience = Some(Patience::new(TERM_GRACE, now));
        if let Some(reason) = blame {
            child.blame = Some(Why { reason, file: None });
        }
        let why = child.blame.clone();
        self.actions.push(Action::Signal { generation, signal: Signal::Terminate });
        let is_current = self.s.current.as_ref().is_some_and(|child| child.generation == generation);
        if is_current {
            why.as_ref().map_or("overdue", |why| why.reason.as_str()).clone_into(&mut self.s.cause);
            self.s.why = why;
        }
        if was_serving {
            // New requests must wait for another process, not queue behind a dead connection.
            self.actions.push(Action::DropIdle);
        }
    }

    fn spawn_failed(&mut self, generation: Generation, reason: &str) {
        let why = Why { reason: format!("cannot start the worker process: {reason}"), file: None };
        self.s.retiring.retain(|child| child.generation != generation);
        if self.s.next.as_ref().is_some_and(|next| next.generation == generation) {
            self.s.next = None;
            self.swap_failed(generation, why, true);
        } else if self.s.current.as_ref().is_some_and(|current| current.generation == generation) {
            self.s.current = None;
            self.s.last_exit = Some(why.reason.clone());
            self.hindered(generation, None, &why);
        }
    }

    fn exited(&mut self, generation: Generation, exit: Exit) {
        if let Some(at) = self.s.retiring.iter().position(|child| child.generation == generation) {
            let Child { blame, rests, .. } = self.s.retiring.remove(at);
            self.s.last_exit = Some(blame.map_or_else(|| exit.to_string(), |why| why.reason));
            "last process gone".clone_into(&mut self.s.cause);
            if rests {
                return self.rested(exit);
            }
            let serves = self.s.current.as_ref().is_some_and(|child| child.phase == Phase::Serving);
            if self.s.again && serves && self.s.next.is_none() {
                self.swap();
            }
        } else if self.s.next.as_ref().is_some_and(|next| next.generation == generation) {
            let of_machine = exit.is_of_machine();
            let why = self.s.next.take().and_then(|child| child.blame.or(child.report));
            self.swap_failed(generation, why.unwrap_or_else(|| early(exit)), of_machine);
        } else if let Some(child) = self.s.current.take_if(|current| current.generation == generation) {
            self.current_exited(child, exit);
        }
    }

    fn current_exited(&mut self, child: Child, exit: Exit) {
        let served = child.ready.map(|ready| self.now.saturating_sub(ready));
        let code = |code: u8| exit == Exit::Code(i32::from(code));
        self.s.last_exit = Some(match (&child.blame, child.phase) {
            (Some(why), Phase::Terminating | Phase::Killing) => why.reason.clone(),
            _ => match (&child.words, served) {
                (Some(words), Some(_)) => format!("{exit}: {words}"),
                _ => exit.to_string(),
            },
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
        let blamed = child.blame.is_some();
        let why = match (child.blame, child.report, served) {
            (Some(why), ..) | (None, Some(why), None) => why,
            (None, _, Some(_)) => ended(exit, child.words.as_deref()),
            (None, None, None) => early(exit),
        };
        if exit.is_of_machine() && !blamed {
            self.hindered(child.generation, served, &why);
        } else {
            self.died(child.generation, served, why);
        }
    }

    /// The process in force died and nobody wanted that.
    fn died(&mut self, generation: Generation, served: Option<Duration>, why: Why) {
        self.s.restarts += 1;
        let retry = self.s.deaths.record(self.now, served, self.s.seed ^ generation.get());
        let due = self.now + retry.delay;
        let rest = if retry.crash_loop { Rest::CrashLoop(due) } else { Rest::Backoff(due) };
        self.try_again(generation, why, rest);
        if retry.delay.is_zero() && self.s.current.is_none() {
            self.s.current = Some(self.spawn());
        }
    }

    /// The machine did not let the process in force run: tried again every few seconds, and not counted as its own death.
    fn hindered(&mut self, generation: Generation, served: Option<Duration>, why: &Why) {
        self.s.restarts += u64::from(served.is_some());
        let due = self.after_hindrance(generation);
        let why = Why { reason: by_machine(&why.reason), file: why.file.clone() };
        self.try_again(generation, why, Rest::Backoff(due));
    }

    fn after_hindrance(&mut self, generation: Generation) -> At {
        self.s.hindered = self.s.hindered.saturating_add(1);
        self.now + policy::hindered(self.s.hindered, self.s.seed ^ generation.get())
    }

    /// Nothing is in force, unless a newer generation is on its way.
    fn try_again(&mut self, generation: Generation, why: Why, rest: Rest) {
        self.s.failed_generation = self.s.failed_generation.max(generation);
        self.s.cause.clone_from(&why.reason);
        self.s.why = Some(why);
        self.s.swap_at = None;
        self.s.current = self.s.next.take();
        if self.s.current.is_none() {
            self.s.again = false;
            self.s.rest = rest;
        }
    }

    /// The newer generation will not serve; the one in force goes on.
    fn swap_failed(&mut self, generation: Generation, mut why: Why, of_machine: bool) {
        self.s.failed_generation = generation;
        if of_machine {
            why.reason = by_machine(&why.reason);
            self.s.swap_at = Some(self.after_hindrance(generation));
        }
        self.s.cause = format!("generation {generation} could not take over: {}", why.reason);
        self.s.why = Some(why);
        if std::mem::take(&mut self.s.again) {
            self.swap();
        }
    }
}
