//! Carries out what [`super::state`] decides for one profile: one task that owns the worker's processes, its control
//! links and its data listener, which outlives every process behind it.
//!
//! Everything that happens comes in as one [`Input`] or [`Command`], one after the other. The actor never waits for a process,
//! a client or the app: processes are kept by tasks of their own ([`mod@keep`]), decisions of the app come back as inputs, and what
//! somebody waits for is told when it has come about. It ends when it was told to leave and no process is left; the socket file
//! goes with it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hermes_host::clock;
use hermes_wire::contract::events::{By, who};
use hermes_wire::contract::gateway_status::state as words;
use hermes_wire::latest::{Admit, FromWorker, Problem, QUIET_MOST_MS, Report, ToWorker, Upkeep};
use nix::sys::signal::Signal as UnixSignal;
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::cgroup::{Group, Unkept};
use super::policy::{self, At};
use super::state::{self, Action, Event, Exit, Goal, Signal, State, Why};
use super::{Takeover, WorkerView};
use crate::generation::Generation;
use crate::link::Handed;
use crate::proxy::Route;
use crate::runtime::Listening;

mod begin;
mod handing;
mod history;
mod keep;
mod outgoing;
mod passed;
mod process;
pub(crate) mod rest;
mod shared;
mod standing;
mod view;

pub(crate) use begin::{resume, start};
use handing::Handing;
use history::Asked;
use outgoing::{Deaf, Outgoing};
pub(crate) use passed::Passed;
use process::Link;
use rest::{Bell, rung};
use shared::Resting;
pub(crate) use shared::{
    Admission, Command, Common, Decision, FleetEvent, Handle, Known, Terms, Wait, WorkerSpec,
};
use standing::{Restored, Standing};
use view::Condition;

/// Inputs of one actor.
const INPUTS: usize = 64;

/// What happens to an actor. Small: every actor's queue has room for dozens.
enum Input {
    Permit {
        generation: Generation,
        permit: OwnedSemaphorePermit,
    },
    Said {
        generation: Generation,
        message: Box<FromWorker>,
    },
    LinkClosed {
        generation: Generation,
        broken: Option<String>,
    },
    Exited {
        generation: Generation,
        exit: Exit,
        said: Option<String>,
    },
    Decided {
        generation: Generation,
        decision: Decision,
    },
    /// Nobody will decide about it any more.
    Undecided {
        generation: Generation,
    },
    /// Its connection has stopped, for the program that this one becomes.
    Handed {
        generation: Generation,
        handed: Box<Handed<UnixStream>>,
    },
    /// And its road, where it has one.
    Road {
        generation: Generation,
        road: Option<std::os::unix::net::UnixStream>,
    },
}

struct Actor {
    spec: WorkerSpec,
    common: Arc<Common>,
    route: Arc<Route>,
    state: State,
    listener: Option<Listening>,
    links: HashMap<Generation, Link>,
    inputs: mpsc::Sender<Input>,
    waiters: Vec<(Goal, oneshot::Sender<Result<(), Why>>)>,
    since: SystemTime,
    standing: Standing,
    /// How exclusive platforms last passed from one process to another.
    takeover: Option<Takeover>,
    problems: Vec<Problem>,
    /// When the state last got another reason.
    why_at: SystemTime,
    /// What was last asked of it, and by whom.
    asked: Asked,
    publisher: Option<watch::Sender<WorkerView>>,
    /// How its files ask for it to be kept, as far as they were read.
    upkeep: Upkeep,
    /// Why it cannot sleep.
    awake: Option<String>,
    /// Which state of its files the next process reads.
    stamp: String,
    /// What wakes it. On the listener above.
    bell: Option<Bell>,
    /// It could not be listened for while it sleeps.
    restless: bool,
    /// Where the kernel keeps it to its limits.
    group: Option<Group>,
    /// Why it does not.
    unkept: Option<Unkept>,
    /// Varies its backoff.
    seed: u64,
    /// Cancelled when its processes pass to the program that this one becomes.
    hand: CancellationToken,
    /// What has stopped of them.
    handing: Option<Handing>,
}

impl Actor {
    async fn run(mut self, mut commands: mpsc::Receiver<Box<Command>>, mut inputs: mpsc::Receiver<Input>) {
        loop {
            let due = self.state.next_deadline(self.now()).map(|at| self.common.started + at);
            tokio::select! {
                // A worker that talks without end keeps nobody from being heard, and what workers said is read before their
                // silence is judged.
                biased;
                Some(command) = commands.recv() => self.on_command(*command),
                Some(input) = inputs.recv() => self.on_input(input),
                () = rung(self.bell.as_ref(), &self.route) => self.apply(Event::Wake),
                () = until(due) => self.apply(Event::Tick),
            }
            if self.give_away() {
                return;
            }
            if self.state.is_over() {
                break;
            }
        }
        self.common.road.close(&self.spec.name);
        self.bell = None;
        self.group.take().as_ref().map(Group::remove);
        drop(self.listener.take());
        self.common.runtime.remove(&self.spec.socket);
        self.tell(FleetEvent::Ended { profile: self.spec.name.clone() });
    }

    fn now(&self) -> At {
        self.common.started.elapsed()
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Do { event, by, wait } => {
                self.asked.hear(&event, by);
                self.apply(event);
                if let Some((wait, reply)) = wait {
                    let goal = match wait {
                        Wait::Serving => Goal::Serving { generation: self.state.target_generation() },
                        Wait::Gone => Goal::Gone,
                    };
                    self.waiters.push((goal, reply));
                    self.answer_waiters();
                }
            }
            Command::Know(Known { stamp, found }) => {
                self.stamp = stamp;
                if let Some(note) = found {
                    self.upkeep = note.upkeep;
                    self.problems = note.problems;
                    self.apply(Event::Doze);
                }
            }
            Command::Tell(admit) => {
                // Of one that has reported the admission may be under way already, without this.
                let serves = |child: &&state::Child| {
                    use state::Phase::{Admitted, Reported, Serving, Standby};
                    matches!(child.phase, Reported | Admitted | Standby | Serving)
                };
                let serving: Vec<Generation> =
                    self.state.children().filter(serves).map(|child| child.generation).collect();
                for generation in serving {
                    self.send(generation, |outgoing| outgoing.tell(Admit::clone(&admit)));
                }
            }
            Command::HandOver(reply) => self.begin_to_hand_over(reply),
            Command::StopClaiming => {
                let serving: Vec<Generation> =
                    self.state.children().filter(|child| child.has_served()).map(|c| c.generation).collect();
                for generation in serving {
                    self.send(generation, |outgoing| outgoing.send(ToWorker::StopClaiming));
                }
            }
        }
    }

    fn on_input(&mut self, input: Input) {
        match input {
            Input::Permit { generation, permit } => {
                if self.state.children().any(|child| child.generation == generation && child.pid.is_none()) {
                    let event = self.spawn(generation, permit);
                    self.apply(event);
                }
            }
            Input::Said { generation, message } => self.on_message(generation, *message),
            Input::LinkClosed { generation, broken: None } => self.apply(Event::LinkClosed { generation }),
            Input::LinkClosed { generation, broken: Some(rule) } => {
                tracing::warn!(%generation, "the worker breaks the rules of the control connection: {rule}");
                self.apply(Event::Broke { generation, rule });
            }
            Input::Exited { generation, exit, said } => {
                self.links.remove(&generation);
                if self.spec.name.is_default() {
                    self.common.road.withdraw(generation);
                }
                self.standing.closed(generation, clock::now());
                if let Some(reason) = said {
                    self.apply(Event::LastWords { generation, reason });
                }
                let exit = self.of_limit(exit);
                self.apply(Event::Exited { generation, exit });
                self.gone(generation);
            }
            Input::Handed { generation, handed } => {
                if let Some(handing) = &mut self.handing {
                    handing.control(generation, *handed);
                }
            }
            Input::Road { generation, road } => {
                if let Some(handing) = &mut self.handing {
                    handing.road(generation, road);
                }
            }
            Input::Undecided { generation } => self.apply(Event::Undecided { generation }),
            Input::Decided { generation, decision } => match decision {
                Decision::Admit(admission) => self.admit(generation, *admission),
                Decision::Apart(why) => {
                    let refuse = ToWorker::Refuse { reason: why.reason.clone() };
                    self.send(generation, |outgoing| outgoing.send(refuse));
                    self.apply(Event::Apart { generation, why });
                }
                Decision::Refuse(why) => {
                    let refuse = ToWorker::Refuse { reason: why.reason.clone() };
                    self.send(generation, |outgoing| outgoing.send(refuse));
                    self.apply(Event::Refused { generation, why });
                }
            },
        }
    }

    /// It serves, or rests where nobody needs it and its files say so.
    fn admit(&mut self, generation: Generation, Admission { admit, stay }: Admission) {
        if let Some(rest) = stay.rest.filter(|_| self.state.may_be_spared(generation)) {
            let deadline_ms = millis(self.common.terms().limits.drain);
            self.send(generation, |outgoing| outgoing.send(ToWorker::Rest { deadline_ms }));
            return self.apply(Event::Spared { generation, asleep: rest == Resting::Asleep });
        }
        if stay.sleeps {
            self.apply(Event::MaySleep { generation });
        }
        self.open_road(generation);
        self.send(generation, |outgoing| outgoing.admit(admit));
        self.apply(Event::Admitted { generation });
    }

    /// What an admitted process of the default profile declared it hands over, it may.
    fn open_road(&mut self, generation: Generation) {
        if self.spec.name.is_default()
            && let Some(link) = self.links.get_mut(&generation)
        {
            self.common.road.declare(generation, std::mem::take(&mut link.hand_over));
        }
    }

    fn on_message(&mut self, generation: Generation, message: FromWorker) {
        let in_force = self.state.current().is_some_and(|child| child.generation == generation);
        match message {
            FromWorker::Report(report) => {
                if let Some(link) = self.links.get_mut(&generation) {
                    link.reported = Some(clock::system());
                    link.hand_over.clone_from(&report.hand_over);
                    link.exclusive.clone_from(&report.exclusive);
                    link.report = Some(Box::new(report.clone()));
                }
                self.problems.clone_from(&report.problems);
                self.keep_as(&report);
                self.limit(generation, &report);
                let exclusive = !report.exclusive.is_empty();
                self.apply(Event::Reported { generation, worst: worst(&report.problems), exclusive });
                self.ask_for_decision(generation, report);
            }
            FromWorker::Ready => self.apply(Event::Ready { generation }),
            FromWorker::Heartbeat(beat) => {
                // The most frequent event of all; it only moves a deadline.
                let (stuck, usual_ms) = {
                    let terms = self.common.terms();
                    (policy::stuck_task(&beat.tasks, &terms.limits), terms.heartbeat_ms)
                };
                // The primary was told its rhythm before the configured one was known.
                let next_ms = beat.next_ms.min(QUIET_MOST_MS.max(usual_ms));
                let quiet = Duration::from_millis(next_ms.saturating_sub(usual_ms));
                let heartbeat = Event::Heartbeat { generation, quiet };
                self.state = state::step(&self.state, heartbeat, self.now()).0;
                let now = clock::now();
                if let Some(publisher) = self.publisher.as_ref().filter(|_| in_force) {
                    let turns = beat.active_turns != publisher.borrow().active_turns;
                    publisher.send_modify(|view| {
                        view.heartbeat = Some(now);
                        view.next_beat_ms = next_ms;
                        view.active_turns = beat.active_turns;
                        view.inbox_waiting = beat.inbox_waiting;
                        view.inbox_postponed = beat.inbox_postponed;
                        view.inbox_failed = beat.inbox_failed;
                        view.inbox_reason.clone_from(&beat.inbox_reason);
                        view.undelivered = beat.undelivered;
                    });
                    if turns {
                        self.common.news.tell();
                    }
                }
                if let Some(link) = self.links.get_mut(&generation) {
                    link.beat = Some((now, beat));
                }
                self.send(generation, Outgoing::pass_on);
                if let Some(reason) = stuck {
                    self.apply(Event::Stuck { generation, reason });
                }
            }
            FromWorker::AcceptStopped => self.apply(Event::AcceptStopped { generation }),
            FromWorker::Drained => tracing::debug!(%generation, "drained"),
            FromWorker::Yielded => {
                self.standing.closed(generation, clock::now());
                self.apply(Event::Yielded { generation });
            }
            FromWorker::Connected { platform } => {
                if let Some(restored) = self.standing.connected(generation, &platform, clock::now()) {
                    self.took_over(generation, restored);
                }
                self.note_connected(generation, platform);
                self.apply(Event::Connected { generation });
            }
            FromWorker::Idle if self.route.active() == 0 => self.apply(Event::Idle { generation }),
            FromWorker::Restart if in_force => {
                self.asked.hear(&Event::Restart, Some(By::who(who::WORKER)));
                self.apply(Event::Restart);
            }
            // Somebody still sends it something, and it says so again; or its successor serves already.
            FromWorker::Idle | FromWorker::Restart => {}
            FromWorker::LastWords { reason } => self.apply(Event::LastWords { generation, reason }),
            FromWorker::Degraded { platforms, reason, last_error } => {
                let condition = Condition { platforms, reason, last_error };
                let why = condition.describe();
                if let Some(link) = self.links.get_mut(&generation) {
                    let before = std::mem::replace(&mut link.condition, condition);
                    self.note_platforms(generation, &before.platforms);
                }
                self.apply(Event::Degraded { generation, why });
            }
        }
    }

    /// Exclusive platforms stand again.
    fn took_over(&mut self, generation: Generation, Restored { from, platforms, pause }: Restored) {
        let (names, pause_ms) = (platforms.join(", "), u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        tracing::info!(
            %generation,
            %from,
            pause_ms,
            "{names}: connected again, {pause_ms} ms after generation {from} had closed"
        );
        self.takeover = Some(Takeover { platforms, from, generation, pause, at: clock::system() });
    }

    fn ask_for_decision(&self, generation: Generation, report: Report) {
        let (decide, decision) = oneshot::channel();
        self.tell(FleetEvent::Reported {
            profile: self.spec.name.clone(),
            generation,
            report: Box::new(report),
            decide,
        });
        let inputs = self.inputs.clone();
        self.common.tracker.spawn(async move {
            let input = match decision.await {
                Ok(decision) => Input::Decided { generation, decision },
                Err(_) => Input::Undecided { generation },
            };
            // The actor may have ended meanwhile; then the process has too.
            let _ = inputs.send(input).await;
        });
    }

    /// Puts an event to the state and does what it says.
    fn apply(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let before = self.state.clone();
            let step = self.foresee(&event);
            let (next, actions) = state::step(&self.state, event, self.now());
            self.state = next;
            if before.why() != self.state.why() {
                self.why_at = clock::system();
            }
            self.log(&before);
            self.note(&before, step);
            if let Some(generation) = self.state.succeeds(&before) {
                self.tell(FleetEvent::Ready { profile: self.spec.name.clone(), generation });
            }
            // First: a worker that is told to stop accepting must get no request after that.
            self.set_route();
            for action in actions {
                events.extend(self.act(&action));
            }
            self.hang_bell();
            events.extend(self.rouse());
        }
        self.publish();
        self.answer_waiters();
    }

    /// One line for every change somebody could look for.
    fn log(&mut self, before: &State) {
        let (from, to) = (before.observed(), self.state.observed());
        let generation_of = |state: &State| state.current().map(|child| child.generation);
        let process_of =
            |state: &State| state.current().and_then(|child| Some((child.generation, child.pid?)));
        let generation = generation_of(&self.state).unwrap_or(self.state.target_generation());
        // Since when this very process is in this state: another process begins anew.
        let another = process_of(&self.state).is_some() && process_of(before) != process_of(&self.state);
        if from != to || another {
            self.since = clock::system();
        }
        if from != to {
            let cause = self.state.cause();
            // What takes a profile out of service, or keeps it from being what it should, reaches the terminal too.
            match to {
                words::FAILED | words::CRASH_LOOP => tracing::error!(%generation, "{from} → {to}: {cause}"),
                words::DEGRADED | words::BACKOFF | words::CONFLICT => {
                    tracing::warn!(%generation, "{from} → {to}: {cause}");
                }
                _ => tracing::info!(%generation, "{from} → {to}: {cause}"),
            }
        } else if generation_of(before) != generation_of(&self.state)
            && self.state.current().is_some()
            && !self.state.is_asleep()
        {
            tracing::info!(
                %generation,
                "{to}: takes over from generation {}",
                generation_of(before).unwrap_or_default()
            );
        } else if let Some(why) = self.state.why().filter(|why| before.why() != Some(why)) {
            let file = why.file.as_deref().unwrap_or_default();
            tracing::warn!(%generation, file, "stays {to}: {}", self.state.cause());
        }
    }

    fn act(&mut self, action: &Action) -> Option<Event> {
        match *action {
            Action::Spawn { generation } => match Arc::clone(&self.common.gate).try_acquire_owned() {
                Ok(permit) => return Some(self.spawn(generation, permit)),
                Err(_) => self.queue(generation),
            },
            Action::Connect { generation } => {
                if let Some(link) = self.links.get(&generation) {
                    self.standing.expects(&link.exclusive);
                }
                return self.say(generation, ToWorker::Connect);
            }
            Action::Yield { generation, within } => {
                return self.say(generation, ToWorker::Yield { within_ms: millis(within) });
            }
            Action::StopAccepting { generation } => return self.say(generation, ToWorker::StopAccepting),
            Action::DropIdle => self.route.drop_idle(),
            Action::Drain { generation, deadline } => {
                return self.say(generation, ToWorker::Drain { deadline_ms: millis(deadline) });
            }
            Action::Rest { generation, deadline } => {
                return self.say(generation, ToWorker::Rest { deadline_ms: millis(deadline) });
            }
            Action::Signal { generation, signal } => {
                let Some(link) = self.links.get(&generation) else {
                    // Still waiting for its turn to be started.
                    self.gone(generation);
                    return Some(Event::SpawnFailed { generation, reason: "cancelled".to_owned() });
                };
                let signal = match signal {
                    Signal::Terminate => UnixSignal::SIGTERM,
                    Signal::Kill => UnixSignal::SIGKILL,
                };
                let pid = link.pid.as_raw();
                // What the one in force is ended for is logged with its change of state.
                if let Some(reason) = self.state.blame_of_another(generation) {
                    tracing::warn!(%generation, pid, %signal, "ended beside the one in force: {reason}");
                } else {
                    tracing::debug!(%generation, pid, %signal, "signal");
                }
                self.common.children.signal(link.pid, signal);
            }
        }
        None
    }

    fn say(&mut self, generation: Generation, message: ToWorker) -> Option<Event> {
        self.try_send(generation, |outgoing| outgoing.send(message))
    }

    /// What happens because a message did not go out.
    fn try_send(
        &mut self,
        generation: Generation,
        send: impl FnOnce(&mut Outgoing) -> Result<(), Deaf>,
    ) -> Option<Event> {
        let deaf = send(&mut self.links.get_mut(&generation)?.outgoing).err()?;
        tracing::warn!(%generation, "the worker breaks the rules of the control connection: {deaf}");
        Some(Event::Broke { generation, rule: deaf.to_string() })
    }

    fn send(&mut self, generation: Generation, send: impl FnOnce(&mut Outgoing) -> Result<(), Deaf>) {
        if let Some(broke) = self.try_send(generation, send) {
            self.apply(broke);
        }
    }

    fn tell(&self, event: FleetEvent) {
        if let Err(error) = self.common.fleet.try_send(event) {
            tracing::error!(%error, "the app does not take events");
        }
    }

    fn gone(&self, generation: Generation) {
        self.tell(FleetEvent::Gone { profile: self.spec.name.clone(), generation });
    }

    fn answer_waiters(&mut self) {
        let state = &self.state;
        let waiting = std::mem::take(&mut self.waiters);
        self.waiters = waiting
            .into_iter()
            .filter_map(|(goal, reply)| match state.verdict(goal) {
                // Whoever asked may have gone away.
                Some(verdict) => {
                    let _ = reply.send(verdict);
                    None
                }
                None => Some((goal, reply)),
            })
            .collect();
    }
}

/// The reason a report gives for a profile that cannot run.
fn worst(problems: &[Problem]) -> Option<Why> {
    problems
        .iter()
        .filter(|problem| problem.severity.stops_profile())
        .max_by_key(|p| p.severity)
        .map(Why::from)
}

impl From<&Problem> for Why {
    fn from(problem: &Problem) -> Self {
        let reason = match problem.line {
            Some(line) => format!("{} (line {line})", problem.message),
            None => problem.message.clone(),
        };
        Self { reason, file: (!problem.file.is_empty()).then(|| problem.file.clone()) }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
