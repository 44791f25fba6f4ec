//! Who may talk to the bots of a profile, read from its files. `.env` beats `config.yaml`, for every key.
//!
//! It is read for every platform whose messages come through a bot, on or not: a profile may answer what another one's bot received.

use super::Blocks;
use crate::access::{AccessSettings, AllAccess, Bots, Listed, Policy, Stranger, Tiers};
use crate::platform::Declaration;
use crate::reader::{At, Reader};
use crate::scalar::split_commas;
use hermes_wire::latest::Severity;

/// Platforms whose `<P>_GROUP_ALLOWED_USERS` names groups.
const GROUPS_BY_CHAT: [&str; 2] = ["signal", "whatsapp"];

const POLICIES: [(&str, Policy); 4] = [
    ("open", Policy::Open),
    ("allowlist", Policy::Allowlist),
    ("disabled", Policy::Disabled),
    ("pairing", Policy::Pairing),
];

const BOTS: [(&str, Bots); 6] = [
    ("none", Bots::None),
    ("mentions", Bots::Mentions),
    ("all", Bots::All),
    // What a flag means.
    ("false", Bots::None),
    ("off", Bots::None),
    ("true", Bots::All),
];

/// What a stranger hears, before it is known what a refusal says.
#[derive(Clone, Copy)]
enum Heard {
    Code,
    Nothing,
    Refusal,
}

const HEARD: [(&str, Heard); 3] =
    [("pair", Heard::Code), ("ignore", Heard::Nothing), ("decline", Heard::Refusal)];

/// What a refusal says where nothing is set.
const REFUSAL: &str = "Sorry, I only talk to people that my owner has let in.";

/// Those of every platform with a bot.
pub(crate) fn read(reader: &mut Reader<'_>, root: &At) -> AllAccess {
    let global = Global::read(reader, root);
    let all =
        reader.registry.all().filter(|platform| platform.listener.is_none() && !platform.prefix.is_empty());
    let mut access = AllAccess::new();
    for platform in all {
        let mark = reader.problems.mark();
        access.insert(platform.name, one(reader, root, platform, &global));
        if !platform.adapter {
            // Nobody comes in by it: what is wrong there lets nobody in, and stops nothing.
            reader.problems.soften_since(mark);
        }
    }
    access
}

/// What holds for all platforms.
struct Global {
    users: Vec<String>,
    everybody: bool,
    stranger: Option<Stranger>,
    refusal: String,
}

impl Global {
    fn read(reader: &mut Reader<'_>, root: &At) -> Self {
        let either = |key: &str| root.key(key).or(root.key("gateway").key(key)).or(root.legacy().key(key));
        let users = match reader.env("GATEWAY_ALLOWED_USERS").map(split_commas) {
            Some(users) => users,
            None => reader.list(&root.key("gateway.allowed_users")),
        };
        let everybody = match reader.env("GATEWAY_ALLOW_ALL_USERS") {
            Some(_) => reader.env_flag("GATEWAY_ALLOW_ALL_USERS"),
            None => reader.flag(&root.key("gateway.allow_all_users")),
        };
        let refusal = reader.text(&either("unauthorized_dm_decline_message"));
        let refusal = refusal.unwrap_or_else(|| REFUSAL.to_owned());
        let heard = reader.choice(&either("unauthorized_dm_behavior"), &HEARD);
        let stranger = heard.map(|heard| stranger(heard, &refusal));
        Self { users, everybody: everybody.unwrap_or(false), stranger, refusal }
    }
}

fn stranger(heard: Heard, refusal: &str) -> Stranger {
    match heard {
        Heard::Code => Stranger::Pair,
        Heard::Nothing => Stranger::Ignore,
        Heard::Refusal => Stranger::Decline(refusal.to_owned()),
    }
}

fn one(reader: &mut Reader<'_>, root: &At, own: &'static Declaration, global: &Global) -> AccessSettings {
    let blocks = Blocks::new(root, own.name);
    if blocks.blocks.is_empty() && !has_variables(reader, own.prefix) {
        // Most platforms of most profiles.
        return AccessSettings {
            users: global.users.iter().cloned().collect(),
            everybody_anywhere: global.everybody,
            stranger: default_stranger(own, global),
            home_variable: super::home_variable(own),
            ..AccessSettings::default()
        };
    }
    let mut section = One { reader, blocks: &blocks, prefix: own.prefix };
    let mut users = section.list("allow_from", "ALLOWED_USERS");
    users.extend(global.users.iter().cloned());
    let mut group_users = section.list("group_allow_from", "GROUP_ALLOWED_USERS");
    let mut group_chats = section.list("group_allowed_chats", "GROUP_ALLOWED_CHATS");
    if GROUPS_BY_CHAT.contains(&own.name) {
        group_chats.append(&mut group_users);
    }
    let (chats, people): (Vec<_>, Vec<_>) = group_users.into_iter().partition(|id| id.starts_with('-'));
    if !chats.is_empty() {
        section.warn_of_chats();
    }
    group_chats.extend(chats);
    let heard = section.choice("unauthorized_dm_behavior", &HEARD);
    let own_stranger = heard.map(|heard| stranger(heard, &global.refusal));
    // One platform's strangers are offered a code, beside a list as well, and its groups are off, where nothing is said.
    let unsaid = (own.name == "whatsapp").then_some(Policy::Pairing);
    let dm_policy = section.choice("dm_policy", &POLICIES).or(unsaid);
    let group_policy = section.choice("group_policy", &POLICIES).or(unsaid);
    let everybody = section.flag("allow_all_users").unwrap_or(false);
    if !own.policy && !everybody && !global.everybody {
        // Of some platforms that is refused elsewhere.
        for (key, policy) in [("dm_policy", dm_policy), ("group_policy", group_policy)] {
            if policy == Some(Policy::Open) {
                section.warn_of_open(key);
            }
        }
    }
    AccessSettings {
        users: users.into_iter().collect(),
        group_users: people.into_iter().collect(),
        group_chats: group_chats.into_iter().collect(),
        everybody,
        everybody_anywhere: global.everybody,
        bots: section.choice("allow_bots", &BOTS).unwrap_or_default(),
        dm_policy,
        group_policy,
        stranger: own_stranger.or_else(|| default_stranger(own, global)),
        tiers: section.tiers("allow_admin_from", "user_allowed_commands"),
        group_tiers: section.tiers("group_allow_admin_from", "group_user_allowed_commands"),
        home_variable: super::home_variable(own),
    }
}

/// What holds where a platform says nothing of strangers. `pair` for all is what holds anyway: only a platform's own word offers a code
/// beside a list.
fn default_stranger(own: &Declaration, global: &Global) -> Option<Stranger> {
    // Whoever writes to a mailbox is no guest of a chat.
    let of_mail = (own.name == "email").then_some(Stranger::Ignore);
    of_mail.or_else(|| global.stranger.clone().filter(|stranger| *stranger != Stranger::Pair))
}

/// Whether any variable begins with a platform's prefix.
fn has_variables(reader: &Reader<'_>, prefix: &str) -> bool {
    let mut names = reader.dotenv.env.iter().map(|(name, _)| name);
    names.any(|name| name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('_')))
}

/// One platform's section and variables.
struct One<'o, 'r> {
    reader: &'o mut Reader<'r>,
    blocks: &'o Blocks,
    prefix: &'static str,
}

impl One<'_, '_> {
    fn variable(&self, key: &str) -> String {
        format!("{}_{}", self.prefix, key.to_ascii_uppercase())
    }

    fn list(&mut self, key: &str, variable: &str) -> Vec<String> {
        let said = self.reader.env(&self.variable(variable)).map(split_commas);
        said.unwrap_or_else(|| self.reader.list(&self.blocks.get(key)))
    }

    fn flag(&mut self, key: &str) -> Option<bool> {
        let variable = self.variable(key);
        match self.reader.env(&variable) {
            Some(_) => self.reader.env_flag(&variable),
            None => self.reader.flag(&self.blocks.get(key)),
        }
    }

    fn choice<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let variable = self.variable(key);
        let Some(said) = self.reader.env(&variable) else {
            return self.reader.choice(&self.blocks.get(key), words);
        };
        let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(said)).map(|(_, value)| *value);
        if found.is_none() {
            let all = words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ");
            let place = self.reader.env_place(&variable);
            let (message, fix) =
                (format!("`{variable}` must be one of {all}"), format!("Write one of {all}."));
            self.reader.problems.add(Severity::Profile, "wrong_type", place, message, Some(fix));
        }
        found
    }

    fn tiers(&mut self, admins: &str, commands: &str) -> Tiers {
        let plain = |name: String| name.trim_start_matches('/').to_lowercase().replace('_', "-");
        let commands: Listed = self.list(commands, commands).into_iter().map(plain).collect();
        Tiers { admins: self.list(admins, admins).into_iter().collect(), commands }
    }

    /// An open door that nobody opened.
    fn warn_of_open(&mut self, key: &str) {
        let (variable, at) = (self.variable(key), self.blocks.get(key));
        let is_variable = self.reader.env(&variable).is_some();
        let place = if is_variable { self.reader.env_place(&variable) } else { self.reader.place(&at) };
        let name = if is_variable { variable.as_str() } else { at.path.as_str() };
        let message = format!("`{name}` is `open`, which lets nobody in by itself");
        let fix =
            format!("Set {} to true as well, or choose another policy.", self.variable("ALLOW_ALL_USERS"));
        self.reader.warn("open_policy", place, message, &fix);
    }

    /// The older meaning of one variable.
    fn warn_of_chats(&mut self) {
        let variable = self.variable("GROUP_ALLOWED_USERS");
        let at = self.blocks.get("group_allow_from");
        let is_variable = self.reader.env(&variable).is_some();
        let place = if is_variable { self.reader.env_place(&variable) } else { self.reader.place(&at) };
        let name = if is_variable { variable.as_str() } else { at.path.as_str() };
        let message =
            format!("`{name}` lists chats (ids that begin with `-`); they are read as allowed groups");
        let fix = format!("Move them to {}.", self.variable("GROUP_ALLOWED_CHATS"));
        self.reader.warn("group_chats", place, message, &fix);
    }
}

#[cfg(test)]
mod tests {
    //! What the two files say of who may, together.

    use super::*;
    use crate::{Input, load};
    use hermes_wire::latest::Role;
    use hermes_wire::{ProfileName, RootHome};

    fn telegram(yaml: &str, env: &str) -> (AccessSettings, Vec<String>) {
        let profile = ProfileName::default_profile();
        let loaded = load(Input {
            registry: &crate::REGISTRY,
            profile: &profile,
            role: Role::Primary,
            multiplex: None,
            listeners: &[],
            home: &RootHome::new("/r").profile(&profile),
            yaml: Some(format!("agent: {{engine: echo}}\n{yaml}").as_bytes()),
            env: Some(env.as_bytes()),
        });
        let problems = loaded.problems.iter().map(|problem| problem.code.clone()).collect();
        (loaded.config.unwrap().access["telegram"].clone(), problems)
    }

    fn list(ids: &[&str]) -> Listed {
        ids.iter().copied().collect()
    }

    #[test]
    fn variables_beat_keys_and_lists_of_all_platforms_are_added() {
        let yaml = "telegram: {allow_from: [1, 2], dm_policy: allowlist, allow_admin_from: 1, user_allowed_commands: [/Status, set_home]}\n";
        let (access, problems) = telegram(yaml, "GATEWAY_ALLOWED_USERS=9\n");
        assert_eq!((access.users, access.dm_policy), (list(&["1", "2", "9"]), Some(Policy::Allowlist)));
        assert_eq!(
            (access.tiers.admins, access.tiers.commands),
            (list(&["1"]), list(&["status", "set-home"]))
        );
        assert_eq!(
            (access.home_variable.as_str(), problems),
            ("TELEGRAM_HOME_CHANNEL", Vec::<String>::new())
        );
        let (access, _) = telegram(
            yaml,
            "TELEGRAM_ALLOWED_USERS=7, 8\nTELEGRAM_DM_POLICY=Disabled\nTELEGRAM_ALLOW_BOTS=mentions\n",
        );
        assert_eq!(
            (access.users, access.dm_policy, access.bots),
            (list(&["7", "8"]), Some(Policy::Disabled), Bots::Mentions)
        );
        let (access, _) = telegram("", "TELEGRAM_ALLOW_ALL_USERS=yes\nGATEWAY_ALLOW_ALL_USERS=1\n");
        assert!(access.everybody && access.everybody_anywhere && !access.has_lists());
        assert_eq!(telegram("", "").0.users, Listed::default());
    }

    #[test]
    fn groups_that_stand_among_people_are_groups_and_that_is_said() {
        let (access, problems) =
            telegram("", "TELEGRAM_GROUP_ALLOWED_USERS=7,-100\nTELEGRAM_GROUP_ALLOWED_CHATS=-200\n");
        assert_eq!((access.group_users, access.group_chats), (list(&["7"]), list(&["-100", "-200"])));
        assert_eq!(problems, ["group_chats"]);
    }

    #[test]
    fn what_strangers_hear_is_the_platforms_word_or_the_word_for_all() {
        let heard = |yaml: &str| telegram(yaml, "").0.stranger;
        assert_eq!(heard(""), None);
        assert_eq!(heard("unauthorized_dm_behavior: pair\n"), None, "which is so anyway");
        assert_eq!(heard("unauthorized_dm_behavior: ignore\n"), Some(Stranger::Ignore));
        let own = "unauthorized_dm_behavior: ignore\ntelegram: {unauthorized_dm_behavior: pair}\n";
        assert_eq!(heard(own), Some(Stranger::Pair));
        let decline = "unauthorized_dm_behavior: decline\nunauthorized_dm_decline_message: No.\n";
        assert_eq!(heard(decline), Some(Stranger::Decline("No.".into())));
    }

    #[test]
    fn an_open_policy_alone_is_said_to_open_nothing() {
        assert_eq!(telegram("telegram: {dm_policy: open}\n", "").1, ["open_policy"]);
        assert_eq!(telegram("telegram: {dm_policy: open}\n", "TELEGRAM_ALLOW_ALL_USERS=true\n").1, [""; 0]);
    }
}
