//! What the daemon says: events, and answers to calls (JSON-RPC 2.0). Bytes from outside, parsed once; nothing in them is believed to be
//! short or sane.
//!
//! Format: signal-cli's `signal-cli-jsonrpc(5)`.

use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::json;

/// Longest id of a person, a group or a file, in bytes.
const ID: usize = 256;
/// Longest name of a file, in characters; more is cut.
const NAME: usize = 200;
/// Longest text of one message, in bytes. Signal's own limit is 64 KiB, as a file.
const TEXT: usize = 256 * 1024;
/// Most files and mentions of one message.
const MOST: usize = 64;
/// What stands in a text where somebody is mentioned.
const MENTION: char = '\u{fffc}';
/// A wait that the service asks for where it does not say how long, in seconds.
const WAIT: u64 = 4;
/// Longest wait that it may ask for.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// One event of the stream.
#[derive(Debug, Deserialize)]
struct Event {
    #[serde(default)]
    envelope: Option<Envelope>,
    /// Why the daemon could not read what came.
    #[serde(default)]
    exception: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    #[serde(default)]
    source_number: Option<String>,
    #[serde(default)]
    source_uuid: Option<String>,
    #[serde(default)]
    source_name: Option<String>,
    #[serde(default)]
    data_message: Option<Data>,
    #[serde(default)]
    edit_message: Option<Edit>,
    #[serde(default)]
    sync_message: Option<Sync>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Edit {
    data_message: Data,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sync {
    #[serde(default)]
    sent_message: Option<Value>,
}

/// What the account's owner has sent from another device. Beside this stand the fields of [`Data`], but for an edit, which has its own.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SentElsewhere {
    #[serde(default)]
    destination: Option<String>,
    #[serde(default)]
    destination_number: Option<String>,
    #[serde(default)]
    destination_uuid: Option<String>,
    #[serde(default)]
    edit_message: Option<Edit>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    timestamp: u64,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    group_info: Option<Group>,
    #[serde(default, deserialize_with = "json::given")]
    mentions: Vec<Mention>,
    #[serde(default)]
    quote: Option<Quote>,
    #[serde(default, deserialize_with = "json::given")]
    attachments: Vec<Attachment>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    group_id: String,
    #[serde(default)]
    group_name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Mention {
    /// In UTF-16 units.
    start: usize,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    number: Option<String>,
    #[serde(default)]
    uuid: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Quote {
    #[serde(default)]
    author: Option<String>,
    #[serde(default)]
    author_number: Option<String>,
    #[serde(default)]
    author_uuid: Option<String>,
    #[serde(default)]
    text: Option<String>,
}

/// A file that came with a message.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Attachment {
    /// What the daemon has it under; none: it has not.
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) filename: Option<String>,
    #[serde(default)]
    pub(super) content_type: Option<String>,
    /// Its length, where its sender said that.
    #[serde(default)]
    pub(super) size: Option<u64>,
}

impl Attachment {
    /// The same with what can be used of it: a file that is odd makes no message so.
    fn sane(self) -> Self {
        let short = |text: &String| (1..=ID).contains(&text.len());
        Self {
            id: self.id.filter(short),
            filename: self.filename.map(|name| name.chars().take(NAME).collect()),
            content_type: self.content_type.filter(short),
            size: self.size,
        }
    }
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Incoming {
    /// The sender's number; of somebody who hides it none.
    pub(super) number: Option<String>,
    /// The sender's id, which stays when the number changes.
    pub(super) uuid: Option<String>,
    pub(super) name: Option<String>,
    pub(super) group: Option<String>,
    pub(super) group_name: Option<String>,
    /// When it was sent, in milliseconds: with the sender, its name.
    pub(super) timestamp: u64,
    /// With the names of those who are mentioned.
    pub(super) text: String,
    /// What it answers.
    pub(super) quoted: Option<String>,
    pub(super) attachments: Vec<Attachment>,
    /// Numbers and ids that it mentions, and whoever it answers.
    pub(super) addressed: Vec<String>,
    /// The account's owner wrote it, on another device.
    pub(super) elsewhere: bool,
}

impl Incoming {
    /// The sender, as chats and lists name him.
    pub(super) fn sender(&self) -> Option<&str> {
        self.number.as_deref().or(self.uuid.as_deref())
    }

    fn has_sane_ids(&self) -> bool {
        let all = [self.number.as_ref(), self.uuid.as_ref(), self.group.as_ref()];
        all.into_iter().flatten().all(|id| id.len() <= ID) && self.group.as_deref() != Some("")
    }
}

/// What one event is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heard {
    /// A message, for whoever it is.
    Message(Box<Incoming>),
    /// Receipts, typing, calls, reactions, stories: nobody is spoken to.
    Nothing,
    /// Nobody can use it, for this reason.
    Odd(&'static str),
}

/// What was sent, and whether it was from another device; the error is what the event is instead.
fn data(envelope: &mut Envelope, account: &str) -> Result<(Data, bool), Heard> {
    let edit = envelope.edit_message.take().map(|edit| edit.data_message);
    if let Some(data) = envelope.data_message.take().or(edit) {
        return Ok((data, false));
    }
    let Some(sent) = envelope.sync_message.take().and_then(|sync| sync.sent_message) else {
        return Err(Heard::Nothing);
    };
    let odd = |_: serde_json::Error| Heard::Odd("what was sent from another device is not understood");
    let to = SentElsewhere::deserialize(&sent).map_err(odd)?;
    let is_own = to.destination_number.as_deref() == Some(account)
        || to.destination.as_deref() == Some(account)
        || (to.destination_uuid.is_some() && to.destination_uuid == envelope.source_uuid);
    let data = match to.edit_message {
        Some(edit) => edit.data_message,
        // Of a story there is nothing else.
        None if sent["timestamp"].is_null() => return Err(Heard::Nothing),
        None => Data::deserialize(sent).map_err(odd)?,
    };
    // To oneself, or in a group: the rest is the owner's own business.
    if is_own || data.group_info.is_some() { Ok((data, true)) } else { Err(Heard::Nothing) }
}

/// Reads one event. `account` is the bot's own number.
pub(super) fn event(text: &str, account: &str) -> Heard {
    const UNREAD: Heard = Heard::Odd("signal-cli could not read what somebody sent; its own log says why");
    let Ok(Event { envelope, exception }) = serde_json::from_slice(&json::repaired(text.as_bytes())) else {
        return Heard::Odd("it is no envelope");
    };
    let Some(mut envelope) = envelope else {
        return if exception.is_some() { UNREAD } else { Heard::Odd("it is no envelope") };
    };
    let (data, elsewhere) = match data(&mut envelope, account) {
        Ok(found) => found,
        Err(Heard::Nothing) if exception.is_some() => return UNREAD,
        Err(heard) => return heard,
    };
    let Envelope { source_number, source_uuid, source_name, .. } = envelope;
    let Data { timestamp, message, group_info, mentions, quote, attachments } = data;
    let (group, group_name) = group_info.map(|group| (group.group_id, group.group_name)).unzip();
    if mentions.len() > MOST || attachments.len() > MOST {
        return Heard::Odd("too much comes with it");
    }
    let message = message.unwrap_or_default();
    if message.is_empty() && attachments.is_empty() {
        return Heard::Nothing;
    }
    let text = with_names(&message, &mentions);
    let mut addressed: Vec<String> =
        mentions.into_iter().flat_map(|mention| [mention.number, mention.uuid]).flatten().collect();
    let quoted = quote.and_then(|quote| {
        addressed.extend([quote.author, quote.author_number, quote.author_uuid].into_iter().flatten());
        quote.text
    });
    let incoming = Incoming {
        number: source_number.filter(|number| !number.is_empty()),
        uuid: source_uuid.filter(|uuid| !uuid.is_empty()),
        name: source_name.filter(|name| !name.is_empty()),
        group,
        group_name: group_name.flatten(),
        timestamp,
        text,
        quoted,
        attachments: attachments.into_iter().map(Attachment::sane).collect(),
        addressed,
        elsewhere,
    };
    if !incoming.has_sane_ids() {
        return Heard::Odd("an id of it is empty or too long");
    }
    if incoming.text.len() > TEXT {
        return Heard::Odd("its text is too long");
    }
    if incoming.sender().is_none() {
        return Heard::Odd("nobody has sent it");
    }
    Heard::Message(Box::new(incoming))
}

/// The text with a name in the place of each mark.
fn with_names(text: &str, mentions: &[Mention]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for c in text.chars() {
        let mention = mentions.iter().find(|mention| mention.start == at).filter(|_| c == MENTION);
        match mention {
            Some(mention) => {
                let name = [&mention.name, &mention.number, &mention.uuid]
                    .into_iter()
                    .flatten()
                    .find(|name| !name.is_empty());
                out.push('@');
                out.push_str(name.map_or("somebody", String::as_str));
            }
            None => out.push(c),
        }
        at += c.len_utf16();
    }
    out
}

/// The accounts of a daemon, as it lists them; none: it lists none, having been started for one.
pub(super) fn accounts(bytes: &[u8]) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct Account {
        number: String,
    }
    let answer: Answer = serde_json::from_slice(bytes).ok()?;
    let all: Vec<Account> = serde_json::from_value(answer.result?).ok()?;
    Some(all.into_iter().map(|account| account.number).collect())
}

/// How a call went.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// Slower.
    #[error("Signal's service asks to wait{}", .0.map(|wait| format!(" for {} s", wait.as_secs())).unwrap_or_default())]
    Slower(Option<Duration>),
    /// Nobody got it, and nobody will.
    #[error("{0}")]
    Never(String),
    /// Nobody got it, and nobody is there any more.
    #[error("{0}")]
    Gone(String),
    /// Nobody got it, and somebody may the next time.
    #[error("{0}")]
    Later(String),
    /// The answer is none.
    #[error("the daemon's answer is not understood")]
    Garbled,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    result: Option<Value>,
    #[serde(default)]
    error: Option<Fault>,
}

#[derive(Deserialize)]
struct Fault {
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Value,
}

/// What the daemon says of an account of its own that is linked no more.
const OUT: [&str; 2] = ["is not registered", "authorization failed"];
/// What the daemon says of somebody, or of a group, that is not there for the account.
const GONE: [&str; 3] = ["unregistered user", "not a group member", "group not found"];

/// The result of a call.
pub(super) fn result(bytes: &[u8]) -> Result<Value, Refused> {
    let Ok(Answer { result, error }) = serde_json::from_slice(bytes) else { return Err(Refused::Garbled) };
    let Some(Fault { code, message, data }) = error else { return Ok(result.unwrap_or_default()) };
    let message: String = message.chars().filter(|c| !c.is_control()).take(300).collect();
    let said = format!("signal-cli says: {message} ({code})");
    let results =
        data.pointer("/response/results").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let unregistered = |result: &Value| result["type"] == "UNREGISTERED_FAILURE";
    let is_gone = (!results.is_empty() && results.iter().all(unregistered))
        || GONE.iter().any(|what| message.to_lowercase().contains(what));
    let is_out = OUT.iter().any(|what| message.to_lowercase().contains(what));
    Err(match code {
        -1 if is_gone => Refused::Gone(said),
        // It says nothing of the message, and the account may be linked again.
        _ if is_out => Refused::Later(said),
        // Rate limit; untrusted key; what is asked is wrong; no such method, no such parameters.
        -5 => Refused::Slower(Some(wait(results))),
        -4 | -1 | -32_601 | -32_600 => Refused::Never(said),
        // No such account: it may be linked later.
        _ => Refused::Later(said),
    })
}

/// The time at which a message was sent, which is its name.
pub(super) fn sent(bytes: &[u8]) -> Result<u64, Refused> {
    let result = result(bytes)?;
    let timestamp = result.get("timestamp").and_then(Value::as_u64).ok_or(Refused::Garbled)?;
    let results = result.get("results").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let kinds: Vec<&str> = results.iter().filter_map(|result| result.get("type")?.as_str()).collect();
    if kinds.is_empty() || kinds.contains(&"SUCCESS") {
        return Ok(timestamp);
    }
    if kinds.contains(&"RATE_LIMIT_FAILURE") {
        return Err(Refused::Slower(Some(wait(results))));
    }
    Err(match kinds[0] {
        "NETWORK_FAILURE" => Refused::Later("Signal's service is not reached".to_owned()),
        "UNREGISTERED_FAILURE" => Refused::Gone("the recipient has no Signal account".to_owned()),
        "IDENTITY_FAILURE" => Refused::Never(
            "the recipient's safety number has changed; `signal-cli trust` accepts the new one".to_owned(),
        ),
        "PROOF_REQUIRED_FAILURE" => Refused::Later(
            "Signal wants a captcha solved; `signal-cli submitRateLimitChallenge` does that".to_owned(),
        ),
        other => Refused::Never(format!("not sent: {}", other.chars().take(60).collect::<String>())),
    })
}

fn wait(results: &[Value]) -> Duration {
    let longest = results.iter().filter_map(|result| result.get("retryAfterSeconds")?.as_u64()).max();
    Duration::from_secs(longest.unwrap_or(WAIT)).min(LONGEST_WAIT)
}
