//! Asking somebody in the middle of a turn: what a tool asks, and what it hears.
//!
//! A tool does not know who is there. Whoever runs the turn gives it an [`Asker`], or none; the answer comes as it was said, or nobody says
//! anything for as long as the question waits. Dropping the future withdraws the question.

use std::fmt::Debug;
use std::pin::Pin;
use std::time::Duration;

use serde_json::Value;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Whether something may be done: the answer is a [`Choice`].
    Approval,
    /// Anything else: the answer is whatever is said next.
    Open,
}

/// A question.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// What is asked for.
    pub kind: Kind,
    /// For people, with what may be answered.
    pub text: String,
    /// The same for programs: fields of an event.
    pub details: Value,
    /// How long it waits.
    pub patience: Duration,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Somebody said this.
    Said(String),
    /// Nobody said anything in time.
    Silence,
    /// Nobody can be asked; why.
    Nobody(String),
}

/// A question on its way to an answer.
pub type Asking<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// Asks on behalf of a turn.
pub trait Asker: Send + Sync + Debug {
    /// Asks, and waits for the answer.
    fn ask(&self, question: Question) -> Asking<'_>;
}

/// What may be said to a request for an approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// This time.
    Once,
    /// Until the conversation or its worker ends.
    Session,
    /// From now on.
    Always,
    /// No, and perhaps why.
    Deny(Option<String>),
}

impl Choice {
    /// What a button for it says.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Once => "✅ Once",
            Self::Session => "✅ In this conversation",
            Self::Always => "✅ Always",
            Self::Deny(_) => "❌ No",
        }
    }

    /// What a message says as an answer; `None`: it is none. `/approve [session|always]`, `/deny [why]`, and the words that people use.
    pub fn said(text: &str) -> Option<Self> {
        let text = text.trim();
        let (head, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim();
        match head.to_lowercase().as_str() {
            "/approve" => match rest.to_lowercase().as_str() {
                "" | "once" => Some(Self::Once),
                "session" => Some(Self::Session),
                "always" => Some(Self::Always),
                _ => None,
            },
            "/deny" => Some(Self::Deny(Some(rest.to_owned()).filter(|why| !why.is_empty()))),
            word if rest.is_empty() => match word.trim_end_matches(['.', '!']) {
                "yes" | "y" | "ok" | "okay" | "approve" | "👍" => Some(Self::Once),
                "session" => Some(Self::Session),
                "always" => Some(Self::Always),
                "no" | "n" | "deny" | "cancel" | "👎" => Some(Self::Deny(None)),
                _ => None,
            },
            _ => None,
        }
    }

    /// A choice by its name in the API, with the names that mean the same.
    pub fn named(name: &str) -> Option<Self> {
        match name.trim().to_lowercase().as_str() {
            "once" | "approve" | "approved" | "allow" => Some(Self::Once),
            "session" => Some(Self::Session),
            "always" => Some(Self::Always),
            "deny" | "denied" => Some(Self::Deny(None)),
            _ => None,
        }
    }

    /// Its name in the API.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Session => "session",
            Self::Always => "always",
            Self::Deny(_) => "deny",
        }
    }

    /// As a message that says it.
    pub fn message(&self) -> String {
        match self {
            Self::Once => "/approve".to_owned(),
            Self::Session => "/approve session".to_owned(),
            Self::Always => "/approve always".to_owned(),
            Self::Deny(None) => "/deny".to_owned(),
            Self::Deny(Some(why)) => format!("/deny {why}"),
        }
    }
}

/// Whether a message is one of the commands that answer.
pub fn is_command(text: &str) -> bool {
    let head = text.split_whitespace().next().unwrap_or_default();
    ["/approve", "/deny"].iter().any(|command| head.eq_ignore_ascii_case(command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_people_write_them() {
        for (text, expected) in [
            ("/approve", Some(Choice::Once)),
            (" /Approve  Session ", Some(Choice::Session)),
            ("/approve always", Some(Choice::Always)),
            ("/approve everything", None),
            ("/deny", Some(Choice::Deny(None))),
            ("/deny use a copy", Some(Choice::Deny(Some("use a copy".to_owned())))),
            ("Yes", Some(Choice::Once)),
            ("ok!", Some(Choice::Once)),
            ("👍", Some(Choice::Once)),
            ("no", Some(Choice::Deny(None))),
            ("always", Some(Choice::Always)),
            ("yes please delete", None),
            ("how is it going?", None),
            ("", None),
        ] {
            assert_eq!(Choice::said(text), expected, "{text}");
            if let Some(choice) = expected {
                assert_eq!(Choice::said(&choice.message()), Some(choice));
            }
        }
        assert!(is_command("/approve x") && is_command("/DENY") && !is_command("approve"));
        assert_eq!(Choice::named("Allow"), Some(Choice::Once));
        assert_eq!(Choice::named("perhaps"), None);
    }
}
