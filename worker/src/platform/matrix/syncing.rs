//! The connection: syncs, hands in what came, and writes down how far it got.
//!
//! A homeserver keeps everything, and gives what is behind the place that is asked for. That place is written down once all that was before
//! it is in the inbox: who is started again, for whatever reason, asks for the same once more, and the inbox knows it. What waits for its
//! other parts is in no inbox: how far that was synced is not written down before.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep};

use super::account::Account;
use super::backlog;
use super::gate::{Gate, Passed};
use super::gather::{Gather, Place, Waiting};
use super::service::{Ask, Failure, Who};
use super::settings::NAME;
use super::waits::{self, Failures};
use super::wire::{self, Batch, Event, News, Refusal, What, WireError};
use crate::clock;
use crate::handover::Reception;
use crate::inbox::Inbox;
use crate::platform::link::TakeIdentity;
use crate::platform::{Adapter, Down, Link, PlatformFuture};
use crate::store::StoreError;

/// Time for one sync where nothing comes.
const POLL: Duration = Duration::from_secs(30);
/// Silence beyond that which ends a connection.
const SILENCE: Duration = Duration::from_secs(30);
/// Pause before a message is stored that cannot be stored now.
const AGAIN: Duration = Duration::from_secs(1);
/// Most events of a room in one answer; fewer where an answer was too long.
const LIMIT: u32 = 50;
/// So long an account that is logged in is waited for before it counts as connected without an answer.
const LONG: Duration = Duration::from_secs(20);
/// Requests that nobody waits for, at once.
const CHORES: usize = 32;

/// The adapter.
pub(super) struct Syncing {
    pub(super) account: Arc<Account>,
    pub(super) reception: Reception,
    pub(super) inbox: Inbox,
    pub(super) take_identity: TakeIdentity,
    pub(super) failures: Failures,
}

impl Adapter for Syncing {
    fn run(&self, link: Link) -> PlatformFuture<'_, Result<(), Down>> {
        Box::pin(self.connect(link))
    }

    fn window(&self) -> Option<Duration> {
        Some(POLL + SILENCE)
    }
}

impl Syncing {
    async fn connect(&self, link: Link) -> Result<(), Down> {
        let found = tokio::select! {
            biased;
            _ = link.told() => return Ok(()),
            found = self.meet() => found,
        };
        let (who, name) = match found {
            Ok(found) => found,
            Err(failure) => return Err(self.down(&failure).await),
        };
        tracing::info!("[{NAME}] the account is {}", who.user);
        if self.account.settings.user_id.as_ref().is_some_and(|user| !user.eq_ignore_ascii_case(&who.user)) {
            tracing::warn!(
                "[{NAME}] the token is not that of MATRIX_USER_ID, but of {}: that one counts",
                who.user
            );
        }
        let server = self.account.base().map(|base| base.origin().ascii_serialization());
        // Of a token alone nobody could say whose it is before.
        let identity = format!("{}|{}", self.account.homeserver(), who.user).to_lowercase();
        let give_up = (self.take_identity)(NAME, "matrix-user", &identity).await?;
        let connection = Connection {
            syncing: self,
            account: &self.account,
            gate: Gate::new(&self.account.settings, &who.user, name.as_deref()),
            key: format!("hermes_matrix_since {} {}", who.user, server.unwrap_or_default()),
            me: &who,
            link: &link,
        };
        let ended = Box::pin(connection.sync()).await;
        give_up.await;
        ended
    }

    /// Logs in, and finds out what the account is called.
    async fn meet(&self) -> Result<(Who, Option<String>), Failure> {
        let who = self.account.enter().await?;
        self.account.note_device(&who).await;
        let path = ["client", "v3", "profile", &who.user, "displayname"];
        let name = match self.account.ask(&Ask::get("profile", &path)).await {
            Ok(answer) => answer["displayname"].as_str().map(str::trim).map(str::to_owned),
            Err(failure) if failure.is_absence() => None,
            Err(failure) => return Err(failure),
        };
        let path = ["client", "v3", "user", &who.user, "account_data", "m.direct"];
        match self.account.ask(&Ask::get("direct", &path)).await {
            Ok(direct) => self.account.set_direct(wire::direct(&direct)),
            Err(failure) if failure.is_absence() => self.account.set_direct(Vec::new()),
            Err(failure) => return Err(failure),
        }
        let name = name.filter(|name| !name.is_empty() && name.len() <= 255);
        Ok((who, name))
    }

    /// What a failed request is to the connection.
    pub(super) async fn down(&self, failure: &Failure) -> Down {
        match failure {
            Failure::Refused { refusal, .. } if refusal.is_of_token() => self.logged_out(refusal).await,
            // Another request has heard it.
            Failure::LoggedOut(_) => match self.account.is_refused() {
                Some(refusal) => self.logged_out(&refusal).await,
                None => self.failures.down(failure),
            },
            failure => self.failures.down(failure),
        }
    }

    /// The token counts for nothing any more.
    async fn logged_out(&self, refusal: &Refusal) -> Down {
        if self.account.may_log_in(refusal) {
            let text = "the homeserver has ended the session, and asks for another login";
            return Down::retrying("matrix_soft_logout", text).after(Some(AGAIN));
        }
        self.account.forget().await;
        waits::refused(&format!("{} {}", refusal.status, refusal.code))
    }
}

/// How far the account has synced, and what of that is stored.
pub(super) struct Line {
    /// What waits for more.
    gather: Gather,
    /// Behind the last sync that brought something.
    reached: Option<String>,
    /// What is written down of that.
    written: Option<String>,
    /// Syncs so far.
    nth: u64,
}

/// A request that nobody waits for.
pub(super) type Chore<'c> = Pin<Box<dyn Future<Output = ()> + Send + 'c>>;

/// One connection.
pub(super) struct Connection<'s> {
    pub(super) syncing: &'s Syncing,
    pub(super) account: &'s Account,
    pub(super) link: &'s Link,
    pub(super) me: &'s Who,
    pub(super) gate: Gate<'s>,
    /// Where it is written down how far the account has synced.
    key: String,
}

impl Connection<'_> {
    async fn sync(self) -> Result<(), Down> {
        let inbox = &self.syncing.inbox;
        let mut since = inbox.remembered(&self.key).await.map_err(|error| not_stored(&error))?;
        let settings = &self.account.settings;
        let mut line = Line {
            gather: Gather::new(settings.batch, settings.longest),
            reached: since.clone(),
            written: since.clone(),
            nth: 0,
        };
        let mut chores: FuturesUnordered<Chore<'_>> = FuturesUnordered::new();
        let (mut limit, mut is_up) = (LIMIT, false);
        self.show_unread(&self.unread().await?);
        loop {
            // The first answer comes at once: it says whether the connection stands.
            let patience = if is_up { POLL } else { Duration::ZERO };
            let asked = if since.is_none() { 1 } else { limit };
            let is_first = since.is_none();
            let long = async {
                sleep(LONG).await;
                // Of an account with many rooms the first answer of all takes longer than any connection may.
                self.link.up();
                std::future::pending::<()>().await;
            };
            let came = tokio::select! {
                biased;
                // What is held is offered to whoever comes next.
                _ = self.link.told() => return Ok(()),
                came = self.next((since.as_deref(), asked, patience), &mut line, &mut chores) => came?,
                refusal = self.account.refused() => return Err(self.syncing.logged_out(&refusal).await),
                () = long, if is_first => return Ok(()),
            };
            let batch = match came {
                Ok(batch) => batch,
                Err(Failure::Garbled(WireError::TooMuch(_))) if limit > 1 => {
                    tracing::warn!("[{NAME}] an answer is too long; fewer events of each room are asked for");
                    limit = (limit / 5).max(1);
                    continue;
                }
                Err(Failure::Refused { refusal, .. }) if since.is_some() && refusal.is_of_place() => {
                    tracing::warn!(
                        "[{NAME}] the homeserver does not know how far the account had synced ({}): what was said meanwhile is skipped",
                        refusal.code
                    );
                    since = None;
                    continue;
                }
                Err(failure) => return Err(self.syncing.down(&failure).await),
            };
            is_up = true;
            self.link.up();
            self.link.progress();
            self.syncing.failures.stands();
            let (is_quiet, next) = (batch.is_empty(), batch.next.clone());
            let mut more = Vec::new();
            let taking = Box::pin(self.take(batch, since.as_deref(), &mut line, &mut more));
            // What is not stored now is offered to whoever comes next.
            let Some(taken) = self.link.during(POLL + SILENCE, taking).await else { return Ok(()) };
            taken?;
            if !is_quiet || since.is_none() {
                line.reached = Some(next.clone());
                self.write_down(&mut line).await?;
                limit = LIMIT;
            }
            since = Some(next);
            line.nth += 1;
            chores.extend(more.into_iter().take(CHORES.saturating_sub(chores.len())));
        }
    }

    /// Writes down how far the account has synced, where that is new: up to what is held.
    async fn write_down(&self, line: &mut Line) -> Result<(), Down> {
        let place =
            line.gather.oldest().map(|place| place.as_ref().to_owned()).or_else(|| line.reached.clone());
        if let Some(place) = place.filter(|place| line.written.as_ref() != Some(place)) {
            let kept = self.syncing.inbox.remember(&self.key, place.clone()).await;
            kept.map_err(|error| not_stored(&error))?;
            line.written = Some(place);
        }
        Ok(())
    }

    /// What is new, while chores are done beside, and what was held is handed in once it is complete.
    async fn next<'c>(
        &'c self,
        (since, limit, patience): (Option<&str>, u32, Duration),
        line: &mut Line,
        chores: &mut FuturesUnordered<Chore<'c>>,
    ) -> Result<Result<Batch, Failure>, Down> {
        let filter = backlog::filter(limit);
        let asking = self.account.with_token(async |service, token| {
            service.sync(token, &self.me.user, since, &filter, patience).await
        });
        let mut asking = Box::pin(asking);
        loop {
            let due = line.gather.next();
            tokio::select! {
                biased;
                came = &mut asking => return Ok(came),
                () = clock::until(due) => {
                    let mut more = Vec::new();
                    let handing = Box::pin(self.hand_in_due(line, &mut more));
                    match self.link.during(POLL + SILENCE, handing).await {
                        Some(handed) => handed?,
                        // The connection is to be closed: whoever waits for this knows.
                        None => std::future::pending().await,
                    }
                    chores.extend(more.into_iter().take(CHORES.saturating_sub(chores.len())));
                }
                Some(()) = chores.next(), if !chores.is_empty() => {}
            }
        }
    }

    /// Hands in what nobody adds anything to any more.
    async fn hand_in_due<'c>(&'c self, line: &mut Line, chores: &mut Vec<Chore<'c>>) -> Result<(), Down> {
        for held in line.gather.due(Instant::now()) {
            chores.extend(self.hand_in(&held).await?);
        }
        self.write_down(line).await
    }

    /// Stores what a sync brought. `since`: where it began; nowhere: it is the first of all, and what was said before is not for the bot.
    async fn take<'c>(
        &'c self,
        batch: Batch,
        since: Option<&str>,
        line: &mut Line,
        chores: &mut Vec<Chore<'c>>,
    ) -> Result<(), Down>
    where
        Self: 'c,
    {
        let Batch { joined, invites, left, direct, odd, .. } = batch;
        if let Some(direct) = direct {
            self.account.set_direct(direct);
        }
        if odd > 0 {
            tracing::warn!("[{NAME}] {odd} rooms are skipped: their ids are none");
        }
        for room in left {
            self.is_out(&room).await?;
        }
        for invite in invites {
            self.invited(invite).await?;
        }
        for (room, news) in joined {
            self.news(room, news, since, line, chores).await?;
        }
        Ok(())
    }

    async fn news<'c>(
        &'c self,
        room: String,
        news: News,
        since: Option<&str>,
        line: &mut Line,
        chores: &mut Vec<Chore<'c>>,
    ) -> Result<(), Down>
    where
        Self: 'c,
    {
        // Who speaks is named with every message; who comes and goes is news.
        if news.gap.is_some()
            || news.events.iter().chain(news.state.iter().filter(|e| !e.is_member())).any(Event::changes_room)
        {
            self.account.changed(&room);
        }
        let mut names = BTreeMap::new();
        for event in news.state.iter().chain(&news.events) {
            if let What::Member { who, name, .. } = &event.what {
                names.insert(who.clone(), name.clone());
            }
        }
        let Some(since) = since else { return Ok(()) };
        if news.odd > 0 {
            let odd = news.odd;
            tracing::warn!(
                "[{NAME}] {odd} events in {room} are skipped: a part of them is missing or too long"
            );
        }
        let events = match backlog::whole(self.account, &room, news, since, &self.me.user).await {
            Ok(events) => events,
            Err(failure) => return Err(self.syncing.down(&failure).await),
        };
        let from = Place { nth: line.nth, token: since.into() };
        for event in events {
            if let Some(passed) = self.gate.is_deaf_to(&event.sender) {
                if passed != Passed::Own {
                    tracing::debug!("[{NAME}] {} in {room} is not for the bot: {passed:?}", event.id);
                }
                continue;
            }
            match &event.what {
                What::Message(said) => {
                    let name = names.get(&event.sender).cloned().flatten();
                    let heard = self.message(&room, &event, said, name, &line.gather).await?;
                    let Some(heard) = heard else { continue };
                    let may_join = self.syncing.reception.is_own(&heard.source());
                    let waiting = Waiting { heard, from: from.clone() };
                    for held in line.gather.take(waiting, may_join, Instant::now()) {
                        chores.extend(self.hand_in(&held).await?);
                    }
                }
                What::Sign { to, key } => chores.extend(self.sign(&room, &event.sender, to, key).await?),
                What::Encrypted | What::Encryption => self.encrypted(&room).await?,
                What::Tombstone { replacement: Some(new) } => self.follow(&room, new, &event.sender).await?,
                What::Member { .. } | What::Name | What::Tombstone { replacement: None } | What::Other => {}
            }
        }
        Ok(())
    }

    /// What a request that failed is, where it may be that there is nothing.
    pub(super) async fn unless_absent<T>(&self, found: Result<T, Failure>) -> Result<Option<T>, Down> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(failure) if failure.is_absence() => Ok(None),
            Err(failure) => Err(self.syncing.down(&failure).await),
        }
    }
}

/// What the connection is while nobody knows what is stored.
pub(super) fn not_stored(error: &StoreError) -> Down {
    Down::retrying("matrix_store", error.reason()).after(Some(AGAIN))
}
