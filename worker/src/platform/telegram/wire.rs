//! What the Bot API says. Bytes from outside, parsed once; nothing in them is believed to be short or sane, and one update that is odd
//! spoils no other.

use std::ops::Range;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::json;

/// Longest text of one message, in bytes: 4096 UTF-16 units and much more.
const TEXT: usize = 64 * 1024;
/// Most answers of a poll.
const OPTIONS: usize = 100;
/// Longest name of a person, a chat or a file, in bytes.
const NAME: usize = 1024;
/// Most of what an error says that is shown, in characters.
const SHOWN: usize = 300;
/// Longest wait that the service may ask for, in seconds.
const ASKED: u64 = 24 * 3600;

/// Why an answer is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    /// No JSON of the expected shape.
    #[error("Telegram's answer to {0} is not understood")]
    Shape(&'static str),
    /// More than anybody should get at once.
    #[error("Telegram's answer to {0} is too long")]
    TooMuch(&'static str),
}

/// An answer: what was asked for, or an error.
#[derive(Debug, Deserialize)]
struct Answer {
    ok: bool,
    #[serde(default)]
    result: Value,
    #[serde(default)]
    error_code: Option<u16>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    parameters: Option<Parameters>,
}

#[derive(Debug, Default, Deserialize)]
struct Parameters {
    #[serde(default, deserialize_with = "seconds")]
    retry_after: Option<u64>,
    #[serde(default)]
    migrate_to_chat_id: Option<i64>,
}

/// Whole seconds; what stands between may write them otherwise than the service does.
fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let text = match Value::deserialize(from)? {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text,
        _ => return Ok(None),
    };
    let whole = text.trim().split('.').next().and_then(|whole| whole.parse::<u64>().ok());
    // Of a part of one all is waited.
    Ok(whole.map(|whole| whole.saturating_add(u64::from(text.contains('.')))))
}

/// An error that the service answered with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// For people; empty: it said nothing.
    pub(super) description: String,
    /// It is the Bot API's own answer, not that of something between.
    pub(super) is_own: bool,
    /// The wait that was asked for, in seconds.
    pub(super) retry_after: Option<u64>,
    /// The chat has another id now.
    pub(super) migrated_to: Option<i64>,
}

impl Refusal {
    /// Whether its description holds this, letter case ignored.
    pub(super) fn says(&self, what: &str) -> bool {
        self.description.to_lowercase().contains(what)
    }
}

/// Reads an answer with this HTTP status.
pub(super) fn answer<T: DeserializeOwned>(
    what: &'static str,
    status: u16,
    bytes: &[u8],
) -> Result<Result<T, Refusal>, WireError> {
    let answer: Option<Answer> = json::parse(bytes).ok().and_then(|value| serde_json::from_value(value).ok());
    match answer {
        Some(Answer { ok: true, result, .. }) if status == 200 => {
            serde_json::from_value(json::without_nulls(result)).map(Ok).map_err(|_| WireError::Shape(what))
        }
        Some(Answer { ok: false, error_code, description, parameters, .. }) => {
            let Parameters { retry_after, migrate_to_chat_id } = parameters.unwrap_or_default();
            Ok(Err(Refusal {
                status: error_code.unwrap_or(status),
                description: shown(&description.unwrap_or_default()),
                is_own: true,
                retry_after: retry_after.map(|asked| asked.min(ASKED)),
                migrated_to: migrate_to_chat_id,
            }))
        }
        _ if status == 200 => Err(WireError::Shape(what)),
        _ => Ok(Err(Refusal { status, ..Refusal::default() })),
    }
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}

/// The bot itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(super) struct Me {
    pub(super) id: i64,
    #[serde(default)]
    pub(super) username: String,
    #[serde(default)]
    pub(super) can_join_groups: Option<bool>,
    #[serde(default)]
    pub(super) can_read_all_group_messages: Option<bool>,
}

/// Where the service brings updates by itself, and how that goes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(super) struct WebhookInfo {
    /// Empty: it does not.
    #[serde(default)]
    pub(super) url: String,
    #[serde(default)]
    pub(super) pending_update_count: u64,
    /// When it last did not get through.
    #[serde(default)]
    pub(super) last_error_date: Option<i64>,
    /// Why.
    #[serde(default)]
    pub(super) last_error_message: Option<String>,
}

impl WebhookInfo {
    /// Why it last did not get through, for people.
    pub(super) fn error(&self) -> String {
        shown(self.last_error_message.as_deref().unwrap_or("it does not say why"))
    }
}

/// One update.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Update {
    /// Ascending.
    pub(super) id: i64,
    pub(super) what: What,
}

/// What it is about.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    /// Somebody wrote.
    Message(Box<Message>),
    /// Somebody pressed a button.
    Press(Box<Press>),
    /// Something that nobody asked for.
    Other,
    /// Nobody can use it: a part is missing, or too long.
    Odd,
}

/// A button of a message was pressed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Press {
    pub(super) id: String,
    pub(super) from: User,
    #[serde(default)]
    pub(super) message: Option<Box<Message>>,
    #[serde(default)]
    pub(super) data: Option<String>,
}

/// A message.
#[expect(clippy::struct_field_names, reason = "as the Bot API has them")]
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Message {
    pub(super) message_id: i64,
    #[serde(default)]
    pub(super) message_thread_id: Option<i64>,
    #[serde(default)]
    pub(super) is_topic_message: bool,
    #[serde(default)]
    pub(super) from: Option<User>,
    #[serde(default)]
    pub(super) sender_chat: Option<Chat>,
    pub(super) chat: Chat,
    #[serde(default)]
    pub(super) date: i64,
    #[serde(default)]
    pub(super) media_group_id: Option<String>,
    #[serde(default)]
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) entities: Vec<Entity>,
    #[serde(default)]
    pub(super) caption: Option<String>,
    #[serde(default)]
    pub(super) caption_entities: Vec<Entity>,
    #[serde(default)]
    pub(super) reply_to_message: Option<Box<Message>>,
    #[serde(default)]
    pub(super) quote: Option<Quote>,
    #[serde(default)]
    pub(super) photo: Vec<Photo>,
    #[serde(default)]
    pub(super) document: Option<File>,
    #[serde(default)]
    pub(super) video: Option<File>,
    #[serde(default)]
    pub(super) animation: Option<File>,
    #[serde(default)]
    pub(super) audio: Option<File>,
    #[serde(default)]
    pub(super) voice: Option<File>,
    #[serde(default)]
    pub(super) video_note: Option<File>,
    #[serde(default)]
    pub(super) sticker: Option<Sticker>,
    #[serde(default)]
    pub(super) location: Option<Location>,
    #[serde(default)]
    pub(super) venue: Option<Venue>,
    #[serde(default)]
    pub(super) contact: Option<Contact>,
    #[serde(default)]
    pub(super) poll: Option<Poll>,
    #[serde(default)]
    pub(super) dice: Option<Dice>,
    #[serde(default)]
    pub(super) game: Option<Game>,
    #[serde(default)]
    pub(super) story: Option<Story>,
    /// Somebody else wrote it, somewhere else.
    #[serde(default)]
    pub(super) forward_origin: Option<Origin>,
    #[serde(default)]
    pub(super) migrate_to_chat_id: Option<i64>,
}

/// A chat.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Chat {
    pub(super) id: i64,
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) title: Option<String>,
    #[serde(default)]
    pub(super) is_forum: bool,
}

/// Somebody.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct User {
    pub(super) id: i64,
    #[serde(default)]
    pub(super) is_bot: bool,
    #[serde(default)]
    pub(super) first_name: String,
    #[serde(default)]
    pub(super) last_name: Option<String>,
}

impl User {
    /// The whole name.
    pub(super) fn name(&self) -> String {
        let last = self.last_name.as_deref().unwrap_or_default();
        format!("{} {last}", self.first_name).trim().to_owned()
    }
}

/// A part of a text that means something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entity {
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// In UTF-16 units.
    pub(super) offset: usize,
    /// Likewise.
    pub(super) length: usize,
    #[serde(default)]
    pub(super) user: Option<User>,
}

/// The part of a message that a reply is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Quote {
    #[serde(default)]
    pub(super) text: String,
}

/// A photo in one of its sizes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Photo {
    pub(super) file_id: String,
    #[serde(default)]
    pub(super) width: u64,
    #[serde(default)]
    pub(super) height: u64,
    #[serde(default)]
    pub(super) file_size: Option<u64>,
}

/// A file.
#[expect(clippy::struct_field_names, reason = "as the Bot API has them")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct File {
    pub(super) file_id: String,
    #[serde(default)]
    pub(super) file_name: Option<String>,
    #[serde(default)]
    pub(super) mime_type: Option<String>,
    #[serde(default)]
    pub(super) file_size: Option<u64>,
}

/// A sticker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sticker {
    #[serde(default)]
    pub(super) emoji: Option<String>,
    #[serde(default)]
    pub(super) set_name: Option<String>,
}

/// A point on the map.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Location {
    pub(super) latitude: f64,
    pub(super) longitude: f64,
}

/// A place with a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Venue {
    #[serde(default)]
    pub(super) title: String,
    #[serde(default)]
    pub(super) address: String,
}

/// Somebody's address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Contact {
    #[serde(default)]
    pub(super) phone_number: String,
    #[serde(default)]
    pub(super) first_name: String,
    #[serde(default)]
    pub(super) last_name: Option<String>,
}

/// A question with answers to choose from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Poll {
    #[serde(default)]
    pub(super) question: String,
    #[serde(default)]
    pub(super) options: Vec<Answerable>,
}

/// One of the answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answerable {
    #[serde(default)]
    pub(super) text: String,
}

/// A throw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Dice {
    #[serde(default)]
    pub(super) emoji: String,
    #[serde(default)]
    pub(super) value: i64,
}

/// A game.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Game {
    #[serde(default)]
    pub(super) title: String,
}

/// A story; bots see no more of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Story {}

/// Who wrote what is passed on: one of these, or hidden.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Origin {
    #[serde(default)]
    pub(super) sender_user: Option<User>,
    #[serde(default)]
    pub(super) sender_user_name: Option<String>,
    #[serde(default)]
    pub(super) sender_chat: Option<Chat>,
    #[serde(default)]
    pub(super) chat: Option<Chat>,
}

impl Origin {
    /// Its name.
    pub(super) fn name(&self) -> Option<String> {
        let user = self.sender_user.as_ref().map(User::name).or_else(|| self.sender_user_name.clone());
        let chat = self.sender_chat.as_ref().or(self.chat.as_ref()).and_then(|chat| chat.title.clone());
        user.or(chat).filter(|name| !name.is_empty() && name.len() <= NAME)
    }
}

/// Where a file is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Found {
    #[serde(default)]
    pub(super) file_size: Option<u64>,
    #[serde(default)]
    pub(super) file_path: Option<String>,
}

/// What was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct Sent {
    pub(super) message_id: i64,
}

/// The updates of an answer, in order, each once.
pub(super) fn updates(all: Vec<Value>) -> Vec<Update> {
    let mut all: Vec<Update> = all.into_iter().filter_map(update).collect();
    all.sort_by_key(|update| update.id);
    all.dedup_by_key(|update| update.id);
    all
}

/// An update that the service brings by itself.
pub(super) fn brought(bytes: &[u8]) -> Result<Update, WireError> {
    let value = json::parse(bytes).ok().map(json::without_nulls);
    value.and_then(update).ok_or(WireError::Shape("an update"))
}

/// One of them; none: it has no id, so that there is nothing to confirm either.
fn update(mut update: Value) -> Option<Update> {
    // One behind the last is the next to be asked for.
    let id = update.get("update_id")?.as_i64().filter(|id| (0..i64::MAX).contains(id))?;
    let mut part = |name: &str| update.get_mut(name).map(Value::take);
    let what = if let Some(message) = part("message").or_else(|| part("channel_post")) {
        match serde_json::from_value::<Message>(message) {
            Ok(message) if message.is_sound() => What::Message(Box::new(message)),
            _ => What::Odd,
        }
    } else if let Some(press) = part("callback_query") {
        serde_json::from_value(press).map_or(What::Odd, |press| What::Press(Box::new(press)))
    } else {
        What::Other
    };
    Some(Update { id, what })
}

impl Message {
    /// The message that it replies to. In a topic the service has whatever replies to nothing reply to what began the topic.
    pub(super) fn answered(&self) -> Option<&Self> {
        let is_beginning = |to: &Self| self.is_topic_message && self.message_thread_id == Some(to.message_id);
        self.reply_to_message.as_deref().filter(|to| !is_beginning(to))
    }

    /// What it says, and what of that means something.
    pub(super) fn said(&self) -> (&str, &[Entity]) {
        match (&self.text, &self.caption) {
            (Some(text), _) => (text, &self.entities),
            (None, Some(caption)) => (caption, &self.caption_entities),
            (None, None) => ("", &[]),
        }
    }

    /// The part of its text that an entity is about.
    pub(super) fn part(&self, entity: &Entity) -> Option<&str> {
        self.said().0.get(self.span(entity)?)
    }

    /// Where in its text that is, in bytes.
    pub(super) fn span(&self, entity: &Entity) -> Option<Range<usize>> {
        let (text, _) = self.said();
        let start = byte_at(text, entity.offset)?;
        let end = byte_at(text, entity.offset.checked_add(entity.length)?)?;
        Some(start..end)
    }

    fn is_sound(&self) -> bool {
        let name = |text: &Option<String>| text.as_ref().is_none_or(|text| text.len() <= NAME);
        let text = |text: &Option<String>| text.as_ref().is_none_or(|text| text.len() <= TEXT);
        let file = |file: &Option<File>| {
            file.as_ref().is_none_or(|file| {
                file.file_id.len() <= NAME && name(&file.file_name) && name(&file.mime_type)
            })
        };
        let files =
            [&self.document, &self.video, &self.animation, &self.audio, &self.voice, &self.video_note];
        self.chat.id != 0
            && text(&self.text)
            && text(&self.caption)
            && name(&self.chat.title)
            && name(&self.media_group_id)
            && self.from.as_ref().is_none_or(|from| from.name().len() <= NAME)
            && files.into_iter().all(file)
            && self
                .poll
                .as_ref()
                .is_none_or(|poll| poll.question.len() <= NAME && poll.options.len() <= OPTIONS)
            && self.photo.iter().all(|photo| photo.file_id.len() <= NAME)
    }
}

/// Where in a text so many UTF-16 units end; none: not between two characters, or behind its end.
fn byte_at(text: &str, units: usize) -> Option<usize> {
    let mut left = units;
    for (at, c) in text.char_indices() {
        if left == 0 {
            return Some(at);
        }
        left = left.checked_sub(c.len_utf16())?;
    }
    (left == 0).then_some(text.len())
}

#[cfg(test)]
mod tests;
