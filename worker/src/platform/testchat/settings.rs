//! What `platforms.testchat` may hold.

use std::sync::Arc;
use std::time::Duration;

use hermes_config::Secret;
use hermes_config::platform::{self, Fault, Section, Spot};
use hermes_config::row::{Group, Kind, key};
use reqwest::Url;

/// Characters in one message, where nothing else is said.
const LONGEST: usize = 4000;
/// Longest time for one poll, in seconds.
const POLL: u64 = 25;

/// Its rows.
pub(super) static KEYS: Group = Group {
    title: "Test chat",
    intro: "",
    outro: "",
    keys: &[
        key("platforms.testchat", Kind::Section, "a chat service for tests"),
        key("platforms.testchat.base_url", Kind::Text, "where it is").env("TESTCHAT_URL"),
        key("platforms.testchat.token", Kind::Text, "the bot's token").env("TESTCHAT_TOKEN").secret(),
        key("platforms.testchat.poll_seconds", Kind::Int(1, 60), "time for one poll").int(25),
        key("platforms.testchat.longest", Kind::Int(1, 100_000), "characters in one message").int(4000),
    ],
};

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// Where the service is; none: nowhere, for a reason that [`fault`](Self::fault) says.
    pub(super) base: Option<Url>,
    pub(super) token: Secret,
    pub(super) poll: Duration,
    pub(super) longest: usize,
    /// Why it cannot run.
    pub(super) fault: Option<Fault>,
}

impl platform::Settings for Settings {
    fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    fn secrets(&self) -> Vec<&Secret> {
        vec![&self.token]
    }
}

/// Reads them.
pub(super) fn read(section: &mut dyn Section) -> Arc<dyn platform::Settings> {
    let text = section.text("base_url", "TESTCHAT_URL");
    let token = section.secret("token", "TESTCHAT_TOKEN");
    let poll = section.number("poll_seconds", "", 1..=60).unwrap_or(POLL);
    let longest = section.number("longest", "", 1..=100_000).and_then(|n| usize::try_from(n).ok());
    let is_http = |url: &Url| matches!(url.scheme(), "http" | "https");
    let base = text.as_deref().and_then(|text| Url::parse(text).ok()).filter(is_http);
    let missing = match (&base, &token) {
        (None, _) => Some(("base_url", "has no address that begins with http:// or https://")),
        (_, None) => Some(("token", "has no token")),
        _ => None,
    };
    let fault = missing.map(|(key, what)| {
        let message = format!("testchat {what}");
        let fix = format!("Set platforms.testchat.{key}.");
        section.fault("testchat_config_missing", Spot::Key(key), message.clone(), &fix);
        Fault { code: "testchat_config_missing".to_owned(), message }
    });
    Arc::new(Settings {
        base,
        token: token.unwrap_or_else(|| Secret::new("")),
        poll: Duration::from_secs(poll),
        longest: longest.unwrap_or(LONGEST),
        fault,
    })
}
