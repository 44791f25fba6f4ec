//! A house of Home Assistant on loopback, as an adapter sees it: the WebSocket API with its states and events, and notifications through REST. A
//! published client takes it for one (`tests/tests/e2e/home_assistant/published.rs`).

use std::collections::{BTreeMap, VecDeque};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};

use crate::asked::{self, Asked};
use crate::serving::{listen, lock};
use crate::upgraded::{self, Next, say};
use crate::wait;

/// The access token.
pub const TOKEN: &str = "ha0token0SECRETHOUSE";
/// Its version.
const VERSION: &str = "2026.11.3";
/// Largest body.
const MOST: usize = 1024 * 1024;

/// A notification, as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What it is called: of one name there is one.
    pub id: String,
    /// What stands above it.
    pub title: String,
    /// What it says.
    pub text: String,
}

#[derive(Default)]
struct Socket {
    is_known: bool,
    is_mute: bool,
    is_over: bool,
    out: Vec<Value>,
    /// The number under which events are told.
    events: Option<u64>,
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fault of its own")]
struct State {
    clock: u64,
    states: BTreeMap<String, Value>,
    notices: Vec<Notice>,
    /// How often a notification was made, in place of others or not.
    made: usize,
    sockets: BTreeMap<u64, Socket>,
    opened: u64,
    requests: usize,
    is_revoked: bool,
    is_closed: bool,
    /// The token's user may not know what changes.
    is_narrow: bool,
    /// The next requests are answered with these.
    refusals: VecDeque<u16>,
    /// The next notification is made, and whoever made it does not hear so.
    is_lost: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    stop: AtomicBool,
}

/// A running house.
pub struct HomeAssistant {
    shared: Arc<Shared>,
    address: String,
}

impl Default for HomeAssistant {
    fn default() -> Self {
        Self::start()
    }
}

impl HomeAssistant {
    /// Starts one, with a lamp and a door.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::<Shared>::default();
        listen(listener, &shared, |shared| shared.stop.load(Ordering::SeqCst), serve);
        let house = Self { shared, address };
        house.set("light.hall", "off");
        house.set("lock.door", "locked");
        house
    }

    /// Where it is.
    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `.env` lines for it.
    pub fn env(&self) -> String {
        format!("HASS_URL={}\nHASS_TOKEN={TOKEN}\n", self.address())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    /// Something is another way than it was, and everybody who listens is told.
    pub fn set(&self, entity: &str, to: &str) {
        let mut state = self.state();
        let event = state.set(entity, to);
        state.tell(&event);
    }

    /// The same, told twice.
    pub fn set_twice(&self, entity: &str, to: &str) {
        let mut state = self.state();
        let event = state.set(entity, to);
        state.tell(&event);
        state.tell(&event);
    }

    /// Everybody who listens is told something that is no state.
    pub fn tell_nonsense(&self) {
        self.state().tell(&json!({"event_type": "state_changed", "data": {"new_state": {"entity_id": 7}}}));
    }

    /// The notifications that are there.
    pub fn notices(&self) -> Vec<Notice> {
        self.state().notices.clone()
    }

    /// How often one was made.
    pub fn made(&self) -> usize {
        self.state().made
    }

    /// Waits for one that says this.
    pub fn wait_notice(&self, text: &str) -> Notice {
        let found = || self.notices().into_iter().find(|notice| notice.text == text);
        wait::until(&format!("the notification `{text}`"), found)
    }

    /// The token is taken back, or given again. Sockets are closed, without a word.
    pub fn revoke(&self, is_revoked: bool) {
        self.state().is_revoked = is_revoked;
        self.cut();
    }

    /// Its user may know what changes, or not.
    pub fn narrow(&self, is_narrow: bool) {
        self.state().is_narrow = is_narrow;
    }

    /// Ends every socket.
    pub fn cut(&self) {
        self.state().sockets.values_mut().for_each(|socket| socket.is_over = true);
    }

    /// Whether it is there at all; sockets that are there end.
    pub fn close(&self, is_closed: bool) {
        self.state().is_closed = is_closed;
        self.cut();
    }

    /// From now on nothing is read or sent through the sockets that are there.
    pub fn mute(&self) {
        self.state().sockets.values_mut().for_each(|socket| socket.is_mute = true);
    }

    /// The next requests are answered with these.
    pub fn refuse(&self, with: impl IntoIterator<Item = u16>) {
        self.state().refusals.extend(with);
    }

    /// The next notification is made, and whoever made it does not hear so.
    pub fn lose_the_answer(&self) {
        self.state().is_lost = true;
    }

    /// Requests so far, and sockets.
    pub fn requests(&self) -> (usize, u64) {
        let state = self.state();
        (state.requests, state.opened)
    }

    /// Whether somebody is told what changes.
    pub fn is_heard(&self) -> bool {
        self.state()
            .sockets
            .values()
            .any(|socket| socket.events.is_some() && !socket.is_over && !socket.is_mute)
    }

    /// Waits until somebody is.
    pub fn wait_heard(&self) {
        wait::until_true("somebody to listen to the house", || self.is_heard());
    }
}

impl Drop for HomeAssistant {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the accepting thread; nobody is left to read.
        let _ = TcpStream::connect(&self.address);
    }
}

impl State {
    fn set(&mut self, entity: &str, to: &str) -> Value {
        self.clock += 1;
        let at = format!("2026-11-30T20:00:00.{:06}+00:00", self.clock);
        let name = entity.split('.').nth(1).unwrap_or_default();
        let context = json!({"id": format!("c{}", self.clock), "parent_id": null, "user_id": null});
        let new = json!({"entity_id": entity, "state": to, "attributes": {"friendly_name": name}, "last_changed": at,
            "last_reported": at, "last_updated": at, "context": context});
        let old = self.states.insert(entity.to_owned(), new.clone());
        json!({"event_type": "state_changed", "data": {"entity_id": entity, "old_state": old, "new_state": new},
            "origin": "LOCAL", "time_fired": at, "context": context})
    }

    fn tell(&mut self, event: &Value) {
        for socket in self.sockets.values_mut() {
            if let Some(id) = socket.events {
                socket.out.push(json!({"id": id, "type": "event", "event": event}));
            }
        }
    }

    fn hear(&mut self, number: u64, said: &str) {
        let said: Value = serde_json::from_str(said).unwrap_or_default();
        let is_good = !self.is_revoked && said["access_token"] == TOKEN;
        let states: Vec<Value> = self.states.values().cloned().collect();
        let is_narrow = self.is_narrow;
        let Some(socket) = self.sockets.get_mut(&number) else { return };
        let id = &said["id"];
        let done = |result: Value| json!({"id": id, "type": "result", "success": true, "result": result});
        let no = |code: &str| json!({"id": id, "type": "result", "success": false, "error": {"code": code, "message": code}});
        match said["type"].as_str().unwrap_or_default() {
            "auth" if !socket.is_known && is_good => {
                socket.is_known = true;
                socket.out.push(json!({"type": "auth_ok", "ha_version": VERSION}));
            }
            _ if !socket.is_known => {
                socket
                    .out
                    .push(json!({"type": "auth_invalid", "message": "Invalid access token or password"}));
                socket.is_over = true;
            }
            "subscribe_events" if is_narrow => socket.out.push(no("unauthorized")),
            "subscribe_events" => {
                socket.events = id.as_u64();
                socket.out.push(done(Value::Null));
            }
            "unsubscribe_events" => {
                socket.events = None;
                socket.out.push(done(Value::Null));
            }
            "get_states" => socket.out.push(done(states.into())),
            "get_config" => socket
                .out
                .push(done(json!({"location_name": "Home", "version": VERSION, "state": "RUNNING"}))),
            "ping" => socket.out.push(json!({"id": id, "type": "pong"})),
            _ => socket.out.push(no("unknown_command")),
        }
    }
}

fn serve(mut stream: TcpStream, shared: &Arc<Shared>) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(asked) = asked::read(&mut stream, &mut buffer, MOST)? {
        if asked.path == "/api/websocket" {
            return socket(stream, &asked, shared);
        }
        if !answer(&mut stream, &asked, shared)? {
            return Ok(());
        }
    }
    Ok(())
}

fn socket(mut stream: TcpStream, asked: &Asked, shared: &Arc<Shared>) -> std::io::Result<()> {
    let number = {
        let mut state = lock(&shared.state);
        if state.is_closed {
            drop(state);
            return say(&mut stream, 502, &[], b"nothing here");
        }
        state.opened += 1;
        let number = state.opened;
        let hello = json!({"type": "auth_required", "ha_version": VERSION});
        state.sockets.insert(number, Socket { out: vec![hello], ..Socket::default() });
        number
    };
    let next = || {
        let mut state = lock(&shared.state);
        let Some(own) = state.sockets.get_mut(&number) else { return vec![Next::Close] };
        if own.is_mute && !own.is_over && !shared.stop.load(Ordering::SeqCst) {
            return vec![Next::Nothing];
        }
        // What was said before the end is said.
        let mut all: Vec<Next> =
            std::mem::take(&mut own.out).into_iter().map(|what| Next::Say(what.to_string())).collect();
        if own.is_over || shared.stop.load(Ordering::SeqCst) {
            all.push(Next::Close);
        }
        all
    };
    let ended = upgraded::serve(stream, asked, next, |text| lock(&shared.state).hear(number, text));
    lock(&shared.state).sockets.remove(&number);
    ended
}

/// `false`: the connection is to be closed.
fn answer(stream: &mut TcpStream, asked: &Asked, shared: &Arc<Shared>) -> std::io::Result<bool> {
    let json = [("Content-Type", "application/json".to_owned())];
    let mut state = lock(&shared.state);
    state.requests += 1;
    if let Some(status) = state.refusals.pop_front() {
        drop(state);
        let mut headers = json.to_vec();
        if status == 429 {
            headers.push(("Retry-After", "2".to_owned()));
        }
        return say(stream, status, &headers, br#"{"message": "no"}"#).map(|()| true);
    }
    let is_known = asked.header("authorization").is_some_and(|said| said == format!("Bearer {TOKEN}"));
    if !is_known || state.is_revoked {
        drop(state);
        return say(stream, 401, &[], b"401: Unauthorized").map(|()| true);
    }
    let body = match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/api/config") => json!({"location_name": "Home", "version": VERSION}).to_string(),
        ("GET", "/api/") => json!({"message": "API running."}).to_string(),
        ("POST", "/api/services/persistent_notification/create") => {
            let said: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
            let of = |key: &str| said[key].as_str().unwrap_or_default().to_owned();
            let notice = Notice { id: of("notification_id"), title: of("title"), text: of("message") };
            if notice.text.is_empty() {
                drop(state);
                return say(
                    stream,
                    400,
                    &json,
                    br#"{"message": "required key not provided @ data['message']"}"#,
                )
                .map(|()| true);
            }
            state.notices.retain(|other| other.id != notice.id);
            state.notices.push(notice);
            state.made += 1;
            if std::mem::take(&mut state.is_lost) {
                return Ok(false);
            }
            "[]".to_owned()
        }
        _ => {
            drop(state);
            return say(stream, 404, &[], b"404: Not Found").map(|()| true);
        }
    };
    drop(state);
    say(stream, 200, &json, body.as_bytes()).map(|()| true)
}

/// Longer than any answer of a bot takes that is not to come.
pub const NEVER: Duration = Duration::from_millis(700);
