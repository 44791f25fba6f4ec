//! One bot, several profiles: what a platform received gets to the profile that answers, and the answer gets back.
//!
//! # Theory of operation
//!
//! ```text
//!  owner (default's worker)                                  target (coder's worker)
//!    adapter ─▶ reception ── no rule ──▶ own inbox
//!                   │ rule: coder
//!                   └─▶ road ═══ supervisor ═══▶ receive ─▶ cache (attachments) ─▶ inbox ─▶ turn ─▶ ledger
//!    platform ◀─ outbound ◀─ deliver ◀═══ supervisor ═══ road ◀─ way_back ◀──────────────────────────┘
//! ```
//!
//! **Who decides what.** [`Reception`] decides by the default profile's `profile_routes` alone who answers; whatever else is to be
//! decided about an event (session, prompt, model, tools) the target decides by its own files. The supervisor decides whether the
//! way is open ([`hermes_wire::road`]). The owner's credentials never leave it.
//!
//! **What is promised.** An event is confirmed to the platform after it is in the target's inbox, on disk; until then it is the
//! platform's, which offers it again. Offered twice it is one event, by platform, chat and message id. A target that does not
//! serve is waited for, for [`PATIENCE`], once for all events that it does not take; then, or where waiting cannot help, the event is
//! kept in the owner's inbox as a dead letter that says why. It is never answered by the owner in the target's place. An answer is a row
//! of the target's ledger until the owner's platform has it; each try carries the same key.
//!
//! **Who comes in.** Every message that a bot received passes the door of the profile that answers, by that profile's files
//! ([`crate::access`]), before anything of it is fetched or kept: at the owner's for its own, at the target's for what was handed over.
//!
//! **Who may answer.** With an event goes what the owner needs to answer it, sealed under a key that only the owner has. An answer
//! is sent where its seal says, and nowhere else: a target can speak through the owner's bot in the chats that it was given, and
//! in no others.
//!
//! **Attachments** pass as they come, in pieces; what is on disk is a temporary file in the target's cache until the whole event
//! is there. Their names there follow from the event's identity, so that an event that is offered again writes the same files. A
//! message for the owner itself does not depend on its files: one that cannot be had, after the same patience, is named in the text.
//!
//! [`PATIENCE`]: patience::PATIENCE

mod cache;
mod deliver;
mod door;
mod named;
mod patience;
mod receive;
mod reception;
mod road;
mod seal;
mod way_back;

use hermes_config::ProfileConfig;
use hermes_wire::ProfileHome;

use crate::access::Facts;
use crate::commands::Commands;
use crate::delivery::Deliveries;
use crate::inbound::{Accepted, Inbound};
use crate::inbox::Inbox;
use crate::skills::Library;
use crate::store::StoreError;

pub(crate) use cache::forget;
pub(crate) use deliver::Owner;
use door::Door;
pub(crate) use receive::Target;
pub use reception::{Arrived, Attached, ByteStream, NotTaken, Open, Reception, Taken, Unfetched};
pub use road::Road;
pub(crate) use seal::Seal;
pub(crate) use way_back::WayBack;

/// What every message for this profile goes through, whoever received it. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Entrance {
    /// Who comes in.
    door: Door,
    /// What is no question.
    commands: Commands,
    /// Everything else.
    inbox: Inbox,
}

impl Entrance {
    /// That of the profile with these settings.
    pub(crate) fn new(
        config: &ProfileConfig,
        home: &ProfileHome,
        inbox: Inbox,
        deliveries: &Deliveries,
        skills: Library,
    ) -> Self {
        let door = Door::new(config, home, inbox.store(), deliveries);
        let commands = Commands::new(config, home, inbox.clone(), deliveries, skills);
        Self { door, commands, inbox }
    }

    /// Takes what came in. `also`: the ids of other messages that it was made of.
    async fn take(&self, event: Inbound, facts: &Facts, also: Vec<String>) -> Result<Accepted, StoreError> {
        // What is made of several is a command where its first part is one.
        if also.is_empty() || event.text.trim_start().starts_with('/') {
            self.commands.accept(event, facts).await
        } else {
            self.inbox.accept_joined(event, also).await
        }
    }
}

/// The routes that only the supervisor may ask for: events come in, answers go out.
pub(crate) fn inner_routes(target: Target, owner: Owner) -> axum::Router {
    receive::routes(target).merge(deliver::routes(owner))
}

/// Kind of the deliveries that go back over the road.
pub(crate) const WAY_BACK: &str = "hand_over";
/// Keys of such a delivery's parameters: the platform, the chat, and what the owner sent along, as JSON.
pub(crate) const PLATFORM: &str = "platform";
/// See [`PLATFORM`].
pub(crate) const REPLY: &str = "reply";
/// See [`PLATFORM`].
pub(crate) const CHAT: &str = "chat_id";
/// Longest message of the owner's way out, in characters.
pub(crate) const LONGEST: &str = "longest";
