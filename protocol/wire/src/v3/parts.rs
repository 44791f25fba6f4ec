//! What messages between the supervisor and one worker are made of, where it is not as in version 2.

use serde::{Deserialize, Serialize};

use super::upkeep::Upkeep;
use crate::v2::parts::{BoundListener, ListenerSetting, OnProfileError, Role};

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
    /// How a profile is kept whose files do not say it.
    pub upkeep: Upkeep,
    /// Which state of its files this process reads, in the supervisor's words; empty where that is not known.
    pub stamp: String,
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
    /// How profiles are kept whose files do not say it.
    pub upkeep: Upkeep,
    /// `gateway.admin_token`, as [`crate::admin::hash`] gives it with the claim key; `None` = everybody on this machine may look.
    pub admin_token: Option<[u8; 32]>,
    /// `gateway.keep_awake`: the machine does not fall asleep while the gateway runs.
    pub keep_awake: bool,
}
