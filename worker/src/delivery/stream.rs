//! An answer that is shown while it is made: one message that is changed again and again, until its last form takes its place.
//!
//! ```text
//!   pieces ─▶ text ─▶ begun ──▶ sent ──▶ changed ⟲ ─▶ (turn's end) ─▶ the ledger changes it a last time, and sends the rest
//!                     │ in the inbox's row: '' ──▶ its id ─────────▶ in the ledger's row, by the turn's last transaction
//! ```
//!
//! **Guarantees.** What is shown is never in the way of the turn. It overtakes nothing that waits for the same chat. That a message is sent
//! is written down before, and its id right after: whoever goes on with the turn after a death changes the same message. A death
//! between the two leaves the beginning of an answer behind that nobody can change any more; then nothing more is shown of that turn, and
//! its answer comes whole and without a mark, because it is nowhere yet. Where only the answer to the sending was lost and the platform
//! knows keys, it is asked again for the id. Changes come no faster than [`Pace`] allows, and no change is
//! under way when the turn ends.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hermes_config::Streaming;
use rusqlite::{Connection, OptionalExtension as _, params};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::ledger;
use super::outbound::{Message, Outbound, Outbounds, Sent, Unsent};
use super::{Deliveries, SEND, limited};
use crate::clock;
use crate::engine::Event;
use crate::formatting::media::visible;
use crate::formatting::split::{self, Limit};
use crate::inbound::DeliveryTarget;
use crate::session::epoch;
use crate::store::Store;

/// Refusals that end it.
const STRIKES: u32 = 3;
/// Longest time between two changes.
const SLOWEST: Duration = Duration::from_mins(1);
/// How long a change that is under way is waited for at the turn's end.
const LAST: Duration = Duration::from_secs(20);
/// Longest text that is kept to be shown, in bytes: more is shown by its beginning anyway.
const KEPT: usize = 256 * 1024;

/// When the next change may be made. Pure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pace {
    interval: Duration,
    next: Instant,
    strikes: u32,
}

impl Pace {
    fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, next: now, strikes: 0 }
    }

    /// A change was made.
    fn made(&mut self, now: Instant) {
        self.next = now + self.interval;
    }

    /// One was refused, with the wait that was asked for. `false`: that was enough.
    fn refused(&mut self, now: Instant, asked: Option<Duration>) -> bool {
        self.strikes += 1;
        self.interval = self.interval.saturating_mul(2).max(asked.unwrap_or_default()).min(SLOWEST);
        self.next = now + self.interval.max(asked.unwrap_or_default());
        self.strikes < STRIKES
    }
}

/// What a chat is shown of a text: what fits into one message, with a cursor behind it.
fn shown(text: &str, limit: Limit, cursor: &str) -> String {
    let text = visible(text);
    let text = text.trim_end();
    if text.is_empty() {
        return String::new();
    }
    let room = limit.unit.measure(&limit.dialect.render(&format!("x{cursor}"))).saturating_sub(1);
    let most = limit.most.saturating_sub(room + 1).max(1);
    let piece = split::from(text, 0, Limit { most, numbered: false, ..limit }).text;
    let piece = piece.trim_end();
    // Behind a fence it would be a part of it.
    let last = piece.rsplit('\n').next().unwrap_or_default().trim_start();
    if !cursor.is_empty() && (last.starts_with("```") || last.starts_with("~~~")) {
        return format!("{piece}\n{}", cursor.trim_start());
    }
    format!("{piece}{cursor}")
}

/// Which message shows the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// None yet.
    None,
    /// This one.
    At(String),
    /// Nobody knows, or nobody may change it: nothing more is shown.
    Over,
}

/// What came of a request.
#[derive(Debug)]
enum Came {
    /// Something waits for the same chat.
    NotYet,
    Sent(Result<Sent, Unsent>),
    Changed(Result<(), Unsent>),
    /// What was shown stays as it is, and nobody changes it any more.
    Left,
}

type Request = Pin<Box<dyn Future<Output = Came> + Send>>;

/// Shows one answer; see the module.
pub(crate) struct Stream {
    store: Store,
    ways: Outbounds,
    way: Arc<dyn Outbound>,
    settings: Arc<Streaming>,
    /// The item of the inbox.
    item: i64,
    target: DeliveryTarget,
    chat_id: String,
    text: String,
    /// The next text is another one.
    is_over: bool,
    /// What was asked stands behind what is shown: that stays where it is.
    leaves: bool,
    place: Place,
    /// What the message says.
    says: String,
    pace: Pace,
}

impl Deliveries {
    /// For the answer to an item of the inbox. `None`: it is not shown before it is there.
    pub(crate) fn stream(&self, item: i64, target: &DeliveryTarget, chat_id: &str) -> Option<Stream> {
        let settings = &self.0.streaming;
        let way = self
            .0
            .ways
            .get(&target.kind)
            .filter(|way| settings.is_on(way.platform(target)) && way.abilities_for(target).edits)?;
        Some(Stream {
            store: self.0.store.clone(),
            ways: self.0.ways.clone(),
            way: Arc::clone(way),
            settings: Arc::clone(settings),
            item,
            target: target.clone(),
            chat_id: chat_id.to_owned(),
            text: String::new(),
            is_over: false,
            leaves: false,
            place: Place::None,
            says: String::new(),
            pace: Pace::new(settings.interval, Instant::now()),
        })
    }

    /// How long an answer may be shown before it comes as a new message.
    pub(crate) fn fresh_after(&self) -> Option<Duration> {
        self.0.streaming.fresh_after
    }
}

impl Stream {
    /// Shows what is said until there is nothing more. `asked`: how many questions of the turn wait.
    pub(crate) async fn run(
        &mut self,
        mut pieces: mpsc::Receiver<Event>,
        mut asked: tokio::sync::watch::Receiver<usize>,
    ) {
        self.adopt().await;
        let mut request: Option<Request> = None;
        loop {
            let due = if request.is_none() { self.due() } else { None };
            tokio::select! {
                biased;
                came = under_way(&mut request) => {
                    request = None;
                    self.came(came);
                }
                Ok(()) = asked.changed() => self.leaves |= *asked.borrow_and_update() > 0,
                () = clock::until(due) => request = self.next(),
                piece = pieces.recv() => match piece {
                    Some(event) => self.hear(event),
                    None => break,
                },
            }
        }
        if let Some(last) = &mut request {
            match tokio::time::timeout(LAST, last).await {
                Ok(came) => self.came(came),
                // It may come behind the answer's own.
                Err(_) => self.forget().await,
            }
        }
    }

    /// The turn ended without an answer: nothing more comes.
    pub(crate) async fn end(&mut self) {
        if let Place::At(id) = &self.place {
            let last = shown(&self.text, self.limit(), "");
            if !last.is_empty() && last != self.says {
                // It is the best that can be done.
                let _ = tokio::time::timeout(LAST / 4, self.way.edit(&self.target, id, &last)).await;
            }
        }
    }

    fn limit(&self) -> Limit {
        self.way.limit(&self.target)
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Delta(piece) => {
                if std::mem::take(&mut self.is_over) {
                    self.text.clear();
                }
                if self.text.len() < KEPT {
                    self.text.push_str(&piece);
                }
            }
            // What follows on a tool is another text.
            Event::Tool { done: false, .. } => self.is_over = true,
            Event::Retrying { .. } => self.text.clear(),
            Event::Thought(_)
            | Event::Alive
            | Event::Tool { .. }
            | Event::Asked { .. }
            | Event::Heard { .. } => {}
        }
    }

    /// When there is something to do.
    fn due(&self) -> Option<Instant> {
        if self.leaves {
            return Some(self.pace.next);
        }
        match &self.place {
            Place::Over => None,
            Place::None => {
                let long =
                    self.text.trim_end().chars().nth(self.settings.threshold.saturating_sub(1)).is_some();
                (long && !may_be_silence(&self.text)).then_some(self.pace.next)
            }
            Place::At(_) => (!self.text.is_empty()).then_some(self.pace.next),
        }
    }

    /// The next request; none: it would change nothing.
    fn next(&mut self) -> Option<Request> {
        let now = Instant::now();
        if std::mem::take(&mut self.leaves) {
            return self.leave();
        }
        let text = shown(&self.text, self.limit(), &self.settings.cursor);
        if text.is_empty() || text == self.says {
            self.pace.made(now);
            return None;
        }
        let (way, target) = (Arc::clone(&self.way), self.target.clone());
        self.says.clone_from(&text);
        Some(match &self.place {
            Place::Over => return None,
            Place::At(id) => {
                let id = id.clone();
                Box::pin(async move { Came::Changed(limited(SEND, way.edit(&target, &id, &text)).await) })
            }
            Place::None => {
                let (store, ways, chat_id, item) =
                    (self.store.clone(), self.ways.clone(), self.chat_id.clone(), self.item);
                Box::pin(async move {
                    let lane = target.clone();
                    let begun = store.write(move |db| begin(db, &ways, item, &lane, &chat_id, epoch()));
                    match begun.await {
                        Ok(true) => {}
                        // A store that does not write is worse than an answer that is not shown early.
                        Ok(false) | Err(_) => return Came::NotYet,
                    }
                    let key = ledger::key_of("stream", &format!("{item} {}", epoch()));
                    let message = Message { text: &text, key: &key, repeated: false };
                    let mut sent = limited(SEND, way.send(&target, message)).await;
                    let is_keyed = way.abilities().keyed;
                    if is_keyed && matches!(sent, Err(Unsent::Later { unsure: true, .. })) {
                        // The same key is the same message: whoever lost its id hears it again.
                        sent = limited(SEND, way.send(&target, Message { repeated: true, ..message })).await;
                    }
                    let id = sent.as_ref().ok().and_then(|sent| sent.id.clone());
                    let kept = store.write(move |db| set(db, item, id.as_deref())).await;
                    match (sent, kept) {
                        (Ok(sent), Ok(())) => Came::Sent(Ok(sent)),
                        (Ok(_), Err(error)) => Came::Sent(Err(Unsent::never(error.to_string()))),
                        (Err(unsent), _) => Came::Sent(Err(unsent)),
                    }
                })
            }
        })
    }

    /// What is shown becomes a message of its own, without a cursor.
    fn leave(&mut self) -> Option<Request> {
        let last = shown(&self.text, self.limit(), "");
        let (place, is_new) = (self.place.clone(), last != self.says && !last.is_empty());
        self.text.clear();
        self.says.clear();
        let Place::At(id) = place else { return None };
        let (way, target, store, item) =
            (Arc::clone(&self.way), self.target.clone(), self.store.clone(), self.item);
        Some(Box::pin(async move {
            // First that it is left: whoever goes on with the turn begins another one.
            let _ = store.write(move |db| set(db, item, None)).await;
            if is_new {
                let _ = limited(SEND, way.edit(&target, &id, &last)).await;
            }
            Came::Left
        }))
    }

    fn came(&mut self, came: Came) {
        let now = Instant::now();
        let refused = match came {
            Came::NotYet => {
                self.says.clear();
                self.pace.made(now);
                return;
            }
            Came::Left => {
                self.place = Place::None;
                self.pace.made(now);
                return;
            }
            Came::Sent(Ok(Sent { id: Some(id) })) => {
                self.place = Place::At(id);
                self.pace.made(now);
                return;
            }
            Came::Changed(Ok(())) => {
                self.pace.made(now);
                return;
            }
            // Nobody can change it.
            Came::Sent(Ok(Sent { id: None })) => {
                self.place = Place::Over;
                return;
            }
            Came::Sent(Err(unsent)) => {
                // Where it may be there, there is no second one.
                if !matches!(unsent, Unsent::Later { unsure: false, .. }) {
                    tracing::debug!(
                        "[{}] an answer is not shown while it is made: {unsent}",
                        self.way.kind()
                    );
                    self.place = Place::Over;
                    return;
                }
                unsent
            }
            Came::Changed(Err(unsent)) => unsent,
        };
        self.says.clear();
        let goes_on = match &refused {
            Unsent::Later { after, .. } => self.pace.refused(now, *after),
            Unsent::Never { .. } => false,
        };
        if !goes_on {
            tracing::debug!("[{}] an answer is not shown any further: {refused}", self.way.kind());
            self.place = Place::Over;
        }
    }

    /// Goes on with the message of an earlier process.
    async fn adopt(&mut self) {
        let item = self.item;
        match self.store.aside(move |db| of(db, item)).await {
            Ok(None) => {}
            Ok(Some((id, _))) if id.is_empty() => self.place = Place::Over,
            Ok(Some((id, _))) => self.place = Place::At(id),
            Err(error) => {
                tracing::debug!(%error, "an answer is not shown while it is made");
                self.place = Place::Over;
            }
        }
    }

    /// Nobody knows what the message says in the end: the answer does not take its place.
    async fn forget(&mut self) {
        self.place = Place::Over;
        let item = self.item;
        if let Err(error) = self.store.write(move |db| set(db, item, None)).await {
            tracing::warn!(%error, "an answer may be overwritten by its beginning");
        }
    }
}

async fn under_way(request: &mut Option<Request>) -> Came {
    match request {
        Some(request) => request.await,
        None => std::future::pending().await,
    }
}

/// Whether a text may become the wish to say nothing.
fn may_be_silence(text: &str) -> bool {
    super::SILENCE.iter().any(|word| word.starts_with(text.trim()))
}

/// Notes that a message is about to be sent that shows the answer to an item. `false`: something waits for the same chat.
fn begin(
    db: &Connection,
    ways: &Outbounds,
    item: i64,
    target: &DeliveryTarget,
    chat_id: &str,
    now: f64,
) -> rusqlite::Result<bool> {
    if !ledger::is_free(db, ways, target, chat_id)? {
        return Ok(false);
    }
    db.prepare_cached("UPDATE hermes_inbox SET preview_id = '', preview_at = ?2 WHERE id = ?1")?
        .execute(params![item, now])?;
    Ok(true)
}

/// Notes which message shows it; none: none does.
fn set(db: &Connection, item: i64, id: Option<&str>) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE hermes_inbox SET preview_id = ?2 WHERE id = ?1")?
        .execute(params![item, id])
        .map(drop)
}

/// Which message shows the answer to an item, and since when. Empty: one was sent, and nobody knows which.
fn of(db: &Connection, item: i64) -> rusqlite::Result<Option<(String, f64)>> {
    db.prepare_cached("SELECT preview_id, COALESCE(preview_at, 0) FROM hermes_inbox WHERE id = ?1 AND preview_id IS NOT NULL")?
        .query_row([item], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// The row that was added last takes the place of the message that shows the answer to an item, if there is one. After `fresh_after` it
/// comes as a new one, and that one goes.
pub(crate) fn take_over(
    db: &Connection,
    item: i64,
    fresh_after: Option<Duration>,
    now: f64,
) -> rusqlite::Result<()> {
    let Some((id, since)) = of(db, item)?.filter(|(id, _)| !id.is_empty()) else { return Ok(()) };
    let fresh = fresh_after.is_some_and(|after| now - since >= after.as_secs_f64());
    db.prepare_cached(
        "UPDATE hermes_delivery SET preview_id = ?1, fresh = ?2 WHERE id = last_insert_rowid()",
    )?
    .execute(params![id, fresh])?;
    set(db, item, None)
}

/// Whether an answer is shown already.
pub(crate) fn is_shown(db: &Connection, item: i64) -> rusqlite::Result<bool> {
    Ok(of(db, item)?.is_some_and(|(id, _)| !id.is_empty()))
}

#[cfg(test)]
mod tests;
