//! The way out to the chats of the bot.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hermes_config::network::Network;
use hermes_host::blocking;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use twilight_http_ratelimiting::Method;

use super::FORUMS;
use super::press;
use super::service::{Body, Failure, Service, described, form};
use super::settings::{Calls, NAME, Settings};
use super::wire::Id;
use crate::delivery::outbound::{
    Abilities, CHAT_ID, File, Format, Message, Outbound, OutboundFuture, Sent, Sign, Unsent, chat_of, made,
};
use crate::formatting::split::Limit;
use crate::inbound::DeliveryTarget;
use crate::platform::wire::{hex, random64};

/// Key of a target's parameters: the thread, as in 0.19.0's `deliver_extra`.
pub(super) const THREAD_ID: &str = "thread_id";
/// Likewise: the message that an answer is to.
pub(super) const REPLY_TO: &str = "reply_to_message_id";
/// The channel of that message, where it is another than the chat.
pub(super) const MESSAGE_CHANNEL: &str = "message_channel_id";
/// What the thread was called that was begun for the message, as long as nobody calls it otherwise.
pub(super) const INITIAL_NAME: &str = "auto_thread_initial_name";
/// The command that an answer is to: its application, and what Discord gave to answer it with.
pub(super) const COMMAND: &str = "command";
/// Longest message, in characters.
const MOST: usize = 2000;
/// The same, with room for the shorter of the two marks.
pub(super) const LONGEST: usize = 1990;
/// For how long the service shows that somebody is typing.
const TYPING: Duration = Duration::from_secs(8);
/// Largest file of a bot.
const FILE: u64 = 10 * 1024 * 1024;
/// Longest title of a post, in characters.
const TITLE: usize = 90;
/// Most posts whose later parts are still to come.
const POSTS: usize = 64;
/// Longest of what tells one message from another, in characters.
const NONCE: usize = 25;

/// The bot, as it speaks.
pub(super) struct Chats {
    settings: Settings,
    network: Network,
    service: Arc<OnceLock<Service>>,
    /// Posts of forums that were begun, by the key of their first part.
    posts: Mutex<VecDeque<(String, String)>>,
}

impl Chats {
    pub(super) fn new(settings: Settings, network: Network, service: Arc<OnceLock<Service>>) -> Self {
        Self { settings, network, service, posts: Mutex::default() }
    }

    fn service(&self) -> Result<&Service, Unsent> {
        let make = || Service::new(&self.settings, &self.network).map_err(|failure| unsent(&failure, true));
        made(&self.service, make)
    }

    /// A message, as a request says it.
    fn body(&self, target: &DeliveryTarget, text: &str, key: &str) -> Value {
        let mut body = json!({
            "content": text, "allowed_mentions": mentions(self.settings.calls),
            // The same message twice within minutes is one.
            "nonce": nonce(key), "enforce_nonce": true,
        });
        let is_first = !is_later(key);
        let is_quoting = self.settings.quotes.quote(key);
        let is_here = !target.extra.contains_key(MESSAGE_CHANNEL);
        if let Some(message) = target.extra.get(REPLY_TO).filter(|_| is_quoting && is_here) {
            body["message_reference"] = json!({"message_id": message, "fail_if_not_exists": false});
        }
        if let Some(buttons) = press::buttons(&target.extra).filter(|_| is_first) {
            body["components"] = buttons;
        }
        body
    }

    /// Sends, and once more without what is in the way: the message that is not there any more or nobody may reply to, the command that
    /// is too long ago, the thread that is put away, the channel that takes posts only.
    async fn deliver(
        &self,
        target: &DeliveryTarget,
        mut body: Value,
        parcel: Parcel<'_>,
    ) -> Result<Value, Unsent> {
        let service = self.service()?;
        let chat = place(target)?;
        let is_thread = target.extra.contains_key(THREAD_ID);
        if let Some((application, token)) = target.extra.get(COMMAND).and_then(|text| text.split_once(' ')) {
            let path = format!("webhooks/{application}/{token}?wait=true");
            match service.ask("answers to commands", Method::Post, &path, parcel.with(&apart(&body))).await {
                Err(Failure::Refused { refusal, .. }) if matches!(refusal.status, 400..=404) => {
                    tracing::debug!("[{NAME}] a command is answered in its channel: {}", refusal.message);
                }
                sent => return sent.map_err(|failure| unsent(&failure, is_thread)),
            }
        }
        let mut channel = self.post_of(parcel.key).unwrap_or_else(|| chat.to_string());
        for _ in 0..4 {
            let path = format!("channels/{channel}/messages");
            let failure = match service.ask("messages", Method::Post, &path, parcel.with(&body)).await {
                Ok(sent) => return Ok(sent),
                Err(failure) => failure,
            };
            let has_reference = body.get("message_reference").is_some();
            match failure.code() {
                // What is wrong with a form is found out without it.
                10008 | 50035 | 160_002 if has_reference => drop_key(&mut body, "message_reference"),
                50008 if !is_thread => match self.post(service, chat, &body, parcel).await? {
                    Posted::Sent(sent) => return Ok(sent),
                    Posted::Cannot => return Err(unsent(&failure, false)),
                },
                50083 if is_thread => {
                    let path = format!("channels/{channel}");
                    let open = Body::Json(json!({"archived": false}));
                    let opened = service.call("threads", Method::Patch, &path, open).await;
                    opened.map_err(|failure| unsent(&failure, true))?;
                }
                10003 if channel != chat.to_string() => {
                    // The post is gone; the rest is another one.
                    self.forget_post(parcel.key);
                    channel = chat.to_string();
                }
                _ => return Err(unsent(&failure, is_thread)),
            }
        }
        Err(Unsent::never("Discord refuses the message in every form"))
    }

    /// Begins a post in a channel that takes nothing else.
    async fn post(
        &self,
        service: &Service,
        chat: Id,
        body: &Value,
        parcel: Parcel<'_>,
    ) -> Result<Posted, Unsent> {
        let channel = service.channel(chat).await.map_err(|failure| unsent(&failure, false))?;
        if !FORUMS.contains(&channel.kind) {
            return Ok(Posted::Cannot);
        }
        let text = body["content"].as_str().unwrap_or_default();
        let mut message = apart(body);
        drop_key(&mut message, "message_reference");
        let post = json!({"name": title(text), "message": message});
        let path = format!("channels/{chat}/threads");
        let sent: Value = service
            .ask("posts", Method::Post, &path, parcel.with(&post))
            .await
            .map_err(|failure| unsent(&failure, false))?;
        if let Some(thread) = sent["id"].as_str() {
            let mut posts = self.posts.lock().unwrap_or_else(PoisonError::into_inner);
            posts.truncate(POSTS - 1);
            posts.push_front((whole(parcel.key).to_owned(), thread.to_owned()));
        }
        // A post and its first message have one id.
        Ok(Posted::Sent(sent))
    }

    fn post_of(&self, key: &str) -> Option<String> {
        let posts = self.posts.lock().unwrap_or_else(PoisonError::into_inner);
        let found = posts.iter().find(|(of, _)| is_later(key) && of == whole(key));
        found.map(|(_, thread)| thread.clone())
    }

    fn forget_post(&self, key: &str) {
        let mut posts = self.posts.lock().unwrap_or_else(PoisonError::into_inner);
        posts.retain(|(of, _)| of != whole(key));
    }

    /// A call about the message that a target's event came by.
    async fn reaction(&self, target: &DeliveryTarget, method: Method, sign: &str) -> Result<(), Failure> {
        let message = target.extra.get(REPLY_TO).and_then(|id| Id::parse(id));
        let channel = target.extra.get(MESSAGE_CHANNEL).or_else(|| target.extra.get(CHAT_ID));
        let channel = channel.and_then(|id| Id::parse(id));
        let (Some(channel), Some(message), Ok(service)) = (channel, message, self.service()) else {
            return Ok(());
        };
        let path = format!("channels/{channel}/messages/{message}/reactions/{sign}/@me");
        service.call("reactions", method, &path, Body::Nothing).await.map(drop)
    }
}

impl Chats {
    /// Calls the thread of a conversation by its title, where it was begun for it and nobody has called it otherwise.
    async fn call_thread(&self, target: &DeliveryTarget, title: &str) -> Result<(), Failure> {
        let (Some(initial), Some(thread)) = (target.extra.get(INITIAL_NAME), target.extra.get(THREAD_ID))
        else {
            return Ok(());
        };
        let (Some(thread), Ok(service)) = (Id::parse(thread), self.service()) else { return Ok(()) };
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let now = service.channel(thread).await?.name.unwrap_or_default();
        let name = self::title(title);
        if words(&now) != words(initial) || now == name {
            return Ok(());
        }
        let body = Body::Json(json!({"name": name}));
        service.call("threads", Method::Patch, &format!("channels/{thread}"), body).await.map(drop)
    }
}

enum Posted {
    Sent(Value),
    /// It is no channel of posts.
    Cannot,
}

/// What a message comes with.
#[derive(Clone, Copy)]
struct Parcel<'a> {
    key: &'a str,
    file: Option<Loaded<'a>>,
}

/// A file that was read.
#[derive(Clone, Copy)]
struct Loaded<'a> {
    name: &'a str,
    media_type: &'a str,
    bytes: &'a [u8],
}

impl Parcel<'_> {
    /// The request that says this, and carries it.
    fn with(self, said: &Value) -> Body {
        match self.file {
            None => Body::Json(said.clone()),
            Some(Loaded { name, media_type, bytes }) => {
                // Nobody who wrote the file knew it.
                let boundary = format!("{:016x}{:016x}", random64(), random64());
                form(&boundary, said, name, media_type, bytes)
            }
        }
    }
}

/// What is said outside of an ordinary channel: nothing there knows nonces.
fn apart(body: &Value) -> Value {
    let mut body = body.clone();
    for key in ["nonce", "enforce_nonce", "message_reference"] {
        drop_key(&mut body, key);
    }
    body
}

fn drop_key(body: &mut Value, key: &str) {
    if let Some(fields) = body.as_object_mut() {
        fields.remove(key);
    }
}

/// Where a message goes: a thread is a channel of its own.
fn place(target: &DeliveryTarget) -> Result<Id, Unsent> {
    let chat = chat_of(target)?;
    let id = target.extra.get(THREAD_ID).map_or(chat, String::as_str);
    Id::parse(id).ok_or_else(|| Unsent::never("a chat of Discord has a number, as developers copy it"))
}

/// The key of a later part has a number behind that of the whole.
fn is_later(key: &str) -> bool {
    key.contains('-')
}

fn whole(key: &str) -> &str {
    key.split('-').next().unwrap_or_default()
}

fn nonce(key: &str) -> String {
    hex(&Sha256::digest(key)).chars().take(NONCE).collect()
}

/// Whom a message may call: never everybody, unless that is asked for.
fn mentions(calls: Calls) -> Value {
    let kinds = [(calls.everyone, "everyone"), (calls.roles, "roles"), (calls.users, "users")];
    let parse: Vec<&str> = kinds.into_iter().filter_map(|(may, kind)| may.then_some(kind)).collect();
    json!({"parse": parse, "replied_user": calls.replied})
}

/// What a post is called: its first line.
pub(super) fn title(text: &str) -> String {
    let lines = text.lines().map(|line| line.trim_matches(['#', '*', '`', '>', '-', ' ']));
    let line = lines.into_iter().find(|line| line.chars().any(char::is_alphanumeric)).unwrap_or("Hermes");
    let mut title: String = line.chars().filter(|c| !c.is_control()).take(TITLE).collect();
    if title.len() < line.len() {
        title.push('…');
    }
    title
}

impl Outbound for Chats {
    fn kind(&self) -> &'static str {
        NAME
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            longest: LONGEST,
            format: Format::Markdown,
            at_once: 16,
            edits: true,
            typing: self.settings.typing.then_some(TYPING),
            files: Some(FILE),
            reacts: self.settings.reactions,
            ..Abilities::LEAST
        }
    }

    fn limit(&self, target: &DeliveryTarget) -> Limit {
        let format = self.abilities().format;
        let (unit, dialect) = (format.unit(), format.dialect());
        Limit { most: self.longest(target), unit, dialect, numbered: true }
    }

    fn send<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        message: Message<'a>,
    ) -> OutboundFuture<'a, Result<Sent, Unsent>> {
        Box::pin(async move {
            let text = message.marked(|text| text.chars().count() <= MOST);
            let body = self.body(target, &text, message.key);
            let sent = self.deliver(target, body, Parcel { key: message.key, file: None }).await?;
            Ok(Sent { id: sent["id"].as_str().map(str::to_owned) })
        })
    }

    fn edit<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        id: &'a str,
        text: &'a str,
    ) -> OutboundFuture<'a, Result<(), Unsent>> {
        Box::pin(async move {
            let message = Id::parse(id).ok_or_else(|| Unsent::never("no id of a message of Discord"))?;
            let chat = place(target)?;
            let is_thread = target.extra.contains_key(THREAD_ID);
            let path = format!("channels/{chat}/messages/{message}");
            let body = json!({"content": text, "allowed_mentions": mentions(self.settings.calls)});
            let edited = self.service()?.call("edits", Method::Patch, &path, Body::Json(body)).await;
            edited.map(drop).map_err(|failure| unsent(&failure, is_thread))
        })
    }

    fn send_file<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        file: File<'a>,
    ) -> OutboundFuture<'a, Result<Sent, Unsent>> {
        Box::pin(async move {
            let path = file.path.to_owned();
            let bytes = blocking::run(move || read(&path)).await;
            let bytes = bytes.map_err(|error| Unsent::later(error.to_string()))?.map_err(Unsent::never)?;
            let mark = Message { text: "", key: file.key, repeated: file.repeated }.marked(|_| true);
            let mut body = self.body(target, mark.trim(), file.key);
            body["attachments"] = described(file.name);
            let key = file.key;
            let file = Loaded { name: file.name, media_type: file.media_type, bytes: &bytes };
            let parcel = Parcel { key, file: Some(file) };
            let sent = self.deliver(target, body, parcel).await?;
            Ok(Sent { id: sent["id"].as_str().map(str::to_owned) })
        })
    }

    fn react<'a>(&'a self, target: &'a DeliveryTarget, sign: Sign) -> OutboundFuture<'a, ()> {
        const SEEN: &str = "%F0%9F%91%80";
        Box::pin(async move {
            let shown = match sign {
                Sign::Seen => Some(SEEN),
                Sign::Done => Some("%E2%9C%85"),
                Sign::Failed => Some("%E2%9D%8C"),
                Sign::Nothing => None,
            };
            let mut changed = Ok(());
            if sign != Sign::Seen {
                changed = self.reaction(target, Method::Delete, SEEN).await;
            }
            if let Some(shown) = shown {
                changed = self.reaction(target, Method::Put, shown).await;
            }
            if let Err(error) = changed {
                tracing::debug!(%error, "[{NAME}] a message does not show how its answer is");
            }
        })
    }

    fn entitle<'a>(&'a self, target: &'a DeliveryTarget, title: &'a str) -> OutboundFuture<'a, ()> {
        Box::pin(async move {
            if let Err(error) = self.call_thread(target, title).await {
                tracing::debug!(%error, "[{NAME}] a thread keeps the name that it was begun with");
            }
        })
    }

    fn typing<'a>(&'a self, target: &'a DeliveryTarget) -> OutboundFuture<'a, ()> {
        Box::pin(async move {
            if let (Ok(service), Ok(chat)) = (self.service(), place(target)) {
                // Nobody misses it.
                let _ = service
                    .call("typing", Method::Post, &format!("channels/{chat}/typing"), Body::Nothing)
                    .await;
            }
        })
    }
}

/// A file, whole.
fn read(path: &camino::Utf8Path) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let file = fs_err::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(FILE + 1).read_to_end(&mut bytes).map_err(|error| format!("`{path}`: {error}"))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > FILE {
        return Err(format!("`{path}` is longer than the {FILE} bytes that Discord takes"));
    }
    Ok(bytes)
}

/// What a failed request is to the message. A chat that is gone is gone for everything; a thread that is gone is not its chat.
fn unsent(failure: &Failure, is_thread: bool) -> Unsent {
    let reason = failure.to_string();
    match failure {
        // The files say something wrong, or the token was taken back: the next worker may have better ones.
        Failure::Unusable { .. } | Failure::Revoked | Failure::Unsent(_) => Unsent::later(reason),
        Failure::Limited { after } => Unsent::Later { after: Some(*after), unsure: false, reason },
        Failure::Refused { refusal, .. } => match (refusal.status, refusal.code) {
            // What is between may have lost the answer only; what it refuses by itself says nothing of the chat.
            (500.., _) if !refusal.is_own || refusal.status == 504 => Unsent::unsure(reason),
            (500.., _) => Unsent::later(reason),
            _ if !refusal.is_own => Unsent::later(reason),
            // Not there, no access, and somebody who takes no messages of the bot.
            (_, 10003 | 50001 | 50007) if !is_thread => Unsent::gone(reason),
            _ => Unsent::never(reason),
        },
        Failure::Lost(_) | Failure::Garbled(_) => Unsent::unsure(reason),
    }
}
