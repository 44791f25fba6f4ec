//! What is acknowledged and not handed in yet: it waits for files, for names, for what was said before it.
//!
//! ```text
//!  event ─▶ kept in state.db ─▶ acknowledged ─▶ its conversation's lane ─▶ handed in ─▶ taken away from state.db
//! ```
//!
//! # Guarantees
//!
//! - What is here is on disk, so nothing is lost with the process: whoever comes next takes up what it left. Handed in twice it is known.
//! - What is said in one conversation is handed in in its order, one after the other; conversations do not wait for each other.
//! - Only so much is in memory; the rest waits on disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bot::Bot;
use super::event::Held;
use super::settings::NAME;
use crate::handover::NotTaken;
use crate::inbox::Inbox;
use crate::session::epoch;
use crate::store::{Owner, StoreError};

/// How the names of what is kept begin.
const KEPT: &str = "hermes_slack_held ";
/// Most that is in memory.
const MOST: usize = 200;
/// Pause before what cannot be stored now is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Seconds after which something is taken up although its process lives.
const OLD: f64 = 60.0;
/// The same after which it is given up: its sender does not wait any more.
const TOO_OLD: f64 = 24.0 * 3600.0;

/// What is on disk.
#[derive(Serialize, Deserialize)]
struct Kept {
    at: f64,
    /// Whose work it is.
    pid: u32,
    start: i64,
    held: Held,
}

struct Item {
    key: String,
    held: Held,
}

/// The desk. Cloning shares it.
#[derive(Clone)]
pub(super) struct Desk(Arc<Inner>);

struct Inner {
    inbox: Inbox,
    lanes: Mutex<Lanes>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Default)]
struct Lanes {
    waiting: BTreeMap<String, VecDeque<Item>>,
    keys: BTreeSet<String>,
}

impl Desk {
    pub(super) fn new(inbox: Inbox) -> Self {
        Self(Arc::new(Inner {
            inbox,
            lanes: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }))
    }

    /// Whether something of this conversation waits: what comes is behind it. A command is behind no file: that is no turn yet which it
    /// could be about.
    pub(super) fn is_busy(&self, lane: &str, is_command: bool) -> bool {
        let waits_for = |item: &Item| !is_command || !item.held.has_files();
        self.lanes().waiting.get(lane).is_some_and(|waiting| waiting.iter().any(waits_for))
    }

    /// Keeps something, and works on it. After `Ok` it is not lost.
    pub(super) async fn put(&self, held: Held, bot: &Arc<Bot>) -> Result<(), StoreError> {
        let (key, me) = (format!("{KEPT}{}", held.name()), Owner::current());
        let kept = Kept { at: epoch(), pid: me.pid, start: me.start_column(), held };
        let text = serde_json::to_string(&kept).expect("texts and maps of texts always serialise");
        self.0.inbox.keep(&key, text).await?;
        self.take_up(key, kept.held, bot);
        Ok(())
    }

    /// Takes up what a process that is gone has left.
    pub(super) async fn look(&self, bot: &Arc<Bot>) -> Result<(), StoreError> {
        let room = MOST.saturating_sub(self.lanes().keys.len());
        if room == 0 {
            return Ok(());
        }
        for (key, text) in self.0.inbox.kept(KEPT, u32::try_from(2 * MOST).unwrap_or(u32::MAX)).await? {
            let Ok(Kept { at, pid, start, held }) = serde_json::from_str(&text) else {
                tracing::warn!("[{NAME}] what was kept of a message is not understood, and is dropped");
                self.0.inbox.drop_kept(&key).await?;
                continue;
            };
            let (age, owner) = (epoch() - at, Owner::from_columns(pid, start));
            if age > TOO_OLD {
                tracing::warn!(
                    "[{NAME}] a message of {:.0} hours ago could not be handed in, and is dropped",
                    age / 3600.0
                );
                self.0.inbox.drop_kept(&key).await?;
            } else if owner == Owner::current() || age.abs() > OLD || !owner.is_alive() {
                self.take_up(key, held, bot);
            }
        }
        Ok(())
    }

    /// Waits until nothing is worked on; what is not done by then stays on disk.
    pub(super) async fn finish(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Does something beside.
    pub(super) fn beside(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.tasks.spawn(work);
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.0.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_up(&self, key: String, held: Held, bot: &Arc<Bot>) {
        let lane = bot.lane(&held);
        let is_first = {
            let mut lanes = self.lanes();
            if lanes.keys.len() >= MOST || self.0.stop.is_cancelled() || !lanes.keys.insert(key.clone()) {
                return;
            }
            let waiting = lanes.waiting.entry(lane.clone()).or_default();
            waiting.push_back(Item { key, held });
            waiting.len() == 1
        };
        if is_first {
            let (desk, bot) = (self.clone(), Arc::clone(bot));
            self.0.tasks.spawn(async move { desk.work(&lane, &bot).await });
        }
    }

    /// Hands in what waits in a lane, until nothing does.
    async fn work(&self, lane: &str, bot: &Bot) {
        loop {
            let next = self
                .lanes()
                .waiting
                .get(lane)
                .and_then(|waiting| waiting.front().map(|item| item.held.clone()));
            let Some(held) = next else { return };
            if !self.hand_in(&held, bot).await {
                return;
            }
            let done = {
                let mut lanes = self.lanes();
                let done = lanes.waiting.get_mut(lane).and_then(VecDeque::pop_front);
                if lanes.waiting.get(lane).is_some_and(VecDeque::is_empty) {
                    lanes.waiting.remove(lane);
                }
                done
            };
            let Some(Item { key, .. }) = done else { return };
            while let Err(error) = self.0.inbox.drop_kept(&key).await {
                // It would be handed in once more, and known.
                tracing::debug!("[{NAME}] what is done stays on disk: {}", error.reason());
                if !self.pause(AGAIN).await {
                    return;
                }
            }
            self.lanes().keys.remove(&key);
        }
    }

    /// However long that takes. `false`: it is left for later.
    async fn hand_in(&self, held: &Held, bot: &Bot) -> bool {
        loop {
            let (after, reason) = match bot.hand_in(held).await {
                Ok(()) => return true,
                Err(NotTaken::Later { after, reason }) => (after, reason),
                Err(NotTaken::Store(error)) => (AGAIN, error.reason()),
            };
            tracing::info!("[{NAME}] message {} waits: {reason}", held.name());
            if !self.pause(after).await {
                return false;
            }
        }
    }

    async fn pause(&self, time: Duration) -> bool {
        tokio::select! {
            () = sleep(time) => true,
            () = self.0.stop.cancelled() => false,
        }
    }
}
