//! A provider on loopback that does what a script says, byte by byte. For tests.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// One step of an answer.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Sends bytes, on their own.
    Send(Vec<u8>),
    /// Waits until the caller has gone.
    Hang,
    /// Closes the connection.
    Close,
}

/// One call as it arrived.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) head: String,
    pub(super) body: Value,
}

/// A running fake. Dropping it ends its connections.
pub(super) struct Fake {
    pub(super) base_url: String,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    script: Mutex<VecDeque<Vec<Step>>>,
    calls: Mutex<Vec<Call>>,
    /// Calls begun and calls whose caller left before the answer was over.
    progress: watch::Sender<(usize, usize)>,
}

impl Fake {
    /// Answers one call after the other as scripted; after that, it closes connections.
    pub(super) async fn start(script: impl IntoIterator<Item = Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            script: Mutex::new(script.into_iter().collect()),
            calls: Mutex::default(),
            progress: watch::Sender::new((0, 0)),
        });
        let accepting = Arc::clone(&shared);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&accepting)));
            }
        });
        Self { base_url, shared, _tasks: tasks }
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().unwrap().clone()
    }

    /// Waits until so many calls have begun.
    pub(super) async fn begun(&self, calls: usize) {
        self.shared.progress.subscribe().wait_for(|(begun, _)| *begun >= calls).await.unwrap();
    }

    /// Waits until so many callers have left early.
    pub(super) async fn left(&self, callers: usize) {
        self.shared.progress.subscribe().wait_for(|(_, left)| *left >= callers).await.unwrap();
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    stream.set_nodelay(true).unwrap();
    let mut buffer = Vec::new();
    while let Some(call) = read_call(&mut stream, &mut buffer).await {
        shared.calls.lock().unwrap().push(call);
        shared.progress.send_modify(|(begun, _)| *begun += 1);
        let steps = shared.script.lock().unwrap().pop_front().unwrap_or_else(|| vec![Step::Close]);
        for step in steps {
            match step {
                Step::Send(bytes) => {
                    if stream.write_all(&bytes).await.is_err() {
                        shared.progress.send_modify(|(_, left)| *left += 1);
                        return;
                    }
                    tokio::task::yield_now().await;
                }
                Step::Hang => {
                    // The caller sends nothing more; the read ends when it goes away.
                    let _ = stream.read(&mut [0]).await;
                    shared.progress.send_modify(|(_, left)| *left += 1);
                    return;
                }
                Step::Close => return,
            }
        }
    }
}

async fn read_call(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Call> {
    loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
            let length = head
                .lines()
                .find_map(|l| {
                    l.to_lowercase()
                        .strip_prefix("content-length:")
                        .map(|n| n.trim().parse::<usize>().unwrap())
                })
                .unwrap_or(0);
            if buffer.len() >= end + 4 + length {
                let body = serde_json::from_slice(&buffer[end + 4..end + 4 + length]).unwrap();
                buffer.drain(..end + 4 + length);
                return Some(Call { head, body });
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// A chunk of an answer.
pub(super) fn chunk(text: &str) -> String {
    format!("data: {}\n\n", json!({"model": "m-2026", "choices": [{"index": 0, "delta": {"content": text}}]}))
}

/// How an answer ends on the wire: reason, usage, `[DONE]`.
pub(super) fn ending() -> String {
    let stop = json!({"choices": [{"index": 0, "delta": {"content": null}, "finish_reason": "stop"}]});
    let usage = json!({"choices": [], "usage": {
        "prompt_tokens": 100, "completion_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 40}, "completion_tokens_details": {"reasoning_tokens": 3},
    }});
    format!("data: {stop}\n\ndata: {usage}\n\ndata: [DONE]\n\n")
}

/// The head of a stream, whose end is the end of the connection.
pub(super) fn stream_head() -> Step {
    Step::Send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n".to_vec())
}

/// A stream whose connection breaks after `text`: its last chunk is announced and never comes.
pub(super) fn broken_off(text: &str) -> Vec<Step> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    vec![Step::Send(format!("{head}{:x}\r\n{text}\r\nff\r\n", text.len()).into_bytes()), Step::Close]
}

/// A whole answer in these pieces.
pub(super) fn answer(pieces: &[&str]) -> Vec<Step> {
    let mut steps = vec![stream_head()];
    steps.extend(pieces.iter().map(|piece| Step::Send(chunk(piece).into_bytes())));
    steps.extend([Step::Send(ending().into_bytes()), Step::Close]);
    steps
}

/// An answer with a status, more header lines (each with its end) and a body.
pub(super) fn status(code: u16, headers: &str, body: &str) -> Vec<Step> {
    let length = body.len();
    vec![Step::Send(
        format!("HTTP/1.1 {code} X\r\n{headers}Content-Length: {length}\r\n\r\n{body}").into_bytes(),
    )]
}

/// An error as OpenAI phrases it.
pub(super) fn error(code: u16, message: &str) -> Vec<Step> {
    status(code, "Content-Type: application/json\r\n", &json!({"error": {"message": message}}).to_string())
}
