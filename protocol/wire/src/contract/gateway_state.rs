//! `gateway_state.json` of a gateway's own home: what the gateway as a whole says of itself to readers of the Python program.
//!
//! One writer: the supervisor. The first ten keys and `served_profiles` are 0.19.0's; `multiplex_standalone_reason` and what a platform
//! says beyond four keys are those of 0.20 to 0.23; the rest is ours. Platforms of the gateway's own profile stand under their names, those
//! of another under `<profile>:<platform>`; what another one has by the gateway's listeners is not repeated, as readers know it from the
//! listener's own entry.
//!
//! What newer releases write and this program does not know is left out: `code_sha` and `code_version` name a state of the Python program's
//! source, with which its updater compares a gateway; of a gateway without them it takes nothing as proved. `active_work` and
//! `session_store` are left out for want of the facts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Version of the file.
pub const SCHEMA: u32 = 1;

/// The file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GatewayState {
    /// Process id of the gateway.
    pub pid: u32,
    /// `hermes-gateway`.
    pub kind: String,
    /// Its command line.
    pub argv: Vec<String>,
    /// Field 22 of its `/proc/<pid>/stat`.
    pub start_time: Option<u64>,
    /// `starting`, `running`, `degraded`, `draining`, `stopped`, `startup_failed`.
    pub gateway_state: String,
    /// Why, with `startup_failed`.
    pub exit_reason: Option<String>,
    /// A restart was asked for.
    pub restart_requested: bool,
    /// Turns running, of all profiles.
    pub active_agents: u64,
    /// By name, or profile and name.
    pub platforms: BTreeMap<String, Platform>,
    /// Time of the last write, ISO 8601 with offset; a minute old at most while the gateway lives.
    pub updated_at: String,
    /// Served profiles, `default` first; absent until that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_profiles: Option<Vec<String>>,
    /// Why other profiles are not served.
    #[serde(default)]
    pub multiplex_standalone_reason: Option<String>,
    /// [`SCHEMA`].
    pub schema: u32,
    /// The gateway's own profile.
    pub profile: String,
    /// Release.
    pub version: String,
}

/// One platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// As in [`super::runtime_status::PlatformStatus`].
    pub state: String,
    /// For programs.
    pub error_code: Option<String>,
    /// For people.
    pub error_message: Option<String>,
    /// ISO 8601 with offset: when the state was entered.
    pub updated_at: Option<String>,
    /// Whether nothing but somebody's hand can help.
    pub needs_attention: bool,
    /// Process id of the gateway.
    pub writer_pid: u32,
    /// When that started, as above.
    pub writer_start_time: Option<u64>,
    /// Where its listener is reached on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener_base: Option<String>,
}
