//! The way out to the chats of the bot.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hermes_config::network::Network;
use serde_json::{Value, json};

use super::bot::{LONGEST, private, tag};
use super::event::{BOT, CALLER, MESSAGE, RESPONSE_AT, RESPONSE_URL, THREAD_ID};
use super::failures::unsent;
use super::press;
use super::refused::Refused;
use super::service::{Failure, Posted, Responded, Service};
use super::settings::{NAME, Settings};
use crate::delivery::outbound::{
    Abilities, CHAT_ID, File, Format, Message, Outbound, OutboundFuture, Sent, Sign, Unsent, chat_of, made,
};
use crate::formatting::mrkdwn;
use crate::inbound::DeliveryTarget;
use crate::outgoing::file::{opened, pieces};
use crate::session::epoch;

/// Longest message that Slack takes, in characters.
const MOST: usize = 40_000;
/// For how long the service shows that somebody is typing.
const TYPING: Duration = Duration::from_secs(30);
/// Largest file, in bytes.
const FILE: u64 = 1 << 30;
/// Most chats whose workspace is known.
const PLACES: usize = 1000;
/// Why nothing goes out where nobody could take it.
const NO_TOKEN: &str = "slack has no token of a bot";
/// Seconds for which a command can be answered where it was called, less some.
const RESPONSE: f64 = 29.0 * 60.0;

/// The bot, as it speaks.
pub(super) struct Chats {
    settings: Settings,
    network: Network,
    refused: Arc<Refused>,
    /// Made when they are first needed; one a workspace.
    services: OnceLock<Vec<Service>>,
    /// Which of them have chats that nobody named one for.
    places: Mutex<BTreeMap<String, usize>>,
    /// The app may not show that an answer is made.
    is_mute: AtomicBool,
}

impl Chats {
    pub(super) fn new(settings: Settings, network: Network, refused: Arc<Refused>) -> Self {
        Self {
            settings,
            network,
            refused,
            services: OnceLock::new(),
            places: Mutex::default(),
            is_mute: AtomicBool::new(false),
        }
    }

    fn all(&self) -> Result<&[Service], Unsent> {
        let make =
            || Service::all(&self.settings, &self.network, &self.refused).map_err(|failure| unsent(&failure));
        made(&self.services, make).map(Vec::as_slice)
    }

    /// The workspaces that a target may be in: that of its token, that which has its chat, or all of them.
    fn services(&self, target: &DeliveryTarget) -> Result<Vec<(usize, &Service)>, Unsent> {
        let all = self.all()?;
        let only = match target.extra.get(BOT).filter(|_| all.len() > 1) {
            Some(bot) => {
                let at = all.iter().position(|service| tag(service) == *bot);
                Some(at.ok_or_else(|| Unsent::later("the token of that workspace is not here any more"))?)
            }
            None => self.place_of(target),
        };
        let wanted = |(at, _): &(usize, &Service)| only.is_none_or(|only| only == *at);
        Ok(all.iter().enumerate().filter(wanted).collect())
    }

    fn service(&self, target: &DeliveryTarget) -> Result<&Service, Unsent> {
        let found = self.services(target)?.into_iter().next().map(|(_, service)| service);
        found.ok_or_else(|| Unsent::later(NO_TOKEN))
    }

    /// The workspace that is known to have a target's chat.
    fn place_of(&self, target: &DeliveryTarget) -> Option<usize> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        target.extra.get(CHAT_ID).and_then(|chat| places.get(chat)).copied()
    }

    fn remember(&self, target: &DeliveryTarget, at: usize) {
        let Some(chat) = target.extra.get(CHAT_ID).filter(|_| !target.extra.contains_key(BOT)) else {
            return;
        };
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() >= PLACES {
            places.clear();
        }
        places.insert(chat.clone(), at);
    }

    /// Posts, and once more without the thread where that is not there any more. A chat that no workspace is named for is looked for in
    /// each of them.
    async fn post(&self, target: &DeliveryTarget, mut body: Value) -> Result<Posted, Unsent> {
        let mut last = Unsent::later(NO_TOKEN);
        for (at, service) in self.services(target)? {
            let mut posted = service.post(&body).await;
            if let Err(failure) = &posted
                && matches!(
                    failure.error(),
                    "thread_not_found" | "cannot_reply_to_message" | "invalid_thread_ts"
                )
                && body.get("thread_ts").is_some()
            {
                tracing::warn!("[{NAME}] the thread is not there any more; the message goes to the chat");
                drop_key(&mut body, "thread_ts");
                drop_key(&mut body, "reply_broadcast");
                posted = service.post(&body).await;
            }
            match posted {
                Ok(posted) => {
                    self.remember(target, at);
                    return Ok(posted);
                }
                Err(failure) => {
                    let is_over = !is_elsewhere(&failure);
                    last = unsent(&failure);
                    if is_over {
                        break;
                    }
                }
            }
        }
        Err(last)
    }

    /// Answers a command, for its caller's eyes: where it was called while that is possible, then in the same channel, then in private.
    async fn respond(&self, target: &DeliveryTarget, address: &str, body: Value) -> Result<Sent, Unsent> {
        let service = self.service(target)?;
        let since = target.extra.get(RESPONSE_AT).and_then(|at| at.parse::<f64>().ok()).unwrap_or(0.0);
        if epoch() - since < RESPONSE {
            let mut answer = private("");
            answer["text"] = body["text"].clone();
            if let Some(blocks) = body.get("blocks") {
                answer["blocks"] = blocks.clone();
            }
            match service.respond(address, &answer).await {
                Ok(Responded::Shown) => return Ok(Sent::default()),
                Ok(Responded::Over) => {}
                Err(failure) => return Err(unsent(&failure)),
            }
        }
        let Some(caller) = target.extra.get(CALLER) else {
            return Err(Unsent::never("the command cannot be answered any more"));
        };
        let mut whispered = body.clone();
        whispered["user"] = caller.as_str().into();
        match service.call("chat.postEphemeral", &whispered).await {
            Ok(()) => return Ok(Sent::default()),
            // It certainly was not shown.
            Err(Failure::Refused { refusal, .. }) if is_about_place(&refusal.error) => {}
            Err(failure) => return Err(unsent(&failure)),
        }
        let mut body = body;
        body["channel"] = caller.as_str().into();
        let Posted { ts, channel } = self.post(target, body).await?;
        Ok(Sent { id: Some(id(&channel, &ts)) })
    }

    /// Brings a file, and shows it.
    async fn carry(&self, target: &DeliveryTarget, file: &File<'_>) -> Result<Sent, Unsent> {
        let chat = chat_of(target)?;
        if target.extra.contains_key(RESPONSE_URL) && !chat.starts_with('D') {
            return Err(Unsent::never(
                "a command is answered for one person's eyes, and Slack shows files to all of a channel",
            ));
        }
        let mut to = json!({"channel_id": chat});
        if let Some(thread) = target.extra.get(THREAD_ID) {
            to["thread_ts"] = thread.as_str().into();
        }
        let said = Message { text: "", key: file.key, repeated: file.repeated }.marked(|_| true);
        if !said.is_empty() {
            to["initial_comment"] = said.trim_end().into();
        }
        // Until it is shown nothing of it is there, however it breaks off.
        let early = |failure: Failure| match unsent(&failure) {
            Unsent::Later { after, reason, .. } => Unsent::Later { after, unsure: false, reason },
            never @ Unsent::Never { .. } => never,
        };
        let mut last = Unsent::later(NO_TOKEN);
        for (at, service) in self.services(target)? {
            // What is brought to a workspace is there alone.
            let (open, length) = opened(file.path.to_owned())
                .await
                .map_err(|error| Unsent::never(format!("the file cannot be read: {error}")))?;
            match length {
                0 => return Err(Unsent::never("the file is empty, and Slack takes none")),
                1..=FILE => {}
                _ => return Err(Unsent::never("the file is larger than 1 GiB")),
            }
            let place = service.place(file.name, length).await.map_err(early)?;
            service.upload(&place, length, pieces(open, length)).await.map_err(early)?;
            match service.complete(&place, file.name, to.clone()).await {
                Ok(()) => {
                    self.remember(target, at);
                    return Ok(Sent::default());
                }
                Err(failure) => {
                    let is_over = !is_elsewhere(&failure);
                    last = unsent(&failure);
                    if is_over {
                        break;
                    }
                }
            }
        }
        Err(last)
    }
}

/// The chat is in no such workspace.
fn is_elsewhere(failure: &Failure) -> bool {
    matches!(failure.error(), "channel_not_found" | "user_not_found")
}

fn drop_key(body: &mut Value, key: &str) {
    if let Some(fields) = body.as_object_mut() {
        fields.remove(key);
    }
}

fn is_about_place(error: &str) -> bool {
    matches!(
        error,
        "channel_not_found"
            | "not_in_channel"
            | "user_not_in_channel"
            | "is_archived"
            | "cannot_dm_bot"
            | "no_permission"
    )
}

/// What a message is called: chat and time. A message to somebody by name stands in another chat than it was sent to.
fn id(channel: &str, ts: &str) -> String {
    format!("{channel} {ts}")
}

impl Outbound for Chats {
    fn kind(&self) -> &'static str {
        NAME
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            longest: LONGEST,
            format: Format::Mrkdwn,
            at_once: 8,
            edits: true,
            typing: self.settings.typing.then_some(TYPING),
            files: Some(FILE),
            reacts: self.settings.reactions,
            ..Abilities::LEAST
        }
    }

    fn send<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        message: Message<'a>,
    ) -> OutboundFuture<'a, Result<Sent, Unsent>> {
        Box::pin(async move {
            // The key of a later part has a number behind it.
            let is_first = !message.key.contains('-');
            let fits = |text: &str| mrkdwn(text).chars().count() <= MOST;
            let text = mrkdwn(&message.marked(fits));
            let mut body = json!({"channel": chat_of(target)?, "text": text});
            if let Some(blocks) = press::blocks(&target.extra, &text).filter(|_| is_first) {
                body["blocks"] = blocks;
            }
            if let Some(address) = target.extra.get(RESPONSE_URL) {
                return self.respond(target, address, body).await;
            }
            if let Some(thread) = target.extra.get(THREAD_ID) {
                body["thread_ts"] = thread.as_str().into();
                if self.settings.reply_broadcast && is_first {
                    body["reply_broadcast"] = true.into();
                }
            }
            let asked = chat_of(target)?.to_owned();
            let Posted { ts, channel } = self.post(target, body).await?;
            let channel = if channel.is_empty() { asked } else { channel };
            Ok(Sent { id: Some(id(&channel, &ts)) })
        })
    }

    fn edit<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        id: &'a str,
        text: &'a str,
    ) -> OutboundFuture<'a, Result<(), Unsent>> {
        Box::pin(async move {
            let (channel, ts) =
                id.split_once(' ').ok_or_else(|| Unsent::never("no id of a message of Slack"))?;
            let body = json!({"channel": channel, "ts": ts, "text": mrkdwn(text)});
            let edited = self.service(target)?.call("chat.update", &body).await;
            edited.map_err(|failure| unsent(&failure))
        })
    }

    fn send_file<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        file: File<'a>,
    ) -> OutboundFuture<'a, Result<Sent, Unsent>> {
        Box::pin(async move { self.carry(target, &file).await })
    }

    fn react<'a>(&'a self, target: &'a DeliveryTarget, sign: Sign) -> OutboundFuture<'a, ()> {
        const SEEN: &str = "eyes";
        Box::pin(async move {
            let (Ok(service), Ok(chat), Some(at)) =
                (self.service(target), chat_of(target), target.extra.get(MESSAGE))
            else {
                return;
            };
            let sign = match sign {
                Sign::Seen => None,
                Sign::Done => Some("white_check_mark"),
                Sign::Failed => Some("x"),
                Sign::Nothing => Some(""),
            };
            let body = |name: &str| json!({"channel": chat, "timestamp": at, "name": name});
            let calls = match sign {
                None => vec![("reactions.add", SEEN)],
                Some("") => vec![("reactions.remove", SEEN)],
                Some(name) => vec![("reactions.remove", SEEN), ("reactions.add", name)],
            };
            for (method, name) in calls {
                // Nobody misses it.
                if let Err(error) = service.show(method, &body(name)).await {
                    tracing::debug!(%error, "[{NAME}] a sign is not shown");
                }
            }
        })
    }

    fn typing<'a>(&'a self, target: &'a DeliveryTarget) -> OutboundFuture<'a, ()> {
        Box::pin(async move {
            let (Ok(service), Ok(chat), Some(thread)) =
                (self.service(target), chat_of(target), target.extra.get(THREAD_ID))
            else {
                return;
            };
            if self.is_mute.load(Ordering::Relaxed) {
                return;
            }
            let body = json!({"channel_id": chat, "thread_ts": thread, "status": self.settings.status});
            let Err(failure) = service.show("assistant.threads.setStatus", &body).await else { return };
            let is_for_good = matches!(
                failure.error(),
                "missing_scope"
                    | "unknown_method"
                    | "not_allowed_token_type"
                    | "method_not_supported_for_channel_type"
                    | "feature_not_enabled"
            );
            if is_for_good && !self.is_mute.swap(true, Ordering::Relaxed) {
                tracing::info!("[{NAME}] it is not shown that an answer is being made: {failure}");
            }
        })
    }
}
