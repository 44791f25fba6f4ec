//! What asking the services of a profile's platforms came to: one line that a helper process prints for `hermes doctor --online` and
//! `hermes setup`.

use serde::{Deserialize, Serialize};

/// Everything that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Trials {
    /// Each platform, in the registry's order.
    pub platforms: Vec<Trial>,
}

/// One platform, asked once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Its name.
    pub platform: String,
    /// What came of it.
    pub verdict: Verdict,
    /// For people: who it is there, or why nobody was asked or heard. Holds no secret.
    pub message: String,
    /// What is not as it should be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<Lack>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It works; what it lacks it can do without.
    Fine,
    /// Something is missing that it does not work without.
    Lacking,
    /// Nobody answered.
    Unreachable,
    /// Nobody was asked.
    NotAsked,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lack {
    /// It does not work so.
    pub is_needed: bool,
    /// What.
    pub what: String,
    /// What to do.
    pub fix: String,
}

impl Trial {
    /// Somebody answered.
    pub fn answered(platform: &str, message: impl Into<String>, lacks: Vec<Lack>) -> Self {
        let is_lacking = lacks.iter().any(|lack| lack.is_needed);
        let verdict = if is_lacking { Verdict::Lacking } else { Verdict::Fine };
        Self { platform: platform.to_owned(), verdict, message: message.into(), lacks }
    }

    /// Nobody answered, for this reason.
    pub fn unreachable(platform: &str, why: impl Into<String>) -> Self {
        Self {
            platform: platform.to_owned(),
            verdict: Verdict::Unreachable,
            message: why.into(),
            lacks: Vec::new(),
        }
    }

    /// Nobody was asked, for this reason.
    pub fn not_asked(platform: &str, why: impl Into<String>) -> Self {
        Self {
            platform: platform.to_owned(),
            verdict: Verdict::NotAsked,
            message: why.into(),
            lacks: Vec::new(),
        }
    }
}

impl Lack {
    /// It does not work without this.
    pub fn needed(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { is_needed: true, what: what.into(), fix: fix.into() }
    }

    /// It works without this, and not as well.
    pub fn wanted(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { is_needed: false, what: what.into(), fix: fix.into() }
    }
}
