//! The whole life of a gateway that holds its lock, and a check, which is the beginning of one.

use std::sync::Arc;
use std::time::Duration;

use camino::Utf8Path;
use hermes_wire::latest::Report;
use hermes_wire::{ProfileName, exit};
use tokio::sync::mpsc;

use super::claims;
use super::fleet::Stir;
use super::gateway::{Gateway, Happened, Parts};
use super::renewal::Renewal;
use super::start::{Abandoned, Examined};
use super::wanted::{News, Wanted};
use super::{AppError, CheckOptions, GatewayOptions, cannot, shutdown};
use crate::descriptors::Files;
use crate::generation::Generation;
use crate::instance;
use crate::proxy::Inherited;
use crate::rendezvous::{self, Kept, Rendezvous};
use crate::root_state::Writer;
use crate::runtime::Runtime;
use crate::server;
use crate::signal::{self, Interrupt, notify_manager};
use crate::supervise::actor::{Decision, FleetEvent};
use crate::supervise::state::{Event, Why};

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
    (inherited, socket): (Inherited, Option<Kept>),
    files: Files,
) -> Result<Ended, AppError> {
    let manager = std::env::var_os("NOTIFY_SOCKET");
    let (mut gateway, inlets) = Gateway::new(Parts {
        wanted: Wanted::new(options.root, options.profile),
        runtime: Arc::clone(&runtime),
        inherited,
        files,
        repeatable: options.repeatable,
    })?;
    let listener = runtime.listen_for_commands();
    let listener = listener.map_err(cannot("listen for commands in", runtime.path()))?;
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
    gateway.common.tracker.spawn(server::serve(
        (listener, replacements),
        gateway.board.clone(),
        inlets.requests,
        tracker,
        gateway.stop.clone(),
    ));
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
        let serving = rendezvous::server::serve(context, listener, gateway.stop.clone());
        gateway.common.tracker.spawn(serving);
    }
    let writer = Writer::new(gateway.board.clone(), gateway.primary());
    gateway.common.tracker.spawn(writer.clone().keep(gateway.stop.clone()));
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
            let renews = gateway.renewals.is_under_way();
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
    let rendezvous = gateway.rendezvous.take();
    match &rendezvous {
        Some(rendezvous) if gateway.renewals.is_under_way() => rendezvous.keep().await,
        Some(rendezvous) => rendezvous.leave().await,
        None => {}
    }
    keeper.end();
    gateway.end().await;
    // Its first line is what can be said in one.
    let failure = result.as_ref().err().map(|error| hermes_host::cause::Chain(error).to_string());
    let failure = failure.map(|text| text.lines().next().unwrap_or_default().to_owned());
    writer.finish(failure, gateway.restart || gateway.renewals.is_under_way()).await;
    runtime.close();
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
    Ok(gateway.renewals.take().map_or(Ended::Stopped(code), Ended::Renewing))
}

/// What a start would meet; nobody is admitted.
pub(super) async fn check(
    options: CheckOptions,
    runtime: Arc<Runtime>,
    files: Files,
) -> Result<Examined, AppError> {
    let (mut gateway, _inlets) = Gateway::new(Parts {
        wanted: Wanted::new(options.root, options.profile),
        runtime,
        inherited: Inherited::default(),
        files,
        repeatable: false,
    })?;
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
    /// Runs until told to stop; says by whom.
    async fn serve(&mut self) -> &'static str {
        loop {
            match self.next().await {
                Happened::Signal(Interrupt::Stop(name)) => return name,
                Happened::Signal(Interrupt::Reload) => self.reload(true, None),
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
                        handle.send(Event::FilesChanged).await;
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
    async fn judge(&mut self, profile: &ProfileName, generation: Generation, report: Report) -> Decision {
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
            && let Some(settings) = report.gateway
            && let Err(why) = self.change_settings(settings, generation).await
        {
            return Decision::Refuse(why);
        }
        self.fleet.take_claims(profile, generation, &report.claims);
        Decision::Admit(Box::new(self.fleet.admission()))
    }
}
