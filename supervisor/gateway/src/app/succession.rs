//! Workers outlive the program that started them: leaving them to the one that this process becomes, and going on with those of the one
//! that it was. See [`super::renewal`].

use std::net::TcpListener;
use std::time::Duration;

use hermes_host::clock;
use hermes_wire::ProfileName;
use hermes_wire::latest::{Problem, Severity};
use tokio::sync::oneshot;

use super::AppError;
use super::gateway::Gateway;
use super::start::Abandoned;
use crate::board::Board;
use crate::handover::Handover;
use crate::metrics::Admin;
use crate::proxy::Families;
use crate::runtime::Runtime;
use crate::supervise::actor::{Command, Passed};
use crate::supervise::state::{Event, Signal};

/// What workers send each other has this time to arrive; what is cut is sent again.
const ROAD: Duration = Duration::from_secs(1);
/// A worker that does not take what it was told within this time is not passed on.
const PASS: Duration = Duration::from_secs(1);
/// Commands have this time to be answered.
pub(super) const ANSWERS: Duration = Duration::from_secs(2);

impl Gateway {
    /// Answers what clients have asked, and takes all workers out of the actors' hands. `None`: somebody wants a stop instead, or
    /// there is no worker whose settings are the gateway's; nothing was done then that a stop does not do as well.
    pub(super) async fn leave(&mut self, drain: Duration) -> Option<Vec<Passed>> {
        self.board.gateway(|view| view.state = "draining");
        self.drain_requests(drain, |gateway, _| !gateway.renewals.is_under_way()).await;
        let primary = self.fleet.handle(self.fleet.primary())?;
        if !self.renewals.is_under_way() || !primary.view().ready {
            return None;
        }
        if let Some(rendezvous) = &self.rendezvous {
            rendezvous.keep_socket();
        }
        self.rest.cancel();
        self.fleet.wanted.close();
        if tokio::time::timeout(ROAD, self.common.road.rest()).await.is_err() {
            tracing::warn!("errands between workers are cut off");
        }
        let mut awaited = Vec::new();
        for handle in self.fleet.handles() {
            let (reply, passed) = oneshot::channel();
            handle.command(Command::HandOver(reply)).await;
            awaited.push((handle, passed));
        }
        let deadline = clock::now() + PASS;
        let mut workers = Vec::new();
        for (handle, mut passed) in awaited {
            let first = tokio::time::timeout_at(deadline.into(), &mut passed).await;
            let result = if let Ok(result) = first {
                result
            } else {
                tracing::error!(profile = %handle.name, "its worker does not take what it is told: it is ended");
                handle.send(Event::Escalate(Signal::Kill)).await;
                tokio::time::timeout(PASS, passed).await.unwrap_or(Ok(None))
            };
            // One without a process has nothing to pass: the next program decides anew whether it is to run.
            if let Ok(Some(mut worker)) = result
                && worker.lives()
            {
                if worker.profile == *self.fleet.primary() {
                    // What is in force may be less than what its files say.
                    let in_force = self.settings.clone();
                    worker.change_report(|report| report.gateway = in_force);
                }
                workers.push(worker);
            }
        }
        Some(workers)
    }
}

/// What the program before has left, ready to go on with.
pub(super) struct Left {
    pub(super) workers: Vec<Passed>,
    served: Vec<ProfileName>,
    pub(super) admin: Option<TcpListener>,
}

impl Left {
    /// Reads it; nothing is taken out of the handover.
    pub(super) fn read(handover: &Handover, runtime: &Runtime) -> std::io::Result<Self> {
        let read = |worker| Passed::read(handover, worker, runtime);
        let workers = handover.document.workers.iter().map(read).collect::<Result<_, _>>()?;
        let admin = handover.document.admin.map(|admin| handover.copy(admin)).transpose()?;
        let served = handover.document.served.iter().filter_map(|name| name.parse().ok()).collect();
        Ok(Self { workers, served, admin: admin.map(TcpListener::from) })
    }
}

impl Gateway {
    /// Serves with the workers that are there. Nothing of them is read, and nobody is let in, where this fails.
    pub(super) fn resume(&mut self, left: Left) -> Result<(), Abandoned> {
        let Left { workers, served, admin } = left;
        let primary = self.primary();
        let nobody = || {
            let reason = "the program before left no worker of it that serves".to_owned();
            AppError::Primary { profile: primary.clone(), reason }
        };
        let own = workers.iter().find(|worker| worker.profile == primary).and_then(Passed::report);
        let (_, report) = own.ok_or_else(nobody)?;
        let settings = self.own(report.gateway.clone().ok_or_else(nobody)?);
        let families = Families::new(report.families.clone());
        self.adopt(&settings);
        let bound = self.edge.bind(&settings, families)?;
        let listeners = bound.listeners();
        self.common.change_terms(|terms| terms.listeners = listeners);
        let (first, others): (Vec<_>, Vec<_>) =
            workers.into_iter().partition(|worker| worker.profile == primary);
        for worker in first.into_iter().chain(others) {
            self.fleet.resume(worker).map_err(super::cannot("go on with", "a worker"))?;
        }
        // Known, and not ready: nobody is told meanwhile that there is no such profile.
        for name in &served {
            self.fleet.expect(name);
        }
        self.edge.guard(self.door(&settings));
        let reader = self.fleet.open_routes();
        let admin =
            settings.admin.as_deref().zip(admin).and_then(|(address, admin)| Admin::of(admin, address));
        self.edge.open(bound, admin, reader, (&settings, self.fleet.handles().len()))?;
        self.settings = Some(settings);
        self.board.gateway(|view| view.state = "running");
        Ok(())
    }

    /// The rest of a start, while clients are served: who else is to be served, and new processes for everybody, unless this is the
    /// program that had started those that run.
    pub(super) async fn settle_in(&mut self, is_another: bool) {
        // Whoever ended while nobody listened.
        self.common.children.collect();
        self.fleet.wanted.look().await;
        for handle in self.fleet.handles() {
            // Its process had died, or was on its way to serve and not passed on; or it has none.
            if handle.view().pid.is_none() {
                self.fleet.set_out(&handle).await;
            }
        }
        self.fleet.converge().await;
        let settings = self.settings.clone();
        let is_guarded = settings.as_ref().is_some_and(|settings| settings.admin_token.is_some());
        if let Some(address) = settings.as_ref().and_then(|settings| settings.admin.as_deref())
            && !self.edge.has_admin()
        {
            match Admin::bind(address, is_guarded).await {
                Ok(admin) => self.edge.serve_admin(admin),
                Err(error) => tracing::error!(%error, "the metrics are not served"),
            }
        }
        if settings.is_some_and(|settings| settings.multiplex)
            && let Some(rendezvous) = &self.rendezvous
            && let Err(error) = rendezvous.claim(vec![self.fleet.primary().to_string()]).await
        {
            tracing::warn!("{error}");
        }
        self.refit();
        if is_another {
            self.reload_at_once();
        }
    }
}

/// Says that the program on disk was not taken up, and why.
pub(super) fn say_returned(board: &Board, why: &str) {
    let program = crate::program::own_path().map(|path| path.display().to_string()).unwrap_or_default();
    let message = format!("The program on disk was not taken up: {why}");
    tracing::error!(%program, "{message}");
    board.gateway(|view| {
        view.returned = Some(Problem {
            severity: Severity::Warning,
            code: "not_taken_up".to_owned(),
            platform: None,
            file: program,
            line: None,
            column: None,
            key: None,
            message,
            fix: Some("install another release, then: hermes gateway restart".to_owned()),
        });
    });
}
