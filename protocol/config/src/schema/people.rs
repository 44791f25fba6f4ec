//! Keys of who may talk to a profile's bots.

use super::Group;
use super::Kind::{Bool, Choice, List, Text};
use crate::row::{Value, key};

const POLICIES: &[&str] = &["open", "allowlist", "disabled", "pairing"];

pub(super) const PEOPLE: Group = Group {
    title: "Who may talk to a bot",
    intro: "See [chats](chats.md). Each key of a platform has a variable that beats it, of the platform's name and the key's: \
            `TELEGRAM_DM_POLICY`, `SLACK_ALLOW_ALL_USERS`. The variable of `allow_from` is `TELEGRAM_ALLOWED_USERS`, that of \
            `group_allow_from` `TELEGRAM_GROUP_ALLOWED_USERS`. Ids are compared exactly; `*` is everybody.",
    outro: "",
    keys: &[
        key("platforms.*.allow_from", List, "ids of who may, in private chats and groups"),
        key("platforms.*.group_allow_from", List, "ids of who may in groups too"),
        key("platforms.*.group_allowed_chats", List, "ids of groups in which everybody may"),
        key("platforms.*.allow_all_users", Bool, "everybody may"),
        key("platforms.*.allow_bots", Choice(&["mentions", "all", "none"]), "which messages of other bots are taken: those that mention this one, all, none"),
        key("platforms.*.dm_policy", Choice(POLICIES), "private chats: `disabled` is nobody, `allowlist` who is listed or was let in, `pairing` offers others a code; `open` is everybody, where an allow-all flag says so too"),
        key("platforms.*.group_policy", Choice(POLICIES), "the same for groups, where `pairing` is nobody"),
        key("platforms.*.unauthorized_dm_behavior", Choice(&["ignore", "pair", "decline"]), "what strangers hear in private: nothing, a code, or a refusal"),
        key("unauthorized_dm_behavior", Choice(&["ignore", "pair", "decline"]), "the same for all platforms; `pair` does not change that nobody is offered a code where somebody is listed")
            .or(Value::Text("pair"))
            .also(&["gateway.unauthorized_dm_behavior"]),
        key("unauthorized_dm_decline_message", Text, "what a refusal says").also(&["gateway.unauthorized_dm_decline_message"]),
        key("gateway.allowed_users", List, "ids of who may, on every platform").env("GATEWAY_ALLOWED_USERS"),
        key("platforms.*.allow_admin_from", List, "ids of who may give every command in private chats; without it everybody who may talk to the bot does"),
        key("platforms.*.user_allowed_commands", List, "commands that the others may give there; `help` and `whoami` they always may"),
        key("platforms.*.group_allow_admin_from", List, "the same for groups"),
        key("platforms.*.group_user_allowed_commands", List, "the same for groups"),
    ],
};
