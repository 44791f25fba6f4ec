//! What a homeserver says: answers to `/sync`, events, and refusals. Bytes from outside, parsed once; nothing in them is believed to be
//! short or sane, and one odd event hides no other.
//!
//! Format: the Matrix specification, client-server API v1.

use std::collections::BTreeMap;
use std::time::Duration;

use hermes_config::is_private;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::json;

/// Longest id of an event, a room or a person, in bytes, as the specification has it.
const ID: usize = 255;
/// Longest text of one message, in bytes: an event has 64 KiB.
const TEXT: usize = 64 * 1024;
/// Longest name of a person, a room or a file, in characters.
const LABEL: usize = 255;
/// Most people that one message mentions.
const MENTIONS: usize = 100;
/// Longest wait that a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// What a message of the bot that asks for an approval carries beside its text.
pub(super) const ASK: &str = "hermes.ask";

/// Where a server says where its homeserver is.
pub(super) const WELL_KNOWN: &str = "/.well-known/matrix/client";

/// Why bytes are no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    /// They are none.
    #[error("{0}: the homeserver's answer is not understood")]
    Garbled(&'static str),
    /// More than is read.
    #[error("{0}: the homeserver's answer is too long")]
    TooMuch(&'static str),
}

/// Everything new.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Where the next one begins.
    pub(super) next: String,
    /// By room.
    pub(super) joined: BTreeMap<String, News>,
    /// Rooms that the bot is asked into.
    pub(super) invites: Vec<Invite>,
    /// Rooms that it is out of.
    pub(super) left: Vec<String>,
    /// The rooms that the account takes for conversations of two, where that is new.
    pub(super) direct: Option<Vec<String>>,
    /// Ids that nobody could use.
    pub(super) odd: usize,
}

impl Batch {
    /// Whether nothing came.
    pub(super) fn is_empty(&self) -> bool {
        self.joined.values().all(|news| news.events.is_empty() && news.state.is_empty())
            && self.invites.is_empty()
            && self.left.is_empty()
            && self.direct.is_none()
    }
}

/// What is new in a room.
#[derive(Debug, Default)]
pub(super) struct News {
    /// What the room is like, before the events.
    pub(super) state: Vec<Event>,
    /// In order.
    pub(super) events: Vec<Event>,
    /// There is more before them, from here backwards.
    pub(super) gap: Option<String>,
    /// Events that nobody could use.
    pub(super) odd: usize,
}

/// An invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Invite {
    pub(super) room: String,
    /// Who asks; none: the server does not say.
    pub(super) from: Option<String>,
    pub(super) name: Option<String>,
    /// For a conversation of two.
    pub(super) is_direct: bool,
    /// Everybody may join the room.
    pub(super) is_public: bool,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// Empty in the state of a room that one is asked into.
    pub(super) id: String,
    pub(super) sender: String,
    /// When it was sent, as the sender's server says, in milliseconds; 0: it does not say.
    pub(super) sent: u64,
    pub(super) what: What,
}

impl Event {
    /// Whether it is about somebody who comes, goes, or has another name.
    pub(super) fn is_member(&self) -> bool {
        matches!(self.what, What::Member { .. })
    }

    /// Whether the room is another one behind it.
    pub(super) fn changes_room(&self) -> bool {
        matches!(self.what, What::Member { .. } | What::Encryption | What::Name | What::Tombstone { .. })
    }
}

/// What an event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Message(Box<Said>),
    /// A sign at another event.
    Sign {
        to: String,
        key: String,
    },
    /// Somebody comes, goes, or has another name.
    Member {
        who: String,
        is: Membership,
        was: Option<Membership>,
        name: Option<String>,
    },
    /// What it says is encrypted.
    Encrypted,
    /// From here on everything is.
    Encryption,
    /// The room has another name.
    Name,
    /// The room goes on elsewhere.
    Tombstone {
        replacement: Option<String>,
    },
    /// Nobody is spoken to.
    Other,
}

/// What somebody is to a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Membership {
    Invited,
    Joined,
    /// Left, put out, or never there.
    Out,
}

impl Membership {
    fn of(word: &str) -> Self {
        match word {
            "invite" => Self::Invited,
            "join" => Self::Joined,
            _ => Self::Out,
        }
    }
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Said {
    /// Sent by a program that wants no answer.
    pub(super) is_notice: bool,
    /// What the sender does, instead of what he says.
    pub(super) is_emote: bool,
    /// The text; of a file, what is said about it.
    pub(super) text: String,
    /// The text as HTML, for the people that it links to.
    pub(super) html: String,
    /// Who is meant.
    pub(super) mentions: Vec<String>,
    /// The event that the thread began with.
    pub(super) thread: Option<String>,
    /// What it answers, chosen by a person.
    pub(super) reply_to: Option<String>,
    /// It stands in the place of an earlier one.
    pub(super) is_replacement: bool,
    pub(super) file: Option<File>,
    /// It asks for an approval.
    pub(super) ask: Option<Ask>,
}

/// A file that came with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    /// Server and name; none: it is encrypted.
    pub(super) place: Option<(String, String)>,
    pub(super) name: String,
    pub(super) media_type: String,
    /// What its sender says of it, in bytes.
    pub(super) length: Option<u64>,
}

/// What a message of the bot asked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Ask {
    pub(super) name: String,
    pub(super) choices: String,
    /// Who it was asked of.
    #[serde(default)]
    pub(super) user: Option<String>,
    /// The thread of the conversation.
    #[serde(default)]
    pub(super) thread: Option<String>,
}

#[derive(Deserialize)]
struct RawSync {
    next_batch: String,
    #[serde(default, deserialize_with = "json::given")]
    rooms: RawRooms,
    #[serde(default, deserialize_with = "json::given")]
    account_data: RawEvents,
}

#[derive(Deserialize, Default)]
struct RawRooms {
    #[serde(default, deserialize_with = "json::given")]
    join: BTreeMap<String, RawJoined>,
    #[serde(default, deserialize_with = "json::given")]
    invite: BTreeMap<String, RawInvited>,
    #[serde(default, deserialize_with = "json::given")]
    leave: BTreeMap<String, Value>,
}

#[derive(Deserialize, Default)]
struct RawEvents {
    #[serde(default, deserialize_with = "json::given")]
    events: Vec<Value>,
}

#[derive(Deserialize, Default)]
struct RawJoined {
    #[serde(default, deserialize_with = "json::given")]
    timeline: RawTimeline,
    #[serde(default, deserialize_with = "json::given")]
    state: RawEvents,
}

#[derive(Deserialize, Default)]
struct RawTimeline {
    #[serde(default, deserialize_with = "json::given")]
    events: Vec<Value>,
    #[serde(default, deserialize_with = "json::given")]
    limited: bool,
    #[serde(default)]
    prev_batch: Option<String>,
}

#[derive(Deserialize, Default)]
struct RawInvited {
    #[serde(default, deserialize_with = "json::given")]
    invite_state: RawEvents,
}

/// Reads an answer to `/sync`. `me` is the bot's own id.
pub(super) fn sync(bytes: &[u8], me: &str) -> Result<Batch, WireError> {
    let raw: RawSync =
        serde_json::from_slice(&json::repaired(bytes)).map_err(|_| WireError::Garbled("sync"))?;
    if raw.next_batch.is_empty() || raw.next_batch.len() > 4096 {
        return Err(WireError::Garbled("sync"));
    }
    let mut batch = Batch { next: raw.next_batch, ..Batch::default() };
    for (room, joined) in raw.rooms.join {
        if !is_room(&room) {
            batch.odd += 1;
            continue;
        }
        let gap = joined.timeline.prev_batch.filter(|_| joined.timeline.limited);
        let mut news = News { gap, ..News::default() };
        (news.state, _) = events(&joined.state.events);
        (news.events, news.odd) = events(&joined.timeline.events);
        batch.joined.insert(room, news);
    }
    for (room, invited) in raw.rooms.invite {
        if is_room(&room) {
            batch.invites.push(invite(room, &invited.invite_state.events, me));
        } else {
            batch.odd += 1;
        }
    }
    batch.left = raw.rooms.leave.into_keys().filter(|room| is_room(room)).collect();
    let of_type = |kind: &str| raw.account_data.events.iter().rfind(|event| event["type"] == kind);
    batch.direct = of_type("m.direct").map(|event| direct(&event["content"]));
    Ok(batch)
}

/// The rooms of `m.direct`: by person, a list of rooms.
pub(super) fn direct(content: &Value) -> Vec<String> {
    let lists = content.as_object().into_iter().flat_map(|people| people.values());
    let rooms = lists.filter_map(Value::as_array).flatten().filter_map(Value::as_str);
    rooms.filter(|room| is_room(room)).map(str::to_owned).collect()
}

fn invite(room: String, state: &[Value], me: &str) -> Invite {
    let mut invite = Invite { room, from: None, name: None, is_direct: false, is_public: false };
    for event in state {
        let content = &event["content"];
        match event["type"].as_str() {
            Some("m.room.member")
                if event["state_key"].as_str().is_some_and(|who| who.eq_ignore_ascii_case(me)) =>
            {
                invite.from = text(&event["sender"]).filter(|who| is_person(who));
                invite.is_direct = content["is_direct"].as_bool().unwrap_or(false);
            }
            Some("m.room.name") => invite.name = label(&content["name"]),
            Some("m.room.join_rules") => invite.is_public = content["join_rule"] == "public",
            _ => {}
        }
    }
    invite
}

/// Those that can be used, and how many cannot.
pub(super) fn events(all: &[Value]) -> (Vec<Event>, usize) {
    let (mut good, mut odd) = (Vec::new(), 0);
    for value in all {
        match event(value) {
            Some(event) => good.push(event),
            None => odd += 1,
        }
    }
    (good, odd)
}

/// Reads one event of a room; `None`: nobody can use it.
pub(super) fn event(value: &Value) -> Option<Event> {
    let id = text(&value["event_id"]).filter(|id| is_event(id))?;
    let sender = text(&value["sender"]).filter(|who| is_person(who))?;
    let content = &value["content"];
    let what = match value["type"].as_str()? {
        // Taken back by its sender.
        "m.room.message" | "m.sticker" if content.as_object().is_none_or(serde_json::Map::is_empty) => {
            What::Other
        }
        "m.room.message" if is_of_devices(content) => What::Other,
        "m.room.message" => What::Message(Box::new(said(content)?)),
        "m.sticker" => What::Message(Box::new(sticker(content))),
        "m.reaction" => sign(&content["m.relates_to"]),
        "m.room.encrypted" => What::Encrypted,
        "m.room.encryption" => What::Encryption,
        "m.room.name" => What::Name,
        "m.room.tombstone" => {
            What::Tombstone { replacement: text(&content["replacement_room"]).filter(|room| is_room(room)) }
        }
        "m.room.member" => {
            let who = text(&value["state_key"]).filter(|who| is_person(who))?;
            let before = &value["unsigned"]["prev_content"]["membership"];
            What::Member {
                who,
                is: Membership::of(content["membership"].as_str()?),
                was: before.as_str().map(Membership::of),
                name: label(&content["displayname"]),
            }
        }
        _ => What::Other,
    };
    let sent = value["origin_server_ts"].as_u64().unwrap_or_default();
    Some(Event { id, sender, sent, what })
}

/// Whether two devices verify each other: what it says besides is for people whose programs cannot do that.
fn is_of_devices(content: &Value) -> bool {
    content["msgtype"].as_str().is_some_and(|kind| kind.starts_with("m.key.verification."))
}

fn sign(relation: &Value) -> What {
    let to = text(&relation["event_id"]).filter(|id| is_event(id));
    match (relation["rel_type"].as_str(), to, relation["key"].as_str()) {
        (Some("m.annotation"), Some(to), Some(key)) if key.len() <= 64 => {
            What::Sign { to, key: key.to_owned() }
        }
        _ => What::Other,
    }
}

fn sticker(content: &Value) -> Said {
    let name = label(&content["body"]).unwrap_or_else(|| "without words".to_owned());
    let mut said = Said { text: format!("[sticker {name}]"), ..Said::default() };
    relate(&mut said, content);
    said
}

/// `None`: it is none, or longer than an event may be.
fn said(content: &Value) -> Option<Said> {
    let kind = content["msgtype"].as_str()?;
    let body = content["body"].as_str()?;
    let html = content["formatted_body"].as_str().unwrap_or_default();
    if body.len() > TEXT || html.len() > TEXT {
        return None;
    }
    let mut said = Said {
        is_notice: kind == "m.notice",
        is_emote: kind == "m.emote",
        text: body.to_owned(),
        html: html.to_owned(),
        ask: Ask::deserialize(&content[ASK]).ok(),
        ..Said::default()
    };
    let mentioned = content["m.mentions"]["user_ids"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mentioned = mentioned.iter().take(MENTIONS).filter_map(Value::as_str);
    said.mentions = mentioned.filter(|who| is_person(who)).map(str::to_owned).collect();
    let usual = match kind {
        "m.image" => Some("image/jpeg"),
        "m.audio" => Some("audio/ogg"),
        "m.video" => Some("video/mp4"),
        "m.file" => Some("application/octet-stream"),
        _ => None,
    };
    if let Some(usual) = usual {
        let file = file(content, usual);
        // The text is the file's name where it has no other one.
        if file.name == body || content["filename"].as_str().is_none() {
            said.text.clear();
        }
        said.file = Some(file);
    }
    relate(&mut said, content);
    Some(said)
}

fn file(content: &Value, usual: &str) -> File {
    let info = &content["info"];
    let encrypted = content["file"].is_object();
    let place = content["url"].as_str().and_then(place).filter(|_| !encrypted);
    let named = label(&content["filename"]).or_else(|| label(&content["body"]));
    let media_type = info["mimetype"].as_str().filter(|kind| is_media_type(kind));
    File {
        place,
        name: named.unwrap_or_else(|| "file".to_owned()),
        media_type: media_type.unwrap_or(usual).to_owned(),
        length: info["size"].as_u64(),
    }
}

/// Server and name of `mxc://server/name`.
fn place(url: &str) -> Option<(String, String)> {
    let (server, name) = url.strip_prefix("mxc://")?.split_once('/')?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_server =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
    let good = (1..=ID).contains(&name.len())
        && (1..=ID).contains(&server.len())
        && name.bytes().all(is_name)
        && server.bytes().all(is_server)
        && !server.bytes().all(|byte| byte == b'.');
    good.then(|| (server.to_owned(), name.to_owned()))
}

fn is_media_type(text: &str) -> bool {
    let is_of_it =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'+' | b'_');
    text.len() <= 127
        && text.split('/').filter(|part| !part.is_empty()).count() == 2
        && text.bytes().all(is_of_it)
}

fn relate(said: &mut Said, content: &Value) {
    let relation = &content["m.relates_to"];
    let event = |value: &Value| text(value).filter(|id| is_event(id));
    let kind = relation["rel_type"].as_str();
    said.is_replacement = kind == Some("m.replace");
    said.thread = event(&relation["event_id"]).filter(|_| kind == Some("m.thread"));
    // In a thread, programs that know none show a reply: nobody chose it.
    let chosen = said.thread.is_none() || relation["is_falling_back"].as_bool() != Some(true);
    said.reply_to = event(&relation["m.in_reply_to"]["event_id"]).filter(|_| chosen);
    if said.reply_to.is_some() {
        said.text = without_fallback(&said.text).to_owned();
    }
}

/// A reply without what older programs put in front of it: the quoted lines of what it answers.
fn without_fallback(text: &str) -> &str {
    if !text.starts_with("> <") {
        return text;
    }
    let mut rest = text;
    while rest.starts_with('>') {
        rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
    }
    rest.strip_prefix('\n').unwrap_or(rest)
}

/// How a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// `M_…`; empty: it is no server of Matrix that speaks.
    pub(super) code: String,
    /// For people.
    pub(super) text: String,
    /// The wait that it asks for.
    pub(super) retry_after: Option<Duration>,
    /// Another login makes up for it.
    pub(super) soft_logout: bool,
}

impl Refusal {
    /// The token counts for nothing any more.
    pub(super) fn is_of_token(&self) -> bool {
        matches!(self.code.as_str(), "M_UNKNOWN_TOKEN" | "M_USER_DEACTIVATED")
            || (self.status == 401 && self.code != "M_FORBIDDEN")
    }

    /// What was asked is wrong: of a sync, the place where it is to begin.
    pub(super) fn is_of_place(&self) -> bool {
        self.status == 400
            && matches!(self.code.as_str(), "M_UNKNOWN_POS" | "M_INVALID_PARAM" | "M_UNKNOWN" | "M_BAD_PARAM")
    }
}

#[derive(Deserialize)]
struct RawRefusal {
    errcode: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    retry_after_ms: Option<u64>,
    #[serde(default)]
    soft_logout: bool,
}

/// Reads a refusal. Nothing in it is a secret of ours, and it is one short line.
pub(super) fn refusal(status: u16, bytes: &[u8]) -> Refusal {
    let Ok(raw) = serde_json::from_slice::<RawRefusal>(bytes) else {
        return Refusal { status, ..Refusal::default() };
    };
    let line = |text: &str, most| text.chars().filter(|c| !c.is_control()).take(most).collect::<String>();
    let wait = raw.retry_after_ms.map(|wait| Duration::from_millis(wait).min(LONGEST_WAIT));
    Refusal {
        status,
        code: line(&raw.errcode, 64),
        text: line(&raw.error, 200),
        retry_after: wait,
        soft_logout: raw.soft_logout,
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// A short line, if it says anything.
fn label(value: &Value) -> Option<String> {
    let line: String = value.as_str()?.chars().filter(|c| !c.is_control()).take(LABEL).collect();
    let line = line.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

/// Where the server of a name is asked; `None`: it is no name of a server.
pub(super) fn well_known(server: &str) -> Option<Url> {
    if server.is_empty()
        || server.contains(['/', '?', '#', '@', '\\', '%'])
        || server.contains(char::is_whitespace)
    {
        return None;
    }
    let of =
        |scheme: &str| Url::parse(&format!("{scheme}://{server}{WELL_KNOWN}")).ok().filter(Url::has_host);
    // This machine's own addresses have no certificates.
    of("http").filter(is_private).or_else(|| of("https"))
}

fn is_id(text: &str, sign: char) -> bool {
    text.starts_with(sign) && (2..=ID).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// Whether a text is the id of a room.
pub(super) fn is_room(text: &str) -> bool {
    is_id(text, '!')
}

/// Whether a text is the id of an event.
pub(super) fn is_event(text: &str) -> bool {
    is_id(text, '$')
}

/// Whether a text is the id of a person.
pub(super) fn is_person(text: &str) -> bool {
    is_id(text, '@')
        && text.split_once(':').is_some_and(|(name, server)| name.len() > 1 && !server.is_empty())
}
