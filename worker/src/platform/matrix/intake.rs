//! What becomes of a message: whether it is for the bot, what has to be found out about it, and that it is stored.

use serde_json::json;
use tokio::time::sleep;

use super::event::{self, Heard, Quoted};
use super::gate::{Passed, Place};
use super::gather::{Gather, Held};
use super::outbound::content;
use super::service::Ask;
use super::settings::NAME;
use super::syncing::{Chore, Connection, not_stored};
use super::wire::{Event, Said, What};
use crate::handover::{TOO_MANY, Taken};
use crate::platform::Down;

impl Connection<'_> {
    /// A message that is for the bot and not stored yet, with all that belongs to it.
    pub(super) async fn message(
        &self,
        room: &str,
        event: &Event,
        said: &Said,
        name: Option<String>,
        gather: &Gather,
    ) -> Result<Option<Heard>, Down> {
        let passed = |why: Passed| {
            tracing::debug!("[{NAME}] {} in {room} is not for the bot: {why:?}", event.id);
            Ok(None)
        };
        if let Some(why) = self.gate.is_for_nobody(said) {
            return passed(why);
        }
        let Some(about) = self.unless_absent(self.account.room(room).await).await? else { return Ok(None) };
        if about.is_encrypted {
            self.encrypted(room).await?;
            return Ok(None);
        }
        let is_private = self.account.is_private(room, &about);
        let (quoted, answers_me) = self.quoted(room, said).await?;
        if let Err(why) = self.gate.judge(said, Place { room, is_private, answers_me }) {
            // A file calls nobody by itself: it belongs to what was said before it.
            let is_shown = said.file.is_some() && gather.holds(room, &event.sender, said.thread.as_deref());
            let may_be_for_me = why == Passed::Unmentioned && (is_shown || self.follows(room, said).await?);
            if !may_be_for_me {
                return passed(why);
            }
        }
        let heard = Heard {
            room: room.to_owned(),
            is_private,
            id: event.id.clone(),
            sender: event.sender.clone(),
            sent: event.sent,
            words: self.gate.words(said),
            is_command: self.gate.is_command(said),
            threads: self.gate.threads(said, &event.id, is_private),
            addressed: answers_me || self.gate.is_mentioned(said),
            said: said.clone(),
            about,
            name,
            quoted,
        };
        let known = self.syncing.inbox.is_known(NAME, &heard.key()).await;
        let is_known = known.map_err(|error| not_stored(&error))?;
        Ok((!is_known).then_some(heard))
    }

    /// Whether a message that calls nobody is said in a thread where the bot has spoken.
    async fn follows(&self, room: &str, said: &Said) -> Result<bool, Down> {
        let Some(thread) = said.thread.as_ref().filter(|_| self.gate.may_follow()) else { return Ok(false) };
        let follows = self.unless_absent(self.account.is_in_thread(room, thread).await).await?;
        Ok(follows == Some(true))
    }

    /// What a message answers, and whether the bot said that.
    async fn quoted(&self, room: &str, said: &Said) -> Result<(Option<Quoted>, bool), Down> {
        let Some(id) = &said.reply_to else { return Ok((None, false)) };
        let found = self.unless_absent(self.account.event(room, id).await).await?.flatten();
        let Some((event, _)) = found else { return Ok((None, false)) };
        let is_mine = self.gate.is_me(&event.sender);
        let What::Message(before) = event.what else { return Ok((None, is_mine)) };
        let text = match (&before.file, before.text.is_empty()) {
            (Some(file), true) => format!("[{}]", file.name),
            _ => before.text,
        };
        let whom = (!is_mine).then_some(event.sender);
        Ok((Some(Quoted { whom, text }), is_mine))
    }

    /// Stores what belongs together, however long that takes. Gives what is left to be said of it.
    pub(super) async fn hand_in<'c>(&'c self, held: &Held) -> Result<Option<Chore<'c>>, Down>
    where
        Self: 'c,
    {
        let all: Vec<&Heard> = held.parts.iter().map(|part| &part.heard).collect();
        let (Some(first), Some(last)) = (all.first(), all.last()) else { return Ok(None) };
        let longest = u64::try_from(self.account.settings.longest).ok();
        loop {
            let Some(arrived) = event::arrived(&all, self.account).await else { return Ok(None) };
            let (after, reason) = match self.syncing.reception.accept(arrived, longest).await {
                Ok(Taken::New | Taken::Known) => {
                    if let Some(thread) = &first.threads.answer {
                        self.account.joins(thread);
                    }
                    return Ok(Some(self.receipt(last.room.clone(), last.id.clone())));
                }
                Ok(Taken::Buried | Taken::TurnedAway) => return Ok(None),
                Ok(Taken::Full) => {
                    self.say(&first.room, &format!("hermes-full-{}", first.id), TOO_MANY).await;
                    return Ok(None);
                }
                Err(not) => not.wait().map_err(|error| Down::retrying("matrix_store", error.reason()))?,
            };
            tracing::info!("[{NAME}] {} in {} waits: {reason}", first.id, first.room);
            sleep(after).await;
        }
    }

    /// Says something that is no answer, once: the same id is the same message.
    pub(super) async fn say(&self, room: &str, id: &str, text: &str) -> bool {
        let body = content(text, false);
        let path = ["client", "v3", "rooms", room, "send", "m.room.message", id];
        let said = self.account.ask(&Ask::put("send", &path, &body)).await;
        if let Err(error) = &said {
            tracing::warn!("[{NAME}] nobody in {room} could be told: {error}");
        }
        said.is_ok()
    }

    /// Shows that everything up to here was read.
    fn receipt<'c>(&'c self, room: String, event: String) -> Chore<'c>
    where
        Self: 'c,
    {
        Box::pin(async move {
            let path = ["client", "v3", "rooms", &room, "receipt", "m.read", &event];
            if let Err(error) = self.account.ask(&Ask::post("receipt", &path, &json!({}))).await {
                tracing::debug!("[{NAME}] nobody sees that a message was read: {error}");
            }
        })
    }
}
