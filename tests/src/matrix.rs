//! Matrix as people use it: a real homeserver (Synapse) on loopback, accounts on it, and [something between](Between) a bot and it that
//! breaks what a homeserver never breaks when it is asked to.
//!
//! One homeserver serves all tests of a process. It ends with that process, however that ends.

mod between;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::http;
use crate::tools::Clients;
use crate::wait;

pub use between::{Between, Fault, Request};

/// Time for the homeserver to come up on a machine that is busy.
const START: Duration = Duration::from_secs(120);
/// What accounts log in with.
pub const PASSWORD: &str = "correct horse battery staple";

static SHARED: OnceLock<Option<Homeserver>> = OnceLock::new();
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A running homeserver.
pub struct Homeserver {
    address: String,
    // Its standard input ends with this process, and the homeserver with that.
    _process: Child,
    _place: tempfile::TempDir,
}

impl Homeserver {
    /// That of all tests; `None`: it is not installed, which was said.
    pub fn shared() -> Option<&'static Self> {
        SHARED.get_or_init(|| Some(Self::start(&Clients::Matrix.interpreter()?))).as_ref()
    }

    #[expect(clippy::disallowed_methods, reason = "the test starts the homeserver's own interpreter")]
    fn start(interpreter: &std::path::Path) -> Self {
        let place = tempfile::tempdir().unwrap();
        let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/matrix_homeserver.py");
        let mut process = Command::new(interpreter)
            .arg(script)
            .arg(place.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let address = format!("127.0.0.1:{}", port.trim());
        let deadline = wait::now() + START;
        while !http::request(&address, "GET", "/_matrix/client/versions", &[], b"")
            .is_ok_and(|r| r.status == 200)
        {
            assert!(wait::now() < deadline, "the homeserver does not come up");
            wait::pass(Duration::from_millis(100));
        }
        Self { address, _process: process, _place: place }
    }

    /// Its address, without a scheme.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A new account, whose name begins so.
    pub fn person(&self, name: &str) -> Person {
        let name = format!("{name}{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let body = json!({"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}});
        let path = "/_matrix/client/v3/register";
        let made = http::request(&self.address, "POST", path, &[], body.to_string().as_bytes()).unwrap();
        assert_eq!(made.status, 200, "{}", made.text());
        let made = made.json();
        let text = |key: &str| made[key].as_str().unwrap().to_owned();
        Person {
            address: self.address.clone(),
            id: text("user_id"),
            token: text("access_token"),
            device: text("device_id"),
        }
    }
}

/// An account, and one of its devices.
#[derive(Debug, Clone)]
pub struct Person {
    address: String,
    /// Its id.
    pub id: String,
    /// Its token.
    pub token: String,
    /// The device that has the token.
    pub device: String,
}

impl Person {
    /// Asks the homeserver, as this account; `path` stands below `/_matrix/`.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> http::Response {
        let bearer = format!("Bearer {}", self.token);
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let path = format!("/_matrix/{}", path.replace('#', "%23"));
        http::request(&self.address, method, &path, &[("Authorization", &bearer)], body.as_bytes()).unwrap()
    }

    /// The same, where it has to succeed.
    pub fn done(&self, method: &str, path: &str, body: &Value) -> Value {
        let response = self.ask(method, path, body);
        assert_eq!(response.status, 200, "{method} {path}: {}", response.text());
        response.json()
    }

    /// Makes a room, with more in the request.
    pub fn room(&self, invite: &[&Self], more: &Value) -> String {
        let ids: Vec<&str> = invite.iter().map(|person| person.id.as_str()).collect();
        let mut body = json!({"preset": "private_chat", "invite": ids});
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        let made = self.done("POST", "client/v3/createRoom", &body);
        made["room_id"].as_str().unwrap().to_owned()
    }

    /// Makes a private room with somebody.
    pub fn private(&self, with: &Self) -> String {
        self.room(&[with], &json!({"is_direct": true, "preset": "trusted_private_chat"}))
    }

    /// Goes into a room.
    pub fn join(&self, room: &str) {
        self.done("POST", &format!("client/v3/join/{room}"), &json!({}));
    }

    /// Says something; the event's id.
    pub fn say(&self, room: &str, text: &str) -> String {
        self.say_with(room, text, &json!({}))
    }

    /// The same, with more in the event.
    pub fn say_with(&self, room: &str, text: &str, more: &Value) -> String {
        let mut content = json!({"msgtype": "m.text", "body": text});
        for (key, value) in more.as_object().unwrap() {
            content[key] = value.clone();
        }
        self.send(room, "m.room.message", &content)
    }

    /// Sends an event of any kind; its id.
    pub fn send(&self, room: &str, kind: &str, content: &Value) -> String {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = format!("client/v3/rooms/{room}/send/{kind}/t{id}");
        self.done("PUT", &path, content)["event_id"].as_str().unwrap().to_owned()
    }

    /// Puts a sign at an event.
    pub fn react(&self, room: &str, event: &str, sign: &str) -> String {
        let relation = json!({"rel_type": "m.annotation", "event_id": event, "key": sign});
        self.send(room, "m.reaction", &json!({"m.relates_to": relation}))
    }

    /// Sends a file up; where it is.
    pub fn upload(&self, media_type: &str, bytes: &[u8]) -> String {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", media_type)];
        let up = http::request(&self.address, "POST", "/_matrix/media/v3/upload", &headers, bytes).unwrap();
        up.json()["content_uri"].as_str().unwrap().to_owned()
    }

    /// The bytes of a file.
    pub fn download(&self, place: &str) -> Vec<u8> {
        let path = format!("client/v1/media/download/{}", place.strip_prefix("mxc://").unwrap());
        let down = self.ask("GET", &path, &Value::Null);
        assert_eq!(down.status, 200, "{}", down.text());
        down.body
    }

    /// Who is in a room.
    pub fn members(&self, room: &str) -> Vec<String> {
        let joined = self.done("GET", &format!("client/v3/rooms/{room}/joined_members"), &Value::Null);
        joined["joined"].as_object().unwrap().keys().cloned().collect()
    }

    /// Every event of a room, in order.
    pub fn events(&self, room: &str) -> Vec<Value> {
        let (mut all, mut from) = (Vec::new(), String::new());
        loop {
            let path = format!("client/v3/rooms/{room}/messages?dir=b&limit=500{from}");
            let page = self.done("GET", &path, &Value::Null);
            let chunk = page["chunk"].as_array().unwrap().clone();
            all.extend(chunk);
            match page["end"].as_str() {
                Some(end) => from = format!("&from={end}"),
                None => break,
            }
        }
        all.reverse();
        all
    }

    /// What somebody has said in a room, first texts and not what stands in their place, in order.
    pub fn said_by(&self, room: &str, who: &Self) -> Vec<Value> {
        let is_text = |event: &Value| {
            event["type"] == "m.room.message"
                && event["sender"] == who.id.as_str()
                && event["content"]["m.relates_to"]["rel_type"] != "m.replace"
        };
        self.events(room).into_iter().filter(is_text).collect()
    }

    /// The texts of that.
    pub fn texts_by(&self, room: &str, who: &Self) -> Vec<String> {
        let text = |event: Value| event["content"]["body"].as_str().unwrap_or_default().to_owned();
        self.said_by(room, who).into_iter().map(text).collect()
    }

    /// Waits until somebody has said this in a room; the event.
    pub fn wait_said(&self, room: &str, who: &Self, text: &str) -> Value {
        wait::until(&format!("`{text}` in {room}"), || {
            self.said_by(room, who).into_iter().find(|event| event["content"]["body"] == text)
        })
    }

    /// Waits until somebody is in a room.
    pub fn wait_member(&self, room: &str, who: &Self) {
        wait::until_true(&format!("{} in {room}", who.id), || self.members(room).contains(&who.id));
    }

    /// `.env` lines for a bot that has this account's token.
    pub fn env(&self, homeserver: &str) -> String {
        format!("MATRIX_HOMESERVER=http://{homeserver}\nMATRIX_ACCESS_TOKEN={}\n", self.token)
    }

    /// The same with its password.
    pub fn env_with_password(&self, homeserver: &str) -> String {
        format!(
            "MATRIX_HOMESERVER=http://{homeserver}\nMATRIX_USER_ID={}\nMATRIX_PASSWORD='{PASSWORD}'\n",
            self.id
        )
    }
}
