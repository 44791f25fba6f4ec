//! `logs/healthy.json` in a profile's home: what the files said when the profile was last well, without a value of them.
//!
//! The worker writes it when it has served for a moment and is able to do all that is asked of it; `hermes why` compares it with the files
//! of now. A value is in it as a keyed hash alone, whose key is in another file of the home.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Version of the file.
pub const SCHEMA: u32 = 1;
/// Longest file in bytes that is read.
pub const MAX_LEN: u64 = 4 * 1024 * 1024;
/// Length of the key.
pub const KEY_LEN: usize = 32;

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Healthy {
    /// [`SCHEMA`].
    pub schema: u32,
    /// ISO 8601: when that was.
    pub at: String,
    /// The release that served.
    #[serde(default)]
    pub release: String,
    /// Hashes of values by key of `config.yaml`.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    /// Hashes of values by variable of `.env`.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}
