//! How answers go out to chats.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Whether a chat is shown an answer while it is made, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Streaming {
    /// `streaming.enabled`, and `streaming.transport` is not `off`. Default false.
    pub enabled: bool,
    /// `display.platforms.<platform>.streaming`: instead of that, for one platform.
    pub platforms: BTreeMap<String, bool>,
    /// `display.platforms.<platform>.show_reasoning`: where what the model thinks is shown too.
    pub thoughts: BTreeSet<String>,
    /// `streaming.edit_interval`: shortest time between two changes of a message. Default 0.8 s.
    pub interval: Duration,
    /// `streaming.buffer_threshold`: so many characters are there before the first of them are shown. Default 24.
    pub threshold: usize,
    /// `streaming.cursor`: what stands behind an answer that goes on. Default ` ▉`.
    pub cursor: String,
    /// `streaming.fresh_final_after_seconds`: an answer that took longer comes as a new message, and what was shown of it goes. Default: none.
    pub fresh_after: Option<Duration>,
}

impl Default for Streaming {
    fn default() -> Self {
        Self {
            enabled: false,
            platforms: BTreeMap::new(),
            thoughts: BTreeSet::new(),
            interval: Duration::from_millis(800),
            threshold: 24,
            cursor: " ▉".to_owned(),
            fresh_after: None,
        }
    }
}

impl Streaming {
    /// Whether chats of a platform are shown answers while they are made.
    pub fn is_on(&self, platform: &str) -> bool {
        self.platforms.get(platform).copied().unwrap_or(self.enabled)
    }
}

/// Which files may leave in answers, beside those of the workspace and of the profile's cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    /// `gateway.media_delivery_allow_dirs`: directories whose files may.
    pub dirs: Vec<String>,
    /// `gateway.trust_recent_files` and `gateway.trust_recent_files_seconds`: a file that was changed no longer ago may, wherever it is.
    /// Default ten minutes.
    pub recent: Option<Duration>,
}

impl Default for Leaving {
    fn default() -> Self {
        Self { dirs: Vec::new(), recent: Some(Duration::from_mins(10)) }
    }
}
