//! Who is served: actors come and go with the profiles, and the route table follows.

use std::collections::BTreeSet;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_wire::contract::events::{By, who};
use hermes_wire::contract::gateway_status::state as words;
use hermes_wire::latest::{Admit, Claim, GatewaySettings, Problem, Report, Role};
use hermes_wire::{ProfileHome, ProfileName, endpoint};

use super::AsOne;
use super::answers::replacement_time;
use super::claims::{self, Claims, Findings};
use super::known;
use super::released::Released;
use super::wanted::{News, Wanted};
use crate::board::{self, Board};
use crate::desired::Rest;
use crate::generation::Generation;
use crate::instance::{self, Liveness};
use crate::predecessor::Predecessor;
use crate::proxy::{Publisher, Reader, Table};
use crate::rendezvous::host;
use crate::supervise::actor::{
    self, Admission, Common, Decision, Handle, Known, Passed, Wait, WorkerSpec, rest,
};
use crate::supervise::state::{Event, Why};
use crate::watch::HomeEvent;

/// Time a home has to say whether somebody else's gateway runs in it.
const PROBE: std::time::Duration = std::time::Duration::from_secs(1);

/// All workers, by way of their actors. The board shows what is changed here.
pub(super) struct Fleet {
    pub(super) wanted: Wanted,
    pub(super) released: Released,
    /// Where the host record is.
    host: Option<Utf8PathBuf>,
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
    /// Only a check: what would be if nobody had a gateway of its own.
    as_one: Option<AsOne>,
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
    pub(super) fn new(wanted: Wanted, host: Option<Utf8PathBuf>, common: Arc<Common>, board: Board) -> Self {
        Self {
            wanted,
            host,
            released: Released::new(),
            common,
            board,
            claims: Claims::default(),
            publisher: None,
            apart: BTreeSet::new(),
            leaving: BTreeSet::new(),
            returning: BTreeSet::new(),
            as_one: None,
        }
    }

    /// From now on it is taken for granted that nobody else's gateway is in the way.
    pub(super) fn imagine(&mut self, as_one: Option<AsOne>) {
        self.as_one = as_one;
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
        self.set_out(&handle).await
    }

    /// Knows of a profile that is yet to [set out](Self::set_out).
    pub(super) fn expect(&mut self, name: &ProfileName) {
        if self.handle(name).is_none() {
            self.add(name, Role::Secondary);
        }
    }

    /// Starts the worker of a profile that has none, if it should run. Returns whether it does.
    pub(super) async fn set_out(&mut self, handle: &Handle) -> bool {
        let name = &handle.name;
        if let Some(as_one) = &self.as_one {
            // What was remembered of earlier does not count: who asks knows who is to run.
            let runs = !as_one.parked.contains(name);
            if runs {
                handle.send(Event::Start).await;
            }
            return runs;
        }
        if let Some(why) = self.conflict(handle).await {
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
            None => {}
        }
        self.begin_one(handle).await
    }

    /// Has a worker looked at, or started, unless it is known that it sleeps. Whether it is.
    pub(super) async fn begin_one(&self, handle: &Handle) -> bool {
        let known = self.know(handle).await;
        let sleeps = known.found.is_some();
        handle.command(actor::Command::Know(known)).await;
        if !sleeps {
            handle.send(Event::Begin).await;
        }
        !sleeps
    }

    /// What is known of its files now.
    async fn know(&self, handle: &Handle) -> Known {
        known::of(handle, self.stamp(handle)).await
    }

    fn stamp(&self, handle: &Handle) -> Option<String> {
        let files = self.wanted.files(&handle.name)?;
        Some(known::stamp(files, &self.common.terms().upkeep))
    }

    /// Its files, or what decides what is made of them, are not what they were.
    pub(super) async fn files_changed(&self, handle: &Handle) {
        let stamp = self.stamp(handle).unwrap_or_default();
        handle.command(actor::Command::Know(Known { stamp, found: None })).await;
        handle.send(Event::FilesChanged).await;
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
                match self.conflict(&handle).await {
                    Some(why) => {
                        tracing::warn!(profile = %name, "{}", why.reason);
                        handle.send(Event::Conflict(why)).await;
                    }
                    None => handle.send(Event::Unpark).await,
                }
            }
            _ => return,
        }
        self.publish().await;
    }

    /// Makes an actor for a worker that was there before this program.
    pub(super) fn resume(&mut self, worker: Passed) -> std::io::Result<()> {
        let name = worker.profile.clone();
        let role = if name == *self.primary() { Role::Primary } else { Role::Secondary };
        if let Some((generation, report)) = worker.report() {
            self.claims.take(&name, generation, &report.claims);
        }
        let handle = actor::resume(self.spec(&name, role), worker, &self.common)?;
        self.board.add(handle);
        Ok(())
    }

    fn add(&mut self, name: &ProfileName, role: Role) -> Handle {
        let handle = actor::start(self.spec(name, role), &self.common);
        self.board.add(handle.clone());
        handle
    }

    fn spec(&self, name: &ProfileName, role: Role) -> WorkerSpec {
        WorkerSpec {
            name: name.clone(),
            home: self.wanted.root.profile(name),
            role,
            socket: endpoint::data_socket(name),
            desired_running: role == Role::Primary || self.wanted.rest(name).is_none(),
        }
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
        let why = self.conflict(&handle).await?;
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
                self.dismiss(name, By::who(who::FILES)).await;
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
    pub(super) async fn dismiss(&mut self, name: &ProfileName, by: By) {
        self.returning.remove(name);
        if let Some(handle) = self.handle(name)
            && self.leaving.insert(name.clone())
        {
            self.board.leaves(name);
            self.publish().await;
            handle.send_for(Event::Leave, by).await;
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

    /// The decision about a process that nothing stands against.
    pub(super) fn admission_of(&self, profile: &ProfileName, report: &Report) -> Decision {
        let is_primary = profile == self.primary();
        let stay = rest::stay(report, is_primary);
        // Who else is served only the primary writes down.
        let served = if is_primary { self.admission().served } else { Vec::new() };
        let admit = Admit {
            listeners: self.common.terms().listeners.clone(),
            multiplex: self.wanted.multiplex(),
            served,
        };
        Decision::Admit(Box::new(Admission { admit, stay }))
    }

    /// Whether a process that has reported may rest before everybody has: nothing that others report can stand against it.
    pub(super) fn may_rest_at_once(&self, profile: &ProfileName, report: &Report) -> bool {
        let stay = rest::stay(report, profile == self.primary());
        stay.rest.is_some()
            && report.claims.is_empty()
            && claims::objections(report).next().is_none()
            && claims::apart(report).is_none()
    }

    /// A home has changed.
    pub(super) async fn on_home(&mut self, event: HomeEvent) {
        match event {
            HomeEvent::Changed(name) if self.wanted.concerns(&name) => {
                if let Some(handle) = self.handle(&name) {
                    tracing::info!(profile = %name, "files changed");
                    self.files_changed(&handle).await;
                }
            }
            HomeEvent::Removed(name) if name != *self.primary() && self.wanted.multiplex() => {
                tracing::info!(profile = %name, "profile removed");
                self.dismiss(&name, By::who(who::FILES)).await;
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

    /// [`conflict`], where the host record is this gateway's.
    pub(super) async fn conflict(&self, handle: &Handle) -> Option<Why> {
        conflict(handle, self.host()).await
    }

    /// Where gateways of this user say that they serve many profiles.
    pub(super) fn host(&self) -> Option<Utf8PathBuf> {
        self.host.clone()
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
            handle.send(Event::Begin).await;
        });
    }
}

/// Whether a worker should run, and is not somebody else's to run.
pub(super) fn is_to_run(handle: &Handle) -> bool {
    handle.see(board::is_to_run)
}

/// Whether a gateway of its own runs for a profile, and which. A home that does not answer, or a lock that cannot be looked at, is
/// no conflict: the worker is the next to find out.
pub(super) async fn conflict(handle: &Handle, host: Option<Utf8PathBuf>) -> Option<Why> {
    let home = handle.home.clone();
    let (sender, answer) = tokio::sync::oneshot::channel();
    // Not on this thread: the home's file system may hang.
    let look = move || drop(sender.send(other_gateway(&home, host.as_deref())));
    std::thread::Builder::new().name("probe".to_owned()).stack_size(256 * 1024).spawn(look).ok()?;
    let (who, file) = tokio::time::timeout(PROBE, answer).await.ok()?.ok()??;
    let name = &handle.name;
    Some(Why {
        reason: format!(
            "a gateway of its own already runs for this profile ({who}); `hermes gateway start -p {name} --take-over` ends that one and serves the profile here"
        ),
        file: Some(file.to_string()),
    })
}

/// Who runs for a home, and the file that says so: the Python program's gateway or one of ours by its records and its lock, else
/// whoever has written down that it is the host of that home.
fn other_gateway(home: &ProfileHome, host: Option<&Utf8Path>) -> Option<(String, Utf8PathBuf)> {
    if let Some(predecessor) = Predecessor::find(home.path()) {
        return Some((predecessor.to_string(), home.gateway_pid()));
    }
    match instance::probe(home.path()) {
        Liveness::Running { record: Some(record) } => {
            return Some((format!("PID {}", record.pid), home.gateway_lock()));
        }
        Liveness::Running { record: None } => {
            return Some(("another process".to_owned(), home.gateway_lock()));
        }
        Liveness::Stopped | Liveness::Unknown { .. } => {}
    }
    let said = host::obstacle(host?, home.path(), Some(std::process::id()))?;
    Some((format!("PID {}", said.pid), said.record))
}
