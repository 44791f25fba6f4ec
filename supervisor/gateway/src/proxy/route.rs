//! The way to one profile's worker: whether it can be reached, how, and what was counted on the way.
//!
//! Actors own the availability of their [`Route`]; proxy threads only read. A [`Route`] outlives its place in the table for as long
//! as a request or an actor holds it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_wire::ProfileName;
use hermes_wire::contract::gateway_status::state;
use hermes_wire::http::{FORWARDED_PREFIX, PROFILE};
use tokio::sync::{Notify, watch};

use super::counters::{Counters, Totals};
use super::places::Places;
use super::recent::{Lately, Recent};
use super::rescue::ProxyError;
use crate::runtime::Door;

/// Whether requests for a profile are passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// Requests go to the data socket. Before the worker is ready they wait there, at most for the hold time.
    Open {
        /// Whether the worker serves now.
        ready: bool,
    },
    /// Nobody serves, and somebody will as soon as there is a request. They wait as above.
    Asleep,
    /// Requests are answered with 503 at once.
    Unavailable {
        /// One of `hermes_wire::contract::gateway_status::state`, for the body.
        state: &'static str,
        /// For `Retry-After`.
        retry_after_secs: u32,
    },
}

/// Tells connections that may be kept from those made before [`Route::drop_idle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Epoch(u64);

const CLOSED: u8 = 0;
const WAITING: u8 = 1;
const READY: u8 = 2;
const ASLEEP: u8 = 3;

/// The way to one profile's worker.
#[derive(Debug)]
pub struct Route {
    name: ProfileName,
    socket: Utf8PathBuf,
    /// The socket itself, where it is held.
    door: RwLock<Option<Arc<Door>>>,
    /// Header lines every forwarded request carries; with and without the prefix that was removed.
    pub(super) plain_lines: Box<[u8]>,
    pub(super) prefixed_lines: Box<[u8]>,
    desired: AtomicU8,
    whole: AtomicU8,
    /// The availability without its details, for the path every request takes.
    gate: AtomicU8,
    availability: watch::Sender<Availability>,
    finishing: AtomicBool,
    /// Somebody wants its worker awake.
    calls: Notify,
    epoch: watch::Sender<Epoch>,
    epoch_now: AtomicU64,
    active: Active,
    counters: Counters,
    recent: Recent,
}

/// Requests in flight. Every thread writes it, so it shares its cache line with nothing that others only read.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Active(AtomicU32);

impl Route {
    /// A route to the worker behind `socket`, closed (`stopped`) until the first [`Self::set`].
    pub fn new(name: ProfileName, socket: Utf8PathBuf) -> Arc<Self> {
        let plain = format!("{PROFILE}: {name}\r\n");
        let prefixed = format!("{plain}{FORWARDED_PREFIX}: /p/{name}\r\n");
        let closed = Availability::Unavailable { state: state::STOPPED, retry_after_secs: 5 };
        Arc::new(Self {
            name,
            socket,
            door: RwLock::default(),
            plain_lines: plain.into_bytes().into_boxed_slice(),
            prefixed_lines: prefixed.into_bytes().into_boxed_slice(),
            desired: AtomicU8::new(1),
            whole: AtomicU8::new(1),
            gate: AtomicU8::new(CLOSED),
            availability: watch::Sender::new(closed),
            finishing: AtomicBool::new(false),
            calls: Notify::new(),
            epoch: watch::Sender::new(Epoch(0)),
            epoch_now: AtomicU64::new(0),
            active: Active::default(),
            counters: Counters::default(),
            recent: Recent::default(),
        })
    }

    /// The profile.
    pub fn name(&self) -> &ProfileName {
        &self.name
    }

    /// The worker's data socket by name, for as long as nothing better is known.
    pub(super) fn socket(&self) -> &Utf8Path {
        &self.socket
    }

    /// From now on connections go to this very socket, whatever its name leads to.
    pub(crate) fn hold(&self, door: Option<Arc<Door>>) {
        *self.door.write().unwrap_or_else(PoisonError::into_inner) = door;
    }

    pub(super) fn door(&self) -> Option<Arc<Door>> {
        self.door.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says whether requests are passed on. Requests that wait for this worker notice at once.
    pub fn set(&self, availability: Availability) {
        self.availability.send_if_modified(|now| {
            // Under the channel's lock, so that the gate never disagrees with the last value for long.
            self.gate.store(gate_of(availability), Ordering::Release);
            std::mem::replace(now, availability) != availability
        });
    }

    /// What the last [`Self::set`] said.
    pub fn availability(&self) -> Availability {
        *self.availability.borrow()
    }

    /// Wakes its worker, should that be asleep. A request does so by itself.
    pub(crate) fn call(&self) {
        self.calls.notify_one();
    }

    /// Waits for a call; one that came since the last counts. Safe to cancel.
    pub(crate) async fn called(&self) {
        self.calls.notified().await;
    }

    /// Says whether a process exists that may still answer what it was sent, whatever becomes of new requests. Set it before
    /// [`Self::set`]. False until said otherwise.
    pub fn set_finishing(&self, finishing: bool) {
        self.finishing.store(finishing, Ordering::Release);
    }

    /// Whether `/ready` waits for this profile. True until said otherwise.
    pub fn set_desired(&self, desired: bool) {
        self.desired.store(u8::from(desired), Ordering::Relaxed);
    }

    /// See [`Self::set_desired`].
    pub fn desired(&self) -> bool {
        self.desired.load(Ordering::Relaxed) != 0
    }

    /// Whether the profile is able to do what its files ask for, as far as files decide it. True until said otherwise.
    pub fn set_whole(&self, whole: bool) {
        self.whole.store(u8::from(whole), Ordering::Relaxed);
    }

    /// Whether nothing that the profile's files ask for is missing, and it takes requests.
    pub(super) fn is_able(&self) -> bool {
        let answers = matches!(self.gate.load(Ordering::Acquire), READY | ASLEEP);
        answers && self.whole.load(Ordering::Relaxed) != 0
    }

    /// Drops every idle connection to the worker, on all threads, promptly; those in use now are closed instead of kept when
    /// their response ends.
    pub fn drop_idle(&self) {
        self.epoch.send_modify(|epoch| {
            epoch.0 += 1;
            self.epoch_now.store(epoch.0, Ordering::Release);
        });
    }

    /// Requests passed on, or refused for this profile, since the supervisor started.
    pub fn requests(&self) -> u64 {
        self.counters.requests()
    }

    /// Requests in flight.
    pub fn active(&self) -> u64 {
        u64::from(self.active.0.load(Ordering::Relaxed))
    }

    /// Everything that was counted.
    pub fn totals(&self) -> Totals {
        self.counters.totals()
    }

    /// How busy it was lately; looking is what makes the next look know.
    pub(crate) fn lately(&self, now: Instant) -> Lately {
        self.recent.look(&self.totals(), now)
    }

    /// Tells routes apart that live at the same time.
    pub(super) fn id(self: &Arc<Self>) -> usize {
        Arc::as_ptr(self).addr()
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(super) fn is_ready(&self) -> bool {
        self.gate.load(Ordering::Acquire) == READY
    }

    pub(super) fn is_finishing(&self) -> bool {
        self.finishing.load(Ordering::Acquire)
    }

    /// Why a request is refused now, where it is.
    pub(super) fn refusal(&self) -> Option<ProxyError> {
        if self.gate.load(Ordering::Acquire) != CLOSED {
            return None;
        }
        match self.availability() {
            Availability::Unavailable { state, retry_after_secs } => {
                Some(ProxyError::Unavailable { profile: self.name.clone(), state, retry_after_secs })
            }
            Availability::Open { .. } | Availability::Asleep => None,
        }
    }

    /// The refusal of a request that has waited for a worker long enough.
    pub(super) fn not_ready(&self) -> ProxyError {
        ProxyError::Unavailable { profile: self.name.clone(), state: state::STARTING, retry_after_secs: 1 }
    }

    /// The refusal of a request that was sent, and that nobody is left to answer. A worker that was told to end answers what it
    /// has; only what still waits on the data socket when the last process has gone was never taken.
    pub(super) fn abandoned(&self) -> Option<ProxyError> {
        if self.is_finishing() { None } else { self.refusal() }
    }

    pub(super) fn watch_availability(&self) -> watch::Receiver<Availability> {
        self.availability.subscribe()
    }

    pub(super) fn epoch(&self) -> Epoch {
        Epoch(self.epoch_now.load(Ordering::Acquire))
    }

    pub(super) fn watch_epoch(&self) -> watch::Receiver<Epoch> {
        self.epoch.subscribe()
    }

    /// Takes one of `limit` places for a request, or one that another gives up. `Err`: all are taken by complete requests.
    pub(super) fn enter(self: Arc<Self>, limit: u32, places: &Places) -> Result<Admitted, Arc<Self>> {
        if self.active.0.fetch_add(1, Ordering::Relaxed) >= limit && !places.make_room_at(self.id()) {
            self.active.0.fetch_sub(1, Ordering::Relaxed);
            return Err(self);
        }
        Ok(Admitted { route: self })
    }
}

fn gate_of(availability: Availability) -> u8 {
    match availability {
        Availability::Unavailable { .. } => CLOSED,
        Availability::Open { ready: false } => WAITING,
        Availability::Open { ready: true } => READY,
        Availability::Asleep => ASLEEP,
    }
}

/// A request's place; dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) route: Arc<Route>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.route.active.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_given_back() {
        let route = Route::new("coder".parse().unwrap(), "/nowhere".into());
        let nobody = Places::default();
        let enter = || Arc::clone(&route).enter(1, &nobody);
        let first = enter().unwrap();
        assert!(enter().is_err());
        assert_eq!(route.active(), 1);
        drop(first);
        assert!(enter().is_ok());
        assert_eq!(route.active(), 0);
    }
}
