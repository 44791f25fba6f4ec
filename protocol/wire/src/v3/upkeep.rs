//! When a profile's worker runs, and what it may take of the machine.

use serde::{Deserialize, Serialize};

/// When a worker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Autostart {
    /// From the start of the gateway to its stop.
    #[default]
    Always,
    /// From the first request to a time without any work.
    OnDemand,
    /// When somebody starts it by hand.
    Never,
}

impl Autostart {
    /// The word in `config.yaml` and in status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::OnDemand => "on-demand",
            Self::Never => "never",
        }
    }
}

/// What a worker may take of the machine; nothing where there is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct ResourceLimits {
    /// Bytes of memory, of the worker and everything that it starts.
    pub memory: Option<u64>,
    /// Thousandths of a processor.
    pub cpu_permille: Option<u32>,
    /// Processes and threads.
    pub tasks: Option<u32>,
}

impl ResourceLimits {
    /// Whether anything is limited.
    pub fn is_any(&self) -> bool {
        *self != Self::default()
    }
}

/// How a worker is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Upkeep {
    /// `gateway.autostart`.
    pub autostart: Autostart,
    /// `gateway.idle_timeout`, in milliseconds: how long a worker that runs on demand has had nothing to do when it may sleep.
    pub idle_ms: u64,
    /// `gateway.limits`.
    pub limits: ResourceLimits,
}

/// `gateway.idle_timeout` where nobody says otherwise: as long as a model's own caches are kept.
pub const IDLE_MS: u64 = 300_000;

impl Default for Upkeep {
    fn default() -> Self {
        Self { autostart: Autostart::Always, idle_ms: IDLE_MS, limits: ResourceLimits::default() }
    }
}
