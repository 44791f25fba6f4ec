//! The way out to the chats of the bot.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hermes_config::network::Network;
use serde_json::{Value, json};

use super::common::Common;
use super::press;
use super::service::{Failure, Service};
use super::settings::{NAME, Settings};
use super::wire::Refusal;
use crate::delivery::outbound::{
    Abilities, CHAT_ID, File, Format, Message, Outbound, OutboundFuture, Sent, Sign, Unsent, chat_of, made,
};
use crate::formatting::{Unit, markdown_v2, plain};
use crate::inbound::DeliveryTarget;
use crate::platform::settings::Quotes;

/// Key of a target's parameters: the topic, as in 0.19.0's `deliver_extra`.
pub(super) const THREAD_ID: &str = "thread_id";
/// Likewise: the message that an answer is to.
pub(super) const REPLY_TO: &str = "reply_to_message_id";
/// Longest message, in UTF-16 units.
const MOST: usize = 4096;
/// The same, with room for the shorter of the two marks.
pub(super) const LONGEST: usize = 4090;
/// Longest file that a bot may send, as the Bot API has it.
const FILE: u64 = 50 << 20;
/// For how long the service shows that somebody is typing.
const TYPING: Duration = Duration::from_secs(4);
/// Most chats whose new ids are known.
const MOVED: usize = 1000;

/// The bot, as it speaks.
pub(super) struct Chats {
    settings: Settings,
    network: Network,
    common: Arc<Common>,
    /// Made when it is first needed.
    service: OnceLock<Service>,
    /// Groups that have another id now.
    moved: Mutex<BTreeMap<String, i64>>,
}

impl Chats {
    pub(super) fn new(settings: Settings, network: Network, common: Arc<Common>) -> Self {
        Self { settings, network, common, service: OnceLock::new(), moved: Mutex::default() }
    }

    pub(super) fn service(&self) -> Result<&Service, Unsent> {
        let make = || {
            let common = Arc::clone(&self.common);
            Service::new(&self.settings, &self.network, common).map_err(|failure| unsent(&failure))
        };
        made(&self.service, make)
    }

    pub(super) fn place(&self, target: &DeliveryTarget, is_quoting: bool) -> Result<Value, Unsent> {
        let chat = chat_of(target)?;
        let mut body = place(target, is_quoting);
        let moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(new) = moved.get(chat) {
            body["chat_id"] = (*new).into();
        }
        Ok(body)
    }

    /// Whether a file quotes what it answers: a text before it has done so already, unless everything does.
    pub(super) fn is_quoting_files(&self) -> bool {
        self.settings.quotes == Quotes::All
    }

    /// The number of a message of the target's chat, with where that is.
    fn message(&self, target: &DeliveryTarget, id: &str) -> Result<Value, Unsent> {
        let id: i64 = id.parse().map_err(|_| Unsent::never("no id of a message of Telegram"))?;
        let mut body = self.place(target, false)?;
        drop_key(&mut body, "message_thread_id");
        body["message_id"] = id.into();
        Ok(body)
    }

    /// Sends, and once more without what is in the way: the markup that is none, the message that is not there any more, the topic
    /// that was closed, the id that the chat had before.
    async fn deliver(
        &self,
        target: &DeliveryTarget,
        mut body: Value,
        without_markup: &str,
        method: &'static str,
    ) -> Result<Value, Unsent> {
        let service = self.service()?;
        for _ in 0..4 {
            let failure = match service.call::<Value>(method, &body).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let Failure::Refused { refusal, .. } = &failure else { return Err(unsent(&failure)) };
            if let Some(new) = refusal.migrated_to.filter(|new| body["chat_id"] != *new) {
                tracing::info!("[{NAME}] a group is {new} now; the message goes there");
                self.remember(target, new);
                body["chat_id"] = new.into();
            } else if refusal.status != 400 {
                return Err(unsent(&failure));
            } else if refusal.says("parse entities") && body.get("parse_mode").is_some() {
                tracing::warn!(
                    "[{NAME}] Telegram does not read the text as it is marked up, so it goes out plain: {failure}"
                );
                drop_key(&mut body, "parse_mode");
                body["text"] = without_markup.into();
            } else if is_about_reply(refusal) && body.get("reply_parameters").is_some() {
                drop_key(&mut body, "reply_parameters");
            } else if refusal.says("thread not found") && body.get("message_thread_id").is_some() {
                tracing::warn!("[{NAME}] the topic is not there any more; the message goes to the chat");
                drop_key(&mut body, "message_thread_id");
            } else {
                return Err(unsent(&failure));
            }
        }
        Err(Unsent::never("Telegram refuses the message in every form"))
    }

    pub(super) fn remember(&self, target: &DeliveryTarget, new: i64) {
        let Some(chat) = target.extra.get(CHAT_ID) else { return };
        let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        if moved.len() < MOVED {
            moved.insert(chat.clone(), new);
        }
    }
}

pub(super) fn drop_key(body: &mut Value, key: &str) {
    if let Some(fields) = body.as_object_mut() {
        fields.remove(key);
    }
}

pub(super) fn is_about_reply(refusal: &Refusal) -> bool {
    ["replied", "reply message"].iter().any(|what| refusal.says(what))
}

/// Where a message goes, as a request says it.
pub(super) fn place(target: &DeliveryTarget, is_quoting: bool) -> Value {
    let of = |key: &str| target.extra.get(key);
    let number = |text: &String| text.parse::<i64>().ok();
    let mut body = json!({});
    if let Some(chat) = of(CHAT_ID) {
        // A number, or the name of a channel.
        body["chat_id"] = number(chat).map_or_else(|| chat.as_str().into(), Value::from);
    }
    if let Some(thread) = of(THREAD_ID).and_then(number).filter(|thread| *thread != super::gate::GENERAL) {
        body["message_thread_id"] = thread.into();
    }
    if let Some(message) = of(REPLY_TO).and_then(number).filter(|_| is_quoting) {
        body["reply_parameters"] = json!({"message_id": message, "allow_sending_without_reply": true});
    }
    body
}

/// Puts a text into a request, as the service reads it.
fn write(body: &mut Value, markdown: &str) {
    body["text"] = markdown_v2(markdown).into();
    body["parse_mode"] = "MarkdownV2".into();
}

impl Outbound for Chats {
    fn kind(&self) -> &'static str {
        NAME
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            longest: LONGEST,
            format: Format::MarkdownV2,
            at_once: 16,
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
            let is_quoting = self.settings.quotes.quote(message.key);
            let mut body = self.place(target, is_quoting)?;
            let fits = |text: &str| Unit::Utf16.measure(&markdown_v2(text)) <= MOST;
            let text = message.marked(fits);
            write(&mut body, &text);
            if !self.settings.previews {
                body["link_preview_options"] = json!({"is_disabled": true});
            }
            if let Some(keyboard) = press::keyboard(&target.extra).filter(|_| is_first) {
                body["reply_markup"] = keyboard;
            }
            let sent = self.deliver(target, body, &plain(&text), "sendMessage").await?;
            Ok(Sent { id: sent["message_id"].as_i64().map(|id| id.to_string()) })
        })
    }

    fn edit<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        id: &'a str,
        text: &'a str,
    ) -> OutboundFuture<'a, Result<(), Unsent>> {
        Box::pin(async move {
            let mut body = self.message(target, id)?;
            write(&mut body, text);
            if !self.settings.previews {
                body["link_preview_options"] = json!({"is_disabled": true});
            }
            match self.deliver(target, body, &plain(text), "editMessageText").await {
                // It says so already.
                Err(unsent) if unsent.to_string().contains("message is not modified") => Ok(()),
                edited => edited.map(drop),
            }
        })
    }

    fn take_back<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        id: &'a str,
    ) -> OutboundFuture<'a, Result<(), Unsent>> {
        Box::pin(async move {
            let body = self.message(target, id)?;
            match self.service()?.call::<Value>("deleteMessage", &body).await {
                Err(Failure::Refused { refusal, .. }) if refusal.says("message to delete not found") => {
                    Ok(())
                }
                taken => taken.map(drop).map_err(|failure| unsent(&failure)),
            }
        })
    }

    fn send_file<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        file: File<'a>,
    ) -> OutboundFuture<'a, Result<Sent, Unsent>> {
        Box::pin(self.upload(target, file))
    }

    fn react<'a>(&'a self, target: &'a DeliveryTarget, sign: Sign) -> OutboundFuture<'a, ()> {
        Box::pin(async move {
            let Some(id) = target.extra.get(REPLY_TO) else { return };
            if let (Ok(service), Ok(mut body)) = (self.service(), self.message(target, id)) {
                // Bots may use these, and neither ✅ nor ❌.
                let emoji = match sign {
                    Sign::Seen => Some("👀"),
                    Sign::Done => Some("👍"),
                    Sign::Failed => Some("👎"),
                    Sign::Nothing => None,
                };
                let signs = emoji.map(|emoji| json!({"type": "emoji", "emoji": emoji}));
                body["reaction"] = signs.into_iter().collect();
                if let Err(failure) = service.call::<Value>("setMessageReaction", &body).await {
                    tracing::debug!("[{NAME}] a sign is not shown: {failure}");
                }
            }
        })
    }

    fn typing<'a>(&'a self, target: &'a DeliveryTarget) -> OutboundFuture<'a, ()> {
        Box::pin(async move {
            if let (Ok(service), Ok(mut body)) = (self.service(), self.place(target, false)) {
                body["action"] = "typing".into();
                // Nobody misses it.
                let _ = service.call::<Value>("sendChatAction", &body).await;
            }
        })
    }
}

/// What the service says of a chat that is not there.
const GONE: [&str; 4] =
    ["chat not found", "user is deactivated", "group chat was deleted", "group chat was deactivated"];

/// What a failed request is to the message.
pub(super) fn unsent(failure: &Failure) -> Unsent {
    let reason = failure.to_string();
    match failure {
        // The files say something wrong, or the token was taken back: the next worker may have better ones.
        Failure::Unusable { .. } | Failure::Unsent(_) => Unsent::later(reason),
        Failure::Refused { refusal, .. } => match refusal.status {
            429 => {
                let after = refusal.retry_after.map(Duration::from_secs);
                Unsent::Later { after, unsure: false, reason }
            }
            // What is between may have lost the answer only.
            500.. if !refusal.is_own || refusal.status == 504 => Unsent::unsure(reason),
            401 | 404 | 409 | 500.. => Unsent::later(reason),
            403 if refusal.is_own => Unsent::gone(reason),
            400 if GONE.iter().any(|what| refusal.says(what)) => Unsent::gone(reason),
            _ => Unsent::never(reason),
        },
        Failure::Lost(_) | Failure::Garbled(_) => Unsent::unsure(reason),
    }
}
