//! What `platforms.discord` and the `DISCORD_…` variables may hold: what is declared of it, how it is read, and what becomes of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hermes_config::Secret;
use hermes_config::access::Listed;
use hermes_config::platform::{self, BASE, Declaration, Fault, Section, Spot, claim, field, part, switch};
use hermes_config::row::Kind::{Any, Bool, Choice, Int, List, Number, Section as Mapping, Text};
use hermes_config::row::{Group, Key, kept, key};
use reqwest::Url;

use crate::outgoing::websocket;
use crate::platform::settings::{self, Faults, Quotes, at, say_idle, word};

/// The platform's name.
pub(super) const NAME: &str = "discord";
/// Where Discord's REST is.
const PUBLIC: &str = "https://discord.com/api/v10/";
/// The version of it that is spoken.
const VERSION: &str = "v10";
/// How long the next part of a text is waited for.
const BATCH: Duration = Duration::from_millis(600);
/// Messages that were said before and are looked at, where nothing is set; and most of them.
const BEFORE: u64 = 50;
const MOST_BEFORE: u64 = 100;
/// Longest file that is taken, where nothing is set, in bytes.
const LARGEST: u64 = 32 * 1024 * 1024;

/// What it declares.
pub(super) static DECLARATION: Declaration = Declaration {
    name: NAME,
    prefix: "DISCORD",
    credentials: &[&[field("DISCORD_BOT_TOKEN", "token")]],
    claims: &[claim("discord-bot-token", &[part("DISCORD_BOT_TOKEN", "token")])],
    adapter: true,
    exclusive: true,
    target: true,
    keys: Some(&KEYS),
    kept: IDLE,
    read: Some(read),
    ..BASE
};

/// Its rows.
static KEYS: Group = Group {
    title: "Discord",
    intro: "The token of the bot in `.env` is enough to turn it on; its application needs the Message Content Intent. Every key may also \
            stand below `extra`, which wins; lists may be written with commas in a variable.",
    outro: "",
    keys: &[
        key("platforms.discord", Mapping, "a bot that is connected through the gateway of Discord"),
        key("platforms.discord.token", Text, "the bot's token, of the developer portal; better in `.env`")
            .env("DISCORD_BOT_TOKEN")
            .secret(),
        key(
            "platforms.discord.api_base_url",
            Text,
            "another REST server; `http:` for this machine's own addresses only",
        )
        .env("DISCORD_API_BASE_URL"),
        key(
            "platforms.discord.gateway_url",
            Text,
            "another gateway server, instead of the one that REST names; `ws:` for this machine's own addresses only",
        )
        .env("DISCORD_GATEWAY_URL"),
        key("platforms.discord.proxy", Text, "proxy for Discord alone, before that of all requests")
            .env("DISCORD_PROXY")
            .secret(),
        key("platforms.discord.allowed_roles", List, "ids of roles whose members may talk to the bot in their server")
            .env("DISCORD_ALLOWED_ROLES"),
        key(
            "platforms.discord.dm_role_auth_guild",
            Text,
            "id of the server whose `allowed_roles` count in private chats too; none without it",
        ),
        key(
            "platforms.discord.allowed_channels",
            List,
            "the only channels that are listened to, with their threads; all without it. Where no people and no roles are listed, everybody \
             there may talk to the bot",
        )
        .env("DISCORD_ALLOWED_CHANNELS"),
        key("platforms.discord.ignored_channels", List, "channels that are not listened to, nor their threads")
            .env("DISCORD_IGNORED_CHANNELS"),
        key("platforms.discord.free_response_channels", List, "channels where no mention is needed")
            .env("DISCORD_FREE_RESPONSE_CHANNELS"),
        key("platforms.discord.no_thread_channels", List, "channels where no thread is begun for an answer")
            .env("DISCORD_NO_THREAD_CHANNELS"),
        key("platforms.discord.require_mention", Bool, "in servers, answer only who mentions the bot or answers it")
            .yes()
            .env("DISCORD_REQUIRE_MENTION"),
        key(
            "platforms.discord.thread_require_mention",
            Bool,
            "the same in threads that the bot takes part in, where no mention is needed otherwise",
        )
        .no()
        .env("DISCORD_THREAD_REQUIRE_MENTION"),
        key(
            "platforms.discord.ignore_no_mention",
            Bool,
            "in servers, leave messages alone that mention others and not this bot",
        )
        .yes()
        .env("DISCORD_IGNORE_NO_MENTION"),
        key(
            "platforms.discord.bots_require_inline_mention",
            Bool,
            "of other bots, take only messages that name this one in their text",
        )
        .no()
        .env("DISCORD_BOTS_REQUIRE_INLINE_MENTION"),
        key("platforms.discord.auto_thread", Bool, "begin a thread for the answer to a message in a channel")
            .yes()
            .env("DISCORD_AUTO_THREAD"),
        key(
            "platforms.discord.history_backfill",
            Bool,
            "where a mention is needed, tell the model what was said in the channel since the bot spoke there last",
        )
        .yes()
        .env("DISCORD_HISTORY_BACKFILL"),
        key(
            "platforms.discord.history_backfill_limit",
            Int(0, 1_000_000),
            "most messages that are looked at for that; more than 100 count as 100",
        )
        .int(50)
        .env("DISCORD_HISTORY_BACKFILL_LIMIT"),
        key("platforms.discord.reactions", Bool, "show at a message how its answer is")
            .yes()
            .env("DISCORD_REACTIONS"),
        key(
            "platforms.discord.reply_to_mode",
            Choice(&["off", "first", "all"]),
            "which parts of an answer quote what they answer",
        )
        .text("first")
        .env("DISCORD_REPLY_TO_MODE"),
        key("platforms.discord.allow_mention_everyone", Bool, "let answers call everybody").no().env("DISCORD_ALLOW_MENTION_EVERYONE"),
        key("platforms.discord.allow_mention_roles", Bool, "let answers call roles").no().env("DISCORD_ALLOW_MENTION_ROLES"),
        key("platforms.discord.allow_mention_users", Bool, "let answers call people").yes().env("DISCORD_ALLOW_MENTION_USERS"),
        key("platforms.discord.allow_mention_replied_user", Bool, "call whoever is answered")
            .yes()
            .env("DISCORD_ALLOW_MENTION_REPLIED_USER"),
        key(
            "platforms.discord.max_attachment_bytes",
            Int(1, 1 << 40),
            "longest file that is taken with a message, in bytes",
        )
        .int(33_554_432)
        .env("DISCORD_MAX_ATTACHMENT_BYTES"),
        key("platforms.discord.hide_slash_commands", Bool, "show the bot's commands to administrators only")
            .no()
            .env("DISCORD_HIDE_SLASH_COMMANDS"),
        key(
            "platforms.discord.command_sync_policy",
            Choice(&["safe", "bulk", "off"]),
            "how the bot's commands get into Discord's menu: `safe` leaves other programs' alone, `bulk` puts these in place of all",
        )
        .text("safe")
        .env("DISCORD_COMMAND_SYNC_POLICY"),
        key("platforms.discord.typing_indicator", Bool, "show that an answer is being made").yes(),
        key(
            "platforms.discord.text_batch_delay_seconds",
            Number,
            "how long the next part of a text is waited for, from 0 to 2",
        )
        .env("HERMES_DISCORD_TEXT_BATCH_DELAY_SECONDS"),
    ],
};

/// Keys of 0.19.0 that are known here and not acted on; what is set is said.
static IDLE: &[Key] = &[
    kept("platforms.discord.missed_message_backfill", Any),
    kept("platforms.discord.allow_any_attachment", Bool),
];

/// Variables of the same.
const IDLE_VARIABLES: [&str; 1] = ["DISCORD_MISSED_MESSAGE_BACKFILL"];

/// How commands get into Discord's menu.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sync {
    Safe,
    Bulk,
    Off,
}

/// Whom an answer may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in the file")]
pub(super) struct Calls {
    pub(super) everyone: bool,
    pub(super) roles: bool,
    pub(super) users: bool,
    pub(super) replied: bool,
}

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in the file")]
pub(super) struct Settings {
    pub(super) token: Secret,
    /// What the address of a request begins with.
    pub(super) base: Url,
    /// The gateway, where REST is not to be asked for it.
    pub(super) gateway: Option<Url>,
    /// Proxy for this platform alone.
    pub(super) proxy: Option<Secret>,
    pub(super) allowed_roles: BTreeSet<String>,
    pub(super) dm_role_guild: Option<String>,
    pub(super) allowed_channels: Listed,
    pub(super) ignored_channels: Listed,
    pub(super) free_channels: Listed,
    pub(super) no_thread_channels: Listed,
    pub(super) require_mention: bool,
    pub(super) thread_require_mention: bool,
    pub(super) ignore_no_mention: bool,
    pub(super) bots_require_inline: bool,
    pub(super) auto_thread: bool,
    /// Most messages that were said before and are looked at; 0: none.
    pub(super) history: u64,
    pub(super) reactions: bool,
    pub(super) quotes: Quotes,
    pub(super) calls: Calls,
    pub(super) largest: u64,
    pub(super) hide_commands: bool,
    pub(super) sync: Sync,
    pub(super) typing: bool,
    /// How long the next part of a text is waited for.
    pub(super) batch: Duration,
    /// Why it cannot run.
    pub(super) fault: Option<Fault>,
}

impl platform::Settings for Settings {
    fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    fn secrets(&self) -> Vec<&Secret> {
        std::iter::once(&self.token).chain(&self.proxy).collect()
    }
}

/// Reads them.
pub(super) fn read(section: &mut dyn Section) -> Arc<dyn platform::Settings> {
    let token = section.secret("token", "DISCORD_BOT_TOKEN");
    let mut faults = Faults::of(section);
    // The library of 0.19.0 takes it with the word in front, too.
    let token = token.map(|token| Secret::new(token.expose().trim_start_matches("Bot ").trim()));
    if token.as_ref().is_none_or(Secret::is_empty) {
        faults.say(
            "discord_config_missing",
            Spot::Key("token"),
            "discord has no token of a bot",
            "Set DISCORD_BOT_TOKEN in .env to the token from the page Bot of https://discord.com/developers/applications.",
        );
    } else if token.as_ref().is_some_and(|token| !token.expose().bytes().all(|b| b.is_ascii_graphic())) {
        faults.say(
            "discord_invalid_auth",
            Spot::Variable("DISCORD_BOT_TOKEN"),
            "the token of the discord bot is none",
            "Copy the token from https://discord.com/developers/applications, page Bot, again.",
        );
    }
    let base =
        address(&mut faults, "api_base_url", "DISCORD_API_BASE_URL", "REST").map(|url| versioned(&url));
    let base = base.unwrap_or_else(|| Url::parse(PUBLIC).expect("it is an address"));
    let gateway = address(&mut faults, "gateway_url", "DISCORD_GATEWAY_URL", "gateway");
    let fault = faults.first;
    // That any file is taken is what holds anyway.
    let idle = IDLE.iter().filter(|key| !key.path.ends_with(".allow_any_attachment"));
    say_idle(section, NAME, idle, &IDLE_VARIABLES);
    let channels = |section: &mut dyn Section, key, variable| -> Listed {
        section.list(key, variable).into_iter().collect()
    };
    Arc::new(Settings {
        token: token.unwrap_or_else(|| Secret::new("")),
        base,
        gateway,
        proxy: section.secret("proxy", "DISCORD_PROXY"),
        allowed_roles: section.list("allowed_roles", "DISCORD_ALLOWED_ROLES").into_iter().collect(),
        dm_role_guild: section.text("dm_role_auth_guild", ""),
        allowed_channels: channels(section, "allowed_channels", "DISCORD_ALLOWED_CHANNELS"),
        ignored_channels: channels(section, "ignored_channels", "DISCORD_IGNORED_CHANNELS"),
        free_channels: channels(section, "free_response_channels", "DISCORD_FREE_RESPONSE_CHANNELS"),
        no_thread_channels: channels(section, "no_thread_channels", "DISCORD_NO_THREAD_CHANNELS"),
        require_mention: switch(section, "require_mention", "DISCORD_REQUIRE_MENTION", true),
        thread_require_mention: switch(
            section,
            "thread_require_mention",
            "DISCORD_THREAD_REQUIRE_MENTION",
            false,
        ),
        ignore_no_mention: switch(section, "ignore_no_mention", "DISCORD_IGNORE_NO_MENTION", true),
        bots_require_inline: switch(
            section,
            "bots_require_inline_mention",
            "DISCORD_BOTS_REQUIRE_INLINE_MENTION",
            false,
        ),
        auto_thread: switch(section, "auto_thread", "DISCORD_AUTO_THREAD", true),
        history: history(section),
        reactions: switch(section, "reactions", "DISCORD_REACTIONS", true),
        quotes: Quotes::read(section, "DISCORD_REPLY_TO_MODE"),
        calls: Calls {
            everyone: switch(section, "allow_mention_everyone", "DISCORD_ALLOW_MENTION_EVERYONE", false),
            roles: switch(section, "allow_mention_roles", "DISCORD_ALLOW_MENTION_ROLES", false),
            users: switch(section, "allow_mention_users", "DISCORD_ALLOW_MENTION_USERS", true),
            replied: switch(
                section,
                "allow_mention_replied_user",
                "DISCORD_ALLOW_MENTION_REPLIED_USER",
                true,
            ),
        },
        largest: section
            .number("max_attachment_bytes", "DISCORD_MAX_ATTACHMENT_BYTES", 1..=1 << 40)
            .unwrap_or(LARGEST),
        hide_commands: switch(section, "hide_slash_commands", "DISCORD_HIDE_SLASH_COMMANDS", false),
        sync: sync(section),
        typing: switch(section, "typing_indicator", "", true),
        batch: settings::batch(section, "HERMES_DISCORD_TEXT_BATCH_DELAY_SECONDS", 0.0..=2.0)
            .unwrap_or(BATCH),
        fault,
    })
}

/// An address that a token may go to: of REST, or of the gateway.
fn address(faults: &mut Faults<'_>, key: &'static str, variable: &'static str, what: &str) -> Option<Url> {
    let text = faults.section.text(key, variable)?;
    let is_rest = what == "REST";
    let socket = |text: &str| {
        let is_right = |url: &Url| url.has_host() && url.fragment().is_none() && is_private_socket(url);
        Url::parse(text).ok().filter(is_right)
    };
    let url = if is_rest { settings::address(&text) } else { socket(&text) };
    if url.is_none() {
        let (secure, plain) = if is_rest { ("https:", "http:") } else { ("wss:", "ws:") };
        let message = format!(
            "{key} of discord is no address of a {what} server: `{secure}`, or `{plain}` on this machine's own addresses"
        );
        let code = if is_rest { "discord_base_url" } else { "discord_gateway_url" };
        let fix = "Write another address, or none: Discord's own is used then.";
        faults.say_of(code, (key, variable), &message, fix);
    }
    url
}

/// Whether a token may go to a gateway there.
pub(super) fn is_private_socket(url: &Url) -> bool {
    matches!(url.scheme(), "ws" | "wss") && websocket::dialled(url).is_some()
}

/// The same address with the version that is spoken, and a slash behind it.
fn versioned(url: &Url) -> Url {
    let text = url.as_str().trim_end_matches('/');
    let last = url.path().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let is_version =
        last.strip_prefix('v').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    let text = match last {
        _ if is_version => format!("{text}/"),
        "api" => format!("{text}/{VERSION}/"),
        _ => format!("{text}/api/{VERSION}/"),
    };
    Url::parse(&text).unwrap_or_else(|_| url.clone())
}

fn sync(section: &mut dyn Section) -> Sync {
    match word(
        section,
        "command_sync_policy",
        "DISCORD_COMMAND_SYNC_POLICY",
        &["safe", "bulk", "off"],
        "safe",
    ) {
        Some("off") => Sync::Off,
        Some("bulk") => Sync::Bulk,
        _ => Sync::Safe,
    }
}

/// How many messages are looked at that were said before. A home of 0.19.0 may say more than Discord gives at once.
fn history(section: &mut dyn Section) -> u64 {
    const VARIABLE: &str = "DISCORD_HISTORY_BACKFILL_LIMIT";
    let is_on = switch(section, "history_backfill", "DISCORD_HISTORY_BACKFILL", true);
    let limit = match section.text("history_backfill_limit", VARIABLE).map(|text| text.parse::<u64>()) {
        None => BEFORE,
        Some(Ok(limit)) => limit.min(MOST_BEFORE),
        Some(Err(_)) => {
            let at = at(section, "history_backfill_limit", VARIABLE);
            let message = format!("history_backfill_limit of discord is no number; {BEFORE} holds");
            section.warn("wrong_type", at, message, "Write a number from 0 to 100.");
            BEFORE
        }
    };
    if is_on { limit } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_their_version_and_sockets_their_requests() {
        for (given, expected) in [
            ("http://127.0.0.1:9", "http://127.0.0.1:9/api/v10/"),
            ("http://127.0.0.1:9/", "http://127.0.0.1:9/api/v10/"),
            ("https://discord.com/api", "https://discord.com/api/v10/"),
            ("https://discord.com/api/v9/", "https://discord.com/api/v9/"),
            ("https://proxy.example/discord", "https://proxy.example/discord/api/v10/"),
        ] {
            assert_eq!(versioned(&Url::parse(given).unwrap()).as_str(), expected);
        }
        let private = |text: &str| is_private_socket(&Url::parse(text).unwrap());
        assert!(
            private("wss://gateway.discord.gg") && private("ws://127.0.0.1:9/x") && private("ws://[::1]:9")
        );
        assert!(!private("ws://10.0.0.1") && !private("https://discord.com") && !private("ws://discord.gg"));
    }
}
