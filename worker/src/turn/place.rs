//! Places: how many turns of a kind run at once, and how one that waits for its provider makes room for others.
//!
//! A turn that waits before it calls its provider again does nothing; sixteen of them must not keep a seventeenth from being
//! answered. So it leaves its place and takes one again when its wait is over, before any turn that has not begun. Of those away
//! there are at most [`AWAY`]: the next one keeps its place.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::Inner;
use crate::engine::Seat;

/// Most turns of a kind that wait without a place: each holds its prompt in memory.
const AWAY: usize = 256;

/// Turns of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Begun, and not yet written.
    pub(super) turns: usize,
    /// Of those, waiting without a place.
    away: usize,
    /// Of those away, wanting a place again.
    returning: usize,
}

impl Count {
    /// Places that a turn which has not begun cannot have.
    pub(super) fn taken(self) -> usize {
        self.turns - self.away + self.returning
    }
}

/// The kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Inbox,
    Direct,
}

/// A turn's place.
pub(super) struct Place {
    inner: Arc<Inner>,
    kind: Kind,
}

impl Place {
    pub(super) fn new(inner: &Arc<Inner>, kind: Kind) -> Arc<Self> {
        Arc::new(Self { inner: Arc::clone(inner), kind })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Count) -> Option<T>) -> Option<T> {
        let mut done = None;
        self.inner.active.send_if_modified(|active| {
            done = change(active.of(self.kind));
            done.is_some()
        });
        done
    }

    fn limit(&self) -> usize {
        let settings = &self.inner.settings;
        match self.kind {
            Kind::Inbox => settings.max_concurrent_sessions.max(1),
            Kind::Direct => settings.max_concurrent_runs,
        }
    }
}

impl Seat for Place {
    fn away<'a>(&'a self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            let left = self.change(|count| {
                (count.away < AWAY).then(|| {
                    count.away += 1;
                })
            });
            let away = left.map(|()| Away { place: self, returning: false, is_over: false });
            if away.is_some() && self.kind == Kind::Inbox {
                self.inner.store.arrived().notify_one();
            }
            tokio::time::sleep(time).await;
            if let Some(away) = away {
                away.retake().await;
            }
        })
    }
}

/// A turn that left its place. Dropped, it is back, whatever the room: its turn is over.
struct Away<'a> {
    place: &'a Place,
    returning: bool,
    is_over: bool,
}

impl Away<'_> {
    async fn retake(mut self) {
        let mut changes = self.place.inner.active.subscribe();
        self.place.change(|count| {
            count.returning += 1;
            Some(())
        });
        self.returning = true;
        let limit = self.place.limit();
        loop {
            let back = self.place.change(|count| {
                (count.turns - count.away < limit).then(|| {
                    count.away -= 1;
                    count.returning -= 1;
                })
            });
            self.is_over = back.is_some();
            // The sender lives as long as the place.
            if self.is_over || changes.changed().await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Away<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let returning = usize::from(self.returning);
            self.place.change(|count| {
                count.away -= 1;
                count.returning -= returning;
                Some(())
            });
        }
    }
}
