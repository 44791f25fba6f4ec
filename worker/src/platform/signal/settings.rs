//! What `platforms.signal` may hold.

use std::sync::Arc;

use hermes_config::access::Listed;
use hermes_config::is_private;
use hermes_config::platform::{self, Fault, Section, switch};
use hermes_config::row::{Group, Kind, key};
use reqwest::Url;

use crate::platform::settings::Faults;

/// Its rows. Who may talk to it is set as for every platform.
pub(super) static KEYS: Group = Group {
    title: "Signal",
    intro: "Through the HTTP daemon of signal-cli (`signal-cli daemon --http`), which holds the account and its keys.",
    outro: "",
    keys: &[
        key("platforms.signal", Kind::Section, "a Signal account"),
        key(
            "platforms.signal.http_url",
            Kind::Text,
            "where the daemon listens; plain HTTP only on this machine",
        )
        .env("SIGNAL_HTTP_URL"),
        key("platforms.signal.account", Kind::Text, "the account's number, as +491234567")
            .env("SIGNAL_ACCOUNT"),
        key(
            "platforms.signal.require_mention",
            Kind::Bool,
            "in groups only what mentions the bot or answers it",
        )
        .env("SIGNAL_REQUIRE_MENTION")
        .no(),
        key(
            "platforms.signal.reactions",
            Kind::Bool,
            "show how an answer is coming along by a sign at its question: 👀, then ✅ or ❌",
        )
        .env("SIGNAL_REACTIONS")
        .yes(),
    ],
};

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// Where the daemon is; none: nowhere, for a reason that [`fault`](Self::fault) says.
    pub(super) base: Option<Url>,
    /// The bot's own number.
    pub(super) account: String,
    /// The groups that the bot is in for.
    pub(super) groups: Listed,
    pub(super) require_mention: bool,
    pub(super) reactions: bool,
    /// Why it cannot run.
    pub(super) fault: Option<Fault>,
}

impl platform::Settings for Settings {
    fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }
}

/// Reads them.
pub(super) fn read(section: &mut dyn Section) -> Arc<dyn platform::Settings> {
    let address = section.text("http_url", "SIGNAL_HTTP_URL");
    let account = section.text("account", "SIGNAL_ACCOUNT");
    let base = address.as_deref().and_then(|text| Url::parse(text).ok());
    let mut faults = Faults::of(section);
    match &base {
        Some(url) if is_private(url) => {}
        Some(url) if url.scheme() == "http" => {
            faults.say_of(
                MISSING,
                ("http_url", "SIGNAL_HTTP_URL"),
                "signal's daemon is on another machine, and plain HTTP shows every message to who is between",
                "Let it listen on 127.0.0.1, or put TLS before it and write https://.",
            );
        }
        Some(_) | None => faults.say_of(
            MISSING,
            ("http_url", "SIGNAL_HTTP_URL"),
            "signal has no address that begins with http:// or https://",
            "Set SIGNAL_HTTP_URL to where `signal-cli daemon --http` listens, as http://127.0.0.1:8080.",
        ),
    }
    let account = account.unwrap_or_default();
    if !is_number(&account) {
        faults.say_of(
            MISSING,
            ("account", "SIGNAL_ACCOUNT"),
            "signal has no account: a number with its country, as +491234567",
            "Set SIGNAL_ACCOUNT to the number that signal-cli has registered.",
        );
    }
    let fault = faults.first;
    let base = base.filter(|_| fault.is_none());
    let groups = section.list("group_allow_from", "SIGNAL_GROUP_ALLOWED_USERS").into_iter().collect();
    let require_mention = switch(section, "require_mention", "SIGNAL_REQUIRE_MENTION", false);
    let reactions = switch(section, "reactions", "SIGNAL_REACTIONS", true);
    Arc::new(Settings { base, account, groups, require_mention, reactions, fault })
}

/// For programs: what is needed is not there.
const MISSING: &str = "signal_config_missing";

/// E.164.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or_default();
    (5..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}
