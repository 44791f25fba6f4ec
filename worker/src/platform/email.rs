//! Email: a mailbox of the bot's own, read by IMAP, answered from by SMTP.
//!
//! # Theory of operation
//!
//! ```text
//!   inbox ─▶ postbox ─▶ wire ─▶ gate ─────────▶ watching ─▶ reception ─▶ inbox of the profile
//!            (UIDs)    (MIME)  (results, who)      │ mark, behind what is stored
//!   mailbox of somebody ◀─ smtp ◀─ letter ◀─ outbound ◀═ ledger
//! ```
//!
//! One login is kept. A server that says by itself that something came (IDLE) is waited for, and any other is asked every few seconds. Mails have
//! numbers that grow (UID); the last one that is dealt with is written down once what it brought is stored. Where the numbers hold no
//! more (UIDVALIDITY), what came since is looked at again, and the profile's inbox knows a mail by its sender and its name.
//!
//! # Guarantees
//!
//! - A mail is shown as read, and not looked at again, after it was stored; a restart, a swap or a death in between reads it again, and it is
//!   one. What was there before the first start of all is left alone.
//! - Whoever a mail says has written it is believed where the own mail server says so ([`results`]), or where the files say that everybody is.
//! - What programs send is never answered, and what is sent says that a program wrote it; two that do not care end at a number of answers
//!   an hour.
//! - An answer has the same name whenever it is sent, and stands in the thread of what it answers.
//! - The password is sent over TLS, or does not leave this machine, and is in no text; once it is refused it is not tried again.

mod address;
mod check;
mod gate;
mod letter;
mod mark;
mod outbound;
mod postbox;
mod quote;
mod results;
mod settings;
mod smtp;
mod state;
mod watching;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use hermes_config::network::Network;

use super::backoff::Backoff;
use super::{Context, Folder, Outside, Platform, Shared};
use crate::delivery::outbound::Outbound;
use gate::Gate;
use outbound::Mailboxes;
use settings::{DECLARATION, NAME, Settings};
use state::State;
use watching::Watching;

/// Wait before the first try after a loss; each next one is twice as long, up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// Longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// One line of the registry.
pub(super) const FOLDER: Folder =
    Folder { declaration: &DECLARATION, connect, outbound: Some(way_out), check: Some(check::check) };

fn connect(context: &Context) -> Option<Platform> {
    let settings: &Settings = context.config.settings.of(NAME)?;
    let adapter = Watching {
        gate: Gate::new(settings),
        settings: settings.clone(),
        network: Network::of(&context.config.env).over(&context.child_env),
        reception: context.reception.clone(),
        inbox: context.inbox.clone(),
        state: state(&context.shared),
        backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
    };
    Some(Platform { declaration: &DECLARATION, routes: None, pages: None, adapter: Arc::new(adapter) })
}

fn way_out(outside: &Outside<'_>) -> Option<Arc<dyn Outbound>> {
    let settings: &Settings = outside.config.settings.of(NAME)?;
    let network = Network::of(&outside.config.env).over(outside.inherited);
    Some(Arc::new(Mailboxes::new(settings.clone(), network, state(outside.shared))))
}

fn state(shared: &Shared) -> Arc<State> {
    shared.of(NAME, State::default)
}
