//! Who is served: actors come and go with the profiles, and the route table follows.

use std::collections::BTreeSet;

use hermes_wire::latest::{Admit, GatewaySettings, Problem, Role};
use hermes_wire::{ProfileName, endpoint};

use super::gateway::Gateway;
use super::served::{served, unseen};
use crate::instance::{self, Liveness};
use crate::predecessor::Predecessor;
use crate::proxy::Table;
use crate::supervise::actor::{self, Handle, Setup};
use crate::supervise::state::{Event, Why};
use crate::watch::HomeWatch;

/// Time a home has to say whether somebody else's gateway runs in it.
const PROBE: std::time::Duration = std::time::Duration::from_secs(1);

impl Gateway {
    pub(super) fn wanted(
        &self,
        watch: &HomeWatch,
        settings: &GatewaySettings,
    ) -> (Vec<ProfileName>, Vec<Problem>) {
        let homes = watch.homes();
        if !settings.multiplex {
            return (vec![self.primary.clone()], unseen(homes, Some(&self.primary)));
        }
        let config = self.root.profile(&self.primary).config();
        served(homes, settings.allowlist.as_deref(), config.as_str())
    }

    /// Shows what there is to say about the gateway as a whole.
    pub(super) fn tell(&self, mut problems: Vec<Problem>) {
        let config = self.root.profile(&self.primary).config().to_string();
        problems.extend(self.pending.iter().map(|pending| pending.problem(&config)));
        problems.extend(self.desired.problem());
        self.board.gateway(|view| view.problems = problems);
    }

    /// Looks again what was stopped on purpose, and keeps to it.
    pub(super) async fn retry_desired(&mut self) {
        if !self.desired.retry() {
            return;
        }
        let stopped: Vec<ProfileName> = self.desired.stopped().cloned().collect();
        tracing::info!(profiles = ?stopped, "what was stopped on purpose can be read again");
        for name in stopped {
            if let Some(handle) = self.board.handle(&name) {
                handle.send(Event::Stop).await;
            }
        }
        self.settle_served().await;
    }

    /// Makes an actor for a profile and starts its worker if it should run. Returns whether it does.
    pub(super) async fn admit_to_fleet(&mut self, name: &ProfileName) -> bool {
        let handle = self.add(name, Role::Secondary);
        if let Some(why) = conflict(&handle).await {
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

    pub(super) fn add(&mut self, name: &ProfileName, role: Role) -> Handle {
        let setup = Setup {
            name: name.clone(),
            home: self.root.profile(name),
            role,
            socket: endpoint::data_socket(name),
            desired_running: role == Role::Primary || !self.desired.is_stopped(name),
        };
        let handle = actor::start(setup, &self.common);
        self.board.add(handle.clone());
        handle
    }

    /// Serves exactly the profiles that should be.
    pub(super) async fn settle_served(&mut self) {
        let Some(settings) = self.settings.clone() else { return };
        let (names, problems) = match &self.watch {
            Some(watch) => self.wanted(watch, &settings),
            None => (vec![self.primary.clone()], Vec::new()),
        };
        self.tell(problems);
        let known: BTreeSet<ProfileName> =
            self.board.handles().into_iter().map(|handle| handle.name).collect();
        let names: BTreeSet<ProfileName> =
            names.into_iter().filter(|name| !self.released.contains_key(name)).collect();
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
        self.refit();
    }

    /// First nobody is sent there any more, then the worker finishes.
    pub(super) async fn dismiss(&mut self, name: &ProfileName) {
        self.returning.remove(name);
        if let Some(handle) = self.board.handle(name)
            && self.leaving.insert(name.clone())
        {
            self.publish().await;
            handle.send(Event::Leave).await;
        }
    }

    /// Publishes the routes, and tells the primary who is served.
    pub(super) async fn publish(&self) {
        if let Some(publisher) = &self.publisher {
            publisher.publish(self.table());
        }
        if let Some(handle) = self.board.handle(&self.primary) {
            handle.command(actor::Command::Tell(Box::new(self.admission()))).await;
        }
    }

    pub(super) fn table(&self) -> Table {
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

    pub(super) fn admission(&self) -> Admit {
        let served = self.board.handles().into_iter().map(|handle| handle.name);
        let served =
            served.filter(|name| !self.leaving.contains(name)).map(|name| name.to_string()).collect();
        Admit {
            listeners: self.common.terms().listeners.clone(),
            multiplex: self.settings_multiplex(),
            served,
        }
    }
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
