//! Where answers go, and the ledger that keeps them until they got there.
//!
//! `log` is one line in the log, written after the turn's commit. Everything else is a row of `hermes_delivery`, written in the
//! transaction that stores the answer, and sent by the [`Outbound`] of its kind until it is done or cannot be: a worker that dies in
//! between sends again (at least once; under the same key, so that a service that knows keys shows it once). Answers to one chat go out in
//! order, one at a time; chats do not wait for each other.

mod github;
pub(crate) mod ledger;
pub mod outbound;
pub(crate) mod post;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::formatting::split;
use crate::inbound::DeliveryTarget;
use crate::pulse::Pulse;
use crate::session::epoch;
use crate::store::Store;

use ledger::{Due, Tried, UnderWay};
use outbound::{Message, Outbound, Outbounds, Unsent};

/// Characters of an answer in its log line.
const LOGGED: usize = 200;

/// Deliveries under way at once.
const AT_ONCE: usize = 64;

/// Time for one look at the ledger, which waits for the store.
const DEADLINE: Duration = Duration::from_secs(30);

/// Time for one message, whatever its outbound allows itself.
const SEND: Duration = Duration::from_mins(1);

/// Pause after the ledger could not be read or written.
const RETRY: Duration = Duration::from_secs(5);

/// Pause between looks at a ledger that another process works on too: during a swap.
const SHARED: Duration = Duration::from_secs(2);

/// Time that messages under way have to get there once this process ends.
const LAST: Duration = Duration::from_secs(1);

/// Ways out. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Deliveries(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    ways: Outbounds,
    ring: Notify,
    pulse: Pulse,
}

/// The ways out that every profile has. `child_env` is the whole environment of programs that deliver (`gh`): the worker's allow-list plus
/// the profile's own `GH_TOKEN`/`GITHUB_TOKEN` and the like. Nothing is inherited.
pub fn common(child_env: Vec<(String, String)>) -> impl Iterator<Item = Arc<dyn Outbound>> {
    std::iter::once(Arc::new(github::Comments::new(child_env)) as Arc<dyn Outbound>)
}

impl Deliveries {
    /// Deliveries by these ways; see [`common`].
    pub fn new(store: Store, ways: Outbounds) -> Self {
        let pulse = Pulse::new("delivery", DEADLINE);
        Self(Arc::new(Inner { store, ways, ring: Notify::new(), pulse }))
    }

    /// Delivers now and says how it went; nothing is written down (`deliver_only` of `webhook`). `chat_id` is that of the event.
    pub async fn deliver(&self, target: &DeliveryTarget, chat_id: &str, text: &str) -> Result<(), Unsent> {
        if !ledger::is_kept(target) {
            log("webhook", chat_id, text);
            return Ok(());
        }
        let way = self.way(target)?;
        let key = format!(
            "{:016x}{:016x}",
            RandomState::new().hash_one(text),
            RandomState::new().hash_one(chat_id)
        );
        send_whole(way, target, Message { text, key: &key, repeated: false }).await.map(drop)
    }

    /// Shows in the target's chat that an answer is being made, for as long as `work` takes.
    pub(crate) async fn typing_while<T>(&self, target: &DeliveryTarget, work: impl Future<Output = T>) -> T {
        let way = self.0.ways.get(&target.kind);
        let Some((way, lasts)) = way.and_then(|way| Some((way, way.abilities().typing?))) else {
            return work.await;
        };
        let shows = async {
            loop {
                // Best effort, and never in the way of the work.
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

    /// Whether there is a way out to chats of a platform.
    pub(crate) fn reaches(&self, platform: &str) -> bool {
        self.0.ways.knows(platform) && self.0.ways.get(platform).is_some()
    }

    /// Whether there is one to chats of any.
    pub(crate) fn reaches_chats(&self) -> bool {
        self.0.ways.kinds().any(|kind| self.reaches(kind))
    }

    /// The ledger holds something new.
    pub(crate) fn ring(&self) {
        self.0.pulse.want();
        self.0.ring.notify_one();
    }

    /// How [`run`](Self::run) is.
    pub(crate) fn pulse(&self) -> &Pulse {
        &self.0.pulse
    }

    /// Works the ledger off until `stop`. What is under way then has a moment to get there, or is sent again by the next process.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut sending = FuturesUnordered::new();
        let mut under_way = UnderWay { room: AT_ONCE, ..UnderWay::default() };
        if let Err(error) = self.0.store.write(|db| ledger::set_heads(db, epoch())).await {
            tracing::warn!(%error, "cannot look through the delivery ledger; a lane may wait for the next start");
        }
        loop {
            let tried = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                tried = self.round(&mut sending, &mut under_way) => tried,
            };
            // What got there and is not written down would be sent again: an end waits for this.
            if let Some(tried) = tried {
                self.record(tried, &mut under_way).await;
            }
        }
        let last = async {
            while let Some(tried) = sending.next().await {
                self.record(tried, &mut under_way).await;
            }
        };
        // What is cut here is given back.
        let _ = tokio::time::timeout(LAST, last).await;
        drop(sending);
        let (me, begun) = (self.0.store.owner(), under_way.ids);
        if let Err(error) = self.0.store.write_one(move |db| ledger::give_back(db, me, &begun)).await {
            tracing::debug!(%error, "deliveries under way stay marked; the next start frees them");
        }
    }

    /// Starts what is due, then waits until something is over, or new, or due. Returns what is over. Cancel safe: rows stay marked as
    /// being sent by this process.
    async fn round<'s>(
        &'s self,
        sending: &mut FuturesUnordered<BoxFuture<'s, Tried>>,
        under_way: &mut UnderWay,
    ) -> Option<Tried> {
        let me = self.0.store.owner();
        let wanted = self.0.pulse.wanted();
        self.0.pulse.door(self.0.store.home()).await;
        let (ways, before) = (self.0.ways.clone(), under_way.clone());
        let taken = self.0.store.write(move |db| ledger::take_due(db, me, &ways, &before, epoch())).await;
        // What is taken has its own time limit.
        self.0.pulse.serve(wanted);
        let taken = match taken {
            Ok(taken) => taken,
            Err(error) => {
                tracing::warn!(%error, "cannot read the delivery ledger");
                tokio::time::sleep(RETRY).await;
                return None;
            }
        };
        for due in taken.due {
            under_way.add(&due);
            sending.push(Box::pin(self.attempt(due)));
        }
        let due = taken.next.map(|at| Duration::from_secs_f64((at - epoch()).clamp(0.01, 3600.0)));
        let shared = taken.shared.then_some(SHARED);
        let timer = async {
            match due.into_iter().chain(shared).min() {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(tried) = sending.next() => Some(tried),
            () = self.0.ring.notified() => None,
            () = timer => None,
        }
    }

    /// Sends the next part of one message.
    async fn attempt(&self, due: Due) -> Tried {
        let (result, bytes) = match self.way(&due.target) {
            Ok(way) => {
                let piece = split::from(&due.content, due.sent, way.limit(&due.target));
                let message = Message { text: &piece.text, key: &due.key(), repeated: due.ambiguous };
                (send(way, &due.target, message).await, piece.end.saturating_sub(due.sent))
            }
            Err(unsent) => (Err(unsent), due.content.len() - due.sent),
        };
        Tried { due, bytes, result }
    }

    /// Writes down how a try went.
    async fn record(&self, tried: Tried, under_way: &mut UnderWay) {
        under_way.remove(&tried.due);
        let Due { platform, chat_id, target, .. } = &tried.due;
        let kind = &target.kind;
        match &tried.result {
            Ok(_) if tried.goes_on() => {}
            Ok(_) => tracing::info!(kind, "[{platform}] Delivered response for {chat_id}"),
            Err(error) => {
                let again = tried.retry_in().is_some();
                tracing::warn!(kind, again, "[{platform}] Delivery failed for {chat_id}: {error}");
            }
        }
        let recorded = self.0.store.write(move |db| ledger::record(db, &tried, epoch()));
        if let Err(error) = recorded.await {
            tracing::error!(%error, "the outcome of a delivery is not written; it will be repeated");
            tokio::time::sleep(RETRY).await;
        }
    }

    fn way(&self, target: &DeliveryTarget) -> Result<&dyn Outbound, Unsent> {
        match self.0.ways.get(&target.kind) {
            Some(way) => Ok(&**way),
            None if self.0.ways.knows(&target.kind) => {
                Err(Unsent::never(format!("Platform {} not connected", target.kind)))
            }
            None => Err(Unsent::never(format!("Unknown deliver type: {}", target.kind))),
        }
    }
}

async fn send(
    way: &dyn Outbound,
    target: &DeliveryTarget,
    message: Message<'_>,
) -> Result<outbound::Sent, Unsent> {
    let sent = tokio::time::timeout(SEND, way.send(target, message)).await;
    sent.unwrap_or_else(|_| Err(Unsent::unsure(format!("no answer in {} s", SEND.as_secs()))))
}

/// Sends a message that may be too long for one, in parts. What was sent when a part fails is sent again by the next try, each part
/// under the key that it had.
pub(crate) async fn send_whole(
    way: &dyn Outbound,
    target: &DeliveryTarget,
    message: Message<'_>,
) -> Result<outbound::Sent, Unsent> {
    let Message { text, key, repeated } = message;
    let mut done = 0;
    loop {
        let piece = split::from(text, done, way.limit(target));
        let own = if done == 0 { key.to_owned() } else { format!("{key}-{done}") };
        let sent = send(way, target, Message { text: &piece.text, key: &own, repeated }).await?;
        done = piece.end;
        if done >= text.len() {
            return Ok(sent);
        }
    }
}

impl UnderWay {
    fn add(&mut self, due: &Due) {
        self.ids.push(due.id);
        *self.kinds.entry(due.target.kind.clone()).or_default() += 1;
        self.room = self.room.saturating_sub(1);
    }

    fn remove(&mut self, due: &Due) {
        self.ids.retain(|id| *id != due.id);
        if let Some(now) = self.kinds.get_mut(&due.target.kind) {
            *now = now.saturating_sub(1);
        }
        self.room += 1;
    }
}

/// Answers that mean: say nothing. Only where nothing else is said.
const SILENCE: [&str; 4] = ["[SILENT]", "SILENT", "NO_REPLY", "NO REPLY"];

/// Whether an answer is the wish to say nothing: it is part of the conversation, and nobody is sent it.
pub(crate) fn is_silence(text: &str) -> bool {
    SILENCE.contains(&text.trim())
}

/// Called when a turn's end is committed. Returns whether the ledger holds something new.
pub(crate) fn after_turn(platform: &str, chat_id: &str, target: &DeliveryTarget, text: &str) -> bool {
    let kept = ledger::is_kept(target);
    if !kept {
        log(platform, chat_id, text);
    }
    kept
}

fn log(platform: &str, chat_id: &str, text: &str) {
    let shown = text.char_indices().nth(LOGGED).map_or(text, |(end, _)| &text[..end]);
    tracing::info!("[{platform}] Response for {chat_id}: {shown}");
}

#[cfg(test)]
mod tests;
