//! The word that something about the gateway's profiles is different, for whoever keeps something true that follows from it.

use tokio::sync::watch;

/// Says that states, turns or the set of profiles are different. Cloning shares it.
#[derive(Clone)]
pub(crate) struct News(watch::Sender<()>);

impl News {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(()))
    }

    /// Something is different.
    pub(crate) fn tell(&self) {
        self.0.send_replace(());
    }

    /// Hears of what is different from now on.
    pub(crate) fn hear(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}
