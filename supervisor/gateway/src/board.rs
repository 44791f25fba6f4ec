//! What status surfaces may see at any moment, without asking the app: the gateway's own part and a handle on every worker.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hermes_wire::ProfileName;

use crate::supervise::actor::Handle;
use crate::supervise::{GatewayView, WorkerTable};

/// Written by the app alone.
#[derive(Clone)]
pub(crate) struct Board(Arc<Mutex<Inner>>);

struct Inner {
    gateway: GatewayView,
    /// The primary first, then by name.
    handles: Vec<Handle>,
}

impl Board {
    pub(crate) fn new(gateway: GatewayView) -> Self {
        Self(Arc::new(Mutex::new(Inner { gateway, handles: Vec::new() })))
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

    /// Takes a worker off.
    pub(crate) fn remove(&self, name: &ProfileName) {
        self.lock().handles.retain(|handle| handle.name != *name);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
