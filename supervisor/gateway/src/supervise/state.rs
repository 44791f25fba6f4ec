//! The life of one worker, as a pure function: `step(state, event, now)` returns the next state and what to do.
//!
//! `desired` is what somebody asked for, [`State::observed`] what is; the two are never mixed. Up to three kinds of process
//! exist at a time: `current` (starting, serving, or being killed because it is stuck), `next` (a newer generation of a swap,
//! not ready yet, or ready and standing by) and `retiring` (older generations that finish). Only `current` can serve, so two
//! generations are never published; and of all of them one at most may be connected to exclusive platforms ([`Exclusive`]). Every process has a deadline in every phase that somebody else should end, in time in which this supervisor ran
//! ([`Patience`]); [`State::next_deadline`] is when to send the next [`Event::Tick`].

use std::time::Duration;

use super::policy::{At, Deaths, Limits, Patience};
use hermes_wire::contract::gateway_status::state as words;

use crate::generation::Generation;

mod machine;
mod passing;

#[cfg(test)]
mod tests;

pub(crate) use machine::step;
pub(crate) use passing::Resumed;

/// Something happened to, or was asked of, one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// The gateway starts, or the profile came: run, or rest where its files say so.
    Begin,
    /// Likewise: its home does not say any more that it is parked.
    Unpark,
    /// Likewise, and what its files say is known: it sleeps.
    Doze,
    /// There is something for it to do.
    Wake,
    /// Asked: run. Also takes a detached or conflicting profile back.
    Start,
    /// Asked: do not run.
    Stop,
    /// Its home asks: do not run.
    Park,
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
    Spawned { generation: Generation, pid: u32 },
    /// The process could not be made.
    SpawnFailed { generation: Generation, reason: String },
    /// Its report came; what is worst in it, and whether it names exclusive platforms.
    Reported { generation: Generation, worst: Option<Why>, exclusive: bool },
    /// It may sleep when it has nothing to do.
    MaySleep { generation: Generation },
    /// It was told to serve.
    Admitted { generation: Generation },
    /// It was told to rest instead: until something is to be done, or until somebody starts it.
    Spared { generation: Generation, asleep: bool },
    /// It has had nothing to do for a while.
    Idle { generation: Generation },
    /// It was told not to serve.
    Refused { generation: Generation, why: Why },
    /// It was told not to serve, because its files want no part in this gateway.
    Apart { generation: Generation, why: Why },
    /// Nobody will tell it whether to serve.
    Undecided { generation: Generation },
    /// It serves.
    Ready { generation: Generation },
    /// It lives, and says how much later than usual the next sign of that may come.
    Heartbeat { generation: Generation, quiet: Duration },
    /// It beats, but a task of it is stuck.
    Stuck { generation: Generation, reason: String },
    /// Something that its files ask for does not work, and what; or everything does.
    Degraded { generation: Generation, why: Option<String> },
    /// The connection of an exclusive platform of it stands.
    Connected { generation: Generation },
    /// No exclusive platform of it is connected any more.
    Yielded { generation: Generation },
    /// It takes no new connection.
    AcceptStopped { generation: Generation },
    /// The control connection ended.
    LinkClosed { generation: Generation },
    /// It broke this rule of the control connection, which was given up.
    Broke { generation: Generation, rule: String },
    /// What it had written down as the reason of its end.
    LastWords { generation: Generation, reason: String },
    /// The process is gone.
    Exited { generation: Generation, exit: Exit },
    /// Time passed.
    Tick,
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
    /// Killed by the kernel, it seems, for want of memory.
    OutOfMemory,
    /// Killed by the kernel because it reached its own limit of memory.
    OverLimit,
    /// The program before this one collected it, and did not pass on how it ended.
    Unseen,
}

impl Exit {
    /// Whether the machine is to blame, so that it is neither the worker's nor its files' fault.
    fn is_of_machine(self) -> bool {
        self == Self::OutOfMemory || self == Self::Code(i32::from(hermes_wire::exit::MACHINE))
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) if *code == i32::from(hermes_wire::exit::PANIC) => {
                write!(f, "exit {code}, a panic: its log says where")
            }
            Self::Code(code) => write!(f, "exit {code}"),
            Self::OutOfMemory => write!(f, "signal 9 (SIGKILL), it seems for want of memory"),
            Self::OverLimit => {
                write!(f, "signal 9 (SIGKILL), out of memory: it reached `gateway.limits.memory`")
            }
            Self::Unseen => write!(f, "an end that nobody saw, while another program was taken up"),
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
    Spawn { generation: Generation },
    Connect { generation: Generation },
    Yield { generation: Generation, within: Duration },
    StopAccepting { generation: Generation },
    DropIdle,
    Drain { generation: Generation, deadline: Duration },
    Rest { generation: Generation, deadline: Duration },
    Signal { generation: Generation, signal: Signal },
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
    /// Is ready to serve, and waits until the one in force has yielded.
    Standby,
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

/// Platforms of a process whose connection must never stand twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exclusive {
    /// It has none, or will not connect them any more.
    Nothing,
    /// None is connected, and none may be.
    Closed,
    /// It was told to connect.
    Open,
    /// It was told to yield, and has not said that it has.
    Yielding(Patience),
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub(crate) struct Child {
    pub(crate) generation: Generation,
    pub(crate) pid: Option<u32>,
    pub(crate) phase: Phase,
    patience: Option<Patience>,
    exclusive: Exclusive,
    spawned: At,
    ready: Option<At>,
    degraded: bool,
    /// It may be sent to sleep.
    sleeps: bool,
    /// It ends because nobody needs it.
    rests: bool,
    /// What we end it for.
    blame: Option<Why>,
    /// What is worst in its report.
    report: Option<Why>,
    refused: bool,
    /// Its control connection ended.
    lost: bool,
    /// What it had written down as the reason of its end.
    words: Option<String>,
}

impl Child {
    /// Whether it does its work, so that it beats.
    fn works(&self) -> bool {
        matches!(self.phase, Phase::Serving | Phase::Standby)
    }

    /// Whether it was told to exit, or is made to.
    fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Refused | Phase::Terminating | Phase::Killing)
    }

    /// Whether its exclusive platforms can be connected now, for all that is known.
    fn may_be_connected(&self) -> bool {
        matches!(self.exclusive, Exclusive::Open | Exclusive::Yielding(_))
    }

    /// Whether it was ever sent requests.
    pub(crate) fn has_served(&self) -> bool {
        self.ready.is_some()
    }
}

/// Why there is no current process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Stopped,
    Failed,
    /// Its files want no part in this gateway.
    Apart,
    /// Until something is to be done.
    Asleep,
    /// Until somebody starts it: its files say so.
    Unasked,
    Backoff(At),
    CrashLoop(At),
}

/// What somebody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Desired {
    Running,
    Stopped,
    /// Its home asks for it not to run.
    Parked,
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
    /// The same, and whoever waits there has to be waited for: no process comes by itself.
    Asleep,
    /// Refuse.
    Down { state: &'static str, retry_after: Duration },
}

/// What somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Serving, by this generation or a later one.
    Serving { generation: Generation },
    /// No process left.
    Gone,
}

/// Everything known about one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    desired: Desired,
    held: Option<Held>,
    leaving: bool,
    rest: Rest,
    current: Option<Child>,
    next: Option<Child>,
    retiring: Vec<Child>,
    /// A swap was asked for while it could not be begun.
    again: bool,
    /// Somebody needs it: it does not rest once it has reported.
    called: bool,
    /// Its current process is started to look at its files only, and what is seen of it meanwhile.
    looks: Option<&'static str>,
    /// When to try a swap again that the machine did not let happen.
    swap_at: Option<At>,
    deaths: Deaths,
    /// How many times in a row the machine did not let a worker run.
    hindered: u32,
    limits: Limits,
    seed: u64,
    /// The newest that was started.
    started: Generation,
    restarts: u64,
    last_exit: Option<String>,
    why: Option<Why>,
    /// The newest generation that ended before it could serve.
    failed_generation: Generation,
    cause: String,
}

impl State {
    /// The generation that serves now and did not `before`.
    pub(crate) fn succeeds(&self, before: &Self) -> Option<Generation> {
        let serves = |state: &Self| {
            state.current.as_ref().filter(|child| child.phase == Phase::Serving).map(|child| child.generation)
        };
        serves(self).filter(|_| serves(self) != serves(before))
    }

    /// A worker that does not run yet. `seed` varies its backoff.
    pub(crate) fn new(desired_running: bool, limits: Limits, seed: u64) -> Self {
        Self {
            desired: if desired_running { Desired::Running } else { Desired::Stopped },
            held: None,
            leaving: false,
            rest: Rest::Stopped,
            current: None,
            next: None,
            retiring: Vec::new(),
            again: false,
            called: false,
            looks: None,
            swap_at: None,
            deaths: Deaths::default(),
            hindered: 0,
            limits,
            seed,
            started: Generation::default(),
            restarts: 0,
            last_exit: None,
            why: None,
            failed_generation: Generation::default(),
            cause: String::new(),
        }
    }

    /// The newest generation that was started.
    pub(crate) fn started(&self) -> Generation {
        self.started
    }

    /// The state in the words of status.
    pub(crate) fn observed(&self) -> &'static str {
        match (&self.current, self.held) {
            (Some(child), _) => match child.phase {
                Phase::Spawned | Phase::Reported if self.looks.is_some() => {
                    self.looks.unwrap_or(words::STARTING)
                }
                Phase::Serving if child.degraded => words::DEGRADED,
                Phase::Serving => words::READY,
                Phase::Terminating | Phase::Killing => words::BACKOFF,
                Phase::Refused => words::FAILED,
                _ => words::STARTING,
            },
            (None, Some(Held::Detached)) => words::DETACHED,
            (None, Some(Held::Conflict)) => words::CONFLICT,
            (None, None) if self.desired != Desired::Running || self.leaving => {
                match (self.retiring.is_empty(), self.desired) {
                    (false, _) => words::DRAINING,
                    (true, Desired::Parked) => words::PARKED,
                    (true, _) => words::STOPPED,
                }
            }
            (None, None) => match self.rest {
                Rest::Apart | Rest::Unasked if !self.retiring.is_empty() => words::DRAINING,
                Rest::Apart => words::STANDALONE,
                Rest::Asleep => words::SLEEPING,
                Rest::Unasked | Rest::Stopped => words::STOPPED,
                Rest::Failed => words::FAILED,
                Rest::Backoff(_) => words::BACKOFF,
                Rest::CrashLoop(_) => words::CRASH_LOOP,
            },
        }
    }

    /// What the proxy is to do.
    pub(crate) fn availability(&self, now: At) -> Availability {
        let state = self.observed();
        match &self.current {
            Some(child) if child.phase == Phase::Serving => return Availability::Ready,
            _ if state == words::SLEEPING => return Availability::Asleep,
            // It is to run, and is about to be started, or known to sleep.
            None if self.wants_to_run() && self.rest == Rest::Stopped => return Availability::Hold,
            Some(child) if child.phase != Phase::Refused && state != words::STOPPED => {
                return Availability::Hold;
            }
            _ => {}
        }
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
                if self.current.is_none()
                    && self.wants_to_run()
                    && matches!(self.rest, Rest::Asleep | Rest::Unasked)
                {
                    // That is what its files ask for; whoever wants more of it calls it.
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
        let yielding = self.children().filter_map(|child| match child.exclusive {
            Exclusive::Yielding(patience) if !child.is_ending() => Some(patience),
            _ => None,
        });
        self.children()
            .filter_map(|child| child.patience)
            .chain(yielding)
            .map(Patience::due)
            .chain(retry)
            .chain(hold)
            .chain(self.swap_at)
            .min()
    }

    /// What a process that is not in force is ended for.
    pub(crate) fn blame_of_another(&self, generation: Generation) -> Option<&str> {
        let mut others = self.next.iter().chain(&self.retiring);
        let child = others.find(|child| child.generation == generation && child.is_ending())?;
        child.blame.as_ref().map(|why| why.reason.as_str())
    }

    /// Whether a process was told to end, and what it is ended for or has said itself, before it has ended.
    pub(crate) fn end_of(&self, generation: Generation) -> Option<(bool, Option<&Why>, Option<&str>)> {
        let child = self.children().find(|child| child.generation == generation)?;
        let told = self.retiring.contains(child) || child.is_ending();
        Some((told, child.blame.as_ref(), child.words.as_deref()))
    }

    /// Whether a process was told to rest.
    pub(crate) fn rests(&self, generation: Generation) -> bool {
        self.retiring.iter().any(|child| child.generation == generation && child.rests)
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
    pub(crate) fn target_generation(&self) -> Generation {
        if self.again { self.started.next() } else { self.started }
    }

    pub(crate) fn desired_running(&self) -> bool {
        let unasked =
            self.looks == Some(words::STOPPED) || self.current.is_none() && self.rest == Rest::Unasked;
        self.desired == Desired::Running && self.rest != Rest::Apart && !unasked
    }

    /// Whether this process, which has reported, is needed by nobody as far as is known: it may rest instead of serving.
    pub(crate) fn may_be_spared(&self, generation: Generation) -> bool {
        let reported = |child: &Child| child.generation == generation && child.phase == Phase::Reported;
        !self.called && self.current.as_ref().is_some_and(reported)
    }

    /// Whether it is to be woken when a request waits for it.
    pub(crate) fn is_asleep(&self) -> bool {
        self.observed() == words::SLEEPING
    }

    /// It is needed.
    fn call(&mut self) {
        (self.called, self.looks) = (true, None);
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

    /// Whether a process exists that may still answer requests it was sent.
    pub(crate) fn is_finishing(&self) -> bool {
        self.children().any(Child::has_served)
    }

    /// Nothing is left and nothing will come.
    pub(crate) fn is_over(&self) -> bool {
        self.leaving && self.children().next().is_none()
    }

    fn wants_to_run(&self) -> bool {
        self.desired == Desired::Running && self.held.is_none() && !self.leaving
    }
}
