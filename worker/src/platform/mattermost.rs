//! `mattermost`: a bot account of a Mattermost server.
//!
//! ```text
//!  websocket ─▶ wire ─▶ connection: gate ─▶ desk ─▶ event ─▶ reception ═▶ inbox     mark: up to when everything is stored
//!  /channels/…/posts?since ─▶ missed ─┘
//!  /posts, /files, /reactions ◀─ service ◀─ outbound ◀═ ledger
//! ```
//!
//! # Guarantees
//!
//! - The time that is written down never passes a post that is not stored, nor one that was not asked for yet. What was said since then is asked
//!   for whenever a socket opens, and where the server has left something out: nothing is lost over a lost connection, a swap, a restart or a
//!   death, and what is given again is known by its id. The first start of all skips what was said before.
//! - Told to yield, it closes; whoever comes next goes on from there.
//! - A token that the server takes for none ends the connection for good, within a ping, whoever hears of it; no request follows.
//! - A server of which nothing is heard for 10 s is left for another connection.
//! - What is sent again within half a minute is there once; later it has a mark. Answers call single people, never a whole channel.

mod check;
mod connection;
mod desk;
mod event;
mod failures;
mod gate;
mod mark;
mod missed;
mod outbound;
mod service;
mod settings;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::{Arc, OnceLock};

use hermes_config::network::Network;

use super::{Context, Folder, Outside, Platform, Shared};
use crate::delivery::outbound::Outbound;
use connection::Listening;
use outbound::Chats;
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
    Some(Arc::new(Chats::new(settings.clone(), network, service(outside.shared))))
}

/// The server, made when it is first needed: a refused token is known to both halves, and outlives a connection.
fn service(shared: &Shared) -> Arc<OnceLock<Service>> {
    shared.of(NAME, OnceLock::default)
}
