//! The gateway while it runs: one loop that takes whatever happens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use camino::Utf8Path;
use hermes_wire::contract::gateway_status::state as words;
use hermes_wire::latest::{ClientReply, GatewaySettings, Problem, Report};
use hermes_wire::{ProfileName, RootHome, exit};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::change::Pending;
use super::claims::{self, Claims};
use super::reload::Reload;
use super::renew::{Proved, Renewal};
use super::shutdown;
use super::start::Abandoned;
use super::{AppError, CheckOptions, CheckReport, GatewayOptions, setup};
use crate::board::Board;
use crate::descriptors::Files;
use crate::desired::Desired;
use crate::instance;
use crate::proxy::{Inherited, Proxy, Publisher, Reader};
use crate::runtime::Runtime;
use crate::server::{self, Request};
use crate::signal::{self, Interrupt, Signals, notify_manager};
use crate::supervise::GatewayView;
use crate::supervise::actor::{Common, Decision, FleetEvent, Terms};
use crate::supervise::env::{Environment, multiplex_override};
use crate::supervise::policy::Limits;
use crate::supervise::reap;
use crate::supervise::spawn::Spawner;
use crate::supervise::state::{Event, Why};
use crate::watch::{HomeEvent, HomeWatch};

/// Events of actors that the app has not taken yet; every actor has a handful at most.
const FLEET_QUEUE: usize = 8192;
/// Client requests that wait.
const REQUEST_QUEUE: usize = 16;
/// Heartbeats until the primary has said otherwise.
const FIRST_HEARTBEAT_MS: u64 = 1000;
/// Processes that start at the same time, for each core: more only slow each other down.
const STARTING_PER_CORE: usize = 3;

/// Anything that can happen.
pub(super) enum Happened {
    Fleet(FleetEvent),
    Request(Request),
    Signal(Interrupt),
    Home(HomeEvent),
    /// A command that held a profile released is gone.
    HungUp(ProfileName),
    /// The first step of a reload is over.
    Reloaded(Reload),
    /// Something that could not be read may be readable now.
    Retry,
    /// The program on disk has answered, or has not.
    Proved(Proved),
}

/// The gateway's own state. Everything here belongs to the main task.
pub(crate) struct Gateway {
    pub(super) primary: ProfileName,
    pub(super) root: RootHome,
    pub(super) common: Arc<Common>,
    pub(crate) board: Board,
    pub(super) desired: Desired,
    pub(super) settings: Option<GatewaySettings>,
    pub(crate) proxy: Option<Proxy>,
    pub(super) watch: Option<HomeWatch>,
    /// Ends the server, the admin listener and, last, the reaper.
    pub(crate) stop: CancellationToken,
    runtime: Arc<Runtime>,
    pub(super) files: Files,
    pub(super) claims: Claims,
    pub(super) publisher: Option<Publisher>,
    signals: Signals,
    fleet: mpsc::Receiver<FleetEvent>,
    requests: mpsc::Receiver<Request>,
    /// Removed, and not gone yet.
    pub(super) leaving: BTreeSet<ProfileName>,
    /// Came back while they were leaving.
    pub(super) returning: BTreeSet<ProfileName>,
    /// Out of service while these commands are connected.
    pub(super) released: BTreeMap<ProfileName, Vec<mpsc::Sender<ClientReply>>>,
    /// Where those commands' ends are told.
    pub(super) hung_up: (mpsc::Sender<ProfileName>, mpsc::Receiver<ProfileName>),
    /// Where the program on disk, asked whether it is a gateway, is told of.
    pub(super) proved: (mpsc::Sender<Proved>, mpsc::Receiver<Proved>),
    /// When the primary's generation is ready, the others must be told of what changed.
    pub(super) renew_others: Option<u64>,
    /// What a change of the primary's settings would take away, and nobody has asked for.
    pub(super) pending: Vec<Pending>,
    /// Reloads whose first step is under way: they ask for all that the files say.
    pub(super) consents: usize,
    /// Where the ends of those steps are told.
    pub(super) reloads: (mpsc::Sender<Reload>, mpsc::Receiver<Reload>),
    /// What the next answer to a reload is to mention.
    pub(super) notes: Vec<String>,
    /// For the metrics.
    pub(super) reader: Option<Reader>,
    /// Ends the admin listener.
    pub(super) admin: Option<CancellationToken>,
    /// Listening sockets from before this process became this program.
    pub(super) inherited: Inherited,
    /// The command line, executed again, is this gateway again.
    pub(super) repeatable: bool,
    /// Everything is taken down in order to become another program.
    pub(super) renewal: Option<Renewal>,
    /// When [`Happened::Retry`] is due, while there is something to try again.
    retry: Instant,
}

/// Time between two attempts to read something that could not be read.
const RETRY: Duration = Duration::from_secs(2);

/// After the start, until the process has settled.
const SETTLED: Duration = Duration::from_secs(2);

/// How the life of a gateway ended.
pub(super) enum Ended {
    /// With this exit code.
    Stopped(u8),
    /// As another program.
    Renewing(Renewal),
}

/// The whole life of a gateway that holds its lock.
pub(super) async fn run(
    options: GatewayOptions,
    runtime: Arc<Runtime>,
    inherited: Inherited,
    files: Files,
) -> Result<Ended, AppError> {
    let manager = std::env::var_os("NOTIFY_SOCKET");
    let (mut gateway, requests) = Gateway::new(options.root, options.profile, runtime, files)?;
    gateway.inherited = inherited;
    gateway.repeatable = options.repeatable;
    let listener = gateway.runtime.listen_for_commands();
    let listener = listener.map_err(setup("listen for commands in", gateway.runtime.path()))?;
    let (replaced, replacements) = mpsc::channel(1);
    let (home, board) = (gateway.board.home(), gateway.board.clone());
    let moved = move |path: &Utf8Path| {
        if let Err(error) = instance::moved(&home, path) {
            tracing::error!(%error, "the PID record cannot be told where commands reach this gateway");
        }
        board.gateway(|view| view.runtime_dir = path.to_owned());
    };
    let keeper =
        gateway.runtime.keep(replaced, moved).map_err(setup("start", "the runtime directory's thread"))?;
    let tracker = gateway.common.tracker.clone();
    gateway.common.tracker.spawn(server::serve(
        (listener, replacements),
        gateway.board.clone(),
        requests,
        tracker,
        gateway.stop.clone(),
    ));
    let result = match gateway.start().await {
        Ok(()) => {
            notify_manager(manager.as_deref(), "READY=1");
            let (stop, settle) = (gateway.stop.clone(), options.settle);
            gateway.common.tracker.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(SETTLED) => settle(),
                }
            });
            let cause = gateway.serve().await;
            let renews = gateway.renewal.is_some();
            let word = if renews { signal::reloading() } else { "STOPPING=1".to_owned() };
            notify_manager(manager.as_deref(), &word);
            tracing::info!("{}: {cause}", if renews { "taking up the program on disk" } else { "stopping" });
            gateway.keep_listeners().await;
            Ok(())
        }
        Err(Abandoned::Asked(cause)) => {
            tracing::info!("stopping before the start was complete: {cause}");
            Ok(())
        }
        Err(Abandoned::Failed(error)) => Err(error),
    };
    let drain = match (&result, &gateway.settings) {
        (Ok(()), Some(settings)) => Duration::from_millis(settings.drain_ms),
        _ => Duration::ZERO,
    };
    shutdown::run(&mut gateway, drain).await;
    keeper.end();
    gateway.end().await;
    gateway.runtime.close();
    result?;
    if gateway.renewal.is_some()
        && let Some(name) = gateway.signals.give_back().await
    {
        gateway.stop_instead(name);
    }
    Ok(gateway.renewal.take().map_or(Ended::Stopped(exit::OK), Ended::Renewing))
}

/// What all reports together say, without a verdict.
#[derive(Default)]
pub(super) struct Examined {
    pub(super) report: CheckReport,
    /// `None` where the primary's files give none.
    pub(super) settings: Option<GatewaySettings>,
}

/// What a start would meet; nobody is admitted.
pub(super) async fn check(
    options: CheckOptions,
    runtime: Arc<Runtime>,
    files: Files,
) -> Result<Examined, AppError> {
    let (mut gateway, _requests) = Gateway::new(options.root, options.profile, runtime, files)?;
    gateway.common.change_terms(|terms| terms.environment.examine());
    let result = gateway.examine().await;
    shutdown::run(&mut gateway, Duration::ZERO).await;
    gateway.end().await;
    match result {
        Ok(examined) => Ok(examined),
        Err(Abandoned::Asked(name)) => Err(AppError::Interrupted { name }),
        Err(Abandoned::Failed(error)) => Err(error),
    }
}

impl Gateway {
    fn new(
        root: RootHome,
        primary: ProfileName,
        runtime: Arc<Runtime>,
        files: Files,
    ) -> Result<(Self, mpsc::Sender<Request>), AppError> {
        let signals = Signals::listen().map_err(setup("listen to", "signals"))?;
        let home = root.profile(&primary);
        let multiplex = multiplex_override(std::env::var_os(hermes_wire::env::MULTIPLEX).as_deref())
            .inspect_err(|warning| tracing::warn!("{warning}"))
            .unwrap_or_default();
        let (fleet_sender, fleet) = mpsc::channel(FLEET_QUEUE);
        let (requests_sender, requests) = mpsc::channel(REQUEST_QUEUE);
        let mut environment = Environment::from_variables(std::env::vars_os());
        environment.limit_files(files.of_worker(0));
        let terms = Terms {
            environment,
            listeners: Vec::new(),
            multiplex,
            heartbeat_ms: FIRST_HEARTBEAT_MS,
            limits: Limits::default(),
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let spawner = Spawner::new().map_err(setup("open", "/dev/null"))?;
        let key = random_key().map_err(setup("read", "/dev/urandom"))?;
        let common = Arc::new(Common::new(
            spawner,
            cores * STARTING_PER_CORE,
            key,
            fleet_sender,
            Arc::clone(&runtime),
            terms,
        ));
        reap::adopt_orphans();
        let stop = CancellationToken::new();
        let reaper =
            reap::reaper(common.children.clone(), stop.clone()).map_err(setup("listen to", "SIGCHLD"))?;
        common.tracker.spawn(reaper);
        let desired = Desired::load(&RootHome::new(home.path()));
        if let Some(trouble) = desired.trouble() {
            tracing::warn!(path = %RootHome::new(home.path()).desired_state(), "{trouble}");
        }
        let board = Board::new(GatewayView {
            state: "starting",
            started: SystemTime::now(),
            started_at: Instant::now(),
            multiplex: false,
            home: home.path().to_owned(),
            runtime_dir: runtime.path(),
            listeners: Vec::new(),
            admin: None,
            problems: Vec::new(),
            max_connections: None,
            limited: None,
        });
        let gateway = Self {
            primary,
            root,
            common,
            board,
            desired,
            settings: None,
            proxy: None,
            watch: None,
            stop,
            runtime,
            files,
            claims: Claims::default(),
            publisher: None,
            signals,
            fleet,
            requests,
            leaving: BTreeSet::new(),
            returning: BTreeSet::new(),
            released: BTreeMap::new(),
            hung_up: mpsc::channel(16),
            proved: mpsc::channel(4),
            renew_others: None,
            pending: Vec::new(),
            consents: 0,
            reloads: mpsc::channel(16),
            notes: Vec::new(),
            reader: None,
            admin: None,
            inherited: Inherited::default(),
            repeatable: false,
            renewal: None,
            retry: Instant::now(),
        };
        Ok((gateway, requests_sender))
    }

    /// The next thing that happens. Safe to cancel.
    pub(super) async fn next(&mut self) -> Happened {
        let home = async {
            match &mut self.watch {
                Some(watch) => watch.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            interrupt = self.signals.next() => Happened::Signal(interrupt),
            Some(event) = self.fleet.recv() => Happened::Fleet(event),
            Some(request) = self.requests.recv() => Happened::Request(request),
            Some(profile) = self.hung_up.1.recv() => Happened::HungUp(profile),
            Some(reload) = self.reloads.1.recv() => Happened::Reloaded(reload),
            Some(proved) = self.proved.1.recv() => Happened::Proved(proved),
            event = home => Happened::Home(event),
            () = tokio::time::sleep_until(self.retry.into()), if self.desired.is_unknown() => {
                self.retry = Instant::now() + RETRY;
                Happened::Retry
            }
        }
    }

    /// Everything that later processes are told. Returns whether the shared variables changed.
    pub(super) fn adopt(&self, settings: &GatewaySettings) -> bool {
        let ms = Duration::from_millis;
        let changed = self.common.change_terms(|terms| {
            terms.heartbeat_ms = settings.heartbeat_ms;
            terms.limits = Limits {
                start: ms(settings.start_timeout_ms),
                stuck: ms(settings.stuck_after_ms),
                drain: ms(settings.drain_ms),
                hold: ms(settings.hold_ms),
            };
            terms.environment.limit_files(self.files.of_worker(settings.max_requests_per_profile));
            terms.environment.share(&settings.shared_env, |name| std::env::var_os(name))
        });
        self.board.gateway(|view| view.multiplex = settings.multiplex);
        if changed {
            let names = self.common.terms();
            let names = names.environment.shared_names();
            tracing::info!(?names, "shared with all workers (gateway.shared_env)");
        }
        changed
    }

    /// Runs until told to stop; says by whom.
    async fn serve(&mut self) -> &'static str {
        loop {
            match self.next().await {
                Happened::Signal(Interrupt::Stop(name)) => return name,
                Happened::Signal(Interrupt::Reload) => self.reload(true, None),
                Happened::Fleet(event) => self.on_fleet(event).await,
                Happened::Home(event) => self.on_home(event).await,
                Happened::HungUp(profile) => self.end_release(&profile).await,
                Happened::Reloaded(reload) => self.go_on_reloading(reload),
                Happened::Retry => self.retry_desired().await,
                Happened::Proved(proved) => {
                    if self.renew(proved).await {
                        return "asked to";
                    }
                }
                Happened::Request(request) => {
                    if self.on_request(request).await {
                        return "asked to";
                    }
                }
            }
        }
    }

    async fn on_fleet(&mut self, event: FleetEvent) {
        match event {
            FleetEvent::Reported { profile, generation, report, decide } => {
                let decision = self.judge(&profile, generation, *report).await;
                let _ = decide.send(decision);
            }
            FleetEvent::Ready { profile, generation } => {
                if profile == self.primary && self.renew_others.is_some_and(|awaited| awaited <= generation) {
                    self.renew_others = None;
                    for handle in self.board.handles().into_iter().skip(1) {
                        handle.send(Event::FilesChanged).await;
                    }
                }
            }
            FleetEvent::Gone { profile, generation } => self.claims.release(&profile, generation),
            FleetEvent::Ended { profile } => {
                self.leaving.remove(&profile);
                self.board.remove(&profile);
                self.tell_released(&profile).await;
                if self.returning.remove(&profile) {
                    self.admit_to_fleet(&profile).await;
                    self.publish().await;
                }
            }
        }
    }

    /// While stopping nobody is admitted any more.
    pub(super) fn on_fleet_while_stopping(&mut self, event: FleetEvent) {
        match event {
            FleetEvent::Reported { .. } | FleetEvent::Ready { .. } => {}
            FleetEvent::Gone { profile, generation } => self.claims.release(&profile, generation),
            FleetEvent::Ended { profile } => self.board.remove(&profile),
        }
    }

    /// Decides about one process while others run.
    async fn judge(&mut self, profile: &ProfileName, generation: u64, report: Report) -> Decision {
        let mut found: Vec<Problem> = claims::objections(&report).cloned().collect();
        found.extend(self.claims.conflicts(profile, &report.claims));
        if let Some(worst) = found.iter().max_by_key(|problem| problem.severity) {
            return Decision::Refuse(Why::from(worst));
        }
        if *profile == self.primary
            && let Some(settings) = report.gateway
            && let Err(why) = self.change_settings(settings, generation).await
        {
            return Decision::Refuse(why);
        }
        self.claims.take(profile, generation, &report.claims);
        Decision::Admit(Box::new(self.admission()))
    }

    pub(super) async fn on_home(&mut self, event: HomeEvent) {
        let multiplex = self.settings.as_ref().is_some_and(|settings| settings.multiplex);
        match event {
            HomeEvent::Changed(name) if name == self.primary || multiplex => {
                if let Some(handle) = self.board.handle(&name) {
                    tracing::info!(profile = %name, "files changed");
                    handle.send(Event::FilesChanged).await;
                }
            }
            HomeEvent::Removed(name) if name != self.primary && multiplex => {
                tracing::info!(profile = %name, "profile removed");
                self.dismiss(&name).await;
                self.forget(&name);
            }
            HomeEvent::Added(name) if multiplex => {
                tracing::info!(profile = %name, "profile added");
                self.settle_served().await;
            }
            HomeEvent::Replaced(name) if name == self.primary || multiplex => {
                self.replace_database(&name).await;
            }
            HomeEvent::Stirred(name) if name == self.primary || multiplex => {
                // One that is tried again anyway is not hurried, or a worker that writes its database and dies would spin.
                if let Some(handle) = self.board.handle(&name)
                    && handle.view().state == words::FAILED
                {
                    tracing::info!(profile = %name, "what it failed on may be mended");
                    handle.send(Event::FilesChanged).await;
                }
            }
            HomeEvent::Remarks => self.settle_served().await,
            _ => {}
        }
    }

    /// Ends what serves the gateway itself.
    async fn end(&mut self) {
        if let Some(proxy) = self.proxy.take() {
            proxy.stop();
        }
        self.board.gateway(|view| view.state = "stopped");
        self.stop.cancel();
        self.common.tracker.close();
        if tokio::time::timeout(Duration::from_secs(5), self.common.tracker.wait()).await.is_err() {
            tracing::error!(tasks = self.common.tracker.len(), "some tasks did not end");
        }
    }
}

fn random_key() -> std::io::Result<[u8; 32]> {
    use std::io::Read as _;
    let mut key = [0; 32];
    fs_err::File::open("/dev/urandom")?.read_exact(&mut key)?;
    Ok(key)
}
