//! What Discord says, over the gateway and over REST. Bytes from outside, parsed once; nothing in them is believed to be short or sane, and
//! one event that is odd spoils no other.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// Longest text of one message, in bytes: 4000 characters and much more.
const TEXT: usize = 64 * 1024;
/// Longest name of a person, a channel or a file, in bytes.
const NAME: usize = 1024;
/// Longest of what names a session, or where it is resumed, in bytes.
const TOKEN: usize = 4096;
/// Most of what an error says that is shown, in characters.
const SHOWN: usize = 300;
/// Most files, mentions and the like of one message.
const PARTS: usize = 200;
/// Shortest and longest time between two heartbeats.
const BEATS: (u64, u64) = (100, 600_000);

/// Why something is not what Discord says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    /// No JSON of the expected shape.
    #[error("Discord's {0} is not understood")]
    Shape(&'static str),
}

/// An id: a number that is written as a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Id(pub(super) u64);

impl Id {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|id| is_number && *id != 0).map(Self)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let id = match Value::deserialize(from)? {
            Value::String(text) => Self::parse(&text),
            Value::Number(number) => number.as_u64().filter(|id| *id != 0).map(Self),
            _ => None,
        };
        id.ok_or_else(|| D::Error::custom("no id"))
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// What is absent, `null`, or none of its kind, is the default.
pub(super) fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(
    from: D,
) -> Result<T, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(from)?).unwrap_or_default())
}

/// The elements that are of their kind.
fn each<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Vec<T>, D::Error> {
    let Value::Array(all) = Value::deserialize(from)? else { return Ok(Vec::new()) };
    Ok(all.into_iter().filter_map(|one| serde_json::from_value(one).ok()).collect())
}

#[derive(Deserialize)]
struct Frame<'f> {
    op: u8,
    #[serde(default)]
    s: Option<u64>,
    #[serde(borrow, default)]
    t: Option<Cow<'f, str>>,
    #[serde(borrow, default)]
    d: Option<&'f RawValue>,
}

/// What a message of the gateway is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Said {
    /// The connection begins; how often the gateway wants a heartbeat.
    Hello(Duration),
    /// A heartbeat was heard.
    Ack,
    /// A heartbeat is wanted at once.
    Beat,
    /// Another connection is to be made.
    Reconnect,
    /// The session is over, or at least this connection of it.
    Invalid {
        /// It can be taken up again.
        resumable: bool,
    },
    /// Something happened; its number.
    Event(u64, Event),
    /// Nothing that is of use here.
    Nothing,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Event {
    /// A session has begun.
    Ready(Box<Ready>),
    /// A session goes on, and everything since was said.
    Resumed,
    /// Somebody wrote.
    Message(Box<Message>),
    /// Somebody used a command or pressed a button.
    Interaction(Box<Interaction>),
    /// A server is there, with its channels.
    Guild(Box<Guild>),
    /// A channel or a thread is there, or is another one now.
    Channel(Box<Channel>),
    /// A channel or a thread is not there any more.
    Gone(Id),
    /// Something that nobody asked for.
    Other,
    /// Nobody can use it: a part is missing, or too long.
    Odd(&'static str),
}

/// Reads a message of the gateway.
pub(super) fn said(text: &str) -> Result<Said, WireError> {
    let text = crate::json::repaired(text.as_bytes());
    let frame: Frame<'_> = serde_json::from_slice(&text).map_err(|_| WireError::Shape("message"))?;
    let data = frame.d.map_or("null", RawValue::get);
    Ok(match frame.op {
        0 => {
            let number = frame.s.filter(|number| *number < u64::MAX).ok_or(WireError::Shape("event"))?;
            Said::Event(number, event(&frame.t.unwrap_or_default(), data)?)
        }
        1 => Said::Beat,
        7 => Said::Reconnect,
        9 => Said::Invalid { resumable: serde_json::from_str(data).unwrap_or(false) },
        10 => {
            let Hello { heartbeat_interval } =
                serde_json::from_str(data).map_err(|_| WireError::Shape("hello"))?;
            Said::Hello(Duration::from_millis(heartbeat_interval.clamp(BEATS.0, BEATS.1)))
        }
        11 => Said::Ack,
        _ => Said::Nothing,
    })
}

#[derive(Deserialize)]
struct Hello {
    heartbeat_interval: u64,
}

fn event(name: &str, data: &str) -> Result<Event, WireError> {
    fn sound<T: DeserializeOwned>(
        what: &'static str,
        data: &str,
        is_sound: impl Fn(&T) -> bool,
        event: impl Fn(Box<T>) -> Event,
    ) -> Event {
        match serde_json::from_str::<T>(data) {
            Ok(found) if is_sound(&found) => event(Box::new(found)),
            _ => Event::Odd(what),
        }
    }
    Ok(match name {
        // Without that there is no session.
        "READY" => match sound("READY", data, Ready::is_sound, Event::Ready) {
            Event::Odd(_) => return Err(WireError::Shape("READY")),
            ready => ready,
        },
        "RESUMED" => Event::Resumed,
        "MESSAGE_CREATE" => sound("message", data, Message::is_sound, Event::Message),
        "INTERACTION_CREATE" => sound("interaction", data, Interaction::is_sound, Event::Interaction),
        "GUILD_CREATE" => sound("server", data, |_| true, Event::Guild),
        "CHANNEL_CREATE" | "CHANNEL_UPDATE" | "THREAD_CREATE" | "THREAD_UPDATE" => {
            sound("channel", data, |_| true, Event::Channel)
        }
        "CHANNEL_DELETE" | "THREAD_DELETE" => {
            serde_json::from_str::<Named>(data).map_or(Event::Odd("channel"), |Named { id }| Event::Gone(id))
        }
        _ => Event::Other,
    })
}

#[derive(Deserialize)]
struct Named {
    id: Id,
}

/// A session that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Ready {
    pub(super) session_id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) resume_gateway_url: Option<String>,
    pub(super) user: User,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) application: Option<Application>,
}

impl Ready {
    fn is_sound(&self) -> bool {
        let url = self.resume_gateway_url.as_ref();
        !self.session_id.is_empty()
            && self.session_id.len() <= TOKEN
            && url.is_none_or(|url| url.len() <= TOKEN)
            && self.user.is_sound()
    }
}

/// The program behind a bot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct Application {
    pub(super) id: Id,
}

/// Somebody.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(super) struct User {
    pub(super) id: Id,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) username: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) global_name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) discriminator: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) bot: bool,
}

impl User {
    /// As people see it.
    pub(super) fn name(&self) -> &str {
        self.global_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(&self.username)
    }

    fn is_sound(&self) -> bool {
        self.username.len() <= NAME && self.global_name.as_ref().is_none_or(|name| name.len() <= NAME)
    }
}

/// Somebody, as one server knows him.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(super) struct Member {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) user: Option<User>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) nick: Option<String>,
    #[serde(default, deserialize_with = "each")]
    pub(super) roles: Vec<Id>,
}

/// A message.
#[expect(clippy::struct_field_names, reason = "as Discord has them")]
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub(super) struct Message {
    pub(super) id: Id,
    pub(super) channel_id: Id,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) guild_id: Option<Id>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) channel_type: Option<u8>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) author: Option<User>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) member: Option<Member>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) webhook_id: Option<Id>,
    #[serde(rename = "type", default, deserialize_with = "lenient")]
    pub(super) kind: u8,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) content: String,
    #[serde(default, deserialize_with = "each")]
    pub(super) mentions: Vec<User>,
    #[serde(default, deserialize_with = "each")]
    pub(super) attachments: Vec<Attachment>,
    #[serde(default, deserialize_with = "each")]
    pub(super) sticker_items: Vec<Sticker>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) referenced_message: Option<Box<Message>>,
    #[serde(default, deserialize_with = "each")]
    pub(super) message_snapshots: Vec<Snapshot>,
}

impl Message {
    pub(super) fn is_sound(&self) -> bool {
        let file = |file: &Attachment| {
            file.filename.len() <= NAME
                && file.url.len() <= TOKEN
                && file.content_type.as_ref().is_none_or(|kind| kind.len() <= NAME)
        };
        let forwarded = |snapshot: &Snapshot| {
            snapshot.message.content.len() <= TEXT && snapshot.message.attachments.iter().all(file)
        };
        let nick = self.member.as_ref().and_then(|member| member.nick.as_ref());
        self.content.len() <= TEXT
            && self.mentions.len() <= PARTS
            && self.attachments.len() <= PARTS
            && self.message_snapshots.len() <= PARTS
            && nick.is_none_or(|nick| nick.len() <= NAME)
            && self.author.as_ref().is_none_or(User::is_sound)
            && self.mentions.iter().all(User::is_sound)
            && self.attachments.iter().all(file)
            && self.sticker_items.iter().all(|sticker| sticker.name.len() <= NAME)
            && self.message_snapshots.iter().all(forwarded)
            && self.referenced_message.as_ref().is_none_or(|to| to.is_sound())
    }
}

/// A message that is forwarded within another one.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub(super) struct Snapshot {
    pub(super) message: Forwarded,
}

/// What of it is there.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub(super) struct Forwarded {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) content: String,
    #[serde(default, deserialize_with = "each")]
    pub(super) attachments: Vec<Attachment>,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(super) struct Attachment {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) filename: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) size: u64,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) url: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) content_type: Option<String>,
}

/// A sticker.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(super) struct Sticker {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) name: String,
}

/// A server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(super) struct Guild {
    pub(super) id: Id,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) name: String,
    #[serde(default, deserialize_with = "each")]
    pub(super) channels: Vec<Channel>,
    #[serde(default, deserialize_with = "each")]
    pub(super) threads: Vec<Channel>,
}

/// A channel or a thread.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(super) struct Channel {
    pub(super) id: Id,
    #[serde(rename = "type", default, deserialize_with = "lenient")]
    pub(super) kind: u8,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) guild_id: Option<Id>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) parent_id: Option<Id>,
    /// Who began it, of a thread.
    #[serde(default, deserialize_with = "lenient")]
    pub(super) owner_id: Option<Id>,
    /// The bot takes part, of a thread.
    #[serde(default, deserialize_with = "lenient")]
    pub(super) member: Option<Value>,
}

/// Somebody used a command or pressed a button.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub(super) struct Interaction {
    pub(super) id: Id,
    pub(super) application_id: Id,
    #[serde(rename = "type")]
    pub(super) kind: u8,
    pub(super) token: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) channel_id: Option<Id>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) channel: Option<Channel>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) guild_id: Option<Id>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) member: Option<Member>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) user: Option<User>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) data: Option<Asked>,
}

impl Interaction {
    /// Who it was, and as what one server knows him.
    pub(super) fn user(&self) -> Option<&User> {
        self.member.as_ref().and_then(|member| member.user.as_ref()).or(self.user.as_ref())
    }

    fn is_sound(&self) -> bool {
        // It becomes a part of an address.
        let is_token = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.' | b'=');
        let nick = self.member.as_ref().and_then(|member| member.nick.as_ref());
        !self.token.is_empty()
            && self.token.len() <= TOKEN
            && self.token.bytes().all(is_token)
            && self.token.bytes().any(|byte| byte != b'.')
            && self.user().is_some_and(User::is_sound)
            && nick.is_none_or(|nick| nick.len() <= NAME)
            && self.data.as_ref().is_none_or(Asked::is_sound)
    }
}

/// What was used or pressed.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) name: String,
    #[serde(default, deserialize_with = "each")]
    pub(super) options: Vec<Given>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) custom_id: String,
}

impl Asked {
    fn is_sound(&self) -> bool {
        let given = |given: &Given| given.value.as_str().is_none_or(|text| text.len() <= TEXT);
        self.name.len() <= NAME
            && self.custom_id.len() <= NAME
            && self.options.len() <= PARTS
            && self.options.iter().all(given)
    }
}

/// What was given to a command.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub(super) struct Given {
    #[serde(default)]
    pub(super) value: Value,
}

/// An error that REST answers with.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// Discord's own number of it; 0: it has none.
    pub(super) code: u64,
    /// For people; empty: it said nothing.
    pub(super) message: String,
    /// It is Discord's own answer, not that of something between.
    pub(super) is_own: bool,
    /// The wait that was asked for.
    pub(super) retry_after: Option<Duration>,
    /// It holds for every request.
    pub(super) is_global: bool,
}

#[derive(Deserialize)]
struct Refused {
    message: String,
    #[serde(default, deserialize_with = "lenient")]
    code: u64,
    #[serde(default, deserialize_with = "lenient")]
    retry_after: Option<f64>,
    #[serde(default, deserialize_with = "lenient")]
    global: bool,
    #[serde(default)]
    errors: Value,
}

/// Reads an error with this HTTP status. `asked`: what its head asks to wait.
pub(super) fn refusal(status: u16, bytes: &[u8], asked: Option<Duration>) -> Refusal {
    let Ok(refused) = serde_json::from_slice::<Refused>(bytes) else {
        return Refusal { status, retry_after: asked, ..Refusal::default() };
    };
    let mut message = refused.message;
    // What is wrong with a form stands below it.
    if let Some(why) = innermost(&refused.errors, 0) {
        message = format!("{message}: {why}");
    }
    // Up to a day.
    let wait = refused.retry_after.filter(|wait| (0.0..=86_400.0).contains(wait));
    Refusal {
        status,
        code: refused.code,
        message: message.chars().filter(|c| !c.is_control()).take(SHOWN).collect(),
        is_own: true,
        retry_after: wait.map(Duration::from_secs_f64).or(asked),
        is_global: refused.global,
    }
}

/// The first text below an error of a form.
fn innermost(errors: &Value, depth: usize) -> Option<&str> {
    if depth > 16 {
        return None;
    }
    match errors {
        Value::Object(fields) => match fields.get("message") {
            Some(Value::String(text)) => Some(text),
            _ => fields.values().find_map(|field| innermost(field, depth + 1)),
        },
        Value::Array(all) => all.iter().find_map(|one| innermost(one, depth + 1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn dispatch(name: &str, data: &Value) -> Result<Said, WireError> {
        said(&json!({"op": 0, "s": 7, "t": name, "d": data}).to_string())
    }

    #[test]
    fn frames_are_read_by_their_numbers() {
        let read = |frame: Value| said(&frame.to_string());
        assert_eq!(
            read(json!({"op": 10, "d": {"heartbeat_interval": 41250}})),
            Ok(Said::Hello(Duration::from_millis(41250)))
        );
        assert_eq!(
            read(json!({"op": 10, "d": {"heartbeat_interval": 0}})),
            Ok(Said::Hello(Duration::from_millis(100)))
        );
        assert_eq!(read(json!({"op": 9, "d": true})), Ok(Said::Invalid { resumable: true }));
        assert_eq!(read(json!({"op": 9})), Ok(Said::Invalid { resumable: false }));
        assert_eq!(read(json!({"op": 11, "d": null})), Ok(Said::Ack));
        assert_eq!(read(json!({"op": 7})), Ok(Said::Reconnect));
        assert_eq!(read(json!({"op": 99})), Ok(Said::Nothing));
        assert!(read(json!({"op": 10, "d": {}})).is_err() && read(json!({"op": 0, "t": "RESUMED"})).is_err());
        assert!(said("{").is_err() && dispatch("READY", &json!({})).is_err());
    }

    #[test]
    fn an_event_that_is_odd_spoils_no_other() {
        let message = json!({"id": "5", "channel_id": "9", "author": {"id": "7", "username": "ann"}, "content": "hi",
            "mentions": [{"id": "8"}, {"no": "id"}], "member": null, "type": 19});
        let Ok(Said::Event(7, Event::Message(read))) = dispatch("MESSAGE_CREATE", &message) else { panic!() };
        assert_eq!((read.id, read.channel_id, read.kind, read.mentions.len()), (Id(5), Id(9), 19, 1));
        assert_eq!(read.author.unwrap().name(), "ann");
        for odd in [json!({}), json!({"id": "x", "channel_id": "9"}), json!({"id": "0", "channel_id": "9"})] {
            assert_eq!(dispatch("MESSAGE_CREATE", &odd), Ok(Said::Event(7, Event::Odd("message"))), "{odd}");
        }
        let half = r#"{"op": 0, "s": 7, "t": "MESSAGE_CREATE", "d": {"id": "5", "channel_id": "9", "content": "\ud83e"}}"#;
        let Ok(Said::Event(7, Event::Message(read))) = said(half) else { panic!() };
        assert_eq!(read.content, "\u{fffd}");
        let long = json!({"id": "5", "channel_id": "9", "content": "x".repeat(TEXT + 1)});
        assert_eq!(dispatch("MESSAGE_CREATE", &long), Ok(Said::Event(7, Event::Odd("message"))));
        assert_eq!(dispatch("TYPING_START", &json!(3)), Ok(Said::Event(7, Event::Other)));
        let press = |token: &str| json!({"id": "1", "application_id": "2", "type": 3, "token": token, "user": {"id": "7"}, "data": {"custom_id": "a"}});
        assert!(matches!(
            dispatch("INTERACTION_CREATE", &press("aW50")),
            Ok(Said::Event(7, Event::Interaction(_)))
        ));
        for token in ["../x", "", "a/b", ".."] {
            let said = dispatch("INTERACTION_CREATE", &press(token));
            assert_eq!(said, Ok(Said::Event(7, Event::Odd("interaction"))), "{token}");
        }
    }

    #[test]
    fn an_error_says_what_is_wrong_and_what_is_between_is_none_of_discords_own() {
        let form = br#"{"code": 50035, "message": "Invalid Form Body", "errors": {"content": {"_errors": [{"code": "X", "message": "too long"}]}}}"#;
        let read = refusal(400, form, None);
        assert_eq!(
            (read.code, read.message.as_str(), read.is_own),
            (50035, "Invalid Form Body: too long", true)
        );
        let limit = br#"{"message": "You are being rate limited.", "retry_after": 0.65, "global": true}"#;
        let read = refusal(429, limit, Some(Duration::from_secs(1)));
        assert_eq!((read.retry_after, read.is_global), (Some(Duration::from_millis(650)), true));
        let read = refusal(429, b"<html>", Some(Duration::from_secs(3)));
        assert_eq!((read.is_own, read.retry_after), (false, Some(Duration::from_secs(3))));
    }
}
