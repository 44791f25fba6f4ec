//! The connections of this profile's platforms: brought up, watched, brought up again, handed over, closed.
//!
//! One task per platform runs its adapter and alone writes its status. It judges what ends a connection: how long to wait before another
//! try, and whether there is one; and what keeps silent for longer than a live connection would is down. A platform whose connection
//! only one process may hold is [held back](Connections::start_unless) until [`Connections::connect`], and given up by
//! [`Connections::hold`], so that two generations of this worker never hold it at once.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, RandomState};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use hermes_config::platform::Declaration;
use hermes_wire::contract::runtime_status::PlatformStatus;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::clock;
use crate::logging;
use crate::platform::link::{Heard, Lack, Order};
use crate::platform::{Class, Down, Link, Platform, Told};
use crate::status::{self, Status};
use crate::token_lock::{AGAIN, Identities, Locks};

/// Longest time from dialling to a usable connection.
const CONNECT: Duration = Duration::from_secs(30);
/// Longest time readiness waits for platforms that answer requests, or that have to be connected before another process lets go of them; what
/// takes longer comes up while the rest is served.
const FIRST: Duration = Duration::from_secs(5);
/// Time to confirm what was accepted, and to close, where nobody says how much there is.
pub(super) const YIELD: Duration = Duration::from_secs(5);
/// Wait before the second try; doubles up to the longest.
const SHORTEST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_mins(5);
/// Shortest wait that a service may ask for.
const LEAST: Duration = Duration::from_secs(1);
/// Longest wait that a service may ask for.
const ASKED: Duration = Duration::from_hours(1);
/// A connection that lived so long makes up for the failures before it.
const STABLE: Duration = Duration::from_mins(1);

/// What a platform is whose identity another gateway uses.
pub(super) const CONFLICT: &str = "conflict";

/// Names of platforms that are configured and not connected.
pub(super) type Degraded = BTreeSet<String>;

/// Where one platform's connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Exclusive, and not to be made (any more) for now: nothing is open.
    Held,
    /// Being made for the first time.
    Connecting,
    /// Usable.
    Connected,
    /// Lost or not made; another try follows.
    Retrying,
    /// Not made, and no try can help until the files change.
    Fatal,
    /// Closed for good.
    Closed,
}

/// Every platform's phase.
pub(super) type Phases = BTreeMap<&'static str, Phase>;

/// All connections of this worker. Cloning shares them.
#[derive(Clone)]
pub(super) struct Connections(Arc<Inner>);

struct Inner {
    /// What answers requests, of the platforms that did not fail for good at once.
    routes: axum::Router,
    exclusive: BTreeSet<&'static str>,
    orders: watch::Sender<Order>,
    desk: Desk,
    tasks: TaskTracker,
}

/// What the tasks share: where they report to, and what they hear.
#[derive(Clone)]
struct Desk {
    status: Status,
    phases: watch::Sender<Phases>,
    degraded: watch::Sender<Degraded>,
    /// What an exclusive connection has to close.
    within: watch::Sender<Duration>,
    /// No patience is left.
    now: CancellationToken,
    /// What somebody had closed for now.
    paused: Paused,
}

/// Names of platforms that somebody had closed until they are resumed. Cloning shares it.
pub(super) type Paused = watch::Sender<BTreeSet<String>>;

impl Connections {
    /// Brings up all that is not exclusive, side by side, and keeps it up. Returns when each platform with routes, or that
    /// [overlaps](Declaration::overlaps), has connected or failed once, at the latest after [`FIRST`]; nobody waits for others that dial out.
    ///
    /// An exclusive platform, and one that overlaps, connects once it has the [locks](crate::token_lock) of its identities.
    #[cfg(test)]
    pub(super) async fn start(platforms: Vec<Platform>, status: Status, identities: &Identities) -> Self {
        Self::start_unless(platforms, status, identities, Paused::default()).await
    }

    /// The same, where what is `paused` is closed for as long as it is.
    pub(super) async fn start_unless(
        platforms: Vec<Platform>,
        status: Status,
        identities: &Identities,
        paused: Paused,
    ) -> Self {
        let orders = watch::Sender::new(Order::Hold);
        let first = |platform: &Platform| {
            if platform.declaration.exclusive { Phase::Held } else { Phase::Connecting }
        };
        let phases: Phases =
            platforms.iter().map(|platform| (platform.declaration.name, first(platform))).collect();
        let exclusive = platforms.iter().map(|platform| platform.declaration);
        let exclusive =
            exclusive.filter(|platform| platform.exclusive).map(|platform| platform.name).collect();
        let desk = Desk {
            status,
            phases: watch::Sender::new(phases),
            degraded: watch::Sender::default(),
            within: watch::Sender::new(YIELD),
            now: CancellationToken::new(),
            paused,
        };
        let (tasks, mut routes, mut awaited) = (TaskTracker::new(), Vec::new(), BTreeSet::new());
        for mut platform in platforms {
            let Declaration { name, exclusive, overlaps, .. } = *platform.declaration;
            if overlaps || platform.routes.is_some() {
                awaited.insert(name);
            }
            routes.extend(platform.routes.take().map(|router| (name, router)));
            let alone = exclusive || overlaps;
            let locks = if alone { identities.locks(name) } else { Locks::default() };
            let keeper = Keeper { platform, orders: orders.clone(), desk: desk.clone() };
            tasks.spawn(keeper.keep(locks));
        }
        tasks.close();
        let mut heard = desk.phases.subscribe();
        let all =
            heard.wait_for(|phases| awaited.iter().all(|name| phases.get(name) != Some(&Phase::Connecting)));
        // A platform that is slow is not lost: its status says `connecting`, and its task goes on.
        let _ = timeout(FIRST, all).await;
        let phases = desk.phases.borrow().clone();
        let routes = routes
            .into_iter()
            .filter(|(name, _)| phases.get(name) != Some(&Phase::Fatal))
            .fold(axum::Router::new(), |all, (_, router)| all.merge(router));
        Self(Arc::new(Inner { routes, exclusive, orders, desk, tasks }))
    }

    /// What answers requests.
    pub(super) fn routes(&self) -> axum::Router {
        self.0.routes.clone()
    }

    /// Exclusive connections may be made from here on. Saying so twice is saying it once; after [`stop`](Self::stop) it says nothing.
    pub(super) fn connect(&self) {
        self.order(Order::Connect);
    }

    /// Has all exclusive connections given up: what was accepted is confirmed, then they are closed; what does not close within the time
    /// is cut. They stay closed until [`connect`](Self::connect). [`held`](Self::held) says when they are.
    pub(super) fn hold(&self, within: Duration) {
        self.0.desk.within.send_replace(within);
        self.order(Order::Hold);
    }

    /// Waits until no exclusive connection is open.
    pub(super) async fn held(&self) {
        let open = |phase: &Phase| matches!(phase, Phase::Connecting | Phase::Connected | Phase::Retrying);
        let mut phases = self.phases();
        let closed =
            phases.wait_for(|phases| self.0.exclusive.iter().all(|name| !phases.get(name).is_some_and(open)));
        // The sender lives as long as this.
        let _ = closed.await;
    }

    /// [`hold`](Self::hold)s, and returns when nothing is open any more.
    pub(super) async fn yield_exclusive(&self, within: Duration) {
        self.hold(within);
        self.held().await;
    }

    /// Every platform's phase, and each change of it.
    pub(super) fn phases(&self) -> watch::Receiver<Phases> {
        self.0.desk.phases.subscribe()
    }

    /// The platforms whose connection only one process may hold.
    pub(super) fn exclusive(&self) -> impl Iterator<Item = &'static str> {
        self.0.exclusive.iter().copied()
    }

    /// What is configured and not connected.
    pub(super) fn degraded(&self) -> watch::Receiver<Degraded> {
        self.0.desk.degraded.subscribe()
    }

    /// Closes everything, for good. What is not closed when `now` is cancelled is dropped.
    pub(super) async fn stop(&self, now: &CancellationToken) {
        self.order(Order::Stop);
        tokio::select! {
            () = self.0.tasks.wait() => {}
            () = now.cancelled() => {
                self.0.desk.now.cancel();
                self.0.tasks.wait().await;
            }
        }
    }

    fn order(&self, order: Order) {
        self.0.orders.send_if_modified(|current| {
            let changes = *current != order && *current != Order::Stop;
            if changes {
                *current = order;
            }
            changes
        });
    }
}

/// How one connection ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// As it was told.
    Told,
    /// By itself, after having been usable for so long; `None`: it never was.
    Down(Down, Option<Duration>),
}

/// Keeps one platform's connection: the one writer of its status.
struct Keeper {
    platform: Platform,
    orders: watch::Sender<Order>,
    desk: Desk,
}

impl Keeper {
    async fn keep(self, mut locks: Locks) {
        let Declaration { name, exclusive, .. } = *self.platform.declaration;
        let mut orders = self.orders.subscribe();
        let mut failures: u32 = 0;
        loop {
            if orders.borrow().told(exclusive) == Some(Told::Yield) {
                // Before anybody hears that nothing is open.
                locks.release().await;
                self.enter(Phase::Held, status::platform("disconnected"));
                failures = 0;
            }
            let going = orders.wait_for(|order| order.told(exclusive) != Some(Told::Yield)).await;
            if going.is_ok_and(|order| *order == Order::Stop) {
                break;
            }
            if self.is_paused() {
                locks.release().await;
                self.enter(Phase::Held, status::platform("paused"));
                failures = 0;
                let mut paused = self.desk.paused.subscribe();
                tokio::select! {
                    _ = paused.wait_for(|paused| !paused.contains(name)) => {}
                    _ = orders.wait_for(|order| order.told(exclusive).is_some()) => {}
                }
                continue;
            }
            if failures == 0 {
                self.enter(Phase::Connecting, status::platform("connecting"));
            }
            if !self.have(&mut locks, &mut orders).await {
                continue;
            }
            let (down, lived) = match self.connection().await {
                Ended::Told => continue,
                Ended::Down(down, lived) => (down, lived),
            };
            if lived.is_some_and(|lived| lived >= STABLE) {
                failures = 0;
            }
            failures = failures.saturating_add(1);
            if down.class == Class::Fatal {
                locks.release().await;
                return self.does_not_start(&down);
            }
            let wait = wait(failures, down.retry_after, RandomState::new().hash_one(()));
            let what = if lived.is_some() { "lost its connection" } else { "is not connected" };
            let (code, seconds) = (&down.code, wait.as_secs());
            warn!(
                platform = name,
                code,
                attempt = failures,
                "platform {what}, trying again in {seconds} s: {down}"
            );
            self.enter(Phase::Retrying, failure("retrying", &down));
            let mut paused = self.desk.paused.subscribe();
            tokio::select! {
                () = sleep(wait) => {}
                _ = paused.wait_for(|paused| paused.contains(name)) => {}
                _ = orders.wait_for(|order| order.told(exclusive).is_some()) => {}
            }
        }
        locks.release().await;
        self.enter(Phase::Closed, status::platform("disconnected"));
    }

    fn is_paused(&self) -> bool {
        self.desk.paused.borrow().contains(self.platform.declaration.name)
    }

    /// Waits until the locks of its identities are this process's. False: it is not to connect any more.
    async fn have(&self, locks: &mut Locks, orders: &mut watch::Receiver<Order>) -> bool {
        let Declaration { name, exclusive, .. } = *self.platform.declaration;
        let mut said: Option<Down> = None;
        while let Err(down) = locks.take().await {
            if said.as_ref() != Some(&down) {
                warn!(platform = name, code = down.code, "platform is not connected: {down}");
                let state = if down.class == Class::Used { CONFLICT } else { "retrying" };
                self.enter(Phase::Retrying, failure(state, &down));
                said = Some(down);
            }
            tokio::select! {
                () = sleep(AGAIN) => {}
                _ = orders.wait_for(|order| order.told(exclusive).is_some()) => return false,
            }
        }
        if said.is_some() {
            info!(platform = name, "nobody else uses its identity any more");
            self.enter(Phase::Connecting, status::platform("connecting"));
        }
        true
    }

    /// One connection, from dialling to its end.
    async fn connection(&self) -> Ended {
        let Platform { declaration: Declaration { name, exclusive, .. }, adapter, .. } = &self.platform;
        let (link, mut heard) = Link::new(self.orders.subscribe(), *exclusive);
        let told = link.told();
        tokio::pin!(told);
        let run = AssertUnwindSafe(adapter.run(link.clone())).catch_unwind();
        tokio::pin!(run);
        let mut up: Option<Instant> = None;
        let mut shown: Option<Heard> = None;
        let (mut leaving, mut within) = (false, YIELD);
        let mut limit = Some(Instant::now() + CONNECT);
        let mut orders = self.desk.paused.subscribe();
        let paused = orders.wait_for(|paused| paused.contains(*name));
        tokio::pin!(paused);
        loop {
            let lived = || up.map(|up| up.elapsed());
            tokio::select! {
                biased;
                ended = &mut run => return match ended {
                    Ok(Err(down)) if leaving => {
                        info!(platform = name, code = down.code, "platform closed its connection with an error: {down}");
                        Ended::Told
                    }
                    Ok(Ok(())) if leaving => Ended::Told,
                    Ok(Ok(())) if link.told().now_or_never().is_some() => Ended::Told,
                    Ok(Ok(())) => Ended::Down(Down::retrying("ended", "the connection ended without a reason"), lived()),
                    Ok(Err(down)) => Ended::Down(down, lived()),
                    Err(panic) => {
                        let text = logging::panic_text(panic.as_ref());
                        Ended::Down(Down::retrying("panic", format!("its adapter panicked: {text}")), lived())
                    }
                },
                told = &mut told, if !leaving => {
                    leaving = true;
                    within = *self.desk.within.borrow();
                    limit = (told == Told::Yield).then(|| Instant::now() + within);
                }
                () = self.desk.now.cancelled() => return Ended::Told,
                // What is confirmed was stored before: cutting it loses nothing.
                _ = &mut paused => {
                    info!(platform = name, "platform is paused");
                    return Ended::Told;
                }
                () = clock::until(limit) => return if leaving {
                    warn!(platform = name, "platform did not close its connection in {} ms: it is cut", within.as_millis());
                    Ended::Told
                } else {
                    Ended::Down(silence(adapter.window().filter(|_| up.is_some())), lived())
                },
                Ok(()) = heard.changed() => {
                    let now = heard.borrow_and_update().clone();
                    if now.up && !leaving {
                        up.get_or_insert_with(Instant::now);
                        if shown.as_ref() != Some(&now) {
                            self.show(&now);
                            shown = Some(now);
                        }
                        limit = adapter.window().map(|window| Instant::now() + window);
                    }
                }
            }
        }
    }

    /// Says how a connection is that stands.
    fn show(&self, heard: &Heard) {
        let name = self.platform.declaration.name;
        let mode = heard.mode.map(str::to_owned);
        if let Some(down) = &heard.ails {
            warn!(
                platform = name,
                code = down.code,
                "platform is connected, and its service does not get through: {down}"
            );
            self.enter(Phase::Retrying, PlatformStatus { mode, ..failure("retrying", down) });
        } else {
            info!(platform = name, mode, "platform connected");
            self.enter(Phase::Connected, PlatformStatus { mode, ..connected(heard.lack.as_ref()) });
        }
    }

    fn does_not_start(&self, down: &Down) {
        let name = self.platform.declaration.name;
        error!(platform = name, code = down.code, "platform does not start: {down}");
        self.enter(Phase::Fatal, failure("fatal", down));
    }

    /// Says where the connection is, everywhere.
    fn enter(&self, phase: Phase, shown: PlatformStatus) {
        let name = self.platform.declaration.name;
        // Who has it is part of what the profile says of itself.
        let whose = shown.state == CONFLICT;
        self.desk.status.set_platform(name, shown);
        self.desk.degraded.send_if_modified(|degraded| match phase {
            Phase::Retrying | Phase::Fatal => degraded.insert(name.to_owned()) || whose,
            Phase::Connected | Phase::Held => degraded.remove(name),
            Phase::Connecting | Phase::Closed => false,
        });
        self.desk.phases.send_modify(|phases| {
            phases.insert(name, phase);
        });
    }
}

/// What a connection was that said nothing for too long; `window` of one that was usable.
fn silence(window: Option<Duration>) -> Down {
    match window {
        Some(window) => Down::retrying("silent", format!("nothing was heard for {} s", window.as_secs())),
        None => Down::retrying("timeout", format!("no connection within {} s", CONNECT.as_secs())),
    }
}

/// `30 s`, doubled after each failure, at most five minutes, up to a fifth more or less; or what the service asked for, up to a
/// fifth more. Less than a second is a second after the first failure and no wish after the next ones: `Retry-After: 0` is no loop.
/// `random`: any number.
fn wait(failures: u32, asked: Option<Duration>, random: u64) -> Duration {
    let share = |parts: u64| Duration::from_millis(random % (parts + 1));
    if let Some(asked) = asked.filter(|asked| *asked >= LEAST || failures <= 1) {
        let asked = asked.clamp(LEAST, ASKED);
        return asked + share(millis(asked) / 5);
    }
    let wait = SHORTEST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST);
    wait * 4 / 5 + share(millis(wait) * 2 / 5)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn connected(lack: Option<&Lack>) -> PlatformStatus {
    PlatformStatus {
        error_code: lack.map(|lack| lack.code.to_owned()),
        error_message: lack.map(|lack| lack.message.clone()),
        ..status::platform("connected")
    }
}

fn failure(state: &str, down: &Down) -> PlatformStatus {
    PlatformStatus {
        error_code: Some(down.code.clone()),
        error_message: Some(down.message.clone()),
        ..status::platform(state)
    }
}

#[cfg(test)]
mod tests;
