//! Keys of who may talk to a profile's bots.

use super::Group;
use super::Kind::{Any, Bool, Choice, List, Text};
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

pub(super) const CHATS: Group = Group {
    title: "Chats",
    intro: "What is said of single ones stands by the id of a chat, or of a thread, which comes first.",
    outro: "",
    keys: &[
        key(
            "display.busy_ack_enabled",
            Bool,
            "say to whoever writes while a turn runs what becomes of the message, at most every 30 s",
        )
        .yes()
        .env("HERMES_GATEWAY_BUSY_ACK_ENABLED"),
        key("display.busy_ack_detail", Bool, "say how far the turn is, too").yes(),
        key("display.busy_steer_ack_enabled", Bool, "say so also where the message is put into the turn")
            .yes(),
        key("platforms.*.typing_indicator", Bool, "show that an answer is being made").yes(),
        key("platforms.*.channel_overrides.*.model", Text, "the model that answers there"),
        key("platforms.*.channel_overrides.*.provider", Text, "who serves it"),
        key(
            "platforms.*.channel_overrides.*.system_prompt",
            Text,
            "said to the model there behind the profile's own system prompt",
        ),
        key("platforms.*.channel_prompts.*", Text, "likewise; never stored"),
        key(
            "platforms.*.channel_skill_bindings",
            Any,
            "skills that a new conversation there begins with: `<id>: [names]`, or a list of `{id, skills}`",
        ),
    ],
};

pub(super) const MEDIA: Group = Group {
    title: "What comes with messages",
    intro: "",
    outro: "",
    keys: &[
        key(
            "agent.image_input_mode",
            Choice(&["text", "native", "auto"]),
            "`text`: the model is told where a picture is; else it is shown it, unless its provider refuses pictures",
        )
        .text("auto"),
        key("stt.enabled", Any, "`true`: what is said in voice notes is written down by the command of `stt.provider`; `false`: never"),
        key("stt.provider", Any, "a name of `stt.providers`"),
        key("stt.providers.*.command", Any, "a command of a shell: `{input_path}`, `{output_dir}`, `{output_path}`, `{language}` and `{model}` are put in; the text is a `.txt` there, or what it prints")
            .env("HERMES_LOCAL_STT_COMMAND"),
        key("stt.providers.*.language", Any, "the language of voice notes; else `en`").env("HERMES_LOCAL_STT_LANGUAGE"),
        key("stt.providers.*.model", Any, "for the command; else `base`"),
        key("stt.providers.*.timeout", Any, "seconds that the command may take; else 60"),
    ],
};
