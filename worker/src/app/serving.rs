//! What serves: the store, turns, platforms and HTTP of one profile, put together, and taken apart in order.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hermes_config::{EngineKind, ProfileConfig};
use hermes_wire::contract::runtime_status::RuntimeStatus;
use hermes_wire::latest::{BoundListener, FromWorker, Heartbeat, LastError, Problem, Severity};
use hermes_wire::{ProfileHome, exit};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use super::board;
use super::changes::Changes;
use super::fenced;
use super::given::{child_env, delivery_env, given, prompt_reader, turn_settings};
use super::idle::Activity;
use super::platforms::{CONFLICT, Connections, Paused, YIELD};
use super::{gone, pools, reconnected};
use crate::commands::Acts;
use crate::delivery::outbound::{Outbound, Outbounds};
use crate::delivery::{self, Deliveries};
use crate::fence::Fence;
use crate::handover::{self, Entrance, Reception, Road, Target, Voice, WayBack};
use crate::http::{Listener, Responder, Server};
use crate::inbox::{Backlog, Inbox, KeyPolicy};
use crate::mcp::{Premises, Servers};
use crate::platform::{self, Context, Outside, Shared};
use crate::process::{self, Environment};
use crate::provider::health::Health;
use crate::pulse::{Failure, Pulse};
use crate::session::Overlay;
use crate::session::agents::Agents;
use crate::skills::Library;
use crate::status::{self, Files, State, Status};
use crate::store::{Owner, Store, StoreError};
use crate::token_lock::Identities;
use crate::tools::Tools;
use crate::tools::outbox::Outbox;
use crate::turn::{Review, TurnParts, Turns};
use crate::{engine, terminal};

/// Time for the last status.
const LAST_STATUS: Duration = Duration::from_secs(5);
/// Time that answers have to get out after their turns were interrupted.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Time that is left after everything was told to end at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// Everything that [`Serving::start`] needs.
pub(super) struct Parts<'a> {
    pub(super) config: ProfileConfig,
    /// What in the files keeps the profile from all it should do; see [`impediment`].
    pub(super) reason: Option<String>,
    pub(super) home: &'a ProfileHome,
    pub(super) environment: &'a Environment,
    pub(super) listeners: Vec<BoundListener>,
    pub(super) listener: Listener,
    /// The way to other workers.
    pub(super) road: Road,
    pub(super) reporter: &'a Reporter,
    /// Whom it works for.
    pub(super) duty: Duty,
}

/// Whom a worker works for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Duty {
    /// Everybody: platforms, the inbox, deliveries.
    All,
    /// One command at a terminal, and nobody else: another process may have the profile's bots and inbox.
    Terminal,
}

/// What in the files keeps a profile that is served from all it should do.
pub(super) fn impediment(problems: &[Problem]) -> Option<String> {
    problems
        .iter()
        .find(|problem| problem.severity == Severity::Platform)
        .map(|problem| problem.message.clone())
}

/// What a profile that is served is not able to do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Condition {
    platforms: Vec<String>,
    reason: Option<String>,
    last_error: Option<LastError>,
}

/// Who uses a bot of this profile, where somebody else does.
fn conflict(status: &RuntimeStatus) -> Option<String> {
    status.platforms.iter().find_map(|(name, platform)| {
        let message = platform.error_message.as_ref().filter(|_| platform.state == CONFLICT)?;
        Some(format!("conflict: {name}: {message}"))
    })
}

impl Condition {
    pub(super) fn is_able(&self) -> bool {
        *self == Self::default()
    }

    /// Whether both are of one kind: nothing but times, counts and texts differs.
    pub(super) fn resembles(&self, other: &Self) -> bool {
        let kind = |all: &Self| all.last_error.as_ref().map(|error| (error.class.clone(), error.code));
        (&self.platforms, &self.reason, kind(self)) == (&other.platforms, &other.reason, kind(other))
    }
}

impl From<Condition> for FromWorker {
    fn from(Condition { platforms, reason, last_error }: Condition) -> Self {
        Self::Degraded { platforms, reason, last_error }
    }
}

/// Why a profile cannot be served.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    /// No state, no service.
    #[error("the session store cannot be used")]
    Store(#[from] StoreError),
}

impl StartError {
    /// 78 where no retry can help, 71 where the machine is to blame, 1 otherwise.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Store(error) => error.exit_code(),
        }
    }
}

/// The status handle with the task that writes it.
pub(super) struct Reporter {
    pub(super) status: Status,
    stop: CancellationToken,
    task: TaskTracker,
}

impl Reporter {
    /// Starts writing. Nothing was written before.
    pub(super) fn start(status: Status, home: &ProfileHome) -> Self {
        Self::start_with(status, Files::new(home.clone()))
    }

    /// The same in the home of a gateway's own profile, where the gateway writes about itself.
    pub(super) fn start_beside_a_gateways(status: Status, home: &ProfileHome) -> Self {
        Self::start_with(status, Files::beside_a_gateways(home.clone()))
    }

    /// Of a process whose status is another's to write.
    pub(super) fn silent(status: Status) -> Self {
        Self { status, stop: CancellationToken::new(), task: TaskTracker::new() }
    }

    fn start_with(status: Status, files: Files) -> Self {
        let reporter = Self { status, stop: CancellationToken::new(), task: TaskTracker::new() };
        let pulse = reporter.status.pulse().clone();
        let work = reporter.status.clone().keep_written(files, reporter.stop.clone());
        reporter.task.spawn(pulse.of(work));
        reporter.task.close();
        reporter
    }

    /// Writes the last state and ends.
    pub(super) async fn finish(self, state: State, reason: Option<&str>) {
        self.status.set_active(0);
        self.status.set_state(state, reason);
        self.stop.cancel();
        // The disk may be what the worker ends for.
        if tokio::time::timeout(LAST_STATUS, self.task.wait()).await.is_err() {
            warn!("the last status is not written in time");
        }
    }
}

/// What waits in the inbox, as of the last count. Counting is a query, so an idle worker never counts.
#[derive(Debug, Default)]
struct Counted {
    backlog: Mutex<Backlog>,
    /// Commits there were when it was counted.
    at: AtomicU64,
}

/// A profile that is being served.
pub(super) struct Serving {
    server: Server,
    store: Store,
    turns: Turns,
    tools: Tools,
    deliveries: Deliveries,
    connections: Connections,
    inbox: Inbox,
    counted: Arc<Counted>,
    status: Status,
    reason: Option<String>,
    /// What keeps the store from writing.
    trouble: watch::Receiver<Option<String>>,
    health: Health,
    servers: Servers,
    fence: Fence,
    /// Nothing more is started.
    ended: CancellationToken,
    /// Somebody wants another worker in this one's place.
    restart: Arc<Notify>,
    /// Counts of the backlog, the end of the start, and what is said of the fence.
    tasks: TaskTracker,
}

impl Serving {
    /// Opens the store, recovers, brings platforms up, serves. When this returns, requests are answered.
    #[expect(clippy::too_many_lines, reason = "parts are put together here, each once and in order")]
    pub(super) async fn start(parts: Parts<'_>) -> Result<Self, StartError> {
        let Parts { config, reason, home, environment, listeners, listener, road, reporter, duty } = parts;
        let config = Arc::new(config);
        let status = reporter.status.clone();
        let store = Store::open(home, Owner::current())?;
        let child_env = child_env(&config, home, environment);
        let shared = Shared::default();
        let outside = Outside {
            config: &config,
            home,
            inherited: &environment.base,
            shared: &shared,
            webhooks: Some(platform::is_callable(&listeners)),
        };
        let ways = delivery::common(delivery_env(&config, &child_env)).chain(platform::outbounds(&outside));
        let way_back: Arc<dyn Outbound> = Arc::new(WayBack::new(road.clone()));
        let ways = ways.chain([way_back]).collect::<Outbounds>().among(platform::targets());
        let outbox = Arc::new(Outbox::new(&config, home));
        let deliveries =
            Deliveries::with(store.clone(), ways.clone(), Some(outbox), config.streaming.clone());
        let health = Health::new();
        let fence = fenced::fence(&config, home, environment, status.snapshot().supervisor_pid);
        let skills = Library::new(home, &config);
        let premises = Premises::new(&config, home, &environment.base, fence.clone());
        let is_agent = config.agent.engine == EngineKind::Acp;
        // Nobody here would call their tools.
        let servers =
            if is_agent { Servers::default() } else { Servers::from_config(&config, &premises, &status) };
        let review = Review::default();
        let given = given(&config, environment, &fence, &deliveries, &review);
        let tools = Tools::from_config(&config, home, &skills, given).and(servers.supply());
        let tap = engine::Tap::default();
        let overlay = Overlay::of(&config.prompt.personalities);
        let turns = Turns::new(TurnParts {
            store: store.clone(),
            engine: Arc::new(engine::Watched::new(
                engine::from_config(&config, home, &environment.base, health.clone(), &tools, &tap, || {
                    let told = status.clone();
                    engine::acp::Around {
                        map: Arc::new(Agents::new(store.clone())),
                        fence: fence.clone(),
                        hears: Box::new(move |name, server| told.set_tool_server(name, server)),
                    }
                }),
                health.clone(),
            )),
            // Of another agent's own tools it knows itself.
            prompts: prompt_reader(
                &config,
                home,
                skills.clone(),
                if is_agent { Tools::default() } else { tools.clone() },
            ),
            deliveries: deliveries.clone(),
            settings: turn_settings(&config, overlay.clone(), supervisor(&status)),
        });
        review.by(&turns);
        let inbox = Inbox::new(store.clone(), KeyPolicy::of(&config)).with_skills(skills.clone());
        let (restart, paused) = (Arc::new(Notify::new()), Paused::default());
        let board = board::Platforms { status: status.clone(), paused: paused.clone() };
        let acts = Acts {
            overlay: overlay.clone(),
            restart: supervisor(&status).map(|_| Arc::clone(&restart)),
            platforms: Some(Arc::new(board)),
        };
        let entrance = Entrance::new(&config, home, inbox.clone(), &deliveries, skills.clone(), acts);
        let voice = Voice::of(&config, home, &environment.base, fence.clone());
        let entrance = entrance.hearing(voice);
        let reception = Reception::new(&config, home, &store, entrance.clone(), road, ways.clone());
        let gateway = supervisor(&status).map(|owner| owner.pid);
        let identities = Identities::of(&config, home, |name| environment.inherited(name), gateway);
        let context = Context {
            config: Arc::clone(&config),
            home: home.clone(),
            inbox: inbox.clone(),
            reception: reception.clone(),
            turns: turns.clone(),
            deliveries: deliveries.clone(),
            status: status.clone(),
            listeners,
            child_env,
            fence: fence.clone(),
            take_identity: identities.taking(),
            shared,
        };
        name_unsupported(&config, &status);
        if let Some(refusal) = store.refusal() {
            error!("{refusal}");
        } else if duty == Duty::All {
            turns.serve_inbox();
            deliveries.announce(&config, supervisor(&status)).await;
        }
        let platforms = if duty == Duty::All { platform::connectable(&context) } else { Vec::new() };
        let pages = platforms.iter().find_map(|platform| platform.pages.clone());
        let connections = Connections::start_unless(platforms, status.clone(), &identities, paused).await;
        let responder =
            Responder::new(config.name.clone(), connections.routes(), platform::families(), pages);
        let asked = terminal::Parts {
            config: Arc::clone(&config),
            home: home.clone(),
            commands: entrance.commands().clone(),
            turns: turns.clone(),
            store: store.clone(),
            skills,
            tap,
            overlay,
        };
        let target = Target {
            home: home.clone(),
            entrance,
            most: config.max_inbound_media_bytes,
            busy: config.busy_input_mode.into(),
        };
        let owner = handover::Owner { home: home.clone(), seal: reception.seal().clone(), ways };
        let responder = responder
            .with_inner(handover::inner_routes(target, owner))
            .with_terminal(terminal::routes(asked));
        let server = Server::start(listener, responder, home.clone());
        let serving = Self {
            server,
            trouble: store.trouble(),
            store,
            turns,
            tools,
            deliveries,
            connections,
            inbox,
            counted: Arc::default(),
            status,
            reason,
            health,
            servers,
            fence,
            ended: CancellationToken::new(),
            restart,
            tasks: TaskTracker::new(),
        };
        serving.tasks.spawn(fenced::keep_shown(&serving.fence, &serving.status, &serving.ended));
        serving.tasks.spawn(pools::keep_shown(&serving.health, &serving.status, &serving.ended));
        serving.tasks.spawn(gone::keep_shown(serving.deliveries.gone(), &serving.status, &serving.ended));
        let phases = serving.connections.phases();
        serving.tasks.spawn(reconnected::keep_told(phases, &serving.deliveries, &serving.ended));
        serving.show_state();
        if duty == Duty::All {
            serving.status.settled().await;
        }
        serving.servers.start().await;
        Ok(serving)
    }

    /// `running`, or `degraded` while something that the files ask for does not work.
    pub(super) fn show_state(&self) {
        let now = self.condition();
        self.status.set_serving(now.is_able(), now.reason.as_deref(), now.last_error);
    }

    /// What does not work now.
    pub(super) fn condition(&self) -> Condition {
        let store = self.store.refusal().map(StoreError::reason);
        Condition {
            platforms: self.connections.degraded().borrow().iter().cloned().collect(),
            reason: store
                .or_else(|| self.trouble.borrow().clone())
                .or_else(|| self.reason.clone())
                .or_else(|| self.fence.refusal())
                .or_else(|| conflict(&self.status.snapshot())),
            last_error: self.health.subscribe().borrow().clone(),
        }
    }

    /// Tells of every change of what does not work.
    pub(super) fn changes(&self) -> Changes {
        Changes {
            platforms: self.connections.degraded(),
            provider: self.health.subscribe(),
            store: self.trouble.clone(),
            fence: self.fence.standing(),
        }
    }

    /// What the next heartbeat says. Keeps the status file's count current on the way.
    pub(super) fn heartbeat(&self) -> Heartbeat {
        let active_turns = self.turns.active();
        self.status.set_active(u64::from(active_turns));
        let Backlog { waiting, postponed, failed, reason, undelivered, approvals: _ } = self.backlog();
        // The store first: the others wait for it, and the first that is stuck is named.
        let tasks = vec![
            self.store.pulse().progress(false),
            self.store.inbox().progress(false),
            self.deliveries.pulse().progress(false),
            self.server.progress(),
            self.status.pulse().progress(false),
        ];
        Heartbeat {
            sequence: 0,
            active_turns,
            inbox_waiting: waiting,
            tasks,
            inbox_postponed: postponed,
            inbox_failed: failed,
            inbox_reason: reason,
            undelivered,
            next_ms: 0,
        }
    }

    /// What goes on at this moment.
    pub(super) fn activity(&self) -> Activity {
        let (requests, active) = self.server.activity();
        Activity { requests, busy: active || self.turns.active() > 0 || self.tools.are_busy() }
    }

    /// Whether anything waits for this worker on the disk.
    pub(super) async fn has_unfinished(&self) -> bool {
        self.store.refusal().is_some() || self.inbox.has_unfinished().await
    }

    /// What waits, as of the last beat; counts again for the next one if anything was written meanwhile.
    fn backlog(&self) -> Backlog {
        // One more than there are, so that the first beat counts what an earlier process left.
        let commits = self.store.commits() + 1;
        if self.counted.at.swap(commits, Ordering::Relaxed) != commits {
            let (inbox, counted, status) =
                (self.inbox.clone(), Arc::clone(&self.counted), self.status.clone());
            self.tasks.spawn(async move {
                if let Ok(backlog) = inbox.backlog().await {
                    status.set_backlog(&backlog);
                    *counted.backlog.lock().unwrap_or_else(PoisonError::into_inner) = backlog;
                }
            });
        }
        self.counted.backlog.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until a task without which this worker is none has failed, or a database that is refused has changed, and says how.
    pub(super) fn failed(&self) -> impl Future<Output = Failure> + use<> {
        let pulses = [
            self.store.pulse(),
            self.store.inbox(),
            self.deliveries.pulse(),
            self.server.pulse(),
            self.status.pulse(),
        ]
        .map(Pulse::clone);
        let store = self.store.clone();
        async move {
            let waiting = pulses.iter().map(|pulse| Box::pin(pulse.failed()));
            tokio::select! {
                (failure, ..) = futures_util::future::select_all(waiting) => failure,
                () = store.refusal_over() => Failure { reason: format!("`{}` has changed", store.path()), code: exit::RESTART },
            }
        }
    }

    /// Gives back what is not used all the time: the database's part first, so that the heap has it to give.
    pub(super) fn settle(&self) {
        let store = self.store.clone();
        self.tasks.spawn(async move {
            if let Err(error) = store.settle().await {
                tracing::debug!(%error, "the database keeps its memory");
            }
            process::settle();
        });
    }

    /// The connections of this profile's platforms.
    pub(super) fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Waits until somebody who may wants another worker in this one's place.
    pub(super) async fn restart_wanted(&self) {
        self.restart.notified().await;
    }

    /// Leaves what waits in the inbox to another process.
    pub(super) fn stop_claiming(&self) {
        self.turns.stop_claiming();
    }

    /// Takes no new connection and claims nothing new; what runs goes on, also on connections that are open.
    pub(super) async fn stop_accepting(&self) {
        self.turns.stop_claiming();
        self.server.stop_accepting().await;
    }

    /// Ends everything. Open connections are waited for when `for_connections` (their client will close them), else only
    /// requests. What is not finished when `now` is cancelled is interrupted. Call after [`Serving::stop_accepting`]. Whether all is
    /// done that there was to do.
    pub(super) async fn drain(&self, now: CancellationToken, for_connections: bool) -> bool {
        self.status.set_state(State::Draining, None);
        let requests =
            async { if for_connections { self.server.drained().await } else { self.server.idle().await } };
        let in_flight = async {
            tokio::select! {
                () = requests => {}
                () = now.cancelled() => {}
            }
        };
        let orderly = async {
            let close = async {
                // The next process waits for these.
                tokio::select! {
                    () = self.connections.yield_exclusive(YIELD) => {}
                    () = now.cancelled() => {}
                }
                self.connections.stop(&now).await;
            };
            tokio::join!(in_flight, close);
            // Only now: a request that was already here may still have to start its turn.
            self.turns.drain(now.clone()).await;
            // Nobody calls them any more.
            tokio::join!(self.tools.close(), self.servers.stop());
            if now.is_cancelled() {
                let _ = tokio::time::timeout(LAST_WORDS, self.server.idle()).await;
            }
            self.server.close_idle();
            self.ended.cancel();
            self.tasks.close();
            self.tasks.wait().await;
            let done = !self.has_unfinished().await;
            self.store.close().await;
            done
        };
        let overdue = async {
            now.cancelled().await;
            tokio::time::sleep(PATIENCE).await;
        };
        tokio::select! {
            done = orderly => {
                info!("everything is finished");
                done
            }
            () = overdue => {
                warn!("something did not end in time and is given up; it is resumed at the next start");
                false
            }
        }
    }
}

/// A platform without an adapter is never silently ignored; the log has it among the problems.
fn name_unsupported(config: &ProfileConfig, status: &Status) {
    for platform in config.platforms.iter().filter(|p| !p.supported) {
        status.set_platform(&platform.name, status::platform("unsupported"));
    }
}

/// The process that started this one, told apart from a later one with its number.
fn supervisor(status: &Status) -> Option<Owner> {
    let pid = status.snapshot().supervisor_pid?;
    Some(Owner { pid, start_time: process::start_time(pid).unwrap_or(0) })
}
