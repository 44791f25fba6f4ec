//! Telegram on loopback, as far as bots see it: the Bot API with its words, what people write, and everything that can go wrong in between.
//!
//! As the real one: a second poll ends the first with 409; what is below the number that is asked for is forgotten; what is not is offered
//! again; lengths are counted in UTF-16 units behind the markup; a chat that nobody wrote in is not found.

mod bring;
mod connection;
mod markup;
mod request;
mod state;

use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::serving::{listen, lock};
use crate::wait;
use connection::{Connection, is_gone};
use state::State;

/// The bot's token.
pub const TOKEN: &str = "123456789:AAtest-token_0123456789abcdefghijk";
/// The bot's id.
pub const BOT: i64 = 123_456_789;
/// The bot's name.
pub const NAME: &str = "hermes_test_bot";
/// Pause between two looks of somebody who waits.
const STEP: Duration = Duration::from_millis(5);

/// A request that was made, refused or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The method.
    pub method: String,
    /// Its fields.
    pub fields: Map<String, Value>,
    /// When it came.
    pub at: Instant,
}

/// A message of the bot, as people see it now.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The chat.
    pub chat: i64,
    /// Its number.
    pub id: i64,
    /// The text, without markup.
    pub text: String,
    /// What of it is marked up.
    pub marked: Vec<(String, String)>,
    /// The message that it quotes.
    pub reply_to: Option<i64>,
    /// The topic.
    pub thread: Option<i64>,
    /// Its buttons: what they say, and what a press says.
    pub buttons: Vec<(String, String)>,
}

/// A file of the bot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentFile {
    /// The chat.
    pub chat: i64,
    /// As what it was sent: `photo`, `document`, …
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its type.
    pub media_type: String,
    /// What is in it.
    pub bytes: Vec<u8>,
    /// The text below it.
    pub caption: String,
    /// The topic.
    pub thread: Option<i64>,
    /// Texts of the bot that stood in its chat before.
    pub behind: usize,
}

/// An error that the service answers with, once.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Its status.
    pub status: u16,
    /// Its words.
    pub description: String,
    /// The wait that it asks for, in seconds.
    pub retry_after: Option<u64>,
    /// It is a page of something in between.
    pub is_page: bool,
}

impl Refusal {
    /// One with these words.
    pub fn new(status: u16, description: &str) -> Self {
        Self { status, description: description.to_owned(), retry_after: None, is_page: false }
    }

    /// Too many requests.
    pub fn flood(seconds: u64) -> Self {
        let words = format!("Too Many Requests: retry after {seconds}");
        Self { retry_after: Some(seconds), ..Self::new(429, &words) }
    }

    /// A page of a proxy.
    pub fn page(status: u16) -> Self {
        Self { is_page: true, ..Self::new(status, "") }
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Rings when there is another update.
    news: Condvar,
    stop: AtomicBool,
}

/// A running service.
pub struct Telegram {
    shared: Arc<Shared>,
    address: String,
}

impl Default for Telegram {
    fn default() -> Self {
        Self::start()
    }
}

impl Telegram {
    /// Starts one.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state =
            State { next_update: 500_000_001, next_id: 1, token: TOKEN.to_owned(), ..State::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), ..Shared::default() });
        listen(
            listener,
            &shared,
            |shared| shared.stop.load(Ordering::SeqCst),
            |stream, shared| Connection { stream, shared }.serve(),
        );
        Self { shared, address }
    }

    /// Its address, for clients of their own.
    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `.env` lines for a bot that answers everybody.
    pub fn env(&self) -> String {
        format!("{}TELEGRAM_ALLOW_ALL_USERS=true\n", self.env_for_some())
    }

    /// `.env` lines for a bot that knows nobody yet.
    pub fn env_for_some(&self) -> String {
        format!("TELEGRAM_BOT_TOKEN={TOKEN}\nTELEGRAM_API_BASE_URL=http://{}\n", self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    /// Somebody writes in private. The update's number.
    pub fn say(&self, from: i64, text: &str) -> i64 {
        self.say_with(from, from, text, &json!({}))
    }

    /// Somebody writes in a chat; one below zero is a group. `more` lies over the message.
    pub fn say_with(&self, chat: i64, from: i64, text: &str, more: &Value) -> i64 {
        let mut message = self.message(chat, from);
        message["text"] = text.into();
        message["entities"] = entities(text);
        self.post("message", message, more)
    }

    /// Somebody sends a file as `kind`.
    pub fn attach(&self, chat: i64, kind: &str, name: &str, bytes: &[u8], more: &Value) -> i64 {
        let mut message = self.message(chat, chat.abs());
        let id = format!("file-{}", message["message_id"]);
        self.state().files.insert(id.clone(), bytes.to_vec());
        let file = json!({"file_id": id, "file_unique_id": id, "file_size": bytes.len(), "file_name": name,
            "mime_type": "application/octet-stream", "width": 9, "height": 9});
        message[kind] = if kind == "photo" { json!([file]) } else { file };
        self.post("message", message, more)
    }

    /// An update of any kind.
    pub fn update(&self, kind: &str, what: Value) -> i64 {
        self.post(kind, what, &json!({}))
    }

    /// Somebody presses the button of a message that says this. The press's id.
    pub fn press(&self, chat: i64, from: i64, label: &str) -> String {
        let seen = self
            .state()
            .seen
            .iter()
            .rev()
            .find(|seen| seen.chat == chat && seen.buttons.iter().any(|(text, _)| text.contains(label)))
            .cloned();
        let seen = seen.unwrap_or_else(|| panic!("no button `{label}` in chat {chat}: {:?}", self.seen()));
        let (_, data) = seen.buttons.iter().find(|(text, _)| text.contains(label)).unwrap();
        self.press_with(chat, from, seen.id, data)
    }

    /// Somebody presses a button of a message, which says `data`. The press's id.
    pub fn press_with(&self, chat: i64, from: i64, message_id: i64, data: &str) -> String {
        let id = format!("press-{}", self.state().next_update);
        let thread = self.state().seen.iter().find(|seen| seen.id == message_id).and_then(|seen| seen.thread);
        let mut message = self.message(chat, from);
        message["message_id"] = message_id.into();
        message["from"] = json!({"id": BOT, "is_bot": true, "first_name": "Bot"});
        if let Some(thread) = thread {
            message["message_thread_id"] = thread.into();
            message["is_topic_message"] = true.into();
        }
        let press =
            json!({"id": id, "from": person(from), "chat_instance": "1", "data": data, "message": message});
        self.update("callback_query", press);
        id
    }

    fn message(&self, chat: i64, from: i64) -> Value {
        let mut state = self.state();
        let id = state.next_id;
        state.next_id += 1;
        let known = state.chats.entry(chat).or_insert_with(|| {
            if chat > 0 {
                json!({"id": chat, "type": "private", "first_name": "Ann"})
            } else {
                json!({"id": chat, "type": "supergroup", "title": format!("Group {chat}")})
            }
        });
        let known = known.clone();
        json!({"message_id": id, "from": person(from), "chat": known, "date": 1_700_000_000 + id * 10})
    }

    fn post(&self, kind: &str, mut what: Value, more: &Value) -> i64 {
        for (key, value) in more.as_object().unwrap() {
            what[key] = value.clone();
        }
        let mut state = self.state();
        let number = |value: &Value| value.as_i64();
        let message = if kind == "callback_query" { &what["message"] } else { &what };
        if let Some((chat, id)) = number(&message["chat"]["id"]).zip(number(&message["message_id"])) {
            state.messages.insert((chat, id));
            state.chats.entry(chat).or_insert_with(|| message["chat"].clone());
            if let Some(thread) = number(&message["message_thread_id"]) {
                state.topics.insert((chat, thread));
            }
        }
        let id = state.next_update;
        state.next_update += 1;
        state.updates.insert(id, json!({"update_id": id, kind: what}));
        self.shared.news.notify_all();
        id
    }

    /// Everything below was confirmed.
    pub fn confirmed(&self) -> i64 {
        self.state().confirmed
    }

    /// How often an update was offered, at most.
    pub fn most_given(&self) -> u32 {
        self.state().given.values().copied().max().unwrap_or_default()
    }

    /// Every request of a method so far.
    pub fn calls(&self, method: &str) -> Vec<Call> {
        self.state().calls.iter().filter(|call| call.method == method).cloned().collect()
    }

    /// Every request so far.
    pub fn all_calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// What people see of the bot.
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// The texts that people see in one chat.
    pub fn seen_in(&self, chat: i64) -> Vec<String> {
        self.state().seen.iter().filter(|seen| seen.chat == chat).map(|seen| seen.text.clone()).collect()
    }

    /// Waits until people see `text` in a chat.
    pub fn wait_seen(&self, chat: i64, text: &str) {
        let is_there = || self.seen_in(chat).iter().any(|seen| seen == text);
        let deadline = || format!("`{text}` in chat {chat}");
        wait::until_true(&deadline(), is_there);
    }

    /// What was said of a press.
    pub fn answer_to(&self, press: &str) -> Option<String> {
        let state = self.state();
        let fields = state.answered_presses.get(press)?;
        Some(fields.get("text").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// The next requests of a method (`getUpdates`, `sendMessage`) are answered so, one each.
    pub fn refuse(&self, method: &str, refusals: impl IntoIterator<Item = Refusal>) {
        self.state().refusals.entry(method.to_owned()).or_default().extend(refusals);
    }

    /// From now on requests of a method are done, and not answered; or are again.
    pub fn stick(&self, method: &str, stuck: bool) {
        let mut state = self.state();
        if stuck {
            state.stuck.insert(method.to_owned());
        } else {
            state.stuck.remove(method);
        }
    }

    /// Another program polls the same bot from now on, or does not any more.
    pub fn be_rivalled(&self, rival: bool) {
        self.state().rival = rival;
    }

    /// The bot's updates go to an address of their own.
    pub fn set_webhook(&self, url: &str) {
        url.clone_into(&mut self.state().webhook);
    }

    /// The address that they go to; empty: none.
    pub fn webhook(&self) -> String {
        self.state().webhook.clone()
    }

    /// What stands before the gateway leads there, whatever the host of the webhook: updates are brought from now on, where one is set.
    pub fn bring_to(&self, address: &str) {
        let before = self.state().door.replace(address.to_owned());
        if before.is_none() {
            bring::begin(&self.shared);
        }
    }

    /// The secret that is said with each update that is brought.
    pub fn secret(&self) -> String {
        self.state().secret.clone()
    }

    /// From now on files are put there, on disk, as a server of one's own puts them.
    pub fn keep_files_in(&self, place: &std::path::Path) {
        self.state().disk = Some(place.to_owned());
    }

    /// Files that the bot has sent, in order.
    pub fn files(&self) -> Vec<SentFile> {
        self.state().sent_files.clone()
    }

    /// Signs of the bot at messages: chat, message and sign, in order; empty: none any more.
    pub fn signs(&self) -> Vec<(i64, i64, String)> {
        self.state().signs.clone()
    }

    /// Whoever blocked the bot lets it in again.
    pub fn unblock(&self, chat: i64) {
        self.state().blocked.remove(&chat);
    }

    /// Somebody takes a message of the bot away.
    pub fn take_away(&self, chat: i64, id: i64) {
        self.state().seen.retain(|seen| (seen.chat, seen.id) != (chat, id));
    }

    /// The bot's private chats may have topics from now on.
    pub fn allow_topics(&self) {
        self.state().has_topics = true;
    }

    /// The token is another one now.
    pub fn set_token(&self, token: &str) {
        token.clone_into(&mut self.state().token);
    }

    /// Somebody blocks the bot, or a group throws it out.
    pub fn block(&self, chat: i64) {
        self.state().blocked.insert(chat);
    }

    /// A group becomes a supergroup of another number.
    pub fn migrate(&self, chat: i64, to: i64) {
        let mut state = self.state();
        state.migrated.insert(chat, to);
        state.chats.insert(to, json!({"id": to, "type": "supergroup", "title": "New"}));
    }

    /// Whether somebody polls now.
    pub fn is_polled(&self) -> bool {
        self.state().poll.as_ref().is_some_and(|poll| !is_gone(&poll.stream))
    }

    /// How often two polled at once.
    pub fn overlaps(&self) -> u32 {
        self.state().overlaps
    }
}

impl Drop for Telegram {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
    }
}

fn person(id: i64) -> Value {
    json!({"id": id, "is_bot": false, "first_name": "Ann", "last_name": "Lee", "language_code": "en"})
}

/// The commands and names that Telegram finds in a text.
fn entities(text: &str) -> Value {
    let mut all = Vec::new();
    let mut units = 0;
    for word in text.split_inclusive(char::is_whitespace) {
        let name = word.trim_end().trim_end_matches([',', '.', ':', '?', '!']);
        let kind = match name.chars().next() {
            Some('/') => Some("bot_command"),
            Some('@') => Some("mention"),
            _ => None,
        };
        if let Some(kind) = kind.filter(|_| name.len() > 1) {
            all.push(json!({"type": kind, "offset": units, "length": name.encode_utf16().count()}));
        }
        units += word.encode_utf16().count();
    }
    all.into()
}

/// An error, in the Bot API's words.
fn error(status: u16, description: &str) -> Refusal {
    Refusal::new(status, description)
}
