//! Profile names: the only place that decides whether a string names a profile.
//!
//! Grammar and reserved words: `^[a-z0-9][a-z0-9_-]{0,63}$`, with `main` reserved because the session keys of the default
//! profile live under `agent:main`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The built-in profile, whose home is the root home itself.
pub const DEFAULT: &str = "default";

/// Names no profile may have: program and system names, and `main`, the default profile's session namespace.
pub const RESERVED: [&str; 6] = ["hermes", "test", "tmp", "root", "sudo", "main"];

/// Longest name in bytes.
pub const MAX_LEN: usize = 64;

/// A valid profile name, `default` included.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProfileName(String);

/// Why a string is not a profile name. Texts are those existing scripts know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing, or white space only.
    #[error("profile name cannot be empty")]
    Empty,
    /// Outside the grammar; carries the offending text.
    #[error("Invalid profile name '{0}'. Must match [a-z0-9][a-z0-9_-]{{0,63}}")]
    Grammar(String),
    /// One of [`RESERVED`].
    #[error(
        "Profile name '{0}' is reserved — it collides with either the Hermes installation itself or a common system binary.  Pick a different name."
    )]
    Reserved(String),
}

impl ProfileName {
    /// The built-in profile.
    pub fn default_profile() -> Self {
        Self(DEFAULT.to_owned())
    }

    /// Whether this is the built-in profile.
    pub fn is_default(&self) -> bool {
        self.0 == DEFAULT
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Parses what a person typed: surrounding white space and letter case are forgiven.
    pub fn from_user_input(text: &str) -> Result<Self, NameError> {
        text.trim().to_lowercase().parse()
    }
}

/// Whether `text` matches the grammar, reserved or not.
pub fn is_grammatical(text: &str) -> bool {
    let bytes = text.as_bytes();
    let lower_or_digit = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=MAX_LEN).contains(&bytes.len())
        && lower_or_digit(&bytes[0])
        && bytes.iter().all(|b| lower_or_digit(b) || *b == b'_' || *b == b'-')
}

impl FromStr for ProfileName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if !is_grammatical(text) {
            return Err(NameError::Grammar(text.to_owned()));
        }
        if RESERVED.contains(&text) {
            return Err(NameError::Reserved(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for ProfileName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ProfileName> for String {
    fn from(name: ProfileName) -> Self {
        name.0
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar_accepts_and_refuses_what_0_19_0_does() {
        for good in ["a", "1x", "coder", "a_b-c", &"x".repeat(64), "default"] {
            assert!(good.parse::<ProfileName>().is_ok(), "{good}");
        }
        for bad in ["UPPER", "a.b", "_x", "-x", &"x".repeat(65), "nl\n", "a b", "ü", "a/b", ".."] {
            assert_eq!(bad.parse::<ProfileName>(), Err(NameError::Grammar(bad.to_owned())));
        }
    }

    #[test]
    fn reserved_names_include_the_default_session_namespace() {
        for name in RESERVED {
            assert_eq!(name.parse::<ProfileName>(), Err(NameError::Reserved(name.to_owned())));
        }
    }

    #[test]
    fn user_input_is_normalised_first() {
        assert_eq!(ProfileName::from_user_input(" Coder\n").unwrap().as_str(), "coder");
        assert!(ProfileName::from_user_input("DEFAULT").unwrap().is_default());
        assert_eq!(ProfileName::from_user_input("  "), Err(NameError::Empty));
    }
}
