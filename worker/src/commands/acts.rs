//! What commands can have done to the worker itself. Who makes the worker gives it; where nothing is given, nothing can be done.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::session::Overlay;

/// See the module. Cloning shares it.
#[derive(Clone, Default)]
pub(crate) struct Acts {
    /// Has another worker take this one's place; none: nobody would start one.
    pub(crate) restart: Option<Arc<Notify>>,
    /// The platforms that the profile is connected to.
    pub(crate) platforms: Option<Arc<dyn Board>>,
    /// What the model is told behind its prompt.
    pub(crate) overlay: Overlay,
}

/// The platforms of a worker, as somebody in a chat sees them.
pub(crate) trait Board: Send + Sync {
    /// Each with how it is, in words.
    fn list(&self) -> Vec<(String, String)>;

    /// Closes a connection, or has it made again. `false`: there is no such platform.
    fn pause(&self, platform: &str, paused: bool) -> bool;
}
