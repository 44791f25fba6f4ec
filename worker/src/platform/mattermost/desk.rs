//! What the parts of one connection share: the bot, what it knows of places and people, and how something is handed in.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::event::{self, Place};
use super::gate::Gate;
use super::mark::Mark;
use super::service::Service;
use super::settings::{NAME, Settings};
use super::wire::{Channel, File, Post};
use crate::handover::{Arrived, Attached, Reception, TOO_MANY, Taken};
use crate::inbox::Inbox;
use crate::platform::Down;

/// Longest message, in characters: some servers take no more than 4000.
pub(super) const LONGEST: usize = 3900;
/// How often it is written down how far the bot has got, where that changes.
const NOTED: Duration = Duration::from_secs(2);
/// Most places, and most people, that are known.
const KNOWN: usize = 2000;

/// Something to be handed in.
pub(super) struct Item {
    pub(super) post: Post,
    /// It says so itself that it is for the bot.
    pub(super) addressed: bool,
}

/// See the module.
pub(super) struct Desk<'c> {
    pub(super) settings: &'c Settings,
    pub(super) service: Service,
    pub(super) reception: &'c Reception,
    pub(super) inbox: &'c Inbox,
    pub(super) gate: Gate<'c>,
    pub(super) mark: Mutex<Mark>,
    places: Mutex<BTreeMap<String, Place>>,
    names: Mutex<BTreeMap<String, String>>,
}

impl<'c> Desk<'c> {
    pub(super) fn new(
        service: Service,
        (reception, inbox): (&'c Reception, &'c Inbox),
        gate: Gate<'c>,
        mark: Mark,
    ) -> Self {
        let (places, names) = (Mutex::default(), Mutex::default());
        Self {
            settings: gate.settings,
            service,
            reception,
            inbox,
            gate,
            mark: Mutex::new(mark),
            places,
            names,
        }
    }

    pub(super) fn mark(&self) -> MutexGuard<'_, Mark> {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down how far the bot has got, where that is not written yet.
    pub(super) async fn write_mark(&self) {
        let unwritten = self.mark().unwritten();
        let Some((key, text)) = unwritten else { return };
        if let Err(error) = self.inbox.remember(&key, text).await {
            // What is not written down is given again, and known in the inbox.
            tracing::debug!("[{NAME}] how far the bot has got is not written down: {}", error.reason());
            self.mark().forget_written();
        }
    }

    /// What is said of a channel.
    pub(super) fn learn(&self, id: &str, place: Place) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() >= KNOWN && !places.contains_key(id) {
            places.clear();
        }
        places.insert(id.to_owned(), place);
    }

    /// What somebody is called.
    pub(super) fn name(&self, user: &str, name: &str) {
        if name.is_empty() || name.len() > 256 {
            return;
        }
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= KNOWN && !names.contains_key(user) {
            names.clear();
        }
        names.insert(user.to_owned(), name.chars().filter(|c| !c.is_control()).collect());
    }

    /// What is known of a channel, without asking.
    pub(super) fn known(&self, channel: &str) -> Option<Place> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).get(channel).cloned()
    }

    async fn place(&self, channel: &str) -> Place {
        if let Some(place) = self.known(channel) {
            return place;
        }
        match self.service.channel(channel).await {
            Ok(found) => {
                let place = place(&found);
                self.learn(channel, place.clone());
                place
            }
            Err(failure) => {
                tracing::warn!("[{NAME}] nothing is known of channel {channel}: {failure}");
                Place::default()
            }
        }
    }

    async fn name_of(&self, user: &str) -> Option<String> {
        let known = self.names.lock().unwrap_or_else(PoisonError::into_inner).get(user).cloned();
        if known.is_some() {
            return known;
        }
        // For people only: it does without.
        let name = self.service.name(user).await.ok()?;
        self.name(user, &name);
        Some(name).filter(|name| !name.is_empty())
    }

    /// Takes everything that comes, in its order, until nothing more can.
    pub(super) async fn take_all(&self, mut items: mpsc::Receiver<Item>) -> Result<(), Down> {
        let mut noted = interval(NOTED);
        noted.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                item = items.recv() => {
                    let Some(item) = item else { return Ok(()) };
                    self.hand_in(&item).await?;
                    self.mark().done(item.post.at, &item.post.id);
                    self.write_mark().await;
                }
                _ = noted.tick() => self.write_mark().await,
            }
        }
    }

    /// Hands something in, again and again until it is stored or nobody wants it. An error ends the connection.
    async fn hand_in(&self, item: &Item) -> Result<(), Down> {
        let Item { post, addressed } = item;
        let place = self.place(&post.channel).await;
        let name = self.name_of(&post.user).await;
        let mut files = Vec::new();
        for file in &post.files {
            files.push(self.service.found(file).await);
        }
        let addressed = *addressed || place.is_private();
        loop {
            let source = event::source(post, &place, name.clone(), self.settings.threads);
            let Some(event) = event::inbound(post, source, self.gate.words(&post.message)) else {
                return Ok(());
            };
            let attachments = files.iter().map(|file| attached(file, &self.service)).collect();
            let facts = event::facts(post, addressed);
            let guild_id = Some(place.team.clone()).filter(|team| !team.is_empty());
            let arrived = Arrived { guild_id, attachments, facts, ..Arrived::from(event) };
            let longest = u64::try_from(LONGEST).ok();
            let (after, reason) = match Box::pin(self.reception.accept(arrived, longest)).await {
                Ok(Taken::New | Taken::Known | Taken::Buried | Taken::TurnedAway) => return Ok(()),
                Ok(Taken::Full) => {
                    let mut body = json!({"channel_id": post.channel, "message": TOO_MANY});
                    if let Some(root) = &post.root {
                        body["root_id"] = root.as_str().into();
                    }
                    if let Err(error) = self.service.post(&body).await {
                        tracing::warn!(%error, "[{NAME}] nobody could be told that a message was not taken");
                    }
                    return Ok(());
                }
                Err(not) => not.wait().map_err(|error| Down::retrying("mattermost_store", error.reason()))?,
            };
            tracing::info!("[{NAME}] message {} waits: {reason}", post.id);
            sleep(after).await;
        }
    }
}

/// A channel, as it was described.
pub(super) fn place(channel: &Channel) -> Place {
    let Channel { kind, display_name, team_id, .. } = channel;
    Place { kind: kind.clone(), name: display_name.chars().take(200).collect(), team: team_id.clone() }
}

/// A file as the worker takes it.
fn attached(file: &File, service: &Service) -> Attached {
    let or = |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
    let (service, id) = (service.clone(), file.id.clone());
    Attached {
        name: or(&file.name, &file.id),
        media_type: or(&file.mime_type, "application/octet-stream"),
        length: file.size,
        open: Box::new(move || Box::pin(async move { service.file(&id).await })),
    }
}
