//! Who is served: actors come and go with the profiles, and the route table follows.

use std::collections::BTreeSet;
use std::sync::Arc;

use hermes_wire::contract::gateway_status::state as words;
use hermes_wire::latest::{Admit, Claim, GatewaySettings, Problem, Report, Role};
use hermes_wire::{ProfileName, endpoint};

use super::answers::replacement_time;
use super::claims::{self, Claims, Findings};
use super::released::Released;
use super::wanted::{News, Wanted};
use crate::board::{self, Board};
use crate::desired::Rest;
use crate::generation::Generation;
use crate::instance::{self, Liveness};
use crate::predecessor::Predecessor;
use crate::proxy::{Publisher, Reader, Table};
use crate::supervise::actor::{self, Common, Handle, Wait, WorkerSpec};
use crate::supervise::state::{Event, Why};
use crate::watch::HomeEvent;

/// Time a home has to say whether somebody else's gateway runs in it.
const PROBE: std::time::Duration = std::time::Duration::from_secs(1);

/// All workers, by way of their actors. The board shows what is changed here.
pub(super) struct Fleet {
    pub(super) wanted: Wanted,
    pub(super) released: Released,
    common: Arc<Common>,
    board: Board,
    claims: Claims,
    /// Routes are published there, once there is anybody to be routed to.
    publisher: Option<Publisher>,
    /// Who wants no part in this gateway.
    apart: BTreeSet<ProfileName>,
    /// Removed, and not gone yet.
    leaving: BTreeSet<ProfileName>,
    /// Came back while they were leaving.
    returning: BTreeSet<ProfileName>,
}

/// What can happen to it that no worker says.
pub(super) enum Stir {
    /// A command that held a profile released is gone.
    HungUp(ProfileName),
    /// Homes, or what is remembered of them.
    News(News),
}

impl Fleet {
    /// Nobody yet.
    pub(super) fn new(wanted: Wanted, common: Arc<Common>, board: Board) -> Self {
        Self {
            wanted,
            released: Released::new(),
            common,
            board,
            claims: Claims::default(),
            publisher: None,
            apart: BTreeSet::new(),
            leaving: BTreeSet::new(),
            returning: BTreeSet::new(),
        }
    }

    /// The profile whose settings are the gateway's.
    pub(super) fn primary(&self) -> &ProfileName {
        &self.wanted.primary
    }

    /// All workers, the primary first.
    pub(super) fn handles(&self) -> Vec<Handle> {
        self.board.handles()
    }

    /// The worker of a profile.
    pub(super) fn handle(&self, name: &ProfileName) -> Option<Handle> {
        self.board.handle(name)
    }

    /// The worker of a profile, unless it is on its way out.
    pub(super) fn staying(&self, name: &ProfileName) -> Option<Handle> {
        self.handle(name).filter(|_| !self.leaving.contains(name))
    }

    /// Who is served and stays, but for the primary.
    pub(super) fn beside_primary(&self) -> Vec<ProfileName> {
        let names = self.handles().into_iter().map(|handle| handle.name);
        names.filter(|name| name != self.primary() && !self.leaving.contains(name)).collect()
    }

    /// One of the profiles that a command holds.
    pub(super) fn released(&self) -> Option<&ProfileName> {
        self.released.first()
    }

    /// What happens next. Safe to cancel.
    pub(super) async fn next(&mut self) -> Stir {
        tokio::select! {
            biased;
            profile = self.released.next() => Stir::HungUp(profile),
            news = self.wanted.next() => Stir::News(news),
        }
    }

    /// These settings decide from now on who is served.
    pub(super) fn follow(&mut self, settings: &GatewaySettings) {
        self.wanted.follow(settings);
        self.board.gateway(|view| view.multiplex = settings.multiplex);
    }

    /// Shows what there is to say about the gateway as a whole.
    pub(super) fn remark(&self, problems: Vec<Problem>) {
        let problems = self.wanted.remarks(problems);
        self.board.gateway(|view| view.problems = problems);
    }

    /// Begins to publish routes; the end at which they are read.
    pub(super) fn open_routes(&mut self) -> Reader {
        let (publisher, reader) = Publisher::new(self.table());
        self.publisher = Some(publisher);
        reader
    }

    /// Makes the primary's actor and starts its worker.
    pub(super) async fn begin(&mut self) -> Handle {
        let handle = self.add(&self.primary().clone(), Role::Primary);
        handle.send(Event::Start).await;
        handle
    }

    /// Makes an actor for a profile and starts its worker if it should run. Returns whether it does.
    pub(super) async fn admit(&mut self, name: &ProfileName) -> bool {
        let handle = self.add(name, Role::Secondary);
        if let Some(why) = conflict(&handle).await {
            tracing::warn!(profile = %name, "{}", why.reason);
            handle.send(Event::Conflict(why)).await;
            return false;
        }
        match self.wanted.rest(name) {
            Some(Rest::Parked) => {
                tracing::info!(profile = %name, file = %handle.home.parked(), "stays parked, as its home says");
                handle.send(Event::Park).await;
                return false;
            }
            Some(Rest::Stopped) => {
                tracing::info!(profile = %name, "stays stopped, as asked for earlier");
                return false;
            }
            None => handle.send(Event::Start).await,
        }
        true
    }

    /// Keeps to what its home says, as it may be another thing than before. Where the marker was `taken_away`, somebody wants it
    /// to run; where it could not be seen before and is not there, it runs unless it was stopped otherwise.
    async fn heed_marker(&self, name: &ProfileName, taken_away: bool) {
        let Some(handle) = self.staying(name).filter(|_| name != self.primary()) else { return };
        let view = handle.view();
        if matches!(view.state, words::DETACHED | words::CONFLICT) {
            // It is another gateway's, which no marker is for.
            return;
        }
        match self.wanted.rest(name) {
            Some(Rest::Parked) if view.state != words::PARKED => {
                tracing::info!(profile = %name, file = %handle.home.parked(), "parked");
                handle.send(Event::Park).await;
            }
            None if view.state == words::PARKED || (taken_away && !view.desired_running) => {
                match conflict(&handle).await {
                    Some(why) => {
                        tracing::warn!(profile = %name, "{}", why.reason);
                        handle.send(Event::Conflict(why)).await;
                    }
                    None => handle.send(Event::Start).await,
                }
            }
            _ => return,
        }
        self.publish().await;
    }

    fn add(&mut self, name: &ProfileName, role: Role) -> Handle {
        let spec = WorkerSpec {
            name: name.clone(),
            home: self.wanted.root.profile(name),
            role,
            socket: endpoint::data_socket(name),
            desired_running: role == Role::Primary || self.wanted.rest(name).is_none(),
        };
        let handle = actor::start(spec, &self.common);
        self.board.add(handle.clone());
        handle
    }

    /// Compares the reports of a start; claims are taken for those that may serve.
    pub(super) fn compare(&mut self, reports: &[(ProfileName, Generation, &Report)]) -> Findings {
        claims::compare(reports, &mut self.claims)
    }

    /// What stands against admitting a process while others run.
    pub(super) fn objection(&self, profile: &ProfileName, report: &Report) -> Option<Why> {
        let mut found: Vec<Problem> = claims::objections(report).cloned().collect();
        found.extend(self.claims.conflicts(profile, &report.claims));
        found.iter().max_by_key(|problem| problem.severity).map(Why::from)
    }

    /// From now on a process of `profile` holds these.
    pub(super) fn take_claims(&mut self, profile: &ProfileName, generation: Generation, claims: &[Claim]) {
        self.claims.take(profile, generation, claims);
    }

    /// A process is gone.
    pub(super) fn gone(&mut self, profile: &ProfileName, generation: Generation) {
        self.claims.release(profile, generation);
    }

    /// Its files want no part in this gateway.
    pub(super) async fn leave_alone(&mut self, profile: &ProfileName) {
        if self.apart.insert(profile.clone()) {
            self.publish().await;
        }
    }

    /// Its files do not say any more that it wants no part; a gateway of its own that still runs, if one does.
    pub(super) async fn take_back(&mut self, profile: &ProfileName) -> Option<Why> {
        if !self.apart.remove(profile) {
            return None;
        }
        self.publish().await;
        let handle = self.handle(profile)?;
        let why = conflict(&handle).await?;
        tracing::warn!(%profile, "{}", why.reason);
        handle.send(Event::Conflict(why.clone())).await;
        Some(why)
    }

    /// An actor has ended.
    pub(super) async fn ended(&mut self, profile: &ProfileName) {
        self.leaving.remove(profile);
        self.apart.remove(profile);
        self.board.remove(profile);
        self.released.tell(profile).await;
        if self.returning.remove(profile) {
            self.admit(profile).await;
            self.publish().await;
        }
    }

    /// An actor has ended, and nobody takes its place: the gateway stops.
    pub(super) fn ended_for_good(&self, profile: &ProfileName) {
        self.board.remove(profile);
    }

    /// Serves exactly the profiles that should be.
    pub(super) async fn converge(&mut self) {
        let (names, problems) = self.wanted.names();
        self.remark(problems);
        let known: BTreeSet<ProfileName> = self.handles().into_iter().map(|handle| handle.name).collect();
        let names: BTreeSet<ProfileName> =
            names.into_iter().filter(|name| !self.released.contains(name)).collect();
        for name in known.difference(&names) {
            if name != self.primary() {
                self.dismiss(name).await;
            }
        }
        for name in names.difference(&known) {
            self.admit(name).await;
        }
        for name in names.intersection(&known).filter(|name| self.leaving.contains(*name)) {
            self.returning.insert(name.clone());
        }
        self.publish().await;
    }

    /// First nobody is sent there any more, then the worker finishes.
    pub(super) async fn dismiss(&mut self, name: &ProfileName) {
        self.returning.remove(name);
        if let Some(handle) = self.handle(name)
            && self.leaving.insert(name.clone())
        {
            self.board.leaves(name);
            self.publish().await;
            handle.send(Event::Leave).await;
        }
    }

    /// Publishes the routes, and tells the primary who is served.
    async fn publish(&self) {
        if let Some(publisher) = &self.publisher {
            publisher.publish(self.table());
        }
        if let Some(handle) = self.handle(self.primary()) {
            handle.command(actor::Command::Tell(Box::new(self.admission()))).await;
        }
    }

    fn table(&self) -> Table {
        let mut handles = self.handles().into_iter();
        let primary =
            handles.next().expect("the primary is added first and never removed while the gateway runs");
        let mut table = Table::new(self.wanted.multiplex(), primary.route);
        for handle in handles.filter(|handle| !self.leaving.contains(&handle.name)) {
            table.insert(handle.route);
        }
        table
    }

    /// Who is served, whether or not it is able to at this moment.
    pub(super) fn served(&self) -> impl Iterator<Item = ProfileName> {
        let names = self.handles().into_iter().map(|handle| handle.name);
        names.filter(|name| {
            let rests = *name != self.wanted.primary && self.wanted.rest(name).is_some();
            !rests && !self.leaving.contains(name) && !self.apart.contains(name)
        })
    }

    /// What an admitted worker is told.
    pub(super) fn admission(&self) -> Admit {
        let served = self.served().map(|name| name.to_string()).collect();
        Admit { listeners: self.common.terms().listeners.clone(), multiplex: self.wanted.multiplex(), served }
    }

    /// A home has changed.
    pub(super) async fn on_home(&mut self, event: HomeEvent) {
        match event {
            HomeEvent::Changed(name) if self.wanted.concerns(&name) => {
                if let Some(handle) = self.handle(&name) {
                    tracing::info!(profile = %name, "files changed");
                    handle.send(Event::FilesChanged).await;
                }
            }
            HomeEvent::Removed(name) if name != *self.primary() && self.wanted.multiplex() => {
                tracing::info!(profile = %name, "profile removed");
                self.dismiss(&name).await;
                self.forget(&name);
            }
            HomeEvent::Added(name) if self.wanted.multiplex() => {
                tracing::info!(profile = %name, "profile added");
                self.converge().await;
            }
            HomeEvent::Replaced(name) if self.wanted.concerns(&name) => {
                self.replace_database(&name).await;
            }
            HomeEvent::Stirred(name) if self.wanted.concerns(&name) => {
                // One that is tried again anyway is not hurried, or a worker that writes its database and dies would spin.
                if let Some(handle) = self.handle(&name)
                    && handle.view().state == words::FAILED
                {
                    tracing::info!(profile = %name, "what it failed on may be mended");
                    handle.send(Event::FilesChanged).await;
                }
                self.heed_marker(&name, false).await;
            }
            HomeEvent::Parked(name) | HomeEvent::Unparked(name) if name.is_default() => {
                self.converge().await;
            }
            HomeEvent::Parked(name) if self.wanted.concerns(&name) => self.heed_marker(&name, false).await,
            HomeEvent::Unparked(name) if self.wanted.concerns(&name) => {
                // Whoever took it away wants it served, whatever was remembered.
                self.forget(&name);
                self.heed_marker(&name, true).await;
            }
            HomeEvent::Remarks => self.converge().await,
            _ => {}
        }
    }

    /// Looks at the homes now, and serves what should be. Whose files had changed.
    pub(super) async fn look_now(&mut self) -> BTreeSet<ProfileName> {
        let mut changed = BTreeSet::new();
        self.wanted.look_now().await;
        while let Some(event) = self.wanted.seen() {
            if let HomeEvent::Changed(name) = &event
                && self.wanted.concerns(name)
            {
                changed.insert(name.clone());
            }
            self.on_home(event).await;
        }
        self.converge().await;
        changed
    }

    /// Looks again what was stopped on purpose, and keeps to it.
    pub(super) async fn retry_desired(&mut self) {
        let Some(stopped) = self.wanted.retry() else { return };
        tracing::info!(profiles = ?stopped, "what was stopped on purpose can be read again");
        for name in stopped {
            if let Some(handle) = self.handle(&name) {
                handle.send(Event::Stop).await;
            }
        }
        self.converge().await;
    }

    /// A profile that is gone is not stopped on purpose any more; one that is only being moved is.
    pub(super) fn forget(&mut self, profile: &ProfileName) {
        if self.released.contains(profile) {
            return;
        }
        if let Err(error) = self.wanted.set_stopped(profile, false) {
            let error = hermes_host::cause::Chain(&error);
            tracing::warn!(profile = %profile, %error, "that it was stopped is still remembered");
        }
    }

    /// Another database: the worker that has the old one open ends before the next one starts. The two would write one write-ahead
    /// log, whose name is all that they share, and with it each other's pages.
    async fn replace_database(&self, name: &ProfileName) {
        let Some(handle) = self.handle(name).filter(is_to_run) else { return };
        if handle.view().pid.is_none() {
            return handle.send(Event::FilesChanged).await;
        }
        tracing::warn!(profile = %name, "its database is another file now: the worker is replaced");
        let time = replacement_time(&self.common.terms().limits);
        self.common.tracker.spawn(async move {
            // One that does not end in time is ended by its own deadlines, and the next one starts then.
            let _ = tokio::time::timeout(time, handle.send_and_wait(Event::Stop, Wait::Gone)).await;
            handle.send(Event::Start).await;
        });
    }
}

/// Whether a worker should run, and is not somebody else's to run.
pub(super) fn is_to_run(handle: &Handle) -> bool {
    board::is_to_run(&handle.view())
}

/// Whether a gateway of its own runs for a profile, and which. A home that does not answer, or a lock that cannot be looked at, is
/// no conflict: the worker is the next to find out.
pub(super) async fn conflict(handle: &Handle) -> Option<Why> {
    let home = handle.home.path().to_owned();
    let (sender, answer) = tokio::sync::oneshot::channel();
    // Not on this thread: the home's file system may hang.
    let look = move || drop(sender.send((Predecessor::find(&home), instance::probe(&home))));
    std::thread::Builder::new().name("probe".to_owned()).stack_size(256 * 1024).spawn(look).ok()?;
    let who = match tokio::time::timeout(PROBE, answer).await.ok()?.ok()? {
        (Some(predecessor), _) => predecessor.to_string(),
        (None, Liveness::Running { record: Some(record) }) => format!("PID {}", record.pid),
        (None, Liveness::Running { record: None }) => "another process".to_owned(),
        (None, _) => return None,
    };
    Some(Why {
        reason: format!(
            "a gateway of its own already runs for this profile ({who}); stop it, then `hermes gateway start -p {}`",
            handle.name
        ),
        file: Some(handle.home.gateway_lock().to_string()),
    })
}
