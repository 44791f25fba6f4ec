//! What `platforms.ntfy` may hold.

use std::sync::Arc;

use hermes_config::Secret;
use hermes_config::platform::{self, Fault, Section, switch};
use hermes_config::row::{Group, Kind, key};
use reqwest::Url;

use super::wire::is_topic;
use crate::platform::settings::{Faults, address};

/// The server where nothing is set.
pub(super) const SERVER: &str = "https://ntfy.sh";

/// Its rows. Who may talk to it is set as for every platform.
pub(super) static KEYS: Group = Group {
    title: "ntfy",
    intro: "A topic of ntfy.sh or of a server of one's own. Whoever may publish in the topic is the user: its name is the password, unless the \
            server asks for another one.",
    outro: "",
    keys: &[
        key("platforms.ntfy", Kind::Section, "a topic of ntfy"),
        key("platforms.ntfy.topic", Kind::Text, "the topic that is read").env("NTFY_TOPIC"),
        key("platforms.ntfy.server", Kind::Text, "the server; plain HTTP only on this machine")
            .env("NTFY_SERVER_URL")
            .text(SERVER),
        key("platforms.ntfy.token", Kind::Text, "an access token, or `user:password`; prefer `.env`")
            .env("NTFY_TOKEN")
            .secret(),
        key(
            "platforms.ntfy.publish_topic",
            Kind::Text,
            "the topic that answers go to; the same where nothing is set",
        )
        .env("NTFY_PUBLISH_TOPIC"),
        key("platforms.ntfy.title", Kind::Text, "a title for every answer; none where nothing is set"),
        key(
            "platforms.ntfy.markdown",
            Kind::Bool,
            "answers are Markdown, which the web app shows and others show as it is written",
        )
        .env("NTFY_MARKDOWN")
        .no(),
    ],
};

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// The server; none: nowhere, for a reason that [`fault`](Self::fault) says.
    pub(super) base: Option<Url>,
    pub(super) topic: String,
    /// Where answers go.
    pub(super) publish_topic: String,
    pub(super) token: Option<Secret>,
    pub(super) title: Option<String>,
    pub(super) markdown: bool,
    /// Why it cannot run.
    pub(super) fault: Option<Fault>,
}

impl platform::Settings for Settings {
    fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }
}

/// For programs: what is needed is not there.
const MISSING: &str = "ntfy_config_missing";

/// Reads them.
pub(super) fn read(section: &mut dyn Section) -> Arc<dyn platform::Settings> {
    let server = section.text("server", "NTFY_SERVER_URL").unwrap_or_else(|| SERVER.to_owned());
    let topic = section.text("topic", "NTFY_TOPIC").unwrap_or_default();
    let publish_topic = section.text("publish_topic", "NTFY_PUBLISH_TOPIC").unwrap_or_else(|| topic.clone());
    let token = section.secret("token", "NTFY_TOKEN").map(|token| Secret::new(token.expose().trim()));
    let token = token.filter(|token| !token.is_empty());
    let title = section.text("title", "");
    let base = address(&server);
    let mut faults = Faults::of(section);
    if base.is_none() {
        faults.say_of(
            MISSING,
            ("server", "NTFY_SERVER_URL"),
            "ntfy's server is no address that begins with https://, nor one of this machine with http://",
            "Set NTFY_SERVER_URL to the server's address, or take it out for https://ntfy.sh.",
        );
    }
    for (name, key, variable) in
        [(&topic, "topic", "NTFY_TOPIC"), (&publish_topic, "publish_topic", "NTFY_PUBLISH_TOPIC")]
    {
        // What is not set is the same once more.
        if !is_topic(name) && (key == "topic" || *name != topic) {
            faults.say_of(
                MISSING,
                (key, variable),
                "ntfy's topic is no name of up to 64 letters, digits, `-` and `_`",
                "Write the topic alone, without the server.",
            );
        }
    }
    let is_header = |token: &Secret| token.expose().chars().all(|c| (' '..='~').contains(&c));
    if token.as_ref().is_some_and(|token| !is_header(token) && !token.expose().contains(':')) {
        faults.say_of(
            MISSING,
            ("token", "NTFY_TOKEN"),
            "ntfy's token has letters that no token has",
            "Copy it again, as tk_…; or write `user:password`.",
        );
    }
    let fault = faults.first;
    let base = base.filter(|_| fault.is_none());
    let markdown = switch(section, "markdown", "NTFY_MARKDOWN", false);
    Arc::new(Settings { base, topic, publish_topic, token, title, markdown, fault })
}
