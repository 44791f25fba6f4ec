//! The way out to WhatsApp's chats, by whichever bridge runs for the profile: that of the process which has just taken over as well.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use camino::Utf8PathBuf;
use hermes_config::network::Network;
use hermes_host::blocking;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::files::Lent;
use super::install::Reach;
use super::service::{Failure, Service};
use super::settings::{NAME, Settings};
use super::{bridge, ids};
use crate::delivery::outbound::{
    Abilities, File, Format, Message, Outbound, OutboundFuture, Sent, Sign, Unsent, chat_of, made,
};
use crate::formatting::{Unit, whatsapp};
use crate::inbound::DeliveryTarget;
use crate::platform::sent::Echoes;

/// Key of a target's parameters: the message that an answer is to.
pub(super) const REPLY_TO: &str = "reply_to_message_id";
/// Likewise: who wrote it, where that is in a group.
pub(super) const REPLY_SENDER: &str = "reply_to_sender_id";
/// Longest message, in characters.
const MOST: usize = 4096;
/// Room for the shorter of the two marks.
const MARK: usize = 6;
/// A message has room for as much as this, however long every answer's beginning is.
const LEAST: usize = 1024;
/// For how long a chat shows that somebody types, and a bit less.
const TYPING: Duration = Duration::from_secs(8);
/// Time to show it.
const SHOW: Duration = Duration::from_secs(5);
/// Longest file, in bytes.
const FILE: u64 = 100 * 1024 * 1024;

/// The account, as it speaks.
pub(super) struct Chats {
    settings: Settings,
    network: Network,
    home: Utf8PathBuf,
    sent: Arc<Echoes<String>>,
    /// A bridge that is not ours; made when it is first needed.
    service: OnceLock<Service>,
    /// Ours, as it was found last.
    running: Mutex<Option<(Reach, Service)>>,
}

impl Chats {
    pub(super) fn new(
        settings: Settings,
        network: Network,
        home: Utf8PathBuf,
        sent: Arc<Echoes<String>>,
    ) -> Self {
        Self { settings, network, home, sent, service: OnceLock::new(), running: Mutex::default() }
    }

    async fn service(&self) -> Result<Service, Unsent> {
        let Some(url) = &self.settings.url else {
            return bridge::running(self.home.clone(), &self.running).await.map_err(Unsent::later);
        };
        let make = || Service::new(url.clone(), self.settings.secret.clone(), &self.network);
        made(&self.service, || make().map_err(|failure| unsent(&failure))).cloned()
    }

    async fn call(&self, what: &'static str, body: &Value) -> Result<Sent, Unsent> {
        let service = self.service().await?;
        let time = self.settings.send_timeout + SHOW;
        let id = service.call(what, body, time).await.map_err(|failure| unsent(&failure))?;
        if let Some(id) = &id {
            self.sent.remember(id.clone());
        }
        Ok(Sent { id })
    }

    /// What every message is made of.
    fn body(&self, target: &DeliveryTarget, key: &str) -> Result<Value, Unsent> {
        let mut body = json!({"chatId": ids::address(chat_of(target)?), "key": key});
        let is_quoting = self.settings.quotes.quote(key);
        if let Some(message) = target.extra.get(REPLY_TO).filter(|_| is_quoting) {
            body["replyTo"] = message.as_str().into();
        }
        Ok(body)
    }

    fn write(&self, markdown: &str) -> String {
        format!("{}{}", self.settings.prefix, whatsapp(markdown))
    }

    fn most(&self) -> usize {
        let prefix = Unit::Chars.measure(&self.settings.prefix);
        MOST.saturating_sub(prefix).max(LEAST)
    }
}

impl Outbound for Chats {
    fn kind(&self) -> &'static str {
        NAME
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            longest: self.most() - MARK,
            format: Format::WhatsApp,
            at_once: 4,
            edits: true,
            typing: self.settings.typing.then_some(TYPING),
            files: Some(FILE),
            // Other bridges know nothing of it.
            reacts: self.settings.url.is_none() && self.settings.script.is_none(),
            ..Abilities::LEAST
        }
    }

    fn chat(&self, target: &DeliveryTarget) -> Option<String> {
        chat_of(target).ok().map(ids::address)
    }

    fn send<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        message: Message<'a>,
    ) -> OutboundFuture<'a, Result<Sent, Unsent>> {
        Box::pin(async move {
            let mut body = self.body(target, message.key)?;
            let fits = |text: &str| Unit::Chars.measure(&whatsapp(text)) <= self.most();
            body["message"] = self.write(&message.marked(fits)).into();
            if message.key.contains('-') {
                sleep(self.settings.chunk_delay).await;
            }
            self.call("send", &body).await
        })
    }

    fn edit<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        id: &'a str,
        text: &'a str,
    ) -> OutboundFuture<'a, Result<(), Unsent>> {
        Box::pin(async move {
            let chat = ids::address(chat_of(target)?);
            let body = json!({"chatId": chat, "messageId": id, "message": self.write(text)});
            self.call("edit", &body).await.map(drop)
        })
    }

    fn send_file<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        file: File<'a>,
    ) -> OutboundFuture<'a, Result<Sent, Unsent>> {
        Box::pin(async move {
            let mut body = self.body(target, file.key)?;
            let (path, home) = (file.path.to_owned(), self.home.clone());
            let lent = blocking::run(move || Lent::of(&path, &home)).await;
            let lent = match lent {
                Ok(Ok(lent)) => lent,
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Err(Unsent::never(format!("the file is not there any more: {error}")));
                }
                Ok(Err(error)) => return Err(Unsent::later(error.to_string())),
                Err(error) => return Err(Unsent::later(error.to_string())),
            };
            body["filePath"] = lent.path().into();
            body["fileName"] = file.name.into();
            body["mime"] = file.media_type.into();
            body["mediaType"] = kind(&file).into();
            if file.repeated {
                let message = Message { text: "", key: file.key, repeated: true };
                body["caption"] = message.marked(|_| true).trim_end().into();
            }
            self.call("send-media", &body).await
        })
    }

    fn react<'a>(&'a self, target: &'a DeliveryTarget, sign: Sign) -> OutboundFuture<'a, ()> {
        Box::pin(async move {
            let emoji = match sign {
                Sign::Seen => "👀",
                Sign::Done => "✅",
                Sign::Failed => "❌",
                Sign::Nothing => "",
            };
            let (Ok(chat), Some(message)) = (chat_of(target), target.extra.get(REPLY_TO)) else { return };
            let mut body = json!({"chatId": ids::address(chat), "messageId": message, "emoji": emoji});
            if let Some(sender) = target.extra.get(REPLY_SENDER) {
                body["participant"] = sender.as_str().into();
            }
            body["fromMe"] = (self.settings.mode == super::settings::Mode::SelfChat).into();
            if let Ok(service) = self.service().await {
                // Nobody misses it.
                let _ = service.call("react", &body, SHOW).await;
            }
        })
    }

    fn typing<'a>(&'a self, target: &'a DeliveryTarget) -> OutboundFuture<'a, ()> {
        Box::pin(async move {
            if let (Ok(service), Ok(chat)) = (self.service().await, chat_of(target)) {
                // Nobody misses it.
                let _ = service.call("typing", &json!({"chatId": ids::address(chat)}), SHOW).await;
            }
        })
    }
}

/// What a file is shown as.
fn kind(file: &File<'_>) -> &'static str {
    let (family, _) = file.media_type.split_once('/').unwrap_or_default();
    match family {
        "image" if file.shown => "image",
        "video" if file.shown => "video",
        "audio" if file.shown && file.media_type.starts_with("audio/ogg") => "voice",
        "audio" if file.shown => "audio",
        _ => "document",
    }
}

/// What a failed call is to the message.
pub(super) fn unsent(failure: &Failure) -> Unsent {
    let reason = failure.to_string();
    match failure {
        Failure::Status { status: 409, .. } => Unsent::gone(reason),
        Failure::Status { status: 400 | 404 | 413, .. } => Unsent::never(reason),
        Failure::Status { status: 429 | 503, after, .. } => {
            Unsent::Later { after: *after, unsure: false, reason }
        }
        Failure::Status { status: 500.., .. } | Failure::Lost(_) | Failure::Garbled(_) => {
            Unsent::unsure(reason)
        }
        Failure::Unusable(_) | Failure::Unsent(_) | Failure::Refused(_) | Failure::Status { .. } => {
            Unsent::later(reason)
        }
    }
}
