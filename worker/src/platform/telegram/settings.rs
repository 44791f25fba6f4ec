//! What `platforms.telegram` and the `TELEGRAM_…` variables may hold: what is declared of it, how it is read, and what becomes of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hermes_config::platform::{self, BASE, Declaration, Fault, Section, Spot, claim, field, part, switch};
use hermes_config::row::Kind::{Any, Bool, Choice, Int, List, Number, Section as Mapping, Text};
use hermes_config::row::{Group, Key, kept, key};
use hermes_config::{Secret, is_private, unsupported};
use regex::RegexSetBuilder;
use reqwest::Url;

/// The platform's name.
pub(super) const NAME: &str = "telegram";
/// Where the Bot API is.
const PUBLIC: &str = "https://api.telegram.org";
/// Time for one poll, in seconds.
const POLL: u64 = 25;
/// Longest pattern of all, compiled.
const PATTERNS: usize = 1 << 20;

/// What it declares.
pub(super) static DECLARATION: Declaration = Declaration {
    name: NAME,
    prefix: "TELEGRAM",
    credentials: &[&[field("TELEGRAM_BOT_TOKEN", "token")]],
    claims: &[claim("telegram-bot-token", &[part("TELEGRAM_BOT_TOKEN", "token")])],
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
    title: "Telegram",
    intro: "The token of the bot in `.env` is enough to turn it on. Every key may also stand below `extra`, which wins; lists may be \
            written with commas in a variable.",
    outro: "",
    keys: &[
        key("platforms.telegram", Mapping, "a bot that is polled"),
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
        key("platforms.telegram.proxy", Text, "proxy for Telegram alone, before that of all requests")
            .env("TELEGRAM_PROXY")
            .secret(),
        key("platforms.telegram.poll_seconds", Int(1, 50), "time for one poll").int(25),
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
            "platforms.telegram.reply_to_mode",
            Choice(&["off", "first", "all"]),
            "which parts of an answer quote what they answer",
        )
        .text("first")
        .env("TELEGRAM_REPLY_TO_MODE"),
        key("platforms.telegram.typing_indicator", Bool, "show that an answer is being made").yes(),
        key("platforms.telegram.disable_link_previews", Bool, "show no previews of links in answers").no(),
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
    kept("platforms.telegram.local_mode", Bool),
    kept("platforms.telegram.rich_messages", Any),
    kept("platforms.telegram.dm_topics", Any),
    kept("platforms.telegram.group_topics", Any),
    kept("platforms.telegram.fallback_ips", List),
    kept("platforms.telegram.status_indicator", Any),
    kept("platforms.telegram.ignore_root_dm", Bool),
    kept("platforms.telegram.typing_cooldown_seconds", Number),
    kept("platforms.telegram.command_menu", Any),
    kept("platforms.telegram.reactions", Bool),
    kept("platforms.telegram.observe_unmentioned_group_messages", Bool),
    kept("platforms.telegram.webhook_url", Text),
    kept("platforms.telegram.webhook_port", Any),
    kept("platforms.telegram.webhook_secret", Text).secret(),
];

/// Variables of the same, with what they are about.
const IDLE_VARIABLES: [&str; 3] =
    ["TELEGRAM_REACTIONS", "TELEGRAM_OBSERVE_UNMENTIONED_GROUP_MESSAGES", "TELEGRAM_WEBHOOK_URL"];

/// Which parts of an answer quote what they answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quotes {
    None,
    First,
    All,
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
    /// Proxy for this platform alone.
    pub(super) proxy: Option<Secret>,
    pub(super) poll: Duration,
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
    pub(super) quotes: Quotes,
    pub(super) typing: bool,
    pub(super) previews: bool,
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
        std::iter::once(&self.token).chain(&self.proxy).collect()
    }
}

/// Reads them.
pub(super) fn read(section: &mut dyn Section) -> Arc<dyn platform::Settings> {
    let token = section.secret("token", "TELEGRAM_BOT_TOKEN");
    let mut faults = Faults { section, first: None };
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
    let base = faults.address("base_url", "TELEGRAM_API_BASE_URL").map(|url| ending(&url, "/bot"));
    let base = base.unwrap_or_else(|| public("/bot"));
    let files = faults.address("base_file_url", "").map(|url| ending(&url, "/bot")).or_else(|| {
        let below = base.as_str().strip_suffix("/bot").map(|above| format!("{above}/file/bot"));
        below.and_then(|text| Url::parse(&text).ok())
    });
    let files = files.unwrap_or_else(|| public("/file/bot"));
    let fault = faults.first;
    say_idle(section);
    let free_chats = free_chats(section);
    let set = |list: Vec<String>| list.into_iter().collect::<BTreeSet<_>>();
    Arc::new(Settings {
        token: token.unwrap_or_else(|| Secret::new("")),
        base,
        files,
        proxy: section.secret("proxy", "TELEGRAM_PROXY"),
        poll: Duration::from_secs(section.number("poll_seconds", "", 1..=50).unwrap_or(POLL)),
        require_mention: switch(section, "require_mention", "TELEGRAM_REQUIRE_MENTION", false),
        mention_patterns: patterns(section),
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
        quotes: quotes(section),
        typing: switch(section, "typing_indicator", "", true),
        previews: !switch(section, "disable_link_previews", "", false),
        batch: batch(section),
        fault,
    })
}

/// The key of 0.19.0 for all platforms, where it is what is set.
fn free_chats(section: &dyn Section) -> &'static str {
    if section.is_set("free_response_chats") { "free_response_chats" } else { "free_response_channels" }
}

/// What keeps it from running; all of it is said, the first is its state.
struct Faults<'s> {
    section: &'s mut dyn Section,
    first: Option<Fault>,
}

impl Faults<'_> {
    fn say(&mut self, code: &str, at: Spot, message: &str, fix: &str) {
        self.section.fault(code, at, message.to_owned(), fix);
        self.first.get_or_insert_with(|| Fault { code: code.to_owned(), message: message.to_owned() });
    }

    /// An address that a token may go to.
    fn address(&mut self, key: &'static str, variable: &'static str) -> Option<Url> {
        let text = self.section.text(key, variable)?;
        let is_there = |url: &Url| url.has_host() && url.query().is_none() && url.fragment().is_none();
        let url = Url::parse(&text).ok().filter(is_there);
        if url.as_ref().is_some_and(is_private) {
            return url;
        }
        let what = format!(
            "{key} of telegram is no address of a Bot API server: `https:`, or `http:` on this machine's own addresses"
        );
        let has_variable = !variable.is_empty() && self.section.has_variable(variable);
        let at = if has_variable { Spot::Variable(variable) } else { Spot::Key(key) };
        self.say("telegram_base_url", at, &what, "Write an address such as https://api.telegram.org.");
        None
    }
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

fn quotes(section: &mut dyn Section) -> Quotes {
    const VARIABLE: &str = "TELEGRAM_REPLY_TO_MODE";
    let said = if section.has_variable(VARIABLE) {
        section.text("reply_to_mode", VARIABLE).map(|text| text.to_ascii_lowercase())
    } else {
        section.choice("reply_to_mode", &["off", "first", "all"]).map(str::to_owned)
    };
    match said.as_deref() {
        Some("off" | "false" | "none") => Quotes::None,
        Some("all") => Quotes::All,
        None | Some("first") => Quotes::First,
        Some(_) => {
            let message = format!("`{VARIABLE}` is none of off, first, all; `first` holds");
            section.warn("wrong_type", Spot::Variable(VARIABLE), message, "Write one of them.");
            Quotes::First
        }
    }
}

/// The patterns that are regular expressions. In a variable: a JSON list, or one a line, or with commas.
fn patterns(section: &mut dyn Section) -> Vec<String> {
    const VARIABLE: &str = "TELEGRAM_MENTION_PATTERNS";
    let variable = section.has_variable(VARIABLE);
    let all = if variable {
        let text = section.text("mention_patterns", VARIABLE).unwrap_or_default();
        let json: Option<Vec<String>> = serde_json::from_str(&text).ok();
        json.unwrap_or_else(|| {
            let cut = if text.contains('\n') { '\n' } else { ',' };
            text.split(cut).map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
        })
    } else {
        section.list("mention_patterns", "")
    };
    let at = if variable { Spot::Variable(VARIABLE) } else { Spot::Key("mention_patterns") };
    let compiles = |pattern: &String| RegexSetBuilder::new([pattern]).size_limit(PATTERNS).build().is_ok();
    let (good, bad): (Vec<String>, Vec<String>) = all.into_iter().partition(compiles);
    if !bad.is_empty() {
        let message = format!("{} of telegram's mention patterns are no regular expressions", bad.len());
        section.warn("mention_pattern", at, message, "Write them as Rust's `regex` reads them.");
    }
    good
}

fn batch(section: &mut dyn Section) -> Option<Duration> {
    const VARIABLE: &str = "HERMES_TELEGRAM_TEXT_BATCH_DELAY_SECONDS";
    let text = section.text("text_batch_delay_seconds", VARIABLE)?;
    match text.parse::<f64>() {
        Ok(seconds) if (0.08..=2.0).contains(&seconds) => Some(Duration::from_secs_f64(seconds)),
        _ => {
            let variable = section.has_variable(VARIABLE);
            let at = if variable { Spot::Variable(VARIABLE) } else { Spot::Key("text_batch_delay_seconds") };
            let message = "the wait for the next part of a text is no number from 0.08 to 2".to_owned();
            section.warn("wrong_type", at, message, "Write a number of seconds from 0.08 to 2.");
            None
        }
    }
}

/// Says what is set and does nothing here.
fn say_idle(section: &mut dyn Section) {
    for key in IDLE {
        let name = key.path.rsplit('.').next().unwrap_or_default();
        if section.is_set(name) {
            let message = format!("{}telegram's {name}", unsupported::PREFIX);
            section.warn(unsupported::CODE, Spot::Key(name), message, "");
        }
    }
    for variable in IDLE_VARIABLES {
        let off = |text: &str| matches!(text.to_ascii_lowercase().as_str(), "false" | "0" | "no" | "off");
        if section.has_variable(variable) && !section.text("", variable).is_some_and(|text| off(&text)) {
            let message = format!("{}{variable}", unsupported::PREFIX);
            section.warn(unsupported::CODE, Spot::Variable(variable), message, "");
        }
    }
}
