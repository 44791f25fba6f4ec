//! The road: carries events and answers from one worker to another, as [`hermes_wire::road`] has them.
//!
//! # Theory of operation
//!
//! Every process of a worker is born with one end of a [`mod@line`]: when it has an errand it asks for a connection, is passed one end of
//! a pair that was made here, and speaks HTTP/1.1 on it. Who asks is therefore who was started with that line: no path in the file
//! system, no key and no process id has to be believed. The other end was never in its hands, so that it cannot make this process
//! wait. [`Road::keep`] serves one process and ends with it, and so do its errands, whoever holds a copy of its end of the line.
//!
//! **Who may ask for what.** Only the default profile's worker hands over, only on the platforms and to the profiles that this very
//! process declared in its report, and only once it was admitted. Only profiles to which some living process of the default
//! profile hands over may deliver, and only to it. Everything else is refused here, and the worker that it was meant for hears
//! nothing of it.
//!
//! **What is done with it.** An errand is passed on to a worker that serves, and to no other: it waits for nobody, because who sent it
//! keeps it and asks again. Bodies pass piece by piece, with the pace of the slower end; none is ever whole here, and nothing is
//! written. When either side goes away the other one hears of it, so that half a message never looks whole. What stands still is
//! given up, and with the answer the errand is over: a target that answers early is sent nothing more.
//!
//! **Who has how much.** Each kind of errand has places of its own, so that events never keep answers from going out, and each profile a
//! share of them: one that takes slowly or sends without end leaves places for the others. Whoever waits for its share holds no place.
//!
//! **What the target can rely on.** A request on its data socket whose path begins with [`INNER`] is an errand: the proxy passes no
//! such path on, and the sender's name in [`SENDER`] is the one that is known here.
//!
//! [`INNER`]: hermes_wire::road::INNER

mod line;
mod pace;

use std::collections::{BTreeMap, HashMap};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use axum::body::Body;
use hermes_wire::ProfileName;
use hermes_wire::http::{ERROR, JSON, PROFILE};
use hermes_wire::latest::HandOver;
use hermes_wire::road::{Errand, SENDER, UNREACHABLE};
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixStream as Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use line::Line;
use pace::{Pace, Paced};

use crate::generation::Generation;
use crate::proxy::{self, Availability, Route};

/// Errands of one kind under way at once, of all workers. Each holds two open files.
const AT_ONCE: usize = 8;
/// Those of one profile: events to it, and answers from it. At the other end is always the default profile.
const SHARE: usize = 4;
/// Connections of one process at once; it has no use for as many.
const OF_ONE: usize = 32;
/// How long an errand waits for its turn.
const TURN: Duration = Duration::from_secs(10);
/// Time for one errand: a large attachment comes at the pace of the platform that it is on.
const TIME: Duration = Duration::from_mins(10);
/// How long a body may stand still on its way, as a client's may.
const STALL: Duration = Duration::from_secs(60);
/// Time for a request's head, and for a connection to be asked something.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Largest piece of a body that is in memory at once, on each side.
const PIECE: usize = 64 * 1024;
/// What whoever is refused for now may wait, in seconds.
const RETRY_SECS: u32 = 2;

/// Who hands over to whom, and the ways to them. One exists; actors tell it what changes.
pub(crate) struct Road {
    ways: Mutex<HashMap<ProfileName, Way>>,
    /// What living processes of the default profile declared, by generation.
    declared: Mutex<BTreeMap<Generation, Vec<HandOver>>>,
    places: Places,
    stall: Duration,
    tracker: TaskTracker,
}

/// A profile on the road.
#[derive(Debug, Clone)]
struct Way {
    route: Arc<Route>,
    /// Its share.
    share: Places,
}

/// Room for errands, of each kind.
#[derive(Debug, Clone)]
struct Places {
    hand_over: Arc<Semaphore>,
    deliver: Arc<Semaphore>,
    /// Files take their time, and keep no text waiting.
    files: Arc<Semaphore>,
}

impl Places {
    fn new(most: usize) -> Self {
        let places = || Arc::new(Semaphore::new(most));
        Self { hand_over: places(), deliver: places(), files: places() }
    }

    fn of(&self, errand: Errand) -> Arc<Semaphore> {
        Arc::clone(match errand {
            Errand::HandOver => &self.hand_over,
            Errand::Deliver => &self.deliver,
            Errand::DeliverFile => &self.files,
        })
    }
}

/// One place of all, and one of a profile's share.
type Place = [OwnedSemaphorePermit; 2];

/// One process of a worker.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    pub(crate) profile: ProfileName,
    pub(crate) generation: Generation,
}

/// Why an errand is not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("no such errand")]
    NotFound,
    #[error("only the default profile's worker hands over, and only along its profile routes")]
    NotDeclared,
    #[error("no profile route leads to the sender, so it has nothing to deliver")]
    NotATarget,
    #[error("no such profile is served")]
    UnknownProfile,
    #[error("the profile does not serve now ({0})")]
    Unavailable(&'static str),
    #[error("too much is carried already")]
    Busy,
    #[error("the worker cannot be reached")]
    Unreachable,
    #[error("the worker closed the connection before it answered")]
    Lost,
    #[error("the worker did not answer in time")]
    Timeout,
}

impl Refusal {
    /// For `x-hermes-error`.
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::NotDeclared => "not_declared",
            Self::NotATarget => "not_a_target",
            Self::UnknownProfile => "unknown_profile",
            Self::Unavailable(_) => "worker_not_ready",
            Self::Busy => "road_busy",
            Self::Unreachable => UNREACHABLE,
            Self::Lost => "worker_closed_early",
            Self::Timeout => "worker_timeout",
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound | Self::UnknownProfile => StatusCode::NOT_FOUND,
            Self::NotDeclared | Self::NotATarget => StatusCode::FORBIDDEN,
            Self::Unavailable(_) | Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unreachable | Self::Lost => StatusCode::BAD_GATEWAY,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    fn response(&self) -> Response<Body> {
        // Codes and texts need no escaping: they are ours.
        let body = format!(r#"{{"error":{{"code":"{}","message":"{self}"}}}}"#, self.code());
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        headers.insert(HeaderName::from_static(ERROR), HeaderValue::from_static(self.code()));
        if matches!(self, Self::Unavailable(_) | Self::Busy | Self::Unreachable) {
            headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_SECS));
        }
        response
    }
}

impl Road {
    /// A road that nobody is on. Connections are tasks of `tracker`.
    pub(crate) fn new(tracker: TaskTracker) -> Self {
        Self {
            ways: Mutex::default(),
            declared: Mutex::default(),
            places: Places::new(AT_ONCE),
            stall: STALL,
            tracker,
        }
    }

    /// A profile can be reached from now on, as far as its route says.
    pub(crate) fn open(&self, route: Arc<Route>) {
        let name = route.name().clone();
        lock(&self.ways).insert(name, Way { route, share: Places::new(SHARE) });
    }

    /// It cannot any more.
    pub(crate) fn close(&self, profile: &ProfileName) {
        lock(&self.ways).remove(profile);
    }

    /// A process of the default profile was admitted, which hands events of these platforms over to these profiles.
    pub(crate) fn declare(&self, generation: Generation, hand_over: Vec<HandOver>) {
        if !hand_over.is_empty() {
            lock(&self.declared).insert(generation, hand_over);
        }
    }

    /// It is gone.
    pub(crate) fn withdraw(&self, generation: Generation) {
        lock(&self.declared).remove(&generation);
    }

    /// Serves one process over `connection`, which must not block, until that is closed or the process is `gone`; or until `hand` is
    /// cancelled: then the connection is the result, and errands that were begun go on.
    pub(crate) async fn keep(
        self: Arc<Self>,
        sender: Sender,
        connection: UnixStream,
        gone: CancellationToken,
        hand: CancellationToken,
    ) -> Option<UnixStream> {
        gone.run_until_cancelled(self.listen(sender, connection, &gone, &hand)).await.flatten()
    }

    async fn listen(
        self: Arc<Self>,
        sender: Sender,
        connection: UnixStream,
        gone: &CancellationToken,
        hand: &CancellationToken,
    ) -> Option<UnixStream> {
        let mut line = match Line::new(connection) {
            Ok(line) => line,
            Err(error) => {
                tracing::error!(%error, "the worker can hand nothing over and deliver nothing");
                return None;
            }
        };
        let own = Arc::new(Semaphore::new(OF_ONE));
        loop {
            match hand.run_until_cancelled(line.is_asked()).await {
                Some(true) => {}
                Some(false) => return None,
                None => return line.into_connection().ok(),
            }
            let Ok(own) = Arc::clone(&own).try_acquire_owned() else {
                line.refuse().await;
                continue;
            };
            let Some(stream) = line.pass().await else { continue };
            let (road, sender, gone) = (Arc::clone(&self), sender.clone(), gone.clone());
            self.tracker.spawn(async move {
                let _own = own;
                let serving = tokio::time::timeout(TIME, road.serve(sender, stream));
                let Some(served) = gone.run_until_cancelled(serving).await else { return };
                match served {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!(%error, "an errand ended early"),
                    Err(_) => tracing::warn!("an errand took too long and was given up"),
                }
            });
        }
    }

    /// Waits until no errand is under way, and lets none begin. What is cut off after that is asked for again by who sent it.
    pub(crate) async fn rest(&self) {
        let all = u32::try_from(AT_ONCE).unwrap_or(u32::MAX);
        for kind in [&self.places.hand_over, &self.places.deliver, &self.places.files] {
            // They are never closed.
            if let Ok(all) = Arc::clone(kind).acquire_many_owned(all).await {
                all.forget();
            }
        }
    }

    /// One connection: one errand.
    async fn serve(self: Arc<Self>, sender: Sender, stream: Stream) -> Result<(), hyper::Error> {
        let mut http = server::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(PIECE).keep_alive(false);
        // Held until the answer is out, with all of its body.
        let room = Arc::new(OnceLock::new());
        let pace = Pace::new(self.stall);
        let service = service_fn(|request| {
            let (road, sender) = (Arc::clone(&self), sender.clone());
            let (room, pace) = (Arc::clone(&room), Arc::clone(&pace));
            async move { Ok::<_, std::convert::Infallible>(road.answer(&sender, request, &room, pace).await) }
        });
        tokio::select! {
            served = http.serve_connection(TokioIo::new(stream), service) => served,
            () = pace.stalled() => {
                tracing::warn!(from = %sender.profile, "an errand stood still for {} s and was given up", self.stall.as_secs());
                Ok(())
            }
        }
    }

    async fn answer(
        &self,
        sender: &Sender,
        request: Request<Incoming>,
        room: &OnceLock<Place>,
        pace: Arc<Pace>,
    ) -> Response<Body> {
        match self.carry(sender, request, room, pace).await {
            Ok(response) => response,
            Err(refusal) => {
                // Who sent it says so, if it has to wait for long.
                if matches!(refusal, Refusal::Unavailable(_) | Refusal::Busy) {
                    tracing::debug!(from = %sender.profile, "an errand was refused: {refusal}");
                } else {
                    tracing::warn!(from = %sender.profile, "an errand was refused: {refusal}");
                }
                refusal.response()
            }
        }
    }

    async fn carry(
        &self,
        sender: &Sender,
        request: Request<Incoming>,
        room: &OnceLock<Place>,
        pace: Arc<Pace>,
    ) -> Result<Response<Body>, Refusal> {
        let errand = Errand::parse(request.uri().path()).filter(|_| request.method() == Method::POST);
        let (errand, profile, platform) = errand.ok_or(Refusal::NotFound)?;
        let inner = errand.inner_path(platform);
        let route = self.decide(sender, errand, &profile, platform)?;
        let other = match errand {
            Errand::HandOver => &profile,
            Errand::Deliver | Errand::DeliverFile => &sender.profile,
        };
        let taken = tokio::time::timeout(TURN, self.take_place(errand, other)).await;
        // A connection carries one errand.
        room.set(taken.map_err(|_| Refusal::Busy)??).map_err(|_| Refusal::NotFound)?;
        let mut passed = Request::new(Paced::new(request.into_body(), Arc::clone(&pace), ()));
        *passed.method_mut() = Method::POST;
        *passed.uri_mut() = inner.parse().expect("a checked path");
        let headers = passed.headers_mut();
        headers.insert(HOST, HeaderValue::from_static("worker"));
        let name = |name: &ProfileName| HeaderValue::try_from(name.as_str()).expect("a profile's name");
        headers.insert(HeaderName::from_static(PROFILE), name(&profile));
        headers.insert(HeaderName::from_static(SENDER), name(&sender.profile));
        let stream = proxy::reach(&route).map_err(|error| {
            tracing::debug!(%error, profile = %profile, "the worker cannot be reached");
            Refusal::Unreachable
        })?;
        let mut http = hyper::client::conn::http1::Builder::new();
        let (mut ask, connection) =
            http.max_buf_size(PIECE).handshake(TokioIo::new(stream)).await.map_err(|_| Refusal::Lost)?;
        // Ends with the answer, which is the end of its body, or when nobody waits for it any more.
        let connection = AbortOnDropHandle::new(self.tracker.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a worker ended early");
            }
        }));
        let answer = tokio::time::timeout(TIME, ask.send_request(passed)).await;
        let answer = answer.map_err(|_| Refusal::Timeout)?.map_err(|error| {
            tracing::debug!(%error, profile = %profile, "the worker gave no answer");
            Refusal::Lost
        })?;
        Ok(answer.map(|body| Body::new(Paced::new(body, pace, connection))))
    }

    /// A place for an errand between `profile` and the default profile, within its share.
    async fn take_place(&self, errand: Errand, profile: &ProfileName) -> Result<Place, Refusal> {
        let share = lock(&self.ways).get(profile).map(|way| way.share.of(errand));
        let share = share.ok_or(Refusal::UnknownProfile)?.acquire_owned().await.map_err(|_| Refusal::Busy)?;
        let place = self.places.of(errand).acquire_owned().await.map_err(|_| Refusal::Busy)?;
        Ok([place, share])
    }

    /// Whether `sender` may ask for this, and the way there.
    fn decide(
        &self,
        sender: &Sender,
        errand: Errand,
        profile: &ProfileName,
        platform: &str,
    ) -> Result<Arc<Route>, Refusal> {
        let is_way =
            |way: &HandOver, target: &ProfileName| way.platform == platform && way.profile == *target;
        let declared = lock(&self.declared);
        match errand {
            Errand::HandOver => {
                let own = declared.get(&sender.generation).filter(|_| sender.profile.is_default());
                let ways = own.ok_or(Refusal::NotDeclared)?;
                if !ways.iter().any(|way| is_way(way, profile)) {
                    return Err(Refusal::NotDeclared);
                }
            }
            Errand::Deliver | Errand::DeliverFile => {
                let mut ways = declared.values().flatten();
                if !profile.is_default() || !ways.any(|way| is_way(way, &sender.profile)) {
                    return Err(Refusal::NotATarget);
                }
            }
        }
        drop(declared);
        let route =
            lock(&self.ways).get(profile).map(|way| Arc::clone(&way.route)).ok_or(Refusal::UnknownProfile)?;
        match route.availability() {
            Availability::Open { ready: true } => Ok(route),
            Availability::Open { ready: false } => Err(Refusal::Unavailable("starting")),
            Availability::Asleep => {
                // Whoever sent it keeps it and asks again, soon.
                route.call();
                Err(Refusal::Unavailable("sleeping"))
            }
            Availability::Unavailable { state, .. } => Err(Refusal::Unavailable(state)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
