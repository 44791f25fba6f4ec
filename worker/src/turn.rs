//! Running turns, whoever asks. Two kinds of reply: the ledger's, for items of the inbox, and a stream, whose client waits.
//!
//! ```text
//!   inbox ──▶ dispatch ─┐ claim: inbox row; begin: lease, session, routing entry, user row ┌─▶ delivery
//!   client ─▶ stream ───┤ begin: lease, session, user row                                  │
//!                       └──▶ engine ──▶ finish: answer, counters, inbox row, ledger, lease ────┘
//!                             │  ▲
//!                             ▼  │ journal: each call for tools and each result, with its cost
//! ```
//!
//! **Guarantees.** Claim, every step and finish are one transaction each. The user's row is stored before the engine is called, a step
//! before anything follows from it, the answer only when there is one. One turn at a time per session, over all processes and over newer releases
//! of the Python program, by lease rows that are void when their process is gone ([`lease`]). A turn whose process died is continued from what is stored; an inbox turn interrupted by [`Turns::drain`] likewise.
//! A message that comes while its session is busy waits, ends what runs, or is put into it: its mode is stored with it in the inbox, so
//! any process that runs the turn acts on it, and none is lost ([`busy`]).
//! A run of the API is an item of the inbox that keeps its answer ([`runs`]).
//! Where a tool has asked whoever talks, the next message is the answer ([`asked`]).
//! What a prompt needs of files is read before its transaction begins.
//! Counts include turns that ended and are not yet written, so "nothing runs" means "everything is on disk".

mod accounts;
mod asked;
mod asking;
mod attempt;
mod begin;
mod busy;
mod claim;
mod command;
mod compress;
mod conversation;
mod dispatch;
mod finish;
mod held;
mod item;
mod journal;
mod lease;
mod place;
mod record;
mod review;
mod run;
mod running;
mod runs;
mod sessions;
mod stream;
mod title;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hermes_config::chats::AllChats;
use hermes_config::{BusyAcks, Compression};
use hermes_host::blocking;
use hermes_wire::ProfileName;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::delivery::Deliveries;
use crate::delivery::signs::Waits;
use crate::engine::{self, Engine, EngineError};
use crate::inbound::{DeliveryTarget, Source};
use crate::inbox::life;
use crate::inbox::postpone::Postponed;
use crate::session::lease::Watch;
use crate::session::routing::Scopes;
use crate::session::{Overlay, PromptReader, Prompts, SessionContext, Shapes};
use crate::store::{Owner, Store, StoreError};
use crate::tools::asking::Choice;

use asked::Questions;
pub(crate) use asking::OPEN;
pub use asking::{NotAsked, described};
pub(crate) use command::Change;
use command::Command;
use dispatch::Dispatcher;
use held::HeldTurns;
use place::{Count, Kind};
pub(crate) use review::Review;
use running::Running;
pub use runs::{Asked, Request, Steered, Submitted};
pub use sessions::SessionChange;
use title::Titles;

/// What interrupted turns, and then the remaining tasks, may take to end.
const INTERRUPTED: Duration = Duration::from_secs(3);

/// Limits and facts that turns need.
#[derive(Debug, Clone)]
pub struct TurnSettings {
    /// The profile: scope of the routing index.
    pub profile: ProfileName,
    /// Inbox sessions that run at once, `usize::MAX` for no limit; one that waits for its provider does not count.
    pub max_concurrent_sessions: usize,
    /// Direct turns that run at once; one more is [`TurnError::Busy`].
    pub max_concurrent_runs: usize,
    /// An inbox turn whose engine says nothing for so long is stopped and fails.
    pub inactivity_timeout: Option<Duration>,
    /// An inbox turn whose provider is away, busy, unpaid or set up wrong is tried again for so long; zero = it fails at once.
    pub postpone_timeout: Duration,
    /// What whoever writes while a turn runs hears.
    pub busy_acks: BusyAcks,
    /// Most calls to the model that a turn has, for whoever is told how far it is.
    pub max_turns: u32,
    /// What is otherwise in single chats.
    pub chats: AllChats,
    /// What is told in all of them behind the stored prompt.
    pub overlay: Overlay,
    /// The process that ends this one when it ends itself.
    pub supervisor: Option<Owner>,
    /// Keep `sessions/sessions.json` for 0.19.0 (`gateway.write_sessions_json`).
    pub write_sessions_json: bool,
    /// For session ids and dates.
    pub timezone: jiff::tz::TimeZone,
    /// When conversations are made shorter, and how.
    pub compression: Compression,
    /// Time that a summary has.
    pub compression_timeout: Duration,
    /// Of titles; `None`: that of whoever asks.
    pub title_language: Option<String>,
}

/// Which session a turn belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionRef {
    /// That of a session key: the one its routing entry names while that is open, else a new one.
    Keyed(String),
    /// The caller named it: its stored history is the history.
    Continue(String),
    /// The caller brings the history.
    Fresh(String),
}

/// What somebody asks for, whoever that is: an event of a platform, a client of the API, a terminal, a job of the clock.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// Who asks, and where: stored with the session as it is.
    pub source: Source,
    /// Its session.
    pub session: SessionRef,
    /// The caller's own system text; follows the stored prompt, is not stored.
    pub system: Option<String>,
    /// Earlier messages that the caller brings; for [`SessionRef::Fresh`] only.
    pub history: Vec<engine::Message>,
    /// What is new: a user message, or the results of tools. In front of results stands the assistant's message that called them:
    /// it is taken over where the session does not know it.
    pub input: Vec<engine::Message>,
    /// What the caller asks of the model; only where [`Turns::takes_options`].
    pub options: engine::Options,
    /// The model that the caller asks for by another name; see [`engine::Prompt::route`].
    pub route: Option<String>,
    /// By which a client that reads along answers what the turn asks; without it nobody can be asked.
    pub run: Option<String>,
    /// That client says something to whatever is asked, not only to commands.
    pub is_attended: bool,
    /// What the caller wants otherwise than the profile has it; only where [`Turns::takes_options`].
    pub wishes: engine::Wishes,
    /// Which question it is, where its caller may ask again: one that was begun goes on from its last step, and of one that is over the
    /// answer is told. Only for [`SessionRef::Continue`].
    pub identity: Option<String>,
}

impl Turn {
    /// One of this session that says nothing yet, and wants nothing otherwise than the profile has it.
    pub fn new(source: Source, session: SessionRef) -> Self {
        Self {
            source,
            session,
            system: None,
            history: Vec::new(),
            input: Vec::new(),
            options: engine::Options::new(),
            route: None,
            run: None,
            is_attended: false,
            wishes: engine::Wishes::default(),
            identity: None,
        }
    }
}

/// How an answer gets to whoever asked.
#[expect(clippy::large_enum_variant, reason = "nearly all are items, and a box for each would cost more")]
#[derive(Debug, Clone)]
enum Reply {
    /// Through the ledger. The turn is an item of the inbox and outlives its process.
    Ledger(Item),
    /// A client reads it as it is written; without the client the turn is over.
    Stream,
}

impl Reply {
    fn item(&self) -> Option<&Item> {
        match self {
            Self::Ledger(item) => Some(item),
            Self::Stream => None,
        }
    }
}

/// What a turn needs to know of its item of the inbox.
#[derive(Debug, Clone)]
struct Item {
    id: i64,
    /// It has an identity that must be remembered.
    remembers: bool,
    end_session: Option<String>,
    delivery: DeliveryTarget,
    platform: String,
    chat_id: String,
    chat_type: String,
    /// How long it has been put off already.
    postponed: Postponed,
    /// It is no question.
    command: Option<Command>,
    /// It is a run, which keeps its answer.
    run: Option<String>,
    /// Its conversation is what is stored of its session.
    is_stored: bool,
    /// Questions of its turn that wait for an answer.
    waits: Waits,
}

impl Item {
    /// It came from the chat that its answer goes to.
    fn is_answered_there(&self, deliveries: &Deliveries) -> bool {
        self.run.is_none() && deliveries.is_on(&self.delivery, &self.platform)
    }
}

/// A running turn that a client reads. Dropping it interrupts the turn.
#[derive(Debug)]
pub struct RunningTurn {
    /// Its session.
    pub session_id: String,
    /// Pieces as they come; closed when there are no more. Bounded: not reading slows the engine down.
    pub events: mpsc::Receiver<engine::Event>,
    /// The answer, once it is stored.
    pub outcome: oneshot::Receiver<Result<engine::Outcome, TurnError>>,
    /// Interrupts when dropped.
    pub cancel: DropGuard,
}

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TurnError {
    /// Too many run already.
    #[error("too many turns are running")]
    Busy,
    /// This worker takes no new turns.
    #[error("this worker is draining")]
    Draining,
    /// The turn of a question that is asked again had ended without an answer.
    #[error("{0}")]
    Unanswered(String),
    /// Results of tools that nobody called in this session, or not of all that were.
    #[error(
        "the session's last message has no such calls, or more of them: send the results of all calls together"
    )]
    UnknownCalls,
    /// Another program took the session while the turn ran; nothing of it was kept since.
    #[error("another program took over the session while the turn ran; send the request again")]
    Taken,
    /// What keeps turns of several programs apart cannot be used.
    #[error("{0}")]
    Unguarded(String),
    /// The profile's files cannot be read now.
    #[error("the profile's files cannot be read now: {0}")]
    Files(String),
    /// The engine failed.
    #[error("the turn failed")]
    Engine(#[source] EngineError),
    /// The store failed.
    #[error("the session store failed")]
    Store(#[from] StoreError),
    /// A bug: the turn's task panicked. The panic is in the log.
    #[error("the turn ended unexpectedly")]
    Panicked,
}

/// Parts of [`Turns`].
pub struct TurnParts {
    /// State.
    pub store: Store,
    /// Who answers.
    pub engine: Arc<dyn Engine>,
    /// What system prompts need of files.
    pub prompts: PromptReader,
    /// Ways out.
    pub deliveries: Deliveries,
    /// Limits.
    pub settings: TurnSettings,
}

/// All turns of this worker. Cloning shares them.
#[derive(Clone)]
pub struct Turns(Arc<Inner>);

struct Inner {
    store: Store,
    engine: Arc<dyn Engine>,
    deliveries: Deliveries,
    settings: TurnSettings,
    /// Reads what system prompts need of files.
    prompts: PromptReader,
    /// What jobs need to know.
    session: Arc<SessionContext>,
    /// Every task of this module.
    tasks: TaskTracker,
    /// Ends running turns.
    interrupt: CancellationToken,
    /// Ends the dispatcher and the deliveries, once no turn runs.
    stop: CancellationToken,
    /// Turns that run, or ended and are not yet written.
    active: watch::Sender<Active>,
    quiesced: AtomicBool,
    /// Inbox items are left to another process, for good.
    leaving: AtomicBool,
    /// For good.
    draining: AtomicBool,
    /// The end was planned, and is noted as such.
    planned: AtomicBool,
    /// Rung when a lease of this process ends.
    lease_freed: Notify,
    /// Rung when something has happened in a run.
    happening: Notify,
    /// Turns of the inbox that can be told to stop.
    running: Running,
    /// Questions of turns that wait for an answer.
    questions: Questions,
    /// All turns, by what they hold.
    held: HeldTurns,
    titles: Titles,
}

/// Turns by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Active {
    inbox: Count,
    direct: Count,
    /// Of the inbox, those that are runs.
    runs: usize,
}

impl Active {
    fn of(&mut self, kind: Kind) -> &mut Count {
        match kind {
            Kind::Inbox => &mut self.inbox,
            Kind::Direct => &mut self.direct,
        }
    }

    fn turns(&self) -> usize {
        self.inbox.turns + self.direct.turns
    }
}

impl Turns {
    /// Nothing runs yet; see [`serve_inbox`](Self::serve_inbox).
    pub fn new(parts: TurnParts) -> Self {
        let TurnParts { store, engine, prompts, deliveries, settings } = parts;
        let session = SessionContext {
            owner: store.owner(),
            engine: Arc::clone(&engine),
            chats: settings.chats.clone(),
            overlay: settings.overlay.clone(),
            model: engine.model(),
            has_tools: engine.has_tools(),
            is_steered: engine.is_steered(),
            scopes: Scopes::of(&settings.profile, store.home().path()),
            shapes: Shapes::default(),
            zone: settings.timezone.clone(),
            leases: Watch::default(),
        };
        Self(Arc::new(Inner {
            store,
            engine,
            deliveries,
            settings,
            prompts,
            session: Arc::new(session),
            tasks: TaskTracker::new(),
            interrupt: CancellationToken::new(),
            stop: CancellationToken::new(),
            active: watch::Sender::new(Active::default()),
            quiesced: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            planned: AtomicBool::new(false),
            lease_freed: Notify::new(),
            happening: Notify::new(),
            running: Running::default(),
            questions: Questions::default(),
            held: HeldTurns::default(),
            titles: Titles::default(),
        }))
    }

    /// Recovers what dead processes left, then runs inbox items and pending deliveries in tasks of its own until
    /// [`drain`](Self::drain). Call once, inside the runtime.
    pub fn serve_inbox(&self) {
        let dispatcher = Dispatcher::new(Arc::clone(&self.0));
        self.0.tasks.spawn(self.0.store.inbox().clone().of(dispatcher.run()));
        let deliveries = self.0.deliveries.clone();
        let pulse = deliveries.pulse().clone();
        self.0.tasks.spawn(pulse.of(deliveries.run(self.0.stop.clone())));
    }

    /// Starts a turn whose answer is read as it is written: returns when the user's message is stored and the engine is about to be called. Waits while
    /// another turn of the same session runs. Dropping the future, or the running turn, interrupts.
    pub async fn start(&self, turn: Turn) -> Result<RunningTurn, TurnError> {
        stream::start(&self.0, turn, None).await
    }

    /// Does something to a conversation, as a turn of it; what is said of that.
    pub(crate) async fn change(&self, turn: Turn, change: Change) -> Result<String, TurnError> {
        let running = stream::start(&self.0, turn, Some(change.into())).await?;
        let RunningTurn { outcome, cancel: _interrupts_when_dropped, .. } = running;
        outcome.await.unwrap_or(Err(TurnError::Panicked)).map(|outcome| outcome.text)
    }

    /// Writes down what somebody said to what a tool of the turn `run` asks.
    pub(crate) async fn say(&self, run: &str, text: String) -> Result<(), NotAsked> {
        asking::say(&self.0, run, text).await
    }

    /// Tells the inbox turn that runs in this process for a session key to stop. Its answer is not given, even if it is there already;
    /// the steps it took stay part of the conversation, and the next message has its turn. `false`: none runs.
    pub fn interrupt(&self, session_key: &str) -> bool {
        self.0.running.supersede(session_key)
    }

    /// Writes down what somebody chose for what a run asks, in whichever process it runs.
    pub async fn choose(&self, run: &str, choice: &Choice) -> Result<(), NotAsked> {
        asking::choose(&self.0, run, choice).await
    }

    /// Whether the engine hands options of a request to a model.
    pub fn takes_options(&self) -> bool {
        self.0.engine.takes_options()
    }

    /// Turns that run now, of both kinds.
    pub fn active(&self) -> u32 {
        u32::try_from(self.0.active.borrow().turns()).unwrap_or(u32::MAX)
    }

    /// `true`: no new claims and no new direct turns; running ones go on.
    pub fn set_quiesced(&self, quiesced: bool) {
        self.0.quiesced.store(quiesced, Ordering::Relaxed);
        self.0.store.arrived().notify_one();
    }

    /// Claims nothing more from the inbox, for good: the next generation does. Direct turns still start, for requests that are on
    /// their way here already.
    pub fn stop_claiming(&self) {
        self.0.leaving.store(true, Ordering::Relaxed);
        self.0.plan_end();
    }

    /// Quiesces for good, waits for running turns, interrupts them when `now` is cancelled, and returns when nothing runs and
    /// nothing is left to write. Interrupted inbox turns are resumed by the next process.
    pub async fn drain(&self, now: CancellationToken) {
        self.0.draining.store(true, Ordering::Relaxed);
        self.0.plan_end();
        self.set_quiesced(true);
        let mut active = self.0.active.subscribe();
        let all_ended = tokio::select! {
            _ = active.wait_for(|active| active.turns() == 0) => true,
            () = now.cancelled() => false,
        };
        self.0.interrupt.cancel();
        if !all_ended {
            let ended = active.wait_for(|active| active.turns() == 0);
            if tokio::time::timeout(INTERRUPTED, ended).await.is_err() {
                tracing::warn!(
                    turns = self.active(),
                    "turns did not end in time; the next start resumes them"
                );
            }
        }
        self.0.stop.cancel();
        self.0.tasks.close();
        let tasks = tokio::time::timeout(INTERRUPTED, self.0.tasks.wait());
        if tokio::join!(tasks, self.0.engine.close()).0.is_err() {
            tracing::warn!(tasks = self.0.tasks.len(), "tasks did not end in time");
        }
    }
}

impl Inner {
    /// What system prompts need of files, as of now. Never within a transaction: it may take long.
    async fn read_prompts(&self) -> Result<Prompts, blocking::Lost> {
        let read = Arc::clone(&self.prompts);
        blocking::run(move || read()).await
    }

    fn is_quiesced(&self) -> bool {
        self.quiesced.load(Ordering::Relaxed) || self.draining.load(Ordering::Relaxed)
    }

    /// Notes that the end of this process is nobody's fault. Nothing waits for it.
    fn plan_end(self: &Arc<Self>) {
        if self.planned.swap(true, Ordering::Relaxed) {
            return;
        }
        let (store, me) = (self.store.clone(), self.store.owner());
        self.tasks.spawn(async move {
            if let Err(error) = store.write_one(move |db| life::plan_end(db, me)).await {
                tracing::debug!(%error, "the planned end is not noted");
            }
        });
    }

    fn inbox_turns(&self) -> usize {
        self.active.borrow().inbox.turns
    }

    /// Turns of the inbox that begin and those that end, with the runs among them.
    fn count_inbox(&self, started: (usize, usize), ended: (usize, usize)) {
        if started != ended {
            self.active.send_modify(|active| {
                active.inbox.turns = active.inbox.turns + started.0 - ended.0;
                active.runs = active.runs + started.1 - ended.1;
            });
        }
    }

    /// A place among the direct turns.
    fn take_run_slot(self: &Arc<Self>) -> Result<RunSlot, TurnError> {
        if self.is_quiesced() {
            return Err(TurnError::Draining);
        }
        let Active { direct, runs, .. } = *self.active.borrow();
        if direct.taken().saturating_add(runs) >= self.settings.max_concurrent_runs {
            return Err(TurnError::Busy);
        }
        self.active.send_modify(|active| active.direct.turns += 1);
        Ok(RunSlot(Arc::clone(self)))
    }
}

/// Gives its place back when dropped.
struct RunSlot(Arc<Inner>);

impl Drop for RunSlot {
    fn drop(&mut self) {
        self.0.active.send_modify(|active| active.direct.turns -= 1);
    }
}

#[cfg(test)]
mod tests;
