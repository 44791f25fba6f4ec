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
/// `15551234567:3@s.whatsapp.net` → `15551234567`. Groups (`…@g.us`) keep their server.
pub fn canonical_whatsapp(id: &str) -> String {
    let id = id.trim();
    if id.ends_with("@g.us") {
        return id.to_owned();
    }
    let user = id.split_once('@').map_or(id, |(user, _)| user);
    let user = user.split_once(':').map_or(user, |(user, _)| user);
    user.trim_start_matches('+').to_owned()
}
