//! The HTTP daemon of signal-cli on loopback, as an adapter sees it: `GET /api/v1/check`, `GET /api/v1/events` (server-sent events) and
//! `POST /api/v1/rpc` (JSON-RPC 2.0). What is received while nobody reads is lost, as it is there, but for one that [keeps](Signal::keep) it.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::serving::{listen, lock};
use crate::wait;

/// The bot's account.
pub const ACCOUNT: &str = "+4930901820";

/// A message that the bot has sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// A number, or `group:` and an id.
    pub chat: String,
    /// The text.
    pub text: String,
    /// Its styles.
    pub styles: Vec<String>,
    /// When, which is its name.
    pub timestamp: u64,
    /// Files, as data URIs.
    pub attachments: Vec<String>,
}

/// A sign that the bot has set at a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reaction {
    /// The sign.
    pub emoji: String,
    /// Who wrote the message, and when.
    pub of: (String, u64),
    /// It was taken away.
    pub removed: bool,
}

#[derive(Default)]
struct State {
    readers: Vec<TcpStream>,
    said: Vec<Said>,
    typed: Vec<String>,
    reactions: Vec<Reaction>,
    files: BTreeMap<String, Vec<u8>>,
    /// The next message is taken and not answered.
    is_lost: bool,
    /// Answers to `send`, before they are as they should be.
    refusals: VecDeque<Value>,
    requests: u64,
    /// What was received since then, where it is kept.
    kept: Option<Vec<String>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    clock: AtomicU64,
    stop: AtomicBool,
}

/// A running daemon.
pub struct Signal {
    shared: Arc<Shared>,
    address: String,
}

impl Default for Signal {
    fn default() -> Self {
        Self::start()
    }
}

impl Signal {
    /// Starts one.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared { clock: AtomicU64::new(1_700_000_000_000), ..Shared::default() });
        listen(
            listener,
            &shared,
            |shared| shared.stop.load(Ordering::SeqCst),
            |stream, shared| serve(stream, shared),
        );
        Self { shared, address }
    }

    /// `.env` lines for it.
    pub fn env(&self) -> String {
        format!("SIGNAL_HTTP_URL=http://{}\nSIGNAL_ACCOUNT={ACCOUNT}\n", self.address)
    }

    /// Somebody writes; when.
    pub fn say(&self, from: &str, text: &str) -> u64 {
        self.receive(from, &json!({"message": text}))
    }

    /// Somebody writes in a group.
    pub fn say_in_group(&self, group: &str, from: &str, text: &str) -> u64 {
        self.receive(from, &json!({"message": text, "groupInfo": {"groupId": group, "type": "DELIVER"}}))
    }

    /// Somebody sends a file.
    pub fn attach(&self, from: &str, text: &str, name: &str, bytes: &[u8]) -> u64 {
        let id = format!("file-{}", self.tick());
        lock(&self.shared.state).files.insert(id.clone(), bytes.to_vec());
        let file = json!({"id": id, "filename": name, "contentType": "image/png", "size": bytes.len()});
        self.receive(from, &json!({"message": text, "attachments": [file]}))
    }

    /// A message of anybody's, with these fields.
    pub fn receive(&self, from: &str, data: &Value) -> u64 {
        let timestamp = self.tick();
        let mut data = data.clone();
        data["timestamp"] = timestamp.into();
        self.event(&json!({"source": from, "sourceNumber": from, "sourceName": "Ann", "timestamp": timestamp, "dataMessage": data}));
        timestamp
    }

    /// The account's owner writes to himself on another device; an echo of what was sent at `timestamp`, where one is given.
    pub fn note_to_self(&self, text: &str, timestamp: Option<u64>) {
        let timestamp = timestamp.unwrap_or_else(|| self.tick());
        let sent = json!({"destination": ACCOUNT, "destinationNumber": ACCOUNT, "timestamp": timestamp, "message": text});
        self.event(&json!({"source": ACCOUNT, "sourceNumber": ACCOUNT, "timestamp": timestamp, "syncMessage": {"sentMessage": sent}}));
    }

    /// It is a newer daemon from now on: its events have ids, and who says which was his last one gets what came behind it.
    pub fn keep(&self) {
        lock(&self.shared.state).kept = Some(Vec::new());
    }

    /// Any event.
    pub fn event(&self, envelope: &Value) {
        let mut state = lock(&self.shared.state);
        let mut text =
            format!("event:receive\ndata:{}\n\n", json!({"envelope": envelope, "account": ACCOUNT}));
        if let Some(kept) = &mut state.kept {
            text = format!("id:1-{}\n{text}", kept.len());
            kept.push(text.clone());
        }
        state.readers.retain_mut(|reader| reader.write_all(text.as_bytes()).is_ok());
    }

    /// Ends every stream of events.
    pub fn cut(&self) {
        for reader in lock(&self.shared.state).readers.drain(..) {
            // It may be gone already.
            let _ = reader.shutdown(std::net::Shutdown::Both);
        }
    }

    /// The next try to send is answered with this.
    pub fn refuse(&self, answer: Value) {
        lock(&self.shared.state).refusals.push_back(answer);
    }

    /// The next message gets there, and whoever sent it does not hear so.
    pub fn lose_the_answer(&self) {
        lock(&self.shared.state).is_lost = true;
    }

    /// Waits until somebody reads.
    pub fn wait_read(&self) {
        wait::until_true("somebody to read Signal's events", || !lock(&self.shared.state).readers.is_empty());
    }

    /// Everything that the bot has sent.
    pub fn said(&self) -> Vec<Said> {
        lock(&self.shared.state).said.clone()
    }

    /// Waits for a message.
    pub fn wait_said(&self, chat: &str, text: &str) -> Said {
        wait::until(&format!("`{text}` in {chat}"), || {
            self.said().into_iter().find(|said| said.chat == chat && said.text == text)
        })
    }

    /// The chats in which somebody was seen to type.
    pub fn typed(&self) -> Vec<String> {
        lock(&self.shared.state).typed.clone()
    }

    /// Every sign so far, in order.
    pub fn reactions(&self) -> Vec<Reaction> {
        lock(&self.shared.state).reactions.clone()
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        lock(&self.shared.state).requests
    }

    fn tick(&self) -> u64 {
        self.shared.clock.fetch_add(1, Ordering::SeqCst)
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the accepting thread; nobody is left to read.
        let _ = TcpStream::connect(&self.address);
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        lock(&shared.state).requests += 1;
        let length = head
            .lines()
            .find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body)?;
        let path = head.split(' ').nth(1).unwrap_or_default();
        match path.split('?').next().unwrap_or_default() {
            "/api/v1/check" => answer(&mut stream, 200, "")?,
            "/api/v1/events" if !path.contains(&format!("account=%2B{}", &ACCOUNT[1..])) => {
                answer(&mut stream, 400, "Account not found")?;
            }
            "/api/v1/events" => {
                stream.write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n:\n",
                )?;
                let mut state = lock(&shared.state);
                let last = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    let number = value.trim().strip_prefix("1-")?;
                    number.parse::<usize>().ok().filter(|_| name.eq_ignore_ascii_case("last-event-id"))
                });
                for missed in state.kept.iter().flatten().skip(last.map_or(usize::MAX, |last| last + 1)) {
                    stream.write_all(missed.as_bytes())?;
                }
                state.readers.push(stream.try_clone()?);
                drop(state);
                // The end is the reader's, or that of a cut.
                return stream.read(&mut [0; 1]).map(|_| ());
            }
            "/api/v1/rpc" => {
                let call: Value = serde_json::from_slice(&body).unwrap_or_default();
                let said = rpc(shared, &call).to_string();
                if call["method"] == "send" && std::mem::take(&mut lock(&shared.state).is_lost) {
                    return Ok(());
                }
                answer(&mut stream, 200, &said)?;
            }
            _ => answer(&mut stream, 404, "Not Found")?,
        }
    }
}

fn answer(stream: &mut TcpStream, status: u16, body: &str) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn rpc(shared: &Shared, call: &Value) -> Value {
    if call["method"] == "listAccounts" {
        return json!({"jsonrpc": "2.0", "id": call["id"], "result": [{"number": ACCOUNT}]});
    }
    let params = &call["params"];
    let mut state = lock(&shared.state);
    let chat = match (params["groupId"].as_str(), params["recipient"][0].as_str()) {
        (Some(group), _) => format!("group:{group}"),
        (None, Some(number)) => number.to_owned(),
        (None, None) => {
            return json!({"jsonrpc": "2.0", "id": call["id"], "error": {"code": -1, "message": "No recipients given"}});
        }
    };
    let done = |result: Value| json!({"jsonrpc": "2.0", "id": call["id"], "result": result});
    match call["method"].as_str().unwrap_or_default() {
        "send" => {
            if let Some(refusal) = state.refusals.pop_front() {
                return refusal;
            }
            let timestamp = shared.clock.fetch_add(1, Ordering::SeqCst);
            let styles = params["textStyle"].as_array().cloned().unwrap_or_default();
            let styles = styles.iter().map(|style| style.as_str().unwrap_or_default().to_owned()).collect();
            let text = params["message"].as_str().unwrap_or_default().to_owned();
            let files = params["attachments"].as_array().cloned().unwrap_or_default();
            let attachments = files.iter().map(|file| file.as_str().unwrap_or_default().to_owned()).collect();
            state.said.push(Said { chat, text, styles, timestamp, attachments });
            done(json!({"timestamp": timestamp, "results": [{"type": "SUCCESS"}]}))
        }
        "sendReaction" => {
            state.reactions.push(Reaction {
                emoji: params["emoji"].as_str().unwrap_or_default().to_owned(),
                of: (
                    params["targetAuthor"].as_str().unwrap_or_default().to_owned(),
                    params["targetTimestamp"].as_u64().unwrap_or_default(),
                ),
                removed: params["remove"] == true,
            });
            done(json!({"timestamp": 1, "results": [{"type": "SUCCESS"}]}))
        }
        "sendTyping" => {
            state.typed.push(chat);
            done(json!({"timestamp": 1, "results": []}))
        }
        "getAttachment" => match state.files.get(params["id"].as_str().unwrap_or_default()) {
            Some(bytes) => done(json!({"data": base64::engine::general_purpose::STANDARD.encode(bytes)})),
            None => {
                json!({"jsonrpc": "2.0", "id": call["id"], "error": {"code": -1, "message": "Could not find attachment"}})
            }
        },
        _ => {
            json!({"jsonrpc": "2.0", "id": call["id"], "error": {"code": -32601, "message": "Method not implemented"}})
        }
    }
}

/// Longer than any answer of a bot takes that is not to come.
pub const NEVER: Duration = Duration::from_millis(700);
