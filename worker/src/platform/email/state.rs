//! What the connection and the way out have in common: whether the password is taken.

use tokio::sync::watch;

/// Kept once a worker.
#[derive(Debug, Default)]
pub(super) struct State {
    refused: watch::Sender<Option<String>>,
}

impl State {
    /// A server has said that it does not take the password.
    pub(super) fn refuse(&self, reason: String) {
        self.refused.send_modify(|refused| {
            refused.get_or_insert(reason);
        });
    }

    /// Why it is not used any more.
    pub(super) fn refusal(&self) -> Option<String> {
        self.refused.borrow().clone()
    }

    /// Waits until a server has said so.
    pub(super) async fn refused(&self) -> String {
        let mut refused = self.refused.subscribe();
        // The sender is this value's own.
        let reason = refused.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        reason.unwrap_or_default()
    }
}
