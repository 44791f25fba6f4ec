//! The way out to Signal's chats.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hermes_config::network::Network;

use super::NAME;
use super::service::{Failure, Service};
use super::settings::Settings;
use super::wire::Refused;
use crate::delivery::outbound::{
    Abilities, File, Format, Message, Outbound, OutboundFuture, Sent, Sign, Unsent, chat_of, made,
};
use crate::formatting::{self, Unit};
use crate::inbound::DeliveryTarget;
use crate::platform::sent::Echoes;

/// Keys of a target's parameters: who wrote the message that an answer is to, and when.
pub(super) const AUTHOR: &str = "author";
pub(super) const TIMESTAMP: &str = "timestamp";
/// Longest file, as Signal's programs take it.
const FILE: u64 = 100 << 20;
/// Longest message, in UTF-16 units: longer ones are shown as files by some of Signal's programs.
const MOST: usize = 2000;
/// The same, with room for the shorter of the two marks.
const LONGEST: usize = 1994;
/// For how long a chat shows that somebody types, and a bit less.
const TYPING: Duration = Duration::from_secs(8);

/// The account, as it speaks.
pub(super) struct Chat {
    settings: Settings,
    network: Network,
    sent: Arc<Echoes<u64>>,
    /// Made when it is first needed.
    service: OnceLock<Service>,
}

impl Chat {
    pub(super) fn new(settings: Settings, network: Network, sent: Arc<Echoes<u64>>) -> Self {
        Self { settings, network, sent, service: OnceLock::new() }
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
            longest: LONGEST,
            format: Format::Bare,
            at_once: 4,
            typing: Some(TYPING),
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
            let fits = |text: &str| Unit::Utf16.measure(&formatting::signal(text).text) <= MOST;
            let written = formatting::signal(&message.marked(fits));
            let styles: Vec<String> = written
                .ranges
                .iter()
                .map(|range| format!("{}:{}:{}", range.start, range.length, range.style.name()))
                .collect();
            let timestamp = self
                .service()?
                .send(chat_of(target)?, &written.text, &styles)
                .await
                .map_err(|failure| unsent(&failure))?;
            self.sent.remember(timestamp);
            Ok(Sent { id: Some(timestamp.to_string()) })
        })
    }

    fn send_file<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        file: File<'a>,
    ) -> OutboundFuture<'a, Result<Sent, Unsent>> {
        Box::pin(async move {
            let text = if file.repeated { "♻️" } else { "" };
            let sent = self.service()?.send_file(chat_of(target)?, text, file).await;
            let timestamp = sent.map_err(|failure| unsent(&failure))?;
            self.sent.remember(timestamp);
            Ok(Sent { id: Some(timestamp.to_string()) })
        })
    }

    fn react<'a>(&'a self, target: &'a DeliveryTarget, sign: Sign) -> OutboundFuture<'a, ()> {
        Box::pin(async move {
            let (Some(author), Some(Ok(timestamp))) =
                (target.extra.get(AUTHOR), target.extra.get(TIMESTAMP).map(|text| text.parse::<u64>()))
            else {
                return;
            };
            let (emoji, remove) = match sign {
                Sign::Seen => ("👀", false),
                Sign::Done => ("✅", false),
                Sign::Failed => ("❌", false),
                Sign::Nothing => ("👀", true),
            };
            if let (Ok(service), Ok(chat)) = (self.service(), chat_of(target))
                && let Err(failure) = service.react(chat, (author, timestamp), emoji, remove).await
            {
                tracing::debug!("[{NAME}] a sign is not shown: {failure}");
            }
        })
    }

    fn typing<'a>(&'a self, target: &'a DeliveryTarget) -> OutboundFuture<'a, ()> {
        Box::pin(async move {
            if let (Ok(service), Ok(chat)) = (self.service(), chat_of(target)) {
                // Nobody misses it.
                let _ = service.typing(chat).await;
            }
        })
    }
}

/// What a failed call is to the message.
pub(super) fn unsent(failure: &Failure) -> Unsent {
    let reason = failure.to_string();
    match failure {
        // The files say something wrong: the next worker may have better ones.
        Failure::Unusable { .. } | Failure::Unsent(_) | Failure::Refused(Refused::Later(_)) => {
            Unsent::later(reason)
        }
        Failure::Refused(Refused::Slower(after)) => Unsent::Later { after: *after, unsure: false, reason },
        Failure::Refused(Refused::Never(_)) => Unsent::never(reason),
        Failure::Refused(Refused::Gone(_)) => Unsent::gone(reason),
        Failure::Status { status: 500.., .. }
        | Failure::Lost(_)
        | Failure::TooMuch(_)
        | Failure::Refused(Refused::Garbled) => Unsent::unsure(reason),
        Failure::Status { .. } => Unsent::later(reason),
    }
}
