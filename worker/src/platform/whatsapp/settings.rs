//! What `platforms.whatsapp` and the `WHATSAPP_…` variables may hold: what is declared of it, how it is read, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use hermes_config::Secret;
use hermes_config::access::Listed;
use hermes_config::platform::{self, BASE, ClaimSpec, Declaration, Fault, Form, Section, or, part, switch};
use hermes_config::row::Kind::{Bool, Choice, Int, List, Section as Mapping, Text};
use hermes_config::row::{Group, key};
use reqwest::Url;

use crate::platform::settings::{self, Faults, Quotes, at, word};

/// The platform's name.
pub(super) const NAME: &str = "whatsapp";
/// What answers begin with in the chat with oneself.
const PREFIX: &str = "⚕ *Hermes Agent*\n────────────\n";

const CLAIMS: &[ClaimSpec] = &[
    ClaimSpec {
        scope: "whatsapp-session",
        parts: &[or(part("", "session_path"), SESSION)],
        form: Form::Path,
    },
    ClaimSpec { scope: "whatsapp-bridge-port", parts: &[part("", "bridge_port")], form: Form::Port },
];

/// Where a session is, below its profile's home.
pub(super) const SESSION: &str = "platforms/whatsapp/session";

/// What it declares.
pub(super) static DECLARATION: Declaration = Declaration {
    name: NAME,
    prefix: "WHATSAPP",
    switch: Some("WHATSAPP_ENABLED"),
    policy: true,
    claims: CLAIMS,
    adapter: true,
    exclusive: true,
    target: true,
    keys: Some(&KEYS),
    read: Some(read),
    ..BASE
};

/// Its rows. Who may talk to it is set as for every platform.
static KEYS: Group = Group {
    title: "WhatsApp",
    intro: "Through a bridge of our own, which `hermes whatsapp install` puts in place and `hermes whatsapp pair` links to an account. \
            `WHATSAPP_ENABLED=true` in `.env` turns it on. Every key may also stand below `extra`, which wins; lists may be written with \
            commas in a variable. Without `dm_policy` strangers are offered a code, beside a list as well; without `group_policy` no group \
            is listened to.",
    outro: "",
    keys: &[
        key("platforms.whatsapp", Mapping, "an account of WhatsApp"),
        key(
            "platforms.whatsapp.mode",
            Choice(&["self-chat", "bot"]),
            "`self-chat`: the owner writes to himself; `bot`: the account is the bot's, and others write to it",
        )
        .text("self-chat")
        .env("WHATSAPP_MODE"),
        key("platforms.whatsapp.session_path", Text, "where the session is, below the profile's home")
            .text(SESSION),
        key("platforms.whatsapp.bridge_port", Int(0, 65535), "port of the bridge; 0: any free one").int(0),
        key("platforms.whatsapp.bridge_script", Text, "another script than our own, started as 0.19.0 starts it"),
        key(
            "platforms.whatsapp.bridge_url",
            Text,
            "a bridge that somebody else runs; none is started then. `http:` for this machine's own addresses only",
        )
        .env("WHATSAPP_BRIDGE_URL"),
        key("platforms.whatsapp.bridge_secret", Text, "what that bridge wants to hear; better in `.env`")
            .env("WHATSAPP_BRIDGE_SECRET")
            .secret(),
        key(
            "platforms.whatsapp.require_mention",
            Bool,
            "in groups, answer only who mentions the bot, answers it, gives a command or uses one of `mention_patterns`",
        )
        .no()
        .env("WHATSAPP_REQUIRE_MENTION"),
        key(
            "platforms.whatsapp.mention_patterns",
            List,
            "regular expressions that count as a mention, in any letter case",
        )
        .env("WHATSAPP_MENTION_PATTERNS"),
        key("platforms.whatsapp.free_response_chats", List, "groups where no mention is needed")
            .env("WHATSAPP_FREE_RESPONSE_CHATS"),
        key(
            "platforms.whatsapp.reply_prefix",
            Text,
            "what every answer begins with in `self-chat`; `\\n` is a new line, an empty text nothing",
        )
        .env("WHATSAPP_REPLY_PREFIX"),
        key(
            "platforms.whatsapp.forward_owner_messages",
            Bool,
            "with `bot`: what the owner himself writes to others is a message to the bot as well",
        )
        .no()
        .env("WHATSAPP_FORWARD_OWNER_MESSAGES"),
        key("platforms.whatsapp.send_read_receipts", Bool, "show messages as read once they are taken")
            .no()
            .env("WHATSAPP_SEND_READ_RECEIPTS"),
        key("platforms.whatsapp.chunk_delay_ms", Int(0, 60000), "pause between the parts of a long answer")
            .int(300)
            .env("WHATSAPP_CHUNK_DELAY_MS"),
        key("platforms.whatsapp.send_timeout_ms", Int(1000, 600_000), "time for one message to be sent")
            .int(60000)
            .env("WHATSAPP_SEND_TIMEOUT_MS"),
        key(
            "platforms.whatsapp.npm_install_timeout",
            Int(10, 3600),
            "seconds that `hermes whatsapp install` gives npm",
        )
        .int(300)
        .env("WHATSAPP_NPM_INSTALL_TIMEOUT"),
        key(
            "platforms.whatsapp.reply_to_mode",
            Choice(&["off", "first", "all"]),
            "which parts of an answer quote what they answer",
        )
        .text("first"),
        key("platforms.whatsapp.typing_indicator", Bool, "show that an answer is being made").yes(),
    ],
};

/// Who writes to the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Its owner, to himself.
    SelfChat,
    /// Everybody.
    Bot,
}

impl Mode {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::SelfChat => "self-chat",
            Self::Bot => "bot",
        }
    }
}

/// The groups that are listened to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Groups {
    None,
    Listed(Listed),
    All,
}

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in the file")]
pub(super) struct Settings {
    pub(super) mode: Mode,
    /// As it is written.
    pub(super) session: Option<String>,
    pub(super) port: u16,
    pub(super) script: Option<String>,
    /// A bridge that is not ours.
    pub(super) url: Option<Url>,
    pub(super) secret: Option<Secret>,
    pub(super) groups: Groups,
    pub(super) require_mention: bool,
    /// Regular expressions that compile.
    pub(super) mention_patterns: Vec<String>,
    pub(super) free_chats: Listed,
    /// Of every answer; empty where there is none.
    pub(super) prefix: String,
    pub(super) forward_owner: bool,
    pub(super) read_receipts: bool,
    pub(super) chunk_delay: Duration,
    pub(super) send_timeout: Duration,
    pub(super) quotes: Quotes,
    pub(super) typing: bool,
    /// Why it cannot run.
    pub(super) fault: Option<Fault>,
}

impl platform::Settings for Settings {
    fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    fn secrets(&self) -> Vec<&Secret> {
        self.secret.iter().collect()
    }
}

/// Reads them.
pub(super) fn read(section: &mut dyn Section) -> Arc<dyn platform::Settings> {
    let mode = match word(section, "mode", "WHATSAPP_MODE", &["self-chat", "bot"], "self-chat") {
        Some("bot") => Mode::Bot,
        _ => Mode::SelfChat,
    };
    let mut faults = Faults::of(section);
    let url = bridge(&mut faults);
    let fault = faults.first;
    let ms = |section: &mut dyn Section, key, variable, range, default| {
        Duration::from_millis(section.number(key, variable, range).unwrap_or(default))
    };
    // Only the command that installs needs it; a wrong one is said here.
    let _ = section.number("npm_install_timeout", "WHATSAPP_NPM_INSTALL_TIMEOUT", 10..=3600);
    Arc::new(Settings {
        mode,
        session: section.text("session_path", ""),
        port: u16::try_from(section.number("bridge_port", "", 0..=65535).unwrap_or(0)).unwrap_or(0),
        script: section.text("bridge_script", ""),
        url,
        secret: section.secret("bridge_secret", "WHATSAPP_BRIDGE_SECRET"),
        groups: groups(section),
        require_mention: switch(section, "require_mention", "WHATSAPP_REQUIRE_MENTION", false),
        mention_patterns: settings::mentions(section, "WHATSAPP_MENTION_PATTERNS", NAME),
        free_chats: section.list(free_chats(section), "WHATSAPP_FREE_RESPONSE_CHATS").into_iter().collect(),
        prefix: prefix(section, mode),
        forward_owner: switch(section, "forward_owner_messages", "WHATSAPP_FORWARD_OWNER_MESSAGES", false),
        read_receipts: switch(section, "send_read_receipts", "WHATSAPP_SEND_READ_RECEIPTS", false),
        chunk_delay: ms(section, "chunk_delay_ms", "WHATSAPP_CHUNK_DELAY_MS", 0..=60_000, 300),
        send_timeout: ms(section, "send_timeout_ms", "WHATSAPP_SEND_TIMEOUT_MS", 1000..=600_000, 60_000),
        quotes: Quotes::read(section, ""),
        typing: switch(section, "typing_indicator", "", true),
        fault,
    })
}

/// Where a bridge of somebody's own is.
fn bridge(faults: &mut Faults<'_>) -> Option<Url> {
    const KEY: (&str, &str) = ("bridge_url", "WHATSAPP_BRIDGE_URL");
    let text = faults.section.text(KEY.0, KEY.1)?;
    let url = settings::address(&text);
    if url.is_none() {
        let message = "the bridge of whatsapp has no address that can be used: `https:`, or `http:` on this machine's own addresses";
        let fix = "Write an address such as http://127.0.0.1:3000, or none.";
        faults.say_of("whatsapp_config_missing", KEY, message, fix);
    }
    url
}

/// The key of 0.19.0 for all platforms, where it is what is set.
fn free_chats(section: &dyn Section) -> &'static str {
    if section.is_set("free_response_chats") { "free_response_chats" } else { "free_response_channels" }
}

fn groups(section: &mut dyn Section) -> Groups {
    const POLICY: &str = "WHATSAPP_GROUP_POLICY";
    const LIST: &str = "WHATSAPP_GROUP_ALLOWED_USERS";
    let listed: Listed = section.list("group_allow_from", LIST).into_iter().collect();
    // A word that is none is said where access is read.
    let policy = section.text("group_policy", POLICY).unwrap_or_default().to_ascii_lowercase();
    match policy.as_str() {
        "open" => Groups::All,
        "allowlist" => Groups::Listed(listed),
        _ => {
            if !listed.is_empty() {
                let message = "whatsapp lists groups, and its group policy lets none in".to_owned();
                let at = at(section, "group_allow_from", LIST);
                section.warn("group_policy", at, message, "Set WHATSAPP_GROUP_POLICY to allowlist.");
            }
            Groups::None
        }
    }
}

fn prefix(section: &mut dyn Section, mode: Mode) -> String {
    const VARIABLE: &str = "WHATSAPP_REPLY_PREFIX";
    let said = if section.has_variable(VARIABLE) {
        section.text("reply_prefix", VARIABLE)
    } else if section.is_set("reply_prefix") {
        section.verbatim("reply_prefix").or_else(|| Some(String::new()))
    } else {
        None
    };
    match mode {
        Mode::Bot => String::new(),
        Mode::SelfChat => said.map_or_else(|| PREFIX.to_owned(), |text| text.replace("\\n", "\n")),
    }
}
