//! What ntfy's server says: lines of a topic's stream, and answers to what is published. Nothing here trusts it.

use serde::Deserialize;

/// Longest line of the stream, in bytes. A message has 4 KiB where its server says nothing else; its actions come on top.
pub(super) const LINE: usize = 256 * 1024;
/// Longest text of a message, in bytes.
const TEXT: usize = 64 * 1024;
/// Longest id.
const ID: usize = 64;
/// Most tags of one message.
const TAGS: usize = 64;

/// One line of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heard {
    /// The stream stands, by the server's clock.
    Open(i64),
    /// Somebody has published.
    Message(Box<Message>),
    /// The server lives, or says something that is nothing to a bot.
    Life,
    /// It is no part of the protocol, for this reason.
    Odd(&'static str),
}

/// What somebody has published.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Message {
    pub(super) id: String,
    /// When, by the server's clock: seconds since 1970.
    pub(super) time: i64,
    pub(super) topic: String,
    /// What it says, behind its title where it has one.
    pub(super) text: String,
    pub(super) tags: Vec<String>,
    pub(super) attachment: Option<Attachment>,
}

/// A file that came with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attachment {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) media_type: Option<String>,
    /// Its length, where the server has it. Where it is only a link to somewhere, the server does not know.
    pub(super) size: Option<u64>,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    id: String,
    #[serde(default)]
    time: i64,
    event: String,
    #[serde(default)]
    topic: String,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    encoding: Option<String>,
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    attachment: Option<File>,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    name: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    r#type: Option<String>,
    #[serde(default)]
    size: Option<u64>,
}

/// Reads one line.
pub(super) fn line(bytes: &[u8]) -> Heard {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Heard::Life;
    }
    let Ok(line) = serde_json::from_slice::<Line>(bytes) else { return Heard::Odd("it is no event") };
    match line.event.as_str() {
        "open" => Heard::Open(line.time),
        "message" => message(line),
        _ => Heard::Life,
    }
}

fn message(line: Line) -> Heard {
    if !is_id(&line.id) {
        return Heard::Odd("it has no id");
    }
    if line.topic.is_empty() || line.topic.len() > ID || line.time < 0 {
        return Heard::Odd("it has no topic or no time");
    }
    // What is no text is written as Base64: it is for programs (UnifiedPush).
    if line.encoding.is_some_and(|encoding| !encoding.is_empty()) {
        return Heard::Odd("it is no text");
    }
    let said = line.message.unwrap_or_default();
    let title = line.title.map(|title| title.trim().to_owned()).filter(|title| !title.is_empty());
    let text = match title {
        Some(title) => format!("{title}\n\n{said}"),
        None => said,
    };
    let text = text.trim().to_owned();
    if text.len() > TEXT {
        return Heard::Odd("it is too long");
    }
    let attachment = line.attachment.filter(|file| !file.url.is_empty() && file.url.len() <= 4096);
    if text.is_empty() && attachment.is_none() {
        return Heard::Odd("it says nothing");
    }
    let attachment = attachment.map(|file| Attachment {
        name: file.name.chars().filter(|c| !c.is_control()).take(200).collect(),
        url: file.url,
        media_type: file.r#type.filter(|kind| !kind.is_empty() && kind.len() <= 200),
        size: file.size.filter(|size| *size > 0),
    });
    let mut tags = line.tags.unwrap_or_default();
    tags.truncate(TAGS);
    let (id, time, topic) = (line.id, line.time, line.topic);
    Heard::Message(Box::new(Message { id, time, topic, text, tags, attachment }))
}

fn is_id(text: &str) -> bool {
    (1..=ID).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// The name of what was published, as the server answers; none: its answer is not understood.
pub(super) fn published(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Published {
        id: String,
    }
    serde_json::from_slice::<Published>(bytes).ok().map(|it| it.id).filter(|id| is_id(id))
}

/// How the server refuses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Refusal {
    /// Its own number for it; 0: it gave none, and somebody in between may have answered.
    pub(super) code: u32,
    /// For people; cut.
    pub(super) text: String,
}

/// Reads the body of a refusal.
pub(super) fn refusal(bytes: &[u8]) -> Refusal {
    #[derive(Deserialize)]
    struct Refused {
        #[serde(default)]
        code: u32,
        #[serde(default)]
        error: String,
    }
    let Ok(refused) = serde_json::from_slice::<Refused>(bytes) else { return Refusal::default() };
    let text = refused.error.chars().filter(|c| !c.is_control()).take(200).collect();
    Refusal { code: refused.code, text }
}

/// Whether this can be the name of a topic.
pub(super) fn is_topic(text: &str) -> bool {
    is_id(text)
}
