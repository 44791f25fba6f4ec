//! What tells that a profile has become able to do more or less.

use hermes_wire::contract::runtime_status::FenceStatus;
use hermes_wire::latest::LastError;
use tokio::sync::watch;

use super::platforms::Degraded;

/// See [`super::serving::Serving::changes`].
pub(super) struct Changes {
    pub(super) platforms: watch::Receiver<Degraded>,
    pub(super) provider: watch::Receiver<Option<LastError>>,
    pub(super) store: watch::Receiver<Option<String>>,
    pub(super) fence: watch::Receiver<FenceStatus>,
}

impl Changes {
    /// Waits for the next one. Cancel safe.
    pub(super) async fn next(&mut self) {
        let closed = tokio::select! {
            changed = self.platforms.changed() => changed.is_err(),
            changed = self.provider.changed() => changed.is_err(),
            changed = self.store.changed() => changed.is_err(),
            changed = self.fence.changed() => changed.is_err(),
        };
        if closed {
            // Whoever tells of changes is gone: there are no more.
            std::future::pending::<()>().await;
        }
    }
}
