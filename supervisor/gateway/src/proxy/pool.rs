//! Idle connections to workers, per thread and route: last in, first out, bounded, dropped after a while or at the route's word.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hermes_host::local::LocalStream;
use socket2::SockAddr;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;

use super::route::{Epoch, Route};
use crate::runtime;

/// Most idle connections a thread keeps to one worker.
const MAX_IDLE: usize = 64;
/// How long one is kept. An idle connection costs the worker memory.
const KEEP: Duration = Duration::from_secs(10);

/// A connection to a worker.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) stream: LocalStream,
    /// It has served a request before.
    pub(super) used: bool,
    /// The route's epoch when it was made.
    epoch: Epoch,
}

struct Idle {
    upstream: Upstream,
    until: Instant,
}

/// By the address of the route, which a pool's sweeper keeps alive.
pub(super) struct Pools {
    by_route: RefCell<HashMap<usize, VecDeque<Idle>>>,
    /// In all of them.
    idle: Cell<usize>,
    /// The owner of the sweepers.
    tasks: TaskTracker,
}

fn key(route: &Arc<Route>) -> usize {
    Arc::as_ptr(route).addr()
}

impl Pools {
    /// None yet; `tasks` owns what looks after them.
    pub(super) fn new(tasks: TaskTracker) -> Rc<Self> {
        Rc::new(Self { by_route: RefCell::default(), idle: Cell::new(0), tasks })
    }

    /// The connection used last that is still good.
    pub(super) fn take(&self, route: &Arc<Route>) -> Option<Upstream> {
        let mut pools = self.by_route.borrow_mut();
        let pool = pools.get_mut(&key(route))?;
        while let Some(Idle { upstream, .. }) = pool.pop_back() {
            self.idle.set(self.idle.get() - 1);
            if upstream.epoch == route.epoch() && upstream.stream.is_quiet() {
                return Some(upstream);
            }
        }
        None
    }

    /// Keeps a connection whose last response was complete, just `now`. `most` are kept in all pools of the thread.
    pub(super) fn put(
        self: &Rc<Self>,
        route: &Arc<Route>,
        mut upstream: Upstream,
        now: Instant,
        most: usize,
    ) {
        if upstream.epoch != route.epoch() {
            return;
        }
        upstream.used = true;
        let idle = Idle { upstream, until: now + KEEP };
        let count = &self.idle;
        let full = count.get() >= most;
        let mut pools = self.by_route.borrow_mut();
        if let Some(pool) = pools.get_mut(&key(route)) {
            if pool.len() == MAX_IDLE || full {
                if pool.pop_front().is_none() {
                    return;
                }
                count.set(count.get() - 1);
            }
            count.set(count.get() + 1);
            pool.push_back(idle);
            return;
        }
        if full {
            return;
        }
        count.set(count.get() + 1);
        pools.insert(key(route), VecDeque::from([idle]));
        self.tasks.spawn_local(sweep(Rc::clone(self), Arc::clone(route)));
    }
}

/// Lives as long as the pool: until it is found empty.
async fn sweep(all: Rc<Pools>, route: Arc<Route>) {
    let mut epochs = route.watch_epoch();
    // A change between `put` and here is seen by the first round.
    let mut next = Instant::now();
    loop {
        tokio::select! {
            // The route is held here, so the sender lives.
            _ = epochs.changed() => {}
            () = sleep_until(next) => {}
        }
        let mut pools = all.by_route.borrow_mut();
        let Some(pool) = pools.get_mut(&key(&route)) else { return };
        let (epoch, now) = (route.epoch(), Instant::now());
        let before = pool.len();
        pool.retain(|idle| idle.upstream.epoch == epoch && idle.until > now);
        let count = &all.idle;
        count.set(count.get() - (before - pool.len()));
        let Some(oldest) = pool.front() else {
            pools.remove(&key(&route));
            return;
        };
        next = oldest.until;
    }
}

/// Makes a connection to the worker's own socket: to the one that is held, or by its name where the system holds none; in both
/// cases only if it is this process that listens there. With `WouldBlock` the backlog is full.
pub(super) fn connect(route: &Arc<Route>) -> io::Result<Upstream> {
    // Read first: a connection made while the epoch changes counts as old.
    let epoch = route.epoch();
    let stream = match route.door() {
        Some(door) => runtime::dial(door.address()),
        None => runtime::dial(&SockAddr::unix(route.socket())?),
    };
    let stream = UnixStream::from_std(stream?)?;
    runtime::verify(&stream)?;
    Ok(Upstream { stream: LocalStream::from_tokio(stream)?, used: false, epoch })
}
