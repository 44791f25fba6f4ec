//! What serves: the store, turns, platforms and HTTP of one profile, put together, and taken apart in order.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hermes_config::platform::Settings;
use hermes_config::{ProfileConfig, network};
use hermes_host::zone;
use hermes_wire::latest::{BoundListener, FromWorker, Heartbeat, LastError, Problem, Severity};
use hermes_wire::{ProfileHome, env, exit};
use jiff::tz::TimeZone;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use super::platforms::{Connections, Degraded, Word, YIELD};
use crate::delivery::outbound::{Outbound, Outbounds};
use crate::delivery::{self, Deliveries};
use crate::handover::{self, Reception, Road, Target, WayBack};
use crate::http::{Listener, Responder, Server};
use crate::inbox::{Backlog, Inbox, KeyPolicy};
use crate::platform::{self, Context, Outside};
use crate::process::{self, Environment};
use crate::provider::health::Health;
use crate::pulse::{Failure, Pulse};
use crate::session::{PromptReader, Prompts};
use crate::status::{self, Files, State, Status};
use crate::store::{Owner, Store, StoreError};
use crate::turn::{TurnParts, TurnSettings, Turns};
use crate::{engine, prompt};

/// Variables of the profile's own `.env` that the `gh` program of a delivery needs, and nothing else gets.
const DELIVERY_VARIABLES: [&str; 6] = [
    "GH_TOKEN",
    "GITHUB_TOKEN",
    "GH_ENTERPRISE_TOKEN",
    "GITHUB_ENTERPRISE_TOKEN",
    "GH_HOST",
    "GH_CONFIG_DIR",
];
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
    /// Who says when exclusive platforms may connect.
    pub(super) word: Word,
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

impl Condition {
    fn is_able(&self) -> bool {
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
    deliveries: Deliveries,
    connections: Connections,
    inbox: Inbox,
    counted: Arc<Counted>,
    status: Status,
    reason: Option<String>,
    /// What keeps the store from writing.
    trouble: watch::Receiver<Option<String>>,
    health: Health,
    /// Counts of the backlog, and the end of the start.
    tasks: TaskTracker,
}

impl Serving {
    /// Opens the store, recovers, brings platforms up, serves. When this returns, requests are answered.
    pub(super) async fn start(parts: Parts<'_>) -> Result<Self, StartError> {
        let Parts { config, reason, home, environment, listeners, listener, road, reporter, word } = parts;
        let config = Arc::new(config);
        let status = reporter.status.clone();
        let store = Store::open(home, Owner::current())?;
        let child_env = child_env(&config, home, environment);
        let outside = Outside { config: &config, inherited: &environment.base };
        let ways = delivery::common(delivery_env(&config, &child_env)).chain(platform::outbounds(&outside));
        let way_back: Arc<dyn Outbound> = Arc::new(WayBack::new(road.clone()));
        let ways = ways.chain([way_back]).collect::<Outbounds>().among(platform::targets());
        let deliveries = Deliveries::new(store.clone(), ways.clone());
        let health = Health::new();
        let turns = Turns::new(TurnParts {
            store: store.clone(),
            engine: Arc::new(engine::Watched::new(
                engine::from_config(&config, home, &environment.base, health.clone()),
                health.clone(),
            )),
            prompts: prompt_reader(&config, home),
            deliveries: deliveries.clone(),
            settings: turn_settings(&config, supervisor(&status)),
        });
        let keys = KeyPolicy {
            profile: config.name.clone(),
            group_sessions_per_user: config.group_sessions_per_user,
            thread_sessions_per_user: config.thread_sessions_per_user,
        };
        let inbox = Inbox::new(store.clone(), keys);
        let reception = Reception::new(&config, home, &store, inbox.clone(), road);
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
        };
        name_unsupported(&config, &status);
        if let Some(refusal) = store.refusal() {
            error!("{refusal}");
        } else {
            turns.serve_inbox();
        }
        let platforms = platform::connectable(&context);
        let pages = platforms.iter().find_map(|platform| platform.pages.clone());
        let connections = Connections::start(platforms, status.clone(), word).await;
        let responder =
            Responder::new(config.name.clone(), connections.routes(), platform::families(), pages);
        let target = Target {
            home: home.clone(),
            inbox: inbox.clone(),
            most: config.max_inbound_media_bytes,
            busy: config.busy_input_mode.into(),
        };
        let owner = handover::Owner { seal: reception.seal().clone(), ways };
        let responder = responder.with_inner(handover::inner_routes(target, owner));
        let server = Server::start(listener, responder, home.clone());
        let serving = Self {
            server,
            trouble: store.trouble(),
            store,
            turns,
            deliveries,
            connections,
            inbox,
            counted: Arc::default(),
            status,
            reason,
            health,
            tasks: TaskTracker::new(),
        };
        serving.show_state();
        serving.status.settled().await;
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
            reason: store.or_else(|| self.trouble.borrow().clone()).or_else(|| self.reason.clone()),
            last_error: self.health.subscribe().borrow().clone(),
        }
    }

    /// Tells of every change of what does not work.
    pub(super) fn changes(&self) -> Changes {
        Changes {
            platforms: self.connections.degraded(),
            provider: self.health.subscribe(),
            store: self.trouble.clone(),
        }
    }

    /// What the next heartbeat says. Keeps the status file's count current on the way.
    pub(super) fn heartbeat(&self) -> Heartbeat {
        let active_turns = self.turns.active();
        self.status.set_active(u64::from(active_turns));
        let Backlog { waiting, postponed, failed, reason, undelivered } = self.backlog();
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

    /// Gives back what only the start needed: the database's part first, so that the heap has it to give.
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
    /// requests. What is not finished when `now` is cancelled is interrupted. Call after [`Serving::stop_accepting`].
    pub(super) async fn drain(&self, now: CancellationToken, for_connections: bool) {
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
            if now.is_cancelled() {
                let _ = tokio::time::timeout(LAST_WORDS, self.server.idle()).await;
            }
            self.server.close_idle();
            self.tasks.close();
            self.tasks.wait().await;
            self.store.close().await;
        };
        let overdue = async {
            now.cancelled().await;
            tokio::time::sleep(PATIENCE).await;
        };
        tokio::select! {
            () = orderly => info!("everything is finished"),
            () = overdue => warn!("something did not end in time and is given up; it is resumed at the next start"),
        }
    }
}

/// See [`Serving::changes`].
pub(super) struct Changes {
    platforms: watch::Receiver<Degraded>,
    provider: watch::Receiver<Option<LastError>>,
    store: watch::Receiver<Option<String>>,
}

impl Changes {
    /// Waits for the next one. Cancel safe.
    pub(super) async fn next(&mut self) {
        let closed = tokio::select! {
            changed = self.platforms.changed() => changed.is_err(),
            changed = self.provider.changed() => changed.is_err(),
            changed = self.store.changed() => changed.is_err(),
        };
        if closed {
            // Whoever tells of changes is gone: there are no more.
            std::future::pending::<()>().await;
        }
    }
}

/// A platform without an adapter is never silently ignored; the log has it among the problems.
fn name_unsupported(config: &ProfileConfig, status: &Status) {
    for platform in config.platforms.iter().filter(|p| !p.supported) {
        status.set_platform(&platform.name, status::platform("unsupported"));
    }
}

fn child_env(config: &ProfileConfig, home: &ProfileHome, environment: &Environment) -> Vec<(String, String)> {
    let mut child_env = environment.base.clone();
    child_env.push((env::HERMES_HOME.to_owned(), home.path().to_string()));
    child_env.push((env::HERMES_PROFILE.to_owned(), config.name.to_string()));
    child_env
}

fn delivery_env(config: &ProfileConfig, child_env: &[(String, String)]) -> Vec<(String, String)> {
    let own: Vec<(String, String)> = DELIVERY_VARIABLES
        .into_iter()
        .chain(network::variables())
        .filter_map(|name| Some((name.to_owned(), config.env.get(name)?.to_owned())))
        .collect();
    // Of a proxy's two spellings programs prefer one or the other: the profile's is left alone.
    let is_own = |name: &str| own.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
    child_env.iter().filter(|(name, _)| !is_own(name)).cloned().chain(own.iter().cloned()).collect()
}

/// The process that started this one, told apart from a later one with its number.
fn supervisor(status: &Status) -> Option<Owner> {
    let pid = status.snapshot().supervisor_pid?;
    Some(Owner { pid, start_time: process::start_time(pid).unwrap_or(0) })
}

fn turn_settings(config: &ProfileConfig, supervisor: Option<Owner>) -> TurnSettings {
    let runs = config.settings.iter().find_map(Settings::direct_turns).unwrap_or(0);
    // 0 is no limit, as configured.
    let limit = |most: u32| if most == 0 { usize::MAX } else { usize::try_from(most).unwrap_or(usize::MAX) };
    TurnSettings {
        profile: config.name.clone(),
        max_concurrent_sessions: limit(config.max_concurrent_sessions),
        max_concurrent_runs: limit(runs),
        inactivity_timeout: Some(config.agent.gateway_timeout).filter(|timeout| !timeout.is_zero()),
        postpone_timeout: config.agent.postpone_timeout,
        supervisor,
        write_sessions_json: true,
        timezone: timezone(&config.timezone),
    }
}

fn timezone(name: &str) -> TimeZone {
    if name.is_empty() {
        return zone::system();
    }
    zone::named(name).unwrap_or_else(|| {
        warn!(timezone = name, "unknown time zone; the system's is used");
        zone::system()
    })
}

fn prompt_reader(config: &Arc<ProfileConfig>, home: &ProfileHome) -> PromptReader {
    let (config, home) = (Arc::clone(config), home.clone());
    Arc::new(move || -> Prompts {
        let (config, home) = (Arc::clone(&config), home.clone());
        let sources = prompt::Sources::read(&config, &home);
        Arc::new(move |context| {
            let session = prompt::Session { platform: &context.source.platform, model: context.model };
            sources.system_prompt(&config, &home, context.today, session)
        })
    })
}
