//! The files of pairing: who asked to talk to a bot, and who was let in. The Python program and this one read each other's.
//!
//! ```text
//! platforms/pairing/            or pairing/, where that is there
//!   <platform>-pending.json     {"<request>": {"hash", "salt", "user_id", "user_name", "created_at"}}
//!   <platform>-approved.json    {"<user id>": {"user_name", "approved_at"}}
//!   _rate_limits.json           {"<platform>:<user>": when, "_failures:<platform>": how many, "_lockout:<platform>": until}
//! ```
//!
//! A code is in no file: its hash is SHA-256 of salt and code. Entries and fields that nobody here knows are kept as they are.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// What codes are made of: nothing that looks like something else.
pub const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// Letters of a code.
pub const CODE: usize = 8;
/// Seconds that a code is good for.
pub const LIVES: f64 = 3600.0;
/// Codes of a platform that wait at once.
pub const MOST_PENDING: usize = 3;
/// Seconds between two answers to the same stranger.
pub const PAUSE: f64 = 600.0;
/// Wrong codes of a platform, after which none is taken for [`LOCKED`].
pub const FAILURES: u64 = 5;
/// Seconds without codes.
pub const LOCKED: f64 = 3600.0;
/// What the name of a file of requests ends with.
pub const PENDING: &str = "-pending.json";
/// The same, of those who were let in.
pub const APPROVED: &str = "-approved.json";
/// The name of the file of limits.
pub const RATES: &str = "_rate_limits.json";

/// What a file holds.
pub type Entries = Map<String, Value>;

/// Somebody who asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Pending {
    /// The name of the request; no code.
    pub request: String,
    /// Who.
    pub user_id: String,
    /// As he calls himself.
    pub user_name: String,
    /// When, in seconds since the epoch.
    pub created_at: f64,
    hash: String,
    salt: String,
}

#[derive(Deserialize)]
struct Fields {
    #[serde(default)]
    hash: String,
    #[serde(default)]
    salt: String,
    user_id: String,
    #[serde(default)]
    user_name: Option<String>,
    created_at: f64,
}

impl Pending {
    /// One entry; `None`: it is of another form.
    pub fn read(request: &str, entry: &Value) -> Option<Self> {
        let Fields { hash, salt, user_id, user_name, created_at } = Fields::deserialize(entry).ok()?;
        let request = request.to_owned();
        Some(Self { request, user_id, user_name: user_name.unwrap_or_default(), created_at, hash, salt })
    }

    /// Whether this is its code.
    pub fn is_code(&self, code: &str) -> bool {
        let Some(salt) = unhex(&self.salt) else { return false };
        !self.hash.is_empty() && bool::from(hash(&salt, code).as_bytes().ct_eq(self.hash.as_bytes()))
    }

    /// Whether its code is still good.
    pub fn is_alive(&self, now: f64) -> bool {
        now - self.created_at <= LIVES
    }
}

/// Somebody who was let in.
#[derive(Debug, Clone, PartialEq)]
pub struct Approved {
    /// Who.
    pub user_id: String,
    /// As he called himself then.
    pub user_name: String,
    /// When, in seconds since the epoch.
    pub approved_at: Option<f64>,
}

impl Approved {
    /// One entry. Its name alone lets somebody in.
    pub fn read(user_id: &str, entry: &Value) -> Self {
        let name = entry.get("user_name").and_then(Value::as_str).unwrap_or_default();
        let approved_at = entry.get("approved_at").and_then(Value::as_f64);
        Self { user_id: user_id.to_owned(), user_name: name.to_owned(), approved_at }
    }
}

/// A request with this code, and what stands in the file of it.
pub fn pending(code: &str, salt: [u8; 16], user_id: &str, user_name: &str, now: f64) -> Value {
    json!({
        "hash": hash(&salt, code),
        "salt": hex(&salt),
        "user_id": user_id,
        "user_name": user_name,
        "created_at": now,
    })
}

/// What stands in the file of somebody who is let in.
pub fn approved(user_name: &str, now: f64) -> Value {
    json!({"user_name": user_name, "approved_at": now})
}

/// A code of random bytes.
pub fn code(random: [u8; CODE]) -> String {
    random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}

/// A code as somebody types it.
pub fn typed(code: &str) -> String {
    code.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_uppercase).collect()
}

/// The name of a request of random bytes.
pub fn request(random: [u8; 8]) -> String {
    hex(&random)
}

fn hash(salt: &[u8], code: &str) -> String {
    hex(&Sha256::new().chain_update(salt).chain_update(code).finalize())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|n| u8::try_from(n).ok());
    digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// The file of limits. What is not a number there counts as nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rates(pub Entries);

impl Rates {
    /// Whether somebody was answered a moment ago.
    pub fn is_limited(&self, platform: &str, user_id: &str, now: f64) -> bool {
        let last = self.0.get(&format!("{platform}:{user_id}")).and_then(Value::as_f64);
        // A time that is still to come was noted by a clock that was wrong.
        last.is_some_and(|last| (0.0..PAUSE).contains(&(now - last)))
    }

    /// Somebody is answered now. Who was long ago is forgotten.
    pub fn note(&mut self, platform: &str, user_id: &str, now: f64) {
        let is_person = |key: &str| !key.starts_with('_');
        self.0.retain(|key, when| {
            !is_person(key) || when.as_f64().is_none_or(|when| (0.0..PAUSE).contains(&(now - when)))
        });
        self.0.insert(format!("{platform}:{user_id}"), now.into());
    }

    /// Until when no code of a platform is made or taken.
    pub fn locked_until(&self, platform: &str, now: f64) -> Option<f64> {
        let until = self.0.get(&format!("_lockout:{platform}")).and_then(Value::as_f64);
        // Nothing was ever locked for longer.
        until.filter(|until| *until > now && *until <= now + LOCKED + 60.0)
    }

    /// A wrong code. Whether no more are taken now.
    pub fn failed(&mut self, platform: &str, now: f64) -> bool {
        let key = format!("_failures:{platform}");
        let failures = self.0.get(&key).and_then(Value::as_u64).unwrap_or(0).saturating_add(1);
        let locked = failures >= FAILURES;
        self.0.insert(key, if locked { 0 } else { failures }.into());
        if locked {
            self.0.insert(format!("_lockout:{platform}"), (now + LOCKED).into());
        }
        locked
    }

    /// A right one.
    pub fn succeeded(&mut self, platform: &str) {
        self.0.remove(&format!("_failures:{platform}"));
    }
}

#[cfg(test)]
mod tests {
    //! Codes, hashes and limits, as the Python program has them.

    use super::*;

    /// Made by the Python program: `hashlib.sha256(bytes.fromhex(salt) + code.encode()).hexdigest()`.
    #[test]
    fn a_request_of_the_python_program_is_known_by_its_code() {
        let salt = "000102030405060708090a0b0c0d0e0f";
        let code = "6PWQY2UH";
        let made =
            pending(code, *b"\0\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x0c\r\x0e\x0f", "777", "Ann", 5.0);
        assert_eq!(made["salt"], salt);
        let read = Pending::read("r", &made).unwrap();
        assert!(read.is_code(code) && !read.is_code("6PWQY2UJ") && !read.is_code(""));
        assert_eq!((read.user_id.as_str(), read.user_name.as_str()), ("777", "Ann"));
        assert!(read.is_alive(5.0 + LIVES) && !read.is_alive(6.0 + LIVES));
        assert!(Pending::read("r", &json!({"user_id": 7})).is_none());
        let old = Pending::read("r", &json!({"user_id": "7", "user_name": null, "created_at": 1})).unwrap();
        assert!(!old.is_code("") && old.user_name.is_empty());
    }

    #[test]
    fn codes_are_of_letters_that_look_like_no_other() {
        let all: String = code([0, 31, 32, 255, 7, 8, 100, 200]);
        assert_eq!(all.len(), CODE);
        assert!(all.bytes().all(|byte| ALPHABET.contains(&byte)));
        assert!(!ALPHABET.iter().any(|letter| b"IO01".contains(letter)));
        assert_eq!(typed(" 6pwq y2uh\n"), "6PWQY2UH");
    }

    #[test]
    fn limits_end_by_themselves() {
        let mut rates = Rates::default();
        rates.note("telegram", "7", 1000.0);
        assert!(rates.is_limited("telegram", "7", 1000.0 + PAUSE - 1.0));
        assert!(
            !rates.is_limited("telegram", "7", 1000.0 + PAUSE) && !rates.is_limited("slack", "7", 1000.0)
        );
        assert!(!rates.is_limited("telegram", "7", 10.0), "the clock was set back");
        for n in 1..FAILURES {
            assert!(!rates.failed("telegram", 2000.0), "{n}");
        }
        assert!(rates.failed("telegram", 2000.0));
        assert_eq!(rates.locked_until("telegram", 2001.0), Some(2000.0 + LOCKED));
        assert_eq!(
            (rates.locked_until("telegram", 2000.0 + LOCKED), rates.locked_until("slack", 1.0)),
            (None, None)
        );
        rates.note("telegram", "8", 5000.0);
        assert!(rates.0.get("telegram:7").is_none(), "forgotten");
        assert!(rates.0.get("_lockout:telegram").is_some());
        rates.failed("telegram", 9000.0);
        rates.succeeded("telegram");
        assert!(rates.0.get("_failures:telegram").is_none());
    }
}
