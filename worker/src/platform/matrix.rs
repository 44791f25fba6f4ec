//! `matrix`: an account of Matrix, synced over the client-server API. Rooms with encryption are not read: there is none here.
//!
//! ```text
//!  /sync ─▶ wire ─▶ backlog ─▶ gate ─▶ gather ─▶ event ─▶ reception ─▶ inbox     syncing: the loop, and what is written down
//!  /send ◀─ service ◀─ outbound ◀═ ledger                                        account: who is logged in, what rooms are like
//! ```
//!
//! # Guarantees
//!
//! - How far the account has synced is written down after what that brought was stored, and never before; what is offered again is known.
//!   The first start of all skips what was said before. A gap that the server leaves is filled.
//! - Told to yield, it closes; whoever comes next goes on from there.
//! - An answer that is sent again is there once: its key is the transaction's id, and the device stays the same.
//! - Into a room with encryption nothing is sent, and it is said there once that nothing is read.
//! - Only who may talk to the bot brings it into a room.
//! - The token is in no error, log line or status; one that was refused is not shown again.

mod account;
mod approvals;
mod backlog;
mod check;
mod discovery;
mod event;
mod gate;
mod gather;
mod intake;
mod outbound;
mod press;
mod rooms;
mod service;
mod settings;
mod syncing;
mod target;
#[cfg(test)]
mod tests;
mod waits;
mod wire;

use std::sync::Arc;

use hermes_config::network::Network;

use super::{Context, Folder, Outside, Platform};
use crate::delivery::outbound::Outbound;
use account::Account;
use outbound::Rooms;
use settings::{DECLARATION, NAME, Settings};
use syncing::Syncing;
use waits::Failures;

/// One line of the registry.
pub(super) const FOLDER: Folder =
    Folder { declaration: &DECLARATION, connect, outbound: Some(way_out), check: Some(check::check) };

fn connect(context: &Context) -> Option<Platform> {
    let settings: &Settings = context.config.settings.of(NAME)?;
    let network = network(settings, Network::of(&context.config.env).over(&context.child_env));
    let account = context.shared.of(NAME, || Account::new(settings, network));
    account.lives_in(&context.home);
    let adapter = Syncing {
        account,
        reception: context.reception.clone(),
        inbox: context.inbox.clone(),
        take_identity: context.take_identity.clone(),
        failures: Failures::default(),
    };
    Some(Platform { declaration: &DECLARATION, routes: None, pages: None, adapter: Arc::new(adapter) })
}

fn way_out(outside: &Outside<'_>) -> Option<Arc<dyn Outbound>> {
    let settings: &Settings = outside.config.settings.of(NAME)?;
    let network = network(settings, Network::of(&outside.config.env).over(outside.inherited));
    Some(Arc::new(Rooms::new(outside.shared.of(NAME, || Account::new(settings, network)))))
}

/// The ways of the profile, but for its own proxy.
fn network(settings: &Settings, usual: Network) -> Network {
    match &settings.proxy {
        Some(proxy) => usual.by("MATRIX_PROXY", proxy.clone()),
        None => usual,
    }
}
