//! A bridge as the Python program has it, on loopback: `GET /messages` forgets what it hands out, nobody needs a secret.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::lock;
use crate::wait;

/// How a request fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// With a status and a text.
    Status(u16, String),
    /// With a wait, besides.
    Slower(u64),
    /// It is done, and the connection is cut instead of an answer.
    Cut,
    /// The answer is none of a bridge.
    Garbled,
    /// The answer breaks off.
    Half,
}

#[derive(Default)]
struct State {
    status: String,
    /// What requests have to carry.
    secret: Option<String>,
    queue: VecDeque<Value>,
    /// Requests, by the name of what was asked, with their bodies.
    asked: Vec<(String, Value)>,
    /// What becomes of the next requests of that name.
    failures: VecDeque<(String, Way)>,
    sent: u64,
    is_over: bool,
    open: Vec<TcpStream>,
}

/// A running bridge.
pub struct Bridge {
    state: Arc<Mutex<State>>,
    port: u16,
}

impl Default for Bridge {
    fn default() -> Self {
        Self::start()
    }
}

impl Bridge {
    /// Starts one that is connected.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State { status: "connected".to_owned(), ..State::default() }));
        let accepting = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&accepting);
                if lock(&state).is_over {
                    return;
                }
                if let Ok(own) = stream.try_clone() {
                    lock(&state).open.push(own);
                }
                std::thread::spawn(move || {
                    // Who is cut off leaves an error.
                    let _ = serve(stream, &state);
                });
            }
        });
        Self { state, port }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `.env` lines for it.
    pub fn env(&self) -> String {
        format!(
            "WHATSAPP_ENABLED=true\nWHATSAPP_MODE=bot\nWHATSAPP_BRIDGE_URL=http://127.0.0.1:{}\n",
            self.port
        )
    }

    /// Wants this of every request.
    pub fn want(&self, secret: &str) {
        lock(&self.state).secret = Some(secret.to_owned());
    }

    /// Says this of WhatsApp.
    pub fn be(&self, status: &str) {
        status.clone_into(&mut lock(&self.state).status);
    }

    /// Fails the next request of that name.
    pub fn fail(&self, name: &str, way: Way) {
        lock(&self.state).failures.push_back((name.to_owned(), way));
    }

    /// Somebody writes.
    pub fn say(&self, from: &str, text: &str) {
        self.receive(&json!({"chatId": super::chat(from), "senderId": super::chat(from), "body": text}));
    }

    /// A message with these fields, among those that all have.
    pub fn receive(&self, fields: &Value) {
        let mut state = lock(&self.state);
        state.sent += 1;
        let mut message = json!({
            "messageId": format!("3EB0{:016}", state.sent), "senderName": "Ann", "chatName": "Ann", "isGroup": false, "hasMedia": false,
            "mediaType": "", "mime": "", "fileName": "", "mediaUrls": [], "mentionedIds": [], "quotedMessageId": null,
            "quotedParticipant": null, "quotedText": null, "hasQuotedMessage": false,
            "botIds": ["4999999@s.whatsapp.net", "77777@lid"], "timestamp": 1_700_000_000, "nativeType": "conversation",
            "nativeMetadata": {}, "fromOwner": false,
        });
        for (key, value) in fields.as_object().into_iter().flatten() {
            message[key] = value.clone();
        }
        state.queue.push_back(message);
    }

    /// What was asked of that name.
    pub fn asked(&self, name: &str) -> Vec<Value> {
        lock(&self.state)
            .asked
            .iter()
            .filter(|(asked, _)| asked == name)
            .map(|(_, body)| body.clone())
            .collect()
    }

    /// Every text that was sent to somebody, failed or not.
    pub fn texts(&self, to: &str) -> Vec<String> {
        let sent = self.asked("send").into_iter().filter(|body| body["chatId"] == super::chat(to).as_str());
        sent.map(|body| body["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Waits for one.
    pub fn wait_text(&self, to: &str, text: &str) {
        wait::until_true(&format!("`{text}` to {to}"), || self.texts(to).iter().any(|said| said == text));
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let open = {
            let mut state = lock(&self.state);
            state.is_over = true;
            std::mem::take(&mut state.open)
        };
        for stream in open {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the accepting thread; nobody is left to read.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let field = |name: &str| {
            let found = head.lines().find(|line| line.to_lowercase().starts_with(name));
            found.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()))
        };
        let length = field("content-length:").and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let path = head.split(' ').nth(1).unwrap_or_default();
        let name = path.trim_start_matches('/').split(['/', '?']).next().unwrap_or_default().to_owned();
        let (wanted, way) = {
            let mut state = lock(state);
            let at = state.failures.iter().position(|(failing, _)| *failing == name);
            (state.secret.clone(), at.and_then(|at| state.failures.remove(at)).map(|(_, way)| way))
        };
        if wanted.is_some_and(|secret| field("authorization:") != Some(format!("Bearer {secret}"))) {
            answer(&mut stream, 401, "", &json!({"error": "Unauthorized"}))?;
            continue;
        }
        if let Some(Way::Status(status, text)) = &way {
            lock(state).asked.push((name.clone(), body));
            answer(&mut stream, *status, "", &json!({"error": text}))?;
            continue;
        }
        if let Some(Way::Slower(seconds)) = way {
            answer(&mut stream, 429, &format!("Retry-After: {seconds}\r\n"), &json!({"error": "slower"}))?;
            continue;
        }
        let (status, said) = done(&mut lock(state), &name, &body);
        match way {
            Some(Way::Cut) => return stream.shutdown(Shutdown::Both),
            Some(Way::Half) => {
                write!(stream, "HTTP/1.1 200 X\r\nContent-Length: 1000\r\n\r\n{{")?;
                return stream.shutdown(Shutdown::Both);
            }
            Some(Way::Garbled) => answer(&mut stream, 200, "", &json!("<html>"))?,
            _ => answer(&mut stream, status, "", &said)?,
        }
    }
}

fn done(state: &mut State, name: &str, body: &Value) -> (u16, Value) {
    let needs: &[&str] = match name {
        "health" => {
            return (
                200,
                json!({"status": state.status, "queueLength": state.queue.len(), "uptime": 1.0, "scriptHash": "0123456789abcdef"}),
            );
        }
        "messages" => {
            let most = state.queue.len().min(100);
            return (200, state.queue.drain(..most).collect());
        }
        "send" => &["chatId", "message"],
        "edit" => &["chatId", "messageId", "message"],
        "send-media" => &["chatId", "filePath"],
        "typing" => &["chatId"],
        _ => return (404, json!({"error": "Not found"})),
    };
    state.asked.push((name.to_owned(), body.clone()));
    if state.status != "connected" {
        return (503, json!({"error": "Not connected to WhatsApp"}));
    }
    if needs.iter().any(|need| body[need].as_str().is_none_or(str::is_empty)) {
        return (400, json!({"error": format!("{} are required", needs.join(" and "))}));
    }
    state.sent += 1;
    (200, json!({"success": true, "messageId": format!("BAE5{:016}", state.sent)}))
}

fn answer(stream: &mut TcpStream, status: u16, fields: &str, body: &Value) -> std::io::Result<()> {
    let body = body.to_string();
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
