//! What goes the way back: what the owner's bot is to do for the profile that answers, and what came of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{BEYOND_TEXTS, MAX_NAME, RoadError, SCHEMA, check_schema, head, parse};

/// What the owner's way out can do besides sending texts. Said with each event, and true of its chat.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Can {
    /// How texts are written there, in a word that the same program knows.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub format: String,
    /// [`Act::Edit`] and [`Act::TakeBack`] work.
    #[serde(default)]
    pub edits: bool,
    /// For how long one [`Act::Typing`] is shown, in milliseconds; none: it does nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typing_ms: Option<u64>,
    /// Longest file that it carries, in bytes; none: it carries none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// [`Act::React`] shows something.
    #[serde(default)]
    pub reacts: bool,
}

/// A sign at the message that an event came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// Its turn runs.
    Seen,
    /// It ended well.
    Done,
    /// It failed.
    Failed,
    /// It was cancelled: none.
    Nothing,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// [`Delivery::text`] is sent.
    #[default]
    Send,
    /// It takes the place of what an earlier message says.
    Edit {
        /// [`Delivered::Sent::id`]
        id: String,
        /// [`Delivered::Sent::pass`]
        pass: String,
    },
    /// An earlier message is taken back.
    TakeBack {
        /// As above.
        id: String,
        /// As above.
        pass: String,
    },
    /// The chat is shown that an answer is being made.
    Typing,
    /// A sign.
    React(Sign),
    /// A file is sent, which follows the delivery.
    File {
        /// What it is called for people. Never a path.
        name: String,
        /// What is in it.
        media_type: String,
        /// It is shown as what it is, where the service can.
        shown: bool,
        /// Its bytes.
        length: u64,
    },
}

impl Act {
    fn is_send(&self) -> bool {
        *self == Self::Send
    }
}

/// One thing that is to be done with the owner's bot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Delivery {
    /// [`Delivery::new`] knows.
    pub schema: u32,
    /// [`Event::reply`](super::Event::reply)
    pub reply: BTreeMap<String, String>,
    /// The message.
    pub text: String,
    /// The same for every try of this message, and for no other one.
    pub key: String,
    /// An earlier try may have got there.
    #[serde(default)]
    pub repeated: bool,
    /// What it is. An older reader knows texts alone.
    #[serde(default, skip_serializing_if = "Act::is_send")]
    pub act: Act,
}

/// The answer to a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivered {
    /// It is there.
    Sent {
        /// The platform's name for it, where it has one.
        id: Option<String>,
        /// With this whoever sent it, and nobody else, may have it changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pass: Option<String>,
    },
    /// Worth another try.
    Later {
        /// What the platform asked to wait, in milliseconds.
        after_ms: Option<u64>,
        /// It may have got there all the same.
        unsure: bool,
        /// For people. Holds no secret.
        reason: String,
    },
    /// A retry cannot help.
    Never {
        /// For people. Holds no secret.
        reason: String,
        /// The chat itself is the cause.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        gone: bool,
    },
}

impl Delivery {
    /// Something to be done where `reply` says.
    pub fn new(reply: BTreeMap<String, String>, act: Act) -> Self {
        let schema = if act.is_send() { SCHEMA } else { BEYOND_TEXTS };
        Self { schema, reply, act, ..Self::default() }
    }

    /// Reads a delivery.
    pub fn parse(json: &[u8]) -> Result<Self, RoadError> {
        let delivery: Self = parse(json)?;
        check_schema(delivery.schema, BEYOND_TEXTS)?;
        let named: [&str; 2] = match &delivery.act {
            Act::Edit { id, pass } | Act::TakeBack { id, pass } => [id, pass],
            Act::File { name, media_type, .. } => [name, media_type],
            Act::Send | Act::Typing | Act::React(_) => ["", ""],
        };
        if named.iter().any(|name| name.len() > MAX_NAME) {
            return Err(RoadError::Limit("what it names is too long"));
        }
        Ok(delivery)
    }

    /// What the body of a file begins with.
    pub fn head(&self) -> Result<Vec<u8>, RoadError> {
        head(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_as_it_always_was_and_what_is_newer_says_so() {
        let reply = BTreeMap::from([("chat_id".to_owned(), "1".to_owned())]);
        let text = Delivery { text: "t".into(), key: "k".into(), ..Delivery::new(reply.clone(), Act::Send) };
        let json = serde_json::to_string(&text).unwrap();
        assert_eq!(json, r#"{"schema":1,"reply":{"chat_id":"1"},"text":"t","key":"k","repeated":false}"#);
        let first = br#"{"schema":1,"reply":{},"text":"t","key":"k"}"#;
        assert_eq!(Delivery::parse(first).unwrap().act, Act::Send);
        for (act, shape) in [
            (Act::Edit { id: "5".into(), pass: "p".into() }, r#""act":{"edit":{"id":"5","pass":"p"}}"#),
            (Act::Typing, r#""act":"typing""#),
            (Act::React(Sign::Done), r#""act":{"react":"done"}"#),
            (
                Act::File { name: "a".into(), media_type: "b/c".into(), shown: true, length: 3 },
                r#""act":{"file":{"name":"a","media_type":"b/c","shown":true,"length":3}}"#,
            ),
        ] {
            let delivery = Delivery::new(reply.clone(), act);
            let json = serde_json::to_string(&delivery).unwrap();
            assert!(delivery.schema == 2 && json.contains(shape), "{json}");
            assert_eq!(Delivery::parse(json.as_bytes()), Ok(delivery));
        }
        let newer = br#"{"schema":1,"reply":{},"text":"t","key":"k","act":"dance"}"#;
        assert!(Delivery::parse(newer).is_err(), "what nobody knows is not taken for a text");
        let long = Delivery::new(reply, Act::TakeBack { id: "x".repeat(2000), pass: String::new() });
        assert!(matches!(Delivery::parse(&serde_json::to_vec(&long).unwrap()), Err(RoadError::Limit(_))));
        let sent = Delivered::Sent { id: Some("1".into()), pass: None };
        assert_eq!(serde_json::to_string(&sent).unwrap(), r#"{"sent":{"id":"1"}}"#);
    }
}
