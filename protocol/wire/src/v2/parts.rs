//! What messages between the supervisor and one worker are made of. Frozen with version 2, and some of it with version 1.

use serde::{Deserialize, Serialize};

/// What a worker must know before it can judge its own configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepare {
    /// Key of the hash that claims are made with; random per supervisor start.
    pub claim_key: [u8; 32],
    /// Counter of processes started for this profile since the supervisor started.
    pub generation: u64,
    /// The part this worker plays.
    pub role: Role,
    /// The multiplex flag where the supervisor's own environment overrides configuration.
    pub multiplex: Option<bool>,
    /// Listeners, once known. Empty for the worker whose report decides them.
    pub listeners: Vec<BoundListener>,
    /// Process id of the supervisor, for the status file.
    pub supervisor_pid: u32,
    /// How often this profile's worker was replaced so far, for the status file.
    pub restarts: u64,
    /// Milliseconds between two heartbeats.
    pub heartbeat_ms: u64,
}

/// The part a worker plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Its settings are the gateway's: `default`, or the only profile where multiplexing is off.
    Primary,
    /// Served beside the primary; may not open listeners.
    Secondary,
}

/// An exclusive identity: two workers must never hold the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Claim {
    /// Platform name.
    pub platform: String,
    /// Keyed hash of scope and identity.
    pub identity: [u8; 32],
    /// File and key or variable that hold it; never the value.
    pub source: String,
}

/// How much a problem stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    /// Worth a line in the log.
    Warning,
    /// The profile runs, and a part of it does not work: a platform that does not start, a provider that cannot be asked. The
    /// profile is `degraded`.
    Platform,
    /// The profile does not start.
    Profile,
    /// The contract between profiles is broken: policy decides whether the gateway starts.
    Gateway,
}

impl Severity {
    /// Whether a profile in whose files this is found is not served.
    pub fn stops_profile(self) -> bool {
        self >= Self::Profile
    }
}

/// One thing that is wrong in a profile's files. Never carries a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// How much it stops.
    pub severity: Severity,
    /// Stable, for scripts: `port_binding`, `unknown_key`, `yaml_syntax`, …
    pub code: String,
    /// The platform concerned.
    pub platform: Option<String>,
    /// Absolute path of the file.
    pub file: String,
    /// Line, from 1.
    pub line: Option<u32>,
    /// Column, from 1.
    pub column: Option<u32>,
    /// Dotted key path, or variable name.
    pub key: Option<String>,
    /// What is wrong, one sentence.
    pub message: String,
    /// The next step, one sentence.
    pub fix: Option<String>,
}

/// Code of the problem that a profile wants no part in the gateway of all.
pub const STANDALONE: &str = "standalone";

impl Problem {
    /// Whether it says that the profile wants no part in the gateway of all: no fault, and a reason not to serve it.
    pub fn is_standalone(&self) -> bool {
        self.code == STANDALONE
    }

    /// What is wrong with `file`, which is stopped as far as `severity` says, and the next step.
    pub fn of_file(
        severity: Severity,
        code: &str,
        file: &camino::Utf8Path,
        message: String,
        fix: &str,
    ) -> Self {
        Self {
            file: file.to_string(),
            fix: Some(fix.to_owned()),
            ..Self::without_place(severity, code, message)
        }
    }

    pub(crate) fn without_place(severity: Severity, code: &str, message: String) -> Self {
        Self {
            severity,
            code: code.to_owned(),
            platform: None,
            file: String::new(),
            line: None,
            column: None,
            key: None,
            message,
            fix: None,
        }
    }
}

/// What happens when a profile breaks the contract at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum OnProfileError {
    /// Refuse the whole start.
    #[default]
    Fail,
    /// Start without the offender.
    Skip,
}

/// Settings of the gateway, from the primary's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewaySettings {
    /// `gateway.multiplex_profiles`, overrides applied.
    pub multiplex: bool,
    /// `gateway.multiplex_profile_allowlist`; `None` = all.
    pub allowlist: Option<Vec<String>>,
    /// `gateway.on_profile_error`.
    pub on_profile_error: OnProfileError,
    /// `gateway.shared_env`: names only.
    pub shared_env: Vec<String>,
    /// What to bind, one entry a port-binding platform.
    pub listeners: Vec<ListenerSetting>,
    /// `gateway.admin`: address of the metrics listener.
    pub admin: Option<String>,
    /// `gateway.max_connections`: open client connections, all listeners together.
    pub max_connections: u32,
    /// `gateway.max_requests_per_profile`: requests in flight for one profile.
    pub max_requests_per_profile: u32,
    /// `gateway.max_body_bytes`: largest request body the proxy passes on.
    pub max_body_bytes: u64,
    /// `gateway.header_timeout_ms`: time a client has for a request's head.
    pub header_timeout_ms: u64,
    /// `gateway.hold_ms`: how long a request waits for a worker that is starting.
    pub hold_ms: u64,
    /// `gateway.response_timeout_ms`: time a worker has until the response's head.
    pub response_timeout_ms: u64,
    /// `agent.restart_drain_timeout`: time running turns have on stop, swap and shutdown.
    pub drain_ms: u64,
    /// `gateway.start_timeout_ms`: time a worker has from spawn to ready.
    pub start_timeout_ms: u64,
    /// `gateway.stuck_after_ms`: silence on the control socket after which a worker is replaced.
    pub stuck_after_ms: u64,
    /// `gateway.heartbeat_ms`: time between two heartbeats.
    pub heartbeat_ms: u64,
    /// `gateway.max_connections_per_address`: open client connections of one address; 0 = as many as there are.
    pub max_connections_per_address: u32,
    /// `gateway.body_timeout_ms`: time a client has for a request's body until the worker answers; 0 = any.
    pub body_timeout_ms: u64,
    /// `gateway.min_body_rate`: bytes a second a request's body must come with until the worker answers; 0 = any.
    pub min_body_rate: u64,
}

/// One address a platform wants.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ListenerSetting {
    /// Platform name.
    pub platform: String,
    /// Host; `None` = all interfaces, both families.
    pub host: Option<String>,
    /// Port; 0 = any.
    pub port: u16,
    /// File and key it comes from, for "port in use".
    pub source: String,
}

/// A listener the supervisor has bound.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BoundListener {
    /// `127.0.0.1:8644`, the port as the system assigned it.
    pub address: String,
    /// Host as configured, which loopback-only rules look at; `None` = all interfaces.
    pub host: Option<String>,
    /// Platforms reachable on it.
    pub platforms: Vec<String>,
}

/// Permission to serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admit {
    /// All listeners, as bound.
    pub listeners: Vec<BoundListener>,
    /// Whether `/p/<profile>/` is in force.
    pub multiplex: bool,
    /// All served profiles, `default` first; for the status file of the primary.
    pub served: Vec<String>,
}

/// The last failed call to a profile's provider. Never carries a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// The provider.
    pub provider: String,
    /// For programs: `unreachable`, `unauthorized`, `quota`, `rate_limited`, …
    pub class: String,
    /// HTTP status, where there was an answer.
    pub code: Option<u16>,
    /// For people, on one line.
    pub message: String,
    /// When the first of the failures in a row happened: ISO 8601 with offset.
    pub since: String,
    /// When this one did.
    pub at: String,
    /// Failures in a row.
    pub count: u64,
}

/// Heartbeats that a worker with no news leaves out. Whatever happens in it, and whatever it is given to do, ends that at once.
pub const QUIET_BEATS: u32 = 15;
/// Longest time between two heartbeats all the same, in milliseconds, unless `gateway.heartbeat_ms` itself is longer.
pub const QUIET_MOST_MS: u64 = 15_000;

/// Time between two heartbeats of a worker with no news, in milliseconds.
pub fn quiet_ms(heartbeat_ms: u64) -> u64 {
    heartbeat_ms.saturating_mul(u64::from(QUIET_BEATS)).min(QUIET_MOST_MS.max(heartbeat_ms))
}

/// Sent at every interval while there is news, by the same executor that serves requests, so that silence means stuck.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Counts up from 1.
    pub sequence: u64,
    /// Turns running.
    pub active_turns: u32,
    /// Inbox items not yet claimed.
    pub inbox_waiting: u64,
    /// Vital tasks and how far they are.
    pub tasks: Vec<TaskProgress>,
    /// Of the items not yet claimed, those put off because of the provider.
    pub inbox_postponed: u64,
    /// Items given up.
    pub inbox_failed: u64,
    /// Why the last one was put off.
    pub inbox_reason: Option<String>,
    /// Answers that could not be delivered.
    pub undelivered: u64,
    /// Milliseconds until the next one at the latest. Where there is no news they are rarer: see [`QUIET_BEATS`].
    pub next_ms: u64,
}

/// Progress of one task without which a worker is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskProgress {
    /// Task name.
    pub task: String,
    /// Counts up whenever the task does anything.
    pub progress: u64,
    /// How long it has had something to do and not done anything, in milliseconds.
    pub stalled_ms: u64,
    /// From when on that means stuck.
    pub deadline_ms: u64,
}
