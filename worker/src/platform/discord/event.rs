//! A message of Discord as the worker takes it: who says it where, what it says, and what came with it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::gate::{Gate, Place};
use super::outbound::{INITIAL_NAME, MESSAGE_CHANNEL, REPLY_TO, THREAD_ID};
use super::places::Known;
use super::service::Service;
use super::settings::NAME;
use super::wire::{Attachment, Id, Member, Message, User};
use super::{PRIVATE, THREADS};
use crate::access::Facts;
use crate::delivery::outbound::CHAT_ID;
use crate::handover::{Arrived, Attached, Unfetched};
use crate::inbound::{Busy, DedupKey, DeliveryTarget, Inbound, Source};

/// Characters of a message that is replied to.
const QUOTED: usize = 500;

/// Where something is said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Spot {
    pub(super) channel: Id,
    pub(super) guild: Option<Id>,
    pub(super) guild_name: String,
    pub(super) known: Known,
    /// It is a thread that the bot takes part in.
    pub(super) takes_part: bool,
}

impl Spot {
    fn is_thread(&self) -> bool {
        THREADS.contains(&self.known.kind)
    }

    /// As the gate sees it.
    pub(super) fn place(&self) -> Place {
        let above = self.known.parent.filter(|_| self.is_thread());
        let channels = std::iter::once(self.channel).chain(above).map(|id| id.to_string()).collect();
        Place { channels, takes_part: self.takes_part }
    }

    /// The same for what is said in a thread that was begun below it.
    pub(super) fn within(&self, thread: Id, name: &str) -> Self {
        let known = Known {
            kind: THREADS[1],
            name: name.to_owned(),
            parent: Some(self.channel),
            ..self.known.clone()
        };
        Self { channel: thread, known, takes_part: true, ..self.clone() }
    }

    fn chat_type(&self) -> &'static str {
        match self.guild {
            None if self.known.kind == PRIVATE || self.known.kind == 0 => "dm",
            _ if self.is_thread() => "thread",
            _ => "group",
        }
    }

    /// Where it is, and who says it.
    pub(super) fn source(&self, user: &User, member: Option<&Member>) -> Source {
        let nick = member.and_then(|member| member.nick.as_deref()).filter(|nick| !nick.is_empty());
        let name = nick.unwrap_or_else(|| user.name());
        let chat_name = match (self.guild_name.as_str(), self.known.name.as_str()) {
            ("", "") => None,
            ("", channel) => Some(format!("#{channel}")),
            (guild, "") => Some(guild.to_owned()),
            (guild, channel) => Some(format!("{guild} / #{channel}")),
        };
        Source {
            platform: NAME.to_owned(),
            chat_type: self.chat_type().to_owned(),
            chat_id: Some(self.channel.to_string()),
            chat_name,
            thread_id: self.is_thread().then(|| self.channel.to_string()),
            user_id: Some(user.id.to_string()),
            user_name: Some(name.to_owned()).filter(|name| !name.is_empty()),
            ..Source::default()
        }
    }

    /// Where an answer goes.
    pub(super) fn target(&self) -> DeliveryTarget {
        let mut extra = BTreeMap::from([(CHAT_ID.to_owned(), self.channel.to_string())]);
        if self.is_thread() {
            extra.insert(THREAD_ID.to_owned(), self.channel.to_string());
        }
        DeliveryTarget { kind: NAME.to_owned(), extra }
    }

    /// The chat that it belongs to.
    pub(super) fn parent(&self) -> Option<String> {
        self.known.parent.filter(|_| self.is_thread()).map(|parent| parent.to_string())
    }
}

/// The other ids of somebody. His name is one where Discord has it once only; one that looks like a number could be another's id.
pub(super) fn aliases(user: &User) -> Vec<String> {
    let is_unique = user.discriminator.as_deref().is_none_or(|number| number == "0") && !user.bot;
    let is_name = !user.username.is_empty() && !user.username.bytes().all(|byte| byte.is_ascii_digit());
    if is_unique && is_name { vec![user.username.clone()] } else { Vec::new() }
}

/// What a message is to whoever sends it again.
pub(super) fn key(message: &Message) -> DedupKey {
    DedupKey { scope: message.channel_id.to_string(), id: message.id.to_string() }
}

/// Messages that belong together, as one event that is said at `spot`. None: there is nothing in them that anybody could answer.
pub(super) fn arrived(
    messages: &[&Message],
    spot: &Spot,
    gate: &Gate<'_>,
    service: &Service,
    role_authorized: bool,
) -> Option<Arrived> {
    let first = *messages.first()?;
    let author = first.author.as_ref()?;
    let texts: Vec<String> =
        messages.iter().map(|message| text(message, gate)).filter(|text| !text.is_empty()).collect();
    let mut text = texts.join("\n");
    let files = messages.iter().flat_map(|message| files(message));
    let largest = gate.settings.largest;
    let attachments: Vec<Attached> = files.map(|file| attached(file, service, largest)).collect();
    if text.is_empty() && attachments.is_empty() {
        return None;
    }
    if !text.starts_with('/') {
        text = reply(first, gate) + &text;
    }
    let mut delivery = spot.target();
    delivery.extra.insert(REPLY_TO.to_owned(), first.id.to_string());
    if first.channel_id != spot.channel {
        // A thread was begun for it.
        delivery.extra.insert(MESSAGE_CHANNEL.to_owned(), first.channel_id.to_string());
        delivery.extra.insert(INITIAL_NAME.to_owned(), spot.known.name.clone());
    }
    let event = Inbound {
        source: spot.source(author, first.member.as_ref()),
        text,
        dedup: Some(key(first)),
        delivery,
        context: None,
        end_session: None,
        // The way in puts the profile's setting in its place.
        busy: Busy::Wait,
    };
    let facts = Facts {
        is_bot: author.bot || first.webhook_id.is_some(),
        addressed: gate.is_addressed(first),
        role_authorized,
        aliases: aliases(author),
    };
    let also = messages[1..].iter().map(|message| key(message).id).collect();
    Some(Arrived {
        attachments,
        facts,
        also,
        guild_id: spot.guild.map(|guild| guild.to_string()),
        parent_chat_id: spot.parent(),
        ..Arrived::from(event)
    })
}

/// What a message says, and what it shows that is no file, in words.
pub(super) fn text(message: &Message, gate: &Gate<'_>) -> String {
    let mut text = gate.words(&message.content, &message.mentions);
    for snapshot in &message.message_snapshots {
        let forwarded = gate.words(&snapshot.message.content, &[]);
        if !forwarded.is_empty() {
            let _ = write!(text, "\n[Forwarded message]\n{forwarded}");
        }
    }
    for sticker in &message.sticker_items {
        let name: String = sticker.name.chars().filter(|c| !c.is_control()).collect();
        let _ = write!(text, "\n[sticker {name}]");
    }
    text.trim().to_owned()
}

/// What a message replies to, for who does not see it.
fn reply(message: &Message, gate: &Gate<'_>) -> String {
    let Some(to) = &message.referenced_message else { return String::new() };
    let said = text(to, gate);
    let file = || to.attachments.first().map(|file| format!("[{}]", file.filename));
    let Some(said) = Some(said).filter(|said| !said.is_empty()).or_else(file) else { return String::new() };
    let mut cut: String = said.chars().take(QUOTED).collect();
    if cut.len() < said.len() {
        cut.push('…');
    }
    let whom = match &to.author {
        Some(author) if author.id == gate.me => "your message".to_owned(),
        Some(author) if !author.name().is_empty() => {
            author.name().chars().filter(|c| !c.is_control()).collect()
        }
        _ => "a message".to_owned(),
    };
    format!("[Replying to {whom}: \"{cut}\"]\n\n")
}

/// The files that came with a message, with what it forwards, and with what it replies to.
pub(super) fn files(message: &Message) -> impl Iterator<Item = &Attachment> {
    let forwarded = message.message_snapshots.iter().flat_map(|snapshot| &snapshot.message.attachments);
    let answered = message.referenced_message.iter().flat_map(|to| &to.attachments);
    message.attachments.iter().chain(forwarded).chain(answered)
}

/// A file as the worker takes it.
fn attached(file: &Attachment, service: &Service, largest: u64) -> Attached {
    let (service, url, length) = (service.clone(), file.url.clone(), file.size);
    let or = |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
    // `text/plain; charset=utf-8` is the type of a text.
    let media_type = file.content_type.as_deref().and_then(|kind| kind.split(';').next()).unwrap_or_default();
    Attached {
        name: or(&file.filename, "file"),
        media_type: or(media_type.trim(), "application/octet-stream"),
        length,
        open: Box::new(move || {
            Box::pin(async move {
                if length > largest {
                    return Err(Unfetched::Gone(format!("files of more than {largest} bytes are not taken")));
                }
                service.file(&url).await
            })
        }),
    }
}

#[cfg(test)]
mod tests {
    use hermes_config::access::Bots;
    use hermes_config::network::Network;
    use serde_json::{Value, json};

    use super::super::tests::settings;
    use super::*;

    fn message(more: &Value) -> Message {
        let mut message = json!({"id": "5", "channel_id": "10", "guild_id": "1", "content": "<@42> hi",
            "author": {"id": "7", "username": "ann", "global_name": "Ann Lee", "discriminator": "0"}});
        for (key, value) in more.as_object().unwrap() {
            message[key] = value.clone();
        }
        serde_json::from_value(message).unwrap()
    }

    fn spot(kind: u8) -> Spot {
        let known = Known { kind, name: "general".to_owned(), parent: Some(Id(9)), ..Known::default() };
        Spot { channel: Id(10), guild: Some(Id(1)), guild_name: "G".to_owned(), known, takes_part: false }
    }

    #[test]
    fn chats_and_people_have_their_names() {
        let user = User { id: Id(7), username: "ann".to_owned(), ..User::default() };
        let nick = Member { nick: Some("Annie".to_owned()), ..Member::default() };
        let of = |spot: Spot| {
            let source = spot.source(&user, Some(&nick));
            (source.chat_type, source.chat_name, source.thread_id, source.user_name.unwrap())
        };
        let name = |text: &str| Some(text.to_owned());
        assert_eq!(of(spot(0)), ("group".to_owned(), name("G / #general"), None, "Annie".to_owned()));
        assert_eq!(of(spot(11)).0, "thread");
        assert_eq!((spot(11).parent(), spot(0).parent()), (name("9"), None));
        assert_eq!(spot(11).place().channels, ["10", "9"]);
        let private =
            Spot { channel: Id(3), known: Known { kind: 1, ..Known::default() }, ..Spot::default() };
        assert_eq!(of(private.clone()), ("dm".to_owned(), None, None, "Annie".to_owned()));
        assert_eq!(private.source(&user, None).user_name.as_deref(), Some("ann"));
        let thread = spot(0).within(Id(77), "title");
        let source = thread.source(&user, None);
        assert_eq!((source.chat_id, source.thread_id), (name("77"), name("77")));
        assert_eq!(thread.target().extra[CHAT_ID], "77");
    }

    /// Somebody may call himself like another one's id.
    #[test]
    fn a_name_is_an_id_where_it_can_be_none_of_another() {
        let user = |name: &str, number: Option<&str>, bot| User {
            id: Id(7),
            username: name.to_owned(),
            discriminator: number.map(str::to_owned),
            bot,
            ..User::default()
        };
        assert_eq!(aliases(&user("ann", Some("0"), false)), ["ann"]);
        assert_eq!(aliases(&user("ann", None, false)), ["ann"]);
        for other in
            [user("ann", Some("1234"), false), user("123456", Some("0"), false), user("ann", Some("0"), true)]
        {
            assert!(aliases(&other).is_empty(), "{other:?}");
        }
    }

    #[tokio::test]
    async fn a_message_says_what_it_answers_forwards_and_shows() {
        let settings = settings("");
        let gate = Gate { settings: &settings, bots: Bots::None, me: Id(42) };
        let service = Service::new(&settings, &Network::default()).unwrap();
        let text_of = |more: Value| {
            let message = message(&more);
            let arrived = arrived(&[&message], &spot(0), &gate, &service, false)?;
            Some((arrived.event.text, arrived.attachments.len()))
        };
        let is = |text: &str, files| Some((text.to_owned(), files));
        assert_eq!(text_of(json!({})), is("hi", 0));
        assert_eq!(text_of(json!({"content": "<@42>"})), None);
        let to = |from: &str, content: &str| json!({"id": "4", "channel_id": "10", "content": content, "author": {"id": from, "username": "bob"}});
        assert_eq!(
            text_of(json!({"referenced_message": to("8", "is it?")})),
            is("[Replying to bob: \"is it?\"]\n\nhi", 0)
        );
        assert_eq!(
            text_of(json!({"referenced_message": to("42", "it is")})),
            is("[Replying to your message: \"it is\"]\n\nhi", 0)
        );
        assert_eq!(
            text_of(json!({"content": "<@42> /new", "referenced_message": to("42", "it is")})),
            is("/new", 0)
        );
        let file = json!({"filename": "a.txt", "size": 3, "url": "https://cdn.discordapp.com/a.txt", "content_type": "text/plain; charset=utf-8"});
        let forwarded = json!({"content": "", "message_snapshots": [{"message": {"content": "look", "attachments": [file]}}]});
        assert_eq!(text_of(forwarded), is("[Forwarded message]\nlook", 1));
        assert_eq!(
            text_of(json!({"content": "", "sticker_items": [{"name": "Wave\n"}]})),
            is("[sticker Wave]", 0)
        );
        let one = message(&json!({"attachments": [file]}));
        let mut arrived = arrived(&[&one], &spot(0), &gate, &service, true).unwrap();
        let attached = arrived.attachments.remove(0);
        assert_eq!(
            (attached.name.as_str(), attached.media_type.as_str(), attached.length),
            ("a.txt", "text/plain", 3)
        );
        assert!(arrived.facts.role_authorized && arrived.facts.addressed);
        assert_eq!((arrived.guild_id.as_deref(), arrived.parent_chat_id), (Some("1"), None));
        // Nothing is fetched from where Discord has no files.
        let elsewhere = Attachment { url: "https://evil.example/a".to_owned(), ..Attachment::default() };
        assert!(matches!((super::attached(&elsewhere, &service, 9).open)().await, Err(Unfetched::Gone(_))));
        let large = Attachment { size: 10, ..elsewhere };
        assert!(
            matches!((super::attached(&large, &service, 9).open)().await, Err(Unfetched::Gone(why)) if why.contains("more than 9"))
        );
    }
}
