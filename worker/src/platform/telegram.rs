//! `telegram`: a bot of Telegram, over the Bot API: polled, or called by it.
//!
//! ```text
//!  getUpdates ─▶ wire ─▶ gate ─▶ gather ─▶ event ─▶ reception ═▶ inbox      polling: the loop, and what is confirmed
//!                                     └─ errands: files, other profiles ─┘
//!  POST /telegram ─▶ door ─▶ wire ─▶ hook ─▶ gate ─▶ …                      hook: the loop, where the service brings updates itself
//!  sendMessage ◀─ service ◀─ outbound ◀═ ledger                             waits: when a lost connection is tried again
//! ```
//!
//! # Guarantees
//!
//! - An update is confirmed after it was stored, and never before; one that is offered again is known. Nothing that waits at the
//!   service is thrown away.
//! - Told to yield, it stores what it holds, confirms what is stored, and nothing of it is open afterwards.
//! - The token is a part of every address: no error, log line or status has one.
//! - A token that is refused is not used any more, whoever heard of it; and what Telegram wants none of for a while is not asked meanwhile.
//! - A message whose request broke off is sent again with a mark: Telegram knows no keys, and may show it twice.

mod check;
mod common;
mod door;
mod errands;
mod event;
mod failure;
mod files;
mod gate;
mod gather;
mod hook;
mod mark;
mod menu;
mod outbound;
mod polling;
mod press;
mod pressed;
mod service;
mod settings;
#[cfg(test)]
mod tests;
mod topics;
mod waits;
mod ways;
mod wire;

use std::sync::Arc;

use hermes_config::network::Network;

use super::shared::Shared;
use super::{Context, Folder, Outside, Platform};
use crate::delivery::outbound::Outbound;
use common::Common;
use door::Door;
use outbound::Chats;
use polling::Polling;
use settings::{DECLARATION, NAME, Settings};
use waits::Failures;
use ways::Ways;

/// One line of the registry.
pub(super) const FOLDER: Folder =
    Folder { declaration: &DECLARATION, connect, outbound: Some(way_out), check: Some(check::check) };

fn connect(context: &Context) -> Option<Platform> {
    let settings: &Settings = context.config.settings.of(NAME)?;
    let network = network(settings, Network::of(&context.config.env).over(&context.child_env));
    let adapter = Polling {
        settings: settings.clone(),
        common: common(settings, &network, &context.shared),
        network,
        reception: context.reception.clone(),
        inbox: context.inbox.clone(),
        failures: Failures::default(),
        door: settings.hook.as_ref().map(|hook| Arc::new(Door::new(hook))),
    };
    let routes = adapter.door.clone().map(door::routes);
    Some(Platform { declaration: &DECLARATION, routes, pages: None, adapter: Arc::new(adapter) })
}

fn way_out(outside: &Outside<'_>) -> Option<Arc<dyn Outbound>> {
    let settings: &Settings = outside.config.settings.of(NAME)?;
    let network = network(settings, Network::of(&outside.config.env).over(outside.inherited));
    let common = common(settings, &network, outside.shared);
    Some(Arc::new(Chats::new(settings.clone(), network, common)))
}

/// What connection and way out learn from each other.
fn common(settings: &Settings, network: &Network, shared: &Shared) -> Arc<Common> {
    shared.of(NAME, || Common::new(Ways::of(settings, network)))
}

/// The ways of the profile, but for its own proxy.
fn network(settings: &Settings, usual: Network) -> Network {
    match &settings.proxy {
        Some(proxy) => usual.by("TELEGRAM_PROXY", proxy.clone()),
        None => usual,
    }
}
