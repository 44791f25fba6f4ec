//! The HTTP listeners: reads requests, decides whose they are, passes them to that profile's worker and the answers back.
//!
//! # Theory of operation
//!
//! ```text
//!  accept loop ──hands over──▶ connection task (one a client, stays on its thread)
//!  (thread i for listener i)     │ read head ▶ request ▶ decide ─┬─▶ answer / rescue   (made here)
//!                                │                               └─▶ upstream ▶ exchange ▶ (tunnel after 101)
//!                                │                                     │ pool: idle connections, per thread and worker
//!                                ◀────── next request, or end ─────────┘
//! ```
//!
//! **Threads.** `min(cores, 4)` threads, each with a runtime of its own. A connection never moves: its task, its timers and the
//! upstream connections it uses belong to one thread, so nothing on a request's path is locked or shared but a few atomics. A
//! new connection goes to the thread that has fewest.
//!
//! **Memory.** A thread has one pair of scratch buffers, borrowed only between two awaits: bytes are read into it, judged in
//! place and written on from it. A connection owns bytes only where it must: a head that is not complete yet, what a slow
//! reader has not taken yet (at most one scratch buffer; nothing more is read before that is gone), and the request as sent
//! until the answer begins, in case it has to be sent again. An idle connection owns none.
//!
//! **Keys.** A request's head carries its client's key. What was read of one is wiped where it was read as soon as it is passed
//! on, and what has to be kept of it is kept in a buffer that wipes itself.
//!
//! **Strictness.** What can be read in two ways is refused: bare CR or LF, folded lines, NUL, two lengths, a length beside
//! chunks, any transfer coding but `chunked`, missing or repeated `Host`. Chunked bodies are parsed while they pass;
//! extensions and trailers are removed. Otherwise paths, headers and bodies reach the worker byte for byte.
//!
//! **Which failures are hidden.** Before anything was sent: every failure to connect, within the hold time, and a kept
//! connection that turns out closed when it is written to. After: once, a lost connection where the request has no body and an
//! idempotent method; no request is sent more than twice. Everything else is answered by `rescue`; once the answer has begun, the client's connection is cut, so
//! that half an answer never looks whole.
//!
//! **Whose connection is kept.** A worker's connection serves another request only when the answer was complete, nothing came
//! behind it, and the request was taken whole: it had no body, or the worker says that it read all of it ([`TAKEN`]). That it
//! was written is not enough: what the worker left of it would be read as the next request.
//!
//! **Who waits for whom.** Whatever comes from a client has a deadline that counts from its first byte and that no later byte
//! moves: a head, the rest of a body (with a least rate), what is thrown away behind an answer. A worker that has begun to
//! answer has decided that it wants the rest, and waits for it as long as it likes. Places for connections, and those of one
//! profile, are taken back from whoever has no complete request ([`places`]). No task takes more than [`TURN`] bytes before
//! it lets others go first.
//!
//! **Who is waited for.** A request that was sent is not taken back because its profile stops, is swapped, renamed or deleted:
//! it is answered as long as a process exists that may have it ([`Route::set_finishing`]), which is what draining is for.
//!
//! **Who leaves.** A client that closes takes its upstream connection with it, at once. Closing only its sending side counts as
//! leaving too (the two cannot be told apart), except in a tunnel, where a half-close is passed on. A worker's idle connections are dropped
//! when its route says so ([`Route::drop_idle`]) or after a while.
//!
//! **End.** [`Proxy::quiesce`] closes the listeners; [`Proxy::drain`] lets requests finish, answers new ones on kept
//! connections with 503 and `Connection: close`; [`Proxy::stop`], or dropping a [`Proxy`], cuts the rest and joins the threads. [`Proxy::keep_listeners`] before all of that leaves the sockets open for the program
//! that this process becomes.
//!
//! [`TAKEN`]: hermes_wire::http::TAKEN

mod about;
mod answer;
mod caller;
mod client;
mod conn;
mod counters;
mod decide;
mod exchange;
mod families;
mod forward;
mod inherit;
mod listener;
mod local;
mod pace;
mod places;
mod pool;
mod recent;
mod rescue;
mod route;
mod server;
mod shared;
mod table;
mod thread;
mod timer;
mod tunnel;
mod wire;

use std::time::Duration;

use hermes_wire::latest::GatewaySettings;

pub(crate) use about::not_ready;
pub use counters::{LATENCY_BOUNDS_MS, Totals};
pub use families::Families;
pub use inherit::Inherited;
pub use listener::{BindError, BindFailure, Bound, Trial};
pub use recent::Lately;
pub use route::{Availability, Route};
pub use server::{DrainReport, Proxy, RebindError, StartError};
pub use table::{Publisher, Reader, Table};

/// Makes a connection to the worker behind `route`, for whoever speaks to it himself. See [`crate::road`].
pub(crate) fn reach(route: &std::sync::Arc<Route>) -> std::io::Result<hermes_host::local::LocalStream> {
    pool::connect(route).map(|upstream| upstream.stream)
}

/// Most bytes that one task moves before it is somebody else's turn.
const TURN: usize = 128 * 1024;

/// What clients and workers are held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open client connections, all listeners together.
    pub connections: u32,
    /// Open client connections of one address; 0: no limit.
    pub per_address: u32,
    /// Requests in flight for one profile.
    pub requests_per_profile: u32,
    /// Largest request body.
    pub body_bytes: u64,
    /// Time a client has for a request's head.
    pub header_timeout: Duration,
    /// Time a client has for a request's body until the worker answers; zero: any.
    pub body_timeout: Duration,
    /// Bytes a second of such a body; 0: any.
    pub body_rate: u64,
    /// How long a request waits for a worker that is starting.
    pub hold: Duration,
    /// Time a worker has until the response's head.
    pub response_timeout: Duration,
}

impl Limits {
    fn pace(&self) -> pace::PaceLimits {
        pace::PaceLimits { total: self.body_timeout, grace: self.header_timeout, rate: self.body_rate }
    }
}

impl From<&GatewaySettings> for Limits {
    fn from(settings: &GatewaySettings) -> Self {
        Self {
            connections: settings.max_connections,
            per_address: settings.max_connections_per_address,
            requests_per_profile: settings.max_requests_per_profile,
            body_bytes: settings.max_body_bytes,
            header_timeout: Duration::from_millis(settings.header_timeout_ms),
            body_timeout: Duration::from_millis(settings.body_timeout_ms),
            body_rate: settings.min_body_rate,
            hold: Duration::from_millis(settings.hold_ms),
            response_timeout: Duration::from_millis(settings.response_timeout_ms),
        }
    }
}
