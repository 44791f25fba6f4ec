//! What the turns of this process hold, so that it is renewed, and a turn that lost it is stopped.
//!
//! A task renews the shared rows of all turns by one statement every [`RENEW`], while there are turns; it ends when there are
//! none. A renewal that cannot be committed is tried again at the next: four may fail before a row runs out, and a row that ran
//! out is only lost to somebody who wants it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hermes_host::cause::chain;
use tokio_util::sync::CancellationToken;

use super::Inner;
use super::lease::Lease;
use crate::session::{epoch, lease};
use crate::store::StoreError;

/// Time between two renewals, as newer releases have it.
const RENEW: Duration = Duration::from_mins(1);

/// See the module. By the holder's text.
#[derive(Debug, Default)]
pub(super) struct HeldTurns(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    turns: HashMap<String, Turn>,
    /// The task runs.
    renewing: bool,
}

#[derive(Debug)]
struct Turn {
    stop: CancellationToken,
    /// Seconds since the epoch until which the row is good.
    until: f64,
}

impl HeldTurns {
    /// A turn that is over, or about to be: nothing renews its row any more. Brings up to date until when it was good.
    pub(super) fn end(&self, lease: &mut Lease) {
        if let Some(turn) = self.lock().turns.remove(&lease.shared.holder) {
            lease.shared.until = turn.until;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A turn has begun; `stop` is what stops it when its row is lost.
pub(super) fn begin(inner: &Arc<Inner>, lease: &Lease, stop: &CancellationToken) {
    let mut state = inner.held.lock();
    let turn = Turn { stop: stop.clone(), until: lease.shared.until };
    state.turns.insert(lease.shared.holder.clone(), turn);
    if !std::mem::replace(&mut state.renewing, true) {
        inner.tasks.spawn(renew_all(Arc::clone(inner)));
    }
}

async fn renew_all(inner: Arc<Inner>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(RENEW) => {}
            () = inner.stop.cancelled() => return,
        }
        {
            let mut state = inner.held.lock();
            if state.turns.is_empty() {
                state.renewing = false;
                return;
            }
        }
        if let Err(error) = renew(&inner).await {
            tracing::warn!(error = %chain(&error), "the leases of the turns that run are not renewed");
        }
    }
}

/// One renewal. Turns whose row is another's are stopped.
pub(super) async fn renew(inner: &Inner) -> Result<(), StoreError> {
    let me = inner.store.owner();
    let now = epoch();
    let lost = inner.store.write(move |db| lease::renew(db, me, now)).await?;
    let mut state = inner.held.lock();
    for (holder, turn) in &mut state.turns {
        if lost.contains(holder) {
            tracing::warn!(
                holder,
                "another program took over the session of a turn that runs; the turn is stopped"
            );
            turn.stop.cancel();
        } else {
            turn.until = turn.until.max(now + lease::TTL);
        }
    }
    Ok(())
}
