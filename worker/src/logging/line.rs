//! One line of a log: its layout, what may not be in it, and how long it may get.

use std::borrow::Cow;
use std::fmt::Write as _;

use hermes_config::servers::ToolServer;
use hermes_config::{ProfileConfig, Secret};
use hermes_wire::text::push_visible;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Longest line in bytes, the newline excluded. What is longer is cut and says so.
pub(super) const MAX_LEN: usize = 16 * 1024;
/// Shorter values are too likely to be part of a word.
const MIN_SECRET: usize = 8;
/// Parts of variable names whose values are secrets.
const SECRET_NAMES: [&str; 9] =
    ["KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "AUTH", "COOKIE"];

/// `2026-11-21 00:30:57,386`
pub(super) fn time(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S,%3f").to_string()
}

/// `hermes_worker::platform::webhook` → `gateway.platform.webhook`: the names that `hermes logs --component` knows.
pub(super) fn component(target: &str) -> String {
    match target.strip_prefix("hermes_worker") {
        Some(rest) => format!("gateway{}", rest.replace("::", ".")),
        None => target.replace("::", "."),
    }
}

/// Appends `text` with everything deceptive escaped, so that no sender can forge a line or hide in one, and cut to [`MAX_LEN`].
pub(super) fn push_escaped(out: &mut String, text: &str) {
    for (at, c) in text.char_indices() {
        if at >= MAX_LEN {
            out.push_str(" … (cut)");
            return;
        }
        match c {
            '\t' => out.push('\t'),
            c => push_visible(out, c),
        }
    }
}

/// `text` with `***` in the place of every secret.
pub(crate) fn redacted<'a>(text: &'a str, secrets: &[Secret]) -> Cow<'a, str> {
    let mut text = Cow::Borrowed(text);
    for secret in secrets {
        if text.contains(secret.expose()) {
            text = Cow::Owned(text.replace(secret.expose(), "***"));
        }
    }
    text
}

/// What must be in no log and on no screen: every credential the configuration names, and `.env` variables that are called like one.
/// Longest first, so that no rest of a longer secret stays where a shorter one is part of it.
pub(crate) fn secrets(config: &ProfileConfig) -> Vec<Secret> {
    let mut all: Vec<Secret> = Vec::new();
    let mut add = |secret: Option<&Secret>| {
        if let Some(secret) = secret {
            all.extend(forms(secret.expose()).into_iter().filter(|f| f.len() >= MIN_SECRET).map(Secret::new));
        }
    };
    add(config.model.api_key.as_ref());
    for provider in &config.providers {
        add(provider.api_key.as_ref());
        provider.extra_headers.values().for_each(|value| add(Some(value)));
    }
    config.servers.all.iter().flat_map(ToolServer::secrets).for_each(|secret| add(Some(secret)));
    config.settings.iter().flat_map(|settings| settings.secrets()).for_each(|secret| add(Some(secret)));
    config.claims.iter().for_each(|claim| add(Some(&claim.identity)));
    for (name, value) in config.env.iter() {
        let name = name.to_ascii_uppercase();
        if SECRET_NAMES.iter().any(|part| name.contains(part)) {
            add(Some(&Secret::new(value)));
        }
    }
    all.sort_by(|a, b| b.expose().len().cmp(&a.expose().len()).then_with(|| a.cmp(b)));
    all.dedup();
    all
}

/// How a secret may stand in a line: as it is, line by line, as a program writes it out between quotation marks, and in a URL.
fn forms(secret: &str) -> Vec<String> {
    let mut all = vec![secret.to_owned()];
    all.extend(secret.lines().filter(|line| *line != secret).map(|line| line.trim().to_owned()));
    all.push(secret.escape_debug().to_string());
    all.push(secret.bytes().fold(String::new(), |mut out, b| {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(b)),
            _ => {
                let _ = write!(out, "%{b:02X}");
            }
        }
        out
    }));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_those_that_logs_filter_by() {
        assert_eq!(component("hermes_worker::platform::webhook"), "gateway.platform.webhook");
        assert_eq!(component("hermes_worker"), "gateway");
        assert_eq!(component("hyper::proto"), "hyper.proto");
    }

    #[test]
    fn a_line_stays_one_line_and_has_an_end() {
        let mut out = String::new();
        push_escaped(&mut out, "a\nb\r\x1b[31m\u{85}\u{202e}\u{200b}");
        assert_eq!(out, "a\\nb\\r\\u{1b}[31m\\u{85}\\u{202e}\\u{200b}");
        let mut long = String::new();
        push_escaped(&mut long, &"x".repeat(MAX_LEN * 2));
        assert!(long.len() < MAX_LEN + 20 && long.ends_with("(cut)"));
    }

    #[test]
    fn secrets_of_the_profile_never_show() {
        let mut config = ProfileConfig::new("coder".parse().unwrap());
        config.env =
            [("MY_API_KEY", "sk-1234567890"), ("PORT_KEY", "8642"), ("BASE_URL", "https://example.org")]
                .into_iter()
                .map(|(k, v)| (k.to_owned(), Secret::new(v)))
                .collect();
        config.model.api_key = Some(Secret::new("sk-1234567890-longer"));
        let line = "k sk-1234567890 k sk-1234567890-longer 8642 https://example.org";
        assert_eq!(redacted(line, &secrets(&config)), "k *** k *** 8642 https://example.org");
    }

    /// N1.7: neither a line of it, nor what it looks like written out or in a URL.
    #[test]
    fn n1_7_a_secret_is_known_in_every_form() {
        let mut config = ProfileConfig::new("coder".parse().unwrap());
        let pem = "-----BEGIN KEY-----\nMIIEvQIBADANBg\n-----END KEY-----";
        config.env = [("BOT_TOKEN", "123:AA/b\"c+d"), ("PEM_KEY", pem)]
            .into_iter()
            .map(|(k, v)| (k.to_owned(), Secret::new(v)))
            .collect();
        let secrets = secrets(&config);
        for line in [
            "bot123:AA/b\"c+d/getMe",
            "123%3AAA%2Fb%22c%2Bd",
            "{\"t\":\"123:AA/b\\\"c+d\"}",
            "MIIEvQIBADANBg",
            pem,
        ] {
            let shown = redacted(line, &secrets);
            assert!(shown.contains("***") && !shown.contains("AA") && !shown.contains("MIIE"), "{shown}");
        }
    }

    #[test]
    fn times_look_like_those_of_existing_logs() {
        let text = time(Timestamp::UNIX_EPOCH, &TimeZone::UTC);
        assert_eq!((text.len(), &text[4..5], &text[10..11], &text[19..20]), (23, "-", " ", ","), "{text}");
    }
}
