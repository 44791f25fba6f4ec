//! Who may look, where there is a token: whoever sends it, and a browser that has sent it once.
//!
//! The token itself is not here. The default profile's worker reports a keyed hash of it ([`hermes_wire::admin`]); what somebody sends is
//! hashed with the same key and compared in constant time. A browser that has sent it gets a cookie of its own, random and forgotten with
//! this process, which no script can read and no other site can send.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, PoisonError};

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, COOKIE};
use hermes_wire::admin;

/// Browsers at the same time; the one that came first is forgotten.
const BROWSERS: usize = 32;
/// Name of the cookie.
const NAME: &str = "hermes_admin";
/// Longest token.
pub(super) const MAX_TOKEN: usize = 1024;

/// The door, and who has passed it.
pub struct Door {
    key: [u8; 32],
    token: [u8; 32],
    browsers: Mutex<VecDeque<[u8; 32]>>,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").finish_non_exhaustive()
    }
}

impl Door {
    /// A door that `token`, as [`admin::hash`] gives it with `key`, opens.
    pub fn new(key: [u8; 32], token: [u8; 32]) -> Self {
        Self { key, token, browsers: Mutex::default() }
    }

    /// Whether this request may see anything.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
        bearer.is_some_and(|token| self.is_token(token.as_bytes()))
            || cookie(headers).is_some_and(|own| self.knows(&own))
    }

    /// Whether these bytes are the token.
    fn is_token(&self, said: &[u8]) -> bool {
        said.len() <= MAX_TOKEN && admin::is_same(&admin::hash(&self.key, said), &self.token)
    }

    fn knows(&self, own: &[u8; 32]) -> bool {
        let browsers = self.browsers.lock().unwrap_or_else(PoisonError::into_inner);
        browsers.iter().any(|other| admin::is_same(own, other))
    }

    /// The cookie of a browser that has sent the token; `None` where it is not the token.
    pub(super) fn enter(&self, said: &[u8]) -> io::Result<Option<String>> {
        if !self.is_token(said) {
            return Ok(None);
        }
        let own = random()?;
        let mut browsers = self.browsers.lock().unwrap_or_else(PoisonError::into_inner);
        if browsers.len() == BROWSERS {
            browsers.pop_front();
        }
        browsers.push_back(own);
        Ok(Some(format!("{NAME}={}; Path=/; HttpOnly; SameSite=Strict", hex(&own))))
    }

    /// Forgets a browser; what makes it forget, too.
    pub(super) fn leave(&self, headers: &HeaderMap) -> String {
        if let Some(own) = cookie(headers) {
            let mut browsers = self.browsers.lock().unwrap_or_else(PoisonError::into_inner);
            browsers.retain(|other| !admin::is_same(&own, other));
        }
        format!("{NAME}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0")
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn cookie(headers: &HeaderMap) -> Option<[u8; 32]> {
    let all = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == NAME).and_then(|(_, value)| unhex(value))
}

fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    io::Read::read_exact(&mut fs_err::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes)
}

/// A number that nobody can guess, for one page.
pub(super) fn nonce() -> io::Result<String> {
    random().map(|bytes| hex(&bytes[..16]))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |text, byte| format!("{text}{byte:02x}"))
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(n * 2..n * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: axum::http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn the_token_opens_and_so_does_the_cookie_that_it_gave() {
        let key = [3; 32];
        let door = Door::new(key, admin::hash(&key, b"a-token-of-some-length"));
        assert!(door.admits(&with(AUTHORIZATION, "Bearer a-token-of-some-length")));
        assert!(door.admits(&with(AUTHORIZATION, "bearer  a-token-of-some-length ")));
        for wrong in ["Bearer a-token", "Basic a-token-of-some-length", "Bearer ", "a-token-of-some-length"] {
            assert!(!door.admits(&with(AUTHORIZATION, wrong)), "{wrong}");
        }
        assert!(!door.admits(&HeaderMap::new()));
        assert_eq!(door.enter(b"a-token").unwrap(), None);
        let given = door.enter(b"a-token-of-some-length").unwrap().unwrap();
        assert!(given.contains("; HttpOnly; SameSite=Strict"), "{given}");
        let own = given.split(';').next().unwrap().to_owned();
        assert!(door.admits(&with(COOKIE, &format!("x=y; {own}"))));
        let longer = own.replace('=', "=0");
        for wrong in ["hermes_admin=", "hermes_admin=zz", "hermes_admin", &format!("{own}0"), &longer] {
            assert!(!door.admits(&with(COOKIE, wrong)), "{wrong}");
        }
        // Whoever came first is forgotten when too many have come.
        for _ in 0..BROWSERS {
            door.enter(b"a-token-of-some-length").unwrap();
        }
        assert!(!door.admits(&with(COOKIE, &own)));
        let given = door.enter(b"a-token-of-some-length").unwrap().unwrap();
        let own = with(COOKIE, given.split(';').next().unwrap());
        assert!(door.admits(&own) && door.leave(&own).contains("Max-Age=0") && !door.admits(&own));
    }
}
