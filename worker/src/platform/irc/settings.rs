//! What `platforms.irc` may hold.

use std::sync::Arc;

use hermes_config::platform::{self, Fault, Section, switch};
use hermes_config::row::{Group, Kind, key};
use hermes_config::{Secret, is_loopback};

use super::wire::is_target;
use crate::platform::settings::Faults;

/// The nick where nothing is set.
pub(super) const NICK: &str = "hermes-bot";
/// The port, with TLS.
const PORT: u64 = 6697;

/// Its rows. Who may talk to it is set as for every platform.
pub(super) static KEYS: Group = Group {
    title: "IRC",
    intro: "One server and its channels. In a channel the bot answers who calls it by its nick; private messages are all for it.",
    outro: "",
    keys: &[
        key("platforms.irc", Kind::Section, "a nick on IRC"),
        key("platforms.irc.server", Kind::Text, "the server's host").env("IRC_SERVER"),
        key("platforms.irc.port", Kind::Int(1, 65535), "its port").env("IRC_PORT").int(6697),
        key("platforms.irc.use_tls", Kind::Bool, "speak TLS; without it only to this machine")
            .env("IRC_USE_TLS")
            .yes(),
        key("platforms.irc.channel", Kind::List, "the channels that the bot is in").env("IRC_CHANNEL"),
        key("platforms.irc.nickname", Kind::Text, "its nick").env("IRC_NICKNAME").text(NICK),
        key("platforms.irc.server_password", Kind::Text, "the server's password; prefer `.env`")
            .env("IRC_SERVER_PASSWORD")
            .secret(),
        key(
            "platforms.irc.sasl_username",
            Kind::Text,
            "the account that the bot logs in to, before it is seen",
        )
        .env("IRC_SASL_USERNAME"),
        key("platforms.irc.sasl_password", Kind::Text, "its password; prefer `.env`")
            .env("IRC_SASL_PASSWORD")
            .secret(),
        key(
            "platforms.irc.nickserv_password",
            Kind::Text,
            "what NickServ is told, where there is no SASL; prefer `.env`",
        )
        .env("IRC_NICKSERV_PASSWORD")
        .secret(),
    ],
};

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) server: String,
    pub(super) port: u16,
    pub(super) tls: bool,
    pub(super) channels: Vec<String>,
    pub(super) nick: String,
    pub(super) server_password: Option<Secret>,
    /// Account and password.
    pub(super) sasl: Option<(String, Secret)>,
    pub(super) nickserv_password: Option<Secret>,
    /// Why it cannot run.
    pub(super) fault: Option<Fault>,
}

impl platform::Settings for Settings {
    fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }
}

/// For programs: what is needed is not there.
const MISSING: &str = "irc_config_missing";

/// Reads them.
pub(super) fn read(section: &mut dyn Section) -> Arc<dyn platform::Settings> {
    let server = section.text("server", "IRC_SERVER").unwrap_or_default();
    let port = section.number("port", "IRC_PORT", 1..=65535).unwrap_or(PORT);
    let tls = switch(section, "use_tls", "IRC_USE_TLS", true);
    let channels = section.list("channel", "IRC_CHANNEL");
    let nick = section.text("nickname", "IRC_NICKNAME").unwrap_or_else(|| NICK.to_owned());
    let server_password = section.secret("server_password", "IRC_SERVER_PASSWORD");
    let account = section.text("sasl_username", "IRC_SASL_USERNAME");
    let password = section.secret("sasl_password", "IRC_SASL_PASSWORD");
    let nickserv_password = section.secret("nickserv_password", "IRC_NICKSERV_PASSWORD");
    let mut faults = Faults::of(section);
    let is_host = |text: &str| !text.is_empty() && !text.contains(['/', ' ', '@', '[', ']']);
    // A host with colons is an address of IPv6.
    if !is_host(&server) || (server.contains(':') && server.parse::<std::net::Ipv6Addr>().is_err()) {
        faults.say_of(
            MISSING,
            ("server", "IRC_SERVER"),
            "irc's server is no name of a host",
            "Write the host alone, as irc.libera.chat, and its port in IRC_PORT.",
        );
    } else if !tls && !is_loopback(&server) {
        faults.say_of(
            MISSING,
            ("use_tls", "IRC_USE_TLS"),
            "irc's server is on another machine, and without TLS everybody between reads the passwords",
            "Take IRC_USE_TLS out, and set IRC_PORT to the port that speaks TLS (6697).",
        );
    }
    let is_channel =
        |name: &String| name.starts_with(['#', '&', '+', '!']) && is_target(&name.replace('!', ""));
    if channels.is_empty() || !channels.iter().all(is_channel) {
        faults.say_of(
            MISSING,
            ("channel", "IRC_CHANNEL"),
            "irc's channels are not all names that begin with `#`",
            "Write them with commas between, and in quotes: IRC_CHANNEL='#hermes,#ops'.",
        );
    }
    if !is_nick(&nick) {
        faults.say_of(
            MISSING,
            ("nickname", "IRC_NICKNAME"),
            "irc's nick is none: it begins with a letter, and has letters, digits and -_[]{}|`^\\",
            "Choose another IRC_NICKNAME.",
        );
    }
    if account.is_some() != password.is_some() {
        let (there, missing, variable) = match account {
            Some(_) => ("an account", "sasl_password", "IRC_SASL_PASSWORD"),
            None => ("a password", "sasl_username", "IRC_SASL_USERNAME"),
        };
        let message = format!("irc has {there} for SASL, and not the other half of it");
        faults.say_of(
            MISSING,
            (missing, variable),
            &message,
            "Set both IRC_SASL_USERNAME and IRC_SASL_PASSWORD.",
        );
    }
    let is_word = |secret: &Option<Secret>| {
        secret.as_ref().is_none_or(|secret| !secret.expose().contains(['\r', '\n', '\0']))
    };
    if ![&server_password, &password, &nickserv_password].into_iter().all(is_word) {
        faults.say_of(
            MISSING,
            ("server_password", "IRC_SERVER_PASSWORD"),
            "one of irc's passwords has more than one line",
            "Write it in one line.",
        );
    }
    let fault = faults.first;
    let port = u16::try_from(port).unwrap_or(6697);
    let sasl = account.zip(password);
    Arc::new(Settings { server, port, tls, channels, nick, server_password, sasl, nickserv_password, fault })
}

fn is_nick(text: &str) -> bool {
    let is_sign = |c: char| "[]\\`_^{|}".contains(c);
    let is_first = |c: char| c.is_ascii_alphabetic() || is_sign(c);
    text.len() <= 64
        && text.starts_with(is_first)
        && text.chars().all(|c| is_first(c) || c.is_ascii_digit() || c == '-')
}
