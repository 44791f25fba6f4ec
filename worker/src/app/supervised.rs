//! A worker under a supervisor: handshake, report, admission, service, drain, all as the control socket says.

use std::future::pending;
use std::time::Duration;

use hermes_config::ProfileConfig;
use hermes_host::cause::chain;
use hermes_host::child;
use hermes_wire::ProfileHome;
use hermes_wire::contract::runtime_status::Asleep;
use hermes_wire::exit;
use hermes_wire::latest::{Admit, Autostart, FromWorker, Prepare, Problem, Report, Role, ToWorker};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::healthy;
use super::idle::Idle;
use super::platforms::YIELD;
use super::rhythm::Rhythm;
use super::serving::{self, Condition, Parts, Reporter, Serving, impediment};
use super::settling::Settling;
use super::{Ended, Signals, Who, code_of, log_problems};
use crate::control::{Control, ControlError};
use crate::handover::Road;
use crate::http::Listener;
use crate::load;
use crate::logging::Logging;
use crate::platform;
use crate::process::{self, Environment, Inherited, ProcessError};
use crate::pulse;
use crate::status::{self, State, Status};

mod exclusive;

use exclusive::Exclusive;

/// Time to finish when nobody says how much there is: the supervisor is gone, or a signal came.
const SHORT: Duration = Duration::from_secs(3);
/// Shortest time between two heartbeats, whatever is asked for.
const SHORTEST_BEAT: Duration = Duration::from_millis(50);

/// The whole life. Every way out writes the last status first.
pub(super) async fn run(
    who: &Who,
    environment: &Environment,
    logging: &Logging,
    inherited: Inherited,
) -> Ended {
    match live(who, environment, logging, inherited).await {
        Ok(ended) => ended,
        Err(e) => {
            let gone = matches!(e, Failure::Control(ControlError::Closed));
            if gone {
                info!("the supervisor is gone");
                Ended(exit::OK)
            } else {
                error!(error = &e as &dyn std::error::Error, "the worker ends");
                Ended(code_of(&e))
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot install signal handlers")]
    Signals(#[source] std::io::Error),
    #[error("cannot use an inherited socket")]
    Process(#[from] process::ProcessError),
    #[error("cannot talk to the supervisor")]
    Control(#[from] ControlError),
}

/// The status of a process about which nothing is known yet but who it is.
fn fresh(who: &Who, prepare: &Prepare) -> Status {
    let pid = process::pid();
    let record = status::empty(who.profile.as_str(), pid, process::start_time(pid), child::argv());
    let status = Status::new(record);
    status.update(|record| {
        record.supervisor_pid = Some(prepare.supervisor_pid);
        record.restarts = Some(prepare.restarts);
    });
    status
}

async fn live(
    who: &Who,
    environment: &Environment,
    logging: &Logging,
    inherited: Inherited,
) -> Result<Ended, Failure> {
    let mut signals = Signals::install().map_err(Failure::Signals)?;
    let listener = process::listener(inherited.data)?;
    let road =
        inherited.road.map(Road::inherited).transpose().map_err(ProcessError::road)?.unwrap_or_default();
    let mut control = Control::connect(process::stream(inherited.control)?).await?;
    let prepare = match next(&mut control, &mut signals).await? {
        Next::Message(ToWorker::Prepare(prepare)) => prepare,
        Next::Message(other) => return Ok(unexpected(&other)),
        Next::Terminated => return Ok(Ended(exit::OK)),
    };
    logging.set_generation(prepare.generation);

    let loaded = load::load(&who.profile, &who.home, &prepare, environment).await;
    if let Some(config) = &loaded.config {
        logging.configure(&config.logging);
        logging.redact(config);
    }
    log_problems(&loaded.report.problems);
    if let Some(reason) = loaded.hindrance {
        // Nothing can be said about files that could not be read.
        last_words(&mut control, reason).await;
        return Ok(Ended(exit::MACHINE));
    }
    let note = loaded.config.as_ref().and_then(|config| note(config, &loaded.report, &prepare));
    let reason = impediment(&loaded.report.problems);
    let stands_alone = loaded.report.problems.iter().any(Problem::is_standalone);
    control.send(&FromWorker::Report(loaded.report)).await?;

    let status = fresh(who, &prepare);
    let report = match prepare.role {
        Role::Primary => Reporter::start_beside_a_gateways,
        Role::Secondary => Reporter::start,
    };
    let admit = match next(&mut control, &mut signals).await? {
        Next::Message(ToWorker::Admit(admit)) => admit,
        // The status in this home is its own gateway's to write.
        Next::Message(ToWorker::Refuse { reason }) if stands_alone => {
            info!("not served here: {reason}");
            return Ok(Ended(exit::CONFIG));
        }
        Next::Message(ToWorker::Refuse { reason }) => {
            warn!("not admitted: {reason}");
            report(status, &who.home).finish(State::StartupFailed, Some(&reason)).await;
            return Ok(Ended(exit::CONFIG));
        }
        Next::Message(ToWorker::Rest { .. }) => {
            info!("not needed for now");
            status.update(|record| record.asleep = note);
            report(status, &who.home).finish(State::Stopped, None).await;
            return Ok(Ended(exit::OK));
        }
        Next::Message(other) => return Ok(unexpected(&other)),
        Next::Terminated => return Ok(Ended(exit::OK)),
    };
    let Some(config) = loaded.config else {
        // Admission without a configuration would be a bug of the supervisor; nothing is served on guesses.
        error!("admitted although the configuration cannot be used");
        report(status, &who.home).finish(State::StartupFailed, Some("unusable configuration")).await;
        return Ok(Ended(exit::CONFIG));
    };
    status.update(|record| record.served_profiles = served(&prepare, &admit));
    let reporter = report(status, &who.home);
    let parts = Parts {
        config,
        reason,
        home: &who.home,
        environment,
        listeners: admit.listeners,
        listener: Listener::Data(listener),
        road,
        reporter: &reporter,
        duty: serving::Duty::All,
    };
    let serving = match Serving::start(parts).await {
        Ok(serving) => serving,
        Err(e) => {
            error!(error = &e as &dyn std::error::Error, "the profile cannot be served");
            let code = e.exit_code();
            last_words(&mut control, chain(&e)).await;
            reporter.finish(State::StartupFailed, Some(&chain(&e))).await;
            return Ok(Ended(code));
        }
    };
    let exclusive = Exclusive::new(serving.connections().clone());
    let well = Some((who.home.clone(), loaded.read));
    let idle = Idle::new(note.as_ref().map(|note| Duration::from_millis(note.upkeep.idle_ms)));
    let noting = JoinSet::new();
    let mut duty = Duty { control, signals, prepare, serving, exclusive, well, noting, idle, rests: false };
    let (ended, reason) = duty.serve(&reporter).await;
    info!(code = ended.0, "the worker ends");
    let reason = match (reason, ended.0) {
        (None, exit::RESTART) if duty.rests => Some("there is something to do after all".to_owned()),
        (None, code) if code != exit::OK => Some("the control socket failed".to_owned()),
        (reason, _) => reason,
    };
    if duty.rests && ended.0 == exit::OK {
        reporter.status.update(|record| record.asleep = note);
    }
    reporter.finish(State::Stopped, reason.as_deref()).await;
    if ended.0 == exit::OK {
        // The supervisor may be gone; then nobody waits for this.
        let _ = duty.control.send(&FromWorker::Drained).await;
    }
    Ok(ended)
}

/// What a worker leaves that goes to sleep; nothing where this one never does.
fn note(config: &ProfileConfig, report: &Report, prepare: &Prepare) -> Option<Asleep> {
    let on_demand = report.upkeep.autostart == Autostart::OnDemand && prepare.role == Role::Secondary;
    // A connection is held for as long as the process lives; work comes to an end.
    let may = on_demand && platform::connections(config).is_empty();
    may.then(|| Asleep {
        stamp: prepare.stamp.clone(),
        upkeep: report.upkeep,
        problems: report.problems.clone(),
    })
}

/// Tells why this process ends. On a full disk nothing else would.
async fn last_words(control: &mut Control, reason: String) {
    // The supervisor may be gone; then nobody has to know.
    let _ = control.send(&FromWorker::LastWords { reason }).await;
}

/// The served profiles, for the file of the primary while several are served.
fn served(prepare: &Prepare, admit: &Admit) -> Option<Vec<String>> {
    (prepare.role == Role::Primary && admit.multiplex).then(|| admit.served.clone())
}

enum Next {
    Message(ToWorker),
    Terminated,
}

/// The next message before there is anything to drain.
async fn next(control: &mut Control, signals: &mut Signals) -> Result<Next, ControlError> {
    tokio::select! {
        message = control.receive() => Ok(Next::Message(message?)),
        () = signals.terminated() => Ok(Next::Terminated),
    }
}

/// A message that ends a worker which does not serve yet: `Drain` is a plain goodbye, anything else is out of order.
fn unexpected(message: &ToWorker) -> Ended {
    match message {
        ToWorker::Drain { .. } | ToWorker::Rest { .. } | ToWorker::StopAccepting => Ended(exit::OK),
        ToWorker::Refuse { .. } => Ended(exit::CONFIG),
        ToWorker::Prepare(_)
        | ToWorker::Admit(_)
        | ToWorker::StopClaiming
        | ToWorker::Connect
        | ToWorker::Yield { .. } => {
            error!("the supervisor sent a message out of order");
            Ended(exit::FAILURE)
        }
    }
}

/// A worker that serves.
struct Duty {
    control: Control,
    signals: Signals,
    prepare: Prepare,
    serving: Serving,
    exclusive: Exclusive,
    /// What is noted once all has been well for a moment.
    well: Option<(ProfileHome, load::Read)>,
    idle: Idle,
    /// It ends because nobody needs it.
    rests: bool,
    /// What notes it; ends with this.
    noting: JoinSet<()>,
}

/// Why service ends.
struct Leave {
    deadline: Duration,
    /// Whether the supervisor will close its connections.
    ordered: bool,
    code: u8,
    /// A task without which there is no service has failed: nothing can be finished, not even written.
    failed: Option<String>,
}

impl Duty {
    /// From `Ready` to the end of the drain; and why, where that was a failure of this worker's own.
    async fn serve(&mut self, reporter: &Reporter) -> (Ended, Option<String>) {
        let leave = match self.answer(reporter).await {
            Ok(leave) => leave,
            Err(e) => lost(&e),
        };
        if leave.failed.is_some() {
            return (Ended(leave.code), leave.failed);
        }
        (self.drain(&leave).await, None)
    }

    /// Serves until something says to end.
    async fn answer(&mut self, reporter: &Reporter) -> Result<Leave, ControlError> {
        self.control.send(&FromWorker::Ready).await?;
        let mut changes = self.serving.changes();
        let mut told = self.tell_condition(Condition::default()).await?;
        info!("ready");
        let mut rhythm = Rhythm::new(self.prepare.heartbeat_ms);
        let mut settling = Settling::new();
        let failed = self.serving.failed();
        tokio::pin!(failed);
        loop {
            tokio::select! {
                pulse::Failure { reason, code } = &mut failed => {
                    error!(code, "{reason}; the worker ends");
                    last_words(&mut self.control, reason.clone()).await;
                    return Ok(Leave { deadline: SHORT, ordered: false, code, failed: Some(reason) });
                }
                () = settling.next() => {
                    settling.done();
                    if !self.serving.activity().busy {
                        self.serving.settle();
                    }
                }
                news = self.exclusive.news() => self.control.send(&news).await?,
                message = self.control.receive() => {
                    if let Some(leave) = self.obey(message?, reporter).await? {
                        return Ok(leave);
                    }
                }
                () = self.signals.terminated() => {
                    info!("SIGTERM: draining");
                    self.serving.stop_accepting().await;
                    // Unasked, so that the supervisor drops its idle connections as in a swap, and says how long the rest may take.
                    self.control.send(&FromWorker::AcceptStopped).await?;
                    return Ok(Leave { deadline: SHORT, ordered: false, code: exit::OK, failed: None });
                }
                () = rhythm.next() => {
                    let beat = rhythm.beat(self.serving.heartbeat());
                    if !self.control.beat(beat).await? {
                        rhythm.held_up();
                    }
                    // Counts, which come as often as calls fail, travel with the beat.
                    told = self.tell_condition(told).await?;
                    if !self.serving.activity().busy && process::resident().is_some_and(|now| settling.has_grown(now)) {
                        process::unmap();
                    }
                }
                () = self.idle.next() => {
                    if self.idle.look(self.serving.activity()) {
                        if self.serving.has_unfinished().await {
                            self.idle.disturbed();
                        } else {
                            self.control.send(&FromWorker::Idle).await?;
                        }
                    }
                }
                () = self.serving.restart_wanted() => self.control.send(&FromWorker::Restart).await?,
                () = changes.next() => {
                    self.serving.show_state();
                    if !told.resembles(&self.serving.condition()) {
                        told = self.tell_condition(told).await?;
                    }
                }
            }
            if settling.is_over()
                && told.is_able()
                && let Some((home, read)) = self.well.take()
            {
                healthy::note(&mut self.noting, &home, read);
            }
        }
    }

    /// Carries out one message; an answer ends service.
    async fn obey(&mut self, message: ToWorker, reporter: &Reporter) -> Result<Option<Leave>, ControlError> {
        let rests = matches!(message, ToWorker::Rest { .. });
        match message {
            ToWorker::StopAccepting => {
                info!("no new connections from here on");
                self.serving.stop_accepting().await;
                self.control.send(&FromWorker::AcceptStopped).await?;
            }
            ToWorker::Drain { deadline_ms } | ToWorker::Rest { deadline_ms } => {
                self.rests = rests;
                self.serving.stop_accepting().await;
                return Ok(Some(Leave {
                    deadline: Duration::from_millis(deadline_ms),
                    ordered: true,
                    code: exit::OK,
                    failed: None,
                }));
            }
            ToWorker::Connect => self.exclusive.connect(),
            ToWorker::Yield { within_ms } => self.exclusive.yield_within(Duration::from_millis(within_ms)),
            ToWorker::StopClaiming => self.serving.stop_claiming(),
            // The set of served profiles changed.
            ToWorker::Admit(admit) => {
                let served = served(&self.prepare, &admit);
                reporter.status.update(|record| record.served_profiles = served);
            }
            ToWorker::Prepare(_) | ToWorker::Refuse { .. } => {
                error!("the supervisor sent a message out of order");
                return Ok(Some(Leave {
                    deadline: SHORT,
                    ordered: false,
                    code: exit::FAILURE,
                    failed: None,
                }));
            }
        }
        Ok(None)
    }

    /// Says what does not work, where that is not what was said last. Returns what the supervisor knows now.
    async fn tell_condition(&mut self, told: Condition) -> Result<Condition, ControlError> {
        let now = self.serving.condition();
        if now != told {
            self.control.send(&FromWorker::from(now.clone())).await?;
        }
        Ok(now)
    }

    fn beats(&self) -> tokio::time::Interval {
        let mut beats = interval(Duration::from_millis(self.prepare.heartbeat_ms).max(SHORTEST_BEAT));
        // After a pause one beat says as much as many.
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beats
    }

    /// Finishes what runs, still beating and listening: a later `Drain` changes the deadline, a second SIGTERM ends it at once.
    async fn drain(&mut self, leave: &Leave) -> Ended {
        info!(deadline_ms = u64::try_from(leave.deadline.as_millis()).unwrap_or(u64::MAX), "draining");
        let mut beats = self.beats();
        if self.exclusive.is_any() {
            // Whoever takes over need not wait for the end of this process.
            self.exclusive.yield_within(YIELD);
        }
        let Self { control, signals, serving, exclusive, rests, .. } = self;
        let mut deadline = Instant::now() + leave.deadline;
        let now = CancellationToken::new();
        if leave.deadline.is_zero() {
            now.cancel();
        }
        let work = async {
            serving.stop_accepting().await;
            serving.drain(now.clone(), leave.ordered).await
        };
        tokio::pin!(work);
        let mut connected = leave.ordered || leave.code == exit::OK;
        loop {
            let message = async { if connected { control.receive().await } else { pending().await } };
            let event = tokio::select! {
                // Where something is left to do, whoever sent it to sleep is to start another one.
                done = &mut work => return Ended(if *rests && !done { exit::RESTART } else { leave.code }),
                () = sleep_until(deadline), if !now.is_cancelled() => Event::Now,
                () = signals.terminated() => Event::Now,
                message = message => Event::Message(message),
                _ = beats.tick() => Event::Beat,
                news = exclusive.news() => Event::News(Box::new(news)),
            };
            match event {
                Event::Now => now.cancel(),
                Event::Message(Ok(ToWorker::Drain { deadline_ms } | ToWorker::Rest { deadline_ms })) => {
                    deadline = Instant::now() + Duration::from_millis(deadline_ms);
                }
                Event::Message(Ok(ToWorker::Yield { within_ms })) => {
                    exclusive.yield_within(Duration::from_millis(within_ms));
                }
                Event::Message(Err(_)) => {
                    connected = false;
                    deadline = deadline.min(Instant::now() + SHORT);
                }
                Event::Beat if connected => {
                    // Nobody to tell: the drain goes on.
                    let _ = control.beat(serving.heartbeat()).await;
                }
                Event::News(news) if connected => {
                    // Likewise.
                    let _ = control.send(&news).await;
                }
                Event::Beat | Event::News(_) | Event::Message(Ok(_)) => {}
            }
        }
    }
}

enum Event {
    Now,
    Message(Result<ToWorker, ControlError>),
    Beat,
    News(Box<FromWorker>),
}

/// What a broken control socket means: gone is an order to end, garbage is a failure.
fn lost(error: &ControlError) -> Leave {
    let code = if matches!(error, ControlError::Closed) { exit::OK } else { exit::FAILURE };
    warn!(error = error as &dyn std::error::Error, "the supervisor is lost; draining");
    Leave { deadline: SHORT, ordered: false, code, failed: None }
}
