//! The way out: answers are published.

use std::sync::{Arc, OnceLock};

use hermes_config::network::Network;

use super::NAME;
use super::service::{Failure, Service};
use super::settings::Settings;
use super::wire::is_topic;
use crate::delivery::outbound::{
    Abilities, File, Format, Message, Outbound, OutboundFuture, Sent, Unsent, chat_of, made,
};
use crate::formatting::split::Limit;
use crate::formatting::{self, Unit};
use crate::inbound::DeliveryTarget;
use crate::platform::sent::Echoes;

/// Longest message, in bytes, where a server says nothing else; what is longer becomes a file there, or is refused.
const MOST: usize = 4096;
/// The same, with room for the shorter of the two marks.
const LONGEST: usize = MOST - "♻️ ".len();
/// Longest file, as ntfy.sh takes it and a server where nothing else is set.
const FILE: u64 = 15 * 1024 * 1024;

/// The topic, as it is spoken in.
pub(super) struct Topic {
    settings: Settings,
    network: Network,
    sent: Arc<Echoes<String>>,
    /// Made when it is first needed.
    service: OnceLock<Service>,
}

impl Topic {
    pub(super) fn new(settings: Settings, network: Network, sent: Arc<Echoes<String>>) -> Self {
        Self { settings, network, sent, service: OnceLock::new() }
    }

    fn service(&self) -> Result<&Service, Unsent> {
        let make = || Service::new(&self.settings, &self.network).map_err(|failure| unsent(&failure));
        made(&self.service, make)
    }

    /// Where something for a chat is published: what is for the topic that is read goes where its answers go.
    fn topic<'t>(&'t self, target: &'t DeliveryTarget) -> Result<&'t str, Unsent> {
        let chat = chat_of(target)?;
        if chat == self.settings.topic {
            return Ok(&self.settings.publish_topic);
        }
        if is_topic(chat) { Ok(chat) } else { Err(Unsent::never(format!("`{chat}` is no topic of ntfy"))) }
    }

    fn known(&self, published: Result<Option<String>, Failure>) -> Result<Sent, Unsent> {
        let id = published.map_err(|failure| unsent(&failure))?;
        if let Some(id) = &id {
            self.sent.remember(id.clone());
        }
        Ok(Sent { id })
    }
}

impl Outbound for Topic {
    fn kind(&self) -> &'static str {
        NAME
    }

    fn abilities(&self) -> Abilities {
        let format = if self.settings.markdown { Format::Markdown } else { Format::Bare };
        Abilities { longest: LONGEST, format, at_once: 4, files: Some(FILE), ..Abilities::LEAST }
    }

    fn limit(&self, target: &DeliveryTarget) -> Limit {
        let dialect = self.abilities().format.dialect();
        Limit { most: self.longest(target), unit: Unit::Bytes, dialect, numbered: true }
    }

    fn send<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        message: Message<'a>,
    ) -> OutboundFuture<'a, Result<Sent, Unsent>> {
        Box::pin(async move {
            let written = |text: &str| {
                if self.settings.markdown { text.to_owned() } else { formatting::plain(text) }
            };
            let text = written(&message.marked(|text| written(text).len() <= MOST));
            // An empty message is one that says `triggered`.
            if text.trim().is_empty() {
                return Ok(Sent::default());
            }
            self.known(self.service()?.publish(self.topic(target)?, text).await)
        })
    }

    fn send_file<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        file: File<'a>,
    ) -> OutboundFuture<'a, Result<Sent, Unsent>> {
        Box::pin(async move {
            let text = if file.repeated { "♻️" } else { "" };
            self.known(self.service()?.publish_file(self.topic(target)?, &file, text).await)
        })
    }
}

/// What a failed request is to the message.
pub(super) fn unsent(failure: &Failure) -> Unsent {
    let reason = failure.to_string();
    match failure {
        Failure::Unusable { code, .. } if code == "ntfy_file" => Unsent::never(reason),
        // The files say something wrong: the next worker may have better ones.
        Failure::Unusable { .. } | Failure::Unsent(_) => Unsent::later(reason),
        Failure::Lost(_) => Unsent::unsure(reason),
        Failure::Refused { status, refusal, after, .. } => match status {
            429 | 503 => Unsent::Later { after: *after, unsure: false, reason },
            // The server has no room, or nobody to receive it yet.
            507 => Unsent::later(reason),
            // What is between may have lost the answer only.
            500.. if refusal.code == 0 => Unsent::unsure(reason),
            // Where nobody may write, or nothing is; another worker may have a better password.
            401 | 403 | 404 | 408 | 500.. => Unsent::later(reason),
            _ => Unsent::never(reason),
        },
    }
}
