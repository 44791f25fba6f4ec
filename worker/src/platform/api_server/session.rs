//! Which conversation a request belongs to.

use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};

use super::error::ApiError;
use crate::platform::wire::{hex, random64};

/// Names the session, both ways.
pub(super) const SESSION_ID: HeaderName = HeaderName::from_static("x-hermes-session-id");
/// Names the memory scope, both ways.
pub(super) const SESSION_KEY: HeaderName = HeaderName::from_static("x-hermes-session-key");

/// Longest of either, in characters.
const MAX_LEN: usize = 256;

/// The session the client names, if it does.
pub(super) fn session_id(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    read(headers, &SESSION_ID, "Invalid session ID", "Session ID too long")
}

/// The memory scope the client names, if it does.
pub(super) fn session_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    read(headers, &SESSION_KEY, "Invalid session key", "Session key too long")
}

fn read(
    headers: &HeaderMap,
    name: &HeaderName,
    invalid: &'static str,
    long: &'static str,
) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| ApiError::invalid(invalid))?.trim();
    if text.is_empty() {
        return Ok(None);
    }
    checked(text, invalid, long).map(Some)
}

/// A session's id that the client says in a body.
pub(super) fn checked_id(text: &str) -> Result<String, ApiError> {
    checked(text.trim(), "Invalid session ID", "Session ID too long")
}

fn checked(text: &str, invalid: &'static str, long: &'static str) -> Result<String, ApiError> {
    // Ids become file names and log fields in places; none may name a path or break a line.
    let drive = text.as_bytes().get(1) == Some(&b':') && text.as_bytes()[0].is_ascii_alphabetic();
    if drive || text.contains("..") || text.contains(|c: char| matches!(c, '/' | '\\') || c.is_control()) {
        return Err(ApiError::invalid(invalid));
    }
    if text.chars().count() > MAX_LEN {
        return Err(ApiError::invalid(long));
    }
    Ok(text.to_owned())
}

/// A header value that says `id` again.
pub(super) fn echo(id: &str) -> Option<HeaderValue> {
    HeaderValue::from_bytes(id.as_bytes()).ok()
}

/// The headers of an answer that say the memory scope again.
pub(super) fn echoed(key: Option<&str>) -> HeaderMap {
    let said = key.and_then(echo).map(|value| (SESSION_KEY, value));
    said.into_iter().collect()
}

/// An id nobody else has.
pub(super) fn random_id() -> String {
    format!("api-{:016x}", random64())
}

/// The id of a conversation that the client carries itself: the same opening, by the same user with the same key, is the same
/// conversation; anybody else's is not.
pub(super) fn derived_id(key: &str, user: Option<&str>, system: Option<&str>, first: &str) -> String {
    let mut hash = Sha256::new();
    for part in [key, user.unwrap_or_default(), system.unwrap_or_default(), first] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    format!("api-{}", hex(&hash.finalize()[..8]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(value: &[u8]) -> Result<Option<String>, String> {
        let mut headers = HeaderMap::new();
        headers.insert(SESSION_ID, HeaderValue::from_bytes(value).unwrap());
        session_id(&headers).map_err(|error| error.message)
    }

    #[test]
    fn ids_that_could_name_a_path_are_refused() {
        assert_eq!(id(b" my session: 1 "), Ok(Some("my session: 1".to_owned())));
        assert_eq!(id(b"  "), Ok(None));
        assert_eq!(id("ä".repeat(256).as_bytes()), Ok(Some("ä".repeat(256))));
        assert_eq!(id("ä".repeat(257).as_bytes()), Err("Session ID too long".to_owned()));
        for bad in [&b"../x"[..], b"a/b", b"a\\b", b"C:x", b"c:", b"a\tb", b"\xff"] {
            assert_eq!(id(bad), Err("Invalid session ID".to_owned()), "{bad:?}");
        }
        assert_eq!(session_key(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn derived_ids_separate_users_keys_and_openings() {
        let base = derived_id("k", Some("u"), Some("s"), "hi");
        assert_eq!(base, derived_id("k", Some("u"), Some("s"), "hi"));
        assert!(base.starts_with("api-") && base.len() == 20);
        for other in [
            derived_id("K", Some("u"), Some("s"), "hi"),
            derived_id("k", Some("v"), Some("s"), "hi"),
            derived_id("k", Some("u"), Some("sh"), "i"),
            derived_id("k", None, Some("s"), "hi"),
        ] {
            assert_ne!(base, other);
        }
        assert_ne!(random_id(), random_id());
    }
}
