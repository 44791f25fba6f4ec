//! Chats that are gone, in the status: how many there are, and the latest by name, from the start on.

use futures_util::FutureExt as _;
use hermes_wire::contract::runtime_status::GoneChats;
use tokio_util::sync::CancellationToken;

use crate::delivery::dead::DeadTargets;
use crate::status::Status;

/// Writes what is known of them into the status, whenever that changes, until the end.
pub(super) fn keep_shown(
    gone: &DeadTargets,
    status: &Status,
    end: &CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    let (gone, status, end) = (gone.clone(), status.clone(), end.clone());
    let shown = async move {
        let (mut changes, mut before) = (gone.changes(), GoneChats::default());
        loop {
            changes.mark_unchanged();
            let now = gone.shown().await;
            if now != before {
                status.set_gone_chats(Some(now.clone()).filter(|now| now.count > 0));
                before = now;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    end.run_until_cancelled_owned(shown).map(drop)
}
