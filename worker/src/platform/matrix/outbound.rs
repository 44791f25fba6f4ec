//! The way out to the account's rooms.
//!
//! A message goes out under its key as the transaction's id: a homeserver keeps one event of one id and device, however often it is sent.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use hermes_host::clock;
use reqwest::Body;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::account::Account;
use super::press;
use super::service::{Ask, Failure};
use super::settings::{MOST, NAME, Settings};
use super::target::{REPLY_TO, THREAD_ID};
use super::wire::{ASK, Refusal, is_event, is_person, is_room};
use crate::delivery::outbound::{
    Abilities, File, Format, Message, Outbound, OutboundFuture, Sent, Sign, Unsent, chat_of,
};
use crate::formatting::matrix_html;
use crate::inbound::{CHOICES, DeliveryTarget};
use crate::outgoing::file::{opened, pieces};

/// Room for the shorter of the two marks, and for what an edit begins with.
const MARK: usize = 10;
/// For how long a room shows that somebody types, and a bit less.
const TYPING: Duration = Duration::from_secs(10);
const TYPED: Duration = Duration::from_secs(8);
/// Time for what nobody misses.
const BEST: Duration = Duration::from_secs(3);
/// Largest event, in bytes, with room for what the server adds to it.
const EVENT: usize = 60_000;
/// Most people that one message names.
const NAMED: usize = 50;

/// The account, as it speaks.
pub(super) struct Rooms {
    account: Arc<Account>,
    /// Edits and signs have no key of their own.
    counter: AtomicU64,
}

impl Rooms {
    pub(super) fn new(account: Arc<Account>) -> Self {
        Self { account, counter: AtomicU64::new(0) }
    }

    fn settings(&self) -> &Settings {
        &self.account.settings
    }

    /// An id of a transaction that no other one has.
    fn fresh(&self) -> String {
        let since = clock::system().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let n = self.counter.fetch_add(1, Ordering::Relaxed);
        format!("hermes-{}-{}-{n}", since.as_nanos(), std::process::id())
    }

    /// The room that a target names, by its id or by its alias.
    async fn room(&self, target: &DeliveryTarget) -> Result<String, Unsent> {
        let chat = chat_of(target)?;
        if is_room(chat) {
            return Ok(chat.to_owned());
        }
        if !chat.starts_with('#') {
            return Err(Unsent::never(format!("`{chat}` is neither the id of a room nor an alias of one")));
        }
        let path = ["client", "v3", "directory", "room", chat];
        let found = self.account.ask(&Ask::get("alias", &path)).await.map_err(|f| unsent(&f))?;
        let room = found["room_id"].as_str().filter(|room| is_room(room));
        room.map(str::to_owned).ok_or_else(|| Unsent::later("the homeserver does not say which room it is"))
    }

    /// What is said in a room where everything is encrypted would be read by others than think so.
    async fn open(&self, target: &DeliveryTarget) -> Result<String, Unsent> {
        let room = self.room(target).await?;
        let about = self.account.room(&room).await.map_err(|failure| unsent(&failure))?;
        if about.is_encrypted {
            return Err(Unsent::never("the room is encrypted, and this build has no encryption"));
        }
        Ok(room)
    }

    /// Sends an event under an id of its own, and once more without what is in the way: a thread that is none, HTML that is too long.
    async fn put(&self, room: &str, id: &str, mut content: Value) -> Result<String, Unsent> {
        let path = ["client", "v3", "rooms", room, "send", "m.room.message", id];
        if content.to_string().len() > EVENT {
            drop_html(&mut content);
        }
        for _ in 0..3 {
            let failure = match self.account.ask(&Ask::put("send", &path, &content)).await {
                Ok(answer) => {
                    let id = answer["event_id"].as_str().filter(|id| is_event(id));
                    return id.map(str::to_owned).ok_or_else(|| Unsent::unsure("the answer names no event"));
                }
                Err(failure) => failure,
            };
            let Some(refusal) = failure.refusal() else { return Err(unsent(&failure)) };
            if refusal.status == 413 && content.get("formatted_body").is_some() {
                drop_html(&mut content);
            } else if is_about_relation(refusal) && drop_key(&mut content, "m.relates_to") {
                tracing::warn!("[{NAME}] the message does not go to the thread, but to the room: {failure}");
            } else {
                return Err(unsent(&failure));
            }
        }
        Err(Unsent::never("the homeserver refuses the message in every form"))
    }

    async fn send(&self, target: &DeliveryTarget, message: Message<'_>) -> Result<Sent, Unsent> {
        let room = self.open(target).await?;
        // Another device's transactions are other ones: what it sent would be there twice.
        let text = if self.account.is_other_device() {
            message.marked(|text| text.chars().count() <= self.settings().longest)
        } else {
            message.text.to_owned()
        };
        let mut content = content(&text, self.settings().room_mentions);
        relate(&mut content, target, self.settings().quotes.quote(message.key));
        if let Some(ask) = press::ask(&target.extra) {
            content[ASK] = ask;
        }
        let (sent, ()) = tokio::join!(self.put(&room, message.key, content), self.stop_typing(&room));
        let id = sent?;
        if let Some(thread) = target.extra.get(THREAD_ID) {
            self.account.joins(thread);
        }
        if let Some(choices) = target.extra.get(CHOICES).filter(|_| press::ask(&target.extra).is_some()) {
            self.offer(&room, &id, choices).await;
        }
        Ok(Sent { id: Some(id) })
    }

    /// Puts the signs below a question that answer it.
    async fn offer(&self, room: &str, event: &str, choices: &str) {
        let all = async {
            // Programs show them in the order in which they came.
            for sign in press::signs(choices) {
                self.mark(room, event, sign).await;
            }
        };
        // People may put them there themselves.
        let _ = timeout(BEST, all).await;
    }

    /// Puts a sign at an event; the sign's own id. The same sign there is one, however often it is put.
    async fn mark(&self, room: &str, event: &str, sign: &str) -> Option<String> {
        let body = json!({"m.relates_to": {"rel_type": "m.annotation", "event_id": event, "key": sign}});
        let id = self.fresh();
        let path = ["client", "v3", "rooms", room, "send", "m.reaction", &id];
        let answer = self.account.ask(&Ask::put("react", &path, &body)).await;
        match answer {
            Ok(answer) => answer["event_id"].as_str().filter(|id| is_event(id)).map(str::to_owned),
            Err(error) => {
                tracing::debug!("[{NAME}] a sign is not shown: {error}");
                None
            }
        }
    }

    async fn take_back(&self, room: &str, event: &str) {
        let id = self.fresh();
        let path = ["client", "v3", "rooms", room, "redact", event, &id];
        if let Err(error) = self.account.ask(&Ask::put("redact", &path, &json!({}))).await {
            tracing::debug!("[{NAME}] a sign stays: {error}");
        }
    }

    async fn show_typing(&self, room: &str, now: bool) {
        let Some(me) = self.account.me() else { return };
        let millis = u64::try_from(TYPING.as_millis()).unwrap_or(1000);
        let body = if now { json!({"typing": true, "timeout": millis}) } else { json!({"typing": false}) };
        let path = ["client", "v3", "rooms", room, "typing", &me.user];
        // Nobody misses it.
        let _ = timeout(BEST, self.account.ask(&Ask::put("typing", &path, &body))).await;
    }

    async fn stop_typing(&self, room: &str) {
        if self.account.types(room, false) {
            self.show_typing(room, false).await;
        }
    }

    async fn file(&self, target: &DeliveryTarget, file: File<'_>) -> Result<Sent, Unsent> {
        let room = self.open(target).await?;
        let unreadable =
            |error: std::io::Error| Unsent::never(format!("`{}` cannot be read: {error}", file.name));
        let (opened, length) = opened(file.path.to_owned()).await.map_err(unreadable)?;
        if length > self.settings().largest {
            return Err(Unsent::never(format!(
                "`{}` is larger than {} bytes",
                file.name,
                self.settings().largest
            )));
        }
        let body = Body::wrap_stream(pieces(opened, length).map(|piece| piece.map_err(io::Error::other)));
        let sent = self.account.with_token(async |service, token| {
            service.upload(token, file.name, file.media_type, length, body).await
        });
        // Nobody sees what is only up there, and a server that does not take it says nothing of the room.
        let place = sent.await.map_err(|failure| match unsent(&failure) {
            Unsent::Later { after, reason, .. } => Unsent::Later { after, unsure: false, reason },
            Unsent::Never { reason, .. } => Unsent::never(reason),
        })?;
        let kind = match file.media_type.split('/').next() {
            Some("image") if file.shown => "m.image",
            Some("audio") if file.shown => "m.audio",
            Some("video") if file.shown => "m.video",
            _ => "m.file",
        };
        let mut content = json!({
            "msgtype": kind, "body": file.name, "filename": file.name, "url": place,
            "info": {"mimetype": file.media_type, "size": length}, "m.mentions": {},
        });
        relate(&mut content, target, false);
        let id = self.put(&room, file.key, content).await?;
        Ok(Sent { id: Some(id) })
    }

    async fn change(&self, target: &DeliveryTarget, id: &str, text: &str) -> Result<(), Unsent> {
        let room = self.open(target).await?;
        let new = content(text, false);
        let edit = edited(id, new);
        self.put(&room, &self.fresh(), edit).await.map(drop)
    }

    async fn sign(&self, target: &DeliveryTarget, sign: Sign) {
        let Some(event) = target.extra.get(REPLY_TO).filter(|id| is_event(id)) else { return };
        let Ok(room) = self.room(target).await else { return };
        let shown = match sign {
            Sign::Seen => Some("👀"),
            Sign::Done => Some("✅"),
            Sign::Failed => Some("❌"),
            Sign::Nothing => None,
        };
        let new = match shown {
            Some(shown) => self.mark(&room, event, shown).await,
            None => None,
        };
        if let Some(before) = self.account.sign(event, new) {
            self.take_back(&room, &before).await;
        }
    }
}

/// A text, as an event says it.
pub(super) fn content(markdown: &str, room_mentions: bool) -> Value {
    let mut content =
        json!({"msgtype": "m.text", "body": markdown, "m.mentions": mentions(markdown, room_mentions)});
    let html = matrix_html(markdown);
    // What has no markup needs none.
    if html.contains('<') {
        content["format"] = "org.matrix.custom.html".into();
        content["formatted_body"] = html.into();
    }
    content
}

/// Another text for an event. What it mentions was told already.
pub(super) fn edited(id: &str, mut new: Value) -> Value {
    new["m.mentions"] = json!({});
    let mut edit = new.clone();
    for key in ["body", "formatted_body"] {
        if let Some(text) = new[key].as_str() {
            edit[key] = format!("* {text}").into();
        }
    }
    if let Some(fields) = new.as_object_mut() {
        fields.remove("m.relates_to");
    }
    edit["m.new_content"] = new;
    edit["m.relates_to"] = json!({"rel_type": "m.replace", "event_id": id});
    edit
}

/// Who is told of a text: nobody but those whom it names whole.
fn mentions(text: &str, room: bool) -> Value {
    let is_of_id =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '=' | '-' | '/' | '+' | ':');
    let mut people: Vec<&str> = Vec::new();
    for (at, _) in text.match_indices('@').take(NAMED * 4) {
        if text[..at].ends_with(|c: char| c.is_alphanumeric()) {
            continue;
        }
        let rest = &text[at + 1..];
        let end = rest.find(|c| !is_of_id(c)).unwrap_or(rest.len());
        let id = text[at..=at + end].trim_end_matches(['.', ':', '-', '/']);
        if is_person(id) && !people.contains(&id) && people.len() < NAMED {
            people.push(id);
        }
    }
    let mut mentions = json!({});
    if !people.is_empty() {
        mentions["user_ids"] = people.into();
    }
    if room && text.contains("@room") {
        mentions["room"] = true.into();
    }
    mentions
}

/// Puts an event into its thread, and says what it answers.
fn relate(content: &mut Value, target: &DeliveryTarget, is_quoting: bool) {
    let event = |key: &str| target.extra.get(key).filter(|id| is_event(id));
    let (thread, answered) = (event(THREAD_ID), event(REPLY_TO));
    if let Some(thread) = thread {
        content["m.relates_to"] = json!({
            "rel_type": "m.thread", "event_id": thread, "is_falling_back": true,
            "m.in_reply_to": {"event_id": answered.unwrap_or(thread)},
        });
    } else if let Some(answered) = answered.filter(|_| is_quoting) {
        content["m.relates_to"] = json!({"m.in_reply_to": {"event_id": answered}});
    }
}

fn drop_key(content: &mut Value, key: &str) -> bool {
    content.as_object_mut().is_some_and(|fields| fields.remove(key).is_some())
}

fn drop_html(content: &mut Value) {
    tracing::debug!("[{NAME}] a message is too long as HTML, and goes out as it is written");
    drop_key(content, "formatted_body");
    drop_key(content, "format");
}

/// Whether what is in the way is the event that this one is about.
fn is_about_relation(refusal: &Refusal) -> bool {
    let text = refusal.text.to_ascii_lowercase();
    refusal.status == 400 && ["relation", "thread", "relates"].iter().any(|what| text.contains(what))
}

impl Outbound for Rooms {
    fn kind(&self) -> &'static str {
        NAME
    }

    fn abilities(&self) -> Abilities {
        let settings = self.settings();
        Abilities {
            longest: settings.longest.min(MOST) - MARK,
            format: Format::MatrixHtml,
            at_once: 8,
            keyed: true,
            edits: true,
            typing: settings.typing.then_some(TYPED),
            files: Some(settings.largest),
            reacts: settings.reactions,
        }
    }

    fn send<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        message: Message<'a>,
    ) -> OutboundFuture<'a, Result<Sent, Unsent>> {
        Box::pin(self.send(target, message))
    }

    fn edit<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        id: &'a str,
        text: &'a str,
    ) -> OutboundFuture<'a, Result<(), Unsent>> {
        Box::pin(self.change(target, id, text))
    }

    fn send_file<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        file: File<'a>,
    ) -> OutboundFuture<'a, Result<Sent, Unsent>> {
        Box::pin(self.file(target, file))
    }

    fn react<'a>(&'a self, target: &'a DeliveryTarget, sign: Sign) -> OutboundFuture<'a, ()> {
        Box::pin(async move {
            if self.settings().reactions {
                self.sign(target, sign).await;
            }
        })
    }

    fn typing<'a>(&'a self, target: &'a DeliveryTarget) -> OutboundFuture<'a, ()> {
        Box::pin(async move {
            if let Ok(room) = self.room(target).await {
                self.account.types(&room, true);
                self.show_typing(&room, true).await;
            }
        })
    }
}

/// What a failed request is to the message.
pub(super) fn unsent(failure: &Failure) -> Unsent {
    let reason = failure.to_string();
    match failure {
        // The files say something wrong, or the account is logged out: the next worker may have better ones.
        Failure::Unusable { .. } | Failure::LoggedOut(_) | Failure::Unsent(_) => Unsent::later(reason),
        Failure::Refused { refusal, .. } => {
            // What is between may have lost the answer only.
            let is_own = !refusal.code.is_empty();
            match refusal.status {
                429 => Unsent::Later { after: refusal.retry_after, unsure: false, reason },
                500.. if !is_own || refusal.status == 504 => Unsent::unsure(reason),
                401 | 408 | 500.. => Unsent::later(reason),
                _ if refusal.is_of_token() || !is_own => Unsent::later(reason),
                403 | 404 => Unsent::gone(reason),
                _ => Unsent::never(reason),
            }
        }
        Failure::Lost(_) | Failure::Garbled(_) => Unsent::unsure(reason),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::wire::WireError;
    use super::*;

    #[test]
    fn a_text_is_html_where_it_has_markup_and_names_whom_it_names() {
        assert_eq!(content("hello", false), json!({"msgtype": "m.text", "body": "hello", "m.mentions": {}}));
        let bold = content("**hi** <script>x</script> @ann:hs.org, not mail@ann:hs.org nor @ann", false);
        assert!(
            bold["formatted_body"].as_str().unwrap().starts_with("<strong>hi</strong> &lt;script&gt;"),
            "{bold}"
        );
        assert_eq!(bold["m.mentions"], json!({"user_ids": ["@ann:hs.org"]}));
        assert_eq!(content("@room come", false)["m.mentions"], json!({}));
        assert_eq!(content("@room come", true)["m.mentions"], json!({"room": true}));
    }

    #[test]
    fn an_edit_replaces_and_calls_nobody() {
        let edit = edited("$e", content("**a** @ann:hs.org", false));
        assert_eq!(edit["body"], "* **a** @ann:hs.org");
        assert_eq!(edit["m.new_content"]["body"], "**a** @ann:hs.org");
        assert_eq!(edit["m.relates_to"], json!({"rel_type": "m.replace", "event_id": "$e"}));
        assert_eq!((&edit["m.mentions"], &edit["m.new_content"]["m.mentions"]), (&json!({}), &json!({})));
    }

    #[test]
    fn an_answer_stands_where_it_belongs() {
        let related = |extra: &[(&str, &str)], quoting| {
            let extra: BTreeMap<_, _> =
                extra.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let mut content = json!({});
            relate(&mut content, &DeliveryTarget { kind: NAME.to_owned(), extra }, quoting);
            content["m.relates_to"].clone()
        };
        assert_eq!(related(&[(REPLY_TO, "$e")], true), json!({"m.in_reply_to": {"event_id": "$e"}}));
        assert_eq!(related(&[(REPLY_TO, "$e")], false), Value::Null);
        let thread = related(&[(REPLY_TO, "$e"), (THREAD_ID, "$t")], false);
        assert_eq!((&thread["rel_type"], &thread["event_id"]), (&json!("m.thread"), &json!("$t")));
        assert_eq!(thread["m.in_reply_to"]["event_id"], "$e");
        assert_eq!(related(&[(THREAD_ID, "not an event")], true), Value::Null);
    }

    #[test]
    fn what_the_homeserver_says_of_a_message_is_what_becomes_of_it() {
        let refused = |status, code: &str| {
            let after = Some(Duration::from_secs(9)).filter(|_| status == 429);
            let refusal = Refusal { status, code: code.to_owned(), retry_after: after, ..Refusal::default() };
            unsent(&Failure::Refused { what: "send", refusal })
        };
        let after = Some(Duration::from_secs(9));
        assert!(
            matches!(refused(429, "M_LIMIT_EXCEEDED"), Unsent::Later { after: a, unsure: false, .. } if a == after)
        );
        for sure in [
            refused(401, "M_UNKNOWN_TOKEN"),
            refused(500, "M_UNKNOWN"),
            refused(404, ""),
            refused(403, "M_USER_DEACTIVATED"),
        ] {
            assert!(matches!(sure, Unsent::Later { unsure: false, .. }), "{sure:?}");
        }
        for unsure in [
            refused(502, ""),
            refused(504, "M_UNKNOWN"),
            unsent(&Failure::Lost("x".into())),
            unsent(&WireError::Garbled("send").into()),
        ] {
            assert!(matches!(unsure, Unsent::Later { unsure: true, .. }), "{unsure:?}");
        }
        assert!(matches!(refused(403, "M_FORBIDDEN"), Unsent::Never { gone: true, .. }));
        assert!(matches!(refused(400, "M_BAD_JSON"), Unsent::Never { gone: false, .. }));
        assert!(matches!(refused(413, "M_TOO_LARGE"), Unsent::Never { gone: false, .. }));
    }
}
