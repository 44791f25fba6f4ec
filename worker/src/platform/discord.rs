//! `discord`: a bot of Discord, connected through its gateway.
//!
//! ```text
//!  gateway ─▶ socket ─▶ wire ─▶ intake: gate ─▶ gather ─▶ history, event ─▶ reception ═▶ inbox     mark: the session, and what is stored
//!                        └────▶ interactions: presses and commands, answered at once
//!  REST ◀─ service ◀─ outbound ◀═ ledger
//! ```
//!
//! # Guarantees
//!
//! - The number behind which a session is resumed never passes an event that is not stored; what is repeated is known. A connection that
//!   is lost, a worker that takes over and a restart go on with the session of the one before.
//! - A connection over which nothing is heard for 25 s is left for another one.
//! - What Discord says will not change (a refused token, intents that are not allowed) ends the connection for good, and no request follows.
//! - Nobody hears more than his place allows: answers call neither everybody nor roles, unless that is set.
//! - A message whose request broke off is sent again with a mark, under the same nonce: within minutes Discord shows it once.
//!
//! The types of Discord's numbers and the buckets of its limits are those of twilight. Its gateway client is not used: it trusts and reaches the
//! network in its own way instead of the profile's, and connects again by its own rules.

mod check;
mod connection;
mod desk;
mod event;
mod gate;
mod gateway;
mod gather;
mod history;
mod intake;
mod interactions;
mod lanes;
mod mark;
mod outbound;
mod places;
mod press;
mod service;
mod settings;
mod slash;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::{Arc, OnceLock};

use hermes_config::access::AccessSettings;
use hermes_config::network::Network;

use super::{Context, Folder, Outside, Platform, Shared};
use crate::delivery::outbound::Outbound;
use gateway::Gateway;
use outbound::Chats;
use service::Service;
use settings::{DECLARATION, NAME, Settings};

/// Kinds of channels, as Discord numbers them: text of a server, private, threads (of news, public, private), and those that take posts only.
const TEXT: u8 = 0;
const PRIVATE: u8 = 1;
const THREADS: [u8; 3] = [10, 11, 12];
const FORUMS: [u8; 2] = [15, 16];

/// One line of the registry.
pub(super) const FOLDER: Folder =
    Folder { declaration: &DECLARATION, connect, outbound: Some(way_out), check: Some(check::check) };

fn connect(context: &Context) -> Option<Platform> {
    let settings: &Settings = context.config.settings.of(NAME)?;
    let network = network(settings, Network::of(&context.config.env).over(&context.child_env));
    let access = context.config.access.get(NAME).cloned().unwrap_or_else(AccessSettings::default);
    let adapter = Gateway::new(
        settings.clone(),
        network,
        (access.bots, access.has_lists()),
        context.reception.clone(),
        context.inbox.clone(),
        service(&context.shared),
    );
    Some(Platform { declaration: &DECLARATION, routes: None, pages: None, adapter: Arc::new(adapter) })
}

fn way_out(outside: &Outside<'_>) -> Option<Arc<dyn Outbound>> {
    let settings: &Settings = outside.config.settings.of(NAME)?;
    let network = network(settings, Network::of(&outside.config.env).over(outside.inherited));
    Some(Arc::new(Chats::new(settings.clone(), network, service(outside.shared))))
}

/// The bot's service, made when it is first needed: limits and a refused token are known to both halves, and outlive a connection.
fn service(shared: &Shared) -> Arc<OnceLock<Service>> {
    shared.of(NAME, OnceLock::default)
}

/// The ways of the profile, but for its own proxy.
fn network(settings: &Settings, usual: Network) -> Network {
    match &settings.proxy {
        Some(proxy) => usual.by("DISCORD_PROXY", proxy.clone()),
        None => usual,
    }
}
