//! What people tell a bot to do instead of asking it something: `/new`, `/status`, `/help`.
//!
//! # Theory of operation
//!
//! [`Commands`] stands between the door and the inbox: every message that came in passes it. What is a command is either answered at once,
//! also while a turn of its chat runs, or becomes an item of the inbox that says what it does to that turn. All that is known of commands
//! is one [`table`]: what is understood, `/help`, and the menus of platforms come from it.
//!
//! # Guarantees
//!
//! - An answer is written in the transaction that notes the message: offered twice, it is answered once.
//! - Who may give which command is decided here, by [`tiers`](hermes_config::access::Tiers); plain messages are nobody's privilege.
//! - What looks like a command and is none is said to be none in a private chat, and is a message like any other in a group, where it may be
//!   meant for another bot.

mod answers;
mod home_channel;
mod table;

use std::sync::Arc;

use hermes_config::ProfileConfig;
use hermes_config::access::{AccessSettings, AllAccess};
use hermes_host::blocking;
use hermes_wire::{ProfileHome, ProfileName};
use rusqlite::Connection;

use crate::access::{Facts, ids, is_group};
use crate::delivery::{Deliveries, ledger};
use crate::inbound::{Accepted, Busy, Inbound};
use crate::inbox::Inbox;
use crate::session::epoch;
use crate::session::routing::Scopes;
use crate::skills::Library;
use crate::store::StoreError;

pub use table::menu;
use table::{Act, Called};

/// Said of a word with a slash that is no command.
const UNKNOWN: &str = "Type /commands to see what's available, or resend without the leading slash to send as a regular message.";
/// Said where a message is put behind the turn that runs.
const QUEUED: &str = "⏳ Queued for the next turn… I'll respond once the current task finishes.";
/// Said where it is put into it.
const STEERED: &str = "⏩ Steered into current run… Your message arrives after the next tool call.";
/// Platforms on which people cannot type a slash, and write another sign.
const WITH_OTHER_SIGN: [&str; 2] = ["slack", "matrix"];

/// See the module. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Commands(Arc<Inner>);

struct Inner {
    profile: ProfileName,
    home: ProfileHome,
    scopes: Scopes,
    access: AllAccess,
    /// What `/model` says.
    model: String,
    inbox: Inbox,
    deliveries: Deliveries,
    skills: Library,
}

impl Commands {
    /// The commands of the profile with these settings.
    pub(crate) fn new(
        config: &ProfileConfig,
        home: &ProfileHome,
        inbox: Inbox,
        deliveries: &Deliveries,
        skills: Library,
    ) -> Self {
        let model = &config.model;
        let name = if model.default.is_empty() { "none" } else { &model.default };
        let provider =
            model.provider.as_deref().map_or_else(String::new, |provider| format!(" ({provider})"));
        Self(Arc::new(Inner {
            profile: config.name.clone(),
            home: home.clone(),
            scopes: Scopes::of(&config.name, home.path()),
            access: config.access.clone(),
            model: format!("{name}{provider}"),
            inbox,
            deliveries: deliveries.clone(),
            skills,
        }))
    }

    /// Takes a message that came in: carried out, or on disk.
    pub(crate) async fn accept(&self, mut event: Inbound, facts: &Facts) -> Result<Accepted, StoreError> {
        let inbox = &self.0.inbox;
        let with_other_sign = WITH_OTHER_SIGN.contains(&event.source.platform.as_str());
        let Some(called) = table::called(&event.text, with_other_sign) else {
            return inbox.accept(event).await;
        };
        let Called { name, rest } = called;
        let Some(command) = table::find(&name) else {
            // A word with another sign that is no command is a word.
            if !event.text.trim_start().starts_with('/') {
                return inbox.accept(event).await;
            }
            return self.other(event, facts, &name).await;
        };
        if !self.may(&event, facts, command.name) {
            return self.refuse(&event, &name).await;
        }
        match command.act {
            Act::Turn => {
                event.text = if rest.is_empty() {
                    format!("/{}", command.name)
                } else {
                    format!("/{} {rest}", command.name)
                };
                inbox.accept(event).await
            }
            Act::Interrupt => {
                event.text = format!("/{}", command.name);
                event.busy = Busy::Interrupt;
                inbox.accept(event).await
            }
            Act::Message(_) if rest.is_empty() => {
                let usage = format!("Write /{} and behind it what you want to say.", command.name);
                self.answer(&event, move |_, _| Ok(Some(usage))).await
            }
            Act::Message(busy) => {
                event.text = rest;
                event.busy = busy;
                self.message(event).await
            }
            Act::Silence => self.answer(&event, |_, _| Ok(None)).await,
            Act::Answer => self.answered(&event, facts, command.name, &rest).await,
        }
    }

    /// What begins with a slash and is no command of the table: a skill, or nothing.
    async fn other(&self, event: Inbound, facts: &Facts, name: &str) -> Result<Accepted, StoreError> {
        let (skills, text, platform) =
            (self.0.skills.clone(), event.text.clone(), event.source.platform.clone());
        // What cannot be found out now is taken for a message.
        let is_skill =
            blocking::run(move || skills.expanded(&text, &platform).is_some()).await.unwrap_or(true);
        if is_skill {
            if !self.may(&event, facts, name) {
                return self.refuse(&event, name).await;
            }
            return self.0.inbox.accept(event).await;
        }
        if is_group(&event.source) && !facts.addressed {
            return self.0.inbox.accept(event).await;
        }
        let text = format!("Unknown command `/{name}`. {UNKNOWN}");
        self.answer(&event, move |_, _| Ok(Some(text))).await
    }

    /// A message that says what it does to the turn that runs; whoever wrote it hears what became of it where one does.
    async fn message(&self, event: Inbound) -> Result<Accepted, StoreError> {
        let (said, asked) = (if event.busy == Busy::Steer { STEERED } else { QUEUED }, event.clone());
        let key = self.0.inbox.key(&event.source);
        let runs = self.0.inbox.store().aside(move |db| answers::runs(db, &key)).await?;
        let accepted = self.0.inbox.accept(event).await?;
        if runs && accepted == Accepted::New {
            self.letter(&asked, said).await?;
        }
        Ok(accepted)
    }

    async fn refuse(&self, event: &Inbound, name: &str) -> Result<Accepted, StoreError> {
        let text = format!("You may not use /{name} here. /whoami says what you may.");
        self.answer(event, move |_, _| Ok(Some(text))).await
    }

    /// Whether the sender may give a command in this chat.
    fn may(&self, event: &Inbound, facts: &Facts, name: &str) -> bool {
        table::is_always_allowed(name) || self.tier(event, facts).is_none_or(|commands| commands.holds(name))
    }

    /// The commands that the sender may give, beside those that everybody may; `None`: all.
    fn tier(&self, event: &Inbound, facts: &Facts) -> Option<&hermes_config::access::Listed> {
        let settings = self.0.access.get(event.source.platform.as_str())?;
        let AccessSettings { tiers, group_tiers, .. } = settings;
        let tiers = if is_group(&event.source) { group_tiers } else { tiers };
        let is_admin = ids(&event.source, facts).any(|id| tiers.admins.holds(id));
        (!tiers.admins.is_empty() && !is_admin).then_some(&tiers.commands)
    }

    /// A command that is answered at once.
    async fn answered(
        &self,
        event: &Inbound,
        facts: &Facts,
        name: &'static str,
        rest: &str,
    ) -> Result<Accepted, StoreError> {
        let inner = Arc::clone(&self.0);
        let source = event.source.clone();
        match name {
            "status" => self.answer(event, move |db, key| answers::status(db, &inner, key).map(Some)).await,
            "stop" => self.stop(event).await,
            "sethome" => {
                // Before it is noted: what is not done is not known, and may come again.
                let Some(settings) = self.0.access.get(source.platform.as_str()) else {
                    let text = "This platform has no home channel.".to_owned();
                    return self.answer(event, move |_, _| Ok(Some(text))).await;
                };
                let (home, chat, variable) =
                    (self.0.home.clone(), source.clone(), settings.home_variable.clone());
                let set = blocking::run(move || home_channel::set(&home, &variable, &chat)).await;
                let text = match set {
                    Ok(Ok(())) => answers::home_is_set(&source),
                    Ok(Err(error)) => format!("The home channel stays as it is: {error}"),
                    Err(lost) => format!("The home channel stays as it is: {lost}"),
                };
                self.answer(event, move |_, _| Ok(Some(text))).await
            }
            _ => {
                let tier = self.tier(event, facts);
                let text = match name {
                    "help" => answers::help(tier),
                    "commands" => {
                        let (skills, platform) = (self.0.skills.clone(), source.platform.clone());
                        let names =
                            blocking::run(move || skills.commands(&platform)).await.unwrap_or_default();
                        answers::commands(tier, &names)
                    }
                    "whoami" => answers::whoami(&source, tier),
                    _ => answers::model(&inner.model, &inner.profile, rest),
                };
                self.answer(event, move |_, _| Ok(Some(text))).await
            }
        }
    }

    /// Stops the turn that runs, wherever it does: by an item that interrupts it and says nothing itself.
    async fn stop(&self, event: &Inbound) -> Result<Accepted, StoreError> {
        let key = self.0.inbox.key(&event.source);
        let runs = self.0.inbox.store().aside(move |db| answers::runs(db, &key)).await?;
        if !runs {
            return self
                .answer(event, |_, _| Ok(Some("Nothing runs here that could be stopped.".to_owned())))
                .await;
        }
        let item = Inbound { text: "/stop".to_owned(), busy: Busy::Interrupt, ..event.clone() };
        let accepted = self.0.inbox.accept(item).await?;
        if accepted == Accepted::New {
            self.letter(event, "⏹ Stopped. What was done so far stays part of the conversation.").await?;
        }
        Ok(accepted)
    }

    /// Notes a message as done, with what is said of it.
    async fn answer(
        &self,
        event: &Inbound,
        job: impl FnOnce(&Connection, &str) -> rusqlite::Result<Option<String>> + Send + 'static,
    ) -> Result<Accepted, StoreError> {
        let of = event.clone();
        let accepted = self
            .0
            .inbox
            .carry_out(event, move |db, key| {
                let Some(text) = job(db, key)? else { return Ok(()) };
                if ledger::is_kept(&of.delivery) {
                    let (platform, chat) =
                        (&of.source.platform, of.source.chat_id.as_deref().unwrap_or_default());
                    ledger::add(db, "", platform, chat, &of.delivery, &text, epoch())?;
                }
                Ok(())
            })
            .await?;
        self.0.deliveries.ring();
        Ok(accepted)
    }

    /// Says something beside what becomes of a message.
    async fn letter(&self, event: &Inbound, text: &'static str) -> Result<(), StoreError> {
        if !ledger::is_kept(&event.delivery) {
            return Ok(());
        }
        let of = event.clone();
        let job = move |db: &Connection| {
            let (platform, chat) = (&of.source.platform, of.source.chat_id.as_deref().unwrap_or_default());
            ledger::add(db, "", platform, chat, &of.delivery, text, epoch())
        };
        self.0.inbox.store().write(job).await?;
        self.0.deliveries.ring();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
