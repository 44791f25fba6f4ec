//! Discord on loopback, as far as bots see it: REST and the gateway, with their words, what people write, and everything that can go wrong
//! in between.
//!
//! As the real one: a wrong token is 401 and 4004, intents are checked and decide what is heard, a session is resumed with everything
//! since, a close with 1000 or 1001 ends it, the bot hears its own messages, a nonce is one message, and a channel takes so many at once.

mod gateway;
mod request;
mod rest;
mod session;
mod state;

use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::serving::{listen, lock};
use crate::wait;
pub use request::Upload;
use session::Out;
use state::State;

/// The bot's token.
pub const TOKEN: &str = "MTIzNDU2Nzg5.test.token-0123456789abcdefghijk";
/// The bot's id, and its program's.
pub const BOT: u64 = 4242;
const APPLICATION: u64 = 4243;
/// The bot's name.
const NAME: &str = "hermes_test_bot";
/// Somebody, who owns the server.
pub const ANN: u64 = 777;
/// Somebody else.
pub const BOB: u64 = 888;
/// Another bot.
pub const ROBOT: u64 = 999;
/// A server.
pub const GUILD: u64 = 1000;
/// A channel of it.
pub const GENERAL: u64 = 1001;
/// Another one.
pub const RANDOM: u64 = 1002;
/// One that takes posts only.
pub const FORUM: u64 = 1003;
/// A role of it.
pub const ROLE: u64 = 1010;
/// Bit of the intent that shows what people write.
pub const MESSAGE_CONTENT: u64 = 1 << 15;

/// A request that was made, refused or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// What was asked, without ids: `POST messages`.
    pub route: String,
    /// Its whole path.
    pub path: String,
    /// What it said.
    pub body: Value,
    /// When it came.
    pub at: Instant,
}

/// A message of the bot, as people see it now.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The channel or thread.
    pub channel: u64,
    /// Its number.
    pub id: u64,
    /// The text.
    pub text: String,
    /// The message that it replies to.
    pub reply_to: Option<u64>,
    /// Its buttons: what they say, and what a press says.
    pub buttons: Vec<(String, String)>,
    /// Everybody was called.
    pub calls_everyone: bool,
    /// What came with it.
    pub files: Vec<Upload>,
}

/// A press or a command, and what became of it.
#[derive(Debug, Clone)]
pub struct Interaction {
    id: u64,
    channel: u64,
    message: Option<u64>,
    token: String,
    at: Instant,
    /// The first answer.
    pub callback: Option<Value>,
    /// How long it took.
    pub after: Option<Duration>,
    /// What was said behind it.
    pub followups: Vec<String>,
    /// Nobody can answer it any more.
    pub is_over: bool,
}

/// An error that REST answers with, once.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Its status.
    pub status: u16,
    /// Discord's number of it.
    pub code: u64,
    /// Its words.
    pub message: String,
    /// The wait that it asks for, in seconds.
    pub retry_after: Option<f64>,
    /// It holds for every request.
    pub is_global: bool,
    /// It is a page of something in between.
    pub is_page: bool,
}

impl Refusal {
    /// One with this number and these words.
    pub fn new(status: u16, code: u64, message: &str) -> Self {
        error(status, code, message)
    }

    /// Too many requests.
    pub fn flood(seconds: f64, is_global: bool) -> Self {
        Self { retry_after: Some(seconds), is_global, ..error(429, 0, "You are being rate limited.") }
    }

    /// A page of a proxy.
    pub fn page(status: u16) -> Self {
        Self { is_page: true, ..error(status, 0, "") }
    }
}

fn error(status: u16, code: u64, message: &str) -> Refusal {
    Refusal { status, code, message: message.to_owned(), retry_after: None, is_global: false, is_page: false }
}

struct Shared {
    state: Mutex<State>,
    stop: AtomicBool,
    /// Where its gateway is.
    gateway: String,
}

/// A running service.
pub struct Discord {
    shared: Arc<Shared>,
    address: String,
}

impl Default for Discord {
    fn default() -> Self {
        Self::start()
    }
}

impl Discord {
    /// Starts one, with a server, two people and a few channels.
    pub fn start() -> Self {
        let rest = TcpListener::bind("127.0.0.1:0").unwrap();
        let sockets = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = rest.local_addr().unwrap().to_string();
        let gateway = sockets.local_addr().unwrap().to_string();
        let mut state = State {
            token: TOKEN.to_owned(),
            beat: 41_250,
            gateway: gateway.clone(),
            rest: address.clone(),
            next_id: 1_000_000,
            ..State::default()
        };
        state.populate();
        let shared = Arc::new(Shared { state: Mutex::new(state), stop: AtomicBool::new(false), gateway });
        let is_over: fn(&Shared) -> bool = |shared| shared.stop.load(Ordering::SeqCst);
        listen(rest, &shared, is_over, |stream, shared| rest::serve(stream, shared));
        listen(sockets, &shared, is_over, |stream, shared| gateway::serve(stream, shared));
        Self { shared, address }
    }

    /// The address of its REST, for clients of their own.
    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address of its gateway.
    pub fn gateway(&self) -> String {
        format!("ws://{}", self.shared.gateway)
    }

    /// `.env` lines for a bot that answers everybody.
    pub fn env(&self) -> String {
        format!("{}DISCORD_ALLOW_ALL_USERS=true\n", self.env_for_some())
    }

    /// `.env` lines for a bot that knows nobody yet.
    pub fn env_for_some(&self) -> String {
        format!("DISCORD_BOT_TOKEN={TOKEN}\nDISCORD_API_BASE_URL=http://{}\n", self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    /// Somebody writes in private. The message's id.
    pub fn tell(&self, from: u64, text: &str) -> u64 {
        let channel = self.private(from);
        self.say(channel, from, text)
    }

    /// The private channel of somebody.
    pub fn private(&self, user: u64) -> u64 {
        self.state().private(user)
    }

    /// Somebody writes in a channel. The message's id.
    pub fn say(&self, channel: u64, from: u64, text: &str) -> u64 {
        self.say_with(channel, from, text, &json!({}))
    }

    /// The same; `more` lies over the message.
    pub fn say_with(&self, channel: u64, from: u64, text: &str, more: &Value) -> u64 {
        let mut state = self.state();
        let message = state.message(channel, from, text, more);
        state.publish(&message);
        message["id"].as_str().unwrap().parse().unwrap()
    }

    /// Somebody replies to a message.
    pub fn reply(&self, channel: u64, from: u64, to: u64, text: &str) -> u64 {
        let to = self.state().messages[&to].clone();
        let reference = json!({"type": 0, "message_id": to["id"], "channel_id": to["channel_id"]});
        self.say_with(
            channel,
            from,
            text,
            &json!({"type": 19, "message_reference": reference, "referenced_message": to}),
        )
    }

    /// Something that came with a message, as the message says it.
    pub fn file(&self, name: &str, media_type: &str, bytes: &[u8]) -> Value {
        let mut state = self.state();
        let id = state.id();
        state.files.insert(id, bytes.to_vec());
        let url = format!("http://{}/files/{id}", self.address);
        json!({"id": id.to_string(), "filename": name, "size": bytes.len(), "content_type": media_type, "url": url, "proxy_url": url})
    }

    /// A stored message is said once more, as it was.
    pub fn repeat(&self, id: u64) {
        let mut state = self.state();
        let message = state.messages[&id].clone();
        state.publish(&message);
    }

    /// Somebody takes a message of the bot away.
    pub fn take_away(&self, id: u64) {
        let mut state = self.state();
        state.messages.remove(&id);
        state.seen.retain(|seen| seen.id != id);
    }

    /// Any event.
    pub fn event(&self, name: &str, data: &Value) {
        self.state().emit(name, data, 0);
    }

    /// A thread of a channel; its id.
    pub fn thread(&self, parent: u64, name: &str, owner: u64) -> u64 {
        let mut state = self.state();
        let id = state.id();
        state.thread(id, parent, name, owner);
        id
    }

    /// Somebody uses a command. The interaction's id.
    pub fn slash(&self, channel: u64, from: u64, name: &str, text: Option<&str>) -> u64 {
        let options: Vec<Value> =
            text.map(|text| json!({"type": 3, "name": "text", "value": text})).into_iter().collect();
        let data = json!({"id": "5", "name": name, "type": 1, "options": options});
        self.interact(channel, from, 2, None, &data)
    }

    /// Somebody presses the button of a message that says this. The interaction's id.
    pub fn press(&self, channel: u64, from: u64, label: &str) -> u64 {
        let has = |seen: &&Seen| {
            seen.channel == channel && seen.buttons.iter().any(|(text, _)| text.contains(label))
        };
        let seen = self.state().seen.iter().rev().find(has).cloned();
        let seen = seen.unwrap_or_else(|| panic!("no button `{label}` in {channel}: {:?}", self.seen()));
        let (_, id) = seen.buttons.iter().find(|(text, _)| text.contains(label)).unwrap();
        self.press_with(channel, from, seen.id, id)
    }

    /// Somebody presses a button of a message, which says `data`.
    pub fn press_with(&self, channel: u64, from: u64, message: u64, data: &str) -> u64 {
        self.interact(channel, from, 3, Some(message), &json!({"custom_id": data, "component_type": 2}))
    }

    fn interact(&self, channel: u64, from: u64, kind: u8, message: Option<u64>, data: &Value) -> u64 {
        let mut state = self.state();
        let id = state.id();
        let token = format!("aW50ZXJhY3Rpb24-{id}");
        let known = state.channels[&channel].clone();
        let user = state.users[&from].clone();
        let mut said = json!({
            "id": id.to_string(), "application_id": APPLICATION.to_string(), "type": kind, "token": token, "version": 1,
            "channel_id": channel.to_string(), "channel": known, "data": data, "locale": "en-US", "app_permissions": "0",
            "entitlements": [], "authorizing_integration_owners": {}, "context": 0, "attachment_size_limit": 10_485_760,
        });
        if let Some(message) = message {
            said["message"] = state.messages[&message].clone();
        }
        if known["guild_id"].is_null() {
            said["user"] = user;
        } else {
            said["guild_id"] = known["guild_id"].clone();
            said["member"] = state.member(from);
            said["member"]["user"] = user;
            said["member"]["permissions"] = "0".into();
        }
        let interaction = Interaction {
            id,
            channel,
            message,
            token,
            at: wait::now(),
            callback: None,
            after: None,
            followups: Vec::new(),
            is_over: false,
        };
        state.interactions.insert(id, interaction);
        state.emit("INTERACTION_CREATE", &said, 0);
        id
    }

    /// What became of an interaction.
    pub fn interaction(&self, id: u64) -> Interaction {
        self.state().interactions[&id].clone()
    }

    /// Nobody can answer an interaction any more.
    pub fn expire(&self, id: u64) {
        self.state().interactions.get_mut(&id).unwrap().is_over = true;
    }

    /// Every request of a route so far.
    pub fn calls(&self, route: &str) -> Vec<Call> {
        self.state().calls.iter().filter(|call| call.route == route).cloned().collect()
    }

    /// Every request so far.
    pub fn all_calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// What people see of the bot.
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// The texts that people see in one channel.
    pub fn seen_in(&self, channel: u64) -> Vec<String> {
        self.state()
            .seen
            .iter()
            .filter(|seen| seen.channel == channel)
            .map(|seen| seen.text.clone())
            .collect()
    }

    /// Waits until people see `text` in a channel.
    pub fn wait_seen(&self, channel: u64, text: &str) {
        let is_there = || self.seen_in(channel).iter().any(|seen| seen == text);
        wait::until_true(&format!("`{text}` in channel {channel}"), is_there);
    }

    /// The reactions of the bot to a message, in order: the sign, and whether it was put there or taken away.
    pub fn reactions(&self, message: u64) -> Vec<(String, bool)> {
        let of = |(id, sign, put): &(u64, String, bool)| (*id == message).then(|| (sign.clone(), *put));
        self.state().reactions.iter().filter_map(of).collect()
    }

    /// The commands in its menu.
    pub fn commands(&self) -> Vec<Value> {
        self.state().commands.values().cloned().collect()
    }

    /// Another program's command is in the menu.
    pub fn add_command(&self, name: &str) {
        let mut state = self.state();
        let id = state.id();
        state
            .commands
            .insert(id, json!({"id": id.to_string(), "name": name, "description": "other", "type": 1}));
    }

    /// The next requests of a route (`POST messages`) are answered so, one each.
    pub fn refuse(&self, route: &str, refusals: impl IntoIterator<Item = Refusal>) {
        self.state().refusals.entry(route.to_owned()).or_default().extend(refusals);
    }

    /// From now on requests of a route are done, and not answered; or are again.
    pub fn stick(&self, route: &str, stuck: bool) {
        let mut state = self.state();
        if stuck {
            state.stuck.insert(route.to_owned());
        } else {
            state.stuck.remove(route);
        }
    }

    /// What a channel takes at once, and in how many milliseconds.
    pub fn limit(&self, most: u32, milliseconds: u64) {
        self.state().limit = Some((most, milliseconds));
    }

    /// Requests that were one too many.
    pub fn violations(&self) -> u32 {
        self.state().violations
    }

    /// The token is another one now; whoever is connected with the old one is thrown out.
    pub fn revoke(&self) {
        "another".clone_into(&mut self.state().token);
        self.close_all(4004);
    }

    /// The token is this one now.
    pub fn set_token(&self, token: &str) {
        token.clone_into(&mut self.state().token);
    }

    /// What bots may not ask for.
    pub fn disallow(&self, intents: u64) {
        self.state().disallowed = intents;
    }

    /// The bot is put out of its servers, as far as it asks for them.
    pub fn put_out(&self) {
        self.state().is_outside = true;
    }

    /// What the bot's roles let it do, in every server.
    pub fn permit(&self, permissions: u64) {
        self.state().permissions = Some(permissions);
    }

    /// How often a heartbeat is wanted, in milliseconds.
    pub fn set_beat(&self, milliseconds: u64) {
        self.state().beat = milliseconds;
    }

    /// Whether a session is connected.
    pub fn is_connected(&self) -> bool {
        self.state().sessions.values().any(|session| session.socket.is_some())
    }

    fn tell_all(&self, what: impl Fn() -> Out) {
        for socket in self.state().sockets.values_mut() {
            socket.outbox.push_back(what());
        }
    }

    /// Every socket is closed with a code.
    pub fn close_all(&self, code: u16) {
        self.tell_all(|| Out::Close(code, "a test asked for it"));
    }

    /// Every socket is cut, without a word.
    pub fn cut_all(&self) {
        self.tell_all(|| Out::Cut);
    }

    /// Everybody is asked to connect again.
    pub fn ask_to_reconnect(&self) {
        self.tell_all(|| Out::Say(json!({"op": 7, "d": null, "s": null, "t": null})));
    }

    /// Every session is over.
    pub fn invalidate(&self) {
        self.state().sessions.clear();
        self.tell_all(|| Out::Say(json!({"op": 9, "d": false, "s": null, "t": null})));
    }

    /// Sockets that are open now stay so, and nothing comes any more, not even what hears a heartbeat.
    pub fn mute(&self) {
        for socket in self.state().sockets.values_mut() {
            socket.is_mute = true;
        }
    }

    /// Anything is said to everybody, as it is.
    pub fn say_raw(&self, frame: &Value) {
        self.tell_all(|| Out::Say(frame.clone()));
    }

    /// How many sessions were begun, and how many were to be resumed.
    pub fn begun(&self) -> (u64, u64) {
        let state = self.state();
        (state.identifies, state.resumes)
    }

    /// Heartbeats so far.
    pub fn beats(&self) -> u64 {
        self.state().beats
    }

    /// As after some minutes: what was sent before is not known by its nonce any more.
    pub fn forget_nonces(&self) {
        self.state().nonces.clear();
    }

    /// How often two were connected at once.
    pub fn overlaps(&self) -> u32 {
        self.state().overlaps
    }

    /// With which codes sockets were closed by the other side.
    pub fn closes(&self) -> Vec<u16> {
        self.state().closes.clone()
    }

    /// The bot is thrown out of a channel.
    pub fn hide(&self, channel: u64) {
        self.state().hidden.insert(channel);
    }

    /// A thread is put away.
    pub fn archive(&self, thread: u64) {
        self.state().channels.get_mut(&thread).unwrap()["thread_metadata"]["archived"] = true.into();
    }

    /// What a channel or a thread is called.
    pub fn name_of(&self, channel: u64) -> String {
        self.state().channels[&channel]["name"].as_str().unwrap_or_default().to_owned()
    }

    /// Somebody calls a channel or a thread so.
    pub fn call(&self, channel: u64, name: &str) {
        self.state().channels.get_mut(&channel).unwrap()["name"] = name.into();
    }

    /// Somebody has a role.
    pub fn give_role(&self, user: u64, role: u64) {
        self.state().roles.entry(user).or_default().push(role.to_string());
    }
}

impl Drop for Discord {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
        let _ = TcpStream::connect(&self.shared.gateway);
    }
}
