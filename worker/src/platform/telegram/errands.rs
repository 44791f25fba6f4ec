//! What goes on beside the polls: what is slow holds up nobody but its own conversation.
//!
//! [Carried](Errands::carry) is a message whose files have to be fetched, or that another profile answers: until it is settled it is held, so it
//! is in the mark, and what its sender says next waits behind it. [Told](Errands::tell) is what somebody hears of what was taken already, and
//! a [chore](Errands::chore) is what nobody waits for.

use std::future::pending;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::timeout;

use super::gather::Held;
use crate::handover::{NotTaken, Taken};

/// Most messages that are carried at once.
const CARRIED: usize = 16;
/// Most that is told at once.
const TOLD: usize = 64;
/// Time for what is to be told when the connection is to be closed.
const LAST: Duration = Duration::from_secs(1);

/// What became of messages that were handed in; none: there was nothing in them.
pub(super) type Accepted = Option<Result<Taken, NotTaken>>;

/// See the module.
#[derive(Default)]
pub(super) struct Errands<'p> {
    carried: FuturesUnordered<BoxFuture<'p, (Held, Accepted)>>,
    told: FuturesUnordered<BoxFuture<'p, ()>>,
    chores: FuturesUnordered<BoxFuture<'p, ()>>,
}

impl<'p> Errands<'p> {
    /// Whether there is room to carry another message.
    pub(super) fn has_room(&self) -> bool {
        self.carried.len() < CARRIED
    }

    pub(super) fn carry(&mut self, work: impl Future<Output = (Held, Accepted)> + Send + 'p) {
        self.carried.push(Box::pin(work));
    }

    /// Waits only where there is too much of it.
    pub(super) async fn tell(&mut self, work: impl Future<Output = ()> + Send + 'p) {
        while self.told.len() >= TOLD {
            self.told.next().await;
        }
        self.told.push(Box::pin(work));
    }

    pub(super) fn chore(&mut self, work: impl Future<Output = ()> + Send + 'p) {
        self.chores.push(Box::pin(work));
    }

    /// Goes on with all of it, until something that is carried is settled. Cancel safe.
    pub(super) async fn settled(&mut self) -> (Held, Accepted) {
        loop {
            tokio::select! {
                Some(carried) = self.carried.next() => return carried,
                Some(()) = self.told.next() => {}
                Some(()) = self.chores.next() => {}
                else => pending().await,
            }
        }
    }

    /// Ends it: what is carried is left, whoever comes next finds it in the mark.
    pub(super) async fn finish(self) {
        let Self { carried, mut told, .. } = self;
        drop(carried);
        let _ = timeout(LAST, async { while told.next().await.is_some() {} }).await;
    }
}
