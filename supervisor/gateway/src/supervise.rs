//! Keeps one worker process per profile in the state that was asked for.
//!
//! `state` decides, purely; `policy` holds its numbers; `actor` carries decisions out, one task a profile; `spawn` starts
//! processes, `reap` collects them, `env` builds their environment. What the rest of the supervisor sees of a worker is a
//! [`WorkerView`], a copy: nobody but the actor can change a worker.

pub(crate) mod actor;
pub(crate) mod cgroup;
pub(crate) mod effort;
pub mod env;
pub(crate) mod memory;
pub(crate) mod policy;
pub(crate) mod reap;
pub(crate) mod spawn;
pub(crate) mod state;

use std::time::{Duration, Instant, SystemTime};

use camino::Utf8PathBuf;
use hermes_wire::latest::{BoundListener, LastError, Problem, Upkeep};
use hermes_wire::{ProfileHome, ProfileName};

use crate::generation::Generation;
use crate::proxy::Lately;

/// One worker, as its actor last published it.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerView {
    /// The profile.
    pub name: ProfileName,
    /// Its home.
    pub home: ProfileHome,
    /// What was asked for: running, or stopped.
    pub desired_running: bool,
    /// One of `hermes_wire::contract::gateway_status::state`.
    pub state: &'static str,
    /// Whether it takes requests now.
    pub ready: bool,
    /// When the state was entered.
    pub since: SystemTime,
    /// Process id of the generation in force.
    pub pid: Option<u32>,
    /// Counter of processes started for this profile since the supervisor started.
    pub generation: Generation,
    /// Unplanned replacements.
    pub restarts: u64,
    /// How the last process ended.
    pub last_exit: Option<String>,
    /// Why it is not ready or not able, or why a newer generation could not take over.
    pub reason: Option<String>,
    /// The file the reason is about.
    pub file: Option<String>,
    /// When the next start is due, in `backoff` and `crash_loop`.
    pub next_attempt: Option<Instant>,
    /// When the last heartbeat came.
    pub heartbeat: Option<Instant>,
    /// Time between two heartbeats, in milliseconds.
    pub heartbeat_ms: u64,
    /// Time until the next one at the latest, as the last one said, in milliseconds.
    pub next_beat_ms: u64,
    /// Turns running, from the last heartbeat.
    pub active_turns: u32,
    /// Inbox items not yet claimed, from the last heartbeat.
    pub inbox_waiting: u64,
    /// Of those, put off because of the provider.
    pub inbox_postponed: u64,
    /// Inbox items given up.
    pub inbox_failed: u64,
    /// Why the last one was put off.
    pub inbox_reason: Option<String>,
    /// Answers that could not be delivered.
    pub undelivered: u64,
    /// Configured platforms that are not connected.
    pub degraded: Vec<String>,
    /// The provider's last failure, until a call succeeds.
    pub last_error: Option<LastError>,
    /// What the last report found.
    pub problems: Vec<Problem>,
    /// Requests forwarded since the supervisor started.
    pub requests: u64,
    /// Requests in flight.
    pub requests_active: u64,
    /// How busy it was lately.
    pub lately: Lately,
    /// Where its HTTP is reached; `None` where no listener could be made.
    pub data_socket: Option<Utf8PathBuf>,
    /// When the process that serves read its files.
    pub config_at: Option<SystemTime>,
    /// When a newer process was refused, and this one went on for `reason`.
    pub refused_at: Option<SystemTime>,
    /// How exclusive platforms last passed from one process to another.
    pub takeover: Option<Takeover>,
    /// How its files ask for it to be kept, as far as they were read; of a secondary.
    pub upkeep: Option<Upkeep>,
    /// Why it cannot sleep although it runs on demand.
    pub awake: Option<String>,
}

/// Platforms whose connection must never stand twice passed from one process of a profile to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Takeover {
    /// Their names.
    pub platforms: Vec<String>,
    /// The generation that had them.
    pub from: Generation,
    /// The one that has them.
    pub generation: Generation,
    /// How long nobody had them.
    pub pause: Duration,
    /// When that was over.
    pub at: SystemTime,
}

/// The gateway's own part of the status.
#[derive(Debug, Clone)]
pub struct GatewayView {
    /// `starting`, `running`, `draining`, `stopped`.
    pub state: &'static str,
    /// When the supervisor started.
    pub started: SystemTime,
    /// The same on the monotonic clock.
    pub started_at: Instant,
    /// Whether `/p/<profile>/` is in force.
    pub multiplex: bool,
    /// The home whose lock is held.
    pub home: Utf8PathBuf,
    /// Directory of the sockets.
    pub runtime_dir: Utf8PathBuf,
    /// What is bound.
    pub listeners: Vec<BoundListener>,
    /// The admin listener, as bound.
    pub admin: Option<String>,
    /// Problems of the gateway as a whole, and of directories that are not served.
    pub problems: Vec<Problem>,
    /// Client connections that are let in.
    pub max_connections: Option<u32>,
    /// Why these are fewer than asked for.
    pub limited: Option<Problem>,
    /// Why the program on disk was not taken up, the last time that it was tried.
    pub returned: Option<Problem>,
    /// Whether the machine is kept awake, where that is asked for.
    pub awake: Option<Awake>,
}

/// What holds the machine awake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Awake {
    /// It does.
    pub held: bool,
    /// The program.
    pub by: &'static str,
    /// Why it does not; `None` while it is about to.
    pub problem: Option<Problem>,
}

/// Everything a status surface needs, at one instant. `workers` is sorted: the primary first, then by name.
#[derive(Debug, Clone)]
pub struct WorkerTable {
    /// The gateway.
    pub gateway: GatewayView,
    /// One entry a known profile.
    pub workers: Vec<WorkerView>,
}
