//! A message of Telegram as the worker takes it: who says it where, what it says, and what came with it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::gate::{self, Gate};
use super::gather::Held;
use super::outbound::{REPLY_TO, THREAD_ID};
use super::service::Service;
use super::settings::NAME;
use super::wire::{File, Message, Origin, User};
use crate::access::Facts;
use crate::delivery::outbound::CHAT_ID;
use crate::handover::{Arrived, Attached, Unfetched};
use crate::inbound::{Busy, DedupKey, DeliveryTarget, Inbound, Source};

/// Largest file that the public service gives to bots, in bytes.
pub(super) const LARGEST: u64 = 20 * 1024 * 1024;
/// Most characters of what is shown in words.
const SHOWN: usize = 4096;
/// Characters of a message that is replied to.
const QUOTED: usize = 500;
/// Who writes for a chat where somebody writes in its name, for a channel, and for Telegram itself.
const PLACEHOLDERS: [i64; 3] = [1_087_968_824, 136_817_688, 777_000];

/// Who speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Speaker {
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) is_bot: bool,
}

impl Speaker {
    pub(super) fn person(user: &User) -> Self {
        let name = Some(user.name()).filter(|name| !name.is_empty());
        Self { id: Some(user.id.to_string()), name, is_bot: user.is_bot }
    }

    /// Of a message. A channel, and whoever writes in a chat's name, is that chat.
    pub(super) fn of(message: &Message) -> Self {
        let chat = message.sender_chat.as_ref().or(Some(&message.chat));
        match (&message.from, chat) {
            (Some(user), _) if !PLACEHOLDERS.contains(&user.id) => Self::person(user),
            (_, Some(chat)) => {
                Self { id: Some(chat.id.to_string()), name: chat.title.clone(), is_bot: false }
            }
            (_, None) => Self { id: None, name: None, is_bot: false },
        }
    }
}

/// Where a message is, and who wrote it.
pub(super) fn source(message: &Message, speaker: &Speaker) -> Source {
    let chat_type = match message.chat.kind.as_str() {
        "group" | "supergroup" => "group",
        "channel" => "channel",
        _ => "dm",
    };
    Source {
        platform: NAME.to_owned(),
        chat_type: chat_type.to_owned(),
        chat_id: Some(message.chat.id.to_string()),
        chat_name: message.chat.title.clone(),
        thread_id: gate::thread(message).map(|thread| thread.to_string()),
        user_id: speaker.id.clone(),
        user_name: speaker.name.clone(),
        ..Source::default()
    }
}

/// Where an answer to a message goes.
pub(super) fn target(message: &Message) -> DeliveryTarget {
    let mut extra = BTreeMap::from([
        (CHAT_ID.to_owned(), message.chat.id.to_string()),
        (REPLY_TO.to_owned(), message.message_id.to_string()),
    ]);
    // The general topic has a number here, and none on the wire.
    let thread = gate::thread(message).filter(|thread| *thread != gate::GENERAL);
    extra.extend(thread.map(|thread| (THREAD_ID.to_owned(), thread.to_string())));
    DeliveryTarget { kind: NAME.to_owned(), extra }
}

/// What a message is to whoever sends it again.
pub(super) fn key(message: &Message) -> DedupKey {
    DedupKey { scope: message.chat.id.to_string(), id: message.message_id.to_string() }
}

/// Messages that belong together, as one event. None: there is nothing in them that anybody could answer.
pub(super) async fn arrived(held: &Held, gate: &Gate<'_>, service: &Service, me: i64) -> Option<Arrived> {
    let (_, first) = held.messages.first()?;
    let mut texts = Vec::new();
    let mut before: Option<&Origin> = None;
    for (_, message) in &held.messages {
        let origin = message.forward_origin.as_ref();
        let text = text(message, gate);
        if !text.is_empty() {
            // Somebody else's words are no command of who passes them on.
            let whose = origin.filter(|_| origin != before).map(forwarded).unwrap_or_default();
            texts.push(whose + &text);
        }
        before = origin;
    }
    let mut text = texts.join("\n");
    let mut attachments = Vec::new();
    for file in held.messages.iter().filter_map(|(_, message)| file(message)) {
        attachments.push(attached(file, service).await);
    }
    if text.is_empty() && attachments.is_empty() {
        return None;
    }
    if !text.starts_with('/') && first.forward_origin.is_none() {
        text = reply(first, me) + &text;
    }
    let speaker = Speaker::of(first);
    let event = Inbound {
        source: source(first, &speaker),
        text,
        dedup: Some(key(first)),
        delivery: target(first),
        context: None,
        end_session: None,
        // The way in puts the profile's setting in its place.
        busy: Busy::Wait,
    };
    let also = held.messages[1..].iter().map(|(_, message)| key(message).id).collect();
    let facts = Facts { is_bot: speaker.is_bot, addressed: gate.is_addressed(first), ..Facts::default() };
    Some(Arrived { attachments, facts, also, ..Arrived::from(event) })
}

/// What a message that is for others says and shows, in words.
pub(super) fn overheard(message: &Message, gate: &Gate<'_>) -> String {
    let mut said = text(message, gate);
    if let Some(file) = file(message) {
        let behind = if said.is_empty() { "" } else { "\n" };
        let _ = write!(said, "{behind}[{}]", file.name);
    }
    match &message.forward_origin {
        Some(origin) if !said.is_empty() => forwarded(origin) + &said,
        _ => said,
    }
}

/// What a message says, and what it shows that is no file, in words.
fn text(message: &Message, gate: &Gate<'_>) -> String {
    let mut text = gate.words(message);
    let mut shown = String::new();
    if let Some(sticker) = &message.sticker {
        let emoji = sticker.emoji.as_deref().unwrap_or("without an emoji");
        let set = sticker.set_name.as_deref().map(|set| format!(" of {set}")).unwrap_or_default();
        let _ = write!(shown, "[sticker {emoji}{set}]");
    }
    if let Some(place) = message.location {
        let name = message.venue.as_ref().map(|venue| format!(" {}, {}:", venue.title, venue.address));
        let _ =
            write!(shown, "[location{} {}, {}]", name.unwrap_or_default(), place.latitude, place.longitude);
    }
    if let Some(contact) = &message.contact {
        let last = contact.last_name.as_deref().unwrap_or_default();
        let name = format!("{} {last}", contact.first_name);
        let _ = write!(shown, "[contact {}: {}]", name.trim(), contact.phone_number);
    }
    if let Some(poll) = &message.poll {
        let options: Vec<&str> = poll.options.iter().map(|option| option.text.as_str()).collect();
        let _ = write!(shown, "[poll \"{}\": {}]", poll.question, options.join("; "));
    }
    if let Some(dice) = &message.dice {
        let _ = write!(shown, "[{} that shows {}]", dice.emoji, dice.value);
    }
    if let Some(game) = &message.game {
        let _ = write!(shown, "[game {}]", game.title);
    }
    if message.story.is_some() {
        shown.push_str("[a story, which bots cannot see]");
    }
    let shown: String = shown.chars().filter(|c| !c.is_control()).take(SHOWN).collect();
    if !text.is_empty() && !shown.is_empty() {
        text.push('\n');
    }
    text + &shown
}

/// Who wrote a message that is passed on.
fn forwarded(origin: &Origin) -> String {
    let name: String = origin.name().unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
    let from = if name.is_empty() { String::new() } else { format!(" from {name}") };
    format!("[Forwarded{from}]\n\n")
}

/// What a message replies to, for who does not see it.
fn reply(message: &Message, me: i64) -> String {
    let Some(to) = message.answered() else { return String::new() };
    let whole = || {
        let (text, _) = to.said();
        if text.is_empty() { file(to).map(|file| format!("[{}]", file.name)) } else { Some(text.to_owned()) }
    };
    let quote = message.quote.as_ref().map(|quote| quote.text.clone()).filter(|text| !text.is_empty());
    let Some(text) = quote.or_else(whole) else { return String::new() };
    let mut cut: String = text.chars().take(QUOTED).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    let speaker = Speaker::of(to);
    let whom = match &speaker.id {
        Some(id) if *id == me.to_string() => "your message".to_owned(),
        _ => speaker.name.unwrap_or_else(|| "a message".to_owned()),
    };
    let whom: String = whom.chars().filter(|c| !c.is_control()).collect();
    format!("[Replying to {whom}: \"{cut}\"]\n\n")
}

/// A file of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) media_type: String,
    pub(super) length: Option<u64>,
}

/// The file that came with a message; there is one at most.
pub(super) fn file(message: &Message) -> Option<Sent> {
    let size = |photo: &&super::wire::Photo| (photo.width.saturating_mul(photo.height), photo.file_size);
    if let Some(photo) = message.photo.iter().max_by_key(size) {
        return Some(Sent {
            id: photo.file_id.clone(),
            name: "photo.jpg".to_owned(),
            media_type: "image/jpeg".to_owned(),
            length: photo.file_size,
        });
    }
    let named = |file: &File, name: &str, media_type: &str| {
        let or = |text: &Option<String>, other: &str| {
            text.clone().filter(|text| !text.is_empty()).unwrap_or_else(|| other.to_owned())
        };
        Sent {
            id: file.file_id.clone(),
            name: or(&file.file_name, name),
            media_type: or(&file.mime_type, media_type),
            length: file.file_size,
        }
    };
    // An animation comes as a document too.
    let kinds = [
        (&message.animation, "animation.mp4", "video/mp4"),
        (&message.video, "video.mp4", "video/mp4"),
        (&message.video_note, "video.mp4", "video/mp4"),
        (&message.audio, "audio.mp3", "audio/mpeg"),
        (&message.voice, "voice.ogg", "audio/ogg"),
        (&message.document, "document", "application/octet-stream"),
    ];
    kinds.into_iter().find_map(|(file, name, kind)| file.as_ref().map(|file| named(file, name, kind)))
}

/// A file as the worker takes it. One whose length nobody said is asked for: what is written is counted.
async fn attached(file: Sent, service: &Service) -> Attached {
    let Sent { id, name, media_type, length } = file;
    let length = match length {
        Some(length) => Some(length),
        // Whatever is in the way is in the way of the file as well, and is said there.
        None => service.find(&id).await.ok().and_then(|found| found.file_size),
    };
    let service = service.clone();
    let is_public = service.is_public();
    Attached {
        name,
        media_type,
        length: length.unwrap_or(0),
        open: Box::new(move || {
            Box::pin(async move {
                match length {
                    None => Err(Unfetched::Gone("nobody says how long it is".to_owned())),
                    Some(length) if length > LARGEST && is_public => {
                        Err(Unfetched::Gone("Telegram gives bots files of at most 20 MiB".to_owned()))
                    }
                    Some(_) => service.file(&id).await,
                }
            })
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn message(more: &Value) -> Message {
        let mut message = json!({
            "message_id": 5, "chat": {"id": -100, "type": "supergroup", "title": "Team"},
            "from": {"id": 7, "first_name": "Ann", "last_name": "Lee"},
        });
        for (key, value) in more.as_object().unwrap() {
            message[key] = value.clone();
        }
        serde_json::from_value(message).unwrap()
    }

    #[test]
    fn chats_and_people_have_their_names() {
        let of = |more: &Value| {
            let message = message(more);
            let source = source(&message, &Speaker::of(&message));
            (
                source.chat_type,
                source.user_id.unwrap(),
                source.user_name.unwrap_or_default(),
                source.thread_id,
            )
        };
        let is = |kind: &str, id: &str, name: &str, thread: Option<&str>| {
            (kind.to_owned(), id.to_owned(), name.to_owned(), thread.map(str::to_owned))
        };
        assert_eq!(of(&json!({})), is("group", "7", "Ann Lee", None));
        assert_eq!(of(&json!({"chat": {"id": 7, "type": "private"}})), is("dm", "7", "Ann Lee", None));
        let forum = json!({"id": -100, "type": "supergroup", "is_forum": true});
        assert_eq!(of(&json!({"chat": forum})), is("group", "7", "Ann Lee", Some("1")));
        let channel = json!({"chat": {"id": -9, "type": "channel", "title": "News"}, "from": null});
        assert_eq!(of(&channel), is("channel", "-9", "News", None));
        let anonymous = json!({"from": {"id": 1_087_968_824, "is_bot": true}, "sender_chat": {"id": -100, "title": "Team"}});
        assert_eq!(of(&anonymous), is("group", "-100", "Team", None));
        let in_general = target(&message(&json!({"chat": forum})));
        assert_eq!(in_general.extra.get(THREAD_ID), None);
        assert_eq!((in_general.extra[CHAT_ID].as_str(), in_general.extra[REPLY_TO].as_str()), ("-100", "5"));
    }

    #[test]
    fn a_reply_says_to_what() {
        let of = |more: Value| reply(&message(&more), 42);
        let to = |from: i64, text: &str| json!({"message_id": 1, "chat": {"id": -100}, "from": {"id": from, "first_name": "Bob"}, "text": text});
        assert_eq!(of(json!({})), "");
        assert_eq!(of(json!({"reply_to_message": to(8, "is it?")})), "[Replying to Bob: \"is it?\"]\n\n");
        assert_eq!(
            of(json!({"reply_to_message": to(42, "it is")})),
            "[Replying to your message: \"it is\"]\n\n"
        );
        let quoted = json!({"reply_to_message": to(8, "a b c"), "quote": {"text": "b"}});
        assert_eq!(of(quoted), "[Replying to Bob: \"b\"]\n\n");
        assert_eq!(
            of(json!({"reply_to_message": to(8, &"x".repeat(600))})).chars().filter(|c| *c == 'x').count(),
            500
        );
        let photo = json!({"message_id": 1, "chat": {"id": -100}, "from": {"id": 8, "first_name": "Bob"}, "photo": [{"file_id": "p"}]});
        assert_eq!(of(json!({"reply_to_message": photo})), "[Replying to Bob: \"[photo.jpg]\"]\n\n");
        assert_eq!(of(json!({"reply_to_message": {"message_id": 1, "chat": {"id": -100}}})), "");
    }

    #[test]
    fn a_message_has_one_file_at_most() {
        let of = |more: Value| {
            file(&message(&more)).map(|file| (file.id, file.name, file.media_type, file.length))
        };
        let is = |id: &str, name: &str, kind: &str, length| {
            Some((id.to_owned(), name.to_owned(), kind.to_owned(), length))
        };
        assert_eq!(of(json!({"text": "hi"})), None);
        let photos = json!({"photo": [{"file_id": "s", "width": 9, "height": 9, "file_size": 1}, {"file_id": "l", "width": 90, "height": 90, "file_size": 7}]});
        assert_eq!(of(photos), is("l", "photo.jpg", "image/jpeg", Some(7)));
        let both = json!({"animation": {"file_id": "a"}, "document": {"file_id": "a", "file_name": "x.mp4"}});
        assert_eq!(of(both), is("a", "animation.mp4", "video/mp4", None));
        let document = json!({"document": {"file_id": "d", "file_name": "x.pdf", "mime_type": "application/pdf", "file_size": 3}});
        assert_eq!(of(document), is("d", "x.pdf", "application/pdf", Some(3)));
        assert_eq!(
            of(json!({"voice": {"file_id": "v", "file_size": 3}})),
            is("v", "voice.ogg", "audio/ogg", Some(3))
        );
    }
}
