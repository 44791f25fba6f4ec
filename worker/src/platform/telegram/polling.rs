//! The connection: polls, hands in what came, and confirms it once it was stored. What the service brings itself goes the same way: `hook`.
//!
//! An update is confirmed by asking for what is behind it. So the number that is asked for never passes an update that is not stored: in
//! the inbox, or, where it waits for its other parts, in the [`Mark`]. What can be stored in neither now is offered again meanwhile, and
//! known by its number. The mark also says how far the bot has got: what was confirmed is not looked at again, whoever polls next.

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use hermes_config::network::Network;
use serde_json::json;
use tokio::time::{Instant, sleep_until, timeout};

use super::common::Common;
use super::door::Door;
use super::errands::{Accepted, Errands};
use super::event;
use super::gate::{Gate, Passed};
use super::gather::{Gather, HELD, Held};
use super::mark::Mark;
use super::outbound::{LONGEST, place};
use super::service::{Failure, Service};
use super::settings::{NAME, Settings};
use super::waits::{Failures, is_webhook};
use super::wire::{Me, Message, Update, What};
use super::{menu, pressed, topics};
use crate::access::Facts;
use crate::handover::{Reception, TOO_MANY, Taken};
use crate::inbox::Inbox;
use crate::platform::{Adapter, Down, Link, PlatformFuture};
use crate::store::StoreError;

/// Pause before an update is stored that cannot be stored now.
const AGAIN: Duration = Duration::from_secs(1);
/// Silence beyond a poll that ends a connection.
const SILENCE: Duration = Duration::from_secs(15);
/// Time for what is held when the connection is to be closed, each.
const LAST: Duration = Duration::from_secs(2);
/// A connection that stands for so long polls alone.
const ALONE: Duration = Duration::from_mins(2);

/// The adapter.
pub(super) struct Polling {
    pub(super) settings: Settings,
    pub(super) network: Network,
    pub(super) common: Arc<Common>,
    pub(super) reception: Reception,
    pub(super) inbox: Inbox,
    pub(super) failures: Failures,
    /// Where the service calls, if it is to.
    pub(super) door: Option<Arc<Door>>,
}

impl Adapter for Polling {
    fn run(&self, link: Link) -> PlatformFuture<'_, Result<(), Down>> {
        Box::pin(async move {
            let ended = self.connect(link).await;
            if let Some(door) = &self.door {
                door.shut(ended.as_ref().err());
            }
            ended
        })
    }

    fn window(&self) -> Option<Duration> {
        Some(self.settings.poll + SILENCE)
    }
}

impl Polling {
    async fn connect(&self, link: Link) -> Result<(), Down> {
        let service = Service::new(&self.settings, &self.network, Arc::clone(&self.common))
            .map_err(|failure| self.failures.down(&failure))?;
        let me = tokio::select! {
            biased;
            _ = link.told() => return Ok(()),
            me = service.me() => me.map_err(|failure| self.failures.down(&failure))?,
        };
        tracing::info!("[{NAME}] the bot is @{}", me.username);
        let server = self.settings.base.origin().ascii_serialization();
        let mark = Mark { key: format!("hermes_telegram_offset {} {server}", me.id) };
        let mut connection = Connection {
            polling: self,
            gate: Arc::new(Gate::new(&self.settings, &me)),
            me: &me,
            gather: Gather::new(self.settings.batch),
            line: Line::default(),
            is_marked: false,
            service,
            link: &link,
            mark,
            is_first: true,
            is_unhooked: false,
        };
        connection.resume().await?;
        match self.settings.hook.as_ref().zip(self.door.as_deref()) {
            Some((hook, door)) => Box::pin(connection.be_called(hook, door)).await,
            None => Box::pin(connection.poll()).await,
        }
    }
}

/// Which updates are stored, and which is asked for next.
#[derive(Debug, Default, PartialEq, Eq)]
struct Line {
    /// Behind the last one that was seen.
    top: i64,
    /// Those that are stored while one before them is not.
    done: BTreeSet<i64>,
}

impl Line {
    /// What is asked for next, with the first that is not stored.
    fn offset(&self, open: Option<i64>) -> i64 {
        open.map_or(self.top, |open| open.min(self.top))
    }

    /// The updates of an answer to a request for `asked` that are new here.
    fn fresh(&mut self, asked: i64, updates: Vec<Update>) -> Vec<Update> {
        if updates.first().is_some_and(|first| first.id < asked) {
            // The service numbers anew.
            *self = Self::default();
        }
        updates.into_iter().filter(|update| !self.done.contains(&update.id)).collect()
    }

    fn see(&mut self, id: i64) {
        self.top = self.top.max(id + 1);
    }

    fn store(&mut self, ids: impl IntoIterator<Item = i64>, open: Option<i64>) {
        self.done.extend(ids);
        let offset = self.offset(open);
        self.done.retain(|id| *id >= offset);
    }
}

/// One connection.
pub(super) struct Connection<'p> {
    pub(super) polling: &'p Polling,
    pub(super) service: Service,
    pub(super) link: &'p Link,
    me: &'p Me,
    gate: Arc<Gate<'p>>,
    pub(super) gather: Gather,
    line: Line,
    mark: Mark,
    /// What is held is written down: it may be confirmed.
    pub(super) is_marked: bool,
    /// What comes may have come before.
    is_first: bool,
    /// A webhook was removed, and no poll was answered since.
    is_unhooked: bool,
}

/// What a poll will bring.
type Answer<'a> = BoxFuture<'a, Result<Vec<Update>, Failure>>;

impl<'p> Connection<'p> {
    async fn poll(mut self) -> Result<(), Down> {
        let since = Instant::now();
        let mut errands = Errands::default();
        let mut asked = self.offset();
        let mut before = (self.line.top, self.gather.held());
        // The poll that is under way, and whether it waits for news.
        let mut polling: Option<(Answer<'_>, bool)> = None;
        loop {
            let due = self.gather.next();
            let has_room = self.gather.count() < HELD;
            if polling.is_none() && has_room && due.is_none_or(|due| due <= Instant::now()) {
                // The first answer comes at once: it says whether the connection stands.
                let is_waiting = !self.is_first && due.is_none();
                let patience = if is_waiting { self.polling.settings.poll } else { Duration::ZERO };
                asked = self.offset();
                let service = self.service.clone();
                let poll = async move { service.updates(asked, patience).await };
                polling = Some((Box::pin(poll), is_waiting));
            }
            // What is complete once a poll has brought no more of it waits for that poll; a long one says nothing of it.
            let (is_polling, is_long) = (polling.is_some(), polling.as_ref().is_some_and(|(_, long)| *long));
            let answered = async {
                match &mut polling {
                    Some((poll, _)) => poll.await,
                    None => pending().await,
                }
            };
            let is_due = async { sleep_until(due.unwrap_or(since)).await };
            let updates = tokio::select! {
                biased;
                _ = self.link.told() => break,
                // A way out may hear it long before a poll ends.
                failure = self.service.refused() => return Err(self.polling.failures.down(&failure)),
                (held, accepted) = errands.settled() => {
                    self.link.progress();
                    self.settle(held, accepted, &mut errands).await?;
                    if is_polling && !is_long {
                        continue;
                    }
                    Vec::new()
                }
                answered = answered => {
                    polling = None;
                    match answered {
                        Ok(updates) => {
                            self.stands(since, &mut errands);
                            updates
                        }
                        Err(failure) => {
                            self.lost(failure).await?;
                            continue;
                        }
                    }
                }
                () = is_due, if due.is_some() && (is_long || !is_polling) => {
                    if !is_polling && has_room {
                        continue;
                    }
                    Vec::new()
                }
            };
            if !self.take(asked, updates, &mut errands).await? {
                break;
            }
            self.is_first = false;
            let now = (self.line.top, self.gather.held());
            if now != before {
                self.write_down(now.0, now.1.clone()).await;
                before = now;
            }
        }
        // Before anything else is asked.
        drop(polling);
        errands.finish().await;
        self.close(asked).await
    }

    /// A poll was answered.
    fn stands(&mut self, since: Instant, errands: &mut Errands<'p>) {
        self.link.up_by("polling");
        self.polling.failures.stands();
        self.is_unhooked = false;
        if since.elapsed() >= ALONE {
            self.polling.failures.alone();
        }
        if self.is_first {
            self.prepare(errands);
        }
    }

    /// What is to be there beside messages: the menu, and topics.
    pub(super) fn prepare(&self, errands: &mut Errands<'p>) {
        let Polling { settings, reception, inbox, .. } = self.polling;
        let (menu, topics) = (self.note("menu"), self.note("topics"));
        errands.chore(menu::offer(reception, inbox, self.service.clone(), menu));
        errands.chore(topics::make(&settings.topics, inbox, self.service.clone(), topics));
    }

    /// The name of a note of this bot.
    fn note(&self, what: &str) -> String {
        self.mark.key.replacen("offset", what, 1)
    }

    /// Takes up what the last one had written down.
    async fn resume(&mut self) -> Result<(), Down> {
        let marked = self.mark.read(&self.polling.inbox).await.map_err(|error| not_stored(&error))?;
        self.line.top = marked.offset;
        for (id, message) in marked.held {
            let mut complete = Vec::new();
            self.message(id, message, &mut complete).await?;
            self.gather.put_back(complete.into_iter(), Instant::now());
        }
        Ok(())
    }

    fn offset(&self) -> i64 {
        if self.is_marked { self.line.top } else { self.line.offset(self.gather.first()) }
    }

    /// A poll that failed ends the connection, unless it is only in the way that updates go elsewhere. Whoever has them go there again is
    /// another program, and is waited for.
    async fn lost(&mut self, failure: Failure) -> Result<(), Down> {
        match &failure {
            Failure::Refused { refusal, .. } if is_webhook(refusal) && !self.is_unhooked => {
                tracing::warn!(
                    "[{NAME}] the bot's updates went to a webhook, which is removed: it is polled from now on"
                );
                let body = json!({"drop_pending_updates": false});
                let removed: Result<bool, Failure> = self.service.call("deleteWebhook", &body).await;
                self.is_unhooked = true;
                removed.map(drop).map_err(|failure| self.polling.failures.down(&failure))
            }
            failure => Err(self.polling.failures.down(failure)),
        }
    }

    /// Takes what a poll brought, and hands in what is complete. False: the connection is to be closed.
    pub(super) async fn take(
        &mut self,
        asked: i64,
        updates: Vec<Update>,
        errands: &mut Errands<'p>,
    ) -> Result<bool, Down> {
        let mut complete = Vec::new();
        for Update { id, what } in self.line.fresh(asked, updates) {
            self.line.see(id);
            if self.gather.has(id) || complete.iter().any(|held: &Held| held.has(id)) {
                continue;
            }
            let done = match what {
                What::Message(message) => self.message(id, *message, &mut complete).await?,
                What::Odd => {
                    tracing::warn!("[{NAME}] update {id} is skipped: a part of it is missing or too long");
                    true
                }
                What::Press(press) => {
                    let (said, is_over) = pressed::take(&self.polling.reception, &press).await;
                    errands.tell(pressed::tell(self.service.clone(), press, said, is_over)).await;
                    true
                }
                What::Other => true,
            };
            if done {
                self.line.store([id], self.open(&complete));
            }
        }
        complete.extend(self.gather.due(Instant::now()));
        let mut complete = complete.into_iter();
        while let Some(held) = complete.next() {
            if self.gather.is_behind(&held) {
                self.gather.put_back(std::iter::once(held), Instant::now());
                continue;
            }
            if self.is_slow(&held) {
                if errands.has_room() {
                    self.gather.send_away(held.clone());
                    errands.carry(self.carry(held));
                } else {
                    self.gather.put_back(std::iter::once(held), Instant::now() + AGAIN);
                }
                continue;
            }
            let accepting = Box::pin(self.carry(held.clone()));
            let window = self.polling.settings.poll + SILENCE;
            let Some((_, accepted)) = self.link.during(window, accepting).await else {
                self.gather.put_back(std::iter::once(held).chain(complete), Instant::now());
                return Ok(false);
            };
            match self.judge(&held, accepted, errands).await? {
                None => {
                    let open = self.open(complete.as_slice());
                    self.line.store(held.messages.iter().map(|(id, _)| *id), open);
                }
                Some(until) => self.gather.put_back(std::iter::once(held), until),
            }
        }
        Ok(true)
    }

    /// Whether handing it in may take long: files are fetched, and other profiles waited for.
    fn is_slow(&self, held: &Held) -> bool {
        held.messages.iter().any(|(_, message)| {
            let speaker = event::Speaker::of(message);
            let is_own = self.polling.reception.is_own(&event::source(message, &speaker));
            !is_own || event::file(message).is_some()
        })
    }

    /// Hands in messages; gives them back with what became of them.
    fn carry(&self, held: Held) -> impl Future<Output = (Held, Accepted)> + Send + use<'p> {
        let (polling, gate, me) = (self.polling, Arc::clone(&self.gate), self.me.id);
        let service = self.service.clone();
        async move {
            let accepted = match event::arrived(&held, &gate, &service, me).await {
                Some(arrived) => Some(polling.reception.accept(arrived, u64::try_from(LONGEST).ok()).await),
                None => None,
            };
            (held, accepted)
        }
    }

    /// What was carried is stored, or is tried again.
    pub(super) async fn settle(
        &mut self,
        held: Held,
        accepted: Accepted,
        errands: &mut Errands<'p>,
    ) -> Result<(), Down> {
        self.gather.come_back(&held);
        match self.judge(&held, accepted, errands).await? {
            None => {
                let open = self.open(&[]);
                self.line.store(held.messages.iter().map(|(id, _)| *id), open);
            }
            Some(until) => self.gather.put_back(std::iter::once(held), until),
        }
        Ok(())
    }

    /// The first update that is not stored.
    fn open(&self, complete: &[Held]) -> Option<i64> {
        let complete = complete.iter().map(|held| held.messages[0].0).min();
        complete.into_iter().chain(self.gather.first()).min()
    }

    /// Takes a message that is for the bot. True: nothing more is to be done about it.
    async fn message(&mut self, id: i64, message: Message, complete: &mut Vec<Held>) -> Result<bool, Down> {
        if let Some(new) = message.migrate_to_chat_id {
            tracing::info!("[{NAME}] chat {} is {new} now", message.chat.id);
        }
        if let Err(passed) = self.gate.judge(&message) {
            if passed == Passed::Unmentioned && self.polling.settings.observes {
                self.overhear(&message).await?;
            } else if passed != Passed::Own {
                tracing::debug!(
                    "[{NAME}] update {id} in chat {} is not for the bot: {passed:?}",
                    message.chat.id
                );
            }
            return Ok(true);
        }
        let is_twice = self.gather.knows(&message)
            || complete
                .iter()
                .any(|held| held.messages.iter().any(|(_, other)| event::key(other) == event::key(&message)));
        if is_twice {
            return Ok(true);
        }
        if self.is_first {
            let known = self.polling.inbox.is_known(NAME, &event::key(&message)).await;
            if known.map_err(|error| not_stored(&error))? {
                return Ok(true);
            }
        }
        let source = event::source(&message, &event::Speaker::of(&message));
        let may_join = self.polling.reception.is_own(&source);
        complete.extend(self.gather.take(id, message, may_join, Instant::now()));
        Ok(false)
    }

    /// Keeps what is said to others in a group, for whoever speaks to the bot there next. Who may not talk to the bot is not heard.
    async fn overhear(&self, message: &Message) -> Result<(), Down> {
        let speaker = event::Speaker::of(message);
        let source = event::source(message, &speaker);
        let reception = &self.polling.reception;
        let facts = Facts { is_bot: speaker.is_bot, ..Facts::default() };
        let text = event::overheard(message, &self.gate);
        if text.is_empty() || !reception.is_own(&source) {
            return Ok(());
        }
        match reception.knows(&source, &facts).await {
            Ok(true) => {
                let id = message.message_id.to_string();
                let kept = self.polling.inbox.overhear(source, id, text).await;
                kept.map_err(|error| not_stored(&error))
            }
            Ok(false) => Ok(()),
            Err(error) => {
                tracing::warn!(%error, "[{NAME}] what is said in chat {} is not heard", message.chat.id);
                Ok(())
            }
        }
    }

    /// What became of messages that were handed in: when they are to be offered again, if they are.
    async fn judge(
        &self,
        held: &Held,
        accepted: Accepted,
        errands: &mut Errands<'p>,
    ) -> Result<Option<Instant>, Down> {
        let Some((id, first)) = held.messages.first() else { return Ok(None) };
        let (after, reason) = match accepted {
            None => {
                tracing::debug!("[{NAME}] update {id} holds nothing that could be answered");
                return Ok(None);
            }
            Some(Ok(Taken::New | Taken::Known | Taken::Buried | Taken::TurnedAway)) => return Ok(None),
            Some(Ok(Taken::Full)) => {
                let mut body = place(&event::target(first), true);
                body["text"] = TOO_MANY.into();
                let (id, service) = (*id, self.service.clone());
                let telling = async move {
                    if let Err(error) = service.send(&body).await {
                        tracing::warn!(%error, "[{NAME}] nobody could be told that update {id} was not taken");
                    }
                };
                errands.tell(telling).await;
                return Ok(None);
            }
            Some(Err(not)) => not.wait().map_err(|error| Down::retrying("telegram_store", error.reason()))?,
        };
        tracing::info!("[{NAME}] update {id} waits: {reason}");
        Ok(Some(Instant::now() + after))
    }

    /// Stores what is held, and confirms what is stored: it would be offered to whoever comes next, and known there.
    async fn close(mut self, asked: i64) -> Result<(), Down> {
        self.keep(self.line.top).await;
        let offset = self.offset();
        if offset <= asked {
            return Ok(());
        }
        let confirmed = self.service.updates(offset, Duration::ZERO).await;
        confirmed.map(drop).map_err(|failure| self.polling.failures.down(&failure))
    }

    /// Writes down how far the bot has got, and what is held.
    pub(super) async fn write_down(&mut self, offset: i64, held: Vec<(i64, Message)>) {
        self.is_marked = self.mark.write(&self.polling.inbox, offset, held).await;
    }

    /// Stores what is held: in the inbox, or where the next connection finds it, with `offset`.
    pub(super) async fn keep(&mut self, offset: i64) {
        let mut all = self.gather.all().into_iter();
        while let Some(held) = all.next() {
            let taken = timeout(LAST, Box::pin(self.carry(held.clone()))).await.map(|(_, accepted)| accepted);
            let is_stored =
                matches!(taken, Ok(Some(Ok(Taken::New | Taken::Known | Taken::Buried | Taken::TurnedAway))));
            if !is_stored {
                // The next one gets it, with what comes behind it.
                self.gather.put_back(std::iter::once(held).chain(all), Instant::now());
                break;
            }
        }
        self.write_down(offset, self.gather.held()).await;
    }
}

/// What the connection is while nobody knows what is stored.
fn not_stored(error: &StoreError) -> Down {
    Down::retrying("telegram_store", error.reason()).after(Some(AGAIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(id: i64) -> Update {
        Update { id, what: What::Other }
    }

    fn ids(updates: &[Update]) -> Vec<i64> {
        updates.iter().map(|update| update.id).collect()
    }

    #[test]
    fn what_is_asked_for_never_passes_what_is_not_stored() {
        let mut line = Line { top: 5, ..Line::default() };
        assert_eq!(ids(&line.fresh(5, vec![update(5), update(7)])), [5, 7]);
        line.see(5);
        line.see(7);
        // 5 waits for its other parts.
        line.store([7], Some(5));
        assert_eq!(line.offset(Some(5)), 5);
        assert_eq!(ids(&line.fresh(5, vec![update(5), update(7), update(8)])), [5, 8]);
        line.see(8);
        line.store([5], Some(8));
        assert_eq!(line.offset(Some(8)), 8);
        line.store([8], None);
        assert_eq!((line.offset(None), line.done.len()), (9, 0));
    }

    #[test]
    fn a_service_that_numbers_anew_is_followed() {
        let mut line = Line { top: 900, ..Line::default() };
        assert_eq!(ids(&line.fresh(900, vec![update(3)])), [3]);
        line.see(3);
        line.store([3], None);
        assert_eq!(line.offset(None), 4);
    }
}
