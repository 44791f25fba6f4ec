//! What is said to others, and kept for whoever speaks to the bot there next.

use super::Inbox;
use crate::inbound::Source;
use crate::session::overheard;
use crate::store::StoreError;

impl Inbox {
    /// Keeps what `source` says; `id`: the platform's own, under which it is kept once.
    pub(crate) async fn overhear(&self, source: Source, id: String, text: String) -> Result<(), StoreError> {
        self.store.write(move |db| overheard::add(db, &source, &id, &text)).await
    }
}
