//! What the connections of one proxy thread share. Never borrowed across an await.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Context;

use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::Limits;
use super::pool::{Pools, Upstream};
use super::route::Route;
use super::shared::Shared;
use super::table::{Reader, Table};
use super::wire::request::Lines;

/// Most that is read at once.
const READ: usize = 64 * 1024;

/// Buffers that every connection of a thread uses, between two awaits.
pub(super) struct Scratch {
    /// What was just read.
    pub(super) read: Box<[u8]>,
    /// What is about to be written.
    pub(super) out: Vec<u8>,
    pub(super) lines: Lines,
}

/// What the connections of one thread share. Never borrowed across an await.
pub(super) struct Local {
    pub(super) index: usize,
    pub(super) shared: Arc<Shared>,
    pub(super) limits: Cell<Limits>,
    pub(super) scratch: RefCell<Scratch>,
    pub(super) pools: Rc<Pools>,
    reader: RefCell<Reader>,
    table: RefCell<Arc<Table>>,
    lingering: Cell<u32>,
    /// The owner of every task on this thread.
    pub(super) tasks: TaskTracker,
}

impl Local {
    pub(super) fn new(index: usize, shared: Arc<Shared>, reader: Reader, limits: Limits) -> Rc<Self> {
        let tasks = TaskTracker::new();
        let table = reader.table();
        Rc::new(Self {
            index,
            limits: Cell::new(limits),
            scratch: RefCell::new(Scratch {
                read: vec![0; READ].into_boxed_slice(),
                out: Vec::new(),
                lines: Lines::default(),
            }),
            pools: Pools::new(tasks.clone()),
            reader: RefCell::new(reader),
            table: RefCell::new(table),
            lingering: Cell::new(0),
            tasks,
            shared,
        })
    }

    /// Keeps a connection whose last response was complete, just `now`.
    pub(super) fn keep(&self, route: &Arc<Route>, upstream: Upstream, now: Instant) {
        // A thread's share of the open files that are there for these.
        let most = self.limits.get().connections as usize / self.shared.inboxes.len();
        self.pools.put(route, upstream, now, most);
    }

    /// Uses the table in force. Costs one atomic load while it does not change.
    pub(super) fn with_table<T>(&self, use_it: impl FnOnce(&Table) -> T) -> T {
        let mut reader = self.reader.borrow_mut();
        if reader.tables.has_changed().unwrap_or(false) {
            *self.table.borrow_mut() = Arc::clone(&reader.tables.borrow_and_update());
        }
        use_it(&self.table.borrow())
    }

    /// Counts a connection that is read from only so that it can take its answer.
    pub(super) fn linger(self: &Rc<Self>) -> Lingering {
        self.lingering.set(self.lingering.get() + 1);
        Lingering(Rc::clone(self))
    }

    /// Counts a request in flight on this thread.
    pub(super) fn enter(self: &Rc<Self>) -> InFlight {
        let requests = &self.shared.load[self.index].requests;
        // Nobody else writes it.
        requests.store(requests.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        InFlight(Rc::clone(self))
    }
}

/// A connection that lingers; drop when it ends.
pub(super) struct Lingering(Rc<Local>);

impl Lingering {
    /// How many there are on this thread.
    pub(super) fn count(&self) -> u32 {
        self.0.lingering.get()
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        self.0.lingering.set(self.count() - 1);
    }
}

/// A request in flight; drop when its answer is out.
pub(super) struct InFlight(Rc<Local>);

impl Drop for InFlight {
    fn drop(&mut self) {
        let shared = &self.0.shared;
        let requests = &shared.load[self.0.index].requests;
        let left = requests.load(Ordering::Relaxed) - 1;
        requests.store(left, Ordering::Relaxed);
        if left == 0 && shared.is_draining() {
            shared.idle.notify_waiters();
        }
    }
}

/// A connection counted as this thread's.
pub(super) struct Counted(Rc<Local>);

impl Counted {
    /// It was counted when it was given to this thread.
    pub(super) fn already(local: &Rc<Local>) -> Self {
        Self(Rc::clone(local))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.shared.load[self.0.index].connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Goes on when everybody else who can has had a turn.
pub(super) fn others_first(cx: &mut Context<'_>) {
    // The first poll does nothing but ask for that.
    let _ = std::pin::pin!(tokio::task::yield_now()).poll(cx);
}
