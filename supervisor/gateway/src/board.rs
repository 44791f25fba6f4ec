//! What status surfaces may see at any moment, without asking the app: the gateway's own part and a handle on every worker.
//!
//! Whoever keeps something true that follows from it looks when there is [`News`], and not at every tick: a look at a thousand profiles that
//! sleep costs as much as one at a thousand that work.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hermes_wire::ProfileName;
use hermes_wire::contract::gateway_status::state;

use crate::journal::Journal;
use crate::news::News;
use crate::supervise::actor::Handle;
use crate::supervise::{GatewayView, WorkerTable, WorkerView};

/// Written by the app alone.
#[derive(Clone)]
pub(crate) struct Board(Arc<Mutex<Inner>>, Journal, News);

struct Inner {
    gateway: GatewayView,
    /// The primary first, then by name.
    handles: Vec<Handle>,
    /// Of those, who is on the way out.
    leaving: BTreeSet<ProfileName>,
}

impl Board {
    pub(crate) fn new(gateway: GatewayView, journal: Journal, news: News) -> Self {
        let inner = Inner { gateway, handles: Vec::new(), leaving: BTreeSet::new() };
        Self(Arc::new(Mutex::new(inner)), journal, news)
    }

    /// Hears when a look is worth while; the first one always is.
    pub(crate) fn news(&self) -> tokio::sync::watch::Receiver<()> {
        let mut news = self.2.hear();
        news.mark_changed();
        news
    }

    /// What has happened.
    pub(crate) fn journal(&self) -> Journal {
        self.1.clone()
    }

    /// Everything, at this instant.
    pub(crate) fn snapshot(&self) -> WorkerTable {
        let inner = self.lock();
        WorkerTable {
            gateway: inner.gateway.clone(),
            workers: inner.handles.iter().map(Handle::view).collect(),
        }
    }

    /// The worker of a profile.
    pub(crate) fn handle(&self, name: &ProfileName) -> Option<Handle> {
        self.lock().handles.iter().find(|handle| handle.name == *name).cloned()
    }

    /// All workers, the primary first.
    pub(crate) fn handles(&self) -> Vec<Handle> {
        self.lock().handles.clone()
    }

    /// The home whose lock is held.
    pub(crate) fn home(&self) -> camino::Utf8PathBuf {
        self.lock().gateway.home.clone()
    }

    /// Changes the gateway's part.
    pub(crate) fn gateway(&self, change: impl FnOnce(&mut GatewayView)) {
        change(&mut self.lock().gateway);
        self.2.tell();
    }

    /// Adds a worker in its place; the first one added stays first.
    pub(crate) fn add(&self, handle: Handle) {
        let mut inner = self.lock();
        let at = inner.handles.iter().skip(1).position(|other| other.name > handle.name);
        let at = at.map_or(inner.handles.len(), |at| at + 1);
        inner.handles.insert(at, handle);
        self.2.tell();
    }

    /// Nobody is sent to this worker any more.
    pub(crate) fn leaves(&self, name: &ProfileName) {
        self.lock().leaving.insert(name.clone());
        self.2.tell();
    }

    /// Takes a worker off.
    pub(crate) fn remove(&self, name: &ProfileName) {
        let mut inner = self.lock();
        inner.leaving.remove(name);
        inner.handles.retain(|handle| handle.name != *name);
        self.2.tell();
    }

    /// Who is served, the primary first: who should run here and stays, whether or not it works at this moment.
    pub(crate) fn served(&self) -> Vec<ProfileName> {
        let inner = self.lock();
        let staying = inner.handles.iter().filter(|handle| !inner.leaving.contains(&handle.name));
        staying.filter(|handle| handle.see(is_to_run)).map(|handle| handle.name.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a worker should run, and is not somebody else's to run.
pub(crate) fn is_to_run(view: &WorkerView) -> bool {
    view.desired_running && !matches!(view.state, state::DETACHED | state::CONFLICT)
}
