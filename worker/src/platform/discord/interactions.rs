//! Presses of buttons and uses of commands. Discord waits three seconds for a first answer: none of them is in line behind a message.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;
use twilight_http_ratelimiting::Method;
use twilight_model::application::interaction::InteractionType;
use twilight_model::channel::message::MessageFlags;
use twilight_model::http::interaction::InteractionResponseType;

use super::desk::Desk;
use super::event::Spot;
use super::intake::{Command, Item, What};
use super::mark::Number;
use super::outbound::COMMAND;
use super::press;
use super::service::Body;
use super::settings::NAME;
use super::slash;
use super::wire::Interaction;
use crate::access::Facts;
use crate::inbound::{Busy, DedupKey, Inbound};
use crate::platform::buttons;
use crate::questions::Heard;

/// Said of a command to whom it is not for.
const REFUSED: &str = "You're not authorized to use this command.";
/// Said where nobody can tell.
const UNKNOWN: &str = "That did not work just now; please try again.";
/// Said where the bot does not listen.
const ELSEWHERE: &str = "I do not listen in this channel.";
/// Time to decide before a first answer is due.
const DECIDING: Duration = Duration::from_millis(1500);
/// Most that are answered at once.
const AT_ONCE: usize = 32;

/// Answers everything that comes, until nothing more can; what is to be handed in goes on.
pub(super) async fn answer_all(
    desk: &Desk<'_>,
    mut came: mpsc::Receiver<(Number, Box<Interaction>)>,
    items: mpsc::Sender<Item>,
) {
    let mut answering = FuturesUnordered::new();
    let mut is_open = true;
    while is_open || !answering.is_empty() {
        tokio::select! {
            biased;
            Some(item) = answering.next(), if !answering.is_empty() => {
                if let Some(item) = item
                    && items.send(item).await.is_err()
                {
                    return;
                }
            }
            next = came.recv(), if is_open && answering.len() < AT_ONCE => match next {
                Some((number, interaction)) => answering.push(answer(desk, number, interaction)),
                None => is_open = false,
            },
        }
    }
}

/// Answers one; what is to be handed in.
async fn answer(desk: &Desk<'_>, number: Number, interaction: Box<Interaction>) -> Option<Item> {
    let command = if interaction.kind == InteractionType::MessageComponent as u8 {
        pressed(desk, &interaction).await;
        None
    } else if interaction.kind == InteractionType::ApplicationCommand as u8 {
        used(desk, &interaction).await
    } else {
        None
    };
    if let Some(command) = command {
        Some(Item { number, what: What::Command(Box::new(command)) })
    } else {
        desk.done(number);
        None
    }
}

/// Who acts where.
async fn who(desk: &Desk<'_>, interaction: &Interaction) -> Option<(Spot, Facts)> {
    let channel = interaction.channel_id.or(interaction.channel.as_ref().map(|channel| channel.id))?;
    let kind = interaction.channel.as_ref().map(|channel| channel.kind);
    if let Some(said) = &interaction.channel
        && said.name.is_some()
        && said.id == channel
    {
        let mut places = desk.places();
        if places.of(channel).is_none() {
            places.channel(said);
        }
    }
    let spot = desk.spot(channel, interaction.guild_id, kind).await;
    let facts = desk.facts(&spot, interaction.user()?, interaction.member.as_ref()).await;
    Some((spot, facts))
}

async fn say(desk: &Desk<'_>, interaction: &Interaction, kind: InteractionResponseType, data: Value) -> bool {
    let body = json!({"type": kind, "data": data});
    let answered = desk.service.answer(interaction.id, &interaction.token, &body).await;
    if let Err(error) = &answered {
        tracing::debug!(%error, "[{NAME}] an interaction is not answered");
    }
    answered.is_ok()
}

/// For whoever acts alone.
fn aside(text: &str) -> Value {
    json!({"content": text, "flags": MessageFlags::EPHEMERAL.bits(), "allowed_mentions": {"parse": []}})
}

/// Takes a press, and says what came of it: to whoever pressed, and in place of the buttons.
async fn pressed(desk: &Desk<'_>, interaction: &Interaction) {
    use InteractionResponseType::{ChannelMessageWithSource, DeferredUpdateMessage, UpdateMessage};
    let id = interaction.data.as_ref().map(|data| data.custom_id.as_str()).unwrap_or_default();
    let Some((question, pressed)) = buttons::read(id) else {
        say(desk, interaction, ChannelMessageWithSource, aside("That question is over.")).await;
        return;
    };
    let deciding = async {
        let (spot, facts) = who(desk, interaction).await?;
        let user = interaction.user()?;
        let source = spot.source(user, interaction.member.as_ref());
        let name = source.user_name.clone().unwrap_or_default();
        let by = (&source, &facts);
        let heard = buttons::hear(desk.reception, by, question, &pressed, spot.target()).await;
        Some((heard, name))
    };
    tokio::pin!(deciding);
    let (decided, is_late) = if let Ok(decided) = timeout(DECIDING, &mut deciding).await {
        (decided, false)
    } else {
        // It is heard; what came of it follows.
        say(desk, interaction, DeferredUpdateMessage, json!({})).await;
        (deciding.await, true)
    };
    let chosen = pressed.text();
    let (text, shown) = match decided {
        Some((Ok(heard), name)) => {
            let said = heard.said(&chosen);
            (said, (heard != Heard::No).then(|| press::over(&format!("{said} · {name}"))))
        }
        Some((Err(error), _)) => {
            tracing::warn!(%error, "[{NAME}] an answer by a button is not taken");
            (UNKNOWN, None)
        }
        None => (UNKNOWN, None),
    };
    let after = format!("webhooks/{}/{}", interaction.application_id, interaction.token);
    let followed = match (shown, is_late) {
        (Some(buttons), false) => {
            say(desk, interaction, UpdateMessage, json!({"components": buttons})).await;
            return;
        }
        (None, false) => {
            say(desk, interaction, ChannelMessageWithSource, aside(text)).await;
            return;
        }
        (Some(buttons), true) => {
            let body = Body::Json(json!({"components": buttons}));
            desk.service.call("answers", Method::Patch, &format!("{after}/messages/@original"), body).await
        }
        (None, true) => desk.service.call("answers", Method::Post, &after, Body::Json(aside(text))).await,
    };
    if let Err(error) = followed {
        tracing::debug!(%error, "[{NAME}] who pressed a button hears nothing more");
    }
}

/// Takes the use of a command: acknowledged, it is a message like one that was written.
async fn used(desk: &Desk<'_>, interaction: &Interaction) -> Option<Command> {
    use InteractionResponseType::{ChannelMessageWithSource, DeferredChannelMessageWithSource};
    let user = interaction.user()?;
    let deciding = async {
        let (spot, facts) = who(desk, interaction).await?;
        let source = spot.source(user, interaction.member.as_ref());
        let knows = desk.reception.knows(&source, &facts).await;
        Some((spot, facts, source, knows))
    };
    let decided = timeout(DECIDING, deciding).await.ok().flatten();
    let Some((spot, facts, source, knows)) = decided else {
        say(desk, interaction, ChannelMessageWithSource, aside(UNKNOWN)).await;
        return None;
    };
    if spot.guild.is_some() && desk.gate.listens(&spot.place()).is_err() {
        say(desk, interaction, ChannelMessageWithSource, aside(ELSEWHERE)).await;
        return None;
    }
    let mut delivery = spot.target();
    delivery
        .extra
        .insert(COMMAND.to_owned(), format!("{} {}", interaction.application_id, interaction.token));
    let event = Inbound {
        text: slash::text(interaction.data.as_ref()?),
        dedup: Some(DedupKey { scope: spot.channel.to_string(), id: interaction.id.to_string() }),
        source,
        delivery,
        context: None,
        end_session: None,
        busy: Busy::Wait,
    };
    let guild = spot.guild.map(|guild| guild.to_string());
    let command = Command { event, facts, guild, parent: spot.parent() };
    // What another profile answers is judged by that one's files.
    let is_own = desk.reception.answers(&command.clone().into());
    match knows {
        Ok(false) if is_own => {
            let who = command.event.source.user_name.as_deref().unwrap_or_default();
            let who: String = who.chars().filter(|c| !c.is_control()).take(64).collect();
            tracing::warn!("Unauthorized user: {} ({who}) on {NAME}", user.id);
            say(desk, interaction, ChannelMessageWithSource, aside(REFUSED)).await;
            None
        }
        Err(error) if is_own => {
            tracing::warn!(%error, "[{NAME}] a command is not taken");
            say(desk, interaction, ChannelMessageWithSource, aside(UNKNOWN)).await;
            None
        }
        Ok(_) | Err(_) => {
            // Where this is not heard, the answer goes to the channel.
            say(desk, interaction, DeferredChannelMessageWithSource, json!({})).await;
            Some(command)
        }
    }
}
