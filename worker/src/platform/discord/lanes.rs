//! Work that goes on side by side, and one after the other within a lane: what is slow in one place holds up no other.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use super::wire::Id;

/// Work of a lane, and whether it may take a while by itself.
struct Work<'w, T> {
    is_slow: bool,
    work: BoxFuture<'w, T>,
}

/// What is done in a lane now, and what waits behind it.
struct Lane<'w, T> {
    is_slow: bool,
    waiting: VecDeque<Work<'w, T>>,
}

/// See the module. A lane is named by an id, of a channel.
pub(super) struct Lanes<'w, T> {
    running: FuturesUnordered<BoxFuture<'w, (Option<Id>, T)>>,
    busy: BTreeMap<Id, Lane<'w, T>>,
    count: usize,
}

impl<T> Default for Lanes<'_, T> {
    fn default() -> Self {
        Self { running: FuturesUnordered::new(), busy: BTreeMap::new(), count: 0 }
    }
}

impl<'w, T: Send + 'w> Lanes<'w, T> {
    /// How much is done or waits.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Whether all that is done or waits in a lane is slow by itself.
    pub(super) fn is_slow(&self, lane: Id) -> bool {
        let lane = self.busy.get(&lane);
        lane.is_some_and(|lane| lane.is_slow && lane.waiting.iter().all(|work| work.is_slow))
    }

    /// Does something in a lane, behind all else there.
    pub(super) fn put(&mut self, lane: Id, is_slow: bool, work: BoxFuture<'w, T>) {
        self.count += 1;
        if let Some(busy) = self.busy.get_mut(&lane) {
            busy.waiting.push_back(Work { is_slow, work });
            return;
        }
        self.busy.insert(lane, Lane { is_slow, waiting: VecDeque::new() });
        self.run(Some(lane), work);
    }

    /// Does something beside all lanes.
    pub(super) fn beside(&mut self, work: BoxFuture<'w, T>) {
        self.count += 1;
        self.run(None, work);
    }

    fn run(&mut self, lane: Option<Id>, work: BoxFuture<'w, T>) {
        self.running.push(Box::pin(async move { (lane, work.await) }));
    }

    /// What was done next; waits for ever where there is nothing to do. Cancel safe.
    pub(super) async fn next(&mut self) -> T {
        let Some((lane, done)) = self.running.next().await else { return pending().await };
        self.count -= 1;
        if let Some(lane) = lane {
            let next = self.busy.get_mut(&lane).and_then(|busy| {
                let Work { is_slow, work } = busy.waiting.pop_front()?;
                busy.is_slow = is_slow;
                Some(work)
            });
            match next {
                Some(work) => self.run(Some(lane), work),
                None => drop(self.busy.remove(&lane)),
            }
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn a_lane_keeps_its_order_and_holds_up_no_other() {
        let mut lanes = Lanes::default();
        let gate = Arc::new(Semaphore::new(0));
        let slow = |name: &'static str| -> BoxFuture<'static, &'static str> {
            let gate = Arc::clone(&gate);
            Box::pin(async move {
                gate.acquire().await.unwrap().forget();
                name
            })
        };
        let quick =
            |name: &'static str| -> BoxFuture<'static, &'static str> { Box::pin(async move { name }) };
        lanes.put(Id(1), true, slow("file"));
        assert!(lanes.is_slow(Id(1)) && !lanes.is_slow(Id(2)));
        lanes.put(Id(1), false, quick("behind it"));
        assert!(!lanes.is_slow(Id(1)));
        lanes.put(Id(2), false, quick("elsewhere"));
        lanes.beside(quick("beside"));
        let mut done = [lanes.next().await, lanes.next().await];
        done.sort_unstable();
        assert_eq!((done, lanes.count()), (["beside", "elsewhere"], 2));
        assert!(lanes.next().now_or_never().is_none());
        gate.add_permits(1);
        assert_eq!((lanes.next().await, lanes.next().await, lanes.count()), ("file", "behind it", 0));
        assert!(lanes.next().now_or_never().is_none() && lanes.busy.is_empty());
    }
}
