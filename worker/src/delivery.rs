//! Where answers go, and the ledger that keeps them until they got there.
//!
//! `log` is one line in the log, written after the turn's commit. Everything else is a row of `hermes_delivery`, written in the
//! transaction that stores the answer, and sent by the [`Outbound`] of its kind until it is done or cannot be: a worker that dies in
//! between sends again (at least once; under the same key, so that a service that knows keys shows it once). Answers to one chat go out in
//! order, one at a time; chats do not wait for each other.
//!
//! A file is a row of its own behind its text ([`files`]); a message that shows the answer while it is made is changed into it ([`stream`]);
//! a chat that is gone is sent nothing that nobody there asked for ([`dead`]).

pub(crate) mod dead;
pub(crate) mod files;
mod github;
pub(crate) mod ledger;
pub(crate) mod notices;
pub mod outbound;
pub(crate) mod parcel;
pub(crate) mod post;
pub(crate) mod signs;
pub(crate) mod stream;
mod then;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use hermes_config::Streaming;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::formatting::split;
use crate::inbound::DeliveryTarget;
use crate::pulse::Pulse;
use crate::session::epoch;
use crate::store::Store;
use crate::tools::outbox::Outbox;

use dead::DeadTargets;
use files::Outgoing;
use ledger::{Due, Tried, UnderWay};
use outbound::{CHAT_ID, Message, Outbound, Outbounds, Sent, Unsent};
use then::then;

/// Characters of an answer in its log line.
const LOGGED: usize = 200;

/// Deliveries under way at once.
const AT_ONCE: usize = 64;

/// Time for one look at the ledger, which waits for the store.
const DEADLINE: Duration = Duration::from_secs(30);

/// Time for one message, whatever its outbound allows itself.
const SEND: Duration = Duration::from_mins(1);

/// The same for a file, which may be long.
const SEND_FILE: Duration = Duration::from_mins(10);

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
    dead: DeadTargets,
    /// Which files may leave; none: none may.
    outbox: Option<Arc<Outbox>>,
    streaming: Arc<Streaming>,
}

/// The ways out that every profile has. `child_env` is the whole environment of programs that deliver (`gh`): the worker's allow-list plus
/// the profile's own `GH_TOKEN`/`GITHUB_TOKEN` and the like. Nothing is inherited.
pub fn common(child_env: Vec<(String, String)>) -> impl Iterator<Item = Arc<dyn Outbound>> {
    std::iter::once(Arc::new(github::Comments::new(child_env)) as Arc<dyn Outbound>)
}

impl Deliveries {
    /// Deliveries by these ways, of texts that are there at once; see [`common`].
    pub fn new(store: Store, ways: Outbounds) -> Self {
        Self::with(store, ways, None, Streaming::default())
    }

    /// The same with files, and with answers that are shown while they are made.
    pub(crate) fn with(
        store: Store,
        ways: Outbounds,
        outbox: Option<Arc<Outbox>>,
        streaming: Streaming,
    ) -> Self {
        let pulse = Pulse::new("delivery", DEADLINE);
        let (dead, streaming) = (DeadTargets::of(store.home()), Arc::new(streaming));
        Self(Arc::new(Inner { store, ways, ring: Notify::new(), pulse, dead, outbox, streaming }))
    }

    /// An answer for a target, with the files that it names taken out. Reads files.
    pub(crate) async fn packed(&self, target: &DeliveryTarget, answer: &str) -> Outgoing {
        if !ledger::is_kept(target) {
            return Outgoing::text(answer);
        }
        let most = self.0.ways.get(&target.kind).and_then(|way| way.abilities_for(target).files);
        files::packed(self.0.outbox.clone(), most, answer).await
    }

    /// Why a chat is sent nothing that nobody there asked for; none: it may be.
    pub(crate) async fn is_gone(&self, platform: &str, chat: &str) -> Option<String> {
        self.0.dead.reason(platform, chat).await
    }

    /// The chats that are gone.
    pub(crate) fn gone(&self) -> &DeadTargets {
        &self.0.dead
    }

    /// Something came from the chat that a target names: it is there.
    pub(crate) async fn revive(&self, target: &DeliveryTarget) {
        if let Some(chat) = target.extra.get(CHAT_ID) {
            self.0.dead.clear(&target.kind, chat).await;
        }
    }

    /// Delivers now and says how it went; nothing is written down (`deliver_only` of `webhook`). `chat_id` is that of the event.
    pub async fn deliver(&self, target: &DeliveryTarget, chat_id: &str, text: &str) -> Result<(), Unsent> {
        if !ledger::is_kept(target) {
            log("webhook", chat_id, text);
            return Ok(());
        }
        let way = self.way(target)?;
        if let Some(reason) = self.closed("webhook", target).await {
            return Err(Unsent::gone(reason));
        }
        let key = format!(
            "{:016x}{:016x}",
            RandomState::new().hash_one(text),
            RandomState::new().hash_one(chat_id)
        );
        let sent = send_whole(way, target, Message { text, key: &key, repeated: false }).await;
        self.learn(target, &sent).await;
        sent.map(drop)
    }

    /// Why a target is sent nothing by somebody who is not answered there.
    async fn closed(&self, platform: &str, target: &DeliveryTarget) -> Option<String> {
        let chat = target.extra.get(CHAT_ID).filter(|_| platform != target.kind)?;
        let reason = self.0.dead.reason(&target.kind, chat).await?;
        Some(format!("the chat is gone: {reason}"))
    }

    /// What a try says of its chat.
    async fn learn(&self, target: &DeliveryTarget, result: &Result<Sent, Unsent>) {
        let Some(chat) = target.extra.get(CHAT_ID) else { return };
        match result {
            Ok(_) => self.0.dead.clear(&target.kind, chat).await,
            Err(Unsent::Never { reason, gone: true }) => self.0.dead.mark(&target.kind, chat, reason).await,
            Err(_) => {}
        }
    }

    /// Whether a target is a chat of a platform, whoever's bot is there.
    pub(crate) fn is_on(&self, target: &DeliveryTarget, platform: &str) -> bool {
        self.0.ways.get(&target.kind).map_or(target.kind.as_str(), |way| way.platform(target)) == platform
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

    /// The way to targets of a kind works again: nothing waits longer for its next try than the service asked for.
    pub(crate) async fn hurry(&self, kind: &'static str) {
        match self.0.store.write(move |db| ledger::hurry(db, kind, epoch())).await {
            Ok(0) => {}
            Ok(waiting) => {
                tracing::info!("[{kind}] {waiting} answers that waited for another try are sent now");
                self.ring();
            }
            Err(error) => tracing::warn!(%error, "[{kind}] answers that wait for another try go on waiting"),
        }
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
        let me = self.0.store.owner();
        if let Err(error) = self.0.store.write_one(move |db| ledger::give_back(db, me, &under_way)).await {
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
        let left = due.content.len() - due.sent;
        if let Some(reason) = self.closed(&due.platform, &due.target).await {
            return Tried { due, bytes: left, result: Err(Unsent::gone(reason)) };
        }
        let (result, bytes) = match (self.way(&due.target), &due.file) {
            (Ok(way), Some(parcel)) => {
                let sent = files::send(way, self.0.outbox.clone(), &due, parcel);
                (limited(SEND_FILE, sent).await, left)
            }
            (Ok(way), None) => {
                let piece = split::from(&due.content, due.sent, way.limit(&due.target));
                (self.say(way, &due, &piece.text).await, piece.end.saturating_sub(due.sent))
            }
            (Err(unsent), _) => (Err(unsent), left),
        };
        self.learn(&due.target, &result).await;
        Tried { due, bytes, result }
    }

    /// Says a part of an answer: in the place of what is shown of it already, where there is such a message and it can be changed.
    async fn say(&self, way: &dyn Outbound, due: &Due, text: &str) -> Result<Sent, Unsent> {
        let target = &due.target;
        if let Some(id) = due.preview.as_deref().filter(|_| due.sent == 0) {
            let is_taken_back = due.fresh && limited(SEND, way.take_back(target, id)).await.is_ok();
            if !is_taken_back {
                match limited(SEND, way.edit(target, id, text)).await {
                    Ok(()) => return Ok(Sent { id: Some(id.to_owned()) }),
                    // A change that is made twice is made once.
                    Err(Unsent::Later { after, reason, .. }) => {
                        return Err(Unsent::Later { after, unsure: false, reason });
                    }
                    Err(unsent @ Unsent::Never { gone: true, .. }) => return Err(unsent),
                    Err(unsent @ Unsent::Never { .. }) => {
                        tracing::debug!("[{}] the answer comes as a new message: {unsent}", way.kind());
                    }
                }
            }
        }
        send(way, target, Message { text, key: &due.key(), repeated: due.ambiguous }).await
    }

    /// Writes down how a try went. What is cut here, or cannot be written, is known as one that may have got there.
    async fn record(&self, tried: Tried, under_way: &mut UnderWay) {
        let id = tried.due.id;
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
        let follows = then(&tried, self.0.ways.get(kind).map(|way| way.abilities_for(target).format));
        let recorded = self.0.store.write(move |db| ledger::record(db, &tried, &follows, epoch())).await;
        match recorded {
            Ok(()) => under_way.unwritten.retain(|unwritten| *unwritten != id),
            Err(error) => {
                tracing::error!(%error, "the outcome of a delivery is not written; it will be repeated");
                tokio::time::sleep(RETRY).await;
            }
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

async fn send(way: &dyn Outbound, target: &DeliveryTarget, message: Message<'_>) -> Result<Sent, Unsent> {
    limited(SEND, way.send(target, message)).await
}

/// Work that may have been done where it takes longer.
pub(crate) async fn limited<T>(
    time: Duration,
    work: impl Future<Output = Result<T, Unsent>>,
) -> Result<T, Unsent> {
    let late = || Err(Unsent::unsure(format!("no answer in {} s", time.as_secs())));
    tokio::time::timeout(time, work).await.unwrap_or_else(|_| late())
}

/// Sends a message that may be too long for one, in parts. What was sent when a part fails is sent again by the next try, each part
/// under the key that it had.
pub(crate) async fn send_whole(
    way: &dyn Outbound,
    target: &DeliveryTarget,
    message: Message<'_>,
) -> Result<Sent, Unsent> {
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

    /// Its try is over; see [`unwritten`](Self::unwritten).
    fn remove(&mut self, due: &Due) {
        self.ids.retain(|id| *id != due.id);
        self.unwritten.push(due.id);
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
