//! The gateway while it runs: one loop that takes whatever happens, and the order at start.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hermes_protocol::endpoint::RuntimeDir;
use hermes_protocol::latest::{Admit, GatewaySettings, OnProfileError, Problem, Report, Role};
use hermes_protocol::{ProfileName, RootHome, exit};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::claims::{self, Claims, Findings};
use super::served::served;
use super::{AppError, Board, CheckOptions, CheckReport, GatewayOptions, setup};
use crate::desired::Desired;
use crate::instance::{self, Liveness};
use crate::metrics::{Admin, Facts};
use crate::proxy::{self, Bound, Proxy, Publisher, Table};
use crate::server::{self, Request};
use crate::shutdown;
use crate::signal::{Interrupt, Signals, notify_manager};
use crate::supervise::GatewayView;
use crate::supervise::actor::{self, Common, Decision, FleetEvent, Handle, Setup, Terms};
use crate::supervise::env::{Environment, multiplex_override};
use crate::supervise::policy::Limits;
use crate::supervise::spawn::Spawner;
use crate::supervise::state::{Event, Why};
use crate::supervise::{reap, socket};
use crate::watch::{HomeEvent, HomeWatch};

/// Events of actors that the app has not taken yet; every actor has a handful at most.
const FLEET_QUEUE: usize = 8192;
/// Client requests that wait.
const REQUEST_QUEUE: usize = 16;
/// At start, when nobody has reported for this long, the rest is treated like profiles that are added later.
const QUIET: Duration = Duration::from_secs(2);
/// The primary's worker may die this often before its first report.
const PRIMARY_ATTEMPTS: u32 = 3;
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
}

/// Why a start did not come to its end.
enum Abandoned {
    /// Somebody asked to stop.
    Asked(&'static str),
    Failed(AppError),
}

impl<E: Into<AppError>> From<E> for Abandoned {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// A report that waits for the decision.
struct Reported {
    profile: ProfileName,
    generation: u64,
    report: Report,
    decide: oneshot::Sender<Decision>,
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
    runtime: RuntimeDir,
    claims: Claims,
    publisher: Option<Publisher>,
    signals: Signals,
    fleet: mpsc::Receiver<FleetEvent>,
    requests: mpsc::Receiver<Request>,
    /// Removed, and not gone yet.
    leaving: BTreeSet<ProfileName>,
    /// Came back while they were leaving.
    returning: BTreeSet<ProfileName>,
    /// When the primary's generation is ready, the others must be told of what changed.
    renew_others: Option<u64>,
}

/// The whole life of a gateway that holds its lock.
pub(super) async fn run(options: GatewayOptions, runtime: RuntimeDir) -> Result<u8, AppError> {
    let manager = std::env::var_os("NOTIFY_SOCKET");
    let (mut gateway, requests) = Gateway::new(options.root, options.profile, runtime)?;
    let path = gateway.runtime.supervisor_socket()?;
    let listener = server::listen(&path).map_err(setup("listen on", &path))?;
    let tracker = gateway.common.tracker.clone();
    gateway.common.tracker.spawn(server::serve(
        listener,
        gateway.board.clone(),
        requests,
        tracker,
        gateway.stop.clone(),
    ));
    let result = match gateway.start().await {
        Ok(()) => {
            notify_manager(manager.as_deref(), "READY=1");
            let cause = gateway.serve().await;
            notify_manager(manager.as_deref(), "STOPPING=1");
            tracing::info!("stopping: {cause}");
            Ok(exit::OK)
        }
        Err(Abandoned::Asked(cause)) => {
            tracing::info!("stopping before the start was complete: {cause}");
            Ok(exit::OK)
        }
        Err(Abandoned::Failed(error)) => Err(error),
    };
    let drain = match (&result, &gateway.settings) {
        (Ok(_), Some(settings)) => Duration::from_millis(settings.drain_ms),
        _ => Duration::ZERO,
    };
    shutdown::run(&mut gateway, drain).await;
    gateway.end().await;
    if let Err(error) = socket::remove_stale(&path) {
        tracing::warn!(%error, "the command socket cannot be removed");
    }
    let _ = fs_err::remove_dir(gateway.runtime.path());
    result
}

/// What a start would meet; nobody is admitted.
pub(super) async fn check(options: CheckOptions, runtime: RuntimeDir) -> Result<CheckReport, AppError> {
    let (mut gateway, _requests) = Gateway::new(options.root, options.profile, runtime)?;
    let result = gateway.examine().await;
    shutdown::run(&mut gateway, Duration::ZERO).await;
    gateway.end().await;
    match result {
        Ok(report) => Ok(report),
        Err(Abandoned::Asked(_)) => Ok(CheckReport { refused: true, ..CheckReport::default() }),
        Err(Abandoned::Failed(error)) => Err(error),
    }
}

impl Gateway {
    fn new(
        root: RootHome,
        primary: ProfileName,
        runtime: RuntimeDir,
    ) -> Result<(Self, mpsc::Sender<Request>), AppError> {
        let signals = Signals::listen().map_err(setup("listen to", "signals"))?;
        socket::prepare_directory(runtime.path()).map_err(setup("prepare the directory", runtime.path()))?;
        let home = root.profile(&primary);
        let multiplex = multiplex_override(std::env::var_os(hermes_protocol::env::MULTIPLEX).as_deref())
            .inspect_err(|warning| tracing::warn!("{warning}"))
            .unwrap_or_default();
        let (fleet_sender, fleet) = mpsc::channel(FLEET_QUEUE);
        let (requests_sender, requests) = mpsc::channel(REQUEST_QUEUE);
        let terms = Terms {
            environment: Environment::from_variables(std::env::vars_os()),
            listeners: Vec::new(),
            multiplex,
            heartbeat_ms: FIRST_HEARTBEAT_MS,
            limits: Limits::default(),
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let spawner = Spawner::new().map_err(setup("open", "/dev/null"))?;
        let key = random_key().map_err(setup("read", "/dev/urandom"))?;
        let common = Arc::new(Common::new(spawner, cores * STARTING_PER_CORE, key, fleet_sender, terms));
        reap::adopt_orphans();
        let stop = CancellationToken::new();
        let reaper =
            reap::reaper(common.children.clone(), stop.clone()).map_err(setup("listen to", "SIGCHLD"))?;
        common.tracker.spawn(reaper);
        let (desired, warning) = Desired::load(&RootHome::new(home.path()));
        if let Some(warning) = warning {
            tracing::warn!(error = %actor::Chain(&warning), "what was stopped on purpose is not known");
        }
        let board = Board::new(GatewayView {
            state: "starting",
            started: SystemTime::now(),
            started_at: Instant::now(),
            multiplex: false,
            home: home.path().to_owned(),
            runtime_dir: runtime.path().to_owned(),
            listeners: Vec::new(),
            admin: None,
            problems: Vec::new(),
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
            claims: Claims::default(),
            publisher: None,
            signals,
            fleet,
            requests,
            leaving: BTreeSet::new(),
            returning: BTreeSet::new(),
            renew_others: None,
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
            event = home => Happened::Home(event),
        }
    }

    /// Everything from the primary's worker to the first answered request.
    async fn start(&mut self) -> Result<(), Abandoned> {
        let primary = self.first_report().await?;
        let settings = self.accept_settings(&primary).await?;
        let bound = Bound::bind(&settings).map_err(AppError::Bind)?;
        let admin = match &settings.admin {
            Some(address) => Some(Admin::bind(address).await?),
            None => None,
        };
        self.common.terms().listeners = bound.listeners();
        self.board.gateway(|view| {
            view.listeners = bound.listeners();
            view.admin = admin.as_ref().map(|admin| admin.address().to_string());
        });
        if settings.listeners.is_empty() {
            tracing::warn!("no platform of the primary opens a listener: nothing is reachable over HTTP");
        }
        let reports = self.other_reports(primary, &settings).await?;
        let findings = self.compare(&reports);
        let strict = settings.on_profile_error == OnProfileError::Fail;
        let primary_refused = findings.refused.iter().any(|(profile, _)| *profile == self.primary);
        if primary_refused || (findings.contract_broken && strict) {
            return Err(self.refuse_all(reports, findings).await);
        }
        self.decide(reports, &findings);
        let (publisher, reader) = Publisher::new(self.table());
        self.publisher = Some(publisher);
        if let Some(admin) = admin {
            self.serve_admin(admin, reader.clone());
        }
        self.proxy = Some(bound.start(reader, proxy::Limits::from(&settings))?);
        if self.desired.is_stopped(&self.primary)
            && let Some(handle) = self.board.handle(&self.primary)
        {
            handle.send(Event::Stop).await;
        }
        self.settings = Some(settings);
        self.board.gateway(|view| view.state = "running");
        Ok(())
    }

    /// As [`Self::start`], as far as the comparison.
    async fn examine(&mut self) -> Result<CheckReport, Abandoned> {
        let mut report = CheckReport::default();
        let primary = self.first_report().await?;
        let own = |(profile, problem): &(ProfileName, Problem)| (Some(profile.clone()), problem.clone());
        let settings = match self.accept_settings(&primary).await {
            Ok(settings) => settings,
            Err(Abandoned::Failed(AppError::Refused(problems))) => {
                report.served.push(self.primary.clone());
                report.problems = problems.iter().map(own).collect();
                report.refused = true;
                return Ok(report);
            }
            Err(other) => return Err(other),
        };
        let reports = self.other_reports(primary, &settings).await?;
        let findings = self.compare(&reports);
        report.refused = findings.refused.iter().any(|(profile, _)| *profile == self.primary)
            || (findings.contract_broken && settings.on_profile_error == OnProfileError::Fail);
        report.problems = findings.objections.iter().map(own).collect();
        for Reported { profile, report: found, .. } in &reports {
            let lesser = found
                .problems
                .iter()
                .filter(|problem| !findings.objections.iter().any(|(p, o)| p == profile && o == *problem));
            report.problems.extend(lesser.map(|problem| (Some(profile.clone()), problem.clone())));
        }
        self.board.gateway(|view| {
            report.problems.extend(view.problems.iter().map(|problem| (None, problem.clone())))
        });
        report.served = self.board.handles().into_iter().map(|handle| handle.name).collect();
        Ok(report)
    }

    /// Starts the primary's worker and waits for its report.
    async fn first_report(&mut self) -> Result<Reported, Abandoned> {
        let handle = self.add(&self.primary.clone(), Role::Primary)?;
        handle.send(Event::Start).await;
        let mut losses = 0;
        loop {
            match self.next_at_start().await? {
                FleetEvent::Reported { profile, generation, report, decide } => {
                    return Ok(Reported { profile, generation, report, decide });
                }
                FleetEvent::Gone { .. } => {
                    losses += 1;
                    let view = handle.view();
                    let reason = view.reason.or(view.last_exit).unwrap_or_else(|| "it ended".to_owned());
                    tracing::warn!("the primary's worker ended before its report: {reason}");
                    if losses >= PRIMARY_ATTEMPTS {
                        return Err(AppError::Primary { profile: self.primary.clone(), reason }.into());
                    }
                }
                FleetEvent::Ready { .. } | FleetEvent::Ended { .. } => {}
            }
        }
    }

    /// What the fleet says next, while nothing else may be done yet.
    async fn next_at_start(&mut self) -> Result<FleetEvent, Abandoned> {
        loop {
            match self.next().await {
                Happened::Fleet(event) => return Ok(event),
                Happened::Signal(Interrupt::Stop(name)) => return Err(Abandoned::Asked(name)),
                Happened::Request(request) => {
                    if self.on_early_request(request).await {
                        return Err(Abandoned::Asked("asked to"));
                    }
                }
                Happened::Signal(Interrupt::Reload) | Happened::Home(_) => {}
            }
        }
    }

    /// Puts the primary's settings into force, or says what is wrong with them.
    async fn accept_settings(&mut self, primary: &Reported) -> Result<GatewaySettings, Abandoned> {
        let fatal: Vec<_> = claims::objections(&primary.report)
            .map(|problem| (self.primary.clone(), problem.clone()))
            .collect();
        let settings = match (&primary.report.gateway, fatal.is_empty()) {
            (Some(settings), true) => settings.clone(),
            (None, true) => {
                let reason = "its report has no settings".to_owned();
                return Err(AppError::Primary { profile: self.primary.clone(), reason }.into());
            }
            (_, false) => return Err(AppError::Refused(fatal).into()),
        };
        let settings =
            GatewaySettings { multiplex: settings.multiplex && self.primary.is_default(), ..settings };
        self.adopt(&settings);
        if let Some(handle) = self.board.handle(&self.primary) {
            handle.send(Event::Limits(self.common.terms().limits)).await;
        }
        Ok(settings)
    }

    /// Everything that later processes are told. Returns whether the shared variables changed.
    fn adopt(&self, settings: &GatewaySettings) -> bool {
        let ms = Duration::from_millis;
        let mut terms = self.common.terms();
        terms.heartbeat_ms = settings.heartbeat_ms;
        terms.limits = Limits {
            start: ms(settings.start_timeout_ms),
            stuck: ms(settings.stuck_after_ms),
            drain: ms(settings.drain_ms),
            hold: ms(settings.hold_ms),
        };
        self.board.gateway(|view| view.multiplex = settings.multiplex);
        let changed = terms.environment.share(&settings.shared_env, |name| std::env::var_os(name));
        if changed {
            tracing::info!(names = ?terms.environment.shared_names(), "shared with all workers (gateway.shared_env)");
        }
        changed
    }

    /// Starts all other workers and collects their reports; `primary`'s comes first.
    async fn other_reports(
        &mut self,
        mut primary: Reported,
        settings: &GatewaySettings,
    ) -> Result<Vec<Reported>, Abandoned> {
        if !self.common.terms().environment.shared_names().is_empty() {
            // The primary was started before anybody knew what to share.
            if let Some(handle) = self.board.handle(&self.primary) {
                handle.send(Event::Restart).await;
            }
            primary = self.report_of_primary(primary.generation).await?;
        }
        let mut reports = vec![primary];
        let mut waiting = BTreeSet::new();
        let watch = HomeWatch::start(self.root.clone());
        if settings.multiplex {
            let (names, problems) = self.wanted(&watch, settings);
            self.board.gateway(|view| view.problems = problems);
            for name in names {
                if name != self.primary && self.admit_to_fleet(&name).await {
                    waiting.insert(name);
                }
            }
        }
        self.watch = Some(watch);
        while !waiting.is_empty() {
            match tokio::time::timeout(QUIET, self.next_at_start()).await {
                Ok(event) => match event? {
                    FleetEvent::Reported { profile, generation, report, decide } => {
                        waiting.remove(&profile);
                        reports.push(Reported { profile, generation, report, decide });
                    }
                    FleetEvent::Gone { profile, .. } => {
                        waiting.remove(&profile);
                    }
                    FleetEvent::Ready { .. } | FleetEvent::Ended { .. } => {}
                },
                Err(_) => {
                    tracing::warn!(profiles = ?waiting, "not waiting for these any longer; they are served when they report");
                    break;
                }
            }
        }
        reports[1..].sort_by(|a, b| a.profile.cmp(&b.profile));
        Ok(reports)
    }

    /// The report of a generation of the primary newer than `old`.
    async fn report_of_primary(&mut self, old: u64) -> Result<Reported, Abandoned> {
        loop {
            match self.next_at_start().await? {
                FleetEvent::Reported { profile, generation, report, decide } if generation > old => {
                    return Ok(Reported { profile, generation, report, decide });
                }
                FleetEvent::Gone { generation, .. } if generation > old => {
                    let reason = "it ended before its report".to_owned();
                    return Err(AppError::Primary { profile: self.primary.clone(), reason }.into());
                }
                _ => {}
            }
        }
    }

    fn wanted(&self, watch: &HomeWatch, settings: &GatewaySettings) -> (Vec<ProfileName>, Vec<Problem>) {
        let config = self.root.profile(&self.primary).config();
        served(watch.homes(), settings.allowlist.as_deref(), config.as_str())
    }

    /// Makes an actor for a profile and starts its worker if it should run. Returns whether it does.
    async fn admit_to_fleet(&mut self, name: &ProfileName) -> bool {
        let handle = match self.add(name, Role::Secondary) {
            Ok(handle) => handle,
            Err(error) => {
                tracing::error!(profile = %name, error = %actor::Chain(&error), "the profile cannot be served");
                return false;
            }
        };
        if let Some(why) = conflict(&handle) {
            tracing::warn!(profile = %name, "{}", why.reason);
            handle.send(Event::Conflict(why)).await;
            return false;
        }
        if self.desired.is_stopped(name) {
            tracing::info!(profile = %name, "stays stopped, as asked for earlier");
            return false;
        }
        handle.send(Event::Start).await;
        true
    }

    fn add(&mut self, name: &ProfileName, role: Role) -> Result<Handle, AppError> {
        let setup = Setup {
            name: name.clone(),
            home: self.root.profile(name),
            role,
            socket: self.runtime.data_socket(name)?,
            desired_running: role == Role::Primary || !self.desired.is_stopped(name),
        };
        let handle = actor::start(setup, Arc::clone(&self.common));
        self.board.add(handle.clone());
        Ok(handle)
    }

    fn compare(&mut self, reports: &[Reported]) -> Findings {
        let all: Vec<_> = reports.iter().map(|r| (r.profile.clone(), r.generation, &r.report)).collect();
        claims::compare(&all, &mut self.claims)
    }

    fn decide(&self, reports: Vec<Reported>, findings: &Findings) {
        let refused: BTreeMap<_, _> =
            findings.refused.iter().map(|(profile, problem)| (profile, problem)).collect();
        for reported in reports {
            let decision = match refused.get(&reported.profile) {
                Some(problem) => Decision::Refuse(Why::from(*problem)),
                None => Decision::Admit(self.admission()),
            };
            // A process that died meanwhile needs no decision.
            let _ = reported.decide.send(decision);
        }
    }

    /// Nobody may serve: everybody is told why, and the result says it all.
    async fn refuse_all(&mut self, reports: Vec<Reported>, findings: Findings) -> Abandoned {
        let first =
            findings.objections.first().map(|(_, problem)| problem.message.clone()).unwrap_or_default();
        let own: BTreeMap<_, _> =
            findings.refused.iter().map(|(profile, problem)| (profile, problem)).collect();
        let mut waiting: BTreeSet<ProfileName> = BTreeSet::new();
        for reported in reports {
            let why = own.get(&reported.profile).map_or_else(
                || Why { reason: format!("the gateway does not start: {first}"), file: None },
                |problem| Why::from(*problem),
            );
            if reported.decide.send(Decision::Refuse(why)).is_ok() {
                waiting.insert(reported.profile);
            }
        }
        // They write down why before they go; whoever does not is ended with the rest.
        while !waiting.is_empty() {
            match tokio::time::timeout(QUIET, self.next_at_start()).await {
                Ok(Ok(FleetEvent::Gone { profile, .. })) => {
                    waiting.remove(&profile);
                }
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => break,
            }
        }
        Abandoned::Failed(AppError::Refused(findings.objections))
    }

    fn serve_admin(&self, admin: Admin, reader: proxy::Reader) {
        let board = self.board.clone();
        let facts: Facts = Arc::new(move || Arc::new(board.snapshot()));
        let stop = self.stop.clone();
        self.common.tracker.spawn(async move {
            if let Err(error) = admin.serve(reader, facts, stop).await {
                tracing::error!(%error, "the admin listener ended");
            }
        });
    }

    /// Runs until told to stop; says by whom.
    async fn serve(&mut self) -> &'static str {
        loop {
            match self.next().await {
                Happened::Signal(Interrupt::Stop(name)) => return name,
                Happened::Signal(Interrupt::Reload) => self.reload(None),
                Happened::Fleet(event) => self.on_fleet(event).await,
                Happened::Home(event) => self.on_home(event).await,
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
                let decision = self.judge(&profile, generation, report).await;
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
        Decision::Admit(self.admission())
    }

    /// The primary's new generation brings other settings.
    async fn change_settings(&mut self, settings: GatewaySettings, generation: u64) -> Result<(), Why> {
        let settings =
            GatewaySettings { multiplex: settings.multiplex && self.primary.is_default(), ..settings };
        let Some(old) = self.settings.replace(settings.clone()) else { return Ok(()) };
        if old == settings {
            return Ok(());
        }
        let mut renew = old.multiplex != settings.multiplex;
        if let Some(proxy) = &mut self.proxy {
            match proxy.rebind(&settings) {
                Ok(listeners) => {
                    renew |= self.common.terms().listeners != listeners;
                    self.common.terms().listeners.clone_from(&listeners);
                    self.board.gateway(|view| view.listeners = listeners);
                }
                Err(error) => {
                    self.settings = Some(old);
                    return Err(Why { reason: error.to_string(), file: None });
                }
            }
        }
        if old.admin != settings.admin {
            tracing::warn!("gateway.admin takes effect when the gateway is restarted");
        }
        renew |= self.adopt(&settings);
        let limits = self.common.terms().limits;
        for handle in self.board.handles() {
            handle.send(Event::Limits(limits)).await;
        }
        if renew {
            self.renew_others = Some(generation);
        }
        tracing::info!(generation, "the gateway's settings changed");
        self.settle_served().await;
        Ok(())
    }

    /// Serves exactly the profiles that should be.
    pub(super) async fn settle_served(&mut self) {
        let Some(settings) = self.settings.clone() else { return };
        let (names, problems) = match (&self.watch, settings.multiplex) {
            (Some(watch), true) => self.wanted(watch, &settings),
            _ => (vec![self.primary.clone()], Vec::new()),
        };
        self.board.gateway(|view| view.problems = problems);
        let known: BTreeSet<ProfileName> =
            self.board.handles().into_iter().map(|handle| handle.name).collect();
        let names: BTreeSet<ProfileName> = names.into_iter().collect();
        for name in known.difference(&names) {
            if *name != self.primary {
                self.dismiss(name).await;
            }
        }
        for name in names.difference(&known) {
            self.admit_to_fleet(name).await;
        }
        for name in names.intersection(&known).filter(|name| self.leaving.contains(*name)) {
            self.returning.insert(name.clone());
        }
        self.publish().await;
    }

    /// First nobody is sent there any more, then the worker finishes.
    async fn dismiss(&mut self, name: &ProfileName) {
        self.returning.remove(name);
        if self.leaving.insert(name.clone())
            && let Some(handle) = self.board.handle(name)
        {
            self.publish().await;
            handle.send(Event::Leave).await;
        }
    }

    async fn on_home(&mut self, event: HomeEvent) {
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
            }
            HomeEvent::Added(name) if multiplex => {
                tracing::info!(profile = %name, "profile added");
                self.settle_served().await;
            }
            _ => {}
        }
    }

    /// Publishes the routes, and tells the primary who is served.
    async fn publish(&self) {
        if let Some(publisher) = &self.publisher {
            publisher.publish(self.table());
        }
        if let Some(handle) = self.board.handle(&self.primary) {
            handle.command(actor::Command::Tell(self.admission())).await;
        }
    }

    fn table(&self) -> Table {
        let handles = self.board.handles();
        let multiplex = self.settings_multiplex();
        let mut handles = handles.into_iter();
        let primary =
            handles.next().expect("the primary is added first and never removed while the gateway runs");
        let mut table = Table::new(multiplex, primary.route);
        for handle in handles.filter(|handle| !self.leaving.contains(&handle.name)) {
            table.insert(handle.route);
        }
        table
    }

    fn settings_multiplex(&self) -> bool {
        let mut multiplex = false;
        self.board.gateway(|view| multiplex = view.multiplex);
        multiplex
    }

    fn admission(&self) -> Admit {
        let served = self.board.handles().into_iter().map(|handle| handle.name);
        let served =
            served.filter(|name| !self.leaving.contains(name)).map(|name| name.to_string()).collect();
        Admit {
            listeners: self.common.terms().listeners.clone(),
            multiplex: self.settings_multiplex(),
            served,
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

/// Whether a gateway of its own runs for a profile, and which.
pub(super) fn conflict(handle: &Handle) -> Option<Why> {
    let home = handle.home.path();
    let Liveness::Running { record } = instance::probe(home) else { return None };
    let who = record.map_or_else(|| "another process".to_owned(), |record| format!("PID {}", record.pid));
    Some(Why {
        reason: format!(
            "a gateway of its own already runs for this profile ({who}); stop it, then `hermes gateway start -p {}`",
            handle.name
        ),
        file: Some(handle.home.gateway_lock().to_string()),
    })
}

fn random_key() -> std::io::Result<[u8; 32]> {
    use std::io::Read as _;
    let mut key = [0; 32];
    fs_err::File::open("/dev/urandom")?.read_exact(&mut key)?;
    Ok(key)
}
