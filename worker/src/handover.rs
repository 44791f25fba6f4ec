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
//! in no others. What was sent for it, and nothing else, it can have changed and taken back: with the id of a message goes a pass.
//!
//! **Files of an answer** pass as bytes: the target judges and opens what its own files allow, the owner writes what comes into a temporary
//! file of its own cache, as long as it is said to be and its way takes, sends that, and keeps nothing. No path passes in either direction.
//!
//! **Answers while they are made**, signs and typing are what the owner's way can do; it says so with each event, and the target's settings
//! decide whether they are wanted.
//!
//! **Attachments** pass as they come, in pieces; what is on disk is a temporary file in the target's cache until the whole event
//! is there. Their names there follow from the event's identity, so that an event that is offered again writes the same files. A
//! message for the owner itself does not depend on its files: one that cannot be had, after the same patience, is named in the text.
//!
//! [`PATIENCE`]: patience::PATIENCE

mod arrived;
mod cache;
mod deliver;
mod door;
mod framed;
mod named;
mod patience;
mod receive;
mod reception;
mod road;
mod seal;
mod voice;
mod way_back;

use camino::Utf8PathBuf;
use hermes_config::ProfileConfig;
use hermes_wire::ProfileHome;

use crate::access::Facts;
use crate::commands::{Acts, Commands};
use crate::delivery::Deliveries;
use crate::inbound::{Accepted, Busy, Inbound};
use crate::inbox::Inbox;
use crate::skills::Library;
use crate::store::StoreError;

pub(crate) use arrived::TOO_MANY;
pub use arrived::{Arrived, Attached, ByteStream, NotTaken, Open, Taken, Unfetched};
pub(crate) use cache::forget;
pub(crate) use deliver::Owner;
use door::Door;
pub(crate) use receive::Target;
pub use reception::Reception;
pub use road::Road;
pub(crate) use seal::Seal;
pub(crate) use voice::Voice;
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
    /// What writes down what was said in voice notes.
    voice: Option<Voice>,
}

impl Entrance {
    /// That of the profile with these settings.
    pub(crate) fn new(
        config: &ProfileConfig,
        home: &ProfileHome,
        inbox: Inbox,
        deliveries: &Deliveries,
        skills: Library,
        acts: Acts,
    ) -> Self {
        let door = Door::new(config, home, inbox.store(), deliveries);
        let commands = Commands::new(config, home, inbox.clone(), deliveries, skills, acts);
        Self { door, commands, inbox, voice: None }
    }

    /// What is no question.
    pub(crate) fn commands(&self) -> &Commands {
        &self.commands
    }

    /// The same, where voice notes are written down.
    #[must_use]
    pub(crate) fn hearing(self, voice: Option<Voice>) -> Self {
        Self { voice, ..self }
    }

    /// A message's text with what was said in its voice notes, where somebody writes that down.
    async fn heard(&self, mut text: String, files: &[Utf8PathBuf]) -> String {
        if let Some(voice) = &self.voice {
            voice.hear(&mut text, files).await;
        }
        text
    }

    /// Takes what came in. `also`: the ids of other messages that it was made of; `shows`: pictures came with it, which end no turn, and
    /// join the message that waits for its own.
    async fn take(
        &self,
        mut event: Inbound,
        facts: &Facts,
        also: Vec<String>,
        shows: bool,
    ) -> Result<Accepted, StoreError> {
        let is_command = event.text.trim_start().starts_with('/');
        if shows && !is_command && event.busy != Busy::Wait {
            event.busy = Busy::Queue;
            if let Some(accepted) = self.inbox.merge(&event, &also).await? {
                return Ok(accepted);
            }
        }
        // What is made of several is a command where its first part is one.
        if also.is_empty() || is_command {
            self.commands.accept(event, facts).await
        } else {
            self.commands.plain(event, also).await
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
/// Longest message of the owner's way out, in characters, or as its format measures.
pub(crate) const LONGEST: &str = "longest";
/// What else that way can do, as JSON.
pub(crate) const CAN: &str = "can";
