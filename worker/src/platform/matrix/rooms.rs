//! How the bot comes into rooms and goes out of them, and the rooms that it cannot read.

use serde_json::{Value, json};
use tokio::time::sleep;

use super::event;
use super::service::{Ask, Failure};
use super::settings::NAME;
use super::syncing::{Connection, not_stored};
use super::wire::Invite;
use crate::access::Facts;
use crate::handover::NotTaken;
use crate::platform::Down;
use crate::platform::link::Lack;

/// What is said in a room with encryption.
const ENCRYPTED: &str = "This room is encrypted, and I cannot read encrypted messages: I have no encryption. Please write to me in a room \
                         without it.";
/// Most rooms that are named as not read.
const UNREAD: usize = 20;
/// How often a room is tried whose servers do not answer.
const TRIES: u32 = 5;

impl Connection<'_> {
    /// A room with encryption: that is said once.
    pub(super) async fn encrypted(&self, room: &str) -> Result<(), Down> {
        let inbox = &self.syncing.inbox;
        let mut rooms = self.unread().await?;
        if rooms.iter().any(|known| known == room) {
            return Ok(());
        }
        tracing::warn!(
            "[{NAME}] {room} is encrypted: what is said there is not read, and nothing is answered"
        );
        if self.say(room, &format!("hermes-encrypted-{room}"), ENCRYPTED).await {
            rooms.push(room.to_owned());
            // Of those before them it is said once more, if anybody writes there.
            let rest = rooms.split_off(rooms.len().saturating_sub(UNREAD));
            let text = Value::from(rest.clone()).to_string();
            inbox.remember(&self.unread_key(), text).await.map_err(|error| not_stored(&error))?;
            self.show_unread(&rest);
        }
        Ok(())
    }

    pub(super) fn unread_key(&self) -> String {
        format!("hermes_matrix_encrypted {}", self.me.user)
    }

    /// The rooms of which it was said that they are not read.
    pub(super) async fn unread(&self) -> Result<Vec<String>, Down> {
        let found = self.syncing.inbox.remembered(&self.unread_key()).await;
        let found = found.map_err(|error| not_stored(&error))?;
        Ok(found.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
    }

    /// Says in the status which rooms are not read.
    pub(super) fn show_unread(&self, rooms: &[String]) {
        let code = "matrix_encryption_missing";
        let message = format!("rooms with encryption are not read: {}", rooms.join(", "));
        self.link.lacks((!rooms.is_empty()).then_some(Lack { code, message }));
    }

    /// Out of a room.
    pub(super) async fn is_out(&self, room: &str) -> Result<(), Down> {
        tracing::info!("[{NAME}] out of {room}");
        self.account.changed(room);
        let mut rooms = self.unread().await?;
        let before = rooms.len();
        rooms.retain(|known| known != room);
        if rooms.len() < before {
            let text = Value::from(rooms.clone()).to_string();
            let kept = self.syncing.inbox.remember(&self.unread_key(), text).await;
            kept.map_err(|error| not_stored(&error))?;
            self.show_unread(&rooms);
        }
        Ok(())
    }

    /// A room goes on elsewhere: so does the bot.
    pub(super) async fn follow(&self, room: &str, new: &str, by: &str) -> Result<(), Down> {
        tracing::info!("[{NAME}] {room} goes on as {new}");
        self.join(new, by).await.map(drop)
    }

    /// Goes into a room that somebody named. False: that cannot be, which is said.
    async fn join(&self, room: &str, by: &str) -> Result<bool, Down> {
        let server = by.split_once(':').map(|(_, server)| server).unwrap_or_default();
        let (path, query) = (["client", "v3", "join", room], [("server_name", server), ("via", server)]);
        match self.account.ask(&Ask::post("join", &path, &json!({})).with(&query)).await {
            Ok(_) => {
                self.account.is_settled(room);
                self.account.changed(room);
                Ok(true)
            }
            Err(failure) if self.gives_up(room, &failure) => {
                tracing::warn!(
                    "[{NAME}] {room} cannot be joined, the bot has to be invited (again): {failure}"
                );
                Ok(false)
            }
            Err(failure) => Err(self.syncing.down(&failure).await),
        }
    }

    /// Whether a room that the bot can neither go into nor turn down is left as it is: what comes behind it waits, and a room whose own servers
    /// are gone would hold that up for ever.
    fn gives_up(&self, room: &str, failure: &Failure) -> bool {
        let is_out_of_reach = match failure {
            Failure::Refused { refusal, .. } => refusal.status >= 500,
            failure => matches!(failure, Failure::Lost(_)),
        };
        let gives_up =
            failure.is_absence() || (is_out_of_reach && self.account.is_out_of_reach(room) >= TRIES);
        if gives_up {
            self.account.is_settled(room);
        }
        gives_up
    }

    /// Follows an invitation of somebody who may talk to the bot, and turns others down.
    pub(super) async fn invited(&self, invite: Invite) -> Result<(), Down> {
        let Invite { room, from, name, is_direct, is_public } = invite;
        let settings = &self.account.settings;
        let shown = name.map_or_else(|| room.clone(), |name| format!("{room} ({name})"));
        let Some(from) = from else {
            tracing::warn!("[{NAME}] an invitation into {shown} names nobody who sent it");
            return self.leave(&room).await;
        };
        let mut source = event::source(&room, is_direct, None, &from);
        // A room where everybody may speak says nothing about who may bring the bot there.
        source.chat_id = source.chat_id.filter(|_| is_direct);
        let is_known = loop {
            match self.syncing.reception.knows(&source, &Facts::default()).await {
                Ok(is_known) => break is_known,
                Err(NotTaken::Later { after, reason }) => {
                    tracing::info!("[{NAME}] an invitation waits: {reason}");
                    sleep(after).await;
                }
                Err(NotTaken::Store(error)) => return Err(Down::retrying("matrix_store", error.reason())),
            }
        };
        let why = if !is_known || self.gate.is_deaf_to(&from).is_some() {
            tracing::warn!("Unauthorized user: {from} on {NAME}, who invites into {room}");
            Some("who invites may not talk to the bot")
        } else if !is_direct && !settings.allowed_rooms.is_empty() && !settings.allowed_rooms.holds(&room) {
            Some("it is not in platforms.matrix.allowed_rooms")
        } else if is_public && !settings.public_rooms {
            Some("everybody may join it, and platforms.matrix.allow_public_rooms is off")
        } else {
            None
        };
        if let Some(why) = why {
            tracing::warn!("[{NAME}] an invitation of {from} into {shown} is turned down: {why}");
            return self.leave(&room).await;
        }
        if self.join(&room, &from).await? {
            tracing::info!("[{NAME}] joined {shown}, invited by {from}");
        }
        Ok(())
    }

    pub(super) async fn leave(&self, room: &str) -> Result<(), Down> {
        let path = ["client", "v3", "rooms", room, "leave"];
        match self.account.ask(&Ask::post("leave", &path, &json!({}))).await {
            Ok(_) => self.account.is_settled(room),
            Err(failure) if self.gives_up(room, &failure) => {
                tracing::warn!("[{NAME}] {room} cannot be left: {failure}");
            }
            Err(failure) => return Err(self.syncing.down(&failure).await),
        }
        Ok(())
    }
}
