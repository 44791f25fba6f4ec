//! Signs at questions of the bot: whose they are, and what becomes of them.

use serde_json::Value;

use super::event;
use super::outbound::{content, edited};
use super::press;
use super::service::Ask;
use super::settings::{NAME, Scope};
use super::syncing::{Chore, Connection};
use super::target::target;
use super::wire::What;
use crate::access::Facts;
use crate::platform::{Down, buttons};
use crate::questions;

impl Connection<'_> {
    /// Takes a sign at a question of the bot for its answer. Gives what is left to be said of it.
    pub(super) async fn sign<'c>(
        &'c self,
        room: &str,
        sender: &str,
        to: &str,
        key: &str,
    ) -> Result<Option<Chore<'c>>, Down>
    where
        Self: 'c,
    {
        let found = self.unless_absent(self.account.event(room, to).await).await?.flatten();
        let Some((question, raw)) = found.filter(|(event, _)| self.gate.is_me(&event.sender)) else {
            return Ok(None);
        };
        let What::Message(said) = &question.what else { return Ok(None) };
        let Some((ask, meant)) = said.ask.as_ref().and_then(|ask| Some((ask, press::read(ask, key)?))) else {
            return Ok(None);
        };
        let Some(about) = self.unless_absent(self.account.room(room).await).await? else { return Ok(None) };
        let is_private = self.account.is_private(room, &about);
        let settings = &self.account.settings;
        let thread = ask.thread.clone().filter(|_| settings.scope != Scope::Room);
        let asker = ask.user.as_deref().unwrap_or(sender);
        if settings.approval_by_sender && !asker.eq_ignore_ascii_case(sender) {
            tracing::info!("[{NAME}] {sender} answers a question that is {asker}'s: it does not count");
            return Ok(None);
        }
        let whose = |user: &str| event::source(room, is_private, thread.clone(), user);
        let reception = &self.syncing.reception;
        let heard = match reception.knows(&whose(sender), &Facts::default()).await {
            Ok(true) => {
                let by = (&whose(asker), &Facts::default());
                let answer = target(room, ask.thread.clone(), &question.id, asker);
                buttons::hear(reception, by, &ask.name, &meant, answer).await
            }
            Ok(false) => {
                tracing::warn!("Unauthorized user: {sender} on {NAME}, who answers a question in {room}");
                return Ok(None);
            }
            Err(error) => Err(error),
        };
        match heard {
            Ok(questions::Heard::Answered) => {
                let label = format!("{} · {sender}", meant.text());
                Ok(Some(self.settle(room.to_owned(), question.id.clone(), &raw, &label)))
            }
            Ok(questions::Heard::Late | questions::Heard::No) => Ok(None),
            Err(error) => {
                tracing::warn!(%error, "[{NAME}] an answer by a sign is not taken");
                Ok(None)
            }
        }
    }

    /// Says below a question how it was answered.
    pub(super) fn settle<'c>(&'c self, room: String, id: String, raw: &Value, label: &str) -> Chore<'c>
    where
        Self: 'c,
    {
        let text = raw["content"]["body"].as_str().unwrap_or_default();
        let edit = edited(&id, content(&format!("{text}\n\n{label}"), false));
        Box::pin(async move {
            let key = format!("hermes-settled-{id}");
            let path = ["client", "v3", "rooms", &room, "send", "m.room.message", &key];
            if let Err(error) = self.account.ask(&Ask::put("send", &path, &edit)).await {
                tracing::debug!("[{NAME}] a question stays as it is: {error}");
            }
        })
    }
}
