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

mod acts;
mod answers;
mod at_terminal;
mod carry;
mod conversations;
mod home_channel;
mod model;
mod personality;
mod restart;
mod table;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hermes_config::access::AccessSettings;
use hermes_config::chats;
use hermes_config::{EngineKind, ProfileConfig};
use hermes_host::{blocking, zone};
use hermes_wire::ProfileHome;
use jiff::tz::TimeZone;
use rusqlite::{Connection, params};
use tokio::time::Instant;

use crate::access::{Facts, ids, is_group, is_nobodys};
use crate::delivery::{Deliveries, ledger};
use crate::inbound::{Accepted, Busy, Inbound, Source};
use crate::inbox::{Inbox, acks};
use crate::questions;
use crate::session::routing::Scopes;
use crate::session::{Shapes, chosen, epoch};
use crate::skills::Library;
use crate::store::StoreError;

pub(crate) use acts::{Acts, Board};
pub(crate) use at_terminal::NotTold;
use table::{Act, Called};
pub use table::{is_command, menu, offered};

/// Said of a word with a slash that is no command.
const UNKNOWN: &str = "Type /commands to see what's available, or resend without the leading slash to send as a regular message.";
/// Said of what can only be done where nothing runs.
const BUSY: &str = "An answer is being made here: wait for it, or send /stop first.";
/// Platforms on which people cannot type a slash, and write another sign.
const WITH_OTHER_SIGN: [&str; 4] = ["slack", "matrix", "mattermost", "irc"];
/// Shortest time between two words to one chat on what becomes of its messages, as in 0.19.0.
const AGAIN: Duration = Duration::from_secs(30);

/// Whether a text is a command, of this program or of a skill. `with_other_sign`: `!name` of a command is one too.
pub(crate) fn is_one(text: &str, with_other_sign: bool) -> bool {
    let has_slash = text.trim_start().starts_with('/');
    table::called(text, with_other_sign)
        .is_some_and(|called| has_slash || table::find(&called.name).is_some())
}

/// See the module. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Commands(Arc<Inner>);

struct Inner {
    config: Arc<ProfileConfig>,
    home: ProfileHome,
    scopes: Scopes,
    shapes: Shapes,
    zone: TimeZone,
    profile: String,
    /// The profile's own model, as people are told of it.
    model: String,
    inbox: Inbox,
    deliveries: Deliveries,
    skills: Library,
    acts: Acts,
    /// When whom was told last what becomes of a message.
    told: Mutex<HashMap<String, Instant>>,
}

impl Commands {
    /// The commands of the profile with these settings.
    pub(crate) fn new(
        config: &ProfileConfig,
        home: &ProfileHome,
        inbox: Inbox,
        deliveries: &Deliveries,
        skills: Library,
        acts: Acts,
    ) -> Self {
        let model = &config.model;
        let name = if model.default.is_empty() { "none" } else { &model.default };
        let provider =
            model.provider.as_deref().map_or_else(String::new, |provider| format!(" ({provider})"));
        let zone = if config.timezone.is_empty() { None } else { zone::named(&config.timezone) };
        Self(Arc::new(Inner {
            config: Arc::new(config.clone()),
            home: home.clone(),
            scopes: Scopes::of(&config.name, home.path()),
            shapes: Shapes::default(),
            zone: zone.unwrap_or_else(zone::system),
            profile: config.name.to_string(),
            model: format!("{name}{provider}"),
            inbox,
            deliveries: deliveries.clone(),
            skills,
            acts,
            told: Mutex::default(),
        }))
    }

    /// Takes a message that came in: carried out, or on disk.
    pub(crate) async fn accept(&self, mut event: Inbound, facts: &Facts) -> Result<Accepted, StoreError> {
        let inbox = &self.0.inbox;
        let with_other_sign = WITH_OTHER_SIGN.contains(&event.source.platform.as_str());
        if !is_group(&event.source) && table::says_restart(&event.text) {
            "/restart".clone_into(&mut event.text);
        }
        let Some(called) = table::called(&event.text, with_other_sign) else {
            return self.plain(event, Vec::new()).await;
        };
        let Called { name, rest } = called;
        let Some(command) = table::find(&name) else {
            // A word with another sign that is no command is a word.
            if !event.text.trim_start().starts_with('/') {
                return self.plain(event, Vec::new()).await;
            }
            return self.other(event, facts, &name).await;
        };
        if !self.may(&event, facts, command.name) {
            return self.refuse(&event, &name).await;
        }
        match command.act {
            Act::Idle if self.runs(&event).await? => self.say(&event, BUSY.to_owned()).await,
            Act::Idle => {
                event.text = format!("/{}", command.name);
                inbox.accept(event).await
            }
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
                self.say(&event, usage).await
            }
            Act::Message(busy) => {
                event.text = rest;
                event.busy = busy;
                self.message(event, Vec::new(), false).await
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
            return self.plain(event, Vec::new()).await;
        }
        if is_group(&event.source) && !facts.addressed {
            return self.plain(event, Vec::new()).await;
        }
        if table::is_absent(name) {
            return self.say(&event, answers::absent(name)).await;
        }
        self.say(&event, format!("Unknown command `/{name}`. {UNKNOWN}")).await
    }

    /// A message that is no command. `also`: the ids of others that it was made of.
    pub(crate) async fn plain(&self, mut event: Inbound, also: Vec<String>) -> Result<Accepted, StoreError> {
        self.begin_with_skills(&mut event).await?;
        let acks = self.0.config.busy_acks;
        let is_told = match event.busy {
            // Whoever ends a turn says so.
            Busy::Wait | Busy::Interrupt => false,
            // A house is told nothing of what its events wait for.
            Busy::Queue => acks.enabled && !is_nobodys(&event.source),
            Busy::Steer => acks.enabled && acks.steer,
        };
        if is_told {
            self.message(event, also, true).await
        } else {
            self.0.inbox.accept_joined(event, also).await
        }
    }

    /// The skills that a new conversation of a chat begins with, in front of its first message.
    async fn begin_with_skills(&self, event: &mut Inbound) -> Result<(), StoreError> {
        let inner = &self.0;
        let source = &event.source;
        let settings = inner.config.chats.get(source.platform.as_str());
        let bound = settings.and_then(|settings| {
            let own = chats::of(&settings.skills, source.chat_id.as_deref(), source.thread_id.as_deref());
            own.or_else(|| settings.skills.get(source.parent_chat_id.as_deref()?))
        });
        let Some(names) =
            bound.filter(|names| !names.is_empty() && !event.text.trim_start().starts_with('/'))
        else {
            return Ok(());
        };
        let (key, scopes) = (inner.inbox.key(source), inner.scopes.clone());
        if inner.inbox.store().aside(move |db| chosen::current(db, &scopes, &key)).await?.is_some() {
            return Ok(());
        }
        let (skills, names, platform) = (inner.skills.clone(), names.clone(), source.platform.clone());
        match blocking::run(move || skills.preloaded(&names, &platform)).await {
            Ok(Ok(text)) => event.text = format!("{text}\n\n{}", event.text),
            Ok(Err(missing)) => tracing::warn!(
                platform = source.platform,
                "skills that a chat is to begin with are not there, or turned off: {}",
                missing.join(", ")
            ),
            Err(lost) => tracing::warn!(error = %lost, "a conversation begins without its skills"),
        }
        Ok(())
    }

    /// A message that says what it does to the turn that runs; whoever wrote it hears what became of it where one does. `seldom`: not more
    /// often than every [`AGAIN`].
    async fn message(&self, event: Inbound, also: Vec<String>, seldom: bool) -> Result<Accepted, StoreError> {
        let (busy, asked, inner) = (event.busy, event.clone(), &self.0);
        let key = inner.inbox.key(&event.source);
        let (of, now) = (key.clone(), epoch());
        let look = move |db: &Connection| {
            // What answers a question is nothing that waits.
            if seldom && is_asked(db, &of, now)? { Ok(None) } else { acks::progress(db, &of, now) }
        };
        let runs = inner.inbox.store().aside(look).await?;
        let accepted = inner.inbox.accept_joined(event, also).await?;
        let Some(progress) = runs.filter(|_| accepted == Accepted::New) else { return Ok(accepted) };
        if seldom && !self.may_be_told(&key) {
            return Ok(accepted);
        }
        let detail = if inner.config.busy_acks.detail {
            acks::detail(&progress, inner.config.agent.max_turns)
        } else {
            String::new()
        };
        // An agent of somebody else's has no place between its tools: there it waits.
        let is_steered = inner.config.agent.engine == EngineKind::Native;
        let busy = if busy == Busy::Steer && !is_steered { Busy::Queue } else { busy };
        if let Some(text) = acks::text(busy, &detail) {
            self.letter(&asked, text).await?;
        }
        Ok(accepted)
    }

    /// Whether a chat may be told something now; then it is.
    fn may_be_told(&self, key: &str) -> bool {
        let now = Instant::now();
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now.duration_since(*at) < AGAIN);
        let may = !told.contains_key(key);
        if may {
            told.insert(key.to_owned(), now);
        }
        may
    }

    /// Whether a turn of the message's conversation runs.
    async fn runs(&self, event: &Inbound) -> Result<bool, StoreError> {
        let key = self.0.inbox.key(&event.source);
        self.0.inbox.store().aside(move |db| acks::runs(db, &key)).await
    }

    async fn refuse(&self, event: &Inbound, name: &str) -> Result<Accepted, StoreError> {
        self.say(event, format!("You may not use /{name} here. /whoami says what you may.")).await
    }

    /// Whether the sender may give a command in this chat.
    fn may(&self, event: &Inbound, facts: &Facts, name: &str) -> bool {
        table::is_always_allowed(name) || self.tier(event, facts).is_none_or(|commands| commands.holds(name))
    }

    /// The commands that the sender may give, beside those that everybody may; `None`: all.
    fn tier(&self, event: &Inbound, facts: &Facts) -> Option<&hermes_config::access::Listed> {
        let settings = self.0.config.access.get(event.source.platform.as_str())?;
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
        let (inner, source, rest) = (Arc::clone(&self.0), event.source.clone(), rest.to_owned());
        match name {
            "status" => self.answer(event, move |db, key| answers::status(db, &inner, key).map(Some)).await,
            "stop" => self.stop(event).await,
            "restart" => self.restart(event).await,
            "reload-mcp" => self.reload(event).await,
            "model" => self.model(event, &rest).await,
            "personality" => self.personality(event, &rest).await,
            "sethome" => self.set_home(event).await,
            "yolo" => self.yolo(event).await,
            "title" => {
                self.answer(event, move |db, key| conversations::title(db, &inner, key, &rest).map(Some))
                    .await
            }
            "sessions" => {
                self.answer(event, move |db, key| conversations::sessions(db, &inner, key).map(Some)).await
            }
            "usage" => {
                self.answer(event, move |db, key| conversations::usage(db, &inner, key).map(Some)).await
            }
            "resume" if !rest.trim().is_empty() && self.runs(event).await? => {
                self.say(event, BUSY.to_owned()).await
            }
            "resume" => {
                let job = move |db: &Connection, key: &str| {
                    conversations::resume(db, &inner, (key, &source), &rest).map(Some)
                };
                self.answer(event, job).await
            }
            "platform" => {
                let text = self.platform(&source.platform, &rest);
                self.say(event, text).await
            }
            _ => {
                let text = self.said_at_once(&source, self.tier(event, facts), name).await;
                self.say(event, text).await
            }
        }
    }

    /// What is said to a command that asks for nothing but words.
    async fn said_at_once(
        &self,
        source: &Source,
        tier: Option<&hermes_config::access::Listed>,
        name: &str,
    ) -> String {
        let inner = &self.0;
        let skills = async || {
            let (skills, platform) = (inner.skills.clone(), source.platform.clone());
            blocking::run(move || skills.commands(&platform)).await.unwrap_or_default()
        };
        match name {
            "help" => answers::help(tier),
            "commands" => answers::commands(tier, &skills().await),
            "reload-skills" => match skills().await.len() {
                1 => "1 skill is there. Changed ones are read again by themselves.".to_owned(),
                n => format!("{n} skills are there. Changed ones are read again by themselves."),
            },
            "version" => format!("hermes {}", env!("CARGO_PKG_VERSION")),
            "profile" => format!("Profile: {}", inner.profile),
            _ => answers::whoami(source, tier),
        }
    }

    /// What a platform's menu offers: commands, and then skills, as many as it takes.
    pub(crate) async fn menu(&self, platform: &str, most: usize) -> Vec<(String, String)> {
        let (skills, platform) = (self.0.skills.clone(), platform.to_owned());
        let skills = blocking::run(move || skills.menu(&platform)).await.unwrap_or_default();
        let own = menu().map(|(name, about)| (name.to_owned(), about.to_owned()));
        let skills = skills.into_iter().filter(|(name, _)| table::find(name).is_none());
        own.chain(skills).take(most).collect()
    }

    /// Notes a message as done, with this said of it.
    async fn say(&self, event: &Inbound, text: String) -> Result<Accepted, StoreError> {
        self.answer(event, move |_, _| Ok(Some(text))).await
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
    async fn letter(&self, event: &Inbound, text: String) -> Result<(), StoreError> {
        if !ledger::is_kept(&event.delivery) {
            return Ok(());
        }
        let of = event.clone();
        let job = move |db: &Connection| {
            let (platform, chat) = (&of.source.platform, of.source.chat_id.as_deref().unwrap_or_default());
            ledger::add(db, "", platform, chat, &of.delivery, &text, epoch())
        };
        self.0.inbox.store().write(job).await?;
        self.0.deliveries.ring();
        Ok(())
    }
}

/// Whether somebody is asked something in a conversation.
fn is_asked(db: &Connection, key: &str, now: f64) -> rusqlite::Result<bool> {
    db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM hermes_question WHERE scope IN (?1, ?2) AND until >= ?3)",
    )?
    .query_row(params![key, questions::of_choices(key), now], |row| row.get(0))
}

#[cfg(test)]
mod tests;
