//! The way out: notifications in the house. There is one chat, whatever a target names.

use std::sync::{Arc, OnceLock};

use hermes_config::network::Network;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::connection::CHAT;
use super::failures::unsent;
use super::service::Service;
use super::settings::{NAME, Settings};
use crate::delivery::outbound::{Abilities, Format, Message, Outbound, OutboundFuture, Sent, Unsent, made};
use crate::inbound::DeliveryTarget;
use crate::platform::wire::hex;

/// Longest notification, in characters, as 0.19.0 has it.
const LONGEST: usize = 4096;
/// What stands above each.
const TITLE: &str = "Hermes Agent";

/// The house, as it is spoken to.
pub(super) struct Notices {
    settings: Settings,
    network: Network,
    service: Arc<OnceLock<Service>>,
}

impl Notices {
    pub(super) fn new(settings: Settings, network: Network, service: Arc<OnceLock<Service>>) -> Self {
        Self { settings, network, service }
    }

    async fn notify(&self, message: &Message<'_>) -> Result<Sent, Unsent> {
        let make = || Service::new(&self.settings, &self.network).map_err(|failure| unsent(&failure));
        let service = made(&self.service, make)?;
        // Of one name there is one notification, however often it is made; two profiles have other tokens.
        let mut hash = Sha256::new();
        hash.update(service.token().expose());
        hash.update([0]);
        hash.update(message.key);
        let name = format!("hermes_{}", hex(&hash.finalize()[..12]));
        let body = json!({"title": TITLE, "message": message.text, "notification_id": name});
        service.notify(&body).await.map_err(|failure| unsent(&failure))?;
        Ok(Sent { id: Some(name) })
    }
}

impl Outbound for Notices {
    fn kind(&self) -> &'static str {
        NAME
    }

    fn abilities(&self) -> Abilities {
        Abilities { longest: LONGEST, format: Format::Markdown, keyed: true, ..Abilities::LEAST }
    }

    fn chat(&self, _target: &DeliveryTarget) -> Option<String> {
        Some(CHAT.to_owned())
    }

    fn send<'a>(
        &'a self,
        _target: &'a DeliveryTarget,
        message: Message<'a>,
    ) -> OutboundFuture<'a, Result<Sent, Unsent>> {
        Box::pin(async move { self.notify(&message).await })
    }
}
