//! `x-request-id`: the name that every answer carries, by which a client and a log speak of the same request.

use std::hash::{BuildHasher as _, RandomState};

/// The header, both ways.
pub const REQUEST_ID: &str = "x-request-id";
/// Longest id of a client that is kept, in bytes.
const MAX_LEN: usize = 128;

/// The id of a request: the client's, if it is one that can stand in any log, else a new one.
///
/// ```
/// use hermes_wire::request_id::request_id;
/// assert_eq!(request_id(Some(b"deploy-7")), "deploy-7");
/// assert!(request_id(Some(b"two words")).starts_with("req_"));
/// assert_ne!(request_id(None), request_id(None));
/// ```
pub fn request_id(sent: Option<&[u8]>) -> String {
    if let Some(id) = sent
        && (1..=MAX_LEN).contains(&id.len())
        && id.iter().all(u8::is_ascii_graphic)
        && let Ok(id) = std::str::from_utf8(id)
    {
        return id.to_owned();
    }
    // Keys drawn from the system once per thread, and another one each time: nobody outside can guess them.
    let keys = RandomState::new();
    format!("req_{:016x}{:016x}", keys.hash_one(0_u8), keys.hash_one(1_u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sane_ids_are_kept() {
        let long = [b'x'; MAX_LEN];
        for kept in [&b"a"[..], b"550e8400-e29b-41d4-a716-446655440000", b"a/b:c=1,2", &long] {
            assert_eq!(request_id(Some(kept)).as_bytes(), kept);
        }
        for odd in [&b""[..], b" ", b"a b", b"a\tb", b"\xc3\xbc", b"\x1b[31m", &[b'x'; MAX_LEN + 1]] {
            let made = request_id(Some(odd));
            assert!(made.starts_with("req_") && made.len() == 36, "{made}");
        }
    }
}
