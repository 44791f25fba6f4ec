//! The way in for what a platform received: into this profile's inbox, or over the road to the profile that answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use hermes_config::ProfileConfig;
use hermes_config::profile_routes::{Arrival, ProfileRoute, ProfileRoutes};
use hermes_host::cause::chain;
use hermes_wire::road::{self, Attachment, Errand, Event, Identity, Media, Receipt};
use hermes_wire::{ProfileHome, ProfileName};
use tokio::time::{Instant, timeout};

use super::arrived::{AGAIN, Arrived, Attached, ByteStream, NotTaken, Open, Taken, Unfetched};
use super::cache::{self, CacheError, File, Label};
use super::named::name_of;
use super::patience::{For, Patience};
use super::receive::{FULL, give_back};
use super::road::Failure;
use super::{Entrance, Road, Seal};
use crate::access::Facts;
use crate::delivery::outbound::{Abilities, Outbounds};
use crate::inbound::{Accepted, Busy, DeliveryTarget, Inbound, Source, with_context};
use crate::media::{left_out, not_fetched, with_notes};
use crate::questions::Heard;
use crate::store::{Store, StoreError};
use crate::tools::asking::Choice;

/// Time for one hand-over; what comes with it comes at its platform's pace.
const TIME: Duration = Duration::from_mins(10);
/// Longest silence of a platform while something is fetched from it.
const SILENCE: Duration = Duration::from_secs(30);

/// The way in. Cloning shares it.
#[derive(Clone)]
pub struct Reception(Arc<Inner>);

struct Inner {
    home: ProfileHome,
    routes: ProfileRoutes,
    most: Option<u64>,
    /// What an event does to a turn of its chat that runs.
    busy: Busy,
    entrance: Entrance,
    road: Road,
    seal: Seal,
    /// By what answers of other profiles go out.
    ways: Outbounds,
    /// What events wait for, and since when.
    patience: Mutex<Patience>,
}

impl Reception {
    /// The way in of the profile with these settings.
    pub(crate) fn new(
        config: &ProfileConfig,
        home: &ProfileHome,
        store: &Store,
        entrance: Entrance,
        road: Road,
        ways: Outbounds,
    ) -> Self {
        Self(Arc::new(Inner {
            home: home.clone(),
            routes: config.profile_routes.clone(),
            most: config.max_inbound_media_bytes,
            busy: config.busy_input_mode.into(),
            entrance,
            road,
            seal: Seal::new(store.clone()),
            ways,
            patience: Mutex::default(),
        }))
    }

    /// The seal that answers come back under.
    pub(crate) fn seal(&self) -> &Seal {
        &self.0.seal
    }

    /// Whether this profile itself answers what is said there.
    pub(crate) fn is_own(&self, source: &Source) -> bool {
        let arrival = Arrival {
            platform: &source.platform,
            guild_id: None,
            chat_id: source.chat_id.as_deref(),
            parent_chat_id: None,
            thread_id: source.thread_id.as_deref(),
            user_id: source.user_id.as_deref(),
            user_id_alt: source.user_id_alt.as_deref(),
        };
        self.0.routes.target(&arrival).is_none_or(|route| route.profile.is_default())
    }

    /// Whether this profile itself answers this event.
    pub(crate) fn answers(&self, arrived: &Arrived) -> bool {
        self.0.routes.target(&arrival(arrived)).is_none_or(|route| route.profile.is_default())
    }

    /// Whether whoever acts may talk to this profile; without a word to him.
    pub(crate) async fn knows(&self, source: &Source, facts: &Facts) -> Result<bool, NotTaken> {
        self.0.entrance.door.knows(source, facts).await.map_err(|error| later(error.to_string()))
    }

    /// Takes a press of a button below a question of this profile. What was asked of one conversation is not answered from another.
    pub(crate) async fn press(
        &self,
        source: &Source,
        facts: &Facts,
        question: &str,
        choice: &Choice,
    ) -> Result<Heard, NotTaken> {
        // Whoever lost his place since then does not hear of it here.
        if !self.knows(source, facts).await? {
            return Ok(Heard::No);
        }
        Ok(self.0.entrance.inbox.press(source, question, choice.message()).await?)
    }

    /// Takes a press of a button for a numbered answer, likewise. `delivery`: where an answer to a message there would go.
    pub(crate) async fn pick(
        &self,
        source: &Source,
        facts: &Facts,
        question: &str,
        number: usize,
        delivery: DeliveryTarget,
    ) -> Result<Heard, NotTaken> {
        if !self.knows(source, facts).await? {
            return Ok(Heard::No);
        }
        Ok(self.0.entrance.inbox.pick(source, question, number, delivery).await?)
    }

    /// What a platform's menu offers, at most so much: names, and what each is for.
    pub(crate) async fn menu(&self, platform: &str, most: usize) -> Vec<(String, String)> {
        self.0.entrance.commands.menu(platform, most).await
    }

    /// Takes an event. After `Ok` it may be confirmed to the platform. `longest` is what the platform's way out takes at once, in
    /// characters.
    pub async fn accept(&self, arrived: Arrived, longest: Option<u64>) -> Result<Taken, NotTaken> {
        // Both are large, and live within every connection.
        match self.0.routes.target(&arrival(&arrived)).cloned() {
            Some(route) if !route.profile.is_default() => {
                Box::pin(self.hand_over(&route, arrived, longest)).await
            }
            _ => Box::pin(self.keep(arrived)).await,
        }
    }

    /// Into this profile's own inbox.
    async fn keep(&self, arrived: Arrived) -> Result<Taken, NotTaken> {
        let Arrived { mut event, parent_chat_id, attachments, facts, also, .. } = arrived;
        event.source.parent_chat_id = event.source.parent_chat_id.or(parent_chat_id);
        match self.admits(&event, &facts).await {
            Ok(true) => {}
            Ok(false) => return Ok(Taken::TurnedAway),
            Err(settled) => return settled,
        }
        if event.busy == Busy::Wait {
            event.busy = self.0.busy;
        }
        if attachments.is_empty() {
            return Ok(taken(self.0.entrance.take(event, &facts, also, false).await?));
        }
        if let Some(key) = &event.dedup
            && self.0.entrance.inbox.is_known(&event.source.platform, key).await?
        {
            return Ok(Taken::Known);
        }
        let waits = waits_as(&event);
        let shows = attachments.iter().any(|attached| Media::of(&attached.media_type) == Media::Image);
        let (fitting, mut notes) = fit(attachments, self.0.most);
        let files = self.fetch(&event, fitting, &mut notes).await?;
        event.text = with_notes(event.text, &notes);
        let (platform, dedup) = (event.source.platform.clone(), event.dedup.clone());
        let mut paths = Vec::new();
        for file in files {
            match file.keep().await {
                Ok(path) => paths.push(path),
                Err(error) => {
                    give_back(&self.0.entrance.inbox, &platform, dedup.as_ref(), paths).await;
                    return Err(later(chain(&error)));
                }
            }
        }
        event.text = self.0.entrance.heard(event.text, &paths).await;
        let accepted = self.0.entrance.take(event, &facts, also, shows).await;
        if !matches!(accepted, Ok(Accepted::New | Accepted::Duplicate)) {
            give_back(&self.0.entrance.inbox, &platform, dedup.as_ref(), paths).await;
        }
        let taken = taken(accepted?);
        self.patience(|patience| patience.settled(waits.as_deref()));
        Ok(taken)
    }

    /// Whether an event for this profile comes in. Where nobody can tell it waits with its platform, while there is patience.
    async fn admits(&self, event: &Inbound, facts: &Facts) -> Result<bool, Result<Taken, NotTaken>> {
        let platform = &event.source.platform;
        let (waits, people) = (waits_as(event), For::People(platform.clone()));
        let reason = match self.0.entrance.door.admits(event, facts).await {
            Ok(admitted) => {
                self.patience(|patience| patience.answered(&people));
                return Ok(admitted);
            }
            Err(error) => error.to_string(),
        };
        if self.may_wait(waits.as_deref(), people) {
            tracing::error!("[{platform}] a message waits: who may talk to the bot is not known: {reason}");
            return Err(Err(later(reason)));
        }
        tracing::error!(
            "[{platform}] a message is kept as a dead letter: who may talk to the bot is not known: {reason}"
        );
        let buried = self.0.entrance.inbox.bury(event.clone(), reason).await;
        self.patience(|patience| patience.settled(waits.as_deref()));
        Err(buried.map(|()| Taken::Buried).map_err(NotTaken::Store))
    }

    /// The files of an event for this profile. One that is not to be had is waited for, while there is patience, if it may come; else
    /// `notes` say that it is missing.
    async fn fetch(
        &self,
        event: &Inbound,
        attachments: Vec<Attached>,
        notes: &mut String,
    ) -> Result<Vec<File>, NotTaken> {
        let platform = &event.source.platform;
        let (name, waits) = (name_of(platform, event.dedup.as_ref()), waits_as(event));
        let (mut files, mut all) = (Vec::new(), true);
        for (index, attached) in attachments.into_iter().enumerate() {
            let said = describe(&attached);
            let label = Label { media: said.media, name: &said.name, event: &name, index };
            let (is_for_now, reason) = match fetched(&self.0.home, label, attached).await {
                Ok(file) => {
                    file.describe(notes, &said).await;
                    files.push(file);
                    continue;
                }
                Err(NotFetched::Unfetched(Unfetched::Gone(reason))) => (false, reason),
                Err(NotFetched::Unfetched(Unfetched::Away(reason))) => (true, reason),
                Err(NotFetched::Cache(error)) => (!matches!(error, CacheError::Broken(_)), chain(&error)),
            };
            all = false;
            let files = For::Files(platform.clone());
            if is_for_now && self.may_wait(waits.as_deref(), files) {
                return Err(later(reason));
            }
            tracing::warn!("[{platform}] a message is taken without a file that came with it: {reason}");
            not_fetched(notes, &said);
        }
        if all {
            self.patience(|patience| patience.answered(&For::Files(platform.clone())));
        }
        Ok(files)
    }

    /// To the profile that the rule names.
    async fn hand_over(
        &self,
        route: &ProfileRoute,
        arrived: Arrived,
        longest: Option<u64>,
    ) -> Result<Taken, NotTaken> {
        let (event, waits) = (arrived.event.clone(), waits_as(&arrived.event));
        let target = For::Profile(route.profile.clone());
        let broke = Arc::new(AtomicBool::new(false));
        match self.ask(route, arrived, longest, &broke).await {
            Ok(taken) => {
                self.patience(|patience| {
                    patience.answered(&target);
                    patience.settled(waits.as_deref());
                });
                Ok(taken)
            }
            Err(Unhanded::Store(error)) => Err(NotTaken::Store(error)),
            Err(Unhanded::Failed(failure)) => {
                let reason = format!("profile route {} to `{}`: {failure}", route.name, route.profile);
                let platform = event.source.platform.clone();
                // A file that does not come is no fault of the profile that it is for.
                let whom = if broke.load(Ordering::Relaxed) { For::Files(platform.clone()) } else { target };
                let patient = failure.is_for_now() && self.may_wait(waits.as_deref(), whom);
                if patient {
                    tracing::warn!("[{platform}] an event waits with its platform: {reason}");
                    return Err(NotTaken::Later { after: AGAIN, reason });
                }
                tracing::error!("[{platform}] an event is refused and kept as a dead letter: {reason}");
                self.0.entrance.inbox.bury(event, reason).await?;
                self.patience(|patience| patience.settled(waits.as_deref()));
                Ok(Taken::Buried)
            }
        }
    }

    async fn ask(
        &self,
        route: &ProfileRoute,
        arrived: Arrived,
        longest: Option<u64>,
        broke: &Arc<AtomicBool>,
    ) -> Result<Taken, Unhanded> {
        let platform = arrived.event.source.platform.clone();
        let (head, attachments) = self.event(&route.profile, &platform, arrived, longest).await?;
        let bytes = head.head().map_err(|error| Failure::Refused {
            status: 400,
            code: "too_long".to_owned(),
            message: error.to_string(),
        })?;
        let attached = head.attached().unwrap_or(u64::MAX);
        let length = attached.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let body = stream::once(async move { Ok(Bytes::from(bytes)) });
        let broke = Arc::clone(broke);
        let attachments = stream::iter(attachments).then(opened).flatten();
        let attachments = attachments.inspect(move |piece| {
            broke.fetch_or(piece.is_err(), Ordering::Relaxed);
        });
        let body = Body::from_stream(body.chain(attachments));
        let path = Errand::HandOver.path(&route.profile, &platform);
        let answer = match self.0.road.ask(&path, length, body, TIME).await {
            Err(Failure::Refused { code, .. }) if code == FULL => return Ok(Taken::Full),
            answer => answer?,
        };
        let receipt: Receipt = serde_json::from_slice(&answer)
            .map_err(|_| Failure::Lost("what came back is no receipt".to_owned()))?;
        tracing::info!("[{platform}] handed over to `{}` by profile route {}", route.profile, route.name);
        Ok(match receipt.accepted {
            road::Accepted::New => Taken::New,
            road::Accepted::Known => Taken::Known,
            road::Accepted::TurnedAway => Taken::TurnedAway,
        })
    }

    /// The message as it goes over the road, and what follows it.
    async fn event(
        &self,
        profile: &ProfileName,
        platform: &str,
        arrived: Arrived,
        longest: Option<u64>,
    ) -> Result<(Event, Vec<Attached>), StoreError> {
        let Arrived { event, guild_id, parent_chat_id, attachments, facts, mut also } = arrived;
        also.truncate(road::MAX_ALSO);
        let Inbound { source, text, dedup, delivery, context, end_session: _, busy: _ } = event;
        let text = with_context(context.as_deref(), text);
        let (attachments, notes) = fit(attachments, self.0.most);
        let way = self.0.ways.get(platform);
        let can = way.map(|way| can(way.abilities_for(&delivery)));
        let longest = way.and_then(|way| u64::try_from(way.longest(&delivery)).ok()).or(longest);
        let mut reply = delivery.extra;
        self.0.seal.set(profile, platform, &mut reply).await?;
        let event = Event {
            schema: road::SCHEMA,
            from: road::From {
                chat_type: source.chat_type,
                chat_id: source.chat_id,
                chat_name: source.chat_name,
                parent_chat_id,
                guild_id,
                thread_id: source.thread_id,
                user_id: source.user_id,
                user_id_alt: source.user_id_alt,
                user_name: source.user_name,
                is_bot: facts.is_bot,
                addressed: facts.addressed,
                role_authorized: facts.role_authorized,
                aliases: facts.aliases,
            },
            text: text + &notes,
            identity: dedup.map(|key| Identity { scope: key.scope, id: key.id }),
            also,
            reply,
            longest,
            can,
            attachments: attachments.iter().map(describe).collect(),
        };
        Ok((event, attachments))
    }

    fn may_wait(&self, event: Option<&str>, whom: For) -> bool {
        self.patience(|patience| patience.may_wait(event, whom, Instant::now()))
    }

    fn patience<T>(&self, look: impl FnOnce(&mut Patience) -> T) -> T {
        look(&mut self.0.patience.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Why a file is not in this profile's cache.
enum NotFetched {
    /// The platform does not give it.
    Unfetched(Unfetched),
    /// It was given, and is not on disk.
    Cache(CacheError),
}

enum Unhanded {
    Failed(Failure),
    Store(StoreError),
}

impl From<Failure> for Unhanded {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<StoreError> for Unhanded {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

fn waits_as(event: &Inbound) -> Option<String> {
    event.dedup.as_ref().map(|key| name_of(&event.source.platform, Some(key)))
}

fn taken(accepted: Accepted) -> Taken {
    match accepted {
        Accepted::New => Taken::New,
        Accepted::Duplicate => Taken::Known,
        Accepted::Full => Taken::Full,
    }
}

fn later(reason: String) -> NotTaken {
    NotTaken::Later { after: AGAIN, reason }
}

fn arrival(arrived: &Arrived) -> Arrival<'_> {
    let source = &arrived.event.source;
    Arrival {
        platform: &source.platform,
        guild_id: arrived.guild_id.as_deref(),
        chat_id: source.chat_id.as_deref(),
        parent_chat_id: arrived.parent_chat_id.as_deref(),
        thread_id: source.thread_id.as_deref(),
        user_id: source.user_id.as_deref(),
        user_id_alt: source.user_id_alt.as_deref(),
    }
}

/// What another profile may ask of a way.
fn can(abilities: Abilities) -> road::Can {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    road::Can {
        format: abilities.format.word().to_owned(),
        edits: abilities.edits,
        typing_ms: abilities.typing.map(millis),
        files: abilities.files,
        reacts: abilities.reacts,
    }
}

fn describe(attached: &Attached) -> Attachment {
    Attachment {
        media: Media::of(&attached.media_type),
        name: attached.name.clone(),
        media_type: attached.media_type.clone(),
        length: attached.length,
    }
}

/// What fits into `most` bytes together and into one message, and what the text says of the rest.
fn fit(attachments: Vec<Attached>, most: Option<u64>) -> (Vec<Attached>, String) {
    let (mut fitting, mut notes, mut so_far) = (Vec::new(), String::new(), 0u64);
    for attached in attachments {
        let sum = so_far.saturating_add(attached.length);
        let limit = most.unwrap_or(u64::MAX);
        if sum > limit || fitting.len() == road::MAX_ATTACHMENTS {
            left_out(&mut notes, &describe(&attached), limit);
            continue;
        }
        so_far = sum;
        fitting.push(attached);
    }
    (fitting, notes)
}

/// Said of a platform that gives nothing more.
fn silent() -> String {
    format!("nothing came for {} s", SILENCE.as_secs())
}

/// Begins to fetch an attachment. Its platform is not waited for longer than [`SILENCE`] at a time.
async fn begun(open: Open) -> Result<ByteStream, Unfetched> {
    let bytes = timeout(SILENCE, open()).await.unwrap_or_else(|_| Err(Unfetched::Away(silent())))?;
    Ok(Box::pin(stream::unfold(Some(bytes), async |bytes| {
        let mut bytes = bytes?;
        match timeout(SILENCE, bytes.next()).await {
            Ok(Some(piece)) => Some((piece, Some(bytes))),
            Ok(None) => None,
            Err(_) => Some((Err(silent()), None)),
        }
    })))
}

/// An attachment, whole, in this profile's cache.
async fn fetched(home: &ProfileHome, label: Label<'_>, attached: Attached) -> Result<File, NotFetched> {
    let fetch = async {
        let bytes = begun(attached.open).await.map_err(NotFetched::Unfetched)?;
        cache::write(home, label, attached.length, bytes).await.map_err(NotFetched::Cache)
    };
    let late = || Unfetched::Away(format!("it was not there within {} s", TIME.as_secs()));
    timeout(TIME, fetch).await.unwrap_or_else(|_| Err(NotFetched::Unfetched(late())))
}

/// The bytes of one attachment: as many as it said, or an error in their place.
async fn opened(attached: Attached) -> ByteStream {
    let length = attached.length;
    let bytes = match begun(attached.open).await {
        Ok(bytes) => bytes,
        Err(error) => return Box::pin(stream::once(async move { Err(error.to_string()) })),
    };
    Box::pin(stream::unfold((Some(bytes), length), async |(bytes, left)| {
        let mut bytes = bytes?;
        match bytes.next().await {
            Some(Ok(piece)) => match left.checked_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX)) {
                Some(left) => Some((Ok(piece), (Some(bytes), left))),
                None => Some((Err("an attachment is longer than it said".to_owned()), (None, 0))),
            },
            Some(Err(error)) => Some((Err(error), (None, 0))),
            None if left > 0 => Some((Err("an attachment is shorter than it said".to_owned()), (None, 0))),
            None => None,
        }
    }))
}

#[cfg(test)]
mod tests;
