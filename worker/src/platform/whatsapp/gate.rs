//! Which messages are for the bot. Pure.
//!
//! In self-chat only what the account's owner writes to himself is, and never the bot's own answers. A bot hears everybody in private; in
//! groups, in this order: the policy; groups where everything is for it, or all without `require_mention`; a command; an answer to it; a
//! mention; one of the patterns. Who may talk to the bot is another question, and asked behind this one.

use hermes_wire::session_key::canonical_whatsapp;
use regex::{RegexSet, RegexSetBuilder};

use super::ids;
use super::settings::{Groups, Mode, Settings};
use super::wire::Item;
use crate::platform::sent::Echoes;

/// Largest set of patterns, compiled.
const PATTERNS: usize = 8 << 20;

/// Why a message is not for the bot; for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passed {
    /// The bot wrote it.
    Own,
    /// It is nobody's chat with himself.
    Others,
    /// The owner wrote it to somebody else.
    Owner,
    /// The group is not listened to.
    Group,
    /// Nobody spoke to the bot.
    Unmentioned,
    /// Everybody's news.
    Broadcast,
}

/// The gate of one bot.
pub(super) struct Gate<'s> {
    settings: &'s Settings,
    patterns: RegexSet,
    sent: &'s Echoes<String>,
}

impl<'s> Gate<'s> {
    pub(super) fn new(settings: &'s Settings, sent: &'s Echoes<String>) -> Self {
        let patterns = RegexSetBuilder::new(&settings.mention_patterns)
            .case_insensitive(true)
            .size_limit(PATTERNS)
            .build();
        // Each was compiled when the settings were read; all together they may be too many.
        let patterns = patterns.unwrap_or_else(|error| {
            tracing::warn!(%error, "[whatsapp] the mention patterns are too many, and none counts");
            RegexSet::empty()
        });
        Self { settings, patterns, sent }
    }

    /// Lets a message through, or says why not.
    pub(super) fn judge(&self, item: &Item) -> Result<(), Passed> {
        if item.chat.ends_with("@broadcast") || item.chat.ends_with("@newsletter") {
            return Err(Passed::Broadcast);
        }
        if self.sent.is_known(&item.id) || self.is_echo(item) {
            return Err(Passed::Own);
        }
        if self.settings.mode == Mode::SelfChat {
            return if Self::is_to_oneself(item) { Ok(()) } else { Err(Passed::Others) };
        }
        if (item.from_owner || item.from_me) && !self.settings.forward_owner {
            return Err(Passed::Owner);
        }
        if item.in_group { self.group(item) } else { Ok(()) }
    }

    /// What begins as every answer does. Only where the owner and the bot write as one.
    fn is_echo(&self, item: &Item) -> bool {
        let first = self.settings.prefix.lines().find(|line| !line.trim().is_empty()).map(str::trim);
        self.settings.mode == Mode::SelfChat
            && first.is_some_and(|first| item.text.trim_start().starts_with(first))
    }

    /// An older bridge that says nothing of the bot's own ids has judged that itself.
    fn is_to_oneself(item: &Item) -> bool {
        let is_own = |id: &str| item.own.iter().any(|own| ids::same(own, id));
        let chat_is_own = is_own(&item.chat) || item.chat_alt.as_deref().is_some_and(is_own);
        !item.in_group && !item.from_owner && (item.own.is_empty() || chat_is_own)
    }

    fn group(&self, item: &Item) -> Result<(), Passed> {
        let settings = self.settings;
        match &settings.groups {
            Groups::None => return Err(Passed::Group),
            Groups::Listed(all) if !all.holds(&item.chat) && !all.holds(&canonical_group(&item.chat)) => {
                return Err(Passed::Group);
            }
            Groups::Listed(_) | Groups::All => {}
        }
        let is_free = !settings.require_mention
            || settings.free_chats.holds(&item.chat)
            || settings.free_chats.holds(&canonical_group(&item.chat));
        let is_command = item.text.trim_start().starts_with('/');
        if is_free || is_command || Self::is_addressed(item) || self.patterns.is_match(&item.text) {
            Ok(())
        } else {
            Err(Passed::Unmentioned)
        }
    }

    /// Whether it mentions the bot or answers it. In private every message is for it.
    pub(super) fn is_addressed(item: &Item) -> bool {
        let is_own = |id: &String| item.own.iter().any(|own| ids::same(own, id));
        !item.in_group
            || item.quoted_sender.as_ref().is_some_and(is_own)
            || item.mentioned.iter().any(is_own)
            || item.own.iter().any(|own| mentions(&item.text, &canonical_whatsapp(own)))
    }
}

/// A group's id without its server.
fn canonical_group(id: &str) -> String {
    id.strip_suffix("@g.us").unwrap_or(id).to_owned()
}

/// Where `@id` stands in a text as a word of its own.
fn mention_at(text: &str, id: &str) -> Option<usize> {
    let name = format!("@{id}");
    let is_end = |c: Option<char>| !c.is_some_and(char::is_alphanumeric);
    let mut found = text.match_indices(&name);
    found.find(|(at, _)| is_end(text[at + name.len()..].chars().next())).map(|(at, _)| at)
}

fn mentions(text: &str, id: &str) -> bool {
    !id.is_empty() && mention_at(text, id).is_some()
}

/// What a message says to the bot: without the bot's own number, which is no part of what is said.
pub(super) fn words(item: &Item) -> String {
    let mut text = item.text.clone();
    for own in item.own.iter().map(|own| canonical_whatsapp(own)).filter(|own| !own.is_empty()) {
        while let Some(at) = mention_at(&text, &own) {
            let rest = text[at + 1 + own.len()..].trim_start_matches([',', ':', ' ']).to_owned();
            text.truncate(at);
            text.push_str(&rest);
        }
    }
    let words = text.trim();
    if words.is_empty() { item.text.trim().to_owned() } else { words.to_owned() }
}
