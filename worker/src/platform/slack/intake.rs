//! What becomes of something that came, by whichever way: it is acknowledged when this says so, and never before it is on disk.
//!
//! What can be handed in at once is, and that is quick; whatever has to wait (files, names, a store that is slow, an earlier message of the
//! same conversation) is [kept](Desk) first. Either way its sender hears within the time that he gives.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::bot::Bot;
use super::desk::Desk;
use super::event::Held;
use super::settings::NAME;
use super::wire::{Came, Press, Slash};
use crate::handover::NotTaken;
use crate::session::epoch;

/// Time to hand something in at once.
const AT_ONCE: Duration = Duration::from_millis(1200);
/// Time to keep it instead: both together are less than Slack's three seconds.
const KEPT: Duration = Duration::from_millis(1200);
/// What is said where the bot does not listen.
const ELSEWHERE: &str = "This bot does not listen in this channel.";

/// It is not to be acknowledged: it comes again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotKept(String);

/// Takes something. After `Ok` it may be acknowledged.
pub(super) async fn take(desk: &Desk, bot: &Arc<Bot>, came: Came) -> Result<(), NotKept> {
    match came {
        Came::Message(message) => {
            let judged = timeout(AT_ONCE, bot.judge(message)).await;
            match judged.map_err(|_| late())?.map_err(|not| NotKept(reason(&not)))? {
                Some(held) => keep(desk, bot, held).await,
                None => Ok(()),
            }
        }
        Came::Slash(slash) => called(desk, bot, slash).await,
        Came::Press(press) => pressed(desk, bot, *press).await,
        Came::Revoked(id) => {
            if let Some(team) = bot.teams.iter().find(|team| team.me.team_id == id) {
                team.service.refuse("token_revoked");
            }
            Ok(())
        }
        Came::Odd => {
            tracing::warn!("[{NAME}] an event is skipped: a part of it is missing or too long");
            Ok(())
        }
        Came::Other => Ok(()),
    }
}

async fn keep(desk: &Desk, bot: &Arc<Bot>, held: Held) -> Result<(), NotKept> {
    if bot.is_light(&held) && !desk.is_busy(&bot.lane(&held), bot.is_command(&held)) {
        match timeout(AT_ONCE, bot.hand_in(&held)).await {
            Ok(Ok(())) => return Ok(()),
            // What does not take it now does not keep it either.
            Ok(Err(NotTaken::Store(error))) => return Err(NotKept(error.reason())),
            // It may be in already, and is known then.
            Ok(Err(NotTaken::Later { .. })) | Err(_) => {}
        }
    }
    let kept = timeout(KEPT, desk.put(held, bot)).await;
    kept.map_err(|_| late())?.map_err(|error| NotKept(error.reason()))
}

async fn called(desk: &Desk, bot: &Arc<Bot>, slash: Box<Slash>) -> Result<(), NotKept> {
    if slash.is_private() || bot.listens(&slash.channel_id) {
        return keep(desk, bot, Held::Slash(slash, epoch())).await;
    }
    let bot = Arc::clone(bot);
    desk.beside(async move {
        let Some(team) = bot.team(&slash.team_id) else { return };
        if let Err(error) = team.service.respond(&slash.response_url, &super::bot::private(ELSEWHERE)).await {
            tracing::debug!(%error, "[{NAME}] who called a command hears nothing");
        }
    });
    Ok(())
}

async fn pressed(desk: &Desk, bot: &Arc<Bot>, press: Press) -> Result<(), NotKept> {
    let (said, is_over) = match timeout(AT_ONCE, bot.press(&press)).await {
        // A button of somebody else's.
        Ok(Ok(None)) => return Ok(()),
        Ok(Ok(Some(said))) => said,
        Ok(Err(error)) => {
            tracing::warn!(%error, "[{NAME}] an answer by a button is not taken");
            ("That did not work; please answer in words.".to_owned(), false)
        }
        Err(_) => return Err(late()),
    };
    let bot = Arc::clone(bot);
    desk.beside(async move { bot.say_of_press(&press, &said, is_over).await });
    Ok(())
}

fn reason(not: &NotTaken) -> String {
    match not {
        NotTaken::Later { reason, .. } => reason.clone(),
        NotTaken::Store(error) => error.reason(),
    }
}

fn late() -> NotKept {
    NotKept("the store is slow".to_owned())
}
