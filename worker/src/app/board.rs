//! The platforms of this worker as somebody in a chat sees them, and pauses of their connections.

use super::platforms::Paused;
use crate::commands::Board;
use crate::status::Status;

/// See the module.
pub(super) struct Platforms {
    pub(super) status: Status,
    pub(super) paused: Paused,
}

impl Board for Platforms {
    fn list(&self) -> Vec<(String, String)> {
        let all = self.status.snapshot().platforms;
        let how = |(name, platform): (String, hermes_wire::contract::runtime_status::PlatformStatus)| {
            let code = platform.error_code.map(|code| format!(" ({code})")).unwrap_or_default();
            (name, format!("{}{code}", platform.state))
        };
        all.into_iter().map(how).collect()
    }

    fn pause(&self, platform: &str, paused: bool) -> bool {
        if !self.status.snapshot().platforms.contains_key(platform) {
            return false;
        }
        self.paused.send_if_modified(|all| {
            if paused { all.insert(platform.to_owned()) } else { all.remove(platform) }
        });
        true
    }
}
