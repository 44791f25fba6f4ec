//! `runtime_status.json`, and byte for byte the same `gateway_state.json`: what a worker says of itself.
//!
//! One writer: the worker of that home. It starts from an empty record, writes temp + fsync + rename, compact, without a final
//! newline. The first ten keys and `served_profiles` are 0.19.0's, read by dashboards and scripts; the rest is ours.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::v2::parts::{LastError, Problem};
use crate::v3::upkeep::Upkeep;

/// Version of the file. 0 = written by 0.19.0. A writer never writes over a newer one.
pub const SCHEMA: u32 = 1;

/// The file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuntimeStatus {
    /// Process id of the writer.
    pub pid: Option<u32>,
    /// `hermes-gateway`.
    #[serde(default)]
    pub kind: Option<String>,
    /// Command line of the writer.
    #[serde(default)]
    pub argv: Vec<String>,
    /// Field 22 of the writer's `/proc/<pid>/stat`.
    #[serde(default)]
    pub start_time: Option<u64>,
    /// `starting`, `running`, `degraded`, `draining`, `stopped`, `startup_failed`.
    pub gateway_state: Option<String>,
    /// Why, with `stopped` and `startup_failed`.
    #[serde(default)]
    pub exit_reason: Option<String>,
    /// A restart was asked for.
    #[serde(default)]
    pub restart_requested: bool,
    /// Turns running.
    #[serde(default)]
    pub active_agents: u64,
    /// By platform name.
    #[serde(default)]
    pub platforms: BTreeMap<String, PlatformStatus>,
    /// Time of the last write, ISO 8601 with offset (an integer epoch in files of a container's init).
    #[serde(default, deserialize_with = "text_or_number")]
    pub updated_at: Option<String>,
    /// Served profiles, `default` first; in the primary's file while multiplexing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_profiles: Option<Vec<String>>,
    /// [`SCHEMA`]; absent = 0.19.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<u32>,
    /// The profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Release of the writer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Its supervisor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supervisor_pid: Option<u32>,
    /// Times the worker was replaced since the supervisor started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u64>,
    /// What waits in the inbox; absent until something was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbox: Option<InboxStatus>,
    /// With `degraded`: what in the files is in the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degraded_reason: Option<String>,
    /// The provider's last failure, until a call succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
    /// Tool servers (`mcp_servers`) by name; absent where there are none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tool_servers: BTreeMap<String, ToolServerStatus>,
    /// With `stopped`: it has nothing to do, and runs again when it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asleep: Option<Asleep>,
    /// What is around the programs that the profile starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<FenceStatus>,
    /// Turns that have asked whether they may do something, and wait; absent where none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<Approvals>,
    /// Providers with several keys, by name; absent where there are none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub key_pools: BTreeMap<String, KeyPool>,
    /// Chats that are gone; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_chats: Option<GoneChats>,
}

/// Chats that are gone: deleted, or the bot was put out of them. What nobody there asked for is not sent there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GoneChats {
    /// How many.
    pub count: u64,
    /// The latest of them, the last one first.
    #[serde(default)]
    pub latest: Vec<GoneChat>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GoneChat {
    /// Its platform.
    pub platform: String,
    /// As the platform names it.
    pub chat_id: String,
    /// What the platform said.
    #[serde(default)]
    pub reason: String,
    /// ISO 8601: when.
    #[serde(default)]
    pub since: Option<String>,
}

impl GoneChats {
    /// Most that are named in a line.
    const NAMED: usize = 3;

    /// For people: `2 chats are gone: telegram 7 (since …: Forbidden), discord 9 (…)`.
    pub fn line(&self) -> String {
        let named = self.latest.iter().take(Self::NAMED);
        let mut each: Vec<String> = named
            .map(|GoneChat { platform, chat_id, reason, since }| {
                let since = since.as_deref().map(|since| format!("since {since}: ")).unwrap_or_default();
                format!("{platform} {chat_id} ({since}{reason})")
            })
            .collect();
        let rest = self.count.saturating_sub(u64::try_from(each.len()).unwrap_or(u64::MAX));
        if rest > 0 {
            each.push(format!("{rest} more"));
        }
        let chats = if self.count == 1 {
            "1 chat is gone".to_owned()
        } else {
            format!("{} chats are gone", self.count)
        };
        format!("{chats}: {}", each.join(", "))
    }
}

/// Turns that wait for somebody's approval. What they ask is said to whoever is asked, and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Approvals {
    /// How many.
    pub waiting: u64,
    /// ISO 8601: since when the first of them waits.
    pub since: String,
}

/// The keys of a provider that has several. No key is in it, nor anything made of one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KeyPool {
    /// How many there are.
    pub keys: u32,
    /// Those of them that are left alone now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_alone: Vec<LeftAlone>,
}

/// A key that is left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftAlone {
    /// Why: `unauthorized`, `rate_limited`, `quota`, or `exhausted` where only the file says so.
    pub reason: String,
    /// ISO 8601: when it is used again; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

impl KeyPool {
    /// For people: `2 of 3 left alone: unauthorized (until …), quota (for good)`; `None`: all are used.
    pub fn line(&self) -> Option<String> {
        if self.left_alone.is_empty() {
            return None;
        }
        let each = self.left_alone.iter().map(|key| match &key.until {
            Some(until) => format!("{} (until {until})", key.reason),
            None => format!("{} (for good)", key.reason),
        });
        let each: Vec<String> = each.collect();
        Some(format!("{} of {} left alone: {}", self.left_alone.len(), self.keys, each.join(", ")))
    }
}

/// What is around the programs that a profile starts. Only what was tried is said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FenceStatus {
    /// What was asked for: `auto`, `require`, `off`.
    pub mode: String,
    /// What is in force: `bubblewrap`, `namespaces`, `landlock`, `none`; absent: nothing was started yet, and nothing tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rung: Option<String>,
    /// With `none`: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it does not do, or does too much.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl FenceStatus {
    /// One line for people.
    pub fn line(&self) -> String {
        let rung = match (self.rung.as_deref(), self.mode.as_str()) {
            (None, mode) => return format!("{mode}, not tried yet: nothing was started"),
            (Some("none"), "off") => return "off".to_owned(),
            (Some(rung), _) => rung,
        };
        let reason = self.reason.iter().chain(&self.notes).map(String::as_str).collect::<Vec<_>>().join("; ");
        let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
        format!("{rung} ({}){reason}", self.mode)
    }
}

/// What a worker that went to sleep leaves for a gateway that starts: why it need not be started to be asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asleep {
    /// Which state its files were in when it read them; the gateway's own word, which it gave the worker.
    pub stamp: String,
    /// What they said of how it is kept.
    pub upkeep: Upkeep,
    /// What was odd about them.
    #[serde(default)]
    pub problems: Vec<Problem>,
}

/// What waits in the inbox.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InboxStatus {
    /// Not yet begun, or put off.
    #[serde(default)]
    pub waiting: u64,
    /// Of those, put off because of the provider.
    #[serde(default)]
    pub postponed: u64,
    /// Dead letters: given up, kept for a week, run again when sent again.
    #[serde(default)]
    pub failed: u64,
    /// Why the last one was put off.
    #[serde(default)]
    pub reason: Option<String>,
    /// Answers that could not be delivered, within a week.
    #[serde(default)]
    pub undelivered: u64,
}

/// One platform's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformStatus {
    /// `connecting`, `connected`, `disconnected`, `retrying`, `conflict`, `fatal`, `paused`, `unsupported`.
    pub state: String,
    /// For programs.
    #[serde(default)]
    pub error_code: Option<String>,
    /// For people.
    #[serde(default)]
    pub error_message: Option<String>,
    /// ISO 8601 with offset.
    #[serde(default, deserialize_with = "text_or_number")]
    pub updated_at: Option<String>,
    /// How it is connected, where there are several ways: `polling`, `webhook`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
}

/// One tool server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolServerStatus {
    /// `connecting`, `connected`, `retrying`, `parked` (tried again every five minutes), `asleep` (started by the next call),
    /// `stopped`, `off`, `unusable`, `handed_on` (to another agent, which runs it).
    pub state: String,
    /// How many tools of it the model may be offered.
    #[serde(default)]
    pub tools: u32,
    /// For people: why it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The version of the protocol that is spoken with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// ISO 8601 with offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<String>,
}

/// Largest status file a reader accepts, in bytes.
pub const MAX_LEN: usize = 1024 * 1024;

/// Why a status file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Longer than [`MAX_LEN`].
    #[error("the status file of {0} bytes is too large")]
    TooLarge(usize),
    /// Not the JSON it should be.
    #[error("the status file is not valid")]
    Json(#[source] serde_json::Error),
}

impl RuntimeStatus {
    /// Reads a file of any release, newer ones included (unknown keys are skipped).
    pub fn read(bytes: &[u8]) -> Result<Self, ReadError> {
        if bytes.len() > MAX_LEN {
            return Err(ReadError::TooLarge(bytes.len()));
        }
        serde_json::from_slice(bytes).map_err(ReadError::Json)
    }

    /// The bytes to write.
    pub fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and integers always serialise")
    }
}

fn text_or_number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Option::<serde_json::Value>::deserialize(deserializer)? {
        None | Some(serde_json::Value::Null) => None,
        Some(serde_json::Value::String(text)) => Some(text),
        Some(other) => Some(other.to_string()),
    })
}
