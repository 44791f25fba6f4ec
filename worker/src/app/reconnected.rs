//! Platforms that are connected, or connected again: what waits for another try to their chats is sent at once.

use std::collections::BTreeSet;

use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::platforms::{Phase, Phases};
use crate::delivery::Deliveries;

/// Tells deliveries of every platform that becomes connected, until the end.
pub(super) fn keep_told(
    mut phases: watch::Receiver<Phases>,
    deliveries: &Deliveries,
    end: &CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    let (deliveries, end) = (deliveries.clone(), end.clone());
    let told = async move {
        let mut before = BTreeSet::new();
        loop {
            let now = connected(&phases.borrow_and_update());
            for name in now.difference(&before) {
                deliveries.hurry(name).await;
            }
            before = now;
            if phases.changed().await.is_err() {
                return;
            }
        }
    };
    end.run_until_cancelled_owned(told).map(drop)
}

fn connected(phases: &Phases) -> BTreeSet<&'static str> {
    phases.iter().filter(|(_, phase)| **phase == Phase::Connected).map(|(name, _)| *name).collect()
}
