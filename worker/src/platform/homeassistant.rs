//! `homeassistant`: a house. What changes in it becomes messages of one chat, and what is said there becomes notifications.
//!
//! ```text
//!  websocket ─▶ wire ─▶ watch: what is told, and when ─▶ reception ═▶ inbox
//!  persistent_notification/create ◀─ service ◀─ outbound ◀═ ledger
//! ```
//!
//! # Guarantees
//!
//! - The last state of everything that is watched is told: what changed in the cooldown behind it, what changed while nobody listened when
//!   somebody does again, whoever died, took over or was restarted in between. What lies between two states that are told may be left out.
//! - A change is told once, by its entity and time, and a notification is there once, by its name.
//! - Told to yield, it closes; whoever comes next goes on from there.
//! - A token that is none ends the connection for good, and no request follows: wrong ones would have this machine banned.
//! - Where nothing is watched that is said, in the status and once in the log.

mod check;
mod connection;
mod failures;
mod outbound;
mod service;
mod settings;
#[cfg(test)]
mod tests;
mod watch;
mod wire;

use std::sync::{Arc, OnceLock};

use hermes_config::network::Network;

use super::{Context, Folder, Outside, Platform, Shared};
use crate::delivery::outbound::Outbound;
use connection::Listening;
use outbound::Notices;
use service::Service;
use settings::{DECLARATION, NAME, Settings};

/// One line of the registry.
pub(super) const FOLDER: Folder =
    Folder { declaration: &DECLARATION, connect, outbound: Some(way_out), check: Some(check::check) };

fn connect(context: &Context) -> Option<Platform> {
    let settings: &Settings = context.config.settings.of(NAME)?;
    let network = Network::of(&context.config.env).over(&context.child_env);
    let adapter = Listening::new(
        settings.clone(),
        network,
        (context.reception.clone(), context.inbox.clone()),
        service(&context.shared),
    );
    Some(Platform { declaration: &DECLARATION, routes: None, pages: None, adapter: Arc::new(adapter) })
}

fn way_out(outside: &Outside<'_>) -> Option<Arc<dyn Outbound>> {
    let settings: &Settings = outside.config.settings.of(NAME)?;
    let network = Network::of(&outside.config.env).over(outside.inherited);
    Some(Arc::new(Notices::new(settings.clone(), network, service(outside.shared))))
}

/// The house, made when it is first needed: a refused token is known to both halves, and outlives a connection.
fn service(shared: &Shared) -> Arc<OnceLock<Service>> {
    shared.of(NAME, OnceLock::default)
}
