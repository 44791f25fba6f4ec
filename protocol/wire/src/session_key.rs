//! Session keys: which conversation an event belongs to, byte for byte as 0.19.0 spells it.
//!
//! `agent:<namespace>:<platform>:<chat type>[:<chat>][:<thread>][:<user>]`. The first four positions are fixed; the tail is
//! opaque (ids may contain `:`), so nothing here ever splits it.

use crate::ProfileName;

/// Everything a key is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyParts<'a> {
    /// The profile.
    pub profile: &'a ProfileName,
    /// Platform name.
    pub platform: &'a str,
    /// `dm`, `group`, `channel`, `thread`, `webhook`, …
    pub chat_type: &'a str,
    /// Chat.
    pub chat_id: Option<&'a str>,
    /// Thread in the chat.
    pub thread_id: Option<&'a str>,
    /// Sender.
    pub user_id: Option<&'a str>,
    /// Sender's stable second id; beats `user_id`.
    pub user_id_alt: Option<&'a str>,
    /// `group_sessions_per_user`
    pub group_sessions_per_user: bool,
    /// `thread_sessions_per_user`
    pub thread_sessions_per_user: bool,
}

/// The fixed positions of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// `main`, or a profile's name.
    pub namespace: &'a str,
    /// Platform name.
    pub platform: &'a str,
    /// Chat type.
    pub chat_type: &'a str,
    /// What follows, without its leading `:`.
    pub tail: Option<&'a str>,
}

/// Namespace of the default profile.
pub const DEFAULT_NAMESPACE: &str = "main";

/// The namespace of a profile's keys.
pub fn namespace(profile: &ProfileName) -> &str {
    if profile.is_default() { DEFAULT_NAMESPACE } else { profile.as_str() }
}

/// Builds the key.
pub fn build(parts: &KeyParts<'_>) -> String {
    let given = |id: Option<&'_ str>| id.filter(|id| !id.is_empty()).map(str::to_owned);
    let whatsapp = parts.platform.starts_with("whatsapp");
    let canonical =
        |id: Option<&str>| given(id).map(|id| if whatsapp { canonical_whatsapp(&id) } else { id });
    let user = canonical(parts.user_id_alt).or_else(|| canonical(parts.user_id));
    let thread = given(parts.thread_id);
    let mut key = format!("agent:{}:{}:{}", namespace(parts.profile), parts.platform, parts.chat_type);
    let mut push = |id: Option<String>| {
        if let Some(id) = id {
            key.push(':');
            key.push_str(&id);
        }
    };
    if parts.chat_type == "dm" {
        push(canonical(parts.chat_id).or(user));
        push(thread);
        return key;
    }
    let per_user = parts.group_sessions_per_user && (thread.is_none() || parts.thread_sessions_per_user);
    push(given(parts.chat_id));
    push(thread);
    push(user.filter(|_| per_user));
    key
}

/// Reads the fixed positions.
pub fn parse(key: &str) -> Option<Head<'_>> {
    let mut parts = key.splitn(5, ':');
    if parts.next() != Some("agent") {
        return None;
    }
    let mut next = || parts.next().filter(|part| !part.is_empty());
    let (namespace, platform, chat_type) = (next()?, next()?, next()?);
    Some(Head { namespace, platform, chat_type, tail: parts.next() })
}

/// One id for the spellings of one WhatsApp user: device and server are stripped from a JID, `+` from a number.
///
/// `15551234567:3@s.whatsapp.net` → `15551234567`. Groups (`…@g.us`) keep their server, and so does what would become empty.
pub fn canonical_whatsapp(id: &str) -> String {
    let id = id.trim();
    if id.ends_with("@g.us") {
        return id.to_owned();
    }
    let user = id.split_once('@').map_or(id, |(user, _)| user);
    let user = user.split_once(':').map_or(user, |(user, _)| user);
    let user = user.trim_start_matches(|c: char| c == '+' || c.is_whitespace()).trim_end();
    if user.is_empty() { id.to_owned() } else { user.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row of the contract: what differs from an event of the platform with nothing known, and the tail of the key.
    struct Row {
        platform: &'static str,
        chat_type: &'static str,
        ids: [&'static str; 4],
        per_user: (bool, bool),
        key: &'static str,
    }

    const DEFAULTS: (bool, bool) = (true, false);

    /// Ids are chat, thread, user, alternative user; empty = none. Keys are those of the default profile.
    const ROWS: &[Row] = &[
        row("telegram", "dm", ["99", "", "7", "alt7"], DEFAULTS, "agent:main:telegram:dm:99"),
        row("telegram", "dm", ["99", "5", "7", ""], DEFAULTS, "agent:main:telegram:dm:99:5"),
        row("telegram", "dm", ["", "", "7", ""], DEFAULTS, "agent:main:telegram:dm:7"),
        row("telegram", "dm", ["", "", "7", "alt7"], DEFAULTS, "agent:main:telegram:dm:alt7"),
        row("telegram", "dm", ["", "5", "7", ""], DEFAULTS, "agent:main:telegram:dm:7:5"),
        row("telegram", "dm", ["", "5", "", ""], DEFAULTS, "agent:main:telegram:dm:5"),
        row("telegram", "dm", ["", "", "", ""], DEFAULTS, "agent:main:telegram:dm"),
        row(
            "whatsapp",
            "dm",
            ["15551234567@s.whatsapp.net", "", "", ""],
            DEFAULTS,
            "agent:main:whatsapp:dm:15551234567",
        ),
        row(
            "whatsapp",
            "dm",
            ["15551234567:3@s.whatsapp.net", "", "", ""],
            DEFAULTS,
            "agent:main:whatsapp:dm:15551234567",
        ),
        row("whatsapp", "dm", ["", "", "+15551234567", ""], DEFAULTS, "agent:main:whatsapp:dm:15551234567"),
        row(
            "whatsapp",
            "group",
            ["12-3@g.us", "", "1555@s.whatsapp.net", ""],
            DEFAULTS,
            "agent:main:whatsapp:group:12-3@g.us:1555",
        ),
        row("telegram", "group", ["-100", "", "7", ""], DEFAULTS, "agent:main:telegram:group:-100:7"),
        row("telegram", "group", ["-100", "", "", ""], DEFAULTS, "agent:main:telegram:group:-100"),
        row("telegram", "group", ["-100", "", "7", ""], (false, false), "agent:main:telegram:group:-100"),
        row("telegram", "group", ["-100", "5", "7", ""], DEFAULTS, "agent:main:telegram:group:-100:5"),
        row("telegram", "group", ["-100", "5", "7", ""], (true, true), "agent:main:telegram:group:-100:5:7"),
        row("telegram", "group", ["-100", "5", "7", ""], (false, true), "agent:main:telegram:group:-100:5"),
        row("discord", "channel", ["C1", "", "U1", ""], DEFAULTS, "agent:main:discord:channel:C1:U1"),
        row("discord", "thread", ["T1", "T1", "U1", ""], DEFAULTS, "agent:main:discord:thread:T1:T1"),
        row("telegram", "group", ["", "", "7", ""], DEFAULTS, "agent:main:telegram:group:7"),
        row("telegram", "group", ["", "", "", ""], DEFAULTS, "agent:main:telegram:group"),
        row(
            "webhook",
            "webhook",
            ["webhook:gh:d1", "", "webhook:gh", ""],
            DEFAULTS,
            "agent:main:webhook:webhook:webhook:gh:d1:webhook:gh",
        ),
        row(
            "matrix",
            "group",
            ["!r:hs.org", "", "@a:hs.org", ""],
            DEFAULTS,
            "agent:main:matrix:group:!r:hs.org:@a:hs.org",
        ),
        row(
            "msgraph_webhook",
            "webhook",
            ["msgraph:s1", "", "msgraph", ""],
            DEFAULTS,
            "agent:main:msgraph_webhook:webhook:msgraph:s1:msgraph",
        ),
        row("slack", "group", ["C1", "1.2", "U1", ""], DEFAULTS, "agent:main:slack:group:C1:1.2"),
    ];

    const fn row(
        platform: &'static str,
        chat_type: &'static str,
        ids: [&'static str; 4],
        per_user: (bool, bool),
        key: &'static str,
    ) -> Row {
        Row { platform, chat_type, ids, per_user, key }
    }

    fn key_for(profile: &str, row: &Row) -> String {
        let [chat, thread, user, alt] = row.ids.map(Some);
        build(&KeyParts {
            profile: &profile.parse().unwrap(),
            platform: row.platform,
            chat_type: row.chat_type,
            chat_id: chat,
            thread_id: thread,
            user_id: user,
            user_id_alt: alt,
            group_sessions_per_user: row.per_user.0,
            thread_sessions_per_user: row.per_user.1,
        })
    }

    #[test]
    fn every_row_of_the_contract_byte_for_byte() {
        for row in ROWS {
            assert_eq!(key_for("default", row), row.key);
            assert_eq!(key_for("coder", row), row.key.replacen("agent:main:", "agent:coder:", 1));
        }
    }

    #[test]
    fn only_the_fixed_positions_are_read() {
        for row in ROWS {
            let head = parse(row.key).unwrap();
            assert_eq!(
                (head.namespace, head.platform, head.chat_type),
                ("main", row.platform, row.chat_type)
            );
        }
        let head = parse("agent:coder:matrix:group:!r:hs.org:@a:hs.org").unwrap();
        assert_eq!((head.namespace, head.tail), ("coder", Some("!r:hs.org:@a:hs.org")));
        for foreign in [
            "",
            "agent",
            "agent:main",
            "agent:main:telegram",
            "cron:main:a:b",
            "agent::telegram:dm",
            "agent:main:x:",
        ] {
            assert_eq!(parse(foreign), None, "{foreign}");
        }
    }
}
