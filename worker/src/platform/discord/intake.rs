//! Takes what the gateway brought, in its order: what is for the bot is put together, handed in, and counted as stored.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use twilight_http_ratelimiting::Method;

use super::THREADS;
use super::desk::Desk;
use super::event::{self, Spot, arrived};
use super::gate::Passed;
use super::gather::{Gather, Heard, Held};
use super::history;
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
    let mut noted = interval(NOTED);
    noted.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let due = gather.next();
        let complete = tokio::select! {
            biased;
            () = desk.began.notified() => {
                desk.write_mark().await;
                Vec::new()
            }
            () = clock::until(due) => gather.due(Instant::now()),
            item = items.recv() => match item {
                Some(Item { number, what: What::Message(message) }) => message_of(desk, &mut gather, number, *message).await?,
                Some(Item { number, what: What::Command(command) }) => {
                    desk.hand_in(|| Some(Arrived::from((*command).clone()))).await?;
                    desk.done(number);
                    Vec::new()
                }
                None => break,
            },
            _ = noted.tick() => {
                desk.write_mark().await;
                Vec::new()
            }
        };
        for held in complete {
            hand_in(desk, held).await?;
        }
    }
    for held in gather.all() {
        hand_in(desk, held).await?;
    }
    Ok(())
}

/// Takes a message that may be for the bot; returns what is complete by that.
async fn message_of(
    desk: &Desk<'_>,
    gather: &mut Gather,
    number: Number,
    message: Message,
) -> Result<Vec<Held>, Down> {
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
        return Ok(Vec::new());
    }
    let key = event::key(&message);
    match desk.inbox.is_known(NAME, &key).await {
        Ok(true) => {
            desk.done(number);
            return Ok(Vec::new());
        }
        Ok(false) => {}
        // Where that cannot be told, the inbox tells it when it takes the message.
        Err(error) => tracing::debug!("[{NAME}] message {}: {}", message.id, error.reason()),
    }
    let is_own = {
        let user = message.author.clone().unwrap_or_default();
        desk.reception.is_own(&spot.source(&user, message.member.as_ref()))
    };
    Ok(gather.take(Heard { number, message, spot }, is_own, Instant::now()))
}

/// Hands in what belongs together.
async fn hand_in(desk: &Desk<'_>, held: Held) -> Result<(), Down> {
    let Some(Heard { message: first, spot: said_at, .. }) = held.parts.first() else { return Ok(()) };
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
    Ok(())
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
