//! What actors share with each other and with the app: common parts, messages, the handle.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hermes_host::clock;
use hermes_wire::contract::events::By;
use hermes_wire::contract::runtime_status::Asleep;
use hermes_wire::latest::{Admit, BoundListener, Report, Role, Upkeep};
use hermes_wire::{ProfileHome, ProfileName};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;

use super::super::WorkerView;
use super::super::cgroup::Groups;
use super::super::env::Environment;
use super::super::memory::OomKills;
use super::super::policy::Limits;
use super::super::reap::Children;
use super::super::spawn::Spawner;
use super::super::state::{Event, Why};
use super::passed::Passed;
use crate::generation::Generation;
use crate::journal::Journal;
use crate::news::News;
use crate::proxy::Route;
use crate::road::Road;
use crate::runtime::Runtime;

/// What all actors share.
pub(crate) struct Common {
    /// The zero of [`super::super::policy::At`].
    pub(crate) started: Instant,
    /// Owns every task.
    pub(crate) tracker: TaskTracker,
    pub(crate) children: Children,
    pub(crate) spawner: Spawner,
    /// Bounds how many processes start at once, so that a herd does not slow every single one down.
    pub(crate) gate: Arc<Semaphore>,
    pub(crate) claim_key: [u8; 32],
    pub(crate) memory: Arc<OomKills>,
    /// What keeps to limits.
    pub(crate) groups: Groups,
    pub(crate) fleet: mpsc::Sender<FleetEvent>,
    /// Where sockets have their names.
    pub(crate) runtime: Arc<Runtime>,
    /// What workers send each other.
    pub(crate) road: Arc<Road>,
    /// What has happened.
    pub(crate) journal: Journal,
    /// Where somebody waits for a view to be another one.
    pub(crate) news: News,
    /// Replaced as a whole, so that nobody holds the lock while it does anything else.
    terms: Mutex<Arc<Terms>>,
}

/// What the next process is told; the app alone changes it.
#[derive(Clone)]
pub(crate) struct Terms {
    pub(crate) environment: Environment,
    pub(crate) listeners: Vec<BoundListener>,
    pub(crate) multiplex: Option<bool>,
    pub(crate) heartbeat_ms: u64,
    pub(crate) limits: Limits,
    /// How profiles are kept whose files do not say it.
    pub(crate) upkeep: Upkeep,
}

impl Common {
    pub(crate) fn new(
        spawner: Spawner,
        starting: usize,
        claim_key: [u8; 32],
        fleet: mpsc::Sender<FleetEvent>,
        (runtime, journal): (Arc<Runtime>, Journal),
        terms: Terms,
    ) -> Self {
        let tracker = TaskTracker::new();
        Self {
            started: clock::now(),
            road: Arc::new(Road::new(tracker.clone())),
            tracker,
            children: Children::new(),
            spawner,
            gate: Arc::new(Semaphore::new(starting)),
            claim_key,
            memory: Arc::new(OomKills::new()),
            groups: Groups::default(),
            fleet,
            runtime,
            journal,
            news: News::new(),
            terms: Mutex::new(Arc::new(terms)),
        }
    }

    /// The terms in force at this moment: a value, no lock, so that an expression may ask twice.
    pub(crate) fn terms(&self) -> Arc<Terms> {
        Arc::clone(&self.terms.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts changed terms into force. `change` runs without the lock: the app is the only writer.
    pub(crate) fn change_terms<T>(&self, change: impl FnOnce(&mut Terms) -> T) -> T {
        let mut next = Terms::clone(&self.terms());
        let result = change(&mut next);
        *self.terms.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        result
    }
}

/// What an actor tells the app.
pub(crate) enum FleetEvent {
    /// A process has reported; the app decides.
    Reported {
        profile: ProfileName,
        generation: Generation,
        report: Box<Report>,
        decide: oneshot::Sender<Decision>,
    },
    /// Another process serves than before; one that stands by does not yet.
    Ready { profile: ProfileName, generation: Generation },
    /// A process is gone, or could not be made: its claims are void.
    Gone { profile: ProfileName, generation: Generation },
    /// The actor has ended.
    Ended { profile: ProfileName },
}

/// The app's answer to a report.
pub(crate) enum Decision {
    Admit(Box<Admission>),
    Refuse(Why),
    /// It is not to be served here, by its own wish.
    Apart(Why),
}

/// What a worker that may serve is told, and how it is kept.
pub(crate) struct Admission {
    pub(crate) admit: Admit,
    pub(crate) stay: Stay,
}

/// How a worker is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stay {
    /// It need not run while nobody has called it.
    pub(crate) rest: Option<Resting>,
    /// It is to sleep when it has nothing to do.
    pub(crate) sleeps: bool,
}

/// How a profile rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resting {
    /// Until something is to be done.
    Asleep,
    /// Until somebody starts it.
    Unasked,
}

/// What is known of a profile's files without reading them.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Which state they are in.
    pub(crate) stamp: String,
    /// What a worker left that read them in this state, had nothing to do and went to sleep.
    pub(crate) found: Option<Box<Asleep>>,
}

/// What is asked of an actor.
pub(crate) enum Command {
    /// Put an event to the state; when `wait` has come about, or cannot any more, say so.
    /// `by` is who asks, where that is not the rule for such an event.
    Do { event: Event, by: Option<By>, wait: Option<(Wait, oneshot::Sender<Result<(), Why>>)> },
    /// What is known of its files; where a worker left word that they let it sleep, it does.
    Know(Known),
    /// Leave the inbox to the next process.
    StopClaiming,
    /// Give its processes away, to the program that this one becomes; nothing where it listens for nobody. The actor ends.
    HandOver(oneshot::Sender<Option<Passed>>),
    /// Tell the processes that serve, or are about to, who else is served now.
    Tell(Box<Admit>),
}

/// What a command waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wait {
    Serving,
    Gone,
}

/// How others reach an actor. Dropping it stops nothing.
#[derive(Clone)]
pub(crate) struct Handle {
    pub(crate) name: ProfileName,
    pub(crate) home: ProfileHome,
    pub(crate) route: Arc<Route>,
    /// Boxed: a queue keeps room for many, empty as it is, and there is one for each profile that sleeps.
    pub(super) commands: mpsc::Sender<Box<Command>>,
    pub(super) view: watch::Receiver<WorkerView>,
}

impl Handle {
    /// The worker as last published, with the counters of this moment.
    pub(crate) fn view(&self) -> WorkerView {
        let mut view = self.view.borrow().clone();
        view.requests = self.route.requests();
        view.requests_active = self.route.active();
        view.lately = self.route.lately(clock::now());
        view
    }

    /// Something of the worker as last published, without a copy; its counters are not of this moment.
    pub(crate) fn see<T>(&self, what: impl FnOnce(&WorkerView) -> T) -> T {
        what(&self.view.borrow())
    }

    /// Puts an event to the worker.
    pub(crate) async fn send(&self, event: Event) {
        self.command(Command::Do { event, by: None, wait: None }).await;
    }

    /// The same for somebody.
    pub(crate) async fn send_for(&self, event: Event, by: By) {
        self.command(Command::Do { event, by: Some(by), wait: None }).await;
    }

    /// Puts an event to the worker and returns what it led to. An actor that ended in the meantime has nothing left to wait for.
    pub(crate) async fn send_and_wait(&self, event: Event, wait: Wait) -> Result<(), Why> {
        self.ask_and_wait(event, None, wait).await
    }

    /// The same for somebody.
    pub(crate) async fn send_and_wait_for(&self, event: Event, by: By, wait: Wait) -> Result<(), Why> {
        self.ask_and_wait(event, Some(by), wait).await
    }

    async fn ask_and_wait(&self, event: Event, by: Option<By>, wait: Wait) -> Result<(), Why> {
        let (reply, result) = oneshot::channel();
        self.command(Command::Do { event, by, wait: Some((wait, reply)) }).await;
        match (result.await, wait) {
            (Ok(result), _) => result,
            (Err(_), Wait::Gone) => Ok(()),
            (Err(_), Wait::Serving) => Err(Why { reason: "the profile is gone".to_owned(), file: None }),
        }
    }

    pub(crate) async fn command(&self, command: Command) {
        // An actor that has ended needs no commands.
        let _ = self.commands.send(Box::new(command)).await;
    }
}

/// What an actor is made of.
pub(crate) struct WorkerSpec {
    pub(crate) name: ProfileName,
    pub(crate) home: ProfileHome,
    pub(crate) role: Role,
    /// Name of its data socket.
    pub(crate) socket: String,
    pub(crate) desired_running: bool,
}
