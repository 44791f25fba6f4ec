//! Who may be connected: places for clients, taken at accept, given back when the connection ends.
//!
//! There are so many places in all. Half of them are divided among the listeners and wait for their clients, so that a flood on
//! one port cannot keep clients from another; the other half is for whoever comes. One address holds a share at most.
//!
//! Where no place is left, somebody makes room who has no complete request: first who is only kept from being cut off rudely,
//! then who has waited longest, between two requests or for the rest of a head, then bodies that have not arrived, the ones that
//! came slowest first. So a client that asks again and again keeps its connection while silent ones pour in. A complete request
//! is never taken away. The same is done for the places of one profile, where requests whose body does not come hold them.
//!
//! A connection only stores where it stands, in a word that nobody else writes. The lock is taken when a connection begins or
//! ends, and to look for somebody who makes room.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use tokio::time::Instant;

/// One in so many connections may have been asked to make room and not have ended yet, and a few at any rate; more are not
/// asked to.
const LEAVING: usize = 16;
const LEAVING_AT_LEAST: usize = 16;
/// One in so many candidates makes room at a time, so that a flood does not cost a search for every connection.
const BATCH: usize = 32;

/// Where a connection stands, in the order in which it makes room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Has its answer, and is read from so that it can take it.
    Closing = 0,
    /// No request has come, or none since the last answer, or only the start of one.
    Waiting = 1,
    /// Its request's body has not come.
    Body = 2,
    /// Being served.
    Served = 3,
}

/// The word is the standing above 56 bits of milliseconds, so that the smallest goes first.
const SHIFT: u32 = 56;
const SERVED: u64 = (Standing::Served as u64) << SHIFT;

#[derive(Debug)]
struct Slot {
    listener: usize,
    source: IpAddr,
    standing: AtomicU64,
    /// Whose places a body that has not come takes.
    route: AtomicUsize,
    leaving: AtomicBool,
    waker: AtomicWaker,
}

/// What the places are shared out by.
#[derive(Debug, Clone, Default)]
struct Rules {
    total: usize,
    /// 0: no limit.
    per_address: usize,
    /// Those that are open.
    listeners: Vec<usize>,
}

impl Rules {
    /// Places that wait for each listener's clients.
    fn reserve(&self) -> usize {
        self.total / 2 / self.listeners.len().max(1)
    }

    /// What a listener takes of the places that are for whoever comes.
    fn shared(&self, listener: usize, open: usize) -> usize {
        let own = if self.listeners.contains(&listener) { self.reserve() } else { 0 };
        open.saturating_sub(own)
    }

    /// Whether a listener may have one more.
    fn has_room(&self, open: &HashMap<usize, usize>, listener: usize) -> bool {
        let own = open.get(&listener).copied().unwrap_or_default();
        if self.listeners.contains(&listener) && own < self.reserve() {
            return true;
        }
        let shared: usize = open.iter().map(|(&listener, &open)| self.shared(listener, open)).sum();
        shared < self.total - self.reserve() * self.listeners.len()
    }
}

#[derive(Debug, Default)]
struct Inner {
    rules: Rules,
    slots: Vec<Option<Arc<Slot>>>,
    free: Vec<usize>,
    /// Without those that were asked to leave.
    listeners: HashMap<usize, usize>,
    addresses: HashMap<IpAddr, usize>,
    leaving: usize,
}

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    inner: Mutex<Inner>,
    since: Instant,
}

impl Default for Places {
    fn default() -> Self {
        Self { inner: Mutex::default(), since: Instant::now() }
    }
}

impl Places {
    /// From now on there are so many places in all and for one address; 0: no limit for one address.
    pub(super) fn limit(&self, total: u32, per_address: u32) {
        let rules = &mut self.lock().rules;
        (rules.total, rules.per_address) = (total as usize, per_address as usize);
    }

    /// From now on these listeners have places of their own.
    pub(super) fn listeners(&self, open: Vec<usize>) {
        self.lock().rules.listeners = open;
    }

    /// Takes a place; perhaps another's. `None`: there is none.
    pub(super) fn enter(self: &Arc<Self>, listener: usize, peer: IpAddr) -> Option<Place> {
        let source = source(peer);
        let slot = Arc::new(Slot {
            listener,
            source,
            standing: AtomicU64::new(word(Standing::Waiting, self.since, Instant::now())),
            route: AtomicUsize::new(0),
            leaving: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        });
        let mut inner = self.lock();
        let held = inner.addresses.get(&source).copied().unwrap_or_default();
        let share = inner.rules.per_address;
        if share > 0 && held >= share && !inner.make_room(|_, slot| slot.source == source) {
            return None;
        }
        if !inner.rules.has_room(&inner.listeners, listener) {
            let takes_shared = |inner: &Inner, slot: &Slot| {
                let open = inner.listeners.get(&slot.listener).copied().unwrap_or_default();
                slot.listener == listener || inner.rules.shared(slot.listener, open) > 0
            };
            if !inner.make_room(takes_shared) {
                return None;
            }
        }
        *inner.listeners.entry(listener).or_default() += 1;
        *inner.addresses.entry(source).or_default() += 1;
        let at = inner.free.pop().unwrap_or(inner.slots.len());
        if at == inner.slots.len() {
            inner.slots.push(None);
        }
        inner.slots[at] = Some(Arc::clone(&slot));
        drop(inner);
        Some(Place { places: Arc::clone(self), slot, at })
    }

    /// Whether somebody was asked to make room and has not ended yet.
    pub(super) fn are_being_left(&self) -> bool {
        self.lock().leaving > 0
    }

    /// Asks the request of `route` that came slowest to make room. `false`: there is none whose body has not come.
    pub(super) fn make_room_at(&self, route: usize) -> bool {
        self.lock().make_room(|_, slot| {
            slot.route.load(Ordering::Relaxed) == route
                && slot.standing.load(Ordering::Relaxed) >> SHIFT == Standing::Body as u64
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Asks those of `among` to leave who go first. `false`: nobody can be asked.
    fn make_room(&mut self, among: impl Fn(&Self, &Slot) -> bool) -> bool {
        let most = (self.rules.total / LEAVING).max(LEAVING_AT_LEAST);
        if self.leaving >= most {
            return false;
        }
        let mut candidates: Vec<(u64, usize)> = Vec::new();
        for (at, slot) in self.slots.iter().enumerate() {
            let Some(slot) = slot.as_deref() else { continue };
            let word = slot.standing.load(Ordering::Relaxed);
            if word < SERVED && !slot.leaving.load(Ordering::Relaxed) && among(self, slot) {
                candidates.push((word, at));
            }
        }
        let count = candidates.len().div_ceil(BATCH).min(most - self.leaving);
        let Some(last) = count.checked_sub(1) else { return false };
        let (first, last, _) = candidates.select_nth_unstable(last);
        let first_word = first.iter().map(|(word, _)| *word).min().unwrap_or(last.0);
        let asked: Vec<usize> = first
            .iter()
            .chain([&*last])
            .filter(|(word, _)| word >> SHIFT == first_word.min(last.0) >> SHIFT)
            .map(|(_, at)| *at)
            .collect();
        for at in asked {
            let Some(slot) = self.slots[at].clone() else { continue };
            slot.leaving.store(true, Ordering::Release);
            slot.waker.wake();
            self.uncount(&slot);
            self.leaving += 1;
        }
        true
    }

    fn uncount(&mut self, slot: &Slot) {
        if let Some(open) = self.listeners.get_mut(&slot.listener) {
            *open -= 1;
            if *open == 0 {
                self.listeners.remove(&slot.listener);
            }
        }
        if let Some(open) = self.addresses.get_mut(&slot.source) {
            *open -= 1;
            if *open == 0 {
                self.addresses.remove(&slot.source);
            }
        }
    }
}

/// One connection's place, until dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    slot: Arc<Slot>,
    at: usize,
}

impl Place {
    /// Says who is woken when this place is needed. A task has one waker for its life, so this is said once.
    pub(super) fn belongs_to(&self, waker: &Waker) {
        self.slot.waker.register(waker);
    }

    /// Says where the connection stands, and since when.
    pub(super) fn stands(&self, standing: Standing, since: Instant) {
        self.slot.standing.store(word(standing, self.places.since, since), Ordering::Relaxed);
    }

    /// Its request is complete.
    pub(super) fn is_served(&self) {
        self.slot.standing.store(SERVED, Ordering::Relaxed);
    }

    /// Its request for `route` lacks a body.
    pub(super) fn awaits_body(&self, route: usize, since: Instant) {
        self.slot.route.store(route, Ordering::Relaxed);
        self.stands(Standing::Body, since);
    }

    /// Whether somebody else needs the place.
    pub(super) fn is_needed(&self) -> bool {
        self.slot.leaving.load(Ordering::Acquire)
    }

    /// All places, for those of a profile.
    pub(super) fn all(&self) -> &Places {
        &self.places
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.places.lock();
        inner.slots[self.at] = None;
        inner.free.push(self.at);
        if self.is_needed() {
            inner.leaving -= 1;
        } else {
            inner.uncount(&self.slot);
        }
    }
}

fn word(standing: Standing, start: Instant, since: Instant) -> u64 {
    let millis = u64::try_from(since.saturating_duration_since(start).as_millis()).unwrap_or(u64::MAX);
    ((standing as u64) << SHIFT) | millis.min((1 << SHIFT) - 1)
}

/// What counts as one address: whoever has one of IPv6 has a whole network of them.
fn source(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(peer) => peer.into(),
        IpAddr::V6(peer) => Ipv6Addr::from_bits(peer.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const WEBHOOK: usize = 1;
    const API: usize = 2;

    fn places(total: u32, per_address: u32) -> Arc<Places> {
        let places = Arc::new(Places::default());
        places.limit(total, per_address);
        places.listeners(vec![WEBHOOK, API]);
        places
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn ago(places: &Places, seconds: u64) -> Instant {
        // The start is now; what counts is the order.
        places.since + Duration::from_secs(1000 - seconds)
    }

    fn fill(places: &Arc<Places>, listener: usize) -> Vec<Place> {
        let mut all = Vec::new();
        while let Some(place) = places.enter(listener, ip(1)) {
            place.is_served();
            all.push(place);
        }
        all
    }

    /// 20: a flood on one port leaves another port its places.
    #[test]
    fn every_listener_has_places_of_its_own() {
        let places = places(16, 0);
        let webhook = fill(&places, WEBHOOK);
        assert_eq!(webhook.len(), 12, "its own four, and eight that are for all");
        let api = fill(&places, API);
        assert_eq!(api.len(), 4);
        drop(webhook);
        assert_eq!(fill(&places, API).len(), 8, "of the places for all it may have every one");
        drop(api);
        places.listeners(vec![API]);
        assert_eq!(fill(&places, API).len(), 16, "a listener that is closed reserves nothing");
    }

    /// 20: at the limit the oldest without a complete request goes first, whether it ever had one or not.
    #[test]
    fn room_is_made_by_the_oldest_without_a_complete_request() {
        let places = places(8, 0);
        let all: Vec<Place> = (0..6).map(|_| places.enter(API, ip(1)).unwrap()).collect();
        all[0].is_served();
        all[1].awaits_body(7, ago(&places, 90));
        all[2].stands(Standing::Waiting, ago(&places, 1));
        all[3].stands(Standing::Waiting, ago(&places, 50));
        all[4].stands(Standing::Waiting, ago(&places, 60));
        all[5].stands(Standing::Closing, ago(&places, 0));
        let mut next = Vec::new();
        for gone in [5, 4, 3, 2, 1] {
            let place = places.enter(API, ip(1)).expect("somebody makes room");
            place.is_served();
            next.push(place);
            let needed: Vec<_> = (0..6).filter(|&at| all[at].is_needed()).collect();
            assert!(needed.contains(&gone) && needed.len() == next.len(), "{gone}: {needed:?}");
        }
        assert!(places.enter(API, ip(1)).is_none(), "complete requests are never taken away");
        drop(all);
        assert!(places.enter(API, ip(1)).is_some(), "one ended");
        assert!(places.enter(WEBHOOK, ip(1)).is_some(), "it has its own");
    }

    /// 20: one address holds a share; its own oldest makes room, nobody else's.
    #[test]
    fn one_address_holds_a_share() {
        let places = places(100, 2);
        let (a, b) = (places.enter(API, ip(1)).unwrap(), places.enter(WEBHOOK, ip(1)).unwrap());
        let other = places.enter(API, ip(2)).unwrap();
        a.stands(Standing::Waiting, ago(&places, 5));
        b.stands(Standing::Waiting, ago(&places, 1));
        let c = places.enter(API, ip(1)).unwrap();
        assert!(a.is_needed() && !b.is_needed() && !other.is_needed());
        b.is_served();
        c.is_served();
        assert!(places.enter(API, ip(1)).is_none());
        assert!(places.enter(API, ip(2)).is_some());
        places.limit(100, 0);
        assert!(places.enter(API, ip(1)).is_some());
    }

    /// 20: whoever has one address of IPv6 has many.
    #[test]
    fn an_address_of_ipv6_is_its_network() {
        let parse = |text: &str| source(text.parse().unwrap());
        assert_eq!(parse("2001:db8:1:2:3:4:5:6"), parse("2001:db8:1:2::1"));
        assert_ne!(parse("2001:db8:1:3::1"), parse("2001:db8:1:2::1"));
        assert_eq!(parse("::ffff:10.0.0.1"), ip(1));
        assert_ne!(ip(1), source(ip(2)));
    }

    /// 20: a profile's places are taken back from bodies that do not come, the slowest first.
    #[test]
    fn a_route_s_slowest_body_makes_room() {
        let places = places(100, 0);
        let (a, b, c) = (
            places.enter(API, ip(1)).unwrap(),
            places.enter(API, ip(2)).unwrap(),
            places.enter(API, ip(3)).unwrap(),
        );
        a.awaits_body(1, ago(&places, 9));
        b.awaits_body(2, ago(&places, 5));
        c.awaits_body(2, ago(&places, 7));
        assert!(places.make_room_at(2) && c.is_needed() && !a.is_needed() && !b.is_needed());
        b.is_served();
        assert!(!places.make_room_at(2));
    }

    #[test]
    fn a_flood_is_searched_once_for_many() {
        let places = places(1000, 0);
        let all: Vec<Place> = (0..750).map(|_| places.enter(API, ip(1)).unwrap()).collect();
        let _one_more = places.enter(API, ip(1)).unwrap();
        let needed = all.iter().filter(|place| place.is_needed()).count();
        assert_eq!(needed, 750_usize.div_ceil(BATCH));
    }
}
