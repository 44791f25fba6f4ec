//! The whole life of a gateway that holds its lock, and a check, which is the beginning of one.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8Path;
use hermes_wire::contract::events::{By, who};
use hermes_wire::latest::Report;
use hermes_wire::{ProfileName, env, exit};
use tokio::sync::{mpsc, oneshot};

use super::claims;
use super::estate::Estate;
use super::fleet::Stir;
use super::gateway::{Gateway, Happened, Parts};
use super::lifeline::Lifeline;
use super::renewal::Renewal;
use super::start::{Abandoned, Examined};
use super::succession::{ANSWERS, Left, say_returned};
use super::wanted::{News, Wanted};
use super::{AppError, CheckOptions, GatewayOptions, cannot, shutdown};
use crate::descriptors::Files;
use crate::generation::Generation;
use crate::guard::Guard;
use crate::handover::Handover;
use crate::instance;
use crate::journal::Journal;
use crate::manager::Manager;
use crate::proxy::Inherited;
use crate::rendezvous::{self, Kept, Rendezvous};
use crate::root_state::Writer;
use crate::runtime::Runtime;
use crate::server;
use crate::signal::Interrupt;
use crate::supervise::actor::{Decision, FleetEvent};
use crate::supervise::state::Why;

/// After the start, until the process has settled.
const SETTLED: Duration = Duration::from_secs(2);
/// After that, until what the start and other work have used is given back once more, and from then on always.
const AGAIN: Duration = Duration::from_secs(8);
const EVER_AGAIN: Duration = Duration::from_mins(5);

/// How the life of a gateway ended.
pub(super) enum Ended {
    /// With this exit code.
    Stopped(u8),
    /// As another program.
    Renewing(Box<Renewal>),
}

/// What was there before this program, where it is one that a gateway has become.
#[derive(Default)]
pub(super) struct Sockets {
    pub(super) inherited: Inherited,
    /// `gateway.sock`.
    pub(super) socket: Option<Kept>,
    /// `supervisor.sock`.
    pub(super) commands: Option<UnixListener>,
    pub(super) claim_key: Option<[u8; 32]>,
}

impl Sockets {
    /// Takes up those of a handover; what holds the home is the result.
    pub(super) fn take_up(
        &mut self,
        handover: &Handover,
        runtime: &Runtime,
    ) -> io::Result<(OwnedFd, Option<Guard>)> {
        let document = &handover.document;
        let listener = |number| {
            let listener = UnixListener::from(handover.copy(number)?);
            listener.set_nonblocking(true)?;
            Ok::<_, io::Error>(listener)
        };
        self.inherited = Inherited::of(handover)?;
        self.claim_key = Some(document.claim_key);
        if let Some(commands) = &document.commands
            && runtime.adopt_commands(commands.id)
        {
            self.commands = Some(listener(commands.listener)?);
        }
        if let Some(programs) = &document.programs {
            self.socket = Some(Kept::of(listener(programs.listener)?, programs.id));
        }
        let guard = document.guard.map(|guard| handover.copy(guard)).transpose()?;
        Ok((handover.copy(document.lock)?, guard.map(Guard::of)))
    }
}

/// The whole life of a gateway that holds its lock.
#[expect(clippy::too_many_lines, reason = "one order, from the lock to the end, that is read as one")]
pub(super) async fn run(
    options: GatewayOptions,
    runtime: Arc<Runtime>,
    (sockets, handover): (Sockets, Option<Handover>),
    files: Files,
    lifeline: &mut Option<Lifeline>,
) -> Result<Ended, AppError> {
    let Sockets { inherited, socket, commands, claim_key } = sockets;
    let left = handover.as_ref().map(|handover| Left::read(handover, &runtime)).transpose();
    let left = left.map_err(cannot("go on with", "the workers that run"))?;
    let home = options.root.profile(&options.profile);
    let (mut gateway, inlets) = Gateway::new(Parts {
        wanted: Wanted::new(options.root, options.profile),
        host: options.rendezvous.as_ref().and_then(|places| places.host.clone()),
        runtime: Arc::clone(&runtime),
        inherited,
        files,
        repeatable: options.repeatable,
        journal: Journal::open(home.events()),
        manager: Manager::of_this_process(),
        claim_key,
    })?;
    gateway.note_begin();
    let listener = match commands {
        Some(listener) => listener,
        None => runtime.listen_for_commands().map_err(cannot("listen for commands in", runtime.path()))?,
    };
    let (replaced, replacements) = mpsc::channel(1);
    let (home, board) = (gateway.board.home(), gateway.board.clone());
    let moved = move |path: &Utf8Path| {
        if let Err(error) = instance::moved(&home, path) {
            tracing::error!(%error, "the PID record cannot be told where commands reach this gateway");
        }
        board.gateway(|view| view.runtime_dir = path.to_owned());
    };
    let keeper = runtime.keep(replaced, moved).map_err(cannot("start", "the runtime directory's thread"))?;
    let tracker = gateway.common.tracker.clone();
    let serving = server::serve(
        (listener, replacements),
        gateway.board.clone(),
        inlets.requests,
        tracker,
        (gateway.rest.clone(), gateway.stop.clone()),
    );
    let (give, commands) = oneshot::channel();
    gateway.common.tracker.spawn(async move {
        // Nobody wants it but the program that this one becomes.
        drop(give.send(serving.await));
    });
    if let Some(places) = options.rendezvous {
        let rendezvous = Rendezvous::new(places, &gateway.board.home(), &runtime.path());
        gateway.rendezvous = Some(rendezvous.clone());
        let listener = rendezvous.open(socket);
        let context = rendezvous::server::Context {
            rendezvous,
            board: gateway.board.clone(),
            asked: inlets.asked,
            tracker: gateway.common.tracker.clone(),
        };
        let serving =
            rendezvous::server::serve(context, listener, (gateway.rest.clone(), gateway.stop.clone()));
        gateway.common.tracker.spawn(serving);
    }
    let writer = Writer::new(gateway.board.clone(), gateway.primary());
    gateway.common.tracker.spawn(writer.clone().keep(gateway.stop.clone()));
    let started = match left {
        Some(left) => gateway.resume(left),
        None => gateway.start().await,
    };
    let was_left = handover.is_some();
    match started {
        // Nothing was touched: the program before goes on with it.
        Err(Abandoned::Failed(error)) if lifeline.is_some() => return Err(error),
        Err(_) => {}
        Ok(()) => {
            if let Some(lifeline) = lifeline.take() {
                Lifeline::cut(lifeline);
            }
            if let Some(handover) = handover {
                handover.keep();
            }
            if let Some(why) = std::env::var_os(env::RETURNED) {
                say_returned(&gateway.board, &why.to_string_lossy());
            }
        }
    }
    let mut passed = None;
    let result = match started {
        Ok(()) => {
            gateway.note_running();
            gateway.tell_ready();
            let (stop, settle) = (gateway.stop.clone(), options.settle);
            gateway.common.tracker.spawn(async move {
                let waits = [SETTLED, AGAIN].into_iter().chain(std::iter::repeat(EVER_AGAIN));
                for wait in waits {
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(wait) => settle(),
                    }
                }
            });
            if was_left {
                gateway.settle_in(std::env::var_os(env::RETURNED).is_none()).await;
            }
            let cause = gateway.serve().await;
            let renews = gateway.renewals.is_under_way();
            gateway.tell_leaving(renews);
            gateway.note_end("running", cause, renews);
            tracing::info!("{}: {cause}", if renews { "taking up the program on disk" } else { "stopping" });
            gateway.keep_listeners().await;
            if gateway.renewals.passes_workers() {
                passed = gateway.leave(drain_of(&gateway)).await;
            }
            Ok(())
        }
        Err(Abandoned::Asked(cause)) => {
            gateway.note_end("starting", cause, false);
            tracing::info!("stopping before the start was complete: {cause}");
            Ok(())
        }
        Err(Abandoned::Failed(error)) => Err(error),
    };
    let drain = if result.is_ok() { drain_of(&gateway) } else { Duration::ZERO };
    if passed.is_none() {
        shutdown::run(&mut gateway, drain).await;
    }
    let rendezvous = gateway.rendezvous.take();
    match &rendezvous {
        Some(rendezvous) if gateway.renewals.is_under_way() => rendezvous.keep().await,
        Some(rendezvous) => rendezvous.leave().await,
        None => {}
    }
    keeper.end();
    let (mut admin, mut kept) = (None, None);
    if passed.is_some() {
        // Whoever is in is answered; who takes longer is cut off.
        let (of_admin, of_commands) =
            tokio::join!(gateway.edge.keep_admin(), tokio::time::timeout(ANSWERS, commands));
        admin = of_admin;
        kept = of_commands.ok().and_then(Result::ok).flatten().zip(runtime.commands());
    }
    gateway.end().await;
    if let Some(workers) = passed {
        gateway.note("draining", "renewing", "workers go on", By::who(who::GATEWAY));
        gateway.common.journal.end();
        let claim_key = gateway.common.claim_key;
        let served = gateway.fleet.beside_primary();
        gateway.renewals.take_along_estate(Estate { claim_key, workers, served, commands: kept, admin });
        gateway.signals.hand_over().await;
        if let Some(rendezvous) = rendezvous {
            gateway.renewals.take_along_socket(rendezvous.take_kept());
        }
        return Ok(gateway
            .renewals
            .take()
            .map_or(Ended::Stopped(exit::FAILURE), |renewal| Ended::Renewing(Box::new(renewal))));
    }
    // Its first line is what can be said in one.
    let failure = result.as_ref().err().map(|error| hermes_host::cause::Chain(error).to_string());
    let failure = failure.map(|text| text.lines().next().unwrap_or_default().to_owned());
    writer.finish(failure.clone(), gateway.restart || gateway.renewals.is_under_way()).await;
    runtime.close();
    gateway.note_over(failure.as_deref());
    result?;
    if gateway.renewals.is_under_way() {
        match (gateway.signals.give_back().await, rendezvous) {
            (Some(name), rendezvous) => {
                gateway.renewals.stop_instead(name);
                if let Some(rendezvous) = rendezvous {
                    rendezvous.discard().await;
                }
            }
            (None, Some(rendezvous)) => gateway.renewals.take_along_socket(rendezvous.take_kept()),
            (None, None) => {}
        }
    }
    let code = if gateway.restart { exit::RESTART } else { exit::OK };
    Ok(gateway.renewals.take().map_or(Ended::Stopped(code), |renewal| Ended::Renewing(Box::new(renewal))))
}

/// What turns and requests have on a stop.
fn drain_of(gateway: &Gateway) -> Duration {
    gateway.settings.as_ref().map_or(Duration::ZERO, |settings| Duration::from_millis(settings.drain_ms))
}

/// What a start would meet; nobody is admitted.
pub(super) async fn check(
    options: CheckOptions,
    runtime: Arc<Runtime>,
    files: Files,
) -> Result<Examined, AppError> {
    let (mut gateway, _inlets) = Gateway::new(Parts {
        wanted: Wanted::new(options.root, options.profile),
        host: options.host,
        runtime,
        inherited: Inherited::default(),
        files,
        repeatable: false,
        journal: Journal::default(),
        manager: Manager::none(),
        claim_key: None,
    })?;
    gateway.common.change_terms(|terms| {
        terms.environment.examine();
        if options.as_one.is_some() {
            terms.multiplex = Some(true);
        }
    });
    gateway.fleet.imagine(options.as_one);
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
    /// The service manager is told that the gateway ends, or becomes another program and is ready again then.
    fn tell_leaving(&mut self, renews: bool) {
        if renews {
            self.manager.reloading("taking up the program on disk");
        } else {
            let drain = self.settings.as_ref().map_or(Duration::ZERO, |s| Duration::from_millis(s.drain_ms));
            self.manager.stopping("stopping: what runs is finished first", drain + shutdown::BEYOND_DRAIN);
        }
    }

    /// Runs until told to stop; says by whom.
    async fn serve(&mut self) -> &'static str {
        loop {
            match self.next().await {
                Happened::Signal(Interrupt::Stop(name)) => return name,
                Happened::Signal(Interrupt::Reload) => {
                    self.reload(true, By::named(who::SIGNAL, "SIGUSR1"), None);
                }
                Happened::Signal(Interrupt::Renew) => self.renew_or_reload().await,
                Happened::Fleet(event) => self.on_fleet(event).await,
                Happened::Stir(Stir::HungUp(profile)) => self.end_release(&profile).await,
                Happened::Stir(Stir::News(News::Home(event))) => {
                    self.fleet.on_home(event).await;
                    self.refit();
                }
                Happened::Stir(Stir::News(News::Retry)) => {
                    self.fleet.retry_desired().await;
                    self.refit();
                }
                Happened::Reloaded(reload) => self.go_on_reloading(reload),
                Happened::Asked(asked) => {
                    if self.on_asked(asked).await {
                        return "asked to";
                    }
                }
                Happened::AbsenceOver(profile) => self.end_absence(&profile).await,
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
                if profile == *self.fleet.primary()
                    && self.renew_others.is_some_and(|awaited| awaited <= generation)
                {
                    self.renew_others = None;
                    for handle in self.fleet.handles().into_iter().skip(1) {
                        self.fleet.files_changed(&handle).await;
                    }
                }
            }
            FleetEvent::Gone { profile, generation } => self.fleet.gone(&profile, generation),
            FleetEvent::Ended { profile } => {
                self.fleet.ended(&profile).await;
                self.refit();
            }
        }
    }

    /// Decides about one process while others run.
    pub(super) async fn judge(
        &mut self,
        profile: &ProfileName,
        generation: Generation,
        report: Report,
    ) -> Decision {
        if profile != self.fleet.primary() {
            if let Some(said) = claims::apart(&report) {
                self.fleet.leave_alone(profile).await;
                return Decision::Apart(Why::from(said));
            }
            if let Some(why) = self.fleet.take_back(profile).await {
                return Decision::Refuse(why);
            }
        }
        if let Some(why) = self.fleet.objection(profile, &report) {
            return Decision::Refuse(why);
        }
        if profile == self.fleet.primary()
            && let Some(settings) = report.gateway.clone()
            && let Err(why) = self.change_settings(settings, generation).await
        {
            return Decision::Refuse(why);
        }
        self.fleet.take_claims(profile, generation, &report.claims);
        self.fleet.admission_of(profile, &report)
    }
}
