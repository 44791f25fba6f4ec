//! What `platforms.telegram` and the `TELEGRAM_…` variables may hold: what is declared of it, how it is read, and what becomes of it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hermes_config::platform::{self, BASE, Declaration, Fault, Section, Spot, claim, field, part, switch};
use hermes_config::row::Kind::{Any, Bool, Choice, Int, List, Number, Section as Mapping, Text};
use hermes_config::row::{Group, Key, kept, key};
use hermes_config::{Secret, is_private, unsupported};
use reqwest::Url;
use serde_json::Value;

use crate::platform::settings::{self, Faults, Quotes, at, say_idle};

/// The platform's name.
pub(super) const NAME: &str = "telegram";
/// Where the Bot API is.
const PUBLIC: &str = "https://api.telegram.org";
/// Time for one poll, in seconds.
const POLL: u64 = 25;

/// Where the service calls, and everything below it.
pub(super) const PATHS: &[&str] = &["/telegram", "/telegram/"];
/// The key that 0.19.0 had for the port of a webhook.
const WEBHOOK_PORT: &str = "platforms.telegram.webhook_port";

/// What it declares.
pub(super) static DECLARATION: Declaration = Declaration {
    name: NAME,
    prefix: "TELEGRAM",
    credentials: &[&[field("TELEGRAM_BOT_TOKEN", "token")]],
    claims: &[claim("telegram-bot-token", &[part("TELEGRAM_BOT_TOKEN", "token")])],
    adapter: true,
    exclusive: true,
    called: PATHS,
    target: true,
    keys: Some(&KEYS),
    kept: IDLE,
    read: Some(read),
    ..BASE
};

/// Its rows.
static KEYS: Group = Group {
    title: "Telegram",
    intro: "The token of the bot in `.env` is enough to turn it on. Every key may also stand below `extra`, which wins; lists may be \
            written with commas in a variable.",
    outro: "",
    keys: &[
        key("platforms.telegram", Mapping, "a bot, polled or called by Telegram"),
        key("platforms.telegram.token", Text, "the bot's token, of @BotFather; better in `.env`")
            .env("TELEGRAM_BOT_TOKEN")
            .secret(),
        key(
            "platforms.telegram.base_url",
            Text,
            "another Bot API server; `http:` for this machine's own addresses only",
        )
        .env("TELEGRAM_API_BASE_URL"),
        key("platforms.telegram.base_file_url", Text, "where that server has files, if not below `base_url`"),
        key(
            "platforms.telegram.local_mode",
            Bool,
            "whether that server runs with `--local` on this machine: its files are read from its disk, up to 2 GB each",
        )
        .no(),
        key("platforms.telegram.proxy", Text, "proxy for Telegram alone, before that of all requests")
            .env("TELEGRAM_PROXY")
            .secret(),
        key(
            "platforms.telegram.poll_seconds",
            Int(1, 50),
            "time for one poll; of a webhook, between two looks at it",
        )
        .int(25),
        key(
            "platforms.telegram.webhook_url",
            Text,
            "the address, as Telegram sees it, that it brings updates to instead of being polled: it leads to the gateway's listener for \
             webhooks, to `/p/<profile>/telegram` there (the default profile: `/telegram`), which is put behind an address without a path",
        )
        .env("TELEGRAM_WEBHOOK_URL"),
        key(
            "platforms.telegram.webhook_secret",
            Text,
            "what Telegram says with each update, so that nobody else can; needed with `webhook_url`",
        )
        .env("TELEGRAM_WEBHOOK_SECRET")
        .secret(),
        key(
            "platforms.telegram.require_mention",
            Bool,
            "in groups, answer only who mentions the bot, answers it or uses one of `mention_patterns`",
        )
        .no()
        .env("TELEGRAM_REQUIRE_MENTION"),
        key(
            "platforms.telegram.mention_patterns",
            List,
            "regular expressions that count as a mention, in any letter case",
        )
        .env("TELEGRAM_MENTION_PATTERNS"),
        key(
            "platforms.telegram.exclusive_bot_mentions",
            Bool,
            "in groups, leave messages alone that mention other bots and not this one",
        )
        .yes()
        .env("TELEGRAM_EXCLUSIVE_BOT_MENTIONS"),
        key("platforms.telegram.free_response_chats", List, "groups where no mention is needed")
            .env("TELEGRAM_FREE_RESPONSE_CHATS"),
        key(
            "platforms.telegram.free_response_topics",
            List,
            "topics where no mention is needed, as `chat:topic` or `topic`",
        )
        .env("TELEGRAM_FREE_RESPONSE_TOPICS"),
        key("platforms.telegram.allowed_chats", List, "the only groups that are listened to; all without it")
            .env("TELEGRAM_ALLOWED_CHATS"),
        key(
            "platforms.telegram.allowed_topics",
            List,
            "the only topics that are listened to, as `chat:topic` or `topic`; all without it",
        )
        .env("TELEGRAM_ALLOWED_TOPICS"),
        key(
            "platforms.telegram.ignored_threads",
            List,
            "topics that are not listened to, as `chat:topic` or `topic`",
        )
        .env("TELEGRAM_IGNORED_THREADS"),
        key(
            "platforms.telegram.guest_mode",
            Bool,
            "whether a mention is heard in groups that `allowed_chats` does not list",
        )
        .no()
        .env("TELEGRAM_GUEST_MODE"),
        key(
            "platforms.telegram.observe_unmentioned_group_messages",
            Bool,
            "with `require_mention`: what is said to others in a group is context for whoever speaks to the bot there next",
        )
        .no()
        .env("TELEGRAM_OBSERVE_UNMENTIONED_GROUP_MESSAGES"),
        key(
            "platforms.telegram.reply_to_mode",
            Choice(&["off", "first", "all"]),
            "which parts of an answer quote what they answer",
        )
        .text("first")
        .env("TELEGRAM_REPLY_TO_MODE"),
        key("platforms.telegram.typing_indicator", Bool, "show that an answer is being made").yes(),
        key(
            "platforms.telegram.reactions",
            Bool,
            "show how an answer is coming along by a sign at its question: 👀, then 👍 or 👎",
        )
        .no()
        .env("TELEGRAM_REACTIONS"),
        key("platforms.telegram.disable_link_previews", Bool, "show no previews of links in answers").no(),
        key(
            "platforms.telegram.dm_topics",
            Any,
            "topics of private chats that the bot makes: a list of `{chat_id: …, topics: [{name: …, icon_color: …, icon_custom_emoji_id: …}]}`; one \
             with a `thread_id` is there already",
        ),
        key(
            "platforms.telegram.fallback_ips",
            List,
            "other addresses of Telegram, tried where its own do not answer; without them they are found then. Never with `base_url`",
        )
        .env("TELEGRAM_FALLBACK_IPS"),
        key(
            "platforms.telegram.text_batch_delay_seconds",
            Number,
            "how long the next part of a long text is waited for, from 0.08 to 2",
        )
        .env("HERMES_TELEGRAM_TEXT_BATCH_DELAY_SECONDS"),
    ],
};

/// Keys of 0.19.0 that are known here and not acted on; what is set is said.
static IDLE: &[Key] = &[
    kept("platforms.telegram.rich_messages", Any),
    kept("platforms.telegram.group_topics", Any),
    kept("platforms.telegram.status_indicator", Any),
    kept("platforms.telegram.ignore_root_dm", Bool),
    kept("platforms.telegram.typing_cooldown_seconds", Number),
    kept("platforms.telegram.command_menu", Any),
    // Said where it stands, with what holds instead.
    kept(WEBHOOK_PORT, Any),
];

/// A variable of 0.19.0 that turns other addresses off.
const NO_FALLBACK: &str = "HERMES_TELEGRAM_DISABLE_FALLBACK_IPS";
/// Most topics that are made, longest name of one, in characters, and most other addresses.
const TOPICS: usize = 200;
const TOPIC: usize = 128;
const ADDRESSES: usize = 16;

/// Where Telegram brings updates to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hook {
    /// As Telegram sees it. Its path is the owner's own, and may be a secret of his.
    pub(super) url: Url,
    /// What Telegram says with each.
    pub(super) secret: Secret,
}

/// A topic of a private chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Topic {
    pub(super) chat: i64,
    pub(super) name: String,
    pub(super) color: Option<u32>,
    pub(super) emoji: Option<String>,
    /// Its number, where it is there already.
    pub(super) thread: Option<i64>,
}

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in the file")]
pub(super) struct Settings {
    pub(super) token: Secret,
    /// What a method's address begins with, up to the token.
    pub(super) base: Url,
    /// Likewise that of a file.
    pub(super) files: Url,
    /// The server puts files on this machine's disk.
    pub(super) is_local: bool,
    /// Proxy for this platform alone.
    pub(super) proxy: Option<Secret>,
    pub(super) poll: Duration,
    /// None: it is polled.
    pub(super) hook: Option<Hook>,
    pub(super) require_mention: bool,
    /// Regular expressions that compile.
    pub(super) mention_patterns: Vec<String>,
    pub(super) exclusive_bot_mentions: bool,
    pub(super) free_response_chats: BTreeSet<String>,
    pub(super) free_response_topics: BTreeSet<String>,
    pub(super) allowed_chats: BTreeSet<String>,
    pub(super) allowed_topics: BTreeSet<String>,
    pub(super) ignored_threads: BTreeSet<String>,
    pub(super) guest_mode: bool,
    /// What is said to others is kept as context.
    pub(super) observes: bool,
    pub(super) quotes: Quotes,
    pub(super) typing: bool,
    pub(super) previews: bool,
    pub(super) reactions: bool,
    /// Topics that are to be there.
    pub(super) topics: Vec<Topic>,
    /// Other addresses of Telegram; none at all: only its own are tried. Empty: they are found where they are needed.
    pub(super) fallback: Option<Vec<IpAddr>>,
    /// Longest ordinary wait for the next part of a text.
    pub(super) batch: Option<Duration>,
    /// Why it cannot run.
    pub(super) fault: Option<Fault>,
}

impl platform::Settings for Settings {
    fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    fn secrets(&self) -> Vec<&Secret> {
        let hook = self.hook.as_ref().map(|hook| &hook.secret);
        std::iter::once(&self.token).chain(&self.proxy).chain(hook).collect()
    }
}

/// Reads them.
pub(super) fn read(section: &mut dyn Section) -> Arc<dyn platform::Settings> {
    let token = section.secret("token", "TELEGRAM_BOT_TOKEN");
    let mut faults = Faults::of(section);
    if token.as_ref().is_none_or(Secret::is_empty) {
        let what = "telegram has no token of a bot";
        faults.say(
            "telegram_config_missing",
            Spot::Key("token"),
            what,
            "Set TELEGRAM_BOT_TOKEN in .env to the token that @BotFather gave.",
        );
    } else if token.as_ref().is_some_and(|token| !is_one_segment(token.expose())) {
        faults.say(
            "telegram_invalid_auth",
            Spot::Variable("TELEGRAM_BOT_TOKEN"),
            "the token of the telegram bot is none: @BotFather gives ones like `123456789:AAF…`",
            "Copy the token from @BotFather again.",
        );
    }
    let base = address(&mut faults, "base_url", "TELEGRAM_API_BASE_URL").map(|url| ending(&url, "/bot"));
    let base = base.unwrap_or_else(|| public("/bot"));
    let files = address(&mut faults, "base_file_url", "").map(|url| ending(&url, "/bot")).or_else(|| {
        let below = base.as_str().strip_suffix("/bot").map(|above| format!("{above}/file/bot"));
        below.and_then(|text| Url::parse(&text).ok())
    });
    let files = files.unwrap_or_else(|| public("/file/bot"));
    let hook = hook(&mut faults);
    let fault = faults.first;
    say_idle(section, NAME, IDLE.iter().filter(|key| key.path != WEBHOOK_PORT), &[]);
    let free_chats = free_chats(section);
    let set = |list: Vec<String>| list.into_iter().collect::<BTreeSet<_>>();
    Arc::new(Settings {
        token: token.unwrap_or_else(|| Secret::new("")),
        base,
        files,
        is_local: switch(section, "local_mode", "", false),
        proxy: section.secret("proxy", "TELEGRAM_PROXY"),
        poll: Duration::from_secs(section.number("poll_seconds", "", 1..=50).unwrap_or(POLL)),
        hook,
        require_mention: switch(section, "require_mention", "TELEGRAM_REQUIRE_MENTION", false),
        mention_patterns: settings::mentions(section, "TELEGRAM_MENTION_PATTERNS", NAME),
        exclusive_bot_mentions: switch(
            section,
            "exclusive_bot_mentions",
            "TELEGRAM_EXCLUSIVE_BOT_MENTIONS",
            true,
        ),
        free_response_chats: set(section.list(free_chats, "TELEGRAM_FREE_RESPONSE_CHATS")),
        free_response_topics: set(section.list("free_response_topics", "TELEGRAM_FREE_RESPONSE_TOPICS")),
        allowed_chats: set(section.list("allowed_chats", "TELEGRAM_ALLOWED_CHATS")),
        allowed_topics: set(section.list("allowed_topics", "TELEGRAM_ALLOWED_TOPICS")),
        ignored_threads: set(section.list("ignored_threads", "TELEGRAM_IGNORED_THREADS")),
        guest_mode: switch(section, "guest_mode", "TELEGRAM_GUEST_MODE", false),
        observes: switch(
            section,
            "observe_unmentioned_group_messages",
            "TELEGRAM_OBSERVE_UNMENTIONED_GROUP_MESSAGES",
            false,
        ),
        quotes: Quotes::read(section, "TELEGRAM_REPLY_TO_MODE"),
        typing: switch(section, "typing_indicator", "", true),
        reactions: switch(section, "reactions", "TELEGRAM_REACTIONS", false),
        previews: !switch(section, "disable_link_previews", "", false),
        topics: topics(section),
        fallback: fallback(section),
        batch: settings::batch(section, "HERMES_TELEGRAM_TEXT_BATCH_DELAY_SECONDS", 0.08..=2.0),
        fault,
    })
}

/// The key of 0.19.0 for all platforms, where it is what is set.
fn free_chats(section: &dyn Section) -> &'static str {
    if section.is_set("free_response_chats") { "free_response_chats" } else { "free_response_channels" }
}

/// An address that a token may go to.
fn address(faults: &mut Faults<'_>, key: &'static str, variable: &'static str) -> Option<Url> {
    let text = faults.section.text(key, variable)?;
    let url = settings::address(&text);
    if url.is_none() {
        let what = format!(
            "{key} of telegram is no address of a Bot API server: `https:`, or `http:` on this machine's own addresses"
        );
        let fix = "Write an address such as https://api.telegram.org.";
        faults.say_of("telegram_base_url", (key, variable), &what, fix);
    }
    url
}

/// Where updates are brought to, if they are.
fn hook(faults: &mut Faults<'_>) -> Option<Hook> {
    const URL: &str = "TELEGRAM_WEBHOOK_URL";
    const SECRET: &str = "TELEGRAM_WEBHOOK_SECRET";
    const PORT: &str = "TELEGRAM_WEBHOOK_PORT";
    let text = faults.section.text("webhook_url", URL)?;
    let secret = faults.section.secret("webhook_secret", SECRET);
    let url = Url::parse(&text).ok().filter(|url| {
        is_private(url) && url.has_host() && url.fragment().is_none() && url.username().is_empty()
    });
    let at_url = at(faults.section, "webhook_url", URL);
    if url.is_none() {
        let what = "the webhook of telegram is no address that Telegram could call: `https:`, or `http:` on this machine's own addresses";
        faults.say(
            "telegram_webhook_url",
            at_url,
            what,
            "Write an address such as https://hooks.example.org.",
        );
    }
    if !secret.as_ref().is_some_and(|secret| is_secret_token(secret.expose())) {
        let what = "the webhook of telegram has no secret of 1 to 256 letters, digits, `_` and `-`: anybody could speak for Telegram";
        let at = if secret.is_some() { at(faults.section, "webhook_secret", SECRET) } else { at_url };
        faults.say(
            "telegram_webhook_secret",
            at,
            what,
            "Set TELEGRAM_WEBHOOK_SECRET in .env to one that nobody guesses, such as `openssl rand -hex 32` gives.",
        );
    }
    if faults.section.has_variable(PORT) || faults.section.is_set("webhook_port") {
        let message = "the port of telegram's webhook is not used: Telegram's requests come in by the gateway's listener for \
                       webhooks, whose port is platforms.webhook.port"
            .to_owned();
        let at = at(faults.section, "webhook_port", PORT);
        faults.section.warn(
            "telegram_webhook_port",
            at,
            message,
            "Let what stands before the gateway lead there, and remove it.",
        );
    }
    let (mut url, secret) = url.zip(secret).filter(|_| faults.first.is_none())?;
    let Some(listener) = faults.section.listener() else {
        let message =
            "the gateway does not listen for webhooks, so telegram is polled instead of being called"
                .to_owned();
        let fix = "Turn on platforms.webhook in the default profile's config.yaml, or remove the webhook of telegram.";
        faults.section.warn("telegram_webhook_listener", at_url, message, fix);
        return None;
    };
    if url.path() == "/" {
        let path = PATHS[0];
        let prefix = if listener.shared { format!("/p/{}", faults.section.profile()) } else { String::new() };
        url.set_path(&format!("{prefix}{path}"));
    }
    Some(Hook { url, secret })
}

/// As the Bot API wants one.
fn is_secret_token(text: &str) -> bool {
    (1..=256).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// Whether a text is one segment of an address as it is written.
fn is_one_segment(token: &str) -> bool {
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'-' | b'_' | b'.' | b'~');
    token.bytes().all(is_plain) && !matches!(token, "." | "..")
}

/// The same address, with this ending if it has another one. 0.19.0's addresses have it.
fn ending(url: &Url, end: &str) -> Url {
    let text = url.as_str().trim_end_matches('/');
    let text = if text.ends_with(end) { text.to_owned() } else { format!("{text}{end}") };
    Url::parse(&text).unwrap_or_else(|_| url.clone())
}

fn public(end: &str) -> Url {
    Url::parse(PUBLIC).and_then(|url| url.join(end)).expect("it is an address")
}

/// The topics that can be made; what is none is said.
fn topics(section: &mut dyn Section) -> Vec<Topic> {
    const KEY: &str = "dm_topics";
    let given = section.json(KEY);
    let chats: &[Value] = given.as_array().map(Vec::as_slice).unwrap_or_default();
    let (mut all, mut odd) = (Vec::new(), usize::from(!given.is_null() && !given.is_array()));
    for chat in chats {
        let topics = chat["topics"].as_array().map(Vec::as_slice).unwrap_or_default();
        odd += usize::from(topics.is_empty());
        for given in topics {
            match topic(&chat["chat_id"], given) {
                Some(topic) if all.len() < TOPICS => all.push(topic),
                _ => odd += 1,
            }
        }
    }
    if odd > 0 {
        let message = format!("{odd} topics of telegram are none, and are not made");
        let fix = "Write a list of {chat_id: 777000111, topics: [{name: Work}]}.";
        section.warn("wrong_type", Spot::Key(KEY), message, fix);
    }
    if chats.iter().any(|chat| {
        chat["topics"].as_array().is_some_and(|all| all.iter().any(|one| !one["skill"].is_null()))
    }) {
        let message = format!("{}the skill of a topic in telegram's dm_topics", unsupported::PREFIX);
        let fix = "Bind it by channel_skill_bindings, with the topic's number.";
        section.warn(unsupported::CODE, Spot::Key(KEY), message, fix);
    }
    all
}

fn topic(chat: &Value, given: &Value) -> Option<Topic> {
    let whole = |value: &Value| value.as_i64().or_else(|| value.as_str()?.trim().parse().ok());
    let name = given["name"].as_str()?.trim();
    let is_name = !name.is_empty() && name.chars().count() <= TOPIC && !name.contains(char::is_control);
    is_name.then_some(())?;
    Some(Topic {
        chat: whole(chat)?,
        name: name.to_owned(),
        color: given["icon_color"].as_u64().and_then(|color| u32::try_from(color).ok()),
        emoji: given["icon_custom_emoji_id"].as_str().map(str::to_owned),
        thread: whole(&given["thread_id"]),
    })
}

/// Other addresses; none where there is another server, or they are turned off.
fn fallback(section: &mut dyn Section) -> Option<Vec<IpAddr>> {
    const KEY: &str = "fallback_ips";
    const VARIABLE: &str = "TELEGRAM_FALLBACK_IPS";
    let has_other_server = section.is_set("base_url") || section.has_variable("TELEGRAM_API_BASE_URL");
    if has_other_server || switch(section, "", NO_FALLBACK, false) {
        return None;
    }
    let given = section.list(KEY, VARIABLE);
    let good: Vec<IpAddr> = given.iter().filter_map(|text| text.parse().ok()).take(ADDRESSES).collect();
    if good.len() < given.len() {
        let at = at(section, KEY, VARIABLE);
        let message = format!("{} other addresses of telegram are none", given.len() - good.len());
        section.warn("wrong_type", at, message, "Write addresses such as 149.154.167.220.");
    }
    Some(good)
}
