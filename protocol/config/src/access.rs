//! Who may talk to a bot, as a profile's files say it: one [`AccessSettings`] a platform.
//!
//! Nothing is judged here. What an entry means (exact ids, `*` for everybody), and in which order the rules decide, belongs to the
//! worker's one judge; commands show and change what stands here.

use std::collections::{BTreeMap, BTreeSet};

/// Some ids, or all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listed {
    /// `*` is among them.
    pub all: bool,
    /// The ids, as they are written.
    pub ids: BTreeSet<String>,
}

impl Listed {
    /// Whether nobody is listed.
    pub fn is_empty(&self) -> bool {
        !self.all && self.ids.is_empty()
    }

    /// Whether this very id is.
    pub fn holds(&self, id: &str) -> bool {
        self.all || self.ids.contains(id)
    }

    /// Whether one of these is.
    pub fn holds_any<'i>(&self, ids: impl IntoIterator<Item = &'i str>) -> bool {
        self.all || ids.into_iter().any(|id| self.ids.contains(id))
    }
}

impl<S: Into<String>> FromIterator<S> for Listed {
    fn from_iter<I: IntoIterator<Item = S>>(all: I) -> Self {
        let mut ids: BTreeSet<String> = all.into_iter().map(Into::into).collect();
        Self { all: ids.remove("*"), ids }
    }
}

/// `dm_policy` and `group_policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Everybody, where that is opted into.
    Open,
    /// Who is listed, and nobody is offered a code.
    Allowlist,
    /// Nobody.
    Disabled,
    /// Who is listed, and others are offered a code; in groups, where codes are not offered: nobody.
    Pairing,
}

/// Which messages of other bots are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bots {
    /// None.
    #[default]
    None,
    /// Those that address this bot.
    Mentions,
    /// All.
    All,
}

/// What somebody hears who is not known and writes privately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stranger {
    /// A code, with which the owner can let them in.
    Pair,
    /// Nothing.
    Ignore,
    /// This.
    Decline(String),
}

/// Which commands who may give in one kind of chat.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tiers {
    /// `allow_admin_from`: who may give every command; nobody listed: everybody may.
    pub admins: Listed,
    /// `user_allowed_commands`: what the others may give, in lower case and without the slash; `*` is all.
    pub commands: Listed,
}

/// Who may talk to the bot of one platform.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccessSettings {
    /// `<P>_ALLOWED_USERS` or `allow_from`, and `GATEWAY_ALLOWED_USERS`.
    pub users: Listed,
    /// `<P>_GROUP_ALLOWED_USERS` or `group_allow_from`: who may in groups.
    pub group_users: Listed,
    /// `<P>_GROUP_ALLOWED_CHATS` or `group_allowed_chats`: groups in which everybody may.
    pub group_chats: Listed,
    /// `<P>_ALLOW_ALL_USERS` or `allow_all_users`.
    pub everybody: bool,
    /// `GATEWAY_ALLOW_ALL_USERS` or `gateway.allow_all_users`: means something only where nobody is listed.
    pub everybody_anywhere: bool,
    /// `<P>_ALLOW_BOTS` or `allow_bots`.
    pub bots: Bots,
    /// `<P>_DM_POLICY` or `dm_policy`.
    pub dm_policy: Option<Policy>,
    /// `<P>_GROUP_POLICY` or `group_policy`.
    pub group_policy: Option<Policy>,
    /// What strangers hear; none: what follows from the rest.
    pub stranger: Option<Stranger>,
    /// Commands in private chats.
    pub tiers: Tiers,
    /// Commands in groups.
    pub group_tiers: Tiers,
    /// The variable of the chat that is meant where only the platform is named.
    pub home_variable: String,
}

impl AccessSettings {
    /// Whether anybody is listed anywhere.
    pub fn has_lists(&self) -> bool {
        [&self.users, &self.group_users, &self.group_chats].iter().any(|list| !list.is_empty())
    }
}

/// Those of every platform whose messages come through a bot, by name.
pub type AllAccess = BTreeMap<&'static str, AccessSettings>;

#[cfg(test)]
mod tests {
    //! What a list holds.

    use super::*;

    #[test]
    fn a_list_holds_exact_ids_or_everybody() {
        let list: Listed = ["7", "@ann:example.org"].into_iter().collect();
        assert!(list.holds("7") && list.holds("@ann:example.org") && !list.is_empty());
        for other in ["77", "ann", "@ann", "", "*"] {
            assert!(!list.holds(other), "{other}");
        }
        let all: Listed = ["*", "7"].into_iter().collect();
        assert!(all.holds("8") && !all.is_empty() && all.ids.len() == 1);
        assert!(Listed::default().is_empty() && !Listed::default().holds(""));
    }
}
