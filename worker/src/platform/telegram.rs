//! `telegram`: a bot of Telegram, polled over the Bot API.
//!
//! ```text
//!  getUpdates ─▶ wire ─▶ gate ─▶ gather ─▶ event ─▶ reception ═▶ inbox      polling: the loop, and what is confirmed
//!  sendMessage ◀─ service ◀─ outbound ◀═ ledger                             waits: when a lost connection is tried again
//! ```
//!
//! # Guarantees
//!
//! - An update is confirmed after it was stored, and never before; one that is offered again is known. Nothing that waits at the
//!   service is thrown away.
//! - Told to yield, it stores what it holds, confirms what is stored, and nothing of it is open afterwards.
//! - The token is a part of every address: no error, log line or status has one.
//! - A message whose request broke off is sent again with a mark: Telegram knows no keys, and may show it twice.

mod event;
mod gate;
mod gather;
mod outbound;
mod polling;
mod press;
mod service;
mod settings;
#[cfg(test)]
mod tests;
mod waits;
mod wire;

use std::sync::Arc;

use hermes_config::network::Network;

use super::{Context, Folder, Outside, Platform};
use crate::delivery::outbound::Outbound;
use outbound::Chats;
use polling::Polling;
use settings::{DECLARATION, NAME, Settings};
use waits::Failures;

/// One line of the registry.
pub(super) const FOLDER: Folder = Folder { declaration: &DECLARATION, connect, outbound: Some(way_out) };

fn connect(context: &Context) -> Option<Platform> {
    let settings: &Settings = context.config.settings.of(NAME)?;
    let network = network(settings, Network::of(&context.config.env).over(&context.child_env));
    let adapter = Polling {
        settings: settings.clone(),
        network,
        reception: context.reception.clone(),
        inbox: context.inbox.clone(),
        failures: Failures::default(),
    };
    Some(Platform { declaration: &DECLARATION, routes: None, pages: None, adapter: Arc::new(adapter) })
}

fn way_out(outside: &Outside<'_>) -> Option<Arc<dyn Outbound>> {
    let settings: &Settings = outside.config.settings.of(NAME)?;
    let network = network(settings, Network::of(&outside.config.env).over(outside.inherited));
    Some(Arc::new(Chats::new(settings.clone(), network)))
}

/// The ways of the profile, but for its own proxy.
fn network(settings: &Settings, usual: Network) -> Network {
    match &settings.proxy {
        Some(proxy) => usual.by("TELEGRAM_PROXY", proxy.clone()),
        None => usual,
    }
}
