//! The road: how an event gets from the worker whose bot received it to the worker of the profile that answers, and how the answer
//! gets back.
//!
//! ```text
//!  owner (default)                       supervisor                        target (coder)
//!    POST /hand-over/coder/telegram ─────▶ checks who, to whom ──────────▶ POST /road/hand-over/telegram
//!         head, then attachments           passes bytes on                  files, inbox (on disk), then 200
//!    ◀──────────────────────────────────── 200 {"accepted":"new"} ◀────────
//!    confirms to the platform                                               … its turn …
//!    POST /road/deliver/telegram ◀──────── checks who, to whom ◀────────── POST /deliver/default/telegram
//!         does it with its own bot                                          its ledger: a text, a change, a sign
//!    POST /road/deliver-file/telegram ◀─── checks who, to whom ◀────────── POST /deliver-file/default/telegram
//!         a file of its own for the while                                   head, then the file
//!    ────────────────────────────────────▶ 200 {"sent": …} ───────────────▶ done
//! ```
//!
//! Everything is HTTP/1.1 and JSON, so that the same messages can go to another machine; nothing in them means anything on one
//! machine only. The body of a hand-over is the length of its head (four bytes, big endian), the head ([`Event`] as JSON), and the
//! bytes of the attachments, one behind the other, as long as the head says; that of a file is the same with a [`Delivery`]. Nobody
//! reads a path that the other side names: bytes are all that passes. A reader ignores fields that it does not know and refuses a
//! `schema` that is newer than its own; what an older reader understands is written with the older number.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ProfileName;

mod back;

pub use back::{Act, Can, Delivered, Delivery, Sign};

/// Version of events, and of deliveries that are texts.
pub const SCHEMA: u32 = 1;
/// Version of all other deliveries.
pub const BEYOND_TEXTS: u32 = 2;
/// Who sent it, on a request that the supervisor passes on. A client's own copy is deleted.
pub const SENDER: &str = "x-hermes-sender";
/// Where the paths of a worker begin that only the supervisor may ask for, on behalf of another worker.
pub const INNER: &str = "/road/";
/// Code of a refusal with 502 that says: the request reached nobody.
pub const UNREACHABLE: &str = "worker_unreachable";
/// Longest head of a hand-over, and longest delivery, in bytes.
pub const MAX_HEAD: usize = 1024 * 1024;
/// Most attachments of one event.
pub const MAX_ATTACHMENTS: usize = 64;
/// Most other messages that an event was made of.
pub const MAX_ALSO: usize = 256;
/// Longest name of a platform.
const MAX_PLATFORM: usize = 64;
/// Longest name of an attachment, in bytes.
const MAX_NAME: usize = 1024;

/// What a worker asks the supervisor to carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
    /// An event to another profile.
    HandOver,
    /// An answer to the profile that handed the event over.
    Deliver,
    /// A file of an answer, likewise.
    DeliverFile,
}

impl Errand {
    fn word(self) -> &'static str {
        match self {
            Self::HandOver => "hand-over",
            Self::Deliver => "deliver",
            Self::DeliverFile => "deliver-file",
        }
    }

    /// The path that a worker asks for, for an event or an answer of `platform` that is for `profile`.
    pub fn path(self, profile: &ProfileName, platform: &str) -> String {
        format!("/{}/{profile}/{platform}", self.word())
    }

    /// The path at the worker that it is for.
    pub fn inner_path(self, platform: &str) -> String {
        format!("{INNER}{}/{platform}", self.word())
    }

    /// Reads [`Errand::path`].
    pub fn parse(path: &str) -> Option<(Self, ProfileName, &str)> {
        let mut parts = path.strip_prefix('/')?.splitn(3, '/');
        let errand = match parts.next()? {
            "hand-over" => Self::HandOver,
            "deliver" => Self::Deliver,
            "deliver-file" => Self::DeliverFile,
            _ => return None,
        };
        let profile = parts.next()?.parse().ok()?;
        Some((errand, profile, parts.next().filter(|name| is_platform(name))?))
    }
}

/// Whether `name` can be a platform's in a path.
pub fn is_platform(name: &str) -> bool {
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    !name.is_empty() && name.len() <= MAX_PLATFORM && name.bytes().all(letter)
}

/// One event that is for another profile.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Event {
    /// [`SCHEMA`]
    pub schema: u32,
    /// Where it came from.
    pub from: From,
    /// What was written.
    pub text: String,
    /// Which message it is; the same one twice is one event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// What the owner's way out needs to answer there. Means nothing to the target, which sends it back with the answer.
    #[serde(default)]
    pub reply: BTreeMap<String, String>,
    /// Other messages that it was made of, by their ids in the same scope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// Longest message that the owner's way out takes, in characters, or as [`Can::format`] measures; longer answers are sent in parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest: Option<u64>,
    /// What else that way can do; none: texts are all that it is known to take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub can: Option<Can>,
    /// What follows the head.
    #[serde(default)]
    pub attachments: Vec<Attachment>,
}

/// What tells a message from all others of its platform.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Identity {
    /// Chat.
    pub scope: String,
    /// The platform's id of the message in it.
    pub id: String,
}

/// Where an event came from. All ids are texts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct From {
    /// `dm`, `group`, `channel`, `thread`
    pub chat_type: String,
    /// Chat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_id: Option<String>,
    /// Its name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_name: Option<String>,
    /// The chat that a thread or a post belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_chat_id: Option<String>,
    /// Server, team or space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guild_id: Option<String>,
    /// Thread in the chat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
    /// Sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Sender's stable second id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id_alt: Option<String>,
    /// Sender's name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
    /// It is a bot.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_bot: bool,
    /// The message is for the bot that received it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub addressed: bool,
    /// The service says that the sender has a role that may.
    #[serde(default, skip_serializing_if = "is_false")]
    pub role_authorized: bool,
    /// Other ids of the very same sender.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// What an attachment is, which decides where it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Media {
    /// A picture.
    Image,
    /// A recording of sound.
    Audio,
    /// A recording of pictures.
    Video,
    /// Anything else.
    Document,
}

impl Media {
    /// What a media type stands for.
    pub fn of(media_type: &str) -> Self {
        match media_type.split('/').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "image" => Self::Image,
            "audio" => Self::Audio,
            "video" => Self::Video,
            _ => Self::Document,
        }
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Document => "document",
        }
    }
}

/// One attachment; its bytes follow the head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// What it is.
    pub media: Media,
    /// Its name, as the sender has it. Never a path.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub length: u64,
}

/// The answer to a hand-over: it is on the target's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accepted {
    /// It will be answered.
    New,
    /// It was handed over before; nothing more happens.
    Known,
    /// Its sender may not talk to that profile.
    TurnedAway,
}

/// Body of a hand-over's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// What became of it.
    pub accepted: Accepted,
}

/// Why a message is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoadError {
    /// The head is longer than [`MAX_HEAD`], or has no length.
    #[error("its head has {0} bytes, and at most {MAX_HEAD} are read")]
    Length(u64),
    /// It is no JSON, or not what it should be.
    #[error("its head cannot be read (column {0})")]
    Json(usize),
    /// It was made by a newer program.
    #[error("it has version {0}, which is newer than what is known")]
    Schema(u32),
    /// Too many attachments, or too much in what is said of them.
    #[error("{0}")]
    Limit(&'static str),
}

impl Event {
    /// Bytes of all attachments; `None`: more than can be counted.
    pub fn attached(&self) -> Option<u64> {
        self.attachments.iter().try_fold(0u64, |sum, attachment| sum.checked_add(attachment.length))
    }

    /// What a hand-over's body begins with.
    pub fn head(&self) -> Result<Vec<u8>, RoadError> {
        head(self)
    }

    /// Reads a head, without its length.
    pub fn parse(json: &[u8]) -> Result<Self, RoadError> {
        let event: Self = parse(json)?;
        check_schema(event.schema, SCHEMA)?;
        if event.also.len() > MAX_ALSO {
            return Err(RoadError::Limit("it was made of more messages than are taken for one"));
        }
        if event.attachments.len() > MAX_ATTACHMENTS {
            return Err(RoadError::Limit("it has more attachments than are taken"));
        }
        let long = |attachment: &Attachment| {
            attachment.name.len() > MAX_NAME || attachment.media_type.len() > MAX_NAME
        };
        if event.attachments.iter().any(long) || event.attached().is_none() {
            return Err(RoadError::Limit("what it says of an attachment is too long"));
        }
        Ok(event)
    }
}

/// The length that the first four bytes of a hand-over name.
pub fn length_of_head(bytes: [u8; 4]) -> Result<usize, RoadError> {
    let length = u32::from_be_bytes(bytes);
    let len = usize::try_from(length).unwrap_or(usize::MAX);
    head_length(len).map(|_| len)
}

/// What is in front of bytes: its length, and a message.
fn head(message: &impl Serialize) -> Result<Vec<u8>, RoadError> {
    let json = serde_json::to_vec(message).expect("texts and numbers always serialise");
    let mut head = head_length(json.len())?.to_be_bytes().to_vec();
    head.extend(json);
    Ok(head)
}

fn head_length(len: usize) -> Result<u32, RoadError> {
    let length = u32::try_from(len).ok().filter(|_| (1..=MAX_HEAD).contains(&len));
    length.ok_or(RoadError::Length(u64::try_from(len).unwrap_or(u64::MAX)))
}

fn parse<T: serde::de::DeserializeOwned>(json: &[u8]) -> Result<T, RoadError> {
    if json.len() > MAX_HEAD {
        return Err(RoadError::Length(u64::try_from(json.len()).unwrap_or(u64::MAX)));
    }
    // Its words would repeat what somebody wrote.
    serde_json::from_slice(json).map_err(|error| RoadError::Json(error.column()))
}

fn check_schema(schema: u32, newest: u32) -> Result<(), RoadError> {
    if schema > newest { Err(RoadError::Schema(schema)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn errands_are_paths_and_nothing_else_is() {
        let coder: ProfileName = "coder".parse().unwrap();
        for errand in [Errand::HandOver, Errand::Deliver, Errand::DeliverFile] {
            let path = errand.path(&coder, "telegram");
            assert_eq!(Errand::parse(&path), Some((errand, coder.clone(), "telegram")));
            assert!(errand.inner_path("telegram").starts_with(INNER));
        }
        for no in [
            "/hand-over/coder",
            "/hand-over/coder/",
            "/hand-over/coder/tele/gram",
            "/hand-over/../telegram",
            "/hand-over/Coder/telegram",
            "/hand-over/coder/tele%67ram",
            "/hand-over/coder/telegram?x",
            "/deliver//telegram",
            "/road/hand-over/telegram",
            "hand-over/coder/telegram",
            "",
        ] {
            assert_eq!(Errand::parse(no), None, "{no}");
        }
    }

    /// The form that is on the wire, kept for as long as anybody may send it.
    #[test]
    fn the_first_version_stays_readable() {
        let event = r#"{"schema":1,"from":{"chat_type":"group","chat_id":"-100","thread_id":"5","user_id":"7"},
            "text":"look","identity":{"scope":"-100","id":"42"},"reply":{"chat_id":"-100"},
            "attachments":[{"media":"image","name":"a.png","media_type":"image/png","length":3}]}"#;
        let event = Event::parse(event.as_bytes()).unwrap();
        assert_eq!((event.from.chat_id.as_deref(), event.attached()), (Some("-100"), Some(3)));
        assert_eq!(event.attachments[0].media, Media::Image);
        let head = event.head().unwrap();
        let (length, json) = head.split_at(4);
        assert_eq!(length_of_head(length.try_into().unwrap()), Ok(json.len()));
        assert_eq!(Event::parse(json), Ok(event));

        let least = br#"{"schema":1,"from":{"chat_type":"dm"},"text":"","later":true}"#;
        assert!(Event::parse(least).unwrap().attachments.is_empty());
        let newer = br#"{"schema":2,"from":{"chat_type":"dm"},"text":""}"#;
        assert_eq!(Event::parse(newer), Err(RoadError::Schema(2)));

        let delivery = br#"{"schema":1,"reply":{"chat_id":"1"},"text":"hi","key":"k"}"#;
        assert!(!Delivery::parse(delivery).unwrap().repeated);
        for (text, said) in [
            (r#"{"sent":{"id":"9"}}"#, Delivered::Sent { id: Some("9".into()), pass: None }),
            (
                r#"{"later":{"after_ms":null,"unsure":true,"reason":"r"}}"#,
                Delivered::Later { after_ms: None, unsure: true, reason: "r".into() },
            ),
            (r#"{"never":{"reason":"r"}}"#, Delivered::Never { reason: "r".into(), gone: false }),
        ] {
            assert_eq!(serde_json::to_string(&said).unwrap(), text);
            assert_eq!(serde_json::from_str::<Delivered>(text).unwrap(), said);
        }
        assert_eq!(
            serde_json::to_string(&Receipt { accepted: Accepted::Known }).unwrap(),
            r#"{"accepted":"known"}"#
        );
    }

    #[test]
    fn what_is_too_much_is_refused_and_no_error_repeats_it() {
        for length in [0, u32::try_from(MAX_HEAD).unwrap() + 1, u32::MAX] {
            assert!(matches!(length_of_head(length.to_be_bytes()), Err(RoadError::Length(_))), "{length}");
        }
        let long = Event { text: "x".repeat(MAX_HEAD), schema: SCHEMA, ..Event::default() };
        assert!(matches!(long.head(), Err(RoadError::Length(_))));
        let of =
            |length| Attachment { media: Media::Document, name: "n".into(), media_type: "t".into(), length };
        let event = |attachments| Event { schema: SCHEMA, attachments, ..Event::default() };
        let json = |event: &Event| serde_json::to_vec(event).unwrap();
        assert!(Event::parse(&json(&event(vec![of(1); MAX_ATTACHMENTS]))).is_ok());
        for bad in [event(vec![of(1); MAX_ATTACHMENTS + 1]), event(vec![of(u64::MAX), of(1)])] {
            assert!(matches!(Event::parse(&json(&bad)), Err(RoadError::Limit(_))));
        }
        let said = Event::parse(br#"{"schema":"hunter2"}"#).unwrap_err().to_string();
        assert!(!said.contains("hunter2"), "{said}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), path in "/[a-z/%.-]{0,30}") {
            let _ = Event::parse(&bytes);
            let _ = Delivery::parse(&bytes);
            if let Some((errand, profile, platform)) = Errand::parse(&path) {
                prop_assert_eq!(errand.path(&profile, platform), path);
            }
        }
    }
}
