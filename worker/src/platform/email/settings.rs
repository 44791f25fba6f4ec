//! What `platforms.email` and the `EMAIL_…` variables may hold: what is declared of it, how it is read, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use hermes_config::platform::{self, BASE, Declaration, Fault, Section, claim, field, folded, switch};
use hermes_config::row::Kind::{Bool, Choice, Int, Section as Mapping, Text};
use hermes_config::row::{Group, key};
use hermes_config::{Secret, is_loopback};

use super::address;
use crate::platform::settings::{Faults, word};

/// The platform's name.
pub(super) const NAME: &str = "email";
/// For programs: what is needed is not there, or not usable.
const MISSING: &str = "email_missing_configuration";
/// How a connection may be encrypted.
const WAYS: [&str; 3] = ["implicit", "starttls", "none"];
/// Most answers to one sender in an hour.
const PER_HOUR: u64 = 30;

/// What it declares.
pub(super) static DECLARATION: Declaration = Declaration {
    name: NAME,
    prefix: "EMAIL",
    tools: &["EMAIL_ADDRESS", "EMAIL_PASSWORD", "EMAIL_IMAP_HOST", "EMAIL_SMTP_HOST"],
    credentials: &[&[
        field("EMAIL_ADDRESS", "address"),
        field("EMAIL_PASSWORD", "password"),
        field("EMAIL_IMAP_HOST", "imap_host"),
        field("EMAIL_SMTP_HOST", "smtp_host"),
    ]],
    claims: &[claim(
        "email-mailbox",
        &[folded("EMAIL_IMAP_HOST", "imap_host"), folded("EMAIL_ADDRESS", "address")],
    )],
    adapter: true,
    exclusive: true,
    target: true,
    keys: Some(&KEYS),
    read: Some(read),
    ..BASE
};

/// Its rows. Who may talk to it is set as for every platform.
static KEYS: Group = Group {
    title: "Email",
    intro: "A mailbox of the bot's own: it reads the inbox by IMAP and answers by SMTP. The address, its password and both servers turn it on. \
            Every key may also stand below `extra`, which wins. Strangers hear nothing, unless `unauthorized_dm_behavior` says otherwise.",
    outro: "",
    keys: &[
        key("platforms.email", Mapping, "a mailbox"),
        key("platforms.email.address", Text, "the bot's address; also the name it logs in by").env("EMAIL_ADDRESS"),
        key(
            "platforms.email.password",
            Text,
            "the password, or the provider's password for apps; better in `.env`",
        )
        .env("EMAIL_PASSWORD")
        .secret(),
        key("platforms.email.imap_host", Text, "the server of the inbox").env("EMAIL_IMAP_HOST"),
        key("platforms.email.imap_port", Int(1, 65535), "its port; with `tls: starttls` 143 where nothing is said")
            .int(993)
            .env("EMAIL_IMAP_PORT"),
        key("platforms.email.smtp_host", Text, "the server that answers go out by").env("EMAIL_SMTP_HOST"),
        key("platforms.email.smtp_port", Int(1, 65535), "its port; with `tls: implicit` 465 where nothing is said")
            .int(587)
            .env("EMAIL_SMTP_PORT"),
        key(
            "platforms.email.tls",
            Choice(&WAYS),
            "how both servers are spoken to; without it by their ports: 465 and 993 are `implicit`, 143, 25 and 587 `starttls`. `none`: in \
             the clear, for this machine's own addresses only",
        )
        .env("EMAIL_TLS"),
        key(
            "platforms.email.poll_interval",
            Int(1, 3600),
            "seconds between two looks, where the server does not say by itself that something came (IDLE)",
        )
        .int(15)
        .env("EMAIL_POLL_INTERVAL"),
        key(
            "platforms.email.authserv_id",
            Text,
            "the name by which the own mail server signs its `Authentication-Results`; without it, one in the domain of the address or of the \
             IMAP server counts",
        )
        .env("EMAIL_AUTHSERV_ID"),
        key(
            "platforms.email.trust_from_header",
            Bool,
            "believe every sender's address, which anybody can write: only where the mail server lets nobody else in",
        )
        .no()
        .env("EMAIL_TRUST_FROM_HEADER"),
        key(
            "platforms.email.require_authenticated_sender",
            Bool,
            "0.19.0's word for the opposite of `trust_from_header`",
        ),
        key("platforms.email.skip_attachments", Bool, "leave files that come with mails alone").no(),
        key(
            "platforms.email.max_per_hour",
            Int(1, 10_000),
            "mails of one sender that are answered in an hour: two programs that answer each other end there",
        )
        .int(30),
    ],
};

/// How a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tls {
    /// From its first byte.
    Implicit,
    /// Once both have said so.
    Upgraded,
    /// Not at all: it does not leave this machine.
    None,
}

/// A server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Tls,
}

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// The bot's address, in lower case.
    pub(super) address: String,
    /// As it was written: a server may know it by that alone.
    pub(super) login: String,
    pub(super) password: Secret,
    pub(super) imap: Server,
    pub(super) smtp: Server,
    pub(super) poll: Duration,
    /// Whose word on a sender counts: names of servers, and what is below them.
    pub(super) authorities: Vec<String>,
    /// Nobody's word is asked for.
    pub(super) trusts_from: bool,
    pub(super) skips_attachments: bool,
    pub(super) per_hour: u32,
    /// Why it cannot run.
    pub(super) fault: Option<Fault>,
}

impl platform::Settings for Settings {
    fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    fn secrets(&self) -> Vec<&Secret> {
        vec![&self.password]
    }
}

impl Settings {
    /// The domain of the bot's address.
    pub(super) fn domain(&self) -> &str {
        self.address.rsplit_once('@').map_or("localhost", |(_, domain)| domain)
    }
}

/// Reads them.
pub(super) fn read(section: &mut dyn Section) -> Arc<dyn platform::Settings> {
    let login = section.text("address", "EMAIL_ADDRESS").unwrap_or_default();
    let password = section.secret("password", "EMAIL_PASSWORD");
    let imap_host = section.text("imap_host", "EMAIL_IMAP_HOST").unwrap_or_default();
    let smtp_host = section.text("smtp_host", "EMAIL_SMTP_HOST").unwrap_or_default();
    let way = word(section, "tls", "EMAIL_TLS", &WAYS, "what the ports mean");
    let imap_port = section.number("imap_port", "EMAIL_IMAP_PORT", 1..=65535);
    let smtp_port = section.number("smtp_port", "EMAIL_SMTP_PORT", 1..=65535);
    let imap = server(imap_host, imap_port, way, (993, 143));
    let smtp = server(smtp_host, smtp_port, way, (465, 587));
    let poll = section.number("poll_interval", "EMAIL_POLL_INTERVAL", 1..=3600).unwrap_or(15);
    let named = section.text("authserv_id", "EMAIL_AUTHSERV_ID").map(|id| id.to_ascii_lowercase());
    let required = section.flag("require_authenticated_sender").unwrap_or(true);
    let trusts_from = switch(section, "trust_from_header", "EMAIL_TRUST_FROM_HEADER", !required);
    let skips_attachments = section.flag("skip_attachments").unwrap_or(false);
    let per_hour = section.number("max_per_hour", "", 1..=10_000).unwrap_or(PER_HOUR);
    let has_password = password.as_ref().is_some_and(|password| !password.expose().is_empty());
    let known = address::of(&login);
    let mut faults = Faults::of(section);
    if known.is_none() {
        faults.say_of(
            MISSING,
            ("address", "EMAIL_ADDRESS"),
            "email has no address of its own, as hermes@example.org",
            "Set EMAIL_ADDRESS to the address of the bot's mailbox.",
        );
    }
    if !has_password {
        faults.say_of(
            MISSING,
            ("password", "EMAIL_PASSWORD"),
            "email has no password",
            "Set EMAIL_PASSWORD; providers with a second factor make one for apps.",
        );
    }
    for (server, at, what) in
        [(&imap, ("imap_host", "EMAIL_IMAP_HOST"), "IMAP"), (&smtp, ("smtp_host", "EMAIL_SMTP_HOST"), "SMTP")]
    {
        if !is_host(&server.host) {
            let message = format!("email has no {what} server: a name or an address, without a scheme");
            faults.say_of(
                MISSING,
                at,
                &message,
                "Set EMAIL_IMAP_HOST and EMAIL_SMTP_HOST to the provider's servers.",
            );
        } else if server.tls == Tls::None && !is_loopback(server.host.trim_matches(['[', ']'])) {
            let message = format!(
                "email's {what} server is on another machine, and `none` shows the password to who is between"
            );
            faults.say_of(
                MISSING,
                ("tls", "EMAIL_TLS"),
                &message,
                "Set EMAIL_TLS to `implicit` or `starttls`.",
            );
        }
    }
    let fault = faults.first;
    let address = known.unwrap_or_default();
    let authorities = named.map_or_else(|| authorities(&address, &imap.host), |id| vec![id]);
    Arc::new(Settings {
        address,
        login,
        password: password.unwrap_or_default(),
        imap,
        smtp,
        poll: Duration::from_secs(poll),
        authorities,
        trusts_from,
        skips_attachments,
        per_hour: u32::try_from(per_hour).unwrap_or(u32::MAX),
        fault,
    })
}

/// A server, with what holds where nothing is said: its ports are (implicit, starttls).
fn server(host: String, port: Option<u64>, way: Option<&str>, (implicit, starttls): (u16, u16)) -> Server {
    let said = port.and_then(|port| u16::try_from(port).ok());
    let tls = match (way, said) {
        (Some("implicit"), _) | (None, Some(993 | 465)) => Tls::Implicit,
        (Some("none"), _) => Tls::None,
        (Some(_), _) | (None, Some(143 | 25 | 587)) => Tls::Upgraded,
        // As 0.19.0: IMAP is encrypted from the first byte, SMTP after a word.
        (None, _) if implicit == 993 => Tls::Implicit,
        (None, _) => Tls::Upgraded,
    };
    let port = said.unwrap_or(if tls == Tls::Implicit { implicit } else { starttls });
    Server { host, port, tls }
}

/// A name or an address, and nothing else.
fn is_host(host: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    !host.is_empty() && host.len() <= 253 && host.chars().all(is_plain)
}

/// The servers whose word counts where none is named: those of the address's domain, and those beside the inbox's.
fn authorities(address: &str, imap: &str) -> Vec<String> {
    let imap = imap.to_ascii_lowercase();
    let mut all: Vec<String> =
        address.rsplit_once('@').map(|(_, domain)| domain.to_owned()).into_iter().collect();
    if imap.parse::<std::net::IpAddr>().is_ok() {
        return all;
    }
    // `imap.example.org` is beside `mx.example.org`; of two labels the whole name is meant.
    let beside = imap.split_once('.').filter(|(_, rest)| rest.contains('.')).map(|(_, rest)| rest);
    all.push(beside.unwrap_or(&imap).to_owned());
    if imap == "imap.gmail.com" {
        all.push("mx.google.com".to_owned());
    }
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_say_how_a_server_is_spoken_to_unless_somebody_else_does() {
        let imap = |port, way| {
            let server = server("h".to_owned(), port, way, (993, 143));
            (server.port, server.tls)
        };
        let smtp = |port, way| {
            let server = server("h".to_owned(), port, way, (465, 587));
            (server.port, server.tls)
        };
        assert_eq!(imap(None, None), (993, Tls::Implicit));
        assert_eq!(imap(Some(143), None), (143, Tls::Upgraded));
        assert_eq!(imap(Some(1993), None), (1993, Tls::Implicit));
        assert_eq!(imap(None, Some("starttls")), (143, Tls::Upgraded));
        assert_eq!(imap(Some(1143), Some("none")), (1143, Tls::None));
        assert_eq!(smtp(None, None), (587, Tls::Upgraded));
        assert_eq!(smtp(Some(465), None), (465, Tls::Implicit));
        assert_eq!(smtp(None, Some("implicit")), (465, Tls::Implicit));
        assert_eq!(smtp(Some(2525), None), (2525, Tls::Upgraded));
    }

    #[test]
    fn the_own_servers_are_known_by_their_domains() {
        assert_eq!(
            authorities("a@example.org", "imap.mail.example.net"),
            ["example.org", "mail.example.net"]
        );
        assert_eq!(authorities("a@gmail.com", "imap.gmail.com"), ["gmail.com", "mx.google.com"]);
        assert_eq!(authorities("a@example.org", "localhost"), ["example.org", "localhost"]);
        assert_eq!(authorities("a@example.org", "example.net"), ["example.org", "example.net"]);
        assert_eq!(authorities("a@example.org", "127.0.0.1"), ["example.org"]);
    }
}
