//! What the parts of one connection share: the bot, what it knows of places and people, and how something is handed in.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::event::{Spot, aliases};
use super::gate::Gate;
use super::mark::{Mark, Number};
use super::places::{Known, Places};
use super::service::{Body, Failure, Service};
use super::settings::{NAME, Settings};
use super::wire::{Id, Member, User};
use super::{PRIVATE, THREADS};
use crate::access::Facts;
use crate::delivery::outbound::CHAT_ID;
use crate::handover::{Arrived, Reception, TOO_MANY, Taken};
use crate::inbox::Inbox;
use crate::platform::Down;
use twilight_http_ratelimiting::Method;

/// Pause before something is tried again that does not go now.
const AGAIN: Duration = Duration::from_secs(1);
/// Time for the name of a server.
const NAMING: Duration = Duration::from_secs(3);
/// How often something is asked for that Discord does not say now.
const TRIES: u32 = 10;

/// See the module.
pub(super) struct Desk<'g> {
    pub(super) settings: &'g Settings,
    pub(super) service: Service,
    pub(super) reception: &'g Reception,
    pub(super) inbox: &'g Inbox,
    pub(super) gate: Gate<'g>,
    /// Anybody is listed who may talk to the bot.
    pub(super) has_lists: bool,
    pub(super) mark: Mutex<Mark>,
    pub(super) places: Mutex<Places>,
    /// A session has begun: who dies now resumes it only if that is written down.
    pub(super) began: Notify,
}

impl Desk<'_> {
    pub(super) fn mark(&self) -> MutexGuard<'_, Mark> {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn done(&self, number: Number) {
        self.mark().done(number);
    }

    /// Writes down how far the bot has got, where that is not written yet.
    pub(super) async fn write_mark(&self) {
        let unwritten = self.mark().unwritten();
        let Some((key, text)) = unwritten else { return };
        if let Err(error) = self.inbox.remember(&key, text).await {
            // What is not written down is repeated, and known in the inbox.
            tracing::debug!("[{NAME}] how far the bot has got is not written down: {}", error.reason());
            self.mark().forget_written();
        }
    }

    /// Where something is said. What Discord does not tell is not known: then only the channel itself is.
    pub(super) async fn spot(&self, channel: Id, guild: Option<Id>, kind: Option<u8>) -> Spot {
        let Some(guild) = guild else {
            let known = Known { kind: kind.unwrap_or(PRIVATE), ..Known::default() };
            return Spot { channel, known, ..Spot::default() };
        };
        let known = self.places().of(channel).cloned();
        let known = match known {
            Some(known) => known,
            None => self.look_up(channel, kind).await,
        };
        let name = self.places().guild_name(guild).map(str::to_owned);
        let guild_name = if let Some(name) = name {
            name
        } else {
            // For people only: it is asked for once.
            let asked = timeout(NAMING, self.service.guild(guild)).await;
            let name =
                asked.map(|found| found.map(|guild| guild.name).unwrap_or_default()).unwrap_or_default();
            self.places().name_guild(guild, &name);
            name
        };
        let takes_part = THREADS.contains(&known.kind)
            && (known.is_member || known.owner == Some(self.gate.me) || self.mark().takes_part(channel));
        Spot { channel, guild: Some(guild), guild_name, known, takes_part }
    }

    async fn look_up(&self, channel: Id, kind: Option<u8>) -> Known {
        let mut tries = 1;
        let found = loop {
            let found = self.service.channel(channel).await;
            if !helps_to_wait(&found, &mut tries).await {
                break found;
            }
        };
        match found {
            Ok(found) => {
                self.places().channel(&found);
                Known::from(&found)
            }
            Err(failure) => {
                tracing::warn!("[{NAME}] nothing is known of channel {channel}: {failure}");
                Known { kind: kind.unwrap_or_default(), ..Known::default() }
            }
        }
    }

    /// Whether somebody may talk to the bot for what Discord says of him: by a role, or by where he is.
    pub(super) async fn is_authorized(&self, spot: &Spot, user: &User, member: Option<&Member>) -> bool {
        let settings = self.settings;
        let has_role =
            |roles: &[Id]| roles.iter().any(|role| settings.allowed_roles.contains(&role.to_string()));
        if spot.guild.is_some() {
            let is_open = !self.has_lists
                && settings.allowed_roles.is_empty()
                && !settings.allowed_channels.is_empty()
                && settings.allowed_channels.holds_any(spot.place().channels.iter().map(String::as_str));
            return is_open || member.is_some_and(|member| has_role(&member.roles));
        }
        // In private by the roles of one server, where that is set.
        let Some(guild) = settings.dm_role_guild.as_deref().and_then(Id::parse) else { return false };
        if settings.allowed_roles.is_empty() {
            return false;
        }
        let mut tries = 1;
        let found = loop {
            let found = self.service.member(guild, user.id).await;
            if !helps_to_wait(&found, &mut tries).await {
                break found;
            }
        };
        match found {
            Ok(member) => has_role(&member.roles),
            Err(failure) => {
                tracing::debug!("[{NAME}] {} has no role of server {guild}: {failure}", user.id);
                false
            }
        }
    }

    /// What is known of whoever acts.
    pub(super) async fn facts(&self, spot: &Spot, user: &User, member: Option<&Member>) -> Facts {
        Facts {
            is_bot: user.bot,
            addressed: true,
            role_authorized: self.is_authorized(spot, user, member).await,
            aliases: aliases(user),
        }
    }

    /// Hands something in, again and again until it is stored or nobody wants it; `make` makes it. An error ends the connection.
    pub(super) async fn hand_in(&self, make: impl Fn() -> Option<Arrived>) -> Result<(), Down> {
        loop {
            let Some(arrived) = make() else { return Ok(()) };
            let (target, id) = (arrived.event.delivery.clone(), arrived.event.dedup.clone());
            let longest = u64::try_from(super::outbound::LONGEST).ok();
            let (after, reason) = match Box::pin(self.reception.accept(arrived, longest)).await {
                Ok(Taken::New | Taken::Known | Taken::Buried | Taken::TurnedAway) => return Ok(()),
                Ok(Taken::Full) => {
                    let chat = target.extra.get(CHAT_ID).cloned().unwrap_or_default();
                    let body = Body::Json(serde_json::json!({"content": TOO_MANY}));
                    let path = format!("channels/{chat}/messages");
                    if let Err(error) = self.service.call("messages", Method::Post, &path, body).await {
                        tracing::warn!(%error, "[{NAME}] nobody could be told that a message was not taken");
                    }
                    return Ok(());
                }
                Err(not) => not.wait().map_err(|error| Down::retrying("discord_store", error.reason()))?,
            };
            let id = id.map(|key| key.id).unwrap_or_default();
            tracing::info!("[{NAME}] message {id} waits: {reason}");
            sleep(after).await;
        }
    }
}

/// Waits where asking Discord again may help; else it is as it was answered.
async fn helps_to_wait<T>(answer: &Result<T, Failure>, tries: &mut u32) -> bool {
    let Err(failure) = answer else { return false };
    if !failure.is_for_now() || *tries >= TRIES {
        return false;
    }
    tracing::debug!("[{NAME}] asking again: {failure}");
    let wait = if let Failure::Limited { after } = failure { (*after).max(AGAIN) } else { AGAIN };
    *tries += 1;
    sleep(wait).await;
    true
}
