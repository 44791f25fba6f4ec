//! Who is out of service because a command holds it.

use std::collections::BTreeMap;

use hermes_wire::ProfileName;
use hermes_wire::latest::ClientReply;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::answers::{Replies, answer};

/// Profiles, and the commands that hold each for as long as they are connected.
pub(super) struct Released {
    holders: BTreeMap<ProfileName, Vec<Replies>>,
    /// Where those commands' ends are told.
    hung_up: (mpsc::Sender<ProfileName>, mpsc::Receiver<ProfileName>),
}

impl Released {
    pub(super) fn new() -> Self {
        Self { holders: BTreeMap::new(), hung_up: mpsc::channel(16) }
    }

    pub(super) fn contains(&self, name: &ProfileName) -> bool {
        self.holders.contains_key(name)
    }

    /// One of them.
    pub(super) fn first(&self) -> Option<&ProfileName> {
        self.holders.keys().next()
    }

    /// A command holds `name` from now on.
    pub(super) fn add(&mut self, name: &ProfileName, replies: Replies, tracker: &TaskTracker) {
        let (hung_up, watched, held) = (self.hung_up.0.clone(), replies.clone(), name.clone());
        tracker.spawn(async move {
            watched.closed().await;
            // Nobody listens any more when the gateway itself ends.
            let _ = hung_up.send(held).await;
        });
        self.holders.entry(name.clone()).or_default().push(replies);
    }

    /// Its worker is gone.
    pub(super) async fn tell(&self, name: &ProfileName) {
        for replies in self.holders.get(name).into_iter().flatten() {
            answer(replies, ClientReply::Progress("released".to_owned())).await;
        }
    }

    /// A command that held `name` has hung up. Whether nobody holds it any more.
    pub(super) fn end(&mut self, name: &ProfileName) -> bool {
        if let Some(holders) = self.holders.get_mut(name) {
            holders.retain(|replies| !replies.is_closed());
            if !holders.is_empty() {
                return false;
            }
            self.holders.remove(name);
        }
        true
    }

    /// Whoever holds it, it is served again.
    pub(super) fn forget(&mut self, name: &ProfileName) {
        self.holders.remove(name);
    }

    /// Whose command hangs up next. Safe to cancel.
    pub(super) async fn next(&mut self) -> ProfileName {
        match self.hung_up.1.recv().await {
            Some(name) => name,
            // A sender is held here.
            None => std::future::pending().await,
        }
    }
}
