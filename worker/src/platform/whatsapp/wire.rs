//! What the bridge says: its health, messages, answers, and what its process prints. Bytes from outside, parsed once; nothing in them is
//! believed to be short or sane.

use serde::Deserialize;
use serde_json::Value;

use crate::json;

/// Longest id, in bytes.
const ID: usize = 256;
/// Longest text of one message, in bytes.
const TEXT: usize = 512 * 1024;
/// Most files, mentions and names of the bot in one message.
const MOST: usize = 64;
/// Longest name of anybody or anything, in characters; more is cut.
const NAME: usize = 256;
/// Longest path, in bytes.
const PATH: usize = 4096;

/// How the bridge is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Health {
    /// `connected` is WhatsApp's connection, not the bridge's.
    pub(super) status: String,
    /// The beginning of its script's hash.
    pub(super) script_hash: String,
    /// Messages stay until they are confirmed.
    pub(super) acknowledges: bool,
    /// Messages that it could not keep.
    pub(super) dropped: u64,
}

impl Health {
    pub(super) fn is_connected(&self) -> bool {
        self.status == "connected"
    }
}

/// Reads how the bridge is; `None`: that is no bridge.
pub(super) fn health(bytes: &[u8]) -> Option<Health> {
    let mut health: Health = serde_json::from_slice(bytes).ok()?;
    health.status = health.status.chars().filter(|c| !c.is_control()).take(60).collect();
    (!health.status.is_empty()).then_some(health)
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_excessive_bools, reason = "as the bridge says it")]
struct Raw {
    seq: u64,
    message_id: Option<String>,
    chat_id: Option<String>,
    chat_alt: Option<String>,
    sender_id: Option<String>,
    sender_alt: Option<String>,
    sender_name: Option<String>,
    chat_name: Option<String>,
    is_group: bool,
    body: Option<String>,
    has_media: bool,
    media_type: Option<String>,
    mime: Option<String>,
    file_name: Option<String>,
    media_size: Option<u64>,
    media_error: Option<String>,
    media_urls: Option<Vec<String>>,
    mentioned_ids: Option<Vec<String>>,
    quoted_participant: Option<String>,
    quoted_text: Option<String>,
    bot_ids: Option<Vec<String>>,
    timestamp: Value,
    from_me: bool,
    from_owner: bool,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Item {
    /// Its number in the bridge's queue; 0: the bridge has forgotten it already.
    pub(super) seq: u64,
    pub(super) id: String,
    pub(super) chat: String,
    /// The other id of the chat.
    pub(super) chat_alt: Option<String>,
    pub(super) sender: String,
    /// The other id of the sender.
    pub(super) sender_alt: Option<String>,
    pub(super) sender_name: Option<String>,
    pub(super) chat_name: Option<String>,
    pub(super) in_group: bool,
    pub(super) text: String,
    /// What kind of file came with it; none did where it is empty.
    pub(super) media_type: String,
    pub(super) mime: String,
    pub(super) file_name: String,
    /// As its sender says.
    pub(super) media_size: u64,
    /// Why there is no file.
    pub(super) media_error: Option<String>,
    /// Where the files are.
    pub(super) paths: Vec<String>,
    pub(super) mentioned: Vec<String>,
    /// Who wrote what it answers.
    pub(super) quoted_sender: Option<String>,
    pub(super) quoted: Option<String>,
    /// The bot's own ids.
    pub(super) own: Vec<String>,
    /// Seconds.
    pub(super) timestamp: u64,
    /// The bot's account wrote it, on another device.
    pub(super) from_me: bool,
    /// The same, in somebody else's chat.
    pub(super) from_owner: bool,
}

/// One piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heard {
    /// A message.
    Message(Box<Item>),
    /// One that nobody can use, for this reason, with its number.
    Odd(u64, &'static str),
}

/// Reads messages; `None`: these are none. Half a letter in one of them, as JavaScript writes it, hides no other.
pub(super) fn messages(bytes: &[u8]) -> Option<Vec<Heard>> {
    let Ok(Value::Array(all)) = json::parse(bytes) else { return None };
    Some(all.into_iter().map(one).collect())
}

fn one(value: Value) -> Heard {
    let seq = value.get("seq").and_then(Value::as_u64).unwrap_or_default();
    let Ok(raw) = serde_json::from_value::<Raw>(value) else { return Heard::Odd(seq, "it is no message") };
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let (Some(id), Some(chat)) = (given(raw.message_id), given(raw.chat_id)) else {
        return Heard::Odd(seq, "it has no name, or no chat");
    };
    let in_group = raw.is_group || chat.ends_with("@g.us");
    let sender = given(raw.sender_id).or_else(|| (!in_group).then(|| chat.clone()));
    let Some(sender) = sender else { return Heard::Odd(seq, "nobody has sent it") };
    let lists = [raw.mentioned_ids.unwrap_or_default(), raw.bot_ids.unwrap_or_default()];
    let paths = raw.media_urls.unwrap_or_default();
    let (chat_alt, sender_alt) = (given(raw.chat_alt), given(raw.sender_alt));
    let quoted_sender = given(raw.quoted_participant);
    if lists.iter().any(|list| list.len() > MOST) || paths.len() > MOST {
        return Heard::Odd(seq, "too much comes with it");
    }
    let is_id = |id: &String| id.len() <= ID && !id.chars().any(char::is_control);
    let are_ids = [
        Some(&id),
        Some(&chat),
        Some(&sender),
        chat_alt.as_ref(),
        sender_alt.as_ref(),
        quoted_sender.as_ref(),
    ]
    .into_iter()
    .flatten()
    .chain(lists.iter().flatten())
    .all(is_id);
    if !are_ids || paths.iter().any(|path| path.len() > PATH) {
        return Heard::Odd(seq, "an id of it is none");
    }
    let text = raw.body.unwrap_or_default();
    if text.len() > TEXT || raw.quoted_text.as_ref().is_some_and(|text| text.len() > TEXT) {
        return Heard::Odd(seq, "its text is too long");
    }
    let short = |text: Option<String>| {
        text.map(|text| text.chars().filter(|c| !c.is_control()).take(NAME).collect::<String>())
            .filter(|text| !text.is_empty())
    };
    let media_type = if raw.has_media || !paths.is_empty() {
        short(raw.media_type).unwrap_or_else(|| "document".to_owned())
    } else {
        String::new()
    };
    if text.trim().is_empty() && media_type.is_empty() {
        return Heard::Odd(seq, "it says nothing");
    }
    let [mentioned, own] = lists;
    // Seconds, as a number or a text.
    let timestamp = raw.timestamp.as_u64().or_else(|| raw.timestamp.as_str()?.parse().ok());
    Heard::Message(Box::new(Item {
        seq,
        id,
        chat,
        chat_alt,
        sender,
        sender_alt,
        sender_name: short(raw.sender_name),
        chat_name: short(raw.chat_name),
        in_group,
        text,
        media_type,
        mime: short(raw.mime).unwrap_or_default(),
        file_name: short(raw.file_name).unwrap_or_default(),
        media_size: raw.media_size.unwrap_or_default(),
        media_error: short(raw.media_error),
        paths,
        mentioned,
        quoted_sender,
        quoted: given(raw.quoted_text),
        own,
        timestamp: timestamp.unwrap_or_default(),
        from_me: raw.from_me,
        from_owner: raw.from_owner,
    }))
}

/// The id of what was sent; an error is what the bridge says instead. `None`: that is no answer of a bridge, and says nothing of what was done.
pub(super) fn sent(bytes: &[u8]) -> Option<Result<Option<String>, String>> {
    let answer: Value = serde_json::from_slice(bytes).ok()?;
    let is_done = match answer.get("success") {
        Some(done) => done.as_bool()?,
        None if answer.get("error").is_some_and(Value::is_string) => false,
        None => return None,
    };
    if !is_done {
        return Some(Err(error(bytes)));
    }
    let id = answer.get("messageId").and_then(Value::as_str);
    Some(Ok(id.filter(|id| !id.is_empty() && id.len() <= ID).map(str::to_owned)))
}

/// What an answer says that is an error.
pub(super) fn error(bytes: &[u8]) -> String {
    let answer: Option<Value> = serde_json::from_slice(bytes).ok();
    let said = answer.as_ref().and_then(|answer| answer.get("error")?.as_str()).map(str::to_owned);
    let said = said.unwrap_or_else(|| String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]).into_owned());
    said.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// One line of what the bridge prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Printed {
    /// Where it listens.
    Listening(u16),
    /// How WhatsApp's connection is.
    State(String),
    /// WhatsApp knows the session no more.
    LoggedOut(String),
    /// Another program uses the session.
    Replaced,
    /// There is no session.
    NotPaired,
    /// Somebody else has the port.
    PortInUse,
    /// It cannot run, for this reason.
    Unable(String),
    /// Something for the log.
    Text(String),
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "event")]
    name: String,
    #[serde(default)]
    port: u16,
    #[serde(default)]
    state: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    text: String,
}

/// Reads one.
pub(super) fn printed(line: &str) -> Printed {
    let short = |text: &str| text.chars().filter(|c| !c.is_control()).take(500).collect::<String>();
    let Ok(event) = serde_json::from_str::<Event>(line) else { return Printed::Text(short(line)) };
    match event.name.as_str() {
        "listening" if event.port != 0 => Printed::Listening(event.port),
        "state" => Printed::State(short(&event.state)),
        "logged_out" => Printed::LoggedOut(short(&event.reason)),
        "replaced" => Printed::Replaced,
        "not_paired" => Printed::NotPaired,
        "port_in_use" => Printed::PortInUse,
        "unable" => Printed::Unable(short(&event.reason)),
        "log" => Printed::Text(short(&event.text)),
        _ => Printed::Text(short(line)),
    }
}
