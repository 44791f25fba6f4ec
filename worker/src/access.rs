//! Who may talk to this profile through a bot: the one judge.
//!
//! # Theory of operation
//!
//! [`Access::judge`] is pure: settings, who wrote, what the adapter has proven of him ([`Facts`]), and whether the owner let him in,
//! against a [`Verdict`]. The first rule that fits decides:
//!
//! 1. What a service sends by itself and authenticated otherwise (webhooks, Home Assistant) is taken.
//! 2. Private chats or groups are turned off by `dm_policy`, `group_policy`: nobody may.
//! 3. A bot may where `allow_bots` says so, and never otherwise.
//! 4. A group in which everybody may.
//! 5. Nobody is known without an id.
//! 6. `allow_all_users`; an `open` policy, where that is opted into.
//! 7. A role that the adapter has proven.
//! 8. Who was let in by code.
//! 9. Who is listed; where nobody is listed at all, `GATEWAY_ALLOW_ALL_USERS`.
//!
//! Who may not is not answered in a group. In private he hears what [`Stranger`] says: a code, a refusal or nothing.
//!
//! **Ids are compared exactly.** `alice@evil` is not `alice`, and no name that somebody can choose for himself counts. Where a platform
//! knows one person by several ids, the adapter names them all.

use hermes_config::access::{AccessSettings, Bots, Listed, Policy, Stranger};

use crate::inbound::Source;

/// Platforms whose events are no person's.
const BY_THEMSELVES: [&str; 3] = ["webhook", "api_server", "homeassistant"];

/// What an adapter knows of whoever wrote, beside the [`Source`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// It is a bot.
    pub is_bot: bool,
    /// The message is for this bot: it mentions it, or answers it. In private chats every message is.
    pub addressed: bool,
    /// The service has said that the sender has a role that may.
    pub role_authorized: bool,
    /// Other ids under which the service knows the very same person.
    pub aliases: Vec<String>,
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is taken.
    Allowed,
    /// Nobody hears anything.
    Silent,
    /// Its sender is offered a code.
    Pair,
    /// Its sender is told this.
    Decline(String),
}

/// The judge of one platform.
#[derive(Debug, Clone, Copy)]
pub struct Access<'a> {
    settings: &'a AccessSettings,
}

impl<'a> Access<'a> {
    /// The judge of the platform with these settings.
    pub fn new(settings: &'a AccessSettings) -> Self {
        Self { settings }
    }

    /// What becomes of a message. `is_paired`: the owner let its sender in; whether that matters is found out by asking twice.
    pub fn judge(self, source: &Source, facts: &Facts, is_paired: bool) -> Verdict {
        if self.is_allowed(source, facts, is_paired) { Verdict::Allowed } else { self.refusal(source, facts) }
    }

    fn is_allowed(self, source: &Source, facts: &Facts, is_paired: bool) -> bool {
        let settings = self.settings;
        if is_nobodys(source) {
            return true;
        }
        let in_group = is_group(source);
        let policy = if in_group { settings.group_policy } else { settings.dm_policy };
        let is_off = policy == Some(Policy::Disabled) || (in_group && policy == Some(Policy::Pairing));
        if is_off {
            return false;
        }
        if facts.is_bot {
            return match settings.bots {
                Bots::None => false,
                Bots::Mentions => facts.addressed || !in_group,
                Bots::All => true,
            };
        }
        // Signal's groups are listed by their ids, as its programs show them.
        let bare = |chat: &str| chat.strip_prefix("group:").is_some_and(|id| settings.group_chats.holds(id));
        let listed = |chat: &str| settings.group_chats.holds(chat) || bare(chat);
        if in_group && source.chat_id.as_deref().is_some_and(listed) {
            return true;
        }
        if ids(source, facts).next().is_none() {
            return false;
        }
        let opted_in = settings.everybody || settings.everybody_anywhere;
        if settings.everybody || (policy == Some(Policy::Open) && opted_in) {
            return true;
        }
        if facts.role_authorized || is_paired {
            return true;
        }
        if !settings.has_lists() {
            return settings.everybody_anywhere && policy != Some(Policy::Allowlist);
        }
        let among = |list: &Listed| ids(source, facts).any(|id| list.holds(id));
        among(&settings.users) || (in_group && among(&settings.group_users))
    }

    fn refusal(self, source: &Source, facts: &Facts) -> Verdict {
        let settings = self.settings;
        if is_group(source) || facts.is_bot || ids(source, facts).next().is_none() {
            return Verdict::Silent;
        }
        // Nobody is let in where nobody may.
        if settings.dm_policy == Some(Policy::Disabled) {
            return Verdict::Silent;
        }
        match (&settings.stranger, settings.dm_policy) {
            (Some(Stranger::Pair), _) | (None, Some(Policy::Pairing)) => Verdict::Pair,
            (Some(Stranger::Decline(text)), _) => Verdict::Decline(text.clone()),
            (Some(Stranger::Ignore), _) | (None, Some(Policy::Allowlist)) => Verdict::Silent,
            (None, _) if settings.has_lists() => Verdict::Silent,
            (None, _) => Verdict::Pair,
        }
    }
}

/// Whether no person wrote it, but a service by itself.
pub fn is_nobodys(source: &Source) -> bool {
    BY_THEMSELVES.contains(&source.platform.as_str()) || source.chat_type == "webhook"
}

/// Whether others read along.
pub fn is_group(source: &Source) -> bool {
    source.chat_type != "dm"
}

/// The ids of whoever wrote.
pub fn ids<'s>(source: &'s Source, facts: &'s Facts) -> impl Iterator<Item = &'s str> {
    let own = [&source.user_id, &source.user_id_alt].into_iter().filter_map(|id| id.as_deref());
    own.chain(facts.aliases.iter().map(String::as_str)).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests;
