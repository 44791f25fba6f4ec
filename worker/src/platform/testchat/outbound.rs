//! The way out to the chats of the service.

use std::sync::OnceLock;
use std::time::Duration;

use hermes_config::network::Network;
use serde_json::json;

use super::NAME;
use super::service::{Failure, Service};
use super::settings::Settings;
use crate::delivery::outbound::{
    Abilities, File, Message, Outbound, OutboundFuture, Sent, Sign, Unsent, chat_of, made,
};
use crate::inbound::DeliveryTarget;

/// Key of a target's parameters: the update that an answer is to.
pub(super) const UPDATE: &str = "update";
/// Longest file, in bytes.
const FILE: u64 = 1 << 20;
/// For how long the service shows that somebody is typing.
const TYPING: Duration = Duration::from_secs(5);

/// The bot, as it speaks.
pub(super) struct Chat {
    settings: Settings,
    network: Network,
    /// Made when it is first needed.
    service: OnceLock<Service>,
}

impl Chat {
    pub(super) fn new(settings: Settings, network: Network) -> Self {
        Self { settings, network, service: OnceLock::new() }
    }

    fn service(&self) -> Result<&Service, Unsent> {
        let make = || Service::new(&self.settings, &self.network).map_err(|failure| unsent(&failure));
        made(&self.service, make)
    }
}

impl Outbound for Chat {
    fn kind(&self) -> &'static str {
        NAME
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            longest: self.settings.longest,
            at_once: 16,
            keyed: true,
            edits: true,
            typing: Some(TYPING),
            files: Some(FILE),
            reacts: true,
            ..Abilities::LEAST
        }
    }

    fn send<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        message: Message<'a>,
    ) -> OutboundFuture<'a, Result<Sent, Unsent>> {
        Box::pin(async move {
            let id = self
                .service()?
                .send(chat_of(target)?, message.text, message.key)
                .await
                .map_err(|failure| unsent(&failure))?;
            Ok(Sent { id: Some(id) })
        })
    }

    fn edit<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        id: &'a str,
        text: &'a str,
    ) -> OutboundFuture<'a, Result<(), Unsent>> {
        Box::pin(async move {
            let body = json!({"chat": chat_of(target)?, "id": id, "text": text});
            self.service()?.call("edit", &body).await.map_err(|failure| unsent(&failure))
        })
    }

    fn take_back<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        id: &'a str,
    ) -> OutboundFuture<'a, Result<(), Unsent>> {
        Box::pin(async move {
            let body = json!({"chat": chat_of(target)?, "id": id});
            self.service()?.call("delete", &body).await.map_err(|failure| unsent(&failure))
        })
    }

    fn send_file<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        file: File<'a>,
    ) -> OutboundFuture<'a, Result<Sent, Unsent>> {
        Box::pin(async move {
            let bytes = tokio::fs::read(file.path.as_std_path()).await;
            let bytes = bytes.map_err(|error| Unsent::never(format!("the file cannot be read: {error}")))?;
            let about = [
                ("chat", chat_of(target)?),
                ("name", file.name),
                ("type", file.media_type),
                ("shown", if file.shown { "1" } else { "0" }),
            ];
            let id = self
                .service()?
                .send_file(&about, bytes, file.key)
                .await
                .map_err(|failure| unsent(&failure))?;
            Ok(Sent { id: Some(id) })
        })
    }

    fn react<'a>(&'a self, target: &'a DeliveryTarget, sign: Sign) -> OutboundFuture<'a, ()> {
        Box::pin(async move {
            let Some(update) = target.extra.get(UPDATE) else { return };
            let sign = match sign {
                Sign::Seen => "👀",
                Sign::Done => "✅",
                Sign::Failed => "❌",
                Sign::Nothing => "",
            };
            if let (Ok(service), Ok(chat)) = (self.service(), chat_of(target)) {
                // Nobody misses it.
                let _ = service.call("react", &json!({"chat": chat, "update": update, "sign": sign})).await;
            }
        })
    }

    fn typing<'a>(&'a self, target: &'a DeliveryTarget) -> OutboundFuture<'a, ()> {
        Box::pin(async move {
            if let (Ok(service), Ok(chat)) = (self.service(), chat_of(target)) {
                // Nobody misses it.
                let _ = service.call("typing", &json!({"chat": chat})).await;
            }
        })
    }
}

/// What a failed request is to the message.
fn unsent(failure: &Failure) -> Unsent {
    let reason = failure.to_string();
    match *failure {
        // The files say something wrong, or the token was taken back: the next worker may have better ones.
        Failure::Unusable { .. } | Failure::Unsent(_) | Failure::Status { status: 401 | 403, .. } => {
            Unsent::later(reason)
        }
        Failure::Status { status: 429, retry_after, .. } => {
            Unsent::Later { after: retry_after, unsure: false, reason }
        }
        Failure::Status { status: 500.., retry_after, .. } => {
            Unsent::Later { after: retry_after, unsure: true, reason }
        }
        Failure::Status { status: 410, .. } => Unsent::gone(reason),
        Failure::Status { .. } => Unsent::never(reason),
        Failure::Lost(_) | Failure::Garbled(_) => Unsent::unsure(reason),
    }
}
