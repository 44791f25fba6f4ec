//! The one status view: what `hermes status --json`, the admin listener and every other surface show.
//!
//! `observed` comes from the supervisor's own knowledge (child handle, heartbeat) first and from the worker's status file
//! second; each value that can age carries its age. Fields are only ever added.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::runtime_status::{Approvals, FenceStatus, GoneChats, KeyPool, PlatformStatus, ToolServerStatus};
use crate::v2::parts::{LastError, Problem};
use crate::v3::upkeep::Upkeep;

/// Version of the JSON.
pub const SCHEMA: u32 = 1;

/// Everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GatewayStatus {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The supervisor.
    pub gateway: Gateway,
    /// One entry a known profile, `default` first, then by name.
    pub profiles: Vec<Profile>,
}

/// The supervisor's part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gateway {
    /// `starting`, `running`, `draining`, `stopped`.
    pub state: String,
    /// The values come from files, because no supervisor answered.
    pub stale: bool,
    /// Process id.
    pub pid: Option<u32>,
    /// Field 22 of its `/proc/<pid>/stat`.
    pub start_time: Option<u64>,
    /// ISO 8601.
    pub started_at: Option<String>,
    /// Seconds since then.
    pub uptime_secs: Option<u64>,
    /// Release.
    pub version: Option<String>,
    /// `multiplex` or `single`.
    pub mode: Option<String>,
    /// Root home.
    pub home: String,
    /// Runtime directory with the sockets.
    pub runtime_dir: Option<String>,
    /// What is bound.
    pub listeners: Vec<Listener>,
    /// Admin listener.
    pub admin: Option<String>,
    /// Desired profiles that serve, the degraded ones among them.
    pub profiles_ready: u32,
    /// Desired profiles.
    pub profiles_desired: u32,
    /// Resident memory in bytes.
    pub rss_bytes: Option<u64>,
    /// CPU time used so far, in milliseconds.
    pub cpu_ms: Option<u64>,
    /// Problems of the gateway as a whole.
    pub problems: Vec<Problem>,
    /// Client connections that are let in.
    #[serde(default)]
    pub max_connections: Option<u32>,
    /// Those of `profiles_ready` that cannot do all that is asked of them.
    #[serde(default)]
    pub profiles_degraded: u32,
    /// Whether the machine is kept awake; `None` where that is not asked for.
    #[serde(default)]
    pub keep_awake: Option<KeepAwake>,
    /// The program that it runs; only it can say, since nobody else may look into it.
    #[serde(default)]
    pub program: Option<Program>,
}

/// A program that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The file that it was started from. There may be another one in its place by now.
    pub path: String,
    /// The device of the very file.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

impl Gateway {
    /// See [`readiness`].
    pub fn readiness(&self, noun: &str) -> String {
        readiness(self.profiles_ready, self.profiles_desired, self.profiles_degraded, noun)
    }
}

/// How many are ready, of those that should be: `1 of 3 profiles ready, 1 degraded`. Who serves but cannot do all that is asked of it
/// is degraded, not ready. `serving`: those among them. `noun` (`profile`, in the singular) may be empty.
pub fn readiness(serving: u32, desired: u32, degraded: u32, noun: &str) -> String {
    let ready = serving.saturating_sub(degraded);
    let noun = match (noun, desired) {
        ("", _) => String::new(),
        (noun, 1) => format!(" {noun}"),
        (noun, _) => format!(" {noun}s"),
    };
    let rest = if degraded == 0 { String::new() } else { format!(", {degraded} degraded") };
    format!("{ready} of {desired}{noun} ready{rest}")
}

/// An inhibitor of the machine's sleep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeepAwake {
    /// It is held.
    pub held: bool,
    /// The program that holds it, or is to.
    pub by: String,
    /// Why it is not held.
    pub reason: Option<String>,
}

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Address as bound.
    pub address: String,
    /// Platforms reachable on it.
    pub platforms: Vec<String>,
}

/// States a worker can be in, the words of status, logs and code.
pub mod state {
    /// Spawned, not ready yet.
    pub const STARTING: &str = "starting";
    /// Serving.
    pub const READY: &str = "ready";
    /// Serving, but not able to do all that its files ask for: a platform is not connected, no turn can run, the provider fails.
    pub const DEGRADED: &str = "degraded";
    /// Finishing.
    pub const DRAINING: &str = "draining";
    /// Not running, on purpose.
    pub const STOPPED: &str = "stopped";
    /// Not running; files must change first.
    pub const FAILED: &str = "failed";
    /// Not running; will be tried again.
    pub const BACKOFF: &str = "backoff";
    /// Died too often; tried again at the longest delay.
    pub const CRASH_LOOP: &str = "crash_loop";
    /// Nobody who knows answers; the rest is what files and processes show.
    pub const UNKNOWN: &str = "unknown";
    /// Handed to a gateway of its own.
    pub const DETACHED: &str = "detached";
    /// A gateway of its own was running before us.
    pub const CONFLICT: &str = "conflict";
    /// Not running, because its home says that it is parked.
    pub const PARKED: &str = "parked";
    /// Not served, because its configuration says that it stands alone.
    pub const STANDALONE: &str = crate::v2::parts::STANDALONE;

    /// Not running, because there is nothing to do: its first request starts it.
    pub const SLEEPING: &str = "sleeping";

    /// Whether somebody wanted it that way: nothing runs here, and nothing is wrong.
    pub fn is_at_rest(state: &str) -> bool {
        matches!(state, STOPPED | DETACHED | PARKED | STANDALONE | SLEEPING)
    }
}

/// One profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Name.
    pub name: String,
    /// Its home.
    pub home: String,
    /// `running` or `stopped`: what was asked for.
    pub desired: String,
    /// One of [`state`]: what is.
    pub state: String,
    /// Whether it takes requests.
    pub ready: bool,
    /// ISO 8601: when the state was entered.
    pub since: Option<String>,
    /// Seconds in this state.
    pub since_secs: Option<u64>,
    /// Worker's process id.
    pub pid: Option<u32>,
    /// Counter of processes started since the supervisor started.
    pub generation: u64,
    /// Unplanned replacements.
    pub restarts: u64,
    /// How the last process ended: `exit 1`, `signal 9 (SIGKILL)`, `stuck: …`.
    pub last_exit: Option<String>,
    /// Why it is not ready, or not able.
    pub reason: Option<String>,
    /// The file the reason is about.
    pub file: Option<String>,
    /// Milliseconds until the next start, in backoff and crash_loop.
    pub next_attempt_ms: Option<u64>,
    /// By platform name.
    pub platforms: BTreeMap<String, PlatformStatus>,
    /// Tool servers by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tool_servers: BTreeMap<String, ToolServerStatus>,
    /// Providers with several keys, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub key_pools: BTreeMap<String, KeyPool>,
    /// Turns running.
    pub active_agents: u64,
    /// Inbox items waiting.
    pub inbox_waiting: u64,
    /// Requests forwarded since the supervisor started.
    pub requests: u64,
    /// Requests in flight.
    pub requests_active: u64,
    /// Requests finished a second, over the last seconds.
    #[serde(default)]
    pub requests_per_sec: Option<f64>,
    /// Milliseconds in which 99 of 100 requests of the last minute were finished, as close as the metrics' buckets tell.
    #[serde(default)]
    pub latency_p99_ms: Option<f64>,
    /// Resident memory in bytes.
    pub rss_bytes: Option<u64>,
    /// CPU time used so far, in milliseconds.
    pub cpu_ms: Option<u64>,
    /// Milliseconds since the last heartbeat.
    pub heartbeat_age_ms: Option<u64>,
    /// No heartbeat for three intervals, or read from a file.
    pub stale: bool,
    /// `updated_at` of its status file.
    pub updated_at: Option<String>,
    /// What its last report found.
    pub problems: Vec<Problem>,
    /// Where its HTTP is reached, for debugging.
    pub data_socket: Option<String>,
    /// Of the inbox items waiting, those put off because of the provider.
    #[serde(default)]
    pub inbox_postponed: u64,
    /// Dead letters: inbox items given up, kept for a week, run again when sent again.
    #[serde(default)]
    pub inbox_failed: u64,
    /// Why the last one was put off.
    #[serde(default)]
    pub inbox_reason: Option<String>,
    /// Answers that could not be delivered, within a week.
    #[serde(default)]
    pub undelivered: u64,
    /// The provider's last failure, until a call succeeds.
    #[serde(default)]
    pub last_error: Option<LastError>,
    /// Seconds since then.
    #[serde(default)]
    pub last_error_secs: Option<u64>,
    /// ISO 8601: when the worker that serves read its files.
    pub config_at: Option<String>,
    /// ISO 8601: when a worker with newer files was refused, and this one went on; `reason` and `file` say why.
    pub refused_at: Option<String>,
    /// How platforms whose connection must never stand twice last passed from one worker to the next.
    #[serde(default)]
    pub takeover: Option<Takeover>,
    /// How its files ask for it to be kept, as far as they were read.
    #[serde(default)]
    pub upkeep: Option<Upkeep>,
    /// Why it does not sleep although it runs on demand: what only a process can hold, or work that waits.
    #[serde(default)]
    pub awake: Option<String>,
    /// What is around the programs that it starts, as its worker says.
    #[serde(default)]
    pub fence: Option<FenceStatus>,
    /// Turns that wait for somebody's approval, as its worker says.
    #[serde(default)]
    pub approvals: Option<Approvals>,
    /// Seconds since the first of them waits.
    #[serde(default)]
    pub approvals_secs: Option<u64>,
    /// Chats that are gone, as its worker says, or said last; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_chats: Option<GoneChats>,
}

/// Platforms passed from one worker of a profile to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Takeover {
    /// Their names.
    pub platforms: Vec<String>,
    /// Generation of the worker that had them.
    pub from_generation: u64,
    /// Generation of the worker that has them.
    pub generation: u64,
    /// Milliseconds in which nobody was connected.
    pub pause_ms: u64,
    /// ISO 8601: when that was over.
    pub at: String,
}
