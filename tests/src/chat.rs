//! A chat service on loopback, as `testchat` polls it: what people write, what the bot says, and everything that can go wrong in between.
//!
//! It keeps what a test asks about: who polled, and whether two ever did at once; what was confirmed; every try to send, and what
//! people saw, which is each key once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use serde_json::{Value, json};

use crate::serving::lock;
use crate::wait;

/// The bot's token.
pub const TOKEN: &str = "testchat-token-0123456789";
/// The chat that is [stuck](Chat::stick) where files are, of whichever chat.
pub const FILES: &str = "every file";
/// Pause between two looks of somebody who waits.
const STEP: Duration = Duration::from_millis(5);

/// One try to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Try {
    /// The chat.
    pub chat: String,
    /// The text.
    pub text: String,
    /// The idempotency key.
    pub key: String,
}

/// A file that the bot has sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentFile {
    /// The chat.
    pub chat: String,
    /// Its name.
    pub name: String,
    /// Its type.
    pub media_type: String,
    /// It is shown as what it is.
    pub shown: bool,
    /// What is in it.
    pub bytes: Vec<u8>,
    /// The idempotency key.
    pub key: String,
    /// Texts that people had seen in its chat before.
    pub behind: usize,
}

/// An error that the service answers with, once.
#[derive(Debug, Clone, Copy)]
pub struct Refusal {
    /// Its status.
    pub status: u16,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
}

/// Who polls, and the connection, which tells whether they still do.
struct Poller {
    name: String,
    stream: TcpStream,
}

#[derive(Default)]
struct State {
    next: u64,
    updates: BTreeMap<u64, Value>,
    files: BTreeMap<String, Vec<u8>>,
    confirmed: u64,
    /// Who polls now, by connection.
    polling: BTreeMap<u64, Poller>,
    /// Beginnings of polls, whatever came of them.
    polls: Vec<Instant>,
    overlaps: Vec<String>,
    tries: Vec<Try>,
    seen: Vec<Try>,
    typed: Vec<String>,
    /// Places in `seen` that were taken back.
    gone: BTreeSet<usize>,
    edits: Vec<Try>,
    sent_files: Vec<SentFile>,
    signs: Vec<(String, String)>,
    stuck: BTreeSet<String>,
    /// By path.
    refusals: BTreeMap<String, VecDeque<Refusal>>,
    /// Polls are never answered.
    silent: bool,
    token: String,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    stop: AtomicBool,
    /// Rises when every open poll is to be cut.
    cut: Mutex<u64>,
}

/// A running service.
pub struct Chat {
    shared: Arc<Shared>,
    address: String,
}

impl Default for Chat {
    fn default() -> Self {
        Self::start()
    }
}

impl Chat {
    /// Starts one.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = State { next: 1, token: TOKEN.to_owned(), ..State::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), ..Shared::default() });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for (number, stream) in (0..).zip(listener.incoming()) {
                if accepting.stop.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&accepting);
                if let Ok(stream) = stream {
                    std::thread::spawn(move || {
                        // Who is cut off leaves an error.
                        let _ = Connection { number, stream, shared: &shared }.serve();
                        lock(&shared.state).polling.remove(&number);
                    });
                }
            }
        });
        Self { shared, address }
    }

    /// A `platforms.testchat` section for it that lets everybody in, in one line; `more` is added.
    pub fn section(&self, more: &str) -> String {
        self.closed_section(&format!(", allow_all_users: true{more}"))
    }

    /// The same, which lets nobody in.
    pub fn closed_section(&self, more: &str) -> String {
        format!("testchat: {{enabled: true, base_url: 'http://{}', poll_seconds: 1{more}}}", self.address)
    }

    /// `.env` lines for it.
    pub fn env() -> String {
        format!("TESTCHAT_TOKEN={TOKEN}\n")
    }

    /// Somebody writes. The update's id.
    pub fn say(&self, chat: &str, user: &str, text: &str) -> u64 {
        self.post(json!({"chat": chat, "user": user, "text": text}))
    }

    /// Somebody writes in a group.
    pub fn say_in_group(&self, chat: &str, user: &str, text: &str) -> u64 {
        self.post(json!({"chat": chat, "user": user, "text": text, "group": true}))
    }

    /// Somebody sends a file with a text.
    pub fn attach(&self, chat: &str, user: &str, text: &str, name: &str, bytes: &[u8]) -> u64 {
        let path = format!("/files/{}", lock(&self.shared.state).next);
        lock(&self.shared.state).files.insert(path.clone(), bytes.to_vec());
        self.post_with(chat, user, text, &json!({"name": name, "size": bytes.len(), "path": path}))
    }

    /// The same with a name and the media type that its sender says it is of.
    pub fn attach_as(&self, chat: &str, user: &str, text: &str, named: (&str, &str), bytes: &[u8]) -> u64 {
        let path = format!("/files/{}", lock(&self.shared.state).next);
        lock(&self.shared.state).files.insert(path.clone(), bytes.to_vec());
        let (name, kind) = named;
        let file = json!({"name": name, "size": bytes.len(), "path": path, "type": kind});
        self.post(json!({"chat": chat, "user": user, "text": text, "attachments": [file]}))
    }

    /// Somebody sends a file that the service does not have any more.
    pub fn attach_gone(&self, chat: &str, user: &str, text: &str, name: &str) -> u64 {
        self.post_with(chat, user, text, &json!({"name": name, "size": 9, "path": "/files/gone"}))
    }

    fn post_with(&self, chat: &str, user: &str, text: &str, file: &Value) -> u64 {
        let mut file = file.clone();
        file["type"] = "application/octet-stream".into();
        self.post(json!({"chat": chat, "user": user, "text": text, "attachments": [file]}))
    }

    fn post(&self, mut update: Value) -> u64 {
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        update["id"] = id.into();
        state.updates.insert(id, update);
        id
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    /// Everything below was confirmed.
    pub fn confirmed(&self) -> u64 {
        self.state().confirmed
    }

    /// Every try to send so far.
    pub fn tries(&self) -> Vec<Try> {
        self.state().tries.clone()
    }

    /// What people see now.
    pub fn seen(&self) -> Vec<Try> {
        let state = self.state();
        let there = state.seen.iter().enumerate().filter(|(at, _)| !state.gone.contains(at));
        there.map(|(_, seen)| seen.clone()).collect()
    }

    /// Every change of a message so far; its id in the place of the key.
    pub fn edits(&self) -> Vec<Try> {
        self.state().edits.clone()
    }

    /// Files that were sent, each once.
    pub fn files(&self) -> Vec<SentFile> {
        self.state().sent_files.clone()
    }

    /// Signs at messages: the update's id and the sign, in order.
    pub fn signs(&self) -> Vec<(String, String)> {
        self.state().signs.clone()
    }

    /// What people saw in one chat.
    pub fn seen_in(&self, chat: &str) -> Vec<String> {
        self.seen().into_iter().filter(|seen| seen.chat == chat).map(|seen| seen.text).collect()
    }

    /// Chats in which somebody was seen typing.
    pub fn typed(&self) -> Vec<String> {
        self.state().typed.clone()
    }

    /// Waits until people saw `text` in a chat.
    pub fn wait_seen(&self, chat: &str, text: &str) {
        wait::until_true(&format!("`{text}` in chat {chat}"), || {
            self.seen_in(chat).iter().any(|seen| seen == text)
        });
    }

    /// From now on nothing that is sent to a chat is answered.
    pub fn stick(&self, chat: &str) {
        self.state().stuck.insert(chat.to_owned());
    }

    /// It is answered again.
    pub fn unstick(&self, chat: &str) {
        self.state().stuck.remove(chat);
    }

    /// The next requests of a path (`updates`, `send`) are answered so, one each.
    pub fn refuse(&self, path: &str, refusals: impl IntoIterator<Item = Refusal>) {
        self.state().refusals.entry(path.to_owned()).or_default().extend(refusals);
    }

    /// The token is another one now.
    pub fn set_token(&self, token: &str) {
        token.clone_into(&mut self.state().token);
    }

    /// Polls are not answered any more, or again.
    pub fn be_silent(&self, silent: bool) {
        self.state().silent = silent;
    }

    /// Cuts every connection with an open poll.
    pub fn cut(&self) {
        *lock(&self.shared.cut) += 1;
    }

    /// Polls that are open now.
    pub fn polling(&self) -> usize {
        self.state().polling.len()
    }

    /// When polls began, refused ones too.
    pub fn polls(&self) -> Vec<Instant> {
        self.state().polls.clone()
    }

    /// Moments at which two pollers were there.
    pub fn overlaps(&self) -> Vec<String> {
        self.state().overlaps.clone()
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
    }
}

/// What a request asks for.
struct Request {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// One client's connection.
struct Connection<'s> {
    number: u64,
    stream: TcpStream,
    shared: &'s Shared,
}

impl Connection<'_> {
    fn serve(mut self) -> std::io::Result<()> {
        let mut buffer = Vec::new();
        while let Some(request) = self.read(&mut buffer)? {
            if !self.answer(&request)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    /// `false`: the connection is to be closed.
    fn answer(&mut self, request: &Request) -> std::io::Result<bool> {
        let path = request.path.trim_start_matches('/').to_owned();
        if path == "updates" {
            self.state().polls.push(crate::wait::now());
        }
        let refusal = self.state().refusals.get_mut(&path).and_then(VecDeque::pop_front);
        if let Some(Refusal { status, retry_after }) = refusal {
            return self.say(status, retry_after, b"{}").map(|()| true);
        }
        let expected = format!("Bearer {}", self.state().token);
        if request.headers.get("authorization") != Some(&expected) {
            return self.say(401, None, b"{}").map(|()| true);
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        match (request.method.as_str(), path.as_str()) {
            ("GET", "updates") => return self.poll(request),
            ("POST", "send") => return self.take(request, text("chat"), text("text")),
            ("POST", "typing") => self.state().typed.push(text("chat")),
            ("POST", "edit") => return self.edit(&text("chat"), text("id"), text("text")),
            ("POST", "delete") => {
                let place = text("id").trim_start_matches('m').parse().unwrap_or(usize::MAX);
                self.state().gone.insert(place);
            }
            ("POST", "react") => self.state().signs.push((text("update"), text("sign"))),
            ("POST", "file") => return self.take_file(request),
            ("GET", _) if self.state().files.contains_key(&request.path) => {
                let file = self.state().files[&request.path].clone();
                return self.say(200, None, &file).map(|()| true);
            }
            _ => return self.say(404, None, b"{}").map(|()| true),
        }
        self.say(200, None, b"{}").map(|()| true)
    }

    fn poll(&mut self, request: &Request) -> std::io::Result<bool> {
        let of = |name: &str| request.query.get(name).and_then(|text| text.parse().ok()).unwrap_or_default();
        let (offset, patience) = (of("offset"), Duration::from_secs(of("timeout")));
        let poller = request.headers.get("x-poller").cloned().unwrap_or_default();
        {
            let mut state = self.state();
            state.confirmed = state.confirmed.max(offset);
            let confirmed = state.confirmed;
            state.updates.retain(|id, _| *id >= confirmed);
            // Whoever is dead by now polls no more, whether its end was noticed or not.
            state.polling.retain(|_, other| !is_gone(&other.stream));
            let others: Vec<String> = state
                .polling
                .values()
                .map(|other| &other.name)
                .filter(|other| **other != poller)
                .cloned()
                .collect();
            if let Some(other) = others.first() {
                state.overlaps.push(format!("{poller} while {other}"));
            }
            // A poller's new poll takes the place of its old one.
            state.polling.retain(|_, other| other.name != poller);
            state.polling.insert(self.number, Poller { name: poller, stream: self.stream.try_clone()? });
            drop(state);
            if !others.is_empty() {
                self.state().polling.remove(&self.number);
                return self.say(409, None, b"{}").map(|()| true);
            }
        }
        let (began, cut) = (crate::wait::now(), *lock(&self.shared.cut));
        let found = loop {
            let is_cut = *lock(&self.shared.cut) != cut || self.shared.stop.load(Ordering::SeqCst);
            if is_cut || self.is_gone() {
                return Ok(false);
            }
            let state = self.state();
            let late = began.elapsed() >= patience || !state.polling.contains_key(&self.number);
            if !state.silent && (late || !state.updates.is_empty()) {
                break state.updates.values().cloned().collect::<Vec<_>>();
            }
            drop(state);
            wait::pass(STEP);
        };
        self.state().polling.remove(&self.number);
        self.say(200, None, Value::from(found).to_string().as_bytes()).map(|()| true)
    }

    fn edit(&mut self, chat: &str, id: String, text: String) -> std::io::Result<bool> {
        let place: usize = id.trim_start_matches('m').parse().unwrap_or(usize::MAX);
        {
            let mut state = self.state();
            state.edits.push(Try { chat: chat.to_owned(), text: text.clone(), key: id });
            let is_gone = state.gone.contains(&place);
            let found = state.seen.get_mut(place).filter(|seen| seen.chat == chat && !is_gone);
            let Some(found) = found else {
                drop(state);
                return self.say(404, None, b"{}").map(|()| true);
            };
            found.text = text;
        }
        if !self.held(chat) {
            return Ok(false);
        }
        self.say(200, None, b"{}").map(|()| true)
    }

    fn take_file(&mut self, request: &Request) -> std::io::Result<bool> {
        let of = |name: &str| request.query.get(name).cloned().unwrap_or_default();
        let key = request.headers.get("idempotency-key").cloned().unwrap_or_default();
        let chat = of("chat");
        let behind = self.shared_seen(&chat);
        let file = SentFile {
            chat: chat.clone(),
            name: of("name"),
            media_type: of("type"),
            shown: of("shown") == "1",
            bytes: request.body.clone(),
            key,
            behind,
        };
        {
            let mut state = self.state();
            state.tries.push(Try {
                chat: chat.clone(),
                text: format!("file {}", file.name),
                key: file.key.clone(),
            });
            if state.sent_files.iter().all(|sent| sent.key != file.key) {
                state.sent_files.push(file);
            }
        }
        if !self.held(&chat) || !self.held(FILES) {
            return Ok(false);
        }
        self.say(200, None, json!({"id": "f1"}).to_string().as_bytes()).map(|()| true)
    }

    fn shared_seen(&self, chat: &str) -> usize {
        self.state().seen.iter().filter(|seen| seen.chat == chat).count()
    }

    /// Done, and not answered while the chat is stuck. `false`: nobody waits for the answer any more.
    fn held(&self, chat: &str) -> bool {
        while self.state().stuck.contains(chat) {
            if self.is_gone() || self.shared.stop.load(Ordering::SeqCst) {
                return false;
            }
            wait::pass(STEP);
        }
        true
    }

    fn take(&mut self, request: &Request, chat: String, text: String) -> std::io::Result<bool> {
        let key = request.headers.get("idempotency-key").cloned().unwrap_or_default();
        let message = Try { chat, text, key };
        self.state().tries.push(message.clone());
        let id = {
            let mut state = self.state();
            if state.seen.iter().all(|seen| seen.key != message.key) {
                state.seen.push(message.clone());
            }
            state.seen.iter().position(|seen| seen.key == message.key).unwrap()
        };
        // Seen, and not answered: whoever asked does not know.
        if !self.held(&message.chat) {
            return Ok(false);
        }
        self.say(200, None, json!({"id": format!("m{id}")}).to_string().as_bytes()).map(|()| true)
    }

    /// Whether the client has closed.
    fn is_gone(&self) -> bool {
        is_gone(&self.stream)
    }

    fn say(&mut self, status: u16, retry_after: Option<u64>, body: &[u8]) -> std::io::Result<()> {
        let wait = retry_after.map(|seconds| format!("Retry-After: {seconds}\r\n")).unwrap_or_default();
        let head = format!("HTTP/1.1 {status} X\r\n{wait}Content-Length: {}\r\n\r\n", body.len());
        // In one piece: the second of two waits until the client has confirmed the first.
        self.stream.write_all(&[head.as_bytes(), body].concat())
    }

    fn read(&mut self, buffer: &mut Vec<u8>) -> std::io::Result<Option<Request>> {
        let mut piece = [0; 16 * 1024];
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            let read = self.stream.read(&mut piece)?;
            if read == 0 {
                return Ok(None);
            }
            buffer.extend_from_slice(&piece[..read]);
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.drain(..end);
        let mut lines = head.lines();
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let headers: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let length: usize = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        while buffer.len() < length {
            let read = self.stream.read(&mut piece)?;
            if read == 0 {
                return Ok(None);
            }
            buffer.extend_from_slice(&piece[..read]);
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query = query.split('&').filter_map(|pair| pair.split_once('='));
        let query = query.map(|(name, value)| (name.to_owned(), decoded(value))).collect();
        Ok(Some(Request {
            method: method.to_owned(),
            path: path.to_owned(),
            query,
            headers,
            body: buffer.drain(..length).collect(),
        }))
    }
}

/// Whether the other end of a connection on which nothing is expected has closed it.
fn is_gone(stream: &TcpStream) -> bool {
    let looked = recv(stream.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
    looked != Err(Errno::EAGAIN)
}

/// A value of a query.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let hex = behind.get(..2).filter(|_| *first == b'%');
        let byte = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(if *first == b'+' { b' ' } else { *first }));
        rest = if byte.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
