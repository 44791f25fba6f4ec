//! The gateway while it runs, put together from parts that each own their state; and whatever happens to them, one thing at a time.

use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use hermes_host::clock;
use hermes_wire::ProfileName;
use hermes_wire::contract::events::{By, Event, what, who};
use hermes_wire::contract::gateway_status::state;
use hermes_wire::latest::{GatewaySettings, Upkeep};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::consent::{Consent, Reload};
use super::edge::Edge;
use super::fleet::{Fleet, Stir};
use super::renewal::{Proved, Renewals};
use super::unserved::Unserved;
use super::wanted::Wanted;
use super::{AppError, cannot};
use crate::awake::Awake;
use crate::board::Board;
use crate::descriptors::Files;
use crate::generation::Generation;
use crate::journal::Journal;
use crate::manager::{Counts, Manager};
use crate::metrics::Door;
use crate::proxy::Inherited;
use crate::rendezvous::{Asked, Rendezvous};
use crate::runtime::Runtime;
use crate::server::Request;
use crate::signal::{Interrupt, Signals};
use crate::supervise::GatewayView;
use crate::supervise::actor::{Common, FleetEvent, Terms};
use crate::supervise::env::{Environment, multiplex_override};
use crate::supervise::policy::Limits;
use crate::supervise::reap;
use crate::supervise::spawn::Spawner;

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
    /// Another program's wish.
    Asked(Asked),
    /// A profile was unserved for long enough.
    AbsenceOver(ProfileName),
    Signal(Interrupt),
    Stir(Stir),
    /// The first step of a reload is over.
    Reloaded(Reload),
    /// The program on disk has answered, or has not.
    Proved(Proved),
}

/// What a gateway is made of.
pub(super) struct Parts {
    pub(super) wanted: Wanted,
    /// Where the host record is.
    pub(super) host: Option<Utf8PathBuf>,
    pub(super) runtime: Arc<Runtime>,
    pub(super) inherited: Inherited,
    pub(super) files: Files,
    pub(super) repeatable: bool,
    pub(super) journal: Journal,
    /// The service manager that is told how far the gateway is.
    pub(super) manager: Manager,
    /// Under which claims are compared, where processes live that have said theirs.
    pub(super) claim_key: Option<[u8; 32]>,
}

/// All parts. Everything here belongs to the main task.
pub(super) struct Gateway {
    /// What actors share with each other and are told by the app.
    pub(super) common: Arc<Common>,
    /// What status surfaces see.
    pub(super) board: Board,
    /// Who is served.
    pub(super) fleet: Fleet,
    /// Where clients connect.
    pub(super) edge: Edge,
    /// The primary's settings in force, from the end of the start.
    pub(super) settings: Option<GatewaySettings>,
    /// When this generation of the primary is ready, the others must be told of what changed.
    pub(super) renew_others: Option<Generation>,
    pub(super) consent: Consent,
    pub(super) renewals: Renewals,
    /// Where newer Python programs find this gateway.
    pub(super) rendezvous: Option<Rendezvous>,
    pub(super) unserved: Unserved,
    /// Keeps the machine from falling asleep, where that is asked for.
    pub(super) awake: Awake,
    /// It ends in order to be started again.
    pub(super) restart: bool,
    /// Who asked for its end.
    pub(super) ended_by: Option<By>,
    /// Lets no more commands in.
    pub(super) rest: CancellationToken,
    /// Ends the server, the admin listener and, last, the reaper.
    pub(super) stop: CancellationToken,
    pub(super) signals: Signals,
    /// Is told how far all this is.
    pub(super) manager: Manager,
    events: mpsc::Receiver<FleetEvent>,
    requests: mpsc::Receiver<Request>,
    asked: mpsc::Receiver<Asked>,
}

/// Where servers put what they are asked for.
pub(super) struct Inlets {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) asked: mpsc::Sender<Asked>,
}

impl Gateway {
    /// A gateway that serves nobody yet, and where its servers put requests.
    pub(super) fn new(parts: Parts) -> Result<(Self, Inlets), AppError> {
        let Parts { wanted, host, runtime, inherited, files, repeatable, journal, manager, claim_key } =
            parts;
        let signals = Signals::listen().map_err(cannot("listen to", "signals"))?;
        let home = wanted.root.profile(&wanted.primary);
        let multiplex = multiplex_override(std::env::var_os(hermes_wire::env::MULTIPLEX).as_deref())
            .inspect_err(|warning| tracing::warn!("{warning}"))
            .unwrap_or_default();
        let (fleet_sender, events) = mpsc::channel(FLEET_QUEUE);
        let (requests_sender, requests) = mpsc::channel(REQUEST_QUEUE);
        let (asked_sender, asked) = mpsc::channel(REQUEST_QUEUE);
        let mut environment = Environment::from_variables(std::env::vars_os());
        environment.limit_files(files.of_worker(0));
        let terms = Terms {
            environment,
            listeners: Vec::new(),
            multiplex,
            heartbeat_ms: FIRST_HEARTBEAT_MS,
            limits: Limits::default(),
            upkeep: Upkeep::default(),
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let spawner = Spawner::new().map_err(cannot("open", "/dev/null"))?;
        let key = match claim_key {
            Some(key) => key,
            None => random_key().map_err(cannot("read", "/dev/urandom"))?,
        };
        let common = Arc::new(Common::new(
            spawner,
            cores * STARTING_PER_CORE,
            key,
            fleet_sender,
            (Arc::clone(&runtime), journal),
            terms,
        ));
        reap::adopt_orphans();
        let stop = CancellationToken::new();
        let reaper =
            reap::reaper(common.children.clone(), stop.clone()).map_err(cannot("listen to", "SIGCHLD"))?;
        common.tracker.spawn(reaper);
        let view = GatewayView {
            state: "starting",
            started: clock::system(),
            started_at: clock::now(),
            multiplex: false,
            home: home.path().to_owned(),
            runtime_dir: runtime.path(),
            listeners: Vec::new(),
            admin: None,
            problems: Vec::new(),
            max_connections: None,
            limited: None,
            returned: None,
            awake: None,
        };
        let board = Board::new(view, common.journal.clone(), common.news.clone());
        let config = home.config();
        let awake = Awake::new(board.clone(), &config, &common);
        let edge = Edge::new(files, inherited, board.clone(), config, (common.tracker.clone(), stop.clone()));
        let gateway = Self {
            fleet: Fleet::new(wanted, host, Arc::clone(&common), board.clone()),
            common,
            board,
            edge,
            settings: None,
            renew_others: None,
            consent: Consent::new(),
            renewals: Renewals::new(repeatable),
            rendezvous: None,
            unserved: Unserved::default(),
            awake,
            restart: false,
            ended_by: None,
            rest: CancellationToken::new(),
            stop,
            signals,
            manager,
            events,
            requests,
            asked,
        };
        Ok((gateway, Inlets { requests: requests_sender, asked: asked_sender }))
    }

    /// The next thing that happens. Safe to cancel.
    pub(super) async fn next(&mut self) -> Happened {
        loop {
            return tokio::select! {
                biased;
                // First, so that much to do is no silence; here, so that to be stuck is one.
                () = self.manager.due() => {
                    self.manager.look(self.counts());
                    continue;
                }
                interrupt = self.signals.next() => Happened::Signal(interrupt),
                Some(event) = self.events.recv() => Happened::Fleet(event),
                Some(request) = self.requests.recv() => Happened::Request(request),
                Some(asked) = self.asked.recv() => Happened::Asked(asked),
                reload = self.consent.next() => Happened::Reloaded(reload),
                proved = self.renewals.next() => Happened::Proved(proved),
                stir = self.fleet.next() => Happened::Stir(stir),
                profile = self.unserved.next() => Happened::AbsenceOver(profile),
            };
        }
    }

    /// How many profiles are served, for the service manager.
    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for worker in self.board.snapshot().workers.iter().filter(|worker| worker.desired_running) {
            counts.desired += 1;
            counts.serving += u32::from(crate::status::serves(worker));
            counts.degraded += u32::from(crate::status::is_degraded(worker));
            counts.starting += u32::from(!worker.ready && worker.state == state::STARTING);
            counts.turns += u64::from(worker.active_turns);
        }
        counts
    }

    /// The service manager is told as soon as profiles are served.
    pub(super) fn tell_ready(&mut self) {
        self.manager.settle();
    }

    /// Everything that later processes are told. Returns whether the shared variables changed.
    pub(super) fn adopt(&mut self, settings: &GatewaySettings) -> bool {
        let ms = Duration::from_millis;
        let changed = self.common.change_terms(|terms| {
            terms.heartbeat_ms = settings.heartbeat_ms;
            terms.upkeep = settings.upkeep;
            terms.limits = Limits {
                start: ms(settings.start_timeout_ms),
                stuck: ms(settings.stuck_after_ms),
                drain: ms(settings.drain_ms),
                hold: ms(settings.hold_ms),
            };
            terms.environment.limit_files(self.edge.files_of_worker(settings.max_requests_per_profile));
            terms.environment.share(&settings.shared_env, |name| std::env::var_os(name))
        });
        self.fleet.follow(settings);
        self.awake.want(settings.keep_awake);
        if changed {
            let names = self.common.terms();
            let names = names.environment.shared_names();
            tracing::info!(?names, "shared with all workers (gateway.shared_env)");
        }
        changed
    }

    /// The settings as they hold for this gateway: only `default`'s serves others.
    pub(super) fn own(&self, settings: GatewaySettings) -> GatewaySettings {
        GatewaySettings { multiplex: settings.multiplex && self.fleet.primary().is_default(), ..settings }
    }

    /// What opens the admin address, where a token does.
    pub(super) fn door(&self, settings: &GatewaySettings) -> Option<Door> {
        settings.admin_token.map(|token| Door::new(self.common.claim_key, token))
    }

    /// The limits in force.
    pub(super) fn limits(&self) -> Limits {
        self.common.terms().limits
    }

    /// Lets in as many clients as the number of profiles leaves room for.
    pub(super) fn refit(&mut self) {
        if let Some(settings) = &self.settings {
            self.edge.refit(settings, self.fleet.handles().len());
        }
    }

    /// The primary's name, for those who keep it.
    pub(super) fn primary(&self) -> ProfileName {
        self.fleet.primary().clone()
    }

    /// Writes down that the gateway is in another state.
    pub(super) fn note(&self, from: &str, to: &str, cause: &str, by: By) {
        self.common.journal.note(Event {
            what: what::GATEWAY.to_owned(),
            from: Some(from.to_owned()).filter(|from| !from.is_empty()),
            to: Some(to.to_owned()),
            cause: cause.to_owned(),
            by: Some(by),
            pid: Some(std::process::id()),
            ..Event::default()
        });
    }

    /// Writes down that it begins.
    pub(super) fn note_begin(&self) {
        let release = concat!("release ", env!("CARGO_PKG_VERSION"));
        self.note("", "starting", release, By::who(who::GATEWAY));
    }

    /// Writes down that it serves.
    pub(super) fn note_running(&self) {
        self.note("starting", "running", "the start is complete", By::who(who::GATEWAY));
    }

    /// Writes down that it is over, or becomes another program; nothing is written down after that.
    pub(super) fn note_over(&self, failure: Option<&str>) {
        let from = if failure.is_some() { "starting" } else { "draining" };
        let to = if self.renewals.is_under_way() { "renewing" } else { "stopped" };
        self.note(from, to, failure.unwrap_or("everything has ended"), By::who(who::GATEWAY));
        self.common.journal.end();
    }

    /// Writes down that its end begins, and who wanted it.
    pub(super) fn note_end(&mut self, from: &str, cause: &str, renews: bool) {
        let by = match self.ended_by.take() {
            Some(by) => by,
            None if cause.starts_with("SIG") => By::named(who::SIGNAL, cause),
            None => By::who(who::COMMAND),
        };
        let why = if renews { "taking up the program on disk" } else { "stop requested" };
        self.note(from, "draining", why, by);
    }

    /// Ends what serves the gateway itself.
    pub(super) async fn end(&mut self) {
        self.awake.release().await;
        self.edge.close();
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
