//! What a chat is shown of a turn beside its answer: that somebody types, and a sign at the message that began it.
//!
//! Best effort, and never in the way of the turn: whoever does not hear of it misses nothing that is not said in words as well. After a
//! death the sign is shown again with the turn that goes on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio_util::task::TaskTracker;

use super::Deliveries;
use super::outbound::Sign;
use crate::inbound::DeliveryTarget;

/// Time for one sign.
const TIME: Duration = Duration::from_secs(10);

/// How many questions of a turn wait for an answer. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Waits(Arc<watch::Sender<usize>>);

impl Default for Waits {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

/// One question that waits, until it is dropped.
#[derive(Debug)]
pub(crate) struct Waiting(Waits);

impl Waits {
    /// A question waits.
    pub(crate) fn begin(&self) -> Waiting {
        self.0.send_modify(|count| *count += 1);
        Waiting(self.clone())
    }

    /// Hears of every change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<usize> {
        self.0.subscribe()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}

impl Deliveries {
    /// Shows in the target's chat that an answer is being made, for as long as `work` takes and waits for nobody.
    pub(crate) async fn typing_while<T>(
        &self,
        target: &DeliveryTarget,
        waits: &Waits,
        work: impl Future<Output = T>,
    ) -> T {
        let way = self.0.ways.get(&target.kind);
        let Some((way, lasts)) = way.and_then(|way| Some((way, way.abilities_for(target).typing?))) else {
            return work.await;
        };
        let mut waiting = waits.subscribe();
        let shows = async {
            loop {
                // It is the sender's turn now.
                let _ = waiting.wait_for(|count| *count == 0).await;
                let _ = tokio::time::timeout(lasts, way.typing(target)).await;
                tokio::time::sleep(lasts).await;
            }
        };
        tokio::select! {
            biased;
            done = work => done,
            () = shows => unreachable!("it never ends"),
        }
    }

    /// Has the place of a conversation called by its title, where it was begun for it.
    pub(crate) async fn entitle(&self, target: &DeliveryTarget, title: &str) {
        if let Some(way) = self.0.ways.get(&target.kind) {
            let _ = tokio::time::timeout(TIME, way.entitle(target, title)).await;
        }
    }

    /// Shows at the message that began a turn that it is seen, until it [ends](Shown::end). `None`: nothing is shown there.
    pub(crate) fn seen(&self, tasks: &TaskTracker, target: &DeliveryTarget) -> Option<Shown> {
        let way = Arc::clone(self.0.ways.get(&target.kind).filter(|way| way.abilities_for(target).reacts)?);
        let (end, ended) = oneshot::channel();
        let target = target.clone();
        tasks.spawn(async move {
            let _ = tokio::time::timeout(TIME, way.react(&target, Sign::Seen)).await;
            if let Ok(sign) = ended.await {
                let _ = tokio::time::timeout(TIME, way.react(&target, sign)).await;
            }
        });
        Some(Shown(end))
    }
}

/// A sign that is shown. Dropped it stays as it is: the turn goes on elsewhere.
#[derive(Debug)]
pub(crate) struct Shown(oneshot::Sender<Sign>);

impl Shown {
    /// The turn is over.
    pub(crate) fn end(self, sign: Sign) {
        // Nobody is there to hear it at the end of the process.
        let _ = self.0.send(sign);
    }
}
