//! When a session ends by itself: `session_reset` and its overrides.

use std::collections::BTreeMap;

/// `session_reset`, `reset_by_platform`, `reset_by_type`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionReset {
    /// What holds unless an override does.
    pub default: ResetPolicy,
    /// By platform; wins over everything.
    pub by_platform: BTreeMap<String, ResetPolicy>,
    /// By chat type: `dm`, `group`, `thread`.
    pub by_type: BTreeMap<String, ResetPolicy>,
}

impl SessionReset {
    /// The policy for one conversation.
    pub fn policy(&self, platform: &str, chat_type: &str) -> &ResetPolicy {
        self.by_platform.get(platform).or_else(|| self.by_type.get(chat_type)).unwrap_or(&self.default)
    }
}

/// When a session ends by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResetPolicy {
    /// `mode`. Default none.
    pub mode: ResetMode,
    /// `at_hour`, local time. Default 4.
    pub at_hour: u8,
    /// `idle_minutes`. Default 1440.
    pub idle_minutes: u32,
    /// `notify`. Default true.
    pub notify: bool,
}

impl Default for ResetPolicy {
    fn default() -> Self {
        Self { mode: ResetMode::None, at_hour: 4, idle_minutes: 1440, notify: true }
    }
}

/// `session_reset.mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResetMode {
    /// Never.
    #[default]
    None,
    /// At the hour.
    Daily,
    /// After silence.
    Idle,
    /// Whichever comes first.
    Both,
}
