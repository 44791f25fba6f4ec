//! Takes what the gateway brought: what is for the bot is put together, handed in, and counted as stored. In each channel that goes in its
//! order; channels do not wait for each other, and nothing that Discord has to be asked for, or that is fetched, holds up another one.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use twilight_http_ratelimiting::Method;

use super::THREADS;
use super::desk::Desk;
use super::event::{self, Spot, arrived};
use super::gate::Passed;
use super::gather::{Gather, Heard, Held, is_command};
use super::history;
use super::lanes::Lanes;
use super::mark::Number;
use super::outbound::title;
use super::service::Body;
use super::settings::NAME;
use super::wire::{Id, Message};
use crate::access::Facts;
use crate::clock;
use crate::handover::Arrived;
use crate::inbound::Inbound;
use crate::platform::Down;

/// Most that is looked at and handed in at once; the rest waits in the line.
const AT_ONCE: usize = 64;
/// How often it is written down how far the bot has got, where that changes.
const NOTED: Duration = Duration::from_secs(5);
/// Minutes without a word after which Discord puts a thread away.
const QUIET: u32 = 1440;
/// Discord's number for a message that has a thread already.
const HAS_THREAD: u64 = 160_004;

/// Something to be handed in.
pub(super) struct Item {
    pub(super) number: Number,
    pub(super) what: What,
}

/// What it is.
pub(super) enum What {
    Message(Box<Message>),
    Command(Box<Command>),
}

/// A command that somebody used, and that was acknowledged.
#[derive(Clone)]
pub(super) struct Command {
    pub(super) event: Inbound,
    pub(super) facts: Facts,
    pub(super) guild: Option<String>,
    pub(super) parent: Option<String>,
}

impl From<Command> for Arrived {
    fn from(command: Command) -> Self {
        let Command { event, facts, guild, parent } = command;
        Self { facts, guild_id: guild, parent_chat_id: parent, ..Self::from(event) }
    }
}

/// Takes everything that comes, until nothing more can.
pub(super) async fn take_all(desk: &Desk<'_>, mut items: mpsc::Receiver<Item>) -> Result<(), Down> {
    let mut gather = Gather::new(desk.settings.batch);
    let mut looking: Lanes<'_, Looked> = Lanes::default();
    let mut handing: Lanes<'_, Result<Vec<Id>, Down>> = Lanes::default();
    // What is sent again while it is not stored yet is known by its id.
    let mut in_hand: BTreeSet<Id> = BTreeSet::new();
    let mut noted = interval(NOTED);
    noted.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_open = true;
    while is_open || looking.count() > 0 || handing.count() > 0 {
        let due = gather.next();
        let has_room = looking.count() + handing.count() < AT_ONCE;
        let complete = tokio::select! {
            biased;
            () = desk.began.notified() => {
                desk.write_mark().await;
                Vec::new()
            }
            handed = handing.next() => {
                for id in handed? {
                    in_hand.remove(&id);
                }
                Vec::new()
            }
            looked = looking.next() => match looked {
                Looked::For(heard, may_join) => gather.take(*heard, may_join, Instant::now()),
                Looked::Passed(id) => {
                    in_hand.remove(&id);
                    Vec::new()
                }
            },
            () = clock::until(due) => gather.due(Instant::now()),
            item = items.recv(), if is_open && has_room => {
                match item {
                    Some(Item { number, what: What::Message(message) }) => {
                        if in_hand.insert(message.id) {
                            looking.put(message.channel_id, false, Box::pin(look(desk, number, *message)));
                        } else {
                            desk.done(number);
                        }
                    }
                    // It was acknowledged by itself, and is in line behind nothing.
                    Some(Item { number, what: What::Command(command) }) => {
                        handing.beside(Box::pin(command_in(desk, number, *command)));
                    }
                    None => is_open = false,
                }
                Vec::new()
            }
            _ = noted.tick() => {
                desk.write_mark().await;
                Vec::new()
            }
        };
        for held in complete {
            hand_over(desk, &mut handing, held);
        }
        if !is_open && looking.count() == 0 {
            // Nothing more belongs to it.
            for held in gather.all() {
                hand_over(desk, &mut handing, held);
            }
        }
    }
    Ok(())
}

/// Has what belongs together handed in, behind what was said before in its channel. A command is not behind files: that is no turn yet which
/// it could be about.
fn hand_over<'d>(desk: &'d Desk<'_>, handing: &mut Lanes<'d, Result<Vec<Id>, Down>>, held: Held) {
    let Some(Heard { message: first, .. }) = held.parts.first() else { return };
    let (channel, is_command) = (first.channel_id, held.parts.len() == 1 && is_command(&first.content));
    let is_slow = held.parts.iter().any(|heard| event::files(&heard.message).next().is_some());
    let work = Box::pin(hand_in(desk, held));
    if is_command && handing.is_slow(channel) {
        handing.beside(work);
    } else {
        handing.put(channel, is_slow, work);
    }
}

async fn command_in(desk: &Desk<'_>, number: Number, command: Command) -> Result<Vec<Id>, Down> {
    desk.hand_in(|| Some(Arrived::from(command.clone()))).await?;
    desk.done(number);
    Ok(Vec::new())
}

/// What a look at a message found.
enum Looked {
    /// It is for the bot, and may become one with others, or not.
    For(Box<Heard>, bool),
    /// Nothing more is to be done about it.
    Passed(Id),
}

/// Looks at a message that may be for the bot.
async fn look(desk: &Desk<'_>, number: Number, message: Message) -> Looked {
    let spot = desk.spot(message.channel_id, message.guild_id, message.channel_type).await;
    if let Err(passed) = desk.gate.judge(&message, &spot.place()) {
        if passed == Passed::Own && THREADS.contains(&spot.known.kind) {
            desk.mark().take_part(message.channel_id);
        }
        tracing::debug!(
            "[{NAME}] a message in channel {} is not for the bot: {passed:?}",
            message.channel_id
        );
        desk.done(number);
        return Looked::Passed(message.id);
    }
    match desk.inbox.is_known(NAME, &event::key(&message)).await {
        Ok(true) => {
            desk.done(number);
            return Looked::Passed(message.id);
        }
        Ok(false) => {}
        // Where that cannot be told, the inbox tells it when it takes the message.
        Err(error) => tracing::debug!("[{NAME}] message {}: {}", message.id, error.reason()),
    }
    let is_own = {
        let user = message.author.clone().unwrap_or_default();
        desk.reception.is_own(&spot.source(&user, message.member.as_ref()))
    };
    Looked::For(Box::new(Heard { number, message, spot }), is_own)
}

/// Hands in what belongs together; the ids of what is stored by that.
async fn hand_in(desk: &Desk<'_>, held: Held) -> Result<Vec<Id>, Down> {
    let Some(Heard { message: first, spot: said_at, .. }) = held.parts.first() else { return Ok(Vec::new()) };
    let messages: Vec<&Message> = held.parts.iter().map(|heard| &heard.message).collect();
    let user = first.author.clone().unwrap_or_default();
    let is_authorized = desk.is_authorized(said_at, &user, first.member.as_ref()).await;
    let (spot, context) = match thread_for(desk, first, said_at, is_authorized).await {
        // Nothing was said there yet.
        Some(thread) => (thread, None),
        None => (said_at.clone(), history::before(desk, said_at, first, is_authorized).await),
    };
    let make = || {
        let mut arrived = arrived(&messages, &spot, &desk.gate, &desk.service, is_authorized)?;
        arrived.event.context.clone_from(&context);
        Some(arrived)
    };
    desk.hand_in(make).await?;
    for heard in &held.parts {
        desk.done(heard.number);
    }
    Ok(held.parts.iter().map(|heard| heard.message.id).collect())
}

/// Where the answer to a message goes that gets a thread of its own; none: where the message is. Nobody who may not talk to the bot begins
/// one, and who answers by the files of another profile is not known here.
async fn thread_for(desk: &Desk<'_>, message: &Message, spot: &Spot, is_authorized: bool) -> Option<Spot> {
    if !desk.gate.begins_thread(message, spot.known.kind, &spot.place()) {
        return None;
    }
    if !history::is_asked(desk, message, spot, is_authorized).await {
        return None;
    }
    let name = title(&desk.gate.words(&message.content, &message.mentions));
    let body = json!({"name": name, "auto_archive_duration": QUIET});
    let path = format!("channels/{}/messages/{}/threads", message.channel_id, message.id);
    let began: Result<Value, _> = desk.service.ask("threads", Method::Post, &path, Body::Json(body)).await;
    let thread = match began {
        Ok(thread) => thread["id"].as_str().and_then(Id::parse).unwrap_or(message.id),
        // A thread has the id of its first message.
        Err(failure) if failure.code() == HAS_THREAD => message.id,
        Err(failure) => {
            tracing::warn!("[{NAME}] no thread is begun, the answer goes to the channel: {failure}");
            return None;
        }
    };
    desk.mark().take_part(thread);
    Some(spot.within(thread, &name))
}
