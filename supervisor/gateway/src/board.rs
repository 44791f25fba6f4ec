//! What status surfaces may see at any moment, without asking the app: the gateway's own part and a handle on every worker.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hermes_wire::ProfileName;
use hermes_wire::contract::gateway_status::state;

use crate::supervise::actor::Handle;
use crate::supervise::{GatewayView, WorkerTable, WorkerView};

/// Written by the app alone.
#[derive(Clone)]
pub(crate) struct Board(Arc<Mutex<Inner>>);

struct Inner {
    gateway: GatewayView,
    /// The primary first, then by name.
    handles: Vec<Handle>,
    /// Of those, who is on the way out.
    leaving: BTreeSet<ProfileName>,
}

impl Board {
    pub(crate) fn new(gateway: GatewayView) -> Self {
        Self(Arc::new(Mutex::new(Inner { gateway, handles: Vec::new(), leaving: BTreeSet::new() })))
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
    }

    /// Adds a worker in its place; the first one added stays first.
    pub(crate) fn add(&self, handle: Handle) {
        let mut inner = self.lock();
        let at = inner.handles.iter().skip(1).position(|other| other.name > handle.name);
        let at = at.map_or(inner.handles.len(), |at| at + 1);
        inner.handles.insert(at, handle);
    }

    /// Nobody is sent to this worker any more.
    pub(crate) fn leaves(&self, name: &ProfileName) {
        self.lock().leaving.insert(name.clone());
    }

    /// Takes a worker off.
    pub(crate) fn remove(&self, name: &ProfileName) {
        let mut inner = self.lock();
        inner.leaving.remove(name);
        inner.handles.retain(|handle| handle.name != *name);
    }

    /// Who is served, the primary first: who should run here and stays, whether or not it works at this moment.
    pub(crate) fn served(&self) -> Vec<ProfileName> {
        let inner = self.lock();
        let staying = inner.handles.iter().filter(|handle| !inner.leaving.contains(&handle.name));
        staying.filter(|handle| is_to_run(&handle.view())).map(|handle| handle.name.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a worker should run, and is not somebody else's to run.
pub(crate) fn is_to_run(view: &WorkerView) -> bool {
    view.desired_running && !matches!(view.state, state::DETACHED | state::CONFLICT)
}
